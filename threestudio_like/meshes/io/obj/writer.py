"""Writing an OBJ with its MTL and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....engine.text import line_name
from ...mesh import Asset, Material, Mesh, unique_name
from .library_lines import NewPictures, material_lines
from .rows import distinct
from .source import ObjSource

_MOST_ROWS = 1 << 16
"""Number of lines that are made at a time."""


def write_obj(asset: Asset, name: str) -> dict[str, bytes]:
    """The files of an asset. One that was read from an OBJ file is that file, changed only where
    the asset differs from it."""
    if isinstance(asset.source, ObjSource):
        from .patch import patched

        return patched(asset.source, asset, name)
    return written(asset, name)


def written(asset: Asset, name: str) -> dict[str, bytes]:
    """Write an OBJ anew; vertices, texture coordinates and normals are written once each."""
    stem = Path(name).stem
    text = [f"mtllib {stem}.mtl\n"]
    base = [1, 1, 1]
    names: dict[tuple[int, int], str] = {}
    labels: set[str] = set()
    library: list[str] = []
    pictures = NewPictures(stem)
    coloured = any(m.colours is not None for m in asset.meshes.values())
    # Parts of one object share its vertices, as in the file that they came from.
    objects: dict[str, list[Mesh]] = {}
    for key, mesh in asset.meshes.items():
        objects.setdefault(mesh.part or key, []).append(mesh)
    taken: set[str] = set()
    for part, meshes in objects.items():
        title = unique_name(line_name(part), taken)
        taken.add(title)
        text.append(f"o {title}\n")
        numbers = []
        for k, table in enumerate(_tables(meshes, asset.offset, coloured)):
            whole = np.concatenate(table)
            first, inverse = distinct(whole)
            text.append(table_text(("v", "vt", "vn")[k], whole[first]))
            numbers.append(np.split(inverse + base[k], np.cumsum([len(t) for t in table])[:-1]))
            base[k] += len(first)
        for number, mesh in enumerate(meshes):
            material = mesh.material or Material("surface")
            mark = (id(mesh.material or mesh), id(mesh.texture))
            if mark not in names:
                names[mark] = unique_name(line_name(material.name, "surface"), labels)
                labels.add(names[mark])
                library.append(f"newmtl {names[mark]}")
                library += [line for _, line in material_lines(material, mesh, pictures)]
            text.append(f"usemtl {names[mark]}\n")
            text.append(face_text(mesh.faces, *(numbers[k][number] for k in range(3))))
    return {
        name: "".join(text).encode(),
        f"{stem}.mtl": ("\n".join(library) + "\n").encode(),
        **pictures.files,
    }


def _tables(meshes: list[Mesh], offset: np.ndarray, coloured: bool) -> list[list[np.ndarray]]:
    """The rows of vertices, texture coordinates and normals of each mesh."""
    tables: list[list[np.ndarray]] = [[], [], []]
    for mesh in meshes:
        points = mesh.vertices
        if offset.any():
            points = points.astype(np.float64) + offset
        if coloured:
            # Readers want as many numbers in every line; white changes nothing.
            white = np.ones((len(points), 3), np.float32)
            colours = white if mesh.colours is None else mesh.colours[:, :3]
            points = np.concatenate([points, colours], 1)
        tables[0].append(points)
        tables[1].append(mesh.uv if mesh.uv is not None else np.zeros((0, 2), np.float32))
        tables[2].append(mesh.normals if mesh.normals is not None else np.zeros((0, 3), np.float32))
    return tables


def table_text(key: str, rows: np.ndarray) -> str:
    """Lines of numbers: float64 in as many digits as bring them back, float32 in nine."""
    width = rows.shape[1]
    if rows.dtype == np.float64:
        one = " ".join(["%r"] * width)
    else:
        one = " ".join([f"%.{7 if key == 'vn' else 9}g"] * width)
    return _formatted(f"{key} {one}\n", rows)


def face_text(
    faces: np.ndarray, vertices: np.ndarray, coordinates: np.ndarray, normals: np.ndarray
) -> str:
    """Lines of triangles (F, 3), with the numbers of every vertex's lines, counted from 1."""
    columns = [vertices[faces]]
    one = "%d"
    if len(coordinates):
        columns.append(coordinates[faces])
        one += "/%d"
    if len(normals):
        columns.append(normals[faces])
        one += "/%d" if len(coordinates) else "//%d"
    return _formatted(f"f {one} {one} {one}\n", np.stack(columns, 2).reshape(len(faces), -1))


def _formatted(line: str, rows: np.ndarray) -> str:
    parts = []
    for at in range(0, len(rows), _MOST_ROWS):
        some = rows[at : at + _MOST_ROWS]
        parts.append((line * len(some)) % tuple(some.reshape(-1).tolist()))
    return "".join(parts)
