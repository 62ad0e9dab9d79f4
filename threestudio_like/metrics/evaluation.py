"""`evaluate`: all measures of one asset, rendered from the exported file."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.config import read_yaml
from ..engine.errors import InputError
from ..meshes.frames import Normalisation
from ..meshes.mesh import Asset
from ..meshes.picture import Light, render_asset
from ..meshes.surface.extraction import iou, silhouette
from ..priors.clip import ClipPrior
from ..priors.registry import embedded_folder
from ..renderers import EnvironmentLight, RingCameras
from ..toybox.edition import Edition
from ..toybox.editions import DEFAULT, EDITIONS, edition, edition_of
from ..toybox.render import LIGHT, render
from ..toybox.words import Phrase
from . import (
    Judge,
    PatternJudge,
    compare,
    front_azimuth,
    janus_index,
    r_precision,
    view_consistency,
)

RING = RingCameras(count=8, elevation=15.0)


@lru_cache(maxsize=32)
def instances(phrase: Phrase, count: int, size: int = 64, world: Edition = DEFAULT) -> np.ndarray:
    """Boolean silhouettes (N, 8, size, size) of `count` objects of a world over the evaluation
    ring; only what changes the shape is read of the phrase."""
    shape = Phrase(phrase.category, "red", phrase.mode, adjectives=phrase.adjectives)
    cameras = RING.all(size).view_projection().numpy()
    out = np.empty((count, len(cameras), size, size), bool)
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(key=[97, n]))
        # Objects are drawn from the whole range of proportions and not from one split, because the
        # nearest object is searched for.
        obj = world.build(shape, rng, ("train", "validation", "test")[n % 3])
        out[n] = (
            render(obj, cameras, size, backgrounds=np.ones((len(cameras), 3), np.float32)).mask
            > 0.5
        )
    return out


def silhouette_iou(
    mask: np.ndarray, phrase: Phrase, count: int = 200, world: Edition = DEFAULT
) -> float:
    """Mean IoU over the ring with the nearest of `count` objects of the phrase's category in a
    world; mask (8, S, S) is boolean."""
    # Colours, patterns and parts do not change a silhouette: one cache for all of them.
    shape = Phrase(phrase.category, None, phrase.mode, adjectives=phrase.adjectives)
    known = instances(shape, count, size=mask.shape[-1], world=world)
    inter = np.logical_and(known, mask[None]).sum((2, 3))
    union = np.logical_or(known, mask[None]).sum((2, 3))
    return float((inter / np.maximum(union, 1)).mean(1).max())


@lru_cache(maxsize=1)
def load_judges() -> tuple[Judge, ClipPrior]:
    """The embedded judge and CLIP."""
    return Judge.load(embedded_folder("judge")), ClipPrior(embedded_folder("clip"))


@lru_cache(maxsize=1)
def load_pattern_judge() -> PatternJudge:
    """The embedded judge of patterns."""
    return PatternJudge.load(embedded_folder("judge"))


def staged(asset: Asset) -> tuple[Asset, Light | None]:
    """The asset as it is judged.

    An asset that was painted (according to its provenance) is scaled into the unit sphere, and is
    lit if its base colour is free of light.
    """
    lit = asset.provenance.get("lit")
    if lit is None:
        return asset, None
    placement = Normalisation.of(np.concatenate([m.vertices for m in asset.meshes.values()]))
    meshes = {k: replace(m, vertices=placement.apply(m.vertices)) for k, m in asset.meshes.items()}
    return Asset(meshes, asset.provenance), EnvironmentLight(torch.tensor(LIGHT)) if lit else None


def measure(asset: Asset, prompt: str, count: int = 200) -> dict[str, Any]:
    """The measures of an asset for a prompt of the edition of the toybox that the judge knows; for
    other prompts, only those that need no known objects. What of a prompt is not judged is said
    under "not judged"."""
    asset, light = staged(asset)
    mesh = asset.mesh
    cameras = RING.all(64)
    picture = render_asset(
        asset, cameras.view_projection().numpy(), 64, background=0.9, supersample=3, light=light
    )
    images = torch.from_numpy(picture.image)
    judge, clip = load_judges()
    verdict = judge(images)
    figures: dict[str, Any] = {"faces": len(mesh.faces), "pieces": int(mesh.components().max()) + 1}
    figures["view consistency"] = view_consistency(verdict.features)
    world = edition(judge.world, str(embedded_folder("judge")))
    phrases = world.vocabulary.parse(prompt)
    skipped = _not_judged(prompt, world, len(phrases))
    if skipped:
        figures["not judged"] = skipped
    if len(phrases) != 1 or _of_another_world(prompt, world):
        return figures
    phrase = phrases[0]
    category = torch.tensor(judge.categories.index(phrase.category))
    figures["judge: category"] = float((verdict.category.argmax(1) == category).float().mean())
    if phrase.colour is not None:
        colour = torch.tensor(judge.colours.index(phrase.colour))
        figures["judge: colour"] = float((verdict.colour.argmax(1) == colour).float().mean())
        # A CLIP of another edition cannot read these captions.
        if edition_of(embedded_folder("clip")) is world:
            words, captions = world.vocabulary, world.captions()
            right = captions.index(words.describe(words.plain(phrase.category, phrase.colour)))
            figures["clip r-precision"] = r_precision(clip, images, captions, right=right)
    patterns = load_pattern_judge()
    if phrase.pattern in patterns.patterns:
        pattern = patterns(images).argmax(1) == patterns.patterns.index(phrase.pattern)
        figures["judge: pattern"] = float(pattern.float().mean())
    figures[f"silhouette iou, nearest of {count}"] = silhouette_iou(
        picture.mask > 0.5, phrase, count, world
    )
    if phrase.category in world.has_front:
        figures |= front_figures(asset, judge, light)
    return figures


def _not_judged(prompt: str, world: Edition, things: int) -> str:
    """What of a prompt the judge of a world, which tells of one thing, says nothing about; "" where
    it is asked about all of it."""
    if not prompt:
        return "what it shows: there is no prompt"
    if things > 1:
        return f"what it shows: the prompt names {things} things, the judge knows of one"
    if not things or _of_another_world(prompt, world):
        return f"what it shows: the prompt has words that the judge of world {world.name} lacks"
    strange = ", ".join(f'"{u.word}"' for u in world.vocabulary.unknown(prompt))
    return f"{strange}: the judge of world {world.name} lacks that" if strange else ""


def _of_another_world(prompt: str, world: Edition) -> bool:
    """Whether a prompt has words that a world lacks and another edition has."""
    if not prompt or not world.vocabulary.unknown(prompt):
        return False
    return any(not e.vocabulary.unknown(prompt) for e in EDITIONS if e is not world)


def front_figures(
    asset: Asset, judge: Judge, light: Light | None = None, views: int = 24
) -> dict[str, float]:
    """The Janus index of an asset and how far its main front is from where it belongs, in degrees,
    from the judge's front-likeness over a ring of views; the highest one where no view looks like a
    front."""
    ring = RingCameras(count=views, elevation=15.0).all(64)
    picture = render_asset(asset, ring.view_projection().numpy(), 64, background=0.9, light=light)
    front = judge(torch.from_numpy(picture.image)).view[:, 0]
    azimuth = torch.arange(views) / views * 2 * math.pi
    index = janus_index(front, azimuth)
    if math.isnan(index):
        return {"front-likeness (no front)": float(front.max())}
    turned = abs(math.degrees(front_azimuth(front, azimuth)))
    return {"janus index": index, "front is off by, degrees": turned}


def evaluate(source: Path, prompt: str, truth: Path | None, count: int = 200) -> dict[str, Any]:
    """The measures of a run's asset, or of a mesh file. Raises InputError."""
    path = source / "asset.glb" if source.is_dir() else source
    if not path.is_file():
        raise InputError(
            "there is no asset to evaluate",
            str(path),
            "Give the folder of a finished run, or a mesh file",
        )
    if count < 1:
        raise InputError(f"must be at least 1, got {count}", "--instances")
    if not prompt and (source / "run.yaml").is_file():
        prompt = str(read_yaml(source / "run.yaml").get("prompt", ""))
    asset = Asset.load(path)
    figures = {"asset": str(path), "prompt": prompt, **measure(asset, prompt, count)}
    if truth is not None:
        reference = Asset.load(truth).mesh
        figures.update(compare(asset.mesh, reference))
        matrices = RING.all(128).view_projection().numpy()
        figures["silhouette iou with truth"] = iou(
            silhouette(asset.mesh, matrices, 128), silhouette(reference, matrices, 128)
        )
    return figures
