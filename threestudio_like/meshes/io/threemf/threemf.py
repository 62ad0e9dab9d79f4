"""The row of 3MF in the table of formats."""

from __future__ import annotations

from ..formats import Format
from .reading import read_3mf
from .writing import write_3mf

THREEMF = Format(
    name="3mf",
    summary="named parts with colours in millimetres, for printers",
    suffixes=(".3mf",),
    read=read_3mf,
    write=write_3mf,
    keeps=frozenset({"parts", "vertex colours", "vertex alpha", "far origin"}),
    psnr=20.0,
)
