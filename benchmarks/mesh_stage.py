"""What the mesh stage makes of a shape, by the measures of eyes: with and without it.

oracle: true views of toybox objects (colours, silhouettes, depth, normals from 24 sides) and a
coarse start, the marching cubes of 40^3 voxels; held-out views tell how like the truth it is.
finished: runs of `generate` that are there already, each against the most alike of 60 true objects
of its prompt; the stage is run on the field that the run ended with.

Run: python benchmarks/mesh_stage.py oracle [--kinds flexicubes remeshing] [--steps 150]
     python benchmarks/mesh_stage.py finished outputs/one outputs/two
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tables import ROOT, publish, table

from threestudio_like.commands.jobs.opening import open_model
from threestudio_like.engine.config import set_dotted
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.kernels import antialias, edge_table, interpolate, rasterize
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.picture import render_asset
from threestudio_like.meshes.surface.voxels import to_mesh, voxelise
from threestudio_like.metrics.pictured import normal_error, pinholes
from threestudio_like.metrics.seen import Seen
from threestudio_like.metrics.solid import bumpiness, creases, flatness, genus_right
from threestudio_like.renderers import BackgroundSample, Cameras, RingCameras
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.representations import VoxelGridConfig
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.surfaces import ShapeConfig, SurfaceTerms
from threestudio_like.runs.options import PriorOptions
from threestudio_like.runs.prior import load_prior
from threestudio_like.runs.record import read_record
from threestudio_like.stages.field_to_mesh import AssetConfig, make_asset
from threestudio_like.stages.mesh import (
    MeshModel,
    MeshStageConfig,
    MeshStart,
    TargetConfig,
    mesh_stage,
)
from threestudio_like.stages.mesh.config import MeshRates
from threestudio_like.stages.model import FieldModel
from threestudio_like.toybox.coloured import coloured_mesh
from threestudio_like.toybox.vocabulary import Phrase, parse
from threestudio_like.toybox.world import build

FOLDER = ROOT / "outputs" / "benchmark" / "mesh_stage"
OBJECTS = (
    Phrase("chair", "red"),
    Phrase("table", "brown"),
    Phrase("house", "green"),
    Phrase("mug", "blue"),
    Phrase("car", "yellow"),
    Phrase("lamp", "purple"),
)
MEASURES = (
    *("PSNR, dB", "normal error, °", "creases found", "creases right", "unevenness, %"),
    *("bumpiness, °", "genus right", "silhouette IoU", "pinholes"),
)


def true_object(phrase: Phrase, seed: int = 3) -> Mesh:
    """A toybox object with the colours of its vertices."""
    return coloured_mesh(build(phrase, np.random.default_rng(seed), "test"))


def true_views(mesh: Mesh) -> Any:
    """Renders a mesh with vertex colours, as the mesh stage's renderer does."""
    points, tri = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    assert mesh.colours is not None
    colours = torch.from_numpy(mesh.colours)[:, :3].float()
    corner = points[tri.long()]
    unit = torch.nn.functional.normalize(
        torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), dim=-1
    )
    edges = edge_table(tri, points)

    def teacher(cameras: Cameras) -> Rendering:
        ones = torch.ones_like(points[:, :1])
        clip = torch.cat([points, ones], 1) @ cameras.view_projection().transpose(1, 2)
        pixels = rasterize(clip.contiguous(), tri, cameras.height, width=cameras.width)
        hit = (pixels[..., 3:] > 0).float()
        place = interpolate(points, tri, pixels)
        depth = (place - cameras.camera_to_world[:, None, None, :3, 3]).norm(dim=-1, keepdim=True)
        normals = unit[(pixels[..., 3].long() - 1).clamp_min(0)]
        shown = torch.cat([interpolate(colours, tri, pixels), hit, depth, normals], -1) * hit
        shown = antialias(shown, pixels, clip, edges)
        parts = shown.split([3, 1, 1, 3], -1)
        return Rendering(parts[0], parts[1], parts[2], background=parts[0] * 0, normals=parts[3])

    return teacher


def union(truth: Mesh) -> Mesh:
    """The outer surface of overlapping parts, fine enough for its handles."""
    found = to_mesh(voxelise(truth, 96).astype(np.float32))
    assert found is not None
    return found


