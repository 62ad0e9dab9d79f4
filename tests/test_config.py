"""Configurations: frozen, exact through YAML, and one check of all that comes from outside."""

import dataclasses
import importlib
import math
import pkgutil
import random
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import threestudio_like
from threestudio_like.cli import main
from threestudio_like.engine.config import (
    OpenConfig,
    checked,
    convert,
    dotted,
    from_dict,
    parse_yaml,
    read_yaml,
    section,
    set_dotted,
    to_dict,
    update,
    write_yaml,
)
from threestudio_like.engine.errors import ConfigError, InputError, ModelError
from threestudio_like.engine.events import Events
from threestudio_like.engine.schema.bounds import (
    Bounds,
    Count,
    NotEmpty,
    Rule,
    ScheduleText,
    WrittenSchedule,
)
from threestudio_like.engine.schema.former import former_keys, former_lines
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.registry import GUIDANCES
from threestudio_like.guidance.score_distillation import ScoreDistillationConfig
from threestudio_like.meshes.io.primitives import read_primitives
from threestudio_like.priors.model_files import PriorRecord, read_json, record
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import UniformCameras
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.surfaces.config import ShapeConfig
from threestudio_like.runs.configure import TOP_LEVEL, configure
from threestudio_like.stages.field_to_mesh import AssetConfig
from threestudio_like.systems.image_to_3d.cisp import CispReconstruction
from threestudio_like.systems.image_to_3d.field_optimisation import PictureOptimisation
from threestudio_like.systems.image_to_3d.g3dr import G3drReconstruction
from threestudio_like.systems.registry import SYSTEMS, configuration
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf
from threestudio_like.systems.text_to_3d.rgb_refinement import RgbRefinement
from threestudio_like.training.contrastive import ContrastiveTraining
from threestudio_like.training.g3dr.config import G3drTraining
from threestudio_like.training.voxel_diffusion import VoxelTraining

PRESETS = {
    **{
        f"{name}/{preset}": make
        for name, registered in SYSTEMS.items()
        for preset, make in registered.presets.items()
    },
    "refine/default": RgbRefinement,
    "refine/paper": RgbRefinement.paper,
    **{
        f"{kind.__name__}/{preset}": (lambda kind=kind, preset=preset: kind.of(preset))
        for kind in (ContrastiveTraining, G3drTraining, VoxelTraining)
        for preset in ("toybox", "large", "paper")
    },
    "export": AssetConfig,
    "load": DiffusersConfig,
}


def groups_of(config) -> list[Any]:
    """A configuration and all that it holds."""
    inner = [getattr(config, f.name) for f in dataclasses.fields(config)]
    return [config, *(g for v in inner if dataclasses.is_dataclass(v) for g in groups_of(v))]


def allowed(rule: Rule, value: Any) -> bool:
    """Whether a rule lets a value pass."""
    try:
        rule.check(value, "x", "x")
    except ConfigError:
        return False
    return True


