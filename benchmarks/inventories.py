"""What files hold, read from their raw JSON, text and headers: for `roundtrip`, which asks what of
it is gone. Nothing here uses the readers and writers of the package."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

Inventory = dict[str, set[str]]
"""For each kind of thing, those that there are. Some are compared by what they say (`BY_VALUE`),
the others by their number."""
BY_VALUE = frozenset(
    {
        "part names",
        "material names",
        "colours",
        "roughness and metallic",
        "alpha modes",
        "emission",
        "base colour pixels",
        "JPEG files",
        "WebP files",
        "other statements",
        "material statements",
        "texture wrapping",
        "texture filters",
        "asset information",
    }
)
SRGB = 1 / 2.4


def plain_name(name: Any) -> str:
    """A name in one line, as far as it can be shown."""
    return " ".join(re.sub(r"[^\w]+", " ", str(name)).split())


def digest(data: bytes) -> str:
    """A short name of some bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def pixels(data: bytes) -> str:
    """A short name of a picture's colours."""
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return digest(picture.tobytes()) + str(picture.shape)


def shown(values: Any, digits: int = 2) -> str:
    """Numbers as a word; zero has no sign."""
    return " ".join(f"{round(float(v), digits) + 0.0:g}" for v in values)


def display(linear: float) -> float:
    """A linear value as a screen shows it."""
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear**SRGB - 0.055


