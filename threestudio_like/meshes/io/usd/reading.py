"""Reads a USD file as an asset in metres with +Y up, from what `extract` takes out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.errors import InputError
from ....engine.text import line_name
from ...extras import needed
from ...mesh import Asset, Mesh, unique_name
from ..far import near_origin
from ..images import to_display
from ..sources.corners import assembled
from .materials import Materials

_LONGEST = 600
"""Seconds after which a file is given up."""
_REPAIR = "Export it again, for example as GLB"
UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From +Z up to +Y up."""


def read_usd(path: Path, textures: bool = True) -> Asset:
    """Read a USD file, text, binary or package. Raises InputError."""
    where = str(path)
    needed("pxr.Usd", "usd", where)
    description, arrays = _extracted(path)
    if "refused" in description:
        raise InputError(line_name(description["refused"]), where, _REPAIR)
    metres = float(description["metres"] or 0)
    if not 0 < metres < 1e9:
        raise InputError("has a unit of no length", where, _REPAIR)
    world = np.diag([metres, metres, metres, 1.0])
    if description["up"] == "Z":
        world = UPRIGHT @ world
    notes = [line_name(note) for note in description["notes"]]
    materials = Materials(path, description["materials"], notes, textures=textures)
    parts: list[tuple[str, Mesh, np.ndarray]] = []
    for number, row in enumerate(description["parts"]):
        parts += _parts(row, str(number), arrays, world=world, materials=materials, where=where)
    if not parts:
        return Asset({}, notes=notes)
    near, offset = near_origin(np.concatenate([p for _, _, p in parts]))
    counts = [arrays[f"{number}_counts"] for number in range(len(description["parts"]))]
    polygons = any(bool((count > 3).any()) for count in counts)
    asset = Asset({}, offset=offset, notes=notes, polygons=polygons)
    ends = np.cumsum([len(p) for _, _, p in parts])[:-1]
    for (name, mesh, _), points in zip(parts, np.split(near, ends)):
        mesh.vertices = points
        if mesh.normals is not None and mesh.normals.shape[1] == 0:
            # It says that it is no smooth surface, and has no normals.
            mesh = replace(mesh, normals=None)
            mesh = mesh.split_at_creases() if np.isfinite(points).all() else mesh
        asset.meshes[unique_name(name, asset.meshes)] = mesh
    return asset


