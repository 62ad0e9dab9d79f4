"""Reads glTF 2.0 and GLB as the asset that a viewer shows at rest: the scene graph with instances,
skins and morph targets, several meshes and materials, and everything else kept as its source.

The package has its own reader because a file from an unknown source has to be checked before it is
used: every offset against its buffer, every reference against its table, the node graph for cycles,
every path against leaving the folder, and the total number of faces before a vertex is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.errors import InputError
from ...mesh import Asset, Mesh, Node, copied
from ...surface.normals import face_normals
from ...transform import Transform
from ..far import near_origin
from ..images import to_display
from ..limits import LARGEST_COUNT, too_many
from .document import DRACO, TRIANGLES, GltfDocument
from .materials import Materials, texture_transform
from .mending.rows import mend_file
from .normals import mirrors, turned_normals, unit_normals
from .scene import MeshNode, Scene
from .source import GltfSource, PrimitiveRef

MOST_VERTICES = 5 * LARGEST_COUNT
"""Largest number of vertices over all places of meshes; every place has its own copy of them."""


@dataclass
class LocalPrimitive:
    """A primitive in its mesh's own frame.

    mesh: without positions; points (V, 3) float64 with the default morph weights; normals (V, 3)
    float64, None where the file gives none, so that every corner has a vertex of its own.
    """

    mesh: Mesh
    points: np.ndarray
    normals: np.ndarray | None


class Reader:
    """The meshes of one file. Every method raises InputError if the file is not valid."""

    def __init__(self, file: GltfDocument) -> None:
        self.file = file
        self.scene = Scene(file)
        self.materials = Materials(file)
        self._local: dict[tuple[int, int, bytes], LocalPrimitive | None] = {}
        self._opened: dict[int, tuple[np.ndarray | None, dict[str, np.ndarray]]] = {}

    def primitives(self, mesh: int) -> list[dict[str, Any]]:
        """The primitives of a mesh."""
        return self.file.primitives(mesh)

    def faces_of(self, primitive: dict[str, Any]) -> int:
        """The number of triangles of a primitive, before any of them is read."""
        index = primitive.get("indices", primitive["attributes"].get("POSITION"))
        if index is None or primitive.get("mode", 4) not in TRIANGLES:
            return 0
        count = self.file.number(self.file.entry("accessors", index), "count")
        return count // 3 if primitive.get("mode", 4) == 4 else max(0, count - 2)

    def vertices_of(self, primitive: dict[str, Any]) -> int:
        """The number of vertices of a primitive, before any of them is read."""
        if not self.faces_of(primitive) or "POSITION" not in primitive["attributes"]:
            return 0
        row = self.file.entry("accessors", primitive["attributes"]["POSITION"])
        return self.file.number(row, "count")

    def attribute(
        self, primitive: dict[str, Any], name: str, widths: tuple[int, ...]
    ) -> np.ndarray | None:
        """An attribute of a primitive, opened where it is compressed; None if it has none."""
        opened = self.opened(primitive)
        if opened is not None and name in opened[1]:
            values = opened[1][name]
            row = self.file.entry("accessors", primitive["attributes"].get(name))
            if row.get("normalized") and values.dtype.kind in "iu":
                return (values.astype(np.float32) / np.iinfo(values.dtype).max).clip(-1, 1)
            return values
        if name not in primitive["attributes"]:
            return None
        return self.file.accessor(primitive["attributes"][name], widths)

    def opened(
        self, primitive: dict[str, Any]
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]] | None:
        """Faces and attributes of a primitive that Draco compressed, or None."""
        extensions = primitive.get("extensions", {})
        packed = extensions.get(DRACO) if isinstance(extensions, dict) else None
        if not isinstance(packed, dict) or not isinstance(packed.get("attributes"), dict):
            return None
        view = self.file.number(packed, "bufferView")
        if view not in self._opened:
            from ..compression import decode_draco

            whole, begin, length, _ = self.file.view(view)
            self._opened[view] = decode_draco(
                whole[begin : begin + length], dict(packed["attributes"]), self.file.where
            )
        return self._opened[view]

    def corners(self, primitive: dict[str, Any], count: int) -> np.ndarray:
        """The faces (F, 3) int64 of a primitive of `count` vertices, counter-clockwise."""
        opened = self.opened(primitive)
        mode = primitive.get("mode", 4)
        if opened is not None and opened[0] is not None:
            index = opened[0].reshape(-1).astype(np.int64)
            mode = 4
        elif "indices" in primitive:
            index = self.file.raw(primitive["indices"], (1,))[:, 0].astype(np.int64)
        else:
            index = np.arange(count)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < count:
            raise self.file.bad(f"a face names vertex {int(index.max())}, of {count}")
        if mode == 4:
            return index[: len(index) // 3 * 3].reshape(-1, 3)
        if len(index) < 3:
            return np.zeros((0, 3), np.int64)
        if mode == 5:
            n = np.arange(len(index) - 2)
            return np.stack([index[n + n % 2], index[n + 1 - n % 2], index[n + 2]], 1)
        n = np.arange(1, len(index) - 1)
        return np.stack([np.full(len(n), index[0]), index[n], index[n + 1]], 1)

    def local(self, place: MeshNode, number: int) -> LocalPrimitive | None:
        """A primitive as it is before its node places it; None for points and lines."""
        primitive = self.primitives(place.mesh)[number]
        if primitive.get("mode", 4) not in TRIANGLES or "POSITION" not in primitive["attributes"]:
            return None
        targets = primitive.get("targets", [])
        if not isinstance(targets, list) or not all(isinstance(t, dict) for t in targets):
            raise self.file.bad(f"the morph targets of mesh {place.mesh} are not a list")
        weights = self.scene.morph_weights(place.node, place.mesh, len(targets))
        mark = (place.mesh, number, weights.tobytes())
        if mark not in self._local:
            self._local[mark] = self._build(primitive, weights)
        return self._local[mark]

    def _build(self, primitive: dict[str, Any], weights: np.ndarray) -> LocalPrimitive | None:
        stored = self.attribute(primitive, "POSITION", (3,))
        assert stored is not None
        if len(stored) > LARGEST_COUNT:
            raise too_many(len(stored), "vertices", self.file.where)
        count, faces = len(stored), self.corners(primitive, len(stored))
        announced = self.faces_of(primitive) if "indices" in primitive else 3 * count
        if len(faces) > announced or (len(faces) and count > self.vertices_of(primitive)):
            raise self.file.bad("a compressed mesh is larger than the file says")
        if not len(faces):
            return None
        mesh = Mesh(np.zeros(0), faces.astype(np.int32))
        points = self._morphed(primitive, "POSITION", stored.astype(np.float64), weights=weights)
        self._surface(primitive, mesh, count)
        normals = self._of(primitive, "NORMAL", (3,), count=count)
        if normals is not None:
            unit = self._morphed(primitive, "NORMAL", normals.astype(np.float64), weights=weights)
            return LocalPrimitive(mesh, points, unit)
        # A primitive without normals is flat (glTF 2.0, 3.7.2.1), so that its corners part.
        origin = faces.reshape(-1)
        split = replace(
            mesh,
            faces=np.arange(len(origin), dtype=np.int32).reshape(-1, 3),
            uv=None if mesh.uv is None else mesh.uv[origin],
            colours=None if mesh.colours is None else mesh.colours[origin],
            origin=origin,
        )
        return LocalPrimitive(split, points[origin], None)

    def _surface(self, primitive: dict[str, Any], mesh: Mesh, count: int) -> None:
        """Give a mesh its material, texture coordinates and colours."""
        chosen, transform = self.layout(primitive)
        if "material" in primitive:
            read = self.materials.get(primitive["material"])
            mesh.material = read.material
            there = f"TEXCOORD_{read.place.coordinates}" in primitive["attributes"]
            if read.base is not None and there:
                mesh.texture = read.base.pixels
        uv = self._of(primitive, f"TEXCOORD_{chosen}", (2,), count=count)
        if uv is not None:
            matrix, offset = texture_transform(self.file, transform)
            moved = uv.astype(np.float64) @ matrix + offset
            mesh.uv = (moved * [1, -1] + [0, 1]).astype(np.float32)
        colours = self._of(primitive, "COLOR_0", (3, 4), count=count)
        if colours is not None:
            shown = to_display(colours[:, :3].astype(np.float64).clip(0, 1)).astype(np.float32)
            if colours.shape[1] == 4 and (colours[:, 3] < 1).any():
                opacity = colours[:, 3:].astype(np.float32).clip(0, 1)
                shown = np.concatenate([shown, opacity], 1)
            mesh.colours = shown

    def _morphed(
        self, primitive: dict[str, Any], name: str, values: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        for target, weight in zip(primitive.get("targets", []), weights):
            if weight and name in target:
                change = self.file.accessor(target[name], (3,))
                if len(change) != len(values):
                    raise self.file.bad("a morph target has another number of vertices")
                values = values + weight * change
        return values

    def _of(
        self, primitive: dict[str, Any], name: str, widths: tuple[int, ...], count: int
    ) -> np.ndarray | None:
        values = self.attribute(primitive, name, widths)
        if values is not None and (len(values) != count or values.shape[1] not in widths):
            raise self.file.bad(
                f"a mesh has {count} positions and {len(values)} of another attribute"
            )
        return values

    def layout(self, primitive: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The set of texture coordinates on which the maps of a primitive lie, and the transform
        that they have there. A set that the material does not use is still the user's atlas."""
        if "material" not in primitive:
            return 0, {}
        place = self.materials.get(primitive["material"]).place
        if f"TEXCOORD_{place.coordinates}" not in primitive["attributes"]:
            return 0, {}
        return place.coordinates, place.transform

    def placement(self, place: MeshNode, number: int) -> np.ndarray:
        """What maps local points to the world: a matrix (4, 4), or of a skinned mesh one (3, 4) for
        each vertex of the file, (V, 3, 4)."""
        row = self.file.entry("nodes", place.node)
        attributes = self.primitives(place.mesh)[number]["attributes"]
        if "skin" not in row or "JOINTS_0" not in attributes:
            return place.matrix
        count = self.file.number(self.file.entry("accessors", attributes["POSITION"]), "count")
        return self.scene.skinning(self.file.number(row, "skin"), attributes, count)

    def world(self, place: MeshNode, number: int) -> tuple[Mesh, np.ndarray] | None:
        """A primitive in the world: its mesh, whose vertices are still to be set, and the positions
        (V, 3) float64."""
        local = self.local(place, number)
        if local is None:
            return None
        matrix, mesh, points = self.placement(place, number), local.mesh, local.points
        if matrix.ndim == 3:
            if mesh.origin is not None:
                matrix = matrix[mesh.origin]
            linear = matrix[:, :, :3]
            world = np.einsum("vij,vj->vi", linear, points) + matrix[:, :, 3]
        else:
            linear = matrix[:3, :3]
            same = bool((matrix == np.eye(4)).all())
            world = points if same else points @ linear.T + matrix[:3, 3]
        mirrored = mirrors(linear)
        faces = np.ascontiguousarray(mesh.faces[:, ::-1]) if mirrored else mesh.faces
        if local.normals is None:
            raw = face_normals(world, faces)
            normals = np.repeat(raw, 3, 0)
            if mirrored:
                normals = normals.reshape(-1, 3, 3)[:, ::-1].reshape(-1, 3)
        else:
            normals = turned_normals(local.normals, linear, mirrored)
        normals = unit_normals(normals, world, faces)
        return replace(mesh, faces=faces, normals=normals), world


