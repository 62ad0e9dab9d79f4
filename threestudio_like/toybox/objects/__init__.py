"""Twenty categories of parametric objects."""

from .catalogue import BUILDERS, HAS_FRONT
from .parts import ACCENTS, Part, Proportions

__all__ = ["ACCENTS", "BUILDERS", "HAS_FRONT", "Part", "Proportions"]
