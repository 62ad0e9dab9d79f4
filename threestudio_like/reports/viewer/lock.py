"""Lets the user paint on a mesh, in the browser, which texels keep their colour."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...engine.errors import InputError
from ...meshes.mesh import Asset, Mesh
from .guard import LOOPBACK
from .question import Question
from .shapes import add_asset, light_scene, sphere_about
from .words import told

TEXELS = 1024
"""Along an edge of the mask."""
BRUSH = 0.08
"""Radius of the brush at first, in units of the mesh's radius."""
OTHER_SIDE = -0.5
"""Cosine between the normals of two places below which the brush does not reach from one to the
other: the inside of a thin wall is not its outside."""
COAT = (200, 45, 30)
MOST_DRAWN = 60_000
"""Points of the coat that shows what is painted."""
DRAW_SECONDS = 0.15
"""Between two pictures of a stroke."""
MOST_UNDONE = 30


class SurfaceTexels:
    """Where the texels of a mesh's texture coordinates lie, in the unit sphere about the mesh.

    Args:
        asset: at least one mesh of it has texture coordinates; those without any are only looked
            at. Meshes that share texels are painted together.
        size: texels along an edge. name: of its file, for errors.

    Attributes:
        points, normals: (N, 3) float32; place: (N,) numbers of texels, row by row; mask: (size,
        size) bool, what is painted; row 0 at v = 1.
    """

    def __init__(self, asset: Asset, size: int = TEXELS, name: str = "the mesh") -> None:
        self.size = size
        from scipy.spatial import cKDTree

        meshes = [m for m in asset.meshes.values() if len(m.faces)]
        self._middle, self._radius = sphere_about(asset)
        corners = [self._framed(m.vertices)[m.faces] for m in meshes]
        self._corners = np.concatenate([*corners, np.zeros((0, 3, 3), np.float32)])
        rows = [
            self._texels(m, c) for m, c in zip(meshes, corners) if m.uv is not None and m.uv.size
        ]
        if not rows:
            raise InputError(
                "has no texture coordinates to paint on",
                name,
                "Make some: threestudio-like mesh unwrap FILE",
            )
        self.points, self.normals, self.place = (np.concatenate(c) for c in zip(*rows))
        self.mask = np.zeros((size, size), bool)
        self._tree = cKDTree(self.points)

    def cast(self, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where a ray meets the mesh first: the point (3,) and the normal (3,) of its face. Raises
        InputError where it does not (Möller and Trumbore 1997)."""
        start, ray = (np.asarray(v, np.float64) for v in (origin, direction))
        a = self._corners[:, 0].astype(np.float64)
        e1, e2 = (self._corners[:, k] - a for k in (1, 2))
        across = np.cross(ray, e2)
        volume = (e1 * across).sum(1)
        inverse = 1 / np.where(np.abs(volume) < 1e-14, np.inf, volume)
        away = start - a
        u = (away * across).sum(1) * inverse
        other = np.cross(away, e1)
        v, t = (other @ ray) * inverse, (e2 * other).sum(1) * inverse
        hits = (np.abs(volume) >= 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        if not hits.any():
            raise InputError("is beside the mesh", "the brush", "Paint on the mesh")
        face = int(np.flatnonzero(hits)[t[hits].argmin()])
        return start + t[face] * ray, _unit(np.cross(e1[face], e2[face])[None])[0]

    def paint(self, at: np.ndarray, normal: np.ndarray, radius: float, keep: bool = True) -> int:
        """Paint (or rub out) all texels around a point of the mesh, on its side of it; how many
        there are.

        Args:
            radius: of the brush, in units of the mesh's radius.
        """
        near = np.array(self._tree.query_ball_point(at, radius), np.int64)
        near = near[self.normals[near] @ normal > OTHER_SIDE] if len(near) else near
        self.mask.reshape(-1)[self.place[near]] = keep
        return len(near)

    def share(self) -> float:
        """The share of the texels on the mesh that is painted, in [0, 1]."""
        return float(self.painted().mean())

    def painted(self) -> np.ndarray:
        """Which of the points are painted, (N,) bool."""
        return self.mask.reshape(-1)[self.place]

    def picture(self) -> np.ndarray:
        """The mask (size, size) uint8, white where colours stay; between charts it goes on as at
        the nearest chart, so that no edge of it is lost at another size."""
        from ...meshes.texture.bake import fill_gaps

        known = np.zeros((self.size, self.size), bool)
        known.reshape(-1)[self.place] = True
        grey = (self.mask & known)[..., None].astype(np.uint8) * 255
        return np.asarray(fill_gaps(grey, known)[..., 0])

    def _framed(self, points: np.ndarray) -> np.ndarray:
        return ((points.astype(np.float64) - self._middle) / self._radius).astype(np.float32)

    def _texels(self, mesh: Mesh, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import torch

        from ...kernels import interpolate
        from ...meshes.texture.bake import atlas_raster
        from ...meshes.texture.coordinates import settled

        faces = np.ascontiguousarray(mesh.faces)
        raster = atlas_raster(Mesh(mesh.vertices, faces, settled(mesh)[0]), self.size)
        inside = (raster[..., 3] > 0).numpy()
        found = interpolate(
            torch.from_numpy(self._framed(mesh.vertices)), torch.from_numpy(faces), raster
        )
        face = raster[..., 3].long().numpy()[inside] - 1
        normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        place = np.flatnonzero(inside.reshape(-1))
        return found.numpy()[inside], normals[face].astype(np.float32), place


class LockPainter(Question[np.ndarray]):
    """Asks the user what keeps its colour. A drag that begins on the mesh paints, one that begins
    beside it turns; what is painted is shown as a coat over the mesh.

    Args:
        asset: the mesh. name: of its file.
        port: 0 takes a free port.
        host: the address to listen on, see `ViewerServer`.

    Raises:
        InputError: no mesh of it has texture coordinates.
        ConfigError: viser is not installed, or the port is taken.
    """

    def __init__(self, asset: Asset, name: str, port: int = 0, host: str = LOOPBACK) -> None:
        self.texels = SurfaceTexels(asset, name=name)
        self._before: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._drawn = 0.0
        super().__init__("What keeps its colour?", port=port, host=host)
        try:
            self._build(asset, name)
        except BaseException:
            self.server.close()
            raise

    def begin(self) -> None:
        """Begin a stroke, which *Undo* takes back whole."""
        self._before = [*self._before[-MOST_UNDONE + 1 :], self.texels.mask.copy()]
        self._last = None

    def stroke_to(self, origin: np.ndarray, target: np.ndarray) -> None:
        """Go on with a stroke: paint where the ray from `origin` (3,) through `target` (3,) meets
        the mesh, and on the way there. Raises InputError where it meets nothing."""
        at, normal = self.texels.cast(origin, np.asarray(target) - np.asarray(origin))
        radius = float(self._brush.value)
        first = at if self._last is None else self._last
        # A quick hand leaves no gaps; a jump to another part of the mesh is no stroke.
        far = float(np.linalg.norm(at - first))
        steps = int(np.ceil(2 * far / radius)) if far < 8 * radius else 1
        for k in range(1, max(steps, 1) + 1):
            point = first + (at - first) * (k / max(steps, 1))
            self.texels.paint(point, normal, radius, keep=not self._rub.value)
        self._last = at

    def _stroke(self, origin: np.ndarray, target: np.ndarray) -> None:
        """Begin a stroke with its first touch."""
        self.begin()
        self.stroke_to(origin, target)

    def undo(self) -> None:
        """Take the last stroke back."""
        if self._before:
            self.texels.mask[:] = self._before.pop()

    def clear(self) -> None:
        """Let all of it be painted anew."""
        self.begin()
        self.texels.mask[:] = False

    def finish(self) -> None:
        """Take it as it is. Raises InputError if nothing keeps its colour, or all of it does."""
        share = self.texels.share()
        if share in (0.0, 1.0):
            what = "nothing is painted" if share == 0 else "all of the mesh is painted"
            raise InputError(what, "what keeps its colour", "Paint a part of the mesh")
        self._done.set()

    def answer(self) -> np.ndarray:
        """The mask (H, W) uint8 as `--lock` takes it."""
        return self.texels.picture()

    def _build(self, asset: Asset, name: str) -> None:
        server, gui = self.server, self.server.gui
        light_scene(server)
        self._node = add_asset(server, "/mesh", asset).node
        gui.add_html(
            told(
                name,
                "Drag on the mesh to paint what keeps its colour; drag beside it to turn it. A "
                "click paints a spot.",
            )
        )
        self._brush = gui.add_slider("Brush", min=0.01, max=0.4, step=0.01, initial_value=BRUSH)
        self._rub = gui.add_checkbox("Rub out", initial_value=False)
        self._words = gui.add_html("")
        undo, clear = gui.add_button("Undo"), gui.add_button("Clear")
        done = gui.add_button("Done")
        undo.on_click(lambda _: self._answer(self.undo))
        clear.on_click(lambda _: self._answer(self.clear))
        done.on_click(lambda _: self._answer(self.finish))

        # Awaited one after the other, where plain functions would overtake each other.
        @self._node.on_drag("left")
        async def _(event: Any) -> None:
            self._dragged(event)

        @self._node.on_click
        async def _(event: Any) -> None:
            origin = np.array(event.ray_origin)
            self._answer(lambda: self._stroke(origin, origin + np.array(event.ray_direction)))

        server.look_from()
        self._draw()

    def _dragged(self, event: Any) -> None:
        origin = np.array(event.client.camera.position, np.float64)
        if event.phase == "start":
            self._answer(lambda: self._stroke(origin, np.array(event.start_position)), False)
        over = event.phase == "end"
        self._answer(lambda: self.stroke_to(origin, np.array(event.end_position)), over, quiet=True)

    def _answer(self, act: Any, draw: bool = True, quiet: bool = False) -> None:
        """Carry out what was asked for, and show it or what is wrong with it.

        Args:
            draw: also where the last picture is younger than `DRAW_SECONDS`.
            quiet: what is wrong is not said, such as a stroke that leaves the mesh.
        """
        with self._one:
            problem = self._carry_out(act)
            if problem and quiet:
                problem, self._last = "", None
            if draw or problem or time.monotonic() - self._drawn > DRAW_SECONDS:
                self._draw(problem)

    def _draw(self, problem: str = "") -> None:
        texels = self.texels
        painted = np.flatnonzero(texels.painted())
        share = f"{100 * len(painted) / len(texels.place):.1f} % of the texels keep their colour."
        over = "Thank you: back to the terminal." if self._done.is_set() else problem
        self._words.content = told(share, over)
        painted = painted[:: max(1, -(-len(painted) // MOST_DRAWN))]
        self.server.scene.remove_by_name("/coat")
        if len(painted):
            coat = texels.points[painted] + 0.004 * texels.normals[painted]
            self.server.scene.add_point_cloud(
                "/coat",
                coat.astype(np.float32),
                COAT,
                point_size=float(np.clip(3 / np.sqrt(len(painted)), 0.004, 0.012)),
                point_shape="circle",
                precision="float32",
            )
        self._drawn = time.monotonic()


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) of length 1; those of none stay as they are."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
