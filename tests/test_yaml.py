"""What words of YAML and keys of JSON mean, and what stands beside a configuration: nothing is read
as something else without a word."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from threestudio_like.commands.generate import Generate
from threestudio_like.engine.config import dotted, parse_yaml, write_yaml
from threestudio_like.engine.errors import ConfigError, ModelError
from threestudio_like.priors.model_files import number_in, read_json
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.text.tokenizer import load_tokenizer
from threestudio_like.runs.configure import configure
from threestudio_like.runs.options import MethodOptions
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

from .runs import run

WORDS = {
    **{"010": 10, "089": 89, "-07": -7, "+5": 5, "0x10": 16, "0o17": 15, "0": 0},
    **{"1.": 1.0, ".5": 0.5, "1e3": 1000.0, "1E-2": 0.01, "-.5e1": -5.0, ".inf": math.inf},
    **{"true": True, "False": False, "TRUE": True, "~": None, "null": None, "": None},
    **{t: t for t in ("yes", "no", "on", "off", "Yes", "y", "n")},
    **{t: t for t in ("1:30", "1:30.5", "1_000", "0b11", "1_0.5", "-0o7", "=", "2001-01-01")},
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_means_what_yaml_1_2_says(word):
    read = parse_yaml(f"a: {word}\n", "here")["a"]
    assert read == WORDS[word]
    assert type(read) is type(WORDS[word])


@pytest.mark.parametrize("word", WORDS)
def test_every_text_comes_back_as_a_text(word):
    assert parse_yaml(write_yaml({"a": word}), "here") == {"a": word}


@pytest.mark.parametrize(
    ("word", "steps"), [("010", 10), ("0x10", 16), ("1e1", 10), ("12", 12), ("'12'", 12)]
)
def test_a_number_of_a_configuration(word, steps, tmp_path):
    (tmp_path / "a.yaml").write_text(f"config: {{distil: {{steps: {word}}}}}")
    options = Generate(prompt="x", method=MethodOptions(config=tmp_path / "a.yaml"))
    assert configure(options, LatentNerf()).distil.steps == steps


@pytest.mark.parametrize("word", ["1:30", "1_0", "1_000", "yes", "on", "2001-01-01", "0b11"])
def test_what_is_no_number_is_said(word, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(f"config: {{distil: {{steps: {word}}}}}")
    words = ("generate", "a red chair", "--config", tmp_path / "a.yaml", "--out", tmp_path / "x")
    assert run(*words) == 2
    assert f'"distil.steps" wants a whole number, got "{word}"' in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("word", "truth"), [("yes", True), ("off", False), ("true", True)])
def test_truths_may_be_said_in_the_words_of_before(word, truth, tmp_path):
    key = next(k for k, v in dotted(LatentNerf()).items() if isinstance(v, bool))
    *groups, name = key.split(".")
    text = f"{name}: {word}"
    for group in reversed(groups):
        text = f"{group}: {{{text}}}"
    (tmp_path / "a.yaml").write_text(f"config: {{{text}}}")
    options = Generate(prompt="x", method=MethodOptions(config=tmp_path / "a.yaml"))
    assert dotted(configure(options, LatentNerf()))[key] is truth


@pytest.mark.parametrize("key", ["discontented", "mycontent", "content", "sketch content", "stps"])
def test_only_the_keys_of_records_stand_beside_a_configuration(key, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"picture content: ab\nmask content: ab\n{key}: 4\nconfig: {{}}")
    options = Generate(prompt="x", method=MethodOptions(config=path))
    with pytest.raises(ConfigError, match=f'there is no key "{key}"'):
        configure(options, LatentNerf())


CONFLICTS = [
    ({"steps": 40}, {"distil.steps": "40"}, "--steps 40"),
    ({"steps": 40}, {"rgb.steps": "50"}, "--steps 40"),
    ({"steps": 40}, {"distil.steps": "5", "rgb.steps": "5"}, "--steps 40"),
    ({"resolution": 32}, {"resolution": "48"}, "--resolution 32"),
    ({"negative": "blue"}, {"distil.guidance.prompt.negative": "red"}, "--negative"),
]


@pytest.mark.parametrize(("short", "given", "named"), CONFLICTS)
def test_a_short_option_replaces_nothing_that_is_given(short, given, named):
    options = Generate(prompt="x", method=MethodOptions(**short), set=given)
    with pytest.raises(ConfigError) as told:
        configure(options, LatentNerf())
    assert told.value.where == named
    assert f"--{next(iter(given))}" in told.value.what
    alone = Generate(prompt="x", set=given)
    assert str(dotted(configure(alone, LatentNerf()))[next(iter(given))]) in given.values()


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"distil.steps": "5"}, (5, 35, 0)),
        ({"rgb.steps": "39"}, (1, 39, 0)),
        ({"rgb.steps": "0"}, (40, 0, 0)),
        ({"distil.steps": "30", "rgb.steps": "10"}, (30, 10, 0)),
        ({"distil.steps": "5", "rgb.steps": "5", "mesh.steps": "30"}, (5, 5, 30)),
    ],
)
def test_steps_that_are_given_to_a_stage_stay(given, shares):
    options = Generate(prompt="x", method=MethodOptions(steps=40), set=given)
    config = configure(options, LatentNerf())
    assert (config.distil.steps, config.rgb.steps, config.mesh.steps) == shares


@pytest.mark.parametrize(
    "text",
    [
        '{"prediction_type": "epsilon", "prediction_type": "v_prediction"}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": [{"b": 1, "b": 2}]}',
    ],
)
def test_a_key_that_is_there_twice_in_a_models_json_is_refused(text, tmp_path):
    path = tmp_path / "scheduler_config.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="is there twice"):
        read_json(path)


@pytest.mark.parametrize("value", [0, -7, "77 tokens", 1.5, None, True, [3]])
def test_a_number_of_a_models_json_is_checked(value, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"size": value}))
    with pytest.raises(ModelError, match='"size"'):
        number_in(path, "size", 3)
    path.write_text("{}")
    assert number_in(path, "size", 3) == 3


@pytest.mark.parametrize("limit", [0, -7, 2, "77", True, math.nan])
def test_a_tokenizer_that_reads_nothing_is_refused(limit, tmp_path):
    shutil.copytree(embedded_folder("clip"), tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "model_max_length": limit}))
    with pytest.raises(ModelError) as told:
        load_tokenizer(tmp_path)
    assert told.value.where.startswith(str(tmp_path / "tokenizer"))
    path.write_text(json.dumps({**content, "model_max_length": 5}))
    assert load_tokenizer(tmp_path).model_max_length == 5
