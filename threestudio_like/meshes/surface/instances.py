"""Meshes that are copies of each other in other places, so that what is made of one can be made of
all and a file may go on to hold it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..equal_rows import equal_rows
from ..mesh import Mesh
from .normals import unit

NEAR = 1e-5
"""How far a copy's vertices may lie from where its original's would be, as a share of its size."""
ROUNDING = 2.0**-22
"""By which share of it a coordinate that was computed and rounded may be off."""
_MARKS = 3
"""Numbers of a mesh's fingerprint, by which those that are no copies are told apart quickly."""
_LIKE = 1e-2
"""By how much these may differ between copies."""


def copies(meshes: Sequence[Mesh]) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Which meshes are copies of another one: for every original, by its number, its copies and
    the affine map (4, 3) float64 from it to each, for rows (x, y, z, 1).

    Copies have the same faces, or where they are mirrored all of them turned over, and the same
    texture coordinates, colours and look. One that meets another mesh, or whose original does, is
    none: the two have to stay together where they meet.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, mesh in enumerate(meshes):
        alike.setdefault(_mark(mesh), []).append(number)
    out: dict[int, list[tuple[int, np.ndarray]]] = {k: [] for k in range(len(meshes))}
    if all(len(group) == 1 for group in alike.values()):
        return out
    alone = _alone(meshes)
    for group in alike.values():
        originals: list[int] = []
        marks = np.zeros((len(group), _MARKS))
        # The largest are the originals: an error of theirs is the largest that copies have.
        for number in sorted(group, key=lambda k: -_size(meshes[k])) if len(group) > 1 else ():
            if not alone[number]:
                continue
            mark = _fingerprint(meshes[number])
            near = np.abs(marks[: len(originals)] - mark).max(1) < _LIKE
            for first in np.flatnonzero(near).tolist():
                one = meshes[originals[first]]
                found = _affine(one, meshes[number])
                if found is not None and _faces_fit(one, meshes[number], found):
                    out[originals[first]].append((number, found))
                    del out[number]
                    break
            else:
                marks[len(originals)] = mark
                originals.append(number)
    return out


def oriented(faces: np.ndarray) -> np.ndarray:
    """Faces (F, 3), or all of them turned over, so that they are the same for both."""
    back = len(faces) > 0 and faces[0, 0] > faces[0, 2]
    return np.ascontiguousarray(faces[:, ::-1]) if back else faces


def placed_copy(made: Mesh, copy: Mesh, affine: np.ndarray, *, turned_over: bool = False) -> Mesh:
    """What was made of an original, where its copy is.

    Args:
        turned_over: whether the faces of the copy are those of the original turned over, as they
            are where a node mirrors it.
    """
    rows = np.concatenate([made.vertices, np.ones((len(made.vertices), 1))], 1)
    normals = None
    if made.normals is not None:
        # As faces turn, by the cofactors: their signs follow where the map mirrors.
        a, b, c = affine[:3]
        turned = made.normals @ np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
        normals = unit(turned).astype(np.float32)
        if turned_over:
            normals = -normals
    return replace(
        made,
        faces=np.ascontiguousarray(made.faces[:, ::-1]) if turned_over else made.faces,
        normals=normals,
        vertices=(rows.astype(np.float64) @ affine).astype(np.float32),
        part=copy.part,
        material=copy.material,
        texture=copy.texture,
    )


def _size(mesh: Mesh) -> float:
    return float(np.ptp(mesh.vertices, axis=0).max(initial=0.0)) if len(mesh.vertices) else 0.0


def _mark(mesh: Mesh) -> tuple[object, ...]:
    def of(values: np.ndarray | None) -> bytes | None:
        return None if values is None else values.tobytes()

    tables = (oriented(mesh.faces), mesh.uv, mesh.colours, mesh.origin)
    return (len(mesh.vertices), mesh.relaid, id(mesh.texture), id(mesh.material), *map(of, tables))


def _alone(meshes: Sequence[Mesh]) -> np.ndarray:
    """Whether each mesh (N,) has no vertex where another one has one too."""
    owner = np.repeat(np.arange(len(meshes)), [len(m.vertices) for m in meshes])
    place = equal_rows(np.concatenate([m.vertices for m in meshes]))[1]
    low = np.full(int(place.max(initial=-1)) + 1, len(meshes))
    high = np.full(len(low), -1)
    np.minimum.at(low, place, owner)
    np.maximum.at(high, place, owner)
    out = np.ones(len(meshes), bool)
    out[owner[(low != high)[place]]] = False
    return out


def _fingerprint(mesh: Mesh) -> np.ndarray:
    """Numbers (`_MARKS`,) that are nearly equal for meshes that an affine map takes to each other:
    how far some fixed vectors reach into the space of all that such maps make of the mesh."""
    middle = mesh.vertices.mean(0, dtype=np.float64)
    rows = mesh.vertices - middle
    size = max(float(np.abs(rows).max(initial=0.0)), 1e-300)
    rows = np.concatenate([rows / size, np.ones((len(rows), 1))], 1)
    # What is flat is so but for the rounding of its place in the world.
    rounding = float(np.abs(mesh.vertices).max(initial=0.0)) / size * ROUNDING
    cut = max(1e-6, rounding) ** 2
    inverse = np.linalg.pinv(rows.T @ rows, rcond=cut, hermitian=True)
    fixed = np.random.default_rng(0).standard_normal((len(rows), _MARKS))
    reach = rows.T @ fixed
    return np.asarray(np.einsum("ik,ij,jk->k", reach, inverse, reach))


def _faces_fit(one: Mesh, other: Mesh, affine: np.ndarray) -> bool:
    """Whether a copy's faces are its original's, or turned over as a mirror does it; what is flat
    may be mirrored to its other side."""
    if np.array_equal(one.faces, other.faces):
        return True
    size = float(np.linalg.norm(affine[:3], 2))
    return bool(np.linalg.det(affine[:3]) < 1e-6 * size**3)


def _affine(one: Mesh, other: Mesh) -> np.ndarray | None:
    """The affine map (4, 3) from a mesh to its copy; None where there is none."""
    middle = one.vertices.mean(0, dtype=np.float64)
    rows = np.concatenate([one.vertices - middle, np.ones((len(one.vertices), 1))], 1)
    found = np.linalg.lstsq(rows, other.vertices.astype(np.float64), rcond=1e-6)[0]
    far = float(np.abs(rows @ found - other.vertices).max(initial=0.0))
    # The rounding of places in the world counts too: copies may lie far apart.
    rounding = ROUNDING * max(float(np.abs(m.vertices).max(initial=0.0)) for m in (one, other))
    if far > NEAR * float(np.ptp(other.vertices, axis=0).max(initial=0.0)) + rounding:
        return None
    found[3] -= middle @ found[:3]
    return found
