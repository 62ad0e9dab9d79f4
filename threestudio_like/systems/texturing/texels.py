"""Which texels are painted, and how much light is baked into their colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...renderers import (
    baked_light_index,
)


def near_seen(seen: torch.Tensor) -> torch.Tensor:
    """Texels (R, R) bool that are seen, or so near to one that the lookup mixes the two: were those
    kept still, their neighbours would make up for them."""
    reach = max(1, seen.shape[0] // 128)
    return F.max_pool2d(seen[None, None].float(), 2 * reach + 1, 1, reach)[0, 0] > 0


def baked_share(
    colours: torch.Tensor,
    light: torch.Tensor,
    part: torch.Tensor,
    counted: torch.Tensor,
    bins: int = 6,
) -> float:
    """The baked-light index of painted texels whose materials are not known: texels of one part and
    one chromaticity count as one material.

    Args:
        colours: (N, 3) display RGB. light: (N,). part: (N,) int64. counted: (N,) bool.
    """
    if int(counted.sum()) < 100:
        return 0.0
    chroma = (
        (colours / colours.sum(1, keepdim=True).clamp_min(1e-3) * bins).long().clamp(0, bins - 1)
    )
    region = (part * bins + chroma[:, 0]) * bins + chroma[:, 1]
    _, region = torch.unique(region[counted], return_inverse=True)
    return baked_light_index(colours[counted].mean(1), light[counted], region)
