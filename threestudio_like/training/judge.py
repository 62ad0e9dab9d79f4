"""Training of the judge, with other seeds than the priors, on every pair of category and colour,
with blur, noise and shifts."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..metrics.judge import VIEWS, Judge, PatternJudge
from ..toybox.dataset import Groups, view_word
from ..toybox.edition import Edition
from ..toybox.editions import edition
from ..toybox.twenty import TWENTY


def augment(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Apply small shifts, scales, blur, noise and brightness changes to pictures (B, H, W, 3) in
    [0, 1]; the shape is kept."""
    count, size = len(pictures), pictures.shape[1]
    x = pictures.permute(0, 3, 1, 2)
    scale = 1 + 0.16 * (torch.rand(count, generator=generator) - 0.5)
    shift = 0.16 * (torch.rand(count, 2, generator=generator) - 0.5)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale, scale, shift
    x = F.grid_sample(
        x,
        F.affine_grid(theta, [count, 3, size, size], align_corners=False),
        padding_mode="border",
        align_corners=False,
    )
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = torch.rand(count, 1, 1, 1, generator=generator)
    x = x + (blurred - x) * amount
    x = x + 0.04 * torch.rand(count, 1, 1, 1, generator=generator) * torch.randn(
        x.shape, generator=generator
    )
    x = x * (1 + 0.14 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5))
    return x.clamp(0, 1).permute(0, 2, 3, 1)


def judge_labels(data: Groups, world: Edition = TWENTY) -> torch.Tensor:
    """Indices (N * 4, 3) of category, colour and view; -100 (ignored) for the view of objects
    without a front, and for the colour of bare material."""
    rows = []
    names, colours = list(world.vocabulary.categories), list(world.vocabulary.colours)
    for n in range(len(data)):
        for azimuth in data.azimuth[n]:
            word = view_word(float(azimuth), float(data.elevation[n]))
            view = (
                VIEWS.index(word)
                if data.category[n] in world.has_front or word == "overhead"
                else -100
            )
            rows.append(
                [
                    names.index(data.category[n]),
                    colours.index(data.colour[n]) if data.colour[n] else -100,
                    view,
                ]
            )
    return torch.tensor(rows)


def _draw(
    images: torch.Tensor, labels: torch.Tensor, batch: int
) -> Callable[[Step], dict[str, torch.Tensor]]:
    """Draws augmented pictures (B, H, W, 3) with their labels."""

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(images), (batch,), generator=generator)
        return {"pictures": augment(images[pick].float() / 255, generator), "labels": labels[pick]}

    return draw


def judge_stage(judge: Judge, data: Groups, steps: int, batch: int = 64) -> Stage:
    """The stage that trains the judge by cross-entropy on category, colour and view."""
    images, labels = (
        torch.from_numpy(data.images).flatten(0, 1),
        judge_labels(data, edition(judge.world)),
    )
    judge.train()
    batches = Batches(_draw(images, labels, batch), judge)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with half_precision(drawn["pictures"].device):
            logits, _ = judge.logits(drawn["pictures"])
        parts = logits.float().split([len(judge.categories), len(judge.colours), len(VIEWS)], 1)
        names = ("category", "colour", "view")
        return {
            name: F.cross_entropy(part, drawn["labels"][:, i])
            for i, (name, part) in enumerate(zip(names, parts))
        }

    group = ParameterGroup(
        "judge",
        list(judge.parameters()),
        "cos 2e-3->2e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("judge", steps, {"judge": judge}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def judge_accuracy(judge: Judge, data: Groups) -> dict[str, float]:
    """Share of correct answers for category, colour and view."""
    judge.eval()
    images, labels = (
        torch.from_numpy(data.images[:]).flatten(0, 1).float() / 255,
        judge_labels(data, edition(judge.world)),
    )
    verdicts = [judge(chunk) for chunk in images.split(256)]
    out = {}
    for i, name in enumerate(("category", "colour", "view")):
        answer = torch.cat([getattr(v, name) for v in verdicts]).argmax(1)
        counted = labels[:, i] >= 0
        out[name] = float((answer == labels[:, i])[counted].float().mean())
    return out


def pattern_labels(data: Groups, world: Edition = TWENTY) -> torch.Tensor:
    """Indices (N * 4,) of the pattern of every picture."""
    each = torch.tensor(
        [list(world.patterns).index(world.vocabulary.parse(c)[0].pattern) for c in data.captions]
    )
    return each.repeat_interleave(data.images.shape[1])


def pattern_stage(judge: PatternJudge, data: Groups, steps: int, batch: int = 64) -> Stage:
    """The stage that trains the judge of patterns by cross-entropy."""
    images, labels = (
        torch.from_numpy(data.images).flatten(0, 1),
        pattern_labels(data, edition(judge.world)),
    )
    judge.train()
    batches = Batches(_draw(images, labels, batch), judge)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with half_precision(drawn["pictures"].device):
            logits = judge.logits(drawn["pictures"])
        return {"pattern": F.cross_entropy(logits.float(), drawn["labels"])}

    group = ParameterGroup(
        "patterns",
        list(judge.parameters()),
        "cos 2e-3->2e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("patterns", steps, {"patterns": judge}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def pattern_accuracy(judge: PatternJudge, data: Groups) -> dict[str, float]:
    """Share of correct answers, for all pictures and for each pattern."""
    judge.eval()
    images, labels = (
        torch.from_numpy(data.images[:]).flatten(0, 1).float() / 255,
        pattern_labels(data, edition(judge.world)),
    )
    right = torch.cat([judge(chunk).argmax(1) for chunk in images.split(256)]) == labels
    return {
        "pattern": float(right.float().mean()),
        **{p: float(right[labels == i].float().mean()) for i, p in enumerate(judge.patterns)},
    }
