"""Alternative implementations by heavier libraries, for machines on which they are installed (`pip
install '.[mesh]'` in the checkout).

pymeshlab is GPL-3 and open3d has a size of a gigabyte, so neither is imported unless it is
requested by name.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..engine.errors import ConfigError, InputError
from .mesh import Mesh


def load(name: str) -> Any:
    """Import the module `name`. Raises ConfigError with the way to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = str(error).splitlines()[0][:100]
        raise ConfigError(
            f"{name} cannot be used here ({reason})",
            "--backend",
            "Install it with: pip install '.[mesh]' in the checkout (and the system "
            "libraries that it names)",
        ) from None


def needed(module: str, extra: str, where: str) -> Any:
    """Import a module without which the file `where` cannot be read or written.

    Args:
        extra: the optional dependency of this package that brings it.

    Raises: InputError with the way to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).splitlines()[0][:100]
        raise InputError(
            f"needs {module.partition('.')[0]}, which cannot be used here ({reason})",
            where,
            f"Install it with: pip install '.[{extra}]' in the checkout",
        ) from None


def decimate_with(
    backend: str, points: np.ndarray, triangles: np.ndarray, faces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quadric decimation of points (V, 3) and triangles (F, 3); returns fewer of both."""
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
    mesh = open3d_mesh(library, points, triangles).simplify_quadric_decimation(faces)
    return np.asarray(mesh.vertices), np.asarray(mesh.triangles)


def open3d_mesh(library: Any, points: np.ndarray, triangles: np.ndarray) -> Any:
    """Make an open3d mesh of points (V, 3) and triangles (F, 3)."""
    vertices = library.utility.Vector3dVector(points.astype(np.float64))
    return library.geometry.TriangleMesh(
        vertices, library.utility.Vector3iVector(triangles.astype(np.int32))
    )


def remesh_isotropic(mesh: Mesh, edge: float) -> Mesh:
    """The surface with triangles of about equal edge length `edge`, in the mesh's units
    (pymeshlab). Texture coordinates are lost."""
    library = load("pymeshlab")
    session = library.MeshSet()
    session.add_mesh(
        library.Mesh(
            mesh.vertices.astype(np.float64),
            mesh.welded()[mesh.faces] if mesh.uv is not None else mesh.faces,
        )
    )
    session.meshing_isotropic_explicit_remeshing(targetlen=library.PureValue(edge))
    result = session.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float32), result.face_matrix().astype(np.int32))


def poisson(points: np.ndarray, normals: np.ndarray, depth: int = 7, backend: str = "auto") -> Mesh:
    """Screened Poisson reconstruction (Kazhdan and Hoppe 2013) of points (N, 3) with normals (N,
    3), by pymeshlab or open3d.

    Args:
        depth: of the octree; 2**depth cells along an edge.
    """
    if backend == "open3d":
        library = load("open3d")
        cloud = library.geometry.PointCloud(
            library.utility.Vector3dVector(points.astype(np.float64))
        )
        cloud.normals = library.utility.Vector3dVector(normals.astype(np.float64))
        surface, _ = library.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth)
        return Mesh(
            np.asarray(surface.vertices, np.float32), np.asarray(surface.triangles, np.int32)
        )
    library = load("pymeshlab")
    session = library.MeshSet()
    session.add_mesh(
        library.Mesh(
            vertex_matrix=points.astype(np.float64), v_normals_matrix=normals.astype(np.float64)
        )
    )
    session.generate_surface_reconstruction_screened_poisson(depth=depth)
    result = session.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float32), result.face_matrix().astype(np.int32))
