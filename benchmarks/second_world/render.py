"""Pictures of the second world: rays against the triangles by Embree, a sun with a soft edge, a sky
that fades to the horizon, light from the ground, gloss, and shadows of all of them.

The cameras are the project's: distance 3, 40 degrees, azimuth 0 at the front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .shapes import Material, Thing, face_normals

DISTANCE, FOV_Y = 3.0, math.radians(40.0)
CREASE = math.cos(math.radians(38.0))
"""Cosine of the angle between faces above which an edge is sharp."""
SUN = 0.06
"""Sine of half the angle that the sun fills: wider than the real one, as through thin cloud."""


@dataclass(frozen=True)
class Light:
    """A sun (azimuth and elevation in radians, strength, warmth in [0, 1]) under a sky."""

    azimuth: float = 0.6
    elevation: float = 0.85
    sun: float = 0.80
    sky: float = 0.62
    warmth: float = 0.4

    @staticmethod
    def draw(rng: np.random.Generator) -> Light:
        """The light of some hour of a day, from the side of the camera's front."""
        u = rng.uniform
        sun = float(u(0.45, 0.95))
        return Light(
            float(u(-1.3, 1.3)), float(u(0.5, 1.15)), sun, 1.3 - 0.85 * sun, float(u(0, 1))
        )

    @property
    def direction(self) -> np.ndarray:
        """Unit vector (3,) to the sun."""
        return towards(self.azimuth, self.elevation)

    @property
    def sun_rgb(self) -> np.ndarray:
        """Linear colour (3,) of the sun's light."""
        return self.sun * (1 + self.warmth * np.array([0.10, -0.01, -0.16]))

    def sky_rgb(self, directions: np.ndarray) -> np.ndarray:
        """Linear radiance (N, 3) from directions (N, 3): blue above, pale at the horizon, and
        below it the lit ground."""
        up = directions[:, 1:2]
        horizon, zenith = np.array([1.0, 1.0, 1.0]), np.array([0.78, 0.88, 1.05])
        above = horizon + (zenith - horizon) * np.sqrt(np.clip(up, 0, 1))
        ground = np.array([0.46, 0.43, 0.40]) * (0.55 + 0.6 * self.sun)
        # The horizon is soft, so that gloss shows no edge.
        share = np.clip(0.5 + up / 0.5, 0, 1)
        share = share * share * (3 - 2 * share)
        return self.sky * (ground + (above - ground) * share)


@dataclass
class Views:
    """Pictures of one object or scene.

    image (B, S, S, 4) float32, display RGB not multiplied by the alpha; depth (B, S, S) along the
    optical axis, 0 outside; normal (B, S, S, 3) in world axes; label (B, S, S) int32, the number of
    the object, 0 outside and on the floor.
    """

    image: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    label: np.ndarray


