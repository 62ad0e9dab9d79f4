"""Triplanes, gradient scaling by depth, and the terms that hold a rendering against a picture
(METHODS 3.3, 3.4, 3.6, 3.7)."""

import math

import pytest
import torch

from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance import (
    ClipGuidance,
    DepthGuidance,
    DepthScaling,
    GuidanceInputs,
    OpacityGuidance,
    ReferenceGuidance,
    fit_scale_and_shift,
    scale_gradient,
)
from threestudio_like.priors.clip import ImageTextPrior
from threestudio_like.renderers import BackgroundSample, Cameras, VolumeConfig, VolumeRenderer
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.representations import Field, TriplaneConfig, TriplaneField, sample_planes
from threestudio_like.representations.triplane import AXES, EqualLinear, PlaneDecoder, pyramid


def cameras(size=16):
    return Cameras.orbit(torch.zeros(1), torch.zeros(1), 3.0, math.radians(40), size, size)


VIEW = GuidanceInputs(cameras(), 0.5, RandomStream(0, "x", 0))


def shown(features, opacity=None, depth=None):
    opacity = torch.ones_like(features[..., :1]) if opacity is None else opacity
    return Rendering(
        features,
        opacity,
        torch.zeros_like(opacity) if depth is None else depth,
        torch.zeros_like(features),
    )


# triplanes


def test_every_plane_sees_its_own_coordinates():
    planes = torch.zeros(1, 3, 3, 8, 8)
    line = (torch.arange(8) + 0.5) / 8 * 2 - 1
    for k in range(3):
        # Channel k holds plane k's first coordinate (columns).
        planes[0, k, k] = line
    points = torch.tensor([[[0.3, -0.2, 0.6]]])
    proper = 3 * sample_planes(planes, points, 1, "proper")[0, 0]
    assert torch.allclose(proper, torch.tensor([0.3, 0.3, -0.2]), atol=1e-6)
    slip = 3 * sample_planes(planes, points, 1, "eg3d")[0, 0]
    assert torch.allclose(slip, torch.tensor([0.3, 0.3, 0.6]), atol=1e-6)
    assert {frozenset(a) for a in AXES["proper"]} == {
        frozenset(a) for a in ((0, 1), (0, 2), (1, 2))
    }
    # EG3D's never looks at y and z together.
    assert frozenset((1, 2)) not in {frozenset(a) for a in AXES["eg3d"]}
    rows = torch.zeros(1, 3, 1, 8, 8)
    rows[0, 0, 0] = line[:, None]
    assert float(3 * sample_planes(rows, points, 1)[0, 0, 0]) == pytest.approx(-0.2, abs=1e-6)


def test_levels_of_constant_planes_add_up_and_bring_no_parameters():
    planes = torch.full((2, 3, 5, 32, 32), 0.7)
    points = torch.rand(2, 50, 3) * 1.6 - 0.8
    assert torch.allclose(
        sample_planes(planes, points, 3), 3 * sample_planes(planes, points, 1), atol=1e-5
    )
    assert [p.shape[-1] for p in pyramid(planes[0], 3)] == [32, 16, 8]
    counts = [
        sum(p.numel() for p in TriplaneField(TriplaneConfig(levels=n), 3).parameters())
        for n in (1, 3)
    ]
    assert counts[0] == counts[1]


def test_coarse_levels_widen_what_a_point_learns_from():
    planes = torch.zeros(1, 3, 1, 32, 32, requires_grad=True)
    touched = []
    for levels in (1, 3):
        (grad,) = torch.autograd.grad(
            sample_planes(planes, torch.tensor([[[0.1, 0.1, 0.1]]]), levels).sum(), planes
        )
        touched.append(int((grad != 0).sum()))
    assert touched[0] == 12
    assert touched[1] > 300


def test_outside_the_box_planes_are_zero():
    assert (
        float(
            sample_planes(torch.ones(1, 3, 2, 8, 8), torch.tensor([[[1.5, 1.5, 1.5]]])).abs().max()
        )
        == 0
    )


def test_decoder_has_its_ranges_and_its_start():
    torch.manual_seed(0)
    layer = EqualLinear(400, 300)
    assert float(layer.weight.std()) == pytest.approx(1, abs=0.02)
    assert float(layer(torch.randn(2000, 400)).std()) == pytest.approx(1, abs=0.05)
    raw, colour = PlaneDecoder(8)(100 * torch.randn(500, 8))
    assert raw.shape == (500,)
    assert colour.shape == (500, 3)
    assert -0.001 - 1e-6 <= float(colour.min()) < 0.0
    assert 1.0 < float(colour.max()) <= 1.001 + 1e-6


