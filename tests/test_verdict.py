"""The word about a result: its figures against the picture, its thresholds, guessed words that are
sure, runner-up poses, and the exit code of --strict."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import threestudio_like as api
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.picture import render_asset
from threestudio_like.systems.image_to_3d import cisp, fit, runner_up
from threestudio_like.systems.image_to_3d.fit import (
    Fit,
    Limit,
    calibration,
    depth_map,
    judged,
    measure_fit,
    outline_bounds,
    with_word,
)
from threestudio_like.systems.image_to_3d.maps import DepthMap
from threestudio_like.systems.image_to_3d.method import PictureRequest, ShapeFound
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.image_to_3d.pose import Pose, PoseConfig
from threestudio_like.systems.image_to_3d.runner_up import decide_turn, mirrored_likeness
from threestudio_like.toybox.world import draw

POSES = PoseConfig()


def box(x, y, z):
    """A box with these half edges, its sides coloured by where they point."""
    corners = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    points, faces, colours = [], [], []
    for number, quad in enumerate(quads):
        start = len(points)
        points += [corners[c] * (x, y, z) for c in quad]
        faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
        colours += [np.eye(3)[number // 2] * (0.9 if number % 2 else 0.5)] * 4
    return Mesh(
        np.array(points, np.float32),
        np.array(faces, np.int32),
        colours=np.array(colours, np.float32),
    )


def picture_of(mesh, azimuth, elevation, size=128):
    """What a camera sees of a mesh, as a photo with alpha."""
    camera = Pose(azimuth, elevation, 1.0).camera(POSES, size)
    drawn = render_asset(Asset({"": mesh}), camera.view_projection().numpy(), size, background=0.0)
    alpha = drawn.mask[0][..., None]
    colours = drawn.image[0] / np.maximum(alpha, 1e-3)
    return photo_of(np.concatenate([colours.clip(0, 1), alpha], -1).astype(np.float32), "x", {})


def test_a_thing_fits_its_own_picture_and_no_other():
    mesh = box(0.5, 0.7, 0.3)
    photo = picture_of(mesh, 0.6, 0.4)
    own = ShapeFound(mesh, Pose(0.6, 0.4, 1.0), POSES)
    measured = measure_fit(own, photo, asset=Asset({"": mesh}), seen=0.4)
    assert measured.silhouette > 0.97
    # The cut is known to a pixel or two, by the boxes of both silhouettes.
    assert measured.psnr > 25
    assert with_word(measured, "cisp").word == "fits"
    assert with_word(measured, "cisp").advice == ""
    other = ShapeFound(box(0.15, 0.8, 0.15), Pose(0.6, 0.4, 1.0), POSES)
    told = with_word(measure_fit(other, photo), "cisp", found_cut=True)
    assert told.word == "does not fit"
    assert "--method relief" in told.line()
    assert "--mask" in told.line()
    assert "--method relief" not in with_word(measure_fit(other, photo), "relief").line()


def test_depth_along_the_axis_is_exact():
    found = ShapeFound(box(0.5, 0.5, 0.25), Pose(0.0, 0.0, 1.0), POSES)
    depth = depth_map(found.mesh, found, 64)
    assert np.isfinite(depth[32, 32])
    assert depth[np.isfinite(depth)] == pytest.approx(POSES.distance - 0.25, abs=1e-4)
    turned = ShapeFound(found.mesh, Pose(math.pi / 2, 0.0, 1.0), POSES)
    assert depth_map(found.mesh, turned, 64)[32, 32] == pytest.approx(2.5, abs=1e-4)


def test_depth_agrees_with_its_own_and_not_with_its_negative():
    mesh = box(0.5, 0.6, 0.4)
    photo = picture_of(mesh, 0.7, 0.5)
    found = ShapeFound(mesh, Pose(0.7, 0.5, 1.0), POSES)
    size = photo.pixels.shape[0]
    true = np.where(np.isfinite(depth_map(mesh, found, size)), depth_map(mesh, found, size), np.nan)
    same = measure_fit(found, photo, depth=DepthMap(3 * true + 1, True, "")).depth
    assert same > 0.98
    assert measure_fit(found, photo, depth=DepthMap(-true, False, "")).depth == pytest.approx(
        -same, abs=1e-5
    )


def test_the_worst_figure_decides():
    limits = {"silhouette": Limit(0.9, 0.8), "psnr": Limit(20, 10)}
    assert judged({"silhouette": 0.95, "psnr": 25}, limits) == ("fits", "")
    assert judged({"silhouette": 0.95, "psnr": math.nan}, limits) == ("fits", "")
    assert judged({"silhouette": 0.85, "psnr": 25}, limits) == ("doubtful", "silhouette")
    assert judged({"silhouette": 0.85, "psnr": 11}, limits) == ("doubtful", "psnr")
    assert judged({"silhouette": 0.79, "psnr": 25}, limits) == ("does not fit", "silhouette")
    assert judged({"silhouette": 0.9, "psnr": 10}, limits) == ("doubtful", "psnr")


def test_thresholds_lie_in_one_place_with_their_source(tmp_path, monkeypatch):
    assert "verdicts.py" in calibration().source
    for limit in calibration().limits.values():
        assert limit.fits >= limit.fails
    # Another file is another judgement: nothing is written into the code besides.
    facts = json.loads(fit.THRESHOLDS.read_text())
    facts["limits"] = {"silhouette": {"fits": 0.2, "fails": 0.1}}
    (tmp_path / "thresholds.json").write_text(json.dumps(facts))
    monkeypatch.setattr(fit, "THRESHOLDS", tmp_path / "thresholds.json")
    calibration.cache_clear()
    try:
        assert with_word(Fit(0.3), "cisp").word == "fits"
    finally:
        monkeypatch.undo()
        calibration.cache_clear()
    assert with_word(Fit(0.3), "cisp").word == "does not fit"


def symmetric():
    """A box, its halves at x = 0 alike in colour, its front and back another colour than its
    sides: of a square ground plan, so that a quarter turn has the same silhouette."""
    mesh = box(0.45, 0.6, 0.45)
    colours = mesh.colours.copy()
    # Sides at -x and +x have one colour; front and back differ from each other.
    colours[:4] = colours[4:8] = (0.9, 0.1, 0.1)
    colours[16:20], colours[20:24] = (0.1, 0.1, 0.9), (0.1, 0.9, 0.1)
    return replace(mesh, colours=colours)


def test_mirrored_colours_tell_a_quarter_turn():
    mesh = symmetric()
    # Seen between both sides of the plane: the front, with the left half and the right half alike.
    photo = picture_of(mesh, 0.0, 0.5)
    right = ShapeFound(mesh, Pose(0.0, 0.5, 1.0), POSES)
    assert mirrored_likeness(right, photo) > 0.9
    corner = picture_of(mesh, math.pi / 4, 0.5)
    here = ShapeFound(mesh, Pose(math.pi / 2, 0.5, 1.0), POSES)
    assert math.isnan(mirrored_likeness(here, photo)) or mirrored_likeness(here, corner) < 0.99


def test_a_runner_up_with_more_evidence_is_taken_and_an_undecided_turn_is_said(monkeypatch):
    mesh = box(0.5, 0.6, 0.3)
    photo = picture_of(mesh, 0.5, 0.3)
    first = Pose(0.5 + math.pi / 2, 0.3, 0.93, second=Pose(0.5, 0.3, 0.92))
    evidence = {0.5: 1.2, 0.5 + math.pi / 2: 1.0}

    class Known:
        def __init__(self, total):
            self.total = total

    monkeypatch.setattr(
        runner_up, "evidence_of", lambda m, p, pose, *rest: Known(evidence[pose.azimuth])
    )
    taken = decide_turn(mesh, photo, first, POSES, depth=None)
    assert taken.azimuth == 0.5
    assert taken.undecided == ""
    evidence[0.5] = 1.001
    told = decide_turn(mesh, photo, first, POSES, depth=None)
    assert told.azimuth == 0.5
    assert "undecided" in told.undecided
    assert "--azimuths" in told.undecided
    far = replace(first, second=Pose(0.5, 0.3, 0.5))
    assert decide_turn(mesh, photo, far, POSES, depth=None) is far


def test_a_sure_guess_has_its_say_and_an_unsure_one_has_none(monkeypatch):
    heard = []

    def shape(photo, config, seed, events=None, prompt="", known=None):
        heard.append(prompt)
        return None

    monkeypatch.setattr(cisp, "reconstruct_shape", shape)
    photo = picture_of(box(0.5, 0.6, 0.3), 0.5, 0.3, 64)
    for said, sure in ((True, False), (False, True), (False, False)):
        request = PictureRequest(
            prompt="a red chair", prior=None, photo=photo, said=said, sure=sure
        )
        cisp.CispReconstruction().result(request, {})
    assert heard == ["a red chair", "a red chair", ""]


def test_strict_is_exit_code_3_and_the_files_check_says_that_it_is_of_the_file(
    tmp_path, monkeypatch, capsys
):
    from PIL import Image

    from threestudio_like.cli import main
    from threestudio_like.commands.jobs.picture import asset

    photo = picture_of(box(0.5, 0.6, 0.3), 0.5, 0.3, 64)
    Image.fromarray((photo.pixels * 255).astype(np.uint8)).save(tmp_path / "box.png")
    command = ["reconstruct", str(tmp_path / "box.png"), "--method", "relief", "--texture", "128"]
    command += ["--shape.size", "48", "--shape.terms.size", "48", "--no-turntable", "--strict"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    told = capsys.readouterr()
    out = told.out + told.err
    assert "as a file:" in out
    block = out.strip().splitlines()[-4:]
    assert [line.split()[0] for line in block] == ["Asset", "Fit", "Lost", "Next"]
    assert block[1].startswith("Fit    The result and the picture: ")
    figures = json.loads((tmp_path / "one" / "work" / "finished.json").read_text())["figures"]
    assert figures["fit: silhouette IoU"] > 0.9
    bad = Fit(0.3)
    monkeypatch.setattr(asset, "measure_fit", lambda *a, **k: bad)
    assert main([*command, "--out", str(tmp_path / "two"), "--quiet"]) == 3
    assert (tmp_path / "two" / "asset.glb").is_file()
    assert main([*command[:-1], "--out", str(tmp_path / "three"), "--quiet"]) == 0
    # A run that goes on is as strict as it was begun, or as it is asked now.
    two, three = (str(tmp_path / name) for name in ("two", "three"))
    assert main(["resume", two, "--quiet"]) == 3
    assert main([*command, "--out", two, "--quiet", "--resume"]) == 3
    assert main(["resume", three, "--quiet"]) == 0
    assert main([*command, "--out", three, "--quiet", "--resume"]) == 3
    assert api.resume(two).fit == "does not fit"
    (tmp_path / "two" / "work" / "finished.json").unlink()
    assert main(["resume", two, "--quiet"]) == 3


def test_an_item_of_a_batch_that_is_strict_says_that_it_does_not_fit(tmp_path, monkeypatch):
    from threestudio_like.commands.jobs import batch_work
    from threestudio_like.runs.batch.items import Spec
    from threestudio_like.runs.delivery import RunResult

    passed = type("Passed", (), {"passed": True})()
    for strict, said in ((True, "does not fit"), (False, "ok")):
        result = RunResult(Asset({}), tmp_path, {}, passed, fit="does not fit", strict=strict)
        monkeypatch.setattr(batch_work, "carry_out", lambda *a, result=result: result)
        spec = Spec(command="reconstruct", values={"picture": "a.png", "strict": strict})
        made = batch_work.CommandWork().execute(spec, tmp_path / said.replace(" ", "-"), {})
        assert made.verdict == said


def test_round_things_have_no_undecided_turn():
    obj = draw(5, 0, "test")
    mesh = Mesh(obj.vertices, obj.faces)
    photo = picture_of(mesh, 0.0, 0.2, 64)
    pose = Pose(0.0, 0.2, 0.95, second=Pose(2.0, 0.2, 0.95))
    assert decide_turn(mesh, photo, pose, POSES, depth=None).undecided == ""


class Told:
    """Events that are kept."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def record(self, event, **values):
        pass

    def status(self, line, force=False):
        pass


