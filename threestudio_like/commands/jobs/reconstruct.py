"""`reconstruct`: one picture in, an asset out; and `generate` by a picture that the prior makes."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.errors import ConfigError
from ...engine.events import Events
from ...engine.output import new_file
from ...meshes.mesh import Asset, Material, Mesh
from ...meshes.picture import render_asset
from ...meshes.texture.atlas import Atlas, join_atlas, paint_tiles
from ...meshes.texture.unwrap import unwrap
from ...priors.absent import AbsentPrior
from ...priors.diffusion import DiffusionPrior
from ...priors.framing import boxes
from ...priors.registry import EMBEDDED
from ...priors.segmentation.segmenter import BorderSegmenter
from ...priors.text.weighted import parse_weighted
from ...renderers import RingCameras
from ...representations import TexturedMesh
from ...runs.configure import configure, export_config
from ...runs.delivery import Delivery, RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import check_prompt
from ...runs.prior import check_vocabulary, fit_guidance, read_prompt
from ...runs.session import Run
from ...systems import registry
from ...systems.image_to_3d.back_projection import completed, completion_plans, lay_back
from ...systems.image_to_3d.mesh_refinement import refined, refinement_plans
from ...systems.image_to_3d.method import PictureRequest, PictureSystem, ShapeFound, guess_caption
from ...systems.image_to_3d.photo import Photo, photo_of, read_photo
from ...systems.image_to_3d.pose import matching_cut
from ...systems.image_to_3d.text_to_image import ImagineConfig, imagine_picture
from ...systems.image_to_3d.viewpoint import Viewpoint
from ..generate import Generate
from ..reconstruct import Reconstruct
from .generate import save_embeddings
from .printing import print_configuration

BEST = "cisp"
"""The method that "auto" means: the one that measures best (docs/results/reconstruct.md)."""
IMAGINED = "imagined"
"""The source of a picture that the prior made."""


@dataclass(kw_only=True)
class InputImage:
    """The picture that is reconstructed.

    source: where it comes from. name: for the run. content: a hash. view: from where it shows the
    object, if it was made here, and prior: by which prior.
    """

    photo: Photo
    source: str
    name: str
    content: str
    view: Viewpoint | None = None
    prior: DiffusionPrior | None = None


def method_configuration(
    options: Any,
    system: Any = None,
    prior: DiffusionPrior | None = None,
    events: Events | None = None,
) -> PictureSystem:
    """The method's configuration, everything that it needs at hand; `prior` decides over preset
    and guidance, where it is known, which is told. Raises ConfigError, ModelError."""
    name = BEST if options.system == "auto" else registry.SYSTEMS.canonical(options.system)
    preset = chosen_preset(options, prior)
    preset = "default" if preset == "auto" else preset
    base = system or registry.configuration(name, preset, "reconstruct", where="--method")
    if system is None and prior is not None and events is not None:
        base = fit_guidance(base, prior, events)
    config: PictureSystem = configure(options, base)
    config.check()
    return config


def chosen_preset(options: Any, prior: DiffusionPrior | None) -> str:
    """The preset that the options mean: the prior's own, where they leave it open and the method
    has it; "auto" where nobody says one."""
    wanted = str(options.method.preset)
    if prior is None or wanted != "auto":
        return wanted
    name = BEST if options.system == "auto" else registry.SYSTEMS.canonical(options.system)
    own = prior.facts.preset
    return own if own in registry.SYSTEMS.get(name).presets else wanted


def reconstruct(
    options: Reconstruct, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make an asset of a picture of one object.

    Args:
        options: of the command.
        system: a configuration made in Python instead of `options.system`.
        prior: a prior made in Python instead of `options.model.prior`.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    name = BEST if options.system == "auto" else registry.SYSTEMS.canonical(options.system)
    options = replace(options, system=name)
    check_prompt(options.prompt or "a thing")
    if options.method.print_config:
        print_configuration(options, "reconstruct", options.prompt)
        return None
    picture = options.picture.expanduser()
    with Run.open("reconstruct", options, name=f"{picture.stem} {options.system}") as run:
        found = method_configuration(options, system)
        photo = read_photo(picture, BorderSegmenter())
        if prior is None and options.model.prior != EMBEDDED and found.wants_prior:
            prior = run.load_prior()
        if prior is not None and found.wants_prior:
            # A model of one's own decides over the preset.
            found = method_configuration(options, system, prior, run.events)
        config = run.configure(found)
        content = hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
        source = run.fact("picture", str(options.picture))
        given = InputImage(
            photo=photo, source=source, name=picture.stem, content=content, prior=prior
        )
        return reconstruct_photo(run, given, config)


def generate_by_picture(
    options: Generate, *, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make an asset of a prompt by a method that starts from a picture: the prior makes the
    picture. An empty prompt lets it choose. Raises as `reconstruct`."""
    check_prompt(options.prompt or "a thing")
    if options.method.print_config:
        print_configuration(options, "reconstruct", options.prompt)
        return None
    name = f"{options.prompt or 'anything'} {options.system}"
    with Run.open("generate", options, name=name) as run:
        config = run.configure(method_configuration(options))
        prior = prior or run.load_prior()
        given = imagined(options.prompt, prior, options.run.seed)
        return reconstruct_photo(run, given, config)


