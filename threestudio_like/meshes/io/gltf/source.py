"""What of a glTF file an `Asset` does not describe, kept so that a patch of the file holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...features import Feature
from ...mesh import Asset, Mesh
from ...surface.instances import oriented
from .document import DRACO, GltfDocument
from .materials import GLOSSY, texture_place
from .numbered import lost_extensions
from .scene import INSTANCING, MeshNode

VARIANTS = "KHR_materials_variants"
MOVED = 2e-6
"""Share of the extent by which positions must differ to count as moved."""
_SEEN = {"KHR_texture_transform", "KHR_materials_unlit", "KHR_materials_emissive_strength", GLOSSY}


@dataclass(frozen=True)
class PrimitiveRef:
    """Which primitive of which node a mesh of the asset is."""

    place: MeshNode
    primitive: int


@dataclass
class GltfSource:
    """A glTF file that was read, as `mesh.Source`.

    file: its JSON and bytes. refs: of every mesh of the asset, by name. meshes: those meshes as
    they were read. depth: levels of its node graph. motion (4, 4): from the world of the file to
    the one in which its meshes were read, near their origin. hidden: names of the nodes with a mesh
    that the file does not show. pictures: by their numbers, those that have other bytes than in the
    file.
    """

    file: GltfDocument
    refs: dict[str, PrimitiveRef]
    meshes: dict[str, Mesh]
    depth: int
    motion: np.ndarray
    hidden: tuple[str, ...] = ()
    pictures: dict[int, bytes] = field(default_factory=dict)
    kind: str = "gltf"

    def features(self) -> list[Feature]:
        """What the file holds that no `Mesh` and no `Material` describes."""
        table: dict[str, dict[str, None]] = {}
        for kind, name in self._features():
            table.setdefault(kind, {})[name] = None
        return [Feature(kind, tuple(names)) for kind, names in table.items()]

    def _features(self) -> Iterator[tuple[str, str]]:
        document = self.file.document
        for table, kind in (
            ("skins", "skins"),
            ("animations", "animations"),
            ("cameras", "cameras"),
        ):
            yield from ((kind, _name(row, n)) for n, row in _numbered(document, table))
        yield from (("scenes", _name(r, n)) for n, r in list(_numbered(document, "scenes"))[1:])
        for name in ("KHR_lights_punctual", VARIANTS):
            spoken = _extensions(document).get(name)
            key = "lights" if name.startswith("KHR_lights") else "variants"
            if isinstance(spoken, dict):
                rows = _numbered(spoken, key)
                yield from (
                    ("material variants" if key == "variants" else key, _name(r, n))
                    for n, r in rows
                )
        yield from (("notes on the asset", name) for name in _notes(document))
        if self.depth > 1:
            yield "node hierarchies", ""
        yield from (("hidden nodes", name) for name in self.hidden)
        yield from self._of_nodes()
        yield from self._of_meshes()
        yield from self._of_materials()

    def _of_nodes(self) -> Iterator[tuple[str, str]]:
        document = self.file.document
        places: dict[int, list[str]] = {}
        for n, row in _numbered(document, "nodes"):
            name = _name(row, n)
            if "extras" in row:
                yield "extras", name
            if INSTANCING in _extensions(row):
                yield "instances", name
            if isinstance(row.get("mesh"), int):
                places.setdefault(row["mesh"], []).append(name)
        for names in places.values():
            yield from (("instances", name) for name in names[1:])
        for table in ("meshes", "materials", "scenes"):
            for n, row in _numbered(document, table):
                if "extras" in row:
                    yield "extras", _name(row, n)

    def _of_meshes(self) -> Iterator[tuple[str, str]]:
        for n, row in _numbered(self.file.document, "meshes"):
            name = _name(row, n)
            rows = row.get("primitives", [])
            for primitive in rows if isinstance(rows, list) else []:
                attributes = primitive.get("attributes", {})
                if primitive.get("mode", 4) not in (4, 5, 6):
                    yield "lines and points", name
                if primitive.get("targets"):
                    yield "morph targets", name
                if "TEXCOORD_1" in attributes:
                    yield "second texture coordinates", name
                if "TANGENT" in attributes:
                    yield "tangents", name
                if "COLOR_1" in attributes:
                    yield "second vertex colours", name
                yield from (("custom attributes", k) for k in attributes if k.startswith("_"))
                yield from (("mesh extensions", f"{k} of {name}") for k in _others(primitive))
            yield from (("mesh extensions", f"{k} of {name}") for k in _others(row))

    def _of_materials(self) -> Iterator[tuple[str, str]]:
        for n, row in _numbered(self.file.document, "materials"):
            name = _name(row, n)
            for extension in _extensions(row):
                if extension not in _SEEN:
                    yield "material extensions", f"{extension.split('_materials_')[-1]} of {name}"
            where = {texture_place(info) for info in texture_infos(row)}
            if any(transform != str([]) for _, transform in where):
                yield "texture transforms", name
            if len(where) > 1:
                yield "maps on other texture coordinates", name
            if _strength(row) != 1:
                yield "occlusion strengths", name
            glossy = _extensions(row).get(GLOSSY)
            if isinstance(glossy, dict):
                if "specularGlossinessTexture" in glossy:
                    yield "specular-glossiness maps", name
                # A surface that is not metal reflects 0.04 here.
                if glossy.get("specularFactor", [1, 1, 1]) != [0.04, 0.04, 0.04]:
                    yield "specular colours", name

    def _parted(self, asset: Asset) -> Iterator[str]:
        """Meshes whose node showed the same mesh as another, from which they now differ in faces or
        coordinates."""
        shapes: dict[tuple[int, int], set[bytes]] = {}
        for name, ref in self.refs.items():
            mesh, before = asset.meshes.get(name), self.meshes[name]
            if mesh is None:
                continue
            shape = b""
            if not same_corners(mesh, before):
                # A node that mirrors the mesh turns its faces over.
                uv = b"" if mesh.uv is None else mesh.uv.tobytes()
                shape = oriented(mesh.faces).tobytes() + uv
            known = shapes.setdefault((ref.place.mesh, ref.primitive), set())
            if known and shape not in known:
                yield name
            known.add(shape)

    def as_read(self) -> dict[str, Mesh]:
        """The meshes that the file has, by name."""
        return self.meshes

    def unkept(self, asset: Asset) -> list[Feature]:
        """What even a patch of the file cannot keep, with the meshes as `asset` has them now."""
        lost: dict[str, dict[str, None]] = {}
        for name, ref in self.refs.items():
            mesh, before = asset.meshes.get(name), self.meshes[name]
            if mesh is None:
                continue
            whole = self.file.entry("meshes", ref.place.mesh)
            row = whole["primitives"][ref.primitive]
            attributes = row.get("attributes", {})
            same = same_corners(mesh, before)
            if not same or (has_origin(mesh) and mesh is not before):
                above = {} if same else whole
                for gone in lost_extensions(above, row, self.file, mesh, has_origin(mesh)):
                    lost.setdefault("mesh extensions", {})[f"{gone} of {name}"] = None
            if same:
                # Tangents of vertices that were moved one by one, or have other normals, are not
                # known.
                if "TANGENT" in attributes and self._bent(asset, mesh, before):
                    lost.setdefault("tangents", {})[name] = None
                continue
            for kind in self._changed(asset, mesh, before, row=row):
                lost.setdefault(kind, {})[name] = None
        for name in self._parted(asset):
            lost.setdefault("instances", {})[name] = None
        return [Feature(kind, tuple(names)) for kind, names in lost.items()]

    def _changed(
        self, asset: Asset, mesh: Mesh, before: Mesh, row: dict[str, Any]
    ) -> Iterator[str]:
        """What of a primitive's row a mesh with other corners does not keep as it was."""
        attributes = row.get("attributes", {})
        held = {
            "morph targets": bool(row.get("targets")),
            "skin weights": "JOINTS_0" in attributes,
            "second texture coordinates": "TEXCOORD_1" in attributes,
            "custom attributes": any(k.startswith("_") for k in attributes),
            "second vertex colours": "COLOR_1" in attributes,
        }
        kinds = [kind for kind, there in held.items() if there]
        if not has_origin(mesh):
            yield from kinds
            if VARIANTS in _extensions(row):
                yield "material variants"
        elif not self._moved(asset, mesh, before):
            if "TANGENT" in attributes and self._bent(asset, mesh, before):
                yield "tangents"
            return
        else:
            # Vertices between those of the file take them from the nearest.
            yield from (f"exact {kind}" for kind in kinds)
        if "TANGENT" in attributes:
            yield "tangents"

    def _bent(self, asset: Asset, mesh: Mesh, before: Mesh) -> bool:
        """Whether vertices of a mesh are elsewhere or have other normals than its file says."""
        from .normals import normals_differ

        motion = asset.motion @ np.linalg.inv(self.motion)
        return self._moved(asset, mesh, before) or normals_differ(mesh, before, motion)

    def _moved(self, asset: Asset, mesh: Mesh, before: Mesh) -> bool:
        """Whether vertices of a mesh are elsewhere in the asset than its file says."""
        motion = asset.motion @ np.linalg.inv(self.motion)
        return far(mesh.vertices, expected_places(before, mesh.origin, motion))


