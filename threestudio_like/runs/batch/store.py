"""Where the results of a batch live: a folder on any file system, from which alone it goes on.

    store.json               what this is
    manifests/<hash>.yaml    as they were given; plan.jsonl.gz: what the newest asks for
    inputs/<digest>/…        files that items need, by their content
    items/<id>/<attempt>/…   the files of an item
    done/<ab>/<id>.json      the record that makes an item count: its files and their checksums
    aside/<ab>/<id>.json     what could not be made, and why
    index.sqlite             a table of all items, made of the records
    events/<driver>.jsonl    what happened
    gallery/                 a page

An item is there when its record is, and a record is made once: whoever comes second takes his files
back. So it does not matter how many workers made an item, or when they died.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import InputError, OutputError
from ...engine.text import json_text
from .files import Files
from .items import Spec

FORMAT = 1
STORE = "store.json"
RECORDS = ("events.jsonl", "report.html", "run.yaml", "output.txt", "work/finished.json")
"""Files that say when, where and how fast an item was made. All others are its product, and the
same bytes whoever makes it."""
LEFT_OUT = ("work/lock",)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A place where a store disagrees with itself: of the item `id`, in words."""

    id: str
    what: str


class Store:
    """The results of a batch.

    Args:
        address: a folder, or an address that fsspec knows.

    Raises:
        ConfigError, OutputError: it cannot be reached, or something else lies there.
    """

    def __init__(self, address: str, *, make: bool = False) -> None:
        self.files = Files(address)
        self.address = address if self.files.local is None else str(self.files.local)
        content = self.files.read(STORE)
        if content is None:
            self._begin(make)
        elif json.loads(content).get("format") != FORMAT:
            raise InputError(
                f"its format is {json.loads(content).get('format')}, this version reads {FORMAT}",
                self.address,
                "Open it with the version of threestudio-like that made it",
            )

    def _begin(self, make: bool) -> None:
        local = self.files.local
        if not make:
            raise InputError("there is no batch", self.address, "Give the --store of one")
        if local is not None and local.is_dir() and any(local.iterdir()):
            raise OutputError(
                "the folder holds files that are no batch", self.address, "Choose another --store"
            )
        self.files.create(
            STORE, json_text({"format": FORMAT, "made by": "threestudio-like"}).encode()
        )

    def record(self, id: str) -> dict[str, Any] | None:
        """The record of a finished item; None where it is not finished."""
        return self._json(_key("done", id))

    def fault(self, id: str) -> dict[str, Any] | None:
        """Why an item was set aside; None where it was not."""
        return self._json(_key("aside", id))

    def done(self) -> set[str]:
        """The ids of all finished items."""
        return self._ids("done")

    def aside(self) -> set[str]:
        """The ids of all items that were set aside."""
        return self._ids("aside")

    def publish(
        self, spec: Spec, folder: Path, facts: dict[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """Bring an item's files here, then the record that makes it count.

        Args:
            facts: what the record says besides: figures, verdict, seconds, worker.

        Returns:
            The record that counts, and whether it is this one; the files of an attempt that came
            second are removed again.

        Raises:
            OutputError: the file system failed again and again; nothing counts then.
        """
        id = spec.id
        known = self.record(id)
        if known is not None:
            return known, False
        attempt = uuid.uuid4().hex[:8]
        files: dict[str, dict[str, Any]] = {}
        place = f"items/{id}/{attempt}"
        try:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                name = path.relative_to(folder).as_posix()
                if name in LEFT_OUT:
                    continue
                data = path.read_bytes()
                self.files.write(f"{place}/{name}", data)
                files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            record = {
                "format": FORMAT,
                "id": id,
                "spec": spec.plain(),
                "attempt": attempt,
                "files": files,
                "product": product_hash(files),
                "bytes": sum(f["size"] for f in files.values()),
                **facts,
            }
            if self.files.create(_key("done", id), json_text(record).encode()):
                return record, True
        except BaseException:
            self._take_back(place)
            raise
        self._take_back(place)
        known = self.record(id)
        assert known is not None
        return known, False

    def set_aside(self, id: str, content: dict[str, Any]) -> None:
        """Say why an item was not made. Raises OutputError."""
        self.files.write(_key("aside", id), json_text(content).encode())

    def forgive(self, id: str) -> None:
        """Let an item that was set aside be tried again."""
        self.files.remove(_key("aside", id))

    def content(self, record: dict[str, Any], name: str) -> bytes:
        """A file of a finished item. Raises OutputError where it is not what the record says."""
        key = self.key(record, name)
        data, known = self.files.read(key), record["files"][name]
        if data is None or hashlib.sha256(data).hexdigest() != known["sha256"]:
            what = "is missing" if data is None else "is not the file that was written"
            raise OutputError(what, f"{self.address}: {key}", "See: batch verify")
        return data

    def key(self, record: dict[str, Any], name: str) -> str:
        """Where a file of a finished item lies."""
        return f"items/{record['id']}/{record['attempt']}/{name}"

    def verify(self, *, deep: bool = True) -> Iterator[Fault]:
        """Hold the records against the files; `deep` reads them and compares their checksums."""
        names = set(self.files.names("items"))
        claimed: set[str] = set()
        for id in sorted(self.done()):
            record = self.record(id) or {}
            if record.get("id") != id or Spec.of(record["spec"]).id != id:
                yield Fault(id=id, what="its record is another item's")
                continue
            for name, known in record["files"].items():
                key = self.key(record, name)
                claimed.add(key)
                if key not in names:
                    yield Fault(id=id, what=f"{name} is missing")
                elif deep:
                    data = self.files.read(key) or b""
                    if hashlib.sha256(data).hexdigest() != known["sha256"]:
                        yield Fault(id=id, what=f"{name} is not the file that was written")
        for key in sorted(names - claimed):
            yield Fault(id=key.split("/")[1], what=f"{key} belongs to no record")

    def sweep(self, attempts: Mapping[str, str], *, alone: bool) -> int:
        """Remove the files of attempts that can never count: their worker died, or came second.

        Args:
            attempts: the attempt that counts, by the ids of all finished items, as far as known.
            alone: whether no other driver works here: then attempts at items that are not finished
                are nobody's either.

        Returns:
            How many attempts that were.
        """
        loose = [
            (id, attempt)
            for id, attempt in self.files.folders("items")
            if (id in attempts or alone) and attempts.get(id) != attempt
        ]
        removed = 0
        for id, attempt in loose:
            # The record is the truth: a table may be older than it.
            record = self.record(id)
            if (record is None and not alone) or (record or {}).get("attempt") == attempt:
                continue
            self.files.remove(f"items/{id}/{attempt}")
            removed += 1
        return removed

    def _take_back(self, place: str) -> None:
        # What stays behind is swept by the next driver.
        try:
            self.files.remove(place)
        except OutputError:
            return

    def _ids(self, kind: str) -> set[str]:
        keys = self.files.names(kind)
        return {
            key.rsplit("/", 1)[-1].removesuffix(".json") for key in keys if key.endswith(".json")
        }

    def _json(self, key: str) -> dict[str, Any] | None:
        content = self.files.read(key)
        return None if content is None else json.loads(content)


def _key(kind: str, id: str) -> str:
    return f"{kind}/{id[:2]}/{id}.json"


def product_hash(files: dict[str, dict[str, Any]]) -> str:
    """The hash of what an item is, without the records of how it was made."""
    product = {n: f["sha256"] for n, f in files.items() if n not in RECORDS}
    return hashlib.sha256(json.dumps(product, sort_keys=True).encode()).hexdigest()
