"""Heavier alternatives behind the same functions, used where they are installed (`pip install threestudio-like[mesh]`).

pymeshlab is GPL-3 and open3d brings a gigabyte: neither is ever imported unless it is asked for by name.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..engine.errors import ConfigError
from .mesh import Mesh


def load(name: str) -> Any:
    """The module `name`. Raises ConfigError with the way to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = str(error).splitlines()[0][:100]
        raise ConfigError(
            f"{name} cannot be used here ({reason})",
            "--backend",
            "Install it with: pip install 'threestudio-like[mesh]' (and the system libraries that it names)",
        ) from None


def decimate_with(backend: str, points: np.ndarray, triangles: np.ndarray, faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadric decimation: points (V, 3), triangles (F, 3) -> fewer of both."""
    if backend == "pymeshlab":
        library = load("pymeshlab")
        session = library.MeshSet()
        session.add_mesh(library.Mesh(points.astype(np.float64), triangles))
        session.meshing_decimation_quadric_edge_collapse(
            targetfacenum=faces, preserveboundary=True, preservenormal=True
        )
        result = session.current_mesh()
        return result.vertex_matrix(), result.face_matrix()
    library = load("open3d")
    mesh = _open3d(library, points, triangles).simplify_quadric_decimation(faces)
    return np.asarray(mesh.vertices), np.asarray(mesh.triangles)


def _open3d(library: Any, points: np.ndarray, triangles: np.ndarray) -> Any:
    vertices = library.utility.Vector3dVector(points.astype(np.float64))
    return library.geometry.TriangleMesh(vertices, library.utility.Vector3iVector(triangles.astype(np.int32)))


def remesh_isotropic(mesh: Mesh, edge: float) -> Mesh:
    """The surface with triangles of about equal edges, `edge` long in the mesh's units (pymeshlab). Texture coordinates are lost."""
    library = load("pymeshlab")
    session = library.MeshSet()
    session.add_mesh(
        library.Mesh(mesh.vertices.astype(np.float64), mesh.welded()[mesh.faces] if mesh.uv is not None else mesh.faces)
    )
    session.meshing_isotropic_explicit_remeshing(targetlen=library.PureValue(edge))
    result = session.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float32), result.face_matrix().astype(np.int32))


def poisson(points: np.ndarray, normals: np.ndarray, depth: int = 7) -> Mesh:
    """Screened Poisson reconstruction of points (N, 3) with normals (N, 3) (pymeshlab)."""
    library = load("pymeshlab")
    session = library.MeshSet()
    session.add_mesh(library.Mesh(vertex_matrix=points.astype(np.float64), v_normals_matrix=normals.astype(np.float64)))
    session.generate_surface_reconstruction_screened_poisson(depth=depth)
    result = session.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float32), result.face_matrix().astype(np.int32))


def register(source: np.ndarray, target: np.ndarray, reach: float) -> np.ndarray:
    """The rigid motion (4, 4) that brings points `source` (N, 3) to `target` (M, 3) by iterated closest points (open3d)."""
    library = load("open3d")
    clouds = [
        library.geometry.PointCloud(library.utility.Vector3dVector(p.astype(np.float64))) for p in (source, target)
    ]
    result = library.pipelines.registration.registration_icp(clouds[0], clouds[1], reach, np.eye(4))
    return np.asarray(result.transformation)


def ray_hits(mesh: Mesh, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance along rays (N, 3), (N, 3) to the mesh, infinite where nothing is hit (open3d)."""
    library = load("open3d")
    scene = library.t.geometry.RaycastingScene()
    scene.add_triangles(library.t.geometry.TriangleMesh.from_legacy(_open3d(library, mesh.vertices, mesh.faces)))
    rays = np.concatenate([origins, directions], 1).astype(np.float32)
    return scene.cast_rays(library.core.Tensor(rays))["t_hit"].numpy()
