"""Mends what makes a glTF file invalid while it is patched, so that whatever is written is valid:
its rows, the numbers that were mended when it was read, tables that are not aligned, bounds,
textures on a surface without coordinates, tangents that a material needs, extensions that are not
declared."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from .....engine.errors import InputError
from ..accessors import Accessors
from ..document import (
    COMPONENTS,
    DRACO,
    WIDTHS,
    GltfDocument,
    column_width,
    meshopt_of,
    mime_of,
)
from ..materials import texture_place
from ..scene import INSTANCING
from ..source import texture_infos
from .animations import mend_animations
from .rows import mend_rows
from .tangents import mend_tangents

QUANTISED = "KHR_mesh_quantization"
_KINDS = {"image/webp": "EXT_texture_webp", "image/ktx2": "KHR_texture_basisu"}
"""Kinds of pictures that only an extension of a texture may name."""


def mend(document: dict[str, Any], file: GltfDocument, accessors: Accessors) -> list[str]:
    """Mend a document that is being patched; returns JSON pointers to what was changed."""
    return _Mending(document, file, accessors).run()


class _Mending:
    def __init__(self, document: dict[str, Any], file: GltfDocument, accessors: Accessors) -> None:
        self.document, self.file, self.accessors = document, file, accessors
        self.changed: list[str] = []
        self.uses: dict[int, list[tuple[str, str]]] = {}

    def run(self) -> list[str]:
        """Carry it out."""
        self.changed += mend_rows(self.document)[0]
        self.changed += mend_animations(self.document, self.file, self.accessors)[0]
        self.changed += mend_tangents(self.document, self.accessors)
        self._coordinates()
        for pointer, role, index in _uses(self.document):
            self.uses.setdefault(index, []).append((pointer, role))
        views: dict[int, set[int]] = {}
        for index, users in self.uses.items():
            if users[0][1] == "vertex" and self._of_file(index):
                row = self.document["accessors"][index]
                views.setdefault(row.get("bufferView", -1), set()).add(index)
        for index in sorted(self.uses):
            if self._of_file(index):
                self._table(index, views)
        self._unused()
        self._pictures()
        self._sources()
        self._declare()
        return self.changed

    def _of_file(self, index: int) -> bool:
        """Whether an accessor is the file's, and not written by the patch."""
        return index < len(self.file.rows("accessors")) and index not in self.accessors.written

    def _table(self, index: int, views: dict[int, set[int]]) -> None:
        """Mend the numbers of an accessor, the place where they lie, and its bounds."""
        if self.uses[index][0][1] == "packed":
            return
        row, role = self.document["accessors"][index], self.uses[index][0][1]
        try:
            values = self.file.raw(index)
        except InputError:
            return  # Nothing that was read needs it.
        if index in self.file.mended or self._unaligned(row, role, views):
            self.accessors.rewrite(index, values, role)
            self._mark(index)
        needed = role == "times" or any(p.endswith("#POSITION") for p, _ in self.uses[index])
        if not (needed or "min" in row or "max" in row) or not np.isfinite(values).all():
            return
        for key, actual in (("min", values.min(0)), ("max", values.max(0))):
            given = row.get(key)
            if given is None or not _equal(given, actual):
                row[key] = actual.tolist()
                self._mark(index)

    def _unused(self) -> None:
        """Make the numbers that nothing uses finite, which they have to be too."""
        for index, row in enumerate(self.document.get("accessors", [])):
            if index in self.uses or not self._of_file(index) or row["componentType"] != 5126:
                continue
            try:
                values = self.file.raw(index)
            except InputError:
                continue
            if index in self.file.mended or not np.isfinite(values).all():
                finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
                self.accessors.rewrite(index, finite, "other")
                if "min" in row or "max" in row:
                    row["min"], row["max"] = finite.min(0).tolist(), finite.max(0).tolist()

    def _mark(self, index: int) -> None:
        self.changed += [pointer.partition("#")[0] for pointer, _ in self.uses[index]]

    def _unaligned(self, row: dict[str, Any], role: str, views: dict[int, set[int]]) -> bool:
        """Whether the rows of an accessor lie where glTF does not want them: at multiples of four
        bytes for vertices, of their own size for all others, which have no stride."""
        number = row.get("bufferView")
        if number is None:
            return False
        view = self.document["bufferViews"][number]
        if meshopt_of(view) is not None:
            return False
        size = np.dtype(COMPONENTS[row["componentType"]]).itemsize
        offset, stride = row.get("byteOffset", 0), view.get("byteStride", 0)
        if offset % size or (view.get("byteOffset", 0) + offset) % size:
            return True
        if role != "vertex":
            return bool(stride)
        gaps = not stride and column_width(row["type"], size) ** 2 > WIDTHS[row["type"]]
        together = len(views.get(number, ())) > 1 and not stride
        stride = stride or size * WIDTHS[row["type"]]
        return bool(offset % 4 or stride % 4 or together or gaps)

    def _coordinates(self) -> None:
        """Give a surface without the texture coordinates that its material reads empty ones."""
        for number, mesh in enumerate(self.document.get("meshes", [])):
            for k, primitive in enumerate(mesh["primitives"]):
                attributes = primitive["attributes"]
                sets = _sets_needed(self.document, primitive)
                lacking = [s for s in range(sets) if f"TEXCOORD_{s}" not in attributes]
                if not lacking or "POSITION" not in attributes:
                    continue
                count = self.document["accessors"][attributes["POSITION"]]["count"]
                empty = self.accessors.put(np.zeros((count, 2), np.float32))
                for s in lacking:
                    attributes[f"TEXCOORD_{s}"] = empty
                self.changed.append(f"/meshes/{number}/primitives/{k}")

    def _pictures(self) -> None:
        """Name pictures by what their bytes are."""
        for number, row in enumerate(self.document.get("images", [])):
            if number >= len(self.file.rows("images")) or "bufferView" not in row:
                continue
            if row != self.file.entry("images", number):
                continue
            # It may have been made smaller in its place.
            data = self.accessors.buffers.bytes_of(row["bufferView"])
            mime = mime_of(self.file.image_bytes(number) if data is None else data)
            if mime != "image/x-unknown" and row.get("mimeType") != mime:
                row["mimeType"] = mime
                self.changed.append(f"/images/{number}")

    def _sources(self) -> None:
        """Let textures name pictures where glTF wants those of their kind."""
        images = self.document.get("images", [])
        for number, row in enumerate(self.document.get("textures", [])):
            before = copy.deepcopy(row)
            spoken = row.get("extensions", {})
            for name in _KINDS.values():
                source = spoken.get(name, {}).get("source")
                mime = images[source].get("mimeType") if isinstance(source, int) else None
                if mime in ("image/png", "image/jpeg"):
                    row.setdefault("source", source)
                    del spoken[name]
            mime = images[row["source"]].get("mimeType") if "source" in row else None
            if mime in _KINDS:
                source = row.pop("source")
                row.setdefault("extensions", {}).setdefault(_KINDS[mime], {"source": source})
                # There is no other picture for those who do not know it.
                required = self.document.setdefault("extensionsRequired", [])
                if _KINDS[mime] not in required:
                    required.append(_KINDS[mime])
                    self.changed.append("/extensionsRequired")
            if row.get("extensions") == {}:
                del row["extensions"]
            if row != before:
                self.changed.append(f"/textures/{number}")

    def _declare(self) -> None:
        """Declare the extensions that rows use, and quantised vertices, which need one."""
        used = extension_names(self.document)
        quantised = any(
            _quantised(name, self.document["accessors"][index])
            for mesh in self.document.get("meshes", [])
            for primitive in mesh["primitives"]
            for table in (primitive["attributes"], *primitive.get("targets", []))
            for name, index in table.items()
        )
        required = self.document.get("extensionsRequired", [])
        for table, wanted in (
            ("extensionsUsed", used | set(required) | ({QUANTISED} if quantised else set())),
            ("extensionsRequired", {QUANTISED} if quantised else set()),
        ):
            have = self.document.get(table, [])
            lacking = sorted(wanted - set(have))
            if lacking:
                self.document[table] = [*have, *lacking]
                self.changed.append(f"/{table}")


