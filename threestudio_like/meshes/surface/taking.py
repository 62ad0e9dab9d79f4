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
from .normals import face_normals, unit

NUDGE = 1e-3
"""How far, as a share of the way to a face's middle, its corners look for their texture
coordinates: far enough to be on its side of a seam."""
ALIKE = 0.05
"""Corners at a vertex are one where their texture coordinates differ by less than this share of
the face's size in the texture."""
_COINCIDENT = 16
"""How many vertices at one place are looked through for the one on the right side of a seam."""


def take_over(old: Mesh, new: Mesh, born: np.ndarray | None = None) -> Mesh:
    """`new` (geometry only) with the attributes of `old`. Hard edges stay hard; where there are
    none it has no normals, so that it is smooth.

    Each face takes the chart of an old face, and each corner the values at the nearest point of
    that chart, on the face's own side of a seam.

    Args:
        born: the old face (F,) that every new one is left of; without them it is the one nearest to
            its middle.
    """
    place, own = at_size_one(old.vertices, new.vertices)
    corner = own[new.faces]
    if born is None:
        tree = surface_tree(torch.from_numpy(place), torch.from_numpy(old.faces))
        born = nearest(tree, torch.from_numpy(corner.mean(1)))[1].numpy()
    attributes: list[np.ndarray] = [a for a in (old.uv, old.colours) if a is not None]
    vertex, inverse = np.arange(len(new.vertices)), new.faces.reshape(-1).astype(np.int64)
    of_row = np.zeros((len(vertex), 0), np.float32)
    if attributes:
        table = np.concatenate(attributes, 1).astype(np.float32)
        chart = _charts(old, table)
        values = _values(old.faces, place, table, chart=chart, corner=corner, owner=chart[born])
        vertex, inverse, of_row = _split(new.faces, chart[born], values)
    normals = None
    smooth = _smooth_pieces(old)
    if smooth is not None:
        piece = np.repeat(smooth[born], 3)
        first, corners = equal_rows(np.stack([inverse, piece], 1))
        normals = _shaded(new, piece)[first]
        vertex, of_row, inverse = vertex[inverse[first]], of_row[inverse[first]], corners
    width = 0 if old.uv is None else 2
    vertices = new.vertices[vertex]
    return replace(
        old,
        vertices=vertices,
        faces=inverse.reshape(-1, 3).astype(np.int32),
        uv=of_row[:, :2] if width else None,
        colours=of_row[:, width:] if old.colours is not None else None,
        normals=normals,
        origin=nearest_vertices(old, vertices, _faces_at(inverse, born)),
    )


def _charts(mesh: Mesh, table: np.ndarray) -> np.ndarray:
    """The chart (F,) of every face, over vertices that have the same place and values (V, k): a
    file may have vertices of their own for each face, which are no seams."""
    number = equal_rows(np.concatenate([mesh.vertices, table], 1))[1]
    return charts(replace(mesh, faces=number[mesh.faces]))


def _smooth_pieces(mesh: Mesh) -> np.ndarray | None:
    """Numbers (F,) that are equal for faces between which no edge is hard, which is one where the
    normals of both sides differ; None where there are no normals, or no hard edges."""
    if mesh.normals is None or not np.isfinite(mesh.normals).all():
        return None
    normals = np.round(mesh.normals, 3) + np.float32(0)
    rows = equal_rows(np.concatenate([mesh.vertices, normals], 1))[0]
    if len(rows) == len(equal_rows(mesh.vertices)[0]):
        return None
    return _charts(mesh, normals)


def _shaded(mesh: Mesh, piece: np.ndarray) -> np.ndarray:
    """The normals (3F, 3) of the corners of a mesh, smooth within pieces (3F,)."""
    raw = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
    row, inverse = equal_rows(np.stack([mesh.faces.reshape(-1).astype(np.int64), piece], 1))
    total = np.zeros((len(row), 3))
    np.add.at(total, inverse, np.repeat(raw, 3, 0))
    out = unit(total)
    # What has no area faces anywhere.
    out[~out.any(1)] = [0, 1, 0]
    return out[inverse].astype(np.float32)


def _faces_at(corners: np.ndarray, born: np.ndarray) -> np.ndarray:
    """Of every vertex that corners (3F,) name, the old face that a face at it is left of."""
    out = np.zeros(int(corners.max(initial=-1)) + 1, np.int64)
    out[corners] = np.repeat(born, 3)
    return out


def _values(
    faces: np.ndarray,
    place: np.ndarray,
    table: np.ndarray,
    chart: np.ndarray,
    corner: np.ndarray,
    owner: np.ndarray,
) -> np.ndarray:
    """The values (N, 3, k) of the corners (N, 3, 3) of new faces.

    Args:
        faces, place, table: the old faces (F, 3), places (V, 3) and values (V, k). chart: of every
            old face (F,). owner: the chart (N,) of every new one.
    """
    values = np.empty((len(corner), 3, table.shape[1]), np.float32)
    middle = corner.mean(1, keepdims=True)
    within = corner + NUDGE * (middle - corner)
    old_of, new_of = _rows_of(chart), _rows_of(owner)
    for number, mine in new_of.items():
        own = faces[old_of[number]]
        branch = surface_tree(torch.from_numpy(place), torch.from_numpy(own))
        found = own[nearest(branch, torch.from_numpy(within[mine].reshape(-1, 3)))[1].numpy()]
        points = corner[mine].reshape(-1, 3)
        values[mine] = _at(place, found, points, table=table).reshape(len(mine), 3, -1)
        torn = mine[_torn(place[own], table[own], corner[mine], values[mine])]
        if len(torn):
            found = own[nearest(branch, torch.from_numpy(middle[torn, 0]))[1].numpy()]
            points = corner[torn].reshape(-1, 3)
            beyond = _at(place, np.repeat(found, 3, 0), points, table, clamped=False)
            low, high = table[own].min((0, 1)), table[own].max((0, 1))
            values[torn] = np.clip(beyond, low, high).reshape(len(torn), 3, -1)
    return values


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


def nearest_vertices(old: Mesh, points: np.ndarray, face: np.ndarray | None = None) -> np.ndarray:
    """The `Mesh.origin` of points (N, 3): that of the nearest vertex of `old`.

    Args:
        face: of every point (N,) a face of `old`. Of several vertices at the nearest place one is
            taken that is connected to it, which is on its side of a seam.
    """
    tree = cKDTree(old.vertices)
    found = tree.query(points)[1].astype(np.int64)
    if face is not None and len(old.vertices) > 1:
        chart = charts(old)
        of_vertex = np.full(len(old.vertices), -1)
        of_vertex[old.faces.reshape(-1)] = np.repeat(chart, 3)
        near = tree.query(points, k=min(_COINCIDENT, len(old.vertices)))[1]
        together = (old.vertices[near] == old.vertices[found][:, None]).all(2)
        alike = together & (of_vertex[near] == chart[face][:, None])
        some = np.flatnonzero(alike.any(1))
        found[some] = near[some, alike[some].argmax(1)]
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
