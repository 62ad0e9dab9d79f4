"""Gaussians to and from what files hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..engine.random import RandomStream
from ..meshes.io.merge import vertex_colours
from ..meshes.io.splats.splats import Splats
from ..meshes.mesh import Asset
from ..meshes.texture.coordinates import surface_areas
from .gaussian_start import discs, spread
from .gaussians import GaussianCloud, GaussianConfig
from .harmonics import ZEROTH


def splats_of(cloud: GaussianCloud) -> Splats:
    """What a file holds of Gaussians with RGB features. Raises ValueError for other features."""
    if cloud.channels != 3:
        raise ValueError("files of 3D Gaussians hold RGB, and these have latents")
    n = len(cloud)
    parts = {name: p.detach()[:n].cpu().numpy() for name, p in cloud.rows().items()}
    colours = parts["colours"][:, 0]
    if not cloud.config.sigmoid:
        # The same colours without the half that files mean.
        colours = colours - 0.5 / ZEROTH
    return Splats(
        parts["positions"].copy(),
        parts["log_scales"].copy(),
        parts["rotations"].copy(),
        parts["logits"].copy(),
        colours.copy(),
        harmonics=parts["harmonics"].copy(),
    )


@torch.no_grad()
def cloud_of(splats: Splats, capacity: int | None = None) -> GaussianCloud:
    """Gaussians of a file, with room for no more (or for `capacity`)."""
    n = len(splats)
    config = GaussianConfig(capacity=max(capacity or n, n), start=1, degree=splats.degree)
    cloud = GaussianCloud(config)
    given = {
        "positions": splats.positions,
        "log_scales": splats.log_scales,
        "rotations": splats.rotations,
        "logits": splats.logits.clip(-30, 30),
        "colours": splats.colours[:, None],
        "harmonics": splats.harmonics,
    }
    for name, parameter in cloud.rows().items():
        parameter[:n] = torch.from_numpy(np.array(given[name], np.float32))
    cloud.count.fill_(n)
    return cloud


def discs_of(asset: Asset, count: int = 20000) -> Splats:
    """Flat Gaussians spread over the surfaces of an asset by their areas, with the base colours
    there."""
    meshes = [mesh for mesh in asset.meshes.values() if len(mesh.faces)]
    areas = np.array([float(surface_areas(mesh).sum()) for mesh in meshes])
    shares = np.maximum(1, np.rint(count * areas / areas.sum()).astype(int))
    points, normals, colours = [], [], []
    for number, (mesh, share) in enumerate(zip(meshes, shares)):
        random = RandomStream(0, "discs", number)
        on = spread(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces), share, random)
        corner, weight = mesh.faces[on.face.numpy()], on.weights.numpy()[..., None]

        def there(values: np.ndarray | None, at: Any = corner, by: Any = weight) -> Any:
            return None if values is None else (values[at] * by).sum(1).astype(np.float32)

        shown = replace(
            mesh,
            vertices=on.points.numpy(),
            faces=np.zeros((0, 3), np.int32),
            uv=there(mesh.uv),
            colours=there(mesh.colours),
            normals=None,
        )
        colour = vertex_colours(shown)
        colours.append(np.full((len(corner), 3), 0.7) if colour is None else colour[:, :3])
        points.append(on.points)
        normals.append(on.normals)
    start = discs(torch.cat(points), torch.cat(normals))
    cloud = GaussianCloud(GaussianConfig(capacity=len(start.points), start=1))
    shades = torch.from_numpy(np.concatenate(colours).astype(np.float32))
    cloud.begin(start, shades)
    return splats_of(cloud)
