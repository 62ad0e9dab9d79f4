"""The lines of MTL that say what a material is, and the pictures that they name."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ...mesh import Material, Mesh
from ..images import encode_png

SUBJECTS: dict[str, tuple[str, ...]] = {
    "colour": ("kd",),
    "gloss": ("ks", "ns", "illum"),
    "roughness": ("pr", "map_pr", "map_orm", "map_arm"),
    "metallic": ("pm", "map_pm", "map_orm", "map_arm"),
    "opacity": ("d", "tr", "map_d", "# alpha_mode"),
    "texture": ("map_kd", "# sampler"),
    "normals": ("norm", "map_norm", "map_bump", "bump"),
    "occlusion": ("map_ao", "map_orm", "map_arm"),
    "emission": ("ke", "map_ke"),
    "sides": ("# double_sided",),
    "light": ("# unlit",),
}
"""What a statement is about: its keys, in lower case."""


class NewPictures:
    """Pictures that are written beside a file, each array once. files: their bytes by name;
    reserved: names that only these bytes may have."""

    def __init__(self, stem: str, reserved: dict[str, bytes] | None = None) -> None:
        self.stem, self.reserved = stem, reserved or {}
        self.files: dict[str, bytes] = {}
        self._names: dict[tuple[int, str], str] = {}
        self._held: list[np.ndarray] = []
        # By names in one letter case, since some disks know no other, and by their bytes.
        self._taken: set[str] = set()
        self._alike: dict[bytes, list[str]] = {}
        self._first: dict[tuple[str, str], int] = {}
        for name, data in self.reserved.items():
            self._take(name, data)

    def name(
        self, source: np.ndarray, suffix: str, material: Material, channel: int | None = None
    ) -> str:
        """The name of the file of an array, or of one of its channels as a grey picture. The bytes
        that it was read from are used again."""
        mark = (id(source), suffix)
        if mark not in self._names:
            encoded = material.encoded(source) if channel is None else None
            if encoded is not None and encoded.mime in ("image/png", "image/jpeg"):
                data, kind = encoded.data, "jpg" if encoded.mime == "image/jpeg" else "png"
            else:
                pixels = (
                    source
                    if channel is None
                    else np.repeat(source[..., channel : channel + 1], 3, 2)
                )
                data, kind = encode_png(pixels), "png"
            self._names[mark] = self.add(f"{self.stem}{suffix}", kind, data)
            # An array that is gone could leave its number to another.
            self._held.append(source)
        return self._names[mark]

    def add(self, stem: str, kind: str, data: bytes) -> str:
        """The name under which some bytes are written: theirs, with a number where it is taken."""
        ending = f".{kind}" if kind else ""
        # Thousands of pictures of one stem do not ask for each other's numbers.
        number = self._first.get((stem, ending), 0)
        while _numbered(stem, number, ending).casefold() in self._taken:
            number += 1
        self._first[stem, ending] = number
        pattern = re.compile(f"{re.escape(stem.casefold())}(\\d*){re.escape(ending.casefold())}")
        same = [m[1] for m in map(pattern.fullmatch, self._alike.get(data, ())) if m]
        number = min([number, *(int(n or 0) for n in same if n == "" or str(int(n)) == n != "0")])
        name = _numbered(stem, number, ending)
        self.files[name] = data
        self._take(name, data)
        return name

    def _take(self, name: str, data: bytes) -> None:
        if name.casefold() not in self._taken:
            self._taken.add(name.casefold())
            self._alike.setdefault(data, []).append(name.casefold())


def _numbered(stem: str, number: int, ending: str) -> str:
    return f"{stem}{number or ''}{ending}"


def material_lines(
    material: Material,
    mesh: Mesh,
    pictures: NewPictures,
    wanted: Callable[[str], bool] = lambda subject: True,
) -> list[tuple[str, str]]:
    """The lines of a material without its name, each with what it is about (`SUBJECTS`); only those
    `wanted`."""
    r, g, b, alpha = material.colour
    out: list[tuple[str, str]] = []

    def say(subject: str, line: Callable[[], str] | str, there: bool = True) -> None:
        # Pictures are encoded only where their line is written.
        if there and wanted(subject):
            out.append((subject, line if isinstance(line, str) else line()))

    def named(
        key: str, source: np.ndarray | None, suffix: str, channel: int | None = None
    ) -> Callable[[], str]:
        def line() -> str:
            assert source is not None
            return f"{key} {pictures.name(source, suffix, material, channel)}"

        return line

    texture, packed, look_up = mesh.texture, material.metallic_roughness, material.sampler
    say("colour", f"Kd {r:.6g} {g:.6g} {b:.6g}")
    say("gloss", "Ks 0 0 0")
    say("gloss", "illum 1")
    say("roughness", f"Pr {material.roughness:.6g}")
    say("metallic", f"Pm {material.metallic:.6g}")
    say("opacity", f"d {alpha:.6g}")
    clamp = "-clamp on " if look_up.wrap_u == look_up.wrap_v == "clamp" else ""
    say("texture", named(f"map_Kd {clamp}".rstrip(), texture, ""), texture is not None)
    see_through = texture is not None and texture.shape[2] == 4 and material.alpha_mode != "OPAQUE"
    say("opacity", named("map_d", texture, "-opacity", channel=3), see_through)
    say("roughness", named("map_Pr", packed, "-roughness", channel=1), packed is not None)
    say("metallic", named("map_Pm", packed, "-metallic", channel=2), packed is not None)
    strength = "" if material.normal_scale == 1 else f" -bm {material.normal_scale:.6g}"
    say(
        "normals",
        named(f"norm{strength}", material.normal_map, "-normals"),
        material.normal_map is not None,
    )
    shade, glow = material.occlusion_map, material.emissive_map
    say("occlusion", named("map_AO", shade, "-occlusion"), shade is not None)
    say("emission", "Ke {:.6g} {:.6g} {:.6g}".format(*material.emission), any(material.emission))
    say("emission", named("map_Ke", glow, "-emission"), glow is not None)
    # What MTL has no statement for is said in comments, which other readers skip.
    mode = f"# alpha_mode {material.alpha_mode}"
    mode += f" {material.alpha_cutoff:.6g}" if material.alpha_mode == "MASK" else ""
    alpha_there = texture is not None and texture.shape[2] == 4
    say("opacity", mode, material.alpha_mode != "OPAQUE" or alpha < 1 or alpha_there)
    say("sides", "# double_sided", material.double_sided)
    say("light", "# unlit", material.unlit)
    nearest = " nearest" if look_up.nearest else ""
    plain = look_up.plain or (bool(clamp) and not nearest)
    say("texture", f"# sampler {look_up.wrap_u} {look_up.wrap_v}{nearest}", not plain)
    return out
