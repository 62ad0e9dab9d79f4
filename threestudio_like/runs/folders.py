"""Where a run lives: a folder of its own, never overwritten; outputs/latest points at the newest
that has delivered."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from ..engine.checkpoint import output_error
from ..engine.errors import CheckpointError, OutputError
from ..engine.places import user_path
from ..engine.text import slug

OUTPUTS = Path("outputs")


def make_folder(name: str, out: Path | None) -> Path:
    """Make a new run's folder with work/ in it and return its absolute path. Of several processes
    that want the same one at once, one gets it.

    Args:
        name: what the folder is called after where `out` is None.
        out: the folder that the user wants.

    Raises:
        OutputError: it holds files already, or cannot be made or written to.
    """
    if out is not None:
        folder = user_path(out)
        if not _claim(folder):
            raise OutputError(
                "the folder holds files already",
                str(folder),
                "Choose another one, or add --resume to go on with its run",
            )
        return folder.resolve()
    stem = OUTPUTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(name, '-', 40) or 'run'}"
    folder, number = stem, 2
    while not _claim(folder):
        folder, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return folder.resolve()


def _claim(folder: Path) -> bool:
    """Make a folder with work/ in it; False where it holds anything. What could not be finished is
    removed again. Raises OutputError."""
    made: list[Path] = []
    try:
        if folder.is_dir() and any(folder.iterdir()):
            return False
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                made.append(path)
        try:
            (folder / "work").mkdir()
        except FileExistsError:
            return False
        made.append(folder / "work")
        probe = folder / "work" / ".probe"
        probe.write_bytes(b"0" * 4096)
        probe.unlink()
    except OSError as error:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                (path / ".probe").unlink(missing_ok=True)
                path.rmdir()
        raise output_error(error, folder) from None
    return True


def existing_folder(out: Path | None) -> Path:
    """The folder of the run that is to go on. Raises CheckpointError."""
    folder = user_path(out or OUTPUTS / "latest")
    if not folder.is_dir():
        remedy = "Give a run: threestudio-like resume FOLDER, or --resume --out FOLDER"
        raise CheckpointError("there is no run to resume", str(folder), remedy)
    return folder.resolve()


def remove_new_folder(folder: Path) -> None:
    """Remove a folder that a run made and left before it had done anything, and outputs/ with it
    where that is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name == OUTPUTS.name:
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def point_latest(folder: Path) -> None:
    """Let outputs/latest point at a run that has delivered; runs elsewhere have no such link."""
    if folder.parent != OUTPUTS.resolve():
        return
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        # A file system without links: "latest" is a convenience.
        temporary.unlink(missing_ok=True)
