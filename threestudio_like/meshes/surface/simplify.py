"""Decimation that keeps what a surface is, its texture, and the borders that parts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...engine.errors import ConfigError
from ...kernels import nearest, surface_tree
from ..charts import charts
from ..equal_rows import equal_rows
from ..mesh import Mesh
from .instances import copies, placed_copy
from .joint import JointSurface

NUDGE = 1e-3
"""How far, as a share of the way to a face's middle, its corners look for their texture
coordinates: far enough to be on its side of a seam."""
ALIKE = 0.05
"""Corners at a vertex are one where their texture coordinates differ by less than this share of
the face's size in the texture."""


def decimate(mesh: Mesh, faces: int, backend: str = "auto") -> Mesh:
    """The mesh with at most `faces` faces, or the fewest that it can have and stay what it is;
    texture, texture coordinates and colours are kept. See `decimate_parts`."""
    return decimate_parts([mesh], faces, backend)[0]


def decimate_parts(meshes: Sequence[Mesh], faces: int, backend: str = "auto") -> list[Mesh]:
    """Meshes with at most `faces` faces together, or the fewest that they can have.

    Of all meshes together the faces go first whose loss moves the surface least. Closed pieces stay
    closed and whole, holes stay holes, and borders and seams of the texture stay lines where they
    were. Meshes that meet along a border, as those of several materials do, still meet there. Where
    seams stand in the way of the budget they give way.

    Args:
        backend: "auto" (edge collapses, `collapse.py`), "pymeshlab" or "open3d" (extras, which take
            every mesh by itself).

    Raises:
        ConfigError: the extra is not installed.
    """
    total = sum(len(m.faces) for m in meshes)
    if faces >= total:
        return list(meshes)
    if backend == "auto":
        return _copied(meshes, faces)
    # The small ones first: one that cannot have so few faces leaves less to the others.
    out, left, faces_left = list(meshes), faces, total
    for k in sorted(range(len(out)), key=lambda k: len(out[k].faces)):
        size = len(out[k].faces)
        share = max(4, int(left * size / max(1, faces_left)))
        out[k] = _by_extra(out[k], share, backend) if share < size else out[k]
        left, faces_left = left - len(out[k].faces), faces_left - size
    return out


def _copied(meshes: Sequence[Mesh], faces: int) -> list[Mesh]:
    """`_collapsed`, with copies of a mesh in other places that stay copies."""
    found = copies(meshes)
    counts = [1 + len(of) for of in found.values()]
    made = _collapsed([meshes[k] for k in found], counts, faces)
    out = list(meshes)
    for (number, of), mesh in zip(found.items(), made):
        out[number] = mesh
        for other, affine in of if mesh is not meshes[number] else ():
            out[other] = placed_copy(mesh, meshes[other], affine)
    return out


def _collapsed(meshes: list[Mesh], counts: list[int], wanted: int) -> list[Mesh]:
    """Meshes as one surface with at most `wanted` faces, or the fewest that it can have; each
    counts as so many."""
    from .collapse import collapse
    from .quadrics import quadrics_of

    surface = JointSurface.of(meshes)
    middle = surface.points.mean(0) if len(surface.points) else np.zeros(3)
    points = surface.points - middle
    faces, flags = surface.faces.copy(), surface.flags.copy()
    alive = np.ones(len(faces), bool)
    quadrics = quadrics_of(points, faces, flags)
    weight = surface.weight * np.array(counts, np.int32)[surface.owner[surface.representative]]
    collapse(points, faces, flags, quadrics, alive, weight, wanted)
    points = (points + middle).astype(np.float32)
    out = []
    born, corners = surface.born(faces, alive)
    for number, mesh in enumerate(meshes):
        mine = surface.owner[born] == number
        old = born[mine] - int(surface.first[number])
        used, inverse = np.unique(corners[mine], return_inverse=True)
        small = Mesh(points[used], inverse.reshape(-1, 3).astype(np.int32))
        before = surface.points[surface.given[born[mine]]].astype(np.float32)
        if not len(old) or np.array_equal(small.vertices[small.faces], before):
            # Nothing was joined. What is missing at most had no area.
            out.append(mesh)
        else:
            out.append(take_over(mesh, small, old))
    return out


