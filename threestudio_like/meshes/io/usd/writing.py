"""Writes an asset as USD: text, binary, or a package with its textures inside."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.text import line_name
from ...extras import needed
from ...mesh import Asset, Mesh, unique_name
from ..images import to_linear
from .physics import PhysicsWriter
from .surfaces import Textures, add_material

_ALIGNED = 64
"""Every file of a package begins at a multiple of this."""


def write_usd(asset: Asset, name: str) -> dict[str, bytes]:
    """A USD file: one mesh for each of the asset's, below an Xform for each placed object or part;
    where the asset has rigid bodies, those too.

    Needs the extra "usd".
    """
    needed("pxr.Usd", "usd", name)
    stem, _, suffix = name.rpartition(".")
    packed = suffix.lower() == "usdz"
    textures = Textures("textures/" if packed else f"{stem}.")
    text, binary = _scene(asset, textures, "usda" if suffix.lower() == "usda" else "usdc")
    layer = text if suffix.lower() == "usda" else binary
    if not packed:
        return {name: layer} | textures.files
    return {name: package({"scene.usdc": layer} | textures.files)}


def _scene(asset: Asset, textures: Textures, kind: str) -> tuple[bytes, bytes]:
    """The layer of an asset as text and as binary; the kind that is not asked for is empty."""
    from pxr import Gf, Kind, Usd, UsdGeom

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scene.{kind}"
        stage = Usd.Stage.CreateNew(str(path))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/Asset")
        stage.SetDefaultPrim(root.GetPrim())
        kind_of = Kind.Tokens.component if asset.simulation is None else Kind.Tokens.assembly
        Usd.ModelAPI(root.GetPrim()).SetKind(kind_of)
        if asset.offset.any():
            root.AddTranslateOp().Set(Gf.Vec3d(*(float(x) for x in asset.offset)))
        scene = _Scene(stage, textures)
        if asset.simulation is not None:
            _bodies(scene, asset)
        else:
            for name, matrix, meshes in _objects(asset):
                scene.add(name, matrix, meshes)
        stage.GetRootLayer().Save()
        # The stage holds the file open on some systems.
        del scene, root, stage
        data = path.read_bytes()
    return (data, b"") if kind == "usda" else (b"", data)


def _bodies(scene: _Scene, asset: Asset) -> None:
    """The rigid bodies of an asset, each an Xform without a scale."""
    assert asset.simulation is not None
    scene.names["/Asset"] |= {"Physics", "Floor"}
    scene.names["/Asset/Materials"] = {"friction"}
    physics = PhysicsWriter(scene.stage, "/Asset", asset.simulation)
    for body in asset.simulation.bodies:
        path = scene.add(body.name, body.where.matrix(), body.meshes, taken={"Collision"})
        physics.add(path, body)


def _objects(asset: Asset) -> list[tuple[str, np.ndarray | None, dict[str, Mesh]]]:
    """Name, place and meshes of what stands side by side in the scene."""
    if asset.nodes:
        return [(k, n.transform.matrix(), n.meshes) for k, n in asset.nodes.items()]
    groups: dict[str, dict[str, Mesh]] = {}
    for name, mesh in asset.meshes.items():
        groups.setdefault(mesh.part or name, {})[name] = mesh
    return [(name, None, meshes) for name, meshes in groups.items()]


class _Scene:
    """A stage that is being filled. names: those that are taken below a path."""

    def __init__(self, stage: Any, textures: Textures) -> None:
        self.stage, self.textures = stage, textures
        self.names: dict[str, set[str]] = {"/Asset": {"Materials"}}
        self.materials: dict[Any, Any] = {}

    def path(self, parent: str, name: str) -> str:
        """A free path for a name, which may have any letters."""
        from pxr import Tf

        taken = self.names.setdefault(parent, set())
        label = Tf.MakeValidIdentifier(line_name(name))
        label = unique_name(label, taken).replace(".", "_")
        while label in taken:
            label += "_"
        taken.add(label)
        return f"{parent}/{label}"

    def add(
        self,
        name: str,
        matrix: np.ndarray | None,
        meshes: dict[str, Mesh],
        taken: set[str] | None = None,
    ) -> str:
        """An object of the scene; returns the path that its meshes are below.

        Args:
            taken: names below that path which no mesh may have.
        """
        from pxr import Gf, UsdGeom

        parent = "/Asset"
        if matrix is not None or len(meshes) > 1:
            parent = self.path("/Asset", name)
            group = UsdGeom.Xform.Define(self.stage, parent)
            group.GetPrim().SetDisplayName(line_name(name))
            self.names[parent] = set(taken or ())
            if matrix is not None:
                group.AddTransformOp().Set(Gf.Matrix4d(matrix.T.tolist()))
        for key, mesh in meshes.items():
            self._mesh(self.path(parent, key), name if len(meshes) == 1 else key, mesh)
        return parent

    def _mesh(self, path: str, name: str, mesh: Mesh) -> None:
        from pxr import Sdf, UsdGeom, UsdShade, Vt

        prim = UsdGeom.Mesh.Define(self.stage, path)
        prim.GetPrim().SetDisplayName(line_name(name))
        points = np.ascontiguousarray(mesh.vertices, np.float32)
        prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
        counts = np.full(len(mesh.faces), 3, np.int32)
        prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(counts))
        corners = np.ascontiguousarray(mesh.faces.reshape(-1), np.int32)
        prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(corners))
        prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        extent = np.stack([points.min(0), points.max(0)])
        prim.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(extent)))
        if mesh.normals is not None:
            normals = np.ascontiguousarray(mesh.normals, np.float32)
            prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(normals))
            prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        if mesh.material is not None and mesh.material.double_sided:
            prim.CreateDoubleSidedAttr(True)
        api = UsdGeom.PrimvarsAPI(prim)
        types = Sdf.ValueTypeNames

        def primvar(name: str, kind: Any, values: Any) -> None:
            api.CreatePrimvar(name, kind, UsdGeom.Tokens.vertex).Set(values)

        if mesh.uv is not None:
            uv = np.ascontiguousarray(mesh.uv, np.float32)
            primvar("st", types.TexCoord2fArray, Vt.Vec2fArray.FromNumpy(uv))
        if mesh.colours is not None:
            linear = np.ascontiguousarray(to_linear(mesh.colours[:, :3]), np.float32)
            primvar("displayColor", types.Color3fArray, Vt.Vec3fArray.FromNumpy(linear))
            if mesh.colours.shape[1] == 4:
                alpha = np.ascontiguousarray(mesh.colours[:, 3], np.float32)
                primvar("displayOpacity", types.FloatArray, Vt.FloatArray.FromNumpy(alpha))
        if mesh.material is not None or mesh.texture is not None:
            material = self._material(mesh)
            UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(material)

    def _material(self, mesh: Mesh) -> Any:
        """The material of a mesh; meshes that look the same share one."""
        texture = mesh.texture if mesh.uv is not None else None
        coloured = mesh.colours is not None and texture is None
        key = (id(mesh.material), id(texture), coloured, mesh.uv is None)
        if key not in self.materials:
            name = mesh.material.name if mesh.material is not None else "surface"
            path = self.path("/Asset/Materials", name)
            self.stage.DefinePrim("/Asset/Materials", "Scope")
            self.materials[key] = add_material(self.stage, path, mesh, textures=self.textures)
        return self.materials[key]


def package(files: dict[str, bytes]) -> bytes:
    """A USDZ of files by name, the scene first: stored as they are, each at a multiple of 64 bytes,
    and always the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as out:
        for name, data in files.items():
            row = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            begin = buffer.tell() + 30 + len(name.encode())
            # A field that fills up needs four bytes for its own head.
            fill = -(begin + 4) % _ALIGNED
            row.extra = b"\x86\x19" + fill.to_bytes(2, "little") + b"\0" * fill
            out.writestr(row, data)
    return buffer.getvalue()
