"""`reconstruct`: a picture to an asset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..runs.options import AssetOptions, MethodOptions, PriorOptions, RunOptions

EXAMPLES = (
    "threestudio-like reconstruct photo.png",
    'threestudio-like reconstruct photo.png --method field --prompt "a red chair"',
)


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Make a 3D asset of one picture of an object."""

    picture: tyro.conf.Positional[Path] = Path("picture.png")
    """PNG, JPEG, WebP, with alpha or without."""
    system: Annotated[str, tyro.conf.arg(name="method")] = "auto"
    """cisp: a CISP embedding guides voxel diffusion. g3dr: a generator makes a triplane of the
    picture and its depth. field: a field is optimised for this picture. A plug-in's name. auto: the
    one that measures best on this prior."""
    prompt: str = ""
    """What the picture shows; guides what is painted where the picture does not show the object.
    Guessed by default."""
    refine_mesh: bool = False
    """Optimise a mesh of the shape afterwards, for flat sides and sharp edges; --mesh.steps and the
    other values of its stage are options too."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    model: tyro.conf.OmitArgPrefixes[PriorOptions] = field(default_factory=PriorOptions)
    asset: tyro.conf.OmitArgPrefixes[AssetOptions] = field(default_factory=AssetOptions)
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration by their dotted names."""


def call(options: Reconstruct, **objects: Any) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.reconstruct import reconstruct

    return reconstruct(options, **objects)
