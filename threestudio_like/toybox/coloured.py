"""Toybox objects as meshes with vertex colours, which show the same as their pictures without a
special renderer."""

from __future__ import annotations

import numpy as np

from ..meshes.mesh import Mesh
from ..meshes.surface.creases import crease_normals
from .patterns import paint
from .render import COS_CREASE, face_axes
from .toy_object import ToyObject


def coloured_mesh(obj: ToyObject, edge: float = 0.08) -> Mesh:
    """A mesh of the object with materials, patterns and light baked into vertex colours.

    Corners are split, and edges of patterned faces are at most `edge` long. The light is fixed to
    the object's own frame, which is exact for objects that are not rotated and off by at most 0.07
    for others.
    """
    normals = crease_normals(obj.vertices, obj.faces, COS_CREASE).astype(np.float64)
    painted = obj.pattern_points
    # Columns: where a corner is, its normal, and where it is in the space of the patterns.
    corner = np.concatenate([obj.vertices[obj.faces], normals, painted[obj.faces]], 2)
    material, axes = obj.face_material, face_axes(painted, obj.faces)
    while True:
        length = np.linalg.norm((corner - corner[:, [1, 2, 0]])[..., :3], axis=2)
        long = (length.max(1) > edge) & (obj.materials[material, 6] > 0.5)
        if not long.any():
            break
        # Split a face across its longest edge, so that faces keep their proportions.
        rows, first = np.flatnonzero(long), length[long].argmax(1)
        order = (first[:, None] + np.arange(3)) % 3
        a, b, c = (corner[rows, order[:, k]] for k in range(3))
        middle = (a + b) / 2
        corner = np.concatenate(
            [corner[~long], np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)]
        )
        material = np.concatenate([material[~long], material[long], material[long]])
        axes = np.concatenate([axes[~long], axes[long], axes[long]])
    points, unit = corner[..., :3].reshape(-1, 3), corner[..., 3:6].reshape(-1, 3)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    rows = obj.materials[np.repeat(material, 3)].astype(np.float64)
    second, light = np.empty(len(points), bool), np.empty(len(points))
    codes, places = np.rint(rows[:, 6]).astype(np.int64), corner[..., 6:].reshape(-1, 3)
    paint(codes, places, unit, np.repeat(axes, 3), second, light)
    colour = np.where(second[:, None], rows[:, 3:6], rows[:, :3])
    colour = (colour * light[:, None]).clip(0, 1)
    faces = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
    return Mesh(
        points.astype(np.float32),
        faces,
        colours=colour.astype(np.float32),
        normals=unit.astype(np.float32),
    )
