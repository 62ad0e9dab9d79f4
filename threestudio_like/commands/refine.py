"""`refine`: a finished run, refined in RGB."""

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
    "threestudio-like refine outputs/latest",
    "threestudio-like refine outputs/latest --steps 300 --out finer",
)


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Refine a finished run in RGB: distillation through the encoder, from the field or the texture
    that the run ended with."""

    source: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of the run to refine."""
    prompt: str = ""
    """What it should look like (default: the run's prompt)."""
    refine_mesh: bool = False
    """Optimise a mesh of the shape afterwards, for flat sides and sharp edges; with --rgb.steps 0,
    instead."""
    quality: Literal["draft", "standard", "high"] = "standard"
    """draft: fewer steps, a small texture. high: the prior's second stage, for larger pictures,
    where it has one (else more steps), and a finer surface and texture."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    model: tyro.conf.OmitArgPrefixes[PriorOptions] = field(default_factory=PriorOptions)
    asset: tyro.conf.OmitArgPrefixes[AssetOptions] = field(default_factory=AssetOptions)
    views: tyro.conf.OmitArgPrefixes[MicrobatchOptions] = field(default_factory=MicrobatchOptions)
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration by their dotted names."""


def call(options: Refine, **objects: Any) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.refine import refine

    return refine(options, **objects)
