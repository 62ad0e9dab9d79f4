"""The multi-object gap: toybox scenes as one object by `reconstruct`, and object by object by
`compose` (true boxes and masks), by how many objects there are and how much of one is hidden.

Both results are brought into the unit sphere and turned about the vertical as fits the truth best.
Resumable: every finished scene and way is a line of outputs/benchmark/object_gap.jsonl; objects are
those of benchmarks/compose.py.

Run: python benchmarks/object_gap.py [--scenes 24] [--whole cisp g3dr] [--method cisp]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from compose import Truth, hidden_share, reconstructed, scenes, started, variant
from PIL import Image
from tables import ROOT, interval, publish, table
from worlds import add_world, kept, runs

from threestudio_like import load_prior
from threestudio_like.commands.jobs.reconstruct import InputImage, reconstruct_image
from threestudio_like.commands.reconstruct import Reconstruct
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.meshes.frames import Normalisation
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.meshes.transform import Transform
from threestudio_like.meshes.verification import psnr
from threestudio_like.metrics.point_sets import f_score, voxel_iou
from threestudio_like.priors.clip import load_clip
from threestudio_like.priors.diffusion import DiffusionPrior
from threestudio_like.renderers import Cameras, SceneRenderer
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.runs.options import AssetOptions, RunOptions
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.scene.placement import (
    ReferencePicture,
    placement_stage,
    scene_pictures,
)

COMPOSED = "compose"
LEVEL, EDGE = 0.85, 96


def whole(number: int, truth: Truth, method: str) -> PlacedScene:
    """The picture reconstructed as if it showed one object."""
    folder = runs("compose") / "objects" / f"{method}-{number}-whole"
    if not (folder / "report.html").is_file():
        pixels = np.concatenate([truth.picture, truth.mask[..., None]], -1).astype(np.float32)
        shutil.rmtree(folder, ignore_errors=True)
        options = Reconstruct(
            system=method,
            prompt=truth.text.prompt,
            asset=AssetOptions(turntable=False),
            run=RunOptions(out=folder, quiet=True),
        )
        photo = photo_of(pixels, "x", {})
        picture = InputImage(photo=photo, source="x", name="x", content=str(number))
        reconstruct_image(options, lambda: picture)
    return truth.with_meshes([Body(read(folder / "asset.glb").meshes)], [Transform()])


def composed(number: int, truth: Truth, method: str, prior: DiffusionPrior) -> PlacedScene:
    """The picture object by object, placed as `compose` does."""
    depth, order = truth.estimate()
    bodies, seen = reconstructed(number, truth, method, prior, order)
    _, ground = started(truth, bodies, seen, order)
    scene, config = truth.with_meshes(bodies, ground), variant("default + physical")
    picture, mask = torch.from_numpy(truth.picture), torch.from_numpy(truth.mask)
    reference = ReferencePicture(picture, mask, truth.camera, torch.from_numpy(depth).float())
    stage = placement_stage(scene, truth.text, truth.text.words, prior, config, reference, order)
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("placement", lambda _: stage)]
    )
    return scene


def one_mesh(scene: PlacedScene) -> Mesh:
    """All of a scene, in the unit sphere."""
    points = scene.vertices().detach().numpy()
    return Mesh(Normalisation.of(points).apply(points), scene.tri.numpy())


def surface(mesh: Mesh, count: int = 2048) -> np.ndarray:
    """Points (count, 3) of a mesh's surface, by area."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    rng = np.random.Generator(np.random.Philox(key=0))
    pick = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return (
        corners[pick, 0]
        + u * (corners[pick, 1] - corners[pick, 0])
        + v * (corners[pick, 2] - corners[pick, 0])
    )


def turned(mesh: Mesh, degrees: float) -> Mesh:
    """A mesh turned about the vertical, in the unit sphere."""
    points = Transform.turn(math.radians(degrees)).apply(mesh.vertices)
    return Mesh(Normalisation.of(points).apply(points), mesh.faces)


def unit_pictures(scene: PlacedScene, degrees: float) -> np.ndarray:
    """Pictures (4, S, S, 3) of a scene in the unit sphere, turned."""
    points = Transform.turn(math.radians(degrees)).apply(scene.vertices().detach().numpy())
    place = Normalisation.of(points)
    normal = Transform(place.scale, translation=-place.centre * place.scale)
    turn = Transform.turn(math.radians(degrees))
    moved = [normal.after(turn.after(t)) for t in scene.transforms()]
    other = PlacedScene(
        scene.bodies,
        scene.names,
        moved,
        torch.eye(4) + torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3.0], [0, 0, 0, 0]]),
    )
    angles = torch.deg2rad(torch.tensor([-75.0, -35.0, 35.0, 75.0]))
    cameras = Cameras.orbit(
        angles, torch.full((4,), math.radians(20.0)), 3.0, math.radians(40.0), EDGE, EDGE
    )
    return scene_pictures(other, SceneRenderer(), cameras, LEVEL)


