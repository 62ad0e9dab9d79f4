"""PLY, STL and OFF: what is kept, what is refused, positions far from the origin. The formats
that need a library more have their tests in tests/extras."""

import numpy as np
import pytest
import trimesh

from tests.bad_files import good_asset
from tests.small_files import OFF, TEXT_PLY, TEXT_STL, ply
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.features import features
from threestudio_like.meshes.io.far import near_origin
from threestudio_like.meshes.io.files import losses
from threestudio_like.meshes.io.images import encode_png

PICTURE = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)


def cube(**more):
    body = trimesh.creation.box()
    return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32), **more)


def written(folder, name, data):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


def textured():
    plate = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    uv = plate[:, :2].copy()
    return Mesh(plate, np.int32([[0, 1, 2], [0, 2, 3]]), uv, PICTURE).with_normals()


# PLY.


def test_ply_keeps_a_texture_its_coordinates_and_normals(tmp_path):
    again = Asset.load(Asset({"a": textured()}).save(tmp_path / "a.ply")).mesh
    assert (tmp_path / "a.png").is_file()
    assert b"comment TextureFile a.png" in (tmp_path / "a.ply").read_bytes()
    for name in ("vertices", "faces", "uv", "texture", "normals"):
        np.testing.assert_array_equal(getattr(again, name), getattr(textured(), name))
    assert losses(Asset({"a": again}), tmp_path / "b.ply")[0].kind == "materials"
    other = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_allclose(other.visual.uv, textured().uv)


def test_ply_keeps_several_textures_and_colours_with_alpha(tmp_path):
    parts = {"one": textured(), "two": textured(), "three": cube()}
    parts["two"].texture = 255 - PICTURE
    parts["three"].colours = np.linspace(0, 1, 32).reshape(8, 4).astype(np.float32)
    again = Asset.load(Asset(parts).save(tmp_path / "a.ply"))
    assert [m.texture is not None for m in again.meshes.values()] == [False, True, True]
    plain, one, two = again.meshes.values()
    np.testing.assert_array_equal(one.texture, PICTURE)
    np.testing.assert_array_equal(two.texture, 255 - PICTURE)
    np.testing.assert_allclose(
        np.sort(plain.colours, 0), np.sort(parts["three"].colours, 0), atol=1 / 500
    )
    kinds = {f.kind for f in features(again)}
    assert {"textures", "vertex alpha", "texture coordinates"} <= kinds


def test_a_missing_picture_of_a_ply_is_a_note(tmp_path, capfd, caplog):
    asset = Asset.load(written(tmp_path, "a.ply", TEXT_PLY))
    assert asset.mesh.texture is None
    assert asset.mesh.uv is not None
    assert asset.notes == ['the picture "tiles.png" is missing']
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    asset = Asset.load(tmp_path / "a.ply")
    np.testing.assert_array_equal(asset.mesh.texture, PICTURE)
    assert Asset.load(tmp_path / "a.ply", textures=False).mesh.texture is None