def draw(annotation, chance: random.Random) -> Any:
    """A value that an annotation allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner, *rules = arguments
        written = next((rule for rule in rules if isinstance(rule, WrittenSchedule)), None)
        if written is not None:
            texts = ["0.02", "1e-5", "0.98->0.5", "cos 0.9->.5 @ 0..60%", "7", "-1.50"]
            return chance.choice([text for text in texts if allowed(written, text)])
        if any(isinstance(rule, NotEmpty) for rule in rules):
            return draw(inner, chance) or draw(annotation, chance)
        bounds = next(rule for rule in rules if isinstance(rule, Bounds))
        low, high = max(bounds.low, -1e9), min(bounds.high, 1e9)
        if inner is int:
            return chance.choice([int(low), int(high), chance.randint(int(low), int(high))])
        value = chance.choice([low, high, chance.uniform(low, high), max(low, high * 1e-7)])
        return float(high if bounds.above and value <= low else value)
    if origin in (typing.Union, types.UnionType):
        return draw(chance.choice(arguments), chance)
    if origin is Literal:
        return chance.choice(arguments)
    if origin is tuple:
        inner = arguments[:1] * chance.randint(0, 4) if Ellipsis in arguments else arguments
        return tuple(draw(kind, chance) for kind in inner)
    if dataclasses.is_dataclass(annotation):
        return redraw(annotation(), chance)
    if annotation is Guidances:
        more = {chance.choice(GUIDANCES.names()): {"weight": draw(ScheduleText, chance)}}
        return Guidances().updated(
            chance.choice([{}, more, {"main": chance.choice(GUIDANCES.names()), **more}]),
            "guidances.",
        )
    if isinstance(annotation, type) and issubclass(annotation, OpenConfig):
        return annotation()
    if annotation is bool:
        return chance.random() < 0.5
    if annotation is int:
        return chance.choice([0, -1, 7, 10**12, chance.randint(-(2**53), 2**53)])
    if annotation is float:
        tiny = chance.choice([0.0, 1e-5, 1e22, 3.0, -0.02, 5e-324, 1.7976931348623157e308, 1e16])
        return chance.choice([tiny, chance.uniform(-1, 1), chance.gauss(0, 1e6)])
    if annotation is str:
        return chance.choice(TEXTS) + chance.choice(["", " ", chance.choice(TEXTS)])
    if annotation is Path:
        return Path(chance.choice(["a", "../b c/ü", "/x/1e-5", "null"]))
    assert annotation is type(None), annotation
    return None


TEXTS = [
    *("", "0.02", "1e-05", "1_000", "0x1f", "010", "1:30", ".inf", "nan", "yes", "no", "null", "~"),
    *("2020-01-01", "- a", "a: b", "#", "'", '"', "\\", "%", "&a", "*a", "!x", "|", ">", "@", "`"),
    *(
        "ein roter Stuhl, größer",
        "красный стул",
        "赤い椅子",
        "كرسي",
        "🪑",
        "a\nb",
        "\t",
        "\x07",
        "\x85",
    ),
    *("\u2028", "\ufeff", "x" * 300, "word " * 60, "trailing ", " leading", "a\r\nb"),
]


def redraw(config, chance: random.Random):
    """A configuration of the same class with other values."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    names = [f.name for f in dataclasses.fields(config)]
    values = {name: draw(hints[name], chance) for name in names}
    if isinstance(config, FieldConfig):
        # A name of the registry, which the class itself checks.
        values["kind"] = chance.choice(["voxels", "hash", "triplane", "gaussians"])
    if isinstance(config, ShapeConfig):
        values["kind"] = chance.choice(["flexicubes", "tetrahedra", "remeshing"])
    if isinstance(config, ScoreDistillationConfig):
        # Never above the largest time.
        values["t_min"] = "0.0"
    return dataclasses.replace(config, **values)


@pytest.mark.parametrize("name", PRESETS)
def test_every_configuration_is_frozen_and_passes_its_own_check(name):
    config = PRESETS[name]()
    for group in groups_of(config):
        assert type(group).__dataclass_params__.frozen, type(group)
        assert all(f.kw_only for f in dataclasses.fields(group)), type(group)
    assert checked(config) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)


