"""`compose --poses` and `export` as rigid bodies: files of poses, bad ones too, through the real
command line to a scene that stands and to what a solver reads."""

import json
import math
import xml.etree.ElementTree as Xml
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_standing import arch, box, sheet
from threestudio_like.cli import main
from threestudio_like.commands.jobs import export_physics
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset
from threestudio_like.meshes.mesh import Mesh, Node
from threestudio_like.meshes.physics import pieces as pieces_module
from threestudio_like.meshes.physics.simulation import SimulationConfig, simulated
from threestudio_like.meshes.transform import Transform
from threestudio_like.systems.scene.poses import read_poses

HALF = math.sqrt(0.5)


@pytest.fixture(autouse=True)
def without_coacd(monkeypatch):
    """The same pieces on every machine."""
    monkeypatch.setattr(pieces_module, "has_coacd", lambda: False)


def written(folder: Path, content) -> Path:
    path = folder / "poses.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def three_frames():
    """One scene in three conventions: ours, Z up in centimetres with w first, and a camera's axes
    (y down, z forward) as matrices; the rotation is a quarter turn about the vertical."""
    # A quarter turn about +Y, its place, its size.
    ours = {
        "objects": [{"translation": [1.0, 2.0, 3.0], "rotation": [0, HALF, 0, HALF], "scale": 0.5}]
    }
    yaw = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
    to_blender = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    from threestudio_like.meshes.transform import quaternion

    q = quaternion(to_blender @ yaw)
    blender = {
        "up": "z",
        "unit": "cm",
        "quaternion": "wxyz",
        "objects": [
            {
                "translation": [100.0, -300.0, 200.0],
                "rotation": [q[3], *q[:3]],
                "scale": 50.0,
            }
        ],
    }
    flip = np.diag([1.0, -1.0, -1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = flip @ yaw * 0.5
    matrix[:3, 3] = flip @ [1, 2, 3]
    opencv = {"up": "-y", "front": "-z", "objects": [{"matrix": matrix.tolist()}]}
    return [ours, blender, opencv, ours["objects"]]


@pytest.mark.parametrize("number", range(4))
def test_one_scene_in_several_conventions(tmp_path, number):
    found = read_poses(written(tmp_path, three_frames()[number])).objects[0].where
    np.testing.assert_allclose(found.translation, [1, 2, 3], atol=1e-9)
    assert found.scale == pytest.approx(0.5)
    wanted = 0.5 * np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    np.testing.assert_allclose(found.scale * found.linear, wanted, atol=1e-9)


def test_up_may_be_any_direction(tmp_path):
    """Poses in the frame of a camera that looks down by 30 degrees."""
    tilt = math.radians(30)
    up = [0.0, math.cos(tilt), math.sin(tilt)]
    poses = read_poses(written(tmp_path, {"up": up, "objects": [{"translation": up}]}))
    np.testing.assert_allclose(poses.objects[0].where.translation, [0, 1, 0], atol=1e-9)


def test_a_camera_follows_the_axes(tmp_path):
    """OpenCV's camera at a place of a Z-up world, looking along its +Y."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    matrix[:3, 3] = [0, -5, 1]
    camera = {"camera_to_world": matrix.tolist(), "fov_y": 40, "convention": "opencv"}
    found = read_poses(written(tmp_path, {"up": "z", "camera": camera, "objects": [{}]})).camera
    # Blender's -Y is our +Z: the camera stands in front and looks at -Z, upright.
    np.testing.assert_allclose(found.camera_to_world[:3, 3], [0, 1, 5], atol=1e-9)
    np.testing.assert_allclose(found.camera_to_world[:3, :3], np.eye(3), atol=1e-9)
    assert found.fov_y == pytest.approx(math.radians(40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ({}, 'no list "objects"'),
        ([], 'no list "objects"'),
        ({"objects": [3]}, "object 1: is no table"),
        ({"objects": [{}], "unti": "cm"}, 'a field "unti"'),
        ({"objects": [{"position": [0, 0, 0]}]}, 'Here it is "translation"'),
        ({"objects": [{"matrix_world": 3}]}, 'Here it is "matrix"'),
        # What the file itself does not have is not what it wants there.
        ({"objects": [{}], "position": 3}, "(?!.*Here it is)"),
        ({"objects": [{}], "camera": {"fov": 40}}, 'Here it is "fov_y"'),
        ({"objects": [{}], "unit": "parsec"}, "is no unit"),
        ({"objects": [{}], "unit": 0}, "above zero"),
        ({"objects": [{}], "up": "w"}, "is no axis"),
        ({"objects": [{}], "up": "y", "front": "-y"}, "on one line"),
        ({"objects": [{}], "up": [0, 0, 0]}, "no direction"),
        ({"objects": [{}], "quaternion": "xyz"}, "order of its four"),
        ({"objects": [{}], "floor": "low"}, '"floor" must be one finite'),
        ({"objects": [{"translation": [1, 2]}]}, '"translation" must be 3 finite'),
        ('{"objects": [{"translation": [1, 2, NaN]}]}', '"translation" must be 3 finite'),
        ({"objects": [{"translation": [1, 2, "3"]}]}, '"translation" must be 3 finite'),
        ({"objects": [{"translation": [1, 2, 1e300]}]}, '"translation" must be 3 finite'),
        ({"objects": [{"rotation": [0, 0, 0, 0]}]}, "no unit quaternion"),
        ({"objects": [{"rotation": [1, 1, 1, 1]}]}, "no unit quaternion"),
        ({"objects": [{"rotation": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}]}, "scales or shears"),
        ({"objects": [{"rotation": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}]}, "mirrors"),
        ({"objects": [{"scale": 0}]}, "above zero"),
        ({"objects": [{"scale": [1, -1, 1]}]}, "above zero"),
        ({"objects": [{"scale": True}]}, '"scale" must be one finite'),
        ({"objects": [{"matrix": np.eye(4).tolist(), "scale": 2}]}, 'has "matrix" and "scale"'),
        ({"objects": [{"matrix": np.diag([1, 1, 1, 2]).tolist()}]}, "last row"),
        ({"objects": [{"name": 3}]}, '"name" is no text'),
        ({"objects": [{}], "camera": {"fov_y": 40}}, 'no "camera_to_world"'),
        (
            {"objects": [{}], "camera": {"camera_to_world": np.eye(4).tolist(), "fov_y": 200}},
            "1 to 170",
        ),
    ],
)
def test_bad_poses_are_one_error(tmp_path, content, message):
    with pytest.raises(InputError, match="(?s)" + message.replace("[", r"\[")) as found:
        read_poses(written(tmp_path, content))
    assert "poses.json" in found.value.line()


def test_missing_and_odd_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_poses(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00glTF")
    with pytest.raises(InputError, match="is no JSON"):
        read_poses(tmp_path / "binary.json")


# The command


@pytest.fixture(scope="module")
def meshes(tmp_path_factory) -> Path:
    """A large box, and a small one, each about its own middle."""
    folder = tmp_path_factory.mktemp("meshes")
    Asset({"base": box((2, 1, 2))}).save(folder / "base.glb")
    Asset({"cube": box()}).save(folder / "cube.glb")
    return folder


def run(tmp_path, *arguments) -> int:
    line = ["compose", *map(str, arguments), "--out", str(tmp_path / "run"), "--quiet"]
    return main([*line, "--no-turntable"])


def test_poses_in_centimetres_come_back_settled_where_they_were(meshes, tmp_path):
    """A cube 8 cm above a base at (3, 0.5, 0) m: it comes down on it, the base stays, and the
    asset's world is that of the poses in metres."""
    poses = written(
        tmp_path,
        {
            "up": "z",
            "unit": "cm",
            "floor": 0,
            "objects": [
                {"translation": [300, 0, 50], "rotation": [HALF, 0, 0, HALF], "scale": 100},
                {
                    "translation": [310, 0, 133],
                    "rotation": [HALF, 0, 0, HALF],
                    "scale": [50, 50, 50],
                },
            ],
        },
    )
    before = poses.read_bytes()
    files = [meshes / "base.glb", meshes / "cube.glb"]
    assert run(tmp_path, "--objects", *files, "--poses", poses) == 0
    asset = Asset.load(tmp_path / "run" / "asset.glb")
    assert list(asset.nodes) == ["base", "cube"]
    points = asset.meshes["cube"].vertices
    np.testing.assert_allclose(points.min(0), [2.85, 1.0, -0.25], atol=2e-3)
    np.testing.assert_allclose(points.max(0), [3.35, 1.5, 0.25], atol=2e-3)
    np.testing.assert_allclose(asset.meshes["base"].vertices.min(0), [2, 0, -1], atol=2e-3)
    events = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    standing = next(e for e in map(json.loads, events) if e["event"] == "standing")
    assert standing["falls over"] == "nothing"
    assert standing["farthest moved"] == "cube"
    assert standing["farthest moved, share of size"] == pytest.approx(0.16, abs=0.01)
    assert poses.read_bytes() == before
    for name in ("preview.png", "report.html", "run.yaml"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_what_cannot_stand_is_a_warning_among_what_is_doubtful(tmp_path, capsys):
    """A prism whose top lies far beside its foot falls over wherever it is put."""
    leaning = box((0.4, 2, 0.4))
    points = leaning.vertices.copy()
    points[points[:, 1] > points[:, 1].mean(), 0] += 3.0
    Asset({"leaning": Mesh(points, leaning.faces)}).save(tmp_path / "leaning.glb")
    poses = written(tmp_path, [{"translation": [0, 1, 0]}])
    words = ("--objects", tmp_path / "leaning.glb", "--poses", poses)
    assert (
        main(["compose", *map(str, words), "--out", str(tmp_path / "run"), "--no-turntable"]) == 0
    )
    out = capsys.readouterr()
    lost = next(line for line in (out.out + out.err).splitlines() if line.startswith("Lost"))
    assert "no warnings" not in lost
    assert "falls over" in out.out + out.err
    events = [json.loads(e) for e in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert any("leaning: falls over" in str(e) for e in events if e["event"] == "warning")


def test_without_the_last_step_nothing_moves(meshes, tmp_path):
    """Files that the poses name, axes scaled differently, and nodes named after the prompt."""
    rows = [
        {"file": "cube.glb", "translation": [0, 3.0, 0], "scale": [0.5, 1.0, 0.5]},
        {"file": "base.glb", "translation": [0, 0.5, 0]},
    ]
    poses = meshes / "free.json"
    poses.write_text(json.dumps(rows))
    prompt = ["", "a red box on a blue table"]
    assert run(tmp_path, *prompt, "--poses", poses, "--place.stand", "false") == 0
    asset = Asset.load(tmp_path / "run" / "asset.glb")
    assert list(asset.nodes) == ["red_box", "blue_table"]
    points = asset.meshes["red_box"].vertices
    np.testing.assert_allclose(np.ptp(points, 0), [0.5, 1, 0.5], atol=1e-3)
    assert points[:, 1].min() == pytest.approx(2.5, abs=1e-3)
    events = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    figures = next(e for e in map(json.loads, events) if e["event"] == "asset")
    assert figures["said: a red box on a blue table"] == "does not hold"


def test_a_picture_moves_what_poses_say_wrong(meshes, tmp_path):
    """The picture shows the cube beside the base; the poses have it a little aside, and the picture
    brings it back."""
    from tests.test_compose import camera
    from threestudio_like.renderers import SceneRenderer
    from threestudio_like.representations import Body, PlacedScene
    from threestudio_like.systems.scene.placement import scene_pictures

    view = camera(96, 20.0)
    where = [
        Transform(0.35, translation=np.array([-0.3, -0.175, 0.0])),
        Transform(0.3, translation=np.array([0.45, -0.2, 0.0])),
    ]
    bodies = [Body({"m": box((2, 1, 2))}), Body({"m": box()})]
    frame = view.camera_to_world[0]
    scene = PlacedScene(bodies, ["base", "cube"], where, camera_to_world=frame)
    drawn = scene_pictures(scene, SceneRenderer(), view)[0]
    mask = (np.abs(drawn - 0.96).max(-1) > 0.01).astype(np.float32)
    picture = np.concatenate([drawn, mask[..., None]], -1)
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(tmp_path / "scene.png")
    rows = [{"translation": t.translation.tolist(), "scale": t.scale} for t in where]
    rows[1]["translation"][0] += 0.12
    content = {
        "picture": "scene.png",
        "camera": {
            "camera_to_world": frame.double().numpy().tolist(),
            "fov_y": math.degrees(float(view.fov_y[0])),
        },
        "objects": rows,
    }
    poses = written(tmp_path, content)
    files = [meshes / "base.glb", meshes / "cube.glb"]
    assert run(tmp_path, "--objects", *files, "--poses", poses, "--steps", "60") == 0
    events = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    figures = next(e for e in map(json.loads, events) if e["event"] == "asset")
    assert figures["reference: IoU of all"] > figures["reference: IoU of all, first"] + 0.02
    asset = Asset.load(tmp_path / "run" / "asset.glb")
    middle = asset.meshes["cube"].vertices.mean(0)
    assert abs(middle[0] - 0.45) < 0.06


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--objects", "CUBE", "--poses", "TWO"], "gives 1 meshes for 2 poses"),
        (["--poses", "TWO"], "says no file of object 1"),
        (["--objects", "CUBE", "none.glb", "--poses", "TWO"], "no such file"),
        (["--objects", "CUBE", "CUBE", "--poses", "none.json"], "no such file"),
        (["--poses", "OUTSIDE"], "outside of its folder"),
        (["--poses", "MISSING"], "no such file"),
        (["--poses", "TWO", "--text", "a ball on a box"], "--text: goes without --poses"),
        (["--poses", "TWO", "--boxes", "0,0,9,9"], "--boxes: goes without --poses"),
        (["--poses", "TWO", "--fov", "40"], "--fov: goes without --poses"),
        (["--poses", "TWO", "--masks", "folder"], "there is none"),
        (["x.png", "--objects", "CUBE", "CUBE", "--poses", "TWO"], "a picture and no camera"),
        (["", "a ball", "--objects", "CUBE", "CUBE", "--poses", "TWO"], "names 1 objects"),
    ],
)
def test_bad_input_of_poses_is_one_line(change, message, meshes, tmp_path, capsys):
    for name, rows in (
        ("TWO", [{}, {}]),
        ("OUTSIDE", [{"file": "../cube.glb"}]),
        ("MISSING", [{"file": "nowhere.glb"}]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    names = {"CUBE": str(meshes / "cube.glb")}
    words = [
        str(tmp_path / f"{a}.json") if a in ("TWO", "OUTSIDE", "MISSING") else names.get(a, a)
        for a in change
    ]
    assert run(tmp_path, *words) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


# Rigid bodies


def scene() -> Asset:
    """A base of 2 × 1 × 2 and a cube of half a unit upon it, turned by 30 degrees."""
    turn = Transform.turn(math.radians(30), 0.5, np.array([0.2, 1.25, -0.1]))
    return Asset.scene(
        {
            "base": Node({"m": box((2, 1, 2))}, Transform(translation=np.array([0, 0.5, 0]))),
            "red cube": Node({"m": box()}, turn),
        }
    )


def test_masses_are_volume_times_density_in_metres():
    config = SimulationConfig(metres=0.1, density=500, densities={"red cube": 2000})
    base, cube = simulated(scene(), config).bodies
    assert base.mass == pytest.approx(4 * 0.1**3 * 500, rel=1e-4)
    assert cube.mass == pytest.approx(0.05**3 * 2000, rel=1e-4)
    moment = cube.mass * 0.05**2 / 6
    np.testing.assert_allclose(cube.inertia, np.eye(3) * moment, atol=1e-4 * moment)
    np.testing.assert_allclose(cube.where.translation, [0.02, 0.125, -0.01], atol=1e-9)
    assert cube.where.scale == 1.0
    assert np.ptp(cube.pieces[0].vertices) == pytest.approx(0.05, rel=1e-4)


def test_what_will_move_is_told_before():
    """In the air, open, hollow, over the edge: a line each; what stands has none."""
    assert simulated(scene()).told == []
    asset = scene()
    asset.nodes["red cube"].transform.translation[1] += 0.2
    told = simulated(asset).told
    assert len(told) == 1
    assert "--settle" in told[0]
    assert "red cube by 40" in told[0]
    settled = simulated(asset, SimulationConfig(settle=True))
    assert settled.bodies[1].where.translation[1] == pytest.approx(1.25, abs=1e-3)
    opened = Mesh(box().vertices, box().faces[:-2])
    lines = simulated(Asset({"lid": sheet(), "u": arch(), "bag": opened})).told
    assert any("lid" in t and "flat" in t for t in lines)
    assert any(t.startswith("u: a part that is not convex") for t in lines)
    assert any("bag: its surface is open" in t for t in lines)


def test_mjcf_is_what_the_scene_says(tmp_path, capsys):
    """Z up, metres, quaternions with w first, pieces and looks; every file is named in the XML."""
    scene().save(tmp_path / "scene.glb")
    words = "--to mjcf --extent 20cm --density 400 --friction 0.5 --pieces hull"
    assert main(["export", str(tmp_path / "scene.glb"), *words.split()]) == 0
    said = capsys.readouterr().err
    assert "2 rigid bodies of 2 convex pieces" in said
    root = Xml.parse(tmp_path / "scene.xml").getroot()
    bodies = {b.get("name"): b for b in root.iter("body")}
    assert set(bodies) == {"base", "red cube"}
    cube = bodies["red cube"]
    np.testing.assert_allclose(
        [float(v) for v in cube.get("pos").split()], [0.02, 0.01, 0.125], atol=1e-6
    )
    w, x, y, z = (float(v) for v in cube.get("quat").split())
    # A turn about the vertical after the one that brings +Y up to +Z.
    wanted = [math.cos(math.pi / 12), 0, 0, math.sin(math.pi / 12)]
    from threestudio_like.meshes.transform import multiply

    full = multiply(np.array([*wanted[1:], wanted[0]]), np.array([HALF, 0, 0, HALF]))
    assert abs(full @ [x, y, z, w]) == pytest.approx(1.0, abs=1e-6)
    assert float(cube.find("inertial").get("mass")) == pytest.approx(0.05**3 * 400, rel=1e-4)
    floor = next(g for g in root.iter("geom") if g.get("name") == "floor")
    assert [float(v) for v in floor.get("pos").split()] == pytest.approx([0, 0, 0], abs=1e-6)
    assert root.find("default/geom").get("friction").split()[0] == "0.5"
    for element in root.iter():
        if element.get("file"):
            assert (tmp_path / element.get("file")).stat().st_size > 0
    pieces = [m for m in root.iter("mesh") if m.get("vertex")]
    assert sorted(len(m.get("vertex").split()) for m in pieces) == [24, 24]


def test_a_file_of_the_same_format_with_bodies_is_another_one(tmp_path, monkeypatch, capsys):
    """USD holds both, and is an extra: here GLB stands for it."""
    monkeypatch.setattr(export_physics, "WITH_PHYSICS", ("glb",))
    path = tmp_path / "scene.glb"
    scene().save(path)
    before = path.read_bytes()
    assert main(["export", str(path), "--to", "glb", "--physics", "--pieces", "hull"]) == 0
    told = capsys.readouterr()
    assert "2 rigid bodies" in told.err
    assert told.out.strip() == str(tmp_path / "scene-export.glb")
    assert (tmp_path / "scene-export.glb").is_file()
    assert path.read_bytes() == before
    # Without bodies it is the file itself.
    assert main(["export", str(path), "--to", "glb"]) == 0
    assert capsys.readouterr().out.strip() == str(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--to glb --physics", "no format that is written here holds them"),
        ("--to stl --density 500", "--density: is about rigid bodies"),
        ("--to usdz --settle", "--settle: is about rigid bodies"),
        ("--to mjcf --density heavy", "is no density"),
        ("--to mjcf --density 0", "is no density"),
        ("--to mjcf --density blue=5", 'no object "blue"'),
        ("--to mjcf --friction -1", "from 0 to 10"),
        ("--to mjcf --friction nan", "must be a finite number"),
        ("--to mjcf --pieces vhacd", "no way to make convex pieces"),
        ("--to mjcf --pieces coacd", "CoACD is not installed"),
        ("--to mjcf --extent long", "is no length"),
        ("--to mjcf --verify", "cannot be read back"),
    ],
)
def test_bad_options_of_bodies_are_one_line(tmp_path, capsys, words, message):
    scene().save(tmp_path / "scene.glb")
    assert main(["export", str(tmp_path / "scene.glb"), *words.split()]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert {p.name for p in tmp_path.iterdir()} == {"scene.glb"}


def corners_moved(path: Path, seconds: float = 2.0) -> np.ndarray:
    """How far the middles of bodies moved in the solver, metres."""
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    first = data.xpos.copy()
    while data.time < seconds:
        mujoco.mj_step(model, data)
    return np.linalg.norm(data.xpos - first, axis=1)[1:]


@pytest.mark.parametrize("extent", ["2cm", "2m"])
def test_a_settled_scene_stands_in_the_solver(tmp_path, extent):
    """From a start in the air, small or large: less than 1 % of its size; as it was, it falls."""
    pytest.importorskip("mujoco")
    asset = scene()
    for node in asset.nodes.values():
        node.transform.translation[1] += 0.3
    asset.nodes["red cube"].transform.translation[1] += 0.2
    Asset.scene(asset.nodes).save(tmp_path / "scene.glb")
    line = ["export", str(tmp_path / "scene.glb"), "--to", "mjcf", "--extent", extent]
    size = 0.5 * (0.01 if extent == "2cm" else 1.0)
    assert main([*line, "--force"]) == 0
    assert corners_moved(tmp_path / "scene.xml")[1] > 0.1 * size
    assert main([*line, "--settle", "--force"]) == 0
    assert corners_moved(tmp_path / "scene.xml").max() < 0.01 * size
