"""Reads a PLY as an asset: polygons, normals, colours, texture coordinates of vertices or corners,
and the pictures that its comments name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import Asset, Material, Mesh, unique_name
from ..far import near_origin
from ..limits import LARGEST_COUNT, too_many
from ..sources.colours import unit_colours
from ..sources.corners import assembled
from ..sources.pictures import Pictures
from ..sources.text import listed
from .data import REPAIR, Column, Header, read_columns, read_header

Columns = dict[str, Column]
_HUES = {"red", "green", "blue", "alpha"}
_HUES |= {f"diffuse_{name}" for name in _HUES}
_READ: dict[str, set[str]] = {
    "vertex": {"x", "y", "z", "nx", "ny", "nz", "s", "t", "u", "v"}
    | {"texture_u", "texture_v", "texture_s", "texture_t"}
    | _HUES,
    "face": {"vertex_indices", "vertex_index", "texcoord", "texture_coordinates", "texnumber"}
    | _HUES,
    "tristrips": {"vertex_indices"},
}
"""What is read of a PLY."""
OF_GAUSSIANS = "threestudio-like export FILE --to glb makes a mesh of them; view shows them"
_COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))


def read_points(path: Path, notes: list[str] | None = None) -> Mesh | None:
    """The points of a PLY without faces as a mesh without faces, with their colours; None for
    anything else. notes: gets what is left out, a line each. Raises InputError."""
    told: list[str] = [] if notes is None else notes
    data, where = path.read_bytes(), str(path)
    header = read_header(data, where)
    if any(header.element(name) is not None for name in ("face", "tristrips")):
        return None
    vertex = read_columns(data, header, where, told).get("vertex", {})
    if "f_dc_0" in vertex and "scale_0" in vertex:
        return None
    points, _ = near_origin(positions(vertex, where))
    if not len(points) or not np.isfinite(points).all():
        raise InputError("holds no points, or some that are not numbers", where, REPAIR)
    note_others(header, told, {"vertex": {"x", "y", "z"} | _HUES})
    return Mesh(points, np.zeros((0, 3), np.int32), colours=_colours(vertex, told))


def read_ply(path: Path, textures: bool = True) -> Asset:
    """Read a PLY file with faces. Raises InputError."""
    data, where = path.read_bytes(), str(path)
    header = read_header(data, where)
    notes: list[str] = []
    elements = read_columns(data, header, where, notes)
    vertex = elements.get("vertex", {})
    polygons = _Polygons.of(elements, where)
    if not len(polygons.corners):
        if "f_dc_0" in vertex and "scale_0" in vertex:
            raise InputError("holds 3D Gaussians, not triangles", where, OF_GAUSSIANS)
        return Asset({}, notes=notes)
    points, offset = near_origin(positions(vertex, where))
    mesh = Mesh(
        points,
        np.zeros((0, 3), np.int32),
        uv=_pair(vertex),
        colours=_colours(vertex, notes),
        normals=stacked(vertex, ("nx", "ny", "nz")),
    )
    mesh, owner = polygons.onto(mesh, where, notes)
    asset = Asset({}, offset=offset, notes=notes, polygons=bool((polygons.sizes > 3).any()))
    _dress(asset, mesh, polygons.pictures(owner), header=header, path=path, textures=textures)
    note_others(header, asset.notes)
    return asset


def note_others(
    header: Header, notes: list[str], read: Mapping[str, Collection[str]] = _READ
) -> None:
    """Tell which elements and properties are left out.

    Args:
        read: element -> its properties that are read.
    """
    others = [element.name for element in header.elements if element.name not in read]
    if others:
        notes.append(f"elements that are left out: {listed(others)}")
    for element in header.elements:
        known = read.get(element.name)
        others = [p.name for p in element.properties if known is not None and p.name not in known]
        if others:
            notes.append(f'properties of "{element.name}" that are left out: {listed(others)}')


def positions(vertex: Columns, where: str) -> np.ndarray:
    """The positions (V, 3) float64. Raises InputError where there are none."""
    found = stacked(vertex, ("x", "y", "z"), np.float64)
    if found is None:
        raise InputError("is a PLY without the positions x, y and z", where, REPAIR)
    return found


def stacked(
    columns: Columns, names: tuple[str, ...], kind: type[np.floating] = np.float32
) -> np.ndarray | None:
    """Columns of single values side by side (N, len(names)); None where one is missing."""
    found = [columns.get(name) for name in names]
    if any(column is None or column.sizes is not None for column in found):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([c.values.astype(kind) for c in found if c is not None], 1)


def _pair(columns: Columns) -> np.ndarray | None:
    """Texture coordinates of vertices, by whichever of their names."""
    return next((uv for names in _COORDINATES if (uv := stacked(columns, names)) is not None), None)


def _colours(columns: Columns, notes: list[str]) -> np.ndarray | None:
    """Colours (N, 3 or 4) in [0, 1] of vertices or faces."""
    for prefix in ("", "diffuse_"):
        names = [prefix + n for n in ("red", "green", "blue", "alpha")]
        names = names if names[3] in columns else names[:3]
        found = stacked(columns, tuple(names))
        if found is None:
            continue
        for number, name in enumerate(names):
            kind = columns[name].kind
            if kind[0] in "iu":
                found[:, number] /= 65535 if kind[1] == "2" else 255
                found[:, number].clip(0, 1, out=found[:, number])
        # Floats are from 0 to 1, but some programs write bytes as floats.
        return unit_colours(found, notes)
    return None


class _Polygons:
    """The polygons of a PLY: corners (C,) int64, the vertex of each; sizes (P,) int64; the columns
    of their element."""

    def __init__(self, corners: np.ndarray, sizes: np.ndarray, columns: Columns) -> None:
        self.corners, self.sizes, self.columns = corners, sizes, columns

    @staticmethod
    def of(elements: dict[str, Columns], where: str) -> _Polygons:
        """Those of the element "face", or of the strips of triangles in its place."""
        faces = elements.get("face", {})
        listed = faces.get("vertex_indices", faces.get("vertex_index"))
        if listed is not None and listed.sizes is not None and len(listed.values):
            corners = _whole(listed.values, where)
            return _Polygons(corners, listed.sizes, faces)
        strips = elements.get("tristrips", {}).get("vertex_indices")
        if strips is not None and strips.sizes is not None:
            corners = _unrolled(_whole(strips.values, where), strips.sizes)
            if len(corners) > LARGEST_COUNT:
                raise too_many(len(corners), "faces", where)
            return _Polygons(corners.reshape(-1), np.full(len(corners), 3), {})
        return _Polygons(np.zeros(0, np.int64), np.zeros(0, np.int64), {})

    def onto(self, mesh: Mesh, where: str, notes: list[str]) -> tuple[Mesh, np.ndarray]:
        """The mesh with these polygons as triangles, and the polygon of every triangle. Vertices
        are doubled where corners have coordinates or colours of their own."""
        if mesh.colours is None:
            colours = _colours(self.columns, notes)
        elif (colours := _colours(self.columns, [])) is not None:
            # Beside those of vertices they are mostly a program's defaults.
            colours = None
            notes.append("the face colours are left out beside those of the vertices")
        if colours is not None:
            colours = np.repeat(colours, self.sizes, 0)
        return assembled(
            mesh, self.corners, self.sizes, where=where, uv=self._corner_uv(), colours=colours
        )

    def _corner_uv(self) -> np.ndarray | None:
        """Texture coordinates (C, 2) of the corners, from a list of two numbers a corner."""
        listed = self.columns.get("texcoord", self.columns.get("texture_coordinates"))
        if listed is None or listed.sizes is None or (listed.sizes == 0).all():
            return None
        # Some programs write an empty list for a face without a texture.
        fitting = listed.sizes == 2 * self.sizes
        out = np.zeros((len(self.corners), 2), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values = listed.values.astype(np.float32)
        out[np.repeat(fitting, self.sizes)] = values[np.repeat(fitting, listed.sizes)].reshape(
            -1, 2
        )
        return out

    def pictures(self, owner: np.ndarray) -> np.ndarray:
        """The number of the picture of every triangle (T,), -1 for none."""
        column = self.columns.get("texnumber")
        if column is None or column.sizes is not None:
            return np.zeros(len(owner), np.int64)
        return np.nan_to_num(column.values.astype(np.float64), nan=-1.0).astype(np.int64)[owner]


def _whole(values: np.ndarray, where: str) -> np.ndarray:
    """Numbers of vertices as int64."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (np.abs(values) > 2**40).any():
            raise InputError("a face names a vertex by what is no number", where, REPAIR)
        if (values != np.floor(values)).any():
            raise InputError("a face names a vertex by a broken number", where, REPAIR)
    return values.astype(np.int64)


