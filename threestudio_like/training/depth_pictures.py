"""Pictures of toybox objects with the depth of the first and of the last surface along every ray:
what the embedded depth estimator and G3DR's generator learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.output import new_file
from ..priors.depth import EMBEDDED_SPAN, FRAME_HALF_WIDTH
from ..priors.framing import FILL, boxes
from ..toybox.editions import edition
from ..toybox.parallel import each
from ..toybox.render import render, view_projection
from ..toybox.rooms import in_room, room_picture

SIZE = 64
CAMERAS = ((3.0, 40.0), (5.0, 18.0))
"""Distance and field of view in degrees: the toybox's own camera, and G3DR's."""


@dataclass(frozen=True)
class Rooms:
    """What stands behind the objects of B pictures: pictures (B, S, S, 3) in [0, 1], and which of
    the objects are in a room, there (B,) bool."""

    pictures: torch.Tensor
    there: torch.Tensor


@dataclass
class DepthPictures:
    """Pictures and their truth.

    Attributes:
        images: (N, S, S, 3) uint8 on black. masks: (N, S, S) uint8.
        depth: (N, S, S) float16, distance along the ray, less the camera's distance, plus one; zero
            outside the mask. back: the same of the last surface along the ray.
        elevation: (N,) of the camera, radians.
        half_width: (N,) half of what a picture's edge spans at the camera's distance.
        rooms: (N, S, S, 3) uint8, the rooms behind the objects, and in_room: (N,) bool, which of
            them are in one; None where none is.
    """

    images: np.ndarray
    masks: np.ndarray
    depth: np.ndarray
    back: np.ndarray
    elevation: np.ndarray
    half_width: np.ndarray
    rooms: np.ndarray | None = None
    in_room: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def framed(
        self, rows: np.ndarray, fill: torch.Tensor | float = FILL, shift: torch.Tensor | float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows of the data set, with the object centred and scaled to `fill` (B,) of the frame, and
        displaced by `shift` (B, 2).

        Returns images (B, S, S, 3) on black, masks, depths and depths of the back (B, S, S). Depth
        grows with the object, in units in which the frame spans 2 `FRAME_HALF_WIDTH`; the
        perspective is not changed.
        """
        mask = torch.from_numpy(self.masks[rows]).float() / 255
        size = mask.shape[1]
        grid, side = _frames(mask, fill, shift)
        layers = torch.cat(
            [torch.from_numpy(self.images[rows]).float() / 255, mask[..., None]], -1
        ).permute(0, 3, 1, 2)
        layers = F.grid_sample(
            layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        both = np.stack([self.depth[rows], self.back[rows]], 1).astype(np.float32)
        # Nearest neighbour, because there is no depth between an object and empty space.
        depth = F.grid_sample(
            torch.from_numpy(both), grid, mode="nearest", padding_mode="zeros", align_corners=False
        )
        larger = torch.from_numpy(FRAME_HALF_WIDTH / self.half_width[rows]) * (size / side)
        grown = (1 + (depth - 1) * larger.view(-1, 1, 1, 1)).clamp(0.02, EMBEDDED_SPAN)
        grown = torch.where(depth > 0, grown, depth)
        return layers[:, :3].permute(0, 2, 3, 1), layers[:, 3], grown[:, 0], grown[:, 1]

    def rooms_behind(
        self, rows: np.ndarray, fill: torch.Tensor | float = FILL, shift: torch.Tensor | float = 0.0
    ) -> Rooms | None:
        """The rooms behind rows that are framed with the same `fill` and `shift`; None where no
        picture of the data set is in one. Beyond its picture a room is mirrored."""
        if self.rooms is None or self.in_room is None:
            return None
        grid, _ = _frames(torch.from_numpy(self.masks[rows]).float() / 255, fill, shift)
        layers = torch.from_numpy(self.rooms[rows]).permute(0, 3, 1, 2).float() / 255
        framed = F.grid_sample(
            layers, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        return Rooms(framed.permute(0, 2, 3, 1), torch.from_numpy(self.in_room[rows]))


def _frames(
    mask: torch.Tensor, fill: torch.Tensor | float, shift: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the pixels of a frame lie in pictures with masks (B, S, S): a grid (B, S, S, 2) for
    `grid_sample`, and the frame's edge in pixels (B,)."""
    size = mask.shape[1]
    box = boxes(mask, 0.5)
    side = (box[:, 2:] - box[:, :2]).amax(1) / torch.as_tensor(fill)
    centre = (box[:, :2] + box[:, 2:]) / 2 + torch.as_tensor(shift) * side[:, None]
    line = (torch.arange(size) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y], -1) * side.view(-1, 1, 1, 1) + centre.view(-1, 1, 1, 2)
    return places / size * 2 - 1, side


@dataclass(frozen=True)
class DrawnPicture:
    """One picture as `DepthPictures` keeps it: image (S, S, 3) and mask (S, S) uint8, depth and
    back (S, S) float16, elevation of the camera in radians, and the room (S, S, 3) uint8 behind
    it, if it is in one."""

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    back: np.ndarray
    elevation: float
    room: np.ndarray | None = None


def direction(seed: int, index: int) -> tuple[float, float]:
    """Azimuth and elevation in radians from which picture `index` is taken."""
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 42), index]))
    return float(rng.uniform(0, 2 * np.pi)), float(np.deg2rad(rng.uniform(-10, 50)))


