"""Texture coordinates by xatlas, in a process of its own with a time limit; a grid of triangle
pairs when that fails."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..mesh import Mesh

_WORKER = """
import sys
limit = int(sys.argv[5])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
import numpy as np, xatlas
data = np.load(sys.argv[1])
atlas = xatlas.Atlas()
atlas.add_mesh(data["vertices"], data["faces"])
chart = xatlas.ChartOptions(); chart.max_iterations = 1; chart.max_cost = 8.0
pack = xatlas.PackOptions(); pack.padding = int(sys.argv[3])
pack.resolution = int(sys.argv[4]); pack.bruteForce = False
atlas.generate(chart, pack)
mapping, faces, uv = atlas[0]
np.savez(sys.argv[2], mapping=mapping, faces=faces, uv=uv)
"""


PROXY_FROM = 40000
"""Number of faces above which xatlas unwraps a decimated proxy, whose coordinates the mesh takes
over. This, and not the clock, is what keeps the work small: the worst surface of so many faces
takes some 20 seconds of a processor."""
PROXY_FACES = 12000


def unwrap(
    mesh: Mesh, resolution: int, seconds: float = 20.0, padding: int = 3
) -> tuple[Mesh, str]:
    """The mesh with texture coordinates (vertices split along seams), and how they were made:
    "xatlas", "xatlas on a proxy" or "grid".

    A mesh of many faces, or one that xatlas did not finish in time, takes the coordinates of a
    decimated proxy over, if no place of it then shares its texels with another; else every two
    triangles get a square of a grid.

    Args:
        resolution: texture size in pixels, for the padding between charts.
        seconds: a tenth of the processor time after which xatlas counts as hanging. No mesh below
            `PROXY_FROM` comes near it, so that the layout does not depend on the machine.
        padding: pixels between charts.
    """
    if len(mesh.faces) < PROXY_FROM:
        done = _xatlas(mesh, resolution, seconds, padding=padding)
        if done is not None:
            return done, "xatlas"
    if len(mesh.faces) > 2 * PROXY_FACES:
        from ..surface.simplify import decimate
        from ..surface.taking import nearest_vertices, take_over

        bare = replace(mesh, uv=None, texture=None, colours=None, normals=None)
        proxy = _xatlas(decimate(bare, PROXY_FACES), resolution, seconds, padding=padding)
        if proxy is not None:
            taken = take_over(proxy, bare)
            if overlap(taken) < 0.02:
                return (
                    replace(
                        taken,
                        material=mesh.material,
                        part=mesh.part,
                        origin=nearest_vertices(mesh, taken.vertices),
                    ),
                    "xatlas on a proxy",
                )
    return unwrap_grid(mesh, resolution), "grid"


def _xatlas(mesh: Mesh, resolution: int, seconds: float, padding: int) -> Mesh | None:
    """The mesh with coordinates by xatlas, which runs in a separate process; None if it failed or
    took too long.

    Where the system can count it, the limit is on processor time, ten times `seconds` over all
    threads: neither a busy nor a slow machine must change the layout.
    """
    counted = seconds >= 1 and importlib.util.find_spec("resource") is not None
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            source, vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.uint32)
        )
        try:
            subprocess.run(
                [
                    sys.executable,
                    # No module comes from the folder that one works in, which may be a stranger's.
                    "-P",
                    "-c",
                    _WORKER,
                    str(source),
                    str(result),
                    str(padding),
                    str(resolution),
                    str(math.ceil(10 * seconds) if counted else 0),
                ],
                timeout=60 * seconds if counted else seconds,
                check=True,
                capture_output=True,
            )
            data = np.load(result)
            mapping, faces, uv = data["mapping"], data["faces"], data["uv"]
        except (subprocess.SubprocessError, OSError, ValueError, KeyError):
            return None
    return _split(mesh, mapping, faces, uv=uv)


def _split(mesh: Mesh, mapping: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> Mesh:
    """The mesh with vertex `mapping[i]` as vertex i and new texture coordinates; its old texture is
    dropped."""
    return replace(
        mesh,
        vertices=mesh.vertices[mapping],
        faces=faces.astype(np.int32),
        uv=uv.astype(np.float32),
        texture=None,
        colours=None if mesh.colours is None else mesh.colours[mapping],
        normals=None if mesh.normals is None else mesh.normals[mapping],
        origin=mapping.astype(np.int64) if mesh.origin is None else mesh.origin[mapping],
        relaid=True,
    )


def unwrap_grid(mesh: Mesh, resolution: int) -> Mesh:
    """Give every two triangles a square cell of a grid. This always works and never overlaps, but
    wastes some of the texture."""
    count = len(mesh.faces)
    side = math.ceil(math.sqrt((count + 1) // 2))
    cell = 1.0 / side
    margin = min(0.2, 1.5 / max(1.0, resolution * cell)) * cell
    number = np.arange(count)
    column, row, upper = (number // 2) % side, (number // 2) // side, number % 2
    low, high = margin, cell - margin
    corners = np.array(
        [
            [[low, low], [high - margin, low], [low, high - margin]],
            [[high, high], [low + margin, high], [high, low + margin]],
        ]
    )
    uv = corners[upper] + (np.stack([column, row], 1) * cell)[:, None]
    return _split(
        mesh, mesh.faces.reshape(-1), np.arange(3 * count).reshape(-1, 3), uv=uv.reshape(-1, 2)
    )


def overlap(mesh: Mesh, resolution: int = 512) -> float:
    """Share of the covered texels whose centre lies strictly inside more than one triangle: 0 for a
    proper atlas."""
    import torch

    from ...kernels import rasterize

    assert mesh.uv is not None
    clip = np.concatenate(
        [mesh.uv * 2 - 1, np.zeros((len(mesh.uv), 1)), np.ones((len(mesh.uv), 1))], 1
    ).astype(np.float32)
    covered = float(
        (
            rasterize(
                torch.from_numpy(clip), torch.from_numpy(mesh.faces), resolution, width=resolution
            )[..., 3]
            > 0
        )
        .float()
        .mean()
    )
    a, b, c = (mesh.uv[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    total = float(
        np.abs(
            (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        ).sum()
        / 2
    )
    return max(0.0, (total - covered) / max(covered, 1e-9))
