"""The contract of a promptable segmenter, which segments objects given by boxes or points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Prompts:
    """Prompts for N objects.

    Either boxes (N, 4) x0, y0, x1, y1, or points (N, P, 2) with labels (N, P), 1 on the object and
    0 beside it; both in pixels of the picture.
    """

    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    labels: np.ndarray | None = None


@dataclass
class Masks:
    """The answer of a promptable segmenter.

    masks (N, M, H, W) float32 are logits of M guesses for each of N prompts, above 0 on the object;
    scores (N, M) are their IoU as the model predicts it.
    """

    logits: np.ndarray
    scores: np.ndarray

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The guess with the highest score for every prompt: logits (N, H, W) and scores (N,)."""
        pick = self.scores.argmax(1)
        rows = np.arange(len(pick))
        return self.logits[rows, pick], self.scores[rows, pick]


class PromptSegmenter(ABC):
    """Encodes a picture once, and then answers any number of prompts."""

    name: str

    @abstractmethod
    def look(self, picture: np.ndarray) -> Any:
        """Encode a picture (H, W, 3) float32 in [0, 1] for `masks`."""

    @abstractmethod
    def masks(self, seen: Any, prompts: Prompts, several: bool = False) -> Masks:
        """The masks of prompts, at the picture's size.

        Args:
            several: return three guesses for each prompt (a point may mean a part or the whole)
                instead of one.
        """
