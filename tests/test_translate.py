"""threestudio's configurations in ours: interpolations, schedules in steps, units, every row of the
table, the command line, and runs of what was written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from threestudio_like.cli import main
from threestudio_like.commands.translation.reading import Document, largest, read_document
from threestudio_like.commands.translation.report import markdown
from threestudio_like.commands.translation.rules import Scene
from threestudio_like.commands.translation.systems import OTHERS, TARGETS, variational
from threestudio_like.commands.translation.table import UNSET, table
from threestudio_like.commands.translation.translator import translate
from threestudio_like.commands.translation.values import NoTranslation, stepped, timed
from threestudio_like.engine.config import dotted, from_dict, to_dict
from threestudio_like.engine.errors import InputError
from threestudio_like.engine.schedule import Schedule

ROOT = Path(__file__).resolve().parents[1]


def dreamfusion(**changes):
    """A configuration in threestudio's words, as a nested dictionary."""
    content = {
        "name": "mine",
        "tag": "${rmspace:${system.prompt_processor.prompt},_}",
        "seed": 3,
        "data_type": "random-camera-datamodule",
        "data": {
            "batch_size": [2, 1],
            "width": [16, 32],
            "height": [16, 32],
            "resolution_milestones": [50],
            "camera_distance_range": [3.0, 4.0],
            "fovy_range": [30, 50],
            "elevation_range": [-10, 45],
            "camera_perturb": 0.2,
            "eval_camera_distance": 4.0,
        },
        "system_type": "dreamfusion-system",
        "system": {
            "geometry_type": "implicit-volume",
            "geometry": {
                "radius": 2.0,
                "normal_type": "finite_difference",
                "density_bias": "blob_magic3d",
                "density_activation": "softplus",
                "density_blob_scale": 10.0,
                "density_blob_std": 0.5,
                "pos_encoding_config": {
                    "otype": "ProgressiveBandHashGrid",
                    "n_levels": 8,
                    "log2_hashmap_size": 12,
                    "base_resolution": 4,
                    "per_level_scale": 1.5,
                    "start_level": 4,
                    "start_step": 20,
                    "update_steps": 10,
                },
                "mlp_network_config": {"n_neurons": 32, "n_hidden_layers": 1},
            },
            "material_type": "diffuse-with-point-light-material",
            "material": {"ambient_only_steps": 21, "soft_shading": True},
            "background_type": "neural-environment-map-background",
            "background": {"color_activation": "sigmoid", "random_aug": True},
            "renderer_type": "nerf-volume-renderer",
            "renderer": {"radius": "${system.geometry.radius}", "num_samples_per_ray": 64},
            "prompt_processor_type": "stable-diffusion-prompt-processor",
            "prompt_processor": {"prompt": "???", "front_threshold": 30.0},
            "guidance_type": "stable-diffusion-guidance",
            "guidance": {
                "pretrained_model_name_or_path": "stabilityai/stable-diffusion-2-1-base",
                "guidance_scale": 7.5,
                "min_step_percent": [0, 0.4, 0.2, 50],
                "grad_clip": [0, 0.5, 2.0, 50],
                "weighting_strategy": "sds",
            },
            "loss": {
                "lambda_sds": 1.0,
                "lambda_orient": [0, 10.0, 1000.0, 50],
                "lambda_sparsity": 1.0,
                "lambda_z_variance": 5.0,
            },
            "optimizer": {
                "name": "AdamW",
                "args": {"betas": [0.9, 0.99], "eps": "1e-15"},
                "params": {"geometry": {"lr": 0.02}, "background": {"lr": 0.001}},
            },
            "scheduler": {
                "name": "SequentialLR",
                "interval": "step",
                "warmup_steps": 10,
                "milestones": ["${system.scheduler.warmup_steps}"],
                "schedulers": [
                    {
                        "name": "LinearLR",
                        "args": {
                            "start_factor": 0.1,
                            "end_factor": 1.0,
                            "total_iters": "${system.scheduler.warmup_steps}",
                        },
                    },
                    {
                        "name": "ExponentialLR",
                        "args": {
                            "gamma": "${calc_exp_lr_decay_rate:0.1,${sub:${trainer.max_steps},"
                            "${system.scheduler.warmup_steps}}}"
                        },
                    },
                ],
            },
        },
        "trainer": {"max_steps": 100, "precision": "16-mixed"},
        "checkpoint": {"every_n_train_steps": "${trainer.max_steps}"},
    }
    for key, value in changes.items():
        place = content
        *above, last = key.split("__")
        for name in above:
            place = place.setdefault(name, {})
        if value is None and last in place:
            del place[last]
        else:
            place[last] = value
    return content


