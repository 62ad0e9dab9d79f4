"""The mesh that is painted: the asset as it was read, every mesh of it with coordinates that can be
painted on, its present texels, and which of them are locked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import InputError, did_you_mean
from ...meshes.frames import CANONICAL, Frame, Normalisation, from_canonical, to_canonical
from ...meshes.io.images import decode
from ...meshes.mesh import Asset, Mesh
from ...meshes.texture.atlas import Atlas, join_atlas
from ...meshes.texture.bake import atlas_raster
from ...meshes.texture.coordinates import vertex_mapping, with_coordinates
from ...meshes.texture.look import TexelPlaces, lost_normal_map, resized


@dataclass(frozen=True, kw_only=True)
class SubjectOptions:
    """How a mesh is read and what of it stays.

    frame: axes and unit of the file. unwrap: auto keeps texture coordinates that are a proper atlas
    and makes new ones elsewhere; keep keeps any; always makes all anew. parts: names of parts or
    materials that are painted, all if there are none. lock: a mask over the texture coordinates;
    bright texels keep their colour. lock_parts: names of parts or materials that are not painted.
    drop_textures: leaves the file's own pictures alone. maps: whether roughness and metallic of the
    file stay ("keep"), are painted ("paint"), or stay where the file has them ("auto"). texels:
    edge of the texture, pixels. unwrap_seconds: time limit of xatlas.
    """

    frame: Frame = CANONICAL
    unwrap: Literal["auto", "keep", "always"] = "auto"
    parts: tuple[str, ...] = ()
    lock: Path | None = None
    lock_parts: tuple[str, ...] = ()
    drop_textures: bool = False
    maps: Literal["auto", "keep", "paint"] = "auto"
    texels: int = 512
    unwrap_seconds: float = 20.0


@dataclass
class Subject:
    """The mesh that is painted.

    file: the asset as it was read, in the axes and the unit of its file. raw: the same with
    coordinates on every mesh that can be painted on. canonical: `raw` in the canonical frame.
    atlas: the joint atlas, in the scene's frame. placement: into that frame. painted: the names of
    the meshes that are painted. notes: on the coordinates of each mesh. mask: over the texture
    coordinates (H, W) bool, or None.
    """

    file: Asset
    raw: Asset
    canonical: Asset
    atlas: Atlas
    placement: Normalisation
    painted: frozenset[str]
    notes: dict[str, str] = field(default_factory=dict)
    mask: np.ndarray | None = None
    moved_vertices: bool = False
    _places: dict[str, TexelPlaces] = field(default_factory=dict)

    def shown(self, asset: Asset) -> Asset:
        """An asset in the canonical frame where the cameras look."""
        return asset.with_meshes(
            {
                k: replace(m, vertices=self.placement.apply(m.vertices))
                for k, m in asset.meshes.items()
            }
        )

    def places(self, name: str) -> TexelPlaces:
        """Where the texels of a mesh's tile lie on the mesh as it was read."""
        if name not in self._places:
            size = self.atlas.tile_of(name).size
            self._places[name] = TexelPlaces(self.file.meshes[name], self.raw.meshes[name], size)
        return self._places[name]

    def lays_out_maps(self, name: str) -> bool:
        """Whether a mesh's maps besides the base colour have to be laid out anew: its coordinates
        are, and its file cannot keep the old ones beside them, as glTF does."""
        source = self.file.source
        return (source is None or source.kind != "gltf") and not self.places(name).kept

    def as_read(self) -> Asset:
        """The file's asset with its own look, on the vertices that the painted one will have: the
        two differ in their textures alone, and a page holds the rest once."""
        meshes: dict[str, Mesh] = {}
        for name, own in self.file.meshes.items():
            raw = self.raw.meshes[name]
            if name not in self.painted or self.places(name).kept:
                meshes[name] = own
                continue
            mapping = vertex_mapping(own, raw)
            meshes[name] = replace(
                raw,
                uv=None if own.uv is None else own.uv[mapping],
                colours=None if own.colours is None else own.colours[mapping],
                texture=own.texture,
                material=own.material,
            )
        return self.file.with_meshes(meshes)

    def moved(self, vertices: torch.Tensor, options: SubjectOptions) -> Subject:
        """The subject with the joint atlas' vertices (V, 3) of the scene at other places, and
        normals to match; meshes that are not painted stay."""
        ends = np.cumsum([len(m.vertices) for m in self.canonical.meshes.values()])[:-1]
        pieces = np.split(self.placement.undo(vertices.detach().numpy()), ends)
        meshes = {
            name: replace(mesh, vertices=points).with_creases() if name in self.painted else mesh
            for (name, mesh), points in zip(self.canonical.meshes.items(), pieces)
        }
        canonical = self.canonical.with_meshes(meshes)
        raw = from_canonical(canonical, options.frame)
        return replace(self, raw=raw, canonical=canonical, moved_vertices=True)


def read_subject(path: Path, options: SubjectOptions, kind: str) -> Subject:
    """Read a mesh and make it ready to be painted. Raises InputError, ConfigError."""
    file = Asset.load(path, None, not options.drop_textures)
    if options.drop_textures:
        file = _without_textures(file)
    painted = chosen_meshes(file, options)
    raw, notes = with_coordinates(
        file, options.texels, options.unwrap, seconds=options.unwrap_seconds
    )
    raw = raw.with_meshes(
        {k: m if m.normals is not None else m.with_creases() for k, m in raw.meshes.items()}
    )
    canonical = to_canonical(raw, options.frame)
    atlas = join_atlas(canonical, options.texels, set(file.meshes) - painted)
    points = atlas.mesh.vertices
    placement = (
        Normalisation.of_mean(points, 0.6, (0.0, 0.25, 0.0))
        if kind == "mean"
        else Normalisation.of(points)
    )
    atlas.mesh = replace(atlas.mesh, vertices=placement.apply(points))
    mask = _read_mask(options.lock) if options.lock is not None else None
    subject = Subject(
        file,
        raw,
        canonical,
        atlas=atlas,
        placement=placement,
        painted=painted,
        notes=notes,
        mask=mask,
    )
    for name in sorted(painted):
        material = file.meshes[name].material
        if material is None or material.normal_map is None or not subject.lays_out_maps(name):
            continue
        note = lost_normal_map(material.name)
        if note not in file.notes:
            file.notes.append(note)
    return subject


