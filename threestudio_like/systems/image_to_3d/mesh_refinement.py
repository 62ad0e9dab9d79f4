"""The mesh stage of `reconstruct`: the shape that a method found for a picture, held to the picture
and to itself."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...engine.loop import Stage, StagePlan
from ...meshes.surface.extraction import decimate
from ...priors.diffusion import Reference
from ...priors.framing import boxes
from ...stages.mesh import MeshModel, MeshStageConfig, MeshStart
from ...stages.mesh.targets import GivenView
from ..refined_mesh import NAME, mesh_plans
from .method import PictureRequest, PictureSystem, ShapeFound
from .pose import matching_cut, seen_from

BEFORE = "shape before the mesh"
FACES = 16000
"""Faces at most of a refined shape: those of an export by default."""


def begin_with(found: ShapeFound, request: PictureRequest) -> None:
    """Let a shape that is found already be that of a request."""
    request.once(BEFORE, lambda: found)


def shape_of_request(
    config: PictureSystem, request: PictureRequest, done: dict[str, Stage]
) -> ShapeFound:
    """What a method finds without its mesh stage; made once for a request."""
    return request.once(BEFORE, lambda: config.result(request, done))


def refinement_plans(config: PictureSystem, request: PictureRequest) -> list[StagePlan]:
    """The mesh stage after a method's own stages, where it is switched on."""
    mesh: MeshStageConfig | None = getattr(config, "mesh", None)
    if mesh is None:
        return []

    def start(done: dict[str, Stage]) -> MeshStart:
        return start_of(shape_of_request(config, request, done), request)

    return mesh_plans(mesh, request, start)


def start_of(found: ShapeFound, request: PictureRequest) -> MeshStart:
    """A shape with its colours and its own views, and the picture as its camera sees it."""
    photo, poses, size = request.photo, found.poses, 256
    box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    frame = matching_cut(found.mesh, found.pose, poses, box=box)
    colours, alpha = photo.colours(size, frame)
    view = GivenView(found.pose.camera(poses, size), colours[0], alpha[0])
    start = MeshStart.of_mesh(found.mesh, found.colour, distance=poses.distance, fov_y=poses.fov_y)
    # A shape without colours of its own has those of the picture alone.
    told = Reference(
        colours[0],
        alpha[0],
        azimuth=found.pose.azimuth,
        elevation=found.pose.elevation,
        distance=poses.distance,
    )
    return replace(start, given=[view], coloured=found.colour is not None, reference=told)


def refined(config: PictureSystem, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
    """What a method finds, with the shape and the colours of its mesh stage if it had one."""
    found = shape_of_request(config, request, stages)
    if NAME not in stages:
        return found
    model = MeshModel.of(stages[NAME], request.protocol)
    mesh = decimate(model.surface.mesh(), FACES)
    pose = seen_from(
        mesh,
        request.photo.mask(found.poses.size),
        found.poses,
        azimuth=found.pose.azimuth,
        elevation=found.pose.elevation,
    )
    colour = found.colour if found.colour is None else model.colour
    return replace(found, mesh=mesh, pose=replace(pose, rival=found.pose.rival), colour=colour)
