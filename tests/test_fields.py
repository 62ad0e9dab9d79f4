"""Fields, renderer, backgrounds, cameras, and the map from latents to RGB (METHODS 1.16)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from threestudio_like.engine.random import RandomStream
from threestudio_like.priors.latent_rgb import STABLE_DIFFUSION_RGB, latent_to_rgb
from threestudio_like.renderers import (
    BackgroundSample,
    Cameras,
    LearnedBackground,
    ProgressiveCameras,
    RandomBackground,
    RingCameras,
    SolidBackground,
    StratifiedCameras,
    UniformCameras,
    VolumeConfig,
    VolumeRenderer,
)
from threestudio_like.representations import (
    DecodedField,
    Field,
    HashGridConfig,
    HashGridField,
    VoxelField,
    VoxelGridConfig,
    truncated_exp,
)
from threestudio_like.representations.voxel_grid import blur_matrix, close_gaps

SMALL = HashGridConfig(levels=4, log2_size=10, base=4, finest=32)


class Ball(Field):
    """A ball of constant density with features that depend on the position."""

    channels = 4

    def __init__(self, radius=0.5, density=60.0):
        super().__init__()
        self.radius, self.value = radius, density

    def forward(self, points):
        inside = (points.norm(dim=-1) < self.radius).float()
        return inside * self.value, torch.cat([points, points[:, :1] * 0 + 1], -1)


def ring(n=2, size=24):
    return RingCameras(count=n, elevation=10.0).all(size)


def zero(cameras, channels=4):
    return BackgroundSample(torch.zeros(len(cameras), cameras.height, cameras.width, channels))


def test_the_field_has_one_plus_four_outputs_and_the_blob_is_before_the_exponential():
    """METHODS 1.16: density exp(5 + h0) at the origin, exp(3.03 + h0) at 0.2, about exp(h0) at
    1."""
    field = HashGridField(SMALL, 4, seed=0)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 1.0]])
    raw = field.raw(points)
    assert raw.shape == (5, 3)
    density, features = field(points)
    assert features.shape == (3, 4)
    expected = torch.exp(torch.tensor([5.0, 5 * math.exp(-0.5), 5 * math.exp(-12.5)]) + raw[0])
    torch.testing.assert_close(density, expected)
    assert 5 * math.exp(-0.5) == pytest.approx(3.03, abs=0.01)


def test_truncated_exponential():
    x = torch.tensor([1.0, 40.0, -40.0], requires_grad=True)
    y = truncated_exp(x)
    y.sum().backward()
    assert float(y[1]) == pytest.approx(math.exp(40.0), rel=1e-5)
    torch.testing.assert_close(x.grad, torch.tensor([math.e, math.exp(15), math.exp(-15)]))


def test_voxel_field_starts_as_a_blob_and_resamples():
    field = VoxelField(VoxelGridConfig(size=16), 4, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    density, features = field(torch.tensor([[0.0, 0.0, 0.0], [0.95, 0.95, 0.95]]))
    assert density[0] > 5 * density[1]
    torch.testing.assert_close(features[0], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    finer = VoxelField(VoxelGridConfig(size=31), 4)
    finer.load_resampled(field)
    points = torch.rand(200, 3) - 0.5
    torch.testing.assert_close(finer(points)[0], field(points)[0], rtol=0.1, atol=0.05)
    torch.testing.assert_close(finer(points)[1], field(points)[1], rtol=1e-3, atol=1e-3)


def test_a_smooth_field_reads_its_density_through_a_gaussian():
    config = VoxelGridConfig(size=21, smooth=1.5, start=0.0, blob_strength=0.0)
    field = VoxelField(config, 2)
    with torch.no_grad():
        field.grid[10, 10, 10, 0] = 1.0
        field.grid[10, 10, 10, 1] = 1.0
    read = field.smoothed()
    assert float(read[..., 0].sum()) == pytest.approx(1.0, abs=1e-3)
    x = (torch.arange(21) - 10.0) ** 2
    assert float((read[10, 10, :, 0] / read[10, 10, :, 0].sum() * x).sum()) == pytest.approx(
        1.5**2, rel=0.05
    )
    torch.testing.assert_close(read[..., 1:], field.grid[..., 1:])
    constant = VoxelField(config, 2)
    with torch.no_grad():
        constant.grid[..., 0] = 3.0
    torch.testing.assert_close(constant.smoothed()[..., 0], torch.full((21, 21, 21), 3.0))
    weights = torch.randn(21, 21, 21, generator=torch.Generator().manual_seed(0))
    (read[..., 0] * weights).sum().backward()
    blur = blur_matrix(21, 1.5).double()
    expected = torch.einsum("az,by,cx,abc->zyx", blur, blur, blur, weights.double())
    torch.testing.assert_close(field.grid.grad[..., 0].double(), expected, atol=1e-5, rtol=1e-4)


def test_closing_fills_narrow_gaps_with_their_neighbours_colour():
    line = torch.linspace(-1, 1, 41)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    density = torch.where((x.abs() < 0.62) & (y.abs() < 0.62) & (z.abs() < 0.62), 30.0, 0.0)
    density[:, :, 19:22] = 0.0
    density[:, 10:14, :14] = 0.0
    hollow = (x - 0.35).square() + y.square() + z.square() < 0.036  # No cell on the edge.
    density[hollow] = 0.0
    features = torch.stack([(x > 0).float(), (x < 0).float()], -1) * (density > 0)[..., None]
    closed, colours = close_gaps(density, features, 0.1)
    assert float(closed[20, 20, 20]) > 5, "a slit of three cells is closed"
    assert float(closed[hollow].min()) > 5, "a hollow is filled"
    assert float(closed[20, 20, 5]) == 0, "the outside stays empty"
    assert colours[hollow].equal(torch.tensor([1.0, 0.0]).expand(int(hollow.sum()), 2))
    untouched = density > 0
    torch.testing.assert_close(closed[untouched], density[untouched])
    empty = torch.zeros(9, 9, 9)
    assert close_gaps(empty, torch.zeros(9, 9, 9, 1), 0.1)[0].equal(empty)


def test_normals_of_a_ball_point_outwards():
    class Soft(Field):
        channels = 1

        def forward(self, points):
            return (1 - points.norm(dim=-1)) * 50, points[:, :1]

    points = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1) * 0.5
    torch.testing.assert_close(Soft().normals(points), points / 0.5, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "field", [HashGridField(SMALL, 4), VoxelField(VoxelGridConfig(size=12), 4)]
)
def test_rendering_shapes_and_gradients(field):
    renderer = VolumeRenderer(VolumeConfig(samples=24, occupancy=8, normals=True))
    cameras = ring()
    out = renderer.render(field, cameras, zero(cameras), RandomStream(0, "r", 0))
    assert out.features.shape == (2, 24, 24, 4)
    assert out.opacity.shape == out.depth.shape == (2, 24, 24, 1)
    assert out.normals.shape == (2, 24, 24, 3)
    assert float(out.opacity.min()) >= 0
    assert float(out.opacity.max()) <= 1
    out.features.square().sum().backward()
    assert all(
        p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in field.parameters()
    )


def test_a_ball_renders_as_a_disc_at_the_right_depth():
    renderer = VolumeRenderer(VolumeConfig(samples=200, occupancy=16))
    cameras = Cameras.orbit(torch.zeros(1), torch.zeros(1), 3.0, math.radians(40), 65, 65)
    ball = Ball(0.5)
    for step in range(4):
        renderer.refresh(ball, RandomStream(0, "o", step))
    out = renderer.render(ball, cameras, zero(cameras))
    disc = (out.opacity[0, :, :, 0] > 0.5).float().mean()
    radius = math.sqrt(float(disc) * 65 * 65 / math.pi) / 65 * 2
    assert radius == pytest.approx(
        math.tan(math.asin(0.5 / 3.0)) / math.tan(math.radians(20)), rel=0.03
    )
    assert float(out.depth[0, 32, 32, 0]) == pytest.approx(2.5, abs=0.03)


def test_the_background_takes_what_the_weights_leave():
    renderer = VolumeRenderer(VolumeConfig(samples=32, occupancy=8))
    field, cameras = VoxelField(VoxelGridConfig(size=12), 4), ring()
    behind = BackgroundSample(torch.full((2, 24, 24, 4), 5.0))
    a, b = renderer.render(field, cameras, zero(cameras)), renderer.render(field, cameras, behind)
    torch.testing.assert_close(
        b.features - a.features, ((1 - a.opacity) * 5.0).expand(-1, -1, -1, 4), atol=1e-5, rtol=1e-5
    )


def test_the_occupancy_grid_drops_what_is_empty_and_forgets_slowly():
    renderer = VolumeRenderer(VolumeConfig(occupancy=16, threshold=10.0, decay=0.5))
    renderer.refresh(Ball(0.4), RandomStream(0, "o", 0))
    share = float(renderer.occupied.float().mean())
    assert 0.01 < share < 0.15
    first = renderer.average.clone()
    renderer.refresh(Ball(0.0), RandomStream(0, "o", 1))
    torch.testing.assert_close(
        renderer.average, torch.where(first > 0, first * 0.5, renderer.average)
    )
    renderer.reset()
    assert bool((renderer.occupied == renderer.inside).all())


class Corner(Field):
    """A small ball away from the centre, at another place along every axis."""

    channels = 4
    place = torch.tensor([0.6, 0.2, -0.4])

    def forward(self, points):
        inside = ((points - self.place).norm(dim=-1) < 0.25).float()
        return inside * 60, torch.ones(len(points), 4)


def test_the_occupancy_grid_is_where_the_field_is():
    """Its axes are z, y, x, as `march` reads them: a picture keeps what it shows."""
    renderer = VolumeRenderer(VolumeConfig(samples=48, occupancy=16, jitter=False))
    field, cameras = Corner(), ring()
    before = renderer.render(field, cameras, zero(cameras))
    for step in range(8):
        renderer.refresh(field, RandomStream(0, "o", step))
    z, y, x = (renderer.occupied.nonzero().float().mean(0) + 0.5) / 16 * 2 - 1
    assert (torch.stack([x, y, z]) - field.place).abs().max() < 0.1
    after = renderer.render(field, cameras, zero(cameras))
    assert float(before.opacity.mean()) > 0.01
    assert float((before.opacity - after.opacity).abs().mean()) < 0.1 * float(before.opacity.mean())


def test_a_ray_subset_equals_those_pixels_of_the_picture():
    renderer = VolumeRenderer(VolumeConfig(samples=32, occupancy=8))
    field, cameras = VoxelField(VoxelGridConfig(size=12), 4), ring()
    whole = renderer.render(field, cameras, zero(cameras))
    pixels = torch.tensor([3, 300, 700, 1100])
    some = renderer.render(field, cameras, zero(cameras), pixels=pixels)
    torch.testing.assert_close(some.features[0, 0], whole.features.view(-1, 4)[pixels])


def test_map_and_composite_commute():
    """METHODS 1.9: composite-then-map equals map-then-composite, background included."""
    matrix, offset = STABLE_DIFFUSION_RGB / 2, torch.full((3,), 0.5)
    renderer = VolumeRenderer(VolumeConfig(samples=32, occupancy=8))
    field, cameras = VoxelField(VoxelGridConfig(size=12), 4, torch.randn(4)), ring()
    behind = torch.randn(2, 24, 24, 4)
    decoded = DecodedField(field, matrix, offset)
    late = renderer.render(field, cameras, BackgroundSample(behind)).features @ matrix + offset
    early = renderer.render(decoded, cameras, BackgroundSample(decoded.to_rgb(behind))).features
    torch.testing.assert_close(early, late, atol=1e-4, rtol=1e-4)
    assert decoded.channels == 3
    assert field.channels == 4


def test_the_published_map():
    """METHODS 5.5 and 1.9: the table, rank 3, and the ridge inverse of red has R as its largest
    channel."""
    assert STABLE_DIFFUSION_RGB[0].tolist() == pytest.approx([0.298, 0.207, 0.208])
    assert STABLE_DIFFUSION_RGB[3].tolist() == pytest.approx([-0.184, -0.271, -0.473])
    w = STABLE_DIFFUSION_RGB.double()
    assert int(torch.linalg.matrix_rank(w)) == 3
    red = torch.linalg.solve(
        w @ w.t() + 1e-2 * torch.eye(4, dtype=torch.double),
        w @ torch.tensor([1.0, 0, 0], dtype=torch.double),
    )
    assert int((red @ w).argmax()) == 0


def test_the_map_is_fitted_from_the_autoencoder_for_other_priors(toybox_prior):
    matrix, offset = latent_to_rgb(toybox_prior)
    assert matrix.shape == (4, 3)
    grey = toybox_prior.encode_image(torch.full((1, 64, 64, 3), 0.6))[0].mean((1, 2))
    torch.testing.assert_close(grey @ matrix + offset, torch.full((3,), 0.6), atol=0.06, rtol=0)


def test_backgrounds():
    cameras = ring()
    random = RandomStream(0, "b", 0)
    solid = SolidBackground(value=torch.tensor([0.5, 0.5, 0.5])).sample(cameras, random)
    assert solid.level == 0.5
    assert solid.values.shape == (2, 24, 24, 3)
    grey = RandomBackground.grey(0.3, 0.7)
    levels = {grey.sample(cameras, RandomStream(0, "b", i)).level for i in range(60)}
    assert len(levels) > 8
    assert min(levels) >= 0.3
    assert max(levels) <= 0.7001
    learned = LearnedBackground(4, seed=1)
    out = learned.sample(cameras, random)
    assert out.values.shape == (2, 24, 24, 4)
    assert out.level is None
    assert sum(p.numel() for p in learned.parameters()) == (3 + 36) * 64 + 64 + 64 * 4 + 4


def test_camera_frames():
    cameras = Cameras.orbit(
        torch.tensor([0.0, math.pi / 2]), torch.tensor([0.0, 0.3]), 2.0, 0.8, 9, 9
    )
    torch.testing.assert_close(cameras.camera_to_world[0, :3, 3], torch.tensor([0.0, 0.0, 2.0]))
    assert float(cameras.camera_to_world[1, 0, 3]) > 1.8
    rotation = cameras.camera_to_world[:, :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.transpose(1, 2), torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0
    )
    origins, directions = cameras.rays()
    torch.testing.assert_close(
        directions[0, 4, 4], torch.tensor([0.0, 0.0, -1.0]), atol=1e-6, rtol=0
    )
    points = origins + directions * 1.7
    clip = torch.cat([points, torch.ones(2, 9, 9, 1)], -1).view(
        2, -1, 4
    ) @ cameras.view_projection().transpose(1, 2)
    ndc = (clip[..., :2] / clip[..., 3:]).view(2, 9, 9, 2)
    grid = torch.linspace(-8 / 9, 8 / 9, 9)
    torch.testing.assert_close(ndc[0, :, :, 0], grid.expand(9, 9), atol=1e-4, rtol=0)
    torch.testing.assert_close(ndc[1, :, :, 1], -grid[:, None].expand(9, 9), atol=1e-4, rtol=0)


def test_a_point_on_a_ray_is_seen_in_its_pixel():
    """Rays and view projection are one camera: OpenGL's y points up, rows count downwards."""
    views = StratifiedCameras(batch=3).sample(RandomStream(0, "c", 0), 8)
    views = replace(views, height=6, width=9)
    origins, directions = views.rays()
    points = origins + 1.7 * directions
    points = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    clip = torch.einsum("bij,bhwj->bhwi", views.view_projection(), points)
    x, y = (clip[..., 0] / clip[..., 3] + 1) * 4.5, (1 - clip[..., 1] / clip[..., 3]) * 3
    columns, rows = torch.arange(9) + 0.5, torch.arange(6) + 0.5
    torch.testing.assert_close(x, columns.expand(3, 6, 9), atol=1e-4, rtol=0)
    torch.testing.assert_close(y, rows[:, None].expand(3, 6, 9), atol=1e-4, rtol=0)


