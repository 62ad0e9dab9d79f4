"""Reads an STL as an asset: every solid is a part, welded, with its sharp edges sharp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....engine.text import line_name
from ...equal_rows import equal_rows
from ...mesh import Asset, Mesh, unique_name
from ...surface.polygons import triangulate_all
from ..far import near_origin
from ..sources.text import without_mark
from .binary import fits, read_binary
from .solids import Solid
from .text import read_text


def read_stl(path: Path, textures: bool = True) -> Asset:
    """Read an STL file, binary or text; every named solid of a text is a part. Raises
    InputError."""
    data, where = path.read_bytes(), str(path)
    notes: list[str] = []
    read = read_text if _is_text(data) else read_binary
    solids = [solid for solid in read(data, where, notes) if len(solid.sizes)]
    if not solids:
        return Asset({}, notes=notes)
    points, offset = near_origin(np.concatenate([solid.corners for solid in solids]))
    polygons = any((solid.sizes > 3).any() for solid in solids)
    asset = Asset({}, offset=offset, notes=notes, polygons=polygons)
    ends = np.cumsum([len(solid.corners) for solid in solids])[:-1]
    for solid, corners in zip(solids, np.split(points, ends)):
        label = unique_name(line_name(solid.name, path.stem), asset.meshes)
        asset.meshes[label] = _surface(_triangles(solid, corners))
    return asset


def _is_text(data: bytes) -> bool:
    """Whether an STL is text. Some programs begin binary ones with "solid" as well, so that a size
    that fits settles it."""
    if fits(data):
        return False
    begin = without_mark(data[:512])
    return begin[:200].lstrip()[:5].lower() == b"solid" and b"\0" not in begin


def _triangles(solid: Solid, corners: np.ndarray) -> np.ndarray:
    """Three corners (3 T, 3) a triangle, of facets whose corners may be more."""
    if (solid.sizes == 3).all():
        return corners
    return corners[triangulate_all(corners, np.arange(len(corners)), solid.sizes)[0].reshape(-1)]


def _surface(corners: np.ndarray) -> Mesh:
    """The surface of triangles whose corners (3 T, 3) are stored one by one: welded, so that a
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
