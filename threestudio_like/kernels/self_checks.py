"""What every CPU twin has to pass at its first use: a small case against the reference, values and gradients."""

from __future__ import annotations

import torch

from . import distance, ops, surface
from .dispatch import register_check
from .reference import distance as by_hand
from .reference import grids, raster, volume
from .spec import HashGridSpec


def _difference(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Largest error of any tensor, relative to the reference's largest value."""
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(mine, theirs)]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)


@register_check("hashgrid", 3e-4)
def _check_hashgrid() -> float:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for tiled in (False, True):
        spec = HashGridSpec(levels=4, log2_size=10, base=4, finest=64, tiled=tiled)
        x = torch.rand(700, 3, generator=generator)
        table = torch.randn(spec.entries, 2, generator=generator)
        upstream = torch.randn(2 * spec.levels, 700, generator=generator)
        a, b = table.clone().requires_grad_(), table.double().requires_grad_()
        one, two = ops._HashGrid.apply(x, a, spec), grids.hashgrid(x.double(), b, spec)
        one.backward(upstream)
        two.backward(upstream.double())
        assert a.grad is not None
        assert b.grad is not None
        worst = max(worst, _difference([one, a.grad], [two, b.grad]))
    return worst


@register_check("field_mlp", 1e-4)
def _check_field_mlp() -> float:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(s, generator=generator) for s in ((16, 8), (16, 16), (5, 16), (16,), (16,), (5,))]
    x, upstream = torch.randn(8, 5000, generator=generator), torch.randn(5, 5000, generator=generator)
    mine = [t.clone().requires_grad_() for t in (x, *layers)]
    theirs = [t.double().requires_grad_() for t in (x, *layers)]
    one = ops._FieldMlp.apply(mine[0], 3, *mine[1:])
    two = grids.field_mlp(theirs[0], theirs[1:4], theirs[4:])
    one.backward(upstream)
    two.backward(upstream.double())
    return _difference([one, *(t.grad for t in mine)], [two, *(t.grad for t in theirs)])  # type: ignore[list-item]


@register_check("trilinear", 1e-4)
def _check_trilinear() -> float:
    generator = torch.Generator().manual_seed(0)
    x, grid = torch.rand(3000, 3, generator=generator) * 2.2 - 1.1, torch.randn(7, 8, 9, 5, generator=generator)
    upstream = torch.randn(3000, 5, generator=generator)
    a, b = grid.clone().requires_grad_(), grid.double().requires_grad_()
    one, two = ops._Trilinear.apply(x, a), grids.trilinear(x.double(), b)
    one.backward(upstream)
    two.backward(upstream.double())
    assert a.grad is not None
    assert b.grad is not None
    return _difference([one, a.grad], [two, b.grad])


@register_check("triplane", 1e-4)
def _check_triplane() -> float:
    generator = torch.Generator().manual_seed(0)
    axes = ((0, 1), (0, 2), (1, 2))
    x = torch.rand(2, 900, 3, generator=generator) * 2.4 - 1.2
    upstream = torch.randn(2, 900, 5, generator=generator)
    levels = [torch.randn(2, 3, size, size, 5, generator=generator) for size in (8, 4)]
    mine, theirs = [v.clone().requires_grad_() for v in levels], [v.double().requires_grad_() for v in levels]
    one, two = ops._Triplane.apply(x, axes, *mine), grids.triplane(x.double(), theirs, axes)
    one.backward(upstream)
    two.backward(upstream.double())
    return _difference([one, *(v.grad for v in mine)], [two, *(v.grad for v in theirs)])  # type: ignore[list-item]


def sample_rays(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Origins (R, 3), unit directions (R, 3) towards the cube, jitter (R,)."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 3
    targets = torch.rand(count, 3, generator=generator) - 0.5
    return origins, torch.nn.functional.normalize(targets - origins, dim=-1), torch.rand(count, generator=generator)


@register_check("grid_variation", 1e-4)
def _check_grid_variation() -> float:
    grid = torch.randn(5, 6, 7, 4, generator=torch.Generator().manual_seed(0))
    a, b = grid.clone().requires_grad_(), grid.double().requires_grad_()
    one, two = ops._GridVariation.apply(a, 0.3, 1.7), grids.grid_variation(b, 0.3, 1.7)
    one.backward()
    two.backward()
    assert a.grad is not None
    assert b.grad is not None
    return _difference([one, a.grad], [two, b.grad])


@register_check("march", 2e-3)
def _check_march() -> float:
    """The share of samples that only one of the two has: float32 rounding may move a sample over a cell's face."""
    origins, directions, jitter = sample_rays(300)
    occupied = torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(1)) < 0.02
    t1, r1, _ = ops.march(origins, directions, occupied, 0.013, jitter)
    t2, r2, _ = volume.march(origins, directions, occupied, 0.013, jitter)
    a = {(int(r), round(float(t), 3)) for t, r in zip(t1, r1)}
    b = {(int(r), round(float(t), 3)) for t, r in zip(t2, r2)}
    return len(a ^ b) / max(1, len(b))


