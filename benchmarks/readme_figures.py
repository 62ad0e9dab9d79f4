"""The figures of README.md and docs/measured.md against the tables that they come from.

Each row of FIGURES finds one number in one of them and says which cell of which page it is. Run:
python benchmarks/readme_figures.py            (exit code 1 where one differs)
python benchmarks/readme_figures.py --write    (puts the tables' figures into both)
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass

from tables import ROOT, cells

RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a text: `readme`, a pattern whose group is the number; `page` with the cell in
    `column` of the row whose cells are `row` ("" is the first column), or with `text`, a pattern
    whose group is the number; `form`, how the text writes it: so many digits, "minutes", or
    with `text` as it stands or with two "digits"."""

    readme: str
    page: str
    row: tuple[tuple[str, str], ...] = ()
    column: str = ""
    text: str = ""
    form: int | str = 2


def _line(page: str, row: str, column: str, readme: str, form: int | str = 2) -> Figure:
    return Figure(readme=readme, page=page, row=(("", row),), column=column, form=form)


NUMBER = r"(\d+(?:\.\d+)?)"
_WIDE = r"\| [\d.]+ "
_MADE = "**all**"
_PAINTED = "**twenty meshes, two prompts**"


def _reconstructed(method: str, column: str, readme: str) -> Figure:
    row = (("method", method), ("pictures", "line drawing"))
    return Figure(readme=readme, page="reconstruct", row=row, column=column)


def _dots(way: str, readme: str) -> Figure:
    """The second column of the painting's table by patterns."""
    text = rf"\| {way} \| 0\.\d+ \[[\d., ]+\] \| {NUMBER}"
    return Figure(readme=readme, page="painting", text=text, form="digits")


_NEWCOMER = (
    _line(
        "newcomer",
        "clone",
        "seconds",
        r"that is \[(\d+ min \d+ s) with the environment",
        "minutes",
    ),
    Figure(
        readme=r"with the environment, and (\d+) s from then on",
        page="newcomer",
        row=(("step", "make demo, again"),),
        column="seconds",
        form=0,
    ),
    Figure(readme=r"\[(\d+ of \d+) kills\]", page="kills", text=r"(\d+ of \d+) killed runs"),
)
_IN_SHORT = (
    _line("text_to_3d", _MADE, "judge: category", rf"names the category of {NUMBER} and"),
    _line("text_to_3d", _MADE, "judge: colour", rf"and the colour of {NUMBER};"),
    _line("text_to_3d", _MADE, "silhouette IoU", rf"true object by IoU {NUMBER} \("),
    Figure(
        readme=rf"\(worst category {NUMBER}\)",
        page="text_to_3d",
        row=(("category", "boat"),),
        column="silhouette IoU",
    ),
    Figure(
        readme=rf"nearest object: IoU {NUMBER}",
        page="text_to_3d",
        text=rf"silhouettes averages IoU {NUMBER}",
        form="text",
    ),
    Figure(
        readme=rf"unseen things \| volume IoU {NUMBER}",
        page="reconstruct",
        row=(("method", "cisp"), ("pictures", "clean")),
        column="volume IoU",
        form=3,
    ),
    Figure(
        readme=rf"the right category: {NUMBER}",
        page="reconstruct",
        text=rf"right category has volume IoU {NUMBER}",
        form="text",
    ),
    _line("texture", _PAINTED, "category kept", rf"category kept {NUMBER}, colour"),
    _line("texture", _PAINTED, "colour", rf"category kept [\d.]+, colour {NUMBER},"),
    _line("texture", _PAINTED, "pattern", rf"pattern {NUMBER} \|"),
    _line("texture", "another: dotted", "pattern", rf"dots alone: {NUMBER}"),
    _dots("paint, control", rf"--control depth`\) {NUMBER}"),
    _dots("the object itself", rf"in the true colours {NUMBER}"),
    _reconstructed("cisp", "judge: category", rf"the judge names {NUMBER} of what"),
    _line("texture", "foreign meshes", "category kept", rf"prompt's category in {NUMBER} of views"),
)
_IN_FULL = (
    _line("text_to_3d", _MADE, "judge: category", rf"\n\| {NUMBER} \| {NUMBER[1:-1]} \| "),
    _line("text_to_3d", _MADE, "judge: colour", rf"\n{_WIDE}\| {NUMBER} \| "),
    _line("text_to_3d", _MADE, "CLIP R-precision", rf"\n{_WIDE}{_WIDE}\| {NUMBER} \| "),
    _line("text_to_3d", _MADE, "silhouette IoU", rf"{NUMBER} \(worst category"),
    Figure(
        readme=rf"\(worst category {NUMBER}\)",
        page="text_to_3d",
        row=(("category", "boat"),),
        column="silhouette IoU",
    ),
    _line("text_to_3d", _MADE, "fog", rf"worst category [\d.]+\) \| {NUMBER} \|", 3),
    _line(
        "text_to_3d",
        _MADE,
        "CPU s",
        rf"worst category [\d.]+\) {_WIDE}\| {NUMBER} \|",
        0,
    ),
    _line("texture", "another: dotted", "pattern", rf"Dots: {NUMBER} of painted"),
    _line("texture", "another: dotted", "pattern", rf"Dots fall short \({NUMBER}\)"),
    _line("texture", _PAINTED, "category kept", rf"category kept {NUMBER}, colour"),
    _line("texture", _PAINTED, "colour", rf"category kept [\d.]+, colour {NUMBER},"),
    _line("texture", _PAINTED, "pattern", rf"pattern {NUMBER}, \d+ CPU"),
    _line("texture", _PAINTED, "CPU s", r"pattern [\d.]+, (\d+) CPU", 0),
    _line("texture", "foreign meshes", "category kept", rf"foreign meshes keeps it in {NUMBER}"),
    _reconstructed("cisp", "judge: category", rf"names {NUMBER} \(cisp\)"),
    _reconstructed("g3dr", "judge: category", rf"names [\d.]+ \(cisp\), {NUMBER} \(g3dr\)"),
    _reconstructed("optimise", "judge: category", rf"\(g3dr\) and {NUMBER} \(field\) of them"),
    _reconstructed("cisp", "volume IoU", rf"at a volume IoU of at most {NUMBER}"),
    _line("sketch_shape", "matching", "IoU with the sketch", rf"IoU with the sketch {NUMBER}"),
    _line("sketch_shape", "matching", "judge: category", rf"0\.929\), category {NUMBER}"),
    _line("sketch_shape", "different", "judge: category", rf"the category falls to {NUMBER}", 3),
    *(
        _line("sketch_shape", strict, "IoU with the sketch", pattern)
        for strict, pattern in (
            ("0.000", rf"IoU goes from {NUMBER} \(strictness"),
            ("0.200", rf"over\n{NUMBER}, "),
            ("0.400", rf"over\n[\d.]+, {NUMBER} to"),
            ("0.600", rf"over\n[\d.]+, [\d.]+ to {NUMBER} \("),
        )
    ),
    Figure(
        readme=r"category in (\d+ of \d+) runs", page="concept", text=r"\*\*(\d+ of \d+)\*\* runs"
    ),
)
FIGURES = {"README.md": _NEWCOMER + _IN_SHORT, "docs/measured.md": _IN_FULL}
"""By the file that has them."""


