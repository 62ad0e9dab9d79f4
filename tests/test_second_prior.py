"""A prior of another layout than the embedded one is what its prior.json declares: the same
predictions and the same objects; undeclared it is refused, or runs without, which is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.second_prior import CAMERA, convert
from threestudio_like.cli import main
from threestudio_like.engine.errors import UserError
from threestudio_like.guidance.prompts import PromptConfig, ViewPrompts
from threestudio_like.meshes import Asset
from threestudio_like.meshes.surface.extraction import iou, silhouette
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.loading import load_prior
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.renderers import Cameras, RingCameras

from .runs import QUICK


@pytest.fixture(scope="session")
def second(tmp_path_factory):
    """Its folder, whole declared."""
    return convert(tmp_path_factory.mktemp("second") / "prior")


def predicted(prior, cameras=True, views=1):
    """Noise of four views under a prompt and its directions."""
    angles = torch.tensor([0.3, 1.9, -2.7, -1.1]), torch.tensor([0.1, 0.5, -0.1, 0.3])
    seen = Cameras.orbit(*angles, 3.0, fov_y=0.7, height=16, width=16)
    texts = [f"a red chair, {d} view" for d in ("front", "side", "back", "overhead")]
    condition = Condition(
        prior.encode_text(texts),
        seen if cameras else None,
        torch.tensor([0.3, 0.5, 0.7, 1.0]) if cameras else None,
        views=views,
    )
    noisy = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    return prior.predict(noisy, torch.full((4,), 600), condition)


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("views", [1, 4])
def test_declared_it_predicts_the_same(second, toybox_prior, cameras, views):
    ours, theirs = (predicted(p, cameras, views) for p in (toybox_prior, load_prior(str(second))))
    assert float((ours - theirs).abs().max()) < 1e-3 * float(ours.abs().max())


@pytest.mark.parametrize("key", ["camera_vector", "ray_axes"])
def test_a_wrong_declaration_predicts_something_else(key, tmp_path, toybox_prior):
    wrong = {"camera_vector": list(reversed(CAMERA)), "ray_axes": ["x", "y", "z"]}[key]
    other = load_prior(str(convert(tmp_path / "prior", **{key: wrong})))
    ours, theirs = predicted(toybox_prior), predicted(other)
    assert float((ours - theirs).abs().max()) > 0.05 * float(ours.abs().max())


def test_declared_it_makes_the_same_object(second, tmp_path):
    masks = []
    for name in ("toybox", str(second)):
        out = tmp_path / str(len(masks))
        line = ["generate", "a red chair", "--prior", name, *QUICK, "--quiet", "--out", str(out)]
        assert main(line) == 0
        matrices = RingCameras(count=8, elevation=15.0).all(64).view_projection().numpy()
        masks.append(silhouette(Asset.load(out / "asset.glb").mesh, matrices, 64))
    assert iou(*masks) > 0.95
    assert 0.02 < np.mean(masks[0]) < 0.6


UNDECLARED = {
    "nothing at all": ({"camera": None, "camera_vector": None, "ray_maps": None}, "six channels"),
    "no ray maps": ({"ray_maps": False}, "six channels"),
    "no camera vector": ({"camera_vector": None}, "camera_vector"),
    "too few numbers": ({"camera_vector": list(CAMERA)[:-1]}, "11"),
    "an axis that is none": ({"ray_axes": ["x", "w", "y"]}, "ray_axes"),
    "an axis twice": ({"ray_axes": ["x", "-x", "y"]}, "ray_axes"),
}


@pytest.mark.parametrize("name", UNDECLARED)
def test_undeclared_it_is_refused_in_one_line(name, tmp_path, capsys):
    declared, words = UNDECLARED[name]
    folder = convert(tmp_path / "prior", **declared)
    out = tmp_path / "out"
    assert main(["generate", "a red chair", "--prior", str(folder), "--out", str(out)]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert words in told


def test_undeclared_numbers_of_a_camera_are_left_out_and_it_is_said(tmp_path, toybox_prior):
    folder = convert(tmp_path / "prior", camera_vector=None)
    config = DiffusersConfig(ignore_camera=True)
    prior = load_prior(str(folder), config)
    assert any("not told its camera" in note for note in prior.facts.notes)
    assert not prior._labels(Condition(prior.encode_text([""]), None), 1).any()


def test_a_vocabulary_without_directions_runs_without_them_and_it_is_said(tmp_path, capsys):
    known = ["a", "red", "chair", "blue", "mug", "view", "front"]
    folder = convert(tmp_path / "prior", vocabulary=known)
    prior = load_prior(str(folder))
    assert "words" in prior.facts.untold
    (note,) = (n for n in prior.facts.notes if "does not know the words" in n)
    assert "side, back, overhead, bottom" in note
    prompts = ViewPrompts(prior, "a red chair", PromptConfig())
    assert torch.equal(prompts.by_direction["back"], prompts.by_direction["front"])
    with pytest.raises(UserError, match="whale"):
        prior.encode_text(["a purple whale"])


@pytest.mark.parametrize(("untold", "cameras", "views"), [("camera", False, 4), ("views", True, 1)])
def test_left_without_it_is_as_if_it_were_not_told(untold, cameras, views, toybox_prior):
    less = load_prior("toybox", DiffusersConfig(without=(untold,)))
    assert untold not in less.facts.conditions
    assert any("is not told" in note for note in less.facts.notes)
    assert torch.equal(predicted(less, True, 4), predicted(toybox_prior, cameras, views))
    assert not torch.equal(predicted(less, True, 4), predicted(toybox_prior, True, 4))


def test_left_without_words_prompts_have_no_directions():
    less = load_prior("toybox", DiffusersConfig(without=("words",)))
    prompts = ViewPrompts(less, "a red chair", PromptConfig())
    assert all(
        torch.equal(e, less.encode_text(["a red chair"])[0]) for e in prompts.by_direction.values()
    )


def test_one_switch_has_the_same_names_for_every_model(tmp_path):
    from tests.twins import save_twin
    from tests.view_twins import save_view_twin

    plain = str(save_twin("sd", tmp_path / "sd"))
    assert "words" in load_prior(plain, DiffusersConfig(without=("words",))).facts.untold
    with pytest.raises(UserError, match="not told its camera anyway"):
        load_prior(plain, DiffusersConfig(without=("camera",)))
    turning = str(save_view_twin("zero123-xl", tmp_path / "zero123-xl"))
    with pytest.raises(UserError, match="cannot predict without its camera"):
        load_prior(turning, DiffusersConfig(without=("camera",)))
    together = str(save_view_twin("mvdream", tmp_path / "mvdream"))
    with pytest.raises(UserError, match="cannot predict without the other views"):
        load_prior(together, DiffusersConfig(without=("views",)))
    single = load_prior(together, DiffusersConfig(without=("camera", "views")))
    cameras = Cameras.orbit(torch.zeros(2), torch.zeros(2), 3.0, fov_y=0.7, height=8, width=8)
    text, noisy, t = single.encode_text(["a", "b"]), torch.randn(2, 4, 8, 8), torch.tensor([9, 700])
    told = single.predict(noisy, t, Condition(text, cameras, views=2))
    assert torch.equal(told, load_prior(together).predict(noisy, t, Condition(text)))
