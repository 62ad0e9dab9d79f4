"""Textured meshes and Latent-Paint against an oracle whose data are the views of a mesh with a
known texture (METHODS 1.11, 1.16)."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like import AssetOptions, RunOptions, kernels, texture
from threestudio_like.cli import main
from threestudio_like.engine.errors import CheckpointError, ConfigError, InputError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan, Step
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.score_distillation import ScoreDistillation, ScoreDistillationConfig
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.mesh import Material
from threestudio_like.meshes.texture.atlas import join_atlas
from threestudio_like.meshes.texture.coordinates import with_coordinates
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.priors.oracle import PointMass, ViewsOf
from threestudio_like.renderers import (
    BackgroundSample,
    EnvironmentLight,
    RingCameras,
    SolidBackground,
    SphereBackground,
    StratifiedCameras,
    SurfaceConfig,
    SurfaceRenderer,
    UniformCameras,
    ambient,
    back_project,
    baked_light_index,
    shade,
    visibility,
)
from threestudio_like.renderers.cameras import Cameras
from threestudio_like.representations import TexturedMesh
from threestudio_like.stages.painting import (
    LightConfig,
    PaintingConfig,
    PaintRates,
    PaintTerms,
    SurfaceModel,
    painting_stage,
)
from threestudio_like.stages.painting_rounds import fill_unseen
from threestudio_like.systems.texturing.latent_paint import (
    LatentPaint,
    PaintRequest,
    baked_share,
    near_seen,
)
from threestudio_like.systems.texturing.subject import (
    SubjectOptions,
    locked_texels,
    present_texture,
    read_subject,
)
from threestudio_like.toybox.render import LIGHT

GREY = 0.5


def body(resolution=96):
    """A bent box of two pieces with an atlas by xatlas."""
    box = trimesh.creation.box((1.0, 0.7, 0.6)).subdivide().subdivide()
    ball = trimesh.creation.icosphere(2, 0.3)
    ball.apply_translation([0, 0.55, 0])
    whole = trimesh.util.concatenate([box, ball])
    mesh = Mesh(
        np.asarray(whole.vertices, np.float32), np.asarray(whole.faces, np.int32)
    ).with_normals()
    asset, _ = with_coordinates(Asset({"body": mesh}), resolution)
    return join_atlas(asset, resolution)


def albedo(points, channels=3):
    """A smooth known texture, (N, C) in [0.2, 0.8]."""
    waves = [0.5 + 0.3 * torch.sin(3 * points[:, k % 3] + k) for k in range(channels)]
    return torch.stack(waves, 1)


def painted_truth(atlas, channels=3):
    surface = TexturedMesh(atlas, channels)
    geometry = surface.texel_geometry()
    with torch.no_grad():
        surface.texels[0, :, geometry.rows, geometry.columns] = albedo(
            geometry.points, channels
        ).t()
    return surface


def oracle(truth, renderer, channels, size):
    def draw(cameras):
        with torch.no_grad():
            behind = BackgroundSample(torch.full((len(cameras), size, size, channels), GREY))
            return renderer.render(truth, cameras, behind).features

    return ViewsOf(draw, channels, size)


CAMERAS = StratifiedCameras(elevation=(-15.0, 50.0), distance=2.2, overhead=0.15)
DOME = [(a, e) for e in (-15.0, 5.0, 25.0, 50.0, 75.0) for a in range(0, 360, 30)]


def dome():
    azimuth, elevation = (torch.deg2rad(torch.tensor([float(p[k]) for p in DOME])) for k in (0, 1))
    return Cameras.orbit(azimuth, elevation, 2.2, math.radians(40), 256, 256)


@pytest.mark.parametrize(("channels", "encode"), [(4, False), (3, True)], ids=["latent", "rgb"])
def test_oracle_albedo_is_recovered_and_nothing_else_moves(channels, encode):
    atlas, size = body(), 64
    truth, renderer = (
        painted_truth(atlas, channels),
        SurfaceRenderer(SurfaceConfig(jitter=False, grazing=0.2)),
    )
    prior = oracle(truth, renderer, channels, size)
    surface = TexturedMesh(atlas, channels, start=torch.full((channels,), 0.45))
    seen = visibility(surface, dome()) > 0.2
    locked = torch.zeros_like(seen)
    locked[:, : seen.shape[1] // 8] = True
    surface.lock(~near_seen(seen) | locked)
    before = surface.texels.detach().clone()
    config = ScoreDistillationConfig(scale=1.0, weighting="clean", shared_time=True, t_max="0.5")
    guidance = ScoreDistillation(prior, "x", config, encode)
    parts = SurfaceModel(surface, renderer, show_rgb)
    stage = painting_stage(
        "paint",
        300,
        parts,
        guidance,
        CAMERAS,
        SolidBackground(value=torch.full((channels,), GREY)),
        size,
        PaintRates(texels="0.05->0.002"),
        PaintTerms(seam="20", variation="0.02"),
        LightConfig(),
    )
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("paint", lambda done: stage)]
    )
    still = ~(surface.unlocked.view_as(seen))
    beside = torch.nn.functional.max_pool2d(locked[None, None].float(), 5, 1, 2)[0, 0] > 0
    free = seen & ~beside & surface.charts
    error = (surface.texels - truth.texels).detach()[0]
    assert -10 * math.log10(float(error[:, free].square().mean())) > 30
    # Bit by bit: what is locked, what no camera sees, and what lies outside the charts.
    assert torch.equal(surface.texels.detach()[0][:, still], before[0][:, still])
    assert int((still & surface.charts & ~locked).sum()) > 20
    assert int((still & surface.charts & locked).sum()) > 100
    # Along the seams the painting is no worse than inside.
    inside = float(error[:, free].square().mean().sqrt())
    readable = free.view(-1)[surface.fill].view(1, 1, *free.shape).float()
    both_free = (kernels.texture(readable, surface.seams) > 0.999).all(1)[:, 0]
    assert int(both_free.sum()) > 50
    at_seams = surface.sample(surface.seams[both_free]) - truth.sample(surface.seams[both_free])
    assert float(at_seams.detach().square().mean().sqrt()) <= 1.2 * inside


def test_geometry_gets_no_gradient_and_latent_mode_calls_no_autoencoder():
    atlas = body(64)
    truth, renderer = painted_truth(atlas, 4), SurfaceRenderer(SurfaceConfig())
    prior = oracle(truth, renderer, 4, 32)

    def refuse(*_):
        raise AssertionError("the autoencoder was called")

    prior.encode_image = prior.decode_latents = refuse
    surface = TexturedMesh(atlas, 4)
    assert [n for n, _ in surface.named_parameters()] == ["texels"]
    guidance = ScoreDistillation(prior, "x", ScoreDistillationConfig())
    stage = painting_stage(
        "p",
        2,
        SurfaceModel(surface, renderer, show_rgb),
        guidance,
        CAMERAS,
        SolidBackground(value=torch.zeros(4)),
        32,
        PaintRates(),
        PaintTerms(),
        LightConfig(),
    )
    stage.loss(Step("p", 0, 2, 0.0, 0))["distil"].backward()
    assert surface.texels.grad.abs().sum() > 0
    assert not surface.points.requires_grad


def test_padding_is_read_from_the_charts():
    atlas = body(64)
    surface = painted_truth(atlas)
    with torch.no_grad():
        surface.texels[0][:, ~surface.charts] = 99.0
    assert float(surface.padded().detach().max()) < 1.0
    assert torch.equal(surface.padded()[0][:, surface.charts], surface.texels[0][:, surface.charts])


def test_seam_points_lie_at_the_same_place_on_both_sides():
    atlas = body(128)
    surface = painted_truth(atlas)
    assert len(surface.seams) > 50
    assert surface.seam_error() < 0.05
    with torch.no_grad():
        surface.texels.copy_(
            torch.rand(surface.texels.shape, generator=torch.Generator().manual_seed(0))
        )
    assert surface.seam_error() > 0.2
    surface.seam_loss().backward()
    assert surface.texels.grad.abs().sum() > 0


def test_offsets_along_the_normals_follow_a_silhouette():
    atlas = body(48)
    surface = TexturedMesh(atlas, 3, start=torch.zeros(3), offsets=True)
    renderer = SurfaceRenderer(SurfaceConfig(jitter=False, supersample=1))
    cameras = RingCameras(count=4, elevation=10.0, distance=2.2).all(64)
    behind = BackgroundSample(torch.ones(4, 64, 64, 3))
    with torch.no_grad():
        surface.offsets.fill_(0.06)
        wanted = renderer.render(surface, cameras, behind).opacity
        surface.offsets.zero_()
    optimiser = torch.optim.Adam([surface.offsets], lr=4e-3)
    for _ in range(60):
        loss = (
            renderer.render(surface, cameras, behind).opacity - wanted
        ).square().sum() + 100 * surface.offset_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    error = (renderer.render(surface, cameras, behind).opacity - wanted).square().mean()
    assert float(error) < 2e-3
    assert float(surface.offsets.detach().mean()) == pytest.approx(0.06, abs=0.02)


def test_visibility_of_a_sphere_and_of_what_stands_in_front():
    far = trimesh.creation.icosphere(3, 0.4)
    shield = trimesh.creation.box((1.5, 1.5, 0.05))
    shield.apply_translation([0, 0, 0.7])
    meshes = {
        name: Mesh(np.asarray(m.vertices, np.float32), np.asarray(m.faces, np.int32)).with_normals()
        for name, m in (("ball", far), ("shield", shield))
    }
    asset, _ = with_coordinates(Asset(meshes), 128)
    surface = TexturedMesh(join_atlas(asset, 256), 3)
    geometry = surface.texel_geometry()
    front = Cameras.orbit(torch.zeros(1), torch.zeros(1), 3.0, math.radians(40), 64, 64)
    back = Cameras.orbit(torch.full((1,), math.pi), torch.zeros(1), 3.0, math.radians(40), 64, 64)
    hidden = visibility(surface, front)[geometry.rows, geometry.columns][geometry.part == 0]
    assert float((hidden > 0).float().mean()) < 0.02
    seen = visibility(surface, back)[geometry.rows, geometry.columns]
    ball = geometry.part == 0
    towards = -geometry.normals[ball][:, 2]
    assert torch.equal(
        (seen[ball] > 0)[towards > 0.3], torch.ones(int((towards > 0.3).sum()), dtype=torch.bool)
    )
    assert not bool((seen[ball] > 0)[towards < -0.05].any())


def test_unseen_texels_take_their_neighbours_colour():
    atlas = body(64)
    surface = painted_truth(atlas)
    truth = surface.texels.detach().clone()
    geometry = surface.texel_geometry()
    unseen = torch.zeros(surface.resolution, surface.resolution, dtype=torch.bool)
    lost = geometry.points[:, 1] > 0.7
    unseen[geometry.rows[lost], geometry.columns[lost]] = True
    with torch.no_grad():
        surface.texels[0][:, unseen] = -5.0
    locked = torch.zeros_like(unseen)
    locked[geometry.rows[lost][:3], geometry.columns[lost][:3]] = True
    with torch.no_grad():
        surface.texels[0][:, locked] = 0.5
    filled = fill_unseen(surface, ~unseen, locked)
    assert torch.equal(filled[:, ~unseen], truth[0][:, ~unseen])
    assert torch.equal(filled[:, locked], surface.texels[0][:, locked])
    assert float((filled - truth[0])[:, unseen & ~locked].abs().max()) < 0.4


def test_toybox_light_is_the_light_of_its_pictures():
    normals = torch.nn.functional.normalize(
        torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    x, y, z = normals.unbind(1)
    assert torch.allclose(
        EnvironmentLight(torch.tensor(LIGHT))(normals)[:, 0],
        0.8 + 0.2 * y + 0.07 * (z * z - x * x),
        atol=1e-6,
    )
    from threestudio_like.priors.registry import embedded_folder

    assert json.loads((embedded_folder("diffusion") / "prior.json").read_text())["light"] == [
        list(row) for row in LIGHT
    ]


def test_light_variation_keeps_the_mean_and_shading_is_its_formula():
    light = EnvironmentLight(torch.tensor(LIGHT))
    normals = torch.nn.functional.normalize(
        torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)), dim=1
    )
    sides = torch.cat([normals, -normals])
    changed = light.varied(RandomStream(0, "x", 3), 0.1)
    assert not torch.equal(changed(sides), light(sides))
    assert float(changed(sides).mean()) == pytest.approx(float(light(sides).mean()), abs=1e-4)
    values = torch.rand(4000, 5, generator=torch.Generator().manual_seed(2))
    values[:, 4] = 0
    assert torch.allclose(shade(values, normals, normals, light), values[:, :3] * light(normals))
    values[:, 3:] = 1
    assert torch.allclose(
        shade(values, normals, normals, light), values[:, :3] * light(normals), atol=1e-6
    )
    assert torch.equal(shade(values, normals, normals, None), values[:, :3])
    assert torch.allclose(ambient(0.7)(normals), torch.full((4000, 1), 0.7))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_baked_light_index_is_the_share_of_the_light(share):
    normals = torch.nn.functional.normalize(
        torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    light = EnvironmentLight(torch.tensor(LIGHT))(normals)[:, 0]
    region = (torch.arange(5000) % 2).long()
    base = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.3, 0.7]])[region]
    colours = base * light[:, None] ** share
    assert baked_light_index(colours.mean(1), light, region) == pytest.approx(share, abs=1e-3)
    assert baked_share(
        colours, light, torch.zeros(5000).long(), torch.ones(5000).bool()
    ) == pytest.approx(share, abs=0.03)


def test_known_light_keeps_out_of_the_base_colour():
    """The oracle's pictures are lit; a PBR surface explains them by plain colours, an RGB one bakes
    the light in."""
    atlas, size = body(64), 48
    light = EnvironmentLight(torch.tensor(LIGHT))
    truth = TexturedMesh(atlas, 5, start=torch.tensor([0.7, 0.4, 0.3, 0.9, 0.0]))
    renderer = SurfaceRenderer(SurfaceConfig(jitter=False))

    def draw(cameras):
        with torch.no_grad():
            return renderer.render(
                truth,
                cameras,
                BackgroundSample(torch.full((len(cameras), size, size, 3), GREY)),
                light=light,
            ).features

    prior = ViewsOf(draw, 3, size)
    indices = {}
    for channels, kind in ((3, "none"), (5, "known")):
        start = torch.tensor([0.5, 0.5, 0.5, 0.9, 0.0])[:channels]
        surface = TexturedMesh(atlas, channels, start=start)
        config = ScoreDistillationConfig(scale=1.0, weighting="clean", shared_time=True)
        parts = SurfaceModel(surface, renderer, show_rgb, light=light)
        stage = painting_stage(
            "p",
            200,
            parts,
            ScoreDistillation(prior, "x", config, True),
            CAMERAS,
            SolidBackground(value=torch.full((3,), GREY)),
            size,
            PaintRates(texels="0.04->0.002"),
            PaintTerms(variation="0.01", material="10"),
            LightConfig(kind=kind, variation=0.0),
        )
        Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
            [StagePlan("p", lambda done, stage=stage: stage)]
        )
        geometry = surface.texel_geometry()
        seen = visibility(surface, dome())[geometry.rows, geometry.columns] > 0.3
        base = surface.texels.detach()[0, :3, geometry.rows, geometry.columns].t()[seen]
        indices[kind] = baked_light_index(base.mean(1), light(geometry.normals[seen])[:, 0])
    assert indices["none"] > 0.8
    assert abs(indices["known"]) < 0.1


def test_paper_preset_has_the_published_numbers():
    paper = LatentPaint.paper()
    assert (paper.latent_texels, paper.renderer.lookup, paper.background, paper.placement) == (
        128,
        "nearest",
        "sphere",
        "mean",
    )
    assert (paper.latent.steps, paper.latent.rates.texels, paper.rgb.steps, paper.pbr.steps) == (
        5000,
        "1e-2",
        0,
        0,
    )
    assert paper.latent.uniform == UniformCameras(fov_y=(60.0, 60.0), target=(0.0, 0.25, 0.0))
    assert (
        paper.latent.guidance.scale,
        paper.latent.guidance.weighting,
        paper.latent.guidance.clip,
    ) == (
        100.0,
        "latent-nerf",
        0.0,
    )
    assert not paper.renderer.mip
    assert paper.decode == "autoencoder"


def test_paper_texture_starts_as_published(tiny_prior):
    request = PaintRequest("a red chair", tiny_prior, atlas=body(64))
    parts = LatentPaint.paper().latent_parts(request)
    from threestudio_like.priors.latent_rgb import rgb_map

    matrix, _ = rgb_map(tiny_prior)
    texels = parts.surface.texels.detach()[0]
    assert texels.shape == (4, 128, 128)
    assert texels.std((1, 2)).tolist() == pytest.approx([0.4] * 4, abs=0.02)
    red = texels.mean((1, 2)) / 0.3
    ridge = torch.linalg.solve(
        matrix @ matrix.t() + 1e-2 * torch.eye(4), matrix @ torch.tensor([1.0, 0.0, 0.0])
    )
    assert torch.allclose(red, ridge, atol=0.05)
    assert isinstance(parts.background, SphereBackground)


def test_environment_sphere_fills_every_picture():
    sphere = SphereBackground(4)
    assert 0 <= float(sphere.features.min()) <= float(sphere.features.max()) < 1
    some = UniformCameras(fov_y=(60.0, 60.0), target=(0.0, 0.25, 0.0), batch=3).sample(
        RandomStream(0, "x", 0), 32
    )
    values = sphere.sample(some, RandomStream(0, "x", 0)).values
    assert values.shape == (3, 32, 32, 4)
    assert float(values.min()) > 0
    values.sum().backward()
    assert sphere.features.grad.abs().sum() > 0


def test_cameras_look_at_their_target():
    some = UniformCameras(target=(0.0, 0.25, 0.0), batch=8).sample(RandomStream(0, "x", 0), 16)
    clip = torch.tensor([0.0, 0.25, 0.0, 1.0]) @ some.view_projection().transpose(1, 2)
    assert (clip[:, 0, :2] if clip.ndim == 3 else clip[:, :2]).abs().max() < 1e-5


def chair(path, texture=False):
    from threestudio_like.toybox.world import Phrase, build

    obj = build(Phrase("chair", "white"), np.random.Generator(np.random.Philox(key=[5, 0])), "test")
    mesh = Mesh(
        obj.vertices * 3 + np.float32([10, 0, -4]),
        obj.faces,
        material=Material("wood", (0.5, 0.3, 0.2, 1.0)),
    )
    half = mesh.faces[:, 0] < len(mesh.vertices) // 2
    asset = Asset({"legs": replace(mesh.keep_faces(half), part=""), "back": mesh.keep_faces(~half)})
    if texture:
        asset, _ = with_coordinates(asset, 256)
    asset.save(path)
    return Asset.load(path)


QUICK = {
    "start.refine.times": "0.9",
    "start.iterations": "4",
    "start.refine.views": "4",
    "start.refine.steps": "2",
    "rgb.steps": "3",
    "pbr.steps": "3",
}


def test_texture_returns_the_users_mesh(tmp_path):
    before = chair(tmp_path / "chair.glb", texture=True)
    result = texture(
        tmp_path / "chair.glb",
        "a red chair",
        set=QUICK,
        lock_parts=("back",),
        run=RunOptions(out=tmp_path / "run", quiet=True),
    )
    after = Asset.load(tmp_path / "run" / "asset.glb")
    assert list(after.meshes) == list(before.meshes)
    for old, new in zip(before.meshes.values(), after.meshes.values()):
        assert np.array_equal(old.vertices, new.vertices)
        assert np.array_equal(old.faces, new.faces)
        assert np.array_equal(old.uv, new.uv)
        assert new.material.name == old.material.name
        assert (new.texture is not None) == (old is not before.meshes["back"])
    # The locked part is what it was, to the last bit.
    assert after.meshes["back"].material == before.meshes["back"].material
    assert result.rest.passed
    assert "1 of 2 parts untouched" in result.rest.line() or "untouched" in result.rest.line()
    assert result.figures["texels locked"] > 0
    report = (tmp_path / "run" / "report.html").read_text()
    for title in ("Before", "The atlas", "Seen (green)"):
        assert title in report
    for name in ("preview.png", "turntable.mp4", "run.yaml"):
        assert (tmp_path / "run" / name).is_file()


def test_offsets_from_the_command_line_move_the_users_vertices(tmp_path):
    from threestudio_like.meshes.frames import Frame

    frame = Frame("z", "-y", "cm")
    chair(tmp_path / "chair.glb", texture=True).save(tmp_path / "chair.obj", frame)
    before = Asset.load(tmp_path / "chair.obj")
    command = [
        "texture",
        str(tmp_path / "chair.obj"),
        "a red chair",
        "--up",
        "z",
        "--front",
        "-y",
        "--unit",
        "cm",
        "--quiet",
    ]
    command += [
        f"--{k}={v}" for k, v in {**QUICK, "offsets": "true", "out": tmp_path / "run"}.items()
    ]
    assert main(command) == 0
    own, glb = (
        Asset.load(tmp_path / "run" / "asset.obj"),
        Asset.load(tmp_path / "run" / "asset.glb"),
    )
    moves = [
        np.abs(new.vertices - old.vertices).max()
        for old, new in zip(before.meshes.values(), own.meshes.values())
    ]
    # A tenth of 0.95 of the radius at most, and in the user's centimetres.
    radius = (
        float(
            np.linalg.norm(np.ptp(np.concatenate([m.vertices for m in before.meshes.values()]), 0))
        )
        / 2
    )
    assert 1e-4 * radius < max(moves) <= 0.1 / 0.95 * radius * 1.01
    for old, new in zip(before.meshes.values(), own.meshes.values()):
        assert np.array_equal(old.faces, new.faces)
        assert np.array_equal(old.uv, new.uv)
    turned = np.concatenate([m.vertices for m in own.meshes.values()])
    stood = np.concatenate([m.vertices for m in glb.meshes.values()])
    assert np.allclose(turned @ frame.rotation().T * 0.01, stood, atol=1e-5)


def test_offsets_follow_an_oracle_of_a_larger_body():
    atlas, size = body(48), 64
    renderer = SurfaceRenderer(SurfaceConfig(jitter=False, supersample=1, grazing=0.0))
    truth = TexturedMesh(atlas, 3, start=torch.tensor([0.8, 0.2, 0.2]), offsets=True)
    with torch.no_grad():
        truth.offsets.fill_(0.06)
    prior = oracle(truth, renderer, 3, size)
    surface = TexturedMesh(atlas, 3, start=torch.tensor([0.8, 0.2, 0.2]), offsets=True)
    config = ScoreDistillationConfig(scale=1.0, weighting="clean", shared_time=True, t_max="0.5")
    stage = painting_stage(
        "paint",
        120,
        SurfaceModel(surface, renderer, show_rgb),
        ScoreDistillation(prior, "x", config, True),
        CAMERAS,
        SolidBackground(value=torch.full((3,), GREY)),
        size,
        PaintRates(texels="0", offsets="4e-3->1e-3"),
        PaintTerms(variation="0"),
        LightConfig(),
    )
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("paint", lambda done: stage)]
    )
    assert float(surface.offsets.detach().mean()) == pytest.approx(0.06, abs=0.02)


def test_texture_in_the_users_own_frame_and_units(tmp_path):
    from threestudio_like.meshes.frames import Frame

    frame = Frame("z", "-y", "cm")
    asset = chair(tmp_path / "chair.glb", texture=True)
    asset.save(tmp_path / "chair.obj", frame)
    before = Asset.load(tmp_path / "chair.obj")
    texture(
        tmp_path / "chair.obj",
        "a red chair",
        set=QUICK,
        up="z",
        front="-y",
        unit="cm",
        run=RunOptions(out=tmp_path / "run", quiet=True),
    )
    own = Asset.load(tmp_path / "run" / "asset.obj")
    for old, new in zip(before.meshes.values(), own.meshes.values()):
        assert np.array_equal(old.vertices, new.vertices)
        assert np.array_equal(old.uv, new.uv)
    # The GLB stands upright and in metres.
    glb = Asset.load(tmp_path / "run" / "asset.glb")
    assert np.allclose(glb.mesh.vertices.max(0), asset.mesh.vertices.max(0), atol=1e-4)


def test_texture_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    chair(tmp_path / "chair.glb")
    from threestudio_like.engine.loop import Loop

    def paint(folder, resume=False):
        run = RunOptions(out=folder, quiet=True, checkpoint_steps=1, resume=resume, keep="all")
        asset = AssetOptions(turntable=False)
        return texture(tmp_path / "chair.glb", "a red chair", set=QUICK, asset=asset, run=run)

    whole = paint(tmp_path / "a")
    account, steps = Loop._account, {"n": 0}

    def interrupted(self, *rest):
        account(self, *rest)
        steps["n"] += 1
        if steps["n"] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_account", interrupted)
    with pytest.raises(KeyboardInterrupt):
        paint(tmp_path / "b")
    monkeypatch.undo()
    again = paint(tmp_path / "b", resume=True)
    assert (whole.folder / "asset.glb").read_bytes() == (again.folder / "asset.glb").read_bytes()
    # With another mesh of that name it does not go on.
    (tmp_path / "b" / "work" / "finished.json").unlink()
    moved = Asset.load(tmp_path / "chair.glb")
    moved.meshes["legs"].vertices += 0.5
    moved.save(tmp_path / "chair.glb")
    with pytest.raises(CheckpointError, match="mesh content"):
        paint(tmp_path / "b", resume=True)


def test_latent_atlas_becomes_rgb_by_both_ways(toybox_prior):
    atlas = body(128)
    request = PaintRequest("a red box", toybox_prior, atlas=atlas)
    for decode in ("linear", "autoencoder"):
        config = LatentPaint(decode=decode, latent=PaintingConfig(steps=1), latent_texels=32)
        surface = config.latent_parts(request).surface
        with torch.no_grad():
            picture = torch.full((1, 128, 128, 3), 0.6)
            surface.texels.copy_(
                toybox_prior.encode_image(picture)
                .mean((2, 3), keepdim=True)
                .expand_as(surface.texels)
            )
        rgb = config.decoded(toybox_prior, surface, 128)
        assert rgb.shape == (3, 128, 128)
        assert float((rgb - 0.6).abs().mean()) < 0.06


def test_lock_mask_and_present_texture(tmp_path):
    from PIL import Image

    path = tmp_path / "chair.glb"
    chair(path, texture=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = SubjectOptions(lock=tmp_path / "mask.png")
    subject = read_subject(path, options, "box")
    locked = locked_texels(subject)
    tile = subject.atlas.places[0]
    row, column, half = tile.row, tile.column, tile.size // 2
    assert bool(locked[row : row + half, tile.columns].all())
    assert not bool(locked[row + half + 1 : row + tile.size, tile.columns].any())
    assert (
        float(
            (present_texture(subject)[:, row + 5, column + 5] - torch.tensor([0.5, 0.3, 0.2]))
            .abs()
            .max()
        )
        < 1e-5
    )
    for wrong in (
        SubjectOptions(lock=tmp_path / "none.png"),
        SubjectOptions(lock_parts=("wheels",)),
        SubjectOptions(lock=path),
    ):
        with pytest.raises(InputError):
            read_subject(path, wrong, "box")


def test_systems_belong_to_their_verbs(tmp_path):
    chair(tmp_path / "chair.glb")
    with pytest.raises(ConfigError, match="for texturing"):
        texture(tmp_path / "chair.glb", "a red chair", system="latent-nerf")
    assert main(["generate", "a red chair", "--system", "latent-paint"]) == 2
    assert main(["texture", str(tmp_path / "none.glb"), "a red chair"]) == 2
    assert main(["texture", str(tmp_path / "chair.glb"), "a red dragon"]) == 2
    assert main(["texture", str(tmp_path / "chair.glb"), "a red chair", "--up", "w"]) == 2
    assert main(["texture", str(tmp_path / "chair.glb"), "a red chair", "--rgb.stepps", "3"]) == 2


def test_point_mass_paints_every_seen_texel_in_one_colour():
    atlas = body(64)
    prior = PointMass(torch.full((4, 16, 16), 0.3))
    surface = TexturedMesh(atlas, 4)
    guidance = ScoreDistillation(prior, "x", ScoreDistillationConfig(scale=1.0, weighting="clean"))
    parts = SurfaceModel(surface, SurfaceRenderer(SurfaceConfig(grazing=0.0)), show_rgb)
    stage = painting_stage(
        "p",
        60,
        parts,
        guidance,
        CAMERAS,
        SolidBackground(value=torch.zeros(4)),
        16,
        PaintRates(texels="0.02"),
        PaintTerms(variation="0"),
        LightConfig(),
    )
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("p", lambda done: stage)]
    )
    moved = surface.texels.detach()[0][:, surface.charts].abs().sum(0) > 0
    assert (
        float((surface.texels.detach()[0][:, surface.charts][:, moved] - 0.3).abs().mean()) < 0.05
    )


def test_the_paper_preset_paints_on_any_pipeline(tiny_folder, tmp_path):
    chair(tmp_path / "chair.glb")
    result = texture(
        tmp_path / "chair.glb",
        "a chair of glass",
        prior=str(tiny_folder),
        set={"latent.steps": 3, "latent_texels": 32},
        asset=AssetOptions(texture=64, turntable=False),
        run=RunOptions(out=tmp_path / "run", quiet=True),
    )
    assert result.verdict.passed
    assert "latent-paint" in (tmp_path / "run" / "run.yaml").read_text()
    assert "preset: paper" in (tmp_path / "run" / "run.yaml").read_text()
    assert result.asset.meshes["legs"].texture.shape[2] == 3


def test_refinement_rounds_can_end_a_painting(tmp_path):
    chair(tmp_path / "chair.glb")
    rounds = {
        "refine.refine.times": "0.3",
        "refine.iterations": "2",
        "refine.refine.views": "4",
        "refine.refine.steps": "2",
    }
    result = texture(
        tmp_path / "chair.glb",
        "a red chair",
        set={**QUICK, **rounds},
        asset=AssetOptions(turntable=False),
        run=RunOptions(out=tmp_path / "run", quiet=True),
    )
    assert result.verdict.passed
    assert '"stage": "refine"' in (tmp_path / "run" / "events.jsonl").read_text()


def test_pictures_are_laid_back_on_the_surface_that_they_show():
    atlas = body(128)
    truth, renderer = painted_truth(atlas), SurfaceRenderer(SurfaceConfig(jitter=False))
    cameras = dome().resized(128, 128)
    with torch.no_grad():
        drawn = renderer.render(
            truth, cameras, BackgroundSample(torch.full((1, 128, 128, 3), GREY))
        )
    texels, weight = back_project(truth, cameras, drawn.features, drawn.opacity[..., 0])
    seen = weight > 0.01
    assert 0.5 < float(seen[truth.charts].float().mean()) < 1
    error = (texels - truth.texels.detach()[0])[:, seen]
    assert -10 * math.log10(float(error.square().mean())) > 30
    assert float(texels[:, ~seen & (weight == 0)].abs().max()) == 0


def test_rounds_in_turn_keep_what_was_painted_before(toybox_prior, monkeypatch):
    """Every four views but the first are denoised around the colours that those before them left on
    the surface."""
    from threestudio_like.guidance.image_refinement import ImageRefinement, RefinementConfig
    from threestudio_like.stages.painting_rounds import PaintRoundsConfig, paint_rounds_stage

    surface = TexturedMesh(body(96), 3, start=torch.full((3,), 0.5))
    config = PaintRoundsConfig(
        refine=RefinementConfig(times=(0.9,), steps=2, views=8), iterations=1, in_turn=True
    )
    refinement = ImageRefinement(toybox_prior, "a red box", config.refine, torch.full((8,), 0.5))
    calls, denoise = [], refinement.denoise

    def watched(latents, cameras, time, steps, random, purpose, known, **more):
        calls.append(
            (
                latents,
                known[1],
                clean := denoise(latents, cameras, time, steps, random, purpose, known, **more),
            )
        )
        return clean

    monkeypatch.setattr(refinement, "denoise", watched)
    stage = paint_rounds_stage(
        "start",
        SurfaceModel(surface, SurfaceRenderer(SurfaceConfig()), show_rgb),
        refinement,
        config,
        toybox_prior.facts.image_size,
        0.5,
        False,
    )
    stage.loss(Step("start", 0, 1, 0.0, 0))
    assert len(calls) == 2
    (_, first, _), (latents, second, clean) = calls
    extra = (second > 0.5) & (first.mean(0, keepdim=True) < 0.5)
    assert int(extra.sum()) > 10
    held = extra.expand_as(clean)
    assert torch.allclose(clean[held], latents[held], atol=1e-5)


def test_untouched_parts_of_an_obj_are_found_in_the_glb(tmp_path):
    from threestudio_like.meshes.verification_rest import verify_rest

    given = Path(__file__).parent.parent / "assets" / "meshes" / "teapot.obj"
    asset = Asset.load(given)
    asset.save(tmp_path / "teapot.glb")
    # A GLB has v downwards: 1 - (1 - v) is v but for a rounding.
    assert verify_rest(given, tmp_path / "teapot.glb", asset).passed
    handle = asset.meshes["handle"]
    moved = asset.with_meshes({**asset.meshes, "handle": replace(handle, uv=handle.uv + 1e-4)})
    moved.save(tmp_path / "moved.glb")
    assert not verify_rest(given, tmp_path / "moved.glb", asset).passed


def test_a_silhouettes_pixels_take_the_colours_inside():
    """A red square on grey whose outermost pixels are half grey: what is projected is red. Parts
    of two pixels have no inside, and stay."""
    from threestudio_like.stages.painting_views import edges_from_within

    red, grey = torch.tensor([1.0, 0.0, 0.0]), torch.full((3,), 0.5)
    picture, opacity = grey.expand(1, 16, 16, 3).clone(), torch.zeros(1, 16, 16, 1)
    for rows, columns in ((slice(2, 9), slice(2, 9)), (slice(2, 14), slice(12, 14))):
        opacity[:, rows, columns] = 1
        picture[:, rows, columns] = 0.5 * red + 0.5 * grey
    picture[:, 3:8, 3:8] = red
    shown = edges_from_within(picture, opacity)
    torch.testing.assert_close(shown[0, 2:9, 2:9], red.expand(7, 7, 3))
    assert torch.equal(shown[:, :, 11:], picture[:, :, 11:])
