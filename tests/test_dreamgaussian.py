"""DreamGaussian: Gaussians, their mesh, its texture; and Gaussians in other methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.loop import Stage
from threestudio_like.engine.progress import module_tensors, restore
from threestudio_like.engine.schedule import Schedule
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.splats.splats import read_splats
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.renderers import SplatConfig, SplatRenderer, VolumeRenderer, renderer_for
from threestudio_like.renderers.volume import VolumeConfig
from threestudio_like.representations import GaussianCloud, GaussianConfig
from threestudio_like.representations.config import FieldConfig
from threestudio_like.runs.memory_budget import choose
from threestudio_like.stages.demand import demands
from threestudio_like.stages.field_to_mesh import AssetConfig
from threestudio_like.stages.mesh_texture import KeptSurface, mesh_of_field
from threestudio_like.stages.model import FieldModel
from threestudio_like.systems.registry import configuration
from threestudio_like.systems.text_to_3d.dreamgaussian import DreamGaussian

from .test_gaussians import body

SHORT = [
    *("--distil.steps", "3", "--representation.gaussians.start", "300"),
    *("--representation.gaussians.capacity", "400", "--representation.gaussians.opacity", "0.9"),
    *("--texture.steps", "1", "--texture.texels", "64", "--texture.surface.resolution", "32"),
    *("--texture", "64", "--no-turntable", "--quiet"),
]


def test_a_distilled_run_leaves_gaussians_a_mesh_and_a_file(tmp_path):
    out = tmp_path / "run"
    main(["generate", "a red chair", "--system", "dreamgaussian", "--out", str(out), *SHORT])
    asset = Asset.load(out / "asset.glb")
    assert asset.mesh.texture is not None
    assert asset.mesh.texture.shape[:2] == (64, 64)
    splats = read_splats(out / "gaussians.ply")
    assert len(splats) == 300
    main(["export", str(out), "--to", "spz"])
    packed = read_splats(out / "asset.spz")
    assert np.abs(packed.positions - splats.positions).max() < 1e-3
    # What is kept of the run is enough to open it: the mesh and the Gaussians.
    assert (out / "work").is_dir()


def test_the_presets_are_what_is_published():
    made = configuration("dreamgaussian", "paper")
    assert isinstance(made, DreamGaussian)
    cloud, rules = made.representation.gaussians, made.representation.gaussians.densify
    assert (cloud.start, cloud.radius, cloud.opacity) == (1000, 0.5, 0.1)
    assert (rules.every, rules.gradient) == (50, 0.01)
    assert made.distil.steps == 500
    rate = Schedule.parse(cloud.rates.positions)
    assert (rate(0.0), rate(1.0)) == (1e-3, pytest.approx(2e-5))


def test_a_kind_of_field_says_what_draws_it():
    cloud = FieldConfig(kind="gaussians").build(3, 0, sigmoid=True)
    voxels = FieldConfig(kind="voxels").build(3, 0, sigmoid=True)
    assert isinstance(renderer_for(cloud, VolumeConfig()), SplatRenderer)
    assert isinstance(renderer_for(voxels, VolumeConfig()), VolumeRenderer)


def cloud_of_body():
    points, faces, colours, _, _ = body(size=8, count=2)
    cloud = GaussianCloud(GaussianConfig(capacity=3000, start=3000))
    cloud.load_mesh(points, faces, colours)
    return cloud, points, colours


def test_the_mesh_of_a_field_keeps_its_colours_and_comes_back_from_a_checkpoint():
    cloud, points, colours = cloud_of_body()
    parts = FieldModel(cloud, SplatRenderer(SplatConfig(normals=False)), show_rgb)
    kept = KeptSurface(128)
    mesh_of_field(kept, parts, AssetConfig(resolution=48), 1)
    made = kept.textured()
    # The surface is the body's.
    near = torch.cdist(torch.from_numpy(made.vertices), points)
    assert float(near.amin(1).mean()) < 0.07
    texel = (made.uv * 128).astype(int).clip(0, 127)
    shown = made.texture[127 - texel[:, 1], texel[:, 0]] / 255
    wanted = colours[near.argmin(1)].numpy()
    assert np.abs(shown - wanted).mean() < 0.1
    stage = Stage("texture", 1, {"surface": kept}, groups=[], loss=lambda step: {})
    tensors = {k: v.clone() for k, v in module_tensors("texture", stage.modules).items()}
    again = KeptSurface(128)
    other = Stage("texture", 1, {"surface": again}, groups=[], loss=lambda step: {})
    restore(other, None, tensors)
    back = again.textured()
    assert np.array_equal(back.texture, made.texture)
    assert np.array_equal(back.vertices, made.vertices)
    assert np.array_equal(back.faces, made.faces)


def test_gradients_reach_the_kept_texels_and_only_the_charts():
    cloud, _, _ = cloud_of_body()
    parts = FieldModel(cloud, SplatRenderer(SplatConfig(normals=False)), show_rgb)
    kept = KeptSurface(32)
    mesh_of_field(kept, parts, AssetConfig(resolution=24), 1)
    kept.surface().sample(torch.rand(200, 2)).sum().backward()
    assert kept.texels.grad is not None
    outside = ~kept.surface().charts
    assert float(kept.texels.grad[0][:, outside].abs().sum()) == 0


def test_memory_is_planned_for_as_many_gaussians_as_there_may_be(toybox_prior):
    """A larger capacity asks for more; a small budget draws view by view."""
    demands_of = {}
    for capacity in (500, 4000):
        cloud = GaussianConfig(capacity=capacity, start=100)
        made = DreamGaussian(representation=FieldConfig(kind="gaussians", gaussians=cloud))
        first, second = demands(made, toybox_prior)
        assert (first.name, second.name) == ("distil", "texture")
        assert first.samples == first.views * capacity
        assert first.chunked < first.kept < first.most
        demands_of[capacity] = first
    assert demands_of[4000].parameters > 7 * demands_of[500].parameters
    planned = choose("8GB", made, toybox_prior)
    assert planned.peak > 7 * demands_of[4000].parameters
    assert planned.limits.samples["distil"] == demands_of[4000].samples
