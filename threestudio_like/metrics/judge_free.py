"""Figures of an asset that ask no judge of the test world, for ranking runs while they are made:
the judge stays the ruler by which the choice itself is measured."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..meshes.mesh import Asset
from ..meshes.picture import render_asset
from ..priors.clip import ImageTextPrior, load_clip
from ..priors.registry import embedded_folder
from ..toybox.edition import Edition
from ..toybox.editions import edition_of
from .alignment import view_consistency
from .evaluation import RING, silhouette_iou, staged

INSTANCES = 60
"""Objects of the prompt's category that silhouettes are held against."""


@torch.no_grad()
def measure(
    asset: Asset, prompt: str, clip: ImageTextPrior | None = None, world: Edition | None = None
) -> dict[str, float]:
    """How well an asset agrees with its prompt and with itself, higher being better.

    Args:
        asset: as it was exported.
        prompt: may be empty; then only what needs no prompt is measured.
        clip: an image-text prior; the embedded one by default.
        world: the edition of the toybox that the prompt is of; by default that of the embedded
            text-to-image model.

    Returns:
        "clip": mean cosine in [-1, 1] between eight views and the prompt; "consistency": mean
        cosine in [-1, 1] between the features of neighbouring views; "silhouettes": for a prompt
        of one object of the toybox, the best mean IoU in [0, 1] over the ring with an object of
        its category.
    """
    clip = clip or load_clip()
    asset, light = staged(asset)
    matrices = RING.all(64).view_projection().numpy()
    picture = render_asset(asset, matrices, 64, background=0.9, supersample=2, light=light)
    features = clip.embed_images(torch.from_numpy(picture.image))
    figures = {"consistency": view_consistency(features)}
    if prompt:
        text = F.normalize(clip.embed_texts([prompt]), dim=-1)
        figures["clip"] = float((F.normalize(features, dim=-1) @ text.t()).mean())
    world = world or edition_of(embedded_folder("diffusion"))
    phrases = world.vocabulary.parse(prompt) if prompt else []
    if len(phrases) == 1:
        mask = picture.mask > 0.5
        figures["silhouettes"] = silhouette_iou(mask, phrases[0], INSTANCES, world)
    return figures
