"""Inspection and repair of meshes: degenerate and duplicate faces, winding, holes, loose vertices
and near vertices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..equal_rows import equal_rows
from ..mesh import Mesh
from .normals import vertex_normals
from .winding import Edges, edges_of, fix_winding


def inspect(mesh: Mesh) -> dict[str, Any]:
    """Figures of one mesh. Vertices at the same position count as one, so that texture seams are
    not holes."""
    places = mesh.welded()[mesh.faces]
    degenerate = _degenerate(mesh, places)
    edges = edges_of(places[~degenerate])
    used = mesh.named()
    low, high = mesh.vertices[used].min(0), mesh.vertices[used].max(0)
    boundary, crowded = int((edges.faces == 1).sum()), int((edges.faces > 2).sum())
    good = replace(mesh, faces=mesh.faces[~degenerate])
    corners = int((np.bincount(places.reshape(-1)) > 0).sum())
    return {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "loose vertices": len(mesh.vertices) - int(used.sum()),
        "size": (high - low).tolist(),
        "centre": ((high + low) / 2).tolist(),
        "area": mesh.area,
        "volume": mesh.volume if boundary == 0 else float("nan"),
        "pieces": int(good.components().max()) + 1 if len(good.faces) else 0,
        "watertight": boundary == 0 and crowded == 0,
        "border edges": boundary,
        "holes": len(_loops(edges, places[~degenerate])),
        "edges of more than two faces": crowded,
        "edges wound against their neighbour": int(clashes(edges).sum()),
        "euler characteristic": corners - len(edges.ends) + len(good.faces),
        "degenerate faces": int(degenerate.sum()),
        "duplicate faces": int(duplicate_faces(places).sum()),
        "texture": "none"
        if mesh.texture is None
        else f"{mesh.texture.shape[1]} x {mesh.texture.shape[0]}",
        "material": mesh.material.name if mesh.material is not None else "none",
    }


def degenerate_faces(mesh: Mesh) -> np.ndarray:
    """Faces (F,) bool without area, or with two corners at the same position."""
    return _degenerate(mesh, mesh.welded()[mesh.faces])


def _degenerate(mesh: Mesh, places: np.ndarray) -> np.ndarray:
    same = (
        (places[:, 0] == places[:, 1])
        | (places[:, 1] == places[:, 2])
        | (places[:, 2] == places[:, 0])
    )
    corner = mesh.vertices.astype(np.float64)[mesh.faces]
    one, two = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    longest = np.zeros(len(corner))
    for edge in (one, two, two - one):
        longest = np.maximum(longest, np.einsum("fi,fi->f", edge, edge))
    longest = np.sqrt(longest)
    height = np.linalg.norm(np.cross(one, two), axis=1) / np.maximum(longest, 1e-300)
    return same | (height <= 1e-7 * longest)


def duplicate_faces(places: np.ndarray) -> np.ndarray:
    """Faces (F,) bool with the same three positions as an earlier face, in any order."""
    first, _ = equal_rows(np.sort(places, 1))
    out = np.ones(len(places), bool)
    out[first] = False
    return out


def clashes(edges: Edges) -> np.ndarray:
    """Edges (E,) bool along which both faces run in the same direction, so that their windings
    disagree."""
    runs = np.bincount(edges.half, edges.along, minlength=len(edges.ends))
    return (edges.faces == 2) & (runs != 1)


def boundary_loops(places: np.ndarray) -> list[np.ndarray]:
    """The closed loops of edges that have only one face, each as an array of welded vertices in the
    direction of a filling's faces."""
    return _loops(edges_of(places), places)


