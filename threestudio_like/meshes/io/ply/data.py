"""The header and the columns of a PLY, in whichever of its three encodings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ....engine.errors import InputError
from ..limits import LARGEST_COUNT, too_many
from ..sources.numbers import numbers_of
from ..sources.text import decoded, without_mark

REPAIR = "Save it again in a mesh editor"
_LONGEST_HEADER = 1 << 16
_MOST_CELLS = 1 << 27
"""Largest number of rows times properties of an element whose rows have no common length."""
_BLANKS = b"\0 \t\r\n"
"""What some programs fill a file up with."""
_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


@dataclass(frozen=True)
class Property:
    """name; kind: numpy's name of its type, such as "f4"; count: that of a list's length, "" for a
    single value."""

    name: str
    kind: str
    count: str = ""


@dataclass
class Column:
    """The values of a property in all rows: values (N,); kind: its declared type; sizes (rows,)
    int64 for a list, whose values lie one behind the other."""

    values: np.ndarray
    kind: str
    sizes: np.ndarray | None = None


@dataclass
class Element:
    """One block of rows."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)


@dataclass
class Header:
    """What a PLY says of itself. order: "" for text, "<" or ">"; begin: where the data begins."""

    order: str
    elements: list[Element]
    textures: list[str]
    begin: int

    def element(self, name: str) -> Element | None:
        """The element of a name."""
        return next((e for e in self.elements if e.name == name), None)


def read_header(data: bytes, where: str) -> Header:
    """The header, with its counts compared with the size of the file. Raises InputError."""
    end = re.search(rb"(?<=[\r\n])end_header[ \t]*(\r\n|\n|\r)?", data[:_LONGEST_HEADER])
    if not without_mark(data[:8]).startswith(b"ply") or end is None:
        raise InputError("is not a PLY file", where, REPAIR)
    header = Header("", [], [], begin=end.end())
    lines = re.split(r"[\r\n]+", decoded(data[: end.start()]))
    for line in lines:
        _read_line(line, header, where)
    room = len(data) - header.begin
    for element in header.elements:
        if element.count > LARGEST_COUNT:
            raise too_many(element.count, element.name[:20], where)
        if element.count > room or (element.count and not element.properties):
            raise InputError("is a PLY that ends too early", where, REPAIR)
    if header.order and end[1] == b"\r\n":
        header.begin = _begin(data, header, b"\n" in data[: end.start()], where)
    return header


def _begin(data: bytes, header: Header, others: bool, where: str) -> int:
    """Where the bytes begin of a header whose last line ends in CR and LF: behind both, or at the
    LF, which is then the first number's, in a file whose last line ends in CR alone.

    Args:
        others: whether other lines of the header have an LF at their end.
    """
    whole, first = header.begin, header.begin - 1
    for begin in (whole, first):
        rest = np.frombuffer(data, np.uint8)[begin:]
        try:
            for element in header.elements:
                rest = rest[_element(rest, element, header.order, where=where)[1] :]
        except InputError:
            continue
        if len(rest) == 0:
            return begin
    return whole if others else first


def _read_line(line: str, header: Header, where: str) -> None:
    words = line.split()
    if not words:
        return
    if words[0] == "format":
        orders = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
        if len(words) < 2 or words[1] not in orders:
            raise InputError(f'is a PLY of an unknown kind ("{line[:40]}")', where, REPAIR)
        header.order = orders[words[1]]
    elif words[0] == "comment" and len(words) > 2 and words[1].lower() == "texturefile":
        header.textures.append(line.split(None, 2)[2].strip().strip('"'))
    elif words[0] == "element":
        count = words[2] if len(words) > 2 else ""
        if not re.fullmatch(r"\d{1,12}", count, re.ASCII):
            raise InputError(f'its header counts "{count[:20]}" of a kind', where, REPAIR)
        header.elements.append(Element(words[1], int(count)))
    elif words[0] == "property":
        if not header.elements:
            raise InputError("has a PLY header with a property of nothing", where, REPAIR)
        header.elements[-1].properties.append(_property(words, line, where))


def _property(words: list[str], line: str, where: str) -> Property:
    listed = len(words) == 5 and words[1] == "list"
    kinds = [_TYPES.get(word, "") for word in (words[2:4] if listed else words[1:2])]
    if not all(kinds) or len(words) not in (3, 5) or (listed and kinds[0].startswith("f")):
        raise InputError(f'has a PLY property that is not known ("{line[:60]}")', where, REPAIR)
    return Property(words[-1], kinds[-1], kinds[0] if listed else "")


