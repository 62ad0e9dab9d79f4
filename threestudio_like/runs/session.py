"""A run: its folder, its configuration, the loop, and what it leaves at the top of the folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from ..engine.checkpoint import load_checkpoint, write_atomically
from ..engine.config import dotted, read_yaml, set_dotted, to_dict, update, write_yaml
from ..engine.errors import ConfigError, InputError
from ..engine.events import Events
from ..engine.loop import CHECKPOINT, Interrupted, Loop, LoopSettings, Stage, StagePlan, restore
from ..engine.parallel import ProcessGroup
from ..engine.schedule import Schedule, is_schedule
from ..engine.text import slug
from ..engine.watchdog import Watchdog
from ..guidance.choice import guide_stages
from ..guidance.sketch_files import load_sketch
from ..kernels import dispatch
from ..kernels.devices import device_of_rank
from ..priors.concepts import concept_words, read_concept
from ..priors.diffusion import DiffusionPrior
from ..priors.embeddings import EmbeddingStore
from ..priors.loading import load_prior as prior_of_name
from ..stages.field_to_mesh import evaluation_ring, make_asset, mean_field_opacity
from ..stages.model import FieldModel
from ..systems.registry import configuration, preset_for
from ..systems.system import Request
from ..systems.text_to_3d.rgb_refinement import RefinementRequest, RgbRefinement
from ..toybox.vocabulary import parse
from .delivery import Delivery, RunResult, deliver
from .export import export
from .folders import run_folder
from .memory_budget import keep_memory, limits_from, tell, without_plan
from .options import Options, check_options, check_vocabulary

Chosen = TypeVar("Chosen", bound=Options)


def load_prior(options: Options) -> DiffusionPrior:
    """The prior of the options, with concept and embedding bundle. Raises ModelError."""
    load = replace(options.load, device=options.device)
    store = EmbeddingStore.load(options.embeddings) if options.embeddings else None
    prior = prior_of_name(options.prior, load, store)
    if options.concept is not None:
        prior.add_concept(read_concept(options.concept))
    return prior


def choose_preset(options: Options, prior: DiffusionPrior) -> str:
    """The preset that "auto" means for this system and prior."""
    return preset_for(options.system, options.preset, prior)


def configure(options: Options, preset: str, base: Any = None, verb: str = "generate") -> Any:
    """The system's configuration: preset, then --config, then dotted values, then the short
    options."""
    config = configuration(options.system, preset, verb) if base is None else base
    before = dotted(config)
    if options.config is not None:
        config = update(config, read_yaml(options.config).get("config", {}))
    everywhere = {k: v for k, v in options.set.items() if k.startswith("guidance.")}
    for key, text in options.set.items():
        if key not in everywhere:
            config = set_dotted(config, key, text)
    if options.guidance or everywhere:
        config = guide_stages(config, guidances_of(options.guidance, everywhere))
    if options.steps is not None:
        config = config.with_steps(options.steps)
    if options.resolution is not None:
        config = config.with_resolution(options.resolution)
    if options.sketch is not None:
        sketch = getattr(config, "sketch", None)
        if sketch is None:
            raise ConfigError(
                f'the system "{options.system}" follows no sketch',
                "--sketch",
                "Use --system latent-nerf",
            )
        load_sketch(options.sketch)
        strictness = sketch.strictness if options.strictness is None else options.strictness
        sketch = replace(sketch, path=str(options.sketch), strictness=strictness)
        config = replace(config, sketch=sketch)
    if options.negative:
        for key in [k for k in dotted(config) if k.endswith("prompt.negative")]:
            config = set_dotted(config, key, options.negative)
    check_schedules(before, dotted(config))
    return config


def guidances_of(main: str, dotted_values: dict[str, str]) -> dict[str, Any]:
    """What `--guidance mine` and `--guidance.clip.weight 0.1` mean for every stage: a nested
    dictionary, see `guidance.choice.guide_stages`."""
    values: dict[str, Any] = {"main": main} if main else {}
    for key, text in dotted_values.items():
        inner = values
        _, *groups, last = key.split(".")
        for name in groups:
            inner = inner.setdefault(name, {})
        inner[last] = text
    return values


def check_schedules(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise ConfigError, before anything runs, where a value that was a schedule is none any
    more."""
    for key, value in after.items():
        if isinstance(before.get(key), str) and is_schedule(before[key]):
            Schedule.parse(value, f"--{key}")