def _loops(edges: Edges, places: np.ndarray) -> list[np.ndarray]:
    half = places[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    border = half[edges.faces[edges.half] == 1]
    follow: dict[int, list[int]] = {}
    for a, b in border.tolist():
        # A face that fills a hole runs against its neighbour.
        follow.setdefault(b, []).append(a)
    loops = []
    for start in list(follow):
        while follow.get(start):
            loop, at = [start], follow[start].pop()
            while at != start and follow.get(at):
                loop.append(at)
                at = follow[at].pop()
            if at == start and len(loop) >= 3:
                loops.append(np.array(loop))
    return loops


def fill_holes(mesh: Mesh, most: int) -> tuple[Mesh, int]:
    """The mesh with holes of at most `most` border edges closed by fans about their middle, and the
    number of holes that were closed."""
    place = mesh.welded()
    vertices, faces = [mesh.vertices], [mesh.faces]
    uv = [] if mesh.uv is None else [mesh.uv]
    colours = [] if mesh.colours is None else [mesh.colours]
    total, filled = len(mesh.vertices), 0
    # A new vertex counts as a copy of one at the rim, whose bones and further values it takes.
    origin = np.arange(total) if mesh.origin is None else mesh.origin
    copies: list[int] = []
    first = np.zeros(int(place.max()) + 1, np.int64)
    first[place] = np.arange(len(place))
    for loop in boundary_loops(place[mesh.faces]):
        if len(loop) > most:
            continue
        rim = first[loop]
        if len(rim) == 3:
            faces.append(rim[None].astype(np.int32))
        else:
            vertices.append(mesh.vertices[rim].mean(0, keepdims=True))
            copies.append(int(origin[rim[0]]))
            if mesh.uv is not None:
                uv.append(mesh.uv[rim].mean(0, keepdims=True))
            if mesh.colours is not None:
                colours.append(mesh.colours[rim].mean(0, keepdims=True))
            faces.append(
                np.stack([rim, np.roll(rim, -1), np.full(len(rim), total)], 1).astype(np.int32)
            )
            total += 1
        filled += 1
    if not filled:
        return mesh, 0
    closed = replace(
        mesh,
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces),
        uv=np.concatenate(uv) if uv else None,
        colours=np.concatenate(colours) if colours else None,
        origin=np.concatenate([origin, np.array(copies, np.int64)]),
        normals=None,
    )
    if mesh.normals is None:
        return closed, filled
    # Those at the rim stay; a new one stands on the faces about it.
    new = vertex_normals(closed.vertices, closed.faces)[len(mesh.normals) :]
    return replace(closed, normals=np.concatenate([mesh.normals, new])), filled


def weld(mesh: Mesh, reach: float) -> tuple[Mesh, int]:
    """The mesh with vertices nearer than `reach` moved to one position, and the number of vertices
    that were moved. Texture seams are kept."""
    pairs = cKDTree(mesh.vertices).query_pairs(reach, output_type="ndarray")
    if not len(pairs):
        return mesh, 0
    count = len(mesh.vertices)
    _, label = connected_components(
        coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count)), directed=False
    )
    _, first = np.unique(label, return_index=True)
    moved = mesh.vertices[first[label]]
    return replace(mesh, vertices=moved), int((moved != mesh.vertices).any(1).sum())


def clean(mesh: Mesh, weld_share: float = 0.0, holes: int = 0) -> tuple[Mesh, dict[str, int]]:
    """A repaired mesh, and what was done.

    Args:
        weld_share: vertices nearer than this share of the mesh's size are first moved to one
            position.
        holes: close holes of at most this many edges.
    """
    done: dict[str, int] = {}
    if weld_share > 0:
        extent = float(np.ptp(mesh.vertices, axis=0).max())
        mesh, done["vertices moved together"] = weld(mesh, weld_share * extent)
    bad = degenerate_faces(mesh)
    done["degenerate faces removed"] = int(bad.sum())
    mesh = replace(mesh, faces=mesh.faces[~bad])
    twice = duplicate_faces(mesh.welded()[mesh.faces]) if len(mesh.faces) else np.zeros(0, bool)
    done["duplicate faces removed"] = int(twice.sum())
    before = len(mesh.vertices)
    mesh = mesh.keep_faces(~twice)
    done["loose vertices removed"] = before - len(mesh.vertices)
    if holes > 0:
        mesh, done["holes filled"] = fill_holes(mesh, holes)
    mesh, turned = fix_winding(mesh)
    return mesh, done | turned
