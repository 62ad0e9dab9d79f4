"""A convolutional judge of toybox pictures: category, colour and view.

Its architecture differs from that of every prior, and it is never used for optimisation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from ..engine.errors import ModelError
from ..priors.networks.weights import save_weights
from ..toybox.editions import edition

VIEWS = ("front", "side", "back", "overhead")
PATTERNS = ("plain", "striped", "dotted")


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride=2, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1, stride=2)
        self.norm_1, self.norm_2 = nn.GroupNorm(8, outside), nn.GroupNorm(8, outside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm_1(self.first(x)))
        return F.relu(self.norm_2(self.second(y)) + self.skip(x))


def _body(width: int) -> nn.Sequential:
    return nn.Sequential(
        _Block(3, width),
        _Block(width, 2 * width),
        _Block(2 * width, 4 * width),
        _Block(4 * width, 6 * width),
    )


def _features(body: nn.Sequential, pictures: torch.Tensor) -> torch.Tensor:
    x = pictures.permute(0, 3, 1, 2) * 2 - 1
    if x.shape[-1] != 64:
        x = F.interpolate(x, (64, 64), mode="area")
    y = body(x)
    return torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1)


@dataclass
class Judgement:
    """Probabilities of category (B, K), colour (B, C) and view (B, 4), and features (B, D) for
    distances between sets of pictures."""

    category: torch.Tensor
    colour: torch.Tensor
    view: torch.Tensor
    features: torch.Tensor


class Judge(nn.Module):
    """Maps pictures (B, H, W, 3) in [0, 1] to a `Judgement`.

    Args:
        categories, colours: the words, in the order of the outputs.
        world: the edition of the toybox that it judges.
    """

    def __init__(
        self, categories: list[str], colours: list[str], width: int = 24, world: str = "twenty"
    ) -> None:
        super().__init__()
        self.world = world
        self.categories, self.colours, self.width = list(categories), list(colours), width
        self.body = _body(width)
        self.head = nn.Linear(6 * width * 2, len(categories) + len(colours) + len(VIEWS))

    def logits(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, K + C + 4) and features (B, D)."""
        features = _features(self.body, pictures)
        return self.head(features), features

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> Judgement:
        """Judge the pictures."""
        logits, features = self.logits(pictures)
        category, colour, view = logits.split(
            [len(self.categories), len(self.colours), len(VIEWS)], 1
        )
        return Judgement(category.softmax(1), colour.softmax(1), view.softmax(1), features=features)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (fp16). Raises OutputError."""
        config = {
            "categories": self.categories,
            "colours": self.colours,
            "width": self.width,
            "world": self.world,
        }
        save_weights(folder, self.state_dict(), config)

    @staticmethod
    def load(folder: Path) -> Judge:
        """Read a folder that `save` wrote. Raises ModelError."""
        if not (folder / "model.safetensors").is_file():
            raise ModelError(
                "the judge's weights are missing",
                str(folder),
                "Reinstall the package, or: threestudio-like train toybox --only judge",
            )
        config = json.loads((folder / "config.json").read_text())
        judge = Judge(
            config["categories"], config["colours"], config["width"], config.get("world", "twenty")
        )
        judge.load_state_dict(
            {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        )
        return judge.eval()


class PatternJudge(nn.Module):
    """Maps pictures (B, H, W, 3) in [0, 1] to probabilities (B, P) of patterns: of
    plain, striped and dotted, unless others are named.

    It is a separate network, because one that names category and colour learns to ignore patterns.
    """

    def __init__(
        self, width: int = 16, patterns: tuple[str, ...] = PATTERNS, world: str = "twenty"
    ) -> None:
        super().__init__()
        self.patterns, self.world = patterns, world
        self.width = width
        self.body = _body(width)
        self.head = nn.Linear(6 * width * 2, len(patterns))

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits (B, P)."""
        return self.head(_features(self.body, pictures))

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Judge the pictures."""
        return self.logits(pictures).softmax(1)

    def save(self, folder: Path) -> None:
        """Write patterns.safetensors (fp16). Raises OutputError."""
        save_weights(folder, self.state_dict(), name="patterns.safetensors")

    @staticmethod
    def load(folder: Path) -> PatternJudge:
        """Read a folder that `save` wrote. Raises ModelError."""
        if not (folder / "patterns.safetensors").is_file():
            raise ModelError(
                "the pattern judge's weights are missing",
                str(folder),
                "Reinstall the package, or: threestudio-like train toybox --only patterns",
            )
        tensors = {k: v.float() for k, v in load_file(folder / "patterns.safetensors").items()}
        card = folder / "world.json"
        world = json.loads(card.read_text())["world"] if card.is_file() else "twenty"
        known = tuple(edition(world, str(card)).patterns)
        judge = PatternJudge(tensors["body.0.first.weight"].shape[0], known, world=world)
        judge.load_state_dict(tensors)
        return judge.eval()
