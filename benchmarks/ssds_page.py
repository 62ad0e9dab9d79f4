"""The page of the experiment on spatial words (ssds.py): contrasts with their intervals, tables by
cell, and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from relation_judge import relation_judge
from relation_priors import STEPS as TAUGHT
from relation_priors import taught
from spatial_words import WINDOWS, told, world
from ssds_cells import (
    AXES,
    CELLS,
    FACTORS,
    MOVED,
    NOISES,
    NORMALISED,
    SHARES,
    STARTS,
    STEPS,
    lines_of,
    packed,
)
from tables import ROOT, publish, resampled, table
from worlds import runs, world_at_hand

from threestudio_like import load_prior

NOT_YET = "The rows with normalised attention are not run yet.\n"


def hearing(count: int) -> str:
    """A table of how often each model tells the true relation from its five rivals."""
    path = runs("ssds") / "hearing.json"
    if not path.is_file():
        rows = []
        for p in SHARES:
            prior: Any = load_prior(str(taught(runs("ssds"), p)))
            heard: dict[tuple[str, float], list[float]] = {}
            for truth in world(count, list(world_at_hand().vocabulary.relations)):
                for key, value in told(truth, truth.text.relations[0].words, prior).items():
                    heard.setdefault(key, []).append(float(value))
            rows += [
                [f"{p:g}", f"{c:g}", *(float(np.mean(heard[w, c])) for w in WINDOWS)]
                for c in sorted({c for _, c in heard})
            ]
            print(*rows[-4:], sep="\n", flush=True)
        path.write_text(json.dumps(rows))
    return table(["p", "c", *(f"noise {w}" for w in WINDOWS)], json.loads(path.read_text()))


Figures = dict[tuple[Any, ...], np.ndarray]
"""Of every cell a measure of every scene (N,)."""


Lines = dict[tuple[Any, ...], dict[str, Any]]
"""What came of a scene in a cell, by its number and the cell's key."""


def figures_of(lines: Lines, numbers: list[int], measure: str) -> Figures:
    """A measure of the scenes `numbers`, by cell; () is where they begin. Cells that not all of the
    scenes are through are left out."""
    keys = [(), *(cell.key for cell in (*CELLS, *NORMALISED))]
    through = [key for key in keys if all((n, *key) in lines for n in numbers)]
    return {key: np.array([lines[(n, *key)][measure] for n in numbers]) for key in through}


def also(figures: Figures) -> bool:
    """Whether the scenes are through the cells with normalised rows too."""
    return all(cell.key in figures for cell in NORMALISED)


def gain(figures: Figures, p: float, pick: np.ndarray, normalised: bool = False) -> float:
    """G(p) over the scenes `pick`."""
    parts = [
        figures[p, noise, c, normalised][pick] - figures[p, noise, 1.0, False][pick]
        for noise in NOISES
        for c in FACTORS[1:]
    ]
    return float(np.mean(parts))


def contrasts(figures: Figures, count: int, word: str = "registered: ") -> list[list[Any]]:
    """What was registered (with `word` before it), and what else one asks: each with its
    interval."""
    everything = np.arange(count)

    def cell(key: tuple[Any, ...]) -> Callable[[np.ndarray], float]:
        return lambda pick: float(figures[key][pick].mean())

    def less(
        one: Callable[[np.ndarray], float], two: Callable[[np.ndarray], float]
    ) -> Callable[[np.ndarray], float]:
        return lambda pick: one(pick) - two(pick)

    def of(p: float, normalised: bool = False) -> Callable[[np.ndarray], float]:
        return lambda pick: gain(figures, p, pick, normalised)

    asked = {f"gain G({p:g})": of(p) for p in SHARES}
    asked[f"{word}G(0.8) - G(0)"] = less(of(0.8), of(0.0))
    if also(figures):
        asked |= {f"gain G({p:g}), rows normalised": of(p, True) for p in SHARES}
    for p in SHARES:
        paper, plain = (p, "800 to 900", 25.0, False), (p, "20 to 980", 1.0, False)
        asked[f"the paper's cell less plain distillation, p = {p:g}"] = less(
            cell(paper), cell(plain)
        )
        control = (p, "800 to 900", 1.0, False)
        asked[f"the paper's cell less c = 1 at its noise, p = {p:g}"] = less(
            cell(paper), cell(control)
        )
    asked["plain distillation less the start, p = 0"] = less(
        cell((0.0, "20 to 980", 1.0, False)), cell(())
    )
    rows = []
    for name, measure in asked.items():
        low, high = resampled(measure, count, 7)
        rows.append([name, measure(everything), f"{low:+.3f} to {high:+.3f}"])
    return rows


def grid(figures: Figures) -> str:
    """A measure by model, noise and emphasis."""
    rows = [
        [
            f"{p:g}",
            noise,
            "normalised" if normalised else "as published",
            *(float(figures[p, noise, c, normalised and c != 1].mean()) for c in FACTORS),
        ]
        for p in SHARES
        for noise in NOISES
        for normalised in ((False, True) if also(figures) else (False,))
    ]
    return table(["p", "noise", "rows of attention", *(f"c = {c:g}" for c in FACTORS)], rows)


