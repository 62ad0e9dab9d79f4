"""Painting by pictures of all sides that are denoised together and share one texture (the way of
TEXTure, Richardson et al. 2023; Text2Tex, Chen et al. 2023; SyncMVD, Liu et al. 2023).

At every step the clean pictures that the prior expects are projected into the texture, nearer to
head-on views counting more, and drawn from it again, so that all views go on with one surface.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.loop import Stage, Step
from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, Elevations, Number, Share, Weight
from ..guidance.image_refinement import RefinementConfig, refinement_cameras
from ..guidance.prompts import PromptConfig, ViewPrompts
from ..priors.diffusion import Condition, DiffusionPrior
from ..priors.sampling import guided_clean
from ..renderers import BackgroundSample, Cameras, back_project
from .demand import Demand, Place, sampled_demand
from .painting import PaintRates, SurfaceModel, paint_groups, preview
from .painting_rounds import fill_unseen
from .snapshots import surface_snapshot

APART = 0.4
"""Between the two levels of grey behind the views."""
NEAR, FAR = 0.08, 0.3
"""Difference from the background's level up to which a pixel is background, and from which it is
not."""
BEND = 0.06
"""Second difference of depth from pixel to pixel, scene units, that makes an edge."""
LEAST = 0.02
"""By how much a pixel at an edge counts."""


@dataclass(frozen=True, kw_only=True)
class PaintViewsConfig:
    """Sampling of all views on one texture."""

    steps: Count = 0
    """Steps of denoising; 0 switches it off."""
    views: Number = 16
    """Number of views, in groups of four at quarter turns."""
    elevations: Elevations = (12.0, 35.0, -10.0, 65.0)
    """Elevation in degrees of each group."""
    scale: float = 5.0
    """Classifier-free guidance."""
    rescale: Share = 0.3
    clamp: Weight = 3.5
    power: Weight = 6.0
    """Exponent of the cosine between normal and view direction by which a view counts."""
    apart: Share = 0.1
    """Share of the steps at the end in which the views are no longer made one, so that fine detail
    is not averaged away; what they show then is blended."""
    batch: Number = 8
    """Views that are denoised at once."""
    joint_views: bool = True
    prompt: PromptConfig = field(default_factory=PromptConfig)

    def demand(self, place: Place) -> Demand:
        """What the stage asks of memory."""
        texels = getattr(place.holder, "texels", 512)
        return sampled_demand(place, self.views, self.together, texels)

    @property
    def together(self) -> int:
        """Views that are denoised at once: whole groups of four."""
        return max(4, self.batch - self.batch % 4)

    def cameras(self, distance: float, fov_y: float, size: int) -> Cameras:
        """The views; degrees, pictures of `size` pixels."""
        ring = RefinementConfig(views=self.views, elevations=self.elevations)
        return refinement_cameras(ring, distance, fov_y, size)


class _Views(nn.Module):
    """The noisy latents of all views, and how well each texel is seen: a checkpoint's state."""

    noisy: torch.Tensor
    weight: torch.Tensor

    def __init__(self, shape: tuple[int, ...], texels: int) -> None:
        super().__init__()
        self.register_buffer("noisy", torch.zeros(shape))
        self.register_buffer("weight", torch.zeros(texels, texels))


def edges_from_within(pictures: torch.Tensor, opacity: torch.Tensor) -> torch.Tensor:
    """Pictures whose outermost pixels of the object take the colours next to them inside.

    The prior's pictures mix the background into the pixels along a silhouette, and projected as
    they are, thin parts would keep grey of it. A pixel without any inner one next to it, as in
    parts of less than three pixels, stays as it is.

    Args:
        pictures: (B, H, W, 3). opacity: (B, H, W, 1) in [0, 1].

    Returns (B, H, W, 3).
    """
    planes, shown = pictures.permute(0, 3, 1, 2), opacity.permute(0, 3, 1, 2).to(pictures)
    # Beyond the frame nothing is known, so that the frame is no silhouette.
    covered = -F.max_pool2d(-F.pad(shown, (1, 1, 1, 1), value=1.0), 3, 1)
    inside = (covered > 0.99).to(planes)
    beside = F.avg_pool2d(inside, 3, 1, 1)
    mean = F.avg_pool2d(planes * inside, 3, 1, 1) / beside.clamp_min(1e-6)
    taken = (inside == 0) & (beside > 0)
    return torch.where(taken, mean, planes).permute(0, 2, 3, 1)


