"""Mends the rows of a glTF document that are not valid: numbers outside their range, rotations of
another length than 1, weights that no morph target has, extensions that are not declared."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .....engine.text import line_name
from ....transform import quaternion
from .animations import follow_weights, free_matrices, mend_animations, rows_of, targets_of
from .pictures import without_empty_pictures
from .values import ROUGH, mend_values

if TYPE_CHECKING:
    from ..read import Reader

_SHARES = {
    "baseColorFactor",
    "metallicFactor",
    "roughnessFactor",
    "emissiveFactor",
    "diffuseFactor",
    "specularFactor",
    "glossinessFactor",
    "clearcoatFactor",
    "clearcoatRoughnessFactor",
    "transmissionFactor",
    "sheenColorFactor",
    "sheenRoughnessFactor",
    "iridescenceFactor",
    "anisotropyStrength",
    "diffuseTransmissionFactor",
    "diffuseTransmissionColorFactor",
}
"""The numbers of materials that are from 0 to 1."""
_PLACED = ("translation", "rotation", "scale")


def mend_file(reader: Reader, shown: set[int]) -> list[str]:
    """Mend the numbers of a file that is being read; returns what of that, and of the mending of
    its rows when it is written, changes how it looks, one line each.

    Args:
        shown: the meshes that a viewer shows.
    """
    document = copy.deepcopy(reader.file.document)
    told = without_empty_pictures(document)[1] if reader.file.textures else []
    told += [*mend_values(reader, shown), *mend_rows(document)[1]]
    return [*told, *mend_animations(document, reader.file)[1]]


def mend_rows(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Mend the rows of a document in place; returns JSON pointers to what was changed, and what of
    that changes how the file looks, one line each."""
    changed, told = free_matrices(document)
    for number, row in rows_of(document, "materials"):
        names = sorted(set(_clipped(row)))
        if names:
            changed.append(f"/materials/{number}")
            label = line_name(str(row.get("name") or number)[:40])
            told.append(f'numbers of the material "{label}" are clipped: {", ".join(names)}')
    for number, mesh in rows_of(document, "meshes"):
        if _weighted(mesh, mesh):
            changed.append(f"/meshes/{number}/weights")
    meshes = dict(rows_of(document, "meshes"))
    for number, row in rows_of(document, "nodes"):
        before = dict(row)
        if "matrix" in row:
            changed += _matrix(document, number)
        _node(row, meshes)
        if row != before:
            changed.append(f"/nodes/{number}")
    changed += _skeletons(document)
    changed += _empty(document)
    return changed, told


def _primitives(mesh: dict[str, Any]) -> list[dict[str, Any]]:
    rows = mesh.get("primitives")
    return [p for p in rows if isinstance(p, dict)] if isinstance(rows, list) else []


