"""Small glTF files made by hand, as other programs write them: every feature that a user's file may
have, one or several at a time."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Document = dict[str, Any]


class Glb:
    """A GLB that is being put together, row by row."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.document: Document = {
            "asset": {"version": "2.0", "generator": "another program"},
            "scene": 0,
            "scenes": [{"name": "the scene", "nodes": []}],
        }

    def add(self, table: str, row: Document) -> int:
        rows = self.document.setdefault(table, [])
        rows.append(row)
        return len(rows) - 1

    def view(self, data: bytes, **more: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        row = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **more}
        self.binary += data
        return self.add("bufferViews", row)

    def accessor(self, values: Any, kind: str = "<f4", **more: Any) -> int:
        table = np.atleast_2d(np.asarray(values, kind))
        if table.shape[0] == 1 and np.ndim(values) == 1:
            table = table.T
        codes = {"f4": 5126, "u4": 5125, "u2": 5123, "u1": 5121, "i1": 5120, "i2": 5122}
        types = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
        row = {
            "bufferView": self.view(np.ascontiguousarray(table).tobytes()),
            "componentType": codes[table.dtype.str[1:]],
            "count": len(table),
            "type": types[table.shape[1]],
            **more,
        }
        return self.add("accessors", row)

    def position(self, points: np.ndarray) -> int:
        points = np.asarray(points, np.float32)
        return self.accessor(points, min=points.min(0).tolist(), max=points.max(0).tolist())

    def image(self, pixels: np.ndarray, kind: str = "PNG", **more: Any) -> int:
        data = encoded(pixels, kind)
        mime = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}[kind]
        return self.add("images", {"bufferView": self.view(data), "mimeType": mime, **more})

    def texture(self, pixels: np.ndarray, kind: str = "PNG", **sampler: Any) -> int:
        row: Document = {"source": self.image(pixels, kind, name=f"picture {len(self.binary)}")}
        if sampler:
            row["sampler"] = self.add("samplers", sampler)
        return self.add("textures", row)

    def use(self, *extensions: str) -> None:
        used = self.document.setdefault("extensionsUsed", [])
        used += [e for e in extensions if e not in used]

    def data(self) -> bytes:
        document = {**self.document, "buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        return (
            struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
            + struct.pack("<II", len(text), 0x4E4F534A)
            + text
            + struct.pack("<II", len(binary), 0x004E4942)
            + binary
        )


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """A picture file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 90} if kind != "PNG" else {}))
    return buffer.getvalue()


def checks(a: tuple[int, ...], b: tuple[int, ...], size: int = 32) -> np.ndarray:
    """A chequered picture (size, size, 3 or 4) of two colours."""
    rows, columns = np.mgrid[:size, :size] // max(1, size // 8)
    return np.where(((rows + columns) % 2)[..., None], np.array(a), np.array(b)).astype(np.uint8)


def box(size: tuple[float, float, float] = (1, 1, 1)) -> dict[str, np.ndarray]:
    """A box of 24 vertices with flat normals and an atlas of six squares: position, normal, uv
    (glTF's, v downwards), faces."""
    position, normal, uv, faces = [], [], [], []
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        n = np.zeros(3)
        n[axis] = sign
        u = np.roll(n, 1) if sign > 0 else -np.roll(n, 1)
        v = np.cross(n, u)
        corner = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        base = len(position)
        for s, t in corner:
            position.append((n + s * u + t * v) / 2 * size)
            normal.append(n)
            column, row = side % 3, side // 3
            uv.append(((column + 0.1 + 0.8 * (s + 1) / 2) / 3, (row + 0.1 + 0.8 * (t + 1) / 2) / 2))
        faces += [(base, base + 1, base + 2), (base, base + 2, base + 3)]
    return {
        "position": np.array(position, np.float32),
        "normal": np.array(normal, np.float32),
        "uv": np.array(uv, np.float32),
        "faces": np.array(faces, np.uint16),
    }


def primitive(glb: Glb, shape: dict[str, np.ndarray], material: int | None = None) -> Document:
    """A primitive of a `box`."""
    row: Document = {
        "attributes": {
            "POSITION": glb.position(shape["position"]),
            "NORMAL": glb.accessor(shape["normal"]),
            "TEXCOORD_0": glb.accessor(shape["uv"]),
        },
        "indices": glb.accessor(shape["faces"].reshape(-1), "<u2"),
    }
    if material is not None:
        row["material"] = material
    return row


RED, BLUE, GREEN, WHITE = (200, 50, 40), (40, 70, 200), (60, 160, 70), (250, 250, 250)


def cart() -> Glb:
    """A cart: a body with a chequered texture, a plain grey load, and two wheels that are instances
    of one mesh, in a hierarchy of nodes."""
    glb = Glb()
    paint = glb.add(
        "materials",
        {
            "name": "paint",
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": glb.texture(checks(RED, WHITE))},
                "metallicFactor": 0.1,
                "roughnessFactor": 0.4,
            },
        },
    )
    grey = glb.add(
        "materials",
        {"name": "grey", "pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.2, 0.25, 1]}},
    )
    body = glb.add(
        "meshes", {"name": "body", "primitives": [primitive(glb, box((2, 0.6, 1)), paint)]}
    )
    load = glb.add(
        "meshes", {"name": "load", "primitives": [primitive(glb, box((0.8, 0.5, 0.6)), grey)]}
    )
    wheel = glb.add(
        "meshes", {"name": "wheel", "primitives": [primitive(glb, box((0.5, 0.5, 0.2)), grey)]}
    )
    children = [
        glb.add("nodes", {"name": "load", "mesh": load, "translation": [0, 0.6, 0]}),
        glb.add("nodes", {"name": "front wheel", "mesh": wheel, "translation": [0.7, -0.4, 0.5]}),
        glb.add("nodes", {"name": "back wheel", "mesh": wheel, "translation": [-0.7, -0.4, 0.5]}),
    ]
    root = glb.add(
        "nodes", {"name": "body", "mesh": body, "children": children, "translation": [0, 1, 0]}
    )
    glb.document["scenes"][0]["nodes"] = [root]
    return glb


def _first(glb: Glb) -> Document:
    row: Document = glb.document["meshes"][0]["primitives"][0]
    return row


def _paint(glb: Glb) -> Document:
    row: Document = glb.document["materials"][0]
    return row


def _smooth_pixels(kind: int, size: int = 32) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    wave = 0.5 + 0.5 * np.sin(2 * math.pi * (kind * x + y))
    return (np.stack([wave, 1 - wave, 0.5 + 0 * wave], -1) * 255).astype(np.uint8)


def add_rig(glb: Glb) -> None:
    """Two bones, an animation of the second, and the body hung from both."""
    bones = [
        glb.add("nodes", {"name": "hip", "translation": [0, 0.2, 0]}),
        glb.add("nodes", {"name": "chest", "translation": [0, 0.5, 0]}),
    ]
    glb.document["nodes"][bones[0]]["children"] = [bones[1]]
    glb.document["scenes"][0]["nodes"].append(bones[0])
    inverse = np.tile(np.eye(4), (2, 1, 1))
    inverse[0, 3, :3], inverse[1, 3, :3] = (0, -0.2, 0), (0, -0.7, 0)
    skin = glb.add(
        "skins",
        {
            "name": "rig",
            "joints": bones,
            "inverseBindMatrices": glb.accessor(inverse.reshape(2, 16)),
        },
    )
    count = len(box()["position"])
    joints = np.zeros((count, 4), np.uint8)
    joints[:, 1] = 1
    weight = (box((2, 0.6, 1))["position"][:, 1] > 0).astype(np.float32)
    weights = np.stack([1 - weight, weight, 0 * weight, 0 * weight], 1)
    _first(glb)["attributes"]["JOINTS_0"] = glb.accessor(joints, "u1")
    _first(glb)["attributes"]["WEIGHTS_0"] = glb.accessor(weights)
    body = next(n for n in glb.document["nodes"] if n.get("name") == "body")
    # A skinned mesh stands where its joints put it, so that its node hangs at the top alone.
    skinned = glb.add("nodes", {"name": "skinned body", "mesh": body.pop("mesh"), "skin": skin})
    glb.document["scenes"][0]["nodes"].append(skinned)
    turn = [[0, 0, 0, 1], [0, 0, math.sin(0.3), math.cos(0.3)]]
    glb.add(
        "animations",
        {
            "name": "bow",
            "samplers": [
                {
                    "input": glb.accessor([0.0, 1.0], min=[0.0], max=[1.0]),
                    "output": glb.accessor(turn),
                }
            ],
            "channels": [{"sampler": 0, "target": {"node": bones[1], "path": "rotation"}}],
        },
    )


def add_morph(glb: Glb, weight: float = 0.0) -> None:
    """A target that lifts the body's upper corners."""
    points = box((2, 0.6, 1))["position"]
    lift = np.zeros_like(points)
    lift[points[:, 1] > 0, 1] = 0.5
    _first(glb)["targets"] = [{"POSITION": glb.position(lift)}]
    mesh = glb.document["meshes"][0]
    mesh["weights"], mesh["extras"] = [weight], {"targetNames": ["lift"]}


def _maps(glb: Glb) -> None:
    row = _paint(glb)
    row["normalTexture"] = {"index": glb.texture(_smooth_pixels(3)), "scale": 0.7}
    row["occlusionTexture"] = {"index": glb.texture(_smooth_pixels(4)), "strength": 0.8}
    row["emissiveTexture"] = {"index": glb.texture(_smooth_pixels(5))}
    row["emissiveFactor"] = [0.5, 0.4, 0.3]
    pbr = row["pbrMetallicRoughness"]
    pbr["metallicRoughnessTexture"] = {"index": glb.texture(_smooth_pixels(6))}


def _extension(name: str, value: Document) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        _paint(glb).setdefault("extensions", {})[name] = value
        glb.use(name)

    return change


def _alpha(mode: str, **more: Any) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        pixels = checks((*RED, 255), (*WHITE, 0 if mode == "MASK" else 120))
        row = _paint(glb)
        row["pbrMetallicRoughness"]["baseColorTexture"]["index"] = glb.texture(pixels)
        row.update({"alphaMode": mode, **more})

    return change


def _sampler(**sampler: Any) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        row = glb.document["textures"][0]
        row["sampler"] = glb.add("samplers", sampler)
        uv = box()["uv"] * 2.5 - 0.5
        _first(glb)["attributes"]["TEXCOORD_0"] = glb.accessor(uv)

    return change


def _transform(glb: Glb) -> None:
    info = _paint(glb)["pbrMetallicRoughness"]["baseColorTexture"]
    info["extensions"] = {
        "KHR_texture_transform": {"offset": [0.1, 0.2], "scale": [0.5, 0.5], "rotation": 0.3}
    }
    glb.use("KHR_texture_transform")


def _second_set(glb: Glb) -> None:
    attributes = _first(glb)["attributes"]
    attributes["TEXCOORD_1"] = glb.accessor(box()["uv"][:, ::-1].copy())
    _paint(glb)["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = 1
    _paint(glb)["occlusionTexture"] = {"index": glb.texture(_smooth_pixels(4)), "texCoord": 0}


def _colours(width: int) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        values = np.linspace(0.2, 1, 24 * width).reshape(24, width).astype(np.float32)
        _first(glb)["attributes"]["COLOR_0"] = glb.accessor(values)

    return change


def _instances(glb: Glb) -> None:
    place = [[0.6 * k, 0, 1.5] for k in range(5)]
    turn = [[0, math.sin(0.2 * k), 0, math.cos(0.2 * k)] for k in range(5)]
    node = glb.document["nodes"][1]
    node["extensions"] = {
        "EXT_mesh_gpu_instancing": {
            "attributes": {"TRANSLATION": glb.accessor(place), "ROTATION": glb.accessor(turn)}
        }
    }
    glb.use("EXT_mesh_gpu_instancing")


def _lights(glb: Glb) -> None:
    glb.document["extensions"] = {
        "KHR_lights_punctual": {"lights": [{"type": "point", "name": "lamp", "intensity": 20}]}
    }
    glb.use("KHR_lights_punctual")
    node = glb.add("nodes", {"name": "lamp", "extensions": {"KHR_lights_punctual": {"light": 0}}})
    glb.document["scenes"][0]["nodes"].append(node)


def _camera(glb: Glb) -> None:
    glb.add(
        "cameras",
        {"name": "eye", "type": "perspective", "perspective": {"yfov": 0.8, "znear": 0.1}},
    )
    node = glb.add("nodes", {"name": "eye", "camera": 0, "translation": [0, 1, 5]})
    glb.document["scenes"][0]["nodes"].append(node)


def _extras(glb: Glb) -> None:
    glb.document["nodes"][0]["extras"] = {"collider": [1, 2, {"deep": True}]}
    glb.document["materials"][1]["extras"] = {"shop": "grey no. 7"}
    glb.document["asset"]["extras"] = {"author": "someone", "licence": "CC0"}
    glb.document["asset"]["copyright"] = "someone"


def _lines(glb: Glb) -> None:
    points = np.array([[0, 0, 0], [0, 2, 0], [1, 2, 0]], np.float32)
    rows = glb.document["meshes"][1]["primitives"]
    rows.append({"attributes": {"POSITION": glb.position(points)}, "mode": 3})
    rows.append({"attributes": {"POSITION": glb.position(points)}, "mode": 0})


def _tangents(glb: Glb) -> None:
    values = np.tile(np.array([1, 0, 0, 1], np.float32), (24, 1))
    normal = box()["normal"]
    values[np.abs(normal[:, 0]) > 0.5, :3] = (0, 0, 1)
    _first(glb)["attributes"]["TANGENT"] = glb.accessor(values)


def _custom(glb: Glb) -> None:
    _first(glb)["attributes"]["_BATCH"] = glb.accessor(np.arange(24, dtype=np.float32))


def _quantised(glb: Glb) -> None:
    points = box((2, 0.6, 1))["position"]
    scaled = np.rint(points * 10000).astype(np.int16)
    padded = np.zeros((24, 4), np.int16)
    padded[:, :3] = scaled
    view = glb.view(padded.tobytes(), byteStride=8)
    attributes = _first(glb)["attributes"]
    attributes["POSITION"] = glb.add(
        "accessors",
        {
            "bufferView": view,
            "componentType": 5122,
            "count": 24,
            "type": "VEC3",
            "min": scaled.min(0).tolist(),
            "max": scaled.max(0).tolist(),
        },
    )
    uv = np.rint(box()["uv"] * 65535).astype(np.uint16)
    attributes["TEXCOORD_0"] = glb.accessor(uv, "<u2", normalized=True)
    node = glb.document["nodes"][-1]
    glb.use("KHR_mesh_quantization")
    glb.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    # The scale that undoes it stands on a node of its own, so that the cart keeps its place.
    mesh = node.pop("mesh")
    child = glb.add("nodes", {"name": "quantised", "mesh": mesh, "scale": [1e-4] * 3})
    node["children"].append(child)


def _jpeg(glb: Glb) -> None:
    info = _paint(glb)["pbrMetallicRoughness"]["baseColorTexture"]
    info["index"] = glb.texture(_smooth_pixels(2, 64), "JPEG")


def _webp(glb: Glb) -> None:
    source = glb.image(_smooth_pixels(2), "WEBP")
    glb.document["textures"][0]["extensions"] = {"EXT_texture_webp": {"source": source}}
    glb.use("EXT_texture_webp")


def _palette(glb: Glb) -> None:
    row = glb.document["textures"][0]
    row["sampler"] = glb.add("samplers", {"magFilter": 9728, "minFilter": 9728})
    uv = np.repeat(np.linspace(0.06, 0.94, 6), 4)
    _first(glb)["attributes"]["TEXCOORD_0"] = glb.accessor(np.stack([uv, 0 * uv + 0.5], 1))


def _strip(glb: Glb) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 0]], np.float32)
    rows = glb.document["meshes"][1]["primitives"]
    rows.append(
        {
            "attributes": {
                "POSITION": glb.position(points),
                "NORMAL": glb.accessor(np.tile([0.0, 0, 1], (5, 1))),
            },
            "mode": 5,
            "material": 1,
        }
    )


