"""Everything in a picture: a promptable segmenter is asked about a grid of points, and what is
certain, stable and not found twice is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .colour_cells import ColourCells
from .prompts import Prompts, PromptSegmenter


@dataclass(frozen=True, kw_only=True)
class AutomaticConfig:
    """How everything in a picture is found: a grid of points, each answer asked for again by its
    box, then what is certain, stable and not found twice."""

    grid: int = 20
    """Points along an edge."""
    refine: bool = True
    """Ask again by the box of every answer: a box means one thing, a point may mean a part or a
    whole."""
    first: float = 0.3
    """With `refine`: smallest IoU that the model expects of an answer whose box is asked for."""
    score: float = 0.7
    """Smallest IoU that the model expects of its mask."""
    stability: float = 0.75
    """Smallest IoU of the masks above `offset` and above -`offset`."""
    offset: float = 1.0
    overlap: float = 0.6
    """IoU from which two masks are the same object."""
    smallest: float = 0.004
    """Share of the picture."""
    border: float = 0.45
    """A mask that covers more of the picture's border than this is what stands behind the
    objects."""
    part: float = 0.85
    """A mask of which this share lies within a larger one is a part of it; one of which this share
    is covered by smaller ones is several objects at once."""


def candidates(
    segmenter: PromptSegmenter,
    picture: np.ndarray,
    config: AutomaticConfig | None = None,
    foreground: np.ndarray | None = None,
    cells: ColourCells | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Masks (H, W) bool that a picture (H, W, 3) in [0, 1] may have for objects, with repetitions,
    and the IoU that the model expects of each.

    Args:
        foreground: (H, W) bool; only its points are asked about, and without cells masks are cut to
            it.
        cells: of the picture, for a coarse segmenter: every answer is snapped to them and asked for
            once more by its box; their own boxes are asked about too.
    """
    config = config or AutomaticConfig()
    height, width = picture.shape[:2]
    line = (np.arange(config.grid) + 0.5) / config.grid
    x, y = np.meshgrid(line * width, line * height)
    points = np.stack([x, y], -1).reshape(-1, 1, 2).astype(np.float32)
    if foreground is not None:
        points = points[foreground[points[:, 0, 1].astype(int), points[:, 0, 0].astype(int)]]
    masks: list[np.ndarray] = []
    scores: list[float] = []
    if not len(points):
        return masks, scores
    for logits, score in _by_points(segmenter, segmenter.look(picture), points, config, cells):
        high, low = (logits > config.offset).sum((1, 2)), (logits > -config.offset).sum((1, 2))
        steady = high / np.maximum(low, 1) >= config.stability
        for n in np.flatnonzero(steady & (score >= config.score)):
            mask = (
                logits[n] > 0
                if cells is None
                else cells.snap(probability(logits[n : n + 1]))[0] > 0.5
            )
            # Cells know the edge better than a foreground that misses what is as grey as the wall.
            if foreground is not None and cells is None:
                mask &= foreground
            if mask.mean() >= config.smallest and border_share(mask) <= config.border:
                masks.append(mask)
                scores.append(float(score[n]))
    return masks, scores


def everything(
    segmenter: PromptSegmenter,
    picture: np.ndarray,
    config: AutomaticConfig | None = None,
    foreground: np.ndarray | None = None,
    cells: ColourCells | None = None,
) -> np.ndarray:
    """Masks (N, H, W) bool of the objects of a picture (H, W, 3) in [0, 1], the surest first;
    arguments as of `candidates`.

    Example:
        >>> masks = everything(load_segmenter("toybox"), picture)      # doctest: +SKIP
    """
    config = config or AutomaticConfig()
    masks, scores = candidates(segmenter, picture, config, foreground, cells)
    return distinct(masks, scores, config) if masks else np.zeros((0, *picture.shape[:2]), bool)


def _by_points(
    segmenter: PromptSegmenter,
    seen: Any,
    points: np.ndarray,
    config: AutomaticConfig,
    cells: ColourCells | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Answers to points (P, 1, 2), some at a time: logits (N, H, W), scores (N,)."""
    more = [] if cells is None else list(cells.boxes(config.smallest))
    for some in np.array_split(points, max(1, len(points) // 32)):
        found = segmenter.masks(
            seen, Prompts(points=some, labels=np.ones(some.shape[:2], np.int64)), several=True
        )
        logits, score = found.logits.reshape(-1, *found.logits.shape[2:]), found.scores.reshape(-1)
        if config.refine:
            asked = more + [
                bounds(m)
                for m, s in zip(logits > 0, score)
                if s >= config.first and m.mean() >= config.smallest
            ]
            more = []
            if not asked:
                continue
            logits, score = segmenter.masks(seen, Prompts(boxes=np.stack(asked))).best()
            if cells is not None:
                snapped = [
                    m for m in cells.snap(probability(logits)) > 0.5 if m.mean() >= config.smallest
                ]
                if not snapped:
                    continue
                boxes = np.unique(np.stack([bounds(m) for m in snapped]), axis=0)
                logits, score = segmenter.masks(seen, Prompts(boxes=boxes)).best()
        yield logits, score


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-logits.clip(-30, 30)))


def distinct(masks: list[np.ndarray], scores: list[float], config: AutomaticConfig) -> np.ndarray:
    """Masks (N, H, W) without repetitions, parts of others, and unions of others, the surest
    first."""
    kept: list[np.ndarray] = []
    for n in np.argsort(-np.asarray(scores), kind="stable"):
        if all((masks[n] & k).sum() < config.overlap * (masks[n] | k).sum() for k in kept):
            kept.append(masks[n])
    # Of a mask and several smaller ones that fill it, the smaller ones are the objects; of a mask
    # and one within it, the larger one is.
    whole = []
    for mask in kept:
        inside = [
            k
            for k in kept
            if k is not mask and k.sum() < mask.sum() and (k & mask).sum() >= config.part * k.sum()
        ]
        filled = len(inside) > 1 and (np.any(inside, 0) & mask).sum() >= config.part * mask.sum()
        if not filled:
            whole.append(mask)
    out = [
        m
        for m in whole
        if not any(
            k is not m and k.sum() > m.sum() and (m & k).sum() >= config.part * m.sum()
            for k in whole
        )
    ]
    return np.stack(out) if out else np.zeros((0, *masks[0].shape) if masks else (0, 0, 0), bool)


def bounds(mask: np.ndarray) -> np.ndarray:
    """The box (4,) of a mask (H, W) bool that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def border_share(mask: np.ndarray) -> float:
    """Share of the picture's border that a mask (H, W) covers."""
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(edge.mean())
