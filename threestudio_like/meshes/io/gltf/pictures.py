"""The pictures of a glTF file that is being patched: all in the binary chunk, and none there that
only what was changed had used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ....engine.errors import UserError
from ..images import encode_png
from .accessors import naming_views, views_used
from .buffers import Buffers, close_gaps
from .document import DRACO, MESHOPT, meshopt_of, mime_of
from .mending.whole import extension_names
from .scene import INSTANCING
from .source import GltfSource, texture_infos

_SOURCES = ("EXT_texture_webp", "KHR_texture_basisu", "EXT_texture_avif", "MSFT_texture_dds")
_KNOWN = {
    "KHR_animation_pointer",
    "KHR_lights_punctual",
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_texture_transform",
    "KHR_xmp_json_ld",
    "EXT_lights_image_based",
    INSTANCING,
    DRACO,
    *MESHOPT,
    *_SOURCES,
}
"""Extensions, besides those of materials, of which it is known where they name textures, pictures
and buffer views. Beside others no row gets another number."""
_DATA = ("EXT_mesh_features", "EXT_structural_metadata", "EXT_feature_metadata")


def embed(document: dict[str, Any], source: GltfSource, buffers: Buffers) -> list[str]:
    """Bring pictures that lie beside a .gltf into the binary chunk, encoded as they are, and those
    that `source` has in another size. Returns JSON pointers to what was changed."""
    changed: list[str] = []
    made: dict[bytes, int] = {}
    images = document.get("images", [])
    uses = Counter(views_used(document))
    uses.subtract(row["bufferView"] for row in images if "bufferView" in row)
    for number, row in enumerate(images):
        data = source.pictures.get(number)
        if data is None:
            try:
                data = source.file.image_bytes(number)
            except (UserError, OSError):
                continue  # It was told as missing when the file was read.
            if "uri" not in row and mime_of(data) != "image/x-unknown":
                continue
        mime = mime_of(data)
        if mime == "image/x-unknown":
            # A kind that the format does not have (BMP, TGA): the same pixels as a PNG.
            picture = source.file.image(number)
            if picture is None:
                continue  # That it cannot be read was told too.
            data, mime = encode_png(picture.pixels), "image/png"
        view = row.get("bufferView")
        row.pop("uri", None)
        if (
            view is not None
            and not uses[view]
            and meshopt_of(document["bufferViews"][view]) is None
        ):
            buffers.replace(view, data)
        else:
            if data not in made:
                made[data] = buffers.add(data)
            row["bufferView"] = made[data]
        row["mimeType"] = mime
        changed.append(f"/images/{number}")
    return changed


def fill_empty(document: dict[str, Any], buffers: Buffers) -> list[str]:
    """Give pictures without data, which no material shows and which could not be taken out, a white
    pixel, for glTF wants one. Returns JSON pointers to what was changed."""
    changed = []
    for number, row in enumerate(document.get("images", [])):
        if "uri" not in row and "bufferView" not in row:
            row["bufferView"] = buffers.add(encode_png(np.full((1, 1, 3), 255, np.uint8)))
            row["mimeType"] = "image/png"
            changed.append(f"/images/{number}")
    return changed


def drop_unused(document: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Take out the textures and pictures that the file `given` used and the document does not.
    Returns JSON pointers to what was changed."""
    if not _numbered_freely(document, given):
        return []
    changed = _drop(document, given, "textures", naming=_naming_textures)
    return changed + _drop(document, given, "images", naming=_naming_images)


def drop_views(document: dict[str, Any], given: dict[str, Any], buffers: Buffers) -> None:
    """Take out the buffer views of pictures of the file `given` that the document does not use."""
    if not _numbered_freely(document, given):
        return
    used = set(views_used(document))
    before = {row["bufferView"] for row in given.get("images", []) if "bufferView" in row}
    moved = buffers.drop(before - used)
    for row in naming_views(document):
        row["bufferView"] = moved.get(row["bufferView"], row["bufferView"])


def _numbered_freely(*documents: dict[str, Any]) -> bool:
    """Whether it is known of all extensions which rows they name."""
    names = set().union(*map(extension_names, documents))
    return all(name in _KNOWN or name.startswith("KHR_materials_") for name in names)


def _drop(
    document: dict[str, Any],
    given: dict[str, Any],
    table: str,
    naming: Callable[[dict[str, Any]], Iterator[tuple[str, Any, Any]]],
) -> list[str]:
    rows = document.get(table, [])
    before, used = (
        {holder[name] for _, holder, name in naming(where)} for where in (given, document)
    )
    added = range(len(given.get(table, [])), len(rows))
    gone = (before | set(added)) - used
    if not gone:
        return []
    moved = close_gaps(rows, gone)
    changed = [f"/{table}/{n}" for n in (*gone, *moved, *moved.values())]
    for pointer, holder, name in list(naming(document)):
        if holder[name] in moved:
            holder[name] = moved[holder[name]]
            changed.append(pointer)
    if not rows:
        del document[table]
        changed.append(f"/{table}")
    return changed


def _naming_textures(document: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where textures are named: a JSON pointer, the table in which, and under which key."""
    for number, row in enumerate(document.get("materials", [])):
        for info in texture_infos(row):
            yield f"/materials/{number}", info, "index"


def _naming_images(document: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where pictures are named: a JSON pointer, the table in which, and under which key."""
    for number, row in enumerate(document.get("textures", [])):
        spoken = row.get("extensions", {})
        for holder in (row, *(spoken.get(name, {}) for name in _SOURCES)):
            if "source" in holder:
                yield f"/textures/{number}", holder, "source"
    for faces in _of_lights(document):
        yield from (("/extensions/EXT_lights_image_based", faces, k) for k in range(len(faces)))


def _of_lights(document: dict[str, Any]) -> list[list[int]]:
    """The pictures of lights that are pictures: six of each size."""
    table = document.get("extensions", {}).get("EXT_lights_image_based", {})
    return [faces for light in table.get("lights", []) for faces in light.get("specularImages", [])]


def fixed_pictures(document: dict[str, Any]) -> set[int]:
    """The numbers of the pictures whose size or whose single texels mean something: those of lights
    that are pictures, and of textures that hold data."""
    found = {number for faces in _of_lights(document) for number in faces}
    textures = set()
    stack: list[tuple[Any, bool]] = [(document, False)]
    while stack:
        item, inside = stack.pop()
        if isinstance(item, list):
            stack += [(v, inside) for v in item]
        elif isinstance(item, dict):
            stack += [(v, inside or k in _DATA) for k, v in item.items() if k != "extras"]
            if inside and type(item.get("index")) is int:
                textures.add(item["index"])
    rows = document.get("textures", [])
    some = {"textures": [rows[n] for n in textures if 0 <= n < len(rows)]}
    return found | {holder[key] for _, holder, key in _naming_images(some)}


def webp_pictures(document: dict[str, Any]) -> set[int]:
    """The numbers of the pictures that textures name as WebP."""
    rows = [row.get("extensions", {}) for row in document.get("textures", [])]
    named = [spoken["EXT_texture_webp"] for spoken in rows if "EXT_texture_webp" in spoken]
    return {row["source"] for row in named if "source" in row}
