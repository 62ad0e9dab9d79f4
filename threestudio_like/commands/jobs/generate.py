"""`generate`: stages of distillation for a prompt, then the asset of the field that they leave."""

from __future__ import annotations

import time
from typing import Any

from ...engine.text import slug
from ...priors.diffusion import DiffusionPrior
from ...representations import GaussianCloud
from ...runs.configure import export_config
from ...runs.delivery import Delivery, RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import check_prompt
from ...runs.prior import check_texts, count_objects, fit_guidance, read_prompt
from ...runs.quality import with_quality
from ...runs.record import written_outside
from ...runs.session import Run
from ...stages.field_to_mesh import evaluation_ring
from ...stages.model import AssetModel
from ...systems import registry
from ...systems.system import Request
from ..generate import Generate
from ..registry import PROGRAM
from .printing import print_configuration

CLEAR, FOG = 0.1, 0.75
"""Mean opacity around the mesh below which a volume is clear, and above which it is fog."""


def generate(
    options: Generate, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make an asset of a prompt.

    Args:
        options: of the command.
        system: a configuration made in Python instead of a preset of `options.system`.
        prior: a prior made in Python instead of `options.model.prior`.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    if system is None and registry.SYSTEMS.get(options.system, "--system").task == "image-to-3d":
        from .reconstruct import generate_by_picture

        return generate_by_picture(options, prior=prior)
    check_prompt(options.prompt)
    if options.method.print_config:
        print_configuration(options, "generate", options.prompt)
        return None
    with Run.open("generate", options, name=options.prompt) as run:
        prior = prior or run.load_prior()
        read_prompt(prior, options.prompt, run.events)
        preset = registry.preset_for(options.system, options.method.preset, prior)
        base = system or registry.configuration(options.system, preset, "generate")
        fitted = base if system is not None else fit_guidance(base, prior, run.events)
        config = run.configure(with_quality(fitted, options.quality, prior, run.events))
        check_texts(prior, config)
        export = export_config(options)
        planned = run.plan_memory(config, prior, reference=False, export=export)
        request = Request(
            prompt=options.prompt,
            prior=prior,
            seed=options.run.seed,
            objects=count_objects(options.prompt, prior),
            limits=limits_from(planned),
        )
        plans = config.plans(request)
        facts = {
            "prompt": options.prompt,
            "system": registry.name_of(base) or options.system,
            "preset": preset,
            "prior": options.model.prior,
            "seed": options.run.seed,
        }
        run.describe(facts, config, export_config(options), planned=planned)
        stages = run.execute(plans)
        save_embeddings(run, prior)
        model = config.result(request, stages)
        return finish(run, model, prior, facts=facts, pieces=request.objects)


def save_embeddings(run: Run, prior: DiffusionPrior) -> None:
    """Write the run's prompt embeddings where --save-embeddings says. Raises OutputError."""
    path = run.options.model.save_embeddings
    if path is not None:
        made = written_outside(run.folder, path)
        prior.save_embeddings(path, run.settings.force or made.holds(path))
        made.add([path])


def finish(
    run: Run, model: AssetModel, prior: DiffusionPrior, facts: dict[str, Any], pieces: int
) -> RunResult:
    """Make the model's mesh, bake its texture, verify and report."""
    began = time.monotonic()
    run.events.status("asset: extracting, unwrapping, baking", force=True)
    provenance = {k: facts[k] for k in ("prompt", "system", "preset", "prior", "seed")}
    provenance.update(
        {"generator": "threestudio_like 0.1.0", "licence of the prior": prior.facts.licence}
    )
    config = export_config(run.options)
    name = node_name(facts["prompt"])
    asset, figures = model.to_asset(config, pieces, name=name, provenance=provenance)
    work = Delivery(
        facts["prompt"],
        asset,
        evaluation_ring(model),
        turntable=run.options.asset.turntable,
        files=gaussian_files(model),
        fit_line=shape_line(figures),
    )
    return run.deliver(work, figures, began)


def shape_line(figures: dict[str, Any]) -> str:
    """What is known of an asset that was made of words: how it keeps the shape of its volume, and
    whether that was clear. `evaluate` judges how well it shows the prompt."""
    parts = []
    agreement, fog = figures.get("silhouette agreement"), figures.get("fog")
    if agreement is not None:
        parts.append(f"its outlines are the volume's to an IoU of {agreement:.2f}")
    if fog is not None:
        word = "clear" if fog < CLEAR else "thin fog" if fog <= FOG else "fog: not to be trusted"
        parts.append(f"around it the volume is {word} ({fog:.3f})")
    shape = f"The shape: {', '.join(parts)}. " if parts else ""
    return f"{shape}Whether it shows the prompt, {PROGRAM} evaluate measures."


def gaussian_files(model: AssetModel) -> dict[str, bytes]:
    """The Gaussians of a model that has them, as a file of the run."""
    from ...representations.gaussian_files import splats_of
    from .export_splats import KEPT, splat_format

    cloud = getattr(model, "field", None)
    if not isinstance(cloud, GaussianCloud) or cloud.channels != 3:
        return {}
    return {KEPT: splat_format("ply-splat").write(splats_of(cloud))}


def node_name(prompt: str) -> str:
    """A mesh's name from a prompt: letters and digits of any script."""
    return slug(prompt, "_", 60) or "object"
