"""The polygons and materials of a COLLADA document, from pycollada's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import Material, Sampler
from ..images import larger, resized
from ..sources.pictures import Pictures
from ..sources.text import listed

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_UNREAD = ("ambient", "specular", "shininess", "reflective", "bumpmap")
"""What of an effect may be a map and is not read."""


class Polygons(NamedTuple):
    """points (V, 3) float64; corners (C,) and sizes (P,) int64; uv, colours and normals of
    corners."""

    points: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray
    uv: np.ndarray | None
    colours: np.ndarray | None
    normals: np.ndarray | None

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
        self.notes = notes
        self.pictures = Pictures(path, notes) if textures else None
        self.made: dict[int, dict[str, Any]] = {}
        self.left: dict[str, int] = {}

    def tell(self) -> None:
        """Note how much of which kind had to be left out of the geometries."""
        self.notes += [f"{kind} are left out: {count:,}" for kind, count in self.left.items()]

    def polygons(self, primitive: Any, bound: Any) -> Polygons | None:
        """The polygons of a primitive, with the coordinates on which a material that is bound to
        it lies; None of lines and points."""
        kind = type(primitive).__name__
        if kind == "LineSet":
            self.left["lines"] = self.left.get("lines", 0) + len(primitive)
        holes = [tag for tag in primitive.xmlnode if _local(tag) == "ph"]
        if holes:
            what = "polygons with holes"
            self.left[what] = self.left.get(what, 0) + len(holes)
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
        sources, lying = primitive.sources, _coordinates(bound)

        def column(name: str, width: int, chosen: str | None = None) -> np.ndarray | None:
            """The input of a kind, of the set that is chosen or the first, a row for every
            corner."""
            if not sources.get(name):
                return None
            given = [row for row in sources[name] if str(row[3] or 0) == chosen] or sources[name]
            slot, source = given[0][0], given[0][4]
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
            uv=column("TEXCOORD", 2, lying),
            colours=None if colours is None else colours.clip(0, 1),
            normals=column("NORMAL", 3),
        )

    def material(self, bound: Any) -> dict[str, Any]:
        """What a material that is bound to a mesh gives it: the fields `material` and `texture`."""
        target = getattr(bound, "target", None)
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
        if getattr(effect.transparent, "sampler", None) is not None:
            texture = self._see_through(effect, material, texture)
        self._tell_maps(effect, material.name)
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

    def _see_through(
        self, effect: Any, material: Material, texture: np.ndarray | None
    ) -> np.ndarray | None:
        """The texture of a material with the opacity that another picture says."""
        picture = self._picture(effect.transparent, material)
        if picture is None or picture is texture:
            return texture
        if effect.opaque_mode == "RGB_ZERO":
            factor = effect.transparency
            factor = float(factor) if isinstance(factor, (int, float)) else 1.0
            alpha = 255 - picture[..., :3] @ _LUMINANCE * factor
        else:
            alpha = picture[..., 3] if picture.shape[2] == 4 else np.full(picture.shape[:2], 255)
        values = np.rint(alpha).clip(0, 255).astype(np.uint8)
        if (values == 255).all():
            return texture
        material.alpha_mode = "BLEND"
        base = np.full((*values.shape, 3), 255, np.uint8) if texture is None else texture
        shape = larger(base, values)
        rgb = resized(np.ascontiguousarray(base[..., :3]), shape)
        return np.dstack([rgb, resized(values, shape)])

    def _tell_maps(self, effect: Any, name: str) -> None:
        """Note the maps of an effect of which nothing is read."""
        found = [kind for kind in _UNREAD if hasattr(getattr(effect, kind, None), "sampler")]
        if found and self.pictures is not None:
            self.notes.append(f'maps of "{name[:40]}" that are left out: {listed(found)}')

    def _picture(self, value: Any, material: Material) -> np.ndarray | None:
        """The pixels of the map that a colour of an effect is, if it is one."""
        sampler = getattr(value, "sampler", None)
        if sampler is None or self.pictures is None:
            return None
        image = self.pictures.get(str(sampler.surface.image.path))
        if image is None:
            return None
        material.images = (*material.images, image)
        if material.sampler.plain:
            material.sampler = _wrapping(sampler)
        return image.pixels


def _local(tag: Any) -> str:
    """The name of an element without that of its space."""
    return str(tag.tag).rpartition("}")[2]


def _wrapping(sampler: Any) -> Sampler:
    """How a picture is looked up."""
    said = {_local(tag): str(tag.text).strip() for tag in sampler.xmlnode.iter()}
    known = {"CLAMP": "clamp", "BORDER": "clamp", "NONE": "clamp", "MIRROR": "mirror"}
    u, v = (known.get(said.get(f"wrap_{axis}", ""), "repeat") for axis in "st")
    return Sampler(u, v, said.get("magfilter") == "NEAREST")


def _coordinates(bound: Any) -> str | None:
    """The number of the set of texture coordinates that a material reads where it is bound; None
    where that is not said."""
    effect = getattr(getattr(bound, "target", None), "effect", None)
    for kind in ("diffuse", "transparent", "emission"):
        name = getattr(getattr(effect, kind, None), "texcoord", None)
        for semantic, meant, number in bound.inputs if name else ():
            if semantic == name and meant == "TEXCOORD":
                return str(number or 0)
    return None


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
        # What a picture says is none of a number's.
        clear = 0.0 if colour is None else float(np.dot(colour[:3], _LUMINANCE))
        alpha = 1 - clear * factor
    else:
        alpha = factor * (colour[3] if colour is not None and len(colour) > 3 else 1.0)
    # Many programs write the opposite of what they mean; nobody sends what cannot be seen.
    return alpha if 0.001 < alpha < 1 else 1.0
