"""What the embedded ControlNet is good for: pictures of held-out objects, sampled from the same
noise and prompt with what it is told of the geometry and without, against the geometry.

Run: python benchmarks/control.py [--objects 60] [--network FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import binary_fill_holes
from tables import ROOT, interval, publish, table
from worlds import add_world, runs, world_at_hand

from threestudio_like.guidance import PromptConfig, ViewPrompts
from threestudio_like.metrics.judge import Judge
from threestudio_like.priors.diffusion import Condition, DiffusionPrior
from threestudio_like.priors.loading import load_prior
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.sampling import ddim
from threestudio_like.renderers import Cameras
from threestudio_like.toybox.dataset import VIEWS, Groups, cached_groups
from threestudio_like.toybox.render import DISTANCE, FOV_Y
from threestudio_like.training.control import KINDS, SIZE, cached_pictures

SEED = 8101
STEPS, SCALE, RESCALE, CLAMP = 12, 3.0, 0.3, 3.5
OBJECT, STRONG, NEAR = 0.06, 0.12, 1
"""Difference from the background, in [0, 1], from which a pixel is the object's; that of
neighbouring pixels from which they are an edge; pixels within which an edge lies on a line."""
COLUMNS = ("silhouette IoU", "edges on lines", "lines by chance", "category", "colour")
ITSELF = "the object itself"
SHOWN = 8


def cameras_of(data: Groups, number: int) -> Cameras:
    """The four cameras of an object's pictures."""
    around = torch.from_numpy(data.azimuth[number]).float()
    above = torch.full_like(around, float(data.elevation[number]))
    return Cameras.orbit(around, above, DISTANCE, fov_y=FOV_Y, height=SIZE, width=SIZE)


def sampled(
    prior: DiffusionPrior, data: Groups, number: int, shown: dict[str, torch.Tensor] | None
) -> torch.Tensor:
    """Four joint views (4, S, S, 3) in [0, 1] of an object's caption; `shown` are the pictures (4,
    S, S, 3) of control, by kind."""
    cameras, facts = cameras_of(data, number), prior.facts
    prompts = ViewPrompts(prior, data.captions[number], PromptConfig())
    level = float(data.background[number])
    condition = Condition(prompts.text(cameras), cameras, level, VIEWS, control=shown)
    shape = (VIEWS, facts.channels, facts.latent_size, facts.latent_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(number))
    z = ddim(prior, noise, 1.0, STEPS, condition, prompts.negatives(VIEWS), SCALE, RESCALE, CLAMP)
    return prior.decode_latents(z)


