"""What a mesh that was made of another takes over from it: texture coordinates, colours, look, and
where its vertices came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...kernels import nearest, surface_tree
from ..charts import charts
from ..equal_rows import equal_rows
from ..mesh import Mesh

NUDGE = 1e-3
"""How far, as a share of the way to a face's middle, its corners look for their texture
coordinates: far enough to be on its side of a seam."""
ALIKE = 0.05
"""Corners at a vertex are one where their texture coordinates differ by less than this share of
the face's size in the texture."""


def take_over(old: Mesh, new: Mesh, born: np.ndarray | None = None) -> Mesh:
    """`new` (geometry only) with the attributes of `old`.

    Each face takes the chart of an old face, and each corner the values at the nearest point of
    that chart, on the face's own side of a seam.

    Args:
        born: the old face (F,) that every new one is left of; without them it is the one nearest to
            its middle.
    """
    attributes: list[np.ndarray] = [a for a in (old.uv, old.colours) if a is not None]
    if not attributes:
        origin = nearest_vertices(old, new.vertices)
        return replace(
            new, texture=old.texture, material=old.material, part=old.part, origin=origin
        )
    table = np.concatenate(attributes, 1).astype(np.float32)
    place, own = at_size_one(old.vertices, new.vertices)
    corner = own[new.faces]
    middle = corner.mean(1, keepdims=True)
    if born is None:
        tree = surface_tree(torch.from_numpy(place), torch.from_numpy(old.faces))
        born = nearest(tree, torch.from_numpy(middle[:, 0]))[1].numpy()
    chart = charts(old)
    owner = chart[born]
    values = np.empty((len(new.faces), 3, table.shape[1]), np.float32)
    within = corner + NUDGE * (middle - corner)
    old_of, new_of = _rows_of(chart), _rows_of(owner)
    for number, mine in new_of.items():
        faces = old.faces[old_of[number]]
        branch = surface_tree(torch.from_numpy(place), torch.from_numpy(faces))
        found = faces[nearest(branch, torch.from_numpy(within[mine].reshape(-1, 3)))[1].numpy()]
        points = corner[mine].reshape(-1, 3)
        values[mine] = _at(place, found, points, table=table).reshape(len(mine), 3, -1)
        torn = mine[_torn(place[faces], table[faces], corner[mine], values[mine])]
        if len(torn):
            found = faces[nearest(branch, torch.from_numpy(middle[torn, 0]))[1].numpy()]
            points = corner[torn].reshape(-1, 3)
            beyond = _at(place, np.repeat(found, 3, 0), points, table, clamped=False)
            low, high = table[faces].min((0, 1)), table[faces].max((0, 1))
            values[torn] = np.clip(beyond, low, high).reshape(len(torn), 3, -1)
    vertex, inverse, of_row = _split(new.faces, owner, values)
    width = 0 if old.uv is None else 2
    return replace(
        old,
        vertices=new.vertices[vertex],
        faces=inverse.reshape(-1, 3).astype(np.int32),
        uv=of_row[:, :2] if width else None,
        colours=of_row[:, width:] if old.colours is not None else None,
        normals=None,
        origin=nearest_vertices(old, new.vertices[vertex]),
    )


def _torn(
    old: np.ndarray, old_values: np.ndarray, new: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Which new faces (N,) of a chart lie over a seam at which it meets itself, so that their
    corners found both of its ends: an edge changes more than twice as much for its length as one of
    any old face does.

    Args:
        old, new: corners (F, 3, 3) and (N, 3, 3). old_values, values: of theirs, (., 3, k).
    """

    def steps(corners: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        length = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2)
        return length, np.abs(table - np.roll(table, 1, 1)).max(2)

    length, step = steps(old, old_values)
    # Lines among the old faces say nothing.
    solid = length > 1e-3 * length.mean()
    most = float((step[solid] / length[solid]).max()) if solid.any() else np.inf
    length, step = steps(new, values)
    torn = np.any(step > 2 * most * length + 1e-4, axis=1)
    return np.asarray(torn)


def _rows_of(label: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of every label, in order."""
    order = np.argsort(label, kind="stable")
    labels, begin = np.unique(label[order], return_index=True)
    return dict(zip(labels.tolist(), np.split(order, begin[1:])))


def _split(
    faces: np.ndarray, owner: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices split where corners differ.

    Args:
        faces: (F, 3). owner: the chart (F,). values: (F, 3, k).

    Returns:
        For every split vertex the one that it was (N,) and its values (N, k), in the middle: the
        split vertex of every corner (3F,).
    """
    size = np.ptp(values, axis=1).max(1) * ALIKE
    near = np.maximum(np.repeat(size, 3), 1e-6)
    corner = np.stack([faces.reshape(-1), np.repeat(owner, 3)], 1).astype(np.int64)
    flat = values.reshape(-1, values.shape[2])
    group = np.zeros(len(corner), np.int64)
    open_ = np.arange(len(corner))
    # Corners near the first of their vertex and chart are one with it; of the rest the same again.
    # What is left after a few is split for good.
    for number in range(6):
        first, inverse = equal_rows(corner[open_])
        leader = open_[first][inverse]
        alike = (
            np.abs(flat[open_] - flat[leader]) <= np.maximum(near[open_], near[leader])[:, None]
        ).all(1)
        group[open_[alike]] = number
        open_ = open_[~alike]
        if not len(open_):
            break
    group[open_] = 6 + np.arange(len(open_))
    first, inverse = equal_rows(np.concatenate([corner, group[:, None]], 1))
    total = np.zeros((len(first), flat.shape[1]))
    np.add.at(total, inverse, flat)
    mean = total / np.bincount(inverse, minlength=len(first))[:, None]
    return corner[first, 0], inverse, mean.astype(np.float32)


def nearest_vertices(old: Mesh, points: np.ndarray) -> np.ndarray:
    """The `Mesh.origin` of points (N, 3): that of the nearest vertex of `old`."""
    found = cKDTree(old.vertices).query(points)[1].astype(np.int64)
    return found if old.origin is None else old.origin[found]


def _at(
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    table: np.ndarray,
    clamped: bool = True,
) -> np.ndarray:
    """Values of vertex attributes at points (N, 3) of faces (N, 3); beyond a face those of its
    border, or, if they are not to be `clamped`, as they go on."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, wu, wv = ((p * q).sum(1) for p, q in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    scale = np.maximum(uu * vv - uv * uv, 1e-30)
    s, t = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    if clamped:
        s, t = np.clip(s, 0, 1), np.clip(t, 0, 1)
    r = 1 - s - t
    r = np.maximum(r, 0) if clamped else r
    total = (r + s + t)[:, None]
    return (
        r[:, None] * table[faces[:, 0]]
        + s[:, None] * table[faces[:, 1]]
        + t[:, None] * table[faces[:, 2]]
    ) / total


def at_size_one(given: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Points (., 3) float32 moved and scaled as one, so that the first of them lie about the origin
    and within a size of one: what is very small, or far away, would lose digits where distances
    are taken in float32."""
    low, high = given.min(0).astype(np.float64), given.max(0).astype(np.float64)
    size = max(float((high - low).max()), 1e-300)
    middle = (low + high) / 2
    return [((points - middle) / size).astype(np.float32) for points in (given, *others)]
