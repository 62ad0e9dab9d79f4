"""Extraction keeps a field's surface: volumes against their formulae, thin parts, noise, and the
options --export.resolution and --export.smooth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.cli import main
from threestudio_like.commands.jobs.reconstruct import Reconstruct
from threestudio_like.engine.config import set_dotted
from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.surface.extraction import ExtractionConfig, extract, silhouette
from threestudio_like.meshes.surface.fidelity import curved_volume, keeping_blur
from threestudio_like.meshes.surface.normals import vertex_normals
from threestudio_like.renderers import RingCameras
from threestudio_like.runs.configure import export_config
from threestudio_like.runs.options import AssetOptions
from threestudio_like.runs.record import read_record
from threestudio_like.stages.field_to_mesh import AssetConfig, surface_settings
from threestudio_like.systems.image_to_3d.cisp import CispReconstruction
from threestudio_like.systems.image_to_3d.field_optimisation import PictureOptimisation
from threestudio_like.systems.image_to_3d.g3dr import G3drReconstruction
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

from .runs import QUICK, run

CAMERAS = RingCameras(count=6, elevation=25.0).all(64).view_projection().numpy()
DENSE, WIDTH = 200.0, 0.006
"""Density inside, and the length over which it falls off at the surface."""


def ball(radius):
    return lambda p: np.linalg.norm(p, axis=-1) - radius


def block(*half):
    """The largest of the distances to the planes of a box: its level sets are boxes."""
    return lambda p: (np.abs(p) - np.array(half)).max(-1)


def torus(large, small):
    return lambda p: (
        np.hypot(np.hypot(p[..., 0], p[..., 2]) - large, p[..., 1]) - small  # about y
    )


def rod(radius, half):
    return lambda p: np.maximum(np.hypot(p[..., 0], p[..., 2]) - radius, np.abs(p[..., 1]) - half)


def turned(distance, seed=3):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return lambda p: distance(p @ turn)


def as_trimesh(mesh):
    return Mesh(
        np.asarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, dtype=np.int32)
    )


def density_of(distance):
    return lambda p: DENSE / (1 + np.exp(np.clip(distance(p.astype(np.float64)) / WIDTH, -50, 50)))


def extracted(distance, config, noise=0.0):
    """The mesh of a density with a signed distance, and by how much its level set is larger than
    the shape."""
    line = np.linspace(-1, 1, config.size)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    density = density_of(distance)
    volume = density(np.stack([x, y, z], -1)).astype(np.float32)
    volume *= np.exp(noise * np.random.default_rng(0).normal(size=volume.shape)).astype(np.float32)
    seen = silhouette(as_trimesh(trimesh_of(distance)), CAMERAS, 64).astype(np.float32)
    mesh, figures = extract(
        volume, CAMERAS, seen, config=config, density_at=None if noise else density
    )
    least = -math.log1p(-figures["iso level"]) * config.size / 4
    return mesh, WIDTH * math.log(DENSE / least - 1)


def trimesh_of(distance, size=80):
    """A mesh of a signed distance by scikit-image's marching cubes, to see the shape from."""
    from skimage.measure import marching_cubes

    line = np.linspace(-1, 1, size)
    points, faces, _, _ = marching_cubes(
        distance(np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)), 0.0
    )
    return trimesh.Trimesh(points / (size - 1) * 2 - 1, faces, process=False)


