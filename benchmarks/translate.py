"""All configurations of threestudio's repository, translated: how many keys map whole, in part or
not, and which are rejected.

    git clone https://github.com/threestudio-project/threestudio
    python benchmarks/translate.py threestudio/configs
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tables import publish, table

from threestudio_like.commands.translation.report import WORDS
from threestudio_like.commands.translation.translator import Line, Translation, translate
from threestudio_like.engine.errors import InputError

VERDICTS = ("whole", "part", "none", "aside")


def read(folder: Path) -> tuple[dict[str, Translation], dict[str, str]]:
    """Translations by file, and what is no configuration with its error."""
    made: dict[str, Translation] = {}
    refused: dict[str, str] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).as_posix()
        try:
            made[name] = translate(path)
        except InputError as error:
            refused[name] = error.what
    return made, refused


def lost(made: dict[str, Translation], verdict: str) -> list[list[object]]:
    """A row for every key with a verdict: in how many files, and why."""
    files: dict[str, set[str]] = defaultdict(set)
    why: dict[str, Counter[str]] = defaultdict(Counter)
    for name, one in made.items():
        for line in one.lines:
            if line.given and line.verdict == verdict:
                files[line.key].add(name)
                why[line.key][reason(line)] += 1
    order = sorted(files, key=lambda key: (-len(files[key]), key))
    return [[key, len(files[key]), why[key].most_common(1)[0][0]] for key in order]


def reason(line: Line) -> str:
    """Why a key is where it is, on one line of a table."""
    return " ".join(line.note.split()).replace("|", "\\|")


def main(folder: Path) -> None:
    """Translate all files of a folder and publish the table."""
    made, refused = read(folder)
    counts = Counter(one.verdict for one in made.values())
    keys = Counter(line.verdict for one in made.values() for line in one.lines if line.given)
    body = (
        f"{len(made) + len(refused)} files: {counts['whole']} map whole, {counts['part']} in part, "
        f"{counts['none']} not; {len(refused)} are no configurations of a run. "
        f"Of {sum(keys.values())} keys {keys['whole']} map whole, {keys['part']} in part, "
        f"{keys['none']} not, and {keys['aside']} have no part in the result (names, logging, test "
        "pictures). A file maps in part where any of its keys, or of threestudio's defaults, does "
        "not map whole. The rules are in [threestudio](../threestudio.md).\n\n"
    )
    rows = [
        [
            name,
            sum(n.given for n in one.lines),
            *map(one.count, VERDICTS),
            WORDS[one.verdict],
            command(one),
        ]
        for name, one in made.items()
    ]
    head = ["file", "keys", *(WORDS[v] for v in VERDICTS), "the file", "becomes"]
    body += table(head, rows)
    body += "\n\n## Keys that do not map\n\n" + table(["key", "files", "why"], lost(made, "none"))
    body += "\n\n## Keys that map in part\n\n" + table(
        ["key", "files", "effect"], lost(made, "part")
    )
    told = Counter((n.key, n.note) for m in made.values() for n in m.lines if not n.given)
    body += "\n\n## Defaults of threestudio that files leave and that do not map whole\n\n"
    body += table(
        ["key", "files", "effect"],
        [[key, count, note] for (key, note), count in told.most_common()],
    )
    body += "\n\n## No configurations\n\n" + table(
        ["file", "error"], [[name, text] for name, text in refused.items()]
    )
    publish(
        "translate",
        "threestudio's configurations",
        "python benchmarks/translate.py threestudio/configs",
        body,
    )


def command(one: Translation) -> str:
    """What runs it, or why nothing does."""
    if one.target is None:
        return one.reason.replace("|", "\\|")
    return f"{one.target.command}, {one.target.system}"


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python benchmarks/translate.py FOLDER")
    main(Path(sys.argv[1]))
