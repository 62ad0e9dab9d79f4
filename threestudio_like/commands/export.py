"""`export`: a run's asset, or a mesh file, in other formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

EXAMPLES = (
    "threestudio-like export outputs/latest --to obj ply stl --verify",
    "threestudio-like export outputs/latest --to mjcf usdz --physics --extent 60cm",
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's asset in other formats."""

    source: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, a mesh file, or a file of 3D Gaussians."""
    to: tuple[str, ...] = ("glb",)
    """Formats: glb, gltf, obj, ply, stl, 3mf, usdz, mjcf (rigid bodies), …, ply-splat and spz (3D
    Gaussians), or a plug-in's."""
    texture: int = 0
    """Largest texture size in pixels (0: as it is)."""
    faces: int = 0
    """Face budget of the whole asset (0: as it is)."""
    verify: bool = False
    """Read every file back, render it and compare; a bad file is an error."""
    turntable: bool = False
    """Film one turn of the asset too, as an MP4 beside the files."""
    size: int = 512
    """Pixels along the edge of the turntable, even in an MP4."""
    fps: float = 24.0
    """Frames a second of the turntable."""
    seconds: float = 4.0
    """Duration of the turntable."""
    transparent: bool = False
    """Film the turntable without a background: an animated WebP with alpha instead of an MP4."""
    physics: bool = False
    """Rigid bodies in USD too: convex pieces, masses, friction, a floor. MJCF always has them."""
    density: tuple[str, ...] = ()
    """Of rigid bodies, kg / m³: 600 (of all; the default), red_ball=90 (of one object)."""
    friction: float = 0.7
    """Coefficient of friction of rigid bodies."""
    pieces: str = "auto"
    """Convex pieces of what is not convex: coacd, hull (one convex hull a part), auto (coacd where
    it is installed)."""
    extent: str = ""
    """Length of the whole as rigid bodies, 40cm or 1.2m; by default one unit is a metre."""
    settle: bool = False
    """Let rigid bodies down first until their pieces stand."""
    out: Path | None = None
    """Folder to write to (default: beside the asset)."""
    force: bool = False
    """Replace files that are there already."""
    plugins: tuple[Path, ...] = ()
    """Python files that register formats."""
    json: bool = False
    """Print the verdicts as JSON."""


def call(options: Export) -> Any:
    """Carry it out; prints a line for each file."""
    from .jobs.export import export

    return export(options)
