"""Local remeshing: long edges are split, short ones collapsed, and edges flipped where that makes
better angles, towards triangles of a wanted size at every vertex (the operations of Hoppe et al.
1993 and Botsch and Kobbelt 2004; split, collapse and flip as continuous remeshing has them,
Palfinger 2022).

Between them, vertices of smooth parts may move within the surface. Each operation works on many
places at once that do not touch one another, which are found by priorities. Creases stay: their
vertices are not moved off them, and no edge of one is flipped. The genus of a closed mesh stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix

CREASE = np.cos(np.radians(30.0))
"""Cosine of the angle between normals from which an edge is a crease."""
FLAT = np.cos(np.radians(10.0))
"""Edges between faces that are nearer to one plane may be flipped."""
STEPS = 4
"""Steps of a measure that are told apart where edges are chosen."""
TURNED = 0.3
"""Least cosine between a face's normals before and after a collapse."""


@dataclass
class Remeshed:
    """A mesh while it is remeshed.

    points (V, 3) float64; faces (F, 3) int64; sizes (V,): the wanted length of an edge at a vertex;
    ends (V, 2) int64: the two vertices of the mesh at the beginning between which one lies, twice
    the same for one that was there.
    """

    points: np.ndarray
    faces: np.ndarray
    sizes: np.ndarray
    ends: np.ndarray

    @staticmethod
    def of(points: np.ndarray, faces: np.ndarray, sizes: np.ndarray) -> Remeshed:
        """A mesh before any operation."""
        own = np.arange(len(points), dtype=np.int64)
        return Remeshed(
            points.astype(np.float64),
            faces.astype(np.int64),
            sizes.astype(np.float64),
            np.stack([own, own], 1),
        )

    def without_unused(self) -> Remeshed:
        """The same without vertices that no face uses, in their order."""
        used = np.zeros(len(self.points), bool)
        used[self.faces.reshape(-1)] = True
        number = np.cumsum(used) - 1
        return Remeshed(self.points[used], number[self.faces], self.sizes[used], self.ends[used])


