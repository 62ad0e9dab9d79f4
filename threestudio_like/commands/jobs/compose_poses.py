"""`compose --objects … --poses poses.json`: objects and poses were made elsewhere, and only the
layout is settled, by the picture where there is one and by how things stand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.errors import ConfigError, InputError
from ...engine.loop import StagePlan
from ...meshes.frames import Normalisation
from ...meshes.io.files import read
from ...meshes.mesh import Asset
from ...meshes.transform import Transform
from ...renderers import Cameras
from ...representations import PlacedScene
from ...runs.configure import export_config
from ...runs.delivery import RunResult
from ...runs.options import PriorOptions
from ...runs.prior import prompt_vocabulary, refuse_parts
from ...runs.session import Run
from ...systems.cut_out.cut import own_alpha
from ...systems.cut_out.marks import read_masks
from ...systems.image_to_3d.photo import read_pixels
from ...systems.scene.comboverse import Comboverse
from ...systems.scene.layout import mask_iou, own_masks, reference_camera
from ...systems.scene.objects import SceneObject, node_names, object_of
from ...systems.scene.placement import (
    PlacementConfig,
    ReferencePicture,
    placement_stage,
    scene_pictures,
)
from ...systems.scene.poses import PosedCamera, Poses, read_poses
from ...systems.scene.prompt import SceneText, read_scene
from ...systems.scene.report import scene_pages
from ...systems.scene.segmentation import border_mask
from ..compose import Compose
from .compose_ending import Ending, stand_and_tell
from .compose_objects import of_made_objects

RADIUS = 0.95
"""Of the sphere in which a scene is settled, whatever its own size and place are."""


def compose_poses(options: Compose, config_of: Any) -> RunResult:
    """A scene of objects and poses.

    Args:
        config_of: makes the method's configuration of the options.

    Raises:
        UserError: of every kind in `engine.errors`.
    """
    assert options.poses is not None
    _check(options)
    refuse_parts(options.model, "is for a prior, and a layout is only settled")
    path = options.poses.expanduser()
    with Run.open("compose", options, name=f"{path.stem} scene") as run:
        config_of(options)
        poses = read_poses(path)
        words = prompt_vocabulary(options.model)
        text = read_scene(options.prompt, words) if options.prompt else SceneText("")
        objects = posed_objects(poses, options.objects, path, text)
        picture = _picture_of(options, poses, path)
        config: Comboverse = run.configure(config_of(options))
        facts = _facts(run, options, path, picture)
        if not options.objects:
            files = [_beside(path, p.file, n) for n, p in enumerate(poses.objects, 1)]
            facts["meshes content"] = [_content(file) for file in files]
        run.describe(facts, config, export_config(options))
        unused = {
            "--prior": options.model.prior != PriorOptions().prior,
            "--memory": bool(options.run.memory),
            "--negative": bool(options.method.negative),
            # Without a picture nothing is optimised.
            "--steps": picture is None and options.method.steps is not None,
            "--resolution": picture is None and options.method.resolution is not None,
            **of_made_objects(options),
        }
        for name in (k for k, said in unused.items() if said):
            run.events.say(f"Warning: {name} changes nothing where a layout is only settled.")
        return _settled(run, text, config, poses, objects, picture)


def check_posed(options: Compose) -> None:
    """Raise what a scene of poses would begin with, before anything of it is loaded.

    Raises:
        ConfigError, InputError: options, the file of poses, a mesh or a picture that is not there.
    """
    assert options.poses is not None
    _check(options)
    refuse_parts(options.model, "is for a prior, and a layout is only settled")
    path = options.poses.expanduser()
    poses = read_poses(path)
    count = len(poses.objects)
    if options.objects:
        _check_count(len(options.objects), count, path)
    else:
        for number, pose in enumerate(poses.objects, 1):
            if not _beside(path, pose.file, number).is_file():
                raise InputError(f'names "{pose.file[:60]}", which is not there', str(path))
    picture = _picture_of(options, poses, path)
    if picture is not None and not picture.is_file():
        raise InputError(f'names "{poses.picture[:60]}", which is not there', str(path))


def named_by(path: Path) -> list[Path]:
    """The files below its folder that a file of poses names, as far as they are there: meshes and a
    picture. Raises InputError where it says no poses."""
    poses = read_poses(path)
    folder = path.parent.resolve()
    files = [
        (folder / name).resolve() for name in (*(p.file for p in poses.objects), poses.picture)
    ]
    return [f for f in dict.fromkeys(files) if f.is_file() and f.is_relative_to(folder)]


def _check_count(given: int, count: int, path: Path) -> None:
    if given != count:
        raise ConfigError(
            f"gives {given} meshes for {count} poses",
            "--objects",
            f"Give one mesh for each object of {path.name}, in its order",
        )


def _check(options: Compose) -> None:
    """Raise ConfigError where something is said that poses leave no room for."""
    for name, value in (
        ("--text", options.text),
        ("--boxes", options.boxes),
        ("--pick", options.pick),
        ("--segmenter", options.segmenter),
        ("--fov", options.fov),
        ("--elevation", options.elevation is not None),
        ("--spatial-words", options.spatial_words),
    ):
        if value:
            raise ConfigError(
                "goes without --poses, which say where the objects and the camera are",
                name,
                "Leave it out; the camera belongs into the file of poses",
            )
    if options.masks is not None and not options.picture:
        raise ConfigError("are of a picture, and there is none", "--masks", "Give the picture")


def posed_objects(
    poses: Poses, given: tuple[Path, ...], path: Path, text: SceneText
) -> list[SceneObject]:
    """The objects, by --objects or by the files that the poses name; nodes are named after the
    prompt, the poses or the files.

    Raises:
        InputError, ConfigError: another number of them than of poses, a missing file.
    """
    count = len(poses.objects)
    if given:
        _check_count(len(given), count, path)
    if text.objects and len(text.objects) != count:
        raise ConfigError(
            f"names {len(text.objects)} objects, and there are {count} poses",
            "the prompt",
            "Name each object once, in the order of the poses, or leave the prompt out",
        )
    files = list(given) or [_beside(path, p.file, n) for n, p in enumerate(poses.objects, 1)]
    stems = [p.name or f.stem for p, f in zip(poses.objects, files)]
    names = node_names(text.objects or stems)
    assets: dict[tuple[Path, bytes], Asset] = {}
    out = []
    for name, file, pose in zip(names, files, poses.objects):
        key = (file.expanduser(), pose.stretch.tobytes())
        if key not in assets:
            assets[key] = _stretched(read(file.expanduser()), pose.stretch)
        out.append(object_of(assets[key], name))
    return out


def _beside(path: Path, file: str, number: int) -> Path:
    """A mesh that the poses name, below their folder."""
    if not file:
        raise InputError(
            f"says no file of object {number}", str(path), 'Add "file", or give --objects a.glb …'
        )
    folder = path.parent.resolve()
    found = (folder / file).resolve()
    if Path(file).is_absolute() or not found.is_relative_to(folder):
        raise InputError(
            f'names a file outside of its folder, "{file[:60]}"',
            str(path),
            "Give the meshes by --objects",
        )
    return found


def _stretched(asset: Asset, stretch: np.ndarray) -> Asset:
    """An asset whose axes are scaled differently, which no pose can hold."""
    if (stretch == 1).all():
        return asset
    return asset.with_meshes(
        {
            k: replace(m, vertices=(m.vertices * stretch).astype(np.float32), normals=None)
            for k, m in asset.meshes.items()
        }
    )


def _picture_of(options: Compose, poses: Poses, path: Path) -> Path | None:
    """The picture of the command line, or of the poses. Raises ConfigError where nothing says from
    where it was taken."""
    if options.picture:
        found = Path(options.picture).expanduser()
    elif poses.picture:
        found = _beside(path, poses.picture, 0)
    else:
        return None
    if poses.camera is None:
        raise ConfigError(
            "has a picture and no camera",
            str(path),
            'Add "camera": {"camera_to_world": …, "fov_y": …}, or leave the picture out',
        )
    return found


def _facts(run: Run, options: Compose, path: Path, picture: Path | None) -> dict[str, Any]:
    return {
        "prompt": options.prompt,
        "system": "comboverse",
        "preset": options.method.preset,
        "prior": "none",
        "seed": options.run.seed,
        "picture": "" if picture is None else run.fact("picture", str(picture)),
        "picture content": "" if picture is None else _content(picture),
        "poses": run.fact("poses", str(path)),
        "poses content": _content(path),
        "objects": run.fact("objects", [str(p) for p in options.objects]),
    }


def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _settled(
    run: Run,
    text: SceneText,
    config: Comboverse,
    poses: Poses,
    objects: list[SceneObject],
    picture: Path | None,
) -> RunResult:
    world = [
        p.where.apply(np.concatenate([m.vertices for m in o.asset.meshes.values()]))
        for p, o in zip(poses.objects, objects)
    ]
    view = Normalisation.of(np.concatenate(world), RADIUS)
    inward = Transform(view.scale, translation=-view.centre * view.scale)
    start = [
        inward.after(p.where).after(_inverse(o.normal)) for p, o in zip(poses.objects, objects)
    ]
    reference = None
    if picture is not None:
        assert poses.camera is not None
        reference = _reference(run, picture, poses.camera, view)
    camera = (
        reference_camera(3.0, 40.0, 15.0, height=192, width=192)
        if reference is None
        else reference.camera
    )
    scene = PlacedScene(
        [o.body for o in objects],
        [o.name for o in objects],
        start,
        camera_to_world=camera.camera_to_world[0],
        along="axis" if reference is None else config.place.along,
    )
    pages: dict[str, np.ndarray] = {}
    figures: dict[str, Any] = {"objects": len(objects)}
    before = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
    if reference is not None:
        figures["reference: IoU of all, first"] = _agreement(scene, reference)
        _by_picture(run, scene, text, config.place, reference)
    else:
        run.lead_alone()
    floor = None if poses.floor is None else (poses.floor - view.centre[1]) * view.scale
    figures |= stand_and_tell(run, scene, config.place, floor)
    after = scene_pictures(scene, config.place.renderer, camera.resized(192, 192))
    shown = before[0] if reference is None else reference.picture.numpy()
    pages |= scene_pages(
        shown, before, after, path=np.zeros((0, len(objects), 8)), names=[o.name for o in objects]
    )
    if reference is not None:
        figures["reference: IoU of all"] = _agreement(scene, reference)
    ending = Ending(
        run=run,
        prompt=text.prompt,
        text=text,
        config=config,
        prior=None,
        pages=pages,
        view=view,
    )
    return ending.deliver(scene, objects, figures)


def _inverse(where: Transform) -> Transform:
    """The inverse of a transform without a rotation."""
    return Transform(1 / where.scale, translation=-where.translation / where.scale)


def _by_picture(
    run: Run,
    scene: PlacedScene,
    text: SceneText,
    config: PlacementConfig,
    reference: ReferencePicture,
) -> None:
    """Move the objects by the picture and the physical terms."""

    def plan(done: Any) -> Any:
        return placement_stage(
            scene, text, [], prior=None, config=config, reference=reference, name="placement"
        )

    run.execute([StagePlan("placement", plan)])


def _reference(
    run: Run, picture: Path, camera: PosedCamera, view: Normalisation
) -> ReferencePicture:
    """The picture with the mask of all objects, and its camera where the scene is settled."""
    read_picture = read_pixels(picture)
    pixels = read_picture.pixels
    height, width = pixels.shape[:2]
    alpha = own_alpha(pixels)
    if run.options.masks is not None:
        drawn, told = read_masks(run.options.masks, read_picture.shape, (height, width))
        mask = np.clip(sum(drawn), 0, 1)
        for line in told:
            run.events.say(f"Warning: the picture: {line}.")
    elif alpha is not None:
        mask = alpha
    else:
        mask = border_mask(pixels[..., :3])
        run.events.say(
            "Warning: the picture: its objects are taken to be what stands out from its border "
            "(--masks says it)."
        )
    matrix = camera.camera_to_world.copy()
    matrix[:3, 3] = (matrix[:3, 3] - view.centre) * view.scale
    zero = torch.zeros(1)
    cameras = Cameras(
        torch.from_numpy(matrix.astype(np.float32))[None],
        torch.tensor([camera.fov_y], dtype=torch.float32),
        height,
        width=width,
        azimuth=zero,
        elevation=zero,
        distance=torch.tensor([float(np.linalg.norm(matrix[:3, 3]))]),
    )
    return ReferencePicture(
        torch.from_numpy(np.ascontiguousarray(pixels[..., :3], np.float32)),
        torch.from_numpy(mask.astype(np.float32)),
        cameras,
    )


def _agreement(scene: PlacedScene, reference: ReferencePicture) -> float:
    """IoU of the objects and the picture's mask."""
    visible, _ = own_masks(scene, reference.camera)
    return mask_iou(visible.any(0).numpy().astype(np.float32), reference.mask.numpy())
