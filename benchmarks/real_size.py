"""A full-size Stable Diffusion 1.5 folder with random weights: does it load, and does one
optimisation step fit in 16 GB on a CPU?

Run: python benchmarks/real_size.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tables import publish, table


def build(folder: Path) -> None:
    """Write the folder in fp16, one network at a time."""
    from random_priors import build_networks
    from transformers import CLIPTextConfig, CLIPTextModel

    from threestudio_like.toybox.twenty import TWENTY
    from threestudio_like.training.text_to_image.diffusion import edition_tokenizer

    build_networks(folder, "sd-1.5", torch.float16, "cpu")
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    CLIPTextModel(text).half().save_pretrained(folder / "text_encoder")
    edition_tokenizer(TWENTY).save_pretrained(folder / "tokenizer")


def step(folder: str) -> None:
    """Load as float32 and do one step of the paper preset; prints figures as JSON."""
    from threestudio_like.engine.config import update
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings
    from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
    from threestudio_like.systems.system import Request
    from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

    began = time.perf_counter()
    prior = StableDiffusionPrior(Path(folder), DiffusersConfig(), "sd-1.5 layout")
    loaded = time.perf_counter() - began
    config = update(LatentNerf.paper(), {"distil": {"steps": 1}})
    began = time.perf_counter()
    Loop(None, Events(None, "quiet"), LoopSettings()).run(config.plans(Request("a corgi", prior)))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    size = sum(p.numel() for p in prior.unet.parameters()) / 1e6
    print(
        json.dumps(
            {
                "load": loaded,
                "step": seconds,
                "peak": peak,
                "unet": size,
                "latent": prior.facts.latent_size,
            }
        )
    )


def main() -> None:
    if len(sys.argv) > 1:
        step(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        maker = (
            "import sys; sys.path.insert(0, 'benchmarks'); from pathlib import Path; from "
            "real_size import build; build(Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", maker, folder], check=True)
        done = subprocess.run(
            [sys.executable, __file__, folder], check=True, capture_output=True, text=True
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    rows = [
        ["UNet parameters, millions", figures["unet"]],
        ["latent size", figures["latent"]],
        ["load, s", figures["load"]],
        ["set-up of the field and one step, s", figures["step"]],
        ["peak memory, GB (goal 16)", figures["peak"]],
    ]
    publish(
        "real_size",
        "One step on a full-size Stable Diffusion 1.5 layout, CPU",
        "python benchmarks/real_size.py",
        table(["figure", "value"], rows),
    )


if __name__ == "__main__":
    main()
