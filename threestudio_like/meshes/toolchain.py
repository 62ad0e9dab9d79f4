"""`mesh info | clean | unwrap | decimate | convert`: the mesh toolchain on files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import ConfigError, OutputError
from .atlas import examine_uv, with_coordinates
from .clean import clean, inspect
from .files import read, write
from .frames import HOUSE, Frame
from .mesh import Asset
from .simplify import check_budget, decimate


@dataclass
class ToolOptions:
    """What the tools take; see `arguments.MeshTool`."""

    out: Path | None = None
    frame: Frame = HOUSE
    to_frame: Frame = HOUSE
    faces: int = 5000
    weld: float = 0.0
    holes: int = 0
    texture: int = 1024
    backend: str = "auto"
    textures: bool = True


def run_tool(action: str, path: Path, options: ToolOptions) -> dict[str, Any]:
    """Run one tool on a mesh file; returns what it found and did. Raises UserError of the readers and writers."""
    if action == "info":
        return describe(read(path, options.frame, options.textures), path)
    if options.out is None:
        raise ConfigError("wants a file to write", f"mesh {action}", "Add --out new.glb")
    if options.out.exists():
        raise OutputError("a file of that name exists", str(options.out), "Choose another one with --out")
    if action == "decimate":
        check_budget(options.faces)
    if not 0 <= options.weld < 1:
        raise ConfigError(f"must be a share from 0 to below 1, got {options.weld:g}", "--weld")
    if options.holes < 0:
        raise ConfigError(f"must not be negative, got {options.holes}", "--holes")
    if not 16 <= options.texture <= 8192:
        raise ConfigError(f"must be from 16 to 8192 pixels, got {options.texture}", "--texture")
    asset = read(path, options.frame, options.textures)
    meshes, findings = dict(asset.meshes), {}
    if action == "clean":
        for name, mesh in asset.meshes.items():
            meshes[name], done = clean(mesh, options.weld, options.holes)
            findings[name] = {k: v for k, v in done.items() if v} or "nothing to do"
        meshes = {k: m for k, m in meshes.items() if len(m.faces)}
    elif action == "unwrap":
        done_asset, notes = with_coordinates(asset, options.texture, "always")
        meshes, findings = done_asset.meshes, dict(notes)
    elif action == "decimate":
        total = sum(len(m.faces) for m in meshes.values())
        for name, mesh in asset.meshes.items():
            share = max(4, round(options.faces * len(mesh.faces) / total))
            meshes[name] = decimate(mesh, share, options.backend)
            findings[name] = f"{len(mesh.faces)} -> {len(meshes[name].faces)} faces"
    written = Asset(meshes, asset.provenance)
    write(written, options.out, options.to_frame)
    return {**findings, "written": str(options.out)}


def describe(asset: Asset, path: Path) -> dict[str, Any]:
    """Everything that `mesh info` says of a file."""
    used = [m.vertices[np.unique(m.faces)] for m in asset.meshes.values()]
    low, high = np.min([u.min(0) for u in used], 0), np.max([u.max(0) for u in used], 0)
    whole: dict[str, Any] = {
        "file": str(path),
        "parts": len(asset.meshes),
        "faces": sum(len(m.faces) for m in asset.meshes.values()),
        "lowest corner, m": low.tolist(),
        "highest corner, m": high.tolist(),
    }
    for name, mesh in asset.meshes.items():
        whole[name] = {**inspect(mesh), "texture coordinates": examine_uv(mesh).line()}
    return whole
