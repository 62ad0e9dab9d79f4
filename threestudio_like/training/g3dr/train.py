"""`train g3dr`: training of the generator on single views with depth, without poses or several
views (METHODS 3.3 to 3.7)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.config import to_dict
from ...engine.errors import ConfigError
from ...engine.loop import ParameterGroup, Stage, Step
from ...engine.schedule import Schedule
from ...engine.training import Batches, Ema
from ...kernels.devices import half_precision
from ...priors.clip import ImageTextPrior, load_clip
from ...priors.networks.perceptual import PerceptualPrior, load_perceptual
from ...priors.networks.triplane_generator import TriplaneGenerator
from ...renderers.gradient_scaling import DepthScaling
from ...systems.image_to_3d.g3dr_cameras import (
    CanonicalCamera,
    loss_weights,
    novel_offsets,
    novel_probability,
)
from ..depth import SIZE as TOYBOX_SIZE
from ..options import TrainingOptions, begin, check, claim, report, run
from .config import G3drTraining, g3dr_config
from .rgbd import FolderRgbd, RgbdSource, ToyRgbd
from .terms import as_pictures, render_view, step_terms


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
    count, floor = len(source), Schedule.parse(config.floor, "floor")

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
        most = novel_probability(step.fraction, config.novel)
        novel = float(step.random.uniform("view")) < most
        size = config.render
        whole = (rgb.permute(0, 2, 3, 1) + 1) / 2
        picture = F.interpolate((rgb + 1) / 2, (size, size), mode="area").permute(0, 2, 3, 1)
        near = F.interpolate(depth, (size, size), mode="nearest-exact")[:, 0]
        if novel:
            offsets = novel_offsets(step.random, config.batch, step.fraction)
            result = render_view(
                model,
                planes,
                camera,
                config=config.rays,
                size=size,
                random=step.random,
                offsets=offsets,
            )
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
                config=config.rays,
                size=size,
                random=step.random,
                offsets=None,
                depth=near.flatten(1),
                scaling=scaling,
                comb=comb,
            )
        weights = loss_weights(novel, step.fraction)
        terms = step_terms(
            weights,
            config,
            result,
            picture=picture,
            depth=near,
            whole=whole,
            perceptual=perceptual,
            clip=clip,
        )
        # All terms that a step uses may be switched off.
        return terms or {"nothing": planes.sum() * 0}

    group = ParameterGroup(name, list(model.parameters()), config.rate, betas=(0.9, 0.99), eps=1e-8)
    modules: dict[str, nn.Module] = (
        {"generator": model} if ema is None else {"generator": model, "ema": ema}
    )
    after = None if ema is None else lambda step: ema.update(model, step.index)
    return Stage(
        name, config.steps, modules, groups=[group], loss=loss, after_step=after, clip_norm=1.0
    )


def g3dr_sources(
    options: TrainingOptions, config: G3drTraining
) -> tuple[RgbdSource, RgbdSource | None]:
    """Training pictures and held-out pictures; a folder has no held-out pictures."""
    size = config.generator.size
    if options.data is not None:
        return FolderRgbd(options.data, size, config.depth_model), None
    if size != TOYBOX_SIZE:
        raise ConfigError(
            f"pictures of the toybox have {TOYBOX_SIZE} pixels, not {size}",
            "--generator.size",
            "Give --data, or leave it",
        )
    train = options.objects_of("train", ToyRgbd)
    test = options.objects_of("test", ToyRgbd, 400)
    return train, test


def train_g3dr(options: TrainingOptions) -> dict[str, float]:
    """Train G3DR's generator on a folder of pictures, or on the toybox, write out/g3dr, and return
    its figures on held-out pictures.

    Raises: ConfigError, InputError, ModelError, CheckpointError, OutputError.
    """
    check(options)
    config = g3dr_config(options)
    claim(options, "g3dr")
    clip = load_clip(config.clip_model) if config.clip > 0 else None
    perceptual = load_perceptual(config.perceptual_model) if config.perceptual > 0 else None
    train, test = g3dr_sources(options, config)
    torch.manual_seed(options.seed)
    model = TriplaneGenerator(config.generator)
    if options.start is not None:
        begin(model, TriplaneGenerator.load(options.start), options.start)
    stage = g3dr_stage("g3dr", model, config, source=train, perceptual=perceptual, clip=clip)
    run(options, stage, {"config": to_dict(config)})
    if "ema" in stage.modules:
        stage.modules["ema"].copy_to(model)  # type: ignore[operator]
    model.eval().save(options.out / "g3dr")
    return report(options, "g3dr", canonical_figures(model, config, test or train))


@torch.no_grad()
def canonical_figures(
    model: TriplaneGenerator, config: G3drTraining, source: RgbdSource, count: int = 64
) -> dict[str, float]:
    """Figures of the canonical view of the first `count` pictures: PSNR in dB, error of distances,
    and opacity."""
    camera, size = CanonicalCamera(), config.generator.size
    rays = replace(config.rays, coarse=64, fine=64)
    error, off, opacity = [], [], []
    for rows in torch.arange(min(count, len(source))).split(8):
        rgb, depth = source.batch(rows)
        colour, found, dense = as_pictures(
            render_view(model, model(rgb, depth), camera, config=rays, size=size), size
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
