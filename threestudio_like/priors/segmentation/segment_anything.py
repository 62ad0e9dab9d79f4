"""Objects of a picture by boxes or points: the contract of a promptable segmenter, and the adapters
of Segment Anything (Kirillov et al. 2023; Ravi et al. 2024) from transformers and from the original
package."""

from __future__ import annotations

import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from ...engine.errors import ModelError
from ..registry import EMBEDDED, SEGMENTERS, embedded_folder, find_model
from .colour_cells import ColourCells


@dataclass
class Prompts:
    """N objects that are asked for: boxes (N, 4) x0, y0, x1, y1, or points (N, P, 2) with labels
    (N, P), 1 on the object and 0 beside it; both in pixels of the picture."""

    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    labels: np.ndarray | None = None


@dataclass
class Masks:
    """masks (N, M, H, W) float32: logits of M guesses for each of N prompts, an object is above 0;
    scores (N, M): their IoU, as the model estimates it."""

    logits: np.ndarray
    scores: np.ndarray

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The guess of the highest score of every prompt: logits (N, H, W) and scores (N,)."""
        pick = self.scores.argmax(1)
        rows = np.arange(len(pick))
        return self.logits[rows, pick], self.scores[rows, pick]


class PromptSegmenter(ABC):
    """A picture is looked at once; then it answers any number of prompts."""

    name: str

    @abstractmethod
    def look(self, picture: np.ndarray) -> Any:
        """What `masks` needs to know of a picture (H, W, 3) float32 in [0, 1]."""

    @abstractmethod
    def masks(self, seen: Any, prompts: Prompts, several: bool = False) -> Masks:
        """The masks of prompts, at the picture's size.

        Args:
            several: three guesses a prompt (a point may mean a part or a whole), else one.
        """


@dataclass
class Seen:
    """A picture as a model has it: its embedding, and how picture pixels become pixels of the
    model's square."""

    embedding: Any
    height: int
    width: int
    scale: tuple[float, float]


