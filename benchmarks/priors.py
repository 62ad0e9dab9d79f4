"""The embedded priors themselves: judged samples of every category and colour, autoencoder PSNR,
judge and CLIP accuracy.

Run: python benchmarks/priors.py [--views 4]
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from PIL import Image
from tables import ROOT, publish, table

from threestudio_like.guidance import PromptConfig, ViewPrompts
from threestudio_like.metrics.judge import Judge
from threestudio_like.priors.clip import ClipPrior
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.registry import embedded_folder, resolve
from threestudio_like.priors.sampling import ddim
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import Cameras
from threestudio_like.toybox.dataset import draw_groups
from threestudio_like.toybox.editions import edition_of
from threestudio_like.toybox.vocabulary import CATEGORIES, COLOURS, HELD_OUT_COLOURS
from threestudio_like.training.judge import judge_accuracy
from threestudio_like.training.text_to_image.vae import reconstruction_psnr


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")
    judge, clip = Judge.load(embedded_folder("judge")), ClipPrior(embedded_folder("clip"))
    texts = clip.embed_texts(edition_of(embedded_folder("clip")).captions())
    rows, tiles, per_category = [], [], {}
    hits = {"category": [], "colour": [], "clip": [], "held": []}
    for i, category in enumerate(CATEGORIES):
        own = []
        for j, colour in enumerate(COLOURS):
            prompts = ViewPrompts(prior, f"a {colour} {category}", PromptConfig())
            cameras = Cameras.orbit(
                torch.arange(4) * math.pi / 2 + 0.3,
                torch.full((4,), math.radians(15)),
                3.0,
                math.radians(40),
                16,
                16,
            )
            noise = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1000 * i + j))
            z = ddim(
                prior,
                noise,
                1.0,
                arguments.steps,
                Condition(prompts.text(cameras), cameras, 0.6, 4),
                prompts.negatives(4),
                4.0,
                0.3,
                3.5,
            )
            images = prior.decode_latents(z)
            verdict = judge(images)
            right_category = (
                verdict.category.argmax(1) == judge.categories.index(category)
            ).float()
            right_colour = (verdict.colour.argmax(1) == judge.colours.index(colour)).float()
            nearest = (clip.embed_images(images) @ texts.t()).argmax(1)
            hits["category"].append(float(right_category.mean()))
            hits["colour"].append(float(right_colour.mean()))
            hits["clip"].append(float((nearest == i * len(COLOURS) + j).float().mean()))
            if colour in HELD_OUT_COLOURS[category]:
                hits["held"].append(float((right_category * right_colour).mean()))
            own.append((hits["category"][-1], hits["colour"][-1]))
            if j == (3 * i) % len(COLOURS):
                tiles.append(torch.cat(list(images), 1))
        per_category[category] = np.mean(own, 0)
    rows = [
        [c, float(v[0]), float(v[1])]
        for c, v in sorted(per_category.items(), key=lambda p: p[1].sum())
    ]
    sheet = torch.cat([torch.cat(tiles[i::4], 0) for i in range(4)], 1)
    path = ROOT / "docs" / "pictures" / "samples.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet * 255).byte().numpy()).quantize(192).save(path, optimize=True)
    psnr = reconstruction_psnr(prior.vae, draw_groups(1, 100, split="validation"))
    accuracy = judge_accuracy(judge, draw_groups(78, 200, split="test"))
    head = table(
        ["figure", "value", "goal"],
        [
            ["samples judged right: category", float(np.mean(hits["category"])), 0.95],
            ["samples judged right: colour", float(np.mean(hits["colour"])), 0.97],
            ["both right, pairs never seen in training", float(np.mean(hits["held"])), "-"],
            ["CLIP R-precision of samples", float(np.mean(hits["clip"])), "-"],
            ["autoencoder PSNR, whole picture, dB", psnr["psnr"], "-"],
            ["autoencoder PSNR inside the object's box, dB", psnr["psnr_in_box"], 30.0],
            ["judge on true test pictures: category", accuracy["category"], "-"],
            ["judge on true test pictures: colour", accuracy["colour"], "-"],
            ["judge on true test pictures: view", accuracy["view"], "-"],
        ],
    )
    body = (
        head
        + "\n\nPer category, worst first (40 samples each: 10 colours, 4 joint views, DDIM).\n\n"
        + table(["category", "category right", "colour right"], rows)
    )
    publish("priors", "The embedded priors", "python benchmarks/priors.py", body)


if __name__ == "__main__":
    main()