def imagined(prompt: str, prior: DiffusionPrior, seed: int) -> InputImage:
    """A picture that the prior makes of a prompt. Raises VocabularyError, InputError."""
    if prompt:
        check_vocabulary(prior, parse_weighted(prompt)[0])
    how = ImagineConfig()
    pixels = imagine_picture(prompt, prior, how, seed=seed).cpu().numpy()
    photo = photo_of(
        pixels,
        "the imagined picture",
        {"size": f"imagined, {pixels.shape[1]} x {pixels.shape[0]}"},
        segmenter=BorderSegmenter(),
    )
    view = None
    if prior.facts.camera is not None:
        view = Viewpoint(math.radians(how.azimuth), math.radians(how.elevation), 0.8, margin=1.0)
    return InputImage(
        photo=photo,
        source=IMAGINED,
        name=prompt or "anything",
        content=hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
        view=view,
        prior=prior,
    )


def reconstruct_image(options: Reconstruct, picture: Callable[[], InputImage]) -> RunResult:
    """A run of its own for a picture that is in memory: an object of a scene, for instance.

    Args:
        picture: makes it, once the run's folder is there.

    Raises:
        UserError: of every kind in `engine.errors`.
    """
    config = method_configuration(options)
    with Run.open("reconstruct", options, name=options.picture.stem, quiet=True) as run:
        return reconstruct_photo(run, picture(), config)


def reconstruct_photo(run: Run, given: InputImage, config: PictureSystem) -> RunResult:
    """Shape, colours and asset of a picture, in an opened run."""
    options, photo, events = run.options, given.photo, run.events
    prior = _prior_of(run, given, config)
    export = export_config(options)
    config = config.exported(export)
    planned = run.plan_memory(config, prior)
    # A picture that was made here may differ in rounding when the run goes on with other threads.
    made = given.source == IMAGINED
    content = run.fact("picture content", given.content) if made else given.content
    facts = {
        "picture": given.source,
        "picture content": content,
        "prompt": options.prompt,
        "system": options.system,
        "preset": chosen_preset(options, prior),
        "prior": options.model.prior,
        "seed": options.run.seed,
    }
    run.describe(facts, config, export, planned=planned)
    for name, note in photo.notes.items():
        events.record("picture", part=name, note=note)
        if "nothing stood out" in note:
            events.say(f"Warning: {note}. Cut the object out, or give a picture with alpha.")
    prompt = options.prompt
    if prior is not None and not prompt:
        prompt = guess_caption(photo, config.twin)
    events.record("prompt", text=prompt, guessed=not options.prompt)

    picture = PictureRequest(
        photo=photo,
        prompt=prompt,
        prior=prior or AbsentPrior(),
        seed=options.run.seed,
        limits=limits_from(planned),
        events=events,
        view=given.view,
        said=bool(options.prompt),
    )
    plans = [*config.plans(picture), *refinement_plans(config, picture)]
    shape = run.execute(plans, "shape", last=False) if plans else {}
    found = refined(config, picture, shape)
    events.record(
        "shape",
        azimuth=found.pose.azimuth,
        elevation=found.pose.elevation,
        agreement=found.pose.agreement,
        rival=found.pose.rival,
        candidates=found.agreements,
    )
    if found.voxels is not None and run.leads():
        with new_file(run.folder / "work" / "voxels.npy") as path:
            np.save(path, (found.voxels * 255).astype(np.uint8))
    mesh, how = unwrap(found.mesh, export.texture, export.unwrap_seconds)
    atlas = join_atlas(Asset({"object": mesh.with_normals()}), export.texture)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    coloured = lay_back(surface, photo, found.pose, poses=found.poses, config=config.colour)
    painted, stages = None, {}
    if config.colour.complete == "paint":
        assert prior is not None
        plans, painted = completion_plans(
            coloured, atlas, prompt, prior=prior, config=config.colour, seed=options.run.seed
        )
        stages = run.execute(plans, last=False)
    run.lead_alone()
    if prior is not None:
        save_embeddings(run, prior)
    done = completed(coloured, config.colour, painted, stages=stages, colour=found.colour)
    charts = done.charts
    figures: dict[str, Any] = {
        "faces": len(mesh.faces),
        "agreement with the picture's silhouette": found.pose.agreement,
        "azimuth, degrees": float(np.degrees(found.pose.azimuth)),
        "elevation, degrees": float(np.degrees(found.pose.elevation)),
        "texels from the picture": share(coloured.seen, charts),
        "texels mirrored": share(coloured.mirrored, charts),
        "texels completed": 1 - share(coloured.seen | coloured.mirrored, charts),
        "unwrap": how,
        "prompt": prompt or "none was needed",
        **found.figures,
    }
    return _finish(run, photo, found, surface=done, config=config, figures=figures)


