"""`view`: a run, a mesh or a picture in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

EXAMPLES = (
    "threestudio-like view outputs/latest",
    'threestudio-like view scene.png "a red ball on a blue box"',
)


@dataclass(frozen=True, kw_only=True)
class View:
    """Show a run (also while it goes), several runs side by side, a mesh, points or Gaussians, or a
    picture whose objects you click: then it prints the compose command with their boxes. A mesh
    with a prompt: you paint what keeps its colour, and it prints the texture command. In the
    browser, on this machine alone unless you give another address."""

    path: tyro.conf.Positional[Path] = Path("outputs/latest")
    """A run's folder, a folder of runs, a file of any mesh format that is read, a PLY or SPZ of
    points or Gaussians, or a PNG, JPEG, WebP."""
    more: tyro.conf.Positional[tuple[str, ...]] = ()
    """Of a picture: what it shows, "a red ball on a blue box". Of a mesh: what the rest of it is to
    look like. Of a run: other runs, to be shown side by side."""
    port: int = 0
    """0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in that know the address with its token,
    and is what a container needs."""
    browser: bool = True
    """Open the browser, where there is a screen."""
    segmenter: str = "toybox"
    """Finds what is clicked: the embedded one, a name (sam-vit-base, sam2.1-tiny, …), a folder or a
    checkpoint."""
    seconds: float | None = None
    """End after so long; by default with Ctrl-C, or when the boxes are given."""
    plugins: tuple[Path, ...] = ()
    """Python files that register a format or anything else (docs/plug-ins.md)."""


def call(options: View) -> str:
    """Carry it out, until Ctrl-C; returns the command that a picture's boxes make."""
    from .jobs.view import show

    return show(options)
