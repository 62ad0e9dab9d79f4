"""The materials of a glTF file as `Material`s with their maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ....engine.text import line_name
from ...material import EncodedImage, Material, Sampler
from ..images import to_display
from .document import GltfDocument

GLOSSY = "KHR_materials_pbrSpecularGlossiness"
_MAPS = ("normalTexture", "occlusionTexture", "emissiveTexture")
_WRAPS = {33071: "clamp", 33648: "mirror", 10497: "repeat"}


@dataclass(frozen=True)
class Slot:
    """A reference to a texture: its picture, the set of texture coordinates, and what its transform
    of KHR_texture_transform changes ({} for nothing)."""

    image: EncodedImage | None = None
    coordinates: int = 0
    transform: dict[str, Any] = field(default_factory=dict)
    sampler: Sampler = field(default_factory=Sampler)


@dataclass(frozen=True)
class ReadMaterial:
    """A material, its base-colour picture, and where on the surface its maps lie. Those that lie
    elsewhere are left out: a mesh has one set of texture coordinates."""

    material: Material
    base: EncodedImage | None
    place: Slot


def base_slot(row: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
    """The table of a material's row in which its base colour stands, and the keys of its factor and
    its texture. Files of the specular-glossiness model have it elsewhere."""
    extensions = row.get("extensions", {})
    glossy = extensions.get(GLOSSY) if isinstance(extensions, dict) else None
    if isinstance(glossy, dict) and "pbrMetallicRoughness" not in row:
        return glossy, "diffuseFactor", "diffuseTexture"
    pbr = row.get("pbrMetallicRoughness")
    return (pbr if isinstance(pbr, dict) else {}), "baseColorFactor", "baseColorTexture"


def place_info(row: dict[str, Any]) -> dict[str, Any]:
    """The reference to a texture, within a material's row, that lies where the maps of the material
    do: the base colour's or, where it has none, one of those of which most lie at one place; {} for
    none."""
    table, _, key = base_slot(row)
    if isinstance(table.get(key), dict):
        found: dict[str, Any] = table[key]
        return found
    pbr = _table(row.get("pbrMetallicRoughness"))
    rows = [pbr.get("metallicRoughnessTexture"), *(row.get(key) for key in _MAPS)]
    infos = [info for info in rows if isinstance(info, dict)]
    places = [texture_place(info) for info in infos]
    return max(infos, key=lambda info: places.count(texture_place(info)), default={})


def texture_place(info: dict[str, Any]) -> tuple[int, str]:
    """Where a reference to a texture lies: its set of coordinates, and its transform in words."""
    transform = _extension(info, "KHR_texture_transform")
    chosen = transform.get("texCoord", info.get("texCoord", 0))
    return int(chosen), str(sorted(_changing(transform).items()))


def texture_transform(file: GltfDocument, row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (2, 2) and the offset (2,) of a KHR_texture_transform, for coordinates that are
    rows. Raises InputError."""
    try:
        scale = np.array(row.get("scale", [1, 1]), np.float64).reshape(2, 1)
        offset = np.array(row.get("offset", [0, 0]), np.float64).reshape(2)
        turn = float(row.get("rotation", 0))
    except (TypeError, ValueError):
        raise file.bad("a texture transform cannot be read") from None
    c, s = np.cos(turn), np.sin(turn)
    return scale * np.array([[c, -s], [s, c]]), offset


