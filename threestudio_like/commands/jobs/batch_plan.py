"""A manifest made into items: everything is checked and hashed before anything begins."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ... import __version__
from ...engine.config import dotted
from ...engine.errors import ConfigError, UserError, did_you_mean
from ...runs.batch.inputs import Inputs
from ...runs.batch.items import Item, Spec
from ...runs.batch.manifest import MOST_ITEMS, Entry, Manifest, at, expand
from ...runs.batch.tournament import Contest
from ...runs.options import flag, flat, given, regroup
from ...runs.written import OF_THE_SOURCE
from ..registry import is_command, is_configured
from .batch_options import (
    NOT_IN_A_BATCH,
    OWN,
    check_paths,
    is_hub_id,
    paths_in,
    plain_values,
    read_options,
    rows_of,
    takes_several,
)
from .batch_work import CommandWork

OF_EVERY_ITEM = ("command", "name", "seed", "seeds", "overrides")
"""Keys that an item has whatever its command."""
NAMING = (".obj", ".gltf", ".ply", ".dae", ".off", ".usd", ".usda", ".usdc")
"""Mesh formats whose files may name others."""
OUT_OF_SIGHT = (".usd", ".usda", ".usdc")
"""Of these, those whose readers do not say what they opened."""


@dataclass
class Plan:
    """What a manifest asks for.

    items: outside of tournaments. contests: by the ids of their entries. repeated: how many items
    of the manifest are the same as others. notes: what the user has to know.
    """

    items: list[Item] = field(default_factory=list)
    contests: dict[str, Contest] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)
    repeated: int = 0
    notes: list[str] = field(default_factory=list)

    def specs(self) -> Iterator[Spec]:
        """Of all items; of a tournament those of full length."""
        yield from (item.spec for item in self.items)
        for contest in self.contests.values():
            yield from contest.specs


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """threads: of every item. keep, factor: of tournaments, 0 for none. plugins: files that were
    read for the items. defaults: values of items that name none."""

    threads: int = 1
    keep: int = 0
    factor: int = 2
    plugins: tuple[Path, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def plan_items(
    manifest: Manifest, options: PlanOptions, work: CommandWork, made: Container[str] = ()
) -> Plan:
    """Check every item of a manifest and find what it needs.

    Args:
        made: ids of items that are there. Whether their command would begin is not asked again: it
            began with the very specification that the id is the hash of, and nothing begins now.
            So a batch that is finished loads neither torch nor any method.

    Raises:
        ConfigError: the first item that could not be made, with its number and field.
    """
    plan = Plan()
    reader = _Reader(
        plan=plan,
        manifest=replace(manifest, defaults=_with_defaults(options.defaults, manifest.defaults)),
        threads=options.threads,
        plugins=tuple(plan.inputs.add(path) for path in options.plugins),
        made=made,
        work=work,
    )
    _check_defaults(manifest, options.defaults)
    seen: set[str] = set()
    entries: dict[str, list[Item]] = {}
    first: dict[str, Any] = {}
    for item, chosen in reader.items():
        if item.id in seen:
            plan.repeated += 1
            continue
        seen.add(item.id)
        if len(seen) > MOST_ITEMS:
            raise ConfigError(f"asks for more than {MOST_ITEMS} items", manifest.where)
        if options.keep:
            name = item.spec.without_seed().id
            entries.setdefault(name, []).append(item)
            first.setdefault(name, chosen)
        else:
            plan.items.append(item)
    for name, items in entries.items():
        _tournament(plan, name, items, options, work, manifest.where)
        if name in plan.contests:
            _check_rungs(plan.contests[name], first[name], manifest.where)
    return plan


def _with_defaults(more: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's own defaults, and those of the command line (`more`) where it has none: a seed
    of its own goes before all of `--seeds`."""
    left_out = ("seeds",) if "seed" in own else ()
    return {**{k: v for k, v in more.items() if k not in left_out}, **own}


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads the items of a manifest; the files that they name go into the plan."""

    plan: Plan
    manifest: Manifest
    threads: int
    plugins: tuple[str, ...]
    made: Container[str]
    work: CommandWork

    def items(self) -> Iterator[tuple[Item, Any]]:
        """All of them with the options of their commands, in order. Raises ConfigError."""
        for entry in self.manifest.entries:
            for values in expand(self.manifest, entry, takes_several):
                yield self._item(entry, values)

    def _item(self, entry: Entry, values: dict[str, Any]) -> tuple[Item, Any]:
        manifest = self.manifest

        def place(key: str) -> str:
            return at(manifest.where, entry.number, key)

        values = dict(values)
        command = values.pop("command", "generate")
        name = values.pop("name", "")
        if not isinstance(command, str) or not isinstance(name, str):
            wrong = "name" if isinstance(command, str) else "command"
            raise ConfigError("wants a text", place(wrong))
        own = set(manifest.defaults) - set(entry.values)
        if "seeds" in own and "seed" not in entry.values:
            own.add("seed")
        try:
            fitting = _fitting(command, values, own)
            options = read_options(command, fitting, manifest.folder, place)
            chosen = {**given(options), **_written(command, fitting, options)}
            named = paths_in(chosen)
            check_paths(command, named, values, place)
            references: dict[str, list[dict[str, Any] | str]] = {
                key: [
                    str(path) if is_hub_id(key, path) else _reference(self.plan, path, key)
                    for path in paths
                ]
                for key, paths in named.items()
                if key not in OWN
            }
            spec = Spec(
                command=command,
                values=plain_values(chosen, references),
                set=dict(getattr(options, "set", {})),
                plugins=self.plugins,
                threads=self.threads,
                version=__version__,
            )
            if spec.id not in self.made:
                from .batch_checks import check_options

                check_options(command, options)
        except UserError as error:
            raise _placed(error, manifest.where, entry.number, values) from None
        files = [r["name"] for g in references.values() for r in g if isinstance(r, dict)]
        prompt = str(values.get("prompt") or values.get("text") or "")
        label = name or " · ".join(filter(None, (prompt, *files[:1]))) or command
        affinity = self.work.affinity(spec)
        item = Item(spec=spec, number=entry.number, label=label[:200], affinity=affinity)
        return item, options


def _fitting(command: str, values: dict[str, Any], defaults: set[str]) -> dict[str, Any]:
    """Defaults for all items are for those whose command has such an option."""
    if not defaults:
        return values
    rows = rows_of(command)
    return {
        k: v
        for k, v in values.items()
        if k not in defaults or k.replace("-", "_") in rows or _dotted(command, k)
    }


def _written(command: str, values: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """The defaults that a manifest's own values say of options that would be the source's."""
    own, rows = OF_THE_SOURCE.get(command, frozenset()), rows_of(command)
    names = {rows[word].name for word in (k.replace("-", "_") for k in values) if word in rows}
    return {k: v for k, v in flat(options).items() if k in own & names}


def _check_defaults(manifest: Manifest, more: Mapping[str, Any]) -> None:
    """Raise ConfigError on a default, of the manifest or of the command line (`more`), that none of
    the manifest's commands knows: items would be made without it. Values are checked with the items
    that have them."""
    defaults = {**more, **manifest.defaults}
    asked = [key for key in defaults if key not in OF_EVERY_ITEM]
    if not asked:
        return
    used = {name for entry in manifest.entries for name in _commands(defaults, entry)}
    # A command that there is not is said of its item.
    used = {name for name in used if is_command(name) and name not in NOT_IN_A_BATCH}
    for key in asked if used else ():
        word = key.replace("-", "_")
        if word in OWN or any(word in rows_of(name) or _dotted(name, word) for name in used):
            continue
        known = {*OF_EVERY_ITEM, *(k for name in used for k in {*rows_of(name)} - OWN)}
        if "." in word:
            known = {k for name in used if is_configured(name) for k in _names(name)}
        own = key in manifest.defaults
        raise ConfigError(
            f"there is no such option of {', '.join(sorted(used))}",
            f'{manifest.where}: defaults, field "{key}"' if own else flag(key),
            did_you_mean(word, sorted(known)) if known else "",
        )


def _commands(defaults: Mapping[str, Any], entry: Entry) -> Iterator[str]:
    """The commands that an entry's items are of."""
    groups = entry.values.get("overrides", defaults.get("overrides"))
    groups = [g for g in groups if isinstance(g, dict)] if isinstance(groups, list) else []
    command = entry.values.get("command", defaults.get("command", "generate"))
    for values in groups or [{}]:
        named = values.get("command", command)
        yield from map(str, named if isinstance(named, list) else [named])


