"""Real spherical harmonics up to order 3, in the order and with the signs that files of 3D
Gaussians have."""

from __future__ import annotations

import torch

ZEROTH = 0.28209479177387814
"""The harmonic of order 0: 1 / (2 sqrt(pi))."""
_FIRST = 0.4886025119029199
_SECOND = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_THIRD = (
    *(0.5900435899266435, 2.890611442640554, 0.4570457994644658),
    *(0.3731763325901154, 1.445305721320277),
)


def coefficients(degree: int) -> int:
    """Number of coefficients up to a degree."""
    return (degree + 1) ** 2


def harmonics(directions: torch.Tensor, degree: int) -> torch.Tensor:
    """The harmonics (..., K) of unit directions (..., 3), K = (degree + 1)^2, orthonormal on the
    sphere."""
    x, y, z = directions.unbind(-1)
    out = [torch.full_like(x, ZEROTH)]
    if degree > 0:
        out += [-_FIRST * y, _FIRST * z, -_FIRST * x]
    if degree > 1:
        a, b, c = _SECOND
        out += [
            *(a * x * y, -a * y * z, b * (2 * z * z - x * x - y * y)),
            *(-a * x * z, c * (x * x - y * y)),
        ]
    if degree > 2:
        a, b, c, d, e = _THIRD
        out += [
            *(-a * y * (3 * x * x - y * y), b * x * y * z),
            *(-c * y * (4 * z * z - x * x - y * y), d * z * (2 * z * z - 3 * x * x - 3 * y * y)),
            *(-c * x * (4 * z * z - x * x - y * y), e * z * (x * x - y * y)),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(out, -1)