@pytest.mark.parametrize(
    ("facts", "silhouette", "chosen"),
    [
        ({"sure": True}, 0.86, "cisp"),
        ({"said": True}, 0.86, "cisp"),
        ({"maybe": True}, 0.86, "relief"),
        ({"maybe": True}, 0.96, "cisp"),
        ({"sure": True}, 0.6, "relief"),
        # Within a scene an outline lacks what others hide.
        ({"said": True, "part": True}, 0.6, "cisp"),
        ({"said": True, "part": True}, 0.4, "relief"),
        ({"maybe": True, "part": True}, 0.86, "relief"),
        ({"sure": True}, None, "relief"),
        ({}, 0.99, "relief"),
        ({"sure": True, "depth": "toybox"}, 0.99, "relief"),
    ],
)
def test_auto_takes_what_fits_and_says_why(facts, silhouette, chosen, monkeypatch):
    from threestudio_like.commands.jobs.picture import choice
    from threestudio_like.engine.errors import CollapseError
    from threestudio_like.systems.image_to_3d.known import Known

    mesh = box(0.5, 0.6, 0.3)
    found = ShapeFound(mesh, Pose(0.5, 0.3, 1.0), POSES)
    asked = []

    class Made:
        def check(self):
            pass

        def result(self, request, stages):
            asked.append("relief")
            return found

    class Sampled(Made):
        def result(self, request, stages):
            asked.append("cisp")
            if silhouette is None:
                raise CollapseError("no sampled shape holds anything", "voxel diffusion", "")
            return found

    monkeypatch.setattr(choice, "ReliefReconstruction", Made)
    monkeypatch.setattr(choice, "measure_fit", lambda *a, **k: Fit(silhouette))
    known = Known(depth=facts.pop("depth", None))
    events = Told()
    request = PictureRequest(
        prompt="a red chair",
        prior=None,
        photo=picture_of(mesh, 0.5, 0.3, 64),
        known=known,
        events=events,
        **facts,
    )
    config, _, name = choice.by_auto(Sampled(), request)
    assert name == chosen
    assert asked[-1] == chosen
    assert isinstance(config, Sampled if chosen == "cisp" else Made)
    # What is not needed is not sampled, and what is left is said.
    assert ("cisp" in asked) == (known.depth is None and bool(facts))
    assert len(events.lines) == (0 if chosen == "cisp" else 1)