@pytest.mark.parametrize("name", PRESETS)
def test_what_goes_to_yaml_comes_back_equal(name):
    chance = random.Random(name)
    plain = PRESETS[name]()
    for config in [plain, *(redraw(plain, chance) for _ in range(12))]:
        text = write_yaml({"config": to_dict(config)})
        text = text.encode("utf-8").decode("utf-8")
        back = from_dict(type(config), section(parse_yaml(text, "x"), (), "x"))
        assert back == config
        for (key, one), other in zip(dotted(config).items(), dotted(back).values()):
            assert type(one) is type(other), key
        # And what is written again is the same text: two resumes of a run agree.
        assert write_yaml({"config": to_dict(back)}) == text


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_line_reaches_every_value(name):
    """A value given by its dotted name, as text, is the value."""
    config = PRESETS[name]()
    for key, value in dotted(config).items():
        several = isinstance(value, (tuple, list))
        if value is None or (several and not value):
            continue
        text = " ".join(map(str, value)) if several else str(value)
        assert set_dotted(config, key, text) == config, key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    steps: Count = 3
    scale: float = 1.0
    rate: ScheduleText = "0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=lambda: Inner(steps=9))
    on: bool = False
    name: str = ""
    either: ScheduleText | float = "0.5"
    kind: Literal["a", "b", 3] = "a"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, int] = (1.0, 2)
    folder: Path | None = None
    anything: Annotated[float, Bounds(finite=False)] = math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    width: int
    parts: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = dataclasses.field(default_factory=dict)
    maybe: Inner | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": {"steps": 3.7}}, '"inner.steps" wants a whole number, got "3.7"'),
        ({"inner": {"steps": "3.7"}}, "whole number"),
        ({"inner": {"steps": True}}, "whole number"),
        ({"inner": {"steps": None}}, "whole number, got nothing"),
        ({"inner": {"steps": [3]}}, "whole number"),
        ({"inner": {"steps": "1_000"}}, "whole number"),
        ({"inner": {"steps": -3}}, "at least 0, got -3"),
        ({"inner": {"steps": 10**30}}, "at most 1e"),
        ({"inner": {"steps": 10**6000}}, "at most 1e"),
        ({"inner": {"steps": math.inf}}, "finite"),
        ({"inner": {"scale": "nan"}}, "finite"),
        ({"inner": {"scale": np.float32("nan")}}, "finite"),
        ({"inner": {"scale": True}}, "a number"),
        ({"inner": {"scale": 10**400}}, "a number"),
        ({"inner": {"scale": "x"}}, "a number"),
        ({"inner": {"rate": "a->b"}}, "not a schedule"),
        ({"inner": {"rate": math.nan}}, "finite"),
        ({"inner": {"rate": None}}, "a text, got nothing"),
        ({"inner": {"stepz": 1}}, 'no key "inner.stepz". Did you mean "steps"'),
        ({"inner": {1: 1}}, 'no key "inner.1"'),
        ({"inner": 3}, '"inner" is a group of keys'),
        ({"inner": None}, '"inner" is a group of keys'),
        ({"inner": [1]}, '"inner" is a group of keys'),
        ({"innr": {}}, 'Did you mean "inner"'),
        ({"on": "maybe"}, "true or false"),
        ({"on": 1}, "true or false"),
        ({"name": 5}, "Put it in quotes"),
        ({"name": False}, "Put it in quotes"),
        ({"name": ["a"]}, "a text"),
        ({"either": "later"}, "not a schedule"),
        ({"either": math.inf}, "finite"),
        ({"kind": "c"}, "is not a value"),
        ({"kind": True}, "is not a value"),
        ({"sizes": {"a": 1}}, "a list of values"),
        ({"sizes": [1, 2.5]}, "whole number"),
        ({"sizes": True}, "a list of values"),
        ({"pair": [1]}, "wants 2 values, got 1"),
        ({"pair": [1, 2.5]}, "whole number"),
        ({"folder": 3}, "a path"),
        ({"folder": "a\0b"}, "a path"),
        ([], "a configuration is a group of keys"),
        ("x", "a configuration is a group of keys"),
        (None, "a configuration is a group of keys"),
    ],
)
def test_what_does_not_fit_is_one_line(values, message):
    with pytest.raises(ConfigError) as problem:
        update(Outer(), values)
    assert message in problem.value.line()
    assert "\n" not in problem.value.line()
    with pytest.raises(ConfigError):
        from_dict(Outer, values)


def test_what_fits_is_taken_as_its_own_type():
    assert update(Outer(), {"inner": {"steps": np.int64(4)}}).inner == Inner(steps=4)
    taken = update(Outer(), {"inner": {"scale": np.float32(0.5)}, "sizes": np.arange(3)})
    assert type(taken.inner.scale) is float
    assert taken.sizes == (0, 1, 2)
    assert update(Outer(), {"inner": {"scale": 3, "steps": 4.0}}).inner == Inner(scale=3.0, steps=4)
    assert type(update(Outer(), {"inner": {"scale": 3}}).inner.scale) is float
    # Keys that are not given keep what the holder has, not what the class has.
    assert from_dict(Outer, {"inner": {"scale": 2.0}}).inner == Inner(steps=9, scale=2.0)
    # A text stays a text where both are allowed.
    assert update(Outer(), {"either": "0.02"}).either == "0.02"
    assert update(Outer(), {"either": 0.02}).either == 0.02
    assert update(Outer(), {"inner": {"rate": 0.02}}).inner.rate == "0.02"
    assert update(Outer(), {"kind": "3"}).kind == 3
    assert update(Outer(), {"pair": "1.5, 2"}).pair == (1.5, 2)
    assert update(Outer(), {"inner": Inner(steps=1)}).inner == Inner(steps=1)
    assert update(Outer(), {"anything": "-inf"}).anything == -math.inf
    before = Outer()
    update(before, {"inner": {"steps": 1}, "on": True})
    assert before == Outer()


