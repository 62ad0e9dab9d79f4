"""The painted asset: the file that was read with new base colours on the meshes that were painted,
and everything else as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...meshes.mesh import Asset, Material, Mesh, Sampler
from ...meshes.texture.look import resized
from ...stages.painting import SurfaceModel
from .subject import Subject, SubjectOptions, locked_in_tile, upsampled


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


@dataclass
class Painting:
    """The meshes of one painted atlas, made from its tiles. Meshes that shared a texture and a
    material share the painted ones.

    colour: (R, R, 3) uint8; packed: roughness and metallic (R, R, 3) uint8, or None.
    """

    subject: Subject
    options: SubjectOptions
    colour: np.ndarray
    packed: np.ndarray | None

    def __post_init__(self) -> None:
        self._colours = self.subject.atlas.cut(self.colour)
        self._packed = None if self.packed is None else self.subject.atlas.cut(self.packed)
        self._made: dict[Any, tuple[np.ndarray, Material]] = {}

    def asset(self) -> Asset:
        """The file's asset, in its own frame, with the painted meshes in place of the old ones."""
        meshes: dict[str, Mesh] = {}
        for name, before in self.subject.file.meshes.items():
            if name not in self.subject.painted:
                meshes[name] = before
                continue
            texture, material = self.look(name)
            kept = self.subject.places(name).kept and not self.subject.moved_vertices
            mesh = before if kept else self.subject.raw.meshes[name]
            meshes[name] = replace(
                mesh, texture=texture, material=material, colours=_opacity_alone(mesh.colours)
            )
        return self.subject.file.with_meshes(meshes)

    def looks(self) -> dict[str, tuple[np.ndarray | None, Material | None]]:
        """The texture and the material of every painted mesh, as a variant has them."""
        return {name: self.look(name) for name in sorted(self.subject.painted)}

    def look(self, name: str) -> tuple[np.ndarray, Material]:
        """The texture (H, W, 3 or 4) uint8 and the material of a painted mesh."""
        before = self.subject.file.meshes[name]
        number = self.subject.atlas.tiles[self.subject.atlas.names.index(name)]
        own = before.material if before.material is not None else name
        mark = (number, id(own), id(before.texture), before.colours is not None)
        if mark not in self._made:
            self._made[mark] = (self._texture(name, number), self._material(name, number))
        return self._made[mark]

    def _texture(self, name: str, number: int) -> np.ndarray:
        before, places = self.subject.file.meshes[name], self.subject.places(name)
        tile = self._colours[number]
        transparent = before.texture is not None and before.texture.shape[2] == 4
        stays = transparent or locked_in_tile(self.subject, name).any()
        height, width = self._size(name, before.texture if stays else None)
        picture = upsampled(tile, height, width)
        locked = locked_in_tile(self.subject, name, (height, width))
        if locked.any():
            kept = self._kept_colours(name, height, width)
            picture = np.where(locked[..., None], kept, picture)
        if transparent:
            assert before.texture is not None
            alpha = before.texture[..., 3:]
            opacity = (
                resized(alpha, height, width, nearest=True)
                if places.kept
                else places.rebaked(alpha)
            )
            picture = np.concatenate([picture, np.rint(opacity).astype(np.uint8)], 2)
        return np.ascontiguousarray(picture)

    def _size(self, name: str, stays: np.ndarray | None) -> tuple[int, int]:
        """Height and width of a painted picture: the tile's, or, where texels of the old picture
        `stays` are to stay what they are, the smallest multiple of its own that is not smaller."""
        places = self.subject.places(name)
        if stays is None or not places.kept:
            return places.size, places.size
        height, width = stays.shape[:2]
        many = max(1, -(-places.size // min(height, width)))
        return height * many, width * many

    def _kept_colours(self, name: str, height: int, width: int) -> np.ndarray:
        """The colours (H, W, 3) uint8 that locked texels have: the texture's own, bit for bit,
        where nothing tints it."""
        places, before = self.subject.places(name), self.subject.file.meshes[name]
        if places.plain():
            assert before.texture is not None
            rgb = np.ascontiguousarray(before.texture[..., :3])
            if places.kept:
                return resized(rgb, height, width, nearest=True).astype(np.uint8)
            return places.rebaked(rgb, nearest=True).astype(np.uint8)
        look = np.rint(places.look()[..., :3] * 255).astype(np.uint8)
        return upsampled(look, height, width)

    def _material(self, name: str, number: int) -> Material:
        before = self.subject.file.meshes[name].material
        old = before or Material(name)
        new = replace(self._laid_out(name, old), colour=(1.0, 1.0, 1.0, old.colour[3]))
        if not self.paints_maps(name):
            return new
        if self._packed is None:
            return replace(new, roughness=0.9, metallic=0.0, metallic_roughness=None)
        packed = self._packed[number]
        if locked_in_tile(self.subject, name).any():
            height, width = self._size(name, old.metallic_roughness)
            locked = locked_in_tile(self.subject, name, (height, width))
            kept = self._kept_maps(name, old, height, width=width)
            packed = np.where(locked[..., None], kept, upsampled(packed, height, width))
        return replace(new, roughness=1.0, metallic=1.0, metallic_roughness=packed)

    def _laid_out(self, name: str, old: Material) -> Material:
        """A material with its maps on the new texture coordinates of its mesh, if it has any."""
        places = self.subject.places(name)
        if self.subject.file.meshes[name].uv is None or not self.subject.lays_out_maps(name):
            return old
        names = ("metallic_roughness", "occlusion_map", "emissive_map")
        maps: dict[str, Any] = {
            key: np.rint(places.rebaked(picture)).astype(np.uint8)
            for key in names
            if (picture := getattr(old, key)) is not None
        }
        return replace(old, **maps, normal_map=None, sampler=Sampler())

    def _kept_maps(self, name: str, old: Material, height: int, width: int) -> np.ndarray:
        """Roughness and metallic (H, W, 3) uint8 that locked texels have."""
        places = self.subject.places(name)
        out = np.full((height, width, 3), 255, np.float32)
        if old.metallic_roughness is not None:
            picture = old.metallic_roughness
            out = (
                resized(picture, height, width, nearest=True)
                if places.kept
                else places.rebaked(picture, nearest=True)
            )
        return np.rint(out * np.array([1.0, old.roughness, old.metallic])).astype(np.uint8)

    def paints_maps(self, name: str) -> bool:
        """Whether roughness and metallic of a mesh are replaced by painted ones."""
        if self.options.maps != "auto":
            return self.options.maps == "paint"
        material = self.subject.file.meshes[name].material
        return material is None or not material.surface_given


def _opacity_alone(colours: np.ndarray | None) -> np.ndarray | None:
    """Vertex colours whose colour the texture now has: white, with their opacity; None where they
    are opaque."""
    if colours is None or colours.shape[1] == 3:
        return None
    white = np.ones_like(colours)
    white[:, 3] = colours[:, 3]
    return white
