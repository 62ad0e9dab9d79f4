"""Writes an asset as a 3MF: one object a part, in millimetres, with +Z up and its colours at the
corners of the triangles."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import numpy as np

from ....engine.text import line_name
from ...mesh import Asset, Mesh
from ..merge import vertex_colours
from ..sources.archive import pack

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MATERIAL = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_TYPES = (
    _HEAD + '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" '
    'ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
_RELATIONS = (
    _HEAD + '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Target="/3D/3dmodel.model" Id="rel0" '
    'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)
_MILLIMETRES = 1000.0


def write_3mf(asset: Asset, name: str) -> dict[str, bytes]:
    """A 3MF of all meshes, each an object of its own; a part with a texture has its colours at the
    vertices, one with one colour has it as a named base material."""
    resources: list[str] = []
    items: list[str] = []
    number = 0
    digits = 12 if asset.offset.any() else 9
    for label, mesh in asset.meshes.items():
        place, points = _welded(mesh, asset.offset)
        faces = place[mesh.faces]
        # 3MF allows no triangle that names a vertex twice.
        real = (faces != np.roll(faces, 1, 1)).all(1)
        if not real.any():
            continue
        group, properties, default = _properties(mesh, real, number + 1)
        resources += group
        number += 1 + bool(group)
        title = quoteattr(line_name(label))
        lines = [f'<object id="{number}" type="model" name={title}{default}><mesh><vertices>']
        lines += [
            f'<vertex x="{x:.{digits}g}" y="{y:.{digits}g}" z="{z:.{digits}g}"/>'
            for x, y, z in points.tolist()
        ]
        lines.append("</vertices><triangles>")
        lines += [
            f'<triangle v1="{a}" v2="{b}" v3="{c}"{p}/>'
            for (a, b, c), p in zip(faces[real].tolist(), properties)
        ]
        lines.append("</triangles></mesh></object>")
        resources += lines
        items.append(f'<item objectid="{number}"/>')
    model = [
        f'{_HEAD}<model unit="millimeter" xml:lang="en-US" xmlns="{_CORE}" xmlns:m="{_MATERIAL}">',
        "<resources>",
        *resources,
        "</resources>",
        "<build>",
        *items,
        "</build></model>",
    ]
    members = {
        "[Content_Types].xml": _TYPES.encode(),
        "_rels/.rels": _RELATIONS.encode(),
        "3D/3dmodel.model": "\n".join(model).encode(),
    }
    return {name: pack(members)}


def _welded(mesh: Mesh, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place (V,) of every vertex and the positions of places in millimetres, +Z up: a printer
    needs neighbours that share their vertices."""
    place = mesh.welded()
    points = np.zeros((int(place.max()) + 1, 3))
    points[place] = mesh.vertices.astype(np.float64) + offset
    return place, _MILLIMETRES * np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1) + 0.0


def _properties(mesh: Mesh, real: np.ndarray, number: int) -> tuple[list[str], list[str], str]:
    """Of a mesh: the group of its colours, with this number; what every triangle says of them; and
    what the object says."""
    colours = vertex_colours(mesh)
    count = int(real.sum())
    if colours is None:
        return [], [""] * count, ""
    rows = np.rint(colours.clip(0, 1) * 255).astype(np.uint8)
    if mesh.material is not None and rows.shape[1] == 3 and mesh.material.colour[3] < 1:
        alpha = np.full((len(rows), 1), round(mesh.material.colour[3] * 255), np.uint8)
        rows = np.concatenate([rows, alpha], 1)
    values, inverse = np.unique(rows, axis=0, return_inverse=True)
    texts = ["#" + bytes(v).hex().upper() for v in values.tolist()]
    if len(texts) == 1:
        title = quoteattr(line_name(mesh.material.name if mesh.material else "", "surface"))
        base = f'<base name={title} displaycolor="{texts[0]}"/>'
        group = [f'<basematerials id="{number}">{base}</basematerials>']
        return group, [""] * count, f' pid="{number}" pindex="0"'
    group = [f'<m:colorgroup id="{number}">', *(f'<m:color color="{t}"/>' for t in texts)]
    group.append("</m:colorgroup>")
    corners = inverse.reshape(-1)[mesh.faces[real]].tolist()
    said = [f' pid="{number}" p1="{a}" p2="{b}" p3="{c}"' for a, b, c in corners]
    return group, said, f' pid="{number}" pindex="0"'
