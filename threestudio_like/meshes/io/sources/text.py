"""Text files from other programs."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from ....engine.text import line_name

_MOST_LISTED = 6
MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark (BOM)."""


def without_mark(data: bytes) -> bytes:
    """The bytes of a text without the byte order mark, which editors of Windows put before it."""
    return data.removeprefix(MARK)


def decoded(data: bytes) -> str:
    """Text of a file whose encoding is not said: UTF-8, else that of Windows."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def listed(names: Collection[str]) -> str:
    """Names from a file for one line of a note, the first of them where there are many."""
    shown = [line_name(name)[:40] for name in islice(names, _MOST_LISTED)]
    return ", ".join(shown) + (", …" if len(names) > _MOST_LISTED else "")
