"""`compose` end to end: a picture and a prompt, nothing else. Scenes of the toybox, and scenes of
the second world, which another generator makes and another renderer draws, with floors and shadows.

Every scene is made by the command itself, in a process of its own; nothing is left out, and one
that the command refuses counts as found, held and overlapping nowhere. Shapes are measured upright
in the unit sphere, each alone, as it stands in the scene and at its best turn about the vertical;
the whole scene as it stands. The floor is another object of the category, in its place.

Resumable: outputs/benchmark/whole_scenes/lines.jsonl.

Run: python benchmarks/whole_scenes.py [--second 60] [--own 40] [--share 1/2]   (two processes)
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tables import ROOT, commit, interval, publish, table
from worlds import add_share, add_world, kept, runs, share_of, world_at_hand

from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Mesh, join
from threestudio_like.metrics.layout import relation_holds
from threestudio_like.systems.scene.layout import own_masks, reference_camera
from threestudio_like.systems.scene.prompt import SceneText, read_scene

SEED, SIZE, ELEVATION = 9001, 256, (8.0, 30.0)
FOUND = 0.5
"""IoU with the true box from which a thing counts as found."""
SEEN = 120
"""Pixels of the square from which a thing is seen."""
PATTERNS = ("checked", "striped", "dotted")
NAMES = {"own": "the toybox", "second": "the second world"}
Line = dict[str, Any]


@dataclass
class Case:
    """A scene: its picture (H, W, 3) uint8, prompt and what it says, the things' meshes in the
    prompt's order, and others of their categories; degrees by which the camera looks down, its
    distance, and the vertical field of view of the picture as a square."""

    pixels: np.ndarray
    prompt: str
    text: SceneText
    meshes: list[Mesh]
    others: list[Mesh]
    elevation: float
    distance: float = 3.0
    fov: float = 40.0

    def boxes(self) -> list[np.ndarray]:
        """Where every thing would be seen if it stood alone: x0, y0, x1, y1 in pixels of the
        picture as a square."""
        found = [np.argwhere(mask) for mask in self._masks()[1]]
        return [np.concatenate([a.min(0)[::-1], a.max(0)[::-1] + 1]) for a in found]

    def least_seen(self) -> int:
        """Pixels of the picture, as a square, that show the thing of which least is seen."""
        return int(self._masks()[0].sum((1, 2)).min())

    def _masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Where every thing is seen, and would be if it stood alone, (N, H, W) bool."""
        from threestudio_like.meshes.transform import Transform
        from threestudio_like.representations import Body, PlacedScene

        edge = max(self.pixels.shape[:2])
        camera = reference_camera(self.distance, self.fov, self.elevation, edge, edge)
        names = [str(k) for k in range(len(self.meshes))]
        bodies = [Body({"m": m}) for m in self.meshes]
        still = [Transform() for _ in bodies]
        scene = PlacedScene(bodies, names, still, camera.camera_to_world[0])
        with torch.no_grad():
            visible, alone = own_masks(scene, camera)
        return visible.numpy(), alone.numpy()


def _angle(index: int) -> tuple[np.random.Generator, float]:
    rng = np.random.Generator(np.random.Philox(key=[SEED + 7, index]))
    return rng, float(rng.uniform(*ELEVATION))


def second(index: int) -> Case:
    """A scene of the second world."""
    from second_world.measure import mesh_of
    from second_world.render import Light, render
    from second_world.scenes import compose
    from second_world.shapes import make

    scene = compose(SEED, index)
    rng, elevation = _angle(index)
    angles = np.zeros(1), np.deg2rad([elevation])
    drawn = render(scene.whole(), *angles, SIZE, Light.draw(rng), scene.floor, 2, 3, index).image[0]
    names = [_known(thing.name) for thing in scene.things]
    text, order = read_in_order(_known(scene.caption), names, read_scene)
    things = [scene.things[k] for k in order]
    others = [mesh_of(make(t.category, t.colour, "plain", rng)) for t in things]
    meshes = [mesh_of(t) for t in things]
    return Case(_flat(drawn, rng), scene.caption, text, meshes, others, elevation)