@pytest.fixture
def write(tmp_path):
    def made(name="mine.yaml", **changes):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(dreamfusion(**changes), sort_keys=False), encoding="utf-8")
        return path

    return made


def line_of(made, key):
    (found,) = [line for line in made.lines if line.key == key]
    return found


def document(**values):
    return Document({k.replace("__", "."): v for k, v in values.items()}, "x.yaml")


def test_interpolations_are_omegaconfs():
    found = document(
        a__b=3,
        a__c="${.b}",
        a__d__e="${..c}",
        whole="${a.b}",
        text="n${a.b}_${a.c}",
        sum="${add:${a.b},${mul:2,0.5}}",
        name="${basename:load/images/hamburger_rgba.png}",
        spaced="${rmspace:${words},_}",
        words="a red chair",
        two="${tuple2:${a.b}}",
        on="${cmaxgt0:${row}}",
        off="${not:${gt0:${a.b}}}",
        either="${cmaxgt0orcmaxgt0:0,${row}}",
        row=[0, 0.0, 0.1, 100],
        rate="${calc_exp_lr_decay_rate:0.1,${sub:100,10}}",
        small="1e-15",
        listed=["${a.b}", {"x": "${words}"}],
        lazy="${rmspace:${left},_}",
        left="???",
        whole_number="${idiv:7,2}",
    )
    wanted = {
        "a.c": 3,
        "a.d.e": 3,
        "whole": 3,
        "text": "n3_3",
        "sum": 4.0,
        "name": "hamburger_rgba.png",
        "spaced": "a_red_chair",
        "two": [3.0, 3.0],
        "on": True,
        "off": False,
        "either": True,
        "rate": 0.1 ** (1 / 90),
        "small": 1e-15,
        "listed": [3, {"x": "a red chair"}],
        "whole_number": 3,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert found.get("lazy", "default") == "default"
    assert found.missing("lazy")
    assert found.missing("left")
    assert not found.missing("whole")


@pytest.mark.parametrize(
    "values",
    [
        {"a": "${b}", "b": "${a}"},
        {"a": "${a}"},
        {"a": "${nothing.here}"},
        {"a": "${group}", "group__x": 1},
        {"a": "${oc.env:HOME}"},
        {"a": "${sub:1}"},
        {"a": "${div:1,0}"},
        {"a": "${b", "b": 1},
        {"a": "${sub:${b},x y}", "b": 1},
        {"a": "${..b}", "b": 1, "c": 2, "b.x": "${q r}"},
    ],
)
def test_interpolations_that_lead_nowhere_are_errors_with_their_place(values):
    found = document(**values)
    key = "b.x" if "b.x" in values else "a"
    with pytest.raises(InputError, match=r"x\.yaml"):
        found.get(key)


def published(value, step):
    """threestudio's C(), stated a second time: the value at a step of epoch 0."""
    if not isinstance(value, list):
        return value
    row = [0, *value] if len(value) == 3 else value
    at = 3
    while len(row) >= 6 and at + 2 < len(row) and step >= row[at]:
        at += 2
    if at == 3:
        begin, first = row[0], row[1]
    else:
        first, begin = row[at - 3], row[at - 2]
    last, end = row[at - 1], row[at]
    now = 0 if isinstance(end, float) else step
    share = max(0.0, min(1.0, (now - begin) / (end - begin)))
    return first + (last - first) * share


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        3,
        [0, 10.0, 1000.0, 5000],
        [10.0, 1000.0, 5000],
        [5000, 0.98, 0.5, 5001],
        [100, 7.0, 5.0, 150, 10.0, 200],
        [0, 1.0, 2.0, 10, 3.0, 400, 0.5, 9000],
        [0, 10.0, 1000.0, 5000.0],
        [2000, 0.1, 0.2, 30000],
    ],
)
def test_values_in_steps_are_those_of_threestudio(value):
    steps = 10000
    schedule = Schedule.parse(timed(value, steps).text)
    for step in [0, 1, 9, 10, 11, 99, 100, 149, 150, 151, 199, 200, 4999, 5000, 5001, 9999]:
        assert schedule(step / steps) == pytest.approx(published(value, step), rel=1e-6, abs=1e-9)


