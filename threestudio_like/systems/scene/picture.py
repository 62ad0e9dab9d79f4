"""The picture that is composed: a square, what the user says of it, and how far its parts are
away."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ...priors.depth import FRAME_HALF_WIDTH, load_depth
from ...priors.framing import Similarity
from ...priors.segmentation.segment_anything import load_segmenter
from ..cut_out.cut import own_alpha, seen_colours, solid_alpha
from ..image_to_3d.backs import frame_depth
from .amodal_completion import Completed, cut_square
from .parts import Part, mask_box
from .prompt import SceneText
from .segmentation import (
    DecomposeConfig,
    by_boxes,
    by_itself,
    by_masks,
    cells_of,
)


@dataclass
class Canvas:
    """The picture as a square: pixels (S, S, 3) in [0, 1], foreground (S, S) in [0, 1] where it has
    an alpha of its own; and where the picture lies on it: pixels (height, width) from (top, left),
    `share` of them a pixel of the file; told: what the user should hear of it."""

    pixels: np.ndarray
    foreground: np.ndarray | None
    top: int
    left: int
    height: int
    width: int
    note: str = ""
    share: float = 1.0
    told: list[str] = field(default_factory=list)

    @staticmethod
    def of(pixels: np.ndarray, where: str, note: str = "", share: float = 1.0) -> Canvas:
        """A picture (H, W, 3 or 4) in [0, 1], padded by the colour of its border. Raises InputError
        when every pixel is transparent."""
        height, width = pixels.shape[:2]
        alpha = own_alpha(pixels)
        told: list[str] = []
        colour = pixels[..., :3]
        if alpha is not None:
            alpha = solid_alpha(alpha, where, told)
            colour = seen_colours(np.concatenate([colour, alpha[..., None]], -1), 0.9)
        border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
        edge = max(height, width)
        top, left = (edge - height) // 2, (edge - width) // 2
        square = np.broadcast_to(np.median(border, 0), (edge, edge, 3)).astype(np.float32).copy()
        square[top : top + height, left : left + width] = colour
        front = None
        if alpha is not None:
            front = np.zeros((edge, edge), np.float32)
            front[top : top + height, left : left + width] = alpha
        return Canvas(
            square,
            front,
            top,
            left=left,
            height=height,
            width=width,
            note=note,
            share=share,
            told=told,
        )

    def box(self, box: np.ndarray) -> np.ndarray:
        """A box (4,) of the file's pixels on the canvas."""
        return box * self.share + np.array([self.left, self.top, self.left, self.top])

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) of the picture on the canvas (S, S)."""
        out = np.zeros(self.pixels.shape[:2], np.float32)
        out[self.top : self.top + self.height, self.left : self.left + self.width] = mask
        return out


def find_parts(
    canvas: Canvas,
    text: SceneText,
    boxes: np.ndarray | None,
    masks: list[np.ndarray] | None,
    config: DecomposeConfig,
) -> tuple[list[Part], list[str]]:
    """The objects of the picture on the canvas, and notes for the user.

    Args:
        boxes: that `check_marks` let pass. masks: on the canvas.
    """
    if masks is not None:
        return by_masks(np.stack(masks), text), []
    if boxes is not None:
        moved = np.stack([canvas.box(b) for b in boxes])
        cells = cells_of(canvas.pixels, config)
        return by_boxes(
            canvas.pixels, moved, text, segmenter=load_segmenter(config.segmenter), cells=cells
        ), []
    return by_itself(canvas.pixels, text, config, foreground=canvas.foreground)


def scene_depth(
    canvas: Canvas, parts: list[Part], model: str, distance: float, fov_y: float, size: int = 64
) -> np.ndarray:
    """Distances along the rays (S, S) in scene units, as well as a depth estimator knows them: the
    scene's middle at the camera's distance.

    An estimator of relative depth leaves scale and shift open: the objects' depths are spread over
    as much as the scene is wide (METHODS 4.3).
    """
    edge = canvas.pixels.shape[0]
    frame = Similarity(edge / 2, edge / 2, float(edge))
    union = np.clip(sum(p.mask for p in parts), 0, 1).astype(np.float32)
    mask = cut_square(union[..., None], frame, size)[..., 0]
    grey = cut_square(canvas.pixels * union[..., None], frame, size) + 0.8 * (1 - mask[..., None])
    depth = frame_depth(grey.clamp(0, 1)[None], mask, load_depth(model)) - 1
    wide = distance * math.tan(math.radians(fov_y) / 2) / FRAME_HALF_WIDTH
    known = distance + depth * wide
    return F.interpolate(known[None, None], (edge, edge), mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()


def completed_box(done: Completed) -> np.ndarray:
    """The box (4,) of a completed object on the canvas."""
    size = done.pixels.shape[0]
    x0, y0, x1, y1 = mask_box(done.pixels[..., 3])
    corners = done.frame.to_source(torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float32) / size)
    return corners.reshape(-1).double().numpy()
