"""Extensions of primitives and meshes that name vertices or faces by their numbers, which mean
something else, or nothing, when a mesh gets other ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from ...mesh import Mesh
from .accessors import Accessors
from .document import DRACO, GltfDocument

OUTLINE = "CESIUM_primitive_outline"
"""Edges to be drawn, as pairs of vertices."""
FREE = (
    *("KHR_materials_variants", DRACO, "EXT_mesh_features", "EXT_structural_metadata"),
    "EXT_feature_metadata",
)
"""Extensions that name attributes, textures and materials alone."""
ORDERED = ("FB_ngon_encoding", "EXT_mesh_primitive_restart", "EXT_mesh_manifold")
"""Those that go by the order of faces, whatever they say."""


def numbered_extensions(row: dict[str, Any]) -> list[str]:
    """The extensions of a primitive's or a mesh's row that go by numbers of vertices or faces, or
    may: of those that are not known, all that say a number."""
    spoken = row.get("extensions", {})
    if not isinstance(spoken, dict):
        return []
    return [
        name
        for name, value in spoken.items()
        if name not in FREE and (name in ORDERED or _says_number(value))
    ]


def _says_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_says_number, value.values()))
    if isinstance(value, list):
        return any(map(_says_number, value))
    return isinstance(value, int) and not isinstance(value, bool)


def drop_extensions(row: dict[str, Any], names: Collection[str]) -> bool:
    """Take extensions out of a row; whether there was one."""
    spoken = row.get("extensions") if names else None
    if not isinstance(spoken, dict):
        return False
    gone = [name for name in names if name in spoken]
    for name in gone:
        del spoken[name]
    if gone and not spoken:
        del row["extensions"]
    return bool(gone)


def carry(row: dict[str, Any], file: GltfDocument, accessors: Accessors, mesh: Mesh) -> None:
    """Bring the extensions of a primitive's row to the vertices of a mesh, each of which is a copy
    of one of the file (`Mesh.origin`): outlines as far as their edges are there, others go."""
    names = numbered_extensions(row)
    pairs, _ = outlines(row, file, mesh)
    if len(pairs):
        names = [name for name in names if name != OUTLINE]
        kind = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
        row["extensions"][OUTLINE] = {
            **row["extensions"][OUTLINE],
            "indices": accessors.put(pairs.reshape(-1, 1).astype(kind)),
        }
    drop_extensions(row, names)


def outlines(row: dict[str, Any], file: GltfDocument, mesh: Mesh) -> tuple[np.ndarray, bool]:
    """The outlines (E, 2) of a primitive's row as edges of a mesh that is a copy of it, and whether
    all of them are among those."""
    table = row.get("extensions", {})
    spoken = table.get(OUTLINE) if isinstance(table, dict) else None
    index = spoken.get("indices") if isinstance(spoken, dict) else None
    if not isinstance(index, int) or mesh.origin is None:
        return np.zeros((0, 2), np.int64), False
    said = file.raw(index).reshape(-1).astype(np.int64)
    wanted = np.unique(_keys(said[: len(said) // 2 * 2].reshape(-1, 2)))
    edges = np.concatenate([mesh.faces[:, (k, (k + 1) % 3)] for k in range(3)]).astype(np.int64)
    edges = np.unique(np.sort(edges, 1), axis=0)
    keys = _keys(np.asarray(mesh.origin, np.int64)[edges])
    return edges[np.isin(keys, wanted)], bool(np.isin(wanted, keys).all())


def _keys(pairs: np.ndarray) -> np.ndarray:
    """One number for each pair (E, 2), whichever comes first."""
    return pairs.min(1) << 32 | pairs.max(1)


def lost_extensions(
    mesh_row: dict[str, Any], row: dict[str, Any], file: GltfDocument, mesh: Mesh, known: bool
) -> Iterator[str]:
    """The extensions that a mesh with other corners than its file's does not keep whole.

    Args:
        mesh_row, row: of the mesh and of the primitive. known: whether it is known of every vertex
            which of the file it is a copy of.
    """
    yield from numbered_extensions(mesh_row)
    if not known:
        spoken = row.get("extensions", {})
        names = spoken if isinstance(spoken, dict) else {}
        yield from (n for n in names if n not in ("KHR_materials_variants", DRACO))
        return
    for name in numbered_extensions(row):
        if name != OUTLINE or not outlines(row, file, mesh)[1]:
            yield name