class TransformersSam(PromptSegmenter):
    """transformers' SamModel or Sam2Model from a folder.

    Args:
        folder: holds config.json and model.safetensors.

    Raises:
        ModelError: missing, damaged, or of another kind.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "there is no segmenter",
                str(folder),
                "Give a transformers folder, or: threestudio-like train segmenter",
            )
        try:
            kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(
                "model_type"
            )
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ModelError(
                "the configuration is damaged",
                str(folder / "config.json"),
                "Download the model again",
            ) from None
        import transformers
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        classes = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
        if kind not in classes:
            raise ModelError(
                f'is a "{kind}", no Segment Anything model',
                str(folder),
                "Give a SAM or SAM 2 model",
            )
        try:
            self.model: Any = getattr(transformers, classes[kind]).from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"the segmenter cannot be loaded ({reason})", str(folder), "Download it again"
            ) from None
        self.model.eval().requires_grad_(False)
        self.name = name or folder.name
        # The first Segment Anything keeps the picture's shape and pads below and to the right, the
        # second stretches.
        self.stretched = kind != "sam"
        vision = self.model.config.vision_config
        size = (
            getattr(vision, "image_size", None)
            or self.model.config.prompt_encoder_config.image_size
        )
        self.size = int(size[0] if isinstance(size, (list, tuple)) else size)
        path = folder / "preprocessor_config.json"
        facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._mean = torch.tensor(facts.get("image_mean", [0.485, 0.456, 0.406]))
        self._deviation = torch.tensor(facts.get("image_std", [0.229, 0.224, 0.225]))

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        if self.stretched:
            return self.size, self.size
        share = self.size / max(height, width)
        return round(height * share), round(width * share)

    @torch.no_grad()
    def look(self, picture: np.ndarray) -> Seen:
        """See `PromptSegmenter.look`."""
        height, width = picture.shape[:2]
        x = (
            torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None] - self._mean
        ) / self._deviation
        shape = self._fit(height, width)
        x = F.interpolate(
            x.permute(0, 3, 1, 2), shape, mode="bilinear", align_corners=False, antialias=True
        )
        x = F.pad(x, (0, self.size - shape[1], 0, self.size - shape[0]))
        embedding = self.model.get_image_embeddings(x)
        return Seen(embedding, height, width, (shape[1] / width, shape[0] / height))

    @torch.no_grad()
    def masks(self, seen: Seen, prompts: Prompts, several: bool = False) -> Masks:
        """See `PromptSegmenter.masks`."""
        scale = torch.tensor(seen.scale)
        arguments: dict[str, Any] = {}
        if prompts.boxes is not None:
            boxes = torch.from_numpy(np.asarray(prompts.boxes, np.float32))
            arguments["input_boxes"] = (boxes.view(-1, 2, 2) * scale).view(1, -1, 4)
        if prompts.points is not None:
            assert prompts.labels is not None
            arguments["input_points"] = (
                torch.from_numpy(np.asarray(prompts.points, np.float32)) * scale
            )[None]
            arguments["input_labels"] = torch.from_numpy(np.asarray(prompts.labels, np.int64))[None]
        out = self.model(image_embeddings=seen.embedding, multimask_output=several, **arguments)
        low = out.pred_masks[0].float()
        shape = self._fit(seen.height, seen.width)
        whole = F.interpolate(low, (self.size, self.size), mode="bilinear", align_corners=False)[
            ..., : shape[0], : shape[1]
        ]
        found = F.interpolate(
            whole, (seen.height, seen.width), mode="bilinear", align_corners=False
        )
        return Masks(found.numpy(), out.iou_scores[0].float().numpy())


class OriginalSam(PromptSegmenter):
    """A checkpoint of the `segment-anything` package (which needs torchvision), where that is
    installed.

    Args:
        checkpoint: sam_vit_b_….pth, sam_vit_l_….pth or sam_vit_h_….pth; read with weights only.

    Raises:
        ModelError: the package or the file is missing, or the file is damaged.
    """

    def __init__(self, checkpoint: Path) -> None:
        if importlib.util.find_spec("segment_anything") is None:
            raise ModelError(
                "is an original Segment Anything checkpoint, whose package is not installed",
                str(checkpoint),
                "Install segment-anything, or give a transformers folder (facebook/sam-vit-base)",
            )
        from segment_anything import SamPredictor, sam_model_registry

        kind = next((k for k in ("vit_b", "vit_l", "vit_h") if k in checkpoint.name), None)
        if kind is None:
            raise ModelError(
                "does not say which Segment Anything it is",
                str(checkpoint),
                "Keep vit_b, vit_l or vit_h in the file's name",
            )
        try:
            model = sam_model_registry[kind]()
            model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"the segmenter cannot be loaded ({reason})", str(checkpoint), "Download it again"
            ) from None
        self.predictor = SamPredictor(model.eval())
        self.name = checkpoint.stem

    def look(self, picture: np.ndarray) -> Any:
        """See `PromptSegmenter.look`."""
        self.predictor.set_image(np.rint(picture * 255).astype(np.uint8))
        return picture.shape[:2]

    def masks(self, seen: Any, prompts: Prompts, several: bool = False) -> Masks:
        """See `PromptSegmenter.masks`. The package answers for the picture that it looked at
        last."""
        count = len(
            prompts.boxes
            if prompts.boxes is not None
            else prompts.points
            if prompts.points is not None
            else ()
        )
        logits, scores = [], []
        for n in range(count):
            found, score, _ = self.predictor.predict(
                None if prompts.points is None else prompts.points[n],
                None if prompts.labels is None else prompts.labels[n],
                box=None if prompts.boxes is None else prompts.boxes[n],
                multimask_output=several,
                return_logits=True,
            )
            logits.append(found)
            scores.append(score)
        return Masks(np.stack(logits).astype(np.float32), np.stack(scores).astype(np.float32))


@dataclass
class AutomaticConfig:
    """How everything in a picture is found: a grid of points, each answer asked for again by its
    box, then what is certain, stable and not found twice."""

    grid: int = 20
    """Points along an edge."""
    refine: bool = True
    """Ask again by the box of every answer: a box means one thing, a point may mean a part or a
    whole."""
    first: float = 0.3
    """With `refine`: smallest IoU that the model expects of an answer whose box is asked for."""
    score: float = 0.7
    """Smallest IoU that the model expects of its mask."""
    stability: float = 0.75
    """Smallest IoU of the masks above `offset` and above -`offset`."""
    offset: float = 1.0
    overlap: float = 0.6
    """IoU from which two masks are the same object."""
    smallest: float = 0.004
    """Share of the picture."""
    border: float = 0.45
    """A mask that covers more of the picture's border than this is what stands behind the
    objects."""
    part: float = 0.85
    """A mask of which this share lies within a larger one is a part of it; one of which this share
    is covered by smaller ones is several objects at once."""


def candidates(
    segmenter: PromptSegmenter,
    picture: np.ndarray,
    config: AutomaticConfig | None = None,
    foreground: np.ndarray | None = None,
    cells: ColourCells | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Masks (H, W) bool that a picture (H, W, 3) in [0, 1] may have for objects, with repetitions,
    and the IoU that the model expects of each.

    Args:
        foreground: (H, W) bool; only its points are asked about, and without cells masks are cut to
            it.
        cells: of the picture, for a coarse segmenter: every answer is snapped to them and asked for
            once more by its box; their own boxes are asked about too.
    """
    config = config or AutomaticConfig()
    height, width = picture.shape[:2]
    line = (np.arange(config.grid) + 0.5) / config.grid
    x, y = np.meshgrid(line * width, line * height)
    points = np.stack([x, y], -1).reshape(-1, 1, 2).astype(np.float32)
    if foreground is not None:
        points = points[foreground[points[:, 0, 1].astype(int), points[:, 0, 0].astype(int)]]
    masks: list[np.ndarray] = []
    scores: list[float] = []
    if not len(points):
        return masks, scores
    for logits, score in _by_points(segmenter, segmenter.look(picture), points, config, cells):
        high, low = (logits > config.offset).sum((1, 2)), (logits > -config.offset).sum((1, 2))
        steady = high / np.maximum(low, 1) >= config.stability
        for n in np.flatnonzero(steady & (score >= config.score)):
            mask = (
                logits[n] > 0
                if cells is None
                else cells.snap(probability(logits[n : n + 1]))[0] > 0.5
            )
            # Cells know the edge better than a foreground that misses what is as grey as the wall.
            if foreground is not None and cells is None:
                mask &= foreground
            if mask.mean() >= config.smallest and border_share(mask) <= config.border:
                masks.append(mask)
                scores.append(float(score[n]))
    return masks, scores


