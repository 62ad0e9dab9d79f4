"""The XML of a 3MF model, element by element, so that a large one needs no tree in memory."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from xml.parsers import expat

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ..limits import LARGEST_COUNT, too_many

REPAIR = "Export it again from the program that made it"
_MOST_ELEMENTS = 5 * LARGEST_COUNT
_CORE = frozenset(
    {"model", "metadata", "object", "vertex", "triangle", "component", "item"}
    | {"basematerials", "base"}
)
_MATERIAL = frozenset(
    {"colorgroup", "color", "texture2dgroup", "tex2coord", "texture2d"}
    | {"pbmetallicdisplayproperties", "pbmetallic"}
)
"""The elements that are read, of the core and of the extension for materials; each has a method of
`_Parser` with its name."""
_KNOWN = ("core", "material", "production")
"""What is read, by the names in the addresses of the core and its extensions."""
_HOUSEKEEPING = frozenset({"Application", "CreationDate", "ModificationDate"})
"""Metadata of the file, not of what it shows."""


@dataclass
class Group:
    """A list of properties that triangles name by number. kind: "basematerials", "colorgroup" or
    "texture2dgroup"; colours: (red, green, blue, alpha) each; coordinates: of a picture; display:
    the number of the list of `Model.surfaces`, or of another, that says how they shine."""

    kind: str
    names: list[str] = field(default_factory=list)
    colours: list[tuple[float, float, float, float]] = field(default_factory=list)
    coordinates: array[float] = field(default_factory=lambda: array("d"))
    picture: str = ""
    display: str = ""


@dataclass
class Shape:
    """An object: a mesh, or other objects with their places. pid, pindex: the property of triangles
    that name none; others: what of it is of an extension that is not read."""

    name: str
    pid: str = ""
    pindex: int = 0
    vertices: array[float] = field(default_factory=lambda: array("d"))
    triangles: array[int] = field(default_factory=lambda: array("q"))
    """Seven numbers each: three vertices, the number of the group's name in `pids`, and its three
    properties; -1 for none."""
    pids: list[str] = field(default_factory=list)
    components: list[Placed] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)


@dataclass
class Placed:
    """An object by number, in another file of the archive where `path` is not empty, and the (4, 4)
    matrix that maps column vectors."""

    number: str
    path: str
    matrix: np.ndarray


@dataclass
class Model:
    """What one model file of the archive holds.

    surfaces: lists of (metallic, roughness) by their number. unprinted: how many objects are placed
    and are not to be printed. required: the extensions without which it is not to be read, of those
    that are not known here. others: the elements of extensions that are not known. metadata: its
    names.
    """

    unit: str = "millimeter"
    groups: dict[str, Group] = field(default_factory=dict)
    pictures: dict[str, dict[str, str]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    items: list[Placed] = field(default_factory=list)
    unprinted: int = 0
    surfaces: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)
    metadata: dict[str, None] = field(default_factory=dict)


class _Parser:
    def __init__(self, where: str) -> None:
        self.model = Model()
        self.where = where
        self.shape: Shape | None = None
        self.group: Group | None = None
        self.surface: list[tuple[float, float]] = []
        self.count = self.depth = 0
        self.spaces: dict[str, str] = {}
        self.core: str | None = None
        self.unread = 0

    def space(self, prefix: str | None, address: str | None) -> None:
        """A prefix of names and what it stands for."""
        self.spaces.setdefault(prefix or "", address or "")

    def start(self, name: str, row: dict[str, str]) -> None:
        """An element begins."""
        self.count += 1
        self.depth += 1
        if self.count > _MOST_ELEMENTS:
            raise too_many(self.count, "elements", self.where, most=_MOST_ELEMENTS)
        if self.unread:
            return
        space, _, local = name.rpartition(" ")
        if self.core is None:
            # Drafts of the format had other addresses.
            self.core = space
        if space == self.core or _extension(space) in _KNOWN:
            if local in _CORE or local in _MATERIAL:
                getattr(self, f"_{local}")(row)
            return
        # Nothing within it is the core's, even where it has the core's name.
        self.unread = self.depth
        extension = _extension(space)
        self.model.others[local if local == extension else f"{local} ({extension})"] = None
        if self.shape is not None:
            self.shape.others[local] = None

    def end(self, name: str) -> None:
        """An element ends."""
        if self.depth == self.unread:
            self.unread = 0
        elif not self.unread and name.endswith("object"):
            self.shape = None
        self.depth -= 1

    def _model(self, row: dict[str, str]) -> None:
        self.model.unit = row.get("unit", "millimeter")
        for prefix in row.get("requiredextensions", "").split():
            name = _extension(self.spaces.get(prefix, prefix))
            if name not in _KNOWN:
                self.model.required.append(name)

    def _metadata(self, row: dict[str, str]) -> None:
        name = row.get("name", "")
        if name not in _HOUSEKEEPING:
            self.model.metadata[name] = None

    def _object(self, row: dict[str, str]) -> None:
        self.shape = Shape(row.get("name", ""), row.get("pid", ""), int(row.get("pindex", 0)))
        self.model.shapes[row["id"]] = self.shape

    def _vertex(self, row: dict[str, str]) -> None:
        assert self.shape is not None
        self.shape.vertices.extend((float(row["x"]), float(row["y"]), float(row["z"])))

    def _triangle(self, row: dict[str, str]) -> None:
        shape = self.shape
        assert shape is not None
        pid = row.get("pid", shape.pid)
        first = int(row["p1"]) if "p1" in row else shape.pindex if pid == shape.pid else -1
        number = -1
        if pid and first >= 0:
            if pid not in shape.pids:
                shape.pids.append(pid)
            number = shape.pids.index(pid)
        shape.triangles.extend(
            (
                int(row["v1"]),
                int(row["v2"]),
                int(row["v3"]),
                number,
                first,
                int(row.get("p2", first)),
                int(row.get("p3", first)),
            )
        )

    def _component(self, row: dict[str, str]) -> None:
        assert self.shape is not None
        self.shape.components.append(_placed(row))

    def _item(self, row: dict[str, str]) -> None:
        if row.get("printable", "1") != "0":
            self.model.items.append(_placed(row))
        else:
            self.model.unprinted += 1

    def _basematerials(self, row: dict[str, str]) -> None:
        self._new_group(Group("basematerials"), row)

    def _new_group(self, group: Group, row: dict[str, str]) -> None:
        group.display = row.get("displaypropertiesid", "")
        self.group = self.model.groups[row["id"]] = group

    def _base(self, row: dict[str, str]) -> None:
        assert self.group is not None
        self.group.names.append(row.get("name", ""))
        self.group.colours.append(_colour(row["displaycolor"]))

    def _colorgroup(self, row: dict[str, str]) -> None:
        self._new_group(Group("colorgroup"), row)

    def _color(self, row: dict[str, str]) -> None:
        assert self.group is not None
        self.group.colours.append(_colour(row["color"]))

    def _texture2dgroup(self, row: dict[str, str]) -> None:
        self._new_group(Group("texture2dgroup", picture=row["texid"]), row)

    def _tex2coord(self, row: dict[str, str]) -> None:
        assert self.group is not None
        self.group.coordinates.extend((float(row["u"]), float(row["v"])))

    def _texture2d(self, row: dict[str, str]) -> None:
        self.model.pictures[row["id"]] = row

    def _pbmetallicdisplayproperties(self, row: dict[str, str]) -> None:
        self.surface = self.model.surfaces[row["id"]] = []

    def _pbmetallic(self, row: dict[str, str]) -> None:
        metallic, roughness = float(row.get("metallicness", 0)), float(row.get("roughness", 1))
        self.surface.append((min(1.0, max(0.0, metallic)), min(1.0, max(0.0, roughness))))


@lru_cache(maxsize=64)
def _extension(address: str) -> str:
    """The name of an extension in its address, "beamlattice" of ".../3dmanufacturing/beamlattice/
    2017/02"; the address where it has none."""
    found = re.search(r"/3dmanufacturing/([^/]+)/\d{4}/", address)
    return line_name(address if found is None else found[1])[:60]


