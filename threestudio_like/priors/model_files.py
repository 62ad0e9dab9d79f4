"""The JSON files beside a model's weights, read with the check that all settings go through."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..engine.config import convert, from_dict
from ..engine.errors import ConfigError, ModelError
from ..engine.schema.bounds import FieldOfView, Number, Positive, Share
from ..engine.text import parse_json

T = TypeVar("T", bound=Any)
Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
Row = tuple[float, float, float, float]
LARGEST = 16 << 20
"""Bytes of a JSON file that is read."""


@dataclass(frozen=True, kw_only=True)
class CameraRecord:
    """The cameras that a prior knows: scene units, degrees, grey levels."""

    distance: Positive
    fov_y: FieldOfView
    elevation: tuple[float, float]
    background: tuple[Share, Share]


@dataclass(frozen=True, kw_only=True)
class NormalsRecord:
    """What a prior's pictures of normals are: n drawn as (n + 1) / 2 before the background."""

    space: Literal["world", "camera"] = "world"
    """The axes of n: the scene's (+X right, +Y up, +Z the front), or the camera's (x to the right,
    y up, z to the viewer)."""
    only: bool = False
    """Whether all its pictures show normals, and none colours."""


@dataclass(frozen=True, kw_only=True)
class PriorRecord:
    """prior.json: what the configurations of the networks do not tell."""

    camera: CameraRecord | None = None
    light: tuple[Row, Row, Row, Row] | None = None
    camera_vector: tuple[str, ...] | None = None
    """The numbers of the UNet's class embedding in their order (`model_folder.CAMERA_NUMBERS`)."""
    ray_maps: bool | None = None
    """Whether the UNet's six further channels are ray maps (`Cameras.ray_maps`); None where a
    camera is described."""
    ray_axes: tuple[Axis, Axis, Axis] = ("x", "y", "z")
    """Which of our axes are those of the ray maps: ("x", "-z", "y") where +Z is up and the front
    looks along -Y."""
    joint_views: Number = 1
    normals: NormalsRecord | None = None
    """Its pictures of normals, if it makes any."""
    larger: dict[str, Number] = field(default_factory=dict)
    """Folders beside `unet` of further UNets, or of LoRAs for it, each with the size in pixels of
    its pictures."""
    pose: Literal["zero123", "stable-zero123"] | None = None
    """Which numbers of a camera a Zero123 is told."""
    vocabulary: tuple[str, ...] | None = None
    world: str = "twenty"
    """The edition of the toybox that a closed vocabulary belongs to."""
    licence: str = "see the model's page"
    territory: str = "see the model's page"


def read_json(path: Path) -> dict[str, Any]:
    """The keys of a JSON file. Raises ModelError on one that is damaged, or has a key twice."""
    reason = ""
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError("is too large to be a configuration", str(path))
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        content, text = None, str(error)
        reason = f" ({text})" if text.endswith("is there twice") else ""
    if not isinstance(content, dict):
        remedy = "Keep one of the two" if reason else "Download the model again"
        raise ModelError(f"the configuration is damaged{reason}", str(path), remedy)
    return content


def number_in(path: Path, key: str, default: int) -> int:
    """A whole number of 1 and more in a JSON file, `default` where it has none. Raises
    ModelError."""
    value = read_json(path).get(key, default)
    try:
        return convert(value, Number, key, str(path))
    except ConfigError as problem:
        raise ModelError(problem.what, problem.where, "Download the model again") from None


def record(kind: type[T], values: dict[str, Any], path: Path, strict: bool = False) -> T:
    """A record of a file's values.

    Args:
        strict: whether keys that the record does not have are errors; a file of another library
            holds more than is read.

    Raises:
        ModelError: a value of the wrong type or out of its range.
    """
    names = {f.name for f in fields(kind)}
    wanted = values if strict else {k: v for k, v in values.items() if k in names}
    try:
        return from_dict(kind, wanted, str(path))
    except ConfigError as problem:
        raise ModelError(
            problem.what, problem.where, problem.remedy or "Correct it, or download the model again"
        ) from None
