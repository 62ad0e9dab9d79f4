"""Every stage of a run is asked, before the first one begins, whether it could begin; and values
that a user writes and nothing reads are said."""

from __future__ import annotations

import pytest
import yaml

from threestudio_like.engine.config import dotted, from_dict, set_dotted, to_dict
from threestudio_like.engine.errors import UserError
from threestudio_like.guidance.choice import guide_stages
from threestudio_like.guidance.guidance import Guidance
from threestudio_like.guidance.registry import GUIDANCES, guidance
from threestudio_like.priors.loading import load_prior
from threestudio_like.stages.demand import check_stages
from threestudio_like.stages.idle_values import idle_values
from threestudio_like.systems import registry

from .runs import MUG, run
from .view_twins import save_view_twin


@pytest.fixture(scope="module")
def prior():
    return load_prior("toybox")


def configured(values: dict[str, str], system: str = "latent-nerf"):
    config = registry.configuration(system, "default")
    for key, value in values.items():
        config = set_dotted(config, key, value)
    return config


WITH_MESH = {"mesh.steps": "5"}
SKETCH = {"mesh.guidances.sketch.weight": "1"}
SECOND = {"mesh.guidances.second-prior.weight": "1"}
CLIP = {"mesh.guidances.clip.weight": "1"}
DEPTH = {"mesh.guidances.depth.weight": "1"}
REFUSED = {
    "a sketch without a file": (SKETCH, "wants a file"),
    "a sketch that is not there": (
        {**SKETCH, "mesh.guidances.sketch.path": "none.obj"},
        "none.obj",
    ),
    "a sketch of a mesh": ({**SKETCH, "mesh.guidances.sketch.path": str(MUG)}, "volumes only"),
    "no second prior": (SECOND, "wants a prior"),
    "a second prior that is not there": (
        {**SECOND, "mesh.guidances.second-prior.prior": "toyboks"},
        'no model "toyboks"',
    ),
    "a second prior of latents": (
        {"distil.guidances.second-prior.weight": "1"},
        "looks at RGB renderings",
    ),
    "a CLIP that is not there": ({**CLIP, "mesh.guidances.clip.model": "toyboks"}, "no model"),
    "a picture of CLIP": ({**CLIP, "mesh.guidances.clip.picture": "none.png"}, "none.png"),
    "depth of no picture": (DEPTH, "wants a picture"),
    "a picture that is not there": (
        {"mesh.guidances.reference.weight": "1", "mesh.guidances.reference.picture": "none.png"},
        "none.png",
    ),
    "lengths of edges": (
        {"mesh.shape.kind": "remeshing", "mesh.shape.remeshing.edge": "9"},
        "mesh.shape.remeshing.edge",
    ),
    "levels of planes": (
        {"mesh.colours.kind": "triplane", "mesh.colours.triplane.levels": "9"},
        "mesh.colours.triplane.levels",
    ),
    "light on latents": ({"distil.shading.diffuse_prob": "0.5"}, "--distil.shading.diffuse-prob"),
    "an option of latents": ({"rgb.guidance.known_background": "1"}, "renderings of latents"),
    "an option of RGB": ({"distil.guidance.image_residual": "true"}, "renderings of RGB"),
    "a direction that is not told": (
        {
            "mesh.guidance.prompt.view_dependent": "false",
            "mesh.guidance.prompt.front": "its door",
        },
        "does not follow the view",
    ),
    "Perp-Neg of one prompt": (
        {"rgb.guidance.perp_neg": "1", "rgb.guidance.prompt.view_dependent": "false"},
        "Perp-Neg",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_later_stage_would_refuse_is_refused_at_once(name, prior):
    values, words = REFUSED[name]
    with pytest.raises(UserError) as caught:
        check_stages(configured({**WITH_MESH, **values}), prior)
    assert words in caught.value.line()


def test_a_stage_without_steps_is_not_asked(prior):
    values = {k: v for own, _ in REFUSED.values() for k, v in own.items() if k.startswith("mesh.")}
    check_stages(configured(values), prior)


def test_views_that_are_denoised_together_are_not_shared(prior):
    config = configured({})
    check_stages(config, prior)
    with pytest.raises(UserError, match=r"stages distil, rgb: .*denoised together") as caught:
        check_stages(config, prior, microbatches=2)
    for stage in ("distil", "rgb"):
        assert f"--{stage}.guidance.joint-views False" in caught.value.line()
    apart = {f"{stage}.guidance.joint_views": "false" for stage in ("distil", "rgb", "mesh")}
    check_stages(configured(apart), prior, microbatches=2)
    words = {**apart, "rgb.guidances.main": "spatial"}
    words["rgb.guidances.spatial.spatial.score.joint_views"] = "true"
    with pytest.raises(UserError, match=r"--rgb\.guidances\.spatial\.spatial\.score\.joint"):
        check_stages(configured(words), prior, microbatches=2)
    normals = {**apart, "rgb.guidances.normals.weight": "1"}
    with pytest.raises(UserError, match=r"--rgb\.guidances\.normals\.joint-views"):
        check_stages(configured(normals), prior, microbatches=2)


@pytest.mark.parametrize("system", registry.SYSTEMS.names())
def test_every_method_passes_as_it_is(system, prior):
    check_stages(registry.configuration(system, "default"), prior)


def test_a_plug_in_is_asked_too(prior, monkeypatch):
    monkeypatch.setattr(GUIDANCES, "_added", dict(GUIDANCES._added))

    def refuse(subject, config):
        raise UserError(f"is for meshes, not for a {subject.moves}", "--guidance.picky")

    @guidance("picky", "only meshes", check=refuse)
    class Picky(Guidance):
        def __init__(self, context, config):
            raise AssertionError("is not built")

    with pytest.raises(UserError, match="not for a volume"):
        check_stages(guide_stages(configured({}), {"picky": {"weight": "1"}}), prior)


def test_nothing_has_begun_when_a_late_stage_is_refused(tmp_path, capsys):
    words = ("generate", "a red chair", "--out", tmp_path / "run", "--accumulate", "2")
    assert run(*words) == 2
    assert "denoised together" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


IDLE = {
    "representation.hash.levels": ({}, "--representation.kind is voxels"),
    "distil.uniform.fov_y": ({}, "--distil.cameras is stratified"),
    "mesh.targets.views": ({}, "--mesh.steps is 0 (--refine-mesh switches it on)"),
    "mesh.shape.remeshing.edge": (WITH_MESH, "--mesh.shape.kind is flexicubes"),
    "rgb.guidances.clip.text": ({}, "--rgb.guidances.clip.weight is 0"),
    "rgb.guidances.second_prior.prior": ({}, "--rgb.guidances.second-prior.weight is 0"),
    "guidance.sketch.path": ({}, "--guidance.sketch.weight is 0"),
    "rgb.guidance.scale": ({"rgb.guidances.main": "vsd"}, "--rgb.guidances.main is vsd"),
    "rgb.guidances.clip.distance": (
        {"rgb.guidances.main": "vsd"},
        "--rgb.guidances.clip.weight is 0",
    ),
    "refine.iterations": ({}, "--refine.refine.times is empty"),
    "rgb.shading.soft_shading": ({}, "--rgb.shading.diffuse-prob is 0"),
    "sketch.strictness": ({}, "there is no --sketch"),
}


@pytest.mark.parametrize("name", IDLE)
def test_a_value_that_nothing_reads_is_said(name):
    values, why = IDLE[name]
    shown = name.replace("_", "-")
    assert idle_values(configured(values), [name]) == [f"--{shown} changes nothing: {why}"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("representation.hash.levels", {"representation.kind": "hash"}),
        ("representation.kind", {}),
        ("distil.uniform.fov_y", {"distil.cameras": "uniform"}),
        ("distil.cameras", {}),
        ("mesh.targets.views", WITH_MESH),
        ("mesh.steps", {}),
        ("mesh.shape.remeshing.edge", {**WITH_MESH, "mesh.shape.kind": "remeshing"}),
        ("rgb.guidances.clip.text", {"rgb.guidances.clip.weight": "0->1"}),
        ("rgb.guidances.clip.weight", {}),
        ("rgb.guidances.main", {}),
        ("guidance.clip.text", {"rgb.guidances.clip.weight": "1"}),
        ("guidance.vsd.rate", {"rgb.guidances.main": "vsd"}),
        ("guidance.clip.weight", {}),
        ("rgb.guidance.scale", {}),
        ("refine.iterations", {"refine.refine.times": "0.5"}),
        ("refine.refine.times", {}),
        ("rgb.shading.soft_shading", {"rgb.shading.diffuse_prob": "0.5"}),
        ("rgb.shading.diffuse_prob", {}),
        ("sketch.strictness", {"sketch.path": "a.obj"}),
        ("sketch.strictness", {"sketch.path": "a.obj", "sketch.strictness": "0"}),
        ("rgb.levels", {"rgb.steps": "0"}),
    ],
)
def test_a_value_that_something_reads_is_not(name, values):
    assert idle_values(configured(values), [name]) == []


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("place.spatial.factor", {"place.guidance": "sds"}, "--place.guidance is sds"),
        ("place.spatial.score.scale", {"place.guidance": "sds"}, ""),
        ("place.spatial.score.scale", {"place.guidance": "none"}, "--place.guidance is none"),
        ("place.spatial.factor", {}, ""),
        ("place.physical.order", {"place.weights.physical": "0"}, "weights.physical is 0"),
        ("place.settle.tilt", {"place.stand": "false"}, "--place.stand is False"),
        ("completion.inpainter", {"completion.when": "never"}, "--completion.when is never"),
        ("completion.when", {"completion.when": "never"}, ""),
    ],
)
def test_values_of_a_scene_are_said_too(name, values, why, prior):
    config = configured(values, "comboverse")
    lines = idle_values(config, [name])
    assert bool(lines) == bool(why)
    assert not lines or why in lines[0]
    check_stages(config, prior)


