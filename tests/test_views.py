"""View-conditioned families against the library's networks and the published formulas: tiny twins
with random weights, in float32."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.rounding import apart, of_sum
from tests.view_twins import ADAPTER, WEIGHTS, save_view_twin
from threestudio_like.engine.errors import ModelError
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.score_distillation import ScoreDistillation, ScoreDistillationConfig
from threestudio_like.priors.diffusion import Condition, Reference
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.families.views.mv_adapter import camera_images
from threestudio_like.priors.families.views.mvdream import camera_numbers
from threestudio_like.priors.families.views.pictures import PictureProcessor
from threestudio_like.priors.families.views.zero123 import pose_numbers
from threestudio_like.priors.families.views.zero123plus import POSES, tiled, untiled
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.networks.multi_view_unet import MultiViewUNet, MultiViewUNetRecord
from threestudio_like.renderers.camera_samplers import FixedCameras
from threestudio_like.renderers.cameras import Cameras
from threestudio_like.renderers.rendering import Rendering

PROMPT = "a red chair"
Pair = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    """A twin loaded by us, by its name."""
    folder = tmp_path_factory.mktemp("views")

    @functools.cache
    def loaded(name: str) -> Any:
        return opened(save_view_twin(name, folder / name))

    return loaded


def opened(folder: Path) -> Any:
    """The prior of a twin's folder, with the adapter in it where there is one."""
    adapter = folder / ADAPTER if (folder / ADAPTER).is_file() else None
    config = DiffusersConfig(image_size=16, view_adapter=adapter)
    return load_folder(folder, config, folder.name)


def orbit(azimuths: list[float], elevations: list[float], distance: float = 3.0) -> Cameras:
    """Cameras at angles in degrees."""
    angles = [torch.deg2rad(torch.tensor(v)) for v in (azimuths, elevations)]
    return Cameras.orbit(*angles, distance, math.radians(40.0), 16, 16)


def quarters(start: float = 30.0, elevation: float = 10.0) -> Cameras:
    """Four views at quarter turns."""
    return orbit([start + 90 * k for k in range(4)], [elevation] * 4)


def a_picture(azimuth: float = 0.0, elevation: float = 0.0) -> Reference:
    """A picture with an object in its middle; angles in degrees."""
    picture = torch.rand(40, 40, 3, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(40, 40)
    mask[8:32, 8:32] = 1
    return Reference(picture, mask, math.radians(azimuth), math.radians(elevation), 3.0)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """As near as two processors' sums of the same numbers: the layers of a small UNet of the tests
    add up some twenty thousand products on the way to an output."""
    assert ours.shape == theirs.shape
    assert apart(theirs, ours) < of_sum(20_000)


# MVDream and ImageDream.


class DenseAttention:
    """Attention of a diffusers layer written out: self-attention over four (five) entries at once,
    and a picture's tokens with keys and values of their own."""

    def __init__(self, views: int, picture: Any = None) -> None:
        self.views, self.picture = views, picture

    def __call__(
        self, attn: Any, x: torch.Tensor, encoder_hidden_states: Any = None, *rest: Any, **more: Any
    ) -> torch.Tensor:
        def maps(query, key, value):
            q, k, v = (z.unflatten(-1, (attn.heads, -1)) for z in (query, key, value))
            scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.shape[-1])
            return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(2)

        if encoder_hidden_states is None:
            rows = []
            for group in x.split(self.views):
                # Every place of every view attends to every place of every view.
                whole = torch.cat(list(group))[None]
                out = maps(attn.to_q(whole), attn.to_k(whole), attn.to_v(whole))
                rows.append(torch.stack(out[0].chunk(self.views)))
            return attn.to_out[0](torch.cat(rows))
        text, seen = encoder_hidden_states, None
        if self.picture is not None:
            count, keys, values = self.picture
            text, seen = text[:, :-count], text[:, -count:]
        query = attn.to_q(x)
        out = maps(query, attn.to_k(text), attn.to_v(text))
        if seen is not None:
            out = out + maps(query, seen @ keys.t(), seen @ values.t())
        return attn.to_out[0](out)


