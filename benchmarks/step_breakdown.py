"""Where a distillation step of latent-nerf spends its time.

Run: python benchmarks/step_breakdown.py
"""

from __future__ import annotations

import time
from collections import defaultdict

import torch
from tables import publish, table

from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.kernels import warm_up
from threestudio_like.priors.registry import resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import VolumeRenderer
from threestudio_like.representations import HashGridField, VoxelField
from threestudio_like.systems.contract import Request
from threestudio_like.systems.latent_nerf import LatentNerf

STEPS = 60


def measure(kind: str) -> list[list]:
    spent: dict[str, float] = defaultdict(float)

    def timed(owner: type, method: str, name: str):
        inner = getattr(owner, method)

        def wrapper(*arguments, **keywords):
            began = time.perf_counter()
            try:
                return inner(*arguments, **keywords)
            finally:
                spent[name] += time.perf_counter() - began

        setattr(owner, method, wrapper)
        return lambda: setattr(owner, method, inner)

    undo = [timed(StableDiffusionPrior, "predict", "UNet"), timed(VolumeRenderer, "render", "render (with field)"),
            timed(VolumeRenderer, "refresh", "occupancy"), timed(VoxelField, "forward", "field"), timed(HashGridField, "forward", "field"),
            timed(torch.Tensor, "backward", "backward"), timed(torch.optim.Adam, "step", "optimiser")]  # fmt: skip
    try:
        config = LatentNerf()
        config.representation.kind = kind  # type: ignore[assignment]
        config.start.refine.times, config.rgb.steps = (), 0
        config.distil.steps = STEPS
        prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")
        request = Request("a red chair", prior)
        stages = config.plans(request)
        began = time.perf_counter()
        Loop(None, Events(None, "quiet"), LoopSettings()).run(stages)
        total = time.perf_counter() - began
    finally:
        for restore in undo:
            restore()
    spent["march and composite"] = spent.pop("render (with field)") - spent["field"] * 0.8
    spent["the rest"] = total - sum(spent.values())
    return [
        [kind, name, f"{value / STEPS * 1e3:.1f}", f"{value / total:.0%}"]
        for name, value in sorted(spent.items(), key=lambda i: -i[1])
    ]


def main() -> None:
    warm_up()
    rows = measure("voxels") + measure("hash")
    body = (
        table(["field", "part", "ms a step", "share"], rows)
        + f"\n\n{torch.get_num_threads()} threads, {STEPS} steps.\n"
    )
    publish("step_breakdown", "Where a step of latent-nerf goes", "python benchmarks/step_breakdown.py", body)


if __name__ == "__main__":
    main()