def by_start(lines: Lines, numbers: list[int]) -> str:
    """Where things go by how they begin and by relation: the share of ends that hold, by geometry,
    over all noises, with c = 1 and with all greater ones."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for number in numbers:
        line = lines[(number,)]
        words = next(word for word in AXES if f" {word} " in line["prompt"])
        kinds.setdefault((line["start"], words), []).append(number)

    def share(group: list[int], p: float, plain: bool) -> float:
        cells = [c for c in CELLS if c.p == p and (c.factor == 1) == plain]
        return float(np.mean([lines[(n, *c.key)]["holds"] for n in group for c in cells]))

    rows = [
        [start, words, len(group), float(np.mean([lines[(n,)]["holds"] for n in group]))]
        + [share(group, p, plain) for p in (SHARES[0], SHARES[-1]) for plain in (True, False)]
        for (start, words), group in sorted(kinds.items())
    ]
    ends = [f"p = {p:g}, c {c}" for p in (SHARES[0], SHARES[-1]) for c in ("= 1", "> 1")]
    return table(["start", "relation", "scenes", "holds there", *ends], rows)


def agreement(lines: Lines, numbers: list[int]) -> str:
    """How the judge and geometry go together."""
    ends = [x for x in lines.values() if x["scene"] in numbers and x["cell"]]
    told = [np.mean([x["judge"] for x in ends if x["holds"] == held]) for held in (1.0, 0.0)]
    return (
        f"Of the ends whose relation holds by geometry the judge tells it in {told[0]:.3f}, of the "
        f"others in {told[1]:.3f}."
    )


def page(count: int) -> None:
    """Publish what is there."""
    lines = {(x["scene"], *x["cell"]): x for x in lines_of()}
    keys = [(), *(cell.key for cell in CELLS)]
    numbers = [n for n in range(count) if all((n, *key) in lines for key in keys)]
    if not numbers:
        raise SystemExit("no scene is through all cells yet; there is nothing to publish")
    by = {m: figures_of(lines, numbers, m) for m in ("holds", "judge", "off")}
    text = (
        f"{len(numbers)} of {count} scenes of two things, {STEPS} steps from a wrong start "
        f"({' or '.join(STARTS)} by {MOVED} scene units). The models: the shipped one taught "
        f"{TAUGHT} steps more, in whose captions the relation is another one with probability p.\n"
        f"{'' if also(by['holds']) else NOT_YET}"
        "\n**What was registered, and what came of it** (relation holds, by geometry):\n\n"
    )
    text += table(["contrast", "share of scenes", "95 %"], contrasts(by["holds"], len(numbers)))
    told_by = relation_judge(runs("ssds") / "judge")[1]
    text += (
        f"\n\nThe same by a judge's eyes (held out it tells {told_by:.3f} of all relations; chance "
        "is 0.167):\n\n"
    )
    text += table(["contrast", "share of scenes", "95 %"], contrasts(by["judge"], len(numbers)))
    text += (
        "\n\nThe same of the distance further below, scene units, less is better (not registered)"
    )
    text += ":\n\n" + table(
        ["contrast", "distance", "95 %"], contrasts(by["off"], len(numbers), "")
    )
    text += f"\n\n{agreement(lines, numbers)}\n\n**By start and relation**, by geometry:\n\n"
    text += by_start(lines, numbers)
    starts = {m: float(figures[()].mean()) for m, figures in by.items()}
    text += (
        f"\n\n**Relation holds, by geometry** (where they begin: {starts['holds']:.3f}):\n\n"
        f"{grid(by['holds'])}\n\n**By the judge** (where they begin: "
        f"{starts['judge']:.3f}):\n\n{grid(by['judge'])}\n\n**Distance of the things' offset from "
        f"the true one**, scene units (where they begin: {starts['off']:.3f}):\n\n"
        f"{grid(by['off'])}\n\n**What the models hear**: share of scenes whose relation is told "
        f"from its five rivals by the error of the noise (chance 0.167):\n\n{hearing(18)}\n\n"
    )
    text += sheet(numbers[:12], lines)
    samples = packed(line for line in lines.values() if line["scene"] in numbers)
    every = len(by["holds"]) - 1
    publish(
        "ssds",
        "Does emphasis on spatial words help?",
        f"python benchmarks/ssds.py --scenes {count}",
        text,
        samples=samples,
        frame={"n": f"{len(numbers)} scenes, one start each, in each of {every} cells"},
    )


def sheet(numbers: list[int], lines: Lines) -> str:
    """A picture of some scenes: where they begin, and how the ends of c = 1 and c = 25 look."""
    shown = [(), *((p, n, c, False) for p in SHARES for n in NOISES for c in (1.0, 25.0))]
    names = ["-".join([*map(str, key)]).replace(" ", "_") for key in shown]
    rows = []
    for number in numbers:
        tiles = [f"{number}-{name}".rstrip("-") + ".png" for name in names]
        pictures = [Image.open(runs("ssds") / tile).resize((64, 64)) for tile in tiles]
        rows.append(np.concatenate([np.asarray(p) for p in pictures], 1))
    path = ROOT / "docs" / "pictures" / "ssds.jpg"
    Image.fromarray(np.concatenate(rows, 0)).save(path, quality=85)
    told_ = "\n".join(f"- {lines[n,]['prompt']}" for n in numbers)
    return (
        "![where things end](../pictures/ssds.jpg)\n\nA row a scene: where it begins; then for p = "
        "0, 0.5 and 0.8, each at noise 20 to 980, 500 to 900 and 800 to 900, c = 1 and c = 25. "
        f"The rows:\n\n{told_}"
    )
