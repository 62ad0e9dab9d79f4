"""Animations, tables and textures of a glTF file that break its rules are written as ones that keep
them, and what that changes is told; the rules are looked at without the package."""

from collections.abc import Callable

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.gltf.compare import differences, row_counts, unexpected
from threestudio_like.meshes.io.gltf.patch import patch
from threestudio_like.meshes.io.gltf.write import glb_bytes

from .gltf_files import RED, WHITE, Glb, add_morph, add_rig, box, cart, checks, gltf_of, table_of
from .gltf_rules import broken_rules

NAN, INF = float("nan"), float("inf")
STILL = [0.0, 0.0, 0.0, 1.0]
PLACE = [1, 0, 0, 0, 0, 0, -2, 0, 0, 3, 0, 0, 5, 6, 7, 1]
SHEAR = [1, 0, 0, 0, 0.5, 1, 0, 0, 0, 0, 2, 0, 5, 0, 0, 1]
COUNT = len(box()["position"])


def animate(glb: Glb, times, values=None, path="rotation", node=1, kind="<f4", **sampler) -> None:
    """Another animation, "spin", of one channel."""
    times = np.asarray(times)
    values = np.tile(np.float32(STILL), (len(times), 1)) if values is None else values
    finite = times[np.isfinite(times)]
    bounds = {"min": [float(finite.min())], "max": [float(finite.max())]} if len(finite) else {}
    row = {"input": glb.accessor(times.astype(kind), kind, **bounds)}
    row["output"] = values if isinstance(values, int) else glb.accessor(values)
    channel = {"sampler": 0, "target": {"node": node, "path": path}}
    glb.add("animations", {"name": "spin", "samplers": [row | sampler], "channels": [channel]})


def _spin(*words, **more) -> Callable[[Glb], None]:
    return lambda glb: animate(glb, *words, **more)


def _channel(**more) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        animate(glb, [0.0, 1.0])
        animate(glb, [0.0, 1.0], node=2)
        animation = glb.document["animations"][0]
        animation["channels"].append({**animation["channels"][0], **more})

    return change


def _matrix(values: list[float], path: str = "translation") -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        node = glb.document["nodes"][1]
        node["matrix"] = values
        del node["translation"]
        animate(glb, [0.0, 1.0], np.ones((2, 3)), path=path)

    return change


def _pointer(glb: Glb) -> None:
    _matrix(PLACE)(glb)
    pointer = {"KHR_animation_pointer": {"pointer": "/nodes/1/translation"}}
    target = {"path": "pointer", "extensions": pointer}
    glb.document["animations"][0]["channels"][0]["target"] = target
    glb.use("KHR_animation_pointer")


