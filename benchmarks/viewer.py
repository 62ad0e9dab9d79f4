"""What the viewer costs a run, and when its first picture is there.

The same `generate` without a viewer, with one that nobody looks at, and with one that is looked at:
by a client that takes everything a browser takes and draws nothing, for the drawing is the
browser's. The three take turns; everything shares the processor that the run has. The files of the
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


def one(how: str, folder: Path, more: list[str]) -> dict[str, float | str]:
    """One run: seconds of its stages, of the first picture where it is looked at, and its bytes."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    words = [*RUN, *more, "--out", str(folder), *([] if how == HOWS[0] else ["--viewer"])]
    began, seen = time.monotonic(), {}
    process = subprocess.Popen(
        [sys.executable, "-m", "threestudio_like", *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if how == HOWS[2] and "is shown at http" in text:
            address = text.split(" at ")[1].split()[0]
            threading.Thread(target=look, args=(address, began, seen), daemon=True).start()
    if process.wait():
        raise SystemExit(f"{how}: the run failed")
    events = [json.loads(e) for e in (folder / "events.jsonl").read_text().splitlines()]
    steps = sum(e["seconds"] for e in events if e["event"] == "stage-end")
    data = (folder / "asset.glb").read_bytes()
    history = len(list((folder / "work" / "history").glob("*.json")))
    digest = hashlib.sha256(data).hexdigest()[:12]
    return {"seconds": steps, "bytes": digest, "kept": history, **seen}


def body_of(rows: list[dict]) -> str:
    """The page: seconds, cost, snapshots and first picture of each way to run."""
    found = {how: [row for row in rows if row["how"] == how] for how in HOWS}
    plain = statistics.median(r["seconds"] for r in found[HOWS[0]])
    lines = []
    for how, runs in found.items():
        middle = statistics.median(r["seconds"] for r in runs)
        firsts = [r["first picture"] for r in runs if "first picture" in r]
        first = f"{statistics.median(firsts):.1f}" if firsts else ""
        spread = f"{min(r['seconds'] for r in runs):.1f} to {max(r['seconds'] for r in runs):.1f}"
        kept = round(statistics.median(r["kept"] for r in runs))
        cost = f"{100 * (middle / plain - 1):+.1f} %" if how != HOWS[0] else ""
        lines.append([how, len(runs), f"{middle:.1f}", spread, cost, kept, first])
    same = len({r["bytes"] for r in rows}) == 1
    header = ["viewer", "runs", "seconds of the steps", "from, to", "more", "snapshots"]
    words = "All assets are the same bytes." if same else "**The assets differ.**"
    about = (
        'Medians of runs of `generate "a red chair"`, in turns, on one processor core that the '
        "run, the viewer's process and a client without a screen share. The first picture is "
        "counted from the command."
    )
    return f"{about}\n\n{table([*header, 'first picture, s'], lines)}\n\n{words}"


def main() -> None:
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
