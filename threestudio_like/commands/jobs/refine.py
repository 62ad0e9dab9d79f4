"""`refine`: distillation in RGB from where a finished run ended (METHODS 1.9)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engine.config import from_dict, to_dict
from ...engine.errors import ConfigError, InputError
from ...engine.events import Events
from ...kernels.devices import MAIN
from ...meshes.mesh import Asset
from ...priors.diffusion import DiffusionPrior
from ...runs.configure import configure, export_config, part_of
from ...runs.contents import check_named
from ...runs.delivery import RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import PriorOptions, check_prompt, flag
from ...runs.prior import (
    check_texts,
    count_objects,
    fit_guidance,
    load_prior,
    parts_given,
    read_prompt,
)
from ...runs.quality import with_quality
from ...runs.record import RunRecord, read_record
from ...runs.session import Run
from ...runs.written import asked
from ...systems import registry
from ...systems.text_to_3d.rgb_refinement import RefinementRequest, RgbRefinement
from ...systems.texturing.subject import names_of
from ..refine import Refine
from ..texture import Texture
from .generate import finish, save_embeddings
from .opening import field_of, open_model, source_model
from .printing import print_yaml


def refine(
    options: Refine, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Refine a finished run, as a run of its own.

    A run of `generate` or `refine` goes on from its field. One of `texture` or `reconstruct` goes
    on with its texture. A scene is refined object by object.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    source = options.source.expanduser()
    record = read_record(source)
    if record.command == "compose":
        names = sorted(p.name for p in (source / "objects").glob("*") if p.is_dir())
        first = names[0] if names else "NAME"
        raise InputError(
            "is a scene of several objects",
            str(source),
            f"Refine them one by one: threestudio-like refine {source / 'objects' / first}",
        )
    if prior is None and "prior" not in asked(options):
        check_named(
            record.facts, str(source), "Give it, refine(..., prior=...), or another by --prior NAME"
        )
    if record.command in ("texture", "reconstruct") or record.facts.get("picture") is not None:
        return _refine_texture(options, source, record, system=system, prior=prior)
    if record.command not in ("generate", "refine"):
        raise InputError(f"is a run of {record.command}", str(source), "Give a run of generate")
    if leaves_mesh(record):
        # Its texture is what can be refined: the shape is no field any more.
        return _refine_texture(options, source, record, system=system, prior=prior)
    return _refine_field(options, source, record, system=system, prior=prior)


def leaves_mesh(record: RunRecord) -> bool:
    """Whether a run ended with a mesh stage."""
    facts = record.facts
    if record.command == "refine" or record.config is None:
        kind: Any = RgbRefinement
    else:
        kind = type(registry.configuration(str(facts["system"]), str(facts["preset"]), "generate"))
    if record.config is None:
        return False
    config = from_dict(kind, record.config)
    return bool(config.leaves_mesh)


def _refine_field(
    options: Refine,
    source: Path,
    record: RunRecord,
    system: Any,
    prior: DiffusionPrior | None,
) -> RunResult | None:
    prompt = options.prompt or str(record.facts["prompt"])
    check_prompt(prompt)
    as_before, told = as_the_source(options.model, record, asked(options))
    options = replace(options, model=as_before)
    if options.method.print_config:
        prior = prior or load_prior(options.model, MAIN, part_of(options, "load"))
        preset, base = _method(options, system, prior)
        base = with_quality(base, options.quality, prior, Events(None, "quiet"))
        print_yaml(configure(options, base), options, preset)
        return None
    with Run.open("refine", options, name=f"{prompt} refined") as run:
        prior = prior or run.load_prior()
        read_prompt(prior, prompt, run.events)
        preset, base = _method(options, system, prior)
        fitted = base if system is not None else fit_guidance(base, prior, run.events)
        config = run.configure(with_quality(fitted, options.quality, prior, run.events))
        check_texts(prior, config)
        chain = run.fact("source record", _chain(record))
        # A run that goes on has its source's shape in its own run.yaml, and its own tensors.
        if run.resumed:
            model = source_model(chain, prior)
        else:
            model = field_of(open_model(source, prior), str(source))
        request = RefinementRequest(
            prompt=prompt,
            prior=prior,
            seed=options.run.seed,
            objects=count_objects(prompt, prior),
            source=model,
        )
        present = config.decoded(request, model).field if options.run.memory else None
        export = export_config(options)
        more = {"present": present, "export": export}
        planned = run.plan_memory(config, prior, reference=False, **more)
        request = replace(request, limits=limits_from(planned))
        plans = config.plans(request)
        facts = {
            "prompt": prompt,
            "source": run.fact("source", str(source)),
            "source record": chain,
            "system": record.facts.get("system"),
            "preset": preset,
            "prior": options.model.prior,
            "seed": options.run.seed,
        }
        run.describe(facts, config, export_config(options), planned=planned)
        for line in told:
            run.events.say(line)
        stages = run.execute(plans)
        save_embeddings(run, prior)
        return finish(
            run, config.result(request, stages), prior, facts=facts, pieces=request.objects
        )


TOGETHER = (
    ("concept",),
    ("lora", "lora_weight"),
    ("vae",),
    ("like", "like_weight", "ip_adapter"),
    ("embeddings",),
)
"""Options of a prior's own parts that mean nothing without each other."""


