"""Verification of exported files: a file is read back, rendered again and compared with the asset
that was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..engine.errors import ExportError, InputError
from .frames import Frame
from .io.files import read
from .io.formats import format_to_read
from .mesh import Asset, Mesh
from .picture import render_asset
from .surface.extraction import iou


@dataclass
class Verdict:
    """The result of a verification.

    PSNR in dB over both silhouettes (infinite for identical pictures, NaN for formats without
    colour), silhouette IoU, orientation ("right", or what is wrong), and whether the file passes.
    """

    path: str
    psnr: float
    iou: float
    orientation: str
    passed: bool

    def line(self) -> str:
        """One line for the user."""
        colour = "no colour" if np.isnan(self.psnr) else f"PSNR {min(self.psnr, 99.0):.1f} dB"
        state = "ok" if self.passed else "BAD"
        return (
            f"{Path(self.path).name}: {colour}, silhouette IoU {self.iou:.4f}, orientation "
            f"{self.orientation}: {state}"
        )


def _placed(asset: Asset, place: Callable[[np.ndarray], np.ndarray]) -> Asset:
    return asset.with_meshes(
        {k: replace(m, vertices=place(m.vertices)) for k, m in asset.meshes.items()}
    )


def _opaque(asset: Asset) -> Asset:
    return asset.with_meshes(
        {
            k: m
            if m.material is None or m.material.alpha_mode == "OPAQUE"
            else replace(m, material=replace(m.material, alpha_mode="OPAQUE"))
            for k, m in asset.meshes.items()
        }
    )


def _pictures(asset: Asset, cameras: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    picture = render_asset(asset, cameras, size)
    return picture.image, picture.mask


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    """PSNR in dB of images in [0, 1] over a boolean mask; infinite for equal images."""
    if not where.any():
        return float("inf")
    error = float(np.square(a - b)[where].mean())
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def verify(
    path: Path,
    asset: Asset,
    cameras: np.ndarray,
    size: int = 160,
    frame: Frame | None = None,
    place: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Verdict:
    """Compare a written file with the asset in memory.

    A file passes with a silhouette IoU of at least 0.99, a PSNR of at least 30 dB if it has colour
    (20 dB for PLY, whose colours are on the vertices), and the orientation of the asset.

    Args:
        cameras: (B, 4, 4) world to clip space; the first is the front.
        frame: axes and unit in which the file was written.
        place: maps the vertices (V, 3) of both for rendering; the default leaves them where they
            are.
    """
    try:
        again = read(path, frame)
    except InputError as error:
        raise ExportError(
            f"the written file cannot be read back ({error.what})", str(path), "Report this"
        ) from None
    if place is not None:
        asset, again = _placed(asset, place), _placed(again, place)
    if all(m.texture is None for m in again.meshes.values()):
        # A format without textures cannot keep what they cut out.
        asset = _opaque(asset)
    wanted_image, wanted_mask = _pictures(asset, cameras, size)
    image, mask = _pictures(again, cameras, size)
    agreement = iou(mask > 0.5, wanted_mask > 0.5)
    has_colour = any(m.texture is not None or m.colours is not None for m in again.meshes.values())
    value = (
        psnr(image, wanted_image, (mask > 0.5) | (wanted_mask > 0.5))
        if has_colour
        else float("nan")
    )
    orientation = _orientation(again.mesh, asset.mesh)
    limit = format_to_read(path).psnr
    passed = agreement >= 0.99 and orientation == "right" and (not has_colour or value >= limit)
    return Verdict(str(path), value, agreement, orientation=orientation, passed=passed)


def _orientation(mesh: Mesh, wanted: Mesh) -> str:
    """ "right", or the rotation, reflection or scale that would make the mesh match."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    low_w, high_w = wanted.vertices.min(0), wanted.vertices.max(0)
    extent = float((high_w - low_w).max())
    volume, volume_w = mesh.volume, wanted.volume
    # The sign of a plane's volume is that of its rounding.
    solid = min(abs(volume), abs(volume_w)) > 1e-6 * extent**3
    if solid and (volume > 0) != (volume_w > 0):
        return "inside out"
    if np.abs(low - low_w).max() < 0.01 * extent and np.abs(high - high_w).max() < 0.01 * extent:
        return "right"
    size, size_w = np.sort(high - low), np.sort(high_w - low_w)
    return "turned" if np.abs(size - size_w).max() < 0.01 * extent else "scaled"
