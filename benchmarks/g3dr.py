"""G3DR on the toybox with equal budgets: the full model; with gradients scaled as published, which
slows clearing too; without gradient scaling; without CLIP; at a single resolution; and from first
weights that know nothing of relief, as published, with gradient scaling and without, and then
without the depth loss too.

Each variant is trained by the command line (same steps, seeds and data) and measured on held-out
objects whose truth is known: the given view, novel views at 10 to 30 degrees, depth, relief, how
far weights spread along rays, and the volume.

Run: python benchmarks/g3dr.py [--steps 2000] [--objects 6000] [--count 60] [--data folder] [--only
    full ...]

--data: a folder with the drawn pictures of an earlier training (its work/data). A finished variant
    is not trained again.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tables import ROOT, publish, table
from variants import trained
from worlds import add_world, runs, world_at_hand

SCALED = ["--scale_gradients", "true"]
PUBLISHED = [*SCALED, "--clear", "false"]
UNKNOWING = ["--generator.relief", "false"]
VARIANTS: dict[str, list[str]] = {
    "full": SCALED,
    "published scaling": PUBLISHED,
    "no gradient scaling": [],
    "no CLIP": [*SCALED, "--clip", "0"],
    "single resolution": [*SCALED, "--generator.levels", "1"],
    "published start": [*UNKNOWING, *PUBLISHED],
    "published start, no scaling": UNKNOWING,
    "colours alone": [*UNKNOWING, *PUBLISHED, "--depth_loss", "0"],
    "colours alone, no scaling": [*UNKNOWING, "--depth_loss", "0"],
}
YAWS = (-30.0, -20.0, -10.0, 10.0, 20.0, 30.0)
"""Degrees."""
SEED = 2001


class Truth:
    """A held-out object as the generator's frame has it: the matrix into that frame, its pictures
    from any yaw, its volume."""

    def __init__(self, index: int) -> None:
        from threestudio_like.priors.depth import FRAME_HALF_WIDTH
        from threestudio_like.priors.framing import FILL, boxes
        from threestudio_like.toybox.render import view_projection
        from threestudio_like.training.depth_pictures import CAMERAS, direction, picture_with_depth

        world = world_at_hand("g3dr")
        self.obj = world.draw(SEED, index, "test", 0.0)
        azimuth, elevation = direction(SEED, index)
        mask = picture_with_depth(SEED, index, "test", camera=1, world=world.name).mask
        size = mask.shape[0]
        box = boxes(torch.from_numpy(mask[None]).float() / 255, 0.5)[0].numpy()
        side = (box[2:] - box[:2]).max() / FILL
        centre = ((box[:2] + box[2:]) / 2 - size / 2) / (size / 2) * FRAME_HALF_WIDTH
        view = view_projection(
            azimuth, elevation, *CAMERAS[1][:1], float(np.deg2rad(CAMERAS[1][1]))
        )
        # Rows of the camera: right, up, back.
        f = 1 / np.tan(np.deg2rad(CAMERAS[1][1]) / 2)
        turn = np.stack([view[0, :3] / f, view[1, :3] / f, -view[3, :3]])
        larger = size / side
        self.matrix = np.eye(4)
        self.matrix[:3, :3] = turn * larger
        self.matrix[:3, 3] = np.array([-centre[0], centre[1], 0.0]) * larger
        self.camera = CAMERAS[1]

    def picture(self, yaw: float, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Picture (S, S, 3) before the grey of the training, and the mask, from a yaw in
        degrees."""
        from threestudio_like.systems.image_to_3d.g3dr_cameras import GREY
        from threestudio_like.toybox.render import render, view_projection

        distance, fov = self.camera
        camera = (
            view_projection(math.radians(yaw), 0.0, distance, float(np.deg2rad(fov))) @ self.matrix
        )
        seen = render(
            self.obj, camera[None].astype(np.float32), size, np.full((1, 3), GREY, np.float32)
        )
        return seen.image[0], seen.mask[0]

    def volume(self, resolution: int = 48) -> np.ndarray:
        """Cells (R, R, R) of the object in the generator's frame, axes x, y, z."""
        from threestudio_like.meshes.mesh import Mesh
        from threestudio_like.meshes.surface.voxels import voxelise

        points = self.obj.vertices @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return voxelise(Mesh(points.astype(np.float32), self.obj.faces), resolution)


