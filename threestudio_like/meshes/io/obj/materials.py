"""MTL, the material library of an OBJ file: reading."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ....engine.errors import InputError
from ...mesh import Material, Sampler
from ..beside import find_beside
from ..images import larger, resized
from .blocks import MAPS, Block, Line, map_line, read_blocks
from .pictures import Pictures
from .source import Library
from .statements import Statement

_MOST_LIBRARIES, _MOST_LINES = 1000, 500_000
"""Largest number of library names of a file, and of lines of a library that is read."""
_USED = (
    MAPS
    - {"map_ka", "map_ks", "map_ns", "map_ps", "disp", "map_disp", "decal", "refl"}
    - {"map_refl"}
)


@dataclass
class Painted:
    """A material and its base-colour texture; texture coordinates of the file count times `scale`
    plus `shift`."""

    material: Material
    texture: np.ndarray | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def laid_out(self) -> bool:
        """Whether the coordinates are not those of the file."""
        return self.scale != (1.0, 1.0) or self.shift != (0.0, 0.0)


@dataclass
class Shelf:
    """The libraries of an OBJ file by line, with their materials by name and their pictures.
    whole: every library that the file names was read."""

    painted: dict[str, Painted] = field(default_factory=dict)
    libraries: dict[int, list[Library]] = field(default_factory=dict)
    pictures: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    whole: bool = True

    def name_of(self, name: str) -> str:
        """The material that a name means: the one of this name, else the only one that differs from
        it in the case of letters, else none that is known, and the name itself."""
        if name in self.painted:
            return name
        alike = [other for other in self.painted if other.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else name


def read_libraries(path: Path, named: list[Statement], textures: bool, notes: list[str]) -> Shelf:
    """What the "mtllib" lines of the OBJ file `path` name. Missing files are noted. Raises
    InputError for damaged ones."""
    shelf = Shelf()
    pictures = Pictures(path.parent, str(path), notes)
    found: dict[str, list[Library]] = {}
    for row in named:
        # Some programs name the library again before each object.
        if row.rest in found:
            if found[row.rest]:
                shelf.libraries[row.line] = found[row.rest]
            continue
        found[row.rest] = []
        if len(found) > _MOST_LIBRARIES:
            raise InputError(
                f"names more than {_MOST_LIBRARIES} material libraries",
                str(path),
                "Export the mesh again with one library",
            )
        files, whole = _files(path, row.rest, notes)
        shelf.whole &= whole
        for name, file in files:
            data = file.read_bytes()
            if max(data.count(b"\n"), data.count(b"\r")) > _MOST_LINES:
                notes.append(
                    f'library "{name[:60]}" has more than {_MOST_LINES:,} lines: its materials are '
                    "plain"
                )
                shelf.whole = False
                continue
            found[row.rest].append(Library(name, data))
            shelf.libraries[row.line] = found[row.rest]
            for block in read_blocks(data)[1]:
                shelf.painted[block.name] = _painted(block, file, pictures, textures=textures)
    shelf.pictures = pictures.kept
    return shelf


def _files(path: Path, rest: str, notes: list[str]) -> tuple[list[tuple[str, Path]], bool]:
    """The libraries that a line names, one whose name may have spaces, or several; and whether all
    were found."""
    whole = find_beside(path.parent, rest, str(path))
    if whole.path is not None:
        names = [rest]
    else:
        names = re.split(r"(?<=\.mtl)\s+", rest, maxsplit=_MOST_LIBRARIES, flags=re.IGNORECASE)
    out = []
    for name in names:
        found = find_beside(path.parent, name, str(path))
        if found.path is None:
            notes.append(f'library "{name[:60]}" {found.note}: its materials are plain')
            continue
        if found.note:
            notes.append(f'library "{name[:60]}" {found.note}')
        out.append((name, found.path))
    return out, len(out) == len(names)


def in_bytes(values: Sequence[float] | np.ndarray) -> bool:
    """Whether colours are given from 0 to 255 instead of from 0 to 1."""
    flat = np.asarray(values, np.float64).reshape(-1)
    high = float(flat.max(initial=0))
    return 1.001 < high <= 255 and (high > 2 or bool((flat == np.rint(flat)).all()))


def _painted(block: Block, file: Path, pictures: Pictures, textures: bool) -> Painted:
    try:
        material = _plain(block, pictures.notes)
    except _BadLine as bad:
        raise InputError(
            f'the material "{block.name[:40]}" has the line "{bad.line.shown}"',
            str(file),
            "Correct it",
        ) from None
    return _with_maps(block, material, file, pictures=pictures, textures=textures)


class _BadLine(Exception):
    def __init__(self, line: Line) -> None:
        self.line = line


def _numbers(block: Block, *keys: str) -> list[float]:
    """The numbers of the last line of some statements; those of a spectrum, which are none, are
    left out."""
    line = block.last(*keys)
    if line is None or (line.words and line.words[0].lower() in ("spectral", "xyz")):
        return []
    try:
        numbers = [float(w) for w in line.words if not w.startswith("-halo")]
    except ValueError:
        raise _BadLine(line) from None
    if not all(map(math.isfinite, numbers)):
        raise _BadLine(line)
    return numbers


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _plain(block: Block, notes: list[str]) -> Material:
    """The material by its numbers."""
    material = Material(block.name)
    colour = _numbers(block, "kd")
    # One number is a grey.
    colour = colour[:3] if len(colour) >= 3 else colour[:1] * 3
    if colour and in_bytes(colour):
        notes.append(f'colour of "{block.name[:40]}" is given from 0 to 255: scaled to 0 to 1')
        colour = [x / 255 for x in colour]
    if colour and block.last("map_kd") is not None and max(colour) <= 0:
        notes.append(f'colour of "{block.name[:40]}" is black under its texture: taken as white')
        colour = [1.0, 1.0, 1.0]
    opacity, see_through = _numbers(block, "d"), _numbers(block, "tr")
    alpha = _unit(opacity[-1] if opacity else round(1 - see_through[-1], 9) if see_through else 1.0)
    r, g, b = (_unit(x) for x in colour or (1.0, 1.0, 1.0))
    material.colour = (r, g, b, alpha)
    rough, metal, glow = _numbers(block, "pr"), _numbers(block, "pm"), _numbers(block, "ke")
    shine, gloss = _numbers(block, "ns"), _numbers(block, "ks")
    if rough:
        material.roughness = _unit(rough[0])
    elif shine and not (gloss and max(gloss) <= 0):
        material.roughness = _unit(math.sqrt(2 / (max(shine[0], 0.0) + 2)))
    if metal:
        material.metallic = _unit(metal[0])
    if glow:
        r, g, b = (max(0.0, x) for x in (glow * 3 if len(glow) < 3 else glow)[:3])
        material.emission = (r, g, b)
    maps = ("map_pr", "map_pm", "map_orm", "map_arm")
    material.surface_given = bool(rough or metal) or any(block.last(m) is not None for m in maps)
    material.alpha_mode = "BLEND" if alpha < 1 else "OPAQUE"
    return _with_comments(block, material)


def _with_comments(block: Block, material: Material) -> Material:
    """With what this package says in comments."""
    mode = block.last("# alpha_mode")
    if mode is not None and mode.words and mode.words[0] in ("OPAQUE", "MASK", "BLEND"):
        material.alpha_mode = mode.words[0]
        try:
            material.alpha_cutoff = _unit(float(mode.words[1])) if len(mode.words) > 1 else 0.5
        except ValueError:
            material.alpha_cutoff = 0.5
    material.double_sided = block.last("# double_sided") is not None
    material.unlit = block.last("# unlit") is not None
    look_up = block.last("# sampler")
    known = ("repeat", "clamp", "mirror")
    if look_up is not None and len(look_up.words) >= 2 and set(look_up.words[:2]) <= set(known):
        u, v = look_up.words[:2]
        material.sampler = Sampler(u, v, "nearest" in look_up.words)
    return material


def _with_maps(
    block: Block, material: Material, file: Path, pictures: Pictures, textures: bool
) -> Painted:
    paths: dict[str, Path] = {}
    for line in block.lines if textures else []:
        if line.key in MAPS and line.words:
            told = line.key in _USED
            name = map_line(line).name
            path = pictures.keep(name, file, block.name, told=told)
            if path is not None and told and pictures.opens(path, block.name):
                paths[line.key] = path
    out = Painted(material)
    base = block.last("map_kd")
    if "map_kd" in paths and base is not None:
        said = map_line(base)
        out.texture, out.scale, out.shift = (
            pictures.whole(paths["map_kd"]),
            said.scale,
            said.shift,
        )
        if said.clamp and material.sampler.plain:
            material.sampler = Sampler("clamp", "clamp")
    _with_opacity(block, out, paths, pictures=pictures)
    _with_surface(block, material, paths, pictures=pictures)
    material.images = pictures.encoded(
        out.texture,
        material.normal_map,
        material.emissive_map,
        material.metallic_roughness,
        material.occlusion_map,
    )
    passed = {o for line in block.lines if line.key in paths for o in map_line(line).passed_over}
    if passed:
        pictures.notes.append(
            f'options of maps of "{block.name[:40]}" are not applied: {", ".join(sorted(passed))}'
        )
    layouts = {
        (m.scale, m.shift) for m in (map_line(line) for line in block.lines if line.key in paths)
    }
    if len(layouts) > 1:
        pictures.notes.append(
            f'maps of "{block.name[:40]}" are scaled differently: all lie like the colour'
        )
    return out


def _with_opacity(block: Block, out: Painted, paths: dict[str, Path], pictures: Pictures) -> None:
    """The texture with the opacity of map_d, and the alpha mode that goes with it."""
    line, texture = block.last("map_d"), out.texture
    # A picture without alpha that is named for both says nothing about opacity.
    same = "map_d" in paths and paths.get("map_d") == paths.get("map_kd")
    if "map_d" in paths and line is not None and not (same and texture is not None):
        alpha = pictures.alpha(paths["map_d"], map_line(line).channel)
        if texture is None:
            texture = np.full((*alpha.shape, 3), 255, np.uint8)
        shape = larger(texture, alpha)
        rgb, alpha = resized(np.ascontiguousarray(texture[..., :3]), shape), resized(alpha, shape)
        out.texture = np.dstack([rgb, alpha])
    if (
        out.texture is None
        or out.texture.shape[2] == 3
        or block.last("# alpha_mode") is not None
        or out.material.alpha_mode == "BLEND"
    ):
        return
    values = out.texture[..., 3]
    if (values < 255).any():
        grey = ((values > 0) & (values < 255)).any()
        out.material.alpha_mode = "BLEND" if grey else "MASK"


def _with_surface(
    block: Block, material: Material, paths: dict[str, Path], pictures: Pictures
) -> None:
    """The maps of roughness, metal, occlusion, normals and emission."""
    packed = paths.get("map_orm") or paths.get("map_arm")
    rough, metal = paths.get("map_pr"), paths.get("map_pm")
    if rough is not None or metal is not None:
        material.metallic_roughness = _packed(rough, metal, pictures)
    elif packed is not None:
        material.metallic_roughness = pictures.colour(packed)
    # A number of zero beside a map is what exporters write for "see the map".
    if (rough or packed) is not None and not any(_numbers(block, "pr")):
        material.roughness = 1.0
    if (metal or packed) is not None and not any(_numbers(block, "pm")):
        material.metallic = 1.0
    shade = paths.get("map_ao") or packed
    material.occlusion_map = None if shade is None else pictures.colour(shade)
    for key in ("norm", "map_norm", "map_bump", "bump"):
        line = block.last(key)
        if key in paths and line is not None:
            material.normal_map = pictures.normals(paths[key], key in ("norm", "map_norm"))
            material.normal_scale = map_line(line).strength
            break
    if "map_ke" in paths:
        material.emissive_map = pictures.colour(paths["map_ke"])
        if not any(material.emission):
            material.emission = (1.0, 1.0, 1.0)


def _packed(rough: Path | None, metal: Path | None, pictures: Pictures) -> np.ndarray:
    """Roughness in green and metal in blue; a map that there is not is 1 everywhere."""
    known = [pictures.colour(p) for p in (rough, metal) if p is not None]
    shape = larger(known[0], known[-1])
    whole = np.full((*shape, 3), 255, np.uint8)
    for channel, path in ((1, rough), (2, metal)):
        if path is not None:
            # Roughness and metal may be packed in one picture that is named twice.
            column = channel if rough == metal else 0
            whole[..., channel] = resized(pictures.colour(path), shape)[..., column]
    return whole
