"""`compose`: a picture of several objects, or a text, to one scene with a named node an object (ComboVerse, METHODS 4)."""

from __future__ import annotations

import hashlib
import math
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint import write_atomically
from ..engine.errors import CollapseError, ConfigError, InputError
from ..engine.events import Events, read_events
from ..engine.loop import StagePlan
from ..meshes.files import read
from ..meshes.frames import Placement
from ..meshes.mesh import Asset, Mesh, Node
from ..meshes.transform import Transform
from ..metrics.layout import relation_holds
from ..priors.depth import FRAME_HALF_WIDTH, load_depth
from ..priors.diffusion import DiffusionPrior
from ..priors.framing import Similarity
from ..priors.inpainter import load_inpainter
from ..priors.segment_anything import load_segmenter
from ..renderers import Cameras, RingCameras
from ..representations import Body, PlacedScene
from .comboverse import ComposeConfig, PlacementPath, ReferencePicture, bonds_of, placement_stage, scene_pictures
from .completion import Completed, complete, uncompleted
from .contract import PLAIN_CAMERAS
from .decompose import (
    DecomposeConfig,
    Part,
    by_boxes,
    by_itself,
    by_masks,
    check_boxes,
    check_counts,
    feet_seen,
    grow_boxes,
    hidden_by,
    mask_box,
)
from .delivery import Delivery, RunResult, deliver
from .folders import run_folder
from .g3dr import frame_depth
from .layout import Seen, fitted_camera, initial_transform, mask_iou, on_the_ground, own_masks, reference_camera
from .options import Options, check_options, check_vocabulary
from .photo import Photo, photo_of, read_pixels
from .reconstruction import Given, ReconstructOptions, imagine, picture_config, work_out
from .run import configure, load_prior, run_loop, warm_kernels
from .scene_pages import picture_pages, scene_pages
from .scene_text import SceneText, read_scene
from .settings import to_dict, write_yaml

FACES = 50_000
"""Faces of an object while it is placed (METHODS 4.2); what is written has all of them."""


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
    """Vertical field of view of the picture, degrees; 0: the prior's camera, or fitted where it knows none."""
    elevation: float | None = None
    """Degrees by which the picture looks down; fitted by default."""


