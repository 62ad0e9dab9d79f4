"""`train cisp`: the contrastive training of CISP, or of its twin CLIP, on any source of pictures with shapes (METHODS 2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ..data.framing import framed, released
from ..data.pairs import PairSource, Skipped, usable
from ..engine.loop import ParameterGroup, Stage, Step
from ..priors.contrastive import BACKGROUND, Contrastive, ContrastiveConfig, contrastive_loss, recall


@dataclass
class ContrastiveTraining:
    """How a contrastive model is trained. `paper()` has the released numbers, the defaults train the embedded ones."""

    model: ContrastiveConfig = field(default_factory=ContrastiveConfig.toybox)
    steps: int = 1800
    batch: int = 96
    rate: str = "cos 1e-3->1e-5"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    decay: float = 0.01
    picture: Literal["framed", "released"] = "framed"
    """framed: the object recentred and scaled to fill the frame, with jitter. released: the centre crop of the released code."""
    jitter: float = 0.05

    @staticmethod
    def paper() -> ContrastiveTraining:
        """The released numbers: DeiT-B against 3D-DeiT, batch 64, AdamW 1e-4; 100 epochs of 20,133 models are 31,500 steps."""
        return ContrastiveTraining(ContrastiveConfig(), 31500, 64, "1e-4", (0.9, 0.98), 1e-6, 0.01, "released", 0.0)


def alike(other: torch.Tensor) -> torch.Tensor:
    """Which entries are equal (B, B) bool: voxels (B, R, R, R) bool or token ids (B, T)."""
    rows = other.flatten(1).float()
    square = rows.square().sum(1)
    return square[:, None] + square[None] - 2 * rows @ rows.t() < 0.5


@dataclass
class Batch:
    """images (B, S, S, 3) in [0, 1]; other: voxels (B, R, R, R) bool or token ids (B, T); same (B, B) bool, pairs that belong together."""

    images: torch.Tensor
    other: torch.Tensor
    same: torch.Tensor
    category: torch.Tensor


class BatchSource:
    """Draws batches of a `PairSource` for a configuration.

    Args:
        tokenizer: for captions; needed against "text" only.
    """

    def __init__(
        self, source: PairSource, config: ContrastiveTraining, tokenizer: Any = None, skipped: Skipped | None = None
    ) -> None:
        self.source, self.config, self.tokenizer = source, config, tokenizer
        self.skipped = skipped or Skipped()

    def pick(self, objects: torch.Tensor, views: torch.Tensor, generator: torch.Generator | None) -> Batch:
        """The batch of objects (B,) seen in views (B,); `generator` jitters the framing."""
        config = self.config
        pairs = [usable(self.source, int(o), int(v), self.skipped) for o, v in zip(objects, views)]
        category = torch.tensor([p.category for p in pairs])
        sizes = {p.image.shape for p in pairs}
        pictures = [torch.from_numpy(p.image)[None] for p in pairs]
        jitter = None
        if generator is not None and config.jitter > 0:
            jitter = (torch.rand(len(pairs), 3, generator=generator) - 0.5) * 2 * config.jitter

        def prepare(some: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
            if config.picture == "released":
                return released(some, config.model.image.size)
            return framed(some, config.model.image.size, BACKGROUND, shift)

        if len(sizes) == 1:
            images = prepare(torch.cat(pictures), jitter)
        else:
            images = torch.cat(
                [prepare(p, None if jitter is None else jitter[i : i + 1]) for i, p in enumerate(pictures)]
            )
        if config.model.against == "shape":
            other = torch.stack([torch.from_numpy(p.voxels) for p in pairs])
            # Two pictures of one object, and objects that no voxel tells apart, are no negatives of each other.
            same = alike(other)
        else:
            captions = [p.caption for p in pairs]
            other = self.tokenizer(
                captions,
                padding="max_length",
                max_length=config.model.text.tokens,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            same = alike(other)
        return Batch(images, other, same, category)

    def draw(self, step: Step) -> Batch:
        """The batch of a step: a shuffled pass over the objects, a random view of each."""
        count, size = len(self.source), self.config.batch
        generator = step.random.generator("batch")
        first = step.index * size
        order = torch.randperm(count, generator=torch.Generator().manual_seed(step.seed * 1000003 + first // count))
        objects = order[torch.arange(first, first + size) % count]
        views = torch.randint(0, 1 << 30, (size,), generator=generator)
        return self.pick(objects, views, generator)


def contrastive_stage(name: str, model: Contrastive, batches: BatchSource, device: str = "cpu") -> Stage:
    """The stage that trains a contrastive model."""
    config = batches.config
    model.train().to(device)
    half = torch.autocast(device_type=torch.device(device).type, dtype=torch.bfloat16)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        batch = batches.draw(step)
        with half:
            one, two = model.embed(batch.images.to(device)), model.embed_other(batch.other.to(device))
        return {"contrast": contrastive_loss(one.float(), two.float(), model.log_scale, batch.same.to(device))}

    group = ParameterGroup(name, list(model.parameters()), config.rate, config.betas, config.eps, config.decay)
    return Stage(
        name, config.steps, {"model": model}, [group], loss, after_step=lambda step: model.clamp(), clip_norm=1.0
    )


@torch.no_grad()
def embed_all(
    model: Contrastive, batches: BatchSource, objects: torch.Tensor, view: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of pictures and of what they are held against, both (N, D) and not normalised, and the voxels or ids."""
    one, two, other = [], [], []
    for chunk in objects.split(64):
        batch = batches.pick(chunk, torch.full_like(chunk, view), None)
        one.append(model.embed(batch.images))
        two.append(model.embed_other(batch.other))
        other.append(batch.other)
    return torch.cat(one), torch.cat(two), torch.cat(other)


@torch.no_grad()
def retrieval(model: Contrastive, batches: BatchSource, pool: int = 200, views: int = 1) -> dict[str, float]:
    """Recall in pools of the source's first `pool` objects, both ways, the mean over `views` pictures of each; objects that no voxel
    tells apart count as one."""
    objects = torch.arange(min(pool, len(batches.source)))
    out: dict[str, list[float]] = {}
    for view in range(views):
        one, two, other = embed_all(model, batches, objects, view)
        own = alike(other)
        kind = model.config.against
        names = {f"image to {kind}": (one, two), f"{kind} to image": (two, one)}
        for name, (a, b) in names.items():
            for key, value in recall(a, b, own).items():
                out.setdefault(f"{name} {key}", []).append(value)
        for key, value in recall(one, two, None, (1,)).items():
            out.setdefault(f"image to {kind} {key}, strict", []).append(value)
    return {k: sum(v) / len(v) for k, v in out.items()}
