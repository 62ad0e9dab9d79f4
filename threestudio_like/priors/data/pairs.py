"""Pictures with the shapes that they show: the contract, and its sources on disk.

A sample that is corrupt or mislabelled is never used. It is reported once, with its path, and
another sample takes its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ...engine.errors import InputError
from ...meshes.io.images import decode
from ...meshes.surface.voxels import read_binvox

SPLIT_SHARES = (("train", 0.7), ("validation", 0.1), ("test", 0.2))


@dataclass
class Pair:
    """One object: a picture (H, W, 4) uint8, its shape (R, R, R) bool, the number of its category,
    and a caption."""

    image: np.ndarray
    voxels: np.ndarray
    category: int
    caption: str


class PairSource(Protocol):
    """Objects by number, each with one or several pictures."""

    categories: list[str]

    def __len__(self) -> int:
        """The number of objects."""

    def category_of(self, index: int) -> int:
        """The number of the category of object `index`."""

    def views(self, index: int) -> int:
        """The number of pictures of object `index`."""

    def pair(self, index: int, view: int) -> Pair:
        """Object `index` with its picture number `view`. Raises InputError, with the path, if it
        cannot be used."""


@dataclass
class Skipped:
    """Samples that could not be used. Each is reported once through `say`."""

    say: Callable[[str], None] = print
    seen: dict[str, str] = field(default_factory=dict)

    def add(self, error: InputError) -> None:
        """Report a sample, unless it was reported before."""
        text = str(error)
        if text not in self.seen:
            self.seen[text] = text
            self.say(f"skipped: {text}")


def usable(source: PairSource, index: int, view: int, skipped: Skipped, tries: int = 100) -> Pair:
    """The pair, or the next usable one after it, in a fixed order. Raises InputError if `tries`
    pairs in a row cannot be used."""
    for offset in range(min(tries, len(source))):
        other = (index + offset) % len(source)
        try:
            return source.pair(other, view % max(1, source.views(other)))
        except InputError as error:
            skipped.add(error)
            last = error
    raise InputError(
        f"{tries} samples in a row cannot be used, the last one because: {last}",
        "the training data",
        "Repair the data",
    )


class ShapeNetPairs:
    """ShapeNet renderings and voxels in the layout of 3D-R2N2 (METHODS 2.2).

    folder/ShapeNetRendering/<category>/<model>/rendering/*.png and
    folder/ShapeNetVox32/<category>/<model>/model.binvox. The alpha of a picture marks the object,
    and the category of a model is the name of its folder.

    Args:
        folder: contains both folders.
        split: train, validation or test, according to split.json in the folder ({"train":
            ["<category>/<model>", ...], ...}), or to a hash of the model's name in shares of 70, 10
            and 20 %.
        categories: names of the folders to use; all by default.
        names: words for the categories' folders, for captions.

    Raises:
        InputError: the folder does not have this layout.
    """

    def __init__(
        self,
        folder: Path,
        split: str = "train",
        categories: list[str] | None = None,
        names: dict[str, str] | None = None,
        resolution: int = 32,
    ) -> None:
        self._pictures, self._shapes, self._resolution = (
            folder / "ShapeNetRendering",
            folder / "ShapeNetVox32",
            resolution,
        )
        for part in (self._pictures, self._shapes):
            if not part.is_dir():
                raise InputError(
                    "there is no such folder",
                    str(part),
                    "Give a folder with ShapeNetRendering and ShapeNetVox32",
                )
        present = sorted(p.name for p in self._pictures.iterdir() if p.is_dir())
        self.categories = categories or present
        missing = sorted(set(self.categories) - set(present))
        if missing:
            raise InputError(
                f"has no category {', '.join(missing)}",
                str(self._pictures),
                f"There are: {', '.join(present[:20])}",
            )
        self.names = names or {}
        chosen = self._listed(folder / "split.json", split)
        self._models: list[tuple[int, str]] = []
        for number, category in enumerate(self.categories):
            for model in sorted(
                p.name for p in (self._pictures / category).iterdir() if p.is_dir()
            ):
                key = f"{category}/{model}"
                if (key in chosen) if chosen is not None else (split_of(key) == split):
                    self._models.append((number, model))
        if not self._models:
            raise InputError(
                f"contains no model of the split {split}",
                str(folder),
                "Add models or another split.json",
            )

    @staticmethod
    def _listed(path: Path, split: str) -> set[str] | None:
        if not path.is_file():
            return None
        try:
            return set(json.loads(path.read_text())[split])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"does not list the split {split} ({type(error).__name__})",
                str(path),
                "Give {split: [category/model, ...]}",
            ) from None

    def __len__(self) -> int:
        return len(self._models)

    def category_of(self, index: int) -> int:
        """The number of the category of the model's folder."""
        return self._models[index][0]

    def _files(self, index: int) -> list[Path]:
        number, model = self._models[index]
        return sorted(
            (self._pictures / self.categories[number] / model / "rendering").glob("*.png")
        )

    def views(self, index: int) -> int:
        """The number of pictures in the model's folder."""
        return len(self._files(index))

    def pair(self, index: int, view: int) -> Pair:
        """The model with its picture number `view`, in the order of the file names."""
        number, model = self._models[index]
        category = self.categories[number]
        files = self._files(index)
        if not files:
            raise InputError(
                "contains no pictures",
                str(self._pictures / category / model),
                "Render the model, or remove it",
            )
        image = np.array(decode(files[view].read_bytes(), str(files[view])))
        if image.shape[2] != 4 or not (image[..., 3] > 0).any():
            raise InputError(
                "shows nothing: it has no alpha, or its alpha is zero everywhere",
                str(files[view]),
                "Render it again",
            )
        voxels = read_binvox(self._shapes / category / model / "model.binvox", self._resolution)
        if not voxels.any():
            raise InputError(
                "contains an empty shape",
                str(self._shapes / category / model / "model.binvox"),
                "Voxelise the model again",
            )
        return Pair(image, voxels, number, caption=f"a {self.names.get(category, category)}")


def split_of(key: str) -> str:
    """The split of a model by a hash of its name, which is the same on every machine."""
    share = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    for name, part in SPLIT_SHARES:
        share -= part
        if share < 0:
            return name
    return SPLIT_SHARES[-1][0]
