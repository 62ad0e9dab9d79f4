"""The editions of the toybox: the first is as it was, the second is closed, wide, held apart in all
proportions, and is what its captions say."""

from __future__ import annotations

import numpy as np
import pytest

from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.toybox.dataset import draw_groups
from threestudio_like.toybox.editions import EDITIONS, edition, edition_of, write_card
from threestudio_like.toybox.fifty import FIFTY
from threestudio_like.toybox.fifty.edition import BANDS_OF, STRETCH, banded_unit
from threestudio_like.toybox.objects.parts import Proportions
from threestudio_like.toybox.render import render, view_projection
from threestudio_like.toybox.twenty import TWENTY
from threestudio_like.toybox.words import Phrase
from threestudio_like.training.text_to_image.diffusion import edition_tokenizer

WORDS = FIFTY.vocabulary
SHAPES = [(c.name, m) for c in FIFTY.categories for m in c.modes]

BEFORE = [
    (0.0074467804089032325),
    (-0.3534273448053417),
    (30.42320047128928),
    (0.007582297123094318),
]
CAPTIONS = ["a striped purple ball", "a striped orange robot"]


def rng(seed=0):
    return np.random.Generator(np.random.Philox(key=seed))


def extents(obj):
    return obj.vertices.max(0) - obj.vertices.min(0)


def ramp(array):
    """The product of an array's values with fixed weights, which any change moves."""
    flat = np.asarray(array, np.float64).ravel()
    return float(flat @ np.cos(np.arange(len(flat)) * 0.7310585)) / np.sqrt(len(flat))


def test_the_first_edition_is_as_it_was_before_there_were_two():
    """Figures of the last commit with one world."""
    objects = [TWENTY.draw(3, i, "test", scenes=0.4, patterned=True) for i in range(40)]
    figures = [
        ramp(np.concatenate([o.vertices for o in objects])),
        ramp(np.concatenate([o.materials for o in objects])),
        ramp(np.concatenate([o.faces for o in objects])),
        ramp(draw_groups(7, 20, scenes=0.3, patterned=True).images / 255),
    ]
    assert figures == pytest.approx(BEFORE, abs=2e-3)
    assert objects[0].caption == CAPTIONS[0]
    assert objects[33].caption == CAPTIONS[1]


def test_there_are_fifty_things_and_the_twenty_are_among_them():
    assert len(FIFTY.categories) >= 50
    assert set(TWENTY.vocabulary.categories) <= set(WORDS.categories)
    assert all(len(c.modes) >= 2 for c in FIFTY.categories)
    assert len(set(WORDS.words)) == len(WORDS.words)


@pytest.mark.parametrize(("name", "mode"), SHAPES)
def test_every_shape_is_closed_outward_and_in_one_piece(name, mode):
    from scipy.spatial import cKDTree

    for seed in range(3):
        obj = FIFTY.build(Phrase(name, "red", mode), rng(seed))
        assert np.linalg.norm(obj.vertices, axis=1).max() == pytest.approx(0.95, abs=1e-4)
        edges = obj.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        _, directed = np.unique(edges, axis=0, return_counts=True)
        _, shared = np.unique(np.sort(edges, 1), axis=0, return_counts=True)
        assert (directed == 1).all()
        assert (shared == 2).all()
        piece = Mesh(obj.vertices, obj.faces).components()
        clouds = []
        for k in range(piece.max() + 1):
            faces = obj.faces[piece == k]
            corner = obj.vertices[faces].astype(np.float64)
            a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
            assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0, (name, mode, k)
            area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
            draws = rng(k).choice(len(faces), 1500, p=area / area.sum())
            w = rng(k + 1).dirichlet([1, 1, 1], 1500)
            clouds.append(np.einsum("ij,ijk->ik", w, corner[draws]))
        reached, left = {0}, set(range(1, len(clouds)))
        trees = [cKDTree(c) for c in clouds]
        front = [0]
        while front:
            k = front.pop()
            near = {n for n in left if trees[k].query(clouds[n])[0].min() < 0.07}
            front += near
            left -= near
            reached |= near
        assert not left, f"{name} {mode}: a part floats"