def _flat(glb: Glb) -> None:
    del _first(glb)["attributes"]["NORMAL"]


def _unindexed(glb: Glb) -> None:
    shape = box((2, 0.6, 1))
    index = shape["faces"].reshape(-1)
    row = _first(glb)
    row["attributes"] = {
        "POSITION": glb.position(shape["position"][index]),
        "NORMAL": glb.accessor(shape["normal"][index]),
        "TEXCOORD_0": glb.accessor(shape["uv"][index]),
    }
    del row["indices"]


def _mirrored(glb: Glb) -> None:
    glb.document["nodes"][1]["scale"] = [-1, 1.5, 1]


def _sheared(glb: Glb) -> None:
    # A turned node below one that scales its axes differently.
    glb.document["nodes"][-1]["scale"] = [1, 0.5, 1]
    glb.document["nodes"][0]["rotation"] = [0, 0, math.sin(0.3), math.cos(0.3)]


def _shared_material(glb: Glb) -> None:
    glb.document["meshes"][1]["primitives"][0]["material"] = 0


def _variants(glb: Glb) -> None:
    name = "KHR_materials_variants"
    glb.document.setdefault("extensions", {})[name] = {"variants": [{"name": "a"}, {"name": "b"}]}
    mapping = [{"material": 0, "variants": [0]}, {"material": 1, "variants": [1]}]
    _first(glb)["extensions"] = {name: {"mappings": mapping}}
    glb.use(name)


