"""OFF from other programs: numbers on any lines, colours that no header names, wrong counts."""

import io
import re

import numpy as np
import pytest
import trimesh

from tests.small_files import OFF
from tests.test_foreign_formats import written
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset

POINTS = np.float64([[0, 0, 0], [1, 0, 0], [1, 1, 0.5], [0, 1, 0]])
ROWS = ["0 0 0", "1 0 0", "1 1 0.5", "0 1 0"]
FACES = ["3 0 1 2", "3 0 2 3"]


def off(rows=ROWS, faces=FACES, kind="OFF"):
    return "\n".join([kind, f"{len(rows)} {len(faces)} 0", *rows, *faces, ""])


def with_more(*more):
    return [f"{row} {some}" for row, some in zip(ROWS, more)]


LAYOUTS = {
    "as usual": off(),
    "counts beside the word": off().replace("OFF\n", "OFF "),
    "no word": off().replace("OFF\n", ""),
    "no count of edges": off().replace("4 2 0", "4 2"),
    "a number a line": off().replace(" ", "\n"),
    "all on one line": off().replace("\n", " "),
    "all behind the word": off().replace("OFF\n", "OFF ").replace("\n", " "),
    "two vertices a line": "\n".join(
        ["OFF 4 2 0", f"{ROWS[0]} {ROWS[1]}", f"{ROWS[2]} {ROWS[3]}", *FACES]
    ),
    "vertices on one line": "\n".join(["OFF", "4 2 0", " ".join(ROWS), *FACES]),
    "faces on one line": "\n".join(["OFF", "4 2 0", *ROWS, " ".join(FACES)]),
    "faces over two lines": off(faces=[face.replace("3 0", "3 0\n") for face in FACES]),
    "comments and empty lines": off().replace("\n", " # here\n\n"),
    "carriage returns": off().replace("\n", "\r\n"),
    "a mark": "\ufeff" + off(),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_numbers_may_stand_on_any_lines(tmp_path, layout):
    asset = Asset.load(written(tmp_path, "a.off", LAYOUTS[layout]))
    np.testing.assert_array_equal(asset.mesh.vertices, POINTS.astype(np.float32))
    assert asset.mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert asset.notes == []


@pytest.mark.parametrize(
    "kind", ["OFF", "NOFF", "COFF", "CNOFF", "STOFF", "STCNOFF"], ids=lambda kind: kind
)
@pytest.mark.parametrize("end", ["\n", " "])
@pytest.mark.parametrize("channels", [3, 4])
def test_every_kind_is_read_in_rows_and_without(tmp_path, kind, end, channels):
    normals, hues, uv = ["0 0 1"] * 4, [("1 0.5 0", "1 0.5 0 1")[channels - 3]] * 4, ["0.25 1"] * 4
    parts = [ROWS]
    parts += [normals] if "N" in kind[:-3] else []
    parts += [hues] if "C" in kind else []
    parts += [uv] if kind.startswith("ST") else []
    text = off([" ".join(row) for row in zip(*parts)], kind=kind)
    head, body = text.split(" 0\n", 1)
    mesh = Asset.load(written(tmp_path, "a.off", f"{head} 0\n{body.replace(chr(10), end)}")).mesh
    np.testing.assert_array_equal(mesh.vertices, POINTS.astype(np.float32))
    assert (mesh.normals is None) == ("N" not in kind[:-3])
    assert mesh.colours is None or mesh.colours.tolist() == [[1, 0.5, 0, 1][:channels]] * 4
    assert (mesh.colours is None) == ("C" not in kind)
    assert mesh.uv is None or mesh.uv.tolist() == [[0.25, 1]] * 4
    assert (mesh.uv is None) == (not kind.startswith("ST"))


def test_a_solid_is_read_as_another_reader_reads_it(tmp_path):
    body = trimesh.creation.icosphere(1)
    data = trimesh.exchange.off.export_off(body)
    other = trimesh.load(io.BytesIO(data.encode()), file_type="off", process=False)
    for text in (data, re.sub(r"\s+", " ", data), re.sub(r"\s+", "\n", data)):
        mesh = Asset.load(written(tmp_path, "a.off", text)).mesh
        np.testing.assert_allclose(mesh.vertices, other.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, other.faces)


@pytest.mark.parametrize(
    ("more", "colours"),
    [
        (("255 0 0", "255 0 0", "0 255 0", "0 0 51"), [1, 1, 0, 0]),
        (("255 0 0 255",) * 4, [1, 1, 1, 1]),
        (("0.5 0.5 0",) * 4, [0.5] * 4),
        (("0 0 1",) * 4, None),
        (("0 0.6 0.8", "0 0 1", "1 0 0", "0.6 0.8 0"), None),
        (("-0.5 0 0",) * 4, None),
        (("0 0 0",) * 4, None),
        (("7",) * 4, None),
        (("300 0 0",) * 4, None),
    ],
)
def test_numbers_that_the_header_does_not_name_are_colours_or_told(tmp_path, more, colours):
    asset = Asset.load(written(tmp_path, "a.off", off(with_more(*more))))
    width = len(more[0].split())
    np.testing.assert_array_equal(asset.mesh.vertices, POINTS.astype(np.float32))
    if colours is None:
        assert asset.mesh.colours is None
        assert asset.notes == [f"numbers behind every vertex that are left out: {width}"]
    else:
        np.testing.assert_allclose(asset.mesh.colours[:, 0], colours)
        assert asset.notes == [f"{width} numbers behind every vertex are taken as its colour"]


@pytest.mark.parametrize(
    ("row", "expected", "note"),
    [
        ("1 0.5 0", [1, 0.5, 0], None),
        ("255 51 0", [1, 0.2, 0], None),
        ("255 51 0 51", [1, 0.2, 0, 0.2], None),
        ("1 0 0 255", [1, 0, 0, 1], None),
        ("255 51 0 0.5", [1, 0.2, 0, 0.5], None),
        ("127.5 51 0", [0.5, 0.2, 0], "colours up to 127.5 are taken as 0 to 255"),
        ("1.2 0.5 0", [1, 0.5, 0], "colours up to 1.2 are taken as 0 to 1, and cut off above"),
    ],
)
def test_colours_of_vertices_and_of_faces_follow_one_rule(tmp_path, row, expected, note):
    of_vertices = off(with_more(*[row] * 4), kind="COFF")
    of_faces = off(faces=[f"{face} {row}" for face in FACES])
    for text in (of_vertices, of_faces):
        asset = Asset.load(written(tmp_path, "a.off", text))
        np.testing.assert_allclose(asset.mesh.colours, [expected] * 4, atol=1e-6)
        assert asset.notes == ([note] if note else [])


def test_a_colour_of_the_wrong_length_is_told(tmp_path):
    asset = Asset.load(written(tmp_path, "a.off", off(with_more(*["9 9"] * 4), kind="COFF")))
    assert asset.mesh.colours is None
    assert asset.notes == ["numbers behind every vertex that are left out: 2"]


def test_more_rows_than_the_header_counts_are_told(tmp_path):
    asset = Asset.load(written(tmp_path, "a.off", off() + "3 1 2 3\n"))
    assert len(asset.mesh.faces) == 2
    assert asset.notes == ["there are more rows than its header counts: 4 numbers are left out"]


@pytest.mark.parametrize(
    "text",
    [
        off().replace("4 2 0", "3 2 0"),
        off().replace("4 2 0", "2 2 0"),
        off().replace("4 2 0", "5 2 0"),
        off().replace("4 2 0", "4 3 0"),
        off()[: len(off()) - 4],
        off().replace("3 0 1 2", "3.5 0 1 2"),
        off().replace(" ", "\n").replace("\n3\n0\n1", "\n3.5\n0\n1"),
        off().replace("1 1 0.5", "1 1"),
        "\ufeff" + OFF.replace("COFF", "COIN"),
    ],
)
def test_counts_that_are_wrong_are_refused(tmp_path, text):
    with pytest.raises(InputError):
        Asset.load(written(tmp_path, "a.off", text))
