"""Counter-based random numbers: every draw is keyed by (seed, stage, step, purpose), and does not
depend on what was drawn before.

Resuming needs no generator state, and drawing a preview more or less often changes nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class RandomStream:
    """The random numbers of one step of one stage.

    Example:
        >>> stream = RandomStream(seed=0, stage="distil", step=7)
        >>> noise = stream.normal("noise", (4, 4, 16, 16))
        >>> same = stream.normal("noise", (4, 4, 16, 16))
        >>> bool((noise == same).all())
        True
    """

    seed: int
    stage: str
    step: int
    microbatch_index: int = 0
    microbatches: int = 1

    def microbatch(self, index: int, count: int) -> RandomStream:
        """The random numbers of microbatch `index` of `count`: its share, along the first axis, of
        what is drawn for the whole step."""
        return replace(self, microbatch_index=index, microbatches=count)

    @property
    def whole(self) -> RandomStream:
        """The random numbers that all microbatches of a step share."""
        return replace(self, microbatch_index=0, microbatches=1)

    def _all(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] * self.microbatches, *shape[1:]) if shape else shape

    def _mine(self, drawn: torch.Tensor) -> torch.Tensor:
        if drawn.ndim == 0 or self.microbatches == 1:
            return drawn
        return drawn.chunk(self.microbatches)[self.microbatch_index]

    def key(self, purpose: str) -> int:
        """The 63-bit counter key of a purpose."""
        text = f"{self.seed}/{self.stage}/{self.step}/{purpose}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator for the purpose. Draws are made on the CPU, so that every device sees the
        same numbers."""
        return torch.Generator().manual_seed(self.key(purpose))

    def normal(
        self, purpose: str, shape: tuple[int, ...], device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Standard normal float32 tensor."""
        return self._mine(torch.randn(self._all(shape), generator=self.generator(purpose))).to(
            device
        )

    def uniform(
        self, purpose: str, shape: tuple[int, ...] = (), device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Uniform float32 tensor in [0, 1)."""
        return self._mine(torch.rand(self._all(shape), generator=self.generator(purpose))).to(
            device
        )

    def integers(
        self, purpose: str, low: int, high: int, shape: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """Uniform int64 tensor in [low, high)."""
        return self._mine(
            torch.randint(low, high, self._all(shape), generator=self.generator(purpose))
        )

    def numpy(self, purpose: str) -> np.random.Generator:
        """A NumPy generator for the purpose."""
        return np.random.Generator(np.random.Philox(key=self.key(purpose)))


@contextmanager
def deterministic_sums(device: torch.device | str | None = None) -> Iterator[None]:
    """Within it, sums on a CPU are added up in one order.

    Several threads of torch add the gradients of a gather (`x[index]`) to the same numbers in the
    order in which they come, which a busy machine changes. Its deterministic algorithms do not; on
    other devices, where not every operation has one, nothing is changed.
    """
    if not torch.empty(0, device=device).is_cpu:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled
