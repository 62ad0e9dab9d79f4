"""tiny-cuda-nn (BSD-3): its hash-grid encoding and its fully fused perceptron, with the signatures
of this package.

Its grids have one point less along an edge than the interpolation reaches, so that levels without
hashing would be read wrongly near their far faces. Those levels are computed by this package, and
the hashed levels, which take most of the time, by tiny-cuda-nn. Its fused perceptron has no biases
and computes in half precision: a constant channel carries the biases, and its tolerance is larger.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from ..cuda import hashgrid as own
from ..spec import HashGridSpec


def _dense_there(spec: HashGridSpec, level: int) -> bool:
    """Whether tiny-cuda-nn does not hash a level: its grid points along an edge are one fewer than
    ours."""
    return (math.ceil(spec.scales[level]) + 1) ** 3 <= 1 << spec.log2_size


@lru_cache(maxsize=8)
def _encoding(spec: HashGridSpec, device: torch.device) -> Any:
    """One a device, for a module is made on the current one (`devices.settle`)."""
    import tinycudann

    growth = math.exp((math.log(spec.finest) - math.log(spec.base)) / max(1, spec.levels - 1))
    return tinycudann.Encoding(
        3,
        {
            "otype": "HashGrid",
            "n_levels": spec.levels,
            "n_features_per_level": 2,
            "log2_hashmap_size": spec.log2_size,
            "base_resolution": spec.base,
            "per_level_scale": growth,
        },
        dtype=torch.float32,
    )


def hashgrid(x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
    """See `kernels.hashgrid`."""
    first = next(
        (i for i in range(spec.levels) if not spec.dense[i] and not _dense_there(spec, i)),
        spec.levels,
    )
    if spec.tiled or first == spec.levels:
        return own.hashgrid(x, table, spec)
    encoding = _encoding(spec, x.device)
    hashed = table[spec.offsets[first] :].reshape(-1)
    unused = hashed.new_zeros(encoding.params.numel() - hashed.numel())
    theirs = torch.func.functional_call(encoding, {"params": torch.cat([unused, hashed])}, (x,))
    if first == 0:
        return theirs.t()
    ours = own.hashgrid(x, table[: spec.offsets[first]], first_levels(spec, first))
    return torch.cat([ours, theirs.t()[2 * first :]])


@lru_cache(maxsize=8)
def first_levels(spec: HashGridSpec, levels: int) -> HashGridSpec:
    """The grid of the first levels of another one."""
    growth = (math.log(spec.finest) - math.log(spec.base)) / max(1, spec.levels - 1)
    part = HashGridSpec(levels, spec.log2_size, spec.base, finest=spec.base, tiled=spec.tiled)
    vars(part)["scales"] = tuple(
        spec.base * math.exp(level * growth) - 1.0 for level in range(levels)
    )
    return part


@lru_cache(maxsize=8)
def _network(inputs: int, outputs: int, width: int, hidden: int, device: torch.device) -> Any:
    """One a device, as `_encoding`."""
    import tinycudann

    return tinycudann.Network(
        inputs,
        outputs,
        {
            "otype": "FullyFusedMLP",
            "activation": "ReLU",
            "output_activation": "None",
            "n_neurons": width,
            "n_hidden_layers": hidden,
        },
    )


def _with_constant(
    weight: torch.Tensor, bias: torch.Tensor, rows: int, columns: int, last: bool
) -> torch.Tensor:
    """A layer's matrix (rows, columns) whose first input channel is the constant one; the first
    output carries it on."""
    body = torch.cat([bias[:, None], weight], 1)
    if not last:
        keep = F.pad(body.new_ones(1, 1), (0, body.shape[1] - 1))
        body = torch.cat([keep, body])
    return F.pad(body, (0, columns - body.shape[1], 0, rows - body.shape[0]))


def field_mlp(
    features: torch.Tensor, weights: list[torch.Tensor], biases: list[torch.Tensor]
) -> torch.Tensor:
    """See `kernels.field_mlp`; in half precision. Raises ValueError for shapes that a fused network
    does not take."""
    hidden = weights[0].shape[0]
    width = next((w for w in (16, 32, 64, 128) if w > hidden), 0)
    if len(weights) < 2 or not width or any(w.shape[0] != hidden for w in weights[:-1]):
        raise ValueError("a fully fused network needs hidden layers of one width up to 127")
    inputs, outputs = features.shape[0] + 1, weights[-1].shape[0]
    padded_in, padded_out = -(-inputs // 16) * 16, -(-outputs // 16) * 16
    network = _network(inputs, outputs, width, hidden=len(weights) - 1, device=features.device)
    layers = []
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        last = i + 1 == len(weights)
        layers.append(
            _with_constant(
                weight,
                bias,
                padded_out if last else width,
                columns=padded_in if i == 0 else width,
                last=last,
            )
        )
    given = torch.cat([torch.ones_like(features[:1]), features]).t()
    flat = torch.cat([layer.reshape(-1) for layer in layers])
    return torch.func.functional_call(network, {"params": flat}, (given,)).t().float()
