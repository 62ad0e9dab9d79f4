"""Relief: any picture to a closed shape that fits it; and what a user knows: depth, normals, the
camera, several photos, the size."""

import json
import math

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image, ImageDraw

from threestudio_like import KnownOptions, reconstruct
from threestudio_like.cli import main
from threestudio_like.commands.jobs.picture.given import order_of, pictures_of
from threestudio_like.engine.errors import ConfigError, InputError, ModelError
from threestudio_like.meshes.frames import Normalisation
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.systems.image_to_3d.backs import core_of
from threestudio_like.systems.image_to_3d.caption import describe_picture
from threestudio_like.systems.image_to_3d.fit import depth_map, measure_fit
from threestudio_like.systems.image_to_3d.known import Known, View, read_length, real_scale
from threestudio_like.systems.image_to_3d.maps import DepthMap, read_depth, read_normals
from threestudio_like.systems.image_to_3d.method import ShapeFound
from threestudio_like.systems.image_to_3d.photo import photo_of
from threestudio_like.systems.image_to_3d.pose import Pose, PoseConfig
from threestudio_like.systems.image_to_3d.relief.photos import place_photos
from threestudio_like.systems.image_to_3d.relief.reconstruction import (
    ReliefConfig,
    reconstruct_relief,
)
from threestudio_like.systems.image_to_3d.relief.surface import (
    ROUND,
    Relief,
    ReliefTerms,
    inflated,
    mirror_of,
    outline_of,
    slopes_of,
    solve_relief,
)
from threestudio_like.toybox.world import draw

from .test_verdict import box, picture_of

QUICK = ReliefConfig(depth="none", size=72, terms=ReliefTerms(size=64))
CHAIR = 8


def drawn(shape, size=128):
    """A flat drawing with alpha as a photo: "ring", "letter", "frame" (thin) or "star"."""
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    colour = (200, 120, 40, 255)
    if shape == "ring":
        pen.ellipse((20, 20, 108, 108), fill=colour)
        pen.ellipse((48, 48, 80, 80), fill=(0, 0, 0, 0))
    elif shape == "letter":
        pen.rectangle((24, 16, 44, 112), fill=colour)
        pen.rectangle((24, 92, 100, 112), fill=(40, 90, 200, 255))
    elif shape == "frame":
        for box_ in (
            (16, 16, 112, 21),
            (16, 106, 112, 112),
            (16, 16, 21, 112),
            (106, 16, 112, 112),
        ):
            pen.rectangle(box_, fill=colour)
    else:
        points = []
        for k in range(10):
            reach, angle = (52 if k % 2 == 0 else 24), math.pi * k / 5
            points.append((64 + reach * math.sin(angle), 64 - reach * math.cos(angle)))
        pen.polygon(points, fill=colour)
    return photo_of(np.asarray(picture, np.float32) / 255, shape, {})


def iou_of(mesh, truth, degrees=0.0):
    """Volume IoU after both are brought to one size."""
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    points = [(m.vertices.astype(np.float64) @ t.T) for m, t in ((mesh, turn), (truth, np.eye(3)))]
    placed = [Normalisation.of(p.astype(np.float32)).apply(p.astype(np.float32)) for p in points]
    return voxel_iou(*(voxelise(Mesh(p, m.faces)) for p, m in zip(placed, (mesh, truth))))


def true_depth(mesh, azimuth, elevation, size=128):
    found = ShapeFound(mesh, Pose(azimuth, elevation, 1.0), PoseConfig())
    depth = depth_map(mesh, found, size)
    return np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)


