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
                if b"glTF" in data:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    more = [] if options.steps is None else ["--steps", str(options.steps)]
    found: dict[str, list[dict]] = {how: [] for how in HOWS}
    with tempfile.TemporaryDirectory() as base:
        for number in range(options.rounds):
            for turn in range(3):
                how = HOWS[(turn + number) % 3]
                found[how].append(one(how, Path(base) / f"{number}-{turn}", more))
                print(how, found[how][-1], file=sys.stderr, flush=True)
    plain = statistics.median(r["seconds"] for r in found[HOWS[0]])
    rows = []
    for how, runs in found.items():
        middle = statistics.median(r["seconds"] for r in runs)
        firsts = [r["first picture"] for r in runs if "first picture" in r]
        first = f"{statistics.median(firsts):.1f}" if firsts else ""
        spread = f"{min(r['seconds'] for r in runs):.1f} to {max(r['seconds'] for r in runs):.1f}"
        kept = round(statistics.median(r["kept"] for r in runs))
        cost = f"{100 * (middle / plain - 1):+.1f} %" if how != HOWS[0] else ""
        rows.append([how, f"{middle:.1f}", spread, cost, kept, first])
    same = len({r["bytes"] for runs in found.values() for r in runs}) == 1
    header = ["viewer", "seconds of the steps", "from, to", "more", "snapshots", "first picture, s"]
    words = "All assets are the same bytes." if same else "**The assets differ.**"
    command = " ".join(["python benchmarks/viewer.py --rounds", str(options.rounds), *more])
    about = (
        f'Medians of {options.rounds} runs each of `generate "a red chair"`, in turns, on one '
        "processor core that the run, the viewer's process and a client without a screen share."
    )
    publish(
        "viewer", "What the viewer costs", command, f"{about}\n\n{table(header, rows)}\n\n{words}"
    )


if __name__ == "__main__":
    main()
