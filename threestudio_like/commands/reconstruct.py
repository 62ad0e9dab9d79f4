"""`reconstruct`: a picture to an asset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..runs.options import AssetOptions, KnownOptions, MethodOptions, PriorOptions, RunOptions

EXAMPLES = (
    "threestudio-like reconstruct photo.png",
    "threestudio-like reconstruct front.jpg side.jpg --azimuths 0 90 --height 0.8m",
)


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Make a 3D asset of one picture of an object, or of several photos of it."""

    picture: tyro.conf.Positional[Path] = Path("picture.png")
    """PNG, JPEG, WebP, AVIF, TIFF, GIF, HEIC, … (docs/pictures.md), with alpha or without; or a
    folder of photos of one object."""
    further: tyro.conf.Positional[tuple[Path, ...]] = ()
    """More photos of the same object, from other sides."""
    system: Annotated[str, tyro.conf.arg(name="method")] = "auto"
    """cisp: a CISP embedding guides voxel diffusion. g3dr: a generator makes a triplane of the
    picture and its depth. relief: outline, depth and round sections are optimised for this picture
    or several, whatever it shows. field: a field is optimised for this picture. A plug-in's name.
    auto: cisp where its shape fits, else relief."""
    prompt: str = ""
    """What the picture shows; guides what is painted where the picture does not show the object.
    Guessed by default, where the embedded world surely knows it."""
    mask: Path | None = None
    """What the object is: a picture of the same size, white on black or with alpha."""
    box: str = ""
    """Where the object is, pixels: --box 10,20,90,120."""
    pick: bool = False
    """Click the object in the browser instead."""
    segmenter: str = ""
    """Cuts the object out: a name (sam-vit-base, rembg:birefnet-general, …), a folder or hub id of
    transformers. By default the picture's alpha, or the embedded one."""
    refine_mesh: bool = False
    """Optimise a mesh of the shape afterwards, for flat sides and sharp edges; --mesh.steps and the
    other values of its stage are options too."""
    known: tyro.conf.OmitArgPrefixes[KnownOptions] = field(default_factory=KnownOptions)
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
