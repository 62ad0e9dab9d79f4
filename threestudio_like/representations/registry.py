"""The kinds of fields by name. A new one is one file:

    @representation("mine", "one line", config=MyConfig)
    class MyField(Field):
        def __init__(self, config: MyConfig, request: FieldRequest): ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.representations".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ..engine.registry import Registry
from .field import Field

B = TypeVar("B", bound=Callable[..., Field])


@dataclass(frozen=True, kw_only=True)
class FieldRequest:
    """What a field is made for.

    Attributes:
        channels: C of its features.
        seed: of its first weights.
        features: (C,) to begin with, for kinds that hold features themselves; None for zero.
        display: whether the features are display RGB, in [0, 1].
    """

    channels: int
    seed: int = 0
    features: torch.Tensor | None = None
    display: bool = False


@dataclass(frozen=True, kw_only=True)
class RepresentationKind:
    """A kind of field: one line about it, the dataclass of its configuration, and what builds
    it."""

    summary: str
    config: type
    build: Callable[[Any, FieldRequest], Field]


REPRESENTATIONS: Registry[RepresentationKind] = Registry(
    "representation",
    "threestudio_like.representations",
    RepresentationKind,
    built_in={
        "voxels": "threestudio_like.representations.config:VOXELS",
        "hash": "threestudio_like.representations.config:HASH",
        "triplane": "threestudio_like.representations.config:TRIPLANE",
        "gaussians": "threestudio_like.representations.config:GAUSSIANS",
    },
)


def representation(name: str, summary: str, *, config: type) -> Callable[[B], B]:
    """Register what is decorated, a class or function of (configuration, `FieldRequest`), as a kind
    of field."""

    def register(build: B) -> B:
        REPRESENTATIONS.add(name, RepresentationKind(summary=summary, config=config, build=build))
        return build

    return register