def test_records_with_keys_that_must_be_there():
    values = {"width": 3, "parts": [{"steps": 1}, {}], "by_name": {"x": {"scale": 2}}, "maybe": {}}
    assert from_dict(Record, values) == Record(
        width=3, parts=(Inner(steps=1), Inner()), by_name={"x": Inner(scale=2.0)}, maybe=Inner()
    )
    assert from_dict(Record, to_dict(from_dict(Record, values))) == from_dict(Record, values)
    with pytest.raises(ConfigError, match='"width" is missing'):
        from_dict(Record, {}, "x.json")
    with pytest.raises(ConfigError, match=r'x\.json: there is no key "parts.stepz"'):
        from_dict(Record, {"width": 1, "parts": [{"stepz": 1}]}, "x.json")


def test_what_was_made_in_python_is_checked_too():
    with pytest.raises(ConfigError, match=r'"inner\.steps" must be at least 0'):
        checked(Outer(inner=Inner(steps=-1)))
    with pytest.raises(ConfigError, match=r'"inner\.steps" wants a whole number'):
        checked(Outer(inner=Inner(steps=2.5)))
    with pytest.raises(ConfigError, match='"inner" is a group of keys'):
        checked(Outer(inner=None))
    assert type(checked(Outer(inner=Inner(steps=np.int32(2)))).inner.steps) is int


def test_what_yaml_has_no_plain_form_for_is_not_written():
    for value in (math.inf, math.nan, object(), {1, 2}, "\udc80", np.float64("inf"), 1j):
        with pytest.raises(ConfigError):
            write_yaml({"a": value})
    shared = [1, 2]
    assert parse_yaml(write_yaml({"a": shared, "b": shared}), "x") == {"a": [1, 2], "b": [1, 2]}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB + "config: {distil: {guidance: {prompt: {negative: *i}}}}", "alias or anchor"),
        ("config: &a {distil: {steps: 3}}", "alias or anchor"),
        ("config: " + "[" * 3000, "20 levels deep"),
        ("config: " + "{a: " * 3000, "20 levels deep"),
        ("config: [" + "1, " * 60000 + "1]", "more than 50000 values"),
        ("# " + "x" * (1 << 20), "larger than 1 MB"),
        ("config: {distil: {steps: 3}, distil: {steps: 4}}", "there twice"),
        ("config: !!python/object/apply:os.system ['true']", "has a tag"),
        ("config: {steps: !!float 3}", "has a tag"),
        ("config: {}\n---\nconfig: {}", "several documents"),
        ("config: {", "is not YAML"),
        ("\x00", "is not YAML"),
        ("config: {? [a]: 1}", "is not YAML"),
        ("config: {steps: " + "9" * 5000 + "}", "is not YAML"),
        ("", "holds no keys"),
        ("- config", "holds no keys"),
        ("3", "holds no keys"),
        ("1: 2", "a key that is no word"),
        ("config:", '"config" wants a group of keys, got nothing'),
        ("config: [1]", '"config" wants a group of keys'),
        ("config: 3", '"config" wants a group of keys'),
        ("distil: {steps: 3}", 'no key "distil". What belongs to a system stands under "config"'),
        ("confi: {distil: {steps: 3}}", 'Did you mean "config"'),
        ("config: {distil: {steps: 3.7}}", "whole number"),
        ("config: {distil: {steps: .inf}}", "finite"),
        ("config: {distil: {guidance: {scale: .nan}}}", "finite"),
        ("config: {distil: {steps: -3}}", "at least 0"),
        ("config: {representation: {voxels: {size: 1000000}}}", "at most 65536"),
        ("config: {distil: {guidance: {prompt: {negative: true}}}}", "Put it in quotes"),
        ("config: {distil: {rates: {voxels: fast}}}", "not a schedule"),
        ("config: {distil: 2020-01-01}", "group of keys"),
        ("config: {<<: {distil: 3}}", 'no key "<<"'),
    ],
)
def test_hostile_yaml_is_one_line_from_the_command_line(text, message, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    command = ["generate", "a red chair", "--config", str(path), "--out", str(tmp_path / "x")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_files_that_cannot_be_read_are_said(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"config: {a: \xff}")
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300), tmp_path / "latin.yaml"):
        with pytest.raises(InputError):
            read_yaml(path)


def test_a_printed_configuration_can_be_fed_back(tmp_path, capsys):
    assert (
        main(["generate", "a red chair", "--distil.guidance.t-min", "0.02", "--print-config"]) == 0
    )
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    content = read_yaml(tmp_path / "run.yaml")
    printed = update(LatentNerf(), section(content, TOP_LEVEL, "run.yaml"))
    assert printed == set_dotted(LatentNerf(), "distil.guidance.t_min", "0.02")
    assert set(content) <= TOP_LEVEL


