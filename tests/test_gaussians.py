"""3D Gaussians: the definition against a formula of its own, the CPU backend against it, the rules,
and what a representation owes: oracle, resume, parts, forecasts."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch

from threestudio_like import kernels
from threestudio_like.engine.checkpoint import load_checkpoint
from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import (
    CHECKPOINT,
    Interrupted,
    Loop,
    LoopSettings,
    ParameterGroup,
    Stage,
    StagePlan,
    Step,
)
from threestudio_like.engine.memory import MemoryWatch
from threestudio_like.engine.progress import Progress, optimiser_of
from threestudio_like.engine.random import RandomStream
from threestudio_like.kernels import interpolate, rasterize
from threestudio_like.kernels.cases import CASES
from threestudio_like.kernels.cases.case import cast
from threestudio_like.kernels.reference import gaussians as reference
from threestudio_like.kernels.samples import sample_gaussians, sample_views
from threestudio_like.renderers import (
    BackgroundSample,
    Cameras,
    DepthScaling,
    SplatConfig,
    SplatRenderer,
)
from threestudio_like.renderers.shading import PointLight
from threestudio_like.representations import GaussianCloud, GaussianConfig
from threestudio_like.representations.field import Field
from threestudio_like.representations.gaussian_rules import SHRINK, DensifyConfig, densify
from threestudio_like.representations.gaussian_start import spread
from threestudio_like.representations.harmonics import harmonics
from threestudio_like.stages.splat_demand import per_gaussian, rehearsed
from threestudio_like.stages.splat_fit import KnownViews, SplatFitConfig, splat_fit_stage

CPU = torch.device("cpu")


def matrix_of(quaternion):
    """A rotation by Rodrigues' formula, independent of the one that is tested."""
    w, *v = (np.asarray(quaternion, float) / np.linalg.norm(quaternion)).tolist()
    v, length = np.array(v), float(np.linalg.norm(v))
    angle = 2 * math.atan2(length, w)
    axis = v / max(length, 1e-15)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def brute_force(means, scales, rotations, opacities, values, view, focal, height, width):
    """A picture (H, W, D + 1) pixel by pixel in float64; the derivative of the perspective by
    differences."""

    def seen(point):
        x, y, z = view[:3, :3] @ point + view[:3, 3]
        return np.array([width / 2 - focal * x / z, height / 2 + focal * y / z])

    found = []
    for n in range(len(means)):
        depth = -(view[:3, :3] @ means[n] + view[:3, 3])[2]
        if depth <= 0.1:
            continue
        step = 1e-5
        slope = np.stack(
            [
                (seen(means[n] + step * e) - seen(means[n] - step * e)) / (2 * step)
                for e in np.eye(3)
            ],
            1,
        )
        axes = matrix_of(rotations[n]) * scales[n]
        covariance = slope @ axes @ axes.T @ slope.T + 0.3 * np.eye(2)
        found.append((depth, n, seen(means[n]), np.linalg.inv(covariance)))
    found.sort(key=lambda each: each[:2])
    picture = np.zeros((height, width, values.shape[1] + 1))
    for row in range(height):
        for column in range(width):
            clear = 1.0
            for _, n, centre, conic in found:
                off = np.array([column + 0.5, row + 0.5]) - centre
                alpha = min(0.99, opacities[n] * math.exp(-0.5 * off @ conic @ off))
                if alpha < 1 / 255:
                    continue
                if clear * (1 - alpha) < 1e-4:
                    break
                picture[row, column] += clear * alpha * np.append(values[n], 1.0)
                clear *= 1 - alpha
    return picture


def scene(count, size=0.12, seed=5):
    return [t.double() for t in sample_gaussians(count, size, seed)]


def drawn(function, means, scales, rotations, opacities, values, views, focal, height, width):
    project, splat = function
    centres, conics, depths = project(means, scales, rotations, views, focal, height, width)
    many = values[None].expand(len(views), -1, -1)
    return splat(centres, conics, opacities, depths, many, height, width)


