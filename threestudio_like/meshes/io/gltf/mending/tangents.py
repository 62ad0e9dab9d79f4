"""Lets a viewer make the tangents that a material needs and its surface does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...images import encode_png
from ..accessors import Accessors
from ..materials import texture_place
from ..source import VARIANTS

ANISOTROPY = "KHR_materials_anisotropy"
CLEARCOAT = "KHR_materials_clearcoat"
_BENDING = ((ANISOTROPY, "anisotropyTexture"), (CLEARCOAT, "clearcoatNormalTexture"))
"""What of a material has directions along its surface, but for its own normal map."""


def mend_tangents(document: dict[str, Any], accessors: Accessors) -> list[str]:
    """Give materials with directions along the surface a normal map, where a surface without
    tangents has none to make them by. A viewer makes tangents of the texture coordinates that the
    normal map is read by; this one is of one pixel, and flat, and counts nothing.

    Returns:
        JSON pointers to what was changed.
    """
    changed: list[str] = []
    made: int | None = None
    for number in _lacking(document):
        row = document["materials"][number]
        if made is None:
            made = _flat_map(document, accessors)
        # Of scale 0 the map points exactly up; 127.5 is what no pixel has.
        row["normalTexture"] = {"index": made, "scale": 0, **_place(row)}
        changed.append(f"/materials/{number}")
    return changed


def _lacking(document: dict[str, Any]) -> list[int]:
    """The materials that need tangents, of surfaces without."""
    rows = document.get("materials", [])
    found: dict[int, None] = {}
    for mesh in document.get("meshes", []):
        for primitive in mesh["primitives"]:
            if "TANGENT" not in primitive["attributes"]:
                found |= dict.fromkeys(_shown(primitive))
    return [n for n in found if n < len(rows) and _lost(rows[n])]


def _shown(primitive: dict[str, Any]) -> Iterator[int]:
    """The materials of a primitive, with those of its variants."""
    varied = primitive.get("extensions", {}).get(VARIANTS, {}).get("mappings", [])
    yield from (r["material"] for r in (primitive, *varied) if isinstance(r.get("material"), int))


def _lost(row: dict[str, Any]) -> bool:
    """Whether a material has directions that nothing tells."""
    spoken = row.get("extensions", {})
    bent = ANISOTROPY in spoken or "clearcoatNormalTexture" in spoken.get(CLEARCOAT, {})
    return bent and "normalTexture" not in row


def _place(row: dict[str, Any]) -> dict[str, int]:
    """Which texture coordinates the directions are along."""
    spoken = row["extensions"]
    maps = [spoken.get(name, {}).get(key) for name, key in _BENDING]
    chosen = next((texture_place(info)[0] for info in maps if isinstance(info, dict)), 0)
    return {"texCoord": chosen} if chosen else {}


def _flat_map(document: dict[str, Any], accessors: Accessors) -> int:
    """A new texture of one pixel that points up; returns its number."""
    view = accessors.buffers.add(encode_png(np.array([[[128, 128, 255]]], np.uint8)))
    row = {"bufferView": view, "mimeType": "image/png", "name": "flat"}
    document.setdefault("images", []).append(row)
    document.setdefault("textures", []).append({"source": len(document["images"]) - 1})
    return len(document["textures"]) - 1
