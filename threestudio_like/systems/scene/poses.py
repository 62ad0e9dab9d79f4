"""Poses of objects that were made elsewhere: a JSON file beside their meshes
(docs/how-to/scenes-that-stand.md has its fields)."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError, did_you_mean
from ...meshes.frames import AXES, UNITS
from ...meshes.transform import Transform, quaternion

LARGEST = 16 << 20
"""Bytes of a file of poses."""
_FILE = ("up", "front", "unit", "quaternion", "floor", "picture", "camera", "objects")
_OBJECT = ("file", "name", "translation", "rotation", "scale", "matrix")
_CAMERA = ("camera_to_world", "fov_y", "convention")
_ELSEWHERE = {
    **dict.fromkeys(("position", "location", "translate", "center", "centre"), "translation"),
    **dict.fromkeys(("orientation", "quat", "rotate"), "rotation"),
    **dict.fromkeys(("transform", "pose", "matrix_world", "object_to_world"), "matrix"),
    **dict.fromkeys(("size", "scaling"), "scale"),
    **dict.fromkeys(("mesh", "path", "uri"), "file"),
    **dict.fromkeys(("extrinsics", "c2w", "transform_matrix"), "camera_to_world"),
    **dict.fromkeys(("fov", "yfov"), "fov_y"),
}
"""What other tools call the fields."""


@dataclass
class ObjectPose:
    """One object: from its file's coordinates to the world, +Y up, metres. stretch (3,): scales of
    its own axes before that, one where they are equal. file, name: empty where none is said."""

    where: Transform
    stretch: np.ndarray
    file: str = ""
    name: str = ""


@dataclass
class PosedCamera:
    """camera_to_world (4, 4) float64 in the world of the poses, OpenGL's axes; fov_y in radians."""

    camera_to_world: np.ndarray
    fov_y: float


@dataclass
class Poses:
    """What a file of poses says, in the canonical frame. floor: its height, None where it is to be
    found. picture: a path beside the file, empty for none."""

    objects: list[ObjectPose]
    floor: float | None = None
    picture: str = ""
    camera: PosedCamera | None = None
    told: list[str] = field(default_factory=list)


def read_poses(path: Path) -> Poses:
    """Read a file of poses.

    Raises:
        InputError: missing, no JSON, unknown fields, numbers that are no pose.
    """
    where = str(path)
    if not path.is_file():
        raise InputError("there is no such file", where, "Give a JSON file of poses")
    if path.stat().st_size > LARGEST:
        raise InputError(f"is larger than {LARGEST >> 20} MiB", where, "Give a JSON file of poses")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"is no JSON ({str(error)[:80]})", where, "Write it as docs/how-to shows"
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where) from None
    return _poses(content, where)


def _poses(content: Any, where: str) -> Poses:
    if isinstance(content, list):
        content = {"objects": content}
    table = _table(content, _FILE, where)
    turn, metres = _frame(table, where)
    order = table.get("quaternion", "xyzw")
    if order not in ("xyzw", "wxyz"):
        raise InputError(
            '"quaternion" says the order of its four numbers', where, 'Write "xyzw" or "wxyz"'
        )
    rows = table.get("objects")
    if not isinstance(rows, list) or not rows:
        raise InputError('has no list "objects"', where, "Give a pose for each object")
    world = _Similarity(turn, metres)
    objects = [
        _object(row, order == "wxyz", world, f"{where}: object {number}")
        for number, row in enumerate(rows, 1)
    ]
    floor = table.get("floor")
    camera = table.get("camera")
    return Poses(
        objects,
        floor=None if floor is None else _number(floor, "floor", where) * metres,
        picture=_text(table, "picture", where),
        camera=None if camera is None else _camera(camera, world, f"{where}: camera"),
    )


@dataclass
class _Similarity:
    """From the file's world to the canonical one: p -> metres * turn @ p."""

    turn: np.ndarray
    metres: float

    def of(self, transform: Transform) -> Transform:
        own = Transform(self.metres, quaternion(self.turn))
        return own.after(transform)


def _frame(table: Mapping[str, Any], where: str) -> tuple[np.ndarray, float]:
    """The rotation (3, 3) from the file's axes to the canonical ones, and metres of its unit."""
    up = _direction(table.get("up", "y"), "up", where)
    # What looks at the viewer: +Z, or in worlds whose Z is up, as Blender's, -Y.
    usual = "z" if abs(up[2]) < 0.9 else "-y"
    front = _direction(table.get("front", usual), "front", where)
    front = front - up * (front @ up)
    if np.linalg.norm(front) < 1e-3:
        raise InputError(
            '"up" and "front" are on one line', where, "Say the axis that looks at the viewer"
        )
    front /= np.linalg.norm(front)
    unit = table.get("unit", "m")
    if isinstance(unit, str):
        if unit not in UNITS:
            raise InputError(f'"{unit[:20]}" is no unit', where, f"Known: {', '.join(UNITS)}")
        metres = UNITS[unit]
    else:
        metres = _number(unit, "unit", where)
    if not metres > 0:
        raise InputError('"unit" must be above zero', where, 'Write "m", "cm" or metres of a unit')
    return np.stack([np.cross(up, front), up, front]), metres


def _direction(value: Any, name: str, where: str) -> np.ndarray:
    if isinstance(value, str):
        if value.lstrip("+") not in AXES:
            raise InputError(
                f'"{name}" is no axis: "{value[:20]}"', where, f"Known: {', '.join(AXES)}"
            )
        return np.array(AXES[value.lstrip("+")], np.float64)
    vector = _numbers(value, (3,), name, where)
    length = float(np.linalg.norm(vector))
    if length < 1e-9:
        raise InputError(f'"{name}" has no direction', where, 'Write "y" or three numbers')
    return vector / length


