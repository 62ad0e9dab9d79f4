"""Rounds of pictures that the texels of a mesh are fitted to, and the filling of what no camera
sees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ..engine.loop import Stage, Step
from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, Number
from ..guidance.image_refinement import (
    ImageRefinement,
    RefinementConfig,
    Targets,
    refinement_cameras,
)
from ..renderers import (
    BackgroundSample,
    Cameras,
    EnvironmentLight,
    back_project,
)
from ..representations import TexturedMesh
from .demand import Demand, Place, sampled_demand
from .painting import (
    PaintRates,
    PaintTerms,
    SurfaceModel,
    keep_in_range,
    paint_groups,
    paint_terms,
    parsed,
    preview,
)
from .snapshots import surface_snapshot


@dataclass(frozen=True, kw_only=True)
class PaintRoundsConfig:
    """Rounds of image-space refinement: render, add noise, denoise over several steps within the
    known silhouette, fit the texels."""

    refine: RefinementConfig = field(default_factory=RefinementConfig)
    iterations: Count = 40
    """Optimiser steps a round."""
    batch: Number = 8
    """Views a step."""
    in_turn: bool = False
    """Sample four views at a time, each four keeping what those before them have painted
    (Richardson et al. 2023, "TEXTure"), rather than all at once and apart: patterns then agree
    between views."""
    rates: PaintRates = field(default_factory=lambda: PaintRates(texels="0.05->0.01", offsets="0"))
    """The pictures of the rounds keep the mesh's silhouette, so its vertices rest."""
    terms: PaintTerms = field(default_factory=PaintTerms)

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all rounds."""
        return len(self.refine.times) * self.iterations

    def demand(self, place: Place) -> Demand:
        """What the stage asks of memory."""
        refine = self.refine
        # A round's pictures are encoded and decoded by eight, and drawn all at once.
        together = 4 if self.in_turn else max(refine.batch, min(8, refine.views))
        texels = getattr(place.holder, "texels", 512)
        demand = sampled_demand(place, refine.views, together, texels, projects=self.in_turn)
        return replace(demand, samples=refine.views * (2 * place.prior.facts.image_size) ** 2)


@torch.no_grad()
def targets_in_turn(
    parts: SurfaceModel,
    refinement: ImageRefinement,
    cameras: Cameras,
    behind: BackgroundSample,
    light: EnvironmentLight | None,
    time: float,
    noise: RandomStream,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (V, H, W, 3) of four views at a time around what is painted already, and the
    surface's opacity (V, H, W)."""
    prior, steps = refinement.prior, refinement.config.steps
    surface, scene = (
        parts.surface,
        parts.renderer.render(parts.surface, cameras, behind, light=light),
    )
    channels = 3 if surface.channels == 5 else surface.channels
    partial = TexturedMesh(surface.atlas, channels + 1, surface.resolution).to(
        surface.points.device
    )
    # What is locked is painted already.
    weight = (surface.charts & ~surface.unlocked.view(surface.resolution, -1)).float()
    partial.texels[0, :channels] = surface.texels[0, :channels]
    partial.texels[0, channels] = weight
    pictures = []
    for begin in range(0, len(cameras), 4):
        some = cameras[torch.arange(begin, min(begin + 4, len(cameras)))]
        drawn = parts.renderer.render(
            partial,
            some,
            BackgroundSample(torch.cat([behind.values, behind.values[..., :1] * 0], -1)),
        )
        here, opacity = scene.features[begin : begin + 4], scene.opacity[begin : begin + 4]
        sure = drawn.features[..., channels:]
        here = torch.where(sure > 0.5, drawn.features[..., :channels] / sure.clamp_min(0.5), here)
        latents = torch.cat([prior.encode_image(chunk) for chunk in here.split(8)])
        empty = prior.encode_image(behind.values).expand_as(latents)
        covered = nn.functional.max_pool2d(opacity.permute(0, 3, 1, 2), prior.downscale)
        outside = 1 - nn.functional.max_pool2d(covered, 3, 1, 1).ceil()
        # A latent is known where the whole surface under it is painted.
        open_ = (opacity * (1 - sure)).permute(0, 3, 1, 2)
        painted = (nn.functional.max_pool2d(open_, prior.downscale) < 0.5).float() * (1 - outside)
        values = torch.where(outside > 0, empty, latents)
        clean = refinement.denoise(
            latents,
            some,
            time,
            steps=steps,
            random=noise,
            purpose="round noise",
            known=(values, torch.maximum(outside, painted)),
            control=parts.control_pictures(some, prior),
        )
        picture = prior.decode_latents(clean)
        pictures.append(picture)
        colours, seen = back_project(surface, some, picture, valid=opacity[..., 0])
        fresh = (weight == 0) & (seen > 0.3**6)
        weight = torch.where(fresh, seen, weight)
        partial.texels[0, :channels] = torch.where(fresh, colours, partial.texels[0, :channels])
        partial.texels[0, channels] = (weight > 0).float()
    return torch.cat(pictures), scene.opacity[..., 0]


