"""Text files from other programs."""

from __future__ import annotations

_MARK = b"\xef\xbb\xbf"


def without_mark(data: bytes) -> bytes:
    """The bytes of a text without the byte order mark (BOM) of UTF-8, which editors of Windows put
    before it."""
    return data.removeprefix(_MARK)
