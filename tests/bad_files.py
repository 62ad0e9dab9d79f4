"""Files that no one should send, and mutations of good ones: shared by the tests and
`benchmarks/fuzz_meshes.py`."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tests.small_files import DAE, OFF, TEXT_PLY, TEXT_STL, ply
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.sources.archive import pack
from threestudio_like.meshes.io.usd.writing import package
from threestudio_like.meshes.mesh import Material

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def good_asset() -> Asset:
    """Two small parts with texture, colours and materials."""
    points = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]])
    faces = np.int32([[0, 2, 1], [0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    texture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    uv = np.float32([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]])
    one = Mesh(points, faces, uv, texture, material=Material("tiles")).with_normals()
    two = Mesh(points + np.float32(2), faces, colours=np.abs(points)).with_normals()
    return Asset({"pyramid": one, "other": two})


def gltf(document: dict, binary: bytes = b"") -> bytes:
    """A GLB of a document."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    body = (
        struct.pack("<II", len(text), 0x4E4F534A)
        + text
        + struct.pack("<II", len(binary), 0x004E4942)
        + binary
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def small_gltf() -> tuple[dict, bytes]:
    """One triangle: document and buffer."""
    binary = (
        np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).tobytes() + np.uint32([0, 1, 2]).tobytes()
    )
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 12},
        ],
        "buffers": [{"byteLength": 48}],
    }
    return document, binary


def changed(*path_and_value: object) -> bytes:
    """The small GLB with one value of its document replaced (a deletion where the value is the
    string "delete")."""
    document, binary = small_gltf()
    *path, last, value = path_and_value
    row: object = document
    for key in path:
        row = row[key]  # type: ignore[index]
    if value == "delete":
        del row[last]  # type: ignore[attr-defined]
    else:
        row[last] = value  # type: ignore[index]
    return gltf(document, binary)


