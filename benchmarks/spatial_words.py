"""What emphasis on spatial words does to the embedded prior: which of six relations it hears in a
picture's noise, by c; how much attention the words get; which way the gradient moves an object in
front of another; and its attention maps before and after.

Run: python benchmarks/spatial_words.py [--scenes 24]
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from compose import Truth
from PIL import Image
from tables import ROOT, interval, publish, table
from worlds import add_world, world_at_hand

from threestudio_like import load_prior
from threestudio_like.engine.config import update
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.spatial import SpatialConfig, SpatialScoreDistillation
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.networks.attention import attention_maps
from threestudio_like.renderers import Cameras, RandomBackground, SceneRenderer, UniformCameras
from threestudio_like.representations import Body
from threestudio_like.systems.scene.placement import scene_pictures
from threestudio_like.toybox.scenes import build_layout
from threestudio_like.toybox.vocabulary import RELATIONS

FACTORS = (1.0, 2.0, 5.0, 25.0)
WINDOWS = {"20 to 200": (20, 200), "400 to 600": (400, 600), "800 to 900": (800, 900)}
SEED, LEVEL, DRAWS = 4001, 0.8, 6
PULLS = [
    ("20 to 980", ("0.02", "0.98"), 7.5),
    ("500 to 900", ("0.5", "0.9"), 7.5),
    ("800 to 900", ("0.8", "0.9"), 7.5),
    ("20 to 980", ("0.02", "0.98"), 2.0),
]
OFFSETS = (-0.5, -0.25, 0.25, 0.5)


def world(count: int, relations: list[str]) -> list[Truth]:
    """Scenes of two objects whose relation is one of `relations`, in turns."""
    found, number = [], 0
    while len(found) < count:
        rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
        relation = relations[number % len(relations)]
        truth = Truth(build_layout(rng, "test", 2, relation, world_at_hand()))
        number += 1
        if min(int((s.mask > 0.5).sum()) for s in truth.seen) >= 120:
            found.append(truth)
    return found


def views_of(truth: Truth, prior: Any) -> tuple[torch.Tensor, Cameras]:
    """Latents (4, C, h, w) of four views of a scene, and their cameras."""
    size = prior.facts.image_size
    cameras = Cameras.orbit(
        torch.deg2rad(torch.tensor([-40.0, 0.0, 40.0, 75.0])),
        torch.full((4,), 0.25),
        3.0,
        math.radians(40.0),
        size,
        size,
    )
    with torch.no_grad():
        return prior.encode_image(
            torch.from_numpy(scene_pictures(truth.placed, SceneRenderer(), cameras, LEVEL))
        ), cameras


def factors_of(
    prior: Any, prompt: str, words: list[str], factor: float, tokens: int
) -> torch.Tensor | None:
    """(1, T) factors of a prompt's words; None for one."""
    if factor == 1:
        return None
    out = torch.ones(1, tokens)
    out[0, [c for w in words for c in prior.word_columns(prompt, w)]] = factor
    return out


@torch.no_grad()
def told(truth: Truth, relation: str, prior: Any) -> dict[tuple[str, float], bool]:
    """Whether, of six prompts that differ in their relation alone, the true one predicts the noise
    of the scene's views best."""
    latents, cameras = views_of(truth, prior)
    grey = torch.full((4,), LEVEL)
    right = {}
    for window, (low, high) in WINDOWS.items():
        for factor in FACTORS:
            errors = []
            for other in RELATIONS:
                prompt = truth.text.prompt.replace(f" {relation} ", f" {other} ")
                text = prior.encode_text([prompt])
                emphasis = factors_of(prior, prompt, [other], factor, text.shape[1])
                error = 0.0
                for draw in range(DRAWS):
                    random = RandomStream(0, truth.text.prompt, draw)
                    t = random.integers("time", low, high, (4,))
                    noise = random.normal("noise", tuple(latents.shape))
                    condition = Condition(
                        text.expand(4, -1, -1),
                        cameras,
                        grey,
                        4,
                        None if emphasis is None else emphasis.expand(4, -1),
                    )
                    predicted = prior.epsilon(
                        prior.schedule.add_noise(latents, noise, t), t, condition
                    )
                    error += float((predicted - noise).square().mean())
                errors.append(error)
            right[window, factor] = RELATIONS[int(np.argmin(errors))] == relation
    return right


