"""Reading OBJ: geometry, colours, looking for files, and files that are broken."""

import math
import os
import re

import numpy as np
import pytest
import trimesh

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.features import features
from threestudio_like.meshes.io.beside import find_beside
from threestudio_like.meshes.io.far import near_origin
from threestudio_like.meshes.io.files import encode
from threestudio_like.meshes.io.obj.rows import distinct
from threestudio_like.meshes.surface.polygons import triangulate

from .bad_files import mutate
from .obj_files import CUBE, FACE, QUAD, loaded, material, painted, patchable, picture, saved


def test_concave_polygons_keep_their_area(tmp_path):
    star = [
        (
            math.cos(k * math.pi / 5) * (2 if k % 2 else 0.7),
            math.sin(k * math.pi / 5) * (2 if k % 2 else 0.7),
        )
        for k in range(10)
    ]
    arrow = [(0, 0), (4, 0), (1, 1), (0, 4)]
    text = "".join(f"v {x} {y} 0\n" for x, y in star + arrow)
    text += "f " + " ".join(str(k + 1) for k in range(10)) + "\nf 11 12 13 14\nf 12 13 14 11\n"
    mesh = loaded(tmp_path, text).mesh
    ring = np.array(star)
    area = (
        abs(
            np.cross(np.c_[ring, ring * 0][:, :3], np.c_[np.roll(ring, -1, 0), ring * 0][:, :3])[
                :, 2
            ].sum()
        )
        / 2
    )
    assert mesh.area == pytest.approx(area + 4 + 4, rel=1e-6)
    assert len(mesh.faces) == 8 + 2 + 2


@pytest.mark.parametrize("seed", range(30))
def test_random_polygons_keep_their_area_in_any_plane(seed):
    draw = np.random.default_rng(seed)
    count = int(draw.integers(4, 40))
    angle = np.sort(draw.uniform(0, 2 * math.pi, count))
    # Gaps of more than half a turn would put the centre outside.
    angle += np.linspace(0, 1e-3, count)
    if np.diff(np.append(angle, angle[0] + 2 * math.pi)).max() > 3:
        angle = np.linspace(0, 2 * math.pi, count, endpoint=False)
    radius = draw.uniform(0.2, 2, count)
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    area = (flat[:, 0] * np.roll(flat[:, 1], -1) - flat[:, 1] * np.roll(flat[:, 0], -1)).sum() / 2
    axes = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    points = flat @ axes[:, :2].T + draw.normal(size=3)
    faces = triangulate(points)
    mesh = Mesh(points.astype(np.float32), faces.astype(np.int32))
    assert faces.shape == (count - 2, 3)
    assert mesh.area == pytest.approx(area, rel=1e-4)


def test_polygons_that_are_none_are_still_divided():
    crossed = np.float64([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [2, 2, 2]])
    assert triangulate(crossed).shape == (3, 3)
    assert triangulate(np.zeros((6, 3))).shape == (4, 3)


@pytest.mark.parametrize(
    ("said", "vertices"),
    [("s off", 24), ("s 0", 24), ("s 1", 8), ("", 24), ("g top", 24)],
)
def test_smoothing_of_a_cube(tmp_path, said, vertices):
    mesh = loaded(tmp_path, CUBE.format(said)).mesh
    assert len(mesh.vertices) == vertices
    assert mesh.area == pytest.approx(6)
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)
    if vertices == 24:
        assert np.allclose(np.abs(mesh.normals).max(1), 1)


