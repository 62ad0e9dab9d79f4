"""A placed scene that stands: the last word of a placement, by the geometry itself."""

from __future__ import annotations

import numpy as np

from ...meshes.physics.settling import SettleConfig, Settled, settle
from ...meshes.physics.simulation import doubts_of, moving_lines
from ...meshes.physics.solid import Pose, Solid
from ...representations import PlacedScene

MOST = 24
"""Objects of a scene that is settled; every pair of them is looked at."""


def stand(
    scene: PlacedScene, config: SettleConfig | None = None, floor: float | None = None
) -> Settled:
    """Settle a scene (`meshes.physics.settling`) and move its objects there.

    Args:
        floor: its height; by default the largest object stands on it.
    """
    solids: dict[int, Solid] = {}
    for name, body in zip(scene.names, scene.bodies):
        if id(body) not in solids:
            solids[id(body)] = Solid.of(name, list(body.meshes.values()))
    own = [solids[id(body)].named(name) for name, body in zip(scene.names, scene.bodies)]
    found = settle(own, [Pose.of(t) for t in scene.transforms()], floor, config)
    scene.set_transforms(found.transforms())
    return found


def standing_figures(found: Settled, names: list[str]) -> dict[str, float | str]:
    """For the report: what moved to stand, what is left, what does not stand."""
    far = int(np.argmax(found.moved))
    return {
        "standing: farthest moved, share of size": float(found.moved[far]),
        "standing: farthest moved": names[far],
        "standing: largest turn, degrees": float(found.tilted.max()),
        "standing: penetration left, share of size": found.penetration,
        "standing: gap left below, share of size": found.floating,
        "standing: falls over": ", ".join(found.falls) or "nothing",
    }


def what_to_tell(found: Settled, names: list[str]) -> list[str]:
    """Lines for the user; what does not stand is a warning. None where all stood already."""
    told = [f"Standing: {line}." for line in moving_lines(found, names, settled=True)]
    return told + [f"Warning: {line}." for line in doubts_of(found)]
