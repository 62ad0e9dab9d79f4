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
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from compose import Truth
from PIL import Image
from relation_judge import relation_judge
from relation_priors import taught
from second_world.judge import SecondJudge
from spatial_words import world
from ssds_cells import AXES, CELLS, MOVED, NORM, NORMALISED, SHARES, STARTS, Cell, lines_of
from ssds_page import page
from tables import commit
from worlds import add_share, add_world, runs, share_of, world_at_hand

from threestudio_like import load_prior
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.meshes.transform import Transform
from threestudio_like.metrics.layout import relation_holds
from threestudio_like.renderers import SceneRenderer
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.systems.scene.layout import reference_camera
from threestudio_like.systems.scene.placement import (
    placement_stage,
    scene_pictures,
)


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