def _prior_of(run: Run, given: InputImage, config: PictureSystem) -> DiffusionPrior | None:
    """The prior that the method asks; None where it asks none. Raises ConfigError, ModelError."""
    options, prior = run.options, given.prior
    if prior is None and (config.colour.complete == "paint" or config.wants_prior):
        prior = run.load_prior()
    if prior is None and options.model.save_embeddings is not None:
        raise ConfigError("this method asks no prior", "--save-embeddings", "Leave it out")
    if prior is not None and options.prompt:
        read_prompt(prior, options.prompt, run.events)
    return prior


def share(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Share of the texels of `whole` (R, R) bool that are in `part`."""
    return float((part & whole).sum() / whole.sum().clamp_min(1))


def _finish(
    run: Run,
    photo: Photo,
    found: ShapeFound,
    surface: TexturedMesh,
    config: PictureSystem,
    figures: dict[str, Any],
) -> RunResult:
    """Write, verify and report; the report shows the picture beside the asset from the same
    side."""
    began, facts = time.monotonic(), run.record.facts
    run.events.status("asset: writing, verifying", force=True)
    texture = surface.padded()[0].detach().permute(1, 2, 0).clamp(0, 1)
    provenance = {k: facts[k] for k in ("picture", "system", "preset", "prior", "seed")}
    provenance["generator"] = "threestudio_like 0.1.0"
    asset = textured_asset(
        surface.atlas, np.rint(texture.numpy() * 255).astype(np.uint8), provenance
    )
    ring = RingCameras(
        count=8, elevation=15.0, distance=found.poses.distance, fov_y=found.poses.fov_y
    )
    title = (
        figures["prompt"]
        if facts["prompt"] or config.colour.complete == "paint"
        else Path(facts["picture"]).stem
    )
    work = Delivery(
        title=title,
        asset=asset,
        ring=ring,
        turntable=run.options.asset.turntable,
        pictures=beside(photo, asset, found),
    )
    return run.deliver(work, figures, began)


def textured_asset(atlas: Atlas, texture: np.ndarray, provenance: dict[str, Any]) -> Asset:
    """One mesh with its painted atlas (R, R, 3) uint8."""
    mesh = Mesh(atlas.mesh.vertices, atlas.mesh.faces, uv=atlas.mesh.uv, normals=atlas.mesh.normals)
    painted = paint_tiles(
        Asset({"object": replace(mesh, material=Material("object", roughness=0.9))}),
        atlas,
        atlas.cut(texture),
    )
    return Asset(painted.meshes, provenance)


def beside(photo: Photo, asset: Asset, found: ShapeFound, size: int = 256) -> dict[str, np.ndarray]:
    """Pictures for the report: the given one, its object cut out, and the asset from the camera
    that was found."""
    poses = found.poses
    box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    cut = matching_cut(asset.mesh, found.pose, poses, box=box)
    colours, alpha = photo.colours(size, cut)
    given = (colours * alpha[..., None] + 0.96 * (1 - alpha[..., None]))[0].numpy()
    camera = found.pose.camera(poses, size)
    drawn = render_asset(asset, camera.view_projection().numpy(), size, background=0.96).image[0]
    clay = render_asset(
        Asset({"object": found.mesh}), camera.view_projection().numpy(), size, background=0.96
    ).image[0]
    original = (photo.original.clip(0, 1) * 255).astype(np.uint8)
    row = np.concatenate([given, drawn, clay], 1)
    return {
        "The picture": original,
        "Cut out; the asset from the same side; its shape": (row.clip(0, 1) * 255).astype(np.uint8),
    }
