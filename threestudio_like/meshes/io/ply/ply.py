"""The row of PLY in the table of formats."""

from __future__ import annotations

from ..formats import Format
from .reading import read_ply
from .writing import hidden_colours, write_ply

PLY = Format(
    name="ply",
    summary="positions, faces, vertex colours and textures, binary, with .png",
    suffixes=(".ply",),
    read=read_ply,
    write=write_ply,
    keeps=frozenset(
        {"textures", "texture coordinates", "vertex colours", "vertex alpha", "far origin"}
        | {"changed normals"}
    ),
    psnr=20.0,
    also_loses=hidden_colours,
)
