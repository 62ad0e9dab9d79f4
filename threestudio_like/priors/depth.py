"""Monocular depth: the contract of a depth estimator, and its adapter for transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..engine.errors import ModelError
from ..engine.turns import alone, working
from .model_files import read_json
from .networks.back_head import TwoSidedDepth, load_back_head
from .pretrained import IMAGENET, picture_edge, picture_facts, picture_range, read_network
from .registry import DEPTH_MODELS, EMBEDDED, embedded_folder, find_model

EMBEDDED_SPAN = 2.0
"""The embedded estimator measures from one unit in front of the object's centre to one unit behind
it, so that its depths lie in [0, 2]."""
KINDS = ("depth_anything", "prompt_depth_anything", "dpt", "zoedepth", "glpn", "depth_pro")
"""Types of transformers' models that are read. What others say, depth or its inverse, and of what
(canopies), is not known."""
NEAREST, FARTHEST = 1e-4, 1e4
"""Metres, the bounds within which DepthPro's inverse depth is turned."""
RANGES = {"glpn": ((0.0,) * 3, (1.0,) * 3), "depth_pro": ((0.5,) * 3, (0.5,) * 3)}
"""What the models of a type take from colours and divide them by, where their folder does not
say."""
DIVISOR = ("size_divisor", 32)
"""Of the edges of GLPN's pictures, and where it does not say."""
FRAME_HALF_WIDTH = 0.792
"""Half of the picture's edge in the embedded estimator's units, at the object's centre: the half
width that G3DR's camera sees (METHODS 3.2)."""


@dataclass(frozen=True)
class BothSides:
    """What an estimator says of pictures.

    Attributes:
        visible: (B, H, W), see `DepthPrior.predict`.
        back: (B, H, W), depth of the last surface along every ray; None where the estimator has
            only learnt what is seen.
        elevation: (B,) of the camera in radians; None likewise.
    """

    visible: torch.Tensor
    back: torch.Tensor | None = None
    elevation: torch.Tensor | None = None


