"""Lets the user click the objects of a picture in the browser, and returns a box for each, in the
order of the prompt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.errors import InputError
from .live import page
from .pictures import picture_address, png_bytes
from .server import LOOPBACK, PageServer

BACKGROUND = 0.4
"""Share of the picture's border from which on what was clicked is the background."""

Find = Callable[[np.ndarray], np.ndarray]
"""Maps a point (2,) in pixels to the mask (H, W) bool of the object at that point."""


class BoxPicker:
    """Asks the user for boxes.

    Args:
        picture: (H, W, 3) uint8.
        phrases: names of the objects; [] for any number of objects without names.
        find: segments the object at a click; a drag needs no segmentation.
        port: 0 takes a free port.
        host: the address to listen on, see `PageServer`.

    Raises:
        ConfigError: the port is taken.

    Example:
        >>> middle = np.zeros((8, 8), bool)
        >>> middle[2:6, 3:5] = True
        >>> picker = BoxPicker(np.zeros((8, 8, 3), np.uint8), [], lambda point: middle)
        >>> picker.object({"point": [4, 4], "number": 0})["box"]
        [3.0, 2.0, 5.0, 6.0]
        >>> picker.close()
    """

    def __init__(
        self,
        picture: np.ndarray,
        phrases: list[str],
        find: Find,
        port: int = 0,
        host: str = LOOPBACK,
    ) -> None:
        self.picture, self.phrases, self._find = picture, phrases, find
        self._boxes: np.ndarray | None = None
        self._done = threading.Event()
        self._one = threading.Lock()
        self._server = PageServer(
            {
                "": lambda: page("pick.html"),
                "phrases": lambda: ("application/json", json.dumps(phrases).encode()),
                "picture.png": lambda: ("image/png", png_bytes(picture)),
            },
            {"object": self.object, "done": self.finish},
            port,
            host=host,
        )

    @property
    def address(self) -> str:
        """The address of the page."""
        return self._server.address

    @property
    def warning(self) -> str:
        """See `PageServer.warning`."""
        return self._server.warning

    def object(self, request: dict[str, Any]) -> dict[str, Any]:
        """The box of a drag {"box": 4 numbers}, or of the object at a click {"point": 2 numbers},
        in pixels.

        Raises InputError if there is no object, or only the background.
        """
        height, width = self.picture.shape[:2]
        if "box" in request:
            x0, y0, x1, y1 = (float(v) for v in request["box"])
            return {
                "box": [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
            }
        x, y = (float(v) for v in request["point"])
        if not (0 <= x <= width and 0 <= y <= height):
            raise InputError("is outside of the picture", "the click", "Click on an object")
        # Several clicks may arrive at once, and the segmenter answers one at a time.
        with self._one:
            mask = self._find(np.array([x, y]))
        if not mask.any():
            raise InputError("shows no object", "the click", "Drag a box about it instead")
        border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
        if border.mean() >= BACKGROUND:
            raise InputError(
                "shows the background, which is no object",
                "the click",
                "Click on an object, or drag a box about it",
            )
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
        shade = np.zeros((height, width, 4), np.uint8)
        shade[mask] = (255, 255, 255, 110)
        return {"box": box, "outline": picture_address(shade)}

    def finish(self, request: dict[str, Any]) -> dict[str, Any]:
        """Accept the boxes {"boxes": N lists of 4}."""
        boxes = np.array([[float(v) for v in box] for box in request["boxes"]])
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError("boxes are lists of four numbers")
        if self.phrases and len(boxes) != len(self.phrases):
            raise InputError(
                f"{len(boxes)} boxes for {len(self.phrases)} objects",
                "the boxes",
                "Give one for each",
            )
        self._boxes = boxes
        self._done.set()
        return {"taken": len(boxes)}

    def wait(self, seconds: float | None = None) -> np.ndarray | None:
        """The boxes (N, 4) when the user has finished, or None after `seconds`."""
        self._done.wait(seconds)
        return self._boxes

    def close(self) -> None:
        """Stop the server."""
        self._server.close()