def value_of(figure: Figure) -> str:
    """The figure as its table has it, written as the README writes it. Raises ValueError if the
    table has no such cell."""
    page = (RESULTS / f"{figure.page}.md").read_text(encoding="utf-8")
    if figure.text:
        if (match := re.search(figure.text, page)) is None:
            raise ValueError(f"docs/results/{figure.page}.md has no {figure.text!r}")
        return f"{float(match[1]):.2f}" if figure.form == "digits" else match[1]
    for row in cells(page):
        if figure.column in row and all(row.get(k) == v for k, v in figure.row):
            value = float(row[figure.column])
            if figure.form == "minutes":
                return f"{round(value) // 60} min {round(value) % 60} s"
            return f"{value:.{figure.form}f}"
    raise ValueError(f"docs/results/{figure.page}.md has no {figure.row} with {figure.column!r}")


def differences(name: str, text: str) -> list[str]:
    """What of a text differs from its tables, or is not found, a line each."""
    told = []
    for figure in FIGURES[name]:
        match = re.search(figure.readme, text)
        value = value_of(figure)
        table = f"docs/results/{figure.page}.md"
        if match is None:
            told.append(f"{name} has no {figure.readme!r} ({table}: {value})")
        elif match[1] != value:
            told.append(f"{name} says {match[0].strip()!r}; {table}: {value}")
    return told


def written(name: str, text: str) -> str:
    """A text with the tables' figures."""
    for figure in FIGURES[name]:
        if (match := re.search(figure.readme, text)) is not None:
            text = text[: match.start(1)] + value_of(figure) + text[match.end(1) :]
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables' figures in")
    write, told = parser.parse_args().write, []
    for name in FIGURES:
        path = ROOT / name
        if write:
            path.write_text(written(name, path.read_text(encoding="utf-8")), encoding="utf-8")
        told += differences(name, path.read_text(encoding="utf-8"))
    count = sum(len(figures) for figures in FIGURES.values())
    print("\n".join(told) or f"{count} figures are those of their tables")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
