"""One case an operation: what every backend has to pass at its first use against the reference, values
and gradients, and what is timed.

A case makes inputs (small to check, large to time), and calls an operation on them; the results of
a backend in float32 are compared with those of the reference in float64.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import dispatch, distance, surface
from .devices import synchronise
from .dispatch import Check, register_check
from .reference import grids, raster, volume
from .samples import sample_rays, sample_surface, sample_triangles
from .spec import HashGridSpec

Inputs = dict[str, Any]
Results = list[torch.Tensor]


def difference(mine: Results, theirs: Results) -> float:
    """Largest error of any tensor, relative to the reference's largest value."""
    pairs = [
        (a.detach().double().cpu(), b.detach().double().cpu())
        for a, b in zip(mine, theirs, strict=True)
    ]
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(
        (
            float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
            for a, b in pairs
            if b.numel()
        ),
        default=0.0,
    )


@dataclass(frozen=True)
class Case:
    """How an operation is tried.

    Attributes:
        reference: plain torch.
        make: inputs by name, tensors on the CPU in float32; the argument asks for those to time
            instead of those to check.
        call: runs an operation on inputs; returns its values, and its gradients where it has any.
        tolerance: the largest error a backend may have.
        compare: the error of a backend's results.
    """

    reference: Callable[..., Any]
    make: Callable[[bool], Inputs]
    call: Callable[[Callable[..., Any], Inputs], Results]
    tolerance: float
    compare: Callable[[Results, Results], float] = difference

    def error(self, function: Callable[..., Any], device: torch.device) -> float:
        """The error of a backend on a device."""
        inputs = self.make(False)
        mine = self.call(function, cast(inputs, device, torch.float32))
        theirs = self.call(self.reference, cast(inputs, torch.device("cpu"), torch.float64))
        return self.compare(mine, theirs)

    def times(
        self,
        function: Callable[..., Any],
        device: torch.device,
        large: bool = False,
        rounds: int = 5,
    ) -> tuple[float, float]:
        """Seconds of a backend and of plain torch on a device, values and gradients: medians of rounds
        in turns."""
        inputs = cast(self.make(large), device, torch.float32)
        spent: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            for some, each in zip(spent, (function, self.reference)):
                synchronise(device)
                began = time.perf_counter()
                self.call(each, inputs)
                synchronise(device)
                if number:
                    some.append(time.perf_counter() - began)
        return statistics.median(spent[0]), statistics.median(spent[1])


CASES: dict[str, Case] = {}


def case(
    operation: str,
    reference: Callable[..., Any],
    tolerance: float,
    make: Callable[[bool], Inputs],
    compare: Callable[[Results, Results], float] = difference,
) -> Callable[
    [Callable[[Callable[..., Any], Inputs], Results]],
    Callable[[Callable[..., Any], Inputs], Results],
]:
    """Decorator: the function calls the operation on inputs, see `Case.call`."""

    def add(
        call: Callable[[Callable[..., Any], Inputs], Results],
    ) -> Callable[[Callable[..., Any], Inputs], Results]:
        CASES[operation] = Case(reference, make, call, tolerance, compare)
        register_check(operation, Check(CASES[operation].error, tolerance, CASES[operation].times))
        return call

    return add