def _notes(document: dict[str, Any]) -> list[str]:
    """What a file says of itself: its copyright, and what a program or a shop wrote beside it."""
    asset = document.get("asset", {})
    extras = asset.get("extras")
    # What this package writes there an asset has too.
    own = [key for key in extras if key != "provenance"] if isinstance(extras, dict) else []
    return [*(["copyright"] if "copyright" in asset else []), *own]


def same_corners(mesh: Mesh, before: Mesh) -> bool:
    """Whether a mesh still has the faces and the vertices, moved perhaps, that were read."""
    if len(mesh.vertices) != len(before.vertices) or not _equal(mesh.faces, before.faces):
        return False
    return mesh.origin is before.origin or (
        mesh.origin is not None and before.origin is not None and _equal(mesh.origin, before.origin)
    )


def has_origin(mesh: Mesh) -> bool:
    """Whether it is known of which vertex of the file every vertex is a copy."""
    return mesh.origin is not None and len(mesh.origin) == len(mesh.vertices)


def expected_places(before: Mesh, origin: np.ndarray | None, motion: np.ndarray) -> np.ndarray:
    """Where vertices (V, 3) float64 would be that are copies of those of the file, `origin` (V,).

    Args:
        before: the mesh as it was read. origin: None for its own vertices.
        motion: (4, 4) from the world of the file, near its origin, to that of the asset.
    """
    points = before.vertices.astype(np.float64)
    if origin is not None:
        points = points[read_vertex(before, origin)]
    return points @ motion[:3, :3].T + motion[:3, 3]


