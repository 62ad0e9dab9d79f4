"""Decimation that keeps what a surface is, its texture, and the borders that parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...engine.errors import ConfigError
from ...kernels import nearest, surface_tree
from ..mesh import Mesh
from .instances import copies, placed_copy
from .joint import JointSurface
from .taking import at_size_one, take_over


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
    lean = [_lean(m) for m in meshes]
    found = copies(lean)
    counts = [1 + len(of) for of in found.values()]
    made = _collapsed([lean[k] for k in found], counts, faces)
    out = list(meshes)
    for (number, of), mesh in zip(found.items(), made):
        if mesh is not lean[number]:
            out[number] = mesh
            for other, affine in of:
                over = not np.array_equal(lean[other].faces, lean[number].faces)
                out[other] = placed_copy(mesh, meshes[other], affine, turned_over=over)
    return out


def _lean(mesh: Mesh) -> Mesh:
    """A mesh without the vertices that no face names: they may be anywhere, or no numbers."""
    return mesh if mesh.named().all() else mesh.keep_faces(np.ones(len(mesh.faces), bool))


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


def displacement(old: Mesh, new: Mesh, most: int = 100_000) -> float:
    """The largest distance between two surfaces, as a share of the diagonal of the old one's box:
    from vertices and middles of faces, of at most about `most` each, to the other surface."""
    if not len(old.faces) or not len(new.faces):
        return 0.0
    old, new = _lean(old), _lean(new)
    first, second = at_size_one(old.vertices, new.vertices)
    size = float(np.linalg.norm(np.ptp(first, axis=0)))
    far = 0.0
    ways = ((first, old.faces, second, new.faces), (second, new.faces, first, old.faces))
    for vertices, faces, others, theirs in ways:
        points = np.concatenate([vertices, vertices[faces].mean(1)])
        points = np.ascontiguousarray(points[:: max(1, len(points) // most)], np.float32)
        tree = surface_tree(torch.from_numpy(others), torch.from_numpy(theirs))
        there = nearest(tree, torch.from_numpy(points))[2].numpy()
        far = max(far, float(np.linalg.norm(there - points, axis=1).max()))
    return far / max(size, 1e-30)


def change(old: Mesh, new: Mesh) -> str:
    """What a decimation did to a mesh, in a few words."""
    from ..physics.mass import is_closed

    words = f"{len(old.faces)} -> {len(new.faces)} faces"
    if new is old:
        return words
    old, new = _lean(old), _lean(new)
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
