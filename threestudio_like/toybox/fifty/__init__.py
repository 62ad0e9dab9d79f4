"""The second edition of the toybox: fifty-six categories in the proportions of ordinary things."""

from .edition import FIFTY

__all__ = ["FIFTY"]
