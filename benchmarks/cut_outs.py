"""How well an object is cut out of photographic clutter: composites of known alpha, half of them of
the toybox's test set and half of the second world, by the border's colours alone, by them and a
graph cut, with the promptable network too, by the salient object network alone, and by the default,
which begins a graph cut with it and the border's colours.

Neither the objects of the second world nor these backgrounds are in any training. How the network
and the colours share, and the limit of trust, were chosen on composites of other seeds.

Run: python benchmarks/cut_outs.py [--pictures 100]
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
from clutter import WALLS, Composite, composites
from tables import ROOT, interval, publish, table
from worlds import add_world

from threestudio_like.priors.networks.salient import embedded_salient
from threestudio_like.priors.segmentation.automatic import bounds
from threestudio_like.priors.segmentation.cut_out import SURE, CutOutSegmenter
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter, Segmenter


class Alone(Segmenter):
    """What the salient object network finds, as it stands."""

    name = "the salient object network"

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`."""
        return embedded_salient().probability(picture)


BEFORE = "the same and the promptable network (before)"
DEFAULT = "the salient object network, the border's colours and a graph cut (default)"
POOR = 0.75
WAYS: dict[str, Segmenter] = {
    "the border's colours": BorderSegmenter(),
    "the border's colours and a graph cut": CutOutSegmenter(network="", salient=False),
    BEFORE: CutOutSegmenter(salient=False),
    "the salient object network alone": Alone(),
    DEFAULT: CutOutSegmenter(),
}
SOURCES = ("toybox", "second world")
"""Where even and odd composites' objects are of."""
SHOWN = 6
"""Columns of the sheet."""
BOXED = "the default with the true box (--box)"


def iou(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((one & two).sum() / max(int((one | two).sum()), 1))


def measured(some: list[Composite]) -> list[dict[str, Any]]:
    """A line for every composite and way: IoU, mean absolute error of alpha, CPU seconds, trust."""
    lines: list[dict[str, Any]] = []
    for number, one in enumerate(some):
        truth = one.alpha > 0.5
        for way in [*WAYS, BOXED]:
            began, trust = time.process_time(), None
            if way == BOXED:
                alpha = CutOutSegmenter().inside(one.picture, bounds(truth))
            else:
                alpha, trust = WAYS[way].found(one.picture)
            spent = time.process_time() - began
            lines.append(
                {
                    "composite": number,
                    "behind": one.kind,
                    "world": SOURCES[number % 2],
                    "way": way,
                    "IoU": iou(alpha > 0.5, truth),
                    "error of alpha": float(np.abs(alpha - one.alpha).mean()),
                    "CPU seconds": spent,
                    "trust": None if trust is None or not math.isfinite(trust) else trust,
                }
            )
    return lines


def sheet(some: list[Composite], lines: list[dict[str, Any]]) -> None:
    """docs/pictures/cut-outs.jpg: composites, and below each what was cut out before and now; the
    first of each background, and of those that went worst."""
    from PIL import Image

    now = {x["composite"]: x["IoU"] for x in lines if x["way"] == DEFAULT}
    first = [next(n for n, c in enumerate(some) if c.kind == kind) for kind in WALLS]
    worst = sorted(set(now) - set(first), key=lambda n: now[n])[: 2 * SHOWN - len(first)]
    columns = []
    for number in [*first, *worst]:
        picture = some[number].picture
        cells = [picture]
        for way in (BEFORE, DEFAULT):
            alpha = WAYS[way].mask(picture)[..., None]
            cells.append(picture * alpha + 0.96 * (1 - alpha))
        columns.append(np.concatenate(cells))
    halves = [np.concatenate(columns[k : k + SHOWN], 1) for k in (0, SHOWN)]
    pixels = np.rint(np.concatenate(halves).clip(0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    image.save(ROOT / "docs" / "pictures" / "cut-outs.jpg", quality=80)


def rows_of(lines: list[dict[str, Any]]) -> list[list[Any]]:
    """A row for every way."""
    rows: list[list[Any]] = []
    for way in [*WAYS, BOXED]:
        mine = [x for x in lines if x["way"] == way]
        values = np.array([x["IoU"] for x in mine])
        low, high = interval(values.tolist())
        worst = np.sort(values)[: max(1, len(values) // 10)]
        rows.append(
            [
                way,
                f"{values.mean():.3f} [{low:.3f}, {high:.3f}]",
                float(np.median(values)),
                float(worst.mean()),
                float((values >= 0.8).mean()),
                *(float(np.mean([x["IoU"] for x in mine if x["world"] == w])) for w in SOURCES),
                *(float(np.mean([x[k] for x in mine])) for k in ("error of alpha", "CPU seconds")),
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    add_world(parser)
    count = parser.parse_args().pictures
    some = composites(count)
    lines = measured(some)
    sheet(some, lines)
    head = ["cut out by", "IoU", "median", "worst tenth", "above 0.8", *SOURCES]
    head += ["error of alpha", "CPU seconds"]
    kinds = [
        [
            way,
            *(
                float(np.mean([x["IoU"] for x in lines if x["way"] == way and x["behind"] == k]))
                for k in WALLS
            ),
        ]
        for way in [*WAYS, BOXED]
    ]
    mine = [x for x in lines if x["way"] == DEFAULT]
    told = [x for x in mine if x["trust"] is not None and x["trust"] < SURE]
    groups = {"sure": [x for x in mine if x not in told], "told unsure": told}
    sure = [
        [
            name,
            len(group),
            float(np.mean([x["IoU"] for x in group])) if group else "-",
            sum(x["IoU"] < POOR for x in group),
        ]
        for name, group in groups.items()
    ]
    body = (
        f"{count} composites of 256 pixels. Goal: 0.90 in the mean, 0.75 in the worst tenth.\n\n"
        f"{table(head, rows_of(lines))}\n\nIoU by what lies behind (things: a heap of boxes and "
        f"balls, some as sharp as the object, which nothing but knowledge of objects tells apart):"
        f"\n\n{table(['cut out by', *WALLS], kinds)}\n\nThe default says when it is not sure (an "
        f"IoU with the promptable network's answer below {SURE}):\n\n"
        f"{table(['', 'composites', 'IoU', f'of them below {POOR}'], sure)}\n\n"
        "Composites, below each what was cut out before and what is now: the first of every "
        "background, then those that went worst.\n\n"
        "![composites and what was cut out of them](../pictures/cut-outs.jpg)"
    )
    publish(
        "cut_outs",
        "Cutting one object out",
        f"python benchmarks/cut_outs.py --pictures {count}",
        body,
        lines,
    )


if __name__ == "__main__":
    main()