def _scenes(glb: Glb) -> None:
    node = glb.add("nodes", {"name": "elsewhere", "mesh": 1})
    glb.add("scenes", {"name": "second", "nodes": [node]})


def _names(glb: Glb) -> None:
    glb.document["nodes"][0]["name"] = "a\nb\x1b[31mred\x00"
    glb.document["materials"][1]["name"] = "wood # v 1 2 3"
    glb.document["meshes"][1]["name"] = "花瓶"


def _sparse(glb: Glb) -> None:
    points = box((2, 0.6, 1))["position"]
    moved = points.copy()
    moved[3] += (0, 0, 0.2)
    index = glb.accessor(points, min=moved.min(0).tolist(), max=moved.max(0).tolist())
    glb.document["accessors"][index]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": glb.view(np.array([3], "<u2").tobytes()), "componentType": 5123},
        "values": {"bufferView": glb.view(moved[3:4].tobytes())},
    }
    _first(glb)["attributes"]["POSITION"] = index


def _interleaved(glb: Glb) -> None:
    shape = box((2, 0.6, 1))
    rows = np.concatenate([shape["position"], shape["normal"], shape["uv"]], 1).astype("<f4")
    view = glb.view(rows.tobytes(), byteStride=32, target=34962)
    attributes = _first(glb)["attributes"]
    low, high = shape["position"].min(0).tolist(), shape["position"].max(0).tolist()
    for name, offset, kind, more in (
        ("POSITION", 0, "VEC3", {"min": low, "max": high}),
        ("NORMAL", 12, "VEC3", {}),
        ("TEXCOORD_0", 24, "VEC2", {}),
    ):
        attributes[name] = glb.add(
            "accessors",
            {
                "bufferView": view,
                "byteOffset": offset,
                "componentType": 5126,
                "count": 24,
                "type": kind,
                **more,
            },
        )


