"""What a stage of Gaussians asks of memory, found by a rehearsal of as many as there may be."""

from __future__ import annotations

import copy

import torch

from ..engine.memory import MemoryWatch
from ..renderers import BackgroundSample, Cameras, SplatRenderer
from ..representations.gaussians import GaussianCloud


def rehearsed(cloud: GaussianCloud) -> GaussianCloud:
    """A copy that is as full as it may become: those that are there, again and again."""
    full = copy.deepcopy(cloud)
    room, there = full.config.capacity, max(1, len(cloud))
    with torch.no_grad():
        for parameter in full.rows().values():
            parameter.copy_(parameter[torch.arange(room) % there])
        full.count.fill_(room)
    return full


def per_gaussian(cloud: GaussianCloud, cameras: Cameras) -> tuple[float, float]:
    """Bytes a projected Gaussian: what a rendering keeps for its way back, and what it takes with
    that at most."""
    for parameter in cloud.parameters():
        # As in every step but the first; it is counted with the representation.
        parameter.grad = torch.zeros_like(parameter)
    shape = (len(cameras), cameras.height, cameras.width, cloud.channels)
    with MemoryWatch() as watch:
        rendering = SplatRenderer().render(cloud, cameras, BackgroundSample(torch.zeros(shape)))
        held = watch.live
        (rendering.features.sum() + rendering.opacity.sum()).backward()
    count = len(cloud) * len(cameras)
    return held / count, max(held, watch.peak) / count
