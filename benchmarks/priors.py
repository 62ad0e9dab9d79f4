"""A text-to-image prior itself: samples of every category and of all kinds of words, judged; the
normals that it draws; and what its autoencoder leaves of pictures of every pattern.

The prior is the embedded one, or that of a folder, with a domain of normals or without.

Run: python benchmarks/priors.py [--prior FOLDER] [--size 128] [--world fifty] [--colours 3]
     python benchmarks/priors.py --quick     a few prompts of everything, printed and not published
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from prior_normals import TIMES, against_nearest, behind_noise
from prior_samples import COLUMNS, VIEWS, Figures, Judges, Sampler, mean
from second_world.judge import SecondJudge, folder_of
from tables import ROOT, interval, publish, table
from worlds import Asked, add_world, asked, runs, world_at_hand

from threestudio_like.engine.errors import ModelError
from threestudio_like.metrics.judge import Judge, PatternJudge
from threestudio_like.priors.clip import ClipPrior
from threestudio_like.priors.diffusion import DiffusionPrior
from threestudio_like.priors.registry import embedded_folder, resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.toybox.dataset import Groups, draw_groups, normal_picture
from threestudio_like.toybox.edition import Edition
from threestudio_like.toybox.editions import edition_of
from threestudio_like.toybox.render import render, view_projection
from threestudio_like.training.judge import judge_accuracy
from threestudio_like.training.text_to_image.vae import reconstruction_psnr

PICTURES = ROOT / "docs" / "pictures"
FRAME = {
    "seeds": "the prompt's number",
    "interval": "normals: 95 % bootstrap over prompts; other rows none",
    "floor": "normals: all face the camera; other rows not measured",
    "ceiling": "the judge on true pictures; normals: the nearest other true object, and what the "
    "autoencoder leaves of true ones",
    "truth": "words by the prompt; normals: the nearest true object is chosen by its silhouettes",
    "flatters": "the judges have learnt from the same world, the second one also from another; "
    "normals: the nearest of many, a pixel within both outlines",
    "weights": "embedded, or those of the folder that the command names",
}


@dataclass(frozen=True)
class Line:
    """A judged sample: its prompt, its figures, and its pictures (4, S, S, 3)."""

    asked: Asked
    figures: Figures
    pictures: torch.Tensor


def judges_of(world: Edition) -> Judges:
    """The judges that know a world, saying which are missing."""
    folder, second = embedded_folder("judge"), None
    knows = edition_of(folder) is world
    if not knows:
        print(f"the embedded judge knows world {edition_of(folder).name}, not {world.name}")
    try:
        second = SecondJudge.load(folder_of(world))
    except ModelError as error:
        print(f"not judged by the second world's judge: {error.line()}")
    own = Judge.load(folder) if knows else None
    return Judges(own, PatternJudge.load(folder) if knows else None, second)


def plain(world: Edition, count: int) -> list[Asked]:
    """Every category in its usual shape in `count` colours, those that no training picture shows
    it in first."""
    words, out = world.vocabulary, []
    for category in words.categories:
        held_out = words.held_out_colours[category]
        for colour in [*held_out, *(c for c in words.colours if c not in held_out)][:count]:
            phrase = words.plain(category, colour)
            out.append(Asked(words.describe(phrase), "every category", (phrase,)))
    return out


def sampled(sampler: Sampler, judges: Judges, prompts: Iterable[Asked]) -> list[Line]:
    """Judged samples of prompts; the seed is the prompt's number."""
    out = []
    for seed, one in enumerate(prompts):
        pictures = sampler(one.text, 1000 + seed)
        out.append(Line(one, judges(pictures, one), pictures))
    return out


def clip_precision(lines: list[Line], world: Edition) -> float | str:
    """Share of views whose nearest caption of all categories and colours is the right one; "-" if
    the embedded CLIP knows another world."""
    folder = embedded_folder("clip")
    if edition_of(folder) is not world:
        return "-"
    clip, captions = ClipPrior(folder), world.captions()
    texts, hits = clip.embed_texts(captions), []
    for line in lines:
        nearest = (clip.embed_images(line.pictures) @ texts.t()).argmax(1)
        hits.append(float((nearest == captions.index(line.asked.text)).float().mean()))
    return float(np.mean(hits))


