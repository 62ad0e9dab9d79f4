"""The rows of USD in the table of formats."""

from __future__ import annotations

from ...features import EVERYTHING
from ..formats import Format
from .reading import read_usd
from .writing import write_usd

_KEPT = EVERYTHING - {"unlit materials", "texture filters", "material variants"}


def _row(name: str, summary: str) -> Format:
    return Format(
        name=name,
        summary=f"{summary} (extra: usd)",
        suffixes=(f".{name}",),
        read=read_usd,
        write=write_usd,
        keeps=_KEPT,
    )


USDZ = _row("usdz", "one file with materials and textures, for phones and Apple's programs")
USD = _row("usd", "binary, with .png")
USDA = _row("usda", "text, with .png")
USDC = _row("usdc", "binary, with .png")
