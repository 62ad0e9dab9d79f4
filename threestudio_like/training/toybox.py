"""`train toybox`: the embedded text-to-image model, CLIP and the judges. Each can be resumed, and
is written in the format of the real ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine.errors import CheckpointError
from ..engine.output import own_folder, write_file
from ..kernels.devices import is_main
from ..toybox.edition import Edition
from ..toybox.render import LIGHT
from .options import TrainingOptions, claim, note_world, run, say, toybox_only
from .recipes import Recipe, recipe

SEEDS = {"train": 0, "validation": 1, "judge": 77, "judge test": 78, "clip": 88, "patterns": 79}
"""World seeds: the judge and CLIP never see the diffusion model's objects."""

CAMERA = {"distance": 3.0, "fov_y": 40.0, "elevation": [-10.0, 45.0], "background": [0.25, 1.0]}


def train(options: TrainingOptions) -> Path:
    """Train what the options select; returns the folder that contains diffusion/, clip/ and judge/.

    Raises: ConfigError, CheckpointError, OutputError.
    """
    toybox_only(options)
    # An unknown preset is refused before anything is drawn.
    recipe(options.preset, "vae")
    from transformers.utils import logging

    logging.disable_progress_bar()
    wanted = [name for name in NETWORKS if options.only in ("all", name)]
    claim(options, *(file for name in wanted for file in MAKES[name]))
    for name in wanted:
        NETWORKS[name](options)
    return options.out


def _recipe(options: TrainingOptions, name: str) -> tuple[Recipe, int]:
    """The recipe of a network, with its number of steps unless the user gave one."""
    found = recipe(options.preset, name)
    return found, options.steps or found.steps


def drawn_groups(
    options: TrainingOptions,
    seed: str,
    count: int,
    scenes: float = 0.0,
    split: str = "train",
    every_pair: bool = False,
    patterned: bool = False,
) -> Any:
    """Groups of a world, `SEEDS`, stored in the training's folder."""
    from ..toybox.dataset import cached_groups

    return cached_groups(
        options.drawn,
        SEEDS[seed] + 1000 * options.seed,
        count,
        size=64,
        split=split,
        scenes=scenes,
        every_pair=every_pair,
        patterned=patterned,
        workers=options.workers,
        world=options.world,
    )


def _vae(options: TrainingOptions) -> None:
    import torch

    from .vae import (
        build_vae,
        decoder_stage,
        normalise_latents,
        reconstruction_psnr,
        save_vae,
        vae_stage,
    )

    torch.manual_seed(options.seed)
    data = drawn_groups(options, "train", options.group_count, scenes=0.12)
    size, steps = _recipe(options, "vae")
    vae = build_vae(size.widths)
    run(options, vae_stage(vae, data, steps, batch=size.batch))
    vae.eval().float()
    images = (
        torch.from_numpy(data.images[:256].copy()).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5
        - 1
    )
    normalise_latents(vae, images)
    save_vae(vae, options.out / "diffusion")
    (options.out / "work" / "latents.safetensors").unlink(missing_ok=True)
    latents = _latents(options, data)
    size, steps = _recipe(options, "decoder")
    run(options, decoder_stage(vae, data, latents, steps=steps, batch=size.batch))
    vae.eval()
    save_vae(vae, options.out / "diffusion")
    held_out = drawn_groups(
        options, "validation", min(100, options.group_count), split="validation"
    )
    say(options, "vae", reconstruction_psnr(vae, held_out))


def _latents(options: TrainingOptions, data: Any) -> Any:
    """Latents of the training pictures, which are computed once."""
    from safetensors.torch import load_file, save

    from .vae import encode_all

    path = options.out / "work" / "latents.safetensors"
    if path.is_file():
        latents = load_file(str(path))["latents"]
        if len(latents) == 4 * len(data):
            return latents
    from diffusers import AutoencoderKL

    folder = options.out / "diffusion" / "vae"
    if not folder.is_dir():
        raise CheckpointError(
            "there is no trained autoencoder",
            str(folder),
            "First: threestudio-like train toybox --only vae",
        )
    vae = AutoencoderKL.from_pretrained(folder).float().eval().to(options.device)
    latents = encode_all(vae, data.images[:].reshape(-1, *data.images.shape[2:]))
    write_file(path, save({"latents": latents.contiguous()}))
    return latents


def _diffusion(options: TrainingOptions) -> None:
    data = drawn_groups(options, "train", options.group_count, scenes=0.12)
    _latents(options, data)
    if options.workers == 1 or not is_main(options.device):
        _diffusion_worker(0, options, "", world=1)
        return
    import torch.multiprocessing as mp

    meeting = Path(tempfile.mkdtemp()) / "meeting"
    try:
        mp.start_processes(
            _diffusion_worker,
            (options, str(meeting), options.workers),
            nprocs=options.workers,
            start_method="spawn",
        )
    finally:
        shutil.rmtree(meeting.parent, ignore_errors=True)


