"""Meshes from strangers: each bad one ends in one line, with little memory, and with nothing
written."""

import resource

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset

from .bad_files import bad_files, mutate, write_good

ALL = bad_files()
LEFT_OUT = {name: row for name, row in ALL.items() if name.startswith("picture ")}
"""Files whose picture alone is bad: the mesh is read without it, and a note says so."""
BAD = {name: row for name, row in ALL.items() if name not in LEFT_OUT}


def test_there_are_sixty():
    assert len(ALL) >= 60


@pytest.mark.parametrize("name", list(LEFT_OUT))
def test_a_bad_picture_is_left_out_with_a_note(name, tmp_path, capsys):
    file, data, beside = LEFT_OUT[name]
    (tmp_path / file).write_bytes(data)
    for other, content in beside.items():
        (tmp_path / other).write_bytes(content)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["mesh", "info", str(tmp_path / file)]) == 0
    shown = capsys.readouterr().err
    assert len(shown.strip().splitlines()) == 1
    assert shown.startswith(("Note: the picture", "Note: texture"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 700 * 1024


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_mesh_is_one_line(name, tmp_path, capsys):
    file, data, beside = BAD[name]
    (tmp_path / file).write_bytes(data)
    for other, content in beside.items():
        (tmp_path / other).write_bytes(content)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["mesh", "info", str(tmp_path / file)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert "unexpected" not in shown.err
    assert len(shown.err) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 700 * 1024
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_three_hundred_mutations(tmp_path):
    files = write_good(tmp_path)
    good = {path: path.read_bytes() for path in files}
    before = sorted(p.name for p in tmp_path.rglob("*"))
    refused, lines = 0, []
    for number in range(300):
        path = files[number % len(files)]
        path.write_bytes(mutate(good[path], number))
        try:
            Asset.load(path)
        except InputError as error:
            refused += 1
            lines.append(error.line())
        path.write_bytes(good[path])
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert not any("\n" in line for line in lines)
    # Some mutations leave a mesh that can be read, most do not.
    assert 60 < refused < 300


PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
property float nx
property float ny
property float nz
element face 2
property list uchar int vertex_indices
end_header
0 0 0 0 0 {long}
1 0 0 0 0 {long}
0 {high} 0 0 0 {long}
1 1 0 0 0 {long}
3 0 1 2
3 1 3 2
"""


@pytest.mark.parametrize(
    ("high", "said"), [("nan", "that are not numbers (0, nan, 0)"), ("1e30", "beyond 1e+18 (0, ")]
)
def test_positions_that_cannot_be_used_are_counted_and_one_is_shown(high, said, tmp_path):
    (tmp_path / "a.ply").write_text(PLY.format(high=high, long="1"))
    with pytest.raises(InputError, match="holds 1 of 4 positions") as error:
        Asset.load(tmp_path / "a.ply")
    assert said in error.value.line()


@pytest.mark.filterwarnings("error")
def test_long_normals_have_a_direction(tmp_path):
    """The square of 1e25 is no float32."""
    (tmp_path / "a.ply").write_text(PLY.format(high="1", long="-1e25"))
    asset = Asset.load(tmp_path / "a.ply")
    assert [note for note in asset.notes if "normals" in note] == []
    (mesh,) = asset.meshes.values()
    assert mesh.normals is not None
    assert np.allclose(mesh.normals, (0, 0, -1))
