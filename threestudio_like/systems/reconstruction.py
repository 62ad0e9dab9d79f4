"""`reconstruct`: one picture in, an asset out."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint import write_atomically
from ..engine.errors import ConfigError
from ..engine.events import Events
from ..meshes.atlas import Atlas, join_atlas, paint_tiles
from ..meshes.mesh import Asset, Material, Mesh
from ..meshes.picture import render_asset
from ..meshes.unwrap import unwrap
from ..priors.contrastive import BACKGROUND, Contrastive
from ..priors.framing import boxes
from ..priors.segmenter import BorderSegmenter
from ..renderers import RingCameras
from ..representations import TexturedMesh
from ..toybox.vocabulary import CATEGORIES, COLOURS, MODES, Phrase
from ..toybox.world import describe
from .cisp import CispConfig, CispReconstruction, ShapeFound, load_models, reconstruct_shape, weights_folder
from .delivery import Delivery, RunResult, deliver
from .folders import run_folder
from .options import Options, check_options, check_vocabulary
from .photo import Photo, read_photo
from .pose import PoseConfig, matching_cut
from .projection import completed, completion_plans, lay_back
from .run import configure, load_prior, run_loop, warm_kernels
from .settings import to_dict, write_yaml


@dataclass
class ReconstructOptions(Options):
    """What `reconstruct` takes besides."""

    system: str = "cisp"
    prompt: str = ""
    """What the picture shows, for the painting of what it does not show; guessed by the caption model where empty."""


def reconstruct(picture: Path, options: ReconstructOptions) -> RunResult:
    """Make an asset of a picture of one object.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    check_options(options.prompt or "a thing", options)
    config: CispReconstruction = configure(
        options, "default" if options.preset == "auto" else options.preset, verb="reconstruct"
    )
    if config.resolution:
        raise ConfigError("has no say in how large the model's voxel grid is", "--resolution", "Leave it out")
    photo = read_photo(picture, BorderSegmenter())
    load_models(config.shape.embedding, config.shape.models)
    prior = load_prior(options) if config.colour.complete == "paint" else None
    if prior is not None and options.prompt:
        check_vocabulary(prior, options.prompt)
    folder = run_folder(f"{picture.stem} {options.system}", options)
    events = Events(folder / "events.jsonl", options.verbosity)
    facts = {"verb": "reconstruct", "picture": str(picture), "prompt": options.prompt, "system": options.system, "preset": options.preset,
             "prior": options.prior, "seed": options.seed}  # fmt: skip
    text = write_yaml({**facts, "config": to_dict(config), "export": to_dict(options.export)})
    if not options.resume:
        write_atomically(folder / "run.yaml", text.encode())
    events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
    for name, note in photo.notes.items():
        events.record("picture", part=name, note=note)
        if "nothing stood out" in note:
            events.say(f"Warning: {note}. Cut the object out, or give a picture with alpha.")
    warm_kernels(events)
    events.status("shape: sampling voxels under the picture's embedding", force=True)
    found = reconstruct_shape(photo, config.shape, options.seed, events)
    events.record("shape", azimuth=found.pose.azimuth, elevation=found.pose.elevation, agreement=found.pose.agreement,
                  rival=found.pose.rival, candidates=found.agreements)  # fmt: skip
    np.save(folder / "work" / "voxels.npy", (found.voxels * 255).astype(np.uint8))
    mesh, how = unwrap(found.mesh, options.export.texture, options.export.unwrap_seconds)
    atlas = join_atlas(Asset({"object": mesh.with_normals()}), options.export.texture)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    coloured = lay_back(surface, photo, found.pose, config.shape.pose, config.colour)
    request, stages = None, {}
    prompt = options.prompt
    if prior is not None:
        prompt = prompt or guess_caption(photo, config.shape)
        events.record("prompt", text=prompt, guessed=not options.prompt)
        content = hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
        plans, request = completion_plans(coloured, atlas, prompt, prior, config.colour, options.seed)
        stages = run_loop(
            folder, events, options, {**facts, "picture content": content, "config": to_dict(config)}
        ).run(plans)
    done = completed(coloured, config.colour, request, stages)
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
        "prompt for the rest": prompt or "none: filled from neighbours",
    }
    return finish_reconstruction(folder, events, photo, found, done, config, options, facts, text, figures)


