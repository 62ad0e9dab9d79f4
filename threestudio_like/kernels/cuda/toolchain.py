"""The one thing that Triton does not bring: it builds its launcher, a small C file, with a C
compiler when a machine runs it for the first time.

Where the system has none, the compiler of the package ziglang serves, which pip installs. Python's
headers have to be there in any case.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def compiler() -> list[str]:
    """The command of a C compiler: $CC, gcc or clang, else ziglang's; empty where there is none."""
    for name in (os.environ.get("CC"), "gcc", "clang"):
        if name and shutil.which(name):
            return [name]
    package = importlib.util.find_spec("ziglang")
    return (
        [str(Path(package.origin).with_name("zig")), "cc"]
        if package is not None and package.origin
        else []
    )


def headers() -> Path:
    """Where Python's own headers are, or would be."""
    scheme = sysconfig.get_default_scheme()
    return Path(
        sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]
    )


def missing() -> str:
    """What a first use of Triton lacks here and how to get it; empty where nothing is."""
    if not compiler():
        return "Triton's launcher wants a C compiler once: apt install gcc, or pip install ziglang"
    if not (headers() / "Python.h").is_file():
        return (
            "Triton's launcher wants Python's headers once: apt install python3-dev, or a "
            "Python of uv or conda"
        )
    return ""


def build(
    name: str,
    source: str,
    folder: str,
    library_dirs: Sequence[str],
    include_dirs: Sequence[str],
    libraries: Sequence[str],
) -> str:
    """Build a module of C for Triton (its hook `knobs.build.impl`); returns the shared library's
    path.

    Raises:
        RuntimeError: it cannot be built; the compiler's first complaint.
    """
    target = Path(folder) / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    found = [
        next((Path(d) / lib for d in library_dirs if (Path(d) / lib).is_file()), None)
        for lib in libraries
    ]
    # Files by their paths: not every linker knows names that end in .so.1.
    linked = [str(path) if path is not None else f"-l{lib}" for path, lib in zip(found, libraries)]
    command = [
        *compiler(),
        source,
        "-O2",
        "-shared",
        "-fPIC",
        "-o",
        str(target),
        *linked,
        *(f"-I{d}" for d in (*include_dirs, folder, str(headers()))),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        complaint = next(
            (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()
        )
        raise RuntimeError(f"{compiler()[0]}: {complaint[:200]}")
    return str(target)


def prepare() -> None:
    """Let Triton build with ziglang's compiler where the system has none of its own."""
    if len(compiler()) > 1:
        from triton import knobs

        knobs.build.impl = build