def measured(mesh: Mesh, truth: Mesh, figures: dict[str, float]) -> dict[str, float]:
    """The measures of a mesh against the true one."""
    ring = [RingCameras(count=6, elevation=e).all(256) for e in (20.0, 50.0)]
    seen = [(Seen.of(mesh, cameras), Seen.of(truth, cameras)) for cameras in ring]
    mean = lambda measure: float(np.mean([measure(a, b) for a, b in seen]))  # noqa: E731
    recall, precision = creases(mesh, truth)
    return {
        **figures,
        "normal error, °": mean(normal_error),
        "creases found": recall,
        "creases right": precision,
        "unevenness, %": 100 * flatness(mesh, truth)[0],
        "bumpiness, °": bumpiness(mesh, truth),
        "genus right": genus_right(mesh, union(truth)),
        "silhouette IoU": mean(
            lambda a, b: np.logical_and(a.mask, b.mask).sum() / np.logical_or(a.mask, b.mask).sum()
        ),
        "pinholes": mean(pinholes),
    }


def likeness(model: MeshModel, teacher: Any) -> float:
    """PSNR in dB over 8 held-out views of 256 pixels before grey, where either shows the object."""
    cameras = Cameras.orbit(
        torch.arange(8) * 0.7 + 0.2,
        torch.tensor([-0.2, 0.1, 0.4, 0.7] * 2),
        3.0,
        fov_y=math.radians(40),
        height=256,
        width=256,
    )
    with torch.no_grad():
        black = BackgroundSample(torch.zeros(8, 256, 256, 3))
        mesh = model.surface.surface()
        own = model.renderer.render(mesh, cameras, black, appearance=model.appearance)
        true = teacher(cameras)
    grey = [r.features + 0.5 * (1 - r.opacity) for r in (own, true)]
    where = ((own.opacity > 0) | (true.opacity > 0))[..., 0]
    return float(-10 * (grey[0] - grey[1])[where].square().mean().log10())