def pull(
    truth: Truth, prior: Any, span: tuple[str, str], factor: float, scale: float, repeats: int = 4
) -> tuple[float, float]:
    """Of the gradient of the distance between the two objects along the view: how often it points
    home from four offsets (scene units), and how far from home it vanishes (by a line through all
    draws; half a unit where it does not)."""
    low, high = span
    score = {"scale": scale, "t_min": low, "t_max": high, "joint_views": True}
    config = update(SpatialConfig(factor=factor), {"score": score})
    distil = SpatialScoreDistillation(
        prior, truth.text.prompt, truth.text.words, config, encode=True
    )
    sampler = UniformCameras(
        elevation=(-10.0, 30.0),
        azimuth=(-60.0, 60.0),
        distance=(3.0, 3.0),
        fov_y=(40.0, 40.0),
        batch=4,
    )
    rows = []
    for offset in OFFSETS:
        scene = truth.with_meshes([Body({"m": m}) for m in truth.meshes], truth.where)
        with torch.no_grad():
            scene.depth[0] += offset / 2
            scene.depth[1] -= offset / 2
        row = []
        for repeat in range(repeats):
            random = RandomStream(0, "pull", repeat)
            cameras = sampler.sample(random, prior.facts.image_size)
            sample = RandomBackground.grey(0.4, 0.95).sample(cameras, random)
            seen = SceneRenderer().render(scene, cameras, sample, random)
            loss = distil(seen, GuidanceInputs(cameras, 0.5, random, sample.level))[0]
            gradient = torch.autograd.grad(loss, scene.depth)[0]
            row.append(float(gradient[0, 0] - gradient[1, 0]) / 2)
        rows.append(row)
    means = np.mean(rows, 1)
    slope, height = np.polyfit(np.repeat(OFFSETS, repeats), np.ravel(rows), 1)
    home = float(np.mean(np.sign(means) == np.sign(OFFSETS)))
    return home, float(min(abs(height / slope), 0.5)) if slope > 0 else 0.5


@torch.no_grad()
def attention_shares(truth: Truth, prior: Any, t: int = 850) -> np.ndarray:
    """Shares (4,) of attention at noise time t: the prompt's begin, its other words, its spatial
    words, its end and padding."""
    latents, cameras = views_of(truth, prior)
    text = prior.encode_text([truth.text.prompt])
    count = len(truth.text.prompt.split())
    columns = sorted(
        {c for w in truth.text.words for c in prior.word_columns(truth.text.prompt, w)}
    )
    time, front = torch.tensor([t]), cameras[torch.tensor([1])]
    noisy = prior.schedule.add_noise(
        latents[1:2], RandomStream(0, "maps", 0).normal("n", (1, *latents.shape[1:])), time
    )
    with attention_maps(prior.unet) as maps:
        prior.epsilon(noisy, time, Condition(text, front, torch.tensor([LEVEL])))
    mean = np.mean([m.mean((0, 1)).numpy() for m in maps.values()], 0)
    spatial = float(mean[columns].sum())
    return np.array(
        [mean[0], mean[1 : 1 + count].sum() - spatial, spatial, mean[1 + count :].sum()]
    )


