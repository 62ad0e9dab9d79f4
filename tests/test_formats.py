"""The table of mesh formats: rows, plug-ins, messages; names that a file must not repeat raw."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bad_files import installed
from threestudio_like.engine.errors import ConfigError, ExportError, InputError
from threestudio_like.engine.registry import Registry
from threestudio_like.meshes.io import formats
from threestudio_like.meshes.io.files import encode, read
from threestudio_like.meshes.io.formats import FORMATS, Format, format_to_read, register
from threestudio_like.meshes.mesh import Asset, Material, Mesh

TRIANGLE = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]], np.int32)
)

PLUG_IN = """
import numpy as np
from threestudio_like.meshes.io.formats import register
from threestudio_like.meshes.io.merge import joined
from threestudio_like.meshes.mesh import Asset, Mesh

def read_xyzf(path, textures=True):
    rows = [line.split() for line in path.read_text().splitlines()]
    points = [[float(x) for x in r[1:]] for r in rows if r[0] == "p"]
    faces = [[int(x) for x in r[1:]] for r in rows if r[0] == "f"]
    return Asset({path.stem: Mesh(np.array(points, np.float32), np.array(faces, np.int32))})

@register("xyzf", summary="points and faces, one a line", read=read_xyzf)
def XYZF(asset, name):
    mesh = joined(asset)
    lines = ["p " + " ".join(repr(float(x)) for x in v) for v in mesh.vertices]
    lines += ["f " + " ".join(str(i) for i in f) for f in mesh.faces.tolist()]
    return {name: "\\n".join(lines).encode(), "notes of " + name: b"beside it"}
