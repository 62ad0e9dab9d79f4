"""An OBJ file that was read is written with every line that did not change."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.frames import Frame
from threestudio_like.meshes.material import EncodedImage, Material

from .obj_files import (
    FILE,
    LIBRARY,
    QUAD,
    loaded,
    material,
    painted,
    patchable,
    picture,
    same_surface,
    saved,
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_unchanged_file_stays_byte_for_byte(tmp_path, end):
    asset = patchable(tmp_path, end)
    assert {f.kind for f in asset.source.features()} == {
        "smoothing groups",
        "other statements",
        "material statements",
        "polygons",
        "groups",
        "lines and points",
    }
    text, library = saved(asset, tmp_path)
    assert text.decode() == FILE.replace("\n", end).replace("old.mtl", "b.mtl")
    assert library.decode() == LIBRARY.replace("\n", end).replace("textures/oak", "oak")
    assert asset.source.unkept(asset) == []
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["b.mtl", "b.obj", "oak.png", "shine.png"]
    assert (out / "oak.png").read_bytes() == picture(1, 2, 3)


def test_a_copy_beside_the_original_needs_no_force(tmp_path):
    asset = patchable(tmp_path)
    (tmp_path / "oak.png").write_bytes(picture(1, 2, 3))
    asset.save(tmp_path / "copy.obj")
    assert Asset.load(tmp_path / "copy.obj").meshes["body"].texture is not None


def test_a_painted_part_gets_coordinates_and_a_material(tmp_path):
    asset = patchable(tmp_path)
    new = asset.with_meshes({**asset.meshes, "body": painted(asset.meshes["body"])})
    text, library = (data.decode() for data in saved(new, tmp_path))
    again = Asset.load(tmp_path / "out" / "b.obj")
    same_surface(again.meshes["body"], new.meshes["body"])
    same_surface(again.meshes["lid"], asset.meshes["lid"])
    assert int(again.meshes["body"].texture[0, 0, 0]) == 200
    assert int(again.meshes["lid"].texture[0, 0, 0]) == 1
    for line in ("# Made by hand", "v 1.00 1 0", "l 1 3", "strange 1 2 3", "s off", "g shell"):
        assert line in text.splitlines()
    # The lid's coordinates moved back by the six that were put in; its vertices did not.
    assert "f 5/11 6/12 7/13 # a comment" in text
    assert "f -4/-3 -2/-1 -1/-3" in text
    assert "usemtl wood painted" in text
    assert text.index("usemtl wood painted") < text.index("o lid") < text.rindex("usemtl wood\n")
    block = library[library.index("newmtl wood painted") :]
    assert "Ka 0.1 0.1 0.1" in block
    assert "map_Ks shine.png" in block
    assert "Kd 1 1 1\nmap_Kd b.png" in block
    assert library.startswith(LIBRARY.replace("textures/oak", "oak"))
    assert [f.line() for f in new.source.unkept(new)] == ["1 polygon (body)"]
    # Trimesh takes no comment behind a face.
    (tmp_path / "out" / "c.obj").write_text(text.replace(" # a comment", ""))
    other = trimesh.load(tmp_path / "out" / "c.obj", process=False, force="scene")
    assert sum(g.area for g in other.geometry.values()) == pytest.approx(2)


def test_a_material_of_one_mesh_is_changed_in_place(tmp_path):
    asset = patchable(tmp_path)
    text, library = (
        data.decode()
        for data in saved(
            asset.with_meshes(
                {k: painted(m, 100 + i) for i, (k, m) in enumerate(asset.meshes.items())}
            ),
            tmp_path,
        )
    )
    assert library.count("newmtl wood painted") == 2
    again = Asset.load(tmp_path / "out" / "b.obj")
    assert [int(m.texture[0, 0, 0]) for m in again.meshes.values()] == [100, 101]
    only = asset.with_meshes({"body": painted(asset.meshes["body"])})
    text, library = (data.decode() for data in saved(only, tmp_path))
    assert "painted" not in library + text
    assert library == LIBRARY.replace("Kd 0 0 0\nmap_Kd textures/oak.png", "Kd 1 1 1\nmap_Kd b.png")
    assert text.count("\nf ") == 2
    assert "# the lid" in text
    assert list(Asset.load(tmp_path / "out" / "b.obj").meshes) == ["body"]


def test_moved_vertices_are_written_in_their_lines(tmp_path):
    asset = patchable(tmp_path)
    lid = asset.meshes["lid"]
    moved = Mesh(**{**vars(lid), "vertices": lid.vertices + np.float32([0, 0, 0.5])})
    text = saved(asset.with_meshes({**asset.meshes, "lid": moved}), tmp_path)[0].decode()
    changed = [a for a, b in zip(FILE.splitlines(), text.splitlines()) if a != b]
    assert changed == ["mtllib old.mtl", "v 0 0 1", "v 1 0 1", "v 1 1 1", "v 0 1 1"]
    assert "v 1 1 1.5" in text
    again = Asset.load(tmp_path / "out" / "b.obj")
    same_surface(again.meshes["lid"], moved)


def test_vertices_that_two_parts_share_are_written_anew(tmp_path):
    text = "o a\n" + QUAD + "f 1/1 2/2 3/3\no b\nf 1/1 3/3 4/4\n"
    asset = loaded(tmp_path, text)
    b = asset.meshes["b"]
    moved = Mesh(**{**vars(b), "vertices": b.vertices + np.float32(1)})
    out = saved(asset.with_meshes({**asset.meshes, "b": moved}), tmp_path)[0].decode()
    assert out.startswith("o a\n" + QUAD + "f 1/1 2/2 3/3\n")
    again = Asset.load(tmp_path / "out" / "b.obj")
    same_surface(again.meshes["a"], asset.meshes["a"])
    same_surface(again.meshes["b"], moved)


def test_fewer_faces_leave_the_others_as_they_are(tmp_path):
    asset = patchable(tmp_path)
    kept = asset.meshes["lid"].keep_faces(np.array([False, True]))
    new = asset.with_meshes({**asset.meshes, "lid": kept})
    text = saved(new, tmp_path)[0].decode()
    assert text == FILE.replace("old.mtl", "b.mtl").replace("f 5/5 6/6 7/7 # a comment\n", "")
    half = asset.meshes["body"].keep_faces(np.array([False, True]))
    new = asset.with_meshes({**asset.meshes, "body": half})
    text = saved(new, tmp_path)[0].decode()
    assert "f 1/1 3/3 4/4\nl 1 3" in text
    assert [f.kind for f in new.source.unkept(new)] == ["polygons"]


def test_another_topology_and_other_parts(tmp_path):
    asset = patchable(tmp_path)
    mesh = Mesh(
        np.eye(3, dtype=np.float32), np.int32([[0, 1, 2]]), np.zeros((3, 2), np.float32)
    ).with_normals()
    new = asset.with_meshes({**asset.meshes, "body": mesh, "extra": mesh})
    text, library = (data.decode() for data in saved(new, tmp_path))
    again = Asset.load(tmp_path / "out" / "b.obj")
    assert list(again.meshes) == ["body", "lid", "extra"]
    same_surface(again.meshes["body"], mesh)
    same_surface(again.meshes["extra"], mesh)
    same_surface(again.meshes["lid"], asset.meshes["lid"])
    assert "strange 1 2 3" in text
    assert "smoothing groups" in {f.kind for f in new.source.unkept(new)}
    assert "newmtl surface" in library


def test_another_frame_turns_positions_and_normals(tmp_path):
    text = "v 0 0 0 0.5 # w\nv 1.5 0 0\nv 0 2.25 0\nvn 0 0 1\nf 1//1 2//1 3//1\np 1\n"
    (tmp_path / "a.obj").write_text(text)
    asset = Asset.load(tmp_path / "a.obj", Frame("z", "-y", "mm"))
    again = saved(asset, tmp_path, frame=Frame("z", "-y", "mm"))[0].decode()
    assert again == text
    turned = saved(asset, tmp_path)[0].decode().splitlines()
    assert turned[0] == "v 0.0 0.0 0.0 0.5 # w"
    assert [float(x) for x in turned[3].split()[1:]] == pytest.approx([0, 1, 0])
    assert [float(x) for x in turned[2].split()[1:]] == pytest.approx([0, 0, -0.00225])
    assert turned[4:] == ["f 1//1 2//1 3//1", "p 1"]


def test_a_scaled_map_is_plain_for_new_coordinates(tmp_path):
    material(
        tmp_path,
        "map_Kd -s 4 4 1 t.png\nbump -s 4 4 1 n.png",
        t_png=picture(1, 2, 3),
        n_png=picture(128, 128, 255),
    )
    asset = Asset.load(tmp_path / "a.obj")
    only = next(iter(asset.meshes))
    _, library = saved(asset, tmp_path)
    assert b"map_Kd -s 4 4 1 t.png" in library
    new = Mesh(**{**vars(asset.mesh), "uv": asset.mesh.uv / 8})
    _, library = saved(asset.with_meshes({only: new}), tmp_path)
    assert b"-s" not in library
    same_surface(Asset.load(tmp_path / "out" / "b.obj").mesh, new)


def test_a_file_without_a_library_gets_one(tmp_path):
    asset = loaded(tmp_path, "o a\n" + QUAD + "f 1/1 2/2 3/3\no b\nf 1/1 3/3 4/4\n")
    a = asset.meshes["a"]
    new = Mesh(**{**vars(a), "texture": np.full((2, 2, 3), 77, np.uint8)})
    text, _ = saved(asset.with_meshes({**asset.meshes, "a": new}), tmp_path)
    assert text.startswith(b"mtllib b.mtl\no a\n")
    again = Asset.load(tmp_path / "out" / "b.obj")
    assert int(again.meshes["a"].texture[0, 0, 0]) == 77
    assert again.meshes["b"].texture is None


def test_changed_roughness_and_colours(tmp_path):
    asset = patchable(tmp_path)
    body = asset.meshes["body"]
    rough = Material(**{**vars(body.material), "roughness": 0.25})
    both = {k: Mesh(**{**vars(m), "material": rough}) for k, m in asset.meshes.items()}
    text, library = (data.decode() for data in saved(asset.with_meshes(both), tmp_path))
    assert text == FILE.replace("old.mtl", "b.mtl")
    assert library == LIBRARY.replace("textures/oak", "oak").replace(
        "map_Ks shine.png\n", "map_Ks shine.png\nPr 0.25\n"
    )
    coloured = Mesh(**{**vars(body), "colours": np.full((4, 3), 0.5, np.float32)})
    new = asset.with_meshes({**asset.meshes, "body": coloured})
    saved(new, tmp_path)
    assert Asset.load(tmp_path / "out" / "b.obj").meshes["body"].colours is not None


def test_a_picture_of_the_same_name_is_not_taken_for_the_new_one(tmp_path):
    (tmp_path / "b.png").write_bytes(picture(9, 9, 9))
    mesh, _ = material(tmp_path, "map_Kd b.png\nmap_Ks b.png")
    asset = Asset.load(tmp_path / "a.obj")
    new = Mesh(**{**vars(asset.mesh), "texture": np.full((2, 2, 3), 77, np.uint8)})
    _, library = saved(asset.with_meshes({next(iter(asset.meshes)): new}), tmp_path)
    assert b"map_Kd b1.png" in library
    assert b"map_Ks b.png" in library
    assert mesh.material.images[0].name == "b.png"
    assert isinstance(mesh.material.images[0], EncodedImage)


def test_no_picture_takes_the_name_of_the_file(tmp_path):
    (tmp_path / "b.obj").write_bytes(b"not the mesh")
    (tmp_path / "b.mtl").write_bytes(b"not the library")
    material(tmp_path, "map_Ks b.obj\nmap_Ns B.MTL\nrefl b.mtl")
    text, library = saved(Asset.load(tmp_path / "a.obj"), tmp_path)
    assert text.startswith(b"mtllib b.mtl\nv 0 0 0")
    assert library == b"newmtl m\nmap_Ks b1.obj\nmap_Ns b1.mtl\nrefl b1.mtl\n"


def interleaved(draw):
    """A file of several objects, each behind its own numbers, counted from either end."""
    rows, counts = ["mtllib old.mtl"], [0, 0, 0]
    for k in range(int(draw.integers(2, 5))):
        rows.append(f"o part {k}")
        sizes = [int(n) for n in draw.integers(5, 9, 3)]
        for table, (key, width) in enumerate((("v", 3), ("vt", 2), ("vn", 3))):
            for row in draw.normal(size=(sizes[table], width)):
                rows.append(f"{key} " + " ".join(f"{x:.4f}" for x in row))
            counts[table] += sizes[table]
        rows.append(("s off", "s 1", "usemtl wood", "usemtl other")[int(draw.integers(4))])
        style = int(draw.integers(4))
        for _ in range(int(draw.integers(3, 8))):
            size = int(draw.integers(3, 6))
            # Some reach into the numbers of the objects before.
            reach = [min(c, s + 2) for c, s in zip(counts, sizes)]
            v = draw.choice(reach[0], size, replace=False)
            corners = []
            for i in v:
                back = [-1 - int(i), *(-1 - int(draw.integers(r)) for r in reach[1:])]
                whole = [c + b + 1 for c, b in zip(counts, back)]
                a, b, c = back if draw.random() < 0.3 else whole
                corners.append((f"{a}", f"{a}/{b}", f"{a}//{c}", f"{a}/{b}/{c}")[style])
            rows.append("f " + " ".join(corners))
        rows.append(f"l {counts[0]} -1")
    return "\n".join(rows) + "\n"


def surface(mesh, coordinates):
    """The triangles of a mesh in an order of their own, as one that two polygons have may come
    back in the line of the other."""
    corners = mesh.vertices[mesh.faces]
    if coordinates:
        corners = np.concatenate([corners, mesh.uv[mesh.faces]], 2)
    start = corners[..., 0].argmin(1)[:, None, None]
    corners = np.take_along_axis(corners, (start + np.arange(3)[:, None]) % 3, 1)
    rows = corners.reshape(len(corners), -1)
    return rows[np.lexsort(np.round(rows, 3).T)]


@pytest.mark.parametrize("seed", range(60))
def test_any_changes_to_any_file_come_back(tmp_path, seed):
    draw = np.random.default_rng(seed)
    (tmp_path / "old.mtl").write_text("newmtl wood\nKd 1 0 0\nnewmtl other\nKd 0 1 0\n")
    asset = loaded(tmp_path, interleaved(draw))
    assert saved(asset, tmp_path)[0] == (tmp_path / "a.obj").read_bytes().replace(b"old", b"b")
    meshes = {}
    for name, mesh in asset.meshes.items():
        kind = int(draw.integers(7))
        if kind == 1 and len(asset.meshes) > 1 and meshes:
            continue
        if kind == 2:
            mesh = painted(mesh, int(draw.integers(255)))
        elif kind == 3:
            # Grown and moved evenly: bent polygons would be divided in another way.
            shift = draw.normal(size=3).astype(np.float32)
            mesh = replace(mesh, vertices=mesh.vertices * np.float32(1.5) + shift)
        elif kind == 4:
            mesh = mesh.keep_faces(np.arange(len(mesh.faces)) % 3 != 0)
        elif kind == 5:
            mesh = replace(painted(mesh, 9), origin=None)
        elif kind == 6:
            mesh = replace(painted(mesh, 7), vertices=painted(mesh).vertices * np.float32(2))
        meshes[name] = mesh
    new = asset.with_meshes(meshes)
    saved(new, tmp_path)
    again = Asset.load(tmp_path / "out" / "b.obj")
    assert set(again.meshes) == set(meshes)
    for name, mesh in meshes.items():
        found = again.meshes[name]
        one, two = (surface(m, mesh.uv is not None) for m in (found, mesh))
        assert np.allclose(one, two, atol=1e-4), name
        assert (found.texture is None) == (mesh.texture is None)
        if mesh.texture is not None:
            assert found.texture[0, 0, 0] == mesh.texture[0, 0, 0]
