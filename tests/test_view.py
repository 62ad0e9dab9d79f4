"""What the viewer is given: files, runs, mistakes in one line; its pages in a browser are in
test_viewer.py."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes.material import EncodedImage, Material, Sampler
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.page import mesh_page
from threestudio_like.reports import Report, write_report

SCENE = Path("assets/pictures/scene.png")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["view", "nowhere"], "no such file or folder"),
        (["view", "tests"], "is no run's folder"),
        (["view", "README.md"], "not a mesh format"),
        (["view", "assets/meshes/robot.glb", "a red ball", "a mug"], "takes one prompt"),
        (["compose", str(SCENE), "--pick", "--boxes", "1,2,30,40"], "given"),
        (["compose", "--pick", "--text", "a red ball on a blue box"], "wants a picture"),
        (["compose", "nowhere.png", "--pick"], "no such file"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def given(page: bytes) -> dict:
    """What the viewer of a page is given."""
    text = page.decode()
    begin = text.index(">", text.index('id="mesh"')) + 1
    return json.loads(text[begin : text.index("</script>", begin)])


def array(data: dict, number: int, kind: type) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(data["arrays"][number])), kind)


def test_the_viewer_is_given_parts_in_a_unit_sphere_with_their_materials():
    leaf = np.full((4, 4, 4), 128, np.uint8)
    file = EncodedImage(leaf, b"the file's own bytes", "image/webp")
    material = Material(
        colour=(0.5, 1.0, 0.25, 0.5),
        roughness=0.3,
        metallic=0.7,
        alpha_mode="MASK",
        alpha_cutoff=0.25,
        double_sided=True,
        normal_map=np.zeros((2, 2, 3), np.uint8),
        emission=(0.0, 2.0, 0.0),
        sampler=Sampler("clamp", "mirror", nearest=True),
        images=(file,),
    )
    uv = np.array([[0, 0], [1, 0], [0, 1], [2, 2]], np.float32)
    far = CORNERS * 1000 + np.float32([5e4, 0, -3e4])
    parts = {
        "leaf": Mesh(far, FACES, uv=uv, texture=leaf, material=material),
        "same": Mesh(far, FACES, uv=uv, texture=leaf, material=material),
        "bare": Mesh(far, FACES),
        "painted": Mesh(far, FACES, colours=np.full((4, 3), 0.5, np.float32)),
        "nothing": Mesh(far, FACES[:0]),
    }
    data = given(mesh_page("</script><b>", Asset(parts)))
    assert len(data["parts"]) == 4
    for part in data["parts"]:
        points = array(data, part["positions"], np.float32).reshape(-1, 3)
        faces = array(data, part["faces"], np.uint32).reshape(-1, 3)
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-4)
        shape = points[faces] * data["radius"] + far.min(0) + 500
        assert np.allclose(shape, far[FACES], atol=0.01)
        # Hard edges stay hard: every corner has the normal of its face.
        normals = array(data, part["normals"], np.int8).reshape(-1, 3)[faces] / 127
        flat = np.cross(shape[:, 1] - shape[:, 0], shape[:, 2] - shape[:, 0])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        assert np.abs(normals - flat[:, None]).max() < 0.01
    one, same, bare, painted = data["parts"]
    assert one["texture"] == same["texture"]
    assert len(data["pictures"]) == 2
    address = base64.b64encode(b"the file's own bytes").decode()
    assert data["pictures"][one["texture"]] == f"data:image/webp;base64,{address}"
    wanted = {
        "colour": [0.5, 1.0, 0.25, 0.5],
        "roughness": 0.3,
        "metallic": 0.7,
        "alphaMode": "MASK",
        "alphaCutoff": 0.25,
        "doubleSided": True,
        "emission": [0.0, 2.0, 0.0],
        "wrap": ["clamp", "mirror"],
        "nearest": True,
    }
    assert {k: one[k] for k in wanted} == wanted
    assert one["normalMap"] != one["texture"]
    assert "texture" not in bare
    assert "uv" not in bare
    assert set(array(data, painted["colours"], np.uint8).reshape(-1, 4)[0]) == {128, 255}
    assert b"<b>" not in mesh_page("</script><b>", Asset(parts))


def test_a_large_texture_is_averaged_down_and_a_dense_mesh_keeps_its_vertices():
    from io import BytesIO

    from PIL import Image

    from threestudio_like.meshes.page import data

    uv = np.zeros((4, 2), np.float32)
    large = np.full((1024, 4096, 3), 77, np.uint8)
    material = Material(images=(EncodedImage(large, b"large", "image/png"),))
    page = given(mesh_page("x", Asset({"a": Mesh(CORNERS, FACES, uv, large, material=material)})))
    with Image.open(BytesIO(base64.b64decode(page["pictures"][0].split(",")[1]))) as image:
        assert image.size == (2048, 512)
    grid = np.stack(np.meshgrid(*[np.arange(400.0)] * 2), -1).reshape(-1, 2)
    points = np.concatenate([grid, np.zeros((len(grid), 1))], 1).astype(np.float32)
    corner = (np.arange(399)[:, None] * 400 + np.arange(399)).reshape(-1)
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 400], 1),
            np.stack([corner + 1, corner + 401, corner + 400], 1),
        ]
    ).astype(np.int32)
    assert len(faces) > data.SHARP_FACES
    page = given(mesh_page("x", Asset({"a": Mesh(points, faces)})))
    part = page["parts"][0]
    assert len(array(page, part["positions"], np.float32)) == 3 * len(points)
    assert array(page, part["faces"], np.uint32).max() == len(points) - 1


def test_pages_fit_a_phone_and_ask_for_no_icon(tmp_path):
    write_report(
        tmp_path / "report.html",
        Report(
            title="a red chair",
            asset=Asset({"ball": Mesh(CORNERS, FACES)}),
            sheet=np.zeros((8, 8, 3), np.uint8),
            configuration="system: latent-nerf\n",
        ),
    )
    report = (tmp_path / "report.html").read_text()
    pages = {"report": report, "mesh": mesh_page("x", Asset({"b": Mesh(CORNERS, FACES)})).decode()}
    for name, page in pages.items():
        assert '<meta name="viewport" content="width=device-width' in page, name
        assert '<link rel="icon" href="data:,">' in page, name
        assert "<iframe" not in page, name
        assert '"iframe"' not in page, name
        assert not re.search(r"https?://(?!www\.w3\.org)", page), name
    assert "<pre>system: latent-nerf" in report
    folded = re.findall(r"<details>.*?</details>", report, re.S)
    assert any("<pre>system: latent-nerf" in one for one in folded)
    assert "<details open" not in report


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_scripts_are_scripts(tmp_path):
    page = mesh_page("x", Asset({"ball": Mesh(CORNERS, FACES)})).decode()
    path = tmp_path / "page.js"
    path.write_text(re.findall(r"<script>(.*?)</script>", page, re.S)[-1])
    done = subprocess.run(["node", "--check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
