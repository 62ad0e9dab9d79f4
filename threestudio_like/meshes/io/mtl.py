"""MTL, the material library of an OBJ file: reading and writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ..mesh import Material, Mesh
from .images import decode, encode_png, neighbour


def read_materials(
    path: Path, libraries: list[str], textures: bool
) -> dict[str, tuple[Material, np.ndarray | None]]:
    """Materials and base-colour textures by name, from the libraries that the OBJ file `path`
    refers to. Raises InputError."""
    out: dict[str, tuple[Material, np.ndarray | None]] = {}
    images: dict[str, np.ndarray] = {}
    for library in libraries:
        try:
            file = neighbour(path.parent, library, str(path))
        except InputError:
            if not textures:
                continue
            raise
        name = ""
        for line in file.read_bytes().decode("utf-8", "replace").splitlines():
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            key, rest = words[0].lower(), words[1:]
            if key == "newmtl":
                name = " ".join(rest)
                out[name] = (Material(name), None)
            if not name:
                continue
            material, image = out[name]
            try:
                if key == "kd" and len(rest) >= 3:
                    r, g, b = (min(1.0, max(0.0, float(x))) for x in rest[:3])
                    material = replace(material, colour=(r, g, b, material.colour[3]))
                elif key == "d" and rest:
                    material = replace(
                        material, colour=(*material.colour[:3], min(1.0, max(0.0, float(rest[-1]))))
                    )
                elif key == "pr" and rest:
                    material = replace(material, roughness=min(1.0, max(0.0, float(rest[0]))))
                elif key == "pm" and rest:
                    material = replace(material, metallic=min(1.0, max(0.0, float(rest[0]))))
            except ValueError:
                raise InputError(
                    f'the material "{name}" has the line "{line.strip()[:40]}"',
                    str(file),
                    "Correct it",
                ) from None
            if key in ("map_kd", "map_pr", "map_pm") and rest and textures:
                target = _map_name(rest)
                if target not in images:
                    images[target] = decode(
                        neighbour(file.parent, target, str(file)).read_bytes(), str(file)
                    )
                if key == "map_kd":
                    image = images[target]
                else:
                    material = _with_map(material, images[target], 1 if key == "map_pr" else 2)
            out[name] = (material, image)
    return out


def _with_map(material: Material, image: np.ndarray, channel: int) -> Material:
    old = material.metallic_roughness
    whole = (
        np.full((*image.shape[:2], 3), 255, np.uint8)
        if old is None or old.shape[:2] != image.shape[:2]
        else old.copy()
    )
    whole[..., channel] = image[..., 0]
    if old is None:
        whole[..., 3 - channel] = 0 if channel == 1 else 255
    return replace(material, metallic_roughness=whole)


_MAP_OPTIONS = {
    "-blendu": 1,
    "-blendv": 1,
    "-boost": 1,
    "-mm": 2,
    "-o": 3,
    "-s": 3,
    "-t": 3,
    "-texres": 1,
    "-clamp": 1,
    "-bm": 1,
    "-imfchan": 1,
    "-type": 1,
    "-cc": 1,
}


def _map_name(words: list[str]) -> str:
    """The file name in a map line, without the options."""
    at = 0
    while at < len(words) - 1 and words[at] in _MAP_OPTIONS:
        at += 1 + _MAP_OPTIONS[words[at]]
    return " ".join(words[at:]) or words[-1]


def mtl_lines(
    material: Material,
    name: str,
    mesh: Mesh,
    stem: str,
    pictures: dict[tuple[int, str], tuple[str, bytes]],
) -> list[str]:
    """The lines of one material.

    Args:
        stem: beginning of the names of its pictures.
        pictures: the pictures that have been written so far, by the array that they come from and
            their kind: file name and bytes. Those of this material are added.
    """
    r, g, b, alpha = material.colour
    lines = [
        f"newmtl {name}",
        f"Kd {r:.6g} {g:.6g} {b:.6g}",
        "Ks 0 0 0",
        "illum 1",
        f"Pr {material.roughness:.6g}",
        f"Pm {material.metallic:.6g}",
        f"d {alpha:.6g}",
    ]

    def save(source: np.ndarray, suffix: str, channel: int | None = None) -> str:
        mark = (id(source), suffix)
        if mark not in pictures:
            count = len([k for k in pictures if k[1] == suffix])
            pixels = (
                source if channel is None else np.repeat(source[..., channel : channel + 1], 3, 2)
            )
            pictures[mark] = (f"{stem}{suffix}{count or ''}.png", encode_png(pixels))
        return pictures[mark][0]

    if mesh.texture is not None:
        lines.append(f"map_Kd {save(mesh.texture, '')}")
    if material.metallic_roughness is not None:
        lines.append(f"map_Pr {save(material.metallic_roughness, '-roughness', 1)}")
        lines.append(f"map_Pm {save(material.metallic_roughness, '-metallic', 2)}")
    return lines