@pytest.mark.parametrize(("height", "width"), [(20, 24), (17, 33)])
def test_the_definition_is_the_formula_pixel_by_pixel(height, width):
    means, scales, rotations, opacities = scene(25)
    # One nearly opaque, one behind the camera, one too faint to be seen.
    opacities[:3] = torch.tensor([0.999, 0.5, 0.003], dtype=torch.float64)
    means[1] = torch.tensor([0.0, 0.0, 50.0])
    views, focal = (t.double() for t in sample_views(2, height))
    values = torch.randn(25, 3, generator=torch.Generator().manual_seed(1)).double()
    given = (means, scales, rotations, opacities, values)
    mine = drawn(
        (reference.project_gaussians, reference.splat), *given, views, focal, height, width
    )
    for number in range(2):
        theirs = brute_force(
            *(t.numpy() for t in given), views[number].numpy(), float(focal[number]), height, width
        )
        assert np.abs(mine[number].numpy() - theirs).max() < 1e-6


def test_far_beside_the_picture_the_projection_is_taken_at_its_edge():
    """A ball at five times the picture's half width: its spread is that at 1.3 times."""
    view = torch.eye(4, dtype=torch.float64)[None]
    focal, size = torch.tensor([20.0], dtype=torch.float64), 16
    far = torch.tensor([[2.0 * 5 * 0.4, 0.1, -2.0]], dtype=torch.float64)
    ball = torch.full((1, 3), 0.1, dtype=torch.float64)
    turn = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)
    _, conics, _ = reference.project_gaussians(far, ball, turn, view, focal, size, size)
    edge = np.array([1.3 * 0.5 * size / 20, 0.05])
    slope = 20 / 2 * np.array([[1, 0, edge[0]], [0, -1, -edge[1]]])
    wanted = np.linalg.inv(0.01 * slope @ slope.T + 0.3 * np.eye(2))
    found = conics[0, 0].numpy()
    assert found == pytest.approx([wanted[0, 0], wanted[0, 1], wanted[1, 1]], rel=1e-9)


def test_the_definitions_gradients_are_those_of_differences():
    means, scales, rotations, opacities = scene(6, 0.3)
    views, focal = (t.double() for t in sample_views(1, 12))
    values = torch.rand(6, 2, dtype=torch.float64)
    function = (reference.project_gaussians, reference.splat)
    # Where nothing is left out and nothing ends, the picture is smooth.
    opacities = 0.3 * opacities + 0.2

    def picture(*given):
        out = drawn(function, *given, views, focal, 12, 12)
        return out[..., :1].sum((1, 2))

    free = [t.clone().requires_grad_() for t in (means, scales, rotations, opacities, values)]
    found = torch.autograd.grad(picture(*free)[0, 0], free)
    generator = torch.Generator().manual_seed(0)
    for number, tensor in enumerate(free):
        along = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            moved = [t.detach().clone() for t in free]
            moved[number] += sign * 1e-6 * along
            ends.append(float(picture(*moved)[0, 0]))
        slope = (ends[0] - ends[1]) / 2e-6
        # A pixel at the edge of 1/255 may come or go: it weighs a hundredth.
        assert float((found[number] * along).sum()) == pytest.approx(slope, rel=0.05, abs=0.02)


@pytest.mark.parametrize("operation", ["project_gaussians", "splat"])
def test_the_inputs_of_the_self_check_are_off_every_threshold(operation):
    """What lies on a threshold may fall on either side in float32; then no tolerance would do."""
    given = cast(CASES["splat"].make(False), CPU, torch.float64)
    exact, single = (
        reference.splat(
            *(
                t.to(kind)
                for t in (given[n] for n in ("centres", "conics", "opacities", "depths", "values"))
            ),
            *given["size"],
        )
        for kind in (torch.float64, torch.float32)
    )
    assert float((exact - single).abs().max()) < 1e-5
    assert kernels.check(operation).selected in ("cpu", "triton")


