"""Decimation: our edge collapses beside fast_simplification, which served before, and beside open3d
and pymeshlab where they are installed, on the same welded surfaces.

Distances are the largest between the surface before and after, both ways, from vertices and middles
of faces, as a share of the size. A piece is whole where it is closed and has more than a thousandth
of its box as volume.

Run: python benchmarks/decimation.py
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator

import numpy as np
import trimesh
from second_world.shapes import draw as draw_other
from tables import ROOT, interval, publish, table

from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.extras import decimate_with
from threestudio_like.meshes.io.merge import joined
from threestudio_like.meshes.surface.simplify import decimate, displacement
from threestudio_like.toybox.world import draw

COMMAND = "python benchmarks/decimation.py"
SHARES = (0.5, 0.2, 0.05)
ASSETS = ("knot.glb", "robot.glb", "teapot.obj")
WORLD, COUNT = 2001, 20
Way = Callable[[Mesh, int], Mesh]


def welded(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Geometry alone, vertices at one place as one."""
    mesh = Mesh(np.asarray(vertices, np.float32), np.asarray(faces, np.int32))
    place = mesh.welded()
    first = np.zeros(int(place.max()) + 1, np.int64)
    first[place] = np.arange(len(place))
    return Mesh(mesh.vertices[first], place[mesh.faces].astype(np.int32))


def meshes() -> Iterator[tuple[str, Mesh]]:
    """What is decimated, by its kind."""
    for index in range(COUNT):
        toy = draw(WORLD, index, "test")
        yield "toybox", welded(toy.vertices, toy.faces)
    for index in range(COUNT):
        other = draw_other(WORLD, index)
        yield "second world", welded(other.vertices, other.faces)
    for name in ASSETS:
        whole = joined(Asset.load(ROOT / "assets" / "meshes" / name))
        yield "asset", welded(whole.vertices, whole.faces)
    for shape in (
        trimesh.creation.icosphere(4),
        trimesh.creation.torus(1, 0.3),
        trimesh.creation.capsule(),
        trimesh.creation.annulus(0.5, 1, 0.2, sections=64),
        trimesh.creation.box((1, 1, 0.01)).subdivide().subdivide().subdivide(),
    ):
        yield "simple", welded(shape.vertices, shape.faces)


def _library(mesh: Mesh, faces: int) -> Mesh:
    import fast_simplification

    points, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
    return Mesh(points.astype(np.float32), triangles.astype(np.int32))


def _extra(name: str) -> Way:
    def run(mesh: Mesh, faces: int) -> Mesh:
        points, triangles = decimate_with(name, mesh.vertices, mesh.faces, faces)
        return Mesh(points.astype(np.float32), triangles.astype(np.int32))

    return run


def ways() -> dict[str, Way]:
    """Ways to decimate, by name."""
    found: dict[str, Way] = {"edge collapses (ours)": decimate, "fast_simplification": _library}
    for name in ("open3d", "pymeshlab"):
        if importlib.util.find_spec(name) is not None:
            found[name] = _extra(name)
    return found


def whole_pieces(mesh: Mesh) -> int:
    """Closed pieces that are not flat, as trimesh counts them."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    pieces = body.split(only_watertight=True) if len(mesh.faces) else []
    return sum(abs(p.volume) > 1e-3 * np.prod(np.maximum(p.extents, 1e-9)) for p in pieces)


def main() -> None:
    cases = list(meshes())
    before = [whole_pieces(mesh) for _, mesh in cases]
    size = sum(len(mesh.faces) for _, mesh in cases)
    decimate(cases[0][1], 50)  # compiled before the clock runs
    rows, samples = [], []
    for share in SHARES:
        for name, way in ways().items():
            far, lost, kept, within, seconds = [], [], 0, 0, 0.0
            for (kind, mesh), pieces in zip(cases, before, strict=True):
                wanted = max(4, round(share * len(mesh.faces)))
                began = time.process_time()
                small = way(mesh, wanted)
                seconds += time.process_time() - began
                far.append(100 * displacement(mesh, small))
                lost.append(100 * abs(small.volume / mesh.volume - 1))
                kept += min(pieces, whole_pieces(small))
                within += len(small.faces) <= wanted
                samples.append(
                    {"way": name, "share": share, "kind": kind, "faces": len(mesh.faces)}
                    | {"left": len(small.faces), "moved %": far[-1], "volume %": lost[-1]}
                )
            low, high = interval(far)
            moved = f"{np.mean(far):.2f} % ({low:.2f} to {high:.2f})"
            medians = f"{np.median(far):.2f} %", f"{np.median(lost):.2f} %"
            counts = f"{kept} of {sum(before)}", f"{within} of {len(cases)}"
            rows.append([f"{share:.0%}", name, moved, *medians, *counts, f"{seconds:.1f} s"])
    header = ["faces left", "way", "moved at most: mean (95 %)", "median", "volume: median change"]
    header += ["pieces still whole", "within the budget", "CPU"]
    text = (
        f"{len(cases)} surfaces of {size:,} faces in all: {COUNT} toys and {COUNT} things of the "
        f"second world, {len(ASSETS)} assets and simple shapes. What cannot have so few faces and "
        "stay what it is keeps more: that is outside the budget.\n\n" + table(header, rows)
    )
    publish("decimation", "Decimation", COMMAND, text, samples)


if __name__ == "__main__":
    main()
