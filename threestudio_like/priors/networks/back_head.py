"""What a depth estimator of DPT's layout says beside the visible surface: how thick the thing is
behind every pixel, and from how far above the picture was taken.

The second head reads the same features of the neck as the first one and stands in a file of its own
beside the model, so that the model itself stays a plain transformers folder for everybody else.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from ...engine.output import new_file

FILE = "back.safetensors"
START = 0.3
"""Thickness that an untrained head gives everywhere, in units of the frame."""
_TURN = threading.Lock()
"""A hook sees every call of its module, also those of other threads."""


class Sides(NamedTuple):
    """visible (B, S, S): depth of the first surface along every ray; back (B, S, S): of the last
    one, never before the first; elevation (B,) of the camera in radians."""

    visible: torch.Tensor
    back: torch.Tensor
    elevation: torch.Tensor


class BackHead(nn.Module):
    """Thickness and elevation from the features of DPT's neck.

    Args:
        features: channels of the neck (`DPTConfig.fusion_hidden_size`).
        levels: number of the neck's feature maps.
        hidden: channels within.
    """

    def __init__(self, features: int = 24, levels: int = 4, hidden: int = 32) -> None:
        super().__init__()
        self.thickness = nn.Sequential(
            nn.Conv2d(features, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
        )
        self.elevation = nn.Sequential(
            nn.Linear(2 * features * levels, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        # The first answer is the same everywhere: a warm start moves nothing that was learnt.
        for last, level in ((self.thickness[-1], START), (self.elevation[-1], 0.35)):
            for name, value in last.named_parameters():
                nn.init.constant_(value, level if name == "bias" else 0.0)

    def forward(self, neck: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Feature maps (B, C, H, W), the finest last, to thickness (B, 2 H, 2 W), at least 0, and
        elevation (B,) in radians."""
        pooled = [f.mean((2, 3)) for f in neck] + [f.amax((2, 3)) for f in neck]
        return self.thickness(neck[-1])[:, 0].relu(), self.elevation(torch.cat(pooled, 1))[:, 0]


class TwoSidedDepth(nn.Module):
    """A DPTForDepthEstimation with a `BackHead`."""

    def __init__(self, visible: Any, head: BackHead) -> None:
        super().__init__()
        self.visible, self.head = visible, head

    def forward(self, pixel_values: torch.Tensor) -> Sides:
        """Normalised pictures (B, 3, S, S) to both sides."""
        neck: list[torch.Tensor] = []
        with _TURN:
            hook = self.visible.head.register_forward_pre_hook(
                lambda module, given: neck.extend(given[0])
            )
            try:
                depth = self.visible(pixel_values=pixel_values).predicted_depth
            finally:
                hook.remove()
        thickness, elevation = self.head(neck)
        if thickness.shape != depth.shape:
            thickness = F.interpolate(
                thickness[:, None], depth.shape[1:], mode="bilinear", align_corners=False
            )[:, 0]
        return Sides(depth, depth + thickness, elevation)


def new_back_head(config: Any, hidden: int = 32) -> BackHead:
    """An untrained head for a model of this DPTConfig."""
    return BackHead(int(config.fusion_hidden_size), len(config.neck_hidden_sizes), hidden)


def load_back_head(folder: Path, config: Any) -> BackHead | None:
    """The second head of a model's folder; None where it has none.

    Raises:
        ValueError: the file is damaged, or belongs to another model.
    """
    from safetensors.torch import load_file

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        weights = load_file(str(path))
        head = new_back_head(config, len(weights["thickness.0.bias"]))
        head.load_state_dict({name: value.float() for name, value in weights.items()})
    except (OSError, KeyError, RuntimeError, SafetensorError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"{FILE} does not belong to this model ({reason})") from None
    return head.eval().requires_grad_(False)


def save_back_head(head: BackHead, folder: Path) -> None:
    """Write the second head in float16 beside its model."""
    from safetensors.torch import save_file

    weights = {k: v.detach().half().contiguous().cpu() for k, v in head.state_dict().items()}
    with new_file(folder / FILE) as made:
        save_file(weights, str(made))
