"""What stands out of a picture: what is unlike regions that reach along its border (robust
background detection, Zhu et al. 2014)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

COLOUR = 10.0
"""Difference of colours, in L*a*b*, that is the scale of a border between regions."""
NEAR = 0.25
"""Share of the picture over which regions are compared."""


def regions(lab: np.ndarray, count: int = 220) -> np.ndarray:
    """Numbers (H, W) of small regions of one colour, from 0."""
    from skimage.segmentation import slic

    labels = slic(lab / 100, n_segments=count, compactness=0.12, start_label=0, channel_axis=-1)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def saliency(lab: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """How much each pixel (H, W) stands out, in [0, 1].

    Args:
        lab: (H, W, 3) L*a*b*. labels: of regions.

    Example:
        >>> lab = np.full((48, 48, 3), (60.0, 0.0, 0.0))
        >>> lab[16:32, 16:32] = (50.0, 60.0, 30.0)
        >>> found = saliency(lab)
        >>> bool(found[24, 24] > 0.8), bool(found[4, 4] < 0.2)
        (True, True)
    """
    labels = regions(lab) if labels is None else labels
    height, width = labels.shape
    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=count).astype(float)
    y, x = np.mgrid[0:height, 0:width]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(labels.ravel(), weights=values.ravel(), minlength=count) / area

    colours = np.stack([mean(lab[..., c]) for c in range(3)], 1)
    places = np.stack([mean(x / max(height, width)), mean(y / max(height, width))], 1)
    unlike = np.sqrt(((colours[:, None] - colours[None]) ** 2).sum(-1))
    rim = np.zeros(count, bool)
    rim[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    pairs = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1),
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    if not len(pairs):
        return np.zeros(labels.shape)
    steps = unlike[pairs[:, 0], pairs[:, 1]]
    # Small steps within one surface are no border: their usual size counts nothing.
    small = _usual_step(steps, pairs, count)
    along = _rim_pairs(rim)
    ends = np.concatenate([pairs, along])
    lengths = np.concatenate([steps, unlike[along[:, 0], along[:, 1]]])
    lengths = np.maximum(lengths - small, 0) + 1e-6
    graph = coo_matrix((lengths, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    within = np.exp(-((dijkstra(graph, directed=False)) ** 2) / (2 * COLOUR**2))
    reach = (within * rim[None]).sum(1) / np.sqrt(within.sum(1))
    behind = 1 - np.exp(-(reach**2) / 2)
    near = np.exp(-((places[:, None] - places[None]) ** 2).sum(-1) / (2 * NEAR**2))
    contrast = (unlike * near * behind[None] * (area / area.mean())[None]).sum(1)
    contrast = (contrast - contrast.min()) / max(float(np.ptp(contrast)), 1e-9)
    alike = np.exp(-(steps**2) / (2 * COLOUR**2)) + 0.1
    solved = np.diag(behind + contrast + 1e-6)
    np.add.at(solved, (pairs[:, 0], pairs[:, 0]), alike)
    np.add.at(solved, (pairs[:, 1], pairs[:, 1]), alike)
    np.add.at(solved, (pairs[:, 0], pairs[:, 1]), -alike)
    np.add.at(solved, (pairs[:, 1], pairs[:, 0]), -alike)
    found = np.linalg.solve(solved, contrast)
    return found.clip(0, 1)[labels]


def _usual_step(steps: np.ndarray, pairs: np.ndarray, count: int) -> float:
    """The mean of every region's smallest step to a neighbour."""
    least = np.full(count, np.inf)
    np.minimum.at(least, pairs[:, 0], steps)
    np.minimum.at(least, pairs[:, 1], steps)
    return float(least[np.isfinite(least)].mean())


def _rim_pairs(rim: np.ndarray) -> np.ndarray:
    """Regions along the border are neighbours of each other: pairs (P, 2)."""
    numbers = np.flatnonzero(rim)
    one, two = np.triu_indices(len(numbers), 1)
    return np.stack([numbers[one], numbers[two]], 1)
