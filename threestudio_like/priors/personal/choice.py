"""Which parts of a user's own a prior is loaded with."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, ModelError

BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class PersonalParts:
    """Parts that change a pretrained model.

    Attributes:
        lora: files of LoRAs (kohya, diffusers, peft, LyCORIS), which are added to the weights.
        lora_weight: the weight of each, or one for all; 1 where there is none.
        vae: an autoencoder instead of the model's own: a folder, or a .safetensors file.
    """

    lora: tuple[Path, ...] = ()
    lora_weight: tuple[float, ...] = ()
    vae: Path | None = None

    def check(self) -> None:
        """Raise ConfigError on parts that do not belong together."""
        count, weights = len(self.lora), self.lora_weight
        if len(weights) not in (0, 1, count) or (weights and not count):
            raise ConfigError(
                f"has {len(weights)} weights for {count} LoRAs",
                "--lora-weight",
                "Give one for all, or one for each",
            )
        if not all(math.isfinite(w) for w in weights):
            raise ConfigError("must be a number", "--lora-weight")

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
            told["lora"] = [{"sha256": digest_of(p), "weight": w} for p, w in self.loras()]
        if self.vae is not None:
            told["vae"] = digest_of(self.vae)
        return told


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