def extension_names(row: Any) -> set[str]:
    """The extensions that rows of a document, below any of its tables, use."""
    found: set[str] = set()
    stack = [row]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("extensions"), dict):
                found |= set(item["extensions"])
            stack += [v for k, v in item.items() if k != "extras"]
        elif isinstance(item, list):
            stack += item
    return found


def _uses(document: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Every use of an accessor: a JSON pointer, with the attribute behind #; its role ("vertex",
    "index", "packed", "times" or "other"); the number of the accessor."""
    for number, mesh in enumerate(document.get("meshes", [])):
        for k, primitive in enumerate(mesh["primitives"]):
            pointer = f"/meshes/{number}/primitives/{k}"
            packed = primitive.get("extensions", {}).get(DRACO, {}).get("attributes")
            for name, index in primitive["attributes"].items():
                inside = packed is not None and name in packed
                yield f"{pointer}#{name}", "packed" if inside else "vertex", index
            for target in primitive.get("targets", []):
                yield from ((f"{pointer}#{name}", "vertex", i) for name, i in target.items())
            if "indices" in primitive:
                yield pointer, "index" if packed is None else "packed", primitive["indices"]
    for number, skin in enumerate(document.get("skins", [])):
        if "inverseBindMatrices" in skin:
            yield f"/skins/{number}", "other", skin["inverseBindMatrices"]
    for number, animation in enumerate(document.get("animations", [])):
        for sampler in animation.get("samplers", []):
            for key, role in (("input", "times"), ("output", "other")):
                if key in sampler:
                    yield f"/animations/{number}", role, sampler[key]
    for number, node in enumerate(document.get("nodes", [])):
        table = node.get("extensions", {}).get(INSTANCING, {}).get("attributes", {})
        yield from ((f"/nodes/{number}", "other", index) for index in table.values())


def _equal(given: Any, actual: np.ndarray) -> bool:
    if not isinstance(given, list) or len(given) != len(actual):
        return False
    if actual.dtype.kind == "f":
        return bool((np.array(given, np.float32) == actual).all())
    return given == actual.tolist()


def _quantised(name: str, row: dict[str, Any]) -> bool:
    """Whether an attribute has numbers that only KHR_mesh_quantization allows."""
    kind, normalised = row["componentType"], bool(row.get("normalized"))
    if name in ("POSITION", "NORMAL", "TANGENT"):
        return bool(kind != 5126)
    core = kind == 5126 or (kind in (5121, 5123) and normalised)
    return name.startswith("TEXCOORD_") and not core


def _sets_needed(document: dict[str, Any], primitive: dict[str, Any]) -> int:
    """How many sets of texture coordinates a surface has to have: those that its material reads,
    and all below the last that it has."""
    have = [k for k in range(16) if f"TEXCOORD_{k}" in primitive["attributes"]]
    needed = max(have, default=-1) + 1
    if "material" in primitive:
        for info in texture_infos(document["materials"][primitive["material"]]):
            needed = max(needed, int(info.get("texCoord", 0)) + 1, texture_place(info)[0] + 1)
    return needed
