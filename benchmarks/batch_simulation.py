"""The plan on paper to a million assets a day: the model of
`threestudio_like.runs.batch.simulation`, fed with the times of a real batch, first held against
real runs with one and two workers, then asked about 10 and 1,000 GPUs.

    python benchmarks/batch.py --only throughput --keep FOLDER          # real runs
    python benchmarks/batch_simulation.py --one STORE --two STORE --seconds 60
    python benchmarks/batch_simulation.py --one STORE --dry             # print, publish nothing

`--one` and `--two` are stores of the same manifest, each made by one driver with so many workers;
several of each may be given. The plan is made of the times of the first `--one`, stretched to a
mean of `--seconds`. What is assumed besides (prices, losses) is in a table of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from batch import last_run
from tables import publish, table

from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.simulation import DAY, Farm, simulate
from threestudio_like.runs.batch.store import Store

MILLION = 1_000_000
SEEDS = 20
ITEMS = 200
"""Items a worker of a simulated day's sample: enough that its rate settles, cold starts among
them."""
DAYS = 3
"""Seeds of the plan's rows."""
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


def order_of(store: Store) -> list[str]:
    return [event["id"] for event in last_run(store) if event["event"] == "made"]


def real(store: Store) -> tuple[int, float]:
    """Items of the last run, and seconds from the first beginning to its end."""
    events = last_run(store)
    begin = min(event["t"] for event in events if event["event"] == "begin")
    end = max(event["t"] for event in events if event["event"] == "batch end")
    return sum(event["event"] == "made" for event in events), end - begin


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


def farm_of(store: Store, workers: int) -> Farm:
    """What the model is told of a real run."""
    warm, load, _ = times_of(store)
    driver, start = between(store)
    return Farm(workers=workers, seconds=warm, load=load, driver=driver, start=start)


def compared(one: Sequence[Store], two: Sequence[Store]) -> str:
    """The model's time beside the real one, of as many items: fed with the run's own times, and
    for two workers with those of a run with one, to which two running side by side are news."""
    rows = []
    for number, store in enumerate(one):
        rows.append(row(f"{number}: 1", "its own", store, farm_of(store, 1)))
    for number, store in enumerate(two):
        own = farm_of(store, 2)
        rows.append(row(f"{number}: 2", "its own", store, own))
        if number < len(one):
            told = farm_of(one[number], 1)
            farm = replace(own, seconds=told.seconds, load=told.load)
            rows.append(row(f"{number}: 2", "one worker's", store, farm))
    head = ["run: workers", "items' times", "items", "real, s"]
    head += [f"model, s (mean of {SEEDS} seeds, 95 %)", "difference"]
    return table(head, rows)


def row(name: str, told: str, store: Store, farm: Farm) -> list:
    made, seconds = real(store)
    modelled = [simulate(farm, made, seed).seconds for seed in range(SEEDS)]
    mean = sum(modelled) / len(modelled)
    low, high = np.quantile(modelled, [0.025, 0.975])
    said = f"{mean:.1f} ({low:.1f} to {high:.1f})"
    return [name, told, made, f"{seconds:.1f}", said, f"{100 * (mean / seconds - 1):+.1f} %"]


def planned(measured: Farm, size: float, mean: float) -> str:
    rows = []
    usual = sum(measured.seconds) / len(measured.seconds)
    seconds = [s * mean / usual for s in measured.seconds]
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
            outlooks = [simulate(farm, ITEMS * workers, seed) for seed in range(DAYS)]
            outlook = sorted(outlooks, key=lambda o: o.a_day)[DAYS // 2]
            hours = outlook.seconds * workers / 3600 / outlook.made
            least, most = (f"{f(o.a_day for o in outlooks):,.0f}" for f in (min, max))
            rows.append(
                [
                    workers,
                    "spot" if spot else "kept",
                    f"{outlook.a_day:,.0f} ({least} to {most})",
                    f"{100 * outlook.used(workers):.1f} %",
                    f"{100 * outlook.wasted / max(outlook.busy, 1e-9):.1f} %",
                    f"{MILLION / outlook.a_day * workers:,.0f}",
                    f"{1e6 * hours:,.0f}",
                    f"{1e6 * hours * ASSUMED['price of a GPU hour']:,.0f}",
                ]
            )
    head = [
        "GPUs",
        "machines",
        f"items a day, median of {DAYS} seeds (least to most)",
        "used",
        "lost work",
        "GPUs for a million a day",
    ]
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
    parser.add_argument("--one", nargs="+", required=True, help="stores of runs with one worker")
    parser.add_argument("--two", nargs="+", default=[], help="stores of runs with two")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a planned item on a GPU")
    parser.add_argument("--dry", action="store_true", help="print, publish nothing")
    arguments = parser.parse_args()
    one, two = ([Store(s) for s in stores] for stores in (arguments.one, arguments.two))
    measured = farm_of((two or one)[0], 1)
    warm, load, size = times_of(one[0])
    measured = replace(measured, seconds=warm, load=load)
    parts = [
        f"Measured: {len(warm)} items on a warm worker, {sum(warm) / len(warm):.2f} s each, "
        f"{size / 1e6:.2f} MB each; a worker's first takes {sum(load) / len(load):.2f} s longer.",
        "## Model against real runs",
        compared(one, two),
    ]
    taken = (
        f"An item is taken to last {arguments.seconds:g} s on a GPU, spread about it as the "
        "measured ones are about theirs."
    )
    assumed = table(["assumed", "value"], [[k, v] for k, v in ASSUMED.items()])
    parts += ["## The plan", taken, assumed]
    parts += [planned(measured, size, arguments.seconds)]
    body = "\n\n".join(parts)
    if arguments.dry:
        print(body)
        return
    command = (
        f"python benchmarks/{Path(__file__).name} --one … --two … --seconds {arguments.seconds:g}"
    )
    publish("batch_simulation", "A million assets a day, on paper", command, body)


if __name__ == "__main__":
    main()