def test_held_out_objects_differ_in_every_proportion():
    seen = {s: [] for s in ("train", "validation", "test")}
    for split, units in seen.items():
        for seed in range(20):
            for category in FIFTY.categories:
                r = rng(seed)
                p = Proportions(r, banded_unit(r, split))
                category.build(p, category.modes[0])
                units += p.units
    bands = {s: set(np.floor(np.array(u) * 20).astype(int).tolist()) for s, u in seen.items()}
    assert bands["validation"] == set(BANDS_OF["validation"])
    assert bands["test"] == set(BANDS_OF["test"])
    assert bands["train"] == set(range(20)) - bands["validation"] - bands["test"]
    assert min(len(seen["train"]), 2) == 2


def test_the_same_seed_gives_the_same_bytes_and_another_split_another_object():
    a, b = (draw_groups(3, 6, scenes=0.4, world="fifty") for _ in range(2))
    assert a.images.tobytes() == b.images.tobytes()
    assert a.captions == b.captions
    one, two = FIFTY.draw(3, 8, "test"), FIFTY.draw(3, 8, "train")
    assert one.vertices.tobytes() != two.vertices.tobytes()


def test_captions_are_read_back():
    kinds = set()
    for index in range(600):
        obj = FIFTY.draw(11, index, scenes=0.3)
        assert not WORDS.unknown(obj.caption), obj.caption
        assert WORDS.objection(obj.caption) is None, obj.caption
        found = WORDS.parse(obj.caption)
        if len(obj.phrases) == 1:
            assert found == obj.phrases
            kinds |= {bool(found[0].parts), bool(found[0].adjectives), found[0].pattern}
        else:
            assert set(found) == set(obj.phrases), obj.caption
    assert {True, False, "plain", "brick", "wooden", "metal", "checked"} <= kinds


def test_modes_that_share_a_category_differ():
    for category in FIFTY.categories:
        shapes = [FIFTY.build(Phrase(category.name, "red", m), rng(1)) for m in category.modes]
        assert len({o.vertices.tobytes() for o in shapes}) == len(shapes), category.name


DIRECTIONS = {"tall": 1, "low": -1, "wide": 1, "narrow": -1, "long": 1, "short": -1}
"""Whether the share of the object's main extent grows; which it is depends on the category."""


@pytest.mark.parametrize("category", FIFTY.categories, ids=lambda c: c.name)
def test_adjectives_change_the_shape(category):
    mode = category.modes[0]
    for word in ("small", *category.adjectives):
        moved = []
        for seed in range(3):
            plain = FIFTY.build(Phrase(category.name, "red", mode), rng(seed))
            other = FIFTY.build(Phrase(category.name, "red", mode, adjectives=(word,)), rng(seed))
            if word in ("tall", "low"):
                a, b = (extents(o)[1] / extents(o)[[0, 2]].max() for o in (plain, other))
            elif word in ("wide", "narrow"):
                a, b = (extents(o)[0] / extents(o)[1] for o in (plain, other))
            elif word == "small":
                a, b = extents(other).max(), extents(plain).max() * 0.99
            elif word in ("long", "short"):
                along = 1 if category.name == "key" else 2
                a, b = (extents(o)[along] / extents(o)[0] for o in (plain, other))
            else:
                a, b = 0.0, float(plain.vertices.tobytes() != other.vertices.tobytes())
            moved.append((b - a) * DIRECTIONS.get(word, 1))
        assert min(moved) > 0, (category.name, word, moved)
        assert word == "small" or word in STRETCH