@pytest.mark.parametrize(
    ("count", "height", "width", "channels"),
    [(0, 16, 16, 3), (1, 1, 1, 1), (40, 15, 33, 4), (300, 48, 40, 8)],
)
def test_the_cpu_backend_has_the_definitions_values_and_gradients(count, height, width, channels):
    means, scales, rotations, opacities = sample_gaussians(count, 0.1, seed=count)
    views, focal = sample_views(2, height)
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(count, channels, generator=generator)
    upstream = torch.randn(2, height, width, channels + 1, generator=generator)
    results = []
    for kind, function in (
        (torch.float32, (kernels.project_gaussians, kernels.splat)),
        (torch.float64, (reference.project_gaussians, reference.splat)),
    ):
        free = [
            t.to(kind).clone().requires_grad_()
            for t in (means, scales, rotations, opacities, values)
        ]
        out = drawn(function, *free, views.to(kind), focal.to(kind), height, width)
        if out.requires_grad:
            (out * upstream.to(kind)).sum().backward()
        results.append([out, *(t.grad if t.grad is not None else t * 0 for t in free)])
    for mine, theirs in zip(*results):
        scale = max(1.0, float(theirs.detach().abs().max())) if theirs.numel() else 1.0
        torch.testing.assert_close(mine.double(), theirs, atol=2e-5 * scale, rtol=1e-4)


def test_pictures_and_gradients_are_the_same_for_one_and_two_threads():
    given = cast(CASES["splat"].make(True), CPU, torch.float32)
    own = [t.clone() for t in (given["centres"], given["conics"], given["opacities"])]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        free = [t.clone().requires_grad_() for t in own]
        out = kernels.splat(*free, given["depths"], given["values"], *given["size"])
        (out * given["upstream"]).sum().backward()
        found.append([out.detach(), *(t.grad for t in free)])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="rotations"):
        kernels.project_gaussians(
            *(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)),
            *(torch.eye(4)[None], torch.ones(1)),
            height=4,
            width=4,
        )
    with pytest.raises(ValueError, match="values"):
        kernels.splat(
            *(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), torch.zeros(3), torch.zeros(1, 2)),
            torch.zeros(1, 2, 3),
            height=4,
            width=4,
        )


def test_harmonics_are_orthonormal():
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(200000, 3, generator=generator, dtype=torch.float64)
    basis = harmonics(torch.nn.functional.normalize(directions, dim=-1), 3)
    gram = 4 * math.pi * basis.t() @ basis / len(basis)
    assert float((gram - torch.eye(16)).abs().max()) < 0.03


