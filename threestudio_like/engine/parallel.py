"""Steps in parts, over several processes or one after the other: gradients are averaged, the clock
of rank 0 rules.

Training draws another batch on every rank; a run that makes one asset draws the same numbers
everywhere and gives every part its share of the step's views (`Step.share`), so that the result is
that of the whole step at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn

from .errors import RankError

RANK, WORLD, MEETING = "THREESTUDIO_LIKE_RANK", "THREESTUDIO_LIKE_WORLD", "THREESTUDIO_LIKE_MEETING"
"""What tells a process that it is one of several."""
PATIENCE = timedelta(seconds=180)
"""How long a rank waits for the others."""


class Workers:
    """A process group. On a CPU it is gloo's and meets in a file, so that no network is used; on a
    GPU it is the device's own.

    Args:
        rank: this process, 0 to world - 1. Only rank 0 writes files.
        world: number of processes.
        meeting: a path that does not exist yet, the same for all; None where the launcher's
            environment says how to meet (torchrun).
        device: of the tensors that are averaged; main memory by default.
    """

    at_work = False
    """Whether this process has begun to help: from then on its errors are its own."""

    def __init__(
        self, rank: int, world: int, meeting: Path | None, device: str | None = None
    ) -> None:
        import torch.distributed as dist

        self.rank, self.world, self.device = (
            rank,
            world,
            torch.device(device or torch.get_default_device()),
        )
        method = "env://" if meeting is None else f"file://{meeting}"
        backend = dist.get_default_backend_for_device(self.device)
        with self._together("meeting"):
            dist.init_process_group(
                backend, init_method=method, rank=rank, world_size=world, timeout=PATIENCE
            )

    @staticmethod
    def from_environment(device: str) -> Workers | None:
        """The group that the environment tells of: that of `--ranks`, or torchrun's; None where
        there is none."""
        known = os.environ
        if RANK in known:
            return Workers(int(known[RANK]), int(known[WORLD]), Path(known[MEETING]), device)
        if "TORCHELASTIC_RUN_ID" in known and int(known.get("WORLD_SIZE", "1")) > 1:
            return Workers(int(known["RANK"]), int(known["WORLD_SIZE"]), None, device)
        return None

    @contextmanager
    def _together(self, what: str) -> Iterator[None]:
        """Turn the failure of a collective into the error that a user can mend."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:120]
            raise RankError(
                f"another rank has ended or does not answer ({what}: {reason})",
                f"rank {self.rank} of {self.world}",
                "See its own message; --resume goes on from the checkpoint, on any number of ranks",
            ) from None

    def average(
        self, parameters: list[nn.Parameter], fraction: float, stop: bool
    ) -> tuple[float, bool]:
        """Average the gradients in place; returns rank 0's fraction, and whether any process wants
        to stop. Raises RankError."""
        import torch.distributed as dist

        lead = float(self.rank == 0) * self.world
        said = torch.tensor([fraction * lead, float(stop)], device=self.device)
        # A parameter that no view of this rank has touched counts as zero.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.reshape(-1).float() for g in grads] + [said])
        with self._together("averaging gradients"):
            dist.all_reduce(flat)
            flat /= self.world
            offset = 0
            for p in parameters:
                mean = flat[offset : offset + p.numel()].view_as(p)
                p.grad = mean.clone() if p.grad is None else p.grad.copy_(mean)
                offset += p.numel()
            return float(flat[-2]), bool(flat[-1] > 0)

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """Every figure's mean over the ranks, so that all of them judge alike. Raises RankError."""
        import torch.distributed as dist

        values = torch.tensor([*figures.values(), 0.0], device=self.device)
        with self._together("comparing figures"):
            dist.all_reduce(values)
            return dict(zip(figures, (values / self.world).tolist()))

    def told(self, text: str) -> str:
        """What rank 0 says, on every rank. Raises RankError."""
        import torch.distributed as dist

        said = [text]
        with self._together("listening to rank 0"):
            dist.broadcast_object_list(said, src=0, device=self.device)
        return said[0]

    def close(self) -> None:
        """Leave the group."""
        import torch.distributed as dist

        dist.destroy_process_group()


class Sums:
    """Gradients of a step's parts, added up apart from the buffers that kernels write into: every
    part's sum begins at zero, as on a rank of its own, so that two parts of one process give bit
    for bit what two ranks of as many threads do."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self._parameters = parameters
        self._sums: list[torch.Tensor | None] = [None] * len(parameters)
        self._count = 0

    def clear(self) -> None:
        """Set the parameters' gradients to zero; their buffers are kept."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            torch._foreach_zero_(gradients)

    def add(self) -> None:
        """Add the parameters' gradients."""
        self._count += 1
        for i, (p, known) in enumerate(zip(self._parameters, self._sums)):
            if p.grad is not None:
                self._sums[i] = p.grad.clone() if known is None else known.add_(p.grad)

    def mean(self) -> None:
        """Give the parameters the mean as their gradient."""
        for p, total in zip(self._parameters, self._sums):
            if p.grad is not None and total is not None:
                p.grad.copy_(total.div_(self._count))
