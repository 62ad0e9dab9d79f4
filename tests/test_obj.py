"""OBJ and MTL come back whole: reading, looking for files, writing anew, and the patch."""

import io
import math
import os
import re

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.features import features
from threestudio_like.meshes.frames import Frame
from threestudio_like.meshes.io.beside import find_beside
from threestudio_like.meshes.io.far import near_origin
from threestudio_like.meshes.io.files import encode
from threestudio_like.meshes.io.obj.blocks import map_line, read_blocks
from threestudio_like.meshes.io.obj.rows import distinct
from threestudio_like.meshes.material import EncodedImage, Material, Sampler
from threestudio_like.meshes.polygons import triangulate

from .bad_files import mutate

CUBE = """v 0 0 0
v 0 0 1
v 0 1 0
v 0 1 1
v 1 0 0
v 1 0 1
v 1 1 0
v 1 1 1
{}
f 1 2 4 3
f 5 7 8 6
f 1 5 6 2
f 3 4 8 7
f 1 3 7 5
f 2 6 8 4
"""
QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "usemtl m\nf 1/1 2/2 3/3 4/4\n"


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(data, "PNG")
    return data.getvalue()


def picture(*colour, side=8):
    return png(np.full((side, side, len(colour)), colour, np.uint8))


def loaded(folder, text, **beside):
    """The asset of a text, with files beside it: "a_mtl" is a.mtl."""
    for name, data in beside.items():
        name = re.sub("_(?=[a-z]+$)", ".", name)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "a.obj").write_bytes(text.encode() if isinstance(text, str) else text)
    return Asset.load(folder / "a.obj")


def material(folder, lines, **beside):
    """The only mesh of a square with a material of some lines."""
    asset = loaded(folder, f"mtllib a.mtl\n{QUAD}{FACE}", a_mtl=f"newmtl m\n{lines}\n", **beside)
    return asset.mesh, asset.notes


def saved(asset, folder, name="b.obj", frame=None):
    """The lines of the OBJ file, and its MTL."""
    (folder / "out").mkdir(exist_ok=True)
    path = asset.save(folder / "out" / name, frame, force=True)
    library = path.with_suffix(".mtl")
    return path.read_bytes(), library.read_bytes() if library.exists() else b""


# Geometry


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
    assert asset.mesh.colours is None
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


# Materials


@pytest.mark.parametrize(
    ("lines", "alpha", "mode"),
    [
        ("Tr 0.7", 0.3, "BLEND"),
        ("d 0.25", 0.25, "BLEND"),
        ("d 1\nTr 1", 1.0, "OPAQUE"),
        ("d -halo 0.5", 0.5, "BLEND"),
        ("Kd 1 0 0", 1.0, "OPAQUE"),
        ("# alpha_mode MASK 0.25\n# double_sided", 1.0, "MASK"),
    ],
)
def test_opacity(tmp_path, lines, alpha, mode):
    mesh, _ = material(tmp_path, lines)
    assert mesh.material.colour[3] == pytest.approx(alpha)
    assert mesh.material.alpha_mode == mode
    assert mesh.material.double_sided is ("double" in lines)
    assert mesh.material.alpha_cutoff == (0.25 if mode == "MASK" else 0.5)


def test_black_under_a_texture_is_white(tmp_path):
    mesh, notes = material(tmp_path, "Kd 0 0 0\nmap_Kd t.png", t_png=picture(10, 200, 30))
    assert mesh.material.colour == (1, 1, 1, 1)
    assert mesh.texture[0, 0].tolist() == [10, 200, 30]
    assert notes == ['colour of "m" is black under its texture: taken as white']
    assert material(tmp_path, "Kd 0 0 0")[0].material.colour[:3] == (0, 0, 0)


def test_colours_to_255_and_roughness(tmp_path):
    mesh, notes = material(tmp_path, "Kd 255 51 0\nNs 98\nKs 1 1 1")
    assert mesh.material.colour[:3] == pytest.approx((1, 0.2, 0))
    assert "0 to 255" in notes[0]
    assert mesh.material.roughness == pytest.approx(math.sqrt(2 / 100))
    assert material(tmp_path, "Ns 98\nPr 0.75")[0].material.roughness == 0.75
    assert material(tmp_path, "Kd 0.5")[0].material.colour[:3] == (0.5, 0.5, 0.5)


