"""What a command would refuse, asked before anything of a batch begins: no weights are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, InputError
from ...runs.configure import configure, export_config
from ...runs.memory_budget import budget
from ...runs.options import check_numbers, check_prompt, flat
from ...runs.prior import check_words, closed_world, said_of_picture
from ...systems import registry
from ...systems.cut_out.marks import check_boxes, read_boxes, read_mask, read_masks
from ...systems.image_to_3d.photo import read_pixels
from ...systems.scene.prompt import SCENE_WORDS
from ..registry import COMMANDS, PLUG_IN_COMMANDS


def check_options(command: str, options: Any) -> None:
    """Raise the UserError that the command would begin with."""
    values = flat(options)
    check_numbers(values)
    if values.get("memory"):
        budget(values["memory"])
    if command in _CHECKS:
        _CHECKS[command](options)
    elif command not in COMMANDS:
        check = PLUG_IN_COMMANDS.get(command).check
        if check is not None:
            check(options)


def _generate(options: Any) -> None:
    check_prompt(options.prompt)
    _words(options, options.prompt)
    _configuration(options, "generate")


def _texture(options: Any) -> None:
    prompts = [p for p in (options.prompt, *options.variants) if p]
    for prompt in prompts or [""]:
        check_prompt(prompt)
        _words(options, prompt)
    _file(options.mesh, "mesh")
    _configuration(options, "texture")


def _reconstruct(options: Any) -> None:
    from .picture.cut_out import marks_of
    from .picture.given import check_known, check_maps, pictures_of

    if not options.picture.is_dir():
        _file(options.picture, "picture")
    with _named("picture"):
        pictures = pictures_of(options.picture, options.further)
    marks = marks_of(options, len(pictures))
    check_known(options.known, len(pictures))
    height, width = _picture(pictures[0], "picture")
    for path in pictures[1:]:
        _picture(path, "further" if options.further else "picture")
    if marks.box:
        _boxes((marks.box,), "--box", width, height)
    if marks.mask is not None:
        with _named("mask"):
            read_mask(marks.mask, (height, width), (height, width))
    check_maps(options.known, (width, height))
    if options.prompt:
        check_prompt(options.prompt)
        _words(options, said_of_picture(options.model, options.prompt)[0])
    if options.system != "auto":
        _configuration(options, "reconstruct")


def _compose(options: Any) -> None:
    if options.poses is not None:
        from .compose_poses import check_posed

        check_posed(options)
    elif bool(options.text) == bool(options.picture):
        raise ConfigError(
            "wants either a picture or a text", "--text" if options.text else "--picture"
        )
    if options.picture:
        _file(Path(options.picture), "picture")
        height, width = _picture(Path(options.picture), "picture")
        _boxes(options.boxes, "--boxes", width, height)
        if options.masks is not None:
            with _named("masks"):
                read_masks(options.masks, (height, width), (height, width))
    if options.text:
        check_prompt(options.text)
        _words(options, options.text)
    if options.prompt:
        check_prompt(options.prompt)
        _words(options, said_of_picture(options.model, options.prompt, keep=SCENE_WORDS)[0])


def _evaluate(options: Any) -> None:
    path = options.source / "asset.glb" if options.source.is_dir() else options.source
    _file(path, "source")


def _refine(options: Any) -> None:
    if not (options.source / "run.yaml").is_file():
        raise InputError("is not the folder of a run", "--source")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "generate": _generate,
    "texture": _texture,
    "reconstruct": _reconstruct,
    "compose": _compose,
    "evaluate": _evaluate,
    "refine": _refine,
}


def _file(path: Path, name: str) -> None:
    if not path.is_file():
        raise InputError("there is no such file", f"--{name}", str(path)[-120:])


@contextmanager
def _named(name: str) -> Iterator[None]:
    """An error about a file is one about the option that names it."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, f"--{name}", error.remedy) from None


def _picture(path: Path, name: str) -> tuple[int, int]:
    """Height and width in pixels of a picture that can be read. Raises InputError."""
    with _named(name):
        return _shape(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=1024)
def _shape(path: Path, changed: int) -> tuple[int, int]:
    return read_pixels(path).shape


def _boxes(boxes: tuple[str, ...], option: str, width: int, height: int) -> None:
    """Raise ConfigError on what is no box of a picture of that size; whether one lies within
    another is asked when the prompt is understood."""
    for box in boxes:
        corners = read_boxes((box,), option)
        if corners is not None:
            check_boxes(corners, width, height, option=option)


@lru_cache(maxsize=8)
def _known(model: Any) -> tuple[tuple[str, ...] | None, str]:
    return closed_world(model)


def _words(options: Any, prompt: str) -> None:
    known, world = _known(options.model)
    check_words(known, prompt, world)


def _configuration(options: Any, command: str) -> None:
    method = options.method
    preset = "default" if method.preset == "auto" else method.preset
    text = repr(
        (
            *(command, options.system, preset, sorted(options.set.items()), method.steps),
            *(method.resolution, method.negative, method.config, getattr(options, "guidance", "")),
            *(getattr(options, "sketch", None), getattr(options, "strictness", None)),
            options.asset,
        )
    )
    if text in _CHECKED:
        return
    task = command
    if registry.SYSTEMS.get(options.system, "--system").task == "image-to-3d":
        # `generate` takes methods that begin with a picture: the prior makes one.
        task = "reconstruct"
    configure(options, registry.configuration(options.system, preset, task))
    export_config(options)
    _CHECKED.add(text)


_CHECKED: set[str] = set()
"""Configurations that were found good: thousands of items share one."""
