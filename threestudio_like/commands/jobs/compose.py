"""`compose`: a picture of several objects, or a text, to one scene with a named node for each
object (ComboVerse, METHODS 4)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError
from ...priors.depth import load_depth
from ...priors.diffusion import DiffusionPrior
from ...runs.configure import configure, export_config
from ...runs.delivery import RunResult
from ...runs.options import check_prompt
from ...runs.prior import prompt_vocabulary, read_prompt, said_of_picture
from ...runs.session import Run
from ...systems import registry
from ...systems.cut_out.marks import read_boxes, read_masks
from ...systems.image_to_3d.photo import read_pixels
from ...systems.scene.comboverse import Comboverse
from ...systems.scene.objects import open_object
from ...systems.scene.picture import Canvas, find_parts
from ...systems.scene.prompt import SCENE_WORDS, SceneText, read_scene
from ...systems.scene.segmentation import check_marks
from ..compose import Compose
from .compose_objects import check_export, of_made_objects
from .compose_poses import compose_poses
from .compose_run import Composition
from .printing import print_configuration
from .view import ViewOptions, pick_boxes


def compose(
    options: Compose, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make a scene of a picture of several objects, or of a text alone.

    Args:
        options: of the command.
        system: a configuration made in Python instead of a preset.
        prior: a prior made in Python instead of `options.model.prior`.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    if options.poses is not None and not options.method.print_config:
        return compose_poses(options, lambda given: configuration_of(given, system))
    if options.text and options.picture:
        raise ConfigError(
            "goes without a picture",
            "--text",
            "Give the prompt behind the picture, or --text alone",
        )
    if options.method.print_config:
        print_configuration(options, "compose", options.text or options.prompt)
        return None
    if options.pick and not options.picture:
        raise ConfigError("wants a picture", "--pick", "Give the picture behind compose")
    if options.text:
        return _compose_text(options, system, prior)
    if not options.picture:
        raise ConfigError(
            "wants a picture",
            "compose",
            'compose scene.png "a red ball on a blue box", or compose --text "…"',
        )
    if options.pick:
        options = replace(options, boxes=_picked(options), pick=False)
    return _compose_picture(options, system, prior)


def _compose_picture(options: Compose, system: Any, prior: DiffusionPrior | None) -> RunResult:
    check_prompt(options.prompt or "things")
    check_method(options)
    prompt, left = said_of_picture(options.model, options.prompt, prior, keep=SCENE_WORDS)
    text = read_scene(prompt, prompt_vocabulary(options.model, prior))
    words = check_words(options.spatial_words, text)
    boxes = read_boxes(options.boxes)
    picture = Path(options.picture).expanduser()
    with Run.open("compose", options, name=f"{picture.stem} scene") as run:
        base = configuration_of(options, system)
        read = read_pixels(picture)
        canvas = Canvas.of(read.pixels, options.picture, read.note, share=read.share)
        masks, told = None, [*read.told, *canvas.told]
        notes = [left] if left else []
        if options.masks is not None:
            drawn, more = read_masks(options.masks, read.shape, read.pixels.shape[:2])
            masks = [canvas.mask(m) for m in drawn]
            told += more
        check_marks(boxes, None if masks is None else len(masks), text, *read.shape[::-1])
        prior = prior or run.load_prior()
        config = run.configure(base)
        if prompt:
            read_prompt(prior, prompt, run.events)
        load_depth(config.depth)
        parts, doubts = find_parts(canvas, text, boxes, masks=masks, config=config.decompose)
        given = [open_object(path, "") for path in options.objects]
        if given and len(given) != len(parts):
            raise ConfigError(
                f"gives {len(given)} meshes for {len(parts)} objects",
                "--objects",
                "Give one mesh for each object of the picture",
            )
        facts = {
            "prompt": options.prompt,
            "picture": run.fact("picture", options.picture),
            "picture content": hashlib.sha256(picture.read_bytes()).hexdigest()[:16],
        }
        composition = _begin(run, prompt, text, words=words, config=config, prior=prior, more=facts)
        for line in told:
            run.events.say(f"Warning: the picture: {line}.")
        for line in [*notes, *doubts]:
            run.events.say(f"Warning: {line}.")
        return composition.from_picture(canvas, parts, given)


def _compose_text(options: Compose, system: Any, prior: DiffusionPrior | None) -> RunResult:
    """A scene of a prompt alone: its objects one by one, then where they stand."""
    prompt = options.text
    check_prompt(prompt)
    check_method(options)
    for name, value in (
        ("--boxes", options.boxes),
        ("--masks", options.masks),
        ("--fov", options.fov),
        ("--elevation", options.elevation is not None),
    ):
        if value:
            raise ConfigError(
                "belongs to a picture, and there is none", name, "Give a picture, or leave it out"
            )
    text = read_scene(prompt, prompt_vocabulary(options.model, prior))
    if len(text.objects) < 2:
        raise ConfigError(
            f"names {len(text.objects)} object",
            "--text",
            'Name at least two: "a red ball on a blue box", or use generate',
        )
    words = check_words(options.spatial_words, text)
    with Run.open("compose", options, name=f"{prompt} scene") as run:
        base = configuration_of(options, system)
        prior = prior or run.load_prior()
        config = run.configure(base)
        read_prompt(prior, prompt, run.events)
        if options.objects and len(options.objects) != len(text.objects):
            raise ConfigError(
                f"gives {len(options.objects)} meshes, the prompt names {len(text.objects)}",
                "--objects",
                "Give one mesh for each",
            )
        given = [open_object(path, "") for path in options.objects]
        return _begin(
            run, prompt, text, words=words, config=config, prior=prior, more={"picture": ""}
        ).from_text(given)


def _begin(
    run: Run,
    prompt: str,
    text: SceneText,
    words: list[str],
    config: Comboverse,
    prior: DiffusionPrior,
    more: dict[str, Any],
) -> Composition:
    options = run.options
    planned = run.plan_memory(config, prior)
    facts = {
        "prompt": prompt,
        "system": "comboverse",
        "preset": options.method.preset,
        "prior": options.model.prior,
        "seed": options.run.seed,
        "method": options.method_name,
        **({"segmenter": options.segmenter} if options.segmenter else {}),
        "boxes": list(options.boxes),
        "objects": run.fact("objects", [str(p) for p in options.objects]),
        "spatial words": words,
        "fov": options.fov,
        "elevation": options.elevation,
        **more,
    }
    run.describe(facts, config, export_config(options), planned=planned)
    for name in (k for k, said in of_made_objects(options).items() if said and options.objects):
        run.events.say(f"Warning: {name} changes nothing: the objects are given.")
    return Composition(run=run, prompt=prompt, text=text, words=words, config=config, prior=prior)


def check_method(options: Compose) -> None:
    """Raise ConfigError where there is no such way to reconstruct an object, or where it cannot do
    what --faces and --export.… ask."""
    if options.method_name != "auto":
        registry.system_kind(options.method_name, "reconstruct", "--method")
    check_export(options)


def _picked(options: Compose) -> tuple[str, ...]:
    """Boxes that the user clicks in the browser. Raises ConfigError where they are given
    already."""
    if options.boxes or options.masks is not None:
        raise ConfigError(
            "asks for boxes that are given", "--pick", "Leave out --boxes and --masks"
        )
    segmenter = configuration_of(options).decompose.segmenter
    boxes = pick_boxes(
        Path(options.picture).expanduser(), options.prompt, ViewOptions(segmenter=segmenter)
    )
    assert boxes is not None
    return boxes


def configuration_of(options: Compose, system: Comboverse | None = None) -> Comboverse:
    """The configuration of a run, which no prior changes. Raises ConfigError."""
    preset = "default" if options.method.preset == "auto" else options.method.preset
    base = system or registry.configuration("comboverse", preset, "compose")
    if options.segmenter:
        base = replace(base, decompose=replace(base.decompose, segmenter=options.segmenter))
    config: Comboverse = configure(options, base)
    if config.resolution:
        config = replace(config, place=replace(config.place, resolution=config.resolution))
    if config.place.steps < 1 or config.place.views < 1 or config.starts < 1:
        raise ConfigError("must be at least 1", "--place.steps, --place.views, --starts")
    return config


def check_words(given: tuple[str, ...], text: SceneText) -> list[str]:
    """The spatial words: the user's, all of which the prompt must say, or those found in it."""
    from ...priors.text.tokens import phrase_spans

    for words in given:
        phrase_spans(text.prompt, words)
    return list(given) or text.words
