"""Extraction, unwrapping, baking, files, verification, geometry metrics."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.engine.errors import ExportError, InputError, OutputError
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh, join
from threestudio_like.meshes.picture import render_mesh
from threestudio_like.meshes.surface.clean import inspect
from threestudio_like.meshes.surface.extraction import (
    ExtractionConfig,
    bridge,
    choose_level,
    decimate,
    extract,
    iou,
    isosurface,
    largest_pieces,
    silhouette,
    solidify,
)
from threestudio_like.meshes.surface.smoothing import flatten, relax
from threestudio_like.meshes.texture.bake import atlas_raster, bake, fill_gaps
from threestudio_like.meshes.texture.unwrap import overlap, unwrap, unwrap_grid
from threestudio_like.meshes.verification import verify
from threestudio_like.metrics import compare, front_azimuth, janus_index
from threestudio_like.metrics.geometry import occupancy
from threestudio_like.renderers import RingCameras
from threestudio_like.toybox.shapes import box, ellipsoid

CAMERAS = RingCameras().all(64).view_projection().numpy()


def grid(size=48):
    line = np.linspace(-1, 1, size)
    return np.meshgrid(line, line, line, indexing="ij")


def ball_density(radius=0.6, scale=40.0, size=48):
    z, y, x = grid(size)
    return np.clip((radius - np.sqrt(x * x + y * y + z * z)) * 20, 0, 1) * scale


def ball_opacity(radius=0.6, size=64):
    cameras = RingCameras().all(size)
    origins, directions = cameras.rays()
    nearest = (origins - (origins * directions).sum(-1, keepdim=True) * directions).norm(dim=-1)
    return (nearest < radius).float().numpy()


def f_marked_cube():
    """A box with an asymmetric mark, so that any turn or mirror shows."""
    parts = [
        box((1.0, 1.0, 1.0)),
        box((0.2, 0.8, 0.1), (-0.3, 0, 0.55)),
        box((0.5, 0.15, 0.1), (0, 0.32, 0.55)),
        box((0.1, 0.3, 0.3), (0.55, 0.3, 0)),
    ]
    mesh = join([Mesh(v, f) for v, f in parts])
    mesh, _ = unwrap(mesh, 128)
    return bake(mesh.with_normals(), lambda p, n: (p + 1) / 2, 128)


@pytest.mark.parametrize("scale", [5.0, 40.0, 1000.0])
def test_the_radius_of_a_ball_is_found_at_any_density(scale):
    mesh, figures = extract(
        ball_density(scale=scale), CAMERAS, ball_opacity(), ExtractionConfig(size=48, relax=2)
    )
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert radius.mean() == pytest.approx(0.6, rel=0.05)
    assert figures["silhouette agreement"] > 0.95
    assert mesh.volume > 0


def test_marching_cubes_axes_and_orientation():
    z, y, x = grid(40)
    volume = 1.0 - np.maximum(np.maximum(np.abs(x - 0.5) / 0.3, np.abs(y) / 0.2), np.abs(z) / 0.1)
    mesh = isosurface(volume, 0.0)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert low == pytest.approx([0.2, -0.2, -0.1], abs=0.04)
    assert high == pytest.approx([0.8, 0.2, 0.1], abs=0.04)
    assert mesh.volume > 0
    assert isosurface(volume, 99.0) is None


def test_an_empty_volume_is_an_error():
    with pytest.raises(ExportError, match="volume is empty"):
        choose_level(ball_density(), CAMERAS, np.zeros((8, 64, 64)))
    with pytest.raises(ExportError, match="no iso level"):
        choose_level(np.zeros((20, 20, 20)), CAMERAS, ball_opacity())


def test_a_base_colour_factor_is_linear_in_a_file(tmp_path):
    """glTF 2.0, 3.9.2: factors are linear; a material's colour is as it is displayed (sRGB)."""
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "buffers": [
            {
                "byteLength": len(places),
                "uri": "data:application/octet-stream;base64," + base64.b64encode(places).decode(),
            }
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(places)}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            }
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.002, 1.0, 0.25]}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    (tmp_path / "one.gltf").write_text(json.dumps(document))
    colour = Asset.load(tmp_path / "one.gltf").mesh.material.colour
    # 1.055 * 0.5^(1 / 2.4) - 0.055, and 12.92 * 0.002 below 0.0031308.
    assert colour == pytest.approx((0.735357, 0.02584, 1.0, 0.25), abs=1e-5)


