"""Takes the meshes out of a USD file, in a process of its own: the library is written for files of
friends, and one that is damaged can end the process that reads it.

Run: python -m threestudio_like.meshes.io.usd.extract FILE OUT
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.errors import InputError
from ....engine.output import write_file
from ..limits import LARGEST_COUNT
from ..sources.archive import Archive
from ..sources.text import MARK, without_mark
from .shading import Shading

_MOST_LAYERS = 1000
_MOST_PLACES = 20_000
_MEMORY, _SECONDS = 2 << 30, 4
"""Address space in bytes and time on the processor of the process, for a small file; both grow with
its size."""
_TEXTS = (".usda", ".usd")
_LEFT_OUT = frozenset({"Skeleton", "SkelAnimation", "BlendShape", "Camera"})
"""Types, besides lights, that are told as left out."""


class Refused(Exception):
    """The file cannot be used, for the reason given."""


def main() -> None:
    """Write OUT/description.json and OUT/arrays.npz, or the reason why not."""
    source, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    _limit(source.stat().st_size)
    arrays: dict[str, np.ndarray] = {}
    used = source
    try:
        used = _unmarked(source, out)
        description = _Extraction(used, arrays).description()
    except Refused as error:
        description = {"refused": str(error)}
    except Exception as error:
        # What the library says is about its own source.
        description = {"refused": f"is damaged ({type(error).__name__})"}
    tables = io.BytesIO()
    save: Any = np.savez
    save(tables, **arrays)
    write_file(out / "arrays.npz", tables.getvalue(), force=True)
    # Pictures lie in the file itself, not in a copy of it.
    copy, own = (json.dumps(str(path))[1:-1] for path in (used, source))
    text = json.dumps(description).replace(copy, own)
    write_file(out / "description.json", text.encode(), force=True)


def _unmarked(source: Path, out: Path) -> Path:
    """A package with byte order marks before its texts, which the library refuses, as a copy
    without them in the folder `out`; any other file itself."""
    if source.suffix.lower() != ".usdz":
        return source
    try:
        archive = Archive(source.read_bytes(), str(source))
        texts = {n: archive.read(n) for n in archive.members if n.lower().endswith(_TEXTS)}
        if not any(data.startswith(MARK) for data in texts.values()):
            return source
        whole = {
            n: without_mark(texts[n]) if n in texts else archive.read(n) for n in archive.members
        }
    except InputError:
        return source  # What is wrong with it the library says.
    # Here, for few files need it.
    from .writing import package

    copy = out / source.name
    write_file(copy, package(whole), force=True)
    return copy


def _limit(size: int) -> None:
    """Bound what a file of this size can cost: a damaged one may ask for anything."""
    memory, seconds = _MEMORY + 24 * size, _SECONDS + (size >> 18)
    # There are systems without such limits.
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


class _Extraction:
    def __init__(self, source: Path, arrays: dict[str, np.ndarray]) -> None:
        self.source, self.arrays = source.resolve(), arrays
        self.parts: list[dict[str, Any]] = []
        self.notes: dict[str, int] = {}
        self.corners = 0
        self.texts: list[Any] = []
        """Layers that live in memory, so that composition finds them."""

    def description(self) -> dict[str, Any]:
        from pxr import Usd, UsdGeom

        self._check_layers()
        stage = Usd.Stage.Open(str(self.source), Usd.Stage.LoadAll)
        self.time = Usd.TimeCode.EarliestTime()
        self.cache = UsdGeom.XformCache(self.time)
        self.shading = Shading(self.time)
        self._go(stage.GetPseudoRoot(), np.eye(4), None)
        return {
            "metres": UsdGeom.GetStageMetersPerUnit(stage),
            "up": str(UsdGeom.GetStageUpAxis(stage)),
            "parts": self.parts,
            "materials": self.shading.materials,
            "notes": [f"{count} of the kind {kind} left out" for kind, count in self.notes.items()],
        }

    def _check_layers(self) -> None:
        """Refuse a file whose layers lie outside of its folder, before any of them is opened."""
        from pxr import Ar, Sdf

        root, seen, todo = self.source.parent, set[str](), [str(self.source)]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if len(seen) > _MOST_LAYERS:
                raise Refused("is made of too many files")
            layer = self._layer(name)
            if layer is None:
                if name == str(self.source):
                    raise Refused("is damaged")
                # The scene is composed without it, as other programs do.
                self._note("missing file")
                continue
            self._refuse_clips(layer)
            for path in layer.GetCompositionAssetDependencies():
                if not path:
                    continue
                full = Sdf.ComputeAssetPathRelativeToLayer(layer, path)
                outer = Ar.SplitPackageRelativePathOuter(full)[0]
                if "://" in path or not (root / outer).resolve().is_relative_to(root):
                    raise Refused(f'points out of its folder: "{path[:60]}"')
                todo.append(full)

    def _layer(self, name: str) -> Any:
        """The layer of a file; None where there is none. The library refuses a byte order mark,
        which editors of Windows put before a text, so that such a text stands for its file."""
        from pxr import Sdf

        data = Path(name).read_bytes() if Path(name).is_file() else b""
        if not data.startswith(MARK):
            return Sdf.Layer.FindOrOpen(name)
        layer = Sdf.Layer.Find(name)
        if layer is None:
            kind = Sdf.FileFormat.FindByExtension(Path(name).suffix.lower())
            layer = Sdf.Layer.New(kind, name)
            layer.ImportFromString(without_mark(data).decode("utf-8", "replace"))
            self.texts.append(layer)
        return layer

    def _refuse_clips(self, layer: Any) -> None:
        """Clips of values name files that composition does not list."""
        found: list[str] = []

        def look(path: Any) -> None:
            spec = layer.GetObjectAtPath(path)
            if spec is not None and path.IsPrimPath() and spec.HasInfo("clips"):
                found.append(str(path))

        layer.Traverse("/", look)
        if found:
            raise Refused("takes its values from clips, which are not read")

    def _note(self, kind: str) -> None:
        self.notes[kind] = self.notes.get(kind, 0) + 1

    def _go(self, root: Any, outer: np.ndarray, base: np.ndarray | None) -> None:
        """Collect the meshes at and below a prim. base: the world in which `outer` replaces the
        prim's own place, for prototypes; None for the scene itself."""
        from pxr import Usd, UsdGeom

        flags = Usd.TraverseInstanceProxies(Usd.PrimDefaultPredicate)
        walk = iter(Usd.PrimRange(root, flags))
        for prim in walk:
            kind = str(prim.GetTypeName())
            if prim.IsA(UsdGeom.Imageable):
                image = UsdGeom.Imageable(prim)
                hidden = image.GetVisibilityAttr().Get(self.time) == "invisible"
                if hidden:
                    self._note("hidden prim")
                if hidden or image.ComputePurpose() in ("guide", "proxy"):
                    walk.PruneChildren()
                    continue
            if prim.IsA(UsdGeom.PointInstancer):
                self._instances(UsdGeom.PointInstancer(prim), outer, base)
                # Its prototypes may lie below it, and are not seen on their own.
                walk.PruneChildren()
            elif prim.IsA(UsdGeom.Mesh):
                self._mesh(UsdGeom.Mesh(prim), self._matrix(prim, outer, base))
            elif prim.IsA(UsdGeom.Gprim):
                self._note(kind or "shape")
            elif kind in _LEFT_OUT or "Light" in kind:
                self._note(kind)
            if (
                prim.IsA(UsdGeom.Xformable)
                and UsdGeom.Xformable(prim).TransformMightBeTimeVarying()
            ):
                self._note("animation")

    def _matrix(self, prim: Any, outer: np.ndarray, base: np.ndarray | None) -> np.ndarray:
        """The place of a prim, for column vectors."""
        world = np.array(self.cache.GetLocalToWorldTransform(prim)).T
        return world if base is None else outer @ base @ world

    def _instances(self, instancer: Any, outer: np.ndarray, base: np.ndarray | None) -> None:
        if base is not None:
            self._note("nested instancer")
            return
        prototypes = instancer.GetPrototypesRel().GetForwardedTargets()
        numbers = instancer.GetProtoIndicesAttr().Get(self.time) or []
        if len(numbers) > _MOST_PLACES:
            raise Refused(f"has {len(numbers):,} instances, at most {_MOST_PLACES:,} are read")
        kind = type(instancer)
        places = instancer.ComputeInstanceTransformsAtTime(
            self.time, self.time, kind.IncludeProtoXform, kind.IgnoreMask
        )
        mask = instancer.ComputeMaskAtTime(self.time)
        stage = instancer.GetPrim().GetStage()
        world = np.array(self.cache.GetLocalToWorldTransform(instancer.GetPrim())).T
        for n, (number, place) in enumerate(zip(numbers, places)):
            if mask and not mask[n]:
                continue
            if not 0 <= number < len(prototypes):
                raise Refused("has an instance of a prototype that is not there")
            prototype = stage.GetPrimAtPath(prototypes[number])
            if prototype:
                # The instance's matrix has the prototype's own in it already.
                own = np.array(self.cache.GetLocalToWorldTransform(prototype)).T
                if abs(np.linalg.det(own)) > 1e-30:
                    self._go(prototype, world @ np.array(place).T, np.linalg.inv(own))

    def _mesh(self, mesh: Any, matrix: np.ndarray) -> None:
        from pxr import UsdGeom

        prim = mesh.GetPrim()
        counts = _array(mesh.GetFaceVertexCountsAttr().Get(self.time), np.int64)
        corners = _array(mesh.GetFaceVertexIndicesAttr().Get(self.time), np.int64)
        points = _array(mesh.GetPointsAttr().Get(self.time), np.float64)
        if not len(counts) or not len(points):
            return
        self.corners += len(corners)
        if self.corners > 4 * LARGEST_COUNT or len(self.parts) > _MOST_PLACES:
            raise Refused(f"has more than {LARGEST_COUNT:,} faces")
        key = str(len(self.parts))
        row: dict[str, Any] = {
            "name": prim.GetDisplayName() or prim.GetName(),
            "outer": prim.GetParent().GetDisplayName() or prim.GetParent().GetName(),
            "matrix": matrix.tolist(),
            "left_handed": mesh.GetOrientationAttr().Get(self.time) == "leftHanded",
            "double_sided": bool(mesh.GetDoubleSidedAttr().Get(self.time)),
            "flat": mesh.GetSubdivisionSchemeAttr().Get(self.time) == "none",
            "values": {},
        }
        self._keep(key, "counts", counts)
        self._keep(key, "corners", corners)
        self._keep(key, "points", points)
        holes = _array(mesh.GetHoleIndicesAttr().Get(self.time), np.int64)
        if len(holes):
            self._keep(key, "holes", holes)
        api = UsdGeom.PrimvarsAPI(prim)
        normals = api.FindPrimvarWithInheritance("normals")
        if normals and normals.HasValue():
            self._values(key, row, "normals", primvar=normals)
        else:
            flat = _array(mesh.GetNormalsAttr().Get(self.time), np.float32)
            if len(flat):
                row["values"]["normals"] = str(mesh.GetNormalsInterpolation())
                self._keep(key, "normals", flat)
        row["groups"] = self._groups(mesh, key)
        names = [self.shading.materials[g]["coordinates"] for g in row["groups"] if g >= 0]
        found = next((api.FindPrimvarWithInheritance(n) for n in names if n), None)
        if not found or not found.HasValue():
            found = next((p for p in api.GetPrimvars() if _is_uv(p)), None)
        if found and found.HasValue():
            self._values(key, row, "uv", primvar=found)
        for name in ("displayColor", "displayOpacity"):
            found = api.FindPrimvarWithInheritance(name)
            if found and found.HasValue():
                self._values(key, row, name, primvar=found)
        self.parts.append(row)

    def _groups(self, mesh: Any, key: str) -> list[int]:
        """The numbers of the materials of a mesh, and which face has which of them."""
        from pxr import UsdShade

        binding = UsdShade.MaterialBindingAPI(mesh.GetPrim())
        whole = self.shading.number(binding.ComputeBoundMaterial()[0])
        groups = [whole]
        subsets = binding.GetMaterialBindSubsets()
        if subsets:
            faces = np.zeros(len(self.arrays[f"{key}_counts"]), np.int64)
            for subset in subsets:
                chosen = _array(subset.GetIndicesAttr().Get(self.time), np.int64)
                if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(faces)):
                    raise Refused("has a group of faces that are not there")
                own = UsdShade.MaterialBindingAPI(subset.GetPrim()).ComputeBoundMaterial()[0]
                faces[chosen] = len(groups)
                groups.append(self.shading.number(own))
            self._keep(key, "groups", faces)
        return groups

    def _values(self, key: str, row: dict[str, Any], name: str, primvar: Any) -> None:
        values = primvar.ComputeFlattened(self.time)
        flat = _array(values, np.float32)
        if len(flat):
            row["values"][name] = str(primvar.GetInterpolation())
            self._keep(key, name, flat)

    def _keep(self, key: str, name: str, values: np.ndarray) -> None:
        self.arrays[f"{key}_{name}"] = values


def _is_uv(primvar: Any) -> bool:
    kind = str(primvar.GetTypeName())
    return kind.startswith("texCoord2") or (kind == "float2[]" and "st" in primvar.GetPrimvarName())


def _array(values: Any, kind: type) -> np.ndarray:
    if values is None:
        return np.zeros(0, kind)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(kind)


if __name__ == "__main__":
    main()
