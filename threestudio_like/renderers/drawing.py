"""The renderers of fields by name: each kind of field says which one draws it (`drawn_by`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..engine.errors import ConfigError
from ..representations.representation import Representation
from .splats import SplatConfig, SplatRenderer
from .volume import VolumeConfig, VolumeRenderer

FieldRenderer = VolumeRenderer | SplatRenderer

RENDERERS: Mapping[str, Callable[[VolumeConfig, int | None], Any]] = {
    "volume": VolumeRenderer,
    "splats": lambda config, chunk: SplatRenderer(SplatConfig(normals=config.normals), chunk),
}
"""By `Representation.drawn_by`; each is made of the configuration of a stage's renderer, as far as
that means anything to it, and the samples that are held at once."""


def renderer_for(
    representation: Representation, config: VolumeConfig, chunk: int | None = None
) -> Any:
    """The renderer of a representation.

    Args:
        config: of the stage's renderer.
        chunk: samples (of Gaussians: projected ones) at once; `config.chunk` where it is None.
    """
    make = RENDERERS.get(representation.drawn_by)
    if make is None:
        raise ConfigError(
            f'nothing draws "{representation.drawn_by}"',
            f"{type(representation).__name__}.drawn_by",
            f"One of: {', '.join(RENDERERS)}",
        )
    return make(config, chunk)
