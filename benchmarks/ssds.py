"""Does emphasis on spatial words help score distillation to place things? A registered experiment.

ComboVerse multiplies the attention to the words of a relation by c = 25 at high noise. Whether that
helps may depend on how well the model hears those words, so three models are tried: the shipped one
taught captions in which the relation is another one with probability p = 0, 0.5 and 0.8
(relation_priors.py). Two true objects begin at wrong places, in their true sizes and turns;
nothing but the distillation moves them (no picture, no order, no support), and every step's
gradient has the same norm.

Registered before any of it was run: the gain of c > 1 over c = 1 grows with p. The gain G(p) is the
share of scenes whose relation holds, by geometry, over all noises and all c > 1, rows of attention
not normalised, less the share at c = 1 and the same noise; the prediction is G(0.8) > G(0), with a
95 % interval (paired bootstrap over scenes) above zero.

Resumable: outputs/benchmark/ssds.jsonl and ssds/.

Run: python benchmarks/ssds.py [--scenes 40] [--share 1/2]   (two processes, one half each)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from compose import Truth
from PIL import Image
from relation_judge import relation_judge
from relation_priors import STEPS as TAUGHT
from relation_priors import taught
from second_world.judge import SecondJudge
from spatial_words import WINDOWS, told, world
from tables import ROOT, commit, publish, published, resampled, table
from worlds import add_share, add_world, kept, runs, share_of, world_at_hand

from threestudio_like import load_prior
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.guidance.spatial import SpatialConfig
from threestudio_like.meshes.transform import Transform
from threestudio_like.metrics.layout import relation_holds
from threestudio_like.renderers import SceneRenderer
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.systems.scene.layout import reference_camera
from threestudio_like.systems.scene.placement import (
    PlacementConfig,
    PlacementWeights,
    placement_stage,
    scene_pictures,
)

SHARES = (0.0, 0.5, 0.8)
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 25.0)
NOISES = {"20 to 980": ("0.02", "0.98"), "500 to 900": ("0.5", "0.9"), "800 to 900": ("0.8", "0.9")}
STARTS = ("swapped", "moved against the relation")
MOVED, STEPS, RATE = 0.5, 40, "0.04->0.004"
NOT_YET = "The rows with normalised attention are not run yet.\n"
NORM = 1e-4
"""Of every step's gradient: below what any step has."""
AXES = {
    "on": (1, 1.0),
    "under": (1, -1.0),
    "left of": (0, -1.0),
    "right of": (0, 1.0),
    "in front of": (2, 1.0),
    "behind": (2, -1.0),
}


@dataclass(frozen=True)
class Cell:
    """A model, a range of noise, and an emphasis."""

    p: float
    noise: str
    factor: float
    normalised: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.p, self.noise, self.factor, self.normalised)

    def config(self) -> PlacementConfig:
        """Nothing but the distillation moves anything."""
        low, high = NOISES[self.noise]
        spatial = SpatialConfig(factor=self.factor, normalise=self.normalised)
        spatial = replace(
            spatial, score=replace(spatial.score, t_min=low, t_max=high, joint_views=True)
        )
        return PlacementConfig(
            along="axis",
            spatial=spatial,
            weights=PlacementWeights(physical=0.0),
            stand=False,
            steps=STEPS,
            rate=RATE,
            rate_depth=RATE,
        )


CELLS = [Cell(p, noise, factor) for p in SHARES for noise in NOISES for factor in FACTORS]
NORMALISED = [replace(cell, normalised=True) for cell in CELLS if cell.factor != 1]
"""What else is asked; run when every scene is through `CELLS`, in which alone the registered
contrast lies."""


