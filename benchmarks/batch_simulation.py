"""The plan on paper to a million assets a day: the model of
`threestudio_like.runs.batch.simulation`, fed with the times of a real batch, first held against
real runs with one and two workers, then asked about 10 and 1,000 GPUs.

    python benchmarks/batch_simulation.py --measured STORE --one STORE --two STORE
    python benchmarks/batch_simulation.py --measured STORE --dry        # print, publish nothing

`--measured` is the store of a batch of real items; `--one` and `--two` are stores of the same
manifest, each made by one driver with so many workers. What is assumed (prices, losses, how much
faster a GPU is) is in the table's own rows."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tables import publish, table

from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.simulation import DAY, Farm, simulate
from threestudio_like.runs.batch.store import Store

MILLION = 1_000_000
ITEMS = 3000
"""Items of a simulated day's sample: enough that its rate settles."""
ASSUMED = {
    "seconds of a cold start": 180.0,
    "mean hours until a spot machine is lost": 6.0,
    "share of trials that fail": 0.01,
    "price of a GPU hour": 1.5,
    "price of a GB and month": 0.02,
}


def times_of(store: Store) -> tuple[list[float], list[float], float]:
    """Seconds of items on a warm worker, what a worker's first took longer, and bytes of an
    item."""
    warm: list[float] = []
    first: list[float] = []
    seen: set[str] = set()
    sizes: list[int] = []
    records = [store.record(row["id"]) for row in Index.of_store(store).rows("state = ?", DONE)]
    begun = {id: n for n, id in enumerate(order_of(store))}
    for record in sorted(filter(None, records), key=lambda r: begun.get(r["id"], 0)):
        sizes.append(record["bytes"])
        if record["worker"] in seen:
            warm.append(record["seconds"])
        else:
            seen.add(record["worker"])
            first.append(record["seconds"])
    if not warm:
        raise SystemExit("the measured store needs more items than workers")
    usual = sum(warm) / len(warm)
    return warm, [max(0.0, s - usual) for s in first], sum(sizes) / len(sizes)


def events_of(store: Store) -> list[dict]:
    found = []
    for name in store.files.names("events"):
        lines = (store.files.read(name) or b"").decode().splitlines()
        found += [json.loads(line) for line in lines if line.endswith("}")]
    return found


def order_of(store: Store) -> list[str]:
    return [event["id"] for event in events_of(store) if event["event"] == "made"]


def real(store: Store) -> tuple[int, float]:
    """Items of the last run, and seconds from the first beginning to its end."""
    events = last_run(store)
    begin = min(event["t"] for event in events if event["event"] == "begin")
    end = max(event["t"] for event in events if event["event"] == "batch end")
    return sum(event["event"] == "made" for event in events), end - begin


def last_run(store: Store) -> list[dict]:
    events = events_of(store)
    first = max(n for n, event in enumerate(events) if event["event"] == "batch")
    return events[first:]


