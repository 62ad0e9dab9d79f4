"""Mends what makes a glTF file invalid and can be mended without a guess: normals that are not of
unit length, textures on a surface without coordinates, missing bounds of positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....engine.errors import InputError
from .accessors import Accessors
from .document import GltfDocument
from .source import texture_infos

TOLERANCE = 5e-4
"""By how much the length of a normal may differ from 1."""


def mend(document: dict[str, Any], file: GltfDocument, accessors: Accessors) -> list[str]:
    """Mend a document that is being patched; returns JSON pointers to what was changed."""
    changed: list[str] = []
    looked: dict[int, bool] = {}
    before = len(file.rows("accessors"))
    for number, mesh in enumerate(document.get("meshes", [])):
        for k, primitive in enumerate(mesh["primitives"]):
            pointer = f"/meshes/{number}/primitives/{k}"
            attributes = primitive["attributes"]
            normal = attributes.get("NORMAL")
            if (
                normal is not None
                and normal < before
                and "KHR_draco" not in str(primitive.get("extensions", ""))
            ):
                if normal not in looked:
                    looked[normal] = _mend_normals(document, file, accessors, index=normal)
                if looked[normal]:
                    changed.append(pointer)
            if _lacks_coordinates(document, primitive) and "POSITION" in attributes:
                count = document["accessors"][attributes["POSITION"]]["count"]
                have = sum(f"TEXCOORD_{s}" in attributes for s in range(16))
                empty = accessors.put(np.zeros((count, 2), np.float32))
                for s in range(have, _sets_needed(document, primitive)):
                    attributes[f"TEXCOORD_{s}"] = empty
                changed.append(pointer)
            row = document["accessors"][attributes["POSITION"]] if "POSITION" in attributes else {}
            if row and "min" not in row and attributes["POSITION"] < before:
                values = file.raw(attributes["POSITION"])
                row["min"], row["max"] = values.min(0).tolist(), values.max(0).tolist()
                changed.append(pointer)
    return changed


def _mend_normals(
    document: dict[str, Any], file: GltfDocument, accessors: Accessors, index: int
) -> bool:
    """Give normals of another length than 1 that length; those without a direction point up."""
    if document["accessors"][index] != file.entry("accessors", index):
        return False  # Written by the patch.
    try:
        values = file.raw(index, (3,))
    except InputError:
        return False
    if values.dtype != np.float32:
        return False
    length = np.linalg.norm(values.astype(np.float64), axis=1)
    wrong = ~(np.abs(length - 1) <= TOLERANCE)
    if not wrong.any():
        return False
    unit = values.astype(np.float64)
    lost = ~(length > 1e-12)
    unit[wrong & ~lost] /= length[wrong & ~lost, None]
    unit[lost] = [0.0, 1.0, 0.0]
    accessors.rewrite(index, unit.astype(np.float32))
    return True


def _sets_needed(document: dict[str, Any], primitive: dict[str, Any]) -> int:
    if "material" not in primitive:
        return 0
    infos = texture_infos(document["materials"][primitive["material"]])
    return max((int(info.get("texCoord", 0)) + 1 for info in infos), default=0)


def _lacks_coordinates(document: dict[str, Any], primitive: dict[str, Any]) -> bool:
    attributes = primitive["attributes"]
    return any(f"TEXCOORD_{s}" not in attributes for s in range(_sets_needed(document, primitive)))
