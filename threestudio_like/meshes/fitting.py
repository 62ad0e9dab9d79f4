"""An asset within limits of its size: `export --faces` and `export --texture`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..engine.errors import ConfigError, InputError
from ..engine.text import line_name
from .io.gltf.pictures import fixed_pictures, webp_pictures
from .io.gltf.source import GltfSource
from .io.images import decode, deep, encode_png, encode_webp, measure
from .io.obj.source import ObjSource, Piece
from .material import MAPS, Material
from .mesh import Asset, Mesh, Source, Variant
from .toolchain import ToolOptions, decimated


def fitted(asset: Asset, faces: int = 0, texture: int = 0) -> Asset:
    """An asset within limits of its size.

    Args:
        faces: largest number of faces of the whole asset; 0 for no limit.
        texture: largest edge of every picture in pixels, those of the file that it came from
            included which no mesh shows; 0 for no limit. Which of them cannot be made smaller is
            added to its notes.

    Raises: ConfigError: a limit that no asset can have.
    """
    if faces:
        from .surface.simplify import check_budget

        check_budget(faces)
        meshes, findings = decimated(asset, ToolOptions(faces=faces))
        said = [
            f"{name}: {words}"
            for name, words in findings["meshes"].items()
            if meshes[name] is not asset.meshes[name]
        ]
        # The caller's asset keeps its own notes.
        asset = replace(asset.with_meshes(meshes), notes=[*asset.notes, *said])
    if not texture:
        return asset
    if not 16 <= texture <= 8192:
        raise ConfigError(f"must be from 16 to 8192 pixels, got {texture}", "--texture")
    return _Smaller(texture).asset(asset)


class _Smaller:
    """Pictures of at most so many pixels along their longer edge; what is made of one array is one
    array."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self._pictures: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._materials: dict[int, tuple[Material, Material]] = {}
        self._large: list[str] = []
        self._fixed: list[str] = []
        self._shallow: list[str] = []

    def asset(self, asset: Asset) -> Asset:
        """An asset with its variants, and with the pictures of the file that it came from."""
        source = self._source(asset.source)
        small = asset.with_meshes({name: self._mesh(m) for name, m in asset.meshes.items()})
        variants = [
            Variant(
                v.name,
                {name: (self._picture(p), self._material(m)) for name, (p, m) in v.looks.items()},
            )
            for v in asset.variants
        ]
        notes = [
            f"{what} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
            for what, names in (
                (f"pictures that cannot be read stay above {self.largest} pixels", self._large),
                (f"pictures that hold data stay above {self.largest} pixels", self._fixed),
                ("pictures of 16 bits a channel that were scaled down have 8", self._shallow),
            )
            if names
        ]
        return replace(small, source=source, variants=variants, notes=[*asset.notes, *notes])

    def _picture(self, picture: np.ndarray | None) -> np.ndarray | None:
        """A picture (H, W, C) uint8, itself where it is small enough; None for none."""
        from .texture.look import resized

        if picture is None or max(picture.shape[:2]) <= self.largest:
            return picture
        if id(picture) not in self._pictures:
            share = self.largest / max(picture.shape[:2])
            height, width = (max(1, round(n * share)) for n in picture.shape[:2])
            made = np.rint(resized(picture, height, width)).astype(np.uint8)
            # Both are kept, so that no other array takes the identity.
            self._pictures[id(picture)] = picture, made
        return self._pictures[id(picture)][1]

    def _material(self, material: Material | None) -> Material | None:
        if material is None:
            return None
        if id(material) not in self._materials:
            maps: dict[str, Any] = {name: self._picture(getattr(material, name)) for name in MAPS}
            self._materials[id(material)] = material, replace(material, **maps)
        return self._materials[id(material)][1]

    def _mesh(self, mesh: Mesh) -> Mesh:
        texture, material = self._picture(mesh.texture), self._material(mesh.material)
        return replace(mesh, texture=texture, material=material)

    def _source(self, source: Source | None) -> Source | None:
        """The file that an asset came from, as if its pictures had been small enough: what a patch
        of it keeps is that, and the meshes made smaller are the ones that were read."""
        if isinstance(source, GltfSource):
            return self._gltf(source)
        if isinstance(source, ObjSource):
            return self._obj(source)
        return source

    def _gltf(self, source: GltfSource) -> GltfSource:
        file = source.file
        webp, fixed = webp_pictures(file.document), fixed_pictures(file.document)
        pictures = dict(source.pictures)
        for number, row in enumerate(file.rows("images")):
            label = line_name(str(row.get("name") or row.get("uri") or f"image {number}")[:40])
            try:
                data = pictures.get(number) or file.image_bytes(number)
            except (InputError, OSError):
                continue  # Whoever shows it says so.
            if not self._too_large(data, label, number in fixed):
                continue
            image = file.image(number) if number not in pictures else None
            pixels = image.pixels if image is not None else self._pixels(data, label)
            if pixels is not None:
                encode = encode_webp if number in webp else encode_png
                pictures[number] = encode(self._small(pixels))
                self._shallow += [label] * deep(data)
        meshes = {name: self._mesh(mesh) for name, mesh in source.meshes.items()}
        return replace(source, pictures=pictures, meshes=meshes)

    def _obj(self, source: ObjSource) -> ObjSource:
        pictures: dict[str, tuple[str, bytes]] = {}
        made: dict[bytes, bytes | None] = {}
        for key, (name, data) in source.pictures.items():
            if data not in made:
                label = line_name(name[:40])
                large = self._too_large(data, label, fixed=False)
                pixels = self._pixels(data, label) if large else None
                made[data] = None if pixels is None else encode_png(self._small(pixels))
                self._shallow += [label] * (pixels is not None and deep(data))
            small = made[data]
            stem = name.rpartition(".")[0] or name
            pictures[key] = (name, data) if small is None else (f"{stem}.png", small)
        pieces: dict[str, Piece] = {
            name: replace(piece, mesh=self._mesh(piece.mesh))
            for name, piece in source.pieces.items()
        }
        return replace(source, pictures=pictures, pieces=pieces)

    def _too_large(self, data: bytes, label: str, fixed: bool) -> bool:
        """Whether a picture file is to be made smaller; noted where it is `fixed`, or what it is is
        not known."""
        kind, size = measure(data)
        if size is None:
            self._large.append(f"{label}, {kind}")
        elif max(size) > self.largest and fixed:
            self._fixed.append(f"{label}, {size[0]} x {size[1]}")
        return size is not None and max(size) > self.largest and not fixed

    def _pixels(self, data: bytes, label: str) -> np.ndarray | None:
        """The pixels (H, W, C) of a picture file; None, and a note, where it cannot be read."""
        try:
            return decode(data, label)
        except InputError:
            kind, size = measure(data)
            self._large.append(f"{label}, {kind}" + (f", {size[0]} x {size[1]}" if size else ""))
            return None

    def _small(self, pixels: np.ndarray) -> np.ndarray:
        small = self._picture(pixels)
        assert small is not None
        return small