def cast(inputs: Inputs, device: torch.device, kind: torch.dtype) -> Inputs:
    """The inputs on a device, floating-point tensors in a number type."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(v) for v in value]
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(device, kind) if value.is_floating_point() else value.to(device)

    return {name: one(value) for name, value in inputs.items()}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _free(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def _grads(tensors: list[torch.Tensor]) -> Results:
    return [t.grad if t.grad is not None else torch.zeros_like(t) for t in tensors]


def _grid_inputs(large: bool) -> Inputs:
    generator = _generator()
    specs = (
        [HashGridSpec()]
        if large
        else [HashGridSpec(4, 10, 4, 64, tiled) for tiled in (False, True)]
    )
    count = 1 << 18 if large else 700
    return {
        "specs": specs,
        "x": torch.rand(count, 3, generator=generator),
        "tables": [torch.randn(s.entries, 2, generator=generator) for s in specs],
        "upstream": torch.randn(2 * specs[0].levels, count, generator=generator),
    }


@case("hashgrid", grids.hashgrid, 3e-4, _grid_inputs)
def _call_hashgrid(function: Callable[..., Any], given: Inputs) -> Results:
    out: Results = []
    for spec, values in zip(given["specs"], given["tables"]):
        (table,) = _free(values)
        found = function(given["x"], table, spec)
        found.backward(given["upstream"])
        out += [found, *_grads([table])]
    return out


def _perceptron_inputs(large: bool) -> Inputs:
    generator, count = _generator(), 1 << 18 if large else 5000
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


@case("field_mlp", grids.field_mlp, 1e-4, _perceptron_inputs)
def _call_field_mlp(function: Callable[..., Any], given: Inputs) -> Results:
    x, *layers = _free(given["x"], *given["layers"])
    out = function(x, layers[:3], layers[3:])
    out.backward(given["upstream"])
    return [out, *_grads([x, *layers])]


def _trilinear_inputs(large: bool) -> Inputs:
    generator, count = _generator(), 1 << 18 if large else 3000
    shape = (64, 64, 64, 5) if large else (7, 8, 9, 5)
    return {
        "x": torch.rand(count, 3, generator=generator) * 2.2 - 1.1,
        "grid": torch.randn(shape, generator=generator),
        "upstream": torch.randn(count, 5, generator=generator),
    }


@case("trilinear", grids.trilinear, 1e-4, _trilinear_inputs)
def _call_trilinear(function: Callable[..., Any], given: Inputs) -> Results:
    (grid,) = _free(given["grid"])
    out = function(given["x"], grid)
    out.backward(given["upstream"])
    return [out, *_grads([grid])]


AXES = ((0, 1), (0, 2), (1, 2))


def _triplane_inputs(large: bool) -> Inputs:
    generator = _generator()
    count, channels, sizes = (1 << 17, 32, (128, 64)) if large else (900, 5, (8, 4))
    return {
        "x": torch.rand(2, count, 3, generator=generator) * 2.4 - 1.2,
        "upstream": torch.randn(2, count, channels, generator=generator),
        "levels": [torch.randn(2, 3, size, size, channels, generator=generator) for size in sizes],
    }


@case("triplane", grids.triplane, 1e-4, _triplane_inputs)
def _call_triplane(function: Callable[..., Any], given: Inputs) -> Results:
    levels = _free(*given["levels"])
    out = function(given["x"], levels, AXES)
    out.backward(given["upstream"])
    return [out, *_grads(levels)]


@case(
    "grid_variation",
    grids.grid_variation,
    1e-4,
    lambda large: {
        "grid": torch.randn((96, 96, 96, 5) if large else (5, 6, 7, 4), generator=_generator())
    },
)
def _call_grid_variation(function: Callable[..., Any], given: Inputs) -> Results:
    (grid,) = _free(given["grid"])
    out = function(grid, 0.3, 1.7)
    out.backward()
    return [out, *_grads([grid])]


def _march_inputs(large: bool) -> Inputs:
    origins, directions, jitter = sample_rays(1 << 15 if large else 300)
    size = 128 if large else 32
    occupied = torch.rand(size, size, size, generator=_generator(1)) < 0.02
    return {
        "origins": origins,
        "directions": directions,
        "jitter": jitter,
        "occupied": occupied,
        "step": 0.004 if large else 0.013,
    }


def _same_samples(mine: Results, theirs: Results) -> float:
    """The share of samples that only one of the two has: float32 rounding may move a sample over a
    cell's face."""
    a, b = (
        {(int(r), round(float(t), 3)) for t, r in zip(found[0], found[1])}
        for found in (mine, theirs)
    )
    return len(a ^ b) / max(1, len(b))


@case("march", volume.march, 2e-3, _march_inputs, _same_samples)
def _call_march(function: Callable[..., Any], given: Inputs) -> Results:
    return list(
        function(
            given["origins"], given["directions"], given["occupied"], given["step"], given["jitter"]
        )
    )


def _composite_inputs(large: bool) -> Inputs:
    origins, directions, jitter = sample_rays(1 << 14 if large else 200)
    step = 0.02 if large else 0.1
    t, _, offsets = volume.march(
        origins, directions, torch.ones(8, 8, 8, dtype=torch.bool), step, jitter
    )
    generator = _generator(2)
    return {
        "t": t,
        "offsets": offsets,
        "step": step,
        "sigma": torch.rand(len(t), generator=generator) * 3,
        "features": torch.randn(len(t), 4, generator=generator),
        "upstream": torch.randn(len(origins), 6, generator=generator),
        "on_weights": torch.randn(len(t), generator=generator),
    }


@case("composite", volume.composite, 1e-4, _composite_inputs)
def _call_composite(function: Callable[..., Any], given: Inputs) -> Results:
    sigma, features = _free(given["sigma"], given["features"])
    out, weights = function(sigma, features, given["t"], given["offsets"], given["step"], 1e-4)
    ((out * given["upstream"]).sum() + (weights * given["on_weights"]).sum()).backward()
    return [out, weights, *_grads([sigma, features])]


def _picture(large: bool) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """Clip-space corners, faces, height and width: twenty triangles, or a body of twenty thousand
    before the camera."""
    if not large:
        return *sample_triangles(), 20, 24
    points, faces = sample_surface(102, 100)
    clip = torch.cat(
        [points * torch.tensor([1.8, 1.8, -0.9]), torch.full((len(points), 1), 1.5)], 1
    )
    clip[:, 3] -= points[:, 2] * 0.5
    return clip, faces.to(torch.int32), 512, 512


def _rasterize_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    upstream = torch.randn(1, height, width, 4, generator=_generator(5))
    return {"clip": clip[None], "tri": tri, "height": height, "width": width, "upstream": upstream}


