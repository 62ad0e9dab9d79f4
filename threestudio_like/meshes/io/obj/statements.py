"""The lines of an OBJ file: which statement each one is, and the tables of numbers.

Lines of one kind are read many at a time, because a file has millions of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ....engine.errors import InputError
from ..limits import LARGEST_COUNT, too_many
from ..sources.text import MARK, decoded

VERTEX, COORDINATE, NORMAL, FACE, OTHER, NOTHING = range(6)
"""Kinds of lines; NOTHING is empty or a comment."""
_KEYS = (b"v", b"vt", b"vn", b"f")
TABLES = ("vertex", "texture coordinate", "normal")
CHUNK = 1 << 14
"""Number of lines that are read at a time."""
_MOST_LINES = 6 * LARGEST_COUNT
"""Largest number of lines: those of every kind that is counted, and as many empty ones."""
_BLANK = np.isin(np.arange(256), [9, 32, 13])


@dataclass
class Statement:
    """A line that is neither a comment nor one of the tables' or a face."""

    line: int
    key: str
    rest: str


@dataclass
class Statements:
    """The lines of a file.

    data: the bytes as they are; text: those with spaces for byte order marks and for the breaks of
    lines that a backslash continues, of the same length. starts, ends (L,) int64: where each line
    lies, without its line break. kinds (L,) uint8. tables: positions (V, 3 to 7), texture
    coordinates (T, 2), normals (N, 3), all float64; numbers that are not given are nan.
    """

    where: str
    data: bytes
    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray
    tables: list[np.ndarray] = field(default_factory=list)
    others: list[Statement] = field(default_factory=list)

    def lines_of(self, kind: int) -> np.ndarray:
        """The numbers of all lines of a kind."""
        return np.flatnonzero(self.kinds == kind)

    @cached_property
    def table_lines(self) -> list[np.ndarray]:
        """The line of every vertex, texture coordinate and normal."""
        return [self.lines_of(kind) for kind in (VERTEX, COORDINATE, NORMAL)]

    def line(self, number: int) -> bytes:
        """The very bytes of a line, without its line break."""
        return self.data[self.starts[number] : self.ends[number]]

    def words(self, number: int) -> list[bytes]:
        """The words of a line, without its comment."""
        return self.text[self.starts[number] : self.ends[number]].split(b"#", 1)[0].split()

    def chunk(self, lines: np.ndarray) -> bytes:
        """The text of some lines of one kind without comments, each with a line break."""
        if lines[-1] - lines[0] + 1 == len(lines):
            text = self.text[self.starts[lines[0]] : self.ends[lines[-1]]] + b"\n"
        else:
            pairs = zip(self.starts[lines].tolist(), self.ends[lines].tolist())
            text = b"\n".join([self.text[a:b] for a, b in pairs]) + b"\n"
        return re.sub(rb"#[^\n]*", b"", text) if b"#" in text else text


def read_statements(path: Path) -> Statements:
    """The lines of an OBJ file, with its tables. Raises InputError."""
    data, where = path.read_bytes(), str(path)
    for prefix, what in ((b"\nf ", "faces"), (b"\nv ", "vertices")):
        if data.count(prefix) > LARGEST_COUNT:
            raise too_many(data.count(prefix), what, where)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("is text of the kind UTF-16", where, "Save it as UTF-8")
    if b"\0" in data[:4096]:
        raise InputError(
            "is not an OBJ file (binary data)", where, "Give a text OBJ, or another format's suffix"
        )
    text = data
    if text.count(b"\r") > text.count(b"\r\n"):
        # Lines of old Macs, all or some of a file that was put together.
        text = re.sub(rb"\r(?!\n)", b"\n", text)
    if MARK in text:
        # Of every file, where several were put together.
        text = re.sub(rb"(?m)^" + MARK, b"   ", text)
    if b"\\\n" in text or b"\\\r\n" in text:
        text = _joined(text)
    if text.count(b"\n") > _MOST_LINES:
        raise too_many(text.count(b"\n"), "lines", where, most=_MOST_LINES)
    out = _lines(data, text, where)
    counts = [int((out.kinds == kind).sum()) for kind in range(5)]
    named = ("vertices", "texture coordinates", "normals", "faces", "other statements")
    for count, what in zip(counts, named):
        if count > LARGEST_COUNT:
            raise too_many(count, what, where)
    for kind, width in ((VERTEX, 3), (COORDINATE, 2), (NORMAL, 3)):
        out.tables.append(_table(out, kind, width))
    for number in out.lines_of(OTHER).tolist():
        key, rest = statement_of(decoded(text[out.starts[number] : out.ends[number]]))
        if key:
            out.others.append(Statement(number, key, rest))
    return out


