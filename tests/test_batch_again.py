"""A batch that is begun again: what is made is neither checked, nor loaded for, nor written again;
what is missing, changed or damaged is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from threestudio_like.commands.jobs import batch_checks
from threestudio_like.runs.batch.gallery import FILES, STAMP
from threestudio_like.runs.batch.index import Index
from threestudio_like.runs.batch.store import Store

from .batches import TINY, batch, manifest, products, sixty
from .runs import QUICK

HEAVY = ("torch", "numba", "scipy", "trimesh", "threestudio_like.kernels")
LOADED = f"""
import sys
from threestudio_like.cli import main
code = main(sys.argv[1:])
print(code, *(name for name in {HEAVY} if name in sys.modules))
"""


def loaded(*words: object) -> str:
    """The exit code of a batch in a process of its own, and what heavy things it has loaded."""
    more = ["--workers", 1, "--quiet", "--plugins", TINY]
    line = [sys.executable, "-c", LOADED, "batch", *map(str, (*words, *more))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_finished_batch_loads_nothing_heavy(tmp_path):
    path, store = sixty(tmp_path / "m.yaml"), tmp_path / "store"
    assert batch(path, "--store", store) == 0
    assert loaded(path, "--store", store) == "0"
    assert loaded("resume", "--store", store) == "0"


def test_nor_does_one_of_a_real_command(tmp_path):
    """The store says that its items are made: what they take to make does not matter here."""
    words = [w for w in QUICK if w != "--no-turntable"]
    values = {k[2:]: v for k, v in zip(words[::2], words[1::2])} | {"turntable": "false"}
    items = [{"prompt": "a red ball", "seeds": "0-3", **values}]
    (tmp_path / "m.yaml").write_text(json.dumps({"items": items}))
    address = str(tmp_path / "store")
    assert loaded(tmp_path / "m.yaml", "--store", address, "--dry-run").startswith("0 torch")
    made = tmp_path / "made"
    made.mkdir()
    made.joinpath("asset.txt").write_bytes(b"an asset")
    store = Store(address, make=True)
    for spec in planned(tmp_path / "m.yaml"):
        store.publish(spec, made, {"label": "a red ball", "verdict": "ok", "steps": 7})
    assert len(store.done()) == 4
    # The first time the table is made of the records; kinds and steps are asked of the methods.
    assert loaded(tmp_path / "m.yaml", "--store", address).startswith("0")
    assert loaded(tmp_path / "m.yaml", "--store", address) == "0"
    assert len(products(address)) == 4


def planned(path):
    from threestudio_like.commands.jobs.batch_plan import PlanOptions, plan_items
    from threestudio_like.commands.jobs.batch_work import CommandWork
    from threestudio_like.runs.batch.manifest import read_manifest

    options = PlanOptions(plugins=(TINY,), defaults={"command": "generate"})
    return plan_items(read_manifest(path), options, CommandWork()).specs()


def test_what_is_made_is_not_checked_again_and_what_is_new_is(tmp_path, monkeypatch, capsys):
    asked = []
    check = batch_checks.check_options
    monkeypatch.setattr(
        batch_checks, "check_options", lambda c, o: (asked.append(o.prompt), check(c, o))
    )
    path, store = tmp_path / "m.yaml", tmp_path / "store"
    manifest(path, {"prompt": ["a", "b"]})
    assert batch(path, "--store", store) == 0
    assert asked == ["a", "b"]
    manifest(path, {"prompt": ["b", "c", "a"]})
    assert batch(path, "--store", store) == 0
    assert asked == ["a", "b", "c"]
    # A number of the manifest that no command would take is found beside all that is made.
    manifest(path, {"prompt": ["b", "c", "a", ""]})
    before = products(store)
    assert batch(path, "--store", store) == 2
    assert "item 1" in capsys.readouterr().err
    assert products(store) == before
    # What is not made any more is checked like anything else.
    id = next(iter(before))
    Store(str(store)).files.remove(f"done/{id[:2]}/{id}.json")
    manifest(path, {"prompt": ["a", "b", "c"]})
    del asked[:]
    assert batch(path, "--store", store) == 0
    assert len(asked) == 1
    assert products(store) == before


def rows(store) -> list[tuple]:
    index = Index.of_store(Store(str(store)))
    names = ("label", "seed", "number", "state", "kind", "steps")
    return [tuple(row[n] for n in names) for row in index.rows()]


@pytest.mark.parametrize("change", ["turned round", "less", "renamed", "more"])
def test_the_table_of_a_changed_manifest_is_that_of_a_new_store(change, tmp_path):
    first = [{"prompt": ["a", "b"], "steps": 3}, {"prompt": "c", "seeds": "0-1"}]
    second = {
        "turned round": first[::-1],
        "less": first[:1],
        "renamed": [{**first[0], "name": "other"}, first[1]],
        "more": [*first, {"prompt": "d"}],
    }[change]
    path, store = tmp_path / "m.yaml", tmp_path / "store"
    assert batch(manifest(path, *first), "--store", store) == 0
    assert batch(manifest(path, *second), "--store", store) == 0
    assert batch(path, "--store", tmp_path / "new") == 0
    planned_rows = [row for row in rows(store) if row[2] is not None]
    assert planned_rows == rows(tmp_path / "new")
    assert len(rows(store)) - len(planned_rows) == (2 if change == "less" else 0)


def pages(store) -> dict[str, tuple[int, bytes]]:
    """Of each file its inode, which every write changes, and its bytes."""
    paths = [store / "gallery" / name for name in (*FILES, STAMP)]
    return {p.name: (p.stat().st_ino, p.read_bytes()) for p in paths}


def test_the_page_is_made_again_exactly_where_it_would_be_another(tmp_path):
    path, store = tmp_path / "m.yaml", tmp_path / "store"
    manifest(path, {"prompt": ["a", "b"]})
    assert batch(path, "--store", store) == 0
    first = pages(store)
    assert batch(path, "--store", store) == 0
    assert batch("resume", "--store", store) == 0
    assert pages(store) == first
    good = {name: data for name, (_, data) in first.items()}
    for name in (*FILES, STAMP):
        for harm in ("gone", "damaged"):
            victim = store / "gallery" / name
            victim.unlink() if harm == "gone" else victim.write_bytes(b"half a pa")
            assert batch(path, "--store", store) == 0
            assert {n: data for n, (_, data) in pages(store).items()} == good, (name, harm)
    manifest(path, {"prompt": ["a", "b"], "name": "another"})
    assert batch(path, "--store", store) == 0
    changed = {n: data for n, (_, data) in pages(store).items()}
    assert b"another" in changed["items.js"]
    # Whoever dies between table and page leaves the stamp of the page before.
    for name in (*FILES, STAMP):
        (store / "gallery" / name).write_bytes(good[name])
    assert batch(path, "--store", store) == 0
    assert {n: data for n, (_, data) in pages(store).items()} == changed


@pytest.mark.parametrize("address", ["memory://again/store", "folder"])
def test_what_dead_workers_left_is_swept_from_a_finished_store(address, tmp_path):
    address = str(tmp_path / "store") if address == "folder" else address
    path = manifest(tmp_path / "m.yaml", {"prompt": ["a", "b"]})
    assert batch(path, "--store", address) == 0
    store = Store(address)
    good, id = products(address), min(store.done())
    counted = {(i, store.record(i)["attempt"]) for i in good}
    # Elsewhere than on a disk an item that is not finished may be another driver's.
    left = [id, "nobody"] if store.files.local is not None else [id]
    for name in left:
        store.files.write(f"items/{name}/0123abcd/begun/part", b"half")
    found = store.files.folders("items")
    assert set(found) - counted == {(name, "0123abcd") for name in left}
    assert found == sorted(found)
    assert batch(path, "--store", address) == 0
    assert set(store.files.folders("items")) == counted
    assert products(address) == good
    assert batch("verify", "--store", address) == 0