def towards(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector (3,) from the origin to a camera or a sun at these angles."""
    flat = math.cos(elevation)
    return np.array(
        [flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)], np.float64
    )


def linear(display: np.ndarray) -> np.ndarray:
    """Display values (sRGB) to light."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def display(light: np.ndarray) -> np.ndarray:
    """Light to display values; what is brighter than white is white."""
    x = np.clip(light, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)


def corner_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (F, 3, 3) of the corners of faces, smoothed over all faces about a vertex that
    edges flatter than the crease connect."""
    unit = face_normals(vertices, faces)
    half = faces[:, [[0, 1], [1, 2], [2, 0]]]
    face = np.repeat(np.arange(len(faces)), 3)
    side = np.tile(np.arange(3), len(faces))
    ends = half.reshape(-1, 2)
    key = np.sort(ends, 1) @ np.array([len(vertices), 1])
    order = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[order][:-1] == key[order][1:])
    one, two = order[pair], order[pair + 1]
    smooth = (unit[face[one]] * unit[face[two]]).sum(1) > CREASE
    one, two = one[smooth], two[smooth]
    # A half edge runs from corner `side` to the next; its twin runs the other way.
    first, after = 3 * face[one] + side[one], 3 * face[one] + (side[one] + 1) % 3
    twin, twin_after = 3 * face[two] + side[two], 3 * face[two] + (side[two] + 1) % 3
    rows = np.concatenate([first, after])
    columns = np.concatenate([twin_after, twin])
    count = 3 * len(faces)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    group = connected_components(graph, directed=False)[1]
    corner = vertices[faces].astype(np.float64)
    edges = np.roll(corner, -1, 1) - corner
    back = np.roll(corner, 1, 1) - corner
    cosine = (edges * back).sum(2) / np.maximum(
        np.linalg.norm(edges, axis=2) * np.linalg.norm(back, axis=2), 1e-20
    )
    weight = np.arccos(np.clip(cosine, -1, 1))[..., None] * unit[:, None]
    total = np.zeros((group.max() + 1, 3))
    np.add.at(total, group, weight.reshape(-1, 3))
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)
    return total[group].reshape(-1, 3, 3)


class Stage:
    """An object or a scene, ready for rays; with a floor, a wide level disc under it.

    Args:
        floor: display RGB of the floor, or None for none.
    """

    def __init__(self, thing: Thing, floor: np.ndarray | None = None) -> None:
        vertices, faces, local = thing.vertices, thing.faces, thing.local
        self.materials, self.material = list(thing.materials), thing.material
        self.label, self.floored = thing.label, floor is not None
        if floor is not None:
            low, far = float(vertices[:, 1].min()) - 1e-3, 40.0
            corners = np.array(
                [[-far, low, -far], [far, low, -far], [far, low, far], [-far, low, far]]
            )
            two = np.array([[0, 2, 1], [0, 3, 2]]) + len(vertices)
            vertices, local = (
                np.concatenate([v, corners]).astype(np.float32) for v in (vertices, local)
            )
            faces = np.concatenate([faces, two]).astype(np.int32)
            self.material = np.concatenate([self.material, [len(self.materials)] * 2])
            self.materials.append(Material(floor, floor, gloss=0.2))
            self.label = np.concatenate([self.label, [0, 0]])
        self.vertices, self.faces, self.local = vertices, faces, local
        self.flat = face_normals(vertices, faces)
        self.flat_local = face_normals(local, faces)
        self.smooth = corner_normals(vertices, faces)
        self.scene = rtcore_scene.EmbreeScene()
        self._body = TriangleMesh(self.scene, np.ascontiguousarray(vertices[faces], np.float32))

    def hits(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """The first hit of every ray: primID (N,), -1 for none, u, v and tfar."""
        rays = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))
        return dict(self.scene.run(*rays, query="INTERSECT", output=1))

    def free(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Whether rays (N,) meet nothing."""
        rays = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))
        return np.asarray(self.scene.run(*rays, query="INTERSECT")) < 0

    def albedo(self, face: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear colours (N, 3) and gloss (N,) at barycentric places (N, 3) of faces (N,)."""
        points = (self.local[self.faces[face]] * weights[..., None]).sum(1)
        colour, gloss = np.empty((len(face), 3)), np.empty(len(face))
        for number in np.unique(self.material[face]):
            here = self.material[face] == number
            material = self.materials[number]
            colour[here] = material.albedo(points[here], self.flat_local[face[here]])
            gloss[here] = material.gloss
        return linear(colour), gloss


@dataclass(frozen=True)
class Rays:
    """Rays from a camera that hit: origins and directions (N, 3), and the two numbers in [0, 1)
    (N, 2) by which the points of all their samples are shifted."""

    origins: np.ndarray
    directions: np.ndarray
    shift: np.ndarray
    sample: np.ndarray


def spread(rays: Rays, number: np.ndarray, count: int) -> np.ndarray:
    """Points (N, 2) of the unit square: samples `number` of `count` of Hammersley's set, shifted
    for each pixel, so that the samples of a pixel fill the square evenly."""
    n = number.astype(np.uint32)
    turned = np.zeros(len(n))
    for bit in range(12):
        turned += ((n >> bit) & 1) * 0.5 ** (bit + 1)
    return np.mod(np.stack([(number + 0.5) / count, turned], 1) + rays.shift, 1.0)


def about(axis: np.ndarray, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3) that lie off axes (N, 3) by the sine `radius` (N,), turned by `angle`."""
    flat = np.abs(axis[:, 1:2]) > 0.9
    other = np.where(flat, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    one = np.cross(other, axis)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    two = np.cross(axis, one)
    along = np.sqrt(np.maximum(1 - radius**2, 0))
    aside = one * np.cos(angle)[:, None] + two * np.sin(angle)[:, None]
    return axis * along[:, None] + aside * radius[:, None]


def shade(
    stage: Stage, light: Light, rays: Rays, hit: dict[str, np.ndarray], edge: int, sky_rays: int
) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours (N, 3) and smooth normals (N, 3) where rays hit, of edge * edge samples a
    pixel."""
    directions = rays.directions
    face, u, v = hit["primID"], hit["u"], hit["v"]
    weights = np.stack([1 - u - v, u, v], 1)
    normal = (stage.smooth[face] * weights[..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    flat = stage.flat[face]
    point = rays.origins + hit["tfar"][:, None] * directions + 2e-3 * flat
    albedo, gloss = stage.albedo(face, weights)
    at = spread(rays, rays.sample, edge * edge)
    suns = np.broadcast_to(light.direction, point.shape)
    sun = about(suns, SUN * np.sqrt(at[:, 0]), 2 * np.pi * at[:, 1])
    facing = np.clip((normal * sun).sum(1), 0, None) * ((flat * sun).sum(1) > 0)
    bright = np.zeros(len(point))
    lit = facing > 0
    bright[lit] = facing[lit] * stage.free(point[lit], sun[lit])
    sky = np.zeros_like(point)
    for k in range(sky_rays):
        at = spread(rays, rays.sample * sky_rays + k, edge * edge * sky_rays)
        around = about(normal, np.sqrt(at[:, 0]), 2 * np.pi * at[:, 1])
        clear = stage.free(point, around) & ((flat * around).sum(1) > 0)
        # What hides the sky is itself lit, about a third as brightly.
        sky += light.sky_rgb(around) * np.where(clear, 1.0, 0.30)[:, None]
    colour = albedo * (bright[:, None] * light.sun_rgb + sky / sky_rays)
    mirror = directions - 2 * (directions * normal).sum(1, keepdims=True) * normal
    grazing = np.clip(1 + (directions * normal).sum(1), 0, 1) ** 5
    part = np.clip(gloss * (0.04 + 0.5 * grazing), 0, 0.7)[:, None]
    half = sun - directions
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
    spark = np.clip((half * normal).sum(1), 0, 1) ** 90 * (bright > 0) * gloss * 0.35
    shown = colour * (1 - 0.5 * part) + light.sky_rgb(mirror) * part
    return shown + spark[:, None] * light.sun_rgb, normal


def render(
    thing: Thing,
    azimuth: np.ndarray,
    elevation: np.ndarray,
    size: int,
    light: Light | None = None,
    floor: np.ndarray | None = None,
    edge: int = 2,
    sky_rays: int = 4,
    seed: int = 0,
) -> Views:
    """Pictures from cameras at these angles (B,) in radians.

    Args:
        floor: display RGB of a floor, which fills the picture to the horizon (alpha is then 1).
        edge: samples along the edge of a pixel.
        sky_rays: rays to the sky for each sample.
    """
    light = light or Light()
    stage = Stage(thing, floor)
    count = len(azimuth)
    out = Views(
        np.zeros((count, size, size, 4), np.float32),
        np.zeros((count, size, size), np.float32),
        np.zeros((count, size, size, 3), np.float32),
        np.zeros((count, size, size), np.int32),
    )
    for b in range(count):
        rng = np.random.Generator(np.random.Philox(key=[seed, b]))
        _view(stage, light, (float(azimuth[b]), float(elevation[b])), edge, sky_rays, rng, out, b)
    return out


def _view(
    stage: Stage,
    light: Light,
    camera: tuple[float, float],
    edge: int,
    sky_rays: int,
    rng: np.random.Generator,
    out: Views,
    b: int,
) -> None:
    """Fill picture `b`."""
    size = out.depth.shape[1]
    fine = size * edge
    back = towards(*camera)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= max(float(np.linalg.norm(right)), 1e-9)
    up = np.cross(back, right)
    line = ((np.arange(fine) + 0.5) / fine * 2 - 1) * math.tan(FOV_Y / 2)
    x, y = np.meshgrid(line, -line)
    ray = x[..., None] * right + y[..., None] * up - back
    ray = (ray / np.linalg.norm(ray, axis=2, keepdims=True)).reshape(-1, 3)
    origin = np.broadcast_to(back * DISTANCE, ray.shape)
    found = stage.hits(origin, ray)
    on = found["primID"] >= 0
    some = {k: np.asarray(v)[on] for k, v in found.items() if k in ("primID", "u", "v", "tfar")}
    colour, normal = np.zeros((fine * fine, 3)), np.zeros((fine * fine, 3))
    row, column = np.divmod(np.flatnonzero(on), fine)
    shift = rng.random((size, size, 2))[row // edge, column // edge]
    rays = Rays(origin[on], ray[on], shift, (row % edge) * edge + column % edge)
    colour[on], normal[on] = shade(stage, light, rays, some, edge, sky_rays)
    alpha, label = on.astype(np.float64), np.zeros(fine * fine, np.int32)
    label[on] = stage.label[some["primID"]]
    depth = np.zeros(fine * fine)
    depth[on] = some["tfar"] * (ray[on] @ -back)
    if stage.floored:
        haze = np.array([0.80, 0.82, 0.84])
        fade = np.where(label > 0, 0, np.where(on, np.clip((depth - 3.5) / 9, 0, 1), 1.0))[:, None]
        colour, alpha = colour + (haze - colour) * fade, np.ones_like(alpha)
    total = alpha.reshape(size, edge, size, edge).mean((1, 3))
    # The mean is taken of display values, so that edges are as smooth as eyes expect them.
    shown = (display(colour) * alpha[:, None]).reshape(size, edge, size, edge, 3).mean((1, 3))
    out.image[b, ..., :3] = shown / np.maximum(total, 1e-6)[..., None]
    out.image[b, ..., 3] = total
    middle = edge // 2
    out.label[b] = label.reshape(size, edge, size, edge)[:, middle, :, middle]
    out.depth[b] = depth.reshape(size, edge, size, edge)[:, middle, :, middle]
    out.normal[b] = normal.reshape(size, edge, size, edge, 3)[:, middle, :, middle]
