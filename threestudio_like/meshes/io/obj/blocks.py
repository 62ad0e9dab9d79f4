"""The text of an MTL library: its materials as blocks of lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..sources.text import decoded, without_mark
from .statements import statement_of

MAPS = frozenset(
    {"map_kd", "map_ka", "map_ks", "map_ke", "map_ns", "map_d", "map_bump", "bump", "map_pr"}
    | {"map_pm", "map_ps", "map_ao", "map_orm", "map_arm", "norm", "map_norm", "disp", "map_disp"}
    | {"decal", "refl", "map_refl"}
)
"""Statements that name a picture, in lower case."""
_OPTIONS = {
    "-blendu": 1,
    "-blendv": 1,
    "-boost": 1,
    "-mm": 2,
    "-o": 3,
    "-s": 3,
    "-t": 3,
    "-texres": 1,
    "-clamp": 1,
    "-bm": 1,
    "-imfchan": 1,
    "-type": 1,
    "-cc": 1,
}
_OWN = ("alpha_mode", "double_sided", "unlit", "sampler")
"""Comments that this package writes, because MTL has no statement for what they say."""


@dataclass
class Line:
    """One line of a block: its statement in lower case ("" for a comment or none; "# unlit" for a
    comment of this package), its words after it, and its very bytes with the line break. new: it
    was in no file."""

    key: str
    words: list[str]
    raw: bytes
    new: bool = False

    @property
    def shown(self) -> str:
        return decoded(self.raw).strip()[:40]


@dataclass
class Block:
    """The lines of a material, that of "newmtl" first."""

    name: str
    lines: list[Line] = field(default_factory=list)

    def last(self, *keys: str) -> Line | None:
        """The last line of one of some statements."""
        return next((line for line in reversed(self.lines) if line.key in keys), None)


def read_blocks(data: bytes) -> tuple[list[Line], list[Block]]:
    """The lines before the first material, and the materials."""
    head: list[Line] = []
    blocks: list[Block] = []
    for raw in re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", data):
        line = _line(raw)
        if line.key == "newmtl":
            blocks.append(Block(" ".join(line.words)))
        (blocks[-1].lines if blocks else head).append(line)
    return head, blocks


def _line(raw: bytes) -> Line:
    text = decoded(without_mark(raw)).strip()
    if text.startswith("#"):
        words = text[1:].split()
        own = bool(words) and words[0] in _OWN
        return Line(f"# {words[0]}" if own else "", words[1:] if own else [], raw)
    key, rest = statement_of(text)
    return Line(key.lower(), rest.split(), raw)


@dataclass
class MapLine:
    """What a line says about a picture. channel: of -imfchan, "" where it is not said. passed_over:
    options that change the look, of which nothing is read."""

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    strength: float = 1.0
    clamp: bool = False
    channel: str = ""
    passed_over: tuple[str, ...] = ()

    @property
    def laid_out(self) -> bool:
        """Whether the picture is scaled or moved on the coordinates."""
        return self.scale != (1.0, 1.0) or self.shift != (0.0, 0.0)


def map_line(line: Line) -> MapLine:
    """The picture of a map's line, with the options that are understood."""
    words, at = line.words, 0
    out = MapLine("")
    while at < len(words) - 1 and words[at].lower() in _OPTIONS:
        option = words[at].lower()
        values: list[str] = []
        at += 1
        # Numbers may be fewer than the option has; the name of the file is left over.
        while len(values) < _OPTIONS[option] and at < len(words) - 1:
            if option in ("-o", "-s", "-t", "-mm") and not _is_number(words[at]):
                break
            values.append(words[at])
            at += 1
        numbers = [float(v) for v in values if _is_number(v)]
        if option == "-s" and numbers:
            out.scale = (numbers[0], numbers[1] if len(numbers) > 1 else 1.0)
        elif option == "-o" and numbers:
            out.shift = (numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
        elif option == "-bm" and numbers:
            out.strength = numbers[0]
        elif option == "-clamp" and values:
            out.clamp = values[0].lower() == "on"
        elif option == "-imfchan" and values:
            out.channel = values[0].lower()
        elif _changes(option, values, numbers):
            out.passed_over += (option,)
    out.name = " ".join(words[at:]).strip('"')
    return out


def _changes(option: str, values: list[str], numbers: list[float]) -> bool:
    """Whether an option of which nothing is read changes the look: a gain, a turbulence, a
    correction of colours. What concerns sharpness alone does not."""
    if option == "-mm":
        return bool(numbers) and numbers != [0.0, 1.0][: len(numbers)]
    return (option == "-t" and any(numbers)) or (option == "-cc" and values[:1] == ["on"])


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word) is not None
