"""Text files from other programs."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from ....engine.text import line_name

_MOST_LISTED = 6
_MARK = b"\xef\xbb\xbf"


def without_mark(data: bytes) -> bytes:
    """The bytes of a text without the byte order mark (BOM) of UTF-8, which editors of Windows put
    before it."""
    return data.removeprefix(_MARK)


def listed(names: Collection[str]) -> str:
    """Names from a file for one line of a note, the first of them where there are many."""
    shown = [line_name(name)[:40] for name in islice(names, _MOST_LISTED)]
    return ", ".join(shown) + (", …" if len(names) > _MOST_LISTED else "")
