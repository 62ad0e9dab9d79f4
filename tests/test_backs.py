"""What closes a shape behind its visible surface, held against solids whose truth is a formula."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.priors.absent import AbsentPrior
from threestudio_like.priors.depth import BothSides, DepthPrior
from threestudio_like.systems.image_to_3d import g3dr
from threestudio_like.systems.image_to_3d.backs import (
    CAMERA,
    THINNEST,
    FrameSides,
    bounded,
    calmed,
    frame_sides,
    front_of,
)
from threestudio_like.systems.image_to_3d.g3dr import G3drConfig, lattice, volume_of
from threestudio_like.systems.image_to_3d.known import Known
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.image_to_3d.viewpoint import Viewpoint

SIZE = 64


def rays(size):
    """Unit directions (S, S, 3) of the canonical camera."""
    half = math.tan(math.radians(CAMERA.fov) / 2)
    line = ((torch.arange(size) + 0.5) / size * 2 - 1) * half
    y, x = torch.meshgrid(-line, line, indexing="ij")
    return torch.nn.functional.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1)


def ball(size, radius=0.6, middle=(0.0, 0.0, 0.0)):
    """First and last distance (S, S) at which rays meet a ball; nan where they miss it."""
    eye = torch.tensor([0.0, 0.0, CAMERA.radius]) - torch.tensor(middle)
    along = -(rays(size) @ eye)
    root = (along**2 - eye @ eye + radius**2).sqrt()
    return along - root, along + root


def shell(size, solid):
    """A volume (D, H, W) that is full in the front cells of a solid alone."""
    points = lattice(size)
    inside = solid(points).view(size, size, size)
    ahead = inside.flip(0).cumsum(0).flip(0)
    return (inside & (ahead <= 4)).float()


def test_the_first_surface_along_rays_is_that_of_a_ball():
    size = 96
    volume = shell(size, lambda p: p.norm(dim=1) < 0.6)
    found, (front, _) = front_of(volume, SIZE), ball(SIZE)
    both = torch.isfinite(found) & torch.isfinite(front)
    assert (torch.isfinite(found) != torch.isfinite(front)).float().mean() < 0.03
    # A cell is 0.021 wide, and a step along the ray 0.015.
    assert float((found - front)[both].abs().median()) < 0.03


@pytest.mark.parametrize("middle", [(0.0, 0.0, 0.0), (0.12, -0.1, 0.15)])
def test_a_ball_with_its_true_back_is_the_ball(middle):
    size = 72

    def solid(points):
        return (points - torch.tensor(middle)).norm(dim=1) < 0.5

    _, back = ball(SIZE, 0.5, middle)
    mask = torch.isfinite(back).float()
    depth = torch.where(mask > 0, back - 4, torch.full_like(back, 1.0))
    made = bounded(shell(size, solid), mask, depth)
    truth = solid(lattice(size)).view(size, size, size)
    assert voxel_iou((made > 0.5).numpy(), truth.numpy()) > 0.9
    # The back alone decides what lies behind: a flat one cuts the ball in half.
    flat = bounded(shell(size, solid), mask, torch.full_like(depth, 1.0 - middle[2]))
    z = lattice(size)[:, 2].view(size, size, size)
    half = truth & (z > middle[2])
    assert voxel_iou((flat > 0.5).numpy(), half.numpy()) > 0.85


def test_what_is_held_to_be_thinner_than_nothing_keeps_a_floor_and_the_outline():
    size = 96
    volume = shell(size, lambda p: (p[:, :2].abs().amax(1) < 0.4) & (p[:, 2].abs() < 0.3))
    mask = torch.zeros(SIZE, SIZE)
    mask[12:52, 12:52] = 1
    before = bounded(volume, mask, torch.zeros(SIZE, SIZE))
    column = before[:, size // 2, size // 2]
    assert float(column.sum()) * 2 / size == pytest.approx(THINNEST, abs=0.03)
    thick = bounded(volume, mask, torch.full((SIZE, SIZE), 1.3))
    depths = thick[:, size // 2].sum(0) * 2 / size
    # Both surfaces meet at the outline, and are apart in the middle.
    inside = depths.nonzero()[:, 0]
    assert float(depths[inside[0]]) < 0.6 * float(depths[size // 2])
    assert float(depths[size // 2]) == pytest.approx(0.6, abs=0.05)
    # Nothing stands beside the outline, whatever depth says.
    assert float(before[:, :, : size // 8].max()) == 0
    assert not bool(bounded(torch.zeros(size, size, size), mask, torch.ones(SIZE, SIZE)).any())


class Slab(DepthPrior):
    """Everything begins at one depth and ends at another."""

    metric = framed = True

    def __init__(self, begin, end):
        self.begin, self.end = begin, end
        self.has_back = end is not None

    def predict(self, images):
        return torch.full(images.shape[:3], self.begin)

    def predict_sides(self, images):
        if self.end is None:
            return BothSides(self.predict(images))
        back = torch.full(images.shape[:3], self.end)
        return BothSides(self.predict(images), back, torch.full(images.shape[:1], 0.4))


def test_sides_are_told_as_the_estimator_has_them():
    picture, mask = torch.zeros(1, 8, 8, 3), torch.ones(8, 8)
    both = frame_sides(picture, mask, Slab(0.8, 1.3))
    assert float(both.back[0, 0]) == pytest.approx(1.3)
    assert both.elevation == pytest.approx(0.4)
    # A back before the front is brought behind it.
    crossed = frame_sides(picture, mask, Slab(0.8, 0.3))
    assert float(crossed.back.min()) == pytest.approx(0.8 + THINNEST)
    alone = frame_sides(picture, mask, Slab(0.8, None))
    assert alone.back is None
    assert alone.elevation is None


@pytest.mark.parametrize("place", [(32, 32), (20, 40), (16, 30)], ids=["middle", "side", "top"])
def test_a_pale_spot_that_is_taken_for_the_background_makes_no_spike(place):
    """An estimator says 2, the wall, where it sees no object; a checked ball had such spots."""
    front, back = ball(SIZE, 0.55)
    mask = torch.isfinite(front).float()
    front, back = (torch.nan_to_num(v - 4, nan=2.0) for v in (front, back))
    spot = (slice(place[0], place[0] + 3), slice(place[1], place[1] + 3))
    seen_front, seen_back = front.clone(), back.clone()
    seen_front[spot], seen_back[spot] = 2.0, 2.0 + THINNEST
    found = calmed(FrameSides(seen_front, seen_back, 0.3), mask)
    core = torch.nn.functional.max_pool2d(1 - mask[None], 9, 1, 4)[0] == 0
    assert float((found.front - front)[core].abs().max()) < 0.09
    assert float((found.back - back)[core].abs().max()) < 0.13
    assert found.elevation == 0.3
    # Without the spot nearly nothing changes, and what has no core stays as it is.
    same = calmed(FrameSides(front, back), mask)
    assert float((same.front - front)[core].abs().max()) < 0.05
    none = FrameSides(front, None)
    assert calmed(none, torch.zeros_like(mask)) is none
    assert calmed(none, mask).back is None


def test_g3dr_closes_by_the_estimated_back_and_halfway_without_one(monkeypatch):
    pixels = np.zeros((64, 64, 4), np.float32)
    pixels[12:52, 12:52] = (0.8, 0.2, 0.2, 1)
    photo, config = photo_of(pixels, "x", {}), G3drConfig()
    volumes = {}
    for name, prior in (
        ("thin", Slab(0.8, 1.0)),
        ("thick", Slab(0.8, 1.4)),
        ("none", Slab(0.8, None)),
    ):
        monkeypatch.setattr(g3dr, "load_depth", lambda name, prior=prior: prior)
        field = g3dr.planes_of(photo, config)
        volumes[name] = volume_of(field, photo, config)
    assert volumes["thick"].sum() > 1.5 * volumes["thin"].sum()
    monkeypatch.setattr(g3dr, "load_depth", lambda name: Slab(0.8, 1.4))
    halfway = volume_of(field, photo, G3drConfig(back="halfway"))
    assert np.array_equal(volumes["none"], halfway)


@pytest.mark.parametrize(
    ("known", "estimated", "wanted"),
    [
        ({"elevation": 0.7}, 0.4, (0.0, 0.7)),
        ({}, 0.4, (0.0, 0.4)),
        ({"azimuth": 1.0}, 0.4, (1.0, 0.4)),
        ({"azimuth": 1.0, "elevation": -0.3}, 0.4, (1.0, -0.3)),
        ({"azimuth": 1.0}, None, (1.0, 0.0)),
        ({}, None, None),
    ],
)
def test_the_elevation_is_the_known_one_else_the_estimated_one(known, estimated, wanted):
    request = SimpleNamespace(prior=AbsentPrior(), photo=None, known=Known(**known), view=None)
    view = g3dr.viewpoint_of(request, G3drConfig().viewpoint, estimated=estimated)
    assert (view and (view.azimuth, view.elevation)) == wanted


@pytest.mark.parametrize(("known", "wanted"), [({"elevation": 0.7}, 0.7), ({}, 0.4)])
def test_the_search_asks_a_prior_for_the_azimuth_alone(known, wanted, monkeypatch):
    asked = {}

    def search(picture, level, prompt, *, prior, config, seed, elevation):
        asked["elevation"] = elevation
        return Viewpoint(2.0, elevation, 0.8, 1.0)

    monkeypatch.setattr(g3dr, "find_viewpoint", search)
    facts = SimpleNamespace(camera=object(), wants_reference=False, single_views=True, image_size=8)
    events = SimpleNamespace(status=lambda *a, **k: None, record=lambda *a, **k: None)
    request = SimpleNamespace(
        prior=SimpleNamespace(facts=facts),
        photo=None,
        known=Known(**known),
        view=None,
        events=events,
        prompt="",
        seed=0,
    )
    view = g3dr.viewpoint_of(request, G3drConfig().viewpoint, estimated=0.4)
    assert asked["elevation"] == wanted
    assert (view.azimuth, view.elevation) == (2.0, wanted)
