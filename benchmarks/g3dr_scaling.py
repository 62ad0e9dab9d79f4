"""G3DR's gradient scaling, tested where a collapse is possible. A registered experiment.

The shipped generator begins as the relief of its depth, from which nothing can collapse. Here a
small one begins as published (nothing known of depth), learns two categories, and is trained long
enough; gradients scaled as published and not, by how wrong the given depth is, and by how many
steps render novel views, with three seeds each. What is watched is the weight along the rays of an
object that lies further than 0.1 from its true surface: fog.

Registered before any of it was run: scaling lowers that weight at the end, in the mean of all
pairs of trainings that differ in nothing else (95 %, bootstrap over the pairs), and lowers it more
where more steps render novel views.

Added when two of the trainings had been seen, and no part of what was registered: a third kind that
scales only gradients which would add matter (the default here), with the first seed.

Resumable: outputs/benchmark/g3dr_scaling/, and from the rows of the page. A page is made of every
seed whose twelve trainings are there.

Run: python benchmarks/g3dr_scaling.py [--steps 2500] [--seeds 3] [--added] [--share 1/2]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from g3dr import SEED, Truth
from PIL import Image
from tables import ROOT, commit, publish, published, resampled, table
from worlds import add_share, add_world, runs, share_of, world_at_hand

from threestudio_like.engine.config import to_dict
from threestudio_like.engine.loop import Step
from threestudio_like.priors.clip import load_clip
from threestudio_like.priors.networks.perceptual import load_perceptual
from threestudio_like.priors.networks.triplane_generator import (
    TriplaneGenerator,
    TriplaneGeneratorConfig,
)
from threestudio_like.renderers.midpoint import MidpointConfig
from threestudio_like.systems.image_to_3d.g3dr_cameras import DEPTH_NEAR, WALL, CanonicalCamera
from threestudio_like.training.g3dr import (
    G3drTraining,
    ToyRgbd,
    as_pictures,
    g3dr_stage,
    render_view,
)
from threestudio_like.training.options import TrainingOptions, run

CATEGORIES = ("chair", "mug")
NOISES = (0.0, 0.13)
"""Standard deviation of the given depth's error on an object, in the frame's units; the embedded
estimator's mean error was 0.13."""
NOVEL = (0.0, 0.4, 0.7)
SEEDS = (0, 1, 2)
FAR = 0.1
OBJECTS, HELD_OUT, LOOKS, STEPS = 3000, 6, 5, 2500
MEASURES = {
    "fog": "weight beyond 0.1",
    "depth": "depth error",
    "novel": "novel PSNR, dB",
}


@dataclass(frozen=True)
class Cell:
    """One training."""

    kind: Literal["scaled", "plain", "clearing"]
    noise: float
    novel: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.noise:g}-{self.novel:g}-{self.seed}"

    def config(self, steps: int) -> G3drTraining:
        """As published, but small."""
        generator = replace(
            TriplaneGeneratorConfig.toybox(),
            relief=False,
            width=16,
            features=16,
            hidden=32,
        )
        return G3drTraining(
            generator=generator,
            rays=MidpointConfig(coarse=16, fine=16),
            render=24,
            scale_gradients=self.kind != "plain",
            clear=self.kind == "clearing",
            novel=self.novel,
            steps=steps,
            batch=2,
        )


KINDS: tuple[Literal["scaled", "plain"], ...] = ("scaled", "plain")
CELLS = [
    Cell(kind, noise, novel, seed)
    for seed in SEEDS
    for noise in NOISES
    for novel in NOVEL
    for kind in KINDS
]
ADDED = [Cell("clearing", noise, novel, 0) for noise in NOISES for novel in NOVEL]
"""See above."""