def _known(text: str) -> str:
    """A text without patterns that the model at hand has no word for, as the command reads it."""
    for pattern in PATTERNS:
        if pattern not in world_at_hand().vocabulary.words:
            text = re.sub(rf"\ban? {pattern} (?=[aeiou])", "an ", text)
            text = re.sub(rf"\b{pattern} ", "", text)
    return text


def own(index: int) -> Case:
    """A scene of held-out objects of the toybox."""
    from threestudio_like.toybox.coloured import coloured_mesh
    from threestudio_like.toybox.render import render, view_projection

    world = world_at_hand()
    scene = world.draw_layout(SEED, index, "test")
    rng, elevation = _angle(index)
    cameras = view_projection(0.0, math.radians(elevation))[None]
    views = render(scene.whole(), cameras, SIZE, np.zeros((1, 3), np.float32))
    alpha = views.mask[0, ..., None]
    drawn = np.concatenate([views.image[0] / np.maximum(alpha, 1e-3), alpha], -1)
    names = [scene.words.describe(o.phrases[0]) for o in scene.objects]
    text, order = read_in_order(scene.caption, names, partial(read_scene, vocabulary=scene.words))
    placed = [
        replace(mesh, vertices=t.apply(mesh.vertices).astype(np.float32), normals=None)
        for mesh, t in zip(map(coloured_mesh, scene.objects), scene.placements)
    ]
    kinds = list(world.vocabulary.categories)
    numbers = [kinds.index(scene.objects[k].phrases[0].category) for k in order]
    others = [world.draw(SEED, n + 50 * len(kinds), "test") for n in numbers]
    return Case(
        _flat(drawn, rng),
        scene.caption,
        text,
        [placed[k] for k in order],
        [Mesh(o.vertices, o.faces) for o in others],
        elevation,
    )


WORLDS: dict[str, Callable[[int], Case]] = {"second": second, "own": own}


def read_in_order(
    caption: str, names: Sequence[str], reader: Callable[[str], SceneText]
) -> tuple[SceneText, list[int]]:
    """What a caption says, and which of the things its phrases are about."""
    said = reader(caption)
    bare = [name.split(" ", 1)[1] if name.startswith(("a ", "an ")) else name for name in names]
    order = [
        next(k for k, name in enumerate(bare) if phrase.endswith(name)) for phrase in said.objects
    ]
    return said, order


def _flat(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A drawing (S, S, 4) before a grey, (S, S, 3) uint8."""
    level = float(rng.uniform(0.6, 0.95))
    flat = drawn[..., :3] * drawn[..., 3:] + level * (1 - drawn[..., 3:])
    return np.rint(flat.clip(0, 1) * 255).astype(np.uint8)


def composed(case: Case, folder: Path) -> Line:
    """Run the command; its exit code, last words and CPU seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    picture = folder.with_suffix(".png")
    Image.fromarray(case.pixels).save(picture)
    words = ["compose", str(picture), case.prompt, "--out", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "threestudio_like", *words], capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    doubts = sum("is doubtful" in line for line in said)
    last = said[-1] if said else ""
    return {"code": done.returncode, "said": last, "doubts": doubts, "CPU seconds": spent}


def measured(case: Case, folder: Path) -> Line:
    """The figures of a scene that was made."""
    events = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    told = [e for e in events if e["event"] == "object"]
    meshes = read(folder / "asset.glb").meshes
    made = [meshes[e["name"]] for e in told]
    figures = json.loads((folder / "work" / "finished.json").read_text())["figures"]
    boxes = [np.array(e["box"]) for e in told]
    held = [
        relation_holds(r.kind, made[r.subject].vertices, made[r.object].vertices)
        for r in case.text.relations
    ]
    shapes = [overlap(m, t) for m, t in zip(made, case.meshes)]
    floors = [overlap(o, t)[1] for o, t in zip(case.others, case.meshes)]
    return {
        "found": [float(_box_iou(a, b) > FOUND) for a, b in zip(boxes, case.boxes())],
        "relation": [float(h) for h in held],
        "order": ordered(made, case),
        "straight": [s[0] for s in shapes],
        "turned": [s[1] for s in shapes],
        "floor": floors,
        "whole": overlap(join(made), join(case.meshes))[0],
        "elevation": abs(figures["camera: elevation, degrees"] - case.elevation),
    }


def overlap(mesh: Mesh, truth: Mesh) -> tuple[float, float]:
    """Volume IoU of two things, each in the unit sphere: as they stand, and at the best turn."""
    from by_default import upright
    from second_world.measure import best_turn

    straight, turned, _ = best_turn(upright(mesh), upright(truth))
    return straight, turned


def _box_iou(one: np.ndarray, two: np.ndarray) -> float:
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2])) - shared)


