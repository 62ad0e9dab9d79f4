"""The embedded way to cut out one object: the salient object network and colours of the border say
where it is, a graph cut where it ends, and a guided filter how much of every pixel is object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter, label, uniform_filter, zoom

from ..networks.salient import embedded_salient
from .automatic import border_share, bounds, probability
from .graph_cut import band, grab_cut
from .prompts import Prompts, PromptSegmenter
from .segment_anything import load_segmenter
from .segmenter import BorderSegmenter, Segmenter, box_room, largest

EDGE = 160
"""Pixels of the longer edge at which the cut is sought."""
SHOWN = 0.6
"""Share that the salient object network has in where the object is; the colours of the border have
the rest."""
AGREE = 0.35
"""IoU with what is known otherwise from which on the promptable network is believed."""
SURE = 0.65
"""IoU of a cut and of what the promptable network holds for the object in its box from which on the
cut is believed (docs/results/cut_outs.md)."""
PLAIN = 3.0
"""Spread of the border's colours, L*a*b*, below which the background has one colour."""
IN_BOX = 0.55
"""Probability of a pixel in a box to be object before its colour is looked at."""
SPECK = 0.02
"""Pieces of less than this share of the largest one are dropped."""
HOLE = 0.004
"""Holes of less than this share of the object are closed."""


@dataclass(frozen=True)
class _Looked:
    """A picture at the size at which the cut is sought: its colours (H, W, 3), L*a*b*, and what the
    promptable network has seen of it."""

    lab: np.ndarray
    network: PromptSegmenter | None
    seen: Any

    @property
    def shape(self) -> tuple[int, int]:
        return self.lab.shape[0], self.lab.shape[1]

    def asked(self, solid: np.ndarray) -> np.ndarray:
        """What the network holds for the object (H, W) in [0, 1] in the box of a mask; nothing
        where it answers with the background, or where there is none."""
        if self.network is None or not solid.any():
            return np.zeros(self.shape)
        prompts = Prompts(boxes=bounds(largest(solid, 0.3))[None])
        answer = probability(self.network.masks(self.seen, prompts).best()[0][0])
        return answer if border_share(answer > 0.5) < 0.5 else np.zeros_like(answer)

    def judged(self, solid: np.ndarray) -> _Sought:
        """A finished cut, with what the network says about it."""
        if self.network is None:
            return _Sought(solid, math.nan)
        answer = self.asked(solid) > 0.5
        return _Sought(solid, float((answer & solid).sum() / max(1, (answer | solid).sum())))


@dataclass(frozen=True)
class _Sought:
    """A cut (H, W) bool and how far the promptable network agrees with it; nan without one."""

    solid: np.ndarray
    trust: float


