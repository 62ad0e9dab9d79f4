"""The mesh toolchain: frames, every format there and back, cleaning, decimation, atlases, and what
a stranger's file may hold."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like import kernels
from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError, InputError, OutputError
from threestudio_like.kernels.reference import distance as by_hand
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.frames import AXES, Frame, Normalisation, from_canonical, to_canonical
from threestudio_like.meshes.io.merge import joined
from threestudio_like.meshes.mesh import Material
from threestudio_like.meshes.picture import render_asset
from threestudio_like.meshes.points import (
    estimate_normals,
    hidden_faces,
    read_cloud,
    register,
    sample_surface,
)
from threestudio_like.meshes.surface.clean import clean, inspect
from threestudio_like.meshes.surface.simplify import decimate
from threestudio_like.meshes.texture.atlas import join_atlas
from threestudio_like.meshes.texture.bake import bake
from threestudio_like.meshes.texture.coordinates import examine_uv, with_coordinates
from threestudio_like.meshes.toolchain import ToolOptions, run_tool
from threestudio_like.meshes.verification import psnr
from threestudio_like.renderers import RingCameras

CAMERAS = RingCameras(count=6, elevation=20.0).all(128).view_projection().numpy()


def f_cube() -> Asset:
    """A box longer than high than deep whose six sides show an F, each in a colour of its own; two
    parts, two materials."""
    letter = np.zeros((9, 7), bool)
    letter[1:8, 1], letter[1, 1:6], letter[4, 1:5] = True, True, True
    colours = np.array(
        [
            [220, 60, 50],
            [60, 160, 70],
            [60, 80, 210],
            [230, 190, 60],
            [150, 70, 190],
            [60, 190, 200],
        ],
        np.uint8,
    )
    size = 64
    texture = np.full((2 * size, 3 * size, 3), 255, np.uint8)
    vertices, uv, faces = [], [], []
    for side, (axis, sign) in enumerate((a, s) for a in range(3) for s in (1, -1)):
        row, column = divmod(side, 3)
        tile = np.kron(letter, np.ones((7, 9), bool))[:size, : size - 1]
        patch = np.full((size, size, 3), 250, np.uint8)
        patch[: tile.shape[0], : tile.shape[1]][tile] = colours[side]
        texture[row * size : (row + 1) * size, column * size : (column + 1) * size] = patch
        normal = np.zeros(3)
        normal[axis] = sign
        right = np.roll(normal, 1) * (1 if sign > 0 else -1)
        up = np.cross(normal, right)
        corner = [
            normal - right - up,
            normal + right - up,
            normal + right + up,
            normal - right + up,
        ]
        faces += [[4 * side, 4 * side + 1, 4 * side + 2], [4 * side, 4 * side + 2, 4 * side + 3]]
        vertices += corner
        edge = 0.02
        low = np.array([column + edge, 1 - row + edge]) / [3, 2]
        high = np.array([column + 1 - edge, 2 - row - edge]) / [3, 2]
        uv += [[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]]
    points = (np.array(vertices) * [0.6, 0.4, 0.25] + [0.05, -0.1, 0.15]).astype(np.float32)
    whole = Mesh(points, np.array(faces, np.int32), np.array(uv, np.float32), texture)
    first = replace(whole.keep_faces(np.arange(12) < 8), material=Material("paint", roughness=0.5))
    second = replace(
        whole.keep_faces(np.arange(12) >= 8),
        material=Material("other paint", metallic=0.25),
        texture=texture,
    )
    return Asset({"walls": first.with_normals(), "lids": second.with_normals()})


def compare(a: Asset, b: Asset, apart: float = 1e-3) -> float:
    one, two = render_asset(a, CAMERAS, 128), render_asset(b, CAMERAS, 128)
    assert np.logical_xor(one.mask > 0.5, two.mask > 0.5).mean() < apart
    return psnr(one.image, two.image, one.mask > 0.5)


FRAMES = [
    Frame("y", "z"),
    Frame("z", "-y", "cm"),
    Frame("-x", "y", "mm"),
    Frame("z", "x", "in"),
    Frame("y", "-z", "ft"),
]


@pytest.mark.parametrize("kind", ["glb", "obj"])
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_f_cube_there_and_back(kind, frame, tmp_path):
    asset = f_cube()
    path = asset.save(tmp_path / f"cube.{kind}", frame)
    again = Asset.load(path, frame)
    assert compare(asset, again) >= 35
    assert list(again.meshes) == list(asset.meshes)
    for old, new in zip(asset.meshes.values(), again.meshes.values()):
        assert np.abs(new.vertices - old.vertices).max() < 1e-6
        assert np.array_equal(new.faces, old.faces)
        assert np.abs(new.uv - old.uv).max() < 1e-7
        assert np.array_equal(new.texture, old.texture)
        assert new.material.name == old.material.name
        assert new.material.roughness == pytest.approx(old.material.roughness)
        assert new.material.metallic == pytest.approx(old.material.metallic)
    # Read in another frame than it was written in, it is somewhere else.
    if not frame.plain:
        other = Asset.load(path)
        assert np.abs(other.meshes["walls"].vertices - asset.meshes["walls"].vertices).max() > 0.1


@pytest.mark.parametrize("kind", ["ply", "stl"])
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_formats_without_textures_keep_shape_and_handedness(kind, frame, tmp_path):
    asset = f_cube()
    again = Asset.load(asset.save(tmp_path / f"cube.{kind}", frame), frame)
    one, two = (
        render_asset(asset, CAMERAS, 128, clay=True),
        render_asset(again, CAMERAS, 128, clay=True),
    )
    assert np.logical_xor(one.mask > 0.5, two.mask > 0.5).mean() < 1e-3
    assert again.mesh.volume == pytest.approx(asset.mesh.volume, rel=1e-4)
    if kind == "ply":
        assert again.mesh.texture is not None


def test_every_frame_is_a_rotation_and_undone():
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    asset = Asset(
        {"a": Mesh(points, np.arange(18, dtype=np.int32).reshape(-1, 3), normals=points.copy())}
    )
    count = 0
    for up in AXES:
        for front in AXES:
            if up.strip("-") == front.strip("-"):
                with pytest.raises(ConfigError):
                    Frame(up, front)
                continue
            frame = Frame(up, front, "cm")
            assert np.linalg.det(frame.rotation()) == pytest.approx(1)
            assert np.allclose(frame.rotation() @ AXES[up], [0, 1, 0])
            assert np.allclose(frame.rotation() @ AXES[front], [0, 0, 1])
            there = to_canonical(asset, frame)
            assert np.allclose(
                there.meshes["a"].vertices @ [0, 1, 0],
                points @ np.array(AXES[up]) * 0.01,
                atol=1e-6,
            )
            assert np.allclose(from_canonical(there, frame).meshes["a"].vertices, points, atol=1e-5)
            count += 1
    assert count == 24


def test_placement_and_its_undoing():
    points = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32) * 40 + [100, -20, 7]
    for placement, radius in (
        (Normalisation.of(points), 0.95),
        (Normalisation.of_mean(points, 0.6, (0.0, 0.25, 0.0)), 0.6),
    ):
        placed = placement.apply(points)
        centre = np.array([0, 0.25, 0]) if radius == 0.6 else np.zeros(3)
        assert np.linalg.norm(placed - centre, axis=1).max() == pytest.approx(radius, abs=1e-5)
        assert np.allclose(placement.undo(placed), points, atol=1e-3)
    assert Normalisation.of_mean(points, 0.6, (0.0, 0.25, 0.0)).apply(points).mean(
        0
    ) == pytest.approx([0, 0.25, 0], abs=1e-5)


OBJ = """mtllib a.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
o bottom
usemtl red
f 1/1 4/4 3/3 2/2
o top part
usemtl blue
f -4/1 -3/2 -2/3 -1/4
usemtl red
f 1 2 6
f 1 6 5
"""


def test_obj_quads_negative_indices_objects_and_materials(tmp_path):
    (tmp_path / "a.obj").write_text(OBJ)
    (tmp_path / "a.mtl").write_text(
        "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\nPr 0.25\nPm 0.5\nd 0.75\n"
    )
    asset = Asset.load(tmp_path / "a.obj")
    assert list(asset.meshes) == ["bottom", "top part", "top part:red"]
    assert [m.part for m in asset.meshes.values()] == ["bottom", "top part", "top part"]
    assert [len(m.faces) for m in asset.meshes.values()] == [2, 2, 2]
    assert asset.meshes["top part"].vertices.min(0).tolist() == [0, 0, 1]
    blue = asset.meshes["top part"].material
    assert (blue.name, blue.colour, blue.roughness, blue.metallic) == (
        "blue",
        (0.0, 0.0, 1.0, 0.75),
        0.25,
        0.5,
    )
    assert asset.meshes["top part:red"].uv is None
    again = Asset.load(asset.save(tmp_path / "b.glb"))
    assert [m.material.name for m in again.meshes.values()] == ["red", "blue", "red"]
    # A part of two materials is one node with two primitives.
    document = json.loads(
        (tmp_path / "b.glb").read_bytes()[20:].split(b"\0")[0].rpartition(b"}")[0] + b"}"
    )
    assert [n["name"] for n in document["nodes"]] == ["bottom", "top part"]
    assert len(document["meshes"][1]["primitives"]) == 2
    assert document["materials"][0]["name"] == "red"


def test_a_glb_of_ours_is_read_by_others(tmp_path):
    asset = f_cube()
    scene = trimesh.load_scene(str(asset.save(tmp_path / "cube.glb")))
    assert set(scene.geometry) == {"walls", "lids"}
    theirs = scene.geometry["walls"]
    assert np.allclose(np.asarray(theirs.vertices), asset.meshes["walls"].vertices)
    assert theirs.visual.material.name == "paint"
    assert theirs.visual.material.baseColorTexture.size == (192, 128)


def test_a_glb_of_others_is_read_by_us(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box((1, 2, 3))
    box.visual = trimesh.visual.ColorVisuals(
        box, vertex_colors=np.tile([200, 100, 50, 255], (len(box.vertices), 1))
    )
    turn = trimesh.transformations.rotation_matrix(0.5, [0, 1, 0], [1, 2, 3])
    scene.add_geometry(box, node_name="a box", transform=turn)
    mirrored = np.diag([-1.0, 1, 1, 1])
    scene.add_geometry(trimesh.creation.icosphere(1), node_name="mirrored", transform=mirrored)
    (tmp_path / "s.glb").write_bytes(scene.export(file_type="glb"))
    asset = Asset.load(tmp_path / "s.glb")
    mine = asset.meshes["a box"]
    # A file without normals is flat, so that every corner has a vertex of its own.
    theirs = trimesh.transform_points(box.vertices, turn)[box.faces]
    assert np.allclose(mine.vertices[mine.faces], theirs, atol=1e-5)
    assert mine.volume == pytest.approx(6, rel=1e-4)
    assert mine.colours is not None
    # A mirroring transform turns the faces too.
    assert asset.meshes["mirrored"].volume > 0


def test_gltf_with_files_beside_it(tmp_path):
    asset = f_cube()
    data = asset.save(tmp_path / "cube.glb").read_bytes()
    size = struct.unpack("<I", data[12:16])[0]
    document, binary = json.loads(data[20 : 20 + size]), data[20 + size + 8 :]
    document["buffers"][0]["uri"] = "parts/data%20file.bin"
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "data file.bin").write_bytes(binary)
    (tmp_path / "cube.gltf").write_text(json.dumps(document))
    assert compare(asset, Asset.load(tmp_path / "cube.gltf")) > 60


def sphere(subdivisions=3):
    body = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32))


def test_inspect_tells_what_is_wrong_and_clean_mends_it():
    mesh = sphere(2)
    faces = mesh.faces.copy()
    faces[5], faces[9] = faces[5][::-1], faces[9][::-1]
    broken = replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, np.float32([[9, 9, 9]])]),
        faces=np.concatenate([faces[:-1], faces[:1], np.int32([[1, 1, 2]])]),
    )
    found = inspect(broken)
    assert (
        found["degenerate faces"],
        found["duplicate faces"],
        found["loose vertices"],
        found["holes"],
    ) == (
        1,
        1,
        1,
        1,
    )
    assert found["edges wound against their neighbour"] > 0
    assert not found["watertight"]
    mended, done = clean(broken, holes=8)
    assert done == {
        "degenerate faces removed": 1,
        "duplicate faces removed": 1,
        "loose vertices removed": 1,
        "holes filled": 1,
        "faces turned": 2,
    }
    after = inspect(mended)
    assert after["watertight"]
    assert after["euler characteristic"] == 2
    assert mended.volume == pytest.approx(mesh.volume, rel=1e-5)


def test_clean_turns_an_inside_out_body_and_welds_near_vertices():
    mesh = sphere(1)
    turned, done = clean(replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1])))
    assert done["faces turned"] == len(mesh.faces)
    assert turned.volume > 0
    torn = Mesh(
        mesh.vertices[mesh.faces].reshape(-1, 3),
        np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3),
    )
    torn.vertices = torn.vertices + np.random.default_rng(0).normal(
        0, 1e-5, torn.vertices.shape
    ).astype(np.float32)
    assert not inspect(torn)["watertight"]
    assert inspect(clean(torn, weld_share=1e-3)[0])["watertight"]


def test_decimation_keeps_texture_and_shape(tmp_path):
    mesh = with_coordinates(Asset({"a": sphere(4)}), 256)[0].meshes["a"]
    painted = bake(mesh.with_normals(), lambda p, n: 0.5 + 0.4 * torch.sin(3 * p), 256)
    small = decimate(painted, 1500)
    assert len(small.faces) <= 1600
    assert small.texture is painted.texture
    assert compare(Asset({"a": painted}), Asset({"a": small}), 4e-3) > 25


def test_proper_and_improper_texture_coordinates():
    cube = f_cube().meshes["walls"]
    assert examine_uv(cube).proper
    assert examine_uv(replace(cube, uv=None)).line() == "no texture coordinates"
    assert not examine_uv(replace(cube, uv=cube.uv * 3)).proper
    assert examine_uv(replace(cube, uv=cube.uv * 3)).out_of_range > 0
    folded = replace(cube, uv=np.tile(cube.uv[:4], (4, 1)))
    assert examine_uv(folded).overlap == pytest.approx(3, rel=0.05)
    assert not examine_uv(replace(cube, uv=np.zeros_like(cube.uv))).present
    kept, notes = with_coordinates(Asset({"a": folded}), 256, "keep")
    assert kept.meshes["a"] is folded
    assert "kept" in notes["a"]
    made, notes = with_coordinates(Asset({"a": folded}), 256)
    assert examine_uv(made.meshes["a"]).proper
    assert "unwrapped" in notes["a"]


def test_joint_atlas_shares_tiles_and_cuts_them_out_exactly():
    asset = f_cube()
    apart = join_atlas(asset, 256)
    assert len(apart.places) == 2
    assert apart.tiles == [0, 1]
    shared = Material("one")
    together = join_atlas(
        Asset({k: replace(m, material=shared) for k, m in asset.meshes.items()}), 256
    )
    assert len(together.places) == 1
    assert together.tiles == [0, 0]
    picture = (
        np.random.default_rng(0)
        .integers(0, 255, (apart.resolution, apart.resolution, 3))
        .astype(np.uint8)
    )
    tile = apart.places[1]
    row, column = tile.row, tile.column
    assert np.array_equal(
        apart.cut(picture)[1], picture[row : row + tile.size, column : column + tile.size]
    )
    # What is painted in the joint atlas at a point is found in the tile at the part's own
    # coordinates.
    uv, own = apart.mesh.uv[len(asset.meshes["walls"].vertices)], asset.meshes["lids"].uv[0]
    texel = np.array([uv[0], 1 - uv[1]]) * apart.resolution - [column, row]
    assert texel == pytest.approx(np.array([own[0], 1 - own[1]]) * tile.size, abs=1e-2)


def test_mesh_verb_tools(tmp_path):
    source = f_cube().save(tmp_path / "cube.glb")
    info = run_tool("info", source, ToolOptions())
    assert info["parts"] == 2
    assert info["meshes"]["walls"]["texture coordinates"] == "a proper atlas"
    for action in ("clean", "unwrap", "decimate", "convert"):
        out = tmp_path / f"{action}.obj"
        run_tool(action, source, ToolOptions(out=out, faces=10))
        assert list(Asset.load(out).meshes) == ["walls", "lids"]
        with pytest.raises(OutputError):
            run_tool(action, source, ToolOptions(out=out))
    with pytest.raises(ConfigError):
        run_tool("convert", source, ToolOptions())


def test_winding_number_of_open_and_damaged_bodies():
    mesh = sphere(4)
    points, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    generator = torch.Generator().manual_seed(0)
    queries = torch.rand(4000, 3, generator=generator) * 3 - 1.5
    truth = queries.norm(dim=1) < 1
    whole = kernels.winding_number(kernels.surface_tree(points, faces), queries) > 0.5
    assert (whole == truth).float().mean() > 0.995
    keep = torch.rand(len(faces), generator=generator) > 0.1
    torn = kernels.winding_number(kernels.surface_tree(points, faces[keep]), queries) > 0.5
    assert (torn != whole).float().mean() < 0.01


def test_tree_against_every_triangle():
    mesh = sphere(2)
    tree = kernels.surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))
    queries = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 3 - 1.5
    far, face, point = kernels.nearest(tree, queries)
    wanted = by_hand.nearest(queries.double(), tree.corners.double())
    assert torch.allclose(far.double(), wanted[0], atol=1e-6)
    assert torch.allclose(point.double(), wanted[2], atol=1e-6)
    assert torch.allclose((queries - point).norm(dim=1), far, atol=1e-6)
    assert face.max() < len(mesh.faces)
    exact = by_hand.winding_number(queries.double(), tree.corners.double())
    assert (kernels.winding_number(tree, queries).double() - exact).abs().max() < 0.003


def test_missing_texture_is_named_and_can_be_dropped(tmp_path):
    (tmp_path / "a.obj").write_text(OBJ)
    (tmp_path / "a.mtl").write_text("newmtl red\nmap_Kd -s 1 1 1 nowhere.png\n")
    asset = Asset.load(tmp_path / "a.obj")
    assert asset.notes == [
        'texture "nowhere.png" of "red" is missing: painted without it',
        'material "blue" is in no library: plain white',
    ]
    assert asset.meshes["bottom"].texture is None
    assert Asset.load(tmp_path / "a.obj", textures=False).meshes["bottom"].texture is None


def test_points_on_a_surface_their_normals_and_a_motion_back():
    body = trimesh.creation.icosphere(4)
    ball = Mesh(
        np.asarray(body.vertices, np.float32) * np.float32([1, 0.7, 0.4]),
        np.asarray(body.faces, np.int32),
    )
    cloud = sample_surface(ball, 4000)
    assert float(np.abs(((cloud.points / [1, 0.7, 0.4]) ** 2).sum(1) - 1).max()) < 0.02
    # Uniform by area: no octant has more than its share.
    octants = np.unique((cloud.points > 0) @ [1, 2, 4], return_counts=True)[1]
    assert octants.min() > 400
    guessed = estimate_normals(cloud.points)
    assert float(((guessed * cloud.normals).sum(1) > 0.9).mean()) > 0.97
    turn = trimesh.transformations.rotation_matrix(0.2, [0.3, 1, 0.1])
    turn[:3, 3] = [0.05, -0.02, 0.04]
    found, left = register(cloud.points, trimesh.transform_points(ball.vertices, turn), 0.5)
    assert np.allclose(found, turn, atol=0.02)
    assert left < 0.05


def test_register_brings_a_mesh_onto_another(tmp_path):
    box = trimesh.creation.box((1.0, 0.6, 0.3))
    turn = trimesh.transformations.rotation_matrix(0.15, [0, 1, 0])
    turn[0, 3] = 0.1
    for name, points in (("a", box.vertices), ("b", trimesh.transform_points(box.vertices, turn))):
        Asset({"box": Mesh(points.astype(np.float32), np.asarray(box.faces, np.int32))}).save(
            tmp_path / f"{name}.glb"
        )
    command = ["mesh", "register", str(tmp_path / "a.glb"), "--out", str(tmp_path / "c.glb")]
    assert main(command) == 2
    assert main([*command, "--onto", str(tmp_path / "b.glb")]) == 0
    one, two = (Asset.load(tmp_path / f"{n}.glb").mesh.vertices for n in "bc")
    assert np.abs(one - two).max() < 0.02


def test_clean_removes_what_no_view_from_outside_sees(tmp_path):
    outer, inner = trimesh.creation.icosphere(3), trimesh.creation.icosphere(2, 0.5)
    meshes = {
        n: Mesh(np.asarray(m.vertices, np.float32), np.asarray(m.faces, np.int32))
        for n, m in (("out", outer), ("in", inner))
    }
    both = Asset(meshes)
    hidden = hidden_faces(joined(both))
    assert np.array_equal(hidden, np.arange(len(hidden)) >= len(outer.faces))
    both.save(tmp_path / "both.glb")
    assert (
        main(
            [
                "mesh",
                "clean",
                str(tmp_path / "both.glb"),
                "--hidden",
                "--out",
                str(tmp_path / "one.glb"),
            ]
        )
        == 0
    )
    assert list(Asset.load(tmp_path / "one.glb").meshes) == ["out"]


def test_a_cloud_without_faces_is_read_with_its_normals(tmp_path):
    points = np.random.Generator(np.random.Philox(3)).normal(size=(50, 3)).astype(np.float32)
    head = "ply\nformat ascii 1.0\nelement vertex 50\n" + "".join(
        f"property float {k}\n" for k in ("x", "y", "z", "nx", "ny", "nz")
    )
    rows = "\n".join(" ".join(f"{v:.7g}" for v in (*p, 0, 0, 2)) for p in points)
    (tmp_path / "cloud.ply").write_text(head + "end_header\n" + rows + "\n")
    cloud = read_cloud(tmp_path / "cloud.ply", Frame("z", "-y", "cm"))
    assert np.allclose(cloud.points, points[:, [0, 2, 1]] * [0.01, 0.01, -0.01], atol=1e-6)
    assert np.allclose(cloud.normals, [[0, 1, 0]])
    (tmp_path / "cloud.ply").write_text(head + "end_header\n" + "1 2 nan 0 0 1\n" * 50)
    with pytest.raises(InputError, match="not numbers"):
        read_cloud(tmp_path / "cloud.ply")
    assert (
        main(["mesh", "poisson", str(tmp_path / "cloud.ply"), "--out", str(tmp_path / "x.glb")])
        == 2
    )
