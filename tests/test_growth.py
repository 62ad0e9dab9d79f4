"""A text-to-image model that grows: new latents, new numbers of a camera, new words, pictures of
normals. What both models have stays what it was."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from threestudio_like.engine.errors import ConfigError, UserError
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.model_folder import FIRST_CAMERA_VECTOR
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers.cameras import Cameras
from threestudio_like.toybox.dataset import cached_groups, draw_groups, normal_picture
from threestudio_like.toybox.render import Views
from threestudio_like.toybox.twenty import TWENTY
from threestudio_like.training.options import TrainingOptions
from threestudio_like.training.text_to_image.diffusion import (
    TWO_DOMAINS,
    GroupBatches,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    edition_tokenizer,
)
from threestudio_like.training.text_to_image.drawn import (
    known_sources,
    larger_groups,
    loaded,
    training_groups,
)
from threestudio_like.training.text_to_image.growth import grow_text_encoder, grow_unet, grow_vae
from threestudio_like.training.text_to_image.vae import (
    _counted,
    _counts,
    build_vae,
    encode_all,
    pin_latents,
)
from threestudio_like.training.toybox import train

SHIPPED = embedded_folder("diffusion")


@pytest.fixture(scope="module")
def old_unet():
    return loaded("UNet2DConditionModel", SHIPPED / "unet").eval()


@torch.no_grad()
def test_a_grown_denoiser_says_what_the_old_one_said(old_unet):
    torch.manual_seed(0)
    grown = build_unet(latents=8, numbers=10).eval()
    grow_unet(grown, old_unet, SHIPPED)
    x, rays = torch.randn(2, 8, 16, 16), torch.randn(2, 6, 16, 16)
    states, t, camera = torch.randn(2, 32, 128), torch.tensor([20, 700]), torch.randn(2, 10)
    new = grown(torch.cat([x, rays], 1), t, states, class_labels=camera).sample
    before = old_unet(torch.cat([x[:, :4], rays], 1), t, states, class_labels=camera[:, :9]).sample
    assert torch.allclose(new[:, :4], before, atol=1e-5)
    assert float(new[:, 4:].std()) > 0


@torch.no_grad()
def test_a_grown_autoencoder_decodes_what_the_old_one_decoded():
    old = loaded("AutoencoderKL", SHIPPED / "vae").eval()
    torch.manual_seed(0)
    grown = build_vae(latents=7).eval()
    grow_vae(grown, old, SHIPPED)
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    before = old.decode(old.encode(x).latent_dist.mean).sample
    assert torch.allclose(grown.encode(x).latent_dist.mean[:, :4], old.encode(x).latent_dist.mean)
    assert torch.allclose(grown.decode(grown.encode(x).latent_dist.mean).sample, before, atol=1e-5)
    pin_latents(grown, x)
    assert torch.allclose(grown.decode(grown.encode(x).latent_dist.mean).sample, before, atol=1e-4)
    z, pooled = grown.encode(x).latent_dist.mean[:, :3], torch.nn.functional.avg_pool2d(x, 4)
    for n in range(3):
        slope, shift = np.polyfit(z[:, n].flatten(), pooled[:, n].flatten(), 1)
        assert slope == pytest.approx(1, abs=1e-3)
        assert shift == pytest.approx(0, abs=1e-3)


@torch.no_grad()
def test_words_that_both_know_keep_their_meaning():
    old = loaded("CLIPTextModel", SHIPPED / "text_encoder").eval()
    known = loaded("CLIPTokenizer", SHIPPED / "tokenizer")
    words = (
        "zebra",
        *reversed(tuple(json.loads((SHIPPED / "prior.json").read_text())["vocabulary"])),
    )
    tokenizer = build_tokenizer(words, 32)
    grown = build_text_encoder(tokenizer).eval()
    grow_text_encoder(grown, tokenizer, old, known)

    def states(encoder, of):
        ids = of("a red chair, front view", padding="max_length", max_length=32).input_ids
        return encoder(torch.tensor([ids])).last_hidden_state, ids

    (now, new_ids), (before, old_ids) = states(grown, tokenizer), states(old, known)
    assert new_ids != old_ids
    assert torch.allclose(now, before, atol=1e-5)


def test_a_start_of_other_widths_is_refused(old_unet):
    with pytest.raises(ConfigError, match="--start"):
        grow_unet(build_unet((32, 64, 96), numbers=9), old_unet, SHIPPED)
    with pytest.raises(ConfigError, match="does not fit"):
        grow_vae(build_vae(latents=3), loaded("AutoencoderKL", SHIPPED / "vae"), SHIPPED)


def test_normals_are_drawn_over_the_same_background():
    normal = np.zeros((1, 1, 3, 3), np.float32)
    normal[0, 0, 0], normal[0, 0, 1] = (0, 1, 0), (0, 0, -1)
    mask = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    blank = np.zeros((1, 1, 3), np.float32)
    views = Views(np.zeros((1, 1, 3, 3), np.float32), mask, blank, normal, blank.astype(np.int32))
    drawn = normal_picture(views, 0.25)[0, 0]
    assert np.allclose(drawn[0], [0.5, 1, 0.5])
    assert np.allclose(drawn[1], 0.5 * np.array([0.5, 0.5, 0]) + 0.125)
    assert np.allclose(drawn[2], 0.25)


def test_groups_with_normals_have_the_same_colours(tmp_path):
    plain, both = draw_groups(3, 4), draw_groups(3, 4, normals=True)
    assert plain.normals is None
    assert (plain.images == both.images).all()
    for _ in range(2):
        stored = cached_groups(tmp_path, 3, 4, normals=True)
        assert (stored.normals == both.normals).all()
    # The outside shows the background in both; inside, the normals are unit vectors.
    corner = both.normals[:, :, 0, 0].astype(int)
    assert (abs(corner - both.images[:, :, 0, 0]) <= 1).all()
    vectors = both.normals.astype(np.float32) / 127.5 - 1
    outside = (both.images == both.images[:, :, :1, :1]).all(-1)
    lengths = np.linalg.norm(vectors, axis=-1)[~outside]
    assert 0.95 < np.median(lengths) < 1.05


def test_a_batch_shows_some_objects_as_normals():
    step = SimpleNamespace(
        index=0,
        seed=0,
        random=SimpleNamespace(generator=lambda name: torch.Generator().manual_seed(5)),
    )
    data = draw_groups(3, 30)
    latents = torch.zeros(120, 4, 16, 16).half()
    tokenizer = edition_tokenizer(TWENTY)
    drawn = GroupBatches(tokenizer, latents, data, 30, normals=latents + 1)(step)
    domain = drawn["vector"][:, TWO_DOMAINS.index("normal domain")]
    assert 0.1 < float(domain.mean()) < 0.6
    assert (domain.view(30, 4) == domain.view(30, 4)[:, :1]).all(), "views of an object differ"
    # v = sqrt(abar) noise - sqrt(1 - abar) x, and x is one for normals and zero for colours.
    abar = build_scheduler().alphas_cumprod[drawn["t"]].view(-1, 1, 1, 1)
    x = abar.sqrt() * drawn["given"][:, :4] - (1 - abar).sqrt() * drawn["target"]
    assert torch.allclose(x.mean((1, 2, 3)), domain, atol=1e-4)
    assert GroupBatches(tokenizer, latents, data, 30)(step)["vector"].shape[1] == 8


def test_shares_of_a_batch_add_up():
    for batch in (1, 7, 32):
        counts = _counts([0.525, 0.225, 0.175, 0.075], batch)
        assert sum(counts) == batch
        assert min(counts) >= 0


def test_a_model_of_both_domains_trains_from_the_shipped_one(tmp_path):
    options = TrainingOptions(
        **{"out": tmp_path, "steps": 1, "groups": 8, "quiet": True, "world": "fifty"},
        preset="wide",
        also=("normals", "128px"),
        start=SHIPPED,
        only="vae",
    )
    train(options)
    # As a training that goes on finds them: every kind of picture has its own latents.
    vae = loaded("AutoencoderKL", tmp_path / "diffusion" / "vae").eval()
    kinds = known_sources(options, training_groups(options), larger_groups(options))
    assert [kind.pictures.shape[1] for kind in kinds] == [64, 64, 128, 128]
    for kind in kinds:
        again = encode_all(vae, kind.pictures[:2].numpy())
        assert torch.allclose(kind.latents[:2].float(), again.float(), atol=0.01)
    train(TrainingOptions(**{**vars(options), "only": "diffusion"}))
    facts = json.loads((tmp_path / "diffusion" / "prior.json").read_text())
    assert facts["camera_vector"] == [*FIRST_CAMERA_VECTOR, "normal domain"]
    assert facts["normals"] == {"space": "world"}
    assert "banana" in facts["vocabulary"]
    prior = StableDiffusionPrior(tmp_path / "diffusion", DiffusersConfig(), "fresh")
    cameras = Cameras.orbit(
        torch.tensor([0.0]), torch.tensor([0.2]), 3.0, fov_y=0.7, height=64, width=64
    )
    condition = Condition(prior.encode_text(["a red banana"]), cameras=cameras)
    out = prior.predict(torch.randn(1, 8, 16, 16), torch.tensor([500]), condition)
    assert out.shape == (1, 8, 16, 16)
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"also": ("normal",)}, "normals"),
        ({"preset": "wider"}, "wide"),
        ({"start": Path("nowhere"), "only": "vae"}, "nowhere"),
    ],
)
def test_bad_options_are_named(tmp_path, values, said):
    with pytest.raises(UserError, match=said):
        train(TrainingOptions(out=tmp_path, steps=1, groups=8, quiet=True, **values))


def test_a_decoder_alone_learns_normals_and_the_latents_stay(tmp_path):
    options = TrainingOptions(
        **{"out": tmp_path, "steps": 2, "groups": 8, "quiet": True},
        also=("normals",),
        start=SHIPPED,
        only="decoder",
    )
    train(options)
    own = loaded("AutoencoderKL", tmp_path / "diffusion" / "vae").state_dict()
    before = loaded("AutoencoderKL", SHIPPED / "vae").state_dict()
    moved = {name.split(".")[0] for name in own if not torch.equal(own[name], before[name])}
    assert moved == {"decoder", "post_quant_conv"}


def test_a_decoder_alone_needs_a_model_to_begin_from(tmp_path):
    with pytest.raises(ConfigError, match="--start FOLDER"):
        train(TrainingOptions(out=tmp_path, only="decoder", steps=1, groups=8, quiet=True))
    assert not list(tmp_path.rglob("*.npy"))


def test_a_border_counts_where_it_is_the_pictures():

    corner = torch.tensor([[0, 8], [3, 4], [8, 0]])
    counted = _counted(corner, 8, crop=32, margin=4)[..., 0]
    for one, (row, column) in zip(counted, corner.tolist()):
        whole = torch.zeros(32, 32, dtype=torch.bool)
        whole[0 if row == 0 else 4 : 32 if row == 8 else 28] = True
        whole[:, : 0 if column == 0 else 4] = False
        whole[:, 32 if column == 8 else 28 :] = False
        assert torch.equal(one, whole)
