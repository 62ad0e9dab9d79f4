"""`train`: embedded models, a new word, image-to-3D models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

EXAMPLES = (
    "threestudio-like train toybox --workers 2",
    'threestudio-like train concept --images photos --token "<my-mug>"',
)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the embedded models (all, toybox ...), a new word (concept), or image-to-3D models
    (cisp, voxel-diffusion, g3dr ...). Resumable.

    Values of the configuration of cisp, voxel-diffusion and g3dr are options by their dotted names
    (--model.width, --batch)."""

    what: tyro.conf.Positional[str] = ""
    """all: every embedded model, one after the other. toybox: the text-to-image model, CLIP and the
    judges. concept: writes learned_embeds.safetensors. cisp: the contrastive encoders.
    voxel-diffusion: the generator of shapes under their embeddings. g3dr: the generator of
    triplanes. control: the ControlNet beside the text-to-image model. depth, perceptual, segmenter,
    salient: the embedded depth estimator, perceptual network, segmenter, and the network that finds
    the object of a picture."""
    data: Path | None = None
    """cisp, voxel-diffusion: folder with ShapeNetRendering and ShapeNetVox32. g3dr: folder of
    pictures, each with name.depth.png beside it or without. The toybox by default."""
    world: str = "twenty"
    """The edition of the toybox that is learnt: twenty (that of the shipped weights) or fifty
    (sixty-one categories in life's proportions)."""
    embedding: Literal["cisp", "clip"] = "cisp"
    """cisp, voxel-diffusion: pictures against shapes, or (the twin) against captions."""
    start: Path | None = None
    """Folder of a model to begin from. cisp, voxel-diffusion, g3dr, depth, segmenter, salient: of
    the same sizes (the embedded ones lie in the package's toybox/weights). toybox: a
    text-to-image model; what the new one has beyond it begins at zero."""
    preset: Literal["toybox", "wide", "paper", "large", "quick"] = "toybox"
    """toybox: sizes and schedule of the embedded models. wide: the text-to-image model with eight
    latents instead of four. large: longer and partly wider, for a GPU. paper (cisp,
    voxel-diffusion, g3dr): the released sizes and schedules. quick: a few steps of each, to see
    that all runs through (all: within five minutes); of no use else."""
    quick: bool = False
    """The same as --preset quick."""
    objects: int | None = None
    """cisp, voxel-diffusion, g3dr, depth, perceptual, segmenter, salient: training objects
    (segmenter: scenes) of the toybox; by default 6000, or 16000 with --preset large."""
    only: Literal["all", "vae", "decoder", "diffusion", "larger", "clip", "judge", "patterns"] = (
        "all"
    )
    """toybox: one of the networks (diffusion needs the vae; larger, the second stage for pictures
    of 128 pixels, needs both; decoder goes on with that of the autoencoder of --start, so that
    the latents stay)."""
    also: tuple[str, ...] = ()
    """toybox: what is learnt beside colours at 64 pixels. normals: pictures of normals. 128px: the
    autoencoder sees pictures of 128 pixels."""
    images: Path | None = None
    """concept: folder of pictures of one object; a cameras.json there ({name: {azimuth, elevation,
    background}}) tells where they were taken."""
    token: str = "<concept>"
    """concept: the new word, to be used literally in prompts."""
    word: str = ""
    """concept: a known word to start from."""
    vectors: int = 0
    """concept: tokens that the word stands for (0: one, four on the embedded prior)."""
    prior: str = "toybox"
    """concept: the prior that learns the word."""
    out: Path | None = None
    """Where checkpoints, data and results go (default: a folder of its name below outputs/)."""
    steps: int | None = None
    """Optimiser steps of each network."""
    minutes: float | None = None
    """Time limit of each network; with `all`, of all together."""
    groups: int | None = None
    """toybox: training objects, each seen from four sides; by default 16000, or 48000 with --preset
    large."""
    workers: int = 1
    """Processes that draw objects; on the CPU they also train the diffusion model side by side."""
    seed: int = 0
    """Seed of weights, data and noise."""
    device: str = ""
    """cpu (where nothing is said), cuda, cuda:1 or mps."""
    resume: bool = False
    """Go on from the checkpoints in --out."""
    force: bool = False
    """Replace a trained model of the same name in --out."""
    quiet: bool = False
    """Say nothing but errors."""
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the training's configuration by their dotted names."""


def call(options: Train) -> None:
    """Carry it out."""
    from .jobs.train import train

    train(options)
