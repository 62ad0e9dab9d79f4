"""What latent space saves: latent-nerf against dreamfusion on one prior, one field, at equal steps
and at equal time.

Both start from the same empty voxel field, without sampled start or a second stage.

Run: python benchmarks/latent_versus_rgb.py [--prompts 12] [--steps 150]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from tables import publish, table

from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.kernels import warm_up
from threestudio_like.metrics.evaluation import measure
from threestudio_like.priors.registry import resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.stages.field_to_mesh import AssetConfig, make_asset
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

PROMPTS = [
    "a red chair",
    "a blue mug",
    "a green table",
    "a yellow car",
    "a purple vase",
    "an orange lamp",
    "a pink sofa",
    "a brown barrel",
    "a white robot",
    "a black rocket",
    "a green tree",
    "a blue house",
]


def run(
    system: str, prior: StableDiffusionPrior, prompt: str, steps: int, minutes: float | None = None
) -> dict[str, float]:
    config = LatentNerf() if system == "latent-nerf" else DreamFusion()
    if isinstance(config, LatentNerf):
        # From an empty field: the guidance of dreamfusion's default, and the larger learning rate
        # that latents (of deviation 1) take.
        changes = {
            "start": {"refine": {"times": ()}},
            "rgb": {"steps": 0},
            "distil": {
                "guidance": {"t_max": "0.98->0.2", "scale": 3.0},
                "rates": {"voxels": "0.15->0.02"},
                "regularise": {"density_variation": "0.05"},
            },
        }
        config = update(config, changes)
    sizes = {"voxels": {"size": 40, "smooth": 0.8}}
    config = update(config, {"distil": {"steps": steps}, "representation": sizes})
    request = Request(prompt, prior)
    began = time.perf_counter()
    stages = Loop(None, Events(None, "quiet"), LoopSettings(minutes=minutes)).run(
        config.plans(request)
    )
    seconds = time.perf_counter() - began
    parts = config.result(request, stages)
    try:
        asset, _ = make_asset(parts, AssetConfig(texture=256), 1, "object", {})
    except Exception:
        return {"seconds": seconds, "iou": 0.0, "category": 0.0, "colour": 0.0}
    figures = measure(asset, prompt)
    iou = next(v for k, v in figures.items() if k.startswith("silhouette iou"))
    return {
        "seconds": seconds,
        "iou": iou,
        "category": figures["judge: category"],
        "colour": figures["judge: colour"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    warm_up()
    prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")
    rows, names = [], ["latent-nerf", "dreamfusion", "dreamfusion, latent-nerf's time"]
    results: dict[str, list[dict[str, float]]] = {n: [] for n in names}
    for prompt in PROMPTS[: arguments.prompts]:
        latent = run("latent-nerf", prior, prompt, arguments.steps)
        rgb = run("dreamfusion", prior, prompt, arguments.steps)
        short = run("dreamfusion", prior, prompt, arguments.steps, latent["seconds"] / 60)
        for name, result in zip(names, (latent, rgb, short)):
            results[name].append(result)
        rows.append(
            [
                prompt,
                *(
                    f"{r['seconds']:.1f} / {r['iou']:.2f} / {r['category']:.2f}"
                    for r in (latent, rgb, short)
                ),
            ]
        )
    mean = [
        f"{np.mean([r['seconds'] for r in results[n]]):.1f} / "
        f"{np.mean([r['iou'] for r in results[n]]):.3f} / "
        f"{np.mean([r['category'] for r in results[n]]):.3f}"
        for n in names
    ]
    body = (
        f"Seconds of optimisation / silhouette IoU / judge's category; {arguments.steps} "
        f"steps, {torch.get_num_threads()} threads, one voxel field of 40^3, "
        "no sampled start, no second stage.\n\n"
        + table(["prompt", *names], [["**mean**", *mean], *rows])
    )
    publish(
        "latent_versus_rgb",
        "What latent space saves",
        f"python benchmarks/latent_versus_rgb.py --steps {arguments.steps}",
        body,
    )


if __name__ == "__main__":
    main()
