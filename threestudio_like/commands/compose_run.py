"""A run of `compose`: objects from the picture or from words, their placement, the scene as a file
(ComboVerse, METHODS 4)."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint import write_atomically
from ..engine.config import to_dict, write_yaml
from ..engine.errors import CollapseError, InputError
from ..engine.events import Events, read_events
from ..guidance.physical import PhysicalTerms
from ..meshes.io.files import read
from ..meshes.mesh import Asset, Node
from ..meshes.transform import Transform
from ..metrics.layout import relation_holds
from ..priors.diffusion import PLAIN_CAMERAS, DiffusionPrior
from ..priors.inpainter import load_inpainter
from ..priors.registry import EMBEDDED
from ..priors.segmentation.segment_anything import load_segmenter
from ..renderers import Cameras, RingCameras
from ..representations import PlacedScene
from ..runs.delivery import Delivery, RunResult, deliver
from ..runs.folders import run_folder
from ..runs.memory_budget import keep_memory, tell, without_plan
from ..runs.options import Options
from ..runs.session import run_loop, warm_kernels
from ..systems.image_to_3d.photo import Photo, photo_of
from ..systems.registry import SYSTEMS
from ..systems.scene.amodal_completion import Completed, complete, uncompleted
from ..systems.scene.comboverse import (
    ComposeConfig,
    ReferencePicture,
    SceneRequest,
    bonds_of,
    scene_pictures,
)
from ..systems.scene.instances import Part
from ..systems.scene.layout import (
    Seen,
    fitted_camera,
    initial_transform,
    mask_iou,
    on_the_ground,
    own_masks,
    reference_camera,
)
from ..systems.scene.objects import SceneObject, node_names, object_of
from ..systems.scene.picture import Canvas, completed_box, scene_depth
from ..systems.scene.prompt import SceneText
from ..systems.scene.report import picture_pages, scene_pages
from ..systems.scene.segmentation import feet_seen, grow_boxes, hidden_by
from .reconstruct import (
    BEST,
    InputImage,
    ReconstructOptions,
    imagine,
    picture_config,
    reconstruct_photo,
)


@dataclass
class ComposeOptions(Options):
    """What `compose` takes besides."""

    system: str = "comboverse"
    boxes: tuple[str, ...] = ()
    """x0,y0,x1,y1 in pixels, in the order in which the prompt names the objects."""
    masks: Path | None = None
    """A folder of pictures, white where an object is, in the order of their names."""
    objects: tuple[Path, ...] = ()
    """The user's own meshes, in the order in which the prompt names them."""
    spatial_words: tuple[str, ...] = ()
    """Words of the prompt that say where things are; found in it by default."""
    method: str = "auto"
    """Of `reconstruct`, for every object."""
    fov: float = 0.0
    """Vertical field of view of the picture, degrees; 0: the prior's camera, or fitted where it
    knows none."""
    elevation: float | None = None
    """Degrees by which the picture looks down; fitted by default."""