def _dotted(command: str, key: str) -> bool:
    """Whether a dotted name may mean something to the methods of a command."""
    name = key.replace("-", "_")
    general = name.startswith(("guidance.", "load.", "export."))
    return is_configured(command) and (general or name in _names(command))


@cache
def _names(command: str) -> set[str]:
    from .configurations import configurations_of

    return {key for config in configurations_of(command) for key in dotted(config)}


def _reference(plan: Plan, path: Path, option: str) -> dict[str, Any]:
    """How a specification names a file: by its content, with all that it names itself."""
    beside: set[Path] = set()
    if path.is_file() and option == "poses":
        from .compose_poses import named_by

        named = named_by(path)
        beside = {*named, *(p for f in named if _names_files(f) for p in _beside(plan, f))}
    elif path.is_file() and _names_files(path):
        beside = _beside(plan, path)
    digest = plan.inputs.add(path, beside)
    return {"file": digest, "name": path.name, **({"folder": True} if path.is_dir() else {})}


def _names_files(path: Path) -> bool:
    return path.suffix.lower() in NAMING


_BESIDE: dict[tuple[str, int], set[Path]] = {}


def _beside(plan: Plan, path: Path) -> set[Path]:
    from ...meshes.io.beside import watch_beside
    from ...meshes.io.files import read

    key = (str(path), path.stat().st_mtime_ns)
    if key in _BESIDE:
        return _BESIDE[key]
    if path.suffix.lower() in OUT_OF_SIGHT:
        plan.notes.append(
            f"{path.name}: files that it names do not travel with it. Give a .usdz, or a .glb"
        )
    with watch_beside() as found:
        try:
            read(path)
        except UserError as error:
            # The item is set aside when its turn comes; the others are made.
            plan.notes.append(f"{path.name} cannot be read: {error.what}")
    folder = path.parent.resolve()
    _BESIDE[key] = {p for p in found if p.is_relative_to(folder)}
    return _BESIDE[key]


