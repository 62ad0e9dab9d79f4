"""What an item of a batch is: the specification that decides its bytes, and the id that is its
hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

ID_LENGTH = 24
"""Hexadecimal digits of an id: 96 bits."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What decides an item's bytes, as plain values without any path.

    Attributes:
        command: that makes it.
        values: the command's options that differ from their defaults, by their names; a file is
            ``{"file": digest, "name": its name}``, see `inputs`.
        set: values of the method's configuration by dotted names.
        plugins: digests of the Python files that register what it uses.
        threads: of the processor, which decide the order of sums.
        version: of this package.
    """

    command: str
    values: dict[str, Any] = field(default_factory=dict)
    set: dict[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    threads: int = 1
    version: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON values, for `of`."""
        return {**{name: getattr(self, name) for name in _NAMES}, "plugins": [*self.plugins]}

    @staticmethod
    def of(values: Mapping[str, Any]) -> Spec:
        """The specification of `plain`'s values."""
        return Spec(**{**values, "plugins": tuple(values["plugins"])})

    @cached_property
    def id(self) -> str:
        """The hash of all of it."""
        values = {name: getattr(self, name) for name in _NAMES}
        return hashlib.sha256(_CANONICAL.encode(values).encode()).hexdigest()[:ID_LENGTH]

    @property
    def seed(self) -> int:
        """Of its random numbers."""
        return int(self.values.get("seed", 0))

    def inputs(self) -> Iterator[str]:
        """The digests of all files that it needs."""
        yield from self.plugins
        yield from _digests(self.values)

    def without_seed(self) -> Spec:
        """What all seeds of an entry share."""
        return replace(self, values={k: v for k, v in self.values.items() if k != "seed"})


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_NAMES = tuple(item.name for item in fields(Spec))


def _digests(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("file"), str):
            yield value["file"]
        for inner in value.values():
            yield from _digests(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _digests(inner)


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a batch as it stands in the plan.

    Attributes:
        spec: what decides its bytes.
        number: of its entry in the manifest, from 1.
        label: what people call it: the prompt, or the file's name.
        affinity: what a worker has to load for it; items that share it follow one another.
        contest: of a tournament's entry, the id of what its seeds share; else empty.
        rung: of a tournament: 0 for the first, shortest runs.
    """

    spec: Spec
    number: int
    label: str
    affinity: str = ""
    contest: str = ""
    rung: int = 0

    @property
    def id(self) -> str:
        """See `Spec.id`."""
        return self.spec.id


@dataclass(frozen=True, kw_only=True)
class Made:
    """What carrying out an item gave besides the files in its folder.

    figures: by name. verdict: one word for the page, "ok" or what the watchdog or the verification
    said. loads: how many priors this process has loaded so far.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    verdict: str = "ok"
    loads: int = 0


class Work(Protocol):
    """What a batch asks of the commands: it knows none of them itself. An instance is pickled, so
    that workers on other machines ask theirs."""

    def prepare(self) -> None:
        """Load what carrying out any item needs, before there is one: it is no time of an item, and
        a driver without work does without it."""

    def execute(self, spec: Spec, folder: Path, inputs: Mapping[str, Path]) -> Made:
        """Make an item's files in `folder`, which is there and empty; `inputs` are the files of the
        specification by their digests. Raises UserError."""

    def judge(self, spec: Spec, folder: Path) -> dict[str, float]:
        """The figures by which a tournament ranks what was made."""

    def steps(self, spec: Spec) -> int | None:
        """How many steps an item has; None where it has none that can be set."""

    def with_steps(self, spec: Spec, steps: int) -> Spec:
        """The same item with fewer steps."""

    def memory(self, spec: Spec) -> int | None:
        """Bytes that an item takes at most, by a forecast; None where there is none."""

    def kind(self, spec: Spec) -> str:
        """What measured times may be carried over between: the command and its method."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is given. store: its address; seconds: that it may take, 0 for any number."""

    spec: Spec
    store: str
    label: str = ""
    judged: bool = False
    seconds: float = 0.0
    trial: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task.

    Attributes:
        id: of the item.
        record: what the store holds of it; None where it was not made.
        cause: the kind of failure: the error's class, "timeout", "worker died", "memory".
        error: in one line.
        lasting: whether trying again would end in the same way.
        seconds: that it took.
        new: whether this worker made it, rather than finding it in the store.
        loads: how many priors the worker has loaded so far.
        worker: which one it was.
    """

    id: str
    record: dict[str, Any] | None = None
    cause: str = ""
    error: str = ""
    lasting: bool = False
    seconds: float = 0.0
    new: bool = True
    loads: int = 0
    worker: str = ""