def test_keys_of_earlier_versions_are_read_by_their_present_names():
    still = UniformCameras()
    shaken = UniformCameras(camera_perturb=0.1, center_perturb=0.2, up_perturb=0.02)
    assert update(still, {"jitter": False}) == still
    assert update(still, {"jitter": True}) == update(still, {"jitter": "true"}) == shaken
    # A present key beside it says more.
    both = {"jitter": True, "up_perturb": 0.5}
    assert update(still, both) == dataclasses.replace(shaken, up_perturb=0.5)
    assert from_dict(DreamFusion, {"learned_background": True}).background == "learned"
    assert from_dict(DreamFusion, {"learned_background": False}) == DreamFusion()
    with pytest.raises(ConfigError, match=r'"distil.uniform.jitter" wants true or false'):
        set_dotted(DreamFusion(), "distil.uniform.jitter", "maybe")
    values = {"learned_background": True, "distil": {"uniform": {"jitter": True}}}
    lines = list(former_lines(update(DreamFusion(), values), values))
    assert lines[0].endswith("it is read as background learned")
    assert "read as distil.uniform.camera_perturb 0.1, distil" in lines[1]
    off = {"learned_background": False, "distil": {"uniform": {"jitter": False}}}
    assert list(former_lines(update(DreamFusion(), off), off)) == []


@pytest.mark.parametrize("name", PRESETS)
def test_former_keys_mean_present_ones(name):
    for group in groups_of(PRESETS[name]()):
        present = {f.name for f in dataclasses.fields(group)}
        for key, former in former_keys(type(group)).items():
            assert key not in present
            assert former.kind is bool
            for value in (True, False):
                assert set(former.now(value)) <= present
                update(group, {key: value})


def test_a_file_of_an_earlier_version_is_read_and_a_former_flag_is_named(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("config: {learned_background: true}")
    words = ["generate", "a red chair", "--system", "dreamfusion", "--print-config"]
    assert main([*words, "--config", str(tmp_path / "run.yaml")]) == 0
    said = capsys.readouterr()
    assert "background: learned" in said.out
    assert main([*words, "--learned-background", "true"]) == 2
    assert "Here it is --background learned" in capsys.readouterr().err


def test_steps_are_divided_in_the_proportion_of_the_configuration():
    plain = LatentNerf()
    divided = plain.with_steps(70)
    share = round(70 * plain.distil.steps / (plain.distil.steps + plain.rgb.steps))
    assert (divided.distil.steps, divided.rgb.steps) == (share, 70 - share)
    assert dataclasses.replace(divided, distil=plain.distil, rgb=plain.rgb) == plain
    # A start that is fitted to a shape is no part of the optimisation.
    picture = PictureOptimisation().with_steps(11)
    assert picture.distil.steps == 11
    assert picture.start == PictureOptimisation().start


@pytest.mark.parametrize("steps", [3, 4, 7, 20, 333])
def test_no_stage_that_is_switched_on_is_left_without_a_step(steps):
    plain = LatentNerf()
    three = dataclasses.replace(plain, mesh=dataclasses.replace(plain.mesh, steps=1))
    divided = three.with_steps(steps)
    own = [divided.distil.steps, divided.rgb.steps, divided.mesh.steps]
    assert sum(own) == steps
    assert min(own) >= 1


def test_fewer_steps_than_stages_are_refused():
    with pytest.raises(ConfigError, match=r"1 are too few for 2 stages \(distil, rgb\)"):
        LatentNerf().with_steps(1)


@pytest.mark.parametrize("system", [CispReconstruction(), G3drReconstruction()])
def test_steps_of_a_method_without_any_are_refused(system):
    with pytest.raises(ConfigError, match="--steps: means nothing to this method"):
        system.with_steps(7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[1]", "damaged"),
        ("[" * 100000, "damaged"),
        ('{"joint_views": 0}', "at least 1"),
        ('{"joint_views": 2.5}', "whole number"),
        ('{"camera": {"distance": NaN}}', '"camera.fov_y" is missing'),
        ('{"vocabulary": "chair"}', ""),
        ('{"vocabulary": [1]}', "Put it in quotes"),
        ('{"light": 3}', "a list of values"),
        ('{"light": [[1, 0, 0, 0]]}', "wants 4 values"),
        ('{"lite": 3}', 'Did you mean "light"'),
    ],
)
def test_a_broken_prior_json_is_one_line(text, message, tmp_path, tiny_folder):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    (folder / "prior.json").write_text(text)
    if message:
        with pytest.raises(ModelError) as problem:
            StableDiffusionPrior(folder, DiffusersConfig(), "tiny")
        assert message in problem.value.line()
        assert str(folder / "prior.json") in problem.value.line()
    else:
        assert record(PriorRecord, read_json(folder / "prior.json"), folder).vocabulary == (
            "chair",
        )


