"""`train toybox` end to end on a tiny world: resumable, and its folders load as priors."""

from __future__ import annotations

import shutil

import pytest
import torch

from threestudio_like.engine.errors import CheckpointError, ConfigError
from threestudio_like.priors.clip import ClipPrior
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.priors.voxel_diffusion import VoxelDiffusion, VoxelDiffusionConfig
from threestudio_like.toybox.pairs import ToyPairs
from threestudio_like.training.text_to_image.drawn import known_latents, loaded, training_groups
from threestudio_like.training.text_to_image.vae import encode_all
from threestudio_like.training.toybox import TrainingOptions, train
from threestudio_like.training.voxel_diffusion import EmbeddedPairs, embed_pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    train(TrainingOptions(out=folder, steps=3, groups=16, quiet=True))
    return folder


def test_the_folders_load_as_priors(trained):
    prior = StableDiffusionPrior(trained / "diffusion", DiffusersConfig(), "fresh")
    assert prior.facts.joint_views == 4
    assert prior.facts.vocabulary
    text = prior.encode_text(["a red chair", ""])
    out = prior.predict(torch.randn(2, 4, 16, 16), torch.tensor([5, 500]), Condition(text))
    assert bool(torch.isfinite(out).all())
    picture = prior.decode_latents(prior.encode_image(torch.rand(1, 64, 64, 3)))
    assert picture.shape == (1, 64, 64, 3)
    assert ClipPrior(trained / "clip").embed_texts(["a red chair"]).shape == (1, 96)


def test_latents_are_normalised(trained):
    prior = StableDiffusionPrior(trained / "diffusion", DiffusersConfig(), "fresh")
    from threestudio_like.toybox.dataset import draw_groups

    images = torch.from_numpy(draw_groups(0, 16, scenes=0.12).images).flatten(0, 1).float() / 255
    z = prior.encode_image(images)
    assert float(z.mean().abs()) < 0.2
    assert float(z.std()) == pytest.approx(1.0, abs=0.2)


def test_a_second_start_wants_resume(trained):
    with pytest.raises(CheckpointError, match="--resume"):
        train(TrainingOptions(only="judge", out=trained, steps=3, groups=16, quiet=True))