@pytest.mark.parametrize(
    ("name", "joint", "words"),
    [
        ("zero123-xl", "false", "turns a picture of the object"),
        ("imagedream", "true", "turns a picture of the object"),
        ("mvdream", "false", "denoises 4 views of an object together"),
        ("mvdream", "true", ""),
    ],
)
def test_a_second_prior_of_views_is_asked_for_without_its_weights(
    name, joint, words, prior, tmp_path
):
    """With a picture of the object, or where nobody knows, it is taken."""
    folder = save_view_twin(name, tmp_path / name)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    key = "mesh.guidances.second-prior"
    more = {f"{key}.prior": str(folder), f"{key}.distil.joint_views": joint}
    config = configured({**WITH_MESH, **SECOND, **more})
    pictures = () if "views" in words else (True, None)
    for reference in (False, *pictures):
        if words and reference is False:
            with pytest.raises(UserError, match=words):
                check_stages(config, prior, reference=reference)
        else:
            check_stages(config, prior, reference=reference)


def test_the_option_that_names_a_second_prior_is_said(prior, tmp_path):
    folder = save_view_twin("imagedream", tmp_path / "imagedream")
    kinds = {"second-prior": "prior", "normals": "prior", "vsd": "model"}
    for kind, name in kinds.items():
        key = f"mesh.guidances.{kind}"
        values = {**WITH_MESH, f"{key}.weight": "1", f"{key}.{name}": str(folder)}
        with pytest.raises(UserError, match="turns a picture") as error:
            check_stages(configured(values), prior, reference=False)
        assert f"--guidance.{kind}.{name}" in error.value.line()