@pytest.mark.parametrize("category", [c for c in FIFTY.categories if c.parts], ids=lambda c: c.name)
def test_a_colour_word_paints_the_part_that_it_names(category):
    """And a caption names no part that the mode lacks."""
    for part in category.parts:
        painted = 0
        for mode in category.modes:
            bare = Phrase(category.name, "blue", mode)
            plain = FIFTY.build(bare, rng(2))
            named = Phrase(category.name, "blue", mode, parts=((part, "yellow"),))
            obj = FIFTY.build(named, rng(2))
            assert np.array_equal(obj.vertices, plain.vertices)
            colours = obj.materials[obj.face_material][:, :3]
            seen = int((np.abs(colours - WORDS.colours["yellow"]).max(1) < 0.12).sum())
            painted += seen
            assert WORDS.parse(obj.caption) == [named if seen else bare]
            assert obj.phrases == [named if seen else bare]
            assert (np.abs(colours - WORDS.colours["blue"]).max(1) < 0.15).any()
        assert painted > 0, (category.name, part)


@pytest.mark.parametrize(
    ("pattern", "low", "high"),
    [
        ("striped", 0.3, 0.6),
        ("dotted", 0.2, 0.55),
        ("checked", 0.35, 0.65),
        ("wooden", 0.25, 0.6),
        ("brick", 0.15, 0.45),
    ],
)
def test_patterns_cover_their_share_of_every_side(pattern, low, high):
    for seed in range(4):
        obj = FIFTY.build(Phrase("box", "blue", "closed", pattern), rng(seed))
        obj.materials[:, :3], obj.materials[:, 3:6] = 0.0, 1.0
        obj.materials[1:, :3] = 0.0
        top = np.stack([view_projection(0.0, 0.0), view_projection(np.pi / 2, 0.0)])
        views = render(obj, top, 96, np.zeros((2, 3), np.float32))
        main = views.mask > 0.99
        main[:, : int(96 * 0.45)] = False
        share = (views.image[..., 0] > 0.4)[main].mean()
        assert low < share < high, (pattern, seed, share)


def test_what_a_prompt_cannot_have_is_refused_with_the_way_out():
    assert "two chairs" in (WORDS.objection("red chairs") or "")
    assert WORDS.objection("two red chairs") is None
    assert len(WORDS.parse("two red chairs")) == 2
    assert "does not go with" in (WORDS.objection("an office table") or "")
    two = WORDS.parse("a red ball and a blue box with a green lid")
    assert [p.category for p in two] == ["ball", "box"]
    assert two[1].parts == (("lid", "green"),)
    assert [w.word for w in WORDS.unknown("four dragons")][-1] == "dragons"


def test_a_model_says_which_world_it_knows(tmp_path):
    assert edition_of(tmp_path) is TWENTY
    write_card(tmp_path, FIFTY)
    assert edition_of(tmp_path) is FIFTY
    with pytest.raises(ConfigError, match="no world"):
        edition("sixty")


def test_scenes_hold_their_relations_and_patterns_move_with_their_objects():
    for index in range(24):
        scene = FIFTY.draw_layout(5, index, "train")
        assert np.linalg.norm(scene.whole().vertices, axis=1).max() <= 0.951
        i, words, j = scene.relations[0]
        a, b = (scene.placements[k].apply(scene.objects[k].vertices) for k in (i, j))
        if words == "left of":
            assert a[:, 0].max() < b[:, 0].min()
        elif words == "on":
            assert a[:, 1].min() == pytest.approx(b[:, 1].max(), abs=1e-3)
        elif words == "behind":
            assert a[:, 2].max() < b[:, 2].min()
        assert scene.whole().painted is not None


@pytest.mark.parametrize("world", EDITIONS, ids=lambda world: world.name)
def test_the_longest_prompt_has_room(world):
    """Scenes of three objects with all their words, as the text-to-image model is trained."""
    tokenizer = edition_tokenizer(world)
    drawn = (world.draw(5, n, "train", scenes=1.0, patterned=True) for n in range(400))
    longest = max(len(tokenizer(f"{thing.caption}, overhead view").input_ids) for thing in drawn)
    # Room also for what four hundred draws did not show.
    assert longest + 4 <= world.longest_prompt == tokenizer.model_max_length