def test_smoothing_groups_are_smooth_among_themselves_only(tmp_path):
    text = CUBE.format("s 1").replace("f 1 5 6 2", "s 2\nf 1 5 6 2")
    mesh = loaded(tmp_path, text).mesh
    # Two faces of the first group share no corner, four of the second share all eight.
    assert len(mesh.vertices) == 8 + 8
    plain = loaded(tmp_path, CUBE.format("s 2"))
    assert len(plain.mesh.vertices) == 8
    # Without a word, what is round stays round and shares its vertices.
    ball = trimesh.creation.icosphere(3)
    rows = [f"v {x} {y} {z}" for x, y, z in ball.vertices]
    rows += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in ball.faces]
    mesh = loaded(tmp_path, "\n".join(rows)).mesh
    assert len(mesh.vertices) == len(ball.vertices)
    assert (np.einsum("ij,ij->i", mesh.normals, mesh.vertices) > 0.99).all()


def test_far_coordinates_keep_their_shape_and_come_back(tmp_path):
    east, north = 500000.25, 4000000.125
    text = re.sub(
        r"v (\d) (\d) (\d)",
        lambda m: f"v {east + int(m[1]) / 8} {north + int(m[2]) / 8} {int(m[3]) / 8}",
        CUBE.format("s off"),
    )
    asset = loaded(tmp_path, text)
    assert asset.mesh.area == pytest.approx(6 / 64, rel=1e-6)
    assert asset.offset == pytest.approx([east + 1 / 16, north + 1 / 16, 1 / 16])
    assert saved(asset, tmp_path)[0].decode() == text
    asset.source = None
    again = loaded(tmp_path, saved(asset, tmp_path)[0])
    whole = again.mesh.vertices + again.offset
    assert whole.min(0) == pytest.approx([east, north, 0], abs=1e-9)
    assert "far origin" in {f.kind for f in features(asset)}


def test_near_origin_leaves_ordinary_meshes_alone():
    points = np.random.default_rng(0).normal(size=(10, 3)) + 3
    near, offset = near_origin(points)
    assert not offset.any()
    assert near.dtype == np.float32
    assert near_origin(np.float64([[np.nan, 0, 0], [1e9, 0, 0]]))[1].tolist() == [0, 0, 0]


def test_vertex_colours_of_either_scale(tmp_path):
    rows = "v 0 0 0 {0} 0 0\nv 1 0 0 0 {0} 0\nv 0 1 0 0 0 {0}\nf 1 2 3\n"
    for high, noted in (("1.0", 0), ("255", 1)):
        asset = loaded(tmp_path, rows.format(high))
        assert np.allclose(asset.mesh.colours, np.eye(3))
        assert len(asset.notes) == noted
    asset = loaded(tmp_path, rows.format("1") + "v 2 0 0\nf 1 2 4\n")
    assert asset.mesh.colours.tolist() == [*np.eye(3).tolist(), [1, 1, 1]]
    assert asset.notes == ["some vertices have no colour: white"]
    text, _ = saved(asset, tmp_path)
    assert b"v 0 1 0 0 0 1\n" in text


def test_colours_of_one_part_do_not_stain_the_other(tmp_path):
    red = Mesh(
        np.eye(3, dtype=np.float32), np.int32([[0, 1, 2]]), colours=np.float32([[1, 0, 0]] * 3)
    )
    plain = Mesh(np.eye(3, dtype=np.float32) + 1, np.int32([[0, 1, 2]]))
    again = Asset.load(Asset({"red": red, "plain": plain}).save(tmp_path / "two.obj"))
    assert again.meshes["red"].colours.tolist() == red.colours.tolist()
    assert again.meshes["plain"].colours is None


def test_lines_may_be_written_in_any_way(tmp_path):
    text = (
        "v\t0 0 0 # first\r\n  v 1 0 0 1.0\r\nv 1 \\\r\n1 0\r\nv 0 1 0\r\n"
        "vt 0 0\r\nvt 1 0 0\r\nvn 0 0 1\r\nf 1/1/1  2/2/1\t3//1 \r\nf -4 -2 +4\r\nf 1 3 4 # last"
    )
    mesh = loaded(tmp_path, text).mesh
    assert len(mesh.faces) == 3
    assert mesh.area == pytest.approx(1.5)
    assert len(loaded(tmp_path, "v 0 0 0\rv 1 0 0\rv 0 1 0\rf 1 2 3\r").mesh.faces) == 1


