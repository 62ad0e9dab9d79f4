"""Decimation: what a surface is, it stays, and what was done to it is told."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from threestudio_like.cli import main
from threestudio_like.meshes.mesh import Asset, Mesh, join
from threestudio_like.meshes.surface.simplify import decimate, decimate_parts, displacement

CREATION = trimesh.creation


def mesh_of(body: trimesh.Trimesh, **extra) -> Mesh:
    """A mesh of trimesh's."""
    return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32), **extra)


def body_of(*meshes: Mesh) -> trimesh.Trimesh:
    """Meshes as trimesh sees them, vertices at one place as one."""
    whole = join(list(meshes))
    body = trimesh.Trimesh(whole.vertices, whole.faces, process=False)
    body.merge_vertices(merge_tex=True, merge_norm=True)
    return body


def moved(by) -> np.ndarray:
    return trimesh.transformations.translation_matrix(by)


def sheet(count: int = 24, height=lambda x, y: 0 * x) -> Mesh:
    """An open surface over the unit square, of 2 count^2 faces, with texture coordinates."""
    x, y = np.meshgrid(*[np.linspace(0, 1, count + 1)] * 2, indexing="ij")
    points = np.stack([x, y, height(x, y)], 2).reshape(-1, 3).astype(np.float32)
    at = np.arange(len(points)).reshape(count + 1, count + 1)
    a, b, c, d = at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]
    faces = np.concatenate([np.stack(f, 2).reshape(-1, 3) for f in ((a, b, c), (a, c, d))])
    return Mesh(points, faces.astype(np.int32), uv=points[:, :2].copy())


def tube(around: int = 96, along: int = 40) -> Mesh:
    """An open tube whose single chart meets itself along one line."""
    u, v = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, along + 1), indexing="ij")
    points = np.stack([np.cos(2 * np.pi * u), 2 * v, np.sin(2 * np.pi * u)], 2).astype(np.float32)
    points[-1] = points[0]
    at = np.arange(u.size).reshape(u.shape)
    a, b, c, d = at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]
    faces = np.concatenate([np.stack(f, 2).reshape(-1, 3) for f in ((a, c, b), (a, d, c))])
    uv = np.stack([u, v], 2).reshape(-1, 2).astype(np.float32)
    return Mesh(points.reshape(-1, 3), faces.astype(np.int32), uv=uv)


CLOSED = {
    "box": (CREATION.box(), 4),
    "thin plate": (CREATION.box((1, 1, 0.01)).subdivide().subdivide(), 4),
    "wire": (CREATION.cylinder(0.01, 2, sections=24).subdivide(), 4),
    "ball": (CREATION.icosphere(4), 4),
    "ring": (CREATION.torus(1, 0.3), 14),
    "washer": (CREATION.annulus(0.5, 1, 0.2, sections=48), 14),
    "capsule": (CREATION.capsule(), 4),
    "boxes": (
        trimesh.util.concatenate([CREATION.box(transform=moved((2 * k, 0, 0))) for k in range(20)]),
        80,
    ),
    "a ball far away": (CREATION.icosphere(3, radius=0.1).apply_translation((900, 0, 0)), 4),
    "a hollow ball": (
        trimesh.util.concatenate([CREATION.icosphere(3), CREATION.icosphere(3, radius=0.5)]),
        8,
    ),
}


@pytest.mark.parametrize("share", [0.5, 0.1, 0.0])
@pytest.mark.parametrize("name", list(CLOSED))
def test_closed_pieces_stay_closed_and_whole(name, share):
    body, fewest = CLOSED[name]
    mesh = mesh_of(body)
    wanted = max(4, int(share * len(mesh.faces)))
    small = decimate(mesh, wanted)
    after = body_of(small)
    assert after.is_watertight
    assert after.is_winding_consistent
    assert after.euler_number == body_of(mesh).euler_number
    assert after.body_count == body_of(mesh).body_count
    assert len(small.faces) <= max(wanted, fewest + 8)
    assert len(small.faces) >= fewest
    # No piece is flat.
    for piece in after.split(only_watertight=False):
        assert abs(piece.volume) > 1e-3 * np.prod(np.maximum(piece.extents, 1e-9))
    if share == 0.5 and len(mesh.faces) > 300:
        assert abs(small.volume / mesh.volume - 1) < 0.01


