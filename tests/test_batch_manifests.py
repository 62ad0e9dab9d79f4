"""Manifests that cannot be meant: one line with the item's number and the field, and nothing is
made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from threestudio_like.commands.jobs import batch_work
from threestudio_like.commands.jobs.batch_options import (
    check_paths,
    options_from,
    paths_in,
    read_options,
    rows_of,
)
from threestudio_like.commands.jobs.batch_plan import Plan, _Reader
from threestudio_like.commands.jobs.batch_work import CommandWork
from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes.mesh import Asset
from threestudio_like.runs.batch.manifest import expand, parse_manifest, read_manifest, seeds_of
from threestudio_like.runs.options import given
from threestudio_like.runs.written import asked

from .batches import batch
from .runs import MUG

GOOD = {"command": "tiny", "prompt": "good"}


def second(**values: object) -> list[dict]:
    """A good item, then another one."""
    return [GOOD, {"command": "tiny", "prompt": "p", **values}]


def generate(**values: object) -> list[dict]:
    return [GOOD, {"command": "generate", "prompt": "a red chair", **values}]


ITEMS: dict[str, tuple[list, str, str]] = {
    "no such command": (second(command="generat"), 'item 2, field "command"', "generate"),
    "a command that makes nothing": (second(command="view"), "item 2", "makes no items"),
    "a command that is a list of none": (second(command=[]), 'item 2, field "command"', "empty"),
    "no such option": (second(promt="x"), 'item 2, field "promt"', '"prompt"'),
    "a text for a number": (second(steps="many"), 'item 2, field "steps"', "whole number"),
    "a truth for a number": (second(steps=True), 'item 2, field "steps"', "whole number"),
    "a fraction for a number": (second(steps=1.5), 'item 2, field "steps"', "whole number"),
    "a number too large": (second(seed=2**70), 'item 2, field "seed"', "at least 0"),
    "a negative seed": (second(seed=-1), 'item 2, field "seed"', "at least 0"),
    "steps of none": (second(steps=0), 'item 2, field "steps"', "at least 1"),
    "seeds downwards": (second(seeds="3-0"), 'item 2, field "seeds"', "down to"),
    "seeds in words": (second(seeds="all"), 'item 2, field "seeds"', "0-3"),
    "a seed twice": (second(seeds="0-3,2"), 'item 2, field "seeds"', "twice"),
    "seed and seeds": (second(seed=1, seeds="0-3"), 'item 2, field "seed"', "without"),
    "seeds of a group": (second(seeds={"a": 1}), 'item 2, field "seeds"', "0-3"),
    "an empty list": (second(prompt=[]), 'item 2, field "prompt"', "empty list"),
    "an empty prompt": (second(prompt=""), 'item 2, field "prompt"', "empty"),
    "a number as prompt": (second(prompt=7), 'item 2, field "prompt"', "text"),
    "a group as prompt": (second(prompt={"a": 1}), 'item 2, field "prompt"', "text"),
    "overrides that are none": (second(overrides="fast"), 'item 2, field "overrides"', "list"),
    "overrides of numbers": (second(overrides=[1]), 'item 2, field "overrides"', "list"),
    "a bad override": (second(overrides=[{"steps": "x"}]), 'item 2, field "steps"', "number"),
    "a folder of its own": (second(out="x"), 'item 2, field "out"', "batch itself"),
    "threads of its own": (second(threads=4), 'item 2, field "threads"', "batch itself"),
    "resumed": (second(resume=True), 'item 2, field "resume"', "batch itself"),
    "a file that is not there": (second(file="none.bin"), 'item 2, field "file"', "none.bin"),
    "a dotted value of no method": (second(**{"a.b": 1}), 'item 2, field "a.b"', "no such option"),
    "a device in a group": (second(device=["cpu", {}]), 'item 2, field "device"', "text"),
    "a name that is none": (second(name=3), 'item 2, field "name"', "text"),
    "an option twice": (
        second(**{"log-every": 1, "log_every": 2}),
        'item 2, field "log-every"',
        "batch itself",
    ),
    "not a group": ([GOOD, "a red chair"], "item 2", "group of keys"),
    "nothing": ([GOOD, None], "item 2", "group of keys"),
    "no such system": (generate(system="nerf"), 'item 2, field "system"', "latent-nerf"),
    "a word that no prior knows": (
        generate(prompt="a red zebra"),
        'item 2, field "prompt"',
        "zebra",
    ),
    "a prompt of no thing": (generate(prompt="red"), 'item 2, field "prompt"', "no thing"),
    "no such dotted value": (
        generate(**{"distil.guidance.scal": 7}),
        'item 2, field "distil.guidance.scal"',
        "scale",
    ),
    "a dotted value out of range": (
        generate(**{"distil.steps": "many"}),
        'item 2, field "distil.steps"',
        "number",
    ),
    "memory in words": (generate(memory="much"), 'item 2, field "memory"', "gigabytes"),
    "no such preset": (generate(preset="best"), 'item 2, field "preset"', "default"),
    "texture without a mesh": (
        [GOOD, {"command": "texture", "prompt": "a blue mug"}],
        'item 2, field "mesh"',
        "missing",
    ),
    "a mesh that is not there": (
        [GOOD, {"command": "texture", "mesh": "no.obj", "prompt": "a blue mug"}],
        'item 2, field "mesh"',
        "no such file",
    ),
    "both picture and text": (
        [GOOD, {"command": "compose", "picture": "a.png", "text": "a red ball on a blue box"}],
        'item 2, field "text"',
        "either",
    ),
    "poses and boxes": (
        [GOOD, {"command": "compose", "poses": "poses.json", "boxes": ["1,2,3,4"]}],
        'item 2, field "boxes"',
        "goes without",
    ),
    "poses of a mesh that is not there": (
        [GOOD, {"command": "compose", "poses": "poses.json"}],
        "item 2",
        'names "ball.obj", which is not there',
    ),
    "poses that are none": (
        [GOOD, {"command": "compose", "poses": "bad.json"}],
        "item 2",
        "is no JSON",
    ),
    "nothing to evaluate": (
        [GOOD, {"command": "evaluate", "source": "none"}],
        'item 2, field "source"',
        "no such file",
    ),
}
BESIDE = {"poses.json": '[{"file": "ball.obj"}]', "bad.json": "["}
"""Files that items name."""
FILES: dict[str, tuple[str, str]] = {
    "m.yaml": ("items: [", "is not YAML"),
    "m2.yaml": ("things: []", 'no key "things"'),
    "m3.yaml": ("items: []", "no items"),
    "m4.yaml": ("format: 9\nitems: [{prompt: a}]", "format"),
    "m5.yaml": ("items: {prompt: a}", "list of items"),
    "m.csv": ("prompt,prompt\na,b\n", "twice"),
    "m2.csv": ("prompt,seed\na\n", "item 1"),
    "m.jsonl": ('{"prompt": "a"}\n{"prompt": ', "item 2"),
    "m2.jsonl": ('{"prompt": "a", "prompt": "b"}', "twice"),
    "m.txt": ("a red chair", "no manifest"),
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_bad_item_is_named_and_nothing_is_made(name, tmp_path, capsys):
    items, place, word = ITEMS[name]
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps({"items": items}))
    for file, text in BESIDE.items():
        (tmp_path / file).write_text(text)
    assert batch(path, "--store", tmp_path / "store") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert f"m.yaml: {place}" in told, told
    assert word in told, told
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named_and_nothing_is_made(name, tmp_path, capsys):
    text, word = FILES[name]
    (tmp_path / name).write_text(text)
    assert batch(tmp_path / name, "--store", tmp_path / "store") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert name in told
    assert word in told.lower() or word in told
    assert not (tmp_path / "store").exists()


def test_there_are_forty_of_them():
    assert len(ITEMS) >= 40


@pytest.mark.parametrize(
    ("value", "seeds"),
    [("0-3", [0, 1, 2, 3]), (4, [4]), ("1, 5,7-8", [1, 5, 7, 8]), ([2, "4-5"], [2, 4, 5])],
)
def test_seeds_are_read(value, seeds):
    assert seeds_of(value, "here") == seeds


SEEDS = {
    "an item's before the defaults'": ({"seed": 5}, {"seeds": "0-2"}, [5]),
    "an item's own of several": ({"seeds": "0-1"}, {"seed": 7}, [0, 1]),
    "of an override": ({"overrides": [{}, {"seeds": "3-4"}], "seed": 9}, {}, [9, 3, 4]),
    "one of an override": ({"overrides": [{"seed": 1}], "seeds": "3-4"}, {}, [1]),
    "of an override of the defaults": ({}, {"overrides": [{"seeds": "3-4"}], "seed": 9}, [3, 4]),
    "of nobody": ({}, {}, [None]),
}


@pytest.mark.parametrize("name", SEEDS)
def test_the_nearest_word_about_seeds_counts(name):
    item, defaults, wanted = SEEDS[name]
    text = json.dumps({"items": [{"prompt": "x", **item}], "defaults": defaults})
    made = parse_manifest(text, ".yaml", where="m.yaml", folder=Path())
    items = [*expand(made, made.entries[0], lambda command, key: False)]
    assert [one.get("seed") for one in items] == wanted
    assert not any("seeds" in one for one in items)


@pytest.mark.parametrize("where", ["item", "defaults", "override"])
def test_a_seed_and_seeds_in_one_place_are_refused(where):
    both = {"seed": 1, "seeds": "0-3"}
    item = {"prompt": "x", **(both if where == "item" else {})}
    item |= {"overrides": [both]} if where == "override" else {}
    defaults = both if where == "defaults" else {}
    text = json.dumps({"items": [item], "defaults": defaults})
    made = parse_manifest(text, ".yaml", where="m.yaml", folder=Path())
    with pytest.raises(ConfigError, match='field "seed": goes without "seeds"'):
        list(expand(made, made.entries[0], lambda command, key: False))


def test_a_seed_of_the_manifest_goes_before_those_of_the_command_line(tmp_path, capsys):
    path = tmp_path / "m.yaml"
    for defaults, count in (({"seed": 7}, 1), ({"seeds": "1-2"}, 2), ({}, 4)):
        content = {"defaults": {"command": "tiny", **defaults}, "items": [{"prompt": "x"}]}
        path.write_text(json.dumps(content))
        assert batch(path, "--seeds", "0-3", "--store", tmp_path / "s", "--dry-run") == 0
        assert f"{count} items to make" in capsys.readouterr().out


def test_seeds_that_no_memory_holds_are_refused():
    with pytest.raises(ConfigError, match="more than"):
        seeds_of("0-99999999999", "here")


def test_a_store_that_cannot_be_is_refused(tmp_path, capsys):
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps({"items": [GOOD]}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    for store in (tmp_path / "mine", "nosuch://bucket/x"):
        assert batch(path, "--store", store) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


PATHS = [
    *[(c, k) for c in ("generate", "texture") for k in ("concept", "embeddings", "config")],
    *[(c, k) for c in ("generate", "texture") for k in ("lora", "vae", "like", "ip_adapter")],
    *[("generate", "sketch"), ("texture", "lock"), ("reconstruct", "mask"), ("evaluate", "truth")],
    *[("reconstruct", "further"), ("compose", "masks"), ("compose", "objects")],
]


@pytest.mark.parametrize(("command", "key"), PATHS)
def test_whatever_names_a_file_that_is_not_there_is_named(command, key, tmp_path, capsys):
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps({"items": [GOOD, {"command": command, key: "no such file.bin"}]}))
    # Of what is missing, the file that was named is told before what was not.
    for source in ("mesh", "picture", "source"):
        if rows_of(command).get(source) is not None:
            item = {"command": command, key: "no such file.bin", source: str(MUG)}
            path.write_text(json.dumps({"items": [GOOD, item]}))
    assert batch(path, "--store", tmp_path / "store") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert f'm.yaml: item 2, field "{key}": there is no such file' in told, told
    assert not (tmp_path / "store").exists()


def test_one_text_for_an_option_that_takes_several_is_one(tmp_path):
    def place(key):
        return key

    (tmp_path / "two words.png").write_bytes(b"")
    values = {"mesh": str(MUG), "variants": "a blue mug, striped"}
    assert read_options("texture", values, tmp_path, place).variants == ("a blue mug, striped",)
    values = {"picture": "two words.png", "further": "two words.png"}
    options = read_options("reconstruct", values, tmp_path, place)
    assert options.further == (tmp_path / "two words.png",)


def test_hub_ids_and_folders_of_models_are_what_they_are_on_the_command_line(tmp_path):
    """Beside files of the manifest's folder, which travel with their contents."""
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "mine.safetensors").write_bytes(b"mine")
    (tmp_path / "cutter").mkdir()
    (tmp_path / "cutter" / "config.json").write_text("{}")
    (tmp_path / "a.png").write_bytes(b"")
    hub = "someone/styles/ink.safetensors"
    values = {
        "picture": "a.png",
        "segmenter": "cutter",
        "lora": ["styles/mine.safetensors", hub],
        "like": "a.png",
        "ip_adapter": "h94/IP-Adapter",
    }
    options = read_options("reconstruct", values, tmp_path, str)
    assert options.model.lora == (tmp_path / "styles" / "mine.safetensors", Path(hub))
    assert options.model.ip_adapter == Path("h94/IP-Adapter")
    assert options.segmenter == str(tmp_path / "cutter")
    named = paths_in(given(options))
    check_paths("reconstruct", named, values, str)
    lost = read_options("reconstruct", {**values, "lora": "styles/none.bin"}, tmp_path, str)
    with pytest.raises(ConfigError, match="no such file"):
        check_paths("reconstruct", paths_in(given(lost)), values, str)
    # Through the plan and back, as a worker gets them.
    (tmp_path / "m.yaml").write_text(json.dumps({"items": [{"command": "reconstruct", **values}]}))
    plan = Plan()
    reader = _Reader(
        plan=plan,
        manifest=read_manifest(tmp_path / "m.yaml"),
        threads=1,
        plugins=(),
        made=Anything(),
        work=CommandWork(),
    )
    ((item, _),) = reader.items()
    places = {digest: tmp_path / "worker" / digest for digest in item.spec.inputs()}
    again = options_from("reconstruct", item.spec.values, item.spec.set, places)
    assert again.model.lora[1] == Path(hub)
    assert again.model.lora[0].name == "mine.safetensors"
    assert again.model.ip_adapter == Path("h94/IP-Adapter")
    assert Path(again.segmenter) in places.values()


