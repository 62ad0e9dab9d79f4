"""Toybox objects as pictures with voxels, stored as arrays on disk: the training data of CISP, its
CLIP baseline and voxel diffusion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..engine.output import new_file, write_file
from ..meshes.mesh import Mesh
from ..meshes.surface.voxels import voxelise
from ..priors.data.pairs import Pair
from .editions import edition
from .parallel import each
from .render import render, view_projection

VIEWS = 6
RESOLUTION = 32
SIZE = 64
ELEVATION = (-5.0, 45.0)
"""Range of the elevation in degrees."""


class ToyPairs:
    """Objects 0 to `count` of a world.

    pictures (N, V, S, S, 4) uint8, with colours not multiplied by alpha; shapes (N, R^3 / 8) uint8,
    as bits; azimuth and elevation (N, V) in radians.

    Args:
        folder: where the arrays are stored; they are rendered if they are missing.
        workers: number of processes that render.
        world: the edition, by name.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        count: int,
        split: str = "train",
        workers: int = 1,
        world: str = "twenty",
    ) -> None:
        self.categories = list(edition(world).vocabulary.categories)
        stem = folder / f"pairs-{split}-{seed}-{count}{'' if world == 'twenty' else '-' + world}"
        if not stem.with_suffix(".json").is_file():
            _draw(stem, seed, count, split=split, workers=workers, world=world)
        facts = json.loads(stem.with_suffix(".json").read_text())
        self.captions: list[str] = facts["captions"]
        self.pictures = np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        arrays = np.load(stem.with_suffix(".npz"), allow_pickle=False)
        self.shapes, self.category = arrays["shapes"], arrays["category"]
        self.azimuth, self.elevation = arrays["azimuth"], arrays["elevation"]

    def __len__(self) -> int:
        return len(self.captions)

    def category_of(self, index: int) -> int:
        """The number of the object's category."""
        return int(self.category[index])

    def views(self, index: int) -> int:
        """The number of pictures of an object."""
        return self.pictures.shape[1]

    def voxels(self, index: int | np.ndarray) -> np.ndarray:
        """Voxels (..., R, R, R) bool of one or several objects."""
        bits = np.unpackbits(self.shapes[index], axis=-1)
        return bits.reshape(*bits.shape[:-1], RESOLUTION, RESOLUTION, RESOLUTION).astype(bool)

    def pair(self, index: int, view: int) -> Pair:
        """Object `index` with its picture number `view`."""
        return Pair(
            np.array(self.pictures[index, view]),
            self.voxels(index),
            int(self.category[index]),
            caption=self.captions[index],
        )


def pictures_of(
    seed: int, index: int, split: str, views: int = VIEWS, size: int = SIZE, world: str = "twenty"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Mesh, str]:
    """Pictures (V, S, S, 4) uint8, azimuths and elevations (V,) in radians, mesh and caption of one
    object."""
    known = edition(world)
    obj = known.draw(seed, index, split)
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 41), index]))
    azimuth = rng.uniform(0, 2 * np.pi) + np.arange(views) * (2 * np.pi / views)
    elevation = np.deg2rad(rng.uniform(*ELEVATION, views))
    cameras = np.stack([view_projection(float(a), float(e)) for a, e in zip(azimuth, elevation)])
    drawn = render(obj, cameras, size, backgrounds=np.zeros((views, 3), np.float32))
    alpha = drawn.mask[..., None]
    colour = drawn.image / np.maximum(alpha, 1e-3)
    picture = np.rint(np.concatenate([colour.clip(0, 1), alpha], -1) * 255).astype(np.uint8)
    return picture, azimuth, elevation, Mesh(obj.vertices, obj.faces), known.caption_of(obj, rng)


def _draw_one(
    job: tuple[int, int, str, str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    seed, index, split, world = job
    picture, azimuth, elevation, mesh, caption = pictures_of(seed, index, split, world=world)
    return picture, azimuth, elevation, np.packbits(voxelise(mesh, RESOLUTION).reshape(-1)), caption


def _draw(stem: Path, seed: int, count: int, split: str, workers: int, world: str) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    pictures = np.lib.format.open_memmap(
        stem.with_suffix(".npy"), "w+", np.uint8, (count, VIEWS, SIZE, SIZE, 4)
    )
    shapes = np.empty((count, RESOLUTION**3 // 8), np.uint8)
    azimuth, elevation = np.empty((count, VIEWS), np.float32), np.empty((count, VIEWS), np.float32)
    captions: list[str] = []
    jobs = ((seed, n, split, world) for n in range(count))
    with each(_draw_one, jobs, workers) as drawn:
        for n, (picture, a, e, bits, caption) in enumerate(drawn):
            pictures[n], azimuth[n], elevation[n], shapes[n] = picture, a, e, bits
            captions.append(caption)
    pictures.flush()
    category = np.arange(count) % len(edition(world).categories)
    with new_file(stem.with_suffix(".npz"), force=True) as path:
        np.savez(path, shapes=shapes, category=category, azimuth=azimuth, elevation=elevation)
    text = json.dumps({"captions": captions})
    write_file(stem.with_suffix(".json"), text.encode(), force=True)