@torch.no_grad()
def maps_picture(truths: list[Truth], prior: Any, t: int = 850, size: int = 128) -> np.ndarray:
    """A row a scene: the picture; where the spatial words act, before (c = 1) and after (c = 25),
    on one scale of grey; the clean picture that the prior expects behind the noise, at both."""
    rows = []
    for truth in truths:
        latents, cameras = views_of(truth, prior)
        prompt, time, front = truth.text.prompt, torch.tensor([t]), cameras[torch.tensor([1])]
        text, start = prior.encode_text([prompt]), latents[1:2]
        noisy = prior.schedule.add_noise(
            start, RandomStream(0, "maps", 0).normal("n", tuple(start.shape)), time
        )
        columns = sorted({c for w in truth.text.words for c in prior.word_columns(prompt, w)})
        cells, clean = [], []
        for factor in (1.0, 25.0):
            emphasis = factors_of(prior, prompt, truth.text.words, factor, text.shape[1])
            with attention_maps(prior.unet) as maps:
                predicted = prior.epsilon(
                    noisy, time, Condition(text, front, torch.tensor([LEVEL]), 1, emphasis)
                )
            finest = max(m.shape[1] for m in maps.values())
            own = (
                np.mean(
                    [
                        m[0][:, columns].sum(-1).numpy()
                        for m in maps.values()
                        if m.shape[1] == finest
                    ],
                    0,
                )
                * factor
            )
            edge = math.isqrt(finest)
            cells.append(own.reshape(edge, edge).repeat(size // edge, 0).repeat(size // edge, 1))
            abar = prior.schedule.abar(time, start)
            clean.append(
                prior.decode_latents((noisy - (1 - abar).sqrt() * predicted) / abar.sqrt())[
                    0
                ].numpy()
            )
        top = max(float(c.max()) for c in cells)
        shown = [
            scene_pictures(truth.placed, SceneRenderer(), front, LEVEL)[0],
            *(np.stack([c / top] * 3, -1) for c in cells),
            *clean,
        ]
        images = [
            Image.fromarray((p.clip(0, 1) * 255).round().astype(np.uint8)).resize((size, size))
            for p in shown
        ]
        rows.append(np.concatenate([np.asarray(i) for i in images], 1))
    return np.concatenate(rows, 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=24)
    add_world(parser)
    arguments = parser.parse_args()
    prior: Any = load_prior("toybox")
    heard: dict[tuple[str, float], list[float]] = {}
    for number, truth in enumerate(world(arguments.scenes, list(RELATIONS))):
        for key, value in told(truth, truth.text.relations[0].words, prior).items():
            heard.setdefault(key, []).append(float(value))
        print(number, {k: round(float(np.mean(v)), 2) for k, v in heard.items()}, flush=True)
    rows = [
        [f"c = {factor:g}", *(float(np.mean(heard[w, factor])) for w in WINDOWS)]
        for factor in FACTORS
    ]
    text = (
        "Share of scenes whose relation is told from its five rivals (chance is 0.167), by "
        "noise time:\n\n"
    )
    text += table(["emphasis", *WINDOWS], rows) + "\n\n"
    depth_scenes = world(12, ["in front of", "behind"])
    rows = []
    for name, span, scale in PULLS:
        for factor in FACTORS:
            found = [pull(truth, prior, span, factor, scale) for truth in depth_scenes]
            low, high = interval([f[1] for f in found])
            means = np.mean(found, 0)
            spread = f"{low:.3f} to {high:.3f}"
            rows.append(
                [name, f"{scale:g}", f"c = {factor:g}", float(means[0]), float(means[1]), spread]
            )
            print(rows[-1], flush=True)
    text += (
        "Twelve scenes of one object before another, moved apart and together along the view: "
        "how often the gradient of novel views points\n"
    )
    text += (
        "home, and how far from home it vanishes (scene units, with the 95 % bootstrap "
        "interval):\n\n"
    )
    text += (
        table(
            ["noise", "guidance scale", "emphasis", "points home", "vanishes at", "interval"], rows
        )
        + "\n\n"
    )
    shares = np.mean([attention_shares(t, prior) for t in depth_scenes], 0)
    text += "Shares of attention at noise time 850, mean of all layers: "
    names = ("the prompt's begin", "its other words", "its spatial words", "its end and padding")
    text += ", ".join(f"{name} {share:.3f}" for name, share in zip(names, shares)) + ".\n\n"
    picture = maps_picture(depth_scenes[:4], prior)
    Image.fromarray(picture).save(ROOT / "docs" / "pictures" / "spatial-words.jpg", quality=88)
    text += (
        "![attention maps](../pictures/spatial-words.jpg)\n\nThe picture; where the spatial "
        "words act at c = 1 and at c = 25 (one scale of grey a "
    )
    text += (
        "row);\nthe clean picture that the prior expects behind the noise at c = 1 and at c = 25."
    )
    publish(
        "spatial_words",
        "What emphasis on spatial words does",
        f"python benchmarks/spatial_words.py --scenes {arguments.scenes}",
        text,
    )


if __name__ == "__main__":
    main()