def test_a_guess_is_sure_by_its_likeness_alone(monkeypatch):
    from threestudio_like.systems.image_to_3d.caption import Caption

    assert "Guessed" in Caption("a red chair", 0.8, True).line()
    assert "--prompt" in Caption("a red chair", 0.8, True).line()
    unsure = Caption("a red chair", 0.4, False, False).line()
    assert "0.40" in unsure
    assert "a red chair" in unsure


def test_of_several_photos_the_worst_counts_and_an_estimate_has_no_say():
    from threestudio_like.systems.image_to_3d.relief.photos import PlacedPhoto

    mesh = box(0.5, 0.7, 0.3)
    photo, other = picture_of(mesh, 0.0, 0.2), picture_of(box(0.2, 0.7, 0.9), 1.2, 0.2)
    found = ShapeFound(mesh, Pose(0.0, 0.2, 1.0), POSES)
    alone = measure_fit(found, photo).silhouette
    placed = PlacedPhoto(other, 1.2, 0.2, other.similarity)
    assert measure_fit(replace(found, others=[placed]), photo).silhouette < alone - 0.1
    wrong = Fit(0.97, depth=-0.9)
    assert with_word(wrong, "cisp").word == "fits"
    assert with_word(replace(wrong, known_depth=True), "cisp").word == "does not fit"
    assert "estimate" in wrong.line()
    assert "estimate" not in replace(wrong, known_depth=True).line()


