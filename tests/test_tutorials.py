"""The documentation is tried: every block of the tutorials runs, shortened, in its order; every
command line of every page is understood; the reference pages are those of the program.

The tutorials in full length: `python benchmarks/tutorials.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from threestudio_like import __all__ as public
from threestudio_like.commands.parsing import parse
from threestudio_like.commands.registry import COMMANDS
from threestudio_like.engine.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"(?ms)^(<!-- long -->\n)?```(sh|python|text)?\n(.*?)^```")
SHORT = {
    "generate": ("--steps", "3", "--texture", "64", "--no-turntable", "--export.resolution", "48"),
    "texture": (
        *("--steps", "3", "--texture", "64", "--no-turntable", "--start.iterations", "2"),
        *("--start.refine.steps", "1", "--start.refine.views", "4"),
    ),
    "evaluate": ("--instances", "5"),
}
"""What shortens a command for the tests."""


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, its text, and whether it takes too long for the tests."""

    language: str
    text: str
    long: bool = False

    def lines(self) -> list[str]:
        """Its command lines."""
        return [line for line in self.text.splitlines() if line.startswith("threestudio-like ")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [Block(m[2] or "", m[3], bool(m[1])) for m in BLOCK.finditer(text)]


def understood(line: str) -> None:
    """Read a command line as the program does. Raises UserError."""
    words = shlex.split(line, comments=True)
    # Of "info|clean" the first.
    words = [re.sub(r"^(\w+)(\|\w+)+$", r"\1", word) for word in words if word != "…"]
    parse(words[1], words[2:])


def program(name: str):
    """A program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def notebooks():
    return program("notebooks")


@pytest.fixture(scope="module")
def reference():
    return program("reference_pages")


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_runs_as_a_notebook_from_its_first_cell_to_its_last(
    page, notebooks, tmp_path, monkeypatch
):
    shutil.copytree(ROOT / "assets", tmp_path / "assets")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    book = nbformat.reads(notebooks.text_of(page), as_version=4)
    nbformat.validate(book)
    cells, skipped = [], set()
    for cell in (c for c in book.cells if c.cell_type == "code"):
        if cell.source == notebooks.BEGIN:
            continue
        if cell.source.startswith("!"):
            lines = [line.removeprefix("!threestudio-like ") for line in cell.source.splitlines()]
            for line in lines:
                understood(f"threestudio-like {line}")
            words = {word for line in lines for word in shlex.split(line)}
            if "long" in cell.metadata or skipped & words:
                # What a long command would have made is not there.
                skipped |= {after for line in lines for after in made_by(shlex.split(line))}
                continue
            commands = [shortened(shlex.split(line)) for line in lines]
            cell.source = "\n".join(carried_out(words, not cells) for words in commands)
        elif "long" in cell.metadata:
            continue
        else:
            cell.source = shorter(cell.source)
        cells.append(cell)
    assert cells or skipped
    book.cells = cells
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for c in cells for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == sum(c.source.startswith("from IPython") for c in cells)


def test_the_notebooks_are_those_of_the_pages(notebooks):
    for page in TUTORIALS:
        path = notebooks.TARGET / f"{page.stem}.ipynb"
        assert path.read_text(encoding="utf-8") == notebooks.text_of(page), "docs/notebooks.py"
    assert len(list(notebooks.TARGET.glob("*.ipynb"))) == len(TUTORIALS)


def test_links_of_the_notebooks_lead_somewhere(notebooks):
    for path in notebooks.TARGET.glob("*.ipynb"):
        places = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
        assert all((path.parent / place).exists() for place in places), path.name


def carried_out(words: list[str], as_written: bool) -> str:
    """A cell that runs a command: as it is written, or in the notebook's own process, which need
    not load the libraries again."""
    if as_written:
        return f"!threestudio-like {shlex.join(words)}\nassert _exit_code == 0"
    return f"from threestudio_like.cli import main\nassert main({words!r}) == 0"


def made_by(words: list[str]) -> list[str]:
    """The folder that a command makes."""
    return [after for word, after in pairwise(words) if word == "--out"]


def shorter(program: str) -> str:
    """A program with fewer steps."""
    return program.replace("steps = 300\n", "steps = 3\n").replace("size=64,", "size=24,")


def shortened(words: list[str]) -> list[str]:
    """A command with fewer steps."""
    if words[0] == "resume":
        words = ["6" if before == "--steps" else word for before, word in zip(["", *words], words)]
    return [*words, *SHORT.get(words[0], ())]


def command_lines() -> list[tuple[str, str]]:
    """(page, line) of every command line in a block of a page."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            for line in block.lines():
                if line.split()[1] in COMMANDS and "COMMAND" not in line:
                    found.append((str(page.relative_to(ROOT)), line))
    return found


def test_every_command_line_of_the_documentation_is_understood():
    lines = command_lines()
    assert len(lines) > 80
    wrong = []
    for page, line in lines:
        try:
            understood(line)
        except UserError as error:
            wrong.append(f"{page}: {line}\n    {error.line()}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_line_is_noticed():
    for words in ("generate --no-such-option 3", "mesh fold x.glb"):
        with pytest.raises(UserError):
            understood(f"threestudio-like {words}")


def test_the_reference_names_every_command_option_and_value(reference):
    pages = reference.pages()
    commands = pages["reference/commands.md"]
    for name in COMMANDS:
        assert f"## {name}\n" in commands
    assert "`--strictness NUMBER`" in commands
    texts = "\n".join(text for name, text in pages.items() if "configuration" in name)
    for name in ("latent-nerf", "latent-paint", "cisp", "comboverse", "rgb-refinement"):
        assert f"## {name}\n" in texts
    assert "| `--distil.guidance.scale` |" in texts
    rows = [line for line in texts.splitlines() if line.startswith("| `--")]
    assert len(rows) > 500
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)


def test_the_reference_of_the_api_has_every_public_name(reference):
    listed = [name for group in reference.API.values() for name in group]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(public)


def test_pages_and_their_navigation_are_the_same(reference):
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)[\s-]([\w./-]+\.md)$", text))
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    tables = {name for name in there if name.startswith("results/")}
    assert named == (there - tables) | set(reference.pages()) | {"results/index.md"}