def _diffusion_worker(rank: int, options: TrainingOptions, meeting: str, world: int) -> None:
    import torch

    from ..engine.parallel import ProcessGroup
    from .diffusion import (
        build_text_encoder,
        build_tokenizer,
        build_unet,
        diffusion_stage,
        save_pipeline,
    )

    workers = None
    if world > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // world))
        workers = ProcessGroup(rank, world, Path(meeting))
    torch.manual_seed(options.seed)
    data = drawn_groups(options, "train", options.group_count, scenes=0.12)
    tokenizer = build_tokenizer(options.edition.vocabulary.words)
    size, steps = _recipe(options, "diffusion")
    text_encoder, unet = build_text_encoder(tokenizer), build_unet(size.widths)  # type: ignore[arg-type]
    groups = min(size.batch, len(data))
    stage = diffusion_stage(
        unet,
        text_encoder,
        tokenizer,
        latents=_latents(options, data),
        data=data,
        steps=steps,
        groups=groups,
    )
    run(options, stage, workers=workers)
    if rank == 0:
        averages: Any = stage.modules["ema"]
        averages["unet"].copy_to(unet)
        averages["text"].copy_to(text_encoder)
        folder = options.out / "diffusion"
        # This process may not be the one that started the training.
        own_folder(folder)
        save_pipeline(folder, unet, text_encoder, tokenizer=tokenizer)
        write_facts(folder, options.edition)
    if workers is not None:
        workers.close()


def write_facts(folder: Path, world: Edition) -> None:
    """Write prior.json with the properties that the loading code cannot read from the networks'
    configurations."""
    import json

    facts = {
        "camera": CAMERA,
        "light": LIGHT,
        "joint_views": 4,
        "vocabulary": list(world.vocabulary.words),
        "world": world.name,
        "licence": "Apache-2.0",
        "territory": "worldwide",
    }
    write_file(folder / "prior.json", json.dumps(facts, indent=1).encode())


def _clip(options: TrainingOptions) -> None:
    import torch

    from .clip import build_clip, clip_stage, save_clip
    from .diffusion import build_tokenizer

    torch.manual_seed(options.seed + 1)
    tokenizer = build_tokenizer(options.edition.vocabulary.words)
    size, steps = _recipe(options, "clip")
    clip = build_clip(tokenizer, *size.widths)
    data = drawn_groups(options, "clip", _fewer(options, 6000), scenes=0.1, every_pair=True)
    run(options, clip_stage(clip, tokenizer, data, steps=steps, batch=size.batch))
    save_clip(clip.eval(), tokenizer, options.out / "clip")
    note_world(options, options.out / "clip")


def _fewer(options: TrainingOptions, count: int) -> int:
    """Groups for a network that needs only `count` of the shipped recipe's."""
    return min(
        options.group_count,
        count * recipe(options.preset, "judge").batch // recipe("toybox", "judge").batch,
    )


def _judge(options: TrainingOptions) -> None:
    import torch

    from ..metrics.judge import Judge
    from .judge import judge_accuracy, judge_stage

    torch.manual_seed(options.seed + 2)
    size, steps = _recipe(options, "judge")
    judge = Judge(
        list(options.edition.vocabulary.categories),
        list(options.edition.vocabulary.colours),
        size.widths[0] if size.widths else 24,
        world=options.world,
    )
    run(
        options,
        judge_stage(
            judge,
            drawn_groups(options, "judge", _fewer(options, 5000), every_pair=True),
            steps,
            batch=size.batch,
        ),
    )
    judge.save(options.out / "judge")
    note_world(options, options.out / "judge")
    say(
        options,
        "judge",
        judge_accuracy(
            judge, drawn_groups(options, "judge test", min(400, options.group_count), split="test")
        ),
    )


def _patterns(options: TrainingOptions) -> None:
    import torch

    from ..metrics.judge import PatternJudge
    from .judge import pattern_accuracy, pattern_stage

    torch.manual_seed(options.seed + 3)
    size, steps = _recipe(options, "patterns")
    judge = PatternJudge(size.widths[0], tuple(options.edition.patterns), options.world)
    data = drawn_groups(options, "patterns", _fewer(options, 5000), every_pair=True, patterned=True)
    run(options, pattern_stage(judge, data, steps, batch=size.batch))
    judge.save(options.out / "judge")
    note_world(options, options.out / "judge")
    test = drawn_groups(
        options,
        "judge test",
        min(400, options.group_count),
        split="test",
        every_pair=True,
        patterned=True,
    )
    say(options, "patterns", pattern_accuracy(judge, test))


def _larger(options: TrainingOptions) -> None:
    from .larger import train_larger

    train_larger(options)


NETWORKS: dict[str, Callable[[TrainingOptions], None]] = {
    "vae": _vae,
    "diffusion": _diffusion,
    "larger": _larger,
    "clip": _clip,
    "judge": _judge,
    "patterns": _patterns,
}
"""The networks in the order in which they depend on each other."""
PIPELINE = ("unet", "text_encoder", "tokenizer", "scheduler", "model_index.json", "prior.json")
MAKES: dict[str, tuple[str, ...]] = {
    "vae": ("diffusion/vae",),
    "diffusion": tuple(f"diffusion/{name}" for name in PIPELINE),
    "larger": ("diffusion/unet_128",),
    "clip": ("clip",),
    "judge": ("judge/model.safetensors", "judge/config.json"),
    "patterns": ("judge/patterns.safetensors",),
}
"""The files and folders that each network writes."""