def _far(glb: Glb) -> None:
    glb.document["nodes"][-1]["translation"] = [448_262.4, 30.0, 5_411_932.7]


def _own_weights(glb: Glb) -> None:
    add_morph(glb, 0.0)
    glb.document["nodes"][-1]["weights"] = [0.75]


def _glossy(glb: Glb) -> None:
    row = _paint(glb)
    base = row.pop("pbrMetallicRoughness")["baseColorTexture"]
    row["extensions"] = {
        "KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": base, "glossinessFactor": 0.6}
    }
    glb.use("KHR_materials_pbrSpecularGlossiness")


def _rigged_morph(glb: Glb) -> None:
    add_morph(glb, 0.3)
    add_rig(glb)


def _everything(glb: Glb) -> None:
    for change in (_maps, _extras, _lights, _camera, _tangents, _custom, _lines, _jpeg):
        change(glb)
    _rigged_morph(glb)


FEATURES: dict[str, Callable[[Glb], None]] = {
    "plain": lambda glb: None,
    "normal, occlusion, emissive, metallic-roughness maps": _maps,
    "emissive strength": lambda glb: (
        _maps(glb),
        _extension("KHR_materials_emissive_strength", {"emissiveStrength": 4.0})(glb),
    )[1],
    "unlit": _extension("KHR_materials_unlit", {}),
    "clearcoat": _extension("KHR_materials_clearcoat", {"clearcoatFactor": 0.8}),
    "transmission": _extension("KHR_materials_transmission", {"transmissionFactor": 0.5}),
    "sheen": _extension("KHR_materials_sheen", {"sheenColorFactor": [0.5, 0.1, 0.1]}),
    "index of refraction": _extension("KHR_materials_ior", {"ior": 1.3}),
    "specular-glossiness": _glossy,
    "alpha mask": _alpha("MASK", alphaCutoff=0.3),
    "alpha blend": _alpha("BLEND"),
    "double-sided": lambda glb: _paint(glb).update(doubleSided=True),
    "second UV set": _second_set,
    "texture transform": _transform,
    "wrap: clamp": _sampler(wrapS=33071, wrapT=33071),
    "wrap: mirror": _sampler(wrapS=33648, wrapT=33648),
    "wrap: repeat": _sampler(wrapS=10497, wrapT=10497),
    "filter: nearest": _sampler(magFilter=9728, minFilter=9728),
    "palette": _palette,
    "vertex colours": _colours(3),
    "vertex colours with alpha": _colours(4),
    "skin and animation": add_rig,
    "morph target": add_morph,
    "morph target, default weight": lambda glb: add_morph(glb, 0.6),
    "morph weights of a node": _own_weights,
    "skin and morph target": _rigged_morph,
    "instancing extension": _instances,
    "lights": _lights,
    "camera": _camera,
    "extras": _extras,
    "lines and points": _lines,
    "tangents": _tangents,
    "custom attribute": _custom,
    "quantised": _quantised,
    "JPEG texture": _jpeg,
    "WebP texture": _webp,
    "triangle strip": _strip,
    "no normals": _flat,
    "no indices": _unindexed,
    "mirrored node": _mirrored,
    "sheared node": _sheared,
    "shared material": _shared_material,
    "material variants": _variants,
    "two scenes": _scenes,
    "strange names": _names,
    "sparse accessor": _sparse,
    "interleaved": _interleaved,
    "far from the origin": _far,
    "everything": _everything,
}
"""What is done to the cart, by name."""


