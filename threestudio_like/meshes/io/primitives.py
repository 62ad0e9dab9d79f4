"""Sketch shapes as lists of primitives in YAML: boxes, cylinders, cones, ellipsoids, capsules and
tori that may overlap as they like.

- box: {size: [1.0, 0.1, 1.0], at: [0, 0.5, 0]}
- cylinder: {radius: 0.06, height: 0.5, at: [0.4, 0.25, 0.4], turn: [0, 0, 5]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...engine.config import convert
from ...engine.errors import ConfigError, InputError, did_you_mean
from ...engine.schema.yaml_text import parse_document, read_text
from ..mesh import Asset, Mesh

KINDS: dict[str, dict[str, int]] = {
    "box": {"size": 3},
    "cylinder": {"radius": 1, "height": 1},
    "cone": {"radius": 1, "height": 1},
    "ellipsoid": {"radii": 3},
    "capsule": {"radius": 1, "height": 1},
    "torus": {"radius": 1, "thickness": 1},
}
"""The parameters of each primitive and how many numbers each has. The axes of cylinder, cone,
capsule and torus point up; `at` is the middle."""
LARGEST_LIST = 1000


def read_primitives(path: Path) -> Asset:
    """Read a YAML file of primitives as one mesh. Raises InputError."""
    where = str(path)
    rows = parse_document(
        read_text(path, "a YAML list of primitives"), where, "See assets/shapes for examples"
    )
    if not isinstance(rows, list) or not rows:
        raise InputError("is not a list of primitives", where, "See assets/shapes for examples")
    if len(rows) > LARGEST_LIST:
        raise InputError(f"holds {len(rows)} primitives, at most {LARGEST_LIST} are read", where)
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    total = 0
    for number, row in enumerate(rows, 1):
        points, triangles = _primitive(row, f"{where}, entry {number}")
        vertices.append(points)
        faces.append(triangles + total)
        total += len(points)
    return Asset(
        {
            path.stem: Mesh(
                np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32)
            )
        }
    )


def _primitive(row: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    if not isinstance(row, dict) or len(row) != 1:
        raise InputError(
            "is not one primitive with its numbers",
            where,
            "For instance: - box: {size: [1, 1, 1], at: [0, 0, 0]}",
        )
    kind, given = next(iter(row.items()))
    if kind not in KINDS:
        raise InputError(
            f'there is no primitive "{str(kind)[:30]}"', where, did_you_mean(str(kind), KINDS)
        )
    if not isinstance(given, dict):
        raise InputError(
            f'"{kind}" has no numbers',
            where,
            f"It needs: {', '.join(KINDS[kind])}, and may have at, turn",
        )
    wanted = {**KINDS[kind], "at": 3, "turn": 3}
    for key in given:
        if key not in wanted:
            raise InputError(
                f'"{kind}" has no "{str(key)[:30]}"', where, did_you_mean(str(key), wanted)
            )
    values: dict[str, np.ndarray] = {}
    for key, count in wanted.items():
        if key not in given:
            if key in KINDS[kind]:
                raise InputError(
                    f'"{kind}" lacks "{key}"', where, f"It needs: {', '.join(KINDS[kind])}"
                )
            values[key] = np.zeros(3)
            continue
        try:
            numbers = convert(given[key], tuple[float, ...], key, where=where)
            values[key] = np.asarray(numbers, np.float64).reshape(count)
        except (ConfigError, ValueError):
            raise InputError(
                f'"{key}" of "{kind}" wants {count} number{"s" * (count > 1)}', where, "Correct it"
            ) from None
        if (
            not np.isfinite(values[key]).all()
            or np.abs(values[key]).max() > 1e6
            or (key in KINDS[kind] and values[key].min() <= 0)
        ):
            raise InputError(
                f'"{key}" of "{kind}" is not a size', where, "Sizes are positive and finite"
            )
    if kind == "box":
        mesh = trimesh.creation.box(values["size"])
    elif kind == "ellipsoid":
        mesh = trimesh.creation.icosphere(3)
        mesh.apply_scale(values["radii"])
    elif kind == "torus":
        mesh = trimesh.creation.torus(
            float(values["radius"][0]), float(values["thickness"][0]) / 2, 32, 16
        )
    else:
        radius, height = float(values["radius"][0]), float(values["height"][0])
        make: Any = {
            "cylinder": trimesh.creation.cylinder,
            "cone": trimesh.creation.cone,
            "capsule": trimesh.creation.capsule,
        }[kind]
        mesh = make(radius=radius, height=height)
        low, high = mesh.bounds
        mesh.apply_translation([0, 0, -(low[2] + high[2]) / 2])
    if kind not in ("box", "ellipsoid"):
        # trimesh builds its primitives along z.
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    x, y, z = np.radians(values["turn"]).tolist()
    mesh.apply_transform(trimesh.transformations.euler_matrix(x, y, z, "sxyz"))
    return np.asarray(mesh.vertices) + values["at"], np.asarray(mesh.faces)
