"""Measures, look-ups and the sampler against SciPy and diffusers, for benchmarks/agreement.py."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from threestudio_like import kernels
from threestudio_like.kernels.reference.raster import pyramid
from threestudio_like.kernels.samples import sample_gaussians, sample_views
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.points import sample_surface
from threestudio_like.metrics import compare
from threestudio_like.metrics.point_sets import chamfer_squared, earth_movers
from threestudio_like.priors.diffusion import Condition, DiffusionPrior, PriorFacts
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.priors.sampling import ddim
from threestudio_like.toybox.shapes import box, ellipsoid

Rows = list[tuple[str, int, float, str, float]]


def chamfer(times: int) -> Rows:
    """Both figures against all pairs of points."""
    count = 10 * times
    squared = 0.0
    for number in range(count):
        rng = np.random.default_rng(number)
        a, b = rng.normal(size=(500, 3)), rng.normal(size=(700, 3)) + rng.uniform(0, 2, 3)
        pairs = cdist(a, b, "sqeuclidean")
        wanted = pairs.min(1).mean() + pairs.min(0).mean()
        squared = max(squared, abs(chamfer_squared(a, b) / wanted - 1))
    plain, samples = 0.0, 1500
    shapes = [Mesh(*box((0.8, 0.6, 0.4))), Mesh(*ellipsoid((0.5, 0.4, 0.6)))]
    pairs_of = list(itertools.permutations(shapes, 2))
    for one, two in pairs_of:
        a, b = (sample_surface(m, samples, k).points for k, m in enumerate((one, two)))
        pairs = cdist(a, b)
        wanted = (pairs.min(1).mean() + pairs.min(0).mean()) / 2
        mine = compare(one, two, samples=samples, grid=8)["chamfer-l1"]
        plain = max(plain, abs(mine / wanted - 1))
    return [
        ("chamfer_squared, relative", count, squared, "", 1e-12),
        ("chamfer-l1, relative", len(pairs_of), plain, "", 1e-6),
    ]


def earth_mover(times: int) -> Rows:
    """Sets of points on a line, for which SciPy has a closed form."""
    count, largest = 5 * times, 0.0
    for number in range(count):
        rng = np.random.default_rng(number)
        a, b = rng.normal(size=(2, 1200))
        wanted = wasserstein_distance(a, b)
        lines = (np.stack([v, 0 * v, 0 * v], 1) for v in (a, b))
        largest = max(largest, abs(earth_movers(*lines) / wanted - 1))
    return [("earth mover's distance of 1,200 points, relative", count, largest, "", 1e-9)]


def trilinear_lookup(times: int) -> Rows:
    """Look-ups in dense grids, corners of [-1, 1]^3 on the outermost points."""
    count, largest = 20_000 * times, 0.0
    shape = (9, 14, 11)
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(*shape, 4)).astype(np.float32)
    at = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    theirs = RegularGridInterpolator([np.linspace(-1, 1, n) for n in shape], grid.astype(float))
    mine = kernels.trilinear(torch.from_numpy(at), torch.from_numpy(grid)).numpy()
    largest = float(np.abs(mine - theirs(at[:, ::-1].astype(float))).max())
    return [("trilinear look-up", count, largest, "", 1e-5)]


def texture_lookup(times: int) -> Rows:
    """Bilinear look-ups, clamped at the border."""
    count = 20_000 * times
    rng = np.random.default_rng(0)
    height, width = 37, 52
    texels = rng.random((3, height, width)).astype(np.float32)
    uv = rng.uniform(-0.1, 1.1, (count, 2)).astype(np.float32)
    mine = kernels.texture(torch.from_numpy(texels)[None], torch.from_numpy(uv)).numpy()
    place = uv.astype(float)
    rows, columns = (1 - place[:, 1]) * height - 0.5, place[:, 0] * width - 0.5
    theirs = [
        map_coordinates(channel.astype(float), [rows, columns], order=1, mode="nearest")
        for channel in texels
    ]
    return [("bilinear texture", count, float(np.abs(mine - np.stack(theirs, 1)).max()), "", 1e-5)]


def mips(times: int) -> Rows:
    """Every mip of textures of any size against integrals of the texture over its texels."""
    largest, count = 0.0, 0
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (63, 63), (100, 37), (5, 255), (1, 9)]
    sizes += [tuple(rng.integers(1, 200, 2)) for _ in range(5 * times)]
    for height, width in sizes:
        texels = rng.random((height, width))
        # The integral up to the corner of every texel; between corners it is bilinear.
        sums = np.pad(texels.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        integral = RegularGridInterpolator([np.arange(height + 1.0), np.arange(width + 1.0)], sums)
        levels = pyramid(torch.tensor(texels, dtype=torch.float32)[None, None], 10)
        for level, mine in enumerate(levels[1:], 1):
            high, wide = max(1, height >> level), max(1, width >> level)
            assert mine.shape[-2:] == (high, wide)
            lines = np.meshgrid(
                np.linspace(0, height, high + 1), np.linspace(0, width, wide + 1), indexing="ij"
            )
            corner = integral(np.stack(lines, -1))
            whole = np.diff(np.diff(corner, axis=0), axis=1) / (height / high * width / wide)
            largest = max(largest, float(np.abs(mine[0, 0].numpy() - whole).max()))
            count += 1
    return [("mips of textures of any size", count, largest, "", 1e-5)]


class Smooth(DiffusionPrior):
    """A prediction that depends on the latents and the time, and on nothing learnt."""

    def __init__(self, schedule: NoiseSchedule | None, kind: Any) -> None:
        if schedule is not None:
            self.schedule = schedule
        self.facts = PriorFacts("smooth", kind, channels=4, latent_size=8, image_size=64)

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        return torch.zeros(len(prompts), 1, 1)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        return 0.7 * torch.tanh(latents + 0.3) + 1e-4 * t.view(-1, 1, 1, 1)


def ddim_steps(times: int) -> Rows:
    """Whole samplings under every spacing, offset, end and kind of prediction."""
    largest, count = 0.0, 0
    cases = itertools.product(
        ("linspace", "leading", "trailing"),
        ((0, True), (1, False)),
        ("epsilon", "v_prediction", "sample"),
        (1, 7, 20, *range(30, 30 + 10 * (times - 1), 10)),
    )
    for spacing, (offset, to_one), kind, steps in cases:
        numbers = dict(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing=spacing,
            steps_offset=offset,
            set_alpha_to_one=to_one,
            prediction_type=kind,
        )
        theirs = DDIMScheduler(clip_sample=False, **numbers)
        theirs.set_timesteps(steps)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(count))
        x, judge = noise, Smooth(None, kind)
        for t in theirs.timesteps:
            x = theirs.step(judge.predict(x, t.expand(1), None), t, x).prev_sample
        prior = Smooth(NoiseSchedule.from_config(numbers), kind)
        text = prior.encode_text([""])
        mine = ddim(prior, noise, 1.0, steps, Condition(text), text, 1.0)
        largest = max(largest, float((mine - x).abs().max() / x.abs().max().clamp_min(1)))
        count += 1
    return [("DDIM, result of a whole sampling", count, largest, "", 1e-4)]


def gaussians(times: int) -> Rows:
    """Projected Gaussians, and their derivatives, against gsplat's own definition in torch.

    gsplat's cameras look down +Z with y downwards, and its matrices of a camera are in pixels."""
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    size, count, place, shape, slope = 96, 4 * times, 0.0, 0.0, 0.0
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    for seed in range(count):
        given = [t.double() for t in sample_gaussians(500, 0.05, seed)[:3]]
        views, focal = (t.double() for t in sample_views(2, size))
        outputs, slopes = [], []
        for theirs in (False, True):
            free = [t.clone().requires_grad_() for t in given]
            if theirs:
                covariance, _ = _quat_scale_to_covar_preci(free[2], free[1], True, False)
                camera = torch.zeros(2, 3, 3, dtype=torch.float64)
                camera[:, 0, 0], camera[:, 1, 1] = focal, focal
                camera[:, :2, 2], camera[:, 2, 2] = size / 2, 1.0
                _, centres, _, conics, _ = _fully_fused_projection(
                    free[0], covariance, turn @ views, camera, size, size
                )
            else:
                projected = kernels.project_gaussians(
                    *(t.float() for t in free), views.float(), focal.float(), size, size
                )
                centres, conics = (t.double() for t in projected[:2])
            weights = torch.Generator().manual_seed(seed)
            drawn = [torch.randn(t.shape, generator=weights).double() for t in (centres, conics)]
            sum((w * t).sum() for w, t in zip(drawn, (centres, conics))).backward()
            outputs.append((centres.detach(), conics.detach()))
            slopes.append([t.grad for t in free])
        (mine, ours), (other, wanted) = outputs
        place = max(place, float((mine - other).abs().max()))
        shape = max(shape, float((ours - wanted).abs().max() / wanted.abs().max()))
        for a, b in zip(*slopes):
            slope = max(slope, float((a - b).norm() / b.norm()))
    return [
        ("Gaussians, centres in pictures", 1000 * count, place, " px", 1e-3),
        ("Gaussians, inverse covariances, relative", 1000 * count, shape, "", 1e-4),
        ("Gaussians, derivatives of both, relative", 1500 * count, slope, "", 1e-4),
    ]
