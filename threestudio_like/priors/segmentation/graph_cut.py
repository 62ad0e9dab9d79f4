"""The graph cut of a picture into object and background (Boykov and Jolly 2001), with colours of
both learnt on the way (GrabCut, Rother et al. 2004)."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

SCALE = 200.0
"""Capacities are whole numbers: this many to a unit of energy."""
MOST = 12.0
"""Largest cost of a label: what is certain is not wholly so."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


class Mixture:
    """A Gaussian mixture over colours, fitted by k-means and a few steps of expectation and
    maximisation.

    Args:
        samples: (N, C), weights: (N,), all at least 0.
    """

    def __init__(self, samples: np.ndarray, weights: np.ndarray, groups: int = 5) -> None:
        rng = np.random.default_rng(0)
        keep = np.flatnonzero(weights > 1e-3)
        if len(keep) > 2500:
            chance = weights[keep] / weights[keep].sum()
            keep = rng.choice(keep, 2500, replace=True, p=chance)
            weight = np.ones(len(keep))
        else:
            weight = weights[keep]
        x = samples[keep]
        floor = np.diag(np.full(x.shape[1], 4.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            noisy = x + rng.normal(0, 1e-3, x.shape)
            _, of = kmeans2(noisy, min(groups, len(x)), minit="++", seed=rng)
        share = np.eye(int(of.max()) + 1)[of]
        for step in range(4):
            mass = (share * weight[:, None]).sum(0) + 1e-6
            means = (share * weight[:, None]).T @ x / mass[:, None]
            spreads = []
            for k in range(len(mass)):
                off = x - means[k]
                spreads.append((off * (share[:, k] * weight)[:, None]).T @ off / mass[k] + floor)
            self.means, self.inverses = means, np.linalg.inv(np.stack(spreads))
            self.constants = (
                np.log(mass / mass.sum()) - 0.5 * np.linalg.slogdet(np.stack(spreads)).logabsdet
            )
            if step < 3:
                parts = self._parts(x)
                share = np.exp(parts - parts.max(1, keepdims=True))
                share /= share.sum(1, keepdims=True)

    def _parts(self, x: np.ndarray) -> np.ndarray:
        off = x[:, None] - self.means[None]
        return self.constants - 0.5 * np.einsum("nki,kij,nkj->nk", off, self.inverses, off)

    def cost(self, x: np.ndarray) -> np.ndarray:
        """The negative logarithm (N,) of the density at colours (N, C), up to a constant."""
        parts = self._parts(x)
        top = parts.max(1)
        return -(top + np.log(np.exp(parts - top[:, None]).sum(1)))


def smoothness(lab: np.ndarray, weight: float) -> list[np.ndarray]:
    """For each of `NEIGHBOURS` what it costs (H, W) to part a pixel from that neighbour: little
    where colours differ."""
    steps = [((lab - np.roll(lab, (-dy, -dx), (0, 1))) ** 2).sum(-1) for dy, dx in NEIGHBOURS]
    beta = 0.5 / max(float(np.mean([s[:-1, 1:-1].mean() for s in steps])), 1e-6)
    return [weight / np.hypot(dy, dx) * np.exp(-beta * s) for s, (dy, dx) in zip(steps, NEIGHBOURS)]


def minimum_cut(unary: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """The labelling (H, W) bool of least cost.

    Args:
        unary: (H, W), what it costs to be object less what it costs to be background.
        pairs: see `smoothness`.

    Example:
        >>> unary = np.full((5, 5), 1.0)
        >>> unary[1:4, 1:4] = -1.0
        >>> unary[2, 2] = 0.1
        >>> int(minimum_cut(unary, [np.full((5, 5), 0.1)] * 4).sum())
        9
    """
    height, width = unary.shape
    number = np.arange(height * width).reshape(height, width)
    source, sink = height * width, height * width + 1
    rows, columns, values = [], [], []
    for (dy, dx), cost in zip(NEIGHBOURS, pairs):
        left, right = max(0, -dx), width - max(0, dx)
        a = number[: height - dy, left:right]
        b = number[dy:, left + dx : right + dx]
        c = cost[: height - dy, left:right].ravel()
        for one, two in ((a, b), (b, a)):
            rows.append(one.ravel())
            columns.append(two.ravel())
            values.append(c)
    flat = unary.clip(-MOST, MOST).ravel()
    inside, outside = np.flatnonzero(flat < 0), np.flatnonzero(flat > 0)
    rows += [np.full(len(inside), source), outside]
    columns += [inside, np.full(len(outside), sink)]
    values += [-flat[inside], flat[outside]]
    capacity = np.rint(np.concatenate(values) * SCALE).astype(np.int32)
    graph = coo_matrix(
        (capacity, (np.concatenate(rows), np.concatenate(columns))), shape=(sink + 1, sink + 1)
    ).tocsr()
    flow = maximum_flow(graph, source, sink).flow
    left_over = (graph - flow).tocsr()
    left_over.data[left_over.data < 0] = 0
    left_over.eliminate_zeros()
    reached = breadth_first_order(left_over, source, return_predecessors=False)
    out = np.zeros(sink + 1, bool)
    out[reached] = True
    return out[: height * width].reshape(height, width)


def grab_cut(
    lab: np.ndarray,
    prior: np.ndarray,
    *,
    rounds: int = 3,
    trust: float = 1.0,
    colour: float = 0.5,
    smooth: float = 6.0,
) -> np.ndarray:
    """The object (H, W) bool of a picture in L*a*b* (H, W, 3).

    Args:
        prior: (H, W), the probability of every pixel to be object, as far as it is known without
            colours of its own.
        trust: weight of the prior. colour: of the colours. smooth: of the border's length.
    """
    odds = np.log((1 - prior).clip(1e-4, 1) / prior.clip(1e-4, 1))
    pairs = smoothness(lab, smooth)
    flat, soft = lab.reshape(-1, lab.shape[-1]), prior.ravel()
    solid = prior > 0.5
    for _ in range(rounds):
        if not solid.any() or solid.all():
            break
        front = Mixture(flat, soft)
        behind = Mixture(flat, 1 - soft)
        likely = (front.cost(flat) - behind.cost(flat)).reshape(prior.shape)
        solid = minimum_cut(trust * odds + colour * likely.clip(-MOST, MOST), pairs)
        soft = (0.85 * solid + 0.15 * prior).ravel()
    return solid


def band(solid: np.ndarray, reach: int) -> np.ndarray:
    """Pixels (H, W) within `reach` of the border of a mask."""
    return binary_dilation(solid, iterations=reach) & ~binary_erosion(
        solid, iterations=reach, border_value=1
    )
