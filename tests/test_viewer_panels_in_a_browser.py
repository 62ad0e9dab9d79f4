"""Several runs in the viewer, and its export, in chromium: A and B, a grid of seeds, the file that
is downloaded, the mesh that is painted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from threestudio_like.meshes.io.files import read

from .test_viewer_in_a_browser import (  # noqa: F401
    axe,
    browser,
    object_in,
    picture,
    pytestmark,
    run_folder,
    settled,
    soon,
    tab,
    violations,
)

pytest.importorskip("viser", reason="no viser: pip install '.[viewer]'")


def parts_of(seen: np.ndarray) -> tuple[int, int, int]:
    """How many red and how many blue pixels the models have, and in how many pieces they lie."""
    there = object_in(seen)
    red = there & (seen[..., 0] > seen[..., 2] + 40)
    blue = there & (seen[..., 2] > seen[..., 0] + 40)
    labels, count = ndimage.label(red | blue)
    sizes = ndimage.sum_labels(red | blue, labels, range(1, count + 1))
    return int(red.sum()), int(blue.sum()), int((sizes > 200).sum())


def test_two_runs_are_a_and_b(tab, tmp_path):  # noqa: F811
    from threestudio_like.reports.viewer import RunsViewer

    folders = [run_folder(tmp_path / name) for name in ("first", "second")]
    for path in (folders[0] / "work" / "history").glob("00002*"):
        path.unlink()  # the first run is at its red snapshot, the second at its blue one
    viewer = RunsViewer(folders)
    try:
        tab.goto(viewer.server.address)
        red, blue, pieces = parts_of(settled(tab, "viewer-both"))
        assert pieces == 2
        assert min(red, blue) > 500
        tab.get_by_text("A: first").first.wait_for()
        tab.get_by_role("combobox", name="Show").click()
        tab.get_by_role("option", name="A", exact=True).click()
        soon(tab, lambda: parts_of(picture(tab, "viewer-a"))[1] == 0)
        assert parts_of(settled(tab))[0] > 500
        tab.get_by_role("combobox", name="Show").click()
        tab.get_by_role("option", name="B", exact=True).click()
        soon(tab, lambda: parts_of(picture(tab, "viewer-b"))[0] == 0)
        # B stands where A stood, so that the two are compared at one place.
        middle = np.flatnonzero(object_in(settled(tab)).any(0)).mean()
        assert abs(middle - (tab.viewport_size["width"] - 335) / 2) < 60
    finally:
        viewer.close()


def test_runs_of_several_seeds_stand_in_a_grid(tab, tmp_path):  # noqa: F811
    from threestudio_like.reports.viewer import RunsViewer

    viewer = RunsViewer([run_folder(tmp_path / f"seed {n}") for n in range(4)])
    try:
        tab.goto(viewer.server.address)
        seen = settled(tab, "viewer-grid")
        assert parts_of(seen)[2] == 4
        for number in range(4):
            assert tab.get_by_text(f"seed {number}").count() >= 1
        # One slider scrubs them together.
        viewer._at.value = 0
        viewer.refresh()
        soon(tab, lambda: parts_of(picture(tab, "viewer-grid-first"))[1] == 0)
    finally:
        viewer.close()


@pytest.mark.parametrize("suffix", [".glb", ".stl", ".obj"])
def test_the_file_of_what_is_shown_is_downloaded(tab, tmp_path, suffix):  # noqa: F811
    from threestudio_like.reports.viewer import RunsViewer

    viewer = RunsViewer([run_folder(tmp_path / "run")])
    try:
        tab.goto(viewer.server.address)
        settled(tab)
        tab.get_by_text("Export", exact=True).click()
        viewer.panel._kind.value = suffix
        button = tab.get_by_role("button", name="Download")
        button.wait_for(timeout=20000)
        with tab.expect_download(timeout=30000) as waiting:
            button.click()
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        if path.suffix == ".zip":
            import zipfile

            with zipfile.ZipFile(path) as archive:
                archive.extractall(tmp_path / "out")
            path = next((tmp_path / "out").glob("*.obj"))
        assert path.suffix == suffix
        (mesh,) = read(path).meshes.values()
        assert len(mesh.faces) == 12
        assert np.ptp(mesh.vertices, axis=0).tolist() == pytest.approx([1.0, 1.0, 1.0])
        picture(tab, f"viewer-export{suffix}")
    finally:
        viewer.close()


def test_a_drag_on_the_mesh_paints_and_one_beside_it_turns(tab):  # noqa: F811
    from threestudio_like.reports.viewer import LockPainter

    painter = LockPainter(read(Path("assets/meshes/robot.glb")), "robot.glb")

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        tab.mouse.move(*start)
        tab.mouse.down()
        tab.mouse.move(*end, steps=6)
        tab.mouse.up()

    try:
        tab.goto(painter.address)
        before = settled(tab, "lock-before")
        rows, columns = np.nonzero(object_in(before))
        x, y = float(np.median(columns)), float(np.median(rows))
        drag((x - 12, y), (x + 12, y + 10))
        soon(tab, lambda: painter.texels.mask.any())
        soon(tab, lambda: (np.abs(picture(tab, "lock-painted") - before) > 40).mean() > 1e-3)
        stroke = painter.texels.mask.copy()
        drag((40, 480), (140, 470))
        soon(tab, lambda: (np.abs(picture(tab, "lock-turned") - before) > 20).mean() > 0.02)
        assert np.array_equal(painter.texels.mask, stroke)
        tab.get_by_role("button", name="Undo").click()
        soon(tab, lambda: not painter.texels.mask.any())
        tab.get_by_role("button", name="Done").click()
        tab.get_by_text("nothing is painted").wait_for(timeout=20000)
        tab.mouse.click(x, y)
        soon(tab, lambda: painter.texels.mask.any())
        tab.get_by_role("button", name="Done").click()
        assert painter.wait(20) is not None
        tab.get_by_text("back to the terminal").wait_for(timeout=20000)
        picture(tab, "lock-done")
    finally:
        painter.close()


def shown_file(folder: Path):
    from threestudio_like.reports.viewer import file_viewer

    return file_viewer(Path("assets/meshes/robot.glb"))


def shown_run(folder: Path):
    from threestudio_like.reports.viewer import RunsViewer

    return RunsViewer([run_folder(folder / "run")])


def asked_boxes(folder: Path):
    from threestudio_like.reports.viewer.picker import BoxPicker

    seen = np.full((60, 80, 3), 200, np.uint8)
    return BoxPicker(seen, ["a chair"], lambda point: np.ones((60, 80), bool))


def asked_lock(folder: Path):
    from threestudio_like.reports.viewer.lock import LockPainter

    return LockPainter(read(Path("assets/meshes/robot.glb")), "robot.glb")


@pytest.mark.parametrize("show", [shown_file, shown_run, asked_boxes, asked_lock])
def test_axe_finds_nothing_on_the_viewers_pages(browser, axe, tmp_path, show):  # noqa: F811
    made = show(tmp_path)
    context = browser.new_context(
        bypass_csp=True, viewport={"width": 760, "height": 520}, reduced_motion="reduce"
    )
    page = context.new_page()
    try:
        page.goto(getattr(made, "server", made).address)
        page.locator("label, button").first.wait_for(timeout=60000)
        page.get_by_role("button").nth(1).wait_for(timeout=60000)
        soon(page, lambda: violations(page, axe) == [])
        assert page.get_by_role("button").count() >= 2
    finally:
        context.close()
        made.close()