def paint_rounds_stage(
    name: str,
    parts: SurfaceModel,
    refinement: ImageRefinement,
    config: PaintRoundsConfig,
    size: int,
    grey: float,
    lit: bool,
) -> Stage:
    """A stage of image-space refinement in RGB: every target keeps the mesh's silhouette, its depth
    order and the background.

    Args:
        grey: level of the background.
        lit: whether targets are compared with the surface under its light.
    """
    prior, times = refinement.prior, config.refine.times
    cameras = refinement_cameras(
        config.refine, parts.protocol.distance, parts.protocol.fov_y, size=size
    )
    targets = Targets()
    weights = parsed(config.terms)
    behind = BackgroundSample(torch.full((1, size, size, 3), grey))
    light = parts.light if lit else None

    @torch.no_grad()
    def make_targets(number: int, random: RandomStream) -> None:
        if config.in_turn:
            noise = RandomStream(random.seed, name, 0)
            pictures, opacity = targets_in_turn(
                parts,
                refinement,
                cameras,
                behind=behind,
                light=light,
                time=times[number],
                noise=noise,
            )
            targets.set(pictures, opacity)
            return
        rendering = parts.renderer.render(parts.surface, cameras, behind, light=light)
        latents = torch.cat([prior.encode_image(chunk) for chunk in rendering.features.split(8)])
        empty = prior.encode_image(behind.values).expand_as(latents)
        # A latent is background for certain where no pixel under it, nor next to it, shows the
        # mesh.
        covered = nn.functional.max_pool2d(rendering.opacity.permute(0, 3, 1, 2), prior.downscale)
        outside = 1 - nn.functional.max_pool2d(covered, 3, 1, 1).ceil()
        noise = RandomStream(random.seed, name, 0)
        clean = refinement.denoise(
            latents,
            cameras,
            times[number],
            steps=config.refine.steps,
            random=noise,
            purpose="round noise",
            known=(empty, outside),
            control=parts.control_pictures(cameras, prior),
        )
        targets.set(
            torch.cat([prior.decode_latents(chunk) for chunk in clean.split(8)]),
            rendering.opacity[..., 0],
        )

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        if step.index % config.iterations == 0:
            make_targets(step.index // config.iterations, random)
        picked = torch.randperm(len(cameras), generator=random.generator("views"))[: config.batch]
        rendering = parts.renderer.render(parts.surface, cameras[picked], behind, light=light)
        # A pixel on the silhouette mixes mesh and background in both pictures, but seldom alike.
        solid = (targets.masks[picked] > 0.99).float()[..., None]
        error = (rendering.features - targets.pictures[picked]).square() * solid
        found = {"fit": error.sum() / (3 * solid.sum()).clamp_min(1)}
        found.update(paint_terms(weights, parts.surface, step.fraction))
        return found

    return Stage(
        name,
        config.steps,
        {**parts.modules(), "targets": targets},
        groups=paint_groups(parts, config.rates),
        loss=loss,
        after_step=keep_in_range(parts),
        preview=lambda: preview(parts, size),
        snapshot=lambda: surface_snapshot(parts, cameras),
    )


@torch.no_grad()
def fill_unseen(
    surface: TexturedMesh,
    seen: torch.Tensor,
    locked: torch.Tensor | None = None,
    neighbours: int = 8,
) -> torch.Tensor:
    """The atlas (C, R, R) with texels of the surface that no camera sees taken from the nearest
    ones that one does.

    Args:
        seen: (R, R) bool. locked: (R, R) bool, texels that the user keeps as they are.
        neighbours: texels that are averaged, nearer ones counting more.
    """
    from scipy.spatial import cKDTree

    texels = surface.texels[0].clone()
    geometry = surface.texel_geometry()
    known = seen[geometry.rows, geometry.columns]
    if locked is not None:
        known = known | locked[geometry.rows, geometry.columns]
    if bool(known.all()) or not bool(known.any()):
        return texels
    # Normals count a little: the inside of a wall takes its colour from the inside's rim rather
    # than from the outside.
    place = torch.cat([geometry.points, 0.1 * geometry.normals], 1).cpu().numpy()
    known = known.cpu()
    source = known.nonzero()[:, 0]
    source = source[:: max(1, len(source) // 60000)]
    lost = (~known).nonzero()[:, 0]
    distance, index = cKDTree(place[source.numpy()]).query(
        place[lost.numpy()], k=min(neighbours, len(source))
    )
    distance, index = distance.reshape(len(lost), -1), index.reshape(len(lost), -1)
    share = 1 / np.maximum(distance, 1e-4)
    share = torch.from_numpy((share / share.sum(1, keepdims=True)).astype(np.float32))
    near, lost = source[torch.from_numpy(index)].to(texels.device), lost.to(texels.device)
    share = share.to(texels.device)
    values = texels[:, geometry.rows[near], geometry.columns[near]]
    texels[:, geometry.rows[lost], geometry.columns[lost]] = (values * share).sum(-1)
    return texels