def within_edges(opacity: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """By how much the pixels of pictures count: one from three pixels within the object's
    silhouettes and those of its parts before each other, and less towards them.

    The pictures of the prior run together there, and differ from view to view: where a view ended
    at once, its pixels would be seen as teeth in the texture. No pixel of the object counts
    nothing, for thin parts have no other.

    Args:
        opacity: (B, H, W, 1) in [0, 1]. depth: (B, H, W, 1) along the view, scene units.

    Returns (B, H, W) in [0, 1].
    """
    shown, far = opacity.permute(0, 3, 1, 2), depth.permute(0, 3, 1, 2)
    # Along a plane inverse depth is linear in the picture, so that slanted ones have no edges.
    near = F.pad(1 / far.clamp_min(1e-3), (1, 1, 1, 1), mode="replicate")
    middle = near[..., 1:-1, 1:-1]
    across = near[..., 1:-1, 2:] + near[..., 1:-1, :-2] - 2 * middle
    along = near[..., 2:, 1:-1] + near[..., :-2, 1:-1] - 2 * middle
    bend = torch.maximum(across.abs(), along.abs()) / middle.square()
    inside = ((shown > 0.99) & (bend < BEND)).float()
    # Beyond the frame nothing is known, so that the frame is no silhouette.
    eroded = [
        -F.max_pool2d(-F.pad(inside, (k,) * 4, value=1.0), 2 * k + 1, 1) if k else inside
        for k in range(3)
    ]
    return (LEAST + (1 - LEAST) * torch.stack(eroded).mean(0))[:, 0]


def levels_of(views: int, grey: float) -> torch.Tensor:
    """The grey levels (V,) behind the views, of which every other group of four has one far from
    `grey`: what has the colour of one is told from the background before the other."""
    other = grey + APART if grey + APART <= 1 else grey - APART
    return torch.tensor([grey, other])[torch.arange(views) // 4 % 2]


def not_background(
    pictures: torch.Tensor, levels: torch.Tensor, shown: torch.Tensor
) -> torch.Tensor:
    """By how much pixels (V, H, W) in [0, 1] show something else than the background: where a
    prior's own object ends within the silhouette, at the foot of a longer leg, it paints the
    background on, and that is no colour of the mesh.

    Args:
        pictures: (V, H, W, 3). levels: (V,) of the background. shown: (V, H, W, 1), the silhouette.
    """
    away = (pictures - levels.to(pictures).view(-1, 1, 1, 1)).abs().amax(-1)
    x = ((away - NEAR) / (FAR - NEAR)).clamp(0, 1)
    found = x * x * (3 - 2 * x)
    share = (found * shown[..., 0]).sum() / shown.sum().clamp_min(1)
    # Where hardly anything differs, it is the object that has the colour of the background.
    return torch.where(share > 0.3, found, torch.ones_like(found))


@dataclass
class ViewPainter:
    """Denoises all views of a surface, step by step.

    Args:
        grey: level of the background, of every other group of four views.
    """

    parts: SurfaceModel
    prior: DiffusionPrior
    prompt: str
    config: PaintViewsConfig
    grey: float

    def __post_init__(self) -> None:
        facts, config = self.prior.facts, self.config
        size = facts.image_size
        protocol = self.parts.protocol
        self.cameras = config.cameras(protocol.distance, protocol.fov_y, size)
        self.prompts = ViewPrompts(self.prior, self.prompt, config.prompt)
        self.levels = levels_of(config.views, self.grey)
        grey = self.levels.view(-1, 1, 1, 1)
        self.behind = BackgroundSample(grey.expand(-1, size, size, 3).contiguous())
        shape = (config.views, facts.channels, facts.latent_size, facts.latent_size)
        self.views = _Views(shape, self.parts.surface.resolution)
        self.times = self.prior.schedule.sampling_times(config.steps, 1.0) if config.steps else []
        self._control: dict[str, torch.Tensor] | None = None
        self._asked = False

    @torch.no_grad()
    def step(self, step: Step) -> None:
        """One step of all views: denoise, project, draw again, add noise of the next level."""
        prior, config, surface = self.prior, self.config, self.parts.surface
        if not self._asked:
            self._control = self.parts.control_pictures(self.cameras, prior)
            self._asked = True
        if step.index == 0:
            random = RandomStream(step.seed, step.stage, 0)
            self.views.noisy.copy_(random.normal("noise", tuple(self.views.noisy.shape)))
        now, after = self.times[step.index]
        noisy = self.views.noisy.to(prior.device)
        _, opacity, depth = self._drawn()
        clean = torch.cat([self._clean(noisy, now, part) for part in self._groups()])
        # Background for certain: no pixel under a latent, nor next to it, shows the mesh.
        covered = F.max_pool2d(opacity.permute(0, 3, 1, 2), prior.downscale)
        outside = (1 - F.max_pool2d(covered, 3, 1, 1).ceil()).to(clean)
        empty = torch.cat([prior.encode_image(some) for some in self.behind.values.split(8)])
        clean = clean + outside * (empty.to(clean) - clean)
        pictures = torch.cat([prior.decode_latents(some) for some in clean.split(8)])
        shown = edges_from_within(pictures, opacity)
        texture, weight = back_project(
            surface,
            self.cameras,
            shown,
            valid=opacity[..., 0],
            power=config.power,
            counts=within_edges(opacity, depth) * not_background(shown, self.levels, opacity),
        )
        open_ = surface.unlocked.view(surface.resolution, -1)
        surface.texels[0, :3] = torch.where(
            open_ & (weight > 0), texture, surface.texels[0, :3]
        ).clamp(0, 1)
        self.views.weight.copy_(weight)
        last = after < 0 or step.index == len(self.times) - 1
        if not last and step.index < (1 - config.apart) * len(self.times):
            surface.texels.copy_(fill_unseen(surface, (weight > 0) | ~open_)[None])
            drawn, _, _ = self._drawn()
            # The difference of the two pictures alone, so that what the autoencoder loses is not
            # lost at every step again.
            moved = [
                prior.encode_image(a) - prior.encode_image(b)
                for a, b in zip(drawn.split(8), pictures.split(8))
            ]
            clean = clean + (1 - outside) * torch.cat(moved).to(clean)
        if last:
            surface.texels.copy_(fill_unseen(surface, (weight > 0) | ~open_)[None].clamp(0, 1))
            return
        schedule = prior.schedule
        abar = schedule.abar(torch.full((len(noisy),), now), noisy)
        following = schedule.abar(torch.full((len(noisy),), after), noisy)
        epsilon = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
        self.views.noisy.copy_(following.sqrt() * clean + (1 - following).sqrt() * epsilon)

    def _drawn(self) -> tuple[torch.Tensor, ...]:
        """Pictures (V, H, W, 3) of the surface as it is, opacity and depth (V, H, W, 1): few views
        at once, for a drawing takes far more memory than its result."""
        parts = []
        for some in self._groups():
            behind = BackgroundSample(self.behind.values[some])
            drawn = self.parts.renderer.render(self.parts.surface, self.cameras[some], behind)
            parts.append((drawn.features, drawn.opacity, drawn.depth))
        return tuple(torch.cat(planes) for planes in zip(*parts))

    def _groups(self) -> list[torch.Tensor]:
        """The views that are denoised at once: whole groups of four, and what is left over."""
        count = len(self.cameras)
        whole = count - count % 4 if self.config.joint_views else count
        few = self.config.together
        return [
            torch.arange(begin, min(begin + few, end))
            for first, end in ((0, whole), (whole, count))
            for begin in range(first, end, few)
        ]

    def _clean(self, noisy: torch.Tensor, now: int, part: torch.Tensor) -> torch.Tensor:
        config, group = self.config, self.cameras[part]
        views = 4 if config.joint_views and len(part) % 4 == 0 else 1
        condition = Condition(self.prompts.text(group), group, self.levels[part], views=views)
        condition.emphasis = self.prompts.emphasis(group)
        if self._control is not None:
            condition.control = {kind: shown[part] for kind, shown in self._control.items()}
        return guided_clean(
            self.prior,
            noisy[part],
            torch.full((len(part),), now),
            condition=condition,
            negative=self.prompts.negatives(len(part)),
            scale=config.scale,
            rescale=config.rescale,
            clamp=config.clamp,
        )

    def painted(self) -> dict[str, float]:
        """The share of the texels that a view has painted."""
        charts = self.parts.surface.charts
        seen = (self.views.weight > 0) & charts
        return {"texels painted": float(seen.sum() / charts.sum().clamp_min(1))}


def paint_views_stage(name: str, painter: ViewPainter) -> Stage:
    """The stage of a painter: one step of denoising of all views is one step of it. Nothing is
    optimised; the last step leaves the texture, with what no view has seen filled."""
    parts = painter.parts
    rest = PaintRates(texels="0", background="0", offsets="0")

    def loss(step: Step) -> dict[str, torch.Tensor]:
        return {"paint": 0 * parts.surface.texels.sum()}

    return Stage(
        name,
        len(painter.times),
        {**parts.modules(), "views": painter.views},
        groups=paint_groups(parts, rest),
        loss=loss,
        before_step=painter.step,
        preview=lambda: preview(parts, painter.prior.facts.image_size),
        snapshot=lambda: surface_snapshot(parts, painter.cameras),
        figures=painter.painted,
        result=tuple(parts.modules()),
    )
