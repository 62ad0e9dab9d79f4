"""The mesh that is painted: read and made ready, its present texels, those that are locked, and the
mesh with its new maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import InputError, did_you_mean
from ...meshes.atlas import Atlas, join_atlas, paint_tiles, with_coordinates
from ...meshes.bake import atlas_raster
from ...meshes.frames import CANONICAL, Frame, Normalisation, from_canonical, to_canonical
from ...meshes.io.images import decode
from ...meshes.mesh import Asset, Material, Mesh
from ...stages.painting import SurfaceModel


@dataclass(frozen=True, kw_only=True)
class SubjectOptions:
    """How a mesh is read and what of it stays.

    frame: axes and unit of the file. unwrap: auto keeps texture coordinates that are a proper atlas
    and makes new ones elsewhere; keep keeps any; always makes all anew. lock: a mask over the
    texture coordinates; bright texels keep their colour. lock_parts: names of parts or materials
    that keep
    theirs. drop_textures: leaves the file's own pictures alone. texels: edge of the texture,
        pixels.
    unwrap_seconds: time limit of xatlas.
    """

    frame: Frame = CANONICAL
    unwrap: Literal["auto", "keep", "always"] = "auto"
    lock: Path | None = None
    lock_parts: tuple[str, ...] = ()
    drop_textures: bool = False
    texels: int = 512
    unwrap_seconds: float = 20.0


@dataclass
class Subject:
    """The mesh that is painted: as it was read (with texture coordinates), in the canonical frame,
    and its joint atlas in the scene's frame."""

    raw: Asset
    canonical: Asset
    atlas: Atlas
    placement: Normalisation
    notes: dict[str, str] = field(default_factory=dict)

    def shown(self, asset: Asset) -> Asset:
        """An asset in the canonical frame where the cameras look."""
        meshes = {
            k: replace(m, vertices=self.placement.apply(m.vertices))
            for k, m in asset.meshes.items()
        }
        return asset.with_meshes(meshes)

    def moved(self, vertices: torch.Tensor, options: SubjectOptions) -> Subject:
        """The subject with the joint atlas' vertices (V, 3) of the scene at other places, and
        normals to match."""
        ends = np.cumsum([len(m.vertices) for m in self.canonical.meshes.values()])[:-1]
        pieces = np.split(self.placement.undo(vertices.detach().numpy()), ends)
        meshes = {
            name: replace(mesh, vertices=points).with_creases()
            for (name, mesh), points in zip(self.canonical.meshes.items(), pieces)
        }
        canonical = self.canonical.with_meshes(meshes)
        return replace(self, raw=from_canonical(canonical, options.frame), canonical=canonical)


def read_subject(path: Path, options: SubjectOptions, kind: str) -> Subject:
    """Read a mesh and make it ready to be painted. Raises InputError, ConfigError."""
    raw = Asset.load(path, None, not options.drop_textures)
    raw, notes = with_coordinates(raw, options.texels, options.unwrap, options.unwrap_seconds)
    raw = raw.with_meshes(
        {k: m if m.normals is not None else m.with_creases() for k, m in raw.meshes.items()}
    )
    canonical = to_canonical(raw, options.frame)
    atlas = join_atlas(canonical, options.texels)
    points = atlas.mesh.vertices
    placement = (
        Normalisation.of_mean(points, 0.6, (0.0, 0.25, 0.0))
        if kind == "mean"
        else Normalisation.of(points)
    )
    atlas.mesh = replace(atlas.mesh, vertices=placement.apply(points))
    return Subject(raw, canonical, atlas, placement, notes)


def present_texture(subject: Subject) -> torch.Tensor:
    """The joint atlas' texels as the mesh has them now, (3, R, R) in [0, 1]: its textures, its
    materials' colours, or mid grey."""
    atlas, size = subject.atlas, subject.atlas.resolution
    out = torch.full((3, size, size), 0.5)
    for mesh, tile in zip(subject.canonical.meshes.values(), atlas.tiles):
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


def locked_texels(subject: Subject, options: SubjectOptions) -> torch.Tensor | None:
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
        face = atlas_raster(atlas.mesh, atlas.resolution)[..., 3].long() - 1
        part = torch.from_numpy(atlas.part.astype(np.int64))[face.clamp_min(0)]
        locked |= (face >= 0) & torch.from_numpy(chosen)[part]
    return locked if bool(locked.any()) else None


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
    return result.with_meshes(meshes)
