"""Signed distances on grids: of a mesh, with its volume kept, and their entropy."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label

from ...engine.errors import ExportError
from ...kernels import nearest, surface_tree, winding_number
from ...meshes.mesh import Mesh
from .surface import Surface

BAND = 2
"""Cells to either side of a surface in which distances are exact: beyond, their sign and that they
are larger is all that anyone asks."""


def grid_points(size: int) -> torch.Tensor:
    """The points ((size + 1)^3, 3) of a grid of cells over [-1, 1]^3, x first."""
    line = torch.linspace(-1, 1, size + 1)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).view(-1, 3)


@torch.no_grad()
def signed_distance(mesh: Mesh, points: torch.Tensor, cell: float) -> torch.Tensor:
    """Distances (N,) of points (N, 3) in [-1, 1]^3 to the surface of a closed mesh, negative inside
    (where the winding number is above one half).

    Exact to float32 within a band of `BAND` cells of the length `cell` beside the surface; beyond,
    the distance to the band and `BAND` cells. Not differentiable.
    """
    size = max(1, round(2 / cell))
    near, far, room = _band(mesh, size)
    index = ((points + 1) / 2 * size).long().clamp(0, size - 1)
    flat = ((index[:, 2] * size + index[:, 1]) * size + index[:, 0]).numpy()
    exact = torch.from_numpy(near.reshape(-1)[flat])
    tree = surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))
    out = torch.from_numpy(far.reshape(-1)[flat]).to(points) * cell
    # One point of a room tells whether all of it is inside.
    rooms = np.arange(1, int(room.max()) + 1)
    first = np.unique(room.reshape(-1), return_index=True)[1]
    first = first[len(first) - len(rooms) :]
    z, y, x = np.unravel_index(first, room.shape)
    middle = torch.from_numpy((np.stack([x, y, z], 1) + 0.5) / size * 2 - 1).to(points)
    full = np.concatenate([[False], (winding_number(tree, middle) > 0.5).numpy()])
    out = torch.where(torch.from_numpy(full[room.reshape(-1)[flat]]), -out, out)
    asked = points[exact]
    away = nearest(tree, asked)[0]
    out[exact] = torch.where(winding_number(tree, asked) > 0.5, -away, away)
    return out


def _band(mesh: Mesh, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of size^3 cells with axes z, y, x: which are near the surface, how far the others are in
    cells, and the number of the connected room that they belong to."""
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    edge = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).max(1)
    # Points of every triangle, closer to one another than a cell.
    steps = np.maximum(1, np.ceil(edge * size / 2 / 0.7)).astype(np.int64)
    marked = np.zeros((size,) * 3, bool)
    for count in np.unique(steps):
        own = corner[steps == count]
        i, j = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
        u, v = (k[i + j <= count] / count for k in (i, j))
        weights = np.stack([1 - u - v, u, v], 1)
        for part in np.array_split(own, max(1, len(own) * len(weights) // (1 << 20))):
            place = np.einsum("pk,fki->fpi", weights, part).reshape(-1, 3)
            cell = np.clip(((place + 1) / 2 * size).astype(np.int64), 0, size - 1)
            marked[cell[:, 2], cell[:, 1], cell[:, 0]] = True
    away = distance_transform_edt(~marked)
    near = away <= BAND
    return near, np.maximum(away, BAND).astype(np.float32), label(~near)[0]


@torch.no_grad()
def begin_with(
    surface: Surface, sdf: torch.Tensor, grid: torch.Tensor, *, mesh: Mesh, cell: float
) -> None:
    """Set the distances `sdf` (N,) of a surface, in cells, to those of a mesh at `grid` (N, 3), and
    shift them so that the surface encloses the mesh's volume.

    A dual vertex lies within what is convex, and a chord within what is round; the shift gives
    that back: by Newton's method, of at most half a cell. Raises ExportError where nothing of the
    mesh is inside.
    """
    away = signed_distance(mesh, grid.cpu(), cell).to(sdf) / cell
    sdf.copy_(away)
    if not bool((away < 0).any()):
        raise ExportError(
            "the shape is thinner than a cell of the grid everywhere",
            "mesh.shape",
            "Raise its size: --mesh.shape.flexicubes.size or --mesh.shape.tetrahedra.size",
        )
    wanted, shift = mesh.volume, 0.0
    for _ in range(4):
        found = surface.mesh()
        if not len(found.faces):
            break
        step = (wanted - found.volume) / max(found.area, 1e-9) / cell
        shift = min(max(shift + step, -0.5), 0.5)
        sdf.copy_(away - shift)
        if abs(step) < 1e-4:
            break


def sign_entropy(sdf: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Mean over the edges (E, 2) whose ends have different signs of the binary cross entropy of
    either end's sigmoid and the other's sign (the regulariser of Munkberg et al. 2022, which
    FlexiCubes takes too): inner surfaces and floaters cost as much as what is seen, and only what
    is seen has a reason to be there."""
    if len(edges) == 0:
        return sdf.sum() * 0
    one, two = sdf[edges[:, 0]], sdf[edges[:, 1]]
    there, other = (two.detach() > 0).to(sdf), (one.detach() > 0).to(sdf)
    found = F.binary_cross_entropy_with_logits(one, there)
    return found + F.binary_cross_entropy_with_logits(two, other)
