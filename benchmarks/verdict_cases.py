"""What `verdicts` judges: pictures with their true meshes, the methods that make shapes of them,
good ones and ones that go wrong, and how near a shape is to the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from worlds import world_at_hand

SEED = 2001
POOR_CUTS = ("a third cut off", "half as much again", "frayed", "a thing beside it")
"""How the cut-outs of the method `poor mask` are poor, by the picture's number."""
KNOWN_AS = {
    "rocking_chair": "chair",
    "fluted_vase": "vase",
    "robot": "robot",
    "pine": "tree",
    "palm": "tree",
    "sliced_ball": "ball",
}
"""Unknown things for which the embedded world has a word, though no such shape."""
Line = dict[str, Any]


@dataclass
class Case:
    """A picture, its true mesh and camera (radians); category is empty for what the embedded world
    does not know."""

    pixels: np.ndarray
    mesh: Any
    azimuth: float
    elevation: float
    category: str = ""


def toybox(index: int) -> Case:
    """The picture of a held-out toybox object."""
    from threestudio_like.toybox.pairs import pictures_of

    world = world_at_hand("cisp/clip")
    rgba, azimuth, elevation, mesh, _ = pictures_of(SEED, index, "test", 1, 160, world.name)
    category = world.categories[index % len(world.categories)].name
    pixels = rgba[0].astype(np.float32) / 255
    return Case(pixels, mesh, float(azimuth[0]), float(elevation[0]), category)


def unknown(index: int) -> Case:
    """The picture of a thing that the embedded world does not know."""
    import unknown_things

    from threestudio_like.meshes.mesh import Mesh

    thing = unknown_things.unknown(index)
    azimuth, elevation, _ = unknown_things.camera(index)
    image = unknown_things.view_of(index).image[0]
    return Case(image.astype(np.float32), Mesh(thing.vertices, thing.faces), azimuth, elevation)


def named_rightly(line: Line) -> bool:
    """Whether the guess about a result's picture names the thing."""
    import unknown_things

    word = line["category"]
    if line["world"] == "unknown":
        kinds = list(unknown_things.KINDS)
        word = KNOWN_AS.get(kinds[line["index"] % len(kinds)], "")
    return bool(word) and word in line["guess"]


def second(index: int) -> Case:
    """The picture of a thing of the second world: categories that the embedded world knows, of
    another generator and renderer."""
    from second_world.make import SEED as WORLD
    from second_world.make import view_of
    from second_world.shapes import draw

    from threestudio_like.meshes.mesh import Mesh

    views, facts = view_of(index, 0, 192)
    thing = draw(WORLD, index)
    pixels = views.image[0].astype(np.float32)
    mesh = Mesh(thing.vertices, thing.faces)
    return Case(pixels, mesh, facts["azimuth"], facts["elevation"], thing.category)


WORLDS: dict[str, Callable[[int], Case]] = {
    "toybox": toybox,
    "unknown": unknown,
    "second world": second,
}


