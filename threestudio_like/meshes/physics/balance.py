"""Whether bodies at rest stay at rest: contact forces that carry every weight must exist, within
the cones of friction. For one body on a plane that is the centre of mass over its support polygon;
the linear programme asks it of whole stacks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .contacts import Contacts
from .solid import Pose, Solid

LEAN = 0.5
"""Degrees by which the floor may lean to any side without anything beginning to fall."""
FRICTION = 0.7
"""Coefficient of friction where none is said: wood on wood, roughly."""
SLACK = 1e-3
"""Force, as a share of a body's weight, that may be missing."""


@dataclass
class Fall:
    """A body that begins to fall, and towards where (3,), horizontal."""

    body: int
    towards: np.ndarray


def falling(
    solids: Sequence[Solid],
    poses: Sequence[Pose],
    touching: Contacts,
    friction: float = FRICTION,
    lean: float = LEAN,
) -> list[Fall]:
    """The bodies that no contact forces hold, on a level floor or on one that leans by `lean`
    degrees to one of four sides; each body once.

    Args:
        touching: contacts with no gap.
    """
    found: dict[int, Fall] = {}
    slope = np.tan(np.radians(lean))
    matrix = _wrenches(solids, poses, touching, friction)
    sides = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)] if lean > 0 else [(0, 0)]
    for side in sides:
        down = np.array([slope * side[0], -1.0, slope * side[1]])
        missing = _missing(solids, poses, matrix, down / np.linalg.norm(down))
        for body in np.flatnonzero(missing > SLACK):
            if body not in found:
                away = _towards(int(body), poses, solids, touching, side)
                found[int(body)] = Fall(int(body), away)
    return [found[k] for k in sorted(found)]


def _towards(
    body: int,
    poses: Sequence[Pose],
    solids: Sequence[Solid],
    touching: Contacts,
    side: tuple[int, int],
) -> np.ndarray:
    """Away from the middle of what carries it; where that lies under the centre of mass, to the
    side at which the floor leaned."""
    rows = touching.where((touching.one == body) & (touching.normals[:, 1] > 0))
    centre = poses[body].apply(solids[body].mass.centre[None])[0]
    away = np.array([side[0], 0.0, side[1]], np.float64)
    if len(rows):
        off = (centre - rows.points.mean(0)) * [1, 0, 1]
        if np.linalg.norm(off) > 1e-3 * solids[body].size * poses[body].scale:
            away = off
    length = np.linalg.norm(away)
    return away / length if length > 0 else np.array([1.0, 0.0, 0.0])


def _wrenches(
    solids: Sequence[Solid], poses: Sequence[Pose], touching: Contacts, friction: float
) -> np.ndarray:
    """Forces and torques (6 N, 4 K) on the bodies of unit forces along the edges of every contact's
    cone; forces as shares of a weight, torques of a weight times the size."""
    count, rows = len(solids), len(touching)
    out = np.zeros((6 * count, 4 * rows))
    normal = touching.normals
    helper = np.where(np.abs(normal[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(normal, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-300)
    second = np.cross(normal, first)
    weights = np.array([max(s.mass.volume * p.scale**3, 1e-300) for s, p in zip(solids, poses)])
    largest = weights.max()
    centres = [p.apply(s.mass.centre[None])[0] for s, p in zip(solids, poses)]
    sizes = [s.size * p.scale for s, p in zip(solids, poses)]
    for k, (u, v) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        force = normal + friction * (u * first + v * second)
        for sign, who in ((1.0, touching.one), (-1.0, touching.two)):
            for row in np.flatnonzero(who >= 0):
                body = who[row]
                # Unit forces are weights of the heaviest body: the numbers stay alike.
                share = sign * force[row] * largest / weights[body]
                arm = (touching.points[row] - centres[body]) / sizes[body]
                out[6 * body : 6 * body + 3, 4 * row + k] = share
                out[6 * body + 3 : 6 * body + 6, 4 * row + k] = np.cross(arm, share)
    return out


def _missing(
    solids: Sequence[Solid], poses: Sequence[Pose], matrix: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """The forces and torques (N,) that are missing to hold every body, where as little as possible
    is missing in all."""
    from scipy.optimize import linprog

    count, forces = len(solids), matrix.shape[1]
    load = np.zeros(6 * count)
    for body in range(count):
        load[6 * body : 6 * body + 3] = -down
    # Contacts push and never pull; what they leave is taken by slack of either sign.
    slack = np.eye(6 * count)
    found = linprog(
        np.concatenate([np.full(forces, 1e-9), np.ones(12 * count)]),
        A_eq=np.concatenate([matrix, slack, -slack], 1),
        b_eq=load,
        method="highs",
    )
    if not found.success:
        return np.ones(count)
    rest = np.abs(found.x[forces:]).reshape(2, count, 6)
    return rest.sum((0, 2))


def support_margin(
    solids: Sequence[Solid], poses: Sequence[Pose], touching: Contacts
) -> np.ndarray:
    """How far (N,) every body's centre of mass lies within the polygon of the contacts below it,
    seen from above, as a share of its size; negative outside, where nothing carries it -inf."""
    out = np.full(len(solids), -np.inf)
    for body, (solid, pose) in enumerate(zip(solids, poses)):
        above = (touching.one == body) & (touching.normals[:, 1] > 0.2)
        below = (touching.two == body) & (touching.normals[:, 1] < -0.2)
        points = touching.points[above | below][:, [0, 2]]
        if len(points):
            centre = pose.apply(solid.mass.centre[None])[0][[0, 2]]
            out[body] = inside_by(points, centre) / (solid.size * pose.scale)
    return out


def inside_by(points: np.ndarray, at: np.ndarray) -> float:
    """The distance of a place (2,) to the border of the convex hull of points (K, 2), negative
    outside; of a point or a line it is never inside."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(-(ConvexHull(points).equations @ [*at, 1.0]).max())
    except (QhullError, ValueError):
        return (
            -float(np.linalg.norm(points - at, axis=1).min())
            if len(points) == 1
            else min(-_to_segment(points, at), 0.0)
        )


def _to_segment(points: np.ndarray, at: np.ndarray) -> float:
    """The distance of a place (2,) to the longest segment between points (K, 2) on a line."""
    along = points - points[0]
    far = points[np.argmax((along**2).sum(1))]
    near = points[np.argmax(((points - far) ** 2).sum(1))]
    span = far - near
    share = np.clip((at - near) @ span / max(float(span @ span), 1e-300), 0, 1)
    return float(np.linalg.norm(at - near - share * span))
