"""What the steps of a placement do to a scene: by the truth, and by gravity.

The scenes are those that `compose` made of a picture and a prompt alone (whole_scenes.py, whose
runs have to be there): of each world the first ones that it did not refuse. Three rows are of the
same runs: where the objects stood after the first step, where the last one left them, and where
they stand in the file. With --anew two more are placed again with the same objects, as files, under
the camera that the run had found: without the physical terms and without the last step, and without
distillation.

Gravity is MuJoCo's, two seconds, as in standing.py; pieces by CoACD where it is installed.

Resumable: outputs/benchmark/scene_steps.jsonl.

Run: python benchmarks/scene_steps.py [--count 15] [--anew] [--share 1/2]   (two processes)
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from standing import MOST, moves, simulation_of
from tables import interval, publish, resampled, table
from whole_scenes import NAMES, WORLDS, Case, known, ordered, overlap
from worlds import add_share, add_world, kept, runs, share_of

from threestudio_like.cli import main as command_line
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh, Node, join
from threestudio_like.meshes.physics.pieces import Pieces, convex_pieces, has_coacd
from threestudio_like.meshes.transform import Transform
from threestudio_like.metrics.layout import relation_holds
from threestudio_like.runs.kept import read_model

ROWS = {
    "first": "after the first step",
    "placed": "placed",
    "stood": "placed, and made to stand (the default)",
    "no physics": "without physical terms, not made to stand",
    "no distillation": "without distillation, made to stand",
}
ANEW = {
    "no physics": ("--place.weights.physical", "0", "--place.stand", "false"),
    "no distillation": ("--place.guidance", "none"),
}
MEASURES = {
    "relation": "relations hold",
    "order": "nearer and farther right",
    "whole": "the whole, volume IoU",
    "reference": "outlines in the picture, mean IoU of each",
}
Line = dict[str, Any]
Placed = dict[str, tuple[dict[str, Mesh], Transform]]
"""Of every object by its name the meshes, and where they stand."""


def scenes(count: int) -> list[tuple[str, int]]:
    """The first scenes of each world that were made."""
    made = sorted(key for key, line in known().items() if line["code"] == 0)
    return [key for world in WORLDS for key in [k for k in made if k[0] == world][:count]]


def names_of(folder: Path) -> list[str]:
    """The names of a run's objects, in the prompt's order."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [e["name"] for e in events if e["event"] == "object"]


def standing(folder: Path) -> Placed:
    """The scene as its file has it."""
    nodes = read(folder / "asset.glb").nodes
    return {name: (nodes[name].meshes, nodes[name].transform) for name in names_of(folder)}


def on_the_way(folder: Path, row: int) -> Placed:
    """The scene as a row of the placement's path has it."""
    path = read_model(folder / "work")[0]["placement/module/path/rows"][row].double().numpy()
    return {
        name: (meshes, Transform(float(p[0]), p[1:5] / np.linalg.norm(p[1:5]), p[5:8]))
        for (name, (meshes, _)), p in zip(standing(folder).items(), path, strict=True)
    }


