"""`texture`: a mesh of the user's in, the same mesh with a texture out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.errors import ConfigError, InputError
from ...engine.stage import Stage, StagePlan
from ...engine.text import slug
from ...meshes.frames import Frame, to_canonical
from ...meshes.io.images import encode_png
from ...meshes.mesh import Variant, unique_name
from ...priors.diffusion import DiffusionPrior
from ...renderers import RingCameras
from ...reports import contact_sheet, save_png
from ...runs.configure import configure, export_config
from ...runs.delivery import Delivery, RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import check_prompt
from ...runs.prior import check_texts, fit_guidance, read_prompt
from ...runs.quality import with_quality
from ...runs.session import Run
from ...stages.painting import SurfaceModel
from ...stages.painting_rounds import fill_unseen
from ...systems import registry
from ...systems.texturing.by_method import by_method
from ...systems.texturing.painted import Painting, texel_maps
from ...systems.texturing.request import PaintRequest
from ...systems.texturing.subject import (
    Subject,
    SubjectOptions,
    cut_out_alpha,
    locked_texels,
    present_texture,
    read_subject,
)
from ..texture import Texture
from .generate import save_embeddings
from .printing import print_configuration
from .view import ViewOptions, pick_lock


def texture(
    options: Texture,
    *,
    system: Any = None,
    prior: DiffusionPrior | None = None,
    notes: Sequence[str] = (),
) -> RunResult | None:
    """Paint a mesh by a prompt.

    Args:
        options: of the command.
        system: a configuration made in Python instead of a preset of `options.system`.
        prior: a prior made in Python instead of `options.model.prior`.
        notes: what the user is told when the run begins, in lines.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    prompts = tuple(p for p in (options.prompt, *options.variants) if p)
    for prompt in prompts or ("",):
        check_prompt(prompt)
    if options.method.print_config:
        print_configuration(options, "texture", prompts[0])
        return None
    mesh = options.mesh.expanduser()
    if not mesh.is_file():
        raise InputError("there is no such file", str(mesh), "Give the path of a mesh")
    if options.pick:
        options = replace(options, lock=_painted_lock(options), pick=False)
    with Run.open("texture", options, name=f"{prompts[0]} {mesh.stem}") as run:
        first = options.method.preset if options.method.preset != "auto" else "default"
        configure(options, system or registry.configuration(options.system, first, "texture"))
        prior = prior or run.load_prior()
        _check_control(options, prior, run)
        for prompt in prompts:
            read_prompt(prior, prompt, run.events)
        preset = registry.preset_for(options.system, options.method.preset, prior)
        base = system or registry.configuration(options.system, preset, "texture")
        fitted = base if system is not None else fit_guidance(base, prior, run.events)
        chosen_method = by_method(fitted, options.by, options.system)
        config = run.configure(with_quality(chosen_method, options.quality, prior, run.events))
        check_texts(prior, config)
        planned = run.plan_memory(config, prior, reference=False)
        export = export_config(options)
        chosen = _subject_options(options, export)
        subject = read_subject(mesh, chosen, config.placement)
        request = PaintRequest(
            prompt=prompts[0],
            prior=prior,
            seed=options.run.seed,
            objects=1,
            atlas=subject.atlas,
            texture=present_texture(subject),
            alpha=cut_out_alpha(subject),
            locked=locked_texels(subject),
            begin=options.begin,
            limits=limits_from(planned),
        )
        requests = [replace(request, prompt=prompt) for prompt in prompts]
        plans = [
            plan for k, one in enumerate(requests) for plan in variant_plans(k, config.plans(one))
        ]
        facts = _facts(run, mesh, registry.name_of(base) or options.system, preset=preset)
        run.describe(facts, config, export, planned=planned)
        for note in notes:
            run.events.say(note)
        if options.asset.faces is not None:
            run.events.say(
                "Warning: --faces changes nothing: the mesh stays as it is. export --faces writes "
                "it with fewer."
            )
        _tell_coordinates(run, subject, chosen)
        stages = run.execute(plans)
        save_embeddings(run, prior)
        looks = [
            _finished(run, config, one, number=k, stages=stages) for k, one in enumerate(requests)
        ]
        return _finish(run, subject, looks, chosen=chosen, mesh=mesh)


def _painted_lock(options: Texture) -> Path:
    """The mask that the user paints on the mesh in the browser. Raises ConfigError where there is
    one already."""
    if options.lock is not None:
        raise ConfigError("asks for a mask that is given", "--pick", "Leave out --lock")
    path = pick_lock(options.mesh.expanduser(), ViewOptions())
    assert path is not None
    return path


def _check_control(options: Texture, prior: DiffusionPrior, run: Run) -> None:
    """Raise ConfigError where a prior is not controlled as asked; say where nothing shows it the
    mesh while all sides are painted at once."""
    if options.control and not prior.facts.controls:
        raise ConfigError(
            f'"{prior.facts.name}" is not controlled by pictures',
            f"--control {options.control[0]}",
            "Leave it out, or take a prior of diffusers' layout",
        )
    if options.by != "distil" and not prior.facts.controls:
        run.events.say(
            "Note: nothing but its silhouette shows the prior the mesh; --control depth does."
        )