def test_opacity_maps(tmp_path):
    half = np.full((8, 8), 255, np.uint8)
    half[:4] = 0
    mesh, _ = material(
        tmp_path, "map_Kd t.png\nmap_d d.png", t_png=picture(9, 9, 9, side=4), d_png=png(half)
    )
    assert mesh.material.alpha_mode == "MASK"
    assert mesh.texture.shape == (8, 8, 4)
    assert mesh.texture[0, 0].tolist() == [9, 9, 9, 0]
    mesh, _ = material(tmp_path, "map_d d.png", d_png=png(half // 2))
    assert mesh.material.alpha_mode == "BLEND"
    assert mesh.texture[7, 0].tolist() == [255, 255, 255, 127]
    mesh, _ = material(tmp_path, "map_Kd t.png", t_png=png(np.dstack([half] * 4)))
    assert mesh.material.alpha_mode == "MASK"
    mesh, _ = material(tmp_path, "map_Kd t.png\nmap_d t.png", t_png=picture(5, 5, 5))
    assert mesh.texture.shape[2] == 3


def test_a_texture_that_is_scaled_moved_and_clamped(tmp_path):
    mesh, _ = material(
        tmp_path, "map_Kd -s 4 4 1 -o 0.5 0 0 -clamp on t.png", t_png=picture(1, 2, 3)
    )
    assert mesh.uv.tolist() == [[0.5, 0], [4.5, 0], [4.5, 4], [0.5, 4]]
    assert mesh.material.sampler == Sampler("clamp", "clamp")
    line = read_blocks(b"newmtl x\nmap_Kd -o .5 -bm 2 a b#1.png # old\n")[1][0].lines[1]
    said = map_line(line)
    assert (said.name, said.shift, said.strength) == ("a b#1.png", (0.5, 0.0), 2)


def test_emission_normal_and_surface_maps(tmp_path):
    blue, tilt = picture(128, 128, 255), np.zeros((8, 8), np.uint8)
    tilt[:] = np.arange(8) * 20
    mesh, _ = material(
        tmp_path,
        "Ke 2 0 1\nmap_Ke e.png\nmap_Bump -bm 0.5 n.png\nmap_Pr r.png\nmap_Pm p.png\nPr 0.5",
        e_png=picture(7, 8, 9),
        n_png=blue,
        r_png=picture(100, 100, 100),
        p_png=picture(50, 50, 50, side=4),
    )
    own = mesh.material
    assert own.emission == (2, 0, 1)
    assert own.emissive_map[0, 0].tolist() == [7, 8, 9]
    assert own.normal_map[0, 0].tolist() == [128, 128, 255]
    assert own.normal_scale == 0.5
    assert own.metallic_roughness.shape == (8, 8, 3)
    assert own.metallic_roughness[3, 3].tolist() == [255, 100, 50]
    assert (own.roughness, own.metallic) == (0.5, 1.0)
    assert own.encoded(own.normal_map).data == blue
    mesh, _ = material(
        tmp_path, "bump n.png\nmap_ORM o.png\nmap_Ke e.png", n_png=png(tilt), o_png=picture(1, 2, 3)
    )
    own = mesh.material
    # Heights that rise to the right turn the normal to the left.
    assert own.normal_map[4, 4, 0] < 128
    assert own.normal_map[4, 4, 1] in (127, 128)
    assert own.normal_map[4, 4, 2] > 200
    assert own.metallic_roughness[0, 0].tolist() == [1, 2, 3]
    assert own.occlusion_map[0, 0, 0] == 1
    assert own.emission == (1, 1, 1)


def test_a_jpeg_stays_the_same_jpeg(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(
        data, "JPEG"
    )
    mesh, _ = material(tmp_path, "map_Kd t.jpg", t_jpg=data.getvalue())
    assert mesh.material.encoded(mesh.texture).mime == "image/jpeg"
    Asset({"a": mesh}).save(tmp_path / "new.obj")
    assert (tmp_path / "new.jpg").read_bytes() == data.getvalue()


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


# Writing anew


def test_what_mtl_can_say_survives_glb_obj_glb(tmp_path):
    draw = np.random.default_rng(3)

    def pixels(channels):
        return draw.integers(0, 255, (8, 8, channels)).astype(np.uint8)

    own = Material(
        "leaf",
        (0.5, 0.25, 1.0, 1.0),
        0.5,
        0.25,
        pixels(3),
        "MASK",
        True,
        0.375,
        pixels(3),
        0.5,
        pixels(3),
        (2.0, 0.0, 1.0),
        pixels(3),
        True,
        Sampler("clamp", "mirror", True),
    )
    mesh = Mesh(
        np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        np.int32([[0, 1, 2]]),
        np.float32([[0, 0], [1, 0], [0, 1]]),
        pixels(4),
        material=own,
    )
    again = Asset.load(Asset({"a": mesh}).save(tmp_path / "a.obj")).mesh
    new = again.material
    for name in (
        *("colour", "roughness", "metallic", "alpha_mode", "double_sided", "alpha_cutoff"),
        *("normal_scale", "emission", "unlit", "sampler"),
    ):
        assert getattr(new, name) == getattr(own, name), name
    assert np.array_equal(again.texture, mesh.texture)
    for name in ("normal_map", "occlusion_map", "emissive_map"):
        assert np.array_equal(getattr(new, name), getattr(own, name)), name
    assert np.array_equal(new.metallic_roughness[..., 1:], own.metallic_roughness[..., 1:])
    other = trimesh.load(tmp_path / "a.obj", process=False, force="mesh")
    assert other.visual.material.image.size == (8, 8)


def test_one_material_with_two_textures_becomes_two(tmp_path):
    shared = Material("wood")
    parts = {}
    for k in range(2):
        parts[str(k)] = Mesh(
            np.eye(3, dtype=np.float32) + k,
            np.int32([[0, 1, 2]]),
            np.zeros((3, 2), np.float32),
            np.full((2, 2, 3), k * 9, np.uint8),
            material=shared,
        )
    again = Asset.load(Asset(parts).save(tmp_path / "two.obj"))
    assert [int(m.texture[0, 0, 0]) for m in again.meshes.values()] == [0, 9]


# The patch

FILE = """# Made by hand
mtllib old.mtl

o body
g shell
v 0 0 0
v 1 0 0
v 1.00 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl wood
s 1
f 1/1 2/2 3/3 4/4
l 1 3
# the lid
o lid
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
s off
f 5/5 6/6 7/7 # a comment
f -4/-3 -2/-1 -1/-3
strange 1 2 3
"""
LIBRARY = """# woods
newmtl wood
Ka 0.1 0.1 0.1
Kd 0 0 0
map_Kd textures/oak.png
map_Ks shine.png

newmtl other
Kd 1 0 0
"""


def patchable(folder, end="\n"):
    (folder / "textures").mkdir(exist_ok=True)
    (folder / "textures" / "oak.png").write_bytes(picture(1, 2, 3))
    (folder / "shine.png").write_bytes(picture(4, 5, 6))
    (folder / "old.mtl").write_bytes(LIBRARY.replace("\n", end).encode())
    return loaded(folder, FILE.replace("\n", end))


def painted(mesh, level=200):
    """The mesh with coordinates and a texture of its own, as a painter leaves it."""
    flat = mesh.faces.reshape(-1)
    return Mesh(
        mesh.vertices[flat],
        np.arange(len(flat), dtype=np.int32).reshape(-1, 3),
        np.random.default_rng(level).random((len(flat), 2)).astype(np.float32),
        np.full((4, 4, 3), level, np.uint8),
        normals=mesh.normals[flat],
        material=Material("painted"),
        part=mesh.part,
        origin=flat.astype(np.int64),
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_unchanged_file_stays_byte_for_byte(tmp_path, end):
    asset = patchable(tmp_path, end)
    assert {f.kind for f in asset.source.features()} == {
        "smoothing groups",
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


def same_surface(one, two):
    """Whether two meshes have the same triangles with the same coordinates, in order."""
    for name in ("vertices", "uv"):
        a, b = (getattr(m, name)[m.faces] for m in (one, two))
        assert np.allclose(a, b, atol=1e-6), name


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
