"""Batches that are disturbed: SIGKILL of workers (10), of the driver (3), of all of Ray with its
driver (2), of Ray's own processes while the driver lives (2), in 60 items; on a folder, on a file
system that fails every tenth write, and on a server of S3's kind; then a second node of Ray, lost
and replaced. Afterwards every item has to be there once, in the bytes of an undisturbed run.

    python benchmarks/batch_kills.py                    # an hour; docs/results/batch_kills.md
    python benchmarks/batch_kills.py --only s3 --seed 1

Every run is a line of benchmark/batch/kills.jsonl in the outputs folder, and the table is made of
all that are there; `--fresh` forgets them.

Needs Ray (extra `distributed`), and moto for the S3 part (extra `dev`)."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import psutil
from batch import OUT, TINY, events_of, finish, manifest, start
from failing_store import LOG, FailingFileSystem, install
from tables import publish, table

from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.store import Store

ITEMS = 60
KILLS = {"a worker": 10, "the driver": 3, "driver and Ray": 2, "Ray alone": 2}
PLACES = ("folder", "failing", "s3")
SLOW = 0.5
"""Seconds of an item, so that a kill meets one that is being made."""


def descendants(pid: int) -> list[int]:
    """All processes that a process has begun, and theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Hand")
    except OSError:
        return False


