"""Meshes that are copies of each other in other places, so that what is made of one can be made of
all and a file may go on to hold it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..equal_rows import equal_rows
from ..mesh import Mesh

NEAR = 1e-5
"""How far a copy's vertices may lie from where its original's would be, as a share of its size."""


def copies(meshes: Sequence[Mesh]) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Which meshes are copies of an earlier one: for every original, by its number, its copies and
    the affine map (4, 3) float64 from it to each, for rows (x, y, z, 1).

    Copies have the same faces, texture coordinates, colours and look. One that meets another mesh,
    or whose original does, is none: the two have to stay together where they meet.
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
        for number in group:
            for first in originals if alone[number] else []:
                found = _affine(meshes[first], meshes[number])
                if found is not None:
                    out[first].append((number, found))
                    del out[number]
                    break
            else:
                originals += [number] if alone[number] else []
    return out


def placed_copy(made: Mesh, copy: Mesh, affine: np.ndarray) -> Mesh:
    """What was made of an original, where its copy is."""
    rows = np.concatenate([made.vertices, np.ones((len(made.vertices), 1))], 1)
    return replace(
        made,
        vertices=(rows.astype(np.float64) @ affine).astype(np.float32),
        part=copy.part,
        material=copy.material,
        texture=copy.texture,
    )


def _mark(mesh: Mesh) -> tuple[object, ...]:
    def of(values: np.ndarray | None) -> bytes | None:
        return None if values is None else values.tobytes()

    tables = (mesh.faces, mesh.uv, mesh.colours, mesh.origin)
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


def _affine(one: Mesh, other: Mesh) -> np.ndarray | None:
    """The affine map (4, 3) from a mesh to its copy; None where there is none."""
    middle = one.vertices.mean(0, dtype=np.float64)
    rows = np.concatenate([one.vertices - middle, np.ones((len(one.vertices), 1))], 1)
    found = np.linalg.lstsq(rows, other.vertices.astype(np.float64), rcond=1e-6)[0]
    far = float(np.abs(rows @ found - other.vertices).max(initial=0.0))
    if far > NEAR * float(np.ptp(other.vertices, axis=0).max(initial=0.0)):
        return None
    found[3] -= middle @ found[:3]
    return found