def everything(
    segmenter: PromptSegmenter,
    picture: np.ndarray,
    config: AutomaticConfig | None = None,
    foreground: np.ndarray | None = None,
    cells: ColourCells | None = None,
) -> np.ndarray:
    """Masks (N, H, W) bool of the objects of a picture (H, W, 3) in [0, 1], the surest first;
    arguments as of `candidates`.

    Example:
        >>> masks = everything(load_segmenter("toybox"), picture)      # doctest: +SKIP
    """
    config = config or AutomaticConfig()
    masks, scores = candidates(segmenter, picture, config, foreground, cells)
    return distinct(masks, scores, config) if masks else np.zeros((0, *picture.shape[:2]), bool)


def _by_points(
    segmenter: PromptSegmenter,
    seen: Any,
    points: np.ndarray,
    config: AutomaticConfig,
    cells: ColourCells | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Answers to points (P, 1, 2), some at a time: logits (N, H, W), scores (N,)."""
    more = [] if cells is None else list(cells.boxes(config.smallest))
    for some in np.array_split(points, max(1, len(points) // 32)):
        found = segmenter.masks(
            seen, Prompts(points=some, labels=np.ones(some.shape[:2], np.int64)), several=True
        )
        logits, score = found.logits.reshape(-1, *found.logits.shape[2:]), found.scores.reshape(-1)
        if config.refine:
            asked = more + [
                bounds(m)
                for m, s in zip(logits > 0, score)
                if s >= config.first and m.mean() >= config.smallest
            ]
            more = []
            if not asked:
                continue
            logits, score = segmenter.masks(seen, Prompts(boxes=np.stack(asked))).best()
            if cells is not None:
                snapped = [
                    m for m in cells.snap(probability(logits)) > 0.5 if m.mean() >= config.smallest
                ]
                if not snapped:
                    continue
                boxes = np.unique(np.stack([bounds(m) for m in snapped]), axis=0)
                logits, score = segmenter.masks(seen, Prompts(boxes=boxes)).best()
        yield logits, score


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-logits.clip(-30, 30)))


def distinct(masks: list[np.ndarray], scores: list[float], config: AutomaticConfig) -> np.ndarray:
    """Masks (N, H, W) without repetitions, parts of others, and unions of others, the surest
    first."""
    kept: list[np.ndarray] = []
    for n in np.argsort(-np.asarray(scores), kind="stable"):
        if all((masks[n] & k).sum() < config.overlap * (masks[n] | k).sum() for k in kept):
            kept.append(masks[n])
    # Of a mask and several smaller ones that fill it, the smaller ones are the objects; of a mask
    # and one within it, the larger one is.
    whole = []
    for mask in kept:
        inside = [
            k
            for k in kept
            if k is not mask and k.sum() < mask.sum() and (k & mask).sum() >= config.part * k.sum()
        ]
        filled = len(inside) > 1 and (np.any(inside, 0) & mask).sum() >= config.part * mask.sum()
        if not filled:
            whole.append(mask)
    out = [
        m
        for m in whole
        if not any(
            k is not m and k.sum() > m.sum() and (m & k).sum() >= config.part * m.sum()
            for k in whole
        )
    ]
    return np.stack(out) if out else np.zeros((0, *masks[0].shape) if masks else (0, 0, 0), bool)


def bounds(mask: np.ndarray) -> np.ndarray:
    """The box (4,) of a mask (H, W) bool that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def border_share(mask: np.ndarray) -> float:
    """Share of the picture's border that a mask (H, W) covers."""
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(edge.mean())


@lru_cache(maxsize=2)
def load_segmenter(name: str) -> PromptSegmenter:
    """A segmenter: "toybox", a transformers folder, an original checkpoint (.pth), a name
    ("sam-vit-base", "sam2.1-tiny", …) or a hub id.

    Raises:
        ModelError: not to be had, or damaged.
    """
    if name == EMBEDDED:
        return TransformersSam(embedded_folder("segmenter"), EMBEDDED)
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".pth":
        return OriginalSam(path)
    return TransformersSam(find_model(name, SEGMENTERS, "--segmenter", "config.json"), name)
