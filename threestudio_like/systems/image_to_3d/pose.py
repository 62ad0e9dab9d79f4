"""Where a picture was taken from: the camera whose silhouette of a known shape agrees with the
picture's mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...engine.schema.bounds import Count, Elevations, FieldOfView, Number, Positive, Size
from ...kernels import rasterize
from ...meshes.mesh import Mesh
from ...priors.framing import Similarity, boxes, cut, similarities
from ...renderers import Cameras


@dataclass(frozen=True, kw_only=True)
class PoseConfig:
    """The search: a grid of directions, then halving steps about the best ones."""

    azimuths: Number = 24
    elevations: Elevations = (0.0, 15.0, 30.0, 45.0)
    """Degrees."""
    keep: Number = 4
    rounds: Count = 4
    size: Size = 64
    distance: Positive = 3.0
    fov_y: FieldOfView = 40.0
    """Degrees; what one picture tells of distance and field of view is too little to search for
    them."""


@dataclass
class Pose:
    """azimuth, elevation in radians; agreement: IoU of the framed silhouettes; rival: the best
    agreement more than 60 degrees away, and second: the pose that has it; undecided: a line, where
    nothing decides between both."""

    azimuth: float
    elevation: float
    agreement: float
    rival: float = 0.0
    second: Pose | None = None
    undecided: str = ""

    def camera(self, config: PoseConfig, size: int) -> Cameras:
        """The camera of the pose."""
        return Cameras.orbit(
            torch.tensor([self.azimuth]),
            torch.tensor([self.elevation]),
            config.distance,
            fov_y=math.radians(config.fov_y),
            height=size,
            width=size,
        )


def silhouettes(
    mesh: Mesh, azimuth: torch.Tensor, elevation: torch.Tensor, config: PoseConfig, size: int
) -> torch.Tensor:
    """(B, size, size) float masks from cameras at azimuth, elevation (B,), as the cameras see
    them."""
    cameras = Cameras.orbit(
        azimuth,
        elevation,
        config.distance,
        fov_y=math.radians(config.fov_y),
        height=size,
        width=size,
    )
    points = torch.from_numpy(
        np.concatenate([mesh.vertices, np.ones((len(mesh.vertices), 1), np.float32)], 1)
    )
    clip = points @ cameras.view_projection().transpose(1, 2)
    return (rasterize(clip, torch.from_numpy(mesh.faces), size, width=size)[..., 3] > 0).float()


def framed_masks(masks: torch.Tensor, size: int) -> torch.Tensor:
    """Masks (B, H, W), each cut to its own box: (B, size, size)."""
    return cut(masks[:, None], similarities(boxes(masks, 0.5)), size)[:, 0]


def agreement(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Soft intersection over union of masks (B, H, W) with (H, W)."""
    return torch.minimum(one, two).sum((1, 2)) / torch.maximum(one, two).sum((1, 2)).clamp_min(1e-6)


def seen_from(
    mesh: Mesh, mask: torch.Tensor, config: PoseConfig, azimuth: float, elevation: float
) -> Pose:
    """The pose (radians) with the agreement of the mesh's framed silhouette and a framed mask (S,
    S)."""
    drawn = silhouettes(
        mesh, torch.tensor([azimuth]), torch.tensor([elevation]), config=config, size=mask.shape[-1]
    )
    return Pose(azimuth, elevation, float(agreement(framed_masks(drawn, mask.shape[-1]), mask)[0]))


@torch.no_grad()
def find_pose(
    mesh: Mesh,
    mask: torch.Tensor,
    config: PoseConfig,
    near: tuple[float, float] | None = None,
    known: tuple[float | None, float | None] = (None, None),
) -> Pose:
    """The pose under which the mesh's framed silhouette agrees best with a framed mask (S, S), and
    the best one more than 60 degrees away.

    Args:
        near: azimuth and elevation in radians that another source suggests: only poses within 50
            degrees of azimuth are looked at.
        known: azimuth and elevation in radians, where they are known and not searched for.
    """
    step = 2 * math.pi / config.azimuths
    elevations = [math.radians(e) for e in config.elevations] if known[1] is None else [known[1]]
    azimuths = [a * step for a in range(config.azimuths)] if known[0] is None else [known[0]]
    grid = [(a, e) for e in elevations for a in azimuths]
    if near is not None:
        grid = [(a, e) for a, e in grid if abs(_turn(a - near[0])) < math.radians(50)]

    size = mask.shape[-1]

    def score(poses: list[tuple[float, float]]) -> torch.Tensor:
        azimuth, elevation = torch.tensor(poses).unbind(1)
        return agreement(
            framed_masks(silhouettes(mesh, azimuth, elevation, config=config, size=size), size),
            mask,
        )

    gap = (elevations[1] - elevations[0]) / 2 if len(elevations) > 1 else step / 2
    reach = (step / 2 if known[0] is None else 0.0, gap if known[1] is None else 0.0)
    scores = score(grid)
    order = scores.argsort(descending=True).tolist()

    def refined(chosen: list[int]) -> list[tuple[tuple[float, float], float]]:
        begin = [(grid[i], float(scores[i])) for i in chosen]
        return _refined(begin, score, reach, config.rounds)

    (azimuth, elevation), top = max(refined(order[: config.keep]), key=lambda b: b[1])
    apart = [i for i in order if abs(_turn(grid[i][0] - azimuth)) > math.radians(60)]
    second = None
    if apart:
        (a, e), value = refined(apart[:1])[0]
        second = Pose(a % (2 * math.pi), e, value)
    rival = float(scores[apart[0]]) if apart else 0.0
    return Pose(azimuth % (2 * math.pi), elevation, top, rival=rival, second=second)


def _refined(
    best: list[tuple[tuple[float, float], float]],
    score: Callable[[list[tuple[float, float]]], torch.Tensor],
    reach: tuple[float, float],
    rounds: int,
) -> list[tuple[tuple[float, float], float]]:
    """Poses with their scores after halving steps about each of them."""
    reach_a, reach_e = reach
    if reach_a == reach_e == 0:
        return best
    for _ in range(rounds):
        tried = [
            (a + i * reach_a, e + j * reach_e)
            for (a, e), _ in best
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if i or j
        ]
        found = score(tried)
        per = len(tried) // len(best)
        for n in range(len(best)):
            k = int(found[n * per : (n + 1) * per].argmax())
            if float(found[n * per + k]) > best[n][1]:
                best[n] = (tried[n * per + k], float(found[n * per + k]))
        reach_a, reach_e = reach_a / 2, reach_e / 2
    return best


def _turn(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def matching_cut(
    mesh: Mesh, pose: Pose, config: PoseConfig, box: torch.Tensor, size: int = 256
) -> Similarity:
    """The square of the picture that the pose's camera sees: it maps the box (4,) of the object in
    the picture, in pixels, onto the box of the mesh's silhouette."""
    mask = silhouettes(
        mesh, torch.tensor([pose.azimuth]), torch.tensor([pose.elevation]), config=config, size=size
    )
    drawn = boxes(mask, 0.5)[0] / size
    ratio = (box[2:] - box[:2]) / (drawn[2:] - drawn[:2]).clamp_min(1e-3)
    side = float(ratio.prod().sqrt())
    centre = (box[:2] + box[2:]) / 2 - ((drawn[:2] + drawn[2:]) / 2 - 0.5) * side
    return Similarity(float(centre[0]), float(centre[1]), side)
