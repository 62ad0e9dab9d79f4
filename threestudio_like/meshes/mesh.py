"""A triangle mesh with what an asset needs: texture coordinates, a texture, vertex colours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .normals import face_normals, vertex_normals


@dataclass
class Mesh:
    """vertices (V, 3) float32; faces (F, 3) int32, counter-clockwise from outside; uv (V, 2) float32, v upwards; texture
    (H, W, 3) uint8, row 0 at v = 1; colours (V, 3) float32 in [0, 1]; normals (V, 3) float32."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None

    def with_normals(self) -> Mesh:
        """The mesh with smooth vertex normals; vertices at one place share theirs, also across texture seams."""
        _, first, inverse = np.unique(np.round(self.vertices, 6), axis=0, return_index=True, return_inverse=True)
        shared = vertex_normals(self.vertices[first], inverse.reshape(-1)[self.faces])
        return replace(self, normals=shared[inverse.reshape(-1)])

    @property
    def volume(self) -> float:
        """Signed volume, by the divergence theorem; positive when faces point outwards."""
        corner = self.vertices[self.faces].astype(np.float64)
        return float(np.einsum("ij,ij->i", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6)

    @property
    def area(self) -> float:
        """Surface area."""
        return float(np.linalg.norm(face_normals(self.vertices.astype(np.float64), self.faces), axis=1).sum() / 2)

    def components(self) -> np.ndarray:
        """Number of the connected piece of every face (F,), by vertices at the same place."""
        _, inverse = np.unique(np.round(self.vertices, 6), axis=0, return_inverse=True)
        faces = inverse.reshape(-1)[self.faces]
        count = int(faces.max()) + 1 if len(faces) else 0
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        return connected_components(graph, directed=False)[1][faces[:, 0]] if count else np.zeros(0, np.int32)

    def keep_faces(self, keep: np.ndarray) -> Mesh:
        """The mesh of the faces in the boolean mask, unused vertices dropped."""
        faces = self.faces[keep]
        used, inverse = np.unique(faces, return_inverse=True)

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[used]

        return Mesh(
            self.vertices[used],
            inverse.reshape(-1, 3).astype(np.int32),
            pick(self.uv),
            self.texture,
            pick(self.colours),
            pick(self.normals),
        )


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of several, geometry only."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
    )


@dataclass
class Asset:
    """What a run makes: one mesh (or several, by name) and where it came from.

    Example:
        >>> asset = threestudio_like.generate("a red chair")      # doctest: +SKIP
        >>> asset.save("chair.glb")                               # doctest: +SKIP
    """

    meshes: dict[str, Mesh]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def mesh(self) -> Mesh:
        """The only mesh, or the geometry of all of them."""
        return next(iter(self.meshes.values())) if len(self.meshes) == 1 else join(list(self.meshes.values()))

    def save(self, path: str | Path) -> Path:
        """Write .glb, .obj (with .mtl and .png), .ply or .stl. Raises ExportError, OutputError."""
        from .files import write

        return write(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> Asset:
        """Read what `save` writes. Raises InputError."""
        from .files import read

        return read(Path(path))
