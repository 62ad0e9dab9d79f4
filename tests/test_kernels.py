"""Every CPU backend against its float64 reference, values and gradients, on random shapes."""

from __future__ import annotations

import pytest
import torch

from threestudio_like import kernels
from threestudio_like.kernels import dispatch
from threestudio_like.kernels.reference import grids, raster, volume
from threestudio_like.kernels.samples import sample_rays, sample_triangles
from threestudio_like.kernels.spec import HashGridSpec


def relative(a, b):
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-12))


HERE = torch.device("cpu")
ON_CPU = [name for name in dispatch.operations() if dispatch.candidates(name, HERE)]


@pytest.mark.parametrize("operation", ON_CPU)
def test_every_backend_passes_its_self_check(operation):
    status = kernels.check(operation)
    assert status.selected == "cpu", status.why


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(
    ("levels", "log2", "base", "finest", "n"),
    [(4, 9, 4, 100, 1), (16, 14, 16, 2048, 777), (3, 19, 8, 64, 513)],
)
def test_hash_grid_values_and_gradients(tiled, levels, log2, base, finest, n):
    spec = HashGridSpec(levels, log2, base, finest, tiled)
    torch.manual_seed(n)
    x, table = torch.rand(n, 3), torch.randn(spec.entries, 2)
    upstream = torch.randn(2 * levels, n)
    a, b = table.clone().requires_grad_(), table.double().requires_grad_()
    one, two = kernels.hashgrid(x, a, spec), grids.hashgrid(x.double(), b, spec)
    one.backward(upstream)
    two.backward(upstream.double())
    # float32 positions at 2047 cells carry 1.2e-4 of a cell.
    assert relative(one, two) < 1e-3
    assert relative(a.grad, b.grad) < 1e-3


def test_hash_grid_gradient_in_positions_against_finite_differences():
    spec = HashGridSpec(3, 8, 4, 16)
    table = torch.randn(spec.entries, 2, dtype=torch.float64)
    x = torch.rand(5, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: grids.hashgrid(p, table, spec), (x,), eps=1e-6, atol=1e-5
    )


def test_a_linear_function_on_a_dense_level_is_reproduced():
    spec = HashGridSpec(1, 19, 8, 8)
    res, scale = spec.resolutions[0], spec.scales[0]
    z, y, xx = torch.meshgrid(*[torch.arange(res)] * 3, indexing="ij")
    table = torch.zeros(spec.entries, 2)
    table[: res**3, 0] = (2.0 * xx + 3.0 * y - z).reshape(-1)
    x = torch.rand(50, 3)
    p = x * scale + 0.5
    torch.testing.assert_close(
        kernels.hashgrid(x, table, spec)[0],
        2 * p[:, 0] + 3 * p[:, 1] - p[:, 2],
        atol=1e-4,
        rtol=1e-4,
    )


def test_hash_grid_is_the_same_for_one_and_two_threads():
    spec = HashGridSpec(8, 12, 8, 256)
    x, upstream = torch.rand(3000, 3), torch.randn(16, 3000)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        table = torch.ones(spec.entries, 2).requires_grad_()
        kernels.hashgrid(x, table, spec).backward(upstream)
        results.append(table.grad)
    torch.set_num_threads(1)
    assert torch.equal(*results)


@pytest.mark.parametrize("n", [1, 4096, 9000])
def test_field_mlp(n):
    torch.manual_seed(1)
    layers = [torch.randn(s) * 0.3 for s in ((64, 32), (64, 64), (4, 64), (64,), (64,), (4,))]
    x, upstream = torch.randn(32, n), torch.randn(4, n)
    mine, theirs = (
        [t.clone().to(k).requires_grad_() for t in (x, *layers)]
        for k in (torch.float32, torch.float64)
    )
    one = kernels.field_mlp(mine[0], mine[1:4], mine[4:])
    two = grids.field_mlp(theirs[0], theirs[1:4], theirs[4:])
    one.backward(upstream)
    two.backward(upstream.double())
    assert relative(one, two) < 1e-5
    assert max(relative(a.grad, b.grad) for a, b in zip(mine, theirs)) < 1e-5


@pytest.mark.parametrize("shape", [(5, 6, 7, 5), (40, 40, 40, 5), (2, 2, 2, 1)])
def test_trilinear(shape):
    torch.manual_seed(2)
    x, grid, upstream = (
        torch.rand(4000, 3) * 2.4 - 1.2,
        torch.randn(shape),
        torch.randn(4000, shape[-1]),
    )
    a, b = grid.clone().requires_grad_(), grid.double().requires_grad_()
    one, two = kernels.trilinear(x, a), grids.trilinear(x.double(), b)
    one.backward(upstream)
    two.backward(upstream.double())
    assert relative(one, two) < 1e-5
    assert relative(a.grad, b.grad) < 1e-5


