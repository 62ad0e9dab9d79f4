"""Scenes that stand: how many stay where they are once gravity is switched on, by how they were
placed.

Every scene is exported as MJCF with convex pieces (CoACD where it is installed) and run through
MuJoCo (extra dev) for two seconds. A scene stands if no corner of any object's box has moved by
more than 1 % of that object's size. Three tables: toybox scenes of true objects from wrong starts;
the meshes of assets/meshes, with poses in a file, through `compose --poses`; `compose`'s own
results of pictures, without and with its last step. Resumable: every finished row is a line of
outputs/benchmark/standing.jsonl.

Run: python benchmarks/standing.py [--scenes 30] [--imported 20] [--pictures 0] [--fresh] [--report]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tables import ROOT, publish, table
from worlds import add_world, kept, runs, world_at_hand

from threestudio_like.cli import main as command_line
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.meshes.io.mjcf.mjcf import write_mjcf
from threestudio_like.meshes.mesh import Asset, Node
from threestudio_like.meshes.physics.pieces import Pieces, convex_pieces, has_coacd
from threestudio_like.meshes.physics.settling import settle
from threestudio_like.meshes.physics.simulation import (
    Simulation,
    SimulationConfig,
    objects_of,
    rigid_body,
    solid_of,
)
from threestudio_like.meshes.physics.solid import Pose
from threestudio_like.meshes.transform import Transform
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.systems.scene.layout import reference_camera
from threestudio_like.systems.scene.placement import PlacementConfig, placement_stage
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.scene.standing import stand
from threestudio_like.toybox.coloured import coloured_mesh

SEED, SECONDS, MOST = 26, 2.0, 0.01
"""World seed; seconds of gravity; share of its size by which an object may move."""
STARTS = ("true", "in the air", "shifted")
"""The true placement; every object lifted by up to 0.3 of its size; every object shifted to any
side by 0.1 of its size (standard deviation an axis), so that it floats, sinks or penetrates."""
ROWS = ("as given", "physical terms", "settled", "settled, and on its pieces")


def wrong(kind: str, where: list[Transform], sizes: list[float], number: int) -> list[Transform]:
    """A wrong start of a scene."""
    rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
    out = []
    for place, size in zip(where, sizes):
        if kind == "in the air":
            off = np.array([0.0, rng.uniform(0, 0.3) * size, 0.0])
        elif kind == "shifted":
            off = rng.normal(0, 0.1 * size, 3)
        else:
            off = np.zeros(3)
        out.append(Transform(place.scale, place.rotation, place.translation + off))
    return out


def moves(simulation: Simulation, seconds: float = SECONDS) -> list[float]:
    """How far every object's box moved in the solver, as shares of the sizes."""
    import mujoco

    asset = Asset.scene({b.name: Node(b.meshes, b.where) for b in simulation.bodies})
    files = write_mjcf(replace(asset, simulation=simulation), "scene.xml")
    model = mujoco.MjModel.from_xml_string(files.pop("scene.xml").decode(), files)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    boxes = []
    for body in simulation.bodies:
        points = np.concatenate([m.vertices for m in body.meshes.values()])
        low, high = points.min(0), points.max(0)
        corners = [
            [x, y, z]
            for x in (low[0], high[0])
            for y in (low[1], high[1])
            for z in (low[2], high[2])
        ]
        boxes.append((np.array(corners), float((high - low).max())))

    def places() -> list[np.ndarray]:
        return [
            data.xpos[k] + box @ data.xmat[k].reshape(3, 3).T for k, (box, _) in enumerate(boxes, 1)
        ]

    first = places()
    while data.time < seconds:
        mujoco.mj_step(model, data)
    return [
        float(np.linalg.norm(b - a, axis=1).max() / size)
        for a, b, (_, size) in zip(first, places(), boxes)
    ]


def simulation_of(
    nodes: dict[str, Node], pieces: dict[str, Pieces], floor: float, on_pieces: bool
) -> Simulation:
    """The bodies of placed objects; `on_pieces`: settled on them first, as `export --settle`."""
    bodies = [rigid_body(k, n, pieces[k], SimulationConfig()) for k, n in nodes.items()]
    if on_pieces:
        found = settle([solid_of(b) for b in bodies], [Pose.of(b.where) for b in bodies], floor)
        for body, pose in zip(bodies, found.poses):
            body.where = pose.transform()
    return Simulation(bodies, floor, SimulationConfig().friction)


def by_terms(scene: PlacedScene, caption: str) -> None:
    """What the physical terms of the placement make of a scene, without a picture."""
    config = PlacementConfig(guidance="none")
    said = read_scene(caption, world_at_hand().vocabulary)
    stage = placement_stage(scene, said, [], prior=None, config=config)
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("placement", lambda _: stage)]
    )


