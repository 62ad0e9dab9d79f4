"""Measures of a predicted surface against the true one in the same frame: creases, planes, bumps
and handles.

None is differentiable. A surface is a closed `Mesh` without parts that are hidden in other parts;
its size is the diagonal of the true bounding box, and every length that is a parameter is a share
of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..engine.errors import InputError
from ..kernels import nearest, surface_tree
from ..meshes.equal_rows import equal_rows
from ..meshes.mesh import Mesh
from ..meshes.points import sample_surface
from ..meshes.surface.clean import clean
from ..meshes.surface.normals import face_normals
from ..meshes.surface.winding import edges_of

REACH = 0.019
"""Two cells of the grid of 112 cells over [-1, 1] from which assets are extracted, for an object
that fills the unit sphere."""


def size_of(mesh: Mesh) -> float:
    """Diagonal of the bounding box of the faces. Raises InputError for a mesh without faces."""
    if not len(mesh.faces):
        raise InputError("a mesh without faces cannot be measured", "mesh")
    points = mesh.vertices[mesh.named()].astype(np.float64)
    return float(np.linalg.norm(np.ptp(points, axis=0)))


@dataclass(frozen=True)
class Folds:
    """The edges of exactly two faces: ends (E, 2, 3) float64, faces (E, 2) and the angle (E,) in
    degrees between the normals of the two faces, 0 where they lie in one plane."""

    ends: np.ndarray
    faces: np.ndarray
    angle: np.ndarray


def _places(mesh: Mesh) -> np.ndarray:
    """The number (V,) of every vertex's place, to a millionth of the size: seams of turned bodies
    close only up to rounding."""
    grid = np.rint(mesh.vertices.astype(np.float64) / (1e-6 * max(size_of(mesh), 1e-20)))
    return equal_rows(grid.astype(np.int64))[1]


def folds(mesh: Mesh) -> Folds:
    """The folds of a mesh; vertices at one place are one."""
    places = _places(mesh)
    corner = places[mesh.faces]
    good = (corner != np.roll(corner, 1, 1)).all(1)
    corner, number = corner[good], np.flatnonzero(good)
    position = np.zeros((int(places.max(initial=-1)) + 1, 3))
    position[places] = mesh.vertices
    edges = edges_of(corner)
    order = np.argsort(edges.half, kind="stable")
    start = np.concatenate([[0], np.cumsum(edges.faces)[:-1]])
    two = np.flatnonzero(edges.faces == 2)
    pair = np.stack([order[start[two]], order[start[two] + 1]], 1) // 3
    raw = face_normals(position, corner)
    unit = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-20)
    a, b = unit[pair[:, 0]], unit[pair[:, 1]]
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return Folds(position[edges.ends[two]], number[pair], np.degrees(angle))


def crease_points(mesh: Mesh, angle: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) about every `step` along the edges that fold by more than `angle` degrees, and
    the unit directions (N, 3) of these edges. Every point stands for an equal length."""
    found = folds(mesh)
    ends = found.ends[found.angle > angle]
    along = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(along, axis=1)
    # Points at equal distances of the whole length, so that many short edges count as a long one.
    total = np.concatenate([[0.0], np.cumsum(length)])
    count = int(np.ceil(total[-1] / step))
    if not count:
        return np.zeros((0, 3)), np.zeros((0, 3))
    at = (np.arange(count) + 0.5) / count * total[-1]
    edge = np.searchsorted(total, at, side="right") - 1
    share = (at - total[edge]) / np.maximum(length[edge], 1e-20)
    return ends[edge, 0] + share[:, None] * along[edge], along[edge] / np.maximum(
        length[edge], 1e-20
    )[:, None]


def _reproduced(
    wanted: tuple[np.ndarray, np.ndarray], given: tuple[np.ndarray, np.ndarray], reach: float
) -> float:
    """Share of crease points with a crease of the other surface within `reach` that runs within 45
    degrees of their direction."""
    if not len(wanted[0]):
        return 1.0
    if not len(given[0]):
        return 0.0
    neighbours = min(12, len(given[0]))
    distance, index = cKDTree(given[0]).query(wanted[0], neighbours, distance_upper_bound=reach)
    distance, index = distance.reshape(len(wanted[0]), -1), index.reshape(len(wanted[0]), -1)
    direction = given[1][np.minimum(index, len(given[0]) - 1)]
    aligned = np.abs((direction * wanted[1][:, None]).sum(2)) > np.sqrt(0.5)
    return float((np.isfinite(distance) & aligned).any(1).mean())


