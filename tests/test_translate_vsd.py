"""ProlificDreamer's configurations in ours, and the preset that they are."""

from __future__ import annotations

import copy

import pytest
import yaml

from threestudio_like.commands.translation.translator import translate
from threestudio_like.engine.config import dotted
from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.schedule import Schedule
from threestudio_like.systems import registry
from threestudio_like.systems.text_to_3d.prolificdreamer import prolificdreamer

PROLIFIC = {
    "data_type": "random-camera-datamodule",
    "data": {
        "batch_size": [1, 1],
        "width": [64, 512],
        "height": [64, 512],
        "resolution_milestones": [5000],
        "camera_distance_range": [1.0, 1.5],
        "fovy_range": [40, 70],
        "elevation_range": [-10, 45],
        "camera_perturb": 0.0,
        "center_perturb": 0.0,
        "up_perturb": 0.0,
    },
    "system_type": "prolificdreamer-system",
    "system": {
        "stage": "coarse",
        "geometry_type": "implicit-volume",
        "geometry": {
            "radius": 1.0,
            "normal_type": None,
            "density_bias": "blob_magic3d",
            "density_activation": "softplus",
            "density_blob_scale": 10.0,
            "density_blob_std": 0.5,
            "pos_encoding_config": {
                "otype": "HashGrid",
                "n_levels": 16,
                "n_features_per_level": 2,
                "log2_hashmap_size": 19,
                "base_resolution": 16,
                "per_level_scale": 1.447269237440378,
            },
        },
        "material_type": "no-material",
        "material": {"n_output_dims": 3, "color_activation": "sigmoid"},
        "background_type": "neural-environment-map-background",
        "background": {"color_activation": "sigmoid", "random_aug": True},
        "renderer_type": "nerf-volume-renderer",
        "renderer": {"radius": 1.0, "num_samples_per_ray": 512},
        "prompt_processor_type": "stable-diffusion-prompt-processor",
        "prompt_processor": {
            "pretrained_model_name_or_path": "stabilityai/stable-diffusion-2-1-base",
            "prompt": "a red chair",
            "front_threshold": 30.0,
            "back_threshold": 30.0,
        },
        "guidance_type": "stable-diffusion-vsd-guidance",
        "guidance": {
            "pretrained_model_name_or_path": "stabilityai/stable-diffusion-2-1-base",
            "pretrained_model_name_or_path_lora": "stabilityai/stable-diffusion-2-1",
            "guidance_scale": 7.5,
            "min_step_percent": 0.02,
            "max_step_percent": [5000, 0.98, 0.5, 5001],
            "sqrt_anneal": False,
        },
        "loss": {
            "lambda_vsd": 1.0,
            "lambda_lora": 1.0,
            "lambda_orient": 0.0,
            "lambda_sparsity": 10.0,
            "lambda_opaque": [10000, 0.0, 1000.0, 10001],
            "lambda_z_variance": 0.0,
        },
        "optimizer": {
            "name": "AdamW",
            "args": {"betas": [0.9, 0.99], "eps": 1e-15},
            "params": {
                "geometry.encoding": {"lr": 0.01},
                "geometry.density_network": {"lr": 0.001},
                "geometry.feature_network": {"lr": 0.001},
                "background": {"lr": 0.001},
                "guidance": {"lr": 0.0001},
            },
        },
    },
    "trainer": {"max_steps": 25000},
}
"""The values of threestudio's prolificdreamer.yaml."""


def test_prolificdreamers_values_are_the_presets(tmp_path):
    """The published file, translated, is the preset, but for the model whose copy learns, which
    the user loads by name."""
    path = tmp_path / "prolific.yaml"
    path.write_text(yaml.safe_dump(PROLIFIC))
    made = translate(path)
    assert made.target is not None
    assert not [line for line in made.lines if line.verdict == "none"]
    assert "--prior" in made.options
    ours, theirs = dotted(prolificdreamer()), dotted(made.config)
    assert theirs.pop("distil.guidances.vsd.model") == "sd-2.1"
    assert ours.pop("distil.guidances.vsd.model") == ""
    names = [k for k in sorted({*ours, *theirs}) if not k.startswith(UNUSED)]
    different = {k: (ours.get(k), theirs.get(k)) for k in names if ours.get(k) != theirs.get(k)}
    assert all(the_same(*values) for values in different.values()), different


def the_same(one, two):
    """Whether two schedules are the same but within the step in which both change."""
    if not (isinstance(one, str) and isinstance(two, str)):
        return False
    try:
        a, b = Schedule.parse(one), Schedule.parse(two)
    except ConfigError:
        return False
    return all(a(k / 1000) == b(k / 1000) for k in range(1000) if k not in (200, 400))