def sheet(meshes: dict[str, Asset], name: str) -> None:
    """Lit and clay pictures of some assets beside each other."""
    ring = RingCameras(count=3, elevation=25.0).all(288).view_projection().numpy()
    rows = []
    for asset in meshes.values():
        lit = render_asset(asset, ring, 288, background=0.96).image
        clay = Asset({k: replace(m, colours=None, texture=None) for k, m in asset.meshes.items()})
        bare = Asset(
            {k: Mesh(m.vertices, m.faces, normals=m.normals) for k, m in clay.meshes.items()}
        )
        matt = render_asset(bare, ring, 288, background=0.96).image
        rows.append(np.concatenate([*lit, *matt], 1))
    FOLDER.mkdir(parents=True, exist_ok=True)
    picture = (np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(picture).save(FOLDER / f"{name}.png")


def run_stage(stage: Any, seed: int = 0) -> float:
    """Run one stage; seconds a step."""
    began = time.monotonic()
    Loop(None, Events(None, "quiet"), LoopSettings(seed=seed)).run(
        [StagePlan(stage.name, lambda done: stage)]
    )
    return (time.monotonic() - began) / stage.steps


def oracle_config(kind: str, steps: int) -> MeshStageConfig:
    """Nothing but true views: also their normals."""
    return MeshStageConfig(
        steps=steps,
        shape=ShapeConfig(kind=kind),
        targets=TargetConfig(views=24, batch=3, size=160, normals="20"),
        terms=SurfaceTerms(creases="1", smoothness="0.3", deviation="0.3", sign_changes="0.1->0"),
        rates=MeshRates(
            sdf="0.1->0.01", deform="0.03->0.005", weights="0.03->0.005", voxels="0.3->0.02"
        ),
        colours=FieldConfig(voxels=VoxelGridConfig(size=96, smooth=0.0)),
        colour_variation="0.02",
    )


def oracle(kinds: list[str], steps: int, objects: list[str]) -> list[dict[str, Any]]:
    """Every object by every kind of surface, from true views."""
    rows = []
    for phrase in OBJECTS:
        if objects and phrase.category not in objects:
            continue
        truth = true_object(phrase)
        coarse = to_mesh(voxelise(truth, 40).astype(np.float32))
        assert coarse is not None
        teacher = true_views(truth)
        shown = {"truth": Asset({"o": truth}), "before": Asset({"o": coarse.with_normals()})}
        before = measured(coarse, truth, {"PSNR, dB": float("nan")})
        rows.append({"object": phrase.category, "shape": "before", **before})
        for kind in kinds:
            config = oracle_config(kind, steps)
            stage = mesh_stage(
                "mesh",
                config,
                MeshStart(partial(Mesh, coarse.vertices, coarse.faces), teacher=teacher),
            )
            each = run_stage(stage)
            found: Any = stage.modules
            model = MeshModel(found["surface"], found["appearance"], found["renderer"])
            psnr = likeness(model, teacher)
            mesh = model.surface.mesh()
            own = measured(mesh, truth, {"PSNR, dB": psnr})
            rows.append({"object": phrase.category, "shape": kind, **own, "s a step": each})
            shown[kind] = model.to_asset(AssetConfig(texture=512), 9, "o", {})[0]
            print(json.dumps(rows[-1]), flush=True)
        sheet(shown, f"oracle-{phrase.category}")
    return rows


def nearest_truth(mesh: Mesh, prompt: str, count: int = 60) -> Mesh:
    """Of `count` true objects of a prompt, the one whose silhouettes are most alike."""
    phrase = parse(prompt)[0]
    cameras = RingCameras(count=4, elevation=20.0).all(64)
    mask = Seen.of(mesh, cameras).mask
    best, most = None, -1.0
    for seed in range(count):
        truth = true_object(phrase, seed)
        other = Seen.of(truth, cameras).mask
        iou = float((mask & other).sum() / (mask | other).sum())
        if iou > most:
            best, most = truth, iou
    assert best is not None
    return best


def finished(folders: list[Path], config: MeshStageConfig) -> list[dict[str, Any]]:
    """The mesh stage on the fields of finished runs."""
    rows = []
    for folder in folders:
        record = read_record(folder)
        prompt, prior = str(record.facts["prompt"]), load_prior(PriorOptions(), "cpu")
        field: Any = open_model(folder, prior)
        assert isinstance(field, FieldModel)
        before = make_asset(field, AssetConfig(), 1, "o", {})[0]
        truth = nearest_truth(before.mesh, prompt)
        name = prompt.replace(" ", "-")
        rows.append({"object": prompt, "shape": "before", **measured(before.mesh, truth, {})})
        print(json.dumps(rows[-1]), flush=True)
        stage = mesh_stage(
            "mesh", config, MeshStart.of_field(field, config.extraction), prompt=prompt, prior=prior
        )
        each = run_stage(stage)
        model = MeshModel.of(stage, prior.facts.camera or field)  # type: ignore[arg-type]
        after = model.to_asset(AssetConfig(), 1, "o", {})[0]
        rows.append(
            {
                "object": prompt,
                "shape": "after",
                **measured(after.mesh, truth, {}),
                "s a step": each,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        sheet({"truth": Asset({"o": truth}), "before": before, "after": after}, f"run-{name}")
    return rows


def told(rows: list[dict[str, Any]]) -> str:
    """The rows and their means by shape."""
    head = ["object", "shape", *MEASURES, "s a step"]
    # NaN: a shape that no one has coloured has no PSNR.
    rows = [{k: v for k, v in row.items() if v == v} for row in rows]
    body = [[row.get(key, "") for key in head] for row in rows]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        own = [row for row in rows if row["shape"] == shape]
        means = [
            float(np.mean(values)) if (values := [r[k] for r in own if k in r]) else ""
            for k in head[2:]
        ]
        body.append(["mean", shape, *means])
    return table(head, body)


def main() -> None:
    """Run one of the two and publish its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("oracle", "finished"))
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["flexicubes", "remeshing"])
    parser.add_argument("--objects", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--set", nargs="+", default=[], help="key=value of the stage")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "oracle":
        rows = oracle(options.kinds, options.steps, options.objects)
    else:
        config = MeshStageConfig(steps=options.steps)
        for text in options.set:
            config = set_dotted(config, *text.split("=", 1))
        rows = finished(options.folders, config)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{options.what}.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    parts = {}
    for kind in ("oracle", "finished"):
        if (FOLDER / f"{kind}.json").is_file():
            parts[kind] = told(json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8")))
    titles = {"oracle": "True views", "finished": "Runs of `generate`"}
    body = "\n\n".join(f"## {titles[k]}\n\n{text}" for k, text in parts.items())
    publish("mesh_stage", "The mesh stage", "python benchmarks/mesh_stage.py", body)


if __name__ == "__main__":
    main()
