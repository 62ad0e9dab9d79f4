"""The parts of G3DR: rays through the box at mid-points, importance and comb samples, gradient
scaling there, the generator (METHODS 3)."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.loop import Step
from threestudio_like.engine.random import RandomStream
from threestudio_like.metrics.relief import non_flatness, ray_entropy
from threestudio_like.priors.clip import ImageTextPrior
from threestudio_like.priors.data.pairs import Skipped
from threestudio_like.priors.depth import DepthPrior
from threestudio_like.priors.networks.perceptual import PerceptualPrior
from threestudio_like.priors.networks.triplane_generator import (
    PlaneAttention,
    StandardisedConv,
    TriplaneGenerator,
    TriplaneGeneratorConfig,
    on_plane,
    sharpened,
)
from threestudio_like.renderers import DepthScaling
from threestudio_like.renderers.midpoint import MidpointConfig, RayResult, box_bounds, render_rays
from threestudio_like.representations import sample_planes
from threestudio_like.systems.image_to_3d.g3dr_cameras import (
    CanonicalCamera,
    decode_depth,
    depth_variation,
    encode_depth,
    loss_weights,
    novel_offsets,
    novel_probability,
    yaw_limit,
)
from threestudio_like.training.g3dr import (
    FolderRgbd,
    G3drTraining,
    ToyRgbd,
    as_pictures,
    g3dr_stage,
    render_view,
    step_terms,
)


def rays(count=5, distance=5.0):
    """Rays (1, R, 3) along -Z from z = distance."""
    origins = torch.zeros(1, count, 3)
    origins[..., 0] = torch.linspace(-0.5, 0.5, count)
    origins[..., 2] = distance
    return origins, torch.tensor([0.0, 0.0, -1.0]).expand(1, count, 3)


def wall(z=0.0, level=400.0):
    """A volume that is opaque behind z, red."""

    def volume(points):
        density = torch.where(points[..., 2] < z, level, -50.0)
        return density, torch.tensor([1.0, 0.0, 0.0]).expand(*points.shape[:2], 3)

    return volume


def test_rays_meet_the_box():
    origins, directions = rays()
    near, far = box_bounds(origins, directions, 2.0)
    assert torch.allclose(near, torch.full_like(near, 4.0))
    assert torch.allclose(far, torch.full_like(far, 6.0))
    origins[0, 0, 0] = 3.0
    near, far = box_bounds(origins, directions, 2.0)
    assert float(near[0, 0]) == pytest.approx(4)
    assert float(far[0, 0]) == pytest.approx(6)


@pytest.mark.parametrize("fine", [0, 64])
def test_a_wall_is_seen_where_it_stands(fine):
    origins, directions = rays()
    result = render_rays(wall(0.3), origins, directions, MidpointConfig(coarse=64, fine=fine))
    assert torch.allclose(
        result.depth, torch.full_like(result.depth, 4.7), atol=0.02 if fine else 0.05
    )
    assert float(result.opacity.min()) > 0.99
    assert torch.allclose(
        result.colour, torch.tensor([1.0, 0, 0]).expand_as(result.colour), atol=0.01
    )


def test_thin_matter_has_the_closed_form_opacity():
    origins, directions = rays()

    def volume(points):
        return torch.full(points.shape[:2], 0.5), torch.full((*points.shape[:2], 3), 0.25)

    result = render_rays(volume, origins, directions, MidpointConfig(coarse=256, fine=0))
    # softplus(0.5 - 1) over the length between the first and the last sample.
    length = 2.0 * 255 / 256
    wanted = 1 - math.exp(-float(F.softplus(torch.tensor(-0.5))) * length)
    assert torch.allclose(result.opacity, torch.full_like(result.opacity, wanted), atol=1e-5)
    assert torch.allclose(result.colour, result.opacity[..., None] * 0.25, atol=1e-5)


def test_importance_samples_go_where_matter_is_and_the_comb_to_the_known_depth():
    origins, directions = rays()
    config = MidpointConfig(coarse=32, fine=32)
    t = render_rays(wall(0.3), origins, directions, config, RandomStream(0, "x", 0)).t
    assert float(((t - 4.7).abs() < 0.15).float().mean()) > 0.4
    depth = torch.full((1, 5), 5.5)
    t = render_rays(
        wall(0.3), origins, directions, config, RandomStream(0, "x", 0), depth, comb=True
    ).t
    assert float(((t - 5.5).abs() <= 0.06).float().sum(-1).min()) >= 31
    again = render_rays(
        wall(0.3), origins, directions, config, RandomStream(0, "x", 0), depth, comb=True
    ).t
    assert torch.equal(t, again)


def test_gradients_fade_away_from_the_known_depth_and_values_stay():
    origins, directions = rays(3)
    depth = torch.full((1, 3), 4.9)
    results, grads = [], []
    for scaling in (None, DepthScaling()):
        seen = {}

        def volume(points, seen=seen):
            seen["density"] = torch.full(points.shape[:2], 0.3, requires_grad=True)
            seen["colour"] = torch.full((*points.shape[:2], 3), 0.4, requires_grad=True)
            return seen["density"], seen["colour"]

        result = render_rays(
            volume, origins, directions, MidpointConfig(coarse=64, fine=0), None, depth, scaling
        )
        (result.colour.sum() + result.depth.sum()).backward()
        results.append(result)
        grads.append((seen["density"].grad.view(1, 3, 64), seen["colour"].grad.view(1, 3, 64, 3)))
    assert torch.equal(results[0].colour, results[1].colour)
    assert torch.equal(results[0].depth, results[1].depth)
    ratio = grads[1][1][..., 0] / grads[0][1][..., 0]
    t = torch.linspace(4 + 1 / 64, 6 - 1 / 64, 64)
    middle = (t[1:] + t[:-1]) / 2
    factor = DepthScaling().factor(middle, torch.tensor(4.9))
    # A sample's colour reaches two mid-points; in between their factors.
    low, high = torch.minimum(factor[1:], factor[:-1]), torch.maximum(factor[1:], factor[:-1])
    inner = ratio[0, 0, 1:-1]
    assert bool(((inner >= low - 1e-4) & (inner <= high + 1e-4)).all())
    far = grads[1][0][0, 0, -8:].abs() / grads[0][0][0, 0, -8:].abs().clamp_min(1e-12)
    assert float(far.max()) < 0.06


def test_standardised_convolution_and_linear_attention():
    torch.manual_seed(0)
    conv = StandardisedConv(8, 4, 3, padding=1)
    x = torch.randn(1, 8, 6, 6)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(3).add_(0.7)
    assert torch.allclose(conv(x), before, rtol=5e-3, atol=2e-2)
    for linear in (True, False):
        layer = PlaneAttention(8, 2, 4, linear)
        assert layer(x).shape == x.shape
        with torch.no_grad():
            layer.out.weight.zero_()
            layer.out.bias.zero_()
        assert torch.equal(layer(x), x)


def test_the_generator_has_its_layout_and_levels_cost_nothing():
    with torch.device("meta"):
        paper = TriplaneGenerator(TriplaneGeneratorConfig())
    assert tuple(paper.stem.weight.shape) == (128, 260, 7, 7)
    assert tuple(paper.out.weight.shape[:2]) == (192, 128)
    assert [entry[-2].qkv.weight.shape[1] for entry in paper.up] == [1024, 512, 256, 128]
    torch.manual_seed(0)
    small = TriplaneGeneratorConfig(
        size=16,
        width=8,
        multipliers=(1, 2),
        blocks=1,
        heads=2,
        head_width=4,
        positions=3,
        features=6,
        hidden=8,
        levels=3,
        axes="proper",
        groups=4,
    )
    model = TriplaneGenerator(small)
    assert torch.equal(model.position, torch.ones_like(model.position))
    planes = model(torch.rand(2, 3, 16, 16) * 2 - 1, torch.full((2, 1, 16, 16), 5.0))
    assert planes.shape == (2, 3, 6, 16, 16)
    density, colour = model.read(planes, torch.rand(2, 50, 3) * 2 - 1)
    assert density.shape == (2, 50)
    assert float(colour.detach().min()) > -0.0011
    single = TriplaneGenerator(TriplaneGeneratorConfig(**{**vars(small), "levels": 1}))
    assert sum(p.numel() for p in single.parameters()) == sum(p.numel() for p in model.parameters())
    # Depth is looked at.
    other = model(torch.zeros(1, 3, 16, 16), torch.full((1, 1, 16, 16), 4.2))
    assert not torch.allclose(
        other, model(torch.zeros(1, 3, 16, 16), torch.full((1, 1, 16, 16), 5.8)), atol=1e-4
    )


def test_the_generator_overfits_one_wall():
    torch.manual_seed(0)
    model = TriplaneGenerator(
        TriplaneGeneratorConfig(
            size=16,
            width=8,
            multipliers=(1, 2),
            blocks=1,
            heads=2,
            head_width=4,
            positions=3,
            features=8,
            hidden=16,
            levels=3,
            axes="proper",
            groups=4,
        )
    )
    rgb, depth = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 1, 16, 16), 5.0)
    origins, directions = rays(64)
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    wanted = torch.tensor([0.8, 0.3, 0.2])
    for step in range(60):
        planes = model(rgb, depth)
        random, near = RandomStream(0, "x", step), torch.full((1, 64), 5.0)
        result = render_rays(
            lambda p, planes=planes: model.read(planes, p),
            origins,
            directions,
            MidpointConfig(coarse=16, fine=16),
            random,
            near,
            DepthScaling(),
        )
        loss = (
            (result.colour - wanted).abs().mean()
            + (result.depth - 5.0).abs().mean()
            + (1 - result.opacity).mean()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float((result.colour - wanted).abs().mean().detach()) < 0.08
    assert float((result.depth - 5.0).abs().mean().detach()) < 0.15
    assert float(result.opacity.mean().detach()) > 0.9


# METHODS 3.12: camera, depth, schedules


def test_canonical_camera():
    camera = CanonicalCamera()
    origins, directions = camera.rays(65)
    centre = 32 * 65 + 32
    assert torch.allclose(origins[0, centre] + 5 * directions[0, centre], torch.zeros(3), atol=1e-5)
    for index, (x, y) in {0: (-1, 1), 64: (1, 1), 65 * 65 - 1: (1, -1)}.items():
        o, d = origins[0, index], directions[0, index]
        hit = o + d * (-o[2] / d[2])
        assert torch.allclose(hit, torch.tensor([0.792 * x, 0.792 * y, 0.0]), atol=1e-3)
    assert camera.half_width == pytest.approx(0.792, abs=1e-3)
    origins, _ = camera.rays(3, torch.tensor([0.3]), torch.tensor([0.0]))
    assert float(origins[0, 0, 0]) == pytest.approx(5 * math.sin(0.3), abs=1e-5)
    origins, directions = camera.rays(65, torch.tensor([0.4, -0.2]), torch.tensor([0.1, -0.1]))
    assert torch.allclose(
        origins[:, centre] + 5 * directions[:, centre], torch.zeros(2, 3), atol=1e-5
    )
    assert float(origins[0, 0, 1]) < 0 < float(origins[1, 0, 1])


def test_depth_is_decoded_as_published():
    assert decode_depth(np.array([0, 65535], np.uint16)) == pytest.approx([4.0, 5.99997], abs=1e-5)
    raw = np.arange(0, 65536, 97, dtype=np.uint16)
    assert np.array_equal(encode_depth(decode_depth(raw)), raw)


def test_novel_views_come_as_often_and_from_as_far_as_published():
    for fraction, wanted in ((0.0, 0.0), (0.1, 0.2), (0.2, 0.4), (1.0, 0.4)):
        assert novel_probability(fraction) == pytest.approx(wanted)
        draws = torch.stack(
            [RandomStream(0, "x", n).uniform("view") for n in range(3000)]
        ) < novel_probability(fraction)
        assert (
            abs(float(draws.float().mean()) - wanted)
            <= 3 * math.sqrt(wanted * (1 - wanted) / 3000) + 1e-9
        )
    # k falls linearly: 24, 15, 6.
    for fraction, degrees in ((0.0, 7.5), (1 / 6, 12.0), (1 / 3, 30.0), (1.0, 30.0)):
        assert math.degrees(yaw_limit(fraction)) == pytest.approx(degrees)
        yaw, pitch = novel_offsets(RandomStream(0, "x", 1), 4000, fraction)
        assert 0.97 * degrees < math.degrees(float(yaw.abs().max())) <= degrees
        assert 9.7 < math.degrees(float(pitch.abs().max())) <= 10


@pytest.mark.parametrize(
    ("novel", "fraction", "wanted"),
    [
        (False, 0.0, (1, 2, 0, 0, 0, 0, False)),
        (False, 0.25, (1, 2, 0, 0, 0, 0.5, False)),
        (False, 0.5, (1, 2, 1, 0.175, 0, 1, False)),
        (False, 1.0, (1, 2, 1, 0.175, 0, 1, False)),
        (True, 0.1, (0, 0, 2, 0.35, 0.1, 0.2, True)),
        (True, 0.9, (0, 0, 2, 0.35, 0.1, 1, True)),
    ],
)
def test_loss_table(novel, fraction, wanted):
    assert astuple(loss_weights(novel, fraction)) == wanted


def test_depth_variation_and_relief_figures():
    ramp = torch.linspace(4, 6, 64).view(1, 64, 1).expand(1, 64, 64)
    assert float(depth_variation(ramp)) == pytest.approx((2 / 63) ** 2, rel=1e-4)
    assert non_flatness(torch.full((3, 16, 16), 5.0), 4, 6) == pytest.approx(1)
    assert non_flatness(ramp, 4, 6) == pytest.approx(64, rel=1e-3)
    one = torch.zeros(10, 32)
    one[:, 5] = 0.9
    assert ray_entropy(one) == pytest.approx(0, abs=1e-5)
    assert ray_entropy(torch.full((10, 32), 0.02)) == pytest.approx(math.log(32), abs=1e-4)
    assert ray_entropy(torch.zeros(4, 8)) == 0


# training


def tiny():
    return TriplaneGeneratorConfig(
        size=64,
        width=8,
        multipliers=(1, 2, 2),
        blocks=1,
        heads=1,
        head_width=8,
        positions=2,
        features=8,
        hidden=16,
        levels=3,
        axes="proper",
        groups=8,
    )


def tiny_config(**more):
    return G3drTraining(
        generator=tiny(), rays=MidpointConfig(coarse=12, fine=12), render=16, batch=2, **more
    )


class Flat(PerceptualPrior):
    """Five layers: the picture itself at five sizes."""

    def features(self, images):
        x = images.permute(0, 3, 1, 2)
        return [F.avg_pool2d(x, 2**k) if k else x for k in range(5)]


class Colour(ImageTextPrior):
    def embed_images(self, images):
        return F.normalize(self.raw_images(images), dim=-1)

    def raw_images(self, images):
        return images.mean((1, 2))

    def embed_texts(self, texts):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("novel", "fraction", "names"),
    [
        (False, 0.1, {"rgb", "depth", "opacity"}),
        (False, 0.6, {"rgb", "depth", "perceptual", "clip", "opacity"}),
        (True, 0.3, {"perceptual", "clip", "smooth", "opacity"}),
    ],
)
def test_every_phase_has_its_terms(novel, fraction, names):
    config = tiny_config()
    colour, depth = torch.rand(2, 256, 3), 4 + torch.rand(2, 256)
    result = RayResult(
        colour, depth, torch.full((2, 256), 0.9), torch.zeros(2, 256, 4), torch.zeros(2, 256, 4)
    )
    picture, near, whole = (
        torch.rand(2, 16, 16, 3),
        torch.full((2, 16, 16), 5.0),
        torch.rand(2, 64, 64, 3),
    )
    weights = loss_weights(novel, fraction)
    terms = step_terms(weights, config, result, picture, near, whole, Flat(), Colour())
    assert set(terms) == names
    if "rgb" in names:
        assert float(terms["rgb"]) == pytest.approx(
            2 * float((colour.view(2, 16, 16, 3) - picture).abs().mean()), rel=1e-5
        )
        assert float(terms["depth"]) == pytest.approx(
            2 * float((depth.view(2, 16, 16) - 5).abs().mean()), rel=1e-5
        )
    if "clip" in names:
        wanted = float((colour.mean(1) - whole.mean((1, 2))).abs().mean())
        assert float(terms["clip"]) == pytest.approx(weights.clip * wanted, rel=1e-4)
    assert float(terms["opacity"]) == pytest.approx(min(1, 2 * fraction) * 0.1, rel=1e-4)
    # The switches of the ablation.
    assert "clip" not in step_terms(
        weights, tiny_config(clip=0.0), result, picture, near, whole, Flat(), Colour()
    )
    assert "perceptual" not in step_terms(
        weights, config, result, picture, near, whole, None, Colour()
    )


def test_toybox_pictures_stand_before_a_wall(tmp_path):
    source = ToyRgbd(tmp_path, 3, 6)
    rgb, depth = source.batch(torch.tensor([0, 4]))
    assert rgb.shape == (2, 3, 64, 64)
    assert depth.shape == (2, 1, 64, 64)
    assert float(rgb.min()) >= -1
    assert 4 < float(depth.min()) < 5 < float(depth.max())
    assert float(depth[0, 0, 0, 0]) == pytest.approx(4 + 2 * 0.95)
    assert float(rgb[0, 0, 0, 0]) == pytest.approx(2 * 0.8 - 1, abs=0.01)


class Slope(DepthPrior):
    """Disparity that falls from left to right."""

    inverse = True

    def predict(self, images):
        return torch.linspace(3, -7, images.shape[2]).expand(images.shape[0], images.shape[1], -1)


def test_pictures_without_depth_go_through_the_estimator(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="--depth"):
        FolderRgbd(tmp_path, 32, None)
    said = []
    source = FolderRgbd(tmp_path, 32, Slope(), Skipped(said.append))
    rgb, depth = source.batch(torch.tensor([0, 2]))
    assert any("c.png" in s for s in said)
    assert rgb.shape == (2, 3, 32, 32)
    assert float(depth[0, 0, 0, 0]) == pytest.approx(4.1, abs=0.01)
    assert float(depth[0, 0, 0, -1]) == pytest.approx(5.9, abs=0.01)
    Image.fromarray(encode_depth(np.full((40, 40), 5.25, np.float32))).save(
        tmp_path / "a.depth.png"
    )
    _, depth = FolderRgbd(tmp_path, 32, None).batch(torch.tensor([0]))
    assert torch.allclose(depth, torch.full_like(depth, 5.25), atol=1e-4)


def test_a_step_of_every_kind_trains(tmp_path):
    torch.manual_seed(0)
    model, config = TriplaneGenerator(tiny()), tiny_config(steps=8)
    stage = g3dr_stage("g3dr", model, config, ToyRgbd(tmp_path, 3, 6), Flat(), Colour())
    kinds = set()
    for index in range(8):
        for fraction in (0.05, 0.6):
            terms = stage.loss(Step("g3dr", index, 8, fraction, 0))
            kinds.add(frozenset(terms))
            sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert {"smooth" in k for k in kinds} == {True, False}
    again = stage.loss(Step("g3dr", 3, 8, 0.6, 0))
    twice = stage.loss(Step("g3dr", 3, 8, 0.6, 0))
    assert all(torch.equal(again[k], twice[k]) for k in again)


def test_a_turn_of_the_camera_renders_without_holes_and_the_same_twice():
    torch.manual_seed(0)
    model = TriplaneGenerator(tiny()).eval()
    with torch.no_grad():
        planes = model(torch.zeros(1, 3, 64, 64), torch.full((1, 1, 64, 64), 5.0))
        for degrees in (-30, 0, 30):
            offsets = torch.tensor([math.radians(degrees)]), torch.tensor([0.05])
            views = [
                render_view(
                    model,
                    planes,
                    CanonicalCamera(),
                    MidpointConfig(coarse=64, fine=64),
                    32,
                    None,
                    offsets,
                )
                for _ in range(2)
            ]
            assert torch.isfinite(views[0].colour).all()
            assert torch.equal(views[0].colour, views[1].colour)


def test_a_generator_begins_as_the_relief_of_its_depth():
    """Before any training, what it renders is the given picture at the given depth, and nothing
    stands in the shadow of an edge."""
    torch.manual_seed(0)
    config = TriplaneGeneratorConfig(
        size=32,
        width=8,
        multipliers=(1, 2),
        blocks=1,
        heads=2,
        head_width=4,
        positions=6,
        features=8,
        hidden=16,
        levels=3,
        axes="proper",
        groups=4,
        position="coordinates",
        relief=True,
        bias=-4.0,
        gain=20.0,
    )
    model, camera = TriplaneGenerator(config), CanonicalCamera()
    rgb, depth = ball(32)
    with torch.no_grad():
        planes = model(rgb, depth)
        seen = as_pictures(
            render_view(model, planes, camera, MidpointConfig(coarse=64, fine=64), 32), 32
        )
    given = (rgb.permute(0, 2, 3, 1) + 1) / 2
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert float((seen[0] - given)[inner].abs().mean()) < 0.03
    assert float((seen[1] - depth[:, 0])[inner].abs().mean()) < 0.06
    # The height over the surface is what the first feature says, whatever the number of levels.
    point = torch.tensor([[[0.0, 0.0, 0.1], [0.0, 0.0, 0.5]]])
    for levels in (1, 3):
        one = TriplaneGenerator(replace(config, levels=levels))
        height = sample_planes(one(rgb, depth), point, levels)[0, :, 0] / 4
        assert torch.allclose(height, torch.tensor([-0.2, 0.2]), atol=0.04), levels
    assert len(model.state_dict()) == len(
        TriplaneGenerator(replace(config, relief=False)).state_dict()
    )


def test_the_relief_stands_where_the_camera_sees_it():
    """A wall at z = 0.3 whose colours are the rays' slopes: over (x, y) lies the pixel that looks
    there."""
    line = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    slant = (1 + (x**2 + y**2) * math.tan(math.radians(9)) ** 2).sqrt()
    found = on_plane(torch.stack([x, y, torch.zeros_like(x), 4.7 * slant])[None], 64)[0]
    middle = (torch.arange(64) + 0.5) / 64 * 2 - 1
    shown = middle.abs() < 0.7
    assert torch.allclose(found[3][shown][:, shown], torch.tensor(0.3), atol=0.002)
    assert torch.allclose(
        found[0][32][shown], middle[shown] / (4.7 * math.tan(math.radians(9))), atol=0.01
    )
    assert torch.allclose(
        found[1][shown, 32], middle[shown] / (4.7 * math.tan(math.radians(9))), atol=0.01
    )


def test_a_plane_is_sharpened_for_its_pyramid():
    plane = torch.zeros(1, 1, 32, 32)
    plane[..., 16:] = 1.0
    read = sample_planes(
        torch.cat([3 * sharpened(plane, 3), torch.zeros(1, 2, 32, 32)], 1).view(1, 3, 1, 32, 32),
        torch.tensor([[[-0.1, 0.0, 0.0], [0.1, 0.0, 0.0], [0.5, 0.0, 0.0]]]),
    )[0, :, 0]
    assert torch.allclose(read, torch.tensor([0.0, 1.0, 1.0]), atol=0.15)
    assert torch.equal(sharpened(plane, 1), plane)


def ball(size):
    """A ball before a wall: picture (1, 3, S, S) in [-1, 1] and distances (1, 1, S, S)."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    far = (x**2 + y**2).sqrt()
    inside = far < 0.6
    depth = torch.where(inside, 5.0 - 0.5 * (0.36 - far**2).clamp_min(0).sqrt(), torch.tensor(5.7))
    warm = torch.stack([0.8 + 0 * x, 0.3 + 0.2 * y, 0.2 + 0.2 * x], -1)
    colour = torch.where(inside[..., None], warm, torch.tensor([0.7, 0.75, 0.8]))
    return colour.permute(2, 0, 1)[None] * 2 - 1, depth[None, None]


