"""The guidance scale as numbers that a network takes beside the time."""

from __future__ import annotations

import math

import torch


def guidance_embedding(scale: float, width: int) -> torch.Tensor:
    """Sines and cosines (width,) of 1000 times a guidance scale less one (Meng et al. 2023), as
    models of LCM's kind were trained with."""
    half = width // 2
    rates = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
    angles = 1000.0 * scale * rates
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))
