"""PLY from other programs: colours of all kinds, counts that are wrong, marks of editors."""

import numpy as np
import pytest

from tests.small_files import TEXT_PLY, ply
from tests.test_foreign_formats import PICTURE, written
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.meshes.io.sources.colours import unit_colours

POINTS = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
HUES = ("red", "green", "blue", "alpha")


def triangle(colours, kinds, faces=("3 0 1 2",), of_faces=()):
    """A text of a triangle whose vertices have colours of these types, and its face others."""
    header = "element vertex 3\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property {kind} {name}\n" for kind, name in zip(kinds, HUES))
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices"
    header += "".join(f"\nproperty {kind} {name}" for kind, name in zip(of_faces, HUES))
    rows = [" ".join(f"{x:g}" for x in (*p, *c)) for p, c in zip(POINTS, colours)]
    return ply(header, "\n".join([*rows, *faces, ""]))


def binary(vertices, faces, order="<", more=b""):
    """A file that counts three vertices and a face."""
    kind = {"<": "little", ">": "big"}[order]
    head = f"ply\nformat binary_{kind}_endian 1.0\nelement vertex 3\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    rows = np.array(vertices, f"{order}f4").tobytes()
    rows += b"".join(b"\3" + np.array(face, f"{order}i4").tobytes() for face in faces)
    return head.encode() + rows + more


@pytest.mark.parametrize(
    ("colours", "expected", "note"),
    [
        ([(0, 0.5, 1)] * 3, [0, 0.5, 1], None),
        ([(0, 0.5, 1.0005)] * 3, [0, 0.5, 1], None),
        ([(0.5, 1.2, 0.8)] * 3, [0.5, 1, 0.8], "colours up to 1.2 are taken as 0 to 1"),
        ([(0.25, 8.5, 1)] * 3, [0.25, 1, 1], "colours up to 8.5 are taken as 0 to 1"),
        ([(51, 255, 0)] * 3, [0.2, 1, 0], "colours up to 255 are taken as 0 to 255"),
        ([(51, 204, 0)] * 3, [0.2, 0.8, 0], "colours up to 204 are taken as 0 to 255"),
        ([(25.5, 127.5, 0)] * 3, [0.1, 0.5, 0], "colours up to 127.5 are taken as 0 to 255"),
        ([(2, 3, 4)] * 3, [2 / 255, 3 / 255, 4 / 255], "colours up to 4 are taken as 0 to 255"),
        ([(-0.5, float("inf"), 0.5)] * 3, [0, 1, 0.5], None),
    ],
)
def test_float_colours_count_to_1_unless_they_are_bytes(tmp_path, colours, expected, note):
    found = []
    read = unit_colours(np.array(colours), found)
    np.testing.assert_allclose(read, [expected] * 3, atol=1e-6)
    assert len(found) == (note is not None)
    assert not found or found[0].startswith(note)
    if np.isfinite(colours).all():
        path = written(tmp_path, "a.ply", triangle(colours, ("float",) * 3))
        asset = Asset.load(path)
        np.testing.assert_allclose(asset.mesh.colours, [expected] * 3, atol=1e-6)
        assert asset.notes == found


