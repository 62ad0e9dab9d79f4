"""Quality of a placement: relations checked by geometry, errors against known placements,
penetration and floating."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..meshes.mesh import Mesh
from ..meshes.points import sample_surface
from ..meshes.transform import Transform

DENSE = 8
"""Number of surface points for each point whose distance to the surface is measured."""
EVEN = 0.003
"""Distance between two surfaces, as a share of their size, that sampled points cannot resolve."""
CELLS = 40
"""Number of cells along an edge of the volumes that are intersected."""


def relation_holds(kind: str, one: np.ndarray, two: np.ndarray, slack: float = 0.12) -> bool:
    """Whether object `one` stands to `two` as a relation says, from their points (N, 3) in the
    world, seen from the front (+Z to the viewer).

    Directions count where the centres differ mainly that way, by at least a quarter of the mean
    size; "on" and "under" want one above the other and, for "on", a gap below `slack` of the
    smaller size; "beside" and "in" want the boxes near and within.

    Args:
        kind: a value of `systems.scene.prompt.LEXICON`.
    """
    low_a, high_a, low_b, high_b = one.min(0), one.max(0), two.min(0), two.max(0)
    centre_a, centre_b = (low_a + high_a) / 2, (low_b + high_b) / 2
    off, mean_size = (
        centre_a - centre_b,
        (np.linalg.norm(high_a - low_a) + np.linalg.norm(high_b - low_b)) / 2,
    )
    smaller = min((high_a - low_a).max(), (high_b - low_b).max())
    over = bool(
        (centre_a[[0, 2]] > low_b[[0, 2]]).all() and (centre_a[[0, 2]] < high_b[[0, 2]]).all()
    )
    if kind == "on":
        # The headboard of a bed can be higher than what lies on the bed, so the middle of an object
        # is compared with the middle of the other.
        near = low_a[1] - high_b[1] < slack * smaller
        return bool(
            over
            and near
            and centre_a[1] > centre_b[1]
            and low_a[1] > low_b[1] + 0.2 * (high_b[1] - low_b[1])
        )
    if kind == "under":
        return bool(over and high_a[1] < high_b[1] and centre_a[1] < centre_b[1])
    if kind == "in":
        return bool((centre_a > low_b).all() and (centre_a < high_b).all())
    if kind == "beside":
        gap = np.maximum(0, np.maximum(low_a - high_b, low_b - high_a))
        return bool(np.linalg.norm(gap) < 0.5 * mean_size)
    axis, sign = {
        "left of": (0, -1.0),
        "right of": (0, 1.0),
        "in front of": (2, 1.0),
        "behind": (2, -1.0),
    }[kind]
    return bool(
        sign * off[axis] > 0.25 * smaller and abs(off[axis]) >= abs(off[2 - axis]) - 0.25 * smaller
    )


def placement_errors(
    estimated: Sequence[Transform], truth: Sequence[Transform], extent: float, eye: np.ndarray
) -> dict[str, float]:
    """Means over objects, translations as shares of the scene's extent, after the one scale about
    the eye that no picture tells was taken out (the median ratio of distances).

    translation; depth: its part along the line of sight; across: the rest; scale: |log ratio|;
    rotation: degrees.

    Args:
        eye: (3,) of the reference camera.
    """
    away = [
        [float(np.linalg.norm(x.translation - eye)) for x in placements]
        for placements in (estimated, truth)
    ]
    ratios = [t / max(f, 1e-9) for f, t in zip(*away)]
    share = float(np.median(ratios))
    estimated = [
        Transform(f.scale * share, f.rotation, eye + share * (f.translation - eye))
        for f in estimated
    ]
    rows: list[list[float]] = []
    for f, t in zip(estimated, truth):
        off = f.translation - t.translation
        sight = (t.translation - eye) / np.linalg.norm(t.translation - eye)
        along = float(off @ sight)
        across = math.sqrt(max(float(off @ off) - along**2, 0.0))
        rows.append(
            [
                float(np.linalg.norm(off)) / extent,
                abs(along) / extent,
                across / extent,
                abs(math.log(f.scale / t.scale)),
                math.degrees(f.angle_to(t)),
            ]
        )
    means = np.mean(rows, 0)
    return dict(
        zip(("translation", "depth", "across", "scale", "rotation"), (float(m) for m in means))
    )


def least_turn(one: Mesh, two: Mesh, step: float = 5.0, points: int = 800) -> float:
    """The smallest rotation about the vertical, 0 to 180 degrees, that brings surface `one` onto
    surface `two`.

    It measures how much of a wrong rotation is visible: a ball has none, a table at most a quarter
    turn. Both surfaces are centred at their centroids and scaled to a root mean square distance of
    one from them. Of all rotations whose distance (mean to the nearest point, both ways) is within
    a tenth of the best, the smallest is returned.
    """
    from scipy.spatial import cKDTree

    def sampled(mesh: Mesh, seed: int) -> np.ndarray:
        found = sample_surface(mesh, DENSE * points, seed).points
        found = found - found.mean(0)
        return found / max(math.sqrt(float((found**2).sum(1).mean())), 1e-9)

    # Both surfaces get different points, because otherwise equal meshes would lie closer than
    # meshes that are merely alike.
    moved, still = sampled(one, 0), sampled(two, 1)
    trees = cKDTree(still), cKDTree(moved)
    degrees = np.arange(0.0, 360.0, step)
    distances = []
    for turn in np.radians(degrees):
        about = np.array(
            [[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]]
        )
        # Rotating the other surface in the opposite direction is equivalent, and keeps its search
        # tree.
        there, back = moved[:points] @ about.T, still[:points] @ about
        distances.append(trees[0].query(there)[0].mean() + trees[1].query(back)[0].mean())
    close = np.array(distances) <= 1.1 * min(distances) + EVEN
    return float(np.minimum(degrees, 360 - degrees)[close].min())


def depth_order_accuracy(
    estimated: Sequence[Transform],
    truth: Sequence[Transform],
    eye: np.ndarray,
    margin: float = 0.05,
) -> float:
    """Share of pairs in the right order, of those whose true distances from the eye (3,) differ by
    more than `margin`; 1 if there are none."""
    right = count = 0
    for i in range(len(truth)):
        for j in range(i):
            true = np.linalg.norm(truth[i].translation - eye) - np.linalg.norm(
                truth[j].translation - eye
            )
            if abs(true) > margin:
                got = np.linalg.norm(estimated[i].translation - eye) - np.linalg.norm(
                    estimated[j].translation - eye
                )
                right, count = right + int(true * got > 0), count + 1
    return right / count if count else 1.0


def penetration_volume(one: Mesh, two: Mesh, cells: int = CELLS) -> float:
    """Volume that two closed meshes share, as a share of the smaller one's volume.

    It is measured by winding numbers on a grid over the intersection of their boxes.
    """
    import torch

    from ..kernels.distance import surface_tree, winding_number

    low, high = (
        np.maximum(one.vertices.min(0), two.vertices.min(0)),
        np.minimum(one.vertices.max(0), two.vertices.max(0)),
    )
    if (low >= high).any():
        return 0.0
    lines = [
        torch.linspace(float(a), float(b), cells + 1)[:-1] + float(b - a) / (2 * cells)
        for a, b in zip(low, high)
    ]
    points = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).view(-1, 3)
    inside = torch.ones(len(points), dtype=torch.bool)
    for mesh in (one, two):
        tree = surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))
        inside &= winding_number(tree, points) > 0.5
    shared = float(inside.float().mean()) * float(np.prod(high - low))
    return shared / max(min(abs(one.volume), abs(two.volume)), 1e-9)