@dataclass
class Composition:
    """One run of `compose`: its folder and what all its steps need."""

    folder: Path
    events: Events
    prompt: str
    text: SceneText
    words: list[str]
    options: ComposeOptions
    config: ComposeConfig
    prior: DiffusionPrior
    facts: dict[str, Any]
    yaml: str
    pages: dict[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def begin(
        name: str,
        prompt: str,
        text: SceneText,
        words: list[str],
        options: ComposeOptions,
        config: ComposeConfig,
        prior: DiffusionPrior,
        more: dict[str, Any],
    ) -> Composition:
        """Make the folder, write what is asked for."""
        planned = keep_memory(options.memory, config, prior)
        folder = run_folder(f"{name} scene", options)
        events = Events(folder / "events.jsonl", options.verbosity)
        facts = {
            "verb": "compose",
            "prompt": prompt,
            "system": options.system,
            "preset": options.preset,
            "prior": options.prior,
            "seed": options.seed,
            "method": options.method,
            "boxes": list(options.boxes),
            "objects": [str(p) for p in options.objects],
            "spatial words": words,
            "fov": options.fov,
            "elevation": options.elevation,
            **more,
        }
        yaml = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
        if not options.resume:
            write_atomically(folder / "run.yaml", yaml.encode())
        events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
        tell(planned, events)
        return Composition(folder, events, prompt, text, words, options, config, prior, facts, yaml)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return {**self.facts, "config": without_plan(to_dict(self.config))}

    def from_picture(
        self, canvas: Canvas, parts: list[Part], given: list[SceneObject]
    ) -> RunResult:
        """Complete, reconstruct, place."""
        events, config = self.events, self.config
        names = node_names([p.phrase for p in parts])
        for name, part in zip(names, parts):
            events.record(
                "object",
                name=name,
                phrase=part.phrase,
                box=[float(v) for v in part.box],
                sureness=part.sureness,
            )
        events.status("scene: how far things are", force=True)
        protocol = self.prior.facts.camera or PLAIN_CAMERAS
        depth = scene_depth(
            canvas, parts, config.depth, protocol.distance, self.options.fov or protocol.fov_y
        )
        order = hidden_by(parts, depth, self.text)
        events.record("order", pairs=[[names[a], names[b]] for a, b in order])
        grow_boxes(parts, order, config.decompose.grow)
        whole = self._complete(canvas, parts, order)
        objects = []
        for number, (name, part, done) in enumerate(zip(names, parts, whole)):
            if given:
                objects.append(replace(given[number], name=name))
            else:
                objects.append(self._reconstruct(name, part, done))
            # What was completed is how large the object is.
            part.box = completed_box(done)
        self.pages.update(picture_pages(canvas.pixels, parts, names, whole))
        seen = [
            Seen(part.box, part.mask, float(np.median(depth[part.mask > 0.5])), -o.azimuth)
            for part, o in zip(parts, objects)
        ]
        camera = self._camera(canvas, objects, seen)
        start = [
            initial_transform(o.body, s, camera, config.place.layout) for o, s in zip(objects, seen)
        ]
        if config.place.layout.ground:
            supported = {r.subject: r.object for r in self.text.relations if r.kind == "on"}
            start = on_the_ground(
                [o.body for o in objects], start, camera, supported, feet_seen(parts)
            )
        scene = PlacedScene(
            [o.body for o in objects], names, start, camera.camera_to_world[0], config.place.along
        )
        union = np.clip(sum(p.mask for p in parts), 0, 1)
        reference = ReferencePicture(
            torch.from_numpy(canvas.pixels),
            torch.from_numpy(union.astype(np.float32)),
            camera,
            torch.from_numpy(depth.astype(np.float32)),
        )
        before = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        first = self._agreement(scene, reference, parts)
        warm_kernels(events, self.options.device)
        request = self._request({"placement": scene}, reference, order)
        plans = config.plans(request)
        stages = run_loop(self.folder, events, self.options, self.identity).run(plans)
        scene = config.result(request, stages)
        after = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        path: Any = stages["placement"].modules["path"]
        self.pages.update(scene_pages(canvas.pixels, before, after, path.rows.numpy(), names))
        last = self._agreement(scene, reference, parts)
        figures = {
            "objects": len(objects),
            "camera: elevation, degrees": math.degrees(float(camera.elevation[0])),
            "camera: field of view, degrees": math.degrees(float(camera.fov_y[0])),
            **{f"{k}, first": v for k, v in first.items()},
            **last,
        }
        return self._finish(scene, objects, figures)

    def from_text(self, given: list[SceneObject]) -> RunResult:
        """Imagine the objects, try several first placements, keep the best scene."""
        names = node_names(self.text.objects)
        objects = (
            [replace(o, name=n) for o, n in zip(given, names)]
            if given
            else [self._imagine(name, phrase) for name, phrase in zip(names, self.text.objects)]
        )
        protocol, config = self.prior.facts.camera or PLAIN_CAMERAS, self.config
        camera = reference_camera(protocol.distance, protocol.fov_y, 15.0, 64, 64)
        scenes: dict[str, PlacedScene] = {}
        for number in range(config.starts):
            first = first_layout(objects, self.text, self.options.seed, number)
            bodies = [o.body for o in objects]
            scenes[f"start {number + 1}"] = PlacedScene(
                bodies, names, first, camera.camera_to_world[0], "axis", upright=config.upright
            )
        request = self._request(scenes)
        warm_kernels(self.events, self.options.device)
        plans = config.plans(request)
        run_loop(self.folder, self.events, self.options, self.identity).run(plans)
        best, scores = config.result(request, {}), config.scores(request)
        for number, score in enumerate(scores.values()):
            self.events.record("start", number=number + 1, **score)

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
            seed=self.options.seed,
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
            self.events.status(
                f"scene: completing {part.phrase or f'object {number + 1}'}", force=True
            )
            inpainter = inpainter or load_inpainter(
                config.inpainter, self.prior, config.inpaint, self.options.device
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
                inpainter,
                segmenter,
                config,
                self.options.seed + number,
                closed,
            )
            self.events.record("completed", object=number + 1, filled=done.filled)
            whole.append(done)
        return whole

    def _object_options(self, name: str, phrase: str) -> ReconstructOptions:
        o = self.options
        system = BEST if o.method == "auto" else SYSTEMS.canonical(o.method)
        return ReconstructOptions(
            out=self.folder / "objects" / name,
            seed=o.seed,
            device=o.device,
            prior=o.prior,
            system=system,
            export=o.export,
            load=o.load,
            concept=o.concept,
            embeddings=o.embeddings,
            verbosity="quiet",
            turntable=False,
            prompt=phrase,
            minutes=o.minutes,
        )

    def _reconstruct(self, name: str, part: Part, done: Completed) -> SceneObject:
        """One object by `reconstruct`, in a folder of its own; one that is there already (a run
        that goes on) is taken as it is."""
        folder = self.folder / "objects" / name
        if not _finished(folder):
            self.events.status(f"scene: reconstructing {part.phrase or name}", force=True)
            _clear(folder)
            options = self._object_options(name, part.phrase)
            try:
                photo: Photo = photo_of(
                    done.pixels.astype(np.float32), name, {"size": "cut out of the scene"}
                )
                content = hashlib.sha256(
                    np.ascontiguousarray(done.pixels, np.float32).tobytes()
                ).hexdigest()[:16]
                reconstruct_photo(
                    InputImage(photo, f"{name} of the scene", name, content, prior=self.prior),
                    picture_config(options),
                    options,
                )  # type: ignore[arg-type]
            except (CollapseError, InputError) as error:
                raise type(error)(
                    f'"{part.phrase or name}": {error.what}', error.where, error.remedy
                ) from None
        return self._opened(folder, name)

    def _imagine(self, name: str, phrase: str) -> SceneObject:
        folder = self.folder / "objects" / name
        if not _finished(folder):
            self.events.status(f"scene: making {phrase}", force=True)
            _clear(folder)
            imagine(phrase, self._object_options(name, phrase))
        return self._opened(folder, name)

    def _opened(self, folder: Path, name: str) -> SceneObject:
        shape: dict[str, Any] = next(
            (e for e in read_events(folder / "events.jsonl") if e["event"] == "shape"), {}
        )
        self.events.record(
            "reconstructed",
            name=name,
            **{k: shape.get(k) for k in ("azimuth", "elevation", "agreement")},
        )
        return object_of(
            read(folder / "asset.glb"),
            name,
            shape.get("azimuth", 0.0),
            shape.get("elevation"),
            shape.get("agreement", float("nan")),
        )

    def _camera(self, canvas: Canvas, objects: list[SceneObject], seen: list[Seen]) -> Cameras:
        """The picture's camera: the user's, the prior's, or the one under which the objects look
        most as they do in the picture."""
        options, known, size = self.options, self.prior.facts.camera, canvas.pixels.shape[0]
        protocol = known or PLAIN_CAMERAS
        told = [math.degrees(o.elevation) for o in objects if o.elevation is not None]
        if told and known is not None:
            # Silhouettes of single objects tell it badly: what the prior's pictures have has a
            # voice too.
            told.append(sum(known.elevation) / 2)
        elevations = (
            (options.elevation,)
            if options.elevation is not None
            else (float(np.median(told)),)
            if told
            else (0.0, 10.0, 20.0, 30.0, 40.0)
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
            return reference_camera(distance, fovs[0], elevations[0], size, size)
        fitted = fitted_camera(
            [o.body for o in objects],
            seen,
            protocol.distance,
            protocol.fov_y,
            fovs,
            elevations,
            size,
        )
        self.events.record(
            "camera", fov=fitted.fov_y, elevation=fitted.elevation, agreement=fitted.agreement
        )
        for one in seen:
            one.depth += fitted.distance - protocol.distance
        return reference_camera(fitted.distance, fitted.fov_y, fitted.elevation, size, size)

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

    def _finish(
        self, scene: PlacedScene, objects: list[SceneObject], figures: dict[str, Any]
    ) -> RunResult:
        began = time.monotonic()
        self.events.status("asset: writing, verifying", force=True)
        residual = PhysicalTerms(
            scene, bonds_of(self.text), [], self.config.place.physical
        ).report()
        where = scene.transforms()
        placed = [
            t.apply(np.concatenate([m.vertices for m in o.body.meshes.values()]))
            for o, t in zip(objects, where)
        ]
        said = self.text.objects
        kept = {
            f"{said[r.subject]} {r.words} {said[r.object]}": relation_holds(
                r.kind, placed[r.subject], placed[r.object]
            )
            for r in self.text.relations
        }
        provenance = {
            k: self.facts[k] for k in ("prompt", "system", "preset", "prior", "seed", "picture")
        }
        provenance["generator"] = "threestudio_like 0.1.0"
        provenance["licence of the prior"] = self.prior.facts.licence
        nodes = {o.name: Node(o.asset.meshes, t.after(o.normal)) for o, t in zip(objects, where)}
        asset = Asset.scene(nodes, provenance)
        protocol = self.prior.facts.camera or PLAIN_CAMERAS
        ring = RingCameras(
            count=8, elevation=15.0, distance=protocol.distance, fov_y=protocol.fov_y
        )
        figures.update(residual)
        figures.update({f"said: {k}": "holds" if v else "does not hold" for k, v in kept.items()})
        title = self.prompt or Path(self.facts["picture"]).stem
        return deliver(
            self.folder,
            self.events,
            began,
            figures,
            Delivery(title, asset, ring, self.yaml, self.options.turntable, pictures=self.pages),
        )


def _finished(folder: Path) -> bool:
    return (folder / "asset.glb").is_file() and (folder / "report.html").is_file()


def _clear(folder: Path) -> None:
    """Remove what a run that was cut off has left of an object."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def first_layout(
    objects: list[SceneObject], text: SceneText, seed: int, number: int
) -> list[Transform]:
    """A first placement of a layout by text: the first start has the objects in a row on the floor;
    every other one throws them on a disc, by the seed."""
    count = len(objects)
    scale = 0.9 / count**0.75
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    places = []
    for k, one in enumerate(objects):
        vertices = one.body.vertices
        lift = -0.35 - scale * float(vertices[:, 1].min())
        if number == 0:
            at = np.array([(k - (count - 1) / 2) * 1.7 * scale, lift, 0.0])
        else:
            angle, away = 2 * math.pi * (k / count + rng.random()), 0.35 + 0.35 * rng.random()
            at = np.array(
                [away * math.cos(angle), lift + 0.4 * rng.random(), away * math.sin(angle)]
            )
        places.append(Transform(scale, translation=at))
    return places
