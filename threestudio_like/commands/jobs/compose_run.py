"""A run of `compose`: objects from the picture or from words, their placement, the scene as a file
(ComboVerse, METHODS 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ...engine.output import write_file
from ...meshes.io.images import encode_png
from ...priors.diffusion import PLAIN_CAMERAS, DiffusionPrior
from ...priors.inpainter import load_inpainter
from ...priors.registry import EMBEDDED
from ...priors.segmentation.segment_anything import load_segmenter
from ...renderers import Cameras
from ...reports import Comparison
from ...representations import PlacedScene
from ...runs.delivery import RunResult
from ...runs.session import Run
from ...systems.scene.amodal_completion import Completed, complete, uncompleted
from ...systems.scene.comboverse import Comboverse, SceneRequest
from ...systems.scene.layout import (
    Seen,
    fitted_camera,
    initial_transform,
    looks_down,
    mask_iou,
    on_the_ground,
    own_masks,
    reference_camera,
    scene_elevation,
)
from ...systems.scene.objects import SceneObject, first_layout, node_names
from ...systems.scene.parts import Part
from ...systems.scene.picture import Canvas, completed_box, scene_depth
from ...systems.scene.placement import ReferencePicture, scene_pictures
from ...systems.scene.prompt import SceneText
from ...systems.scene.report import compared, objects_picture, picture_pages, scene_pages
from ...systems.scene.segmentation import feet_seen, grow_boxes, hidden_by
from ..compose import Compose
from .compose_ending import Ending, stand_and_tell
from .compose_objects import ObjectMaker
from .generate import save_embeddings


@dataclass(kw_only=True)
class Composition:
    """What all steps of composing a scene need.

    run: opened and described. text: the prompt, read. words: those that say where things are.
    pages: pictures for the report; compared: those beside their rendering.
    """

    run: Run
    prompt: str
    text: SceneText
    words: list[str]
    config: Comboverse
    prior: DiffusionPrior
    pages: dict[str, np.ndarray] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)

    @cached_property
    def maker(self) -> ObjectMaker:
        """Makes the scene's objects; keeps what was found of each."""
        return ObjectMaker(run=self.run, prior=self.prior)

    @property
    def options(self) -> Compose:
        """The command's options."""
        return self.run.options

    def from_picture(
        self, canvas: Canvas, parts: list[Part], given: list[SceneObject]
    ) -> RunResult:
        """Complete, reconstruct, place."""
        events, config = self.run.events, self.config
        names = node_names([p.phrase for p in parts])
        for name, part in zip(names, parts):
            events.record(
                "object",
                name=name,
                phrase=part.phrase,
                box=[float(v) for v in part.box],
                sureness=part.sureness,
            )
        if self.run.leads() and not self.run.resumed:
            # What there is to look at until the first object is ready.
            found = encode_png(objects_picture(canvas.pixels, parts))
            write_file(self.run.folder / "work" / "preview.png", found, force=True)
        events.status("scene: how far things are", force=True)
        protocol = self.prior.facts.camera or PLAIN_CAMERAS
        depth = scene_depth(
            canvas,
            parts,
            config.depth,
            distance=protocol.distance,
            fov_y=self.options.fov or protocol.fov_y,
        )
        order = hidden_by(parts, depth, self.text)
        events.record("order", pairs=[[names[a], names[b]] for a, b in order])
        grow_boxes(parts, order, config.decompose.grow)
        whole = self._complete(canvas, parts, order)
        objects = []
        for number, (name, part, done) in enumerate(zip(names, parts, whole)):
            # What was completed is how large the object is.
            part.box = completed_box(done)
            if given:
                objects.append(replace(given[number], name=name))
            else:
                down = self._looks_down(part.box, canvas.pixels.shape[0])
                objects.append(self.maker.reconstruct(name, part, done, elevation=down))
        self.pages.update(picture_pages(canvas.pixels, parts, names, whole=whole))
        seen = [
            Seen(part.box, part.mask, float(np.median(depth[part.mask > 0.5])), yaw=-o.azimuth)
            for part, o in zip(parts, objects)
        ]
        camera = self._camera(canvas, objects, seen)
        scene = self._first_placement(objects, seen, parts, camera)
        union = np.clip(sum(p.mask for p in parts), 0, 1)
        reference = ReferencePicture(
            torch.from_numpy(canvas.pixels),
            torch.from_numpy(union.astype(np.float32)),
            camera,
            depth=torch.from_numpy(depth.astype(np.float32)),
        )
        before = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        first = self._agreement(scene, reference, parts)
        request = self._request({"placement": scene}, reference, order)
        plans = config.plans(request)
        stages = self.run.execute(plans)
        scene = config.result(request, stages)
        standing = self._stand(scene)
        after = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        path: Any = stages["placement"].modules["path"]
        self.pages.update(
            scene_pages(canvas.pixels, before, after, path=path.rows.numpy(), names=names)
        )
        drawn = scene_pictures(scene, config.place.renderer, camera.resized(384, 384))
        self.compared = compared(canvas.pixels, drawn)
        last = self._agreement(scene, reference, parts)
        figures = {
            "objects": len(objects),
            "camera: elevation, degrees": math.degrees(float(camera.elevation[0])),
            "camera: field of view, degrees": math.degrees(float(camera.fov_y[0])),
            **{f"{k}, first": v for k, v in first.items()},
            **last,
            **standing,
            **self.maker.fits,
        }
        return self._finish(scene, objects, figures)

    def _looks_down(self, box: np.ndarray, height: int) -> float | None:
        """Degrees by which the picture of an object looks down on it, where the user says it of the
        scene's."""
        said, protocol = self.options.elevation, self.prior.facts.camera or PLAIN_CAMERAS
        if said is None:
            return None
        steeper = looks_down(box, self.options.fov or protocol.fov_y, height)
        return min(max(said + steeper, -89.0), 89.0)

    def _first_placement(
        self, objects: list[SceneObject], seen: list[Seen], parts: list[Part], camera: Cameras
    ) -> PlacedScene:
        """Where the objects stand by box, mask, depth and the common floor."""
        place = self.config.place
        start = [
            initial_transform(o.body, s, camera, config=place.layout) for o, s in zip(objects, seen)
        ]
        if place.layout.ground:
            supported = {r.subject: r.object for r in self.text.relations if r.kind == "on"}
            start = on_the_ground(
                [o.body for o in objects], start, camera, supported=supported, sure=feet_seen(parts)
            )
        return PlacedScene(
            [o.body for o in objects],
            [o.name for o in objects],
            start,
            camera_to_world=camera.camera_to_world[0],
            along=place.along,
            upright=self.config.upright,
        )

    def from_text(self, given: list[SceneObject]) -> RunResult:
        """Imagine the objects, try several first placements, keep the best scene."""
        names = node_names(self.text.objects)
        objects = (
            [replace(o, name=n) for o, n in zip(given, names)]
            if given
            else [
                self.maker.imagine(name, phrase) for name, phrase in zip(names, self.text.objects)
            ]
        )
        protocol, config = self.prior.facts.camera or PLAIN_CAMERAS, self.config
        camera = reference_camera(protocol.distance, protocol.fov_y, 15.0, height=64, width=64)
        scenes: dict[str, PlacedScene] = {}
        for number in range(config.starts):
            first = first_layout(objects, self.text, self.options.run.seed, number=number)
            bodies = [o.body for o in objects]
            scenes[f"start {number + 1}"] = PlacedScene(
                bodies,
                names,
                first,
                camera_to_world=camera.camera_to_world[0],
                along="axis",
                upright=config.upright,
            )
        request = self._request(scenes)
        self.run.execute(config.plans(request))
        best, scores = config.result(request, {}), config.scores(request)
        for number, score in enumerate(scores.values()):
            self.run.events.record("start", number=number + 1, **score)
        pictures = [
            scene_pictures(s, config.place.renderer, camera.resized(192, 192))[0]
            for s in scenes.values()
        ]
        self.pages["Where the starts ended"] = (
            (np.concatenate(pictures, 1) * 255).round().astype(np.uint8)
        )
        winner = next(name for name, scene in scenes.items() if scene is best)
        figures = {
            "objects": len(objects),
            "starts": len(scenes),
            "best start": list(scenes).index(winner) + 1,
            **scores[winner],
            **self._stand(best),
        }
        return self._finish(best, objects, figures)

    def _request(
        self,
        scenes: dict[str, PlacedScene],
        reference: ReferencePicture | None = None,
        order: list[tuple[int, int]] | None = None,
    ) -> SceneRequest:
        return SceneRequest(
            prompt=self.prompt,
            prior=self.prior,
            seed=self.options.run.seed,
            text=self.text,
            words=self.words,
            scenes=scenes,
            reference=reference,
            order=order or [],
        )

    def _complete(
        self, canvas: Canvas, parts: list[Part], order: list[tuple[int, int]]
    ) -> list[Completed]:
        config = self.config.completion
        inpainter = None
        whole = []
        closed = self.prior.facts.vocabulary is not None
        for number, part in enumerate(parts):
            hidden = any(back == number for _, back in order)
            if config.when == "never" or (config.when == "hidden" and not hidden):
                whole.append(uncompleted(canvas.pixels, part, config))
                continue
            self.run.events.status(
                f"scene: completing {part.phrase or f'object {number + 1}'}", force=True
            )
            inpainter = inpainter or load_inpainter(
                config.inpainter, self.prior, config.inpaint, device=self.run.device()
            )
            others = (
                np.max([p.mask for k, p in enumerate(parts) if k != number], 0) > 0.5
                if len(parts) > 1
                else None
            )
            # The embedded segmenter has seen finished objects alone.
            name = self.config.decompose.segmenter
            segmenter = None if name == EMBEDDED else load_segmenter(name)
            done = complete(
                canvas.pixels,
                part,
                others,
                inpainter=inpainter,
                segmenter=segmenter,
                config=config,
                seed=self.options.run.seed + number,
                closed=closed,
            )
            self.run.events.record("completed", object=number + 1, filled=done.filled)
            whole.append(done)
        return whole

    def _camera(self, canvas: Canvas, objects: list[SceneObject], seen: list[Seen]) -> Cameras:
        """The picture's camera: the user's, the prior's, or the one under which the objects look
        most as they do in the picture."""
        options, known, size = self.options, self.prior.facts.camera, canvas.pixels.shape[0]
        protocol = known or PLAIN_CAMERAS
        # Each object was looked at alone, along the ray through its middle.
        told = [
            math.degrees(o.elevation) - looks_down(s.box, options.fov or protocol.fov_y, size)
            for o, s in zip(objects, seen)
            if o.elevation is not None
        ]
        elevations: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0, 40.0)
        if options.elevation is not None:
            elevations = (options.elevation,)
        elif told:
            elevations = (
                float(np.median(told)) if known is None else scene_elevation(told, known.elevation),
            )
        fovs = (
            (options.fov,)
            if options.fov
            else (protocol.fov_y,)
            if known is not None
            else (25.0, 32.5, 40.0, 50.0, 60.0)
        )
        if len(fovs) == len(elevations) == 1:
            span = protocol.distance * math.tan(math.radians(protocol.fov_y) / 2)
            distance = span / math.tan(math.radians(fovs[0]) / 2)
            return reference_camera(distance, fovs[0], elevations[0], height=size, width=size)
        fitted = fitted_camera(
            [o.body for o in objects],
            seen,
            protocol.distance,
            fov_y=protocol.fov_y,
            fovs=fovs,
            elevations=elevations,
            size=size,
        )
        self.run.events.record(
            "camera", fov=fitted.fov_y, elevation=fitted.elevation, agreement=fitted.agreement
        )
        for one in seen:
            one.depth += fitted.distance - protocol.distance
        return reference_camera(
            fitted.distance, fitted.fov_y, fitted.elevation, height=size, width=size
        )

    def _agreement(
        self, scene: PlacedScene, reference: ReferencePicture, parts: list[Part]
    ) -> dict[str, float]:
        """IoU of the masks and PSNR within them, at the reference view."""
        camera = reference.camera
        visible, _ = own_masks(scene, camera)
        drawn = scene_pictures(scene, self.config.place.renderer, camera)[0]
        mask = reference.mask.numpy() > 0.5
        error = (
            float(np.square(drawn - reference.picture.numpy())[mask].mean()) if mask.any() else 1.0
        )
        return {
            "reference: IoU of all": mask_iou(
                visible.any(0).numpy().astype(np.float32), reference.mask.numpy()
            ),
            "reference: mean IoU of each": float(
                np.mean(
                    [mask_iou(v.numpy().astype(np.float32), p.mask) for v, p in zip(visible, parts)]
                )
            ),
            "reference: PSNR, dB": -10 * math.log10(max(error, 1e-9)),
        }

    def _stand(self, scene: PlacedScene) -> dict[str, Any]:
        """Let the scene stand, where that is wanted; figures of it."""
        return stand_and_tell(self.run, scene, self.config.place)

    def _finish(
        self, scene: PlacedScene, objects: list[SceneObject], figures: dict[str, Any]
    ) -> RunResult:
        save_embeddings(self.run, self.prior)
        ending = Ending(
            run=self.run,
            prompt=self.prompt,
            text=self.text,
            config=self.config,
            prior=self.prior,
            pages=self.pages,
            compared=self.compared,
        )
        return ending.deliver(scene, objects, figures)
