"""Cells of one colour (Felzenszwalb and Huttenlocher 2004), to which the masks of a coarse
segmenter are snapped.

A network of 128 pixels knows what belongs together, and the picture shows where it ends.
"""

from __future__ import annotations

import numpy as np

EDGE = 320
"""Edge length in pixels at which cells are computed; larger pictures are scaled down to it."""


class ColourCells:
    """The cells of a picture (H, W, 3) in [0, 1].

    Args:
        scale: larger ones make larger cells. lightness: its share in the difference of two colours:
            shading counts less than colour.

    Example:
        >>> picture = np.zeros((40, 40, 3), np.float32)
        >>> picture[10:30, 10:30] = [0.9, 0.1, 0.1]
        >>> soft = np.zeros((1, 40, 40), np.float32)
        >>> soft[0, 12:30, 8:28] = 1
        >>> int(ColourCells(picture).snap(soft)[0].sum())
        400
    """

    def __init__(self, picture: np.ndarray, scale: float = 100.0, lightness: float = 0.6) -> None:
        from skimage.color import rgb2lab
        from skimage.segmentation import felzenszwalb
        from skimage.transform import resize

        height, width = picture.shape[:2]
        share = min(1.0, EDGE / max(height, width))
        shape = (max(1, round(height * share)), max(1, round(width * share)))
        small = picture if share == 1 else resize(picture, shape, order=1, anti_aliasing=True)
        lab = rgb2lab(np.clip(small, 0, 1)) * [lightness, 1, 1] / 100
        labels = felzenszwalb(lab, scale=scale, sigma=0, min_size=12, channel_axis=-1)
        if share < 1:
            rows = np.minimum((np.arange(height) * shape[0] / height).astype(int), shape[0] - 1)
            columns = np.minimum((np.arange(width) * shape[1] / width).astype(int), shape[1] - 1)
            labels = labels[rows[:, None], columns]
        self.labels = labels.astype(np.int64)
        self.areas = np.bincount(self.labels.ravel())

    def snap(self, soft: np.ndarray) -> np.ndarray:
        """Replace masks (N, H, W) in [0, 1] by their mean over each cell."""
        flat, count = self.labels.ravel(), len(self.areas)
        means = [
            np.bincount(flat, weights=m.ravel().astype(np.float64), minlength=count) / self.areas
            for m in soft
        ]
        return np.stack([m[self.labels] for m in means]).astype(np.float32)

    def boxes(self, smallest: float, largest: float = 0.3) -> np.ndarray:
        """Boxes (K, 4) of the cells whose share of the picture lies between two values and that do
        not lie along its border."""
        height, width = self.labels.shape
        border = np.concatenate(
            [self.labels[0], self.labels[-1], self.labels[1:-1, 0], self.labels[1:-1, -1]]
        )
        along = np.bincount(border, minlength=len(self.areas)) / len(border)
        share = self.areas / (height * width)
        kept = []
        for k in np.flatnonzero((share >= smallest) & (share < largest) & (along < 0.2)):
            rows, columns = np.nonzero(self.labels == k)
            kept.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return np.array(kept, np.float32).reshape(-1, 4)
