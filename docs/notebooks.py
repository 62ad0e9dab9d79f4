"""The tutorials as notebooks, made from their pages: prose becomes Markdown cells, `sh` blocks
become cells of `!` lines, `python` blocks code cells. A picture follows what a command made.

    python docs/notebooks.py            # writes examples/notebooks/*.ipynb
    python docs/notebooks.py --check    # exit code 1 if one is not what its page says
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
TARGET = ROOT / "examples" / "notebooks"
BLOCK = re.compile(r"(?ms)^(?P<long><!-- long -->\n)?```(?P<kind>sh|python)\n(?P<text>.*?)^```\n?")
LINK = re.compile(r"\]\((?!https?:)([\w./-]+)(#[\w-]+)?\)")
PICTURED = ("generate", "texture", "reconstruct", "compose")
BEGIN = "%cd ../.."
"""The commands of the pages begin at the checkout's root; the notebooks lie two folders below."""


def notebook(page: Path) -> dict[str, Any]:
    """A tutorial as the content of an .ipynb file (nbformat 4.5), without outputs.

    A cell's metadata says `{"long": true}` where its block takes minutes.
    """
    text = page.read_text(encoding="utf-8")
    cells: list[dict[str, Any]] = []

    def add(kind: str, source: str, **metadata: Any) -> None:
        cell: dict[str, Any] = {"id": f"{page.stem}-{len(cells)}", "cell_type": kind}
        cell |= {"metadata": metadata, "source": source.strip("\n").splitlines(keepends=True)}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)

    def prose(part: str) -> None:
        if part.strip():
            add("markdown", LINK.sub(_from_here, part))

    begin = 0
    for match in BLOCK.finditer(text):
        prose(text[begin : match.start()])
        begin = match.end()
        if not any(c["cell_type"] == "code" for c in cells):
            add("code", BEGIN)
        long = {"long": True} if match["long"] else {}
        if match["kind"] == "python":
            add("code", match["text"], **long)
            continue
        lines = match["text"].replace("\\\n", " ").splitlines()
        add("code", "\n".join(f"!{line}" for line in lines), **long)
        for picture in filter(None, map(_picture, lines)):
            show = f'from IPython.display import Image\n\nImage("{picture}")'
            add("code", show, **long)
    prose(text[begin:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _from_here(link: re.Match[str]) -> str:
    """A link of a page of docs/tutorials, from examples/notebooks."""
    place, anchor = link[1], link[2] or ""
    if place.startswith("../../"):
        return f"](../../{place.removeprefix('../../')}{anchor})"
    inside = place.removeprefix("../") if place.startswith("../") else f"tutorials/{place}"
    return f"](../../docs/{inside}{anchor})"


def _picture(line: str) -> str:
    words = shlex.split(line)
    if len(words) < 2 or words[1] not in PICTURED or "--out" not in words:
        return ""
    return f"{words[words.index('--out') + 1]}/preview.png"


def text_of(page: Path) -> str:
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    TARGET.mkdir(exist_ok=True)
    for page in PAGES:
        path = TARGET / f"{page.stem}.ipynb"
        text = text_of(page)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'is not what its page says' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
