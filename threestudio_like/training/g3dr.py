"""`train g3dr`: the generator from single views with depth, without poses or multi-view (METHODS
3.3 to 3.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.config import set_dotted, to_dict
from ..engine.errors import ConfigError, InputError
from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.schedule import Schedule
from ..engine.training import Batches, Ema
from ..kernels.devices import half_precision
from ..priors.clip import ImageTextPrior, load_clip
from ..priors.data.image_folder import ImageFolder
from ..priors.data.pairs import Skipped
from ..priors.depth import EMBEDDED_SPAN, DepthPrior, load_depth
from ..priors.networks.perceptual import DEEP, PerceptualPrior, load_perceptual
from ..priors.networks.triplane_generator import TriplaneGenerator, TriplaneGeneratorConfig
from ..renderers.gradient_scaling import DepthScaling
from ..renderers.midpoint import MidpointConfig, RayResult, render_rays
from ..systems.image_to_3d.g3dr_cameras import (
    DEPTH_NEAR,
    GREY,
    WALL,
    CanonicalCamera,
    LossWeights,
    decode_depth,
    depth_variation,
    loss_weights,
    novel_offsets,
    novel_probability,
)
from .depth import SIZE as TOYBOX_SIZE
from .depth import depth_pictures
from .options import TrainingOptions, begin, check, report, run


@dataclass
class G3drTraining:
    """How the generator is trained. `paper()` has the released numbers."""

    generator: TriplaneGeneratorConfig = field(default_factory=TriplaneGeneratorConfig.toybox)
    rays: MidpointConfig = field(default_factory=lambda: MidpointConfig(24, 24))
    render: int = 32
    """Pixels along the edge of what is rendered in a step."""
    scale_gradients: bool = True
    floor: str = "0.05"
    """Schedule of the lowest factor of scaled gradients."""
    clear: bool = True
    """Scale only gradients that would add matter far from the surface. As published (False) what
    has come to stand there is also taken away twenty times slower, while novel views, which are
    never scaled, go on adding to it."""
    clip: float = 1.0
    """Factor of the CLIP terms; 0 switches them off."""
    depth_loss: float = 1.0
    """Factor of the depth term; without it gradient scaling alone says where matter belongs."""
    perceptual: float = 1.0
    steps: int = 2000
    batch: int = 2
    rate: str = "onecycle 2e-3"
    ema: float = 0.995
    clip_model: str = "toybox"
    """CLIP that holds novel views against the picture."""
    perceptual_model: str = "toybox"
    """Network of the perceptual loss: "toybox", or a file with VGG16's weights."""
    depth_model: str = "toybox"
    """Depth estimator for pictures of a folder that have no depth beside them."""

    @staticmethod
    def of(preset: str) -> G3drTraining:
        """The numbers of a preset: "toybox" (the shipped generator), "large" (the same network,
        longer, for a GPU) or "paper"."""
        if preset == "paper":
            return G3drTraining.paper()
        return (
            G3drTraining(render=48, steps=12000, batch=16) if preset == "large" else G3drTraining()
        )

    @staticmethod
    def paper() -> G3drTraining:
        """The released numbers: 128 pixels, 300,000 steps of 8 pictures on each of six devices,
        Adam 5e-5."""
        return G3drTraining(
            TriplaneGeneratorConfig(),
            MidpointConfig(),
            128,
            clear=False,
            steps=300_000,
            batch=48,
            rate="onecycle 5e-5",
            ema=0.0,
        )


