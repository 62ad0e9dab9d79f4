"""Reads a 3MF as an asset in metres, with +Y up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import Asset, EncodedImage, Material, Mesh, Sampler, unique_name
from ..far import near_origin
from ..limits import LARGEST_COUNT, too_many
from ..sources.archive import Archive
from ..sources.pictures import encoded
from ..sources.text import listed
from .model import REPAIR, Group, Model, Placed, Shape, parse

UNITS = {
    "micron": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "inch": 0.0254,
    "foot": 0.3048,
    "meter": 1.0,
}
UPRIGHT = np.array(
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0, 0, 0, 1]]
)
"""From +Z up, as printers have it, to +Y up."""
_DEEPEST = 32
_MOST_PLACES = 50_000


class Piece(NamedTuple):
    """A shape in the world, and the model that it is of."""

    shape: Shape
    model: Model
    matrix: np.ndarray
    name: str


def read_3mf(path: Path, textures: bool = True) -> Asset:
    """Read a 3MF file. Raises InputError."""
    return _Reader(path, textures).asset()


@dataclass
class _Part:
    mesh: Mesh
    points: np.ndarray
    name: str


class _Reader:
    def __init__(self, path: Path, textures: bool) -> None:
        self.where, self.stem, self.textures = str(path), path.stem, textures
        self.archive = Archive(path.read_bytes(), self.where)
        self.models: dict[str, Model] = {}
        self.pictures: dict[str, EncodedImage | None] = {}
        self.notes: list[str] = []
        self.places = self.triangles = 0

    def asset(self) -> Asset:
        root = self._root()
        model = self._model(root)
        scale = UNITS.get(model.unit)
        if scale is None:
            raise InputError(f'has the unknown unit "{model.unit[:20]}"', self.where, REPAIR)
        if model.unprinted:
            self._note(f"objects that are not to be printed are left out: {model.unprinted}")
        world = UPRIGHT @ np.diag([scale, scale, scale, 1.0])
        pieces: list[Piece] = []
        for item in model.items:
            self._collect(item, root, world, name="", depth=0, out=pieces)
        parts = [part for piece in pieces for part in self._parts(piece)]
        self._tell_unread(bool(parts))
        if not parts:
            return Asset({})
        points, offset = near_origin(np.concatenate([p.points for p in parts]))
        asset = Asset({}, offset=offset, notes=self.notes)
        sizes = np.cumsum([len(p.points) for p in parts])[:-1]
        for part, near in zip(parts, np.split(points, sizes)):
            part.mesh.vertices = near
            # 3MF has no normals; what is printed has edges.
            mesh = part.mesh.split_at_creases() if np.isfinite(near).all() else part.mesh
            asset.meshes[unique_name(part.name, asset.meshes)] = mesh
        return asset

    def _tell_unread(self, found: bool) -> None:
        """Note what the models hold that is not read, and what they must not be read without.

        Args:
            found: whether something is left. Raises InputError where nothing is.
        """
        models = self.models.values()
        required = dict.fromkeys(name for model in models for name in model.required)
        others = dict.fromkeys(name for model in models for name in model.others)
        if not found and (required or others):
            raise InputError(
                f"has no surface without 3MF extensions that are not read: "
                f"{listed(required or others)}",
                self.where,
                "Export it as a mesh, for example as STL",
            )
        metadata = dict.fromkeys(name for model in models for name in model.metadata)
        for what, names in (
            ("it requires 3MF extensions that are not read, and may be incomplete", required),
            ("elements that are left out", others),
            ("metadata that is left out", metadata),
        ):
            if names:
                self._note(f"{what}: {listed(names)}")

    def _root(self) -> str:
        """The name of the model that the archive begins with."""
        if "_rels/.rels" in self.archive.members:
            for tag in re.findall(rb"<Relationship\b[^>]*>", self.archive.read("_rels/.rels")):
                target = re.search(rb'Target\s*=\s*"([^"]*)"', tag)
                if b"3dmodel" in tag and target is not None:
                    name = target[1].decode("utf-8", "replace").lstrip("/")
                    if name in self.archive.members:
                        return name
        names = [n for n in self.archive.members if n.lower().endswith(".model")]
        if not names:
            raise InputError("is an archive without a 3MF model", self.where, REPAIR)
        return names[0]

    def _model(self, name: str) -> Model:
        if name not in self.models:
            self.models[name] = parse(self.archive.read(name), self.where)
        return self.models[name]

    def _collect(
        self, item: Placed, file: str, outer: np.ndarray, name: str, depth: int, out: list[Piece]
    ) -> None:
        """Add the meshes of a placed object, also those of the objects that it is made of."""
        file = item.path.lstrip("/") or file
        model = self._model(file)
        shape = model.shapes.get(item.number)
        self.places += 1
        if shape is None:
            raise InputError(
                f'places the object "{item.number[:20]}", which is not there', self.where, REPAIR
            )
        if depth > _DEEPEST or self.places > _MOST_PLACES:
            raise InputError("nests its objects without end", self.where, REPAIR)
        matrix = outer @ item.matrix
        name = shape.name or name
        self.triangles += len(shape.triangles) // 7
        if self.triangles > LARGEST_COUNT:
            raise too_many(self.triangles, "faces", self.where)
        if shape.others and not shape.triangles and not shape.components:
            label, kind = line_name(name, item.number)[:40], listed(shape.others)
            self._note(f'the object "{label}" is left out: it is a {kind}, which is not read')
        if shape.triangles:
            out.append(Piece(shape, model, matrix, name=name))
        for component in shape.components:
            self._collect(component, file, matrix, name=name, depth=depth + 1, out=out)

    def _parts(self, piece: Piece) -> list[_Part]:
        """The meshes of a shape: one for each picture, one for each base material if it has
        several, and one for all that has only colours."""
        shape = piece.shape
        points = np.frombuffer(shape.vertices, np.float64).reshape(-1, 3)
        rows = np.frombuffer(shape.triangles, np.int64).reshape(-1, 7)
        if rows[:, :3].min() < 0 or rows[:, :3].max() >= len(points):
            raise InputError(
                f"a face names vertex {int(rows[:, :3].max())}, of {len(points)}",
                self.where,
                "Repair the mesh first",
            )
        if np.linalg.det(piece.matrix[:3, :3]) < 0:
            # A mirror turns the surface inside out.
            rows = rows[:, [0, 2, 1, 3, 4, 6, 5]]
        out = []
        name = line_name(piece.name, self.stem)
        groups = [piece.model.groups.get(pid) for pid in shape.pids]
        for number in np.unique(rows[:, 3]).tolist():
            mine = rows[rows[:, 3] == number]
            group = groups[number] if number >= 0 else None
            count = 0 if group is None else len(group.colours) or len(group.coordinates) // 2
            if group is not None and (mine[:, 4:].min() < 0 or mine[:, 4:].max() >= count):
                raise InputError("names a colour that is not there", self.where, REPAIR)
            if group is not None and group.kind == "basematerials":
                for base in np.unique(mine[:, 4]).tolist():
                    chosen = mine[mine[:, 4] == base]
                    mesh, own = _plain(points, chosen)
                    label = line_name(group.names[base], name)
                    mesh.material = Material(label, group.colours[base])
                    if group.colours[base][3] < 1:
                        mesh.material.alpha_mode = "BLEND"
                    self._shine(mesh, piece.model, group, chosen[:, 4])
                    out.append(_Part(mesh, own, name))
            elif group is not None and group.kind == "colorgroup":
                mesh, own = _coloured(points, mine, group)
                self._shine(mesh, piece.model, group, mine[:, 4:])
                out.append(_Part(mesh, own, name))
            elif group is not None:
                mesh, own = _mapped(points, mine, group)
                self._picture(mesh, piece.model, group.picture)
                self._shine(mesh, piece.model, group, mine[:, 4:])
                out.append(_Part(mesh, own, name))
            else:
                out.append(_Part(*_plain(points, mine), name))
                if number >= 0:
                    self._note("colours of a kind that is not read are left out")
        for part in out:
            part.mesh.part = name if len(out) > 1 else ""
            # Only the vertices that are used: a shape of many may be placed thousands of times.
            with np.errstate(all="ignore"):
                part.points = part.points @ piece.matrix[:3, :3].T + piece.matrix[:3, 3]
        return out

    def _note(self, line: str) -> None:
        self.notes += [line] if line not in self.notes else []

    def _shine(self, mesh: Mesh, model: Model, group: Group, numbers: np.ndarray) -> None:
        """Give a mesh, which has the properties `numbers` of a group, how rough and metallic it
        is."""
        if not group.display:
            return
        listing = dict(enumerate(model.surfaces.get(group.display, [])))
        found = {listing.get(number) for number in np.unique(numbers).tolist()}
        shine = found.pop() if len(found) == 1 else None
        if shine is None:
            which = "that differ within a part" if found else "that a part does not have"
            which = which if listing else "of a kind that is not read"
            self._note(f"display properties {which} are left out")
            return
        mesh.material = mesh.material or Material()
        mesh.material.metallic, mesh.material.roughness = shine
        mesh.material.surface_given = True

    def _picture(self, mesh: Mesh, model: Model, number: str) -> None:
        """Give a mesh the picture of its coordinates."""
        row = model.pictures.get(number)
        if row is None or not self.textures:
            return
        name = row.get("path", "").lstrip("/")
        if name not in self.pictures:
            try:
                data = self.archive.read(name)
                self.pictures[name] = encoded(data, PurePosixPath(name).name, self.where)
            except InputError as error:
                self.pictures[name] = None
                self.notes.append(line_name(f"a picture is left out: {error.what}"))
        image = self.pictures[name]
        wrap = {"mirror": "mirror", "clamp": "clamp", "none": "clamp"}
        if image is not None:
            mesh.texture = image.pixels
            mesh.material = Material(
                line_name(PurePosixPath(name).stem),
                sampler=Sampler(
                    wrap.get(row.get("tilestyleu", ""), "repeat"),
                    wrap.get(row.get("tilestylev", ""), "repeat"),
                    row.get("filter") == "nearest",
                ),
                images=(image,),
            )


def _plain(points: np.ndarray, rows: np.ndarray) -> tuple[Mesh, np.ndarray]:
    used, inverse = np.unique(rows[:, :3], return_inverse=True)
    faces = inverse.reshape(-1, 3).astype(np.int32)
    return Mesh(np.zeros((0, 3), np.float32), faces, origin=used), points[used]


def _doubled(points: np.ndarray, rows: np.ndarray) -> tuple[Mesh, np.ndarray, np.ndarray]:
    """A mesh whose vertices are doubled where their corners have different properties, and the
    property of each."""
    keys = np.stack([rows[:, :3].reshape(-1), rows[:, 4:].reshape(-1)], 1)
    used, inverse = np.unique(keys, axis=0, return_inverse=True)
    faces = inverse.reshape(-1, 3).astype(np.int32)
    mesh = Mesh(np.zeros((0, 3), np.float32), faces, origin=used[:, 0])
    return mesh, points[used[:, 0]], used[:, 1]


def _coloured(points: np.ndarray, rows: np.ndarray, group: Group) -> tuple[Mesh, np.ndarray]:
    mesh, own, numbers = _doubled(points, rows)
    colours = np.array(group.colours, np.float32)[numbers]
    mesh.colours = colours if (colours[:, 3] < 1).any() else colours[:, :3].copy()
    return mesh, own


def _mapped(points: np.ndarray, rows: np.ndarray, group: Group) -> tuple[Mesh, np.ndarray]:
    mesh, own, numbers = _doubled(points, rows)
    with np.errstate(over="ignore"):
        uv = np.frombuffer(group.coordinates, np.float64).reshape(-1, 2).astype(np.float32)
    mesh.uv = uv[numbers]
    return mesh, own