def test_inflation_is_the_solution_of_its_equation():
    size = 96
    line = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    disc = x**2 + y**2 < 0.6**2
    wanted = 2 * np.sqrt(np.maximum(ROUND / 4 * (0.6**2 - x**2 - y**2), 0))
    middle = x**2 + y**2 < 0.5**2
    assert np.abs(inflated(disc) - wanted)[middle].max() < 0.05
    strip = np.abs(x) < 0.2
    wanted = 2 * math.sqrt(ROUND / 2) * 0.2
    # The picture's edge ends it above and below, far from its middle.
    assert inflated(strip)[size // 2, size // 2] == pytest.approx(wanted, rel=0.05)


def test_exact_depth_and_exact_slopes_come_back():
    size = 48
    inside = np.zeros((size, size), bool)
    inside[8:40, 8:40] = True
    y, x = np.mgrid[0:size, 0:size] / size * 2 - 1
    depth = 0.3 * x + 0.1 * y
    terms = ReliefTerms(size=size, depth=1e4, symmetric=0.0)
    found = solve_relief(inside, depth, terms)
    assert np.abs(found.front - depth)[inside].max() < 0.02
    # Normals alone, of the same plane: its slope, wherever it lies.
    normal = np.array([0.3, -0.1, 1.0]) / np.linalg.norm([0.3, -0.1, 1.0])
    slopes = slopes_of(np.broadcast_to(normal, (size, size, 3)))
    assert slopes[0, 0] == pytest.approx([0.3 * 2 / size, 0.1 * 2 / size])
    terms = ReliefTerms(size=size, normals=1e4, symmetric=0.0)
    front = solve_relief(inside, None, terms, slopes=slopes).front
    step = front[20, 30] - front[20, 15]
    assert step == pytest.approx(15 * 0.3 * 2 / size, rel=0.05)


def test_a_slab_has_no_relief_and_round_sections_have():
    inside = np.zeros((40, 40), bool)
    inside[8:32, 8:32] = True
    assert Relief(np.zeros((40, 40)), inside * 0.5, inside).score == pytest.approx(0)
    assert solve_relief(inside, None, ReliefTerms(size=40)).score > 0.4


def test_halves_are_alike_only_where_the_outline_is():
    even = np.zeros((20, 20), bool)
    even[4:16, 3:13] = True
    other = mirror_of(even)
    assert other is not None
    assert other[3] == 12
    skew = np.tril(np.ones((20, 20), bool))
    assert mirror_of(skew) is None


def test_the_rim_of_an_estimated_depth_is_not_believed_but_thin_parts_are():
    inside = np.zeros((64, 64), bool)
    inside[10:50, 10:50] = True
    inside[50:62, 20:23] = True
    core = core_of(inside)
    assert not core[10:12, 10:50].any()
    assert core[30, 30]
    assert core[56, 21]


@pytest.mark.parametrize("shape", ["ring", "letter", "frame", "star"])
def test_any_picture_is_fitted_from_its_side_with_a_closed_back(shape):
    photo = drawn(shape)
    found = reconstruct_relief(photo, ReliefConfig(depth="none"), Known())
    colours = found.colour(torch.from_numpy(found.mesh.vertices), None).numpy()
    mesh = Mesh(found.mesh.vertices, found.mesh.faces, colours=colours.astype(np.float32))
    measured = measure_fit(found, photo, asset=Asset({"": mesh}))
    # A frame that is six pixels thin: a third of a pixel on both sides is a tenth of it.
    assert measured.silhouette >= (0.9 if shape == "frame" else 0.95)
    assert measured.psnr >= 25
    # Of a frame six pixels thin all is rim.
    assert found.figures["relief score"] > (0.0 if shape == "frame" else 0.3)
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count % 2 == 0).all()
    assert mesh.volume > 0
    assert np.linalg.norm(mesh.vertices, axis=1).max() <= 0.951


@pytest.mark.parametrize("width", [2, 3])
def test_what_is_thinner_than_the_grid_holds_together(width):
    picture = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 90, 90, 200), fill=(200, 120, 40, 255))
    pen.ellipse((180, 60, 236, 130), fill=(200, 120, 40, 255))
    pen.line((60, 150, 130, 120, 208, 95), fill=(40, 120, 200, 255), width=width)
    photo = photo_of(np.asarray(picture, np.float32) / 255, "barbell", {})
    found = reconstruct_relief(photo, ReliefConfig(depth="none"), Known())
    solid = trimesh.Trimesh(found.mesh.vertices, found.mesh.faces, process=False)
    solid.merge_vertices()
    assert solid.body_count == 1
    assert measure_fit(found, photo).silhouette > 0.93


def test_only_thin_strips_are_widened():
    wide = torch.zeros(128, 128)
    wide[30:90, 40:100] = 1
    thin = torch.zeros(128, 128)
    thin[60:62, 10:120] = 1
    assert torch.equal(outline_of(wide, 0.1), outline_of(wide))
    grown = outline_of(thin, 0.1) > 0
    across = grown.sum(0)
    assert int(across[40:90].min()) >= 5
    assert int(across.max()) <= 8
    assert not (thin > 0.5)[~grown].any()


