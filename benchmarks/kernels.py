"""Ratios of the CPU twins over plain torch: interleaved rounds, one thread, CPU time of the process, medians.

Run: python benchmarks/kernels.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from tables import publish, table

from threestudio_like import kernels
from threestudio_like.kernels.reference import grids, volume
from threestudio_like.kernels.spec import HashGridSpec

ROUNDS = 7


def ratio(reference: Callable[[], None], twin: Callable[[], None], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median CPU milliseconds of both, measured in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    reference()
    twin()
    for _ in range(rounds):
        for number, task in enumerate((reference, twin)):
            began = time.process_time()
            task()
            times[number].append((time.process_time() - began) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def level_tables(x: torch.Tensor, tables: list[torch.Tensor], spec: HashGridSpec) -> torch.Tensor:
    """The fair baseline: one tensor a level, so that no level's gradient is as large as the whole table."""
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
    levels = [whole.detach()[a:b].clone().requires_grad_() for a, b in zip(spec.offsets[:-1], spec.offsets[1:])]
    upstream = torch.randn(2 * spec.levels, points)

    def plain() -> None:
        for t in levels:
            t.grad = t.grad.zero_() if t.grad is not None else None
        level_tables(x, levels, spec).backward(upstream)

    def twin() -> None:
        whole.grad = whole.grad.zero_() if whole.grad is not None else None
        kernels.hashgrid(x, whole, spec).backward(upstream)

    return ratio(plain, twin, 5)


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
    return ratio(lambda: volume.march(origins, directions, occupied, step, jitter),
                 lambda: kernels.march(origins, directions, occupied, step, jitter))  # fmt: skip


def composite() -> tuple[float, float]:
    origins, directions, occupied, jitter = scene()
    step = 2 * 3**0.5 / 1024
    t, _, offsets = kernels.march(origins, directions, occupied, step, jitter)
    sigma, features = torch.rand(len(t), requires_grad=True), torch.randn(len(t), 3, requires_grad=True)
    upstream = torch.randn(4096, 5)
    return ratio(lambda: volume.composite(sigma, features, t, offsets, step)[0].backward(upstream),
                 lambda: kernels.composite(sigma, features, t, offsets, step)[0].backward(upstream))  # fmt: skip


def trilinear() -> tuple[float, float]:
    x, grid, upstream = (
        torch.rand(65536, 3) * 2 - 1,
        torch.randn(64, 64, 64, 5, requires_grad=True),
        torch.randn(65536, 5),
    )
    return ratio(
        lambda: grids.trilinear(x, grid).backward(upstream), lambda: kernels.trilinear(x, grid).backward(upstream)
    )


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
    cases = [("hashgrid big, 65,536 points, f+b", 12.0, hash_grid(65536, big)), ("hashgrid big, 16,384", 8.0, hash_grid(16384, big)),
             ("hashgrid small, 65,536", 22.0, hash_grid(65536, small)), ("hashgrid small, 16,384", 22.0, hash_grid(16384, small)),
             ("MLP 32-64-64-5 against nn.Linear, 65,536, f+b", 1.0, mlp(65536)), ("march 4,096 rays, 128^3", 9.0, march()),
             ("composite f+b", 5.0, composite()), ("trilinear 64^3 x 5, 65,536, f+b", "-", trilinear())]  # fmt: skip
    rows = [
        [name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.1f}x", f"{floor}x" if floor != "-" else "-"]
        for name, floor, (a, b) in cases
    ]
    body = table(["operation", "plain torch, ms", "CPU twin, ms", "ratio", "floor"], rows)
    body += f"\n\nTwo threads over one, big hash grid, wall clock, best of nine: {threads_gain():.2f}x (floor 1.7x on a quiet machine).\n"
    body += f"\nFused Adam on 12.24 million parameters: {adam():.1f} ms (floor 10 ms).\n"
    publish("kernels", "CPU kernels against plain torch", "python benchmarks/kernels.py", body)


if __name__ == "__main__":
    main()
