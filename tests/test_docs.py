"""What the documentation names exists: sections of the methods, links, pictures, files, names and
tests."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "threestudio_like"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LINKED = [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]
FOLDERS = ("threestudio_like", "docs", "tests", "benchmarks", "examples")
OTHERS = ("torch", "numpy", "trimesh", "transformers", "diffusers")
FILES = ("json", "jsonl", "yaml", "toml", "glb", "gltf", "obj", "mtl", "ply", "stl", "png", "jpg")
FILES += ("yml", "mp4", "html", "safetensors", "bin", "md", "txt", "zip")
"""Endings of words that are names of a user's files."""
CITATION = re.compile(r"METHODS (\d(?:\.\d+)?(?:(?:, | and |, and |-|–)\d\.\d+)*)")
WRAPPED = re.compile(r"\s*\n\s*(?:# ?)?")


def name_of(path):
    return str(path.relative_to(ROOT))


def headings(page):
    """Headings outside of code blocks, without their marks."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    return re.findall(r"(?m)^#+ +(.+?) *$", text)


@cache
def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    made, result = {}, set()
    for heading in headings(page):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = made.get(slug, 0)
        made[slug] = number + 1
        result.add(f"{slug}-{number}" if number else slug)
    return result


def sections():
    """Numbers of the sections of the methods' pages: "1", "1.7", …"""
    pages = (ROOT / "docs" / "methods").glob("*.md")
    found = [re.match(r"(\d(?:\.\d+)?)\.? ", h) for page in pages for h in headings(page)]
    return [match[1] for match in found if match]


def citations():
    """(file, number) of every "METHODS n.m", also where a line ends within it."""
    files = [p for f in FOLDERS for s in ("*.py", "*.md") for p in sorted((ROOT / f).rglob(s))]
    for path in [*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        text = WRAPPED.sub(" ", path.read_text(encoding="utf-8"))
        for numbers in CITATION.findall(text):
            for number in re.findall(r"\d(?:\.\d+)?", numbers):
                yield name_of(path), number


def test_every_cited_section_of_the_methods_exists():
    known, cited = sections(), list(citations())
    assert len(known) == len(set(known))
    assert {"0", "1", "1.16", "5.1", "6"} <= set(known)
    assert len(cited) > 100
    assert not sorted({c for c in cited if c[1] not in known})


def test_citations_are_read_over_line_ends():
    text = "as published (METHODS\n    # 1.12 and 4.9), see METHODS 3.3, 3.4"
    assert CITATION.findall(WRAPPED.sub(" ", text)) == ["1.12 and 4.9", "3.3, 3.4"]


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_and_pictures_exist(page):
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            missing.append(target)
    assert not missing


@cache
def modules():
    """Dotted names of the package's modules and folders, with their syntax trees."""
    result = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        result[dotted] = ast.parse(path.read_text(encoding="utf-8"))
    return result


NAMES = {}
"""What was found in the statements of a module or class, by their list's identity: the trees of
`modules` live as long as the tests do."""


def names_in(body):
    """Names that statements define, those that methods give to `self` included."""
    if id(body) not in NAMES:
        NAMES[id(body)] = (body, _names_in(body))
    return NAMES[id(body)][1]


def _names_in(body):
    names = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
        elif isinstance(node, ast.Assign):
            targets = [t for target in node.targets for t in ast.walk(target)]
            names.update({t.id: node for t in targets if isinstance(t, ast.Name)})
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: node for alias in node.names})
        if isinstance(node, ast.FunctionDef):
            stored = [t for t in ast.walk(node) if isinstance(t, ast.Attribute)]
            names.update(
                {t.attr: t for t in stored if isinstance(t.ctx, ast.Store) and t.attr not in names}
            )
    return names


def defines(body, path):
    """Whether statements define the dotted path: a name, or an attribute of a class or its
    bases."""
    if not path:
        return True
    node = names_in(body).get(path[0])
    if node is None or len(path) == 1 or not isinstance(node, ast.ClassDef):
        return node is not None
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return defines(node.body, path[1:]) or any(
        defines(tree.body, [base, *path[1:]])
        for base in bases
        for tree in modules().values()
        if isinstance(names_in(tree.body).get(base), ast.ClassDef)
    )


@cache
def exists(dotted):
    """Whether a dotted name leads somewhere: a module's tail and what it defines, or a class' own
    attribute."""
    path = dotted.split(".")
    for name, tree in modules().items():
        own = names_in(tree.body).get(path[0])
        if isinstance(own, ast.ClassDef) and defines(tree.body, path):
            return True
        for count in range(1, len(path) + 1):
            tail = ("." + name).endswith("." + ".".join(path[:count]))
            if tail and defines(tree.body, path[count:]):
                return True
    return False


def is_path(word):
    """Whether the file stands below the repository, or below the package."""
    return any((folder / word).exists() for folder in (ROOT, PACKAGE))


@cache
def known_tests():
    """Names of all tests."""
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("*.py"))
    return set(re.findall(r"(?m)^\s*def (test_\w+)", text))


def is_test(word):
    """Whether "file.py::name" or "name" is a test; "name…" is the beginning of one."""
    file, _, name = word.rpartition("::")
    if file and not is_path(f"tests/{file}") and not is_path(file):
        return False
    return any(t.startswith(name[:-1]) if name.endswith("…") else t == name for t in known_tests())


def unknown(text):
    """Words in backticks that name a file, a test or a name of the package, and do not exist."""
    # Folders that a page's own commands make.
    made = set(re.findall(r"--(?:out|store) ([\w-]+)", text))
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    result = []
    for word in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"(?:[\w/]+\.py::)?test_\w+…?", word):
            good = is_test(word)
        elif re.fullmatch(r"[\w./-]+\.py", word) or re.fullmatch(r"[\w.-]+/[\w./-]*", word):
            good = is_path(word) or word.split("/")[0] in made
        elif re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(\(\))?", word):
            good = word.split(".")[0] in OTHERS or word.split(".")[-1] in FILES
            good = good or exists(word.removesuffix("()").removeprefix("threestudio_like."))
        else:
            good = True
        if not good:
            result.append(word)
    return result


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_names_and_tests_in_backticks_exist(page):
    assert not unknown(page.read_text(encoding="utf-8"))


def test_missing_names_are_noticed():
    good = "`engine/loop.py`, `kernels.composite`, `Contrastive.clamp`, `torch.nn`, `asset.glb`"
    assert unknown(good) == []
    bad = ["systems/run.py", "kernels.no_such_kernel", "Contrastive.no_such", "test_no_such…"]
    assert unknown(", ".join(f"`{word}`" for word in bad)) == bad
