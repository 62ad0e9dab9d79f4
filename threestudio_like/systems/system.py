"""The one contract of a system, a published method, for every task: text to 3D, texturing, image to
3D, scenes and the refinement of a run."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from ..engine.errors import ConfigError
from ..engine.limits import Limits
from ..engine.loop import Stage, StagePlan
from ..priors.diffusion import PLAIN_CAMERAS, CameraProtocol, DiffusionPrior
from ..stages.distilling import DistillingConfig

Task = Literal["text-to-3d", "texturing", "image-to-3d", "scene", "refinement"]

VERBS: Mapping[str, Task] = {
    "generate": "text-to-3d",
    "texture": "texturing",
    "reconstruct": "image-to-3d",
    "compose": "scene",
    "refine": "refinement",
}
"""The task of every command that runs a system."""

T = TypeVar("T")


@dataclass
class Request:
    """What a system is asked for; tasks add what they are given besides.

    Attributes:
        prompt: what is made.
        prior: the diffusion prior that knows it.
        seed: of all random numbers.
        objects: how many the prompt names.
        limits: what is done at once, where a memory plan says so.
    """

    prompt: str
    prior: DiffusionPrior
    seed: int = 0
    objects: int = field(default=1, kw_only=True)
    limits: Limits = field(default_factory=Limits, kw_only=True)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def protocol(self) -> CameraProtocol:
        """The cameras by which the asset is shown."""
        return self.prior.facts.camera or PLAIN_CAMERAS

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several stages of a run, or its stages and its result, share: made when it is first
        asked for. It must follow from the request alone, for a run that is resumed makes it
        again."""
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]


R = TypeVar("R", bound=Request, contravariant=True)
M = TypeVar("M", covariant=True)


class System(ABC, Generic[R, M]):
    """A published method. Its instance is its configuration: a frozen dataclass of values.

    A run asks it in this order: `check`, `with_steps` and `with_resolution` where the user gave
    them, `plans`, and when the stages are done `result`.

    What `request` and `result` are follows from the task:

    =============  =======================  ===========================================
    task           request                  result
    =============  =======================  ===========================================
    text-to-3d     `Request`                `stages.model.AssetModel`
    texturing      `texturing.PaintRequest` `stages.painting.SurfaceModel`
    image-to-3d    `image_to_3d.PictureRequest`  `image_to_3d.ShapeFound`
    scene          `scene.SceneRequest`     `representations.PlacedScene`
    refinement     `RefinementRequest`      `stages.model.AssetModel`
    =============  =======================  ===========================================
    """

    task: ClassVar[Task]
    SHAPED: ClassVar[Mapping[str, float]] = {}
    """Weights of the guidance by normals in high quality, by dotted name, of a prior that knows
    pictures of normals; a mesh stage among them is switched on."""

    @property
    def wants_prior(self) -> bool:
        """Whether it asks the diffusion prior anything."""
        return True

    def check(self) -> None:
        """Load what is needed besides the prior, so that what is missing is said before a run
        begins. Raises ModelError, ConfigError."""
        return None

    def with_steps(self, steps: int) -> Self:
        """The same with `steps` of distillation in all; several stages keep their proportion, and
        each that is switched on has one at least. Raises ConfigError where nothing is distilled,
        or where there are fewer steps than stages."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        stages = {
            name: value
            for name, value in own.items()
            if isinstance(value, DistillingConfig) and value.steps > 0
        }
        if not stages:
            raise ConfigError("means nothing to this method", "--steps", "Leave it out")
        if steps < len(stages):
            raise ConfigError(
                f"{steps} are too few for {len(stages)} stages ({', '.join(stages)})",
                "--steps",
                f"Give at least {len(stages)}, or switch a stage off: --{next(iter(stages))}.steps "
                "0",
            )
        left, total = steps, sum(stage.steps for stage in stages.values())
        changed: dict[str, Any] = {}
        for number, (name, stage) in enumerate(stages.items(), 1):
            rest = len(stages) - number
            share = min(max(1, round(steps * stage.steps / total)), left - rest) if rest else left
            changed[name] = dataclasses.replace(stage, steps=share)
            left -= share
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    def with_resolution(self, pixels: int) -> Self:
        """The same with renderings of this height and width. Raises ConfigError where it has no
        such value."""
        if not hasattr(self, "resolution"):
            raise ConfigError("means nothing to this method", "--resolution", "Leave it out")
        return dataclasses.replace(self, resolution=pixels)  # type: ignore[type-var]

    @property
    def leaves_mesh(self) -> bool:
        """Whether its last stage optimises a mesh, whose texture is what can be refined then."""
        mesh = getattr(self, "mesh", None)
        return mesh is not None and mesh.steps > 0

    def encodes(self, stage: str) -> bool:
        """Whether a distilling stage renders RGB, which goes through the prior's encoder, and not
        latents."""
        return True

    @abstractmethod
    def plans(self, request: R) -> list[StagePlan]:
        """The stages, in order; none where nothing is optimised. Cheap: what takes time happens
        when a plan is built, or in `result`."""

    @abstractmethod
    def result(self, request: R, stages: dict[str, Stage]) -> M:
        """What the finished stages leave."""


@dataclass(frozen=True, kw_only=True)
class SystemKind:
    """A system as it is registered.

    Attributes:
        summary: one line about it.
        task: what it does.
        presets: functions that make a configuration, by name; "default" has to be there.
    """

    summary: str
    task: Task
    presets: Mapping[str, Callable[[], System[Any, Any]]]


def Registered(
    name: str,
    description: str,
    presets: Mapping[str, Callable[[], Any]] | None = None,
    verb: str = "generate",
) -> SystemKind:
    """A system as plug-ins registered it before there was `SystemKind`: by the command that runs
    it. Raises ConfigError on another command."""
    if verb not in VERBS:
        raise ConfigError(
            f'there is no command "{verb}" that runs systems',
            f'system "{name}"',
            f"One of: {', '.join(VERBS)}",
        )
    return SystemKind(summary=description, task=VERBS[verb], presets=dict(presets or {}))
