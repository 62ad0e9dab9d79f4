"""Every Triton kernel against the float64 reference in Triton's interpreter: random shapes, also
none, one, and no multiples of a block."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed: pip install triton", allow_module_level=True)
# Kernels are made for the interpreter when they are first imported.
os.environ["TRITON_INTERPRET"] = "1"

from threestudio_like import kernels
from threestudio_like.kernels import dispatch
from threestudio_like.kernels.cases import AXES, CASES, difference
from threestudio_like.kernels.distance import surface_tree
from threestudio_like.kernels.reference import distance as by_hand
from threestudio_like.kernels.reference import gaussians, grids, raster, volume
from threestudio_like.kernels.samples import (
    sample_gaussians,
    sample_rays,
    sample_surface,
    sample_triangles,
    sample_views,
)
from threestudio_like.kernels.spec import HashGridSpec

from .exact_coverage import (
    convex_body,
    layers,
    on_pixel_centres,
    perspective,
    same_as_exact,
    subdivided_box,
)
from .exact_distances import worst_error

CPU = torch.device("cpu")
TRITON = [
    name
    for name, backends in dispatch.BACKENDS.items()
    if any(t.kind == "triton" for t in backends)
]


def backend(operation):
    return dispatch.load(next(t for t in dispatch.BACKENDS[operation] if t.kind == "triton"))


@pytest.fixture(autouse=True)
def wide_programs(monkeypatch):
    """The interpreter costs by the operation, not by its width: rays in one program."""
    from threestudio_like.kernels.cuda import volume as kernels_on_rays

    monkeypatch.setattr(kernels_on_rays, "RAYS", 512)


@pytest.fixture(params=[False, True], ids=["atomic", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("operation", [name for name in TRITON if name != "march"])
def test_the_self_check_passes(operation, deterministic):
    case = CASES[operation]
    assert case.error(backend(operation), CPU) <= case.tolerance


def both(function, reference, *tensors, free=()):
    """Values and gradients of a backend in float32, and of the reference in float64."""
    out = []
    for call, kind in ((function, torch.float32), (reference, torch.float64)):
        given = [t.to(kind) if t.is_floating_point() else t for t in tensors]
        given = [t.clone().requires_grad_() if i in free else t for i, t in enumerate(given)]
        found = call(*given)
        upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(7)).to(kind)
        if found.requires_grad:
            found.backward(upstream)
        grads = [
            given[i].grad if given[i].grad is not None else torch.zeros_like(given[i]) for i in free
        ]
        out.append([found, *grads])
    return out


GRIDS = [(2, 9, 4, 100, 0), (4, 9, 4, 100, 1), (3, 12, 16, 2048, 257), (2, 19, 8, 64, 513)]


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(("levels", "log2", "base", "finest", "n"), GRIDS)
def test_hash_grid(tiled, levels, log2, base, finest, n, deterministic):
    spec = HashGridSpec(levels, log2, base, finest, tiled)
    torch.manual_seed(n)
    mine, theirs = both(
        lambda x, t: backend("hashgrid")(x, t, spec),
        lambda x, t: grids.hashgrid(x, t, spec),
        torch.rand(n, 3),
        torch.randn(spec.entries, 2),
        free=(1,),
    )
    # float32 positions at 2047 cells carry 1.2e-4 of a cell.
    assert difference(mine, theirs) < 1e-3


@pytest.mark.parametrize("n", [0, 1, 63, 130])
@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (3, 4, 5, 3)])
def test_trilinear(n, shape, deterministic):
    torch.manual_seed(n)
    x = torch.rand(n, 3) * 2.4 - 1.2
    mine, theirs = both(backend("trilinear"), grids.trilinear, x, torch.randn(shape), free=(1,))
    assert difference(mine, theirs) < 1e-5


@pytest.mark.parametrize(
    ("batch", "n", "sizes", "channels"), [(1, 0, (4,), 3), (2, 1, (3, 5), 1), (1, 70, (8,), 17)]
)
def test_triplane(batch, n, sizes, channels, deterministic):
    torch.manual_seed(n)
    x = torch.rand(batch, n, 3) * 2.6 - 1.3
    levels = [torch.randn(batch, 3, size, size, channels) for size in sizes]
    mine, theirs = both(
        lambda x, *v: backend("triplane")(x, list(v), AXES),
        lambda x, *v: grids.triplane(x, list(v), AXES),
        x,
        *levels,
        free=tuple(range(1, 1 + len(levels))),
    )
    assert difference(mine, theirs) < 1e-5


@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (1, 3, 2, 2), (5, 4, 3, 5)])
def test_grid_variation(shape):
    if min(shape[:3]) == 1:
        # The mean over no neighbours is no number in the reference; a slice has none along its
        # normal.
        flat = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert bool(backend("grid_variation")(flat, 0.5, 2.0).isfinite())
        return
    torch.manual_seed(1)
    mine, theirs = both(
        lambda g: backend("grid_variation")(g, 0.5, 2.0),
        lambda g: grids.grid_variation(g, 0.5, 2.0),
        torch.randn(shape),
        free=(0,),
    )
    assert difference(mine, theirs) < 1e-5


@pytest.mark.parametrize("rays", [0, 1, 65])
@pytest.mark.parametrize(("size", "share"), [(16, 0.05), (12, 1.0), (7, 0.2), (8, 0.0)])
def test_march_finds_the_same_samples(rays, size, share):
    origins, directions, jitter = sample_rays(max(rays, 1))
    given = (origins[:rays], directions[:rays])
    occupied = torch.rand(size, size, size, generator=torch.Generator().manual_seed(1)) < share
    mine = backend("march")(*given, occupied, 0.11, jitter[:rays])
    theirs = volume.march(*given, occupied, 0.11, jitter[:rays])
    for one, two in zip(mine, theirs, strict=True):
        assert one.shape == two.shape
        torch.testing.assert_close(one, two)


def test_march_along_the_axes():
    origins = torch.tensor([[-3.0, 0.1, 0.1], [0.1, 3.0, 0.1], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    occupied = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(2)) < 0.2
    mine, theirs = (
        f(origins, directions, occupied, 0.05, torch.full((4,), 0.5))
        for f in (backend("march"), volume.march)
    )
    assert torch.equal(mine[2], theirs[2])
    torch.testing.assert_close(mine[0], theirs[0])


@pytest.mark.parametrize(
    ("lengths", "channels"), [([], 3), ([0, 0], 1), ([1], 4), ([3, 0, 64, 65, 200], 3)]
)
@pytest.mark.parametrize("dense", [0.5, 40.0])
def test_composite(lengths, channels, dense):
    torch.manual_seed(3)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    count = int(offsets[-1])
    t = torch.rand(count)
    results = []
    sigma, features = torch.rand(count) * dense, torch.randn(count, channels)
    on_out, on_weights = torch.randn(len(lengths), channels + 2), torch.randn(count)
    for function, kind in (
        (backend("composite"), torch.float32),
        (volume.composite, torch.float64),
    ):
        s, f = (v.to(kind).requires_grad_() for v in (sigma.clone(), features.clone()))
        out, weights = function(s, f, t.to(kind), offsets, 0.1, 1e-4)
        ((out * on_out.to(kind)).sum() + (weights * on_weights.to(kind)).sum()).backward()
        results.append([out, weights, s.grad, f.grad])
    assert difference(*results) < 1e-4


@pytest.mark.parametrize(
    ("count", "height", "width", "channels"), [(0, 5, 5, 3), (1, 1, 1, 1), (9, 18, 5, 5)]
)
def test_splat(count, height, width, channels):
    means, scales, rotations, opacities = sample_gaussians(count, 0.2, seed=2)
    views, focal = sample_views(1, height)
    centres, conics, depths = gaussians.project_gaussians(
        *(means, scales, rotations, views, focal), height=height, width=width
    )
    values = torch.randn(1, count, channels, generator=torch.Generator().manual_seed(1))
    mine, theirs = both(
        lambda c, k, o, d, v: backend("splat")(c, k, o, d, v, height, width),
        lambda c, k, o, d, v: gaussians.splat(c, k, o, d, v, height, width),
        *(centres, conics, opacities, depths, values),
        free=(0, 1, 2, 4),
    )
    assert difference(mine, theirs) < 1e-4


def test_composite_with_only_one_of_its_results_used():
    sigma = torch.rand(5, requires_grad=True)
    offsets = torch.tensor([0, 2, 5])
    _, weights = backend("composite")(sigma, torch.zeros(5, 1), torch.zeros(5), offsets, 0.1, 1e-4)
    weights.sum().backward()
    expected = torch.autograd.grad(
        volume.composite(sigma, torch.zeros(5, 1), torch.zeros(5), offsets, 0.1)[1].sum(), sigma
    )[0]
    torch.testing.assert_close(sigma.grad, expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (40, 24)])
@pytest.mark.parametrize("faces", [0, 1, 20])
def test_rasterize(faces, height, width, deterministic):
    clip, tri = sample_triangles()
    tri = tri[:faces]
    one = backend("rasterize")(clip[None], tri, height, width)
    two = raster.rasterize(clip[None].double(), tri, height, width)
    assert torch.equal(one[..., 3].double(), two[..., 3])
    assert difference([one], [two]) < 1e-5
    mine, theirs = both(
        lambda c: backend("rasterize")(c, tri, height, width),
        lambda c: raster.rasterize(c, tri, height, width),
        clip[None],
        free=(0,),
    )
    assert difference(mine[1:], theirs[1:]) < 1e-4


def test_rasterize_shares_large_triangles_between_programs(monkeypatch):
    from threestudio_like.kernels.cuda import raster as kernels_on_pixels

    drawn = []
    launch = kernels_on_pixels._draw_large

    class Counted:
        def __getitem__(self, grid):
            def go(*arguments):
                drawn.append(int(arguments[3][0, 0]))
                return launch[grid](*arguments)

            return go

    monkeypatch.setattr(kernels_on_pixels, "_draw_large", Counted())
    monkeypatch.setattr(kernels_on_pixels, "SHARED", 5)
    large = torch.tensor([[-1.5, -1.5, 0.1, 1.0], [1.5, -1.5, 0.3, 1.0], [0.0, 1.6, -0.2, 1.0]])
    small = torch.tensor([[0.3, 0.2, -0.5, 1.0], [0.4, 0.2, -0.5, 1.0], [0.3, 0.4, -0.5, 1.0]])
    clip = torch.cat([large, small])
    tri = torch.arange(6, dtype=torch.int32).view(2, 3)
    one, two = (
        backend("rasterize")(clip[None], tri, 50, 60),
        raster.rasterize(clip[None].double(), tri, 50, 60),
    )
    assert drawn == [1]
    assert torch.equal(one[..., 3].double(), two[..., 3])


def test_rasterize_several_views_and_a_triangle_across_the_camera_plane():
    across = torch.tensor([[-1.0, -1.0, 0.0, 1.0], [1.0, -1.0, 0.0, 1.0], [0.0, 3.0, -0.9, -0.9]])
    views = torch.stack(
        [
            across,
            across * torch.tensor([-1.0, 1.0, 1.0, 1.0]),
            torch.tensor([0.0, 0.0, 0.0, -1.0]).expand(3, 4),
        ]
    )
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    one, two = (
        backend("rasterize")(views, tri, 20, 30),
        raster.rasterize(views.double(), tri, 20, 30),
    )
    assert torch.equal(one[..., 3].double(), two[..., 3])
    assert [bool((v[..., 3] > 0).any()) for v in one] == [True, True, False]


def test_rasterised_pictures_are_the_same_bytes_and_ties_go_to_the_first_triangle():
    clip = torch.tensor([[-0.8, -0.8, 0.0, 1.0], [0.8, -0.8, 0.0, 1.0], [0.0, 0.8, 0.0, 1.0]])
    tri = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]], dtype=torch.int32)
    found = [backend("rasterize")(clip[None], tri, 16, 16) for _ in range(2)]
    assert torch.equal(*found)
    assert found[0][..., 3].unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("w", [(1.0,), (1.0, 1.25, 2.5, 0.625)])
def test_corners_on_pixel_centres_against_rational_numbers(w):
    points, faces = subdivided_box(2)
    clip = on_pixel_centres(points, 16, w)
    assert same_as_exact(backend("rasterize"), clip, faces, 16, 16) == 0


def test_bodies_anywhere_against_rational_numbers():
    points, faces = convex_body(0, 14)
    assert same_as_exact(backend("rasterize"), perspective(points, 0), faces, 11, 13) == 0
    points, faces = subdivided_box(2)
    clip = perspective(points, 5, distance=0.25, focus=0.8)
    clip[:, 2] = 0.5 * clip[:, 3]
    assert same_as_exact(backend("rasterize"), clip, faces, 9, 10) == 0


def test_every_pixel_of_a_closed_body_has_as_many_front_as_back_faces():
    points, faces = convex_body(1, 12)
    for clip in (perspective(points, 1), on_pixel_centres(points, 32, (1.0, 1.5, 0.75))):
        front, back = layers(backend("rasterize"), clip, faces, 32, 32)
        assert torch.equal(front, back)
        assert int(front.max()) >= 1


@pytest.mark.parametrize("channels", [1, 3, 9])
@pytest.mark.parametrize("faces", [0, 20])
def test_interpolate(channels, faces, deterministic):
    clip, tri = sample_triangles()
    tri = tri[:faces]
    pixels = raster.rasterize(clip, tri, 9, 11)[None]
    torch.manual_seed(channels)
    values = torch.randn(60, channels)
    mine, theirs = both(
        lambda v, p: backend("interpolate")(v, tri, p),
        lambda v, p: (
            raster.interpolate(v, tri, p)
            if faces
            else v.sum() * 0 + torch.zeros(1, 9, 11, channels).double()
        ),
        values,
        pixels,
        free=(0, 1),
    )
    assert difference(mine, theirs) < 1e-5


@pytest.mark.parametrize("count", [0, 1, 60])
def test_silhouette_pairs(count):
    clip, tri = sample_triangles()
    table, pixels = kernels.edge_table(tri), raster.rasterize(clip, tri, 30, 40)
    edges, opposite = table.edges[:count], table.opposite[:count]
    mine = backend("silhouette_pairs")(clip, edges, opposite, pixels)
    theirs = raster.silhouette_pairs(clip.double(), edges, opposite, pixels.double())
    assert {tuple(p) for p in mine.tolist()} == {tuple(p) for p in theirs.tolist()}


def test_nearest_points_of_hard_triangles_against_rational_numbers():
    def nearest(corners, queries):
        tree = surface_tree(corners.reshape(-1, 3), torch.arange(3).view(1, 3))
        far, _, point = backend("nearest")(queries, tree)
        return far, point

    assert worst_error(nearest) < 1e-6


@pytest.mark.parametrize("n", [0, 1, 65])
def test_distances(n):
    points, faces = sample_surface(5, 6)
    tree = surface_tree(points, faces)
    queries = torch.rand(n, 3, generator=torch.Generator().manual_seed(n)) * 2.4 - 1.2
    mine = backend("nearest")(queries, tree)
    if n:
        theirs = by_hand.nearest(queries.double(), tree.corners.double())
        assert difference([mine[0], mine[2]], [theirs[0], theirs[2]]) < 1e-5
        around = by_hand.winding_number(queries.double(), tree.corners.double())
        assert difference([backend("winding_number")(queries, tree, 3.0)], [around]) < 1e-4
    else:
        assert [len(v) for v in mine] == [0, 0, 0]


@pytest.mark.parametrize(
    ("sizes", "n"),
    [
        ((3, 16, 2), 0),
        ((32, 64, 64, 4), 33),
        ((5, 7, 3), 1),
        ((8, 8, 8, 8, 2), 5),
        ((200, 40, 1), 3),
    ],
)
def test_perceptron(sizes, n):
    torch.manual_seed(4)
    shapes = list(zip(sizes[1:], sizes[:-1]))
    weights, biases = [torch.randn(s) * 0.3 for s in shapes], [torch.randn(s[0]) for s in shapes]
    count = len(shapes)
    mine, theirs = both(
        lambda x, *v: backend("field_mlp")(x, list(v[:count]), list(v[count:])),
        lambda x, *v: grids.field_mlp(x, list(v[:count]), list(v[count:])),
        torch.randn(sizes[0], n),
        *weights,
        *biases,
        free=tuple(range(1 + 2 * count)),
    )
    assert difference(mine, theirs) < 1e-5


def test_exact_sums_do_not_depend_on_the_order_of_their_terms():
    spec = HashGridSpec(1, 8, 2, 2)
    x, upstream = torch.rand(600, 3), torch.randn(2, 600) * torch.logspace(-3, 3, 600)
    order = torch.randperm(600)
    torch.use_deterministic_algorithms(True)
    try:
        found = []
        for pick in (torch.arange(600), order):
            table = torch.zeros(spec.entries, 2, requires_grad=True)
            backend("hashgrid")(x[pick], table, spec).backward(upstream[:, pick])
            found.append(table.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*found)


def test_the_program_uses_them_when_asked(monkeypatch):
    monkeypatch.setattr(dispatch, "_choice", None)
    monkeypatch.setattr(dispatch, "_status", {})
    kernels.choose("triton")
    found = dispatch.select("grid_variation", torch.zeros(2, 2, 2, 1))
    assert found is not None
    assert found.name == "triton"
    torch.manual_seed(0)
    grid = torch.randn(3, 3, 3, 2)
    torch.testing.assert_close(
        kernels.grid_variation(grid, 1.0, 1.0), grids.grid_variation(grid, 1.0, 1.0)
    )
