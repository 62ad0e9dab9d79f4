"""One object cut out of a picture: by the embedded way, by what the user marks, by segmenters of
other makers; what is doubtful is told in a line each."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from threestudio_like.cli import main
from threestudio_like.commands.jobs.picture.given import pictures_of
from threestudio_like.engine.errors import ConfigError, InputError, ModelError
from threestudio_like.engine.events import Events
from threestudio_like.priors.clip import load_clip
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.segmentation import cut_out as module
from threestudio_like.priors.segmentation.automatic import bounds
from threestudio_like.priors.segmentation.cut_out import (
    SURE,
    CutOutSegmenter,
    guided_filter,
    plain_border,
    tidied,
)
from threestudio_like.priors.segmentation.graph_cut import minimum_cut, smoothness
from threestudio_like.priors.segmentation.loading import load_remover
from threestudio_like.priors.segmentation.removers import TransformersRemover
from threestudio_like.priors.segmentation.segment_anything import load_segmenter
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter
from threestudio_like.systems.cut_out.cut import Marks, cut_out
from threestudio_like.systems.cut_out.marks import check_boxes, read_mask, read_masks
from threestudio_like.systems.image_to_3d.fit import Fit, with_word
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.scene.parts import Part, mask_box
from threestudio_like.systems.scene.presence import (
    PresenceLimits,
    Rival,
    Rivals,
    notes_on,
    rivals_of,
)
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.scene.segmentation import (
    DecomposeConfig,
    by_itself,
    by_masks,
    check_marks,
    without_ground,
)
from threestudio_like.toybox.editions import edition_of


def disc(size: int = 96, x: float = 48, y: float = 48, radius: float = 22) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size]
    return np.hypot(columns - x, rows - y) < radius


def photo(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A striped wall and a floor, with noise, and a shaded orange thing with a white band."""
    size = len(mask)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    wall = 0.45 + 0.2 * np.sin(40 * x)[..., None] * [0.5, 0.8, 1.0] + 0.1 * y[..., None]
    picture = np.where((y > 0.7)[..., None], [0.35, 0.3, 0.28], wall)
    thing = np.array([0.9, 0.5, 0.1]) * (0.75 + 0.4 * x)[..., None]
    thing = np.where((np.abs(y - 0.5) < 0.06)[..., None], 0.92, thing)
    picture = np.where(mask[..., None], thing, picture)
    return (picture + rng.normal(0, 0.01, picture.shape)).clip(0, 1).astype(np.float32)