def read_gltf(path: Path, textures: bool = True) -> Asset:
    """Read a .glb or .gltf file. Raises InputError.

    Node transforms are applied and the names of nodes are kept; nodes with a transform are also
    returned as `Asset.nodes`. The asset's source is the file itself.
    """
    reader = Reader(GltfDocument(path, textures))
    places = reader.scene.mesh_nodes()
    if reader.scene.hidden and not places:
        raise InputError("shows nothing, for all its nodes are hidden", str(path), "Show a node")
    _check_counts(reader, places)
    told = mend_file(reader, {place.mesh for place in places})
    asset = Asset({})
    refs: dict[str, PrimitiveRef] = {}
    world: dict[str, np.ndarray] = {}
    nodes: dict[str, Node] | None = {}
    own: dict[int, dict[str, Mesh]] = {}
    names = _Names()
    for place in places:
        primitives = reader.primitives(place.mesh)
        # A node without a name takes the name of its mesh, or of the file.
        label = str(reader.file.entry("meshes", place.mesh).get("name", ""))[:120]
        several = sum(p.get("mode", 4) in TRIANGLES for p in primitives) > 1
        part = names.part(place.name or label or path.stem)
        skinned = "skin" in reader.file.entry("nodes", place.node)
        for number in range(len(primitives)):
            built = reader.world(place, number)
            if built is None:
                continue
            mesh, points = built
            name = names.mesh(part, mesh, several)
            asset.meshes[name] = replace(mesh, part=part if several else "")
            refs[name], world[name] = PrimitiveRef(place, number), points
        transform = None if skinned or nodes is None else Transform.of(place.matrix)
        nodes = None if transform is None or nodes is None else nodes
        if nodes is None or transform is None:
            continue
        if place.mesh not in own:
            own[place.mesh] = _own_meshes(reader, place)
        if own[place.mesh]:
            nodes[part] = Node(own[place.mesh], transform)
    if nodes and any((p.matrix != np.eye(4)).any() for p in places):
        asset.nodes = nodes
    _place(asset, world)
    asset.notes = [*reader.file.notes, *told]
    extras = reader.file.document["asset"].get("extras", {})
    provenance = extras.get("provenance") if isinstance(extras, dict) else None
    asset.provenance = provenance if isinstance(provenance, dict) else {}
    asset.source = GltfSource(
        reader.file,
        refs,
        copied(asset.meshes),
        depth=reader.scene.depth,
        motion=asset.motion.copy(),
        hidden=tuple(reader.scene.hidden),
    )
    return asset