class RgbdSource(Protocol):
    """Pictures with depth, by number."""

    def __len__(self) -> int:
        """How many."""

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] and distances (B, 1, S, S) from the canonical camera."""


class ToyRgbd:
    """Toybox objects before a grey wall, from G3DR's camera, scaled to fill the frame."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        count: int,
        split: str = "train",
        workers: int = 1,
        grey: float = GREY,
    ) -> None:
        self.data, self.grey = depth_pictures(folder, seed, count, split, workers, camera=1), grey

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RgbdSource.batch`."""
        image, mask, depth = self.data.framed(index.numpy())
        image = image + (1 - mask[..., None]) * self.grey
        # Zero is where the depth was not measured.
        depth = torch.where(depth > 0, depth, torch.full_like(depth, WALL * EMBEDDED_SPAN))
        depth = depth.clamp(0, WALL * EMBEDDED_SPAN)
        return image.permute(0, 3, 1, 2) * 2 - 1, DEPTH_NEAR + depth[:, None]


class FolderRgbd:
    """A folder of pictures; those without depth beside them are given to a depth estimator, whose
    result is stretched over [4.1, 5.9].

    Args:
        prior: for pictures without depth, or the name of one; they are refused without one.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        prior: DepthPrior | str | None,
        skipped: Skipped | None = None,
    ) -> None:
        self.folder, self.skipped = ImageFolder(folder, size), skipped or Skipped()
        # A folder that has all depths needs no estimator on disk.
        needed = self.folder.with_depth < len(self.folder)
        self.prior = (load_depth(prior) if needed else None) if isinstance(prior, str) else prior
        if self.prior is None and self.folder.with_depth == 0:
            raise ConfigError(
                "its pictures have no depth beside them, and there is no depth estimator",
                str(folder),
                "Add --depth_model toybox",
            )

    def __len__(self) -> int:
        return len(self.folder)

    def one(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (3, S, S) in [-1, 1] and distance (1, S, S) of the picture, or of the next usable
        one."""
        last: InputError | None = None
        for offset in range(min(100, len(self))):
            try:
                found = self.folder.picture((index + offset) % len(self))
                if found.depth is None and self.prior is None:
                    raise InputError(
                        "has no depth beside it", str(found.path), "Add name.depth.png"
                    )
            except InputError as error:
                self.skipped.add(error)
                last = error
                continue
            image = torch.from_numpy(found.image).float() / 255
            if found.depth is not None:
                depth = torch.from_numpy(decode_depth(found.depth))
            else:
                assert self.prior is not None
                depth = stretched(self.prior, image)
            return image.permute(2, 0, 1) * 2 - 1, depth[None]
        raise InputError(
            f"100 pictures in a row cannot be used, the last one because: {last}",
            str(self.folder.folder),
            "Repair the data",
        )

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RgbdSource.batch`."""
        images, depths = zip(*(self.one(int(n)) for n in index))
        return torch.stack(images), torch.stack(depths)


@torch.no_grad()
def stretched(prior: DepthPrior, image: torch.Tensor) -> torch.Tensor:
    """The depth of a picture (S, S, 3) in [0, 1] as distances (S, S) in [4.1, 5.9]: the embedded
    estimator's own units, others' between their 2nd and 98th percentile."""
    depth = prior.predict(image[None])[0]
    if prior.inverse:
        depth = -depth
    low, high = (
        (0.0, EMBEDDED_SPAN)
        if prior.framed
        else (float(depth.quantile(0.02)), float(depth.quantile(0.98)))
    )
    share = ((depth - low) / max(high - low, 1e-6)).clamp(0, 1)
    return DEPTH_NEAR + (0.05 + 0.9 * share) * 2


def render_view(
    model: TriplaneGenerator,
    planes: torch.Tensor,
    camera: CanonicalCamera,
    config: MidpointConfig,
    size: int,
    random=None,
    offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
    depth: torch.Tensor | None = None,
    scaling: DepthScaling | None = None,
    comb: bool = False,
) -> RayResult:
    """Pictures of planes (B, 3, F, S, S): rays (B, size^2)."""
    count = len(planes)
    config = replace(config, bias=model.config.bias, gain=model.config.gain)
    origins, directions = camera.rays(size) if offsets is None else camera.rays(size, *offsets)
    origins, directions = (x.to(planes.device).expand(count, -1, -1) for x in (origins, directions))
    return render_rays(
        lambda points: model.read(planes, points),
        origins,
        directions,
        config,
        random,
        depth,
        scaling,
        comb,
    )


def as_pictures(result: RayResult, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours (B, S, S, 3) in [0, 1], depth and opacity (B, S, S)."""
    count = len(result.colour)
    return (
        result.colour.view(count, size, size, 3).clamp(0, 1),
        result.depth.view(count, size, size),
        result.opacity.view(count, size, size),
    )


