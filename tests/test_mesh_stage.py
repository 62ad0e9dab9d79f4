"""The mesh stage: oracle views of known shapes, through the command line, resumed, shared between
microbatches, with and without a prior; Fantasia3D and Magic3D as configurations of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.engine.memory import MemoryWatch
from threestudio_like.engine.random import RandomStream
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.surface.extraction import isosurface
from threestudio_like.metrics.solid import creases
from threestudio_like.priors.diffusion import PriorFacts
from threestudio_like.renderers import BackgroundSample, Cameras, PointLight, RingCameras
from threestudio_like.renderers.mesh import MeshRenderer, MeshRendererConfig
from threestudio_like.representations import VoxelField, VoxelGridConfig
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.surfaces import (
    FlexiCubesConfig,
    RemeshingConfig,
    ShapeConfig,
    SurfaceMesh,
    SurfaceTerms,
    TetrahedraConfig,
)
from threestudio_like.stages.demand import Place
from threestudio_like.stages.mesh import (
    MeshModel,
    MeshStageConfig,
    MeshStart,
    TargetConfig,
    mesh_stage,
)
from threestudio_like.stages.mesh.config import MeshRates
from threestudio_like.stages.mesh.stage import averaged, sphere
from threestudio_like.stages.mesh.start import SurfaceColours, mesh_views
from threestudio_like.stages.mesh.targets import GivenView, Targets, target_cameras
from threestudio_like.systems import registry
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

from .runs import CAR, QUICK, SMALL, run, sha

SHAPE = ShapeConfig(
    flexicubes=FlexiCubesConfig(size=16),
    tetrahedra=TetrahedraConfig(size=12),
    remeshing=RemeshingConfig(edge=0.12, longest=0.3),
)
STAGE = MeshStageConfig(
    steps=40,
    shape=SHAPE,
    colours=FieldConfig(voxels=VoxelGridConfig(size=24, smooth=0.0)),
    targets=TargetConfig(views=8, batch=2, size=48, normals="20"),
    rates=MeshRates(sdf="0.2->0.02", deform="0.03", weights="0.03", voxels="0.5->0.1"),
    terms=SurfaceTerms(deviation="0.3"),
    colour_variation="0",
)


def cube(half: float = 0.45) -> Mesh:
    """A cube of twelve faces."""
    points = np.array(
        [[x, y, z] for z in (-half, half) for y in (-half, half) for x in (-half, half)], np.float32
    )
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    mesh = Mesh(points, np.array(faces, np.int32))
    assert mesh.volume == pytest.approx((2 * half) ** 3)
    return mesh


def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Red above, blue below."""
    up = (points[:, 1:2] / 0.45).clamp(-1, 1) / 2 + 0.5
    return torch.cat([up, up * 0 + 0.2, 1 - up], 1)


def fitted(config: MeshStageConfig, start: MeshStart, folder=None, **settings) -> MeshModel:
    stage = mesh_stage("mesh", config, start)
    loop = Loop(folder, Events(None, "quiet"), LoopSettings(seed=0, **settings))
    loop.run([StagePlan("mesh", lambda done: stage)])
    found = stage.modules
    return MeshModel(found["surface"], found["appearance"], found["renderer"])


def pixels(model: MeshModel, cameras: Cameras):
    black = BackgroundSample(torch.zeros(len(cameras), cameras.height, cameras.width, 3))
    with torch.no_grad():
        mesh = model.surface.surface()
        return model.renderer.render(mesh, cameras, black, appearance=model.appearance)