def body(size=48, count=24):
    """Views of a coloured wavy ball, and its vertices and faces."""
    polar = torch.linspace(0, math.pi, 25)[:, None]
    turn = torch.arange(36) * (2 * math.pi / 36)
    radius = 0.7 + 0.1 * torch.sin(3 * polar) * torch.cos(2 * turn)
    points = radius[..., None] * torch.stack(
        [polar.sin() * turn.cos(), polar.cos().expand(25, 36), polar.sin() * turn.sin()], -1
    )
    points = points.reshape(-1, 3)
    index = torch.arange(25 * 36).view(25, 36)
    a, b = index[:-1], index[1:]
    c, d = a.roll(-1, 1), b.roll(-1, 1)
    faces = torch.stack([torch.stack([a, c, b], -1), torch.stack([c, d, b], -1)], 2).view(-1, 3)
    colours = 0.5 + 0.35 * torch.sin(5 * points)
    corners = points[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(points)
    for corner in range(3):
        normals = normals.index_add(0, faces[:, corner], cross)
    normals = torch.nn.functional.normalize(normals, dim=-1)
    if float((normals * points).sum()) < 0:
        faces, normals = faces.flip(1), -normals
    views = views_of(points, faces, colours, normals, orbit(count, size))
    return points, faces.int(), colours, normals, views


def orbit(count, size, shift=0.0):
    turn = torch.arange(count) * 2.399963 + shift
    rise = torch.asin(torch.linspace(-0.6, 0.8, count))
    return Cameras.orbit(turn, rise, 3.0, math.radians(40), size, size)


def views_of(points, faces, colours, normals, cameras, many=3):
    large = cameras.resized(cameras.height * many, cameras.width * many)
    clip = torch.cat([points, torch.ones(len(points), 1)], 1) @ large.view_projection().transpose(
        1, 2
    )
    what = torch.cat([colours, normals, torch.ones(len(points), 1)], 1)
    faces = faces.int()
    drawn = torch.stack(
        [interpolate(what, faces, rasterize(c, faces, large.height, large.width)) for c in clip]
    )
    small = torch.nn.functional.avg_pool2d(drawn.permute(0, 3, 1, 2), many).permute(0, 2, 3, 1)
    return KnownViews(cameras, small[..., :3], small[..., 6:], small[..., 3:6])


def rendered(cloud, cameras, grey=0.0):
    shape = (len(cameras), cameras.height, cameras.width, cloud.channels)
    with torch.no_grad():
        return SplatRenderer().render(cloud, cameras, BackgroundSample(torch.full(shape, grey)))


def psnr(a, b):
    return -10 * math.log10(float((a - b).square().mean()))


def test_gaussians_fitted_to_views_of_a_mesh_show_it_from_other_sides():
    """The oracle: from a ball of grey to PSNR > 30 dB, normals and surface of the mesh."""
    points, faces, colours, normals, views = body()
    rules = DensifyConfig(every=40, gradient=2e-4)
    cloud = GaussianCloud(GaussianConfig(capacity=2500, start=1500, densify=rules))
    before = psnr(rendered(cloud, views.cameras).features, views.pictures)
    stage = splat_fit_stage("fit", cloud, views, SplatFitConfig(steps=260))
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("fit", lambda done: stage)]
    )
    test = views_of(points, faces, colours, normals, orbit(6, 48, shift=1.0))
    seen = rendered(cloud, test.cameras)
    assert before < 20
    assert psnr(seen.features, test.pictures) > 30
    solid = test.opacity[..., 0] > 0.99
    cosine = torch.nn.functional.cosine_similarity(seen.normals, test.normals, dim=-1)[solid]
    assert float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).median()) < 10
    # The depth is that of the surface: distances from the centre of what is seen.
    origins, directions = test.cameras.rays()
    depth = seen.depth / seen.opacity.clamp_min(1e-6)
    places = (origins + depth * directions)[solid]
    surface = spread(points, faces, 6000, RandomStream(0, "test", 0)).points
    assert float(torch.cdist(places, surface).amin(1).mean()) < 0.05


def test_a_cloud_on_a_mesh_is_the_mesh_without_a_step():
    points, faces, colours, _, views = body()
    cloud = GaussianCloud(GaussianConfig(capacity=4000, start=4000))
    cloud.load_mesh(points, faces, colours)
    seen = rendered(cloud, views.cameras)
    inside = views.opacity[..., 0] > 0.99
    assert psnr(seen.features[inside], views.pictures[inside]) > 22
    assert float(seen.opacity[inside].mean()) > 0.98
    assert float(seen.opacity[views.opacity == 0].mean()) < 0.1
    axes = cloud.gaussians().normals()
    outward = torch.nn.functional.normalize(cloud.gaussians().means, dim=-1)
    assert float((axes * outward).sum(-1).abs().mean()) > 0.9


def test_normals_face_the_camera_and_light_falls_on_them():
    points, faces, colours, _, views = body(size=32)
    cloud = GaussianCloud(GaussianConfig(capacity=3000, start=3000))
    cloud.load_mesh(points, faces, colours)
    seen = rendered(cloud, views.cameras)
    _, directions = views.cameras.rays()
    inside = seen.opacity[..., 0] > 0.9
    assert bool(((seen.normals * directions).sum(-1) < 0)[inside].all())
    black = PointLight(
        views.cameras.camera_to_world[:, :3, 3], ambient=torch.zeros(3), diffuse=torch.zeros(3)
    )
    behind = BackgroundSample(torch.zeros(len(views.cameras), 32, 32, 3))
    with torch.no_grad():
        dark = SplatRenderer().render(cloud, views.cameras, behind, light=black)
    assert float(dark.features.abs().max()) == 0
    assert torch.equal(dark.opacity, seen.opacity)


def small(capacity=40, start=10, **rules):
    config = GaussianConfig(
        capacity=capacity, start=start, degree=1, densify=DensifyConfig(**rules)
    )
    return GaussianCloud(config, seed=1)


