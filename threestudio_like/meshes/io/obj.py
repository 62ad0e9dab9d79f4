"""Wavefront OBJ with MTL: objects and materials by name, polygons, negative indices, and missing
normals and texture coordinates.

The package has its own reader because trimesh joins objects with the same material and loses their
names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ...engine.text import line_name
from ..features import COLOURS, MAPS, PARTS
from ..mesh import Asset, Material, Mesh, unique_name
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .mtl import mtl_lines, read_materials


def read_obj(path: Path, textures: bool = True) -> Asset:
    """Read an OBJ file. Raises InputError."""
    where = str(path)
    data = path.read_bytes()
    for prefix, what in (
        (b"\nf ", "faces"),
        (b"\nv ", "vertices"),
        (b"\nvt ", "texture coordinates"),
    ):
        if data.count(prefix) > LARGEST_COUNT:
            raise too_many(data.count(prefix), what, where)
    if b"\0" in data[:4096]:
        raise InputError(
            "is not an OBJ file (binary data)", where, "Give a text OBJ, or another format's suffix"
        )
    lines = data.decode("utf-8", "replace").replace("\\\n", " ").replace("\\\r\n", " ").splitlines()
    columns: dict[str, list[list[str]]] = {"v": [], "vt": [], "vn": []}
    groups: dict[tuple[str, str], list[tuple[int, list[str]]]] = {}
    sizes: list[tuple[int, int, int]] = []
    libraries: list[str] = []
    part, material = "", ""
    named_objects = any(line.startswith("o ") for line in lines)
    for line in lines:
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        key, rest = words[0], words[1:]
        if key in columns:
            columns[key].append(rest)
        elif key == "f":
            sizes.append((len(columns["v"]), len(columns["vt"]), len(columns["vn"])))
            groups.setdefault((part, material), []).append((len(sizes) - 1, rest))
        elif key == "o" or (key == "g" and not named_objects):
            part = " ".join(rest)
        elif key == "usemtl":
            material = " ".join(rest)
        elif key == "mtllib":
            libraries.append(line.split(None, 1)[1].strip())
    points, colours = _vertices(columns["v"], where)
    uv, normals = (
        _table(columns["vt"], 2, "texture coordinate", where),
        _table(columns["vn"], 3, "normal", where),
    )
    counts = (len(points), len(uv), len(normals))
    materials = read_materials(path, libraries, textures) if libraries else {}
    asset = Asset({})
    for (part, name), faces in groups.items():
        triangles = _triangles(faces, sizes, counts, where)
        if not len(triangles):
            continue
        rows, inverse = _first_occurrences(triangles.reshape(-1, 3))
        mesh = Mesh(points[rows[:, 0]], inverse.reshape(-1, 3).astype(np.int32), part=part)
        if (rows[:, 1] >= 0).all():
            mesh.uv = uv[rows[:, 1]]
        elif (rows[:, 1] >= 0).any():
            # Some corners have no texture coordinates; they get the origin of the atlas.
            mesh.uv = np.where(rows[:, 1:2] >= 0, uv[rows[:, 1].clip(0)], np.float32(0))
        if (rows[:, 2] >= 0).all():
            mesh.normals = normals[rows[:, 2]]
        if colours is not None:
            mesh.colours = colours[rows[:, 0]]
        if name:
            known = materials.get(name)
            mesh.material = known[0] if known else Material(name)
            mesh.texture = known[1] if known else None
        key = part or name or path.stem
        asset.meshes[
            unique_name(key if key not in asset.meshes else f"{key}:{name}", asset.meshes)
        ] = mesh
    return asset


def _vertices(rows: list[list[str]], where: str) -> tuple[np.ndarray, np.ndarray | None]:
    if not rows:
        return np.zeros((0, 3), np.float32), None
    coloured = all(len(r) >= 6 for r in rows)
    table = _table(rows, 6 if coloured else 3, "vertex", where)
    return table[:, :3].copy(), table[:, 3:6].clip(0, 1) if coloured else None


def _table(rows: list[list[str]], width: int, what: str, where: str) -> np.ndarray:
    if not rows:
        return np.zeros((0, width), np.float32)
    try:
        # Values outside of float32's range become infinite, and are refused later.
        with np.errstate(over="ignore"):
            return np.array([r[:width] for r in rows], np.float64).astype(np.float32)
    except (ValueError, OverflowError):
        for number, row in enumerate(rows):
            try:
                if len([float(x) for x in row[:width]]) == width:
                    continue
            except ValueError:
                pass
            shown = " ".join(row)[:40]
            raise InputError(
                f'{what} number {number + 1} is not {width} numbers: "{shown}"',
                where,
                "Correct the line",
            ) from None
        raise InputError(
            f"a {what} cannot be read", where, "Save the mesh again in a mesh editor"
        ) from None


def _triangles(
    faces: list[tuple[int, list[str]]],
    sizes: list[tuple[int, int, int]],
    counts: tuple[int, int, int],
    where: str,
) -> np.ndarray:
    """Corners (F, 3, 3) of (vertex, texture coordinate or -1, normal or -1). Polygons are divided
    into fans."""
    out: list[tuple[int, int, int]] = []
    for number, words in faces:
        size, corners = sizes[number], []
        for word in words:
            fields = word.split("/")
            corner = [-1, -1, -1]
            for k, text in enumerate(fields[:3]):
                if not text:
                    continue
                try:
                    index = int(text)
                except ValueError:
                    raise InputError(
                        f'a face has the corner "{word[:20]}"', where, "Correct the line"
                    ) from None
                # Negative indices count back from the line that they are in.
                corner[k] = index - 1 if index > 0 else size[k] + index
                if index == 0 or not 0 <= corner[k] < counts[k]:
                    what = ("vertex", "texture coordinate", "normal")[k]
                    raise InputError(
                        f"a face names {what} {index}, of {counts[k]}",
                        where,
                        "Save the mesh again in a mesh editor",
                    )
            if corner[0] < 0:
                raise InputError(f'a face has the corner "{word[:20]}"', where, "Correct the line")
            corners.append((corner[0], corner[1], corner[2]))
        for k in range(1, len(corners) - 1):
            out += [corners[0], corners[k], corners[k + 1]]
        if len(out) > 3 * LARGEST_COUNT:
            raise too_many(len(out) // 3, "faces", where)
    return np.array(out, np.int64).reshape(-1, 3, 3)


def _first_occurrences(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows in the order of their first occurrence, and for every row its number among
    them."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[inverse.reshape(-1)]


def write_obj(asset: Asset, name: str) -> dict[str, bytes]:
    """Write an OBJ with its MTL and PNG files; vertices, texture coordinates and normals are
    written once each."""
    stem = Path(name).stem
    lines, base = [f"mtllib {stem}.mtl"], [1, 1, 1]
    names: dict[int, str] = {}
    library: list[str] = []
    pictures: dict[tuple[int, str], tuple[str, bytes]] = {}
    coloured = all(m.colours is not None and m.texture is None for m in asset.meshes.values())
    # Parts of one object share its vertices, as in the file that they came from.
    objects: dict[str, list[Mesh]] = {}
    for key, mesh in asset.meshes.items():
        objects.setdefault(mesh.part or key, []).append(mesh)
    taken: list[str] = []
    for part, meshes in objects.items():
        taken.append(unique_name(line_name(part), taken))
        lines.append(f"o {taken[-1]}")
        tables: list[list[np.ndarray]] = [[], [], []]
        for mesh in meshes:
            extra = [mesh.colours] if coloured and mesh.colours is not None else []
            tables[0].append(np.concatenate([mesh.vertices, *extra], 1))
            tables[1].append(mesh.uv if mesh.uv is not None else np.zeros((0, 2), np.float32))
            tables[2].append(
                mesh.normals if mesh.normals is not None else np.zeros((0, 3), np.float32)
            )
        indices = []
        for k, (kind, digits) in enumerate((("v", 9), ("vt", 9), ("vn", 7))):
            whole = np.concatenate(tables[k])
            rows, inverse = (
                _first_occurrences(whole) if len(whole) else (whole, np.zeros(0, np.int64))
            )
            lines += [
                f"{kind} " + " ".join(f"{x:.{digits}g}" for x in row) for row in rows.tolist()
            ]
            indices.append(np.split(inverse + base[k], np.cumsum([len(t) for t in tables[k]])[:-1]))
            base[k] += len(rows)
        for number, mesh in enumerate(meshes):
            material = mesh.material or Material("surface")
            mark = id(mesh.material) if mesh.material is not None else id(mesh)
            if mark not in names:
                names[mark] = unique_name(line_name(material.name, "surface"), names.values())
                library += mtl_lines(material, names[mark], mesh, stem, pictures)
            lines.append(f"usemtl {names[mark]}")
            v, t, n = (indices[k][number] for k in range(3))
            corners = mesh.faces
            if len(t) and len(n):
                text = [f"{a}/{b}/{c}" for a, b, c in zip(v.tolist(), t.tolist(), n.tolist())]
            elif len(t):
                text = [f"{a}/{b}" for a, b in zip(v.tolist(), t.tolist())]
            elif len(n):
                text = [f"{a}//{c}" for a, c in zip(v.tolist(), n.tolist())]
            else:
                text = [str(a) for a in v.tolist()]
            lines += [f"f {text[i]} {text[j]} {text[k]}" for i, j, k in corners.tolist()]
    return {
        name: ("\n".join(lines) + "\n").encode(),
        f"{stem}.mtl": ("\n".join(library) + "\n").encode(),
        **dict(pictures.values()),
    }


OBJ = Format(
    name="obj",
    summary="text, with its materials (MTL) and pictures (PNG) beside it",
    suffixes=(".obj",),
    read=read_obj,
    write=write_obj,
    keeps=PARTS | COLOURS | MAPS | {"texture wrapping", "far origin"},
    patches="obj",
)
