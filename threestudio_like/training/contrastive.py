"""`train cisp`: contrastive training of CISP, or of its CLIP baseline, on any source of pictures
with shapes (METHODS 2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.schedule import Schedule
from ..engine.schema.bounds import Count, Number, Positive, ScheduleText, Weight
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..priors.data.pairs import Pair, PairSource, Skipped, usable
from ..priors.framing import framed, released
from ..priors.networks.contrastive import (
    BACKGROUND,
    Contrastive,
    ContrastiveConfig,
    contrastive_loss,
    recall,
)


@dataclass(frozen=True, kw_only=True)
class ContrastiveTraining:
    """How a contrastive model is trained. `paper()` has the released numbers, and the defaults
    train the embedded models."""

    model: ContrastiveConfig = field(default_factory=ContrastiveConfig.toybox)
    steps: Count = 6000
    batch: Number = 96
    rate: ScheduleText = "cos 1e-3->1e-5"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: Positive = 1e-6
    decay: Weight = 0.01
    picture: Literal["framed", "released"] = "framed"
    """framed: the object is centred and scaled to fill the frame, with jitter. released: the centre
    crop of the released code."""
    jitter: Weight = 0.05
    read_out: ScheduleText = "10->0 @ 30..70%"
    """Schedule of the weight of the read-out loss; "0", as released, switches it off. See
    `ReadOut`."""
    categories: Count = 4
    """Number of categories in a batch, so that a batch contains many objects that only their
    proportions distinguish; 0 for all categories, as released."""
    locked: bool = False
    """Train only the picture encoder, and compare each picture with the embeddings of all training
    objects instead of those of its batch (Zhai et al. 2022 lock the other tower). It is meant for a
    model given by `start`; models that use its embeddings are hardly affected."""

    @staticmethod
    def of(preset: str) -> ContrastiveTraining:
        """The numbers of a preset: "toybox" (the shipped models), "large" (the same networks with a
        longer training, for a GPU), "quick" (a few steps) or "paper"."""
        if preset == "paper":
            return ContrastiveTraining.paper()
        if preset == "quick":
            return ContrastiveTraining(steps=6, batch=8)
        return (
            ContrastiveTraining(steps=16000, batch=256)
            if preset == "large"
            else ContrastiveTraining()
        )

    @staticmethod
    def paper() -> ContrastiveTraining:
        """The released numbers: DeiT-B against 3D-DeiT, batch 64, AdamW 1e-4; 100 epochs of 20,133
        models are 31,500 steps."""
        return ContrastiveTraining(
            model=ContrastiveConfig(),
            steps=31500,
            batch=64,
            rate="1e-4",
            betas=(0.9, 0.98),
            eps=1e-6,
            decay=0.01,
            picture="released",
            jitter=0.0,
            read_out="0",
            categories=0,
        )


def numbered(other: torch.Tensor, numbers: dict[bytes, int] | None = None) -> torch.Tensor:
    """Numbers (B,) of entries that are equal if the entries are: voxels (B, R, R, R) bool or token
    ids (B, T). `numbers` keeps them from one call to the next."""
    known = {} if numbers is None else numbers
    return torch.tensor([known.setdefault(row.numpy().tobytes(), len(known)) for row in other])


def alike(other: torch.Tensor) -> torch.Tensor:
    """Which entries are equal, (B, B) bool: voxels (B, R, R, R) bool or token ids (B, T)."""
    number = numbered(other)
    return number[:, None] == number[None]


TWINS = 0.97
"""Voxels of 32^3 with at least this IoU differ only by a few layers."""


def overlaps(voxels: torch.Tensor) -> torch.Tensor:
    """IoU (B, B) of all pairs of voxels (B, R, R, R) bool."""
    flat = voxels.flatten(1).float()
    shared, count = flat @ flat.T, flat.sum(1)
    return shared / (count[:, None] + count[None] - shared).clamp_min(1.0)


@dataclass
class Batch:
    """images (B, S, S, 3) in [0, 1]; other: voxels (B, R, R, R) bool or token ids (B, T); same (B,
    B) bool, pairs that belong together; objects (B,), their numbers."""

    images: torch.Tensor
    other: torch.Tensor
    same: torch.Tensor
    category: torch.Tensor
    objects: torch.Tensor


class BatchSource:
    """Draws batches of a `PairSource` for a configuration.

    Args:
        tokenizer: for captions; needed against "text" only.
    """

    def __init__(
        self,
        source: PairSource,
        config: ContrastiveTraining,
        tokenizer: Any = None,
        skipped: Skipped | None = None,
    ) -> None:
        self.source, self.config, self.tokenizer = source, config, tokenizer
        self.skipped = skipped or Skipped()
        category = torch.tensor([source.category_of(n) for n in range(len(source))])
        self._of = [(category == c).nonzero()[:, 0] for c in category.unique()]  # none empty

    def _other(self, pairs: list[Pair]) -> torch.Tensor:
        """Voxels (B, R, R, R) or the captions' token ids (B, T)."""
        if self.config.model.against == "shape":
            return torch.stack([torch.from_numpy(p.voxels) for p in pairs])
        return self.tokenizer(
            [p.caption for p in pairs],
            padding="max_length",
            max_length=self.config.model.text.tokens,
            truncation=True,
            return_tensors="pt",
        ).input_ids

    def others(self, objects: torch.Tensor) -> torch.Tensor:
        """What the pictures of objects (B,) are compared with."""
        return self._other([usable(self.source, int(o), 0, skipped=self.skipped) for o in objects])

    def pick(
        self, objects: torch.Tensor, views: torch.Tensor, generator: torch.Generator | None
    ) -> Batch:
        """The batch of objects (B,) seen in views (B,). `generator` jitters the framing."""
        config = self.config
        pairs = [
            usable(self.source, int(o), int(v), skipped=self.skipped)
            for o, v in zip(objects, views)
        ]
        category = torch.tensor([p.category for p in pairs])
        sizes = {p.image.shape for p in pairs}
        pictures = [torch.from_numpy(p.image)[None] for p in pairs]
        jitter = None
        if generator is not None and config.jitter > 0:
            jitter = (torch.rand(len(pairs), 3, generator=generator) - 0.5) * 2 * config.jitter

        def prepare(some: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
            if config.picture == "released":
                return released(some, config.model.image.size)
            return framed(some, config.model.image.size, BACKGROUND, jitter=shift)

        if len(sizes) == 1:
            images = prepare(torch.cat(pictures), jitter)
        else:
            images = torch.cat(
                [
                    prepare(p, None if jitter is None else jitter[i : i + 1])
                    for i, p in enumerate(pictures)
                ]
            )
        other = self._other(pairs)
        # Two pictures of one object, objects with equal voxels, and equal captions are not
        # negatives of each other.
        return Batch(images, other, alike(other), category=category, objects=objects)

    def draw(self, step: Step) -> Batch:
        """The batch of a step with a random view of every object: from a shuffled pass over all
        objects, or from a few categories."""
        count, size, few = len(self.source), self.config.batch, self.config.categories
        generator = step.random.generator("batch")
        if 0 < few < len(self._of):
            chosen = torch.randperm(len(self._of), generator=generator)[:few]
            members = torch.cat([self._of[int(c)] for c in chosen])
            objects = members[torch.randperm(len(members), generator=generator)[:size]]
            size = len(objects)
        else:
            first = step.index * size
            order = torch.randperm(
                count, generator=torch.Generator().manual_seed(step.seed * 1000003 + first // count)
            )
            objects = order[torch.arange(first, first + size) % count]
        views = torch.randint(0, 1 << 30, (size,), generator=generator)
        return self.pick(objects, views, generator)


class ReadOut(nn.Module):
    """Linear read-outs of both embeddings that predict the principal components of what pictures
    are compared with: of voxels (averaged over 2^3) or of the words of captions, each scaled to
    variance one.

    The contrastive loss among objects of one category starts at a saddle point: while neither side
    distinguishes them, the other has no gradient to do so. A common target whose weight fades away
    gives both sides a gradient.

    Args:
        other: a sample (N, R, R, R) bool or (N, T) ids of the training set.
        width: width of the embeddings.
        vocabulary: number of token ids, for captions.
        components: number of components that are kept.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    def __init__(
        self, other: torch.Tensor, width: int, vocabulary: int = 0, components: int = 32
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        rows = self.raw(other)
        components = min(components, rows.shape[1], len(rows) - 1)
        mean = rows.mean(0)
        # pca_lowrank draws from the global random generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, deviation, basis = torch.pca_lowrank(rows - mean, components, center=False)
        self.register_buffer("mean", mean)
        self.register_buffer(
            "basis", basis * (len(rows) ** 0.5 / deviation.clamp_min(1e-2 * float(deviation[0])))
        )
        self.heads = nn.ModuleList([nn.Linear(width, components) for _ in range(2)])

    def raw(self, other: torch.Tensor) -> torch.Tensor:
        """Numbers (N, K) that represent voxels or ids."""
        if other.ndim == 4:
            return F.avg_pool3d(other[:, None].float(), 2).flatten(1)
        return F.one_hot(other, self.vocabulary).amax(1).float()

    def forward(self, one: torch.Tensor, two: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the read-outs of both embeddings (B, D)."""
        wanted = (self.raw(other) - self.mean) @ self.basis
        return (
            sum(
                ((head(e) - wanted).square().mean() for head, e in zip(self.heads, (one, two))),
                one.new_zeros(()),
            )
            / 2
        )


class Bank(nn.Module):
    """Normalised embeddings (N, D) of all training objects under a locked encoder, and which of
    them are equal."""

    vectors: torch.Tensor
    number: torch.Tensor

    def __init__(self, model: Contrastive, batches: BatchSource) -> None:
        super().__init__()
        vectors: list[torch.Tensor] = []
        numbers: dict[bytes, int] = {}
        found: list[torch.Tensor] = []
        with torch.no_grad():
            for chunk in torch.arange(len(batches.source)).split(64):
                other = batches.others(chunk)
                vectors.append(F.normalize(model.embed_other(other), dim=-1))
                found.append(numbered(other, numbers))
        self.register_buffer("vectors", torch.cat(vectors), persistent=False)
        self.register_buffer("number", torch.cat(found), persistent=False)

    def loss(
        self, one: torch.Tensor, log_scale: torch.Tensor, objects: torch.Tensor
    ) -> torch.Tensor:
        """Cross entropy of embedded pictures (B, D) against the whole bank; equal entries share the
        probability."""
        logits = log_scale.exp() * F.normalize(one, dim=-1) @ self.vectors.t()
        same = (self.number[objects][:, None] == self.number[None]).float()
        return -(same / same.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()


def contrastive_stage(name: str, model: Contrastive, source: BatchSource) -> Stage:
    """The stage that trains a contrastive model."""
    config = source.config
    model.train()
    weight = Schedule.parse(config.read_out, "read_out")
    modules: dict[str, nn.Module] = {"model": model}
    read_out: ReadOut | None = None
    if weight.start > 0:
        count = len(source.source)
        sample = source.others(torch.linspace(0, count - 1, min(count, 1500)).round().long())
        read_out = ReadOut(sample, model.width, config.model.text.vocabulary)
        modules["read-out"] = read_out

    trained = list(model.parameters())
    bank: Bank | None = None
    if config.locked:
        model.eval()
        bank = modules["bank"] = Bank(model, source)
        model.train()
        trained = [*model.image.parameters(), *model.image_head.parameters(), model.log_scale]

    batches = Batches(lambda step: vars(source.draw(step)), model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        batch = Batch(**batches(step))
        half = half_precision(batch.images.device)
        if bank is not None:
            with half:
                one = model.embed(batch.images)
            return {"contrast": bank.loss(one.float(), model.log_scale, batch.objects)}
        with half:
            one, two = model.embed(batch.images), model.embed_other(batch.other)
        one, two = one.float(), two.float()
        terms = {"contrast": contrastive_loss(one, two, model.log_scale, same=batch.same)}
        if read_out is not None and weight(step.fraction) > 0:
            terms["read-out"] = weight(step.fraction) * read_out(one, two, batch.other)
        return terms

    group = ParameterGroup(
        name,
        trained + list(read_out.parameters() if read_out is not None else ()),
        config.rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.decay,
    )
    return Stage(
        name,
        config.steps,
        modules,
        groups=[group],
        loss=loss,
        after_step=lambda step: model.clamp(),
        clip_norm=1.0,
    )


@torch.no_grad()
def embed_all(
    model: Contrastive, batches: BatchSource, objects: torch.Tensor, view: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of pictures and of what they are compared with, both (N, D) and not normalised,
    and the voxels or ids."""
    one, two, other = [], [], []
    for chunk in objects.split(64):
        batch = batches.pick(chunk, torch.full_like(chunk, view), None)
        one.append(model.embed(batch.images))
        two.append(model.embed_other(batch.other))
        other.append(batch.other)
    return torch.cat(one), torch.cat(two), torch.cat(other)


@torch.no_grad()
def retrieval(
    model: Contrastive, batches: BatchSource, pool: int = 200, views: int = 1
) -> dict[str, float]:
    """Recall in pools of the source's first `pool` objects, in both directions, averaged over
    `views` pictures of each object. Objects with equal voxels count as one."""
    objects = torch.arange(min(pool, len(batches.source)))
    out: dict[str, list[float]] = {}
    for view in range(views):
        one, two, other = embed_all(model, batches, objects, view=view)
        own = alike(other)
        kind = model.config.against
        names = {f"image to {kind}": (one, two), f"{kind} to image": (two, one)}
        for name, (a, b) in names.items():
            for key, value in recall(a, b, own).items():
                out.setdefault(f"{name} {key}", []).append(value)
        for key, value in recall(one, two, None, at=(1,)).items():
            out.setdefault(f"image to {kind} {key}, strict", []).append(value)
        if other.dtype == torch.bool:
            overlap = overlaps(other)
            twins = recall(one, two, overlap >= TWINS, at=(1,))["recall@1"]
            out.setdefault(f"image to {kind} recall@1, twins of IoU {TWINS} count", []).append(
                twins
            )
            first = (F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).T).argmax(1)
            out.setdefault("IoU of the first shape found", []).append(
                float(overlap[objects, first].mean())
            )
    return {k: sum(v) / len(v) for k, v in out.items()}
