"""Depth models, CLIPs, segmenters, removers and captioners of transformers: read whole, or refused
in a line. The library itself makes up what a file lacks, and goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.test_cut_outs import tiny_segformer
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.clip import load_clip
from threestudio_like.priors.depth import load_depth
from threestudio_like.priors.pretrained import picture_range
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.segmentation.removers import TransformersRemover
from threestudio_like.priors.segmentation.segment_anything import load_segmenter
from threestudio_like.systems.image_to_3d.caption import load_captioner


def segformer(folder: Path) -> None:
    folder.mkdir()
    tiny_segformer(folder, {0: "background", 1: "object"})


def blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipForConditionalGeneration

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = {**sizes, "num_attention_heads": 2, "vocab_size": 12, "encoder_hidden_size": 16}
    vision = {**sizes, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    tokens = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(text_config={**text, **tokens}, vision_config=vision)
    BlipForConditionalGeneration(config).save_pretrained(folder)


def embedded(name: str) -> Any:
    return lambda folder: shutil.copytree(embedded_folder(name), folder)


NETWORKS: dict[str, tuple[Any, Any, str]] = {
    "CLIP": (embedded("clip"), load_clip, "text_model.encoder.layers.0.mlp.fc1.weight"),
    "depth": (embedded("depth"), load_depth, "head.head.0.weight"),
    "segmenter": (
        embedded("segmenter"),
        load_segmenter,
        "mask_decoder.iou_prediction_head.proj_out.weight",
    ),
    "remover": (
        segformer,
        lambda name: TransformersRemover(Path(name)),
        "decode_head.classifier.weight",
    ),
    "captioner": (blip, load_captioner, "vision_model.post_layernorm.weight"),
}
"""What makes a folder, what reads it, and one of its tensors."""


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_networks_that_are_not_whole_are_one_line(kind, tmp_path):
    make, load, key = NETWORKS[kind]
    for case, said in (("lost", "lacks 1 of the tensors"), ("bent", "its configuration asks for")):
        folder = tmp_path / case
        make(folder)
        path = folder / "model.safetensors"
        tensors = load_file(path)
        assert key in tensors
        if case == "lost":
            del tensors[key]
        else:
            tensors[key] = torch.zeros(3, 5)
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=said) as raised:
            load(str(folder))
        assert key in raised.value.line()
        assert "\n" not in raised.value.line()


def test_what_no_answer_depends_on_may_be_missing(tmp_path):
    """The first fusion of a DPT has nothing to add; published folders lack its tensors."""
    folder = tmp_path / "depth"
    shutil.copytree(embedded_folder("depth"), folder)
    tensors = load_file(folder / "model.safetensors")
    unread = [k for k in tensors if "fusion_stage.layers.0.residual_layer1" in k]
    assert unread
    kept = {k: v for k, v in tensors.items() if k not in unread}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    wanted = load_depth(str(embedded_folder("depth"))).predict(picture)
    assert torch.equal(load_depth(str(folder)).predict(picture), wanted)


def test_another_network_is_no_clip(tmp_path):
    """A SigLIP has most of a CLIP's names."""
    folder = tmp_path / "siglip"
    shutil.copytree(embedded_folder("clip"), folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "siglip"}))
    with pytest.raises(ModelError, match='is a "siglip", no CLIP model'):
        load_clip(str(folder))


def test_depth_models_of_other_kinds_are_not_guessed_at(tmp_path):
    """Taken for one that says the inverse of depth, near would be far."""
    folder = tmp_path / "depth"
    shutil.copytree(embedded_folder("depth"), folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "canopy"}))
    with pytest.raises(ModelError, match=r'is a "canopy".*depth_anything.*glpn, depth_pro'):
        load_depth(str(folder))