def with_alpha(alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([photo(disc(len(alpha))), alpha[..., None]], -1).astype(np.float32)


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_the_minimum_cut_is_the_labelling_of_least_cost():
    """Against all labellings of a few pixels."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        unary = rng.normal(0, 1, (3, 3)).round(2)
        pairs = [p.round(2) for p in smoothness(rng.normal(0, 10, (3, 3, 3)), 0.8)]

        def cost(labels: np.ndarray, unary=unary, pairs=pairs) -> float:
            total = float(unary[labels].sum())
            for (dy, dx), pair in zip(((0, 1), (1, 0), (1, 1), (1, -1)), pairs):
                for y in range(3 - dy):
                    for x in range(max(0, -dx), 3 - max(0, dx)):
                        total += pair[y, x] * (labels[y, x] != labels[y + dy, x + dx])
            return total

        every = [np.array([(k >> b) & 1 for b in range(9)], bool).reshape(3, 3) for k in range(512)]
        least = min(cost(labels) for labels in every)
        assert cost(minimum_cut(unary, pairs)) == pytest.approx(least, abs=0.05)


def test_the_guided_filter_gives_a_mixed_edge_its_shares():
    """Where every pixel mixes two colours, the share is linear in them."""
    alpha = gaussian_filter(disc().astype(float), 2)
    guide = alpha[..., None] * [0.9, 0.2, 0.1] + (1 - alpha[..., None]) * [0.1, 0.3, 0.8]
    found = guided_filter(guide, (alpha > 0.5).astype(float), 4, 1e-5)
    assert np.abs(found - alpha).mean() < 0.6 * np.abs((alpha > 0.5) - alpha).mean()


def test_the_embedded_way_cuts_out_what_the_border_cannot():
    segmenter = CutOutSegmenter()
    for seed, at in enumerate(((48, 48), (40, 56), (60, 50))):
        truth = disc(x=at[0], y=at[1])
        picture = photo(truth, seed)
        assert iou(segmenter.mask(picture) > 0.5, truth) > 0.9
        assert iou(segmenter.inside(picture, bounds(truth)) > 0.5, truth) > 0.9


def test_an_unsure_cut_out_is_told_and_its_result_is_never_called_fitting(monkeypatch):
    truth = disc()
    picture = photo(truth)
    alpha, trust = CutOutSegmenter().found(picture)
    assert iou(alpha > 0.5, truth) > 0.9
    assert trust > SURE
    sure = cut_out(picture, "x")
    assert sure.sure
    assert not any("not sure" in line for line in sure.told)
    # A network that sees the object elsewhere.
    other = np.zeros((96, 96))
    other[5:30, 5:30] = 1
    monkeypatch.setattr(module._Looked, "asked", lambda self, solid: other)
    found = photo_of(picture, "x", {})
    assert not found.sure
    assert any("not sure" in line and "--mask" in line for line in found.told)
    fit = with_word(Fit(0.99, 40.0), "relief", found_cut=True, sure_cut=found.sure)
    assert fit.word == "doubtful"
    assert "--mask" in fit.advice
    assert with_word(Fit(0.3), "relief", sure_cut=False).word == "does not fit"
    # Before one colour the network has no say, and a mask or an alpha is the user's word.
    plain = np.where(truth[..., None], picture, 0.93).astype(np.float32)
    assert photo_of(plain, "x", {}).sure
    assert photo_of(with_alpha(truth * 1.0), "x", {}).sure


def test_specks_and_small_holes_go_and_large_ones_stay():
    mask = disc(radius=30)
    mask[48, 48] = False
    mask[4, 4] = True
    ring = disc(radius=30) & ~disc(radius=14)
    assert np.array_equal(tidied(mask), disc(radius=30))
    assert np.array_equal(tidied(ring), ring)


ALPHAS = {
    "45 percent everywhere": (disc() * 0.45, "at most 45% opaque", disc()),
    "a speck": (disc() | disc(x=5, y=5, radius=1.1), "speck", disc()),
    "two objects": (
        disc(x=25, radius=15) | disc(x=70, radius=15),
        "2 separate pieces (50% and 50%)",
        disc(x=25, radius=15) | disc(x=70, radius=15),
    ),
    "cut off": (disc(y=90), "reaches the bottom edge", disc(y=90)),
    "cut off twice": (disc(x=2, y=93), "the left edge and the bottom edge", disc(x=2, y=93)),
    "inverted": (~disc(), "taken as inverted", disc()),
    "soft": (gaussian_filter(disc() * 1.0, 3), "", gaussian_filter(disc() * 1.0, 3) > 0.5),
    "plain": (disc() * 1.0, "", disc()),
    "a ring": (disc() & ~disc(radius=9), "", disc() & ~disc(radius=9)),
}


@pytest.mark.parametrize("kind", list(ALPHAS))
def test_odd_alphas_are_cleaned_or_told_in_a_line(kind):
    alpha, said, truth = ALPHAS[kind]
    found = cut_out(with_alpha(np.asarray(alpha, np.float32)), "x.png")
    assert found.how == "by the picture's alpha"
    assert np.array_equal(found.alpha > 0.5, truth)
    if said:
        assert len(found.told) == 1
        assert said in found.told[0]
        assert "\n" not in found.told[0]
    else:
        assert found.told == []


def test_a_frame_around_nothing_is_asked_about():
    pixels = with_alpha((~disc()).astype(np.float32))
    pixels[disc(), :3] = 0
    found = cut_out(pixels, "x.png")
    assert "is its alpha inverted?" in found.told[0]
    assert np.array_equal(found.alpha > 0.5, ~disc())


@pytest.mark.parametrize(
    ("count", "said"), [(0, "every pixel is transparent"), (1, "of 1 pixel"), (6, "of 6 pixels")]
)
def test_too_small_an_object_is_refused(count, said):
    alpha = np.zeros((96, 96), np.float32)
    alpha[40, 40 : 40 + count] = 1
    with pytest.raises(InputError, match=said):
        cut_out(with_alpha(alpha), "x.png")


@pytest.fixture
def scene(tmp_path):
    """Two orange things before a wall; the second is meant."""
    one, two = disc(x=24, y=60, radius=16), disc(x=70, y=40, radius=20)
    picture = (photo(one | two) * 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "scene.png")
    return tmp_path, picture.astype(np.float32) / 255, one, two


def test_a_box_means_what_is_in_it(scene):
    _, picture, _, two = scene
    box = bounds(two)
    said = ",".join(f"{v:g}" for v in box)
    found = cut_out(picture, "x.png", Marks(box=said))
    assert iou(found.alpha > 0.5, two) > 0.85
    assert said in found.how
    # In pixels of the file, which was twice as large.
    double = ",".join(f"{2 * v:g}" for v in box)
    again = cut_out(picture, "x.png", Marks(box=double), file_shape=(192, 192))
    assert np.array_equal(again.alpha, found.alpha)


@pytest.mark.parametrize("kind", ["white on black", "alpha", "white on clear", "ones", "larger"])
def test_masks_in_every_way_that_they_are_drawn(tmp_path, kind):
    mask = disc()
    white = (mask * 255).astype(np.uint8)
    if kind == "white on black":
        Image.fromarray(white).save(tmp_path / "m.png")
    elif kind == "alpha":
        Image.fromarray((with_alpha(mask) * 255).astype(np.uint8)).save(tmp_path / "m.png")
    elif kind == "white on clear":
        Image.fromarray(np.stack([white] * 4, -1)).save(tmp_path / "m.png")
    elif kind == "ones":
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "m.png")
    else:
        Image.fromarray(white).resize((192, 192)).save(tmp_path / "m.png")
    shape = (192, 192) if kind == "larger" else (96, 96)
    found = read_mask(tmp_path / "m.png", shape, (96, 96))
    assert iou(found > 0.5, mask) > 0.98
    cut = cut_out(photo(mask), "x.png", Marks(mask=tmp_path / "m.png"), file_shape=shape)
    assert cut.how == "by the mask m.png"


def test_masks_that_do_not_fit_are_refused(tmp_path):
    Image.new("L", (50, 96), 255).save(tmp_path / "size.png")
    Image.new("L", (96, 96), 0).save(tmp_path / "black.png")
    Image.new("L", (96, 96), 255).save(tmp_path / "white.png")
    for name, said in (("size", "has 50 x 96 pixels"), ("black", "empty"), ("white", "white all")):
        with pytest.raises(InputError, match=said):
            read_mask(tmp_path / f"{name}.png", (96, 96), (96, 96))


def test_masks_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    """As photos of an object are; what an operating system lays beside them is no mask."""
    for number in range(1, 13):
        Image.fromarray(
            np.pad(np.full((8, 8), 255, np.uint8), ((0, 24), (2 * number, 24 - 2 * number)))
        ).save(tmp_path / f"mask{number}.png")
    (tmp_path / "._mask1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "more.png").mkdir()
    masks, _ = read_masks(tmp_path, (32, 32), (32, 32))
    assert [int(np.flatnonzero(mask.any(0))[0]) for mask in masks] == [*range(2, 26, 2)]
    names = [path.name for path in pictures_of(tmp_path, ())]
    assert names == [f"mask{number}.png" for number in range(1, 13)]


@pytest.mark.parametrize("kind", ["colours", "greys", "palette", "scaled", "white behind"])
def test_label_maps_are_masks(tmp_path, kind):
    one, two = disc(x=70, radius=18), disc(x=25, radius=18)
    labels = np.zeros((96, 96, 3), np.uint8)
    if kind == "white behind":
        labels[:] = 255
    if kind in ("greys", "palette"):
        numbers = (one * 1 + two * 2).astype(np.uint8)
        picture = Image.fromarray(numbers)
        if kind == "palette":
            picture = Image.fromarray(numbers, mode="P")
            picture.putpalette([0, 0, 0, 200, 10, 10, 10, 10, 200])
        picture.save(tmp_path / "labels.png")
        order = [one, two]
    else:
        labels[one], labels[two] = (255, 0, 0), (0, 90, 255)
        picture = Image.fromarray(labels)
        if kind == "scaled":
            # Its edges are mixed colours.
            picture = picture.resize((480, 480)).resize((96, 96), Image.Resampling.BILINEAR)
        picture.save(tmp_path / "labels.png")
        order = [two, one]
    masks, told = read_masks(tmp_path / "labels.png", (96, 96), (96, 96))
    assert len(masks) == 2
    for found, truth in zip(masks, order):
        assert iou(found > 0.5, truth) > 0.95
    assert "labels 2 objects" in told[0]
    assert ("dark to light" if kind in ("greys", "palette") else "left to right") in told[0]


def test_a_photograph_is_no_label_map(tmp_path):
    Image.fromarray((photo(disc()) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is no label map"):
        read_masks(tmp_path / "a.png", (96, 96), (96, 96))
    labels = np.zeros((96, 96, 3), np.uint8)
    labels[disc()] = (200, 90, 30)
    Image.fromarray(labels).save(tmp_path / "a.jpg", quality=40)
    with pytest.raises(InputError, match="JPEG mixes colours"):
        read_masks(tmp_path / "a.jpg", (96, 96), (96, 96))
    with pytest.raises(InputError, match="no such folder or file"):
        read_masks(tmp_path / "none", (96, 96), (96, 96))


def test_equal_and_nested_boxes_are_refused_before_any_work():
    outer, inner, other = [10, 10, 80, 80], [20, 20, 40, 40], [10, 10, 79, 80]
    with pytest.raises(ConfigError, match="boxes 1 and 2 are the same"):
        check_boxes(np.array([outer, other], float), 96, 96)
    with pytest.raises(ConfigError, match="box 2 lies within box 1"):
        check_boxes(np.array([outer, inner], float), 96, 96)
    boxes = np.array([inner, outer], float)
    with pytest.raises(ConfigError, match="box 1 lies within box 2"):
        check_marks(boxes, None, read_scene("a ball left of a sofa"), 96, 96)
    # The prompt says how that can be.
    check_marks(boxes, None, read_scene("a ball in front of a sofa"), 96, 96)
    check_boxes(np.array([[0, 0, 40, 40], [30, 30, 90, 90]], float), 96, 96)


def test_an_object_without_pixels_of_its_own_is_refused():
    same = disc().astype(np.float32)
    with pytest.raises(InputError, match="is hidden wholly by object"):
        by_masks(np.stack([same, same]), read_scene("a ball on a box"))


def test_what_is_not_in_the_picture_is_said_and_never_assigned():
    mask = disc().astype(np.float32)
    there = Part("a red ball", mask, mask_box(mask), likeness=0.7)
    gone = Part("a blue lamp", mask, mask_box(mask), likeness=0.109)
    unsure = Part("a red bottle", mask, mask_box(mask), likeness=0.35)
    none, limits = Rivals(), PresenceLimits(likeness=0.3)
    assert notes_on([there], [none], 0, limits) == []
    (line,) = notes_on([there, unsure], [none, none], 0, limits)
    assert '"a red bottle" is doubtful' in line
    assert "--boxes" in line
    with pytest.raises(InputError, match=r'"a blue lamp" cannot be found .*likeness 0\.10, '):
        notes_on([unsure, gone], [none, none], 0, limits)
    # What is more like something else is doubted however like it is, and refused in another colour.
    green = Rivals(Rival("a green ball", 0.15), Rival("a red box", 0.2))
    (line,) = notes_on([there], [green], 0, limits)
    assert 'more like "a green ball"' in line
    strict = replace(limits, other_colour=0.1)
    with pytest.raises(InputError, match=r'cannot be found in it \(.* looks like "a green ball"\)'):
        notes_on([there], [green], 0, strict)
    box = Rivals(Rival("a green ball", 0.0), Rival("a red box", 0.3))
    assert 'more like "a red box"' in notes_on([there], [box], 0, limits)[0]


def test_what_is_left_beside_sure_things_is_taken_and_said():
    mask = disc().astype(np.float32)
    sure = Part("a red ball", mask, mask_box(mask), likeness=0.7)
    odd = Part("a blue boat", mask, mask_box(mask), likeness=0.1)
    none, limits = Rivals(), PresenceLimits()
    barrel = Rivals(Rival("a black boat", -0.1), Rival("a blue barrel", 0.4))
    (line,) = notes_on([sure, odd], [none, barrel], 0.05, limits)
    assert '"a blue boat" is doubtful' in line
    assert 'more like "a blue barrel"; it is what is left beside the others' in line
    black = Rivals(Rival("a black boat", 0.15))
    for parts, rivals, left in (
        ([sure, odd], [none, barrel], 0.3),  # Something else is left.
        ([odd], [barrel], 0.0),  # There are no others.
        ([replace(sure, likeness=0.35), odd], [none, barrel], 0.0),  # They are not sure.
        ([sure, odd, odd], [none, barrel, barrel], 0.0),  # Two are missing.
        ([sure, odd], [none, black], 0.0),  # It has another colour.
    ):
        with pytest.raises(InputError, match="cannot be found in it"):
            notes_on(parts, rivals, left, limits)


def test_what_else_a_thing_looks_like():
    """Discs are balls, and red ones are red."""
    clip, words = load_clip("toybox"), edition_of(embedded_folder("clip")).vocabulary
    mask = disc().astype(np.float32)
    rows = np.mgrid[0:96, 0:96][0]
    light = np.clip(1.25 - rows / 96, 0.4, 1)[..., None]
    picture = np.where(mask[..., None] > 0, light * np.array([0.86, 0.13, 0.12]), 0.8)
    phrases = ["a red ball", "a blue ball", "a red chair", "a unicorn"]
    parts = [Part(p, mask, mask_box(mask)) for p in phrases]
    right, blue, chair, unknown = rivals_of(picture.astype(np.float32), parts, clip, words)
    assert right.colour.lead < 0
    assert right.category.lead < 0.1
    assert (blue.colour.phrase, blue.colour.lead > 0.2) == ("a red ball", True)
    assert (chair.category.phrase, chair.category.lead > 0.25) == ("a red ball", True)
    assert chair.colour.lead < 0.1
    assert unknown == Rivals()


def test_a_shadow_on_the_ground_is_none_of_the_thing():
    thing, shadow = disc(radius=20), disc(x=70, y=64, radius=12)
    cut = without_ground(thing | shadow, thing)
    assert (cut & thing).sum() == thing.sum()
    assert (cut & ~thing).sum() < 0.3 * (shadow & ~thing).sum()
    # What the foreground has mostly missed is not cut to it.
    half = thing & disc(x=20, radius=30)
    assert half.sum() < 0.5 * thing.sum()
    assert np.array_equal(without_ground(thing, half), thing)


def test_before_a_floor_the_ground_is_none_of_the_things():
    """Two things on a floor before a wall; the horizon and the shadows stand out, too."""
    rows = np.mgrid[0:160, 0:160][0]
    picture = np.where(rows[..., None] < 70, [0.9, 0.92, 0.94], [0.6, 0.5, 0.42]) * np.ones(3)
    one, two = disc(160, 50, 90, 22), disc(160, 112, 94, 18)
    picture[disc(160, 72, 110, 14)] *= 0.8
    # A ball is brighter above, where the light is.
    shade = np.clip(1.2 - (rows - 70)[..., None] / 120, 0.5, 1.1)
    for ball, colour in ((one, (0.8, 0.1, 0.1)), (two, (0.1, 0.2, 0.8))):
        picture[ball] = (np.array(colour) * shade)[ball]
    said = read_scene("a red ball left of a blue ball")
    assert not plain_border(picture)
    parts, _ = by_itself(picture.astype(np.float32), said, DecomposeConfig(likeness=0.0))
    assert len(parts) == 2
    for part, truth in zip(parts, (one, two)):
        found = part.mask > 0.5
        assert (found & truth).sum() > 0.85 * (found | truth).sum()


def test_warnings_of_an_inner_run_are_heard():
    heard: list[str] = []
    events = Events(None, "quiet")
    events.relay = heard.append
    events.say("Warning: half of it is missing.")
    events.say("asset.glb  (ok)")
    assert heard == ["Warning: half of it is missing."]


def saved_processor(folder, kind: str, size: int) -> None:
    facts = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.25],
        "do_rescale": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))


def tiny_segformer(folder, labels: dict[int, str]):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        num_labels=len(labels),
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    model = SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    saved_processor(folder, "SegformerImageProcessor", 64)
    return model


def test_a_semantic_segmenter_as_the_library_runs_it(tmp_path):
    model = tiny_segformer(tmp_path, {0: "tree", 1: "background", 2: "chair"})
    picture = photo(disc())
    found = load_remover(str(tmp_path)).mask(picture)
    from transformers import SegformerImageProcessorPil

    processor = SegformerImageProcessorPil.from_pretrained(tmp_path)
    shown = (picture * 255).round().astype(np.uint8)
    with torch.no_grad():
        logits = model(**processor(images=[shown], return_tensors="pt")).logits
    behind = logits.softmax(1)[:, 1:2]
    wanted = torch.nn.functional.interpolate(1 - behind, (96, 96), mode="bilinear")[0, 0]
    assert np.abs(found - wanted.numpy()).max() < 1e-5
    assert found.std() > 0


def test_segment_anything_by_its_box_as_the_library_runs_it(tmp_path):
    from transformers import SamConfig, SamModel, SamVisionConfig

    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        mlp_dim=64,
        output_channels=32,
        window_size=2,
        global_attn_indexes=[1],
        num_pos_feats=16,
    )
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "image_embedding_size": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }
    model = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    ).eval()
    model.save_pretrained(tmp_path)
    picture = photo(disc(64, 32, 32, 16))
    box = np.array([10, 12, 50, 52], np.float32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(picture) - mean) / deviation).permute(2, 0, 1)[None]
    with torch.no_grad():
        answer = model(pixel_values=pixels, input_boxes=torch.from_numpy(box)[None, None])
    best = int(answer.iou_scores[0, 0].argmax())
    logits = torch.nn.functional.interpolate(answer.pred_masks[0], (64, 64), mode="bilinear")
    remover = load_remover(str(tmp_path))
    found = remover.inside(picture, box)
    assert np.abs(found - logits[0, best].sigmoid().numpy()).max() < 1e-5
    assert load_segmenter(str(tmp_path)).name == str(tmp_path)


FOLDERS = {
    "remote code": (
        {"architectures": ["BiRefNet"], "auto_map": {"AutoConfig": "birefnet.Config"}},
        "brings programs of its own (BiRefNet), which are not run",
    ),
    "language": ({"architectures": ["BertModel"], "model_type": "bert"}, "is a BertModel, which"),
    "trimap": ({"architectures": ["VitMatteForImageMatting"]}, "refines a cut-out"),
    "nothing": ({}, "which cuts nothing out"),
}


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_folders_of_other_kinds_get_one_line(tmp_path, kind):
    config, said = FOLDERS[kind]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as raised:
        load_remover(str(tmp_path))
    assert said in raised.value.line()
    assert "\n" not in raised.value.line()


def test_broken_folders_get_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"x")
    (tmp_path / "bent").mkdir()
    (tmp_path / "bent" / "config.json").write_text("{")
    (tmp_path / "classes").mkdir()
    tiny_segformer(tmp_path / "classes", {k: f"thing {k}" for k in range(4)})
    (tmp_path / "cut").mkdir()
    tiny_segformer(tmp_path / "cut", {0: "background", 1: "object"})
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    for name, said in (
        ("empty", "holds no model"),
        ("onnx", "is an ONNX model"),
        ("bent", "configuration is damaged"),
        ("classes", "none of which is the background"),
        ("cut", "cannot be loaded"),
    ):
        with pytest.raises(ModelError, match=said):
            load_remover(str(tmp_path / name))
    with pytest.raises(ModelError, match='there is no model "sam-vit-bas"'):
        load_remover("sam-vit-bas")


def test_rembg_is_asked_by_its_names(monkeypatch):
    class Session:
        def __init__(self, model: str) -> None:
            assert model == "u2net"

        def predict(self, picture: Image.Image) -> list[Image.Image]:
            return [Image.fromarray((np.asarray(picture)[..., 0] > 128).astype(np.uint8) * 255)]

    def named(name: str) -> type:
        return type(name, (), {"name": classmethod(lambda cls: name)})

    package = types.ModuleType("rembg")
    package.new_session = Session  # type: ignore[attr-defined]
    sessions = types.ModuleType("rembg.sessions")
    sessions.sessions_class = [named("u2net"), named("silueta")]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rembg", package)
    monkeypatch.setitem(sys.modules, "rembg.sessions", sessions)
    load_remover.cache_clear()
    picture = photo(disc())
    remover = load_remover("rembg:u2net")
    assert remover.name == "rembg:u2net"
    shown = (picture * 255).round().astype(np.uint8)
    assert np.array_equal(remover.mask(picture) > 0.5, shown[..., 0] > 128)
    with pytest.raises(ModelError, match=r'rembg has no model "x".*It has silueta, u2net'):
        load_remover("rembg:x")
    monkeypatch.setitem(sys.modules, "rembg", None)
    load_remover.cache_clear()
    with pytest.raises(ModelError, match=r"needs the package rembg.*'\.\[rembg\]'"):
        load_remover("rembg:u2net")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--mask", "none.png"], "there is no such file"),
        (["--box", "1,2,3"], "is not a box"),
        (["--box", "5,5,6,6"], "empty or smaller than 4 pixels"),
        (["--box", "0,0,900,900"], "leaves the picture, which has 96 x 96 pixels"),
        (["--box", "2,2,50,50", "--mask", "m.png"], "Leave out --box"),
        (["--box", "2,2,50,50", "--pick"], "asks for a box that is given"),
        (["--segmenter", "sam-vit-bas"], "sam-vit-base"),
        (["--masks", "m"], '"--mask"'),
        (["--boxes", "1,2,3,4"], '"--box"'),
    ],
)
def test_marks_that_cannot_be_meant_get_one_line(scene, capsys, more, said):
    folder = scene[0]
    line = ["reconstruct", str(folder / "scene.png"), *more, "--out", str(folder / "run")]
    assert main(line) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (folder / "run").exists()


def test_the_border_segmenter_by_its_name():
    assert isinstance(load_remover("border"), BorderSegmenter)
    assert TransformersRemover.__mro__[1].__name__ == "Segmenter"