def test_a_triplane_field_fits_a_ball():
    field = TriplaneField(TriplaneConfig(resolution=24, features=8, hidden=16), 3, seed=1)
    again = TriplaneField(TriplaneConfig(resolution=24, features=8, hidden=16), 3, seed=1)
    assert torch.equal(field.planes, again.planes)
    assert torch.equal(field.decoder.out.weight, again.decoder.out.weight)
    optimiser = torch.optim.Adam(field.parameters(), 2e-2)
    for step in range(150):
        points = torch.rand(1024, 3, generator=torch.Generator().manual_seed(step)) * 2 - 1
        density, features = field(points)
        inside = (points.norm(dim=-1) < 0.6).float()
        loss = (1 - torch.exp(-density * 0.2) - inside).square().mean() + (
            features - 0.5
        ).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(999)) * 2 - 1
    found = 1 - torch.exp(-field(points)[0] * 0.2) > 0.5
    assert float((found == (points.norm(dim=-1) < 0.6)).float().mean()) > 0.97


# gradient scaling


@pytest.mark.parametrize(
    ("off", "wanted"), [(0.0, 1.0), (0.0818, 1.0), (0.2, 0.3295), (0.4, 0.05), (-0.2, 0.3295)]
)
def test_scaling_factor_at_its_known_points(off, wanted):
    factor = DepthScaling().factor(torch.tensor(5.0 + off), torch.tensor(5.0))
    assert float(factor) == pytest.approx(wanted, abs=2e-4)
    assert float(DepthScaling().factor(torch.tensor(5.0), torch.tensor(float("inf")))) == 1


def test_scaled_gradient_is_the_numerical_one_times_the_factor():
    torch.manual_seed(0)
    x = torch.randn(7, dtype=torch.float64, requires_grad=True)
    factor = torch.rand(7, dtype=torch.float64)

    def f(v):
        return (v.sin() * torch.arange(1, 8)).sum() + v.prod()

    y = scale_gradient(x, factor)
    assert torch.equal(y, x)
    f(y).backward()
    numeric = torch.stack(
        [
            (f(x.detach() + d) - f(x.detach() - d)) / 2e-6
            for d in 1e-6 * torch.eye(7, dtype=torch.float64)
        ]
    )
    assert torch.allclose(x.grad, numeric * factor, atol=1e-6)


def test_scaling_that_clears_leaves_gradients_alone_that_take_away():
    x = torch.tensor([0.5, 0.5], requires_grad=True)
    # Descent lowers the first value and raises the second.
    (
        scale_gradient(x, torch.tensor([0.05, 0.05]), clear=True) * torch.tensor([2.0, -2.0])
    ).sum().backward()
    assert x.grad.tolist() == pytest.approx([2.0, -0.1])
    amount, colour = (
        torch.full((3,), 0.4, requires_grad=True),
        torch.full((3, 3), 0.4, requires_grad=True),
    )
    t, depth = torch.tensor([4.5, 5.0, 5.5]), torch.tensor(5.0)
    one, two = DepthScaling(clear=True).apply(amount, colour, t, depth.expand(3))
    (one.sum() + two.sum()).backward()
    assert torch.equal(amount.grad, torch.ones(3))
    # Colours are scaled either way: there is no sign that clears them.
    assert colour.grad[:, 0].tolist() == pytest.approx([0.05, 1.0, 0.05])


class Ball(Field):
    """Density and colours at one parameter each per sample, for gradients."""

    channels = 3

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, points):
        self.seen = points
        self.density_in = (
            (self.level * torch.exp(-4 * points.square().sum(-1))).detach().requires_grad_()
        )
        self.features_in = torch.full((len(points), 3), 0.5).requires_grad_()
        return self.density_in, self.features_in


