"""The model of a stage as it is now, as files that a viewer shows: quickly made, for they are made
again and again while a run goes, and never a result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..engine.onlookers import Snapshot
from ..meshes.io.files import encode
from ..meshes.io.splats.ply import write_splat_ply
from ..meshes.mesh import Asset, Mesh
from ..meshes.surface.extraction import isosurface, opaqueness
from ..renderers import Cameras
from ..representations import density_volume
from ..representations.gaussian_files import splats_of
from ..representations.gaussians import GaussianCloud
from ..representations.placed_scene import PlacedScene
from .field_to_mesh import surface_colour

if TYPE_CHECKING:
    from .mesh.model import MeshModel
    from .model import FieldModel
    from .painting import SurfaceModel

GRID = 48
"""Grid points along an edge of a field that is shown."""
LEVEL = 0.5
"""Opaqueness of a cell at which its surface is shown; half of the largest where none is so solid,
as at the beginning of a run."""
TEXELS = 512
"""Texels along an edge of an atlas that is shown."""


def asset_snapshot(asset: Asset, cameras: Cameras | None = None) -> Snapshot:
    """An asset as GLB, with the cameras of the last step."""
    files = encode(asset, Path("now.glb"))
    return {".glb": next(iter(files.values())), ".json": camera_facts(cameras)}


def camera_facts(cameras: Cameras | None) -> bytes:
    """Cameras as JSON: camera_to_world (16 numbers, rows), field of view (radians), aspect."""
    if cameras is None:
        return b"{}"
    matrices = cameras.camera_to_world.detach().cpu().reshape(-1, 16).tolist()
    fields = cameras.fov_y.detach().cpu().tolist()
    aspect = cameras.width / cameras.height
    rows = [{"pose": m, "fov": f, "aspect": aspect} for m, f in zip(matrices, fields)]
    return json.dumps({"cameras": rows}).encode()


@torch.no_grad()
def field_snapshot(parts: FieldModel, cameras: Cameras | None = None) -> Snapshot:
    """A field as a coarse surface with a colour at every vertex; RGB Gaussians as they are."""
    field = parts.field
    if isinstance(field, GaussianCloud) and field.channels == 3:
        return {".ply": write_splat_ply(splats_of(field)), ".json": camera_facts(cameras)}
    solid = opaqueness(density_volume(field, GRID).numpy(), 4.0 / GRID)
    mesh = isosurface(solid, min(LEVEL, 0.5 * float(solid.max())))
    if mesh is None:
        return {}
    mesh = mesh.with_normals()
    assert mesh.normals is not None
    found = surface_colour(parts, samples=5)(
        torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.normals)
    )
    colours = found.clamp(0, 1).cpu().numpy().astype(np.float32)
    return asset_snapshot(Asset({"now": replace(mesh, colours=colours)}), cameras)


@torch.no_grad()
def surface_snapshot(parts: SurfaceModel, cameras: Cameras | None = None) -> Snapshot:
    """A textured mesh with its texels as they are now."""
    surface = parts.surface
    atlas = surface.padded()[0].permute(1, 2, 0)
    # Of a physically based surface the base colour alone.
    shown = parts.decode(atlas[..., :3] if surface.channels == 5 else atlas)
    every = max(1, shown.shape[0] // TEXELS)
    texture = (shown[::every, ::every].clamp(0, 1) * 255).round().byte().cpu().numpy()
    mesh = surface.atlas.mesh
    points = surface.vertices().detach().cpu().numpy().astype(np.float32)
    now = Mesh(points, mesh.faces, uv=mesh.uv, texture=np.ascontiguousarray(texture))
    # Vertices that move take the light of where they are.
    still = surface.offsets is None
    return asset_snapshot(
        Asset({"now": replace(now, normals=mesh.normals) if still else now.with_normals()}), cameras
    )


@torch.no_grad()
def mesh_snapshot(model: MeshModel, cameras: Cameras | None = None) -> Snapshot:
    """A mesh that is optimised, with a colour at every vertex."""
    mesh = model.surface.mesh().with_normals()
    assert mesh.normals is not None
    found = model.colour(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.normals))
    colours = found.clamp(0, 1).numpy().astype(np.float32)
    return asset_snapshot(Asset({"now": replace(mesh, colours=colours)}), cameras)


@torch.no_grad()
def scene_snapshot(scene: PlacedScene, cameras: Cameras | None = None) -> Snapshot:
    """A scene with its objects where they are now."""
    return asset_snapshot(scene.asset(), cameras)
