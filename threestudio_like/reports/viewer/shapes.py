"""Assets, points and Gaussians in viser's scene, framed whatever their size and unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...engine.errors import InputError
from ...meshes.io.files import encode, read
from ...meshes.io.ply.reading import read_points
from ...meshes.io.splats.splats import Splats, is_splat_file, read_splats
from ...meshes.material import Material
from ...meshes.mesh import Asset, Mesh
from ...meshes.page.data import extent, with_hard_edges
from ...meshes.page.splats import splat_arrays
from .guard import LOOPBACK
from .server import ViewerServer
from .words import told

PLAIN = (0.62, 0.59, 0.55, 1.0)
"""Base colour of what has none: darker than the page."""
GROUND = (238, 236, 231)
UNIT = (np.zeros(3), 1.0)
"""Middle and radius of the sphere that is looked at."""
LIGHT: Literal["studio"] = "studio"
BRIGHT = 0.45
"""Intensity of the surroundings: what is white stays below the white of the screen."""


@dataclass(frozen=True)
class Shown:
    """What is shown: a node of the scene, and a line about it."""

    node: Any
    line: str


def asset_bytes(asset: Asset) -> bytes:
    """An asset's meshes as GLB, as a viewer shows them: hard edges stay hard, and what has no
    colour is grey."""
    meshes = {}
    for number, mesh in enumerate(m for m in asset.meshes.values() if len(m.faces)):
        bare = mesh.material is None and mesh.texture is None and mesh.colours is None
        whole = with_hard_edges(mesh)
        if bare:
            whole = replace(whole, material=Material(colour=PLAIN, roughness=0.8, metallic=0.0))
        meshes[f"part {number}"] = whole
    return next(iter(encode(Asset(meshes), Path("shown.glb")).values()))


def frame_of(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle (3,) and radius of a sphere about points (N, 3), about the middle of their box."""
    if not len(points):
        return np.zeros(3), 1.0
    wide = points.astype(np.float64)
    middle = (wide.min(0) + wide.max(0)) / 2
    radius = float(np.linalg.norm(wide - middle, axis=1).max())
    return middle, radius if radius > 0 else 1.0


def sphere_about(asset: Asset) -> tuple[np.ndarray, float]:
    """Middle (3,) and radius of a sphere about what an asset shows; see `frame_of`."""
    meshes = asset.meshes.values()
    used = [m.vertices[np.unique(m.faces)] if len(m.faces) else m.vertices for m in meshes]
    return frame_of(np.concatenate(used) if used else np.zeros((0, 3)))


def add_asset(
    server: ViewerServer, name: str, asset: Asset, into: tuple[np.ndarray, float] = UNIT
) -> Shown:
    """Show an asset. Points without faces are shown as points, in the unit sphere.

    Args:
        into: middle (3,) and radius of the sphere that the asset's own becomes.
    """
    meshes = list(asset.meshes.values())
    middle, radius = sphere_about(asset)
    faces = sum(len(m.faces) for m in meshes)
    if not faces:
        count = sum(len(m.vertices) for m in meshes)
        return Shown(_points(server, name, meshes, middle, radius), f"{count:,} points")
    scale = into[1] / radius
    at = tuple(float(v) for v in into[0] - np.asarray(middle) * scale)
    node = server.scene.add_glb(name, asset_bytes(asset), scale=scale, position=at)
    parts = f", {len(meshes):,} parts" if len(meshes) > 1 else ""
    wide = " × ".join(f"{v:.4g}" for v in extent(asset))
    return Shown(node, f"{faces:,} triangles{parts}, {wide}")


def _points(
    server: ViewerServer, name: str, meshes: list[Mesh], middle: np.ndarray, radius: float
) -> Any:
    points = np.concatenate([m.vertices for m in meshes]) if meshes else np.zeros((0, 3))
    grey = np.array([[0.3, 0.28, 0.26]], np.float32)
    colours = [
        m.colours[:, :3] if m.colours is not None else grey.repeat(len(m.vertices), 0)
        for m in meshes
    ]
    size = float(np.clip(0.9 / np.sqrt(max(len(points), 1)), 0.003, 0.05))
    return server.scene.add_point_cloud(
        name,
        ((points - middle) / radius).astype(np.float32),
        (np.concatenate(colours).clip(0, 1) * 255).round().astype(np.uint8),
        point_size=size,
        point_shape="circle",
        precision="float32",
    )


def add_splats(server: ViewerServer, name: str, splats: Splats, framed: bool = True) -> Shown:
    """Show Gaussians; `framed` brings them into the unit sphere."""
    arrays, left_out = splat_arrays(splats, framed=framed)
    six = arrays["covariances"]
    full = six[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    node = server.scene.add_gaussian_splats(
        name,
        centers=arrays["positions"],
        covariances=full,
        rgbs=arrays["colours"][:, :3],
        opacities=arrays["colours"][:, 3:],
    )
    less = f", {left_out:,} of the smallest left out" if left_out else ""
    return Shown(node, f"{len(splats):,} Gaussians{less}")


def add_file(server: ViewerServer, name: str, path: Path) -> Shown:
    """Show a file of a mesh, of points or of Gaussians. Raises InputError."""
    if is_splat_file(path):
        return add_splats(server, name, read_splats(path))
    points = point_cloud(path)
    return add_asset(server, name, read(path) if points is None else points)


def point_cloud(path: Path) -> Asset | None:
    """The points of a PLY without faces; None for any other file."""
    if path.suffix.lower() != ".ply":
        return None
    notes: list[str] = []
    found = read_points(path, notes)
    return None if found is None else Asset({"points": found}, notes=notes)


def light_scene(server: ViewerServer) -> None:
    """An even light and a quiet ground."""
    server.scene.configure_default_lights(enabled=False)
    server.scene.configure_environment_map(LIGHT, environment_intensity=BRIGHT)
    server.scene.add_light_hemisphere(
        "/sky", sky_color=(255, 255, 255), ground_color=(120, 110, 100), intensity=0.5
    )
    server.scene.set_background_image(np.full((2, 2, 3), GROUND, np.uint8), format="png")


def file_viewer(path: Path, port: int = 0, host: str = LOOPBACK) -> ViewerServer:
    """Show a file of a mesh, of points or of Gaussians.

    Raises:
        InputError: it cannot be read. ConfigError: see `ViewerServer`.
    """
    server = ViewerServer(path.name, port=port, host=host)
    try:
        light_scene(server)
        shown = add_file(server, "/shown", path)
    except InputError:
        server.close()
        raise
    server.gui.add_html(told(path.name, shown.line))
    turning = server.gui.add_slider("Light", min=-180, max=180, step=5, initial_value=0)

    @turning.on_update
    def _(_: Any) -> None:
        half = np.radians(turning.value) / 2
        turned = (float(np.cos(half)), 0.0, float(np.sin(half)), 0.0)
        server.scene.configure_environment_map(
            LIGHT, environment_intensity=BRIGHT, environment_wxyz=turned
        )

    server.look_from()
    return server