@dataclass
class Canvas:
    """The picture as a square: pixels (S, S, 3) in [0, 1], foreground (S, S) in [0, 1] where it has an alpha of its own; and where the picture
    lies on it: pixels (height, width) from (top, left)."""

    pixels: np.ndarray
    foreground: np.ndarray | None
    top: int
    left: int
    height: int
    width: int
    note: str = ""

    @staticmethod
    def of(pixels: np.ndarray, where: str, note: str = "") -> Canvas:
        """A picture (H, W, 3 or 4) in [0, 1], padded by the colour of its border. Raises InputError when every pixel is transparent."""
        height, width = pixels.shape[:2]
        alpha = pixels[..., 3] if pixels.shape[2] == 4 and float((pixels[..., 3] < 0.5).mean()) > 0.005 else None
        colour = pixels[..., :3]
        if alpha is not None:
            if not (alpha > 0.5).any():
                raise InputError("shows nothing: every pixel is transparent", where, "Give a picture of objects")
            colour = colour * alpha[..., None] + 0.9 * (1 - alpha[..., None])
        border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
        edge = max(height, width)
        top, left = (edge - height) // 2, (edge - width) // 2
        square = np.broadcast_to(np.median(border, 0), (edge, edge, 3)).astype(np.float32).copy()
        square[top : top + height, left : left + width] = colour
        front = None
        if alpha is not None:
            front = np.zeros((edge, edge), np.float32)
            front[top : top + height, left : left + width] = alpha
        return Canvas(square, front, top, left, height, width, note)

    def box(self, box: np.ndarray) -> np.ndarray:
        """A box (4,) of the picture on the canvas."""
        return box + np.array([self.left, self.top, self.left, self.top])

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) of the picture on the canvas (S, S)."""
        out = np.zeros(self.pixels.shape[:2], np.float32)
        out[self.top : self.top + self.height, self.left : self.left + self.width] = mask
        return out


@dataclass
class SceneObject:
    """An object of the scene: its name, the whole of it as it is written, the same in the unit sphere with few faces for the placement
    (`body`), the way from the one to the other, and the angles (radians) from which its picture showed it."""

    name: str
    asset: Asset
    body: Body
    normal: Transform
    azimuth: float = 0.0
    elevation: float | None = None
    agreement: float = float("nan")


def compose(picture: Path, prompt: str, options: ComposeOptions) -> RunResult:
    """Make a scene of a picture.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    if prompt:
        check_options(prompt, options)
    else:
        check_options("things", options)
    text = read_scene(prompt)
    words = check_words(options.spatial_words, text)
    boxes = read_boxes(options.boxes)
    config = compose_config(options)
    pixels, note = read_pixels(picture)
    canvas = Canvas.of(pixels, str(picture), note)
    masks = None if options.masks is None else [canvas.mask(m) for m in read_masks(options.masks, pixels.shape[:2])]
    prior = load_prior(options)
    if prompt:
        check_vocabulary(prior, prompt)
    load_depth(config.depth)
    parts, notes = find_parts(canvas, text, boxes, masks, config.decompose)
    given = [open_object(path, "") for path in options.objects]
    if given and len(given) != len(parts):
        raise ConfigError(
            f"gives {len(given)} meshes for {len(parts)} objects",
            "--objects",
            "Give one mesh for each object of the picture",
        )
    content = hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
    run = _Run.begin(
        picture.stem, prompt, text, words, options, config, prior, {"picture": str(picture), "picture content": content}
    )
    for line in notes:
        run.events.say(f"Warning: {line}.")
    return run.from_picture(canvas, parts, given)


def compose_text(prompt: str, options: ComposeOptions) -> RunResult:
    """Make a scene of a prompt alone: its objects one by one, then where they stand.

    Raises:
        UserError: see `compose`.
    """
    check_options(prompt, options)
    for name, value in (("--boxes", options.boxes), ("--masks", options.masks)):
        if value:
            raise ConfigError("belongs to a picture, and there is none", name, "Give a picture, or leave it out")
    text = read_scene(prompt)
    if len(text.objects) < 2:
        raise ConfigError(
            f"names {len(text.objects)} object",
            "--text",
            'Name at least two: "a red ball on a blue box", or use generate',
        )
    words = check_words(options.spatial_words, text)
    config = compose_config(options)
    prior = load_prior(options)
    check_vocabulary(prior, prompt)
    if options.objects and len(options.objects) != len(text.objects):
        raise ConfigError(
            f"gives {len(options.objects)} meshes, the prompt names {len(text.objects)}",
            "--objects",
            "Give one mesh for each",
        )
    given = [open_object(path, "") for path in options.objects]
    run = _Run.begin(prompt, prompt, text, words, options, config, prior, {"picture": ""})
    return run.from_text(given)


def compose_any(picture: str, prompt: str, text: str, options: ComposeOptions) -> RunResult:
    """`compose` or `compose_text`, by what is given. Raises ConfigError where it is both or neither."""
    if text and picture:
        raise ConfigError("goes without a picture", "--text", "Give the prompt behind the picture, or --text alone")
    if text:
        return compose_text(text, options)
    if not picture:
        raise ConfigError(
            "wants a picture", "compose", 'compose scene.png "a red ball on a blue box", or compose --text "…"'
        )
    return compose(Path(picture), prompt, options)