def ordered(made: list[Mesh], case: Case) -> list[float]:
    """Of every two things, whether the nearer one is the nearer one."""
    slope = math.radians(case.elevation)
    back = np.array([0, math.sin(slope), math.cos(slope)])
    near = [
        [float((m.vertices.min(0) + m.vertices.max(0)) / 2 @ back) for m in meshes]
        for meshes in (made, case.meshes)
    ]
    pairs = [(i, j) for i in range(len(made)) for j in range(i)]
    return [float((near[0][i] > near[0][j]) == (near[1][i] > near[1][j])) for i, j in pairs]


def known(name: str = "whole_scenes") -> dict[tuple[str, int], Line]:
    """The scenes that are there."""
    return {(x["world"], x["index"]): x for x in kept(f"{name}/lines.jsonl")}


def made_of(case: Case, world: str, index: int, name: str = "whole_scenes") -> None:
    """Compose a scene, and keep what came of it."""
    out = runs(name) / world / f"{index:03d}"
    line: Line = {"world": world, "index": index, "prompt": case.prompt}
    line["things"], line["relations"] = len(case.meshes), len(case.text.relations)
    line |= {"commit": commit(), "least seen": case.least_seen()}
    line |= composed(case, out)
    if line["code"] == 0:
        line |= measured(case, out)
    with open(runs(name) / "lines.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    print(world, index, line["prompt"], "|", line["said"][:160], flush=True)


def work(counts: dict[str, int], share: tuple[int, int]) -> None:
    """Make what is not there yet, the worlds in turns."""
    there = known()
    jobs = [(n, world) for n in range(max(counts.values())) for world in counts]
    for number, (index, world) in enumerate(jobs):
        skipped = number % share[1] != share[0] - 1 or index >= counts[world]
        if not skipped and (world, index) not in there:
            made_of(WORLDS[world](index), world, index)


MEASURES = {
    "found": "things found",
    "relation": "relations hold",
    "order": "nearer and farther right",
    "straight": "volume IoU, as they stand",
    "turned": "volume IoU, best turn",
}


def shares(line: Line, measure: str) -> float:
    """The mean of a measure over a scene's things, relations or pairs; 0 for one refused."""
    if line["code"] != 0:
        return 0.0
    return float(np.mean(line[measure]))


HEADER = ["scenes of", "n", "made", *MEASURES.values(), "floor of the last"]
HEADER += ["the whole, volume IoU", "elevation, degrees off", "CPU seconds, median"]


def summary(name: str, lines: list[Line]) -> list[Any]:
    """A row of `HEADER` of some scenes."""
    made = [x for x in lines if x["code"] == 0]
    row: list[Any] = [name, len(lines), f"{len(made)} of {len(lines)}"]
    for measure in MEASURES:
        values = [shares(x, measure) for x in lines]
        low, high = interval(values)
        row.append(f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})")
    blank = [math.nan]
    row.append(float(np.mean([np.mean(x["floor"]) for x in made] or blank)))
    row.append(float(np.mean([x.get("whole", 0.0) for x in lines])))
    row.append(float(np.mean([x["elevation"] for x in made] or blank)))
    row.append(float(np.median([x["CPU seconds"] for x in made] or blank)))
    return row


