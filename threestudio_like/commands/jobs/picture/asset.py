"""The asset of a picture: its colours, how well it fits, the report's pictures, its delivery."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....meshes.frames import moved
from ....meshes.mesh import Asset, Material, Mesh
from ....meshes.picture import render_asset
from ....meshes.texture.atlas import Atlas, paint_tiles
from ....priors.registry import EMBEDDED
from ....renderers import RingCameras
from ....reports import Comparison
from ....representations import TexturedMesh
from ....runs.delivery import Delivery, RunResult
from ....runs.session import Run
from ....systems.cut_out.cut import GIVEN
from ....systems.image_to_3d.fit import Fit, measure_fit, with_word
from ....systems.image_to_3d.known import Known, real_scale
from ....systems.image_to_3d.method import PictureSystem, ShapeFound
from ....systems.image_to_3d.photo import Photo


def share(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Share of the texels of `whole` (R, R) bool that are in `part`."""
    return float((part & whole).sum() / whole.sum().clamp_min(1))


def finish(
    run: Run,
    photo: Photo,
    found: ShapeFound,
    *,
    surface: TexturedMesh,
    config: PictureSystem,
    figures: dict[str, Any],
    method: str,
    known: Known,
) -> RunResult:
    """Write, verify and report; the report shows the picture beside the asset from the same
    side."""
    began, facts = time.monotonic(), run.record.facts
    run.events.status("asset: writing, verifying", force=True)
    texture = surface.padded()[0].detach().permute(1, 2, 0).clamp(0, 1)
    provenance = {k: facts[k] for k in ("picture", "system", "preset", "prior", "seed")}
    provenance["generator"] = "threestudio_like 0.1.0"
    asset = textured_asset(
        surface.atlas, np.rint(texture.numpy() * 255).astype(np.uint8), provenance
    )
    fit = fit_of(asset, photo, found, figures["texels from the picture"], method, known=known)
    run.events.record("fit", line=fit.line(), method=method, **fit.figures())
    figures.update(fit.figures())
    ring = RingCameras(
        count=8, elevation=15.0, distance=found.poses.distance, fov_y=found.poses.fov_y
    )
    title = (
        figures["prompt"]
        if facts["prompt"] or config.colour.complete == "paint"
        else Path(facts["picture"]).stem
    )
    work = Delivery(
        title=title,
        asset=asset,
        ring=ring,
        turntable=run.options.asset.turntable,
        pictures={"The picture as it came": _bytes(photo.original)},
        compared=beside(photo, asset, found),
        fit=fit.word,
        fit_line=fit.line(),
    )
    metres = real_scale(found, photo, known)
    if metres is not None:
        work.shown = asset
        work.asset = moved(asset, np.eye(3), metres)
        work.place = lambda points: (points / np.float32(metres)).astype(np.float32)
        figures["height, metres"] = float(np.ptp(found.mesh.vertices[:, 1])) * metres
    return run.deliver(work, figures, began)


def fit_of(
    asset: Asset, photo: Photo, found: ShapeFound, seen: float, method: str, *, known: Known
) -> Fit:
    """How well the finished asset fits its picture, in figures and a word."""
    measured = measure_fit(found, photo, asset=asset, seen=seen, depth=known.depth or EMBEDDED)
    given = photo.notes.get("background", "").startswith(GIVEN)
    return with_word(measured, method, found_cut=not given, sure_cut=photo.sure)


def textured_asset(atlas: Atlas, texture: np.ndarray, provenance: dict[str, Any]) -> Asset:
    """One mesh with its painted atlas (R, R, 3) uint8."""
    mesh = Mesh(atlas.mesh.vertices, atlas.mesh.faces, uv=atlas.mesh.uv, normals=atlas.mesh.normals)
    painted = paint_tiles(
        Asset({"object": replace(mesh, material=Material("object", roughness=0.9))}),
        atlas,
        atlas.cut(texture),
    )
    return Asset(painted.meshes, provenance)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def beside(photo: Photo, asset: Asset, found: ShapeFound, size: int = 384) -> list[Comparison]:
    """For the report: the picture against the asset from the camera that was found, and the asset's
    colours against its shape."""
    poses = found.poses
    colours, alpha = photo.colours(size, found.frame(photo))
    given = (colours * alpha[..., None] + 0.96 * (1 - alpha[..., None]))[0].numpy()
    camera = found.pose.camera(poses, size)
    drawn = render_asset(asset, camera.view_projection().numpy(), size, background=0.96).image[0]
    clay = render_asset(
        Asset({"object": found.mesh}), camera.view_projection().numpy(), size, background=0.96
    ).image[0]
    picture, result, shape = map(_bytes, (given, drawn, clay))

    return [
        Comparison(
            title="The picture, and the asset from its camera",
            first=picture,
            second=result,
            words=("the picture, cut out", "the asset"),
        ),
        Comparison(
            title="The picture, and the shape alone",
            first=picture,
            second=shape,
            words=("the picture, cut out", "the shape"),
        ),
    ]
