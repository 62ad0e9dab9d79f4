"""Rooms behind the pictures of the segmenter and the depth estimator, in the edition that has them:
the same every time, no change to any other drawing, and no change to what is asked."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from threestudio_like.toybox.dataset import draw_groups
from threestudio_like.toybox.editions import edition
from threestudio_like.toybox.fifty import FIFTY
from threestudio_like.toybox.render import view_projection
from threestudio_like.toybox.rooms import foot_of, in_room, room_picture
from threestudio_like.toybox.toy_object import RADIUS
from threestudio_like.toybox.twenty import TWENTY
from threestudio_like.training.depth import before_backgrounds
from threestudio_like.training.depth_pictures import depth_pictures, picture_with_depth
from threestudio_like.training.options import TrainingOptions
from threestudio_like.training.segmenter import scene_pictures
from threestudio_like.training.shapes import train_segmenter


def placed(scene):
    return [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]


def boxes(points):
    return points[:, [0, 2]].min(0), points[:, [0, 2]].max(0)


def test_interiors_are_the_same_every_time_and_differ_from_each_other():
    one, two = (FIFTY.draw_interior(7, 3, "train") for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(placed(one), placed(two)))
    other = FIFTY.draw_interior(7, 4, "train")
    assert one.whole().vertices.shape != other.whole().vertices.shape
    with pytest.raises(ValueError, match="twenty"):
        TWENTY.draw_interior(7, 3, "train")


def test_things_in_a_room_stand_on_the_floor_or_on_what_has_a_top_and_do_not_touch():
    on_top = 0
    for number in range(60):
        scene = FIFTY.draw_interior(11, number, "train")
        points = placed(scene)
        whole = np.concatenate(points)
        assert np.linalg.norm(whole, axis=1).max() < RADIUS + 1e-3
        floor = points[0][:, 1].min()
        top = points[0][:, 1].max()
        grounded = [abs(p[:, 1].min() - floor) < 1e-4 for p in points]
        raised = [abs(p[:, 1].min() - top) < 1e-4 for p in points]
        assert all(g or r for g, r in zip(grounded, raised))
        on_top += sum(raised)
        for level in (grounded, raised):
            some = [boxes(p) for p, there in zip(points, level) if there]
            for k, (low, high) in enumerate(some):
                assert not any((low < b).all() and (a < high).all() for a, b in some[:k])
        # What is on a top is over it.
        low, high = boxes(points[0])
        for p, there in zip(points, raised):
            middle = np.mean(boxes(p), 0)
            assert not there or ((low < middle) & (middle < high)).all()
    assert on_top > 40


def test_sizes_differ_in_rooms_as_in_life():
    ratios = []
    for number in range(60):
        scene = FIFTY.draw_interior(13, number, "train")
        scales = [p.scale for p in scene.placements]
        ratios.append(max(scales) / min(scales))
    assert max(ratios) > 5


def test_a_room_is_drawn_the_same_every_time_and_fills_the_picture():
    points = placed(FIFTY.draw_interior(7, 3, "train"))
    for azimuth, elevation in ((0.4, 0.3), (-2.0, -0.17), (1.0, 0.87)):
        for distance, fov in ((3.0, 0.7), (5.0, 0.31)):
            matrix = view_projection(azimuth, elevation, distance, fov)
            one, two = (
                room_picture(7, 3, points, matrix, azimuth, elevation, distance) for _ in range(2)
            )
            assert np.array_equal(one, two)
            assert one.min() >= 0
            assert one.max() <= 1
    plain = view_projection(0.4, 0.3)
    pictures = [room_picture(7, n, points, plain, 0.4, 0.3, 3.0, 32) for n in range(12)]
    assert np.std([p.mean() for p in pictures]) > 0.03
    assert np.mean([p.std() for p in pictures]) > 0.04


def test_a_foot_is_what_touches_the_floor():
    # A mushroom: wide above, narrow below.
    points = np.array([[-1, 1, -1], [1, 1, 1], [0.1, 0, 0.2], [0.3, 0, 0.4]], np.float32)
    foot = foot_of(points)
    assert foot.middle == pytest.approx((0.2, 0.3))
    assert foot.half == pytest.approx((0.1, 0.1))


def test_the_share_of_rooms_is_what_is_asked_for():
    assert not any(in_room(5, n, 0.0) for n in range(50))
    assert all(in_room(5, n, 1.0) for n in range(50))
    assert 0.35 < np.mean([in_room(5, n, 0.5) for n in range(400)]) < 0.65


@pytest.mark.parametrize("world", ["twenty", "fifty"])
def test_an_object_and_its_depth_are_the_same_in_a_room_and_without(world):
    for index in range(4):
        alone = picture_with_depth(3, index, "train", world=world)
        inside = picture_with_depth(3, index, "train", world=world, rooms=1.0)
        assert alone.room is None
        assert inside.room is not None
        for name in ("image", "mask", "depth", "back", "elevation"):
            assert np.array_equal(getattr(alone, name), getattr(inside, name))


def test_rooms_lie_behind_objects_and_nothing_else_changes(tmp_path):
    data = depth_pictures(tmp_path, 3, 8, world="fifty", rooms=0.5)
    again = depth_pictures(tmp_path, 3, 8, world="fifty", rooms=0.5)
    assert np.array_equal(data.rooms, again.rooms)
    assert 0 < data.in_room.sum() < 8
    plain = depth_pictures(tmp_path, 3, 8, world="fifty")
    assert plain.rooms is None
    rows = np.arange(8)
    assert plain.rooms_behind(rows) is None
    fill, shift = torch.full((8,), 0.7), torch.full((8, 2), 0.05)
    images, mask, _, _ = data.framed(rows, fill, shift)
    with_rooms, without = (
        before_backgrounds(images, mask, torch.Generator().manual_seed(1), rooms)
        for rooms in (data.rooms_behind(rows, fill, shift), None)
    )
    same = (with_rooms == without).flatten(1).all(1).numpy()
    assert np.array_equal(same, ~data.in_room)
    solid = mask > 0.999
    assert torch.allclose(with_rooms[solid], without[solid], atol=2e-3)
    # The room is framed with its object: a pixel of the frame shows the pixel of the picture.
    whole = data.rooms_behind(rows, 1.0, 0.0)
    assert whole is not None
    assert whole.pictures.shape == images.shape


def test_scenes_in_rooms_are_labelled_and_the_others_are_as_they_were(tmp_path):
    data = scene_pictures(tmp_path, 5, 10, world="fifty", rooms=0.5)
    plain = scene_pictures(tmp_path, 5, 10, world="fifty")
    inside = data.in_room
    assert 0 < inside.sum() < 10
    assert np.array_equal(data.images[~inside], plain.images[~inside])
    assert np.array_equal(data.labels[~inside], plain.labels[~inside])
    assert not data.rooms[~inside].any()
    assert (data.labels[inside].max((1, 2)) >= 1).all()
    # Where nothing stands there is no label, and the room is seen.
    empty = data.masks[inside] == 0
    assert (data.labels[inside][empty] == 0).all()
    assert data.rooms[inside].mean() > 30


def test_only_one_edition_has_rooms_and_no_other_training_knows_them():
    assert TWENTY.rooms == 0
    assert FIFTY.rooms > 0
    assert "rooms" not in inspect.signature(draw_groups).parameters


def test_the_segmenter_of_the_edition_with_rooms_is_measured_in_them(tmp_path):
    options = TrainingOptions(
        world="fifty", out=tmp_path, preset="quick", objects=4, quiet=True, steps=1
    )
    figures = train_segmenter(options)
    assert {"IoU by a box", "IoU by a box, in rooms"} <= set(figures)
    assert edition("fifty").rooms > 0
