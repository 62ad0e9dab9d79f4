"""`train concept`: textual inversion (Gal et al. 2022), which learns one new word from a few
pictures while everything else is frozen."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn

from ..engine.errors import CheckpointError, ConfigError, InputError, ModelError
from ..engine.events import Events
from ..engine.loop import CHECKPOINT, Loop, LoopSettings, ParameterGroup, Stage, StagePlan, Step
from ..engine.output import own_folder, write_file
from ..guidance.prompts import view_direction
from ..kernels import devices
from ..meshes.io.images import decode
from ..priors.diffusion import PLAIN_CAMERAS, Condition
from ..priors.families.detection import load_folder
from ..priors.registry import resolve
from ..priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from ..renderers import Cameras
from ..toybox.editions import edition

TEMPLATES = ("a {}", "the {}", "{}")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MOST_PICTURES = 1000


@dataclass(frozen=True, kw_only=True)
class ConceptOptions:
    """The options of `train concept`; see `commands.train`."""

    images: Path | None = None
    token: str = "<concept>"
    word: str = ""
    prior: str = "toybox"
    out: Path | None = None
    steps: int = 400
    minutes: float | None = None
    seed: int = 0
    device: str = devices.MAIN
    resume: bool = False
    quiet: bool = False
    force: bool = False
    vectors: int = 0
    """Number of tokens that the word stands for; 0 means one for open priors (METHODS 1.12) and
    four for the embedded prior."""
    lr: str = "1e-2->1e-3"
    batch: int = 8


@dataclass
class ConceptPictures:
    """Pictures (N, S, S, 3) in [0, 1], with the cameras and the grey level of the background (N,)
    of each if they are known."""

    pictures: torch.Tensor
    cameras: Cameras | None
    background: torch.Tensor | None


def read_pictures(folder: Path, size: int, distance: float, fov_y: float) -> ConceptPictures:
    """Read the pictures of a folder, resized to size x size, and cameras.json if there is one.

    Args:
        distance, fov_y: of the cameras, in scene units and degrees. cameras.json gives azimuth and
            elevation in degrees, and a grey level.

    Raises:
        InputError: the folder or a picture cannot be used.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such folder",
            str(folder),
            "Give the folder of the concept's pictures with --images",
        )
    names = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not names:
        raise InputError(
            "contains no pictures", str(folder), f"Put some there: {', '.join(PICTURES)}"
        )
    if len(names) > MOST_PICTURES:
        raise InputError(
            f"holds {len(names)} pictures, at most {MOST_PICTURES} are read",
            str(folder),
            "A few are enough",
        )
    pictures = []
    for path in names:
        pixels = (
            torch.from_numpy(decode(path.read_bytes(), str(path))[..., :3].copy()).float() / 255
        )
        edge = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - edge) // 2, (pixels.shape[1] - edge) // 2
        square = pixels[top : top + edge, left : left + edge].permute(2, 0, 1)[None]
        pictures.append(
            F.interpolate(
                square, (size, size), mode="bilinear", align_corners=False, antialias=edge > size
            )[0]
        )
    stack = torch.stack(pictures).permute(0, 2, 3, 1)
    file = folder / "cameras.json"
    if not file.is_file():
        return ConceptPictures(stack, None, None)
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            [float(table[p.name][k]) for k in ("azimuth", "elevation", "background")] for p in names
        ]
        numbers = torch.tensor(rows)
        if not bool(numbers.isfinite().all()):
            raise ValueError
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "does not tell azimuth, elevation and background of every picture "
            f"({type(error).__name__})",
            str(file),
            "Complete it, or remove it",
        ) from None
    cameras = Cameras.orbit(
        torch.deg2rad(numbers[:, 0]),
        torch.deg2rad(numbers[:, 1]),
        distance,
        fov_y=math.radians(fov_y),
        height=size,
        width=size,
    )
    return ConceptPictures(stack, cameras, numbers[:, 2])


class Word(nn.Module):
    """The vectors (N, D) that are learned."""

    def __init__(self, start: torch.Tensor) -> None:
        super().__init__()
        self.vector = nn.Parameter(start.clone())


