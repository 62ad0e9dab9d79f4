"""Changes to the lines of an OBJ file: all others stay byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .statements import FACE, Statements

_REFERRING = {"l": 1, "p": 1, "curv": 3, "surf": 5}
"""Statements besides faces that name vertices -> the number of words before the first."""


class Edits:
    """The lines of a file with those that are replaced, left out or put in."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        head = statements.data[:4096]
        self.end = b"\r\n" if b"\r\n" in head else b"\n" if b"\n" in statements.data else b"\r"
        self.replaced: dict[int, bytes] = {}
        self.before: dict[int, list[bytes]] = {}
        self.tail: list[bytes] = []

    def text(self, lines: str) -> bytes:
        """Lines as bytes with the line breaks of the file."""
        return lines.encode().replace(b"\n", self.end)

    def replace(self, line: int, lines: str) -> None:
        """Put whole lines, "" for none, in place of one."""
        self.replaced[line] = self.text(lines)

    def insert(self, line: int, lines: str) -> None:
        """Put whole lines before one."""
        self.before.setdefault(line, []).append(self.text(lines))

    def keep_words(self, line: int, key: str, numbers: str, count: int) -> None:
        """Replace the first `count` numbers of a line; what follows them stays."""
        raw = self.statements.line(line)
        found = re.match(rb"\s*\S+" + rb"(?:[\s\\]+[^\s\\#]+)" * count, raw)
        rest = raw[found.end() :] if found else b""
        self.replaced[line] = f"{key} {numbers}".encode() + rest.rstrip(b"\r") + self.end

    def result(self) -> bytes:
        """The bytes of the changed file."""
        data, starts = self.statements.data, self.statements.starts
        parts, at = [], 0
        for line in sorted({*self.replaced, *self.before}):
            begin = int(starts[line])
            follows = int(starts[line + 1]) if line + 1 < len(starts) else len(data)
            parts.append(data[at:begin])
            parts += self.before.get(line, [])
            parts.append(self.replaced.get(line, data[begin:follows]))
            at = follows
        parts.append(data[at:])
        if self.tail and data and not data.endswith((b"\n", b"\r")):
            parts.append(self.end)
        return b"".join(parts + self.tail)

    def renumber(self, at: int, before: list[int], added: list[int]) -> None:
        """After `added` vertices, texture coordinates and normals were put in before the line `at`,
        which has `before` of them above it: correct the numbers in lines that are not replaced."""
        tables = [len(t) for t in self.statements.tables]
        later = any(n and t > b for n, t, b in zip(added, tables, before))
        s = self.statements
        begin = 0 if later else at
        if not any(added) or (not later and b"-" not in s.text[s.starts[at] :]):
            return
        lines = [(int(n), 1) for n in s.lines_of(FACE) if n >= begin]
        lines += [(r.line, _REFERRING[r.key]) for r in s.others if r.key in _REFERRING]
        for line, skip in lines:
            if line < begin or line in self.replaced:
                continue
            counts = [int(np.searchsorted(t, line)) for t in s.table_lines]
            shift = _shifter(line >= at, counts, before, added=added)
            raw, words = s.line(line), 0

            def word(found: re.Match[bytes], skip: int = skip, shift=shift) -> bytes:
                nonlocal words
                words += 1
                if words <= skip:
                    return found.group()
                fields = found.group().split(b"/")
                return b"/".join(shift(k, f) for k, f in enumerate(fields))

            body, mark, comment = raw.partition(b"#")
            changed = re.sub(rb"[^\s\\]+", word, body) + mark + comment
            if changed != raw:
                self.replaced[line] = changed.rstrip(b"\r") + self.end


def _shifter(
    after: bool, counts: list[int], before: list[int], added: list[int]
) -> Callable[[int, bytes], bytes]:
    """Maps (column, number) of a line to what it is now."""

    def shift(column: int, field: bytes) -> bytes:
        if column > 2 or not re.fullmatch(rb"[-+]?\d+", field) or not added[column]:
            return field
        number = int(field)
        index = number - 1 if number > 0 else counts[column] + number
        new = index + (added[column] if index >= before[column] else 0)
        if number > 0:
            return str(new + 1).encode()
        total = counts[column] + (added[column] if after else 0)
        return str(new - total).encode()

    return shift