def test_a_picture_is_looked_for_beside_the_ply_only(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    for name in ("../tiles.png", "/etc/tiles.png", str(tmp_path / "tiles.png"), "C:\\x\\tiles.png"):
        path = written(tmp_path / "in", "a.ply", TEXT_PLY.replace(b"tiles.png", name.encode()))
        assert Asset.load(path).mesh.texture is None
    (tmp_path / "in" / "tiles.png").write_bytes(encode_png(PICTURE))
    assert Asset.load(path).mesh.texture is not None


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_of_both_orders_with_polygons_and_strange_columns(tmp_path, order):
    arrow = [(0, 0, 0), (1, 0.9, 0), (2, 0, 0), (1, 3, 0)]
    rows = np.array(
        [(*p, 7, *p[:2]) for p in arrow], f"{order}f8,{order}f8,{order}f8,u1,{order}f4,{order}f4"
    )
    count = np.dtype(order + "u2")
    faces = b""
    for polygon in ([0, 1, 2, 3], [0, 1, 2]):
        faces += np.array(len(polygon), count).tobytes() + np.array(polygon, order + "i4").tobytes()
        faces += b"\1"
    kind = {"<": "little", ">": "big"}[order]
    head = (
        f"ply\r\nformat binary_{kind}_endian 1.0\r\nelement camera 2\r\nproperty short x\r\n"
        "element vertex 4\r\nproperty double x\r\nproperty double y\r\nproperty double z\r\n"
        "property uchar quality\r\nproperty float texture_u\r\nproperty float texture_v\r\n"
        "element face 2\r\nproperty list ushort int vertex_index\r\nproperty uchar flags\r\n"
        "end_header\r\n"
    )
    data = head.encode() + b"\0" * 4 + rows.tobytes() + faces
    mesh = Asset.load(written(tmp_path, "a.ply", data)).mesh
    assert len(mesh.faces) == 3
    np.testing.assert_allclose(mesh.vertices, arrow)
    np.testing.assert_allclose(mesh.uv, np.array(arrow)[:, :2])
    # The concave corner is cut as it is: the polygon has an area of 3 - 0.9.
    first = Mesh(mesh.vertices, mesh.faces[:2])
    assert first.area == pytest.approx(2.1)


def test_ply_of_strips_of_face_colours_and_of_float_colours(tmp_path):
    vertices = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n"
    head = "element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    strips = head + "element tristrips 1\nproperty list int int vertex_indices"
    mesh = Asset.load(written(tmp_path, "s.ply", ply(strips, vertices + "5 0 1 2 3 -1\n"))).mesh
    assert len(mesh.faces) == 2
    assert mesh.with_normals().normals[:, 2] == pytest.approx(1)
    coloured = head + (
        "element face 2\nproperty list uchar int vertex_indices\nproperty float red\n"
        "property float green\nproperty float blue"
    )
    body = vertices + "3 0 1 2 1 0 0\n3 1 3 2 0 0.5 1\n"
    mesh = Asset.load(written(tmp_path, "c.ply", ply(coloured, body))).mesh
    assert len(mesh.vertices) == 6
    np.testing.assert_allclose(mesh.colours[mesh.faces[1]], [[0, 0.5, 1]] * 3)
    assert mesh.origin.tolist() == [0, 1, 1, 2, 2, 3]


def test_ply_of_points_only_is_refused_in_one_line(tmp_path, capfd):
    head = "element vertex 3\nproperty float x\nproperty float y\nproperty float z"
    for extra in ("", "\nelement face 0\nproperty list uchar int vertex_indices"):
        path = written(tmp_path, "a.ply", ply(head + extra, "0 0 0\n1 0 0\n0 1 0\n"))
        with pytest.raises(InputError, match="holds no triangles"):
            Asset.load(path)
    assert capfd.readouterr() == ("", "")


# Far from the origin.


def test_points_near_the_origin_stay_bit_for_bit():
    points = np.random.default_rng(0).normal(size=(50, 3))
    near, offset = near_origin(points)
    np.testing.assert_array_equal(near, points.astype(np.float32))
    assert not offset.any()
    near, offset = near_origin(points * 0.1 + [5e5, 5e6, 100])
    np.testing.assert_allclose(near + offset, points * 0.1 + [5e5, 5e6, 100], atol=1e-7)
    assert near_origin(np.full((3, 3), np.nan))[1].tolist() == [0, 0, 0]
    assert near_origin(np.zeros((0, 3)))[0].shape == (0, 3)


@pytest.mark.parametrize("suffix", ["ply", "3mf"])
def test_a_small_cube_far_away_is_read_and_written(tmp_path, suffix):
    there = np.array([500000.0, 5400000.0, 120.0])
    asset = Asset({"cube": cube().split_at_creases()}, offset=there)
    again = Asset.load(asset.save(tmp_path / f"a.{suffix}"))
    low = again.mesh.vertices.min(0) + again.offset
    np.testing.assert_allclose(low, there - 0.5, atol=1e-5)
    assert again.mesh.area == pytest.approx(6, rel=1e-4)
    assert "far origin" not in [f.kind for f in losses(asset, tmp_path / "b.ply")]
    assert "far origin" in [f.kind for f in losses(asset, tmp_path / "b.stl")]


# STL.


def test_a_text_stl_keeps_its_solids(tmp_path):
    asset = Asset.load(written(tmp_path, "a.stl", TEXT_STL))
    assert list(asset.meshes) == ["one part", "other"]
    assert asset.meshes["other"].vertices[:, 2].tolist() == [2, 2, 2]
    upper = TEXT_STL.replace("vertex", "VERTEX").replace("endfacet", "ENDFACET")
    assert len(Asset.load(written(tmp_path, "a.stl", upper)).meshes) == 2
    unnamed = TEXT_STL.replace("solid one part", "solid").replace("solid other", "solid")
    assert list(Asset.load(written(tmp_path, "b.stl", unnamed)).meshes) == ["b", "b.1"]


def test_an_stl_is_sharp_at_its_edges_and_smooth_elsewhere(tmp_path):
    flat = Asset.load(Asset({"a": cube()}).save(tmp_path / "a.stl")).mesh
    assert len(flat.vertices) == 24
    # Every normal is that of its side.
    assert np.abs(flat.normals).max(1) == pytest.approx(1)
    ball = trimesh.creation.icosphere(3)
    path = tmp_path / "b.stl"
    ball.export(path)
    round_ = Asset.load(path).mesh
    assert len(round_.vertices) == len(ball.vertices)
    assert (round_.normals * round_.vertices).sum(1) == pytest.approx(1, abs=1e-3)
    assert len(np.unique(round_.welded())) == len(ball.vertices)


def test_a_binary_stl_may_begin_with_the_word_solid(tmp_path):
    path = Asset({"a": cube()}).save(tmp_path / "a.stl")
    data = path.read_bytes()
    path.write_bytes(b"solid of a program".ljust(80) + data[80:])
    assert len(Asset.load(path).mesh.faces) == 12


def test_splitting_keeps_seams_and_says_where_vertices_came_from():
    mesh = cube(uv=np.random.default_rng(0).random((8, 2)).astype(np.float32))
    split = mesh.split_at_creases()
    assert len(split.vertices) == 24
    np.testing.assert_array_equal(split.vertices, mesh.vertices[split.origin])
    np.testing.assert_array_equal(split.uv, mesh.uv[split.origin])
    np.testing.assert_array_equal(split.vertices[split.faces], mesh.vertices[mesh.faces])
    twice = split.split_at_creases()
    np.testing.assert_array_equal(twice.origin, split.origin[np.arange(24)])
    # Above the angle of a cube's edges nothing is split.
    assert len(mesh.split_at_creases(100).vertices) == 8


# OFF.


def test_off(tmp_path):
    mesh = Asset.load(written(tmp_path, "a.off", OFF)).mesh
    np.testing.assert_allclose(mesh.colours[0], [1, 0, 0])
    assert mesh.area == pytest.approx(1)
    quads = "OFF 4 1 0\n# a comment\n\n0 0 0\n1 0 0 # here\n1 1 0\n0 1 0\n4 0 1 2 3 0.5 0.5 1\n"
    mesh = Asset.load(written(tmp_path, "b.off", quads)).mesh
    np.testing.assert_allclose(mesh.colours, [[0.5, 0.5, 1]] * 4)
    full = "STCNOFF\n3 1 0\n" + "".join(
        f"{p} 0 0 1 1 0.5 0 1 {uv}\n"
        for p, uv in (("0 0 0", "0 0"), ("1 0 0", "1 0"), ("0 1 0", "0 1"))
    )
    mesh = Asset.load(written(tmp_path, "c.off", full + "3 0 1 2\n")).mesh
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert mesh.colours[0].tolist() == [1, 0.5, 0, 1]
    assert mesh.normals.tolist() == [[0, 0, 1]] * 3


# Formats that need a library more.


@pytest.mark.parametrize(
    ("suffix", "extra"), [("usda", "usd"), ("usdz", "usd"), ("dae", "formats")]
)
def test_a_missing_library_is_named_with_the_way_to_install_it(
    tmp_path, monkeypatch, suffix, extra
):
    import importlib

    real = importlib.import_module

    def without(name, *more):
        if name.startswith(("pxr", "collada")):
            raise ImportError(f"No module named {name!r}")
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    path = written(tmp_path, f"a.{suffix}", "<x/>")
    with pytest.raises(InputError) as caught:
        Asset.load(path)
    assert f"pip install '.[{extra}]'" in caught.value.line()
    if suffix != "dae":
        with pytest.raises(InputError, match="pip install"):
            good_asset().save(tmp_path / f"b.{suffix}")


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        *(("fbx", "Blender"), ("skp", "SketchUp"), ("step", "CAD"), ("vrm", "Rename")),
        *(("blend", "GLB"), ("zip", "Unpack it"), ("7z", "Unpack it"), ("gz", "Unpack it")),
    ],
)
def test_what_is_not_read_names_a_way_out(tmp_path, suffix, says):
    with pytest.raises(InputError, match=says):
        Asset.load(written(tmp_path, f"a.{suffix}", "x"))