def concept_stage(
    prior: StableDiffusionPrior, word: Word, data: ConceptPictures, options: ConceptOptions
) -> Stage:
    """The denoising loss on the pictures with prompts that contain the token. Only the token's
    vectors change."""
    with torch.no_grad():
        latents = torch.cat([prior.encode_image(chunk) for chunk in data.pictures.split(8)])
    length = float(word.vector.detach().norm(dim=1).mean())
    # Pictures with cameras are denoised together if the prior can do so, as generation will do, so
    # that the word is learned under the same conditions.
    together = prior.facts.joint_views if data.cameras is not None else 1

    def loss(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        joint = (
            together > 1
            and options.batch % together == 0
            and bool(torch.rand((), generator=generator) < 0.75)
        )
        if options.batch <= len(latents):
            pick = torch.randperm(len(latents), generator=generator)[: options.batch]
        else:
            pick = torch.randint(0, len(latents), (options.batch,), generator=generator)
        # Views that are denoised together share one time step; the time steps of a batch are spread
        # over the schedule.
        count = options.batch // together if joint else options.batch
        drawn = (
            (torch.arange(count) + torch.rand(count, generator=generator))
            / count
            * len(prior.schedule)
        )
        t = (
            drawn.long()
            .clamp_max(len(prior.schedule) - 1)
            .repeat_interleave(options.batch // count)
        )
        noise = torch.randn(latents[pick].shape, generator=generator).to(latents.device)
        noisy = prior.schedule.add_noise(latents[pick], noise, t)
        prompts, cameras, level = [], None, None
        if data.cameras is not None and data.background is not None:
            cameras, level = data.cameras[pick], data.background[pick]
        for number in range(options.batch):
            text = TEMPLATES[int(torch.randint(0, len(TEMPLATES), (), generator=generator))].format(
                options.token
            )
            if cameras is not None:
                azimuth, elevation = cameras.azimuth[number], cameras.elevation[number]
                text += f", {view_direction(float(azimuth), float(elevation))} view"
            prompts.append(text)
        states = prior.encode_with_concept(prompts, options.token, word.vector)
        predicted = prior.predict_with_gradient(
            noisy, t, Condition(states, cameras, level, views=together if joint else 1)
        )
        clean = prior.schedule.to_clean(predicted, noisy, t, kind=prior.facts.prediction_type)
        weight = prior.schedule.abar(t, noisy)
        # The loss is that of v, whatever the prior predicts: the error of the clean latents divided
        # by (1 - abar), with a limit.
        error = (clean - latents[pick]).square() / (1 - weight).clamp_min(0.05)
        # The text encoder was not trained on vectors that are much longer than those of words.
        return {
            "denoise": error.mean(),
            "length": 0.01 * (word.vector.norm(dim=1) / length - 1).clamp_min(0).square().mean(),
        }

    return Stage(
        "concept",
        options.steps,
        {"word": word},
        groups=[ParameterGroup("word", [word.vector], options.lr, betas=(0.9, 0.99), eps=1e-8)],
        loss=loss,
    )


def train_concept(options: ConceptOptions) -> Path:
    """Learn a token and write learned_embeds.safetensors ({token: vector}); returns its path.

    Raises:
        ConfigError, InputError, ModelError, CheckpointError, OutputError.
    """
    if options.images is None:
        raise ConfigError("wants pictures of the object", "train concept", "Add --images folder")
    if not re.fullmatch(r"<[a-z0-9_-]{1,40}>", options.token):
        raise ConfigError(
            f'"{options.token[:50]}" is not a token',
            "--token",
            "Write it as <my-thing>: small letters, digits, - and _",
        )
    if options.steps < 1:
        raise ConfigError(f"must be at least 1, got {options.steps}", "--steps")
    device = devices.settle(options.device)
    out = options.out or Path("outputs/concept")
    path = out / "learned_embeds.safetensors"
    if path.is_file() and not (options.resume or options.force):
        raise CheckpointError(
            "there is a concept already",
            str(out),
            "Choose another --out, go on with --resume, or add --force to replace it",
        )
    own_folder(path)
    own_folder(out / "work")
    prior = load_folder(
        resolve(options.prior),
        DiffusersConfig(dtype="float32", device=device),
        options.prior,
    )
    if type(prior) is not StableDiffusionPrior:
        raise ModelError(
            "words are learned for Stable Diffusion 1 and 2 and for the embedded model alone",
            f"--prior {options.prior}",
            "Take one of those",
        )
    protocol = prior.facts.camera or PLAIN_CAMERAS
    data = read_pictures(
        options.images, prior.facts.image_size, protocol.distance, fov_y=protocol.fov_y
    )
    start = start_vectors(prior, options)
    prior.add_concept({options.token: start})
    word = Word(start)
    events = Events(out / "work" / "events.jsonl", "quiet" if options.quiet else "line")
    resume = options.resume and (out / "work" / CHECKPOINT).is_file()
    settings = LoopSettings(
        seed=options.seed,
        minutes=options.minutes,
        checkpoint_seconds=30.0,
        log_every=10,
        resume=resume,
        device=device,
        identity={"token": options.token, "prior": options.prior},
    )
    Loop(out / "work", events, settings).run(
        [StagePlan("concept", lambda done: concept_stage(prior, word, data, options=options))]
    )
    write_file(path, save({options.token: word.vector.detach().squeeze(0).contiguous()}))
    events.say(
        f'{path}  (use it: threestudio-like generate "a {options.token}" --concept {path} '
        f"--prior {options.prior})"
    )
    events.close()
    return path


def start_vectors(prior: StableDiffusionPrior, options: ConceptOptions) -> torch.Tensor:
    """Initial vectors (N, D): the given word (or a neutral one) last, and neutral colours before
    it.

    Raises ConfigError, ModelError.
    """
    if not 0 <= options.vectors <= 16:
        raise ConfigError(f"must be from 1 to 16, got {options.vectors}", "--vectors")
    closed = prior.facts.vocabulary is not None
    count = options.vectors or (4 if closed else 1)
    world = edition(prior.facts.world, prior.facts.name).vocabulary

    def middle(words: Iterable[str]) -> torch.Tensor:
        known = [w for w in words if prior.facts.vocabulary and w in prior.facts.vocabulary]
        return (
            torch.stack([prior.word_vector(w).cpu() for w in known]).mean(0)
            if known
            else prior.word_vector("a").cpu()
        )

    thing = (
        prior.word_vector(options.word).cpu()
        if options.word
        else middle(world.categories)
        if closed
        else prior.word_vector("thing").cpu()
    )
    others = middle(world.colours) if closed else thing
    noise = (
        torch.randn(count, len(thing), generator=torch.Generator().manual_seed(options.seed)) * 0.01
    )
    return torch.stack([*[others] * (count - 1), thing]) + noise * (count > 1)
