"""What keeps an extracted surface at the field's own: crossings that are found in the field, a blur
that does not shrink, and the volume that smoothing has to give back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ...kernels import nearest, surface_tree
from ..mesh import Mesh
from .normals import vertex_normals
from .smoothing import averaging, given_back

Inside = Callable[[np.ndarray], np.ndarray]
"""Whether points (N, 3) are inside: (N,) bool."""


def keeping_blur(volume: np.ndarray, deviation: float, level: float = 0.5) -> np.ndarray:
    """2 G - G G, with G the Gaussian of a standard deviation in cells: it takes away noise as G
    does, and leaves quadratic shapes as they are, so that rounded surfaces do not shrink. What is
    too thin for it, parts above `level` that leave nothing above it nearby, stays as it was."""
    if deviation <= 0:
        return volume
    once = gaussian_filter(volume, deviation)
    kept = 2 * once - gaussian_filter(once, deviation)
    away = distance_transform_edt(kept <= level)
    lost = (volume > level) & (away > 1.5)
    if not lost.any():
        return kept
    near = distance_transform_edt(~lost) <= 2.5
    return np.where(near, np.maximum(kept, volume), kept)


def settle(mesh: Mesh, volume: np.ndarray, level: float, inside: Inside, steps: int = 7) -> Mesh:
    """Move the vertices of an isosurface along their grid edges to where the field itself changes
    from inside to outside, by bisection to 2^-steps of a cell.

    Marching cubes interpolates between two grid points, and where a density is steep these are only
    full and empty.

    Args:
        mesh: of `isosurface(volume, level)`, over [-1, 1]^3.
        volume: (D, H, W) with axes z, y, x.
        inside: of the field.
    """
    size = volume.shape[0]
    at = (mesh.vertices[:, ::-1].astype(np.float64) + 1) / 2 * (size - 1)
    # Points of an edge have one coordinate between two grid points, up to float32.
    away = np.abs(at - np.round(at))
    axis = away.argmax(1)
    rows = np.arange(len(at))
    fixed = np.round(at)
    low, high = fixed.copy(), fixed.copy()
    low[rows, axis] = np.floor(at[rows, axis])
    high[rows, axis] = low[rows, axis] + 1
    low_in, high_in = (_above(volume, end, level) for end in (low, high))
    moved = np.flatnonzero((low_in != high_in) & (away[rows, axis] > 1e-5))
    if not len(moved):
        return mesh
    full = np.where(low_in[moved, None], low[moved], high[moved])
    empty = np.where(low_in[moved, None], high[moved], low[moved])
    # Only where the field says the same of the ends: a bridge or a filled hollow is not in it.
    ends = inside(_places(np.concatenate([full, empty]), size))
    same = ends[: len(moved)] & ~ends[len(moved) :]
    moved, full, empty = moved[same], full[same], empty[same]
    for _ in range(steps):
        middle = (full + empty) / 2
        there = inside(_places(middle, size))
        full = np.where(there[:, None], middle, full)
        empty = np.where(there[:, None], empty, middle)
    points = mesh.vertices.copy()
    points[moved] = _places((full + empty) / 2, size)
    return Mesh(points, mesh.faces)


def _places(index: np.ndarray, size: int) -> np.ndarray:
    """Places (N, 3) x, y, z of grid indices (N, 3) z, y, x."""
    return np.ascontiguousarray((index / (size - 1) * 2 - 1)[:, ::-1], np.float32)


def _above(volume: np.ndarray, index: np.ndarray, level: float) -> np.ndarray:
    """Whether grid points (N, 3) are above a level; none beyond the volume is."""
    number = index.astype(np.int64)
    there = ((number >= 0) & (number < volume.shape[0])).all(1)
    z, y, x = np.clip(number, 0, volume.shape[0] - 1).T
    return (volume[z, y, x] > level) & there


def return_to(mesh: Mesh, whole: Mesh, rounds: int = 3) -> Mesh:
    """The mesh with its neighbourhoods, but not its single vertices, back at the surface `whole`
    (see `given_back`)."""
    tree = surface_tree(torch.from_numpy(whole.vertices), torch.from_numpy(whole.faces))
    average = averaging(mesh)
    for _ in range(rounds):
        at = torch.from_numpy(mesh.vertices)
        closest = nearest(tree, at)[2]
        mesh = given_back(mesh, (closest - at).numpy(), average)
    return mesh


def curved_volume(mesh: Mesh) -> float:
    """The volume inside the smooth surface on which the vertices of a closed mesh lie, not inside
    its flat faces, which cut off what bulges between them.

    The middle of an edge e with the vertex normals n and m at its ends lies e . (m - n) / 8 inside
    the surface (that of a parabola), and a paraboloid over a triangle holds a third of its area
    times the sum of the three heights. What is bent inwards counts negative, so that noise cancels.
    """
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    normal = _sphere_normals(mesh)[mesh.faces]
    area = np.linalg.norm(
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
    )
    edge, turn = (np.roll(part, -1, 1) - part for part in (corner, normal))
    heights = np.einsum("fei,fei->f", edge, turn) / 8
    return float(mesh.volume + (area / 2 * heights / 3).sum())


def _sphere_normals(mesh: Mesh) -> np.ndarray:
    """Unit normals (V, 3) that are exact where the vertices around one lie on a sphere (Max 1999):
    area weights would lose a quarter of the bulge of a part that is three cells thick."""
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    total = np.zeros((len(mesh.vertices), 3))
    for k in range(3):
        one, two = (corner[:, (k + step) % 3] - corner[:, k] for step in (1, 2))
        size = (one * one).sum(1) * (two * two).sum(1)
        np.add.at(total, mesh.faces[:, k], np.cross(one, two) / np.maximum(size, 1e-24)[:, None])
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def match_volume(mesh: Mesh, wanted: float, most: float, rounds: int = 4) -> Mesh:
    """The mesh with its vertices moved along their normals, all by the same length of at most
    `most`, so that it has the volume `wanted`."""
    moved = 0.0
    points = mesh.vertices.astype(np.float64)
    normals = vertex_normals(mesh.vertices, mesh.faces).astype(np.float64)
    current = mesh
    for _ in range(rounds):
        corner = points[mesh.faces] + moved * normals[mesh.faces]
        area = np.linalg.norm(
            np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
        ).sum()
        step = 2 * (wanted - current.volume) / max(area, 1e-12)
        moved = float(np.clip(moved + step, -most, most))
        current = Mesh((points + moved * normals).astype(np.float32), mesh.faces)
    return current