def read_vertex(before: Mesh, origin: np.ndarray) -> np.ndarray:
    """For vertices of the file, a vertex of the mesh that was read."""
    if before.origin is None:
        return origin
    table = np.zeros(max(int(before.origin.max()), int(origin.max())) + 1, np.int64)
    table[before.origin] = np.arange(len(before.origin))
    return table[origin]


def far(points: np.ndarray, expected: np.ndarray) -> bool:
    """Whether points (V, 3) are elsewhere than is expected of them, rounding aside."""
    if not len(points):
        return False
    extent = float(np.abs(expected).max())
    return bool(np.abs(points - expected).max() > MOVED * max(extent, 1e-30))


def texture_infos(row: Any) -> Iterator[dict[str, Any]]:
    """All references to textures within a material, those of its extensions included."""
    if isinstance(row, dict):
        for key, value in row.items():
            if key.lower().endswith("texture") and isinstance(value, dict) and "index" in value:
                yield value
            elif key != "extras":
                yield from texture_infos(value)


def _strength(row: dict[str, Any]) -> Any:
    """How strongly a material's row says that its occlusion map is felt."""
    info = row.get("occlusionTexture")
    return info.get("strength", 1) if isinstance(info, dict) else 1


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.shape == b.shape and bool((a == b).all()))


def _numbered(row: dict[str, Any], table: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = row.get(table, [])
    for n, item in enumerate(rows if isinstance(rows, list) else []):
        if isinstance(item, dict):
            yield n, item


def _name(row: dict[str, Any], number: int) -> str:
    return str(row.get("name") or number)[:80]


def _others(row: dict[str, Any]) -> list[str]:
    """The extensions of a mesh's or a primitive's row that are not read."""
    return [name for name in _extensions(row) if name not in (VARIANTS, DRACO)]


def _extensions(row: dict[str, Any]) -> dict[str, Any]:
    spoken = row.get("extensions", {})
    return spoken if isinstance(spoken, dict) else {}
