"""Lets the user click the objects of a picture in the browser, and returns a box for each, in the
order of the prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...engine.errors import InputError
from .guard import LOOPBACK
from .question import Question
from .words import objects_list, told

BACKGROUND = 0.4
"""Share of the picture's border from which on what was clicked is the background."""
FOV = 0.6
"""Field of view in which the picture is shown, radians."""
SMALL = 0.01
"""A drag of less than this share of the window is a click."""

Find = Callable[[np.ndarray], np.ndarray]
"""Maps a point (2,) in pixels to the mask (H, W) bool of the object at that point."""


class BoxPicker(Question[np.ndarray]):
    """Asks the user for boxes. The picture stands in the scene, in front of the camera: a click is
    a ray that meets it, a drag two of them.

    Args:
        picture: (H, W, 3) uint8.
        phrases: names of the objects; [] for any number of objects without names.
        find: segments the object at a click; a drag needs no segmentation.
        port: 0 takes a free port.
        host: the address to listen on, see `ViewerServer`.

    Raises:
        ConfigError: viser is not installed, or the port is taken.
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
        self.boxes: list[list[float]] = []
        self._masks: list[np.ndarray | None] = []
        super().__init__("Which objects?", port=port, host=host)
        self._build()

    def click(self, x: float, y: float) -> list[float]:
        """Take the object at a point, in pixels; its box.

        Raises InputError if there is no object, or only the background.
        """
        self._room()
        height, width = self.picture.shape[:2]
        if not (0 <= x <= width and 0 <= y <= height):
            raise InputError("is outside of the picture", "the click", "Click on an object")
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
        return self._take(box, mask)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        """Take the box between two corners, in pixels, cut to the picture. Raises InputError where
        nothing of it is left."""
        self._room()
        height, width = self.picture.shape[:2]
        (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
        box = [max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))]
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            raise InputError("is outside of the picture", "the box", "Drag a box about an object")
        return self._take(box, None)

    def undo(self) -> None:
        """Give the last box back."""
        if self.boxes:
            self.boxes.pop()
            self._masks.pop()
        self._draw()

    def finish(self) -> None:
        """Take the boxes as they are. Raises InputError if there are too few."""
        if not self.boxes or (self.phrases and len(self.boxes) != len(self.phrases)):
            wanted = len(self.phrases) or 1
            raise InputError(
                f"{len(self.boxes)} boxes for {wanted} objects", "the boxes", "Give one for each"
            )
        self._taken = np.array(self.boxes)
        self._done.set()

    def answer(self) -> np.ndarray:
        """The boxes (N, 4)."""
        return self._taken

    def _room(self) -> None:
        if self.phrases and len(self.boxes) >= len(self.phrases):
            raise InputError(
                "every object of the prompt has its box", "the click", "Undo to change one"
            )

    def _take(self, box: list[float], mask: np.ndarray | None) -> list[float]:
        self.boxes.append(box)
        self._masks.append(mask)
        return box

    def _build(self) -> None:
        server, scene, gui = self.server, self.server.scene, self.server.gui
        height, width = self.picture.shape[:2]
        # The picture's longer edge has a length of 2; it stands in the plane z = 0.
        self._scale = 2.0 / max(height, width)
        self._wide, self._high = width * self._scale, height * self._scale
        scene.set_background_image(np.full((2, 2, 3), (238, 236, 231), np.uint8), format="png")
        # viser's pictures look along +Z with Y down; turned about X this one looks to the camera.
        scene.add_image(
            "/picture",
            self.picture,
            self._wide,
            self._high,
            format="png",
            wxyz=(0.0, 1.0, 0.0, 0.0),
            cast_shadow=False,
            receive_shadow=False,
        )
        begin = server.viser.initial_camera
        begin.fov, begin.look_at, begin.up = FOV, (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        begin.position = (0.0, 0.0, 2.6 / np.tan(FOV / 2) / 2)

        def place(aspect: float) -> tuple[float, ...]:
            away = max(self._high, self._wide / aspect) / 2 / np.tan(FOV / 2) * 1.1
            return 0.0, 0.0, float(away)

        server.keep_in_view(place)
        gui.add_html(
            told(
                "Which objects?",
                "Click an object to have it found, or drag a box about it; in the order of the "
                "list.",
            )
        )
        self._list = gui.add_html(objects_list(self.phrases, []))
        undo, done = gui.add_button("Undo"), gui.add_button("Done")
        undo.on_click(lambda _: self._answer(self.undo))
        done.on_click(lambda _: self._answer(self.finish))
        scene.on_click()(lambda event: self._answer(lambda: self.click(*self._at(event))))
        scene.on_rect_select()(self._dragged)

    def _at(self, event: Any) -> tuple[float, float]:
        """Where the ray of a click meets the picture, in pixels."""
        return self._pixel(np.array(event.ray_origin), np.array(event.ray_direction))

    def _pixel(self, origin: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        if abs(direction[2]) < 1e-6:
            raise InputError("does not meet the picture", "the click", "Look at it from the front")
        point = origin - direction * (origin[2] / direction[2])
        return (
            float((point[0] + self._wide / 2) / self._scale),
            float((self._high / 2 - point[1]) / self._scale),
        )

    def _dragged(self, event: Any) -> None:
        camera = event.client.camera
        turn = _rotation(np.array(camera.wxyz, np.float64))
        half = np.tan(float(camera.fov) / 2)
        corners = []
        for u, v in (event.screen_min, event.screen_max):
            # viser's cameras look down +Z with Y down.
            ray = turn @ np.array([(2 * u - 1) * half * camera.aspect, (2 * v - 1) * half, 1.0])
            corners += [*self._pixel(np.array(camera.position, np.float64), ray)]
        small = np.abs(np.subtract(event.screen_max, event.screen_min)).max() < SMALL
        if small:
            self._answer(lambda: self.click(corners[0], corners[1]))
        else:
            self._answer(lambda: self.drag(*corners))

    def _answer(self, act: Callable[[], Any]) -> None:
        """Carry out what was asked for, and show it or what is wrong with it."""
        # The segmenter answers one at a time.
        with self._one:
            problem = self._carry_out(act)
        self._draw(problem)

    def _draw(self, problem: str = "") -> None:
        over = "Thank you: back to the terminal." if self._done.is_set() else problem
        self._list.content = objects_list(self.phrases, self.boxes, over)
        scene = self.server.scene
        edges = []
        for x0, y0, x1, y1 in self.boxes:
            corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
            edges += [[a, b] for a, b in zip(corners, corners[1:] + corners[:1])]
        flat = np.array(edges, np.float64).reshape(-1, 2, 2) * self._scale
        points = np.zeros((len(flat), 2, 3), np.float32)
        points[..., 0] = flat[..., 0] - self._wide / 2
        points[..., 1] = self._high / 2 - flat[..., 1]
        points[..., 2] = 0.01
        scene.remove_by_name("/boxes")
        scene.remove_by_name("/masks")
        if len(points):
            scene.add_line_segments("/boxes", points, colors=(180, 67, 47), line_width=3.0)
        found = [mask for mask in self._masks if mask is not None]
        if found:
            shade = np.zeros((*self.picture.shape[:2], 4), np.uint8)
            shade[np.any(found, axis=0)] = (255, 255, 255, 110)
            scene.add_image(
                "/masks",
                shade,
                self._wide,
                self._high,
                format="png",
                wxyz=(0.0, 1.0, 0.0, 0.0),
                position=(0.0, 0.0, 0.005),
                cast_shadow=False,
                receive_shadow=False,
            )


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) of a quaternion (4,), w first."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = quaternion
    return Rotation.from_quat([x, y, z, w]).as_matrix()
