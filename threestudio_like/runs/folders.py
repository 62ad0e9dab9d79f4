"""Where a run lives: a folder of its own, never overwritten; outputs/latest points at the
newest."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..engine.checkpoint import output_error
from ..engine.errors import CheckpointError, OutputError
from ..engine.output import own_folder
from ..engine.text import slug
from ..reports.live import follow
from .options import Options


def run_folder(prompt: str, options: Options) -> Path:
    """Make the run's folder, show it in the browser if that is wished, and return it; an existing
    run is never overwritten.

    Raises:
        OutputError, CheckpointError: it cannot be made, or there is none to resume.
    """
    folder = _made(prompt, options)
    own_folder(folder)
    if options.viewer:
        follow(folder)
    return folder


def _made(prompt: str, options: Options) -> Path:
    if options.resume:
        folder = options.out or Path("outputs/latest")
        if not folder.is_dir():
            raise CheckpointError(
                "there is no run to resume", str(folder), "Give its folder with --out"
            )
        return folder.resolve()
    if options.out is not None:
        folder = options.out
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(
                "the folder holds files already",
                str(folder),
                "Choose another one, or add --resume to go on with its run",
            )
    else:
        name = slug(prompt, "-", 40) or "run"
        stem = Path("outputs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        folder, number = stem, 2
        while folder.exists():
            folder, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    try:
        (folder / "work").mkdir(parents=True)
        probe = folder / "work" / ".probe"
        probe.write_bytes(b"0" * 4096)
        probe.unlink()
    except OSError as error:
        raise output_error(error, folder) from None
    if options.out is None:
        _point_latest(folder)
    return folder.resolve()


def _point_latest(folder: Path) -> None:
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        # A file system without links: "latest" is a convenience.
        temporary.unlink(missing_ok=True)