def library_unet(folder: Path, views: int, tokens: int = 0, cameras: bool = True) -> Any:
    """The library's UNet with MVDream's weights, by the library's own conversion of checkpoints of
    the first Stable Diffusion; the camera is its class embedding."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = dict(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=32,
    )
    if cameras:
        config.update(class_embed_type="projection", projection_class_embeddings_input_dim=16)
    made = UNet2DConditionModel(**config)
    tensors, pictures = {}, {}
    for key, value in load_file(folder / "unet" / WEIGHTS).items():
        if key.startswith("image_embed.") or (not cameras and "camera_embed" in key):
            continue
        if key.endswith("_ip.weight"):
            pictures[key] = value
            continue
        key = key.replace("camera_embed.", "label_emb.0.")
        tensors[f"model.diffusion_model.{key}"] = value
    made.load_state_dict(convert_ldm_unet_checkpoint(tensors, made.config))
    processors: dict[str, Any] = {name: DenseAttention(views) for name in made.attn_processors}
    # Both have their layers in the order in which a picture goes through them.
    order = [n for n in sorted(pictures, key=block_order) if "to_k_ip" in n]
    layers = [n for n in made.attn_processors if n.endswith("attn2.processor")]
    layers.sort(key=lambda n: ("down", "mid_", "up_b").index(n[:4]))
    for layer, key in zip(layers, order):
        values = pictures[key.replace("to_k_ip", "to_v_ip")]
        processors[layer] = DenseAttention(views, (tokens, pictures[key], values))
    made.set_attn_processor(processors)
    return made.eval()


def block_order(key: str) -> tuple[int, int]:
    """Input, middle, output; and the number of the block."""
    pieces = key.split(".")
    return ("input_blocks", "middle_block", "output_blocks").index(pieces[0]), int(pieces[1])


@torch.no_grad()
def compared_mvdream(prior: Any) -> list[Pair]:
    """Two groups of four views with cameras: ours, and the library's UNet with dense attention."""
    cameras = quarters()
    x, t = random(8, 4, 8, 8), torch.tensor([400] * 4 + [70] * 4)
    states = prior.encode_text([PROMPT, ""]).repeat_interleave(4, 0)
    both = cameras[torch.arange(8) % 4]
    ours = prior.predict(x, t, Condition(states, both, views=4))
    network = library_unet(prior.folder, views=4)
    theirs = network(x, t, states, class_labels=camera_numbers(both)).sample
    return [(ours, theirs)]


def test_mvdream_is_the_librarys_unet_with_dense_attention(twins):
    """Names and arithmetic of every tensor."""
    for ours, theirs in compared_mvdream(twins("mvdream")):
        assert_close(ours, theirs)


@torch.no_grad()
def test_every_view_of_mvdream_sees_the_others(twins):
    """And those of another object do not."""
    prior = twins("mvdream")
    x, t = random(8, 4, 8, 8), torch.full((8,), 400)
    states = prior.encode_text([PROMPT]).expand(8, -1, -1)
    condition = Condition(states, quarters()[torch.arange(8) % 4], views=4)
    before = prior.predict(x, t, condition)
    x[3] += 1
    after = prior.predict(x, t, condition)
    assert (after[:4] - before[:4]).flatten(1).abs().amax(1).min() > 1e-4
    assert torch.equal(after[4:], before[4:])


@torch.no_grad()
def test_mvdream_also_makes_single_pictures(twins):
    prior = twins("mvdream")
    x, t, states = random(2, 4, 8, 8), torch.tensor([400, 70]), prior.encode_text([PROMPT, ""])
    ours = prior.predict(x, t, Condition(states))
    network = library_unet(prior.folder, views=1, cameras=False)
    assert_close(ours, network(x, t, states).sample)