@pytest.mark.parametrize(
    ("distance", "volume"),
    [
        (ball(0.6), lambda d: 4 / 3 * math.pi * (0.6 + d) ** 3),
        (ball(0.2), lambda d: 4 / 3 * math.pi * (0.2 + d) ** 3),
        (block(0.4, 0.5, 0.3), lambda d: 8 * (0.4 + d) * (0.5 + d) * (0.3 + d)),
        (turned(block(0.4, 0.5, 0.3)), lambda d: 8 * (0.4 + d) * (0.5 + d) * (0.3 + d)),
        (torus(0.55, 0.2), lambda d: 2 * math.pi**2 * 0.55 * (0.2 + d) ** 2),
        (turned(torus(0.6, 0.08)), lambda d: 2 * math.pi**2 * 0.6 * (0.08 + d) ** 2),
        (turned(block(0.6, 0.6, 0.03)), lambda d: 8 * (0.6 + d) ** 2 * (0.03 + d)),
    ],
    ids=["ball", "small ball", "box", "turned box", "torus", "thin torus", "thin plate"],
)
def test_the_default_extraction_keeps_the_volume(distance, volume):
    mesh, offset = extracted(distance, ExtractionConfig())
    assert mesh.volume == pytest.approx(volume(offset), rel=0.001)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight
    # Nowhere is it farther from the level set than a cell's width, corners included.
    away = distance(mesh.vertices.astype(np.float64)) - offset
    assert np.abs(away).max() < 2 / 111


@pytest.mark.parametrize("radius", [0.02, 0.03])
def test_a_leg_that_is_two_cells_wide_is_whole(radius):
    mesh, offset = extracted(turned(rod(radius, 0.7)), ExtractionConfig(size=96))
    wanted = 2 * math.pi * (radius + offset) ** 2 * (0.7 + offset)
    assert mesh.volume == pytest.approx(wanted, rel=0.02)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert solid.is_watertight
    assert solid.euler_number == 2
    assert np.ptp(mesh.vertices @ _axis(), 0) == pytest.approx(2 * (0.7 + offset), abs=0.03)


def _axis():
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return turn[:, 1]


def test_smoothing_still_takes_noise_away():
    def error(smooth):
        settings = ExtractionConfig(size=64, blur=1.1 * smooth, relax=14 * smooth, flatten=0)
        mesh, _ = extracted(ball(0.6), settings, noise=0.7)
        normals = vertex_normals(mesh.vertices, mesh.faces)
        outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
        return np.degrees(np.arccos(np.clip((normals * outward).sum(1), -1, 1))).mean()

    assert error(1) < 0.5 * error(0)


def test_without_smoothing_it_is_the_fields_own_surface():
    mesh, offset = extracted(
        block(0.4, 0.5, 0.3), ExtractionConfig(size=64, blur=0, relax=0, flatten=0, faces=0)
    )
    away = np.abs(block(0.4, 0.5, 0.3)(mesh.vertices.astype(np.float64)) - offset)
    assert np.quantile(away, 0.99) < 0.1 * 2 / 63


def test_a_budget_of_no_shape_is_refused_before_anything_begins():
    """By its dotted name too: the surface was gone at the end of the run."""
    assert ExtractionConfig(faces=0).faces == 0
    with pytest.raises(ConfigError, match="at least 50, got 1"):
        ExtractionConfig(faces=1)
    with pytest.raises(ConfigError, match="at least 50, got 49"):
        set_dotted(LatentNerf(), "mesh.extraction.faces", "49")
    with pytest.raises(ConfigError, match="at least 8, got 1"):
        set_dotted(LatentNerf(), "mesh.extraction.size", "1")


def test_the_volume_of_a_curved_surface_is_its_own():
    for divisions, rel in ((2, 0.01), (3, 0.001)):
        sphere = as_trimesh(trimesh.creation.icosphere(divisions, 0.5))
        exact = 4 / 3 * math.pi * 0.125
        assert curved_volume(sphere) == pytest.approx(exact, rel=rel)
        assert abs(sphere.volume / exact - 1) > 10 * abs(curved_volume(sphere) / exact - 1)
    hollow = as_trimesh(trimesh.creation.icosphere(3, 0.5))
    hollow = Mesh(hollow.vertices, np.ascontiguousarray(hollow.faces[:, ::-1]))
    assert curved_volume(hollow) == pytest.approx(-4 / 3 * math.pi * 0.125, rel=1e-3)


