"""What `cisp` asks about: pictures with shapes that no training saw, of editions of the toybox and
of the second world, pictures that are unlike the training's, and the training's own shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from threestudio_like.priors.data.pairs import Pair
from threestudio_like.priors.framing import framed
from threestudio_like.priors.networks.contrastive import BACKGROUND
from threestudio_like.toybox.pairs import ToyPairs
from threestudio_like.training.options import WORLD

VIEWS, SIZE, RESOLUTION = 3, 96, 32
KINDS = ("line drawing", "other shading", "clutter")
"""How pictures are unlike the training's."""


class SecondPairs:
    """Objects of the second world as pictures and voxels, stored in `path`: categories that the
    toybox knows, of another generator and another renderer, in ordinary proportions."""

    def __init__(self, path: Path, count: int) -> None:
        from second_world.shapes import KINDS as CATEGORIES

        self.categories = list(CATEGORIES)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = [_second(n) for n in range(count)]
            pictures, bits = (np.stack(x) for x in zip(*drawn))
            np.savez_compressed(path, pictures=pictures, bits=bits)
        kept = np.load(path, allow_pickle=False)
        self._pictures, self._bits = kept["pictures"][:count], kept["bits"][:count]

    def __len__(self) -> int:
        return len(self._bits)

    def category_of(self, index: int) -> int:
        """The number of the object's category."""
        return index % len(self.categories)

    def views(self, index: int) -> int:
        """The number of pictures of an object."""
        return self._pictures.shape[1]

    def voxels(self, index: int) -> np.ndarray:
        """Voxels (R, R, R) bool."""
        return np.unpackbits(self._bits[index]).reshape((RESOLUTION,) * 3).astype(bool)

    def pair(self, index: int, view: int) -> Pair:
        """Object `index` with its picture number `view`."""
        category = self.category_of(index)
        return Pair(
            self._pictures[index, view],
            self.voxels(index),
            category,
            caption="a " + self.categories[category],
        )


def _second(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (V, S, S, 4) uint8 and the bits of the voxels of an object of the second world."""
    from second_world.make import SEED as OF
    from second_world.make import camera
    from second_world.render import render
    from second_world.shapes import draw

    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.meshes.surface.voxels import voxelise

    thing = draw(OF, index)
    azimuth, elevation, light = camera(index, 0)
    turns = azimuth + np.arange(VIEWS) * (2 * np.pi / VIEWS)
    drawn = render(thing, turns, np.full(VIEWS, elevation), SIZE, light, seed=index)
    pictures = np.rint(np.asarray(drawn.image) * 255).astype(np.uint8)
    voxels = voxelise(Mesh(thing.vertices, thing.faces), RESOLUTION)
    return pictures, np.packbits(voxels.reshape(-1))


@dataclass
class Pool:
    """Objects with pictures: `source` is a `PairSource` that has `voxels` too; `world` the edition
    of the toybox that they are of."""

    name: str
    source: Any
    world: str = ""

    def category(self, index: int) -> str:
        """The word for an object's category."""
        return self.source.categories[self.source.category_of(index)]

    def pictures(self, count: int, kind: str = "") -> torch.Tensor:
        """Framed pictures (count, 64, 64, 3) of the first objects; of `KINDS`, or as they are."""
        rng = np.random.Generator(np.random.Philox(key=17))
        return torch.cat([_picture(self.source.pair(n, 0).image, kind, rng) for n in range(count)])

    def masks(self, count: int, size: int) -> torch.Tensor:
        """The share of every framed pixel that the object has, (count, size, size)."""
        out = []
        for n in range(count):
            white = self.source.pair(n, 0).image.copy()
            white[..., :3] = 255
            out.append(framed(torch.from_numpy(white[None]), size, 0.0)[0, ..., 0])
        return torch.stack(out)


def _picture(rgba: np.ndarray, kind: str, rng: np.random.Generator) -> torch.Tensor:
    """A picture (S, S, 4) uint8 as the encoder gets it, (1, 64, 64, 3), made unlike itself."""
    from scipy.ndimage import sobel

    picture = rgba.copy()
    if kind == "line drawing":
        alpha = picture[..., 3] / 255
        grey = picture[..., :3].astype(float).mean(-1) * alpha + 255 * (1 - alpha)
        edge = np.hypot(sobel(grey, 0), sobel(grey, 1)) > 90
        picture[..., :3] = np.where(edge[..., None], 30, 250)
    elif kind == "other shading":
        # A light from the side that the training never had, and no colour.
        ramp = np.linspace(0.35, 1.15, picture.shape[1])[None, :, None]
        grey = picture[..., :3].astype(float).mean(-1, keepdims=True)
        picture[..., :3] = np.clip(grey * ramp, 0, 255).repeat(3, -1)
    image = framed(torch.from_numpy(picture[None]), 64, BACKGROUND)
    if kind == "clutter":
        # Patches of other colours behind the object, as a careless cut leaves them.
        picture[..., :3] = 255
        alpha = framed(torch.from_numpy(picture[None]), 64, 0.0)
        behind = torch.full_like(image, BACKGROUND)
        for _ in range(6):
            y, x = rng.integers(0, 48, 2)
            patch = torch.from_numpy(rng.random(3).astype(np.float32))
            behind[0, y : y + 16, x : x + 16] = patch
        image = image * alpha + (1 - alpha) * behind
    return image


def pools(folder: Path, worlds: list[str], second: int) -> list[Pool]:
    """Held-out objects of editions of the toybox, and of the second world.

    Args:
        folder: where what is drawn is kept.
        worlds: names of editions; of twenty categories 200 objects, of more 400.
    """
    found = []
    for world in worlds:
        count = 200 if world == "twenty" else 400
        pairs = ToyPairs(folder, WORLD["test"], count, "test", 2, world)
        found.append(Pool(f"toybox, {len(pairs.categories)} categories", pairs, world))
    return [*found, Pool("second world", SecondPairs(folder / f"second-{second}.npz", second))]


@dataclass
class Library:
    """Training shapes: voxels (N, R, R, R) bool and the words for their categories."""

    voxels: np.ndarray
    words: np.ndarray

    @staticmethod
    def of(folder: Path, world: str, count: int) -> Library:
        """The first `count` objects that the training of an edition's models has."""
        pairs = ToyPairs(folder, WORLD["train"], count, "train", 2, world)
        return Library(
            pairs.voxels(np.arange(count)), np.array(pairs.categories)[pairs.category[:count]]
        )

    def another(self, word: str, rng: np.random.Generator) -> np.ndarray:
        """A random shape of a category; of any where the training has none of it."""
        some = np.flatnonzero(self.words == word)
        return self.voxels[rng.choice(some if len(some) else len(self.words))]

    def nearest(self, encoder: Any, pictures: torch.Tensor) -> np.ndarray:
        """The shape nearest to each picture (B, 64, 64, 3) in an encoder's space."""
        rows = [
            torch.nn.functional.normalize(encoder.embed_other(torch.from_numpy(some)), dim=-1)
            for some in np.array_split(self.voxels, max(1, len(self.voxels) // 100))
        ]
        likeness = encoder.embed(pictures) @ torch.cat(rows).t()
        return self.voxels[likeness.argmax(1).numpy()]
