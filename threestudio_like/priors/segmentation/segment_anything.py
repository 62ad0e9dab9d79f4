"""The adapters for Segment Anything (Kirillov et al. 2023; Ravi et al. 2024), of transformers and
of the original package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import ModelError
from ...engine.places import user_path
from ...engine.turns import alone, working
from ..model_files import read_json
from ..pretrained import picture_range, read_network
from ..registry import EMBEDDED, SEGMENTERS, embedded_folder, find_model
from .prompts import Masks, Prompts, PromptSegmenter

MODEL_CLASSES = {
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamModel",
    "sam3_tracker": "Sam3TrackerModel",
}
"""Model types of transformers that answer prompts -> the class that reads them."""


@dataclass
class Seen:
    """An encoded picture: its embedding, and the map from pixels of the picture to pixels of the
    model's square."""

    embedding: Any
    height: int
    width: int
    scale: tuple[float, float]


class TransformersSam(PromptSegmenter):
    """A SamModel or Sam2Model of transformers, from a folder.

    Args:
        folder: contains config.json and model.safetensors.

    Raises:
        ModelError: the model is missing, damaged, or of another kind.
    """

    @alone()
    def __init__(self, folder: Path, name: str = "") -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "there is no segmenter",
                str(folder),
                "Give a transformers folder, or: threestudio-like train segmenter",
            )
        kind = read_json(folder / "config.json").get("model_type")
        import transformers

        if kind not in MODEL_CLASSES:
            raise ModelError(
                f'is a "{kind}", no Segment Anything model',
                str(folder),
                "Give a SAM or SAM 2 model",
            )
        reader = getattr(transformers, MODEL_CLASSES[kind])
        self.model: Any = read_network(reader, folder, "the segmenter")
        self.name = name or folder.name
        # The first Segment Anything keeps the aspect ratio and pads below and to the right, and the
        # second stretches the picture.
        self.stretched = kind != "sam"
        vision = self.model.config.vision_config
        size = (
            getattr(vision, "image_size", None)
            or self.model.config.prompt_encoder_config.image_size
        )
        self.size = int(size[0] if isinstance(size, (list, tuple)) else size)
        self._mean, self._deviation = picture_range(folder)

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
        return Seen(embedding, height, width, scale=(shape[1] / width, shape[0] / height))

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
    """A checkpoint of the `segment-anything` package (which needs torchvision), if that is
    installed.

    Args:
        checkpoint: sam_vit_b_….pth, sam_vit_l_….pth or sam_vit_h_….pth; only weights are read.

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
        """See `PromptSegmenter.masks`. The package answers only for the picture that was encoded
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


@lru_cache(maxsize=2)
@working()
def load_segmenter(name: str) -> PromptSegmenter:
    """Load a segmenter: "toybox", a transformers folder, an original checkpoint (.pth), a name
    ("sam-vit-base", "sam2.1-tiny", …) or a hub id.

    Raises:
        ModelError: it cannot be found, or is damaged.
    """
    if name == EMBEDDED:
        return TransformersSam(embedded_folder("segmenter"), EMBEDDED)
    path = user_path(name)
    if path.is_file() and path.suffix == ".pth":
        return OriginalSam(path)
    return TransformersSam(find_model(name, SEGMENTERS, "--segmenter", file="config.json"), name)