def _subject_options(options: Texture, export: Any) -> SubjectOptions:
    return SubjectOptions(
        frame=Frame(options.up, options.front, options.unit),
        unwrap=options.unwrap,
        parts=options.parts,
        lock=options.lock,
        lock_parts=options.lock_parts,
        drop_textures=options.drop_textures,
        maps=options.maps,
        texels=export.texture,
        unwrap_seconds=export.unwrap_seconds,
    )


def variant_plans(number: int, plans: list[StagePlan]) -> list[StagePlan]:
    """The stages of the look `number` of several, which see those of their own look alone; the
    first has the stages' usual names, the others their number before it."""
    if number == 0:
        return plans

    def build(plan: StagePlan, done: dict[str, Stage]) -> Stage:
        stage = plan.build(stages_of(number, done))
        return replace(stage, name=f"{number + 1} {stage.name}")

    return [StagePlan(f"{number + 1} {p.name}", partial(build, p)) for p in plans]


def stages_of(number: int, stages: dict[str, Stage]) -> dict[str, Stage]:
    """The finished stages of one look, by their usual names."""
    if number == 0:
        return {name: stage for name, stage in stages.items() if not name[:1].isdigit()}
    mark = f"{number + 1} "
    return {name[len(mark) :]: s for name, s in stages.items() if name.startswith(mark)}


@dataclass
class Look:
    """One finished painting: its prompt, the surface, which texels were seen, which are locked, and
    how many the prior's pictures of all sides show as background."""

    prompt: str
    parts: SurfaceModel
    visible: torch.Tensor
    locked: torch.Tensor | None
    background: int = 0


