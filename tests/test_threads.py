"""Threads of one process load and run models at once, and make what each makes alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from threestudio_like.engine import turns
from threestudio_like.engine.turns import alone, pause, resting, working

PROGRAM = """
import hashlib, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import threestudio_like as tsl

def prior(number):
    return str(tsl.load_prior("toybox").encode_text(["a red chair"]).double().sum().item())

def clip(number):
    from threestudio_like.priors.clip import load_clip
    return str(load_clip().embed_texts(["a red chair"]).double().sum().item())

def depth(number):
    from threestudio_like.priors.depth import load_depth
    return str(sum(p.double().sum().item() for p in load_depth("toybox").model.parameters()))

def segmenter(number):
    from threestudio_like.priors.segmentation.segment_anything import load_segmenter
    model = load_segmenter("toybox").model
    return str(sum(p.double().sum().item() for p in model.parameters()))

def run(number):
    result = tsl.generate(
        "a red chair",
        steps=4,
        set={
            "start.refine.times": 1.0,
            "start.refine.steps": 1,
            "start.iterations": 8,
            "export.resolution": 48,
        },
        asset=tsl.AssetOptions(texture=64, faces=400, turntable=False),
        run=tsl.RunOptions(out=Path(sys.argv[2]) / str(number), quiet=True, threads=1),
    )
    return hashlib.sha256((result.folder / "asset.glb").read_bytes()).hexdigest()

makers = [globals()[name] for name in sys.argv[1].split(",")]
threads = len(makers) if sys.argv[3] == "at once" else 1
barrier = threading.Barrier(threads)

def go(number):
    barrier.wait()
    return makers[number](number)

with ThreadPoolExecutor(threads) as pool:
    for name, made in zip(sys.argv[1].split(","), list(pool.map(go, range(len(makers))))):
        print("made", name, made)
"""


def made(names: str, folder, how: str) -> list[str]:
    """What functions of the program above make, "at once" or "one by one" in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, names, str(folder), how],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("made ")]


@pytest.mark.parametrize("names", ["prior,clip,prior,depth,segmenter", "run,run,prior"])
def test_what_threads_make_at_once_is_what_they_make_one_by_one(tmp_path, names):
    at_once = made(names, tmp_path / "a", "at once")
    assert len(at_once) == len(names.split(","))
    assert at_once == made(names, tmp_path / "b", "one by one")


def test_a_load_waits_for_work_and_work_for_a_load():
    order, at_work, begin = [], threading.Event(), threading.Event()

    def works():
        with working():
            at_work.set()
            begin.wait(10)
            while not turns._waiting:
                time.sleep(0.001)
            order.append("work")
            pause()
            order.append("more work")

    def loads():
        at_work.wait(10)
        begin.set()
        with alone():
            order.append("load")
            time.sleep(0.05)
            order.append("loaded")

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(works), pool.submit(loads)]:
            future.result(30)
    assert order == ["work", "load", "loaded", "more work"]


def test_threads_that_work_load_one_after_the_other_also_within_each_other():
    inside, most = [0], [0]

    def load():
        with alone(), working(), alone():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            inside[0] -= 1

    def works(_):
        for _ in range(20):
            with working(), working():
                load()
                with resting():
                    load()
                pause()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(works, range(8)))
    assert most == [1]
    assert turns._working == {}
    assert turns._owner is None
    assert turns._waiting == 0


def test_an_error_ends_a_turn():
    def fail():
        with working(), alone():
            raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            fail()
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="broken"):
        pool.submit(fail).result(10)


def test_a_load_that_someone_at_work_waits_for_begins_in_the_end(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.1)

    def load():
        with alone():
            return "loaded"

    with ThreadPoolExecutor(1) as pool, working():
        assert pool.submit(load).result(10) == "loaded"


def test_plug_ins_are_there_for_the_second_thread_that_asks(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(
        "import time\n"
        "time.sleep(0.5)\n"
        "from threestudio_like.priors.loading import prior\n"
        "@prior('slow', 'comes late')\n"
        "def load(options): ...\n"
    )
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threestudio_like.priors.loading import PRIORS\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    print(*pool.map(lambda _: 'slow' in PRIORS, range(4)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "THREESTUDIO_LIKE_PLUGINS": str(path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert done.stdout.split() == ["True"] * 4


def test_an_interrupted_wait_for_a_load_holds_nobody_up():
    ready, done, entered = (threading.Event() for _ in range(3))

    def works():
        with working():
            ready.set()
            done.wait(30)

    def begins():
        # Once the main thread waits to load, so that this one stands back for it.
        while not turns._waiting:
            time.sleep(0.01)
        threading.Timer(
            0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
        ).start()
        with working():
            entered.set()

    threads = [threading.Thread(target=run, daemon=True) for run in (works, begins)]
    threads[0].start()
    assert ready.wait(5)
    threads[1].start()
    # Programs that a script starts in the background begin with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), alone():
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    went_on = entered.wait(5)
    done.set()
    for thread in threads:
        thread.join(5)
    assert went_on
