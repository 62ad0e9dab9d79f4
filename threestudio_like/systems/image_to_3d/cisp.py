"""`reconstruct --method cisp`: a picture's CISP embedding guides voxel diffusion; the shape takes
its colours from the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import CollapseError, ConfigError
from ...engine.events import Events
from ...engine.loop import Stage, StagePlan
from ...engine.random import RandomStream
from ...engine.schema.bounds import Count, Number, OptionalSize, Weight
from ...meshes.surface.simplify import decimate
from ...meshes.surface.voxels import to_mesh
from ...priors.networks.contrastive import BACKGROUND, Contrastive
from ...priors.registry import EMBEDDED, embedded_folder
from ...priors.voxel_diffusion import ShapePrior, VoxelDiffusion, VoxelSampling
from ...stages.mesh import MeshStageConfig
from ...toybox.editions import edition_of
from .back_projection import ProjectionConfig
from .known import Known
from .method import PictureRequest, PictureSystem, ShapeFound
from .named import named_likeness
from .photo import Photo
from .pose import PoseConfig, find_pose
from .runner_up import decide_turn


@dataclass(frozen=True, kw_only=True)
class CispConfig:
    """Picture to shape."""

    embedding: Literal["cisp", "clip"] = "cisp"
    """Whose embedding guides; the generators of both were trained alike."""
    models: str = ""
    """Folder with cisp/, voxels-cisp/ (clip/, voxels-clip/) as `train` writes it; empty for the
    embedded models."""
    sampling: VoxelSampling = field(default_factory=VoxelSampling)
    candidates: Number = 4
    """Shapes that are sampled; the one whose silhouette agrees best with the picture's is taken."""
    worded: Count = 3
    """Shapes that are sampled besides under the user's prompt, by the twin that knows words: a
    picture of half an object misleads."""
    liking: Weight = 0.1
    """With a prompt: what a shape's likeness to the worded ones (mean cosine of CISP's embeddings)
    counts beside the silhouette's agreement."""
    naming: Weight = 0.05
    """With a prompt: what it counts that a shape looks like the thing named (`named_likeness`)."""
    pose: PoseConfig = field(default_factory=PoseConfig)
    faces: Count = 6000
    """Face budget; 0 keeps all."""


