"""`texture`: a mesh of the user's in, the same mesh with a texture out; positions, coordinates,
parts and names stay as they were."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.checkpoint import write_atomically
from ..engine.config import to_dict, write_yaml
from ..engine.errors import InputError, did_you_mean
from ..engine.events import Events
from ..meshes.atlas import Atlas, join_atlas, paint_tiles, with_coordinates
from ..meshes.frames import Normalisation, from_canonical, to_canonical
from ..meshes.io.images import decode
from ..meshes.mesh import Asset, Material, Mesh
from ..renderers import RingCameras
from ..reports import contact_sheet, save_png
from ..runs.delivery import Delivery, RunResult, deliver
from ..runs.memory_budget import keep_memory, tell
from ..runs.options import TextureOptions, check_options, check_vocabulary
from ..runs.session import (
    choose_preset,
    configure,
    join_ranks,
    load_prior,
    meet,
    parts_of,
    run_loop,
    warm_kernels,
)
from ..stages.painting import SurfaceModel, fill_unseen
from ..systems.texturing.latent_paint import LatentPaint, PaintRequest


@dataclass
class Subject:
    """The mesh that is painted: as it was read (with texture coordinates), in the house's axes, and
    its joint atlas in the scene's frame."""

    raw: Asset
    house: Asset
    atlas: Atlas
    placement: Normalisation
    notes: dict[str, str] = field(default_factory=dict)

    def shown(self, asset: Asset) -> Asset:
        """An asset of the house's axes where the cameras look."""
        meshes = {
            k: replace(m, vertices=self.placement.apply(m.vertices))
            for k, m in asset.meshes.items()
        }
        return Asset(meshes, asset.provenance)

    def moved(self, vertices: torch.Tensor, options: TextureOptions) -> Subject:
        """The subject with the joint atlas' vertices (V, 3) of the scene at other places, and
        normals to match."""
        ends = np.cumsum([len(m.vertices) for m in self.house.meshes.values()])[:-1]
        pieces = np.split(self.placement.undo(vertices.detach().numpy()), ends)
        meshes = {
            name: replace(mesh, vertices=points).with_creases()
            for (name, mesh), points in zip(self.house.meshes.items(), pieces)
        }
        house = Asset(meshes, self.house.provenance)
        return replace(self, raw=from_canonical(house, options.frame), house=house)


def read_subject(path: Path, options: TextureOptions, kind: str) -> Subject:
    """Read a mesh and make it ready to be painted. Raises InputError, ConfigError."""
    raw = Asset.load(path, None, not options.drop_textures)
    raw, notes = with_coordinates(
        raw, options.export.texture, options.unwrap, options.export.unwrap_seconds
    )
    raw = Asset(
        {k: m if m.normals is not None else m.with_creases() for k, m in raw.meshes.items()},
        raw.provenance,
    )
    house = to_canonical(raw, options.frame)
    atlas = join_atlas(house, options.export.texture)
    points = atlas.mesh.vertices
    placement = (
        Normalisation.of_mean(points, 0.6, (0.0, 0.25, 0.0))
        if kind == "mean"
        else Normalisation.of(points)
    )
    atlas.mesh = replace(atlas.mesh, vertices=placement.apply(points))
    return Subject(raw, house, atlas, placement, notes)


def present_texture(subject: Subject) -> torch.Tensor:
    """The joint atlas' texels as the mesh has them now, (3, R, R) in [0, 1]: its textures, its
    materials' colours, or mid grey."""
    atlas, size = subject.atlas, subject.atlas.resolution
    out = torch.full((3, size, size), 0.5)
    for mesh, tile in zip(subject.house.meshes.values(), atlas.tiles):
        row, column = atlas.corner(tile)
        if mesh.texture is not None:
            picture = torch.from_numpy(mesh.texture[..., :3].astype(np.float32) / 255).permute(
                2, 0, 1
            )[None]
            sized = F.interpolate(
                picture,
                (atlas.tile, atlas.tile),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )[0]
        elif mesh.material is not None:
            sized = (
                torch.tensor(mesh.material.colour[:3])
                .view(3, 1, 1)
                .expand(-1, atlas.tile, atlas.tile)
            )
        else:
            continue
        out[:, row : row + atlas.tile, column : column + atlas.tile] = sized
    return out


