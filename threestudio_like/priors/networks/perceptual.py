"""Perceptual distances between pictures: LPIPS (Zhang et al. 2018) on the features of VGG or of an
embedded network.

torchvision's VGG weights cannot be shipped. A user's own file can be used, and offline a small
network that was trained on the toybox.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ...engine.errors import ModelError
from ...engine.places import user_path
from ...kernels.devices import follow
from ..registry import embedded_folder
from .contrastive import damaged, read_config
from .weights import save_weights

LAYERS = 5
UNRELATED = 0.7
"""LPIPS of pictures that have nothing in common, to which embedded distances are scaled."""
DEEP = (0.0, 0.0, 0.0, 1.0, 1.0)
"""Weights of the layers if only the content of a picture counts and not its exact position (G3DR's
novel views)."""
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class PerceptualPrior(ABC):
    """Computes features of pictures at five depths."""

    @abstractmethod
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map pictures (B, H, W, 3) in [0, 1] to five maps (B, C, h, w), shallow layers first.
        Differentiable."""

    def weigh(self, number: int, difference: torch.Tensor) -> torch.Tensor:
        """Reduce squared differences (B, C, h, w) of layer `number` to (B, h, w), by the mean over
        channels unless weights were learnt."""
        return difference.sum(1)

    def distance(
        self, one: torch.Tensor, two: torch.Tensor, layers: Sequence[float] = (1.0,) * LAYERS
    ) -> torch.Tensor:
        """LPIPS (B,) of pictures (B, H, W, 3) in [0, 1].

        Squared differences of features that are normalised along the channels are averaged over
        positions and summed over layers with weights `layers`. Layers of weight 0 are not used.
        """
        total = one.new_zeros(len(one))
        pairs = zip(self.features(one), self.features(two), layers)
        for number, (a, b, weight) in enumerate(pairs):
            if weight:
                off = (F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)).square()
                total = total + weight * self.weigh(number, off).mean((1, 2))
        return total


def through(blocks: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of all blocks, applied one after the other to x (B, C, h, w)."""
    out = []
    for block in blocks:
        x = block(x)
        out.append(x)
    return out


class VggPerceptual(PerceptualPrior):
    """The five blocks of VGG16.

    They are read from a safetensors file with torchvision's names ("features.0.weight", ...).
    LPIPS' learnt channel weights ("lin0.model.1.weight", ...) are used if the file has them.

    Args:
        path: the file.

    Raises:
        ModelError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(
                "there is no such file",
                str(path),
                "Give VGG16's weights as safetensors, or use the embedded network",
            )
        try:
            tensors = load_file(str(path))
            self.blocks = nn.ModuleList()
            number, inside = 0, 3
            for widths in VGG16:
                layers: list[nn.Module] = []
                if inside != 3:
                    layers.append(nn.MaxPool2d(2))
                    number += 1
                for width in widths:
                    conv = nn.Conv2d(inside, width, 3, padding=1)
                    conv.load_state_dict(
                        {k: tensors[f"features.{number}.{k}"].float() for k in ("weight", "bias")}
                    )
                    layers += [conv, nn.ReLU()]
                    number, inside = number + 2, width
                self.blocks.append(nn.Sequential(*layers))
        except (KeyError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(path, error) from None
        self.blocks.eval().requires_grad_(False)
        self.linear = [tensors.get(f"lin{n}.model.1.weight") for n in range(LAYERS)]
        self._mean, self._deviation = (
            torch.tensor([0.485, 0.456, 0.406]),
            torch.tensor([0.229, 0.224, 0.225]),
        )

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See `PerceptualPrior.features`."""
        # The network goes where the pictures are.
        follow(self.blocks, images)
        x = ((images - self._mean.to(images)) / self._deviation.to(images)).permute(0, 3, 1, 2)
        return through(self.blocks, x)

    def weigh(self, number: int, difference: torch.Tensor) -> torch.Tensor:
        """Apply LPIPS' learnt weights if there are any."""
        linear = self.linear[number]
        return (
            difference.sum(1)
            if linear is None
            else (difference * linear.to(difference).view(1, -1, 1, 1)).sum(1)
        )


class ToyPerceptual(nn.Module, PerceptualPrior):
    """The embedded network: five convolutional blocks, trained to recognise the content of toybox
    pictures."""

    def __init__(self, width: int = 16, outputs: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        self.width, self.outputs, self.scale = width, outputs, scale
        widths = [3, width, 2 * width, 3 * width, 4 * width, 4 * width]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=1 if n == 0 else 2, padding=1),
                nn.GroupNorm(8, b),
                nn.SiLU(),
                nn.Conv2d(b, b, 3, padding=1),
                nn.SiLU(),
            )
            for n, (a, b) in enumerate(zip(widths[:-1], widths[1:]))  # noqa: RUF007
        )
        self.head = nn.Linear(2 * widths[-1], outputs) if outputs else None

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See `PerceptualPrior.features`."""
        # The network goes where the pictures are.
        follow(self, images)
        x = images.permute(0, 3, 1, 2) * 2 - 1
        return through(self.blocks, x)

    def weigh(self, number: int, difference: torch.Tensor) -> torch.Tensor:
        """The sum over channels times `scale`, so that unrelated pictures are as far apart as with
        LPIPS' learnt weights."""
        return self.scale * difference.sum(1)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """The outputs of the training task (B, outputs)."""
        assert self.head is not None
        last = self.features(images)[-1]
        return self.head(torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1))

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16), without the head of the training.
        Raises OutputError."""
        tensors = {k: v for k, v in self.state_dict().items() if not k.startswith("head")}
        config = {"kind": "perceptual", "width": self.width, "scale": self.scale}
        save_weights(folder, tensors, config)

    @staticmethod
    def load(folder: Path) -> ToyPerceptual:
        """Read a folder that `save` wrote. Raises ModelError."""
        facts = read_config(folder, "perceptual", "threestudio-like train perceptual")
        try:
            model = ToyPerceptual(facts["width"], scale=facts.get("scale", 1.0))
            model.load_state_dict(
                {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
            )
        except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(folder, error) from None
        return model.eval().requires_grad_(False)


def load_perceptual(name: str = "toybox") -> PerceptualPrior:
    """Load "toybox", a folder that `ToyPerceptual.save` wrote, or a file with VGG16's weights.
    Raises ModelError."""
    if name == "toybox":
        return ToyPerceptual.load(embedded_folder("perceptual"))
    path = user_path(name)
    return ToyPerceptual.load(path) if path.is_dir() else VggPerceptual(path)
