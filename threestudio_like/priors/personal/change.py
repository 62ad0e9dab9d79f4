"""What a LoRA adds to one layer's weights: low-rank products, Hadamard and Kronecker products of
them, and a new length of every row (DoRA)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ...engine.errors import ModelError

Tensors = Mapping[str, torch.Tensor]


def change_of(
    parts: Tensors, weight: torch.Tensor, factor: float, scale: float | None, where: str
) -> torch.Tensor:
    """What is added to a layer's weight, of its shape, in float32.

    Args:
        parts: the layer's tensors by their roles (`names.split_key`).
        weight: of the layer, (out, in) or (out, in, k, k).
        factor: how much of the change is wanted.
        scale: alpha over the rank, where the file's settings say it; None for what the tensors say.
        where: file and layer, for errors.

    Raises:
        ModelError: tensors are missing, or of other shapes than the layer.
    """
    if "strange" in parts:
        raise ModelError(
            "changes a layer in a way that is not read (Tucker decomposition, full difference, "
            "GLoRA, OFT)",
            where,
            "LoRA, LoHa, LoKr and DoRA are read, without Tucker decomposition",
        )
    rank: int | None
    if "down" in parts or "up" in parts:
        product, rank = _low_rank(parts, where)
    elif any(role.startswith("w") for role in parts):
        product, rank = _hadamard(parts, where)
    elif any(role.startswith("k") for role in parts):
        product, rank = _kronecker(parts, where)
    else:
        raise ModelError(f"holds {', '.join(sorted(parts))} alone", where, "It is not whole")
    if product.numel() != weight.numel() or product.shape[0] != weight.shape[0]:
        raise ModelError(
            f"changes a layer of {list(product.shape)}, and this model's is {list(weight.shape)}",
            where,
            "It was made for another family, or another size of it",
        )
    product = product.reshape(weight.shape) * (factor * _scale(parts, rank, scale, where))
    lengths = parts.get("magnitude", parts.get("dora_scale"))
    if lengths is None:
        return product
    # peft's are of rows; LyCORIS says by their shape whether they are of rows or of columns.
    by_shape = "dora_scale" in parts
    return _relengthened(lengths.float(), weight.float(), product, by_shape, where)


def _scale(parts: Tensors, rank: int | None, scale: float | None, where: str) -> float:
    """alpha over the rank; one where no alpha says otherwise, as diffusers has it."""
    if "alpha" in parts:
        if parts["alpha"].numel() != 1:
            raise ModelError("its alpha is more than one number", where)
        alpha = float(parts["alpha"])
        if not math.isfinite(alpha) or alpha == 0:
            raise ModelError(f"its alpha is {alpha:g}, which says nothing", where)
        # Of whole Kronecker factors there is no rank to divide by.
        return 1.0 if rank is None else alpha / rank
    return 1.0 if scale is None else scale


def _pair(parts: Tensors, left: str, right: str, where: str) -> tuple[torch.Tensor, torch.Tensor]:
    missing = [role for role in (left, right) if role not in parts]
    if missing:
        raise ModelError(
            f'has no "{missing[0]}" for its other half', where, "It was not saved whole"
        )
    return parts[left].float(), parts[right].float()


def _joined(a: torch.Tensor, b: torch.Tensor, where: str) -> tuple[torch.Tensor, int]:
    """a (out, rank[, 1, 1]) times b (rank, in[, k, k])."""
    a, rank = a.flatten(1), b.shape[0]
    if a.ndim != 2 or a.shape[1] != rank or b.ndim < 2:
        raise ModelError(
            f"its halves {list(a.shape)} and {list(b.shape)} do not fit each other", where
        )
    return (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:]), rank


def _low_rank(parts: Tensors, where: str) -> tuple[torch.Tensor, int]:
    if "bias" in parts:
        raise ModelError("changes a layer's bias, which is not read", where)
    up, down = _pair(parts, "up", "down", where)
    return _joined(up, down, where)


def _hadamard(parts: Tensors, where: str) -> tuple[torch.Tensor, int]:
    first, rank = _joined(*_pair(parts, "w1_a", "w1_b", where), where)
    second, _ = _joined(*_pair(parts, "w2_a", "w2_b", where), where)
    if first.shape != second.shape:
        raise ModelError(f"its products are {list(first.shape)} and {list(second.shape)}", where)
    return first * second, rank


def _kronecker(parts: Tensors, where: str) -> tuple[torch.Tensor, int | None]:
    factors, rank = [], None
    for name in ("k1", "k2"):
        if name in parts:
            factors.append(parts[name].float())
            continue
        product, rank = _joined(*_pair(parts, f"{name}_a", f"{name}_b", where), where)
        factors.append(product)
    first, second = factors
    while first.ndim < second.ndim:
        first = first[..., None]
    return torch.kron(first, second.contiguous()), rank


def _relengthened(
    magnitude: torch.Tensor,
    weight: torch.Tensor,
    product: torch.Tensor,
    by_shape: bool,
    where: str,
) -> torch.Tensor:
    """DoRA (Liu et al. 2024): the changed weight with the lengths that were learnt, less the weight
    itself."""
    axes = tuple(range(1, weight.ndim))
    rows, columns = weight.shape[0], weight.shape[1]
    by_column = by_shape and magnitude.ndim > 1 and tuple(magnitude.shape[:2]) == (1, columns)
    if by_column:
        axes = (0, *range(2, weight.ndim))
    elif magnitude.numel() != rows:
        raise ModelError(
            f"its DoRA scale is {list(magnitude.shape)} for a weight of {list(weight.shape)}", where
        )
    shape = [1, columns] if by_column else [rows, 1]
    wanted = magnitude.reshape(*shape, *[1] * (weight.ndim - 2))
    changed = weight + product
    length = changed.square().sum(axes, keepdim=True).sqrt()
    return changed * (wanted / length) - weight
