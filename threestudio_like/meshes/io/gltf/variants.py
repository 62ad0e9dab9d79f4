"""Several looks of one geometry in one file, by KHR_materials_variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...material import Material
from ...mesh import Mesh, Variant
from .looks import Looks

EXTENSION = "KHR_materials_variants"


def add_variants(
    document: dict[str, Any],
    variants: Sequence[Variant],
    meshes: Mapping[str, Mesh],
    primitives: Mapping[str, Sequence[dict[str, Any]]],
    looks: Looks,
    bases: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Write an asset's variants into a document, behind those that it has.

    Args:
        meshes: of the asset, by name; a variant names some of them.
        primitives: the rows of the document that each mesh has.
        bases: for meshes of a patched file, the row of their present material; a variant's
            material is that with another base colour.
    """
    if not variants:
        return
    table = document.setdefault("extensions", {}).setdefault(EXTENSION, {})
    known = table.setdefault("variants", [])
    looks.use_extension(EXTENSION)
    written: dict[tuple[int, int], int] = {}
    for variant in variants:
        number = len(known)
        known.append({"name": variant.name})
        for name, (texture, material) in variant.looks.items():
            mark = (id(texture), id(material))
            if mark not in written:
                base = bases.get(name) if bases is not None else None
                row = looks.material(material or Material(name), texture)
                if base is not None:
                    row = _with_base(base, row)
                written[mark] = looks.append("materials", row)
            for primitive in primitives.get(name, ()):
                mapped = primitive.setdefault("extensions", {}).setdefault(EXTENSION, {})
                mapped.setdefault("mappings", []).append(
                    {"material": written[mark], "variants": [number]}
                )


def _with_base(base: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A material of the file with the base colour of another row."""
    pbr = {**base.get("pbrMetallicRoughness", {})}
    new = row["pbrMetallicRoughness"]
    for key in ("baseColorFactor", "baseColorTexture"):
        pbr.pop(key, None)
        if key in new:
            pbr[key] = new[key]
    return {**base, "name": row["name"], "pbrMetallicRoughness": pbr}
