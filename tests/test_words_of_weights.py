"""Weights of the second edition beside the shipped ones: everything that reads or says words takes
them from the model's own card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.commands.jobs.batch_checks import _words
from threestudio_like.engine.errors import ModelError, VocabularyError
from threestudio_like.meshes.mesh import Asset
from threestudio_like.metrics import Judge, PatternJudge, evaluation
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.runs.options import PriorOptions
from threestudio_like.runs.prior import check_vocabulary, prompt_vocabulary
from threestudio_like.systems.image_to_3d.caption import guess_caption
from threestudio_like.systems.image_to_3d.cisp import knows_words
from threestudio_like.systems.image_to_3d.photo import read_photo
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.toybox.coloured import coloured_mesh
from threestudio_like.toybox.editions import edition, edition_of, write_card
from threestudio_like.training.control import control_pictures
from threestudio_like.training.text_to_image.diffusion import build_text_encoder, build_tokenizer
from threestudio_like.training.text_to_image.drawn import loaded
from threestudio_like.training.text_to_image.growth import grow_text_encoder
from threestudio_like.training.textual_inversion import ConceptOptions, start_vectors

FIFTY = edition("fifty")
WORDS = FIFTY.vocabulary
SHIPPED = embedded_folder("diffusion")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder of weights of the second edition that have learnt nothing of it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("weights")
    prior = folder / "diffusion"
    shutil.copytree(SHIPPED, prior)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS.words, 32)
    encoder = build_text_encoder(tokenizer)
    old = AutoTokenizer.from_pretrained(SHIPPED / "tokenizer")
    grow_text_encoder(encoder, tokenizer, loaded("CLIPTextModel", SHIPPED / "text_encoder"), old)
    shutil.rmtree(prior / "tokenizer")
    encoder.half().save_pretrained(prior / "text_encoder")
    tokenizer.save_pretrained(prior / "tokenizer")
    told = json.loads((prior / "prior.json").read_text())
    told |= {"world": "fifty", "vocabulary": list(WORDS.words)}
    (prior / "prior.json").write_text(json.dumps(told))
    judge = folder / "judge"
    Judge(list(WORDS.categories), list(WORDS.colours), world="fifty").save(judge)
    PatternJudge(16, WORDS.patterns, world="fifty").save(judge)
    write_card(judge, FIFTY)
    shutil.copytree(embedded_folder("cisp"), folder / "cisp")
    write_card(folder / "cisp" / "clip", FIFTY)
    return folder


@pytest.fixture
def fifty(weights, monkeypatch):
    """These weights in the place of the shipped ones."""
    monkeypatch.setenv("THREESTUDIO_LIKE_WEIGHTS", str(weights))
    evaluation.load_judges.cache_clear()
    evaluation.load_pattern_judge.cache_clear()
    yield weights
    evaluation.load_judges.cache_clear()
    evaluation.load_pattern_judge.cache_clear()


def built(words: str, path: Path) -> Path:
    import numpy as np

    rng = np.random.Generator(np.random.Philox(key=[1, 2]))
    Asset({"it": coloured_mesh(FIFTY.build(WORDS.parse(words)[0], rng))}).save(path)
    return path


def test_a_prompt_is_checked_by_the_words_of_the_prior_before_and_after_loading(fifty):
    prior = StableDiffusionPrior(fifty / "diffusion", DiffusersConfig(), "fifty")
    batch = SimpleNamespace(model=PriorOptions(prior=str(fifty / "diffusion")))
    for words in ("a red banana", "a blue chair with yellow legs", "two wooden tables"):
        check_vocabulary(prior, words)
        _words(batch, words)
    for words, way in (
        ("chairs", '"two chairs"'),
        ("a red banan", "banana"),
        ("a round banana", "which can be"),
        ("red", "banana"),
    ):
        for check in (lambda w: check_vocabulary(prior, w), lambda w: _words(batch, w)):
            with pytest.raises(VocabularyError) as refused:
                check(words)
            assert way in repr(vars(refused.value))


def test_a_concept_begins_at_the_things_of_the_prior_s_world(fifty):
    prior = StableDiffusionPrior(fifty / "diffusion", DiffusersConfig(), "fifty")
    options = ConceptOptions(token="<it>", vectors=1, seed=0)
    mean = torch.stack([prior.word_vector(w) for w in WORDS.categories]).mean(0)
    assert torch.allclose(start_vectors(prior, options)[0], mean, atol=1e-5)


def test_figures_are_those_of_the_judge_s_world(fifty, tmp_path):
    banana = built("a red banana", tmp_path / "banana.glb")
    figures = evaluation.evaluate(banana, "a red banana", None, count=3)
    assert {"judge: category", "judge: colour", "judge: pattern"} <= set(figures)
    assert figures["silhouette iou, nearest of 3"] > 0.5
    # The embedded CLIP is still that of the first edition here.
    assert "clip r-precision" not in figures
    wooden = evaluation.evaluate(banana, "a wooden chair", None, count=3)
    assert "judge: pattern" in wooden


def test_a_judge_says_that_it_does_not_know_another_world_s_words(tmp_path):
    banana = built("a red banana", tmp_path / "banana.glb")
    figures = evaluation.evaluate(banana, "a red banana", None, count=3)
    assert "twenty" in figures["not judged"]
    assert not [name for name in figures if name.startswith("judge")]
    # What else is not judged, and why: a thing of no world, none, several, a word beside a thing.
    for prompt, why in (
        ("a red dragon", "has words that"),
        ("", "there is no prompt"),
        ("a red mug on a blue box", "names 2 things"),
        ("an elegant red mug", '"elegant"'),
    ):
        figures = evaluation.evaluate(banana, prompt, None, count=3)
        assert why in figures["not judged"]
        assert ("judge: category" in figures) == ("mug" in prompt and "box" not in prompt)
    assert "not judged" not in evaluation.evaluate(banana, "a red mug", None, count=3)


def test_a_guess_is_a_caption_of_the_twin_s_world(fifty, tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (200, 30, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "it.png")
    photo = read_photo(tmp_path / "it.png")
    assert guess_caption(photo).text in FIFTY.captions()
    assert knows_words("a red banana", "")
    assert not knows_words("a red unicorn", "")
    monkeypatch.delenv("THREESTUDIO_LIKE_WEIGHTS")
    assert guess_caption(photo).text in edition("twenty").captions()
    assert not knows_words("a red banana", "")


def test_a_scene_s_prompt_has_parts_and_numbers_where_the_prior_has_them(fifty):
    words = prompt_vocabulary(PriorOptions())
    assert words is WORDS
    text = read_scene("a blue chair with yellow legs and a red seat left of two red bananas", words)
    assert text.objects == [
        "a blue chair with yellow legs and a red seat",
        "a red banana",
        "a red banana",
    ]
    assert [(r.subject, r.kind, r.object) for r in text.relations] == [
        (0, "left of", 1),
        (0, "left of", 2),
    ]
    again = read_scene("a chair with red legs on a box and a mug behind the chair", words)
    assert again.objects == ["a chair with red legs", "a box", "a mug"]
    assert again.relations[1].object == 0
    # A thing that is no part, and every prompt of another prior, is read as before.
    assert read_scene("a chair with a mug", words).objects == ["a chair", "a mug"]
    assert len(read_scene("a chair with red legs").objects) == 2


def test_control_pictures_show_the_world_that_is_trained():
    from threestudio_like.renderers.cameras import Cameras

    angle = torch.zeros(1)
    views = Cameras.orbit(angle, angle, 3.0, fov_y=0.7, height=64, width=64)
    one, two = (control_pictures(3, 0, "train", views, world) for world in ("twenty", "fifty"))
    assert not torch.equal(one, two)


def test_commands_name_the_words_of_the_weights(fifty, capsys):
    main(["vocabulary"])
    assert "banana" in capsys.readouterr().out
    main(["vocabulary", "--world", "twenty"])
    assert "banana" not in capsys.readouterr().out


def test_a_damaged_card_is_an_error(tmp_path):
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        edition_of(tmp_path)
    assert edition_of(tmp_path / "none").name == "twenty"
    assert edition_of(SHIPPED).name == "twenty"
