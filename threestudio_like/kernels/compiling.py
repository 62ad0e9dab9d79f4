"""Where Numba keeps what it compiles. This is settled before anything is compiled, so it is the
first import of the package `kernels`."""

from __future__ import annotations

import os

from ..engine.places import writable_cache


def _choose() -> bool:
    if "NUMBA_CACHE_DIR" in os.environ:
        return True
    folder = writable_cache("numba-0.1")
    if folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder is not None


CACHE = _choose()
"""Whether compiled code is kept: False where no folder can be written; Numba refuses to begin
then."""