def step_terms(
    weights: LossWeights,
    config: G3drTraining,
    result: RayResult,
    picture: torch.Tensor,
    depth: torch.Tensor,
    whole: torch.Tensor,
    perceptual: PerceptualPrior | None,
    clip: ImageTextPrior | None,
) -> dict[str, torch.Tensor]:
    """The weighted terms of a step.

    Args:
        picture: (B, R, R, 3) in [0, 1] and depth (B, R, R): the given view at the size that was
            rendered.
        whole: (B, S, S, 3) the given picture, for CLIP.
    """
    colour, found, opacity = as_pictures(result, config.render)
    terms = {}
    if weights.rgb:
        # On [-1, 1], as published.
        raw = result.colour.view_as(picture)
        terms["rgb"] = weights.rgb * 2 * (raw - picture).abs().mean()
    if weights.depth and config.depth_loss > 0:
        terms["depth"] = config.depth_loss * weights.depth * (found - depth).abs().mean()
    if weights.perceptual and perceptual is not None and config.perceptual > 0:
        layers = DEEP if weights.perceptual_deep else (1.0,) * 5
        terms["perceptual"] = (
            config.perceptual
            * weights.perceptual
            * perceptual.distance(colour, picture, layers).mean()
        )
    if weights.clip and clip is not None and config.clip > 0:
        with torch.no_grad():
            wanted = clip.raw_images(whole)
        terms["clip"] = config.clip * weights.clip * (clip.raw_images(colour) - wanted).abs().mean()
    if weights.smooth:
        terms["smooth"] = weights.smooth * depth_variation(found)
    if weights.opacity:
        terms["opacity"] = weights.opacity * (1 - opacity).mean()
    return terms