def compose_config(options: ComposeOptions) -> ComposeConfig:
    """The configuration of a run. Raises ConfigError."""
    config: ComposeConfig = configure(
        options, "default" if options.preset == "auto" else options.preset, verb="compose"
    )
    if options.steps is not None:
        config.place.steps = options.steps
    if config.resolution:
        config.place.resolution = config.resolution
    if config.place.steps < 1 or config.place.views < 1 or config.starts < 1:
        raise ConfigError("must be at least 1", "--place.steps, --place.views, --starts")
    if options.fov and not 5 <= options.fov <= 120:
        raise ConfigError(
            f"must be from 5 to 120 degrees, got {options.fov:g}", "--fov", "Leave it out if it is not known"
        )
    if options.elevation is not None and not -89 <= options.elevation <= 89:
        raise ConfigError(f"must be from -89 to 89 degrees, got {options.elevation:g}", "--elevation")
    return config


def check_words(given: tuple[str, ...], text: SceneText) -> list[str]:
    """The spatial words: the user's, all of which the prompt must say, or those found in it."""
    from ..priors.tokens import phrase_spans

    for words in given:
        phrase_spans(text.prompt, words)
    return list(given) or text.words


def read_boxes(given: tuple[str, ...]) -> np.ndarray | None:
    """Boxes (N, 4) of "x0,y0,x1,y1". Raises ConfigError."""
    if not given:
        return None
    rows = []
    for said in given:
        numbers = re.findall(r"-?\d+(?:\.\d+)?", said)
        if len(numbers) != 4 or re.sub(r"[-\d.,;x\s]", "", said):
            raise ConfigError(
                f'"{said}" is not a box', "--boxes", "Say x0,y0,x1,y1 in pixels: --boxes 10,20,90,120 100,15,180,130"
            )
        rows.append([float(n) for n in numbers])
    return np.array(rows)


def read_masks(folder: Path, shape: tuple[int, int]) -> list[np.ndarray]:
    """Masks (H, W) in [0, 1] of a folder's pictures, in the order of their names. Raises InputError."""
    if not folder.is_dir():
        raise InputError(
            "there is no such folder", str(folder), "Give a folder with one black and white picture an object"
        )
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp"))
    if not files:
        raise InputError("holds no pictures", str(folder), "Give a folder with one black and white picture an object")
    masks = []
    for path in files:
        pixels, _ = read_pixels(path)
        if pixels.shape[:2] != shape:
            raise InputError(
                f"has {pixels.shape[1]} x {pixels.shape[0]} pixels, the picture {shape[1]} x {shape[0]}",
                str(path),
                "Make masks of the picture's size",
            )
        grey = pixels[..., :3].mean(-1)
        alpha = pixels[..., 3] if pixels.shape[2] == 4 and (pixels[..., 3] < 0.5).any() else None
        masks.append(grey if alpha is None else alpha * (grey if float(np.ptp(grey[alpha > 0.5])) > 0.5 else 1.0))
    return masks


def find_parts(
    canvas: Canvas, text: SceneText, boxes: np.ndarray | None, masks: list[np.ndarray] | None, config: DecomposeConfig
) -> tuple[list[Part], list[str]]:
    """The objects of the picture on the canvas, and notes for the user."""
    if masks is not None:
        return by_masks(np.stack(masks), text), []
    if boxes is not None:
        check_boxes(boxes, canvas.width, canvas.height)
        check_counts(len(boxes), text, "--boxes")
        moved = np.stack([canvas.box(b) for b in boxes])
        return by_boxes(canvas.pixels, moved, text, load_segmenter(config.segmenter)), []
    return by_itself(canvas.pixels, text, config, canvas.foreground)


def open_object(path: Path, name: str) -> SceneObject:
    """A user's mesh as an object. Raises InputError."""
    return object_of(read(path), name or path.stem)


def object_of(
    asset: Asset, name: str, azimuth: float = 0.0, elevation: float | None = None, agreement: float = float("nan")
) -> SceneObject:
    """An object of an asset, its middle at the origin and within the unit sphere."""
    from ..meshes.simplify import decimate

    vertices = np.concatenate([m.vertices for m in asset.meshes.values()])
    place = Placement.of(vertices)
    total = sum(len(m.faces) for m in asset.meshes.values())
    meshes: dict[str, Mesh] = {}
    for key, mesh in asset.meshes.items():
        small = decimate(mesh, max(200, round(FACES * len(mesh.faces) / total))) if total > FACES else mesh
        meshes[key] = replace(small, vertices=place.apply(small.vertices))
    normal = Transform(place.scale, translation=-place.centre * place.scale)
    return SceneObject(name, asset, Body(meshes), normal, azimuth, elevation, agreement)


