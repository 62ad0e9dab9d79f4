"""`train toybox`: the embedded priors from scratch, each resumable, written in the formats of the real ones."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..engine.errors import CheckpointError, ConfigError
from ..engine.loop import Stage
from ..engine.training import train_stage
from .render import LIGHT
from .vocabulary import CATEGORIES, COLOURS, WORDS

STEPS = {"vae": 4200, "decoder": 1300, "diffusion": 4700, "clip": 3900, "judge": 1430, "patterns": 1200}
"""Steps of the shipped weights (the diffusion model with two workers; model cards tell the details)."""

SEEDS = {"train": 0, "validation": 1, "judge": 77, "judge test": 78, "clip": 88, "patterns": 79}
"""World seeds: the judge and CLIP never see the diffusion model's objects."""

CAMERA = {"distance": 3.0, "fov_y": 40.0, "elevation": [-10.0, 45.0], "background": [0.25, 1.0]}


@dataclass
class TrainingOptions:
    """See the `train` verb."""

    only: Literal["all", "vae", "diffusion", "clip", "judge", "patterns"] = "all"
    out: Path = Path("outputs/toybox-training")
    steps: int | None = None
    minutes: float | None = None
    groups: int = 16000
    workers: int = 1
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    quiet: bool = False


def train(options: TrainingOptions) -> Path:
    """Train what the options ask for; returns the folder that holds diffusion/, clip/ and judge/.

    Raises:
        ConfigError, CheckpointError, OutputError.
    """
    if options.steps is not None and options.steps < 1:
        raise ConfigError(f"must be at least 1, got {options.steps}", "--steps")
    if options.groups < 8:
        raise ConfigError(f"must be at least 8, got {options.groups}", "--groups")
    if options.workers < 1:
        raise ConfigError(f"must be at least 1, got {options.workers}", "--workers")
    if options.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ConfigError("this torch sees no CUDA device", "--device", "Use --device cpu")
    wanted = ["vae", "diffusion", "clip", "judge", "patterns"] if options.only == "all" else [options.only]
    for name in wanted:
        {"vae": _vae, "diffusion": _diffusion, "clip": _clip, "judge": _judge, "patterns": _patterns}[name](options)
    return options.out


def _run(options: TrainingOptions, stage: Stage, workers: Any = None) -> None:
    train_stage(options.out, stage, options.seed, options.minutes, options.resume, options.quiet, workers=workers)


def _steps(options: TrainingOptions, name: str) -> int:
    return options.steps or STEPS[name]


def _data(
    options: TrainingOptions,
    seed: str,
    count: int,
    scenes: float = 0.0,
    split: str = "train",
    every_pair: bool = False,
    patterned: bool = False,
) -> Any:
    from .dataset import cached_groups

    return cached_groups(
        options.out / "work" / "data",
        SEEDS[seed] + 1000 * options.seed,
        count,
        64,
        split,
        scenes,
        every_pair,
        patterned,
    )


def _vae(options: TrainingOptions) -> None:
    import torch

    from .train_vae import build_vae, decoder_stage, normalise_latents, reconstruction_psnr, save_vae, vae_stage

    torch.manual_seed(options.seed)
    data = _data(options, "train", options.groups, 0.12)
    vae = build_vae()
    _run(options, vae_stage(vae, data, _steps(options, "vae"), device=options.device))
    vae.eval().float()
    images = (
        torch.from_numpy(data.images[:256].copy()).flatten(0, 1).permute(0, 3, 1, 2).to(options.device).float() / 127.5
        - 1
    )
    normalise_latents(vae, images)
    save_vae(vae, options.out / "diffusion")
    (options.out / "work" / "latents.safetensors").unlink(missing_ok=True)
    latents = _latents(options, data)
    _run(options, decoder_stage(vae, data, latents, _steps(options, "decoder"), device=options.device))
    vae.eval()
    save_vae(vae, options.out / "diffusion")
    figures = reconstruction_psnr(
        vae, _data(options, "validation", min(100, options.groups), split="validation"), options.device
    )
    _say(options, "vae", figures)


