"""The end of a composition, however its objects and poses came about: it stands, it is measured,
written and shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...guidance.physical import PhysicalTerms
from ...meshes.frames import Normalisation
from ...meshes.mesh import Asset, Node
from ...meshes.transform import Transform
from ...metrics.layout import relation_holds
from ...priors.diffusion import PLAIN_CAMERAS, DiffusionPrior
from ...renderers import RingCameras
from ...reports import Comparison
from ...representations import PlacedScene
from ...runs.delivery import Delivery, RunResult
from ...runs.session import Run
from ...systems.scene.comboverse import Comboverse
from ...systems.scene.objects import SceneObject
from ...systems.scene.placement import PlacementConfig, bonds_of
from ...systems.scene.prompt import SceneText
from ...systems.scene.report import fit_line
from ...systems.scene.standing import MOST, stand, standing_figures, what_to_tell


def stand_and_tell(
    run: Run, scene: PlacedScene, config: PlacementConfig, floor: float | None = None
) -> dict[str, Any]:
    """Let a scene stand, where the configuration says so; what the user should hear of it is said,
    and its figures are returned."""
    if not config.stand:
        return {}
    if len(scene) > MOST:
        run.events.say(
            f"Warning: {len(scene)} objects are more than the {MOST} that are settled: they stay "
            "where they were placed."
        )
        return {}
    run.events.status("scene: letting everything stand", force=True)
    found = stand(scene, config.settle, floor)
    for line in what_to_tell(found, list(scene.names)):
        run.events.say(line)
    figures = standing_figures(found, list(scene.names))
    run.events.record("standing", **{k.removeprefix("standing: "): v for k, v in figures.items()})
    return dict(figures)


@dataclass(kw_only=True)
class Ending:
    """What the end of a composition needs.

    prior: None where none was asked. pages: pictures for the report. compared: pictures over one
    another. view: from the world of the
    asset to that of the scene, where they differ: cameras see the latter.
    """

    run: Run
    prompt: str
    text: SceneText
    config: Comboverse
    prior: DiffusionPrior | None
    pages: dict[str, np.ndarray] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)
    view: Normalisation | None = None

    def deliver(
        self, scene: PlacedScene, objects: list[SceneObject], figures: dict[str, Any]
    ) -> RunResult:
        """Measure the scene, write it with a node an object, and show it."""
        began = time.monotonic()
        self.run.events.status("asset: writing, verifying", force=True)
        residual = PhysicalTerms(
            scene, bonds_of(self.text), [], config=self.config.place.physical
        ).report()
        where = scene.transforms()
        figures.update(residual)
        figures.update(self._relations(objects, where))
        protocol = self.prior.facts.camera if self.prior is not None else None
        protocol = protocol or PLAIN_CAMERAS
        ring = RingCameras(
            count=8, elevation=15.0, distance=protocol.distance, fov_y=protocol.fov_y
        )
        out = self._out()
        nodes = {
            o.name: Node(o.asset.meshes, out.after(t.after(o.normal)))
            for o, t in zip(objects, where)
        }
        asset = Asset.scene(nodes, self._provenance())
        place = None
        if self.view is not None:
            # What fell may have left the sphere that the scene was settled in.
            points = np.concatenate([m.vertices for m in asset.meshes.values()])
            place = Normalisation.of(points).apply
        facts = self.run.record.facts
        work = Delivery(
            title=self.prompt or Path(facts["picture"] or facts.get("poses", "scene")).stem,
            asset=asset,
            ring=ring,
            turntable=self.run.options.asset.turntable,
            pictures=self.pages,
            compared=self.compared,
            fit_line=fit_line(figures),
            place=place,
            shown=None if place is None else _seen(asset, place),
        )
        return self.run.deliver(work, figures, began)

    def _out(self) -> Transform:
        """From the world of the scene to that of the asset."""
        if self.view is None:
            return Transform()
        return Transform(1 / self.view.scale, translation=self.view.centre)

    def _relations(self, objects: list[SceneObject], where: list[Transform]) -> dict[str, str]:
        """Whether what the prompt says holds."""
        placed = [
            t.apply(np.concatenate([m.vertices for m in o.body.meshes.values()]))
            for o, t in zip(objects, where)
        ]
        said = self.text.objects
        return {
            f"said: {said[r.subject]} {r.words} {said[r.object]}": "holds"
            if relation_holds(r.kind, placed[r.subject], placed[r.object])
            else "does not hold"
            for r in self.text.relations
        }

    def _provenance(self) -> dict[str, Any]:
        names = ("prompt", "system", "preset", "prior", "seed", "picture")
        out = {k: self.run.record.facts[k] for k in names}
        out["generator"] = "threestudio_like 0.1.0"
        if self.prior is not None:
            out["licence of the prior"] = self.prior.facts.licence
        return out


def _seen(asset: Asset, place: Callable[[np.ndarray], np.ndarray]) -> Asset:
    """The asset before the cameras."""
    meshes = {k: replace(m, vertices=place(m.vertices)) for k, m in asset.meshes.items()}
    return Asset(meshes, asset.provenance)
