"""`mesh info` and `mesh convert` as whole processes on files of two million triangles, beside short
programs that do the same with trimesh, in turn.

Run: python benchmarks/mesh_speed.py [--side 1000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import ROOT, publish, table

sys.path.insert(0, str(ROOT))
from tests.gltf_files import Glb

GOAL = 1.5
"""How many times trimesh's time may be needed."""
OPEN = "import trimesh; m = trimesh.load({path!r}, process=False, force='mesh')"
FIGURES = (
    f"{OPEN}; print(len(m.faces), m.bounds, m.area, m.volume, m.is_watertight, "
    "m.is_winding_consistent, m.body_count, m.euler_number)"
)
"""What `mesh info` says as well, as far as trimesh knows it."""


def grid(side: int) -> dict[str, np.ndarray]:
    """A smooth hill of 2 side² triangles with normals and coordinates."""
    y, x = np.mgrid[: side + 1, : side + 1] / side
    height = 0.2 * np.sin(5 * x) * np.cos(4 * y)
    slope_x, slope_y = np.cos(5 * x) * np.cos(4 * y), -0.8 * np.sin(5 * x) * np.sin(4 * y)
    normals = np.stack([-slope_x, np.ones_like(x), -slope_y], -1).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    first = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).reshape(-1)
    corner = [first, first + side + 1, first + 1, first + 1, first + side + 1, first + side + 2]
    return {
        "position": np.stack([x, height, y], -1).reshape(-1, 3).astype(np.float32),
        "normal": normals.astype(np.float32),
        "uv": np.stack([x, y], -1).reshape(-1, 2).astype(np.float32),
        "faces": np.stack(corner, 1).reshape(-1, 3).astype(np.uint32),
    }


def write_files(folder: Path, side: int) -> dict[str, Path]:
    """The hill as GLB and as OBJ."""
    shape = grid(side)
    glb = Glb()
    row = {
        "attributes": {
            "POSITION": glb.position(shape["position"]),
            "NORMAL": glb.accessor(shape["normal"]),
            "TEXCOORD_0": glb.accessor(shape["uv"]),
        },
        "indices": glb.accessor(shape["faces"].reshape(-1), "<u4"),
    }
    glb.add("meshes", {"name": "hill", "primitives": [row]})
    glb.document["scenes"][0]["nodes"] = [glb.add("nodes", {"name": "hill", "mesh": 0})]
    (folder / "hill.glb").write_bytes(glb.data())
    with open(folder / "hill.obj", "w", encoding="ascii") as file:
        file.write("o hill\n")
        for key, values in (("v", "position"), ("vt", "uv"), ("vn", "normal")):
            line = " ".join([key, *["%.7g"] * shape[values].shape[1], "\n"])
            for rows in np.array_split(shape[values], 100):
                file.write(line * len(rows) % tuple(rows.reshape(-1).tolist()))
        numbers = np.repeat(shape["faces"].astype(np.int64) + 1, 3, 1)
        line = "f %d/%d/%d %d/%d/%d %d/%d/%d\n"
        for rows in np.array_split(numbers, 100):
            file.write(line * len(rows) % tuple(rows.reshape(-1).tolist()))
    return {"GLB": folder / "hill.glb", "OBJ": folder / "hill.obj"}


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock and of the CPU, and peak memory in MB, of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed: {' '.join(command)[:200]}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def jobs(files: dict[str, Path], out: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Commands by name: of this package, and a program with trimesh."""
    mesh = [sys.executable, "-m", "threestudio_like", "mesh"]
    rows = {}
    for kind, path in files.items():
        program = FIGURES.format(path=str(path))
        rows[f"info of {kind}"] = ([*mesh, "info", str(path)], [sys.executable, "-c", program])
    for kind, path in files.items():
        for suffix in (".glb", ".obj"):
            target = out / f"out{suffix}"
            program = f"{OPEN.format(path=str(path))}; m.export({str(target)!r})"
            own = [*mesh, "convert", str(path), "--out", str(target), "--force"]
            rows[f"convert {kind} to {suffix[1:].upper()}"] = (own, [sys.executable, "-c", program])
    return rows


def main() -> None:
    """Measure, and write docs/results/mesh_speed.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, given.side)
        out = folder / "out"
        out.mkdir()
        for job, pair in jobs(files, out).items():
            if given.only not in job:
                continue
            taken: list[list[tuple[float, float, float]]] = [[], []]
            for _ in range(given.repeats):
                for times, command in zip(taken, pair):
                    times.append(measured(command))
            own, other = ([statistics.median(v) for v in zip(*times)] for times in taken)
            figures = [f"{a:.1f} / {b:.1f}" for a, b in zip(own[:2], other[:2])]
            memory = f"{own[2]:.0f} / {other[2]:.0f}"
            rows.append([job, *figures, memory, f"{own[1] / other[1]:.2f}"])
            print(rows[-1], file=sys.stderr, flush=True)
    head = ["job", "seconds", "seconds of CPU", "peak memory, MB", "CPU, times trimesh's"]
    body = table(head, rows)
    body += (
        f"\n\nA smooth grid of {2 * given.side**2:,} triangles with normals and coordinates; this "
        "package / trimesh, whole processes in turn, medians of "
        f"{given.repeats}, start of Python included. `info` stands beside trimesh's load and its "
        "bounds, area, volume, watertightness, winding, number of pieces and Euler number; it "
        "also looks for degenerate and duplicate faces, holes and the layout of coordinates. "
        f"`convert` stands beside load and export. Goal: at most {GOAL} times."
    )
    if given.only:
        print(body)
    else:
        command = f"python benchmarks/mesh_speed.py --side {given.side} --repeats {given.repeats}"
        publish("mesh_speed", "Speed of the mesh tools", command, body)


if __name__ == "__main__":
    main()
