"""Assets that Python code has changed: parts that were added or renamed are written, and what is no
mesh is refused before anything is."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from threestudio_like.engine.errors import ExportError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.frames import Frame
from threestudio_like.meshes.material import Material

POINTS = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
FACES = np.int32([[0, 1, 2], [0, 2, 3]])
FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".3mf")


def square(**more) -> Mesh:
    return Mesh(POINTS.copy(), FACES.copy(), **more)


def painted(colour, x: float = 0.0) -> Mesh:
    texture = np.full((4, 4, 3), colour, np.uint8)
    uv = POINTS[:, :2].copy()
    return Mesh(POINTS + np.float32([x, 0, 0]), FACES, uv, texture, material=Material("painted"))


def places(path) -> list[tuple[list[float], list[float]]]:
    """The bounds of every part of a file, by another reader."""
    scene = trimesh.load(path, force="scene", process=False)
    found = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        points = trimesh.transform_points(scene.geometry[name].vertices, matrix)
        found.append((np.round(points.min(0), 4).tolist(), np.round(points.max(0), 4).tolist()))
    return sorted(found)


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
@pytest.mark.parametrize("frame", [None, Frame(up="+z", front="-y", unit="cm")])
def test_a_part_that_was_added_is_written(tmp_path, suffix, frame):
    path = Asset({"old": painted((200, 30, 30))}).save(tmp_path / f"in{suffix}")
    asset = Asset.load(path, frame)
    asset.meshes["new"] = painted((30, 30, 200), 3.0)
    asset.meshes["other"] = painted((30, 200, 30), 6.0)
    out = asset.save(tmp_path / "out" / f"out{suffix}", frame)
    again = Asset.load(out, frame)
    assert set(again.meshes) == {"old", "new", "other"}
    for name, mesh in asset.meshes.items():
        found = again.meshes[name]
        order = np.lexsort(found.vertices.T.round(4)), np.lexsort(mesh.vertices.T.round(4))
        assert np.allclose(found.vertices[order[0]], mesh.vertices[order[1]], atol=1e-4)
        assert np.array_equal(found.texture[0, 0], mesh.texture[0, 0])
    if frame is None:
        assert places(out) == [([x, 0, 0], [x + 1, 1, 0]) for x in (0.0, 3.0, 6.0)]


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_an_added_part_stands_where_it_is_in_another_frame(tmp_path, suffix):
    path = Asset({"old": painted((200, 30, 30))}).save(tmp_path / f"in{suffix}")
    asset = Asset.load(path, Frame(up="+z", front="-y", unit="cm"))
    asset.meshes["new"] = painted((30, 30, 200), 3.0)
    again = Asset.load(asset.save(tmp_path / "out" / f"out{suffix}"))
    assert np.allclose(
        np.sort(again.meshes["new"].vertices, 0), np.sort(POINTS + np.float32([3, 0, 0]), 0)
    )
    assert np.allclose(
        np.sort(again.meshes["old"].vertices, 0), np.sort(asset.meshes["old"].vertices, 0)
    )


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_renamed_part_stays(tmp_path, suffix):
    asset = Asset.load(Asset({"old": painted((9, 99, 9))}).save(tmp_path / f"in{suffix}"))
    mesh = replace(asset.meshes["old"], part="renamed")
    out = asset.with_meshes({"renamed": mesh}).save(tmp_path / "out" / f"out{suffix}")
    again = Asset.load(out)
    assert list(again.meshes) == ["renamed"]
    assert again.meshes["renamed"].texture[0, 0].tolist() == [9, 99, 9]


BAD = {
    "positions": lambda: Mesh(POINTS * np.float32(np.nan), FACES),
    "rows of coordinates": lambda: square(uv=POINTS[:2, :2]),
    "coordinates": lambda: square(uv=np.full((4, 2), np.inf, np.float32)),
    "rows of colours": lambda: square(colours=np.ones((2, 3), np.float32)),
    "colours in bytes": lambda: square(colours=np.full((4, 3), 100, np.uint8)),
    "rows of normals": lambda: square(normals=POINTS[:3]),
    "negative faces": lambda: Mesh(POINTS, FACES - 1),
    "faces of other vertices": lambda: Mesh(POINTS, FACES + 1),
    "quads": lambda: Mesh(POINTS, np.int32([[0, 1, 2, 3]])),
    "faces in floats": lambda: Mesh(POINTS, FACES.astype(np.float32)),
    "flat points": lambda: Mesh(POINTS[:, :2], FACES),
    "a grey texture": lambda: square(uv=POINTS[:, :2], texture=np.zeros((4, 4), np.uint8)),
    "a texture in floats": lambda: square(uv=POINTS[:, :2], texture=np.zeros((4, 4, 3))),
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_mesh_is_refused_with_its_part(tmp_path, kind, suffix):
    asset = Asset({"good": square(), "bad one": BAD[kind]()})
    with pytest.raises(ExportError, match='the part "bad one" has ') as told:
        asset.save(tmp_path / f"a{suffix}")
    assert len(told.value.line().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_numbers_that_no_face_uses_do_not_matter(tmp_path, suffix):
    points = np.concatenate([POINTS, np.full((1, 3), np.nan, np.float32)])
    mesh = Mesh(points, FACES.astype(np.int64), uv=points[:, :2])
    assert len(Asset.load(Asset({"a": mesh}).save(tmp_path / f"a{suffix}")).mesh.faces) == 2


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("read", [False, True])
def test_a_part_without_faces_is_left_out_and_told(tmp_path, suffix, read):
    asset = Asset({"old": painted((200, 30, 30)), "new": painted((30, 30, 200), 3.0)})
    if read:
        asset = Asset.load(asset.save(tmp_path / "in.glb"))
    asset.meshes["old"] = asset.meshes["old"].keep_faces(np.zeros(2, bool))
    out = tmp_path / f"out{suffix}"
    with pytest.warns(UserWarning, match=r"1 part without faces \(old\)"):
        asset.save(out)
    again = Asset.load(out)
    assert len(again.meshes) == 1
    assert sum(len(m.faces) for m in again.meshes.values()) == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_but_parts_without_faces_is_refused(tmp_path, suffix):
    asset = Asset({"old": square().keep_faces(np.zeros(2, bool))})
    with pytest.raises(ExportError, match="no part has a face"):
        asset.save(tmp_path / f"out{suffix}")
    assert not list(tmp_path.iterdir())