def test_densification_clones_small_ones_and_splits_large_ones():
    cloud = small(gradient=0.5, small=0.1, least_opacity=0.05)
    with torch.no_grad():
        cloud.log_scales[:10] = math.log(0.05)
        cloud.log_scales[3] = math.log(0.2)
        cloud.logits[:10] = 0.0
        cloud.logits[5] = -6.0
        cloud.pulls[[2, 3, 5]] = 4.0
        cloud.sights[:10] = 4
        cloud.sights[7], cloud.pulls[7] = 0, 0
    before = {k: v.detach().clone() for k, v in cloud.rows().items()}
    moved = densify(cloud, cloud.config.densify, RandomStream(0, "s", 3))
    rows = moved[cloud.positions]
    # Ten, less the faint one and the split one, and one clone and two halves.
    assert len(cloud) == 11
    assert rows[:8].tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
    assert bool((rows[8:] == -1).all())
    for name, parameter in cloud.rows().items():
        assert torch.equal(parameter[:8], before[name][rows[:8]]), name
        assert torch.equal(parameter[8], before[name][2]), name
    halves = cloud.log_scales[9:11].detach()
    assert torch.allclose(halves, before["log_scales"][[3, 3]] - math.log(SHRINK), atol=1e-6)
    away = (cloud.positions[9:11] - before["positions"][3]).norm(dim=-1)
    assert bool((away > 0).all())
    assert bool((away < 1.0).all())
    assert float(cloud.pulls.abs().sum()) == 0


def test_there_are_never_more_than_the_capacity_and_the_strongest_come_first():
    cloud = small(capacity=12, start=10, gradient=0.1, small=1.0)
    with torch.no_grad():
        cloud.log_scales[:10] = math.log(0.05)
        cloud.pulls[:10] = torch.arange(10.0) + 1
        cloud.sights[:10] = 1
    before = cloud.positions.detach().clone()
    densify(cloud, cloud.config.densify, RandomStream(0, "s", 0))
    assert len(cloud) == 12
    assert torch.equal(cloud.positions[10:12], before[[8, 9]])


def test_something_is_left_where_all_are_faint():
    cloud = small(least_opacity=0.9)
    densify(cloud, cloud.config.densify, RandomStream(0, "s", 0))
    assert len(cloud) == 1


def test_opacities_are_reset_and_their_moments_begin_anew():
    cloud = small(every=0, reset_every=5, reset_to=0.05)
    with torch.no_grad():
        cloud.logits[:10] = 2.0
    moved = cloud.before_step(Step("s", 5, 100, 0.05, 0))
    assert list(moved) == [cloud.logits]
    assert float(torch.sigmoid(cloud.logits).max()) == pytest.approx(0.05, abs=1e-6)
    assert cloud.before_step(Step("s", 6, 100, 0.06, 0)) == {}


def fit(tmp_path, name, views, steps, resume=False, accumulate=1):
    rules = DensifyConfig(every=3, since=0.0, until=1.0, gradient=1e-5, reset_every=7)
    cloud = GaussianCloud(GaussianConfig(capacity=90, start=40, degree=1, densify=rules))
    stage = splat_fit_stage("fit", cloud, views, SplatFitConfig(steps=steps, batch=4))
    stage.steps = 12
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    settings = LoopSettings(
        seed=0, checkpoint_steps=1, resume=resume, one_asset=True, accumulate=accumulate
    )
    loop = Loop(folder, Events(None, "quiet"), settings)
    if steps < 12:
        own = stage.after_step

        def stop(step):
            own(step)
            if step.index == steps - 1:
                loop._stop = True

        stage.after_step = stop
        with pytest.raises(Interrupted):
            loop.run([StagePlan("fit", lambda done: stage)])
    else:
        loop.run([StagePlan("fit", lambda done: stage)])
    tensors, facts = load_checkpoint(folder / CHECKPOINT)
    return cloud, tensors, facts


