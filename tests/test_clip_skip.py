"""`--load.clip_skip`: CLIP's text without its last layers, as the library's pipelines read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.text.embeddings import EmbeddingStore

from .test_views import opened
from .twins import save_twin
from .view_twins import save_view_twin

PROMPTS = ["a red chair", "a blue mug in space", ""]


def loaded(name: str, folder: Path, skip: int, **more):
    """A twin that leaves out `skip` layers."""
    return load_folder(folder, DiffusersConfig(clip_skip=skip, **more), name)


def cut(network, layers: int):
    """A text encoder of fewer layers: what remains of one whose last are taken away."""
    from transformers import CLIPTextModel

    config = type(network.config)(**{**network.config.to_dict(), "num_hidden_layers": layers})
    shorter = CLIPTextModel(config).eval()
    shorter.load_state_dict(network.state_dict(), strict=False)
    return shorter


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_what_is_read_is_the_encoder_without_its_last_layers(skip, tmp_path):
    """Stable Diffusion 1 and 2: the norm at the end stays."""
    folder = save_twin("sd", tmp_path / "sd")
    prior = loaded("sd", folder, skip)
    states = prior.encode_text(PROMPTS)
    ids = prior.text._ids(PROMPTS).flatten(0, 1)
    with torch.no_grad():
        wanted = cut(prior.text._text_encoder, 3 - skip)(ids).last_hidden_state
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("skip", [0, 1])
def test_two_encoders_are_read_as_the_library_does(skip, tmp_path):
    """SDXL, whose last layer but one is read anyway; the pooled text comes of all layers."""
    from diffusers import DiffusionPipeline

    folder = save_twin("sdxl", tmp_path / "sdxl")
    prior = loaded("sdxl", folder, skip, zero_empty=False)
    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ours = prior.layout.unpack(prior.encode_text(PROMPTS[:2]))
    for k, prompt in enumerate(PROMPTS[:2]):
        states, _, pooled, _ = pipeline.encode_prompt(
            prompt, device="cpu", do_classifier_free_guidance=False, clip_skip=skip or None
        )
        torch.testing.assert_close(ours.states[k : k + 1], states, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.pooled[k : k + 1], pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("skip", [0, 1])
def test_so_does_sd3(skip, tmp_path):
    from diffusers import DiffusionPipeline

    folder = save_twin("sd3", tmp_path / "sd3")
    prior = loaded("sd3", folder, skip, text_length=24)
    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ours = prior.layout.unpack(prior.encode_text(PROMPTS[:1]))
    states, _, pooled, _ = pipeline.encode_prompt(
        *PROMPTS[:1],
        None,
        None,
        device="cpu",
        do_classifier_free_guidance=False,
        clip_skip=skip or None,
        max_sequence_length=24,
    )
    torch.testing.assert_close(ours.states, states, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=0)


def test_a_model_of_views_does_so_too(tmp_path):
    folder = save_view_twin("mvdream", tmp_path / "mvdream")
    plain = opened(folder).encode_text(PROMPTS)
    skipped = load_folder(folder, DiffusersConfig(clip_skip=1), "mvdream").encode_text(PROMPTS)
    assert plain.shape == skipped.shape
    assert not torch.allclose(plain, skipped, atol=1e-3)


def test_learnt_words_are_read_through_the_same_layers(tmp_path):
    """The differentiable way (textual inversion) is the plain one where the vectors are."""
    prior = loaded("sd", save_twin("sd", tmp_path / "sd"), 1)
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    prior.add_concept({"mystyle": vectors})
    wanted = prior.encode_text(["a red mystyle chair"])
    given = vectors.clone().requires_grad_()
    states = prior.text.encode_with_concept(["a red mystyle chair"], "mystyle", given)
    torch.testing.assert_close(states, wanted, atol=1e-6, rtol=0)
    states.square().sum().backward()
    assert float(given.grad.abs().max()) > 0


@pytest.mark.parametrize(("name", "most"), [("sd", 2), ("sdxl", 1), ("sd3", 1)])
def test_more_layers_than_there_are_are_refused_before_anything_is_read(name, most, tmp_path):
    folder = save_twin(name, tmp_path / name)
    loaded(name, folder, most)
    with pytest.raises(ModelError, match="has 3 layers") as error:
        loaded(name, folder, most + 1)
    assert error.value.line().endswith(f"Give at most {most}")


def test_of_a_bundle_it_is_said_that_nothing_changes(tmp_path):
    from threestudio_like.priors.families.bundles import check_bundle

    folder, path = save_twin("sd", tmp_path / "sd"), tmp_path / "own.safetensors"
    plain = loaded("sd", folder, 0)
    plain.encode_text(PROMPTS)
    plain.save_embeddings(path)
    told = "--load.clip_skip changes no prompt that --embeddings has"
    store = EmbeddingStore.load(path)
    for skip in (0, 1):
        assert (told in check_bundle(loaded("sd", folder, skip), store).facts.notes) == bool(skip)
