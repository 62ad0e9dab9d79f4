"""The JSON files beside a model's weights, read with the check that all settings go through."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from ..engine.config import from_dict
from ..engine.errors import ConfigError, ModelError
from ..engine.schema.bounds import Bounds, FieldOfView, Number, Positive, Share

T = TypeVar("T", bound=Any)
Row = tuple[float, float, float, float]
Beta = Annotated[float, Bounds(low=0, high=0.9999, above=True)]
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
class PriorRecord:
    """prior.json: what the configurations of the networks do not tell."""

    camera: CameraRecord | None = None
    light: tuple[Row, Row, Row, Row] | None = None
    joint_views: Number = 1
    vocabulary: tuple[str, ...] | None = None
    licence: str = "see the model's page"
    territory: str = "see the model's page"


@dataclass(frozen=True, kw_only=True)
class SchedulerRecord:
    """The numbers of a diffusers scheduler that a noise schedule is made of."""

    beta_schedule: str = "scaled_linear"
    beta_start: Beta = 0.00085
    beta_end: Beta = 0.012
    num_train_timesteps: Annotated[int, Bounds(low=2, high=1_000_000)] = 1000
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "leading"
    """The times at which a sampler evaluates: Lin et al. 2023, table 2."""
    steps_offset: Annotated[int, Bounds(low=0, high=1000)] = 0
    set_alpha_to_one: bool = True
    prediction_type: Literal["epsilon", "v_prediction", "sample", "flow"] = "epsilon"


@dataclass(frozen=True, kw_only=True)
class UnetRecord:
    """What the adapter has to know of a UNet."""

    in_channels: Number | None = None
    sample_size: Annotated[int, Bounds(low=1, high=4096)] = 64
    class_embed_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecord:
    """What the adapter has to know of an autoencoder."""

    latent_channels: Annotated[int, Bounds(low=1, high=1024)] = 4
    scaling_factor: Positive = 0.18215
    shift_factor: float | None = None
    block_out_channels: tuple[Number, ...] = field(default_factory=lambda: (128, 256, 512, 512))


def read_json(path: Path) -> dict[str, Any]:
    """The keys of a JSON file. Raises ModelError on one that is damaged."""
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError("is too large to be a configuration", str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelError("the configuration is damaged", str(path), "Download the model again")
    return content


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