@pytest.mark.parametrize("index", [CHAIR, 3, 7])
def test_a_known_depth_raises_the_volume_iou(index):
    obj = draw(5, index, "test")
    truth, direction = Mesh(obj.vertices, obj.faces), (0.6, 0.4)
    photo = picture_of(truth, *direction)
    depth = DepthMap(true_depth(truth, *direction), True, "")
    camera = {"azimuth": direction[0], "elevation": direction[1], "fov": 40.0}
    config = ReliefConfig(depth="none", size=96, terms=ReliefTerms(size=96), mirror=False)
    alone, told = (
        reconstruct_relief(photo, config, Known(**camera, depth=d)).mesh for d in (None, depth)
    )
    assert iou_of(told, truth) > iou_of(alone, truth) + 0.02


def test_two_photos_are_better_than_one_and_four_than_two():
    truth = box(0.35, 0.6, 0.6)
    shots = [picture_of(truth, math.pi / 2 * k, 0.1) for k in range(4)]
    scores = []
    for count in (1, 2, 4):
        views = tuple(View(photo=shots[k], azimuth=math.pi / 2 * k) for k in range(1, count))
        known = Known(azimuth=0.0, elevation=0.1, views=views)
        scores.append(iou_of(reconstruct_relief(shots[0], QUICK, known).mesh, truth))
    assert scores[1] > scores[0] + 0.05
    assert scores[2] >= scores[1] - 0.02
    assert scores[1] > 0.75


def test_the_azimuth_of_a_further_photo_is_found_or_refused():
    obj = draw(5, CHAIR, "test")
    truth = Mesh(obj.vertices, obj.faces)
    first, second = picture_of(truth, 0.0, 0.3), picture_of(truth, math.pi / 3, 0.3)
    known = Known(azimuth=0.0, elevation=0.3, views=(View(photo=second),))
    placed = place_photos(first, known, (0.0, 0.3), known.camera(first)).photos
    off = (placed[1].azimuth - math.pi / 3 + math.pi) % (2 * math.pi) - math.pi
    assert "found" in placed[1].note
    assert abs(off) < math.radians(16) or "undecided" in placed[1].note
    ball, frame = drawn("ring"), drawn("star")
    with pytest.raises(InputError, match="agrees with the first one from no side"):
        place_photos(frame, Known(views=(View(photo=thin(ball)),)), (0.0, 0.0), known.camera(frame))


def test_a_camera_that_stood_still_is_told_from_cropped_pictures():
    """A long thing whose outline is taller from its end, seen from above."""
    truth = box(0.15, 0.2, 0.85)
    shots = [picture_of(truth, math.pi / 2 * k, 0.6) for k in range(2)]
    known = Known(
        azimuth=0.0, elevation=0.6, fov=40.0, views=(View(photo=shots[1], azimuth=math.pi / 2),)
    )
    placement = place_photos(shots[0], known, (0.0, 0.6), known.camera(shots[0]))
    assert placement.photos[0].frame == placement.photos[1].frame
    # The field of view of the whole picture is that of its camera.
    side = placement.photos[0].frame.side / shots[0].pixels.shape[0]
    assert math.tan(math.radians(placement.camera[1] / 2)) == pytest.approx(
        math.tan(math.radians(20)) * side
    )
    alone = place_photos(shots[0], known, (0.0, 0.6), known.camera(shots[0]), still=False)
    assert placement.agreement > alone.agreement + 0.05
    assert iou_of(reconstruct_relief(shots[0], QUICK, known).mesh, truth) > 0.6


def thin(photo):
    """The photo's object, of which only a bar is left at its top and one at its bottom."""
    pixels = photo.pixels.copy()
    pixels[30:98, :, 3] = 0
    return photo_of(pixels, "bars", {})


def test_size_by_height_and_by_distance_and_field_of_view():
    truth = box(0.5, 0.6, 0.02)
    photo = picture_of(truth, 0.0, 0.0)
    by_height = Known(height=0.8)
    found = reconstruct_relief(photo, QUICK, by_height)
    scale = real_scale(found, photo, by_height)
    assert scale * np.ptp(found.mesh.vertices[:, 1]) == pytest.approx(0.8)
    # A plate: how far it is from the camera is no question of its thickness.
    by_camera = Known(fov=40.0, distance=3.0, elevation=0.0)
    found = reconstruct_relief(photo, QUICK, by_camera)
    tall = real_scale(found, photo, by_camera) * np.ptp(found.mesh.vertices[:, 1])
    assert tall == pytest.approx(1.2, rel=0.05)
    with pytest.raises(ConfigError, match="--fov"):
        Known(distance=3.0).check()
    # Height and distance give the perspective.
    both = Known(height=1.2, distance=3.0)
    side, rows = photo.similarity.side, np.flatnonzero((photo.pixels[..., 3] > 0.5).any(1))
    half = math.tan(math.radians(both.frame_fov(photo)) / 2)
    assert half == pytest.approx(0.6 / 3.0 * side / (rows[-1] + 1 - rows[0]))


