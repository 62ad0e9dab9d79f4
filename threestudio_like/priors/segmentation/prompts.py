"""The contract of a promptable segmenter: objects of a picture by boxes or points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np


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