def _object(row: Any, scalar_first: bool, world: _Similarity, where: str) -> ObjectPose:
    table = _table(row, _OBJECT, where)
    if "matrix" in table:
        both = [k for k in ("translation", "rotation", "scale") if k in table]
        if both:
            raise InputError(f'has "matrix" and "{both[0]}"', where, "Give one of them")
        pose, stretch = _of_matrix(_numbers(table["matrix"], (4, 4), "matrix", where), where)
    else:
        at = _numbers(table.get("translation", [0, 0, 0]), (3,), "translation", where)
        rotation = _rotation(
            table.get("rotation", [1, 0, 0, 0] if scalar_first else [0, 0, 0, 1]),
            scalar_first,
            where,
        )
        scale, stretch = _scale(table.get("scale", 1.0), where)
        pose = Transform(scale, rotation, at)
    return ObjectPose(
        world.of(pose), stretch, _text(table, "file", where), _text(table, "name", where)
    )


def _rotation(value: Any, scalar_first: bool, where: str) -> np.ndarray:
    """A unit quaternion x, y, z, w of four numbers or a matrix (3, 3)."""
    if isinstance(value, list) and len(value) == 3:
        return quaternion(_orthogonal(_numbers(value, (3, 3), "rotation", where), where))
    four = _numbers(value, (4,), "rotation", where)
    length = float(np.linalg.norm(four))
    if abs(length - 1) > 0.01:
        raise InputError(
            f'"rotation" is no unit quaternion (its length is {length:.3g})',
            where,
            "Give four numbers of length 1, or a matrix of 3 rows",
        )
    four = four / length
    return np.roll(four, -1) if scalar_first else four


def _orthogonal(matrix: np.ndarray, where: str) -> np.ndarray:
    off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if off > 0.01 or np.linalg.det(matrix) < 0:
        mirrored = off <= 0.01
        raise InputError(
            f'"rotation" is no rotation: it {"mirrors" if mirrored else "scales or shears"}',
            where,
            "Give an orthogonal matrix of determinant 1; sizes go into scale",
        )
    u, _, v = np.linalg.svd(matrix)
    return u @ v


def _scale(value: Any, where: str) -> tuple[float, np.ndarray]:
    """One scale, and what remains of three (3,)."""
    if isinstance(value, list):
        three = _numbers(value, (3,), "scale", where)
    else:
        three = np.full(3, _number(value, "scale", where))
    if not (three > 0).all():
        raise InputError(
            '"scale" must be above zero', where, "Mirrored objects have to be mirrored in the mesh"
        )
    if three.max() / three.min() < 1 + 1e-4:
        return float(three.mean()), np.ones(3)
    mean = float(np.cbrt(three.prod()))
    return mean, three / mean


def _of_matrix(matrix: np.ndarray, where: str) -> tuple[Transform, np.ndarray]:
    """A matrix (4, 4) that multiplies columns: rotation times scales of the object's axes."""
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError(
            '"matrix" has a last row that is not 0 0 0 1',
            where,
            "It multiplies columns: the translation is its last column",
        )
    linear = matrix[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    scale, stretch = _scale(lengths.tolist(), where)
    rotation = _orthogonal(linear / lengths, where)
    return Transform(scale, quaternion(rotation), matrix[:3, 3].copy()), stretch


def _camera(value: Any, world: _Similarity, where: str) -> PosedCamera:
    table = _table(value, _CAMERA, where)
    for name in ("camera_to_world", "fov_y"):
        if name not in table:
            raise InputError(f'has no "{name}"', where, "A camera has both")
    matrix = _numbers(table["camera_to_world"], (4, 4), "camera_to_world", where)
    convention = table.get("convention", "opengl")
    if convention not in ("opengl", "opencv"):
        raise InputError('"convention" is opengl (looks down -Z) or opencv (down +Z)', where)
    rotation = _orthogonal(matrix[:3, :3], where)
    if convention == "opencv":
        rotation = rotation * [1, -1, -1]
    fov = _number(table["fov_y"], "fov_y", where)
    if not 1 <= fov <= 170:
        raise InputError('"fov_y" is from 1 to 170 degrees', where, "It is the vertical angle")
    out = np.eye(4)
    out[:3, :3] = world.turn @ rotation
    out[:3, 3] = world.metres * world.turn @ matrix[:3, 3]
    return PosedCamera(out, math.radians(fov))


def _table(value: Any, known: Collection[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError("is no table of fields", where, f"Fields: {', '.join(known)}")
    for name in value:
        if name not in known:
            ours = _ELSEWHERE.get(name.lower(), "")
            remedy = f'Here it is "{ours}"' if ours in known else did_you_mean(name, known)
            raise InputError(f'has a field "{name[:40]}"', where, remedy)
    return value


def _text(table: Mapping[str, Any], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise InputError(f'"{name}" is no text', where)
    return value


def _number(value: Any, name: str, where: str) -> float:
    return float(_numbers(value, (), name, where))


def _numbers(value: Any, shape: tuple[int, ...], name: str, where: str) -> np.ndarray:
    try:
        plain = np.array(value)
        # Texts and truth values are no numbers, though NumPy would take them for some.
        if plain.dtype.kind not in "iuf":
            raise ValueError
        out = plain.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        out = np.array(np.nan)
    if out.shape != shape or not np.isfinite(out).all() or np.abs(out).max(initial=0) > 1e9:
        size = " × ".join(map(str, shape)) if shape else "one"
        raise InputError(
            f'"{name}" must be {size} finite number{"s" if shape else ""}',
            where,
            "See docs/how-to/scenes-that-stand.md",
        )
    return out