def test_volume_and_area_of_a_box():
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int32))
    assert mesh.volume == pytest.approx(6.0)
    assert mesh.area == pytest.approx(22.0)
    turned = Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())
    assert turned.volume == pytest.approx(-6.0)


@pytest.mark.parametrize("face", range(12))
def test_faces_that_run_against_their_neighbour_are_counted(face):
    box = trimesh.creation.box()
    faces = np.asarray(box.faces, np.int32).copy()
    vertices = np.asarray(box.vertices, np.float32)
    key = "edges wound against their neighbour"
    assert inspect(Mesh(vertices, faces))[key] == 0
    faces[face] = faces[face][::-1]
    assert inspect(Mesh(vertices, faces))[key] == 3


def test_floaters_go_and_pieces_stay_on_request():
    a, b = ellipsoid((0.5, 0.5, 0.5)), ellipsoid((0.05, 0.05, 0.05), (0.8, 0.8, 0.0))
    mesh = join([Mesh(*a), Mesh(*b)])
    assert int(mesh.components().max()) == 1
    assert len(largest_pieces(mesh, 1).faces) == len(a[1])
    assert len(largest_pieces(mesh, 2, 0.0).faces) == len(a[1]) + len(b[1])
    assert len(largest_pieces(mesh, 2).faces) == len(a[1])


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e5])
def test_pieces_and_normals_of_things_of_any_size(size):
    """The wheels of a watch in metres, and a town."""
    balls = [ellipsoid((0.5, 0.5, 0.5)), ellipsoid((0.05, 0.05, 0.05), (0.8, 0.8, 0.0))]
    mesh = join([Mesh(vertices * np.float32(size), faces) for vertices, faces in balls])
    piece = mesh.components()
    assert np.bincount(piece).tolist() == [len(faces) for _, faces in balls]
    for shown in (mesh.with_normals(), mesh.with_creases()):
        large = mesh.vertices[: len(balls[0][0])].astype(np.float64)
        out = large / np.linalg.norm(large, axis=1, keepdims=True)
        assert (shown.normals[: len(out)] * out).sum(1).min() > 0.98


def test_a_stem_that_came_off_is_bridged_where_there_is_faint_matter():
    z, y, x = grid(48)
    crown = (np.sqrt(x * x + (y - 0.3) ** 2 + z * z) < 0.4).astype(float)
    stem = ((np.abs(x) < 0.1) & (np.abs(z) < 0.1) & (y < -0.17) & (y > -0.7)).astype(float)
    seam = 0.08 * ((np.abs(x) < 0.1) & (np.abs(z) < 0.1) & (y >= -0.17) & (y <= -0.05))
    apart = np.maximum(crown, stem)
    assert int(isosurface(bridge(np.maximum(apart, seam), 0.2), 0.2).components().max()) == 0
    assert int(isosurface(bridge(apart, 0.2), 0.2).components().max()) == 1, (
        "nothing in between, nothing joined"
    )


def test_relaxing_keeps_the_volume_and_smooths():
    mesh = isosurface(ball_density(), 5.0)
    rng = np.random.default_rng(0)
    rough = Mesh(
        mesh.vertices + rng.normal(0, 0.01, mesh.vertices.shape).astype(np.float32), mesh.faces
    )
    smooth = relax(rough, 10)
    assert smooth.volume == pytest.approx(mesh.volume, rel=0.03)
    assert (
        np.linalg.norm(smooth.vertices, axis=1).std()
        < 0.5 * np.linalg.norm(rough.vertices, axis=1).std()
    )