def share(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Share of the texels of `whole` (R, R) bool that are in `part`."""
    return float((part & whole).sum() / whole.sum().clamp_min(1))


@torch.no_grad()
def guess_caption(photo: Photo, config: CispConfig) -> str:
    """The toybox caption that CISP's twin holds nearest to the picture."""
    from .shape_training import tokenizer_of

    folder = Path(config.models) / "clip" if config.models else weights_folder() / "clip"
    twin = Contrastive.load(folder)
    captions = [describe(Phrase(c, k, MODES.get(c, (None,))[0])) for c in CATEGORIES for k in COLOURS]
    ids = tokenizer_of(folder)(
        captions, padding="max_length", max_length=twin.config.text.tokens, truncation=True, return_tensors="pt"
    ).input_ids
    image = torch.nn.functional.normalize(twin.embed(photo.framed(twin.config.image.size, BACKGROUND)), dim=-1)
    text = torch.nn.functional.normalize(twin.embed_other(ids), dim=-1)
    return captions[int((image @ text.t()).argmax())]


def finish_reconstruction(
    folder: Path, events: Events, photo: Photo, found: ShapeFound, surface: TexturedMesh, config: CispReconstruction,
    options: ReconstructOptions, facts: dict[str, Any], text: str, figures: dict[str, Any],
) -> RunResult:  # fmt: skip
    """Write, verify and report; the report shows the picture beside the asset from the same side."""
    began = time.monotonic()
    events.status("asset: writing, verifying", force=True)
    texture = surface.filled()[0].detach().permute(1, 2, 0).clamp(0, 1)
    provenance = {k: facts[k] for k in ("picture", "system", "preset", "prior", "seed")}
    provenance["generator"] = "threestudio_like 0.1.0"
    asset = textured_asset(surface.atlas, np.rint(texture.numpy() * 255).astype(np.uint8), provenance)
    poses = config.shape.pose
    ring = RingCameras(8, 15.0, poses.distance, poses.fov_y)
    pictures = beside(photo, asset, found, poses)
    title = (
        facts["prompt"] or figures["prompt for the rest"]
        if config.colour.complete == "paint"
        else Path(facts["picture"]).stem
    )
    return deliver(
        folder, events, began, figures, Delivery(title, asset, ring, text, options.turntable, pictures=pictures)
    )


def textured_asset(atlas: Atlas, texture: np.ndarray, provenance: dict[str, Any]) -> Asset:
    """One mesh with its painted atlas (R, R, 3) uint8."""
    mesh = Mesh(atlas.mesh.vertices, atlas.mesh.faces, uv=atlas.mesh.uv, normals=atlas.mesh.normals)
    painted = paint_tiles(
        Asset({"object": replace(mesh, material=Material("object", roughness=0.9))}), atlas, atlas.cut(texture)
    )
    return Asset(painted.meshes, provenance)


def beside(photo: Photo, asset: Asset, found: ShapeFound, poses: PoseConfig, size: int = 256) -> dict[str, np.ndarray]:
    """Pictures for the report: the given one, its object cut out, and the asset from the camera that was found."""
    box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    cut = matching_cut(asset.mesh, found.pose, poses, box)
    colours, alpha = photo.colours(size, cut)
    given = (colours * alpha[..., None] + 0.96 * (1 - alpha[..., None]))[0].numpy()
    camera = found.pose.camera(poses, size)
    drawn = render_asset(asset, camera.view_projection().numpy(), size, 0.96).image[0]
    clay = render_asset(Asset({"object": found.mesh}), camera.view_projection().numpy(), size, 0.96).image[0]
    original = (photo.original.clip(0, 1) * 255).astype(np.uint8)
    row = np.concatenate([given, drawn, clay], 1)
    return {
        "The picture": original,
        "Cut out; the asset from the same side; its shape": (row.clip(0, 1) * 255).astype(np.uint8),
    }
