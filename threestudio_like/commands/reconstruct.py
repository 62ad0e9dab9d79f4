"""`reconstruct`: one picture in, an asset out."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint import write_atomically
from ..engine.config import to_dict, write_yaml
from ..engine.events import Events
from ..engine.loop import Stage, StagePlan
from ..engine.output import new_file
from ..meshes.atlas import Atlas, join_atlas, paint_tiles
from ..meshes.mesh import Asset, Material, Mesh
from ..meshes.picture import render_asset
from ..meshes.unwrap import unwrap
from ..priors.absent import AbsentPrior
from ..priors.diffusion import DiffusionPrior
from ..priors.framing import boxes
from ..priors.segmentation.segmenter import BorderSegmenter
from ..renderers import RingCameras
from ..representations import TexturedMesh
from ..runs.delivery import Delivery, RunResult, deliver
from ..runs.folders import run_folder
from ..runs.memory_budget import keep_memory, limits_from, tell, without_plan
from ..runs.options import Options, check_options, check_vocabulary
from ..runs.session import configure, load_prior, run_loop, warm_kernels
from ..systems.image_to_3d.back_projection import completed, completion_plans, lay_back
from ..systems.image_to_3d.method import PictureRequest, PictureSystem, ShapeFound, guess_caption
from ..systems.image_to_3d.photo import Photo, photo_of, read_photo
from ..systems.image_to_3d.pose import matching_cut
from ..systems.image_to_3d.text_to_image import ImagineConfig, imagine_picture
from ..systems.image_to_3d.viewpoint import Viewpoint

BEST = "cisp"
"""The method that "auto" means: the one that measures best (docs/results/reconstruct.md)."""


@dataclass
class ReconstructOptions(Options):
    """What `reconstruct` takes besides."""

    system: str = "cisp"
    prompt: str = ""
    """What the picture shows, for the painting of what it does not show; guessed by the caption
    model where empty."""


@dataclass
class InputImage:
    """The picture that is reconstructed: where it comes from, a name for the run, a hash of its
    content, and, if it was made here, from where it shows the object and by which prior."""

    photo: Photo
    source: str
    name: str
    content: str
    view: Viewpoint | None = None
    prior: DiffusionPrior | None = None


def picture_config(options: ReconstructOptions) -> PictureSystem:
    """The method's configuration, everything that it needs at hand. Raises ConfigError,
    ModelError."""
    preset = "default" if options.preset == "auto" else options.preset
    config: PictureSystem = configure(options, preset, verb="reconstruct")
    config.check()
    return config


def reconstruct(picture: Path, options: ReconstructOptions) -> RunResult:
    """Make an asset of a picture of one object.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    check_options(options.prompt or "a thing", options)
    photo = read_photo(picture, BorderSegmenter())
    content = hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
    return reconstruct_photo(
        InputImage(photo, str(picture), picture.stem, content), picture_config(options), options
    )


def imagine(
    prompt: str, options: ReconstructOptions, how: ImagineConfig | None = None
) -> RunResult:
    """Make an asset of a prompt by a method that starts from a picture: the prior makes the
    picture. An empty prompt lets it choose.

    Raises:
        UserError: see `reconstruct`.
    """
    check_options(prompt or "a thing", options)
    config, how = picture_config(options), how or ImagineConfig()
    prior = load_prior(options)
    if prompt:
        check_vocabulary(prior, prompt)
    pixels = imagine_picture(prompt, prior, how, options.seed).numpy()
    photo = photo_of(
        pixels,
        "the imagined picture",
        {"size": f"imagined, {pixels.shape[1]} x {pixels.shape[0]}"},
        BorderSegmenter(),
    )
    view = None
    if prior.facts.camera is not None:
        view = Viewpoint(math.radians(how.azimuth), math.radians(how.elevation), 0.8, 1.0)
    content = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    given = InputImage(photo, "imagined", prompt or "anything", content, view, prior)
    return reconstruct_photo(given, config, replace(options, prompt=prompt))


