"""What the viewer costs a run, and when its first picture is there.

The same `generate` without a viewer, with one that nobody looks at, and with one that is looked at:
by a client that takes everything a browser takes and draws nothing, for the drawing is the
browser's. The three take turns. A processor that is shared with others changes its speed by more
than a viewer costs, so the cost is counted where it arises: processor time that the run spends on
what is looked at, and that of the viewer's process, beside the rest of the run's. The files of the
assets are compared byte for byte.

    python benchmarks/viewer.py                 # three rounds
    python benchmarks/viewer.py --rounds 1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tables import ROOT, publish, table

RUN = ["generate", "a red chair", "--no-turntable", "--faces", "3000", "--texture", "256"]
HOWS = ("no viewer", "open, nobody looks", "looked at")
INSIDE = "--counting-into"
"""The word before a file, behind which this script is a run that counts."""


def unpacked(data: bytes) -> bytes:
    """What viser sends: its messages behind two sizes, by zstd, and after them arrays as they
    are."""
    import zstandard

    size = int.from_bytes(data[8:16], "little")
    return zstandard.ZstdDecompressor().decompress(data[16 : 16 + size]) + data[16 + size :]


def look(address: str, began: float, seen: dict[str, float]) -> None:
    """Be a browser that is connected: take what comes, and note when the first model does."""
    import msgspec
    import viser
    from viser._messages import ViewerCameraMessage
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    camera = ViewerCameraMessage(
        (1.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 3.0),
        fov=0.7,
        near=0.01,
        far=100.0,
        image_height=800,
        image_width=1280,
        look_at=(0.0, 0.0, 0.0),
        up_direction=(0.0, 1.0, 0.0),
    )
    spoken = [f"viser-v{viser.__version__}"]
    with connect(
        address.replace("http", "ws").rstrip("/"), subprotocols=spoken, max_size=None
    ) as line:
        line.send(msgspec.msgpack.encode(camera.as_serializable_dict()))
        try:
            for data in line:
                if b"glTF" in unpacked(data):
                    seen.setdefault("first picture", time.monotonic() - began)
        except ConnectionClosed:
            return


def counted(path: Path, words: list[str]) -> int:
    """Be the run, and write down its processor time, what of it went into onlookers, and that of
    the viewer's process once it has ended."""
    import resource

    from threestudio_like.cli import main as command_line
    from threestudio_like.engine.onlookers import Onlookers

    spent = {"onlookers": 0.0}
    after_step = Onlookers.after_step

    def watched(*arguments):
        began = time.process_time()
        out = after_step(*arguments)
        spent["onlookers"] += time.process_time() - began
        return out

    Onlookers.after_step = watched
    code = command_line(words)
    spent["run"] = time.process_time()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent["viewer"] = children.ru_utime + children.ru_stime
    path.write_text(json.dumps(spent))
    return code


def one(how: str, folder: Path, more: list[str]) -> dict[str, float | str]:
    """One run: seconds of its stages, processor time by what it went into, seconds of the first
    picture where it is looked at, and its bytes."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    words = [*RUN, *more, "--out", str(folder), *([] if how == HOWS[0] else ["--viewer"])]
    spent = folder.with_suffix(".json")
    began, seen = time.monotonic(), {}
    process = subprocess.Popen(
        [sys.executable, __file__, INSIDE, str(spent), *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if how == HOWS[2] and "is shown at http" in text:
            address = text.split(" at ")[1].split()[0]
            seen["open"] = time.monotonic() - began
            threading.Thread(target=look, args=(address, began, seen), daemon=True).start()
    if process.wait():
        raise SystemExit(f"{how}: the run failed")
    events = [json.loads(e) for e in (folder / "events.jsonl").read_text().splitlines()]
    steps = sum(e["seconds"] for e in events if e["event"] == "stage-end")
    data = (folder / "asset.glb").read_bytes()
    history = len(list((folder / "work" / "history").glob("*.json")))
    facts = {"bytes": hashlib.sha256(data).hexdigest()[:12], "kept": history, **seen}
    return {"seconds": steps, **json.loads(spent.read_text()), **facts}


def spread(values: list[float], digits: int = 1) -> str:
    """A median, and the least and most."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def body_of(rows: list[dict]) -> str:
    """The page: seconds, cost, snapshots and first picture of each way to run."""
    lines = []
    # Other processes that a run starts and waits for.
    others = statistics.median(r["viewer"] for r in rows if r["how"] == HOWS[0])
    for how in HOWS:
        runs = [row for row in rows if row["how"] == how]
        own = [r["run"] - r["onlookers"] for r in runs]
        spent = [(r["onlookers"], max(0.0, r["viewer"] - others)) for r in runs]
        cost = [[100 * s[k] / o for s, o in zip(spent, own)] for k in (0, 1)]
        both = [a + b for a, b in zip(*cost)]
        firsts = [r["first picture"] for r in runs if "first picture" in r]
        kept = round(statistics.median(r["kept"] for r in runs))
        shares = [spread(values, 2) for values in (*cost, both)]
        line = [how, len(runs), spread([r["seconds"] for r in runs]), spread(own), *shares, kept]
        lines.append([*line, spread(firsts) if firsts else ""])
    same = len({r["bytes"] for r in rows}) == 1
    header = ["viewer", "runs", "seconds of the steps", "the run's own CPU s", "onlookers, %"]
    header += ["the viewer's process, %", "both, %", "snapshots", "first picture, s"]
    words = "All assets are the same bytes." if same else "**The assets differ.**"
    about = (
        'Runs of `generate "a red chair"`, in turns: medians, and from least to most. *onlookers*: '
        "processor time that the run spends on reading wishes and on snapshots; *the viewer's "
        "process*: all of it, from opening to the end. Both in percent of the rest of the run's. "
        "Where a second core is idle, only the first of the two delays the run. The first picture "
        "is counted from the command to the first model that a connected client has."
    )
    return f"{about}\n\n{table([*header], lines)}\n\n{words}"


def main() -> None:
    if sys.argv[1:2] == [INSIDE]:
        sys.exit(counted(Path(sys.argv[2]), sys.argv[3:]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--first", type=int, default=0, help="the way with which it begins")
    parser.add_argument("--rows", type=Path, help="a file to which every run is added")
    parser.add_argument("--draw", type=Path, help="draw the page from such a file, run nothing")
    options = parser.parse_args()
    more = [] if options.steps is None else ["--steps", str(options.steps)]
    rows: list[dict] = []
    if options.draw is not None:
        rows = [json.loads(line) for line in options.draw.read_text("utf-8").splitlines()]
    else:
        with tempfile.TemporaryDirectory() as base:
            for number in range(options.rounds):
                for turn in range(3):
                    how = HOWS[(turn + number + options.first) % 3]
                    row = {"how": how, **one(how, Path(base) / f"{number}-{turn}", more)}
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
                    if options.rows is not None:
                        with open(options.rows, "a", encoding="utf-8") as file:
                            file.write(json.dumps(row) + "\n")
    words = ["python benchmarks/viewer.py --rounds", str(options.rounds), *more]
    publish("viewer", "What the viewer costs", " ".join(words), body_of(rows), samples=rows)


if __name__ == "__main__":
    main()