def measured(
    pictures: torch.Tensor, level: float, solid: np.ndarray, lines: np.ndarray
) -> dict[str, float]:
    """How far pictures (4, S, S, 3) before a grey `level` agree with the geometry: `solid` and
    `lines` are where it is, and its edges, (4, S, S) bool."""
    seen = (pictures - level).abs().amax(-1).numpy() > OBJECT
    found = np.stack([binary_fill_holes(view) for view in seen])
    either = (found | solid).sum((1, 2)).clip(1)
    iou = (found & solid).sum((1, 2)) / either
    near = F.max_pool2d(torch.from_numpy(lines).float()[:, None], 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
    strong = torch.zeros(near.shape, dtype=torch.bool)
    for axis in (1, 2):
        length = SIZE - 1
        one, two = (pictures.narrow(axis, k, length) for k in (0, 1))
        strong.narrow(axis, 0, length).logical_or_((two - one).abs().amax(-1) > STRONG)
    edges = float(near[strong].float().mean()) if strong.any() else float("nan")
    return {
        "silhouette IoU": float(iou.mean()),
        "edges on lines": edges,
        "lines by chance": float(near.float().mean()),
    }


@lru_cache(maxsize=1)
def judge_at_hand() -> Judge:
    """The embedded judge."""
    return Judge.load(embedded_folder("judge"))


def judged(pictures: torch.Tensor, data: Groups, number: int) -> dict[str, float]:
    """Shares of the pictures in which the judge sees what the caption names."""
    judge = judge_at_hand()
    verdict = judge(pictures)
    named = {
        "category": (verdict.category, judge.categories, data.category[number]),
        "colour": (verdict.colour, judge.colours, data.colour[number]),
    }
    return {
        key: float((shares.argmax(1) == list(words).index(word)).float().mean())
        for key, (shares, words, word) in named.items()
    }


def arms(network: str) -> dict[str, DiffusionPrior]:
    """The priors, by what they are told."""

    def loaded(*control: str) -> DiffusionPrior:
        return load_prior("toybox", DiffusersConfig(control=control, dtype="float32"))

    of = f"={network}" if network else ""
    return {"without": loaded(), **{kind: loaded(f"{kind}{of}") for kind in KINDS}}


def run(count: int, network: str) -> None:
    """Sample, measure and publish."""
    folder, world = runs("control") / "data", world_at_hand().name
    data = cached_groups(folder, SEED, count, SIZE, "test", patterned=True, world=world)
    drawn = cached_pictures(folder, SEED, data, "test", world=world)
    depth, lines = drawn[:, KINDS.index("depth")] > 0, drawn[:, KINDS.index("canny")] > 127
    ways, samples, tiles = arms(network), [], []
    for number in range(count):
        pictures = {ITSELF: torch.from_numpy(data.images[number].astype(np.float32) / 255)}
        told = {
            kind: torch.from_numpy(drawn[number, k]).float()[..., None].expand(-1, -1, -1, 3) / 255
            for k, kind in enumerate(KINDS)
        }
        for way, prior in ways.items():
            pictures[way] = sampled(prior, data, number, told if way in told else None)
        for way, seen in pictures.items():
            level = float(data.background[number])
            line: dict[str, Any] = {"object": number, "caption": data.captions[number], "way": way}
            line |= measured(seen, level, depth[number], lines[number])
            samples.append(line | judged(seen, data, number))
        if number < SHOWN:
            row = [drawn[number, KINDS.index("canny"), 0][..., None].repeat(3, -1)]
            row += [(pictures[w][0].numpy() * 255).astype(np.uint8) for w in (ITSELF, *ways)]
            tiles.append(np.concatenate(row, 1))
        print(number, data.captions[number], flush=True)
    body = page(samples, [*ways, ITSELF], count)
    if network:
        print(body)
        return
    sheet = Image.fromarray(np.concatenate(tiles, 0))
    sheet.resize((2 * sheet.width, 2 * sheet.height)).save(
        ROOT / "docs" / "pictures" / "control.jpg", quality=85
    )
    publish(
        "control",
        "What the embedded ControlNet is good for",
        f"python benchmarks/control.py --objects {count}",
        body,
        samples=samples,
        frame={"n": f"{count} objects, four views each, the same noise in every row"},
    )


def page(samples: list[dict[str, Any]], ways: Sequence[str], count: int) -> str:
    """The tables."""
    by = {
        way: {c: np.array([s[c] for s in samples if s["way"] == way]) for c in COLUMNS}
        for way in ways
    }

    def row(name: str, figures: dict[str, np.ndarray]) -> list[str]:
        told = [name]
        for column in COLUMNS:
            values = figures[column][np.isfinite(figures[column])]
            low, high = interval(values)
            told.append(f"{values.mean():.3f} [{low:.3f}, {high:.3f}]")
        return told

    text = (
        f"{count} objects of the split test, {STEPS} steps of DDIM at scale {SCALE:g}, four views "
        f"at once. Edges are differences of neighbouring pixels above {STRONG}; they lie on a line "
        f"within {NEAR} pixel of {SIZE}.\n\n"
    )
    text += table(["told", *COLUMNS], [row(way, by[way]) for way in ways])
    text += "\n\nDifference from without, object by object:\n\n"
    differences = {
        way: {c: by[way][c] - by["without"][c] for c in COLUMNS} for way in ways if way in KINDS
    }
    text += table(["told", *COLUMNS], [row(way, own) for way, own in differences.items()])
    return text + (
        "\n\n![pictures](../pictures/control.jpg)\n\nThe first view of eight objects: the lines "
        f"that it is told, {ITSELF}, without, {', '.join(KINDS)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--network", default="", help="another one, whose table is only printed")
    add_world(parser)
    arguments = parser.parse_args()
    run(arguments.objects, arguments.network)


if __name__ == "__main__":
    main()
