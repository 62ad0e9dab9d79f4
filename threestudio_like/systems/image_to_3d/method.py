"""What the methods of `reconstruct` share: what they are given besides the picture, and what they
find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ...engine.config import dotted
from ...engine.errors import ConfigError
from ...engine.events import Events
from ...meshes.mesh import Mesh
from ...meshes.surface.extraction import ExtractionConfig
from ...priors.absent import AbsentPrior
from ...priors.diffusion import DiffusionPrior
from ...priors.framing import Similarity, boxes
from ...priors.registry import embedded_folder
from ...stages.field_to_mesh import AssetConfig, surface_settings
from ...toybox.editions import edition_of
from ..system import Request, System, Task
from .back_projection import ProjectionConfig
from .known import Known
from .photo import Photo
from .pose import Pose, PoseConfig, matching_cut
from .relief.photos import PlacedPhoto
from .viewpoint import Viewpoint

Colour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Points (N, 3) and unit normals (N, 3) -> colours (N, 3) in [0, 1]."""


@dataclass
class ShapeFound:
    """A shape for a picture: its mesh, upright, and the camera from which it looks like the
    picture.

    poses: distance and field of view of that camera. colour: what the method says of colours where
    the picture shows none. voxels (R, R, R) and agreements of all candidates, where there were any.
    figures: for the report. cut: the square of the picture that the camera sees, where the method
    knows it exactly. others: further photos with their cameras. one_sided: whether nothing but this
    picture says how deep the shape is.
    """

    mesh: Mesh
    pose: Pose
    poses: PoseConfig
    colour: Colour | None = None
    voxels: np.ndarray | None = None
    agreements: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    cut: Similarity | None = None
    others: list[PlacedPhoto] = field(default_factory=list)
    one_sided: bool = False

    def frame(self, photo: Photo) -> Similarity:
        """The square of the picture that the pose's camera sees."""
        if self.cut is not None:
            return self.cut
        box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
        return matching_cut(self.mesh, self.pose, self.poses, box=box)


def quiet_events() -> Events:
    """Events that nobody sees."""
    return Events(None, "quiet")


@dataclass(kw_only=True)
class PictureRequest(Request):
    """What a method is asked to make of one picture.

    Attributes:
        photo: the picture without its background.
        events: what the method tells while it works.
        view: from where the picture was taken, if that is known.
        said: whether the prompt is the user's own, and no guess; sure: whether a guess is sure;
            maybe: whether the embedded world may know the thing.
        known: what the user knows of the picture.
        part: whether it is cut out of a picture of several things.
    """

    photo: Photo
    prior: DiffusionPrior = field(default_factory=AbsentPrior)
    prompt: str = ""
    events: Events = field(default_factory=quiet_events)
    view: Viewpoint | None = None
    said: bool = False
    sure: bool = False
    maybe: bool = False
    known: Known = field(default_factory=Known)
    part: bool = False

    @property
    def world_knows(self) -> bool:
        """Whether the embedded world knows what the picture shows: by a sure guess, or because the
        user's prompt is one of its own."""
        words = edition_of(embedded_folder("cisp") / "clip").vocabulary
        return self.sure or (self.said and words.names_one(self.prompt))


class PictureSystem(System[PictureRequest, ShapeFound]):
    """A way from one picture to a shape: a `System` whose result is the shape and the camera from
    which it looks like the picture. Its colours come from the picture (`colour`), and where the
    picture shows none from what `colour` says.

    `result` raises CollapseError where nothing comes out.
    """

    task: ClassVar[Task] = "image-to-3d"
    colour: ProjectionConfig

    @property
    def surface(self) -> ExtractionConfig | None:
        """How the shape's surface is extracted from a volume; None where it is made otherwise."""
        return None

    def with_surface(self, surface: ExtractionConfig) -> Self:
        """The method with another `surface`; the same where it has none."""
        return self

    def with_faces(self, faces: int) -> Self:
        """The method with a face budget of its own, 0 for all; of those that have no `surface`. A
        value of the name `faces` is one. Raises ConfigError where there is none."""
        if is_dataclass(self) and any(f.name == "faces" for f in fields(self)):
            changed: Self = replace(self, faces=faces)
            return changed
        raise ConfigError(
            "this method has no face budget", "--faces", "Leave it out, or choose another --system"
        )

    def exported(self, export: AssetConfig, faces: int | None = None) -> Self:
        """The method with the surface of an export that was made on its own `surface`, and with the
        face budget, if one was asked for. Raises ConfigError where it has a surface of its own kind
        and the export asks for something else of it."""
        if self.surface is not None:
            return self.with_surface(surface_settings(export, export.extraction))
        asked = {"extraction.faces": ExtractionConfig().faces if faces is None else faces}
        plain = dotted(AssetConfig())
        for name, value in dotted(export).items():
            of_surface = name.startswith("extraction.") or name in ("resolution", "smooth")
            if of_surface and value != asked.get(name, plain[name]):
                raise ConfigError(
                    "this method does not extract its surface from a field",
                    f"--export.{name}",
                    "Leave it out, or choose another --system",
                )
        return self if faces is None else self.with_faces(faces)

    @property
    def twin(self) -> Path | None:
        """Folder of the caption model that guesses a prompt; None for the embedded one."""
        return None

    @property
    def takes_views(self) -> bool:
        """Whether it makes one shape of several photos."""
        return False
