"""What the prompt's relations, and pieces that stand apart, tell of which thing is which."""

import numpy as np
import pytest
import torch

from threestudio_like.systems.scene.instances import coloured, contradicted, named_parts, told_parts
from threestudio_like.systems.scene.parts import Part, in_reach, mask_box
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.scene.segmentation import border_mask, strays
from threestudio_like.toybox.vocabulary import COLOURS

SIZE = 128


class Undecided:
    """An image-text prior for which all crops are like all texts."""

    def embed_images(self, images):
        return torch.ones(len(images), 1)

    def embed_texts(self, texts):
        return torch.ones(len(texts), 1)


class Reader(Undecided):
    """An image-text prior that compares the mean colour of what is not grey with the one named."""

    def embed_images(self, images):
        solid = (images.amax(-1, keepdim=True) - images.amin(-1, keepdim=True) > 0.1).float()
        mean = (images * solid).sum((1, 2)) / solid.sum((1, 2)).clamp_min(1)
        return torch.nn.functional.normalize(mean - 0.5, dim=-1)

    def embed_texts(self, texts):
        named = [next(COLOURS[w] for w in t.split() if w in COLOURS) for t in texts]
        return torch.nn.functional.normalize(torch.tensor(named) - 0.5, dim=-1)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def middles(parts):
    return [tuple((p.box[:2] + p.box[2:]) / 2) for p in parts]


PLACES = {
    "left of": (rectangle(10, 40, 40, 80), rectangle(80, 40, 110, 80)),
    "right of": (rectangle(80, 40, 110, 80), rectangle(10, 40, 40, 80)),
    "on": (rectangle(50, 20, 70, 50), rectangle(40, 52, 80, 100)),
    "under": (rectangle(50, 70, 70, 98), rectangle(30, 40, 90, 60)),
    "in front of": (rectangle(20, 60, 50, 110), rectangle(70, 20, 100, 70)),
    "behind": (rectangle(70, 20, 100, 70), rectangle(20, 60, 50, 110)),
}


@pytest.mark.parametrize("words", PLACES)
@pytest.mark.parametrize("turned", [False, True])
def test_of_things_that_look_alike_the_relation_tells_which_is_meant(words, turned):
    """Whatever the order of candidates and of phrases."""
    subject, thing = PLACES[words]
    masks = [thing, subject] if turned else [subject, thing]
    text = read_scene(f"a red box {words} a blue box")
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    parts, _ = named_parts(
        picture,
        subject | thing,
        masks,
        [0.8, 0.8],
        text.objects,
        Undecided(),
        relations=text.relations,
    )
    assert [p.phrase for p in parts] == ["a red box", "a blue box"]
    assert ((parts[0].mask > 0.5) == subject).all()
    boxes = np.stack([p.box for p in parts])
    assert contradicted(boxes, text.relations) == 0
    assert contradicted(boxes[::-1], text.relations) == 1


def test_looks_outweigh_a_relation():
    """A prompt may be wrong about where things are; what they are is seen."""

    red, blue = rectangle(10, 40, 40, 80), rectangle(80, 40, 110, 80)
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    picture[red], picture[blue] = (1, 0, 0), (0, 0, 1)
    text = read_scene("a red box right of a blue box")
    parts, _ = named_parts(
        picture,
        red | blue,
        [red, blue],
        [0.8, 0.8],
        text.objects,
        Reader(),
        relations=text.relations,
    )
    assert ((parts[0].mask > 0.5) == red).all()


@pytest.mark.parametrize("edge", [9, 12, 30])
def test_a_small_thing_beside_a_large_one_stands_out(edge):
    """Before a plain background: a ball of a hundredth of a house."""
    house, ball = rectangle(10, 30, 80, 110), rectangle(95, 100 - edge, 95 + edge, 100)
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    picture[house], picture[ball] = (0.7, 0.6, 0.1), (0.9, 0.4, 0.1)
    found = border_mask(picture) > 0.5
    assert (found & ball).sum() > 0.6 * ball.sum()
    assert (found & house).sum() > 0.9 * house.sum()
    assert (found & ~house & ~ball).sum() < 0.05 * house.sum()


def test_what_stands_apart_is_a_candidate():
    """The segmenter took two things for one; the background between them tells."""
    house, rocket, ball = (
        rectangle(10, 30, 60, 100),
        rectangle(70, 60, 80, 100),
        rectangle(95, 88, 107, 100),
    )
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    text = read_scene("an orange ball right of a yellow rocket and a house left of a yellow rocket")
    parts, left = named_parts(
        picture,
        house | rocket | ball,
        [house, rocket | ball],
        [0.9, 0.9],
        text.objects,
        Undecided(),
        relations=text.relations,
    )
    assert [p.phrase for p in parts] == text.objects
    for part, thing in zip(parts, (ball, rocket, house)):
        own = part.mask > 0.5
        assert (own & thing).sum() > 0.9 * (own | thing).sum()
    assert left < 0.02


