"""Cases of the operations on grids: hash grid, perceptron, trilinear and triplane reads,
variation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..reference import grids
from ..spec import HashGridSpec
from .case import Inputs, Results, case, generator_of, gradients_of, leaves


def _grid_inputs(large: bool) -> Inputs:
    generator = generator_of()
    specs = (
        [HashGridSpec()]
        if large
        else [HashGridSpec(4, 10, 4, finest=64, tiled=tiled) for tiled in (False, True)]
    )
    count = 1 << 18 if large else 700
    return {
        "specs": specs,
        "x": torch.rand(count, 3, generator=generator),
        "tables": [torch.randn(s.entries, 2, generator=generator) for s in specs],
        "upstream": torch.randn(2 * specs[0].levels, count, generator=generator),
    }


@case("hashgrid", grids.hashgrid, 3e-4, make=_grid_inputs)
def _call_hashgrid(function: Callable[..., Any], given: Inputs) -> Results:
    out: Results = []
    for spec, values in zip(given["specs"], given["tables"]):
        (table,) = leaves(values)
        features = function(given["x"], table, spec)
        features.backward(given["upstream"])
        out += [features, *gradients_of([table])]
    return out


def _perceptron_inputs(large: bool) -> Inputs:
    generator, count = generator_of(), 1 << 18 if large else 5000
    sizes = (
        ((64, 32), (64, 64), (4, 64), (64,), (64,), (4,))
        if large
        else ((16, 8), (16, 16), (5, 16), (16,), (16,), (5,))
    )
    return {
        "layers": [torch.randn(s, generator=generator) * 0.3 for s in sizes],
        "x": torch.randn(sizes[0][1], count, generator=generator),
        "upstream": torch.randn(sizes[2][0], count, generator=generator),
    }


@case("field_mlp", grids.field_mlp, 1e-4, make=_perceptron_inputs)
def _call_field_mlp(function: Callable[..., Any], given: Inputs) -> Results:
    x, *layers = leaves(given["x"], *given["layers"])
    out = function(x, layers[:3], layers[3:])
    out.backward(given["upstream"])
    return [out, *gradients_of([x, *layers])]


def _trilinear_inputs(large: bool) -> Inputs:
    generator, count = generator_of(), 1 << 18 if large else 3000
    shape = (64, 64, 64, 5) if large else (7, 8, 9, 5)
    return {
        "x": torch.rand(count, 3, generator=generator) * 2.2 - 1.1,
        "grid": torch.randn(shape, generator=generator),
        "upstream": torch.randn(count, 5, generator=generator),
    }


@case("trilinear", grids.trilinear, 1e-4, make=_trilinear_inputs)
def _call_trilinear(function: Callable[..., Any], given: Inputs) -> Results:
    (grid,) = leaves(given["grid"])
    out = function(given["x"], grid)
    out.backward(given["upstream"])
    return [out, *gradients_of([grid])]


AXES = ((0, 1), (0, 2), (1, 2))


def _triplane_inputs(large: bool) -> Inputs:
    generator = generator_of()
    count, channels, sizes = (1 << 17, 32, (128, 64)) if large else (900, 5, (8, 4))
    return {
        "x": torch.rand(2, count, 3, generator=generator) * 2.4 - 1.2,
        "upstream": torch.randn(2, count, channels, generator=generator),
        "levels": [torch.randn(2, 3, size, size, channels, generator=generator) for size in sizes],
    }


@case("triplane", grids.triplane, 1e-4, make=_triplane_inputs)
def _call_triplane(function: Callable[..., Any], given: Inputs) -> Results:
    levels = leaves(*given["levels"])
    out = function(given["x"], levels, AXES)
    out.backward(given["upstream"])
    return [out, *gradients_of(levels)]


@case(
    "grid_variation",
    grids.grid_variation,
    1e-4,
    make=lambda large: {
        "grid": torch.randn((96, 96, 96, 5) if large else (5, 6, 7, 4), generator=generator_of())
    },
)
def _call_grid_variation(function: Callable[..., Any], given: Inputs) -> Results:
    (grid,) = leaves(given["grid"])
    out = function(grid, 0.3, 1.7)
    out.backward()
    return [out, *gradients_of([grid])]
