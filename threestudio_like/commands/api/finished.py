"""Finished runs and priors: `export`, `evaluate`, `open_run`, `load_prior`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engine.config import from_dict
from ...engine.errors import ConfigError
from ...engine.turns import working
from ...priors.diffusion import DiffusionPrior
from ...runs.delivery import RunResult
from ...runs.options import PriorOptions
from ..evaluate import Evaluate
from ..export import Export
from .options import PathLike, as_path, listed

_DEVICES = "Give the name of a device, as `threestudio-like doctor` lists them"


def export(
    source: PathLike | RunResult,
    to: Sequence[str] = ("glb",),
    *,
    texture: int = 0,
    faces: int = 0,
    out: PathLike | None = None,
    verify: bool = False,
    force: bool = False,
    physics: bool = False,
    density: float | Mapping[str, float] | None = None,
    friction: float = 0.7,
    pieces: str = "auto",
    extent: str = "",
    settle: bool = False,
) -> list[Path]:
    """Write a run's asset, or a mesh file, in other formats; returns the files.

    Args:
        texture: largest texture size in pixels; faces: budget of the whole asset; 0 for no limit.
        physics: rigid bodies in USD too; "mjcf" always has them. density: kg / m³ of all, or of
            objects by name. friction, pieces ("auto", "coacd", "hull"), extent ("40cm"), settle: of
            rigid bodies, see the command.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from ..jobs.export import write_formats

    folder = source.folder if isinstance(source, RunResult) else source
    values = {
        "source": folder,
        "to": to,
        "texture": texture,
        "faces": faces,
        "out": out,
        "verify": verify,
        "force": force,
        "physics": physics,
        "density": _density_texts(density),
        "friction": friction,
        "pieces": pieces,
        "extent": extent,
        "settle": settle,
    }
    options = from_dict(Export, values, "options")
    return [path for path, _ in write_formats(options)]


def _density_texts(density: float | Mapping[str, float] | None) -> tuple[str, ...]:
    """Densities as the command line has them."""
    if density is None:
        return ()
    if isinstance(density, Mapping):
        return tuple(f"{name}={value}" for name, value in density.items())
    return (str(density),)


@working()
def evaluate(
    source: PathLike | RunResult,
    *,
    prompt: str = "",
    truth: PathLike | None = None,
    instances: int = 200,
) -> dict[str, Any]:
    """Measure an asset: judge, CLIP, silhouettes, consistency, Janus index; with a true mesh also
    the geometry. Returns the figures by name.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from ...metrics.evaluation import evaluate as measure
    from ...runs.options import check_numbers

    folder = source.folder if isinstance(source, RunResult) else source
    values = {"source": folder, "prompt": prompt, "truth": truth, "instances": instances}
    options = from_dict(Evaluate, values, "options")
    check_numbers({"instances": options.instances})
    return measure(options.source, options.prompt, options.truth, count=options.instances)


@working()
def open_run(folder: PathLike, *, prior: DiffusionPrior | None = None) -> Any:
    """The model (field, renderer, background) that a run of `generate` or `refine` ended with.

    Args:
        prior: of the run, where it was made in Python; by default the one that the run names.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from ..jobs.opening import open_model

    return open_model(as_path(folder, "folder"), prior)


def load_prior(name: str | PathLike, *, device: str = "", **options: Any) -> DiffusionPrior:
    """A prior by name ("toybox", "sd-1.5", a plug-in's), folder or hub id.

    Args:
        device: "cpu" (the default), "cuda", "cuda:1" or "mps".
        options: fields of `PriorOptions` (dtype, concept, ...).

    Raises:
        ModelError, ConfigError: with what is wrong, where, and what to do.
    """
    from ...kernels import devices
    from ...runs.prior import load_prior as load

    chosen = from_dict(
        PriorOptions,
        {"prior": str(as_path(name, "name")), **listed(PriorOptions, options)},
        "options",
    )
    if not isinstance(device, str):
        raise ConfigError(f"must be a text, got a {type(device).__name__}", "device", _DEVICES)
    return load(chosen, devices.settle(device or devices.MAIN))
