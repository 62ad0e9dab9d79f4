"""The plan of a batch and how far it is, as an SQLite table: the driver works with it, and a copy
in the store is what any tool reads. The store's records are the truth; the table is made of
them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .items import Item, Spec, Work
from .store import Store

NAME = "index.sqlite"
WAITING, DONE, ASIDE = "waiting", "done", "aside"
_TABLE = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,      -- hash of the specification
    number INTEGER,           -- of the entry in the manifest; NULL: in the store, not in the plan
    state TEXT NOT NULL,      -- waiting, done, aside
    command TEXT NOT NULL,
    label TEXT NOT NULL,
    seed INTEGER NOT NULL,
    affinity TEXT NOT NULL,
    contest TEXT NOT NULL,
    rung INTEGER NOT NULL,
    kind TEXT NOT NULL,       -- times are carried over between items of a kind
    steps INTEGER,
    spec TEXT NOT NULL,       -- JSON
    verdict TEXT,
    seconds REAL,
    bytes INTEGER,
    product TEXT,             -- hash of the files that the specification decides
    attempt TEXT,             -- folder below items/<id>
    figures TEXT,             -- JSON
    preview TEXT,             -- key of the picture
    cause TEXT,
    error TEXT,
    trials INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_state ON items (state, affinity);
CREATE INDEX IF NOT EXISTS by_contest ON items (contest);
"""
COLUMNS = (
    *("id", "number", "state", "command", "label", "seed", "affinity", "contest", "rung", "kind"),
    *("steps", "spec"),
)
PLACE = ("number", "label", "affinity", "contest", "rung")
"""What a manifest says of an item besides its specification, as attributes of `Item`."""
_DONE = f"state = '{DONE}'"
PREVIEWS = ("preview.png", "preview.jpg", "preview.webp")


