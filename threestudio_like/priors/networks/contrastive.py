"""Contrastive pairs of encoders: CISP (Sbrolli et al. 2024), which compares pictures with voxels,
and its baseline CLIP, which compares pictures with captions.

Both are one class with one configuration, in which a single entry says what pictures are compared
with (METHODS 2.3, 2.4, 2.10).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ...engine.errors import ModelError
from ...engine.schema.bounds import Count, Number, Positive, Size
from ...engine.text import parse_json
from .patch_transformer import EncoderConfig, TextEncoder, build_encoder, resized
from .weights import save_weights

BACKGROUND = 240 / 255
"""Grey level behind every picture, which the released code gives to transparent pixels (METHODS
2.2)."""
LARGEST_SCALE = 100.0


class ImageEmbedder(ABC):
    """Embeds pictures as the vectors that a generator is conditioned on."""

    width: int

    @abstractmethod
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Map pictures (B, H, W, 3) in [0, 1] to vectors (B, D), not normalised. Differentiable."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Sizes of the caption encoder; `vocabulary` and `end` are the tokenizer's."""

    vocabulary: Count = 0
    end: Count = 0
    tokens: Size = 32
    width: Size = 128
    depth: int = 4
    heads: Number = 4
    init: Positive = 0.02


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """A contrastive model. The defaults are the released sizes; `toybox()` has those of the
    embedded models."""

    against: Literal["shape", "text"] = "shape"
    width: Size = 256
    """Dimension of the joint space."""
    image: EncoderConfig = field(default_factory=EncoderConfig.deit_base)
    shape: EncoderConfig = field(default_factory=EncoderConfig.deit_3d)
    text: TextConfig = field(default_factory=TextConfig)

    @staticmethod
    def toybox(against: Literal["shape", "text"] = "shape") -> ContrastiveConfig:
        """64 pixels and 32^3 voxels, with about a million parameters in each encoder, for two
        cores."""
        return ContrastiveConfig(
            against=against,
            width=128,
            image=EncoderConfig(
                dims=2,
                kind="transformer",
                size=64,
                patch=8,
                width=128,
                depth=2,
                heads=4,
                leading=2,
                stem="hybrid",
                init=0.09,
            ),
            shape=EncoderConfig(
                dims=3,
                kind="transformer",
                size=32,
                patch=8,
                width=128,
                depth=4,
                heads=4,
                leading=1,
                stem="linear",
                init=0.09,
            ),
            text=TextConfig(width=96, depth=3, heads=4, init=0.09),
        )


class Head(nn.Sequential):
    """Linear(width, d), SiLU, Linear(d, d)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(nn.Linear(inside, outside), nn.SiLU(), nn.Linear(outside, outside))


class Contrastive(nn.Module, ImageEmbedder):
    """Two encoders with their heads and a learnable temperature.

    Example:
        >>> model = Contrastive(ContrastiveConfig.toybox())
        >>> model.embed(torch.zeros(2, 64, 64, 3)).shape
        torch.Size([2, 128])
    """

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.image = build_encoder(config.image)
        self.image_head = Head(config.image.width, config.width)
        if config.against == "shape":
            self.other: nn.Module = build_encoder(config.shape)
            other = config.shape.width
        else:
            text = config.text
            self.other = TextEncoder(
                text.vocabulary,
                text.tokens,
                text.end,
                width=text.width,
                depth=text.depth,
                heads=text.heads,
                init=text.init,
            )
            other = text.width
        self.other_head = Head(other, config.width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Map pictures (B, H, W, 3) in [0, 1] to vectors (B, D), not normalised."""
        x = resized(images.permute(0, 3, 1, 2) * 2 - 1, self.config.image.size)
        return self.image_head(self.image(x))

    def embed_other(self, other: torch.Tensor) -> torch.Tensor:
        """Map voxels (B, R, R, R) of 0 and 1 with axes x, y, z, or token ids (B, T), to vectors (B,
        D), not normalised."""
        return self.other_head(
            self.other(other[:, None].float() if self.config.against == "shape" else other)
        )

    @torch.no_grad()
    def clamp(self) -> None:
        """Limit exp(log_scale) to 100, in place, so that the optimiser keeps the parameter."""
        self.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16) to a folder. Raises OutputError."""
        save_weights(folder, self.state_dict(), {"kind": "contrastive", **asdict(self.config)})

    @staticmethod
    def load(folder: Path) -> Contrastive:
        """Read a folder that `save` wrote. Raises ModelError."""
        facts = read_config(folder, "contrastive", "threestudio-like train cisp")
        try:
            config = ContrastiveConfig(
                against=facts["against"],
                width=facts["width"],
                image=EncoderConfig(**facts["image"]),
                shape=EncoderConfig(**facts["shape"]),
                text=TextConfig(**facts["text"]),
            )
            model = Contrastive(config)
            model.load_state_dict(
                {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
            )
        except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(folder, error) from None
        return model.eval().requires_grad_(False)


def read_config(folder: Path, kind: str, remedy: str) -> dict[str, Any]:
    """Read the config.json of one of this package's models, without its kind. Raises ModelError."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            "there is no such model", str(folder), f"Reinstall the package, or: {remedy}"
        )
    try:
        facts = parse_json(path.read_text())
    except (ValueError, OSError) as error:
        raise damaged(folder, error) from None
    if facts.pop("kind", "") != kind:
        raise ModelError(
            f"holds no {kind} model", str(folder), f"Give another folder, or: {remedy}"
        )
    return facts


def damaged(folder: Path, error: Exception) -> ModelError:
    """The error for a model folder that cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return ModelError(
        f"the model cannot be loaded ({reason})", str(folder), "Train or copy it again"
    )


def contrastive_loss(
    one: torch.Tensor, two: torch.Tensor, log_scale: torch.Tensor, same: torch.Tensor | None = None
) -> torch.Tensor:
    """0.5 (CE over rows + CE over columns) of exp(s) u v^T (METHODS 2.4).

    Args:
        one, two: (B, D), which are normalised here.
        same: (B, B) bool, pairs that belong together; the diagonal by default. Equal captions share
            the probability of a row.
    """
    logits = log_scale.exp() * F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).t()
    if same is None:
        wanted = torch.arange(len(one), device=one.device)
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.t(), wanted)) / 2
    share = same.float() / same.float().sum(1, keepdim=True)
    return (
        -(
            (share * logits.log_softmax(1)).sum(1).mean()
            + (share.t() * logits.t().log_softmax(1)).sum(1).mean()
        )
        / 2
    )


@torch.no_grad()
def recall(
    queries: torch.Tensor,
    pool: torch.Tensor,
    alike: torch.Tensor | None = None,
    at: tuple[int, ...] = (1, 5),
) -> dict[str, float]:
    """Retrieval: share of queries (N, D) whose own entry of the pool (N, D) is among the nearest by
    cosine.

    Args:
        alike: (N, N) bool, entries that count as the query's own; the diagonal by default.
    """
    similarity = F.normalize(queries, dim=-1) @ F.normalize(pool, dim=-1).t()
    own = torch.eye(len(queries), dtype=torch.bool) if alike is None else alike
    order = similarity.argsort(1, descending=True)
    hits = own.gather(1, order)
    return {f"recall@{k}": float(hits[:, :k].any(1).float().mean()) for k in at}
