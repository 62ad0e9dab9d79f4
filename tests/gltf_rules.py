"""The rules of glTF 2.0 that a file of another program may break, looked at without the package."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gltf_files import gltf_of, table_of

UNIT = {"NORMAL": 3, "TANGENT": 3}
SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
CORE = {"POSITION": (5126,), "NORMAL": (5126,), "TANGENT": (5126,)}


def broken_rules(data: bytes) -> list[str]:
    """What of a GLB breaks a rule, in words; [] for a valid file."""
    document, _ = gltf_of(data)
    found: list[str] = []
    for number, mesh in enumerate(document["meshes"]):
        for primitive in mesh["primitives"]:
            found += [f"mesh {number}: {fault}" for fault in _primitive(data, document, primitive)]
        targets = len(mesh["primitives"][0].get("targets", []))
        if "weights" in mesh and len(mesh["weights"]) != targets:
            found.append(f"mesh {number}: {len(mesh['weights'])} weights of {targets} targets")
    for number, node in enumerate(document["nodes"]):
        turn = node.get("rotation", [0, 0, 0, 1])
        if abs(np.linalg.norm(turn) - 1) > 7e-3 or max(map(abs, turn)) > 1:
            found.append(f"node {number}: rotation {turn}")
        if node.get("children") == []:
            found.append(f"node {number}: no children")
        if "matrix" in node:
            found += _matrix(np.array(node["matrix"]).reshape(4, 4).T, number)
    for number, row in enumerate(document.get("materials", [])):
        pbr = row.get("pbrMetallicRoughness", {})
        values = [*pbr.get("baseColorFactor", []), pbr.get("metallicFactor", 1)]
        values += [pbr.get("roughnessFactor", 1), *row.get("emissiveFactor", [])]
        values += [row.get("occlusionTexture", {}).get("strength", 1)]
        if min(values) < 0 or max(values) > 1:
            found.append(f"material {number}: {values}")
    used = set(document.get("extensionsUsed", []))
    found += [f"undeclared: {name}" for name in sorted(_spoken(document) - used)]
    for skin in document.get("skins", []):
        ways = [_way_up(joint, document["nodes"]) for joint in skin["joints"]]
        shared = set(ways[0]).intersection(*ways)
        if not shared or skin.get("skeleton", next(iter(shared))) not in shared:
            found.append("joints without their root")
        matrices = table_of(data, skin["inverseBindMatrices"])
        if (matrices[:, [3, 7, 11, 15]] != [0, 0, 0, 1]).any():
            found.append("a matrix that is not affine")
    for number, row in enumerate(document["accessors"]):
        if row["componentType"] == 5126 and not np.isfinite(table_of(data, number)).all():
            found.append(f"accessor {number} is not finite")
    for number, row in enumerate(document.get("animations", [])):
        found += [f"animation {number}: {fault}" for fault in _movements(data, document, row)]
    found += [f"texture {n}: {fault}" for n, fault in _sources(document)]
    return found


def _movements(data: bytes, document: dict[str, Any], animation: dict[str, Any]) -> list[str]:
    found: list[str] = []
    accessors, nodes = document["accessors"], document["nodes"]
    if not animation["channels"] or not animation["samplers"]:
        return ["is empty"]
    keys: list[int] = []
    for sampler in animation["samplers"]:
        times, row = table_of(data, sampler["input"]), accessors[sampler["input"]]
        keys.append(len(times))
        if (row["type"], row["componentType"]) != ("SCALAR", 5126):
            found.append("times of another kind")
        elif "min" not in row or [row["min"], row["max"]] != [[times.min()], [times.max()]]:
            found.append("times without bounds")
        if not (times >= 0).all() or not (np.diff(times[:, 0]) > 0).all():
            found.append("times that do not rise from 0")
        if sampler.get("interpolation") == "CUBICSPLINE" and len(times) < 2:
            found.append("a spline of one key frame")
    moved = []
    for channel in animation["channels"]:
        target, path = channel["target"], channel["target"]["path"]
        spoken = target.get("extensions", {}).get("KHR_animation_pointer", {})
        words = spoken.get("pointer", f"/nodes/{target.get('node')}/{path}").split("/")
        moved.append(words)
        if channel["sampler"] >= len(animation["samplers"]):
            found.append("a sampler that is not there")
            continue
        sampler = animation["samplers"][channel["sampler"]]
        values, row = table_of(data, sampler["output"]), accessors[sampler["output"]]
        if words[2] == "None":
            continue
        if int(words[2]) >= len(nodes):
            found.append("a node that is not there")
            continue
        node, path = nodes[int(words[2])], words[3]
        if "matrix" in node:
            found.append("a node with a matrix")
        mesh = document["meshes"][node["mesh"]]["primitives"] if "mesh" in node else [{}]
        each = len(mesh[0].get("targets", [])) if path == "weights" else 1
        each *= 3 if sampler.get("interpolation") == "CUBICSPLINE" else 1
        if len(values) != each * keys[channel["sampler"]] or not each:
            found.append("values of another number")
        kind = {"rotation": "VEC4", "weights": "SCALAR"}.get(path, "VEC3")
        if row["type"] != kind or not (row["componentType"] == 5126 or row.get("normalized")):
            found.append("values of another kind")
        elif path == "rotation":
            length = np.linalg.norm(values[1::3] if each == 3 else values, axis=1)
            found += ["a turn of another length"] * bool((np.abs(length - 1) > 7e-3).any())
    found += ["the same moved twice"] * (len({str(m) for m in moved}) < len(moved))
    return found


def _sources(document: dict[str, Any]) -> list[tuple[int, str]]:
    """Textures that name pictures of a kind that they may not name."""
    core, found = ("image/png", "image/jpeg"), []
    for number, row in enumerate(document.get("textures", [])):
        if "source" in row and document["images"][row["source"]]["mimeType"] not in core:
            found.append((number, "source"))
        other = row.get("extensions", {}).get("EXT_texture_webp", {}).get("source")
        if other is not None and document["images"][other]["mimeType"] != "image/webp":
            found.append((number, "EXT_texture_webp"))
    return found


def _way_up(node: int, nodes: list[dict[str, Any]]) -> list[int]:
    way = [node]
    while above := [n for n, row in enumerate(nodes) if way[-1] in row.get("children", [])]:
        way.append(above[0])
    return way


def _matrix(matrix: np.ndarray, number: int) -> list[str]:
    square = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    near = np.abs(square.T @ square - np.eye(3)).max() < 1e-4
    return [] if near else [f"node {number}: a matrix that shears"]


def _primitive(data: bytes, document: dict[str, Any], row: dict[str, Any]) -> list[str]:
    found: list[str] = []
    quantised = "KHR_mesh_quantization" in document.get("extensionsRequired", [])
    views: dict[int, list[int]] = {}
    for name, index in row["attributes"].items():
        accessor, values = document["accessors"][index], table_of(data, index)
        whole = accessor.get("normalized", False)
        real = values / np.iinfo(values.dtype).max if whole else values.astype(np.float64)
        view = document["bufferViews"][accessor["bufferView"]]
        stride = view.get("byteStride", SIZES[accessor["componentType"]] * values.shape[1])
        views.setdefault(accessor["bufferView"], []).append(view.get("byteStride", 0))
        if stride % 4 or accessor.get("byteOffset", 0) % 4 or view.get("byteOffset", 0) % 4:
            found.append(f"{name} is not aligned")
        if not np.isfinite(real).all():
            found.append(f"{name} is not finite")
        for key, actual in (("min", values.min(0)), ("max", values.max(0))):
            if key in accessor and (np.array(accessor[key], values.dtype) != actual).any():
                found.append(f"{name} has another {key}")
        if name == "POSITION" and not {"min", "max"} <= set(accessor):
            found.append("POSITION has no bounds")
        if name in UNIT and (np.abs(np.linalg.norm(real[:, :3], axis=1) - 1) > 6.7e-3).any():
            found.append(f"{name} is not of unit length")
        if name == "TANGENT" and not np.isin(real[:, 3], (-1, 1)).all():
            found.append("TANGENT has no side")
        if name.startswith("COLOR") and ((real < 0) | (real > 1)).any():
            found.append(f"{name} is outside of [0, 1]")
        if accessor["componentType"] not in CORE.get(name, SIZES) and not quantised:
            found.append(f"{name} is quantised")
    found += ["a view of several without stride" for s in views.values() if len(s) > 1 and 0 in s]
    sets = sorted(k for k in row["attributes"] if k.startswith("TEXCOORD"))
    if sets != [f"TEXCOORD_{k}" for k in range(len(sets))]:
        found.append(f"sets {sets}")
    joints = min((len(s["joints"]) for s in document.get("skins", [])), default=0)
    if "TANGENT" not in row["attributes"] and any(map(_lacks_directions, _looks(document, row))):
        found.append("no tangents, and no normal map to make them by")
    return found + _weights(data, row["attributes"], joints)


def _looks(document: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The materials of a primitive and of its variants."""
    varied = row.get("extensions", {}).get("KHR_materials_variants", {}).get("mappings", [])
    return [document["materials"][r["material"]] for r in (row, *varied) if "material" in r]


