"""Cases of Gaussian splatting: projection and blending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..reference import gaussians
from ..samples import sample_gaussians, sample_views
from .case import Inputs, Results, case, generator_of, gradients_of, leaves


def _project_inputs(large: bool) -> Inputs:
    count, size = (1 << 14, 128) if large else (150, 40)
    means, scales, rotations, _ = sample_gaussians(count)
    views, focal = sample_views(4 if large else 2, size)
    # One view from among them: some are behind it.
    views[0, 2, 3] = -0.4
    generator = generator_of(6)
    return {
        "means": means,
        "scales": scales,
        "rotations": rotations,
        "views": views,
        "focal": focal,
        "size": (size, size + 8),
        "on_centres": torch.randn(len(views), count, 2, generator=generator),
        "on_conics": torch.randn(len(views), count, 3, generator=generator),
    }


@case("project_gaussians", gaussians.project_gaussians, 1e-4, make=_project_inputs)
def _call_project(function: Callable[..., Any], given: Inputs) -> Results:
    own = leaves(given["means"], given["scales"], given["rotations"])
    centres, conics, depths = function(*own, given["views"], given["focal"], *given["size"])
    ((centres * given["on_centres"]).sum() + (conics * given["on_conics"]).sum()).backward()
    return [centres, conics, depths, *gradients_of(own)]


def _splat_inputs(large: bool) -> Inputs:
    count, size = (6000, 128) if large else (40, 24)
    means, scales, rotations, opacities = sample_gaussians(count, 0.03 if large else 0.12)
    views, focal = sample_views(2, size)
    height, width = size, size + 8
    centres, conics, depths = gaussians.project_gaussians(
        *(means, scales, rotations, views, focal), height=height, width=width
    )
    generator = generator_of(7)
    return {
        "centres": centres,
        "conics": conics,
        "opacities": opacities,
        "depths": depths,
        "values": torch.randn(len(views), count, 7, generator=generator),
        "size": (height, width),
        "upstream": torch.randn(len(views), height, width, 8, generator=generator),
    }


@case("splat", gaussians.splat, 1e-4, make=_splat_inputs)
def _call_splat(function: Callable[..., Any], given: Inputs) -> Results:
    own = leaves(given["centres"], given["conics"], given["opacities"], given["values"])
    centres, conics, opacities, values = own
    out = function(centres, conics, opacities, given["depths"], values, *given["size"])
    (out * given["upstream"]).sum().backward()
    return [out, *gradients_of(own)]
