"""Perceptual distances: LPIPS' formula, the choice of layers, VGG's weights from a file, damage."""

import pytest
import torch
from safetensors.torch import save_file

from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.networks.perceptual import (
    DEEP,
    LAYERS,
    VGG16,
    ToyPerceptual,
    VggPerceptual,
    load_perceptual,
)


def vgg_file(path, linear=False):
    generator = torch.Generator().manual_seed(0)
    tensors, number, inside = {}, 0, 3
    for block in VGG16:
        number += inside != 3
        for width in block:
            tensors[f"features.{number}.weight"] = 0.05 * torch.randn(
                width, inside, 3, 3, generator=generator
            )
            tensors[f"features.{number}.bias"] = torch.zeros(width)
            number, inside = number + 2, width
    if linear:
        for n, block in enumerate(VGG16):
            tensors[f"lin{n}.model.1.weight"] = torch.full((1, block[-1], 1, 1), 0.5)
    save_file(tensors, str(path))
    return path


@pytest.mark.parametrize("kind", ["toy", "vgg"])
def test_distance_is_zero_on_itself_and_grows(kind, tmp_path):
    torch.manual_seed(0)
    prior = (
        ToyPerceptual().eval()
        if kind == "toy"
        else VggPerceptual(vgg_file(tmp_path / "vgg.safetensors"))
    )
    one = torch.rand(2, 32, 32, 3)
    assert torch.equal(prior.distance(one, one), torch.zeros(2))
    noise = torch.randn(one.shape)
    small, large = (prior.distance(one, (one + s * noise).clamp(0, 1)) for s in (0.02, 0.2))
    assert bool((small > 0).all())
    assert bool((small < large).all())
    maps = prior.features(one)
    assert len(maps) == LAYERS
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2]
    moved = one.clone().requires_grad_()
    prior.distance(moved, 1 - one).sum().backward()
    assert float(moved.grad.abs().sum()) > 0


def test_novel_views_look_at_the_last_two_layers_alone(monkeypatch):
    torch.manual_seed(0)
    prior = ToyPerceptual().eval()
    one, two = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    whole, deep = prior.distance(one, two), prior.distance(one, two, DEEP)
    assert float(deep.detach()) < float(whole.detach())
    original = prior.features

    def shaken(images):
        maps = original(images)
        return [maps[0] + torch.randn(maps[0].shape), *maps[1:]]

    monkeypatch.setattr(prior, "features", shaken)
    assert torch.equal(prior.distance(one, two, DEEP), deep)
    assert not torch.equal(prior.distance(one, two), whole)


def test_distance_is_the_published_formula():
    prior = ToyPerceptual().eval()
    one, two = torch.rand(1, 16, 16, 3), torch.rand(1, 16, 16, 3)
    wanted = 0.0
    for a, b in zip(prior.features(one), prior.features(two)):
        a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
        wanted += float((a - b).square().sum(1).mean())
    assert float(prior.distance(one, two)) == pytest.approx(wanted, rel=1e-4)


def test_learnt_channel_weights_are_used_where_a_file_has_them(tmp_path):
    plain = VggPerceptual(vgg_file(tmp_path / "a.safetensors"))
    weighted = load_perceptual(str(vgg_file(tmp_path / "b.safetensors", linear=True)))
    one, two = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    assert float(weighted.distance(one, two)) == pytest.approx(
        0.5 * float(plain.distance(one, two)), rel=1e-4
    )


def test_saved_without_its_head_and_damage_is_named(tmp_path):
    model = ToyPerceptual(16, 12).eval()
    assert model.logits(torch.rand(3, 32, 32, 3)).shape == (3, 12)
    model.save(tmp_path / "p")
    again = load_perceptual(str(tmp_path / "p"))
    one, two = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    assert float(again.distance(one, two)) == pytest.approx(
        float(model.distance(one, two)), rel=0.05
    )
    (tmp_path / "p" / "model.safetensors").write_bytes(b"rubbish")
    for bad in (
        tmp_path / "p",
        tmp_path / "missing.safetensors",
        tmp_path / "p" / "model.safetensors",
    ):
        with pytest.raises(ModelError):
            load_perceptual(str(bad))


def test_training_from_the_command_line(tmp_path, capsys):
    from threestudio_like.cli import main

    assert (
        main(
            ["train", "perceptual", "--out", str(tmp_path / "p"), "--objects", "24", "--steps", "2"]
        )
        == 0
    )
    assert "less spoilt is nearer" in capsys.readouterr().out
    assert (
        load_perceptual(str(tmp_path / "p" / "perceptual")).distance(
            torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3)
        )
        > 0
    )
    assert (
        main(
            ["train", "perceptual", "--out", str(tmp_path / "p"), "--objects", "24", "--steps", "2"]
        )
        == 2
    )