def test_a_pinhole_makes_no_inner_surface():
    line = np.linspace(-1, 1, 61)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    shell = ((radius < 0.8) & (radius > 0.68)).astype(np.float32)
    shell[(np.hypot(x, z) < 0.05) & (y > 0)] = 0.0
    cup = shell.copy()
    cup[(np.hypot(x, z) < 0.45) & (y > 0)] = 0.0
    filled = isosurface(solidify(shell, 0.5), 0.5)
    assert filled.volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.06)
    assert isosurface(solidify(cup, 0.5), 0.5).volume == pytest.approx(
        isosurface(cup, 0.5).volume, rel=0.02
    )


def test_flattening_makes_noisy_planes_flat_and_keeps_edges():
    line = np.linspace(-1, 1, 49)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    rng = np.random.Generator(np.random.Philox(key=3))
    field = 0.6 - np.maximum(np.maximum(abs(x), abs(y)), abs(z))
    noisy = isosurface(field + rng.normal(0, 0.006, field.shape), 0.0)
    flat = flatten(noisy, 40)

    def tilt(mesh):
        raw = np.cross(
            mesh.vertices[mesh.faces[:, 1]] - mesh.vertices[mesh.faces[:, 0]],
            mesh.vertices[mesh.faces[:, 2]] - mesh.vertices[mesh.faces[:, 0]],
        )
        unit = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
        middle = np.abs(mesh.vertices[mesh.faces].mean(1))
        on_a_plane = np.sort(middle, 1)[:, 1] < 0.45
        return float(np.degrees(np.arccos(np.abs(unit[on_a_plane]).max(1).clip(0, 1))).mean())

    assert tilt(flat) < 0.25 * tilt(noisy)
    assert flat.volume == pytest.approx(1.2**3, rel=0.02)
    assert np.abs(flat.vertices).max(0) == pytest.approx(np.full(3, 0.6), abs=0.03)
    assert flatten(noisy, 0) is noisy


def test_decimation_keeps_the_shape():
    mesh = isosurface(ball_density(size=64), 5.0)
    small = decimate(mesh, 1500)
    assert len(small.faces) <= 1600
    assert small.volume == pytest.approx(mesh.volume, rel=0.03)
    assert iou(silhouette(small, CAMERAS, 64), silhouette(mesh, CAMERAS, 64)) > 0.97


def test_many_faces_take_the_coordinates_of_a_proxy(monkeypatch):
    import trimesh

    from threestudio_like.meshes.texture import unwrap as module

    monkeypatch.setattr(module, "PROXY_FROM", 5000)
    monkeypatch.setattr(module, "PROXY_FACES", 2000)
    body = trimesh.creation.torus(0.6, 0.25, major_sections=90, minor_sections=50)
    mesh = Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32))
    unwrapped, how = unwrap(mesh, 256)
    assert how == "xatlas on a proxy"
    assert len(unwrapped.faces) == len(mesh.faces)
    assert overlap(unwrapped) < 0.02
    assert np.array_equal(unwrapped.vertices[unwrapped.faces], mesh.vertices[mesh.faces])
    # Without time xatlas gives up, and the grid serves.
    assert unwrap(mesh, 256, seconds=0.01)[1] == "grid"


@pytest.mark.parametrize("how", ["xatlas", "grid"])
def test_unwrapping_gives_a_proper_atlas(how):
    mesh = decimate(isosurface(ball_density(), 5.0), 1200)
    unwrapped = unwrap(mesh, 256)[0] if how == "xatlas" else unwrap_grid(mesh, 256)
    assert unwrapped.uv.min() >= 0
    assert unwrapped.uv.max() <= 1
    assert len(unwrapped.faces) == len(mesh.faces)
    assert overlap(unwrapped) < 0.03
    assert unwrapped.volume == pytest.approx(mesh.volume, rel=1e-4)