def shape_of(*shapes):
    """A drawing with alpha: of each shape the corners of a polygon in 100 x 100 pixels."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    for corners in shapes:
        ImageDraw.Draw(picture).polygon(corners, fill=(200, 90, 60, 255))
    return photo_of(np.asarray(picture, np.float32) / 255, "x", {})


SLAB = [(20, 20), (80, 25), (80, 70), (20, 75)]
LEGS = ([(15, 20), (85, 30), (85, 40), (15, 30)], [(15, 20), (25, 20), (25, 80), (15, 80)])


def test_an_outline_bounds_a_shape_where_it_is_full_or_its_own_mirror_image():
    assert outline_bounds(shape_of(SLAB)) == pytest.approx(1.0, abs=0.02)
    # A triangle of half the square: by a formula, the hull is the triangle itself.
    assert outline_bounds(shape_of([(10, 10), (10, 90), (90, 90)])) == pytest.approx(1, abs=0.04)
    bent = outline_bounds(shape_of(*LEGS))
    # Two strips of 10 pixels; their hull is known by its corners.
    hull = np.array([(15, 20), (25, 20), (85, 30), (85, 40), (25, 80), (15, 80)])
    x, y = hull.T
    area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    assert bent == pytest.approx((10 * 60 + 10 * 60) / area, abs=0.06)
    both = ([(20, 20), (30, 20), (30, 80), (20, 80)], [(70, 20), (80, 20), (80, 80), (70, 80)])
    table = (*both, [(20, 20), (80, 20), (80, 30), (20, 30)])
    assert outline_bounds(shape_of(*table)) == 1.0


def test_what_one_picture_cannot_tell_is_doubtful_and_never_an_alarm():
    found = ShapeFound(box(0.5, 0.7, 0.3), Pose(0.6, 0.4, 1.0), POSES)
    photo = shape_of(*LEGS)
    assert math.isnan(measure_fit(found, photo).sides)
    alone = measure_fit(replace(found, one_sided=True), photo)
    assert alone.sides == outline_bounds(photo)
    values = np.full(photo.pixels.shape[:2], 2.0, np.float32)
    known = measure_fit(replace(found, one_sided=True), photo, depth=DepthMap(values, True, ""))
    assert math.isnan(known.sides)
    told = with_word(Fit(0.99, 40.0, sides=0.2), "relief")
    assert told.word == "doubtful"
    assert "second photo" in told.line()
    assert "0.20" in told.line()
    assert with_word(Fit(0.99, 40.0, sides=1.0), "relief").word == "fits"
    assert with_word(Fit(0.3, 40.0, sides=0.2), "relief").word == "does not fit"