"""


@pytest.fixture
def table(monkeypatch):
    """A table of its own, so that what a test adds is gone after it."""
    fresh = Registry("format", "threestudio_like.formats", Format, FORMATS._built_in)
    monkeypatch.setattr(formats, "FORMATS", fresh)
    return fresh


def test_every_row_reads_what_it_writes(tmp_path):
    for name, row in FORMATS.items():
        assert row.name == name
        assert row.summary
        if row.write is None or row.read is None:
            continue
        if name.startswith("usd") and not installed("pxr"):
            # Its library is an extra, and so are its tests.
            continue
        path = Asset({"tri": TRIANGLE}).save(tmp_path / f"a{row.suffixes[0]}")
        again = Asset.load(path)
        np.testing.assert_allclose(np.sort(again.mesh.vertices, 0), np.sort(TRIANGLE.vertices, 0))
    assert formats.readable() == [
        *("glb", "gltf", "obj", "ply", "stl", "off"),
        *("usdz", "usd", "usda", "usdc", "dae", "3mf"),
    ]
    assert formats.writable() == [
        *("glb", "gltf", "obj", "ply", "stl"),
        *("usdz", "usd", "usda", "usdc", "3mf", "mjcf"),
    ]


def test_a_writer_touches_no_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    textured = Mesh(
        TRIANGLE.vertices,
        TRIANGLE.faces,
        uv=TRIANGLE.vertices[:, :2].copy(),
        texture=np.full((4, 4, 3), 90, np.uint8),
    )
    files = encode(Asset({"tri": textured}), Path("x.obj"))
    assert sorted(str(p) for p in files) == ["x.mtl", "x.obj", "x.png"]
    assert not list(tmp_path.iterdir())


def test_a_plug_in_of_one_file_is_read_written_verified_and_exported(tmp_path):
    plug_in = tmp_path / "plug.py"
    plug_in.write_text(PLUG_IN)
    asset = Asset({"tri": TRIANGLE})
    asset.save(tmp_path / "a.glb")
    code = (
        "import sys; from threestudio_like.cli import main;"
        "sys.exit(main(['export', 'a.glb', '--to', 'xyzf', '--verify'])"
        " or main(['mesh', 'convert', 'a.xyzf', '--out', 'b.obj'])"
        " or main(['mesh', 'info', 'a.xyzf']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**__import__("os").environ, "THREESTUDIO_LIKE_PLUGINS": str(plug_in)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notes of a.xyzf").read_bytes() == b"beside it"
    assert "silhouette IoU 1.0000" in done.stdout
    np.testing.assert_allclose(read(tmp_path / "b.obj").mesh.vertices, TRIANGLE.vertices)


def test_a_name_or_a_row_that_cannot_be(table):
    with pytest.raises(ConfigError, match="there is a format of this name already"):
        register("glb")(lambda asset, name: {})
    with pytest.raises(ValueError, match="must look like"):
        Format(name="x", summary="", suffixes=("X",), write=lambda a, n: {})
    with pytest.raises(ValueError, match="neither be read nor written"):
        Format(name="x", summary="", suffixes=(".x",))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"other.bad": b""}, "the writer made no t.bad"),
        ({"t.bad": b"", "../out.txt": b""}, "cannot be written as bad"),
        (None, "cannot be written as bad"),
    ],
)
def test_a_writer_that_fails_is_an_error_of_one_line(table, tmp_path, result, says):
    register("bad")(lambda asset, name: result)
    with pytest.raises(ExportError, match=says):
        Asset({"tri": TRIANGLE}).save(tmp_path / "t.bad")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.objj", 'Did you mean "obj"?'),
        ("a.fbx", "Export it as GLB from Blender"),
        ("a.xyz9", "Known: 3mf, dae, glb, gltf, obj, off, ply, stl"),
        ("a", "Known formats: glb, gltf, obj, ply, stl"),
    ],
)
def test_what_is_no_format_names_a_way_out(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert says in caught.value.line()


def test_what_cannot_be_written_names_what_can():
    with pytest.raises(ExportError, match="Known: 3mf, glb, gltf, mjcf, obj, ply"):
        Asset({"tri": TRIANGLE}).save("x.xyz")
    assert format_to_read(Path("X.GLTF")).name == "gltf"


def test_two_roughness_maps_stay_two(tmp_path):
    meshes = {}
    for n, level in enumerate((10, 200)):
        meshes[f"part {n}"] = Mesh(
            TRIANGLE.vertices + n,
            TRIANGLE.faces,
            uv=TRIANGLE.vertices[:, :2].copy(),
            material=Material(
                f"m{n}", metallic_roughness=np.full((2, 2, 3), level, np.uint8), roughness=1.0
            ),
        )
    again = Asset.load(Asset(meshes).save(tmp_path / "two.obj"))
    levels = [int(m.material.metallic_roughness[0, 0, 1]) for m in again.meshes.values()]
    assert levels == [10, 200]


def test_names_with_control_characters_stay_on_their_line(tmp_path):
    evil = "a\nv 9 9 9\x1b[31m\0b"
    mesh = Mesh(TRIANGLE.vertices, TRIANGLE.faces, material=Material(evil))
    files = encode(Asset({evil: mesh}), tmp_path / "n.obj")
    for path, data in files.items():
        text = data.decode()
        assert not [c for c in text if ord(c) < 32 and c != "\n"], path
    obj = files[tmp_path / "n.obj"].decode()
    assert [line.split()[0] for line in obj.splitlines()].count("v") == 3
    again = Asset.load(Asset({evil: mesh}).save(tmp_path / "n.obj"))
    assert len(again.mesh.vertices) == 3
    # GLB holds any text: there the name stays as it was.
    assert list(Asset.load(Asset({evil: mesh}).save(tmp_path / "n.glb")).meshes) == [evil]


def test_names_of_two_parts_that_become_equal_are_told_apart(tmp_path):
    parts = {"a\nb": TRIANGLE, "a b": TRIANGLE, "红色的椅子": TRIANGLE}
    again = Asset.load(Asset(parts).save(tmp_path / "n.obj"))
    assert len(again.meshes) == 3
    assert "红色的椅子" in again.meshes
