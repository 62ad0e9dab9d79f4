"""Where objects stand at first, from boxes, masks and depth (ComboVerse, METHODS 4.3), and how well
a placement agrees with the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ...engine.schema.bounds import Count
from ...kernels import rasterize
from ...meshes.transform import Transform
from ...renderers import Cameras
from ...representations import Body, PlacedScene


@dataclass
class Seen:
    """What the picture tells of one object, in the picture's own pixels.

    box (4,) x0, y0, x1, y1 of its whole extent as far as it is known; mask (H, W) in [0, 1] of what
    is visible; depth: median distance along the rays to its visible surface, in scene units; yaw:
    radians by which its front is turned from the camera's direction, and tilt.
    """

    box: np.ndarray
    mask: np.ndarray
    depth: float
    yaw: float = 0.0


MIDDLE = 2
"""Objects by which the middle of a prior's elevations counts: silhouettes of single things of
scenes are off by 21 degrees (RMS of 118), the prior's pictures lie within 16 of their middle."""


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """How objects are placed before anything is optimised."""

    size: Literal["projected", "box"] = "projected"
    """projected: the mesh's projection gets the box's size, exactly. box: the paper's max(W_box/W,
    H_box/H) of what spans the picture."""
    surface: bool = True
    """The depth that is measured is that of the visible surface: the object's middle lies behind it
    by as much as its mesh says. False: the middle is put there, as published."""
    rounds: Count = 4
    """Corrections of size and place by the projection."""
    ground: bool = True
    """Let the common floor correct the depths: see `on_the_ground`."""


def reference_camera(
    distance: float, fov_y: float, elevation: float, height: int, width: int
) -> Cameras:
    """The camera of the picture: it looks at the scene's middle from the front. Degrees; pixels."""
    return Cameras.orbit(
        torch.zeros(1),
        torch.tensor([math.radians(elevation)]),
        distance,
        fov_y=math.radians(fov_y),
        height=height,
        width=width,
    )


def projected_box(points: np.ndarray, camera: Cameras) -> np.ndarray:
    """The box (4,) x0, y0, x1, y1 in pixels of points (N, 3) in the world, as the first camera sees
    them."""
    whole = (
        np.concatenate([points, np.ones((len(points), 1))], 1)
        @ camera.view_projection()[0].double().numpy().T
    )
    flat = whole[:, :2] / np.maximum(whole[:, 3:], 1e-6)
    x, y = (flat[:, 0] + 1) / 2 * camera.width, (1 - flat[:, 1]) / 2 * camera.height
    return np.array([x.min(), y.min(), x.max(), y.max()])