def _latents(options: TrainingOptions, data: Any) -> Any:
    """Latents of the training pictures, made once."""
    from safetensors.torch import load_file, save_file

    from .train_vae import encode_all

    path = options.out / "work" / "latents.safetensors"
    if path.is_file():
        latents = load_file(str(path))["latents"]
        if len(latents) == 4 * len(data):
            return latents
    from diffusers import AutoencoderKL

    folder = options.out / "diffusion" / "vae"
    if not folder.is_dir():
        raise CheckpointError(
            "there is no trained autoencoder", str(folder), "First: threestudio-like train toybox --only vae"
        )
    vae = AutoencoderKL.from_pretrained(folder).float().eval().to(options.device)
    latents = encode_all(vae, data.images[:].reshape(-1, *data.images.shape[2:]), options.device)
    save_file({"latents": latents.contiguous()}, str(path))
    return latents


def _diffusion(options: TrainingOptions) -> None:
    data = _data(options, "train", options.groups, 0.12)
    _latents(options, data)
    if options.workers == 1:
        _diffusion_worker(0, options, "")
        return
    import torch.multiprocessing as mp

    meeting = Path(tempfile.mkdtemp()) / "meeting"
    try:
        mp.start_processes(_diffusion_worker, (options, str(meeting)), nprocs=options.workers, start_method="spawn")
    finally:
        shutil.rmtree(meeting.parent, ignore_errors=True)


def _diffusion_worker(rank: int, options: TrainingOptions, meeting: str) -> None:
    import torch

    from ..engine.parallel import Workers
    from .train_diffusion import build_text_encoder, build_tokenizer, build_unet, diffusion_stage, save_pipeline

    workers = None
    if options.workers > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // options.workers))
        workers = Workers(rank, options.workers, Path(meeting))
    torch.manual_seed(options.seed)
    data = _data(options, "train", options.groups, 0.12)
    tokenizer = build_tokenizer()
    text_encoder, unet = build_text_encoder(tokenizer), build_unet()
    groups = 256 if options.device.startswith("cuda") else min(12, len(data))
    stage = diffusion_stage(
        unet,
        text_encoder,
        tokenizer,
        _latents(options, data),
        data,
        _steps(options, "diffusion"),
        groups,
        options.device,
    )
    _run(options, stage, workers)
    if rank == 0:
        averages: Any = stage.modules["ema"]
        averages["unet"].copy_to(unet)
        averages["text"].copy_to(text_encoder)
        folder = options.out / "diffusion"
        save_pipeline(folder, unet.cpu(), text_encoder.cpu(), tokenizer)
        write_facts(folder)
    if workers is not None:
        workers.close()


def write_facts(folder: Path) -> None:
    """prior.json: what the loading code cannot read from the networks' configurations."""
    import json

    facts = {
        "camera": CAMERA,
        "light": LIGHT,
        "joint_views": 4,
        "vocabulary": list(WORDS),
        "licence": "Apache-2.0",
        "territory": "worldwide",
    }
    (folder / "prior.json").write_text(json.dumps(facts, indent=1))


def _clip(options: TrainingOptions) -> None:
    import torch

    from .train_clip import build_clip, clip_stage, save_clip
    from .train_diffusion import build_tokenizer

    torch.manual_seed(options.seed + 1)
    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer)
    _run(
        options,
        clip_stage(
            clip,
            tokenizer,
            _data(options, "clip", min(6000, options.groups), 0.1, every_pair=True),
            _steps(options, "clip"),
        ),
    )
    save_clip(clip.eval(), tokenizer, options.out / "clip")


def _judge(options: TrainingOptions) -> None:
    import torch

    from ..metrics.judge import Judge
    from .train_judge import judge_accuracy, judge_stage

    torch.manual_seed(options.seed + 2)
    judge = Judge(list(CATEGORIES), list(COLOURS))
    _run(
        options,
        judge_stage(
            judge, _data(options, "judge", min(5000, options.groups), every_pair=True), _steps(options, "judge")
        ),
    )
    judge.save(options.out / "judge")
    _say(options, "judge", judge_accuracy(judge, _data(options, "judge test", min(400, options.groups), split="test")))


def _patterns(options: TrainingOptions) -> None:
    import torch

    from ..metrics.judge import PatternJudge
    from .train_judge import pattern_accuracy, pattern_stage

    torch.manual_seed(options.seed + 3)
    judge = PatternJudge()
    data = _data(options, "patterns", min(5000, options.groups), every_pair=True, patterned=True)
    _run(options, pattern_stage(judge, data, _steps(options, "patterns")))
    judge.save(options.out / "judge")
    test = _data(options, "judge test", min(400, options.groups), split="test", every_pair=True, patterned=True)
    _say(options, "patterns", pattern_accuracy(judge, test))


def _say(options: TrainingOptions, name: str, figures: dict[str, float]) -> None:
    if not options.quiet:
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
