"""The second edition of the toybox: sixty-one categories in the proportions of ordinary things."""

from .edition import FIFTY

__all__ = ["FIFTY"]
