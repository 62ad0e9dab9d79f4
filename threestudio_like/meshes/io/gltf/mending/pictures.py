"""Takes the pictures of a glTF document that hold nothing out of what names them: glTF wants the
bytes of every picture, and viewers refuse a file without."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .....engine.text import line_name
from .animations import rows_of


def without_empty_pictures(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Let no texture name a picture without data, and no material a texture that had no other, in
    place; returns JSON pointers to what was changed, and what was left out, one line each."""
    empty = {
        number: line_name(str(row.get("name") or f"image {number}")[:40])
        for number, row in rows_of(document, "images")
        if "uri" not in row and "bufferView" not in row
    }
    changed: list[str] = []
    bare: set[int] = set()
    for number, row in rows_of(document, "textures"):
        holders = list(_holders(row))
        lost = [holder for holder in holders if _is_one(holder["source"], empty)]
        for holder in lost:
            del holder["source"]
        if lost:
            spoken = row.get("extensions", {})
            for name in [k for k, holder in spoken.items() if holder == {}]:
                del spoken[name]
            if "extensions" in row and not spoken:
                del row["extensions"]
            changed.append(f"/textures/{number}")
        if lost and len(lost) == len(holders):
            bare.add(number)
    for number, row in rows_of(document, "materials"):
        if bare and _forget(row, bare):
            changed.append(f"/materials/{number}")
    told = [f'the picture "{name}" is left out: it has no data' for name in empty.values()]
    return changed, told


def _holders(texture: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Where a texture names pictures: its row, and those of its extensions."""
    spoken = texture.get("extensions", {})
    for row in (texture, *(spoken.values() if isinstance(spoken, dict) else ())):
        if isinstance(row, dict) and "source" in row:
            yield row


def _is_one(number: Any, of: Collection[int]) -> bool:
    return isinstance(number, int) and number in of


def _forget(row: dict[str, Any], textures: set[int]) -> bool:
    """Take the references to some textures out of a material's row, those of its extensions
    included; whether there were any."""
    found = False
    for key, value in list(row.items()):
        if not isinstance(value, dict) or key == "extras":
            continue
        if key.lower().endswith("texture") and _is_one(value.get("index"), textures):
            del row[key]
            found = True
        else:
            found = _forget(value, textures) or found
    return found
