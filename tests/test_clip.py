"""Image-text models by name: the embedded one, transformers folders, open_clip."""

import sys
from types import SimpleNamespace

import pytest
import torch

from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.clip import ClipPrior, OpenClipPrior, load_clip
from threestudio_like.priors.registry import embedded_folder


class FakeOpenClip:
    """What the adapter asks of open_clip: a linear picture encoder and one that counts letters."""

    def __init__(self):
        self.asked = []

    def create_model(self, name, pretrained=None):
        self.asked.append((name, pretrained))
        if name == "missing":
            raise RuntimeError("Model config for missing not found.")

        class Model(torch.nn.Module):
            def encode_image(self, x):
                return x.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])

            def encode_text(self, ids):
                return ids.float()

        return Model()

    def get_tokenizer(self, name):
        return lambda texts: torch.tensor([[len(t), t.count("a"), 1] for t in texts])

    def get_model_preprocess_cfg(self, model):
        return {"size": (8, 8), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture
def open_clip(monkeypatch):
    fake = FakeOpenClip()
    names = ("create_model", "get_tokenizer", "get_model_preprocess_cfg")
    monkeypatch.setitem(
        sys.modules, "open_clip", SimpleNamespace(**{n: getattr(fake, n) for n in names})
    )
    return fake


def test_open_clip_models_follow_the_contract(open_clip, tmp_path):
    prior = load_clip("open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert open_clip.asked == [("ViT-B-32", "laion2b_s34b_b79k")]
    # What a model has not learnt is what CLIP has.
    assert prior.scale == 100
    embedded = load_clip()
    assert embedded.scale == pytest.approx(float(embedded.model.logit_scale.exp()))
    images = torch.rand(2, 20, 20, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    raw = prior.raw_images(images)
    assert torch.allclose(
        raw, (images.mean((1, 2)) - 0.5) / 0.25 * torch.tensor([1.0, 2.0, 3.0]), atol=0.05
    )
    assert torch.allclose(prior.embed_images(images).norm(dim=1), torch.ones(2))
    raw.sum().backward()
    assert images.grad is not None
    assert torch.allclose(
        prior.embed_texts(["a cat"])[0],
        torch.nn.functional.normalize(torch.tensor([5.0, 2.0, 1.0]), dim=0),
    )
    load_clip(f"open_clip:{tmp_path}")
    assert open_clip.asked[-1] == (f"local-dir:{tmp_path}", None)
    with pytest.raises(ModelError, match="missing"):
        load_clip("open_clip:missing")


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match=r"'\.\[clip\]'"):
        OpenClipPrior("ViT-B-32/openai")


def test_transformers_folders_and_names(monkeypatch, tmp_path):
    monkeypatch.setenv("THREESTUDIO_LIKE_MODELS", str(tmp_path))
    (tmp_path / "clip-vit-b-16").symlink_to(embedded_folder("clip"))
    pictures = torch.rand(1, 32, 32, 3)
    wanted = load_clip().embed_images(pictures)
    for name in ("clip-vit-b-16", str(embedded_folder("clip"))):
        found = load_clip(name)
        assert isinstance(found, ClipPrior)
        assert torch.equal(found.embed_images(pictures), wanted)
    with pytest.raises(ModelError, match="clip-vit-b-16"):
        load_clip("clip-vit-b-61")
