"""Pictures of normals as a prior's second domain, and the guidance that shows it a shape's normals:
against the formula, another rasteriser, and through the command line."""

from __future__ import annotations

import math

import pytest
import torch

from tests.two_domains import one_domain, two_domains
from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError, ModelError
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance import GuidanceInputs, ScoreDistillation, ScoreDistillationConfig
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.normals import (
    NormalGuidance,
    NormalsConfig,
    in_space,
    normal_pictures,
    rendered_normals,
)
from threestudio_like.guidance.registry import GUIDANCES, GuidanceContext
from threestudio_like.guidance.score_distillation import weight
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.loading import load_prior
from threestudio_like.priors.oracle import PointMass
from threestudio_like.priors.sampling import join
from threestudio_like.renderers import BackgroundSample, Cameras, VolumeConfig, VolumeRenderer
from threestudio_like.representations import Field, TexturedMesh, VoxelField, VoxelGridConfig

from .runs import QUICK

DISTANCE, FOV = 3.0, math.radians(40.0)


class Ball(Field):
    """A solid ball of radius 0.5 about the origin, soft at its surface, whose size is learnt."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.radius = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, points):
        inside = (self.radius - points.norm(dim=-1)) * 60
        return 80 * torch.sigmoid(inside), torch.full((len(points), self.channels), 0.4)


def views(size=24, azimuths=(0.0, 1.2), elevations=(0.2, 0.2)):
    angles = torch.tensor(azimuths), torch.tensor(elevations)
    return Cameras.orbit(*angles, DISTANCE, fov_y=FOV, height=size, width=size)


def drawn(field, cameras, level=0.7):
    shape = (len(cameras), cameras.height, cameras.width, field.channels)
    renderer = VolumeRenderer(VolumeConfig(samples=96))
    renderer.refresh(field, RandomStream(0, "r", 0))
    return renderer.render(field, cameras, BackgroundSample(torch.full(shape, level), level))


def context(field, prior, encode=True):
    def render(cameras, random=None):
        return drawn(field, cameras, 0.0)

    return GuidanceContext(
        stage="rgb",
        prompt="a ball",
        prior=prior,
        encode=encode,
        decode=lambda x: x[..., :3],
        representation=field,
        render=render,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder of a prior whose normals differ from its colours."""
    return two_domains(tmp_path_factory.mktemp("two") / "prior", told=0.5)


def predicted(prior, domain="colour", cameras=True, views_together=1):
    seen = views(16, (0.3, 1.9, -2.7, -1.1), (0.1, 0.5, -0.1, 0.3))
    text = prior.encode_text(["a red chair, front view"] * 4)
    condition = Condition(text, seen if cameras else None, 0.5, views=views_together, domain=domain)
    noisy = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    return prior.predict(noisy, torch.full((4,), 600), condition)


@pytest.mark.parametrize("cameras", [True, False])
def test_colours_of_a_prior_of_two_domains_are_those_of_the_one(cameras, tmp_path):
    wide = load_prior(str(two_domains(tmp_path / "two")))
    less = load_prior(str(one_domain(tmp_path / "one")))
    assert wide.facts.domains == ("colour", "normal")
    assert less.facts.domains == ("colour",)
    ours, theirs = (predicted(p, cameras=cameras) for p in (less, wide))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cameras", [True, False])
def test_the_network_is_told_the_domain_alone(cameras, both):
    prior = load_prior(str(both))
    text = prior.encode_text(["a red chair"] * 2)
    seen = views() if cameras else None
    colour, normal = (
        prior._labels(Condition(text, seen, 0.5, domain=d), 2) for d in ("colour", "normal")
    )
    assert (colour[:, 8] == 0).all()
    assert (normal[:, 8] == 1).all()
    assert torch.equal(colour[:, :8], normal[:, :8])
    assert not torch.allclose(
        predicted(prior, "colour", cameras), predicted(prior, "normal", cameras), atol=1e-3
    )


def test_a_domain_survives_joining_dividing_and_a_limit_of_entries(both):
    whole, few = load_prior(str(both)), load_prior(str(both))
    text = whole.encode_text(["a red chair", ""])
    one = Condition(text[:1], views(16, (0.1,), (0.2,)), 0.5, domain="normal")
    assert join(one, Condition(text[1:])).domain == "normal"
    assert join(one, Condition(text[1:])).part(slice(1, 2)).domain == "normal"
    assert one.without(frozenset({"camera"})).domain == "normal"
    few.entries = 1
    torch.testing.assert_close(
        predicted(whole, "normal"), predicted(few, "normal"), atol=1e-4, rtol=1e-4
    )