def test_unwrapping_falls_back_when_time_is_up():
    mesh, how = unwrap(Mesh(*ellipsoid((0.5, 0.5, 0.5))), 128, seconds=0.001)
    assert how == "grid"
    assert mesh.uv is not None


def test_baked_colours_are_those_of_the_surface_and_padding_is_filled():
    mesh = f_marked_cube()
    pixels = atlas_raster(mesh, 128)
    assert 0.1 < float((pixels[..., 3] > 0).float().mean()) < 1.0
    picture = render_mesh(mesh, CAMERAS[:1], 96, supersample=1)
    # The front face of the cube lies at z = 0.5: its blue is 0.75.
    centre = picture.image[0, 48, 44]
    assert centre[2] == pytest.approx(0.76, abs=0.05)
    values = np.zeros((4, 4, 3), np.float32)
    values[1, 1] = 0.7
    known = np.zeros((4, 4), bool)
    known[1, 1] = True
    assert np.allclose(fill_gaps(values, known), 0.7)


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_every_format_round_trips_and_is_verified(tmp_path, kind):
    asset = Asset({"thing": f_marked_cube()}, {"prompt": "a cube"})
    path = asset.save(tmp_path / f"a.{kind}")
    verdict = verify(path, asset, CAMERAS)
    assert verdict.passed, verdict.line()
    assert verdict.iou > 0.999
    if kind in ("glb", "obj"):
        assert verdict.psnr >= 35
    again = Asset.load(path)
    assert len(again.mesh.faces) == len(asset.mesh.faces)
    if kind == "glb":
        assert again.provenance == {"prompt": "a cube"}
        assert list(again.meshes) == ["thing"]


@pytest.mark.parametrize(
    "damage", ["turned", "mirrored", "inside out", "scaled", "recoloured", "cut"]
)
def test_a_bad_file_is_not_called_good(tmp_path, damage):
    asset = Asset({"thing": f_marked_cube()})
    mesh = asset.mesh
    bad = Mesh(mesh.vertices.copy(), mesh.faces.copy(), mesh.uv, mesh.texture.copy())
    if damage == "turned":
        bad.vertices = bad.vertices[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32)
    elif damage == "mirrored":
        bad.vertices[:, 0] *= -1
        bad.faces = bad.faces[:, ::-1].copy()
    elif damage == "inside out":
        bad.faces = bad.faces[:, ::-1].copy()
    elif damage == "scaled":
        bad.vertices *= 1.1
    elif damage == "recoloured":
        bad.texture = 255 - bad.texture
    else:
        bad = bad.keep_faces(np.arange(len(bad.faces)) % 3 > 0)
    path = Asset({"thing": bad}).save(tmp_path / "bad.glb")
    assert not verify(path, asset, CAMERAS).passed


def test_the_same_asset_gives_the_same_bytes(tmp_path):
    asset = Asset({"thing": f_marked_cube()}, {"seed": 1})
    assert (
        asset.save(tmp_path / "a.glb").read_bytes() == asset.save(tmp_path / "b.glb").read_bytes()
    )


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.glb")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(InputError, match="not a mesh format"):
        read(tmp_path / "a.docx")
    for name in ("a.glb", "a.obj", "a.ply", "a.stl"):
        (tmp_path / name).write_bytes(b"\x00\x01 nonsense")
        with pytest.raises(InputError):
            read(tmp_path / name)
    with pytest.raises(ExportError, match=r"Known|mean"):
        Asset({"a": f_marked_cube()}).save(tmp_path / "a.fbx")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError):
        read(tmp_path / "nan.obj")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    import os

    asset = Asset({"thing": f_marked_cube()})
    path = asset.save(tmp_path / "a.glb")
    before = path.read_bytes()
    monkeypatch.setattr(
        os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OutputError, match="full"):
        asset.save(path)
    assert path.read_bytes() == before


