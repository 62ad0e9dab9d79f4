"""The viewer of a run (`--viewer`), of which the run itself knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from .launcher import rank_here
from .options import RunOptions

Shown = Callable[[Path], AbstractContextManager[object]]
"""Shows a run's folder for as long as the context lasts."""


def viewer_of(settings: RunOptions, *, quiet: bool) -> Shown:
    """How a run is shown while it goes; nothing is where none is asked for, within another run
    (`quiet`), and on ranks other than the first. Raises ConfigError where viser is missing."""
    if not settings.viewer or quiet or rank_here() > 0:
        return lambda folder: nullcontext()
    from ..reports.viewer import check_viewer, follow

    check_viewer()
    return follow