def test_a_resumed_fit_ends_in_the_same_bytes(tmp_path):
    """Stopped at every step about a densification and a reset: numbers, moments and notes."""
    views = body(size=24, count=8)[-1]
    _, whole, _ = fit(tmp_path, "whole", views, 12)
    assert int(whole["fit/module/field/count"]) > 40
    for stop in (3, 4, 7):
        _, _, facts = fit(tmp_path, f"part{stop}", views, stop)
        assert facts["step"] == stop
        _, again, _ = fit(tmp_path, f"part{stop}", views, 12, resume=True)
        assert set(again) == set(whole)
        assert all(torch.equal(again[k], whole[k]) for k in whole), stop


def test_views_in_two_parts_densify_alike(tmp_path):
    """What the rules look at does not depend on how a step's views are divided."""
    views = body(size=24, count=8)[-1]
    _, one, _ = fit(tmp_path, "one", views, 2)
    _, two, _ = fit(tmp_path, "two", views, 2, accumulate=2)
    # Two parts count half of the views each, and gradients are means: what is divided is the same.
    pulls, sights = (
        [notes[f"fit/module/field/{name}"] for notes in (one, two)] for name in ("pulls", "sights")
    )
    assert float(sights[0].sum()) > 0
    ratios = [p / s.clamp_min(1e-6) for p, s in zip(pulls, sights)]
    torch.testing.assert_close(*ratios, rtol=2e-2, atol=1e-6)
    whole = [fit(tmp_path, name, views, 12, accumulate=n)[0] for name, n in (("a", 1), ("b", 2))]
    assert len(whole[0]) == len(whole[1]) > 40


def test_what_the_rules_note_is_the_length_of_each_views_gradient():
    cloud = small()
    cameras = orbit(2, 16)
    behind = BackgroundSample(torch.zeros(2, 16, 16, 3))
    rendering = SplatRenderer().render(cloud, cameras, behind)
    rendering.features.square().mean().backward()
    noted = cloud.screen.grad
    assert bool((noted[:10, 1] == 2).all())
    assert float(noted[10:].abs().sum()) == 0
    total = torch.zeros(10)
    for view in range(2):
        alone = small()
        alone.load_state_dict(cloud.state_dict())
        one = SplatRenderer().render(
            alone, cameras[view : view + 1], BackgroundSample(torch.zeros(1, 16, 16, 3))
        )
        one.features.square().mean().backward()
        total += alone.screen.grad[:10, 0]
    torch.testing.assert_close(noted[:10, 0], total, atol=1e-7, rtol=1e-4)


def test_views_one_by_one_have_the_same_gradient():
    cloud, cameras = small(capacity=30, start=30), orbit(3, 16)
    behind = BackgroundSample(torch.zeros(3, 16, 16, 3))
    found = []
    for chunk in (0, 30):
        cloud.zero_grad()
        rendering = SplatRenderer(SplatConfig(), chunk).render(cloud, cameras, behind)
        (rendering.features.square().mean() + rendering.depth.mean()).backward()
        found.append([p.grad.clone() for p in cloud.parameters()])
    for one, two in zip(*found):
        torch.testing.assert_close(one, two, atol=1e-8, rtol=1e-4)


def test_adams_moments_follow_their_rows():
    weight = torch.nn.Parameter(torch.zeros(4, 2))
    module = torch.nn.Module()
    module.weight = weight
    rows = torch.tensor([2, 0, -1, 3])

    def before(step):
        return {weight: rows} if step.index == 1 else {}

    def loss(step):
        return {"all": (weight * torch.arange(1.0, 5)[:, None]).sum() * (step.index == 0)}

    stage = Stage(
        "move",
        2,
        {"module": module},
        groups=[ParameterGroup("w", [weight], "1e-2")],
        loss=loss,
        before_step=before,
    )
    optimiser = optimiser_of(stage)
    progress = Progress(0, 1, stage, optimiser=optimiser)
    step = Step("move", 0, 2, 0.0, 0)
    progress.before(step)
    loss(step)["all"].backward()
    optimiser.step()
    seen = optimiser.state[weight]["exp_avg"].clone()
    progress.before(Step("move", 1, 2, 0.5, 0))
    wanted = seen[rows.clamp_min(0)]
    wanted[2] = 0
    assert torch.equal(optimiser.state[weight]["exp_avg"], wanted)


