"""Prompts: long ones, weighted words, prompts of single directions, interpolation over azimuth;
and the gradients of published code on the same network, latents, noise and time."""

from __future__ import annotations

import math

import pytest
import torch

from tests.twins import save_twin
from threestudio_like.engine.errors import InputError, ModelError, VocabularyError
from threestudio_like.engine.events import Events
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance import GuidanceInputs, PromptConfig, ViewPrompts, perp_neg
from threestudio_like.guidance.score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
)
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.text.weighted import emphasis_of, parse_weighted
from threestudio_like.renderers import Cameras
from threestudio_like.runs.options import check_prompt
from threestudio_like.runs.prior import check_texts, fit_guidance, read_prompt
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    names = ("sd", "sd-turbo", "lcm", "sdxl", "sd3", "flux-dev", "z-image", "deepfloyd-if")
    config = DiffusersConfig(image_size=16)
    return {n: load_folder(save_twin(n, folder / n), config, n) for n in names}


def at(*degrees, elevation=0.1):
    angles = torch.deg2rad(torch.tensor([float(d) for d in degrees]))
    return Cameras.orbit(angles, torch.full((len(degrees),), elevation), 3.0, 0.7, 8, 8)


LONG = "a red wooden chair with a blue mug on a table in space and a corgi " * 6


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_long_prompts_are_read_in_chunks(name, made):
    prior = made[name]
    texts = [f"{LONG}, front view", f"{LONG}, back view", ""]
    embedded = prior.layout.unpack(prior.encode_text(texts)).states
    assert embedded.shape[1] % 77 == 0
    assert embedded.shape[1] > 77
    assert prior.check_prompt(texts[0]) == []
    assert not torch.allclose(embedded[0], embedded[1], atol=1e-4)
    # The first chunk is that of its own tokens, whatever follows.
    torch.testing.assert_close(embedded[0, :77], embedded[1, :77])
    # Its end is read: what a short prompt says alone, a chunk says too.
    t, z = torch.tensor([400]), torch.randn(1, 4, 8, 8)
    whole = prior.encode_text(texts)
    seen = [prior.predict(z, t, Condition(whole[[i]])) for i in (0, 1)]
    assert not torch.allclose(*seen, atol=1e-6)
    # A short prompt alone is as it was.
    assert len(prior.layout.unpack(prior.encode_text(["a red chair"])).states[0]) == 77


def test_a_cut_keeps_the_view(toybox_prior):
    """The embedded model reads 32 tokens: the words of the view survive, and the cut is told."""
    long = "a red chair and " * 12 + "a blue table"
    front, back = toybox_prior.encode_text([f"{long}, front view", f"{long}, back view"])
    assert not torch.allclose(front, back)
    (line,) = toybox_prior.check_prompt(f"{long}, overhead view")
    assert "left out" in line
    assert "table" in line
    told = []
    events = Events(None, "quiet")
    events.say = told.append
    read_prompt(toybox_prior, long, events)
    assert len(told) == 1
    assert toybox_prior.check_prompt("a red chair, front view") == []


def test_a_cut_is_told_by_every_encoder(made):
    lines = made["sd3"].check_prompt(f"{LONG}, front view")
    assert {line.split()[0] for line in lines} == {"tokenizer", "tokenizer_2", "tokenizer_3"}
    a, b = made["sd3"].encode_text([f"{LONG}, front view", f"{LONG}, back view"])
    unpacked = [made["sd3"].layout.unpack(x[None]).states[0] for x in (a, b)]
    for part in (slice(0, 77), slice(77, None)):
        assert not torch.allclose(unpacked[0][part], unpacked[1][part], atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "plain", "weights"),
    [
        ("a red chair", "a red chair", []),
        ("a (red:1.3) chair", "a red chair", [("red", 1.3)]),
        (
            "a (red wooden:0.5) (chair: 2)",
            "a red wooden chair",
            [("red wooden", 0.5), ("chair", 2)],
        ),
        ("a chair (of wood)", "a chair (of wood)", []),
        ("a (chair:wood)", "a (chair:wood)", []),
        ("(红色:1.2) chair", "红色 chair", [("红色", 1.2)]),
    ],
)
def test_weights_are_read(prompt, plain, weights):
    assert parse_weighted(prompt) == (plain, weights)


@pytest.mark.parametrize(
    "prompt", ["a (:1.3)", "(red:-1) chair", "(red:1e9) chair", "((red:2) a:3)"]
)
def test_weights_that_are_none_are_refused(prompt):
    if "e9" in prompt:
        prompt = "(red:1000) chair"
    with pytest.raises(InputError):
        parse_weighted(prompt)