def _placed(error: UserError, where: str, number: int, values: Mapping[str, Any]) -> ConfigError:
    """The error with the item and the field that it is about."""
    if error.where.startswith(where):
        return ConfigError(error.what, error.where, error.remedy)
    word = error.where.split(" ")[0].lstrip("-").replace("-", "_") if error.where else ""
    key = next((k for k in values if k.replace("-", "_") == word), "")
    if not key:
        key = next((k for k in values if "." in k and k.replace("-", "_") in error.what), "")
    if not key and word.isidentifier() and (error.where.startswith("--") or word == "prompt"):
        key = word
    shown = "" if key else f" ({error.where})" if error.where else ""
    return ConfigError(f"{error.what}{shown}", at(where, number, key), error.remedy)


def _tournament(
    plan: Plan,
    name: str,
    items: list[Item],
    options: PlanOptions,
    work: CommandWork,
    where: str,
) -> None:
    first = items[0]
    if len(items) <= options.keep:
        plan.items += items
        return
    steps = work.steps(first.spec)
    if steps is None:
        raise ConfigError(
            "has no steps, and a tournament begins with fewer of them",
            at(where, first.number, "command"),
            "Leave out --keep-best",
        )
    plan.contests[name] = Contest(
        entry=first,
        specs=tuple(item.spec for item in items),
        steps=steps,
        keep=options.keep,
        factor=options.factor,
    )


def _check_rungs(contest: Contest, options: Any, where: str) -> None:
    """Raise ConfigError where an item of a tournament could not be made with the fewer steps that
    it begins with."""
    from .batch_checks import check_options

    item = contest.entry
    try:
        check_options(item.spec.command, regroup(options, {"steps": contest.length(0)}))
    except UserError as error:
        raise _placed(error, where, item.number, {"steps": 0}) from None
