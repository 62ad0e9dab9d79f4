"""The mesh tools on files: `mesh info | clean | unwrap | decimate | convert | remesh | poisson |
register`.

Tools that compute with tensors are imported where they are used: loading those takes longer than
converting a small file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.errors import ConfigError
from ..engine.output import check_free
from .extras import poisson, remesh_isotropic
from .features import features
from .frames import CANONICAL, Frame, from_canonical
from .io.far import near_origin
from .io.files import losses, read, write
from .io.formats import format_to_write
from .io.merge import joined
from .material import Material, Sampler
from .mesh import Asset, Mesh
from .surface.clean import clean, inspect
from .texture.coordinates import examine_uv, with_coordinates

if TYPE_CHECKING:
    from .texture.look import TexelPlaces


@dataclass(frozen=True, kw_only=True)
class ToolOptions:
    """Options of the tools; see `commands.mesh.Mesh`."""

    out: Path | None = None
    frame: Frame = CANONICAL
    to_frame: Frame = CANONICAL
    faces: int = 5000
    weld: float = 0.0
    holes: int = 0
    texture: int = 1024
    backend: str = "auto"
    textures: bool = True
    edge: float = 0.0
    depth: int = 7
    onto: Path | None = None
    hidden: bool = False
    force: bool = False


def run_tool(action: str, path: Path, options: ToolOptions) -> dict[str, Any]:
    """Run one tool on a mesh file; returns what it found and did. Passes on the UserErrors of
    readers and writers."""
    if action == "info":
        return describe(read(path, options.frame, options.textures), path)
    if options.out is None:
        raise ConfigError("needs a file to write", f"mesh {action}", "Add --out new.glb")
    format_to_write(options.out)
    check_free([options.out], force=options.force)
    if action == "decimate":
        from .surface.simplify import check_budget

        check_budget(options.faces)
    if not 0 <= options.weld < 1:
        raise ConfigError(f"must be a share from 0 to below 1, got {options.weld:g}", "--weld")
    if options.holes < 0:
        raise ConfigError(f"must not be negative, got {options.holes}", "--holes")
    if not 16 <= options.texture <= 8192:
        raise ConfigError(f"must be from 16 to 8192 pixels, got {options.texture}", "--texture")
    if action == "poisson":
        asset, done = _poisson(path, options)
        write(asset, options.out, options.to_frame, force=options.force)
        return {**done, "written": str(options.out)}
    asset = read(path, options.frame, options.textures)
    meshes: dict[str, Mesh] = dict(asset.meshes)
    findings: dict[str, Any] = {}
    # Of each mesh by its name, apart from what is said of the file: a mesh may be called "written".
    each: dict[str, Any] = {}
    if action == "clean":
        for name, mesh in asset.meshes.items():
            meshes[name], done = clean(mesh, options.weld, options.holes)
            each[name] = {k: v for k, v in done.items() if v} or "nothing to do"
        if options.hidden:
            from .points import hidden_faces

            hidden = hidden_faces(
                joined(Asset({k: m for k, m in meshes.items() if len(m.faces)})), options.backend
            )
            begin = 0
            for name, mesh in meshes.items():
                mine, begin = hidden[begin : begin + len(mesh.faces)], begin + len(mesh.faces)
                meshes[name] = mesh.keep_faces(~mine) if mine.any() else mesh
            findings["hidden faces removed"] = int(hidden.sum())
        meshes = {k: m for k, m in meshes.items() if len(m.faces)}
    elif action == "unwrap":
        made, each_note = with_coordinates(asset, options.texture, "always")
        kind = format_to_write(options.out).patches
        patched = asset.source is not None and asset.source.kind == kind == "gltf"
        meshes, each = rebaked(asset, made, options.texture, patched=patched), dict(each_note)
    elif action == "decimate":
        meshes, findings = decimated(asset, options)
        each = findings.pop("meshes")
    elif action == "remesh":
        for name, mesh in asset.meshes.items():
            size = float(np.linalg.norm(np.ptp(mesh.vertices[mesh.faces.reshape(-1)], 0)))
            meshes[name] = remesh_isotropic(mesh, options.edge or size / 50)
            each[name] = f"{len(mesh.faces)} -> {len(meshes[name].faces)} faces"
    elif action == "register":
        meshes, findings = _register(asset, options)
    findings["written"] = str(options.out)
    return _written(asset.with_meshes(meshes), options, each, findings=findings)


def _written(
    asset: Asset, options: ToolOptions, each: dict[str, Any], findings: dict[str, Any]
) -> dict[str, Any]:
    """Write the result; what is told of each mesh, of the file, and of what it could not keep."""
    assert options.out is not None
    write(asset, options.out, options.to_frame, force=options.force)
    lost = losses(from_canonical(asset, options.to_frame), options.out)
    return {
        **({"meshes": each} if each else {}),
        **findings,
        **({"notes": list(asset.notes)} if asset.notes else {}),
        **({"not kept": [feature.facts() for feature in lost]} if lost else {}),
    }


def decimated(asset: Asset, options: ToolOptions) -> tuple[dict[str, Mesh], dict[str, Any]]:
    """The meshes of an asset with the budget of faces of `options`, and what that did to each."""
    from .surface.simplify import change, decimate_parts

    names = list(asset.meshes)
    made = decimate_parts(list(asset.meshes.values()), options.faces, options.backend)
    meshes = dict(zip(names, made))
    each = {name: change(asset.meshes[name], mesh) for name, mesh in meshes.items()}
    reached = sum(len(m.faces) for m in meshes.values())
    findings: dict[str, Any] = {"faces": reached}
    if reached > options.faces:
        asset.notes.append(
            f"{reached} faces are the fewest that this shape can have here; {options.faces} were "
            "asked for"
        )
    return meshes, {"meshes": each, **findings}


def rebaked(asset: Asset, made: Asset, resolution: int, patched: bool) -> dict[str, Mesh]:
    """The meshes of an unwrapped asset with their textures laid out anew.

    Args:
        asset: as it was. made: the same with new texture coordinates.
        resolution: texels along the edge of the textures.
        patched: whether the file keeps the old coordinates as a further set, so that other maps
            than the base colour may stay on those. Where it does not, they are laid out anew; a
            normal map, whose axes are those of the old layout, is left out and told.
    """
    meshes: dict[str, Mesh] = {}
    bake = _Rebake(asset, resolution)
    for name, mesh in made.meshes.items():
        before = asset.meshes[name]
        if mesh is before or before.uv is None:
            meshes[name] = mesh
            continue
        texture = bake.picture(before, mesh, before.texture)
        material = before.material
        if material is not None and not patched:
            material = bake.material(before, mesh)
        meshes[name] = replace(mesh, texture=texture, material=material)
    return meshes


class _Rebake:
    """Pictures of an asset on new texture coordinates. Meshes that share the old layout and the new
    one (instances, not merely parts of one material) share what is made of a picture."""

    def __init__(self, asset: Asset, resolution: int) -> None:
        self.asset, self.resolution = asset, resolution
        self._places: dict[tuple[int, int], TexelPlaces] = {}
        self._pictures: dict[tuple[int, int, int], np.ndarray] = {}
        self._materials: dict[tuple[int, int, int], Material] = {}

    def picture(self, before: Mesh, after: Mesh, picture: np.ndarray | None) -> np.ndarray | None:
        """A picture (H, W, C) uint8 of a mesh, laid out anew; None for none."""
        from .texture.look import TexelPlaces

        if picture is None:
            return None
        layout = (id(before.uv), id(after.uv))
        mark = (*layout, id(picture))
        if mark not in self._pictures:
            if layout not in self._places:
                self._places[layout] = TexelPlaces(before, after, self.resolution)
            made = self._places[layout].rebaked(picture)
            self._pictures[mark] = np.rint(made).astype(np.uint8)
        return self._pictures[mark]

    def material(self, before: Mesh, after: Mesh) -> Material:
        """The material of a mesh with its maps laid out anew; a normal map, whose axes are those of
        the old layout, is left out and told."""
        from .texture.look import lost_normal_map

        material = before.material
        assert material is not None
        mark = (id(before.uv), id(after.uv), id(material))
        if mark not in self._materials:
            note = lost_normal_map(material.name)
            if material.normal_map is not None and note not in self.asset.notes:
                self.asset.notes.append(note)
            names = ("metallic_roughness", "occlusion_map", "emissive_map")
            maps: dict[str, Any] = {
                name: self.picture(before, after, getattr(material, name)) for name in names
            }
            self._materials[mark] = replace(material, **maps, normal_map=None, sampler=Sampler())
        return self._materials[mark]


def _poisson(path: Path, options: ToolOptions) -> tuple[Asset, dict[str, Any]]:
    from .points import estimate_normals, read_cloud

    if not 3 <= options.depth <= 10:
        raise ConfigError(f"must be from 3 to 10, got {options.depth}", "--depth")
    cloud = read_cloud(path, options.frame)
    points, offset = near_origin(cloud.points)
    normals, origin = cloud.normals, "given"
    if normals is None:
        normals = estimate_normals(points, backend=options.backend)
        origin = "estimated from neighbours"
    mesh = poisson(points, normals, options.depth, backend=options.backend)
    return Asset({path.stem: mesh}, offset=offset), {
        "points": len(points),
        "normals": origin,
        "faces": len(mesh.faces),
        **({"notes": cloud.notes} if cloud.notes else {}),
    }


def _register(asset: Asset, options: ToolOptions) -> tuple[dict[str, Mesh], dict[str, Any]]:
    from .points import read_cloud, register, sample_surface

    if options.onto is None:
        raise ConfigError("needs a mesh to move to", "mesh register", "Add --onto other.glb")
    # Both as they lie about the place of the asset, which may be far from the origin.
    onto = read_cloud(options.onto, options.frame, 20000)
    asset.notes.extend(f"{options.onto.name}: {note}" for note in onto.notes)
    target = onto.points - asset.offset
    source = sample_surface(joined(asset), 20000).points
    reach = float(np.linalg.norm(np.ptp(target, 0))) / 4
    motion, error = register(source, target, reach, backend=options.backend)
    meshes = {
        name: replace(
            m,
            vertices=(m.vertices @ motion[:3, :3].T + motion[:3, 3]).astype(np.float32),
            normals=None
            if m.normals is None
            else (m.normals @ motion[:3, :3].T).astype(np.float32),
        )
        for name, m in asset.meshes.items()
    }
    whole = motion.copy()
    whole[:3, 3] += asset.offset - motion[:3, :3] @ asset.offset
    return meshes, {
        "motion": [f"{v:.6g}" for v in whole[:3].reshape(-1)],
        "distance left, m": error,
    }


def describe(asset: Asset, path: Path) -> dict[str, Any]:
    """The information that `mesh info` prints about a file."""
    used = [m.vertices[m.named()] for m in asset.meshes.values()]
    low, high = np.min([u.min(0) for u in used], 0), np.max([u.max(0) for u in used], 0)
    whole: dict[str, Any] = {
        "file": str(path),
        "parts": len(asset.meshes),
        "faces": sum(len(m.faces) for m in asset.meshes.values()),
        "lowest corner, m": low.tolist(),
        "highest corner, m": high.tolist(),
    }
    if asset.offset.any():
        whole["stands at, m"] = asset.offset.tolist()
    whole["holds"] = [feature.line() for feature in features(asset)]
    if asset.notes:
        whole["notes"] = list(asset.notes)
    whole["meshes"] = {
        name: {**inspect(mesh), "texture coordinates": examine_uv(mesh).line()}
        for name, mesh in asset.meshes.items()
    }
    return whole