def _same_pixels(mine: Results, theirs: Results) -> float:
    """The share of pixels that show another triangle, the largest difference of the others' weights
    and depth, that of the gradients."""
    (one, grad), (two, wanted) = mine, theirs
    one, two = one.detach().cpu().double(), two.detach().cpu()
    same = (one[..., 3] == two[..., 3]) & (two[..., 3] > 0)
    wrong = float((one[..., 3] != two[..., 3]).double().mean())
    return max(
        wrong, float((one[same] - two[same])[:, :3].abs().max()), difference([grad], [wanted])
    )


@case("rasterize", raster.rasterize, 1e-3, _rasterize_inputs, _same_pixels)
def _call_rasterize(function: Callable[..., Any], given: Inputs) -> Results:
    (clip,) = _free(given["clip"])
    out = function(clip, given["tri"], given["height"], given["width"])
    out.backward(given["upstream"] * (out.detach()[..., 3:] > 0))
    return [out, *_grads([clip])]


def _interpolate_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    with torch.no_grad():
        pixels = surface.rasterize(clip[None], tri, height, width)
    generator, channels = _generator(4), 5
    return {
        "tri": tri,
        "pixels": pixels,
        "values": torch.randn(len(clip), channels, generator=generator),
        "upstream": torch.randn(1, height, width, channels, generator=generator),
    }


@case("interpolate", raster.interpolate, 1e-4, _interpolate_inputs)
def _call_interpolate(function: Callable[..., Any], given: Inputs) -> Results:
    values, pixels = _free(given["values"], given["pixels"])
    out = function(values, given["tri"], pixels)
    out.backward(given["upstream"])
    return [out, *_grads([values, pixels])]


def _silhouette_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    height, width = (height, width) if large else (48, 64)
    table = surface.edge_table(tri)
    with torch.no_grad():
        pixels = surface.rasterize(clip, tri, height, width)
    return {
        "clip": clip,
        "edges": table.edges,
        "opposite": table.opposite,
        "tri": tri,
        "pixels": pixels,
        "colour": torch.rand(1, height, width, 3, generator=_generator(8)),
        "upstream": torch.randn(1, height, width, 3, generator=_generator(9)),
    }


def _same_pairs(mine: Results, theirs: Results) -> float:
    """The share of pixel pairs that only one of the two finds: float32 rounding may move an edge
    over a pixel's centre."""
    one, two = ({tuple(p) for p in found[0].tolist()} for found in (mine, theirs))
    return len(one ^ two) / max(1, len(two))


@case("silhouette_pairs", raster.silhouette_pairs, 0.02, _silhouette_inputs, _same_pairs)
def _call_silhouette_pairs(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(given["clip"], given["edges"], given["opposite"], given["pixels"])]


@case("antialias", surface._antialias, 1e-3, _silhouette_inputs)
def _call_antialias(function: Callable[..., Any], given: Inputs) -> Results:
    clip, colour = _free(given["clip"][None], given["colour"])
    table = surface.EdgeTable(given["edges"], given["opposite"], given["tri"])
    out = function(colour, given["pixels"][None], clip, table)
    out.backward(given["upstream"])
    return [out, *_grads([clip, colour])]


def _texture_inputs(large: bool) -> Inputs:
    generator, size, count = _generator(10), 1024 if large else 16, 512 if large else 20
    return {
        "texels": torch.rand(1, 4, size, size, generator=generator),
        "uv": torch.rand(1, count, count, 2, generator=generator),
        "level": torch.rand(1, count, count, generator=generator) * 3,
        "upstream": torch.randn(1, count, count, 4, generator=generator),
    }


@case("texture", raster.texture, 1e-3, _texture_inputs)
def _call_texture(function: Callable[..., Any], given: Inputs) -> Results:
    (texels,) = _free(given["texels"])
    out = function(texels, given["uv"], given["level"], "bilinear")
    out.backward(given["upstream"])
    return [out, *_grads([texels])]


def _tree_inputs(large: bool) -> Inputs:
    vertices, faces = sample_surface(51, 50) if large else sample_surface()
    queries = torch.rand(1 << 14 if large else 300, 3, generator=_generator(6)) * 2.4 - 1.2
    return {"queries": queries, "vertices": vertices, "faces": faces}


def _tree(given: Inputs, left_out: int = 0) -> distance.SurfaceTree:
    faces = given["faces"]
    return distance.surface_tree(given["vertices"].float(), faces[: len(faces) - left_out])


@case("nearest", distance._nearest, 1e-4, _tree_inputs)
def _call_nearest(function: Callable[..., Any], given: Inputs) -> Results:
    far, _, point = function(given["queries"], _tree(given))
    return [far, point]


@case("winding_number", distance._winding_number, 0.05, _tree_inputs)
def _call_winding_number(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(given["queries"], _tree(given, 9), 3.0)]


assert set(CASES) == set(dispatch.BACKENDS)
