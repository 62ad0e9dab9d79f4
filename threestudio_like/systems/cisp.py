"""`reconstruct --method cisp`: a picture's CISP embedding guides voxel diffusion; the shape takes its colours from the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from ..engine.errors import CollapseError, ConfigError
from ..engine.events import Events
from ..engine.random import RandomStream
from ..meshes.simplify import decimate
from ..meshes.voxels import to_mesh
from ..priors.contrastive import BACKGROUND, Contrastive
from ..priors.voxel_diffusion import ShapePrior, VoxelDiffusion, VoxelSampling
from .found import ShapeFound, Work, weights_folder
from .photo import Photo
from .pose import PoseConfig, find_pose
from .projection import ProjectionConfig


@dataclass
class CispConfig:
    """Picture to shape."""

    embedding: Literal["cisp", "clip"] = "cisp"
    """Whose embedding guides; the generators of both were trained alike."""
    models: str = ""
    """Folder with cisp/, voxels-cisp/ (clip/, voxels-clip/) as `train` writes it; empty for the embedded models."""
    sampling: VoxelSampling = field(default_factory=VoxelSampling)
    candidates: int = 4
    """Shapes that are sampled; the one whose silhouette agrees best with the picture's is taken."""
    pose: PoseConfig = field(default_factory=PoseConfig)
    faces: int = 6000
    """Face budget."""


@dataclass
class CispReconstruction:
    """Configuration of `reconstruct --method cisp`."""

    shape: CispConfig = field(default_factory=CispConfig)
    colour: ProjectionConfig = field(default_factory=ProjectionConfig)
    resolution: int = 0
    """Cells of the voxel grid; 0 takes the model's own, the only one that it can."""

    @staticmethod
    def paper() -> CispReconstruction:
        """The released sampling: one shape in 1000 ancestral steps."""
        return CispReconstruction(CispConfig(sampling=VoxelSampling.paper(), candidates=1))

    @property
    def wants_prior(self) -> bool:
        """See `PictureMethod`."""
        return False

    @property
    def twin(self) -> Path | None:
        """See `PictureMethod`."""
        return Path(self.shape.models) / "clip" if self.shape.models else None

    def check(self) -> None:
        """See `PictureMethod`."""
        if self.resolution:
            raise ConfigError("has no say in how large the model's voxel grid is", "--resolution", "Leave it out")
        load_models(self.shape.embedding, self.shape.models)

    def find(self, photo: Photo, work: Work) -> ShapeFound:
        """See `PictureMethod`."""
        work.events.status("shape: sampling voxels under the picture's embedding", force=True)
        return reconstruct_shape(photo, self.shape, work.seed, work.events)


@lru_cache(maxsize=4)
def load_models(embedding: str, models: str = "") -> tuple[Contrastive, VoxelDiffusion]:
    """Encoder and generator. Raises ModelError."""
    folder = Path(models) if models else weights_folder()
    return Contrastive.load(folder / embedding), VoxelDiffusion.load(folder / f"voxels-{embedding}")


@torch.no_grad()
def shape_of(
    embedding: torch.Tensor,
    mask: torch.Tensor,
    prior: ShapePrior,
    config: CispConfig,
    seed: int,
    events: Events | None = None,
) -> ShapeFound:
    """Sample shapes under an embedding (1, D) and take the one that agrees best with the framed mask (S, S).

    Raises:
        CollapseError: no candidate holds anything.
    """
    volumes = prior.sample(embedding, config.candidates, config.sampling, RandomStream(seed, "voxels", 0)).numpy()
    best: ShapeFound | None = None
    agreements = []
    for number, volume in enumerate(volumes):
        if events is not None:
            events.status(f"shape: candidate {number + 1}/{len(volumes)} against the picture's silhouette", force=True)
        mesh = to_mesh(volume)
        if mesh is None:
            agreements.append(0.0)
            continue
        mesh = decimate(mesh, config.faces) if len(mesh.faces) > config.faces else mesh
        pose = find_pose(mesh, mask, config.pose)
        agreements.append(pose.agreement)
        if best is None or pose.agreement > best.pose.agreement:
            best = ShapeFound(mesh, pose, config.pose, None, volume, agreements)
    if best is None:
        raise CollapseError(
            "no sampled shape holds anything",
            "voxel diffusion",
            "Try another --seed, or a picture that shows the object more clearly",
        )
    return best


def reconstruct_shape(photo: Photo, config: CispConfig, seed: int, events: Events | None = None) -> ShapeFound:
    """The shape of a picture. Raises ModelError, CollapseError."""
    encoder, prior = load_models(config.embedding, config.models)
    size = encoder.config.image.size
    with torch.no_grad():
        embedding = encoder.embed(photo.framed(size, BACKGROUND))
    return shape_of(embedding, photo.mask(config.pose.size), prior, config, seed, events)