def _by_extra(mesh: Mesh, faces: int, backend: str) -> Mesh:
    """A mesh decimated by the library of an extra."""
    from ..extras import decimate_with

    place = mesh.welded()
    first = np.zeros(int(place.max()) + 1, np.int64)
    first[place] = np.arange(len(place))
    points, triangles = decimate_with(
        backend, mesh.vertices[first], place[mesh.faces].astype(np.int32), faces=faces
    )
    small = Mesh(
        np.ascontiguousarray(points, np.float32), np.ascontiguousarray(triangles, np.int32)
    )
    return take_over(mesh, small)


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
    corner = new.vertices[new.faces].astype(np.float32)
    middle = corner.mean(1, keepdims=True)
    if born is None:
        tree = surface_tree(torch.from_numpy(old.vertices), torch.from_numpy(old.faces))
        born = nearest(tree, torch.from_numpy(middle[:, 0]))[1].numpy()
    chart = charts(old)
    owner = chart[born]
    values = np.empty((len(new.faces), 3, table.shape[1]), np.float32)
    within = corner + NUDGE * (middle - corner)
    old_of, new_of = _rows_of(chart), _rows_of(owner)
    for number, mine in new_of.items():
        faces = old.faces[old_of[number]]
        branch = surface_tree(torch.from_numpy(old.vertices), torch.from_numpy(faces))
        found = faces[nearest(branch, torch.from_numpy(within[mine].reshape(-1, 3)))[1].numpy()]
        points = corner[mine].reshape(-1, 3)
        values[mine] = _at(old.vertices, found, points, table=table).reshape(len(mine), 3, -1)
        torn = mine[_torn(old.vertices[faces], table[faces], corner[mine], values[mine])]
        if len(torn):
            found = faces[nearest(branch, torch.from_numpy(middle[torn, 0]))[1].numpy()]
            points = corner[torn].reshape(-1, 3)
            beyond = _at(old.vertices, np.repeat(found, 3, 0), points, table, clamped=False)
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


def displacement(old: Mesh, new: Mesh, most: int = 100_000) -> float:
    """The largest distance between two surfaces, as a share of the diagonal of the old one's box:
    from vertices and middles of faces, of at most about `most` each, to the other surface."""
    if not len(old.faces) or not len(new.faces):
        return 0.0
    used = old.vertices[old.named()]
    size = float(np.linalg.norm(np.ptp(used, axis=0)))
    far = 0.0
    for one, other in ((old, new), (new, old)):
        points = np.concatenate([one.vertices[one.named()], one.vertices[one.faces].mean(1)])
        points = np.ascontiguousarray(points[:: max(1, len(points) // most)], np.float32)
        tree = surface_tree(torch.from_numpy(other.vertices), torch.from_numpy(other.faces))
        there = nearest(tree, torch.from_numpy(points))[2].numpy()
        far = max(far, float(np.linalg.norm(there - points, axis=1).max()))
    return far / max(size, 1e-30)


def change(old: Mesh, new: Mesh) -> str:
    """What a decimation did to a mesh, in a few words."""
    from ..physics.mass import is_closed

    words = f"{len(old.faces)} -> {len(new.faces)} faces"
    if new is old:
        return words
    words += f", moved by at most {100 * displacement(old, new):.2g} % of its size"
    if old.volume > 0 and is_closed(old):
        grown = 100 * (new.volume / old.volume - 1)
        if abs(grown) >= 1:
            words += f", volume {grown:+.0f} %"
    return words


def check_budget(faces: Any) -> None:
    """Raise ConfigError for a number of faces that no mesh can have."""
    if faces < 4:
        raise ConfigError(f"must be at least 4, got {faces}", "--faces")
