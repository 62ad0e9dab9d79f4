"""The process behind `--viewer`: shows a run until the one that started it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from .follow import announce
from .runs import RunsViewer

LINGER_SECONDS = 3.0
"""How long a page is served after its run's process has ended, so that it hears of the end."""


def main(folder: Path, host: str, port: int) -> None:
    """Show a run until standard input ends, which happens when its process does."""
    # Ctrl-C in the terminal is the run's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    viewer = RunsViewer([folder], port=port, host=host)
    if viewer.server.warning:
        print(viewer.server.warning, file=sys.stderr, flush=True)
    announce(f"The run is shown at {viewer.server.address}", viewer.server.address, True)
    if hasattr(os, "nice"):
        # The page opens at once; from then on the processor is the run's first.
        os.nice(5)
    while not ended.is_set() and folder.is_dir():
        viewer.refresh()
        ended.wait(0.5 if viewer.server.watched else 1.5)
    until = time.monotonic() + (LINGER_SECONDS if viewer.server.watched else 0.0)
    while time.monotonic() < until and folder.is_dir():
        viewer.refresh()
        time.sleep(0.3)
    if viewer.server.watched:
        viewer.take_leave()
        time.sleep(0.3)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
