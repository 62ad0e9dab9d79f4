"""Coordinate frames: the axes and the unit of length of a file, and the normalisation of a mesh.

Inside this package every mesh is in the canonical frame: +Y up, +Z front, metres (glTF's frame).
"""

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
    """The axes of a file that point up and to the front ("y", "-z", …), and its unit of length.

    An OBJ that Blender wrote with Z up is `Frame("z", "-y")`. Raises ConfigError for an unknown
    axis or unit, and if up and front are on the same axis.
    """

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
                f'up "{self.up}" and front "{self.front}" are on the same axis',
                "--front",
                "Choose another axis",
            )

    def rotation(self) -> np.ndarray:
        """Rotation matrix (3, 3) float64 of determinant 1 with p_canonical = rotation @ p_file.

        Its rows are the canonical x, y and z axes, expressed in the frame of the file.
        """
        up, front = (np.array(AXES[a.lstrip("+")], np.float64) for a in (self.up, self.front))
        return np.stack([np.cross(up, front), up, front])

    @property
    def metres(self) -> float:
        """Length of one unit of the file, in metres."""
        return UNITS[self.unit]

    @property
    def plain(self) -> bool:
        """Whether this frame is the canonical one, so that nothing has to be converted."""
        return self.metres == 1.0 and bool((self.rotation() == np.eye(3)).all())


CANONICAL = Frame()


def turned(mesh: Mesh, rotation: np.ndarray, scale: float) -> Mesh:
    """Map the vertices of a mesh by p -> scale * rotation @ p, and rotate its normals with them."""
    points = (mesh.vertices.astype(np.float64) @ rotation.T * scale).astype(np.float32)
    normals = None if mesh.normals is None else (mesh.normals @ rotation.T).astype(np.float32)
    return replace(mesh, vertices=np.ascontiguousarray(points), normals=normals)


def moved(asset: Asset, rotation: np.ndarray, scale: float) -> Asset:
    """Map an asset by p -> scale * rotation @ p. The nodes of a scene are flattened into their
    meshes."""
    motion = np.eye(4)
    motion[:3, :3] = scale * rotation
    return replace(
        asset,
        meshes={k: turned(m, rotation, scale) for k, m in asset.meshes.items()},
        nodes={},
        simulation=None,
        motion=motion @ asset.motion,
        offset=motion[:3, :3] @ asset.offset,
    )


def to_canonical(asset: Asset, frame: Frame) -> Asset:
    """Convert an asset from `frame` into the canonical frame.

    The nodes of a scene are flattened into their meshes if the two frames differ.
    """
    if frame.plain:
        return asset
    return moved(asset, frame.rotation(), frame.metres)


def from_canonical(asset: Asset, frame: Frame) -> Asset:
    """Convert an asset from the canonical frame into `frame`, as it is written to a file.

    The nodes of a scene are flattened into their meshes if the two frames differ.
    """
    if frame.plain:
        return asset
    return moved(asset, frame.rotation().T, 1 / frame.metres)


@dataclass(frozen=True)
class Normalisation:
    """The similarity p_normalised = (p - centre) * scale, with centre (3,) float64."""

    centre: np.ndarray
    scale: float

    @staticmethod
    def of(vertices: np.ndarray, radius: float = 0.95) -> Normalisation:
        """Move the centre of the bounding box of vertices (V, 3) to the origin and scale the
        farthest vertex to the distance `radius`."""
        points = vertices.astype(np.float64)
        centre = (points.min(0) + points.max(0)) / 2
        return Normalisation(
            centre, radius / max(float(np.linalg.norm(points - centre, axis=1).max()), 1e-30)
        )

    @staticmethod
    def of_mean(
        vertices: np.ndarray, radius: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> Normalisation:
        """Move the mean of vertices (V, 3) to `shift` and scale the largest distance from it to
        `radius` (METHODS 1.10, 1.11)."""
        points = vertices.astype(np.float64)
        centre = points.mean(0)
        scale = radius / max(float(np.linalg.norm(points - centre, axis=1).max()), 1e-30)
        return Normalisation(centre - np.asarray(shift) / scale, scale)

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """Normalise vertices (V, 3); returns float32."""
        return ((vertices.astype(np.float64) - self.centre) * self.scale).astype(np.float32)

    def undo(self, vertices: np.ndarray) -> np.ndarray:
        """Map normalised vertices (V, 3) back to where they came from; returns float32."""
        return (vertices.astype(np.float64) / self.scale + self.centre).astype(np.float32)
