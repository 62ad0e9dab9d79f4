"""The pictures that control networks are told, made of the geometry that is painted, in the ranges
of the published models. A new kind is one function with `@control_kind`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from ...engine.errors import ConfigError
from ...engine.registry import Registry
from ...renderers.geometry import GeometryMaps

FARTHEST = 0.2
"""Grey level of the farthest point of the object in depth pictures; what lies behind is black."""


@dataclass(frozen=True, eq=False)
class ControlInputs:
    """What a control picture is made of.

    maps: of B pictures. colours (B, H, W, 3) in [0, 1]: what they show now, before their
    background; open (B, H, W) bool: pixels that are to be painted. Both are None where the kind
    does not need them.
    """

    maps: GeometryMaps
    colours: torch.Tensor | None = None
    open: torch.Tensor | None = None


Draw = Callable[[ControlInputs], torch.Tensor]
D = TypeVar("D", bound=Draw)


@dataclass(frozen=True, kw_only=True)
class ControlKind:
    """A kind of control picture: one line about it, what draws it (B, H, W, 3), and whether it
    needs the colours that are there."""

    summary: str
    draw: Draw
    colours: bool = False


CONTROL_KINDS: Registry[ControlKind] = Registry(
    "kind of control", "threestudio_like.control_kinds", ControlKind
)


def control_kind(name: str, summary: str, colours: bool = False) -> Callable[[D], D]:
    """Register the decorated function of `ControlInputs` as a kind of control picture."""

    def register(draw: D) -> D:
        CONTROL_KINDS.add(name, ControlKind(summary=summary, draw=draw, colours=colours))
        return draw

    return register


def _grey(plane: torch.Tensor) -> torch.Tensor:
    return plane[..., None].expand(*plane.shape, 3).contiguous()


@control_kind("depth", "inverse depth, bright is near")
def depth(inputs: ControlInputs) -> torch.Tensor:
    """Inverse depth in [0, 1]: 1 at the nearest point of the object, `FARTHEST` at its farthest, 0
    behind it.

    The published models were trained on MiDaS' relative inverse depth, scaled to each picture's
    range, bright is near (cards of lllyasviel/control_v11f1p_sd15_depth,
    thibaud/controlnet-sd21-depth-diffusers, diffusers/controlnet-depth-sdxl-1.0,
    TencentARC/t2iadapter_depth_sd15v2). A scale and a shift mean nothing in it, so an object alone
    may take the whole range.
    """
    hit, near = inputs.maps.hit, torch.where(inputs.maps.hit, 1 / inputs.maps.depth, 0)
    flat = near.flatten(1)
    high = flat.amax(1)[:, None, None]
    low = torch.where(hit, near, torch.inf).flatten(1).amin(1)[:, None, None]
    low = torch.minimum(low, high)
    share = (near - low) / (high - low).clamp_min(1e-6)
    # A plane that faces the camera is all near.
    share = torch.where(high - low < 1e-4 * high, torch.ones_like(share), share)
    return _grey(torch.where(hit, FARTHEST + (1 - FARTHEST) * share, torch.zeros_like(share)))


@control_kind("normal", "normals in the camera's axes, blue to the viewer, green up, red left")
def normal(inputs: ControlInputs) -> torch.Tensor:
    """Normals as colours in ScanNet's protocol, which the card of
    lllyasviel/control_v11p_sd15_normalbae asks of rendered maps: ((-x, y, z) + 1) / 2 of the
    camera's axes; what lies behind the object faces the viewer."""
    mirrored = inputs.maps.normals * inputs.maps.normals.new_tensor([-1.0, 1.0, 1.0])
    return _normals(mirrored, inputs.maps.hit)


@control_kind("normal-right", "the same with red to the right, as OpenGL's maps have it")
def normal_right(inputs: ControlInputs) -> torch.Tensor:
    """`normal` with x not mirrored, for models that were trained on rendered normals."""
    return _normals(inputs.maps.normals, inputs.maps.hit)


def _normals(normals: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    behind = normals.new_tensor([0.0, 0.0, 1.0])
    return (torch.where(hit[..., None], normals, behind) + 1) / 2


@control_kind("canny", "white lines on black: creases and silhouettes")
def canny(inputs: ControlInputs) -> torch.Tensor:
    """Lines a pixel wide, 1 on 0, as Canny's detector draws them (cards of
    lllyasviel/control_v11p_sd15_canny, diffusers/controlnet-canny-sdxl-1.0): of the geometry,
    creases, silhouettes and where one surface stands before another."""
    return _grey(inputs.maps.edges.float())


@control_kind("inpaint", "the colours that stay, and -1 where it is painted", colours=True)
def inpaint(inputs: ControlInputs) -> torch.Tensor:
    """Colours in [0, 1], and -1 in all channels of a pixel that is to be painted (card of
    lllyasviel/control_v11p_sd15_inpaint)."""
    if inputs.colours is None or inputs.open is None:
        raise ConfigError(
            "tells what stays as it is, and nothing is locked",
            "--control inpaint",
            "Lock texels by --lock or --lock-parts, or take another control",
        )
    return torch.where(inputs.open[..., None], -torch.ones_like(inputs.colours), inputs.colours)
