"""What files of the plainer formats hold (PLY, STL, OFF, 3MF, USDZ), and the table of readers of
inventories by suffix; see `inventories`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from inventories import Gltf, Inventory, Obj, pixels, plain_name, shown

_KNOWN = {"x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "alpha", "s", "t", "u", "v"}
_KNOWN |= {"texture_u", "texture_v", "vertex_indices", "vertex_index", "texcoord", "texnumber"}


def inventory(path: Path) -> Inventory:
    """What a file holds."""
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        return Gltf(path).out
    if suffix == ".obj":
        return Obj(path).out
    walk = {".ply": _ply, ".stl": _stl, ".off": _off, ".3mf": _3mf, ".usdz": _usd}[suffix]
    out: Inventory = {}
    for kind, name in walk(path):
        out.setdefault(kind, set()).add(name)
    return out


def _ply(path: Path) -> Iterator[tuple[str, str]]:
    head = path.read_bytes().split(b"end_header")[0].decode("latin-1")
    yield "parts", ""
    names = re.findall(r"(?m)^property .*?(\w+)\s*$", head)
    if {"red", "green", "blue"} <= set(names):
        yield "vertex colours", ""
    if "alpha" in names:
        yield "vertex alpha", ""
    if {"texcoord"} & set(names) or {"s", "t"} <= set(names) or {"texture_u"} <= set(names):
        yield "texture coordinates", ""
    for name in re.findall(r"(?m)^comment TextureFile (.+?)\s*$", head):
        yield "textures", name
        if (path.parent / name).is_file():
            yield "base colour pixels", pixels((path.parent / name).read_bytes())
    yield from (("custom attributes", name) for name in names if name not in _KNOWN)


def _stl(path: Path) -> Iterator[tuple[str, str]]:
    data = path.read_bytes()
    solids = re.findall(rb"(?m)^\s*solid\b([^\r\n]*)", data) if data[:5] == b"solid" else [b""]
    for n, name in enumerate(solids):
        yield "parts", str(n)
        if name.strip():
            yield "part names", plain_name(name.decode("utf-8", "replace"))


def _off(path: Path) -> Iterator[tuple[str, str]]:
    yield "parts", ""
    if b"C" in path.read_bytes().split(b"OFF")[0]:
        yield "vertex colours", ""


def _3mf(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as file:
        model = ElementTree.fromstring(file.read("3D/3dmodel.model"))
    for n, row in enumerate(model.iter()):
        kind = row.tag.split("}")[-1]
        if kind == "object":
            yield "parts", str(n)
            yield "part names", plain_name(row.get("name"))
        elif kind == "base":
            yield "material names", plain_name(row.get("name"))
        elif kind == "colorgroup":
            yield "vertex colours", str(n)
        elif kind == "color" and len(row.get("color", "")) == 9:
            yield "vertex alpha", ""
        elif kind == "texture2d":
            yield "textures", str(n)


def _usd(path: Path) -> Iterator[tuple[str, str]]:
    from pxr import Usd, UsdGeom, UsdShade

    stage = Usd.Stage.Open(str(path))
    for prim in stage.Traverse(Usd.TraverseInstanceProxies()):
        name = prim.GetName()
        where = str(prim.GetPath())
        if prim.IsA(UsdGeom.Mesh):
            yield "parts", where
            for word in (name, prim.GetParent().GetName(), prim.GetDisplayName() or ""):
                yield "part names", plain_name(word)
            if UsdGeom.PrimvarsAPI(prim).HasPrimvar("st"):
                yield "texture coordinates", where
            if UsdGeom.PrimvarsAPI(prim).HasPrimvar("displayColor"):
                yield "vertex colours", where
            if UsdGeom.PrimvarsAPI(prim).HasPrimvar("displayOpacity"):
                yield "vertex alpha", where
            if UsdGeom.Mesh(prim).GetDoubleSidedAttr().Get():
                yield "double-sided materials", where
        if not prim.IsA(UsdShade.Material):
            continue
        yield "material names", plain_name(name)
        yield "material names", plain_name(prim.GetDisplayName() or "")
        for child in prim.GetChildren():
            yield from _shader(where, UsdShade.Shader(child))
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if name.endswith((".png", ".jpg", ".jpeg")):
                yield "base colour pixels", pixels(file.read(name))


def _texture(shader: object) -> Iterator[tuple[str, str]]:
    rows = {i.GetBaseName(): i.Get() for i in shader.GetInputs()}  # type: ignore[attr-defined]
    wrap = [rows.get(f"wrap{axis}", "repeat") for axis in "ST"]
    if wrap != ["repeat", "repeat"]:
        yield "texture wrapping", " ".join(wrap)


def _shader(where: str, shader: object) -> Iterator[tuple[str, str]]:
    assert shader is not None
    kind = shader.GetIdAttr().Get()  # type: ignore[attr-defined]
    if kind == "UsdUVTexture":
        yield from _texture(shader)
    if kind != "UsdPreviewSurface":
        return
    rows = {i.GetBaseName(): i for i in shader.GetInputs()}  # type: ignore[attr-defined]
    for key, kind in (
        ("diffuseColor", "textures"),
        ("normal", "normal maps"),
        ("occlusion", "occlusion maps"),
        ("emissiveColor", "emissive maps"),
        ("roughness", "metallic-roughness maps"),
    ):
        if key in rows and rows[key].HasConnectedSource():
            yield kind, where
    threshold = rows["opacityThreshold"].Get() if "opacityThreshold" in rows else 0
    if threshold:
        yield "alpha modes", f"MASK {shown([threshold])}"
    elif "opacity" in rows:
        yield "alpha modes", "BLEND"
    if "opacity" in rows and rows["opacity"].HasConnectedSource():
        yield "texture alpha", where
    for key, kind in (
        ("diffuseColor", "colours"),
        ("roughness", "roughness and metallic"),
        ("emissiveColor", "emission"),
    ):
        if key in rows:
            yield kind, where
