"""Whole steps with priors of full size and random weights: how many a second, what share is the
UNet's, what memory they take at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from random_priors import RandomPrior

from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.limits import Limits
from threestudio_like.engine.loop import Loop, LoopSettings, Stage, StagePlan, Step
from threestudio_like.engine.memory import GIB
from threestudio_like.kernels.devices import synchronise
from threestudio_like.kernels.samples import sample_surface
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.texture.atlas import join_atlas
from threestudio_like.meshes.texture.unwrap import unwrap_grid
from threestudio_like.meshes.transform import Transform
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.runs.memory_budget import PLANS, forecast
from threestudio_like.stages.demand import demands
from threestudio_like.systems.scene.layout import reference_camera
from threestudio_like.systems.scene.placement import PlacementConfig, placement_stage
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf
from threestudio_like.systems.texturing.latent_paint import LatentPaint
from threestudio_like.systems.texturing.request import PaintRequest

PROMPT = "a red chair"
SCENE = "a red ball on a blue box"
WARM = 6
"""Steps before the clock runs: first choices of libraries, recordings of graphs."""


class Clock:
    """Time between marks: on a GPU by its events, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.spans: list[tuple[Any, Any]] = []

    def mark(self) -> Any:
        """Now, in the device's own order."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        """All spans together; the device has to be done."""
        if self.on_gpu:
            return sum(a.elapsed_time(b) for a, b in self.spans) / 1e3
        return sum(b - a for a, b in self.spans)


@dataclass
class Steps:
    """What was measured: steps a second, the share of the time within the UNet, bytes at most
    (nothing on a CPU), the forecast's bytes."""

    rate: float
    share: float
    peak: int
    forecast: int = 0


def of_stage(stage_plan: StagePlan, prior: RandomPrior, steps: int) -> Steps:
    """Steps of a stage on the prior's device."""
    device, clock = prior.device, Clock(prior.device)
    began = [0.0]
    inner = prior.predict

    def predict(*arguments: Any, **named: Any) -> torch.Tensor:
        first = clock.mark()
        out = inner(*arguments, **named)
        clock.spans.append((first, clock.mark()))
        return out

    def build(done: dict[str, Stage]) -> Stage:
        stage = stage_plan.build(done)
        stage.steps = WARM + steps
        loss = stage.loss

        def timed(step: Step) -> dict[str, torch.Tensor]:
            if step.index == WARM:
                synchronise(device)
                clock.spans.clear()
                if clock.on_gpu:
                    torch.cuda.reset_peak_memory_stats(device)
                began[0] = time.perf_counter()
            return loss(step)

        stage.loss = timed
        return stage

    prior.predict = predict  # type: ignore[method-assign]
    try:
        Loop(None, Events(None, "quiet"), LoopSettings(device=str(device))).run(
            [StagePlan(stage_plan.name, build)]
        )
        synchronise(device)
        seconds = time.perf_counter() - began[0]
    finally:
        prior.predict = inner  # type: ignore[method-assign]
    peak = torch.cuda.max_memory_allocated(device) if clock.on_gpu else 0
    return Steps(steps / seconds, clock.seconds() / seconds, peak)


def body(small: bool) -> Mesh:
    """Twenty thousand faces, or a hundred."""
    points, faces = sample_surface(*((9, 8) if small else (102, 100)))
    return Mesh(points.numpy(), faces.to(torch.int32).numpy())


SMALL: dict[str, Any] = {
    "representation": {"hash": {"levels": 4, "log2_size": 12}},
    "renderer": {"samples": 24, "occupancy": 24},
}
"""A field that plain torch on a CPU gets through."""


def latent_nerf(prior: RandomPrior, small: bool, limits: Limits) -> tuple[StagePlan, Any]:
    """The published configuration: 64 x 64 latents, a hash grid."""
    config = update(LatentNerf.paper(), SMALL if small else {})
    return config.plans(Request(PROMPT, prior, limits=limits))[0], config


def dreamfusion(prior: RandomPrior, small: bool, limits: Limits) -> tuple[StagePlan, Any]:
    """64 x 64 pixels, enlarged and encoded."""
    config = update(
        DreamFusion.paper(), {"resolution": 16 if small else 64, **(SMALL if small else {})}
    )
    return config.plans(Request(PROMPT, prior, limits=limits))[0], config


def latent_paint(prior: RandomPrior, small: bool, limits: Limits) -> tuple[StagePlan, Any]:
    """A latent atlas of 128 on a mesh of twenty thousand faces."""
    config = LatentPaint.paper()
    atlas = join_atlas(Asset({"body": unwrap_grid(body(small), 1024)}), 1024)
    return config.plans(PaintRequest(PROMPT, prior, atlas=atlas, limits=limits))[0], config


def spatial(prior: RandomPrior, small: bool, limits: Limits) -> tuple[StagePlan, Any]:
    """Two bodies placed by SSDS from ten views a step, as published."""
    config = PlacementConfig.paper()
    camera = reference_camera(2.5, 40.0, 15.0, 128, 128)
    text = read_scene(SCENE)
    where = [Transform(0.4, translation=torch.tensor([x, 0.0, 0.0]).numpy()) for x in (-0.4, 0.4)]
    scene = PlacedScene(
        [Body({"body": body(small)})] * 2, text.objects, where, camera.camera_to_world[0]
    )
    return StagePlan(
        "placement", lambda done: placement_stage(scene, text, ["on"], prior, config)
    ), config


SYSTEMS: dict[str, Callable[[RandomPrior, bool], tuple[StagePlan, Any]]] = {
    "Latent-NeRF": latent_nerf,
    "DreamFusion": dreamfusion,
    "Latent-Paint": latent_paint,
    "SSDS, ten views": spatial,
}


def of_system(name: str, prior: RandomPrior, steps: int, small: bool = False) -> Steps:
    """Steps of a system, with the memory that its plan foresees."""
    plan, config = SYSTEMS[name](prior, small, Limits())
    if isinstance(config, PlacementConfig):
        return of_stage(plan, prior, steps)
    expected = forecast(PLANS[0], demands(config, prior), prior)
    prior.keep_within(expected.limits)
    plan, _ = SYSTEMS[name](prior, small, expected.limits)
    found = of_stage(plan, prior, steps)
    # What tensors take; the driver's share is no tensor's.
    return replace(found, forecast=expected.peak) if found.peak else found


def in_gb(size: int) -> str:
    """Bytes for a table."""
    return f"{size / GIB:.2f}" if size else "-"
