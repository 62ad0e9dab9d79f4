"""Options with published formulas, each against a second statement of its formula on the same
numbers: cameras, light, fields, regularisers, gradients, milestones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.schedule import Schedule
from threestudio_like.engine.stage import ParameterGroup
from threestudio_like.guidance import GuidanceInputs, ScoreDistillation, ScoreDistillationConfig
from threestudio_like.guidance.guidance import Guidance, GuidanceOutput
from threestudio_like.guidance.prompts import PromptConfig, before, view_direction
from threestudio_like.guidance.regularisers import (
    composited_normals,
    emptiness,
    normal_smooth,
    opaque,
    orient,
    z_variance,
)
from threestudio_like.guidance.score_distillation import weight
from threestudio_like.priors.oracle import PointMass
from threestudio_like.renderers import (
    AugmentedBackground,
    BackgroundSample,
    PointLight,
    RingCameras,
    ShadingConfig,
    SolidBackground,
    UniformCameras,
    VolumeConfig,
    VolumeRenderer,
    draw_light,
    learned_background,
)
from threestudio_like.renderers.backgrounds import spherical_harmonics
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.renderers.shading import light_positions
from threestudio_like.representations import HashGridConfig, HashGridField, LearningRates
from threestudio_like.representations.mesh_terms import (
    laplacian_smoothness,
    normal_consistency,
    smooth_normals,
)
from threestudio_like.stages.distillation import (
    DistillationConfig,
    Milestones,
    OptimiserConfig,
    StepViews,
    distillation_stage,
)
from threestudio_like.stages.model import FieldModel
from threestudio_like.stages.regularisers import Regularisation
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion

SMALL = HashGridConfig(levels=4, log2_size=10, base=4, finest=32, hidden=8)


def stream(step=0):
    return RandomStream(0, "published", step)


def linear_between(knots, at):
    """Piecewise linear through (place, value), constant outside."""
    return float(np.interp(at, [k[0] for k in knots], [k[1] for k in knots]))


@pytest.mark.parametrize("at", [0.0, 0.1, 0.2, 0.24, 0.3, 0.35, 0.4, 0.9])
def test_schedules_in_turn_are_piecewise(at):
    whole = Schedule.parse("7->5 @ 20..30%; 5->10 @ 30..40%")
    assert whole(at) == pytest.approx(linear_between([(0.2, 7), (0.3, 5), (0.4, 10)], at))
    assert whole.values() == (7.0, 5.0, 5.0, 10.0)
    warm = Schedule.parse("0.1->1 @ 0..1%; exp 1->0.1 @ 1..100%")
    wanted = 0.1 + 0.9 * at / 0.01 if at < 0.01 else 0.1 ** ((at - 0.01) / 0.99)
    assert warm(at) == pytest.approx(wanted)
    assert Schedule.parse("sqrt 0.98->0.02")(at) == pytest.approx(0.98 - 0.96 * at**0.5)


@pytest.mark.parametrize("text", ["1->2; 2->1", "1->2 @ 50..60%; 2->1 @ 10..20%", "1; ;2", "1;"])
def test_schedules_that_do_not_follow_one_another_are_refused(text):
    with pytest.raises(ConfigError):
        Schedule.parse(text, "rate")


def looks_at(eye, target, up):
    """The rotation of a camera at `eye`, by the three cross products of a textbook."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], 1)


def test_perturbed_cameras_move_the_eye_the_target_and_the_up_vector():
    still = {"elevation": (10.0, 10.0), "azimuth": (30.0, 30.0), "distance": (2.0, 2.0)}
    kind = UniformCameras(
        **still, camera_perturb=0.1, center_perturb=0.2, up_perturb=0.02, batch=4000
    )
    cameras = kind.sample(stream(), 8)
    moved = cameras.camera_to_world[:, :3, 3].double().numpy()
    own = UniformCameras(**still).sample(stream(), 8).camera_to_world[0, :3, 3].double().numpy()
    shift = moved - own
    assert np.abs(shift).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(shift.std(0), 0.1 / 3**0.5, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(shift.T) - np.eye(3), 0, atol=0.06)
    target = stream().normal("camera target", (4000, 3)).double().numpy() * 0.2
    up = np.array([0, 1, 0]) + stream().normal("camera up", (4000, 3)).double().numpy() * 0.02
    for k in range(0, 4000, 500):
        wanted = looks_at(moved[k], target[k], up[k])
        np.testing.assert_allclose(cameras.camera_to_world[k, :3, :3].numpy(), wanted, atol=1e-5)
    # Prompts see the camera that was asked for.
    assert torch.allclose(cameras.azimuth, torch.tensor(math.radians(30.0)))