def statement_of(line: str) -> tuple[str, str]:
    """The statement of a line and what follows it without its comment, "" for none.

    A "#" within a word belongs to it ("Material__#25"), and so does one that begins the first word
    ("usemtl #ff8800"): names have them. A comment begins after white space, or the line.
    """
    words = line.split(None, 1)
    if not words or words[0].startswith("#"):
        return "", ""
    rest = words[1] if len(words) > 1 else ""
    comment = re.match(r"#(\s|$)", rest) or re.search(r"\s#", rest)
    return words[0], rest[: comment.start()].strip() if comment else rest.strip()


def _joined(text: bytes) -> bytes:
    """Lines that are continued by a backslash, joined. A comment may end in one without meaning it:
    "# C:\\models\\"."""
    lines = text.split(b"\n")
    continued = False
    for k, line in enumerate(lines[:-1]):
        comment = not continued and line.lstrip().startswith(b"#")
        continued = not comment and line.rstrip(b"\r").endswith(b"\\")
        if continued:
            whole = line.removesuffix(b"\r").removesuffix(b"\\")
            # The break itself becomes a space too.
            lines[k] = whole + b" " * (len(line) - len(whole) + 1)
        else:
            lines[k] = line + b"\n"
    return b"".join(lines)


def _lines(data: bytes, text: bytes, where: str) -> Statements:
    codes = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(codes == 10)
    starts = np.concatenate([[0], breaks + 1]).astype(np.int64)
    ends = np.concatenate([breaks, [len(text)]]).astype(np.int64)
    if starts[-1] == len(text):
        starts, ends = starts[:-1], ends[:-1]
    first = starts.copy()
    filled = np.flatnonzero(starts < ends)
    for number in filled[_BLANK[codes[starts[filled]]]].tolist():
        line = text[starts[number] : ends[number]]
        first[number] += len(line) - len(line.lstrip())
    one, two, three = (codes.take(first + k, mode="clip") for k in range(3))
    kinds = np.full(len(starts), OTHER, np.uint8)
    kinds[(one == ord("v")) & _BLANK[two]] = VERTEX
    kinds[(one == ord("v")) & (two == ord("t")) & _BLANK[three]] = COORDINATE
    kinds[(one == ord("v")) & (two == ord("n")) & _BLANK[three]] = NORMAL
    kinds[(one == ord("f")) & _BLANK[two]] = FACE
    kinds[(first >= ends) | (one == ord("#"))] = NOTHING
    return Statements(where, data, text, starts=starts, ends=ends, kinds=kinds)


def _table(out: Statements, kind: int, width: int) -> np.ndarray:
    lines = out.lines_of(kind)
    if not len(lines):
        return np.zeros((0, width))
    parts, begin = [], 0
    for at in range(0, len(lines), CHUNK):
        some = lines[at : at + CHUNK]
        values = _equal_rows(out.chunk(some), len(some), _KEYS[kind])
        if values is None or values.shape[1] < width:
            values = _rows(out, some, width, what=f"{TABLES[kind]} number", begin=begin)
        begin += len(some)
        parts.append(values[:, : 7 if kind == VERTEX else width])
    widest = max(p.shape[1] for p in parts)
    table = np.full((len(lines), widest), np.nan)
    at = 0
    for part in parts:
        table[at : at + len(part), : part.shape[1]] = part
        at += len(part)
    return table


def _equal_rows(text: bytes, count: int, key: bytes) -> np.ndarray | None:
    """The numbers of lines that all have equally many; None where they have not."""
    words = text.split()
    width, rest = divmod(len(words), count)
    if rest or width < 2 or words[::width].count(key) != count:
        return None
    del words[::width]
    try:
        return np.array(words, np.float64).reshape(count, width - 1)
    except (ValueError, OverflowError):
        return None


def _rows(out: Statements, lines: np.ndarray, width: int, what: str, begin: int) -> np.ndarray:
    values = np.full((len(lines), 7), np.nan)
    widest = width
    for k, number in enumerate(lines.tolist()):
        words = out.words(number)[1:8]
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) == 1 and width == 2:
            # A place on a line: its second coordinate is 0.
            row.append(0.0)
        if len(row) < width:
            shown = b" ".join(words).decode("utf-8", "replace")[:40]
            raise InputError(
                f'{what} {begin + k + 1} is not {width} numbers: "{shown}"',
                out.where,
                "Correct the line",
            )
        values[k, : len(row)] = row
        widest = max(widest, len(row))
    return values[:, :widest]