@pytest.mark.parametrize("count", [2000, 600, 150])
@pytest.mark.parametrize("name", ["ball", "ring", "capsule"])
def test_it_is_as_near_as_the_library(name, count):
    """By trimesh's own distances; fast_simplification is the yardstick."""
    import fast_simplification

    mesh = mesh_of(CLOSED[name][0].subdivide())
    other = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=count)
    small = decimate(mesh, count)
    assert len(small.faces) <= count

    def far(vertices: np.ndarray, faces: np.ndarray) -> float:
        points = mesh.vertices[:: len(mesh.vertices) // 200]
        triangles = np.tile(vertices[faces], (len(points), 1, 1))
        rows = np.repeat(points, len(faces), 0)
        there = trimesh.triangles.closest_point(triangles, rows)
        away = np.linalg.norm(there - rows, axis=1).reshape(len(points), -1)
        return float(away.min(1).max())

    assert far(small.vertices, small.faces) <= 1.1 * far(*other)
    size = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    assert displacement(mesh, small) >= far(small.vertices, small.faces) / size - 1e-6


@pytest.mark.parametrize("count", [600, 60, 4])
def test_borders_stay(count):
    flat = decimate(sheet(), count)
    assert len(flat.faces) <= count
    assert flat.area == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose([flat.vertices.min(0), flat.vertices.max(0)], [[0, 0, 0], [1, 1, 0]])
    np.testing.assert_allclose(flat.uv, flat.vertices[:, :2], atol=1e-6)
    open_tube = decimate(tube(), max(count, 40))
    ends = body_of(open_tube)
    ends = ends.vertices[np.unique(ends.outline().vertex_nodes)]
    assert set(np.round(ends[:, 1], 6)) == {0.0, 2.0}
    np.testing.assert_allclose(np.linalg.norm(ends[:, [0, 2]], axis=1), 1, atol=1e-5)


def test_a_chart_that_meets_itself_does_not_smear():
    mesh = tube()
    for count in (2000, 400, 100, 60, 40, 20):
        small = decimate(mesh, count)
        around = np.arctan2(small.vertices[:, 2], small.vertices[:, 0]) / (2 * np.pi)
        apart = np.abs((small.uv[:, 0] - around + 0.5) % 1 - 0.5)
        # With few faces the seam may give way.
        assert apart.max() < (1e-4 if count >= 100 else 0.2)
        np.testing.assert_allclose(small.uv[:, 1], small.vertices[:, 1] / 2, atol=1e-4)
        # A face that went over the seam would have all of the picture on it.
        assert np.ptp(small.uv[small.faces][..., 0], axis=1).max() < 0.3


def test_parts_that_meet_still_do():
    ball = mesh_of(CREATION.icosphere(4))
    middle = ball.vertices[ball.faces].mean(1)
    upper = middle[:, 2] > 0.1 * np.sin(5 * middle[:, 0])
    third = upper & (middle[:, 0] > 0)
    parts = [ball.keep_faces(m) for m in (~upper, upper & ~third, third)]
    for count in (1500, 300):
        small = decimate_parts(parts, count)
        assert sum(len(m.faces) for m in small) <= count
        whole = body_of(*small)
        assert whole.is_watertight
        assert whole.euler_number == 2
        assert displacement(ball, join(small)) < 0.03
        # The lines between them are toothed, and the teeth go.
        for before, after in zip(parts, small):
            assert displacement(before, after) < 0.08


def test_pinholes_of_turned_things_are_closed():
    """A tiny ring where a surface was turned about an axis would keep its three corners for ever;
    a hole that can be seen does."""
    for radius, closed in ((1e-5, True), (0.05, False)):
        line = np.array([[radius, 0], [0.5, 0.1], [0.5, 1], [radius, 1.2]])
        # A full turn is closed there by trimesh.
        body = trimesh.creation.revolve(line, sections=32)
        ends = np.abs(np.linalg.norm(body.vertices[:, :2], axis=1) - radius) < radius / 2
        body.update_faces(~ends[body.faces].all(1))
        mesh = mesh_of(body)
        assert len(body_of(mesh).outline().entities) >= 2
        small = decimate(mesh, 60)
        assert len(small.faces) <= 60
        assert body_of(small).is_watertight == closed
        assert displacement(mesh, small) < 0.1


def test_boxes_and_thin_legs_keep_their_corners_where_cylinders_have_faces_to_lose():
    parts = [
        mesh_of(CREATION.box((0.1, 1, 0.1), transform=moved((0.4 * k, 0, 0)))) for k in range(4)
    ]
    parts.append(mesh_of(CREATION.cylinder(0.5, 2, sections=64, transform=moved((0, 3, 0)))))
    small = decimate_parts(parts, 110)
    assert all(after is before for before, after in zip(parts[:4], small))
    assert len(small[4].faces) <= 62
    assert displacement(parts[4], small[4]) < 0.02


def test_small_parts_beside_large_ones_are_not_ruined():
    ball = mesh_of(CREATION.icosphere(5, radius=0.5))
    boxes = [mesh_of(CREATION.box(transform=moved((2 + 2 * k, 0, 0)))) for k in range(9)]
    small = decimate_parts([ball, *boxes], 1500)
    assert sum(len(m.faces) for m in small) <= 1500
    for before, after in zip(boxes, small[1:]):
        assert after is before


def test_faces_seen_from_both_sides_stay_together():
    one = sheet(height=lambda x, y: 0.1 * np.sin(5 * x) * np.cos(4 * y))
    both = Mesh(one.vertices, np.concatenate([one.faces, one.faces[:, ::-1]]), uv=one.uv)
    small = decimate(both, 200)
    assert len(small.faces) <= 200
    rows = np.sort(small.vertices[small.faces].sum(2), 1).round(5)
    _, count = np.unique(rows, axis=0, return_counts=True)
    assert (count == 2).all()
    assert abs(small.volume) < 1e-6


def test_seams_give_way_where_they_are_everywhere():
    """Every face a chart of its own, as of files that were unwrapped face by face."""
    ball = mesh_of(CREATION.icosphere(3))
    corners = ball.vertices[ball.faces].reshape(-1, 3)
    faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    uv = np.random.default_rng(0).random((len(corners), 2)).astype(np.float32)
    small = decimate(Mesh(corners, faces, uv=uv), 300)
    assert len(small.faces) <= 300
    assert body_of(small).is_watertight
    assert np.isfinite(small.uv).all()


def test_colours_stay_on_their_side():
    ball = mesh_of(CREATION.icosphere(4))
    up = ball.vertices[ball.faces].mean(1)[:, 2] > 0
    corners = ball.vertices[ball.faces].reshape(-1, 3)
    colours = np.repeat(np.where(up[:, None], [1.0, 0, 0], [0, 0, 1.0]), 3, 0).astype(np.float32)
    faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    small = decimate(Mesh(corners, faces, colours=colours), 400)
    assert len(small.faces) <= 400
    assert set(map(tuple, small.colours)) == {(1, 0, 0), (0, 0, 1)}
    red = (small.colours[small.faces][..., 0] == 1).all(1)
    blue = (small.colours[small.faces][..., 2] == 1).all(1)
    assert (red | blue).all()
    assert body_of(small).is_watertight


def bad_surfaces() -> dict[str, Mesh]:
    random = np.random.default_rng(3)
    points = random.random((60, 3)).astype(np.float32)
    ball = mesh_of(CREATION.icosphere(2))
    fan = np.stack([np.zeros(20), np.ones(20), np.arange(2, 22)], 1).astype(np.int32)
    crosses = mesh_of(
        trimesh.util.concatenate([CREATION.box(), CREATION.box(transform=moved((1, 0, 0)))])
    )
    return {
        "soup": Mesh(points, random.integers(0, 60, (300, 3)).astype(np.int32)),
        "degenerate": Mesh(ball.vertices, np.concatenate([ball.faces, ball.faces[:, [0, 0, 1]]])),
        "lines": Mesh(points * [1, 0, 0], random.integers(0, 60, (200, 3)).astype(np.int32)),
        "one point": Mesh(points * 0, random.integers(0, 60, (200, 3)).astype(np.int32)),
        "fan on an edge": Mesh(points[:22], fan),
        "half turned": Mesh(
            ball.vertices, np.concatenate([ball.faces[:100], ball.faces[100:, ::-1]])
        ),
        "twice": Mesh(ball.vertices, np.concatenate([ball.faces, ball.faces])),
        "boxes wall to wall": crosses,
        "far away": Mesh(ball.vertices + np.float32(1e4), ball.faces),
        "tiny": Mesh(ball.vertices * np.float32(1e-9), ball.faces),
        "huge": Mesh(ball.vertices * np.float32(1e9), ball.faces),
    }


@pytest.mark.parametrize("name", list(bad_surfaces()))
def test_no_surface_is_too_bad(name):
    mesh = bad_surfaces()[name]
    mesh.vertices = mesh.vertices.astype(np.float32)
    for count in (100, 4):
        small = decimate(mesh, count)
        assert 0 < len(small.faces) <= len(mesh.faces)
        assert np.isfinite(small.vertices).all()
        assert small.faces.max() < len(small.vertices)
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        slack = (high - low).max() + 1e-12
        assert (small.vertices >= low - slack).all()
        assert (small.vertices <= high + slack).all()
    if name not in ("one point", "lines", "soup", "fan on an edge", "boxes wall to wall"):
        assert len(decimate(mesh, 100).faces) <= 100


def test_what_it_did_is_told(tmp_path, capsys):
    parts = {
        "ball": mesh_of(CREATION.icosphere(4)),
        "box": mesh_of(CREATION.box(transform=moved((3, 0, 0)))),
    }
    Asset(parts).save(tmp_path / "in.glb")
    words = ["mesh", "decimate", str(tmp_path / "in.glb"), "--out", str(tmp_path / "out.glb")]
    assert main([*words, "--faces", "100"]) == 0
    said = capsys.readouterr().out
    assert "moved by at most" in said
    assert "volume -" in said
    assert "12 -> 12 faces" in said
    assert main(["export", str(tmp_path / "in.glb"), "--to", "obj", "--faces", "100"]) == 0
    said = capsys.readouterr().err
    assert "Note: ball: 5120 -> 88 faces, moved by at most " in said
    # Nobody is told of a part that is as it was.
    assert "box:" not in said
    assert main([*words, "--faces", "4", "--force"]) == 0
    told = capsys.readouterr()
    assert "8 faces are the fewest that this shape can have here; 4 were asked for" in told.err


def instanced(tmp_path, places) -> list[np.ndarray]:
    """A GLB of one ball at several places, written by trimesh; returns its matrices."""
    scene = trimesh.Scene()
    scene.add_geometry(CREATION.icosphere(3), geom_name="ball", node_name="n0", transform=places[0])
    for number, place in enumerate(places[1:], 1):
        scene.graph.update(f"n{number}", matrix=place, geometry="ball")
    (tmp_path / "in.glb").write_bytes(scene.export(file_type="glb"))
    return places


def test_copies_stay_copies(tmp_path):
    turn = trimesh.transformations.rotation_matrix
    places = [moved((3 * k, 0, 0)) @ turn(0.7 * k, (1, 2, 0)) for k in range(4)]
    places[3][:3, :3] *= [2, 1, 0.5]
    instanced(tmp_path, places)
    words = ["mesh", "decimate", str(tmp_path / "in.glb"), "--out", str(tmp_path / "out.glb")]
    assert main([*words, "--faces", "800"]) == 0
    scene = trimesh.load(tmp_path / "out.glb")
    assert len(scene.geometry) == 1
    ball = next(iter(scene.geometry.values()))
    assert len(ball.faces) == 200
    assert ball.is_watertight
    for number, place in enumerate(places):
        np.testing.assert_allclose(scene.graph.get(f"n{number}")[0], place, atol=1e-6)
    # And the meshes that Python code sees are those of the file.
    again = Asset.load(tmp_path / "out.glb")
    whole = Asset.load(tmp_path / "in.glb")
    for before, after in zip(whole.meshes.values(), again.meshes.values()):
        assert displacement(before, after) < 0.02


@pytest.mark.parametrize("normals", [True, False])
def test_copies_that_a_node_mirrors_stay_copies(tmp_path, capsys, normals):
    turn = trimesh.transformations.rotation_matrix
    places = [moved((3 * k, 0, 0)) @ turn(0.7 * k, (1, 2, 0)) for k in range(4)]
    places[0][:3, :3] *= [1, 1.5, 1]
    places[1][:3, :3] *= [-1, 1, 1]
    places[3][:3, :3] *= [2, -1, 0.5]
    instanced(tmp_path, places)
    if normals:
        ball = CREATION.icosphere(3)
        scene = trimesh.Scene()
        scene.add_geometry(ball, geom_name="ball", node_name="n0", transform=places[0])
        for number, place in enumerate(places[1:], 1):
            scene.graph.update(f"n{number}", matrix=place, geometry="ball")
        data = scene.export(file_type="glb", include_normals=True)
        (tmp_path / "in.glb").write_bytes(data)
    words = ["mesh", "decimate", str(tmp_path / "in.glb"), "--out", str(tmp_path / "out.glb")]
    assert main([*words, "--faces", "800"]) == 0
    assert "instances" not in capsys.readouterr().err
    scene = trimesh.load(tmp_path / "out.glb")
    assert [len(ball.faces) for ball in scene.geometry.values()] == [200]
    for number, place in enumerate(places):
        np.testing.assert_allclose(scene.graph.get(f"n{number}")[0], place, atol=1e-6)
    again = Asset.load(tmp_path / "out.glb")
    whole = Asset.load(tmp_path / "in.glb")
    for before, after in zip(whole.meshes.values(), again.meshes.values()):
        assert displacement(before, after) < 0.05
        # Faces look outwards, and normals with them, as before.
        corners = after.vertices[after.faces].astype(np.float64) - after.vertices.mean(0)
        assert np.linalg.det(corners).sum() > 0
        out = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (np.einsum("fkc,fc->fk", after.normals[after.faces], out) > 0).all()


def test_copies_that_meet_others_go_with_them():
    half = sheet(height=lambda x, y: 0.2 * np.sin(6 * x) * np.cos(5 * y))
    mirrored = Mesh(half.vertices * np.float32([1, -1, 1]), half.faces, uv=half.uv)
    small = decimate_parts([half, mirrored], 200)
    assert sum(len(m.faces) for m in small) <= 200
    seam = [set(map(tuple, m.vertices[m.vertices[:, 1] == 0])) for m in small]
    assert seam[0] == seam[1]
