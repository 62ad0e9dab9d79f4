"""A function's arguments as a command's options, with the checks of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ...engine.config import checked, from_dict, to_dict
from ...engine.errors import ConfigError
from ...engine.events import in_notebook
from ...engine.places import expand_paths
from ...priors.diffusion import DiffusionPrior
from ...runs.delivery import RunResult
from ...runs.options import (
    AssetOptions,
    KnownOptions,
    MethodOptions,
    MicrobatchOptions,
    PriorOptions,
    RunOptions,
)
from ..registry import carry_out

Options = TypeVar("Options", bound=Any)
PathLike = str | Path
PriorLike = str | DiffusionPrior | PriorOptions
"""A prior's name, folder or hub id, its options, or a prior made in Python."""


def build_options(
    kind: type[Options],
    run: RunOptions | None,
    *,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    known: KnownOptions | None = None,
    values: Mapping[str, Any],
    method: Mapping[str, Any],
    seed: int,
    set: Mapping[str, Any] | None,
) -> Options:
    """A command's options, checked as run.yaml is. Raises ConfigError."""
    run = quiet_by_default(run)
    groups: dict[str, Any] = {
        "asset": asset or AssetOptions(),
        "run": from_dict(RunOptions, {**to_dict(run), "seed": seed or run.seed}, "options"),
    }
    if views is not None:
        groups["views"] = views
    if known is not None:
        groups["known"] = from_dict(KnownOptions, to_dict(known), "options")
    plain = {k: v for k, v in values.items() if v is not None}
    checked: Any = from_dict(kind, plain, "options")
    chosen = from_dict(MethodOptions, {k: v for k, v in method.items() if v is not None}, "options")
    if set is not None and not isinstance(set, Mapping):
        raise ConfigError(
            f"must be a dictionary of dotted names, got a {type(set).__name__}",
            "set",
            'Write set={"distil.guidance.scale": 7}',
        )
    dotted = {str(k): _written(v) for k, v in (set or {}).items()}
    return replace(checked, method=chosen, set=dotted, **groups)


def _written(value: Any) -> str:
    """A value as it is written on the command line: numbers of a sequence with spaces between."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


def quiet_by_default(run: RunOptions | None) -> RunOptions:
    """Functions are quiet unless they are told otherwise, or in a notebook, where a line shows how
    far they are."""
    return RunOptions(quiet=not in_notebook()) if run is None else run


def run_command(command: str, options: Any, system: Any, prior: Any) -> RunResult:
    """Carry a command out, with a method or a prior by name or made in Python. Raises UserError."""
    objects: dict[str, Any] = {}
    if isinstance(system, str):
        if hasattr(options, "system"):
            options = replace(options, system=system)
    elif system is not None:
        objects["system"] = system
    if isinstance(prior, PriorOptions):
        options = replace(options, model=checked(prior, "prior"))
    elif isinstance(prior, (str, Path)):
        options = replace(options, model=replace(options.model, prior=str(prior)))
    else:
        objects["prior"] = prior
    return carry_out(command, expand_paths(options), objects)