def test_a_default_that_is_written_is_not_the_source_runs(tmp_path, monkeypatch):
    """`refine` takes the prior of the run that it goes on from, unless another one is named, and be
    it the default; of other commands a default that is written is the same item."""
    (tmp_path / "run").mkdir()
    plain = {"command": "refine", "source": "run"}
    chair = {"command": "generate", "prompt": "a red chair"}
    items = [plain, {**plain, "prior": "toybox", "seed": 0}, chair, {**chair, "prior": "toybox"}]
    (tmp_path / "m.yaml").write_text(json.dumps({"items": items}))
    reader = _Reader(
        plan=Plan(),
        manifest=read_manifest(tmp_path / "m.yaml"),
        threads=1,
        plugins=(),
        made=Anything(),
        work=CommandWork(),
    )
    specs = [item.spec for item, _ in reader.items()]
    assert "prior" not in specs[0].values
    assert specs[1].values == {**specs[0].values, "prior": "toybox"}
    assert specs[2] == specs[3]
    said = []
    monkeypatch.setattr(batch_work, "carry_out", lambda _, options: said.append(asked(options)))
    for number, spec in enumerate(specs[:2]):
        places = {digest: tmp_path / "run" for digest in spec.inputs()}
        CommandWork().execute(spec, tmp_path / str(number), places)
    assert ["prior" in names for names in said] == [False, True]


