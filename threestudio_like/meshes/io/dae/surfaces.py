"""The polygons and materials of a COLLADA document, from pycollada's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import Material
from ..sources.pictures import Pictures


class Polygons(NamedTuple):
    """points (V, 3) float64; corners (C,) and sizes (P,) int64; uv, colours and normals of corners;
    symbol: of the material."""

    points: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray
    uv: np.ndarray | None
    colours: np.ndarray | None
    normals: np.ndarray | None
    symbol: str

    def turned(self, linear: np.ndarray) -> np.ndarray | None:
        """The normals after a linear map (3, 3), zero where they have no direction."""
        if self.normals is None or abs(np.linalg.det(linear)) < 1e-30:
            return None
        with np.errstate(all="ignore"):
            turned = self.normals.astype(np.float64) @ np.linalg.inv(linear)
            length = np.linalg.norm(turned, axis=1, keepdims=True)
            return np.where(length > 1e-12, turned / length, 0).astype(np.float32)


class Surfaces:
    """Polygons and materials of one document. notes: what had to be left out."""

    def __init__(self, path: Path, textures: bool, notes: list[str]) -> None:
        self.where = str(path)
        self.pictures = Pictures(path, notes) if textures else None
        self.made: dict[int, dict[str, Any]] = {}

    def polygons(self, primitive: Any, geometry: Any) -> Polygons | None:
        """The polygons of a primitive; None of lines and points."""
        kind = type(primitive).__name__
        if kind not in ("TriangleSet", "Polylist", "Polygons") or primitive.vertex is None:
            return None
        index = np.asarray(primitive.index)
        if not index.size:
            return None
        index = index.reshape(-1, index.shape[-1]).astype(np.int64)
        if kind == "TriangleSet":
            sizes = np.full(len(index) // 3, 3)
        else:
            sizes = np.asarray(primitive.vcounts).astype(np.int64)
        sources = primitive.sources

        def column(name: str, width: int) -> np.ndarray | None:
            """The first input of a kind, a row for every corner."""
            if not sources.get(name):
                return None
            slot, source = sources[name][0][0], sources[name][0][4]
            data = np.asarray(source.data, np.float32)
            data = data.reshape(len(data), -1)
            rows = index[:, slot]
            if data.shape[1] < min(width, 3) or not len(data):
                return None
            if rows.min() < 0 or rows.max() >= len(data):
                raise InputError(
                    f"a face names number {int(rows.max())} of {len(data)} {name.lower()}s",
                    self.where,
                    "Repair the mesh first",
                )
            return data[rows, :width]

        colours = column("COLOR", 4)
        return Polygons(
            np.asarray(primitive.vertex, np.float64).reshape(-1, 3),
            index[:, sources["VERTEX"][0][0]],
            sizes,
            uv=column("TEXCOORD", 2),
            colours=None if colours is None else colours.clip(0, 1),
            normals=column("NORMAL", 3),
            symbol=str(primitive.material),
        )

    def material(self, target: Any) -> dict[str, Any]:
        """What a material of the document gives a mesh: the fields `material` and `texture`."""
        if target is None:
            return {}
        if id(target) not in self.made:
            self.made[id(target)] = self._material(target)
        return self.made[id(target)]

    def _material(self, target: Any) -> dict[str, Any]:
        effect = target.effect
        material = Material(
            line_name(str(target.name or target.id or ""), "surface"),
            double_sided=bool(effect.double_sided),
        )
        texture = self._picture(effect.diffuse, material)
        diffuse = _numbers(effect.diffuse)
        if diffuse is not None and texture is None:
            material.colour = (diffuse[0], diffuse[1], diffuse[2], 1.0)
        alpha = _opacity(effect)
        if alpha < 1:
            material.colour = (*material.colour[:3], alpha)
            material.alpha_mode = "BLEND"
        elif texture is not None and texture.shape[2] == 4 and effect.transparent is not None:
            material.alpha_mode = "BLEND"
        shininess = effect.shininess
        if isinstance(shininess, (int, float)) and shininess > 0:
            # The width of a highlight of Phong's model as roughness, after Walter et al. 2007.
            material.roughness = float(np.clip(np.sqrt(2 / (2 + shininess)), 0.05, 1))
        emission = _numbers(effect.emission)
        if emission is not None and any(emission[:3]):
            material.emission = (emission[0], emission[1], emission[2])
        material.emissive_map = self._picture(effect.emission, material)
        if material.emissive_map is not None:
            material.emissive_map = material.emissive_map[..., :3]
            material.emission = (1.0, 1.0, 1.0)
        return {"material": material, "texture": texture}

    def _picture(self, value: Any, material: Material) -> np.ndarray | None:
        """The pixels of the map that a colour of an effect is, if it is one."""
        sampler = getattr(value, "sampler", None)
        if sampler is None or self.pictures is None:
            return None
        image = self.pictures.get(str(sampler.surface.image.path))
        if image is None:
            return None
        material.images = (*material.images, image)
        return image.pixels


def _numbers(value: Any) -> list[float] | None:
    """Three or four numbers in [0, 1] of a colour; None of a map."""
    if not isinstance(value, (tuple, list)) or len(value) < 3:
        return None
    return [float(v) for v in np.nan_to_num(np.asarray(value, np.float64)).clip(0, 1)]


def _opacity(effect: Any) -> float:
    """The opacity of an effect, from 0 to 1."""
    factor = effect.transparency
    factor = float(factor) if isinstance(factor, (int, float)) else 1.0
    colour = _numbers(effect.transparent)
    if effect.opaque_mode == "RGB_ZERO":
        clear = 1.0 if colour is None else float(np.dot(colour[:3], [0.2126, 0.7152, 0.0722]))
        alpha = 1 - clear * factor if effect.transparent is not None else 1.0
    else:
        alpha = factor * (colour[3] if colour is not None and len(colour) > 3 else 1.0)
    # Many programs write the opposite of what they mean; nobody sends what cannot be seen.
    return alpha if 0.001 < alpha < 1 else 1.0
