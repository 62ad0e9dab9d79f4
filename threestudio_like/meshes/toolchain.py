"""The mesh tools on files: `mesh info | clean | unwrap | decimate | convert | remesh | poisson |
register`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import ConfigError
from ..engine.output import check_free
from .clean import clean, inspect
from .coordinates import examine_uv, with_coordinates
from .extras import poisson, remesh_isotropic
from .frames import CANONICAL, Frame
from .io.files import read, write
from .io.formats import format_to_write
from .io.merge import joined
from .mesh import Asset, Mesh
from .points import estimate_normals, hidden_faces, read_cloud, register, sample_surface
from .simplify import check_budget, decimate


@dataclass(frozen=True, kw_only=True)
class ToolOptions:
    """Options of the tools; see `commands.arguments.MeshTool`."""

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
        done_asset, notes = with_coordinates(asset, options.texture, "always")
        meshes, each = done_asset.meshes, dict(notes)
    elif action == "decimate":
        total = sum(len(m.faces) for m in meshes.values())
        for name, mesh in asset.meshes.items():
            share = max(4, round(options.faces * len(mesh.faces) / total))
            meshes[name] = decimate(mesh, share, options.backend)
            each[name] = f"{len(mesh.faces)} -> {len(meshes[name].faces)} faces"
    elif action == "remesh":
        for name, mesh in asset.meshes.items():
            size = float(np.linalg.norm(np.ptp(mesh.vertices[mesh.faces.reshape(-1)], 0)))
            meshes[name] = remesh_isotropic(mesh, options.edge or size / 50)
            each[name] = f"{len(mesh.faces)} -> {len(meshes[name].faces)} faces"
    elif action == "register":
        meshes, findings = _register(asset, options)
    written = asset.with_meshes(meshes)
    write(written, options.out, options.to_frame, force=options.force)
    return {**({"meshes": each} if each else {}), **findings, "written": str(options.out)}


def _poisson(path: Path, options: ToolOptions) -> tuple[Asset, dict[str, Any]]:
    if not 3 <= options.depth <= 10:
        raise ConfigError(f"must be from 3 to 10, got {options.depth}", "--depth")
    cloud = read_cloud(path, options.frame)
    normals, origin = cloud.normals, "given"
    if normals is None:
        normals, origin = (
            estimate_normals(cloud.points, backend=options.backend),
            "estimated from neighbours",
        )
    mesh = poisson(cloud.points, normals, options.depth, options.backend)
    return Asset({path.stem: mesh}), {
        "points": len(cloud.points),
        "normals": origin,
        "faces": len(mesh.faces),
    }


def _register(asset: Asset, options: ToolOptions) -> tuple[dict[str, Mesh], dict[str, Any]]:
    if options.onto is None:
        raise ConfigError("needs a mesh to move to", "mesh register", "Add --onto other.glb")
    target = read_cloud(options.onto, options.frame, 20000).points
    source = sample_surface(joined(asset), 20000).points
    reach = float(np.linalg.norm(np.ptp(target, 0))) / 4
    motion, error = register(source, target, reach, options.backend)
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
    return meshes, {
        "motion": [f"{v:.6g}" for v in motion[:3].reshape(-1)],
        "distance left, m": error,
    }


def describe(asset: Asset, path: Path) -> dict[str, Any]:
    """The information that `mesh info` prints about a file."""
    used = [m.vertices[np.unique(m.faces)] for m in asset.meshes.values()]
    low, high = np.min([u.min(0) for u in used], 0), np.max([u.max(0) for u in used], 0)
    whole: dict[str, Any] = {
        "file": str(path),
        "parts": len(asset.meshes),
        "faces": sum(len(m.faces) for m in asset.meshes.values()),
        "lowest corner, m": low.tolist(),
        "highest corner, m": high.tolist(),
    }
    whole["meshes"] = {
        name: {**inspect(mesh), "texture coordinates": examine_uv(mesh).line()}
        for name, mesh in asset.meshes.items()
    }
    return whole