def test_a_sphere_is_drawn_as_its_formula_says():
    mesh = sphere(0.5)
    shape = SurfaceMesh(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces).long())
    camera = RingCameras(count=1, elevation=20.0).all(65)
    behind = BackgroundSample(torch.full((1, 65, 65, 3), 0.25))
    seen = MeshRenderer(MeshRendererConfig(normals="vertex")).render(shape, camera, behind)
    # The tangent cone's share of the picture.
    radius = 0.5 / math.sqrt(9 - 0.25) / math.tan(math.radians(20))
    assert float(seen.opacity.mean()) == pytest.approx(math.pi * radius**2 / 4, rel=0.01)
    assert float(seen.depth[0, 32, 32, 0]) == pytest.approx(2.5, abs=2e-3)
    towards = camera.camera_to_world[0, :3, 3] / 3
    assert float((seen.normals[0, 32, 32] * towards).sum()) > 0.999
    assert seen.features[0, 0, 0].tolist() == [0.25] * 3
    assert torch.allclose(seen.features[0, 32, 32], (seen.normals[0, 32, 32] + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("what", ["opacity", "depth", "normals", "features"])
def test_pixels_have_the_gradients_of_differences(what):
    """Of a scale of the whole mesh, which moves outlines, depths and colours at once."""
    mesh = cube(0.4)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    points = torch.from_numpy(mesh.vertices) @ turn
    tri = torch.from_numpy(mesh.faces).long()
    camera = RingCameras(count=1, elevation=30.0).all(48)
    behind = BackgroundSample(torch.zeros(1, 48, 48, 3))
    field = VoxelField(VoxelGridConfig(size=6, smooth=0.0, sigmoid=True), 3)
    with torch.no_grad():
        field.grid.copy_(torch.randn(field.grid.shape, generator=torch.Generator().manual_seed(1)))

    def total(scale):
        moved = SurfaceMesh(points * torch.stack([scale, scale, scale * 0 + 1]), tri)
        seen = MeshRenderer().render(moved, camera, behind, appearance=field)
        return getattr(seen, what).sum()

    scale = torch.tensor(1.0, requires_grad=True)
    total(scale).backward()
    with torch.no_grad():
        # Wide enough to average over pixels that appear.
        step = 0.06
        wanted = float(total(torch.tensor(1 + step)) - total(torch.tensor(1 - step))) / (2 * step)
    assert float(scale.grad) == pytest.approx(wanted, rel=0.25, abs=0.02 * abs(wanted) + 3.0)


def test_a_light_shades_by_the_faces_normals():
    shape = SurfaceMesh(torch.from_numpy(cube().vertices), torch.from_numpy(cube().faces).long())
    white = VoxelField(VoxelGridConfig(size=4, smooth=0.0), 3)
    with torch.no_grad():
        white.grid[..., 1:] = 1.0
    camera = RingCameras(count=1, elevation=0.0).all(33)
    light = PointLight(torch.tensor([[0.0, 0.0, 50.0]]), torch.zeros(3), torch.ones(3))
    behind = BackgroundSample(torch.zeros(1, 33, 33, 3))
    seen = MeshRenderer().render(shape, camera, behind, appearance=white, light=light)
    assert seen.features[0, 16, 16].tolist() == pytest.approx([1.0] * 3, abs=1e-3)


@pytest.mark.parametrize("kind", ["flexicubes", "tetrahedra", "remeshing"])
def test_true_views_make_the_true_shape(kind):
    """From a sphere, by pictures alone; held-out views are as sharp as they can be."""
    truth = cube()
    start = MeshStart(
        lambda: sphere(0.55), colour=None, teacher=mesh_views(truth, colour), distance=3.0
    )
    config = replace(STAGE, shape=replace(SHAPE, kind=kind), steps=80)
    model = fitted(config, start)
    mesh = model.surface.mesh()
    assert mesh.volume == pytest.approx(truth.volume, rel=0.05)
    held_out = RingCameras(count=3, elevation=35.0).all(48)
    own, true = pixels(model, held_out), mesh_views(truth, colour)(held_out)
    off = (own.features - true.features).square().mean()
    assert float(-10 * off.log10()) > 24
    if kind != "tetrahedra":
        assert creases(mesh, truth)[0] > 0.6


def test_a_given_picture_counts_and_a_teacher_without_colours_does_not():
    truth = cube()
    camera = RingCameras(count=1, elevation=10.0).all(32)
    true = mesh_views(truth, colour)(camera)
    mask = true.opacity[0, ..., 0]
    given = GivenView(camera, true.features[0] / mask.clamp_min(1e-3)[..., None], mask)
    config = TargetConfig(views=3, batch=2, size=32, normals="1")
    targets = Targets(target_cameras(config, 3.0, 40.0), [given])
    targets.fill(mesh_views(truth), coloured=False)
    assert targets.knows.tolist() == [[0, 1, 1, 1]] * 3 + [[1, 1, 0, 0]]
    views = targets.drawn(config, RandomStream(0, "x", 0))
    assert len(set(views.tolist())) == 3
    assert views[2].item() == 3
    shape = SurfaceMesh(torch.from_numpy(truth.vertices), torch.from_numpy(truth.faces).long())
    field = SurfaceColours(truth, colour)

    def terms(appearance):
        found = targets.terms(
            config, 0.0, views, mesh=shape, renderer=MeshRenderer(), appearance=appearance
        )
        return {name: float(value) for name, value in found.items()}

    right, wrong = terms(field), terms(SurfaceColours(truth, None))
    assert set(right) == {"image", "silhouettes", "depth", "normals"}
    assert wrong["image"] > 5 * right["image"]
    assert right["silhouettes"] < 1e-6
    assert right["depth"] < 1e-4
    assert right["normals"] < 0.02


def test_larger_renderings_are_averaged():
    mesh = SurfaceMesh(torch.from_numpy(cube().vertices), torch.from_numpy(cube().faces).long())
    camera = RingCameras(count=1, elevation=10.0).all(64)
    behind = BackgroundSample(torch.zeros(1, 64, 64, 3))
    large = MeshRenderer().render(mesh, camera, behind)
    small = averaged(large, 16)
    assert small.features.shape == (1, 16, 16, 3)
    assert float(small.opacity.mean()) == pytest.approx(float(large.opacity.mean()), rel=1e-5)
    assert averaged(small, 16) is small


@pytest.mark.parametrize("kind", ["flexicubes", "remeshing"])
def test_a_stage_that_is_killed_ends_in_the_same_bytes(kind, tmp_path):
    start = MeshStart.of_mesh(cube(), colour)
    config = replace(STAGE, shape=replace(SHAPE, kind=kind), steps=6)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    fitted(config, start, whole)
    torch.manual_seed(5)
    fitted(config, start, halves, checkpoint_steps=3, minutes=None)
    stage = mesh_stage("mesh", config, start)
    tensors = load_file(whole / "checkpoint.safetensors")
    assert {k: v.sum() for k, v in tensors.items()} == {
        k: v.sum() for k, v in load_file(halves / "checkpoint.safetensors").items()
    }
    assert stage.shared

    class Stop(Exception):
        pass

    def interrupted():
        made = mesh_stage("mesh", config, start)
        loss = made.loss

        def until(step):
            if step.index == 4:
                raise Stop
            return loss(step)

        made.loss = until
        return made

    cut = tmp_path / "cut"
    cut.mkdir()
    settings = LoopSettings(seed=0, checkpoint_steps=2)
    with pytest.raises(Stop):
        Loop(cut, Events(None, "quiet"), settings).run(
            [StagePlan("mesh", lambda done: interrupted())]
        )
    fitted(config, start, cut, checkpoint_steps=2, resume=True)
    again = load_file(cut / "checkpoint.safetensors")
    assert set(again) == set(tensors)
    assert all(torch.equal(again[k], tensors[k]) for k in tensors)


def test_memory_is_forecast_by_two_small_renderings():
    """What a step of four views takes."""
    prior = PretendFacts()
    config = replace(STAGE, resolution=128, targets=replace(STAGE.targets, batch=0))
    demand = config.demand(Place(name="mesh", holder=None, prior=prior))
    assert demand.samples == 4 * 128**2
    surface, colours = config.shape.build(), config.colours.build(3, 0, sigmoid=True)
    cameras = config.sampler().sample(RandomStream(0, "mesh", 0), 128)
    behind = BackgroundSample(torch.zeros(1, 128, 128, 3))
    with MemoryWatch() as watch:
        mesh = surface.surface()
        seen = MeshRenderer().render(mesh, cameras, behind, appearance=colours)
        terms = surface.mesh_terms(mesh, {"creases": 1.0, "smoothness": 1.0})
        total = seen.features.sum() + seen.opacity.sum() + seen.depth.sum() + seen.normals.sum()
        (total + torch.stack(list(terms.values())).sum()).backward()
    expected = demand.samples * demand.most + demand.grid
    assert expected == pytest.approx(watch.peak, rel=0.1)
    halves = config.demand(Place(name="mesh", holder=None, prior=prior, microbatches=2))
    assert halves.views == 2
    assert halves.samples == 2 * 128**2


class PretendFacts:
    """A prior that is asked for its sizes alone."""

    facts = PriorFacts("none", "epsilon", 4, latent_size=8, image_size=64)


@pytest.mark.parametrize("kind", ["flexicubes", "remeshing"])
def test_microbatches_make_the_gradient_of_the_whole(kind, tmp_path):
    """Targets and regularisers are the same for all parts; their mean is the whole."""
    start = MeshStart.of_mesh(cube(), colour)
    ends = []
    for parts in (1, 2):
        folder = tmp_path / str(parts)
        folder.mkdir()
        config = replace(STAGE, shape=replace(SHAPE, kind=kind), steps=2)
        fitted(config, start, folder, accumulate=parts)
        ends.append(load_file(folder / "checkpoint.safetensors"))
    for name, value in ends[0].items():
        if "surface" in name and value.is_floating_point():
            assert torch.allclose(value, ends[1][name], atol=1e-4), name


def test_views_that_are_denoised_together_are_not_shared(tmp_path, capsys):
    words = ("generate", "a red ball", "--out", tmp_path / "run", "--quiet", "--accumulate", "2")
    shared = [
        *("--distil.guidance.joint-views", "False", "--rgb.guidance.joint-views", "False"),
        *("--distil.steps", "1", "--rgb.steps", "1"),
    ]
    quick = [w for w in QUICK if w not in ("--steps", "10")]
    assert run(*words, *quick, *shared, *MESH, "--mesh.steps", "2") == 2
    assert "--mesh.guidance.joint-views False" in capsys.readouterr().err


MESH = [
    *("--mesh.shape.flexicubes.size", "16", "--mesh.colours.voxels.size", "16"),
    *("--mesh.targets.views", "2", "--mesh.targets.size", "32", "--mesh.resolution", "64"),
    *("--mesh.steps", "60"),
]


def test_generate_refines_a_mesh_and_refine_paints_it(tmp_path):
    out = tmp_path / "run"
    words = ("generate", "a red ball", "--out", out, "--quiet", "--refine-mesh", *QUICK, *MESH)
    words += ("--steps", "70")
    assert run(*words) == 0
    record = yaml.safe_load((out / "run.yaml").read_text(encoding="utf-8"))
    assert record["config"]["mesh"]["steps"] > 0
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert "mesh" in [e["stage"] for e in events if e["event"] == "stage"]
    asset = Asset.load(out / "asset.glb").mesh
    assert asset.texture is not None
    assert len(asset.faces) > 50
    again = tmp_path / "again"
    assert (
        run(
            "generate",
            "a red ball",
            "--out",
            again,
            "--quiet",
            "--config",
            out / "run.yaml",
            *SMALL,
        )
        == 0
    )
    assert sha(again / "asset.glb") == sha(out / "asset.glb")


def test_a_mesh_is_made_of_a_finished_run(tmp_path):
    out, finer = tmp_path / "run", tmp_path / "finer"
    assert run("generate", "a red ball", "--out", out, "--quiet", *QUICK) == 0
    words = ("refine", out, "--out", finer, "--quiet", "--refine-mesh", "--rgb.steps", "0")
    assert run(*words, *MESH, "--mesh.steps", "3", *SMALL) == 0
    events = [json.loads(line) for line in (finer / "events.jsonl").read_text().splitlines()]
    assert [e["stage"] for e in events if e["event"] == "stage"] == ["mesh"]
    words = ("refine", out, "--out", tmp_path / "none", "--quiet", "--rgb.steps", "0", *SMALL)
    assert run(*words) == 2


def test_reconstruct_refines_the_shape_that_it_finds(tmp_path):
    out = tmp_path / "run"
    words = ("reconstruct", CAR, "--method", "g3dr", "--out", out, "--quiet", "--refine-mesh")
    assert run(*words, *MESH, "--mesh.steps", "3", *SMALL) == 0
    assert (out / "asset.glb").is_file()
    assert (out / "shape" / "work").is_dir()


def test_fantasia_makes_a_shape_and_then_its_colours(tmp_path):
    out = tmp_path / "run"
    small = [
        w
        for stage in ("geometry", "appearance")
        for w in (
            *(f"--{stage}.steps", "4", f"--{stage}.resolution", "64"),
            *(f"--{stage}.shape.flexicubes.size", "16", f"--{stage}.colours.voxels.size", "16"),
        )
    ]
    words = ("generate", "a red ball", "--system", "fantasia3d", "--out", out, "--quiet", *SMALL)
    assert run(*words, *small, "--geometry.latent-share", "0.5") == 0
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [e["stage"] for e in events if e["event"] == "stage"] == ["geometry", "appearance"]
    assert Asset.load(out / "asset.glb").mesh.texture is not None


def test_the_published_numbers_are_there():
    fantasia = registry.configuration("fantasia3d", "paper", "generate")
    assert (fantasia.geometry.steps, fantasia.appearance.steps) == (10000, 5000)
    assert fantasia.geometry.latent_share == 0.1
    assert fantasia.geometry.guidance.weighting == "latent-nerf"
    magic = registry.configuration("dreamfusion", "magic3d", "generate")
    assert (magic.distil.steps, magic.mesh.steps, magic.mesh.resolution) == (10000, 5000, 512)
    assert magic.mesh.terms.normal_consistency == "10000"
    alone = registry.configuration("rgb-refinement", "magic3d", "refine")
    assert (alone.rgb.steps, alone.mesh) == (0, magic.mesh)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--refine-mesh", "--mesh.shape.kind", "flexicube"], "flexicubes"),
        (["--mesh.steps", "3", "--mesh.shape.flexicubes.size", "0"], "size"),
        (["--mesh.steps", "3", "--mesh.targets.image", "much"], "schedule"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, words, told):
    line = ["generate", "a red ball", "--out", tmp_path / "run", "--quiet", *words]
    assert run(*line, *QUICK) == 2
    assert told in capsys.readouterr().err


def test_a_method_without_a_mesh_stage_says_so():
    from threestudio_like.runs.configure import with_mesh

    assert with_mesh(LatentNerf()).mesh.steps == 150
    with pytest.raises(ConfigError, match="no mesh stage"):
        with_mesh(SurfaceTerms())


def test_isosurfaces_are_told_from_spheres():
    assert isosurface(np.zeros((4, 4, 4), np.float32), 1.0) is None
    assert sphere(0.5).volume == pytest.approx(4 / 3 * math.pi * 0.125, rel=0.01)
    assert Path(CAR).is_file()