def between(store: Store) -> tuple[float, float]:
    """Seconds that pass beside an item's own: until a worker that is up has its task and has
    answered and gets the next one (median), and until a worker is up (mean)."""
    begun: dict[str, dict] = {}
    free: dict[int, float] = {}
    handed, first = [], []
    for event in last_run(store):
        if event["event"] == "begin":
            number = event["worker"]
            if number in free:
                handed.append(event["t"] - free[number])
            begun[event["id"]] = event
        elif event["event"] == "made" and event["id"] in begun:
            start = begun[event["id"]]
            rest = max(0.0, event["t"] - start["t"] - event["seconds"])
            (handed if start["worker"] in free else first).append(rest)
            free[start["worker"]] = event["t"]
    if not handed:
        return 0.0, sum(first) / max(len(first), 1)
    return 2 * sorted(handed)[len(handed) // 2], sum(first) / max(len(first), 1)


def compared(measured: Farm, stores: dict[int, Store]) -> tuple[str, dict[int, float]]:
    rows, ratios = [], {}
    for workers, store in stores.items():
        made, seconds = real(store)
        own, load, _ = times_of(store)
        driver, start = between(store)
        farm = replace(
            measured, workers=workers, seconds=own, load=load, driver=driver, start=start
        )
        modelled = [simulate(farm, made, seed).seconds for seed in range(20)]
        mean = sum(modelled) / len(modelled)
        ratios[workers] = mean / seconds
        rows.append([workers, made, seconds, mean, f"{100 * (mean / seconds - 1):+.1f} %"])
    head = ["workers", "items", "real, s", "model, s (mean of 20)", "difference"]
    return table(head, rows), ratios


def planned(measured: Farm, size: float, faster: float) -> str:
    rows = []
    seconds = [s / faster for s in measured.seconds]
    load = list(measured.load)
    for workers in (10, 1000):
        for spot in (False, True):
            farm = replace(
                measured,
                workers=workers,
                seconds=seconds,
                load=load,
                start=ASSUMED["seconds of a cold start"],
                lost=ASSUMED["mean hours until a spot machine is lost"] * 3600 if spot else 0.0,
                failing=ASSUMED["share of trials that fail"],
                retries=10,
            )
            outlook = simulate(farm, max(ITEMS, 8 * workers))
            hours = outlook.seconds * workers / 3600 / outlook.made
            rows.append(
                [
                    workers,
                    "spot" if spot else "kept",
                    f"{outlook.a_day:,.0f}",
                    f"{100 * outlook.used(workers):.1f} %",
                    f"{100 * outlook.wasted / max(outlook.busy, 1e-9):.1f} %",
                    f"{MILLION / outlook.a_day * workers:,.0f}",
                    f"{1e6 * hours:,.0f}",
                    f"{1e6 * hours * ASSUMED['price of a GPU hour']:,.0f}",
                ]
            )
    head = ["GPUs", "machines", "items a day", "used", "lost work", "GPUs for a million a day"]
    head += ["GPU hours a million", "price a million"]
    storage = MILLION * size / 1e12
    month = storage * 1000 * ASSUMED["price of a GB and month"]
    limit = DAY / max(measured.driver, 1e-9)
    return "\n\n".join(
        [
            table(head, rows),
            f"A million items are {storage:.2f} TB, {month:,.0f} a month.",
            f"One driver takes {1000 * measured.driver:.1f} ms an item, so it hands out "
            f"{limit:,.0f} items a day at most: shard a larger batch by manifest, one driver each "
            "on one store.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measured", required=True, help="store of a real batch")
    parser.add_argument("--one", help="store of a run with one worker")
    parser.add_argument("--two", help="store of a run with two workers")
    parser.add_argument("--faster", type=float, default=1.0, help="a GPU against this machine")
    parser.add_argument("--dry", action="store_true", help="print, publish nothing")
    arguments = parser.parse_args()
    store = Store(arguments.measured)
    warm, load, size = times_of(store)
    measured = Farm(workers=1, seconds=warm, load=load, driver=between(store)[0])
    parts = [
        f"Measured: {len(warm)} items on warm workers, {sum(warm) / len(warm):.2f} s each, "
        f"{size / 1e6:.2f} MB each; a worker's first takes {sum(load) / len(load):.2f} s longer.",
    ]
    stores = {n: Store(s) for n, s in ((1, arguments.one), (2, arguments.two)) if s}
    if stores:
        parts += ["## Model against real runs", compared(measured, stores)[0]]
    assumed = table(["assumed", "value"], [[k, v] for k, v in ASSUMED.items()])
    parts += ["## The plan", f"A GPU is taken to be {arguments.faster:g} times as fast.", assumed]
    parts += [planned(measured, size, arguments.faster)]
    body = "\n\n".join(parts)
    if arguments.dry:
        print(body)
        return
    command = f"python benchmarks/{Path(__file__).name} --faster {arguments.faster:g} --measured …"
    publish("batch_simulation", "A million assets a day, on paper", command, body)


if __name__ == "__main__":
    main()