def overfit(steps, scaled, depth_loss, relief, size=32, rate=2e-3):
    """Train a small generator on one picture; its PSNR, depth error, opacity and entropy of
    weights."""
    torch.manual_seed(0)
    rgb, depth = ball(size)
    picture, wanted = (rgb.permute(0, 2, 3, 1) + 1) / 2, depth.flatten(1)
    model, camera = (
        TriplaneGenerator(
            TriplaneGeneratorConfig(
                size=size,
                width=16,
                multipliers=(1, 2),
                blocks=1,
                heads=2,
                head_width=8,
                positions=8,
                features=16,
                hidden=32,
                position="coordinates",
                relief=relief,
                bias=-4.0,
                gain=20.0,
            )
        ),
        CanonicalCamera(),
    )
    optimiser = torch.optim.Adam(model.parameters(), rate, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, step / 10) * min(1.0, (steps - step) / (0.4 * steps))
        random = RandomStream(0, "overfit", step)
        seen = render_view(
            model,
            model(rgb, depth),
            camera,
            MidpointConfig(coarse=16, fine=16),
            size,
            random,
            None,
            wanted,
            DepthScaling() if scaled else None,
            step % 5 < 2,
        )
        loss = 2 * (seen.colour.view_as(picture) - picture).abs().mean() + (1 - seen.opacity).mean()
        loss = loss + depth_loss * (seen.depth - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        planes = model(rgb, depth)
        seen = render_view(model, planes, camera, MidpointConfig(coarse=48, fine=48), size)
        error = float((seen.colour.view_as(picture) - picture).square().mean())
        # Importance samples crowd where matter is: entropy is of even samples.
        even = render_view(model, planes, camera, MidpointConfig(coarse=128, fine=0), size)
    off = float((seen.depth - wanted).abs().mean())
    return -10 * math.log10(error), off, float(seen.opacity.mean()), ray_entropy(even.weights)


def test_one_picture_is_learnt_by_heart():
    """METHODS 3.12: PSNR above 30 dB, depth off by less than 0.02, opacity above 0.98, with scaled
    gradients."""
    decibels, off, opacity, _ = overfit(180, True, 2.0, True)
    assert decibels > 30
    assert off < 0.02
    assert opacity > 0.98


def test_scaled_gradients_keep_weights_together_where_no_depth_loss_does():
    """METHODS 3.12, ablation: with S = 1 weights spread further along rays. From first weights that
    know nothing of relief."""
    scaled, free = (overfit(120, s, 0.0, False, 20)[3] for s in (True, False))
    assert free > scaled + 0.3
