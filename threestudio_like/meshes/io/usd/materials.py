"""USD's preview surfaces as the materials of this package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import EncodedImage, Material, Mesh, Sampler
from ..images import larger, resized, to_display
from ..sources.archive import Archive
from ..sources.pictures import Pictures, encoded
from ..sources.text import listed

_WRAPS = {"clamp": "clamp", "black": "clamp", "mirror": "mirror"}
_CHANNELS = {"r": 0, "g": 1, "b": 2, "a": 3}
_SURFACE = ("roughness", "metallic")


class Materials:
    """The materials of a file by number. notes: gets a line for each picture that is left out."""

    def __init__(
        self, path: Path, rows: list[dict[str, Any]], notes: list[str], textures: bool
    ) -> None:
        self.path, self.rows, self.notes = path, rows, notes
        self.pictures = Pictures(path, notes) if textures else None
        self.archive: Archive | None = None
        self.packed: dict[str, EncodedImage | None] = {}
        self.made: dict[int, tuple[Material, np.ndarray | None, Any]] = {}

    def shows_colours(self, groups: list[int]) -> bool:
        """Whether the colours of vertices are seen: where there is no material, or where it asks
        for them. Programs write them for their own windows otherwise."""
        return any(
            n < 0 or not self.rows[n]["inputs"] or "primvar" in self._input(n, "diffuseColor")
            for n in groups
        )

    def onto(self, mesh: Mesh, number: int, double_sided: bool) -> Mesh:
        """The mesh with a material."""
        if number < 0:
            if not double_sided:
                return mesh
            return replace(mesh, material=Material(double_sided=True))
        if number not in self.made:
            self.made[number] = self._material(number)
        material, texture, transform = self.made[number]
        uv = mesh.uv
        if uv is not None and transform is not None:
            uv = _moved(uv, transform)
        material = replace(material, double_sided=double_sided)
        return replace(mesh, uv=uv, texture=texture if uv is not None else None, material=material)

    def _input(self, number: int, name: str) -> dict[str, Any]:
        return self.rows[number]["inputs"].get(name, {})

    def _material(self, number: int) -> tuple[Material, np.ndarray | None, Any]:
        inputs = self.rows[number]["inputs"]
        out = Material(line_name(self.rows[number]["name"], "surface"), roughness=0.5)
        self._tell(number, out.name[:40])
        colour = self._input(number, "diffuseColor")
        base = self._image(colour, out)
        texture = None if base is None else base.pixels
        # The colour of a surface without one is grey.
        factor = [0.18] * 3 if base is None and "primvar" not in colour and inputs else [1.0] * 3
        if "value" in colour:
            factor = _three(colour["value"])
        elif base is not None:
            factor = _three(colour["scale"])
            wrap = [_WRAPS.get(w, "repeat") for w in colour["wrap"]]
            out.sampler = Sampler(wrap[0], wrap[1])
        elif "file" in colour:
            factor = [1.0] * 3
        display = [round(float(v), 6) for v in to_display(np.clip(factor, 0, 1))]
        out.colour = (display[0], display[1], display[2], 1.0)
        texture = self._opacity(number, out, base)
        self._metal(number, out)
        self._maps(number, out)
        return out, texture, self._place(number, out.name[:40])

    def _place(self, number: int, name: str) -> Any:
        """How the maps of a material are scaled, turned and moved: like the colour's, or the first
        where that has none; None where they are not."""
        inputs = self.rows[number]["inputs"]
        given = {kind: row.get("transform") for kind, row in inputs.items() if "file" in row}
        chosen = given.get("diffuseColor", next(iter(given.values()), None))
        if any(place != chosen for place in given.values()):
            self.notes.append(f'maps of "{name}" are scaled differently: all lie like one')
        return chosen

    def _tell(self, number: int, name: str) -> None:
        """Note what of a material is not read."""
        row = self.rows[number]
        if row["kind"]:
            kind = line_name(row["kind"])[:60]
            self.notes.append(
                f'the look of "{name}" is left out: it is no preview surface ({kind})'
            )
        if row["unread"]:
            self.notes.append(f'inputs of "{name}" that are left out: {listed(row["unread"])}')
        turned = {
            kind
            for kind in ("diffuseColor", "occlusion", "emissiveColor")
            if any(self._input(number, kind).get("bias", [0.0])[:3])
        }
        if turned:
            self.notes.append(f'a bias of maps of "{name}" is left out: {listed(sorted(turned))}')

    def _opacity(self, number: int, out: Material, base: EncodedImage | None) -> np.ndarray | None:
        """The texture of a material with its opacity, which may lie in another picture."""
        given = self._input(number, "opacity")
        threshold = self._input(number, "opacityThreshold").get("value") or 0.0
        texture, alpha = None if base is None else base.pixels, 1.0
        image = self._image(given, out)
        if "value" in given:
            alpha = float(np.clip(given["value"], 0, 1))
        elif image is not None:
            values, alpha = _channel(image.pixels, given, 3)
            if texture is None:
                texture = np.full((*values.shape, 3), 255, np.uint8)
            if texture.shape[2] == 3 or not np.array_equal(texture[..., 3], values):
                shape = larger(texture, values)
                rgb = resized(np.ascontiguousarray(texture[..., :3]), shape)
                texture = np.dstack([rgb, resized(values, shape)])
        seen_through = alpha < 1 or "file" in given or "primvar" in given
        if threshold > 0:
            out.alpha_mode, out.alpha_cutoff = "MASK", round(float(threshold), 6)
        elif seen_through:
            out.alpha_mode = "BLEND"
        out.colour = (*out.colour[:3], round(alpha, 6))
        if image is None and texture is not None and out.alpha_mode != "OPAQUE":
            # Its own opacity is not asked for.
            texture = _opaque(texture)
        return texture

    def _metal(self, number: int, out: Material) -> None:
        """Roughness and metallic, each a number or a channel of a picture."""
        found: dict[str, np.ndarray] = {}
        whole: dict[str, np.ndarray] = {}
        for channel, name in enumerate(_SURFACE, 1):
            given = self._input(number, name)
            image = self._image(given, out)
            if "value" in given:
                setattr(out, name, round(float(np.clip(given["value"], 0, 1)), 6))
            elif image is not None:
                found[name], factor = _channel(image.pixels, given, channel)
                setattr(out, name, round(factor, 6))
                pixels = image.pixels
                plain = _CHANNELS.get(given["channel"], channel) == channel
                if plain and pixels.shape[2] == 3 and np.may_share_memory(found[name], pixels):
                    whole[name] = pixels
        if len(whole) == 2 and whole["roughness"] is whole["metallic"]:
            out.metallic_roughness = whole["roughness"]
        elif found:
            shape = larger(*(found.get(name, next(iter(found.values()))) for name in _SURFACE))
            # One of them may be a number.
            pixels = np.full((*shape, 3), 255, np.uint8)
            for channel, name in enumerate(_SURFACE, 1):
                if name in found:
                    pixels[..., channel] = resized(found[name], shape)
            out.metallic_roughness = pixels

    def _maps(self, number: int, out: Material) -> None:
        """Normals, occlusion and emission."""
        normal = self._input(number, "normal")
        image = self._image(normal, out)
        if image is not None:
            out.normal_map = _opaque(image.pixels)
            if normal["bias"][0]:
                # Pictures hold [0, 1], and are scaled by 2 to be [-1, 1].
                out.normal_scale = round(normal["scale"][0] / 2, 6)
        image = self._image(self._input(number, "occlusion"), out)
        if image is not None:
            out.occlusion_map = _opaque(image.pixels)
        glow = self._input(number, "emissiveColor")
        image = self._image(glow, out)
        if image is not None:
            out.emissive_map = _opaque(image.pixels)
        if image is not None or "value" in glow:
            light = _three(glow["scale"] if image is not None else glow["value"])
            out.emission = (light[0], light[1], light[2])

    def _image(self, given: dict[str, Any], material: Material) -> EncodedImage | None:
        """The picture of an input, which the material then knows."""
        if "file" not in given or self.pictures is None:
            return None
        name, resolved = given["file"], given["resolved"]
        inner = resolved.partition("[")[2].rstrip("]")
        if inner and resolved.partition("[")[0] == str(self.path.resolve()):
            image = self._unpacked(inner)
        else:
            folder = self.path.resolve().parent
            if resolved and Path(resolved).is_relative_to(folder):
                name = str(Path(resolved).relative_to(folder)).replace("%", "%25")
            image = self.pictures.get(name)
        if image is not None and material.encoded(image.pixels) is None:
            material.images = (*material.images, image)
        return image

    def _unpacked(self, name: str) -> EncodedImage | None:
        """A picture of a package."""
        if name not in self.packed:
            try:
                if self.archive is None:
                    self.archive = Archive(self.path.read_bytes(), str(self.path))
                data = self.archive.read(name)
                self.packed[name] = encoded(data, name.rsplit("/", 1)[-1], str(self.path))
            except InputError as error:
                self.packed[name] = None
                self.notes.append(line_name(f"a picture is left out: {error.what}"))
        return self.packed[name]


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """Pixels without their opacity; the array itself where it has none."""
    return pixels if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., :3])


def _channel(pixels: np.ndarray, given: dict[str, Any], usual: int) -> tuple[np.ndarray, float]:
    """The channel (H, W) of a picture that an input is, and the number in [0, 1] that it counts
    times.

    Args:
        given: the input. usual: the channel where it says none.
    """
    slot = _CHANNELS.get(given["channel"], usual)
    if slot >= pixels.shape[2]:
        # A picture without opacity is opaque.
        values = np.full(pixels.shape[:2], 255, np.uint8)
    else:
        values = pixels[..., slot]
    scale, bias = (float(np.resize(given[key], 4)[slot]) for key in ("scale", "bias"))
    if bias == 0 and 0 <= scale <= 1:
        return values, scale
    # Gloss as roughness, for example: a number times the picture cannot say that.
    turned = (values.astype(np.float64) / 255 * scale + bias).clip(0, 1)
    return np.rint(np.nan_to_num(turned) * 255).astype(np.uint8), 1.0


def _three(values: Any) -> list[float]:
    """Three numbers that are not negative."""
    numbers = np.nan_to_num(np.asarray(values, np.float64).reshape(-1))[:3].clip(0, 1e6)
    return [round(float(v), 6) for v in np.resize(numbers, 3)]


def _moved(uv: np.ndarray, transform: list[Any]) -> np.ndarray:
    """Texture coordinates after a UsdTransform2d: scaled, turned, then moved."""
    scale, degrees, shift = transform
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    with np.errstate(all="ignore"):
        return ((uv * np.array(scale)) @ turn.T + np.array(shift)).astype(np.float32)
