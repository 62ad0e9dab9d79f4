"""Variational score distillation against score distillation on the embedded prior: the same field,
cameras, steps and noise times, without sampled start or a second stage.

Run: python benchmarks/vsd.py [--system dreamfusion] [--prompts 2] [--steps 100] [--measure]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tables import publish, table

from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.kernels import warm_up
from threestudio_like.metrics.evaluation import measure
from threestudio_like.priors.registry import resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.stages.field_to_mesh import AssetConfig, make_asset
from threestudio_like.stages.model import preview
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf
from threestudio_like.systems.text_to_3d.prolificdreamer import as_variational

PROMPTS = ["a red chair", "a blue mug", "a green tree", "a yellow car"]
FIELD = {"voxels": {"size": 40, "smooth": 0.8}}
FROM_NOTHING = {
    "start": {"refine": {"times": ()}},
    "rgb": {"steps": 0},
    "distil": {
        "guidance": {"t_max": "0.98->0.2", "scale": 3.0},
        "rates": {"voxels": "0.15->0.02"},
        "regularise": {"density_variation": "0.05"},
    },
}
"""Latent-NeRF from an empty field, as in latent_versus_rgb.py."""


def configuration(system: str, kind: str, steps: int, scale: float) -> Any:
    config: Any = DreamFusion()
    if system == "latent-nerf":
        config = update(LatentNerf(), FROM_NOTHING)
    config = update(config, {"distil": {"steps": steps}, "representation": FIELD})
    if kind == "sds":
        return config
    distil = replace(config.distil, guidances=as_variational(config.distil.guidance, scale=scale))
    return replace(config, distil=distil)


def run(config: Any, prior: StableDiffusionPrior, prompt: str) -> tuple[float, Any]:
    """Processor seconds, which a busy machine does not lengthen, and the field that is left."""
    request = Request(prompt, prior)
    began = time.process_time()
    stages = Loop(None, Events(None, "quiet"), LoopSettings()).run(config.plans(request))
    return time.process_time() - began, config.result(request, stages)


def figures(parts: Any, prompt: str) -> dict[str, float]:
    """The silhouette's IoU, the judge's category and colour; zeros where there is no surface."""
    try:
        asset, _ = make_asset(parts, AssetConfig(texture=256), 1, "object", {})
    except Exception:
        return {"iou": 0.0, "category": 0.0, "colour": 0.0}
    found = measure(asset, prompt)
    iou = next(v for k, v in found.items() if k.startswith("silhouette iou"))
    judged = {name: found[f"judge: {name}"] for name in ("category", "colour")}
    return {"iou": iou, **judged}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", default="latent-nerf", choices=["latent-nerf", "dreamfusion"])
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--scale", type=float, default=5.0, help="guidance of the variational kind")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--pictures", type=Path, default=Path("outputs/vsd"))
    arguments = parser.parse_args()
    warm_up()
    prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    rows = []
    for prompt in PROMPTS[: arguments.prompts]:
        row: list[object] = [prompt]
        for kind in ("sds", "vsd"):
            config = configuration(arguments.system, kind, arguments.steps, arguments.scale)
            seconds, parts = run(config, prior, prompt)
            name = f"{prompt.replace(' ', '_')}_{kind}.png"
            Image.fromarray(preview(parts, 96)).save(arguments.pictures / name)
            shown = [f"{seconds:.0f} s"]
            if arguments.measure:
                shown += [f"{k} {v:.2f}" for k, v in figures(parts, prompt).items()]
            row.append(", ".join(shown))
            print(prompt, kind, *shown, flush=True)
        rows.append(row)
    body = (
        f"{arguments.system} from an empty voxel field of 40^3, {arguments.steps} steps, "
        f"{torch.get_num_threads()} threads, processor seconds; the variational kind at guidance "
        f"{arguments.scale:g}.\n\n"
    ) + table(["prompt", "score distillation", "variational"], rows)
    command = (
        f"python benchmarks/vsd.py --system {arguments.system} --steps {arguments.steps} "
        f"--scale {arguments.scale:g}"
    )
    publish("vsd", "Variational score distillation on the embedded prior", command, body)


if __name__ == "__main__":
    main()
