"""The nodes of a glTF file: where every mesh stands, with instances, skins in their rest pose and
morph targets at their default weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...transform import rotation_matrix
from ..limits import LARGEST_COUNT, too_many
from .document import GltfDocument

INSTANCING = "EXT_mesh_gpu_instancing"


@dataclass(frozen=True)
class MeshNode:
    """One place of a mesh: the node, its mesh, its name, the transform to the world (4, 4) float64,
    and which of the node's instances it is (-1 where the node is none of several)."""

    node: int
    mesh: int
    name: str
    matrix: np.ndarray
    instance: int = -1


class Scene:
    """The node graph of one file. Every method raises InputError if the file is not valid."""

    def __init__(self, file: GltfDocument) -> None:
        self.file = file
        self.world: dict[int, np.ndarray] = {}
        self.depth = 0
        self.hidden: list[str] = []
        self._joints: dict[int, np.ndarray] = {}

    def roots(self) -> list[Any]:
        """The nodes at the top of the scene that is shown."""
        rows = self.file.rows("nodes")
        if self.file.rows("scenes"):
            chosen = self.file.entry("scenes", self.file.document.get("scene", 0))
            roots = chosen.get("nodes", [])
        else:
            children = {
                c
                for r in rows
                if isinstance(r, dict) and isinstance(r.get("children", []), list)
                for c in r.get("children", [])
                if isinstance(c, int)
            }
            roots = [i for i in range(len(rows)) if i not in children]
        if not isinstance(roots, list):
            raise self.file.bad("a scene's nodes are not a list")
        return roots

    def mesh_nodes(self) -> list[MeshNode]:
        """All places of meshes that are shown, in the order of the scene; `hidden` gets the names
        of the others."""
        found: list[MeshNode] = []
        stack: list[tuple[Any, np.ndarray, int, bool]] = [
            (r, np.eye(4), 1, True) for r in reversed(self.roots())
        ]
        while stack:
            index, above, depth, shown = stack.pop()
            row = self.file.entry("nodes", index)
            if index in self.world:
                raise self.file.bad(f"node {index} hangs from two places, or from itself")
            here = above @ self._transform(row, index)
            self.world[index], self.depth = here, max(self.depth, depth)
            shown = shown and _visible(row)
            if "mesh" in row and not shown:
                self.hidden.append(str(row.get("name") or index)[:80])
            elif "mesh" in row:
                found += self._places(index, row, here)
                if len(found) > LARGEST_COUNT:
                    raise too_many(len(found), "objects", self.file.where)
            below = row.get("children", [])
            if not isinstance(below, list):
                raise self.file.bad(f"the children of node {index} are not a list")
            stack += [(c, here, depth + 1, shown) for c in reversed(below)]
        return found

    def _places(self, index: int, row: dict[str, Any], here: np.ndarray) -> list[MeshNode]:
        name, mesh = str(row.get("name", ""))[:120], self.file.number(row, "mesh")
        extensions = row.get("extensions", {})
        copies = extensions.get(INSTANCING) if isinstance(extensions, dict) else None
        attributes = copies.get("attributes") if isinstance(copies, dict) else None
        if not isinstance(attributes, dict) or not attributes:
            return [MeshNode(index, mesh, name, matrix=here)]
        tables = {
            key: self.file.accessor(attributes[key], (width,)).astype(np.float64)
            for key, width in (("TRANSLATION", 3), ("ROTATION", 4), ("SCALE", 3))
            if key in attributes
        }
        # Of numbers of a program's own alone there is a place for each, too.
        rows = [self.file.entry("accessors", index) for index in attributes.values()]
        count = max(self.file.number(row, "count") for row in rows)
        if any(len(t) != count for t in tables.values()) or count > LARGEST_COUNT:
            raise self.file.bad(f"the instances of node {index} cannot be counted")
        out = []
        for k in range(count):
            own = np.eye(4)
            if "ROTATION" in tables and tables["ROTATION"][k].any():
                own[:3, :3] = rotation_matrix(tables["ROTATION"][k])
            if "SCALE" in tables:
                own[:3, :3] *= tables["SCALE"][k]
            if "TRANSLATION" in tables:
                own[:3, 3] = tables["TRANSLATION"][k]
            if not np.isfinite(own).all():
                raise self.file.bad(f"an instance of node {index} has no place")
            out.append(MeshNode(index, mesh, name, matrix=here @ own, instance=k))
        return out

    def _transform(self, row: dict[str, Any], index: int) -> np.ndarray:
        try:
            if "matrix" in row:
                matrix = np.array(row["matrix"], np.float64).reshape(4, 4).T
            else:
                matrix = np.eye(4)
                turn = np.array([float(v) for v in row.get("rotation", [0, 0, 0, 1])])
                if turn.shape != (4,) or not turn.any():
                    raise ValueError
                if (turn != [0, 0, 0, 1]).any():
                    matrix[:3, :3] = rotation_matrix(turn)
                matrix[:3, :3] *= np.array(row.get("scale", [1, 1, 1]), np.float64).reshape(1, 3)
                matrix[:3, 3] = np.array(row.get("translation", [0, 0, 0]), np.float64).reshape(3)
        except (TypeError, ValueError, OverflowError):
            raise self.file.bad(f"the transform of node {index} cannot be read") from None
        if not np.isfinite(matrix).all():
            raise self.file.bad(f"the transform of node {index} holds numbers that are not finite")
        return matrix

    def morph_weights(self, node: int, mesh: int, count: int) -> np.ndarray:
        """The default weights (count,) of the morph targets of a mesh at a node."""
        own = self.file.entry("nodes", node).get("weights")
        given = own if own is not None else self.file.entry("meshes", mesh).get("weights")
        weights = np.zeros(count)
        if given is not None:
            try:
                values = np.array([float(v) for v in given])[:count]
            except (TypeError, ValueError):
                raise self.file.bad(f"the morph weights of mesh {mesh} cannot be read") from None
            if not np.isfinite(values).all():
                raise self.file.bad(f"the morph weights of mesh {mesh} are not finite")
            weights[: len(values)] = values
        return weights

    def joints(self, skin: int) -> np.ndarray:
        """The matrices (J, 4, 4) float64 of a skin's joints in the rest pose, to the world."""
        if skin not in self._joints:
            row = self.file.entry("skins", skin)
            names = row.get("joints")
            if not isinstance(names, list) or not names:
                raise self.file.bad(f"skin {skin} has no joints")
            inverse = np.tile(np.eye(4), (len(names), 1, 1))
            if "inverseBindMatrices" in row:
                table = self.file.accessor(row["inverseBindMatrices"], (16,))
                if len(table) < len(names):
                    raise self.file.bad(f"skin {skin} has more joints than matrices")
                inverse = table[: len(names)].astype(np.float64).reshape(-1, 4, 4)
                inverse = inverse.transpose(0, 2, 1)
            for joint in names:
                if not isinstance(joint, int) or joint not in self.world:
                    raise self.file.bad(f"skin {skin} has a joint that is not in the scene")
            self._joints[skin] = np.stack([self.world[j] for j in names]) @ inverse
        return self._joints[skin]

    def skinning(self, skin: int, attributes: dict[str, Any], count: int) -> np.ndarray:
        """The matrix (count, 3, 4) float64 of every vertex: its joints', weighted."""
        joints = self.joints(skin)
        total = np.zeros((count, 3, 4))
        weight_sum = np.zeros(count)
        for k in range(8):
            if f"JOINTS_{k}" not in attributes or f"WEIGHTS_{k}" not in attributes:
                break
            index = self.file.accessor(attributes[f"JOINTS_{k}"], (4,)).astype(np.int64)
            weight = self.file.accessor(attributes[f"WEIGHTS_{k}"], (4,)).astype(np.float64)
            if len(index) != count or len(weight) != count:
                raise self.file.bad(f"a mesh has {count} positions and {len(index)} joints")
            if not np.isfinite(weight).all() or ((index >= len(joints)) & (weight > 0)).any():
                raise self.file.bad("a vertex hangs from a joint that its skin has not")
            for c in range(4):
                used = np.flatnonzero(weight[:, c])
                moved = joints[index[used, c].clip(0, len(joints) - 1), :3]
                total[used] += weight[used, c, None, None] * moved
            weight_sum += weight.sum(1)
        loose = weight_sum <= 1e-9
        total[~loose] /= weight_sum[~loose, None, None]
        total[loose] = np.eye(4)[:3]
        return total


def _visible(node: dict[str, Any]) -> bool:
    """Whether a node and what hangs from it are shown, by KHR_node_visibility."""
    extensions = node.get("extensions", {})
    spoken = extensions.get("KHR_node_visibility") if isinstance(extensions, dict) else None
    return not isinstance(spoken, dict) or spoken.get("visible", True) is not False
