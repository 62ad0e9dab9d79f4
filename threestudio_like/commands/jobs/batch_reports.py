"""`batch status`, `export`, `gallery` and `verify`: what a store holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ...engine.errors import BatchError, ConfigError
from ...engine.output import write_files
from ...engine.places import user_path
from ...engine.text import json_text, printable, slug
from ...runs.batch.gallery import FILES, STAMP, gallery_files, stamp
from ...runs.batch.index import ASIDE, DONE, Index
from ...runs.batch.store import Store
from ...runs.batch.tournament import ranked
from ..batch import Batch

SHOWN = 20
"""Failures that the status lists; --json lists all."""


def status(options: Batch, store: Store) -> str:
    """How far a batch is, from the records."""
    index = Index.of_store(store)
    index.reconcile(store)
    counts = {state: index.count(state, planned=True) for state in (DONE, ASIDE, "waiting")}
    more = index.count(DONE) - counts[DONE]
    rows = list(index.rows("state = ?", ASIDE))
    if options.json:
        facts = {**counts, "outside of the plan": more}
        failures = [
            {k: row[k] for k in ("id", "label", "seed", "cause", "error", "trials")} for row in rows
        ]
        return "\n".join(json_text(x) for x in ({"status": facts}, *failures))
    lines = [
        f"{store.address}: {counts[DONE]} made, {counts['waiting']} waiting, {counts[ASIDE]} set "
        f"aside{f', {more} of earlier manifests' if more else ''}"
    ]
    for row in rows[:SHOWN]:
        line = f"  {row['label']} (seed {row['seed']}, {row['trials']} trials): {row['error']}"
        lines.append(printable(line))
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN} more: --json lists them")
    if rows:
        lines.append(f"  threestudio-like batch retry --failed --store {store.address}")
    return "\n".join(lines)


def export(options: Batch, store: Store) -> str:
    """The files of finished items in a folder, by readable names. Raises OutputError."""
    if options.out is None:
        raise ConfigError("is missing", "--out", "Say which folder")
    index = Index.of_store(store)
    index.reconcile(store)
    rows = [row for row in index.rows("state = ?", DONE) if row["number"] is not None]
    if options.best:
        rows = _best(rows)
    folder = user_path(options.out)
    count = 0
    for row in rows:
        record = store.record(row["id"])
        if record is None:
            continue
        name = f"{slug(row['label'], '-', 60) or 'item'}-{row['seed']}-{row['id'][:6]}"
        names = [n for n in record["files"] if not n.startswith("work/")]
        paths = {folder / name / n: store.content(record, n) for n in names}
        wrong = {p: d for p, d in paths.items() if not (p.is_file() and p.read_bytes() == d)}
        write_files(wrong)
        count += 1
    return f"{folder}: {count} items"


def _best(rows: Iterable[Any]) -> list[Any]:
    """Of the seeds of each entry the best: of the longest runs, by the tournament's figures where
    there are any; else the first that came out well."""
    entries: dict[str, list[Any]] = {}
    for row in rows:
        spec = json.loads(row["spec"])
        values = {k: v for k, v in spec["values"].items() if k not in ("seed", "steps")}
        entries.setdefault(json.dumps({**spec, "values": values}, sort_keys=True), []).append(row)
    best = []
    for group in entries.values():
        longest = max(row["steps"] or 0 for row in group)
        own = [row for row in group if (row["steps"] or 0) == longest]
        own.sort(key=lambda row: (row["verdict"] != "ok", row["seed"]))
        figures = [(json.loads(row["figures"] or "{}").get("tournament") or {}) for row in own]
        best.append(own[ranked(figures)[0]])
    return best


def gallery(options: Batch, store: Store) -> str:
    """Write the page anew."""
    index = Index.of_store(store)
    index.reconcile(store)
    index.publish(store)
    count = write_gallery(store, index)
    return f"{store.address}/gallery/index.html: {count} items"


def write_gallery(store: Store, index: Index) -> int:
    """Write the page of an index; returns how many items it shows. Raises OutputError."""
    files, count = gallery_files(index)
    for name, data in files.items():
        store.files.write(f"gallery/{name}", data)
    # Last: whoever dies before has left the stamp of an older page, or none.
    store.files.write(f"gallery/{STAMP}", stamp(index, files))
    return count


def update_gallery(store: Store, index: Index) -> None:
    """Write the page of an index unless it is there. Raises OutputError."""
    files = {name: store.files.read(f"gallery/{name}") for name in FILES}
    if store.files.read(f"gallery/{STAMP}") != stamp(index, files):
        write_gallery(store, index)


def verify(options: Batch, store: Store) -> str:
    """Hold records, files and index against each other. Raises BatchError."""
    faults = [f"{fault.id}: {fault.what}" for fault in store.verify()]
    index = Index.of_store(store)
    listed = {row["id"] for row in index.rows("state = ?", DONE)}
    done = store.done()
    faults += [f"{id}: the index lacks it" for id in sorted(done - listed)]
    faults += [f"{id}: the index has it, the records have not" for id in sorted(listed - done)]
    if faults:
        raise BatchError(
            f"{len(faults)} faults, the first: {faults[0]}",
            store.address,
            "Run the manifest again: it makes what is missing",
        )
    return f"{store.address}: {len(done)} items, records, files and index agree"


REPORTS: dict[str, Callable[[Batch, Store], str]] = {
    "status": status,
    "export": export,
    "gallery": gallery,
    "verify": verify,
}
