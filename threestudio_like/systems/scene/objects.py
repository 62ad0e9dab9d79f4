"""The objects of a scene: meshes from wherever, each in the unit sphere for its placement and whole
for the file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...engine.text import slug
from ...meshes.frames import Normalisation
from ...meshes.io.files import read
from ...meshes.mesh import Asset
from ...meshes.transform import Transform
from ...representations import Body
from .prompt import SceneText

FACES = 50_000
"""Faces of an object while it is placed (METHODS 4.2); what is written has all of them."""


@dataclass
class SceneObject:
    """An object of the scene: its name, the whole of it as it is written, the same in the unit
    sphere with few faces for the placement (`body`), the way from the one to the other, and the
    angles (radians) from which its picture showed it."""

    name: str
    asset: Asset
    body: Body
    normal: Transform
    azimuth: float = 0.0
    elevation: float | None = None
    agreement: float = float("nan")


def open_object(path: Path, name: str) -> SceneObject:
    """A user's mesh as an object. Raises InputError."""
    return object_of(read(path), name or path.stem)


def object_of(
    asset: Asset,
    name: str,
    azimuth: float = 0.0,
    elevation: float | None = None,
    agreement: float = float("nan"),
) -> SceneObject:
    """An object of an asset, its middle at the origin and within the unit sphere."""
    from ...meshes.surface.simplify import decimate_parts

    vertices = np.concatenate([m.vertices for m in asset.meshes.values()])
    place = Normalisation.of(vertices)
    few = decimate_parts(list(asset.meshes.values()), FACES)
    meshes = {
        key: replace(small, vertices=place.apply(small.vertices))
        for key, small in zip(asset.meshes, few)
    }
    normal = Transform(place.scale, translation=-place.centre * place.scale)
    return SceneObject(
        name,
        asset,
        Body(meshes),
        normal=normal,
        azimuth=azimuth,
        elevation=elevation,
        agreement=agreement,
    )


def node_names(phrases: list[str]) -> list[str]:
    """Names of nodes: "a red ball" is red_ball; a name twice gets a number."""
    names: list[str] = []
    for number, phrase in enumerate(phrases, 1):
        stem = re.sub(r"^(a|an|the|one|some) ", "", phrase.lower())
        stem = slug(stem, "_", 50) or f"object_{number}"
        name, again = stem, 2
        while name in names:
            name, again = f"{stem}_{again}", again + 1
        names.append(name)
    return names


def first_layout(
    objects: list[SceneObject], text: SceneText, seed: int, number: int
) -> list[Transform]:
    """A first placement of a layout by text: the first start has the objects in a row on the floor;
    every other one throws them on a disc, by the seed."""
    count = len(objects)
    scale = 0.9 / count**0.75
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    places = []
    for k, one in enumerate(objects):
        vertices = one.body.vertices
        lift = -0.35 - scale * float(vertices[:, 1].min())
        if number == 0:
            at = np.array([(k - (count - 1) / 2) * 1.7 * scale, lift, 0.0])
        else:
            angle, away = 2 * math.pi * (k / count + rng.random()), 0.35 + 0.35 * rng.random()
            at = np.array(
                [away * math.cos(angle), lift + 0.4 * rng.random(), away * math.sin(angle)]
            )
        places.append(Transform(scale, translation=at))
    return places
