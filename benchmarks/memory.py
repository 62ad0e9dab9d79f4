"""Forecasts of `--memory` against what steps take: bytes of tensors alive, on any device; a prior of Stable Diffusion's size, random weights.

Run: python benchmarks/memory.py     (about ten minutes on two cores, 16 GB)
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from random_priors import RandomPrior, build_networks
from tables import publish, table

from threestudio_like.engine.memory import GIB, MemoryWatch
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.contract import View
from threestudio_like.guidance.score_distillation import ScoreDistillation
from threestudio_like.priors.stable_diffusion import StableDiffusionPrior
from threestudio_like.renderers import BackgroundSample, VolumeRenderer
from threestudio_like.systems.dreamfusion import DreamFusion
from threestudio_like.systems.latent_nerf import LatentNerf
from threestudio_like.systems.memory import PLANS, apply, demands, forecast


def measure(
    prior: StableDiffusionPrior, system: LatentNerf | DreamFusion, stage: object, encode: bool
) -> tuple[int, float]:
    """Peak bytes and seconds of a distillation step with everything that is alive in it."""
    (demand,) = demands(system, prior)
    field = system.representation.build(3 if encode else 4, 0, sigmoid=encode)
    renderer = VolumeRenderer(system.renderer)
    guidance = ScoreDistillation(prior, "a red chair", stage.guidance, encode=encode)  # type: ignore[attr-defined]
    optimiser = torch.optim.Adam(field.parameters(), fused=True)
    cameras = stage.sampler().sample(RandomStream(0, "rehearsal", 0), demand.size)  # type: ignore[attr-defined]
    behind = BackgroundSample(torch.zeros(len(cameras), demand.size, demand.size, field.channels))
    with MemoryWatch() as watch:
        for module in (prior.unet, prior.vae, field):
            for tensor in [*module.parameters(), *module.buffers()]:
                watch.note(tensor)
        # The watchdog's copy.
        copies = [p.detach().clone() for _ in range(3) for p in field.parameters()]
        for step in range(2):
            began = time.perf_counter()
            optimiser.zero_grad(set_to_none=False)
            random = RandomStream(0, "measure", step)
            rendering = renderer.render(field, cameras, behind, random)
            guidance.loss(rendering, View(cameras, 0.5, random))[0].backward()
            optimiser.step()
            del rendering
    assert copies
    return watch.peak, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--resolution", type=int, default=192, help="of the RGB rendering")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = build_networks(Path(temporary) / "model", "sd-2.1", torch.bfloat16, "cpu")
        for name in (
            "Latent-NeRF, 64 x 64 latents",
            f"DreamFusion, {options.resolution} x {options.resolution} pixels",
        ):
            for plan in PLANS[:4]:
                prior = RandomPrior(folder, "sd-2.1", "bfloat16", "cpu")
                system = LatentNerf.paper() if name.startswith("Latent") else DreamFusion.paper()
                if not name.startswith("Latent"):
                    system.resolution = options.resolution
                wanted = demands(system, prior)
                expected = forecast(plan, wanted, prior)
                apply(plan, system, prior)
                peak, seconds = measure(prior, system, system.distil, not name.startswith("Latent"))
                error = 100 * (expected.peak / peak - 1)
                rows.append(
                    [
                        name,
                        plan.name,
                        f"{expected.peak / GIB:.2f}",
                        f"{peak / GIB:.2f}",
                        f"{error:+.0f} %",
                        f"{seconds:.0f}",
                    ]
                )
                print(rows[-1], flush=True)
                del prior
    body = (
        "Tensors alive in a whole step (prior in bfloat16, field in float32, watchdog's copy), counted as they come and go; on a GPU its context "
        "and libraries come on top.\n\n"
        + table(["step", "plan", "forecast, GB", "measured, GB", "error", "s a step"], rows)
    )
    publish("memory", "Memory: forecasts and steps", "python benchmarks/memory.py", body)


if __name__ == "__main__":
    main()
