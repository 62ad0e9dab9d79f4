"""ComboVerse (Chen et al. 2024): objects of one picture, reconstructed one by one, are placed by
the picture and by spatially-aware score distillation (METHODS 4.3 to 4.6)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import OptionalSize, ScheduleText
from ...guidance.physical import PhysicalTerms
from ...metrics.layout import relation_holds
from ...priors.clip import load_clip
from ...renderers import Cameras
from ...representations.placed_scene import PlacedScene
from ..system import Request, System, Task
from .amodal_completion import CompletionConfig
from .placement import (
    PlacementConfig,
    ReferencePicture,
    bonds_of,
    placement_stage,
    scene_pictures,
)
from .prompt import SceneText
from .segmentation import DecomposeConfig


@dataclass(kw_only=True)
class SceneRequest(Request):
    """What is composed.

    Attributes:
        text: the prompt, understood.
        words: its spatial words.
        scenes: first placements, by the name of the stage that moves each.
        reference: the picture that is composed; None for a layout by text alone.
        order: pairs (front, back) that the picture shows.
    """

    text: SceneText
    words: list[str]
    scenes: dict[str, PlacedScene]
    reference: ReferencePicture | None = None
    order: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Comboverse(System[SceneRequest, PlacedScene]):
    """Configuration of `compose`: the system "comboverse"."""

    task: ClassVar[Task] = "scene"

    decompose: DecomposeConfig = field(default_factory=DecomposeConfig)
    completion: CompletionConfig = field(default_factory=CompletionConfig)
    place: PlacementConfig = field(default_factory=PlacementConfig)
    depth: str = "toybox"
    """Depth estimator: the embedded one, a name or a folder."""
    starts: int = 3
    """Of a layout by text alone: first placements that are tried."""
    upright: bool = True
    """Objects turn about the vertical and nothing else, but where their poses are given."""
    rate: ScheduleText = "0.03->0.003"
    """Of a layout by text alone: learning rate of all that the picture would hold otherwise."""
    resolution: OptionalSize = 0
    """Height and width of the renderings; 0 takes the prior's picture size."""

    @staticmethod
    def paper() -> Comboverse:
        """The published numbers."""
        return Comboverse(
            completion=CompletionConfig(when="always", hidden=False),
            place=PlacementConfig.paper(),
            upright=False,
        )

    def with_steps(self, steps: int) -> Comboverse:
        """See `System.with_steps`: all are the placement's."""
        return replace(self, place=replace(self.place, steps=steps))

    def plans(self, request: SceneRequest) -> list[StagePlan]:
        """A placement from every first one."""
        place = self.place
        if request.reference is None:
            place = replace(place, rate=self.rate)

        def plan(name: str, scene: PlacedScene) -> StagePlan:
            return StagePlan(
                name,
                lambda done: placement_stage(
                    scene,
                    request.text,
                    request.words,
                    prior=request.prior,
                    config=place,
                    reference=request.reference,
                    order=request.order,
                    upright=True,
                    name=name,
                ),
            )

        return [plan(name, scene) for name, scene in request.scenes.items()]

    def result(self, request: SceneRequest, stages: dict[str, Stage]) -> PlacedScene:
        """The scene; of several, the best one (see `scores`)."""
        if len(request.scenes) == 1:
            return next(iter(request.scenes.values()))
        scores = self.scores(request)
        return request.scenes[max(scores, key=lambda name: scores[name]["score"])]

    def scores(self, request: SceneRequest) -> dict[str, dict[str, float]]:
        """How good the scenes are where they stand, by the names of their stages: see
        `scene_score`. Asked when the stages are done."""
        return request.once(
            "scores",
            lambda: {
                name: scene_score(scene, request.text, request.prompt, config=self)
                for name, scene in request.scenes.items()
            },
        )


def scene_score(
    scene: PlacedScene, text: SceneText, prompt: str, config: Comboverse
) -> dict[str, float]:
    """How good a scene of a text is: the share of its relations that hold, and CLIP's similarity of
    three views and the prompt, less what the physical terms still find."""
    cameras = Cameras.orbit(
        torch.tensor([-0.5, 0.0, 0.5]),
        torch.full((3,), 0.26),
        3.0,
        fov_y=math.radians(40.0),
        height=96,
        width=96,
    )
    pictures = torch.from_numpy(scene_pictures(scene, config.place.renderer, cameras, level=0.8))
    clip = load_clip(config.decompose.clip)
    with torch.no_grad():
        alike = float((clip.embed_images(pictures) @ clip.embed_texts([prompt]).t()).mean())
    rest = PhysicalTerms(scene, bonds_of(text), [], config=config.place.physical).report()
    points = [t.apply(b.vertices) for t, b in zip(scene.transforms(), scene.bodies)]
    kept = [relation_holds(r.kind, points[r.subject], points[r.object]) for r in text.relations]
    held = float(np.mean(kept)) if kept else 1.0
    score = held + alike - rest["penetration depth"] - rest["floating distance"]
    return {"score": score, "relations": held, "CLIP": alike, **rest}