def test_a_camera_straight_above_has_a_frame():
    above = Cameras.orbit(torch.tensor([0.5]), torch.tensor([math.pi / 2]), 2.0, 0.8, 4, 4)
    assert bool(torch.isfinite(above.camera_to_world).all())
    assert float(torch.linalg.det(above.camera_to_world[0, :3, :3])) == pytest.approx(1.0, abs=1e-4)


def test_uniform_cameras_follow_the_paper():
    """METHODS 1.4: polar 0..150 degrees, radius 1..1.5, field of view 40..70."""
    drawn = [UniformCameras(batch=8).sample(RandomStream(0, "c", i), 8) for i in range(200)]
    elevation = torch.cat([c.elevation for c in drawn]).rad2deg()
    assert -60.01 <= elevation.min() < -50
    assert 80 < elevation.max() <= 90.01
    distance = torch.cat([c.distance for c in drawn])
    assert distance.min() >= 1.0
    assert distance.max() <= 1.5
    fov = torch.cat([c.fov_y for c in drawn]).rad2deg()
    assert fov.min() >= 40
    assert fov.max() <= 70.01
    eye = drawn[0].camera_to_world[:, :3, 3]
    theta, phi = math.pi / 2 - drawn[0].elevation, drawn[0].azimuth
    expected = drawn[0].distance[:, None] * torch.stack(
        [theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], -1
    )
    torch.testing.assert_close(eye, expected)


def test_stratified_and_progressive_cameras():
    views = StratifiedCameras().sample(RandomStream(0, "c", 3), 16)
    turn = (views.azimuth - views.azimuth[0]).rad2deg() % 360
    torch.testing.assert_close(turn, torch.tensor([0.0, 90.0, 180.0, 270.0]), atol=1e-3, rtol=0)
    assert len(set(views.elevation.tolist())) == 1
    early = torch.cat(
        [ProgressiveCameras().sample(RandomStream(0, "c", i), 8, 0.0).azimuth for i in range(100)]
    ).rad2deg()
    late = torch.cat(
        [ProgressiveCameras().sample(RandomStream(0, "c", i), 8, 1.0).azimuth for i in range(100)]
    ).rad2deg()
    assert early.abs().max() <= 60.01
    assert late.abs().max() > 170


def test_ray_maps_hold_the_nearest_point_and_the_direction():
    maps = ring(1, 8).ray_maps(4, 4)
    nearest, direction = maps[:, :3], maps[:, 3:]
    assert maps.shape == (1, 6, 4, 4)
    torch.testing.assert_close(
        (nearest * direction).sum(1), torch.zeros(1, 4, 4), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(1, 4, 4))