@torch.no_grad()
def measure(folder: Path, count: int, data: Path) -> tuple[dict[str, float], list[np.ndarray]]:
    """Figures of a variant, and rows of pictures of its first objects."""
    from threestudio_like.meshes.surface.voxels import cell_centres
    from threestudio_like.metrics.point_sets import voxel_iou
    from threestudio_like.metrics.relief import non_flatness, ray_entropy
    from threestudio_like.priors.networks.perceptual import load_perceptual
    from threestudio_like.priors.networks.triplane_generator import TriplaneGenerator
    from threestudio_like.renderers.midpoint import MidpointConfig
    from threestudio_like.systems.image_to_3d.g3dr import field_of
    from threestudio_like.systems.image_to_3d.g3dr_cameras import DEPTH_NEAR, WALL, CanonicalCamera
    from threestudio_like.training.g3dr import ToyRgbd, as_pictures, render_view

    model = TriplaneGenerator.load(folder / "g3dr")
    source = ToyRgbd(data, SEED, 400, "test", world=world_at_hand("g3dr").name)
    look, camera, rays = load_perceptual(), CanonicalCamera(), MidpointConfig(coarse=64, fine=64)
    centres = cell_centres(48)
    behind = (centres - torch.tensor([0.0, 0.0, camera.radius])).norm(
        dim=-1
    ) > DEPTH_NEAR + 2 * WALL - 0.15
    found: dict[str, list[float]] = {}
    depths, rows = [], []

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(float(value))

    for n in range(count):
        rgb, depth = source.batch(torch.tensor([n]))
        planes = model(rgb, depth)
        given = (rgb.permute(0, 2, 3, 1) + 1) / 2
        colour, far, opacity = as_pictures(render_view(model, planes, camera, rays, 64), 64)
        depths.append(far)
        wall = depth[:, 0] > DEPTH_NEAR + 2 * WALL - 0.01
        add("canonical PSNR, dB", -10 * math.log10(float((colour - given).square().mean())))
        add("depth error, object", (far - depth[:, 0]).abs()[~wall].mean())
        add("depth error, wall", (far - depth[:, 0]).abs()[wall].mean())
        add("opacity", opacity.mean())
        # Importance samples crowd where matter is: entropy is of even samples.
        even = render_view(model, planes, camera, replace(rays, coarse=128, fine=0), 64)
        add(
            "entropy along rays, nats",
            ray_entropy(even.weights.view(1, 64 * 64, -1)[:, ~wall.view(-1)]),
        )
        truth = Truth(n)
        tiles = [given[0].numpy(), colour[0].numpy()]
        for yaw in YAWS:
            wanted, mask = truth.picture(yaw)
            offsets = (torch.tensor([math.radians(yaw)]), torch.zeros(1))
            novel = as_pictures(render_view(model, planes, camera, rays, 64, None, offsets), 64)
            inside = torch.from_numpy(mask > 0.5)
            target = torch.from_numpy(wanted)[None]
            shown = torch.where(inside[None, ..., None], novel[0], target)
            add(
                "novel PSNR on the object, dB",
                -10 * math.log10(float((shown - target)[:, inside].square().mean()) + 1e-10),
            )
            add("novel perceptual distance", look.distance(novel[0], target).mean())
            if abs(yaw) == 30:
                tiles += [
                    wanted,
                    novel[0][0].numpy(),
                    np.repeat(((novel[1][0].numpy() - 4) / 2)[..., None], 3, 2),
                ]
        density = torch.cat([field_of(model, planes).density(p) for p in centres.split(1 << 16)])
        solid = (density * (2 / 48) > 0.7) & ~behind
        add("volume IoU", voxel_iou(solid.view(48, 48, 48).numpy(), truth.volume()))
        if n in (2, 7, 8, 9, 11, 13):
            rows.append(np.concatenate([t.clip(0, 1) for t in tiles], 1))
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    figures["non-flatness"] = non_flatness(torch.cat(depths), 4.0, 6.0)
    figures["non-flatness of the truth"] = non_flatness(
        source.batch(torch.arange(count))[1][:, 0], 4.0, 6.0
    )
    return figures, rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=6000)
    parser.add_argument("--count", type=int, default=60)
    add_world(parser)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    from PIL import Image

    columns: dict[str, dict[str, float]] = {}
    sheets = []
    for name in arguments.only:
        folder = runs("g3dr", "g3dr") / name.replace(" ", "-")
        options = [*VARIANTS[name], "--world", world_at_hand("g3dr").name]
        seconds = trained(
            folder, ["g3dr"], arguments.steps, arguments.objects, arguments.data, options
        )
        figures, rows = measure(folder, arguments.count, folder / "work" / "data")
        columns[name] = {**figures, "training, CPU seconds": seconds}
        sheets.append(np.concatenate(rows, 0))
        print(name, columns[name], flush=True)
    keys = list(next(iter(columns.values())))
    text = table(["figure", *columns], [[key, *(c[key] for c in columns.values())] for key in keys])
    picture = Image.fromarray((np.concatenate(sheets, 0) * 255).round().astype(np.uint8))
    picture.save(ROOT / "docs" / "pictures" / "g3dr-ablation.jpg", quality=82)
    note = (
        f"{arguments.count} held-out objects, {len(YAWS)} novel views each at 10 to 30 "
        "degrees of yaw, 64 pixels, 64 + 64 samples. Distances in the frame's"
        " units (its edge is 1.58). Volume: the object's visible and hidden cells of 48^3 "
        "against density above 17 per unit before the wall."
    )
    legend = (
        "Columns: given, rendered; truth, rendered, depth at -30 degrees; the same at +30. "
        "Rows of six objects for: " + ", ".join(columns)
    )
    body = (
        f"{note}\n\n{text}\n\n{legend}.\n\n![pictures of the "
        "variants](../pictures/g3dr-ablation.jpg)"
    )
    publish(
        "g3dr",
        "G3DR: what each part does",
        f"python benchmarks/g3dr.py --steps {arguments.steps}",
        body,
    )


if __name__ == "__main__":
    main()
