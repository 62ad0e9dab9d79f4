"""`mesh`: the mesh tool chain on files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

EXAMPLES = (
    "threestudio-like mesh info robot.obj",
    "threestudio-like mesh convert robot.stl --unit mm --out robot.glb",
)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Inspect, repair, unwrap, decimate, convert, remesh or register a mesh file, or make one of
    points."""

    action: tyro.conf.Positional[
        Literal["info", "clean", "unwrap", "decimate", "convert", "remesh", "poisson", "register"]
    ] = "info"
    """What to do."""
    mesh: tyro.conf.Positional[Path] = Path("mesh.glb")
    """A mesh file of any format that is read: GLB, glTF, OBJ, PLY, STL, OFF, 3MF, DAE, USD."""
    out: Path | None = None
    """File to write; its suffix is the format. An existing file is replaced only with --force."""
    to_up: str = "y"
    """Axis of the written file that points up."""
    to_front: str = "z"
    """Axis of the written file that points to the front."""
    to_unit: str = "m"
    """Length of the written file's unit."""
    faces: int = 5000
    """decimate: face budget of the whole file."""
    weld: float = 0.0
    """clean: vertices nearer than this share of the size become one (0: only those at one
    place)."""
    holes: int = 0
    """clean: fill holes of at most this many edges (0: none)."""
    texture: int = 1024
    """unwrap: texture size in pixels, for the space between charts."""
    backend: Literal["auto", "pymeshlab", "open3d"] = "auto"
    """Who does it: the core's own, or an extra (pip install '.[mesh]' in the checkout). remesh
    wants pymeshlab, poisson either of them."""
    hidden: bool = False
    """clean: remove faces that no view from outside sees."""
    edge: float = 0.0
    """remesh: length of the new triangles' edges in metres (0: a fiftieth of the part's
    diagonal)."""
    depth: int = 7
    """poisson: depth of the octree. The input is a PLY of points, with normals or without, or a
    mesh whose surface is sampled."""
    onto: Path | None = None
    """register: mesh or points to move to, rigidly, by iterated closest points."""
    drop_textures: bool = False
    """Leave the file's pictures alone, also missing ones."""
    up: str = "y"
    """Axis of the file that points up: x, y, z, -x, -y, -z."""
    front: str = "z"
    """Axis of the file that points to the front (Blender's OBJ with Z up: --up z --front -y)."""
    unit: str = "m"
    """Length of the file's unit: m, dm, cm, mm, in, ft, km."""
    force: bool = False
    """Replace files that are there already."""
    plugins: tuple[Path, ...] = ()
    """Python files that register a format or anything else (docs/plug-ins.md)."""
    json: bool = False
    """Print as JSON."""


def call(options: Mesh) -> Any:
    """Carry it out; prints what was found."""
    from .jobs.mesh import mesh

    return mesh(options)
