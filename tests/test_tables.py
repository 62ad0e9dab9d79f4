"""The frame of every table, and the README's figures against the tables."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.stem for path in (ROOT / "docs" / "results").glob("*.md"))


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def pages(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCHMARK_PAGES", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_its_whole_frame(name):
    from frames import TITLES, frame_of

    page = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    for title in ("commit", "versions", "CPU", "threads", "raw rows", *TITLES.values()):
        assert re.search(rf"^\| {title} \| \S.* \|$", page, re.M), title
    if not (ROOT / "docs" / "results" / "raw" / f"{name}.jsonl").exists():
        for field, value in asdict(frame_of(name)).items():
            assert f"| {TITLES[field]} | {value} |" in page


def test_a_field_of_the_frame_cannot_be_left_out(monkeypatch):
    import frames

    whole = frames.declared()["kernels"]
    for field in fields(frames.Frame):
        short = {k: v for k, v in whole.items() if k != field.name}
        with pytest.raises(TypeError, match=field.name):
            frames.Frame(**short)
        with pytest.raises(ValueError, match=field.name):
            frames.Frame(**{**whole, field.name: " "})
        monkeypatch.setattr(frames, "declared", lambda short=short: {"kernels": short})
        with pytest.raises(ValueError, match=field.name):
            frames.frame_of("kernels")


def test_nothing_is_published_without_a_frame(pages):
    from tables import publish

    with pytest.raises(ValueError, match=r"no section \[unheard_of\]"):
        publish("unheard_of", "x", "x", "x")
    assert not list(pages.rglob("*.md"))


def test_the_interval_is_that_of_the_normal_distribution():
    from tables import interval

    values = np.random.Generator(np.random.Philox(key=1)).normal(3.0, 2.0, 400)
    error = values.std() / math.sqrt(len(values))
    low, high = interval(values, 20000)
    # A quantile of 20,000 draws has itself an error of 0.02 standard errors.
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert interval(values) == interval(values) != interval(values, key=1)
    assert interval([2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="at least one value"):
        interval([])


def test_a_run_says_what_of_its_frame_is_its_own(pages):
    from tables import publish, redraw

    publish("kernels", "Title", "command", "Text.", frame={"n": "three | of four"})
    page = (pages / "kernels.md").read_text(encoding="utf-8")
    assert "| n | three / of four |" in page
    assert redraw("kernels") == page
    with pytest.raises(ValueError, match="'n' is empty"):
        publish("kernels", "Title", "command", "Text.", frame={"n": " "})
    with pytest.raises(TypeError, match="count"):
        publish("kernels", "Title", "command", "Text.", frame={"count": "3"})


def test_a_page_is_drawn_again_from_its_raw_rows(pages):
    from tables import publish, redraw, table

    rows = [
        ["a", 0.12345678901, 3, True, float("nan")],
        ["b", np.float32(2.5), np.int64(4), "-", 1],
    ]
    header = ["x", "y", "z", "w", "v"]
    body = f"Before.\n\n{table(header, rows)}\n\n{table(['u'], [])}\n\nAfter.\n"
    publish("kernels", "Title", "command", body, [{"seed": 1, "iou": 0.123456789}])
    page = (pages / "kernels.md").read_text(encoding="utf-8")
    assert page.endswith(body + "\n")
    (pages / "kernels.md").unlink()
    assert redraw("kernels") == page == (pages / "kernels.md").read_text(encoding="utf-8")
    path = pages / "raw" / "kernels.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[-1] == {"sample": {"seed": 1, "iou": 0.123457}}
    path.write_text(path.read_text(encoding="utf-8").replace("0.123457, 3", "0.5, 3"), "utf-8")
    assert redraw("kernels") == page.replace("| a | 0.123 |", "| a | 0.500 |") != page
    path.unlink()
    with pytest.raises(ValueError, match="were not kept"):
        redraw("kernels")


def test_raw_rows_are_small_and_are_those_of_the_pages():
    from tables import _page

    raw = sorted((ROOT / "docs" / "results" / "raw").glob("*.jsonl"))
    assert sum(path.stat().st_size for path in raw) < 1_500_000
    for path in raw:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        page = (path.parent.parent / f"{path.stem}.md").read_text(encoding="utf-8")
        assert _page(lines, path.stem) == page


@pytest.mark.parametrize("name", ["README.md", "docs/measured.md"])
def test_figures_of_texts_are_those_of_the_tables(name):
    from readme_figures import FIGURES, differences, written

    text = (ROOT / name).read_text(encoding="utf-8")
    assert differences(name, text) == []
    assert written(name, text) == text
    for figure in FIGURES[name]:
        match = re.search(figure.readme, text)
        other = re.sub(r"\d(?=\D*$)", lambda m: str((int(m[0]) + 1) % 10), match[1])
        changed = text[: match.start(1)] + other + text[match.end(1) :]
        assert any(f"docs/results/{figure.page}.md" in line for line in differences(name, changed))
        assert written(name, changed) == text
        removed = text[: match.start(1)] + "x" + text[match.end(1) :]
        assert any(f"{name} has no" in line for line in differences(name, removed))


def test_every_table_is_reached_from_the_page_of_what_was_measured():
    text = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(results/(\w+)\.md\)", text)) == set(PAGES)


def test_every_page_is_made_by_make_benchmark_or_says_why_not():
    from frames import not_made

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^benchmark:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    made = set(re.findall(r"benchmarks/(\w+)\.py", recipe))
    excused = not_made()
    assert set(PAGES) - made == set(excused)
    assert all(len(reason.split()) > 3 for reason in excused.values())
    for name in made:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()


def test_every_script_that_publishes_has_a_frame():
    from frames import frame_of

    names = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        names += re.findall(r"publish\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    assert len(names) > 40
    for name in names:
        assert frame_of(name).n


@pytest.mark.parametrize(
    ("kind", "again", "verdict"),
    [
        ({"kind": "same", "within": 0.1}, 0.54, "reproduced"),
        ({"kind": "same", "within": 0.1}, 0.56, "outside"),
        ({"kind": "share", "n": 100}, 0.597, "reproduced"),
        ({"kind": "share", "n": 100}, 0.603, "outside"),
        ({"kind": "interval", "interval": "95 % interval"}, 0.61, "reproduced"),
        ({"kind": "interval", "interval": "95 % interval"}, 0.63, "outside"),
        ({"kind": "bound", "bound": "most"}, 0.7, "reproduced"),
        ({"kind": "bound", "bound": "most"}, 0.7001, "outside"),
        ({"kind": "interval", "interval": "none"}, 0.5, "no interval"),
    ],
)
def test_a_sample_says_which_figures_it_reproduces(kind, again, verdict):
    from quick import compared
    from tables import table

    header = ["way", "IoU", "95 % interval", "most"]
    page = table(
        header, [["cisp", 0.5, "0.400 to 0.620", "0.7"], ["g3dr", 0.2, "0.1 to 0.3", "0.7"]]
    )
    made = table(header, [["cisp", f"{again:.4f}", "0.1 to 0.9", "9"]])
    rows = compared({**kind, "columns": ["IoU"]}, page, made)
    assert [row[-1] for row in rows] == [verdict]


def test_samples_name_pages_and_their_columns():
    from quick import samples
    from tables import cells

    for name, sample in samples().items():
        rows = cells((ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8"))
        for column in sample["columns"]:
            assert any(column in row for row in rows), (name, column)
