"""A command of one's own: `count` says how many faces and pieces a mesh has; in a batch, of
thousands.

threestudio-like count chair.glb --plugins command_count.py
threestudio-like batch meshes.csv --plugins command_count.py        # column "command": count
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from threestudio_like import Asset
from threestudio_like.commands.registry import command
from threestudio_like.engine.errors import InputError


def count(options: Count) -> dict[str, Any]:
    """Print the numbers and return them."""
    asset = Asset.load(options.mesh)
    figures = {
        "meshes": len(asset.meshes),
        "faces": sum(len(mesh.faces) for mesh in asset.meshes.values()),
        "pieces": sum(int(mesh.components().max()) + 1 for mesh in asset.meshes.values()),
    }
    print(", ".join(f"{value} {name}" for name, value in figures.items()))
    return figures


def check(options: Count) -> None:
    """What a batch asks before it begins."""
    if not options.mesh.is_file():
        raise InputError("there is no such file", "--mesh", "Give the path of a mesh")


@command("count", count, ("threestudio-like count chair.glb",), check=check)
@dataclass(frozen=True, kw_only=True)
class Count:
    """Count the faces and pieces of a mesh."""

    mesh: tyro.conf.Positional[Path] = Path("mesh.glb")
    """A file of any format that is read."""
    plugins: tuple[Path, ...] = ()
    """Python files that register a format or anything else."""
