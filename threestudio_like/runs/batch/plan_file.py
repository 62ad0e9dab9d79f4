"""The plan in the store: what the newest manifest asks for, so that a batch goes on with the store
alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...engine.errors import InputError
from .items import Item, Spec
from .store import Store
from .tournament import Contest

PLAN = "manifests/plan.jsonl.gz"


def write_plan(
    store: Store, items: Iterable[Item], contests: Mapping[str, Contest], retries: int
) -> None:
    """Write the plan. Raises OutputError."""
    lines = [json.dumps({"format": 1, "retries": retries})]
    lines += [json.dumps(_plain(item)) for item in items]
    for name, contest in contests.items():
        facts = {"steps": contest.steps, "keep": contest.keep, "factor": contest.factor}
        for spec in contest.specs:
            content = _plain(replace(contest.entry, spec=spec, contest=name))
            lines.append(json.dumps({**content, "tournament": facts}))
    data = gzip.compress("\n".join(lines).encode(), mtime=0)
    store.files.write(PLAN, data)


def read_plan(store: Store) -> tuple[list[Item], dict[str, Contest], int]:
    """Items, tournaments and retries of the plan. Raises InputError."""
    data = store.files.read(PLAN)
    if data is None:
        raise InputError("holds no plan", store.address, "Run its manifest")
    lines = [json.loads(line) for line in gzip.decompress(data).decode().splitlines()]
    items: list[Item] = []
    entrants: dict[str, tuple[dict[str, Any], list[Item]]] = {}
    for content in lines[1:]:
        item = _item(content)
        if item.contest:
            entrants.setdefault(item.contest, (content["tournament"], []))[1].append(item)
        else:
            items.append(item)
    contests = {
        name: Contest(
            entry=replace(own[0], contest=""), specs=tuple(item.spec for item in own), **facts
        )
        for name, (facts, own) in entrants.items()
    }
    return items, contests, int(lines[0]["retries"])


def _plain(item: Item) -> dict[str, Any]:
    return {
        "number": item.number,
        "label": item.label,
        "affinity": item.affinity,
        "contest": item.contest,
        "spec": item.spec.plain(),
    }


def _item(content: Mapping[str, Any]) -> Item:
    return Item(
        spec=Spec.of(content["spec"]),
        number=content["number"],
        label=content["label"],
        affinity=content["affinity"],
        contest=content["contest"],
    )
