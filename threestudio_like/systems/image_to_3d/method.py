"""What the methods of `reconstruct` share: what they are given besides the picture, and what they
find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ...engine.events import Events
from ...engine.limits import Limits
from ...engine.loop import Stage, StagePlan
from ...meshes.mesh import Mesh
from ...priors.diffusion import DiffusionPrior
from ...priors.networks.contrastive import BACKGROUND, Contrastive
from ...priors.registry import embedded_folder
from ...toybox.vocabulary import CATEGORIES, COLOURS, MODES, Phrase
from ...toybox.world import describe
from .back_projection import ProjectionConfig
from .photo import Photo
from .pose import Pose, PoseConfig
from .viewpoint import Viewpoint

Colour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Points (N, 3) and unit normals (N, 3) -> colours (N, 3) in [0, 1]."""


@dataclass
class ShapeFound:
    """A shape for a picture: its mesh, upright, and the camera from which it looks like the
    picture.

    poses: distance and field of view of that camera. colour: what the method says of colours where
        the picture shows none. voxels
    (R, R, R) and agreements of all candidates, where there were any. figures: for the report.
    """

    mesh: Mesh
    pose: Pose
    poses: PoseConfig
    colour: Colour | None = None
    voxels: np.ndarray | None = None
    agreements: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Work:
    """What a method is given besides the picture.

    run: carries out stages with checkpoints in the run's folder, and returns them by name. view:
        from where the picture was taken, if that is
    known. said: whether the prompt is the user's own, and no guess. limits: what is done at once,
        where a memory plan says so.
    """

    seed: int
    events: Events
    prompt: str = ""
    prior: DiffusionPrior | None = None
    run: Callable[[list[StagePlan]], dict[str, Stage]] | None = None
    view: Viewpoint | None = None
    said: bool = False
    limits: Limits = field(default_factory=Limits)


class PictureMethod(Protocol):
    """A way from a picture to a shape. Its instance is its configuration."""

    colour: ProjectionConfig
    resolution: int

    @property
    def wants_prior(self) -> bool:
        """Whether the shape needs the diffusion prior."""

    @property
    def twin(self) -> Path | None:
        """Folder of the caption model that guesses a prompt; None for the embedded one."""

    def check(self) -> None:
        """Load what the method needs, so that what is missing is said at once. Raises ModelError,
        ConfigError."""

    def find(self, photo: Photo, work: Work) -> ShapeFound:
        """The shape. Raises CollapseError where nothing comes out."""


@torch.no_grad()
def guess_caption(photo: Photo, folder: Path | None = None) -> str:
    """The toybox caption that CISP's twin (in `folder`; the embedded one by default) holds nearest
    to the picture."""
    from ...priors.tokens import tokenizer_of

    folder = folder or embedded_folder("cisp") / "clip"
    twin = Contrastive.load(folder)
    captions = [
        describe(Phrase(c, k, MODES.get(c, (None,))[0])) for c in CATEGORIES for k in COLOURS
    ]
    ids = tokenizer_of(folder)(
        captions,
        padding="max_length",
        max_length=twin.config.text.tokens,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    image = torch.nn.functional.normalize(
        twin.embed(photo.framed(twin.config.image.size, BACKGROUND)), dim=-1
    )
    text = torch.nn.functional.normalize(twin.embed_other(ids), dim=-1)
    return captions[int((image @ text.t()).argmax())]
