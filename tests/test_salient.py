"""The salient object network, what it learns from, and the cut that begins with what it finds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.errors import ModelError
from threestudio_like.engine.loop import Step
from threestudio_like.priors.networks.salient import GRAIN, SalientNetwork, embedded_salient
from threestudio_like.priors.segmentation.cut_out import CutOutSegmenter
from threestudio_like.toybox.clutter import WALLS, background, backgrounds
from threestudio_like.training.composites import SIZE, Composites, composites
from threestudio_like.training.salient import overlap, salient_figures, salient_stage

UNSEEN = 977
"""A world's seed that no training has."""


@pytest.fixture(scope="module")
def unseen(tmp_path_factory) -> Composites:
    return composites(tmp_path_factory.mktemp("data"), UNSEEN, 48, split="test", world="fifty")


@pytest.fixture(scope="module")
def drawn(unseen):
    return unseen.draw(48, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("wall", dict.fromkeys(WALLS), ids=lambda wall: wall.__name__)
def test_every_wall_is_a_picture_with_a_texture_of_its_own(wall):
    made = [wall(np.random.Generator(np.random.Philox(key=[1, n])), 64) for n in range(4)]
    for picture in made:
        assert picture.shape == (64, 64, 3)
        assert np.isfinite(picture).all()
        assert picture.std() > 1e-3
    assert min(np.abs(a - b).mean() for a, b in pairwise(made)) > 0.01


def test_backgrounds_depend_on_their_number_alone(tmp_path):
    found = backgrounds(tmp_path, 3, 4)
    for n in (0, 3):
        assert np.abs(found[n] / 255 - background(3, n)).max() <= 0.5 / 255 + 1e-6
    # Read again, and the same.
    assert np.array_equal(found, backgrounds(tmp_path, 3, 4))


def test_a_composite_is_its_object_where_alpha_says_so(unseen, drawn):
    pictures, alpha = drawn
    assert pictures.shape == (48, SIZE, SIZE, 3)
    for values in (pictures, alpha):
        assert torch.equal(values, values.clamp(0, 1))
    shares = (alpha > 0.5).float().mean((1, 2))
    # Small ones and large ones, and hardly one of which nothing is left.
    assert float(shares.median()) > 0.05
    assert float((shares > 0.002).float().mean()) > 0.9
    again, same = unseen.draw(48, torch.Generator().manual_seed(5))
    assert torch.equal(again, pictures)
    assert torch.equal(same, alpha)


def test_what_stands_behind_is_no_part_of_the_alpha(unseen):
    """With one black object and white others, what the alpha covers is black."""
    black = unseen.objects.copy()
    black[..., :3] = 0
    only = Composites(black, np.full((4, SIZE + 8, SIZE + 8, 3), 200, np.uint8))
    pictures, alpha = only.draw(32, torch.Generator().manual_seed(2))
    inside = alpha > 0.99
    assert float(pictures[inside].mean()) < 0.05
    assert float(pictures[alpha < 0.01].mean()) > 0.3


@pytest.mark.parametrize("shape", [(128, 128), (90, 200), (333, 100), (16, 16), (512, 640)])
def test_probabilities_have_the_shape_of_the_picture(shape):
    picture = np.random.default_rng(0).random((*shape, 3), np.float32)
    found = SalientNetwork((8, 8, 16, 16)).eval().probability(picture)
    assert found.shape == shape
    assert 0 <= found.min() <= found.max() <= 1


def test_the_network_comes_back_from_its_folder(tmp_path):
    torch.manual_seed(0)
    made = SalientNetwork((8, 16, 16, 24)).half().float().eval()
    made.save(tmp_path / "net")
    back = SalientNetwork.load(tmp_path / "net")
    x = torch.rand(2, 2 * GRAIN, 4 * GRAIN, 3)
    assert torch.equal(back(x), made(x))


@pytest.mark.parametrize("fault", ["missing", "another kind", "cut off", "other sizes"])
def test_folders_that_cannot_be_read_are_told(tmp_path, fault):
    folder = tmp_path / "net"
    if fault != "missing":
        SalientNetwork((8, 8, 8, 8)).save(folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if fault == "another kind":
        config.write_text('{"kind": "perceptual", "width": 16}')
    if fault == "cut off":
        weights.write_bytes(weights.read_bytes()[:200])
    if fault == "other sizes":
        config.write_text('{"kind": "salient", "widths": [8, 8, 8, 16]}')
    with pytest.raises(ModelError, match="net"):
        SalientNetwork.load(folder)


def test_a_few_steps_learn(unseen):
    """From nothing to better than calling the middle of every picture its object."""
    torch.manual_seed(0)
    model = SalientNetwork((8, 16, 16, 24))
    stage = salient_stage(model, unseen, 60, batch=8)
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    for index in range(60):
        terms = stage.loss(Step("salient", index, 60, index / 60, 0))
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    learnt = salient_figures(model, unseen, 32)["iou"]
    _, alpha = unseen.draw(32, torch.Generator().manual_seed(0))
    middle = torch.zeros(32, SIZE, SIZE)
    middle[:, SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = 1
    assert learnt > float(overlap(middle, (alpha > 0.5).float()).mean())


def test_the_embedded_network_finds_objects_that_it_has_not_seen(drawn):
    pictures, alpha = drawn
    masks = (embedded_salient()(pictures) > 0).float()
    assert float(overlap(masks, (alpha > 0.5).float()).mean()) > 0.8


def test_a_cut_that_begins_with_the_network_is_better_than_without(drawn):
    pictures, alpha = (x[:16].numpy() for x in drawn)

    def iou(segmenter: CutOutSegmenter) -> float:
        masks = np.stack([segmenter.mask(p) > 0.5 for p in pictures])
        return float(overlap(torch.from_numpy(masks).float(), torch.from_numpy(alpha)).mean())

    assert iou(CutOutSegmenter(network="")) > iou(CutOutSegmenter(network="", salient=False))


def test_the_command_trains_and_is_said_to_be_a_training(tmp_path, capsys):
    out = tmp_path / "out"
    line = ["train", "salient", "--out", str(out), "--objects", "8", "--steps", "2", "--quiet"]
    assert main([*line, "--world", "fifty"]) == 0
    net = SalientNetwork.load(out / "salient")
    assert net.probability(np.zeros((32, 32, 3), np.float32)).shape == (32, 32)
    assert main(line) == 2
    assert "already" in capsys.readouterr().err
