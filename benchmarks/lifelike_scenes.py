"""`compose` on twenty scenes as one would photograph them (lifelike/): a picture and a prompt,
nothing else. Another renderer (Mitsuba 3), other floors, walls and lights, a lens and a sensor; the
things' meshes are known, and are those of the second world's generator.

Nothing is left out; a scene that the command refuses counts as found, held and overlapping nowhere.
Measured as whole_scenes.py does. Resumable: outputs/benchmark/lifelike_scenes/lines.jsonl.

Run: python benchmarks/lifelike_scenes.py [--count 20] [--share 1/2]   (two processes, half each)
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from lifelike.render import FOLDER
from lifelike.scenes import SHOTS, shot
from PIL import Image
from second_world.measure import mesh_of
from tables import publish, table
from whole_scenes import (
    HEADER,
    Case,
    commits,
    known,
    made_of,
    read_in_order,
    refusals,
    sheet,
    summary,
)
from worlds import add_share, add_world, share_of

from threestudio_like.systems.scene.prompt import read_scene

NAME = "lifelike_scenes"
SETTINGS = {"desk": "a desk", "room": "a room", "garden": "a garden"}


def case(number: int) -> Case:
    """Scene `number` as it was photographed."""
    scene = shot(number)
    said = scene.shot
    pixels = np.asarray(Image.open(FOLDER / f"{number:02d}.jpg").convert("RGB"))
    text, order = read_in_order(said.prompt, said.names, read_scene)
    # As a square the picture is higher than it is.
    fov = 2 * math.atan(math.tan(math.radians(said.fov) / 2) * max(said.aspect, 1.0))
    return Case(
        pixels,
        said.prompt,
        text,
        [mesh_of(scene.things[k]) for k in order],
        [mesh_of(scene.others[k]) for k in order],
        said.elevation,
        said.distance,
        math.degrees(fov),
    )


def page(count: int) -> None:
    """Publish what is there."""
    lines = sorted(
        (x for x in known(NAME).values() if x["index"] < count), key=lambda x: x["index"]
    )
    by = {told: [x for x in lines if x["world"] == setting] for setting, told in SETTINGS.items()}
    rows = [summary(told, some) for told, some in {**by, "all": lines}.items() if some]
    text = f"{table(HEADER, rows)}\n\n{commits(lines)}{refusals(lines)}"
    every = []
    for x in [x for x in lines if x["code"] == 0]:
        shapes = ", ".join(
            f"{a:.2f} / {b:.2f}" for a, b in zip(x["turned"], x["floor"], strict=True)
        )
        found = f"{sum(x['found']):.0f} of {x['things']}"
        held = f"{sum(x['relation']):.0f} of {x['relations']}"
        every.append([x["prompt"], found, held, shapes])
    header = ["prompt", "found", "relations", "each thing's volume IoU, best turn / floor"]
    text += f"**Made**:\n\n{table(header, every)}\n\n"
    text += sheet([x for x in lines if x["code"] == 0], "lifelike-scenes")
    publish(
        NAME,
        "Scenes as one would photograph them",
        f"python benchmarks/lifelike_scenes.py --count {count}",
        text,
        samples=[{k: v for k, v in x.items() if k != "said"} for x in lines],
        frame={"n": f"{len(lines)} scenes"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=len(SHOTS))
    add_share(parser)
    add_world(parser)
    arguments = parser.parse_args()
    one, every = share_of(arguments)
    there = known(NAME)
    for number in range(0 if arguments.page else arguments.count):
        setting = SHOTS[number].setting
        if number % every == one - 1 and (setting, number) not in there:
            made_of(case(number), setting, number, NAME)
    if every == 1:
        page(arguments.count)


if __name__ == "__main__":
    main()