class Anything:
    """Ids of items that are all made: nothing else is asked of them."""

    def __contains__(self, id):
        return True


def test_poses_travel_with_the_meshes_that_they_name(tmp_path, capsys):
    (tmp_path / "meshes").mkdir()
    mug = MUG.read_text()
    (tmp_path / "meshes" / "mug.obj").write_text(f"mtllib mug.mtl\nusemtl red\n{mug}")
    (tmp_path / "meshes" / "mug.mtl").write_text("newmtl red\nKd 1 0 0\n")
    poses = [
        {"file": "meshes/mug.obj", "name": "left"},
        {"file": "meshes/mug.obj", "name": "right", "translation": [2, 0, 0]},
    ]
    (tmp_path / "poses.json").write_text(json.dumps(poses))
    path = tmp_path / "m.yaml"
    item = {"command": "compose", "poses": "poses.json", "turntable": False}
    path.write_text(json.dumps({"items": [item]}))
    assert batch(path, "--store", tmp_path / "store") == 0, capsys.readouterr().err
    records = (tmp_path / "store" / "inputs").glob("*.json")
    files = [[*json.loads(record.read_text())["files"]] for record in records]
    assert [names for names in files if "poses.json" in names] == [
        ["poses.json", "meshes/mug.mtl", "meshes/mug.obj"]
    ]
    (made,) = (tmp_path / "store").glob("items/*/*/asset.glb")
    assert {*Asset.load(made).meshes} == {"left", "right"}