def test_random_values_in_steps_are_those_of_threestudio():
    draw = random.Random(0)
    for _ in range(200):
        steps, knots = draw.randint(50, 30000), draw.randint(1, 4)
        places = sorted(draw.sample(range(2 * steps), knots + 1))
        row = [places[0], draw.uniform(0, 9)]
        for place in places[1:]:
            row += [draw.uniform(0, 9), place]
        schedule = Schedule.parse(timed(row, steps).text)
        for step in draw.sample(range(steps), 20):
            assert schedule(step / steps) == pytest.approx(published(row, step), rel=1e-4, abs=1e-4)
        assert largest(row) >= max(row[2:3]) - 1e-9


def test_a_last_step_with_a_decimal_point_is_told():
    found = timed([0, 10.0, 1000.0, 5000.0], 10000)
    assert (found.text, "epochs" in found.note) == ("10", True)
    assert timed([0, 10.0, 1000.0, 5000], 10000).note == ""


@pytest.mark.parametrize(
    "value", ["x", True, [1, 2], [0, 1.0, 2.0, 3, 4], [5, 1.0, 2.0, 3], [0, "a", 1, 2]]
)
def test_what_is_no_value_in_steps_is_not_translated(value):
    with pytest.raises(NoTranslation):
        timed(value, 100)


