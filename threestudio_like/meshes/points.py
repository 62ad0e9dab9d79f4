"""Point clouds from files or surfaces, their normals, rigid registration, and detection of hidden
faces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import cKDTree

from ..engine.errors import InputError
from ..kernels import rasterize
from .extras import load, open3d_mesh
from .frames import CANONICAL, Frame
from .io.files import read
from .io.merge import joined
from .io.ply.data import Header, read_columns, read_header
from .io.ply.reading import note_others, positions, stacked
from .mesh import Mesh
from .surface.normals import face_normals
from .surface.winding import edges_of


@dataclass
class Cloud:
    """Points (N, 3) and, if known, unit normals (N, 3) that point outwards. notes: what a reader
    left out, a line each."""

    points: np.ndarray
    normals: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def sample_surface(mesh: Mesh, count: int, seed: int = 0) -> Cloud:
    """`count` points (N, 3) float64 that are uniformly distributed over the surface, with the unit
    normals of their faces."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    raw = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
    area = np.linalg.norm(raw, axis=1)
    face = np.searchsorted(np.cumsum(area) / area.sum(), rng.random(count)).clip(0, len(area) - 1)
    u, v = rng.random(count), rng.random(count)
    # Folding the far half of the square back keeps the density uniform.
    flip = u + v > 1
    u[flip], v[flip] = 1 - u[flip], 1 - v[flip]
    a, b, c = (mesh.vertices[mesh.faces[face, i]].astype(np.float64) for i in range(3))
    points = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    return Cloud(points, raw[face] / np.maximum(area[face], 1e-12)[:, None])


def read_cloud(path: Path, frame: Frame | None = None, count: int = 50000) -> Cloud:
    """The points (N, 3) float64 of a PLY file without faces, or `count` points on the surface of a
    mesh file, where the file has them, also far from the origin. Raises InputError."""
    if path.suffix.lower() == ".ply" and path.is_file():
        data = path.read_bytes()
        header = read_header(data, str(path))
        if header.element("face") is None and header.element("tristrips") is None:
            return _points_of_ply(data, header, path, frame=frame or CANONICAL)
    asset = read(path, frame, textures=False)
    cloud = sample_surface(joined(asset), count)
    return Cloud(cloud.points + asset.offset, cloud.normals, list(asset.notes))


def _points_of_ply(data: bytes, header: Header, path: Path, frame: Frame) -> Cloud:
    notes: list[str] = []
    vertex = read_columns(data, header, str(path), notes).get("vertex", {})
    note_others(header, notes, {"vertex": {"x", "y", "z", "nx", "ny", "nz"}})
    points = positions(vertex, str(path))
    normals = stacked(vertex, ("nx", "ny", "nz"), np.float64)
    if len(points) < 10 or not np.isfinite(points).all():
        raise InputError(
            "holds fewer than 10 points, or some that are not numbers",
            str(path),
            "Give a cloud of points",
        )
    turn = frame.rotation()
    if normals is not None:
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        usable = np.isfinite(length).all() and bool((length > 0.1).all())
        if not usable:
            notes.append("the normals are left out: some are no directions")
        normals = ((normals / length) @ turn.T).astype(np.float32) if usable else None
    return Cloud(points @ turn.T * frame.metres, normals, notes)


def estimate_normals(points: np.ndarray, neighbours: int = 16, backend: str = "auto") -> np.ndarray:
    """Unit normals (N, 3) of points (N, 3).

    The normal is the direction of least spread among the neighbours. Normals are oriented
    consistently along a spanning tree (Hoppe et al. 1992), and outwards at the highest point.
    """
    if backend == "open3d":
        library = load("open3d")
        cloud = library.geometry.PointCloud(
            library.utility.Vector3dVector(points.astype(np.float64))
        )
        cloud.estimate_normals(library.geometry.KDTreeSearchParamKNN(neighbours))
        cloud.orient_normals_consistent_tangent_plane(neighbours)
        return np.asarray(cloud.normals, np.float32)
    count = min(neighbours, len(points))
    _, near = cKDTree(points).query(points, k=count)
    local = points[near].astype(np.float64)
    local -= local.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))[1][:, :, 0]
    one, two = np.repeat(np.arange(len(points)), count - 1), near[:, 1:].reshape(-1)
    # The orientations of neighbours are most certain to agree where their normals differ least.
    cost = 1 - np.abs((normals[one] * normals[two]).sum(1)) + 1e-6
    graph = coo_matrix((cost, (one, two)), shape=(len(points), len(points)))
    tree = minimum_spanning_tree(graph)
    top = int(points[:, 1].argmax())
    order, parent = breadth_first_order(tree, top, directed=False)
    if normals[top, 1] < 0:
        normals[top] *= -1
    for node in order[1:]:
        if normals[node] @ normals[parent[node]] < 0:
            normals[node] *= -1
    return normals.astype(np.float32)


