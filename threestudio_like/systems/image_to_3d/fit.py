"""How well a result fits its picture: figures, and a word whose thresholds were calibrated
(docs/results/verdicts.md).

The thresholds lie in fit_thresholds.json, which `python benchmarks/verdicts.py --calibrate` writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import ConvexHull

from ...kernels import rasterize
from ...meshes.mesh import Asset, Mesh
from ...meshes.picture import render_asset
from ...meshes.surface.extraction import iou
from ...meshes.verification import psnr
from ...priors.depth import load_depth
from ...priors.framing import Similarity
from .maps import DepthMap, framed_map
from .method import ShapeFound
from .photo import Photo
from .relief.surface import mirror_of

Word = Literal["fits", "doubtful", "does not fit"]
THRESHOLDS = Path(__file__).with_name("fit_thresholds.json")
SIZE = 256
"""Pixels of the comparison."""


@dataclass(frozen=True)
class Limit:
    """A figure of at least `fits` speaks for a result; below `fails` it does not fit."""

    fits: float
    fails: float


@dataclass(frozen=True)
class Calibration:
    """Thresholds by figure; the cosine from which a guessed word is sure, and the one below which
    the embedded world does not know the thing; between both its shape has to agree by
    `maybe_silhouette`, and that of a known thing within a scene by `part_silhouette`; how near a
    runner-up may be (difference of evidence) for a turn to be undecided; and where all this comes
    from."""

    limits: Mapping[str, Limit]
    sure_word: float
    maybe_word: float
    maybe_silhouette: float
    part_silhouette: float
    undecided: float
    source: str


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The thresholds of this version."""
    facts = json.loads(THRESHOLDS.read_text(encoding="utf-8"))
    limits = {name: Limit(**values) for name, values in facts["limits"].items()}
    return Calibration(
        limits,
        sure_word=facts["sure word"],
        maybe_word=facts["maybe word"],
        maybe_silhouette=facts["maybe silhouette"],
        part_silhouette=facts["part silhouette"],
        undecided=facts["undecided"],
        source=str(facts["source"]),
    )


@dataclass(frozen=True)
class Fit:
    """How well a result fits its picture.

    Attributes:
        silhouette: IoU of both outlines, from the picture's camera, [0, 1]; of several photos the
            least.
        psnr: of the colours within both outlines, dB; nan where there are none.
        seen: share of the texels that the picture shows; nan before there are any.
        depth: correlation of the visible surface's depth with the known or the estimated one,
            [-1, 1]; nan where none is. known_depth: whether it is a known one; an estimated one has
            no say in the word.
        sides: how far the outline alone bounds the shape (`outline_bounds`), [0, 1]; nan where more
            than this picture says how deep it is.
        word: what follows of these.
        why: the figure that speaks most against it.
        advice: what to do; empty where it fits.
    """

    silhouette: float
    psnr: float = math.nan
    seen: float = math.nan
    depth: float = math.nan
    known_depth: bool = False
    sides: float = math.nan
    word: Word = "fits"
    why: str = ""
    advice: str = ""

    def figures(self) -> dict[str, Any]:
        """For the report and the events."""
        found: dict[str, Any] = {
            "fit: silhouette IoU": self.silhouette,
            "fit: PSNR inside, dB": self.psnr,
            "fit: texels seen": self.seen,
            "fit: depth agreement": self.depth,
            "fit: outline bounds the shape": self.sides,
        }
        found = {k: v for k, v in found.items() if math.isfinite(v)}
        return {**found, "fit": self.word}

    def line(self) -> str:
        """One line for the user."""
        parts = [f"silhouette IoU {self.silhouette:.2f}"]
        if math.isfinite(self.psnr):
            parts.append(f"PSNR inside {min(self.psnr, 99.0):.1f} dB")
        if math.isfinite(self.seen):
            parts.append(f"{100 * self.seen:.0f} % of the texels seen")
        if math.isfinite(self.depth):
            source = "" if self.known_depth else " with an estimate"
            parts.append(f"depth agreement{source} {self.depth:.2f}")
        if self.why == "sides":
            parts.append(f"outline bounds the shape by {self.sides:.2f}")
        text = f"The result and the picture: {self.word} ({', '.join(parts)})."
        return f"{text} {self.advice}" if self.advice else text


