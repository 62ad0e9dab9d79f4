"""`train cisp`, `voxel-diffusion`, `depth`, `perceptual` and `segmenter` on the toybox, the first
two also on the user's own data; all can be resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..engine.config import set_dotted, to_dict
from ..engine.errors import ConfigError, ModelError
from ..engine.output import new_folder, write_file
from ..priors.data.pairs import PairSource, ShapeNetPairs
from ..priors.networks.contrastive import Contrastive
from ..priors.text.tokens import tokenizer_of
from ..priors.voxel_diffusion import VoxelDiffusion
from ..toybox.editions import DEFAULT
from ..toybox.pairs import VIEWS, ToyPairs
from .contrastive import BatchSource, ContrastiveTraining, contrastive_stage, retrieval
from .depth import build_depth, depth_accuracy, depth_stage, save_depth, start_depth
from .depth_pictures import depth_pictures
from .options import (
    TrainingOptions,
    begin,
    check,
    claim,
    note_world,
    report,
    run,
    toybox_only,
)
from .perceptual import build_perceptual, calibrate, perceptual_figures, perceptual_stage
from .recipes import recipe
from .segmenter import (
    build_segmenter,
    save_segmenter,
    scene_pictures,
    segmenter_accuracy,
    segmenter_stage,
)
from .text_to_image.diffusion import edition_tokenizer
from .voxel_diffusion import EmbeddedPairs, VoxelTraining, voxel_stage


def sources(options: TrainingOptions) -> tuple[PairSource, PairSource]:
    """Training objects and held-out objects."""
    if options.data is not None:
        return ShapeNetPairs(options.data, "train"), ShapeNetPairs(options.data, "test")
    train = options.objects_of("train", ToyPairs)
    test = options.objects_of("test", ToyPairs, 400)
    return train, test


def tokenizer_for(options: TrainingOptions) -> Any:
    """The tokenizer of the embedded models, or of the edition that is learnt."""
    if options.data is not None or options.edition is DEFAULT:
        return tokenizer_of()
    return edition_tokenizer(options.edition)


def contrastive_config(options: TrainingOptions) -> ContrastiveTraining:
    """The configuration of `train cisp`. --embedding clip changes only the entry model.against (and
    sets the properties of the tokenizer)."""
    config = ContrastiveTraining.of(options.preset)
    against: Literal["shape", "text"] = "shape" if options.embedding == "cisp" else "text"
    config = replace(config, model=replace(config.model, against=against))
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    for key, text in options.set.items():
        config = set_dotted(config, key, text)
    return config


def train_contrastive(options: TrainingOptions) -> dict[str, float]:
    """Train CISP (or its CLIP baseline), write the model's folder, and return its retrieval figures
    on held-out objects.

    Raises: ConfigError, InputError, CheckpointError, OutputError.
    """
    check(options)
    config = contrastive_config(options)
    claim(options, options.embedding)
    tokenizer = None
    if config.model.against == "text":
        tokenizer = tokenizer_for(options)
        words = replace(config.model.text, vocabulary=len(tokenizer), end=tokenizer.eos_token_id)
        config = replace(config, model=replace(config.model, text=words))
    if config.locked and (options.start is None or config.read_out != "0"):
        raise ConfigError(
            "a locked encoder has to know something already, and reads nothing out",
            "--locked",
            "Add --start, and --read_out 0",
        )
    train, test = sources(options)
    torch.manual_seed(options.seed)
    model = Contrastive(config.model)
    if options.start is not None:
        begin(model, Contrastive.load(options.start), options.start)
    stage = contrastive_stage(options.embedding, model, BatchSource(train, config, tokenizer))
    run(options, stage, {"config": to_dict(config)})
    model.eval()
    folder = options.out / options.embedding
    model.save(folder)
    if tokenizer is not None:
        with new_folder(folder) as made:
            tokenizer.save_pretrained(made)
    note_world(options, folder)
    figures = retrieval(model, BatchSource(test, config, tokenizer))
    return report(options, options.embedding, figures)


def voxel_config(options: TrainingOptions) -> VoxelTraining:
    """The configuration of `train voxel-diffusion`."""
    config = VoxelTraining.of(options.preset, options.embedding)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    for key, text in options.set.items():
        config = set_dotted(config, key, text)
    return config


def train_voxels(options: TrainingOptions) -> Path:
    """Train the voxel diffusion model on the embeddings of out/cisp or out/clip, and write
    out/voxels-cisp or out/voxels-clip.

    Raises: ConfigError, InputError, ModelError, CheckpointError, OutputError.
    """
    check(options)
    claim(options, f"voxels-{options.embedding}")
    folder = options.out / options.embedding
    if not folder.is_dir():
        raise ModelError(
            "there is no encoder yet",
            str(folder),
            f"First: threestudio-like train cisp --embedding {options.embedding}",
        )
    embedder = Contrastive.load(folder).to(options.device)
    config = voxel_config(options)
    train, _ = sources(options)
    unet = replace(
        config.model.unet,
        embedding=embedder.width,
        classes=len(train.categories) if config.model.unet.classes else 0,
    )
    config = replace(config, model=replace(config.model, unet=unet))
    views = VIEWS if options.data is None else 8
    data = EmbeddedPairs(
        train,
        embedder,
        options.out / "work" / f"embeddings-{options.embedding}.safetensors",
        views=views,
        size=embedder.config.image.size,
    )
    torch.manual_seed(options.seed)
    model = VoxelDiffusion(config.model)
    if options.start is not None:
        other = VoxelDiffusion.load(options.start)
        rows = class_rows(model, other, options.start, train.categories)
        begin(model, other, options.start, rows)
    stage = voxel_stage(f"voxels-{options.embedding}", model, config, data=data)
    run(options, stage, {"config": to_dict(config)})
    stage.modules["ema"].copy_to(model.unet)  # type: ignore[operator]
    target = options.out / f"voxels-{options.embedding}"
    model.eval().save(target)
    write_file(target / "categories.json", json.dumps(train.categories).encode())
    note_world(options, target)
    return target


def class_rows(
    model: VoxelDiffusion, other: VoxelDiffusion, folder: Path, categories: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The table of classes that a model begins with, where the one that it goes on from, of a
    folder, knows other categories: the rows of those that both know are the other's, and the rest
    are learnt from the start. Empty where nothing says which rows those are."""
    key, there = "unet.class_table.weight", folder / "categories.json"
    own, old = model.state_dict().get(key), other.state_dict().get(key)
    if own is None or old is None or not there.is_file():
        return {}
    try:
        names = json.loads(there.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    if names == list(categories) or len(names) != len(old) or own.shape[1] != old.shape[1]:
        return {}
    rows = own.clone()
    for row, name in enumerate(categories):
        if name in names:
            rows[row] = old[names.index(name)]
    return {key: rows}


def _places(options: TrainingOptions) -> dict[str, float]:
    """Where held-out pictures are taken, as the names of figures say it, with the share of rooms:
    before plain backgrounds, and in rooms too where the edition has them."""
    return {"": 0.0, ", in rooms": 1.0} if options.edition.rooms else {"": 0.0}


def train_depth(options: TrainingOptions) -> dict[str, float]:
    """Train the embedded depth estimator; writes out/depth as a transformers folder, returns its
    figures on held-out objects.

    Raises:
        ConfigError, CheckpointError, OutputError.
    """
    toybox_only(options)
    claim(options, "depth")
    data = options.objects_of("train", depth_pictures, rooms=options.edition.rooms)
    torch.manual_seed(options.seed)
    if options.start is None:
        size, rate = recipe(options.preset, "depth"), 1e-3
        model = build_depth(*size.widths)
    else:
        # What has been learnt is not torn up by steps that are right for random weights.
        size, rate = recipe(options.preset, "depth, begun"), 6e-4
        model = start_depth(options.start)
    stage = depth_stage(model, data, options.steps or size.steps, batch=size.batch, rate=rate)
    run(options, stage)
    figures: dict[str, float] = {}
    for place, rooms in _places(options).items():
        held_out = options.objects_of("test", depth_pictures, 400, rooms=rooms)
        figures |= {k + place: v for k, v in depth_accuracy(model, held_out).items()}
    save_depth(model.eval(), options.out / "depth")
    note_world(options, options.out / "depth")
    return report(options, "depth", figures)


def train_perceptual(options: TrainingOptions) -> dict[str, float]:
    """Train the embedded perceptual network; writes out/perceptual, returns its figures on held-out
    objects.

    Raises:
        ConfigError, CheckpointError, OutputError.
    """
    toybox_only(options)
    claim(options, "perceptual")
    train = options.objects_of("train", ToyPairs)
    torch.manual_seed(options.seed)
    size = recipe(options.preset, "perceptual")
    words = options.edition.vocabulary
    model = build_perceptual(words, *size.widths)
    stage = perceptual_stage(model, train, words, options.steps or size.steps, batch=size.batch)
    run(options, stage)
    test = options.objects_of("test", ToyPairs, 400)
    calibrate(model.eval(), train)
    figures = perceptual_figures(model, test, words)
    model.save(options.out / "perceptual")
    note_world(options, options.out / "perceptual")
    return report(options, "perceptual", figures)


def train_segmenter(options: TrainingOptions) -> dict[str, float]:
    """Train the embedded segmenter; writes out/segmenter as a transformers folder, returns its
    figures on held-out scenes.

    Raises:
        ConfigError, CheckpointError, OutputError.
    """
    toybox_only(options)
    claim(options, "segmenter")
    data = options.objects_of("train", scene_pictures, rooms=options.edition.rooms)
    torch.manual_seed(options.seed)
    size = recipe(options.preset, "segmenter")
    model = build_segmenter(*size.widths)
    if options.start is not None:
        begin(model, type(model).from_pretrained(options.start), options.start)
    stage = segmenter_stage(model, data, options.steps or size.steps, batch=size.batch)
    run(options, stage)
    figures: dict[str, float] = {}
    for place, rooms in _places(options).items():
        held_out = options.objects_of("test", scene_pictures, 200, rooms=rooms)
        figures |= {k + place: v for k, v in segmenter_accuracy(model.eval(), held_out).items()}
    save_segmenter(model, options.out / "segmenter")
    note_world(options, options.out / "segmenter")
    return report(options, "segmenter", figures)