@pytest.mark.parametrize("shade", [1.0, 0.7])
def test_colours_that_the_prompt_names_help_where_the_segmenter_does_not(shade):
    """A mug on a barrel that the segmenter has as one thing, and with the barrel's edge, in light
    and in shade; what is like its phrases already is left alone."""
    mug, barrel = rectangle(50, 20, 80, 60), rectangle(40, 60, 90, 110)
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    picture[mug] = shade * np.array([0.5, 0.25, 0.65])
    picture[barrel] = shade * np.array([0.9, 0.5, 0.1])
    text = read_scene("a purple mug on an orange barrel")
    both, edge = mug | barrel, mug | rectangle(40, 60, 90, 70)
    given = (picture, both, [both, edge], [0.9, 0.9])
    parts, _ = told_parts(*given, text, Reader(), lambda found: [p.likeness >= 0.9 for p in found])
    for part, thing in zip(parts, (mug, barrel)):
        own = part.mask > 0.5
        assert (own & thing).sum() > 0.9 * (own | thing).sum()
    plain, _ = told_parts(*given, text, Reader(), lambda found: [True] * len(found))
    without, _ = named_parts(*given, text.objects, Reader(), relations=text.relations)
    assert [p.mask.sum() for p in plain] == [p.mask.sum() for p in without]
    assert plain[0].mask.sum() > 1.2 * mug.sum()


def test_what_is_seen_through_a_thing_is_no_candidate():
    """A white wall between the legs of a table, where the prompt has a white vase."""
    table, gap = rectangle(20, 40, 100, 110), rectangle(30, 60, 90, 110)
    picture = np.full((SIZE, SIZE, 3), 0.93, np.float32)
    picture[table & ~gap] = (0.1, 0.3, 0.8)
    vase = rectangle(50, 80, 70, 110)
    phrases = ["a white vase", "a blue table"]
    found = coloured(picture, table, phrases)
    assert len(found) == 1
    assert not (found[0] & gap).any()
    picture[vase] = (0.75, 0.74, 0.72)
    assert any((f & vase).sum() > 0.9 * (f | vase).sum() for f in coloured(picture, table, phrases))
    assert coloured(picture, table, ["a vase", "a table"]) == []


def part(*pieces):
    mask = np.any([rectangle(*p) for p in pieces], 0).astype(np.float32)
    return Part("a thing", mask, mask_box(mask))


def test_what_hangs_together_through_nothing_that_stands_out_is_no_part():
    """A frame on the wall is no part of a bottle below it."""
    bottle, frame = (40, 50, 60, 110), (30, 10, 50, 30)
    foreground = rectangle(*bottle) | rectangle(*frame)
    found = in_reach([part(bottle, frame)], foreground)[0]
    assert np.array_equal(found.mask > 0.5, rectangle(*bottle))


def test_a_piece_left_out_is_told():
    """Once it is more than a rim."""
    bottle, frame, speck = (40, 50, 60, 110), (30, 10, 50, 30), (30, 10, 33, 13)
    whole = [part(bottle, frame), part(bottle, speck), part(bottle)]
    own = [part(bottle), part(bottle), part(bottle)]
    assert strays(whole, own) == ['25% of "a thing" lies apart from the rest of it: left out']
    whole[0].phrase = ""
    assert strays(whole[:1], own[:1])[0].startswith("25% of object 1 lies apart")


def test_what_another_thing_or_a_stripe_cuts_in_two_is_whole():
    """Where the other one, or what stands out, lies between."""
    upper, between, lower = (40, 20, 60, 50), (30, 50, 70, 80), (40, 80, 60, 110)
    behind, front = part(upper, lower), part(between)
    found = in_reach([behind, front], np.zeros((SIZE, SIZE), bool))
    assert np.array_equal(found[0].mask > 0.5, rectangle(*upper) | rectangle(*lower))
    striped = in_reach([part(upper, lower)], rectangle(40, 20, 60, 110))[0]
    assert np.array_equal(striped.mask > 0.5, rectangle(*upper) | rectangle(*lower))


def test_choices_are_judged_by_what_remains_of_each_thing():
    """A box behind a table, which the segmenter has together with the table alone, and a red panel
    of the table that is as red as the box."""
    table, box = rectangle(20, 50, 110, 110), rectangle(25, 4, 105, 50)
    panel, both = rectangle(60, 70, 75, 85), table | box
    picture = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    picture[table], picture[box | panel] = COLOURS["blue"], COLOURS["red"]
    given = (picture, both, [both, table, panel], [0.8, 0.9, 0.9])
    parts, left = named_parts(*given, ["a red box", "a blue table"], Reader())
    found = [p.mask > 0.5 for p in parts]
    assert (found[0] & box).sum() == box.sum() == found[0].sum()
    assert not (found[1] & box).any()
    assert parts[0].likeness > 0.9
    assert left == 0
