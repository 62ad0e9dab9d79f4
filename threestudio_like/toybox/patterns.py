"""What is painted on the surfaces of the toybox: patterns as functions of a place on the object,
and what a material does to the light.

The two patterns of the first edition are solid: stripes of equal height, and balls on a lattice
that a surface cuts. Those of later editions are laid on faces: a face's main direction decides in
which plane the pattern is drawn, so that dots are round and checks square on every flat side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..kernels.compiling import CACHE
from .words import RGB

PLAIN, STRIPES, BALLS, BANDS, DOTS, CHECKS, WOOD, BRICK, METAL = range(9)
"""The codes of the patterns in the last column of `ToyObject.materials`."""


def contrast(colour: np.ndarray) -> RGB:
    """Cream on dark colours, dark grey on light ones."""
    return (0.96, 0.95, 0.90) if float(colour.mean()) < 0.72 else (0.25, 0.26, 0.30)


def grain(colour: np.ndarray) -> RGB:
    """A darker tone of a colour (3,): the rings of wood."""
    r, g, b = (0.68 * colour).tolist()
    return r, g, b


def mortar(colour: np.ndarray) -> RGB:
    """The joints between bricks: light, or dark between light bricks."""
    return (0.82, 0.80, 0.75) if float(colour.mean()) < 0.72 else (0.45, 0.43, 0.42)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A pattern word's code, its second colour, and the colour of the bare material.

    Args:
        second: the second colour of a first colour (3,).
        natural: the colour that a material has when no colour is named; None for patterns.
    """

    code: int
    second: Callable[[np.ndarray], RGB] = contrast
    natural: RGB | None = None


@njit(nogil=True, cache=CACHE)
def main_axis(nx, ny, nz):
    """The axis (0 x, 1 y, 2 z) along which a normal is longest; upright faces by a small margin
    before level ones."""
    ax, ay, az = abs(nx), abs(ny), abs(nz)
    if ay > 1.05 * ax and ay > 1.05 * az:
        return 1
    return 0 if ax > az else 2


@njit(nogil=True, cache=CACHE)
def is_second(code, px, py, pz, axis):
    """Whether a pattern has its second colour at a point; `axis` is `main_axis` of the face."""
    if code == STRIPES:
        phase = (py + 10.0) / 0.36
        return phase - np.floor(phase) < 0.45
    if code == BALLS:
        s = 0.34
        dx, dy, dz = (
            px / s - np.rint(px / s),
            py / s - np.rint(py / s),
            pz / s - np.rint(pz / s),
        )
        return dx * dx + dy * dy + dz * dz < 0.14
    u = pz if axis == 0 else px
    v = pz if axis == 1 else py
    if code == BANDS:
        phase = ((u if axis == 1 else v) + 10.0) / 0.30
        return phase - np.floor(phase) < 0.45
    if code == DOTS:
        row = np.rint((v + 0.05) / 0.25)
        shifted = (u + 0.03) / 0.29 + 0.5 * (row - 2.0 * np.floor(row / 2.0))
        du, dv = (shifted - np.rint(shifted)) * 0.29, (v + 0.05) - row * 0.25
        return du * du + dv * dv < 0.0085
    if code == CHECKS:
        return (np.floor((u + 10.03) / 0.22) + np.floor((v + 10.07) / 0.22)) % 2.0 > 0.5
    if code == WOOD:
        wave = 0.04 * np.sin(5.0 * px + 2.0 * pz)
        ring = np.sqrt((py + 1.9 + wave) ** 2 + (0.8 * pz - 0.7 + wave) ** 2) / 0.13
        return ring - np.floor(ring) < 0.42
    if code == BRICK:
        row = (v + 10.04) / 0.17
        along = (u + 10.09) / 0.36 + 0.5 * (np.floor(row) % 2.0)
        return row - np.floor(row) < 0.19 or along - np.floor(along) < 0.10
    return False


@njit(nogil=True, cache=CACHE)
def sheen(nx, ny, nz):
    """The light on bare metal, from its normal alone: a bright sky, a dark horizon, and streaks on
    whatever is round."""
    streak = np.cos(9.0 * nx) * (0.4 + 0.6 * (1.0 - abs(ny)))
    return 0.72 + 0.24 * ny + 0.20 * streak + 0.10 * (nz * nz - nx * nx)


@njit(nogil=True, cache=CACHE)
def paint(codes, points, normals, axes, second, light):
    """Fill `second` (N,) bool and `light` (N,) of points (N, 3) with unit normals (N, 3), pattern
    codes (N,) and main axes (N,) of their faces."""
    for i in range(len(codes)):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        code = codes[i]
        second[i] = code > 0 and is_second(code, points[i, 0], points[i, 1], points[i, 2], axes[i])
        light[i] = sheen(x, y, z) if code == METAL else 0.80 + 0.20 * y + 0.07 * (z**2 - x**2)