class Index:
    """The table of a batch's items.

    Args:
        path: of the database file; ":memory:" for none.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.row_factory = sqlite3.Row
        self._base.execute("PRAGMA journal_mode=MEMORY")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.executescript(_TABLE)

    @staticmethod
    def of_store(store: Store) -> Index:
        """The table that lies in a store, or an empty one. What is damaged is left out: it can be
        made again."""
        index = Index()
        data = store.files.read(NAME)
        if data:
            try:
                index._base.deserialize(data)
                index._base.row_factory = sqlite3.Row
                index._base.executescript(_TABLE)
                index._base.execute("SELECT count(*) FROM items").fetchone()
            except sqlite3.DatabaseError:
                return Index()
        return index

    def plan(self, items: Iterable[tuple[Item, str, int | None]]) -> int:
        """Take items into the plan, each with its kind and steps; those that are known already keep
        their state. Returns how many there were, each counted once."""
        before = self.count()
        self._base.execute("BEGIN")
        text = "INSERT INTO items ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}".format(
            ", ".join(COLUMNS),
            ", ".join("?" * len(COLUMNS)),
            ", ".join(f"{n} = excluded.{n}" for n in COLUMNS if n not in ("id", "state")),
        )
        rows = (
            (
                item.id,
                item.number,
                WAITING,
                item.spec.command,
                item.label,
                # SQLite's numbers end at 2^63 - 1, as those of seeds do.
                item.spec.seed,
                item.affinity,
                item.contest,
                item.rung,
                kind,
                steps,
                json.dumps(item.spec.plain()),
            )
            for item, kind, steps in items
        )
        self._base.executemany(text, rows)
        self._base.execute("COMMIT")
        return self.count() - before

    def renew_plan(self, items: Sequence[Item], work: Work) -> None:
        """Make the plan that of `items`: what is done is kept, all else that was planned is
        forgotten. Of a finished item kind and steps stand here already, for both follow from its
        specification; and its row is not touched where it is as the plan wants it."""
        wanted = {item.id: item for item in items}
        done, gone, moved = set(), [], []
        for row in self._base.execute(f"SELECT id, {', '.join(PLACE)} FROM items WHERE {_DONE}"):
            id, *place = row
            done.add(id)
            item = wanted.get(id)
            if item is None:
                if row["number"] is not None:
                    gone.append((id,))
            elif place != (own := [getattr(item, name) for name in PLACE]):
                moved.append((*own, id))
        self._base.execute("BEGIN")
        self._base.execute(f"DELETE FROM items WHERE NOT {_DONE}")
        self._base.executemany("UPDATE items SET number = NULL WHERE id = ?", gone)
        places = ", ".join(f"{name} = ?" for name in PLACE)
        self._base.executemany(f"UPDATE items SET {places} WHERE id = ?", moved)
        self._base.execute("COMMIT")
        new = [item for item in items if item.id not in done]
        if new:
            self.plan((item, work.kind(item.spec), work.steps(item.spec)) for item in new)

    def reconcile(self, store: Store) -> int:
        """Make the states those of the store's records. Returns how many records were read."""
        done, aside = store.done(), store.aside()
        read = 0
        known = {r["id"]: r["state"] for r in self._base.execute("SELECT id, state FROM items")}
        self._base.execute("BEGIN")
        for id, state in known.items():
            if state == DONE and id not in done:
                self._base.execute("UPDATE items SET state = ? WHERE id = ?", (WAITING, id))
            if state == ASIDE and id not in aside:
                self.wait_again(id)
        for id in sorted(done):
            if known.get(id) != DONE:
                record = store.record(id)
                read += 1
                if record is not None:
                    self.finish(record)
        for id in sorted(aside - done):
            fault = store.fault(id)
            read += 1
            if fault is not None and id in known:
                self.set_aside(id, fault["cause"], fault["error"], trials=fault.get("trials", 1))
        self._base.execute("COMMIT")
        return read

    def finish(self, record: dict[str, Any]) -> None:
        """Note a finished item; one that is in no plan is taken in as well."""
        spec = Spec.of(record["spec"])
        preview = next((n for n in PREVIEWS if n in record["files"]), None)
        values = {
            "state": DONE,
            "verdict": record.get("verdict", ""),
            "seconds": record.get("seconds"),
            "bytes": record.get("bytes"),
            "product": record.get("product"),
            "attempt": record.get("attempt"),
            "figures": json.dumps(record.get("figures", {})),
            "preview": f"items/{record['id']}/{record['attempt']}/{preview}" if preview else None,
            "cause": None,
            "error": None,
        }
        self._base.execute(
            "INSERT OR IGNORE INTO items (id, state, command, label, seed, affinity, contest, rung,"
            " kind, steps, spec) VALUES (?, ?, ?, ?, ?, '', '', 0, ?, ?, ?)",
            (
                record["id"],
                DONE,
                spec.command,
                record.get("label", ""),
                spec.seed,
                record.get("kind", spec.command),
                record.get("steps"),
                json.dumps(record["spec"]),
            ),
        )
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._base.execute(
            f"UPDATE items SET {assignments} WHERE id = ?", (*values.values(), record["id"])
        )

    def set_aside(self, id: str, cause: str, error: str, *, trials: int) -> None:
        """Note an item that cannot be made."""
        self._base.execute(
            "UPDATE items SET state = ?, cause = ?, error = ?, trials = ? WHERE id = ?",
            (ASIDE, cause, error, trials, id),
        )

    def wait_again(self, id: str) -> None:
        """Let an item be tried again."""
        self._base.execute(
            "UPDATE items SET state = ?, cause = NULL, error = NULL, trials = 0 WHERE id = ?",
            (WAITING, id),
        )

    def item(self, id: str) -> Item:
        """An item of the table. Raises KeyError."""
        row = self._base.execute("SELECT * FROM items WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise KeyError(id)
        return _item(row)

    def rows(self, where: str = "", *values: Any) -> Iterator[sqlite3.Row]:
        """Rows in the order of the manifest, those without a place in it last.

        Args:
            where: an SQL condition; `values` fill its question marks.
        """
        condition = f"WHERE {where}" if where else ""
        yield from self._base.execute(
            f"SELECT * FROM items {condition} ORDER BY number IS NULL, number, rung, seed, id",
            values,
        )

    def waiting(self) -> Iterator[tuple[str, str]]:
        """Ids and affinities of what is to be made, in the order of the manifest."""
        for row in self.rows("state = ? AND number IS NOT NULL", WAITING):
            yield row["id"], row["affinity"]

    def count(self, state: str = "", *, planned: bool = False) -> int:
        """How many items there are, of a state or of all; `planned`: in the plan alone."""
        text = "SELECT count(*) FROM items WHERE (? = '' OR state = ?)"
        if planned:
            text += " AND number IS NOT NULL"
        return int(self._base.execute(text, (state, state)).fetchone()[0])

    def state(self, id: str) -> str:
        """The state of an item; empty for one that is not known."""
        row = self._base.execute("SELECT state FROM items WHERE id = ?", (id,)).fetchone()
        return "" if row is None else row["state"]

    def attempts(self) -> dict[str, str]:
        """The attempt that counts, by the ids of all finished items."""
        rows = self._base.execute("SELECT id, attempt FROM items WHERE state = ?", (DONE,))
        return {row["id"]: row["attempt"] for row in rows}

    def figures(self, id: str) -> dict[str, Any]:
        """The figures of a finished item."""
        row = self._base.execute("SELECT figures FROM items WHERE id = ?", (id,)).fetchone()
        return {} if row is None or row["figures"] is None else json.loads(row["figures"])

    def measured(self) -> dict[str, list[tuple[float, int, int]]]:
        """Seconds, steps (0: none) and bytes of finished items, by their kinds."""
        found: dict[str, list[tuple[float, int, int]]] = {}
        for row in self._base.execute(
            "SELECT kind, seconds, steps, bytes FROM items WHERE state = ? AND seconds > 0", (DONE,)
        ):
            measures = (row["seconds"], row["steps"] or 0, row["bytes"] or 0)
            found.setdefault(row["kind"], []).append(measures)
        return found

    def content(self) -> bytes:
        """The table as the bytes of a database file."""
        return self._base.serialize()

    def publish(self, store: Store) -> None:
        """Write the table into the store. Raises OutputError."""
        store.files.write(NAME, self.content())


def _item(row: sqlite3.Row) -> Item:
    return Item(
        spec=Spec.of(json.loads(row["spec"])),
        number=row["number"] or 0,
        label=row["label"],
        affinity=row["affinity"],
        contest=row["contest"],
        rung=row["rung"],
    )