@pytest.mark.parametrize("normal", [(0, 0, 0), (np.nan, 0, 1), (0, 0, np.inf)])
@pytest.mark.parametrize("bad", [(), (1,), (0, 1, 2, 3), (4,)])
def test_normals_and_colours_that_are_no_numbers_are_mended_alone(tmp_path, bad, normal):
    """Those of the other vertices stay; the last vertex is of no face."""
    rows = np.array(
        [(x, y, 0, 0.6, 0, 0.8, 1, 0.5, 0) for x, y in [(0, 0), (1, 0), (1, 1), (0, 1)]]
    )
    rows = np.concatenate([rows, rows[:1]])
    rows[list(bad), 3:6], rows[list(bad), 8] = normal, np.nan
    names = ("x", "y", "z", "nx", "ny", "nz", *HUES[:3])
    header = "element vertex 5\n" + "".join(f"property float {name}\n" for name in names)
    header += "element face 2\nproperty list uchar int vertex_indices"
    text = "\n".join(" ".join(map(str, row)) for row in rows.tolist())
    asset = Asset.load(written(tmp_path, "a.ply", ply(header, text + "\n3 0 1 2\n3 0 2 3\n")))
    told = sum(k < 4 for k in bad)
    if told == 4:
        assert (asset.mesh.normals, asset.mesh.colours) == (None, None)
        assert [note.rpartition(" are ")[2] for note in asset.notes] == [
            "made anew: 4",
            "left out: 4",
        ]
        return
    expected = rows[:, 3:].copy()
    expected[list(bad)] = (0, 0, 1, 1, 0.5, 1)
    np.testing.assert_allclose(asset.mesh.normals[:4], expected[:4, :3], atol=1e-6)
    np.testing.assert_allclose(asset.mesh.colours[:4], expected[:4, 3:], atol=1e-6)
    assert [note.rpartition(": ")[2] for note in asset.notes] == ["1"] * 2 * told
    # What is written of it has the same.
    again = Asset.load(asset.save(tmp_path / "b.glb"))
    np.testing.assert_allclose(again.mesh.colours[:4], expected[:4, 3:], atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "row", "expected"),
    [
        (("uchar",) * 3, (255, 51, 0), (1, 0.2, 0)),
        (("uchar",) * 4, (255, 51, 0, 51), (1, 0.2, 0, 0.2)),
        (("uchar", "uchar", "uchar", "float"), (255, 51, 0, 0.5), (1, 0.2, 0, 0.5)),
        (("ushort",) * 3, (65535, 13107, 0), (1, 0.2, 0)),
        (("int",) * 3, (300, 51, -5), (1, 0.2, 0)),
        (("double",) * 4, (1, 0.2, 0, 0.5), (1, 0.2, 0, 0.5)),
    ],
)
def test_every_channel_has_the_range_of_its_type(tmp_path, kinds, row, expected):
    asset = Asset.load(written(tmp_path, "a.ply", triangle([row] * 3, kinds)))
    np.testing.assert_allclose(asset.mesh.colours, [expected] * 3, atol=1e-6)
    assert asset.notes == []


@pytest.mark.parametrize("of_vertices", [(), ("uchar",) * 3])
@pytest.mark.parametrize("of_faces", [(), ("uchar",) * 3, ("float",) * 3])
def test_face_colours_are_read_or_told(tmp_path, of_vertices, of_faces):
    faces = ("3 0 1 2" + " 1 0 0" * bool(of_faces),)
    rows = [(0, 51, 255)[: len(of_vertices)]] * 3
    asset = Asset.load(written(tmp_path, "a.ply", triangle(rows, of_vertices, faces, of_faces)))
    both = bool(of_vertices) and bool(of_faces)
    told = "the face colours are left out beside those of the vertices"
    assert asset.notes == [told] * both
    if of_vertices:
        np.testing.assert_allclose(asset.mesh.colours, [[0, 0.2, 1]] * 3)
    elif of_faces:
        red = 1 if of_faces[0] == "float" else 1 / 255
        np.testing.assert_allclose(asset.mesh.colours, [[red, 0, 0]] * 3)
    else:
        assert asset.mesh.colours is None


ONE = ("3 0 1 2",)


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (triangle([()] * 3, (), ONE), None),
        (triangle([()] * 3, (), ONE) + b"3 0 2 1\n3 0 2 1\n", "8 numbers"),
        (triangle([()] * 3, (), ONE) + b"\n \n", None),
        (triangle([()] * 3, (), ONE).replace(b"\n", b"\r\n") + b"3 0 2 1\r\n", "4 numbers"),
        (binary(POINTS, [(0, 1, 2)]), None),
        (binary(POINTS, [(0, 1, 2), (0, 2, 1)]), "13 bytes"),
        (binary(POINTS, [(0, 1, 2), (0, 2, 1)], ">"), "13 bytes"),
        (binary(POINTS, [(0, 1, 2)], more=b"\n"), None),
        (binary(POINTS, [(0, 1, 2)], more=b"\0" * 7), None),
    ],
)
def test_more_rows_than_the_header_counts_are_told(tmp_path, data, left):
    asset = Asset.load(written(tmp_path, "a.ply", data))
    assert asset.mesh.faces.tolist() == [[0, 1, 2]]
    told = f"there are more rows than its header counts: {left} are left out"
    assert asset.notes == ([told] if left else [])


