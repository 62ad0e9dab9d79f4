"""The second world of the benchmarks: closed objects, pictures that fit the project's cameras,
scenes whose relations hold, and a judge that goes on where it was stopped."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("manifold3d")
pytest.importorskip("embreex")
sys.path.insert(0, str(ROOT / "benchmarks"))

from second_world import judge, make, measure, scenes, shapes  # noqa: E402
from second_world.judge_data import Pictures, Words  # noqa: E402
from second_world.render import Light, render  # noqa: E402

from threestudio_like.engine.errors import ModelError  # noqa: E402
from threestudio_like.meshes.mesh import Asset, Mesh  # noqa: E402
from threestudio_like.meshes.surface.extraction import silhouette  # noqa: E402
from threestudio_like.metrics.solid import handles  # noqa: E402
from threestudio_like.toybox.render import view_projection  # noqa: E402
from threestudio_like.toybox.vocabulary import Phrase  # noqa: E402
from threestudio_like.toybox.world import build  # noqa: E402

EVERY = [(c, kind) for c, (_, kinds) in shapes.KINDS.items() for kind in kinds]


def random(a, b=0):
    return np.random.Generator(np.random.Philox(key=[a, b]))


@pytest.mark.parametrize(("category", "kind"), EVERY)
def test_every_object_is_closed_and_fits_the_sphere(category, kind):
    thing = shapes.make(category, "blue", "plain", random(3, 1), kind)
    half = np.sort(thing.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    assert (np.unique(half, axis=0, return_counts=True)[1] == 2).all()
    radius = np.linalg.norm(thing.vertices, axis=1).max()
    assert radius == pytest.approx(shapes.RADIUS, abs=1e-4)
    assert Mesh(thing.vertices, thing.faces).volume > 0
    main = thing.colours()
    assert main.shape == (len(thing.faces), 3)
    # The colour that it is named after is the most saturated part of it.
    assert (main[:, 2] - main[:, 0]).max() > 0.3


def test_the_same_number_gives_the_same_object():
    one, two, other = (shapes.draw(5, n) for n in (8, 8, 28))
    assert one.name == two.name
    assert np.array_equal(one.vertices, two.vertices)
    assert np.array_equal(one.faces, two.faces)
    assert one.category == other.category
    assert one.vertices.shape != other.vertices.shape or (one.vertices != other.vertices).any()


def test_the_second_world_takes_nothing_of_the_toybox_generators():
    for name in ("solids", "shapes", "scenes", "render", "furniture", "vessels", "outdoors"):
        assert "toybox" not in importlib.import_module(f"second_world.{name}").__dict__
        text = (ROOT / "benchmarks" / "second_world" / f"{name}.py").read_text()
        assert "threestudio_like" not in text


@pytest.mark.parametrize("pattern", shapes.PATTERNS)
def test_patterns_are_of_two_colours(pattern):
    material = shapes.Material(np.ones(3), np.zeros(3), pattern, 0.25)
    points = random(1).uniform(-1, 1, (4000, 3))
    normals = np.tile([0.0, 0.0, 1.0], (4000, 1))
    share = float((material.albedo(points, normals)[:, 0] < 0.5).mean())
    low, high = {"plain": (0, 0), "striped": (0.45, 0.55), "dotted": (0.2, 0.36)}.get(
        pattern, (0.45, 0.55)
    )
    assert low <= share <= high


@pytest.mark.parametrize("category", list(shapes.KINDS))
def test_true_objects_of_both_worlds_have_handles_that_can_be_counted(category):
    own = measure.closed_toy(build(Phrase(category, "red"), random(61, 1), "test"))
    other = measure.mesh_of(shapes.make(category, "red", "plain", random(61, 1)))
    ring = int(category == "mug")
    assert handles(own) is not None
    assert sum(handles(own)) == ring
    assert handles(other) is not None
    assert sum(handles(other)) >= ring


def test_a_true_object_is_nearest_to_itself():
    meshes, _ = measure.pool("second", "mug", None, "red", "plain", 3)
    figures = measure.against(Asset({"": meshes[1]}), Phrase("mug", "red"), "second", 3, 64)
    assert figures["made"]["silhouette IoU"] == 1
    assert figures["made"]["normal error"] == pytest.approx(0, abs=1e-5)
    assert figures["ceiling"]["silhouette IoU"] >= figures["floor"]["silhouette IoU"]
    assert figures["ceiling"]["normal error"] > 0


def test_the_best_turn_is_found():
    thing = shapes.make("sofa", "red", "plain", random(1, 1), "square")
    truth = Mesh(thing.vertices, thing.faces)
    straight, best, degrees = measure.best_turn(measure.turned(truth, 30.0), truth)
    assert best > 0.9 > straight
    assert degrees % 360 == pytest.approx(330, abs=5)


@pytest.mark.parametrize("stuff", shapes.STUFFS)
def test_what_it_is_made_of_shows(stuff):
    one, plain = (shapes.make("house", "red", p, random(4, 4), "gable") for p in (stuff, "plain"))
    main = [m for m, r in zip(one.materials, plain.materials) if m.pattern != r.pattern]
    assert [m.pattern for m in main] == [stuff]
    spread = one.colours()[one.material == 0].std(0).max()
    # Metal is of one colour, and shines.
    assert main[0].gloss > 3 if stuff == "metal" else spread > 0.03


def test_pictures_fit_the_cameras_of_the_project():
    thing = shapes.make("mug", "red", "plain", random(2, 2), "straight")
    azimuth, elevation = np.array([0.0, 0.7]), np.array([0.1, 0.5])
    views = render(thing, azimuth, elevation, 96)
    matrices = np.stack([view_projection(a, e) for a, e in zip(azimuth, elevation)])
    wanted = silhouette(Mesh(thing.vertices, thing.faces), matrices, 96)
    seen = views.image[..., 3] > 0.5
    assert (seen & wanted).sum() / (seen | wanted).sum() > 0.98
    inside = views.label > 0
    assert (views.depth[inside] > 2).all()
    assert (views.depth[inside] < 4).all()
    assert np.allclose(np.linalg.norm(views.normal[inside], axis=1), 1, atol=1e-4)
    assert views.image[..., :3].max() <= 1


def test_the_sun_casts_shadows():
    thing = shapes.make("table", "white", "plain", random(2, 3), "square")
    angles = np.array([0.3]), np.array([0.5])
    light = Light(azimuth=0.0, elevation=1.2, sun=0.9, sky=0.2)
    views = render(thing, *angles, 96, light, np.array([0.6, 0.6, 0.6]))
    floor = views.image[0, ..., :3][(views.label[0] == 0) & (views.depth[0] > 0)]
    bright = floor.mean(1)
    assert np.quantile(bright, 0.02) < 0.55 * np.quantile(bright, 0.6)


@pytest.mark.parametrize("index", range(12))
def test_relations_hold(index):
    scene = scenes.compose(7, index)
    points = np.concatenate([t.vertices for t in scene.things])
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(shapes.RADIUS, abs=1e-3)
    for i, word, j in scene.relations:
        a, b = scene.things[i].vertices, scene.things[j].vertices
        low, high = (np.stack([p.min(0), p.max(0)]) for p in (a, b))
        if word == "left of":
            assert low[1, 0] < high[0, 0]
        elif word == "right of":
            assert low[0, 0] > high[1, 0]
        elif word == "in front of":
            assert low[0, 2] > high[1, 2]
        elif word == "behind":
            assert low[1, 2] < high[0, 2]
        elif word == "on":
            assert low[0, 1] > high[0, 1] + 0.1
        else:
            assert low[1, 1] < high[1, 1]
            assert abs(low.mean(0) - high.mean(0))[[0, 2]].max() < 0.1
    assert set(np.unique(scene.whole().label)) == set(range(1, len(scene.things) + 1))


def test_the_committed_pictures_are_those_of_the_index():
    facts = json.loads((make.FOLDER / "index.json").read_text())
    assert len(facts["objects"]) == 60
    assert len(facts["scenes"]) == 40
    for about in (*facts["objects"], *facts["scenes"]):
        assert (make.FOLDER / about["file"]).is_file()
    about = facts["objects"][9]
    thing = shapes.draw(about["seed"], about["index"])
    assert (thing.category, thing.colour, thing.name) == (
        about["category"],
        about["colour"],
        about["caption"],
    )
    total = sum(p.stat().st_size for p in make.FOLDER.iterdir())
    assert total < 1.5e6


WORDS = Words(("ball", "box"), ("red", "blue"), ("plain", "striped"), ("on", "under"))


def pictures():
    rng = random(11)
    pixels = rng.integers(0, 256, (12, 128, 128, 4), np.uint8)
    labels = np.array([[k % 2, k % 2, 0, *[-100] * 6] for k in range(12)])
    labels[8:] = [-100, -100, -100, -100, 1, 0, 1, -100, -100]
    return Pictures(pixels, labels)


def test_a_stopped_training_ends_in_the_same_weights(tmp_path):
    def training(folder):
        torch.manual_seed(3)
        return judge.Training(judge.SecondJudge(WORDS), 4, 3, folder)

    whole, part = training(tmp_path / "a"), training(tmp_path / "b")
    for _ in range(4):
        whole.advance(pictures(), 6)
    for _ in range(2):
        part.advance(pictures(), 6)
    part.save()
    rest = training(tmp_path / "b")
    rest.resume()
    assert rest.step == 2
    for _ in range(2):
        rest.advance(pictures(), 6)
    for one, two in zip(whole.judge.parameters(), rest.judge.parameters()):
        assert torch.equal(one, two)


def test_a_saved_judge_says_the_same(tmp_path):
    torch.manual_seed(1)
    first = judge.SecondJudge(WORDS).eval()
    first.save(tmp_path)
    assert (tmp_path / "judge.safetensors").stat().st_size < 1.5e6
    again = judge.SecondJudge.load(tmp_path)
    shown = torch.rand(2, 96, 96, 3)
    assert torch.allclose(first(shown).category, again(shown).category, atol=2e-3)
    shares = again.relation(shown, "ball", "box")
    assert shares.shape == (2, 2)
    assert torch.allclose(shares.sum(1), torch.ones(2))
    with pytest.raises(ModelError):
        judge.SecondJudge.load(tmp_path / "nowhere")