def test_elevations_are_uniform_in_angle_or_on_the_sphere():
    def drawn(how, step=0):
        kind = UniformCameras(elevation=(-10.0, 90.0), elevation_sampling=how, batch=20000)
        return np.sort(np.degrees(kind.sample(stream(step), 4).elevation.numpy()))

    share = (np.arange(20000) + 0.5) / 20000
    low, high = np.sin(np.radians([-10.0, 90.0]))
    on_sphere = np.degrees(np.arcsin(low + (high - low) * share))
    in_angle = -10 + 100 * share
    assert np.abs(drawn("uniform") - in_angle).mean() < 1.0
    assert np.abs(drawn("sphere") - on_sphere).mean() < 1.0
    spheres = sum(np.abs(drawn("mixed", s) - on_sphere).mean() < 1.0 for s in range(60))
    angles = sum(np.abs(drawn("mixed", s) - in_angle).mean() < 1.0 for s in range(60))
    assert spheres + angles == 60
    assert 15 < spheres < 45


def test_azimuths_of_a_batch_cover_the_range():
    kind = UniformCameras(azimuth=(-180.0, 180.0), batch=6, batch_uniform_azimuth=True)
    for step in range(5):
        azimuth = np.degrees(kind.sample(stream(step), 4).azimuth.numpy())
        assert (np.floor((azimuth + 180) / 60) == np.arange(6)).all()


def published_light(strategy, eye, distance, drawn):
    """Of one camera, in threestudio's axes (z up); `drawn` are the same random numbers."""
    eye = eye[[2, 0, 1]]
    if strategy == "dreamfusion":
        towards = eye + drawn[[2, 0, 1]]
        return (towards / np.linalg.norm(towards) * distance)[[1, 2, 0]]
    z = eye / np.linalg.norm(eye)
    x = np.array([z[1], -z[0], 0.0])
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    turn, rise = drawn[0] * 2 * math.pi - math.pi, drawn[1] * math.pi / 3 + math.pi / 6
    local = [math.cos(rise) * math.cos(turn), math.cos(rise) * math.sin(turn), math.sin(rise)]
    return (np.stack([x, y, z], 1) @ np.array(local) * distance)[[1, 2, 0]]


@pytest.mark.parametrize("strategy", ["dreamfusion", "magic3d"])
def test_lights_are_where_the_published_code_puts_them(strategy):
    config = ShadingConfig(
        light_sample_strategy=strategy, light_position_perturb=0.7, light_distance=(0.8, 1.5)
    )
    cameras = UniformCameras(batch=5, distance=(1.5, 2.0)).sample(stream(), 4)
    ours = light_positions(config, cameras, stream())
    distance = 0.8 + 0.7 * stream().uniform("light distance", (5, 1)).double().numpy()
    shape = (5, 3) if strategy == "dreamfusion" else (5, 2)
    draw = stream().normal if strategy == "dreamfusion" else stream().uniform
    drawn = draw("light", shape).double().numpy() * (0.7 if strategy == "dreamfusion" else 1)
    eyes = cameras.camera_to_world[:, :3, 3].double().numpy()
    for k in range(5):
        wanted = published_light(strategy, eyes[k], distance[k, 0], drawn[k])
        np.testing.assert_allclose(ours[k].numpy(), wanted, atol=1e-5)


def test_steps_show_albedo_light_and_both_as_often_as_they_should():
    config = ShadingConfig(diffuse_prob=0.75, textureless_prob=0.5, ambient_only=0.2)
    cameras = RingCameras(count=1).all(4)
    assert all(draw_light(config, cameras, stream(s), 0.19) is None for s in range(50))
    lights = [draw_light(config, cameras, stream(s), 0.2) for s in range(2000)]
    assert sum(light is None for light in lights) / 2000 == pytest.approx(0.25, abs=0.04)
    lit = [light for light in lights if light is not None]
    assert sum(light.textureless for light in lit) / len(lit) == pytest.approx(0.5, abs=0.05)
    soft = ShadingConfig(diffuse_prob=1.0, soft_shading=True)
    for step in range(20):
        light = draw_light(soft, cameras, stream(step), 0.0)
        torch.testing.assert_close(light.ambient + light.diffuse, torch.ones(3))


