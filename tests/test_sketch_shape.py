"""Sketch-Shape (METHODS 1.10 and 1.16)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like import AssetOptions, RunOptions, generate
from threestudio_like.cli import main
from threestudio_like.commands.generate import Generate
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.sketch_files import load_sketch, read_sketch
from threestudio_like.guidance.sketch_shape import (
    SketchConfig,
    SketchField,
    SketchShape,
    band_weight,
    shape_cross_entropy,
)
from threestudio_like.meshes.io.primitives import read_primitives
from threestudio_like.renderers import (
    BackgroundSample,
    StratifiedCameras,
    UniformCameras,
    VolumeConfig,
    VolumeRenderer,
)
from threestudio_like.representations import (
    HashGridConfig,
    HashGridField,
    VoxelField,
    VoxelGridConfig,
    density_volume,
)
from threestudio_like.runs.configure import configure
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

SHAPES = Path(__file__).parent.parent / "assets" / "shapes"


def sphere(radius=0.5, **values):
    body = trimesh.creation.icosphere(3, radius)
    config = SketchConfig(path="given", **{"grid": 0, "sigma": 0.3, **values})
    return SketchShape(
        torch.tensor(body.vertices, dtype=torch.float32), torch.tensor(np.array(body.faces)), config
    )


def test_band_weight_is_zero_on_the_surface_and_as_published_away_from_it():
    distance = torch.tensor([0.0, 0.3, 0.6, 10.0])
    code = band_weight(distance, 0.3)
    assert code.tolist() == pytest.approx([0, 1 - math.exp(-0.5), 1 - math.exp(-2), 1])
    assert float(code[1]) == pytest.approx(0.393, abs=1e-3)
    # sigma 0.3 of the code is 0.09 of the paper's form.
    assert torch.allclose(band_weight(distance, 0.09, "paper"), code)
    for none in (0.0, -1.0):
        assert band_weight(distance, none).tolist() == [1, 1, 1, 1]


def test_loss_is_affine_in_the_opacity_with_the_published_slopes():
    opacity = torch.linspace(0, 1.1, 12)
    for inside, slope in ((True, -math.log(99)), (False, math.log(99))):
        loss = shape_cross_entropy(opacity, torch.full((12,), inside))
        assert float(loss.diff(n=2).abs().max()) < 1e-5
        assert (loss.diff() / opacity.diff()).tolist() == pytest.approx([slope] * 11, rel=1e-4)
    assert math.log(99) == pytest.approx(4.595, abs=1e-3)
    # The opacity is the probability and the sketch stands inside the logarithms; swapped, the value
    # is another.
    a, g = torch.tensor([0.3]), torch.tensor([True])
    swapped = -(g.float() * a.log() + (1 - g.float()) * (1 - a).log())
    assert float(shape_cross_entropy(a, g)) == pytest.approx(
        -(0.3 * math.log(0.99) + 0.7 * math.log(0.01)), rel=1e-5
    )
    assert float(swapped) != pytest.approx(float(shape_cross_entropy(a, g)), rel=0.1)


def test_gradient_pulls_with_one_strength_and_stops_at_the_surface():
    sketch = sphere(sigma=0.1)
    points = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [0.5, 0, 0]])
    density = torch.full((3,), 0.5, requires_grad=True)
    sketch.terms(points, density).sum().backward()
    pull = -density.grad / (0.2 * torch.exp(torch.tensor(-0.1)))
    assert float(pull[0]) == pytest.approx(math.log(99), rel=1e-3)
    assert float(pull[1]) == pytest.approx(-math.log(99), rel=1e-3)
    assert abs(float(pull[2])) < 0.05


def test_baked_grid_says_what_the_mesh_says():
    exact, baked = sphere(), sphere(grid=72)
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (exact.signed_distance(points) - baked.signed_distance(points)).abs().max() < 5e-3
    density = torch.rand(4000, generator=torch.Generator().manual_seed(1)) * 10
    assert float(baked.terms(points, density).mean()) == pytest.approx(
        float(exact.terms(points, density).mean()), rel=2e-3
    )
    truth = points.norm(dim=1) - 0.5
    assert (exact.exact(points) - truth).abs().max() < 0.01


def test_a_part_of_the_samples_counts_for_all_of_them():
    field, renderer = (
        VoxelField(VoxelGridConfig(size=16), 3),
        VolumeRenderer(VolumeConfig(samples=48)),
    )
    cameras = StratifiedCameras().sample(RandomStream(0, "x", 0), 24)
    with torch.no_grad():
        rendering = renderer.render(field, cameras, BackgroundSample(torch.zeros(4, 24, 24, 3)))
    view = GuidanceInputs(cameras, 0.0, RandomStream(0, "x", 0))
    whole = float(sphere(samples=0)(rendering, view)[0])
    assert float(sphere(samples=6000)(rendering, view)[0]) == pytest.approx(whole, rel=0.05)
    assert float(sphere(samples=10**7)(rendering, view)[0]) == whole


@pytest.mark.parametrize("kind", ["voxels", "hash"])
def test_sketch_alone_makes_the_sphere(kind):
    """Without any prior: IoU above 0.9 on a grid of 64 over points farther than sigma, in less than
    1000 steps."""
    sketch = sphere(0.6, sigma=0.1, samples=0)
    if kind == "voxels":
        field = VoxelField(VoxelGridConfig(size=24), 3)
        optimiser, steps = torch.optim.Adam([field.grid], 0.1), 60
    else:
        field = HashGridField(HashGridConfig(levels=4, log2_size=12, finest=64, tiled=False), 3)
        optimiser, steps = torch.optim.Adam(field.parameters(), 1e-2), 150
    renderer = VolumeRenderer(VolumeConfig(samples=32, occupancy=16, radius=2.0))
    for step in range(steps):
        random = RandomStream(0, "sketch", step)
        if step % 16 == 0:
            renderer.refresh(field, random)
        cameras = UniformCameras(elevation=(-60.0, 90.0), distance=(2.5, 2.5)).sample(random, 24)
        rendering = renderer.render(
            field, cameras, BackgroundSample(torch.zeros(1, 24, 24, 3)), random
        )
        loss = sketch(rendering, GuidanceInputs(cameras, 0.0, random))[0] + sketch.everywhere(
            field, random
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    line = torch.linspace(-1, 1, 64)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    points = torch.stack([x, y, z], -1).view(-1, 3)
    inside = (-torch.expm1(-0.2 * density_volume(field, 64))).view(-1) > 0.5
    assert sketch.agreement(inside, points, 0.1) > 0.9


def test_sketch_field_is_the_sketch():
    field = SketchField(sphere(), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    density, features = field(torch.tensor([[0.0, 0, 0], [0.9, 0, 0]]))
    assert density.tolist() == pytest.approx([14, 0], abs=0.01)
    assert torch.allclose(features, torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(2, 4))


def test_strictness_sets_weight_and_band():
    values = [
        (
            SketchConfig(path="x", strictness=s).chosen_weight(),
            SketchConfig(path="x", strictness=s).chosen_sigma(),
        )
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert values[0][0] == 0
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in zip(values, values[1:]))  # noqa: RUF007
    assert values[-1][1] == 0
    assert not SketchConfig(path="x", strictness=0.0).on
    assert not SketchConfig(path="", strictness=0.7).on
    assert SketchConfig(path="x", strictness=0.5, weight=0.3, sigma=0.2).chosen_weight() == 0.3


QUICK = {
    "start.refine.steps": "1",
    "start.iterations": "2",
    "start.refine.views": "4",
    "distil.steps": "2",
    "rgb.steps": "2",
    "sketch_times": "0.9",
    "export.resolution": "48",
}


def test_strictness_zero_is_latent_nerf_to_the_last_bit(tmp_path):
    def made(name, **sketch):
        run = RunOptions(out=tmp_path / name, quiet=True)
        asset = AssetOptions(turntable=False, texture=64, faces=600)
        return generate("a red chair", set=QUICK, asset=asset, run=run, **sketch)

    plain = made("a")
    zero = made("b", sketch=SHAPES / "stool.yaml", strictness=0.0)
    some = made("c", sketch=SHAPES / "stool.yaml")
    meshes = [r.asset.mesh for r in (plain, zero, some)]
    assert np.array_equal(meshes[0].vertices, meshes[1].vertices)
    assert np.array_equal(meshes[0].texture, meshes[1].texture)
    assert meshes[0].vertices.shape != meshes[2].vertices.shape or not np.array_equal(
        meshes[0].vertices, meshes[2].vertices
    )


def test_the_sketch_is_placed_as_the_preset_says():
    config = SketchConfig(path=str(SHAPES / "stool.yaml"), grid=0)
    box = read_sketch(config).tree.corners.view(-1, 3)
    assert float(box.norm(dim=1).max()) == pytest.approx(0.95, abs=1e-5)
    mean = read_sketch(
        SketchConfig(path=str(SHAPES / "stool.yaml"), grid=0, placement="mean")
    ).tree.corners.view(-1, 3)
    assert float(mean.norm(dim=1).max()) == pytest.approx(0.7, abs=1e-5)
    paper = LatentNerf.paper()
    assert (
        paper.sketch.placement,
        paper.sketch.scale,
        paper.sketch.sigma,
        paper.sketch.samples,
        paper.sketch.points,
    ) == ("mean", 0.7, 0.3, 0, 0)
    assert paper.sketch.weight == 5e-6


def test_every_sample_shape_can_be_read():
    names = sorted(p.stem for p in SHAPES.glob("*.yaml"))
    assert len(names) >= 8
    for path in [*SHAPES.glob("*.yaml"), *SHAPES.glob("*.obj")]:
        assert load_sketch(path).mesh.volume > 0


def test_primitives_turn_and_stand_where_they_are_told(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "- cylinder: {radius: 0.1, height: 2.0, at: [1, 2, 3]}\n- box: {size: [4, 0.5, "
        "0.5], turn: [0, 0, 90], at: [1, 2, 3]}\n"
        "- ellipsoid: {radii: [1, 2, 3]}\n- capsule: {radius: 0.1, height: 1}\n- torus: "
        "{radius: 1, thickness: 0.2}\n"
        "- cone: {radius: 1, height: 2}\n"
    )
    mesh = read_primitives(tmp_path / "s.yaml").mesh
    pieces = [
        mesh.keep_faces(mesh.components() == n).vertices
        for n in range(int(mesh.components().max()) + 1)
    ]
    sizes = [np.ptp(p.astype(np.float64), axis=0).round(2).tolist() for p in pieces]
    assert [0.2, 2.0, 0.2] in sizes
    assert [0.5, 4.0, 0.5] in sizes
    assert [2.0, 4.0, 6.0] in sizes
    assert [2.2, 0.2, 2.2] in sizes
    middle = next(p for p, s in zip(pieces, sizes) if s == [0.2, 2.0, 0.2])
    assert ((middle.min(0) + middle.max(0)) / 2).tolist() == pytest.approx([1, 2, 3], abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "- 1",
        "- box: 3",
        "- bxo: {size: [1, 1, 1]}",
        "- box: {}",
        "- box: {size: [1, 1]}",
        "- box: {size: [1, 1, -1]}",
        "- box: {size: [a, b, c]}",
        "- box: {size: [1, 1, .inf]}",
        "- box: {size: [1, 1, 1], colour: red}",
        "- cylinder: {radius: 0, height: 1}",
        "- box: {size: [1, 1, 1]}\n  cone: {radius: 1, height: 1}",
        "{box: [",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_bad_list_of_primitives_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert (
        main(["generate", "a red chair", "--sketch", str(path), "--out", str(tmp_path / "run")])
        == 2
    )
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_wrong_options_of_a_sketch(tmp_path):
    assert main(["generate", "a red chair", "--strictness", "0.5"]) == 2
    assert (
        main(
            [
                "generate",
                "a red chair",
                "--sketch",
                str(SHAPES / "stool.yaml"),
                "--strictness",
                "1.5",
            ]
        )
        == 2
    )
    assert main(["generate", "a red chair", "--sketch", str(tmp_path / "none.obj")]) == 2
    with pytest.raises(ConfigError, match="follows no sketch"):
        configure(Generate(sketch=SHAPES / "stool.yaml", system="dreamfusion"), DreamFusion())
    with pytest.raises(InputError):
        load_sketch(tmp_path / "none.yaml")