def test_resuming_equals_training_through(tmp_path):
    from threestudio_like.engine.checkpoint import load_checkpoint

    for name, legs in (("whole", (6,)), ("legs", (3, 6))):
        for number, steps in enumerate(legs):
            # The schedule runs over all six steps in both cases: cut the first leg short instead of
            # shrinking it.
            options = TrainingOptions(
                only="judge", out=tmp_path / name, steps=6, groups=8, quiet=True, resume=number > 0
            )
            if steps < 6:
                _stop_after(options, steps)
            else:
                train(options)
    a, _ = load_checkpoint(tmp_path / "whole" / "work" / "judge" / "checkpoint.safetensors")
    b, _ = load_checkpoint(tmp_path / "legs" / "work" / "judge" / "checkpoint.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("other", [{"seed": 1}, {"world": "fifty"}, {"groups": 9}])
def test_a_training_goes_on_with_what_it_learnt_alone(trained, other):
    given = {"only": "judge", "out": trained, "steps": 3, "groups": 16, "quiet": True}
    with pytest.raises(CheckpointError, match=f"different: {next(iter(other))}"):
        train(TrainingOptions(**{**given, **other}, resume=True))


@pytest.mark.parametrize("other", [{"seed": 1}, {"world": "fifty"}])
def test_latents_of_other_pictures_are_not_taken_for_these(trained, tmp_path, other):
    """A file of the right size says nothing about what is in it."""
    shutil.copytree(trained / "diffusion" / "vae", tmp_path / "diffusion" / "vae")
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "latents.safetensors"
    shutil.copy(trained / "work" / "latents.safetensors", file)
    vae = loaded("AutoencoderKL", tmp_path / "diffusion" / "vae").eval()
    seen: dict = {}
    for more in ({}, other, other):
        options = TrainingOptions(**{"out": tmp_path, "groups": 16, "quiet": True, **more})
        data, before = training_groups(options), file.stat().st_mtime_ns
        latents = known_latents(options, data)["latents"]
        wanted = encode_all(vae, data.images.reshape(-1, 64, 64, 3))
        assert torch.allclose(latents.float(), wanted.float(), atol=0.01)
        # What fits is not made again.
        assert (file.stat().st_mtime_ns == before) == (more == seen)
        seen = more


def test_embeddings_of_other_pictures_or_networks_are_not_taken_for_these(tmp_path):
    class Sums:
        width = 3

        def __init__(self, factor):
            self.factor, self.calls = factor, 0

        def embed(self, images):
            self.calls += len(images)
            return self.factor * images.flatten(1, 2).mean(1)

    first, other = (ToyPairs(tmp_path / "data", seed, 4) for seed in (5, 6))
    for source, factor, made in (
        (first, 1.0, 8),
        (first, 1.0, 3),
        (other, 1.0, 11),
        (other, 2, 11),
    ):
        embedder = Sums(factor)
        found = EmbeddedPairs(source, embedder, tmp_path / "e.safetensors", views=2).embeddings
        assert embedder.calls == made
        assert torch.equal(found, embed_pictures(source, Sums(factor), 2, 64))


def _stop_after(options, steps):
    from threestudio_like.engine import loop

    save = loop.Loop._save

    class Stop(Exception):
        pass

    def stop(self, progress):
        save(self, progress)
        if progress.index >= steps:
            raise Stop

    original = loop.LoopSettings.__init__

    def every_step(self, *a, **k):
        original(self, *a, **{**k, "checkpoint_steps": 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "_save", stop)
        patch.setattr(loop.LoopSettings, "__init__", every_step)
        with pytest.raises(Stop):
            train(options)


def test_a_start_that_knows_other_categories_gives_what_both_know(tmp_path):
    """A voxel model of a smaller world is a start for one of a larger world: the rows of its table
    of classes go to their own names, whatever their numbers are; where it does not say its
    names, its sizes are refused as any others."""
    from dataclasses import replace

    from threestudio_like.training.options import begin
    from threestudio_like.training.shapes import class_rows

    def model(classes: int) -> VoxelDiffusion:
        config = VoxelDiffusionConfig.toybox()
        return VoxelDiffusion(replace(config, unet=replace(config.unet, classes=classes)))

    old, new, names = model(2), model(3), ["chair", "key", "ball"]
    with pytest.raises(ConfigError, match="sizes"):
        begin(new, old, tmp_path, class_rows(new, old, tmp_path, names))
    (tmp_path / "categories.json").write_text('["ball", "chair"]')
    fresh = new.unet.class_table.weight.clone()
    begin(new, old, tmp_path, class_rows(new, old, tmp_path, names))
    table, before = new.unet.class_table.weight, old.unet.class_table.weight
    assert torch.equal(table[[2, 0]], before)
    assert torch.equal(table[1], fresh[1])
    assert torch.equal(new.unet.stem.weight, old.unet.stem.weight)
    assert class_rows(model(2), old, tmp_path, ["ball", "chair"]) == {}


def test_two_workers_train_together(trained, tmp_path):
    import shutil

    shutil.copytree(trained / "diffusion", tmp_path / "diffusion")
    (tmp_path / "work").mkdir()
    train(
        TrainingOptions(
            only="diffusion",
            out=tmp_path,
            steps=2,
            groups=16,
            workers=2,
            quiet=True,
            force=True,  # over the one that was copied
        )
    )
    assert (
        StableDiffusionPrior(tmp_path / "diffusion", DiffusersConfig(), "two").facts.joint_views
        == 4
    )


@pytest.mark.parametrize("bad", [{"steps": 0}, {"groups": 2}, {"workers": 0}])
def test_bad_numbers_are_named(tmp_path, bad):
    with pytest.raises(ConfigError):
        train(TrainingOptions(out=tmp_path, quiet=True, **bad))


def test_the_denoiser_needs_an_autoencoder(tmp_path):
    with pytest.raises(CheckpointError, match="autoencoder"):
        train(TrainingOptions(only="diffusion", out=tmp_path, steps=1, groups=8, quiet=True))