def judged(figures: Mapping[str, float], limits: Mapping[str, Limit]) -> tuple[Word, str]:
    """The word for figures by name (nan where unknown), and the figure that speaks most against a
    fit: all have to reach `fits`, and none may be below `fails`."""
    word: Word = "fits"
    why, lowest = "", math.inf
    for name, limit in limits.items():
        value = figures.get(name, math.nan)
        if not math.isfinite(value):
            continue
        # 1 at `fits`, 0 at `fails`.
        place = (value - limit.fails) / max(limit.fits - limit.fails, 1e-9)
        if place < 1 and place < lowest:
            lowest, why = place, name
        if value < limit.fails:
            word = "does not fit"
        elif value < limit.fits and word == "fits":
            word = "doubtful"
    return word, why


def with_word(fit: Fit, method: str, *, found_cut: bool = False, sure_cut: bool = True) -> Fit:
    """The figures with their word, and with what to do.

    Args:
        method: that made the result.
        found_cut: whether the object's outline was found, and not given.
        sure_cut: whether it is to be believed; what fits an outline that is not is doubtful.
    """
    figures = {k: getattr(fit, k) for k in ("silhouette", "psnr", "seen", "depth", "sides")}
    told = figures if fit.known_depth else {**figures, "depth": math.nan}
    word, why = judged(told, calibration().limits)
    if word == "fits" and not sure_cut:
        advice = "What is cut out is not sure: say --mask FILE or --box, if cut-out.png is wrong."
        return replace(fit, word="doubtful", why="cut-out", advice=advice)
    advice = ""
    if why == "sides" and word == "doubtful":
        advice = (
            "It fits the side that was shown; the others are a guess, and of an outline with gaps "
            "and bays often a wrong one. Try --depth FILE or a second photo."
        )
    elif word != "fits":
        ways = []
        if method != "relief":
            ways.append("--method relief, which fits any picture from its side")
        if found_cut:
            ways.append("--mask FILE, if the cut-out is wrong")
        if method in ("cisp", "g3dr") and why != "seen":
            ways.append("--prior NAME --method field, for what the embedded world does not know")
        if method == "relief":
            ways.append("--depth FILE or a second photo")
        advice = f"Try {'; or '.join(ways)}." if ways else ""
    return replace(fit, word=word, why=why, advice=advice)


def taken_over(fit: Fit, sure: bool, part: bool = False) -> bool:
    """Whether a shape of the embedded world is taken for a picture: it has to fit, and closely
    where nobody surely knows that the thing is of that world.

    Args:
        part: whether the picture is cut out of one of several things. Its outline lacks what others
            hide, so where the thing is surely known, the shape has to agree roughly: what is right
            from one side alone is worse in a scene (docs/comboverse.md).
    """
    if part and sure:
        return fit.silhouette >= calibration().part_silhouette
    return fit.word == "fits" and (sure or fit.silhouette >= calibration().maybe_silhouette)


@torch.no_grad()
def measure_fit(
    found: ShapeFound,
    photo: Photo,
    *,
    asset: Asset | None = None,
    seen: float = math.nan,
    depth: DepthMap | str | None = None,
) -> Fit:
    """The figures of a result; see `with_word` for the word.

    Args:
        asset: the finished asset; without it only outline and depth are compared.
        seen: share of its texels that the picture shows.
        depth: known, or the name of an estimator; none is compared without it.

    Raises:
        ModelError: there is no such estimator.
    """
    frame = found.frame(photo)
    colours, alpha = photo.colours(SIZE, frame)
    mask = alpha[0].numpy() > 0.5
    drawn_depth = depth_map(found.mesh, found)
    drawn = np.isfinite(drawn_depth)
    level = math.nan
    if asset is not None:
        matrix = found.pose.camera(found.poses, SIZE).view_projection().numpy()
        picture = render_asset(asset, matrix, SIZE, background=0.5)
        # By the middles of the pixels: a mask of several samples would lose half of every rim.
        drawn = np.isfinite(depth_map(asset.mesh, found))
        both = (picture.mask[0] > 0.95) & (alpha[0].numpy() > 0.95)
        level = psnr(picture.image[0], colours[0].numpy(), both) if both.any() else math.nan
    agreement = math.nan
    if depth is not None:
        agreement = _depth_agreement(drawn_depth, photo, frame, depth)
    outlines = [iou(drawn, mask)]
    for other in found.others:
        # Of several photos the one that fits least.
        there = replace(found, pose=other.pose, poses=other.poses or found.poses)
        own = other.photo.mask(SIZE, other.frame).numpy() > 0.5
        outlines.append(iou(np.isfinite(depth_map(found.mesh, there)), own))
    known = isinstance(depth, DepthMap)
    sides = outline_bounds(photo) if found.one_sided and not known else math.nan
    return Fit(min(outlines), level, seen, depth=agreement, known_depth=known, sides=sides)


