"""Open a finished run: the model that it ended with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engine.config import from_dict
from ...engine.errors import InputError
from ...engine.stage import Stage
from ...kernels.devices import MAIN
from ...priors.diffusion import DiffusionPrior
from ...runs.contents import check_named
from ...runs.kept import restore_stages
from ...runs.options import PriorOptions
from ...runs.prior import count_objects, load_prior
from ...runs.record import RunRecord, read_record
from ...stages.model import AssetModel, FieldModel
from ...systems import registry
from ...systems.system import Request
from ...systems.text_to_3d.rgb_refinement import RefinementRequest, RgbRefinement


def open_model(folder: Path, prior: DiffusionPrior | None = None) -> AssetModel:
    """The field, or the mesh, of a run of `generate` or `refine`, as its folder has it.

    Args:
        prior: the run's own where None.

    Raises:
        InputError, CheckpointError: no such run, or nothing of its model was kept.
    """
    folder = folder.expanduser()
    record = read_record(folder)
    _check_model(record, folder)
    if prior is None:
        check_named(record.facts, str(folder), "Give it: open_run(folder, prior=...)")
        prior = load_prior(PriorOptions(prior=str(record.facts["prior"])), MAIN)
    chain = {"command": record.command, "facts": record.facts, "config": record.config}
    config, request, plans = _method(chain, prior, folder)
    stages = restore_stages(folder / "work", plans)
    model: AssetModel = config.result(request, stages)
    return model


def _check_model(record: RunRecord, folder: Path) -> None:
    """Raise InputError where a run ends with no model, or was not begun."""
    # `generate` by a method that begins with a picture ends as `reconstruct` does.
    pictured = record.facts.get("picture") is not None
    if record.command not in ("generate", "refine") or pictured:
        raise InputError(
            f"is a run of {record.command}{' by a picture' * pictured}, which keeps no model",
            str(folder),
            "Its asset.glb is what it ended with",
        )
    _check_described(record.facts, record.config, str(folder))


def _check_described(facts: Mapping[str, Any], config: Any, where: str) -> None:
    missing = [k for k in ("prompt", "system", "preset", "prior", "seed") if k not in facts]
    if missing or config is None:
        raise InputError(f"lacks {', '.join(missing) or 'config'}", where, "Start the run again")


def field_of(model: AssetModel, where: str) -> FieldModel:
    """The field that a run ended with. Raises InputError where it ended with a mesh."""
    if not isinstance(model, FieldModel):
        raise InputError("ended with a mesh, and not with a field", where, "Refine its texture")
    return model


def source_model(chain: dict[str, Any], prior: DiffusionPrior) -> FieldModel:
    """A run's field as it is built, without what was learnt: the caller fills it. Raises InputError
    where the run ended with a mesh."""
    config, request, plans = _method(chain, prior, None)
    stages: dict[str, Stage] = {}
    for plan in plans:
        stages[plan.name] = plan.build(stages)
    return field_of(config.result(request, stages), "the source of the run")


def _method(chain: dict[str, Any], prior: DiffusionPrior, folder: Path | None) -> Any:
    facts, where = chain["facts"], str(folder or "run.yaml")
    _check_described(facts, chain["config"], where)
    prompt = str(facts["prompt"])
    objects = count_objects(prompt, prior)
    if chain["command"] == "refine":
        # Runs of the first format name their source's folder only.
        before = facts.get("source record")
        if before:
            source = source_model(before, prior)
        else:
            folder_before = Path(facts["source"])
            source = field_of(open_model(folder_before, prior), str(folder_before))
        config = from_dict(RgbRefinement, chain["config"])
        refinement = RefinementRequest(
            prompt=prompt, prior=prior, seed=facts["seed"], objects=objects, source=source
        )
        return config, refinement, config.plans(refinement)
    base = registry.configuration(facts["system"], facts["preset"], "generate")
    config = from_dict(type(base), chain["config"])
    request = Request(prompt=prompt, prior=prior, seed=facts["seed"], objects=objects)
    return config, request, config.plans(request)
