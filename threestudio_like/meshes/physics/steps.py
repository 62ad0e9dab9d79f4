"""One step of bodies that may not penetrate: the smallest motion, in a metric, to where they would
like to be, with the contacts linearised. It is a least distance problem, which non-negative least
squares solves exactly (Lawson and Hanson 1974, chapter 23)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .contacts import Contacts
from .solid import Pose, Solid


def motion(
    contacts: Contacts,
    centres: np.ndarray,
    metric: np.ndarray,
    wish: np.ndarray,
    most: np.ndarray,
) -> np.ndarray:
    """The motions (N, 6) of bodies, a shift and a rotation vector about the centre each.

    Args:
        centres: (N, 3), about which they turn.
        metric: (N, 6), what a unit of every motion costs; infinite for one that is not allowed.
        wish: (N, 6), where they would go without contacts.
        most: (N,), how far a body may be pushed in a step.
    """
    from scipy.optimize import nnls

    count = len(centres)
    if not len(contacts):
        return wish
    rows = np.zeros((len(contacts), 6 * count))
    for sign, who in ((1.0, contacts.one), (-1.0, contacts.two)):
        real = np.flatnonzero(who >= 0)
        body = who[real]
        columns = 6 * body[:, None] + np.arange(6)
        arm = contacts.points[real] - centres[body]
        normal = contacts.normals[real]
        rows[real[:, None], columns] = sign * np.concatenate([normal, np.cross(arm, normal)], 1)
    pair = np.maximum(most[contacts.one], np.where(contacts.two >= 0, most[contacts.two], 0.0))
    # Deep penetration is undone in several steps, for its direction is not sure.
    least = np.minimum(-contacts.gaps, pair) - rows @ wish.reshape(-1)
    free = np.isfinite(metric.reshape(-1))
    scale = 1 / metric.reshape(-1)[free]
    scaled = rows[:, free] * scale
    unit = max(float(most.max()), 1e-300)
    target = np.zeros(len(scale) + 1)
    target[-1] = 1.0
    for soft in (0.0, 1e-3):
        system = np.concatenate([scaled.T, (least / unit)[None]])
        if soft:
            # Contacts that contradict each other give way a little.
            system = np.concatenate([scaled.T, soft * np.eye(len(least)), (least / unit)[None]])
            target = np.zeros(len(system))
            target[-1] = 1.0
        try:
            forces, _ = nnls(system, target, maxiter=30 * system.shape[1])
        except RuntimeError:
            continue
        rest = system @ forces - target
        if -rest[-1] > 1e-9:
            found = rest[: len(scale)] / -rest[-1] * unit
            out = wish.reshape(-1).copy()
            out[free] += scale * found
            out[~free] = 0.0
            return out.reshape(count, 6)
    return np.zeros((count, 6))


def moved(
    poses: Sequence[Pose], centres: np.ndarray, motions: np.ndarray, most: np.ndarray
) -> list[Pose]:
    """The poses after motions (N, 6); none goes farther than twice `most` (N,)."""
    out = []
    for pose, centre, step, limit in zip(poses, centres, motions, most):
        length = float(np.linalg.norm(step[:3]))
        share = min(1.0, 2 * limit / length) if length > 0 else 1.0
        out.append(pose.moved(centre, share * step[:3], step[3:]))
    return out


def middles(solids: Sequence[Solid], poses: Sequence[Pose]) -> np.ndarray:
    """The centres of mass (N, 3) in the world."""
    return np.stack([p.apply(s.mass.centre[None])[0] for s, p in zip(solids, poses)])
