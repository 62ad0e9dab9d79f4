"""The judge of the second world: a small ConvNeXt at 128 pixels that names category, colour,
pattern and view of one object, the colour of a part that it is told, and the relation of two things
that it is told.

It is trained on both worlds and shares neither architecture nor data with the embedded judge; it
is never used for optimisation.

Run: python -m benchmarks.second_world.judge [--world fifty] [--steps 12000] [--objects 3000]
There is one judge for every edition of the toybox. The training goes on from its last checkpoint
in outputs/second_world/judge.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from threestudio_like.engine.errors import ModelError
from threestudio_like.toybox.edition import Edition
from threestudio_like.toybox.editions import DEFAULT, edition

from .judge_data import NONE, SIZE, VIEWS, Pictures, Words, gather

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(__file__).resolve().parent / "judge_weights"
WORK = ROOT / "outputs" / "second_world" / "judge"


def folder_of(world: Edition) -> Path:
    """Where the judge of an edition lies."""
    return FOLDER if world is DEFAULT else FOLDER.with_name(f"{FOLDER.name}_{world.name}")


WIDTHS, DEPTHS = (32, 64, 112, 160), (1, 2, 3, 1)


class _Norm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.around(x).permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)


@dataclass
class Verdict:
    """Probabilities of category (B, K), colour (B, C), pattern (B, P) and view (B, 4)."""

    category: torch.Tensor
    colour: torch.Tensor
    pattern: torch.Tensor
    view: torch.Tensor


class SecondJudge(nn.Module):
    """Maps pictures (B, H, W, 3) in [0, 1] to a `Verdict`.

    Args:
        words: what it tells apart.
    """

    def __init__(self, words: Words) -> None:
        super().__init__()
        self.words = words
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 4, stride=4), _Norm(WIDTHS[0])]
        for k, (width, depth) in enumerate(zip(WIDTHS, DEPTHS)):
            if k:
                layers += [_Norm(WIDTHS[k - 1]), nn.Conv2d(WIDTHS[k - 1], width, 2, stride=2)]
            layers += [_Block(width) for _ in range(depth)]
        self.body = nn.Sequential(*layers)
        last, fine = WIDTHS[-1], WIDTHS[1]
        self.sizes = [len(words.categories), len(words.colours), len(words.patterns), len(VIEWS)]
        self.norm = nn.LayerNorm(2 * last + fine)
        self.head = nn.Linear(2 * last + fine, sum(self.sizes))
        self.place = nn.Conv2d(last, 24, 1)
        self.name = nn.Embedding(len(words.categories), 24)
        self.relation_1 = nn.Linear(24 * 16 + 48, 96)
        self.relation_2 = nn.Linear(96, len(words.relations))
        if words.parts:
            self.part = nn.Embedding(len(words.parts), last)
            self.part_1 = nn.Linear(2 * last + fine + last, 96)
            self.part_2 = nn.Linear(96, len(words.colours))

    def maps(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last map (B, C, 4, 4), and features (B, D) of it and, for patterns, of a finer
        one."""
        x = pictures.permute(0, 3, 1, 2) * 2 - 1
        if x.shape[-1] != SIZE:
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
        fine = x
        for layer in self.body:
            x = layer(x)
            if x.shape[1] == WIDTHS[1]:
                fine = x
        pooled = [x.mean((2, 3)), x.amax((2, 3)), fine.amax((2, 3))]
        return x, self.norm(torch.cat(pooled, 1))

    def logits(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Logits of category, colour, pattern and view."""
        return list(self.head(self.maps(pictures)[1]).split(self.sizes, 1))

    def relation_logits(
        self, last: torch.Tensor, subject: torch.Tensor, other: torch.Tensor
    ) -> torch.Tensor:
        """Logits (B, R) of the relation in which category `subject` (B,) stands to `other` (B,),
        from last maps (B, C, 4, 4)."""
        named = [self.name(subject), self.name(other)]
        x = torch.cat([self.place(last).flatten(1), *named], 1)
        return self.relation_2(F.gelu(self.relation_1(x)))

    def part_logits(self, features: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of the colour of parts (B,), from features (B, D)."""
        x = torch.cat([features, self.part(part)], 1)
        return self.part_2(F.gelu(self.part_1(x)))

    @torch.no_grad()
    def part_colour(self, pictures: torch.Tensor, part: str) -> torch.Tensor:
        """Probabilities (B, C) of the colours of a part."""
        number = torch.full((len(pictures),), self.words.parts.index(part))
        return self.part_logits(self.maps(pictures)[1], number).softmax(1)

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> Verdict:
        """Judge pictures of one object."""
        return Verdict(*(part.softmax(1) for part in self.logits(pictures)))

    @torch.no_grad()
    def relation(self, pictures: torch.Tensor, subject: str, other: str) -> torch.Tensor:
        """Probabilities (B, R) of the relations between two categories in pictures from the
        front."""
        number = [self.words.categories.index(w) for w in (subject, other)]
        one, two = (torch.full((len(pictures),), n) for n in number)
        return self.relation_logits(self.maps(pictures)[0], one, two).softmax(1)

    def save(self, folder: Path) -> None:
        """Write words.json and judge.safetensors in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        half = {k: v.detach().half().contiguous() for k, v in self.state_dict().items()}
        save_file(half, folder / "judge.safetensors")
        (folder / "words.json").write_text(json.dumps(self.words.facts(), indent=1) + "\n")

    @staticmethod
    def load(folder: Path = FOLDER) -> SecondJudge:
        """Read what `save` wrote. Raises ModelError."""
        if not (folder / "judge.safetensors").is_file():
            raise ModelError(
                "the second judge is not trained",
                str(folder),
                "python -m benchmarks.second_world.judge",
            )
        facts = json.loads((folder / "words.json").read_text())
        judge = SecondJudge(Words(**{k: tuple(v) for k, v in facts.items()}))
        tensors = load_file(folder / "judge.safetensors")
        judge.load_state_dict({k: v.float() for k, v in tensors.items()})
        return judge.eval()


def augment(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures (B, S, S, 3) of RGBA bytes (B, S, S, 4): shifted, scaled, tilted a little, before
    grounds of one colour or of a gradient, blurred, in other exposures and white balances, with
    noise. They are not mirrored, since left and right have names."""

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    count = len(pixels)
    x = pixels.permute(0, 3, 1, 2).float() / 255
    x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)
    scale, tilt = 0.92 + 0.42 * random(count), 0.14 * (random(count) - 0.5)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale * tilt.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -scale * tilt.sin(), scale * tilt.sin()
    theta[:, :, 2] = 0.16 * (random(count, 2) - 0.5)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    # Pictures with a floor are opaque to their border, and go on beyond it.
    opaque = (x[:, 3, 0] > 0.99).all(1)
    inside = F.grid_sample(x, grid, align_corners=False)
    beyond = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = torch.where(opaque[:, None, None, None], beyond, inside)
    grey = (0.2 + 0.8 * random(count, 1)) * torch.ones(1, 3)
    tinted = random(count, 3)
    ground = torch.where(random(count, 1) < 0.6, grey, tinted)[:, :, None, None]
    slope = (random(count, 1, 1, 1) - 0.5) * 0.5 * torch.linspace(-1, 1, SIZE)[:, None]
    x = x[:, :3] + (1 - x[:, 3:]) * (ground + slope * (random(count, 1, 1, 1) < 0.4)).clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = x + (blurred - x) * (random(count, 1, 1, 1) - 0.35).clamp_min(0) * 1.5
    balance = 1 + 0.10 * (random(count, 3, 1, 1) - 0.5)
    x = x * balance * (1 + 0.36 * (random(count, 1, 1, 1) - 0.5))
    noise = torch.randn(x.shape, generator=generator)
    x = x + 0.04 * random(count, 1, 1, 1) * noise
    return x.clamp(0, 1).permute(0, 2, 3, 1)


