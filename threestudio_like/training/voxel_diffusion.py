"""`train voxel-diffusion`: IC3D on embeddings of pictures by a frozen encoder (METHODS 2.5).

Trainings on CISP's and on CLIP's embeddings differ in one entry of the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.output import write_file
from ..engine.schema.bounds import Count, Number, ScheduleText, Share
from ..engine.training import Batches, Ema, agrees, place_of
from ..kernels.devices import half_precision
from ..priors.data.pairs import PairSource, Skipped, usable
from ..priors.framing import framed
from ..priors.networks.contrastive import BACKGROUND, ImageEmbedder
from ..priors.voxel_diffusion import TIMES, VoxelDiffusion, VoxelDiffusionConfig


@dataclass(frozen=True, kw_only=True)
class VoxelTraining:
    """How a voxel diffusion model is trained. `paper()` has the released numbers."""

    embedding: Literal["cisp", "clip"] = "cisp"
    """Which embeddings condition the model. It is the only difference between the two trainings
    that are compared."""
    model: VoxelDiffusionConfig = field(default_factory=VoxelDiffusionConfig.toybox)
    steps: Count = 4000
    batch: Number = 16
    rate: ScheduleText = "cos 1e-3->2e-5"
    drop: Share = 0.1
    """Share of samples whose embedding is replaced by the null vector."""
    class_share: Share = 0.1
    """Share of samples that are conditioned on their class instead."""
    ema: Share = 0.998

    @staticmethod
    def of(preset: str, embedding: Literal["cisp", "clip"] = "cisp") -> VoxelTraining:
        """The numbers of a preset: "toybox" (the shipped models), "large" (the same networks with a
        longer training, for a GPU), "quick" (a few steps) or "paper"."""
        if preset == "paper":
            return VoxelTraining.paper(embedding)
        if preset == "quick":
            return VoxelTraining(embedding=embedding, steps=6, batch=4)
        return (
            VoxelTraining(embedding=embedding, steps=16000, batch=64)
            if preset == "large"
            else VoxelTraining(embedding=embedding)
        )

    @staticmethod
    def paper(embedding: Literal["cisp", "clip"] = "cisp") -> VoxelTraining:
        """The released numbers: 83 M parameters, batch 4, AdamW 3e-4; 300 epochs of 20,133 models
        are 1.5 million steps."""
        plain = VoxelDiffusionConfig()
        width = 256 if embedding == "cisp" else 512
        config = replace(plain, unet=replace(plain.unet, embedding=width))
        return VoxelTraining(
            embedding=embedding,
            model=config,
            steps=1_510_000,
            batch=4,
            rate="3e-4",
            drop=0.1,
            class_share=0.0,
            ema=0.9999,
        )


class EmbeddedPairs:
    """Embeddings (N, V, D) float16 of all pictures of a source, computed once and stored in
    embeddings.safetensors. Those of an earlier call are tried on some of the pictures: they may be
    of other data, or of another network.

    Args:
        path: the file; it is made if it is missing.
    """

    def __init__(
        self, source: PairSource, embedder: ImageEmbedder, path: Path, views: int, size: int = 64
    ) -> None:
        from safetensors.torch import load_file, save

        self.source = source
        if path.is_file():
            self.embeddings = load_file(str(path))["embeddings"]
            if self.embeddings.shape == (len(source), views, embedder.width):
                few = sorted({0, len(source) // 2, len(source) - 1})
                tried = [(n, 0) for n in few]
                if agrees(self.embeddings[few, 0], embed_rows(source, embedder, tried, size)):
                    return
        self.embeddings = embed_pictures(source, embedder, views, size=size)
        write_file(path, save({"embeddings": self.embeddings.contiguous()}), force=True)


@torch.no_grad()
def embed_pictures(
    source: PairSource,
    embedder: ImageEmbedder,
    views: int,
    size: int,
    skipped: Skipped | None = None,
) -> torch.Tensor:
    """Embeddings (N, V, D) float16 of the first `views` pictures of every object, computed on the
    device of the embedder."""
    rows = [(n, v) for n in range(len(source)) for v in range(views)]
    return embed_rows(source, embedder, rows, size, skipped).unflatten(0, (-1, views))


@torch.no_grad()
def embed_rows(
    source: PairSource,
    embedder: ImageEmbedder,
    rows: list[tuple[int, int]],
    size: int,
    skipped: Skipped | None = None,
) -> torch.Tensor:
    """Embeddings (R, D) float16 of pictures, each the number of an object and of its view."""
    skipped = skipped or Skipped()
    there = place_of(embedder) if isinstance(embedder, nn.Module) else None
    out = []
    for begin in range(0, len(rows), 96):
        some = rows[begin : begin + 96]
        images = torch.cat(
            [
                framed(
                    torch.from_numpy(usable(source, n, v, skipped=skipped).image)[None],
                    size,
                    BACKGROUND,
                )
                for n, v in some
            ]
        )
        out.append(embedder.embed(images.to(there)).half().cpu())
    return torch.cat(out)


def voxel_stage(
    name: str, model: VoxelDiffusion, config: VoxelTraining, data: EmbeddedPairs
) -> Stage:
    """The stage that trains a voxel diffusion model."""
    source, embeddings = data.source, data.embeddings
    count, views = embeddings.shape[:2]
    model.scale.fill_(float(embeddings[: min(count, 2000)].float().square().mean().sqrt()))
    model.train()
    ema = Ema(model.unet, config.ema)
    skipped = Skipped()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        size = config.batch
        generator = step.random.generator("batch")
        first = step.index * size
        order = torch.randperm(
            count, generator=torch.Generator().manual_seed(step.seed * 1000003 + first // count)
        )
        pick = order[torch.arange(first, first + size) % count]
        view = torch.randint(0, views, (size,), generator=generator)
        pairs = [usable(source, int(n), 0, skipped=skipped) for n in pick]
        voxels = torch.stack([torch.from_numpy(p.voxels) for p in pairs])
        by_class = torch.zeros(size, dtype=torch.bool)
        if model.unet.class_table is not None and config.class_share > 0:
            by_class = torch.rand(size, generator=generator) < config.class_share
        keep = torch.rand(size, generator=generator) >= config.drop
        # Stratified time steps, so that a batch covers the whole range.
        t = (
            ((torch.arange(size) + torch.rand(size, generator=generator)) / size * TIMES)
            .long()
            .clamp(0, TIMES - 1)
        )
        noise = torch.randn(size, 1, *voxels.shape[1:], generator=generator)
        number = torch.tensor([p.category for p in pairs])
        embedding = embeddings[pick, view].float()
        return {
            "voxels": voxels,
            "embedding": embedding,
            "by_class": by_class,
            "number": number,
            "keep": keep,
            "t": t,
            "noise": noise,
        }

    batches = Batches(draw, model.unet)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        embedding = drawn["embedding"]
        if model.unet.class_table is not None and config.class_share > 0:
            embedding = torch.where(
                drawn["by_class"][:, None], model.of_class(drawn["number"]), embedding
            )
        with half_precision(embedding.device):
            return {
                "noise": model.loss(
                    drawn["voxels"], embedding, drawn["keep"], drawn["t"], drawn["noise"]
                )
            }

    group = ParameterGroup(
        name,
        list(model.unet.parameters()),
        config.rate,
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    modules: dict[str, nn.Module] = {"model": model, "ema": ema}
    return Stage(
        name,
        config.steps,
        modules,
        groups=[group],
        loss=loss,
        after_step=lambda step: ema.update(model.unet, step.index),
        clip_norm=1.0,
    )
