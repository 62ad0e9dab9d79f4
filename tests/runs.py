"""Short runs that several test files share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from threestudio_like.cli import main

SMALL = ["--faces", "1500", "--texture", "128", "--no-turntable"]
QUICK = [
    *("--start.refine.times", "1.0", "--start.refine.steps", "2", "--start.iterations", "8"),
    *("--steps", "10", "--export.resolution", "64"),
    *SMALL,
]
"""A run of `generate` of a few seconds: start, distil, rgb."""
COARSE = ["--export.resolution", "24", "--faces", "300", "--texture", "64", "--no-turntable"]
"""What makes an asset of a field in no time."""
SMALL_FIELD = [
    *("--representation.hash.levels", "4", "--representation.hash.log2-size", "10"),
    *("--renderer.samples", "16", "--renderer.occupancy", "16"),
]
"""A hash grid and a renderer for priors of random weights."""
MUG = Path(__file__).parent.parent / "assets" / "shapes" / "mug.obj"
CAR = Path(__file__).parent.parent / "assets" / "pictures" / "car.jpg"


def sha(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*words: object) -> int:
    """The command line in this process; its exit code."""
    return main([str(word) for word in words])