class CutOutSegmenter(Segmenter):
    """The object of a picture, without being told where it is.

    Args:
        network: the name of a promptable segmenter, which is asked with the box of what was found
            whether it agrees; "" for none.
        salient: ask the embedded salient object network what stands out. Without it the colours of
            the border tell it, and the promptable network has its say.
        size: longer edge in pixels at which the cut is sought.

    Raises:
        ModelError: the network's weights are missing or damaged.
    """

    name = "the embedded network and a graph cut"

    def __init__(self, network: str = "toybox", salient: bool = True, size: int = EDGE) -> None:
        self.network, self.salient, self.size = network, salient, size
        self._border = BorderSegmenter()

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`. If nothing stands out, the whole picture is the object."""
        return self.found(picture)[0]

    def found(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """See `Segmenter.found`; the trust is the IoU of the cut and of what the promptable network
        holds for the object in its box, and 1 before a background of one colour."""
        border = self._border.mask(picture)
        # The network has never seen a picture that shows nothing.
        if border.min() > 0.5:
            return border, math.nan
        small = self._small(picture)
        looked = self._look(small)
        rough = scaled(border, looked.shape).clip(0, 1)
        # There colours alone tell the object, also where no network knows such things.
        plain = border_spread(looked.lab) < PLAIN
        if self.salient and not plain:
            cut = _by_salient(looked, embedded_salient().probability(small), rough)
        else:
            cut = self._seek(looked, rough)
        return self._edges(picture, cut.solid), 1.0 if plain else cut.trust

    def inside(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """See `Segmenter.inside`: what lies around the box is background for certain."""
        rows, columns, room = box_room(picture.shape[:2], box)
        part, within = picture[rows, columns], room[rows, columns]
        # Where an object fills its box, the border's colours are its own too.
        least = IN_BOX
        rough = np.where(within, least + (1 - least) * self._border.mask(part), 0.0)
        looked = self._look(self._small(part))
        known = scaled(rough.astype(np.float32), looked.shape).clip(0, 1)
        cut = self._seek(looked, known, scaled(within * 1.0, looked.shape) > 0.5)
        out = np.zeros(picture.shape[:2], np.float32)
        out[rows, columns] = self._edges(part, cut.solid)
        return np.where(room, out, 0).astype(np.float32)

    def _small(self, picture: np.ndarray) -> np.ndarray:
        """A picture at the size at which the cut is sought."""
        height, width = picture.shape[:2]
        share = min(1.0, self.size / max(height, width))
        shape = (max(8, round(height * share)), max(8, round(width * share)))
        return scaled(picture, shape).clip(0, 1)

    def _look(self, small: np.ndarray) -> _Looked:
        """A small picture as the cut is sought in it."""
        from skimage.color import rgb2lab

        network = load_segmenter(self.network) if self.network else None
        seen = None if network is None else network.look(small.astype(np.float32))
        return _Looked(rgb2lab(small), network, seen)

    def _seek(self, looked: _Looked, rough: np.ndarray, room: np.ndarray | None = None) -> _Sought:
        """The object, from what is known of it roughly.

        Args:
            rough: (H, W) in [0, 1]. room: (H, W) bool, outside of which there is none of it.
        """
        room = np.ones(looked.shape, bool) if room is None else room
        solid = rough > 0.5
        for step in range(2):
            prior = rough if step == 0 else 0.6 * rough + 0.4 * solid
            answer = looked.asked(solid)
            both = (answer > 0.5) & solid
            if both.sum() > AGREE * ((answer > 0.5) | solid).sum():
                prior = 0.5 * prior + 0.5 * answer
            prior = np.where(room, gaussian_filter(prior, 1.5), 0.0).clip(0.02, 0.98)
            found = grab_cut(looked.lab, prior, colour=0.25, smooth=8.0) & room
            if found.mean() < 0.2 * solid.mean():
                break
            solid = found
        return looked.judged(tidied(solid))

    def _edges(self, picture: np.ndarray, solid: np.ndarray) -> np.ndarray:
        """A mask at the size at which the cut was sought as shares of the picture's own pixels."""
        height, width = picture.shape[:2]
        large = scaled(solid.astype(np.float32), (height, width))
        reach = max(1, round(1.5 * max(height, width) / max(solid.shape)))
        soft = guided_filter(picture, (large > 0.5).astype(np.float32), reach + 1)
        near = band(large > 0.5, reach + 1)
        soft = np.where(near, ((soft - 0.5) * 1.6 + 0.5).clip(0, 1), large > 0.5)
        return soft.astype(np.float32)


def _by_salient(looked: _Looked, shown: np.ndarray, rough: np.ndarray) -> _Sought:
    """The cut that begins with what the salient object network and the border's colours say; both
    (H, W) in [0, 1]."""
    prior = gaussian_filter(SHOWN * shown + (1 - SHOWN) * rough, 1.0).clip(0.02, 0.98)
    solid = grab_cut(looked.lab, prior, colour=0.25, smooth=8.0)
    if not solid.any():
        solid = shown > 0.5 if (shown > 0.5).any() else rough > 0.5
    return looked.judged(tidied(solid))


def border_spread(lab: np.ndarray) -> float:
    """How far, for nine of ten pixels, the colours (H, W, 3) along a picture's border are from
    their median: Euclidean in L*a*b*."""
    edge = max(1, round(0.03 * min(lab.shape[:2])))
    rim = np.ones(lab.shape[:2], bool)
    rim[edge:-edge, edge:-edge] = False
    away = np.linalg.norm(lab[rim] - np.median(lab[rim], 0), axis=1)
    return float(np.quantile(away, 0.9))


def plain_border(picture: np.ndarray) -> bool:
    """Whether the border of a picture (H, W, 3) in [0, 1] has one colour: there colours alone tell
    what stands out."""
    from skimage.color import rgb2lab

    return border_spread(rgb2lab(picture)) < PLAIN


def tidied(solid: np.ndarray) -> np.ndarray:
    """A mask without specks and without holes that are too small to be meant."""
    solid = largest(solid, SPECK)
    holes, count = label(binary_fill_holes(solid) & ~solid)
    if count:
        small = np.flatnonzero(np.bincount(holes.ravel())[1:] < HOLE * solid.sum()) + 1
        solid = solid | np.isin(holes, small)
    return solid


def scaled(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values (H, W) or (H, W, C) at another size."""
    from skimage.transform import resize

    if values.shape[:2] == shape:
        return values
    smaller = shape[0] < values.shape[0]
    if smaller:
        return resize(values.astype(np.float32), shape, order=1, anti_aliasing=True)
    factors = (shape[0] / values.shape[0], shape[1] / values.shape[1])
    return zoom(values, factors + (1,) * (values.ndim - 2), order=1, grid_mode=True, mode="nearest")


def guided_filter(
    guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float = 1e-4
) -> np.ndarray:
    """Values (H, W) as the best local linear function of the guide's colours (H, W, 3), which is
    one step of closed-form matting (He, Sun and Tang 2010).

    Args:
        radius: of the windows, pixels. epsilon: variance of colours that counts as none.
    """
    size = 2 * radius + 1

    def mean(x: np.ndarray) -> np.ndarray:
        return uniform_filter(x, (size, size, *([0] * (x.ndim - 2))), mode="nearest")

    guide = guide.astype(np.float64)
    middle, average = mean(guide), mean(values.astype(np.float64))
    products = guide[..., :, None] * guide[..., None, :]
    spread = mean(products) - middle[..., :, None] * middle[..., None, :] + epsilon * np.eye(3)
    shared = mean(guide * values[..., None]) - middle * average[..., None]
    slope = np.linalg.solve(spread, shared[..., None])[..., 0]
    offset = average - (slope * middle).sum(-1)
    return (mean(slope) * guide).sum(-1) + mean(offset)


@lru_cache(maxsize=1)
def embedded_segmenter() -> CutOutSegmenter:
    """The one that is used where nothing else is asked for."""
    return CutOutSegmenter()