def in_sight(lines: list[Line]) -> str:
    """The same of the scenes in which something is seen of every thing."""
    seen = [x for x in lines if x["least seen"] >= SEEN]
    rows = [summary(told, [x for x in seen if x["world"] == w]) for w, told in NAMES.items()]
    doubted = sum(bool(x["doubts"]) for x in lines if x["code"] == 0)
    return (
        f"Of these, the scenes in which {SEEN} pixels or more of every thing are seen:\n\n"
        f"{table(HEADER, rows)}\n\n{doubted} of all that were made were made with a line that says "
        "which thing is doubtful.\n\n"
    )


def commits(lines: list[Line]) -> str:
    """By which commits the scenes were made; the page may be drawn by a later one."""
    by = Counter(x["commit"] for x in lines)
    told = "; ".join(f"{count} by {name}" for name, count in by.items())
    return f"Scenes made by commit: {told}.\n\n"


def refusals(lines: list[Line]) -> str:
    """The scenes that were refused, and with which words."""
    told = [[x["world"], x["prompt"], x["said"]] for x in lines if x["code"] != 0]
    if not told:
        return ""
    return f"**Refused**, and with which words:\n\n{table(['of', 'prompt', 'said'], told)}\n\n"


def sheet(lines: list[Line], name: str) -> str:
    """Pictures beside what was made of them, as docs/pictures/<name>.jpg."""
    tiles = []
    for line in lines:
        folder = runs(name.replace("-", "_")) / line["world"] / f"{line['index']:03d}"
        preview = Image.open(folder / "preview.png").convert("RGB")
        edge = preview.height // 2
        views = [preview.crop((k * edge, 0, (k + 1) * edge, edge)) for k in (0, 2)]
        given = Image.open(folder.with_suffix(".png")).convert("RGB")
        square = Image.new("RGB", (max(given.size),) * 2, "white")
        square.paste(given, tuple((square.width - v) // 2 for v in given.size))
        tiles.append(
            np.concatenate([np.asarray(p.resize((112, 112))) for p in (square, *views)], 1)
        )
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 3)
    rows = [np.concatenate(tiles[k : k + 3], 1) for k in range(0, len(tiles), 3)]
    path = ROOT / "docs" / "pictures" / f"{name}.jpg"
    Image.fromarray(np.concatenate(rows, 0)).save(path, quality=85)
    return (
        f"![pictures and scenes](../pictures/{name}.jpg)\n\nIn threes: the picture, the scene from "
        "the picture's side, and from its right."
    )


def page(counts: dict[str, int]) -> None:
    """Publish what is there."""
    lines = [x for x in known().values() if x["index"] < counts[x["world"]]]
    by = {world: [x for x in lines if x["world"] == world] for world in counts}
    text = table(HEADER, [summary(NAMES[world], some) for world, some in by.items()]) + "\n\n"
    text += in_sight(lines) + commits(lines) + refusals(lines)
    text += sheet([x for x in lines if x["code"] == 0][:24], "whole-scenes")
    publish(
        "whole_scenes",
        "A picture and a prompt, nothing else",
        f"python benchmarks/whole_scenes.py --second {counts['second']} --own {counts['own']}",
        text,
        samples=[{k: v for k, v in x.items() if k != "said"} for x in lines],
        frame={"n": " and ".join(f"{len(some)} scenes of {NAMES[w]}" for w, some in by.items())},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--second", type=int, default=60)
    parser.add_argument("--own", type=int, default=40)
    add_share(parser)
    add_world(parser)
    arguments = parser.parse_args()
    counts = {"second": arguments.second, "own": arguments.own}
    one, every = share_of(arguments)
    if not arguments.page:
        work(counts, (one, every))
    if every == 1:
        page(counts)


if __name__ == "__main__":
    main()
