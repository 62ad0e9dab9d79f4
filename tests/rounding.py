"""How far two float32 computations of the same thing may lie apart, from the arithmetic.

A sum of n numbers depends on its order, and processors differ in the orders that they choose: how
wide their registers are decides how many partial sums are kept, how much fits a cache decides how
a product of matrices is cut. Every addition errs by at most `UNIT` of its partial sum, and the n
errors are as good as independent: they add up like the steps of a random walk, to sqrt(n) `UNIT` of
the size of the whole. Two computations err independently, which is another sqrt(2); three standard
deviations are never passed in practice, and a mistake in a formula is larger by orders.
"""

from __future__ import annotations

import math

import torch

UNIT = 2.0**-24
"""Relative rounding error of one float32 operation."""
DEVIATIONS = 3.0


def of_sum(terms: float) -> float:
    """Relative distance of two float32 sums of as many terms in other orders."""
    return DEVIATIONS * math.sqrt(2 * max(terms, 1)) * UNIT


def of_network(*networks: torch.nn.Module) -> float:
    """Relative distance of two float32 evaluations of networks that are run one after another.

    Each layer sums as many products as one of its outputs has inputs. Normalisation keeps the
    numbers' size from layer to layer, so the errors of all layers add up as if all products were
    one sum.
    """
    return of_sum(
        sum(p[0].numel() for net in networks for p in net.parameters() if p.ndim > 1 and len(p))
    )


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    """The largest distance of two tensors of any equal shape, relative to the first's largest
    number."""
    one, two = one.detach().double(), two.detach().double()
    return float((one - two).abs().max() / one.abs().max().clamp_min(1e-30))