def test_a_prior_without_normals_is_refused_in_one_line(tmp_path, capsys):
    folder = str(one_domain(tmp_path / "one"))
    with pytest.raises(ModelError, match="no pictures of normals"):
        predicted(load_prior(folder), "normal")
    line = ["generate", "a red chair", "--guidance.normals.weight", "1", "--prior", folder, "--out"]
    assert main([*line, str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert "--guidance.normals.prior" in told


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"normals": {"space": "screen"}}, "space"),
        ({"camera_vector": None}, "camera_vector"),
        ({"camera_vector": ["zero"] * 9}, "normal domain"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(declared, words, tmp_path):
    with pytest.raises(ModelError, match=words):
        load_prior(str(two_domains(tmp_path / "prior", **declared)))


def test_a_prior_of_normals_alone_makes_no_colours(tmp_path):
    alone = {"space": "camera", "only": True}
    prior = load_prior(str(two_domains(tmp_path / "prior", normals=alone)))
    assert prior.facts.domains == ("normal",)
    assert prior.facts.normal_space == "camera"
    with pytest.raises(ModelError, match="normals alone"):
        predicted(prior, "colour")


def exact_normals(cameras):
    """Where rays first meet a ball of radius 0.5, and the normals there: by the quadratic formula,
    for every pixel's centre."""
    origins, directions = cameras.rays()
    b = (origins * directions).sum(-1)
    under = b * b - (origins.square().sum(-1) - 0.25)
    hit = under > 0
    points = origins + (-b - under.clamp_min(0).sqrt())[..., None] * directions
    return hit, torch.nn.functional.normalize(points, dim=-1)


def test_normals_of_a_soft_ball_are_those_of_the_ball():
    cameras, field = views(32), Ball()
    rendering = drawn(field, cameras)
    normals = rendered_normals(rendering, field)
    hit, exact = exact_normals(cameras)
    inside = hit & (exact * -cameras.rays()[1]).sum(-1).gt(0.4)
    cosine = (normals * exact).sum(-1)[inside]
    assert float(cosine.clamp(-1, 1).acos().rad2deg().mean()) < 3.0
    picture = normal_pictures(normals, rendering.opacity, rendering.background)
    far = rendering.opacity[..., 0] < 1e-4
    torch.testing.assert_close(picture[far], torch.full_like(picture[far], 0.7), atol=1e-3, rtol=0)
    # Of the camera that looks from the front: up is green, right is red, towards it blue.
    front = exact_normals(views(32, (0.0,), (0.0,)))[1][0]
    assert float(front[4 + 4, 16, 1]) > 0.5
    assert float(front[16, 24, 0]) > 0.3


def test_camera_axes_are_those_of_the_picture():
    cameras = views(16, (1.1, -2.0), (0.4, -0.2))
    towards = torch.nn.functional.normalize(cameras.camera_to_world[:, :3, 3], dim=-1)
    world = towards[:, None, None].expand(-1, 16, 16, -1)
    turned = in_space(world, cameras, "camera")
    expected = torch.tensor([0.0, 0.0, 1.0]).expand_as(turned)
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    assert in_space(world, cameras, "world") is world


def test_the_gradient_is_the_formula_s_through_the_picture_of_normals():
    """Of a point mass the gradient in the picture is w(t) sqrt(abar / (1 - abar)) (x - mu) / B,
    which then goes on through (n + 1) / 2 before the background to what is optimised."""
    cameras, field, t = views(24), Ball(), 0.5
    mu = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(2))
    prior = PointMass(mu)
    prior.facts.domains = ("colour", "normal")
    config = NormalsConfig(
        scale=1.0, rescale=0.0, clamp=0.0, t_min=str(t), t_max=str(t), image_residual=False
    )
    guidance = NormalGuidance(prior, context(field, prior), config)
    inputs = GuidanceInputs(cameras, 0.0, RandomStream(0, "s", 0), background=0.7)
    rendering = drawn(field, cameras)
    output = guidance(rendering, inputs)
    (found,) = torch.autograd.grad(output.loss, field.radius, retain_graph=True)

    again = drawn(field, cameras)
    kept = again.samples
    unit = field.normals(kept.points)
    total = torch.zeros(again.opacity.numel(), 3).index_add(
        0, kept.ray, kept.weights[:, None] * unit
    )
    unit = torch.nn.functional.normalize(total, dim=-1, eps=1e-4).view(2, 24, 24, 3)
    x = again.opacity * (unit + 1) / 2 + (1 - again.opacity) * 0.7
    abar = prior.schedule.abar(guidance.times(2, inputs), x)[0].item()
    w = float(weight("clean", torch.tensor(abar)))
    g = w * math.sqrt(abar / (1 - abar)) * (x - mu.permute(1, 2, 0)) / 2
    (expected,) = torch.autograd.grad((g.detach() * x).sum(), field.radius)
    assert abs(float(expected)) > 1e-3
    torch.testing.assert_close(found, expected, rtol=0.03, atol=1e-4)