@pytest.mark.parametrize(
    ("text", "metres"), [("0.8m", 0.8), ("80cm", 0.8), ("80 CM", 0.8), ("10in", 0.254), ("2", 2.0)]
)
def test_lengths(text, metres):
    assert read_length(text, "--height") == pytest.approx(metres)


@pytest.mark.parametrize("text", ["", "tall", "-1m", "0m", "3 parsec", "1e999m", "nan"])
def test_what_is_no_length(text):
    with pytest.raises(ConfigError, match="length"):
        read_length(text, "--height")


def test_depth_files_of_every_kind(tmp_path):
    values = np.zeros((40, 40), np.float32)
    values[10:30, 10:30] = np.linspace(1.0, 1.5, 20)
    mask = (values > 0).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    Image.fromarray((values * 1000).astype(np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(values).save(tmp_path / "c.tiff")
    for name in ("a.npy", "b.png", "c.tiff"):
        found = read_depth(tmp_path / name, (40, 40), "auto", mask)
        assert found.distances
        ratio = found.values[20, 29] / found.values[20, 10]
        assert ratio == pytest.approx(1.5, abs=0.01)
        assert np.isnan(found.values[0, 0])
    near = np.where(values > 0, 255 * (values - 0.9) / 0.6, 0).astype(np.uint8)
    Image.fromarray(near).save(tmp_path / "d.png")
    assert not read_depth(tmp_path / "d.png", (40, 40), "auto", mask).distances
    turned = read_depth(tmp_path / "d.png", (40, 40), "disparity", mask)
    assert turned.values[20, 29] < turned.values[20, 10]
    with pytest.raises(InputError, match="do not show the same"):
        read_depth(tmp_path / "a.npy", (80, 40))
    np.save(tmp_path / "flat.npy", np.ones((40, 40), np.float32))
    np.save(tmp_path / "none.npy", np.zeros((40, 40), np.float32))
    np.save(tmp_path / "odd.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.png").write_text("no picture")
    for name in ("flat.npy", "none.npy", "odd.npy", "text.png", "missing.png"):
        with pytest.raises(InputError, match="--depth"):
            read_depth(tmp_path / name, (40, 40))


def test_normal_files(tmp_path):
    normals = np.zeros((40, 40, 3), np.float32)
    normals[..., 2] = 1
    normals[10:30, 10:30] = (0.6, 0.0, 0.8)
    np.save(tmp_path / "n.npy", normals)
    Image.fromarray(np.rint((normals + 1) / 2 * 255).astype(np.uint8)).save(tmp_path / "n.png")
    for name in ("n.npy", "n.png"):
        assert read_normals(tmp_path / name, (40, 40))[0][20, 20] == pytest.approx(
            [0.6, 0, 0.8], abs=0.01
        )
    Image.new("RGB", (40, 40), (128, 128, 128)).save(tmp_path / "grey.png")
    Image.new("L", (40, 40), 128).save(tmp_path / "l.png")
    for name in ("grey.png", "l.png"):
        with pytest.raises(InputError, match="--normal"):
            read_normals(tmp_path / name, (40, 40))


def test_known_normals_bring_the_depth_nearer():
    obj = draw(5, CHAIR, "test")
    truth, direction = Mesh(obj.vertices, obj.faces), (0.7, 0.5)
    photo = picture_of(truth, *direction)
    depth = true_depth(truth, *direction)
    step = 2 * math.tan(math.radians(20)) * 3.0 / depth.shape[0]
    across, down = np.gradient(depth, axis=1) / step, np.gradient(depth, axis=0) / step
    raw = np.stack([across, -down, np.ones_like(depth)], -1)
    normals = (raw / np.linalg.norm(raw, axis=-1, keepdims=True)).astype(np.float32)
    normals[np.abs(raw).max(-1) > 3] = np.nan
    wanted = DepthMap(depth, True, "")
    scores = []
    for told in (None, normals):
        known = Known(azimuth=direction[0], elevation=direction[1], normals=told)
        config = ReliefConfig(depth="none", size=96, mirror=False)
        found = reconstruct_relief(photo, config, known)
        scores.append(measure_fit(found, photo, depth=wanted).depth)
    assert scores[1] > scores[0] + 0.05


def test_from_the_command_line_and_from_python(tmp_path, capsys):
    truth = box(0.35, 0.6, 0.6)
    (tmp_path / "photos").mkdir()
    for k in (0, 1):
        photo = picture_of(truth, math.pi / 2 * k, 0.2)
        Image.fromarray((photo.pixels * 255).astype(np.uint8)).save(
            tmp_path / "photos" / f"{k}.png"
        )
    np.save(tmp_path / "depth.npy", true_depth(truth, 0.0, 0.2))
    one, two = (str(tmp_path / "photos" / f"{k}.png") for k in (0, 1))
    quick = ["--texture", "128", "--no-turntable", "--elevation", "11.5"]
    asked = ["reconstruct", one, two, "--azimuths", "0", "90", "--height", "80cm"]
    assert main([*asked, "--out", str(tmp_path / "a"), *quick]) == 0
    told = capsys.readouterr()
    said = told.out + told.err
    assert "2 photos are taken for views of one object: 0.png at 0°, 1.png at 90°" in said
    assert "auto: several photos given" in said
    mesh = Asset.load(tmp_path / "a" / "asset.glb").mesh
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(0.8, rel=1e-4)
    figures = json.loads((tmp_path / "a" / "work" / "finished.json").read_text())["figures"]
    assert figures["method"] == "relief"
    # The folder and Python say the same.
    again = reconstruct(
        tmp_path / "photos",
        known=KnownOptions(azimuths=(0.0, 90.0), elevation=11.5, height="80cm"),
        asset=_small(),
        run=_run(tmp_path / "b"),
    )
    other = Asset.load(tmp_path / "b" / "asset.glb").mesh
    assert (mesh.vertices == other.vertices).all()
    assert (mesh.texture == other.texture).all()
    assert again.fit in ("fits", "doubtful", "does not fit")
    capsys.readouterr()
    for more, words in (
        (["--azimuths", "0", "90"], "names 2 for 1 picture"),
        (["--distance", "3"], "--fov"),
        (["--height", "tall"], "length"),
        (["--depth", str(tmp_path / "none.npy")], "no such file"),
        (["--normal", str(tmp_path / "depth.npy")], "--normal"),
        (["--method", "cisp", "--captioner", "no-such-model"], "no-such-model"),
    ):
        code = main(["reconstruct", one, *more, "--out", str(tmp_path / "c"), *quick[:3]])
        assert code == 2, more
        assert words in capsys.readouterr().err
        assert not (tmp_path / "c").exists(), more


def test_a_folder_of_photos_is_read_in_the_order_of_their_numbers(tmp_path, capsys):
    names = ["view10.png", "view2.gif", "view1.ppm", "View3.JP2"]
    for name in [*names, "._view1.png", "notes.txt"]:
        (tmp_path / name).write_bytes(b"x")
    found = pictures_of(tmp_path, ())
    assert [p.name for p in found] == ["view1.ppm", "view2.gif", "View3.JP2", "view10.png"]
    text = order_of(found, (0.0, 90.0, 180.0, 270.5))
    assert text == "view1.ppm at 0°, view2.gif at 90°, View3.JP2 at 180°, view10.png at 270.5°"
    assert order_of(found[:2], ()) == "view1.ppm, view2.gif"
    assert order_of([found[0]] * 20, ()).count(",") == 7
    # A box is of one picture, and the browser is not opened for it.
    assert main(["reconstruct", str(tmp_path), "--pick", "--out", str(tmp_path / "o")]) == 2
    assert "is of one picture, and there are 4" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        pictures_of(tmp_path / "empty", ())


def _small():
    from threestudio_like import AssetOptions

    return AssetOptions(texture=128, turntable=False)


def _run(folder):
    from threestudio_like import RunOptions

    return RunOptions(out=folder, quiet=True)


def test_a_captioner_of_transformers_is_read_from_its_folder(tmp_path):
    """A tiny BLIP with weights of chance: its words are those of its own vocabulary."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "red", "chair"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "blip")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = {
        **sizes,
        "num_attention_heads": 2,
        "vocab_size": len(words),
        "encoder_hidden_size": 16,
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {**sizes, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision)
    ).save_pretrained(tmp_path / "blip")
    facts = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "blip" / "preprocessor_config.json").write_text(json.dumps(facts))
    said = describe_picture(str(tmp_path / "blip"), drawn("ring"))
    assert set(said.split()) <= {"a", "red", "chair", "[UNK]", "[MASK]", "[DEC]", "[ENC]"}
    assert said == describe_picture(str(tmp_path / "blip"), drawn("ring"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="captioner"):
        describe_picture(str(tmp_path / "empty"), drawn("ring"))
