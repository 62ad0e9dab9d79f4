"""Finding the objects of a picture: toybox scenes with true masks, by true boxes and by the prompt
alone, with and without snapping to cells of one colour and choice by phrases.

Run: python benchmarks/decompose.py [--scenes 60]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from compose import Truth, scenes
from tables import publish, table
from worlds import add_world

from threestudio_like.engine.errors import InputError
from threestudio_like.priors.segmentation.automatic import bounds, everything
from threestudio_like.priors.segmentation.segment_anything import load_segmenter
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter
from threestudio_like.systems.scene.instances import Part, apart, mask_box, phrase_scores
from threestudio_like.systems.scene.segmentation import (
    DecomposeConfig,
    by_boxes,
    by_itself,
    cells_of,
    stands_out,
)


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


def by_prompt(truth: Truth, config: DecomposeConfig) -> list[np.ndarray] | None:
    """As `compose` finds them."""
    try:
        return [p.mask > 0.5 for p in by_itself(truth.picture, truth.text, config)[0]]
    except InputError:
        return None


def boxed(truth: Truth, config: DecomposeConfig) -> list[np.ndarray]:
    """By the boxes of what is visible."""
    given = np.stack([bounds(s.mask > 0.5) for s in truth.seen]).astype(float)
    parts = by_boxes(
        truth.picture,
        given,
        truth.text,
        load_segmenter(config.segmenter),
        cells_of(truth.picture, config),
    )
    return [p.mask > 0.5 for p in parts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=60)
    add_world(parser)
    arguments = parser.parse_args()
    snapped = DecomposeConfig()
    plain = replace(snapped, snap="never")
    ways = {
        "true boxes, the segmenter's own masks": (boxed, plain),
        "true boxes, snapped (default)": (boxed, snapped),
        "the prompt: segmenter's objects, each phrase its best": (assigned, plain),
        "the same, snapped": (assigned, snapped),
        "the prompt chooses, not snapped": (by_prompt, plain),
        "the prompt chooses, snapped (default)": (by_prompt, snapped),
    }
    truths = [Truth.of(n) for n in scenes(arguments.scenes)]
    rows = []
    for name, (find, config) in ways.items():
        scores: list[float] = []
        refused, began = 0, time.perf_counter()
        for truth in truths:
            found = find(truth, config)
            refused += found is None
            masks = found or [np.zeros_like(s.mask, bool) for s in truth.seen]
            scores += [iou(m, s.mask > 0.5) for m, s in zip(masks, truth.seen)]
        right = float(np.mean(np.array(scores) > 0.6))
        rows.append(
            [
                name,
                float(np.mean(scores)),
                right,
                refused,
                (time.perf_counter() - began) / len(truths),
            ]
        )
        print(rows[-1], flush=True)
    objects = sum(len(t.seen) for t in truths)
    text = (
        f"{len(truths)} scenes, {objects} objects, IoU with what is visible of the right "
        "object (nothing found counts 0).\n\n"
    )
    text += table(["objects by", "IoU", "above 0.6", "pictures refused", "seconds a picture"], rows)
    publish(
        "decompose",
        "Finding the objects of a picture",
        f"python benchmarks/decompose.py --scenes {arguments.scenes}",
        text,
    )


if __name__ == "__main__":
    main()
