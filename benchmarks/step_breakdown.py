"""Where a distillation step of latent-nerf spends its time.

Run: python benchmarks/step_breakdown.py
"""

from __future__ import annotations

import time
from collections import defaultdict

import torch
from tables import publish, table

from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, Stage, StagePlan, Step
from threestudio_like.guidance import ScoreDistillation
from threestudio_like.kernels import warm_up
from threestudio_like.priors.registry import resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import VolumeRenderer
from threestudio_like.representations import HashGridField, VoxelField
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

STEPS, WARM = 60, 10


def measure(kind: str, space: str) -> list[list]:
    spent: dict[str, float] = defaultdict(float)
    clock = {"began": 0.0}

    def timed(owner: type, method: str, name: str, inside: str | None = None):
        inner = getattr(owner, method)

        def wrapper(*arguments, **keywords):
            began = time.perf_counter()
            try:
                return inner(*arguments, **keywords)
            finally:
                passed = time.perf_counter() - began
                spent[name] += passed
                if inside is not None:
                    spent[inside] -= passed

        setattr(owner, method, wrapper)
        return lambda: setattr(owner, method, inner)

    undo = [
        timed(StableDiffusionPrior, "predict", "UNet", "guidance"),
        timed(StableDiffusionPrior, "encode_image", "autoencoder", "guidance"),
        timed(StableDiffusionPrior, "decode_latents", "autoencoder", "guidance"),
        timed(ScoreDistillation, "loss", "guidance"),
        timed(VolumeRenderer, "render", "march and composite"),
        timed(VolumeRenderer, "refresh", "occupancy"),
        timed(VoxelField, "forward", "field", "march and composite"),
        timed(HashGridField, "forward", "field", "march and composite"),
        timed(VoxelField, "variation", "regularisers"),
        timed(torch.Tensor, "backward", "backward (field, march, composite)"),
        timed(torch.optim.Adam, "step", "optimiser"),
    ]
    try:
        changes = {
            "representation": {"kind": kind},
            "start": {"refine": {"times": ()}},
            "distil": {"steps": 0 if space == "rgb" else STEPS + WARM},
            "rgb": {"steps": STEPS + WARM if space == "rgb" else 0},
        }
        config = update(LatentNerf(), changes)
        prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")

        def watched(plan: StagePlan) -> StagePlan:
            def build(done: dict[str, Stage]) -> Stage:
                stage = plan.build(done)
                inner = stage.loss

                def loss(step: Step) -> dict[str, torch.Tensor]:
                    if step.index == WARM:
                        spent.clear()
                        clock["began"] = time.perf_counter()
                    return inner(step)

                stage.loss = loss
                return stage

            return StagePlan(plan.name, build)

        Loop(None, Events(None, "quiet"), LoopSettings()).run(
            [watched(p) for p in config.plans(Request("a red chair", prior))]
        )
        total = time.perf_counter() - clock["began"]
    finally:
        for restore in undo:
            restore()
    spent["the rest (cameras, random numbers, loop)"] = total - sum(spent.values())
    return [
        [f"{space}, {kind}", name, f"{value / STEPS * 1e3:.1f}", f"{value / total:.0%}"]
        for name, value in sorted(spent.items(), key=lambda i: -i[1])
    ]


def main() -> None:
    warm_up()
    rows = measure("voxels", "latent") + measure("hash", "latent") + measure("voxels", "rgb")
    body = (
        table(["stage, field", "part", "ms a step", "share"], rows)
        + f"\n\n{torch.get_num_threads()} threads, {STEPS} steps after {WARM} to warm up. "
        "The UNet sees eight pictures a step: four views, with and without the prompt.\n"
    )
    publish(
        "step_breakdown",
        "Where a step of latent-nerf goes",
        "python benchmarks/step_breakdown.py",
        body,
    )


if __name__ == "__main__":
    main()