def as_the_source(
    model: PriorOptions, record: RunRecord, said: Collection[str] = ()
) -> tuple[PriorOptions, list[str]]:
    """The prior of a refinement: that of the run before, with the parts that the user gave it, but
    for what is given now; and a line about what is taken along or is not.

    Args:
        said: options that are given now, also where they say what is the default (--prior toybox).

    Raises:
        ConfigError: the run's options cannot be read.
    """
    saved = record.options.get("model")
    before = from_dict(PriorOptions, saved, "options") if isinstance(saved, dict) else None
    plain = PriorOptions()
    prior = str(record.facts.get("prior", plain.prior))
    named = "prior" in said or model.prior != plain.prior
    if before is None:
        return (model if named else replace(model, prior=prior)), []
    taken: dict[str, Any] = {}
    for names in TOGETHER:
        if all(getattr(model, n) == getattr(plain, n) and n not in said for n in names):
            taken |= {name: getattr(before, name) for name in names}
    own = parts_given(replace(plain, **taken))
    if named and model.prior != prior:
        left = f"Warning: {', '.join(own)} of the run before is left out: --prior is another."
        return model, [left] if own else []
    told = [f"As in the run before: {', '.join(own)}."] if own else []
    return replace(model, prior=prior, **taken), told


def _method(options: Refine, system: Any, prior: DiffusionPrior) -> tuple[str, Any]:
    """The preset, and its configuration or the one made in Python. Raises ConfigError."""
    preset = registry.preset_for("rgb-refinement", options.method.preset, prior)
    return preset, system or registry.configuration("rgb-refinement", preset, "refine")


def _chain(record: RunRecord) -> dict[str, Any]:
    """What is needed to build a run's field anew: command, facts and configuration."""
    return {
        "command": record.command,
        "facts": to_dict(record.facts),
        "config": record.config,
    }


def _refine_texture(
    options: Refine,
    source: Path,
    record: RunRecord,
    system: Any,
    prior: DiffusionPrior | None,
) -> RunResult | None:
    """Paint on, from the texture that is there."""
    from .texture import texture

    if options.refine_mesh:
        raise ConfigError(
            "optimises the mesh of a field, and the run ended with a mesh: its texture alone is "
            "refined",
            "--refine-mesh",
            "Leave it out",
        )
    mesh = source / "asset.glb"
    if not mesh.is_file():
        raise InputError("has no asset yet", str(source), f"threestudio-like resume {source}")
    prompt = options.prompt or _prompt_of(source, record)
    if not prompt:
        raise InputError(
            "does not say what it shows", str(source), 'Say it: --prompt "a red chair"'
        )
    method = options.method
    # A photograph's colours have its light in them, and keep it.
    lit = {} if record.command == "texture" else {"pbr.steps": "0"}
    begun = {"start.refine.times": "", **lit, **options.set}
    kept, notes = kept_as_before(record, mesh)
    model, told = as_the_source(options.model, record, asked(options))
    control = tuple(map(str, record.options.get("control") or ()))
    if control and model.prior == str(record.facts.get("prior", model.prior)):
        kept["control"] = control
        told.append(f"As in the run before: --control {' '.join(control)}.")
    elif control:
        notes.append("--control of the run is not kept: it was of another prior")
    return texture(
        Texture(
            mesh=mesh,
            prompt=prompt,
            unwrap="keep",
            begin=True,
            quality=options.quality,
            **kept,
            method=method,
            model=model,
            asset=options.asset,
            views=options.views,
            run=options.run,
            set=begun,
        ),
        system=system,
        prior=prior,
        notes=[*told, *(f"Warning: {note}." for note in notes)],
    )


def kept_as_before(record: RunRecord, mesh: Path) -> tuple[dict[str, Any], list[str]]:
    """What a painting left as it was, and so what painting on leaves: the options of `texture` by
    name; and a line for each thing that the finished asset does not have any more."""
    before = record.options
    asset = Asset.load(mesh, textures=False)
    known = {name for key, part in asset.meshes.items() for name in names_of(key, part)}
    kept: dict[str, Any] = {"maps": before.get("maps", "auto")}
    notes = []
    for option in ("parts", "lock_parts"):
        wanted = tuple(str(name) for name in before.get(option) or ())
        kept[option] = tuple(name for name in wanted if name in known)
        gone = ", ".join(name for name in wanted if name not in known)
        if gone:
            notes.append(f"{flag(option)} of the run is not kept for {gone}: the asset has none")
    if before.get("lock"):
        path = Path(str(before["lock"])).expanduser()
        if path.is_file():
            kept["lock"] = path
        else:
            notes.append(f"--lock of the run is not kept: {path} is not there")
    return kept, notes


def _prompt_of(source: Path, record: RunRecord) -> str:
    from ...engine.events import read_events

    if record.facts.get("prompt"):
        return str(record.facts["prompt"])
    said = [e for e in read_events(source / "events.jsonl") if e["event"] == "prompt"]
    return str(said[-1]["text"]) if said else ""
