"""The edges of a mesh, and faces that agree about which side is the outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix, vstack
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ..equal_rows import equal_rows
from ..mesh import Mesh
from .nesting import nesting
from .normals import outward, vertex_normals


@dataclass
class Edges:
    """The edges of a mesh by welded vertices.

    ends (E, 2); faces (E,), the number of faces of each edge; half (H,), the edge of every half
    edge in the order face * 3 + side; along (H,), whether the half edge runs from the lower to the
    higher number.
    """

    ends: np.ndarray
    faces: np.ndarray
    half: np.ndarray
    along: np.ndarray


def edges_of(places: np.ndarray) -> Edges:
    """The edges of faces (F, 3), which are given by welded vertices."""
    half = places[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    both = np.stack([half.min(1), half.max(1)], 1)
    first, inverse = equal_rows(both)
    ends = both[first]
    return Edges(
        ends, np.bincount(inverse, minlength=len(ends)), inverse, along=half[:, 0] < half[:, 1]
    )


def fix_winding(mesh: Mesh) -> tuple[Mesh, dict[str, int]]:
    """The mesh with consistent winding, and the numbers of what was turned.

    Every closed piece faces outwards, unless it bounds a void: one that lies within an odd number
    of others and faces the other way than the one around it, as a whole file that is inside out
    does too. A solid within another (the eyes in a head) faces the same way as that, and outwards.
    Pieces that cross each other face outwards, and open ones keep the direction of most of their
    area. Normals follow the faces that were turned away from them.

    Returns:
        The mesh. Of "faces turned" how many were reversed; of "shells turned outwards" and "walls
        of voids turned inwards" how many closed pieces are among them as wholes.
    """
    places = mesh.welded()[mesh.faces]
    edges = edges_of(places)
    flip, label = _agreeing(edges, len(mesh.faces))
    faces = mesh.faces.copy()
    faces[flip] = faces[flip][:, ::-1]
    corner = mesh.vertices[faces].astype(np.float64)
    # About a middle of its own, so that a piece far away keeps its digits.
    middle = corner[np.unique(label, return_index=True)[1], :1][label]
    own = corner - middle
    volume = np.einsum("ij,ij->i", own[:, 0], np.cross(own[:, 1], own[:, 2])) / 6
    area = np.linalg.norm(np.cross(own[:, 1] - own[:, 0], own[:, 2] - own[:, 0]), axis=1)
    pieces = int(label.max(initial=-1)) + 1

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label, values, minlength=pieces)

    border = total((edges.faces[edges.half] != 2).reshape(-1, 3).any(1)) > 0
    inside_out = total(volume) < 0
    given = total(area * flip) > 0.5 * total(area)
    turn = np.where(border, given, inside_out)
    out = np.where(turn[label][:, None, None], corner[:, ::-1], corner)
    depth, around = nesting(out, label, ~border)
    faced_in = inside_out ^ given
    void = (depth % 2 == 1) & (faced_in != faced_in[around])
    turn ^= void
    faces[turn[label]] = faces[turn[label]][:, ::-1]
    reversed_ = flip ^ turn[label]
    if not reversed_.any():
        return mesh, {"faces turned": 0}
    # What was turned as a whole is told apart from faces that disagreed with their neighbours.
    whole = ~border & (total(reversed_) == total(np.ones(len(faces))))
    done = {"faces turned": int(reversed_.sum())}
    for what, which in (("shells turned outwards", ~void), ("walls of voids turned inwards", void)):
        if (whole & which).any():
            done[what] = int((whole & which).sum())
    turned = replace(mesh, faces=np.ascontiguousarray(faces))
    return replace(turned, normals=_following(mesh, turned, reversed_)), done


def _agreeing(edges: Edges, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces (F,) bool that are to be reversed so that neighbours agree, and the number (F,) of
    the piece of every face, which hangs together by edges of two faces."""
    order = np.argsort(edges.half, kind="stable")
    pair = edges.faces[edges.half[order]] == 2
    two = order[pair].reshape(-1, 2)
    left, right = two[:, 0] // 3, two[:, 1] // 3
    differ = edges.along[two[:, 0]] == edges.along[two[:, 1]]
    # Faces may share several edges, and entries of a sparse graph would add up: one of them counts.
    one = equal_rows(np.stack([left, right], 1))[0]
    left, right, differ = left[one], right[one], differ[one]
    # Weights 1 and 2 preserve the sign of an edge in the sparse graph.
    graph = coo_matrix((1.0 + differ, (left, right)), shape=(count, count)).tocsr()
    graph = graph.maximum(graph.T)
    label = connected_components(graph, directed=False)[1]
    flip = np.zeros(count, bool)
    if not count:
        return flip, label
    # One walk through all pieces, from a root that the first face of each hangs at.
    starts = np.unique(label, return_index=True)[1]
    root = coo_matrix((np.ones(len(starts)), (np.zeros(len(starts), int), starts)), (1, count))
    whole = vstack([graph, root.tocsr()], "csr")
    whole.resize(count + 1, count + 1)
    walk, before = breadth_first_order(whole, count, directed=True)
    walk = walk[1 + len(starts) :]
    parents = before[walk]
    signs = np.asarray(graph[walk, parents]).ravel() > 1.5
    for face, parent, sign in zip(walk.tolist(), parents.tolist(), signs.tolist()):
        flip[face] = flip[parent] ^ sign
    return flip, label


def _following(before: Mesh, after: Mesh, reversed_: np.ndarray) -> np.ndarray | None:
    """The normals of a mesh some of whose faces, (F,) bool, were reversed: those that faces were
    turned away from turn over with them; between faces that disagreed they are made anew."""
    if before.normals is None:
        return None
    agreed = outward(before.normals, before.vertices, before.faces) >= 0
    away = outward(before.normals, after.vertices, after.faces) < 0
    sign = np.where(agreed & away, -1, 1).astype(before.normals.dtype)
    normals = before.normals * sign[:, None]
    some, every = np.zeros(len(normals), bool), np.ones(len(normals), bool)
    some[after.faces[reversed_]] = True
    every[after.faces[~reversed_]] = False
    mixed = some & ~every
    normals[mixed] = vertex_normals(after.vertices, after.faces)[mixed]
    return normals