def test_trilinear_gradient_is_the_same_for_one_and_two_threads():
    x, upstream = torch.rand(5000, 3) * 2 - 1, torch.randn(5000, 5)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        grid = torch.zeros(21, 20, 19, 5).requires_grad_()
        kernels.trilinear(x, grid).backward(upstream)
        results.append(grid.grad)
    torch.set_num_threads(1)
    assert torch.equal(*results)


@pytest.mark.parametrize(("sizes", "channels"), [((8, 4), 5), ((64, 32, 16), 32), ((3,), 1)])
def test_triplane(sizes, channels):
    torch.manual_seed(2)
    axes = ((0, 1), (0, 2), (1, 2))
    x, upstream = torch.rand(2, 3000, 3) * 2.6 - 1.3, torch.randn(2, 3000, channels)
    levels = [torch.randn(2, 3, size, size, channels) for size in sizes]
    mine, theirs = (
        [v.clone().requires_grad_() for v in levels],
        [v.double().requires_grad_() for v in levels],
    )
    one, two = kernels.triplane(x, mine, axes), grids.triplane(x.double(), theirs, axes)
    one.backward(upstream)
    two.backward(upstream.double())
    assert relative(one, two) < 1e-5
    assert all(relative(a.grad, b.grad) < 1e-5 for a, b in zip(mine, theirs))


def test_triplane_gradient_is_the_same_for_one_and_two_threads():
    x, upstream = torch.rand(2, 5000, 3) * 2 - 1, torch.randn(2, 5000, 4)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        level = torch.zeros(2, 3, 16, 16, 4).requires_grad_()
        kernels.triplane(x, [level], ((0, 1), (0, 2), (1, 2))).backward(upstream)
        results.append(level.grad)
    torch.set_num_threads(1)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("size", "share", "step"),
    [(128, 0.01, 0.004), (32, 0.3, 0.02), (10, 0.5, 0.05), (16, 0.0, 0.05)],
)
def test_march_finds_the_reference_samples(size, share, step):
    origins, directions, jitter = sample_rays(400)
    occupied = torch.rand(size, size, size, generator=torch.Generator().manual_seed(7)) < share
    t, ray, offsets = kernels.march(origins, directions, occupied, step, jitter)
    t2, _, _ = volume.march(origins.double(), directions.double(), occupied, step, jitter.double())
    # Rounding may put a sample on the other side of a cell's face: one in a thousand at most.
    assert abs(len(t) - len(t2)) <= max(2, 2e-3 * len(t2))
    assert int(offsets[-1]) == len(t) == len(ray)
    assert bool((ray.diff() >= 0).all())
    cell = (
        ((origins[ray] + t[:, None] * directions[ray] + 1) * size / 2)
        .floor()
        .long()
        .clamp(0, size - 1)
    )
    assert bool(occupied[cell[:, 2], cell[:, 1], cell[:, 0]].all())


