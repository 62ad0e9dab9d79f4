"""What `reconstruct` is given: pictures, and what is known of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....engine.errors import ConfigError, InputError
from ....engine.events import Events
from ....meshes.io.photographs import SUFFIXES, pictures_in
from ....priors.depth import load_depth
from ....priors.diffusion import DiffusionPrior
from ....runs.options import KnownOptions
from ....runs.prompts import names_file
from ....systems.image_to_3d.caption import load_captioner
from ....systems.image_to_3d.known import Known, View, load_normal_model, read_length
from ....systems.image_to_3d.maps import read_depth, read_normals
from ....systems.image_to_3d.photo import Photo, read_photo
from ....systems.image_to_3d.viewpoint import Viewpoint

MOST = 64
"""Photos of one object."""
FOV = (5, 120)
"""Vertical fields of view that a picture can have, degrees."""


@dataclass(kw_only=True)
class InputImage:
    """The picture that is reconstructed.

    source: where it comes from. name: for the run. content: a hash. view: from where it shows the
    object, if it was made here, and prior: by which prior. known: what the user knows of it.
    part: whether it is cut out of a picture of several things.
    """

    photo: Photo
    source: str
    name: str
    content: str
    view: Viewpoint | None = None
    prior: DiffusionPrior | None = None
    known: Known = field(default_factory=Known)
    part: bool = False


def pictures_of(picture: Path, further: tuple[Path, ...]) -> list[Path]:
    """The photos of one object: what is named, or the pictures of a folder, in the order of the
    numbers in their names. Raises InputError."""
    named = [picture.expanduser(), *(p.expanduser() for p in further)]
    words = next((p for p in named[1:] if not p.exists() and not names_file(str(p))), None)
    if words is not None:
        raise InputError(
            "there is no such file",
            str(words),
            "Behind reconstruct stand photos of one object; what they show is said with --prompt",
        )
    if len(named) == 1 and named[0].is_dir():
        folder = named[0]
        named = pictures_in(folder)
        if not named:
            raise InputError(
                "the folder holds no picture", str(folder), f"Pictures: {', '.join(SUFFIXES)}"
            )
    if len(named) > MOST:
        raise InputError(f"{len(named)} photos of one object, at most {MOST} are read", "pictures")
    return named


def order_of(pictures: list[Path], azimuths: tuple[float, ...]) -> str:
    """The names of several photos in their order, each with the azimuth that is said of it."""
    names = [p.name for p in pictures]
    if len(azimuths) == len(names):
        names = [f"{name} at {azimuth:g}°" for name, azimuth in zip(names, azimuths, strict=True)]
    return ", ".join(names if len(names) <= 8 else [*names[:7], f"… {names[-1]}"])


def check_known(options: KnownOptions, photos: int) -> None:
    """Raise ConfigError on what cannot be said of so many photos; no file is read."""
    azimuths = options.azimuths
    if azimuths and len(azimuths) != photos:
        raise ConfigError(
            f"names {len(azimuths)} for {photos} picture{'s' * (photos > 1)}",
            "--azimuths",
            "Give one for each, in degrees: 0 is the front, 90 the object's left side",
        )
    if options.fov is not None and not FOV[0] <= options.fov <= FOV[1]:
        raise ConfigError(
            f"must be from {FOV[0]} to {FOV[1]}, got {options.fov:g}",
            "--fov",
            "Leave it out if it is not known",
        )
    known = Known(fov=options.fov, distance=options.distance, height=_height(options))
    known.check()
    if options.depth_kind != "auto" and _map_file(options.depth) is None:
        raise ConfigError(
            "says what a depth map holds, and none is given",
            "--depth-kind",
            "Give the map, --depth depth.png, or leave it out",
        )


def check_maps(options: KnownOptions, size: tuple[int, int]) -> None:
    """Raise InputError where a map of depth or normals is no map of a picture of `size`, width and
    height in pixels. Names of models are not looked up."""
    for name, text in (("depth", options.depth), ("normal", options.normal)):
        path = _map_file(text)
        if path is not None and name == "depth":
            read_depth(path, size, options.depth_kind)
        elif path is not None:
            read_normals(path, size)


def _height(options: KnownOptions) -> float | None:
    """Of the object, metres; None where it is not said. Raises ConfigError."""
    return read_length(options.height, "--height") if options.height else None


def _map_file(text: str) -> Path | None:
    """The file that --depth or --normal names; None where it names a model, or nothing."""
    path = Path(text).expanduser()
    return path if text and (path.is_file() or path.suffix) else None


def read_known(options: KnownOptions, photo: Photo, pictures: list[Path], events: Events) -> Known:
    """What the options say of the pictures; the photos after the first one are read here. Raises
    InputError, ConfigError, ModelError."""
    check_known(options, len(pictures))
    azimuths = [math.radians(a) for a in options.azimuths]
    elevation = None if options.elevation is None else math.radians(options.elevation)
    views = tuple(
        View(
            photo=read_photo(path),
            azimuth=azimuths[k + 1] if azimuths else None,
            elevation=elevation,
        )
        for k, path in enumerate(pictures[1:])
    )
    height, width = photo.pixels.shape[:2]
    depth: Any = None
    if options.depth:
        path = _map_file(options.depth)
        if path is not None:
            kind = options.depth_kind
            depth = read_depth(path, (width, height), kind, photo.pixels[..., 3])
            events.say(f"--depth {path.name}: {depth.note} (--depth-kind says it otherwise)")
        else:
            load_depth(options.depth)
            depth = options.depth
    normals: Any = None
    if options.normal:
        path = _map_file(options.normal)
        if path is not None:
            normals, how = read_normals(path, (width, height))
            events.say(f"--normal {path.name}: {how}")
        else:
            load_normal_model(options.normal)
            normals = options.normal
    if options.captioner:
        load_captioner(options.captioner)
    known = Known(
        azimuth=azimuths[0] if azimuths else None,
        elevation=elevation,
        fov=options.fov,
        distance=options.distance,
        height=_height(options),
        depth=depth,
        normals=normals,
        views=views,
    )
    return known


def content_of(pictures: list[Path], options: KnownOptions) -> str:
    """A hash of all files that decide the result."""
    maps = [Path(p).expanduser() for p in (options.depth, options.normal) if p]
    digest = hashlib.sha256()
    for path in [*pictures, *(m for m in maps if m.is_file())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def say_unused(known: Known, method: str, takes: set[str], events: Events) -> None:
    """Say which of what is known the method makes no use of."""
    by_distance = known.fov is not None and known.distance is not None and known.height is None
    given = {
        "--depth": known.depth is not None,
        "--normal": known.normals is not None,
        "further photos": bool(known.views),
        # Both together are a size, whatever the method does about the perspective.
        "--fov": known.fov is not None and not by_distance,
        "--distance": known.distance is not None and not by_distance,
    }
    unused = [name for name, there in given.items() if there and name not in takes]
    if unused:
        events.say(f"Warning: {method} makes no use of {', '.join(unused)}. --method relief does.")
