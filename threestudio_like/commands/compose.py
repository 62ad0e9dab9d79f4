"""`compose`: a picture of several objects, or a text, to one scene with a named node an object
(ComboVerse, METHODS 4)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from ..engine.errors import ConfigError
from ..engine.places import user_path
from ..priors.depth import load_depth
from ..priors.diffusion import DiffusionPrior
from ..runs.delivery import RunResult
from ..runs.options import check_options, check_vocabulary
from ..runs.session import configure, load_prior
from ..systems.image_to_3d.photo import read_pixels
from ..systems.registry import system_kind
from ..systems.scene.comboverse import ComposeConfig
from ..systems.scene.objects import open_object
from ..systems.scene.picture import Canvas, find_parts, read_boxes, read_masks
from ..systems.scene.prompt import SceneText, read_scene
from .compose_run import ComposeOptions, Composition
from .view import ViewOptions, pick_boxes

__all__ = ["ComposeOptions", "compose", "compose_any", "compose_text"]


def compose(picture: Path, prompt: str, options: ComposeOptions) -> RunResult:
    """Make a scene of a picture.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    if prompt:
        check_options(prompt, options)
    else:
        check_options("things", options)
    check_method(options)
    text = read_scene(prompt)
    words = check_words(options.spatial_words, text)
    boxes = read_boxes(options.boxes)
    config = compose_config(options)
    pixels, note, share = read_pixels(picture)
    canvas = Canvas.of(pixels, str(picture), note, share)
    masks = (
        None
        if options.masks is None
        else [canvas.mask(m) for m in read_masks(options.masks, pixels.shape[:2])]
    )
    prior = load_prior(options)
    config = compose_config(options, prior)
    if prompt:
        check_vocabulary(prior, prompt)
    load_depth(config.depth)
    parts, notes = find_parts(canvas, text, boxes, masks, config.decompose)
    given = [open_object(path, "") for path in options.objects]
    if given and len(given) != len(parts):
        raise ConfigError(
            f"gives {len(given)} meshes for {len(parts)} objects",
            "--objects",
            "Give one mesh for each object of the picture",
        )
    content = hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
    run = Composition.begin(
        picture.stem,
        prompt,
        text,
        words,
        options,
        config,
        prior,
        {"picture": str(picture), "picture content": content},
    )
    for line in notes:
        run.events.say(f"Warning: {line}.")
    return run.from_picture(canvas, parts, given)


def compose_text(prompt: str, options: ComposeOptions) -> RunResult:
    """Make a scene of a prompt alone: its objects one by one, then where they stand.

    Raises:
        UserError: see `compose`.
    """
    check_options(prompt, options)
    for name, value in (("--boxes", options.boxes), ("--masks", options.masks)):
        if value:
            raise ConfigError(
                "belongs to a picture, and there is none", name, "Give a picture, or leave it out"
            )
    text = read_scene(prompt)
    if len(text.objects) < 2:
        raise ConfigError(
            f"names {len(text.objects)} object",
            "--text",
            'Name at least two: "a red ball on a blue box", or use generate',
        )
    words = check_words(options.spatial_words, text)
    compose_config(options)
    prior = load_prior(options)
    config = compose_config(options, prior)
    check_vocabulary(prior, prompt)
    if options.objects and len(options.objects) != len(text.objects):
        raise ConfigError(
            f"gives {len(options.objects)} meshes, the prompt names {len(text.objects)}",
            "--objects",
            "Give one mesh for each",
        )
    given = [open_object(path, "") for path in options.objects]
    run = Composition.begin(prompt, prompt, text, words, options, config, prior, {"picture": ""})
    return run.from_text(given)


def compose_any(picture: str, prompt: str, text: str, options: ComposeOptions) -> RunResult:
    """`compose` or `compose_text`, by what is given. Raises ConfigError where it is both or
    neither."""
    if text and picture:
        raise ConfigError(
            "goes without a picture",
            "--text",
            "Give the prompt behind the picture, or --text alone",
        )
    if text:
        return compose_text(text, options)
    if not picture:
        raise ConfigError(
            "wants a picture",
            "compose",
            'compose scene.png "a red ball on a blue box", or compose --text "…"',
        )
    return compose(user_path(picture), prompt, options)


def picked(picture: str, prompt: str, options: ComposeOptions) -> tuple[str, ...]:
    """Boxes that the user clicks in the browser. Raises ConfigError where they are given
    already."""
    if options.boxes or options.masks is not None:
        raise ConfigError(
            "asks for boxes that are given", "--pick", "Leave out --boxes and --masks"
        )
    if not picture:
        raise ConfigError("wants a picture", "--pick", "Give the picture behind compose")
    boxes = pick_boxes(
        user_path(picture),
        prompt,
        ViewOptions(segmenter=compose_config(options).decompose.segmenter),
    )
    assert boxes is not None
    return boxes


def compose_config(options: ComposeOptions, prior: DiffusionPrior | None = None) -> ComposeConfig:
    """The configuration of a run; where the preset is open, as the prior wants it. Raises
    ConfigError."""
    preset: str = options.preset
    if preset == "auto":
        preset = "open" if prior is not None and prior.facts.camera is None else "default"
    config: ComposeConfig = configure(options, preset, verb="compose")
    if config.resolution:
        config = replace(config, place=replace(config.place, resolution=config.resolution))
    if config.place.steps < 1 or config.place.views < 1 or config.starts < 1:
        raise ConfigError("must be at least 1", "--place.steps, --place.views, --starts")
    if options.fov and not 5 <= options.fov <= 120:
        raise ConfigError(
            f"must be from 5 to 120 degrees, got {options.fov:g}",
            "--fov",
            "Leave it out if it is not known",
        )
    if options.elevation is not None and not -89 <= options.elevation <= 89:
        raise ConfigError(
            f"must be from -89 to 89 degrees, got {options.elevation:g}", "--elevation"
        )
    return config


def check_method(options: ComposeOptions) -> None:
    """Raise ConfigError where there is no such way to reconstruct an object."""
    if options.method != "auto":
        system_kind(options.method, "reconstruct", "--method")


def check_words(given: tuple[str, ...], text: SceneText) -> list[str]:
    """The spatial words: the user's, all of which the prompt must say, or those found in it."""
    from ..priors.tokens import phrase_spans

    for words in given:
        phrase_spans(text.prompt, words)
    return list(given) or text.words