def locked_texels(subject: Subject, options: TextureOptions) -> torch.Tensor | None:
    """The texels (R, R) bool that keep their colour, or None. Raises InputError on a mask that
    cannot be read or a part that is not there."""
    atlas = subject.atlas
    locked = torch.zeros(atlas.resolution, atlas.resolution, dtype=torch.bool)
    if options.lock is not None:
        if not options.lock.is_file():
            raise InputError(
                "there is no such mask",
                str(options.lock),
                "Give a black and white picture over the texture coordinates",
            )
        picture = (
            decode(options.lock.read_bytes(), str(options.lock))[..., :3]
            .astype(np.float32)
            .mean(-1)
        )
        mask = (
            F.interpolate(
                torch.from_numpy(picture)[None, None], (atlas.tile, atlas.tile), mode="nearest"
            )[0, 0]
            > 127
        )
        for tile in set(atlas.tiles):
            row, column = atlas.corner(tile)
            locked[row : row + atlas.tile, column : column + atlas.tile] |= mask
    if options.lock_parts:
        names = {
            n
            for k, m in subject.raw.meshes.items()
            for n in (k, m.part, m.material.name if m.material else "")
            if n
        }
        for wanted in options.lock_parts:
            if wanted not in names:
                raise InputError(
                    f'has no part or material "{wanted}"',
                    "--lock-parts",
                    did_you_mean(wanted, names),
                )
        chosen = np.array(
            [
                bool({k, m.part, m.material.name if m.material else ""} & set(options.lock_parts))
                for k, m in subject.raw.meshes.items()
            ]
        )
        from ..meshes.bake import atlas_raster

        face = atlas_raster(atlas.mesh, atlas.resolution)[..., 3].long() - 1
        part = torch.from_numpy(atlas.part.astype(np.int64))[face.clamp_min(0)]
        locked |= (face >= 0) & torch.from_numpy(chosen)[part]
    return locked if bool(locked.any()) else None