def test_milestones_hold_at_every_step():
    for steps in (97, 600, 25000):
        marks = [steps // 3, steps // 2]
        schedule = Schedule.parse(stepped([64, 128, 256], marks, steps))
        for step in range(0, steps, max(1, steps // 500)):
            wanted = [64, 128, 256][sum(step >= m for m in marks)]
            assert schedule(step / steps) == wanted
        for mark in marks:
            assert [schedule((mark + d) / steps) for d in (-1, 0)] != [schedule(mark / steps)] * 2


def test_a_configuration_is_translated_value_by_value(write):
    made = translate(write())
    config = made.config
    distil, grid, light = config.distil, config.representation.hash, config.distil.shading
    assert (made.target.command, made.target.system) == ("generate", "dreamfusion")
    assert made.options["--prior"] == "sd-2.1-base"
    assert made.options["--seed"] == 3
    # Lengths in units of half the radius' cube, densities the other way.
    assert distil.uniform.distance == (1.5, 2.0)
    assert distil.uniform.camera_perturb == 0.1
    assert distil.uniform.center_perturb == 0.1
    assert (grid.blob_width, grid.density_scale) == (0.25, 2.0)
    assert config.renderer.normal_epsilon == 0.005
    assert light.light_position_perturb == 0.5
    assert distil.regularise.z_variance == "20"
    assert (grid.levels, grid.base, grid.finest) == (8, 4, round(4 * 1.5**7))
    assert grid.open_levels == "4->8 @ 20..60%"
    assert (grid.layers, grid.hidden, grid.separate, grid.bias) == (2, 32, True, False)
    assert (config.renderer.samples, config.renderer.normal_type) == (37, "finite_difference")
    assert config.resolution == 16
    for step, size, views in ((0, 16, 2), (49, 16, 2), (50, 32, 1), (99, 32, 1)):
        at = step / 100
        assert Schedule.parse(distil.milestones.resolution)(at) == size
        assert Schedule.parse(distil.milestones.batch)(at) == views
    assert (light.ambient_only, light.diffuse_prob, light.soft_shading) == (0.21, 0.75, True)
    assert (config.background, config.background_network) == ("learned", "harmonics")
    assert config.random_aug_prob == 0.5
    assert distil.guidance.scale == 8.5
    assert distil.guidance.prompt.front_span == 60.0
    assert distil.guidance.prompt.back_span == 90.0
    assert (distil.guidance.t_min, distil.guidance.t_max) == ("0.4->0.2 @ 0..50%", "0.98")
    assert distil.guidance.grad_clip == "0.5->2 @ 0..50%"
    assert distil.optimiser.weight_decay == 0.01
    assert distil.steps == 100
    rate = Schedule.parse(distil.rates.table)
    assert [rate(s / 100) for s in (0, 5, 10)] == pytest.approx([0.002, 0.011, 0.02])
    assert rate(1.0) == pytest.approx(0.002)
    assert rate(0.55) == pytest.approx(0.02 * 0.1**0.5)
    # What is written comes back equal.
    assert from_dict(type(config), to_dict(config)) == config
    content = yaml.safe_load(made.yaml())
    assert from_dict(type(config), content["config"]) == config


def test_lines_say_what_maps_how(write):
    made = translate(
        write(
            system__geometry__normal_type="analytic",
            system__loss__lambda_eikonal=1.0,
            system__loss__lambda_new=1.0,
            data__width=[64, 64],
            system__geometry__mlp_network_config__activation="Sine",
            system__guidance__token_merging=True,
        )
    )
    verdicts = {
        "data.fovy_range": "whole",
        "system.geometry.normal_type": "part",
        "system.loss.lambda_eikonal": "none",
        "system.loss.lambda_new": "none",
        "system.geometry.mlp_network_config.activation": "none",
        "system.guidance.token_merging": "none",
        "data.width": "part",
        "name": "aside",
        "tag": "aside",
        "checkpoint.every_n_train_steps": "aside",
        "system.prompt_processor.prompt": "whole",
    }
    assert {key: line_of(made, key).verdict for key in verdicts} == verdicts
    assert made.verdict == "part"
    lost = [line for line in made.lines if line.verdict in ("part", "none")]
    assert all(line.note for line in lost)
    assert len(made.lines) >= len(read_document(Path(made.path)).values)


def test_defaults_of_threestudio_that_do_not_map_are_told(write):
    path = write(
        system_type="magic3d-system",
        system__refinement=True,
        system__geometry_convert_from="???",
        system__geometry_type="tetrahedra-sdf-grid",
        system__renderer_type="nvdiff-rasterizer",
        system__loss__lambda_normal_consistency=10000.0,
    )
    made = translate(path)
    assert (made.target.command, made.target.stage) == ("refine", "mesh")
    assert made.config.mesh.shape.kind == "tetrahedra"
    assert made.config.mesh.shape.tetrahedra.size == 51
    assert made.config.mesh.terms.normal_consistency == "10000"
    told = {line.key for line in made.lines if not line.given}
    assert "system.geometry.isosurface_resolution" in told
    assert line_of(made, "system.renderer_type").verdict == "whole"


def test_fantasias_geometry_is_a_mesh_of_normals(write):
    path = write(
        system_type="fantasia3d-system",
        system__latent_steps=1000,
        system__geometry_type="implicit-sdf",
        system__geometry={"radius": 1.0, "shape_init": "sphere", "shape_init_params": 0.4},
        system__renderer_type="nvdiff-rasterizer",
        system__guidance__weighting_strategy="fantasia3d",
        data__height=512,
        trainer__max_steps=10000,
    )
    made = translate(path)
    assert (made.target.command, made.target.system) == ("generate", "fantasia3d")
    stage = made.config.geometry
    assert (stage.look, stage.begin, stage.move) == ("normals", "sphere", "shape")
    assert (stage.latent_share, stage.radius, stage.resolution) == (0.1, 0.4, 512)
    assert (stage.guidance.weighting, stage.steps) == ("latent-nerf", 10000)
    assert made.config.appearance.steps == 0
    with_mesh = translate(
        write(
            system_type="fantasia3d-system",
            system__geometry_type="implicit-sdf",
            system__geometry={"shape_init": "mesh:load/shapes/human.obj"},
        )
    )
    assert line_of(with_mesh, "system.geometry.shape_init").verdict == "none"


def test_magic123s_second_prior_is_weighed_against_the_first(write):
    """Values of the repository's magic123-coarse-sd.yaml."""
    second = {
        "guidance_type": "sds",
        "guidance_scale": 5.0,
        "min_step_percent": 0.2,
        "max_step_percent": [0, 0.6, 0.4, 50],
        "cond_image_path": "${data.image_path}",
        "cond_elevation_deg": 10.0,
    }
    path = write(
        system_type="magic123-system",
        data_type="single-image-datamodule",
        data={"image_path": "photo.png", "random_camera": {"height": 64, "batch_size": 1}},
        system__guidance_3d_type="zero123-unified-guidance",
        system__guidance_3d=second,
        system__loss={"lambda_sd": 0.025, "lambda_3d_sd": 2.0, "lambda_mask": 100.0},
    )
    made = translate(path)
    assert made.target.command == "reconstruct"
    assert made.config.distil.weight == 0.025
    (beside,) = (v for k, v in made.config.distil.guidances.plain().items() if k == "second-prior")
    assert Schedule.parse(beside["weight"])(0.5) == 2.0
    assert beside["prior"] == "bennyguo/zero123-diffusers"
    assert beside["distil"]["scale"] == 5.0
    assert beside["distil"]["weighting"] == "dreamfusion"
    assert Schedule.parse(beside["distil"]["t_min"])(0.0) == 0.2
    assert Schedule.parse(beside["distil"]["t_max"])(0.9) == pytest.approx(0.4)
    assert made.config.start.elevation == 10.0
    assert "cross-entropy" in line_of(made, "system.loss.lambda_mask").note
    assert made.verdict == "part"
    refused = translate(path, ("system.guidance_3d.guidance_type=vsd",))
    assert line_of(refused, "system.guidance_3d.guidance_type").verdict == "none"
    refined = translate(path, ("system.refinement=true",))
    assert refined.target is None
    assert "--refine-mesh" in refined.reason


def test_an_endless_epoch_keeps_the_first_value(write):
    made = translate(write(system__loss__lambda_orient=[0, 10.0, 1000.0, 50.0]))
    assert made.config.distil.regularise.orient == "10"
    assert "epoch" in line_of(made, "system.loss.lambda_orient").note


def test_hifas_square_root_runs_over_its_own_steps(write):
    made = translate(
        write(
            system__guidance__sqrt_anneal=True,
            system__guidance__trainer_max_steps=400,
            system__guidance__min_step_percent=0.3,
            system__guidance__max_step_percent=0.98,
            system__guidance__use_img_loss=True,
            system__loss__lambda_sds_img=0.01,
        )
    )
    guidance = made.config.distil.guidance
    assert guidance.t_min == guidance.t_max
    for step in (0, 30, 99):
        wanted = (0.98 - 0.3) * (1 - (step / 400) ** 0.5) + 0.3
        assert Schedule.parse(guidance.t_min)(step / 100) == pytest.approx(wanted)
    assert guidance.image_loss == 0.01


def test_perp_neg_takes_the_scale_as_it_is(write):
    made = translate(write(system__prompt_processor__use_perp_neg=True))
    guidance = made.config.distil.guidance
    assert (guidance.scale, guidance.perp_neg, guidance.prompt.interpolate) == (7.5, 1.0, True)


def test_groups_that_name_no_parameters_leave_them_as_they_began(write):
    path = write(
        system__optimizer__params={"geometry.encoding": {"lr": 0.01}}, system__scheduler=None
    )
    made = translate(path)
    rates = made.config.distil.rates
    assert (rates.table, rates.mlp, rates.background) == ("0.01", "0", "0")
    assert "as it began" in line_of(made, "system.optimizer.name").note


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"system_type": "sdi-system"}, "inversion"),
        ({"system_type": "my-system"}, "no such system"),
        ({"system__geometry_type": "implicit-sdf"}, "signed-distance"),
        ({"system__guidance_type": "zero123-guidance"}, "sees the picture"),
        ({"data_type": "co3d-datamodule"}, "known cameras"),
        ({"system__renderer_type": "patch-renderer"}, "patches"),
    ],
)
def test_what_nothing_here_can_run_ends_in_one_line_after_its_table(write, capsys, changes, why):
    path = write(**changes)
    assert main(["translate", str(path)]) == 2
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1
    assert why in err
    keys = read_document(path).values
    assert all(any(f" {key} " in line for line in out.splitlines()) for key in keys)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1\n- 2\n",
        "a: [1\n",
        "prompt: a chair\nguidance_type: x\n",
        "system_type: dreamfusion-system\n",
        "system_type: 3\nsystem: {}\n",
        "system_type: dreamfusion-system\nsystem: none\n",
        "system: {}\nconfig: {}\n",
    ],
)
def test_what_is_no_threestudio_configuration_is_one_error(tmp_path, capsys, text):
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")
    assert main(["translate", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.strip().splitlines())) == ("", 1)
    assert "other.yaml" in err