class Told(PointMass):
    """Remembers what it was asked."""

    def predict(self, latents, t, condition):
        self.asked = condition
        return super().predict(latents, t, condition)


@pytest.mark.parametrize("encode", [True, False])
def test_the_prior_is_asked_for_normals_before_the_stage_s_background(encode):
    """A stage of latents, whose renderings are small, has its normals drawn in the prior's size."""
    field = Ball(3 if encode else 4)
    prior = Told(torch.zeros(3, 32, 32))
    prior.facts.domains = ("colour", "normal")
    guidance = NormalGuidance(prior, context(field, prior, encode), NormalsConfig())
    cameras = views(32 if encode else 8)
    inputs = GuidanceInputs(cameras, 0.2, RandomStream(0, "s", 1), background=0.7)
    shown, told = guidance.shown(drawn(field, cameras), inputs)
    assert shown.features.shape == (2, 32, 32, 3)
    torch.testing.assert_close(shown.features[:, 0, 0], torch.full((2, 3), 0.7), atol=1e-3, rtol=0)
    assert told.background == 0.7
    loss = guidance(drawn(field, cameras), inputs).loss
    loss.backward()
    assert prior.asked.domain == "normal"
    assert field.radius.grad.abs() > 0
    plain = ScoreDistillation(prior, "x", ScoreDistillationConfig(), encode=True)
    plain(shown, told)
    assert prior.asked.domain == "colour"


def test_what_has_no_shape_is_refused():
    prior = PointMass(torch.zeros(3, 8, 8))
    field = VoxelField(VoxelGridConfig(size=8), channels=3)
    with pytest.raises(ModelError, match="no pictures of normals"):
        NormalGuidance(prior, context(field, prior), NormalsConfig())
    prior.facts.domains = ("colour", "normal")
    surface = TexturedMesh.__new__(TexturedMesh)
    with pytest.raises(ConfigError, match="changes none"):
        NormalGuidance(prior, context(surface, prior), NormalsConfig())


def test_it_is_chosen_by_name_and_its_memory_is_counted(both):
    prior = load_prior(str(both))
    chosen = Guidances().updated({"normals": {"weight": "0->0.5", "scale": 4}}, "guidance.")
    (beside,) = chosen.beside(prior)
    assert beside.prior is prior
    assert beside.encodes
    assert chosen.plain()["normals"]["scale"] == 4
    assert "normals" in GUIDANCES.names()


RUNS = {
    "generate": ["generate", "a red chair", *QUICK, "--rgb.steps", "2"],
    "mesh": [
        *("generate", "a red chair", *QUICK, "--refine-mesh", "--mesh.steps", "2"),
        *("--mesh.resolution", "64", "--mesh.shape.flexicubes.size", "16"),
    ],
}


@pytest.mark.parametrize("name", RUNS)
def test_it_guides_runs_by_the_command_line(name, both, tmp_path):
    out = tmp_path / name
    line = [*RUNS[name], "--prior", str(both), "--guidance.normals.weight", "0.3", "--quiet"]
    assert main([*line, "--out", str(out)]) == 0
    assert "normals:" in (out / "run.yaml").read_text()
    assert "normals.gradient" in (out / "events.jsonl").read_text()
    assert (out / "asset.glb").is_file()