def _colour(text: str) -> tuple[float, float, float, float]:
    """ "#RRGGBB" or "#RRGGBBAA", display values."""
    values = bytes.fromhex(text.lstrip("#"))
    if len(values) not in (3, 4):
        raise ValueError(text)
    red, green, blue, alpha = (v / 255 for v in (*values, 255)[:4])
    return red, green, blue, alpha


def _placed(row: dict[str, str]) -> Placed:
    matrix = np.eye(4)
    if "transform" in row:
        # Twelve numbers, a row of the transposed matrix after the other.
        matrix[:3] = np.array([float(x) for x in row["transform"].split()]).reshape(4, 3).T
    path = next((v for k, v in row.items() if k.rpartition(" ")[2] == "path"), "")
    return Placed(row["objectid"], path, matrix)


def parse(data: bytes, where: str) -> Model:
    """The model in a text of XML. Raises InputError."""
    state = _Parser(where)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = state.start
    parser.EndElementHandler = state.end
    parser.StartNamespaceDeclHandler = state.space

    def refuse(*_: object) -> None:
        raise InputError("holds XML with a document type, which is not read", where, REPAIR)

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"holds XML that is damaged ({str(error)[:60]})", where, REPAIR) from None
    except (KeyError, ValueError, AssertionError, OverflowError) as error:
        raise InputError(
            f"holds a model that does not follow 3MF ({type(error).__name__}: {str(error)[:40]})",
            where,
            REPAIR,
        ) from None
    return state.model
