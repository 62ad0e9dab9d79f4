"""Normals that Python code has changed are in the file that is written, whatever it was read from;
where a format has none, that is told."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from tests.gltf_files import FEATURES, add_morph, cart, featured, gltf_of, table_of
from tests.obj_files import CUBE
from threestudio_like.engine.errors import ExportError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.frames import Frame
from threestudio_like.meshes.io.gltf.compare import differences

TURN = trimesh.transformations.rotation_matrix(0.5, [1, 2, 3])[:3, :3]


def turned(normals: np.ndarray, by: np.ndarray = TURN) -> np.ndarray:
    return (normals @ by.T).astype(np.float32)


def turn_all(asset: Asset) -> None:
    """Give every mesh of an asset other normals, in place."""
    for mesh in asset.meshes.values():
        mesh.normals = turned(mesh.normals)


def twin(mesh: Mesh, others: list[Mesh]) -> Mesh:
    """Of several meshes the one that stands where a mesh does."""
    middle = mesh.vertices.mean(0)
    return min(others, key=lambda other: float(np.abs(other.vertices.mean(0) - middle).sum()))


@pytest.mark.filterwarnings("ignore:Not kept")
@pytest.mark.parametrize("feature", FEATURES)
def test_changed_normals_are_in_a_gltf_file(tmp_path, feature):
    (tmp_path / "in.glb").write_bytes(featured(feature))
    asset = Asset.load(tmp_path / "in.glb")
    before = {name: mesh.normals.copy() for name, mesh in asset.meshes.items()}
    turn_all(asset)
    again = Asset.load(asset.save(tmp_path / "out.glb"))
    assert len(again.meshes) == len(asset.meshes)
    for name, mesh in asset.meshes.items():
        other = twin(mesh, list(again.meshes.values()))
        np.testing.assert_array_equal(other.faces, mesh.faces)
        np.testing.assert_allclose(other.vertices, mesh.vertices, atol=2e-5 * np.ptp(mesh.vertices))
        np.testing.assert_allclose(other.normals, turned(before[name]), atol=2e-4)
        assert (other.uv is None) == (mesh.uv is None)
        if mesh.uv is not None:
            np.testing.assert_allclose(other.uv, mesh.uv, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Not kept")
@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
@pytest.mark.parametrize("frame", [None, Frame(up="+z", front="-y", unit="cm")])
def test_another_program_reads_the_changed_normals(tmp_path, suffix, frame):
    shape = trimesh.creation.icosphere(1)
    mesh = Mesh(np.float32(shape.vertices), np.int32(shape.faces)).with_normals()
    path = Asset({"ball": mesh}).save(tmp_path / f"in{suffix}")
    asset = Asset.load(path, frame)
    asset.mesh.normals = turned(asset.mesh.normals)
    out = asset.save(tmp_path / "out" / f"out{suffix}", frame)
    scene = trimesh.load(out, force="scene", process=False)
    (seen,) = scene.geometry.values()
    # Back from the frame of the file, the ball's normals are its points, turned.
    by = np.eye(3) if frame is None else frame.rotation()
    points = turned(np.float32(shape.vertices), by.T @ TURN @ by)
    order = [np.lexsort(np.round(rows, 3).T) for rows in (seen.vertices, shape.vertices)]
    np.testing.assert_allclose(seen.vertices[order[0]], shape.vertices[order[1]], atol=1e-5)
    np.testing.assert_allclose(seen.vertex_normals[order[0]], points[order[1]], atol=1e-5)


def test_only_the_normals_of_a_gltf_file_differ(tmp_path):
    data = cart().data()
    (tmp_path / "in.glb").write_bytes(data)
    asset = Asset.load(tmp_path / "in.glb")
    name = next(n for n in asset.meshes if "body" in n)
    asset.meshes[name].normals = turned(asset.meshes[name].normals)
    written = asset.save(tmp_path / "out.glb").read_bytes()
    found = differences(data, written)
    assert found
    assert all("/attributes/NORMAL" in pointer for pointer in found)


def test_normals_below_a_morph_target_count_with_it(tmp_path):
    glb = cart()
    add_morph(glb, 0.6)
    row = next(p for m in glb.document["meshes"] for p in m["primitives"] if "targets" in p)
    count = glb.document["accessors"][row["attributes"]["NORMAL"]]["count"]
    bend = np.random.default_rng(0).normal(size=(count, 3)) / 4
    row["targets"][0]["NORMAL"] = glb.accessor(bend)
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    name = next(n for n in asset.meshes if "body" in n)
    wanted = turned(asset.meshes[name].normals)
    asset.meshes[name].normals = wanted.copy()
    out = asset.save(tmp_path / "out.glb")
    np.testing.assert_allclose(Asset.load(out).meshes[name].normals, wanted, atol=1e-5)
    document, _ = gltf_of(out.read_bytes())
    row = next(p for m in document["meshes"] for p in m["primitives"] if "targets" in p)
    stored = table_of(out.read_bytes(), row["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("change", ["vertices", "normals", "uv", "colours"])
@pytest.mark.parametrize("feature", ["no normals", "no indices", "triangle strip"])
def test_any_change_of_a_surface_that_stores_no_normals_comes_back(tmp_path, feature, change):
    glb = cart()
    FEATURES[feature](glb)
    if feature == "no normals":
        for mesh in glb.document["meshes"]:
            for row in mesh["primitives"]:
                row["attributes"].pop("NORMAL", None)
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    mesh = next(m for n, m in asset.meshes.items() if "body" in n)
    count = len(mesh.vertices)
    random = np.random.default_rng(0)
    if change == "vertices":
        mesh.vertices = (mesh.vertices * np.float32([1, 2, 3])).astype(np.float32)
    elif change == "normals":
        mesh.normals = turned(mesh.normals)
    elif change == "uv":
        mesh.uv = random.uniform(size=(count, 2)).astype(np.float32)
    else:
        mesh.colours = random.uniform(size=(count, 3)).astype(np.float32)
    again = Asset.load(asset.save(tmp_path / "out.glb"))
    other = next(m for n, m in again.meshes.items() if "body" in n)
    for table in {"vertices", change}:
        ours, theirs = getattr(mesh, table), getattr(other, table)
        np.testing.assert_allclose(theirs[other.faces], ours[mesh.faces], atol=1e-5)


def corners(asset: Asset) -> dict[str, np.ndarray]:
    """Positions and normals of the corners of all faces of every mesh, sorted."""
    out = {}
    for name, mesh in asset.meshes.items():
        rows = np.concatenate([mesh.vertices, mesh.normals], 1)[mesh.faces.reshape(-1)]
        out[name] = rows[np.lexsort(rows.round(3).T)]
    return out


OBJ_FILES = {
    "none": CUBE,
    "smooth": "s 1\n" + CUBE,
    "flat": "s off\n" + CUBE,
    "one of each vertex": "".join(f"vn {x} {y} {z}\n" for x, y, z in np.ndindex(2, 2, 2)).replace(
        "vn 0 0 0", "vn -1 0 0"
    )
    + "".join(
        " ".join(w if w == "f" else f"{w}//{w}" for w in line.split()) + "\n"
        if line.startswith("f")
        else line + "\n"
        for line in CUBE.splitlines()
    ),
    "shared": "vn 0 0 1\nvn 1 0 0\n"
    + re.sub(r"f (\d) (\d) (\d) (\d)", r"f \1//1 \2//1 \3//1 \4//2", CUBE),
    "of some corners": "vn 0 0 1\n" + CUBE.replace("f 1 2 4 3", "f 1//1 2//1 4//1 3//1"),
}


@pytest.mark.filterwarnings("ignore:Not kept")
@pytest.mark.parametrize("kind", OBJ_FILES)
@pytest.mark.parametrize("frame", [None, Frame(up="+z", front="-y", unit="cm")])
def test_changed_normals_are_in_an_obj_file(tmp_path, kind, frame):
    (tmp_path / "in.obj").write_text("o cube\n" + OBJ_FILES[kind].format(""))
    asset = Asset.load(tmp_path / "in.obj", frame)
    turn_all(asset)
    again = Asset.load(asset.save(tmp_path / "out.obj", frame), frame)
    for name, rows in corners(asset).items():
        np.testing.assert_allclose(corners(again)[name], rows, atol=2e-6)


def test_normals_are_written_in_their_lines_where_they_can_be(tmp_path):
    text = OBJ_FILES["one of each vertex"].format("")
    (tmp_path / "in.obj").write_text(text)
    asset = Asset.load(tmp_path / "in.obj")
    turn_all(asset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Its polygons are kept.
        out = asset.save(tmp_path / "out.obj").read_text()
    changed = [
        new.split()[0] for old, new in zip(text.splitlines(), out.splitlines()) if old != new
    ]
    assert len(out.splitlines()) == len(text.splitlines())
    assert changed == ["vn"] * 8


@pytest.mark.parametrize("kind", ["none", "shared"])
def test_polygons_that_are_cut_for_normals_are_told(tmp_path, kind):
    (tmp_path / "in.obj").write_text("o cube\n" + OBJ_FILES[kind].format(""))
    asset = Asset.load(tmp_path / "in.obj")
    # Every vertex has another, so that those that share a line no longer can.
    mesh = asset.mesh
    mesh.normals = np.random.default_rng(0).normal(size=mesh.normals.shape).astype(np.float32)
    with pytest.warns(UserWarning, match=r"polygon.*cube"):
        asset.save(tmp_path / "out.obj")


@pytest.mark.parametrize("suffix", [".stl", ".3mf"])
def test_a_format_without_normals_says_that_they_are_lost(tmp_path, suffix):
    (tmp_path / "in.glb").write_bytes(cart().data())
    asset = Asset.load(tmp_path / "in.glb")
    name = next(n for n in asset.meshes if "body" in n)
    with pytest.warns(UserWarning, match=r"Not kept(?!.*changed normals)"):
        asset.save(tmp_path / f"a{suffix}")
    asset.meshes[name].normals = turned(asset.meshes[name].normals)
    with pytest.warns(UserWarning, match=rf"1 part with changed normals \({name}\)"):
        asset.save(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_normals_that_are_no_numbers_are_refused(tmp_path, suffix):
    mesh = Mesh(np.float32(np.eye(3)), np.int32([[0, 1, 2]]), normals=np.full((3, 3), np.nan))
    with pytest.raises(ExportError, match="has normals that are not numbers"):
        Asset({"a": mesh}).save(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_normals_that_are_taken_away_are_made_anew(tmp_path, suffix):
    shape = trimesh.creation.icosphere(1)
    mesh = Mesh(np.float32(shape.vertices), np.int32(shape.faces))
    given = replace(mesh, normals=turned(mesh.with_normals().normals))
    asset = Asset.load(Asset({"ball": given}).save(tmp_path / f"in{suffix}"))
    asset.mesh.normals = None
    found = Asset.load(asset.save(tmp_path / "out" / f"out{suffix}")).mesh
    np.testing.assert_allclose(found.normals, found.vertices, atol=1e-2)


@pytest.mark.parametrize("kind", ["none", "smooth", "flat"])
def test_normals_that_only_turned_with_an_obj_file_without_any_are_not_written(tmp_path, kind):
    (tmp_path / "in.obj").write_text("o cube\n" + OBJ_FILES[kind].format(""))
    asset = Asset.load(tmp_path / "in.obj")
    turn_all(asset)
    asset.mesh.vertices = turned(asset.mesh.vertices) + np.float32([3, 0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Its polygons are kept.
        out = asset.save(tmp_path / "out.obj")
    assert "vn" not in out.read_text()
    np.testing.assert_allclose(corners(Asset.load(out))["cube"], corners(asset)["cube"], atol=1e-5)