def losses(judge: SecondJudge, pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies of all that the pictures show."""
    last, features = judge.maps(pictures)
    parts = judge.head(features).split(judge.sizes, 1)
    total = torch.zeros(())
    for k, part in enumerate(parts):
        if bool((labels[:, k] != NONE).any()):
            total = total + F.cross_entropy(part, labels[:, k], label_smoothing=0.05)
    related = labels[:, 4] != NONE
    if bool(related.any()):
        some = labels[related]
        logits = judge.relation_logits(last[related], some[:, 5], some[:, 6])
        total = total + F.cross_entropy(logits, some[:, 4], label_smoothing=0.05)
    named = labels[:, 7] != NONE
    if bool(named.any()):
        logits = judge.part_logits(features[named], labels[named, 7])
        total = total + F.cross_entropy(logits, labels[named, 8], label_smoothing=0.05)
    return total


@torch.no_grad()
def accuracy(judge: SecondJudge, data: Pictures, batch: int = 128) -> dict[str, float]:
    """Share of right answers on pictures before light grey, of what they show."""
    right: dict[str, list[torch.Tensor]] = {}
    for begin in range(0, len(data), batch):
        pixels = torch.from_numpy(data.pixels[begin : begin + batch]).float() / 255
        labels = torch.from_numpy(data.labels[begin : begin + batch])
        pictures = pixels[..., :3] * pixels[..., 3:] + 0.9 * (1 - pixels[..., 3:])
        last, features = judge.maps(pictures)
        parts = list(judge.head(features).split(judge.sizes, 1))
        names = [labels[:, k].clamp_min(0) for k in (5, 6)]
        parts.append(judge.relation_logits(last, *names))
        for k, word in enumerate(("category", "colour", "pattern", "view", "relation")):
            shown = labels[:, k] != NONE
            right.setdefault(word, []).append((parts[k].argmax(1) == labels[:, k])[shown])
        if judge.words.parts:
            logits, named = judge.part_logits(features, labels[:, 7].clamp_min(0)), labels[:, 7]
            hit = (logits.argmax(1) == labels[:, 8])[named != NONE]
            right.setdefault("part's colour", []).append(hit)
    found = {k: torch.cat(v).float() for k, v in right.items()}
    return {k: float(v.mean()) for k, v in found.items() if len(v)}


def rate(step: int, steps: int, peak: float = 2e-3) -> float:
    """The learning rate: a short rise, then a cosine."""
    rise = min(200, max(1, steps // 20))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise))))


class Training:
    """The state of a training: the judge, AdamW, and the step; every step's random numbers come
    from its number, so that a resumed training ends in the same weights."""

    def __init__(self, judge: SecondJudge, steps: int, seed: int, folder: Path) -> None:
        self.judge, self.steps, self.seed, self.folder = judge, steps, seed, folder
        self.optimiser = torch.optim.AdamW(judge.parameters(), 1e-3, (0.9, 0.99), weight_decay=0.03)
        self.step = 0

    def advance(self, data: Pictures, batch: int) -> float:
        """One step; returns the loss."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        pick = torch.randint(0, len(data), (batch,), generator=generator)
        pictures = augment(torch.from_numpy(data.pixels[pick.numpy()]), generator)
        loss = losses(self.judge, pictures, torch.from_numpy(data.labels[pick.numpy()]))
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, self.steps)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.judge.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Write the checkpoint, to a temporary name first."""
        tensors = {f"judge.{k}": v for k, v in self.judge.state_dict().items()}
        for k, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{k}.{name}": value for name, value in state.items()}
        tensors["step"] = torch.tensor(self.step)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "checkpoint.part"
        save_file({k: v.contiguous() for k, v in tensors.items()}, part)
        part.replace(self.folder / "checkpoint.safetensors")

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of the same words."""
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            return
        tensors = load_file(path)
        own = {k[6:]: v for k, v in tensors.items() if k.startswith("judge.")}
        if {k: v.shape for k, v in own.items()} != {
            k: v.shape for k, v in self.judge.state_dict().items()
        }:
            raise ModelError("the checkpoint is of other words", str(path), "Add --fresh")
        self.judge.load_state_dict(own)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                state.setdefault(int(number), {})[name] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
        self.step = int(tensors["step"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--objects", type=int, default=3000, help="of each world")
    parser.add_argument("--scenes", type=int, default=1000, help="of each world")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--minutes", type=float, default=None, help="stop after, to be resumed")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint")
    parser.add_argument("--world", default=DEFAULT.name, help="edition of the toybox")
    parser.add_argument("--out", type=Path, default=None)
    a = parser.parse_args()
    world = edition(a.world)
    words, work = Words.of(world), WORK if world is DEFAULT else WORK / world.name
    counts = {
        f"{world}-{kind}": count
        for world in ("toy", "second")
        for kind, count in (("objects", a.objects), ("scenes", a.scenes))
    }
    began = time.monotonic()
    data = gather(work / "pictures", words, world, a.seed, counts)
    print(f"{len(data)} pictures in {time.monotonic() - began:.0f} s", flush=True)
    torch.manual_seed(a.seed)
    training = Training(SecondJudge(words), a.steps, a.seed, work)
    if a.fresh:
        (work / "checkpoint.safetensors").unlink(missing_ok=True)
    training.resume()
    began, first = time.monotonic(), training.step
    while training.step < a.steps:
        loss = training.advance(data, a.batch)
        spent = time.monotonic() - began
        if training.step % 100 == 0:
            each = spent / (training.step - first)
            print(f"step {training.step}: loss {loss:.3f}, {each:.2f} s a step", flush=True)
        over = a.minutes is not None and spent > 60 * a.minutes
        if training.step % 500 == 0 or over:
            training.save()
        if over:
            print(f"stopped at step {training.step}; the same command goes on")
            break
    training.save()
    if training.step >= a.steps:
        training.judge.eval().save(a.out or folder_of(world))
    tests = {
        name: gather(work / "pictures", words, world, a.seed + 1, {name: 64}) for name in counts
    }
    for name, held_out in tests.items():
        print(name, {k: round(v, 3) for k, v in accuracy(training.judge.eval(), held_out).items()})


if __name__ == "__main__":
    main()
