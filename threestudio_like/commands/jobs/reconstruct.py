"""`reconstruct`: pictures of one object in, an asset out; and `generate` by a picture that the
prior makes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...engine.loop import StagePlan
from ...engine.output import new_file
from ...meshes.mesh import Asset
from ...meshes.texture.atlas import join_atlas
from ...meshes.texture.unwrap import unwrap
from ...priors.absent import AbsentPrior
from ...priors.diffusion import DiffusionPrior
from ...priors.registry import EMBEDDED
from ...priors.segmentation.segmenter import BorderSegmenter
from ...priors.text.weighted import parse_weighted
from ...representations import TexturedMesh
from ...runs.configure import export_config
from ...runs.delivery import RunResult
from ...runs.memory_budget import limits_from
from ...runs.options import check_prompt
from ...runs.prior import check_vocabulary, read_prompt, refuse_parts, said_of_picture
from ...runs.session import Run
from ...systems import registry
from ...systems.image_to_3d.back_projection import completed, completion_plans, lay_back
from ...systems.image_to_3d.caption import describe_picture, guess_caption
from ...systems.image_to_3d.mesh_refinement import begin_with, refined, refinement_plans
from ...systems.image_to_3d.method import PictureRequest, PictureSystem, ShapeFound
from ...systems.image_to_3d.photo import Photo, photo_of, read_photo
from ...systems.image_to_3d.text_to_image import ImagineConfig, imagine_picture
from ...systems.image_to_3d.viewpoint import Viewpoint
from ..generate import Generate
from ..reconstruct import Reconstruct
from .generate import save_embeddings
from .picture.asset import finish, share
from .picture.choice import (
    BEST,
    by_auto,
    chosen_preset,
    method_configuration,
    name_of,
    needs_relief,
)
from .picture.cut_out import marked_facts, marks_of, picked_box, show_cut_out
from .picture.given import (
    InputImage,
    check_known,
    content_of,
    order_of,
    pictures_of,
    read_known,
    say_unused,
)
from .printing import print_configuration

NO_PRIOR = "this method asks no prior"
IMAGINED = "imagined"
"""The source of a picture that the prior made."""


def reconstruct(
    options: Reconstruct, *, system: Any = None, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make an asset of a picture of one object.

    Args:
        options: of the command.
        system: a configuration made in Python instead of `options.system`.
        prior: a prior made in Python instead of `options.model.prior`.

    Returns:
        The result; None where the configuration was printed only.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    if options.system != "auto":
        options = replace(options, system=registry.SYSTEMS.canonical(options.system))
    check_prompt(options.prompt or "a thing")
    if options.method.print_config:
        print_configuration(
            replace(options, system=name_of(options)), "reconstruct", options.prompt
        )
        return None
    pictures = pictures_of(options.picture, options.further)
    picture = pictures[0]
    if options.pick:
        options = replace(options, box=picked_box(options, pictures), pick=False)
    marks = marks_of(options, len(pictures))
    check_known(options.known, len(pictures))
    method = name_of(options)
    with Run.open("reconstruct", options, name=f"{picture.stem} {method}") as run:
        config = method_configuration(options, system)
        photo = read_photo(picture, marks=marks)
        known = read_known(options.known, photo, pictures, run.events)
        if len(pictures) > 1:
            order = order_of(pictures, options.known.azimuths)
            text = f"{len(pictures)} photos are taken for views of one object: {order}"
            run.events.say(f"{text}. batch makes an asset of each picture.")
        if prior is None and options.model.prior != EMBEDDED and config.wants_prior:
            prior = run.load_prior()
        if prior is not None and config.wants_prior:
            # A model of one's own decides over the preset.
            config = method_configuration(options, system, prior, run.events)
        config = run.configure(config)
        given = InputImage(
            photo=photo,
            source=run.fact("picture", str(options.picture)),
            name=picture.stem,
            content=content_of(pictures, options.known),
            prior=prior,
            known=known,
        )
        return reconstruct_photo(run, given, config)


def generate_by_picture(
    options: Generate, *, prior: DiffusionPrior | None = None
) -> RunResult | None:
    """Make an asset of a prompt by a method that starts from a picture: the prior makes the
    picture. An empty prompt lets it choose. Raises as `reconstruct`."""
    check_prompt(options.prompt or "a thing")
    if options.method.print_config:
        print_configuration(options, "reconstruct", options.prompt)
        return None
    name = f"{options.prompt or 'anything'} {options.system}"
    with Run.open("generate", options, name=name) as run:
        config = run.configure(method_configuration(options))
        prior = prior or run.load_prior()
        if options.quality != "standard":
            run.events.say(
                f"Quality {options.quality}: this method begins with a picture; the asset alone is "
                "changed."
            )
        given = imagined(options.prompt, prior, options.run.seed)
        return reconstruct_photo(run, given, config)


def imagined(prompt: str, prior: DiffusionPrior, seed: int) -> InputImage:
    """A picture that the prior makes of a prompt. Raises VocabularyError, InputError."""
    if prompt:
        check_vocabulary(prior, parse_weighted(prompt)[0])
    how = ImagineConfig()
    pixels = imagine_picture(prompt, prior, how, seed=seed).cpu().numpy()
    photo = photo_of(
        pixels,
        "the imagined picture",
        {"size": f"imagined, {pixels.shape[1]} x {pixels.shape[0]}"},
        segmenter=BorderSegmenter(),
    )
    view = None
    if prior.facts.camera is not None:
        view = Viewpoint(math.radians(how.azimuth), math.radians(how.elevation), 0.8, margin=1.0)
    return InputImage(
        photo=photo,
        source=IMAGINED,
        name=prompt or "anything",
        content=hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
        view=view,
        prior=prior,
    )


def reconstruct_image(
    options: Reconstruct,
    picture: Callable[[], InputImage],
    hear: Callable[[str], None] | None = None,
) -> RunResult:
    """A run of its own for a picture that is in memory: an object of a scene, for instance.

    Args:
        picture: makes it, once the run's folder is there.
        hear: what is told of the warnings of this run, which shows nothing itself.

    Raises:
        UserError: of every kind in `engine.errors`.
    """
    config = method_configuration(options)
    with Run.open("reconstruct", options, name=options.picture.stem, quiet=True) as run:
        run.events.relay = hear
        return reconstruct_photo(run, picture(), config)


def reconstruct_photo(run: Run, given: InputImage, config: PictureSystem) -> RunResult:
    """Shape, colours and asset of a picture, in an opened run."""
    options, photo, events = run.options, given.photo, run.events
    export = export_config(options, config.surface)
    config = config.exported(export, options.asset.faces)
    auto = getattr(options, "system", "") == "auto"
    relief = auto and bool(needs_relief(given.known))
    prior = None if relief else _prior_of(run, given, config)
    planned = run.plan_memory(config, prior, export=export)
    # A picture that was made here may differ in rounding when the run goes on with other threads.
    made = given.source == IMAGINED
    content = run.fact("picture content", given.content) if made else given.content
    facts = {
        "picture": given.source,
        "picture content": content,
        "prompt": options.prompt,
        "system": options.system,
        "preset": chosen_preset(options, prior),
        "prior": options.model.prior,
        "seed": options.run.seed,
    }
    facts |= marked_facts(options)
    captioner = getattr(getattr(options, "known", None), "captioner", "")
    if captioner and (options.prompt or relief):
        why = "--prompt says what the picture shows" if options.prompt else NO_PRIOR
        events.say(f"Warning: --captioner changes nothing: {why}.")
    # A captioner that is not there is told before anything is written.
    words = Words(options.prompt) if relief else _words(run, photo, config, prior)
    run.describe(facts, config, export, planned=planned)
    show_cut_out(run, photo)
    picture = PictureRequest(
        photo=photo,
        prompt=words.text,
        prior=prior or AbsentPrior(),
        seed=options.run.seed,
        limits=limits_from(planned),
        events=events,
        view=given.view,
        said=bool(options.prompt),
        sure=words.sure,
        maybe=words.maybe,
        known=given.known,
        part=given.part,
    )
    method = name_of(options)
    plans: list[StagePlan] = []
    if auto:
        config, found, method = by_auto(config, picture, options.asset.faces)
        run.events.record("method", chosen=method)
        begin_with(found, picture)
    else:
        takes = {"--depth", "--normal", "further photos"} if config.takes_views else set()
        takes |= {"--depth"} if method == "field" else set()
        # Its perspective is that of its generator.
        takes |= {"--fov", "--distance"} if method != "g3dr" else set()
        say_unused(given.known, method, takes, events)
        plans += config.plans(picture)
    plans += refinement_plans(config, picture)
    found = refined(config, picture, run.execute(plans, "shape", last=False) if plans else {})
    return _coloured(run, picture, found, config, method=method, prior=prior)


@dataclass(frozen=True)
class Words:
    """What the prior is asked for; whether that is a sure guess; whether the embedded world may
    know the thing."""

    text: str
    sure: bool = False
    maybe: bool = False


def _words(run: Run, photo: Photo, config: PictureSystem, prior: DiffusionPrior | None) -> Words:
    """The prompt: the user's, a captioner's, a sure guess of the embedded world where that is what
    the prior knows, or none. Raises ModelError."""
    options, events = run.options, run.events
    known = getattr(options, "known", None)
    if options.prompt:
        text, left = options.prompt, ""
        if prior is not None:
            text, left = said_of_picture(options.model, options.prompt, prior)
        if left:
            events.say(f"Warning: {left}.")
        events.record("prompt", text=text, guessed=False)
        return Words(text)
    if known is not None and known.captioner:
        text = describe_picture(known.captioner, photo)
        events.say(f'Guessed by {known.captioner}: the picture shows "{text}".')
        events.record("prompt", text=text, guessed=True)
        return Words(text)
    asked = prior is not None or name_of(options) == BEST
    if not asked or (prior is not None and prior.facts.vocabulary is None):
        if prior is not None:
            events.say("No --prompt: the prior is asked with an empty one.")
        events.record("prompt", text="", guessed=False)
        return Words("")
    caption = guess_caption(photo, config.twin)
    events.say(caption.line())
    events.record(
        "prompt",
        text=caption.text if caption.sure else "",
        guessed=True,
        nearest=caption.text,
        likeness=caption.likeness,
    )
    return Words(caption.text if caption.sure else "", caption.sure, caption.maybe)


def _coloured(
    run: Run,
    picture: PictureRequest,
    found: ShapeFound,
    config: PictureSystem,
    *,
    method: str,
    prior: DiffusionPrior | None,
) -> RunResult:
    """A shape's colours, and the asset."""
    options, photo, events = run.options, picture.photo, run.events
    export = export_config(options, config.surface)
    events.record(
        "shape",
        azimuth=found.pose.azimuth,
        elevation=found.pose.elevation,
        agreement=found.pose.agreement,
        rival=found.pose.rival,
        candidates=found.agreements,
    )
    if found.pose.undecided:
        events.say(found.pose.undecided)
    for text in (note for name, note in found.figures.items() if name.startswith("photo ")):
        events.say(f"A further photo: {text}.")
    if found.voxels is not None and run.leads():
        with new_file(run.folder / "work" / "voxels.npy") as path:
            np.save(path, (found.voxels * 255).astype(np.uint8))
    mesh, how = unwrap(found.mesh, export.texture, export.unwrap_seconds)
    atlas = join_atlas(Asset({"object": mesh.with_normals()}), export.texture)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    coloured = lay_back(
        surface,
        photo,
        found.pose,
        poses=found.poses,
        config=config.colour,
        frame=found.frame(photo),
        others=found.others,
    )
    painted, stages = None, {}
    if config.colour.complete == "paint":
        assert prior is not None
        plans, painted = completion_plans(
            coloured, atlas, picture.prompt, prior=prior, config=config.colour, seed=picture.seed
        )
        stages = run.execute(plans, last=False)
    run.lead_alone()
    if prior is not None:
        save_embeddings(run, prior)
    done = completed(coloured, config.colour, painted, stages=stages, colour=found.colour)
    charts = done.charts
    figures: dict[str, Any] = {
        "method": method,
        "faces": len(mesh.faces),
        "agreement with the picture's silhouette": found.pose.agreement,
        "azimuth, degrees": float(np.degrees(found.pose.azimuth)),
        "elevation, degrees": float(np.degrees(found.pose.elevation)),
        "texels from the picture": share(coloured.seen, charts),
        "texels mirrored": share(coloured.mirrored, charts),
        "texels completed": 1 - share(coloured.seen | coloured.mirrored, charts),
        "unwrap": how,
        "prompt": picture.prompt or "none",
        **found.figures,
    }
    return finish(
        run,
        photo,
        found,
        surface=done,
        config=config,
        figures=figures,
        method=method,
        known=picture.known,
    )


def _prior_of(run: Run, given: InputImage, config: PictureSystem) -> DiffusionPrior | None:
    """The prior that the method asks; None where it asks none. Raises ConfigError, ModelError."""
    options, prior = run.options, given.prior
    if prior is None and (config.colour.complete == "paint" or config.wants_prior):
        prior = run.load_prior()
    if prior is None:
        refuse_parts(options.model, NO_PRIOR, "Leave it out, or take --method field")
        if options.model.prior != EMBEDDED:
            run.events.say(f"Warning: --prior changes nothing: {NO_PRIOR}.")
    if prior is not None and options.prompt:
        read_prompt(prior, said_of_picture(options.model, options.prompt, prior)[0], run.events)
    return prior
