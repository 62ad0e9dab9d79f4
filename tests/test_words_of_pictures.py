"""Prompts that go with a picture: words of how a thing looks that a closed vocabulary does not have
are left out, and said; the picture shows them. What may be a thing is refused as ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from threestudio_like.cli import main
from threestudio_like.commands.jobs.batch_checks import check_options
from threestudio_like.commands.reconstruct import Reconstruct
from threestudio_like.engine.errors import VocabularyError
from threestudio_like.runs.options import PriorOptions
from threestudio_like.runs.prior import said_of_picture
from threestudio_like.systems.scene.prompt import SCENE_WORDS, read_scene
from threestudio_like.toybox.editions import edition

ASSETS = Path(__file__).parent.parent / "assets"

TWENTY = {
    # As it was, where all is known.
    "a red mug": ("a red mug", []),
    "A red MUG on a box.": ("A red MUG on a box.", []),
    "": ("", []),
    # Before the noun, with the article of the word that is next.
    "a checked mug": ("a mug", ["checked"]),
    "a checked red mug on a shiny table": ("a red mug on a table", ["checked", "shiny"]),
    "an elegant mug": ("a mug", ["elegant"]),
    "a dull orange mug": ("an orange mug", ["dull"]),
    "A Fancy mug.": ("A mug.", ["fancy"]),
    "ein schöner mug": ("mug", ["ein", "schöner"]),
    # Behind "with", where that names no other thing.
    "a mug with a handle on a box": ("a mug on a box", ["with", "a", "handle"]),
    "a mug with a red ball": ("a mug with a red ball", []),
    "with a handle": ("with a handle", []),
    "a mug with": ("a mug with", []),
    # A participle before a relation.
    "a mug standing on a wooden box": ("a mug on a box", ["standing", "wooden"]),
    "a mug sitting atop a box": ("a mug atop a box", ["sitting"]),
    # What may be a thing stays, and so do relations and numbers.
    "a camel on a box": ("a camel on a box", []),
    "a painting on a box": ("a painting on a box", []),
    "a camel, a mug": ("a camel, a mug", []),
    "a camel and a mug": ("a camel and a mug", []),
    "a mug beneath box": ("a mug beneath box", []),
    "two mug": ("two mug", []),
    "a İmug": ("a İmug", []),
}
FIFTY = {
    "a checked red mug on a shiny table": ("a checked red mug on a table", ["shiny"]),
    "a chair with yellow legs and a fluffy seat": (
        "a chair with yellow legs and a seat",
        ["fluffy"],
    ),
    "a mug with a handle": ("a mug with a handle", []),
}


@pytest.mark.parametrize(("world", "cases"), [("twenty", TWENTY), ("fifty", FIFTY)])
def test_what_is_left_of_a_prompt(world, cases):
    words = edition(world, "the test").vocabulary
    for prompt, wanted in cases.items():
        assert words.without_unknown(prompt, words.words, SCENE_WORDS) == wanted, prompt


def test_what_is_left_reads_as_the_same_things():
    words = edition("twenty", "the test").vocabulary
    prompt = "a checked mug standing on a shiny box, a tall tree behind the box"
    text, _ = words.without_unknown(prompt, words.words, SCENE_WORDS)
    scene = read_scene(text, words)
    assert [words.parse(o)[0].category for o in scene.objects] == ["mug", "box", "tree"]
    assert [(r.subject, r.kind, r.object) for r in scene.relations] == [
        (0, "on", 1),
        (2, "behind", 1),
    ]


def test_weights_and_open_vocabularies_stay():
    plain, shown = said_of_picture(PriorOptions(), "a checked mug")
    assert plain == "a mug"
    assert '"checked"' in shown
    assert '"a mug"' in shown
    weighted = "a (checked:1.3) mug"
    assert said_of_picture(PriorOptions(), weighted) == (weighted, "")
    far = PriorOptions(prior="sd-2.1-base")
    assert said_of_picture(far, "a checked mug") == ("a checked mug", "")


def test_a_picture_is_reconstructed_with_a_word_left_out(tmp_path):
    line = ["reconstruct", str(ASSETS / "pictures/chair.png"), "--prompt", "an elegant red chair"]
    line += ["--faces", "300", "--texture", "64", "--no-turntable", "--method", "cisp"]
    line += ["--shape.candidates", "1", "--colour.paint.start.refine.steps", "1"]
    line += ["--colour.paint.start.iterations", "2", "--colour.paint.start.refine.views", "4"]
    assert main([*line, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    events = [json.loads(x) for x in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    said = [e["line"] for e in events if e["event"] == "warning"]
    assert sum('does not know "elegant"' in line for line in said) == 1
    assert next(e for e in events if e["event"] == "prompt")["text"] == "a red chair"


def test_a_scene_is_asked_for_with_words_left_out(tmp_path, capsys):
    line = ["compose", str(ASSETS / "pictures/scene.png"), "--place.steps", "1"]
    line += ["a cosy green sofa standing in front of a shiny blue robot", "--place.views", "2"]
    line += ["--objects", str(ASSETS / "meshes/robot.glb"), str(ASSETS / "meshes/knot.glb")]
    line += ["--no-turntable", "--out", str(tmp_path / "run")]
    assert main(line) == 0
    said = capsys.readouterr()
    told = [x for x in (said.out + said.err).splitlines() if "does not know" in x]
    assert len(told) == 1
    assert '"cosy", "standing", "shiny"' in told[0]
    assert '"a green sofa in front of a blue robot"' in told[0]
    # What the user said is what the run is known by.
    assert "cosy" in (tmp_path / "run/run.yaml").read_text()


@pytest.mark.parametrize(("prompt", "fine"), [("a checked mug", True), ("a camel", False)])
def test_a_batch_asks_before_it_begins(prompt, fine):
    options = Reconstruct(picture=ASSETS / "pictures/chair.png", prompt=prompt)
    if fine:
        check_options("reconstruct", options)
    else:
        with pytest.raises(VocabularyError, match='"camel"'):
            check_options("reconstruct", options)


def test_a_thing_that_is_unknown_is_refused(tmp_path, capsys):
    line = ["compose", str(ASSETS / "pictures/scene.png"), "a checked camel on a blue box"]
    assert main([*line, "--out", str(tmp_path / "run")]) == 2
    assert '"camel"' in capsys.readouterr().err