def test_files_that_are_not_there_and_overrides_that_set_nothing(write, capsys):
    assert main(["translate", "nowhere.yaml"]) == 2
    assert main(["translate", str(write()), "system.loss"]) == 2
    assert main(["translate", str(write()), "=3"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__max_steps": "many"},
        {"trainer__max_steps": -3},
        {"system__geometry__radius": 0},
        {"system__geometry__radius": [1, 2]},
        {"data__fovy_range": "wide"},
        {"data__fovy_range": [[1], 2]},
        {"data__height": [16, 32, 64]},
        {"system__loss__lambda_orient": {"a": 1}},
        {"system__guidance__guidance_scale": None, "system__guidance__min_step_percent": "x"},
        {"system__optimizer__args": {"betas": "x"}},
        {"system__scheduler__schedulers": [1, 2]},
        {"system__geometry__density_activation": ["softplus"]},
        {"system__geometry_type": ["implicit-volume"]},
        {"system__guidance": 3},
        {"system__geometry__pos_encoding_config__n_levels": 0},
        {"system__geometry__pos_encoding_config__update_steps": 0},
        {"data__batch_size": 0},
        {"system__renderer__num_samples_per_ray": 0},
    ],
)
def test_odd_values_are_lines_and_never_failures(write, capsys, changes):
    assert main(["translate", str(write(**changes))]) in (0, 2)
    err = capsys.readouterr().err
    assert "unexpected" not in err
    assert len(err.strip().splitlines()) <= 1