def test_the_blur_leaves_a_parabola_and_what_is_thin():
    line = np.arange(24.0)
    parabola = np.broadcast_to(0.01 * (line - 12) ** 2, (24, 24, 24))
    kept = keeping_blur(parabola, 1.1, level=9.0)
    assert kept[8:16, 8:16, 8:16] == pytest.approx(parabola[8:16, 8:16, 8:16], abs=1e-6)
    needle = np.zeros((24, 24, 24))
    needle[12, 12, 4:20] = 1.0
    assert (keeping_blur(needle, 1.5)[12, 12, 4:20] > 0.5).all()


def test_resolution_and_smoothing_scale_every_extraction():
    base = ExtractionConfig()
    asked = AssetConfig(resolution=256, smooth=0.0)
    same = surface_settings(AssetConfig(), base)
    assert same == base
    wanted = replace(base, size=256, blur=0.0, relax=0, flatten=0)
    assert surface_settings(asked, base) == wanted
    for method in (PictureOptimisation(), G3drReconstruction()):
        assert method.exported(AssetConfig(extraction=method.surface)) == method
        surface = method.exported(replace(asked, extraction=method.surface)).surface
        assert (surface.size, surface.blur, surface.relax, surface.flatten) == (256, 0, 0, 0)
        assert surface.faces == method.surface.faces
    half = surface_settings(AssetConfig(smooth=0.5), base)
    assert (half.blur, half.relax, half.flatten) == (base.blur / 2, 7, 20)


@pytest.mark.parametrize(
    "method", [PictureOptimisation(), G3drReconstruction(), CispReconstruction()]
)
def test_a_face_budget_and_dotted_settings_reach_every_method(method):
    """Unless they are asked for, every method keeps its own."""
    own = method.shape.faces if method.surface is None else method.surface.faces
    for asked, wanted in ((None, own), (500, 500), (0, 0), (16000, 16000)):
        options = Reconstruct(picture=Path("a.png"), asset=AssetOptions(faces=asked))
        made = method.exported(export_config(options, method.surface), asked)
        faces = made.shape.faces if made.surface is None else made.surface.faces
        assert faces == wanted
        assert (made == method) == (wanted == own)
    options = Reconstruct(picture=Path("a.png"), set={"export.extraction.pieces": 3})
    export = export_config(options, method.surface)
    if method.surface is None:
        with pytest.raises(ConfigError, match="does not extract"):
            method.exported(export)
    else:
        assert method.exported(export).surface == replace(method.surface, pieces=3)


@pytest.mark.parametrize(
    ("option", "value"), [("resolution", "256"), ("smooth", "0"), ("extraction.blur", "0.3")]
)
def test_a_method_without_a_field_says_that_it_has_no_such_options(option, value, tmp_path, capsys):
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(tmp_path / "a.png")
    line = ["reconstruct", str(tmp_path / "a.png"), "--method", "cisp", "--out"]
    assert main([*line, str(tmp_path / "run"), "--quiet", f"--export.{option}", value]) == 2
    told = capsys.readouterr().err
    assert f"--export.{option}" in told
    assert "does not extract" in told


def test_generate_extracts_as_it_is_asked(tmp_path):
    more = [*QUICK, "--export.resolution", "40", "--export.smooth", "0", "--faces", "0"]
    assert run("generate", "a red chair", "--out", tmp_path / "run", "--quiet", *more) == 0
    record = read_record(tmp_path / "run")
    assert (record.export["resolution"], record.export["smooth"]) == (40, 0)
    mesh = Asset.load(tmp_path / "run" / "asset.glb").mesh
    # Vertices of marching cubes that were not smoothed lie on the edges of the grid, but for the
    # volume of what bulges between them, which is given back.
    at = (mesh.vertices.astype(np.float64) + 1) / 2 * 39
    off = np.sort(np.abs(at - np.round(at)), 1)
    assert np.median(off[:, 1]) < 0.05
