"""`batch`: a manifest in, a store of items out."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...engine.errors import BatchError, ConfigError, UserError, did_you_mean
from ...engine.events import Events
from ...engine.places import user_path
from ...runs.batch.crew import Crew, LocalCrew
from ...runs.batch.drive import Driver, Progress, summary
from ...runs.batch.forecast import forecast_kinds, forecast_lines
from ...runs.batch.index import DONE, Index
from ...runs.batch.items import Item
from ...runs.batch.manifest import Manifest, prompts_manifest, read_manifest
from ...runs.batch.plan_file import read_plan, write_plan
from ...runs.batch.schedule import Schedule
from ...runs.batch.store import Store
from ...runs.batch.table import LiveTable
from ...runs.batch.tournament import Contest
from ...runs.lock import FolderLock
from ...runs.options import check_numbers, flag
from ..batch import ACTIONS, Batch
from . import batch_reports
from .batch_plan import Plan, PlanOptions, plan_items
from .batch_work import CommandWork


def batch(options: Batch) -> str:
    """Carry out the command; returns its last line.

    Raises:
        ConfigError, InputError: the options or the manifest; nothing was begun.
        BatchError: items were set aside; all others are made.
    """
    _check(options)
    if options.source in ACTIONS:
        action = options.source
        if not options.store:
            raise ConfigError("is missing", "--store", f"Say which batch to {action}")
        if action in ("retry", "resume"):
            return _go_on(options)
        return batch_reports.REPORTS[action](options, Store(options.store))
    return _make(options, _manifest(options))


def _check(options: Batch) -> None:
    check_numbers({"workers": options.workers, "threads": options.threads, "steps": options.steps})
    for name, low, high in (
        ("timeout", 0, 1e9),
        ("retries", 0, 100),
        ("keep_best", 0, 100_000),
        ("factor", 2, 100),
        ("gpus", 0, 64),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"must be from {low} to {high:g}, got {value:g}", flag)
    if options.source and options.source not in ACTIONS and "." not in options.source:
        raise ConfigError(
            f'is neither a manifest nor an action: "{options.source}"',
            "batch",
            did_you_mean(options.source, ACTIONS),
        )
    if options.source and options.prompts is not None:
        raise ConfigError("goes without a manifest", "--prompts")
    if not options.source and options.prompts is None:
        raise ConfigError(
            "wants a manifest, or --prompts", "batch", "See: threestudio-like batch --help"
        )
    for name, action in (("failed", "retry"), ("best", "export"), ("out", "export")):
        if getattr(options, name) and options.source != action:
            raise ConfigError(f"is an option of batch {action}", f"--{name}")
    if options.source in ACTIONS:
        _check_action(options)
    if options.source == "retry" and not options.failed:
        raise ConfigError("wants --failed", "batch retry", "It tries again what was set aside")


OF_ITEMS = ("seeds", "command", "system", "prior", "steps", "keep_best", "factor", "set", "dry_run")
"""Options of a batch that say which items are made: a store has its own."""


def _check_action(options: Batch) -> None:
    """Raise ConfigError where an action on a store is told something about its items, which are as
    they were planned."""
    plain = Batch()
    for name in OF_ITEMS:
        value = getattr(options, name)
        if value != getattr(plain, name):
            raise ConfigError(
                f"is of a manifest, and batch {options.source} takes the items that the store has",
                flag(next(iter(value)) if name == "set" else name),
                "Leave it out, or run the manifest with it",
            )


def _defaults(options: Batch) -> dict[str, Any]:
    values: dict[str, Any] = {"command": options.command}
    for name in ("system", "prior", "steps", "seeds"):
        if getattr(options, name) not in ("", None):
            values[name] = getattr(options, name)
    return {**values, **options.set}


def _manifest(options: Batch) -> Manifest:
    if options.prompts is not None:
        return prompts_manifest(user_path(options.prompts), _defaults(options))
    return read_manifest(user_path(options.source))


def _make(options: Batch, manifest: Manifest) -> str:
    chosen = PlanOptions(
        threads=options.threads,
        keep=options.keep_best,
        factor=options.factor,
        plugins=options.plugins,
        defaults=_defaults(options),
    )
    planner = CommandWork()
    address = options.store or str(Path("batches") / Path(manifest.where).stem)
    plan = plan_items(manifest, chosen, planner, _made(address))
    work = CommandWork({plan.inputs.add(path): path for path in options.plugins})
    say = _sayer(options)
    for note in dict.fromkeys(plan.notes):
        say(f"Warning: {note}.")
    if options.dry_run:
        return _dry_run(options, plan, address, work)
    store = Store(address, make=True)
    with ExitStack() as stack:
        _lock(stack, store)
        digest = hashlib.sha256(manifest.text.encode()).hexdigest()[:16]
        store.files.create(f"manifests/{digest}{manifest.suffix}", manifest.text.encode())
        plan.inputs.publish(store)
        write_plan(store, plan.items, plan.contests, options.retries)
        job = _Job(
            options=options,
            store=store,
            work=work,
            items=plan.items,
            contests=plan.contests,
            retries=options.retries,
        )
        if plan.repeated:
            say(f"{plan.repeated} items of the manifest are the same as others: made once.")
        return _drive(job, stack)


def _go_on(options: Batch) -> str:
    store = Store(options.store)
    items, contests, retries = read_plan(store)
    with ExitStack() as stack:
        _lock(stack, store)
        if options.source == "retry":
            aside = sorted(store.aside())
            for id in aside:
                store.forgive(id)
            _sayer(options)(f"{len(aside)} items are tried again.")
        return _drive(
            _Job(
                options=options,
                store=store,
                work=CommandWork(),
                items=items,
                contests=contests,
                # As they are asked now, else as the manifest was run.
                retries=retries if options.retries == Batch().retries else options.retries,
            ),
            stack,
        )


def _made(address: str) -> set[str]:
    """The ids of what a store holds already; none where there is no store yet. What is wrong with
    one is said when it is opened to be worked with."""
    try:
        return Store(address).done()
    except UserError:
        return set()


@dataclass(frozen=True, kw_only=True)
class _Job:
    options: Batch
    store: Store
    work: CommandWork
    items: list[Item]
    contests: dict[str, Contest]
    retries: int


def _lock(stack: ExitStack, store: Store) -> None:
    """A folder has one driver. Elsewhere two may work: what they make counts once all the same."""
    if store.files.local is not None:
        lock = FolderLock(store.files.local)
        stack.callback(lock.release)


def _drive(job: _Job, stack: ExitStack) -> str:
    options, store, work = job.options, job.store, job.work
    index = Index.of_store(store)
    index.renew_plan(job.items, work)
    index.reconcile(store)
    alone = store.files.local is not None
    store.sweep(index.attempts(), alone=alone)
    events, publish_events = _events(options, store)
    stack.callback(events.close)
    wanted = index.count("waiting", planned=True)
    progress = Progress()
    if wanted or job.contests:
        crew = _crew(job, wanted)
        stack.callback(crew.close)
        table = LiveTable(quiet=options.quiet or options.json, dashboard=crew.dashboard())
        stack.callback(table.close)
        driver = Driver(
            store,
            index,
            crew,
            work=work,
            events=events,
            schedule=Schedule(retries=job.retries),
            contests=job.contests,
            seconds=options.timeout,
            show=table.show,
        )
        try:
            progress = driver.run()
        finally:
            publish_events()
        # What workers left that died on the way.
        store.sweep(index.attempts(), alone=alone)
    else:
        index.publish(store)
    batch_reports.update_gallery(store, index)
    return _end(job, index, progress)


def _end(job: _Job, index: Index, progress: Progress) -> str:
    planned = index.count(planned=True)
    there = index.count(DONE, planned=True)
    aside = index.count("aside", planned=True)
    last = f"{job.store.address}: {there} of {planned} items are made"
    words = f"{last} ({summary(progress)})" if progress.made + progress.aside else last
    if aside:
        row = next(iter(index.rows("state = 'aside' AND number IS NOT NULL")))
        raise BatchError(
            f"{words}; {aside} are set aside, the first: {row['label']}: {row['error']}",
            "batch",
            f"threestudio-like batch status --store {job.store.address}",
        )
    if job.options.quiet:
        return ""
    page = job.store.files.local
    return f"{words}. See {page / 'gallery' / 'index.html'}" if page is not None else words


def _crew(job: _Job, wanted: int) -> Crew:
    """The workers: this process, or Ray's actors."""
    options = job.options
    from ...runs.batch.actors import RayCrew, available

    if options.workers == 1 and not options.address:
        return LocalCrew(job.work)
    if not available():
        if options.address or (options.workers or 1) > 1:
            flag = "--address" if options.address else f"--workers {options.workers}"
            raise ConfigError(
                "wants Ray, which is not installed",
                flag,
                "In the checkout: pip install '.[distributed]'; or --workers 1",
            )
        return LocalCrew(job.work)
    if job.store.address.startswith("memory://"):
        raise ConfigError(
            "is this process's own memory", "--store memory://", "Add --workers 1, or take a folder"
        )
    from ...kernels.devices import is_cuda

    on_gpu = any(is_cuda(str(i.spec.values.get("device", ""))) for i in job.items)
    gpus = options.gpus if options.gpus is not None else (1.0 if on_gpu else 0.0)
    memory = max((m for m in map(job.work.memory, _kinds(job)) if m is not None), default=None)
    return RayCrew(
        CommandWork(),
        workers=options.workers,
        address=options.address,
        threads=options.threads,
        gpus=gpus,
        memory=memory,
        most=max(1, wanted) if not job.contests else None,
        seconds=options.timeout,
    )


