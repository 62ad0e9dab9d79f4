"""The kinds of guidance that the package brings, each with its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.errors import ConfigError, InputError
from ..engine.places import user_path
from ..engine.schema.bounds import Degrees, Elevation, Share, Size, Weight
from ..meshes.io.images import decode
from ..priors.clip import check_clip, load_clip
from ..priors.depth import check_depth, load_depth
from ..priors.segmentation.segmenter import BorderSegmenter
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from ..representations.field import Field
from .guidance import Guidance, GuidanceInputs, GuidanceOutput
from .picture import ClipGuidance, DepthGuidance, OpacityGuidance, ReferenceGuidance
from .registry import GuidanceContext, GuidanceKind, NoConfig, Subject
from .score_distillation import ScoreDistillation, ScoreDistillationConfig, check_score
from .sketch_files import load_sketch, read_sketch
from .sketch_shape import FollowSketch, SketchConfig
from .spatial import SpatialConfig, SpatialScoreDistillation


def _score(context: GuidanceContext, config: ScoreDistillationConfig) -> Guidance:
    return ScoreDistillation(
        context.prior,
        context.prompt,
        config,
        encode=context.encode,
        reference=context.reference,
    )


@dataclass(frozen=True, kw_only=True)
class SpatialKindConfig:
    """Score distillation that looks harder at some words of the prompt."""

    words: tuple[str, ...] = ()
    """Words of the prompt that count more; none is plain score distillation."""
    spatial: SpatialConfig = field(default_factory=SpatialConfig)


def _spatial(context: GuidanceContext, config: SpatialKindConfig) -> Guidance:
    made = SpatialScoreDistillation(
        context.prior, context.prompt, config.words, config=config.spatial, encode=context.encode
    )
    made.reference = context.reference
    return made


def _check_spatial(subject: Subject, config: SpatialKindConfig) -> None:
    check_score(subject, config.spatial.score)


@dataclass(frozen=True, kw_only=True)
class SketchKindConfig:
    """A coarse shape to follow."""

    path: str = ""
    """A mesh file or a YAML list of primitives."""
    strictness: Share = 0.6
    """From 0 (the sketch is ignored) to 1 (the surface is the sketch's). The guidance's own weight
    multiplies what follows from it."""


def _sketch(context: GuidanceContext, config: SketchKindConfig) -> Guidance:
    known = context.representation
    if not isinstance(known, Field) or known.drawn_by != "volume":
        raise _no_volume()
    sketch = SketchConfig(path=config.path, strictness=config.strictness)
    return FollowSketch(read_sketch(sketch), known, sketch.chosen_weight())


def _no_volume() -> ConfigError:
    return ConfigError("is followed by volumes only", "--guidance.sketch", "Leave it out")


def _check_sketch(subject: Subject, config: SketchKindConfig) -> None:
    if not config.path:
        raise ConfigError("wants a file", "--guidance.sketch.path", "Give a mesh file")
    load_sketch(user_path(config.path))
    if subject.moves not in (None, "volume"):
        raise _no_volume()


@dataclass(frozen=True, kw_only=True)
class ClipKindConfig:
    """Renderings lie near a text, or a picture, in CLIP's space."""

    model: str = "toybox"
    """The embedded CLIP, a name (clip-vit-b-16, …) or a folder."""
    text: str = ""
    """The prompt by default."""
    picture: str = ""
    """A picture instead of a text."""
    distance: Literal["cosine", "l1"] = "cosine"


def _clip(context: GuidanceContext, config: ClipKindConfig) -> Guidance:
    prior = load_clip(config.model)
    if not config.picture:
        return _Shown(ClipGuidance.of_text(prior, config.text or context.prompt), context)
    picture, mask = read_cut_out(config.picture)
    shown = picture * mask[..., None] + 0.8 * (1 - mask[..., None])
    return _Shown(ClipGuidance.of_picture(prior, shown[None], config.distance), context)


def _check_clip(subject: Subject, config: ClipKindConfig) -> None:
    check_clip(config.model)
    if config.picture:
        read_cut_out(config.picture)


class _Shown(Guidance):
    """A guidance that looks at display RGB, of whatever features the stage renders."""

    def __init__(self, guidance: Guidance, context: GuidanceContext) -> None:
        self.guidance, self.decode, self.encode = guidance, context.decode, context.encode

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        if not self.encode:
            rendering = _displayed(rendering, self)
        return self.guidance(rendering, inputs)


def _displayed(rendering: Rendering, shown: _Shown | GuidanceContext) -> Rendering:
    features = rendering.features[..., :3] if shown.encode else shown.decode(rendering.features)
    return Rendering(features, rendering.opacity, rendering.depth, background=rendering.background)


@dataclass(frozen=True, kw_only=True)
class PictureViewConfig:
    """A picture of the object, and from where it shows it."""

    picture: str = ""
    """PNG, JPEG or WebP of the object, as the prior's cameras would see it; with alpha, or before a
    plain background."""
    azimuth: Degrees = 0.0
    """Degrees; 0 is the front."""
    elevation: Elevation = 0.0
    """Degrees."""
    size: Size = 64
    """Height and width at which it is compared, pixels."""


@dataclass(frozen=True, kw_only=True)
class ReferenceKindConfig(PictureViewConfig):
    """The object looks like a picture from where that was taken."""

    norm: Literal["l1", "l2"] = "l1"
    colour: Weight = 1.0
    """Weight of the colours within the picture's mask."""
    opacity: Weight = 1.0
    """Weight of the mask."""


@dataclass(frozen=True, kw_only=True)
class DepthKindConfig(PictureViewConfig):
    """The object has the depth that an estimator sees in a picture, up to a scale and a shift."""

    model: str = "toybox"
    """The embedded depth estimator, a name or a folder."""


class OwnView(Guidance):
    """A guidance of one fixed camera, from which the representation is drawn besides the stage's
    renderings.

    Args:
        guidance: looks at that drawing as display RGB.
        config: from where.
    """

    def __init__(
        self, guidance: Guidance, context: GuidanceContext, config: PictureViewConfig
    ) -> None:
        self.guidance, self.context = guidance, context
        protocol = context.protocol
        azimuth, elevation = (
            torch.deg2rad(torch.tensor([v])) for v in (config.azimuth, config.elevation)
        )
        fov = float(np.radians(protocol.fov_y))
        self.camera = Cameras.orbit(
            azimuth, elevation, protocol.distance, fov_y=fov, height=config.size, width=config.size
        )

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The loss of the own view; the stage's rendering is not looked at."""
        own = _displayed(self.context.render(self.camera, inputs.random), self.context)
        return self.guidance(own, GuidanceInputs(self.camera, inputs.fraction, inputs.random))


def read_cut_out(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture (S, S, 3) in [0, 1], padded to a square, and its object's mask (S, S): by its
    alpha, or by the colours of its border. Raises InputError, ConfigError."""
    if not path:
        raise ConfigError(
            "wants a picture", "guidance", "Give one: --guidance.reference.picture photo.png"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError("there is no such file", path, "Give the path of a picture")
    pixels = decode(file.read_bytes(), path, upright=True).astype(np.float32) / 255
    alpha = pixels[..., 3] if pixels.shape[2] == 4 and pixels[..., 3].min() < 0.5 else None
    if alpha is None:
        alpha = BorderSegmenter().mask(pixels[..., :3])
    both = torch.from_numpy(np.concatenate([pixels[..., :3], alpha[..., None]], -1))
    height, width = both.shape[:2]
    edge = max(height, width)
    left, top = (edge - width) // 2, (edge - height) // 2
    both = F.pad(
        both.permute(2, 0, 1), (left, edge - width - left, top, edge - height - top)
    ).permute(1, 2, 0)
    return both[..., :3].contiguous(), both[..., 3].contiguous()


def _reference(context: GuidanceContext, config: ReferenceKindConfig) -> Guidance:
    picture, mask = read_cut_out(config.picture)
    seen = ReferenceGuidance(
        picture * mask[..., None], mask, config.norm, colour=config.colour, opacity=config.opacity
    )
    return OwnView(seen, context, config)


def _depth(context: GuidanceContext, config: DepthKindConfig) -> Guidance:
    picture, mask = read_cut_out(config.picture)
    prior = load_depth(config.model)
    shown = picture * mask[..., None] + 0.8 * (1 - mask[..., None])
    small = F.interpolate(
        shown.permute(2, 0, 1)[None], (config.size, config.size), mode="area"
    ).permute(0, 2, 3, 1)
    with torch.no_grad():
        depth = prior.predict(small)[0]
    mask = F.interpolate(mask[None, None], depth.shape, mode="area")[0, 0]
    seen = DepthGuidance(-depth if prior.inverse else depth, mask, invariant=True)
    return OwnView(seen, context, config)


def _check_reference(subject: Subject, config: ReferenceKindConfig) -> None:
    read_cut_out(config.picture)


def _check_depth(subject: Subject, config: DepthKindConfig) -> None:
    read_cut_out(config.picture)
    check_depth(config.model)


def _opacity(context: GuidanceContext, config: NoConfig) -> Guidance:
    return OpacityGuidance()


SCORE_DISTILLATION = GuidanceKind(
    summary="score distillation (Poole et al. 2022)",
    config=ScoreDistillationConfig,
    build=_score,
    check=check_score,
)
SPATIAL = GuidanceKind(
    summary="score distillation that looks harder at some words (Chen et al. 2024)",
    config=SpatialKindConfig,
    build=_spatial,
    check=_check_spatial,
)
SKETCH = GuidanceKind(
    summary="a coarse shape to follow (Metzer et al. 2022)",
    config=SketchKindConfig,
    build=_sketch,
    check=_check_sketch,
)
CLIP = GuidanceKind(
    summary="near a text or a picture in CLIP's space",
    config=ClipKindConfig,
    build=_clip,
    check=_check_clip,
)
REFERENCE = GuidanceKind(
    summary="looks like a picture from its camera",
    config=ReferenceKindConfig,
    build=_reference,
    check=_check_reference,
)
DEPTH = GuidanceKind(
    summary="has the depth that an estimator sees in a picture",
    config=DepthKindConfig,
    build=_depth,
    check=_check_depth,
)
OPACITY = GuidanceKind(summary="rays end in something", config=NoConfig, build=_opacity)
