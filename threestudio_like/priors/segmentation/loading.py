"""A segmenter by its name: promptable ones and background removers alike."""

from __future__ import annotations

from functools import lru_cache

from ...engine.places import user_path
from ..registry import EMBEDDED, SEGMENTERS, find_model
from .cut_out import embedded_segmenter
from .removers import REMBG, PromptedRemover, RembgRemover, TransformersRemover, read_config
from .segment_anything import MODEL_CLASSES, load_segmenter
from .segmenter import BorderSegmenter, Segmenter

BORDER = "border"
"""The name of the segmenter that knows the border's colours alone."""


def promptable(name: str) -> bool:
    """Whether a segmenter can be asked with points and boxes."""
    return bool(name) and isinstance(load_remover(name), PromptedRemover)


@lru_cache(maxsize=2)
def load_remover(name: str) -> Segmenter:
    """What cuts one object out, by a name: "toybox" (the embedded one), "border", a name of
    `SEGMENTERS` ("sam-vit-base", …), a transformers folder or hub id of Segment Anything, of a
    matting model or of a semantic segmenter, an original checkpoint (.pth), or "rembg:" and a name
    of that package.

    Raises:
        ModelError: it cannot be found, is damaged, or of another kind.

    Example:
        >>> load_remover("border").name
        'the colours of the border'
    """
    if name == EMBEDDED:
        return embedded_segmenter()
    if name == BORDER:
        return BorderSegmenter()
    if name.startswith(REMBG):
        return RembgRemover(name.removeprefix(REMBG))
    if user_path(name).suffix == ".pth":
        return PromptedRemover(load_segmenter(name))
    folder = find_model(name, SEGMENTERS, "--segmenter", file="config.json")
    if read_config(folder).get("model_type") in MODEL_CLASSES:
        return PromptedRemover(load_segmenter(name))
    return TransformersRemover(folder, name)