def test_mixed_faces_keep_their_order_and_agree_with_trimesh(tmp_path):
    draw = np.random.default_rng(1)
    rows = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in draw.normal(size=(60, 3))]
    rows += [f"vt {u:.4f} {v:.4f}" for u, v in draw.random((20, 2))]
    for k in range(200):
        size = 3 + k % 2
        corners = draw.choice(60, size, replace=False) + 1
        style = k % 3
        rows.append("f " + " ".join(f"{c}/{c % 20 + 1}" if style else str(c) for c in corners))
    asset = loaded(tmp_path, "\n".join(rows))
    other = trimesh.load(tmp_path / "a.obj", process=False, force="mesh")
    assert len(asset.mesh.faces) == 300
    triangles = [row for row in rows if row.startswith("f") and len(row.split()) == 4]
    assert len(other.faces) == len(triangles) + 200
    assert asset.mesh.vertices[asset.mesh.faces[0, 0]] == pytest.approx(
        [float(x) for x in rows[int(triangles[0].split()[1].split("/")[0]) - 1].split()[1:]],
        abs=1e-6,
    )


def test_normals_without_a_direction_are_worked_out_again(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 0\nvn 0 0 7\nf 1//1 2//2 3//2\n"
    assert np.allclose(loaded(tmp_path, text).mesh.normals, [0, 0, 1])


def test_distinct_rows():
    rows = np.float32([[1, 2], [0, 0], [1, 2], [-0.0, 0], [3, 1]])
    first, inverse = distinct(rows)
    assert first.tolist() == [0, 1, 4]
    assert inverse.tolist() == [0, 1, 0, 1, 2]
    with_nan = np.float32([[np.nan, 0], [np.nan, 0]])
    assert len(distinct(with_nan)[0]) in (1, 2)


# Looking for files


def test_missing_and_misplaced_files_are_noted(tmp_path):
    for name in ("C:\\x\\tex.png", "/home/x/tex.png", "../images of another/tex.png", "TEX.PNG"):
        mesh, notes = material(tmp_path, f"map_Kd {name}", tex_png=picture(1, 2, 3))
        assert mesh.texture is not None
        assert notes == [f'texture "{name}" of "m" was found as "tex.png"']
    (tmp_path / "Textures").mkdir()
    (tmp_path / "tex.png").rename(tmp_path / "Textures" / "tex.png")
    mesh, notes = material(tmp_path, "map_Kd D:/tex.png")
    assert notes == ['texture "D:/tex.png" of "m" was found as "Textures/tex.png"']
    mesh, notes = material(tmp_path, "map_Kd http://example.org/tex.png")
    assert mesh.texture is None
    assert notes == [
        'texture "http://example.org/tex.png" of "m" is an address, and nothing is fetched: '
        "painted without it"
    ]
    asset = loaded(tmp_path, f"mtllib none.mtl\n{QUAD}{FACE}")
    assert asset.notes == ['library "none.mtl" is missing: its materials are plain']
    assert asset.mesh.material.name == "m"


def test_one_missing_texture_of_several(tmp_path):
    asset = loaded(
        tmp_path,
        f"mtllib a.mtl\n{QUAD}{FACE}usemtl n\nf 1/1 2/2 3/3\n",
        a_mtl="newmtl m\nmap_Kd t.png\nnewmtl n\nKd 0 1 0\nmap_Kd none.jpg\n",
        t_png=picture(1, 2, 3),
    )
    assert asset.notes == ['texture "none.jpg" of "n" is missing: painted without it']
    assert [m.texture is None for m in asset.meshes.values()] == [False, True]


def test_libraries_with_spaces_and_several_on_a_line(tmp_path):
    (tmp_path / "two words.mtl").write_text("newmtl m\nKd 1 0 0\n")
    (tmp_path / "c.mtl").write_text("newmtl n\nKd 0 1 0\n")
    faces = f"{QUAD}{FACE}usemtl n\nf 1 2 3\n"
    for line in ("mtllib two words.mtl c.mtl", "mtllib two words.mtl\nmtllib c.mtl"):
        asset = loaded(tmp_path, f"{line}\n{faces}")
        colours = [m.material.colour[:3] for m in asset.meshes.values()]
        assert colours == [(1, 0, 0), (0, 1, 0)]
        _, library = saved(asset, tmp_path)
        assert library == b"newmtl m\nKd 1 0 0\n"
        again = Asset.load(tmp_path / "out" / "b.obj")
        assert [m.material.colour[:3] for m in again.meshes.values()] == colours


def test_a_library_that_is_named_again_and_again(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\n")
    text = f"mtllib a.mtl\nmtllib no.mtl\n{QUAD}{FACE}mtllib a.mtl\nmtllib no.mtl\nf 1 2 3\n"
    asset = loaded(tmp_path, text)
    assert asset.notes == ['library "no.mtl" is missing: its materials are plain']
    assert saved(asset, tmp_path)[0].decode() == text.replace("a.mtl", "b.mtl")


def test_names_that_are_not_utf_8(tmp_path):
    (tmp_path / "tex é.png").write_bytes(picture(1, 2, 3))
    (tmp_path / "a.mtl").write_bytes("newmtl m\nmap_Kd tex é.png\n".encode("cp1252"))
    asset = loaded(tmp_path, f"mtllib a.mtl\n{QUAD}{FACE}")
    assert asset.mesh.texture is not None
    saved(asset, tmp_path)
    assert Asset.load(tmp_path / "out" / "b.obj").mesh.texture is not None


def test_nothing_outside_the_folder_is_read(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1, 2, 3))
    os.symlink(tmp_path / "secret.png", folder / "link.png")
    os.symlink(tmp_path, folder / "textures")
    for name in ("../secret.png", "link.png", "secret.png", str(tmp_path / "secret.png")):
        found = find_beside(folder, name, "a.obj")
        assert found.path is None
        assert found.note in ("is missing", "leads out of the mesh's folder")
    for name in ("", "\0", "x" * 5000, "a/" * 400 + "b", "..", "C:", "%2e%2e/secret.png"):
        assert find_beside(folder, name, "a.obj").path is None


# Files that are broken


def test_two_thousand_mutations(tmp_path):
    patchable(tmp_path)
    good = {name: (tmp_path / name).read_bytes() for name in ("a.obj", "old.mtl")}
    before = sorted(p.name for p in tmp_path.rglob("*"))
    lines, read = [], 0
    for number in range(2000):
        name = "old.mtl" if number % 4 == 0 else "a.obj"
        (tmp_path / name).write_bytes(mutate(good[name], number))
        try:
            asset = Asset.load(tmp_path / "a.obj")
        except InputError as error:
            lines.append(error.line())
        else:
            read += 1
            lines += asset.notes
            # What can be read can be written, as it is and with its faces and coordinates new.
            encode(asset, tmp_path / "b.obj")
            asset = asset.with_meshes({k: painted(m) for k, m in asset.meshes.items()})
            encode(asset, tmp_path / "b.obj")
        (tmp_path / name).write_bytes(good[name])
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert not [line for line in lines if "\n" in line or "Error" in line]
    assert 300 < read < 1700


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names vertex 9, of 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999999999999999\n", "names vertex 999"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2/1 3/1\n", "names texture coordinate 1, of 0"),
        ("v 0 0 0\nv 1 0 0\nv 0 x 0\nf 1 2 3\n", 'vertex number 3 is not 3 numbers: "0 x 0"'),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3 -\n", 'the corner "-"'),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 /3\n", 'the corner "/3"'),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    with pytest.raises(InputError, match=re.escape(says)):
        loaded(tmp_path, text)
