"""`samples`: the sample shapes, pictures and meshes that the documentation uses, written into a
folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..engine.errors import InputError
from ..engine.output import write_files

EXAMPLES = (
    "threestudio-like samples",
    "threestudio-like samples ~/threestudio-samples",
)
KINDS = ("shapes", "pictures", "meshes")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Write the sample shapes, pictures and meshes of the documentation into a folder."""

    folder: tyro.conf.Positional[Path] = Path("assets")
    """Where to; it gets shapes/, pictures/ and meshes/."""
    force: bool = False
    """Replace files of these names that are others."""


def call(options: Samples) -> None:
    """Carry it out; prints how many files were written."""
    new, total = write_samples(options.folder, force=options.force)
    print(f"{options.folder}: {total} sample files, {len(new)} of them new")


def samples_folder() -> Path:
    """Where the samples lie: inside the installed package, or in the checkout beside it. Raises
    InputError."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "assets", package.parent / "assets"):
        if (folder / KINDS[0]).is_dir():
            return folder
    raise InputError(
        "the sample files are missing", str(package / "assets"), "Reinstall the package"
    )


def write_samples(folder: Path, *, force: bool = False) -> tuple[list[Path], int]:
    """Write the samples into `folder`/shapes, /pictures and /meshes; those that are there already,
    byte for byte, are left alone.

    Args:
        force: replace files of these names that are others.

    Returns:
        The files that were written, and the number of all.

    Raises:
        OutputError: a file of another content is in the way, and then nothing is written.
        InputError: the package has no samples.
    """
    source = samples_folder()
    files = sorted(p for kind in KINDS for p in (source / kind).iterdir() if p.is_file())
    wanted = {folder / p.relative_to(source): p.read_bytes() for p in files}
    new = {target: data for target, data in wanted.items() if not _same(target, data)}
    write_files(new, force=force)
    return list(new), len(wanted)


def _same(target: Path, data: bytes) -> bool:
    try:
        return target.is_file() and target.read_bytes() == data
    except OSError:
        return False
