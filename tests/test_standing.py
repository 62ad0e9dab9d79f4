"""Scenes that stand: mass, convex pieces, balance, and where bodies come to rest, against what
follows from the geometry."""

import math

import numpy as np
import pytest

from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes.mesh import Mesh, join
from threestudio_like.meshes.physics import pieces as pieces_module
from threestudio_like.meshes.physics.balance import falling, inside_by, support_margin
from threestudio_like.meshes.physics.contacts import FLOOR, Contacts, find_contacts
from threestudio_like.meshes.physics.hull import convex_hull
from threestudio_like.meshes.physics.mass import is_closed, mass_properties
from threestudio_like.meshes.physics.pieces import convex_pieces
from threestudio_like.meshes.physics.settling import SettleConfig, _Work, settle
from threestudio_like.meshes.physics.solid import Pose, Solid

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)


def box(size=(1.0, 1.0, 1.0), at=(0.0, 0.0, 0.0)) -> Mesh:
    """A closed box of a size about a point."""
    hull, _ = convex_hull(CORNERS / 2 * np.float32(size))
    return Mesh(hull.vertices + np.float32(at), hull.faces)


def sheet(width: float = 1.0) -> Mesh:
    """A square without thickness, level."""
    points = np.float32([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) * np.float32(width / 2)
    return Mesh(points, np.int32([[0, 2, 1], [0, 3, 2]]))


def prism(sides: int, radius: float, height: float) -> Mesh:
    """A closed prism about the vertical."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], 1) * radius
    up = np.array([0, height / 2, 0])
    return convex_hull(np.concatenate([ring - up, ring + up]))[0]


def table() -> Mesh:
    """A top on four legs that reach into it: 1 wide, 0.8 high, its feet at -0.4."""
    legs = [box((0.1, 0.75, 0.1), (x, -0.025, z)) for x in (-0.4, 0.4) for z in (-0.4, 0.4)]
    return join([box((1.0, 0.1, 1.0), (0, 0.35, 0)), *legs])


def arch() -> Mesh:
    """A closed U, open downwards, of one piece: what no hull fits."""
    outline = np.array([[0, 0], [1, 0], [1, 3], [3, 3], [3, 0], [4, 0], [4, 4], [0, 4]], float)
    front = np.c_[outline, np.zeros(8)]
    back = np.c_[outline, np.ones(8)]
    cap = [[0, 1, 2], [0, 2, 7], [2, 3, 7], [3, 6, 7], [3, 5, 6], [3, 4, 5]]
    faces = [f[::-1] for f in cap] + [[k + 8 for k in f] for f in cap]
    for k in range(8):
        n = (k + 1) % 8
        faces += [[k, n, n + 8], [k, n + 8, k + 8]]
    mesh = Mesh(np.concatenate([front, back]).astype(np.float32), np.int32(faces))
    return mesh if mesh.volume > 0 else Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def pose(at=(0.0, 0.0, 0.0), scale: float = 1.0) -> Pose:
    return Pose(scale, np.eye(3), np.array(at, np.float64))


def rest(meshes, at, floor: float = 0.0, scale: float = 1.0, **config):
    """Settle meshes that stand at places; lengths are multiplied by `scale`."""
    solids = [
        Solid.of(f"body {n}", [Mesh(m.vertices * np.float32(scale), m.faces)])
        for n, m in enumerate(meshes)
    ]
    poses = [pose(np.array(p) * scale) for p in at]
    return settle(solids, poses, floor * scale, SettleConfig(**config))


def lowest(mesh: Mesh, where: Pose) -> float:
    return float(where.apply(mesh.vertices.astype(np.float64))[:, 1].min())


# Mass


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_boxs_mass_is_that_of_the_formula(scale):
    """m (b² + c²) / 12 about each axis, wherever it stands and whatever its unit."""
    a, b, c = np.array([1.0, 2.0, 3.0]) * scale
    found = mass_properties([box((a, b, c), np.array([5.0, -2.0, 1.0]) * scale)])
    assert found.closed
    assert found.told == ""
    assert found.volume == pytest.approx(a * b * c, rel=1e-5)
    np.testing.assert_allclose(found.centre, np.array([5, -2, 1]) * scale, rtol=1e-5)
    wanted = np.diag([b * b + c * c, a * a + c * c, a * a + b * b]) * a * b * c / 12
    np.testing.assert_allclose(found.inertia, wanted, atol=1e-4 * wanted.max())


def test_a_hollow_is_not_filled():
    """A cavity whose faces point into it is taken off; parts that touch add up."""
    cavity = box((1.0, 1.0, 1.0))
    hollow = join([box((2.0, 2.0, 2.0)), Mesh(cavity.vertices, cavity.faces[:, ::-1].copy())])
    assert mass_properties([hollow]).volume == pytest.approx(7.0, rel=1e-5)
    two = [box(at=(0, 0, 0)), box((1, 2, 1), at=(1, 0, 0))]
    found = mass_properties(two)
    assert found.volume == pytest.approx(3.0, rel=1e-5)
    np.testing.assert_allclose(found.centre, [2 / 3, 0, 0], atol=1e-5)


def test_what_has_no_inside_is_told():
    inward = box()
    inward.faces = inward.faces[:, ::-1].copy()
    found = mass_properties([inward])
    assert found.volume == pytest.approx(1.0, rel=1e-5)
    assert "point inwards" in found.told
    opened = Mesh(box().vertices, box().faces[:-2])
    found = mass_properties([opened])
    assert not found.closed
    assert "open" in found.told
    assert found.volume == pytest.approx(1.0, rel=1e-5)
    flat = mass_properties([sheet(2.0)])
    assert "flat" in flat.told
    assert flat.volume == pytest.approx(4 * 0.01 * np.sqrt(8), rel=0.5)
    assert np.linalg.eigvalsh(flat.inertia).min() > 0


def test_a_pinhole_is_closed_and_a_window_is_not():
    """Borders span at most the area that their length allows."""
    prisms = prism(64, 1.0, 1.0)
    apex = prisms.vertices[:, 1].argmax()
    assert is_closed(prisms)
    assert not is_closed(Mesh(prisms.vertices, prisms.faces[(prisms.faces != apex).all(1)]))
    ring = prism(32, 1e-4, 1.0)
    caps = (
        np.abs(
            np.cross(
                *(ring.vertices[ring.faces[:, k]] - ring.vertices[ring.faces[:, 0]] for k in (1, 2))
            )[:, 1]
        )
        > 1e-12
    )
    assert caps.any()
    pierced = join([box((3, 3, 3)), Mesh(ring.vertices, ring.faces[~caps])])
    assert is_closed(pierced)


# Pieces


def test_convex_parts_are_their_own_hulls(monkeypatch):
    """Exactly, with CoACD or without."""
    monkeypatch.setattr(pieces_module, "has_coacd", lambda: False)
    found = convex_pieces([table()])
    assert len(found.pieces) == 5
    assert found.told == []
    volumes = sorted(p.volume for p in found.pieces)
    np.testing.assert_allclose(volumes, [0.0075] * 4 + [0.1], rtol=1e-4)


@pytest.mark.parametrize(("way", "hint"), [("auto", True), ("hull", False)])
def test_what_is_not_convex_gets_one_hull_and_that_is_told(monkeypatch, way, hint):
    monkeypatch.setattr(pieces_module, "has_coacd", lambda: False)
    found = convex_pieces([arch()], way)
    assert len(found.pieces) == 1
    assert found.pieces[0].volume == pytest.approx(16.0, rel=1e-5)
    assert found.filled == pytest.approx(1 - 10 / 16, rel=1e-4)
    assert len(found.told) == 1
    assert ("pip install" in found.told[0]) == hint


def test_a_way_that_there_is_not(monkeypatch):
    monkeypatch.setattr(pieces_module, "has_coacd", lambda: False)
    with pytest.raises(ConfigError, match="no way to make"):
        convex_pieces([box()], "vhacd")
    with pytest.raises(ConfigError, match="not installed"):
        convex_pieces([box()], "coacd")


def test_coacd_cuts_what_is_not_convex():
    pytest.importorskip("coacd")
    found = convex_pieces([arch()], "coacd")
    assert len(found.pieces) >= 3
    assert sum(p.volume for p in found.pieces) == pytest.approx(10.0, rel=0.05)
    again = convex_pieces([arch()], "coacd")
    for one, two in zip(found.pieces, again.pieces, strict=True):
        np.testing.assert_array_equal(one.vertices, two.vertices)


def test_flat_parts_get_a_thickness():
    found = convex_pieces([sheet(1.0)], "hull")
    assert len(found.pieces) == 1
    assert found.pieces[0].volume > 0
    assert "thickness" in found.told[0]


# Balance


def contact(points, normal=(0.0, 1.0, 0.0)) -> Contacts:
    """Contacts of body 0 with the floor."""
    count = len(points)
    normals = np.tile(np.array(normal, np.float64), (count, 1))
    return Contacts(
        np.zeros(count, int),
        np.full(count, FLOOR),
        np.array(points, np.float64),
        normals=normals,
        gaps=np.zeros(count),
    )


@pytest.mark.parametrize("over", [-0.3, -0.05, 0.05, 0.3])
def test_the_centre_of_mass_has_to_be_over_the_polygon(over):
    """A unit cube on three points, its middle `over` beyond the edge between two of them."""
    solid = [Solid.of("cube", [box()])]
    feet = contact([[-over, -0.5, -0.4], [-over, -0.5, 0.4], [-over - 0.9, -0.5, 0.0]])
    falls = falling(solid, [pose()], feet, lean=0.0)
    assert [f.body for f in falls] == ([0] if over > 0 else [])
    margin = float(support_margin(solid, [pose()], feet)[0])
    assert (margin > 0) == (over < 0)
    if over == -0.05:
        assert margin == pytest.approx(0.05)
    if over > 0:
        # It falls to where nothing carries it.
        assert falls[0].towards[0] > 0.9


def test_what_hardly_stands_falls_on_a_floor_that_leans():
    """Its middle is 0.002 within the edge and 0.5 high: 0.23 degrees."""
    solid = [Solid.of("cube", [box()])]
    feet = contact([[0.002, -0.5, -0.4], [0.002, -0.5, 0.4], [-0.9, -0.5, 0.0]])
    assert falling(solid, [pose()], feet, lean=0.2) == []
    assert [f.body for f in falling(solid, [pose()], feet, lean=0.5)] == [0]


@pytest.mark.parametrize(("friction", "holds"), [(0.35, False), (0.65, True)])
def test_a_slope_holds_by_friction_alone(friction, holds):
    """A body on a slope of tan 0.5 slides where the coefficient is below it."""
    angle = math.atan(0.5)
    normal = (math.sin(angle), math.cos(angle), 0.0)
    spread = [[x, 0, z] for x in (-0.3, 0.3) for z in (-0.3, 0.3)]
    found = falling(
        [Solid.of("cube", [box()])], [pose()], contact(spread, normal), friction=friction, lean=0.0
    )
    assert (found == []) == holds


def test_a_load_topples_what_stands_alone():
    """A plank over an edge stands alone; a weight on its far end tips it, and both fall."""
    block, plank, weight = box((1, 1, 1)), box((2, 0.1, 1)), box((0.6, 1.5, 0.6))
    solids = [Solid.of(n, [m]) for n, m in zip("abc", (block, plank, weight))]
    poses = [pose((0, 0.5, 0)), pose((0.45, 1.05, 0)), pose((1.1, 1.85, 0))]
    alone = find_contacts(solids[:2], poses[:2], 0.0, 1e-4)
    assert falling(solids[:2], poses[:2], alone) == []
    loaded = find_contacts(solids, poses, 0.0, 1e-4)
    assert {f.body for f in falling(solids, poses, loaded)} & {1, 2}
    poses[2] = pose((0.0, 1.85, 0))
    assert falling(solids, poses, find_contacts(solids, poses, 0.0, 1e-4)) == []


def test_places_within_a_polygon():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    assert inside_by(square, np.array([0.5, 0.4])) == pytest.approx(0.4)
    assert inside_by(square, np.array([0.5, -0.2])) == pytest.approx(-0.2)
    assert inside_by(square[:1], np.array([3.0, 4.0])) == pytest.approx(-5.0)
    assert inside_by(square[:2], np.array([0.5, 0.3])) == pytest.approx(-0.3)


# Settling


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("height", [2.0, 0.51, 0.3, -0.2])
def test_a_box_comes_to_lie_on_the_floor_exactly(scale, height):
    """From the air or from within the floor, in any unit, straight up or down."""
    found = rest([box()], [(0.2, height, -0.1)], scale=scale)
    np.testing.assert_allclose(
        found.poses[0].translation, np.array([0.2, 0.5, -0.1]) * scale, atol=1e-4 * scale
    )
    assert found.falls == []
    assert found.tilted[0] == pytest.approx(0.0, abs=1e-3)
    assert found.margin[0] == pytest.approx(0.5, abs=1e-4)


def test_a_stack_in_the_air_comes_down_as_a_stack():
    meshes = [box((2, 0.5, 2)), box((1, 1, 1)), box((0.5, 0.5, 0.5))]
    found = rest(meshes, [(0, 0.4, 0), (0.1, 1.6, 0), (0.1, 3.0, 0.1)])
    assert [p.translation[1] for p in found.poses] == pytest.approx([0.25, 1.0, 1.75], abs=3e-4)
    assert found.falls == []
    assert found.penetration < 1e-4
    assert found.floating < 1e-4


def test_what_leans_on_a_steep_wall_is_not_let_down_a_hair_at_a_time(monkeypatch):
    """It creeps: what carries it is rough, and it has far to go. It is said not to stand."""
    low, high = box((2, 0.01, 2), (0, 0.005, 0)), box((1.65, 0.01, 1.65), (0, 1.995, 0))
    pillar, _ = convex_hull(np.concatenate([low.vertices, high.vertices]))
    leaning = box((0.4, 0.4, 0.4), (1.053, 1.9, 0))
    solids = [Solid.of("pillar", [pillar]), Solid.of("box", [leaning])]
    rounds = []
    fall = _Work._free_fall
    monkeypatch.setattr(_Work, "_free_fall", lambda work: rounds.append(1) or fall(work))
    work = _Work(solids, [pose(), pose()], 0.0, SettleConfig())
    work.down()
    assert len(rounds) < 30
    assert work.poses[1].translation[1] > -0.1
    found = settle(solids, [pose(), pose()], 0.0)
    assert found.falls == ["box"]


def test_what_penetrates_comes_apart_by_the_shortest_way():
    """Two boxes side by side that overlap by a tenth: apart by a tenth, still on the floor."""
    found = rest([box(), box()], [(0, 0.5, 0), (0.9, 0.5, 0.05)])
    one, two = (p.translation for p in found.poses)
    assert two[0] - one[0] == pytest.approx(1.0, abs=2e-3)
    assert [one[1], two[1]] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert found.moved.max() < 0.12


def test_what_is_sunk_into_its_support_is_lifted():
    found = rest([box((2, 1, 2)), box((0.5, 0.5, 0.5))], [(0, 0.5, 0), (0.2, 1.15, 0)])
    assert found.poses[1].translation[1] == pytest.approx(1.25, abs=3e-4)
    assert abs(found.poses[1].translation[0] - 0.2) < 2e-2


def test_crossed_planks_touch_without_corners():
    """Each has no corner on the other: edges cross."""
    found = rest([box((4, 0.2, 0.5)), box((0.5, 0.2, 4))], [(0, 0.1, 0), (0, 1.0, 0)])
    assert found.poses[1].translation[1] == pytest.approx(0.3, abs=2e-3)
    assert found.falls == []


def test_under_a_table_there_is_room():
    """A hollow of separate parts is none of a hull: what stands below stays below, also from a
    start within the top."""
    found = rest([table(), box((0.3, 0.5, 0.3))], [(0, 0.4, 0), (0.05, 0.3, 0)])
    assert found.poses[1].translation == pytest.approx([0.05, 0.25, 0.0], abs=3e-3)
    stuck = rest([table(), box((0.3, 0.5, 0.3))], [(0, 0.4, 0), (0.05, 0.55, 0)])
    assert stuck.penetration < 1e-4
    assert stuck.falls == []


@pytest.mark.parametrize("thin", [sheet(1.0), box((1, 0.002, 1))])
def test_thin_things_carry_and_are_carried(thin):
    """A sheet without an inside, or hardly one, lies on a box and carries another."""
    found = rest([box(), thin, box((0.4, 0.4, 0.4))], [(0, 0.5, 0), (0, 1.1, 0), (0, 1.6, 0)])
    assert found.poses[1].translation[1] == pytest.approx(1.0, abs=3e-3)
    assert found.poses[2].translation[1] == pytest.approx(1.2, abs=6e-3)


def test_an_open_box_stands_on_its_rim():
    """A mesh whose bottom is missing."""
    whole = box()
    centres = whole.vertices[whole.faces].mean(1)
    opened = Mesh(whole.vertices, whole.faces[centres[:, 1] > -0.49])
    found = rest([opened], [(0, 1.0, 0)])
    assert found.poses[0].translation[1] == pytest.approx(0.5, abs=1e-4)
    assert found.falls == []


def test_an_uneven_foot_makes_it_tilt_until_three_feet_stand():
    """A box with one foot that is longer: it leans by what the foot says, and then it stands."""
    lift = 0.05
    feet = [
        box((0.1, 0.2 + (lift if k == 0 else 0), 0.1), (x, -0.55 - (lift / 2 if k == 0 else 0), z))
        for k, (x, z) in enumerate(((-0.4, -0.4), (0.4, -0.4), (-0.4, 0.4), (0.4, 0.4)))
    ]
    # Without a weight at one side its middle would be over the line between two feet.
    found = rest([join([box(), box((0.3, 0.8, 0.3), (0.3, 0.9, 0)), *feet])], [(0, 2.0, 0)])
    assert found.falls == []
    assert 1.0 < found.tilted[0] < 5.0
    assert found.floating < 1e-4


def test_what_balances_on_an_edge_is_not_called_standing():
    """A prism of six sides that lies on its edge turns onto a side; where it may not turn as far,
    it is told by name."""
    lying = prism(6, 0.5, 2.0)
    lying = Mesh(lying.vertices[:, [0, 2, 1]], lying.faces[:, ::-1].copy())
    turn = math.radians(3.0)
    about = np.array(
        [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
    )
    almost = Mesh((lying.vertices @ about.T).astype(np.float32), lying.faces)
    solid = Solid.of("log", [almost])
    found = settle([solid], [pose((0, 1, 0))], 0.0)
    side = 0.5 * math.cos(math.pi / 6)
    if found.falls:
        assert found.tilted[0] < 1e-3
    else:
        assert found.poses[0].translation[1] == pytest.approx(side, abs=2e-3)
    strict = settle([solid], [pose((0, 1, 0))], 0.0, SettleConfig(tilt=1.0))
    assert strict.falls == ["log"]
    assert strict.tilted[0] < 1e-3


def test_what_hangs_over_is_moved_to_its_support_or_told():
    """A box whose middle is beyond the edge of what carries it."""
    meshes, at = [box((1, 1, 1)), box((0.6, 0.4, 0.6))], [(0, 0.5, 0), (0.55, 1.3, 0)]
    found = rest(meshes, at)
    assert found.falls == []
    assert 0.05 < found.shifted["body 1"] <= 0.5
    assert found.poses[1].translation[1] == pytest.approx(1.2, abs=1e-3)
    told = rest(meshes, at, shift=0.0)
    assert told.falls == ["body 1"]
    assert told.shifted == {}


def test_the_largest_body_says_where_the_floor_is():
    solids = [Solid.of("large", [box((2, 2, 2))]), Solid.of("small", [box()])]
    found = settle(solids, [pose((0, 1.5, 0)), pose((3, 0.2, 0))])
    assert found.floor == pytest.approx(0.5)
    assert [p.translation[1] for p in found.poses] == pytest.approx([1.5, 1.0], abs=1e-4)


def test_the_same_start_gives_the_same_numbers():
    meshes, at = [table(), box((0.3, 0.5, 0.3))], [(0, 0.4, 0), (0.4, 0.6, 0.1)]
    one, two = rest(meshes, at), rest(meshes, at)
    for a, b in zip(one.poses, two.poses):
        np.testing.assert_array_equal(a.translation, b.translation)
        np.testing.assert_array_equal(a.rotation, b.rotation)
