"""The procedural world: deterministic, exact, described by its captions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from threestudio_like.priors.registry import embedded_folder
from threestudio_like.toybox import vocabulary as words
from threestudio_like.toybox.dataset import draw_groups, view_word
from threestudio_like.toybox.objects import BUILDERS, HAS_FRONT
from threestudio_like.toybox.render import render, view_projection
from threestudio_like.toybox.vocabulary import Phrase, parse, unknown_words
from threestudio_like.toybox.world import RADIUS, build, build_scene, caption_of, describe, draw


def rng(seed=0):
    return np.random.Generator(np.random.Philox(key=seed))


def test_the_world_is_as_rich_as_promised():
    assert len(words.CATEGORIES) >= 20
    assert set(BUILDERS) == set(words.CATEGORIES)
    assert len(words.COLOURS) >= 10
    assert len(words.PATTERNS) >= 3
    assert len(words.RELATIONS) == 6
    assert set(words.CATEGORIES) >= HAS_FRONT


@pytest.mark.parametrize("category", words.CATEGORIES)
def test_every_category_is_a_valid_varied_mesh(category):
    extents = []
    for mode in words.MODES.get(category, (None,)):
        for seed in range(6):
            obj = build(Phrase(category, "red", mode), rng(seed))
            assert np.linalg.norm(obj.vertices, axis=1).max() == pytest.approx(RADIUS, abs=1e-4)
            assert obj.faces.min() >= 0
            assert obj.faces.max() < len(obj.vertices)
            assert obj.face_material.max() < len(obj.materials)
            corner = obj.vertices[obj.faces].astype(np.float64)
            volume = (
                np.einsum("ij,ij->i", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
            )
            assert volume > 0.01, "closed and facing outwards"
            extents.append(obj.vertices.max(0) - obj.vertices.min(0))
    assert np.std(extents, axis=0).max() > 0.003, "proportions vary"


def test_same_seed_same_bytes_and_splits_differ():
    a, b = draw_groups(3, 5, scenes=0.5), draw_groups(3, 5, scenes=0.5)
    assert a.images.tobytes() == b.images.tobytes()
    assert a.captions == b.captions
    # A later part of the world does not depend on where drawing began.
    assert draw_groups(3, 2, scenes=0.5, begin=3).images.tobytes() == a.images[3:].tobytes()
    c = draw(3, 8, "test")
    assert c.vertices.tobytes() != draw(3, 8, "train").vertices.tobytes()


def test_leading_proportions_of_the_splits_are_disjoint():
    from threestudio_like.toybox.twenty import held_apart

    drawn = {
        s: np.array([held_apart(rng(i), s) for i in range(400)])
        for s in ("train", "validation", "test")
    }
    held = (drawn["train"] > 0.3) & (drawn["train"] < 0.4) | (drawn["train"] > 0.6) & (
        drawn["train"] < 0.7
    )
    assert not held.any()
    assert drawn["validation"].min() >= 0.3
    assert drawn["validation"].max() <= 0.4
    assert drawn["test"].min() >= 0.6
    assert drawn["test"].max() <= 0.7


def test_training_never_shows_the_benchmarks_pairs():
    for index in range(400):
        phrase = draw(0, index).phrases[0]
        assert phrase.colour not in words.HELD_OUT_COLOURS[phrase.category]
    shown = {
        (p.category, p.colour)
        for p in (draw(0, i, every_pair=True).phrases[0] for i in range(3000))
    }
    assert any(k in words.HELD_OUT_COLOURS[c] for c, k in shown)
    assert all(len(set(v)) == 3 for v in words.HELD_OUT_COLOURS.values())


def test_masks_depth_and_normals_are_exact():
    obj = build(Phrase("ball", "blue"), rng(1))
    scale = obj.vertices.max(0)
    views = render(obj, np.stack([view_projection(0.0, 0.0)]), 65, np.full((1, 3), 0.5), 1)
    assert views.depth[0, 32, 32] == pytest.approx(3.0 - scale[2], abs=0.01)
    assert views.normal[0, 32, 32] == pytest.approx([0, 0, 1], abs=0.1)
    assert set(np.unique(views.mask)) == {0.0, 1.0}
    assert views.image[0, 0, 0] == pytest.approx([0.5] * 3)
    blue = views.image[0, 32, 32]
    assert blue[2] > 2 * blue[0]
    assert (views.depth[0][views.mask[0] == 0] == 0).all()


def test_the_light_does_not_turn_with_the_azimuth():
    """A body of revolution looks the same from the front and the back, and a quarter turn changes
    only the side light."""
    obj = build(Phrase("vase", "white"), rng(2))
    cameras = np.stack([view_projection(a, 0.2) for a in (0.0, math.pi)])
    views = render(obj, cameras, 48, np.ones((2, 3)))
    assert np.abs(views.image[0] - views.image[1]).max() < 0.08


def test_scene_relations_hold_and_parts_are_labelled():
    seen = set()
    for seed in range(120):
        scene = build_scene(rng(seed), count=2)
        relation = next(r for r in words.RELATIONS if f" {r} " in scene.caption)
        seen.add(relation)
        a, b = (scene.vertices[np.unique(scene.faces[s:e])] for s, e in scene.parts)
        low_a, high_a, low_b, high_b = a.min(0), a.max(0), b.min(0), b.max(0)
        if relation == "left of":
            assert high_a[0] < low_b[0]
        elif relation == "right of":
            assert low_a[0] > high_b[0]
        elif relation == "in front of":
            assert low_a[2] > high_b[2]
        elif relation == "behind":
            assert high_a[2] < low_b[2]
        elif relation == "under":
            assert high_a[1] < high_b[1]
        else:
            assert low_a[1] > low_b[1] + 0.2 * (high_b[1] - low_b[1])
    assert seen == set(words.RELATIONS)
    three = build_scene(rng(5), count=3)
    assert len(three.parts) == len(three.phrases) == 3


def test_captions_name_modes_patterns_and_synonyms():
    assert describe(Phrase("table", "red", "square")) == "a red table"
    assert describe(Phrase("table", "red", "round", "striped")) == "a striped red round table"
    assert describe(Phrase("box", "orange")) == "an orange box"
    texts = {caption_of(build(Phrase("mug", "red"), rng(i)), rng(i)) for i in range(60)}
    assert "a red cup" in texts
    assert "a red mug" in texts
    assert all(not unknown_words(t) for t in texts)


def test_prompts_are_parsed_back():
    assert parse("a red ball on a blue box") == [Phrase("ball", "red"), Phrase("box", "blue")]
    assert parse("a striped round green table")[0] == Phrase("table", "green", "round", "striped")
    assert parse("a crimson automobile")[0] == Phrase("car", "red")
    assert parse("nothing") == []


def test_unknown_words_come_with_near_ones():
    found = unknown_words("a pinkk dragon")
    assert [f.word for f in found] == ["pinkk", "dragon"]
    assert "pink" in found[0].nearest


@pytest.mark.parametrize(
    ("azimuth", "elevation", "word"),
    [(0, 0, "front"), (90, 0, "side"), (180, 10, "back"), (0, 70, "overhead"), (-34, 5, "front")],
)
def test_view_words(azimuth, elevation, word):
    assert view_word(math.radians(azimuth), math.radians(elevation)) == word


def test_the_tokenizer_has_one_token_a_word():
    from threestudio_like.toybox.twenty import TWENTY
    from threestudio_like.training.text_to_image.diffusion import edition_tokenizer

    tokenizer = edition_tokenizer(TWENTY)
    for word in words.WORDS:
        assert len(tokenizer(word).input_ids) == 3, word
    assert len(tokenizer("a red chair, front view").input_ids) == 8


def test_the_judge_knows_the_test_world():
    from threestudio_like.metrics.judge import Judge
    from threestudio_like.training.judge import judge_accuracy

    figures = judge_accuracy(
        Judge.load(embedded_folder("judge")), draw_groups(123, 60, split="test")
    )
    assert figures["category"] > 0.9
    assert figures["colour"] > 0.95


def test_every_piece_of_every_object_faces_outwards():
    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.toybox.vocabulary import CATEGORIES

    for index in range(2 * len(CATEGORIES)):
        obj = draw(5, index, "test")
        piece = Mesh(obj.vertices, obj.faces).components()
        volumes = [Mesh(obj.vertices, obj.faces[piece == k]).volume for k in range(piece.max() + 1)]
        assert min(volumes) > 0, obj.caption
