"""Contacts of bodies with each other and with the floor: points, directions and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .solid import Pose, Solid

FLOOR = -1
"""The number of the floor among bodies."""
BEHIND = 2e-3
"""How far behind a point that touches its own body is asked for, as a share of its size."""
CELLS = 5
"""Cells along an edge of a contact region; of every cell the nearest point counts."""


@dataclass
class Contacts:
    """Contacts by rows: body `one` (K,) has a point (K, 3) whose gap (K,) to body `two` (K,), which
    may be the `FLOOR`, grows along the normal (K, 3); negative gaps are penetration."""

    one: np.ndarray
    two: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    gaps: np.ndarray

    def __len__(self) -> int:
        return len(self.gaps)

    def where(self, keep: np.ndarray) -> Contacts:
        """The rows of a mask."""
        return Contacts(
            self.one[keep],
            self.two[keep],
            self.points[keep],
            normals=self.normals[keep],
            gaps=self.gaps[keep],
        )


def find_contacts(
    solids: Sequence[Solid],
    poses: Sequence[Pose],
    floor: float,
    reach: float | np.ndarray,
    only: int | None = None,
) -> Contacts:
    """The contacts with a gap below `reach` (of all, or (N,) for each body; the larger one of a
    pair counts); of many that lie together the nearest ones.

    Args:
        only: the number of a body whose contacts alone are looked for.
    """
    reaches = np.broadcast_to(np.asarray(reach, np.float64), (len(solids),))
    rows: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]] = []
    world = [pose.apply(solid.points) for solid, pose in zip(solids, poses)]
    boxes = [(w.min(0), w.max(0)) for w in world]
    for n, (solid, pose) in enumerate(zip(solids, poses)):
        if only is not None and n != only:
            continue
        corners = pose.apply(solid.corners)
        gap = corners[:, 1] - floor
        near = np.flatnonzero(gap < reaches[n])
        near = near[_apart(corners[near], gap[near])]
        up = np.broadcast_to(np.array([0.0, 1.0, 0.0]), (len(near), 3))
        rows.append((n, FLOOR, corners[near], up, gap[near]))
    for a in range(len(solids)):
        for b in range(len(solids)):
            far = max(reaches[a], reaches[b])
            if (
                a == b
                or (only is not None and only not in (a, b))
                or _boxes_apart(boxes[a], boxes[b], far)
            ):
                continue
            low, high = boxes[b][0] - far, boxes[b][1] + far
            near = np.flatnonzero(((world[a] > low) & (world[a] < high)).all(1))
            if not len(near):
                continue
            points = world[a][near]
            back = BEHIND * solids[a].size * solids[a].outwards[near] * poses[a].scale
            behind = points - back @ poses[a].rotation.T
            gap, normal = solids[b].distances(poses[b].undo(points), poses[b].undo(behind))
            gap, normal = gap * poses[b].scale, normal @ poses[b].rotation.T
            close = np.flatnonzero(gap < far)
            close = close[_apart(points[close], gap[close])]
            rows.append((a, b, points[close], normal[close], gap[close]))
    return _joined(rows)


def _joined(rows: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]) -> Contacts:
    return Contacts(
        np.concatenate([np.full(len(g), a) for a, _, _, _, g in rows]),
        np.concatenate([np.full(len(g), b) for _, b, _, _, g in rows]),
        np.concatenate([p for _, _, p, _, _ in rows]),
        normals=np.concatenate([n for _, _, _, n, _ in rows]),
        gaps=np.concatenate([g for _, _, _, _, g in rows]),
    )


def _boxes_apart(
    one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray], reach: float
) -> bool:
    return bool(((one[0] > two[1] + reach) | (two[0] > one[1] + reach)).any())


def _apart(points: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Numbers of the points (K, 3) with the smallest gap in every cell of their bounding box, and
    of those that reach farthest to eight sides: they carry as far as all together."""
    if len(points) <= 24:
        return np.arange(len(points))
    low, size = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-300)
    # A flat region has cells in its plane alone.
    cells = np.where(size > 0.05 * size.max(), CELLS, 1)
    place = np.minimum((points - low) / size * cells, cells - 1).astype(np.int64)
    key = (place[:, 0] * CELLS + place[:, 1]) * CELLS + place[:, 2]
    order = np.lexsort((gaps, key))
    first = np.unique(key[order], return_index=True)[1]
    chosen = set(order[first].tolist())
    lowest = np.flatnonzero(gaps <= gaps.min() + 1e-3 * size.max())
    for angle in np.arange(8) * np.pi / 4:
        chosen.add(
            int(
                lowest[
                    np.argmax(points[lowest][:, [0, 2]] @ np.array([np.cos(angle), np.sin(angle)]))
                ]
            )
        )
    return np.array(sorted(chosen))