def _unrolled(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The triangles (T, 3) of strips, which are lists, or parts of a list between the numbers -1.

    Every second triangle of a strip turns the other way."""
    pieces = []
    for run in np.split(values, np.cumsum(sizes)[:-1]):
        breaks = np.flatnonzero(run < 0)
        begin = np.zeros(len(run), np.int64)
        begin[breaks] = breaks + 1
        begin = np.maximum.accumulate(begin)
        triangles = np.stack([run[:-2], run[1:-1], run[2:]], 1)
        odd = (np.arange(len(triangles)) - begin[: len(triangles)]) % 2 == 1
        triangles[odd] = triangles[odd][:, [1, 0, 2]]
        inside = (triangles >= 0).all(1) if len(triangles) else np.zeros(0, bool)
        pieces.append(triangles[inside])
    return np.concatenate([np.zeros((0, 3), np.int64), *pieces])


def _dress(
    asset: Asset, mesh: Mesh, numbers: np.ndarray, header: Header, path: Path, textures: bool
) -> None:
    """Put the mesh into the asset, a part for each of its pictures."""
    names = header.textures if mesh.uv is not None else []
    numbers = np.where((numbers >= 0) & (numbers < len(names)), numbers, -1)
    found = np.unique(numbers).tolist()
    pictures = Pictures(path, asset.notes)
    for number in found:
        part = mesh if len(found) == 1 else mesh.keep_faces(numbers == number)
        label = path.stem
        if number >= 0:
            label = line_name(names[number].rsplit(".", 1)[0]) if len(found) > 1 else label
            if textures:
                part = _textured(part, names[number], pictures)
        elif len(found) > 1 and names:
            part = replace(part, uv=None)
        label = unique_name(label, asset.meshes)
        asset.meshes[label] = part


def _textured(mesh: Mesh, name: str, pictures: Pictures) -> Mesh:
    """The mesh with the picture that a comment names, if it lies beside the file."""
    image = pictures.get(name)
    if image is None:
        return mesh
    if mesh.colours is not None:
        # They are the picture's colours once more, for programs that show no pictures.
        pictures.notes.append("the vertex colours are left out beside the picture of the surface")
    return replace(
        mesh,
        texture=image.pixels,
        colours=None,
        material=Material(line_name(image.name.rsplit(".", 1)[0], "surface"), images=(image,)),
    )