@register_check("composite", 1e-4)
def _check_composite() -> float:
    origins, directions, jitter = sample_rays(200)
    occupied = torch.ones(8, 8, 8, dtype=torch.bool)
    t, _, offsets = volume.march(origins, directions, occupied, 0.1, jitter)
    generator = torch.Generator().manual_seed(2)
    sigma, features = torch.rand(len(t), generator=generator) * 3, torch.randn(len(t), 4, generator=generator)
    upstream, on_weights = torch.randn(200, 6, generator=generator), torch.randn(len(t), generator=generator)
    grads, outs = [], []
    for kind, f in ((torch.float32, ops._Composite.apply), (torch.float64, volume.composite)):
        s, c = (x.clone().to(kind).requires_grad_() for x in (sigma, features))
        out, weights = f(s, c, t.to(kind), offsets, 0.1, 1e-4)
        ((out * upstream.to(kind)).sum() + (weights * on_weights.to(kind)).sum()).backward()
        outs.append([out.detach(), weights.detach()])
        grads.append([s.grad, c.grad])
    return _difference([*outs[0], *grads[0]], [*outs[1], *grads[1]])  # type: ignore[list-item]


def sample_triangles() -> tuple[torch.Tensor, torch.Tensor]:
    """Clip-space corners (60, 4) of twenty triangles, and their indices (20, 3)."""
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(20, 1, 3, generator=generator) * 2 - 1
    points = (corner + torch.rand(20, 3, 3, generator=generator) - 0.5).reshape(-1, 3)
    w = 1.5 + points[:, 2:]
    return torch.cat([points * torch.tensor([1.0, 1.0, 0.5]), w], 1), torch.arange(60, dtype=torch.int32).view(20, 3)


@register_check("rasterize", 1e-3)
def _check_rasterize() -> float:
    clip, tri = sample_triangles()
    a, b = clip[None].clone().requires_grad_(), clip[None].double().requires_grad_()
    one, two = surface._Rasterize.apply(a, tri, 20, 24), raster.rasterize(b, tri, 20, 24)
    wrong = float((one[..., 3] != two[..., 3]).float().mean())
    same = (one[..., 3] == two[..., 3]) & (two[..., 3] > 0)
    upstream = torch.randn(1, 20, 24, 4, generator=torch.Generator().manual_seed(5)) * same[..., None]
    one.backward(upstream)
    two.backward(upstream.double())
    assert a.grad is not None
    assert b.grad is not None
    return max(
        wrong,
        float((one[same].detach().double() - two[same].detach())[:, :3].abs().max()),
        _difference([a.grad], [b.grad]),
    )


@register_check("interpolate", 1e-4)
def _check_interpolate() -> float:
    clip, tri = sample_triangles()
    pixels = raster.rasterize(clip, tri, 20, 24)[None]
    generator = torch.Generator().manual_seed(4)
    values, upstream = torch.randn(60, 5, generator=generator), torch.randn(1, 20, 24, 5, generator=generator)
    a, b = values.clone().requires_grad_(), values.double().requires_grad_()
    p, q = pixels.clone().requires_grad_(), pixels.double().requires_grad_()
    one, two = surface._Interpolate.apply(a, tri, p), raster.interpolate(b, tri, q)
    one.backward(upstream)
    two.backward(upstream.double())
    return _difference([one, a.grad, p.grad], [two, b.grad, q.grad])  # type: ignore[list-item]


@register_check("antialias", 0.02)
def _check_antialias() -> float:
    """The share of pixel pairs that only one of the two finds: float32 rounding may move an edge over a pixel's centre."""
    clip, tri = sample_triangles()
    table, pixels = surface.edge_table(tri), raster.rasterize(clip, tri, 48, 64)
    mine = {tuple(p) for p in surface.silhouette_pairs(clip, table, pixels).tolist()}
    theirs = raster.silhouette_pairs(clip.double(), table.edges, table.opposite, pixels.double())
    return len(mine ^ {tuple(p) for p in theirs.tolist()}) / max(1, len(theirs))


def sample_surface() -> tuple[torch.Tensor, torch.Tensor]:
    """A closed body: vertices (V, 3) and faces (F, 3) of a wavy sphere of latitude and longitude."""
    rows, columns = 9, 14
    polar = torch.linspace(0, torch.pi, rows)[:, None]
    turn = torch.arange(columns) * (2 * torch.pi / columns)
    radius = 0.7 + 0.1 * torch.sin(3 * polar) * torch.cos(2 * turn)
    points = radius[..., None] * torch.stack(
        [polar.sin() * turn.cos(), polar.cos().expand(rows, columns), polar.sin() * turn.sin()], -1)  # fmt: skip
    # One vertex at each pole.
    points[0], points[-1] = points[0].mean(0), points[-1].mean(0)
    index = torch.arange(rows * columns).view(rows, columns)
    a, b = index[:-1], index[1:]
    c, d = a.roll(-1, 1), b.roll(-1, 1)
    faces = torch.stack([torch.stack([a, c, b], -1), torch.stack([c, d, b], -1)], 2).view(-1, 3)
    return points.reshape(-1, 3), faces


@register_check("nearest", 1e-4)
def _check_nearest() -> float:
    points, faces = sample_surface()
    tree = distance.surface_tree(points, faces)
    queries = torch.rand(300, 3, generator=torch.Generator().manual_seed(6)) * 2.4 - 1.2
    mine, theirs = distance.nearest(tree, queries), by_hand.nearest(queries.double(), tree.corners.double())
    return _difference([mine[0], mine[2]], [theirs[0], theirs[2]])


@register_check("winding_number", 0.05)
def _check_winding_number() -> float:
    points, faces = sample_surface()
    tree = distance.surface_tree(points, faces[:-9])
    queries = torch.rand(300, 3, generator=torch.Generator().manual_seed(7)) * 2.4 - 1.2
    return _difference(
        [distance.winding_number(tree, queries)], [by_hand.winding_number(queries.double(), tree.corners.double())]
    )
