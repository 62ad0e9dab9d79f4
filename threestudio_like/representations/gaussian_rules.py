"""The rules by which Gaussians become more and fewer (Kerbl et al. 2023, section 5): those that are
pulled strongly across the pictures are cloned where they are small and split where they are large,
faint and oversized ones are removed, and opacities are lowered from time to time.

Every decision follows from what is saved and from counter-based random numbers, so that a resumed
run, other ranks and another number of parts do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, Share, Weight
from ..engine.stage import Step
from ..kernels.reference.gaussians import rotation_matrices

if TYPE_CHECKING:
    from .gaussians import GaussianCloud

SHRINK = 1.6
"""By which the halves of a split Gaussian are smaller."""


@dataclass(frozen=True, kw_only=True)
class DensifyConfig:
    """When Gaussians are added and removed, and which."""

    every: Count = 50
    """Steps between two looks; 0 for never."""
    since: Share = 0.05
    """Fraction of the stage before which nothing is added or removed."""
    until: Share = 0.7
    """Fraction of the stage after which nothing is."""
    gradient: Weight = 2e-4
    """Mean length of a view's gradient in the centre, in pictures from -1 to 1, from which a
    Gaussian is cloned or split."""
    small: Weight = 0.05
    """Largest scale in scene units of a Gaussian that is cloned; larger ones are split."""
    least_opacity: Share = 0.01
    """Fainter ones are removed."""
    largest: Weight = 0.3
    """Ones with a larger scale, in scene units, are removed; 0 for none."""
    reset_every: Count = 0
    """Steps between two resets of all opacities; 0 for never."""
    reset_to: Share = 0.05
    """The opacity that none exceeds after a reset."""

    def due(self, step: Step) -> bool:
        """Whether it is time to look."""
        return (
            self.every > 0
            and step.index > 0
            and step.index % self.every == 0
            and self.since <= step.fraction < self.until
        )

    def resets(self, step: Step) -> bool:
        """Whether opacities are reset now."""
        return (
            self.reset_every > 0
            and step.index > 0
            and step.index % self.reset_every == 0
            and step.fraction < self.until
        )


@torch.no_grad()
def densify(
    cloud: GaussianCloud, rules: DensifyConfig, random: RandomStream
) -> dict[nn.Parameter, torch.Tensor]:
    """Clone, split and remove; returns the former row of every row (capacity,), -1 for new ones,
    for each parameter.

    Where there is no room for all that would be added, those that are pulled most come first.
    """
    n, room = len(cloud), cloud.config.capacity
    device = cloud.device
    mean = cloud.pulls[:n] / cloud.sights[:n].clamp_min(1)
    largest = cloud.log_scales[:n].exp().amax(-1)
    faint = torch.sigmoid(cloud.logits[:n]) < rules.least_opacity
    wide = largest > rules.largest if rules.largest > 0 else torch.zeros_like(faint)
    pulled = (mean >= rules.gradient) & (mean > 0) & ~faint
    # A Gaussian that is too large is split before it is removed.
    keep = ~faint & (~wide | pulled)
    if not bool(keep.any()):
        keep[largest.argmin()] = True
    wanted = (pulled & keep).nonzero()[:, 0]
    ranked = wanted[mean[wanted].argsort(descending=True, stable=True)]
    chosen = ranked[: max(0, room - int(keep.sum()))].sort().values
    split = largest[chosen] > rules.small
    clones, parents = chosen[~split], chosen[split]
    stays = keep.clone()
    stays[parents] = False
    old = stays.nonzero()[:, 0]
    drawn = random.whole.normal("split", (max(1, len(parents)), 2, 3)).to(device)[: len(parents)]
    turns = rotation_matrices(cloud.rotations[parents])
    offsets = (turns[:, None] @ (drawn * cloud.log_scales[parents].exp()[:, None])[..., None])[
        ..., 0
    ]
    twice = parents.repeat_interleave(2)
    source = torch.cat([old, clones, twice])
    total = len(source)
    for parameter in cloud.rows().values():
        parameter[:total] = parameter[source].clone()
    halves = slice(total - len(twice), total)
    cloud.positions[halves] += offsets.reshape(-1, 3)
    cloud.log_scales[halves] -= torch.log(torch.tensor(SHRINK))
    cloud.count.fill_(total)
    cloud.pulls.zero_()
    cloud.sights.zero_()
    rows = torch.full((room,), -1, dtype=torch.long, device=device)
    rows[: len(old)] = old
    return dict.fromkeys(cloud.rows().values(), rows)


@torch.no_grad()
def reset_opacities(cloud: GaussianCloud, rules: DensifyConfig) -> dict[nn.Parameter, torch.Tensor]:
    """Lower opacities to `rules.reset_to`; their moments begin anew."""
    limit = torch.logit(torch.tensor(min(max(rules.reset_to, 1e-4), 1 - 1e-4)))
    cloud.logits.clamp_(max=float(limit))
    rows = torch.full((cloud.config.capacity,), -1, dtype=torch.long, device=cloud.device)
    return {cloud.logits: rows}
