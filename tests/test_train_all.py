"""`train all`: its shares of a time limit, resuming, and what it refuses. (tests/test_devices.py
runs it whole.)"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from threestudio_like.cli import main
from threestudio_like.engine.errors import CheckpointError, ConfigError
from threestudio_like.training import all as train_all
from threestudio_like.training.all import PARTS, Part
from threestudio_like.training.options import TrainingOptions


@pytest.fixture
def parts(monkeypatch):
    """Three trainings that write down what they were told; the second fails as long as `broken` is
    set."""
    told, state = {}, {"broken": False}

    def fake(name):
        def train(options):
            if state["broken"] and name == "two":
                raise ConfigError("is broken", "two")
            told[name] = options
            (options.out / name).mkdir(parents=True, exist_ok=True)
            (options.out / name / "model.json").write_text(json.dumps(name))

        return train

    shares = {"one": 1.0, "two": 2.0, "three": 5.0}
    made = tuple(
        Part(n, s, (n,), "cisp" if n == "three" else "pictures", fake(n)) for n, s in shares.items()
    )
    monkeypatch.setattr(train_all, "PARTS", (made[0], replace(made[1], stages=2), made[2]))
    return told, state


def test_a_time_limit_is_shared_and_the_models_are_gathered(parts, tmp_path):
    told, _ = parts
    weights = train_all.train_all(TrainingOptions(out=tmp_path, minutes=8.0, quiet=True))
    # The fakes take no time: each gets its share of the eight minutes; two trainings in a row share
    # theirs.
    assert told["one"].minutes == pytest.approx(1.0, abs=0.05)
    assert told["two"].minutes == pytest.approx(8.0 * 2 / 7 / 2, abs=0.05)
    assert told["three"].minutes == pytest.approx(8.0, abs=0.05)
    assert {str(p.relative_to(weights)) for p in weights.rglob("*.json")} == {
        "one/model.json",
        "two/model.json",
        "cisp/three/model.json",
    }
    # Objects are drawn once for all.
    assert len({options.drawn for options in told.values()}) == 1


def test_a_broken_training_is_resumed_where_it_broke(parts, tmp_path):
    told, state = parts
    state["broken"] = True
    options = TrainingOptions(out=tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="broken"):
        train_all.train_all(options)
    with pytest.raises(CheckpointError, match="--resume"):
        train_all.train_all(options)
    state["broken"] = False
    told.clear()
    train_all.train_all(replace(options, resume=True))
    assert set(told) == {"two", "three"}


@pytest.mark.parametrize(
    "bad",
    [
        ["--data", "."],
        ["--preset", "paper"],
        ["--minutes", "0"],
        ["--start", "."],
        ["--device", "cuda:99"],
    ],
)
def test_what_makes_no_sense_is_refused(bad, tmp_path, capsys):
    assert main(["train", "all", "--out", str(tmp_path / "x"), *bad]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_every_part_is_in_the_list_after_what_it_needs():
    names = [p.name for p in PARTS]
    for first, then in (
        ("vae", "diffusion"),
        ("diffusion", "larger"),
        ("cisp", "voxels"),
        ("clip twin", "voxels of the twin"),
        ("clip", "g3dr"),
        ("perceptual", "g3dr"),
    ):
        assert names.index(first) < names.index(then)
