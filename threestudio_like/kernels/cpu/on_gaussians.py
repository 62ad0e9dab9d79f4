"""The Numba kernels of Gaussian splatting behind torch: differentiable functions with the
reference's signatures, for float32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .. import pool
from ..reference.gaussians import TILE, extents
from . import as_array
from . import project as projection
from . import splat as blending


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: torch.Tensor,
        scales: torch.Tensor,
        rotations: torch.Tensor,
        views: torch.Tensor,
        focal: torch.Tensor,
        height: int,
        width: int,
    ) -> Any:
        given = tuple(as_array(t) for t in (means, scales, rotations, views, focal))
        size = (np.float32(height), np.float32(width))
        shape = (len(views), len(means))
        centres, conics = torch.empty(*shape, 2), torch.empty(*shape, 3)
        depths = torch.empty(shape)
        outs = (centres.numpy(), conics.numpy(), depths.numpy())
        pool.run(
            projection.project_range,
            [(a, b, *given, *size, *outs) for a, b in pool.split(len(means), 256)],
        )
        ctx.kept = (given, size, conics, depths)
        ctx.mark_non_differentiable(depths)
        return centres, conics, depths

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, on_centres: torch.Tensor, on_conics: torch.Tensor, _: torch.Tensor
    ) -> Any:
        given, size, conics, depths = ctx.kept
        count = len(given[0])
        grads = [torch.empty(count, n) for n in (3, 3, 4)]
        arrays = [g.numpy() for g in grads]
        kept = (conics.numpy(), depths.numpy(), as_array(on_centres), as_array(on_conics))
        pool.run(
            projection.project_back,
            [(a, b, *given, *size, *kept, *arrays) for a, b in pool.split(count, 256)],
        )
        return (*grads, None, None, None, None)


def project_gaussians(
    means: torch.Tensor,
    scales: torch.Tensor,
    rotations: torch.Tensor,
    views: torch.Tensor,
    focal: torch.Tensor,
    height: int,
    width: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `kernels.project_gaussians`."""
    return _Project.apply(means, scales, rotations, views, focal, height, width)


@dataclass
class _Lists:
    """Which Gaussians a picture's tiles show, see `splat.tile_lists`."""

    tiles_x: int
    tiles: int
    starts: np.ndarray
    gaussians: np.ndarray
    firsts: np.ndarray
    places: np.ndarray
    boxes: np.ndarray

    @staticmethod
    def of(boxes: np.ndarray, order: np.ndarray, height: int, width: int) -> _Lists:
        """The lists of a picture; boxes (N, 4), order (N,) by depth."""
        tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
        tiles, count = tiles_x * tiles_y, len(boxes)
        spans, counts = np.empty((count, 4), np.int32), np.empty(tiles, np.int64)
        pairs = blending.tile_boxes(boxes, order, tiles_x, tiles_y, spans, counts)
        starts = np.zeros(tiles + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        # Tensors of torch, so that forecasts of memory count them.
        gaussians = torch.empty(pairs, dtype=torch.int32).numpy()
        places = torch.empty(pairs, dtype=torch.int64).numpy()
        firsts = np.empty(count + 1, np.int64)
        blending.tile_lists(spans, order, tiles_x, starts, counts, gaussians, firsts, places)
        return _Lists(tiles_x, tiles, starts, gaussians, firsts, places=places, boxes=boxes)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        centres: torch.Tensor,
        conics: torch.Tensor,
        opacities: torch.Tensor,
        depths: torch.Tensor,
        values: torch.Tensor,
        height: int,
        width: int,
    ) -> torch.Tensor:
        with torch.no_grad():
            boxes = as_array(extents(centres, conics, opacities, depths))
            orders = as_array(depths.argsort(dim=1, stable=True))
        given = tuple(as_array(t) for t in (centres, conics, opacities, values))
        out = torch.empty(len(centres), height, width, values.shape[2] + 1)
        picture, lists = out.numpy(), []
        for view in range(len(centres)):
            own = _Lists.of(boxes[view], orders[view], height, width)
            lists.append(own)
            pool.run(
                blending.blend_tiles,
                [
                    (a, b, *_of_view(own, given, view), picture[view])
                    for a, b in pool.split(own.tiles, 4)
                ],
            )
        ctx.kept = (given, lists, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        given, lists, out = ctx.kept
        views, count, channels = given[3].shape
        upstream_array, picture = as_array(upstream), out.detach().numpy()
        total = torch.empty(views, count, 6 + channels)
        for view, own in enumerate(lists):
            grads = torch.zeros(len(own.gaussians), 6 + channels).numpy()
            pool.run(
                blending.blend_back,
                [
                    (
                        *(a, b, *_of_view(own, given, view)),
                        *(picture[view], upstream_array[view], grads),
                    )
                    for a, b in pool.split(own.tiles, 4)
                ],
            )
            rows = (own.firsts, own.places, grads, total[view].numpy())
            pool.run(blending.gather_rows, [(a, b, *rows) for a, b in pool.split(count, 1024)])
        return (
            total[..., :2],
            total[..., 2:5],
            total[..., 5].sum(0),
            None,
            total[..., 6:],
            None,
            None,
        )


def _of_view(own: _Lists, given: tuple[np.ndarray, ...], view: int) -> tuple:
    centres, conics, opacities, values = given
    lists = (own.tiles_x, own.starts, own.gaussians, own.boxes)
    return (*lists, centres[view], conics[view], opacities, values[view])


def splat(
    centres: torch.Tensor,
    conics: torch.Tensor,
    opacities: torch.Tensor,
    depths: torch.Tensor,
    values: torch.Tensor,
    height: int,
    width: int,
) -> torch.Tensor:
    """See `kernels.splat`."""
    return _Splat.apply(centres, conics, opacities, depths, values, height, width)
