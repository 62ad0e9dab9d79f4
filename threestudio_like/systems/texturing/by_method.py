"""The ways to paint a mesh, as configurations of one system."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from ...engine.errors import ConfigError

Method = Literal["distil", "paint", "both"]
"""By distillation, by pictures of all sides on one texture, or by the latter and then the
former."""
PAINT_STEPS = 20


def by_method(config: Any, method: Method, system: str) -> Any:
    """A system's configuration with the stages of a method; distil leaves it as it is.

    Raises:
        ConfigError: the system has one way alone.
    """
    if method == "distil":
        return config
    if not hasattr(config, "paint"):
        raise ConfigError(
            f'the system "{system}" has one way to paint', f"--method {method}", "Leave it out"
        )
    paint = replace(config.paint, steps=config.paint.steps or PAINT_STEPS)
    none = replace(config.start, refine=replace(config.start.refine, times=()))
    if method == "both":
        if config.latent.steps > 0 and not config.rgb.steps:
            # A latent atlas comes before what is painted, and would be painted over: it is the
            # painted texels that the same distillation goes on from, through the encoder.
            latent = replace(config.latent, steps=0)
            config = replace(config, latent=latent, rgb=config.latent)
        return replace(config, paint=paint, start=none)
    off = {name: replace(getattr(config, name), steps=0) for name in ("latent", "rgb", "pbr")}
    return replace(config, paint=paint, start=none, **off)
