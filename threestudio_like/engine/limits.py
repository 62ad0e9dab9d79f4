"""What is done at once, as it is decided while a program runs: by a memory plan, or after memory
ran out. It changes how a result is computed, not which one, and therefore stands in no
configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is done at once; what is not named is left as the configuration has it.

    Attributes:
        samples: of a rendering at once, by the name of the stage; 0 for all.
        entries: of the UNet's batch at once; 0 for all.
        images: through the autoencoder at once; 0 for all.
        offload: keep weights in main memory, and bring each layer to the device when it runs.
    """

    samples: Mapping[str, int] = field(default_factory=dict)
    entries: int | None = None
    images: int | None = None
    offload: bool = False
