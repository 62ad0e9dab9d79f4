"""What another object hides is painted: amodal completion by inpainting with noise behind, a mask
that knows the box, and text (METHODS 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.random import RandomStream
from ...engine.schema.bounds import Size, Weight
from ...priors.framing import Similarity
from ...priors.inpainter import InpaintConfig, Inpainter
from ...priors.segmentation.prompts import Prompts, PromptSegmenter
from .parts import Part

Behind = Literal["auto", "noise", "white", "grey"]
APART = 0.25
"""Difference of colours from which a filled pixel is not the grey that stood behind it."""


@dataclass(frozen=True, kw_only=True)
class CompletionConfig:
    """Each of the three parts can be switched off: the paper's ablation."""

    when: Literal["hidden", "always", "never"] = "hidden"
    """hidden: only objects that another one hides; an inpainter may invent something at any
    other."""
    inpainter: str = "prior"
    """The run's own prior by latent blending, a name (sd-2-inpainting), a folder or a hub id."""
    behind: Behind = "auto"
    """What stands behind the object: random noise (the paper's), white, whose borders an inpainter
    likes to continue, or a grey as far from the object's colours as can be, from which what was
    filled is told best. auto: grey for priors that know grey backgrounds, else noise."""
    box: bool = True
    """Fill inside the object's box alone; without it all that is not the object, where parts may
    grow."""
    text: bool = True
    """Tell the inpainter what the object is."""
    prompt: str = ""
    """What it is told; by default the object's own phrase on the embedded prior, else the paper's
    "a complete 3D model" before it."""
    hidden: bool = True
    """Fill only where something hides the object or its box reaches beyond the picture's masks;
    else the whole box."""
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)
    margin: Weight = 0.12
    """Share of the box's longer side about it in the square that the inpainter is given."""
    size: Size = 128
    """Pixels of that square, at least the inpainter's own."""

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`."""
        off = self.when == "never" and words[0] != "when"
        return f"--{place}when is never" if off else ""


@dataclass
class Completed:
    """An object's picture (S, S, 4) RGBA in [0, 1], completed or as it was, and the square of the
    scene's picture that it is; `filled`: share of its mask that is new."""

    pixels: np.ndarray
    frame: Similarity
    filled: float = 0.0


@dataclass
class Task:
    """What the inpainter gets, all of one square: object (S, S, 3), its mask (S, S), the mask (S,
    S) of what it may fill (m_i), and the picture (S, S, 3) with noise (I_i); behind: the grey that
    stands there in the mean, `plain` if it is that everywhere."""

    given: torch.Tensor
    mask: torch.Tensor
    fill: torch.Tensor
    picture: torch.Tensor
    frame: Similarity
    behind: float
    plain: bool = False


def square_of(box: np.ndarray, margin: float) -> Similarity:
    """The square about a box (4,), with a margin."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0) * (1 + 2 * margin)
    return Similarity(float(x0 + x1) / 2, float(y0 + y1) / 2, float(side))


def level_behind(colours: np.ndarray, greys: tuple[float, float]) -> float:
    """The grey between two levels that is farthest from an object's colours (N, 3): from the
    nearest fiftieth of them."""
    levels = np.linspace(*greys, 7)
    some = colours[:: max(1, len(colours) // 2000)]
    away = [float(np.quantile(np.abs(some - level).max(-1), 0.02)) for level in levels]
    return float(levels[int(np.argmax(away))])


def task_of(
    picture: np.ndarray,
    part: Part,
    others: np.ndarray | None,
    config: CompletionConfig,
    seed: int,
    size: int,
    greys: tuple[float, float] | None = None,
) -> Task:
    """I_i and m_i of METHODS 4.2: I_i is the object exactly where its mask is 1, and noise (or
    white) elsewhere; m_i is empty on the object and, with `box`, outside its box.

    Args:
        picture: (H, W, 3) in [0, 1]. others: (H, W) bool, where other objects are; with `hidden`,
            only there is anything filled.
        greys: levels of the backgrounds that the inpainter knows, if it knows greys alone.
    """
    frame = square_of(part.box, config.margin)
    rgb, mask = (
        cut_square(picture, frame, size),
        (cut_square(part.mask[..., None], frame, size)[..., 0] > 0.5).float(),
    )
    x, y = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="xy")
    place = frame.to_source(torch.stack([x, y], -1) / size)
    x0, y0, x1, y1 = (float(v) for v in part.box)
    inside = (
        (place[..., 0] >= x0) & (place[..., 0] < x1) & (place[..., 1] >= y0) & (place[..., 1] < y1)
    ).float()
    fill = (1 - mask) * (inside if config.box else 1.0)
    if config.hidden and others is not None:
        hiding = cut_square(others[..., None].astype(np.float32), frame, size)[..., 0]
        height, width = picture.shape[:2]
        beyond = (
            (place[..., 0] < 0)
            | (place[..., 1] < 0)
            | (place[..., 0] >= width)
            | (place[..., 1] >= height)
        )
        fill = fill * ((hiding > 0.5) | beyond).float()
    kind = ("noise" if greys is None else "grey") if config.behind == "auto" else config.behind
    if kind == "noise":
        # Clipped normal noise in the image's range: the paper does not say which (METHODS 4.2).
        level = 0.5
        behind = (
            0.5 + 0.25 * RandomStream(seed, "completion", 0).normal("noise", (size, size, 3))
        ).clamp(0, 1)
    else:
        seen = rgb[mask > 0.5].numpy()
        level = level_behind(seen, greys or (0.0, 1.0)) if kind == "grey" and len(seen) else 1.0
        behind = torch.full((size, size, 3), level)
    shown = torch.where(mask[..., None] > 0.5, rgb, behind)
    return Task(rgb, mask, fill, picture=shown, frame=frame, behind=level, plain=kind == "grey")


def cut_square(pixels: np.ndarray, frame: Similarity, size: int) -> torch.Tensor:
    """A square (size, size, C) of a picture (H, W, C); zero outside of it."""
    height, width = pixels.shape[:2]
    x = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).permute(2, 0, 1)[None]
    line = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(line, line, indexing="ij")
    place = frame.to_source(torch.stack([u, v], -1))
    grid = place / place.new_tensor([width, height]) * 2 - 1
    return F.grid_sample(x, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[
        0
    ].permute(1, 2, 0)


def prompt_for(part: Part, config: CompletionConfig, closed: bool) -> str:
    """What the inpainter is told."""
    if not config.text:
        return ""
    if config.prompt:
        return config.prompt
    return part.phrase if closed or not part.phrase else f"a complete 3D model of {part.phrase}"


def complete(
    picture: np.ndarray,
    part: Part,
    others: np.ndarray | None,
    inpainter: Inpainter,
    segmenter: PromptSegmenter | None,
    config: CompletionConfig,
    seed: int,
    closed: bool = False,
) -> Completed:
    """Paint what is hidden of an object and cut it out again. The object's visible pixels stay as
    they are.

    Args:
        segmenter: finds the completed object; without one, its colours are told from what is behind
            it.
        closed: whether the prior's vocabulary has no words but the object's own.
    """
    size = config.size
    task = task_of(
        picture, part, others, config=config, seed=seed, size=size, greys=inpainter.greys
    )
    if not bool((task.fill > 0.5).any()):
        return uncompleted(picture, part, config)
    found = inpainter.fill(
        task.picture[None], task.fill[None], prompt_for(part, config, closed), seed
    )[0]
    # Paste-back: what was seen, and what lies outside of what may be filled, is as it was.
    pasted = torch.where(task.fill[..., None] > 0.5, found, task.picture)
    alpha = completed_mask(pasted, task, segmenter)
    new = (alpha > 0.5) & (task.mask < 0.5)
    pixels = torch.cat(
        [torch.where(task.mask[..., None] > 0.5, task.given, pasted), alpha[..., None]], -1
    )
    return Completed(
        pixels.numpy(),
        task.frame,
        float(new.float().sum() / (alpha > 0.5).float().sum().clamp_min(1)),
    )


def completed_mask(
    pasted: torch.Tensor, task: Task, segmenter: PromptSegmenter | None
) -> torch.Tensor:
    """The mask (S, S) of the completed object: what was visible, and what of the filling looks like
    it and hangs together with it."""
    if segmenter is None and task.plain:
        found = unlike_the_grey(
            pasted.numpy(), task.mask.numpy() > 0.5, task.fill.numpy() > 0.5, behind=task.behind
        )
        return torch.maximum(task.mask, torch.from_numpy(found.astype(np.float32)))
    if segmenter is None:
        found = like_the_object(
            pasted.numpy(), task.mask.numpy() > 0.5, task.fill.numpy() > 0.5, behind=task.behind
        )
        return torch.maximum(task.mask, torch.from_numpy(found.astype(np.float32)))
    # Before a plain grey, so that noise is no background to be told from.
    whole = (task.fill > 0.5) | (task.mask > 0.5)
    plain = torch.where(whole[..., None], pasted, torch.full((3,), task.behind)).numpy()
    rows, columns = torch.nonzero(whole, as_tuple=True)
    box = np.array(
        [[int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]],
        np.float32,
    )
    logits, _ = segmenter.masks(segmenter.look(plain), Prompts(boxes=box)).best()
    return torch.maximum(task.mask, torch.from_numpy(logits[0] > 0).float() * task.fill)


def unlike_the_grey(
    picture: np.ndarray, seen: np.ndarray, filled: np.ndarray, behind: float
) -> np.ndarray:
    """Filled pixels (S, S) bool that differ from the grey that stood behind the object, and hang
    together with it.

    Args:
        picture: (S, S, 3) in [0, 1]. seen, filled: (S, S) bool.
    """
    from scipy.ndimage import binary_closing, binary_opening, gaussian_filter, label

    soft = gaussian_filter(picture, (0.7, 0.7, 0))
    like = filled & (np.abs(soft - behind).max(-1) > APART)
    like = binary_closing(binary_opening(like), iterations=2) & filled
    pieces, _ = label(like | seen, np.ones((3, 3)))
    kept = np.unique(pieces[seen])
    return like & np.isin(pieces, kept[kept > 0])


def like_the_object(
    picture: np.ndarray, seen: np.ndarray, filled: np.ndarray, behind: float, colours: int = 5
) -> np.ndarray:
    """Filled pixels (S, S) bool that are nearer to a colour of the visible object than to what an
    inpainter puts behind it, and hang together with it. What it puts there is a grey about
    `behind`, lighter or darker.

    Args:
        picture: (S, S, 3) in [0, 1]. seen, filled: (S, S) bool.
    """
    from scipy.cluster.vq import kmeans2
    from scipy.ndimage import binary_closing, binary_opening, gaussian_filter, label

    if not filled.any() or not seen.any():
        return np.zeros_like(seen)
    soft = gaussian_filter(picture, (0.7, 0.7, 0))
    own = picture[seen].astype(np.float64)
    palette = own[:: max(1, len(own) // 2000)]
    if len(palette) > 4 * colours:
        palette, _ = kmeans2(palette, colours, minit="++", seed=np.random.default_rng(0))
    pixels = soft[filled]
    to_object = np.linalg.norm(pixels[:, None] - palette[None], axis=-1).min(1)
    level = pixels.mean(-1, keepdims=True).clip(behind - 0.18, behind + 0.18)
    to_behind = np.linalg.norm(pixels - level, axis=-1)
    like = np.zeros_like(seen)
    like[filled] = to_object < to_behind
    like = binary_closing(binary_opening(like), iterations=2) & filled
    pieces, count = label(like | seen)
    kept = np.unique(pieces[seen])
    return like & np.isin(pieces, kept[kept > 0]) if count else like


def uncompleted(picture: np.ndarray, part: Part, config: CompletionConfig) -> Completed:
    """The object as it is seen, cut out."""
    frame = square_of(part.box, config.margin)
    rgba = np.concatenate([picture[..., :3], part.mask[..., None]], -1)
    size = max(config.size, min(512, round(frame.side)))
    return Completed(cut_square(rgba, frame, size).numpy(), frame)