def _finished(
    run: Run, config: Any, request: PaintRequest, number: int, stages: dict[str, Stage]
) -> Look:
    """The result of one look's stages, with what no camera saw filled."""
    own = stages_of(number, stages)
    parts = config.result(request, own)
    visible = config.seen(parts.surface, request) > 0.05
    if "rgb" in own and parts.surface.channels == 5:
        # The atlas before the light was taken out of it, for comparison.
        before = config.rgb_parts(request, own).surface.padded()[0].detach()
        shown = np.rint(before.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
        name = "atlas-rgb.png" if number == 0 else f"atlas-rgb-{number + 1}.png"
        save_png(shown, run.folder / "work" / name)
    background = 0
    if list(own)[-1] == "paint":
        surface = parts.surface
        open_ = surface.charts & visible & surface.unlocked.view(surface.resolution, -1)
        background = int((open_ & (own["paint"].modules["views"].weight == 0)).sum())
    with torch.no_grad():
        parts.surface.texels[0].copy_(fill_unseen(parts.surface, visible, request.locked))
    return Look(request.prompt, parts, visible, locked=request.locked, background=background)


def _facts(run: Run, mesh: Path, system: str, preset: str) -> dict[str, Any]:
    """What decides the result besides the configuration."""
    options = run.options
    return {
        "prompt": options.prompt or options.variants[0],
        "mesh": run.fact("mesh", str(options.mesh)),
        # A run goes on with the mesh that it was begun on, not with one that has its name.
        "mesh content": hashlib.sha256(mesh.read_bytes()).hexdigest()[:16],
        "system": system,
        "preset": preset,
        "prior": options.model.prior,
        "seed": options.run.seed,
        "frame": [options.up, options.front, options.unit],
        "unwrap": options.unwrap,
        "parts": list(options.parts),
        "lock_parts": list(options.lock_parts),
        "maps": options.maps,
        "variants": list(options.variants),
        "method": options.by,
        "control": list(options.control),
    }


def _tell_coordinates(run: Run, subject: Subject, chosen: SubjectOptions) -> None:
    for note in subject.file.notes:
        run.events.record("note", note=note)
        run.events.say(f"Note: {note}.")
    for name, note in subject.notes.items():
        run.events.record("texture coordinates", part=name, note=note)
        if name not in subject.painted:
            continue
        if "unwrapped" in note and not note.startswith("no texture coordinates"):
            kept = "the file's own stay as a further set" if subject.file.source else ""
            run.events.say(
                f'Texture coordinates of "{name}": {note}{"; " if kept else ""}{kept}. '
                "Use --unwrap keep to paint on those of the file."
            )
        elif chosen.unwrap == "keep" and "a proper atlas" not in note:
            run.events.say(f'Warning: texture coordinates of "{name}": {note}.')


def _finish(
    run: Run, subject: Subject, looks: list[Look], chosen: SubjectOptions, mesh: Path
) -> RunResult:
    """Write the mesh in its own format and as GLB, verify and report."""
    began = time.monotonic()
    run.events.status("asset: writing, verifying", force=True)
    parts, facts = looks[0].parts, run.record.facts
    surface = parts.surface
    before = subject.shown(to_canonical(subject.as_read(), chosen.frame))
    figures = _figures(subject, looks[0])
    if surface.offsets is not None:
        figures["largest offset, scene units"] = float(surface.offsets.detach().abs().max())
        subject = subject.moved(surface.vertices(), chosen)
    paintings = [Painting(subject, chosen, *texel_maps(look.parts)) for look in looks]
    lit = surface.channels == 5
    provenance = {k: facts[k] for k in ("prompt", "system", "preset", "prior", "seed")}
    provenance.update({"generator": "threestudio_like 0.1.0", "lit": lit})
    raw = replace(paintings[0].asset(), provenance=provenance)
    if len(looks) > 1:
        raw.variants = [Variant(k.prompt, p.looks()) for k, p in zip(looks, paintings)]
    canonical = to_canonical(raw, chosen.frame)
    ring = RingCameras(
        count=8, elevation=15.0, distance=parts.protocol.distance, fov_y=parts.protocol.fov_y
    )
    pictures = {"Before": contact_sheet(before, ring)}
    for look, painting in zip(looks[1:], paintings[1:]):
        other = subject.shown(to_canonical(painting.asset(), chosen.frame))
        pictures[look.prompt] = contact_sheet(other, ring, light=look.parts.light if lit else None)
    pictures |= _atlas_pictures(paintings[0], looks[0])
    own = None
    kind = Path(facts["mesh"]).suffix.lower()
    if kind == ".obj" or (kind in (".glb", ".gltf") and not chosen.frame.plain):
        # In the user's own frame and units, with the positions that were read.
        own = ("asset.obj" if kind == ".obj" else "asset-own-frame.glb", raw, chosen.frame)
    work = Delivery(
        before=before,
        fit_line=coverage_line(figures, controlled=bool(run.options.control)),
        title=facts["prompt"],
        asset=canonical,
        ring=ring,
        turntable=run.options.asset.turntable,
        place=subject.placement.apply,
        shown=subject.shown(canonical),
        light=parts.light if lit else None,
        own=own,
        pictures=pictures,
        given=mesh,
        files=_texture_files(looks, paintings),
        mesh=not run.options.texture_only,
    )
    return run.deliver(work, figures, began)


def coverage_line(figures: dict[str, Any], *, controlled: bool = False) -> str:
    """How much of a painting was seen while it was painted, and what became of the rest."""
    filled = figures["texels unseen, filled from neighbours"]
    rest = f"; {filled:,} texels that no camera saw are filled from their neighbours"
    seen = f"{100 * figures['texels seen']:.0f} % of the texture was seen while it was painted"
    background = figures["texels shown as background, filled from neighbours"]
    told = "" if controlled else ": --control depth tells the prior the mesh's shape"
    more = f"; {background:,} more that the prior took for background, likewise{told}"
    return f"{seen}{rest if filled else ''}{more if background else ''}."


def _texture_files(looks: list[Look], paintings: list[Painting]) -> dict[str, bytes]:
    """The painted pictures by the names of their files, below textures/."""
    files: dict[str, bytes] = {}
    for look, painting in zip(looks, paintings):
        folder = f"textures/{slug(look.prompt, '-', 40)}" if len(looks) > 1 else "textures"
        written: dict[int, str] = {}
        for name, (texture, material) in painting.looks().items():
            assert texture is not None
            if id(texture) in written:
                continue
            stem = unique_name(f"{folder}/{slug(name, '-', 60) or 'part'}", written.values())
            written[id(texture)] = stem
            files[f"{stem}.png"] = encode_png(texture)
            if material is not None and painting.paints_maps(name):
                packed = material.metallic_roughness
                if packed is not None:
                    files[f"{stem}-roughness-metallic.png"] = encode_png(packed)
    return files


def _atlas_pictures(painting: Painting, look: Look) -> dict[str, np.ndarray]:
    charts = look.parts.surface.charts
    cover = np.full((*charts.shape, 3), 245, np.uint8)
    cover[charts.numpy()] = (196, 86, 60)
    cover[(charts & look.visible).numpy()] = (88, 140, 92)
    pictures = {
        "The atlas": painting.colour,
        "Seen (green) and filled from neighbours (red)": cover,
    }
    if painting.packed is not None:
        pictures["Roughness (green) and metallic (blue)"] = painting.packed
    return pictures


def _figures(subject: Subject, look: Look) -> dict[str, Any]:
    surface, visible, locked = look.parts.surface, look.visible, look.locked
    charts = surface.charts
    lost = charts & ~visible if locked is None else charts & ~visible & ~locked
    return {
        "faces": len(subject.atlas.mesh.faces),
        "parts": len(subject.raw.meshes),
        "parts painted": len(subject.painted),
        "texels": int(charts.sum()),
        "texels seen": float((visible & charts).sum() / charts.sum().clamp_min(1)),
        "texels unseen, filled from neighbours": int(lost.sum()),
        "texels shown as background, filled from neighbours": look.background,
        "texels locked": 0 if locked is None else int((locked & charts).sum()),
        "seam error": surface.seam_error(),
        "texture coordinates": "; ".join(sorted(set(subject.notes.values()))),
    }