def test_geometry_metrics_on_analytic_shapes():
    a, b = (
        Mesh(*ellipsoid((0.5, 0.5, 0.5), segments=48, rows=32)),
        Mesh(*ellipsoid((0.55, 0.55, 0.55), segments=48, rows=32)),
    )
    same = compare(a, a)
    assert same["volume iou"] == 1.0
    assert same["chamfer-l1"] < 0.01
    assert same["normal consistency"] > 0.98
    other = compare(a, b)
    assert other["chamfer-l1"] == pytest.approx(0.05, abs=0.006)
    assert other["volume iou"] == pytest.approx((0.5 / 0.55) ** 3, abs=0.03)
    assert other["f-score @ 0.02"] < 0.05


def test_occupancy_of_overlapping_boxes_is_their_union():
    mesh = join([Mesh(*box((1.0, 1.0, 1.0))), Mesh(*box((1.0, 1.0, 1.0), (0.5, 0.0, 0.0)))])
    share = occupancy(mesh, 64).mean() * 8
    assert share == pytest.approx(1.5, rel=0.06)


def lobes(azimuth, fronts, width=35.0):
    """1 within `width` degrees of each front (degrees), else 0."""
    away = torch.stack([torch.cos(azimuth - torch.tensor(f).deg2rad()) for f in fronts]).amax(0)
    return (away > torch.cos(torch.tensor(width).deg2rad()) - 1e-6).double()


def test_the_janus_index_ranks_heads_by_their_faces():
    azimuth = torch.arange(24, dtype=torch.float64) / 24 * 2 * torch.pi
    one, two, three, four = (
        janus_index(lobes(azimuth, [360.0 * k / n for k in range(n)]), azimuth)
        for n in (1, 2, 3, 4)
    )
    everywhere = janus_index(torch.ones(24), azimuth)
    assert one == pytest.approx(0, abs=1e-9)
    # 1 - 1 / n of the mass of n fronts is beyond the main one, of what is even everywhere 3 / 4.
    for index, wanted in ((two, 2 / 3), (three, 8 / 9), (four, 1.0), (everywhere, 1.0)):
        assert index == pytest.approx(wanted, abs=1e-6)
    half = lobes(azimuth, [0.0]) + 0.4 * lobes(azimuth, [180.0])
    assert one < janus_index(half, azimuth) < two < three < everywhere + 1e-9


def test_a_single_front_is_one_wherever_it_is():
    azimuth = torch.arange(24, dtype=torch.float64) / 24 * 2 * torch.pi
    for degrees in (0.0, 45.0, 90.0, 180.0, 300.0):
        front = lobes(azimuth, [degrees])
        assert janus_index(front, azimuth) == pytest.approx(0, abs=1e-9)
        turned = front_azimuth(front, azimuth)
        assert math.cos(turned - math.radians(degrees)) == pytest.approx(1, abs=1e-9)
    two = lobes(azimuth, [90.0]) + 0.5 * lobes(azimuth, [270.0])
    assert front_azimuth(two, azimuth) == pytest.approx(math.pi / 2)


def test_where_nothing_is_like_a_front_there_is_no_index():
    azimuth = torch.arange(24) / 24 * 2 * torch.pi
    for nothing in (torch.zeros(24), torch.full((24,), 0.01)):
        assert math.isnan(janus_index(nothing, azimuth))
        assert math.isnan(front_azimuth(nothing, azimuth))
    with pytest.raises(ValueError, match="finite"):
        janus_index(torch.full((24,), math.nan), azimuth)


def test_views_need_not_be_evenly_spread():
    generator = torch.Generator().manual_seed(0)
    azimuth = torch.rand(400, generator=generator, dtype=torch.float64) * 2 * torch.pi
    assert janus_index(lobes(azimuth, [200.0], 30.0), azimuth) < 0.02
    assert janus_index(torch.ones(400), azimuth) == pytest.approx(1, abs=0.15)