def test_a_second_prior_that_is_no_model_is_refused_at_once(prior, tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    more = {"mesh.guidances.second-prior.prior": str(tmp_path)}
    with pytest.raises(UserError, match="unet"):
        check_stages(configured({**WITH_MESH, **SECOND, **more}), prior)


def test_guidances_of_a_scene_are_asked_too(prior):
    config = configured({"place.guidances.normals.weight": "1"}, "comboverse")
    with pytest.raises(UserError, match="this stage changes none"):
        check_stages(config, prior)


def test_what_one_reason_switches_off_stands_in_one_line():
    config = registry.configuration("latent-nerf", "default")
    names = [name for name in dotted(config) if name.startswith("representation.hash.")]
    (line,) = idle_values(config, names)
    assert f"and {len(names) - 4} more change nothing: --representation.kind is voxels" in line


def test_a_run_says_its_idle_values(tmp_path, capsys):
    """Of the command line and of a file, which may hold all values: those that differ count."""
    config = registry.configuration("latent-nerf", "default")
    whole = to_dict(set_dotted(config, "mesh.targets.views", "3"))
    assert from_dict(type(config), whole) != config
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"config": whole}))
    quick = ["--start.refine.times", "", "--distil.steps", "1", "--rgb.steps", "1"]
    assert (
        run(
            *("generate", "a red chair", "--config", tmp_path / "own.yaml", *quick),
            *("--representation.hash.levels", "3", "--no-turntable", "--texture", "64"),
            *("--out", tmp_path / "run"),
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "Warning: --mesh.targets.views changes nothing: --mesh.steps is 0" in said
    assert "Warning: --representation.hash.levels changes nothing" in said
    assert said.count("changes nothing") == 2
    assert "change nothing" not in said
