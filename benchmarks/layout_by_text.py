"""Layout by text alone: true meshes of two toybox objects, placed by a prompt's words from several
starts; does the relation hold?

The starts are those of `compose --text`; the best is chosen as it does. Resumable:
outputs/benchmark/layout_by_text.jsonl.

Run: python benchmarks/layout_by_text.py [--scenes 12] [--starts 2]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from PIL import Image
from spatial_words import world
from tables import ROOT, publish, table
from worlds import add_world, kept, runs, world_at_hand

from threestudio_like import load_prior
from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.guidance.spatial import SpatialConfig
from threestudio_like.meshes.mesh import Asset
from threestudio_like.metrics.layout import relation_holds
from threestudio_like.renderers import SceneRenderer
from threestudio_like.representations import PlacedScene
from threestudio_like.systems.scene.comboverse import Comboverse, scene_score
from threestudio_like.systems.scene.layout import reference_camera
from threestudio_like.systems.scene.objects import first_layout, object_of
from threestudio_like.systems.scene.placement import placement_stage, scene_pictures

WAYS = (
    "where they begin",
    "physical terms alone, free to tilt",
    "noise 500 to 900",
    "noise 500 to 900, free to tilt",
    "c = 3, noise 500 to 900, free to tilt",
    "c = 25, noise 800 to 900 (paper), free to tilt",
    "score distillation, all noise (default)",
)


def configured(way: str) -> Comboverse:
    """The configuration of a way to place."""
    config = Comboverse(upright="free to tilt" not in way)
    place = config.place
    if way.startswith("physical terms alone"):
        place = replace(place, guidance="none")
    if "noise 500 to 900" in way:
        place = update(place, {"spatial": {"score": {"t_min": "0.5", "t_max": "0.9"}}})
    if way.startswith("c = 3"):
        place = update(place, {"spatial": {"factor": 3.0}})
    if way.startswith("c = 25"):
        place = replace(place, spatial=SpatialConfig())
    return replace(config, place=place)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=12)
    add_world(parser)
    parser.add_argument("--starts", type=int, default=2)
    arguments = parser.parse_args()
    runs("layout_by_text").mkdir(parents=True, exist_ok=True)
    known = {(x["scene"], x["way"]): x for x in kept("layout_by_text.jsonl")}
    prior = load_prior("toybox")
    camera = reference_camera(3.0, 40.0, 15.0, 96, 96)
    for number, truth in enumerate(
        world(arguments.scenes, list(world_at_hand().vocabulary.relations))
    ):
        names = [str(n) for n in range(len(truth.meshes))]
        objects = [object_of(Asset({"m": m}), name) for m, name in zip(truth.meshes, names)]
        for way in WAYS:
            if (number, way) in known:
                continue
            config, began, ends = configured(way), time.perf_counter(), []
            for start in range(arguments.starts):
                first = first_layout(objects, truth.text, 0, start)
                bodies = [o.body for o in objects]
                scene = PlacedScene(
                    bodies, names, first, camera.camera_to_world[0], "axis", upright=config.upright
                )
                if way != WAYS[0]:
                    place = replace(config.place, rate=config.rate)
                    stage = placement_stage(
                        scene, truth.text, truth.text.words, prior, place, None, [], True
                    )
                    loop = Loop(None, Events(None, "quiet"), LoopSettings(seed=start))
                    loop.run([StagePlan("placement", lambda _, s=stage: s)])
                score = scene_score(scene, truth.text, truth.text.prompt, config)
                points = [t.apply(b.vertices) for t, b in zip(scene.transforms(), scene.bodies)]
                kept = all(
                    relation_holds(r.kind, points[r.subject], points[r.object])
                    for r in truth.text.relations
                )
                ends.append((score, kept, scene))
            best, kept, scene = max(ends, key=lambda e: e[0]["score"])
            line = {
                "scene": number,
                "way": way,
                "prompt": truth.text.prompt,
                "best": float(kept),
                "any": float(any(e[1] for e in ends)),
                "each": float(np.mean([e[1] for e in ends])),
                "penetration": best["penetration depth"],
                "floating": best["floating distance"],
                "CLIP": best["CLIP"],
                "seconds": time.perf_counter() - began,
            }
            known[number, way] = line
            shown = (
                (scene_pictures(scene, SceneRenderer(), camera, 0.9)[0] * 255)
                .round()
                .astype(np.uint8)
            )
            Image.fromarray(shown).save(runs("layout_by_text") / f"{number}-{WAYS.index(way)}.png")
            with open(runs("layout_by_text.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
            print(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}, flush=True
            )
    numbers = [n for n in range(arguments.scenes) if all((n, w) in known for w in WAYS)]
    columns = ("each", "any", "best", "penetration", "floating", "CLIP", "seconds")
    rows = [
        [w, *(float(np.mean([known[n, w][c] for n in numbers])) for c in columns)] for w in WAYS
    ]
    text = (
        f"{len(numbers)} prompts of two objects, six relations, {arguments.starts} starts "
        "each; 100 steps.\n\n"
    )
    header = [
        "placed by",
        "relation holds, each start",
        "any start",
        "the chosen one",
        "penetration",
        "floating",
        "CLIP",
        "seconds",
    ]
    text += table(header, rows)
    strips = [
        np.concatenate(
            [
                np.asarray(Image.open(runs("layout_by_text") / f"{n}-{w}.png"))
                for w in range(len(WAYS))
            ],
            1,
        )
        for n in numbers
    ]
    half = (len(strips) + 1) // 2
    columns_ = [np.concatenate(strips[:half], 0), np.concatenate(strips[half : 2 * half], 0)]
    if columns_[0].shape == columns_[1].shape:
        Image.fromarray(np.concatenate(columns_, 1)).save(
            ROOT / "docs" / "pictures" / "layout-by-text.jpg", quality=85
        )
        text += (
            "\n\n![layouts](../pictures/layout-by-text.jpg)\n\nTwo columns of prompts; in each "
            "the chosen start of every way, in the table's order:\n\n"
        )
        text += "\n".join(f"- {known[n, WAYS[0]]['prompt']}" for n in numbers)
    publish(
        "layout_by_text",
        "Layouts by text alone",
        f"python benchmarks/layout_by_text.py --scenes {arguments.scenes}",
        text,
    )


if __name__ == "__main__":
    main()
