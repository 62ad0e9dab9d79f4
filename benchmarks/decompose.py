"""Finding the objects of a picture: toybox scenes with true masks, by true boxes and by the prompt
alone, with and without snapping to cells of one colour and choice by phrases.

Run: python benchmarks/decompose.py [--scenes 40] [--fresh 60]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from compose import Truth, scenes
from tables import interval, publish, resampled, table
from worlds import add_world, world_at_hand

from threestudio_like.engine.errors import InputError
from threestudio_like.priors.segmentation.automatic import bounds, candidates, everything
from threestudio_like.priors.segmentation.segment_anything import load_segmenter
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter
from threestudio_like.systems.scene.instances import phrase_scores
from threestudio_like.systems.scene.parts import Part, apart, mask_box
from threestudio_like.systems.scene.prompt import SceneText
from threestudio_like.systems.scene.segmentation import (
    DecomposeConfig,
    by_boxes,
    by_itself,
    cells_of,
    stands_out,
)
from threestudio_like.toybox.words import Phrase


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(int((one | two).sum()), 1))


def assigned(truth: Truth, config: DecomposeConfig) -> list[np.ndarray] | None:
    """Without a choice by phrases: what the segmenter takes for objects, each phrase to the mask
    that it fits best."""
    from scipy.optimize import linear_sum_assignment

    from threestudio_like.priors.clip import load_clip

    solid = BorderSegmenter().mask(truth.picture) > 0.5
    found = everything(
        load_segmenter(config.segmenter),
        truth.picture,
        config.automatic,
        solid,
        cells_of(truth.picture, config),
    )
    masks = [m for m in found if stands_out(truth.picture, m)]
    if len(masks) < len(truth.seen):
        return None
    parts = [Part("", m.astype(np.float32), mask_box(m)) for m in masks]
    rows, columns = linear_sum_assignment(
        -phrase_scores(truth.picture, parts, truth.text.objects, load_clip(config.clip))
    )
    chosen = [parts[int(r)] for r in rows[np.argsort(columns)]]
    return [p.mask > 0.5 for p in apart(chosen)]


def by_prompt(truth: Truth, config: DecomposeConfig) -> list[np.ndarray]:
    """As `compose` finds them."""
    return [p.mask > 0.5 for p in by_itself(truth.picture, truth.text, config)[0]]


def boxed(truth: Truth, config: DecomposeConfig) -> list[np.ndarray] | None:
    """By the boxes of what is visible; None where nothing of a thing is."""
    if not all((s.mask > 0.5).any() for s in truth.seen):
        return None
    given = np.stack([bounds(s.mask > 0.5) for s in truth.seen]).astype(float)
    parts = by_boxes(
        truth.picture,
        given,
        truth.text,
        load_segmenter(config.segmenter),
        cells_of(truth.picture, config),
    )
    return [p.mask > 0.5 for p in parts]


FRESH = 7001
"""Of the scenes that nothing was chosen on."""


def anything(truth: Truth, config: DecomposeConfig) -> list[np.ndarray] | None:
    """The floor: candidates by lot."""
    solid = BorderSegmenter().mask(truth.picture) > 0.5
    masks, _ = candidates(
        load_segmenter(config.segmenter),
        truth.picture,
        config.named,
        foreground=solid,
        cells=cells_of(truth.picture, config),
    )
    if len(masks) < len(truth.seen):
        return None
    rng = np.random.Generator(np.random.Philox(key=len(masks)))
    return [masks[k] for k in rng.permutation(len(masks))[: len(truth.seen)]]


SNAPPED = DecomposeConfig()
PLAIN = replace(SNAPPED, snap="never")
WAYS: dict[str, tuple[Callable[[Truth, DecomposeConfig], Any], DecomposeConfig]] = {
    "true boxes, the segmenter's own masks": (boxed, PLAIN),
    "true boxes, snapped (default)": (boxed, SNAPPED),
    "the prompt: segmenter's objects, each phrase its best": (assigned, PLAIN),
    "the same, snapped": (assigned, SNAPPED),
    "the prompt chooses, not snapped": (by_prompt, PLAIN),
    "the prompt chooses, snapped (default)": (by_prompt, SNAPPED),
    "floor: candidates by lot": (anything, SNAPPED),
}


def measured(truths: dict[int, Truth], world: str) -> list[dict[str, Any]]:
    """A line for every scene and way: the IoU of each object, 0 where the picture is refused."""
    lines = []
    for name, (find, config) in WAYS.items():
        for number, truth in truths.items():
            began = time.process_time()
            try:
                found = find(truth, config)
            except InputError:
                found = None
            masks = found or [np.zeros_like(s.mask, bool) for s in truth.seen]
            lines.append(
                {
                    "scenes": world,
                    "scene": number,
                    "way": name,
                    "refused": found is None,
                    "iou": [round(iou(m, s.mask > 0.5), 4) for m, s in zip(masks, truth.seen)],
                    "seconds": round(time.process_time() - began, 3),
                }
            )
        print(world, name, flush=True)
    return lines


def row_of(lines: list[dict[str, Any]], name: str) -> list[Any]:
    """A row of the table; intervals are over scenes, whose objects stay together."""
    mine = [line for line in lines if line["way"] == name]

    def mean(drawn: np.ndarray) -> float:
        return float(np.mean([v for k in drawn for v in mine[k]["iou"]]))

    low, high = resampled(mean, len(mine))
    every = np.arange(len(mine))
    above = float(np.mean([v > 0.6 for line in mine for v in line["iou"]]))
    refused = sum(line["refused"] for line in mine)
    spent = float(np.median([line["seconds"] for line in mine]))
    return [name, f"{mean(every):.3f} ({low:.3f} to {high:.3f})", above, refused, spent]


SEEN = 120
"""Pixels from which a thing is seen."""
SAID = {
    "as it is": (),
    "with another colour": ("colour",),
    "with another thing": ("category",),
    "with another thing in another colour": ("colour", "category"),
}


def misnamed(truth: Truth, number: int, changed: tuple[str, ...]) -> SceneText:
    """What a scene's prompt says when one of its things is said to be what is not in the picture;
    in words that nothing of it has."""
    words = truth.scene.words
    rng = np.random.Generator(np.random.Philox(key=[FRESH, number]))
    text = truth.text
    which = int(rng.integers(len(text.objects)))
    asked = words.parse(text.objects[which])[0]
    there = [words.parse(o)[0] for o in text.objects]
    colours = sorted(set(words.colours) - {p.colour for p in there})
    kinds = sorted(set(words.categories) - {p.category for p in there})
    drawn = {"colour": str(rng.choice(colours)), "category": str(rng.choice(kinds))}
    if "category" in changed:
        asked = Phrase(drawn["category"], asked.colour)
    if "colour" in changed:
        asked = replace(asked, colour=drawn["colour"])
    objects = list(text.objects)
    objects[which] = words.describe(asked)
    return replace(text, objects=objects)


def answered(truths: dict[int, Truth]) -> tuple[str, list[dict[str, Any]]]:
    """What is said where one of the named things is not there, as a table, and its lines."""
    lines = []
    for number, truth in truths.items():
        if min(s.mask.sum() for s in truth.seen) < SEEN:
            continue
        for said, changed in SAID.items():
            text = misnamed(truth, number, changed)
            try:
                notes = by_itself(truth.picture, text, SNAPPED)[1]
                answer = "doubted" if any("is doubtful" in n for n in notes) else "taken"
            except InputError:
                answer = "refused"
            lines.append({"prompt": said, "scene": number, "answer": answer})
    rows = []
    for said in SAID:
        mine = [line["answer"] for line in lines if line["prompt"] == said]
        rows.append([said, len(mine)])
        for answer in ("refused", "doubted", "taken"):
            held = [float(one == answer) for one in mine]
            low, high = interval(held)
            rows[-1].append(f"{np.mean(held):.2f} ({low:.2f} to {high:.2f})")
    header = ["the prompt names one thing", "pictures", "refused", "made, and said to be doubtful"]
    return table([*header, "made without a word"], rows), lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--fresh", type=int, default=60)
    add_world(parser)
    arguments = parser.parse_args()
    world = world_at_hand()
    groups = {
        f"{arguments.scenes} scenes of the benchmark of `compose`, on which settings were chosen; "
        "those with an object of under 120 visible pixels are left out": {
            n: Truth.of(n) for n in scenes(arguments.scenes)
        },
        f"{arguments.fresh} others (seed {FRESH}), on which nothing was chosen; none is left out": {
            n: Truth(world.draw_layout(FRESH, n, "test")) for n in range(arguments.fresh)
        },
    }
    text = (
        "IoU with what is visible of the right object, mean over objects (those of a refused "
        "picture count 0) with the 95 % interval over scenes; above 0.6; pictures that are "
        "refused; CPU seconds a picture (median).\n\n"
    )
    lines: list[dict[str, Any]] = []
    for name, truths in groups.items():
        own = measured(truths, name.split(",")[0])
        objects = sum(len(t.seen) for t in truths.values())
        header = ["objects by", "IoU", "above 0.6", "pictures refused", "CPU seconds"]
        text += f"{name}: {objects} objects.\n\n"
        text += table(header, [row_of(own, way) for way in WAYS]) + "\n\n"
        lines += own
    answers, told = answered(truths)
    text += (
        f"Prompts that name what is not there, on those of the {arguments.fresh} others in which "
        f"{SEEN} pixels or more of every thing are seen: share of pictures that are refused, that "
        "are made with a line that says what is doubtful, and made without one.\n\n" + answers
    )
    lines += told
    publish(
        "decompose",
        "Finding the objects of a picture",
        f"python benchmarks/decompose.py --scenes {arguments.scenes} --fresh {arguments.fresh}",
        text.rstrip(),
        samples=lines,
    )


if __name__ == "__main__":
    main()
