"""OBJ files with their libraries, for several tests."""

import io
import re

import numpy as np
from PIL import Image

from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.material import Material

CUBE = """v 0 0 0
v 0 0 1
v 0 1 0
v 0 1 1
v 1 0 0
v 1 0 1
v 1 1 0
v 1 1 1
{}
f 1 2 4 3
f 5 7 8 6
f 1 5 6 2
f 3 4 8 7
f 1 3 7 5
f 2 6 8 4
"""
QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "usemtl m\nf 1/1 2/2 3/3 4/4\n"


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(data, "PNG")
    return data.getvalue()


def picture(*colour, side=8):
    return png(np.full((side, side, len(colour)), colour, np.uint8))


def loaded(folder, text, **beside):
    """The asset of a text, with files beside it: "a_mtl" is a.mtl."""
    for name, data in beside.items():
        name = re.sub("_(?=[a-z]+$)", ".", name)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "a.obj").write_bytes(text.encode() if isinstance(text, str) else text)
    return Asset.load(folder / "a.obj")


def material(folder, lines, **beside):
    """The only mesh of a square with a material of some lines."""
    asset = loaded(folder, f"mtllib a.mtl\n{QUAD}{FACE}", a_mtl=f"newmtl m\n{lines}\n", **beside)
    return asset.mesh, asset.notes


def saved(asset, folder, name="b.obj", frame=None):
    """The lines of the OBJ file, and its MTL."""
    (folder / "out").mkdir(exist_ok=True)
    path = asset.save(folder / "out" / name, frame, force=True)
    library = path.with_suffix(".mtl")
    return path.read_bytes(), library.read_bytes() if library.exists() else b""


FILE = """# Made by hand
mtllib old.mtl

o body
g shell
v 0 0 0
v 1 0 0
v 1.00 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl wood
s 1
f 1/1 2/2 3/3 4/4
l 1 3
# the lid
o lid
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
s off
f 5/5 6/6 7/7 # a comment
f -4/-3 -2/-1 -1/-3
strange 1 2 3
"""
LIBRARY = """# woods
newmtl wood
Ka 0.1 0.1 0.1
Kd 0 0 0
map_Kd textures/oak.png
map_Ks shine.png

newmtl other
Kd 1 0 0
"""


def patchable(folder, end="\n"):
    (folder / "textures").mkdir(exist_ok=True)
    (folder / "textures" / "oak.png").write_bytes(picture(1, 2, 3))
    (folder / "shine.png").write_bytes(picture(4, 5, 6))
    (folder / "old.mtl").write_bytes(LIBRARY.replace("\n", end).encode())
    return loaded(folder, FILE.replace("\n", end))


def painted(mesh, level=200):
    """The mesh with coordinates and a texture of its own, as a painter leaves it."""
    flat = mesh.faces.reshape(-1)
    return Mesh(
        mesh.vertices[flat],
        np.arange(len(flat), dtype=np.int32).reshape(-1, 3),
        np.random.default_rng(level).random((len(flat), 2)).astype(np.float32),
        np.full((4, 4, 3), level, np.uint8),
        normals=mesh.normals[flat],
        material=Material("painted"),
        part=mesh.part,
        origin=flat.astype(np.int64),
    )


def same_surface(one, two):
    """Whether two meshes have the same triangles with the same coordinates, in order."""
    for name in ("vertices", "uv"):
        a, b = (getattr(m, name)[m.faces] for m in (one, two))
        assert np.allclose(a, b, atol=1e-6), name
