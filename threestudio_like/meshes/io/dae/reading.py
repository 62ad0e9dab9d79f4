"""Reads a COLLADA scene as an asset in metres with +Y up: meshes where their nodes place them,
their names, materials and pictures. Skins stay in the pose in which they are bound."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...extras import needed
from ...mesh import Asset, Mesh, unique_name
from ..far import near_origin
from ..limits import LARGEST_COUNT, too_many
from ..sources.corners import assembled
from ..sources.xml import check_xml
from .surfaces import Surfaces

UPRIGHT = {
    "X_UP": np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "Y_UP": np.eye(4),
    "Z_UP": np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
}
_DEEPEST = 100
_MOST_NODES = 100_000
_MOST_NOTES = 5
_REPAIR = "Export it again, for example as GLB from Blender"


class Placed(NamedTuple):
    """A geometry of a scene: its name, the library's object, its matrix, and the library's objects
    that bind its symbols to materials."""

    name: str
    geometry: Any
    matrix: np.ndarray
    materials: dict[str, Any]


def read_dae(path: Path, textures: bool = True) -> Asset:
    """Read a COLLADA file. Raises InputError."""
    where = str(path)
    data = path.read_bytes()
    check_xml(data, where)
    if zipfile.is_zipfile(io.BytesIO(data)):
        raise InputError("is an archive and not XML", where, "Unpack it first")
    library = needed("collada", "formats", where)
    # What is broken in one place leaves the rest usable.
    document = library.Collada(io.BytesIO(data), ignore=[library.common.DaeError])
    if document.scene is None:
        raise InputError("has no scene", where, _REPAIR)
    notes: list[str] = []
    if len(document.controllers):
        notes.append("skins are left in the pose in which they were bound")
    for kind in ("animations", "lights", "cameras"):
        if count := len(getattr(document, kind)):
            notes.append(f"{kind} are left out: {count}")
    for error in document.errors[:_MOST_NOTES]:
        notes.append(line_name(f"left out, for it is broken: {str(error)[:100]}"))
    surfaces = Surfaces(path, textures, notes)
    scale = float(document.assetInfo.unitmeter or 1.0)
    if not 0 < scale < 1e9:
        raise InputError("has a unit of no length", where, _REPAIR)
    world = UPRIGHT.get(str(document.assetInfo.upaxis), np.eye(4)) @ np.diag([scale] * 3 + [1.0])
    walk = _Walk(where)
    for node in document.scene.nodes:
        walk.go(node, world, path.stem, depth=0)
    return _asset(walk.found, surfaces, notes, where=where)


class _Walk:
    """Goes through the nodes of a scene, those of its library as often as they are named."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Placed] = []
        self.nodes = 0

    def go(self, node: Any, matrix: np.ndarray, name: str, depth: int) -> None:
        self.nodes += 1
        if depth > _DEEPEST or self.nodes > _MOST_NODES:
            raise InputError("nests its nodes without end", self.where, _REPAIR)
        kind = type(node).__name__
        if kind in ("GeometryNode", "ControllerNode"):
            geometry = getattr(node, "geometry", None)
            if geometry is None:
                skin = node.controller
                # A morph has the geometry that it begins with under another name.
                geometry = getattr(skin, "geometry", None) or getattr(skin, "source_geometry", None)
                bound = getattr(skin, "bind_shape_matrix", None)
                matrix = matrix if bound is None else matrix @ np.reshape(bound, (4, 4))
            materials = {m.symbol: m for m in node.materials}
            if geometry is not None:
                self.found.append(Placed(name, geometry, matrix, materials=materials))
            return
        inner = getattr(node, "node", None) if kind == "NodeNode" else None
        if inner is not None:
            self.go(inner, matrix, name, depth=depth + 1)
        elif kind == "Node":
            own = line_name(str(node.name or node.id or ""), name)
            with np.errstate(all="ignore"):
                placed = matrix @ np.asarray(node.matrix, np.float64)
            for child in node.children:
                self.go(child, placed, own, depth=depth + 1)


def _asset(found: list[Placed], surfaces: Surfaces, notes: list[str], where: str) -> Asset:
    parts: list[tuple[str, Mesh, np.ndarray]] = []
    total, largest = 0, 0
    for placed in found:
        several = len(placed.geometry.primitives) > 1
        for primitive in placed.geometry.primitives:
            bound = placed.materials.get(str(primitive.material))
            polygons = surfaces.polygons(primitive, bound)
            if polygons is None:
                continue
            total += len(polygons.corners)
            if total > 3 * LARGEST_COUNT:
                raise too_many(total // 3, "faces", where)
            linear = placed.matrix[:3, :3]
            with np.errstate(all="ignore"):
                points = polygons.points @ linear.T + placed.matrix[:3, 3]
            corners, sizes = polygons.corners, polygons.sizes
            largest = max(largest, int(sizes.max(initial=0)))
            mesh = Mesh(points.astype(np.float32), np.zeros((0, 3), np.int32))
            mesh, _ = assembled(
                mesh,
                corners,
                sizes,
                where=where,
                uv=polygons.uv,
                colours=polygons.colours,
                normals=polygons.turned(linear),
            )
            if np.linalg.det(linear) < 0:
                # A mirror turns the surface inside out.
                mesh.faces = np.ascontiguousarray(mesh.faces[:, ::-1])
            if not len(mesh.faces):
                continue
            mesh = replace(mesh, **surfaces.material(bound))
            mesh.part = placed.name if several else ""
            points = points if mesh.origin is None else points[mesh.origin]
            parts.append((placed.name, mesh, points))
    surfaces.tell()
    if not parts:
        return Asset({}, notes=notes)
    near, offset = near_origin(np.concatenate([p for _, _, p in parts]))
    asset = Asset({}, offset=offset, notes=notes, polygons=largest > 3)
    ends = np.cumsum([len(p) for _, _, p in parts])[:-1]
    for (name, mesh, _), points in zip(parts, np.split(near, ends)):
        mesh.vertices = points
        if mesh.normals is None and np.isfinite(points).all():
            mesh = mesh.split_at_creases()
        asset.meshes[unique_name(name, asset.meshes)] = mesh
    return asset
