"""Promptable segmenters: the contract, transformers' SAM and SAM 2, everything in a picture, the
embedded one and its training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from threestudio_like.cli import main
from threestudio_like.engine.errors import InputError, ModelError
from threestudio_like.engine.stage import Step
from threestudio_like.priors.segmentation.automatic import (
    AutomaticConfig,
    bounds,
    distinct,
    everything,
)
from threestudio_like.priors.segmentation.colour_cells import ColourCells
from threestudio_like.priors.segmentation.prompts import Masks, Prompts, PromptSegmenter
from threestudio_like.priors.segmentation.segment_anything import TransformersSam, load_segmenter
from threestudio_like.systems.scene.instances import named_parts
from threestudio_like.systems.scene.parts import Part, fill_holes, mask_box
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.scene.segmentation import DecomposeConfig, by_itself
from threestudio_like.training.segmenter import (
    build_segmenter,
    save_segmenter,
    scene_pictures,
    segmenter_accuracy,
    segmenter_stage,
)

SCENE = "assets/pictures/scene.png"


def blocks(*boxes: tuple[int, int, int, int], size: int = 64) -> list[np.ndarray]:
    out = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((size, size), bool)
        mask[y0:y1, x0:x1] = True
        out.append(mask)
    return out


class Knowing(PromptSegmenter):
    """Knows the masks; what a prompt means is the smallest that holds its point, or the one whose
    box it is; else the background."""

    name = "knowing"

    def __init__(self, masks: list[np.ndarray]) -> None:
        self.known = masks

    def look(self, picture):
        return picture.shape[:2]

    def masks(self, seen, prompts, several=False):
        found = []
        behind = ~np.any(self.known, 0)
        if prompts.boxes is not None:
            for box in prompts.boxes:
                found.append(
                    max([*self.known, behind], key=lambda m: -float(np.abs(bounds(m) - box).sum()))
                )
        else:
            for (x, y), *_ in prompts.points:
                inside = [m for m in self.known if m[int(y), int(x)]]
                found.append(min(inside, key=lambda m: m.sum()) if inside else behind)
        logits = np.where(np.stack(found), 8.0, -8.0).astype(np.float32)[:, None]
        return Masks(logits, np.full((len(found), 1), 0.95, np.float32))


@pytest.mark.parametrize("refine", [True, False])
def test_everything_is_found_once_and_the_background_not_at_all(refine):
    known = blocks((6, 6, 26, 30), (34, 10, 58, 28), (12, 40, 50, 58))
    found = everything(
        Knowing(known), np.zeros((64, 64, 3), np.float32), AutomaticConfig(refine=refine)
    )
    assert len(found) == 3
    assert {m.tobytes() for m in found} == {m.tobytes() for m in known}


def test_points_off_the_foreground_are_not_asked_about():
    known = blocks((6, 6, 26, 30), (34, 10, 58, 28))
    front = known[0] | blocks((0, 0, 3, 3))[0]
    found = everything(Knowing(known), np.zeros((64, 64, 3), np.float32), AutomaticConfig(), front)
    assert len(found) == 1
    assert np.array_equal(found[0], known[0])
    assert everything(
        Knowing(known), np.zeros((64, 64, 3), np.float32), None, front & False
    ).shape == (0, 64, 64)


def test_parts_and_unions_are_no_objects():
    whole, part, other = blocks((2, 6, 32, 36), (10, 10, 20, 20), (33, 6, 63, 36))
    kept = distinct([part, whole, other], [0.99, 0.9, 0.9], AutomaticConfig())
    assert {m.tobytes() for m in kept} == {whole.tobytes(), other.tobytes()}
    both = whole | other
    kept = distinct([both, whole, other], [0.99, 0.9, 0.9], AutomaticConfig())
    assert {m.tobytes() for m in kept} == {whole.tobytes(), other.tobytes()}
    almost = whole.copy()
    almost[6:8] = False
    assert len(distinct([whole, almost], [0.8, 0.9], AutomaticConfig())) == 1


def test_the_embedded_segmenter_by_boxes(tmp_path):
    """Half of a dozen scenes' objects to an IoU above 0.75, from pictures of another size than its
    own."""
    data = scene_pictures(tmp_path, 77, 12, "test")
    segmenter, scores = load_segmenter("toybox"), []
    for image, mask, label in zip(data.images, data.masks, data.labels):
        picture = image / np.float32(255) + (1 - mask[..., None] / np.float32(255)) * np.float32(
            0.7
        )
        picture = (
            np.asarray(
                Image.fromarray((picture * 255).astype(np.uint8)).resize((200, 200)), np.float32
            )
            / 255
        )
        labels = np.asarray(Image.fromarray(label).resize((200, 200), Image.Resampling.NEAREST))
        for k in range(1, int(label.max()) + 1):
            truth = labels == k
            if truth.sum() > 300:
                found = (
                    segmenter.masks(
                        segmenter.look(picture), Prompts(boxes=bounds(truth)[None])
                    ).best()[0][0]
                    > 0
                )
                scores.append((found & truth).sum() / (found | truth).sum())
    assert np.median(scores) > 0.75


def test_a_scene_is_taken_apart_and_phrases_find_their_objects():
    picture = np.asarray(Image.open(SCENE).convert("RGB"), np.float32) / 255
    text = read_scene(
        "a green sofa in front of a blue robot and a yellow table right of a blue robot"
    )
    parts, _ = by_itself(picture, text, DecomposeConfig())
    sofa, robot, table = (p.visible for p in parts)
    assert [p.phrase for p in parts] == text.objects
    assert robot[1] < sofa[1] < sofa[3]
    assert table[0] > sofa[2]
    colours = [picture[p.mask > 0.5].mean(0) for p in parts]
    assert colours[0].argmax() == 1
    assert colours[1].argmax() == 2
    assert colours[2].argmin() == 2
    with pytest.raises(InputError, match=r"the prompt names 12|cannot be found in it"):
        by_itself(
            picture,
            read_scene(" and ".join(f"a {c} chair" for c in "abcdefghijkl")),
            DecomposeConfig(),
        )


def test_sam_2_answers_like_sam(tmp_path):
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    config = Sam2Config()
    backbone = config.vision_config.backbone_config
    backbone.hidden_size, backbone.embed_dim_per_stage, backbone.blocks_per_stage = (
        8,
        [8, 16, 32, 64],
        [1, 1, 1, 1],
    )
    backbone.num_attention_heads, backbone.num_attention_heads_per_stage = 1, [1, 2, 4, 8]
    backbone.global_attention_blocks = []
    backbone.image_size = [64, 64]
    config.vision_config.backbone_channel_list, config.vision_config.fpn_hidden_size = (
        [64, 32, 16, 8],
        32,
    )
    config.vision_config.backbone_feature_sizes = [[16, 16], [8, 8], [4, 4]]
    config.prompt_encoder_config.hidden_size, config.prompt_encoder_config.image_size = 32, 64
    config.mask_decoder_config.hidden_size = config.mask_decoder_config.iou_head_hidden_dim = 32
    config.mask_decoder_config.mlp_dim, config.mask_decoder_config.num_attention_heads = 32, 2
    Sam2Model(config).save_pretrained(tmp_path)
    segmenter = TransformersSam(tmp_path)
    assert segmenter.stretched
    seen = segmenter.look(np.random.default_rng(0).random((40, 60, 3)).astype(np.float32))
    found = segmenter.masks(seen, Prompts(boxes=np.array([[5.0, 5, 30, 30], [10, 10, 50, 38]])))
    assert found.logits.shape[0] == 2
    assert found.logits.shape[2:] == (40, 60)
    points = Prompts(points=np.array([[[20.0, 20.0]]]), labels=np.array([[1]]))
    assert segmenter.masks(seen, points, several=True).scores.shape[1] == 3


def test_segmenters_that_cannot_be_loaded(tmp_path):
    with pytest.raises(ModelError, match="there is no segmenter"):
        TransformersSam(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match='is a "clip", no Segment Anything model'):
        TransformersSam(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="configuration is damaged"):
        TransformersSam(tmp_path)
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="package is not installed"):
        load_segmenter(str(tmp_path / "sam_vit_b_01ec64.pth"))
    with pytest.raises(ModelError, match="sam-vit-base"):
        load_segmenter("sam-vit-bas")


def test_the_segmenters_training_learns(tmp_path):
    """By heart: a few scenes, a few steps, a loss that falls; written and read back it answers the
    same."""
    data = scene_pictures(tmp_path / "data", 5, 4, "train")
    again = scene_pictures(tmp_path / "data", 5, 4, "train")
    assert np.array_equal(data.images, again.images)
    assert int(data.labels.max()) >= 2
    torch.manual_seed(0)
    model = build_segmenter(32, 2, 32)
    stage = segmenter_stage(model, data, 16, 2)
    optimiser = torch.optim.Adam(stage.groups[0].parameters, 3e-3)
    losses = []
    for index in range(16):
        terms = stage.loss(Step("segmenter", index, 16, index / 16, 0))
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        losses.append(float(terms["mask"].detach()))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    save_segmenter(model.eval(), tmp_path / "model")
    loaded = TransformersSam(tmp_path / "model")
    seen = loaded.look(data.images[0] / np.float32(255))
    assert loaded.masks(seen, Prompts(boxes=np.array([[10.0, 10, 60, 60]]))).logits.shape == (
        1,
        1,
        128,
        128,
    )
    assert set(segmenter_accuracy(model, data, 4)) >= {"IoU by a box", "IoU by a point"}


def test_train_segmenter_from_the_command_line(tmp_path):
    out = str(tmp_path / "out")
    assert (
        main(["train", "segmenter", "--out", out, "--objects", "6", "--steps", "2", "--quiet"]) == 0
    )
    assert (tmp_path / "out" / "segmenter" / "model.safetensors").is_file()
    # Weights that share their memory are saved with a checkpoint, and a finished training resumes
    # to itself.
    before = (tmp_path / "out" / "segmenter" / "model.safetensors").read_bytes()
    assert (
        main(
            [
                "train",
                "segmenter",
                "--out",
                out,
                "--objects",
                "6",
                "--steps",
                "2",
                "--quiet",
                "--resume",
            ]
        )
        == 0
    )
    assert (tmp_path / "out" / "segmenter" / "model.safetensors").read_bytes() == before


def squares(*places: tuple[int, int], size: int = 16) -> list[np.ndarray]:
    masks = []
    for x, y in places:
        mask = np.zeros((96, 96), bool)
        mask[y : y + size, x : x + size] = True
        masks.append(mask)
    return masks


class ColourReader:
    """An image-text prior that tells the reddest, greenest and bluest crop."""

    def embed_images(self, images):
        solid = (images.amax(-1, keepdim=True) - images.amin(-1, keepdim=True) > 0.3).float()
        return (images * solid).sum((1, 2)) / solid.sum((1, 2)).clamp_min(1)

    def embed_texts(self, texts):
        names = ["red", "green", "blue"]
        return torch.stack([torch.tensor([float(n in t) for n in names]) for t in texts])


def painted(masks: list[np.ndarray], colours: list[list[float]]) -> np.ndarray:
    picture = np.full((96, 96, 3), 0.8, np.float32)
    for mask, colour in zip(masks, colours):
        picture[mask] = colour
    return picture


def test_phrases_choose_among_candidates_what_fits_and_covers():
    red, green, blue = squares((10, 10), (40, 40), (70, 70))
    picture = painted([red, green, blue], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    part = red.copy()
    part[:18] = False
    pool = [part, red | green, green, red, blue]
    phrases = ["a blue box", "a red box", "a green box"]
    parts, left = named_parts(picture, red | green | blue, pool, [0.9] * 5, phrases, ColourReader())
    assert [p.phrase for p in parts] == phrases
    for part, mask in zip(parts, (blue, red, green)):
        assert ((part.mask > 0.5) == mask).all()
    assert left == 0
    # What no candidate covers is one itself.
    parts, left = named_parts(
        picture, red | green | blue, [green, blue], [0.9] * 2, phrases, ColourReader()
    )
    assert ((parts[1].mask > 0.5) & red).sum() > 0.9 * red.sum()
    # What the prompt does not name is left.
    parts, left = named_parts(
        picture, red | green | blue, pool, [0.9] * 5, phrases[:2], ColourReader()
    )
    assert len(parts) == 2
    assert left == pytest.approx(1 / 3)


def test_a_prompt_that_names_more_than_there_is_gets_fewer():
    (red,) = squares((30, 30), size=30)
    picture = painted([red], [[1, 0, 0]])
    small = red.copy()
    small[:34] = False
    parts, _ = named_parts(
        picture, red, [red, small], [0.9, 0.5], ["a red box", "a blue box"], ColourReader()
    )
    assert len(parts) < 2
    assert (
        named_parts(picture, red, [], [], ["a red box", "a blue box"], ColourReader())[0][0].phrase
        == ""
    )
    with pytest.raises(InputError, match="the prompt names 2"):
        by_itself(picture, read_scene("a red box on a blue ball"), DecomposeConfig())


def test_masks_are_snapped_to_cells_of_one_colour():
    red, green = squares((10, 10), (60, 60), size=24)
    picture = painted([red, green], [[0.9, 0.1, 0.1], [0.1, 0.7, 0.2]])
    cells = ColourCells(picture)
    soft = np.zeros((1, 96, 96), np.float32)
    soft[0, 14:36, 8:30] = 0.9
    found = cells.snap(soft)[0] > 0.5
    assert (found & red).sum() > 0.97 * (found | red).sum()
    assert (soft[0] > 0.5)[red].mean() < 0.85
    boxes = cells.boxes(0.01)
    assert np.abs(boxes - [[10, 10, 34, 34], [60, 60, 84, 84]]).max() <= 1
    large = ColourCells(np.repeat(np.repeat(picture, 8, 0), 8, 1))
    assert large.labels.shape == (768, 768)
    assert (large.snap(np.repeat(np.repeat(soft, 8, 1), 8, 2))[0] > 0.5).sum() == pytest.approx(
        red.sum() * 64, rel=0.08
    )


def test_a_panel_within_an_object_belongs_to_it_and_what_is_seen_through_it_does_not():
    whole = np.zeros((60, 60), np.float32)
    whole[10:50, 10:50] = 1
    whole[15:20, 20:30] = 0
    whole[30:40, 20:30] = 0
    other = np.zeros((60, 60), np.float32)
    other[32:36, 22:26] = 1
    foreground = np.zeros((60, 60), bool)
    foreground[10:50, 10:50] = True
    foreground[30:40, 20:30] = False
    parts = [Part("", whole, mask_box(whole)), Part("", other, mask_box(other))]
    clutter = np.random.default_rng(0).random((60, 60, 3)).astype(np.float32)
    filled = fill_holes(parts, foreground, clutter)
    assert (filled[0].mask[15:20, 20:30] == 1).all()
    assert (filled[0].mask[30:40, 20:30] == 0).all()
    assert filled[1].mask.sum() == 16


@pytest.mark.parametrize("noise", [0.0, 0.004, 0.1])
@pytest.mark.parametrize("shape", [(96, 96), (80, 150)])
def test_before_a_gradient_the_colour_behind_tells_a_panel_from_a_hole(shape, noise):
    """The border's colours alone cannot: the panel has one of them. In clutter nothing is told."""
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    behind = 0.6 + 0.3 * np.stack([y, 0.8 * y, 0.5 * y + 0.2 * x], -1)
    rough = np.random.default_rng(1).normal(0, max(noise, 1e-9), behind.shape)
    picture = (behind + rough).astype(np.float32)
    whole = np.zeros(shape, bool)
    whole[20:70, 20:60] = True
    picture[whole] = (0.1, 0.2, 0.7)
    panel, hole, beside = (slice(26, 36), slice(30, 50)), (slice(46, 58), slice(30, 50)), 72
    picture[panel] = behind[-1, 0]
    picture[hole] = (behind + rough)[hole]
    mask = whole.copy()
    mask[panel] = mask[hole] = False
    # What the segmenter took along that is nothing but background.
    mask[60:70, 60:beside] = True
    foreground = whole.copy()
    foreground[panel] = foreground[hole] = False
    (part,) = fill_holes([Part("", mask.astype(np.float32), mask_box(mask))], foreground, picture)
    solid = part.mask > 0.5
    told = noise < 0.1
    assert solid[panel].all() == told
    assert not solid[hole].any()
    assert (solid[60:70, 62:beside].mean() < 0.05) == told
    assert solid[whole & mask].all()


def test_a_phrase_that_is_said_twice_means_two_objects():
    one, two = squares((10, 10), (60, 60), size=24)
    picture = painted([one, two], [[0.9, 0.1, 0.1], [0.9, 0.1, 0.1]])
    parts, _ = named_parts(
        picture, one | two, [one, two], [0.9, 0.8], ["a red box", "a red box"], ColourReader()
    )
    assert [p.phrase for p in parts] == ["a red box", "a red box"]
    assert not (parts[0].mask * parts[1].mask).any()
