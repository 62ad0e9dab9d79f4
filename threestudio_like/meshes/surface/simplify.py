"""Decimation that keeps the texture: quadric decimation of the welded surface, with texture
coordinates from the nearest old face."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...engine.errors import ConfigError
from ...kernels import nearest, surface_tree
from ..charts import charts
from ..mesh import Mesh


def decimate(mesh: Mesh, faces: int, backend: str = "auto") -> Mesh:
    """The mesh with at most `faces` faces, or the fewest that the quadrics allow; texture, texture
    coordinates and colours are kept.

    Args:
        backend: "auto" (the quadrics of a required package), "pymeshlab" or "open3d" (extras).

    Raises:
        ConfigError: the extra is not installed.
    """
    if faces >= len(mesh.faces):
        return mesh
    place = mesh.welded()
    first = np.zeros(int(place.max()) + 1, np.int64)
    first[place] = np.arange(len(place))
    points, triangles = mesh.vertices[first], place[mesh.faces].astype(np.int32)
    if backend == "auto":
        import fast_simplification

        # Gently at first; what misses the budget then (many small pieces, flat regions of equal
        # cost) needs a quicker rise of the allowed error.
        for eagerness in (3, 5, 7, 10, 14):
            small_points, small = fast_simplification.simplify(
                points,
                triangles,
                target_reduction=max(0.0, min(1 - 1e-6, 1 - faces / len(mesh.faces))),
                agg=eagerness,
            )
            if len(small) <= faces:
                break
        points, triangles = small_points, small
    else:
        from ..extras import decimate_with

        points, triangles = decimate_with(backend, points, triangles, faces=faces)
    small = Mesh(
        np.ascontiguousarray(points, np.float32), np.ascontiguousarray(triangles, np.int32)
    )
    return take_over(mesh, small)


def take_over(old: Mesh, new: Mesh) -> Mesh:
    """`new` (geometry only) with the attributes of `old`.

    Each face takes the chart of the old face below its middle, and each corner the values at the
    nearest point of that chart.
    """
    attributes: list[np.ndarray] = [a for a in (old.uv, old.colours) if a is not None]
    if not attributes:
        origin = nearest_vertices(old, new.vertices)
        return replace(new, material=old.material, part=old.part, origin=origin)
    table = np.concatenate(attributes, 1).astype(np.float32)
    tree = surface_tree(torch.from_numpy(old.vertices), torch.from_numpy(old.faces))
    middle = new.vertices[new.faces].mean(1).astype(np.float32)
    chart = charts(old)
    owner = chart[nearest(tree, torch.from_numpy(middle))[1].numpy()]
    corner = np.stack([new.faces.reshape(-1), np.repeat(owner, 3)], 1)
    rows, inverse = np.unique(corner, axis=0, return_inverse=True)
    values = np.empty((len(rows), table.shape[1]), np.float32)
    for number in np.unique(owner):
        mine = rows[:, 1] == number
        faces = old.faces[chart == number]
        branch = surface_tree(torch.from_numpy(old.vertices), torch.from_numpy(faces))
        _, face, point = nearest(branch, torch.from_numpy(new.vertices[rows[mine, 0]]))
        values[mine] = _at(old.vertices, faces[face.numpy()], point.numpy(), table=table)
    width = 0 if old.uv is None else 2
    return replace(
        old,
        vertices=new.vertices[rows[:, 0]],
        faces=inverse.reshape(-1, 3).astype(np.int32),
        uv=values[:, :2] if width else None,
        colours=values[:, width:] if old.colours is not None else None,
        normals=None,
        origin=nearest_vertices(old, new.vertices[rows[:, 0]]),
    )


def nearest_vertices(old: Mesh, points: np.ndarray) -> np.ndarray:
    """The `Mesh.origin` of points (N, 3): that of the nearest vertex of `old`."""
    found = cKDTree(old.vertices).query(points)[1].astype(np.int64)
    return found if old.origin is None else old.origin[found]


def _at(
    vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, table: np.ndarray
) -> np.ndarray:
    """Values of vertex attributes at points (N, 3) of faces (N, 3)."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, wu, wv = ((p * q).sum(1) for p, q in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    scale = np.maximum(uu * vv - uv * uv, 1e-30)
    s, t = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    s, t = np.clip(s, 0, 1), np.clip(t, 0, 1)
    r = np.maximum(1 - s - t, 0)
    total = (r + s + t)[:, None]
    return (
        r[:, None] * table[faces[:, 0]]
        + s[:, None] * table[faces[:, 1]]
        + t[:, None] * table[faces[:, 2]]
    ) / total


def check_budget(faces: Any) -> None:
    """Raise ConfigError for a number of faces that no mesh can have."""
    if faces < 4:
        raise ConfigError(f"must be at least 4, got {faces}", "--faces")
