"""`train toybox`: the embedded text-to-image model, CLIP and the judges. Each can be resumed, and
is written in the format of the real ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine.errors import ConfigError
from ..engine.output import own_folder, write_file
from ..kernels.devices import is_main
from ..toybox.edition import Edition
from ..toybox.render import LIGHT
from .options import TrainingOptions, claim, note_world, run, say, toybox_only
from .recipes import Recipe, recipe
from .text_to_image.drawn import (
    drawn_groups,
    known_latents,
    known_sources,
    larger_groups,
    loaded,
    some_pictures,
    training_groups,
)

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
    wanted = (
        [name for name in NETWORKS if name not in ALONE]
        if options.only == "all"
        else [options.only]
    )
    claim(options, *(file for name in wanted for file in MAKES[name]))
    for name in wanted:
        NETWORKS[name](options)
    return options.out


def _recipe(options: TrainingOptions, name: str) -> tuple[Recipe, int]:
    """The recipe of a network, with its number of steps unless the user gave one."""
    found = recipe(options.preset, name)
    return found, options.steps or found.steps


def _vae(options: TrainingOptions) -> None:
    import torch

    from .text_to_image.vae import build_vae, normalise_latents, save_vae, vae_stage

    torch.manual_seed(options.seed)
    data, larger = training_groups(options), larger_groups(options)
    size, steps = _recipe(options, "vae")
    vae = build_vae(size.widths, size.latents)
    images = some_pictures(data)
    if options.start is not None:
        _begin_vae(vae, options.start, images)
    run(options, vae_stage(vae, data, steps, batch=size.batch, larger=larger))
    vae.eval().float()
    normalise_latents(vae, images)
    save_vae(vae, options.out / "diffusion")
    (options.out / "work" / "latents.safetensors").unlink(missing_ok=True)
    _finish_decoder(options, vae, data, larger)


def _decoder(options: TrainingOptions) -> None:
    """The decoder alone, of the model to begin from: the latents stay, and so does all that was
    trained on them."""
    import torch

    from .text_to_image.vae import save_vae

    if options.start is None:
        raise ConfigError(
            "goes on with that of a model", "--only decoder", "Say which: --start FOLDER"
        )
    torch.manual_seed(options.seed)
    vae = loaded("AutoencoderKL", options.start / "vae").eval()
    save_vae(vae, options.out / "diffusion")
    _finish_decoder(options, vae, training_groups(options), larger_groups(options))


def _finish_decoder(options: TrainingOptions, vae: Any, data: Any, larger: Any) -> None:
    """Train the decoder of an autoencoder whose encoder stays, write it, and say how well it
    does on held-out pictures."""
    from .text_to_image.vae import decoder_stage, reconstruction_psnr, save_vae

    kinds = known_sources(options, data, larger)
    size, steps = _recipe(options, "decoder")
    # What has been learnt is not torn up by steps that are right for random weights.
    lr = 1e-3 if options.start is None else 5e-4
    run(options, decoder_stage(vae, kinds, steps=steps, batch=size.batch, lr=lr))
    vae.eval()
    save_vae(vae, options.out / "diffusion")
    held_out = drawn_groups(
        options,
        "validation",
        min(100, options.group_count),
        split="validation",
        normals="normals" in options.also,
    )
    for name, pictures in (("vae", held_out.images), ("vae of normals", held_out.normals)):
        if pictures is not None:
            say(options, name, reconstruction_psnr(vae, replace(held_out, images=pictures)))


def _begin_vae(vae: Any, start: Path, images: Any) -> None:
    """Begin an autoencoder from that of a folder; its first latents follow the colours again."""
    from .text_to_image.growth import grow_vae
    from .text_to_image.vae import pin_latents

    grow_vae(vae, loaded("AutoencoderKL", start / "vae"), start)
    pin_latents(vae.eval(), images)
    vae.train()


def _diffusion(options: TrainingOptions) -> None:
    data = training_groups(options)
    known_latents(options, data)
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
    from .text_to_image.diffusion import (
        FIRST_CAMERA_VECTOR,
        TWO_DOMAINS,
        build_text_encoder,
        build_unet,
        diffusion_stage,
        edition_tokenizer,
        save_pipeline,
    )

    workers = None
    if world > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // world))
        workers = ProcessGroup(rank, world, Path(meeting))
    torch.manual_seed(options.seed)
    data = training_groups(options)
    tokenizer = edition_tokenizer(options.edition)
    size, steps = _recipe(options, "diffusion")
    latents = known_latents(options, data)
    camera = FIRST_CAMERA_VECTOR if data.normals is None else TWO_DOMAINS
    text_encoder = build_text_encoder(tokenizer)
    unet = build_unet(
        size.widths,  # type: ignore[arg-type]
        latents=latents["latents"].shape[1],
        numbers=len(camera),
    )
    if options.start is not None:
        _begin_diffusion(unet, text_encoder, tokenizer, options.start)
    groups = min(size.batch, len(data))
    stage = diffusion_stage(
        unet,
        text_encoder,
        tokenizer,
        latents=latents["latents"],
        data=data,
        steps=steps,
        groups=groups,
        lr=1e-3 if options.start is None else 5e-4,
        normals=latents.get("normals"),
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
        write_facts(folder, options.edition, None if data.normals is None else TWO_DOMAINS)
    if workers is not None:
        workers.close()


def _begin_diffusion(unet: Any, text_encoder: Any, tokenizer: Any, start: Path) -> None:
    """Begin a denoiser and its text encoder from those of a folder."""
    from .text_to_image.growth import grow_text_encoder, grow_unet

    grow_unet(unet, loaded("UNet2DConditionModel", start / "unet"), start)
    before = loaded("CLIPTextModel", start / "text_encoder")
    known = loaded("CLIPTokenizer", start / "tokenizer")
    grow_text_encoder(text_encoder, tokenizer, before, known)


def write_facts(folder: Path, world: Edition, numbers: tuple[str, ...] | None = None) -> None:
    """Write prior.json with the properties that the loading code cannot read from the networks'
    configurations.

    Args:
        numbers: the camera vector of a model of colours and normals.
    """
    import json

    domains: dict[str, Any] = {}
    if numbers is not None:
        domains = {"camera_vector": list(numbers), "normals": {"space": "world"}}
    facts = {
        "camera": CAMERA,
        **domains,
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
    from .text_to_image.diffusion import edition_tokenizer

    torch.manual_seed(options.seed + 1)
    tokenizer = edition_tokenizer(options.edition)
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
    from .text_to_image.larger import train_larger

    train_larger(options)


NETWORKS: dict[str, Callable[[TrainingOptions], None]] = {
    "vae": _vae,
    "decoder": _decoder,
    "diffusion": _diffusion,
    "larger": _larger,
    "clip": _clip,
    "judge": _judge,
    "patterns": _patterns,
}
"""The networks in the order in which they depend on each other."""
ALONE = ("decoder",)
"""Trained only where they are asked for: `vae` trains its decoder itself."""
PIPELINE = ("unet", "text_encoder", "tokenizer", "scheduler", "model_index.json", "prior.json")
MAKES: dict[str, tuple[str, ...]] = {
    "vae": ("diffusion/vae",),
    "decoder": ("diffusion/vae",),
    "diffusion": tuple(f"diffusion/{name}" for name in PIPELINE),
    "larger": ("diffusion/unet_128",),
    "clip": ("clip",),
    "judge": ("judge/model.safetensors", "judge/config.json"),
    "patterns": ("judge/patterns.safetensors",),
}
"""The files and folders that each network writes."""