def g3dr_stage(
    name: str,
    model: TriplaneGenerator,
    config: G3drTraining,
    source: RgbdSource,
    perceptual: PerceptualPrior | None,
    clip: ImageTextPrior | None,
    camera: CanonicalCamera | None = None,
) -> Stage:
    """The stage that trains the generator."""
    camera = camera or CanonicalCamera()
    model.train()
    ema = Ema(model, config.ema) if config.ema > 0 else None
    count = len(source)
    floor = Schedule.parse(config.floor, "floor")

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        first = step.index * config.batch
        order = torch.randperm(
            count, generator=torch.Generator().manual_seed(step.seed * 1000003 + first // count)
        )
        rgb, depth = source.batch(order[torch.arange(first, first + config.batch) % count])
        flip = (torch.rand(config.batch, generator=generator) < 0.5).view(-1, 1, 1, 1)
        rgb, depth = torch.where(flip, rgb.flip(3), rgb), torch.where(flip, depth.flip(3), depth)
        return {"rgb": rgb, "depth": depth}

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        rgb, depth = drawn["rgb"], drawn["depth"]
        with half_precision(rgb.device):
            planes = model(rgb, depth).float()
        novel = float(step.random.uniform("view")) < novel_probability(step.fraction)
        size = config.render
        whole = (rgb.permute(0, 2, 3, 1) + 1) / 2
        picture = F.interpolate((rgb + 1) / 2, (size, size), mode="area").permute(0, 2, 3, 1)
        near = F.interpolate(depth, (size, size), mode="nearest-exact")[:, 0]
        if novel:
            offsets = novel_offsets(step.random, config.batch, step.fraction)
            result = render_view(model, planes, camera, config.rays, size, step.random, offsets)
        else:
            comb = float(step.random.uniform("comb")) < config.rays.comb
            scaling = (
                DepthScaling(floor=floor(step.fraction), clear=config.clear)
                if config.scale_gradients
                else None
            )
            result = render_view(
                model,
                planes,
                camera,
                config.rays,
                size,
                step.random,
                None,
                near.flatten(1),
                scaling,
                comb,
            )
        weights = loss_weights(novel, step.fraction)
        terms = step_terms(weights, config, result, picture, near, whole, perceptual, clip)
        # A step may ask for nothing but what is switched off.
        return terms or {"nothing": planes.sum() * 0}

    group = ParameterGroup(name, list(model.parameters()), config.rate, (0.9, 0.99), 1e-8)
    modules: dict[str, nn.Module] = (
        {"generator": model} if ema is None else {"generator": model, "ema": ema}
    )
    after = None if ema is None else lambda step: ema.update(model, step.index)
    return Stage(name, config.steps, modules, [group], loss, after_step=after, clip_norm=1.0)


def g3dr_config(options: TrainingOptions) -> G3drTraining:
    """The configuration of `train g3dr`."""
    config = G3drTraining.of(options.preset)
    if options.steps is not None:
        config.steps = options.steps
    for key, text in options.set.items():
        set_dotted(config, key, text)
    if config.generator.relief and (config.generator.features < 4 or config.generator.hidden < 8):
        raise ConfigError(
            "a relief takes 4 features and 8 hidden units",
            "--generator.features",
            "Give more, or --generator.relief false",
        )
    if config.generator.size < config.render:
        raise ConfigError(
            f"renders {config.render} pixels of planes of {config.generator.size}",
            "--render",
            "Make it smaller",
        )
    return config


def g3dr_sources(
    options: TrainingOptions, config: G3drTraining
) -> tuple[RgbdSource, RgbdSource | None]:
    """Training and held-out pictures; none are held out of a folder."""
    size = config.generator.size
    if options.data is not None:
        return FolderRgbd(options.data, size, config.depth_model), None
    if size != TOYBOX_SIZE:
        raise ConfigError(
            f"pictures of the toybox have {TOYBOX_SIZE} pixels, not {size}",
            "--generator.size",
            "Give --data, or leave it",
        )
    train = ToyRgbd(
        options.drawn, options.world("train"), options.object_count, "train", options.workers
    )
    test = ToyRgbd(
        options.drawn,
        options.world("test"),
        min(400, options.object_count),
        "test",
        options.workers,
    )
    return train, test


def train_g3dr(options: TrainingOptions) -> dict[str, float]:
    """Train G3DR's generator on a folder of pictures, or on the toybox; writes out/g3dr, returns
    its figures on held-out pictures.

    Raises:
        ConfigError, InputError, ModelError, CheckpointError, OutputError.
    """
    check(options)
    config = g3dr_config(options)
    clip = load_clip(config.clip_model) if config.clip > 0 else None
    perceptual = load_perceptual(config.perceptual_model) if config.perceptual > 0 else None
    train, test = g3dr_sources(options, config)
    torch.manual_seed(options.seed)
    model = TriplaneGenerator(config.generator)
    if options.start is not None:
        begin(model, TriplaneGenerator.load(options.start), options.start)
    stage = g3dr_stage("g3dr", model, config, train, perceptual, clip)
    run(options, stage, {"config": to_dict(config)})
    if "ema" in stage.modules:
        stage.modules["ema"].copy_to(model)  # type: ignore[operator]
    model.eval().save(options.out / "g3dr")
    return report(options, "g3dr", canonical_figures(model, config, test or train))


@torch.no_grad()
def canonical_figures(
    model: TriplaneGenerator, config: G3drTraining, source: RgbdSource, count: int = 64
) -> dict[str, float]:
    """What the canonical view of the first `count` pictures keeps: PSNR in dB, error of distances,
    opacity."""
    camera, size = CanonicalCamera(), config.generator.size
    rays = replace(config.rays, coarse=64, fine=64)
    error, off, opacity = [], [], []
    for rows in torch.arange(min(count, len(source))).split(8):
        rgb, depth = source.batch(rows)
        colour, found, dense = as_pictures(
            render_view(model, model(rgb, depth), camera, rays, size), size
        )
        error += [
            float(e) for e in (colour - (rgb.permute(0, 2, 3, 1) + 1) / 2).square().mean((1, 2, 3))
        ]
        off.append(float((found - depth[:, 0]).abs().mean()))
        opacity.append(float(dense.mean()))
    decibels = [-10 * math.log10(max(e, 1e-10)) for e in error]
    return {
        "canonical PSNR, dB": sum(decibels) / len(decibels),
        "depth error": sum(off) / len(off),
        "opacity": sum(opacity) / len(opacity),
    }