def test_words_are_no_file_and_files_are_no_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chair").mkdir()
    (tmp_path / "black").mkdir()
    (tmp_path / "black" / "white").mkdir()
    (tmp_path / "my chair.glb").write_bytes(b"")
    for words in ("a red chair", "chair", "R2.D2", "a 3.5 m sofa", "a v1.0 robot", "red/blue ball"):
        check_prompt(words)
    for file in ("chair.glb", "pictures/chair.JPG", "x.obj", "my chair.glb", "black/white"):
        with pytest.raises(InputError, match="the name of a file"):
            check_prompt(file)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev", "deepfloyd-if"])
def test_weights_reach_the_attention(name, made):
    prior = made[name]
    plain, weights = parse_weighted("a (red:3) chair")
    embedded = prior.encode_text([plain])
    factors = emphasis_of(prior, plain, weights, tokens=embedded.shape[1])
    assert 0 < int((factors == 3).sum()) <= 8
    size = prior.facts.latent_size
    z, t = torch.randn(1, prior.facts.channels, size, size), torch.tensor([500])
    one = prior.predict(z, t, Condition(embedded))
    same = prior.predict(z, t, Condition(embedded, emphasis=torch.ones_like(factors)[None]))
    more = prior.predict(z, t, Condition(embedded, emphasis=factors[None]))
    assert torch.equal(one, same)
    assert not torch.allclose(one, more, atol=1e-7)


def test_weights_are_refused_where_words_have_no_attention(made):
    with pytest.raises(ModelError, match="weighted"):
        ViewPrompts(made["z-image"], "a (red:3) chair", PromptConfig())


def test_weights_reach_the_gradient(made):
    prior = made["sd"]
    plain, weighted = (
        ScoreDistillation(prior, p, ScoreDistillationConfig(scale=5))
        for p in ("a red chair", "a (red:4) chair")
    )
    inputs = GuidanceInputs(at(0.0, 180.0), 0.5, RandomStream(1, "x", 0))
    z = torch.randn(2, 4, 8, 8)
    a, b = (g.residual(z, inputs)[0] for g in (plain, weighted))
    assert not torch.allclose(a, b)
    assert weighted.prompts.emphasis(inputs.cameras).shape == (2, 77)
    assert plain.prompts.emphasis(inputs.cameras) is None


def test_directions_have_prompts_of_their_own(made):
    prior = made["sd"]
    prompts = ViewPrompts(prior, "a red chair", PromptConfig(back="a blue mug"))
    wanted = prior.encode_text(["a red chair, front view", "a blue mug"])
    assert torch.equal(prompts.text(at(0.0, 180.0)), wanted)


def test_texts_are_interpolated_over_azimuth(made):
    prior = made["sd"]
    prompts = ViewPrompts(prior, "a red chair", PromptConfig(interpolate=True))
    front, side, back = (prompts.by_direction[d] for d in ("front", "side", "back"))
    found = prompts.text(at(0.0, 45.0, -45.0, 90.0, 135.0, 180.0))
    wanted = [front, (front + side) / 2, (front + side) / 2, side, (side + back) / 2, back]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-5, rtol=1e-5)
    plain = ViewPrompts(prior, "a red chair", PromptConfig())
    assert torch.equal(plain.text(at(10.0))[0], front)


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 80.0, -60.0, 120.0, 179.0, -150.0])
def test_perp_neg_over_azimuth_is_the_published_one(azimuth, made):
    """Against the formula written out: shifted exponentials of the shares."""
    prompts = ViewPrompts(made["sd"], "a red chair", PromptConfig(interpolate=True))
    weights = prompts.other_weights(at(azimuth))[0]
    texts = prompts.other_directions(at(azimuth))[0]
    turn = abs(azimuth)
    if turn < 90:
        share = 1 - turn / 90
        wanted = [4 * math.exp(-0.5 * share) - 2.426, 4 * math.exp(-0.5 * (1 - share)) - 2.426]
        names = ("front", "side")
    else:
        share = 2 - turn / 90
        wanted = [math.exp(-0.5 * share) - 0.606, math.exp(-0.5 * share) + 0.967]
        names = ("side", "front")
    torch.testing.assert_close(weights, torch.tensor(wanted), atol=1e-5, rtol=1e-5)
    assert torch.equal(texts, torch.stack([prompts.by_direction[n] for n in names]))
    u, p, a, b = torch.randn(4, 1, 4, 8, 8)
    found = perp_neg(u, p, [a, b], [w.view(1, 1, 1, 1) for w in weights], 7.0)
    main, total = p - u, p - u
    for negative, w in ((a - u, wanted[0]), (b - u, wanted[1])):
        along = (negative * main).sum() / (main * main).sum()
        total = total - w * (negative - along * main)
    torch.testing.assert_close(found, u + 7 * total, atol=1e-4, rtol=1e-5)


