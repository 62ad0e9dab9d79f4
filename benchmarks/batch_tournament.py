"""Tournaments against single seeds at equal compute: 20 prompts of as many categories of the
embedded world, made by `batch` itself and measured by the judge, which no ranking asks.

    python benchmarks/batch_tournament.py --out FOLDER            # two hours of one core
    python benchmarks/batch_tournament.py --out FOLDER --prompts 2 --dry
    python benchmarks/batch_tournament.py --out FOLDER --report   # of what is there already

Resumable: FOLDER is a store, and what it holds is not made again. Every arm ends in one asset a
prompt; steps and seconds are those of everything that was made for it, the ranking's own included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
from tables import ROOT, publish, table
from worlds import add_world, world_at_hand

from threestudio_like.metrics.point_sets import bootstrap
from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.store import Store
from threestudio_like.runs.batch.tournament import Contest, ranked

SEEDS = 4
QUICK = {
    **{"faces": 1500, "texture": 128, "turntable": False, "start.iterations": 8},
    **{"start.refine.times": "1.0", "start.refine.steps": 2},
    # Most steps in latent space, where they are cheap.
    **{"distil.steps": 60, "rgb.steps": 20},
}
"""A start that knows little of the shape, so that the steps decide it."""
RULER = ("judge: category", "judge: colour", "silhouette iou, nearest of 200")
GROUP = 5
"""Prompts that are finished, in all arms, before the next ones begin."""


def prompts() -> list[str]:
    words = world_at_hand().vocabulary
    colours, every = list(words.colours), words.categories
    pairs = [(colours[3 * n % len(colours)], c) for n, c in enumerate(every[:: len(every) // 20])]
    return [words.describe(words.plain(c, colour)) for colour, c in pairs[:20]]


def make(store: Path, words: list[str], steps: int) -> None:
    """Make what the arms of some prompts need: the tournament, its seeds in full, one long run."""
    manifest = store.parent / "manifest.jsonl"
    long = contest_of(steps).cost()
    tournament = [{"prompt": p, "steps": steps, "seeds": f"0-{SEEDS - 1}", **QUICK} for p in words]
    longer = [{"prompt": p, "steps": long, "seed": 0, **QUICK} for p in words]
    for items, more in ((tournament, ("--keep-best", "1")), (tournament + longer, ())):
        manifest.write_text("\n".join(json.dumps(item) for item in items))
        subprocess.run(
            [
                *(sys.executable, "-m", "threestudio_like", "batch", str(manifest)),
                *("--store", str(store), "--workers", "1", "--quiet", *more),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            # A run that the watchdog stops is set aside: it counts, with nothing.
            check=False,
        )


def contest_of(steps: int) -> Contest:
    """The shape of the tournament that `--keep-best 1` makes; the entry does not matter."""
    from threestudio_like.runs.batch.items import Item, Spec

    specs = tuple(Spec(command="generate", values={"seed": n}) for n in range(SEEDS))
    return Contest(entry=Item(spec=specs[0], number=1, label=""), specs=specs, steps=steps)


@dataclass
class Run:
    """A finished item: its figures by the ruler, those of the ranking, and what it took."""

    seed: int
    steps: int
    seconds: float
    ruler: dict[str, float] = field(default_factory=dict)
    rank: dict[str, float] = field(default_factory=dict)


def measured(store: Store, words: list[str], steps: int) -> dict[str, list[Run]]:
    """All finished runs by their prompts; those of full length and longer are measured."""
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.metrics import judge_free
    from threestudio_like.metrics.evaluation import measure

    known_path = Path(store.address).parent / "measured.json"
    known = json.loads(known_path.read_text()) if known_path.is_file() else {}
    runs: dict[str, list[Run]] = {p: [] for p in words}
    for row in Index.of_store(store).rows("state = ?", DONE):
        prompt = row["label"]
        if prompt not in runs:
            continue
        run = Run(seed=row["seed"], steps=row["steps"], seconds=row["seconds"])
        if run.steps >= steps:
            if row["id"] not in known:
                record = store.record(row["id"])
                assert record is not None
                asset = Asset.load(Path(store.address) / store.key(record, "asset.glb"))
                figures = measure(asset, prompt)
                known[row["id"]] = [
                    {name: figures[name] for name in RULER},
                    judge_free.measure(asset, prompt),
                ]
                known_path.write_text(json.dumps(known))
            run.ruler, run.rank = known[row["id"]]
        runs[prompt].append(run)
    return runs


def arms(runs: list[Run], steps: int) -> dict[str, tuple[list[Run], Run | None]]:
    """Of one prompt: what an arm made, and which of it the arm delivers (None: nothing)."""
    contest = contest_of(steps)
    full = {r.seed: r for r in runs if r.steps == steps}
    long = [r for r in runs if r.steps == contest.cost()]
    # The rungs below the last are nobody else's; of the last one, the winner is told by who came
    # through the rung before.
    short = [r for r in runs if r.steps < steps]
    rungs = [[r for r in short if r.steps == contest.length(n)] for n in range(contest.rungs - 1)]
    best = winner(rungs)
    won = [full[best]] if best in full else []
    found = {
        "tournament of 4 seeds": ([*short, *won], won[0] if won else None),
        "one seed, all steps": (long, long[0] if long else None),
        "one seed": ([full[0]] if 0 in full else [], full.get(0)),
    }
    for count in range(2, SEEDS + 1):
        own = [full[s] for s in range(count) if s in full]
        delivered = own[ranked([r.rank for r in own])[0]] if own else None
        found[f"best of {count} full runs"] = (own, delivered)
    return found


def winner(rungs: list[list[Run]]) -> int | None:
    """The seed that came through the last of the short rungs, by the figures that `batch` kept."""
    last = sorted(rungs[-1], key=lambda r: r.seed) if rungs else []
    return last[ranked([r.rank for r in last])[0]].seed if last else None


def keep_ranking(store: Store, runs: dict[str, list[Run]]) -> None:
    """Short runs are ranked by what the tournament itself measured; in the order of its field."""
    for row in Index.of_store(store).rows("state = ?", DONE):
        figures = json.loads(row["figures"] or "{}").get("tournament")
        for run in runs.get(row["label"], ()):
            if figures and (run.seed, run.steps) == (row["seed"], row["steps"]) and not run.rank:
                run.rank = figures


def report(store: Store, words: list[str], steps: int) -> str:
    runs = measured(store, words, steps)
    keep_ranking(store, runs)
    complete = [p for p in words if any(r.steps > steps for r in runs[p])]
    found = {p: arms(runs[p], steps) for p in complete}
    names = list(found[complete[0]])
    value = {
        name: np.array([score(found[p][name][1]) for p in complete]) for name in names
    }  # (prompts, figures and their mean)
    rows, compared = [], []
    first = names[0]
    for name in names:
        own = [found[p][name][0] for p in complete]
        low, high = bootstrap(value[name][:, -1])
        rows.append(
            [
                name,
                f"{mean(sum(r.steps for r in o) for o in own):.0f}",
                f"{mean(sum(r.seconds for r in o) for o in own):.0f}",
                *(float(v) for v in value[name].mean(0)),
                f"{low:.3f} to {high:.3f}",
            ]
        )
        if name != first:
            off = value[first][:, -1] - value[name][:, -1]
            low, high = bootstrap(off)
            better, worse = int((off > 1e-6).sum()), int((off < -1e-6).sum())
            compared.append([name, float(off.mean()), f"{low:+.3f} to {high:+.3f}", better, worse])
    contest = contest_of(steps)
    head = ["arm", "steps", "seconds", *RULER, "mean of the three", "95 % interval"]
    against = ["tournament against", "difference of the mean", "95 % interval", "better", "worse"]
    shape = ", ".join(
        f"{contest.size(r)} runs of {contest.length(r)} steps" for r in range(contest.rungs)
    )
    return (
        f"{len(complete)} prompts, seeds 0 to {SEEDS - 1}; the tournament is {shape}: "
        f"{contest.cost()} steps, as many as three full runs. "
        "Judge and silhouettes over 8 views of the exported GLB; nothing was ranked by the judge. "
        "Seconds are of one thread on a busy machine, ranking included; intervals by resampling "
        f"prompts.\n\n{table(head, rows)}\n\n{table(against, compared)}"
    )


def score(run: Run | None) -> list[float]:
    values = [run.ruler[name] if run else 0.0 for name in RULER]
    return [*values, mean(values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    add_world(parser)
    parser.add_argument("--prompts", type=int, default=20, help="how many of the 20")
    parser.add_argument("--steps", type=int, default=32, help="of a full run")
    parser.add_argument("--report", action="store_true", help="make nothing")
    parser.add_argument("--dry", action="store_true", help="print, publish nothing")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    store, words = arguments.out / "store", prompts()[: arguments.prompts]
    for n in range(0, 0 if arguments.report else len(words), GROUP):
        make(store, words[n : n + GROUP], arguments.steps)
    body = report(Store(str(store)), words, arguments.steps)
    if arguments.dry:
        print(body)
        return
    command = f"python benchmarks/batch_tournament.py --out … --steps {arguments.steps}"
    publish("batch_tournament", "Tournaments against single seeds", command, body)


if __name__ == "__main__":
    main()
