"""The materials of a patched glTF file: changed in place where nothing else uses them, copied
elsewhere."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...material import Material, Sampler
from ...mesh import Mesh
from ..images import encode_png
from .accessors import Accessors
from .geometry import GeometryChange
from .looks import Looks, linear_factor, same_material
from .materials import base_slot, place_info, texture_place
from .source import GltfSource, texture_infos
from .variants import EXTENSION


@dataclass
class Edit:
    """A primitive that is changed: its row, the mesh that it becomes and how, and the number that
    the former first set of texture coordinates has now."""

    row: dict[str, Any]
    pointer: str
    name: str
    mesh: Mesh
    before: Mesh
    change: GeometryChange
    shifted: int | None = None

    @property
    def relooked(self) -> bool:
        """Whether the material has to change."""
        return (
            self.mesh.texture is not self.before.texture
            or not same_material(self.mesh.material, self.before.material)
            or self.change.uv
        )

    def look(self) -> tuple[Any, ...]:
        """Edits of equal looks may share a material."""
        material = self.mesh.material
        return (
            self.row.get("material"),
            id(self.mesh.texture),
            None if material is None else _facts(material),
            self.shifted,
            self.change.uv,
        )


def _facts(material: Material) -> tuple[Any, ...]:
    return tuple(
        id(v) if isinstance(v, np.ndarray) else v
        for k, v in vars(material).items()
        if k != "images"
    )


class MaterialPatch:
    """Gives changed primitives of a document their materials.

    Args:
        source: the file. accessors: of the document that is patched. looks: adds its rows.
        changed: gets a JSON pointer to everything that is changed.
    """

    def __init__(
        self, source: GltfSource, accessors: Accessors, looks: Looks, changed: list[str]
    ) -> None:
        self.source, self.accessors, self.looks, self.changed = source, accessors, looks, changed
        self.document = accessors.document
        self.buffers = accessors.buffers

    def write(self, edits: list[Edit]) -> None:
        """Give changed primitives their material: the file's, changed in place, where nothing else
        uses it, else a copy. The materials that they have in variants of the file follow their
        texture coordinates."""
        groups: dict[tuple[Any, ...], list[Edit]] = {}
        for edit in edits:
            groups.setdefault(edit.look(), []).append(edit)
        uses = self._uses()
        for group in groups.values():
            old = group[0].row.get("material")
            rows = self.document.setdefault("materials", [])
            alone = old is not None and uses[old] == len(group)
            if alone:
                number = old
            else:
                row = copy.deepcopy(rows[old]) if old is not None else {}
                material = group[0].mesh.material
                if material is not None and (old is None or material.name != row.get("name")):
                    row["name"] = material.name
                number = self.looks.append("materials", row)
                uses[old] -= len(group)
                for edit in group:
                    edit.row["material"] = number
                    self.changed.append(edit.pointer)
            self._material(rows[number], group[0], alone)
            self.changed.append(f"/materials/{number}")
        self._variants(edits, uses)

    def _variants(self, edits: list[Edit], uses: Counter[Any]) -> None:
        """Let the materials that changed primitives have in variants of the file name the set on
        which their maps now lie."""
        groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for edit in edits:
            if edit.shifted is None:
                continue
            for mapping in _mappings(edit.row):
                groups.setdefault((mapping["material"], edit.shifted), []).append(mapping)
        rows = self.document.get("materials", [])
        for (old, shifted), mappings in groups.items():
            moved = copy.deepcopy(rows[old])
            for info in texture_infos(moved):
                _move_set(info, shifted)
            if moved == rows[old]:
                continue
            if uses[old] == len(mappings):
                rows[old] = moved
                self.changed.append(f"/materials/{old}")
                continue
            number = self.looks.append("materials", moved)
            uses[old] -= len(mappings)
            for mapping in mappings:
                mapping["material"] = number

    def _uses(self) -> Counter[Any]:
        """By how many primitives, in which variants of the file, every material is used."""
        return Counter(
            number
            for mesh in self.document.get("meshes", [])
            for row in mesh.get("primitives", [])
            for number in (row.get("material"), *(m["material"] for m in _mappings(row)))
        )

    def _material(self, row: dict[str, Any], edit: Edit, alone: bool) -> None:
        mesh, before = edit.mesh, edit.before
        where = _where(row, edit)
        if edit.shifted is not None:
            table, _, key = base_slot(row)
            for info in texture_infos(row):
                if info is not table.get(key):
                    _move_set(info, edit.shifted)
        if "pbrMetallicRoughness" not in row and not base_slot(row)[0]:
            row["pbrMetallicRoughness"] = {}
        table, factor_key, texture_key = base_slot(row)
        old = before.material or Material("")
        new = mesh.material or Material("")
        if mesh.texture is not before.texture or edit.change.uv:
            given = table.get(texture_key, {})
            info = {**_unplaced(given), **where}
            if mesh.texture is None:
                table.pop(texture_key, None)
            else:
                info["index"] = self._texture(given.get("index"), edit, alone)
                table[texture_key] = info
        if before.material is None or new.colour != old.colour:
            table[factor_key] = linear_factor(new.colour)
        pbr = row.get("pbrMetallicRoughness", table)
        if before.material is None or (new.roughness, new.metallic) != (
            old.roughness,
            old.metallic,
        ):
            pbr["roughnessFactor"], pbr["metallicFactor"] = new.roughness, new.metallic
        if new.metallic_roughness is not old.metallic_roughness:
            if new.metallic_roughness is None:
                pbr.pop("metallicRoughnessTexture", None)
            else:
                info = {**_unplaced(pbr.get("metallicRoughnessTexture", {})), **where}
                info["index"] = self.looks.texture(new.metallic_roughness, new, old.sampler)
                pbr["metallicRoughnessTexture"] = info
        for name, key in (
            ("normal_map", "normalTexture"),
            ("occlusion_map", "occlusionTexture"),
            ("emissive_map", "emissiveTexture"),
        ):
            picture = getattr(new, name)
            if picture is getattr(old, name):
                continue
            if picture is None:
                row.pop(key, None)
            else:
                info = {**_unplaced(row.get(key, {})), **where}
                row[key] = info
                info["index"] = self.looks.texture(picture, new, old.sampler)
        if (new.alpha_mode, new.alpha_cutoff) != (old.alpha_mode, old.alpha_cutoff):
            row["alphaMode"] = new.alpha_mode
            row.pop("alphaCutoff", None)
            if new.alpha_mode == "MASK":
                row["alphaCutoff"] = new.alpha_cutoff
        if new.double_sided != old.double_sided:
            row["doubleSided"] = new.double_sided
        self._numbers(row, new, old)

    def _numbers(self, row: dict[str, Any], new: Material, old: Material) -> None:
        """Set the light that a surface gives off, the strength of its normals, and whether it is
        lit, where they differ."""
        if new.emission != old.emission:
            row.pop("emissiveFactor", None)
            _drop(row, "KHR_materials_emissive_strength")
            self.looks.emission(row, new)
            self.changed.append("/extensionsUsed")
        if new.normal_scale != old.normal_scale and "normalTexture" in row:
            row["normalTexture"]["scale"] = new.normal_scale
        if new.unlit and not old.unlit:
            self.looks.unlit(row)
            self.changed.append("/extensionsUsed")
        elif old.unlit and not new.unlit:
            _drop(row, "KHR_materials_unlit")

    def _texture(self, old: int | None, edit: Edit, alone: bool) -> int:
        """The number of a texture with an edit's pixels; the file's own is changed in place where
        nothing else uses it."""
        mesh = edit.mesh
        assert mesh.texture is not None
        if mesh.texture is edit.before.texture and old is not None:
            return old
        textures = self.document.get("textures", [])
        if old is not None and not edit.change.uv:
            source = self.source.file.texture_image(textures[old])
            image = self.document["images"][source] if source is not None else {}
            view = image.get("bufferView")
            if (
                alone
                and source is not None
                and view is not None
                and not self.looks.known(mesh.texture)
                and self._texture_uses()[old] == 1
                and sum(source in _sources(t) for t in textures) == 1
                and self.accessors.own_view(view)
            ):
                self.buffers.replace(view, encode_png(mesh.texture))
                self.looks.remember(mesh.texture, source)
                image["mimeType"] = "image/png"
                textures[old].pop("extensions", None)
                textures[old]["source"] = source
                self.changed += [f"/images/{source}", f"/textures/{old}"]
                return old
            # Another picture, looked up as before.
            row = {k: v for k, v in textures[old].items() if k in ("sampler", "name")}
            row["source"] = self.looks.image(mesh.texture, mesh.material)
            return self.looks.append("textures", row)
        return self.looks.texture(mesh.texture, mesh.material, Sampler())

    def _texture_uses(self) -> Counter[Any]:
        return Counter(
            info["index"]
            for material in self.document.get("materials", [])
            for info in texture_infos(material)
        )


def _where(row: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """What a reference to a texture says, within a material's row, that lies where an edit's mesh
    has its texture coordinates."""
    info = place_info(row)
    there = f"TEXCOORD_{texture_place(info)[0]}" in edit.row["attributes"]
    if edit.change.uv or not there:
        return {}
    return {k: copy.deepcopy(info[k]) for k in ("texCoord", "extensions") if k in info}


def _unplaced(info: dict[str, Any]) -> dict[str, Any]:
    """A reference to a texture without where that lies."""
    return {k: v for k, v in info.items() if k not in ("texCoord", "extensions")}


def _drop(row: dict[str, Any], extension: str) -> None:
    """Take an extension out of a row, if it has it."""
    spoken = row.get("extensions", {})
    if spoken.pop(extension, None) is not None and not spoken:
        del row["extensions"]


def _move_set(info: dict[str, Any], number: int) -> None:
    """Let a texture reference to the first set of texture coordinates name another set."""
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    if "texCoord" in transform:
        if transform["texCoord"] == 0:
            transform["texCoord"] = number
    elif info.get("texCoord", 0) == 0:
        info["texCoord"] = number


def _mappings(primitive: dict[str, Any]) -> list[dict[str, Any]]:
    """The materials that a primitive has in variants of the file."""
    rows = primitive.get("extensions", {}).get(EXTENSION, {}).get("mappings", [])
    return [row for row in rows if "material" in row]


def _sources(texture: dict[str, Any]) -> list[Any]:
    spoken = texture.get("extensions", {})
    return [texture.get("source"), *(v.get("source") for v in spoken.values())]
