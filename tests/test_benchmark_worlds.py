"""Benchmarks ask in the words of the edition at hand; the prompts of tables and of development are
held apart; and the error of a prior's normals is what it says."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import prior_normals  # noqa: E402
import tables  # noqa: E402
import worlds  # noqa: E402
from prior_samples import Judges, cameras_of  # noqa: E402
from second_world.judge import SecondJudge, accuracy, losses  # noqa: E402
from second_world.judge_data import NONE, Pictures, Words, toy_object  # noqa: E402

from threestudio_like.engine.errors import ConfigError  # noqa: E402
from threestudio_like.systems.scene.prompt import read_scene  # noqa: E402
from threestudio_like.toybox.editions import EDITIONS, edition, write_card  # noqa: E402
from threestudio_like.toybox.toy_object import RADIUS  # noqa: E402
from threestudio_like.toybox.words import Phrase  # noqa: E402

FIFTY = edition("fifty")
SETS = ("benchmark", "development")
BOTH = pytest.mark.parametrize("world", EDITIONS, ids=lambda w: w.name)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.delenv(worlds.CHOSEN, raising=False)
    monkeypatch.setattr(tables, "_noted", {})


@BOTH
@pytest.mark.parametrize("which", SETS)
def test_sixty_different_prompts_that_the_edition_understands(world, which):
    asked = worlds.asked(world, which)
    assert len({a.text for a in asked}) == len(asked) == 60
    for one in asked:
        assert tuple(world.vocabulary.parse(one.text)) == one.phrases
        assert world.vocabulary.objection(one.text) is None
        assert not world.vocabulary.unknown(one.text)


@BOTH
def test_no_pair_of_category_and_colour_is_in_both_sets(world):
    pairs = [
        {(p.category, p.colour) for a in worlds.asked(world, which) for p in a.phrases if p.colour}
        for which in SETS
    ]
    assert not pairs[0] & pairs[1]
    held_out = world.vocabulary.held_out_colours
    assert all(colour in held_out[category] for category, colour in pairs[0])


@pytest.mark.parametrize("which", SETS)
def test_all_kinds_of_words_are_asked_for_early_and_evenly(which):
    asked = worlds.asked(FIFTY, which)
    kinds = [a.kind for a in asked]
    assert {k: kinds.count(k) for k in worlds.COUNTS} == worlds.COUNTS
    assert set(kinds[:10]) == set(worlds.COUNTS)
    said = " ".join(a.text for a in asked).split()
    for words in (("striped", "dotted", "checked"), FIFTY.vocabulary.relations):
        assert all(f"{w} " in " ".join(said) for w in words)
    single = [a.phrases[0] for a in asked if len(a.phrases) == 1]
    assert len({p.category for p in single}) == 54
    assert any(p.colour is None for p in single)


@pytest.mark.parametrize("which", SETS)
def test_a_part_that_is_asked_for_is_there(which):
    for one in worlds.asked(FIFTY, which):
        phrase = one.phrases[0]
        drawn = FIFTY.build(phrase, np.random.Generator(np.random.Philox(key=3)))
        bare = FIFTY.build(
            dataclasses.replace(phrase, parts=()), np.random.Generator(np.random.Philox(key=3))
        )
        for _, colour in phrase.parts:
            rgb = np.asarray(FIFTY.vocabulary.colours[colour])
            near = np.abs(drawn.materials[:, :3] - rgb).max(1) < 0.12
            assert near.any(), one.text
        assert not phrase.parts or not np.array_equal(drawn.materials, bare.materials)


def test_the_edition_is_the_models_unless_the_command_line_says_otherwise(tmp_path, monkeypatch):
    write_card(tmp_path, FIFTY)
    assert worlds.world_at_hand(tmp_path) is FIFTY
    assert tables.provenance()["world"] == "fifty (as the model's card says)"
    assert worlds.world_at_hand().name == "twenty"
    parser = argparse.ArgumentParser()
    worlds.add_world(parser)
    monkeypatch.setenv(worlds.CHOSEN, "")
    parser.parse_args(["--world", "twenty"])
    assert worlds.world_at_hand(tmp_path).name == "twenty"
    assert tables.provenance()["world"] == "twenty (as --world says)"
    with pytest.raises(ConfigError, match="fifty"):
        parser.parse_args(["--world", "fitfy"])


def test_runs_of_two_editions_have_folders_of_their_own(tmp_path):
    write_card(tmp_path, FIFTY)
    assert worlds.runs("x.jsonl") == ROOT / "outputs" / "benchmark" / "x.jsonl"
    assert worlds.runs("x.jsonl", tmp_path) == ROOT / "outputs" / "benchmark" / "fifty" / "x.jsonl"


def test_scenes_of_both_editions_are_read_as_they_were_said():
    for world in EDITIONS:
        for number in range(20):
            scene = world.draw_layout(5001, number, "test")
            said = read_scene(scene.caption, scene.words).objects
            names = [scene.words.describe(o.phrases[0]) for o in scene.objects]
            assert sorted(said) == sorted(names), scene.caption


def test_the_second_judge_learns_the_colour_of_a_part_that_it_is_told():
    words = Words.of(FIFTY)
    assert set(words.parts) == {p for c in FIFTY.categories for p in c.parts}
    for index in range(400):
        phrase = FIFTY.draw(
            71, index, ("train", "validation")[index % 2], every_pair=True, patterned=index % 3 > 0
        ).phrases[0]
        if phrase.parts:
            break
    pixels, labels = toy_object(words, FIFTY, 71, index)
    shown = np.array(labels)
    part, colour = phrase.parts[0]
    assert (shown[:, 7] == words.parts.index(part)).all()
    assert (shown[:, 8] == words.colours.index(colour)).all()
    torch.manual_seed(1)
    judge = SecondJudge(words)
    picture = torch.from_numpy(pixels[..., :3]).float() / 255
    grad = torch.autograd.grad(losses(judge, picture, torch.from_numpy(shown)), judge.part.weight)
    touched = grad[0].abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == [words.parts.index(part)]
    assert "part's colour" in accuracy(judge.eval(), Pictures(pixels, shown))
    assert judge.part_colour(picture, part).shape == (4, len(words.colours))


def test_a_part_that_the_shape_does_not_have_is_no_label():
    words = Words.of(FIFTY)
    from second_world.judge_data import _part_seen

    one = SimpleNamespace(phrases=[Phrase("boat", "red", "sailing", parts=(("cabin", "blue"),))])
    assert _part_seen(words, FIFTY, one) == (NONE, NONE)
    one = SimpleNamespace(phrases=[Phrase("boat", "red", "motor", parts=(("cabin", "blue"),))])
    assert _part_seen(words, FIFTY, one)[0] == words.parts.index("cabin")


def _prior(space):
    return SimpleNamespace(facts=SimpleNamespace(normal_space=space))


@pytest.mark.parametrize("space", ["world", "camera"])
def test_normals_are_read_back_from_pictures_in_either_axes(space):
    cameras, prior = cameras_of(64), _prior(space)
    views = prior_normals.drawn(FIFTY, Phrase("chair", "red", "solid"), 3, "test", 64)
    pictures = prior_normals.true_pictures(views, cameras, prior)
    found, off = prior_normals.read(pictures, cameras, prior)
    truth = prior_normals.normals_of(views)
    assert prior_normals.angle(found, truth) < 0.1
    assert off < 0.01
    assert prior_normals.overlap(found, truth) > 0.95
    other = _prior("camera" if space == "world" else "world")
    assert prior_normals.angle(prior_normals.read(pictures, cameras, other)[0], truth) > 20


def test_the_angle_of_turned_normals_is_the_turn():
    truth = prior_normals.normals_of(
        prior_normals.drawn(FIFTY, Phrase("ball", "red", "round"), 1, "test", 64)
    )
    a = math.radians(17.0)
    turn = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    turned = prior_normals.Normals(truth.normal @ turn.T, truth.mask)
    # Of a sphere that is turned about one axis, normals along the axis stay where they are.
    assert 10 < prior_normals.angle(turned, truth) < 17.01
    front = prior_normals.facing(truth, cameras_of(64))
    # A point of the sphere at an angle to the optical axis lies this far from the picture's middle.
    theta = np.linspace(0, math.acos(RADIUS / 3), 4000)
    place = np.sin(theta) / (3 / RADIUS - np.cos(theta))
    inner = place < place.max() * (1 - 1 / 30)
    mean = np.average(theta[inner][1:], weights=np.diff(place[inner] ** 2))
    assert prior_normals.angle(front, truth) == pytest.approx(math.degrees(mean), abs=1.5)


def test_the_nearest_is_chosen_by_outlines_alone():
    known = prior_normals.pool(FIFTY, Phrase("table", "red", "square"), 6, 64)
    assert [prior_normals.nearest(n, known) for n in known] == list(range(6))
    lost = [prior_normals.Normals(n.normal[:, :, :, [2, 0, 1]], n.mask) for n in known]
    assert [prior_normals.nearest(n, known) for n in lost] == list(range(6))


def test_what_a_judge_does_not_know_is_not_counted_against_a_sample():
    words = Words(("ball", "box"), ("red",), ("plain",), ("on",))
    torch.manual_seed(2)
    judges = Judges(None, None, SecondJudge(words).eval())
    pictures = torch.rand(4, 64, 64, 3)
    phrase = Phrase("chair", "red", None, "striped")
    figures = judges(pictures, worlds.Asked("a striped red chair", "plain", (phrase,)))
    assert math.isnan(figures["second: category"])
    assert math.isnan(figures["second: pattern"])
    assert figures["second: colour"] == 1.0
