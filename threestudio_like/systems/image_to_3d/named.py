"""Whether a shape looks like the thing that a prompt names: asked of the image-text model of the
embedded world, which knows the names of that world alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...meshes.mesh import Asset, Mesh
from ...meshes.picture import render_asset
from ...metrics.evaluation import RING, staged
from ...priors.clip import load_clip
from ...priors.registry import EMBEDDED, embedded_folder
from ...toybox.editions import edition_of
from ...toybox.words import Phrase

SIZE, BACKGROUND = 64, 0.9
"""Pixels of the views and grey level behind them."""
WHITE = (0.92, 0.92, 0.92)


@torch.no_grad()
def named_likeness(meshes: Sequence[Mesh | None], prompt: str) -> torch.Tensor:
    """How far shapes look like the thing that a prompt names, (B,) of at most 0: over eight views
    of each, all in the prompt's colour, the mean logarithm of the probability of its category
    among all that the embedded world knows. 0 for all where the prompt does not name one thing of
    that world, and for a shape that is None.

    Raises ModelError.
    """
    words = edition_of(embedded_folder("clip")).vocabulary
    found = torch.zeros(len(meshes))
    if not words.names_one(prompt):
        return found
    asked = words.parse(prompt)[0]
    plain = Phrase(asked.category, asked.colour, asked.mode)
    others = [Phrase(c, asked.colour, words.modes.get(c, (None,))[0]) for c in words.categories]
    phrases = [plain if p.category == plain.category else p for p in others]
    clip = load_clip(EMBEDDED)
    texts = clip.embed_texts([words.describe(p) for p in phrases])
    colour = np.array(words.colours[asked.colour] if asked.colour else WHITE, np.float32)
    for number, mesh in enumerate(meshes):
        if mesh is not None:
            pictures = clip.embed_images(_views(mesh, colour))
            likely = (clip.scale * pictures @ texts.t()).log_softmax(-1)
            found[number] = likely[:, phrases.index(plain)].mean()
    return found


def _views(mesh: Mesh, colour: np.ndarray) -> torch.Tensor:
    """Pictures (8, S, S, 3) in [0, 1] of a shape in one colour, as assets are judged: in the unit
    sphere and the light of the toybox."""
    colours = np.tile(colour, (len(mesh.vertices), 1))
    plain = Asset({"shape": Mesh(mesh.vertices, mesh.faces, colours=colours)}, {"lit": True})
    asset, light = staged(plain)
    matrices = RING.all(SIZE).view_projection().numpy()
    picture = render_asset(asset, matrices, SIZE, background=BACKGROUND, supersample=2, light=light)
    return torch.from_numpy(picture.image)
