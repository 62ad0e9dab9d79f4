"""The embedded perceptual network, which learns what toybox pictures show, from which direction,
and how they were degraded."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..priors.framing import framed
from ..priors.networks.perceptual import UNRELATED, ToyPerceptual
from ..toybox.pairs import VIEWS, ToyPairs
from ..toybox.words import Vocabulary

SECTORS = 8
"""Number of directions of azimuth that are distinguished."""


def heads(words: Vocabulary) -> tuple[int, ...]:
    """Sizes of the answers: category, colour (or none), pattern, azimuth, amount of blur, amount of
    noise."""
    colours = len(words.colours) + 1
    return (len(words.categories), colours, len(words.patterns), SECTORS, 1, 1)


def build_perceptual(words: Vocabulary, width: int = 16) -> ToyPerceptual:
    """The network with the head of its training."""
    return ToyPerceptual(width, sum(heads(words)))


def labels_of(data: ToyPairs, words: Vocabulary) -> torch.Tensor:
    """Category, colour and pattern (N, 3) of every object; captions that name no colour have a
    class of their own."""
    rows = []
    colours = list(words.colours)
    for caption in data.captions:
        phrase = words.parse(caption)[0]
        colour = colours.index(phrase.colour) if phrase.colour else len(colours)
        rows.append(
            [words.categories.index(phrase.category), colour, words.patterns.index(phrase.pattern)]
        )
    return torch.tensor(rows)


def spoilt(pictures: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, H, W, 3) with blur and noise of amounts (B, 2) in [0, 1]."""
    amount = torch.rand(len(pictures), 2, generator=generator) * (
        torch.rand(len(pictures), 2, generator=generator) < 0.6
    )
    x = pictures.permute(0, 3, 1, 2)
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = x + (blurred - x) * amount[:, :1, None, None]
    x = x + 0.15 * amount[:, 1:, None, None] * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 1).permute(0, 2, 3, 1), amount


def perceptual_stage(
    model: ToyPerceptual, data: ToyPairs, words: Vocabulary, steps: int, batch: int = 64
) -> Stage:
    """The stage that trains the network: cross-entropy of what is shown, and squared error of the
    degradation."""
    labels = labels_of(data, words)
    sector = torch.from_numpy(
        (data.azimuth % (2 * math.pi) / (2 * math.pi) * SECTORS).astype("int64")
    ).clamp_max(SECTORS - 1)
    model.train()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(data), (batch,), generator=generator)
        view = torch.randint(0, VIEWS, (batch,), generator=generator)
        raw = torch.stack(
            [torch.from_numpy(data.pair(int(n), int(v)).image) for n, v in zip(pick, view)]
        )
        level = float(torch.rand((), generator=generator))
        jitter = (torch.rand(batch, 3, generator=generator) - 0.5) * 0.3
        pictures, amount = spoilt(framed(raw, 64, level, jitter=jitter), generator)
        return {
            "pictures": pictures,
            "amount": amount,
            "labels": labels[pick],
            "sector": sector[pick, view],
        }

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with half_precision(drawn["pictures"].device):
            parts = model.logits(drawn["pictures"]).float().split(heads(words), 1)
        terms = {
            name: F.cross_entropy(parts[i], drawn["labels"][:, i])
            for i, name in enumerate(("category", "colour", "pattern"))
        }
        terms["azimuth"] = 0.5 * F.cross_entropy(parts[3], drawn["sector"])
        terms["spoilt"] = 4 * (torch.cat(parts[4:], 1) - drawn["amount"]).square().mean()
        return terms

    group = ParameterGroup(
        "perceptual",
        list(model.parameters()),
        "cos 2e-3->2e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage(
        "perceptual", steps, {"perceptual": model}, groups=[group], loss=loss, clip_norm=1.0
    )


@torch.no_grad()
def calibrate(model: ToyPerceptual, data: ToyPairs, count: int = 200) -> None:
    """Scale distances so that pictures of two different objects are `UNRELATED` apart on
    average."""
    count = min(count, len(data))
    raw = torch.stack([torch.from_numpy(data.pair(n, 0).image) for n in range(count)])
    pictures = framed(raw, 64, 0.8)
    model.scale = 1.0
    model.scale = UNRELATED / max(float(model.distance(pictures, pictures.roll(1, 0)).mean()), 1e-6)


@torch.no_grad()
def perceptual_figures(
    model: ToyPerceptual, data: ToyPairs, words: Vocabulary, count: int = 200
) -> dict[str, float]:
    """Shares of correct answers, and how often the less degraded of two versions of a picture is
    nearer to the picture."""
    model.eval()
    count = min(count, len(data))
    raw = torch.stack([torch.from_numpy(data.pair(n, 0).image) for n in range(count)])
    pictures = framed(raw, 64, 0.8)
    answers = torch.cat([model.logits(p) for p in pictures.split(64)]).split(heads(words), 1)
    labels = labels_of(data, words)[:count]
    out = {
        name: float((answers[i].argmax(1) == labels[:, i]).float().mean())
        for i, name in enumerate(("category", "colour", "pattern"))
    }
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures.shape, generator=generator)
    near, far = ((pictures + s * noise).clamp(0, 1) for s in (0.05, 0.1))
    order = [
        bool(v)
        for a, b, c in zip(pictures.split(64), near.split(64), far.split(64))
        for v in model.distance(a, b) < model.distance(a, c)
    ]
    out["less spoilt is nearer"] = sum(order) / len(order)
    return out