def _kinds(job: _Job) -> list[Any]:
    """One specification of each kind."""
    specs = [i.spec for i in job.items] + [c.specs[0] for c in job.contests.values()]
    return list({job.work.kind(spec): spec for spec in specs}.values())


def _events(options: Batch, store: Store) -> tuple[Events, Callable[[], None]]:
    """Where events go: into the store's folder as they happen; elsewhere they are brought there
    when the driver ends."""
    mode = "json" if options.json else "quiet"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"events/{stamp}-{platform.node()}-{os.getpid()}.jsonl"
    if store.files.local is not None:
        return Events(store.files.local / name, mode), lambda: None
    folder = tempfile.TemporaryDirectory(prefix="threestudio-like-events-")
    path = Path(folder.name) / "events.jsonl"

    def publish() -> None:
        if path.is_file():
            store.files.write(name, path.read_bytes())
        folder.cleanup()

    return Events(path, mode), publish


def _sayer(options: Batch) -> Callable[[str], None]:
    return Events(None, "quiet" if options.quiet or options.json else "line").say


def _dry_run(options: Batch, plan: Plan, address: str, work: CommandWork) -> str:
    try:
        index = Index.of_store(Store(address))
    except UserError:
        index = Index()
    wanted: dict[str, list[int]] = {}
    memory: dict[str, int | None] = {}
    done = 0
    for item in plan.items:
        if index.state(item.id) == DONE:
            done += 1
            continue
        _count(item, work, wanted, memory=memory)
    for contest in plan.contests.values():
        for rung in range(contest.rungs):
            short = work.with_steps(contest.entry.spec, contest.length(rung))
            for _ in range(contest.size(rung)):
                _count(replace(contest.entry, spec=short), work, wanted, memory=memory)
    total = sum(map(len, wanted.values()))
    lines = [f"{address}: {total} items to make, {done} are there already"]
    if plan.contests:
        lines.append(f"  {len(plan.contests)} tournaments, their short runs counted")
    if plan.repeated:
        lines.append(f"  {plan.repeated} items are the same as others and are made once")
    rows = forecast_kinds(wanted, index.measured())
    lines += forecast_lines(rows, workers=options.workers or 1, memory=memory)
    return "\n".join(lines)


def _count(
    item: Item,
    work: CommandWork,
    wanted: dict[str, list[int]],
    memory: dict[str, int | None],
) -> None:
    kind = work.kind(item.spec)
    wanted.setdefault(kind, []).append(work.steps(item.spec) or 0)
    if kind not in memory:
        memory[kind] = work.memory(item.spec)
