"""The Python API is given something else than it asks for: one typed error that names the argument,
and nothing is begun."""

from pathlib import Path

import numpy as np
import pytest

import threestudio_like as api
from threestudio_like import AssetOptions, KnownOptions, RunOptions
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.meshes import Asset, Mesh

MESH = "assets/meshes/robot.glb"
PROMPT = "a red chair"
CALLS = {
    "asset": lambda: api.generate(PROMPT, asset=AssetOptions(texture="64 pixels")),
    "asset ": lambda: api.generate(PROMPT, asset=5),
    "asset  ": lambda: api.generate(PROMPT, asset=AssetOptions(faces=2.5)),
    "run": lambda: api.generate(PROMPT, run=5),
    "run ": lambda: api.generate(PROMPT, run={"seed": 1}),
    "run  ": lambda: api.generate(PROMPT, run=AssetOptions()),
    "views": lambda: api.generate(PROMPT, views=5),
    "known": lambda: api.reconstruct("a.png", known=RunOptions()),
    "known ": lambda: api.reconstruct("a.png", known=KnownOptions(fov="wide")),
    "prior": lambda: api.generate(PROMPT, prior=5),
    "prior ": lambda: api.generate(PROMPT, prior=None),
    "system": lambda: api.generate(PROMPT, system=5),
    "system ": lambda: api.generate(PROMPT, system=api.LatentNerf),
    "system  ": lambda: api.generate(PROMPT, system=api.LatentPaint()),
    "system   ": lambda: api.generate(PROMPT, system=api.Comboverse()),
    "system    ": lambda: api.texture(MESH, PROMPT, system=api.LatentNerf()),
    "mesh": lambda: api.texture(None, PROMPT),
    "mesh ": lambda: api.texture(5, PROMPT),
    "control": lambda: api.texture(MESH, PROMPT, control=5),
    "picture": lambda: api.reconstruct(5),
    "picture ": lambda: api.reconstruct(np.zeros((2, 2))),
    "picture  ": lambda: api.reconstruct([None]),
    "picture   ": lambda: api.compose(5, PROMPT),
    "picture    ": lambda: api.compose(np.zeros((2, 2)), PROMPT),
    "run   ": lambda: api.resume(".", run="x"),
    "run    ": lambda: api.resume(".", run={"threads": 2}),
    "run     ": lambda: api.resume(".", run=RunOptions(minutes="soon")),
    "source": lambda: api.refine(None),
    "source ": lambda: api.refine(5),
    "folder": lambda: api.open_run(5),
    "folder ": lambda: api.open_run(None),
    "folder  ": lambda: api.open_run(b"x"),
    "name": lambda: api.load_prior(5),
    "device": lambda: api.load_prior("toybox", device=5),
    "seed": lambda: api.generate(PROMPT, seed=np.zeros((2, 2))),
    "path": lambda: Asset.load(5),
    "path ": lambda: Asset({"a": Mesh(np.eye(3, dtype=np.float32), [[0, 1, 2]])}).save(5),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_type_is_one_line_that_names_the_argument(tmp_path, monkeypatch, name):
    mesh = Path(MESH).resolve()
    (tmp_path / "assets" / "meshes").mkdir(parents=True)
    (tmp_path / MESH).write_bytes(mesh.read_bytes())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ConfigError, InputError)) as told:
        CALLS[name]()
    assert name.strip() in told.value.line()
    assert len(told.value.line().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


SEVERAL = {
    "variants": ("texture", "a blue chair"),
    "parts": ("texture", "left wheel"),
    "lock_parts": ("texture", "left wheel, right wheel"),
    "boxes": ("compose", "10,20,90,120"),
    "spatial_words": ("compose", "sitting on"),
    "objects": ("compose", "my chair.glb"),
    "like": ("prior", Path("my photo.png")),
    "lora": ("prior", "my style, finer.safetensors"),
    "plugins": ("run", "my files.py"),
}


FILES = ("objects", "like", "lora", "plugins")


@pytest.mark.parametrize(
    ("name", "kind"), [*((n, str) for n in SEVERAL), *((n, Path) for n in FILES)]
)
def test_one_text_of_an_option_that_takes_several_is_one(name, kind, monkeypatch):
    """Also where it holds spaces and commas."""
    from threestudio_like.commands.api import options as shared
    from threestudio_like.runs.options import PriorOptions, flat

    seen = []
    monkeypatch.setattr(shared, "carry_out", lambda name, options, objects: seen.append(options))
    where, value = SEVERAL[name]
    given = {name: kind(value)}
    if where == "texture":
        api.texture(MESH, PROMPT, **given)
    elif where == "compose":
        api.compose("a.png", PROMPT, **given)
    elif where == "prior":
        api.generate(PROMPT, prior=PriorOptions(**given))
    else:
        api.generate(PROMPT, run=RunOptions(**given))
    assert [str(one) for one in flat(seen[0])[name]] == [str(value)]


def test_numbers_of_numpy_are_numbers(tmp_path):
    from threestudio_like.commands.api.options import build_options
    from threestudio_like.commands.generate import Generate

    options = build_options(
        Generate,
        RunOptions(quiet=True),
        asset=AssetOptions(texture=np.int64(64), turntable=np.bool_(False)),
        values={"prompt": PROMPT},
        method={"steps": np.int32(3)},
        seed=np.int64(7),
        set=None,
    )
    assert (options.asset.texture, options.run.seed, options.method.steps) == (64, 7, 3)
    assert type(options.asset.texture) is int
