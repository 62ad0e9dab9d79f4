"""`generate`: a prompt to an asset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..runs.options import (
    AssetOptions,
    MethodOptions,
    MicrobatchOptions,
    PriorOptions,
    RunOptions,
)

EXAMPLES = (
    'threestudio-like generate "a striped blue mug" --seed 3',
    'threestudio-like generate "a red chair" --sketch stool.obj --distil.guidance.scale 7',
)


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make a 3D asset of a prompt."""

    prompt: tyro.conf.Positional[str] = ""
    """What to make: "a red chair"."""
    system: str = "latent-nerf"
    """latent-nerf, dreamfusion, dreamgaussian, or a plug-in's; cisp, g3dr, relief and field make a
    picture of the prompt first (of none: what the prior likes)."""
    guidance: str = ""
    """Guidance that takes the place of the method's own, by name: a plug-in's, for instance."""
    sketch: Path | None = None
    """A coarse shape to follow: a mesh file, or a YAML list of primitives."""
    strictness: float | None = None
    """How closely the sketch is followed, from 0 (not at all) to 1 (its surface)."""
    refine_mesh: bool = False
    """Optimise a mesh of the shape afterwards, for flat sides and sharp edges; --mesh.steps and the
    other values of its stage are options too."""
    quality: Literal["draft", "standard", "high"] = "standard"
    """draft: fewer steps, a small texture. high: a shape by the prior's normals and a mesh stage at
    the end, and its second stage for larger pictures, where it has them (else more steps), and a
    finer surface and texture."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    model: tyro.conf.OmitArgPrefixes[PriorOptions] = field(default_factory=PriorOptions)
    asset: tyro.conf.OmitArgPrefixes[AssetOptions] = field(default_factory=AssetOptions)
    views: tyro.conf.OmitArgPrefixes[MicrobatchOptions] = field(default_factory=MicrobatchOptions)
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration by their dotted names."""


def call(options: Generate, **objects: Any) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.generate import generate

    return generate(options, **objects)
