"""Volumes behind pictures: what one pass of G3DR and the relief make of held-out toybox pictures,
and of the second world's (another generator, renderer and light, ordinary proportions), closed by a
guess and by the back that the depth estimator has learnt; with what true depths closed
in the same ways would give, and floors that know nothing of the picture's depth.

Two measures on 32^3 cells, both after the shape and the truth have been brought to one size. In
the camera's frame, where the pose has no say; and upright, turned to the front by the truth, where
the camera's elevation has: one that is off tilts the shape.

Shapes of G3DR are turned upright by the true elevation, but in the rows that say otherwise.

Run: python benchmarks/backs.py [--count 60] [--second 60] [--before FOLDER] [--search]

--before: folder of an earlier depth estimator, for rows beside the shipped one. --search: a row
with the elevation that the diffusion prior finds, which costs ten seconds a picture.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import ROOT, interval, publish, table
from verdict_cases import SEED, WORLDS, Case, volume_iou
from worlds import add_world, world_at_hand

PICTURE = ROOT / "docs" / "pictures" / "backs.jpg"
ROWS = 8
"""Pictures of each world on the sheet."""
SHOWN = {
    "toybox": "{} held-out toybox pictures of 160 pixels",
    "second world": "{} pictures of the second world, of 192 pixels",
}
"""Both worlds, and how the page calls their pictures."""
Shape = tuple[Any, float]
"""A shape as it was found, and the elevation in radians that it is turned upright by."""


class Work:
    """One picture and everything that is made of it."""

    def __init__(self, world: str, index: int) -> None:
        from threestudio_like.systems.image_to_3d.photo import photo_of

        self.world, self.index, self.case = world, index, WORLDS[world](index)
        self.photo = photo_of(self.case.pixels, f"picture {index}", {})
        self.seconds: dict[str, float] = {}

    def searched(self) -> float:
        """The elevation that the diffusion prior's denoising finds, as before there was another."""
        from threestudio_like.priors.loading import load_prior
        from threestudio_like.systems.image_to_3d.caption import guess_caption
        from threestudio_like.systems.image_to_3d.viewpoint import ViewpointConfig, find_viewpoint

        prior = load_prior("toybox")
        size = prior.facts.image_size
        guess = guess_caption(self.photo)
        return find_viewpoint(
            lambda fill: self.photo.framed(size, 0.8, fill),
            0.8,
            guess.text if guess.sure else "",
            prior=prior,
            config=ViewpointConfig(),
        ).elevation

    def estimated(self) -> float:
        """The elevation that the depth estimator says."""
        from threestudio_like.systems.image_to_3d.g3dr import G3drConfig, sides_of

        found = sides_of(self.photo, G3drConfig()).elevation
        assert found is not None
        return found

    def g3dr(self, name: str, depth: str, back: str, elevation: float | None) -> Shape:
        """One pass; without an `elevation` the estimated one."""
        from threestudio_like.systems.image_to_3d import g3dr
        from threestudio_like.systems.image_to_3d.viewpoint import Viewpoint

        config = g3dr.G3drConfig(depth=depth, back=back)  # type: ignore[arg-type]
        began = time.process_time()
        sides = g3dr.sides_of(self.photo, config)
        field = g3dr.planes_of(self.photo, config, sides)
        volume = g3dr.volume_of(field, self.photo, config, sides)
        tilt = elevation if elevation is not None else sides.elevation
        view = Viewpoint(0.0, 0.0 if tilt is None else tilt, 0.85, 1.0)
        found = g3dr.shape_of_volume(volume, field, self.photo, config, view)
        self.seconds[name] = time.process_time() - began
        return found, view.elevation

    def relief(self, name: str, depth: str, back: float) -> Shape:
        """The relief, with this share of the estimated thickness."""
        from threestudio_like.systems.image_to_3d.known import Known
        from threestudio_like.systems.image_to_3d.relief.reconstruction import (
            ReliefConfig,
            reconstruct_relief,
        )

        config = ReliefConfig(depth=depth)
        config = replace(config, terms=replace(config.terms, back=back))
        began = time.process_time()
        found = reconstruct_relief(self.photo, config, Known())
        self.seconds[name] = time.process_time() - began
        return found, found.pose.elevation

    def true_depths(self, back: bool) -> Shape:
        """True depths of the picture in place of estimated ones, closed by the true back or
        halfway."""
        from threestudio_like.meshes.surface.extraction import isosurface
        from threestudio_like.systems.image_to_3d.backs import between, closed
        from threestudio_like.systems.image_to_3d.g3dr import lattice
        from threestudio_like.toybox.render import render, view_projection
        from threestudio_like.toybox.toy_object import ToyObject, fit_to_sphere

        size, fov = 96, math.radians(18.0)
        matrix = view_projection(self.case.azimuth, self.case.elevation, 5.0, fov)
        # The object as large in the canonical picture as in the unit sphere.
        points, faces = (
            fit_to_sphere(self.case.mesh.vertices) * np.float32(0.7),
            self.case.mesh.faces,
        )
        plain = np.zeros(len(faces), np.int32), np.zeros((1, 7), np.float32)
        obj = ToyObject(points, faces, *plain, "", [])
        black = np.zeros((1, 3), np.float32)
        views = [render(obj, matrix[None], size, black, back=b) for b in (False, True)]
        line = ((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(fov / 2)
        longer = np.sqrt(1 + line[:, None] ** 2 + line[None] ** 2)
        mask = torch.from_numpy(views[0].mask[0])
        near, far = (
            torch.from_numpy(
                np.where(views[0].mask[0] > 0.5, v.depth[0] * longer, np.nan).astype(np.float32)
            )
            for v in views
        )
        cells = lattice(96)
        full = between(cells, mask, near, far if back else near + 0.06, 4 / 95).view(96, 96, 96)
        solid = full if back else closed(full)
        mesh = isosurface(solid.numpy(), 0.5)
        assert mesh is not None
        return _standing(mesh), self.case.elevation

    def round(self) -> Shape:
        """The outline alone: round sections, no depth."""
        return self.relief("outline alone", "none", 0.0)

    def stranger(self) -> Shape:
        """Another object of the category, seen from the true camera."""
        from second_world.make import SEED as OTHER
        from second_world.shapes import KINDS, draw

        from threestudio_like.meshes.mesh import Mesh

        world = world_at_hand("cisp/clip")
        if self.world == "toybox":
            other: Any = world.draw(SEED + 1, self.index + 20 * len(world.categories), "train")
        else:
            other = draw(OTHER, self.index + 20 * len(KINDS))
        found = _standing(Mesh(other.vertices, other.faces))
        found.pose.azimuth, found.pose.elevation = self.case.azimuth, self.case.elevation
        return found, self.case.elevation


def _standing(mesh: Any) -> Any:
    """A mesh of the camera's frame as a shape that was found."""
    from threestudio_like.systems.image_to_3d.method import ShapeFound
    from threestudio_like.systems.image_to_3d.pose import Pose, PoseConfig

    return ShapeFound(mesh, Pose(0.0, 0.0, 1.0), PoseConfig())


def upright_iou(found: Any, elevation: float, case: Case) -> float:
    """Volume IoU of a shape that is turned up by `elevation` and to the front by the truth."""
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.meshes.surface.voxels import voxelise
    from threestudio_like.metrics.point_sets import voxel_iou
    from threestudio_like.systems.image_to_3d.relief.surface import turn_to

    truth = voxelise(_sized(Mesh, Normalisation, case.mesh.vertices, case.mesh.faces))
    seen = found.mesh.vertices @ turn_to(found.pose.azimuth, found.pose.elevation).numpy()
    points = seen @ turn_to(case.azimuth, elevation).numpy().T
    return voxel_iou(voxelise(_sized(Mesh, Normalisation, points, found.mesh.faces)), truth)


def _sized(mesh: Any, size: Any, points: np.ndarray, faces: np.ndarray) -> Any:
    placed = size.of(points).apply(points)
    return mesh(np.ascontiguousarray(placed, np.float32), faces)


def variants(work: Work, before: str) -> dict[str, Callable[[], Shape]]:
    """What is made of a picture, by name."""
    own = "toybox"
    truth = work.case.elevation
    found: dict[str, Callable[[], Shape]] = {
        "floor: another object of the category": work.stranger,
        "floor: the outline alone, round": work.round,
    }
    if before:
        name = "g3dr before: halfway"
        found[name] = lambda: work.g3dr("g3dr before: halfway", before, "halfway", truth)
        found["relief before: round"] = lambda: work.relief("relief before: round", before, 0.0)
    for name, back in (("g3dr, halfway", "halfway"), ("g3dr, estimated back", "estimated")):
        found[name] = lambda n=name, b=back: work.g3dr(n, own, b, truth)  # type: ignore[misc]
    found["relief, round"] = lambda: work.relief("relief, round", own, 0.0)
    found["relief, estimated thickness"] = lambda: work.relief(
        "relief, estimated thickness", own, 0.5
    )
    found["ceiling: true front, halfway"] = lambda: work.true_depths(False)
    found["ceiling: true front and back"] = lambda: work.true_depths(True)
    return found


def clay(found: Any, turn: float, edge: int = 112) -> np.ndarray:
    """A shape (E, E, 3) in clay, seen from `turn` degrees beside the picture's camera."""
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Asset, Mesh
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.systems.image_to_3d.relief.surface import turn_to
    from threestudio_like.toybox.render import view_projection

    seen = found.mesh.vertices @ turn_to(found.pose.azimuth, found.pose.elevation).numpy()
    points = Normalisation.of(seen).apply(seen)
    mesh = Mesh(np.ascontiguousarray(points, np.float32), found.mesh.faces).with_normals()
    camera = view_projection(math.radians(turn), math.radians(8))[None]
    return render_asset(Asset({"object": mesh}), camera, edge, clay=True).image[0].clip(0, 1)


def row_of(work: Work, shapes: dict[str, Shape], names: list[str], edge: int = 112) -> np.ndarray:
    """The picture, and the truth and some shapes from 60 and 120 degrees beside its camera."""
    pixels = torch.from_numpy(work.case.pixels).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(pixels, (edge, edge), mode="area")[0]
    given = (small[:3] * small[3:] + 1 - small[3:]).permute(1, 2, 0).numpy().clip(0, 1)
    truth = _standing(work.case.mesh)
    truth.pose.azimuth, truth.pose.elevation = work.case.azimuth, work.case.elevation
    shown = [truth, *(shapes[name][0] for name in names)]
    return np.concatenate([given, *(clay(f, t, edge) for f in shown for t in (60, 120))], 1)


def measured(
    world: str, index: int, before: str, search: bool
) -> tuple[dict[str, Any], Work, dict[str, Shape]]:
    """All figures of one picture, by variant."""
    work = Work(world, index)
    shapes = {name: make() for name, make in variants(work, before).items()}
    figures: dict[str, Any] = {"world": world, "index": index, "category": work.case.category}
    for name, (found, tilt) in shapes.items():
        figures[name] = {
            "frame": volume_iou(found, work.case),
            "upright": upright_iou(found, tilt, work.case),
            "tilt off": abs(math.degrees(tilt - work.case.elevation)),
            "seconds": work.seconds.get(name, math.nan),
        }
    found = shapes["g3dr, estimated back"][0]
    tilts = {"estimated": work.estimated()}
    if search:
        tilts["searched"] = work.searched()
    for how, tilt in tilts.items():
        figures[f"g3dr, estimated back, elevation {how}"] = {
            "frame": volume_iou(found, work.case),
            "upright": upright_iou(found, tilt, work.case),
            "tilt off": abs(math.degrees(tilt - work.case.elevation)),
            "seconds": math.nan,
        }
    return figures, work, shapes


def tables(lines: list[dict[str, Any]], names: list[str]) -> str:
    """What was made of one world's pictures: all of them, and by category."""
    rows: list[list[Any]] = []
    for name in names:
        row: list[Any] = [name]
        for key in ("frame", "upright"):
            values = [x[name][key] for x in lines]
            low, high = interval(values)
            row += [float(np.mean(values)), f"{low:.3f} to {high:.3f}"]
        row += [float(np.mean([x[name]["tilt off"] for x in lines]))]
        spent = [x[name]["seconds"] for x in lines if math.isfinite(x[name]["seconds"])]
        rows.append([*row, float(np.mean(spent)) if spent else "-"])
    header = ["shape", "volume IoU, camera's frame", "95 % interval", "upright, azimuth known"]
    header += ["95 % interval (upright)", "elevation off, degrees", "CPU seconds"]
    columns = [*first_and_after(names), "ceiling: true front and back"]
    single = [
        [kind, *(float(np.mean([x[n]["frame"] for x in some])) for n in columns)]
        for kind in sorted({x["category"] for x in lines})
        for some in [[x for x in lines if x["category"] == kind]]
    ]
    by_category = table(["category", *columns[:2], "ceiling"], single)
    return f"{table(header, rows)}\n\nBy category, in the camera's frame:\n\n{by_category}"


def first_and_after(names: list[str]) -> list[str]:
    """The shapes of G3DR that are set side by side: as before, and as shipped."""
    return [next(n for n in names if n.startswith("g3dr")), "g3dr, estimated back"]


def packed(line: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """One picture's figures as a raw row: of every measure those of the shapes, in the order of the
    table's rows; "-" for none."""
    out = {k: line[k] for k in line if k not in names}
    for measure, digits in (("frame", 4), ("upright", 4), ("tilt off", 2), ("seconds", 2)):
        found = [line[n][measure] for n in names]
        out[measure] = " ".join(f"{v:.{digits}f}" if math.isfinite(v) else "-" for v in found)
    return out


def report(lines: list[dict[str, Any]], before: str, sheet: list[np.ndarray]) -> None:
    """docs/results/backs.md and its picture."""
    names = [k for k in lines[0] if k not in ("world", "index", "category")]
    body = "Volumes on 32³ cells. "
    if before:
        body += '"Before" is the estimator without a back that was shipped until then, '
        body += "in today's code. "
    body += "The relief before stands at its default elevation of 5 degrees; today's stands as the "
    body += (
        "estimator says. A raw row is one picture: its figures in the order of the rows here.\n\n"
    )
    for world, told in SHOWN.items():
        some = [x for x in lines if x["world"] == world]
        if some:
            body += f"## {told.format(len(some))}\n\n{tables(some, names)}\n\n"
    legend = [*first_and_after(names), "relief, estimated thickness"]
    body += (
        "Rows: pictures, those of the second world last. Columns: the picture; from 60 and 120 "
        f"degrees beside its camera the truth, {', '.join(legend)}.\n\n"
        "![shapes from beside](../pictures/backs.jpg)"
    )
    if sheet:
        from PIL import Image

        picture = Image.fromarray((np.concatenate(sheet) * 255).round().astype(np.uint8))
        picture.save(PICTURE, quality=82)
    samples = [packed(line, names) for line in lines]
    command = "python benchmarks/backs.py" + (" --before FOLDER" if before else "")
    publish("backs", "The back of things, from one picture", command, body, samples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=60, help="pictures of the toybox")
    parser.add_argument("--second", type=int, default=60, help="pictures of the second world")
    add_world(parser)
    parser.add_argument("--before", type=Path, default=None, help="an earlier depth estimator")
    parser.add_argument("--search", action="store_true")
    arguments = parser.parse_args()
    before = str(arguments.before) if arguments.before else ""
    lines, sheet = [], []
    for world, count in (("toybox", arguments.count), ("second world", arguments.second)):
        for index in range(count):
            figures, work, shapes = measured(world, index, before, arguments.search)
            lines.append(figures)
            if index % max(1, count // ROWS) == 3:
                chosen = [*first_and_after(list(shapes)), "relief, estimated thickness"]
                sheet.append(row_of(work, shapes, chosen))
            told = {k: round(v["frame"], 3) for k, v in figures.items() if len(k) > 8}
            print(world, index, told, flush=True)
    report(lines, before, sheet)


if __name__ == "__main__":
    main()