def placed_anew(folder: Path, prompt: str, row: str, out: Path) -> None:
    """Place a run's objects once more, turned as they were found."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    events = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    turns = {e["name"]: e["azimuth"] or 0.0 for e in events if e["event"] == "reconstructed"}
    figures = json.loads((folder / "work" / "finished.json").read_text())["figures"]
    files = []
    for name in names_of(folder):
        turn = Transform.turn(-turns[name])
        asset = read(folder / "objects" / name / "asset.glb")
        turned = {
            k: replace(m, vertices=turn.apply(m.vertices), normals=None)
            for k, m in asset.meshes.items()
        }
        files.append(out / f"{name}.glb")
        Asset(turned).save(files[-1])
    camera = ("--elevation", str(figures["camera: elevation, degrees"]))
    camera += ("--fov", str(figures["camera: field of view, degrees"]))
    words = ["compose", str(folder.with_suffix(".png")), prompt, "--objects", *map(str, files)]
    code = command_line(
        [*words, "--out", str(out / "run"), *camera, *ANEW[row], "--no-turntable", "--quiet"]
    )
    if code:
        raise SystemExit(code)


def figures_of(placed: Placed, pieces: dict[str, Pieces], case: Case, stood: bool) -> Line:
    """The figures of a scene. `stood`: also settled on its convex pieces, as export does it."""
    nodes = {name: Node(meshes, where) for name, (meshes, where) in placed.items()}
    made = [
        replace(whole, vertices=where.apply(whole.vertices), normals=None)
        for whole, where in ((join(list(m.values())), t) for m, t in placed.values())
    ]
    floor = min(float(m.vertices[:, 1].min()) for m in made)
    return {
        "relation": [
            float(relation_holds(r.kind, made[r.subject].vertices, made[r.object].vertices))
            for r in case.text.relations
        ],
        "order": ordered(made, case),
        "whole": overlap(join(made), join(case.meshes))[0],
        "moves": moves(simulation_of(nodes, pieces, floor, on_pieces=stood)),
    }


def rows_of(anew: bool) -> list[str]:
    """The rows of a page."""
    return [row for row in ROWS if anew or row not in ANEW]


def work(count: int, share: tuple[int, int], anew: bool) -> None:
    """Measure what is not measured yet."""
    path = runs("scene_steps.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    there = {(x["world"], x["index"], x["row"]) for x in kept("scene_steps.jsonl")}
    for number, (world, index) in enumerate(scenes(count)):
        missing = [row for row in rows_of(anew) if (world, index, row) not in there]
        if number % share[1] != share[0] - 1 or not missing:
            continue
        case, folder = WORLDS[world](index), runs("whole_scenes") / world / f"{index:03d}"
        now = standing(folder)
        pieces = {name: convex_pieces(list(m.values())) for name, (m, _) in now.items()}
        for row in missing:
            run, placed = folder, now
            if row in ANEW:
                out = runs("scene_steps") / world / f"{index:03d}" / row.replace(" ", "-")
                placed_anew(folder, case.prompt, row, out)
                run, placed = out / "run", standing(out / "run")
            elif row != "stood":
                placed = on_the_way(folder, 0 if row == "first" else -1)
            line = {"world": world, "index": index, "row": row, "prompt": case.prompt}
            line |= figures_of(placed, pieces, case, row in ("stood", "no distillation"))
            figures = json.loads((run / "work" / "finished.json").read_text())["figures"]
            if row != "placed":
                # The figure of the first placement is from before its first step.
                told = "reference: mean IoU of each" + (", first" if row == "first" else "")
                line["reference"] = figures[told]
            with open(path, "a") as file:
                file.write(json.dumps(line) + "\n")
        print(world, index, case.prompt, flush=True)


def value(line: Line, measure: str) -> float:
    """A measure of a scene: the mean over its relations or pairs."""
    if measure == "stands":
        return float(max(line["moves"]) <= MOST)
    return float(np.mean(line.get(measure, math.nan)))


def page(count: int, anew: bool) -> None:
    """Publish what is there."""
    chosen = rows_of(anew)
    lines = {(x["world"], x["index"], x["row"]): x for x in kept("scene_steps.jsonl")}
    whole = [s for s in scenes(count) if all((*s, row) in lines for row in chosen)]
    measures = {**MEASURES, "stands": "scenes that stand"}
    text = (
        f"Pieces by {'CoACD' if has_coacd() else 'one convex hull a part'}; a scene stands if no "
        f"corner of any object's box moved by more than {MOST:.0%} of its size in two seconds.\n\n"
    )
    for world, name in NAMES.items():
        own = [s for s in whole if s[0] == world]
        if not own:
            continue
        rows = []
        for row in chosen:
            line: list[Any] = [ROWS[row]]
            for measure in measures:
                values = [value(lines[*s, row], measure) for s in own]
                low, high = interval(values)
                shown = f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"
                line.append("" if np.isnan(values).any() else shown)
            each = np.concatenate([lines[*s, row]["moves"] for s in own])
            rows.append([*line, f"{(each <= MOST).mean():.2f} of {len(each)}"])
        header = ["", *measures.values(), "objects that stay"]
        text += f"**{len(own)} scenes of {name}**\n\n{table(header, rows)}\n\n"
    text += f"Differences over all {len(whole)} scenes, each with its 95 %:\n\n"
    rows = []
    for one, two in (("placed", "first"), ("stood", "first"), ("stood", "placed")):
        rows.append(difference(lines, whole, one, two, measures))
    for other in ANEW if anew else ():
        rows.append(difference(lines, whole, "stood", other, measures))
    text += table(["", *measures.values()], rows)
    samples = [lines[*s, row] for s in whole for row in chosen]
    publish(
        "scene_steps",
        "What the steps of a placement do",
        f"python benchmarks/scene_steps.py --count {count}{' --anew' if anew else ''}",
        text,
        samples=samples,
        frame={"n": f"{len(whole)} scenes that `compose` made, in {len(chosen)} states each"},
    )


def difference(
    lines: dict[tuple[str, int, str], Line],
    whole: list[tuple[str, int]],
    one: str,
    two: str,
    measures: dict[str, str],
) -> list[Any]:
    """A row: by how much a state is above another one."""
    row: list[Any] = [f"{ROWS[one]}, less: {ROWS[two]}"]
    for measure in measures:
        off = np.array(
            [value(lines[*s, one], measure) - value(lines[*s, two], measure) for s in whole]
        )
        if np.isnan(off).any():
            row.append("")
            continue
        low, high = resampled(lambda pick, v=off: float(v[pick].mean()), len(off), 3)
        row.append(f"{off.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=15, help="scenes of each world")
    parser.add_argument("--anew", action="store_true", help="two more rows, placed again")
    add_share(parser)
    add_world(parser)
    arguments = parser.parse_args()
    one, every = share_of(arguments)
    if not arguments.page:
        work(arguments.count, (one, every), arguments.anew)
    if every == 1:
        page(arguments.count, arguments.anew)


if __name__ == "__main__":
    main()
