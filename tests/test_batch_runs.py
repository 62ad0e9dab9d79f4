"""Real commands in a batch: the bytes of the command itself, priors loaded once, figures without a
judge, meshes that travel with what they name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes.mesh import Asset
from threestudio_like.metrics.judge_free import measure
from threestudio_like.runs.batch.store import Store
from threestudio_like.runs.options import PriorOptions
from threestudio_like.runs.prior import PriorPool, known_words, load_prior, shared_priors

from .batches import ROOT, batch, products
from .runs import MUG, QUICK, run

COUNT = ROOT / "examples" / "plug_ins" / "command_count.py"


def test_a_batch_makes_the_bytes_of_the_command_and_loads_the_prior_once(tmp_path, monkeypatch):
    pools = []
    first = PriorPool.__init__
    monkeypatch.setattr(
        PriorPool, "__init__", lambda self, most=1: (pools.append(self), first(self, most))[0]
    )
    words = [w for w in QUICK if w != "--no-turntable"]
    values = {k[2:]: v for k, v in zip(words[::2], words[1::2])} | {"turntable": "false"}
    items = [{"prompt": "a red ball", "seeds": "3-4", **values}]
    (tmp_path / "m.yaml").write_text(json.dumps({"items": items}))
    assert batch(tmp_path / "m.yaml", "--store", tmp_path / "store") == 0
    store = Store(str(tmp_path / "store"))
    records = [store.record(id) for id in products(tmp_path / "store")]
    assert sorted(r["spec"]["values"]["seed"] for r in records) == [3, 4]
    assert max(pool.loads for pool in pools) == 1
    own = ("--out", tmp_path / "own", "--seed", 4, "--threads", 1, "--quiet")
    assert run("generate", "a red ball", *QUICK, *own) == 0
    record = next(r for r in records if r["spec"]["values"]["seed"] == 4)
    assert store.content(record, "asset.glb") == (tmp_path / "own" / "asset.glb").read_bytes()
    assert store.content(record, "preview.png") == (tmp_path / "own" / "preview.png").read_bytes()


def test_a_pool_keeps_a_prior_by_all_that_decides_it():
    pool = PriorPool()
    with shared_priors(pool):
        one = load_prior(PriorOptions(), "cpu")
        assert load_prior(PriorOptions(), "cpu") is one
        assert load_prior(PriorOptions(), "cpu", memory="4GB") is not one
        assert pool.loads == 2
    assert load_prior(PriorOptions(), "cpu") is not one
    assert known_words(PriorOptions()) == one.facts.vocabulary
    assert known_words(PriorOptions(prior="sd-2.1-base")) is None


def test_figures_without_a_judge_prefer_the_right_prompt(tmp_path):
    asset = Asset.load(MUG)
    right, wrong = measure(asset, "a white mug"), measure(asset, "a white car")
    assert right["clip"] > wrong["clip"]
    assert right["silhouettes"] > wrong["silhouettes"]
    assert right["consistency"] == pytest.approx(wrong["consistency"])
    assert set(measure(asset, "")) == {"consistency"}
    assert all(np.isfinite(v) for v in right.values())


def test_a_mesh_travels_with_what_it_names(tmp_path, capsys):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n"
    )
    (tmp_path / "one" / "a.mtl").write_text("newmtl m\nKd 1 0 0\n")
    path = tmp_path / "one" / "m.csv"
    path.write_text("command,mesh\ncount,a.obj\n")
    words = ["--workers", "1", "--plugins", str(COUNT), "--quiet"]
    stores = []
    for colour in ("1 0 0", "0 1 0"):
        (tmp_path / "one" / "a.mtl").write_text(f"newmtl m\nKd {colour}\n")
        stores.append(tmp_path / colour.replace(" ", ""))
        assert main(["batch", str(path), "--store", str(stores[-1]), *words]) == 0
    ids = [Store(str(store)).done() for store in stores]
    assert ids[0].isdisjoint(ids[1])
    assert len(list((stores[0] / "inputs").rglob("a.mtl"))) == 1
    record = Store(str(stores[0])).record(ids[0].pop())
    assert record["figures"] == {"meshes": 1, "faces": 1, "pieces": 1}


def test_a_command_of_a_plug_in_is_one_like_the_others(capsys):
    assert main(["count", str(MUG), "--plugins", str(COUNT)]) == 0
    assert "faces" in capsys.readouterr().out
    assert main(["count", "none.obj", "--plugins", str(COUNT)]) == 2
    assert main(["count", "--help"]) == 0
    assert "any format" in capsys.readouterr().out
    assert main(["help"]) == 0
    assert "Count the faces" in capsys.readouterr().out