def test_gaussians_begin_from_a_field_and_become_one():
    """A ball of density becomes points in it; the points' density is about the ball again."""

    class Ball(Field):
        channels = 3

        def forward(self, points):
            inside = (points.norm(dim=-1) < 0.6).float()
            return 60 * inside, 0.5 + 0.4 * torch.sign(points)

    cloud = GaussianCloud(GaussianConfig(capacity=3000, start=3000))
    cloud.load_resampled(Ball())
    means = cloud.gaussians().means.detach()
    assert float(means.norm(dim=-1).max()) < 0.66
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4000, 3, generator=generator) * 2 - 1
    density, features = cloud(points)
    inside = points.norm(dim=-1) < 0.5
    assert float((density[inside] > 10).float().mean()) > 0.95
    assert float(density[points.norm(dim=-1) > 0.9].max()) < 1.0
    clear = inside & (points.abs().amin(1) > 0.15)
    assert float((features - (0.5 + 0.4 * torch.sign(points)))[clear].abs().mean()) < 0.08


def test_the_density_query_is_the_sum_over_all():
    cloud = small(capacity=60, start=60)
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    density, _ = cloud(points)
    own = cloud.gaussians()
    turned = reference.rotation_matrices(own.rotations)
    total = torch.zeros(300)
    for n in range(60):
        local = (points - own.means[n]) @ turned[n] / own.scales[n]
        square = local.square().sum(-1)
        total += torch.where(square < 9, own.opacities[n] * torch.exp(-0.5 * square), 0.0)
    torch.testing.assert_close(density, 40 * total, atol=1e-4, rtol=1e-4)


def test_gradient_scaling_along_rays_is_refused():
    behind = BackgroundSample(torch.zeros(1, 8, 8, 3))
    with pytest.raises(ConfigError, match="Gaussians have none"):
        SplatRenderer().render(
            small(), orbit(1, 8), behind, known=(torch.zeros(64), DepthScaling())
        )


def test_a_forecast_of_a_full_cloud_holds_for_what_it_becomes():
    cloud, cameras = small(capacity=400, start=100), orbit(2, 24)
    kept, most = per_gaussian(rehearsed(cloud), cameras[:1])
    assert 0 < kept <= most
    full = rehearsed(cloud)
    for parameter in full.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with MemoryWatch() as watch:
        rendering = SplatRenderer().render(
            full, cameras, BackgroundSample(torch.zeros(2, 24, 24, 3))
        )
        (rendering.features.sum() + rendering.opacity.sum()).backward()
    assert watch.peak == pytest.approx(most * 800, rel=0.15)


@pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="no gsplat")
def test_gsplats_own_torch_code_projects_and_colours_alike():
    """Its projection and its harmonics in torch run without a GPU; its blending does not."""
    from gsplat.cuda._torch_impl import (
        _fully_fused_projection,
        _quat_scale_to_covar_preci,
        _spherical_harmonics,
    )

    means, scales, rotations, _ = scene(40)
    views, focal = (t.double() for t in sample_views(2, 32))
    mine = reference.project_gaussians(means, scales, rotations, views, focal, 32, 40)
    # Its cameras look along +Z with Y down.
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    frame = torch.zeros(2, 3, 3, dtype=torch.float64)
    frame[:, 0, 0], frame[:, 1, 1], frame[:, 2, 2] = focal, focal, 1.0
    frame[:, 0, 2], frame[:, 1, 2] = 20.0, 16.0
    spread, _ = _quat_scale_to_covar_preci(rotations, scales, True, False, triu=False)
    _, centres, depths, conics, _ = _fully_fused_projection(
        means, spread, flip @ views, frame, 40, 32, eps2d=0.3, near_plane=0.1
    )
    for own, theirs in zip(mine, (centres, conics, depths)):
        torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-8)
    directions = torch.nn.functional.normalize(means, dim=-1)
    bands = torch.randn(40, 16, 3, dtype=torch.float64)
    theirs = _spherical_harmonics(3, directions, bands)
    own = torch.einsum("nk,nkc->nc", harmonics(directions, 3), bands)
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-8)
