"""Forecasts of `--memory` against what runs take: bytes of tensors alive, on any device; a prior of
Stable Diffusion's size, random weights.

Run: python benchmarks/memory.py     (about twenty minutes on two cores, 16 GB)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from random_priors import RandomPrior, build_networks
from tables import publish, table

from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.limits import Limits
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.engine.memory import GIB, MemoryWatch
from threestudio_like.engine.watchdog import Watchdog
from threestudio_like.priors.stable_diffusion import StableDiffusionPrior
from threestudio_like.runs.memory_budget import PLANS, forecast
from threestudio_like.stages.demand import demands
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

STEPS = 3


def measure(
    prior: StableDiffusionPrior, system: LatentNerf | DreamFusion, parts: int, limits: Limits
) -> int:
    """Peak bytes of a run of a few steps, as `generate` runs it."""
    with MemoryWatch() as watch:
        for module in (prior.unet, prior.vae):
            for tensor in [*module.parameters(), *module.buffers()]:
                watch.note(tensor)
        loop = Loop(None, Events(None, "quiet"), LoopSettings(accumulate=parts), Watchdog())
        loop.run(system.plans(Request("a red chair", prior, 0, limits=limits)))
    return watch.peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--resolution", type=int, default=192, help="of the RGB rendering")
    options = parser.parse_args()
    latent, size = "Latent-NeRF, 64 x 64 latents", options.resolution
    cases = [(latent, 1, 1, plan) for plan in PLANS[:4]]
    cases += [(f"{latent}, 4 views", 4, parts, PLANS[0]) for parts in (1, 2, 4)]
    cases += [(f"DreamFusion, {size} x {size} pixels", 1, 1, plan) for plan in PLANS[:4]]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = build_networks(Path(temporary) / "model", "sd-2.1", torch.bfloat16, "cpu")
        for name, views, parts, plan in cases:
            prior = RandomPrior(folder, "sd-2.1", "bfloat16", "cpu")
            system = LatentNerf.paper() if name.startswith("Latent") else DreamFusion.paper()
            changes: dict[str, Any] = {"distil": {"steps": STEPS, "uniform": {"batch": views}}}
            if not name.startswith("Latent"):
                changes["resolution"] = size
            system = update(system, changes)
            expected = forecast(plan, demands(system, prior, parts), prior)
            prior.keep_within(expected.limits)
            peak = measure(prior, system, parts, expected.limits)
            error = 100 * (expected.peak / peak - 1)
            rows.append(
                [
                    name,
                    plan.name + (f", in {parts} parts" if parts > 1 else ""),
                    f"{expected.peak / GIB:.2f}",
                    f"{peak / GIB:.2f}",
                    f"{error:+.0f} %",
                ]
            )
            print(rows[-1], flush=True)
            del prior, system
    body = (
        f"Tensors alive in a run of {STEPS} steps (prior in bfloat16, field in float32, "
        "occupancy, watchdog's copy), counted as they come and go; "
        "on a GPU its context and libraries come on top. The forecast is made before "
        "anything runs; parts are those of `--accumulate`.\n\n"
        + table(["run", "plan", "forecast, GB", "measured, GB", "error"], rows)
    )
    publish("memory", "Memory: forecasts and runs", "python benchmarks/memory.py", body)


if __name__ == "__main__":
    main()