def _shared_times(glb: Glb) -> None:
    """Two samplers of one table of times; of one a key frame is lost."""
    animate(glb, [0.0, 1.0, 1.0], np.float32([STILL, [NAN] * 4, STILL]))
    animation = glb.document["animations"][0]
    output = glb.accessor(np.float32([[0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    animation["samplers"].append({"input": animation["samplers"][0]["input"], "output": output})
    target = {"node": 1, "path": "translation"}
    animation["channels"].append({"sampler": 1, "target": target})


def _loose_sampler(glb: Glb) -> None:
    animate(glb, [0.0, 1.0])
    animate(glb, [NAN, NAN, 2.0])
    bad = glb.document["animations"].pop()["samplers"][0]
    bad["output"] = glb.accessor([NAN, NAN, NAN])
    glb.document["animations"][0]["samplers"].insert(0, bad)
    glb.document["animations"][0]["channels"][0]["sampler"] = 1


def _weights(glb: Glb) -> None:
    add_morph(glb, 0.5)
    animate(glb, [0.0, 2.0, 1.0], [0.0, 0.5, 1.0], path="weights", node=3)


def _shear_morph(glb: Glb) -> None:
    """A mesh whose node shears goes to a node below, and what moves its targets with it."""
    add_morph(glb, 0.5)
    glb.document["nodes"][3]["matrix"] = SHEAR
    del glb.document["nodes"][3]["translation"]
    animate(glb, [0.0, 1.0], [0.0, 1.0], path="weights", node=3)


def _loose(key: str, values: np.ndarray) -> Callable[[Glb], None]:
    """Further vertices of the body that no face uses."""

    def change(glb: Glb) -> None:
        shape = {"POSITION": "position", "NORMAL": "normal", "TEXCOORD_0": "uv"}
        attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
        for name, own in shape.items():
            table = box((2, 0.6, 1))[own]
            more = np.tile(table[:1], (len(values), 1)) if name != key else np.float32(values)
            attributes[name] = glb.accessor(np.concatenate([table, more]))
        low, high = [-1, -0.3, -0.5], [1, 0.3, 0.5]
        glb.document["accessors"][attributes["POSITION"]] |= {"min": low, "max": high}

    return change


def _bent_bones(glb: Glb) -> None:
    add_rig(glb)
    matrices = np.tile(np.eye(4).reshape(-1), (2, 1))
    matrices[1, 5] = NAN
    glb.document["skins"][0]["inverseBindMatrices"] = glb.accessor(matrices)


def _nobody(glb: Glb) -> None:
    glb.accessor(np.float32([[NAN, 0, INF]]), name="spare")


def _lines(glb: Glb) -> None:
    points = np.float32([[0, 0, 0], [0, NAN, 0], [1, 2, 0]])
    row = {"attributes": {"POSITION": glb.accessor(points)}, "mode": 3}
    glb.document["meshes"][1]["primitives"].append(row)


def _hidden(glb: Glb) -> None:
    shape = box()
    points = shape["position"].copy()
    points[3] = NAN
    row = {"attributes": {"POSITION": glb.accessor(points)}}
    row["indices"] = glb.accessor(shape["faces"].reshape(-1), "<u2")
    mesh = glb.add("meshes", {"name": "ghost", "primitives": [row]})
    hidden = {"KHR_node_visibility": {"visible": False}}
    node = glb.add("nodes", {"name": "ghost", "mesh": mesh, "extensions": hidden})
    glb.document["scenes"][0]["nodes"].append(node)
    glb.use("KHR_node_visibility")


def _webp(glb: Glb) -> None:
    glb.document["textures"][0]["source"] = glb.image(checks(RED, WHITE), "WEBP")
    glb.document["images"].pop(0)
    glb.document["textures"][0]["source"] = 0


def _no_webp(glb: Glb) -> None:
    texture = glb.document["textures"][0]
    texture["extensions"] = {"EXT_texture_webp": {"source": texture.pop("source")}}
    glb.use("EXT_texture_webp")


ORDER = "key frames that do not follow each other in time are put in order (spin)"
FINITE = "key frames that are not finite are left out (spin)"
CUT = "movements with more times than values, or fewer, are cut off (spin)"
READ = "movements that cannot be read are left out (spin)"
GONE = "movements of what is not there are left out (spin)"
SHEARS = "movements of nodes whose matrix shears are left out (front wheel)"
NOWHERE = "vertices that stand nowhere are put where another is "

BREACHES: dict[str, tuple[Callable[[Glb], None], list[str]]] = {
    "times that fall": (_spin([0.0, 2.0, 1.0, 3.0]), [ORDER]),
    "times twice": (_spin([0.0, 1.0, 1.0, 1.0, 2.0]), [ORDER]),
    "times twice, late": (_spin([1e5, 1e5, 1e5]), [ORDER]),
    "times before 0": (
        _spin([-1.0, 0.0, 1.0]),
        ["animations that begin before 0 are moved to begin there (spin)"],
    ),
    "times that are none": (_spin([0.0, NAN, 2.0, INF]), [FINITE]),
    "no time at all": (_spin([NAN, NAN, INF]), [READ]),
    "values that are none": (_spin([0, 1.0], np.float32([STILL, [NAN] * 4])), [FINITE]),
    "fewer values": (_spin([0, 1.0, 2.0], np.float32([STILL] * 2)), [CUT]),
    "more values": (_spin([0, 1.0], np.float32([STILL] * 3)), [CUT]),
    "values of another kind": (_spin([0, 1.0], np.ones((2, 3))), [READ]),
    "times in whole numbers": (_spin([0, 1], kind="<u2"), []),
    "a spline of one": (_spin([1.0], [STILL] * 3, interpolation="CUBICSPLINE"), []),
    "a spline that falls": (
        _spin([1.0, 0.0], [STILL] * 6, interpolation="CUBICSPLINE"),
        [ORDER],
    ),
    "weights that fall": (_weights, [ORDER]),
    "times of two": (_shared_times, [FINITE, ORDER]),
    "a sampler that nothing reads": (_loose_sampler, []),
    "a node that is not there": (_spin([0, 1.0], node=99), [GONE]),
    "targets that are not there": (_spin([0, 1.0], [0.0, 1.0], path="weights"), [GONE]),
    "a sampler that is not there": (_channel(sampler=7), [READ]),
    "the same twice": (_channel(), ["of several movements of the same the first is kept (spin)"]),
    "an empty one": (lambda glb: glb.add("animations", {"samplers": [], "channels": []}), []),
    "a matrix": (_matrix(PLACE), []),
    "a matrix that mirrors": (_matrix([-1, *PLACE[1:]]), []),
    "a matrix and a pointer": (_pointer, []),
    "a matrix that shears": (_matrix(SHEAR), [SHEARS]),
    "a matrix that shears, of targets": (_shear_morph, []),
    "places that are none": (_loose("POSITION", [[NAN, 0, 0], [0, INF, 0]]), [NOWHERE + "(body)"]),
    "coordinates that are none": (_loose("TEXCOORD_0", [[NAN, 0]]), [NOWHERE + "(body)"]),
    "normals that are none": (
        _loose("NORMAL", [[NAN, 0, 0]]),
        ["normals without a direction are those of the faces (body)"],
    ),
    "lines to nowhere": (_lines, [NOWHERE + "(load)"]),
    "a hidden part": (_hidden, [NOWHERE + "(ghost)"]),
    "rest poses that are none": (
        _bent_bones,
        ["joints whose rest pose is no number rest at the origin (rig)"],
    ),
    "a table that nothing uses": (_nobody, ["numbers that are not finite are 0 (spare)"]),
    "WebP without its extension": (_webp, []),
    "PNG in the place of WebP": (_no_webp, []),
}
CALLS = {"convert": [], "clean": ["--weld", "0.001"], "decimate": ["--faces", "24"]}


def broken(name: str) -> bytes:
    """The cart with one breach of a rule."""
    glb = cart()
    BREACHES[name][0](glb)
    return glb.data()


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("name", list(BREACHES))
def test_what_is_written_keeps_the_rules(tmp_path, capsys, name, call):
    given = broken(name)
    assert broken_rules(given) != []
    (tmp_path / "in.glb").write_bytes(given)
    out = tmp_path / "out.glb"
    words = [str(tmp_path / "in.glb"), "--out", str(out), *CALLS[call]]
    assert main(["mesh", call, *words]) == 0
    assert broken_rules(out.read_bytes()) == []
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Note: ")]
    told = BREACHES[name][1]
    assert sorted(notes) == sorted(f"Note: {line}." for line in told)


@pytest.mark.parametrize("name", list(BREACHES))
def test_mending_changes_nothing_else(tmp_path, name):
    given = broken(name)
    (tmp_path / "in.glb").write_bytes(given)
    asset = Asset.load(tmp_path / "in.glb")
    patched = patch(asset, asset.source)
    data = glb_bytes(patched.document, patched.binary)
    assert unexpected(differences(given, data), patched.changed, row_counts(given)) == []
    (tmp_path / "out.glb").write_bytes(data)
    again = Asset.load(tmp_path / "out.glb")
    assert again.notes == []
    for part, mesh in asset.meshes.items():
        other = again.meshes[part]
        for key in ("vertices", "faces", "uv", "normals", "texture"):
            one, two = getattr(mesh, key), getattr(other, key)
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_allclose(one, two, atol=1e-5)
    # What was mended stays so.
    assert patch(again, again.source).changed == []


def mended(tmp_path, change: Callable[[Glb], None]) -> tuple[dict, list]:
    """The document that is written of the changed cart; times and values of its samplers."""
    glb = cart()
    change(glb)
    (tmp_path / "in.glb").write_bytes(glb.data())
    data = Asset.load(tmp_path / "in.glb").save(tmp_path / "out.glb", force=True).read_bytes()
    document, _ = gltf_of(data)
    samplers = [s for a in document["animations"] for s in a["samplers"]]
    return document, [
        (table_of(data, s["input"])[:, 0], table_of(data, s["output"])) for s in samplers
    ]


def test_key_frames_are_what_they_meant(tmp_path):
    rows = np.float32([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    for times, expected, order in (
        ([0.0, 2.0, 1.0, 3.0], [0, 1, 2, 3], [0, 2, 1, 3]),
        # A jump stays one.
        ([0.0, 1.0, 1.0, 2.0], [0, 1, 1.0001, 2], [0, 1, 2, 3]),
        ([1.0, 1.0, 1.00002, 2.0], [1, 1.00001, 1.00002, 2], [0, 1, 2, 3]),
        ([-2.0, -1.0, 0.0, 1.0], [0, 1, 2, 3], [0, 1, 2, 3]),
        ([0.0, NAN, 1.0, INF], [0, 1], [0, 2]),
    ):
        _, [(found, values)] = mended(tmp_path, _spin(times, rows, path="translation"))
        np.testing.assert_allclose(found, expected, atol=2e-7)
        np.testing.assert_array_equal(values, rows[order])


def test_splines_keep_their_tangents(tmp_path):
    rows = np.arange(27, dtype=np.float32).reshape(9, 3)
    change = _spin([2.0, 0.0, 1.0], rows, path="scale", interpolation="CUBICSPLINE")
    _, [(_, values)] = mended(tmp_path, change)
    np.testing.assert_array_equal(values.reshape(3, 3, 3), rows.reshape(3, 3, 3)[[1, 2, 0]])
    change = _spin([2.0], rows[:3], path="scale", interpolation="CUBICSPLINE")
    document, [(times, values)] = mended(tmp_path, change)
    assert "interpolation" not in document["animations"][0]["samplers"][0]
    np.testing.assert_array_equal(values, rows[1:2])
    assert times.tolist() == [2.0]


def test_a_node_that_is_moved_stands_where_its_matrix_put_it(tmp_path):
    for values in (PLACE, [-1, *PLACE[1:]]):
        document, _ = mended(tmp_path, _matrix(values))
        node = document["nodes"][1]
        assert "matrix" not in node
        x, y, z, w = node["rotation"]
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        expected = np.array(values, float).reshape(4, 4).T
        np.testing.assert_allclose(turn * node["scale"], expected[:3, :3], atol=1e-9)
        np.testing.assert_allclose(node["translation"], expected[:3, 3])


def test_channels_follow_the_mesh_of_a_node_that_shears(tmp_path):
    document, _ = mended(tmp_path, _shear_morph)
    [channel] = document["animations"][0]["channels"]
    assert document["nodes"][channel["target"]["node"]]["mesh"] == 0
    assert channel["target"]["path"] == "weights"
