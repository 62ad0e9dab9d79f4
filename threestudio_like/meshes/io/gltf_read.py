"""Reads glTF 2.0 and GLB: scene graph, several meshes and materials, embedded or separate textures,
and vertex colours.

The package has its own reader because a file from an unknown source has to be checked before it is
used: every offset against its buffer, every reference against its table, the node graph for cycles,
every path against leaving the folder, and the total number of faces before a vertex is copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..mesh import Asset, Material, Mesh, Node, unique_name
from ..transform import Transform, rotation_matrix
from .gltf_file import GltfFile
from .images import to_display
from .limits import LARGEST_COUNT, too_many

_TYPES = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_UNDERSTOOD = {
    "KHR_texture_transform",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_materials_specular",
    "KHR_materials_ior",
    "KHR_materials_emissive_strength",
    "KHR_lights_punctual",
}
_REPAIR = "Export the mesh again from a mesh editor"


class _Reader:
    """The scene of one file. Every method raises InputError if the file is not valid."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.materials: dict[int, tuple[Material, np.ndarray | None, int, dict]] = {}

    def material(self, index: Any) -> tuple[Material, np.ndarray | None, int, dict]:
        """Material, base-colour pixels, number of the texture-coordinate set, and its transform."""
        if index in self.materials:
            return self.materials[index]
        row = self.file.entry("materials", index)
        pbr = row.get("pbrMetallicRoughness", {})
        pbr = pbr if isinstance(pbr, dict) else {}
        factor = pbr.get("baseColorFactor", [1, 1, 1, 1])
        try:
            linear = [min(1.0, max(0.0, float(x))) for x in factor]
            rough, metal = (
                float(pbr.get("roughnessFactor", 1.0)),
                float(pbr.get("metallicFactor", 1.0)),
            )
            if len(linear) != 4:
                raise ValueError
        except (TypeError, ValueError):
            raise self.file.bad(f"material {index} has numbers that cannot be read") from None
        r, g, b = to_display(np.array(linear[:3])).tolist()
        texture, chosen, transform = self.file.image(pbr.get("baseColorTexture"))
        surface, _, _ = self.file.image(pbr.get("metallicRoughnessTexture"))
        material = Material(
            str(row.get("name", f"material{index}"))[:120],
            (r, g, b, linear[3]),
            min(1.0, max(0.0, rough)),
            min(1.0, max(0.0, metal)),
            None if surface is None else np.ascontiguousarray(surface[..., :3]),
            str(row.get("alphaMode", "OPAQUE"))[:8],
            bool(row.get("doubleSided", False)),
        )
        self.materials[index] = (material, texture, chosen, transform)
        return self.materials[index]

    def nodes(self) -> list[tuple[str, int, np.ndarray]]:
        """All nodes with a mesh: name, mesh index, and transform to the world (4, 4)."""
        rows = self.file.document.get("nodes", [])
        if not isinstance(rows, list):
            raise self.file.bad('"nodes" is not a list')
        scenes = self.file.document.get("scenes", [])
        if scenes:
            roots = self.file.entry("scenes", self.file.document.get("scene", 0)).get("nodes", [])
        else:
            children = {
                c
                for r in rows
                if isinstance(r, dict)
                for c in r.get("children", [])
                if isinstance(c, int)
            }
            roots = [i for i in range(len(rows)) if i not in children]
        if not isinstance(roots, list):
            raise self.file.bad("a scene's nodes are not a list")
        found: list[tuple[str, int, np.ndarray]] = []
        seen: set[int] = set()
        stack: list[tuple[Any, np.ndarray]] = [(r, np.eye(4)) for r in reversed(roots)]
        while stack:
            index, above = stack.pop()
            row = self.file.entry("nodes", index)
            if index in seen:
                raise self.file.bad(f"node {index} hangs from two places, or from itself")
            seen.add(index)
            here = above @ self._transform(row, index)
            if "mesh" in row:
                found.append((str(row.get("name", ""))[:120], self.file.number(row, "mesh"), here))
            below = row.get("children", [])
            if not isinstance(below, list):
                raise self.file.bad(f"the children of node {index} are not a list")
            stack += [(c, here) for c in reversed(below)]
        return found

    def _transform(self, row: dict[str, Any], index: int) -> np.ndarray:
        try:
            if "matrix" in row:
                matrix = np.array(row["matrix"], np.float64).reshape(4, 4).T
            else:
                matrix = np.eye(4)
                turn = np.array([float(v) for v in row.get("rotation", [0, 0, 0, 1])])
                if turn.shape != (4,) or not turn.any():
                    raise ValueError
                matrix[:3, :3] = rotation_matrix(turn)
                matrix[:3, :3] *= np.array(row.get("scale", [1, 1, 1]), np.float64).reshape(1, 3)
                matrix[:3, 3] = np.array(row.get("translation", [0, 0, 0]), np.float64).reshape(3)
        except (TypeError, ValueError, OverflowError):
            raise self.file.bad(f"the transform of node {index} cannot be read") from None
        if not np.isfinite(matrix).all():
            raise self.file.bad(f"the transform of node {index} holds numbers that are not finite")
        return matrix

    def primitives(self, mesh: int) -> list[dict[str, Any]]:
        rows = self.file.entry("meshes", mesh).get("primitives", [])
        if not isinstance(rows, list) or not all(
            isinstance(r, dict) and isinstance(r.get("attributes"), dict) for r in rows
        ):
            raise self.file.bad(f"mesh {mesh} has no primitives that can be read")
        return rows

    def faces_of(self, primitive: dict[str, Any]) -> int:
        """The number of triangles of a primitive, before any of them is read."""
        index = primitive.get("indices", primitive["attributes"].get("POSITION"))
        count = (
            self.file.number(self.file.entry("accessors", index), "count")
            if index is not None
            else 0
        )
        return count // 3 if primitive.get("mode", 4) == 4 else max(0, count - 2)

    def build(self, primitive: dict[str, Any], matrix: np.ndarray, part: str) -> Mesh | None:
        """One primitive as a mesh in the world; None for points and lines."""
        mode, attributes = primitive.get("mode", 4), primitive["attributes"]
        if mode not in (4, 5, 6) or "POSITION" not in attributes:
            return None
        points = self.file.accessor(attributes["POSITION"], (3,), LARGEST_COUNT).astype(np.float64)
        if "indices" in primitive:
            index = self.file.accessor(primitive["indices"], (1,))[:, 0].astype(np.int64)
        else:
            index = np.arange(len(points))
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(points):
            raise self.file.bad(f"a face names vertex {int(index.max())}, of {len(points)}")
        if mode == 4:
            faces = index[: len(index) // 3 * 3].reshape(-1, 3)
        elif mode == 5:
            n = np.arange(max(0, len(index) - 2))
            faces = (
                np.stack([index[n + n % 2], index[n + 1 - n % 2], index[n + 2]], 1)
                if len(n)
                else np.zeros((0, 3), np.int64)
            )
        else:
            n = np.arange(1, max(1, len(index) - 1))
            faces = (
                np.stack([np.full(len(n), index[0]), index[n], index[n + 1]], 1)
                if len(n)
                else np.zeros((0, 3), np.int64)
            )
        if not len(faces):
            return None
        mesh = Mesh(np.zeros(0), faces.astype(np.int32), part=part)
        linear = matrix[:3, :3]
        mesh.vertices = (
            points if (matrix == np.eye(4)).all() else points @ linear.T + matrix[:3, 3]
        ).astype(np.float32)
        if np.linalg.det(linear) < 0:
            mesh.faces = np.ascontiguousarray(mesh.faces[:, ::-1])
        chosen = 0
        transform: dict[str, Any] = {}
        if "material" in primitive:
            mesh.material, mesh.texture, chosen, transform = self.material(primitive["material"])
        # A texture-coordinate set that the material does not use is still the user's atlas.
        name = f"TEXCOORD_{chosen}" if f"TEXCOORD_{chosen}" in attributes else "TEXCOORD_0"
        if name in attributes:
            uv = self._of(attributes[name], (2,), len(points))
            mesh.uv = self._moved(uv.astype(np.float64), transform) * [1, -1] + [0, 1]
            mesh.uv = mesh.uv.astype(np.float32)
        if "NORMAL" in attributes:
            normals = self._of(attributes["NORMAL"], (3,), len(points)).astype(np.float64)
            if (linear != np.eye(3)).any():
                normals = normals @ np.linalg.pinv(linear)
                normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
            mesh.normals = normals.astype(np.float32)
        if "COLOR_0" in attributes:
            colours = self._of(attributes["COLOR_0"], (3, 4), len(points))[:, :3].astype(np.float64)
            mesh.colours = to_display(colours.clip(0, 1)).astype(np.float32)
        return mesh

    def _of(self, index: Any, widths: tuple[int, ...], count: int) -> np.ndarray:
        values = self.file.accessor(index, widths)
        if len(values) != count:
            raise self.file.bad(
                f"a mesh has {count} positions and {len(values)} of another attribute"
            )
        return values

    def _moved(self, uv: np.ndarray, transform: dict) -> np.ndarray:
        if not transform:
            return uv
        try:
            scale = np.array(transform.get("scale", [1, 1]), np.float64).reshape(2)
            offset = np.array(transform.get("offset", [0, 0]), np.float64).reshape(2)
            turn = float(transform.get("rotation", 0))
        except (TypeError, ValueError):
            raise self.file.bad("a texture transform cannot be read") from None
        c, s = np.cos(turn), np.sin(turn)
        return uv * scale @ np.array([[c, -s], [s, c]]) + offset


def read_gltf(path: Path, textures: bool = True) -> Asset:
    """Read a .glb or .gltf file. Raises InputError.

    Node transforms are applied and the names of nodes are kept; nodes with a transform are also
    returned as `Asset.nodes`.
    """
    reader = _Reader(GltfFile(path, textures))
    asset = Asset({})
    nodes = reader.nodes()
    total = sum(reader.faces_of(p) for _, mesh, _ in nodes for p in reader.primitives(mesh))
    if total > LARGEST_COUNT:
        raise too_many(total, "faces", reader.file.where)
    scene = len(nodes) > 0 and any((matrix != np.eye(4)).any() for _, _, matrix in nodes)
    own: dict[int, dict[str, Mesh]] = {}
    for name, number, matrix in nodes:
        primitives = reader.primitives(number)
        # A node without a name takes the name of its mesh, or of the file.
        part = name or str(reader.file.entry("meshes", number).get("name", ""))[:120] or path.stem
        several = sum(p.get("mode", 4) in (4, 5, 6) for p in primitives) > 1
        part = unique_name(part, {m.part or k for k, m in asset.meshes.items()})
        for primitive in primitives:
            mesh = reader.build(primitive, matrix, part if several else "")
            if mesh is None:
                continue
            named = several and mesh.material is not None and part in asset.meshes
            label = f"{part}:{mesh.material.name}" if named and mesh.material is not None else part
            asset.meshes[unique_name(label, asset.meshes)] = mesh
        place = Transform.of(matrix) if scene else None
        if place is None:
            scene = False  # A scale and a rotation do not describe it.
            continue
        if number not in own:
            made = [reader.build(p, np.eye(4), "") for p in primitives]
            own[number] = {str(n): m for n, m in enumerate(made) if m is not None}
        if own[number]:
            asset.nodes[part] = Node(own[number], place)
    if not scene:
        asset.nodes = {}
    extras = reader.file.document["asset"].get("extras", {})
    provenance = extras.get("provenance") if isinstance(extras, dict) else None
    asset.provenance = provenance if isinstance(provenance, dict) else {}
    return asset
