"""STL: facets without connectivity or colours; the text kind has a name for every solid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ...engine.text import line_name
from ..equal_rows import equal_rows
from ..mesh import Asset, Mesh, unique_name
from .far import near_origin
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .merge import joined
from .sources.numbers import numbers_of
from .trimeshes import trimesh_of

_REPAIR = "Save it again in a mesh editor"
_FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path, textures: bool = True) -> Asset:
    """Read an STL file, binary or text; every named solid of a text is a part. Raises
    InputError."""
    data, where = path.read_bytes(), str(path)
    notes: list[str] = []
    if _is_text(data):
        solids = _text(data, where)
    else:
        facets = _binary(data, where)
        solids = [("", facets["corners"])]
        if facets["attribute"].any():
            notes.append("the attributes of facets, colours in some programs, are left out")
    solids = [(name, corners) for name, corners in solids if len(corners)]
    if not solids:
        return Asset({})
    sizes = [len(corners) for _, corners in solids]
    points, offset = near_origin(np.concatenate([c for _, c in solids]).reshape(-1, 3))
    asset = Asset({}, offset=offset, notes=notes)
    for (name, _), part in zip(solids, np.split(points, np.cumsum(sizes)[:-1] * 3)):
        label = unique_name(line_name(name, path.stem), asset.meshes)
        asset.meshes[label] = _surface(part)
    return asset


def _surface(corners: np.ndarray) -> Mesh:
    """The surface of facets whose corners (3 F, 3) are stored one by one: welded, so that a
    neighbour is known as one, and with its sharp edges sharp."""
    first, inverse = equal_rows(corners)
    places = corners[first]
    mesh = Mesh(places, inverse.reshape(-1, 3).astype(np.int32))
    if not np.isfinite(places).all():
        return mesh
    # No vertex of the file is a vertex of the mesh, so there is nothing to be a copy of.
    mesh = mesh.split_at_creases()
    mesh.origin = None
    return mesh


def _is_text(data: bytes) -> bool:
    """Whether an STL is text. Some programs begin binary ones with "solid" as well, so that a size
    that fits settles it."""
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return False
    return data[:200].lstrip()[:5].lower() == b"solid" and b"\0" not in data[:512]


def _binary(data: bytes, where: str) -> np.ndarray:
    """The facets (F,) of a binary STL, as rows of `_FACET`."""
    if len(data) < 84:
        raise InputError("is an STL that ends too early", where, _REPAIR)
    count = int.from_bytes(data[80:84], "little")
    if count > LARGEST_COUNT:
        raise too_many(count, "faces", where)
    if 84 + 50 * count > len(data):
        raise InputError("is an STL that ends too early", where, _REPAIR)
    return np.frombuffer(data, _FACET, count, 84)


def _text(data: bytes, where: str) -> list[tuple[str, np.ndarray]]:
    """Name and corners (F, 3, 3) of every solid of a text."""
    count = len(re.findall(rb"(?i)endfacet", data))
    if count > LARGEST_COUNT:
        raise too_many(count, "faces", where)
    starts = [m for m in re.finditer(rb"(?im)^[ \t]*solid\b([^\r\n]*)", data)]
    out = []
    for n, start in enumerate(starts):
        end = starts[n + 1].start() if n + 1 < len(starts) else len(data)
        rows = re.findall(rb"(?i)\bvertex\b([^\r\n]*)", data[start.end() : end])
        numbers = numbers_of(b" ".join(rows), where)
        if len(numbers) % 9 or len(numbers) != 3 * len(rows):
            raise InputError("has a facet that is no triangle", where, _REPAIR)
        out.append((start[1].decode("utf-8", "replace"), np.reshape(numbers, (-1, 3, 3))))
    return out


def write_stl(asset: Asset, name: str) -> dict[str, bytes]:
    """A binary STL of all meshes as one, without colours."""
    import trimesh

    mesh = joined(asset)
    plain = trimesh_of(Mesh(mesh.vertices, mesh.faces, normals=mesh.normals))
    return {name: trimesh.exchange.stl.export_stl(plain)}


STL = Format(
    name="stl",
    summary="triangles alone, for printers",
    suffixes=(".stl",),
    read=read_stl,
    write=write_stl,
)