def kill(*pids: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def disturbed(path: Path, address: str, seed: int, environment: dict[str, str]) -> Counter[str]:
    """Make a manifest while processes are killed; returns how often which were. The kills are
    spread over the items: between two of them some are made."""
    dice = random.Random(seed)
    left = [kind for kind, n in KILLS.items() for _ in range(n)]
    dice.shuffle(left)
    total, done = len(left), Counter[str]()
    words = (path, "--store", address, "--workers", 2, "--plugins", TINY, "--retries", 10)
    driver = start(*words, **environment)
    while left:
        if driver.poll() is not None:
            raise SystemExit(f"the driver ended by itself, {driver.returncode}: {last(driver)}")
        time.sleep(dice.uniform(0.2, 0.6))
        if made(address) < (total - len(left) + 1) * ITEMS // (total + 1):
            continue
        below = descendants(driver.pid)
        workers = [pid for pid in below if is_worker(pid)]
        if not workers:
            continue
        kind = left.pop()
        done[kind] += 1
        if kind == "a worker":
            kill(dice.choice(workers))
        elif kind == "Ray alone":
            kill(*below)
        else:
            kill(driver.pid, *(below if kind == "driver and Ray" else ()))
            driver.communicate()
            driver = start(*words, **environment)
    finish(driver)
    return done


def last(process: subprocess.Popen) -> str:
    _, err = process.communicate()
    return (err.decode(errors="replace").strip().splitlines() or ["-"])[-1]


def made(address: str) -> int:
    try:
        return len(Store(address).done())
    except Exception:
        return 0


def products(address: str) -> dict[str, str]:
    """Product by item; records, files and index have to agree."""
    store = Store(address)
    faults = list(store.verify())
    if faults:
        raise SystemExit(f"{address}: {len(faults)} faults, {faults[0]}")
    found = {id: (store.record(id) or {})["product"] for id in store.done()}
    listed = {r["id"]: r["product"] for r in Index.of_store(store).rows("state = ?", DONE)}
    if listed != found:
        raise SystemExit(f"{address}: index and records differ")
    return found


@contextmanager
def place(kind: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A store's address and the environment that it wants."""
    if kind == "folder":
        yield str(folder / "store"), {}
    elif kind == "failing":
        (folder / "log").touch()
        more = {LOG: str(folder / "log"), "PYTHONPATH": install(folder / "site")}
        os.environ[LOG] = more[LOG]
        fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
        yield f"failing://{folder / 'store'}", more
    else:
        import boto3
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        more = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "benchmark")
        more |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        os.environ.update(more)
        boto3.client("s3").create_bucket(Bucket="batches")
        yield f"s3://batches/{folder.name}", more
        server.stop()


def kills(kind: str, seed: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = manifest(folder, ITEMS, command="tiny", slow=SLOW)
        calm = folder / "calm"
        finish(start(path, "--store", calm, "--workers", 1, "--plugins", TINY))
        with place(kind, folder) as (address, environment):
            began = time.monotonic()
            done = disturbed(path, address, seed, environment)
            seconds = time.monotonic() - began
            found, expected = products(address), products(str(calm))
            told = Counter(e["event"] for e in events_of(Store(address)))
        log = folder / "log"
        return {
            **done,
            "failed writes": log.stat().st_size if log.is_file() else 0,
            "tried again": told["retry"],
            "items": len(found),
            "equal": sum(found.get(id) == product for id, product in expected.items()),
            "seconds": round(seconds),
        }


def say_kills(lines: list[dict]) -> str:
    names = [*KILLS, "failed writes", "tried again", "items"]
    rows = [
        [x["part"], x["seed"], *(x[n] for n in names), f"{x['equal']} of {ITEMS}", x["seconds"]]
        for x in lines
    ]
    head = ["store", "seed", *names, "bytes equal", "seconds"]
    return f"{table(head, rows)}\n\n{bound(lines)}"


def bound(lines: list[dict]) -> str:
    """What the counts say of the share that goes wrong (95 %, exact for none)."""
    from scipy.stats import beta

    right, total = sum(x["equal"] for x in lines), ITEMS * len(lines)
    wrong = total - right
    high = float(beta.ppf(0.975 if wrong else 0.95, wrong + 1, total - wrong))
    return (
        f"{right} of {total} items are there once, in the bytes of the undisturbed run; with 95 % "
        f"at most {100 * high:.1f} % of items would not be."
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Nodes:
    """Nodes of Ray on this machine, each a process group of its own."""

    def __init__(self) -> None:
        self.port, self.all = free_port(), []
        self.address = f"127.0.0.1:{self.port}"
        # `ray start` asks for a token, and a driver with an address has to be told so.
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}

    def begin(self, *options: str) -> subprocess.Popen:
        ray = Path(sys.executable).with_name("ray")
        words = [str(ray), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
        process = subprocess.Popen(
            [*words, *options],
            env={**os.environ, "RAY_ADDRESS": "", **self.environment},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.all.append(process)
        return process

    def wait(self, count: int) -> None:
        """Until so many are alive."""
        code = (
            "import ray, sys; ray.init(address=sys.argv[1], logging_level='error'); "
            "print(sum(n['Alive'] for n in ray.nodes()))"
        )
        for _ in range(60):
            if any(process.poll() is not None for process in self.all):
                raise SystemExit("a node of Ray did not start: is the machine quiet?")
            out = subprocess.run(
                [sys.executable, "-c", code, self.address],
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
            ).stdout.strip()
            if out.splitlines()[-1:] == [str(count)]:
                return
            time.sleep(1)
        raise SystemExit(f"no {count} nodes of Ray")

    def end(self, process: subprocess.Popen) -> None:
        """SIGKILL of a node with all its processes: its machine is gone."""
        kill(process.pid, *descendants(process.pid))
        process.wait()


def lost_node(seed: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder, nodes, dice = Path(name), Nodes(), random.Random(seed)
        calm, wild = folder / "calm", folder / "wild"
        path = manifest(folder, ITEMS, command="tiny", slow=SLOW)
        finish(start(path, "--store", calm, "--workers", 1, "--plugins", TINY))
        try:
            nodes.begin("--head", f"--port={nodes.port}", "--include-dashboard=false")
            nodes.wait(1)
            second = nodes.begin(f"--address={nodes.address}")
            nodes.wait(2)
            words = (path, "--store", wild, "--workers", 2, "--plugins", TINY)
            driver = start(*words, "--address", nodes.address, **nodes.environment)
            lost_at = dice.randint(ITEMS // 6, ITEMS // 2)
            while driver.poll() is None and made(str(wild)) < lost_at:
                time.sleep(0.1)
            carried = sum(map(is_worker, descendants(second.pid)))
            nodes.end(second)
            time.sleep(dice.uniform(0, 3))
            third = nodes.begin(f"--address={nodes.address}")
            while driver.poll() is None and not any(map(is_worker, descendants(third.pid))):
                time.sleep(0.2)
            replaced = driver.poll() is None
            finish(driver)
        finally:
            for process in nodes.all:
                nodes.end(process)
        found, expected = products(str(wild)), products(str(calm))
        return {
            "lost after items": lost_at,
            "workers on it": carried,
            "tried again": sum(e["event"] == "retry" for e in events_of(Store(str(wild)))),
            "new node had work": "yes" if replaced else "no",
            "items": len(found),
            "equal": sum(found.get(id) == product for id, product in expected.items()),
        }


def say_nodes(lines: list[dict]) -> str:
    names = ["lost after items", "workers on it", "tried again", "new node had work", "items"]
    rows = [[x["seed"], *(x[n] for n in names), f"{x['equal']} of {ITEMS}"] for x in lines]
    return f"{table(['seed', *names, 'bytes equal'], rows)}\n\n{bound(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = [*PLACES, "node"]
    parser.add_argument("--only", nargs="*", default=parts, choices=parts)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "kills.jsonl"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    for part in () if arguments.report else arguments.only:
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            line = lost_node(seed) if part == "node" else kills(part, seed)
            with open(path, "a") as file:
                file.write(json.dumps({"part": part, "seed": seed, **line}) + "\n")
    newest = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        newest[line["part"], line["seed"]] = line
    lines = [newest[key] for key in sorted(newest, key=lambda k: (parts.index(k[0]), k[1]))]
    disturbed_stores = [x for x in lines if x["part"] in PLACES]
    nodes = [x for x in lines if x["part"] == "node"]
    text = [
        f"{ITEMS} items of half a second on two workers. Records, files and index were held "
        "against each other after every run, and each item's product against an undisturbed "
        "run's."
    ]
    if disturbed_stores:
        text += ["## Killed on the way", say_kills(disturbed_stores)]
    if nodes:
        text += ["## A second node, lost and replaced", say_nodes(nodes)]
    publish("batch_kills", "Killed batches", "python benchmarks/batch_kills.py", "\n\n".join(text))


if __name__ == "__main__":
    main()
