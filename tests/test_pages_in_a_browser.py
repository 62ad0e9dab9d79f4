"""Pages in a browser, where the system has one: the asset is seen, inside of its canvas, nothing is
complained of, and it turns."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.page import mesh_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu-sandbox", "--enable-unsafe-swiftshader"),
    *("--use-angle=swiftshader", "--enable-logging=stderr", "--hide-scrollbars"),
    *("--force-prefers-reduced-motion", "--virtual-time-budget=3000", "--window-size=480,640"),
)
GROUND = (230, 228, 223)
"""What is behind an asset."""
TURNED = """<script>
const at = (x) => ({ pointerId: 1, clientX: x, clientY: 200 });
function turn() {
  const canvas = document.getElementById("view");
  if (!canvas.parentElement.dataset.shown) return setTimeout(turn, 50);
  canvas.setPointerCapture = () => {};
  canvas.dispatchEvent(new PointerEvent("pointerdown", at(100)));
  canvas.dispatchEvent(new PointerEvent("pointermove", at(220)));
  canvas.dispatchEvent(new PointerEvent("pointerup", at(220)));
}
turn();
</script>"""


def seen(folder: Path, page: bytes) -> np.ndarray:
    """The picture (H, W, 3) of a page of which the browser complains in no way."""
    (folder / "page.html").write_bytes(page)
    done = subprocess.run(
        [
            BROWSER,
            *OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
            f"--screenshot={folder / 'page.png'}",
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (folder / "page.png").is_file(), done.stderr[-2000:]
    assert not re.findall(r"CONSOLE.*", done.stderr)
    with Image.open(folder / "page.png") as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def canvas_of(picture: np.ndarray) -> np.ndarray:
    """The part of a picture that the canvas covers, its border left out."""
    ground = (np.abs(picture - np.array(GROUND)) <= 2).all(-1)
    rows, columns = np.flatnonzero(ground.mean(1) > 0.3), np.flatnonzero(ground.mean(0) > 0.2)
    return picture[rows[0] + 4 : rows[-1] - 4, columns[0] + 4 : columns[-1] - 4]


def object_in(canvas: np.ndarray) -> np.ndarray:
    """Where the asset is: what is neither the ground nor a shadow on it, which is grey too."""
    away = canvas - np.array(GROUND)
    return (np.abs(away) > 6).any(-1) & (np.ptp(away, axis=-1) > 6)


def box_at(middle: np.ndarray, size: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    colours = np.tile(np.float32([0.8, 0.15, 0.1]), (8, 1))
    return Mesh(
        (corners * size + middle).astype(np.float32), np.array(faces, np.int32), colours=colours
    )


CASES = {
    "a small part in millimetres, far from the origin": lambda: Asset(
        {"a": box_at(np.array([4000.0, -2500.0, 900.0]), 12.0)}
    ),
    "five hundred parts": lambda: Asset(
        {
            f"part {n}": box_at(np.array([n % 25, n // 25, (n * 7) % 11]) * 3.0, 1.0)
            for n in range(500)
        }
    ),
    "a tall one": lambda: Asset(
        {f"{n}": box_at(np.array([0.0, n, 0.0]) * 0.2, 0.1) for n in range(20)}
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_asset_of_any_size_is_seen_whole(tmp_path, case):
    canvas = canvas_of(seen(tmp_path, mesh_page("x", CASES[case]())))
    there = object_in(canvas)
    assert there.sum() > 0.01 * there.size
    edge = np.concatenate([there[:3].ravel(), there[-3:].ravel(), there[:, :3].ravel()])
    assert not np.concatenate([edge, there[:, -3:].ravel()]).any()
    # It fills one of both directions.
    rows, columns = there.any(1).mean(), there.any(0).mean()
    assert max(rows, columns) > 0.55


def test_an_asset_turns_and_lies_in_the_middle(tmp_path):
    page = mesh_page("robot.glb", read(Path("assets/meshes/robot.glb")))
    at_first = canvas_of(seen(tmp_path, page))
    turned = canvas_of(seen(tmp_path, page.replace(b"</body>", TURNED.encode() + b"</body>")))
    assert at_first.shape == turned.shape
    assert (np.abs(at_first - turned) > 20).any(-1).mean() > 0.02