class Gltf:
    """The inventory of a glTF file, from its JSON."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.folder, self.binary = path.parent, b""
        if data[:4] == b"glTF":
            size = struct.unpack("<I", data[12:16])[0]
            self.document = json.loads(data[20 : 20 + size])
            self.binary = data[28 + size :]
        else:
            self.document = json.loads(data)
        self.out: Inventory = {}
        for walk in (self._file, self._nodes, self._meshes, self._materials, self._pictures):
            for kind, name in walk():
                self.out.setdefault(kind, set()).add(name)

    def rows(self, table: str) -> list[tuple[int, dict[str, Any]]]:
        """The rows of a table with their numbers."""
        return list(enumerate(self.document.get(table, [])))

    def _file(self) -> Iterator[tuple[str, str]]:
        for table in ("skins", "animations", "cameras"):
            yield from ((table, str(n)) for n, _ in self.rows(table))
        yield from (("scenes", str(n)) for n, _ in self.rows("scenes")[1:])
        extensions = self.document.get("extensions", {})
        lights = extensions.get("KHR_lights_punctual", {}).get("lights", [])
        yield from (("lights", str(n)) for n in range(len(lights)))
        variants = extensions.get("KHR_materials_variants", {}).get("variants", [])
        yield from (("material variants", str(n)) for n in range(len(variants)))
        for table in ("nodes", "meshes", "materials", "scenes"):
            yield from (("extras", f"{table} {n}") for n, r in self.rows(table) if "extras" in r)
        asset = self.document["asset"]
        for key in ("copyright", "extras"):
            # The package adds a note of its own where it made the look.
            value = asset.get(key)
            value = value.get("author") if key == "extras" and isinstance(value, dict) else value
            if value is not None:
                yield "asset information", str(value)

    def _nodes(self) -> Iterator[tuple[str, str]]:
        places: dict[int, int] = {}
        for n, row in self.rows("nodes"):
            if row.get("children"):
                yield "node hierarchies", ""
            if "weights" in row:
                yield "morph weights of nodes", str(n)
            instancing = row.get("extensions", {}).get("EXT_mesh_gpu_instancing")
            count = 1
            if instancing:
                table = next(iter(instancing["attributes"].values()))
                count = self.document["accessors"][table]["count"]
                yield "instances", f"{n} of an extension"
            if "mesh" not in row:
                continue
            for copy in range(count):
                for k, _ in enumerate(self._triangles(row["mesh"])):
                    yield "parts", f"{n} {copy} {k}"
            if row.get("name") and count == 1:
                yield "part names", plain_name(row["name"])
            places[row["mesh"]] = places.get(row["mesh"], 0) + 1
        yield from (("instances", str(k)) for k, times in places.items() if times > 1)

    def _triangles(self, mesh: int) -> list[dict[str, Any]]:
        rows = self.document["meshes"][mesh]["primitives"]
        return [row for row in rows if row.get("mode", 4) in (4, 5, 6)]

    def _meshes(self) -> Iterator[tuple[str, str]]:
        for n, mesh in self.rows("meshes"):
            if any(mesh.get("weights", [])):
                yield "default morph weights", str(n)
            for k, row in enumerate(mesh["primitives"]):
                name = f"{n} {k}"
                if row.get("mode", 4) not in (4, 5, 6):
                    yield "lines and points", name
                for t, _ in enumerate(row.get("targets", [])):
                    yield "morph targets", f"{name} {t}"
                for key, kind in (
                    ("TEXCOORD_0", "texture coordinates"),
                    ("TEXCOORD_1", "second texture coordinates"),
                    ("TANGENT", "tangents"),
                    ("COLOR_0", "vertex colours"),
                    ("JOINTS_0", "skin weights"),
                ):
                    if key in row["attributes"]:
                        yield kind, name
                colour = row["attributes"].get("COLOR_0")
                if colour is not None and self.document["accessors"][colour]["type"] == "VEC4":
                    yield "vertex alpha", name
                own = [key for key in row["attributes"] if key.startswith("_")]
                yield from (("custom attributes", f"{name} {key}") for key in own)

    def _materials(self) -> Iterator[tuple[str, str]]:
        meshes = [row for n, _ in self.rows("meshes") for row in self._triangles(n)]
        used = sorted({row["material"] for row in meshes if "material" in row})
        for n in used:
            row = self.document["materials"][n]
            yield "material names", plain_name(row.get("name", n))
            yield from self._material(n, row)

    def _material(self, n: int, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
        extensions, pbr = row.get("extensions", {}), row.get("pbrMetallicRoughness", {})
        glossy = extensions.get("KHR_materials_pbrSpecularGlossiness")
        base = (glossy or {}).get("diffuseTexture") or pbr.get("baseColorTexture")
        factor = (glossy or {}).get("diffuseFactor") or pbr.get("baseColorFactor", [1, 1, 1, 1])
        yield "colours", shown([*(display(v) for v in factor[:3]), factor[3]])
        if "metallicRoughnessTexture" in pbr:
            yield "metallic-roughness maps", str(n)
        if glossy is None:
            both = (pbr.get("roughnessFactor", 1), pbr.get("metallicFactor", 1))
            yield "roughness and metallic", shown(both)
        for key, kind in (
            ("normalTexture", "normal maps"),
            ("occlusionTexture", "occlusion maps"),
            ("emissiveTexture", "emissive maps"),
        ):
            if key in row:
                yield kind, str(n)
        strong = extensions.get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1)
        if any(row.get("emissiveFactor", [])):
            yield "emission", shown(v * strong for v in row["emissiveFactor"])
        mode = row.get("alphaMode", "OPAQUE")
        if mode != "OPAQUE":
            cutoff = shown([row.get("alphaCutoff", 0.5)]) if mode == "MASK" else ""
            yield "alpha modes", f"{mode} {cutoff}".strip()
        if row.get("doubleSided"):
            yield "double-sided materials", str(n)
        if "KHR_materials_unlit" in extensions:
            yield "unlit materials", str(n)
        # What these say is looked for as such; glossiness is another way to say roughness.
        seen = ("KHR_materials_unlit", "KHR_materials_emissive_strength")
        seen += ("KHR_materials_pbrSpecularGlossiness",)
        own = [e for e in extensions if e not in seen]
        yield from (("material extensions", f"{n} {e}") for e in own)
        if base is not None:
            yield from self._base(n, base)
        infos = [row.get(k) for k in ("normalTexture", "occlusionTexture", "emissiveTexture")]
        sets = {i.get("texCoord", 0) for i in [*infos, base] if i}
        if len(sets) > 1:
            yield "maps on other texture coordinates", str(n)

    def _base(self, n: int, info: dict[str, Any]) -> Iterator[tuple[str, str]]:
        yield "textures", str(n)
        if "KHR_texture_transform" in info.get("extensions", {}):
            yield "texture transforms", str(n)
        texture = self.document["textures"][info["index"]]
        if "sampler" in texture:
            sampler = self.document["samplers"][texture["sampler"]]
            names = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
            wrap = [names[sampler.get(k, 10497)] for k in ("wrapS", "wrapT")]
            if wrap != ["repeat", "repeat"]:
                yield "texture wrapping", " ".join(wrap)
            if sampler.get("magFilter") == 9728:
                yield "texture filters", "nearest"
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        data = self.picture(webp.get("source", texture.get("source")))
        yield "base colour pixels", pixels(data)
        if Image.open(io.BytesIO(data)).mode in ("RGBA", "LA"):
            yield "texture alpha", str(n)

    def picture(self, number: int) -> bytes:
        """The bytes of a picture."""
        row = self.document["images"][number]
        if "bufferView" not in row:
            return self._at(row["uri"])
        view = self.document["bufferViews"][row["bufferView"]]
        begin = view.get("byteOffset", 0)
        return self._buffer(view["buffer"])[begin : begin + view["byteLength"]]

    def _buffer(self, number: int) -> bytes:
        uri = self.document["buffers"][number].get("uri")
        return self.binary if uri is None else self._at(uri)

    def _at(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1])
        return (self.folder / unquote(uri)).read_bytes()

    def _pictures(self) -> Iterator[tuple[str, str]]:
        for n, _ in self.rows("images"):
            data = self.picture(n)
            for begin, kind in ((b"\xff\xd8", "JPEG files"), (b"RIFF", "WebP files")):
                if data.startswith(begin):
                    yield kind, digest(data)


class Obj:
    """The inventory of an OBJ file with its libraries, from their text."""

    SURFACE = frozenset({"v", "vt", "vn", "f", "o", "g", "s", "l", "p", "usemtl", "mtllib"})
    CURVES = frozenset({"curv", "curv2", "surf", "cstype", "deg", "parm", "end", "trim", "vp"})

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.out: Inventory = {}
        self.used: set[str] = set()
        self.libraries: list[str] = []
        for kind, name in self._text(self._lines(path)):
            self.out.setdefault(kind, set()).add(name)
        for name in self.libraries:
            if (self.folder / name).is_file():
                for kind, value in self._library(self._lines(self.folder / name)):
                    self.out.setdefault(kind, set()).add(value)

    def _lines(self, path: Path) -> list[str]:
        return path.read_bytes().decode("utf-8", "replace").splitlines()

    def _text(self, lines: list[str]) -> Iterator[tuple[str, str]]:
        part = group = material = ""
        for line in lines:
            key, _, rest = line.strip().partition(" ")
            rest = rest.split("#")[0].strip() if key in ("f", "s", "l", "p") else rest.strip()
            if key == "o":
                part = rest
            elif key == "g":
                group = rest
                yield "groups", rest
            elif key == "usemtl":
                material = rest
            elif key == "mtllib":
                self.libraries += [rest] if (self.folder / rest).is_file() else rest.split()
            elif key == "f":
                self.used.add(material)
                yield "parts", f"{part or group} {material}"
                if part:
                    yield "part names", plain_name(part)
                if len(rest.split()) > 3:
                    yield "polygons", ""
                if "/" in rest and rest.split()[0].split("/")[1]:
                    yield "texture coordinates", f"{part or group} {material}"
            elif key == "s" and rest not in ("off", "0", ""):
                yield "smoothing groups", rest
            elif key in ("l", "p"):
                yield "lines and points", ""
            elif key == "v" and len(rest.split()) >= 6:
                yield "vertex colours", ""
            elif key in self.CURVES:
                yield "curves and surfaces", ""
            elif key and not key.startswith("#") and key not in self.SURFACE:
                yield "other statements", key

    def _library(self, lines: list[str]) -> Iterator[tuple[str, str]]:
        blocks: dict[str, list[tuple[str, str]]] = {}
        now: list[tuple[str, str]] = []
        for line in lines:
            text = line.strip()
            key, _, rest = text.partition(" ")
            if key == "#":
                word, _, rest = rest.strip().partition(" ")
                key = f"# {word}"
            if key == "newmtl":
                now = blocks.setdefault(rest.strip(), [])
            elif text:
                now.append((key, rest.strip()))
        for name, rows in blocks.items():
            if name in self.used:
                yield "material names", plain_name(name)
                yield from self._material(name, dict(rows))

    def _material(self, name: str, rows: dict[str, str]) -> Iterator[tuple[str, str]]:
        low = {k.lower(): v for k, v in rows.items()}
        known = {"kd", "d", "tr", "illum", "map_kd", "map_d", "pr", "pm", "ke", "map_ke"}
        known |= {"norm", "map_bump", "bump", "map_pr", "map_pm", "map_ao"}
        colour = [float(v) for v in low.get("kd", "1 1 1").split()[:3]]
        alpha = float(low["d"].split()[-1]) if "d" in low else 1 - float(low.get("tr", 0))
        yield "colours", shown([*colour, alpha])
        if {"pr", "pm"} <= low.keys():
            yield "roughness and metallic", shown([low["pr"], low["pm"]])
        for keys, kind in (
            (("map_pr", "map_pm"), "metallic-roughness maps"),
            (("norm", "map_bump", "bump"), "normal maps"),
            (("map_ao",), "occlusion maps"),
            (("map_ke",), "emissive maps"),
            (("# double_sided",), "double-sided materials"),
            (("# unlit",), "unlit materials"),
            (("map_d",), "texture alpha"),
            (("map_kd",), "textures"),
        ):
            if any(k in low for k in keys):
                yield kind, name
        emission = [float(v) for v in low.get("ke", "0").split()]
        if any(emission):
            yield "emission", shown(emission)
        if low.get("# alpha_mode", "OPAQUE") != "OPAQUE":
            mode, *cutoff = low["# alpha_mode"].split()
            yield "alpha modes", " ".join([mode, *(shown([c]) for c in cutoff)])
        wrap = low.get("# sampler", "repeat repeat").split()
        if wrap[:2] != ["repeat", "repeat"]:
            yield "texture wrapping", " ".join(wrap[:2])
        if "nearest" in wrap:
            yield "texture filters", "nearest"
        yield from self._map(low)
        # Gloss is another way to say roughness, and ambient light says nothing.
        known |= {"ks", "ns", "ka"}
        own = [k for k in low if k not in known and not k.startswith("#")]
        yield from (("material statements", k) for k in own)

    def _map(self, low: dict[str, str]) -> Iterator[tuple[str, str]]:
        words = low.get("map_kd", "").split()
        if "-clamp" in words and "# sampler" not in low:
            yield "texture wrapping", "clamp clamp"
        if "-s" in words or "-o" in words:
            yield "scaled maps", low["map_kd"]
        file = self.folder / words[-1].replace("\\", "/") if words else None
        if file is not None and file.is_file():
            data = file.read_bytes()
            yield "base colour pixels", pixels(data)
            if data[:2] == b"\xff\xd8":
                yield "JPEG files", digest(data)