def figures(scene: PlacedScene, truth: Truth) -> dict[str, float]:
    """What is measured of a result."""
    mesh, true = one_mesh(scene), one_mesh(truth.placed)
    wanted = voxelise(true)
    scores = {15.0 * k: voxel_iou(voxelise(turned(mesh, 15.0 * k)), wanted) for k in range(24)}
    best = max(scores, key=lambda k: scores[k])
    scores.update(
        {
            best + off: voxel_iou(voxelise(turned(mesh, best + off)), wanted)
            for off in (-10, -5, 5, 10)
        }
    )
    best = max(scores, key=lambda k: scores[k])
    ours, theirs = unit_pictures(scene, best), unit_pictures(truth.placed, 0.0)
    solid = (np.abs(ours - LEVEL).max(-1) > 0.01) | (np.abs(theirs - LEVEL).max(-1) > 0.01)
    clip = load_clip()
    with torch.no_grad():
        looks = [clip.embed_images(torch.from_numpy(p)) for p in (ours, truth.picture[None])]
    return {
        "IoU": scores[best],
        "F-score": f_score(surface(turned(mesh, best)), surface(true)),
        "novel PSNR": psnr(ours, theirs, solid),
        "CLIP": float((looks[0] @ looks[1].t()).mean()),
        "turn": best,
    }


MEASURED = ("IoU", "F-score", "novel PSNR", "CLIP")


def report(ways: list[str], command: str) -> None:
    """Tables by number of objects and by occlusion, all ways on the same scenes; pictures."""
    lines = {(x["scene"], x["way"]): x for x in kept("object_gap.jsonl")}
    numbers = [n for n in sorted({n for n, _ in lines}) if all((n, w) in lines for w in ways)]
    groups = {"all": numbers}
    groups.update(
        {
            f"{k} objects": [n for n in numbers if lines[n, ways[0]]["objects"] == k]
            for k in (2, 3, 4)
        }
    )
    groups["at most a tenth of any hidden"] = [
        n for n in numbers if lines[n, ways[0]]["hidden"] <= 0.1
    ]
    groups["more hidden"] = [n for n in numbers if lines[n, ways[0]]["hidden"] > 0.1]
    rows, gaps = [], []
    for name, some in groups.items():
        if not some:
            continue
        for way in ways:
            rows.append(
                [
                    name,
                    len(some),
                    way,
                    *(float(np.mean([lines[n, way][m] for n in some])) for m in MEASURED),
                ]
            )
        for way in ways[1:]:
            off = [lines[n, ways[0]]["IoU"] - lines[n, way]["IoU"] for n in some]
            low, high = interval(off)
            gaps.append([name, way, float(np.mean(off)), f"{low:+.3f} to {high:+.3f}"])
    text = table(["scenes", "number", "way", *MEASURED], rows)
    text += (
        "\n\nIoU of `compose` less that of the whole picture's reconstruction, scene by scene:\n\n"
    )
    text += table(["scenes", "against", "difference", "95 % interval"], gaps)
    shown = [p for n in numbers[:8] if (p := runs("compose") / "gap" / f"{n}.png").is_file()]
    if shown:
        sheet = np.concatenate([np.asarray(Image.open(p).convert("RGB")) for p in shown], 0)
        Image.fromarray(sheet).save(ROOT / "docs" / "pictures" / "object-gap.jpg", quality=85)
        text += (
            "\n\n![scenes](../pictures/object-gap.jpg)\n\nThe picture; then two novel views "
            "each of the truth, "
        )
        text += (
            "of `compose`, and of the whole picture by "
            f"{' and by '.join(w.removeprefix('whole, ') for w in ways[1:])}."
        )
    publish("object_gap", "Several objects at once, or one by one", command, text)


def strip(truth: Truth, scenes_: list[PlacedScene], turns: list[float], path: Path) -> None:
    """The picture, then two novel views of each."""
    cells = [
        np.asarray(Image.fromarray((truth.picture * 255).astype(np.uint8)).resize((EDGE, EDGE)))
    ]
    for scene, turn in zip(scenes_, turns):
        cells += [(p * 255).round().astype(np.uint8) for p in unit_pictures(scene, turn)[[0, 2]]]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(cells, 1)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=24)
    add_world(parser)
    parser.add_argument(
        "--whole", nargs="+", default=["cisp", "g3dr"], choices=["cisp", "g3dr", "optimise"]
    )
    parser.add_argument("--method", default="cisp", choices=["cisp", "g3dr", "optimise"])
    arguments = parser.parse_args()
    ways = [COMPOSED, *(f"whole, {m}" for m in arguments.whole)]
    runs("object_gap.jsonl").parent.mkdir(parents=True, exist_ok=True)
    known = {(x["scene"], x["way"]): x for x in kept("object_gap.jsonl")}
    prior = load_prior("toybox")
    for number in scenes(arguments.scenes):
        if all((number, w) in known for w in ways):
            continue
        truth, made = Truth.of(number), []
        for way in ways:
            began = time.perf_counter()
            if way == COMPOSED:
                made.append(composed(number, truth, arguments.method, prior))
            else:
                made.append(whole(number, truth, way.removeprefix("whole, ")))
            if (number, way) not in known:
                facts = {
                    "objects": len(truth.meshes),
                    "hidden": hidden_share(number),
                    "seconds": time.perf_counter() - began,
                }
                known[number, way] = {
                    "scene": number,
                    "way": way,
                    **facts,
                    **figures(made[-1], truth),
                }
                with open(runs("object_gap.jsonl"), "a") as file:
                    file.write(json.dumps(known[number, way]) + "\n")
                print(
                    {
                        k: round(v, 3) if isinstance(v, float) else v
                        for k, v in known[number, way].items()
                    },
                    flush=True,
                )
        turns = [0.0, *(known[number, w]["turn"] for w in ways)]
        strip(truth, [truth.placed, *made], turns, runs("compose") / "gap" / f"{number}.png")
    report(ways, f"python benchmarks/object_gap.py --scenes {arguments.scenes}")


if __name__ == "__main__":
    main()
