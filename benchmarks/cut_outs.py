"""How well an object is cut out of photographic clutter: composites of known alpha, half of them of
the toybox's test set and half of the second world, by the border's colours alone, by them and a
graph cut, and by the embedded network with both.

Run: python benchmarks/cut_outs.py [--pictures 100]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from clutter import WALLS, Composite, composites
from tables import publish, table
from worlds import add_world

from threestudio_like.priors.segmentation.automatic import bounds
from threestudio_like.priors.segmentation.cut_out import SURE, CutOutSegmenter
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter, Segmenter

DEFAULT = "the same and the embedded network (default)"
POOR = 0.75
WAYS: dict[str, Segmenter] = {
    "the border's colours (before)": BorderSegmenter(),
    "the border's colours and a graph cut": CutOutSegmenter(network=""),
    DEFAULT: CutOutSegmenter(),
}
BOXED = "the default with the true box (--box)"


def iou(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((one & two).sum() / max(int((one | two).sum()), 1))


def measured(some: list[Composite]) -> dict[str, np.ndarray]:
    """For every way (N, 4): IoU, mean absolute error of alpha, seconds, trust."""
    rows: dict[str, list[list[float]]] = {name: [] for name in [*WAYS, BOXED]}
    for one in some:
        truth = one.alpha > 0.5
        for name in rows:
            began = time.perf_counter()
            trust = float("nan")
            if name == BOXED:
                alpha = CutOutSegmenter().inside(one.picture, bounds(truth))
            else:
                alpha, trust = WAYS[name].found(one.picture)
            seconds = time.perf_counter() - began
            error = float(np.abs(alpha - one.alpha).mean())
            rows[name].append([iou(alpha > 0.5, truth), error, seconds, trust])
    return {name: np.array(values) for name, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    add_world(parser)
    count = parser.parse_args().pictures
    some = composites(count)
    found = measured(some)
    rows = []
    for name, values in found.items():
        ious = np.sort(values[:, 0])
        worst = ious[: max(1, count // 10)]
        rows.append(
            [
                name,
                float(ious.mean()),
                float(np.median(ious)),
                float(worst.mean()),
                float((ious >= 0.8).mean()),
                *(float(v) for v in values[:, 1:3].mean(0)),
            ]
        )
    head = ["cut out by", "IoU", "median", "worst tenth", "above 0.8", "error of alpha", "seconds"]
    kinds = [
        [name, *(float(values[[c.kind == k for c in some], 0].mean()) for k in WALLS)]
        for name, values in found.items()
    ]
    told = found[DEFAULT][:, 3] < SURE
    poor = found[DEFAULT][:, 0] < POOR
    groups = {"sure": ~told, "told unsure": told}
    sure = [
        [
            name,
            int(which.sum()),
            float(found[DEFAULT][which, 0].mean()) if which.any() else "-",
            int(poor[which].sum()),
        ]
        for name, which in groups.items()
    ]
    body = (
        f"{count} composites of 256 pixels. Goal: 0.90 in the mean, 0.75 in the worst tenth.\n\n"
        f"{table(head, rows)}\n\nIoU by what lies behind (things: a heap of boxes and balls, some "
        f"as sharp as the object, which nothing but knowledge of objects tells apart):\n\n"
        f"{table(['cut out by', *WALLS], kinds)}\n\nThe default says when it is not sure:\n\n"
        f"{table(['', 'composites', 'IoU', f'of them below {POOR}'], sure)}"
    )
    publish(
        "cut_outs",
        "Cutting one object out",
        f"python benchmarks/cut_outs.py --pictures {count}",
        body,
    )


if __name__ == "__main__":
    main()
