"""`--quality`: what a draft leaves out of a method's preset, and what high quality adds. Whatever
the user says of the same value comes after it, and wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ..engine.config import dotted, set_dotted
from ..engine.events import Events
from ..priors.diffusion import DiffusionPrior
from ..stages.distilling import DistillingConfig
from .configure import distilling, with_mesh

Config = TypeVar("Config")
Quality = Literal["draft", "standard", "high"]


@dataclass(frozen=True, kw_only=True)
class QualityOfAsset:
    """How an asset is made: its texture in pixels, and points along an edge of the grid of its
    surface as a multiple of the method's."""

    texture: int
    grid: float = 1.0


ASSETS: dict[str, QualityOfAsset] = {
    "draft": QualityOfAsset(texture=256),
    "standard": QualityOfAsset(texture=512),
    "high": QualityOfAsset(texture=1024, grid=1.5),
}
DRAFT, LONGER = 0.4, 1.5
"""Share of the steps of a draft, and of high quality where the prior has no second stage."""


def with_quality(config: Config, quality: Quality, prior: DiffusionPrior, events: Events) -> Config:
    """A preset's configuration in a quality; the same for "standard".

    draft: fewer steps of every distilling stage. high: a prior that knows normals shows the shape
    by them, and a mesh is optimised at the end; stages that go through the encoder ask the prior's
    network for the largest pictures; where it has neither, which is said, more steps.
    """
    stages = distilling(config)
    if quality == "standard":
        return config
    if not stages:
        events.say(f"Quality {quality}: this method distils nothing; the asset alone is changed.")
        return config
    if quality == "draft":
        return _longer(config, stages, DRAFT)
    facts, own = prior.facts, config
    sizes = [size for size in facts.larger if size > facts.image_size]
    seen = [name for name in stages if own.encodes(name)]  # type: ignore[attr-defined]
    shaped = own.SHAPED if "normal" in facts.domains else {}  # type: ignore[attr-defined]
    if shaped:
        config = _shaped(config, shaped)
        events.say(
            "Quality high: the prior shows the shape by its normals too, and a mesh of it is "
            "optimised at the end."
        )
    if sizes and seen and not facts.controls:
        events.say(
            f"Quality high: {' and '.join(seen)} ask the prior's network for pictures of "
            f"{sizes[-1]} pixels."
        )
        return _sized(config, sizes[-1])
    if shaped:
        return config
    why = (
        "its second stage is controlled by no pictures"
        if sizes and facts.controls
        else "no stage goes through its encoder"
        if sizes
        else "it has no second stage"
    )
    events.say(
        f"Quality high: of the prior, {why}: {LONGER:g} times the steps, and a finer surface and "
        "texture instead."
    )
    return _longer(config, stages, LONGER)


def _shaped(config: Any, weights: Mapping[str, float]) -> Any:
    """A configuration with the guidance by normals at these weights, by dotted name, and with the
    stages on that they are of. What a preset has of them already stays."""
    have = dotted(config)
    for key, weight in weights.items():
        name = key.split(".")[0]
        if name == "mesh" and not config.mesh.steps:
            config = with_mesh(config)
        if have.get(key, 0) in (0, "0"):
            config = set_dotted(config, key, str(weight))
    return config


def _longer(config: Any, stages: dict[str, DistillingConfig], factor: float) -> Any:
    changed = {
        name: replace(stage, steps=max(1, round(factor * stage.steps)))
        for name, stage in stages.items()
    }
    return replace(config, **changed)


def _sized(config: Any, size: int) -> Any:
    """Every stage that goes through the encoder with pictures of a size, also those that are
    switched on later (--refine-mesh)."""
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    changed = {
        name: replace(value, picture_size=size)
        for name, value in values.items()
        if isinstance(value, DistillingConfig) and config.encodes(name)
    }
    return replace(config, **changed)


def quality_of(options: Any) -> QualityOfAsset:
    """How a command's asset is made, without what the user says of it."""
    return ASSETS[getattr(options, "quality", "standard")]