def featured(name: str) -> bytes:
    """The cart with one feature, as a GLB."""
    glb = cart()
    FEATURES[name](glb)
    return glb.data()


def gltf_of(data: bytes) -> tuple[Document, bytes]:
    """The JSON and the binary chunk of a GLB."""
    size = struct.unpack("<I", data[12:16])[0]
    document: Document = json.loads(data[20 : 20 + size])
    return document, data[28 + size :]


def table_of(data: bytes, index: int) -> np.ndarray:
    """The stored numbers (count, width) of an accessor of a GLB, read without the package."""
    document, binary = gltf_of(data)
    row = document["accessors"][index]
    kinds = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
    kind = np.dtype(kinds[row["componentType"]])
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[row["type"]]

    def rows(place: Document, kind: np.dtype, width: int, count: int) -> np.ndarray:
        view = document["bufferViews"][place["bufferView"]]
        stride = view.get("byteStride", kind.itemsize * width)
        begin = view.get("byteOffset", 0) + place.get("byteOffset", 0)
        return np.stack(
            [np.frombuffer(binary, kind, width, begin + k * stride) for k in range(count)]
        )

    values = rows(row, kind, width, row["count"])
    if sparse := row.get("sparse"):
        which = np.dtype(kinds[sparse["indices"]["componentType"]])
        places = rows(sparse["indices"], which, 1, sparse["count"])[:, 0]
        values[places] = rows(sparse["values"], kind, width, sparse["count"])
    return values
