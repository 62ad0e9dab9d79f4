"""Tables of dual marching cubes and of marching tetrahedra, derived here from the rules that define
them.

Corner c of a cube lies at bits (x, y, z) = (c & 1, c >> 1 & 1, c >> 2 & 1). Edge 4 a + b + 2 c runs
along axis a, where b and c are its bits on the axes a + 1 and a + 2 (modulo 3). Face 2 a + s has
axis a and side s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LOOPS = 4
"""Most patches of surface that one cube can hold."""


def edge_corners() -> np.ndarray:
    """The corners (12, 2) of a cube's edges, the lower one first."""
    out = np.zeros((12, 2), np.int64)
    for axis in range(3):
        for b in range(2):
            for c in range(2):
                low = (b << (axis + 1) % 3) | (c << (axis + 2) % 3)
                out[4 * axis + b + 2 * c] = low, low | (1 << axis)
    return out


@lru_cache(maxsize=1)
def face_corners() -> np.ndarray:
    """The corners (6, 4) of a cube's faces, in order around them."""
    out = np.zeros((6, 4), np.int64)
    for axis in range(3):
        for side in range(2):
            b, c = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
            out[2 * axis + side] = np.array([0, b, b | c, c]) | (side << axis)
    return out


@dataclass(frozen=True)
class DualTable:
    """Dual marching cubes, by the configuration of a cube (bit c is set where corner c is inside).

    patch (256, 2, 12) int64: the patch of surface that every edge belongs to, or -1; count (256, 2)
    of patches; joined (256,): the face that one patch crosses twice, or -1. The second axis says
    whether that face is cut the other way.
    """

    patch: np.ndarray
    count: np.ndarray
    joined: np.ndarray


def _links(inside: np.ndarray, flipped: int, edge_of: dict[tuple[int, int], int]) -> np.ndarray:
    """The arcs (N, 3) of a configuration: two edges and the face on which an arc joins them."""
    arcs = []
    for face, corners in enumerate(face_corners()):
        edges = [edge_of[tuple(sorted((int(corners[k]), int(corners[k - 3]))))] for k in range(4)]  # type: ignore[index]
        crossed = [k for k in range(4) if inside[corners[k]] != inside[corners[k - 3]]]
        if len(crossed) == 2:
            arcs.append((edges[crossed[0]], edges[crossed[1]], face))
        elif len(crossed) == 4:
            # Each inner corner is cut off by itself, or where the face is flipped each outer one.
            first = 0 if bool(inside[corners[0]]) != (face == flipped) else 1
            for k in (first, first + 2):
                arcs.append((edges[k - 1], edges[k % 4], face))
    return np.array(arcs, np.int64).reshape(-1, 3)


def _patches(arcs: np.ndarray) -> np.ndarray:
    """The patch (12,) of every edge: edges that arcs join."""
    patch = np.full(12, -1)
    for number, start in enumerate(sorted(set(arcs[:, :2].reshape(-1).tolist()))):
        patch[start] = number
    changed = True
    while changed:
        changed = False
        for one, two, _ in arcs:
            least = min(patch[one], patch[two])
            changed = changed or patch[one] != patch[two]
            patch[one] = patch[two] = least
    used = sorted(set(patch[patch >= 0].tolist()))
    return np.array([used.index(p) if p >= 0 else -1 for p in patch.tolist()], np.int64)


def _joined(arcs: np.ndarray, patch: np.ndarray) -> list[int]:
    """Faces whose two arcs belong to one patch."""
    found = []
    for face in range(6):
        own = arcs[arcs[:, 2] == face]
        if len(own) == 2 and patch[own[0, 0]] == patch[own[1, 0]]:
            found.append(face)
    return found


@lru_cache(maxsize=1)
def dual_table() -> DualTable:
    """The table of dual marching cubes (Nielson 2004) that makes manifolds.

    A face with two inner corners across is ambiguous. Where a single patch crosses it twice on both
    of its sides, four quads would meet in one edge; cutting it the other way splits both patches
    (the idea of Wenger 2013). No configuration has more than one such face, so that cubes are
    treated in pairs.
    """
    edge_of = {(int(a), int(b)): e for e, (a, b) in enumerate(edge_corners())}
    patch = np.full((256, 2, 12), -1, np.int64)
    count = np.zeros((256, 2), np.int64)
    joined = np.full(256, -1, np.int64)
    for code in range(256):
        inside = np.array([code >> c & 1 for c in range(8)], bool)
        arcs = _links(inside, -1, edge_of)
        patch[code] = _patches(arcs)
        faces = _joined(arcs, patch[code, 0])
        assert len(faces) <= 1
        if faces:
            joined[code] = faces[0]
            patch[code, 1] = _patches(_links(inside, faces[0], edge_of))
        count[code] = patch[code].max(-1) + 1
    return DualTable(patch, count, joined)


TETRAHEDRON = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
"""The corners of a tetrahedron's edges."""


@lru_cache(maxsize=1)
def tetrahedron_table() -> np.ndarray:
    """Marching tetrahedra: the edges (16, 2, 3) of up to two triangles by configuration (bit c is
    set where corner c is inside), or -1, facing outwards of tetrahedra of positive volume."""
    place = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    number = {tuple(e): k for k, e in enumerate(TETRAHEDRON.tolist())}
    table = np.full((16, 2, 3), -1, np.int64)
    for code in range(1, 15):
        inside = [c for c in range(4) if code >> c & 1]
        outside = [c for c in range(4) if not code >> c & 1]
        # In order around the cut, so that both kinds are fans.
        pairs = [(a, b) for a in inside for b in outside]
        if len(inside) == 2:
            pairs = [pairs[0], pairs[1], pairs[3], pairs[2]]
        ring = [number[(min(p), max(p))] for p in pairs]
        middle = np.array([place[list(p)].mean(0) for p in pairs])
        normal = np.cross(middle[1] - middle[0], middle[2] - middle[0])
        outwards = place[outside].mean(0) - place[inside].mean(0)
        if normal @ outwards < 0:
            ring = ring[::-1]
        for k in range(len(ring) - 2):
            table[code, k] = ring[0], ring[k + 1], ring[k + 2]
    return table