def poorly_cut(pixels: np.ndarray, index: int) -> np.ndarray:
    """A picture (H, W, 4) whose alpha misses the object, in one of the ways of `POOR_CUTS`."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    alpha = pixels[..., 3] > 0.5
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    tall, wide = rows[-1] - rows[0], columns[-1] - columns[0]
    way = POOR_CUTS[index % len(POOR_CUTS)]
    if way == "a third cut off":
        alpha = alpha.copy()
        alpha[rows[0] : rows[0] + tall // 3] = False
    elif way == "half as much again":
        alpha = binary_dilation(alpha, iterations=max(2, round(0.08 * max(tall, wide))))
    elif way == "frayed":
        rng = np.random.Generator(np.random.Philox(key=[SEED + 7, index]))
        noise = gaussian_filter(rng.normal(0, 1, alpha.shape), 0.05 * max(tall, wide))
        alpha = alpha & (noise > -0.3 * noise.std())
    else:
        side = max(4, max(tall, wide) // 3)
        left = min(alpha.shape[1] - side, columns[-1])
        alpha = alpha.copy()
        alpha[rows[-1] - side : rows[-1], left : left + side] = True
    return np.concatenate([pixels[..., :3], alpha[..., None].astype(np.float32)], -1)


def before_clutter(pixels: np.ndarray, index: int) -> np.ndarray:
    """A picture (H, W, 4) as a photograph: its object before clutter (S, S, 3), without an alpha
    (`clutter.composite`)."""
    from clutter import WALLS, composite

    rng = np.random.Generator(np.random.Philox(key=[SEED + 11, index]))
    return composite(rng, pixels, kind=[*WALLS][index % len(WALLS)]).picture.astype(np.float32)


def given(case: Case, method: str, index: int) -> np.ndarray:
    """The pixels that a method gets."""
    if method == "found cut":
        return before_clutter(case.pixels, index)
    return poorly_cut(case.pixels, index) if method == "poor mask" else case.pixels


PHOTOS = ("photos-2", "photos-4")
"""The relief of photos a quarter turn apart, their azimuths told; of unknown things alone."""


def made(case: Case, photo: Any, method: str, index: int, line: Line) -> Any:
    """The shape that a method makes of a case."""
    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.meshes.surface.voxels import to_mesh, voxelise
    from threestudio_like.systems.image_to_3d.caption import guess_caption
    from threestudio_like.systems.image_to_3d.cisp import CispConfig, reconstruct_shape
    from threestudio_like.systems.image_to_3d.g3dr import G3drReconstruction
    from threestudio_like.systems.image_to_3d.known import Known
    from threestudio_like.systems.image_to_3d.method import PictureRequest, ShapeFound
    from threestudio_like.systems.image_to_3d.pose import PoseConfig, find_pose
    from threestudio_like.systems.image_to_3d.relief.reconstruction import (
        ReliefConfig,
        reconstruct_relief,
    )

    if method in ("poor mask", "found cut"):
        return reconstruct_relief(photo, ReliefConfig(), Known())
    if method == "auto":
        return by_default(photo, line)
    if method == "g3dr":
        # Without a prior the camera's azimuth is the front; what is measured does not turn with it.
        return G3drReconstruction().result(PictureRequest(photo=photo), {})
    if method == "relief":
        guess = guess_caption(photo)
        line["likeness"], line["guess"] = guess.likeness, guess.text
        return reconstruct_relief(photo, ReliefConfig(), Known())
    if method in PHOTOS:
        return by_photos(case, photo, int(method[-1]), index)
    if method == "wrong cameras":
        return by_photos(case, photo, 4, index, told=(0.5, 1.5, 1.0))
    if method == "cisp":
        guess = guess_caption(photo)
        prompt = guess.text if guess.sure else ""
        return reconstruct_shape(photo, CispConfig(), 0, prompt=prompt)
    poses = PoseConfig()
    mask = photo.mask(poses.size)
    meshes = [case.mesh]
    if method == "another":
        objects = [
            world_at_hand("cisp/clip").draw(SEED + 1, 5 * index + 7 * k, "test") for k in range(2)
        ]
        meshes = [Mesh(o.vertices, o.faces) for o in objects]
    shapes = [to_mesh(voxelise(m).astype(np.float32)) for m in meshes]
    found = [ShapeFound(m, find_pose(m, mask, poses), poses) for m in shapes if m is not None]
    return max(found, key=lambda f: f.pose.agreement)


def by_default(photo: Any, line: Line) -> Any:
    """The shape that `reconstruct` makes when nobody says anything; which method it took."""
    from threestudio_like.commands.jobs.picture.choice import by_auto
    from threestudio_like.systems.image_to_3d.caption import guess_caption
    from threestudio_like.systems.image_to_3d.cisp import CispReconstruction
    from threestudio_like.systems.image_to_3d.method import PictureRequest

    guess = guess_caption(photo)
    request = PictureRequest(
        photo=photo,
        prompt=guess.text if guess.sure else "",
        sure=guess.sure,
        maybe=guess.maybe,
    )
    _, found, line["took"] = by_auto(CispReconstruction(), request)
    return found


def by_photos(
    case: Case, photo: Any, count: int, index: int, told: tuple[float, ...] = (0.5, 1.0, 1.5)
) -> Any:
    """The relief of photos of an unknown thing, taken a quarter turn apart. `told`: what is said of
    their azimuths, in half turns."""
    import unknown_things

    from threestudio_like.systems.image_to_3d.known import Known, View
    from threestudio_like.systems.image_to_3d.photo import photo_of
    from threestudio_like.systems.image_to_3d.relief.reconstruction import (
        ReliefConfig,
        reconstruct_relief,
    )

    turns = tuple(math.pi / 2 * k for k in range(1, count))
    shots = unknown_things.view_of(index, turns=turns).image
    views = tuple(
        View(photo=photo_of(shot, "further", {}), azimuth=case.azimuth + math.pi * turn)
        for shot, turn in zip(shots, told, strict=False)
    )
    known = Known(azimuth=case.azimuth, elevation=case.elevation, views=views)
    return reconstruct_relief(photo, ReliefConfig(), known)


def shown_iou(found: Any, case: Case, size: int = 64) -> float:
    """Mean IoU of framed silhouettes, from the picture's camera and turned by 30 degrees."""
    from threestudio_like.systems.image_to_3d.pose import (
        PoseConfig,
        agreement,
        framed_masks,
        silhouettes,
    )

    turns = torch.tensor([-math.pi / 6, 0.0, math.pi / 6])
    masks = []
    for mesh, azimuth, elevation, poses in (
        (found.mesh, found.pose.azimuth, found.pose.elevation, found.poses),
        (case.mesh, case.azimuth, case.elevation, PoseConfig()),
    ):
        up = torch.full((3,), float(elevation))
        drawn = silhouettes(mesh, turns + float(azimuth), up, config=poses, size=2 * size)
        masks.append(framed_masks(drawn, size))
    return float(np.mean([float(agreement(a[None], b)[0]) for a, b in zip(masks[0], masks[1])]))


