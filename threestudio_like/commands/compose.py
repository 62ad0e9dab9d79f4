"""`compose`: a picture of several objects, or a text, to a scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..runs.options import AssetOptions, MethodOptions, PriorOptions, RunOptions

EXAMPLES = (
    'threestudio-like compose scene.png "a green sofa in front of a blue robot"',
    "threestudio-like compose --objects a.glb b.glb --poses poses.json",
)


@dataclass(frozen=True, kw_only=True)
class Compose:
    """Make one scene of a picture of several objects, or of a text alone: a GLB with a named node
    an object. Every value of the configuration is an option by its dotted name
    (--place.spatial.factor 10); --print-config lists them."""

    picture: tyro.conf.Positional[str] = ""
    """PNG, JPEG, WebP, AVIF, TIFF, GIF, HEIC, … (docs/pictures.md), with alpha or without; none
    with --text."""
    prompt: tyro.conf.Positional[str] = ""
    """What it shows, each object once: "a red ball on a blue box". Without it the objects are
    placed by the picture alone."""
    text: str = ""
    """Instead of a picture: the objects are made of this prompt, and placed by what it says."""
    boxes: tuple[str, ...] = ()
    """Where the objects are, in the prompt's order, pixels: --boxes 10,20,90,120 100,15,180,130.
    Found by the segmenter otherwise."""
    pick: bool = False
    """Click the objects in the browser instead."""
    masks: Path | None = None
    """A folder with a black and white picture for each object, in the order of their names, or one
    label map with a colour an object."""
    segmenter: str = ""
    """Short for --decompose.segmenter: a name (sam-vit-base, sam2.1-tiny, …), a folder or a
    checkpoint."""
    objects: tuple[Path, ...] = ()
    """Your own meshes, in the prompt's order; only where they stand is sought then."""
    poses: Path | None = None
    """A JSON file that says where your objects are (docs/how-to/scenes-that-stand.md): the layout
    is only settled then, by the picture where there is one and by how things stand."""
    method_name: Annotated[str, tyro.conf.arg(name="method")] = "auto"
    """How each object is reconstructed: see reconstruct --method."""
    spatial_words: tuple[str, ...] = ()
    """Words of the prompt that say where things are (found in it by default): --spatial-words
    "sitting on"."""
    fov: float = 0.0
    """Vertical field of view of the picture, degrees; 0: the prior's own camera, or fitted where it
    knows none."""
    elevation: float | None = None
    """Degrees by which the picture looks down, which the objects' shapes are told too; found by the
    objects' own pictures by default."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    model: tyro.conf.OmitArgPrefixes[PriorOptions] = field(default_factory=PriorOptions)
    asset: tyro.conf.OmitArgPrefixes[AssetOptions] = field(default_factory=AssetOptions)
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration by their dotted names."""


def call(options: Compose, **objects: Any) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.compose import compose

    return compose(options, **objects)