class DepthPrior(ABC):
    """Estimates depth from single pictures.

    `inverse`: the result is disparity (larger is nearer, up to a scale and a shift) instead of
    depth (larger is farther). `metric`: the depth is in units of the model's own world, and not
    only up to a scale and a shift. `framed`: that world is the frame of a single object, with
    depths in [0, EMBEDDED_SPAN] and the object's centre at 1.
    """

    inverse: bool = False
    metric: bool = False
    framed: bool = False
    has_back: bool = False
    """Whether it knows where things end behind what is seen, and the camera's elevation."""

    @abstractmethod
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Map pictures (B, H, W, 3) in [0, 1] to depth or disparity (B, H, W)."""

    def predict_sides(self, images: torch.Tensor) -> BothSides:
        """The same, with the back and the elevation where `has_back`."""
        return BothSides(self.predict(images))


class TransformersDepth(DepthPrior):
    """A depth estimator from a transformers folder (Depth Anything, DPT, ZoeDepth, GLPN, DepthPro,
    …), which knows the back where a `BackHead` lies beside the model.

    Args:
        folder: contains config.json and model.safetensors.

    Raises:
        ModelError: the model is missing or damaged.
    """

    @alone()
    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "there is no depth model",
                str(folder),
                "Give a transformers folder, or: threestudio-like train depth",
            )
        kind = read_json(folder / "config.json").get("model_type")
        if kind not in KINDS:
            raise ModelError(
                f'is a "{kind}", and whether that says depth or its inverse is not known',
                str(folder),
                f"Give a model of one of the types {', '.join(KINDS)}",
            )
        from transformers import AutoModelForDepthEstimation

        self.model: Any = read_network(AutoModelForDepthEstimation, folder, "the depth model")
        config = self.model.config
        try:
            head = load_back_head(folder, config)
        except ValueError as error:
            raise ModelError(
                f"the depth model cannot be loaded ({error})", str(folder), "Download it again"
            ) from None
        self.sides = TwoSidedDepth(self.model, head).eval() if head else None
        self.has_back = head is not None
        self.metric = (
            getattr(config, "depth_estimation_type", "relative") == "metric"
            or kind in ("zoedepth", "glpn")
            or (kind == "depth_pro" and config.use_fov_model)
        )
        self.inverse = not self.metric
        self.framed = self.metric and getattr(config, "depth_units", "") == "frame"
        self.kind = str(kind)
        self._mean, self._deviation = picture_range(folder, *RANGES.get(self.kind, IMAGENET))
        if kind == "glpn":
            self.size, self.patch, self.square = 0, int(picture_facts(folder).get(*DIVISOR)), False
        elif kind == "depth_pro":
            edge = (
                picture_edge(folder) if "size" in picture_facts(folder) else 4 * config.patch_size
            )
            self.size, self.patch, self.square = edge, 1, True
        else:
            self._read_sizes(config)

    def _read_sizes(self, config: Any) -> None:
        backbone = getattr(config, "backbone_config", None) or config
        # The convolutional backbone of a hybrid has no picture size of its own, so that of its
        # transformer is used.
        facts = [
            getattr(part, name, None)
            for name in ("image_size", "patch_size")
            for part in (backbone, config)
        ]
        self.size, self.patch = int(facts[0] or facts[1] or 384), int(facts[2] or facts[3] or 16)
        # Hybrids accept only pictures of their own size, as their image processor makes them.
        self.square = bool(getattr(config, "is_hybrid", False))

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Estimate depth at the model's resolution and return it at the size of the pictures.

        Pictures are resized so that the shorter edge is the model's and both edges are multiples of
        its patch; for hybrids and DepthPro, to their square. GLPN sees them as they are, but for
        edges that are no multiples.
        """
        said = self.model(pixel_values=self._input(images))
        found = said.predicted_depth
        if self.kind != "depth_pro" or self.inverse:
            return self._output(found, images)
        # It says the inverse of depth for a picture as wide as its focal length.
        width = 2 * torch.tan(torch.deg2rad(said.field_of_view) / 2)
        nearness = self._output(found * width[:, None, None], images)
        return 1 / nearness.clamp(NEAREST, FARTHEST)

    @torch.no_grad()
    def predict_sides(self, images: torch.Tensor) -> BothSides:
        """See `DepthPrior`; sizes as in `predict`."""
        if self.sides is None:
            return BothSides(self.predict(images))
        found = self.sides(self._input(images))
        visible, back = (self._output(d, images) for d in (found.visible, found.back))
        return BothSides(visible, back, found.elevation)

    def _input(self, images: torch.Tensor) -> torch.Tensor:
        edges = images.shape[1:3]
        share = self.size / min(edges) if self.size else 1.0
        counts = [edge * share / self.patch for edge in edges]
        shape = [max(1, round(n) if self.size else int(n)) * self.patch for n in counts]
        shape = [self.size, self.size] if self.square else shape
        x = ((images - self._mean) / self._deviation).permute(0, 3, 1, 2)
        if list(x.shape[2:]) != shape:
            smooth = share < 1 and self.kind != "depth_pro"
            x = F.interpolate(x, shape, mode="bilinear", align_corners=False, antialias=smooth)
        return x

    def _output(self, depth: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        if depth.shape[1:] != images.shape[1:3]:
            depth = F.interpolate(
                depth[:, None], images.shape[1:3], mode="bilinear", align_corners=False
            )[:, 0]
        return depth.clamp(0, EMBEDDED_SPAN) if self.framed else depth


@lru_cache(maxsize=2)
@working()
def load_depth(name: str) -> DepthPrior:
    """Load a depth estimator: "toybox", a folder, a logical name ("depth-anything-small",
    "dpt-large", "zoedepth") or a hub id. Raises ModelError."""
    if name == EMBEDDED:
        return TransformersDepth(embedded_folder("depth"))
    return TransformersDepth(_folder(name))


def check_depth(name: str) -> None:
    """Raise ModelError where there is no depth estimator of a name; none is loaded."""
    if name != EMBEDDED:
        _folder(name)


def _folder(name: str) -> Path:
    return find_model(name, DEPTH_MODELS, "--depth", file="config.json")
