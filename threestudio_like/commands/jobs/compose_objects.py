"""The objects of a scene: each made by `reconstruct` in a run of its own within the scene's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import CollapseError, InputError
from ...engine.events import read_events
from ...meshes.io.files import read
from ...priors.diffusion import DiffusionPrior
from ...runs.configure import export_config
from ...runs.options import RunOptions
from ...runs.record import read_finished
from ...runs.session import Run
from ...systems.image_to_3d.known import Known
from ...systems.image_to_3d.photo import photo_of
from ...systems.registry import SYSTEMS
from ...systems.scene.amodal_completion import Completed
from ...systems.scene.objects import SceneObject, object_of
from ...systems.scene.parts import Part
from ..reconstruct import Reconstruct
from .picture.choice import method_configuration
from .picture.given import InputImage
from .reconstruct import imagined, reconstruct_image


def object_options(options: Any, folder: Path, name: str, phrase: str) -> Reconstruct:
    """What `reconstruct` is asked for one object in a folder of its own, by the options of
    `compose`."""
    system = options.method_name
    return Reconstruct(
        picture=Path(f"{name} of the scene"),
        system=system if system == "auto" else SYSTEMS.canonical(system),
        prompt=phrase,
        # The prior is one for all, and so is the bundle of its embeddings.
        model=replace(options.model, save_embeddings=None),
        asset=replace(options.asset, turntable=False),
        run=RunOptions(
            out=folder,
            seed=options.run.seed,
            device=options.run.device,
            minutes=options.run.minutes,
            keep="nothing",
            quiet=True,
        ),
        set={k: v for k, v in options.set.items() if k.startswith("export.")},
    )


def of_made_objects(options: Any) -> dict[str, bool]:
    """What is said of objects that are made here -> whether it is: nothing where they are given."""
    return {
        "--method": options.method_name != "auto",
        "--faces": options.asset.faces is not None,
        "--texture": options.asset.texture is not None,
    }


def check_export(options: Any) -> None:
    """Raise ConfigError where the method that reconstructs the objects cannot do what --faces and
    --export.… ask."""
    asked = object_options(options, Path("objects"), "object", "")
    method = method_configuration(asked)
    method.exported(export_config(asked, method.surface), asked.asset.faces)


@dataclass(kw_only=True)
class ObjectMaker:
    """Makes the objects of a run of `compose`; objects that are there already are kept."""

    run: Run
    prior: DiffusionPrior
    fits: dict[str, str] = field(default_factory=dict)
    """The word about every object that was made, for the report."""

    def reconstruct(
        self, name: str, part: Part, done: Completed, elevation: float | None = None
    ) -> SceneObject:
        """One object by `reconstruct`, in a folder of its own; one that is there already (a run
        that goes on) is taken as it is.

        Args:
            elevation: degrees by which its picture looks down, where that is known.
        """
        folder = self.run.folder / "objects" / name
        if not _finished(folder):
            self.run.events.status(f"scene: reconstructing {part.phrase or name}", force=True)
            pixels = np.ascontiguousarray(done.pixels, np.float32)

            def picture() -> InputImage:
                return InputImage(
                    photo=photo_of(pixels, name, {"size": "cut out of the scene"}),
                    source=f"{name} of the scene",
                    name=name,
                    content=hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
                    prior=self.prior,
                    known=Known(elevation=None if elevation is None else math.radians(elevation)),
                    part=True,
                )

            self._make(name, part.phrase, picture)
        return self._opened(folder, name)

    def imagine(self, name: str, phrase: str) -> SceneObject:
        """One object of a phrase alone, in a folder of its own."""
        folder = self.run.folder / "objects" / name
        if not _finished(folder):
            self.run.events.status(f"scene: making {phrase}", force=True)
            self._make(
                name, phrase, lambda: imagined(phrase, self.prior, self.run.options.run.seed)
            )
        return self._opened(folder, name)

    def _make(self, name: str, phrase: str, picture: Callable[[], InputImage]) -> None:
        """A run of `reconstruct` within this one."""
        _clear(self.run.folder / "objects" / name)
        options = object_options(
            self.run.options, self.run.folder / "objects" / name, name=name, phrase=phrase
        )
        try:
            reconstruct_image(options, picture, hear=lambda line: self._hear(phrase or name, line))
        except (CollapseError, InputError) as error:
            raise type(error)(
                f'"{phrase or name}": {error.what}', error.where, error.remedy
            ) from None

    def _hear(self, what: str, line: str) -> None:
        """A warning of an object's own run is the scene's too."""
        self.run.events.say(f"Warning: {what}: {line.removeprefix('Warning: ')}")

    def _opened(self, folder: Path, name: str) -> SceneObject:
        events = read_events(folder / "events.jsonl")
        shape, fit = (
            next((e for e in events if e["event"] == kind), {}) for kind in ("shape", "fit")
        )
        if fit:
            self.fits[f"fit: {name}"] = fit["fit"]
            if fit["fit"] != "fits":
                # The run within is quiet.
                self.run.events.say(f"Warning: {name}: {fit['line']}")
        self.run.events.record(
            "reconstructed",
            name=name,
            **{k: shape.get(k) for k in ("azimuth", "elevation", "agreement")},
        )
        return object_of(
            read(folder / "asset.glb"),
            name,
            shape.get("azimuth", 0.0),
            elevation=shape.get("elevation"),
            agreement=shape.get("agreement", float("nan")),
        )


def _finished(folder: Path) -> bool:
    return (folder / "asset.glb").is_file() and read_finished(folder) is not None


def _clear(folder: Path) -> None:
    """Remove what a run that was cut off has left of an object."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