def texture(mesh: Path, prompt: str, options: TextureOptions) -> RunResult:
    """Paint a mesh by a prompt.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    check_options(prompt, options)
    workers, options = join_ranks(options)
    configure(options, "default" if options.preset == "auto" else options.preset, verb="texture")
    if not mesh.is_file():
        raise InputError("there is no such file", str(mesh), "Give the path of a mesh")
    prior = load_prior(options)
    check_vocabulary(prior, prompt)
    preset = choose_preset(options, prior)
    config: LatentPaint = configure(options, preset, verb="texture")
    planned = keep_memory(options.memory, config, prior, parts_of(options, workers))
    subject = read_subject(mesh, options, config.placement)
    locked = locked_texels(subject, options)
    request = PaintRequest(
        prompt=prompt,
        prior=prior,
        seed=options.seed,
        atlas=subject.atlas,
        texture=present_texture(subject),
        locked=locked,
    )
    plans = config.plans(request)
    folder = meet(workers, plans, options, f"{prompt} {mesh.stem}")
    events = Events(folder / "events.jsonl", options.verbosity)
    facts = {
        "verb": "texture",
        "prompt": prompt,
        "mesh": str(mesh),
        "system": options.system,
        "preset": preset,
        "prior": options.prior,
        "seed": options.seed,
    }
    choices = {
        "frame": to_dict(options.frame),
        "unwrap": options.unwrap,
        "lock": to_dict(options.lock),
        "lock_parts": list(options.lock_parts),
    }
    text = write_yaml(
        {**facts, **choices, "config": to_dict(config), "export": to_dict(options.export)}
    )
    if not options.resume:
        write_atomically(folder / "run.yaml", text.encode())
    events.record("begin", resume=options.resume, threads=torch.get_num_threads(), **facts)
    for name, note in subject.notes.items():
        events.record("texture coordinates", part=name, note=note)
        if "unwrapped" in note and not note.startswith("no texture coordinates"):
            events.say(f'Texture coordinates of "{name}": {note}. Use --unwrap keep to keep them.')
        elif options.unwrap == "keep" and "a proper atlas" not in note:
            events.say(f'Warning: texture coordinates of "{name}": {note}.')
    tell(planned, events)
    warm_kernels(events, options.device)
    # A run is resumed on the mesh that it was begun on, not on one that has its name.
    content = hashlib.sha256(mesh.read_bytes()).hexdigest()[:16]
    identity = {**facts, **choices, "mesh content": content, "config": to_dict(config)}
    stages = run_loop(folder, events, options, identity, workers).run(plans)
    if workers is not None:
        workers.close()
    parts = config.result(request, stages)
    visible = config.seen(parts.surface, request) > 0.05
    if "rgb" in stages and parts.surface.channels == 5:
        # The atlas before the light was taken out of it, for comparison.
        shown = (
            config.rgb_parts(request, stages)
            .surface.padded()[0]
            .detach()
            .permute(1, 2, 0)
            .clamp(0, 1)
        )
        save_png(np.rint(shown.numpy() * 255).astype(np.uint8), folder / "work" / "atlas-rgb.png")
    return finish_texture(folder, events, subject, parts, visible, locked, options, facts, text)


def texel_maps(parts: SurfaceModel) -> tuple[np.ndarray, np.ndarray | None]:
    """The painted atlas: base colour (R, R, 3) uint8, and roughness and metallic (R, R, 3) uint8 as
    glTF packs them, where they say something."""
    shown = parts.surface.padded()[0].detach().permute(1, 2, 0)
    base = parts.decode(shown if parts.surface.channels != 5 else shown[..., :3])
    colour = np.rint(base.clamp(0, 1).numpy() * 255).astype(np.uint8)
    if parts.surface.channels != 5:
        return colour, None
    surface = shown[..., 3:].clamp(0, 1)
    if float((surface - torch.tensor([0.9, 0.0])).abs().max()) < 0.02:
        return colour, None
    packed = torch.stack([torch.ones_like(surface[..., 0]), surface[..., 0], surface[..., 1]], -1)
    return colour, np.rint(packed.numpy() * 255).astype(np.uint8)


def painted(asset: Asset, atlas: Atlas, colour: np.ndarray, packed: np.ndarray | None) -> Asset:
    """The asset with the painted maps; materials keep their names and what no map replaces.
    Materials that were shared stay shared."""
    result = paint_tiles(asset, atlas, atlas.cut(colour))
    surfaces = atlas.cut(packed) if packed is not None else None
    materials: dict[Any, Material] = {}
    meshes: dict[str, Mesh] = {}
    for (name, mesh), tile in zip(result.meshes.items(), atlas.tiles):
        mark = (id(mesh.material) if mesh.material is not None else name, tile)
        if mark not in materials:
            old = mesh.material or Material(name)
            white = (1.0, 1.0, 1.0, old.colour[3])
            if surfaces is None:
                materials[mark] = replace(
                    old, colour=white, roughness=0.9, metallic=0.0, metallic_roughness=None
                )
            else:
                materials[mark] = replace(
                    old,
                    colour=white,
                    roughness=1.0,
                    metallic=1.0,
                    metallic_roughness=surfaces[tile],
                )
        meshes[name] = replace(mesh, material=materials[mark], colours=None)
    return Asset(meshes, result.provenance)


def finish_texture(
    folder: Path,
    events: Events,
    subject: Subject,
    parts: SurfaceModel,
    visible: torch.Tensor,
    locked: torch.Tensor | None,
    options: TextureOptions,
    facts: dict[str, Any],
    text: str,
) -> RunResult:
    """Fill what no camera saw, write the mesh in its own format and as GLB, verify and report."""
    began = time.monotonic()
    events.status("asset: filling unseen texels, writing, verifying", force=True)
    surface = parts.surface
    with torch.no_grad():
        surface.texels[0].copy_(fill_unseen(surface, visible, locked))
    before = subject.shown(subject.house)
    largest = 0.0
    if surface.offsets is not None:
        largest = float(surface.offsets.detach().abs().max())
        subject = subject.moved(surface.vertices(), options)
    charts = surface.charts
    lost = charts & ~visible if locked is None else charts & ~visible & ~locked
    colour, packed = texel_maps(parts)
    lit = surface.channels == 5
    provenance = {k: facts[k] for k in ("prompt", "system", "preset", "prior", "seed")}
    provenance.update({"generator": "threestudio_like 0.1.0", "lit": lit})
    raw = painted(subject.raw, subject.atlas, colour, packed)
    house = to_canonical(raw, options.frame)
    raw.provenance = house.provenance = provenance
    figures: dict[str, Any] = {
        "faces": len(subject.atlas.mesh.faces),
        "parts": len(subject.raw.meshes),
        "texels": int(charts.sum()),
        "texels seen": float((visible & charts).sum() / charts.sum().clamp_min(1)),
        "texels unseen, filled from neighbours": int(lost.sum()),
        "texels locked": 0 if locked is None else int((locked & charts).sum()),
        "seam error": surface.seam_error(),
        **({"largest offset, scene units": largest} if surface.offsets is not None else {}),
        "texture coordinates": "; ".join(sorted(set(subject.notes.values()))),
    }
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
    if kind == ".obj" or (kind in (".glb", ".gltf") and not options.frame.plain):
        # In the user's own frame and units, with the positions that were read.
        own = ("asset.obj" if kind == ".obj" else "asset-own-frame.glb", raw, options.frame)
    work = Delivery(
        facts["prompt"],
        house,
        ring,
        text,
        options.turntable,
        subject.placement.apply,
        subject.shown(house),
        parts.light if lit else None,
        own,
        pictures,
    )
    return deliver(folder, events, began, figures, work)
