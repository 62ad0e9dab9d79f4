"""`reconstruct` by G3DR's triplane and by optimisation: view directions, reference view, known
depth, starts, and the command line."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from threestudio_like import load_prior
from threestudio_like.cli import main
from threestudio_like.engine.config import update
from threestudio_like.engine.loop import Step
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.schedule import Schedule
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.meshes.frames import Normalisation
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.meshes.verification import psnr
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.priors.depth import DepthPrior
from threestudio_like.priors.diffusion import CameraProtocol, DiffusionPrior, PriorFacts
from threestudio_like.priors.networks.triplane_generator import (
    TriplaneGenerator,
    TriplaneGeneratorConfig,
)
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.renderers.backgrounds import BackgroundSample
from threestudio_like.representations import TriplaneConfig, VoxelGridConfig, density_volume
from threestudio_like.representations.config import FieldConfig
from threestudio_like.systems.image_to_3d import g3dr
from threestudio_like.systems.image_to_3d.backs import (
    closed,
    frame_depth,
    placed,
    without_horns,
)
from threestudio_like.systems.image_to_3d.field_optimisation import Beginning, PictureOptimisation
from threestudio_like.systems.image_to_3d.g3dr import (
    colour_through,
    field_of,
    lattice,
    turn_of,
)
from threestudio_like.systems.image_to_3d.method import PictureRequest, ShapeFound
from threestudio_like.systems.image_to_3d.photo import photo_of, read_photo
from threestudio_like.systems.image_to_3d.pose import Pose, PoseConfig, matching_cut
from threestudio_like.systems.image_to_3d.reference_view import (
    ReferenceView,
    known_distance,
    picture_terms,
)
from threestudio_like.systems.image_to_3d.text_to_image import ImagineConfig, imagine_picture
from threestudio_like.systems.image_to_3d.viewpoint import (
    Viewpoint,
    ViewpointConfig,
    find_viewpoint,
)
from threestudio_like.toybox.pairs import pictures_of
from threestudio_like.training.g3dr import render_view

CHAIR = 8


class Sees(DiffusionPrior):
    """Denoises perfectly from one direction, and worse the farther the camera is from it."""

    def __init__(self, azimuth, elevation):
        self.facts = PriorFacts("sees", "epsilon", 4, 8, 16, camera=CameraProtocol())
        self.schedule = NoiseSchedule.scaled_linear()
        self.direction = torch.tensor(
            [
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
                math.cos(azimuth) * math.cos(elevation),
            ]
        )

    def encode_text(self, prompts):
        return torch.zeros(len(prompts), 1, 4)

    def encode_image(self, images):
        small = torch.nn.functional.adaptive_avg_pool2d(images.permute(0, 3, 1, 2), 8)
        return torch.cat([small, small[:, :1]], 1)

    def decode_latents(self, latents):
        raise AssertionError("not asked for")

    def predict(self, latents, t, condition):
        eye = torch.nn.functional.normalize(condition.cameras.camera_to_world[:, :3, 3], dim=-1)
        off = (eye - self.direction).norm(dim=-1).view(-1, 1, 1, 1)
        abar = self.schedule.abar(t, latents)
        noise = (latents - abar.sqrt() * self.clean) / (1 - abar).sqrt()
        return noise * (1 - 0.3 * off)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.7, 0.3), (4.0, 0.05)])
def test_the_direction_is_where_the_prior_denoises_best(azimuth, elevation):
    prior = Sees(azimuth, elevation)
    picture = torch.rand(1, 16, 16, 3)
    prior.clean = prior.encode_image(picture)
    found = find_viewpoint(
        lambda fill: picture, 0.8, "x", prior, ViewpointConfig(fills=(0.8,), repeats=1)
    )
    assert abs(found.azimuth - azimuth) < 0.12
    assert abs(found.elevation - elevation) < 0.12
    assert found.fill == 0.8
    assert found.margin > 0.5


def photo_of_chair(tmp_path, size=96):
    picture, azimuth, elevation, mesh, _ = pictures_of(9, CHAIR, "test", 2, size)
    Image.fromarray(picture[0]).save(tmp_path / "chair.png")
    return (
        read_photo(tmp_path / "chair.png"),
        Pose(float(azimuth[0]), float(elevation[0]), 1.0),
        mesh,
    )


def reference_of(tmp_path, size=32):
    photo, pose, mesh = photo_of_chair(tmp_path)
    poses = PoseConfig()
    from threestudio_like.priors.framing import boxes

    frame = matching_cut(
        mesh, pose, poses, boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    )
    return ReferenceView.of(photo, frame, pose, poses, size, ""), pose, mesh, photo


def config_of(kind):
    return PictureOptimisation(
        representation=FieldConfig(
            kind=kind,
            voxels=VoxelGridConfig(size=40),
            triplane=TriplaneConfig(
                resolution=48, features=8, hidden=16, levels=3, blob_strength=0.0
            ),
        )
    )


class Prior:
    facts = PriorFacts("x", "epsilon", 4, 8, 32, camera=CameraProtocol())


def run_stage(stage, steps=None):
    groups = [{"params": g.parameters, "lr": 0.0} for g in stage.groups]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    count = steps or stage.steps
    for index in range(count):
        for group, own in zip(optimiser.param_groups, stage.groups):
            group["lr"] = Schedule.parse(own.lr)(index / count)
        optimiser.zero_grad()
        sum(
            stage.loss(
                Step(index, index / count, RandomStream(0, stage.name, index), 0, 0)
            ).values()
        ).backward()
        optimiser.step()


@pytest.mark.parametrize("kind", ["voxels", "triplane"])
def test_a_field_starts_as_a_shape_with_the_pictures_colours(kind, tmp_path):
    reference, pose, mesh, photo = reference_of(tmp_path)
    steps, points = (60, 6000) if kind == "voxels" else (150, 3000)
    config = update(config_of(kind), {"start": {"steps": steps, "points": points}})
    request = PictureRequest(photo=photo, prompt="a chair", prior=Prior())
    found = ShapeFound(mesh, pose, PoseConfig())
    request.once("beginning", lambda: Beginning(found, pose, PoseConfig(), reference))
    stage = config._fit(request)
    run_stage(stage)
    field = stage.modules["field"]
    volume = density_volume(field, 32).detach().numpy().transpose(2, 1, 0) > 12
    assert voxel_iou(volume, voxelise(mesh)) > 0.6
    inside = torch.from_numpy(np.argwhere(voxelise(mesh))).float().add(0.5).div(16).sub(1)
    with torch.no_grad():
        colours = field(inside)[1]
    assert float((colours - reference.colour_of_points()(inside, inside)).abs().mean()) < 0.12


def test_the_reference_view_becomes_the_picture(tmp_path):
    reference, _, _, photo = reference_of(tmp_path)
    config = update(config_of("voxels"), {"terms": {"clip": 0.0, "depth": 0.0}})
    parts = config._parts(PictureRequest(photo=photo, prompt="a chair", prior=Prior()))
    extra = picture_terms(config.terms, reference, parts, "toybox")
    optimiser = torch.optim.Adam(parts.field.parameters(), 0.05)
    empty = BackgroundSample(torch.zeros(1, 32, 32, 3))

    def distance():
        with torch.no_grad():
            own = parts.renderer.render(parts.field, reference.camera, empty)
        wanted = (reference.picture * reference.mask[..., None]).numpy()
        return psnr(own.features[0].numpy(), wanted, np.ones((32, 32), bool))

    before = distance()
    for index in range(60):
        random = RandomStream(0, "x", index)
        if index % 16 == 0:
            parts.renderer.refresh(parts.field, random)
        terms = extra(None, GuidanceInputs(reference.camera, index / 60, random))
        assert set(terms) == {"reference"}
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    assert distance() > max(before + 5, 18)


def test_known_depth_is_fitted_to_the_surface_and_infinite_off_the_mask(tmp_path):
    reference, _, _, _ = reference_of(tmp_path)
    truth = 3 + 0.2 * torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    reference.depth = (truth - 0.7) / 1.25
    opacity = reference.mask
    found = known_distance(reference, truth * opacity, opacity)
    inside = reference.mask > 0.5
    assert torch.allclose(found[inside], truth[inside], atol=1e-3)
    assert bool(torch.isinf(found[~inside]).all())
    # Where there is no surface yet the guess is taken as it is.
    assert torch.equal(
        known_distance(reference, truth * 0, opacity * 0)[inside], reference.depth[inside]
    )


# G3DR's triplane as a shape


def tiny_generator(tmp_path):
    torch.manual_seed(0)
    model = TriplaneGenerator(
        TriplaneGeneratorConfig(
            size=64,
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
            relief=False,
            bias=-1.0,
            gain=6.0,
        )
    )
    model.save(tmp_path / "g3dr")
    return TriplaneGenerator.load(tmp_path / "g3dr")


def test_planes_become_the_same_field(tmp_path):
    model = tiny_generator(tmp_path)
    planes = model(torch.rand(1, 3, 64, 64) * 2 - 1, torch.full((1, 1, 64, 64), 5.0))
    points = torch.rand(500, 3) * 2 - 1
    raw, colour = model.read(planes, points[None])
    density, features = field_of(model, planes)(points)
    assert torch.allclose(
        density, 6 * torch.nn.functional.softplus(raw[0] - 1), rtol=1e-4, atol=1e-5
    )
    assert torch.allclose(features, colour[0], atol=1e-5)


def test_points_are_seen_where_the_canonical_camera_sees_them():
    place, distance = placed(
        torch.tensor([[0.0, 0.0, 0.0], [0.792, 0.792, 0.0], [0.0, -0.792, 0.0]])
    )
    assert torch.allclose(place, torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.0, 1.0]]), atol=1e-3)
    assert float(distance[0]) == pytest.approx(5)
    points = lattice(3)
    assert points[0].tolist() == [-1, -1, -1]
    assert points[1].tolist() == [0, -1, -1]


def test_the_back_is_flat_or_mirrors_the_front_or_lies_between():
    size = 32
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 3, indexing="ij")
    shell = ((x**2 + y**2 + z**2).sqrt() - 0.6).abs() < 0.08
    front = (shell & (z > 0)).float()
    ball = (x**2 + y**2 + z**2).sqrt() < 0.66
    made = closed(front, "mirror") > 0.5
    assert voxel_iou(made.numpy(), ball.numpy()) > 0.75
    # Flat: the visible half, and nothing behind where it ends.
    flat = closed(front, "flat") > 0.5
    assert voxel_iou(flat.numpy(), (ball & (z > 0)).numpy()) > 0.8
    assert not bool(flat[: size // 2 - 3].any())
    between = int((closed(front) > 0.5).sum())
    assert int(flat.sum()) < between < int(made.sum())
    assert not bool(closed(torch.zeros(8, 8, 8)).any())


def test_horns_of_the_outline_are_cut_and_thin_parts_stay():
    top = torch.full((16, 16), -1)
    top[3:13, 3:13] = 8
    top[3, 3] = 15
    top[15, 0] = 15
    flat = without_horns(top)
    assert int(flat[3, 3]) == 8
    # What has no surface within is left as it is, and so is a bump inside.
    assert int(flat[15, 0]) == 15
    top[8, 8] = 12
    assert int(without_horns(top)[8, 8]) == 12


def test_hidden_sides_take_the_colours_before_them():
    pixels = np.zeros((64, 64, 4), np.float32)
    pixels[16:48, 16:32] = (1, 0, 0, 1)
    pixels[16:48, 32:48] = (0, 0, 1, 1)
    photo = photo_of(pixels, "x", {})
    colour = colour_through(photo, torch.eye(3))
    points = torch.tensor([[-0.3, 0.0, 0.5], [-0.3, 0.0, -0.5], [0.3, 0.0, -0.5], [0.9, 0.0, 0.0]])
    assert torch.allclose(
        colour(points, points),
        torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]),
        atol=0.02,
    )


@pytest.mark.parametrize("index", [12, 15, 18])
def test_the_embedded_g3dr_makes_the_shape_of_a_picture(index):
    """Its silhouette is the picture's, and its volume comes nearer to the truth than the box about
    it does."""
    picture, azimuth, elevation, mesh, _ = pictures_of(9, index, "test", 2, 96)
    photo, config = photo_of(picture[0].astype(np.float32) / 255, "x", {}), g3dr.G3drConfig()
    view = Viewpoint(float(azimuth[0]), float(elevation[0]), 0.8, 1.0)
    field = g3dr.planes_of(photo, config)
    found = g3dr.shape_of_volume(g3dr.volume_of(field, photo, config), field, photo, config, view)
    assert found.pose.agreement > 0.85
    truth = voxelise(mesh)
    made = Normalisation.of(found.mesh.vertices).apply(found.mesh.vertices)
    overlap = voxel_iou(voxelise(Mesh(made, found.mesh.faces)), truth)
    solid = np.zeros_like(truth)
    low, high = np.argwhere(truth).min(0), np.argwhere(truth).max(0) + 1
    solid[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = True
    assert overlap > voxel_iou(solid, truth) + 0.1


def test_turned_upright_the_camera_is_where_the_picture_was_taken():
    view = Viewpoint(0.9, 0.4, 0.8, 1.0)
    turn = turn_of(view)
    assert torch.allclose(turn @ turn.t(), torch.eye(3), atol=1e-6)
    assert float(torch.linalg.det(turn)) == pytest.approx(1, abs=1e-5)
    eye = turn @ torch.tensor([0.0, 0.0, 1.0])
    assert torch.allclose(
        eye,
        torch.tensor([math.sin(0.9) * math.cos(0.4), math.sin(0.4), math.cos(0.9) * math.cos(0.4)]),
        atol=1e-6,
    )
    assert float((turn @ torch.tensor([1.0, 0.0, 0.0]))[1]) == pytest.approx(0, abs=1e-6)
    assert torch.equal(turn_of(None), torch.eye(3))


def test_depths_of_other_estimators_are_stretched_over_the_mask():
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    raw = torch.linspace(10, 50, 64).view(1, 8, 8)

    class Disparity(DepthPrior):
        inverse, metric, framed = True, False, False

        def predict(self, images):
            return raw

    found = frame_depth(torch.zeros(1, 8, 8, 3), mask, Disparity())
    inside = found[mask > 0.5]
    assert float(inside.min()) == pytest.approx(1 - 0.85 * 0.792, abs=0.02)
    assert float(inside.max()) == pytest.approx(1 + 0.85 * 0.792, abs=0.02)
    # Disparity is larger where it is nearer.
    assert float(found[2, 2]) > float(found[5, 5])


def test_the_turntable_of_planes_renders_at_128_pixels_without_holes(tmp_path):
    model = tiny_generator(tmp_path)
    planes = model(torch.zeros(1, 3, 64, 64), torch.full((1, 1, 64, 64), 5.0))
    with torch.no_grad():
        pictures = [
            render_view(
                model,
                planes,
                g3dr.CAMERA,
                replace(g3dr_rays(), coarse=64, fine=64),
                128,
                None,
                (torch.tensor([yaw]), torch.zeros(1)),
            )
            for yaw in (-math.radians(30), 0.0, math.radians(30))
        ]
    assert all(
        bool(torch.isfinite(p.colour).all()) and bool(torch.isfinite(p.depth).all())
        for p in pictures
    )


def g3dr_rays():
    from threestudio_like.renderers.midpoint import MidpointConfig

    return MidpointConfig()


# From the command line


def test_g3dr_from_the_command_line(tmp_path, capsys):
    photo_of_chair(tmp_path)
    train = [
        "train",
        "g3dr",
        "--out",
        str(tmp_path / "t"),
        "--objects",
        "6",
        "--steps",
        "2",
        "--render",
        "16",
        "--quiet",
    ]
    small = [
        "--generator.width",
        "8",
        "--generator.features",
        "8",
        "--generator.hidden",
        "16",
        "--clip",
        "0",
        "--perceptual",
        "0",
    ]
    assert main([*train, *small, "--generator.features", "2"]) == 2
    assert "relief" in capsys.readouterr().err
    assert main([*train, *small]) == 0
    assert main([*train, *small]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (
        main(
            [
                "train",
                "depth",
                "--out",
                str(tmp_path / "t"),
                "--objects",
                "4",
                "--steps",
                "1",
                "--quiet",
            ]
        )
        == 0
    )
    command = [
        "reconstruct",
        str(tmp_path / "chair.png"),
        "--method",
        "g3dr",
        "--shape.model",
        str(tmp_path / "t/g3dr"),
        "--texture",
        "256",
        "--shape.depth",
        str(tmp_path / "t/depth"),
        "--quiet",
        "--no-turntable",
    ]
    code = main([*command, "--shape.upright", "false", "--out", str(tmp_path / "run")])
    # Two steps of training may leave nothing solid: that is one line, too.
    assert code in (0, 2)
    assert main([*command, "--resolution", "64", "--out", str(tmp_path / "x")]) == 2
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "chair.png"),
                "--method",
                "g3dr",
                "--shape.model",
                str(tmp_path),
                "--out",
                str(tmp_path / "x"),
            ]
        )
        == 2
    )
    assert "train g3dr" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_optimisation_from_the_command_line(tmp_path):
    photo_of_chair(tmp_path)
    run = tmp_path / "run"
    command = [
        "reconstruct",
        str(tmp_path / "chair.png"),
        "--method",
        "optimise",
        "--start.source",
        "nothing",
        "--prompt",
        "a chair",
        "--terms.depth",
        "0",
        "--terms.scale_gradients",
        "false",
        "--texture",
        "256",
        "--quiet",
        "--no-turntable",
        "--start.viewpoint.fills",
        "0.8",
        "--start.viewpoint.repeats",
        "1",
    ]
    assert main([*command, "--steps", "12", "--out", str(run)]) == 0
    assert Asset.load(run / "asset.glb").mesh.texture is not None
    assert (run / "shape/work").is_dir()
    assert main([*command, "--distil.steps", "0", "--out", str(tmp_path / "x")]) == 2


def test_pictures_are_imagined_from_prompts_and_from_none(tmp_path, capsys):
    prior = load_prior("toybox")
    quick = ImagineConfig(steps=6)
    one, two = (imagine_picture("a red chair", prior, quick, seed) for seed in (0, 1))
    assert one.shape == (prior.facts.image_size, prior.facts.image_size, 3)
    assert not torch.allclose(one, two, atol=0.02)
    assert torch.equal(one, imagine_picture("a red chair", prior, quick, 0))
    assert torch.isfinite(imagine_picture("", prior, quick, 0)).all()
    command = [
        "generate",
        "a red chair",
        "--system",
        "optimise",
        "--start.source",
        "nothing",
        "--terms.depth",
        "0",
        "--steps",
        "4",
        "--terms.scale_gradients",
        "false",
        "--texture",
        "256",
        "--quiet",
        "--no-turntable",
        "--colour.complete",
        "neighbours",
    ]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    facts = (tmp_path / "run/run.yaml").read_text()
    assert "imagined" in facts
    assert main(["generate", "a zebra", "--system", "optimise", "--out", str(tmp_path / "x")]) == 2
    assert (
        main([*command, "--sketch", "assets/shapes/stool.yaml", "--out", str(tmp_path / "x")]) == 2
    )
    assert "follows no sketch" in capsys.readouterr().err
