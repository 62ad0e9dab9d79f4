"""Mutations of good mesh files in every format: none may crash the reader, hang it, or make it
write anything.

Run: python benchmarks/fuzz_meshes.py [--count 20000]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tables import ROOT, publish, table

sys.path.insert(0, str(ROOT))
from tests.bad_files import mutate, write_good


def main() -> None:
    from threestudio_like.engine.errors import InputError
    from threestudio_like.meshes import Asset

    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20000)
    count = parser.parse_args().count
    # Address space that no reader of a small file needs: an allocation by a lying header would end
    # the process.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    rows: dict[str, Counter] = {}
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_good(folder)
        good = {path: path.read_bytes() for path in files}
        before = sorted(p.name for p in folder.rglob("*"))
        for number in range(count):
            path = files[number % len(files)]
            # Text and binary are two readers.
            kind = f"text {path.suffix[1:]}" if path.stem == "text" else path.suffix[1:]
            path.write_bytes(mutate(good[path], 1000 + number))
            began = time.perf_counter()
            try:
                Asset.load(path)
                outcome = "read"
            except InputError:
                outcome = "refused"
            except Exception as error:
                outcome = "crashed"
                print(f"mutation {1000 + number} of {path.name}: {type(error).__name__}: {error}")
            seconds = time.perf_counter() - began
            slowest[kind] = max(slowest.get(kind, 0.0), seconds)
            rows.setdefault(kind, Counter())[outcome] += 1
            path.write_bytes(good[path])
        written = sorted(p.name for p in folder.rglob("*")) != before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    body = table(
        ["format", "mutations", "read", "refused in one line", "crashed", "slowest, s"],
        [
            [k, sum(c.values()), c["read"], c["refused"], c["crashed"], f"{slowest[k]:.3f}"]
            for k, c in rows.items()
        ],
    )
    body += (
        f"\n\nAnything written beside the files: {'yes' if written else 'no'}. Peak memory of "
        f"the whole process: {peak:.0f} MB.\n"
    )
    publish(
        "fuzz_meshes",
        "Mutated mesh files",
        f"python benchmarks/fuzz_meshes.py --count {count}",
        body,
    )


if __name__ == "__main__":
    main()
