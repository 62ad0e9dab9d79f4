"""Ratios of the CPU backends over plain torch: interleaved rounds, one thread, CPU time of the
process, medians.

Run: python benchmarks/kernels.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tables import publish, table

from threestudio_like import kernels
from threestudio_like.kernels.reference import distance as by_hand
from threestudio_like.kernels.reference import gaussians as by_formula
from threestudio_like.kernels.reference import grids, raster, volume
from threestudio_like.kernels.samples import sample_gaussians, sample_views
from threestudio_like.kernels.spec import HashGridSpec

ROUNDS = 7


def ratio(
    reference: Callable[[], None], backend: Callable[[], None], rounds: int = ROUNDS
) -> tuple[float, float]:
    """Median CPU milliseconds of both, measured in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    reference()
    backend()
    for _ in range(rounds):
        for number, task in enumerate((reference, backend)):
            began = time.process_time()
            task()
            times[number].append((time.process_time() - began) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def level_tables(x: torch.Tensor, tables: list[torch.Tensor], spec: HashGridSpec) -> torch.Tensor:
    """The fair baseline: one tensor a level, so that no level's gradient is as large as the whole
    table."""
    features = []
    for level in range(spec.levels):
        alone = HashGridSpec(1, spec.log2_size, 2, 2, spec.tiled)
        object.__setattr__(alone, "scales", (spec.scales[level],))
        object.__setattr__(alone, "resolutions", (spec.resolutions[level],))
        object.__setattr__(alone, "dense", (spec.dense[level],))
        object.__setattr__(alone, "sizes", (spec.sizes[level],))
        object.__setattr__(alone, "offsets", (0, spec.sizes[level]))
        features.append(grids.hashgrid(x, tables[level], alone))
    return torch.cat(features)


def hash_grid(points: int, spec: HashGridSpec) -> tuple[float, float]:
    x = torch.rand(points, 3)
    whole = (torch.randn(spec.entries, 2) * 0.1).requires_grad_()
    levels = [
        whole.detach()[a:b].clone().requires_grad_()
        for a, b in zip(spec.offsets[:-1], spec.offsets[1:])
    ]
    upstream = torch.randn(2 * spec.levels, points)

    def plain() -> None:
        for t in levels:
            t.grad = t.grad.zero_() if t.grad is not None else None
        level_tables(x, levels, spec).backward(upstream)

    def backend() -> None:
        whole.grad = whole.grad.zero_() if whole.grad is not None else None
        kernels.hashgrid(x, whole, spec).backward(upstream)

    return ratio(plain, backend, 5)


def mlp(points: int) -> tuple[float, float]:
    weights = [torch.randn(s, requires_grad=True) for s in ((64, 32), (64, 64), (5, 64))]
    biases = [torch.zeros(n, requires_grad=True) for n in (64, 64, 5)]
    x, upstream = torch.randn(32, points, requires_grad=True), torch.randn(5, points)

    def linear() -> None:
        h = x.t()
        for i, (w, b) in enumerate(zip(weights, biases)):
            h = torch.nn.functional.linear(h, w, b)
            h = h.relu() if i < 2 else h
        h.backward(upstream.t())

    return ratio(linear, lambda: kernels.field_mlp(x, weights, biases).backward(upstream))


def scene() -> tuple[torch.Tensor, ...]:
    """4096 rays from all around at a ball of radius 0.5 in a 128^3 grid."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(4096, 3, generator=generator), dim=-1) * 2
    targets = torch.rand(4096, 3, generator=generator) - 0.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    line = (torch.arange(128) + 0.5) / 64 - 1
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return origins, directions, x * x + y * y + z * z < 0.25, torch.rand(4096, generator=generator)


def march() -> tuple[float, float]:
    origins, directions, occupied, jitter = scene()
    step = 2 * 3**0.5 / 1024
    return ratio(
        lambda: volume.march(origins, directions, occupied, step, jitter),
        lambda: kernels.march(origins, directions, occupied, step, jitter),
    )


def composite() -> tuple[float, float]:
    origins, directions, occupied, jitter = scene()
    step = 2 * 3**0.5 / 1024
    t, _, offsets = kernels.march(origins, directions, occupied, step, jitter)
    sigma, features = (
        torch.rand(len(t), requires_grad=True),
        torch.randn(len(t), 3, requires_grad=True),
    )
    upstream = torch.randn(4096, 5)
    return ratio(
        lambda: volume.composite(sigma, features, t, offsets, step)[0].backward(upstream),
        lambda: kernels.composite(sigma, features, t, offsets, step)[0].backward(upstream),
    )


def trilinear() -> tuple[float, float]:
    x, grid, upstream = (
        torch.rand(65536, 3) * 2 - 1,
        torch.randn(64, 64, 64, 5, requires_grad=True),
        torch.randn(65536, 5),
    )
    return ratio(
        lambda: grids.trilinear(x, grid).backward(upstream),
        lambda: kernels.trilinear(x, grid).backward(upstream),
    )


def gaussians() -> tuple[torch.Tensor, ...]:
    """6,000 Gaussians in the unit sphere, seen by two cameras of 128 x 128."""
    means, scales, rotations, opacities = sample_gaussians(6000, 0.03)
    views, focal = sample_views(2, 128)
    values = torch.randn(2, 6000, 7)
    return means, scales, rotations, opacities, values, views, focal


def project() -> tuple[float, float]:
    means, scales, rotations, _, _, views, focal = gaussians()
    free = [t.requires_grad_() for t in (means, scales, rotations)]

    def run(function: Callable[..., tuple[torch.Tensor, ...]]) -> None:
        centres, conics, _ = function(*free, views, focal, 128, 128)
        (centres.sum() + conics.sum()).backward()

    return ratio(
        lambda: run(by_formula.project_gaussians), lambda: run(kernels.project_gaussians), 3
    )


def splats() -> tuple[float, float]:
    """Projection and blending, both ways: what a picture of Gaussians takes."""
    means, scales, rotations, opacities, values, views, focal = gaussians()
    free = [t.requires_grad_() for t in (means, scales, rotations, opacities, values)]
    upstream = torch.randn(2, 128, 128, 8)

    def run(project: Callable[..., Any], splat: Callable[..., torch.Tensor]) -> None:
        centres, conics, depths = project(*free[:3], views, focal, 128, 128)
        splat(centres, conics, free[3], depths, free[4], 128, 128).backward(upstream)

    return ratio(
        lambda: run(by_formula.project_gaussians, by_formula.splat),
        lambda: run(kernels.project_gaussians, kernels.splat),
        3,
    )


def triplane() -> tuple[float, float]:
    x, upstream, axes = (
        torch.rand(4, 49152, 3) * 2 - 1,
        torch.randn(4, 49152, 32),
        ((0, 1), (0, 2), (1, 2)),
    )
    levels = [torch.randn(4, 3, size, size, 32, requires_grad=True) for size in (64, 32, 16)]
    return ratio(
        lambda: grids.triplane(x, levels, axes).backward(upstream),
        lambda: kernels.triplane(x, levels, axes).backward(upstream),
    )


def bumpy_sphere() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """20,480 triangles that cover about half of a picture: vertices, clip positions, faces."""
    import math

    import numpy as np
    import trimesh

    from threestudio_like.renderers import Cameras

    body = trimesh.creation.icosphere(subdivisions=5)
    points = torch.tensor(np.array(body.vertices), dtype=torch.float32)
    bumps = 0.1 * torch.sin(5 * points[:, 0]) * torch.cos(4 * points[:, 1]) + 0.05 * torch.sin(
        9 * points[:, 2]
    )
    points = points * (1 + bumps)[:, None]
    points = 0.92 * points / points.norm(dim=1).max()
    view = Cameras.orbit(
        torch.tensor([0.7]), torch.tensor([0.4]), 3.0, math.radians(40), 512, 512
    ).view_projection()[0]
    clip = torch.cat([points, torch.ones(len(points), 1)], 1) @ view.t()
    return points, clip, torch.tensor(np.array(body.faces), dtype=torch.int32)


def surface_rows() -> list[list[str]]:
    """Rasterise, interpolate, antialias at 512 x 512; distance and winding number of 16,384 points
    and 5,120 faces."""
    points, clip, tri = bumpy_sphere()
    rows = []

    def add(name: str, floor: str, pair: tuple[float, float]) -> None:
        rows.append([name, f"{pair[0]:.1f}", f"{pair[1]:.2f}", f"{pair[0] / pair[1]:.1f}x", floor])

    add(
        "rasterize 20,480 triangles, 512 x 512",
        "9x, 8 ms",
        ratio(
            lambda: raster.rasterize(clip, tri, 512, 512),
            lambda: kernels.rasterize(clip, tri, 512, 512),
            5,
        ),
    )
    leaf = clip.clone().requires_grad_()
    add(
        "rasterize f+b",
        "-",
        ratio(
            lambda: raster.rasterize(leaf, tri, 512, 512).sum().backward(),
            lambda: kernels.rasterize(leaf, tri, 512, 512).sum().backward(),
            5,
        ),
    )
    pixels = kernels.rasterize(clip, tri, 512, 512)
    beyond = kernels.behind(pixels, pixels[..., 3] > 0)
    add(
        "rasterize the layer behind",
        "-",
        ratio(
            lambda: raster.peel(clip[None], tri, 512, 512, beyond[None]),
            lambda: kernels.rasterize(clip, tri, 512, 512, beyond),
            5,
        ),
    )
    for channels, floor in ((3, "10x"), (32, "35x")):
        attributes, upstream = (
            torch.randn(len(points), channels, requires_grad=True),
            torch.randn(512, 512, channels),
        )

        def plain(a: torch.Tensor = attributes, g: torch.Tensor = upstream) -> None:
            raster.interpolate(a, tri, pixels).backward(g)

        def backend(a: torch.Tensor = attributes, g: torch.Tensor = upstream) -> None:
            kernels.interpolate(a, tri, pixels).backward(g)

        add(f"interpolate {channels} channels f+b", floor, ratio(plain, backend))
    edges = kernels.edge_table(tri)
    add(
        "antialias: search",
        "1 ms",
        ratio(
            lambda: raster.silhouette_pairs(clip, edges.edges, edges.opposite, pixels),
            lambda: kernels.silhouette_pairs(clip, edges, pixels),
        ),
    )
    pairs, colour = (
        kernels.silhouette_pairs(clip, edges, pixels),
        torch.rand(512, 512, 3, requires_grad=True),
    )
    blended = ratio(
        lambda: raster.blend(colour, leaf, edges.edges, pairs).sum().backward(), lambda: None
    )[0]
    rows.append(["antialias: blend f+b (plain torch)", f"{blended:.1f}", "-", "-", "6 ms"])
    import numpy as np
    import trimesh

    body = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = (
        torch.tensor(np.array(body.vertices), dtype=torch.float32),
        torch.tensor(np.array(body.faces)),
    )
    tree, queries = kernels.surface_tree(vertices, faces), torch.rand(16384, 3) * 2 - 1
    few = queries[:2048]
    brute = ratio(lambda: by_hand.nearest(few, tree.corners), lambda: None, 3)[0] * 8
    add(
        "nearest point, 16,384 x 5,120",
        "80x",
        (brute, ratio(lambda: None, lambda: kernels.nearest(tree, queries))[1]),
    )
    brute = ratio(lambda: by_hand.winding_number(few, tree.corners), lambda: None, 3)[0] * 8
    add(
        "winding number, beta 3",
        "-",
        (brute, ratio(lambda: None, lambda: kernels.winding_number(tree, queries))[1]),
    )
    add(
        "winding number, beta 2",
        "150x",
        (brute, ratio(lambda: None, lambda: kernels.winding_number(tree, queries, 2.0))[1]),
    )
    try:
        import igl
    except ImportError:
        return rows
    v, f, q = np.asarray(body.vertices), np.asarray(body.faces), queries.double().numpy()
    theirs = ratio(lambda: None, lambda: igl.point_mesh_squared_distance(q, v, f))[1]
    rows.append(["nearest point, libigl", "-", f"{theirs:.1f}", "-", "-"])
    theirs = ratio(lambda: None, lambda: igl.fast_winding_number(v, f, q))[1]
    rows.append(["winding number, libigl (fast)", "-", f"{theirs:.1f}", "-", "-"])
    return rows


def threads_gain() -> float:
    """Wall-clock gain of two threads on the big hash grid, both directions."""
    spec = HashGridSpec()
    x, table_ = torch.rand(65536, 3), torch.randn(spec.entries, 2, requires_grad=True)
    upstream = torch.randn(32, 65536)
    best = []
    for count in (1, 2):
        torch.set_num_threads(count)
        rounds = []
        for _ in range(9):
            began = time.perf_counter()
            kernels.hashgrid(x, table_, spec).backward(upstream)
            rounds.append(time.perf_counter() - began)
        best.append(min(rounds))
    torch.set_num_threads(1)
    return best[0] / best[1]


def adam() -> float:
    parameter = torch.nn.Parameter(torch.randn(12_240_000))
    parameter.grad = torch.randn_like(parameter)
    optimiser = torch.optim.Adam([parameter], fused=True)
    optimiser.step()
    began = time.process_time()
    for _ in range(5):
        optimiser.step()
    return (time.process_time() - began) / 5 * 1e3


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kernels.warm_up()
    big, small = HashGridSpec(), HashGridSpec(8, 14, 16, 256)
    cases = [
        ("hashgrid big, 65,536 points, f+b", 12.0, hash_grid(65536, big)),
        ("hashgrid big, 16,384", 8.0, hash_grid(16384, big)),
        ("hashgrid small, 65,536", 22.0, hash_grid(65536, small)),
        ("hashgrid small, 16,384", 22.0, hash_grid(16384, small)),
        ("MLP 32-64-64-5 against nn.Linear, 65,536, f+b", 1.0, mlp(65536)),
        ("march 4,096 rays, 128^3", 9.0, march()),
        ("composite f+b", 5.0, composite()),
        ("trilinear 64^3 x 5, 65,536, f+b", "-", trilinear()),
        ("triplane 64^2 x 32, 3 levels, 196,608, f+b", "-", triplane()),
        ("projection of 6,000 Gaussians, 2 views, f+b", 4.0, project()),
        ("picture of 6,000 Gaussians, 2 x 128^2, 7 values, f+b", 12.0, splats()),
    ]
    rows = [
        [name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.1f}x", f"{floor}x" if floor != "-" else "-"]
        for name, floor, (a, b) in cases
    ]
    rows += surface_rows()
    body = table(["operation", "plain torch, ms", "CPU backend, ms", "ratio", "floor"], rows)
    body += (
        "\n\nTwo threads over one, big hash grid, wall clock, best of nine: "
        f"{threads_gain():.2f}x (floor 1.7x on a quiet machine).\n"
    )
    body += f"\nFused Adam on 12.24 million parameters: {adam():.1f} ms (floor 10 ms).\n"
    publish("kernels", "CPU kernels against plain torch", "python benchmarks/kernels.py", body)


if __name__ == "__main__":
    main()
