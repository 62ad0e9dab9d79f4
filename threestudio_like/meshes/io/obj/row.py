"""The row of OBJ in the table of formats."""

from __future__ import annotations

from ...features import COLOURS, LOOKUP, MAPS, PARTS
from ..formats import Format
from .reader import read_obj
from .writer import write_obj

OBJ = Format(
    name="obj",
    summary="text, with its materials (MTL) and pictures beside it",
    suffixes=(".obj",),
    read=read_obj,
    write=write_obj,
    keeps=PARTS | COLOURS | MAPS | LOOKUP | {"far origin", "changed normals"},
    patches="obj",
)