def creases(
    predicted: Mesh,
    truth: Mesh,
    sharp: float = 40.0,
    soft: float = 25.0,
    reach: float = REACH,
) -> tuple[float, float]:
    """How much of the true creases is there, and how many creases are right.

    Args:
        sharp: degrees from which an edge that is looked for counts.
        soft: degrees that suffice for the edge that answers it.
        reach: distance within which it has to lie, as a share of the size.

    Returns:
        (recall, precision) in [0, 1]. recall: share of the length of the true edges sharper than
        `sharp` with a predicted edge sharper than `soft` within reach and within 45 degrees of its
        direction; 1 for a truth without creases. precision: the same with the two exchanged; 1 for
        a prediction without creases. A bumpy surface has creases everywhere, and so a high recall
        and a low precision.
    """
    size = size_of(truth)
    step = reach * size / 4
    size_of(predicted)
    recall = _reproduced(
        crease_points(truth, sharp, step), crease_points(predicted, soft, step), reach * size
    )
    precision = _reproduced(
        crease_points(predicted, sharp, step), crease_points(truth, soft, step), reach * size
    )
    return recall, precision


def planes(mesh: Mesh, share: float = 0.02, angle: float = 1.0) -> list[np.ndarray]:
    """The large planar regions of a mesh: the numbers of the faces of each.

    Args:
        share: least area of a region, as a share of the whole surface.
        angle: degrees by which neighbours, and every face and the mean of its region, may differ.
    """
    raw = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
    area = np.linalg.norm(raw, axis=1) / 2
    unit = raw / np.maximum(2 * area, 1e-20)[:, None]
    found = folds(mesh)
    pair = found.faces[found.angle < angle]
    graph = coo_matrix((np.ones(len(pair)), (pair[:, 0], pair[:, 1])), shape=(len(area),) * 2)
    region = connected_components(graph, directed=False)[1]
    total = np.bincount(region, area)
    out = []
    for number in np.flatnonzero(total >= share * area.sum()):
        faces = np.flatnonzero((region == number) & (area > 1e-12))
        mean = (unit[faces] * area[faces, None]).sum(0)
        mean /= np.maximum(np.linalg.norm(mean), 1e-20)
        # A finely divided cylinder turns by less than the angle from face to face.
        if len(faces) and (unit[faces] @ mean).min() > np.cos(np.radians(2 * angle)):
            out.append(faces)
    return out


def _tree(mesh: Mesh) -> object:
    return surface_tree(
        torch.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32)),
        torch.from_numpy(np.ascontiguousarray(mesh.faces, np.int32)),
    )


def flatness(predicted: Mesh, truth: Mesh, samples: int = 600) -> tuple[float, float]:
    """How flat the prediction is where the truth is a plane.

    For each planar region of at least 2 % of the true surface, `samples` points of it are taken to
    the nearest points of the prediction.

    Returns:
        (unevenness, distance), means over the regions, weighted by their areas, as shares of the
        size; 0 is best, and nan for a truth without planes. unevenness: RMS distance of these
        points from the plane that fits them best. distance: RMS distance from the true plane,
        which a surface that is flat in the wrong place has too.
    """
    size = size_of(truth)
    size_of(predicted)
    tree = _tree(predicted)
    uneven, distance, weights = [], [], []
    for number, faces in enumerate(planes(truth)):
        region = truth.keep_faces(np.isin(np.arange(len(truth.faces)), faces))
        cloud = sample_surface(region, samples, number)
        assert cloud.normals is not None
        queries = torch.from_numpy(cloud.points.astype(np.float32))
        points = nearest(tree, queries)[2].numpy().astype(np.float64)  # type: ignore[arg-type]
        normal = cloud.normals.mean(0)
        normal /= np.linalg.norm(normal)
        offset = (points - cloud.points.mean(0)) @ normal
        centred = points - points.mean(0)
        # The smallest singular value is the root of the sum of squares about the best plane.
        uneven.append(np.linalg.svd(centred, compute_uv=False)[-1] / np.sqrt(len(points)) / size)
        distance.append(np.sqrt(np.square(offset).mean()) / size)
        weights.append(region.area)
    if not weights:
        return float("nan"), float("nan")
    return float(np.average(uneven, weights=weights)), float(np.average(distance, weights=weights))