def node_names(phrases: list[str]) -> list[str]:
    """Names of nodes: "a red ball" is red_ball; a name twice gets a number."""
    names: list[str] = []
    for number, phrase in enumerate(phrases, 1):
        stem = re.sub(r"^(a|an|the|one|some) ", "", phrase.lower())
        stem = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:50] or f"object_{number}"
        name, again = stem, 2
        while name in names:
            name, again = f"{stem}_{again}", again + 1
        names.append(name)
    return names


@dataclass
class _Run:
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
        name: str, prompt: str, text: SceneText, words: list[str], options: ComposeOptions, config: ComposeConfig, prior: DiffusionPrior,
        more: dict[str, Any],
    ) -> _Run:  # fmt: skip
        """Make the folder, write what is asked for."""
        folder = run_folder(f"{name} scene", options)
        events = Events(folder / "events.jsonl", options.verbosity)
        facts = {"verb": "compose", "prompt": prompt, "system": options.system, "preset": options.preset, "prior": options.prior,
                 "seed": options.seed, "method": options.method, "boxes": list(options.boxes), "objects": [str(p) for p in options.objects],
                 "spatial words": words, "fov": options.fov, "elevation": options.elevation, **more}  # fmt: skip
        yaml = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
        if not options.resume:
            write_atomically(folder / "run.yaml", yaml.encode())
        events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
        return _Run(folder, events, prompt, text, words, options, config, prior, facts, yaml)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return {**self.facts, "config": to_dict(self.config)}

    def from_picture(self, canvas: Canvas, parts: list[Part], given: list[SceneObject]) -> RunResult:
        """Complete, reconstruct, place."""
        events, config = self.events, self.config
        names = node_names([p.phrase for p in parts])
        for name, part in zip(names, parts):
            events.record(
                "object", name=name, phrase=part.phrase, box=[float(v) for v in part.box], sureness=part.sureness
            )
        events.status("scene: how far things are", force=True)
        protocol = self.prior.facts.camera or PLAIN_CAMERAS
        depth = scene_depth(canvas, parts, config.depth, protocol.distance, self.options.fov or protocol.fov_y)
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
            Seen(part.box, part.mask, float(np.median(depth[part.mask > 0.5])), -o.azimuth) for part, o in zip(parts, objects)
        ]  # fmt: skip
        camera = self._camera(canvas, objects, seen)
        start = [initial_transform(o.body, s, camera, config.place.layout) for o, s in zip(objects, seen)]
        if config.place.layout.ground:
            supported = {r.subject: r.object for r in self.text.relations if r.kind == "on"}
            start = on_the_ground([o.body for o in objects], start, camera, supported, feet_seen(parts))
        scene = PlacedScene([o.body for o in objects], names, start, camera.camera_to_world[0], config.place.along)
        union = np.clip(sum(p.mask for p in parts), 0, 1)
        reference = ReferencePicture(
            torch.from_numpy(canvas.pixels),
            torch.from_numpy(union.astype(np.float32)),
            camera,
            torch.from_numpy(depth.astype(np.float32)),
        )
        before = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        first = self._agreement(scene, reference, parts)
        warm_kernels(events)
        plan = StagePlan(
            "placement",
            lambda done: placement_stage(
                scene, self.text, self.words, self.prior, config.place, reference, order, True
            ),
        )
        stages = run_loop(self.folder, events, self.options, self.identity).run([plan])
        after = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
        path: Any = stages["placement"].modules["path"]
        self.pages.update(scene_pages(canvas.pixels, before, after, path.rows.numpy(), names))
        last = self._agreement(scene, reference, parts)
        figures = {"objects": len(objects), "camera: elevation, degrees": math.degrees(float(camera.elevation[0])),
                   "camera: field of view, degrees": math.degrees(float(camera.fov_y[0])),
                   **{f"{k}, first": v for k, v in first.items()}, **last}  # fmt: skip
        return self._finish(scene, objects, figures)

    def from_text(self, given: list[SceneObject]) -> RunResult:
        """Imagine the objects, try several first placements, keep the best scene."""
        names = node_names(self.text.objects)
        objects = [replace(o, name=n) for o, n in zip(given, names)] if given else [
            self._imagine(name, phrase) for name, phrase in zip(names, self.text.objects)
        ]  # fmt: skip
        protocol, config = self.prior.facts.camera or PLAIN_CAMERAS, self.config
        camera = reference_camera(protocol.distance, protocol.fov_y, 15.0, 64, 64)
        place = replace(config.place, rate=config.rate)
        scenes: list[PlacedScene] = []
        plans = []
        for number in range(config.starts):
            first = first_layout(objects, self.text, self.options.seed, number)
            scene = PlacedScene([o.body for o in objects], names, first, camera.camera_to_world[0], "axis")
            scenes.append(scene)

            def build(done: Any, scene: PlacedScene = scene, number: int = number) -> Any:
                return placement_stage(
                    scene, self.text, self.words, self.prior, place, None, [], True, f"start {number + 1}"
                )

            plans.append(StagePlan(f"start {number + 1}", build))
        warm_kernels(self.events)
        stages = run_loop(self.folder, self.events, self.options, self.identity).run(plans)
        scores = [scene_score(s, self.text, self.prompt, config) for s in scenes]
        best = max(range(len(scenes)), key=lambda n: scores[n]["score"])
        for number, score in enumerate(scores):
            self.events.record("start", number=number + 1, **score)
        pictures = [scene_pictures(s, config.place.renderer, camera.resized(192, 192))[0] for s in scenes]
        self.pages["Where the starts ended"] = (np.concatenate(pictures, 1) * 255).round().astype(np.uint8)
        chosen: Any = stages[f"start {best + 1}"].modules["path"]
        assert isinstance(chosen, PlacementPath)
        figures = {"objects": len(objects), "starts": len(scenes), "best start": best + 1, **scores[best]}
        return self._finish(scenes[best], objects, figures)

    def _complete(self, canvas: Canvas, parts: list[Part], order: list[tuple[int, int]]) -> list[Completed]:
        config = self.config.completion
        inpainter = None
        whole = []
        closed = self.prior.facts.vocabulary is not None
        for number, part in enumerate(parts):
            hidden = any(back == number for _, back in order)
            if config.when == "never" or (config.when == "hidden" and not hidden):
                whole.append(uncompleted(canvas.pixels, part, config))
                continue
            self.events.status(f"scene: completing {part.phrase or f'object {number + 1}'}", force=True)
            inpainter = inpainter or load_inpainter(config.inpainter, self.prior, config.inpaint, self.options.device)
            others = np.max([p.mask for k, p in enumerate(parts) if k != number], 0) > 0.5 if len(parts) > 1 else None
            segmenter = load_segmenter(self.config.decompose.segmenter)
            done = complete(
                canvas.pixels, part, others, inpainter, segmenter, config, self.options.seed + number, closed
            )
            self.events.record("completed", object=number + 1, filled=done.filled)
            whole.append(done)
        return whole

    def _object_options(self, name: str, phrase: str) -> ReconstructOptions:
        from .reconstruction import BEST

        o = self.options
        system = BEST if o.method == "auto" else o.method
        return ReconstructOptions(
            out=self.folder / "objects" / name, seed=o.seed, device=o.device, prior=o.prior, system=system, export=o.export, load=o.load,
            concept=o.concept, embeddings=o.embeddings, verbosity="quiet", turntable=False, prompt=phrase, minutes=o.minutes,
        )  # fmt: skip

    def _reconstruct(self, name: str, part: Part, done: Completed) -> SceneObject:
        """One object by `reconstruct`, in a folder of its own; one that is there already (a run that goes on) is taken as it is."""
        folder = self.folder / "objects" / name
        if not _finished(folder):
            self.events.status(f"scene: reconstructing {part.phrase or name}", force=True)
            _clear(folder)
            options = self._object_options(name, part.phrase)
            try:
                photo: Photo = photo_of(done.pixels.astype(np.float32), name, {"size": "cut out of the scene"})
                content = hashlib.sha256(np.ascontiguousarray(done.pixels, np.float32).tobytes()).hexdigest()[:16]
                work_out(
                    Given(photo, f"{name} of the scene", name, content, prior=self.prior),
                    picture_config(options),
                    options,
                )  # type: ignore[arg-type]
            except (CollapseError, InputError) as error:
                raise type(error)(f'"{part.phrase or name}": {error.what}', error.where, error.remedy) from None
        return self._opened(folder, name)

    def _imagine(self, name: str, phrase: str) -> SceneObject:
        folder = self.folder / "objects" / name
        if not _finished(folder):
            self.events.status(f"scene: making {phrase}", force=True)
            _clear(folder)
            imagine(phrase, self._object_options(name, phrase))
        return self._opened(folder, name)

    def _opened(self, folder: Path, name: str) -> SceneObject:
        shape: dict[str, Any] = next((e for e in read_events(folder / "events.jsonl") if e["event"] == "shape"), {})
        self.events.record(
            "reconstructed", name=name, **{k: shape.get(k) for k in ("azimuth", "elevation", "agreement")}
        )
        return object_of(
            read(folder / "asset.glb"),
            name,
            shape.get("azimuth", 0.0),
            shape.get("elevation"),
            shape.get("agreement", float("nan")),
        )

    def _camera(self, canvas: Canvas, objects: list[SceneObject], seen: list[Seen]) -> Cameras:
        """The picture's camera: the user's, the prior's, or the one under which the objects look most as they do in the picture."""
        options, known, size = self.options, self.prior.facts.camera, canvas.pixels.shape[0]
        protocol = known or PLAIN_CAMERAS
        told = [math.degrees(o.elevation) for o in objects if o.elevation is not None]
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
            [o.body for o in objects], seen, protocol.distance, protocol.fov_y, fovs, elevations, size
        )
        self.events.record("camera", fov=fitted.fov_y, elevation=fitted.elevation, agreement=fitted.agreement)
        for one in seen:
            one.depth += fitted.distance - protocol.distance
        return reference_camera(fitted.distance, fitted.fov_y, fitted.elevation, size, size)

    def _agreement(self, scene: PlacedScene, reference: ReferencePicture, parts: list[Part]) -> dict[str, float]:
        """IoU of the masks and PSNR within them, at the reference view."""
        camera = reference.camera
        visible, _ = own_masks(scene, camera)
        drawn = scene_pictures(scene, self.config.place.renderer, camera)[0]
        mask = reference.mask.numpy() > 0.5
        error = float(np.square(drawn - reference.picture.numpy())[mask].mean()) if mask.any() else 1.0
        return {
            "reference: IoU of all": mask_iou(visible.any(0).numpy().astype(np.float32), reference.mask.numpy()),
            "reference: mean IoU of each": float(
                np.mean([mask_iou(v.numpy().astype(np.float32), p.mask) for v, p in zip(visible, parts)])
            ),
            "reference: PSNR, dB": -10 * math.log10(max(error, 1e-9)),
        }

    def _finish(self, scene: PlacedScene, objects: list[SceneObject], figures: dict[str, Any]) -> RunResult:
        began = time.monotonic()
        self.events.status("asset: writing, verifying", force=True)
        from ..guidance.physical import PhysicalTerms

        residual = PhysicalTerms(scene, bonds_of(self.text), [], self.config.place.physical).report()
        where = scene.transforms()
        placed = [t.apply(np.concatenate([m.vertices for m in o.body.meshes.values()])) for o, t in zip(objects, where)]
        said = self.text.objects
        kept = {
            f"{said[r.subject]} {r.words} {said[r.object]}": relation_holds(r.kind, placed[r.subject], placed[r.object])
            for r in self.text.relations
        }
        provenance = {k: self.facts[k] for k in ("prompt", "system", "preset", "prior", "seed", "picture")}
        provenance["generator"] = "threestudio_like 0.1.0"
        provenance["licence of the prior"] = self.prior.facts.licence
        nodes = {o.name: Node(o.asset.meshes, t.after(o.normal)) for o, t in zip(objects, where)}
        asset = Asset.scene(nodes, provenance)
        protocol = self.prior.facts.camera or PLAIN_CAMERAS
        ring = RingCameras(8, 15.0, protocol.distance, protocol.fov_y)
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