def register(
    source: np.ndarray, target: np.ndarray, reach: float, backend: str = "auto", rounds: int = 60
) -> tuple[np.ndarray, float]:
    """The rigid motion (4, 4) that moves points `source` (N, 3) onto `target` (M, 3) by iterated
    closest points (Besl and McKay 1992), and the remaining root mean square distance of the pairs
    within `reach`."""
    motion = np.eye(4)
    if backend == "open3d":
        library = load("open3d")
        clouds = [
            library.geometry.PointCloud(library.utility.Vector3dVector(p.astype(np.float64)))
            for p in (source, target)
        ]
        result = library.pipelines.registration.registration_icp(
            clouds[0], clouds[1], reach, motion
        )
        return np.asarray(result.transformation), float(result.inlier_rmse)
    tree, left = cKDTree(target), float("inf")
    points = source.astype(np.float64)
    for _ in range(rounds):
        moved = points @ motion[:3, :3].T + motion[:3, 3]
        distance, index = tree.query(moved)
        near = distance < reach
        if near.sum() < 3:
            return motion, float("inf")
        error = float(np.sqrt((distance[near] ** 2).mean()))
        if left - error < 1e-7 * reach:
            return motion, error
        left = error
        step = rigid(moved[near], target[index[near]].astype(np.float64))
        motion = step @ motion
    return motion, left


def rigid(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares rotation and translation (4, 4) between pairs of points (N, 3), (N, 3)
    (Kabsch 1976)."""
    a, b = source.mean(0), target.mean(0)
    u, _, v = np.linalg.svd((source - a).T @ (target - b))
    keep = np.diag([1.0, 1.0, np.sign(np.linalg.det(v.T @ u.T))])
    out = np.eye(4)
    out[:3, :3] = v.T @ keep @ u.T
    out[:3, 3] = b - out[:3, :3] @ a
    return out


DIRECTIONS = np.array(
    [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z], float
)


def hidden_faces(mesh: Mesh, backend: str = "auto", size: int = 1024) -> np.ndarray:
    """Faces (F,) bool that, with all of their neighbours, are hidden from 26 views from far
    outside, so that they only waste texels.

    Args:
        backend: auto rasterises from every side; open3d casts a ray from the centre of every face
            to every side.
        size: pixels along the edge of the pictures.
    """
    directions = DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
    points = mesh.vertices.astype(np.float64)
    low, high = points.min(0), points.max(0)
    points = (points - (low + high) / 2) / max(float(np.linalg.norm(high - low)) / 2, 1e-30)
    seen = np.zeros(len(mesh.faces), bool)
    if backend == "open3d":
        library = load("open3d")
        scene = library.t.geometry.RaycastingScene()
        scene.add_triangles(
            library.t.geometry.TriangleMesh.from_legacy(
                open3d_mesh(library, points.astype(np.float32), mesh.faces)
            )
        )
        centres = points[mesh.faces].mean(1)
        for way in directions:
            rays = np.concatenate(
                [centres + 1e-4 * way, np.broadcast_to(way, centres.shape)], 1
            ).astype(np.float32)
            seen |= np.isinf(scene.cast_rays(library.core.Tensor(rays))["t_hit"].numpy())
    else:
        for way in directions:
            side = np.cross(way, [0.0, 1.0, 0.0] if abs(way[1]) < 0.9 else [1.0, 0.0, 0.0])
            side /= np.linalg.norm(side)
            local = points @ np.stack([side, np.cross(side, way), -way], 1)
            clip = np.concatenate([local * 0.99, np.ones((len(local), 1))], 1).astype(np.float32)
            numbers = rasterize(
                torch.from_numpy(clip), torch.from_numpy(mesh.faces), size, width=size
            )[..., 3]
            seen[np.unique(numbers[numbers > 0].numpy().astype(np.int64)) - 1] = True
    # A sliver that covers no pixel centre is not hidden, so neighbours of visible faces are kept.
    table = edges_of(mesh.welded()[mesh.faces])
    lit = np.zeros(len(table.ends), bool)
    lit[table.half[np.repeat(seen, 3)]] = True
    return ~(seen | lit[table.half].reshape(-1, 3).any(1))