@dataclass
class Edges:
    """The edges of faces (F, 3).

    pairs (E, 2) int64, the smaller first; of_face (F, 3): the edge from corner k to k + 1; faces
    (E, 2) and far (E, 2): the two faces of an edge and the corners opposite to it, the first face
    the one that runs from the smaller to the larger end; plain (E,): whether there are just these
    two, one in each direction.
    """

    pairs: np.ndarray
    of_face: np.ndarray
    faces: np.ndarray
    far: np.ndarray
    plain: np.ndarray

    @staticmethod
    def of(faces: np.ndarray, vertices: int) -> Edges:
        """Those of a mesh with so many vertices."""
        count = len(faces)
        begin, end = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)
        low, high = np.minimum(begin, end), np.maximum(begin, end)
        keys, number, times = np.unique(
            low * vertices + high, return_inverse=True, return_counts=True
        )
        number = number.reshape(-1)
        side = (begin > end).astype(np.int64)
        own = np.full((len(keys), 2), -1, np.int64)
        far = np.full((len(keys), 2), -1, np.int64)
        own[number, side] = np.repeat(np.arange(count), 3)
        far[number, side] = np.roll(faces, -2, 1).reshape(-1)
        plain = (times == 2) & (own >= 0).all(1)
        pairs = np.stack([keys // vertices, keys % vertices], 1)
        return Edges(pairs, number.reshape(count, 3), own, far, plain)


def normals_of(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals (F, 3) as long as twice the area of the faces."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def cosines(mesh: Remeshed, edges: Edges) -> np.ndarray:
    """Cosine (E,) of the angle between the normals at every edge; -1 where it has not two faces."""
    normals = normals_of(mesh.points, mesh.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    found = (normals[edges.faces[:, 0]] * normals[edges.faces[:, 1]]).sum(1)
    return np.where(edges.plain, found, -1.0)


def too_long(mesh: Remeshed, edges: Edges, tolerance: float) -> np.ndarray:
    """How often (E,) an edge is as long as wanted, less what is tolerated: above 0 to be split."""
    a, b = edges.pairs.T
    length = np.linalg.norm(mesh.points[a] - mesh.points[b], axis=1)
    return length / (0.5 * (mesh.sizes[a] + mesh.sizes[b])) - (1 + tolerance)


def split(mesh: Remeshed, tolerance: float, room: int) -> tuple[Remeshed, int]:
    """Split the edges that are longer than 1 + `tolerance` times what is wanted, in the middle; of
    more than `room` the longest by that measure. Returns also how many."""
    edges = Edges.of(mesh.faces, len(mesh.points))
    over = too_long(mesh, edges, tolerance)
    chosen = np.flatnonzero(over > 0)
    if len(chosen) > room:
        chosen = np.sort(chosen[np.argsort(-over[chosen], kind="stable")[: max(0, room)]])
    if not len(chosen):
        return mesh, 0
    a, b = edges.pairs[chosen].T
    middle = np.full(len(edges.pairs), -1, np.int64)
    middle[chosen] = len(mesh.points) + np.arange(len(chosen))
    points = np.concatenate([mesh.points, 0.5 * (mesh.points[a] + mesh.points[b])])
    faces = _cut(points, mesh.faces, middle[edges.of_face])
    sizes = np.concatenate([mesh.sizes, 0.5 * (mesh.sizes[a] + mesh.sizes[b])])
    ends = np.concatenate([mesh.ends, np.stack([mesh.ends[a, 0], mesh.ends[b, 0]], 1)])
    return Remeshed(points, faces, sizes, ends), len(chosen)


def _cut(points: np.ndarray, faces: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Faces with the middles (F, 3) of their edges, -1 for none, as triangles."""
    has = middle >= 0
    count = has.sum(1)
    out = [faces[count == 0]]
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        one = (count == 1) & has[:, k]
        a, b, c, m = faces[one, k], faces[one, i], faces[one, j], middle[one, k]
        out += [np.stack([a, m, c], 1), np.stack([m, b, c], 1)]
        two = (count == 2) & ~has[:, j]
        a, b, c = faces[two, k], faces[two, i], faces[two, j]
        m, n = middle[two, k], middle[two, i]
        out.append(np.stack([m, b, n], 1))
        across = np.linalg.norm(points[a] - points[n], axis=1)
        short = (across <= np.linalg.norm(points[m] - points[c], axis=1))[:, None]
        out.append(np.where(short, np.stack([a, m, n], 1), np.stack([a, m, c], 1)))
        out.append(np.where(short, np.stack([a, n, c], 1), np.stack([m, n, c], 1)))
    whole = count == 3
    (a, b, c), (m, n, o) = faces[whole].T, middle[whole].T
    out += [np.stack(t, 1) for t in ((a, m, o), (m, b, n), (o, n, c), (m, n, o))]
    return np.concatenate(out)


def collapse(mesh: Remeshed, tolerance: float) -> tuple[Remeshed, int]:
    """Collapse edges that are shorter than 1 - `tolerance` times what is wanted, the shortest
    first; those that would turn a face over or close a hole are left. Returns also how many."""
    vertices = len(mesh.points)
    edges = Edges.of(mesh.faces, vertices)
    a, b = edges.pairs.T
    length = np.linalg.norm(mesh.points[a] - mesh.points[b], axis=1)
    measure = length / (0.5 * (mesh.sizes[a] + mesh.sizes[b]))
    wanted = (measure < 1 - tolerance) & edges.plain
    odd = np.zeros(vertices, bool)
    odd[edges.pairs[~edges.plain].reshape(-1)] = True
    wanted &= ~odd[a] & ~odd[b]
    degree = np.bincount(edges.pairs.reshape(-1), minlength=vertices)
    wanted &= (degree[np.maximum(edges.far, 0)] > 3).all(1)
    wanted[wanted] = _two_in_common(edges.pairs, edges.pairs[wanted], vertices)
    chosen = _apart(edges.pairs, wanted, measure, vertices)
    if not len(chosen):
        return mesh, 0
    place = _places(mesh, edges, chosen)
    chosen, moved, into = _without_turned(mesh, edges, chosen, place)
    faces = into[mesh.faces]
    gone = (faces == np.roll(faces, 1, 1)).any(1)
    return Remeshed(moved, faces[~gone], mesh.sizes, mesh.ends).without_unused(), len(chosen)


def _two_in_common(pairs: np.ndarray, asked: np.ndarray, vertices: int) -> np.ndarray:
    """Whether the ends of edges share two neighbours only, which keeps the surface a surface."""
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    beside = coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), (vertices,) * 2).tocsr()
    common = beside[asked[:, 0]].multiply(beside[asked[:, 1]]).sum(1)
    return np.asarray(common).reshape(-1) == 2


def _apart(pairs: np.ndarray, wanted: np.ndarray, measure: np.ndarray, vertices: int) -> np.ndarray:
    """Wanted edges of which no face lies at two: of all wanted ones at their ends and at the
    neighbours of these they come first, by their measure in steps, and by a scattered number.

    By the measure alone, lengths that change slowly over a surface would leave few that are the
    least of their surroundings.
    """
    candidates = np.flatnonzero(wanted)
    scattered = candidates.astype(np.uint32) * np.uint32(2654435761)
    order = np.lexsort((scattered, np.floor(measure[candidates] * STEPS)))
    rank = np.full(len(pairs), len(pairs), np.int64)
    rank[candidates[order]] = np.arange(len(candidates))
    least = np.full(vertices, len(pairs), np.int64)
    np.minimum.at(least, pairs.reshape(-1), np.repeat(rank, 2))
    around = least.copy()
    np.minimum.at(around, pairs[:, 0], least[pairs[:, 1]])
    np.minimum.at(around, pairs[:, 1], least[pairs[:, 0]])
    best = (around[pairs[candidates]] == rank[candidates][:, None]).all(1)
    return candidates[best]


def _places(mesh: Remeshed, edges: Edges, chosen: np.ndarray) -> np.ndarray:
    """Where the ends of collapsed edges go (N, 3): to the end that is a corner or lies on a crease,
    where the other one is less; to the middle where both are alike."""
    creased = cosines(mesh, edges) < CREASE
    count = np.zeros(len(mesh.points), np.int64)
    np.add.at(count, edges.pairs[creased].reshape(-1), 1)
    # No crease, one that runs through, a corner or the end of one.
    kind = np.where(count == 0, 0, np.where(count == 2, 1, 2))
    a, b = edges.pairs[chosen].T
    # Two places of one crease that are not joined along it are not alike: the first one stays.
    first = (kind[a] > kind[b]) | ((kind[a] == kind[b]) & (kind[a] > 0) & ~creased[chosen])
    first |= (kind[a] == 2) & (kind[b] == 2)
    second = kind[b] > kind[a]
    middle = 0.5 * (mesh.points[a] + mesh.points[b])
    place = np.where(first[:, None], mesh.points[a], middle)
    return np.where(second[:, None], mesh.points[b], place)


def _without_turned(
    mesh: Remeshed, edges: Edges, chosen: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The chosen edges that turn no face, the points with these collapsed, and what every vertex
    becomes."""
    vertices, before = len(mesh.points), normals_of(mesh.points, mesh.faces)
    while True:
        a, b = edges.pairs[chosen].T
        into = np.arange(vertices)
        into[b] = a
        moved = mesh.points.copy()
        moved[a] = place
        owner = np.full(vertices, -1, np.int64)
        owner[a] = owner[b] = np.arange(len(chosen))
        faces = into[mesh.faces]
        touched = (owner[mesh.faces] >= 0).any(1) & ~(faces == np.roll(faces, 1, 1)).any(1)
        after = normals_of(moved, faces[touched])
        old = before[touched]
        longest = np.linalg.norm(old, axis=1) * np.linalg.norm(after, axis=1)
        turned = (old * after).sum(1) <= TURNED * longest
        bad = np.zeros(len(chosen), bool)
        bad[owner[mesh.faces[touched][turned]].max(1)] = True
        if not bad.any():
            return chosen, moved, into
        chosen, place = chosen[~bad], place[~bad]


def flip(mesh: Remeshed) -> tuple[Remeshed, int]:
    """Flip edges of nearly flat pairs of faces whose opposite angles add up to more than half a
    turn (Delaunay's criterion), the largest sums first. Returns also how many."""
    vertices = len(mesh.points)
    edges = Edges.of(mesh.faces, vertices)
    at = np.flatnonzero(edges.plain & (cosines(mesh, edges) > FLAT))
    a, b = edges.pairs[at].T
    c, d = edges.far[at].T
    angles = _angle(mesh.points, c, a, b) + _angle(mesh.points, d, a, b)
    degree = np.bincount(edges.pairs.reshape(-1), minlength=vertices)
    known = edges.pairs[:, 0] * vertices + edges.pairs[:, 1]
    key = np.minimum(c, d) * vertices + np.maximum(c, d)
    good = (angles > np.pi * 1.001) & (degree[a] > 3) & (degree[b] > 3) & ~np.isin(key, known)
    good &= c != d
    first, second = np.stack([a, d, c], 1), np.stack([d, b, c], 1)
    old = normals_of(mesh.points, mesh.faces)[edges.faces[at]].sum(1)
    size = np.linalg.norm(old, axis=1)
    for corner in (first, second):
        own = normals_of(mesh.points, corner)
        good &= (own * old).sum(1) > 0.5 * size * np.linalg.norm(own, axis=1)
    order = np.flatnonzero(good)[np.argsort(-angles[good], kind="stable")]
    rank = np.arange(len(order))
    least = np.full(len(mesh.faces), len(order), np.int64)
    both = edges.faces[at[order]]
    np.minimum.at(least, both.reshape(-1), np.repeat(rank, 2))
    kept = order[(least[both] == rank[:, None]).all(1)]
    # Two quadrangles may share the diagonal that they would get.
    kept = kept[np.unique(key[kept], return_index=True)[1]]
    if not len(kept):
        return mesh, 0
    faces = mesh.faces.copy()
    faces[edges.faces[at[kept], 0]] = first[kept]
    faces[edges.faces[at[kept], 1]] = second[kept]
    return Remeshed(mesh.points, faces, mesh.sizes, mesh.ends), len(kept)


def _angle(points: np.ndarray, at: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    u, v = points[one] - points[at], points[two] - points[at]
    across = np.linalg.norm(np.cross(u, v), axis=1)
    return np.arctan2(across, (u * v).sum(1))


def relax(mesh: Remeshed, share: float) -> Remeshed:
    """Vertices that lie on no crease go this share of the way to the mean of their neighbours, in
    the plane of the surface, where that turns no face over."""
    edges = Edges.of(mesh.faces, len(mesh.points))
    free = np.ones(len(mesh.points), bool)
    free[edges.pairs[cosines(mesh, edges) < CREASE].reshape(-1)] = False
    total, normal = np.zeros_like(mesh.points), np.zeros_like(mesh.points)
    a, b = edges.pairs.T
    np.add.at(total, a, mesh.points[b])
    np.add.at(total, b, mesh.points[a])
    degree = np.bincount(edges.pairs.reshape(-1), minlength=len(mesh.points))
    before = normals_of(mesh.points, mesh.faces)
    for k in range(3):
        np.add.at(normal, mesh.faces[:, k], before)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    way = total / np.maximum(degree, 1)[:, None] - mesh.points
    way -= (way * normal).sum(1, keepdims=True) * normal
    moved = mesh.points + share * way * free[:, None]
    after = normals_of(moved, mesh.faces)
    longest = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    turned = (before * after).sum(1) <= TURNED * longest
    free[mesh.faces[turned].reshape(-1)] = False
    points = np.where(free[:, None], moved, mesh.points)
    return Remeshed(points, mesh.faces, mesh.sizes, mesh.ends)


def remesh(
    mesh: Remeshed,
    tolerance: float = 0.5,
    room: int = 1 << 30,
    rounds: int = 1,
    relaxed: float = 0.0,
) -> tuple[Remeshed, int]:
    """Rounds of collapses, splits, flips and relaxation, until nothing changes any more.

    Args:
        tolerance: share of the wanted length by which an edge may differ from it.
        room: vertices at most; beyond, edges stay longer than wanted.
        rounds: at most.
        relaxed: share of the way that vertices of smooth parts go in a round, see `relax`.

    Returns:
        The mesh, and how many operations there were.
    """
    total = 0
    for _ in range(rounds):
        mesh, fewer = collapse(mesh, tolerance)
        mesh, more = split(mesh, tolerance, room - len(mesh.points))
        flips = 0
        for _ in range(2):
            mesh, found = flip(mesh)
            flips += found
        if relaxed > 0:
            mesh = relax(mesh, relaxed)
        total += fewer + more + flips
        if relaxed == 0 and not fewer + more + flips:
            break
    return mesh, total
