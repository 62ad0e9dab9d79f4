"""STL, text and binary: every facet is read or told, and what is not whole is refused."""

import struct
from itertools import pairwise

import numpy as np
import pytest
import trimesh

from tests.test_foreign_formats import written
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset

MARK = b"\xef\xbb\xbf"
SQUARE = np.float64([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
ARROW = np.float64([[0, 0, 0], [1, 0.9, 0], [2, 0, 0], [1, 3, 0]])
PENTAGON = np.float64([[0, 0, 0], [2, 0, 0], [3, 1, 0], [1, 2, 0], [-1, 1, 0]])


def facet(points, end="\n"):
    rows = end.join("vertex " + " ".join(f"{x:g}" for x in p) for p in points)
    words = ["facet normal 0 0 1", "outer loop", rows, "endloop", "endfacet", ""]
    return end.join(words)


def solid(*loops, name="q", end="\n"):
    return f"solid {name}{end}" + "".join(facet(p, end) for p in loops) + f"endsolid {name}{end}"


def binary(count, triangles, header=b"", attribute=0):
    rows = b"".join(
        np.float32([[0, 0, 1], *t]).astype("<f4").tobytes() + struct.pack("<H", attribute)
        for t in triangles
    )
    return header.ljust(80, b"\0") + struct.pack("<I", count) + rows


def lifted(count):
    return [SQUARE[:3] + np.float64([0, 0, z]) for z in range(count)]


def area(points):
    """Of a plane polygon in x and y, by the shoelace formula."""
    around = np.concatenate([points, points[:1]])
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(around))) / 2


@pytest.mark.parametrize("loop", [SQUARE, ARROW, PENTAGON], ids=["quad", "concave", "five"])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_loop_of_more_vertices_is_cut_into_its_own_triangles(tmp_path, loop, count):
    # Three loops of four have as many vertices as four triangles.
    loops = [loop + np.float64([0, 0, z]) for z in range(count)]
    asset = Asset.load(written(tmp_path, "a.stl", solid(*loops, SQUARE[:3] - [0, 0, 5])))
    mesh = asset.mesh
    assert asset.polygons
    assert len(mesh.faces) == count * (len(loop) - 2) + 1
    # No triangle lies between two loops.
    assert np.ptp(mesh.vertices[mesh.faces][:, :, 2], axis=1).max() == 0
    assert mesh.area == pytest.approx(count * area(loop) + 0.5, rel=1e-6)
    with pytest.warns(UserWarning, match="polygons"):
        asset.save(tmp_path / "a.glb")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", " \n\t"])
@pytest.mark.parametrize("wide", [str, str.upper])
def test_lines_may_end_in_any_way(tmp_path, end, wide):
    text = wide(solid(*lifted(5), end=end))
    mesh = Asset.load(written(tmp_path, "a.stl", text)).mesh
    assert len(mesh.faces) == 5
    assert mesh.area == pytest.approx(2.5)


def test_a_facet_may_stand_on_one_line(tmp_path):
    text = "solid\n" + "".join(facet(p, " ") + "\n" for p in lifted(3)) + "endsolid"
    assert Asset.load(written(tmp_path, "a.stl", text)).mesh.area == pytest.approx(1.5)


def test_a_large_text_is_read_as_another_reader_reads_it(tmp_path, monkeypatch):
    """It is looked at in pieces, which end within facets."""
    from threestudio_like.meshes.io.stl import text

    monkeypatch.setattr(text, "_CHUNK", 1000)
    ball = trimesh.creation.icosphere(2)
    data = trimesh.exchange.stl.export_stl_ascii(ball).encode()
    (found,) = text.read_text(data, "a.stl", [])
    other = trimesh.load(trimesh.util.wrap_as_stream(data), file_type="stl", process=False)
    np.testing.assert_allclose(found.corners.reshape(-1, 3, 3), other.triangles, atol=1e-12)
    half = data[: len(data) // 2]
    with pytest.raises(InputError, match="ends too early"):
        text.read_text(half, "a.stl", [])


WHOLE = solid(SQUARE[:3], SQUARE[1:])


@pytest.mark.parametrize("cut", range(12, len(WHOLE) - 1, 7))
def test_a_text_that_was_cut_is_refused_or_told(tmp_path, cut):
    path = written(tmp_path, "a.stl", WHOLE[:cut])
    left = WHOLE[:cut].rsplit("endfacet", 1)
    if len(left) == 2 and not left[1].strip():
        assert Asset.load(path).notes == ['it may be cut: a solid has no "endsolid"']
    elif "endsolid" in WHOLE[:cut]:
        assert Asset.load(path).notes == []
    elif "facet" in WHOLE[:cut]:
        with pytest.raises(InputError, match="ends too early"):
            Asset.load(path)
    else:
        with pytest.raises(InputError):
            Asset.load(path)


def test_whole_facets_without_an_end_are_told(tmp_path):
    text = "solid a\n" + facet(SQUARE[:3])
    asset = Asset.load(written(tmp_path, "a.stl", text + solid(SQUARE[1:])))
    assert list(asset.meshes) == ["a", "q"]
    assert asset.notes == ['it may be cut: a solid has no "endsolid"']


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("endloop\n", "", "a facet that is not whole"),
        ("outer loop\n", "", "a facet that is not whole"),
        ("endfacet\n", "", "a facet that is not whole"),
        ("vertex 1 0 0\n", "", "a facet of 2 vertices"),
        ("vertex 1 0 0\n", "vertex 1 0\n", "a vertex of 2 numbers"),
        ("vertex 1 0 0\n", "vertex 1 0 0 0\n", "a vertex of 4 numbers"),
        ("vertex 1 0 0\n", "vertex 1 zero 0\n", "words where numbers belong"),
    ],
)
def test_a_facet_that_is_not_whole_is_refused(tmp_path, old, new, says):
    text = WHOLE.replace(old, new, 1)
    with pytest.raises(InputError, match=says):
        Asset.load(written(tmp_path, "a.stl", text))


