"""The files of `roundtrip`: small ones made here, which together hold every feature that files of
users have."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tables import ROOT

sys.path.insert(0, str(ROOT))
from tests.gltf_files import FEATURES, checks, encoded, featured, gltf_of
from tests.obj_files import CUBE, FILE, LIBRARY, png
from tests.small_files import OFF, TEXT_PLY, TEXT_STL

RED, WHITE = (200, 50, 40), (250, 250, 250)
Files = dict[str, bytes]


def box_obj(extra: str = "", between: str = "", more: str = "") -> bytes:
    """Two boxes with coordinates and normals, the first of material "m", the second of "n"."""
    from tests.gltf_files import box

    shape = box()
    text = ["mtllib a.mtl", extra]
    for number, (name, material) in enumerate((("crate", "m"), ("lid", "n"))):
        base = 24 * number
        text.append(f"o {name}")
        for x, y, z in shape["position"] + np.float32([0, 1.5 * number, 0]):
            hue = f"{more} {0.5 + x:g} {0.5 + z:g}" if more else ""
            text.append(f"v {x:g} {y:g} {z:g}{hue}")
        text += [f"vt {u:.6g} {1 - v:.6g}" for u, v in shape["uv"]]
        text += [f"vn {x:g} {y:g} {z:g}" for x, y, z in shape["normal"]]
        text += [f"usemtl {material}", between if number == 0 else ""]
        for side in range(6):
            rows = [base + 4 * side + k for k in (1, 2, 3, 4)]
            text.append("f " + " ".join(f"{k}/{k}/{k}" for k in rows))
    return "\n".join(line for line in text if line).encode() + b"\n"


def boxes(
    lines: str, extra: str = "", between: str = "", more: str = "", **pictures: bytes
) -> Files:
    """The two boxes with a material of some lines; "map_png" is map.png."""
    library = f"newmtl m\n{lines}\nnewmtl n\nKd 0.2 0.3 0.4\n".encode()
    beside = {k.replace("_", "."): v for k, v in pictures.items()}
    return {"a.obj": box_obj(extra, between, more), "a.mtl": library, **beside}


PLAIN = "Kd 1 1 1\nmap_Kd t.png"
TILES = png(checks(RED, WHITE))
GREY = encoded(checks((90, 90, 90), (200, 200, 200)))
JPEG = encoded(checks(RED, WHITE), "JPEG")


def _obj() -> dict[str, Files]:
    shine = "Ka 0.1 0.1 0.1\nKs 0.5 0.5 0.5\nNs 200\nNi 1.4\nTf 1 1 1\nmap_Ks g.png\nrefl g.png"
    maps = "map_Bump n.png\nmap_AO g.png\nKe 0.5 0.4 0.3\nmap_Ke g.png"
    surface = "Pr 0.3\nPm 0.8\nmap_Pr g.png\nmap_Pm g.png"
    curves = "cstype bspline\ndeg 3\ncurv 0 1 1 2 3 4\nparm u 0 1\nend"
    return {
        "OBJ: two parts": boxes(PLAIN, t_png=TILES),
        "OBJ: JPEG texture": boxes("map_Kd t.jpg", t_jpg=JPEG),
        "OBJ: maps": boxes(f"{PLAIN}\n{maps}", t_png=TILES, n_png=GREY, g_png=GREY),
        "OBJ: roughness and metallic": boxes(f"{PLAIN}\n{surface}", t_png=TILES, g_png=GREY),
        "OBJ: further MTL statements": boxes(f"{PLAIN}\n{shine}", t_png=TILES, g_png=GREY),
        "OBJ: unknown MTL statement": boxes(f"{PLAIN}\nstrange 1 2", t_png=TILES),
        "OBJ: opacity": boxes("Kd 0.8 0.2 0.1\nd 0.4"),
        "OBJ: Tr": boxes("Kd 0.8 0.2 0.1\nTr 0.4"),
        "OBJ: opacity map": boxes(f"{PLAIN}\nmap_d g.png", t_png=TILES, g_png=GREY),
        "OBJ: scaled map": boxes("map_Kd -s 2 2 1 -o 0.5 0 0 t.png", t_png=TILES),
        "OBJ: clamped map": boxes("map_Kd -clamp on t.png", t_png=TILES),
        "OBJ: smoothing groups": boxes(PLAIN, between="s 1", t_png=TILES),
        "OBJ: smoothing off": boxes(PLAIN, between="s off", t_png=TILES),
        "OBJ: groups": boxes(PLAIN, between="g side handle", t_png=TILES),
        "OBJ: lines": boxes(PLAIN, between="l 1 2 3\np 1", t_png=TILES),
        "OBJ: curves": boxes(PLAIN, between=curves, t_png=TILES),
        "OBJ: unknown statement": boxes(PLAIN, between="strange 1 2 3", t_png=TILES),
        "OBJ: vertex colours": boxes("Kd 1 1 1", more=" 0.9"),
        "OBJ: far from the origin": _far(),
        "OBJ: no coordinates, no library": {"a.obj": CUBE.format("o cube").encode()},
        "OBJ: by hand": {
            "a.obj": FILE.encode(),
            "old.mtl": LIBRARY.encode(),
            "textures/oak.png": TILES,
            "shine.png": GREY,
        },
    }


def _far() -> Files:
    files = boxes(PLAIN, t_png=TILES)
    lines = []
    for line in files["a.obj"].decode().splitlines():
        words = line.split()
        if words[0] == "v":
            x, y, z = (float(w) for w in words[1:4])
            line = f"v {x + 448262.4} {y + 30} {z + 5411932.7}"
        lines.append(line)
    return {**files, "a.obj": ("\n".join(lines) + "\n").encode()}


def _beside(name: str) -> Files:
    """A featured GLB as JSON with a binary file beside it."""
    document, binary = gltf_of(featured(name))
    document["buffers"] = [{"byteLength": len(binary), "uri": "in%20it.bin"}]
    return {"a.gltf": json.dumps(document).encode(), "in it.bin": binary}


def _pictures_beside() -> Files:
    """The same with its picture, a JPEG, in a file of its own."""
    document, binary = gltf_of(featured("JPEG texture"))
    row = document["images"][-1]
    view = document["bufferViews"][row.pop("bufferView")]
    begin = view.get("byteOffset", 0)
    row["uri"] = "paint.jpg"
    document["buffers"] = [{"byteLength": len(binary), "uri": "a.bin"}]
    picture = binary[begin : begin + view["byteLength"]]
    return {"a.gltf": json.dumps(document).encode(), "a.bin": binary, "paint.jpg": picture}


def _plain_formats() -> dict[str, Files]:
    quality = TEXT_PLY.replace(
        b"property uchar blue\n", b"property uchar blue\nproperty float quality\n"
    ).replace(b" 1 2 3\n", b" 1 2 3 0.5\n")
    solid = TEXT_STL.split("solid other")[0]
    return {
        "PLY: texture": {"a.ply": TEXT_PLY, "tiles.png": TILES},
        "PLY: property of its own": {"a.ply": quality, "tiles.png": TILES},
        "STL: two solids": {"a.stl": TEXT_STL.encode()},
        "STL: one solid": {"a.stl": solid.encode()},
        "OFF: colours": {"a.off": OFF.encode()},
    }


def assets() -> dict[str, Files]:
    """The files of every asset by their names; the first is the asset itself."""
    glbs: dict[str, Callable[[], Files]] = {
        f"GLB: {name}": (lambda n=name: {"a.glb": featured(n)}) for name in FEATURES
    }
    return {
        **{name: make() for name, make in glbs.items()},
        "glTF: binary beside it": _beside("everything"),
        "glTF: picture beside it": _pictures_beside(),
        **_obj(),
        **_plain_formats(),
    }


def write_asset(files: Files, folder: Path) -> Path:
    """Write the files of an asset; returns the path of the asset itself."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / next(iter(files))