def _lacks_directions(row: dict[str, Any]) -> bool:
    spoken = row.get("extensions", {})
    bent = "clearcoatNormalTexture" in spoken.get("KHR_materials_clearcoat", {})
    return (bent or "KHR_materials_anisotropy" in spoken) and "normalTexture" not in row


def _weights(data: bytes, attributes: dict[str, int], joints: int) -> list[str]:
    tables = [(k, table_of(data, v)) for k, v in attributes.items() if k.startswith("WEIGHTS")]
    if not tables:
        return []
    weight = np.concatenate(
        [v / np.iinfo(v.dtype).max if v.dtype.kind == "u" else v for _, v in tables], 1
    ).astype(np.float64)
    joint = np.concatenate([table_of(data, attributes[f"JOINTS{k[7:]}"]) for k, _ in tables], 1)
    off = np.abs(weight.sum(1) - 1) > 2e-7 * (weight > 0).sum(1)
    found = ["weights of another sum"] * bool(off.any())
    found += ["negative weights"] * bool((weight < 0).any())
    twice = [len(set(j[w > 0].tolist())) < int((w > 0).sum()) for j, w in zip(joint, weight)]
    found += ["a joint that is not there"] * bool((joint >= joints).any())
    return found + ["a joint twice"] * any(twice)


def _spoken(row: Any) -> set[str]:
    if isinstance(row, list):
        return set().union(*map(_spoken, row)) if row else set()
    if not isinstance(row, dict):
        return set()
    own = set(row.get("extensions", {}))
    return own.union(*(_spoken(v) for k, v in row.items() if k != "extras"))