def test_elements_behind_the_surface_are_no_rows_too_many(tmp_path):
    edge = "element edge 2\nproperty int vertex1\nproperty int vertex2\nend_header"
    data = triangle([()] * 3, (), ONE).replace(b"end_header", edge.encode())
    told = "elements that are left out: edge"
    for rows, notes in (
        (b"0 1\n1 2\n", [told]),
        (b"0 1\n", [told]),
        (b"0 1\n1 2\n2 0\n", ["there are more rows than its header counts: 2 numbers", told]),
    ):
        found = Asset.load(written(tmp_path, "a.ply", data + rows)).notes
        assert len(found) == len(notes)
        assert all(line.startswith(note) for line, note in zip(found, notes))


@pytest.mark.parametrize("faces", [1, 2, 3])
def test_too_small_a_count_of_vertices_is_refused(tmp_path, faces):
    """Or else vertices would be read as faces."""
    data = triangle([()] * 3, (), ONE * faces)
    wrong = data.replace(b"element vertex 3", b"element vertex 2")
    with pytest.raises(InputError, match=r"other rows than its header counts|a face names"):
        Asset.load(written(tmp_path, "a.ply", wrong))


def test_a_file_of_other_elements_alone_has_no_triangles(tmp_path):
    data = ply("element camera 1\nproperty float x", "1\n2\n")
    with pytest.raises(InputError, match="holds no triangles"):
        Asset.load(written(tmp_path, "a.ply", data))


@pytest.mark.parametrize("data", [TEXT_PLY, binary(POINTS, [(0, 1, 2)])], ids=["text", "binary"])
def test_a_mark_before_a_ply_is_skipped(tmp_path, data):
    plain = Asset.load(written(tmp_path, "a.ply", data)).mesh
    mesh = Asset.load(written(tmp_path, "b.ply", b"\xef\xbb\xbf" + data)).mesh
    np.testing.assert_array_equal(mesh.vertices, plain.vertices)
    np.testing.assert_array_equal(mesh.faces, plain.faces)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_picture_is_found_by_its_name_in_the_encoding_of_windows_too(tmp_path, encoding):
    (tmp_path / "Gehäuse.png").write_bytes(encode_png(PICTURE))
    data = TEXT_PLY.replace(b"tiles.png", "Gehäuse.png".encode(encoding))
    asset = Asset.load(written(tmp_path, "a.ply", data))
    np.testing.assert_array_equal(asset.mesh.texture, PICTURE)


@pytest.mark.parametrize("last", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "mixed"])
@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_lines_may_end_in_any_way(kind, end, last, tmp_path):
    """A first number that begins with a line feed is no line end, and a comment no end."""
    lines = [
        *("ply", f"format {kind} 1.0", "comment before end_header x", "element vertex 3"),
        *(f"property float {axis}" for axis in "xyz"),
        *("element face 1", "property list uchar int vertex_indices"),
    ]
    ends = ["\r", "\n", "\r\n", "\n"] if end == "mixed" else [end]
    head = "".join(line + ends[k % len(ends)] for k, line in enumerate(lines))
    order = ">" if "big" in kind else "<"
    vertices = np.zeros((3, 3), f"{order}f4")
    vertices[1, 0], vertices[2, 1] = 1, 1
    vertices[0] = np.frombuffer(b"\n\r\n?" * 3 if order == "<" else b"\n\n\n\n" * 3, f"{order}f4")
    faces = b"\3" + np.array([0, 1, 2], f"{order}i4").tobytes()
    data = vertices.tobytes() + faces
    if kind == "ascii":
        rows = [*(" ".join(map(repr, map(float, row))) for row in vertices), "3 0 1 2", ""]
        data = ends[0].join(rows).encode()
    (tmp_path / "x.ply").write_bytes(f"{head}end_header{last}".encode() + data)
    (mesh,) = Asset.load(tmp_path / "x.ply").meshes.values()
    assert len(mesh.faces) == 1
    assert np.array_equal(np.sort(mesh.vertices, 0), np.sort(vertices.astype("<f4"), 0))