def test_every_row_names_what_is_there():
    """Targets of rules with defaults, and the names that the table shows, are values of a
    configuration that a system becomes."""
    known = set()
    for plain in [*TARGETS.values(), *OTHERS.values()]:
        for target in (plain, variational(plain)):
            names = {k.replace(f"{target.stage}.", "@.", 1) for k in dotted(target.base())}
            known |= names | {k.replace(f"@.{target.score}.", "@.guidance.", 1) for k in names}
    scene = Scene(document(system_type="x"), radius=1.0, steps=100, channels=3, command="generate")
    rows = [r for g in table().groups.values() for r in g]
    rows += [r for parts in table().parts.values() for p in parts.values() for r in p.rows]
    assert len(rows) > 200
    for row in rows:
        if row.rule is not None and row.default is not UNSET:
            for name in row.rule(scene, row.default).values:
                assert name in known, (row.option, name)
        for name in row.ours.replace(",", ";").split(";"):
            name = name.strip()
            if name.startswith(("@.", "representation.", "renderer.", "terms.")):
                assert name in known or any(k.startswith(f"{name}.") for k in known), name
        assert row.note or row.verdict in ("whole", "aside"), row.option
    values = [v for parts in table().parts.values() for p in parts.values() for v in p.values]
    assert all(v in known or v.startswith("--") for v in values)