def _extracted(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the process that reads the file found in it."""
    where = str(path)
    # The process works in the folder of the file, and no module may come from there: "" on the path
    # is this process's folder, and -P leaves out that of the other.
    places = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    environment = dict(os.environ, PYTHONPATH=places)
    # One thread and one heap, so that the limit of memory means the same on every machine.
    environment |= {"PXR_WORK_THREAD_LIMIT": "1", "MALLOC_ARENA_MAX": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # Nothing is looked for in other places than the folder of the file.
    environment.pop("PXR_AR_DEFAULT_SEARCH_PATH", None)
    with tempfile.TemporaryDirectory() as name:
        module = f"{__package__}.extract"
        command = [sys.executable, "-P", "-m", module, str(path.resolve()), name]
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=path.resolve().parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LONGEST,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"is not read within {_LONGEST} s", where, _REPAIR) from None
        try:
            description = json.loads((Path(name) / "description.json").read_text())
            with np.load(Path(name) / "arrays.npz", allow_pickle=False) as file:
                return description, dict(file)
        except (OSError, ValueError):
            raise InputError(
                f"is damaged, or too large (USD's library ended with {done.returncode})",
                where,
                _REPAIR,
            ) from None


def _parts(
    row: dict[str, Any],
    key: str,
    arrays: dict[str, np.ndarray],
    world: np.ndarray,
    materials: Materials,
    where: str,
) -> list[tuple[str, Mesh, np.ndarray]]:
    """The meshes of a prim, one for each of its materials: name, mesh, points in the world."""
    sizes, corners = arrays[f"{key}_counts"], arrays[f"{key}_corners"]
    matrix = world @ np.array(row["matrix"])
    linear = matrix[:3, :3]
    with np.errstate(all="ignore"):
        points = arrays[f"{key}_points"].reshape(-1, 3) @ linear.T + matrix[:3, 3]
        mesh = Mesh(points.astype(np.float32), np.zeros((0, 3), np.int32))
    if sizes.min() < 0 or int(sizes.sum()) != len(corners):
        raise InputError("has faces of another size than it says", where, "Repair the mesh first")
    own: dict[str, np.ndarray] = {}

    def take(name: str, width: int) -> np.ndarray | None:
        return _spread(
            row,
            key,
            name,
            width=width,
            arrays=arrays,
            count=len(points),
            corners=corners,
            sizes=sizes,
        )

    normals, uv, colours = take("normals", 3), take("uv", 2), take("displayColor", 3)
    opacity = take("displayOpacity", 1)
    if colours is not None and materials.shows_colours(row["groups"]):
        colours = to_display(colours.clip(0, 1)).astype(np.float32)
        if opacity is not None and (opacity < 1).any():
            colours = np.concatenate([colours, opacity.clip(0, 1)], 1)
        own["colours"] = colours
    if normals is not None:
        turned = _turned(normals, linear)
        own |= {} if turned is None else {"normals": turned}
    if uv is not None:
        own["uv"] = uv
    mesh, owner = assembled(mesh, corners, sizes, where=where, **own)
    if (np.linalg.det(linear) < 0) != row["left_handed"]:
        mesh.faces = np.ascontiguousarray(mesh.faces[:, ::-1])
    if mesh.normals is None and row["flat"]:
        mesh.normals = np.zeros((len(mesh.vertices), 0), np.float32)
    points = points if mesh.origin is None else points[mesh.origin]
    name = line_name(row["name"], "mesh")
    groups = arrays.get(f"{key}_groups")
    chosen = np.zeros(len(mesh.faces), np.int64) if groups is None else groups[owner]
    holes = np.isin(owner, arrays.get(f"{key}_holes", ()))
    out = []
    numbers = np.unique(chosen[~holes]).tolist()
    for number in numbers:
        part, place, mine = mesh, points, (chosen == number) & ~holes
        if not mine.all():
            kept = np.unique(mesh.faces[mine])
            part, place = mesh.keep_faces(mine), points[kept]
        if len(part.faces):
            part = materials.onto(part, row["groups"][number], row["double_sided"])
            part.part = name if len(numbers) > 1 else ""
            out.append((name, part, place))
    return out


def _spread(
    row: dict[str, Any],
    key: str,
    name: str,
    width: int,
    arrays: dict[str, np.ndarray],
    count: int,
    corners: np.ndarray,
    sizes: np.ndarray,
) -> np.ndarray | None:
    """The values (C, width) of all corners, from whatever they are given for; None where there are
    none, or too few, as USD wants it."""
    values = arrays.get(f"{key}_{name}")
    if values is None:
        return None
    values = values.reshape(len(values), -1)
    if values.shape[1] != width:
        return None
    kind = row["values"][name]
    inside = len(corners) == 0 or (corners.min() >= 0 and corners.max() < count)
    if kind in ("vertex", "varying") and len(values) == count and inside:
        return values[corners]
    if kind == "faceVarying" and len(values) == len(corners):
        return values
    if kind == "uniform" and len(values) == len(sizes):
        return np.repeat(values, sizes, 0)
    if kind == "constant" and len(values) == 1:
        return np.broadcast_to(values, (len(corners), width))
    return None


def _turned(normals: np.ndarray, linear: np.ndarray) -> np.ndarray | None:
    """Normals after a linear map (3, 3), of length 1; those without a direction are zero."""
    if abs(np.linalg.det(linear)) < 1e-30:
        return None
    with np.errstate(all="ignore"):
        turned = normals.astype(np.float64) @ np.linalg.inv(linear)
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        return np.where(length > 1e-12, turned / length, 0).astype(np.float32)