UNUSED = (
    "distil.guidance.",
    "distil.shading.",
    "distil.stratified.",
    "distil.rates.voxels",
    "distil.milestones.batch",
    "renderer.normal_",
    "representation.voxels.",
)
"""What the main guidance, the cameras and the grid that are chosen leave unused; normals, which no
term looks at; and a number of views that does not change."""


@pytest.mark.parametrize("kind", ["vsd", "sds"])
def test_the_unified_guidance_is_one_or_the_other(tmp_path, kind):
    values = copy.deepcopy(PROLIFIC)
    values["system"]["guidance_type"] = "stable-diffusion-unified-guidance"
    values["system"]["guidance"] = {
        "guidance_type": kind,
        "pretrained_model_name_or_path": "stabilityai/stable-diffusion-2-1-base",
        "guidance_scale": 7.5,
        "vsd_phi_model_name_or_path": "stabilityai/stable-diffusion-2-1",
        "vsd_camera_condition_type": "mvp",
        "vsd_lora_n_timestamp_samples": 2,
    }
    path = tmp_path / "unified.yaml"
    path.write_text(yaml.safe_dump(values))
    made = translate(path)
    stage = made.config.distil
    assert stage.guidances.main == ("vsd" if kind == "vsd" else "")
    if kind == "vsd":
        copied = stage.guidances.main_config()
        assert (copied.model, copied.lora.camera, copied.train_samples) == ("sd-2.1", "mvp", 2)
        assert (copied.drop_camera, copied.scale) == (0.0, 7.5)
    else:
        assert stage.guidance.scale == 7.5


GEOMETRY = {
    "data_type": "random-camera-datamodule",
    "data": {
        "batch_size": 1,
        "width": 512,
        "height": 512,
        "camera_distance_range": [1.0, 1.5],
        "fovy_range": [40, 70],
        "elevation_range": [-10, 45],
        "camera_perturb": 0.0,
        "center_perturb": 0.0,
        "up_perturb": 0.0,
    },
    "system_type": "prolificdreamer-system",
    "system": {
        "stage": "geometry",
        "geometry_type": "tetrahedra-sdf-grid",
        "geometry": {
            "radius": 1.0,
            "isosurface_resolution": 128,
            "isosurface_deformable_grid": True,
            "geometry_only": True,
        },
        "material_type": "no-material",
        "material": {"n_output_dims": 0},
        "renderer_type": "nvdiff-rasterizer",
        "prompt_processor_type": "stable-diffusion-prompt-processor",
        "prompt_processor": {"prompt": "a red chair"},
        "guidance_type": "stable-diffusion-guidance",
        "guidance": {
            "pretrained_model_name_or_path": "stabilityai/stable-diffusion-2-1-base",
            "guidance_scale": 100.0,
            "min_step_percent": 0.02,
            "max_step_percent": [5000, 0.98, 0.5, 5001],
            "weighting_strategy": "sds",
        },
        "loss": {
            "lambda_sds": 1.0,
            "lambda_normal_consistency": 10000.0,
            "lambda_laplacian_smoothness": 10000.0,
        },
        "optimizer": {
            "name": "Adam",
            "args": {"lr": 0.005, "betas": [0.9, 0.99], "eps": 1e-15},
        },
    },
    "trainer": {"max_steps": 15000},
}


def test_prolificdreamers_geometry_is_a_preset_of_refine(tmp_path):
    """threestudio's file of the second stage, translated, is that preset."""
    path = tmp_path / "geometry.yaml"
    path.write_text(yaml.safe_dump(GEOMETRY))
    made = translate(path)
    assert made.target is not None
    assert made.target.command == "refine"
    assert {line.key for line in made.lines if line.verdict == "none" and line.given} == set()
    preset = registry.configuration("rgb-refinement", "prolificdreamer", "refine")
    assert dotted(made.config) == dotted(preset)
    assert (preset.mesh.look, preset.mesh.move, preset.mesh.steps) == ("normals", "shape", 15000)


def test_prolificdreamers_texture_paints_a_mesh(tmp_path):
    values = copy.deepcopy(PROLIFIC)
    values["system"]["stage"] = "texture"
    values["system"]["geometry_type"] = "tetrahedra-sdf-grid"
    path = tmp_path / "texture.yaml"
    path.write_text(yaml.safe_dump(values))
    made = translate(path)
    assert made.target is not None
    assert made.target.command == "texture"
    assert made.config.rgb.guidances.main == "vsd"
