"""Bundles of prompt embeddings: of every family, of other prompts, of other models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.errors import ModelError
from threestudio_like.engine.events import Events
from threestudio_like.priors.families.bundles import check_bundle, text_width
from threestudio_like.priors.loading import load_prior
from threestudio_like.priors.text.embeddings import EmbeddingStore
from threestudio_like.runs.prior import read_prompt

from .test_views import opened
from .twins import TWINS, save_twin
from .view_twins import VIEW_TWINS, save_view_twin


def written(path: Path, width: int, *, model: str = "", prompts=("", "a red ball")) -> Path:
    store = EmbeddingStore()
    for prompt in prompts:
        store.add(prompt, torch.zeros(32, width))
    store.save(path, model=model)
    return path


@pytest.mark.parametrize("name", TWINS)
def test_a_bundle_is_read_by_its_own_model_and_by_no_other_width(name, tmp_path):
    folder = save_twin(name, tmp_path / name)
    prior = load_prior(str(folder))
    said = prior.encode_text(["a red chair", ""])
    prior.save_embeddings(tmp_path / "own.safetensors")
    store = EmbeddingStore.load(tmp_path / "own.safetensors")
    assert store.width == text_width(prior)
    again = load_prior(str(folder), embeddings=store)
    assert torch.equal(again.encode_text(["a red chair", ""]), said)
    assert again.facts.notes == prior.facts.notes
    other = written(tmp_path / "other.safetensors", store.width + 8, model="sd-9")
    with pytest.raises(ModelError, match=f'of "sd-9" have {store.width + 8} numbers a token'):
        load_prior(str(folder), embeddings=EmbeddingStore.load(other))


@pytest.mark.parametrize("name", VIEW_TWINS)
def test_so_do_models_that_turn_pictures(name, tmp_path):
    prior, path = opened(save_view_twin(name, tmp_path / name)), tmp_path / "own.safetensors"
    prior.encode_text(["a red chair", ""])
    if prior.facts.reads_text:
        prior.save_embeddings(path)
        assert check_bundle(prior, EmbeddingStore.load(path)) is prior
        return
    with pytest.raises(ModelError, match="reads no prompt"):
        prior.save_embeddings(path)
    with pytest.raises(ModelError, match="reads no prompt"):
        check_bundle(prior, EmbeddingStore.load(written(path, 8)))


@pytest.mark.parametrize("width", [64, 256])
def test_a_foreign_bundle_is_one_line(width, tmp_path, capsys):
    path, out = written(tmp_path / "b.safetensors", width), tmp_path / "out"
    line = ["generate", "a red ball", "--embeddings", str(path), "--out", str(out), "--quiet"]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{width} numbers a token" in said
    assert not out.exists()


def test_a_bundle_of_another_model_of_the_same_shape_is_told(tmp_path):
    store = EmbeddingStore.load(written(tmp_path / "b.safetensors", 128, model="my-sd"))
    (note,) = set(load_prior("toybox", embeddings=store).facts.notes)
    assert 'made with "my-sd"' in note
    own = replace_model(store, "toybox")
    assert load_prior("toybox", embeddings=own).facts.notes == ()
    # Bundles of earlier versions do not say whose they are.
    assert load_prior("toybox", embeddings=replace_model(store, "")).facts.notes == ()


def replace_model(store: EmbeddingStore, model: str) -> EmbeddingStore:
    store.model = model
    return store


@pytest.mark.parametrize(
    ("prompt", "known"),
    [
        *(("a red ball", True), ("a green box", True)),
        *(("a red b", False), ("a blue ball", False), ("a red ballet", False)),
    ],
)
def test_a_bundle_of_other_prompts_is_told(prompt, known, tmp_path):
    """What it has not is read by the encoder, which is counted from then on."""
    prompts = ("", "a red ball, side view", "overhead view of a green box")
    bundle = written(tmp_path / "b.safetensors", 4, prompts=prompts)
    prior = SimpleNamespace(
        text=SimpleNamespace(embeddings=EmbeddingStore.load(bundle)),
        facts=SimpleNamespace(untold=(), words={}, vocabulary=None, world="twenty"),
        check_prompt=lambda prompt: [],
    )
    said: list[str] = []
    events = Events(None, "quiet")
    events.relay = said.append
    read_prompt(prior, prompt, events)
    assert len(said) == (not known)
    assert prior.text.embeddings.bundle == known
    if not known:
        assert f'no "{prompt}" but "a red ball, side view"' in said[0]