def field(**options):
    made = HashGridField(HashGridConfig(**{**vars_of(SMALL), **options}), 3, seed=3)
    with torch.no_grad():
        made.table.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return made


def vars_of(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize("textureless", [False, True])
def test_a_lit_rendering_composites_lit_samples(textureless):
    """c_i = albedo_i (ambient + diffuse max(0, n_i . l_i)), or the bracket alone; before
    compositing."""
    made = field(sigmoid=True, activation="softplus", density_scale=8.0)
    light = PointLight(
        torch.tensor([[0.0, 1.5, 1.0], [1.0, 0.5, -1.0]]),
        torch.tensor([0.1, 0.2, 0.3]),
        torch.tensor([0.9, 0.5, 0.7]),
        textureless=textureless,
    )
    cameras = RingCameras(count=2, distance=2.5).all(6)
    behind = BackgroundSample(torch.full((2, 6, 6, 3), 0.25))
    renderer = VolumeRenderer(VolumeConfig(samples=24, occupancy=8, normal_epsilon=0.02))
    shown = renderer.render(made, cameras, behind, light=light)
    wanted = torch.zeros(72, 3, dtype=torch.float64)
    samples = shown.samples
    albedo = made(samples.points)[1].detach().double()
    normals = made.normals(samples.points, 0.02).detach().double()
    for i in range(len(samples.t)):
        place = light.positions[samples.ray[i] // 36].double()
        towards = F.normalize(place - samples.points[i].double(), dim=0)
        facing = max(0.0, float(normals[i] @ towards))
        bright = light.ambient.double() + facing * light.diffuse.double()
        colour = bright if textureless else albedo[i] * bright
        wanted[samples.ray[i]] += float(samples.weights[i].detach()) * colour
    wanted += (1 - shown.opacity.detach().double().view(72, 1)) * 0.25
    assert 0.05 < float(shown.opacity.detach().mean()) < 0.999
    torch.testing.assert_close(shown.features.view(72, 3).double(), wanted, atol=1e-5, rtol=1e-5)
    renderer.chunk = 100
    chunked = renderer.render(made, cameras, behind, light=light)
    torch.testing.assert_close(chunked.features, shown.features, atol=1e-6, rtol=1e-6)
    shown.features.sum().backward()
    assert float(made.table.grad.abs().sum()) > 0


def test_albedo_is_what_is_rendered_without_a_light():
    made = field(sigmoid=True)
    cameras, behind = RingCameras(count=1).all(5), BackgroundSample(torch.zeros(1, 5, 5, 3))
    renderer = VolumeRenderer(VolumeConfig(samples=16, occupancy=8))
    white = PointLight(torch.ones(1, 3), torch.ones(3), torch.zeros(3))
    one = renderer.render(made, cameras, behind).features
    torch.testing.assert_close(renderer.render(made, cameras, behind, light=white).features, one)


def test_rays_stay_at_pixel_centres_without_pixel_jitter():
    made, behind = field(), BackgroundSample(torch.zeros(1, 5, 5, 3))
    cameras = RingCameras(count=1).all(5)
    for moves in (False, True):
        renderer = VolumeRenderer(VolumeConfig(samples=16, occupancy=8, pixel_jitter=moves))
        _, directions, jitter = renderer._rays(cameras, stream(), None)
        same = torch.equal(directions, cameras.rays()[1].reshape(-1, 3))
        assert same is not moves
        assert len(jitter.unique()) > 1
        assert torch.isfinite(renderer.render(made, cameras, behind, stream()).features).all()


def test_forward_differences_and_central_ones():
    made = field(activation="softplus", density_scale=3.0)
    points = torch.rand(30, 3, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    epsilon, here = 0.02, made.density(points).detach().double()
    for central in (False, True):
        slope = torch.zeros(30, 3, dtype=torch.float64)
        for axis in range(3):
            step = torch.zeros(3)
            step[axis] = epsilon
            ahead = made.density(points + step).detach().double()
            behind = made.density(points - step).detach().double() if central else here
            slope[:, axis] = behind - ahead
        wanted = slope / slope.norm(dim=1, keepdim=True)
        ours = made.normals(points, epsilon, central).double()
        torch.testing.assert_close(ours, wanted, atol=1e-3, rtol=1e-3)


def test_samples_that_hide_little_are_left_out():
    made = field(
        density_bias="blob_magic3d", blob_strength=6.0, blob_width=0.8, activation="softplus"
    )
    cameras, behind = RingCameras(count=1).all(6), BackgroundSample(torch.zeros(1, 6, 6, 3))
    plain = VolumeRenderer(VolumeConfig(samples=24, occupancy=8))
    pruned = VolumeRenderer(VolumeConfig(samples=24, occupancy=8, alpha_threshold=0.02))
    for renderer in (plain, pruned):
        renderer.average.fill_(5.0)
    every = plain.render(made, cameras, behind).samples
    alpha = 1 - (-every.density.detach() * every.step).exp()
    kept = pruned.render(made, cameras, behind).samples
    assert 0 < len(kept.t) < len(every.t)
    torch.testing.assert_close(kept.t, every.t[alpha >= 0.02])
    counts = torch.bincount(every.ray[alpha >= 0.02], minlength=36)
    assert torch.equal(kept.offsets.diff(), counts)
    pruned.average.fill_(0.0)
    # Where everything is thin nothing is left out.
    assert len(pruned.render(made, cameras, behind).samples.t) == len(every.t)


def test_the_harmonics_are_orthonormal_and_of_low_order():
    drawn = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units = drawn / drawn.norm(dim=1, keepdim=True)
    values = spherical_harmonics(units)
    gram = values.t() @ values / len(units) * 4 * math.pi
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=0.03, rtol=0)
    network = learned_background("harmonics", 3)
    assert [m.weight.shape for m in network.layers if hasattr(m, "weight")] == [
        (16, 9),
        (16, 16),
        (3, 16),
    ]
    assert all(m.bias is None for m in network.layers if hasattr(m, "bias"))


@pytest.mark.parametrize(("kind", "scale"), [("exp", 2.0), ("softplus", 3.0)])
def test_the_biases_of_the_density_are_the_published_ones(kind, scale):
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    length = points.double().norm(dim=1)
    for name, wanted in (
        ("blob_dreamfusion", 5.0 * torch.exp(-0.5 * length**2 / 0.2**2)),
        ("blob_magic3d", 5.0 * (1 - length / 0.2)),
        ("none", torch.zeros(200)),
    ):
        made = field(
            density_bias=name,
            blob_strength=5.0,
            blob_width=0.2,
            activation=kind,
            density_scale=scale,
        )
        raw = made.raw(points)[0].double() + wanted
        expected = scale * (raw.exp() if kind == "exp" else F.softplus(raw))
        torch.testing.assert_close(made(points)[0].double(), expected, atol=1e-4, rtol=2e-4)


def test_two_perceptrons_without_biases():
    made = field(separate=True, bias=False, layers=2)
    assert len(made.weights) == len(made.feature_weights) == 2
    assert not list(made.biases)
    points = torch.rand(50, 3) * 2 - 1
    from threestudio_like.kernels import hashgrid

    features = hashgrid((points + 1) / 2, made.table, made.spec)
    wanted = [w[1] @ (w[0] @ features).relu() for w in (made.weights, made.feature_weights)]
    torch.testing.assert_close(made.raw(points), torch.cat(wanted), atol=1e-6, rtol=1e-5)
    assert {id(p) for p in made.parameters()} == {
        id(p) for group in made.parameter_groups() for p in group.parameters
    }


def test_levels_open_as_the_published_steps_say():
    """min(start + max(step - start_step, 0) // update_steps, levels)."""
    made = field(open_levels="2->4 @ 20..60%")
    points = torch.rand(40, 3) * 2 - 1
    from threestudio_like.kernels import hashgrid

    features = hashgrid((points + 1) / 2, made.table, made.spec)
    for step in range(0, 100):
        made.at(step / 100)
        level = min(2 + max(step - 20, 0) // 20, 4)
        assert int(made.opened) == level
        if step % 20 == 0:
            kept = features.clone()
            kept[2 * level :] = 0
            wanted = made._perceptron(kept, made.weights, made.biases)
            torch.testing.assert_close(made.raw(points), wanted)
    again = field(open_levels="2->4 @ 20..60%")
    again.load_state_dict(made.state_dict())
    assert int(again.opened) == 4
    torch.testing.assert_close(again.raw(points), made.raw(points))


def sampled_rendering():
    """A rendering with rays that miss, and the normals at its samples."""
    made = field(activation="softplus", density_scale=3.0, density_bias="blob_magic3d")
    renderer = VolumeRenderer(VolumeConfig(samples=20, occupancy=8))
    cameras = RingCameras(count=2, distance=3.0, fov_y=50.0).all(7)
    shown = renderer.render(made, cameras, BackgroundSample(torch.zeros(2, 7, 7, 3)))
    normals = made.normals(shown.samples.points)
    return shown, normals, cameras.rays()[1].reshape(-1, 3)


def test_regularisers_of_the_samples_are_the_published_sums():
    shown, normals, directions = (
        v.detach() if isinstance(v, torch.Tensor) else v for v in sampled_rendering()
    )
    samples, rays = shown.samples, 98
    w, t = (v.detach().double().numpy() for v in (samples.weights, samples.t))
    ray = samples.ray.numpy()
    opacity = shown.opacity.detach().double().numpy().reshape(-1)
    n, d = normals.double().numpy(), directions.double().numpy()
    assert 0 < (opacity > 0).sum() < rays
    facing = sum(w[i] * max(0.0, n[i] @ d[ray[i]]) ** 2 for i in range(len(w)))
    close = {"rel": 1e-4, "abs": 1e-7}
    found = orient(samples, normals, directions, shown.opacity)
    assert float(found) == pytest.approx(facing / (opacity > 0).sum(), **close)
    spreads = []
    for r in range(rays):
        if opacity[r] > 0.5:
            share = w[ray == r] / max(opacity[r], 1e-5)
            mean = (share * t[ray == r]).sum()
            spreads.append((share * (t[ray == r] - mean) ** 2).sum())
    assert 0 < len(spreads) < rays
    assert float(z_variance(samples, shown.opacity)) == pytest.approx(np.mean(spreads), rel=1e-3)
    assert float(emptiness(samples, 10.0)) == pytest.approx(np.log(1 + 10 * w).mean(), **close)
    picture = np.zeros((rays, 3))
    for r in range(rays):
        total = (w[ray == r, None] * n[ray == r]).sum(0)
        length = np.linalg.norm(total)
        unit = total / length if length > 0 else total
        picture[r] = (unit + 1) / 2 * opacity[r]
    ours = composited_normals(samples, normals, shown.opacity)
    np.testing.assert_allclose(ours.detach().numpy().reshape(rays, 3), picture, atol=1e-4)
    p = picture.reshape(2, 7, 7, 3)
    smooth = ((p[:, 1:] - p[:, :-1]) ** 2).mean() + ((p[:, :, 1:] - p[:, :, :-1]) ** 2).mean()
    assert float(normal_smooth(ours)) == pytest.approx(smooth, rel=1e-3)


def test_opaque_is_the_entropy_in_nats():
    values = [0.0, 1e-4, 0.3, 0.5, 0.9, 1.0]
    clamped = [min(max(v, 1e-3), 1 - 1e-3) for v in values]
    wanted = -np.mean([p * math.log(p) + (1 - p) * math.log(1 - p) for p in clamped])
    assert float(opaque(torch.tensor(values))) == pytest.approx(wanted, rel=1e-5)


def octahedron():
    points = torch.tensor(
        [[1.0, 0, 0], [-1, 0, 0], [0, 1.3, 0], [0, -1, 0], [0, 0, 0.8], [0, 0, -1]]
    )
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    edges = sorted(
        {tuple(sorted((f[a], f[b]))) for f in faces for a, b in ((0, 1), (1, 2), (2, 0))}
    )
    return points, faces, edges


def test_terms_of_moving_meshes_are_the_published_ones():
    points, faces, edges = octahedron()
    p = points.double().numpy()
    normals = np.zeros((6, 3))
    for a, b, c in faces:
        for corner in (a, b, c):
            normals[corner] += np.cross(p[b] - p[a], p[c] - p[a])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    tri, pairs = torch.tensor(faces), torch.tensor(edges)
    np.testing.assert_allclose(smooth_normals(points, tri).numpy(), normals, atol=1e-6)
    consistency = np.mean([1 - normals[a] @ normals[b] for a, b in edges])
    assert float(normal_consistency(points, tri, pairs)) == pytest.approx(consistency, rel=1e-5)
    matrix = np.zeros((6, 6))
    for a, b in edges:
        matrix[a, b] = matrix[b, a] = -1
        matrix[a, a] += 1
        matrix[b, b] += 1
    smooth = np.linalg.norm(matrix @ p, axis=1).mean()
    assert float(laplacian_smoothness(points, pairs)) == pytest.approx(smooth, rel=1e-5)


MU = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))


def look(z):
    picture = z.permute(0, 2, 3, 1)
    one = torch.ones_like(picture[..., :1])
    return Rendering(picture, one, one, torch.zeros_like(picture))


def test_every_element_of_the_gradient_is_clipped():
    cameras = RingCameras(count=2).all(8)
    plain = ScoreDistillation(PointMass(MU), "x", ScoreDistillationConfig(scale=7.0))
    clipped = ScoreDistillation(
        PointMass(MU), "x", ScoreDistillationConfig(scale=7.0, grad_clip="0.05->0.5 @ 0..50%")
    )
    for fraction in (0.0, 0.25, 0.9):
        view = GuidanceInputs(cameras, fraction, stream())
        z = torch.randn(2, 4, 8, 8, requires_grad=True)
        limit = min(0.5, 0.05 + 0.9 * fraction)
        wanted = plain.residual(z.detach(), view)[0].clamp(-limit, limit)
        clipped(look(z), view).loss.backward()
        torch.testing.assert_close(z.grad, wanted / 2)
        assert float(wanted.abs().max()) == pytest.approx(limit) or fraction > 0.5


class Enlarged(PointMass):
    """A point mass with an autoencoder that is linear: latents are pictures of fewer pixels."""

    def encode_image(self, images):
        grey = F.avg_pool2d(images.permute(0, 3, 1, 2), images.shape[1] // 8)
        return torch.cat([grey, grey.mean(1, keepdim=True)], 1)

    def decode_latents(self, latents):
        return F.interpolate(latents[:, :3], self.facts.image_size).permute(0, 2, 3, 1)


@pytest.mark.parametrize("kind", ["dreamfusion", "latent-nerf"])
def test_the_image_loss_has_the_published_gradient(kind):
    """lambda w(t) alpha / sigma (x - D(z0_hat)) beside the gradient of the latents."""
    prior, view = Enlarged(MU), GuidanceInputs(RingCameras(count=2).all(8), 0.0, stream())
    size = prior.facts.image_size
    x = torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(4))
    gradients = []
    for image_loss in (0.0, 0.01):
        config = ScoreDistillationConfig(scale=5.0, weighting=kind, image_loss=image_loss)
        guidance = ScoreDistillation(prior, "x", config, encode=True)
        shown = x.clone().requires_grad_(True)
        one = torch.ones_like(shown[..., :1])
        guidance(Rendering(shown, one, one, torch.zeros_like(shown)), view).loss.backward()
        gradients.append(shown.grad)
    t = guidance.times(2, view)
    abar = prior.schedule.alphas_cumprod[t].view(2, 1, 1, 1)
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    # The oracle's estimate of the clean latents is its point, whatever the guidance scale.
    estimate = prior.decode_latents(MU[None].expand(2, -1, -1, -1))
    wanted = 0.01 * weight(kind, abar) * alpha / sigma * (x - estimate) / 2
    torch.testing.assert_close(gradients[1] - gradients[0], wanted, atol=2e-5, rtol=2e-3)


def test_a_fixed_time_follows_the_square_root():
    config = ScoreDistillationConfig(t_min="sqrt 0.98->0.02", t_max="sqrt 0.98->0.02")
    guidance = ScoreDistillation(PointMass(MU), "x", config)
    for step in range(0, 100, 7):
        view = GuidanceInputs(RingCameras(count=3).all(8), step / 100, stream(step))
        wanted = int(1000 * ((0.98 - 0.02) * (1 - (step / 100) ** 0.5) + 0.02))
        assert (guidance.times(3, view) - wanted).abs().max() <= 1


def test_the_direction_stands_before_the_prompt_and_the_back_has_its_own_span():
    assert before("a cat", "back") == "backside view of a cat"
    assert before("a cat", "side") == "side view of a cat"
    turn = [view_direction(math.radians(a), 0.2, 90.0, 30.0, 60.0) for a in (44, 46, 149, 151)]
    assert turn == ["front", "side", "side", "back"]
    seen = []

    class Listening(PointMass):
        def encode_text(self, prompts):
            seen.extend(prompts)
            return super().encode_text(prompts)

    config = ScoreDistillationConfig(prompt=PromptConfig(view_dependent_prompt_front=True))
    ScoreDistillation(Listening(MU), "a cat", config)
    assert "overhead view of a cat" in seen


def test_random_colours_replace_the_background_as_often_as_they_should():
    cameras = RingCameras(count=3).all(4)
    inner = SolidBackground(value=torch.ones(3))
    background = AugmentedBackground(inner=inner, random_aug_prob=0.3)
    drawn = [background.sample(cameras, stream(s)).values for s in range(1000)]
    other = [v for v in drawn if not bool((v == 1).all())]
    assert len(other) / 1000 == pytest.approx(0.3, abs=0.05)
    assert all(bool((v == v[:, :1, :1]).all()) for v in other)
    assert not torch.equal(other[0][0], other[0][1])


def test_milestones_change_size_and_views():
    milestones = Milestones(
        resolution="64; step 64->128 @ 33..100%; step 128->256 @ 50..100%",
        batch="step 12->4 @ 33..100%",
    )
    kind = UniformCameras(batch=1)
    for fraction, size, batch in ((0.0, 64, 12), (0.32, 64, 12), (0.33, 128, 4), (0.9, 256, 4)):
        cameras = milestones.cameras(kind, 32, stream(), fraction)
        assert (cameras.height, cameras.width, len(cameras)) == (size, size, batch)
    assert Milestones().cameras(kind, 32, stream(), 0.5).height == 32
    assert (milestones.largest("resolution"), milestones.largest("batch")) == (256, 12)


def test_adams_numbers_reach_the_optimiser():
    from threestudio_like.engine.progress import optimiser_of

    class Trains(Guidance):
        """A guidance that trains something by numbers of its own."""

        def __call__(self, rendering, inputs):
            return GuidanceOutput(rendering.features.mean(), {})

        def parameter_groups(self):
            own = [torch.nn.Parameter(torch.ones(1))]
            return [ParameterGroup("own", own, "0.1", betas=(0.9, 0.999), eps=1e-8)]

    config = OptimiserConfig(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01)
    stage = distillation_stage(
        "x",
        1,
        FieldModel(HashGridField(SMALL, 3), VolumeRenderer(), lambda features: features),
        guidance=Trains(),
        views=StepViews(
            sampler=UniformCameras(), background=SolidBackground(value=torch.ones(3)), size=8
        ),
        rates=LearningRates(),
        regularise=Regularisation(),
        optimiser=config,
    )
    *field, other = optimiser_of(stage).param_groups
    for made in field:
        assert (made["betas"], made["eps"], made["weight_decay"]) == ((0.8, 0.95), 1e-6, 0.01)
    assert (other["betas"], other["eps"], other["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.0)
    assert DistillationConfig().optimiser == OptimiserConfig()


def test_the_published_dreamfusion_is_in_units_of_half_its_cube():
    config = DreamFusion.paper()
    # threestudio's cube reaches to 2: its camera distances are 1.5 to 2.
    assert config.distil.uniform.distance == (0.75, 1.0)
    step = 1.732 * 2 * 2.0 / 512
    assert 2.0 / config.renderer.samples == pytest.approx(step / 2, rel=2e-3)
    assert config.renderer.threshold == pytest.approx(0.01 / (step / 2), rel=5e-3)
    assert config.distil.guidance.scale == 101.0