def test_what_a_text_has_besides_is_told(tmp_path):
    text = WHOLE.replace("outer", "color 1 0 0\nouter") + facet(SQUARE[:3])
    asset = Asset.load(written(tmp_path, "a.stl", text))
    assert len(asset.mesh.faces) == 2
    assert asset.notes == [
        "words that are left out: color",
        "what stands outside of its solids is left out",
    ]
    plain = WHOLE.replace("normal 0 0 1", "normal nan -nan inf")
    assert Asset.load(written(tmp_path, "b.stl", plain)).notes == []


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (b"vertex cover", "vertex cover"),
        (b"my facet of a solid endloop", "my facet of a solid endloop"),
        (b"Geh\xe4use", "Gehäuse"),
        ("Gehäuse 椅".encode(), "Gehäuse 椅"),
        (b"", "a"),
    ],
)
@pytest.mark.parametrize("mark", [b"", MARK], ids=["plain", "with a mark"])
def test_a_solid_has_any_name(tmp_path, name, label, mark):
    data = mark + WHOLE.encode().replace(b"solid q", b"solid " + name)
    asset = Asset.load(written(tmp_path, "a.stl", data))
    assert list(asset.meshes) == [label]
    assert asset.notes == []
    assert asset.mesh.area == pytest.approx(1)


@pytest.mark.parametrize(
    ("data", "areas", "note"),
    [
        (binary(3, lifted(3)), [1.5], None),
        (binary(1, lifted(3)), [1.5], "its header counts 1 of 3 facets: all are read"),
        (binary(0, lifted(3)), [1.5], "its header counts 0 of 3 facets: all are read"),
        (
            binary(1, lifted(1)) + binary(2, lifted(2)),
            [0.5, 1.0],
            "it is 2 binary STL files, one behind the other: all are read",
        ),
        (binary(2, lifted(2)) + b"made by nobody", [1.0], "14 bytes behind the last facet"),
        (binary(2, lifted(2)) + b"x" * 100, [1.0], "100 bytes behind the last facet"),
        (binary(2, lifted(2)) + b"\0" * 50, [1.0], None),
        (binary(2, lifted(2)) + b"\r\n", [1.0], None),
        (binary(2, lifted(2), MARK), [1.0], None),
    ],
)
def test_every_facet_of_a_binary_is_read_or_told(tmp_path, data, areas, note):
    asset = Asset.load(written(tmp_path, "a.stl", data))
    assert [mesh.area for mesh in asset.meshes.values()] == pytest.approx(areas)
    assert len(asset.notes) == (note is not None)
    assert asset.notes == [] or asset.notes[0].startswith(note)


@pytest.mark.parametrize("attribute", [0, 0x7C00])
@pytest.mark.parametrize("header", [b"", b"COLOR=\xff\0\0\xff", b"solid COLOR=\xff\0\0\xff"])
def test_colours_of_a_binary_are_told(tmp_path, header, attribute):
    data = binary(2, lifted(2), header, attribute)
    notes = Asset.load(written(tmp_path, "a.stl", data)).notes
    assert ["attributes" in note for note in notes if "facets" in note] == [True] * bool(attribute)
    assert ["COLOR=" in note for note in notes if "header" in note] == [True] * bool(header)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (binary(3, lifted(2)), "ends too early"),
        (binary(2, lifted(2))[:-1], "ends too early"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n" * 9, "is not an STL file"),
        (b"", "is empty"),
    ],
)
def test_a_binary_that_was_cut_is_refused(tmp_path, data, says):
    with pytest.raises(InputError, match=says):
        Asset.load(written(tmp_path, "a.stl", data))
