"""Mutations of good mesh files for every reader: none may crash it, hang it, or make it write
anything. A mutated file is read or refused in one line, within five seconds.

Run: python benchmarks/fuzz_meshes.py [--count 20000] [--usd 240]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tables import ROOT, publish, table

sys.path.insert(0, str(ROOT))
from tests.bad_files import gltf, installed, mutate, small_gltf, write_good
from tests.gltf_files import featured, gltf_of

LONGEST = 5.0
"""Seconds that no small file may take."""
RICH = ("everything", "sparse accessor", "quantised", "instancing extension", "material variants")
"""Features of GLBs that are mutated besides the plain one."""


@dataclass(frozen=True)
class Target:
    """A good file of a kind: which file is opened, which is changed, and how."""

    kind: str
    opened: Path
    changed: Path
    change: Callable[[bytes, int], bytes] = mutate


def changed_json(data: bytes, number: int) -> bytes:
    """A GLB with a mutation of its JSON and headers that are right, so that the reader looks at
    what the JSON says."""
    document, binary = gltf_of(data)
    text = mutate(json.dumps(document).encode(), number)
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


_VALUES = (-1, 0, 1, 2**31, 1e30, 1e400, float("nan"), "x", "../x", None, True, [], {}, [[]], [-1])


def changed_value(data: bytes, number: int) -> bytes:
    """A GLB with one value of its JSON replaced or left out: valid JSON that says something
    else."""
    document, binary = gltf_of(data)
    draw = random.Random(number)
    row: Any = document
    while True:
        keys = list(row) if isinstance(row, dict) else list(range(len(row)))
        key = draw.choice(keys)
        deeper = isinstance(row[key], (dict, list)) and row[key] and draw.random() < 0.9
        if not deeper:
            break
        row = row[key]
    if draw.random() < 0.2:
        del row[key]
    else:
        row[key] = draw.choice(_VALUES)
    return gltf(document, binary)


def changed_binary(data: bytes, number: int) -> bytes:
    """A GLB with a mutation of its numbers, streams or pictures alone."""
    document, binary = gltf_of(data)
    other = mutate(binary, number)[: len(binary)]
    return gltf(document, other + b"\0" * (len(binary) - len(other)))


def draco_glb() -> bytes:
    """A triangle as a Draco stream."""
    import DracoPy

    document, _ = small_gltf()
    points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    stream = DracoPy.encode(points, np.uint32([[0, 1, 2]]), preserve_order=True)
    name = "KHR_draco_mesh_compression"
    packed = {name: {"bufferView": 0, "attributes": {"POSITION": 0}}}
    document["meshes"][0]["primitives"][0]["extensions"] = packed
    for row in document["accessors"]:
        del row["bufferView"]
    return _packed(document, name, stream)


def meshopt_glb() -> bytes:
    """A triangle whose positions are a meshopt stream."""
    import meshoptimizer

    document, binary = small_gltf()
    points = np.frombuffer(binary, np.float32, 9).reshape(3, 3)
    stream = bytes(meshoptimizer.encode_vertex_buffer(points, 3, 12))
    name = "EXT_meshopt_compression"
    facts = {"buffer": 0, "byteLength": len(stream), "byteStride": 12, "count": 3}
    view = {"buffer": 0, "byteLength": 36}
    view["extensions"] = {name: {**facts, "mode": "ATTRIBUTES"}}
    begin = len(stream) + -len(stream) % 4
    document["bufferViews"] = [view, {"buffer": 0, "byteOffset": begin, "byteLength": 12}]
    document["buffers"][0]["byteLength"] = begin + 12
    document["extensionsUsed"] = document["extensionsRequired"] = [name]
    return gltf(document, stream + b"\0" * (begin - len(stream)) + binary[36:48])


def _packed(document: dict, name: str, stream: bytes) -> bytes:
    document["bufferViews"] = [{"buffer": 0, "byteLength": len(stream)}]
    document["buffers"] = [{"byteLength": len(stream)}]
    document["extensionsUsed"] = document["extensionsRequired"] = [name]
    return gltf(document, stream)


def targets(folder: Path) -> list[Target]:
    """All files that are mutated, by kind in turn."""
    out = []
    for path in write_good(folder):
        kind = f"{path.suffix[1:]}, text" if path.stem == "text" else path.suffix[1:]
        if kind == "glb":
            kind = "glb, anything"
        out.append(Target(kind, path, path))
    out.append(Target("mtl of an obj", folder / "good.obj", folder / "good.mtl"))
    for name in RICH:
        path = folder / f"{name}.glb"
        path.write_bytes(featured(name))
        out += [
            Target("glb, the text of its JSON", path, path, changed_json),
            Target("glb, a value of its JSON", path, path, changed_value),
            Target("glb, its binary", path, path, changed_binary),
        ]
    for module, kind, made in (
        ("DracoPy", "glb, Draco stream", draco_glb),
        ("meshoptimizer", "glb, meshopt stream", meshopt_glb),
    ):
        if installed(module):
            path = folder / f"{module}.glb"
            path.write_bytes(made())
            out.append(Target(kind, path, path, changed_binary))
    return out


def read_mutated(target: Target, number: int) -> tuple[str, float]:
    """How the reader fares with one mutation, and how long it takes."""
    from threestudio_like.engine.errors import InputError
    from threestudio_like.meshes import Asset

    good = target.changed.read_bytes()
    target.changed.write_bytes(target.change(good, number))
    began = time.perf_counter()
    try:
        Asset.load(target.opened)
        outcome = "read"
    except InputError as error:
        outcome = "refused" if "\n" not in str(error) else "crashed"
    except Exception as error:
        outcome = "crashed"
        print(f"mutation {number} of {target.changed.name}: {type(error).__name__}: {error}")
    seconds = time.perf_counter() - began
    if seconds > LONGEST:
        print(f"mutation {number} of {target.changed.name}: {seconds:.1f} s, {outcome}")
    target.changed.write_bytes(good)
    return outcome, seconds


def chosen(files: list[Target], count: int, usd: int) -> list[Target]:
    """The file of every mutation: the kinds in turn, and of a kind its files in turn. USD is read
    by a process of its own, which takes most of a second, and so is mutated less often."""
    groups: dict[str, list[Target]] = {}
    for target in files:
        groups.setdefault(target.kind, []).append(target)
    slow = [kind for kind in groups if kind.startswith("usd")]
    fast = [kind for kind in groups if kind not in slow]
    out = []
    for kinds, total in ((fast, count), (slow, usd)):
        for number in range(total if kinds else 0):
            group = groups[kinds[number % len(kinds)]]
            out.append(group[number // len(kinds) % len(group)])
    return out


def main() -> None:
    """Mutate, read, and write docs/results/fuzz_meshes.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--usd", type=int, default=240)
    given = parser.parse_args()
    # Address space that no reader of a small file needs: an allocation by a lying header would end
    # the process.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    rows: dict[str, Counter] = {}
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = targets(folder)
        before = sorted(p.name for p in folder.rglob("*"))
        for number, target in enumerate(chosen(files, given.count, given.usd)):
            outcome, seconds = read_mutated(target, 1000 + number)
            slowest[target.kind] = max(slowest.get(target.kind, 0.0), seconds)
            rows.setdefault(target.kind, Counter())[outcome] += 1
        written = sorted(p.name for p in folder.rglob("*")) != before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    total = sum(sum(c.values()) for c in rows.values())
    body = table(
        ["read as", "mutations", "read", "refused in one line", "crashed", "slowest, s"],
        [
            [k, sum(c.values()), c["read"], c["refused"], c["crashed"], f"{slowest[k]:.3f}"]
            for k, c in rows.items()
        ],
    )
    crashed = sum(c["crashed"] for c in rows.values())
    late = [k for k, seconds in slowest.items() if seconds > LONGEST]
    body += (
        f"\n\n{total} mutations: {crashed} crashed, {len(late)} kinds had one over {LONGEST:g} s. "
        f"Anything written beside the files: {'yes' if written else 'no'}. Peak memory of the "
        f"whole process: {peak:.0f} MB; of the processes that read USD: {child:.0f} MB."
    )
    publish(
        "fuzz_meshes",
        "Mutated mesh files",
        f"python benchmarks/fuzz_meshes.py --count {given.count} --usd {given.usd}",
        body,
    )
    sys.exit(bool(crashed or late or written))


if __name__ == "__main__":
    main()
