"""The winding of odd meshes: faces that share several edges, and very many pieces."""

from __future__ import annotations

import time

import numpy as np
import trimesh

from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.winding import fix_winding


def test_faces_that_share_two_edges_agree_where_they_agree():
    points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1], [0.3, 0.3, -0.3]])
    # The vertex 4 has two faces over the same two edges, one from each side.
    flap = np.int32([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3], [2, 4, 1], [1, 4, 2]])
    for faces in (np.int32([[0, 1, 2], [0, 2, 1]]), flap[4:], flap[[4, 5]][:, ::-1]):
        mesh = Mesh(points, np.ascontiguousarray(faces))
        assert fix_winding(mesh) == (mesh, {"faces turned": 0})


def test_one_of_two_faces_over_each_other_is_turned_where_they_disagree():
    points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    made, done = fix_winding(Mesh(points, np.int32([[0, 1, 2], [1, 2, 0]])))
    assert done["faces turned"] == 1
    one, other = (f.tolist() for f in made.faces)
    assert other in [[one[k], one[k - 1], one[k - 2]] for k in range(3)]


def test_thousands_of_leaves_take_a_moment():
    rng = np.random.default_rng(0)
    count = 20000
    points = rng.random((count, 1, 3)) * 100 + rng.random((count, 4, 3)) * 0.1
    faces = 4 * np.arange(count)[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])
    faces[::3, 1] = faces[::3, 1, ::-1]
    mesh = Mesh(points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32))
    begin = time.process_time()
    made, done = fix_winding(mesh)
    assert time.process_time() - begin < 10
    assert done["faces turned"] == len(faces[::3])
    pairs = made.faces.reshape(-1, 2, 3)
    ends = [{(int(f[k]), int(f[(k + 1) % 3])) for k in range(3)} for p in pairs[:30] for f in p]
    assert not any(one & other for one, other in zip(ends[::2], ends[1::2]))


def test_a_box_with_a_turned_side_among_many_is_mended():
    box = trimesh.creation.box()
    points = np.concatenate([box.vertices + np.array([3 * k, 0, 0]) for k in range(50)])
    faces = np.concatenate([box.faces + 8 * k for k in range(50)])
    faces[5::24] = faces[5::24, ::-1]
    made, done = fix_winding(Mesh(points.astype(np.float32), faces.astype(np.int32)))
    assert done["faces turned"] == 25
    assert abs(made.volume - 50) < 1e-4
