"""Which pixel centres a triangle covers: the rule that all backends follow.

A corner (x, y, w) is taken relative to the pixel (X, Y): u = x - X w and v = y - Y w, each
rounded once, so that a corner has one place for all of its triangles. The side of an edge on which
the pixel lies is the sign of u1 v2 - u2 v1, decided by comparing the two products: rounding keeps
their order, and swapping the corners swaps the sides exactly. A pixel on an edge belongs to the
triangle of which it is a left edge, or a horizontal top edge. So every pixel inside of a closed
surface belongs to exactly one triangle of each of its layers, whatever the rounding is (Woop et al.
2013 do the same for rays); in float64 the sides themselves are right but within 2^-53 of an edge.
"""

from __future__ import annotations

import torch

_NEXT, _LAST = [1, 2, 0], [2, 0, 1]


def working(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64, where its device has that."""
    return tensor if tensor.device.type == "mps" else tensor.double()


def edge_functions(
    corners: torch.Tensor,  # [..., 3, 4] clip positions of triangles
    row: torch.Tensor,  # [...] int
    column: torch.Tensor,  # [...] int
    height: int,
    width: int,
) -> torch.Tensor:  # [..., 3]
    """The edge functions opposite to the corners at pixels: the weights of the corners up to a
    factor, divided by w. Differentiable."""
    one, two = _products(corners, row, column, height=height, width=width)
    return one - two


def covers(
    corners: torch.Tensor,  # [..., 3, 4]
    row: torch.Tensor,  # [...] int
    column: torch.Tensor,  # [...] int
    height: int,
    width: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # [...] bool, [..., 3]
    """Whether triangles cover pixels, and the edge functions there, not negative where they do."""
    one, two = _products(corners, row, column, height=height, width=width)
    side = (one > two).int() - (one < two).int()
    tie = side == 0
    if bool(tie.any()):
        side = torch.where(tie, _owner(corners), side)
    turn = side[..., 0]
    inside = (turn != 0) & (side[..., 1] == turn) & (side[..., 2] == turn)
    value = (one - two) * turn[..., None]
    # Seen, and not its mirror image behind the camera: the weights' sum over w is positive.
    front = (corners[..., 3] > 0).all(-1) | ((value * corners[..., 3]).sum(-1) > 0)
    return inside & front, value


def _products(
    corners: torch.Tensor, row: torch.Tensor, column: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every edge the two products whose difference is its edge function, times height and
    width."""
    x, y = (2 * column + 1 - width).to(corners), (height - 1 - 2 * row).to(corners)
    w = corners[..., 3]
    u = corners[..., 0] * width - x[..., None] * w
    v = corners[..., 1] * height - y[..., None] * w
    return u[..., _NEXT] * v[..., _LAST], u[..., _LAST] * v[..., _NEXT]


def _owner(corners: torch.Tensor) -> torch.Tensor:
    """The side (..., 3) of an edge to which the pixels on it belong."""
    x, y, w = corners[..., 0], corners[..., 1], corners[..., 3]
    a = y[..., _NEXT] * w[..., _LAST] - y[..., _LAST] * w[..., _NEXT]
    b = x[..., _LAST] * w[..., _NEXT] - x[..., _NEXT] * w[..., _LAST]
    return torch.where(a != 0, a.sign(), -b.sign()).int()