def _without_textures(asset: Asset) -> Asset:
    return asset.with_meshes({k: replace(m, texture=None) for k, m in asset.meshes.items()})


def chosen_meshes(asset: Asset, options: SubjectOptions) -> frozenset[str]:
    """The names of the meshes that are painted. Raises InputError for a part or material that is
    not there, and where nothing is left."""
    names = {n for k, m in asset.meshes.items() for n in names_of(k, m)}
    for flag, given in (("--parts", options.parts), ("--lock-parts", options.lock_parts)):
        for wanted in given:
            if wanted not in names:
                raise InputError(
                    f'there is no part or material "{wanted}"', flag, did_you_mean(wanted, names)
                )
    painted = frozenset(
        k
        for k, m in asset.meshes.items()
        if (not options.parts or names_of(k, m) & set(options.parts))
        and not names_of(k, m) & set(options.lock_parts)
    )
    if not painted:
        raise InputError(
            "no part is left to be painted", "--parts, --lock-parts", "Name fewer locked parts"
        )
    return painted


def names_of(key: str, mesh: Mesh) -> set[str]:
    """The names by which a mesh of an asset is chosen: its own, its part's, its material's."""
    return {n for n in (key, mesh.part, mesh.material.name if mesh.material else "") if n}


def _read_mask(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(
            "there is no such mask",
            str(path),
            "Give a black and white picture over the texture coordinates",
        )
    picture = decode(path.read_bytes(), str(path))[..., :3].astype(np.float32).mean(-1)
    return np.asarray(picture > 127)


def present_texture(subject: Subject) -> torch.Tensor:
    """The joint atlas' texels as the mesh has them now, (3, R, R) in [0, 1]: its textures, vertex
    and material colours, or mid grey."""
    atlas = subject.atlas
    out = np.full((atlas.resolution, atlas.resolution, 3), 0.5, np.float32)
    written: dict[int, np.ndarray] = {}
    for name, number in zip(atlas.names, atlas.tiles):
        tile, places = atlas.places[number], subject.places(name)
        look = places.look()[..., :3]
        if number not in written:
            out[tile.rows, tile.columns] = look
            written[number] = places.known
        else:
            out[tile.rows, tile.columns][places.known] = look[places.known]
    return torch.from_numpy(out).permute(2, 0, 1).contiguous()


def cut_out_alpha(subject: Subject) -> torch.Tensor | None:
    """The opacity (R, R) in [0, 1] of the joint atlas where materials cut holes ("MASK"), scaled so
    that 0.5 is their cutoff; None if none does."""
    atlas = subject.atlas
    out = np.ones((atlas.resolution, atlas.resolution), np.float32)
    holes = False
    for name in atlas.names:
        mesh = subject.file.meshes[name]
        if mesh.material is None or mesh.material.alpha_mode != "MASK":
            continue
        tile = atlas.tile_of(name)
        cutoff = max(mesh.material.alpha_cutoff, 1e-3)
        opaque = (subject.places(name).look()[..., 3] >= cutoff).astype(np.float32)
        out[tile.rows, tile.columns] = np.minimum(out[tile.rows, tile.columns], opaque)
        holes = holes or bool((opaque < 1).any())
    return torch.from_numpy(out) if holes else None


def locked_in_tile(subject: Subject, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The texels of a mesh's tile that a mask locks, (S, S) bool.

    Args:
        size: height and width at which they are wanted, for coordinates that were kept.
    """
    places = subject.places(name)
    height, width = size or (places.size, places.size)
    if subject.mask is None:
        return np.zeros((height, width), bool)
    picture = subject.mask[..., None].astype(np.uint8) * 255
    if places.kept:
        return resized(picture, height, width, nearest=True)[..., 0] > 127
    if subject.file.meshes[name].uv is None:
        return np.zeros((height, width), bool)
    return (places.rebaked(picture, nearest=True)[..., 0] > 127) & places.known


def locked_texels(subject: Subject) -> torch.Tensor | None:
    """The texels (R, R) bool of the joint atlas that keep their colour: under the mask, and of all
    meshes that are not painted. None if there are none."""
    atlas = subject.atlas
    locked = np.zeros((atlas.resolution, atlas.resolution), bool)
    if subject.mask is not None:
        for name in atlas.names:
            tile = atlas.tile_of(name)
            locked[tile.rows, tile.columns] |= locked_in_tile(subject, name)
    still = np.array([name not in subject.painted for name in atlas.names])
    if still.any():
        face = atlas_raster(atlas.mesh, atlas.resolution)[..., 3].long().numpy() - 1
        locked |= (face >= 0) & still[atlas.part[face.clip(0)]]
    return torch.from_numpy(locked) if locked.any() else None


def upsampled(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A painted tile (S, S, C) uint8 at a size not smaller than its own."""
    if picture.shape[:2] == (height, width):
        return picture
    planes = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    out = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
    return np.rint(out.permute(1, 2, 0).numpy()).astype(np.uint8)
