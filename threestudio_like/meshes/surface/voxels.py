"""Occupancy grids: from meshes, from binvox files, and back to smooth meshes.

A grid is (R, R, R) bool with axes x, y, z over [-1, 1]^3: cell i spans 2 i / R - 1 to 2 (i + 1) / R
- 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, label

from ...engine.errors import InputError
from ...engine.output import write_file
from ...kernels import surface_tree, winding_number
from ..mesh import Mesh
from ..points import sample_surface
from .extraction import isosurface
from .normals import vertex_normals
from .smoothing import relax

LARGEST_GRID = 512


def cell_centres(resolution: int) -> torch.Tensor:
    """The centres (R^3, 3) of the cells, with x as the slowest axis."""
    line = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def voxelise(mesh: Mesh, resolution: int = 32) -> np.ndarray:
    """The cells that are inside a mesh.

    A cell counts if the winding number is above one half at its centre or, where the surface passes
    through it, at three of eight points of the cell, so that walls thinner than a cell leave a
    trace. Overlapping and open pieces are allowed.

    Args:
        mesh: in [-1, 1]^3.
    """
    tree = surface_tree(
        torch.from_numpy(mesh.vertices.astype(np.float32)),
        torch.from_numpy(mesh.faces.astype(np.int32)),
    )
    centres = cell_centres(resolution)
    inside = winding_number(tree, centres, 2.0) > 0.5
    points = sample_surface(mesh, 24 * resolution**2).points
    cell = np.clip(((points + 1) / 2 * resolution).astype(np.int64), 0, resolution - 1)
    touched = torch.from_numpy(
        np.unique((cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2])
    )
    offsets = cell_centres(2) / resolution
    eight = (centres[touched, None] + offsets).reshape(-1, 3)
    share = (winding_number(tree, eight, 2.0) > 0.5).view(-1, 8).sum(1)
    inside[touched] = share > 2
    return inside.view(resolution, resolution, resolution).numpy()


def to_mesh(
    volume: np.ndarray,
    blur: float = 0.7,
    level: float = 0.5,
    rounds: int = 6,
    smallest: float = 0.02,
) -> Mesh | None:
    """A smooth closed mesh of a volume (R, R, R) in [0, 1]; None if it is empty.

    Args:
        blur: standard deviation, in cells, of the Gaussian that rounds the steps. Thin parts keep
            their volume, because the level is adapted to them.
        rounds: rounds of Taubin smoothing, which keep the volume.
        smallest: pieces with less than this share of the filled cells are dropped.
    """
    full = volume >= level
    if not full.any():
        return None
    pieces, count = label(full, np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(pieces.reshape(-1))[1:]
        keep = np.flatnonzero(sizes >= smallest * sizes.sum()) + 1
        volume = np.where(np.isin(pieces, keep) | ~full, volume, 0)
    fine = gaussian_filter(
        np.repeat(np.repeat(np.repeat(volume.astype(np.float32), 2, 0), 2, 1), 2, 2), 2 * blur
    )
    # The level at which the smooth volume has the volume of the voxels, because blurring alone
    # would remove legs and handles.
    wanted = 8 * int((volume >= level).sum())
    iso = (
        float(np.clip(np.partition(fine.reshape(-1), -wanted)[-wanted], 0.12, 0.6))
        if wanted < fine.size
        else 0.5
    )
    mesh = isosurface(np.ascontiguousarray(fine.transpose(2, 1, 0)), iso)
    if mesh is None:
        return None
    size = fine.shape[0]
    # The samples of `isosurface` lie on the border of [-1, 1], but here they are the centres of
    # cells.
    points = (mesh.vertices.astype(np.float64) * ((size - 1) / size)).astype(np.float32)
    smooth = relax(Mesh(points, mesh.faces), rounds)
    return Mesh(
        smooth.vertices, smooth.faces, normals=vertex_normals(smooth.vertices, smooth.faces)
    )


def read_binvox(path: Path, resolution: int | None = None) -> np.ndarray:
    """Read a binvox file as (x, y, z) bool; the file stores x, z, y.

    Args:
        resolution: number of cells along an edge that the file must have.

    Raises:
        InputError: the file cannot be used.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", str(path), "Check the file"
        ) from None
    head, separator, body = data[:4096].partition(b"data\n")
    body = data[len(head) + len(separator) :]
    dims = re.search(rb"^dim (\d{1,4}) (\d{1,4}) (\d{1,4})", head, re.MULTILINE)
    if not data.startswith(b"#binvox") or not separator or dims is None:
        raise InputError("is not a binvox file", str(path), "Give a file that begins with #binvox")
    shape = tuple(int(d) for d in dims.groups())
    if (
        len(set(shape)) != 1
        or not 0 < shape[0] <= LARGEST_GRID
        or (resolution is not None and shape[0] != resolution)
    ):
        wanted = (
            f"{resolution} cells along every edge"
            if resolution
            else f"a cube of at most {LARGEST_GRID} cells an edge"
        )
        raise InputError(f"has {' x '.join(map(str, shape))} cells", str(path), f"Wanted: {wanted}")
    runs = np.frombuffer(body[: len(body) // 2 * 2], np.uint8).reshape(-1, 2)
    if int(runs[:, 1].sum(dtype=np.int64)) != shape[0] ** 3 or (runs[:, 0] > 1).any():
        raise InputError(
            "is a binvox file that ends too early or holds other values than 0 and 1",
            str(path),
            "Make it again",
        )
    flat = np.repeat(runs[:, 0] > 0, runs[:, 1])
    return np.ascontiguousarray(flat.reshape(shape).transpose(0, 2, 1))


def write_binvox(voxels: np.ndarray, path: Path, *, force: bool = False) -> None:
    """Write (R, R, R) bool with axes x, y, z as a binvox file. Raises OutputError."""
    flat = voxels.transpose(0, 2, 1).reshape(-1).astype(np.uint8)
    change = np.flatnonzero(np.diff(flat)) + 1
    begin, end = np.concatenate([[0], change]), np.concatenate([change, [len(flat)]])
    runs = bytearray()
    for a, b in zip(begin, end):
        left = int(b - a)
        while left > 0:
            runs += bytes((int(flat[a]), min(255, left)))
            left -= 255
    size = voxels.shape[0]
    head = f"#binvox 1\ndim {size} {size} {size}\ntranslate -1 -1 -1\nscale 2\ndata\n"
    write_file(path, head.encode() + bytes(runs), force=force)
