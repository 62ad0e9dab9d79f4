"""Detects states from which an optimisation does not recover: NaN, empty, fog and a filled box.

A stage's `watch` may return these figures, all in [0, 1]:
    opacity: mean opacity of the last rendering;
    half: share of pixels that are half transparent (opacity between 0.1 and 0.9);
    border: mean opacity along the border of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .errors import CollapseError


@dataclass(frozen=True)
class Verdict:
    """A detected state: its name (nan, empty, fog or box), and the figures in words."""

    name: str
    saw: str


_REMEDY = {
    "nan": "Lower the learning rates (--stage.lr) or the guidance scale",
    "empty": "Raise the density blob or lower the sparsity weight",
    "fog": "Raise the opacity-entropy weight or lower the guidance scale",
    "box": "Raise the sparsity weight or lower the guidance scale",
}


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """Checks a stage at every tenth of its steps, and the loss of every step for NaN.

    Attributes:
        empty: mean opacity below which the scene counts as empty.
        fog: share of half-transparent pixels above which the volume counts as fog.
        box: opacity at the border above which the volume counts as filling its box.
        patience: fraction of the stage before which only NaN and empty are reported, because every
            field starts as a cloud.
        fewest: a stage with fewer steps is a trial, which only NaN stops.
    """

    empty: float = 0.002
    fog: float = 0.75
    box: float = 0.6
    patience: float = 0.6
    fewest: int = 20

    def due(self, index: int, steps: int) -> bool:
        """Whether the stage is to be checked after step `index`."""
        return steps >= self.fewest and (index + 1) % max(1, steps // 10) == 0

    def nan(self, total: torch.Tensor, parameters: Iterable[torch.nn.Parameter]) -> Verdict | None:
        """A verdict if the loss or a gradient is not finite, else None. Synchronises with the
        device once."""
        sums = [
            total.detach(),
            *(p.grad.sum().to(total.device) for p in parameters if p.grad is not None),
        ]
        loss, *gradients = torch.stack(sums).isfinite().tolist()
        if not loss:
            return Verdict("nan", "the loss is not a number")
        return None if all(gradients) else Verdict("nan", "a gradient is not a number")

    def look(self, figures: dict[str, float], fraction: float) -> Verdict | None:
        """A verdict on the figures of the stage's `watch`, or None if all is well."""
        opacity, half, border = figures.get("opacity"), figures.get("half"), figures.get("border")
        if opacity is not None and opacity < self.empty:
            return Verdict("empty", f"the scene is empty (mean opacity {opacity:.4f})")
        if fraction < self.patience:
            return None
        if border is not None and border > self.box:
            return Verdict(
                "box", f"the volume fills its box (opacity {border:.2f} at the picture's border)"
            )
        if half is not None and half > self.fog:
            return Verdict(
                "fog", f"the volume is fog ({half:.0%} of the pixels are half transparent)"
            )
        return None

    def error(self, verdict: Verdict, stage: str, index: int) -> CollapseError:
        """The error that stops a run after a verdict."""
        return CollapseError(
            f"{verdict.saw} at step {index}, and one recovery did not help",
            f'stage "{stage}"',
            _REMEDY[verdict.name],
        )
