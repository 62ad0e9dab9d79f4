"""Text from strangers (names in files, prompts, messages of libraries) made safe to print and to
write into files of lines."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

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
    """A name for one line of a text file (OBJ, MTL): `printable`, without space at its ends or
    twice within, `default` where nothing is left."""
    return " ".join(printable(text).split()) or default


def words_of(text: str, also: str = "") -> list[str]:
    """The words of a text in any script, in order.

    Of ASCII, letters, digits and the characters of `also` belong to words. Beyond it letters with
    their marks, digits and symbols (emoji, with what joins them) do; punctuation and spaces of
    every script part words.
    """
    words, word = [], ""
    for character in text:
        if _in_word(character, also):
            word += character
        elif word:
            words.append(word)
            word = ""
    return [*words, word] if word else words


def slug(text: str, separator: str, longest: int) -> str:
    """A part of a file's or a node's name: letters and digits of any script in lower case, all else
    one `separator`; at most `longest` characters, empty where nothing is left. What the machine's
    file names cannot hold is left out."""
    plain = unicodedata.normalize("NFC", text).lower()
    encoding = sys.getfilesystemencoding()
    out = ""
    for character in plain:
        letter = character.isascii() and character.isalnum()
        if not character.isascii() and unicodedata.category(character)[0] in "LMN":
            letter = character.encode(encoding, "ignore") != b""
        if letter:
            out += character
        elif not out.endswith(separator):
            out += separator
    return out.strip(separator)[:longest]


def _in_word(character: str, also: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in also
    return unicodedata.category(character)[0] in "LMNS" or character in _JOINERS


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON as the standard has it: numbers that are not finite are null, paths and other objects
    their text, NumPy numbers and tables plain ones."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, or a key of it comes twice: of
    the two values one would be lost."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice[:60]}" is there twice')
    return found


def _plain(value: Any) -> Any:
    # What most values are, first: pages of thousands of items pass through here.
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def lines_of(findings: dict[str, Any], indent: str = "") -> str:
    """One line a figure, groups indented below their name; names and values come from files of
    strangers, so what a terminal would take for a command is replaced."""
    lines = []
    for label, value in findings.items():
        name = printable(str(label))
        if isinstance(value, dict):
            lines += [f"{indent}{name}", lines_of(value, indent + "  ")]
        elif isinstance(value, float):
            lines.append(f"{indent}{name:<34}{value:.6g}")
        elif isinstance(value, (list, tuple)):
            texts = [f"{v:.6g}" if isinstance(v, float) else printable(str(v)) for v in value]
            lines.append(f"{indent}{name:<34}{', '.join(texts) or '-'}")
        else:
            lines.append(f"{indent}{name:<34}{printable(str(value))}")
    return "\n".join(line for line in lines if line)


def duration(seconds: float) -> str:
    """Seconds as people say them: 48 s, 2 min 48 s, 1 h 05 min."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
