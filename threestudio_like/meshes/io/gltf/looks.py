"""Materials and textures as rows of a glTF document, for files written anew and for patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...material import Material, Sampler
from ..images import encode_png, to_linear
from .buffers import Buffers

_WRAPS = {"clamp": 33071, "mirror": 33648, "repeat": 10497}


class Looks:
    """Adds rows to the tables of materials, textures, samplers and images of a document."""

    def __init__(self, document: dict[str, Any], buffers: Buffers) -> None:
        self.document, self.buffers = document, buffers
        self._textures: dict[tuple[int, Sampler], int] = {}
        self._images: dict[int, int] = {}
        self._kept: list[np.ndarray] = []

    def append(self, table: str, row: dict[str, Any]) -> int:
        """Add a row; returns its number."""
        rows: list[dict[str, Any]] = self.document.setdefault(table, [])
        rows.append(row)
        return len(rows) - 1

    def image(self, pixels: np.ndarray, material: Material | None) -> int:
        """A picture: the bytes that it was read from, or a PNG. Media types that glTF has not are
        encoded anew."""
        if id(pixels) not in self._images:
            encoded = material.encoded(pixels) if material is not None else None
            if encoded is not None and encoded.mime in ("image/png", "image/jpeg"):
                data, mime = encoded.data, encoded.mime
            else:
                data, mime = encode_png(pixels), "image/png"
            number = self._same(data)
            if number is None:
                row: dict[str, Any] = {"bufferView": self.buffers.add(data), "mimeType": mime}
                number = self.append("images", row)
            self.remember(pixels, number)
        return self._images[id(pixels)]

    def known(self, pixels: np.ndarray) -> bool:
        """Whether a picture of the document has these pixels."""
        return id(pixels) in self._images

    def remember(self, pixels: np.ndarray, number: int) -> None:
        """Note that a picture of the document has these pixels."""
        self._images[id(pixels)] = number
        self._kept.append(pixels)  # So that no other array takes its identity.

    def _same(self, data: bytes) -> int | None:
        """The picture of the document that has these bytes, so that none is there twice."""
        for number, row in enumerate(self.document.get("images", [])):
            view = row.get("bufferView")
            alike = view is not None and self.buffers.length_of(view) == len(data)
            if alike and self.buffers.bytes_of(view) == data:
                return number
        return None

    def sampler(self, sampler: Sampler) -> int:
        """A sampler; those that are equal are one."""
        mixed = 9728 if sampler.nearest else 9729
        row = {
            "magFilter": mixed,
            "minFilter": 9984 if sampler.nearest else 9987,
            "wrapS": _WRAPS[sampler.wrap_u],
            "wrapT": _WRAPS[sampler.wrap_v],
        }
        rows = self.document.setdefault("samplers", [])
        return rows.index(row) if row in rows else self.append("samplers", row)

    def texture(
        self, pixels: np.ndarray, material: Material | None, sampler: Sampler | None = None
    ) -> int:
        """A texture of pixels (H, W, 3 or 4) uint8."""
        chosen = sampler or (material.sampler if material is not None else Sampler())
        mark = (id(pixels), chosen)
        if mark not in self._textures:
            row = {"sampler": self.sampler(chosen), "source": self.image(pixels, material)}
            self._textures[mark] = self.append("textures", row)
        return self._textures[mark]

    def use_extension(self, name: str) -> None:
        """Say that the document uses an extension."""
        used = self.document.setdefault("extensionsUsed", [])
        if name not in used:
            used.append(name)

    def material(self, material: Material, texture: np.ndarray | None) -> dict[str, Any]:
        """The row of a material with its base-colour texture (None, too, where the mesh has no
        texture coordinates)."""
        pbr: dict[str, Any] = {
            "baseColorFactor": linear_factor(material.colour),
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        }
        if texture is not None:
            pbr["baseColorTexture"] = {"index": self.texture(texture, material)}
        row: dict[str, Any] = {
            "name": material.name,
            "pbrMetallicRoughness": pbr,
            "doubleSided": material.double_sided,
        }
        if material.metallic_roughness is not None:
            pbr["metallicRoughnessTexture"] = {
                "index": self.texture(material.metallic_roughness, material)
            }
        if material.normal_map is not None:
            row["normalTexture"] = {"index": self.texture(material.normal_map, material)}
            if material.normal_scale != 1.0:
                row["normalTexture"]["scale"] = material.normal_scale
        if material.occlusion_map is not None:
            row["occlusionTexture"] = {"index": self.texture(material.occlusion_map, material)}
        if material.emissive_map is not None:
            row["emissiveTexture"] = {"index": self.texture(material.emissive_map, material)}
        self.emission(row, material)
        if material.alpha_mode in ("MASK", "BLEND"):
            row["alphaMode"] = material.alpha_mode
            if material.alpha_mode == "MASK" and material.alpha_cutoff != 0.5:
                row["alphaCutoff"] = material.alpha_cutoff
        if material.unlit:
            self.unlit(row)
        return row

    def unlit(self, row: dict[str, Any]) -> None:
        """Say in a material's row that no light falls on it."""
        row.setdefault("extensions", {})["KHR_materials_unlit"] = {}
        self.use_extension("KHR_materials_unlit")

    def emission(self, row: dict[str, Any], material: Material) -> None:
        """Set the light that a material gives off in its row."""
        if not any(material.emission):
            return
        strength = max(material.emission)
        scale = max(1.0, strength)
        row["emissiveFactor"] = [value / scale for value in material.emission]
        if strength > 1:
            row.setdefault("extensions", {})["KHR_materials_emissive_strength"] = {
                "emissiveStrength": strength
            }
            self.use_extension("KHR_materials_emissive_strength")


def linear_factor(colour: tuple[float, float, float, float]) -> list[float]:
    """glTF's base-colour factor of display RGB and opacity."""
    return [*to_linear(np.array(colour[:3])).tolist(), colour[3]]


def same_material(one: Material | None, two: Material | None) -> bool:
    """Whether two materials say the same, their maps being the same arrays."""
    if one is two:
        return True
    if one is None or two is None:
        return False
    for name, value in vars(one).items():
        other = vars(two)[name]
        if name == "images":
            continue
        if isinstance(value, np.ndarray) or isinstance(other, np.ndarray):
            if value is not other:
                return False
        elif value != other:
            return False
    return True
