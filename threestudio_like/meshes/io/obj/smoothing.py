"""Which corners of faces share a normal, where an OBJ file gives none: by its smoothing groups, or
up to creases."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .rows import distinct, numbered

CREASE = 42.0
"""Degrees; edges that are sharper stay sharp where a file says nothing about smoothing."""
_FACES = 1 << 15
"""Number of faces that are worked on at a time, for the sake of the processor's cache."""
UNSAID, OFF = -1, 0
"""Smoothing of a face before the first statement, and after "s off"; groups count from 1."""


def corner_normals(
    points: np.ndarray, faces: np.ndarray, smoothing: np.ndarray, polygons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which corners share a normal, and the normals.

    Args:
        points: (V, 3) float32.
        faces: (F, 3), numbers of points.
        smoothing: (F,) UNSAID, OFF or the number of a group.
        polygons: (F,) equal for triangles of one polygon, which is flat as a whole.

    Returns:
        The number (F, 3) of every corner's normal, and the unit normals (N, 3) float32.
    """
    used, inverse = numbered(faces.reshape(-1))
    _, welded = distinct(points[used])
    place = welded[inverse].reshape(-1, 3)
    raw = _face_normals(points, faces)
    flat, unsaid = smoothing == OFF, smoothing == UNSAID
    if unsaid.all():
        marks = _up_to_creases(place, raw)
        if marks is None:
            return place, _summed(place, raw)
    else:
        marks = np.zeros((len(faces), 3, 2), np.int64)
        # The first mark tells the kinds and the groups apart, the second the places within one.
        marks[..., 0] = np.where(smoothing > 0, smoothing, 0)[:, None]
        marks[..., 1] = place
        # Of a flat polygon all corners share one normal.
        marks[flat, :, 0] = -1
        marks[flat, :, 1] = polygons[flat][:, None]
        creased = _up_to_creases(place[unsaid], raw[unsaid]) if unsaid.any() else None
        if creased is not None:
            marks[unsaid] = creased
    number = distinct(marks.reshape(-1, 2))[1].reshape(-1, 3)
    return number, _summed(number, raw)


def _face_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted normals (F, 3) float64; not finite where positions are not."""
    raw = np.empty((len(faces), 3))
    with np.errstate(all="ignore"):
        for at in range(0, len(faces), _FACES):
            corner = points[faces[at : at + _FACES]].astype(np.float64)
            corner[:, 1:] -= corner[:, :1]
            raw[at : at + _FACES] = np.cross(corner[:, 1], corner[:, 2])
    return raw


def _summed(number: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Unit sums of the faces' normals by number."""
    count = int(number.max()) + 1
    total = np.zeros((count, 3))
    # Each block of faces usually has few of the numbers, but might have all.
    step = max(_FACES, count // 8)
    for at in range(0, len(raw), step):
        rows = number[at : at + step]
        for axis in range(3):
            weights = np.repeat(raw[at : at + step, axis], 3)
            low = int(rows.min())
            part = np.bincount(rows.reshape(-1) - low, weights)
            total[low : low + len(part), axis] += part
    length = np.linalg.norm(total, axis=1)
    # Where faces without area meet, or opposite ones, any direction is as good as another.
    lost = ~(length > 1e-30)
    total[lost], length[lost] = (0.0, 0.0, 1.0), 1.0
    return (total / length[:, None]).astype(np.float32)


def _up_to_creases(place: np.ndarray, raw: np.ndarray) -> np.ndarray | None:
    """Marks (F, 3, 2) of corners, equal for those at one place whose faces hang together by edges
    that are not sharp; None where no edge is sharp."""
    mean = _summed(place, raw)
    rough = np.zeros(len(mean), bool)
    for at in range(0, len(raw), _FACES):
        some, normal = place[at : at + _FACES], raw[at : at + _FACES]
        # Faces that all lie within half the angle of their mean have no crease between them.
        near = np.einsum("ij,ikj->ik", normal, mean[some])
        least = np.linalg.norm(normal, axis=1, keepdims=True) * np.cos(np.radians(CREASE / 2))
        rough[some[near < least]] = True
    chosen = np.flatnonzero(rough[place].any(1))
    if not len(chosen):
        return None
    marks = np.zeros((*place.shape, 2), np.int64)
    marks[..., 1] = place
    length = np.linalg.norm(raw[chosen], axis=1, keepdims=True)
    label = _hanging_together(place[chosen], raw[chosen] / np.maximum(length, 1e-300))
    at = rough[place[chosen]]
    own = marks[chosen]
    own[at] = np.stack([np.full(int(at.sum()), -2), label[at]], 1)
    marks[chosen] = own
    return marks


def _hanging_together(place: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Number (F, 3) of the set of corners that every corner belongs to: two corners at one place
    are joined where their faces share an edge there that is not sharp."""
    count = len(place)
    ends = np.stack([place, np.roll(place, -1, 1)], 2).reshape(-1, 2)
    corner = np.stack(
        [np.arange(3 * count), np.roll(np.arange(3 * count).reshape(-1, 3), -1, 1).reshape(-1)], 1
    )
    turned = ends[:, 0] > ends[:, 1]
    ends[turned], corner[turned] = ends[turned][:, ::-1], corner[turned][:, ::-1]
    key = ends[:, 0] * (int(place.max()) + 1) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    one, two = order[same], order[same + 1]
    cosine = np.einsum("ij,ij->i", unit[one // 3], unit[two // 3])
    smooth = cosine > np.cos(np.radians(CREASE))
    one, two = one[smooth], two[smooth]
    rows = np.concatenate([corner[one, 0], corner[one, 1]])
    columns = np.concatenate([corner[two, 0], corner[two, 1]])
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(3 * count, 3 * count))
    return connected_components(graph, directed=False)[1].reshape(-1, 3).astype(np.int64)