def _clipped(row: Any) -> Iterator[str]:
    """Clip the numbers of a material's row, those of its extensions included; yields their keys."""
    if not isinstance(row, dict):
        return
    for key, value in row.items():
        if key in _SHARES or (key == "strength" and "index" in row):
            given = value if isinstance(value, list) else [value]
            if all(_number(v) for v in given):
                within = [min(1.0, max(0.0, v)) for v in given]
                if within != given:
                    row[key] = within if isinstance(value, list) else within[0]
                    yield key
        elif key == "alphaCutoff" and _number(value) and value < 0:
            row[key] = 0.0
            yield key
        elif key != "extras":
            yield from _clipped(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _weighted(row: dict[str, Any], mesh: dict[str, Any]) -> bool:
    """Give the weights of a mesh, or of a node of it, the length that its morph targets have."""
    weights = row.get("weights")
    count = targets_of(mesh)
    if not isinstance(weights, list) or len(weights) == count:
        return False
    row["weights"] = [*weights[:count], *[0.0] * (count - len(weights))]
    if not count:
        del row["weights"]
    return True


def _node(node: dict[str, Any], meshes: dict[int, dict[str, Any]]) -> None:
    """Mend the turn of a node, the weights of its morph targets, and a skin that moves nothing."""
    turn = node.get("rotation")
    if isinstance(turn, list) and all(_number(v) for v in turn):
        length = float(np.linalg.norm(turn))
        if length > 0 and (abs(length - 1) > ROUGH or max(map(abs, turn)) > 1):
            node["rotation"] = [float(v) / length for v in turn]
    mesh = meshes.get(node.get("mesh", -1))
    if mesh is None:
        return
    _weighted(node, mesh)
    if not any("JOINTS_0" in p.get("attributes", ()) for p in _primitives(mesh)):
        node.pop("skin", None)


def _matrix(document: dict[str, Any], number: int) -> list[str]:
    """Mend a node with a matrix; returns JSON pointers to what changed besides. A matrix that
    shears, which no turn and no scale can, becomes what its singular values say: a turn and a
    scale, and below it a node that turns once more and holds the rest."""
    node = document["nodes"][number]
    for key in _PLACED:
        node.pop(key, None)
    matrix = np.array(node["matrix"], np.float64)
    if matrix.shape != (16,) or not np.isfinite(matrix).all():
        return []
    matrix = matrix.reshape(4, 4).T
    linear = matrix[:3, :3]
    lengths = np.maximum(np.linalg.norm(linear, axis=0), 1e-30)
    square = linear / lengths
    if np.abs(square.T @ square - np.eye(3)).max() < 1e-5 and (matrix[3] == [0, 0, 0, 1]).all():
        return []
    left, scale, right = np.linalg.svd(linear)
    for turn, side in ((left, np.s_[:, 2]), (right, np.s_[2])):
        if np.linalg.det(turn) < 0:
            turn[side] *= -1
            scale[2] *= -1
    inner = {k: node.pop(k) for k in list(node) if k not in ("matrix", "name", "extras")}
    del node["matrix"]
    if "name" in node:
        inner["name"] = node["name"]
    inner["rotation"] = quaternion(right).tolist()
    node["translation"] = matrix[:3, 3].tolist()
    node["rotation"], node["scale"] = quaternion(left).tolist(), scale.tolist()
    node["children"] = [len(document["nodes"])]
    document["nodes"].append(inner)
    changed = follow_weights(document, number, len(document["nodes"]) - 1)
    for k, skin in rows_of(document, "skins"):
        if number in skin.get("joints", []):
            inside = len(document["nodes"]) - 1
            skin["joints"] = [inside if j == number else j for j in skin["joints"]]
            changed.append(f"/skins/{k}/joints")
    return changed


def _skeletons(document: dict[str, Any]) -> list[str]:
    """Hang the joints of a skin that have no root in common below a node that changes nothing, and
    forget a skeleton's root that is none. Returns JSON pointers to what changed."""
    changed: list[str] = []
    above = {
        child: number
        for number, row in rows_of(document, "nodes")
        for child in row.get("children") or ()
    }
    for k, skin in rows_of(document, "skins"):
        ways = [_way_up(joint, above) for joint in skin.get("joints") or ()]
        if ways and "skeleton" in skin and not all(skin["skeleton"] in way for way in ways):
            del skin["skeleton"]
            changed.append(f"/skins/{k}/skeleton")
        roots = list(dict.fromkeys(way[-1] for way in ways))
        if len(roots) < 2:
            continue
        above.update(dict.fromkeys(roots, len(document["nodes"])))
        document["nodes"].append({"name": "skeleton", "children": roots})
        for number, scene in rows_of(document, "scenes"):
            listed = scene.get("nodes") or []
            if set(roots) & set(listed):
                kept = [node for node in listed if node not in roots]
                scene["nodes"] = [*kept, len(document["nodes"]) - 1]
                changed.append(f"/scenes/{number}/nodes")
    return changed


def _way_up(node: int, above: dict[int, int]) -> list[int]:
    """A node and those above it, up to its root."""
    way = [node]
    while way[-1] in above and above[way[-1]] not in way:
        way.append(above[way[-1]])
    return way


def _empty(document: dict[str, Any]) -> list[str]:
    """Take out lists without entries, which glTF does not allow."""
    changed: list[str] = []
    for table, rows in list(document.items()):
        if rows == []:
            del document[table]
            changed.append(f"/{table}")
    for table, key in (("nodes", "children"), ("scenes", "nodes")):
        for number, row in rows_of(document, table):
            if row.get(key) == []:
                del row[key]
                changed.append(f"/{table}/{number}/{key}")
    return changed