def volume_iou(found: Any, case: Case) -> float:
    """Volume IoU on 32^3 cells, both turned so that the picture's camera is the front, and brought
    to one size."""
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.meshes.surface.voxels import voxelise
    from threestudio_like.metrics.point_sets import voxel_iou
    from threestudio_like.systems.image_to_3d.relief.surface import turn_to

    cells = []
    for mesh, azimuth, elevation in (
        (found.mesh, found.pose.azimuth, found.pose.elevation),
        (case.mesh, case.azimuth, case.elevation),
    ):
        points = mesh.vertices @ turn_to(float(azimuth), float(elevation)).numpy()
        points = Normalisation.of(points).apply(points)
        cells.append(voxelise(Mesh(np.ascontiguousarray(points), mesh.faces)))
    return voxel_iou(*cells)


def coloured(found: Any, photo: Any) -> tuple[Any, float]:
    """The asset with the picture's colours, the rest by its neighbours, and the share that the
    picture shows."""
    from threestudio_like.commands.jobs.picture.asset import share, textured_asset
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.meshes.surface.simplify import decimate
    from threestudio_like.meshes.texture.atlas import join_atlas
    from threestudio_like.meshes.texture.unwrap import unwrap
    from threestudio_like.representations import TexturedMesh
    from threestudio_like.systems.image_to_3d.back_projection import (
        ProjectionConfig,
        completed,
        lay_back,
    )

    config = ProjectionConfig(complete="method" if found.colour else "neighbours")
    mesh, _ = unwrap(decimate(found.mesh, 3000), 256, 20.0)
    atlas = join_atlas(Asset({"object": mesh.with_normals()}), 256)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    laid = lay_back(
        surface, photo, found.pose, poses=found.poses, config=config, frame=found.frame(photo)
    )
    seen = share(laid.seen, surface.charts)
    done = completed(laid, config, None, stages={}, colour=found.colour)
    texture = done.padded()[0].detach().permute(1, 2, 0).clamp(0, 1)
    pixels = np.rint(texture.numpy() * 255).astype(np.uint8)
    return textured_asset(done.atlas, pixels, {}), seen