def scene_depth(
    canvas: Canvas, parts: list[Part], model: str, distance: float, fov_y: float, size: int = 64
) -> np.ndarray:
    """Distances along the rays (S, S) in scene units, as well as a depth estimator knows them: the scene's middle at the camera's distance.

    An estimator of relative depth leaves scale and shift open: the objects' depths are spread over as much as the scene is wide (METHODS 4.3).
    """
    import torch.nn.functional as F

    from .completion import cut_square

    edge = canvas.pixels.shape[0]
    frame = Similarity(edge / 2, edge / 2, float(edge))
    union = np.clip(sum(p.mask for p in parts), 0, 1).astype(np.float32)
    mask = cut_square(union[..., None], frame, size)[..., 0]
    grey = cut_square(canvas.pixels * union[..., None], frame, size) + 0.8 * (1 - mask[..., None])
    depth = frame_depth(grey.clamp(0, 1)[None], mask, load_depth(model)) - 1
    wide = distance * math.tan(math.radians(fov_y) / 2) / FRAME_HALF_WIDTH
    known = distance + depth * wide
    return F.interpolate(known[None, None], (edge, edge), mode="bilinear", align_corners=False)[0, 0].numpy()


def completed_box(done: Completed) -> np.ndarray:
    """The box (4,) of a completed object on the canvas."""
    size = done.pixels.shape[0]
    x0, y0, x1, y1 = mask_box(done.pixels[..., 3])
    corners = done.frame.to_source(torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float32) / size)
    return corners.reshape(-1).double().numpy()


