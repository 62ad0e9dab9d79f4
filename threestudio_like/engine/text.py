"""Text from strangers (names in files, prompts, messages of libraries) made safe to print and to
write into files of lines."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Zero-width joiners are part of emoji and of some scripts' spelling."""


def printable(text: str, lines: bool = False) -> str:
    """The text without what a terminal or a line-based file would take for a command: control
    characters (ESC, NUL, newline, …), directional overrides and lone surrogates become spaces or
    "\N{REPLACEMENT CHARACTER}". Letters of every script, and emoji, stay.

    Args:
        lines: newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    out = []
    for character in text:
        if (lines and character in "\n\t") or character in _JOINERS:
            out.append(character)
        elif character in "\n\r\t\v\f\x85\u2028\u2029":
            out.append(" ")
        elif unicodedata.category(character) in _UNSEEN:
            out.append("\N{REPLACEMENT CHARACTER}")
        else:
            out.append(character)
    return "".join(out)


def line_name(text: str, default: str = "unnamed") -> str:
    """A name for one line of a text file (OBJ, MTL): `printable`, without space at its ends or twice
    within, `default` where nothing is left."""
    return " ".join(printable(text).split()) or default