def test_the_renderer_scales_what_is_far_from_the_known_surface_and_nothing_else():
    renderer = VolumeRenderer(VolumeConfig(samples=48, occupancy=8))
    some, behind = cameras(8), BackgroundSample(torch.zeros(1, 8, 8, 3))
    weights = torch.randn(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    grads = []
    depth = torch.full((64,), 2.6)
    for known in (None, (depth, DepthScaling())):
        field = Ball()
        rendering = renderer.render(field, some, behind, known=known)
        (rendering.features * weights).sum().backward()
        grads.append(
            (
                rendering.features.detach(),
                field.density_in.grad,
                field.features_in.grad,
                rendering.samples.t,
            )
        )
    assert torch.equal(grads[0][0], grads[1][0])
    factor = DepthScaling().factor(grads[0][3], torch.tensor(2.6))
    assert float(factor.min()) < 0.06
    assert torch.allclose(grads[1][1], grads[0][1] * factor, atol=1e-7)
    assert torch.allclose(grads[1][2], grads[0][2] * factor[:, None], atol=1e-7)


# guidance


def test_reference_guidance_is_zero_on_its_own_picture():
    picture, mask = torch.rand(16, 16, 3), (torch.rand(16, 16) > 0.5).float()
    for norm in ("l1", "l2"):
        guidance = ReferenceGuidance(picture, mask, norm)
        assert float(
            guidance(shown(picture[None], mask[None, ..., None]), VIEW)[0]
        ) == pytest.approx(0, abs=1e-7)
    off = shown(picture[None] + 0.1, mask[None, ..., None])
    assert float(ReferenceGuidance(picture, mask, "l1")(off, VIEW)[0]) == pytest.approx(
        0.1, abs=1e-5
    )
    assert float(ReferenceGuidance(picture, mask, "l2")(off, VIEW)[0]) == pytest.approx(
        0.01, abs=1e-5
    )
    clear = shown(picture[None], torch.zeros(1, 16, 16, 1))
    assert float(ReferenceGuidance(picture, mask, opacity=3.0)(clear, VIEW)[0]) == pytest.approx(
        3 * float(mask.mean()), abs=1e-5
    )
    # A picture of another size is averaged to the rendering's.
    assert (
        float(
            ReferenceGuidance(torch.full((64, 64, 3), 0.3), torch.ones(64, 64))(
                shown(torch.full((1, 16, 16, 3), 0.3)), VIEW
            )[0]
        )
        < 1e-6
    )


def test_depth_guidance_with_and_without_scale_and_shift():
    known = 2 + torch.rand(16, 16)
    mask = torch.ones(16, 16)
    opacity = torch.full((1, 16, 16, 1), 0.5)
    exact = shown(torch.zeros(1, 16, 16, 3), opacity, known[None, ..., None] * 0.5)
    assert float(DepthGuidance(known, mask)(exact, VIEW)[0]) == pytest.approx(0, abs=1e-5)
    assert float(DepthGuidance(3 * known - 1, mask)(exact, VIEW)[0]) > 1
    assert float(
        DepthGuidance(3 * known - 1, mask, invariant=True)(exact, VIEW)[0]
    ) == pytest.approx(0, abs=1e-4)
    # Depth that runs backwards is not explained by a negative scale.
    assert float(DepthGuidance(-known, mask, invariant=True)(exact, VIEW)[0]) > 0.1
    scale, shift = fit_scale_and_shift(known, 2 * known + 0.5, mask)
    assert float(scale) == pytest.approx(2, abs=1e-4)
    assert float(shift) == pytest.approx(0.5, abs=1e-3)


class Mean(ImageTextPrior):
    """Embeds a picture as the direction of its mean colour."""

    def embed_images(self, images):
        return torch.nn.functional.normalize(images.mean((1, 2)), dim=-1)

    def embed_texts(self, texts):
        words = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0)}
        return torch.tensor([words[t] for t in texts])


def test_clip_guidance_towards_a_picture_and_a_text():
    red, blue = (torch.tensor(c).expand(1, 8, 8, 3) for c in ((0.8, 0.0, 0.0), (0.0, 0.0, 0.4)))
    for guidance in (ClipGuidance.of_picture(Mean(), red), ClipGuidance.of_text(Mean(), "red")):
        assert float(guidance(shown(red), VIEW)[0]) == pytest.approx(0, abs=1e-6)
        assert float(guidance(shown(blue), VIEW)[0]) == pytest.approx(1, abs=1e-6)
    assert float(ClipGuidance.of_picture(Mean(), red, "l1")(shown(blue), VIEW)[0]) == pytest.approx(
        2 / 3, abs=1e-6
    )
    grey = torch.full((1, 8, 8, 3), 0.5, requires_grad=True)
    ClipGuidance.of_text(Mean(), "red")(shown(grey), VIEW)[0].backward()
    assert float(grey.grad[..., 0].max()) < 0 < float(grey.grad[..., 2].min())


def test_opacity_guidance_asks_rays_to_end():
    opacity = torch.full((2, 16, 16, 1), 0.75)
    assert float(
        OpacityGuidance()(shown(torch.zeros(2, 16, 16, 3), opacity), VIEW)[0]
    ) == pytest.approx(0.25)
    half = torch.zeros(16, 16)
    half[:8] = 1
    opacity[:, 8:] = 0
    assert float(
        OpacityGuidance(half)(shown(torch.zeros(2, 16, 16, 3), opacity), VIEW)[0]
    ) == pytest.approx(0.25)
