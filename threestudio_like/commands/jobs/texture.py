"""`texture`: a mesh of the user's in, the same mesh with a texture out."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.errors import InputError
from ...meshes.frames import Frame, to_canonical
from ...priors.diffusion import DiffusionPrior
from ...renderers import RingCameras
from ...reports import contact_sheet, save_png
from ...runs.configure import configure, export_config
from ...runs.delivery import Delivery, RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import check_prompt
from ...runs.prior import check_vocabulary
from ...runs.session import Run
from ...stages.painting import SurfaceModel
from ...stages.painting_rounds import fill_unseen
from ...systems import registry
from ...systems.texturing.latent_paint import PaintRequest
from ...systems.texturing.subject import (
    Subject,
    SubjectOptions,
    locked_texels,
    painted,
    present_texture,
    read_subject,
    texel_maps,
)
from ..texture import Texture
from .generate import save_embeddings
from .printing import print_configuration


def texture(
    options: Texture, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Paint a mesh by a prompt.

    Args:
        options: of the command.
        system: a configuration made in Python instead of a preset of `options.system`.
        prior: a prior made in Python instead of `options.model.prior`.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    check_prompt(options.prompt)
    if options.method.print_config:
        print_configuration(options, "texture", options.prompt)
        return None
    mesh = options.mesh.expanduser()
    if not mesh.is_file():
        raise InputError("there is no such file", str(mesh), "Give the path of a mesh")
    with Run.open("texture", options, name=f"{options.prompt} {mesh.stem}") as run:
        first = options.method.preset if options.method.preset != "auto" else "default"
        configure(options, system or registry.configuration(options.system, first, "texture"))
        prior = prior or run.load_prior()
        check_vocabulary(prior, options.prompt)
        preset = registry.preset_for(options.system, options.method.preset, prior)
        base = system or registry.configuration(options.system, preset, "texture")
        config = run.configure(base)
        planned = run.plan_memory(config, prior)
        export = export_config(options)
        chosen = SubjectOptions(
            frame=Frame(options.up, options.front, options.unit),
            unwrap=options.unwrap,
            lock=options.lock,
            lock_parts=options.lock_parts,
            drop_textures=options.drop_textures,
            texels=export.texture,
            unwrap_seconds=export.unwrap_seconds,
        )
        subject = read_subject(mesh, chosen, config.placement)
        locked = locked_texels(subject, chosen)
        request = PaintRequest(
            prompt=options.prompt,
            prior=prior,
            seed=options.run.seed,
            objects=1,
            atlas=subject.atlas,
            texture=present_texture(subject),
            locked=locked,
            begin=options.begin,
            limits=limits_from(planned),
        )
        plans = config.plans(request)
        facts = _facts(run, mesh, registry.name_of(base) or options.system, preset)
        run.describe(facts, config, export, planned)
        _tell_coordinates(run, subject, chosen)
        stages = run.execute(plans)
        save_embeddings(options, prior)
        parts = config.result(request, stages)
        visible = config.seen(parts.surface, request) > 0.05
        if "rgb" in stages and parts.surface.channels == 5:
            # The atlas before the light was taken out of it, for comparison.
            before = config.rgb_parts(request, stages).surface.padded()[0].detach()
            shown = before.permute(1, 2, 0).clamp(0, 1)
            save_png(
                np.rint(shown.numpy() * 255).astype(np.uint8), run.folder / "work" / "atlas-rgb.png"
            )
        return _finish(run, subject, parts, visible, locked, chosen)


def _facts(run: Run, mesh: Path, system: str, preset: str) -> dict[str, Any]:
    """What decides the result besides the configuration."""
    options = run.options
    return {
        "prompt": options.prompt,
        "mesh": run.fact("mesh", str(options.mesh)),
        # A run goes on with the mesh that it was begun on, not with one that has its name.
        "mesh content": hashlib.sha256(mesh.read_bytes()).hexdigest()[:16],
        "system": system,
        "preset": preset,
        "prior": options.model.prior,
        "seed": options.run.seed,
        "frame": [options.up, options.front, options.unit],
        "unwrap": options.unwrap,
        "lock_parts": list(options.lock_parts),
    }


def _tell_coordinates(run: Run, subject: Subject, chosen: SubjectOptions) -> None:
    for name, note in subject.notes.items():
        run.events.record("texture coordinates", part=name, note=note)
        if "unwrapped" in note and not note.startswith("no texture coordinates"):
            run.events.say(
                f'Texture coordinates of "{name}": {note}. Use --unwrap keep to keep them.'
            )
        elif chosen.unwrap == "keep" and "a proper atlas" not in note:
            run.events.say(f'Warning: texture coordinates of "{name}": {note}.')


def _finish(
    run: Run,
    subject: Subject,
    parts: SurfaceModel,
    visible: torch.Tensor,
    locked: torch.Tensor | None,
    chosen: SubjectOptions,
) -> RunResult:
    """Fill what no camera saw, write the mesh in its own format and as GLB, verify and report."""
    began = time.monotonic()
    run.events.status("asset: filling unseen texels, writing, verifying", force=True)
    surface, facts = parts.surface, run.record.facts
    with torch.no_grad():
        surface.texels[0].copy_(fill_unseen(surface, visible, locked))
    before = subject.shown(subject.canonical)
    largest = 0.0
    if surface.offsets is not None:
        largest = float(surface.offsets.detach().abs().max())
        subject = subject.moved(surface.vertices(), chosen)
    colour, packed = texel_maps(parts)
    lit = surface.channels == 5
    provenance = {k: facts[k] for k in ("prompt", "system", "preset", "prior", "seed")}
    provenance.update({"generator": "threestudio_like 0.1.0", "lit": lit})
    raw = painted(subject.raw, subject.atlas, colour, packed)
    canonical = to_canonical(raw, chosen.frame)
    raw.provenance = canonical.provenance = provenance
    charts = surface.charts
    figures = _figures(subject, parts, visible, locked)
    if surface.offsets is not None:
        figures["largest offset, scene units"] = largest
    ring = RingCameras(
        count=8, elevation=15.0, distance=parts.protocol.distance, fov_y=parts.protocol.fov_y
    )
    cover = np.full((*charts.shape, 3), 245, np.uint8)
    cover[charts.numpy()] = (196, 86, 60)
    cover[(charts & visible).numpy()] = (88, 140, 92)
    pictures = {
        "Before": contact_sheet(before, ring),
        "The atlas": colour,
        "Seen (green) and filled from neighbours (red)": cover,
    }
    if packed is not None:
        pictures["Roughness (green) and metallic (blue)"] = packed
    own = None
    kind = Path(facts["mesh"]).suffix.lower()
    if kind == ".obj" or (kind in (".glb", ".gltf") and not chosen.frame.plain):
        # In the user's own frame and units, with the positions that were read.
        own = ("asset.obj" if kind == ".obj" else "asset-own-frame.glb", raw, chosen.frame)
    work = Delivery(
        title=facts["prompt"],
        asset=canonical,
        ring=ring,
        turntable=run.options.asset.turntable,
        place=subject.placement.apply,
        shown=subject.shown(canonical),
        light=parts.light if lit else None,
        own=own,
        pictures=pictures,
    )
    return run.deliver(work, figures, began)


def _figures(
    subject: Subject,
    parts: SurfaceModel,
    visible: torch.Tensor,
    locked: torch.Tensor | None,
) -> dict[str, Any]:
    surface = parts.surface
    charts = surface.charts
    lost = charts & ~visible if locked is None else charts & ~visible & ~locked
    return {
        "faces": len(subject.atlas.mesh.faces),
        "parts": len(subject.raw.meshes),
        "texels": int(charts.sum()),
        "texels seen": float((visible & charts).sum() / charts.sum().clamp_min(1)),
        "texels unseen, filled from neighbours": int(lost.sum()),
        "texels locked": 0 if locked is None else int((locked & charts).sum()),
        "seam error": surface.seam_error(),
        "texture coordinates": "; ".join(sorted(set(subject.notes.values()))),
    }
