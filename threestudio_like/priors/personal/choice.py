"""Which parts of a user's own a prior is loaded with."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, ModelError
from .from_hub import HubPart, lora_path

BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class PersonalParts:
    """Parts that change a pretrained model.

    Attributes:
        lora: LoRAs (kohya, diffusers, peft, LyCORIS), which are added to the weights: files, or hub
            ids with the file behind them.
        lora_weight: the weight of each, or one for all; 1 where there is none.
        vae: an autoencoder instead of the model's own: a folder, or a .safetensors file.
        like: pictures that results are to be like, by an IP-Adapter.
        like_weight: how much they count.
        ip_adapter: the file of the adapter, a folder of the publication's layout, or a hub id.
    """

    lora: tuple[Path, ...] = ()
    lora_weight: tuple[float, ...] = ()
    vae: Path | None = None
    like: tuple[Path, ...] = ()
    like_weight: float = 1.0
    ip_adapter: Path | None = None

    def check(self, model: str = "", *, likes: bool = True) -> None:
        """Raise ConfigError on parts that do not belong together, and ModelError on pictures for a
        model that has no IP-Adapter (`likes`)."""
        if self.like and not likes:
            raise ModelError("has no IP-Adapter that is read", model, "Leave --like out")
        count, weights = len(self.lora), self.lora_weight
        if len(weights) not in (0, 1, count) or (weights and not count):
            raise ConfigError(
                f"has {len(weights)} weights for {count} LoRAs",
                "--lora-weight",
                "Give one for all, or one for each",
            )
        if not all(math.isfinite(w) for w in weights):
            raise ConfigError("must be a number", "--lora-weight")
        if not math.isfinite(self.like_weight):
            raise ConfigError("must be a number", "--like-weight")
        if self.like and self.ip_adapter is None:
            raise ConfigError(
                "is read by an IP-Adapter, and none is named",
                "--like",
                "Give its file: --ip-adapter ip-adapter_sd15.safetensors",
            )
        if not self.like and (self.ip_adapter is not None or self.like_weight != 1.0):
            option = "--like-weight" if self.ip_adapter is None else "--ip-adapter"
            raise ConfigError("has no picture to be like", option, "Give one: --like picture.png")

    def loras(self) -> list[tuple[Path, float]]:
        """The files of LoRAs with their weights."""
        weights = self.lora_weight or (1.0,)
        if len(weights) == 1:
            weights *= len(self.lora)
        return list(zip(self.lora, weights))

    def facts(self) -> dict[str, Any]:
        """What decides a run besides names of files: their contents; empty without parts. Raises
        ModelError on a file that cannot be read."""
        told: dict[str, Any] = {}
        if self.lora:
            told["lora"] = [
                {"sha256": digest_of(lora_path(p)), "weight": w} for p, w in self.loras()
            ]
        if self.vae is not None:
            told["vae"] = digest_of(self.vae)
        if self.like and self.ip_adapter is not None:
            told["like"] = {
                "pictures": [digest_of(p) for p in self.like],
                "weight": self.like_weight,
                "adapter": _adapter_fact(self.ip_adapter),
            }
        return told


def _adapter_fact(chosen: Path) -> str:
    """The SHA-256 of an adapter's file or folder; of one of the hub its revision and file."""
    part = HubPart.of(chosen)
    return digest_of(chosen) if part is None else part.revision()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, or of the files in a folder with their names. Raises ModelError."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    try:
        for file in files:
            if path.is_dir():
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", str(path)) from None
    return digest.hexdigest()
