"""What the viewer is given: the parts of an asset in a sphere of radius 1, their materials, and
each array and each picture once."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ..material import EncodedImage, Material
from ..mesh import Asset, Mesh

LARGEST_TEXTURE = 2048
"""Texels along an edge that a page holds; larger pictures are averaged down."""
SHARP_FACES = 300_000
"""Number of faces up to which a mesh without normals is cut at its creases, which takes three
vertices a face."""


def viewer_data(asset: Asset, before: Asset | None = None) -> dict[str, Any]:
    """The asset as the viewer takes it: arrays as gzip in base64, pictures as data: addresses.

    Args:
        before: what it was made of, in the same frame; shown beside it behind a divider. Where it
            has the asset's own vertices, the page holds them once.

    parts, before: positions (V, 3) float32 about the middle, in units of the radius; normals (V,
    3) int8, 127 for 1; uv (V, 2) float32; colours (V, 4) uint8; faces (F, 3) uint32, all of them
    numbers of `arrays`; and the values of the material, whose maps are numbers of `pictures`.
    """
    meshes = [m for m in asset.meshes.values() if len(m.faces)]
    middle, radius = _sphere(meshes)
    arrays, pictures = _Arrays(), _Pictures()
    earlier = [m for m in before.meshes.values() if len(m.faces)] if before else []

    def parts(shown: list[Mesh]) -> list[dict[str, Any]]:
        return [_part(m, middle, radius, arrays=arrays, pictures=pictures) for m in shown]

    return {
        "parts": parts(meshes),
        "before": parts(earlier),
        "arrays": arrays.packed,
        "pictures": pictures.addresses,
        "radius": radius,
    }


def extent(asset: Asset) -> np.ndarray:
    """Sizes (3,) of the box about an asset, in its own units."""
    used = [m.vertices[m.faces.reshape(-1)] for m in asset.meshes.values() if len(m.faces)]
    if not used:
        return np.zeros(3)
    return np.ptp(np.concatenate([[p.min(0), p.max(0)] for p in used]), axis=0)


def _sphere(meshes: list[Mesh]) -> tuple[np.ndarray, float]:
    """Middle (3,) and radius of a sphere about all faces: about the middle of their box."""
    used = [m.vertices[np.unique(m.faces)].astype(np.float64) for m in meshes]
    if not used:
        return np.zeros(3), 1.0
    ends = np.concatenate([[p.min(0), p.max(0)] for p in used])
    middle = (ends.min(0) + ends.max(0)) / 2
    radius = max(float(np.linalg.norm(p - middle, axis=1).max()) for p in used)
    return middle, radius if radius > 0 else 1.0


def _part(
    mesh: Mesh, middle: np.ndarray, radius: float, *, arrays: _Arrays, pictures: _Pictures
) -> dict[str, Any]:
    mesh = with_hard_edges(mesh)
    assert mesh.normals is not None
    framed = (mesh.vertices.astype(np.float64) - middle) / radius
    part: dict[str, Any] = {
        "positions": arrays.number(framed, np.float32),
        "normals": arrays.number(np.rint(mesh.normals.clip(-1, 1) * 127), np.int8),
        "faces": arrays.number(mesh.faces, np.uint32),
    }
    if mesh.uv is not None:
        part["uv"] = arrays.number(mesh.uv, np.float32)
    if mesh.colours is not None:
        colours = np.ones((len(mesh.colours), 4), np.float32)
        colours[:, : mesh.colours.shape[1]] = mesh.colours
        part["colours"] = arrays.number(np.rint(colours.clip(0, 1) * 255), np.uint8)
    bare = mesh.material is None and mesh.texture is None and mesh.colours is None
    material = Material(colour=(0.8, 0.78, 0.75, 1.0)) if bare else mesh.material or Material()
    part |= {
        "colour": [float(v) for v in material.colour],
        "emission": [float(v) for v in material.emission],
        "roughness": float(material.roughness),
        "metallic": float(material.metallic),
        "alphaMode": material.alpha_mode,
        "alphaCutoff": float(material.alpha_cutoff),
        "normalScale": float(material.normal_scale),
        "doubleSided": bool(material.double_sided) or mesh.material is None,
        "unlit": bool(material.unlit),
        "wrap": [material.sampler.wrap_u, material.sampler.wrap_v],
        "nearest": bool(material.sampler.nearest),
    }
    if mesh.uv is not None:
        maps = {
            "texture": mesh.texture,
            "roughnessMap": material.metallic_roughness,
            "normalMap": material.normal_map,
            "occlusionMap": material.occlusion_map,
            "emissiveMap": material.emissive_map,
        }
        for name, pixels in maps.items():
            if pixels is not None:
                part[name] = pictures.number(pixels, material)
    return part


def with_hard_edges(mesh: Mesh) -> Mesh:
    """The mesh with normals of some length; of one without any, hard edges stay hard."""
    if mesh.normals is not None:
        short = np.linalg.norm(mesh.normals, axis=1) < 0.1
        if not short.any():
            return mesh
        smooth = replace(mesh, normals=None).with_normals().normals
        assert smooth is not None
        return replace(mesh, normals=np.where(short[:, None], smooth, mesh.normals))
    if len(mesh.faces) > SHARP_FACES:
        return mesh.with_normals()
    corner = mesh.faces.reshape(-1)

    def each(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[corner]

    faces = np.arange(len(corner), dtype=np.int32).reshape(-1, 3)
    whole = Mesh(
        mesh.vertices[corner],
        faces,
        each(mesh.uv),
        texture=mesh.texture,
        colours=each(mesh.colours),
        material=mesh.material,
    )
    return whole.with_creases()


class _Arrays:
    """Every array of a page once, packed."""

    def __init__(self) -> None:
        self.packed: list[str] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, values: np.ndarray, kind: Any) -> int:
        """The number of an array, as values of a kind."""
        data = np.ascontiguousarray(values, kind).tobytes()
        mark = hashlib.sha256(data).digest()
        if mark not in self._numbers:
            self._numbers[mark] = len(self.packed)
            small = gzip.compress(data, 6, mtime=0)
            self.packed.append(base64.b64encode(small).decode())
        return self._numbers[mark]


class _Pictures:
    """Every picture of a page once, in the bytes of its file where these are known."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._numbers: dict[int, int] = {}

    def number(self, pixels: np.ndarray, material: Material) -> int:
        """The number of a picture (H, W, 3 or 4) uint8."""
        if id(pixels) not in self._numbers:
            self._numbers[id(pixels)] = len(self.addresses)
            self.addresses.append(_address(pixels, material.encoded(pixels)))
        return self._numbers[id(pixels)]


def _address(pixels: np.ndarray, file: EncodedImage | None) -> str:
    if max(pixels.shape[:2]) <= LARGEST_TEXTURE:
        if file is not None:
            return f"data:{file.mime};base64," + base64.b64encode(file.data).decode()
        shown = Image.fromarray(pixels)
    else:
        share = LARGEST_TEXTURE / max(pixels.shape[:2])
        size = (max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share)))
        shown = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