class Few:
    """The pictures of two categories, their depth wrong by a smooth field that belongs to the
    picture."""

    def __init__(self, source: ToyRgbd, noise: float, count: int, salt: int) -> None:
        names = world_at_hand("g3dr").vocabulary.categories
        chosen = {names.index(name) for name in CATEGORIES}
        self.numbers = [n for n in range(len(source)) if n % len(names) in chosen][:count]
        self.source, self.noise, self.salt = source, noise, salt

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RgbdSource.batch`."""
        numbers = torch.tensor([self.numbers[int(n)] for n in index])
        rgb, depth = self.source.batch(numbers)
        if self.noise == 0:
            return rgb, depth
        rows = []
        for n in numbers.tolist():
            generator = torch.Generator().manual_seed(self.salt * 1_000_003 + n)
            coarse = torch.randn(1, 1, 4, 4, generator=generator)
            rows.append(F.interpolate(coarse, depth.shape[-2:], mode="bicubic")[0])
        field = torch.stack(rows)
        field = field / field.std((1, 2, 3), keepdim=True)
        far = DEPTH_NEAR + 2 * WALL - 0.01
        wrong = (depth + self.noise * field).clamp(DEPTH_NEAR, far)
        return rgb, torch.where(depth < far, wrong, depth)


def pictures(split: str, noise: float, count: int = OBJECTS) -> Few:
    """Pictures of a split."""
    data, world = runs("g3dr_scaling", "g3dr") / "data", world_at_hand("g3dr").name
    if split == "test":
        return Few(ToyRgbd(data, SEED, 400, "test", world=world), noise, HELD_OUT, 2)
    return Few(ToyRgbd(data, 2000, count, "train", world=world), noise, count, 1)


@torch.no_grad()
def looked_at(
    model: TriplaneGenerator, given: Few, truths: list[Truth], config: G3drTraining
) -> tuple[dict[str, float], np.ndarray]:
    """The figures of held-out objects, and a strip of pictures of the first four: given, rendered,
    its depth, and from 20 degrees beside."""
    camera, even = CanonicalCamera(), replace(config.rays, coarse=96, fine=0)
    found: dict[str, list[float]] = {key: [] for key in MEASURES}
    tiles = []
    for n, truth in enumerate(truths):
        rgb, depth = given.batch(torch.tensor([n]))
        true = given.source.batch(torch.tensor([given.numbers[n]]))[1][:, 0]
        planes = model(rgb, depth)
        size = config.generator.size
        result = render_view(model, planes, camera, even, size)
        colour, far, _ = as_pictures(result, size)
        thing = (true < DEPTH_NEAR + 2 * WALL - 0.01).flatten(1)
        away = (result.t - true.flatten(1)[..., None]).abs() > FAR
        weight = (result.weights * away).sum(-1) / result.weights.sum(-1).clamp_min(1e-6)
        found["fog"].append(float(weight[thing].mean()))
        found["depth"].append(float((far - true).abs().flatten(1)[thing].mean()))
        shown = [((rgb[0].permute(1, 2, 0) + 1) / 2).numpy(), colour[0].numpy()]
        shown.append(np.repeat(((far[0].numpy() - 4) / 2)[..., None], 3, 2))
        for yaw in (-20.0, 20.0):
            wanted, mask = truth.picture(yaw, size)
            offsets = (torch.tensor([math.radians(yaw)]), torch.zeros(1))
            view = render_view(model, planes, camera, even, size, None, offsets)
            seen = as_pictures(view, size)[0][0].numpy()
            error = float(np.square(seen - wanted)[mask > 0.5].mean())
            found["novel"].append(-10 * math.log10(error + 1e-10))
        shown.append(seen)
        if n < 4:
            tiles.append(np.concatenate(shown, 1))
    return {k: float(np.mean(v)) for k, v in found.items()}, np.concatenate(tiles, 0)


def train(cell: Cell, steps: int) -> None:
    """Train a cell, and look at it now and then; goes on where an earlier call was interrupted."""
    folder = runs("g3dr_scaling", "g3dr") / cell.name
    if steps in looks(cell):
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = cell.config(steps)
    torch.manual_seed(cell.seed)
    model = TriplaneGenerator(config.generator)
    stage = g3dr_stage(
        "g3dr",
        model,
        config,
        source=pictures("train", cell.noise),
        perceptual=load_perceptual(),
        clip=load_clip("toybox"),
    )
    given = pictures("test", cell.noise)
    truths = [Truth(n) for n in given.numbers]
    mean = TriplaneGenerator(config.generator).eval()
    after, began, code = stage.after_step, time.process_time(), commit()

    def look(step: Step) -> None:
        assert after is not None
        after(step)
        done = step.index + 1
        if done % (steps // LOOKS) == 0:
            stage.modules["ema"].copy_to(mean)  # type: ignore[operator]
            figures, strip = looked_at(mean, given, truths, config)
            line = {"step": done, **figures, "commit": code}
            line["CPU seconds"] = time.process_time() - began
            with open(folder / "looks.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
            if done == steps:
                picture = (strip.clip(0, 1) * 255).round().astype(np.uint8)
                Image.fromarray(picture).save(folder / "end.png")

    options = TrainingOptions(out=folder, seed=cell.seed, resume=True, quiet=True)
    run(options, replace(stage, after_step=look), {"config": to_dict(config)})


def looks(cell: Cell) -> dict[int, dict[str, Any]]:
    """The figures of a training by step, of the page and of the runs that are here; the last ones
    where a step was looked at twice."""
    path: Path = runs("g3dr_scaling", "g3dr") / cell.name / "looks.jsonl"
    here = path.read_text().splitlines() if path.is_file() else []
    lines = [x for x in published("g3dr_scaling") if x["cell"] == cell.name]
    return {x["step"]: x for x in [*lines, *map(json.loads, here)]}


def page(steps: int) -> None:
    """Publish the seeds that are there."""
    by = {cell: looks(cell) for cell in (*CELLS, *ADDED)}
    seeds = [s for s in SEEDS if all(steps in by[c] for c in CELLS if c.seed == s)]
    if not seeds:
        raise SystemExit("no seed has all its trainings yet; there is nothing to publish")
    cells = [cell for cell in CELLS if cell.seed in seeds]
    ends = {cell: by[cell][steps] for cell in cells}
    added = [cell for cell in ADDED if steps in by[cell]]
    pairs = [cell for cell in cells if cell.kind == "scaled"]

    def plain(cell: Cell) -> Cell:
        return replace(cell, kind="plain")

    def change(cells: list[Cell], measure: str) -> np.ndarray:
        return np.array([ends[c][measure] - ends[plain(c)][measure] for c in cells])

    rows: list[list[Any]] = []
    for measure, name in MEASURES.items():
        values = change(pairs, measure)
        low, high = resampled(lambda pick, v=values: float(v[pick].mean()), len(values), 9)
        rows.append([f"{name}: scaled less plain, all pairs", float(values.mean()), low, high])
    fog = {n: change([c for c in pairs if c.novel == n], "fog") for n in NOVEL}
    more = fog[NOVEL[-1]] - fog[NOVEL[0]]
    low, high = resampled(lambda pick: float(more[pick].mean()), len(more), 9)
    name = f"weight beyond 0.1: that at novel views {NOVEL[-1]:g} less that at {NOVEL[0]:g}"
    rows.append([name, float(more.mean()), low, high])
    text = (
        f"A generator of {steps} steps a training, on {CATEGORIES[0]}s and {CATEGORIES[1]}s; "
        f"{HELD_OUT} held-out objects; distances in the frame's units (its edge is 1.58). "
        f"{len(seeds)} of the {len(SEEDS)} seeds that were registered are there. Published "
        "trainings take 300,000 steps of 48 pictures, these of two: they tell how fast fog goes, "
        "and not where it ends.\n\n"
        "**What was registered, and what came of it** (the first row and the last):\n\n"
    )
    text += table(["", "mean", "95 %, from", "to"], rows)
    first, last = (rows[n][-1] < 0 for n in (0, -1))
    text += (
        f"\n\nThat scaling lowers the weight beyond 0.1 {'holds' if first else 'does not hold'}; "
        f"that it does so more where more steps render novel views "
        f"{'holds' if last else 'does not hold'}"
    )
    # Where it raises the weight, it does so less.
    text += "." if first or not last else ", in that it raises it less there."
    rows = []
    for noise in NOISES:
        for novel in NOVEL:
            for kind in (*KINDS, "clearing"):
                own = [
                    by[cell][steps]
                    for cell in (*cells, *added)
                    if (cell.kind, cell.noise, cell.novel) == (kind, noise, novel)
                ]
                if not own:
                    continue
                row: list[Any] = [f"{noise:g}", f"{novel:g}", kind, len(own)]
                for measure in MEASURES:
                    values = [x[measure] for x in own]
                    row.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
                rows.append(row)
    header = ["error of the given depth", "share of novel views", "gradients", "seeds"]
    header += MEASURES.values()
    text += "\n\nAt the end, the mean of the seeds and their range:\n\n" + table(header, rows)
    times = sorted(by[cells[0]])
    rows = []
    for novel in NOVEL:
        for kind in (*KINDS, "clearing"):
            own = [by[c] for c in (*cells, *added) if (c.kind, c.novel) == (kind, novel)]
            if own:
                fogs = [float(np.mean([x[t]["fog"] for x in own])) for t in times]
                rows.append([kind, f"{novel:g}", *fogs])
    text += "\n\nWeight beyond 0.1 over the training, by step:\n\n"
    text += table(["gradients", "share of novel views", *map(str, times)], rows)
    text += sheet()
    whole = [c for c in (*CELLS, *ADDED) if steps in by[c]]
    samples = [{"cell": c.name, **by[c][t]} for c in whole for t in sorted(by[c])]
    publish(
        "g3dr_scaling",
        "Does scaling of gradients prevent fog?",
        f"python benchmarks/g3dr_scaling.py --steps {steps}",
        text,
        samples=[{k: v for k, v in s.items() if k != "CPU seconds"} for s in samples],
        frame={"n": f"{len(cells)} trainings of {steps} steps, seeds {', '.join(map(str, seeds))}"},
    )


def sheet() -> str:
    """A picture of how the trainings of seed 0 end; the page's own where they ran elsewhere."""
    path = ROOT / "docs" / "pictures" / "g3dr-scaling.jpg"
    cells = [Cell(kind, n, v, 0) for n in NOISES for v in NOVEL for kind in KINDS]
    ends = [runs("g3dr_scaling", "g3dr") / c.name / "end.png" for c in cells]
    if all(end.is_file() for end in ends):
        strips = [np.asarray(Image.open(end)) for end in ends]
        grid = [np.concatenate(strips[k : k + 2], 1) for k in range(0, len(strips), 2)]
        Image.fromarray(np.concatenate(grid, 0)).save(path, quality=85)
    return (
        "\n\n![ends](../pictures/g3dr-scaling.jpg)\n\nLeft scaled, right plain; from top to bottom "
        "the rows of the table, seed 0; of four objects the picture, its rendering, the depth, and "
        "from 20 degrees beside."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--added", action="store_true", help="the third kind alone")
    add_share(parser)
    add_world(parser)
    arguments = parser.parse_args()
    one, every = share_of(arguments)
    if not arguments.page:
        for number, cell in enumerate(CELLS if not arguments.added else ADDED):
            if number % every == one - 1 and cell.seed < arguments.seeds:
                train(cell, arguments.steps)
                last = looks(cell)[arguments.steps]
                print(cell.name, {k: round(last[k], 3) for k in MEASURES}, flush=True)
    if every == 1:
        page(arguments.steps)


if __name__ == "__main__":
    main()