def test_perp_neg_over_azimuth_runs(made):
    config = ScoreDistillationConfig(scale=5, perp_neg=0.7, prompt=PromptConfig(interpolate=True))
    guidance = ScoreDistillation(made["sd"], "a red chair", config)
    inputs = GuidanceInputs(at(20.0, 130.0), 0.5, RandomStream(1, "x", 0))
    gradient, _ = guidance.residual(torch.randn(2, 4, 8, 8), inputs)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize(
    ("name", "scale"), [("sd", 100), ("sd-turbo", 1), ("lcm", 1), ("flux-dev", 1)]
)
def test_distilled_models_get_no_guidance(name, scale, made):
    told = []
    events = Events(None, "quiet")
    events.say = told.append
    config = fit_guidance(LatentNerf.paper(), made[name], events)
    assert config.distil.guidance.scale == scale
    assert len(told) == (scale == 1)


def test_a_closed_vocabulary_knows_negative_prompts_too(toybox_prior):
    from threestudio_like.engine.config import set_dotted

    config = set_dotted(LatentNerf(), "distil.guidance.prompt.negative", "an ugly chair")
    with pytest.raises(VocabularyError, match="ugly"):
        check_texts(toybox_prior, config)
    check_texts(toybox_prior, LatentNerf())


@pytest.mark.parametrize("script", ["红色 chair", "κόκκινη chair", "a chair 🪑", "красный chair"])
def test_no_word_of_any_script_is_dropped(script, toybox_prior):
    with pytest.raises(VocabularyError):
        read_prompt(toybox_prior, script, Events(None, "quiet"))


@pytest.mark.parametrize(("weighting", "published"), [("latent-nerf", 10.0), ("dreamfusion", 9.0)])
def test_the_gradient_is_the_published_one(weighting, published, made):
    """Latent-NeRF's code: w = sqrt(abar) (1 - abar) and u + s (c - u); threestudio's sds: w = 1 -
    abar and c + s (c - u), which is ours at s + 1. On the library's own network and scheduler; the
    scale is 10, as the roundings of two schedules are multiplied by it."""
    from diffusers import DDIMScheduler

    prior = made["sd"]
    config = ScoreDistillationConfig(scale=10.0, weighting=weighting)
    guidance = ScoreDistillation(prior, "a red chair", config)
    cameras = at(0.0, 180.0)
    inputs = GuidanceInputs(cameras, 0.5, RandomStream(2, "x", 0))
    z = torch.randn(2, 4, 8, 8)
    ours, _ = guidance.residual(z, inputs)
    t = guidance.times(2, inputs)
    noise = inputs.random.normal("noise", tuple(z.shape), z.device)
    scheduler = DDIMScheduler.from_pretrained(prior.folder / "scheduler")
    noisy = scheduler.add_noise(z, noise, t)
    text = prior.encode_text(["a red chair, front view", "a red chair, back view", "", ""])
    with torch.no_grad():
        c, u = prior.unet(torch.cat([noisy] * 2), torch.cat([t, t]), text).sample.chunk(2)
    abar = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    if weighting == "latent-nerf":
        theirs = abar.sqrt() * (1 - abar) * (u + published * (c - u) - noise)
    else:
        theirs = (1 - abar) * (c + published * (c - u) - noise)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


XL = dict(
    sample_size=128,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=(5, 10, 20),
    transformer_layers_per_block=(1, 2, 10),
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)
MEDIUM = dict(
    sample_size=128,
    num_layers=24,
    num_attention_heads=24,
    caption_projection_dim=1536,
    pos_embed_max_size=192,
)


@pytest.mark.parametrize(
    ("kind", "config", "millions"),
    [
        ("UNet2DConditionModel", XL, 2567.5),
        ("SD3Transformer2DModel", MEDIUM, 2028.3),
        ("FluxTransformer2DModel", {"guidance_embeds": True}, 11901.4),
        ("QwenImageTransformer2DModel", {}, 20430.4),
        ("Flux2Transformer2DModel", {}, 32224.0),
        ("ZImageTransformer2DModel", {}, 6154.9),
    ],
)
def test_real_sizes_on_the_meta_device(kind, config, millions):
    import diffusers

    with torch.device("meta"):
        network = getattr(diffusers, kind)(**config)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=2e-3)