@dataclass(frozen=True, kw_only=True)
class CispReconstruction(PictureSystem):
    """Configuration of `reconstruct --method cisp`."""

    shape: CispConfig = field(default_factory=CispConfig)
    colour: ProjectionConfig = field(default_factory=ProjectionConfig)
    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the shape, optimised at the end; switched on by --refine-mesh or its steps."""
    resolution: OptionalSize = 0
    """Cells of the voxel grid; 0 takes the model's own, the only one that it can."""

    def with_faces(self, faces: int) -> CispReconstruction:
        """See `PictureSystem`."""
        return replace(self, shape=replace(self.shape, faces=faces))

    @staticmethod
    def paper() -> CispReconstruction:
        """The released sampling: one shape in 1000 ancestral steps."""
        return CispReconstruction(
            shape=CispConfig(sampling=VoxelSampling.paper(), candidates=1, worded=0)
        )

    @property
    def wants_prior(self) -> bool:
        """See `PictureSystem`."""
        return False

    @property
    def twin(self) -> Path | None:
        """See `PictureSystem`."""
        return Path(self.shape.models) / "clip" if self.shape.models else None

    def check(self) -> None:
        """See `PictureSystem`."""
        if self.resolution:
            raise ConfigError(
                "has no say in how large the model's voxel grid is", "--resolution", "Leave it out"
            )
        load_models(self.shape.embedding, self.shape.models)

    def plans(self, request: PictureRequest) -> list[StagePlan]:
        """Nothing is optimised: the shape is sampled."""
        return []

    def result(self, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
        """The sampled shape that agrees best with the picture."""
        events = request.events
        events.status("shape: sampling voxels under the picture's embedding", force=True)
        said = request.prompt if request.said or request.sure else ""
        return reconstruct_shape(
            request.photo,
            self.shape,
            request.seed,
            events=events,
            prompt=said,
            known=request.known,
        )


@lru_cache(maxsize=4)
def load_models(embedding: str, models: str = "") -> tuple[Contrastive, VoxelDiffusion]:
    """Encoder and generator. Raises ModelError."""
    folder = Path(models) if models else embedded_folder("cisp")
    return Contrastive.load(folder / embedding), VoxelDiffusion.load(folder / f"voxels-{embedding}")


def knows_words(prompt: str, models: str) -> bool:
    """Whether the twin that lies beside the models can be asked for a prompt; the embedded one
    knows single objects in a closed vocabulary."""
    if models:
        return (Path(models) / "clip").is_dir() and (Path(models) / "voxels-clip").is_dir()
    return edition_of(embedded_folder("cisp") / "clip").vocabulary.names_one(prompt)


@torch.no_grad()
def worded_shapes(photo: Photo, prompt: str, config: CispConfig, seed: int) -> torch.Tensor:
    """Shapes (worded, R, R, R) in [0, 1] of a prompt: the twin's text embedding, of the length of
    the picture's, guides its generator."""
    from ...priors.text.tokens import tokenizer_of

    twin, prior = load_models("clip", config.models)
    folder = (Path(config.models) if config.models else embedded_folder("cisp")) / "clip"
    ids = tokenizer_of(folder)(
        [prompt],
        padding="max_length",
        max_length=twin.config.text.tokens,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    text, image = (
        twin.embed_other(ids),
        twin.embed(photo.framed(twin.config.image.size, BACKGROUND)),
    )
    embedding = F.normalize(text, dim=-1) * image.norm(dim=-1, keepdim=True)
    return prior.sample(
        embedding, config.worded, config.sampling, RandomStream(seed, "worded voxels", 0)
    )


@torch.no_grad()
def shape_of(
    embedding: torch.Tensor,
    mask: torch.Tensor,
    prior: ShapePrior,
    config: CispConfig,
    seed: int,
    events: Events | None = None,
    worded: torch.Tensor | None = None,
    encoder: Contrastive | None = None,
    known: tuple[float | None, float | None] = (None, None),
    prompt: str = "",
) -> ShapeFound:
    """Sample shapes under an embedding (1, D) and take the one that agrees best with the framed
    mask (S, S), and with the words.

    Args:
        worded: more candidates (W, R, R, R) in [0, 1], which a prompt asked for. encoder: tells how
            alike any candidate and these are. known: azimuth and elevation in radians, where they
            are known. prompt: that all candidates should look like.

    Raises:
        CollapseError: no candidate holds anything.
    """
    volumes = prior.sample(
        embedding, config.candidates, config.sampling, RandomStream(seed, "voxels", 0)
    )
    likings = torch.zeros(len(volumes))
    if worded is not None and encoder is not None and worded.shape[1:] == volumes.shape[1:]:
        volumes = torch.cat([volumes, worded])
        looks = F.normalize(encoder.embed_other(volumes), dim=-1)
        likings = config.liking * (looks @ looks[-len(worded) :].t()).mean(1)
    found: list[ShapeFound | None] = []
    for number, volume in enumerate(volumes.numpy()):
        if events is not None:
            events.status(
                f"shape: candidate {number + 1}/{len(volumes)} against the picture's silhouette",
                force=True,
            )
        found.append(_candidate(volume, mask, config, known))
    if config.naming > 0:
        meshes = [None if f is None else f.mesh for f in found]
        likings += config.naming * named_likeness(meshes, prompt)
    best: ShapeFound | None = None
    top = -math.inf
    for one, liking in zip(found, likings.tolist()):
        if one is not None and one.pose.agreement + liking > top:
            best, top = one, one.pose.agreement + liking
    if best is None:
        raise CollapseError(
            "no sampled shape holds anything",
            "voxel diffusion",
            "Try another --seed, or a picture that shows the object more clearly",
        )
    best.agreements = [0.0 if f is None else f.pose.agreement for f in found]
    return best


def _candidate(
    volume: np.ndarray,
    mask: torch.Tensor,
    config: CispConfig,
    known: tuple[float | None, float | None],
) -> ShapeFound | None:
    """A sampled volume as a shape in its best pose; None where it holds nothing."""
    mesh = to_mesh(volume)
    if mesh is None:
        return None
    if config.faces and len(mesh.faces) > config.faces:
        mesh = decimate(mesh, config.faces)
    pose = find_pose(mesh, mask, config.pose, known=known)
    return ShapeFound(mesh, pose, config.pose, voxels=volume)


def reconstruct_shape(
    photo: Photo,
    config: CispConfig,
    seed: int,
    events: Events | None = None,
    prompt: str = "",
    known: Known | None = None,
) -> ShapeFound:
    """The shape of a picture; `prompt` is what the user says that it shows, or what is surely
    guessed, `known` what is known of the camera. Raises ModelError, CollapseError."""
    known = known or Known()
    config = replace(config, pose=known.poses(photo, config.pose))
    encoder, prior = load_models(config.embedding, config.models)
    size = encoder.config.image.size
    with torch.no_grad():
        embedding = encoder.embed(photo.framed(size, BACKGROUND))
    worded = None
    if (
        prompt
        and config.worded > 0
        and config.embedding == "cisp"
        and knows_words(prompt, config.models)
    ):
        worded = worded_shapes(photo, prompt, config, seed=seed)
    found = shape_of(
        embedding,
        photo.mask(config.pose.size),
        prior,
        config=config,
        seed=seed,
        events=events,
        worded=worded,
        encoder=encoder,
        known=(known.azimuth, known.elevation),
        prompt=prompt,
    )
    if known.azimuth is None:
        found.pose = decide_turn(found.mesh, photo, found.pose, found.poses, depth=EMBEDDED)
    return found
