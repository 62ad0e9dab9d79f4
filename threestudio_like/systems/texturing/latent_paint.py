"""Latent-Paint (Metzer et al. 2022, METHODS 1.11): a mesh whose texture atlas is moved by score
distillation; its geometry stays.

`LatentPaint.paper()` has the published numbers: one stage on a latent atlas, decoded at the end.
The default is tuned for camera-conditioned priors of few pixels: pictures sampled within the mesh's
silhouettes give the atlas its start, distillation in RGB makes it one texture, and distillation
under known light takes the light out of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import OptionalSize, Share, Size
from ...guidance.image_refinement import ImageRefinement, RefinementConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...priors.diffusion import DiffusionPrior
from ...priors.latent_rgb import by_matrix, latents_of, rgb_map, show_rgb
from ...renderers import (
    Background,
    Cameras,
    EnvironmentLight,
    RandomBackground,
    SphereBackground,
    SurfaceConfig,
    SurfaceRenderer,
    ambient,
    visibility,
)
from ...representations import TexturedMesh
from ...stages.model import Decode
from ...stages.painting import (
    LightConfig,
    PaintingConfig,
    PaintRates,
    PaintTerms,
    SurfaceModel,
    configured_painting,
)
from ...stages.painting_rounds import PaintRoundsConfig, paint_rounds_stage
from ...stages.painting_views import PaintViewsConfig, ViewPainter, paint_views_stage
from ..system import System, Task
from .request import PaintRequest
from .texels import baked_share, near_seen


def _residual(scale: float, t_max: str) -> ScoreDistillationConfig:
    return ScoreDistillationConfig(
        scale=scale,
        rescale=0.5,
        weighting="clean",
        t_max=t_max,
        shared_time=True,
        clamp=3.5,
        joint_views=True,
        image_residual=True,
    )


@dataclass(frozen=True, kw_only=True)
class LatentPaint(System[PaintRequest, SurfaceModel]):
    """Configuration of the `latent-paint` system."""

    task: ClassVar[Task] = "texturing"

    renderer: SurfaceConfig = field(default_factory=SurfaceConfig)
    background: Literal["random", "sphere"] = "random"
    levels: tuple[Share, Share] = (0.3, 1.0)
    """Grey levels of the random background in RGB."""
    level: Share = 0.5
    """Grey level behind the pictures of the rounds, and behind every other four painted views."""
    resolution: OptionalSize = 0
    """Height and width of the rendering that is distilled in RGB; 0 takes the prior's picture
    size."""
    placement: Literal["box", "mean"] = "box"
    """box: bounding box centred, farthest vertex at 0.95. mean: vertex mean at (0, 0.25, 0),
    farthest vertex 0.6 from it (METHODS 1.11)."""
    offsets: bool = False
    """Let distillation move every vertex along its normal too; the mesh that comes back has other
    positions then."""
    latent_texels: Size = 128
    """Texels along the edge of the latent atlas."""
    decode: Literal["linear", "autoencoder"] = "linear"
    """How a latent atlas becomes RGB: texel by texel, or through the autoencoder's decoder, which
    sharpens and mixes neighbours."""
    start: PaintRoundsConfig = field(
        default_factory=lambda: PaintRoundsConfig(
            refine=RefinementConfig(
                times=(0.95, 0.7), steps=8, views=16, scale=4.0, elevations=(12.0, 30.0, -5.0, 60.0)
            )
        )
    )
    """Rounds of pictures within the mesh's silhouettes; no times switch them off."""
    latent: PaintingConfig = field(default_factory=PaintingConfig)
    rgb: PaintingConfig = field(
        default_factory=lambda: PaintingConfig(
            steps=100,
            guidance=_residual(7.0, "0.8->0.2"),
            rates=PaintRates(texels="0.05->0.005"),
            terms=PaintTerms(seam="200"),
        )
    )
    pbr: PaintingConfig = field(
        default_factory=lambda: PaintingConfig(
            steps=60,
            guidance=_residual(5.0, "0.5->0.1"),
            rates=PaintRates(texels="0.03->0.003"),
            terms=PaintTerms(seam="200", material="100"),
            light=LightConfig(kind="known"),
        )
    )
    """Base colour, roughness and metallic under known light; 0 steps leave the RGB atlas as the
    result."""
    refine: PaintRoundsConfig = field(
        default_factory=lambda: PaintRoundsConfig(
            refine=RefinementConfig(times=(), steps=6, views=24)
        )
    )
    """Rounds of image-space refinement at the end; none by default."""

    paint: PaintViewsConfig = field(default_factory=PaintViewsConfig)
    """Pictures of all sides, denoised together on one texture; switched on by --method."""

    @staticmethod
    def paper() -> LatentPaint:
        """The published configuration: a latent atlas of 128, nearest lookup, environment sphere,
        5000 steps at 1e-2."""
        from .published import paper

        return paper()

    def encodes(self, stage: str) -> bool:
        """The latent atlas is distilled as it is."""
        return stage != "latent"

    def plans(self, request: PaintRequest) -> list[StagePlan]:
        """latent, paint (all views on one texture), start (pictures fitted), rgb, pbr, refine:
        those that are switched on."""
        plans = []
        if self.latent.steps > 0:
            plans.append(StagePlan("latent", lambda done: self._latent(request)))
        if self.paint.steps > 0:
            plans.append(StagePlan("paint", lambda done: self._painted(request, done)))
        if self.start.refine.times:
            plans.append(
                StagePlan(
                    "start",
                    lambda done: self._rounds(
                        "start", request, self.rgb_parts(request, done), config=self.start
                    ),
                )
            )
        if self.rgb.steps > 0:
            plans.append(
                StagePlan(
                    "rgb",
                    lambda done: self._distil(
                        "rgb", request, self.rgb_parts(request, done), config=self.rgb
                    ),
                )
            )
        if self.pbr.steps > 0:
            plans.append(
                StagePlan(
                    "pbr",
                    lambda done: self._distil(
                        "pbr", request, self.pbr_parts(request, done), config=self.pbr
                    ),
                )
            )
        if self.refine.refine.times:
            plans.append(
                StagePlan(
                    "refine",
                    lambda done: self._rounds(
                        "refine", request, self.result(request, done), config=self.refine
                    ),
                )
            )
        return plans

    def result(self, request: PaintRequest, stages: dict[str, Stage]) -> SurfaceModel:
        """The painted surface: PBR or RGB texels, or latent ones decoded."""
        if "pbr" in stages or self.pbr.steps > 0:
            parts = self.pbr_parts(request, stages)
            assert parts.light is not None
            parts.light = EnvironmentLight(parts.light.matrix)
            return parts
        return self.rgb_parts(request, stages)

    def seen(self, surface: TexturedMesh, request: PaintRequest) -> torch.Tensor:
        """Best cosine of every texel (R, R) over a dome of cameras within the samplers' elevations;
        0 where nothing sees it."""
        stages = [s for s in (self.latent, self.rgb, self.pbr) if s.steps > 0]
        if not stages and self.paint.steps > 0:
            protocol = request.protocol
            return visibility(surface, self.paint.cameras(protocol.distance, protocol.fov_y, 512))
        low = min((s.elevations()[0] for s in stages), default=-10.0)
        high = max((s.elevations()[1] for s in stages), default=60.0)
        rings = max(3, math.ceil((high - low) / 25) + 1)
        elevation = torch.deg2rad(torch.linspace(low, min(high, 85.0), rings)).repeat_interleave(12)
        azimuth = (torch.arange(12) * (math.pi / 6)).repeat(rings)
        distance, fov = request.protocol.distance, math.radians(request.protocol.fov_y)
        return visibility(
            surface, Cameras.orbit(azimuth, elevation, distance, fov_y=fov, height=512, width=512)
        )

    def _surface(
        self,
        request: PaintRequest,
        channels: int,
        texels: int,
        start: torch.Tensor,
        before: TexturedMesh | None = None,
    ) -> TexturedMesh:
        """A surface to be painted; its vertices stand where the surface `before` left them."""
        surface = TexturedMesh(
            request.the_atlas(), channels, texels, start=start, offsets=self.offsets
        )
        if before is not None and before.offsets is not None and surface.offsets is not None:
            with torch.no_grad():
                surface.offsets.copy_(before.offsets)
        if request.alpha is not None:
            whole = request.alpha[None, None]
            edge = surface.resolution
            surface.cut_out(F.interpolate(whole, (edge, edge), mode="nearest")[0, 0])
        lock = ~near_seen(self.seen(surface, request) > 0.05)
        if request.locked is not None:
            large = request.locked[None, None].float()
            lock |= (
                F.interpolate(large, (surface.resolution, surface.resolution), mode="nearest")[0, 0]
                > 0.5
            )
        surface.lock(lock)
        return surface

    def _parts(
        self, request: PaintRequest, surface: TexturedMesh, decode: Decode = show_rgb
    ) -> SurfaceModel:
        light = (
            EnvironmentLight(torch.tensor(request.prior.facts.light))
            if request.prior.facts.light
            else ambient()
        )
        return SurfaceModel(
            surface,
            SurfaceRenderer(self.renderer),
            decode,
            background=None,
            light=light,
            protocol=request.protocol,
        )

    def latent_parts(self, request: PaintRequest) -> SurfaceModel:
        """The latent atlas: 0.3 z_red + 0.4 N(0, 1), z_red the latent whose map to RGB is nearest
        to red (METHODS 1.11)."""
        matrix, offset = rgb_map(request.prior)
        channels, size = request.prior.facts.channels, self.latent_texels
        red = latents_of(torch.tensor([1.0, 0.0, 0.0]), matrix)
        noise = torch.randn(
            channels, size, size, generator=torch.Generator().manual_seed(request.seed)
        )
        surface = self._surface(
            request, channels, size, start=0.3 * red[:, None, None] + 0.4 * noise
        )
        parts = self._parts(request, surface, by_matrix(matrix, offset))
        if self.background == "sphere":
            parts.background = SphereBackground(channels, seed=request.seed)
        return parts

    def _latent(self, request: PaintRequest) -> Stage:
        parts, prior = self.latent_parts(request), request.prior
        background: Background
        if isinstance(parts.background, SphereBackground):
            background = parts.background
        else:
            levels = torch.linspace(*self.levels, 12)
            grey = levels.view(-1, 1, 1, 1).expand(
                -1, prior.facts.image_size, prior.facts.image_size, 3
            )
            with torch.no_grad():
                background = RandomBackground(
                    levels=levels, pictures=prior.encode_image(grey).permute(0, 2, 3, 1)
                )
        context = parts.guidance_context(
            "latent", request.prompt, prior, seed=request.seed, encode=False
        )
        return configured_painting(
            self.latent, parts, context, background=background, size=prior.facts.latent_size
        )

    def rgb_parts(self, request: PaintRequest, done: dict[str, Stage]) -> SurfaceModel:
        """The RGB atlas that the finished stages leave."""
        for name in ("refine", "rgb", "start", "paint"):
            if name in done and done[name].modules["surface"].channels == 3:
                return self._parts(request, _surface_of(done[name]))
        texels = request.the_atlas().resolution
        start = torch.full((3, texels, texels), 0.5)
        before = _surface_of(done["latent"]) if "latent" in done else None
        if before is not None:
            start = self.decoded(request.prior, before, texels)
        if request.texture is not None and request.begin:
            start = request.texture
        elif request.texture is not None and request.locked is not None:
            start = torch.where(request.locked[None], request.texture, start)
        return self._parts(request, self._surface(request, 3, texels, start=start, before=before))

    @torch.no_grad()
    def decoded(self, prior: DiffusionPrior, surface: TexturedMesh, texels: int) -> torch.Tensor:
        """A latent atlas as RGB (3, texels, texels) in [0, 1]; charts are padded before the decoder
        mixes neighbours."""
        latents = surface.padded()
        if self.decode == "autoencoder":
            picture = prior.decode_latents(latents).permute(0, 3, 1, 2)
        else:
            matrix, offset = rgb_map(prior)
            picture = (
                (latents.permute(0, 2, 3, 1) @ matrix + offset).clamp(0, 1).permute(0, 3, 1, 2)
            )
        return F.interpolate(picture, (texels, texels), mode="bilinear", align_corners=False)[0]

    def pbr_parts(self, request: PaintRequest, done: dict[str, Stage]) -> SurfaceModel:
        """The PBR atlas: base colour from the RGB one with its baked light divided out, roughness
        0.9, metallic 0."""
        for name in ("refine", "pbr"):
            if name in done and done[name].modules["surface"].channels == 5:
                return self._parts(request, _surface_of(done[name]))
        rgb = self.rgb_parts(request, done)
        size = rgb.surface.resolution
        start = torch.zeros(5, size, size)
        start[3] = 0.9
        geometry = rgb.surface.texel_geometry()
        base = rgb.surface.texels.detach()[0].clone()
        assert rgb.light is not None
        shone = rgb.light(geometry.normals).t()
        locked = ~rgb.surface.unlocked.view(size, size)[geometry.rows, geometry.columns]
        inside = base[:, geometry.rows, geometry.columns]
        # As much of the light as the colours show: pictures of few pixels do not hold all of it.
        # Locked texels are base colours already.
        share = min(
            1.0, max(0.0, baked_share(inside.t(), shone[0], geometry.part, counted=~locked))
        )
        base[:, geometry.rows, geometry.columns] = torch.where(
            locked, inside, (inside / shone**share).clamp(0, 1)
        )
        start[:3] = base
        parts = self._parts(
            request, self._surface(request, 5, size, start=start, before=rgb.surface)
        )
        assert parts.light is not None
        # The prior paints a share of its light; under a light of that contrast its pictures are
        # explained by plain base colours.
        parts.light = EnvironmentLight(parts.light.matrix, share)
        return parts

    def _distil(
        self, name: str, request: PaintRequest, parts: SurfaceModel, config: PaintingConfig
    ) -> Stage:
        context = parts.guidance_context(
            name, request.prompt, request.prior, seed=request.seed, encode=True
        )
        size = self.resolution or request.prior.facts.image_size
        return configured_painting(
            config, parts, context, background=RandomBackground.grey(*self.levels), size=size
        )

    def _painted(self, request: PaintRequest, done: dict[str, Stage]) -> Stage:
        parts = self.rgb_parts(request, done)
        painter = ViewPainter(parts, request.prior, request.prompt, self.paint, self.level)
        return paint_views_stage("paint", painter)

    def _rounds(
        self, name: str, request: PaintRequest, parts: SurfaceModel, config: PaintRoundsConfig
    ) -> Stage:
        levels = torch.full((config.refine.views,), self.level)
        refinement = ImageRefinement(request.prior, request.prompt, config.refine, levels=levels)
        lit = parts.surface.channels == 5
        return paint_rounds_stage(
            name,
            parts,
            refinement,
            config=config,
            size=request.prior.facts.image_size,
            grey=self.level,
            lit=lit,
        )


def _surface_of(stage: Stage) -> TexturedMesh:
    surface = stage.modules["surface"]
    assert isinstance(surface, TexturedMesh)
    return surface