def first_layout(objects: list[SceneObject], text: SceneText, seed: int, number: int) -> list[Transform]:
    """A first placement of a layout by text: the first start has the objects in a row on the floor; every other one throws them on a disc, by
    the seed."""
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
            at = np.array([away * math.cos(angle), lift + 0.4 * rng.random(), away * math.sin(angle)])
        places.append(Transform(scale, translation=at))
    return places


def scene_score(scene: PlacedScene, text: SceneText, prompt: str, config: ComposeConfig) -> dict[str, float]:
    """How good a scene of a text is: CLIP's similarity of three views and the prompt, less what the physical terms still find."""
    from ..guidance.physical import PhysicalTerms
    from ..priors.clip import load_clip

    cameras = Cameras.orbit(torch.tensor([-0.5, 0.0, 0.5]), torch.full((3,), 0.26), 3.0, math.radians(40.0), 96, 96)
    pictures = torch.from_numpy(scene_pictures(scene, config.place.renderer, cameras, 0.8))
    clip = load_clip(config.decompose.clip)
    with torch.no_grad():
        alike = float((clip.embed_images(pictures) @ clip.embed_texts([prompt]).t()).mean())
    rest = PhysicalTerms(scene, bonds_of(text), [], config.place.physical).report()
    return {"score": alike - rest["penetration depth"] - rest["floating distance"], "CLIP": alike, **rest}