def warm_kernels(events: Events, device: str) -> None:
    """Compile and check a device's kernels before the clock of the first stage runs, with progress
    on the first use of a machine."""
    began = time.monotonic()

    def progress(operation: str, number: int, count: int) -> None:
        if time.monotonic() - began > 1.0:
            events.status(
                f"first use: compiling kernels {number + 1}/{count} ({operation})", force=True
            )

    states = dispatch.warm_up(progress, torch.device(device))
    slow = [s for s in states if s.selected == "reference" and not dispatch.forced_reference()]
    for state in slow:
        events.record("kernel", operation=state.operation, serves=state.selected, why=state.why)
    if slow:
        names = ", ".join(s.operation for s in slow[:3]) + (" ..." if len(slow) > 3 else "")
        events.say(
            f"Warning: {len(slow)} of {len(states)} kernels run in plain torch, slowly "
            f"({names}): {slow[0].why}"
        )


def generate(prompt: str, options: Options) -> RunResult:
    """Make an asset of a prompt.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    check_options(prompt, options)
    workers, options = join_ranks(options)
    prior = load_prior(options)
    check_vocabulary(prior, prompt)
    preset = choose_preset(options, prior)
    config = configure(options, preset)
    planned = keep_memory(options.memory, config, prior, parts_of(options, workers))
    request = Request(
        prompt=prompt,
        prior=prior,
        seed=options.seed,
        objects=max(1, len(parse(prompt))) if prior.facts.vocabulary else 1,
        limits=limits_from(planned),
    )
    plans = config.plans(request)
    folder = meet(workers, plans, options, prompt)
    events = Events(folder / "events.jsonl", options.verbosity)
    tell(planned, events)
    facts = {
        "verb": "generate",
        "prompt": prompt,
        "system": options.system,
        "preset": preset,
        "prior": options.prior,
        "seed": options.seed,
    }
    text = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
    if not options.resume:
        write_atomically(folder / "run.yaml", text.encode())
    events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
    if options.concept is not None:
        for token in concept_words(list(read_concept(options.concept)), prompt):
            events.say(f'Warning: the prompt does not use the concept\'s token "{token}".')
    warm_kernels(events, options.device)
    identity = {**facts, "config": without_plan(to_dict(config))}
    stages = run_loop(folder, events, options, identity, workers).run(plans)
    if workers is not None:
        workers.close()
    if options.save_embeddings is not None:
        prior.save_embeddings(options.save_embeddings, options.force)
    return finish(
        folder, events, config.result(request, stages), options, facts, prior, text, request.objects
    )


def join_ranks(options: Chosen) -> tuple[ProcessGroup | None, Chosen]:
    """The group that this process belongs to, if it is one of several, and the options with its own
    device."""
    workers = ProcessGroup.from_environment(options.device)
    if workers is None:
        return None, options
    return workers, replace(options, device=device_of_rank(options.device, workers.rank))


def parts_of(options: Options, workers: ProcessGroup | None) -> int:
    """In how many parts the views of a step are worked on."""
    return options.accumulate * (workers.world if workers else 1)


def meet(workers: ProcessGroup | None, plans: list[StagePlan], options: Options, name: str) -> Path:
    """The run's folder, which rank 0 alone writes to. The other ranks only help: they run the plans
    from here, and end."""
    if workers is not None and workers.rank > 0:
        help_along(workers, plans, options)
    folder = run_folder(name, options)
    if workers is not None:
        workers.broadcast(str(folder.resolve()))
    return folder


def help_along(workers: ProcessGroup, plans: list[StagePlan], options: Options) -> NoReturn:
    """What the ranks other than the first do: the same stages, without a word; then they end."""
    folder = Path(workers.broadcast(""))
    ProcessGroup.at_work = True
    events = Events(None, "quiet")
    warm_kernels(events, options.device)
    identity = None
    if options.resume:
        identity = load_checkpoint(folder / "work" / CHECKPOINT)[1].get("identity")
    run_loop(folder, events, options, identity or {}, workers).run(plans)
    workers.close()
    raise SystemExit(0)


def run_loop(
    folder: Path,
    events: Events,
    options: Options,
    identity: dict[str, Any],
    workers: ProcessGroup | None = None,
) -> Loop:
    """The loop of a run's folder with the settings of its options."""
    settings = LoopSettings(
        seed=options.seed,
        minutes=options.minutes,
        checkpoint_seconds=20.0,
        checkpoint_steps=options.checkpoint_steps,
        preview_seconds=options.preview_seconds,
        log_every=options.log_every,
        resume=options.resume,
        device=options.device,
        one_asset=True,
        accumulate=options.accumulate,
        identity=identity,
    )
    return Loop(folder / "work", events, settings, Watchdog(), workers)


def finish(
    folder: Path,
    events: Events,
    parts: FieldModel,
    options: Options,
    facts: dict[str, Any],
    prior: DiffusionPrior,
    text: str,
    pieces: int,
) -> RunResult:
    """Extract, export, verify and report: everything at the top of the run's folder."""
    began = time.monotonic()
    events.status("asset: extracting, unwrapping, baking", force=True)
    provenance = {k: facts[k] for k in ("prompt", "system", "preset", "prior", "seed")}
    provenance.update(
        {"generator": "threestudio_like 0.1.0", "licence of the prior": prior.facts.licence}
    )
    asset, figures = make_asset(
        parts, options.export, pieces, node_name(facts["prompt"]), provenance
    )
    figures["fog"] = mean_field_opacity(parts, asset.mesh)
    work = Delivery(facts["prompt"], asset, evaluation_ring(parts), text, options.turntable)
    return deliver(folder, events, began, figures, work)


