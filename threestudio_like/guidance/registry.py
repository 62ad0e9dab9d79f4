"""The guidances by name. A new one is one file:

    @guidance("mine", "one line", config=MyConfig)
    class Mine(Guidance):
        def __init__(self, context: GuidanceContext, config: MyConfig): ...
        def __call__(self, rendering, inputs): ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.guidance". It is weighted into every distilling stage by
``--guidance.mine.weight 0.1 --guidance.mine.scale 3``, into one stage by
``--rgb.guidances.mine.weight 0.1``, and takes the place of score distillation by ``--guidance
mine``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from ..engine.random import RandomStream
from ..engine.registry import Registry
from ..priors.diffusion import PLAIN_CAMERAS, CameraProtocol, DiffusionPrior, Reference
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from ..representations.representation import Representation
from .guidance import Guidance

B = TypeVar("B", bound=Callable[..., Guidance])


@dataclass(frozen=True, kw_only=True)
class GuidanceContext:
    """What a guidance is built for.

    Attributes:
        stage: its name.
        prompt: what is made.
        prior: the run's diffusion prior.
        encode: whether renderings are RGB pictures, which the prior's encoder takes; otherwise they
            are its latents.
        decode: features (..., C) -> display RGB (..., 3) in [0, 1].
        representation: what is optimised.
        render: draws it from cameras of the guidance's own before zero features.
        seed: of the run.
        reference: a picture of the object, where the method has one.
    """

    stage: str
    prompt: str
    prior: DiffusionPrior
    encode: bool
    decode: Callable[[torch.Tensor], torch.Tensor]
    representation: Representation
    render: Callable[[Cameras, RandomStream | None], Rendering]
    seed: int = 0
    reference: Reference | None = None

    @property
    def protocol(self) -> CameraProtocol:
        """The cameras that the prior knows."""
        return self.prior.facts.camera or PLAIN_CAMERAS


Moved = Literal["volume", "splats", "mesh", "colours", "scene"]
"""What a stage optimises: a field by how it is drawn, a surface, a surface's colours alone, or
where the objects of a scene are."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is known, before a run begins, of what a guidance will be built for.

    Attributes:
        prior, encode: see `GuidanceContext`; None for a prior that is not loaded yet.
        moves: what the stage optimises; None where that is not known yet.
        reference: whether there will be a picture of the object; None where that is not known.
    """

    prior: DiffusionPrior | None
    encode: bool
    moves: Moved | None = None
    reference: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a guidance asks of memory beside what score distillation by the run's prior does.

    Attributes:
        prior: that works; the run's own, or another one.
        entries: of its denoiser's batch a view, without a gradient.
        encodes: whether renderings go through its autoencoder.
        trained: makes what is trained beside its denoiser, see `networks.low_rank.LowRank`.
        trained_entries: of a batch a view in training.
    """

    prior: DiffusionPrior
    entries: int = 0
    encodes: bool = False
    trained: Callable[[nn.Module], nn.Module] | None = None
    trained_entries: int = 0


@dataclass(frozen=True, kw_only=True)
class GuidanceKind:
    """A kind of guidance: one line about it, the dataclass of its configuration, what builds it,
    where it has networks of its own, what these ask of memory (given the run's prior), and what
    raises, before a run begins, where it could not be built: a file that is not there, a prior or a
    stage that does not suit it."""

    summary: str
    config: type
    build: Callable[[GuidanceContext, Any], Guidance]
    beside: Callable[[DiffusionPrior, Any], Beside] | None = None
    check: Callable[[Subject, Any], None] | None = None


GUIDANCES: Registry[GuidanceKind] = Registry(
    "guidance",
    "threestudio_like.guidance",
    GuidanceKind,
    built_in={
        name: f"threestudio_like.guidance.{file}:{name.upper().replace('-', '_')}"
        for name, file in {
            "score-distillation": "kinds",
            "spatial": "kinds",
            "sketch": "kinds",
            "clip": "kinds",
            "reference": "kinds",
            "depth": "kinds",
            "opacity": "kinds",
            "normals": "normals",
            "second-prior": "second_prior",
            "vsd": "variational",
        }.items()
    },
)


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """Of a guidance that has nothing to set but its weight."""


def guidance(
    name: str,
    summary: str,
    *,
    config: type = NoConfig,
    beside: Callable[[DiffusionPrior, Any], Beside] | None = None,
    check: Callable[[Subject, Any], None] | None = None,
) -> Callable[[B], B]:
    """Register what is decorated, a class or function of (`GuidanceContext`, configuration), as a
    kind of guidance; `beside` says what networks of its own ask of memory, and `check` raises where
    it could not be built, before anything begins."""

    def register(build: B) -> B:
        kind = GuidanceKind(summary=summary, config=config, build=build, beside=beside, check=check)
        GUIDANCES.add(name, kind)
        return build

    return register
