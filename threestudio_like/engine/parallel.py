"""Data-parallel training over processes of one machine: gradients are averaged, the clock of rank 0 rules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class Workers:
    """A gloo process group that meets in a file; no network is used.

    Args:
        rank: this process, 0 to world - 1. Only rank 0 writes files.
        world: number of processes.
        meeting: a path that does not exist yet, the same for all.
    """

    def __init__(self, rank: int, world: int, meeting: Path) -> None:
        import torch.distributed as dist

        self.rank, self.world = rank, world
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)

    def average(self, parameters: list[nn.Parameter], fraction: float, stop: bool) -> tuple[float, bool]:
        """Average the gradients in place; returns rank 0's fraction, and whether any process wants to stop."""
        import torch.distributed as dist

        lead = float(self.rank == 0) * self.world
        said = torch.tensor([fraction * lead, float(stop)])
        flat = torch.cat([p.grad.reshape(-1).float() for p in parameters if p.grad is not None] + [said])
        dist.all_reduce(flat)
        flat /= self.world
        offset = 0
        for p in parameters:
            if p.grad is not None:
                p.grad.copy_(flat[offset : offset + p.numel()].view_as(p))
                offset += p.numel()
        return float(flat[-2]), bool(flat[-1] > 0)

    def close(self) -> None:
        """Leave the group."""
        import torch.distributed as dist

        dist.destroy_process_group()