def reconstruct_photo(
    image: InputImage, config: PictureSystem, options: ReconstructOptions
) -> RunResult:
    """Shape, colours and asset of a picture."""
    photo, prior = image.photo, image.prior
    if prior is None and (config.colour.complete == "paint" or config.wants_prior):
        prior = load_prior(options)
    if prior is not None and options.prompt:
        check_vocabulary(prior, options.prompt)
    planned = keep_memory(options.memory, config, prior)
    folder = run_folder(f"{image.name} {options.system}", options)
    events = Events(folder / "events.jsonl", options.verbosity)
    facts = {
        "verb": "reconstruct",
        "picture": image.source,
        "prompt": options.prompt,
        "system": options.system,
        "preset": options.preset,
        "prior": options.prior,
        "seed": options.seed,
    }
    text = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
    if not options.resume:
        write_atomically(folder / "run.yaml", text.encode())
    events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
    tell(planned, events)
    for name, note in photo.notes.items():
        events.record("picture", part=name, note=note)
        if "nothing stood out" in note:
            events.say(f"Warning: {note}. Cut the object out, or give a picture with alpha.")
    prompt = options.prompt
    if prior is not None and not prompt:
        prompt = guess_caption(photo, config.twin)
    events.record("prompt", text=prompt, guessed=not options.prompt)
    identity = {**facts, "picture content": image.content, "config": without_plan(to_dict(config))}

    def run(plans: list[StagePlan]) -> dict[str, Stage]:
        warm_kernels(events, options.device)
        (folder / "shape" / "work").mkdir(parents=True, exist_ok=True)
        return run_loop(folder / "shape", events, options, identity).run(plans)

    request = PictureRequest(
        photo=photo,
        prompt=prompt,
        prior=prior or AbsentPrior(),
        seed=options.seed,
        limits=limits_from(planned),
        events=events,
        view=image.view,
        said=bool(options.prompt),
    )
    plans = config.plans(request)
    found = config.result(request, run(plans) if plans else {})
    events.record(
        "shape",
        azimuth=found.pose.azimuth,
        elevation=found.pose.elevation,
        agreement=found.pose.agreement,
        rival=found.pose.rival,
        candidates=found.agreements,
    )
    if found.voxels is not None:
        with new_file(folder / "work" / "voxels.npy") as path:
            np.save(path, (found.voxels * 255).astype(np.uint8))
    mesh, how = unwrap(found.mesh, options.export.texture, options.export.unwrap_seconds)
    atlas = join_atlas(Asset({"object": mesh.with_normals()}), options.export.texture)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    coloured = lay_back(surface, photo, found.pose, found.poses, config.colour)
    painted, stages = None, {}
    if config.colour.complete == "paint":
        assert prior is not None
        plans, painted = completion_plans(
            coloured, atlas, prompt, prior, config.colour, options.seed
        )
        warm_kernels(events, options.device)
        stages = run_loop(folder, events, options, identity).run(plans)
    done = completed(coloured, config.colour, painted, stages, found.colour)
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
    return finish_reconstruction(
        folder, events, photo, found, done, config, options, facts, text, figures
    )


def share(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Share of the texels of `whole` (R, R) bool that are in `part`."""
    return float((part & whole).sum() / whole.sum().clamp_min(1))


def finish_reconstruction(
    folder: Path,
    events: Events,
    photo: Photo,
    found: ShapeFound,
    surface: TexturedMesh,
    config: PictureSystem,
    options: ReconstructOptions,
    facts: dict[str, Any],
    text: str,
    figures: dict[str, Any],
) -> RunResult:
    """Write, verify and report; the report shows the picture beside the asset from the same
    side."""
    began = time.monotonic()
    events.status("asset: writing, verifying", force=True)
    texture = surface.padded()[0].detach().permute(1, 2, 0).clamp(0, 1)
    provenance = {k: facts[k] for k in ("picture", "system", "preset", "prior", "seed")}
    provenance["generator"] = "threestudio_like 0.1.0"
    asset = textured_asset(
        surface.atlas, np.rint(texture.numpy() * 255).astype(np.uint8), provenance
    )
    ring = RingCameras(
        count=8, elevation=15.0, distance=found.poses.distance, fov_y=found.poses.fov_y
    )
    pictures = beside(photo, asset, found)
    title = (
        figures["prompt"]
        if facts["prompt"] or config.colour.complete == "paint"
        else Path(facts["picture"]).stem
    )
    return deliver(
        folder,
        events,
        began,
        figures,
        Delivery(title, asset, ring, text, options.turntable, pictures=pictures),
    )


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
    cut = matching_cut(asset.mesh, found.pose, poses, box)
    colours, alpha = photo.colours(size, cut)
    given = (colours * alpha[..., None] + 0.96 * (1 - alpha[..., None]))[0].numpy()
    camera = found.pose.camera(poses, size)
    drawn = render_asset(asset, camera.view_projection().numpy(), size, 0.96).image[0]
    clay = render_asset(
        Asset({"object": found.mesh}), camera.view_projection().numpy(), size, 0.96
    ).image[0]
    original = (photo.original.clip(0, 1) * 255).astype(np.uint8)
    row = np.concatenate([given, drawn, clay], 1)
    return {
        "The picture": original,
        "Cut out; the asset from the same side; its shape": (row.clip(0, 1) * 255).astype(np.uint8),
    }