def test_mvdream_has_the_published_size():
    """As many parameters as Stable Diffusion 2.1's UNet, and a camera's two layers."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        ours = MultiViewUNet(MultiViewUNetRecord(camera_dim=16))
        plain = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
        pictured = MultiViewUNet(MultiViewUNetRecord(camera_dim=16, ip_dim=16))
    count, wanted = (sum(p.numel() for p in m.parameters()) for m in (ours, plain))
    assert count == wanted + 16 * 1280 + 1280 + 1280 * 1280 + 1280
    assert pictured.image_embed.latents.shape == (1, 16, 1024)
    assert pictured.image_embed.proj_in.weight.shape == (1024, 1280)


def published_camera(elevation: float, azimuth: float) -> torch.Tensor:
    """MVDream's sixteen numbers, by its own construction: a camera in a world with +Y up that looks
    at the origin, at azimuth 0 on +Z, turned into a world with +Z up."""
    e, a = math.radians(elevation), math.radians(azimuth)
    place = torch.tensor(
        [math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)], dtype=torch.float64
    )
    forward = -place
    right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    right = right / right.norm()
    up = torch.linalg.cross(right, forward)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = torch.stack([right, up, -forward], 1), place
    flip = torch.tensor(
        [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64
    )
    return (flip @ matrix).flatten()


def test_mvdreams_cameras():
    """Our front is its second view (azimuth 90 as it counts), and azimuths grow the same way; its
    world has +Z up and the front at +X, and distances do not count."""
    for azimuth, elevation in [(0, 0), (25, 15), (90, -10), (200, 40), (-60, 5)]:
        ours = camera_numbers(orbit([azimuth], [elevation], distance=2.3))[0].double()
        wanted = published_camera(elevation, azimuth + 90)
        torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=0)
    front = camera_numbers(orbit([0.0], [0.0]))[0].view(4, 4)
    above = camera_numbers(orbit([0.0], [60.0]))[0].view(4, 4)
    torch.testing.assert_close(front[:3, 3], torch.tensor([1.0, 0, 0]), atol=1e-6, rtol=0)
    assert above[2, 3] > 0.8
    assert above[0, 3] > 0.4


def test_imagedreams_world_turns_with_the_picture():
    seen = camera_numbers(orbit([70.0], [20.0]), math.radians(70.0))
    torch.testing.assert_close(seen, camera_numbers(orbit([0.0], [20.0])), atol=1e-6, rtol=0)


def resampled(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ImageDream's resampler, of its tensors alone."""

    def norm(name: str, z: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(z, z.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def linear(name: str, z: torch.Tensor) -> torch.Tensor:
        return F.linear(z, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    queries = tensors["latents"].repeat(len(x), 1, 1)
    x = linear("proj_in", x)
    for k in range(2):
        at = f"layers.{k}.0"
        seen, asked = norm(f"{at}.norm1", x), norm(f"{at}.norm2", queries)
        q = linear(f"{at}.to_q", asked)
        both = linear(f"{at}.to_kv", torch.cat([seen, asked], 1))
        key, value = both[..., :64], both[..., 64:]
        scores = (q @ key.transpose(1, 2) / 8).softmax(-1)
        queries = queries + linear(f"{at}.to_out", scores @ value)
        inner = F.gelu(linear(f"layers.{k}.1.1", norm(f"layers.{k}.1.0", queries)))
        queries = queries + linear(f"layers.{k}.1.3", inner)
    return norm("norm_out", linear("proj_out", queries))


@torch.no_grad()
def compared_imagedream(prior: Any) -> list[Pair]:
    """The picture's latents as a fifth view without a camera, its tokens beside the text's; zeros
    for both where it is not shown."""
    from transformers import CLIPVisionModel

    cameras, reference = quarters(), a_picture(azimuth=20.0)
    x, t = random(8, 4, 8, 8), torch.full((8,), 300)
    states = prior.encode_text([PROMPT, ""]).repeat_interleave(4, 0)
    both = cameras[torch.arange(8) % 4]
    shown = torch.tensor([True] * 4 + [False] * 4)
    ours = prior.predict(x, t, Condition(states, both, views=4, reference=reference, shown=shown))

    white = reference.picture * reference.mask[..., None] + 1 - reference.mask[..., None]
    pixels = PictureProcessor.read(prior.folder, "feature_extractor")(white)
    tower = CLIPVisionModel.from_pretrained(prior.folder / "image_encoder")
    seen = tower(pixels, output_hidden_states=True).hidden_states[-2]
    small = F.interpolate(white.permute(2, 0, 1)[None], (16, 16), mode="bilinear", antialias=True)
    latents = prior.vae.encode(small * 2 - 1).latent_dist.mode() * prior.vae.config.scaling_factor
    tensors = load_file(prior.folder / "unet" / WEIGHTS)
    own = {k[len("image_embed.") :]: v for k, v in tensors.items() if k.startswith("image_embed.")}
    network = library_unet(prior.folder, views=5, tokens=4)
    numbers = camera_numbers(cameras, reference.azimuth)
    numbers = torch.cat([numbers, torch.zeros(1, 16)])
    pairs = []
    for half, (on, four) in enumerate(zip((1.0, 0.0), x.split(4))):
        five = torch.cat([four, on * latents])
        text = torch.cat(
            [states[4 * half].expand(5, -1, -1), resampled(own, on * seen).expand(5, -1, -1)], 1
        )
        theirs = network(five, torch.full((5,), 300), text, class_labels=numbers).sample
        pairs.append((ours[4 * half : 4 * half + 4], theirs[:4]))
    return pairs


def test_imagedream_is_the_librarys_unet_with_a_fifth_view(twins):
    for ours, theirs in compared_imagedream(twins("imagedream")):
        assert_close(ours, theirs)


# Zero123.


def reference_numbers(prior: Any, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
    """CLIP's embedding and unscaled latents of a picture before white, by the library."""
    from transformers import CLIPVisionModelWithProjection

    white = reference.picture * reference.mask[..., None] + 1 - reference.mask[..., None]
    small = F.interpolate(white.permute(2, 0, 1)[None], (16, 16), mode="bilinear", antialias=True)
    pixels = PictureProcessor.read(prior.folder, "feature_extractor")(small[0].permute(1, 2, 0))
    tower = CLIPVisionModelWithProjection.from_pretrained(prior.folder / "image_encoder")
    return tower(pixels).image_embeds, prior.vae.encode(small * 2 - 1).latent_dist.mode()


def published_noise(
    prior: Any,
    reference: Reference,
    cameras: Cameras,
    noisy: torch.Tensor,
    t: torch.Tensor,
    stable: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """threestudio's conditional and unconditional noise of Zero123 (angles in degrees there), on
    the library's UNet."""
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(prior.folder / "unet").eval()
    projection = next(
        p for p in ("clip_camera_projection", "cc_projection") if (prior.folder / p).is_dir()
    )
    tensors = load_file(prior.folder / projection / WEIGHTS)
    weight = next(v for k, v in tensors.items() if k.endswith("weight"))
    bias = next(v for k, v in tensors.items() if k.endswith("bias"))
    embedding, latents = reference_numbers(prior, reference)
    elevation, azimuth = torch.rad2deg(cameras.elevation), torch.rad2deg(cameras.azimuth)
    low, turned = math.degrees(reference.elevation), math.degrees(reference.azimuth)
    last = cameras.distance - reference.distance
    if stable:
        last = torch.deg2rad(90 - torch.full_like(elevation, low))
    camera = torch.stack(
        [
            torch.deg2rad((90 - elevation) - (90 - low)),
            torch.sin(torch.deg2rad(azimuth - turned)),
            torch.cos(torch.deg2rad(azimuth - turned)),
            last,
        ],
        -1,
    )
    count = len(noisy)
    token = torch.cat([embedding.repeat(count, 1), camera], -1) @ weight.t() + bias
    token = token[:, None]
    text = torch.cat([torch.zeros_like(token), token])
    beside = torch.cat(
        [torch.zeros_like(latents).repeat(count, 1, 1, 1), latents.repeat(count, 1, 1, 1)]
    )
    out = network(torch.cat([torch.cat([noisy, noisy]), beside], 1), torch.cat([t, t]), text).sample
    unconditional, conditional = out.chunk(2)
    return conditional, unconditional


@torch.no_grad()
def compared_zero123(prior: Any) -> list[Pair]:
    """With the picture and without, from two cameras at other distances than the picture's."""
    reference = a_picture(azimuth=15.0, elevation=12.0)
    cameras = orbit([100.0, -40.0], [30.0, -5.0], distance=3.4)
    x, t = random(2, 4, 8, 8), torch.tensor([600, 90])
    text = prior.encode_text(["", ""])
    told = Condition(text, cameras, reference=reference)
    untold = Condition(text, cameras, reference=reference, shown=torch.zeros(2, dtype=torch.bool))
    ours = (prior.predict(x, t, told), prior.predict(x, t, untold))
    stable = "stable" in prior.name
    return list(zip(ours, published_noise(prior, reference, cameras, x, t, stable=stable)))


@pytest.mark.parametrize("name", ["zero123-xl", "zero123-xl-community", "stable-zero123"])
def test_zero123_is_the_published_formula(name, twins):
    for ours, theirs in compared_zero123(twins(name)):
        assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["zero123-xl", "stable-zero123"])
def test_zero123s_gradient_is_threestudios(name, twins):
    """The same UNet, latents, noise, times: w (eps_hat - eps) with w = 1 - abar, guidance 3, and
    the loss half its square over the batch."""
    from diffusers import DDIMScheduler

    prior, reference = twins(name), a_picture(elevation=5.0)
    cameras = orbit([80.0, 190.0, -30.0], [10.0, 60.0, -5.0])
    pictures = torch.rand(
        3, 16, 16, 3, generator=torch.Generator().manual_seed(2), requires_grad=True
    )
    config = ScoreDistillationConfig(scale=3.0, weighting="dreamfusion", t_min="0.02", t_max="0.98")
    guidance = ScoreDistillation(prior, "", config, encode=True, reference=reference)
    stream = RandomStream(0, "test", 7)
    inputs = GuidanceInputs(cameras, 0.3, stream)
    rendering = Rendering(
        pictures,
        torch.ones(3, 16, 16, 1),
        torch.ones(3, 16, 16, 1),
        background=torch.zeros(3, 16, 16, 3),
    )
    output = guidance(rendering, inputs)
    (ours,) = torch.autograd.grad(output.loss, pictures)

    t = guidance.times(3, inputs)
    images = pictures.detach().requires_grad_()
    moments = prior.vae.encode(images.permute(0, 3, 1, 2) * 2 - 1).latent_dist
    latents = moments.mode() * prior.vae.config.scaling_factor
    noise = stream.normal("noise", tuple(latents.shape))
    scheduler = DDIMScheduler.from_pretrained(prior.folder / "scheduler")
    with torch.no_grad():
        noisy = scheduler.add_noise(latents, noise, t)
        conditional, unconditional = published_noise(
            prior, reference, cameras, noisy, t, stable="stable" in name
        )
        eps = unconditional + 3.0 * (conditional - unconditional)
        grad = (1 - scheduler.alphas_cumprod[t]).view(-1, 1, 1, 1) * (eps - noise)
    target = (latents - grad).detach()
    loss = 0.5 * F.mse_loss(latents, target, reduction="sum") / 3
    (theirs,) = torch.autograd.grad(loss, images)
    scale = float(theirs.abs().max())
    assert scale > 1e-3
    assert float((ours - theirs).abs().max()) < 1e-5 * max(1.0, scale)
    torch.testing.assert_close(output.loss, loss, atol=1e-5, rtol=1e-5)


def test_zero123s_cameras():
    """Polar angle (from straight up) and azimuth (growing to the right of the front) less the
    picture's; the distance less its own, or Stable Zero123's polar angle of the picture."""
    reference = a_picture(azimuth=10.0, elevation=20.0)
    above = pose_numbers(orbit([10.0], [50.0]), reference, stable=False)[0]
    right = pose_numbers(orbit([100.0], [20.0], distance=3.5), reference, stable=False)[0]
    stable = pose_numbers(orbit([100.0], [20.0]), reference, stable=True)[0]
    thirty = math.radians(30.0)
    for ours, wanted in [
        (above, [-thirty, 0.0, 1.0, 0.0]),
        (right, [0.0, 1.0, 0.0, 0.5]),
        (stable, [0.0, 1.0, 0.0, math.radians(70.0)]),
    ]:
        torch.testing.assert_close(ours, torch.tensor(wanted), atol=1e-6, rtol=0)
    # At azimuth 90 of the front the camera is on +X, which the front's camera sees at its right.
    camera = orbit([90.0], [0.0])
    assert camera.camera_to_world[0, 0, 3] > 2.9
    seen = orbit([0.0], [0.0]).view_projection()[0] @ torch.tensor([0.5, 0, 0, 1.0])
    assert seen[0] / seen[3] > 0


# Zero123++.


class Recorder:
    """A processor of the library's that keeps what self-attention is given, or adds it."""

    def __init__(self, kept: dict[str, torch.Tensor], name: str) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        self.inner, self.kept, self.name, self.reading = AttnProcessor(), kept, name, False

    def __call__(self, attn: Any, hidden_states: torch.Tensor, **more: Any) -> torch.Tensor:
        if self.reading:
            both = torch.cat([hidden_states, self.kept[self.name]], 1)
            return self.inner(attn, hidden_states, encoder_hidden_states=both)
        self.kept[self.name] = hidden_states
        return self.inner(attn, hidden_states)


@torch.no_grad()
def compared_zero123plus(prior: Any) -> list[Pair]:
    """A grid with the picture, and one with a grey picture and the empty prompt."""
    from diffusers import EulerAncestralDiscreteScheduler, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPVisionModelWithProjection

    reference = a_picture(azimuth=40.0)
    views = FixedCameras(views=POSES, around=40.0, distance=4.0, fov_y=30.0)
    cameras = views.sample(RandomStream(0, "test", 0), 16)
    x, at = random(12, 4, 8, 8), 500
    t = torch.full((12,), at)
    text = prior.encode_text([PROMPT] * 12)
    shown = torch.tensor([True] * 6 + [False] * 6)
    both = cameras[torch.arange(12) % 6]
    ours = prior.predict(x, t, Condition(text, both, views=6, reference=reference, shown=shown))

    grey = 127 / 255
    mask = reference.mask[..., None]
    picture = reference.picture * mask + grey * (1 - mask)
    tower = CLIPVisionModelWithProjection.from_pretrained(prior.folder / "vision_encoder")
    pixels = PictureProcessor.read(prior.folder, "feature_extractor_clip")(picture)
    embedding = tower(pixels).image_embeds[:, None]
    image = PictureProcessor.read(prior.folder, "feature_extractor_vae")(picture)
    latents = prior.vae.encode(image).latent_dist.mode()
    negative = prior.vae.encode(torch.zeros_like(image)).latent_dist.mode()
    network = UNet2DConditionModel.from_pretrained(prior.folder / "unet").eval()
    kept: dict[str, torch.Tensor] = {}
    recorders = {n: Recorder(kept, n) for n in network.attn_processors if "attn1" in n}
    network.set_attn_processor(
        {n: recorders.get(n, AttnProcessor()) for n in network.attn_processors}
    )
    scheduler = EulerAncestralDiscreteScheduler.from_pretrained(prior.folder / "scheduler")
    # A scheduler of the library only knows the times that it would sample at: all of them.
    scheduler.set_timesteps(1000)
    step = scheduler.timesteps[(scheduler.timesteps - at).abs().argmin()][None]
    assert abs(float(step) - at) < 0.5
    noise = prior.reference_noise(at, latents.shape[1:])[None]
    ramp = torch.arange(77)[:, None] / 76
    empty, pairs = prior.encode_text([""]), []
    for k, (condition, states) in enumerate(
        [(latents, empty + embedding * ramp), (negative, empty)]
    ):
        noisy = scheduler.add_noise(condition, noise, step)
        noisy = scheduler.scale_model_input(noisy, step)
        scheduler.is_scale_input_called = False
        for recorder in recorders.values():
            recorder.reading = False
        network(noisy, at, states)
        for recorder in recorders.values():
            recorder.reading = True
        rows = [torch.cat(list(x[6 * k + 2 * r : 6 * k + 2 * r + 2]), -1) for r in range(3)]
        theirs = network(torch.cat(rows, -2)[None], at, states).sample
        pairs.append((tiled(ours[6 * k : 6 * k + 6]), theirs))
    return pairs


def test_zero123plus_is_the_librarys_unet_with_reference_attention(twins):
    for ours, theirs in compared_zero123plus(twins("zero123plus")):
        assert_close(ours, theirs)


@torch.no_grad()
def test_zero123plus_shrinks_pictures_and_shifts_latents(twins):
    """Grids go through the autoencoder whole, at 0.5 / 0.8 of their contrast; their latents less
    0.22, times 0.75."""
    prior = twins("zero123plus")
    images = torch.rand(6, 16, 16, 3, generator=torch.Generator().manual_seed(4))
    rows = [torch.cat([images[2 * r], images[2 * r + 1]], 1) for r in range(3)]
    grid = torch.cat(rows, 0).permute(2, 0, 1)[None]
    coded = prior.vae.encode((grid * 2 - 1) * 0.5 / 0.8).latent_dist.mode()
    wanted = (coded * prior.vae.config.scaling_factor - 0.22) * 0.75
    latents = prior.encode_image(images)
    assert_close(tiled(latents), wanted)
    raw = (wanted / 0.75 + 0.22) / prior.vae.config.scaling_factor
    shown = prior.vae.decode(raw).sample / 0.5 * 0.8
    assert_close(
        tiled(prior.decode_latents(latents).permute(0, 3, 1, 2)), (shown / 2 + 0.5).clamp(0, 1)
    )


def test_zero123plus_views():
    """Two in a row; azimuth 30, 90, … from the picture's, elevation 20 and -10 in turn."""
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    grid = tiled(x)
    assert grid.shape == (1, 1, 6, 4)
    assert grid[0, 0, ::2, ::2].flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.equal(untiled(grid), x)
    assert [round(a) for a, _ in POSES] == [30, 90, 150, 210, 270, 330]
    assert [round(e) for _, e in POSES] == [20, -10, 20, -10, 20, -10]


# MV-Adapter.


class RowsWrittenOut:
    """Self-attention of a diffusers layer, and the adapter's along the same row of six views."""

    def __init__(self, tensors: dict[str, torch.Tensor], name: str) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        self.inner = AttnProcessor()
        self.own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if name in k}

    def __call__(self, attn: Any, x: torch.Tensor, **more: Any) -> torch.Tensor:
        out = self.inner(attn, x)
        edge = math.isqrt(x.shape[1])
        q, k, v = (
            (x @ self.own[f"to_{n}_mv.weight"].t()).unflatten(1, (edge, edge)) for n in "qkv"
        )
        rows = torch.zeros_like(q)
        for view in range(len(x)):
            first = view - view % 6
            for row in range(edge):
                keys = k[first : first + 6, row].reshape(6 * edge, attn.heads, -1)
                values = v[first : first + 6, row].reshape(6 * edge, attn.heads, -1)
                query = q[view, row].unflatten(-1, (attn.heads, -1))
                scores = torch.einsum("ihd,jhd->hij", query, keys) / math.sqrt(keys.shape[-1])
                rows[view, row] = torch.einsum("hij,jhd->ihd", scores.softmax(-1), values).flatten(
                    1
                )
        rows = rows.flatten(1, 2)
        return out + rows @ self.own["to_out_mv.0.weight"].t() + self.own["to_out_mv.0.bias"]


@torch.no_grad()
def compared_mv_adapter(prior: Any) -> list[Pair]:
    """Prompt and negative prompt, six views each, on the library's UNet and T2I adapter."""
    from diffusers import T2IAdapter, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    cameras = FixedCameras(views=prior.facts.fixed_views, distance=12.6, fov_y=10.0)
    both = cameras.sample(RandomStream(0, "test", 0), 16)[torch.arange(12) % 6]
    x, t = random(12, 4, 8, 8), torch.full((12,), 350)
    packed = prior.encode_text([PROMPT, ""]).repeat_interleave(6, 0)
    ours = prior.predict(x, t, Condition(packed, both, views=6))

    tensors = load_file(prior.folder / ADAPTER)
    network = UNet2DConditionModel.from_pretrained(prior.folder / "unet").eval()
    network.set_attn_processor(
        {
            name: RowsWrittenOut(tensors, name) if "attn1" in name else AttnProcessor()
            for name in network.attn_processors
        }
    )
    encoder = T2IAdapter(6, [16, 32, 32, 32], 2, 16, "full_adapter_xl").eval()
    encoder.load_state_dict({k: v for k, v in tensors.items() if k.startswith("adapter.")})
    # Its own cameras: at azimuth a of its front it is at (sin a, -cos a, 0) and looks back.
    places = torch.tensor([[math.sin(a), -math.cos(a), 0.0] for a in both.azimuth.tolist()])
    pixels = ((torch.cat([-places, places], 1) + 1) / 2)[..., None, None].expand(-1, -1, 64, 64)
    text = prior.layout.unpack(packed)
    sizes = torch.tensor([16.0, 16.0, 0.0, 0.0, 16.0, 16.0]).expand(12, -1)
    theirs = network(
        *(x, t, text.states),
        added_cond_kwargs={"text_embeds": text.pooled, "time_ids": sizes},
        down_intrablock_additional_residuals=list(encoder(pixels)),
    ).sample
    return [(ours, theirs)]


def test_mv_adapter_is_the_librarys_unet_with_rows_of_views(twins):
    for ours, theirs in compared_mv_adapter(twins("mv-adapter")):
        assert_close(ours, theirs)


def test_mv_adapters_noise_is_shifted(twins):
    """The published shift: ratios divided by eight, interpolated in their logarithm by the time,
    and betas made of them."""
    from diffusers import DDPMScheduler

    prior = twins("mv-adapter")
    plain = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    alpha = plain.alphas_cumprod.double()
    ratio, share = alpha / (1 - alpha), torch.arange(1000).double() / 999
    ratio = torch.exp(ratio.log() * (1 - share) + (ratio / 8).log() * share)
    bars = ratio / (1 + ratio)
    betas = 1 - bars / torch.cat([torch.ones(1).double(), bars[:-1]])
    theirs = DDPMScheduler(trained_betas=betas.tolist()).alphas_cumprod
    torch.testing.assert_close(prior.schedule.alphas_cumprod, theirs, atol=1e-6, rtol=1e-4)
    assert float(prior.schedule.alphas_cumprod[999]) < float(alpha[999]) / 7


def test_mv_adapters_cameras():
    """A camera's image: its direction of view and its place, with +Z up and the front at -Y."""
    front, right, above = camera_images(orbit([0.0, 90.0, 0.0], [0.0, 0.0, 90.0])) * 2 - 1
    for ours, place in [(front, [0, -1, 0]), (right, [1, 0, 0]), (above, [0, 0, 1])]:
        wanted = torch.tensor([*(-float(v) for v in place), *map(float, place)])
        torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=0)


COMPARED = {
    "mvdream": compared_mvdream,
    "imagedream": compared_imagedream,
    "zero123-xl": compared_zero123,
    "zero123-xl-community": compared_zero123,
    "stable-zero123": compared_zero123,
    "zero123plus": compared_zero123plus,
    "mv-adapter": compared_mv_adapter,
}
"""Predictions, and those of the published formula on the library's networks, by twin."""


# What cannot be meant.


def the_line(call) -> str:
    with pytest.raises(ModelError) as problem:
        call()
    assert "\n" not in problem.value.line()
    return problem.value.line()


def test_a_missing_picture_is_one_line(twins):
    for name, views in [("zero123-xl", 1), ("imagedream", 4), ("zero123plus", 6)]:
        prior = twins(name)
        text = prior.encode_text([PROMPT] * views)
        condition = Condition(text, orbit([0.0] * views, [0.0] * views), views=views)
        line = the_line(
            lambda p=prior, v=views, c=condition: p.predict(
                random(v, 4, 8, 8), torch.full((v,), 9), c
            )
        )
        assert "was given none" in line
        assert "reconstruct" in line


def test_a_wrong_number_of_views_is_one_line(twins):
    for name, views in [
        ("mvdream", 3),
        ("mvdream", 8),
        ("imagedream", 2),
        ("zero123plus", 4),
        ("mv-adapter", 4),
    ]:
        prior = twins(name)
        text = prior.encode_text([PROMPT] * views)
        cameras = orbit([90.0 * k for k in range(views)], [0.0] * views)
        condition = Condition(text, cameras, views=views, reference=a_picture())
        line = the_line(
            lambda p=prior, v=views, c=condition: p.predict(
                random(v, 4, 8, 8), torch.full((v,), 9), c
            )
        )
        assert f"was given {views}" in line


def test_views_at_several_times_are_one_line(twins):
    prior = twins("mvdream")
    condition = Condition(prior.encode_text([PROMPT] * 4), quarters(), views=4)
    line = the_line(
        lambda: prior.predict(random(4, 4, 8, 8), torch.tensor([1, 2, 1, 1]), condition)
    )
    assert "shared_time" in line


def test_other_cameras_than_its_six_are_one_line(twins):
    prior = twins("zero123plus")
    cameras = orbit([30.0, 90.0, 150.0, 210.0, 270.0, 300.0], [20.0, -10.0] * 3)
    condition = Condition(prior.encode_text([""] * 6), cameras, views=6, reference=a_picture())
    line = the_line(lambda: prior.predict(random(6, 4, 8, 8), torch.full((6,), 9), condition))
    assert "30 degrees" in line


def test_a_prompt_that_is_not_read_is_told(twins):
    for name in ("zero123-xl", "zero123plus"):
        prior = twins(name)
        (line,) = prior.check_prompt("a red chair")
        assert "no prompt" in line
        first, second = prior.encode_text(["a red chair", "a blue mug"])
        assert torch.equal(first, second)
    assert twins("mvdream").check_prompt(PROMPT) == []


def test_facts_say_what_is_taken(twins):
    conditions = {
        "mvdream": ("text", "camera", "views"),
        "imagedream": ("text", "camera", "views", "reference"),
        "zero123-xl": ("camera", "reference"),
        "zero123plus": ("camera", "views", "reference"),
        "mv-adapter": ("text", "camera", "views"),
    }
    for name, wanted in conditions.items():
        assert twins(name).facts.conditions == wanted
    assert "as zero123 is" in twins("zero123-xl").facts.notes[0]
    assert twins("stable-zero123").facts.preset == "stable-zero123"
    folder = twins("stable-zero123").folder
    config = DiffusersConfig(image_size=16, pose="zero123")
    asked = load_folder(folder, config, "stable-zero123")
    assert asked.facts.preset == "zero123"
    assert asked.facts.notes == ()


def test_parts_of_a_batch_are_the_whole(twins):
    """Divided at groups of views that belong together, with the picture of each part."""
    prior = twins("imagedream")
    text = prior.encode_text([PROMPT, ""]).repeat_interleave(4, 0)
    shown = torch.tensor([True] * 4 + [False] * 4)
    cameras = quarters()[torch.arange(8) % 4]
    condition = Condition(text, cameras, views=4, reference=a_picture(), shown=shown)
    x, t = random(8, 4, 8, 8), torch.full((8,), 200)
    whole = prior.predict(x, t, condition)
    prior.entries = 4
    parts = prior.predict(x, t, condition)
    prior.entries = 0
    assert_close(parts, whole)


def test_pictures_are_read_as_transformers_reads_them(twins):
    """Resized, cut and normalised as the folder's processor says."""
    from transformers import CLIPImageProcessor

    from threestudio_like.priors.families.views.pictures import as_bytes

    for name, part in [
        ("zero123-xl", "feature_extractor"),
        ("zero123plus", "feature_extractor_vae"),
        ("zero123plus", "feature_extractor_clip"),
    ]:
        folder = twins(name).folder
        picture = a_picture().picture
        theirs = CLIPImageProcessor.from_pretrained(folder / part)(
            images=as_bytes(picture), return_tensors="pt"
        ).pixel_values
        assert_close(PictureProcessor.read(folder, part)(picture), theirs)
