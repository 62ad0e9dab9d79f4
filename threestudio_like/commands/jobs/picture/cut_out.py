"""What `reconstruct` does about the cut-out: the box that is clicked, the marks as facts of a run,
and the picture that is shown first."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.errors import ConfigError
from ....engine.output import write_file
from ....meshes.io.images import encode_png
from ....priors.registry import EMBEDDED
from ....priors.segmentation.loading import promptable
from ....runs.session import Run
from ....systems.cut_out.cut import Marks
from ....systems.image_to_3d.photo import Photo
from ...reconstruct import Reconstruct
from ..view import ViewOptions, pick_boxes


def picked_box(options: Reconstruct, pictures: list[Path]) -> str:
    """The box of the object that the user clicks in the browser. Raises ConfigError where it is
    given already, or where there are several photos."""
    if options.box or options.mask is not None:
        raise ConfigError("asks for a box that is given", "--pick", "Leave out --box and --mask")
    if len(pictures) > 1:
        raise ConfigError(
            f"is of one picture, and there are {len(pictures)}",
            "--pick",
            "Cut the objects out of the photos, or give one photo",
        )
    name = options.segmenter if promptable(options.segmenter) else EMBEDDED
    boxes = pick_boxes(pictures[0], "the object", ViewOptions(segmenter=name))
    assert boxes is not None
    return boxes[0]


def marks_of(options: Reconstruct, photos: int) -> Marks:
    """Where the user says that the object is. Raises ConfigError where it is said twice, or of
    which of several photos is not clear."""
    marks = Marks(mask=options.mask, box=options.box, segmenter=options.segmenter)
    marks.check()
    if photos > 1 and (options.mask is not None or options.box):
        raise ConfigError(
            f"is of one picture, and there are {photos}",
            "--mask" if options.mask is not None else "--box",
            "Cut the objects out of the photos, or give one photo",
        )
    return marks


def marked_facts(options: Any) -> dict[str, Any]:
    """What the user says of where the object is, as facts of the run."""
    facts: dict[str, Any] = {}
    for name in ("box", "segmenter"):
        if getattr(options, name, ""):
            facts[name] = getattr(options, name)
    mask = getattr(options, "mask", None)
    if mask is not None:
        facts["mask content"] = hashlib.sha256(mask.expanduser().read_bytes()).hexdigest()[:16]
    return facts


def show_cut_out(run: Run, photo: Photo) -> None:
    """Write the cut-out, which is the first thing to look at; say how it was found and what is
    doubtful of it."""
    events = run.events
    for name, note in photo.notes.items():
        events.record("picture", part=name, note=note)
        if "nothing stood out" in note:
            events.say(
                f"Warning: {note}. Give --mask or --box, or a picture with alpha: docs/pictures.md."
            )
    for line in photo.told:
        events.record("picture", part="told", note=line)
        events.say(f"Warning: the picture: {line}.")
    if not run.leads():
        return
    path = run.folder / "cut-out.png"
    write_file(
        path, encode_png(np.rint(photo.pixels.clip(0, 1) * 255).astype(np.uint8)), force=True
    )
    if not run.resumed:
        grey = photo.framed(256, 0.96)[0].numpy()
        preview = encode_png(np.rint(grey * 255).astype(np.uint8))
        write_file(run.folder / "work" / "preview.png", preview, force=True)
    how = photo.notes.get("background", "")
    events.record("cut-out", path=path.name, how=how)
    events.say(f"{path}  (the object, cut out {how})")