def outline_bounds(photo: Photo, size: int = 112) -> float:
    """How far an outline alone bounds a shape, [0, 1]: the share of its convex hull that it fills,
    and 1 where it is its own mirror image. Parts that stick out reach towards the viewer or away,
    and no single picture says how far; a thing without them, or one that is seen face on, looks
    from a little beside much as its round sections say (docs/results/verdicts.md)."""
    soft = photo.mask(size).numpy()
    inside = soft > 0.5 if (soft > 0.5).any() else soft >= soft.max()
    if mirror_of(inside) is not None:
        return 1.0
    corners = np.argwhere(inside)
    corners = np.concatenate([corners + np.array(at) for at in np.ndindex(2, 2)])
    return float(inside.sum() / ConvexHull(corners).volume)


def depth_map(mesh: Mesh, found: ShapeFound, size: int = SIZE) -> np.ndarray:
    """Depth (size, size) along the camera's axis of what the picture's camera sees of a mesh;
    infinite where it sees nothing."""
    camera = found.pose.camera(found.poses, size)
    ones = np.ones((len(mesh.vertices), 1), np.float32)
    points = torch.from_numpy(np.concatenate([mesh.vertices, ones], 1))
    faces = torch.from_numpy(mesh.faces)
    pixels = rasterize(points @ camera.view_projection()[0].T, faces, size, width=size)
    number = pixels[..., 3].long() - 1
    # Along the axis: what the fourth coordinate of the projection is.
    away = (points @ camera.view_projection()[0].T)[:, 3]
    corner = away[faces[number.clamp_min(0)].long()]
    weights = torch.stack([pixels[..., 0], pixels[..., 1], 1 - pixels[..., 0] - pixels[..., 1]], -1)
    depth = (corner * weights).sum(-1)
    return torch.where(number >= 0, depth, torch.full_like(depth, math.inf)).numpy()


def _depth_agreement(
    drawn: np.ndarray, photo: Photo, frame: Similarity, depth: DepthMap | str
) -> float:
    """Correlation of two depths over what both know."""
    size = 64
    if isinstance(depth, DepthMap):
        wanted, known = framed_map(depth.values, photo, frame, size)
    else:
        prior = load_depth(depth)
        # As the estimator wants the object: framed.
        seen = prior.predict(photo.framed(size, 0.8))[0]
        seen = -seen if prior.inverse else seen
        line = (torch.arange(size) + 0.5) / size
        y, x = torch.meshgrid(line, line, indexing="ij")
        place = photo.similarity.to_frame(frame.to_source(torch.stack([x, y], -1)))
        wanted = F.grid_sample(seen[None, None], (place * 2 - 1)[None], align_corners=False)[
            0, 0
        ].numpy()
        known = photo.mask(size, frame).numpy() > 0.9
    step = drawn.shape[0] // size
    small = drawn[step // 2 :: step, step // 2 :: step][:size, :size]
    both = known & np.isfinite(small) & np.isfinite(wanted)
    if both.sum() < 24:
        return math.nan
    one, two = small[both] - small[both].mean(), wanted[both] - wanted[both].mean()
    # A surface that faces the camera has no relief to agree with.
    scale = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float((one * two).sum() / scale) if scale > 1e-9 else math.nan