CORNERS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def test_polygons_that_become_triangles_are_told_of_every_format(tmp_path):
    """As of an OBJ: with what the file that is written does not keep."""
    off = written(tmp_path, "quad.off", f"OFF\n4 1 0\n{CORNERS}4 0 1 2 3\n")
    head = "ply\nformat ascii 1.0\nelement vertex 4\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    ply = written(tmp_path, "quad.ply", f"{head}{CORNERS}4 0 1 2 3\n")
    for path in (off, ply):
        asset = Asset.load(path)
        assert "polygons" in [feature.kind for feature in features(asset)]
        with pytest.warns(UserWarning, match="polygons"):
            asset.save(tmp_path / f"{path.suffix[1:]}.glb")
    plain = Asset.load(written(tmp_path, "plain.off", f"OFF\n4 1 0\n{CORNERS}3 0 1 2\n"))
    assert not plain.polygons
    assert plain.notes == []


@pytest.mark.parametrize(
    ("faces", "note"),
    [
        ("3 0 1 2 255 0 0\n3 0 2 3\n", "the face colours are left out: not every face"),
        ("3 0 1 2 4\n3 0 2 3 5\n", "colours of faces by their number in a colour map"),
    ],
)
def test_face_colours_of_an_off_that_are_not_read_are_told(tmp_path, faces, note):
    asset = Asset.load(written(tmp_path, "a.off", f"OFF\n4 2 0\n{CORNERS}{faces}"))
    assert len(asset.notes) == 1
    assert asset.notes[0].startswith(note)
    assert asset.mesh.colours is None
