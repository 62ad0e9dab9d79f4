"""ComboVerse on scenes whose truth is known: where objects end, by what moved them; with true
meshes and with reconstructed ones.

A fixed world of toybox scenes (two to four objects, six relations, objects that hide each other),
seen from the front and above by the embedded prior's camera. Boxes and masks are the true ones,
depths are the embedded estimator's. Resumable: every finished run is a line of
outputs/benchmark/compose.jsonl.

Run: python benchmarks/compose.py [--scenes 100] [--rows init reference ...] [--meshes true
    reconstructed] [--fresh]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tables import interval, publish, table
from worlds import add_world, kept, runs, world_at_hand

from threestudio_like import load_prior
from threestudio_like.commands.jobs.reconstruct import InputImage, reconstruct_image
from threestudio_like.commands.reconstruct import Reconstruct
from threestudio_like.engine.config import update
from threestudio_like.engine.errors import UserError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.guidance.physical import PhysicalTerms
from threestudio_like.guidance.spatial import SpatialConfig
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Mesh, join
from threestudio_like.meshes.transform import Transform
from threestudio_like.meshes.verification import psnr
from threestudio_like.metrics.layout import (
    depth_order_accuracy,
    least_turn,
    penetration_volume,
    placement_errors,
    relation_holds,
)
from threestudio_like.priors.clip import load_clip
from threestudio_like.priors.diffusion import DiffusionPrior
from threestudio_like.priors.inpainter import LatentBlending
from threestudio_like.renderers import Cameras, SceneRenderer
from threestudio_like.renderers.backgrounds import BackgroundSample
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.runs.options import AssetOptions, RunOptions
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.scene.amodal_completion import CompletionConfig, complete, uncompleted
from threestudio_like.systems.scene.layout import (
    Seen,
    initial_transform,
    mask_iou,
    on_the_ground,
    own_masks,
    reference_camera,
)
from threestudio_like.systems.scene.objects import object_of
from threestudio_like.systems.scene.parts import Part, mask_box
from threestudio_like.systems.scene.picture import Canvas, completed_box, scene_depth
from threestudio_like.systems.scene.placement import (
    PlacementConfig,
    ReferencePicture,
    bonds_of,
    placement_stage,
    scene_pictures,
)
from threestudio_like.systems.scene.prompt import SceneText, read_scene
from threestudio_like.systems.scene.segmentation import grow_boxes, hidden_by
from threestudio_like.toybox.coloured import coloured_mesh
from threestudio_like.toybox.scenes import ToyScene

SEED, SIZE, ELEVATION, SMALLEST = 3001, 160, 20.0, 120
"""World seed; pixels of a picture; degrees by which it looks down; pixels that must be visible of
every object."""


def variant(name: str) -> PlacementConfig | None:
    """The configuration of a row; None for the first placement alone."""
    if name in ("init", "init + ground"):
        return None
    kind, _, _ = name.partition(" + physical")
    config = PlacementConfig(guidance="none")
    if not name.endswith("+ physical"):
        config = update(config, {"weights": {"physical": 0.0}})
    if kind == "depth":
        config = update(config, {"weights": {"depth": 200.0}})
    spans = {
        "sds": ("0.02", "0.98"),
        "ssds": ("0.8", "0.9"),
        "ssds uniform": ("0.02", "0.98"),
        "ssds low": ("0.02", "0.2"),
    }
    if kind in spans:
        low, high = spans[kind]
        spatial = update(SpatialConfig(), {"score": {"t_min": low, "t_max": high}})
        config = replace(config, guidance="sds" if kind == "sds" else "ssds", spatial=spatial)
    if kind == "default":
        config = replace(config, guidance="ssds")
    return config


ROWS = ["init", "reference", "depth", "sds", "ssds uniform", "ssds low", "ssds", "default"]
ALL_ROWS = ["init", "init + ground", *(f"{r}{p}" for r in ROWS[1:] for p in ("", " + physical"))]
"""The paper's rows with its noise times and c = 25; "default" is what `compose` does on the
embedded prior."""


def scenes(count: int) -> list[int]:
    """The first `count` scene numbers of the world in which every object is seen."""
    path = runs("compose") / "scenes.json"
    known = json.loads(path.read_text()) if path.is_file() else {"looked": 0, "good": []}
    while len(known["good"]) < count:
        number = known["looked"]
        truth = Truth.of(number)
        known["looked"] += 1
        if min(int((s.mask > 0.5).sum()) for s in truth.seen) >= SMALLEST:
            known["good"].append(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))
    return known["good"][:count]


class Truth:
    """A scene with all that is known of it."""

    def __init__(self, scene: ToyScene) -> None:
        self.scene = scene
        self.camera = reference_camera(3.0, 40.0, ELEVATION, SIZE, SIZE)
        said = read_scene(scene.caption, scene.words)
        # In the order of the prompt.
        names = [scene.words.describe(o.phrases[0]) for o in scene.objects]
        order = [names.index(phrase) for phrase in said.objects]
        self.text: SceneText = said
        self.meshes = [coloured_mesh(scene.objects[k]) for k in order]
        self.where = [scene.placements[k] for k in order]
        self.placed = self.with_meshes([Body({"m": m}) for m in self.meshes], self.where)
        with torch.no_grad():
            shape = (1, SIZE, SIZE, 3)
            shown = SceneRenderer().render(
                self.placed, self.camera, BackgroundSample(torch.full(shape, 0.85))
            )
        self.picture, self.mask = shown.features[0].numpy(), shown.opacity[0, ..., 0].numpy()
        visible, alone = own_masks(self.placed, self.camera)
        self.seen = [
            Seen(mask_box(a.float().numpy()), v.float().numpy(), 3.0)
            for v, a in zip(visible, alone)
        ]
        self.extent = float(np.ptp(self.placed.vertices().detach().numpy(), axis=0).max())

    @staticmethod
    def of(number: int) -> Truth:
        return Truth(world_at_hand().draw_layout(SEED, number, "test"))

    def with_meshes(self, bodies: list[Body], where: list) -> PlacedScene:
        names = [str(n) for n in range(len(bodies))]
        return PlacedScene(bodies, names, where, self.camera.camera_to_world[0])

    def estimate(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """The estimated depth of the picture, and who hides whom by it."""
        parts = [Part("", s.mask.astype(np.float32), s.box) for s in self.seen]
        depth = scene_depth(Canvas.of(self.picture, "x"), parts, "toybox", 3.0, 40.0)
        for part, seen in zip(parts, self.seen):
            seen.depth = float(np.median(depth[part.mask > 0.5]))
        return depth, hidden_by(parts, depth, self.text)


def reconstructed(
    number: int, truth: Truth, method: str, prior: DiffusionPrior, order: list[tuple[int, int]]
) -> tuple[list[Body], list[Seen]]:
    """Bodies of the objects, each completed and reconstructed as `compose` does from what is seen
    of it (masks are the true ones), and what the picture then tells of each; kept on disk."""
    config = CompletionConfig()
    inpainter = LatentBlending(prior, config.inpaint)
    parts = [
        Part(p, s.mask.astype(np.float32), mask_box(s.mask))
        for p, s in zip(truth.text.objects, truth.seen)
    ]
    grow_boxes(parts, order, 0.35)
    bodies, seen = [], []
    for k, part in enumerate(parts):
        others = np.max([p.mask for j, p in enumerate(parts) if j != k], 0) > 0.5
        hidden = any(back == k for _, back in order)
        done = (
            complete(truth.picture, part, others, inpainter, None, config, k, True)
            if hidden
            else uncompleted(truth.picture, part, config)
        )
        folder = runs("compose") / "objects" / f"{method}-{number}-{k}"
        if not (folder / "report.html").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            options = Reconstruct(
                system=method,
                prompt=part.phrase,
                asset=AssetOptions(turntable=False),
                run=RunOptions(out=folder, quiet=True),
            )
            photo = photo_of(done.pixels.astype(np.float32), "x", {})
            picture = InputImage(
                photo=photo, source="x", name="x", content=str(number), prior=prior
            )
            try:
                reconstruct_image(options, lambda picture=picture: picture)
            except UserError as error:
                raise SystemExit(f"scene {number}, object {k}: {error.line()}") from None
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        shape = next(e for e in events if e["event"] == "shape")
        one = object_of(read(folder / "asset.glb"), str(k), shape["azimuth"])
        bodies.append(one.body)
        seen.append(
            Seen(completed_box(done), truth.seen[k].mask, truth.seen[k].depth, -one.azimuth)
        )
    return bodies, seen


def started(
    truth: Truth, bodies: list[Body], seen: list[Seen], order: list[tuple[int, int]]
) -> tuple[list[Transform], list[Transform]]:
    """The first placement, by box, mask and depth; and with the feet on one floor."""
    start = [initial_transform(b, s, truth.camera) for b, s in zip(bodies, seen)]
    supported = {r.subject: r.object for r in truth.text.relations if r.kind == "on"}
    feet = [n for n in range(len(bodies)) if n not in {b for _, b in order}]
    return start, on_the_ground(bodies, start, truth.camera, supported, feet)


def figures(truth: Truth, scene: PlacedScene, clip: object) -> dict[str, Any]:
    """Everything that is measured of a placement."""
    found, eye = scene.transforms(), truth.camera.camera_to_world[0, :3, 3].double().numpy()
    out: dict[str, Any] = placement_errors(found, truth.where, truth.extent, eye)
    out["depth order"] = depth_order_accuracy(found, truth.where, eye)
    points = [t.apply(b.vertices) for t, b in zip(found, scene.bodies)]
    kept = [
        relation_holds(r.kind, points[r.subject], points[r.object]) for r in truth.text.relations
    ]
    out["relations"] = float(np.mean(kept))
    visible, _ = own_masks(scene, truth.camera)
    out["reference IoU"] = float(
        np.mean(
            [mask_iou(v.numpy().astype(np.float32), s.mask) for v, s in zip(visible, truth.seen)]
        )
    )
    drawn = scene_pictures(scene, SceneRenderer(), truth.camera, 0.85)[0]
    out["reference PSNR"] = psnr(drawn, truth.picture, truth.mask > 0.5)
    angles = torch.deg2rad(torch.tensor([-75.0, -35.0, 35.0, 75.0]))
    novel = Cameras.orbit(
        angles, torch.full((4,), math.radians(20.0)), 3.0, math.radians(40.0), 96, 96
    )
    ours, theirs = (scene_pictures(s, SceneRenderer(), novel, 0.85) for s in (scene, truth.placed))
    solid = (np.abs(ours - 0.85).max(-1) > 0.01) | (np.abs(theirs - 0.85).max(-1) > 0.01)
    out["novel PSNR"] = psnr(ours, theirs, solid)
    with torch.no_grad():
        one = clip.embed_images(torch.from_numpy(truth.picture)[None])  # type: ignore[attr-defined]
        out["CLIP"] = float((clip.embed_images(torch.from_numpy(ours)) @ one.t()).mean())  # type: ignore[attr-defined]
    meshes = [Mesh(p, join(list(b.meshes.values())).faces) for p, b in zip(points, scene.bodies)]
    true = [Mesh(t.apply(m.vertices), m.faces) for t, m in zip(truth.where, truth.meshes)]
    out["turns"] = [least_turn(m, t) for m, t in zip(meshes, true)]
    shared = [
        penetration_volume(meshes[i], meshes[j]) for i in range(len(meshes)) for j in range(i)
    ]
    out["penetration"] = max(shared)
    physics = PhysicalTerms(scene, bonds_of(truth.text), [], PlacementConfig().physical)
    out["floating"] = (
        float(np.mean([physics.floating(n) for n in range(len(scene))])) / truth.extent
    )
    return out


def work(
    number: int, rows: list[str], kinds: list[str], method: str, prior: DiffusionPrior, done: set
) -> None:
    """All missing rows of a scene."""
    wanted = [(row, kind) for kind in kinds for row in rows if (number, row, kind) not in done]
    if not wanted:
        return
    clip, truth = load_clip(), Truth.of(number)
    depth, order = truth.estimate()
    for kind in dict.fromkeys(k for _, k in wanted):
        if kind == "true":
            bodies, seen = [Body({"m": m}) for m in truth.meshes], truth.seen
        else:
            bodies, seen = reconstructed(number, truth, method, prior, order)
        start, ground = started(truth, bodies, seen, order)
        for row in (r for r, k in wanted if k == kind):
            first = start if row == "init" else ground
            scene, began = truth.with_meshes(bodies, first), time.perf_counter()
            config = variant(row)
            if config is not None:
                reference = ReferencePicture(
                    torch.from_numpy(truth.picture),
                    torch.from_numpy(truth.mask),
                    truth.camera,
                    torch.from_numpy(depth).float(),
                )
                stage = placement_stage(
                    scene, truth.text, truth.text.words, prior, config, reference, order
                )  # type: ignore[arg-type]
                Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
                    [StagePlan("placement", lambda _, s=stage: s)]
                )
            line = {
                "scene": number,
                "row": row,
                "meshes": kind,
                "objects": len(bodies),
                "caption": truth.text.prompt,
                "seconds": time.perf_counter() - began,
                **figures(truth, scene, clip),
            }
            with open(runs("compose.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
            print(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}, flush=True
            )


COLUMNS = (
    "translation",
    "depth",
    "across",
    "scale",
    "rotation",
    "depth order",
    "relations",
    "reference IoU",
    "reference PSNR",
    "novel PSNR",
    "CLIP",
    "penetration",
    "floating",
    "seconds",
)
SPREAD = ("translation", "depth", "scale", "rotation")
"""Of these the median and the 90th percentile are told, of all others the mean."""


PAIRS = [
    ("ssds", "sds"),
    ("ssds uniform", "sds"),
    ("default", "sds"),
    ("default", "reference"),
    ("default + physical", "reference + physical"),
    ("ssds + physical", "sds + physical"),
]
"""Rows that are compared scene by scene."""
HIDDEN = 0.1
"""Share of an object that another one hides from which on the reference view is called
ambiguous."""


def hidden_share(number: int) -> float:
    """The largest share of an object that others hide."""
    truth = Truth.of(number)
    visible, alone = own_masks(truth.placed, truth.camera)
    return max(1 - float(v.sum()) / max(float(a.sum()), 1) for v, a in zip(visible, alone))


def report(kinds: list[str], command: str) -> None:
    """The tables of everything that was measured; all rows of a table are of the same scenes."""
    lines = kept("compose.jsonl")
    shares = {n: hidden_share(n) for n in {x["scene"] for x in lines}}
    text = ""
    for kind in kinds:
        found = {(x["scene"], x["row"]): x for x in lines if x["meshes"] == kind}
        every = [r for r in ALL_ROWS if any(row == r for _, row in found)]
        most = max(sum(row == r for _, row in found) for r in every)
        # First what was measured on most scenes, then all rows where all were.
        rows = [r for r in every if sum(row == r for _, row in found) == most]
        numbers = scenes_of(found, rows)
        text += (
            f"## With {kind} meshes\n\n{len(numbers)} scenes; median / 90th percentile, else "
            "means.\n\n"
        )
        text += (
            table(
                ["moved by", *COLUMNS], [[r, *cells([found[n, r] for n in numbers])] for r in rows]
            )
            + "\n\n"
        )
        text += turns_of(found, every)
        few = scenes_of(found, every)
        if rows != every and few:
            text += f"All rows on {len(few)} of them:\n\n"
            text += (
                table(
                    ["moved by", *COLUMNS], [[r, *cells([found[n, r] for n in few])] for r in every]
                )
                + "\n\n"
            )
        hard = [
            n for n in numbers if shares[n] >= HIDDEN and in_front(found[n, rows[0]]["caption"])
        ]
        if len(hard) < 3:
            continue
        text += (
            f"{len(hard)} of them are ambiguous: one object stands before another and hides at "
            f"least {HIDDEN:.0%} of it.\n\n"
        )
        rows_hard = []
        for r in rows:
            some = [found[n, r] for n in hard]
            low, high = interval([x["depth"] for x in some])
            means = [
                float(np.mean([x[c] for x in some])) for c in ("depth", "depth order", "relations")
            ]
            rows_hard.append([r, means[0], f"{low:.3f} to {high:.3f}", *means[1:]])
        text += (
            table(
                ["moved by", "depth error", "95 % interval", "depth order", "relations"], rows_hard
            )
            + "\n\n"
        )
        compared = []
        for one, two in PAIRS:
            if one in rows and two in rows:
                for name, some in (("all", numbers), ("ambiguous", hard)):
                    off = [found[n, one]["depth"] - found[n, two]["depth"] for n in some]
                    low, high = interval(off)
                    compared.append(
                        [one, two, name, float(np.mean(off)), f"{low:+.3f} to {high:+.3f}"]
                    )
        text += "Scene by scene, the first row's depth error less the second's:\n\n"
        text += (
            table(["row", "against", "scenes", "difference", "95 % interval"], compared) + "\n\n"
        )
    publish("compose", "Where objects of a scene end", command, text)


def turns_of(found: dict[tuple[int, str], dict], rows: list[str]) -> str:
    """How far objects are turned from the truth as far as their shapes tell, by rows; of the scenes
    for which that was measured."""
    lines = []
    for row in rows:
        turns = np.array([t for (_, r), x in found.items() if r == row for t in x.get("turns", [])])
        if len(turns):
            right = float((turns <= 20).mean())
            lines.append(
                [row, len(turns), float(np.median(turns)), float(np.quantile(turns, 0.9)), right]
            )
    if not lines:
        return ""
    said = (
        "Rotation as far as shapes tell it, degrees (the least turn about the vertical that "
        "brings a mesh on the true one):\n\n"
    )
    return (
        said
        + table(["moved by", "objects", "median", "90th percentile", "within 20"], lines)
        + "\n\n"
    )


def scenes_of(found: dict[tuple[int, str], dict], rows: list[str]) -> list[int]:
    """The scenes in which all these rows were measured."""
    return [n for n in sorted({n for n, _ in found}) if all((n, r) in found for r in rows)]


def in_front(caption: str) -> bool:
    """Whether a caption says that one object stands before another."""
    return " in front of " in caption or " behind " in caption


def cells(some: list[dict]) -> list:
    """A row's values by `COLUMNS`."""
    out: list = []
    for column in COLUMNS:
        values = np.array([x[column] for x in some])
        if column in SPREAD:
            out.append(f"{np.median(values):.3f} / {np.quantile(values, 0.9):.3f}")
        else:
            out.append(float(values.mean()))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=100)
    add_world(parser)
    parser.add_argument("--rows", nargs="+", default=ALL_ROWS, choices=ALL_ROWS)
    parser.add_argument(
        "--meshes", nargs="+", default=["true", "reconstructed"], choices=["true", "reconstructed"]
    )
    parser.add_argument("--method", default="cisp", choices=["cisp", "g3dr", "optimise"])
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure these rows again where their turns are not known",
    )
    parser.add_argument(
        "--report", action="store_true", help="only write the tables of what was measured"
    )
    arguments = parser.parse_args()
    if arguments.fresh:
        runs("compose.jsonl").unlink(missing_ok=True)
    runs("compose.jsonl").parent.mkdir(parents=True, exist_ok=True)
    done = set()
    if runs("compose.jsonl").is_file():
        lines = kept("compose.jsonl")
        done = {
            (x["scene"], x["row"], x["meshes"])
            for x in lines
            if not arguments.again or "turns" in x
        }
    if arguments.report:
        report(arguments.meshes, "python benchmarks/compose.py")
        return
    prior = load_prior("toybox")
    for number in scenes(arguments.scenes):
        work(number, arguments.rows, arguments.meshes, arguments.method, prior, done)
    report(arguments.meshes, f"python benchmarks/compose.py --scenes {arguments.scenes}")


if __name__ == "__main__":
    main()