class Materials:
    """The materials of one file, each read once."""

    def __init__(self, file: GltfDocument) -> None:
        self.file = file
        self._read: dict[int, ReadMaterial] = {}
        self._opaque: dict[int, EncodedImage] = {}

    def get(self, index: Any) -> ReadMaterial:
        """The material of a primitive. Raises InputError."""
        if index not in self._read:
            self._read[index] = self._material(index, self.file.entry("materials", index))
        return self._read[index]

    def _material(self, index: int, row: dict[str, Any]) -> ReadMaterial:
        table, factor_key, texture_key = base_slot(row)
        pbr = row.get("pbrMetallicRoughness", {})
        pbr = pbr if isinstance(pbr, dict) else {}
        strong = _extension(row, "KHR_materials_emissive_strength")
        try:
            linear = _numbers(table.get(factor_key, [1, 1, 1, 1]), 4)
            rough, metal = (
                float(pbr.get("roughnessFactor", 1.0)),
                float(pbr.get("metallicFactor", 1.0)),
            )
            if table is not pbr and factor_key == "diffuseFactor":
                rough, metal = 1.0 - float(table.get("glossinessFactor", 1.0)), 0.0
            light = _numbers(row.get("emissiveFactor", [0, 0, 0]), 3)
            power = float(strong.get("emissiveStrength", 1.0))
            cutoff = float(row.get("alphaCutoff", 0.5))
            scale = float(_table(row.get("normalTexture")).get("scale", 1.0))
            if not np.isfinite([rough, metal, power, cutoff, scale]).all():
                raise ValueError
        except (TypeError, ValueError):
            raise self.file.bad(f"material {index} has numbers that cannot be read") from None
        base, place = self.slot(table.get(texture_key)).image, self.slot(place_info(row))
        r, g, b = np.minimum(to_display(np.array(linear[:3])).round(12), 1.0).tolist()
        images: list[EncodedImage] = [] if base is None else [base]
        mode, there = row.get("alphaMode"), texture_place(place_info(row))

        def map_of(info: Any) -> np.ndarray | None:
            # A map that lies on other coordinates than the rest cannot be shown with it; a patch
            # keeps it.
            slot = self.slot(info)
            if slot.image is None or texture_place(info) != there:
                return None
            images.append(self._without_alpha(slot.image))
            return images[-1].pixels

        material = Material(
            name=str(row.get("name", f"material{index}"))[:120],
            colour=(r, g, b, linear[3]),
            roughness=min(1.0, max(0.0, rough)),
            metallic=min(1.0, max(0.0, metal)),
            metallic_roughness=map_of(pbr.get("metallicRoughnessTexture")),
            alpha_mode=mode if mode in ("MASK", "BLEND") else "OPAQUE",
            double_sided=bool(row.get("doubleSided", False)),
            alpha_cutoff=cutoff,
            normal_map=map_of(row.get("normalTexture")),
            normal_scale=scale,
            occlusion_map=map_of(row.get("occlusionTexture")),
            emission=(light[0] * power, light[1] * power, light[2] * power),
            emissive_map=map_of(row.get("emissiveTexture")),
            unlit="KHR_materials_unlit" in _table(row.get("extensions")),
            sampler=place.sampler,
            surface_given=bool(
                {"roughnessFactor", "metallicFactor", "metallicRoughnessTexture"} & set(pbr)
            ),
        )
        material.images = tuple(images)
        return ReadMaterial(material, base, place)

    def _without_alpha(self, image: EncodedImage) -> EncodedImage:
        """A picture as a map: one array however many maps it is, so that it is written once."""
        if image.pixels.shape[2] == 3:
            return image
        if id(image) not in self._opaque:
            pixels = np.ascontiguousarray(image.pixels[..., :3])
            self._opaque[id(image)] = replace(image, pixels=pixels)
        return self._opaque[id(image)]

    def slot(self, info: Any) -> Slot:
        """What a texture reference leads to; empty for none."""
        if not isinstance(info, dict) or not info:
            return Slot()
        transform = _extension(info, "KHR_texture_transform")
        chosen = self.file.number(info, "texCoord", 0)
        if "texCoord" in transform:
            chosen = self.file.number(transform, "texCoord")
        if not self.file.textures:
            return Slot(None, chosen, _changing(transform))
        texture = self.file.entry("textures", info.get("index"))
        number = self.file.texture_image(texture)
        image = self.file.image(number) if number is not None else None
        if number is None and isinstance(texture.get("extensions"), dict):
            kinds = ", ".join(line_name(str(name)[:40]) for name in texture["extensions"])
            note = f"a picture is left out: {kinds} is not read"
            self.file.notes += [note] if kinds and note not in self.file.notes else []
        sampler = Sampler()
        if "sampler" in texture:
            row = self.file.entry("samplers", texture["sampler"])
            sampler = Sampler(
                _WRAPS.get(row.get("wrapS", 10497), "repeat"),
                _WRAPS.get(row.get("wrapT", 10497), "repeat"),
                row.get("magFilter") == 9728,
            )
        return Slot(image, chosen, _changing(transform), sampler=sampler)


def _changing(transform: dict[str, Any]) -> dict[str, Any]:
    """What of a row of KHR_texture_transform moves coordinates."""
    still = {"scale": [1, 1], "offset": [0, 0], "rotation": 0}
    return {k: v for k, v in transform.items() if k in still and v != still[k]}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _extension(row: dict[str, Any], name: str) -> dict[str, Any]:
    return _table(_table(row.get("extensions")).get(name))


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [min(1.0, max(0.0, float(x))) for x in values]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError
    return numbers
