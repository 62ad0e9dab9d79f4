"""The viewer, report pages and the docs site in Debian's chromium, driven by playwright: nothing is
complained of or fetched from elsewhere, the model is seen whole, it turns, boxes are boxes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.reports import Report, mesh_page, write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (extra dev)")
pytest.importorskip("viser", reason="no viser: pip install '.[viewer]'")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium: apt-get install chromium")
OPTIONS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
GROUND = (238, 236, 231)
KEEP = os.environ.get("THREESTUDIO_LIKE_SCREENSHOTS", "")
"""A folder in which the pictures stay, to be looked at."""
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield made
        made.close()


@pytest.fixture
def tab(browser):
    """A page whose complaints, dialogs and addresses are kept."""
    page = browser.new_page(viewport={"width": 760, "height": 520}, reduced_motion="reduce")
    page.complaints, page.addresses = [], []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda box: (page.complaints.append(box.message), box.dismiss()))
    page.on("request", lambda request: page.addresses.append(request.url))
    yield page
    page.close()
    assert page.complaints == []
    outside = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
    assert [a for a in page.addresses if not a.startswith(outside)] == []


def picture(page, name: str = "") -> np.ndarray:
    """What is seen, (H, W, 3)."""
    # On a busy machine a picture drawn without a graphics card takes its time.
    data = page.screenshot(timeout=180_000)
    if KEEP and name:
        Path(KEEP).mkdir(parents=True, exist_ok=True)
        (Path(KEEP) / f"{name}.png").write_bytes(data)
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def object_in(seen: np.ndarray) -> np.ndarray:
    """Where the model is: what is not the ground, in the part that no panel covers."""
    free = np.abs(seen - np.array(GROUND)).max(-1) > 12
    # viser's notice about drawing without a graphics card; its height is that of its lines.
    free[:190, :330] = False
    free[:, seen.shape[1] - 335 :] = False
    return free


def settled(
    page, name: str = "", least: float = 0.01, seconds: float = 40.0, where=object_in
) -> np.ndarray:
    """The picture when the model is there (`where` finds it) and no longer changes."""
    last = picture(page)
    for _ in range(int(seconds / 0.7)):
        page.wait_for_timeout(700)
        now = picture(page, name)
        ground = np.abs(now[-40:, :40] - np.array(GROUND)).max() < 6
        if ground and where(now).mean() > least and np.abs(now - last).max() < 8:
            return now
        last = now
    raise AssertionError("the model was not seen")


def soon(page, condition, seconds: float = 40.0) -> None:
    """Wait until a condition holds, while the page goes on."""
    for _ in range(int(seconds / 0.2)):
        if condition():
            return
        page.wait_for_timeout(200)
    raise AssertionError("it did not come about")


def box_at(middle: tuple[float, float, float], size: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return Mesh(corners * np.float32(size) + np.float32(middle), np.array(faces, np.int32))


def saved(asset: Asset, path: Path) -> Path:
    asset.save(path)
    return path


def cloud(path: Path) -> Path:
    points = np.random.default_rng(0).normal(size=(3000, 3))
    points *= 70 / np.linalg.norm(points, axis=1, keepdims=True)
    rows = "\n".join(" ".join(f"{v:.3f}" for v in p) + " 200 40 30" for p in points)
    names = "".join(f"property float {n}\n" for n in "xyz")
    names += "".join(f"property uchar {n}\n" for n in ("red", "green", "blue"))
    head = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    path.write_text(head + rows + "\n")
    return path


FIVE_HUNDRED = {f"part {n}": box_at((n % 25, n // 25, (n * 7) % 11), 0.4) for n in range(500)}
CASES = {
    "chair": lambda folder: saved(read(Path("assets/shapes/stool.obj")), folder / "chair.glb"),
    "robot": lambda folder: Path("assets/meshes/robot.glb"),
    "millimetres": lambda folder: saved(
        Asset({"a": box_at((4000.0, -2500.0, 900.0), 12.0)}), folder / "part.stl"
    ),
    "parts": lambda folder: saved(Asset(FIVE_HUNDRED), folder / "parts.glb"),
    "untextured": lambda folder: saved(Asset({"a": box_at((0, 0, 0), 1e-4)}), folder / "a.obj"),
    "points": lambda folder: cloud(folder / "cloud.ply"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_seen_whole_and_turns(tab, tmp_path, case):
    from threestudio_like.reports.viewer import file_viewer

    server = file_viewer(CASES[case](tmp_path))
    try:
        tab.goto(server.address)
        seen = settled(tab, f"viewer-{case}")
        there = object_in(seen)
        rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
        assert rows[0] > 5
        assert rows[-1] < there.shape[0] - 6
        assert columns[0] > 5
        assert np.ptp(rows) > 0.35 * there.shape[0]
        tab.mouse.move(300, 420)
        tab.mouse.down()
        tab.mouse.move(420, 440, steps=4)
        tab.mouse.up()
        turned = settled(tab)
        assert (np.abs(turned - seen).max(-1) > 20).mean() > 0.01
    finally:
        server.close()


def test_names_of_files_and_folders_run_no_script(tab, tmp_path):
    from threestudio_like.reports.viewer import LockPainter, RunsViewer, file_viewer

    name = "<img src=x onerror=alert(1)>"
    path = saved(Asset({name: box_at((0, 0, 0), 1.0)}), tmp_path / f"{name}.glb")
    runs = [tmp_path / f"{name} {k}" for k in "ab"]
    for run in runs:
        run_folder(run)
    mapped = read(Path("assets/meshes/robot.glb"))
    for made in (file_viewer(path), LockPainter(mapped, path.name), RunsViewer(runs)):
        try:
            tab.goto((made.server if isinstance(made, RunsViewer) else made).address)
            tab.get_by_text(name).first.wait_for(timeout=30000)
            tab.wait_for_timeout(300)
            assert tab.complaints == []
        finally:
            made.close()


def middle_of_a_phone(seen: np.ndarray) -> np.ndarray:
    """Where the model is between the notice above and the panel below."""
    return np.abs(seen[180:600] - np.array(GROUND)).max(-1) > 12


def test_a_phone_shows_it_without_sideways_scroll(browser):
    from threestudio_like.reports.viewer import file_viewer

    server = file_viewer(Path("assets/meshes/robot.glb"))
    page = browser.new_page(viewport={"width": 390, "height": 800}, reduced_motion="reduce")
    try:
        page.goto(server.address)

        # Until it is connected, the panel of a phone is taller and the camera is another one.
        def whole() -> bool:
            middle = middle_of_a_phone(picture(page, "viewer-phone"))
            return middle.mean() > 0.05 and not middle[:, :4].any() and not middle[:, -4:].any()

        soon(page, whole, 90)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.close()
        server.close()


def run_folder(folder: Path) -> Path:
    """A run that goes on, with two snapshots, by somebody who means no good."""
    history = folder / "work" / "history"
    history.mkdir(parents=True)
    begin = {"t": 0.0, "event": "begin", "verb": "generate", "prompt": HOSTILE}
    stage = {"t": 1.0, "event": "stage", "stage": "distil", "steps": 9, "start": 0}
    one = {"event": "step", "stage": "distil", "rate": 2.0}
    steps = [{**one, "t": 1.0 + n, "step": n, "terms": {"sds": 10.0 - n}} for n in range(1, 6)]
    lines = [begin, stage, *steps]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    for number, colour in ((1, (0.8, 0.1, 0.1)), (2, (0.1, 0.1, 0.8))):
        mesh = box_at((0, 0, 0), 0.5)
        mesh.colours = np.tile(np.float32(colour), (8, 1))
        stem = f"{number:05d}-distil-{number}"
        Asset({HOSTILE: mesh}).save(history / f"{stem}.glb")
        pose = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1]
        facts = {"stage": "distil", "step": number, "steps": 9, "file": f"{stem}.glb"}
        facts["cameras"] = [{"pose": pose, "fov": 0.7, "aspect": 1.0}]
        (history / f"{stem}.json").write_text(json.dumps(facts))
    return folder


def bluer(seen: np.ndarray) -> float:
    """How much more blue than red the model is, of 255."""
    mean = seen[object_in(seen)].mean(0)
    return float(mean[2] - mean[0])


def test_a_run_is_scrubbed_paused_and_its_cameras_shown(tab, tmp_path):
    from threestudio_like.engine.onlookers import read_wishes
    from threestudio_like.reports.viewer import RunsViewer

    viewer = RunsViewer([run_folder(tmp_path / "run")])
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.2):
            viewer.refresh()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        tab.goto(viewer.server.address)
        newest = settled(tab, "viewer-run")
        assert read_wishes(tmp_path / "run" / "work").watched
        assert bluer(newest) > 40
        assert tab.get_by_text(HOSTILE).count() >= 1
        viewer.panel._follow.value = False
        viewer.panel._slider.value = 0
        soon(tab, lambda: bluer(picture(tab)) < -40)
        earlier = settled(tab)
        tab.get_by_text("Cameras of the step").wait_for()
        viewer.panel._cameras.value = True
        viewer.panel._show()
        soon(
            tab,
            lambda: (np.abs(picture(tab, "viewer-cameras") - earlier).max(-1) > 20).mean() > 2e-4,
        )
        tab.get_by_role("button", name="Pause").click()
        tab.get_by_role("button", name="Go on").wait_for(timeout=20000)
        soon(tab, lambda: read_wishes(tmp_path / "run" / "work").pause)
        tab.get_by_role("button", name="Stop and keep").click()
        soon(tab, lambda: read_wishes(tmp_path / "run" / "work").stop)
    finally:
        ended.set()
        thread.join()
        viewer.close()


def red_in(seen: np.ndarray) -> np.ndarray:
    """Where the red object of the picture is, in the part that no panel covers."""
    red = (seen[..., 0] > 150) & (seen[..., 1] < 110)
    red[:, -335:] = False
    return red


def test_clicks_and_drags_on_a_picture_are_its_boxes(tab):
    from threestudio_like.reports.viewer import BoxPicker

    pixels = np.full((120, 160, 3), 255, np.uint8)
    pixels[30:70, 40:90] = (200, 30, 30)
    mask = np.zeros((120, 160), bool)
    mask[30:70, 40:90] = True
    picker = BoxPicker(pixels, [HOSTILE, "a cup"], lambda point: mask)
    try:
        tab.goto(picker.address)
        tab.get_by_text("Which objects?").last.wait_for(timeout=30000)
        red = red_in(settled(tab, "pick-before", where=red_in))
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        assert len(rows) > 50
        # How many pixels of the screen a pixel of the picture takes.
        scale = (columns[-1] - columns[0] + 1) / 50
        left, top = columns[0] - 40 * scale, rows[0] - 30 * scale
        tab.mouse.click(columns.mean(), rows.mean())
        soon(tab, lambda: picker.boxes == [[40, 30, 90, 70]])
        x0, y0, x1, y1 = 10, 80, 60, 110
        tab.mouse.move(left + x0 * scale, top + y0 * scale)
        tab.mouse.down()
        tab.mouse.move(left + x1 * scale, top + y1 * scale, steps=5)
        tab.mouse.up()
        soon(tab, lambda: len(picker.boxes) == 2)
        picture(tab, "pick-after")
        assert np.abs(np.array(picker.boxes[1]) - [x0, y0, x1, y1]).max() < 2
        tab.get_by_role("button", name="Done").click()
        assert picker.wait(20) is not None
    finally:
        picker.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    asset = read(Path("assets/meshes/robot.glb"))
    sheet = np.full((64, 256, 3), 220, np.uint8)
    given = Report(title=HOSTILE, asset=asset, sheet=sheet, configuration="system: latent-nerf\n")
    write_report(folder / "report.html", given)
    (folder / "mesh.html").write_bytes(mesh_page(HOSTILE, asset))
    return folder


@pytest.mark.parametrize("name", ["report.html", "mesh.html"])
def test_pages_fit_a_phone_and_run_no_script_of_strangers(tab, report, name):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto((report / name).as_uri())
    tab.locator("[data-shown]").wait_for(timeout=60000)
    picture(tab, f"phone-{name.split('.')[0]}")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.get_by_text(HOSTILE).count() >= 1


AXE = "axe-core@4.10.3"


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, which npm brings below .venv; it is no part of this package."""
    if shutil.which("npm") is None:
        pytest.skip("no npm, so no axe")
    home = Path(".venv") / "axe"
    script = home / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        home.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--prefix", str(home), "--silent", "--no-audit", "--no-fund"]
        done = subprocess.run([*words, AXE], capture_output=True, timeout=240)
        if done.returncode or not script.is_file():
            pytest.skip("npm could not install axe")
    return script.read_text(encoding="utf-8")


def violations(tab, axe: str) -> list[str]:
    """What axe finds by the rules of WCAG 2.1 A and AA: rule and the elements."""
    tab.evaluate(axe)
    found = tab.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
    )["violations"]
    return [f"{v['id']}: {[n['html'][:90] for n in v['nodes'][:4]]}" for v in found]


@pytest.mark.parametrize("name", ["report.html", "mesh.html"])
def test_axe_finds_nothing_on_pages(browser, report, axe, name):
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto((report / name).as_uri())
    page.locator("[data-shown]").wait_for(timeout=60000)
    assert violations(page, axe) == []
    context.close()


SITE = Path("site")
PAGES = ("index.html", "tutorials/first-chair.html", "reference/commands.html", "meshes.html")


@pytest.fixture(scope="module")
def site():
    """The address of the site, which is served, for axe reads its style sheets."""
    if not (SITE / "index.html").is_file():
        pytest.skip("no site: make docs")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", PAGES)
def test_the_docs_site_fits_a_phone_and_pleases_axe(tab, axe, site, name):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto(site + name)
    tab.wait_for_timeout(800)
    picture(tab, f"docs-{Path(name).stem}")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(tab, axe) == []
