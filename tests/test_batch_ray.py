"""`batch` on Ray's actors, where Ray is installed: bytes, killed workers, a killed driver with all
of Ray."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

from .batches import batch, descendants, manifest, process, products

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="wants /proc")


def noted(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def worker_of(store: Path) -> int:
    """The process that made the newest item."""
    newest = max((store / "events").iterdir(), key=lambda path: path.stat().st_mtime)
    events = [json.loads(line) for line in newest.read_text().splitlines() if line.endswith("}")]
    names = [event["worker"] for event in events if event["event"] == "made"]
    return int(names[-1].rpartition(":")[2])


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_killed_workers_and_a_killed_driver_lose_nothing(tmp_path):
    calm, wild, note = tmp_path / "calm", tmp_path / "wild", tmp_path / "note"
    dying = tmp_path / "dying"
    rows = [{"prompt": [f"thing {n}" for n in range(20)], "seeds": "0-2"}]
    rows += [{"prompt": "dies once", "fail": "die", "note": str(dying)}]
    path = manifest(tmp_path / "m.yaml", *rows, note=str(note), slow=0.05)
    (tmp_path / "dying.died").touch()
    assert batch(path, "--store", calm) == 0
    (tmp_path / "dying.died").unlink()
    for file in (note, dying):
        file.unlink()
    # All of it at once: driver, workers and Ray.
    driver = process(path, "--store", wild, workers=2)
    while driver.poll() is None and noted(note) < 10:
        time.sleep(0.02)
    assert driver.poll() is None, driver.stderr.read().decode()
    worker = worker_of(wild)
    assert alive(worker)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    # Ray ends with its driver, and its workers with it.
    for _ in range(300):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)
    # Then two workers, one after the other, and an item that kills its own.
    driver = process(path, "--store", wild, workers=2)
    for wanted in (25, 40):
        while driver.poll() is None and noted(note) < wanted:
            time.sleep(0.02)
        victim = worker_of(wild)
        assert alive(victim)
        os.kill(victim, signal.SIGKILL)
    _, told = driver.communicate(timeout=300)
    assert driver.returncode == 0, told.decode()
    assert products(wild) == products(calm)
    assert noted(dying) == 2
    text = "".join(p.read_text() for p in (wild / "events").iterdir())
    assert text.count('"cause": "worker died"') >= 3
    assert batch("verify", "--store", wild) == 0


def named(pid: int, *names: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return not names or any(name.encode() in words for name in names)


def test_ray_itself_dies_and_is_begun_again(tmp_path):
    """Its scheduler alone (Ray never tells of that), then everything but the driver."""
    calm, wild, note, out = (tmp_path / name for name in ("calm", "wild", "note", "out"))
    rows = [{"prompt": [f"thing {n}" for n in range(12)], "seeds": "0-1"}]
    path = manifest(tmp_path / "m.yaml", *rows, note=str(note), slow=0.1)
    assert batch(path, "--store", calm) == 0
    note.unlink()
    with open(out, "wb") as file:
        driver = process(path, "--store", wild, workers=2, show="--json", out=file)
        for wanted, names in ((5, ("raylet/raylet",)), (12, ())):
            while driver.poll() is None and noted(note) < wanted:
                time.sleep(0.02)
            assert driver.poll() is None, driver.stderr.read().decode()
            for pid in descendants(driver.pid):
                if named(pid, *names):
                    os.kill(pid, signal.SIGKILL)
        _, told = driver.communicate(timeout=400)
    assert driver.returncode == 0, told.decode()
    assert products(wild) == products(calm)
    assert batch("verify", "--store", wild) == 0
    # Standard output is JSON lines alone, whatever Ray has to say.
    events = [json.loads(line) for line in out.read_text().splitlines()[:-1]]
    assert sum("Ray died" in e.get("error", "") for e in events) >= 2
