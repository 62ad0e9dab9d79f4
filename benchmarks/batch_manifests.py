"""Bad manifests: the written ones of `tests/test_batch_manifests.py`, and one for every option of
every command with every kind of value that it cannot take. Each has to end in one line with the
item's number and the field, and nothing made.

    python benchmarks/batch_manifests.py   # writes docs/results/batch_manifests.md
    python benchmarks/batch_manifests.py --dry --seeds 1
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import typing
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import ROOT, publish, table

sys.path.insert(0, str(ROOT))

from tests.batches import TINY
from tests.test_batch_manifests import BESIDE, FILES, ITEMS
from threestudio_like.cli import main as cli
from threestudio_like.commands.jobs.batch_options import OWN, OptionRow, rows_of

ASSETS = ROOT / "assets"
GOOD: dict[str, dict[str, Any]] = {
    "tiny": {"prompt": "a"},
    "generate": {"prompt": "a red chair"},
    "texture": {"mesh": str(ASSETS / "shapes" / "mug.obj"), "prompt": "a blue mug"},
    "reconstruct": {"picture": str(ASSETS / "pictures" / "car.jpg")},
    "compose": {"text": "a red ball on a blue box"},
    "evaluate": {"source": str(ASSETS / "shapes" / "mug.obj")},
}
"""An item of each command that nothing is wrong with."""


def wrong(row: OptionRow) -> Iterator[tuple[str, Any]]:
    """Values that an option of this type cannot take, each with the name of its kind."""
    kinds = {row.kind, *typing.get_args(row.kind)}
    numbers = bool(kinds & {int, float}) and str not in kinds and bool not in kinds
    yield "a group of keys", {"a": 1}
    if not row.several:
        yield "an empty list", []
        yield "a list within a list", [[1, 2]]
    if numbers:
        yield "a text for a number", "many"
        yield "a truth for a number", True
        yield "no number", float("nan")
        yield "an endless number", float("inf")
    if int in kinds and numbers and float not in kinds:
        yield "a fraction for a whole number", 1.5
    if bool in kinds:
        yield "a text for a truth", "perhaps"
        yield "a number for a truth", 7
    if str in kinds and not row.several:
        yield "a number for a text", 7
    if row.paths:
        yield "a file that is not there", "no such file.bin"


def bad_items(dice: random.Random) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Kind of the mistake, command, key, and the item; keys are written with "-" or "_"."""
    for command, good in GOOD.items():
        rows = {row.name: row for row in rows_of(command).values()}
        for name, row in sorted(rows.items()):
            if name in OWN:
                yield "the batch's own option", command, name, {**good, name: "x"}
                continue
            key = name.replace("_", "-") if dice.random() < 0.5 else name
            others = {k: v for k, v in good.items() if k != name}
            for kind, value in wrong(row):
                yield kind, command, key, {**others, key: value}
            yield "a misspelt option", command, misspelt(name, rows, dice), {**good}


def misspelt(name: str, known: dict[str, OptionRow], dice: random.Random) -> str:
    while True:
        at = dice.randrange(len(name))
        changed = name[:at] + dice.choice(["", name[at] * 2, "q"]) + name[at + 1 :]
        if changed and changed not in known and changed not in OWN and changed != "seeds":
            return changed


def told(path: Path, store: Path) -> tuple[int, str]:
    out = io.StringIO()
    words = ["batch", str(path), "--store", str(store), "--workers", "1", "--quiet"]
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        code = cli([*words, "--plugins", str(TINY)])
    return code, out.getvalue()


def judged(path: Path, place: str, word: str = "") -> str:
    """What is wrong with the answer; empty where it is as it should be."""
    store = path.with_name("store")
    try:
        code, text = told(path, store)
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    if code != 2:
        return f"exit code {code}"
    if text.count("\n") != 1:
        return f"{text.count(chr(10))} lines"
    if place not in text.replace("-", "_") or word not in text:
        return f"does not name the place: {text.strip()}"
    return "a store was made" if store.exists() else ""


def written(folder: Path) -> tuple[int, list[str]]:
    wrong = []
    for name, text in BESIDE.items():
        (folder / name).write_text(text)
    for name, (items, place, word) in ITEMS.items():
        path = folder / "m.yaml"
        path.write_text(json.dumps({"items": items}))
        fault = judged(path, f"m.yaml: {place}".replace("-", "_"), word)
        wrong += [f"{name}: {fault}"] if fault else []
    for name, (text, word) in FILES.items():
        path = folder / name
        path.write_text(text)
        fault = judged(path, name, word if word in text else "")
        wrong += [f"{name}: {fault}"] if fault else []
    return len(ITEMS) + len(FILES), wrong


def made(folder: Path, seeds: int) -> tuple[dict[str, Counter[str]], list[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    wrong = []
    for seed in range(seeds):
        dice = random.Random(seed)
        for kind, command, key, item in bad_items(dice):
            # The third item is good as well: what is wrong with the second is told first.
            if kind == "a misspelt option":
                item = {**item, key: 1}
            good = {"command": command, **GOOD[command]}
            number = dice.randint(1, 3)
            items = [{**good, "seed": n} if "seed" in rows_of(command) else good for n in range(2)]
            items.insert(number - 1, {"command": command, **item})
            path = folder / "m.yaml"
            path.write_text(json.dumps({"items": items}))
            place = f'm.yaml: item {number}, field "{key}"'.replace("-", "_")
            fault = judged(path, place)
            counts[kind]["right" if not fault else "wrong"] += 1
            if fault:
                wrong.append(f"{command}, {key}, {kind}: {fault}")
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--dry", action="store_true", help="print, publish nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Knows the plug-in's options, for what follows.
        told(folder / "none.yaml", folder / "store")
        count, wrong = written(folder)
        counts, more = made(folder, arguments.seeds)
    rows = [["written by hand", count, count - len(wrong)]]
    rows += [[kind, c.total(), c["right"]] for kind, c in sorted(counts.items())]
    total, right = sum(r[1] for r in rows), sum(r[2] for r in rows)
    rows.append(["**all**", total, right])
    faults = [*wrong, *more]
    body = (
        f"{right} of {total} bad manifests end in one line with file, item number and field, exit "
        f"code 2, and no store. Mistakes of every option of "
        f"{', '.join(GOOD)} stand in the first, second or third of three items; {arguments.seeds} "
        f"seeds for spelling and place. It is a systematic list and no sample, so it has no "
        f"interval; `refine` is not among the commands.\n\n"
        + table(["mistake", "manifests", "as it should be"], rows)
    )
    if faults:
        body += "\n\nOtherwise:\n\n" + "\n".join(f"- {fault}" for fault in faults[:60])
    if arguments.dry:
        print(body)
        return
    command = f"python benchmarks/batch_manifests.py --seeds {arguments.seeds}"
    publish("batch_manifests", "Bad manifests", command, body)


if __name__ == "__main__":
    main()
