"""Numbers of configurations that cannot be meant are refused where they are written: times and
weights of schedules, ranges of cameras, lists with nothing in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from threestudio_like.engine.config import from_dict, update
from threestudio_like.engine.errors import ConfigError
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.image_refinement import RefinementConfig
from threestudio_like.guidance.normals import NormalsConfig
from threestudio_like.guidance.score_distillation import ScoreDistillationConfig
from threestudio_like.guidance.variational import VariationalConfig
from threestudio_like.renderers import ShadingConfig, StratifiedCameras, UniformCameras
from threestudio_like.representations import LearningRates
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.surfaces import SurfaceTerms
from threestudio_like.stages.distillation import Milestones, OptimiserConfig
from threestudio_like.stages.mesh.config import MeshStageConfig
from threestudio_like.stages.painting import PaintTerms
from threestudio_like.stages.painting_views import PaintViewsConfig
from threestudio_like.stages.regularisers import Regularisation

from .runs import CAR, MUG, run

SCORES = (ScoreDistillationConfig, VariationalConfig, NormalsConfig)
REFUSED: list[tuple[type, dict[str, Any], str]] = [
    *((kind, {"t_max": 980}, "at most 1, got 980. It is a share") for kind in SCORES),
    (ScoreDistillationConfig, {"t_max": "980->500"}, "at most 1"),
    (ScoreDistillationConfig, {"t_min": "0.02->-1"}, "at least 0"),
    (ScoreDistillationConfig, {"t_min": "0.9", "t_max": "0.2"}, "0.9, is above the largest, 0.2"),
    (ScoreDistillationConfig, {"t_max": "0.9->0.01"}, "after 99 % of the run"),
    (ScoreDistillationConfig, {"grad_clip": "-1"}, "at least 0"),
    (RefinementConfig, {"times": [1.5]}, "at most 1"),
    (RefinementConfig, {"elevations": []}, "one value at least"),
    (PaintViewsConfig, {"elevations": ()}, "one value at least"),
    (LearningRates, {"voxels": "-0.1"}, "at least 0"),
    (Regularisation, {"sparsity": "1->-1"}, "at least 0"),
    (PaintTerms, {"seam": -3}, "at least 0"),
    (SurfaceTerms, {"crease_angle": "20->0"}, "more than 0"),
    (Milestones, {"batch": "4; step 4->-4 @ 20..100%"}, "at least 0"),
    (OptimiserConfig, {"betas": [0.9, 1.0]}, "at most 0.99999"),
    (VariationalConfig, {"betas": "1.0 0.9"}, "at most 0.99999"),
    (UniformCameras, {"distance": [0, 0]}, "more than 0"),
    (UniformCameras, {"fov_y": [40, 200]}, "at most 170"),
    (UniformCameras, {"elevation": [-100, 0]}, "at least -90"),
    (StratifiedCameras, {"elevation": [0, 100]}, "at most 90"),
    (ShadingConfig, {"light_distance": [0, 1]}, "more than 0"),
    (FieldConfig, {"hash": {"log2_size": -3}}, "at least 0"),
    (MeshStageConfig, {"targets": {"size": 0}}, "at least 1"),
    (MeshStageConfig, {"radius": 3}, "at most 0.95"),
    (VariationalConfig, {"lora": {"rank": 0}}, "at least 1"),
]


@pytest.mark.parametrize(("kind", "values", "said"), REFUSED)
def test_what_cannot_be_meant_is_refused(kind, values, said):
    with pytest.raises(ConfigError, match=said):
        update(kind(), values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ScoreDistillationConfig, {"t_min": "0", "t_max": 1}),
        (ScoreDistillationConfig, {"t_min": 0.3, "t_max": "0.98->0.3"}),
        (ScoreDistillationConfig, {"t_min": "0.8->0.02", "t_max": "0.9->0.1"}),
        (RefinementConfig, {"times": []}),
        (UniformCameras, {"elevation": [-90, 90], "azimuth": [-180, 360]}),
        (SurfaceTerms, {"crease_angle": 5}),
    ],
)
def test_the_borders_are_within(kind, values):
    config = update(kind(), values)
    assert update(config, values) == config


def test_times_are_checked_where_python_makes_them():
    with pytest.raises(ConfigError, match=r"0\.98 for step 980"):
        ScoreDistillationConfig(t_max=980)
    with pytest.raises(ConfigError, match="above the largest"):
        from_dict(ScoreDistillationConfig, {"t_max": 0.01})


def test_a_guidance_may_push_away_and_its_own_numbers_may_not_be_anything():
    assert Guidances().updated({"clip": {"weight": "-0.1"}}, "").plain()["clip"]["weight"] == "-0.1"
    for values in (
        {"sketch": {"strictness": 2}},
        {"reference": {"size": 0}},
        {"reference": {"colour": -1}},
        {"depth": {"elevation": 500}},
        {"vsd": {"rate": "-1"}},
    ):
        with pytest.raises(ConfigError, match="must be"):
            Guidances().updated(values, "guidance.")


def test_planes_have_a_texel_on_every_level():
    for levels, fits in ((7, True), (8, False)):
        config = FieldConfig(kind="triplane")
        config = update(config, {"triplane": {"resolution": 64, "levels": levels}})
        if fits:
            density, _ = config.build(3, 0)(torch.zeros(1, 3))
            assert density.isfinite().all()
        else:
            with pytest.raises(ConfigError, match="Take at most 7 levels"):
                config.build(3, 0)


@pytest.mark.parametrize(
    "words",
    [
        ("--distil.guidance.t-max", "980"),
        ("--guidance.reference.picture", CAR, "--guidance.reference.size", "0"),
        ("--guidance.sketch.path", MUG, "--guidance.sketch.strictness", "3"),
    ],
)
def test_the_command_line_refuses_before_a_folder_is_made(words, tmp_path, capsys):
    assert run("generate", "a red chair", "--out", tmp_path / "run", *words) == 2
    assert "must be at" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
