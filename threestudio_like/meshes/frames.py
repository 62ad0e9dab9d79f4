"""The frame of a file: which of its axes point up and to the front, and how long its unit is. The
house's own: +Y up, +Z front, metres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..engine.errors import ConfigError, did_you_mean
from .mesh import Asset, Mesh

AXES = {
    "x": (1, 0, 0),
    "y": (0, 1, 0),
    "z": (0, 0, 1),
    "-x": (-1, 0, 0),
    "-y": (0, -1, 0),
    "-z": (0, 0, -1),
}
UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048, "km": 1000.0}


@dataclass(frozen=True)
class Frame:
    """Axes of a file ("y", "-z", …) and its unit of length. Blender's OBJ with Z up is Frame("z",
    "-y")."""

    up: str = "y"
    front: str = "z"
    unit: str = "m"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("--up", self.up, AXES),
            ("--front", self.front, AXES),
            ("--unit", self.unit, UNITS),
        ):
            if value.lstrip("+") not in known:
                raise ConfigError(f'"{value}" is not known here', name, did_you_mean(value, known))
        if self.up.strip("+-") == self.front.strip("+-"):
            raise ConfigError(
                f'up "{self.up}" and front "{self.front}" lie on one line',
                "--front",
                "Choose another axis",
            )

    def rotation(self) -> np.ndarray:
        """Rows x, y, z of the house as directions of the file: p_house = rotation @ p_file; a
        rotation of determinant 1."""
        up, front = (np.array(AXES[a.lstrip("+")], np.float64) for a in (self.up, self.front))
        return np.stack([np.cross(up, front), up, front])

    @property
    def metres(self) -> float:
        """Metres in a unit of the file."""
        return UNITS[self.unit]

    @property
    def plain(self) -> bool:
        """Whether the file's frame is the house's own."""
        return self.metres == 1.0 and bool((self.rotation() == np.eye(3)).all())


HOUSE = Frame()


def turned(mesh: Mesh, rotation: np.ndarray, scale: float) -> Mesh:
    """The mesh with vertices p -> scale * rotation @ p, and its normals turned along."""
    points = (mesh.vertices.astype(np.float64) @ rotation.T * scale).astype(np.float32)
    normals = None if mesh.normals is None else (mesh.normals @ rotation.T).astype(np.float32)
    return replace(mesh, vertices=np.ascontiguousarray(points), normals=normals)


def to_house(asset: Asset, frame: Frame) -> Asset:
    """An asset read in `frame`, in the house's axes and in metres; a scene's nodes are dissolved
    where the frame is another."""
    if frame.plain:
        return asset
    meshes = {k: turned(m, frame.rotation(), frame.metres) for k, m in asset.meshes.items()}
    return replace(asset, meshes=meshes, nodes={})


def from_house(asset: Asset, frame: Frame) -> Asset:
    """An asset of the house as `frame` wants it written."""
    if frame.plain:
        return asset
    inverse = frame.rotation().T
    meshes = {k: turned(m, inverse, 1 / frame.metres) for k, m in asset.meshes.items()}
    return replace(asset, meshes=meshes, nodes={})


@dataclass(frozen=True)
class Placement:
    """p_normalised = (p - centre) * scale."""

    centre: np.ndarray
    scale: float

    @staticmethod
    def of(vertices: np.ndarray, radius: float = 0.95) -> Placement:
        """The bounding box's centre to the origin, the farthest vertex to `radius`: vertices (V,
        3)."""
        points = vertices.astype(np.float64)
        centre = (points.min(0) + points.max(0)) / 2
        return Placement(
            centre, radius / max(float(np.linalg.norm(points - centre, axis=1).max()), 1e-30)
        )

    @staticmethod
    def of_mean(
        vertices: np.ndarray, radius: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> Placement:
        """The vertex mean to `shift`, the largest norm about it to `radius` (METHODS 1.10,
        1.11)."""
        points = vertices.astype(np.float64)
        centre = points.mean(0)
        scale = radius / max(float(np.linalg.norm(points - centre, axis=1).max()), 1e-30)
        return Placement(centre - np.asarray(shift) / scale, scale)

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """Normalised vertices (V, 3) float32."""
        return ((vertices.astype(np.float64) - self.centre) * self.scale).astype(np.float32)

    def undo(self, vertices: np.ndarray) -> np.ndarray:
        """Vertices (V, 3) float32 where they came from."""
        return (vertices.astype(np.float64) / self.scale + self.centre).astype(np.float32)
