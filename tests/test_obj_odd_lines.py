"""OBJ and MTL as programs write them: marks before the text, names with signs in them, materials
that no library has, corners of which only some have a normal."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes.io.files import read

MARK = b"\xef\xbb\xbf"
QUAD = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


def loaded(folder, obj: bytes, mtl: bytes | None = None):
    """The asset of an OBJ file, which names "a.mtl" where there is one."""
    if mtl is not None:
        (folder / "a.mtl").write_bytes(mtl)
        obj = b"mtllib a.mtl\n" + obj
    (folder / "a.obj").write_bytes(obj)
    return read(folder / "a.obj")


def colours(asset) -> dict[str, tuple[float, ...]]:
    return {m.material.name: m.material.colour[:3] for m in asset.meshes.values()}


@pytest.mark.parametrize("broken", [b"\n", b"\r\n"])
@pytest.mark.parametrize("first", [b"", b"# made by hand\n", b"mtllib a.mtl\n"])
def test_a_byte_order_mark_is_no_text(tmp_path, first, broken):
    """Neither before a file nor within one that was put together of several."""
    (tmp_path / "a.mtl").write_bytes(
        MARK + b"newmtl red\nKd 1 0 0\n" + MARK + b"newmtl b\nKd 0 0 1"
    )
    text = first + QUAD + b"usemtl red\nf 1 2 3 4\n" + MARK + QUAD + b"usemtl b\nf 5 6 7 8\n"
    data = MARK + text.replace(b"\n", broken)
    (tmp_path / "a.obj").write_bytes(data)
    asset = read(tmp_path / "a.obj")
    bounds = np.concatenate([m.vertices for m in asset.meshes.values()])
    assert (bounds.min(0).tolist(), bounds.max(0).tolist()) == ([0, 0, 0], [1, 1, 0])
    assert all(len(m.vertices) == 4 for m in asset.meshes.values())
    if b"mtllib" in first:
        assert colours(asset) == {"red": (1, 0, 0), "b": (0, 0, 1)}
        assert asset.notes == []
    assert {f.kind for f in asset.source.features()} == {"polygons"}
    # The bytes of a file that nobody changed are the same ones.
    again = asset.save(tmp_path / "again" / "a.obj")
    assert QUAD.replace(b"\n", broken) in again.read_bytes()
    # The line of the library names the new one.
    assert again.read_bytes().startswith(MARK) or b"mtllib" in first


@pytest.mark.parametrize("breaks", ["\r \n", "\n \r", "\r \r\n", "\r\r\n \r\r\n", "\r \r"])
def test_line_breaks_of_any_kind_in_one_file(tmp_path, breaks):
    """Of old Macs, of Unix and of Windows, where a file was put together of several."""
    (tmp_path / "a.mtl").write_bytes(b"newmtl red\rKd 1 0 0\nnewmtl b\r\nKd 0 0 1\r")
    one, two = (text.encode() for text in breaks.split(" "))
    face = b"f 1 2 3 4\n" if one == b"\r\r\n" else b"f 1 \\\n2 3 4\n"
    first = (b"# one\nmtllib a.mtl\n" + QUAD + b"usemtl red\n" + face).replace(b"\n", one)
    second = (MARK + b"# two\n" + QUAD + b"usemtl b\nf 5 6 7 8\n").replace(b"\n", two)
    (tmp_path / "a.obj").write_bytes(first + second)
    asset = read(tmp_path / "a.obj")
    assert colours(asset) == {"red": (1, 0, 0), "b": (0, 0, 1)}
    assert [(len(m.faces), len(m.vertices)) for m in asset.meshes.values()] == [(2, 4), (2, 4)]
    assert {f.kind for f in asset.source.features()} == {"polygons"}
    # What is not changed has the bytes that it had.
    asset.meshes["red"].vertices = asset.meshes["red"].vertices * 2
    again = asset.save(tmp_path / "again" / "a.obj")
    assert again.read_bytes().endswith(second)
    assert read(again).mesh.area == pytest.approx(5)


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le"])
def test_other_encodings_are_refused_with_words(tmp_path, code):
    data = QUAD.decode().encode(code)
    with pytest.raises(InputError, match=r"UTF-16|binary"):
        loaded(tmp_path, data + "f 1 2 3\n".encode(code))


NAMES = ["Material__#25", "#ff8800", "a#", "#1 red", "x # y"]


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_sign_within_a_name_is_no_comment(tmp_path, name):
    other = "Material__#26"
    mtl = f"newmtl {name}\nKd 1 0 0\nnewmtl {other} # green\nKd 0 1 0 # really\n"
    obj = f"o Chair{name}\nusemtl {name}\nf 1 2 3 # one\nusemtl {other}\t# two\nf 1 3 4#end\n"
    asset = loaded(tmp_path, QUAD + obj.encode(), mtl.encode())
    assert colours(asset) == {name: (1, 0, 0), other: (0, 1, 0)}
    assert next(iter(asset.meshes)).split(":")[0] == f"Chair{name}"
    assert asset.notes == []
    again = read(asset.save(tmp_path / "b.glb"))
    assert colours(again) == colours(asset)


def test_a_comment_after_a_name_is_one(tmp_path):
    obj = QUAD + b"o # nothing\nf 1 2 3\no seat # of oak\nf 1 3 4\n"
    assert sorted(loaded(tmp_path, obj).meshes) == ["a", "seat"]


def test_a_comment_that_ends_in_a_backslash_ends(tmp_path):
    head = b"# from C:\\models\\\n"
    face = b"f 1 2 \\\n 3 \\\r\n4\n"
    asset = loaded(tmp_path, head + QUAD + b"# C:\\\r\n" + face)
    assert asset.mesh.vertices.tolist() == SQUARE
    assert len(asset.mesh.faces) == 2


@pytest.mark.parametrize(
    ("said", "inside", "note"),
    [
        ("red", "red", ""),
        ("my  red", "my red", ""),
        ("my\tred", "my  red", ""),
        ("Red", "red", 'material "Red" is "red" in the library: taken'),
        ("crimson", "red", 'material "crimson" is in no library: plain white'),
        ("None", "red", ""),
    ],
)
def test_a_material_is_found_or_said_to_be_absent(tmp_path, said, inside, note):
    obj = QUAD + f"usemtl {said}\nf 1 2 3 4\n".encode()
    asset = loaded(tmp_path, obj, f"newmtl {inside}\nKd 1 0 0\n".encode())
    found = said not in ("crimson", "None")
    assert asset.mesh.material.colour[:3] == ((1, 0, 0) if found else (1, 1, 1))
    assert asset.notes == ([note] if note else [])


def test_of_two_that_differ_in_case_none_is_guessed(tmp_path):
    mtl = b"newmtl red\nKd 1 0 0\nnewmtl RED\nKd 0 1 0\n"
    asset = loaded(tmp_path, QUAD + b"usemtl Red\nf 1 2 3 4\n", mtl)
    assert asset.notes == ['material "Red" is in no library: plain white']


def test_materials_without_any_library_are_told_once(tmp_path):
    rows = "".join(f"usemtl m{n}\nf 1 2 3\n" for n in range(6))
    assert loaded(tmp_path, QUAD + rows.encode()).notes == [
        'materials "m0", "m1", "m2", "m3", … are not in a library, and the file names none: '
        "plain white"
    ]
    # A library that is missing is told already.
    lone = loaded(tmp_path, b"mtllib gone.mtl\n" + QUAD + b"usemtl m\nf 1 2 3\n")
    assert len(lone.notes) == 1
    assert "gone.mtl" in lone.notes[0]


def test_normals_that_some_corners_have_are_kept(tmp_path):
    """Also where another one is zero, or the other face has none."""
    normals = b"v 2 0 0\nvn 0.6 0 0.8\nvn 0 0 0\n"
    asset = loaded(tmp_path, QUAD + normals + b"f 1//1 2//1 3//1 4//2\nf 2 5 3\n")
    mesh = asset.mesh
    tilted = np.isclose(mesh.normals, [0.6, 0, 0.8]).all(1)
    assert sorted(mesh.vertices[tilted].tolist()) == sorted(SQUARE[:3])
    assert np.allclose(mesh.normals[~tilted], [0, 0, 1])
    assert {tuple(v) for v in mesh.vertices[~tilted].tolist()} == {(0, 1, 0), (1, 0, 0)} | {
        (2, 0, 0),
        (1, 1, 0),
    }
    again = read(asset.save(tmp_path / "b.glb")).mesh
    assert np.allclose(np.sort(again.normals, 0), np.sort(mesh.normals, 0), atol=1e-6)
    assert b"f 1//1 2//1 3//1 4//2" in asset.save(tmp_path / "c" / "a.obj").read_bytes()


def test_normals_of_many_parts_of_which_some_have_some(tmp_path):
    rng = np.random.default_rng(0)
    points, normals = rng.normal(size=(90, 3)), rng.normal(size=(90, 3))
    text = ["v {} {} {}".format(*row) for row in points]
    text += ["vn {} {} {}".format(*row) for row in normals]
    given = rng.random(90) < 0.5
    for k in range(30):
        corners = [f"{n + 1}//{n + 1}" if given[n] else f"{n + 1}" for n in range(3 * k, 3 * k + 3)]
        text += [f"o part{k}", "f " + " ".join(corners)]
    asset = loaded(tmp_path, "\n".join(text).encode())
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    for k in range(30):
        mesh = asset.meshes[f"part{k}"]
        own = np.arange(3 * k, 3 * k + 3)
        face = np.cross(points[own[1]] - points[own[0]], points[own[2]] - points[own[0]])
        wanted = np.where(given[own, None], unit[own], face / np.linalg.norm(face))
        assert np.allclose(mesh.vertices, points[own], atol=1e-6)
        assert np.allclose(mesh.normals, wanted, atol=1e-5)


@pytest.mark.parametrize("alpha", ["", " 0.5"])
def test_colours_that_some_vertices_have_are_kept(tmp_path, alpha):
    colour = ["1 0 0", "0 1 0", "0 0 1"]
    rows = "".join(f"v {x} {y} {z} {c}{alpha}\n" for (x, y, z), c in zip(SQUARE, colour))
    asset = loaded(tmp_path, (rows + "v 0 1 0\no top\nf 1 2 3 4\n").encode())
    assert asset.mesh.colours[:, :3].tolist() == [*np.eye(3).tolist(), [1, 1, 1]]
    assert asset.notes == ['some vertices of "top" have no colour: white']
    if alpha:
        assert asset.mesh.colours[:, 3].tolist() == [0.5, 0.5, 0.5, 1]
    alone = trimesh.load(asset.save(tmp_path / "b.glb"), force="mesh", process=False)
    assert sorted(alone.visual.vertex_colors[:, :3].tolist()) == sorted(
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    )


@pytest.mark.parametrize("bad", [b"no picture", b"\x89PNG\r\n\x1a\nbroken", b"II*\0broken"])
@pytest.mark.parametrize("statement", ["map_Kd", "map_Bump", "map_Ke"])
def test_a_picture_that_cannot_be_read_refuses_no_mesh(tmp_path, statement, bad):
    (tmp_path / "bad.png").write_bytes(bad)
    Image.new("RGB", (2, 2), (9, 200, 30)).save(tmp_path / "good.png")
    other = "map_Ke" if statement == "map_Kd" else "map_Kd"
    mtl = f"newmtl m\n{statement} bad.png\n{other} good.png\n".encode()
    obj = QUAD + b"vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3 4/4\n"
    asset = loaded(tmp_path, obj, mtl)
    (note,) = asset.notes
    assert note.startswith('texture "bad.png" of "m" ')
    assert note.endswith(": painted without it")
    mesh = asset.mesh
    good = mesh.texture if other == "map_Kd" else mesh.material.emissive_map
    assert good[0, 0].tolist() == [9, 200, 30]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("-mm 0.5 0.5", "-mm"),
        ("-mm 0 1", ""),
        ("-t 0.1 0 0", "-t"),
        ("-t 0 0 0", ""),
        ("-cc on", "-cc"),
        ("-cc off", ""),
        ("-blendu off", ""),
        ("-boost 2", ""),
    ],
)
def test_options_of_maps_that_are_not_applied_are_told(tmp_path, option, told):
    Image.new("RGB", (2, 2), (9, 200, 30)).save(tmp_path / "good.png")
    obj = QUAD + b"vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3 4/4\n"
    asset = loaded(tmp_path, obj, f"newmtl m\nmap_Kd {option} good.png\n".encode())
    assert asset.mesh.texture is not None
    assert asset.notes == ([f'options of maps of "m" are not applied: {told}'] if told else [])


def test_faces_of_two_corners_are_told(tmp_path):
    assert loaded(tmp_path, QUAD + b"f 1 2\nf 1 2 3\n").notes == [
        "1 face has fewer than three corners: left out"
    ]
    assert loaded(tmp_path, QUAD + b"f 1 2\nf 1\nf 1 2 3\n").notes == [
        "2 faces have fewer than three corners: left out"
    ]


def test_coordinates_of_one_number_lie_at_the_bottom(tmp_path):
    asset = loaded(tmp_path, QUAD + b"vt 0.5\nvt 0.25 0.75\nvt 1\nf 1/1 2/2 3/3\n")
    assert asset.mesh.uv.tolist() == [[0.5, 0], [0.25, 0.75], [1, 0]]