def test_march_rays_that_miss_and_rays_along_axes():
    origins = torch.tensor([[0.0, 0.0, 3.0], [5.0, 5.0, 3.0], [0.1, 0.1, 0.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    t, _, offsets = kernels.march(
        origins, directions, torch.ones(8, 8, 8, dtype=torch.bool), 0.1, torch.full((3,), 0.5)
    )
    assert offsets.diff().tolist() == [20, 0, 9]
    torch.testing.assert_close(t[:2], torch.tensor([2.05, 2.15]))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_composite_values_and_gradients(channels):
    torch.manual_seed(3)
    lengths = torch.tensor([0, 5, 60, 1, 0, 300])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    n = int(offsets[-1])
    sigma, features, t = torch.rand(n) * 20, torch.randn(n, channels), torch.rand(n) * 3
    upstream, on_weights = torch.randn(6, channels + 2), torch.randn(n)
    results = []
    for kind, f in ((torch.float32, kernels.composite), (torch.float64, volume.composite)):
        s, c = sigma.clone().to(kind).requires_grad_(), features.clone().to(kind).requires_grad_()
        out, w = f(s, c, t.to(kind), offsets, 0.02)
        ((out * upstream.to(kind)).sum() + (w * on_weights.to(kind)).sum()).backward()
        results.append((out, w, s.grad, c.grad))
    assert max(relative(a.detach(), b.detach()) for a, b in zip(*results)) < 1e-4


def test_composite_of_constant_density_and_sum_of_weights():
    """METHODS 5.4: opacity 1 - exp(-s l); weights sum to at most 1; the background gets the
    rest."""
    n, step, sigma = 400, 0.0025, 1.7
    offsets = torch.tensor([0, n])
    t = (torch.arange(n) + 0.5) * step
    out, w = kernels.composite(torch.full((n,), sigma), torch.ones(n, 1), t, offsets, step)
    expected = 1 - torch.exp(torch.tensor(-sigma * n * step))
    torch.testing.assert_close(out[0, 1], expected, atol=1e-5, rtol=0)
    assert float(w.sum()) <= 1 + 1e-6
    torch.testing.assert_close(out[0, 0], out[0, 1])


def test_composite_stops_early():
    out, w = kernels.composite(
        torch.full((100,), 50.0),
        torch.ones(100, 1),
        torch.arange(100.0),
        torch.tensor([0, 100]),
        0.1,
    )
    assert float(w[3:].abs().max()) == 0
    assert float(out[0, 1]) > 0.9999


def test_rasterize_and_interpolate_against_the_reference():
    clip, tri = sample_triangles()
    one, two = kernels.rasterize(clip, tri, 37, 53), raster.rasterize(clip.double(), tri, 37, 53)
    assert float((one[..., 3] != two[..., 3]).float().mean()) < 1e-3
    values = torch.randn(60, 4)
    a, b = values.clone().requires_grad_(), values.double().requires_grad_()
    x, y = kernels.interpolate(a, tri, one), raster.interpolate(b, tri, one.double())
    upstream = torch.randn_like(x)
    x.backward(upstream)
    y.backward(upstream.double())
    assert relative(x.detach(), y.detach()) < 1e-5
    assert relative(a.grad, b.grad) < 1e-5


def test_rasterize_a_triangle_that_crosses_the_camera_plane():
    clip = torch.tensor([[-1.0, -1.0, 0.0, 1.0], [1.0, -1.0, 0.0, 1.0], [0.0, 3.0, -0.9, -0.9]])
    one = kernels.rasterize(clip, torch.tensor([[0, 1, 2]], dtype=torch.int32), 32, 32)
    two = raster.rasterize(clip.double(), torch.tensor([[0, 1, 2]]), 32, 32)
    assert bool((one[..., 3] == two[..., 3]).all())
    assert 0 < float((one[..., 3] > 0).float().mean()) <= 1


def test_a_first_use_without_gradients_passes_the_check(monkeypatch):
    monkeypatch.setattr(dispatch, "_status", {})
    with torch.no_grad():
        assert kernels.check("trilinear").selected == "cpu"


def test_a_backend_that_is_wrong_is_not_used(monkeypatch):
    monkeypatch.setattr(dispatch, "_status", {})
    wrong = dispatch.Check(lambda function, device: 1.0, 1e-3, lambda function, device: (0.0, 0.0))
    monkeypatch.setitem(dispatch._checks, "trilinear", wrong)
    status = kernels.check("trilinear", device=HERE)
    assert status.selected == "reference"
    assert "failed" in status.why
    assert dispatch.select("trilinear", torch.zeros(1, 3)) is None


def test_a_backend_that_cannot_run_is_not_used(monkeypatch):
    monkeypatch.setattr(dispatch, "_status", {})

    def broken(function, device):
        raise RuntimeError("no such instruction")

    monkeypatch.setitem(
        dispatch._checks, "march", dispatch.Check(broken, 1.0, lambda function, device: (0.0, 0.0))
    )
    assert "no such instruction" in kernels.check("march", device=HERE).why
    assert kernels.march(
        torch.zeros(0, 3), torch.zeros(0, 3), torch.ones(2, 2, 2).bool(), 0.1, torch.zeros(0)
    )[2].tolist() == [0]


def test_the_environment_forces_the_reference(monkeypatch):
    monkeypatch.setenv("THREESTUDIO_LIKE_KERNELS", "reference")
    assert dispatch.select("trilinear", torch.zeros(1, 3)) is None


def test_kernels_are_chosen_by_name(monkeypatch):
    monkeypatch.setattr(dispatch, "_choice", None)
    kernels.choose("reference")
    assert dispatch.select("trilinear", torch.zeros(1, 3)) is None
    kernels.choose("auto")
    found = dispatch.select("trilinear", torch.zeros(1, 3))
    assert found is not None
    assert found.name == "cpu"
    with pytest.raises(ValueError, match="known: auto, triton, vendor, reference"):
        kernels.choose("fast")


def test_a_gpu_prefers_triton_and_vendors_when_asked(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(dispatch, "_choice", None)

    def names(operation):
        return [backend.name for backend in dispatch.candidates(operation, gpu)]

    assert names("hashgrid") == ["triton"]
    kernels.choose("vendor")
    assert names("hashgrid") == ["tiny-cuda-nn", "triton"]
    assert names("antialias") == ["nvdiffrast"]
    kernels.choose("reference")
    assert names("hashgrid") == []


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="hashgrid needs"):
        kernels.hashgrid(torch.rand(3, 2), torch.zeros(4, 2), HashGridSpec(1, 8, 4, 4))
    with pytest.raises(ValueError, match="triplane needs"):
        kernels.triplane(torch.rand(1, 3, 3), [torch.zeros(1, 2, 4, 4, 1)], ((0, 1),))
    with pytest.raises(ValueError, match="trilinear needs"):
        kernels.trilinear(torch.rand(3, 3), torch.zeros(4, 4))


@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (6, 5, 4, 5), (20, 20, 20, 4)])
def test_grid_variation(shape):
    grid = torch.randn(shape)
    a, b = grid.clone().requires_grad_(), grid.double().requires_grad_()
    one, two = kernels.grid_variation(a, 0.7, 1.3), grids.grid_variation(b, 0.7, 1.3)
    (one * 3).backward()
    (two * 3).backward()
    assert relative(one.detach(), two.detach()) < 1e-5
    assert relative(a.grad, b.grad) < 1e-5


def test_hash_grid_adds_to_a_kept_gradient():
    spec = HashGridSpec(4, 10, 4, 64)
    x, table, upstream = (
        torch.rand(300, 3),
        torch.randn(spec.entries, 2, requires_grad=True),
        torch.randn(8, 300),
    )
    kernels.hashgrid(x, table, spec).backward(upstream)
    once, place = table.grad.clone(), table.grad.data_ptr()
    kernels.hashgrid(x, table, spec).backward(upstream)
    torch.testing.assert_close(table.grad, 2 * once)
    assert table.grad.data_ptr() == place


def test_march_sees_a_grid_that_was_changed_in_place():
    occupied = torch.ones(16, 16, 16, dtype=torch.bool)
    o, d, j = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -1.0]]), torch.zeros(1)
    before = len(kernels.march(o, d, occupied, 0.1, j)[0])
    occupied[8:] = False
    after = len(kernels.march(o, d, occupied, 0.1, j)[0])
    assert abs(after - before / 2) <= 1


