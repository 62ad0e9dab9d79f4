"""A function's arguments as a command's options, with the checks of the command line."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...engine.config import from_dict, to_dict
from ...engine.errors import ConfigError
from ...engine.events import in_notebook
from ...engine.places import expand_paths
from ...engine.turns import working
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
from ...runs.written import written_options
from ...systems.system import VERBS
from ..parsing import flags_of
from ..registry import carry_out

Options = TypeVar("Options", bound=Any)
Group = TypeVar("Group", bound=Any)
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
    run = quiet_by_default(group(RunOptions, run, "run"))
    # 0 is what nobody has said.
    chosen_seed = {} if np.ndim(seed) == 0 and seed == 0 else {"seed": seed}
    groups: dict[str, Any] = {
        "asset": group(AssetOptions, asset, "asset") or AssetOptions(),
        "run": from_dict(RunOptions, {**to_dict(run), **chosen_seed}, "options"),
    }
    if views is not None:
        groups["views"] = group(MicrobatchOptions, views, "views")
    if known is not None:
        groups["known"] = group(KnownOptions, known, "known")
    plain = listed(kind, {k: v for k, v in values.items() if v is not None})
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


def group(kind: type[Group], given: Any, name: str) -> Group | None:
    """A group of options that is an argument, checked as those of run.yaml are. Raises
    ConfigError."""
    if given is None:
        return None
    if not isinstance(given, kind):
        raise ConfigError(
            f"must be {kind.__name__}, got {_named(given)}", name, f"Write {name}={kind.__name__}()"
        )
    return from_dict(kind, listed(kind, to_dict(given)), name)


def listed(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a class of options; one text or path of an option that takes several of them is a
    list of one, for it may hold spaces."""
    several = {n[2:] for n, hint in flags_of(kind).items() if _takes_texts(hint)}
    one = {k for k, v in values.items() if k.replace("_", "-") in several}
    return {k: [v] if k in one and isinstance(v, (str, Path)) else v for k, v in values.items()}


def _takes_texts(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and bool({str, Path} & set(typing.get_args(hint)))


def _named(given: Any) -> str:
    """What somebody gave, in words."""
    return f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"


def _check_objects(command: str, system: Any, prior: Any) -> None:
    """Raise ConfigError where a system or a prior that is no name is not an object of its kind."""
    if system is not None and not isinstance(system, str):
        task = None if isinstance(system, type) else getattr(system, "task", None)
        if task is None:
            raise ConfigError(
                f"must be a name or a configuration, got {_named(system)}",
                "system",
                'Write system="latent-nerf" or system=LatentNerf()',
            )
        # A painting may be refined by its own system.
        wanted = (VERBS[command], *(("texturing",) if command == "refine" else ()))
        if task not in wanted:
            raise ConfigError(
                f"is a configuration for {task}, and {command} wants one for {wanted[0]}",
                "system",
                f"Leave it out for the default of {command}",
            )
    if prior is None and command == "refine":
        return
    if not isinstance(prior, (str, Path, PriorOptions, DiffusionPrior)):
        raise ConfigError(
            f"must be a name, a folder, PriorOptions or a prior, got {_named(prior)}",
            "prior",
            'Write prior="toybox", or load_prior(...)',
        )


def as_path(given: Any, name: str) -> Path:
    """A path that is an argument. Raises ConfigError."""
    if not isinstance(given, (str, Path)) or not str(given):
        raise ConfigError(f"must be a path, got {_named(given)}", name, f'Write {name}="…"')
    return Path(given)


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
    """Carry a command out, with a method or a prior by name or made in Python; None as the prior of
    a refinement is that of its run. Raises UserError."""
    _check_objects(command, system, prior)
    objects: dict[str, Any] = {}
    if isinstance(system, str):
        if hasattr(options, "system"):
            options = replace(options, system=system)
    elif system is not None:
        objects["system"] = system
    if isinstance(prior, PriorOptions):
        options = replace(options, model=group(PriorOptions, prior, "prior"))
    elif isinstance(prior, (str, Path)):
        options = replace(options, model=replace(options.model, prior=str(prior)))
    elif prior is not None:
        objects["prior"] = prior
    names = {"prior"} if isinstance(prior, (str, Path)) else set()
    # Runs in several threads of a process load their models one after the other.
    with working(), written_options(type(options), names):
        return carry_out(command, expand_paths(options), objects)
