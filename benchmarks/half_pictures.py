"""Shapes of objects that others hide in part: by the picture as it is cut out or completed, without
and with the user's words.

Volume IoU with the truth at the best turn about the vertical; the floor is another object of the
category. The objects are those of benchmarks/completion.py. Resumable:
outputs/benchmark/half_pictures.jsonl.

Run: python benchmarks/half_pictures.py [--count 24]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from completion import hidden_objects
from object_gap import turned
from tables import interval, publish, table
from worlds import add_world, kept, runs, world_at_hand

from threestudio_like import load_prior
from threestudio_like.meshes.frames import Normalisation
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.priors.inpainter import LatentBlending
from threestudio_like.systems.image_to_3d.cisp import CispConfig, reconstruct_shape
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.scene.amodal_completion import CompletionConfig, complete, uncompleted

WAYS = {
    "cut out": (False, False),
    "completed": (True, False),
    "cut out, with its words": (False, True),
    "completed, with its words (compose)": (True, True),
}


FLOOR = "floor: another object of the category"
SEED = 3002
"""Of the floor's objects."""


def another(phrase: str) -> Mesh:
    """A held-out object of the category that a phrase names."""
    world = world_at_hand()
    kinds = list(world.vocabulary.categories)
    number = kinds.index(world.vocabulary.parse(phrase)[0].category)
    thing = world.draw(SEED, number + 50 * len(kinds), "test")
    return Mesh(thing.vertices, thing.faces)


def shape_iou(mesh: Mesh, true: Mesh) -> float:
    """IoU of two meshes in the unit sphere, the first turned as fits best."""
    wanted = voxelise(Mesh(Normalisation.of(true.vertices).apply(true.vertices), true.faces))
    return max(voxel_iou(voxelise(turned(mesh, 15.0 * k)), wanted) for k in range(24))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=24)
    add_world(parser)
    arguments = parser.parse_args()
    known: dict[tuple[int, str], dict] = {}
    runs("half_pictures.jsonl").parent.mkdir(parents=True, exist_ok=True)
    if runs("half_pictures.jsonl").is_file():
        known = {(x["object"], x["way"]): x for x in kept("half_pictures.jsonl")}
    prior, config = load_prior("toybox"), CompletionConfig()
    inpainter = LatentBlending(prior, config.inpaint)
    for number, one in enumerate(hidden_objects(arguments.count)):
        if (number, FLOOR) not in known:
            floor = {"object": number, "way": FLOOR, "phrase": one.phrase, "seen": one.share}
            known[number, FLOOR] = {**floor, "iou": shape_iou(another(one.phrase), one.mesh)}
            with open(runs("half_pictures.jsonl"), "a") as file:
                file.write(json.dumps(known[number, FLOOR]) + "\n")
        for way, (whole, said) in WAYS.items():
            if (number, way) in known:
                continue
            began = time.process_time()
            if whole:
                done = complete(
                    one.picture, one.part, one.others, inpainter, None, config, number, True
                )
            else:
                done = uncompleted(one.picture, one.part, config)
            photo = photo_of(done.pixels.astype(np.float32), "x", {})
            found = reconstruct_shape(photo, CispConfig(), number, None, one.phrase if said else "")
            line = {
                "object": number,
                "way": way,
                "phrase": one.phrase,
                "seen": one.share,
                "iou": shape_iou(found.mesh, one.mesh),
                "agreement": found.pose.agreement,
                "seconds": time.process_time() - began,
            }
            known[number, way] = line
            with open(runs("half_pictures.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
    rows = []
    for way in (*WAYS, FLOOR):
        some = [x for (_, w), x in known.items() if w == way]
        low, high = interval([x["iou"] for x in some])
        poor = float(np.mean([x["iou"] < 0.5 for x in some]))
        rows.append(
            [
                way,
                len(some),
                float(np.mean([x["iou"] for x in some])),
                f"{low:.3f} to {high:.3f}",
                poor,
                *(
                    "-" if way == FLOOR else float(np.mean([x[key] for x in some]))
                    for key in ("agreement", "seconds")
                ),
            ]
        )
    text = table(
        [
            "the picture",
            "objects",
            "volume IoU",
            "95 % interval",
            "below 0.5",
            "silhouette agreement",
            "CPU seconds",
        ],
        rows,
    )
    publish(
        "half_pictures",
        "Shapes of what is hidden in part",
        f"python benchmarks/half_pictures.py --count {arguments.count}",
        text,
        samples=[{k: v for k, v in x.items() if k != "seconds"} for x in known.values()],
        frame={"n": f"{arguments.count} objects"},
    )


if __name__ == "__main__":
    main()
