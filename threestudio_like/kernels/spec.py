"""The shape of a multi-resolution feature grid (Müller et al. 2022, and the tiled variant of the
Latent-NeRF code)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class HashGridSpec:
    """Levels of a feature grid over [0, 1]^3 with 2 features a level.

    Attributes:
        levels: number of resolutions, geometrically spaced from `base` to `finest`.
        log2_size: log2 of the largest number of entries a level may have.
        base, finest: cells along an edge at the first and the last level.
        tiled: fold the dense index of a large level into the table instead of hashing it.
    """

    levels: int = 16
    log2_size: int = 19
    base: int = 16
    finest: int = 2048
    tiled: bool = False

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Cells along the edge minus one, a level."""
        growth = (math.log(self.finest) - math.log(self.base)) / max(1, self.levels - 1)
        return tuple(self.base * math.exp(level * growth) - 1.0 for level in range(self.levels))

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Grid points along the edge, a level."""
        return tuple(math.ceil(scale - 1e-6) + 2 for scale in self.scales)

    @cached_property
    def dense(self) -> tuple[bool, ...]:
        """Whether a level fits the table without folding."""
        return tuple(r**3 <= 1 << self.log2_size for r in self.resolutions)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each level; folded levels have a power of two."""
        return tuple(
            (r**3 + 7) // 8 * 8 if d else 1 << self.log2_size
            for r, d in zip(self.resolutions, self.dense)
        )

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First entry of each level, and the total at the end."""
        out = [0]
        for size in self.sizes:
            out.append(out[-1] + size)
        return tuple(out)

    @property
    def entries(self) -> int:
        """Entries of the whole table, (entries, 2) float32."""
        return self.offsets[-1]


PRIMES = (1, 2654435761, 805459861)
"""The hash of Müller et al. 2022, eq. 4: x XOR y * 2654435761 XOR z * 805459861."""
