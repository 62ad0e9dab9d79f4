"""Packages for a machine that has PyTorch and nothing else: an archive of what a run has imported,
and its use."""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
import zipfile
from pathlib import Path

THERE = {
    "torch",
    "triton",
    "numpy",
    "pip",
    "setuptools",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
}
"""What comes with PyTorch; nvidia's packages too."""
UNUSED = {"numba", "llvmlite"}
"""Kernels of the CPU: plain torch serves there without them."""


def unpack(archive: Path) -> None:
    """Let an archive's packages serve where the machine's own do not: they come last."""
    if archive.is_file():
        folder = tempfile.mkdtemp()
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        sys.path.append(folder)


def pack(archive: Path) -> None:
    """Write the imported distributions, whole but for the parts of transformers that nothing has
    asked for."""
    owners = importlib.metadata.packages_distributions()
    used = {
        name for module in list(sys.modules) for name in owners.get(module.partition(".")[0], [])
    }
    used = {
        n
        for n in used
        if n.lower() not in THERE | UNUSED and not n.lower().startswith(("nvidia", "threestudio"))
    }
    imported = {
        str(Path(m.__file__).resolve())
        for m in list(sys.modules.values())
        if getattr(m, "__file__", None)
    }
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as packed:
        for name in sorted(used):
            for file in importlib.metadata.files(name) or []:
                path = Path(str(file.locate()))
                spare = (
                    "/models/" in str(file)
                    and file.parts[0] == "transformers"
                    and str(path.resolve()) not in imported
                )
                if (
                    path.is_file()
                    and ".." not in file.parts
                    and path.suffix != ".pyc"
                    and not spare
                ):
                    packed.write(path, str(file))
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, {', '.join(sorted(used))}")