def write(line: dict[str, Any]) -> None:
    """Keep a row."""
    runs("standing.jsonl").parent.mkdir(parents=True, exist_ok=True)
    with open(runs("standing.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
    shown = {k: [round(m, 4) for m in v] if k == "moves" else v for k, v in line.items()}
    print(shown, flush=True)


def toybox(number: int, done: set[tuple]) -> None:
    """All missing rows of a toybox scene."""
    # Placements by the soft terms alone are slow, and begin where the others are worst.
    wanted = [(s, r) for s in STARTS for r in ROWS if r != "physical terms" or s == "shifted"]
    missing = [(s, r) for s, r in wanted if ("toybox", number, s, r) not in done]
    if not missing:
        return
    drawn = world_at_hand().draw_layout(SEED, number, "test")
    said = read_scene(drawn.caption, drawn.words).objects
    named = [drawn.words.describe(o.phrases[0]) for o in drawn.objects]
    order = [named.index(phrase) for phrase in said]
    names = [f"{k} {said[k]}" for k in range(len(order))]
    bodies = [Body({"m": coloured_mesh(drawn.objects[k])}) for k in order]
    true = [drawn.placements[k] for k in order]
    floor = min(float(t.apply(b.vertices)[:, 1].min()) for t, b in zip(true, bodies))
    sizes = [float(np.ptp(b.vertices, axis=0).max()) * t.scale for t, b in zip(true, bodies)]
    pieces = {k: convex_pieces(list(b.meshes.values())) for k, b in zip(names, bodies)}
    camera = reference_camera(3.0, 40.0, 20.0, 64, 64).camera_to_world[0]
    for start, row in missing:
        scene = PlacedScene(bodies, names, wrong(start, true, sizes, number), camera, "axis")
        began, falls = time.perf_counter(), None
        if row == "physical terms":
            by_terms(scene, drawn.caption)
        elif row.startswith("settled"):
            falls = stand(scene, floor=floor).falls
        level = floor
        if row == "physical terms":
            # The terms know no floor of their own but the largest object's.
            level = min(
                float(t.apply(b.vertices)[:, 1].min()) for t, b in zip(scene.transforms(), bodies)
            )
        nodes = {k: Node(b.meshes, t) for k, b, t in zip(names, bodies, scene.transforms())}
        made = simulation_of(nodes, pieces, level, row.endswith("pieces"))
        took = time.perf_counter() - began
        write(
            {
                "table": "toybox",
                "scene": number,
                "start": start,
                "row": row,
                "caption": drawn.caption,
                "moves": moves(made),
                "said to fall": falls,
                "seconds": took,
            }
        )


FILES = ("bowl.ply", "crate.obj", "knot.glb", "robot.glb", "teapot.obj")


def imported(number: int, done: set[tuple]) -> None:
    """Three meshes of assets/meshes with poses in a file, Z up and in centimetres, through the
    command line."""
    missing = [r for r in ("as given", "settled") if ("imported", number, "file", r) not in done]
    if not missing:
        return
    rng = np.random.Generator(np.random.Philox(key=[SEED + 1, number]))
    folder = runs("standing") / "imported" / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = [ROOT / "assets" / "meshes" / FILES[k] for k in rng.permutation(len(FILES))[:3]]
    rows, at = [], 0.0
    for place, file in enumerate(files):
        points = np.concatenate([m.vertices for m in Asset.load(file).meshes.values()]).astype(
            float
        )
        extent = float(np.ptp(points, axis=0).max())
        scale = float(rng.uniform(20, 40)) / extent
        # Side by side, a little into each other, and at heights that are not sure.
        low = points.min(0) * scale
        shift = [at - low[0], -low[1] + rng.normal(0, 3.0), float(rng.normal(0, 3.0))]
        at += float(np.ptp(points[:, 0])) * scale * 0.95
        if place == 2:
            shift = [float(rng.normal(10, 3)), 25.0 + rng.normal(0, 3.0), 0.0]
        # From +Y up to +Z up.
        half = math.sqrt(0.5)
        rows.append(
            {
                "name": f"{place} {file.stem}",
                "translation": [float(v) for v in (shift[0], -shift[2], shift[1])],
                "rotation": [half, half, 0.0, 0.0],
                "scale": scale,
            }
        )
    poses = folder / "poses.json"
    poses.write_text(json.dumps({"up": "z", "unit": "cm", "quaternion": "wxyz", "objects": rows}))
    for row in missing:
        out = folder / row.replace(" ", "-")
        settings = ["--place.stand", "true" if row == "settled" else "false"]
        code = command_line(
            [
                *("compose", "--objects", *map(str, files), "--poses", str(poses)),
                *("--out", str(out), *settings, "--no-turntable", "--quiet"),
            ]
        )
        if code:
            raise SystemExit(code)
        line = measured(out / "asset.glb", "imported", number, "file", row)
        write({**line, "said to fall": said_to_fall(out)})


def said_to_fall(folder: Path) -> list[str] | None:
    """The objects of which a run said that they do not stand; None where it did not look."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    found = next((e["falls over"] for e in events if e["event"] == "standing"), None)
    return None if found is None else [] if found == "nothing" else found.split(", ")


def measured(path: Path, kind: str, number: int, start: str, row: str) -> dict[str, Any]:
    """A row of a scene in a file."""
    nodes = objects_of(Asset.load(path))
    pieces = {k: convex_pieces(list(n.meshes.values())) for k, n in nodes.items()}
    points = [n.transform.apply(m.vertices) for n in nodes.values() for m in n.meshes.values()]
    floor = min(float(p[:, 1].min()) for p in points)
    made = simulation_of(nodes, pieces, floor, on_pieces=row == "settled")
    return {
        "table": kind,
        "scene": number,
        "start": start,
        "row": row,
        "caption": ", ".join(nodes),
        "moves": moves(made),
    }


def pictures(number: int, done: set[tuple]) -> None:
    """A toybox scene from its picture and prompt alone, by `compose`."""
    from compose import Truth
    from PIL import Image

    missing = [r for r in ("as given", "settled") if ("pictures", number, "picture", r) not in done]
    if not missing:
        return
    truth = Truth(world_at_hand().draw_layout(SEED, number, "test"))
    folder = runs("standing") / "pictures" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((truth.picture * 255).round().astype(np.uint8)).save(folder / "scene.png")
    for row in missing:
        out = folder / row.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        settings = ["--place.stand", "true" if row == "settled" else "false"]
        code = command_line(
            [
                *("compose", str(folder / "scene.png"), truth.text.prompt),
                *("--out", str(out), *settings, "--no-turntable", "--quiet"),
            ]
        )
        if code:
            write(
                {
                    "table": "pictures",
                    "scene": number,
                    "start": "picture",
                    "row": row,
                    "caption": truth.text.prompt,
                    "moves": [1.0],
                    "refused": True,
                }
            )
            continue
        line = measured(out / "asset.glb", "pictures", number, "picture", row)
        write({**line, "said to fall": said_to_fall(out)})


def wilson(good: int, count: int) -> str:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, good / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return f"{max(middle - half, 0):.2f} to {min(middle + half, 1):.2f}"


TITLES = {
    "toybox": "True objects from wrong starts",
    "imported": "Imported objects with poses in a file (`compose --poses`, `export --settle`)",
    "pictures": "From picture and prompt alone (`compose`, `export --settle`)",
}


def _of_those_said_to_stand(some: list[dict[str, Any]]) -> str:
    """How many scenes stand of those of which nothing was said to fall."""
    sure = [x for x in some if x.get("said to fall") == []]
    if not sure:
        return ""
    return f"{sum(max(x['moves']) <= MOST for x in sure)} of {len(sure)}"


def report(command: str) -> None:
    """Write the tables of what was measured."""
    lines = kept("standing.jsonl")
    cutter = "CoACD" if has_coacd() else "one convex hull a part"
    text = (
        f"Two seconds of gravity in MuJoCo, friction 0.7, one unit a metre, pieces by {cutter}. A "
        f"scene stands if no corner of any object's box moved by more than {MOST:.0%} of its size. "
        "Intervals: 95 %, Wilson.\n\n"
    )
    for kind, title in TITLES.items():
        own = [x for x in lines if x["table"] == kind]
        if not own:
            continue
        rows = []
        for start, row in dict.fromkeys((x["start"], x["row"]) for x in own):
            some = [x for x in own if (x["start"], x["row"]) == (start, row)]
            good = sum(max(x["moves"]) <= MOST for x in some)
            each = np.concatenate([x["moves"] for x in some])
            rows.append(
                [
                    start,
                    row,
                    len(some),
                    f"{good / len(some):.2f}",
                    wilson(good, len(some)),
                    f"{(each <= MOST).mean():.2f} of {len(each)}",
                    f"{np.median([max(x['moves']) for x in some]):.4f}",
                    _of_those_said_to_stand(some),
                ]
            )
        header = ["start", "placed", "scenes", "stand", "interval", "objects that stay"]
        header += ["median of the farthest move", "stand, of those said to"]
        text += f"## {title}\n\n{table(header, rows)}\n\n"
        falls = [
            f"{x['caption']} ({x['start']}, {max(x['moves']):.2f})"
            for x in own
            if x["row"] == ("settled, and on its pieces" if kind == "toybox" else "settled")
            and max(x["moves"]) > MOST
        ]
        if falls:
            text += "Settled, and moved all the same: " + "; ".join(falls) + ".\n\n"
    publish("standing", "Scenes that stand", command, text.rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=30)
    add_world(parser)
    parser.add_argument("--imported", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.fresh:
        runs("standing.jsonl").unlink(missing_ok=True)
    done: set[tuple] = set()
    if runs("standing.jsonl").is_file():
        for line in kept("standing.jsonl"):
            done.add((line["table"], line["scene"], line["start"], line["row"]))
    if not arguments.report:
        for number in range(arguments.scenes):
            toybox(number, done)
        for number in range(arguments.imported):
            imported(number, done)
        for number in range(arguments.pictures):
            pictures(number, done)
    said = [f"--scenes {arguments.scenes}", f"--imported {arguments.imported}"]
    if arguments.pictures:
        said.append(f"--pictures {arguments.pictures}")
    report(f"python benchmarks/standing.py {' '.join(said)}")


if __name__ == "__main__":
    main()
