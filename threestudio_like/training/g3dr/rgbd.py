"""Pictures with depth on which G3DR's generator is trained, from the toybox or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from ...engine.errors import ConfigError, InputError
from ...priors.data.image_folder import ImageFolder
from ...priors.data.pairs import Skipped
from ...priors.depth import EMBEDDED_SPAN, DepthPrior, load_depth
from ...systems.image_to_3d.g3dr_cameras import (
    DEPTH_NEAR,
    GREY,
    WALL,
    decode_depth,
)
from ..depth_pictures import depth_pictures


class RgbdSource(Protocol):
    """Pictures with depth, by number."""

    def __len__(self) -> int:
        """The number of pictures."""

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] and distances (B, 1, S, S) from the canonical camera."""


class ToyRgbd:
    """Toybox objects before a grey wall, from G3DR's camera, scaled to fill the frame."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        count: int,
        split: str = "train",
        workers: int = 1,
        grey: float = GREY,
        world: str = "twenty",
    ) -> None:
        self.data, self.grey = (
            depth_pictures(
                folder, seed, count, split=split, workers=workers, camera=1, world=world
            ),
            grey,
        )

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RgbdSource.batch`."""
        image, mask, depth, _ = self.data.framed(index.numpy())
        image = image + (1 - mask[..., None]) * self.grey
        # Zero marks pixels whose depth was not measured.
        depth = torch.where(depth > 0, depth, torch.full_like(depth, WALL * EMBEDDED_SPAN))
        depth = depth.clamp(0, WALL * EMBEDDED_SPAN)
        return image.permute(0, 3, 1, 2) * 2 - 1, DEPTH_NEAR + depth[:, None]


class FolderRgbd:
    """A folder of pictures. The depth of pictures without a depth map is estimated and scaled to
    [4.1, 5.9].

    Args:
        prior: depth estimator for pictures without depth, or its name; without it, they are
            refused.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        prior: DepthPrior | str | None,
        skipped: Skipped | None = None,
    ) -> None:
        self.folder, self.skipped = ImageFolder(folder, size), skipped or Skipped()
        # A folder in which all pictures have depth needs no estimator.
        needed = self.folder.with_depth < len(self.folder)
        self.prior = (load_depth(prior) if needed else None) if isinstance(prior, str) else prior
        if self.prior is None and self.folder.with_depth == 0:
            raise ConfigError(
                "its pictures have no depth beside them, and there is no depth estimator",
                str(folder),
                "Add --depth_model toybox",
            )

    def __len__(self) -> int:
        return len(self.folder)

    def one(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (3, S, S) in [-1, 1] and distance (1, S, S) of this picture, or of the next one
        that can be used."""
        last: InputError | None = None
        for offset in range(min(100, len(self))):
            try:
                found = self.folder.picture((index + offset) % len(self))
                if found.depth is None and self.prior is None:
                    raise InputError(
                        "has no depth beside it", str(found.path), "Add name.depth.png"
                    )
            except InputError as error:
                self.skipped.add(error)
                last = error
                continue
            image = torch.from_numpy(found.image).float() / 255
            if found.depth is not None:
                depth = torch.from_numpy(decode_depth(found.depth))
            else:
                assert self.prior is not None
                depth = stretched(self.prior, image)
            return image.permute(2, 0, 1) * 2 - 1, depth[None]
        raise InputError(
            f"100 pictures in a row cannot be used, the last one because: {last}",
            str(self.folder.folder),
            "Repair the data",
        )

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RgbdSource.batch`."""
        images, depths = zip(*(self.one(int(n)) for n in index))
        return torch.stack(images), torch.stack(depths)


@torch.no_grad()
def stretched(prior: DepthPrior, image: torch.Tensor) -> torch.Tensor:
    """The depth of a picture (S, S, 3) in [0, 1] as distances (S, S) in [4.1, 5.9].

    Depths of the embedded estimator are converted from its own units, and those of others are
    scaled between their 2nd and 98th percentiles.
    """
    depth = prior.predict(image[None])[0]
    if prior.inverse:
        depth = -depth
    low, high = (
        (0.0, EMBEDDED_SPAN)
        if prior.framed
        else (float(depth.quantile(0.02)), float(depth.quantile(0.98)))
    )
    share = ((depth - low) / max(high - low, 1e-6)).clamp(0, 1)
    return DEPTH_NEAR + (0.05 + 0.9 * share) * 2
