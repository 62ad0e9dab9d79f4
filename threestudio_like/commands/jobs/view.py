"""`view`: a run, also while it goes, runs side by side, a mesh, a mesh on which is painted what
keeps its colour, or a picture whose objects are clicked; in the browser, on this machine alone."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import ConfigError, InputError
from ...engine.output import write_file
from ...engine.text import slug
from ...meshes.io.files import read
from ...meshes.io.images import encode_png
from ...meshes.io.photographs import SUFFIXES
from ...meshes.io.splats.splats import is_splat_file
from ...reports.viewer import (
    LOOPBACK,
    BoxPicker,
    LockPainter,
    RunsViewer,
    ViewerServer,
    announce,
    check_viewer,
    file_viewer,
)
from ...runs.prompts import names_file
from ...runs.written import asked
from ..view import View

MOST_RUNS = 36
"""Runs that are shown side by side."""


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


def view(path: Path, more: tuple[str, ...], options: ViewOptions) -> str:
    """Show a run's folder, runs side by side, a file of a mesh, points or Gaussians, a picture
    whose boxes are asked for, or a mesh on which is painted what keeps its colour.

    Args:
        more: of a picture or a mesh the prompt, of a run the folders of others.

    Returns:
        The command that composes the picture, once its boxes are given, or that paints the mesh;
        "" for everything else.

    Raises:
        InputError: nothing there that can be shown. ConfigError: the port is taken; a prompt that
            is no use here; viser is not installed.
    """
    if path.is_file():
        _check_one_file(path, more)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        if len(more) > 1:
            raise ConfigError("takes one prompt", f"view {path.name}", "Put it into quotes")
        return _boxes_command(path, more[0] if more else "", options)
    if path.is_file() and more:
        if len(more) > 1 or is_splat_file(path):
            what = "belongs to a picture or a mesh" if len(more) == 1 else "takes one prompt"
            raise ConfigError(what, f"view {path.name}", "Leave it out, or put it into quotes")
        return _lock_command(path, more[0], options)
    viewer, server = _viewer(path, more, options)
    _warn(server.warning)
    shown = str(path) if not more else f"{path} with {len(more)} more"
    line = f"{shown} is shown at {server.address}  (Ctrl-C ends)"
    announce(line, server.address, options.browser)
    try:
        began = time.monotonic()
        while options.seconds is None or time.monotonic() - began < options.seconds:
            if viewer is not None:
                viewer.refresh()
            time.sleep(0.3)
    finally:
        (viewer or server).close()
    return ""


def _check_one_file(path: Path, more: tuple[str, ...]) -> None:
    """Raise ConfigError where behind a file stands another one, or a run, and no prompt."""
    for word in more:
        if names_file(word) or (Path(word).expanduser() / "events.jsonl").is_file():
            raise ConfigError(
                f'shows one file, and "{word}" is another: what stands behind a picture or a mesh '
                "is its prompt",
                f"view {path.name}",
                "Show one at a time; folders of runs alone are shown side by side",
            )


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

    check_viewer()
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
    boxes = _answer(picker, "Click the objects at", options)
    if boxes is None:
        return None
    return tuple(",".join(f"{v:.0f}" for v in box / share) for box in boxes)


def _answer(asked: Any, verb: str, options: ViewOptions) -> Any:
    """What the user marks on a page (`BoxPicker`, `LockPainter`), which is closed then; None when
    the time has passed."""
    try:
        _warn(asked.warning)
        announce(f"{verb} {asked.address}", asked.address, options.browser)
        found = asked.wait(options.seconds)
        # The page is still to hear that it was taken.
        time.sleep(0.2)
    finally:
        asked.close()
    return found


def pick_lock(mesh: Path, options: ViewOptions) -> Path | None:
    """Let the user paint on a mesh what keeps its colour; a picture in the working folder, as
    `--lock` takes it, or None when the time has passed.

    Raises:
        UserError: of the mesh, the port or the file.
    """
    check_viewer()
    painter = LockPainter(read(mesh), mesh.name, port=options.port, host=options.host)
    mask = _answer(painter, "Paint at", options)
    if mask is None:
        return None
    stem = f"{slug(mesh.stem, '-', 60) or 'mesh'}-lock"
    names = itertools.chain([f"{stem}.png"], (f"{stem}-{k}.png" for k in itertools.count(2)))
    path = next(p for p in map(Path, names) if not p.exists())
    write_file(path, encode_png(mask))
    print(f"What keeps its colour is white in {path}", file=sys.stderr, flush=True)
    return path


def _lock_command(mesh: Path, prompt: str, options: ViewOptions) -> str:
    import shlex

    path = pick_lock(mesh, options)
    if path is None:
        return ""
    return shlex.join(["threestudio-like", "texture", str(mesh), prompt, "--lock", str(path)])


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


def _viewer(
    path: Path, more: tuple[str, ...], options: ViewOptions
) -> tuple[RunsViewer | None, ViewerServer]:
    """The viewer of runs, if it is one, and its server. Raises InputError, ConfigError."""
    if not path.exists():
        raise InputError(
            "there is no such file or folder", str(path), "Give a run's folder, a mesh or a picture"
        )
    if path.is_dir():
        folders = [_run_folder(p) for p in (path, *map(Path, more))] if more else _runs_in(path)
        if len(folders) > MOST_RUNS:
            raise ConfigError(
                f"shows at most {MOST_RUNS} runs, not {len(folders)}", "view", "Name fewer folders"
            )
        viewer = RunsViewer(folders, options.port, options.host)
        return viewer, viewer.server
    return None, file_viewer(path, options.port, options.host)


def _run_folder(path: Path) -> Path:
    folder = path.expanduser()
    if not (folder / "events.jsonl").is_file():
        raise InputError(
            "is no run's folder", str(path), "Give a folder under outputs/, a mesh or a picture"
        )
    return folder.resolve()


def _runs_in(path: Path) -> list[Path]:
    """The run of a folder, or the runs that lie in it, such as those of several seeds; of a batch
    the items that are there, as many as are shown."""
    if (path / "events.jsonl").is_file():
        return [path.resolve()]
    if (path / "store.json").is_file():
        made = sorted(p.parent.resolve() for p in path.glob("items/*/*/asset.glb"))
        made = [p for p in made if (p / "events.jsonl").is_file()]
        if len(made) > MOST_RUNS:
            _warn(
                f"{MOST_RUNS} of {len(made)} items are shown; all of them: threestudio-like batch "
                f"gallery --store {path}"
            )
        return made[:MOST_RUNS] or [_run_folder(path)]
    inner = sorted(p.parent.resolve() for p in path.glob("*/events.jsonl"))
    # outputs/latest is another name of one of them.
    return list(dict.fromkeys(inner)) or [_run_folder(path)]


def show(options: View) -> str:
    """Carry out `view`. Raises as `view`, and ConfigError where --segmenter has nothing to do."""
    if "segmenter" in asked(options) and options.path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            "finds what is clicked in a picture, and this is none",
            "--segmenter",
            "Leave it out, or view a picture",
        )
    chosen = ViewOptions(
        options.port,
        options.host,
        options.browser,
        segmenter=options.segmenter,
        seconds=options.seconds,
    )
    return view(options.path.expanduser(), options.more, chosen)
