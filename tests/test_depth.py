"""Depth estimators: the adapter, the embedded one's training, and the ways in which a model can be
missing."""

import json

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.depth import TransformersDepth, load_depth
from threestudio_like.training.depth import (
    CAMERAS,
    before_backgrounds,
    build_depth,
    depth_accuracy,
    depth_pictures,
    picture_with_depth,
    save_depth,
)


def test_depth_is_measured_along_rays_from_one_unit_before_the_centre():
    for index in (0, 1):
        distance, _ = CAMERAS[index]
        image, mask, depth = picture_with_depth(3, index, "train")
        inside = mask > 250
        assert image.shape == (64, 64, 3)
        assert 0 < float(depth[inside].min()) < float(depth[inside].max()) < 2.1
        assert float(np.abs(depth[mask < 100]).max()) == 0
        assert distance in (3.0, 5.0)


def test_backgrounds_change_nothing_on_the_object():
    image, mask, _ = picture_with_depth(3, 0, "train")
    image, mask = (
        torch.from_numpy(image)[None].float() / 255,
        torch.from_numpy(mask)[None].float() / 255,
    )
    one, two = (before_backgrounds(image, mask, torch.Generator().manual_seed(k)) for k in (0, 1))
    solid, empty = mask > 0.99, mask < 0.01
    # Brightness and noise alone.
    ratio = (one[solid] / two[solid].clamp_min(0.05)).median()
    assert float((one[solid] - ratio * two[solid]).abs().mean()) < 0.06
    assert float((one[empty] - two[empty]).abs().mean()) > 0.1


def test_training_from_the_command_line_and_the_adapter(tmp_path, capsys):
    command = ["train", "depth", "--out", str(tmp_path / "d"), "--objects", "24", "--steps", "2"]
    assert main(command) == 0
    assert "error of a flat guess" in capsys.readouterr().out
    assert json.loads((tmp_path / "d/depth/figures.json").read_text())["error of a flat guess"] > 0
    assert main(command) == 2
    prior = load_depth(str(tmp_path / "d" / "depth"))
    assert prior.metric
    assert prior.framed
    assert not prior.inverse
    assert load_depth("toybox").framed
    # A pixel beyond the far end is brought back to it.
    far = TransformersDepth(tmp_path / "d" / "depth")
    with torch.no_grad():
        far.model.head.head[-2].bias += 5.0
    assert float(far.predict(torch.rand(1, 64, 64, 3)).max()) == 2
    out = prior.predict(torch.rand(2, 100, 80, 3))
    assert out.shape == (2, 100, 80)
    assert 0 <= float(out.min()) <= float(out.max()) <= 2
    assert main(["train", "depth", "--out", str(tmp_path / "e"), "--data", str(tmp_path)]) == 2


def test_training_lowers_the_error(tmp_path):
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
    from threestudio_like.training.depth import depth_stage

    data = depth_pictures(tmp_path, 3, 24)
    torch.manual_seed(0)
    model = build_depth(48)
    before = depth_accuracy(model, data)["error, any background"]
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("depth", lambda done: depth_stage(model, data, 50, 16))]
    )
    assert depth_accuracy(model, data)["error, any background"] < 0.7 * before


def test_a_relative_model_says_that_it_is_one_and_missing_ones_are_named(tmp_path):
    model = build_depth(48)
    model.config.depth_estimation_type = "relative"
    save_depth(model, tmp_path / "relative")
    prior = TransformersDepth(tmp_path / "relative")
    assert prior.inverse
    assert not prior.metric
    assert not prior.framed
    for name, match in (
        (str(tmp_path), "no depth model"),
        ("depth-anithing-small", "depth-anything-small"),
        ("nowhere", "no model"),
    ):
        with pytest.raises(ModelError, match=match):
            load_depth(name)
    (tmp_path / "relative" / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransformersDepth(tmp_path / "relative")