@pytest.mark.parametrize(
    "values",
    [
        {"num_train_timesteps": 0},
        {"num_train_timesteps": -5},
        {"num_train_timesteps": "many"},
        {"num_train_timesteps": 10**12},
        {"beta_start": -1.0},
        {"beta_end": 2.0},
        {"beta_end": math.nan},
        {"beta_schedule": "wavy"},
        {"beta_schedule": 3},
        {"prediction_type": "guess"},
    ],
)
def test_odd_numbers_of_a_scheduler_are_errors_of_the_model(values):
    with pytest.raises(ModelError):
        NoiseSchedule.from_config(values)


def test_numbers_of_other_libraries_are_left_alone():
    config = {"_class_name": "DDIMScheduler", "trained_betas": None, "beta_end": 0.012}
    assert len(NoiseSchedule.from_config(config)) == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- box: {size: [1, 1, 1], at: [0, 0, 0]}\n" * 20000, "more than 50000 values"),
        ("- box: {size: [1, 1, 1]}\n" * 1001, "at most 1000"),
        ("- box: &a {size: [1, 1, 1]}\n- box: *a\n", "alias or anchor"),
        ("- box: {size: [1, 1, true]}\n", "wants 3 numbers"),
        ("- box: {size: [1, 1, .nan]}\n", "wants 3 numbers"),
        ("- box: {size: [1, 1]}\n", "wants 3 numbers"),
        ("- box: {size: {a: 1}}\n", "wants 3 numbers"),
        ("- box: {size: [1, 1, -1]}\n", "is not a size"),
        ("- box: {size: [1, 1, 1], size: [2, 2, 2]}\n", "there twice"),
        ("box: {size: [1, 1, 1]}\n", "is not a list"),
    ],
)
def test_hostile_sketches_are_refused(text, message, tmp_path):
    path = tmp_path / "sketch.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as problem:
        read_primitives(path)
    assert message in problem.value.line()


def test_no_configuration_of_the_package_can_be_changed():
    """Every dataclass whose name says that it is one, wherever it is."""
    names = (
        "Config",
        "Rates",
        "Weights",
        "Terms",
        "Training",
        "Cameras",
        "Settings",
        "Regularisation",
    )
    found = []
    for module in pkgutil.walk_packages(threestudio_like.__path__, "threestudio_like."):
        if any(part in module.name for part in (".vendors", ".cuda", "__main__", ".extras")):
            continue
        for name, kind in vars(importlib.import_module(module.name)).items():
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
                continue
            if kind.__module__ == module.name and name.endswith(names) and name != "Cameras":
                found.append(name)
                assert kind.__dataclass_params__.frozen, f"{module.name}.{name}"
    assert len(found) > 50
    assert convert("3", int, "x") == 3


def grown():
    """Presets whose renderings grow on the way."""
    found = [(name, preset) for name, kind in SYSTEMS.items() for preset in kind.presets]
    return [
        pair
        for pair in found
        if any(
            key.endswith("milestones.resolution") and value != "0"
            for key, value in dotted(configuration(*pair)).items()
        )
    ]


def test_a_resolution_goes_before_the_milestones_of_a_preset():
    """What a user asks for is what is rendered, from the first step to the last."""
    assert len(grown()) >= 2
    for pair in grown():
        said = []
        events = Events(None, "quiet")
        events.say = said.append
        given = types.SimpleNamespace(
            method=types.SimpleNamespace(config=None, steps=None, resolution=48, negative=""),
            set={},
        )
        made = dotted(configure(given, configuration(*pair), events))
        keys = [key for key in made if key.endswith("milestones.resolution")]
        assert made["resolution"] == 48
        assert {made[key] for key in keys} == {"0"}
        assert len(said) == 1
        assert "--resolution 48 goes before" in said[0]
        given.set = dict.fromkeys(keys, "32")
        assert dotted(configure(given, configuration(*pair), events))[keys[0]] == "32"
        assert len(said) == 1
