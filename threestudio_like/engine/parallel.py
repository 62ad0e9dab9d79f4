"""Steps in microbatches, over several processes or one after the other.

Gradients are averaged over the microbatches, and the clock of rank 0 decides when a stage ends.
Training draws a different batch on every rank. A run that optimises one asset draws the same random
numbers on every rank and gives each microbatch its share of the step's views
(`Step.microbatch_views`), so that the result equals that of the whole step at once.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn

from .errors import RankError

RANK, WORLD, MEETING = "THREESTUDIO_LIKE_RANK", "THREESTUDIO_LIKE_WORLD", "THREESTUDIO_LIKE_MEETING"
"""Environment variables that tell a process its rank, the number of ranks and where they meet."""
PATIENCE = timedelta(seconds=180)
"""How long a rank waits for the others before it gives up."""


class ProcessGroup:
    """The ranks of a run.

    On a CPU the back end is gloo and the ranks meet in a file, so that no network is used; on a GPU
    it is the back end of the device (NCCL), and each rank has a device of its own, which is the
    current one (`kernels.devices.settle`).

    Args:
        rank: this process, 0 to world - 1. Only rank 0 writes files.
        world: number of processes.
        meeting: a path that does not exist yet, the same for all; None where the launcher's
            environment says how to meet (torchrun).
        device: of the tensors that are averaged; main memory by default.
    """

    at_work = False
    """Whether this process has started to work as a helper rank, which reports its own errors."""

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
        self._open = True
        # A process that ends with its group still there may abort: threads of gloo let go of
        # tensors while the interpreter is taken down (pytorch/pytorch#179291).
        atexit.register(self.close, together=False)

    @staticmethod
    def from_environment(device: str) -> ProcessGroup | None:
        """The group that `--ranks` or torchrun describes in the environment; None without one."""
        known = os.environ
        if RANK in known:
            return ProcessGroup(
                int(known[RANK]), int(known[WORLD]), Path(known[MEETING]), device=device
            )
        if "TORCHELASTIC_RUN_ID" in known and int(known.get("WORLD_SIZE", "1")) > 1:
            return ProcessGroup(int(known["RANK"]), int(known["WORLD_SIZE"]), None, device=device)
        return None

    @contextmanager
    def _together(self, what: str) -> Iterator[None]:
        """Turn a failed collective operation into a RankError that tells the user what to do."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:120]
            raise RankError(
                f"another rank has failed or does not answer ({what}: {reason})",
                f"rank {self.rank} of {self.world}",
                "See the message of that rank; --resume continues from the checkpoint, "
                "with any number of ranks",
            ) from None

    def average(
        self, parameters: list[nn.Parameter], fraction: float, stop: bool, loss: torch.Tensor
    ) -> tuple[float, bool, torch.Tensor]:
        """Average the gradients in place.

        Returns:
            Rank 0's fraction, whether any process wants to stop, and the mean loss (), which is
            not a number on every rank if it is none on one.

        Raises:
            RankError: another rank does not answer.
        """
        import torch.distributed as dist

        lead = float(self.rank == 0) * self.world
        votes = torch.tensor([fraction * lead, float(stop)], device=self.device)
        losses = loss.detach().reshape(1).to(self.device, torch.float32)
        # A parameter that received no gradient on this rank counts as zero.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.reshape(-1).float() for g in grads] + [losses, votes])
        with self._together("averaging gradients"):
            dist.all_reduce(flat)
            flat /= self.world
            offset = 0
            for p in parameters:
                mean = flat[offset : offset + p.numel()].view_as(p)
                p.grad = mean.clone() if p.grad is None else p.grad.copy_(mean)
                offset += p.numel()
            return float(flat[-2]), bool(flat[-1] > 0), flat[-3]

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """Average every figure over the ranks, so that all ranks reach the same verdict. Raises
        RankError."""
        import torch.distributed as dist

        values = torch.tensor([*figures.values(), 0.0], device=self.device)
        with self._together("comparing figures"):
            dist.all_reduce(values)
            return dict(zip(figures, (values / self.world).tolist()))

    def broadcast(self, text: str) -> str:
        """Send the text of rank 0 to every rank, and return it there. Raises RankError."""
        import torch.distributed as dist

        message = [text]
        with self._together("waiting for a message of rank 0"):
            dist.broadcast_object_list(message, src=0, device=self.device)
        return message[0]

    def close(self, together: bool = True) -> None:
        """Leave the process group; nothing where that has been done.

        Args:
            together: wait for the other ranks, so that none leaves while another still reads what
                it has sent; not after an error, when they may be elsewhere.
        """
        import torch.distributed as dist

        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        if together:
            # A rank that has gone is not missed any more.
            with suppress(RuntimeError):
                dist.all_reduce(torch.zeros(1, device=self.device))
        if dist.is_initialized():
            dist.destroy_process_group()
        # What holds the group in a cycle would end its threads when the interpreter is gone.
        gc.collect()


class GradientAccumulator:
    """Accumulates the gradients of a step's microbatches.

    The sums are kept apart from the buffers that kernels write into. Every microbatch starts from
    zero gradients, as it would on a rank of its own, so that two microbatches in one process give
    the same bits as two ranks with the same number of threads.
    """

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
        """Add the parameters' present gradients to the sums."""
        self._count += 1
        for i, (p, known) in enumerate(zip(self._parameters, self._sums)):
            if p.grad is not None:
                self._sums[i] = p.grad.clone() if known is None else known.add_(p.grad)

    def mean(self) -> None:
        """Set the parameters' gradients to the mean over the microbatches."""
        for p, total in zip(self._parameters, self._sums):
            if p.grad is not None and total is not None:
                p.grad.copy_(total.div_(self._count))