def picture_with_depth(
    seed: int,
    index: int,
    split: str,
    size: int = SIZE,
    camera: int | None = None,
    world: str = "twenty",
    rooms: float = 0.0,
) -> DrawnPicture:
    """The picture of one object from a random direction. Without a `camera` of `CAMERAS`, it is
    sometimes a scene. `rooms` is the share of pictures in rooms."""
    obj = edition(world).draw(seed, index, split, scenes=0.15 if camera is None else 0.0)
    distance, fov = CAMERAS[index % 2 if camera is None else camera]
    azimuth, elevation = direction(seed, index)
    matrix = view_projection(azimuth, elevation, distance, fov_y=float(np.deg2rad(fov)))[None]
    black = np.zeros((1, 3), np.float32)
    view = render(obj, matrix, size, backgrounds=black)
    behind = render(obj, matrix, size, backgrounds=black, back=True)
    # The rasteriser measures along the optical axis, and the estimator along each ray.
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.deg2rad(fov) / 2)
    longer = np.sqrt(1 + line[:, None] ** 2 + line[None] ** 2)
    depth, back = (
        np.where(v.mask[0] > 0.5, v.depth[0] * longer - distance + 1, 0).astype(np.float16)
        for v in (view, behind)
    )
    image, mask = (np.rint(x * 255).astype(np.uint8) for x in (view.image[0], view.mask[0]))
    room = None
    if in_room(seed, index, rooms):
        standing = [obj.vertices[obj.faces[b:e]].reshape(-1, 3) for b, e in obj.parts]
        seen = room_picture(seed, index, standing, matrix[0], azimuth, elevation, distance, size)
        room = np.rint(seen * 255).astype(np.uint8)
    return DrawnPicture(image, mask, depth, back, elevation, room)


def _one(job: tuple[int, int, str, int | None, str, float]) -> DrawnPicture:
    seed, index, split, camera, world, rooms = job
    return picture_with_depth(
        seed, index, split, size=SIZE, camera=camera, world=world, rooms=rooms
    )


def depth_pictures(
    folder: Path,
    seed: int,
    count: int,
    split: str = "train",
    workers: int = 1,
    camera: int | None = None,
    world: str = "twenty",
    rooms: float = 0.0,
) -> DepthPictures:
    """`count` pictures of a world, stored under `folder`, with both cameras alternately or with one
    of them. `rooms` is the share of pictures in rooms."""
    kind = ("" if camera is None else f"-camera{camera}") + (
        "" if world == "twenty" else f"-{world}"
    )
    kind += f"-rooms{round(100 * rooms)}" if rooms else ""
    # Files named depth-… are of versions that knew no back.
    stem = folder / f"both-depths-{split}-{seed}-{count}{kind}.npz"
    if not stem.is_file():
        images, masks = (
            np.empty((count, SIZE, SIZE, 3), np.uint8),
            np.empty((count, SIZE, SIZE), np.uint8),
        )
        depth, back = np.empty((2, count, SIZE, SIZE), np.float16)
        elevation = np.empty(count, np.float32)
        behind: dict[str, np.ndarray] = {}
        if rooms:
            behind["rooms"] = np.zeros_like(images)
            behind["in_room"] = np.zeros(count, bool)
        jobs = ((seed, n, split, camera, world, rooms) for n in range(count))
        with each(_one, jobs, workers) as drawn:
            for n, one in enumerate(drawn):
                images[n], masks[n], depth[n], back[n] = one.image, one.mask, one.depth, one.back
                elevation[n] = one.elevation
                if one.room is not None:
                    behind["rooms"][n], behind["in_room"][n] = one.room, True
        with new_file(stem) as temporary:
            np.savez(
                temporary,
                images=images,
                masks=masks,
                depth=depth,
                back=back,
                elevation=elevation,
                **behind,  # type: ignore[arg-type]
            )
    stored = np.load(stem, allow_pickle=False)
    half_widths = np.array(
        [distance * np.tan(np.deg2rad(fov) / 2) for distance, fov in CAMERAS], np.float32
    )
    which = np.arange(count) % 2 if camera is None else np.full(count, camera)
    return DepthPictures(
        stored["images"],
        stored["masks"],
        stored["depth"],
        back=stored["back"],
        elevation=stored["elevation"],
        half_width=half_widths[which],
        rooms=stored["rooms"] if rooms else None,
        in_room=stored["in_room"] if rooms else None,
    )