@pytest.mark.parametrize("edges", [(64, 96), (70, 100)])
def test_a_glpn_says_what_the_librarys_pipeline_says(edges, tmp_path):
    from PIL import Image
    from transformers import (
        DepthEstimationPipeline,
        GLPNConfig,
        GLPNForDepthEstimation,
        GLPNImageProcessorPil,
    )

    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8] * 4, "depths": [1] * 4, "num_attention_heads": [1] * 4}
    made = GLPNForDepthEstimation(GLPNConfig(**sizes, decoder_hidden_size=8)).eval()
    made.save_pretrained(tmp_path)
    GLPNImageProcessorPil().save_pretrained(tmp_path)
    pixels = torch.randint(0, 256, (*edges, 3), dtype=torch.uint8)
    pipeline = DepthEstimationPipeline(model=made, image_processor=GLPNImageProcessorPil())
    wanted = pipeline(Image.fromarray(pixels.numpy()))["predicted_depth"]
    prior = load_depth(str(tmp_path))
    assert (prior.metric, prior.inverse, prior.framed) == (True, False, False)
    found = prior.predict(pixels[None].float() / 255)[0]
    assert found.shape == edges
    # Where sizes are not multiples of 32 the library resizes in bytes, and back by cubics.
    near = 1e-5 if edges == (64, 96) else 0.02
    assert torch.allclose(found, wanted, rtol=near)


@pytest.mark.parametrize("view", [True, False])
def test_a_depth_pro_says_metres_where_it_knows_its_field_of_view(view, tmp_path):
    from transformers import DepthProConfig, DepthProForDepthEstimation

    torch.manual_seed(0)
    part = {
        "model_type": "dinov2",
        "num_hidden_layers": 4,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "patch_size": 2,
        "image_size": 8,
    }
    config = DepthProConfig(
        patch_size=8,
        fusion_hidden_size=16,
        intermediate_hook_ids=[2, 1],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.2],
        scaled_images_feature_dims=[12, 12],
        use_fov_model=view,
        **{f"{name}_model_config": dict(part) for name in ("image", "patch", "fov")},
    )
    made = DepthProForDepthEstimation(config).eval()
    made.save_pretrained(tmp_path)
    facts = {"image_processor_type": "DepthProImageProcessor", "size": {"height": 16, "width": 16}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts))
    prior = load_depth(str(tmp_path))
    assert (prior.metric, prior.inverse) == (view, not view)
    pictures = torch.rand(2, 20, 30, 3)
    found = prior.predict(pictures)
    shown = torch.nn.functional.interpolate(
        (pictures.permute(0, 3, 1, 2) - 0.5) / 0.5, (16, 16), mode="bilinear"
    )
    with torch.no_grad():
        said = made(pixel_values=shown)
    # The library's own post-processing, which cannot be imported without torchvision.
    nearness = said.predicted_depth
    if view:
        focal = 0.5 * 30 / torch.tan(0.5 * torch.deg2rad(said.field_of_view))
        nearness = nearness * 30 / focal[:, None, None]
    nearness = torch.nn.functional.interpolate(nearness[:, None], (20, 30), mode="bilinear")[:, 0]
    wanted = 1 / nearness.clamp(1e-4, 1e4)
    assert torch.allclose(found if view else 1 / found.clamp(1e-4, 1e4), wanted, rtol=1e-4)


RANGE = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7], "size": {"height": 32}}


@pytest.mark.parametrize("place", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("kind", ["CLIP", "depth", "segmenter", "captioner"])
def test_how_pictures_are_wanted_is_read_from_either_file(kind, place, tmp_path):
    """transformers 5 saves it within processor_config.json, which counts before the other."""
    make, load, _ = NETWORKS[kind]
    folder = tmp_path / "model"
    make(folder)
    if kind == "captioner":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "chair"]
        (folder / "vocab.txt").write_text("\n".join(words))
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    nested = place == "processor_config.json"
    (folder / place).write_text(json.dumps({"image_processor": RANGE} if nested else RANGE))
    if nested:
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.9] * 3}))
    made = load(str(folder))
    if kind == "captioner":
        assert made[2] == 32
        mean, deviation = made[3]
    else:
        mean, deviation = made._mean, made._std if kind == "CLIP" else made._deviation
    assert mean.tolist() == pytest.approx(RANGE["image_mean"])
    assert deviation.tolist() == pytest.approx(RANGE["image_std"])


@pytest.mark.parametrize(
    "facts", [{"image_mean": [0.5, 0.5]}, {"image_std": [0.5, 0, 0.5]}, {"image_mean": "half"}]
)
def test_numbers_that_are_no_colours_are_one_line(facts, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=next(iter(facts))):
        picture_range(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert [v.tolist() for v in picture_range(tmp_path)] == [[0] * 3, [1] * 3]
