"""Depth estimators: the adapter, the embedded one's training, and the ways in which a model can be
missing."""

import json

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.depth import TransformersDepth, load_depth
from threestudio_like.priors.networks.back_head import FILE
from threestudio_like.toybox.render import render, view_projection
from threestudio_like.toybox.world import draw
from threestudio_like.training.depth import (
    before_backgrounds,
    build_depth,
    depth_accuracy,
    save_depth,
    start_depth,
)
from threestudio_like.training.depth_pictures import CAMERAS, depth_pictures, picture_with_depth


@pytest.mark.parametrize("index", [0, 3, 8, 14])
def test_front_and_back_are_the_first_and_the_last_hit_of_a_ray_caster(index):
    """Embree through trimesh, pixel by pixel, on an object with gaps between its parts."""
    import trimesh

    obj, size, distance = draw(5, index, "train"), 48, 3.0
    azimuth, elevation, fov = 0.7, 0.4, np.deg2rad(40.0)
    matrix = view_projection(azimuth, elevation, distance, float(fov))[None]
    black = np.zeros((1, 3), np.float32)
    seen = [render(obj, matrix, size, black, supersample=1, back=b) for b in (False, True)]
    inverse = np.linalg.inv(matrix[0].astype(np.float64))
    line = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(-line, line, indexing="ij")
    ends = []
    for depth in (-0.5, 0.9):
        points = np.stack([x, y, np.full_like(x, depth), np.ones_like(x)], -1) @ inverse.T
        ends.append((points[..., :3] / points[..., 3:]).reshape(-1, 3))
    directions = ends[1] - ends[0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    solid = trimesh.Trimesh(obj.vertices, obj.faces, process=False)
    places, rays, _ = solid.ray.intersects_location(ends[0], directions, multiple_hits=True)
    away = (np.c_[places, np.ones(len(places))] @ matrix[0].T)[:, 3]
    first, last = np.full(size * size, np.inf), np.full(size * size, -np.inf)
    np.minimum.at(first, rays, away)
    np.maximum.at(last, rays, away)
    mask = seen[0].mask[0].reshape(-1) > 0
    assert np.array_equal(seen[0].mask, seen[1].mask)
    # A ray along an edge hits or misses by rounding.
    assert (mask != np.isfinite(first)).mean() < 0.004
    both = mask & np.isfinite(first)
    for view, hits in zip(seen, (first, last), strict=True):
        off = np.abs(view.depth[0].reshape(-1)[both] - hits[both])
        assert np.quantile(off, 0.99) < 2e-4
    thick = (seen[1].depth - seen[0].depth)[0].reshape(-1)[both]
    assert thick.min() > -1e-5
    assert thick.max() > 0.2


def test_a_reversed_camera_leaves_the_front_as_it_was():
    obj = draw(5, 2, "train")
    matrix = view_projection(0.3, 0.2)[None]
    kept = matrix.copy()
    white = np.ones((1, 3), np.float32)
    before = render(obj, matrix, 32, white)
    render(obj, matrix, 32, white, back=True)
    after = render(obj, matrix, 32, white)
    assert np.array_equal(matrix, kept)
    assert np.array_equal(before.depth, after.depth)
    assert np.array_equal(before.image, after.image)


def test_depth_is_measured_along_rays_from_one_unit_before_the_centre():
    for index in (0, 1):
        distance, _ = CAMERAS[index]
        drawn = picture_with_depth(3, index, "train")
        inside = drawn.mask > 250
        assert drawn.image.shape == (64, 64, 3)
        assert 0 < float(drawn.depth[inside].min()) < float(drawn.depth[inside].max()) < 2.1
        assert (drawn.back[inside] >= drawn.depth[inside]).all()
        for depth in (drawn.depth, drawn.back):
            assert float(np.abs(depth[drawn.mask < 100]).max()) == 0
        assert distance in (3.0, 5.0)


def test_framing_moves_both_depths_alike(tmp_path):
    data = depth_pictures(tmp_path, 3, 6)
    rows = np.arange(6)
    _, mask, front, back = data.framed(rows)
    assert ((front > 0) == (back > 0)).all()
    assert (back >= front).all()
    small = data.framed(rows, 0.4)
    # Half as large in the frame, half as thick.
    for n in rows:
        solid, little = (m[n] > 0.99 for m in (mask, small[1]))
        thick = (back - front)[n][solid].mean() / 0.85
        assert float((small[3] - small[2])[n][little].mean() / 0.4) == pytest.approx(
            float(thick), rel=0.15, abs=0.05
        )
    again = depth_pictures(tmp_path, 3, 6)
    assert np.array_equal(again.back, data.back)
    assert np.array_equal(again.elevation, data.elevation)


def test_backgrounds_change_nothing_on_the_object():
    drawn = picture_with_depth(3, 0, "train")
    image, mask = (
        torch.from_numpy(drawn.image)[None].float() / 255,
        torch.from_numpy(drawn.mask)[None].float() / 255,
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
    assert prior.has_back
    sides = prior.predict_sides(torch.rand(2, 100, 80, 3))
    assert sides.back.shape == (2, 100, 80)
    assert (sides.back >= sides.visible - 1e-6).all()
    assert sides.elevation.shape == (2,)
    assert main(["train", "depth", "--out", str(tmp_path / "e"), "--data", str(tmp_path)]) == 2


def test_the_folder_is_a_plain_one_for_everybody_else(tmp_path):
    """transformers reads the visible depth; the back lies beside it and may be missing."""
    from transformers import AutoModelForDepthEstimation

    torch.manual_seed(0)
    save_depth(build_depth(48).eval(), tmp_path / "d")
    own, picture = TransformersDepth(tmp_path / "d"), torch.rand(1, 64, 64, 3)
    found, report = AutoModelForDepthEstimation.from_pretrained(
        tmp_path / "d", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        depth = found.eval()(pixel_values=picture.permute(0, 3, 1, 2) * 2 - 1).predicted_depth
    assert torch.allclose(own.predict(picture), depth.clamp(0, 2), atol=1e-5)
    assert torch.equal(own.predict_sides(picture).visible, own.predict(picture))
    (tmp_path / "d" / FILE).unlink()
    one = TransformersDepth(tmp_path / "d")
    assert not one.has_back
    assert one.predict_sides(picture).back is None
    assert one.predict_sides(picture).elevation is None
    assert torch.equal(one.predict(picture), own.predict(picture))
    # Training on begins with what it knew, and with a thickness that is the same everywhere.
    begun = start_depth(tmp_path / "d").eval()
    with torch.no_grad():
        sides = begun(picture.permute(0, 3, 1, 2) * 2 - 1)
    assert torch.allclose(sides.visible, depth, atol=1e-5)
    assert torch.allclose(sides.back - sides.visible, torch.full((1, 64, 64), 0.3), atol=1e-5)
    assert all(p.requires_grad for p in begun.parameters())


def test_a_back_of_another_model_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_depth(build_depth(48), tmp_path / "d")
    path = tmp_path / "d" / FILE
    weights = load_file(str(path))
    weights["thickness.0.weight"] = weights["thickness.0.weight"][:, :5].contiguous()
    save_file(weights, str(path))
    with pytest.raises(ModelError, match=r"back\.safetensors"):
        TransformersDepth(tmp_path / "d")
    path.write_bytes(b"rubbish")
    with pytest.raises(ModelError, match=r"back\.safetensors"):
        TransformersDepth(tmp_path / "d")


def test_training_lowers_the_error(tmp_path):
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
    from threestudio_like.training.depth import depth_stage

    data = depth_pictures(tmp_path, 3, 24)
    torch.manual_seed(0)
    model = build_depth(48)
    before = depth_accuracy(model, data)
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("depth", lambda done: depth_stage(model, data, 50, 16))]
    )
    after = depth_accuracy(model, data)
    assert after["error, any background"] < 0.7 * before["error, any background"]
    assert after["error of the back, any"] < 0.7 * before["error of the back, any"]


def test_a_relative_model_says_that_it_is_one_and_missing_ones_are_named(tmp_path):
    model = build_depth(48)
    model.visible.config.depth_estimation_type = "relative"
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