def node_name(prompt: str) -> str:
    """A mesh's name from a prompt."""
    return slug(prompt, "_", 60) or "object"


@dataclass
class FinishedRun:
    """A run read back from its folder: its facts, and the field it ended with."""

    folder: Path
    facts: dict[str, Any]
    text: str
    request: Request
    stages: dict[str, Stage]
    config: Any
    options: Options


def open_run(
    folder: Path, options: Options | None = None, prior: DiffusionPrior | None = None
) -> FinishedRun:
    """Read a finished (or interrupted) run of `generate` or `refine` without running anything.

    Raises:
        InputError, CheckpointError: no run there, or a damaged one.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such run",
            str(folder),
            "Give the folder of a run, for instance outputs/latest",
        )
    if not (folder / "run.yaml").is_file():
        raise InputError(
            "is not the folder of a run (it has no run.yaml)",
            str(folder),
            "Give the folder of a run, for instance outputs/latest",
        )
    content = read_yaml(folder / "run.yaml")
    missing = [
        k for k in ("prompt", "system", "preset", "prior", "seed", "config") if k not in content
    ]
    if missing:
        raise InputError(
            f"lacks {', '.join(missing)}", str(folder / "run.yaml"), "Start the run again"
        )
    options = options or Options()
    options = Options(
        **{
            **vars(options),
            "prior": content["prior"],
            "seed": content["seed"],
            "system": content["system"],
        }
    )
    prior = prior or load_prior(options)
    config = configuration(content["system"], content["preset"])
    config = update(config, content["config"])
    facts: dict[str, Any] = {
        k: content[k]
        for k in ("verb", "prompt", "system", "preset", "prior", "seed")
        if k in content
    }
    request = Request(
        prompt=facts["prompt"],
        prior=prior,
        seed=facts["seed"],
        objects=max(1, len(parse(facts["prompt"]))) if prior.facts.vocabulary else 1,
    )
    stages = restore_stages(folder, config.plans(request))
    return FinishedRun(
        folder.resolve(),
        facts,
        (folder / "run.yaml").read_text(encoding="utf-8"),
        request,
        stages,
        config,
        options,
    )


def restore_stages(folder: Path, plans: list[Any]) -> dict[str, Stage]:
    """The stages of a run as its checkpoint has them."""
    tensors, facts = load_checkpoint(folder / "work" / CHECKPOINT)
    done: dict[str, Stage] = {}
    for number, plan in enumerate(plans):
        if number > facts["stage"]:
            break
        stage = plan.build(done)
        restore(stage, None, tensors)
        done[stage.name] = stage
    return done


def refine(source: Path, options: Options) -> RunResult:
    """RGB refinement of a finished run (METHODS 1.9), as a run of its own."""
    workers, options = join_ranks(options)
    run = open_run(source, Options(device=options.device, load=options.load))
    prompt = run.facts["prompt"]
    check_options(prompt, options)
    prior = run.request.prior
    preset = choose_preset(options, prior)
    config = configure(
        options, preset, RgbRefinement.paper() if preset == "paper" else RgbRefinement()
    )
    parts = run.config.result(run.request, run.stages)
    request = RefinementRequest(
        prompt=prompt,
        prior=prior,
        seed=options.seed,
        objects=run.request.objects,
        source=parts,
    )
    field = config.decoded(request, parts).field if options.memory else None
    planned = keep_memory(options.memory, config, prior, parts_of(options, workers), field)
    request = replace(request, limits=limits_from(planned))
    plans = config.plans(request)
    folder = meet(workers, plans, options, f"{prompt} refined")
    events = Events(folder / "events.jsonl", options.verbosity)
    tell(planned, events)
    facts = {**run.facts, "verb": "refine", "source": str(source), "seed": options.seed}
    text = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
    if not options.resume:
        write_atomically(folder / "run.yaml", text.encode())
    events.record("begin", resume=options.resume, **facts)
    warm_kernels(events, options.device)
    stages = run_loop(
        folder, events, options, {**facts, "config": without_plan(to_dict(config))}, workers
    ).run(plans)
    if workers is not None:
        workers.close()
    return finish(
        folder,
        events,
        config.result(request, stages),
        options,
        facts,
        prior,
        text,
        request.objects,
    )


__all__ = [
    "FinishedRun",
    "Interrupted",
    "Options",
    "RunResult",
    "check_options",
    "export",
    "generate",
    "load_prior",
    "open_run",
    "refine",
]