def _roughness(points: np.ndarray, normals: np.ndarray, inside: np.ndarray, radius: float) -> float:
    """RMS angle in degrees between the normals of points and of their neighbours within a radius;
    those that look the other way are on another side of a sheet."""
    index = np.flatnonzero(inside)
    if not len(index):
        return float("nan")
    distance, other = cKDTree(points).query(points[index], 9, distance_upper_bound=radius)
    valid = np.isfinite(distance) & (distance > 0)
    cosine = (normals[np.minimum(other, len(points) - 1)] * normals[index][:, None]).sum(2)
    cosine = cosine[valid & (cosine > 0)]
    angle = np.degrees(np.arccos(cosine.clip(0, 1)))
    return float(np.sqrt(np.square(angle).mean())) if len(angle) else float("nan")


def bumpiness(
    predicted: Mesh, truth: Mesh, samples: int = 20000, reach: float = REACH, sharp: float = 25.0
) -> float:
    """RMS angle in degrees between face normals at neighbouring points of the prediction, where
    the truth is smooth (farther than twice `reach` from its creases), minus that of the truth.

    Points are drawn uniformly from both surfaces and neighbours lie within `reach`, so that the
    result does not depend on how finely a surface is divided.

    Returns:
        0 for as smooth as the truth, positive for bumps (10 is visibly rough), negative for a
        smoother surface; nan where no part of the truth is smooth.
    """
    size = size_of(truth)
    size_of(predicted)
    edges = crease_points(truth, sharp, reach * size / 4)[0]
    values = []
    for mesh in (predicted, truth):
        cloud = sample_surface(mesh, samples, 5)
        assert cloud.normals is not None
        smooth = np.ones(samples, bool)
        if len(edges):
            smooth = cKDTree(edges).query(cloud.points)[0] > 2 * reach * size
        values.append(_roughness(cloud.points, cloud.normals, smooth, radius=reach * size))
    return values[0] - values[1]


def handles(mesh: Mesh, smallest: float = 0.01) -> list[int] | None:
    """The genus of every connected piece, largest piece first: 0 for a ball, 1 for a ring.

    The mesh is cleaned first (degenerate and double faces, near vertices, winding), and pieces
    below `smallest` of the area of the largest are dropped. None where a piece is not closed.
    """
    size_of(mesh)
    for share in (0.0, 1e-6, 1e-5):
        out = _genera(clean(mesh, weld_share=share)[0], smallest)
        if out is not None:
            return out
    return None


def _genera(whole: Mesh, smallest: float) -> list[int] | None:
    """The genus of every piece of a clean mesh, or None where one is not closed."""
    number = whole.components()
    raw = face_normals(whole.vertices.astype(np.float64), whole.faces)
    area = np.bincount(number, np.linalg.norm(raw, axis=1))
    out = []
    for piece in np.argsort(-area, kind="stable"):
        if area[piece] < smallest * area.max():
            break
        corner = whole.welded()[whole.faces[number == piece]]
        edges = edges_of(corner)
        if not (edges.faces == 2).all():
            return None
        euler = len(np.unique(corner)) - len(edges.ends) + len(corner)
        out.append(round((2 - euler) / 2))
    return out


def genus_right(predicted: Mesh, truth: Mesh) -> float:
    """1 where the prediction is closed and has as many handles in all as the truth, 0 otherwise;
    nan where the truth is not closed."""
    wanted, given = handles(truth), handles(predicted)
    if wanted is None:
        return float("nan")
    return float(given is not None and sum(given) == sum(wanted))
