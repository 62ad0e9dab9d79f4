"""What the benchmark scripts share: Markdown tables, intervals, publishing both with their frame.

A page in docs/results is drawn from docs/results/raw/<name>.jsonl: the head, then texts, headers
and rows in their order, then single measurements, where the script gives them. Run:
python benchmarks/tables.py --redraw NAME
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from frames import TITLES, Frame, frame_of

ROOT = Path(__file__).resolve().parent.parent
DIGITS = 6
"""Decimals that raw rows keep of a float."""
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_drawn: dict[str, tuple[list[str], list[list[Any]]]] = {}
"""Header and rows of every table that this process has drawn, by its text."""
_noted: dict[str, str] = {}


def note(name: str, value: str) -> None:
    """Have the frame of what this process publishes say one thing more."""
    _noted[name] = value


def _plain(value: Any) -> Any:
    """A cell as JSON keeps it: floats rounded, whatever is no number as its text."""
    if isinstance(value, float):
        return round(float(value), DIGITS)
    return value if isinstance(value, int | bool) else str(value)


def _draw(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: object) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows])


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; floats with three digits. `publish` keeps the rows of those in its body."""
    kept = [[_plain(value) for value in row] for row in rows]
    text = _draw(header, kept)
    _drawn[text] = (list(header), kept)
    return text


def interval(values: Sequence[float], count: int = 2000, key: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of `values`, from the counter-based seed `key`."""
    from threestudio_like.metrics.point_sets import bootstrap

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError("an interval needs at least one value, in one row")
    return bootstrap(array, count, key)


def resampled(
    measure: Callable[[np.ndarray], float], cases: int, key: int = 0, count: int = 4000
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a measure of cases, which is asked for the numbers (N,) of
    those that were drawn: what belongs to one case stays together."""
    rng = np.random.Generator(np.random.Philox(key=key))
    drawn = [measure(rng.integers(0, cases, cases)) for _ in range(count)]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _git(*words: str) -> str:
    ran = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return ran.stdout.strip() if ran.returncode == 0 else ""


def commit() -> str:
    """The commit of the checkout, "+changes" if its code differs from it; pages that this or an
    earlier benchmark has just written do not count."""
    changed = _git("status", "--porcelain", "--", ".", ":!docs/results", ":!docs/pictures")
    return (_git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+changes" if changed else "")


def versions() -> str:
    """Python and the packages that figures depend on."""
    lines = [f"Python {platform.python_version()}"]
    for name in ("torch", "numpy", "threestudio_like"):
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed (run from the checkout)")
    return ", ".join(lines)


def processor() -> str:
    """The CPU's model and which of the flags that matter it has."""
    model, flags = platform.processor() or platform.machine(), set()
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    told = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in CPU_FLAGS)
    return f"{model}, {os.cpu_count()} cores; {told if flags else 'flags unknown'}"


def threads() -> str:
    """Threads of torch in the process that publishes, and the variable that its children got."""
    torch = sys.modules.get("torch")
    count = f"{torch.get_num_threads()} in torch" if torch else "torch was not loaded"
    return f"{count}; OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"


def provenance() -> dict[str, str]:
    """Where and by what the figures are made."""
    return {
        "commit": commit(),
        "versions": versions(),
        "CPU": processor(),
        "threads": threads(),
        **_noted,
    }


def head_lines(facts: Mapping[str, str], frame: Frame, raw: str) -> str:
    """The frame as the page shows it."""
    told = {**facts, **{TITLES[k]: v for k, v in asdict(frame).items()}, "raw rows": raw}
    lines = "\n".join(f"| {k} | {v.replace('|', '/')} |" for k, v in told.items())
    return f"| frame | |\n|---|---|\n{lines}"


def _parts(body: str) -> list[dict[str, Any]]:
    """A body as lines of JSON: its tables as header and rows, the text between them as it is."""
    for text in sorted(_drawn, key=len, reverse=True):
        before, found, after = body.partition(text)
        if found:
            header, rows = _drawn[text]
            middle = [{"table": header}, *({"row": row} for row in rows)]
            return [*_parts(before), *middle, *_parts(after)]
    return [{"text": body}] if body else []


def _page(lines: list[dict[str, Any]], name: str) -> str:
    """The page that raw lines make."""
    head, body, header, rows = lines[0]["head"], "", None, []
    for line in [*lines[1:], {"text": ""}]:
        if "row" in line:
            rows.append(line["row"])
            continue
        if header is not None:
            body += _draw(header, rows)
        header, rows = line.get("table"), []
        body += line.get("text", "")
    raw = f"[{name}.jsonl](raw/{name}.jsonl)"
    told = head_lines(head["facts"], Frame(**head["frame"]), raw)
    return f"# {head['title']}\n\nMade by `{head['command']}`.\n\n{told}\n\n{body}\n"


def results() -> Path:
    """The folder of pages: docs/results, or the one that BENCHMARK_PAGES names."""
    return Path(os.environ.get("BENCHMARK_PAGES") or ROOT / "docs" / "results")


def redraw(name: str) -> str:
    """Draw page `name` from its raw rows, without running anything. Returns its text.

    Raises ValueError if its raw rows were not kept."""
    path = results() / "raw" / f"{name}.jsonl"
    if not path.exists():
        raise ValueError(f"raw rows of {name!r} were not kept ({path}); run its benchmark again")
    text = _page([json.loads(line) for line in path.read_text("utf-8").splitlines()], name)
    (results() / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def publish(
    name: str,
    title: str,
    command: str,
    body: str,
    samples: Iterable[Mapping[str, Any]] = (),
    frame: Mapping[str, str] | None = None,
) -> None:
    """Print the result, write its raw rows to docs/results/raw/<name>.jsonl, and draw
    docs/results/<name>.md from them, with the frame that frames.toml has for it and where it ran.
    `samples` are the single measurements behind the rows; `frame` replaces fields that depend on
    the run, as n where the command line chose fewer. Raises ValueError without a frame."""
    head = {
        "title": title,
        "command": command,
        "facts": provenance(),
        "frame": asdict(replace(frame_of(name), **(frame or {}))),
    }
    kept = [{"sample": {k: _plain(v) for k, v in sample.items()}} for sample in samples]
    path = results() / "raw" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"head": head}, *_parts(body), *kept]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    print(redraw(name))


def published(name: str) -> list[dict[str, Any]]:
    """The single measurements behind page `name`; none where there is no such page. A benchmark of
    hours goes on from them where its own folder of runs is gone."""
    path = results() / "raw" / f"{name}.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [line["sample"] for line in map(json.loads, lines) if "sample" in line]


def cells(text: str) -> list[dict[str, str]]:
    """Every row of every Markdown table of a page, as cells by the header's names; the first cell
    stands under "" too."""
    found, header = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = [cell.strip() for cell in line.strip("|").split("|")]
        elif not set(line) <= set("|-: "):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            found.append({**dict(zip(header, row, strict=False)), "": row[0]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redraw", metavar="NAME", nargs="+", required=True)
    for name in parser.parse_args().redraw:
        redraw(name)


if __name__ == "__main__":
    main()