def _check_counts(reader: Reader, places: list[MeshNode]) -> None:
    """Refuse a file of too many faces or vertices, before any of them is read: a mesh counts at
    each of its places."""
    faces = vertices = 0
    for place in places:
        for primitive in reader.primitives(place.mesh):
            faces += reader.faces_of(primitive)
            vertices += reader.vertices_of(primitive)
    if faces > LARGEST_COUNT:
        raise too_many(faces, "faces", reader.file.where)
    if vertices > MOST_VERTICES:
        raise too_many(vertices, "vertices", reader.file.where, most=MOST_VERTICES)


def _own_meshes(reader: Reader, place: MeshNode) -> dict[str, Mesh]:
    """The meshes of a node in its own frame."""
    still = replace(place, matrix=np.eye(4))
    built = [reader.world(still, n) for n in range(len(reader.primitives(place.mesh)))]
    return {
        str(n): replace(item[0], vertices=item[1].astype(np.float32))
        for n, item in enumerate(built)
        if item is not None
    }


def _place(asset: Asset, world: dict[str, np.ndarray]) -> None:
    """Set the meshes' vertices; a scene far from its origin is brought near it."""
    if not world:
        return
    whole = np.concatenate(list(world.values())) if len(world) > 1 else next(iter(world.values()))
    points, offset = near_origin(whole)
    at = 0
    for name, own in world.items():
        asset.meshes[name].vertices = points[at : at + len(own)]
        at += len(own)
    if offset.any():
        asset.offset, asset.nodes = offset, {}
        asset.motion = np.eye(4)
        asset.motion[:3, 3] = -offset


class _Names:
    """Names for the parts and meshes of one file, none of them twice."""

    def __init__(self) -> None:
        self._parts: dict[str, int] = {}
        self._meshes: dict[str, int] = {}

    def part(self, wanted: str) -> str:
        """A name for a node."""
        return self._free(self._parts, wanted)

    def mesh(self, part: str, mesh: Mesh, several: bool) -> str:
        """A name for one of the meshes of a node: the node's, with the material's for all but the
        first of several."""
        named = several and mesh.material is not None and part in self._meshes
        label = f"{part}:{mesh.material.name}" if named and mesh.material is not None else part
        return self._free(self._meshes, label)

    @staticmethod
    def _free(taken: dict[str, int], wanted: str) -> str:
        name = wanted
        while name in taken:
            taken[wanted] += 1
            name = f"{wanted}.{taken[wanted] - 1}"
        taken[name] = 1
        return name
