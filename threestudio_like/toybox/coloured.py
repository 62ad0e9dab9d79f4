"""Toybox objects as meshes with vertex colours, which show the same as their pictures without a
special renderer."""

from __future__ import annotations

import numpy as np

from ..meshes.mesh import Mesh
from ..meshes.surface.creases import crease_normals
from .render import COS_CREASE
from .world import ToyObject


def coloured_mesh(obj: ToyObject, edge: float = 0.08) -> Mesh:
    """A mesh of the object with materials, patterns and light baked into vertex colours.

    Corners are split, and edges of patterned faces are at most `edge` long. The light is fixed to
    the object's own frame, which is exact for objects that are not rotated and off by at most 0.07
    for others.
    """
    normals = crease_normals(obj.vertices, obj.faces, COS_CREASE)
    corner = obj.vertices[obj.faces].astype(np.float64)
    normal, material = normals.astype(np.float64), obj.face_material
    while True:
        length = np.linalg.norm(corner - corner[:, [1, 2, 0]], axis=2)
        long = (length.max(1) > edge) & (obj.materials[material, 6] > 0.5)
        if not long.any():
            break
        # Split a face across its longest edge, so that faces keep their proportions.
        rows, first = np.flatnonzero(long), length[long].argmax(1)
        order = (first[:, None] + np.arange(3)) % 3
        a, b, c = (corner[rows, order[:, k]] for k in range(3))
        p, q, r = (normal[rows, order[:, k]] for k in range(3))
        middle, between = (a + b) / 2, (p + q) / 2
        corner = np.concatenate(
            [corner[~long], np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)]
        )
        normal = np.concatenate(
            [normal[~long], np.stack([p, between, r], 1), np.stack([between, q, r], 1)]
        )
        material = np.concatenate([material[~long], material[long], material[long]])
    points, unit = corner.reshape(-1, 3), normal.reshape(-1, 3)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    rows = obj.materials[np.repeat(material, 3)].astype(np.float64)
    phase = (points[:, 1] + 10.0) / 0.36
    striped = (rows[:, 6] > 0.5) & (rows[:, 6] < 1.5) & (phase - np.floor(phase) < 0.45)
    off = points / 0.34 - np.rint(points / 0.34)
    dotted = (rows[:, 6] > 1.5) & ((off * off).sum(1) < 0.14)
    colour = np.where((striped | dotted)[:, None], rows[:, 3:6], rows[:, :3])
    light = 0.80 + 0.20 * unit[:, 1] + 0.07 * (unit[:, 2] ** 2 - unit[:, 0] ** 2)
    colour = (colour * light[:, None]).clip(0, 1)
    faces = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
    return Mesh(
        points.astype(np.float32),
        faces,
        colours=colour.astype(np.float32),
        normals=unit.astype(np.float32),
    )
