"""The placement of an object in a scene: a scale, a rotation as a quaternion, and a translation
(glTF's TRS with one scale)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


def _identity() -> np.ndarray:
    return np.array([0.0, 0.0, 0.0, 1.0])


@dataclass
class Transform:
    """x' = scale R x + translation. rotation (4,) is a unit quaternion x, y, z, w; translation is
    (3,); both are float64."""

    scale: float = 1.0
    rotation: np.ndarray = field(default_factory=_identity)
    translation: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @staticmethod
    def turn(yaw: float, scale: float = 1.0, translation: np.ndarray | None = None) -> Transform:
        """A rotation by `yaw` radians about +Y, counter-clockwise as seen from above."""
        rotation = np.array([0.0, math.sin(yaw / 2), 0.0, math.cos(yaw / 2)])
        return Transform(
            scale,
            rotation,
            np.zeros(3) if translation is None else np.asarray(translation, np.float64),
        )

    @property
    def linear(self) -> np.ndarray:
        """The rotation matrix (3, 3), without the scale."""
        return rotation_matrix(self.rotation)

    @property
    def yaw(self) -> float:
        """Angle in radians by which the front (+Z) is rotated about +Y."""
        front = self.linear[:, 2]
        return math.atan2(front[0], front[2])

    def matrix(self) -> np.ndarray:
        """The matrix (4, 4) float64."""
        out = np.eye(4)
        out[:3, :3] = self.scale * self.linear
        out[:3, 3] = self.translation
        return out

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Transform points (N, 3); returns float32."""
        return (points.astype(np.float64) @ (self.scale * self.linear).T + self.translation).astype(
            np.float32
        )

    def after(self, first: Transform) -> Transform:
        """The composition that applies `first` and then this transform."""
        return Transform(
            self.scale * first.scale,
            multiply(self.rotation, first.rotation),
            self.scale * self.linear @ first.translation + self.translation,
        )

    def angle_to(self, other: Transform) -> float:
        """Angle between the two rotations in radians, from 0 to pi."""
        inverse = np.array([-1, -1, -1, 1]) * other.rotation
        return 2 * math.acos(min(1.0, abs(float(multiply(self.rotation, inverse)[3]))))

    @staticmethod
    def of(matrix: np.ndarray, tolerance: float = 1e-3) -> Transform | None:
        """The transform of a matrix (4, 4), or None if the matrix shears, mirrors or scales its
        axes differently."""
        linear = np.asarray(matrix, np.float64)[:3, :3]
        scales = np.linalg.norm(linear, axis=0)
        scale = float(scales.mean())
        if scale < 1e-12 or np.abs(scales / scale - 1).max() > tolerance:
            return None
        rotation = linear / scale
        if (
            np.abs(rotation @ rotation.T - np.eye(3)).max() > tolerance
            or np.linalg.det(rotation) < 0
        ):
            return None
        return Transform(scale, quaternion(rotation), np.asarray(matrix, np.float64)[:3, 3].copy())


def rotation_matrix(rotation: np.ndarray) -> np.ndarray:
    """The matrix (3, 3) of a unit quaternion (4,) x, y, z, w."""
    x, y, z, w = np.asarray(rotation, np.float64) / np.linalg.norm(rotation)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """The unit quaternion (4,) x, y, z, w of a rotation matrix (3, 3), with w not negative: an
    eigenvector of Bar-Itzhack's matrix (2000)."""
    m = np.asarray(matrix, np.float64)
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    vector = np.linalg.eigh(k)[1][:, -1]
    return -vector if vector[3] < 0 else vector


def multiply(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The Hamilton product of quaternions (4,) x, y, z, w, which applies the rotation `two` and
    then `one`."""
    a, b, c, d = one
    x, y, z, w = two
    return np.array(
        [
            d * x + a * w + b * z - c * y,
            d * y - a * z + b * w + c * x,
            d * z + a * y - b * x + c * w,
            d * w - a * x - b * y - c * z,
        ]
    )
