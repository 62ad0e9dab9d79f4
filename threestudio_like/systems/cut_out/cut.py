"""One object cut out of a picture: by what the user marks, by the picture's own alpha, or by a
segmenter; what is doubtful of it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from ...engine.errors import ConfigError, InputError
from ...priors.segmentation.cut_out import SURE, embedded_segmenter
from ...priors.segmentation.loading import load_remover
from ...priors.segmentation.segmenter import Segmenter
from .marks import FEWEST, check_boxes, read_boxes, read_mask

SPECK = 0.005
"""Pieces of less than this share of the largest one are left out."""
PIECE = 0.08
"""Pieces of at least this share of the largest one are objects of their own."""
CLEAR = 0.02
"""Alpha below which nothing is seen."""
CUT_OFF = 0.04
"""Share of an edge of the picture along which an object that is cut off touches it."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What the user says of where the object is, at most one of the first two.

    mask: a black and white picture. box: "x0,y0,x1,y1" in pixels of the file. segmenter: by name or
    folder; "" for the embedded one.
    """

    mask: Path | None = None
    box: str = ""
    segmenter: str = ""

    def check(self) -> None:
        """Raise ConfigError where they contradict each other, or are none."""
        if self.mask is not None and (self.box or self.segmenter):
            other = "--box" if self.box else "--segmenter"
            raise ConfigError("says already what the object is", "--mask", f"Leave out {other}")
        if self.box:
            read_boxes((self.box,), "--box")


@dataclass
class Cut:
    """alpha (H, W) float32 in [0, 1]; how it was found; told: a line for everything that the user
    should know, without a full stop; sure: False where whatever found it is not to be believed."""

    alpha: np.ndarray
    how: str
    told: list[str] = field(default_factory=list)
    sure: bool = True


def cut_out(
    pixels: np.ndarray,
    where: str,
    marks: Marks | None = None,
    *,
    file_shape: tuple[int, int] | None = None,
    segmenter: Segmenter | None = None,
) -> Cut:
    """The object of a picture (H, W, 3 or 4) in [0, 1].

    Args:
        where: names the picture in messages. marks: the user's. file_shape: height and width of the
            file, where the picture was scaled down. segmenter: used instead of the embedded one
            where the picture has no alpha of its own.

    Raises:
        InputError, ConfigError, ModelError: nothing is shown, or the marks do not fit.
    """
    marks = marks or Marks()
    marks.check()
    shape = pixels.shape[:2]
    file_shape = file_shape or shape
    own = own_alpha(pixels)
    colour = seen_colours(pixels) if own is not None else pixels[..., :3]
    chosen = load_remover(marks.segmenter) if marks.segmenter else None
    if marks.mask is not None:
        mask = read_mask(marks.mask, file_shape, shape)
        cut = Cut(mask, f"{GIVEN[0]} {marks.mask.name}")
    elif marks.box:
        cut = _by_box(colour, marks.box, file_shape, segmenter=chosen or embedded_segmenter())
        if own is not None:
            cut.alpha = cut.alpha * solid_alpha(own, where, cut.told)
    elif chosen is not None:
        cut = Cut(chosen.mask(colour), f"by {chosen.name}")
        if own is not None:
            cut.told.append("has an alpha of its own, which is left aside for --segmenter")
    elif own is not None:
        cut = Cut(own, GIVEN[1])
        cut.alpha = solid_alpha(_upright_alpha(own, pixels, cut.told), where, cut.told)
    else:
        chosen = segmenter or embedded_segmenter()
        alpha, trust = chosen.found(colour)
        cut = Cut(alpha, f"by {chosen.name}")
        if cut.alpha.min() > 0.5:
            cut.sure = False
            cut.how += "; nothing stood out, so the whole picture is taken for the object"
        elif trust < SURE:
            cut.sure = False
            cut.told.append(
                f"what belongs to the object is not sure (colours and network agree by {trust:.2f} "
                "only): look at cut-out.png; --box or --mask says it"
            )
    return _tidy(cut, where, drawn=marks.mask is not None)


GIVEN = ("by the mask", "by the picture's alpha")
"""How an outline begins to be told that was given, and not found."""


def own_alpha(pixels: np.ndarray) -> np.ndarray | None:
    """The alpha (H, W) of a picture that says by it what the object is; None where it says nothing:
    it has none, or hardly any of it is clear."""
    if pixels.shape[2] < 4 or float((pixels[..., 3] < 0.5).mean()) <= 0.005:
        return None
    return pixels[..., 3]


def seen_colours(pixels: np.ndarray, level: float = 1.0) -> np.ndarray:
    """Colours (H, W, 3) of a picture with alpha on grey of `level`."""
    alpha = pixels[..., 3:]
    return pixels[..., :3] * alpha + level * (1 - alpha)


def solid_alpha(alpha: np.ndarray, where: str, told: list[str]) -> np.ndarray:
    """An alpha (H, W) whose object is opaque: one that is half clear all over is scaled. Raises
    InputError where nothing is seen."""
    if float(alpha.max()) < CLEAR:
        raise InputError(
            "shows nothing: every pixel is transparent", where, "Give a picture of an object"
        )
    shown = alpha[alpha >= CLEAR]
    full = float(np.quantile(shown, 0.9))
    if full >= 0.9:
        return alpha
    told.append(f"is at most {full:.0%} opaque: what is seen of it is taken for solid")
    return (alpha / full).clip(0, 1)


def _upright_alpha(alpha: np.ndarray, pixels: np.ndarray, told: list[str]) -> np.ndarray:
    """An alpha that is not inverted."""
    solid = alpha > 0.5
    edge = np.concatenate([solid[0], solid[-1], solid[:, 0], solid[:, -1]])
    hidden = pixels[..., :3][~solid]
    if edge.mean() < 0.95 or len(hidden) < FEWEST or solid.mean() < 0.3:
        return alpha
    if float(hidden.std(0).max()) < 0.02:
        told.append("is opaque all around and clear in its middle: is its alpha inverted?")
        return alpha
    told.append("is opaque all around and clear where colours lie: its alpha is taken as inverted")
    return 1 - alpha


def _by_box(
    colour: np.ndarray, said: str, file_shape: tuple[int, int], segmenter: Segmenter
) -> Cut:
    boxes = read_boxes((said,), "--box")
    assert boxes is not None
    check_boxes(boxes, file_shape[1], file_shape[0], option="--box")
    box = boxes[0] * colour.shape[1] / file_shape[1]
    alpha = segmenter.inside(colour, box)
    if (alpha > 0.5).sum() < FEWEST:
        raise InputError(
            "shows nothing that stands out", "--box", "Draw the box about an object, or give --mask"
        )
    return Cut(alpha, f"by the box {said} and {segmenter.name}")


def _tidy(cut: Cut, where: str, drawn: bool) -> Cut:
    """Specks left out; pieces, edges and sizes told. Raises InputError where the object is too
    small to be seen."""
    solid = cut.alpha > 0.5
    count = int(solid.sum())
    if count < FEWEST:
        seen = "no pixel" if count == 0 else f"{count} pixel" + ("s" if count > 1 else "")
        raise InputError(
            f"shows an object of {seen}", where, "Give a picture that shows it larger, or --mask"
        )
    if solid.all():
        return cut
    pieces, number = label(solid, np.ones((3, 3)))
    if number > 1:
        sizes = np.bincount(pieces.ravel())[1:]
        least = SPECK * sizes.max()
        small = np.flatnonzero(sizes < least) + 1
        if len(small):
            # A soft rim about a speck goes with it.
            kept = np.isin(pieces, np.flatnonzero(sizes >= least) + 1)
            cut.alpha = np.where(kept | _near(kept), cut.alpha, 0).astype(np.float32)
            words = "a speck" if len(small) == 1 else f"{len(small)} specks"
            most = int(sizes[small - 1].max())
            cut.told.append(
                f"{words} of at most {most} pixel{'s' if most > 1 else ''} beside the object "
                "left out"
            )
        large = np.sort(sizes[sizes >= PIECE * sizes.max()])[::-1]
        if len(large) > 1:
            shares = " and ".join(f"{s / large.sum():.0%}" for s in large[:4])
            cut.told.append(
                f"{len(large)} separate pieces ({shares}) are taken for one object; --box takes "
                "one of them, compose makes a scene of them"
            )
    edges = _cut_edges(cut.alpha > 0.5)
    if edges:
        cut.told.append(
            f"the object reaches the {' and the '.join(edges)} of the picture: what lies outside "
            "is not known"
        )
    return cut


def _near(mask: np.ndarray, reach: int = 3) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, iterations=reach)


def _cut_edges(solid: np.ndarray) -> list[str]:
    """Edges of the picture along which the object is cut off."""
    sides = {"left": solid[:, 0], "right": solid[:, -1], "top": solid[0], "bottom": solid[-1]}
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    out = []
    for name, line in sides.items():
        extent = tall if name in ("left", "right") else wide
        if line.sum() >= max(3, CUT_OFF * extent):
            out.append(f"{name} edge")
    return out
