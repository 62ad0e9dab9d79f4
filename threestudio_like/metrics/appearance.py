"""All measures of what eyes see, of a predicted mesh against a true one in the same frame."""

from __future__ import annotations

from ..meshes.mesh import Mesh
from ..renderers import Cameras, RingCameras
from .pictured import (
    colour_bleed,
    inside_seen,
    normal_error,
    pinholes,
    saturation_error,
    sharpness,
)
from .seen import Seen
from .solid import bumpiness, creases, flatness, genus_right

SIZE = 512
"""Pixels along the edge of the pictures that are measured."""


def appearance(
    predicted: Mesh, truth: Mesh, cameras: Cameras | None = None, size: int = SIZE
) -> dict[str, float]:
    """The measures of `pictured` and `solid`, by name; what a pair cannot tell is nan.

    Args:
        predicted, truth: closed surfaces in the same frame, with textures or vertex colours.
        cameras: the views; eight of the evaluation ring by default, of `size` pixels.

    Example:
        >>> appearance(asset.mesh, truth)["normal error"]     # doctest: +SKIP
        12.4
    """
    cameras = RingCameras(count=8, elevation=15.0).all(size) if cameras is None else cameras
    one, two = Seen.of(predicted, cameras), Seen.of(truth, cameras)
    recall, precision = creases(predicted, truth)
    uneven, distance = flatness(predicted, truth)
    bleed, inside = colour_bleed(one, two)
    return {
        "normal error": normal_error(one, two),
        "crease recall": recall,
        "crease precision": precision,
        "unevenness": uneven,
        "plane distance": distance,
        "bumpiness": bumpiness(predicted, truth),
        "genus right": genus_right(predicted, truth),
        "pinholes": pinholes(one, two),
        "inside seen": inside_seen(one),
        "colour error": inside,
        "colour bleed": bleed,
        "saturation error": saturation_error(one, two),
        "sharpness": sharpness(one, two),
    }