def test_the_table_in_the_documentation_is_the_commands():
    """After a change: threestudio-like translate --table, below the heading "All options"."""
    page = (ROOT / "docs" / "threestudio.md").read_text(encoding="utf-8")
    assert page.endswith(markdown() + "\n")


def test_json_holds_every_line(write, capsys):
    assert main(["translate", str(write()), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["verdict"] == "whole"
    keys = [line["key"] for line in content["lines"]]
    assert set(keys) >= set(read_document(write()).values)


def test_an_existing_file_is_kept_without_force(write, tmp_path, capsys):
    out = tmp_path / "ours.yaml"
    out.write_text("mine", encoding="utf-8")
    assert main(["translate", str(write()), "--out", str(out)]) == 2
    assert out.read_text(encoding="utf-8") == "mine"
    assert main(["translate", str(write()), "--out", str(out), "--force"]) == 0
    assert "config:" in out.read_text(encoding="utf-8")
    assert "--config" in capsys.readouterr().out


COMMANDS = {
    "reconstruct": {
        "system_type": "image-condition-dreamfusion-system",
        "data_type": "single-image-datamodule",
        "data": {"image_path": "photo.png", "random_camera": {"height": 64, "batch_size": 2}},
    },
    "texture": {"system_type": "fantasia3d-system", "system__texture": True},
    "generate": {
        "system_type": "latentnerf-system",
        "system__material_type": "no-material",
        "system__material": {"color_activation": "none"},
    },
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_commands_take_what_was_written(write, tmp_path, capsys, command):
    made = translate(write(**COMMANDS[command]))
    assert made.target.command == command
    out = tmp_path / "ours.yaml"
    out.write_text(made.yaml(), encoding="utf-8")
    name = "--method" if command == "reconstruct" else "--system"
    words = {"texture": [str(ROOT / "assets/shapes/mug.obj"), "a mug"], "generate": ["a mug"]}
    line = [command, *words.get(command, ["photo.png"]), name, made.target.system]
    assert main([*line, "--config", str(out), "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert from_dict(type(made.config), printed["config"]) == made.config


def test_a_translated_configuration_runs_on_the_embedded_prior(write, tmp_path, capsys):
    out, run = tmp_path / "ours.yaml", tmp_path / "run"
    line = ["translate", str(write()), "trainer.max_steps=4", "data.height=12", "data.width=12"]
    line += ["data.batch_size=1", "system.prompt_processor.prompt=a red chair"]
    line += ["system.material.ambient_only_steps=0", "system.material.diffuse_prob=1.0"]
    assert main([*line, "--out", str(out)]) == 0
    assert "generate 'a red chair' --system dreamfusion --config" in capsys.readouterr().out
    words = ["generate", "a red chair", "--system", "dreamfusion", "--config", str(out)]
    words += ["--steps", "2", "--texture", "64", "--faces", "300", "--no-turntable", "--quiet"]
    assert main([*words, "--out", str(run)]) == 0
    assert (run / "asset.glb").is_file()
    saved = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
    assert saved["config"]["distil"]["shading"]["diffuse_prob"] == 1.0
    assert saved["config"]["distil"]["steps"] == 2