def start_of(truth: Truth, number: int) -> tuple[str, list[Transform]]:
    """Where the two things of a scene begin: each where the other one is, or the first half a unit
    from its place, against the relation. Every relation begins in both ways."""
    kind = STARTS[number // len(AXES) % len(STARTS)]
    where = list(truth.where)
    relation = truth.text.relations[0]
    subject, other = where[relation.subject], where[relation.object]
    if kind == "swapped":
        where[relation.subject] = replace(subject, translation=other.translation)
        where[relation.object] = replace(other, translation=subject.translation)
        return kind, where
    axis, sign = AXES[relation.kind]
    step = np.zeros(3)
    step[axis] = -sign * MOVED
    where[relation.subject] = replace(subject, translation=subject.translation + step)
    return kind, where


@lru_cache(maxsize=1)
def judge_at_hand() -> SecondJudge:
    """The judge of relations."""
    return relation_judge(runs("ssds") / "judge")[0]


def judged(scene: PlacedScene, truth: Truth, camera: Any) -> dict[str, Any]:
    """Whether the relation holds, by geometry and by a judge's eyes (relation_judge.py); and how
    far the things' offset is from the true one, in scene units."""
    relation = truth.text.relations[0]
    ends = scene.transforms()
    points = [t.apply(b.vertices) for t, b in zip(ends, scene.bodies)]
    phrases = [o.phrases[0] for o in truth.scene.objects]
    names = {truth.scene.words.describe(p): p.category for p in phrases}
    judge = judge_at_hand()
    picture = torch.from_numpy(scene_pictures(scene, SceneRenderer(), camera, 0.9))
    said = [names[truth.text.objects[k]] for k in (relation.subject, relation.object)]
    seen = int(judge.relation(picture, *said).argmax())
    offsets = [
        w[relation.subject].translation - w[relation.object].translation
        for w in (ends, truth.where)
    ]
    return {
        "holds": float(
            relation_holds(relation.kind, points[relation.subject], points[relation.object])
        ),
        "judge": float(judge.words.relations[seen] == relation.words),
        "off": float(np.linalg.norm(offsets[0] - offsets[1])),
    }


def placed(truth: Truth, number: int, prior: Any, cell: Cell | None) -> PlacedScene:
    """The scene from its wrong start, as it began or as a cell's distillation leaves it."""
    camera = reference_camera(3.0, 40.0, 15.0, 128, 128)
    bodies = [Body({"m": m}) for m in truth.meshes]
    names = [str(n) for n in range(len(bodies))]
    where = start_of(truth, number)[1]
    scene = PlacedScene(bodies, names, where, camera.camera_to_world[0], "axis", upright=True)
    # Without a picture that holds them, everything would shrink.
    scene.size.requires_grad_(False)
    scene.turn.requires_grad_(False)
    if cell is not None:
        stage = placement_stage(
            scene, truth.text, truth.text.words, prior, cell.config(), None, [], True
        )
        loop = Loop(None, Events(None, "quiet"), LoopSettings(seed=number))
        equal = replace(stage, clip_norm=NORM)
        loop.run([StagePlan("placement", lambda _: equal)])
    return scene


def lines_of() -> list[dict[str, Any]]:
    """What is placed already: of the page and of the runs that are here."""
    return [*published("ssds"), *kept("ssds.jsonl")]


def run(count: int, share: tuple[int, int]) -> None:
    """Place what is not placed yet."""
    folder = runs("ssds")
    folder.mkdir(parents=True, exist_ok=True)
    priors = {p: load_prior(str(taught(folder, p))) for p in SHARES}
    camera = reference_camera(3.0, 40.0, 15.0, 128, 128)
    known, code = {(x["scene"], *x["cell"]) for x in lines_of()}, commit()
    truths = list(enumerate(world(count, list(world_at_hand().vocabulary.relations))))
    own = [(n, truth, cells) for cells in ((None, *CELLS), NORMALISED) for n, truth in truths]
    for number, truth, cells in own:
        if number % share[1] != share[0] - 1:
            continue
        kind = start_of(truth, number)[0]
        row: dict[str, Any] = {"scene": number, "prompt": truth.text.prompt, "start": kind}
        for cell in cells:
            key = () if cell is None else cell.key
            if (number, *key) in known:
                continue
            began = time.perf_counter()
            scene = placed(truth, number, priors[0.0 if cell is None else cell.p], cell)
            line = {**row, "cell": key, **judged(scene, truth, camera)}
            line |= {"seconds": time.perf_counter() - began, "commit": code}
            with open(runs("ssds.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
            if cell is None or cell.factor in (1.0, 25.0):
                shown = (scene_pictures(scene, SceneRenderer(), camera, 0.9)[0] * 255).round()
                name = "-".join([str(number), *map(str, key)]).replace(" ", "_")
                Image.fromarray(shown.astype(np.uint8)).save(folder / f"{name}.png")
        done = [x for x in lines_of() if x["scene"] == number and x["cell"]]
        print(number, truth.text.prompt, f"{np.mean([x['holds'] for x in done]):.2f}", flush=True)


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


def contrasts(figures: Figures, count: int) -> list[list[Any]]:
    """What was registered, and what else one asks: each with its interval."""
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
    asked["registered: G(0.8) - G(0)"] = less(of(0.8), of(0.0))
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
    samples = [
        {k: v for k, v in line.items() if k != "seconds"}
        for line in lines.values()
        if line["scene"] in numbers
    ]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=40)
    add_share(parser)
    add_world(parser)
    arguments = parser.parse_args()
    one, every = share_of(arguments)
    if not arguments.page:
        run(arguments.scenes, (one, every))
    if every == 1:
        page(arguments.scenes)


if __name__ == "__main__":
    main()