def test_a_launcher_is_built_without_a_compiler_of_the_system(tmp_path, monkeypatch):
    """The hook that Triton builds with: a module of C, linked with a library given by its name in a
    folder."""
    import ctypes
    import subprocess

    from threestudio_like.kernels.cuda import toolchain

    if not toolchain.compiler() or toolchain.missing():
        pytest.skip("no C compiler or no Python headers here")
    library = tmp_path / "lib" / "libthere.so.1"
    library.parent.mkdir()
    (tmp_path / "there.c").write_text("int there(void) { return 41; }")
    (tmp_path / "launcher.c").write_text(
        "#include <Python.h>\nint there(void);\nint launch(void) { return there() + 1; }"
    )
    subprocess.run(
        [*toolchain.compiler(), str(tmp_path / "there.c"), "-shared", "-fPIC", "-o", str(library)],
        check=True,
    )
    made = toolchain.build(
        "launcher",
        str(tmp_path / "launcher.c"),
        str(tmp_path),
        [str(library.parent)],
        [],
        ["libthere.so.1"],
    )
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    assert ctypes.CDLL(made).launch() == 42
    (tmp_path / "bad.c").write_text("#error no")
    with pytest.raises(RuntimeError, match="error"):
        toolchain.build("bad", str(tmp_path / "bad.c"), str(tmp_path), [], [], [])


def test_what_triton_lacks_is_said_with_its_remedy(monkeypatch):
    from types import SimpleNamespace

    from threestudio_like.kernels.cuda import toolchain

    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    assert "ziglang" in toolchain.missing()
    monkeypatch.setattr(
        toolchain.importlib.util,
        "find_spec",
        lambda name: SimpleNamespace(origin="/there/ziglang/__init__.py"),
    )
    assert toolchain.compiler() == ["/there/ziglang/zig", "cc"]
    monkeypatch.setattr(toolchain, "headers", lambda: __import__("pathlib").Path("/nowhere"))
    assert "python3-dev" in toolchain.missing()


def test_every_operation_has_a_case_that_checks_it():
    from threestudio_like.kernels.cases import CASES

    assert set(CASES) == set(dispatch.BACKENDS)
