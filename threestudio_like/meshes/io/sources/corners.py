"""Meshes of polygons whose corners have properties of their own, as most formats know them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....engine.errors import InputError
from ...mesh import Mesh
from ...surface.polygons import triangulate_all
from ..limits import LARGEST_COUNT, too_many


def assembled(
    mesh: Mesh,
    corners: np.ndarray,
    sizes: np.ndarray,
    where: str,
    *,
    uv: np.ndarray | None = None,
    colours: np.ndarray | None = None,
    normals: np.ndarray | None = None,
) -> tuple[Mesh, np.ndarray]:
    """The mesh with polygons as its triangles, and the polygon (T,) of each.

    Vertices are doubled where corners at them differ; what differs in nothing stays one vertex.

    Args:
        mesh: its vertices, and what belongs to them.
        corners: (C,) the vertex of every corner, polygon by polygon.
        sizes: (P,) the number of corners of every polygon.
        uv, colours, normals: of the corners, (C, …) float32.

    Raises: InputError: a corner names no vertex, or there are too many triangles.
    """
    count = len(mesh.vertices)
    if int(sizes.sum()) != len(corners) or (len(sizes) and sizes.min() < 0):
        raise InputError("has faces of another size than it says", where, "Repair the mesh first")
    if len(corners) and (corners.min() < 0 or corners.max() >= count):
        wrong = corners[(corners < 0) | (corners >= count)]
        raise InputError(
            f"a face names vertex {int(wrong[0])}, of {count}", where, "Repair the mesh first"
        )
    total = int(np.maximum(sizes - 2, 0).sum())
    if total > LARGEST_COUNT:
        raise too_many(total, "faces", where)
    triangles, owner = triangulate_all(mesh.vertices, corners, sizes)
    own = [v for v in (uv, colours, normals) if v is not None]
    if not own:
        return replace(mesh, faces=corners[triangles].astype(np.int32).reshape(-1, 3)), owner
    keys = np.concatenate([corners[:, None], *own], 1, dtype=np.float64, casting="unsafe")
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertex = corners[first].astype(np.int64)

    def pick(of_corners: np.ndarray | None, of_vertices: np.ndarray | None) -> np.ndarray | None:
        if of_corners is not None:
            return of_corners[first]
        return None if of_vertices is None else of_vertices[vertex]

    out = replace(
        mesh,
        vertices=mesh.vertices[vertex],
        faces=inverse.reshape(-1)[triangles].astype(np.int32).reshape(-1, 3),
        uv=pick(uv, mesh.uv),
        colours=pick(colours, mesh.colours),
        normals=pick(normals, mesh.normals),
        origin=vertex,
    )
    return out, owner
