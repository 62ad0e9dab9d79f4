"""What the documentation's site adds to the pages of this folder: reference pages that are made of
the program, the examples as pages, an index of the tables of results. See mkdocs.yml."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUTSIDE = re.compile(r"\]\((?:\.\./)+(examples/[\w./-]+)\)")
"""A link from a page of docs/ to an example."""
ELSEWHERE = re.compile(r"""<script[^>]*\ssrc=["']?https?://[^>]*></script>""")
FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source|video)\b[^>]*\s(?:src|href)=["']?https?://[^>]*>"""
)
CODE = re.compile(r"(?ms)(^```.*?^```|`[^`\n]*`)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".csv": "text", ".jsonl": "json"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made while the site is built."""
    sys.path.insert(0, str(HERE))
    try:
        from reference_pages import pages
    finally:
        sys.path.remove(str(HERE))
    made = {**pages(), **_examples(), "results/index.md": _results()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to examples to their pages, and links to the folder of results to its index; the
    methods' marks of sources, which stand as [A][B], are no references."""
    if page.file.src_uri.startswith("methods/"):
        parts = CODE.split(markdown)
        parts[::2] = [part.replace("][", "]\\[") for part in parts[::2]]
        markdown = "".join(parts)
    up = "../" * page.file.src_uri.count("/")
    markdown = OUTSIDE.sub(lambda m: f"]({up}{_page_of(m[1])})", markdown)
    return markdown.replace("](../results/)", "](../results/index.md)")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Leave out the script from elsewhere that the theme's offline plug-in names: its bundle brings
    what pages need that are opened from a disk."""
    output = ELSEWHERE.sub("", output)
    asked = FETCHED.search(output)
    if asked is not None:
        raise PluginError(f"{page.file.src_uri} asks for something from elsewhere: {asked[0]}")
    return output


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page of addresses that are not there."""
    return ELSEWHERE.sub("", output_content)


def _page_of(path: str) -> str:
    return f"{path}.md"


def _examples() -> dict[str, str]:
    """Every example as a page."""
    found = {}
    for path in sorted((ROOT / "examples").rglob("*")):
        if path.suffix in LANGUAGES and "__pycache__" not in path.parts:
            name = path.relative_to(ROOT).as_posix()
            text = path.read_text(encoding="utf-8").rstrip()
            found[_page_of(name)] = f"# {name}\n\n```{LANGUAGES[path.suffix]}\n{text}\n```\n"
    return found


def _results() -> str:
    """The tables by their headings."""
    rows = []
    for path in sorted((HERE / "results").glob("*.md")):
        heading = path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
        rows.append(f"- [{heading}]({path.name})")
    head = ["# What was measured", "", "Every table names the command that made it.", ""]
    return "\n".join([*head, *rows, ""])
