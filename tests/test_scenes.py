"""Scenes: transforms, placed objects, their renderer, GLB with nodes, the toybox's scenes, physical
terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.guidance.physical import Bond, DistanceField, PhysicalConfig, PhysicalTerms
from threestudio_like.meshes.mesh import Asset, Mesh, Node
from threestudio_like.meshes.transform import Transform, multiply, quaternion, rotation_matrix
from threestudio_like.metrics.layout import (
    depth_order_accuracy,
    least_turn,
    penetration_volume,
    placement_errors,
    relation_holds,
)
from threestudio_like.renderers import Cameras, SceneRenderer
from threestudio_like.renderers.backgrounds import BackgroundSample
from threestudio_like.representations import Body, PlacedScene, rotation_of
from threestudio_like.systems.scene.layout import (
    nearer,
    on_the_ground,
    own_masks,
    reference_camera,
    scene_elevation,
)
from threestudio_like.toybox.coloured import coloured_mesh
from threestudio_like.toybox.render import FOV_Y, render, view_projection
from threestudio_like.toybox.scenes import build_layout, draw_layout
from threestudio_like.toybox.vocabulary import RELATIONS


def box(size) -> Mesh:
    made = trimesh.creation.box(size)
    return Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32))


def sphere(radius: float) -> Mesh:
    made = trimesh.creation.icosphere(3, radius)
    return Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32))


def cube(colour=(0.8, 0.2, 0.2), size: float = 0.5) -> Mesh:
    mesh = box((size, size, size))
    return Mesh(
        mesh.vertices, mesh.faces, colours=np.tile(np.float32(colour), (len(mesh.vertices), 1))
    )


def ball(radius: float = 0.5) -> Mesh:
    mesh = sphere(radius)
    return Mesh(
        mesh.vertices,
        mesh.faces,
        colours=np.tile(np.float32([0.2, 0.3, 0.9]), (len(mesh.vertices), 1)),
    )


def scene_of(
    *meshes: Mesh, at: list[Transform], along: str = "ray", camera: Cameras | None = None
) -> PlacedScene:
    camera = camera or reference_camera(3.0, 40.0, 15.0, 64, 64)
    return PlacedScene(
        [Body({"m": m}) for m in meshes],
        [f"o{k}" for k in range(len(meshes))],
        at,
        camera.camera_to_world[0],
        along,
    )


def turned(mesh: Mesh, degrees: float, size: float = 1.0) -> Mesh:
    half = math.radians(degrees) / 2
    where = Transform(
        size, np.array([0, math.sin(half), 0, math.cos(half)]), np.array([0.3, 0.1, -0.2])
    )
    return Mesh(where.apply(mesh.vertices), mesh.faces)


def test_a_turn_counts_as_far_as_a_shape_tells_it():
    ball, cube = sphere(0.5), box((1.0, 1.0, 1.0))
    for degrees in (0, 35, 90, 140):
        assert least_turn(turned(ball, degrees), ball) == 0
    assert least_turn(turned(cube, 90), cube) == 0
    assert least_turn(turned(cube, 40, 2.0), cube) == pytest.approx(40, abs=10)
    wedge = box((1.0, 0.3, 0.4))
    wedge.vertices[wedge.vertices[:, 0] > 0, 2] *= 0.2
    for degrees in (0, 60, 120, 180):
        assert least_turn(turned(wedge, degrees), wedge) == pytest.approx(degrees, abs=10)


def test_quaternions_and_matrices_are_each_others_inverse():
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.normal(size=4)
        q /= np.linalg.norm(q)
        assert np.allclose(np.abs(quaternion(rotation_matrix(q)) @ q), 1)
        p = rng.normal(size=4)
        p /= np.linalg.norm(p)
        assert np.allclose(rotation_matrix(multiply(p, q)), rotation_matrix(p) @ rotation_matrix(q))
        place = Transform(rng.uniform(0.2, 3), q, rng.normal(size=3))
        found = Transform.of(place.matrix())
        assert found is not None
        assert np.allclose(found.matrix(), place.matrix())
        other = Transform(0.5, p, np.ones(3))
        points = rng.normal(size=(5, 3)).astype(np.float32)
        assert np.allclose(
            place.after(other).apply(points), place.apply(other.apply(points)), atol=1e-5
        )
    assert Transform.of(np.diag([1.0, 2.0, 1.0, 1.0])) is None
    assert Transform.of(np.diag([-1.0, 1.0, 1.0, 1.0])) is None
    assert Transform.turn(0.7).yaw == pytest.approx(0.7)


def test_rotation_vectors_in_double_precision_by_finite_differences():
    vector = torch.tensor(
        [[0.0, 0.0, 0.0], [0.3, -0.2, 0.9], [1e-5, 0.0, 0.0]],
        dtype=torch.float64,
        requires_grad=True,
    )
    assert torch.autograd.gradcheck(rotation_of, (vector,), eps=1e-6, atol=1e-6)
    found = rotation_of(vector)
    assert torch.allclose(
        found @ found.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(3, 3, 3), atol=1e-9
    )


@pytest.mark.parametrize("along", ["ray", "axis"])
def test_only_seven_numbers_an_object_are_unknown(along):
    """And they say where it was put."""
    at = [
        Transform.turn(0.4, 0.8, np.array([0.2, 0.1, -0.3])),
        Transform.turn(-1.0, 0.5, np.array([-0.4, 0.0, 0.6])),
    ]
    scene = scene_of(cube(), ball(), at=at, along=along)
    assert sum(p.numel() for p in scene.parameters()) == 7 * 2
    for found, put in zip(scene.transforms(), at):
        assert found.scale == pytest.approx(put.scale, rel=1e-5)
        assert np.allclose(found.translation, put.translation, atol=1e-5)
        assert found.angle_to(put) < 1e-3
    scene.set_transforms(at[::-1])
    assert np.allclose(scene.transforms()[0].translation, at[1].translation, atol=1e-5)


def test_along_the_ray_the_picture_stays():
    """ "ray": an object that moves away grows with it, and looks the same to the reference view."""
    camera = reference_camera(3.0, 40.0, 15.0, 96, 96)
    scene = scene_of(
        cube(), at=[Transform(1.0, translation=np.array([0.3, 0.0, 0.2]))], camera=camera
    )
    before = own_masks(scene, camera)[0]
    with torch.no_grad():
        scene.depth += 0.8
    after = own_masks(scene, camera)[0]
    assert (before ^ after).float().sum() < 0.06 * before.float().sum()


def test_gradients_of_placement_by_finite_differences():
    """Colours, silhouettes and depth change as the gradients say."""
    camera = reference_camera(3.0, 40.0, 15.0, 48, 48)
    at = [
        Transform(1.0, translation=np.array([-0.3, 0, 0.2])),
        Transform(0.9, translation=np.array([0.35, 0, -0.2])),
    ]
    scene = scene_of(cube(), ball(), at=at, camera=camera)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    weight = torch.stack([(3 * x).sin(), (2 * y + x).cos(), x * y, (2 * x).cos()], -1)

    def value() -> torch.Tensor:
        out = SceneRenderer().render(
            scene, camera, BackgroundSample(torch.full((1, 48, 48, 3), 0.9))
        )
        return (torch.cat([out.features, out.opacity], -1)[0] * weight).sum()

    value().backward()
    exact, numeric = [], []
    for parameter in (scene.image_position, scene.size, scene.rotation_vector):
        step = 0.02
        for index in range(parameter.numel()):
            with torch.no_grad():
                flat = parameter.view(-1)
                flat[index] += step
                high = float(value())
                flat[index] -= 2 * step
                low = float(value())
                flat[index] += step
            numeric.append((high - low) / (2 * step))
            exact.append(float(parameter.grad.view(-1)[index]))
    one, two = np.array(exact), np.array(numeric)
    assert one @ two / (np.linalg.norm(one) * np.linalg.norm(two)) > 0.99
    assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(two), rel=0.1)
    # Along the ray the flat picture does not change.
    assert float(scene.depth.grad.abs().max()) < 0.01


def test_a_nearer_object_hides_a_farther_one():
    camera = reference_camera(3.0, 40.0, 0.0, 64, 64)
    scene = scene_of(
        cube(),
        ball(),
        at=[
            Transform(1.6, translation=np.array([0, 0, -0.5])),
            Transform(0.4, translation=np.array([0, 0, 0.6])),
        ],
        camera=camera,
    )
    out = SceneRenderer().render(scene, camera, BackgroundSample(torch.ones(1, 64, 64, 3)))
    assert int(out.labels[0, 32, 32]) == 2
    assert {int(v) for v in out.labels.unique()} == {0, 1, 2}
    assert float(out.depth[0, 32, 32, 0].detach()) == pytest.approx(3.0 - 0.6 - 0.2, abs=0.03)
    visible, alone = own_masks(scene, camera)
    assert visible[0].sum() < alone[0].sum()
    assert torch.equal(visible[1], alone[1])


def test_a_scene_in_glb_has_a_named_node_an_object_and_opens_again(tmp_path):
    """One node each with scale, rotation and translation, instances share their mesh, and the scene
    opened again is the same."""
    body = Body({"m": cube()})
    other = Body({"m": ball()})
    at = [
        Transform.turn(0.5, 0.7, np.array([0.1, 0.2, 0.3])),
        Transform(1.1, translation=np.array([-0.4, 0, 0])),
        Transform.turn(2.0, 0.4),
    ]
    camera = reference_camera(3.0, 40.0, 15.0, 64, 64)
    scene = PlacedScene(
        [body, other, body], ["red_box", "ball", "second_box"], at, camera.camera_to_world[0]
    )
    asset = scene.asset()
    asset.save(tmp_path / "scene.glb")
    import json
    import struct

    data = (tmp_path / "scene.glb").read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    assert [n["name"] for n in document["nodes"]] == ["red_box", "ball", "second_box"]
    assert [n["mesh"] for n in document["nodes"]] == [0, 1, 0]
    assert all({"scale", "rotation", "translation"} <= set(n) for n in document["nodes"])
    again = Asset.load(tmp_path / "scene.glb")
    assert list(again.nodes) == ["red_box", "ball", "second_box"]
    assert again.nodes["red_box"].meshes is again.nodes["second_box"].meshes
    opened = PlacedScene.of(again, camera.camera_to_world[0])
    for a, b in zip(opened.transforms(), at):
        assert np.allclose(a.matrix(), b.matrix(), atol=1e-4)
    for name in asset.meshes:
        assert np.allclose(asset.meshes[name].vertices, again.meshes[name].vertices, atol=1e-5)
    # In another frame the nodes are dissolved, the positions right.
    from threestudio_like.meshes.frames import Frame

    asset.save(tmp_path / "turned.glb", Frame("z", "-y"))
    turned = Asset.load(tmp_path / "turned.glb", Frame("z", "-y"))
    assert not turned.nodes
    assert np.allclose(turned.mesh.vertices, asset.mesh.vertices, atol=1e-5)


def test_a_scene_of_objects_of_several_meshes(tmp_path):
    node = Node({"a": cube(), "b": ball(0.2)}, Transform(0.5, translation=np.array([1.0, 0, 0])))
    asset = Asset.scene({"thing": node, "other": Node({"m": cube()}, Transform())})
    asset.save(tmp_path / "s.glb")
    again = Asset.load(tmp_path / "s.glb")
    assert list(again.nodes) == ["thing", "other"]
    assert len(again.nodes["thing"].meshes) == 2
    assert np.allclose(again.mesh.vertices, asset.mesh.vertices, atol=1e-5)


def test_toybox_scenes_are_what_their_captions_say():
    """Relations hold by the geometric check, phrases are distinct, scenes fit the unit sphere, and
    the same arguments give the same bytes."""
    right = total = 0
    for index in range(36):
        scene = draw_layout(7, index, "test")
        points = [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
        assert np.linalg.norm(np.concatenate(points), axis=1).max() < 0.96
        assert len({o.phrases[0].category for o in scene.objects}) == len(scene.objects)
        for i, words, j in scene.relations:
            total += 1
            right += relation_holds(words, points[i], points[j])
    assert right / total > 0.97
    one, two = draw_layout(7, 5).whole(), draw_layout(7, 5).whole()
    assert one.vertices.tobytes() == two.vertices.tobytes()
    assert len(one.parts) == 4
    with pytest.raises(ValueError, match="two objects"):
        build_layout(np.random.default_rng(0), "test", 1)


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_are_told_apart(relation):
    """What is left of something is not right of it, nor on it."""
    scene = build_layout(np.random.default_rng(4), "test", 2, relation)
    a, b = (scene.placements[k].apply(scene.objects[k].vertices) for k in (1, 0))
    assert [r for r in RELATIONS if relation_holds(r, a, b)] == [relation]


def test_coloured_meshes_look_like_the_toybox():
    scene = draw_layout(5, 2, "test")
    obj = next(o for o in scene.objects if o.materials[0, 6] == 0)
    camera = Cameras.orbit(torch.tensor([0.3]), torch.tensor([0.4]), 3.0, FOV_Y, 96, 96)
    truth = render(
        obj, view_projection(0.3, 0.4)[None], 96, np.full((1, 3), 0.8, np.float32)
    ).image[0]
    drawn = scene_of(coloured_mesh(obj), at=[Transform()], camera=camera)
    found = (
        SceneRenderer()
        .render(drawn, camera, BackgroundSample(torch.full((1, 96, 96, 3), 0.8)))
        .features[0]
        .detach()
        .numpy()
    )
    assert np.abs(found - truth).mean() < 0.004


def test_distances_to_a_ball():
    field = DistanceField.of(Body({"m": ball(0.5)}), 40)
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0.6, 0, 0], [0, 1.5, 0]])
    assert torch.allclose(field.at(points), torch.tensor([-0.5, 0.0, 0.1, 1.0]), atol=0.04)


def terms(scene: PlacedScene, bonds=(), pairs=(), **weights) -> PhysicalTerms:
    config = PhysicalConfig(
        **{"support": 0.0, "penetration": 0.0, "stability": 0.0, "order": 0.0, **weights}
    )
    return PhysicalTerms(scene, list(bonds), list(pairs), config)


def descend(
    scene: PlacedScene, physics: PhysicalTerms, steps: int = 200, rate: float = 0.01
) -> None:
    optimiser = torch.optim.Adam(scene.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = sum(physics.losses().values())
        if not loss.requires_grad:
            break
        loss.backward()
        optimiser.step()


def test_what_floats_is_let_down_and_what_is_sunk_is_lifted():
    """Support: a ball above a cube comes down to it, and stays outside; the others stand on one
    floor."""
    at = [
        Transform(1.0, translation=np.array([0.0, 0.9, 0.0])),
        Transform(1.0, translation=np.array([0.0, -0.1, 0.0])),
        Transform(1.0, translation=np.array([1.2, 0.3, 0.0])),
    ]
    scene = scene_of(ball(0.3), cube(), cube(), at=at, along="axis")
    physics = terms(scene, [Bond(0, "on", 1)], support=1.0, penetration=4.0)
    assert physics.report()["floating distance"] > 0.2
    descend(scene, physics)
    assert physics.report()["floating distance"] < 0.03
    assert physics.report()["penetration depth"] < 0.03
    bottoms = [float(p[:, 1].min().detach()) for p in physics.world_points()]
    assert abs(bottoms[1] - bottoms[2]) < 0.03


def test_objects_within_each_other_come_apart():
    at = [
        Transform(1.0, translation=np.array([-0.1, 0, 0])),
        Transform(1.0, translation=np.array([0.15, 0, 0])),
    ]
    scene = scene_of(cube(), ball(0.3), at=at, along="axis")
    meshes = list(scene.asset().meshes.values())
    assert penetration_volume(*meshes) > 0.3
    descend(scene, terms(scene, penetration=4.0))
    assert penetration_volume(*scene.asset().meshes.values()) < 0.01


def test_the_middle_of_what_is_on_something_comes_above_it():
    at = [Transform(0.5, translation=np.array([0.62, 0.45, 0.0])), Transform(1.0)]
    scene = scene_of(cube(), cube(), at=at, along="axis")
    physics = terms(scene, [Bond(0, "on", 1)], stability=1.0)
    assert float(physics.losses()["stability"]) > 0.05
    descend(scene, physics)
    assert float(physics.losses()["stability"]) < 0.01


def test_depth_order_is_kept_and_made():
    at = [
        Transform(1.0, translation=np.array([0, 0, -0.4])),
        Transform(1.0, translation=np.array([0.9, 0, 0.4])),
    ]
    scene = scene_of(cube(), cube(), at=at)
    descend(scene, terms(scene, pairs=[(0, 1)], order=1.0))
    assert float(scene.depth[0]) < float(scene.depth[1])


@pytest.mark.parametrize("kind", ["on", "under"])
def test_what_is_stacked_has_no_order_in_depth(kind):
    """A mug hides the barrel that it stands on, and is not nearer for that; what stands in front
    is."""
    scene = scene_of(cube(), cube(), cube(), at=[Transform(1.0)] * 3)
    bonds = [Bond(0, kind, 1), Bond(2, "in front of", 1)]
    assert terms(scene, bonds, [(0, 1), (2, 0)], order=1.0).order == [(2, 0), (2, 1)]


def test_terms_that_are_kept_are_zero():
    at = [Transform(1.0, translation=np.array([0, 0.5, 0])), Transform(1.0)]
    scene = scene_of(cube(), cube(), at=at, along="axis")
    losses = terms(
        scene, [Bond(0, "on", 1)], support=1.0, penetration=4.0, stability=0.5, order=1.0
    ).losses()
    assert all(float(v) < 0.02 for v in losses.values()), losses


def test_layout_figures():
    """Errors by hand; and a scene that is larger and farther away in proportion, which looks the
    same, has none."""
    far = np.array([0.0, 0, -1.0])
    truth = [
        Transform(1.0),
        Transform(0.5, translation=far),
        Transform(0.7, translation=np.array([0.0, 0.5, 0])),
    ]
    eye = np.array([0.0, 0, 3.0])
    assert max(placement_errors(truth, truth, 2.0, eye).values()) < 1e-4
    larger = [nearer(t, eye, 1.3) for t in truth]
    assert max(placement_errors(larger, truth, 2.0, eye).values()) < 1e-4
    near = Transform.turn(math.radians(10), 0.5, np.array([0.0, 0, -0.6]))
    moved = [Transform(1.1, translation=np.array([0.2, 0, 0.0])), near, truth[2]]
    errors = placement_errors(moved, truth, 2.0, eye)
    assert errors["depth"] == pytest.approx(0.2 / 3, abs=0.003)
    assert errors["across"] == pytest.approx(0.1 / 3, abs=0.003)
    assert errors["scale"] == pytest.approx(math.log(1.1) / 3, abs=0.003)
    assert errors["rotation"] == pytest.approx(10 / 3, abs=0.01)
    assert depth_order_accuracy(truth, truth, eye) == 1
    assert depth_order_accuracy([truth[1], truth[0], truth[2]], truth, eye) < 1


def test_feet_on_one_floor_tell_depths():
    """Cubes on one floor with wrong first depths stand right after `on_the_ground`, up to the scale
    of all; what is on one comes along."""
    camera = reference_camera(3.0, 40.0, 20.0, 128, 128)
    eye = camera.camera_to_world[0, :3, 3].double().numpy()
    bodies = [Body({"m": cube()}), Body({"m": cube()}), Body({"m": ball(0.2)})]
    truth = [
        Transform(1.0, translation=np.array([-0.5, 0.0, 0.4])),
        Transform(0.8, translation=np.array([0.5, -0.05, -0.5])),
        Transform(1.0, translation=np.array([0.5, 0.35, -0.5])),
    ]
    wrong = [nearer(truth[0], eye, 1.15), nearer(truth[1], eye, 0.85), nearer(truth[2], eye, 0.7)]
    found = on_the_ground(bodies, wrong, camera, {2: 1})
    assert placement_errors(wrong, truth, 2.0, eye)["depth"] > 0.1
    assert placement_errors(found, truth, 2.0, eye)["depth"] < 0.04
    assert placement_errors(found[:2], truth[:2], 2.0, eye)["depth"] < 0.01


def test_what_is_on_a_thing_begins_above_its_middle():
    """Also where only one thing stands on the floor, and in a pile; the picture stays as it is."""
    camera = reference_camera(3.0, 40.0, 20.0, 128, 128)
    eye = camera.camera_to_world[0, :3, 3].double().numpy()
    bodies = [Body({"m": ball(0.15)}), Body({"m": ball(0.2)}), Body({"m": cube()})]
    truth = [
        Transform(1.0, translation=np.array([0.1, height, -0.2])) for height in (0.85, 0.5, -0.2)
    ]
    wrong = [nearer(truth[0], eye, 0.8), nearer(truth[1], eye, 1.3), truth[2]]
    found = on_the_ground(bodies, wrong, camera, {0: 1, 1: 2})
    for one, true in zip(found, truth, strict=True):
        assert np.allclose(one.translation, true.translation, atol=1e-6)
        assert one.scale == pytest.approx(true.scale)
    # Things that are said to be on each other stay where they are.
    assert on_the_ground(bodies, wrong, camera, {0: 1, 1: 0}) == wrong


def test_what_single_things_tell_of_the_camera_is_held_against_what_the_prior_has_seen():
    """One that is far off moves the camera a little; many that agree say where it is."""
    known = (-10.0, 45.0)
    assert scene_elevation([17.5], known) == pytest.approx(17.5)
    assert scene_elevation([-60.0], known) == pytest.approx((-10 + 2 * 17.5) / 3)
    assert scene_elevation([5.0, 30.0], known) == pytest.approx(17.5)
    assert scene_elevation([40.0] * 10, known) == pytest.approx(36.25)


def test_volumes_of_two_balls():
    """Two equal balls half a diameter apart share 5/16 of one's volume."""
    one, two = sphere(0.5), sphere(0.5)
    two.vertices = two.vertices + np.float32([0.5, 0, 0])
    assert penetration_volume(one, two) == pytest.approx(5 / 16, abs=0.02)
    two.vertices = two.vertices + np.float32([2, 0, 0])
    assert penetration_volume(one, two) == 0


def test_upright_objects_turn_about_the_vertical_alone():
    body = Body({"m": cube()})
    eye = torch.eye(4)
    eye[2, 3] = 3.0
    for upright in (False, True):
        scene = PlacedScene([body], ["cube"], [Transform.turn(0.4)], eye, "axis", upright=upright)
        with torch.no_grad():
            scene.rotation_vector.copy_(torch.tensor([[0.3, 0.2, -0.1]]))
        up = scene.rotations()[0] @ torch.tensor([0.0, 1.0, 0.0])
        assert bool(torch.allclose(up, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)) is upright
        gradient = torch.autograd.grad(
            scene.vertices().square().sum() + scene.vertices()[:, 0].sum() ** 2,
            scene.rotation_vector,
        )[0][0]
        assert bool((gradient[[0, 2]] == 0).all()) is upright
    assert float(scene.transforms()[0].angle_to(Transform.turn(0.6))) < 1e-3
