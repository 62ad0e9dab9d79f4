"""A shape is chosen by what its prompt names too."""

import numpy as np
import pytest
import torch

from threestudio_like.meshes import Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.priors.voxel_diffusion import ShapePrior
from threestudio_like.systems.image_to_3d.cisp import CispConfig, shape_of
from threestudio_like.systems.image_to_3d.named import named_likeness
from threestudio_like.systems.image_to_3d.pose import framed_masks
from threestudio_like.toybox.pairs import pictures_of
from threestudio_like.toybox.vocabulary import CATEGORIES
from threestudio_like.toybox.world import draw

NAMES = ("barrel", "bottle", "car", "chair", "lamp", "mug")


def shape(name, seed=4):
    """A held-out object of a category."""
    obj = draw(seed, CATEGORIES.index(name), "test")
    return Mesh(obj.vertices, obj.faces)


def test_shapes_look_like_what_names_them():
    """Of six things each is likeliest under its own name; what is empty, and words of no thing of
    the world or of several, say nothing."""
    things = [shape(name) for name in NAMES]
    found = torch.stack([named_likeness(things, f"a yellow {name}") for name in NAMES])
    assert (found <= 0).all()
    assert found.argmax(1).tolist() == list(range(len(NAMES)))
    assert named_likeness([None, things[0]], "a barrel")[0] == 0
    for words in ("", "a unicorn", "a red ball on a blue box"):
        assert named_likeness(things[:2], words).tolist() == [0, 0]
    # A mode is a part of the name; the colour asked for is no part of what is judged.
    table = [shape("table")]
    assert torch.isfinite(named_likeness(table, "a white round table")).all()


class Two(ShapePrior):
    """Samples two shapes that are known."""

    def __init__(self, *meshes):
        self.voxels = torch.from_numpy(np.stack([voxelise(m) for m in meshes])).float()

    def sample(self, embedding, count, config, random):
        return self.voxels[:count]


@pytest.mark.parametrize(("naming", "taken"), [(0.0, "bottle"), (1.0, "barrel")])
def test_the_name_speaks_against_an_outline_that_misleads(naming, taken):
    """The outline is a bottle's, the prompt says barrel."""
    things = {name: shape(name) for name in ("bottle", "barrel")}
    rgba = pictures_of(4, CATEGORIES.index("bottle"), "test", 1, 96)[0][0]
    mask = framed_masks(torch.from_numpy(rgba[None, ..., 3] / 255).float(), 64)[0]
    config = CispConfig(candidates=2, naming=naming)
    found = shape_of(
        torch.zeros(1, 4), mask, Two(*things.values()), config, 0, prompt="a yellow barrel"
    )
    assert np.array_equal(found.voxels > 0.5, voxelise(things[taken]) > 0.5)
    assert found.agreements[0] > found.agreements[1]
