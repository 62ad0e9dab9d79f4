"""Automatic segmentation of everything in a picture.

A promptable segmenter is prompted with a grid of points, and masks that are certain, stable and
distinct are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.schema.bounds import Share, Size
from .colour_cells import ColourCells
from .prompts import Prompts, PromptSegmenter


@dataclass(frozen=True, kw_only=True)
class AutomaticConfig:
    """How everything in a picture is segmented: prompts at a grid of points, a second prompt with
    the box of each mask, and then a selection of the certain, stable and distinct masks."""

    grid: Size = 20
    """Number of points along an edge."""
    refine: bool = True
    """Prompt again with the box of every mask, because a box means one object, while a point may
    mean a part or the whole."""
    first: Share = 0.3
    """With `refine`: smallest predicted IoU of a mask whose box is used as a prompt."""
    score: Share = 0.7
    """Smallest IoU that the model predicts for a mask."""
    stability: Share = 0.75
    """Smallest IoU between the masks above `offset` and above -`offset`."""
    offset: float = 1.0
    overlap: Share = 0.6
    """IoU above which two masks are the same object."""
    smallest: Share = 0.004
    """Smallest area of a mask, as a share of the picture."""
    border: Share = 0.45
    """A mask that covers more than this share of the picture's border is background."""
    part: Share = 0.85
    """A mask of which this share lies inside a larger one is a part of it, and one of which this
    share is covered by smaller ones is several objects at once."""


def candidates(
    segmenter: PromptSegmenter,
    picture: np.ndarray,
    config: AutomaticConfig | None = None,
    foreground: np.ndarray | None = None,
    cells: ColourCells | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Candidate masks (H, W) bool of a picture (H, W, 3) in [0, 1], with repetitions, and the IoU
    that the model predicts for each.

    Args:
        foreground: (H, W) bool; only its points are used as prompts, and without cells the masks
            are cut to it.
        cells: the picture's cells, for a coarse segmenter: every mask is snapped to them and its
            box is used as a prompt once more. The boxes of the cells are prompts too.
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
    for logits, score in _by_points(
        segmenter, segmenter.look(picture), points, config=config, cells=cells
    ):
        high, low = (logits > config.offset).sum((1, 2)), (logits > -config.offset).sum((1, 2))
        steady = high / np.maximum(low, 1) >= config.stability
        for n in np.flatnonzero(steady & (score >= config.score)):
            mask = (
                logits[n] > 0
                if cells is None
                else cells.snap(probability(logits[n : n + 1]))[0] > 0.5
            )
            # Cells follow the edge better than a foreground that misses what has the colour of the
            # wall.
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
    """Masks (N, H, W) bool of the objects in a picture (H, W, 3) in [0, 1], the most certain first.
    The arguments are those of `candidates`.

    Example:
        >>> masks = everything(load_segmenter("toybox"), picture)      # doctest: +SKIP
    """
    config = config or AutomaticConfig()
    masks, scores = candidates(segmenter, picture, config, foreground=foreground, cells=cells)
    return distinct(masks, scores, config) if masks else np.zeros((0, *picture.shape[:2]), bool)


def _by_points(
    segmenter: PromptSegmenter,
    seen: Any,
    points: np.ndarray,
    config: AutomaticConfig,
    cells: ColourCells | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks for points (P, 1, 2), in batches: logits (N, H, W) and scores (N,)."""
    more = [] if cells is None else list(cells.boxes(config.smallest))
    for batch in np.array_split(points, max(1, len(points) // 32)):
        answers = segmenter.masks(
            seen, Prompts(points=batch, labels=np.ones(batch.shape[:2], np.int64)), several=True
        )
        logits, score = (
            answers.logits.reshape(-1, *answers.logits.shape[2:]),
            answers.scores.reshape(-1),
        )
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
    """Masks (N, H, W) without repetitions, parts of other masks, and unions of other masks, the
    most certain first."""
    kept: list[np.ndarray] = []
    for n in np.argsort(-np.asarray(scores), kind="stable"):
        if all((masks[n] & k).sum() < config.overlap * (masks[n] | k).sum() for k in kept):
            kept.append(masks[n])
    # If several smaller masks fill a mask, the smaller ones are the objects; if a single mask lies
    # inside it, the larger one is.
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
    """The bounding box (4,) of a mask (H, W) bool that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def border_share(mask: np.ndarray) -> float:
    """Share of the picture's border that a mask (H, W) covers."""
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(edge.mean())
