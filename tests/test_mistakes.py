"""Provoked mistakes over all commands: one line, exit code 2, a way out, and no half-made folder.

With those of tests/test_cli.py, which need a finished run, they are more than 120.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from threestudio_like.cli import main

from .runs import MUG

LONG = "a red chair " * 3000
CHAIR = ("generate", "a red chair")
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # commands
    "no such command": (("generat", "a red chair"), 'Did you mean "generate"'),
    "a command of another tool": (("train-nerf",), "there is no command"),
    "an option before the command": (("--prompt", "a red chair"), "there is no command"),
    # quotes
    "no quotes": (("generate", "a", "red", "chair"), 'generate "a red chair"'),
    "no quotes behind a mesh": (("texture", "{mug}", "a", "blue", "mug"), '"a blue mug"'),
    "azimuths of another number": (
        ("reconstruct", "{png}", "--azimuths", "0", "90"),
        "names 2 for 1 picture",
    ),
    "distance alone": (("reconstruct", "{png}", "--distance", "3"), "--fov"),
    "no length": (("reconstruct", "{png}", "--height", "tall"), "0.8m"),
    "depth of nowhere": (("reconstruct", "{png}", "--depth", "{tmp}/d.npy"), "no such file"),
    "two runs": (("export", "a", "b"), "does not know what to do"),
    # a word or a file too many
    "a picture for a prompt": (("generate", "photo.png", "--prior", "nobody/x"), "reconstruct"),
    "a mesh for a prompt": (("texture", "{mug}", "b.glb", "--prior", "nobody/x"), "of a file"),
    "prompt and mesh in turn": (("texture", "a blue mug", "{mug}"), "of a file"),
    "a second picture for a prompt": (("compose", "{png}", "b.png"), 'of a file, "b.png"'),
    "prompts for a prompt": (("generate", "{text}"), "batch --prompts"),
    "a second mesh of view": (("view", "{mug}", "b.glb"), 'shows one file, and "b.glb"'),
    "a segmenter for a mesh": (
        ("view", "{mug}", "--segmenter", "toybox"),
        "--segmenter: finds what is clicked in a picture",
    ),
    "a second picture of view": (("view", "{png}", "{png}"), "shows one file"),
    "a folder behind a mesh": (("view", "{mug}", "{full}"), "shows one file"),
    "words behind a photo": (("reconstruct", "{png}", "a red chair"), "with --prompt"),
    "words behind evaluate": (("evaluate", "{mug}", "a mug"), "Did you mean --prompt 'a mug'?"),
    "a truth behind evaluate": (("evaluate", "{mug}", "b.obj"), "Did you mean --truth b.obj?"),
    "a format behind export": (("export", "{mug}", "obj"), "Did you mean --to obj?"),
    "a file behind export": (("export", "{mug}", "x.obj"), "Did you mean --to obj?"),
    "a file behind convert": (("mesh", "convert", "{mug}", "x.glb"), "Did you mean --out x.glb?"),
    "a number behind decimate": (("mesh", "decimate", "{mug}", "9"), "Did you mean --faces 9?"),
    "a target of register": (("mesh", "register", "{mug}", "x"), "Did you mean --onto x?"),
    "a number behind resume": (("resume", "x", "300"), "Did you mean --steps 300?"),
    "a folder behind concept": (("train", "concept", "x"), "Did you mean --images x?"),
    "a store behind status": (("batch", "status", "x"), "Did you mean --store x?"),
    # options of another action
    "faces of convert": (
        ("mesh", "convert", "{mug}", "--faces", "100", "--out", "x.glb"),
        "--faces: changes nothing in mesh convert: it is an option of decimate",
    ),
    "a default of another action": (
        ("mesh", "clean", "{mug}", "--faces", "5000", "--out", "x.glb"),
        "--faces: changes nothing in mesh clean",
    ),
    "a file of info": (("mesh", "info", "{mug}", "--out", "x.glb"), "--out: changes nothing"),
    "holes of unwrap": (("mesh", "unwrap", "{mug}", "--holes", "4"), "it is an option of clean"),
    "pictures of toybox": (("train", "toybox", "--images", "x"), "an option of train concept"),
    "a world of concept": (("train", "concept", "--world", "fifty"), "of other trainings"),
    "prompts for a manifest": (("batch", "{text}"), "--prompts"),
    "words behind doctor": (("doctor", "please"), "does not know what to do"),
    # options
    "misspelt option": ((*CHAIR, "--step", "3"), 'Did you mean "--steps"'),
    "option of another command": ((*CHAIR, "--boxes", "1,2,3,4"), "compose has one of that name"),
    "another tool's steps": ((*CHAIR, "--max-steps", "3"), "Here it is --steps"),
    "another tool's iterations": ((*CHAIR, "--iters", "3"), "Here it is --steps"),
    "another tool's output": ((*CHAIR, "--output", "x"), "Here it is --out"),
    "another tool's workspace": ((*CHAIR, "--workspace", "x"), "Here it is --out"),
    "another tool's guidance": ((*CHAIR, "--guidance-scale", "7"), "--distil.guidance.scale"),
    "another tool's negative": ((*CHAIR, "--negative-prompt", "x"), "Here it is --negative"),
    "another tool's gpu": ((*CHAIR, "--gpu", "0"), "Here it is --device"),
    "another tool's half": ((*CHAIR, "--fp16"), "Here it is --dtype float16"),
    "another tool's model": ((*CHAIR, "--model", "x"), "Here it is --prior"),
    "another tool's key": ((*CHAIR, "--hf-key", "x"), "Here it is --prior"),
    "another tool's texture": ((*CHAIR, "--texture-size", "512"), "Here it is --texture"),
    "another tool's format": (("export", "x", "--format", "glb"), "Here it is --to"),
    "option without a value": ((*CHAIR, "--steps"), "--steps"),
    "dotted option without a value": ((*CHAIR, "--distil.steps"), "wants a value"),
    "dotted option before an option": ((*CHAIR, "--distil.steps", "--quiet"), "wants a value"),
    "switch with a word": ((*CHAIR, "--quiet=perhaps"), "wants true or false"),
    "unknown switch": ((*CHAIR, "--no-colour"), "there is no option"),
    "a short option": ((*CHAIR, "-o", "x"), "Here it is --out"),
    "a short option of nobody": (("mesh", "info", "{mug}", "-z"), 'there is no option "-z"'),
    "one dash too few": ((*CHAIR, "-steps", "3"), 'Did you mean "--steps"'),
    "misspelt prompt": ((*CHAIR, "--promt", "x"), "Here it is the prompt behind the command"),
    "misspelt picture": (("reconstruct", "--pictur", "x"), "Here it is the picture behind"),
    "mesh as an option": (("texture", "--mesh", "{mug}"), "Here it is the mesh behind"),
    "no format behind --to": (("export", "{mug}", "--to"), "--to: wants a value"),
    "no file behind --lora": ((*CHAIR, "--lora", "--quiet"), "--lora: wants a value"),
    "no file behind --plugins": ((*CHAIR, "--plugins"), "--plugins: wants a value"),
    "no angle behind --azimuths": (("reconstruct", "{png}", "--azimuths"), "--azimuths: wants"),
    "prompt of bytes": (("generate", "\udcff chair"), "prompt: is not UTF-8"),
    "picture of bytes": (("reconstruct", "\udcff.png"), "picture: is not UTF-8"),
    "folder of bytes": ((*CHAIR, "--out", "\udcff"), "--out: is not UTF-8"),
    "another photo of bytes": (("reconstruct", "{png}", "\udcff.png"), "further: is not UTF-8"),
    "dotted value of bytes": (
        (*CHAIR, "--distil.guidance.prompt.negative", "\udcff"),
        "--distil.guidance.prompt.negative: is not UTF-8",
    ),
    "a short option that replaces a dotted one": (
        (*CHAIR, "--steps", "40", "--distil.steps", "50"),
        "--distil.steps",
    ),
    # choices
    "dtype": ((*CHAIR, "--dtype", "float61"), 'Did you mean "float16"'),
    "kernels": ((*CHAIR, "--kernels", "tritn"), 'Did you mean "triton"'),
    "keep": ((*CHAIR, "--keep", "al"), 'Did you mean "all"'),
    "unwrap": (("texture", "{mug}", "a mug", "--unwrap", "atuo"), 'Did you mean "auto"'),
    "mesh action": (("mesh", "inof", "{mug}"), 'Did you mean "info"'),
    "shell": (("completion", "bsh"), 'Did you mean "bash"'),
    "shell without a script": (("completion", "tcsh"), "bash, zsh"),
    "preset": ((*CHAIR, "--preset", "papr"), 'Did you mean "paper"'),
    "system": ((*CHAIR, "--system", "dreamfusoin"), 'Did you mean "dreamfusion"'),
    "method": (("reconstruct", "{png}", "--method", "csip"), 'Did you mean "cisp"'),
    "method of another task": (("reconstruct", "{png}", "--method", "latent-nerf"), "text-to-3d"),
    "system of another task": ((*CHAIR, "--system", "comboverse"), "scene"),
    "guidance": ((*CHAIR, "--guidance", "clpi"), "clip"),
    "guidance to be weighted": ((*CHAIR, "--guidance.clpi.weight", "1"), "clip"),
    "representation": ((*CHAIR, "--representation.kind", "voxel"), 'Did you mean "voxels"'),
    "training": (("train", "g3d"), 'Did you mean "g3dr"'),
    "format": (("export", "{mug}", "--to", "gltb"), "there is no format"),
    "device": ((*CHAIR, "--device", "gpu"), "there is no device"),
    "axis": (("texture", "{mug}", "a mug", "--up", "up"), "up"),
    "unit": (("mesh", "info", "{mug}", "--unit", "yard"), "yard"),
    # numbers
    "steps of nothing": ((*CHAIR, "--steps", "0"), "at least 1"),
    "steps below nothing": ((*CHAIR, "--steps", "-3"), "--steps"),
    "steps and a half": ((*CHAIR, "--steps", "2.5"), "--steps"),
    "dotted steps below nothing": ((*CHAIR, "--distil.steps", "-3"), "distil.steps"),
    "dotted steps and a half": ((*CHAIR, "--distil.steps", "3.7"), "distil.steps"),
    "scale that is no number": ((*CHAIR, "--distil.guidance.scale", "nan"), "scale"),
    "scale without end": ((*CHAIR, "--distil.guidance.scale", "inf"), "scale"),
    "scale of words": ((*CHAIR, "--distil.guidance.scale", "strong"), "scale"),
    "schedule": ((*CHAIR, "--distil.guidance.t_max", "0.98->"), "schedule"),
    "schedule of an empty window": ((*CHAIR, "--distil.guidance.t_max", "1->0 @ 9..9%"), "window"),
    "threads without end": ((*CHAIR, "--threads", "1000000"), "--threads"),
    "no threads": ((*CHAIR, "--threads", "0"), "--threads"),
    "minutes that are no number": ((*CHAIR, "--minutes", "nan"), "--minutes"),
    "minutes of nothing": ((*CHAIR, "--minutes", "0"), "--minutes"),
    "minutes below nothing": ((*CHAIR, "--minutes", "-1"), "--minutes"),
    "checkpoints at every step of none": (
        (*CHAIR, "--checkpoint-steps", "0"),
        "--checkpoint-steps",
    ),
    "log of none": ((*CHAIR, "--log-every", "0"), "--log-every"),
    "previews without a pause": ((*CHAIR, "--preview-seconds", "-1"), "--preview-seconds"),
    "memory": ((*CHAIR, "--memory", "lots"), "amount of memory"),
    "memory of nothing": ((*CHAIR, "--memory", "0GB"), "amount of memory"),
    "no microbatch": ((*CHAIR, "--accumulate", "0"), "--accumulate"),
    "no rank": ((*CHAIR, "--ranks", "0"), "--ranks"),
    "seed below nothing": ((*CHAIR, "--seed", "-1"), "--seed"),
    "seed that is a fraction": ((*CHAIR, "--seed", "0.5"), "--seed"),
    "resolution": ((*CHAIR, "--resolution", "4"), "from 8 to 1024"),
    "texture size": ((*CHAIR, "--texture", "9000"), "from 64 to 8192"),
    "faces": ((*CHAIR, "--faces", "10"), "at least 50"),
    "strictness without a sketch": ((*CHAIR, "--strictness", "0.5"), "Add --sketch"),
    "strictness above one": ((*CHAIR, "--sketch", "{mug}", "--strictness", "1.5"), "from 0 to 1"),
    "azimuths that are none": (("reconstruct", "{png}", "--azimuths", "nan"), "--azimuths"),
    "weight of a LoRA that is none": ((*CHAIR, "--lora-weight", "nan"), "--lora-weight"),
    "weight of pictures without end": ((*CHAIR, "--like-weight", "inf"), "--like-weight"),
    "friction that is none": (("export", "{mug}", "--friction", "nan"), "--friction"),
    "no field of view of a picture": (("reconstruct", "{png}", "--fov", "0"), "from 5 to 120"),
    "elevation from below": (("reconstruct", "{png}", "--elevation", "-90"), "--elevation"),
    "no distance": (("reconstruct", "{png}", "--distance", "0", "--fov", "40"), "--distance"),
    "no height": (("reconstruct", "{png}", "--height", "0m"), "--height"),
    "field of view": (("compose", "{png}", "--fov", "3"), "--fov"),
    "elevation": (("compose", "{png}", "--elevation", "95"), "--elevation"),
    "port": (("view", "{mug}", "--port", "99999"), "--port"),
    "instances": (("evaluate", "{mug}", "--instances", "0"), "--instances"),
    "objects of a training": (("train", "cisp", "--objects", "0"), "--objects"),
    "workers of a training": (("train", "toybox", "--workers", "0"), "--workers"),
    "faces of decimate": (
        ("mesh", "decimate", "{mug}", "--faces", "2", "--out", "{tmp}/m.glb"),
        "faces",
    ),
    # prompts
    "empty prompt": (("generate", ""), "prompt is empty"),
    "prompt of spaces": (("generate", "   "), "prompt is empty"),
    "prompt of signs": (("generate", "?!"), "holds no words"),
    "endless prompt": (("generate", LONG), "characters"),
    "unknown word": (("generate", "a red dragon"), '"dragon"'),
    "unknown word of another script": (("generate", "红色 chair"), "红色"),
    "prompt without a thing": (("generate", "red and blue"), "names no thing"),
    "text of one object": (("compose", "--text", "a red ball"), "use generate"),
    "text and picture": (
        ("compose", "{png}", "--text", "a ball on a box"),
        "goes without a picture",
    ),
    "neither": (("compose",), "wants a picture"),
    "spatial words that the prompt lacks": (
        ("compose", "--text", "a red ball on a blue box", "--spatial-words", "beneath"),
        "beneath",
    ),
    # files
    "no such picture": (("reconstruct", "{tmp}/none.png"), "no such file"),
    "picture that is a folder": (("reconstruct", "{tmp}"), "folder"),
    "picture that is text": (("reconstruct", "{text}"), "{text}"),
    "picture that is empty": (("reconstruct", "{empty}"), "{empty}"),
    "no such mesh": (("texture", "{tmp}/none.glb", "a red chair"), "no such file"),
    "mesh of no format": (("mesh", "info", "{text}"), "{text}"),
    "mesh that is cut off": (("mesh", "info", "{glb}"), "{glb}"),
    "no file to write": (("mesh", "convert", "{mug}"), "--out"),
    "file in the way": (("mesh", "convert", "{mug}", "--out", "{glb}"), "exists"),
    "no such sketch": ((*CHAIR, "--sketch", "{tmp}/none.obj"), "no such file"),
    "no such config": ((*CHAIR, "--config", "{tmp}/none.yaml"), "no such file"),
    "config that is no YAML": ((*CHAIR, "--config", "{text}"), "{text}"),
    "config with strange keys": ((*CHAIR, "--config", "{topless}"), "steps"),
    "config with an empty config": ((*CHAIR, "--config", "{hollow}"), "config"),
    "config with a list": ((*CHAIR, "--config", "{list}"), "{list}"),
    "config with aliases": ((*CHAIR, "--config", "{bomb}"), "{bomb}"),
    "config that is deep": ((*CHAIR, "--config", "{deep}"), "{deep}"),
    "config with a fraction of steps": ((*CHAIR, "--config", "{fraction}"), "steps"),
    "config with infinity": ((*CHAIR, "--config", "{infinity}"), "scale"),
    "no such concept": ((*CHAIR, "--concept", "{tmp}/none.safetensors"), "no such file"),
    "prompt behind a concept": (
        ("generate", "--concept", "{text}", "a red chair"),
        'generate "a red chair" --concept',
    ),
    "prompt behind pictures": (
        ("texture", "{mug}", "--like", "{png}", "a red mug"),
        '{mug} "a red mug" --like',
    ),
    "prompt of one word behind a LoRA": (
        ("generate", "--steps", "3", "--lora", "{text}", "chair"),
        'generate "chair" --lora',
    ),
    "bundle in the way": ((*CHAIR, "--save-embeddings", "{text}"), "exists"),
    "no such prior": ((*CHAIR, "--prior", "toy-box"), 'Did you mean "toybox"'),
    "prior that is a file": ((*CHAIR, "--prior", "{text}"), "is a file"),
    "prior that is an empty folder": ((*CHAIR, "--prior", "{tmp}"), "has no"),
    "no such plug-in": ((*CHAIR, "--plugins", "{tmp}/none.py"), "no such file"),
    "plug-in that fails": ((*CHAIR, "--plugins", "{broken}"), "cannot be used"),
    "name that is too long": ((*CHAIR, "--out", "{tmp}/" + "x" * 300), "too long"),
    "folder that is a file": ((*CHAIR, "--out", "{text}/x"), "{text}"),
    "folder with files": ((*CHAIR, "--out", "{full}"), "holds files already"),
    "no run to resume": (("resume", "{tmp}/none"), "no run to resume"),
    "no run in a folder": (("resume", "{full}"), "run.yaml"),
    "no run to refine": (("refine", "{full}"), "run.yaml"),
    "no run to view": (("view", "{full}"), "no run"),
    "nothing to export": (("export", "{full}"), "no asset"),
    "nothing to evaluate": (("evaluate", "{full}"), "{full}"),
    "two prompts for a mesh": (("view", "{mug}", "a mug", "a cup"), "takes one prompt"),
    "nothing to paint on": (("view", "{mug}", "a mug"), "no texture coordinates"),
    "concept without pictures": (("train", "concept"), "--images"),
    "values of a training that has none": (("train", "depth", "--model.width", "3"), "no option"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Files to make mistakes with."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("places")
    full = folder / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    files = {
        "text": ("file.txt", "just [text"),
        "empty": ("empty.png", ""),
        "topless": ("topless.yaml", "steps: 3\nprompt: a red chair\n"),
        "hollow": ("hollow.yaml", "config:\n- 1\n- 2\n"),
        "list": ("list.yaml", "- 1\n- 2\n"),
        "bomb": ("bomb.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nconfig: {c: [*b, *b]}\n"),
        "deep": ("deep.yaml", "config: " + "[" * 400 + "]" * 400 + "\n"),
        "fraction": ("fraction.yaml", "config: {distil: {steps: 3.7}}\n"),
        "infinity": ("infinity.yaml", "config: {distil: {guidance: {scale: .inf}}}\n"),
        "broken": ("broken.py", "raise ValueError('no')\n"),
    }
    found: dict[str, Path] = {"tmp": folder / "tmp", "full": full, "mug": MUG}
    found["tmp"].mkdir()
    for key, (name, text) in files.items():
        found[key] = folder / name
        found[key].write_text(text)
    found["glb"] = folder / "cut.glb"
    header = json.dumps({"asset": {"version": "2.0"}}).encode()
    found["glb"].write_bytes(b"glTF" + struct.pack("<II", 2, 10_000) + header)
    found["png"] = folder / "picture.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(found["png"])
    return found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_a_way_out(name, places, tmp_path, capsys, monkeypatch):
    words, expected = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in places["full"].parent.rglob("*")}
    code = main([w.format(**places) if "{" in w else w for w in words])
    captured = capsys.readouterr()
    message = captured.err.strip()
    assert code == 2, message or captured.out
    assert len(message.splitlines()) == 1, message
    for ruler in ("───", "---", "===", "╭", "│", "Traceback"):
        assert ruler not in message.replace("--", "  ") or ruler == "---", message
    assert "- - -" not in message
    assert "unexpected" not in message
    assert expected.format(**places) in message, message
    assert {p: p.stat().st_mtime_ns for p in places["full"].parent.rglob("*")} == before
    assert not list(tmp_path.iterdir()), "a folder was left behind"


def test_there_are_more_than_a_hundred_and_twenty():
    from .test_cli import MISTAKES as WITH_A_RUN

    assert len(MISTAKES) + len(WITH_A_RUN) >= 120
    assert len({words for words, _ in MISTAKES.values()}) == len(MISTAKES)


def test_train_alone_lists_what_can_be_trained(capsys):
    assert main(["train"]) == 0
    out = capsys.readouterr().out
    for name in ("toybox", "concept", "cisp", "g3dr", "segmenter"):
        assert name in out


@pytest.mark.parametrize(
    "command",
    [
        "generate",
        "texture",
        "reconstruct",
        "compose",
        "refine",
        "resume",
        "export",
        "view",
        "evaluate",
        "mesh",
        "train",
        "samples",
        "doctor",
        "vocabulary",
        "completion",
    ],
)
def test_help_is_in_groups_and_ends_with_two_examples(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    tail = out.split("examples:")[1].strip().splitlines()
    assert len(tail) == 2
    assert all(line.strip().startswith(f"threestudio-like {command}") for line in tail)
    assert main([command, "-h"]) == 0
    if command in ("generate", "texture", "reconstruct", "compose", "refine"):
        for purpose in ("The method", "The pretrained model", "The asset", "The run"):
            assert purpose in out, purpose
