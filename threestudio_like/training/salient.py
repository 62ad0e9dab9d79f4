"""`train salient`: the embedded salient object network, on composites of toybox objects before
photographic clutter, with their exact alpha."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..priors.networks.salient import SalientNetwork
from .composites import Composites, composites
from .options import TrainingOptions, begin, claim, note_world, report, run, toybox_only
from .recipes import recipe

HELD_OUT = 256
"""Composites whose figures are reported."""


def overlap(share: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """The IoU (B,) of soft masks (B, H, W) in [0, 1]."""
    both = (share * alpha).sum((1, 2))
    return both / (share + alpha - share * alpha).sum((1, 2)).clamp_min(1e-6)


def salient_stage(model: SalientNetwork, data: Composites, steps: int, batch: int = 16) -> Stage:
    """The stage that trains the network: cross-entropy of every pixel, and one less the soft IoU of
    every picture, so that small objects count as much as large ones."""
    # A fifth faster on CPUs.
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def draw(step: Step) -> dict[str, torch.Tensor]:
        pictures, alpha = data.draw(batch, step.random.generator("batch"))
        return {"pictures": pictures, "alpha": alpha}

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with half_precision(drawn["pictures"].device):
            logits = model(drawn["pictures"]).float()
        return {
            "pixels": F.binary_cross_entropy_with_logits(logits, drawn["alpha"]),
            "overlap": (1 - overlap(logits.sigmoid(), drawn["alpha"])).mean(),
        }

    group = ParameterGroup(
        "salient",
        list(model.parameters()),
        "cos 2e-3->2e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("salient", steps, {"salient": model}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def salient_figures(
    model: SalientNetwork, data: Composites, count: int = HELD_OUT
) -> dict[str, float]:
    """IoU of thresholded masks with the alpha of composites that are always the same: the mean, and
    that of the worst tenth."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    found: list[float] = []
    while len(found) < count:
        pictures, alpha = data.draw(min(32, count - len(found)), generator)
        masks = (model(pictures) > 0).float()
        found += overlap(masks, (alpha > 0.5).float()).tolist()
    found.sort()
    worst = found[: max(1, count // 10)]
    return {"iou": sum(found) / len(found), "iou, worst tenth": sum(worst) / len(worst)}


def train_salient(options: TrainingOptions) -> dict[str, float]:
    """Train the embedded salient object network; writes out/salient, returns its figures on
    composites of held-out objects.

    Raises: ConfigError, ModelError, CheckpointError, OutputError.
    """
    toybox_only(options)
    claim(options, "salient")
    data = options.objects_of("train", composites)
    torch.manual_seed(options.seed)
    size = recipe(options.preset, "salient")
    model = SalientNetwork(size.widths)
    if options.start is not None:
        begin(model, SalientNetwork.load(Path(options.start)), options.start)
    run(options, salient_stage(model, data, options.steps or size.steps, batch=size.batch))
    figures = salient_figures(model, options.objects_of("test", composites, 400))
    model.save(options.out / "salient")
    note_world(options, options.out / "salient")
    return report(options, "salient", figures)