def sheet(pictures: list[torch.Tensor], path: Path) -> str:
    """Save samples of four views as a sheet of four columns; its line of Markdown."""
    rows = [torch.cat(list(p), 1) for p in pictures]
    rows += [torch.ones_like(rows[0])] * (-len(rows) % 4)
    whole = torch.cat([torch.cat(rows[i::4], 0) for i in range(4)], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((whole.clamp(0, 1) * 255).byte().numpy())
    image.quantize(192).save(path, optimize=True)
    return f"![samples](../pictures/{path.name})"


def pattern_groups(world: Edition, word: str, count: int, size: int) -> Groups:
    """Pictures of colours and normals of `count` held-out objects that all have one pattern; of a
    material, of categories that are made of it."""
    material = world.patterns[word].natural is not None
    able = [c for c in world.categories if not material or word in c.materials]
    images, shapes = np.empty((2, count, VIEWS, size, size, 3), np.uint8)
    captions = []
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(key=[6401, n]))
        category = able[n * len(able) // count if count < len(able) else n % len(able)]
        phrase = world.draw_phrase(rng, "validation", category.name)
        obj = world.build(replace(phrase, pattern=word), rng, "validation")
        turn, level = rng.uniform(0, 2 * np.pi), np.float32(rng.uniform(0.25, 1.0))
        up = float(np.deg2rad(rng.uniform(-10, 45)))
        matrices = np.stack([view_projection(turn + k * np.pi / 2, up) for k in range(VIEWS)])
        views = render(obj, matrices, size, np.full((VIEWS, 3), level, np.float32))
        images[n] = np.rint(views.image * 255)
        shapes[n] = np.rint(normal_picture(views, float(level)) * 255)
        captions.append(obj.caption)
    zeros = np.zeros((count, VIEWS), np.float32)
    return Groups(
        images,
        zeros,
        zeros[:, 0],
        background=zeros[:, 0],
        captions=captions,
        category=[],
        colour=[],
        normals=shapes,
    )


def autoencoder(prior: StableDiffusionPrior, world: Edition, count: int) -> str:
    """PSNR in the object's box by pattern, of colours and, where it has learnt them, of normals."""
    rows = []
    sizes = (64, 128) if prior.facts.larger else (64,)
    for word in world.patterns:
        row: list[Any] = [word]
        for size in sizes:
            groups = pattern_groups(world, word, count, size)
            for pictures in (groups.images, groups.normals):
                assert pictures is not None
                one = reconstruction_psnr(prior.vae, replace(groups, images=pictures))
                row.append(one["psnr_in_box"])
        rows.append(row)
    names = [f"{kind}, {size} pixels" for size in sizes for kind in ("colours", "normals")]
    return (
        "What the autoencoder leaves: PSNR in dB inside the object's box, "
        f"{VIEWS * count} pictures of held-out objects a row (the goal is 32). Normals have no "
        "pattern: their rows differ by the objects alone.\n\n" + table(["pattern", *names], rows)
    )


def normals(sampler: Sampler, world: Edition, prompts: list[Asked], pool: int, path: Path) -> str:
    """The tables of the normal domain, with their sheet."""
    if "normal" not in sampler.prior.facts.domains:
        return "This prior has no domain of normals."
    single = [p for p in prompts if len(p.phrases) == 1]
    lines, hidden, shown = [], [], []
    for seed, one in enumerate(single):
        figures, pictures = against_nearest(sampler, world, one, 2000 + seed, pool)
        lines.append(figures)
        hidden.append(behind_noise(sampler, world, one, seed))
        shown.append(pictures)
    rows = [
        ["samples against the nearest true object: normals' error, degrees", "error", 8.0],
        ["floor: normals that all face the camera", "facing", "-"],
        ["a true object of the prompt at random, against the same", "floor", "-"],
        ["ceiling: the nearest other true object", "ceiling", "-"],
        ["silhouette IoU with the nearest true object", "silhouette IoU", "-"],
        ["ceiling: of the nearest other true object", "silhouette IoU, ceiling", "-"],
        ["vectors are longer or shorter than 1 by", "length off", 0.0],
    ]
    known = [[label, *_spread(lines, name), goal] for label, name, goal in rows]
    others = [["ceiling: what the autoencoder leaves of true normals", "autoencoder"]]
    others += [[f"what noise at time {t} hides, denoised", f"noise at {t}"] for t in TIMES]
    others += [["floor: normals that all face the camera", "facing"]]
    others += [["another true object of the prompt", "another object"]]
    known += [[label, *_spread(hidden, name), "-"] for label, name in others]
    return (
        f"Normals of {len(lines)} prompts, four views each, where both are solid, a pixel within "
        f"the edge; the nearest of {pool} true objects by silhouettes "
        "(`benchmarks/prior_normals.py`):\n\n"
        + table(["figure", "mean", "95 % interval", "goal"], known)
        + "\n\n"
        + sheet(shown[:: max(1, len(shown) // 20)][:20], path)
    )


def _spread(lines: list[Figures], name: str) -> list[Any]:
    values = [x[name] for x in lines if math.isfinite(x[name])]
    if not values:
        return ["-", "-"]
    low, high = interval(values)
    return [float(np.mean(values)), f"{low:.3f} to {high:.3f}"]


def by_kind(lines: list[Line]) -> str:
    """What the judges see, by the kind of words that a prompt tries."""
    groups: dict[str, list[Figures]] = defaultdict(list)
    for line in lines:
        groups[line.asked.kind].append(line.figures)
    used = [c for c in COLUMNS if any(c in f for some in groups.values() for f in some)]
    rows = [[kind, len(some), *(mean(some, c) for c in used)] for kind, some in groups.items()]
    return table(["words", "prompts", *used], rows)


def by_category(lines: list[Line]) -> str:
    """Every category in its usual shape, worst first."""
    groups: dict[str, list[Figures]] = defaultdict(list)
    for line in lines:
        groups[line.asked.phrases[0].category].append(line.figures)
    names = ("own: category", "own: colour", "second: category", "second: colour")
    used = [c for c in names if any(c in f for some in groups.values() for f in some)]
    rows = [[category, *(mean(some, c) for c in used)] for category, some in groups.items()]
    rows.sort(key=lambda row: sum(v for v in row[1:] if isinstance(v, float)))
    return table(["category", *used], rows)


def summary(
    lines: list[Line], kinds: list[Line], judges: Judges, world: Edition, vae: Any, count: int
) -> str:
    """The figures that have goals: of every category by the own judge, of all prompts by the second
    one, and of the autoencoder."""
    held = [
        x.figures.get("own: category", math.nan) * x.figures.get("own: colour", math.nan)
        for x in lines
        if x.asked.phrases[0].colour in world.vocabulary.held_out_colours[_category(x)]
    ]
    own = [x.figures for x in lines]
    every = [x.figures for x in (*lines, *kinds)]
    pairs = float(np.mean(held)) if held and math.isfinite(sum(held)) else "-"
    rows: list[list[Any]] = [
        ["samples judged right: category", mean(own, "own: category"), 0.95],
        ["samples judged right: colour", mean(own, "own: colour"), 0.97],
        ["both right, pairs never seen in training", pairs, "-"],
        ["CLIP R-precision of samples", clip_precision(lines, world), "-"],
    ]
    for what in ("category", "colour", "pattern", "part's colour"):
        rows.append([f"all prompts, second judge: {what}", mean(every, f"second: {what}"), 0.95])
    psnr = reconstruction_psnr(vae, draw_groups(1, count, split="validation", world=world.name))
    rows.append(["autoencoder PSNR, whole picture, dB", psnr["psnr"], "-"])
    rows.append(["autoencoder PSNR inside the object's box, dB", psnr["psnr_in_box"], 32.0])
    if judges.own is not None:
        test = draw_groups(78, 2 * count, split="test", world=world.name)
        true = judge_accuracy(judges.own, test)
        for what in ("category", "colour", "view"):
            rows.append([f"judge on true test pictures: {what}", true[what], "-"])
    return table(["figure", "value", "goal"], rows)


def _category(line: Line) -> str:
    return line.asked.phrases[0].category


def prior_of(name: str, size: int) -> tuple[StableDiffusionPrior, DiffusionPrior, Path]:
    """The prior of a folder or name, the same at a size, and its folder."""
    folder = resolve(name)
    prior = StableDiffusionPrior(folder, DiffusersConfig(), name)
    return prior, prior.at_size(size), folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default="toybox", help="a folder, or a name as for --prior")
    parser.add_argument("--size", type=int, default=0, help="pixels, if it has another network")
    add_world(parser)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--colours", type=int, default=0, help="of every category (10, or 3)")
    parser.add_argument("--prompts", type=int, default=60, help="of all kinds of words")
    parser.add_argument("--pool", type=int, default=48, help="true objects beside a sample")
    parser.add_argument("--pictures", type=int, default=32, help="objects of every pattern")
    parser.add_argument("--quick", action="store_true", help="a few of everything; publish nothing")
    a = parser.parse_args()
    first, prior, folder = prior_of(a.prior, a.size)
    world = world_at_hand(folder)
    colours = a.colours or (10 if len(world.categories) <= 20 else 3)
    every, prompts = plain(world, colours), asked(world)[: a.prompts]
    if a.quick:
        every, prompts, a.pool, a.pictures, a.steps = every[::40][:6], prompts[:7], 6, 3, 4
    pictures = runs("priors") if a.quick else PICTURES
    judges, sampler = judges_of(world), Sampler(prior=prior, steps=a.steps)
    lines = sampled(sampler, judges, every)
    kinds = sampled(sampler, judges, prompts)
    shown = [x.pictures for x in lines[:: max(1, len(lines) // 40)][:40]]
    body = (
        summary(lines, kinds, judges, world, first.vae, 10 if a.quick else 100)
        + f"\n\nBy the words that a prompt tries ({VIEWS} joint views, DDIM of {a.steps} steps; "
        f"seeds are the prompts' numbers):\n\n{by_kind([*lines, *kinds])}\n\n"
        + normals(sampler, world, prompts, a.pool, pictures / "samples-normals.png")
        + f"\n\n{autoencoder(first, world, a.pictures)}\n\n"
        + f"Per category, worst first ({colours} colours):\n\n{by_category(lines)}\n\n"
        + sheet(shown, pictures / "samples.png")
    )
    if a.quick:
        print(body)
        return
    command = "python benchmarks/priors.py" + (f" --prior {folder.name}" * (a.prior != "toybox"))
    n = f"{len(every)} prompts of every category, {len(prompts)} of all kinds of words"
    publish("priors", "The embedded priors", command, body, frame={"n": n, **FRAME})


if __name__ == "__main__":
    main()
