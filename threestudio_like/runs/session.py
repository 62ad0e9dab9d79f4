"""`Run`: the one way in which a command opens, keeps, resumes and delivers a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..engine.checkpoint import remove_partial_files
from ..engine.config import from_dict, to_dict
from ..engine.errors import OutputError, UserError
from ..engine.events import Events
from ..engine.output import check_free, own_folder
from ..engine.registry import read_plugin_file
from .folders import existing_folder, make_folder, point_latest, remove_new_folder
from .launcher import local_rank, rank_here
from .lock import FolderLock
from .options import RunOptions, check_numbers, flat
from .record import RunRecord, as_read_back, read_record, write_finished, written_outside
from .shown import viewer_of

if TYPE_CHECKING:
    from ..engine.loop import Stage, StagePlan
    from ..engine.parallel import ProcessGroup
    from ..priors.diffusion import DiffusionPrior
    from .delivery import Delivery, RunResult
    from .memory_budget import Forecast


@dataclass
class Run:
    """A run of a command. Make one with `Run.open`.

    Attributes:
        command: the command's name.
        options: the command's options (a dataclass with groups, see `runs.options`).
        folder: of the run; on ranks other than the first, a folder that nothing is written to.
        events: what is recorded and shown.
        record: what run.yaml says.
        resumed: whether this run goes on with an earlier one.
        begun: whether the work has begun. A run that fails before leaves no folder behind.
        base, config: the method's preset, and its configuration as the run has it.
        losses: what its files could not keep, a line each.
    """

    command: str
    options: Any
    folder: Path
    events: Events
    record: RunRecord
    resumed: bool = False
    begun: bool = False
    stages: dict[str, Stage] = field(default_factory=dict)
    base: Any = None
    config: Any = None
    losses: list[str] = field(default_factory=list)
    _lock: FolderLock | None = None
    _workers: ProcessGroup | None = None
    _joined: bool = False
    _unwritten: bool = False
    _device: str = ""
    _saved: RunRecord | None = None
    _read_identity: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def settings(self) -> RunOptions:
        """The options of the run itself."""
        return self.options.run

    @staticmethod
    @contextmanager
    def open(command: str, options: Any, *, name: str, quiet: bool = False) -> Iterator[Run]:
        """Open a new run, or go on with the one in the folder (`options.run.resume`).

        Args:
            options: the command's options; they are checked here.
            name: what the folder is called after.
            quiet: a run within another one: nothing is shown, and the folder is not locked.

        Raises:
            ConfigError, OutputError, CheckpointError: the options, or the folder.
        """
        from .warm_up import machine_as_before, prepare_machine

        settings: RunOptions = options.run
        check_numbers(flat(options))
        model = getattr(options, "model", None)
        if model is not None and model.save_embeddings is not None:
            made = None
            if settings.resume:
                folder = existing_folder(settings.out)
                made = written_outside(folder, model.save_embeddings).holds
            check_free([model.save_embeddings], force=settings.force, made=made)
        for path in settings.plugins:
            read_plugin_file(path)
        shown = viewer_of(settings, quiet=quiet)
        run = _opened(command, options, name, quiet=quiet)
        try:
            with machine_as_before(), shown(run.folder):
                saved = None if run._saved is None else run._saved.threads
                prepare_machine(run.settings, saved, run.events)
                yield run
        except UserError as error:
            run._abandon(error.line())
            raise
        except BaseException as error:
            run._abandon(f"{type(error).__name__}: {error}")
            raise
        finally:
            run._close()

    def device(self) -> str:
        """The device of this process, with its number; of several ranks each has its own."""
        from ..kernels.devices import MAIN, settle

        if not self._device:
            self._device = settle(self.settings.device or MAIN, *local_rank())
        return self._device

    def workers(self) -> ProcessGroup | None:
        """The group that this process belongs to; None where it works alone."""
        if not self._joined:
            from ..engine.parallel import ProcessGroup

            self._joined, self._workers = True, ProcessGroup.from_environment(self.device())
        return self._workers

    def microbatches(self) -> int:
        """In how many microbatches, over all ranks, the views of a step are worked on."""
        views = getattr(self.options, "views", None)
        workers = self.workers()
        return (views.accumulate if views else 1) * (workers.world if workers else 1)

    def load_prior(self) -> DiffusionPrior:
        """The prior of the options. Raises ModelError, InputError."""
        from .configure import part_of
        from .prior import check_use, load_prior

        dotted = part_of(self.options, "load")
        if getattr(self.options, "control", ()):
            dotted["control"] = self.options.control
        prior = load_prior(self.options.model, self.device(), dotted, memory=self.settings.memory)
        return check_use(prior, self.command, self.events)

    def configure(self, base: Any) -> Any:
        """The method's configuration: that of the run which goes on, or `base` with the values of
        --config, of the dotted options and of the short ones. Raises ConfigError."""
        from .configure import check_as_begun, configure, extended, identity_reader, say_former
        from .repeat import is_from_python

        self.base = base
        if self._saved is not None and self._saved.config is not None:
            config = from_dict(type(base), self._saved.config)
            say_former(self.events, config, self._saved.config)
            self._read_identity = identity_reader(type(config))
            if is_from_python("system"):
                check_as_begun(config, self.options, base, self.folder)
            return extended(config, self._saved, self.options)
        return configure(self.options, base, self.events)

    def fact(self, name: str, value: Any) -> Any:
        """A fact as the run that goes on has it; `value` in a new run. Files may be named by
        another path then than when the run was begun."""
        saved = self._saved
        return value if saved is None else saved.facts.get(name, value)

    def describe(
        self,
        facts: Mapping[str, Any],
        config: Any,
        export: Any = None,
        planned: Forecast | None = None,
    ) -> None:
        """Write down what the run is, and begin.

        Args:
            facts: what decides the result besides the configuration: prompt, system, preset, prior,
                seed, hashes of files.
            config: the method's configuration.
            export: the configuration of the export.
            planned: what `plan_memory` chose; it is said now that the run begins.

        Raises:
            CheckpointError: the folder's run is another one.
        """
        import torch

        from .contents import contents_of, doubts, object_facts
        from .memory_budget import tell
        from .prior import parts_facts

        own = {**parts_facts(self.options), **contents_of(self.options, config), **object_facts()}
        plain = as_read_back({**facts, **own})
        saved = self._saved
        if saved is not None:
            # What an earlier version did not write down cannot be asked of its runs.
            for line in doubts({*plain} & saved.unsaid()):
                self.events.say(line)
            plain = {k: v for k, v in plain.items() if k not in saved.unsaid()}
            saved.check_same(plain, self.folder)
        self.record.facts = plain
        if saved is not None and saved.format == 1:
            self.record = replace(saved, facts=plain)
        self.config, self.record.config = config, to_dict(config)
        self.record.export = None if export is None else to_dict(export)
        self.record.threads = torch.get_num_threads()
        self._unwritten = self.leads() and (saved is None or saved.format > 1)
        if saved is None:
            self._write_record()
        self.begun = True
        self.events.record(
            "begin",
            resume=self.resumed,
            threads=self.record.threads,
            verb=self.command,
            **plain,
        )
        tell(planned, self.events)

    def plan_memory(
        self, config: Any, prior: Any, *, reference: bool | None = None, **more: Any
    ) -> Forecast | None:
        """`keep_memory` of the run's options, `more` as there, after `check_stages`; regularisers
        that change nothing are said. Raises ConfigError, InputError, ModelError."""
        from ..stages.demand import check_stages
        from ..stages.idle_terms import idle_terms
        from .memory_budget import keep_memory

        budget, seed, parts = self.settings.memory, self.settings.seed, self.microbatches()
        if prior is not None:
            check_stages(config, prior, parts, more.get("present"), reference)
            for line in idle_terms(config):
                self.events.say(f"Warning: {line}.")
        return keep_memory(budget, config, prior, parts=parts, seed=seed, **more)

    def execute(
        self, plans: list[StagePlan], place: str = "", *, last: bool = True
    ) -> dict[str, Stage]:
        """Carry out stages, from the checkpoint where the run goes on; returns them by name.

        Args:
            place: a folder below the run's, with a work/ and a checkpoint of its own.
            last: what follows is the work of rank 0 alone, see `lead_alone`.

        Raises:
            Interrupted: after Ctrl-C, with the state saved.
            CheckpointError, CollapseError, MemoryShortage, OutputError, RankError.
        """
        from ..engine.loop import CHECKPOINT, Loop, LoopSettings
        from ..engine.progress import check_identity
        from ..engine.watchdog import Watchdog
        from .warm_up import warm_kernels

        settings, workers, folder = self.settings, self.workers(), self.folder / place
        if self.leads():
            (folder / "work").mkdir(parents=True, exist_ok=True)
            if self.resumed:
                from .kept import reopen_model

                # Before the other ranks learn of the folder, for they read the same checkpoint.
                reopen_model(folder / "work", plans, self.identity())
                check_identity(folder / "work" / CHECKPOINT, self.identity(), self._read_identity)
        self._write_record()
        if workers is not None:
            folder = Path(workers.broadcast(str(folder)))
            type(workers).at_work = True
        warm_kernels(self.events, self.device())
        views = getattr(self.options, "views", None)
        loop = LoopSettings(
            seed=settings.seed,
            minutes=settings.minutes,
            checkpoint_seconds=20.0,
            checkpoint_steps=settings.checkpoint_steps,
            preview_seconds=settings.preview_seconds,
            log_every=settings.log_every,
            resume=self.resumed,
            device=self.device(),
            one_asset=True,
            accumulate=views.accumulate if views else 1,
            identity=self.identity(),
            read_identity=self._read_identity,
        )
        stages = Loop(folder / "work", self.events, loop, watchdog=Watchdog(), workers=workers).run(
            plans
        )
        if last:
            self.lead_alone()
        if not place:
            self.stages = stages
        return stages

    def lead_alone(self) -> None:
        """Close the group of the ranks; the others end here. Called once, when nothing is left to
        share."""
        workers = self.workers()
        if workers is not None:
            workers.close()
            if workers.rank > 0:
                self._leave()

    def identity(self) -> dict[str, Any] | None:
        """What a checkpoint must agree with; None for runs of earlier versions, whose run.yaml is
        all that there is to agree with. Numbers of steps are left out: a run may get more."""
        if self._saved is not None and self._saved.format == 1:
            return None
        from .configure import without_steps

        return {
            "command": self.command,
            **self.record.facts,
            "config": without_steps(self.record.config or {}),
        }

    def deliver(self, work: Delivery, figures: dict[str, Any], began: float) -> RunResult:
        """Write, verify and show the asset, keep what further work needs, and move outputs/latest.

        Args:
            figures: for the report and the result.
            began: monotonic time at which the export began.

        Raises:
            OutputError: a file that was written does not show the asset.
        """
        from .delivery import deliver
        from .kept import prune

        self._write_record()
        result = deliver(self, began, figures, work=work)
        write_finished(
            self.folder,
            {"figures": figures, "verdict": vars(result.verdict), "seconds": self.events.elapsed},
        )
        prune(self.folder, self.stages, self.settings.keep)
        if self._lock is not None:
            point_latest(self.folder)
        return result

    def _write_record(self) -> None:
        """Write run.yaml, once it is sure that the run is the one in the folder."""
        if self._unwritten:
            self.record.write(self.folder)
            self._unwritten = False

    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return rank_here() == 0

    def _abandon(self, reason: str) -> None:
        """Leave no folder of a run that has done nothing; say in the others why they ended."""
        if self.leads() and not self.begun and not self.resumed:
            self.events.forget()
            # Windows removes no file that is open.
            self._unlock()
            remove_new_folder(self.folder)
        elif self.leads():
            # On a full disk the reason itself is what the user has to hear.
            with suppress(OutputError):
                self.events.record("stopped", reason=reason[:300])

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.close(together=False)
        self.events.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _leave(self) -> NoReturn:
        self._close()
        raise SystemExit(0)


def _opened(command: str, options: Any, name: str, quiet: bool) -> Run:
    settings: RunOptions = options.run
    verbosity = "quiet" if quiet else settings.verbosity
    stripped = to_dict(replace(options, run=replace(settings, resume=False)))
    record = RunRecord(command=command, options=stripped)
    make = partial(Run, command, options, record=record, resumed=settings.resume)
    if rank_here() > 0:
        saved = read_record(existing_folder(settings.out)) if settings.resume else None
        return make(Path(), events=Events(None, "quiet"), _saved=saved)
    if not settings.resume:
        folder = make_folder(name, settings.out)
        own_folder(folder)
        lock = None if quiet else FolderLock(folder)
        record.write(folder)
        events = Events(folder / "events.jsonl", verbosity)
        return make(folder, events=events, _lock=lock)
    folder = existing_folder(settings.out)
    saved = read_record(folder)
    lock = None if quiet else FolderLock(folder)
    own_folder(folder)
    remove_partial_files(folder)
    events = Events(folder / "events.jsonl", verbosity, resumed=True)
    return make(folder, events=events, _lock=lock, _saved=saved)
