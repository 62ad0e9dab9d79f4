"""The row of COLLADA in the table of formats."""

from __future__ import annotations

from ..formats import Format
from .reading import read_dae

DAE = Format(
    name="dae",
    summary="COLLADA scenes, with materials and pictures (read only; extra: formats)",
    suffixes=(".dae",),
    read=read_dae,
)
