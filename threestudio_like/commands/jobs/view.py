"""`view`: a run, also while it goes, a mesh, or a picture whose objects are clicked; in the
browser, on this machine alone."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine.errors import ConfigError, InputError
from ...meshes.io.files import read
from ...meshes.io.photographs import SUFFIXES
from ...meshes.io.splats.splats import is_splat_file, read_splats
from ...meshes.page.splats import splat_page
from ...reports import BoxPicker, PageServer, mesh_page, serve_run
from ...reports.live import HTML, announce
from ...reports.server import LOOPBACK
from ..view import View


@dataclass
class ViewOptions:
    """Where it is shown."""

    port: int = 0
    host: str = LOOPBACK
    browser: bool = True
    """Open the browser, where there is a screen."""
    segmenter: str = "toybox"
    """Of a picture's clicks: see `systems.scene.segmentation.DecomposeConfig`."""
    seconds: float | None = None
    """How long; None until Ctrl-C, or until the boxes are given."""


def view(path: Path, prompt: str, options: ViewOptions) -> str:
    """Show a run's folder, a mesh file, or a picture whose boxes are asked for.

    Returns:
        The command that composes the picture, once its boxes are given; "" for everything else.

    Raises:
        InputError: nothing there that can be shown. ConfigError: the port is taken; a prompt that
            is no use here.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _boxes_command(path, prompt, options)
    if prompt:
        raise ConfigError("belongs to a picture", "view PROMPT", "Leave it out")
    server = _server(path, options)
    _warn(server.warning)
    announce(f"{path} is shown at {server.address}  (Ctrl-C ends)", server.address, options.browser)
    try:
        began = time.monotonic()
        while options.seconds is None or time.monotonic() - began < options.seconds:
            time.sleep(0.2)
    finally:
        server.close()
    return ""


def pick_boxes(picture: Path, prompt: str, options: ViewOptions) -> tuple[str, ...] | None:
    """Let the user click the objects of a picture; boxes as `--boxes` takes them, or None when the
    time has passed.

    Raises:
        UserError: of the picture, the segmenter or the port.
    """
    from ...priors.segmentation.automatic import probability
    from ...priors.segmentation.prompts import Prompts
    from ...priors.segmentation.segment_anything import load_segmenter
    from ...systems.image_to_3d.photo import read_pixels
    from ...systems.scene.prompt import read_scene
    from ...systems.scene.segmentation import DecomposeConfig, cells_of

    read = read_pixels(picture)
    pixels, share = read.pixels, read.share
    shown = (
        pixels[..., :3]
        if pixels.shape[2] == 3
        else pixels[..., :3] * pixels[..., 3:] + 0.9 * (1 - pixels[..., 3:])
    )
    segmenter = load_segmenter(options.segmenter)
    cells = cells_of(shown, DecomposeConfig(segmenter=options.segmenter))
    seen = segmenter.look(np.ascontiguousarray(shown, np.float32))

    def find(point: np.ndarray) -> np.ndarray:
        asked = Prompts(
            points=point[None, None].astype(np.float32), labels=np.ones((1, 1), np.int64)
        )
        soft = probability(segmenter.masks(seen, asked, several=True).best()[0])
        return (soft if cells is None else cells.snap(soft))[0] > 0.5

    picker = BoxPicker(
        (shown * 255).round().astype(np.uint8),
        read_scene(prompt).objects,
        find,
        port=options.port,
        host=options.host,
    )
    try:
        _warn(picker.warning)
        announce(f"Click the objects at {picker.address}", picker.address, options.browser)
        boxes = picker.wait(options.seconds)
        # The page is still to hear that its boxes were taken.
        time.sleep(0.2)
    finally:
        picker.close()
    if boxes is None:
        return None
    return tuple(",".join(f"{v:.0f}" for v in box / share) for box in boxes)


def _boxes_command(picture: Path, prompt: str, options: ViewOptions) -> str:
    import shlex

    boxes = pick_boxes(picture, prompt, options)
    if boxes is None:
        return ""
    said = [
        "threestudio-like",
        "compose",
        str(picture),
        *([prompt] if prompt else []),
        "--boxes",
        *boxes,
    ]
    return shlex.join(said)


def _warn(word: str) -> None:
    if word:
        print(word, file=sys.stderr, flush=True)


def _server(path: Path, options: ViewOptions) -> PageServer:
    if path.is_dir():
        if not (path / "events.jsonl").is_file():
            raise InputError(
                "is no run's folder", str(path), "Give a folder under outputs/, a mesh or a picture"
            )
        return serve_run(path.resolve(), options.port, options.host)
    if not path.exists():
        raise InputError(
            "there is no such file or folder", str(path), "Give a run's folder, a mesh or a picture"
        )
    if is_splat_file(path):
        page = splat_page(path.name, read_splats(path))
    else:
        page = mesh_page(path.name, read(path))
    return PageServer({"": lambda: (HTML, page)}, port=options.port, host=options.host)


def show(options: View) -> str:
    """Carry out `view`. Raises as `view`."""
    chosen = ViewOptions(
        options.port,
        options.host,
        options.browser,
        segmenter=options.segmenter,
        seconds=options.seconds,
    )
    return view(options.path.expanduser(), options.prompt, chosen)