def bomb_png(side: int = 80000) -> bytes:
    """A PNG of a few kilobytes that unpacks to 19 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 4096))
        + chunk(b"IEND", b"")
    )


def with_image(image: dict, data: bytes = b"") -> bytes:
    """The small GLB with a material whose picture is `image`."""
    document, binary = small_gltf()
    document["meshes"][0]["primitives"][0]["material"] = 0
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    document["textures"] = [{"source": 0}]
    document["images"] = [image]
    if data:
        document["bufferViews"].append({"buffer": 0, "byteOffset": 48, "byteLength": len(data)})
        document["buffers"][0]["byteLength"] = 48 + len(data)
        image["bufferView"] = 2
    return gltf(document, binary + data)


def stl(count: int, triangles: list | None = None) -> bytes:
    """A binary STL that says it has `count` triangles."""
    rows = b"".join(
        struct.pack("<12fH", *([0.0] * 3), *np.ravel(t).tolist(), 0) for t in triangles or []
    )
    return b"\0" * 80 + struct.pack("<I", count) + rows


PLY = (
    "element vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
    "property list uchar int vertex_indices"
)
MTL = f"mtllib a.mtl\nusemtl m\n{TRIANGLE}f 1 2 3\n"


def bad_files() -> dict[str, tuple[str, bytes, dict[str, bytes]]]:
    """Name -> (file name, its bytes, files beside it). Each must end in one line and nothing
    else."""
    document, _ = small_gltf()
    cycle = dict(document, nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}])
    diamond = dict(
        document, nodes=[{"children": [1, 2]}, {"children": [3]}, {"children": [3]}, {"mesh": 0}]
    )
    many = dict(
        document, nodes=[{"mesh": 0} for _ in range(50000)], scenes=[{"nodes": list(range(50000))}]
    )
    many["accessors"] = [
        document["accessors"][0],
        {"bufferView": 1, "componentType": 5125, "count": 3000, "type": "SCALAR"},
    ]
    deep = b'{"asset":{"version":"2.0"},"x":' + b"[" * 200000 + b"]" * 200000 + b"}"
    data_png = "data:image/png;base64," + base64.b64encode(bomb_png()).decode()
    faces = "f 1 2 3\n"
    text = {
        "empty.obj": "",
        "spaces.obj": "   \n\n",
        "only vertices.obj": TRIANGLE,
        "one vertex.obj": "v 0 0 0\nf 1 1 1\n",
        "two corners.obj": TRIANGLE + "f 1 2\n",
        "nan.obj": "v nan 0 0\nv 1 0 0\nv 0 1 0\n" + faces,
        "infinite.obj": "v inf 0 0\nv 1 0 0\nv 0 1 0\n" + faces,
        "huge numbers.obj": "v 1e39 0 0\nv 1 0 0\nv 0 1 0\n" + faces,
        "zero area.obj": "v 0 0 0\nv 1 1 1\nv 2 2 2\n" + faces,
        "all at one place.obj": "v 1 1 1\nv 1 1 1\nv 1 1 1\n" + faces,
        "index too high.obj": TRIANGLE + "f 1 2 4\n",
        "index zero.obj": TRIANGLE + "f 0 1 2\n",
        "index too low.obj": TRIANGLE + "f -4 -1 -2\n",
        "index of no coordinate.obj": TRIANGLE + "f 1/1 2/2 3/3\n",
        "index of no normal.obj": TRIANGLE + "f 1//1 2//2 3//9\n",
        "index that is none.obj": TRIANGLE + "f a b c\n",
        "index with a point.obj": TRIANGLE + "f 1.5 2 3\n",
        "corner without vertex.obj": TRIANGLE + "vt 0 0\nf /1 /1 /1\n",
        "vertex of words.obj": "v a b c\n" + faces,
        "vertex of two numbers.obj": "v 1 2\nv 1 0 0\nv 0 1 0\n" + faces,
        "coordinate of words.obj": TRIANGLE + "vt x y\nf 1/1 2/1 3/1\n",
        "coordinate nan.obj": TRIANGLE + "vt nan 0\nf 1/1 2/1 3/1\n",
    }
    out: dict[str, tuple[str, bytes, dict[str, bytes]]] = {
        k: (k, v.encode(), {}) for k, v in text.items()
    }
    out["binary.obj"] = ("binary.obj", b"v 0 0 0\0\0\0\0", {})
    out["ten million faces.obj"] = ("many.obj", (TRIANGLE + faces * 10_000_000).encode(), {})
    out["colour of words"] = ("a.obj", MTL.encode(), {"a.mtl": b"newmtl m\nKd a b c\n"})
    out["picture of an OBJ that is text"] = (
        "a.obj",
        MTL.encode(),
        {"a.mtl": b"newmtl m\nmap_Kd t.png\n", "t.png": b"hello"},
    )
    out["picture of an OBJ that explodes"] = (
        "a.obj",
        MTL.encode(),
        {"a.mtl": b"newmtl m\nmap_Kd t.png\n", "t.png": bomb_png()},
    )
    glb = {
        "empty glb": b"",
        "short glb": b"glTF",
        "glb of version 1": struct.pack("<4sIIII", b"glTF", 1, 20, 0, 0x4E4F534A),
        "glb that ends early": changed("scene", 0)[:120],
        "glb without json": struct.pack("<4sIIII", b"glTF", 2, 20, 0, 0x12345678),
        "json that is none": gltf({})[:12] + struct.pack("<II", 4, 0x4E4F534A) + b"{{{{",
        "glb without asset": gltf({"nodes": []}),
        "glb of gltf 1": changed("asset", "version", "1.0"),
        "nothing in it": changed("nodes", [{}]),
        "cyclic nodes": gltf(cycle, small_gltf()[1]),
        "node of two parents": gltf(diamond, small_gltf()[1]),
        "too many instances": gltf(many, small_gltf()[1]),
        "node that is not there": changed("scenes", 0, "nodes", [7]),
        "node index of text": changed("scenes", 0, "nodes", ["a"]),
        "mesh that is not there": changed("nodes", 0, "mesh", 3),
        "scene that is not there": changed("scene", 5),
        "negative mesh": changed("nodes", 0, "mesh", -1),
        "matrix of words": changed("nodes", 0, "matrix", ["a"] * 16),
        "matrix too short": changed("nodes", 0, "matrix", [1, 0]),
        "scale of nan": changed("nodes", 0, "scale", [float("nan"), 1, 1]),
        "scale zero": changed("nodes", 0, "scale", [0, 0, 0]),
        "accessor that is not there": changed("meshes", 0, "primitives", 0, "indices", 9),
        "accessor outside its view": changed("accessors", 0, "count", 4),
        "accessor of a billion": changed("accessors", 0, "count", 10**9),
        "accessor of a strange type": changed("accessors", 0, "type", "MAT9"),
        "accessor of strange numbers": changed("accessors", 0, "componentType", 1),
        "negative offset": changed("bufferViews", 0, "byteOffset", -4),
        "view outside its buffer": changed("bufferViews", 1, "byteOffset", 40),
        "stride too small": changed("bufferViews", 0, "byteStride", 2),
        "buffer shorter than it says": changed("buffers", 0, "byteLength", 10**6),
        "buffer at an address": changed("buffers", 0, "uri", "https://example.org/a.bin"),
        "buffer out of the folder": changed("buffers", 0, "uri", "../../../../etc/passwd"),
        "buffer escaped out of the folder": changed(
            "buffers", 0, "uri", "%2e%2e/%2e%2e/etc/passwd"
        ),
        "buffer at the root": changed("buffers", 0, "uri", "/etc/passwd"),
        "buffer at a file address": changed("buffers", 0, "uri", "file:///etc/passwd"),
        "buffer of bad base64": changed(
            "buffers", 0, "uri", "data:application/octet-stream;base64,@@@"
        ),
        "buffer of another code": changed("buffers", 0, "uri", "data:text/plain,hello"),
        "buffer address of a number": changed("buffers", 0, "uri", 7),
        "index beyond the vertices": gltf(
            document,
            np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).tobytes()
            + np.uint32([0, 1, 9]).tobytes(),
        ),
        "positions of nan": gltf(
            document, np.full(9, np.nan, np.float32).tobytes() + np.uint32([0, 1, 2]).tobytes()
        ),
        "primitives of text": changed("meshes", 0, "primitives", "x"),
        "points only": changed("meshes", 0, "primitives", 0, "mode", 0),
        "unknown extension": changed("extensionsRequired", ["KHR_gaussian_splatting"]),
        "picture at an address": with_image({"uri": "https://example.org/x.png"}),
        "picture out of the folder": with_image({"uri": "../../x.png"}),
        "picture that explodes": with_image({"uri": data_png}),
        "picture that is text": with_image({"mimeType": "image/png"}, b"hello"),
        "picture of an executable": with_image({"mimeType": "image/png"}, b"\x7fELF" + b"\0" * 60),
    }
    out.update({name: (f"{name.replace(' ', '-')}.glb", data, {}) for name, data in glb.items()})
    out["deep json"] = ("deep.gltf", deep, {})
    out["gltf that is a list"] = ("list.gltf", b"[1, 2]", {})
    simple = {
        "ply that is none": ("a.ply", b"hello"),
        "ply without end": ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 3\n"),
        "ply of a billion": ("a.ply", ply(PLY.replace("vertex 3", "vertex 1000000000"))),
        "ply of minus one": ("a.ply", ply(PLY.replace("vertex 3", "vertex -1"))),
        "ply of words": ("a.ply", ply(PLY.replace("vertex 3", "vertex x"))),
        "ply that ends early": ("a.ply", ply(PLY, "0 0 0\n")),
        "ply index too high": ("a.ply", ply(PLY, "0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")),
        "ply of points": ("a.ply", ply(PLY.split("element face")[0], "0 0 0\n1 0 0\n0 1 0\n")),
        "stl that ends early": ("a.stl", stl(1000)),
        "stl of a billion": ("a.stl", stl(10**9)),
        "stl of none": ("a.stl", stl(0)),
        "short stl": ("a.stl", b"\0" * 20),
        "stl of nan": ("a.stl", stl(1, [[[float("nan")] * 3, [1, 0, 0], [0, 1, 0]]])),
        "text stl of nothing": ("a.stl", b"solid x\nendsolid x\n"),
        "off that is none": ("a.off", b"hello"),
        "off of a billion": ("a.off", b"OFF\n1000000000 1 0\n"),
        "off that ends early": ("a.off", b"OFF\n3 1 0\n0 0 0\n"),
        "off index too high": ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n"),
        "off of edges": ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n2 0 1\n"),
        "off of words": ("a.off", b"OFF\n3 1 0\na b c\n1 0 0\n0 1 0\n3 0 1 2\n"),
        "3mf that is none": ("a.3mf", b"hello"),
        "3mf of nothing": ("a.3mf", pack({"[Content_Types].xml": b"<x/>"})),
        "3mf that is no xml": ("a.3mf", pack({"3D/3dmodel.model": b"hello"})),
        "3mf with entities": (
            "a.3mf",
            pack({"3D/3dmodel.model": b'<!DOCTYPE x [<!ENTITY a "b">]><model>&a;</model>'}),
        ),
        "3mf that unpacks to 200 MiB": ("a.3mf", pack({"3D/3dmodel.model": b" " * (200 << 20)})),
        "dae with entities": ("a.dae", b'<!DOCTYPE x [<!ENTITY a "b">]><COLLADA>&a;</COLLADA>'),
        "dae that is none": ("a.dae", b"hello"),
        "usd that is none": ("a.usd", b"hello"),
        "usdz that is none": ("a.usdz", b"PK"),
        "unknown format": ("a.fbx", b"Kaydara FBX Binary"),
        "no suffix": ("mesh", b"v 0 0 0"),
    }
    out.update({name: (file, data, {}) for name, (file, data) in simple.items()})
    return out


_NASTY = [
    b"-1",
    b"0",
    b"4294967295",
    b"1e400",
    b"nan",
    b"[]",
    b"{}",
    b"null",
    b'"x"',
    b"../../x",
    b"99999999999",
    b"-9223372036854775808",
]


def mutate(data: bytes, number: int) -> bytes:
    """Mutation `number` of a file: deterministic. Of an archive it is, two times of three, that of
    one of its members, whose check sum is right then."""
    draw = random.Random(number)
    if data[:2] == b"PK" and draw.random() < 0.67:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist()}
        # The largest is the model.
        chosen = max(members, key=lambda name: len(members[name]))
        members[chosen] = mutate(members[chosen], number + 1)
        return pack(members) if chosen.endswith(".model") else package(members)
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4, 12])):
        kind, at = draw.randrange(7), draw.randrange(max(1, len(out)))
        if kind == 0:
            out[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            del out[at : at + draw.choice([1, 4, 40])]
        elif kind == 2:
            out[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice([1, 4, 16])))
        elif kind == 3:
            out = out[:at]
        elif kind == 4:
            size = draw.choice([4, 32, 200])
            other = draw.randrange(max(1, len(out)))
            out[at : at + size] = out[other : other + size]
        elif kind == 5:
            value = draw.choice([0, 1, 255, 2**16, 2**31, 2**32 - 1])
            out[at : at + 4] = struct.pack("<I", value)
        else:
            # A number of the text becomes something else.
            digits = [i for i in range(len(out)) if 48 <= out[i] <= 57] if len(out) < 20000 else []
            if digits:
                begin = draw.choice(digits)
                end = begin
                while end < len(out) and 48 <= out[end] <= 57:
                    end += 1
                out[begin:end] = draw.choice(_NASTY)
    return bytes(out)


def installed(name: str) -> bool:
    """Whether a module can be imported."""
    return importlib.util.find_spec(name) is not None


def write_good(folder: Path) -> list[Path]:
    """The good asset in every format, and a .gltf with its buffer inside."""
    asset = good_asset()
    kinds = ["glb", "obj", "ply", "stl", "3mf"]
    if installed("pxr"):
        kinds += ["usda", "usdc", "usdz"]
    paths = [asset.save(folder / f"good.{kind}") for kind in kinds]
    document, binary = small_gltf()
    document["buffers"][0]["uri"] = (
        "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    )
    (folder / "good.gltf").write_text(json.dumps(document))
    texts = {"text.ply": TEXT_PLY, "text.stl": TEXT_STL.encode(), "good.off": OFF.encode()}
    if installed("collada"):
        texts["good.dae"] = DAE.encode()
    for name, data in texts.items():
        (folder / name).write_bytes(data)
    return [*paths, folder / "good.gltf", *(folder / name for name in texts)]
