"""Textual inversion (METHODS 1.12): one word is learnt, nothing else moves."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError, InputError, ModelError
from threestudio_like.priors.registry import resolve
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.priors.text.concepts import read_concept
from threestudio_like.training.textual_inversion import (
    ConceptOptions,
    ConceptPictures,
    Word,
    concept_stage,
    read_pictures,
    start_vectors,
    train_concept,
)


def pictures(folder, count=4, size=80, cameras=True):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for n in range(count):
        Image.fromarray(rng.integers(0, 255, (size, size + 10, 3)).astype(np.uint8)).save(
            folder / f"{n}.png"
        )
    if cameras:
        table = {
            f"{n}.png": {"azimuth": 90.0 * n, "elevation": 10, "background": 0.8}
            for n in range(count)
        }
        (folder / "cameras.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def prior():
    return StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")


def test_pictures_are_cut_square_and_know_their_cameras(tmp_path):
    data = read_pictures(pictures(tmp_path / "a"), 64, 3.0, 40.0)
    assert data.pictures.shape == (4, 64, 64, 3)
    assert torch.rad2deg(data.cameras.azimuth).tolist() == pytest.approx([0, 90, 180, 270])
    assert data.background.tolist() == pytest.approx([0.8] * 4)
    assert read_pictures(pictures(tmp_path / "b", cameras=False), 64, 3.0, 40.0).cameras is None


def test_only_the_word_gets_a_gradient(prior):
    token = "<one>"
    start = start_vectors(prior, ConceptOptions(word="mug", vectors=3))
    assert start.shape == (3, 128)
    prior.add_concept({token: start})
    word = Word(start)
    before = prior.text._text_encoder.get_input_embeddings().weight.clone()
    plain = prior.encode_text(["a red mug"])
    data = ConceptPictures(
        torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0)), None, None
    )
    stage = concept_stage(prior, word, data, ConceptOptions(token=token, batch=2))
    from threestudio_like.engine.loop import Step

    stage.loss(Step("concept", 0, 1, 0.0, 0))["denoise"].backward()
    assert float(word.vector.grad.norm()) > 0
    assert all(
        p.grad is None
        for m in (prior.unet, prior.vae, prior.text._text_encoder)
        for p in m.parameters()
    )
    assert torch.equal(prior.text._text_encoder.get_input_embeddings().weight, before)
    # The vectors that the token was added with are what the functional call starts from.
    same = prior.encode_with_concept([f"a {token}"], token, start)
    assert torch.allclose(same, prior.encode_text([f"a {token}"]), atol=1e-5)
    moved = prior.encode_with_concept(
        [f"a {token}", "a red mug"], token, torch.ones_like(word.vector)
    )
    # The word is three tokens in the text.
    assert prior.text._ids([f"a {token}"])[0, 0, 1:5].tolist() == prior.text._ids(["a"])[
        0, 0, 1:2
    ].tolist() + [
        prior.text._tokenizer.get_added_vocab()[n] for n in (token, f"{token}_1", f"{token}_2")
    ]
    assert not torch.allclose(moved[0], same[0], atol=1e-2)
    # A prompt without the token is what it was.
    assert torch.allclose(moved[1], plain[0], atol=1e-5)
    with pytest.raises(ModelError):
        prior.encode_with_concept(["a <two>"], "<two>", word.vector)
    with pytest.raises(ModelError):
        prior.word_vector("qqqq")


def test_a_concept_is_trained_resumed_and_used(tmp_path, capsys):
    images = pictures(tmp_path / "images")
    whole = train_concept(
        ConceptOptions(
            images=images,
            token="<thing>",
            word="vase",
            out=tmp_path / "a",
            steps=4,
            quiet=True,
            batch=2,
        )
    )
    table = load_file(str(whole))
    assert list(table) == ["<thing>"]
    assert table["<thing>"].shape == (4, 128)
    one = train_concept(
        ConceptOptions(
            images=images,
            token="<one>",
            out=tmp_path / "one",
            steps=1,
            quiet=True,
            batch=2,
            vectors=1,
        )
    )
    assert load_file(str(one))["<one>"].shape == (128,)
    train_concept(
        ConceptOptions(
            images=images,
            token="<thing>",
            word="vase",
            out=tmp_path / "b",
            steps=4,
            quiet=True,
            batch=2,
        )
    )
    assert torch.equal(
        load_file(str(tmp_path / "b" / "learned_embeds.safetensors"))["<thing>"], table["<thing>"]
    )
    again = train_concept(
        ConceptOptions(
            images=images,
            token="<thing>",
            word="vase",
            out=tmp_path / "a",
            steps=4,
            quiet=True,
            batch=2,
            resume=True,
        )
    )
    assert torch.equal(load_file(str(again))["<thing>"], table["<thing>"])
    prior = StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")
    prior.add_concept(read_concept(whole))
    assert "<thing>" in prior.facts.vocabulary
    assert (
        main(
            [
                "train",
                "concept",
                "--images",
                str(images),
                "--token",
                "<thing>",
                "--out",
                str(tmp_path / "a"),
            ]
        )
        == 2
    )
    assert "already" in capsys.readouterr().err


def test_mistakes_of_a_concept(tmp_path):
    images = pictures(tmp_path / "images")
    with pytest.raises(ConfigError):
        train_concept(ConceptOptions())
    with pytest.raises(ConfigError):
        train_concept(ConceptOptions(images=images, token="thing"))
    with pytest.raises(ConfigError):
        train_concept(ConceptOptions(images=images, token="<thing>", steps=0))
    with pytest.raises(ModelError):
        train_concept(
            ConceptOptions(images=images, token="<thing>", word="dragon", out=tmp_path / "x")
        )
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            read_pictures(wrong, 64, 3.0, 40.0)
    (images / "cameras.json").write_text('{"0.png": {"azimuth": 1}}')
    with pytest.raises(InputError, match="azimuth"):
        read_pictures(images, 64, 3.0, 40.0)
    (images / "5.png").write_bytes(b"hello")
    with pytest.raises(InputError, match="picture"):
        read_pictures(images, 64, 3.0, 40.0)


def test_the_time_of_a_concept_is_kept(tmp_path):
    words = ("train", "concept", "--images", str(pictures(tmp_path / "images")), "--quiet")
    words += ("--out", str(tmp_path / "out"), "--steps", "100000", "--minutes", "0.001")
    assert main(list(words)) == 0
    events = (tmp_path / "out" / "work" / "events.jsonl").read_text()
    assert '"event": "minutes"' in events