def read_columns(
    data: bytes, header: Header, where: str, notes: list[str] | None = None
) -> dict[str, dict[str, Column]]:
    """The columns of every element by name, up to the last of those that describe a surface. notes:
    gets what lies behind the last row.

    Raises InputError where the data ends too early, or goes on and its rows are not those that the
    header counts.
    """
    wanted = ("vertex", "face", "tristrips")
    last = max((n for n, e in enumerate(header.elements) if e.name in wanted), default=-1)
    out: dict[str, dict[str, Column]] = {}
    rest: np.ndarray = (
        np.frombuffer(data, np.uint8)[header.begin :]
        if header.order
        else numbers_of(data[header.begin :], where)
    )
    widths: list[np.ndarray] = []
    for element in header.elements[: last + 1]:
        columns, used = _element(rest, element, header.order, where=where)
        rest = rest[used:]
        out.setdefault(element.name, columns)
        widths.append(_widths(columns, element))
    if notes is not None:
        left = _behind(rest, header, last, where=where)
        if left and widths and not header.order:
            _check_lines(data[header.begin :], np.concatenate(widths), where)
        if left:
            what = "bytes" if header.order else "numbers"
            notes.append(
                f"there are more rows than its header counts: {left:,} {what} are left out"
            )
    return out


def _behind(rest: np.ndarray, header: Header, last: int, where: str) -> int:
    """How many bytes, or numbers of a text, lie behind the rows of all elements; blanks do not
    count.

    Args:
        rest: what lies behind the element number `last`.
    """
    for element in header.elements[last + 1 :]:
        try:
            rest = rest[_element(rest, element, header.order, where=where)[1] :]
        except InputError:
            # It is left out, and where it would end is not known.
            return 0
    if header.order and not rest.tobytes().strip(_BLANKS):
        return 0
    return len(rest)


def _widths(columns: dict[str, Column], element: Element) -> np.ndarray:
    """How many numbers every row of a text has (rows,)."""
    out = np.zeros(element.count, np.int64)
    for column in columns.values():
        out += 1 if column.sizes is None else 1 + column.sizes
    return out


def _check_lines(text: bytes, widths: np.ndarray, where: str) -> None:
    """Raises InputError where lines have not as many numbers as rows (N,): with too small a count,
    what is read as one element belongs to another."""
    lines = [len(line.split()) for line in re.split(rb"[\r\n]+", text) if line.strip()]
    if lines[: len(widths)] != widths.tolist():
        raise InputError("has other rows than its header counts", where, REPAIR)


def _element(
    data: np.ndarray, element: Element, order: str, where: str
) -> tuple[dict[str, Column], int]:
    """The columns of one element and how much of the data they are."""
    if element.count == 0:
        return {p.name: _no_values(p) for p in element.properties}, 0
    alike = _equal_rows(data, element, order)
    if alike is not None:
        return alike
    cells = element.count * len(element.properties)
    # Every property takes a byte, or a number of a text, in every row.
    most = min(_MOST_CELLS, len(data))
    if cells > most or not any(p.count for p in element.properties):
        raise InputError("is a PLY that ends too early", where, REPAIR)
    from .walk import packed, suited, walk_bytes, walk_numbers

    items = np.array([int(p.kind[1]) for p in element.properties])
    counts = np.array([int(p.count[1]) if p.count else 0 for p in element.properties])
    if order:
        walk = suited(walk_bytes, len(data))
        starts, lengths, end = walk(data, element.count, counts, items, order == ">")
    else:
        walk = suited(walk_numbers, len(data))
        starts, lengths, end = walk(data, element.count, counts > 0)
        items = np.ones_like(items)
    if end < 0:
        raise InputError("is a PLY that ends too early", where, REPAIR)
    out: dict[str, Column] = {}
    for n, row in enumerate(element.properties):
        run = suited(packed, len(data))(data, starts[:, n], lengths[:, n] * items[n])
        sizes = lengths[:, n].copy() if row.count else None
        out[row.name] = Column(_typed(run, row.kind, order), row.kind, sizes)
    return out, int(end)


def _no_values(row: Property) -> Column:
    return Column(np.zeros(0, row.kind), row.kind, np.zeros(0, np.int64) if row.count else None)


def _equal_rows(
    data: np.ndarray, element: Element, order: str
) -> tuple[dict[str, Column], int] | None:
    """The columns of an element whose lists are as long in every row as in the first, which nearly
    every file has; None of another."""
    at, places = 0, []
    for row in element.properties:
        length = 1
        if row.count:
            step = int(row.count[1]) if order else 1
            if at + step > len(data):
                return None
            first = _typed(data[at : at + step], row.count, order)[0]
            if not 0 <= first <= len(data):
                return None
            length, at = int(first), at + step
        places.append((at, length))
        at += length * (int(row.kind[1]) if order else 1)
    if at * element.count > len(data):
        return None
    table = data[: at * element.count].reshape(element.count, at)
    out: dict[str, Column] = {}
    for row, (begin, length) in zip(element.properties, places):
        sizes = None
        if row.count:
            step = int(row.count[1]) if order else 1
            told = _typed(table[:, begin - step : begin].reshape(-1), row.count, order)
            if (told != length).any():
                return None
            sizes = np.full(element.count, length)
        width = length * (int(row.kind[1]) if order else 1)
        run = table[:, begin : begin + width].reshape(-1)
        out[row.name] = Column(_typed(run, row.kind, order), row.kind, sizes)
    return out, at * element.count


def _typed(run: np.ndarray, kind: str, order: str) -> np.ndarray:
    """Bytes, or the numbers of a text, as values of a type. A text's whole numbers stay float64:
    they may be too large for their type."""
    if order:
        return run.view(np.dtype(order + kind)).astype(kind, copy=False)
    return run