def ray_through(camera: Cameras, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Eye (3,) and the direction (3,) of length one along the optical axis, through a place in
    pixels."""
    half = math.tan(float(camera.fov_y[0]) / 2)
    local = np.array(
        [
            (x / camera.width * 2 - 1) * half * camera.width / camera.height,
            (1 - y / camera.height * 2) * half,
            -1.0,
        ]
    )
    frame = camera.camera_to_world[0].double().numpy()
    return frame[:3, 3], frame[:3, :3] @ local


def looks_down(box: np.ndarray, fov_y: float, height: int) -> float:
    """Degrees by which the ray through the middle of a box (4,), in pixels of a picture of
    `height`, looks down more steeply than the middle of the picture. fov_y: degrees."""
    away = (float(box[1] + box[3]) / height - 1) * math.tan(math.radians(fov_y) / 2)
    return math.degrees(math.atan(away))


def initial_transform(
    body: Body, seen: Seen, camera: Cameras, config: LayoutConfig | None = None
) -> Transform:
    """Where an object stands so that it looks as large and as far away as the picture says, and
    stands upright.

    Args:
        body: the object, its front to +Z; its middle is its bounding box's.
    """
    config = config or LayoutConfig()
    vertices = body.vertices.astype(np.float64)
    middle = (vertices.min(0) + vertices.max(0)) / 2
    x, y = (seen.box[0] + seen.box[2]) / 2, (seen.box[1] + seen.box[3]) / 2
    width, height = seen.box[2] - seen.box[0], seen.box[3] - seen.box[1]
    _, direction = ray_through(camera, x, y)
    frame = camera.camera_to_world[0].double().numpy()
    # The front faces the camera as it would at the picture's middle; beside it the view is turned
    # along with the ray.
    turn = (
        seen.yaw + math.atan2(direction[0], direction[2]) - math.atan2(-frame[0, 2], -frame[2, 2])
    )
    base = Transform.turn(turn)
    along = seen.depth / float(np.linalg.norm(direction))
    half = math.tan(float(camera.fov_y[0]) / 2)
    share = max(width / camera.width, height / camera.height)
    extent = max(float((vertices.max(0) - vertices.min(0)).max()), 1e-9)
    scale = share * 2 * half * along * max(1.0, camera.width / camera.height) / extent

    def place(scale: float, x: float, y: float, along: float) -> Transform:
        eye, direction = ray_through(camera, x, y)
        at = eye + direction * along - scale * base.linear @ middle
        return Transform(scale, base.rotation, at)

    found = place(scale, x, y, along=along)
    if config.size == "box" and not config.surface:
        return found
    for _ in range(config.rounds):
        if config.surface:
            # In front of its middle lies half of its thickness, as it is seen from there.
            points = found.apply(vertices)
            deep = -((points - frame[:3, 3]) @ frame[:3, 2])
            centre = -float((found.apply(middle[None])[0] - frame[:3, 3]) @ frame[:3, 2])
            front = surface_depth(body, found, camera)
            along = seen.depth / float(np.linalg.norm(direction)) + (
                centre - front if front is not None else centre - float(np.quantile(deep, 0.25))
            )
        if config.size == "projected":
            box = projected_box(found.apply(vertices), camera)
            grown = math.sqrt(
                max(width, 1e-3)
                / max(box[2] - box[0], 1e-6)
                * max(height, 1e-3)
                / max(box[3] - box[1], 1e-6)
            )
            scale *= min(max(grown, 0.25), 4.0)
            x += (seen.box[0] + seen.box[2] - box[0] - box[2]) / 2
            y += (seen.box[1] + seen.box[3] - box[1] - box[3]) / 2
        else:
            scale = share * 2 * half * along * max(1.0, camera.width / camera.height) / extent
        found = place(scale, x, y, along=along)
    return found


def nearer(where: Transform, eye: np.ndarray, share: float) -> Transform:
    """A transform moved along the line of sight to `share` of its distance from the eye (3,), its
    size along with it: the same picture."""
    return Transform(where.scale * share, where.rotation, eye + share * (where.translation - eye))


def on_the_ground(
    bodies: list[Body],
    start: list[Transform],
    camera: Cameras,
    supported: dict[int, int],
    sure: list[int] | None = None,
) -> list[Transform]:
    """First placements corrected by the ground: what stands on one floor tells by its lowest point
    how far away it is.

    Moving an object along its line of sight by a factor k moves its lowest point to eye + k (y -
    eye), so each factor follows from the floor's height; that height itself is the scene's scale,
    which no picture tells: it is chosen so that the median factor is one. The middle of an object
    that is on another lies above that one's middle, as far as the line of sight allows.

    Args:
        supported: object -> what it is on. sure: objects whose lowest point is seen; all by
            default.
    """
    eye = camera.camera_to_world[0, :3, 3].double().numpy()
    standing = [n for n in range(len(start)) if n not in supported and (sure is None or n in sure)]
    drops = {n: float(start[n].apply(bodies[n].vertices)[:, 1].min()) - eye[1] for n in standing}
    # Seen from below or level with the floor, feet tell nothing.
    drops = {
        n: d
        for n, d in drops.items()
        if d < -0.15 * float(np.linalg.norm(start[n].translation - eye))
    }
    out = list(start)
    if len(drops) > 1:
        floor = float(np.median(list(drops.values())))
        for n, drop in drops.items():
            out[n] = nearer(start[n], eye, min(max(floor / drop, 0.6), 1.6))
    middles = [(b.vertices.min(0) + b.vertices.max(0)) / 2 for b in bodies]
    # What bears comes before what it bears; of a circle nothing moves.
    waiting = dict(supported)
    while ready := [n for n, below in waiting.items() if below not in waiting]:
        for n in ready:
            below = waiting.pop(n)
            own, other = (out[k].apply(middles[k][None])[0] - eye for k in (n, below))
            flat = np.array([other[0], 0.0, other[2]])
            if own @ flat > 0:
                out[n] = nearer(out[n], eye, float(flat @ flat / (own @ flat)))
    return out


def scene_elevation(told: list[float], known: tuple[float, float]) -> float:
    """Degrees by which a picture looks down on a scene, of what each of its objects tells alone
    (at least one), and of the lowest and highest elevation that the prior's pictures have."""
    low, high = known
    own = [min(max(value, low), high) for value in told]
    return (sum(own) + MIDDLE * (low + high) / 2) / (len(own) + MIDDLE)


@torch.no_grad()
def surface_depth(body: Body, where: Transform, camera: Cameras, size: int = 64) -> float | None:
    """The mean distance along the optical axis to the surface that the camera sees; None where it
    sees nothing."""
    small = camera.resized(size, max(1, round(size * camera.width / camera.height)))
    points = torch.from_numpy(where.apply(body.vertices))
    faces, offset = [], 0
    for mesh in body.meshes.values():
        faces.append(mesh.faces + offset)
        offset += len(mesh.vertices)
    clip = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ small.view_projection()[0].t()
    tri = torch.from_numpy(np.concatenate(faces).astype(np.int32))
    pixels = rasterize(clip, tri, small.height, width=small.width)
    hit = pixels[..., 3] > 0
    if not bool(hit.any()):
        return None
    corner = clip[:, 3][tri[pixels[..., 3][hit].long() - 1].long()]
    u, v = pixels[..., 0][hit], pixels[..., 1][hit]
    return float((corner[:, 0] * u + corner[:, 1] * v + corner[:, 2] * (1 - u - v)).mean())


@torch.no_grad()
def own_masks(scene: PlacedScene, camera: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Where every object is seen, (N, H, W) bool, and where it would be if it stood alone, (N, H,
    W) bool."""
    points = scene.vertices()
    clip = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ camera.view_projection()[0].t()
    whole = rasterize(clip, scene.tri, camera.height, width=camera.width)[..., 3].long()
    label = torch.where(whole > 0, scene.face_owner[(whole - 1).clamp_min(0)] + 1, 0)
    alone = []
    for number in range(len(scene)):
        own = scene.tri[scene.face_owner == number]
        alone.append(rasterize(clip, own, camera.height, width=camera.width)[..., 3] > 0)
    return torch.stack([label == n + 1 for n in range(len(scene))]), torch.stack(alone)


def mask_iou(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union of masks above one half."""
    a, b = one > 0.5, two > 0.5
    return float((a & b).sum() / max(int((a | b).sum()), 1))


@dataclass
class FittedCamera:
    """A camera that was fitted: degrees, scene units, and the mean IoU of the objects' silhouettes
    under it."""

    fov_y: float
    elevation: float
    distance: float
    agreement: float


def fitted_camera(
    bodies: list[Body],
    seen: list[Seen],
    distance: float,
    fov_y: float,
    fovs: tuple[float, ...],
    elevations: tuple[float, ...],
    size: int,
) -> FittedCamera:
    """The camera among candidates (degrees) under which the objects, put where the picture shows
    them, have the silhouettes that it shows.

    The scene stays as large in the picture as it is from `distance` under `fov_y`: a narrower view
    comes with a longer distance.
    """
    span = distance * math.tan(math.radians(fov_y) / 2)
    best: FittedCamera | None = None
    small = min(size, 128)
    share = small / size
    for fov in fovs:
        away = span / math.tan(math.radians(fov) / 2)
        moved = [Seen(s.box * share, s.mask, s.depth + away - distance, yaw=s.yaw) for s in seen]
        for elevation in elevations:
            camera = reference_camera(away, fov, elevation, height=small, width=small)
            start = [initial_transform(b, s, camera) for b, s in zip(bodies, moved)]
            scene = PlacedScene(
                bodies, [""] * len(bodies), start, camera_to_world=camera.camera_to_world[0]
            )
            visible, _ = own_masks(scene, camera.resized(size, size))
            score = float(
                np.mean(
                    [mask_iou(v.numpy().astype(np.float32), s.mask) for v, s in zip(visible, seen)]
                )
            )
            if best is None or score > best.agreement + 1e-3:
                best = FittedCamera(fov, elevation, away, agreement=score)
    assert best is not None
    return best
