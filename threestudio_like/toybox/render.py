"""Pictures of toybox objects: colour, mask, depth and normals, by the rasteriser, at hundreds of
images per second and core.

The light is an ambient environment that is fixed to the world (brightest at the top, front and back
brighter than the sides). It depends only on the surface normal, so that a textured object looks the
same from all directions, and no side is dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from ..kernels import pool
from ..kernels.compiling import CACHE
from ..kernels.cpu.rasterize import rasterize_band
from .patterns import METAL, is_second, main_axis, sheen
from .toy_object import ToyObject

DISTANCE = 3.0
"""Distance of every toybox camera from the origin; with `FOV_Y` the unit sphere exactly fits the
frame."""
FOV_Y = float(np.deg2rad(40.0))
LIGHT = (
    (-0.07, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.10),
    (0.0, 0.0, 0.07, 0.0),
    (0.0, 0.10, 0.0, 0.80),
)
"""The light of every picture, as the matrix of `renderers.EnvironmentLight`: 0.80 + 0.20 y + 0.07
(z^2 - x^2) of the normal."""
COS_CREASE = np.float32(np.cos(np.deg2rad(42.0)))


@dataclass
class Views:
    """Pictures of one object.

    image (B, H, W, 3) in [0, 1]; mask (B, H, W); depth (B, H, W), the distance along the optical
    axis, 0 outside; normal (B, H, W, 3) in world axes; label (B, H, W) int32, the number of the
    part plus 1, 0 outside.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    label: np.ndarray


def eye(azimuth: float, elevation: float, distance: float = DISTANCE) -> np.ndarray:
    """Camera position (3,) for angles in radians; azimuth 0 is the front (+Z)."""
    return distance * np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        np.float64,
    )


def view_projection(
    azimuth: float, elevation: float, distance: float = DISTANCE, fov_y: float = FOV_Y
) -> np.ndarray:
    """Matrix (4, 4) float32 from world to clip space of a camera that looks at the origin, with +Y
    up, in OpenGL's convention."""
    position = eye(azimuth, elevation, distance)
    back = position / np.linalg.norm(position)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= max(float(np.linalg.norm(right)), 1e-9)
    up = np.cross(back, right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, up, back])
    view[:3, 3] = -view[:3, :3] @ position
    near, far, f = 0.1, 100.0, 1 / np.tan(fov_y / 2)
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = f
    projection[2, 2], projection[2, 3], projection[3, 2] = (
        (far + near) / (near - far),
        2 * far * near / (near - far),
        -1,
    )
    return (projection @ view).astype(np.float32)


@njit(nogil=True, cache=CACHE)
def _shade(
    out,
    tri,
    painted,
    axes,
    normals,
    clip,
    face_material,
    materials,
    face_label,
    background,
    ss,
    image,
    mask,
    depth,
    normal,
    label,
):
    height, width = image.shape[0], image.shape[1]
    weight = np.float32(1.0 / (ss * ss))
    for row in range(height):
        for col in range(width):
            red = green = blue = covered = far = np.float32(0.0)
            nx = ny = nz = np.float32(0.0)
            for sub in range(ss * ss):
                r, c = row * ss + sub // ss, col * ss + sub % ss
                hit = int(out[r, c, 3]) - 1
                if hit < 0:
                    red += background[0]
                    green += background[1]
                    blue += background[2]
                    continue
                u, v = out[r, c, 0], out[r, c, 1]
                w = np.float32(1.0) - u - v
                i, j, k = tri[hit, 0], tri[hit, 1], tri[hit, 2]
                x = normals[hit, 0, 0] * u + normals[hit, 1, 0] * v + normals[hit, 2, 0] * w
                y = normals[hit, 0, 1] * u + normals[hit, 1, 1] * v + normals[hit, 2, 1] * w
                z = normals[hit, 0, 2] * u + normals[hit, 1, 2] * v + normals[hit, 2, 2] * w
                length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-9)
                x, y, z = x / length, y / length, z / length
                m = face_material[hit]
                code = int(materials[m, 6] + np.float32(0.5))
                if code == METAL:
                    light = np.float32(sheen(x, y, z))
                else:
                    light = np.float32(0.80) + np.float32(0.20) * y
                    light = light + np.float32(0.07) * (z * z - x * x)
                second = False
                if code > 0:
                    second = is_second(
                        code,
                        painted[i, 0] * u + painted[j, 0] * v + painted[k, 0] * w,
                        painted[i, 1] * u + painted[j, 1] * v + painted[k, 1] * w,
                        painted[i, 2] * u + painted[j, 2] * v + painted[k, 2] * w,
                        axes[hit],
                    )
                offset = 3 if second else 0
                red += materials[m, offset] * light
                green += materials[m, offset + 1] * light
                blue += materials[m, offset + 2] * light
                covered += np.float32(1.0)
                far += clip[i, 3] * u + clip[j, 3] * v + clip[k, 3] * w
                nx += x
                ny += y
                nz += z
                label[row, col] = face_label[hit]
            image[row, col, 0] = min(red * weight, np.float32(1.0))
            image[row, col, 1] = min(green * weight, np.float32(1.0))
            image[row, col, 2] = min(blue * weight, np.float32(1.0))
            mask[row, col] = covered * weight
            if covered > 0:
                depth[row, col] = far / covered
                length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9)
                normal[row, col, 0], normal[row, col, 1], normal[row, col, 2] = (
                    nx / length,
                    ny / length,
                    nz / length,
                )


@njit(nogil=True, cache=CACHE)
def face_axes(points, faces):
    """The main axis (F,) of every face (F, 3) of points (V, 3), for `patterns.is_second`."""
    out = np.empty(len(faces), np.int32)
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = (
            points[j, 0] - points[i, 0],
            points[j, 1] - points[i, 1],
            points[j, 2] - points[i, 2],
        )
        bx, by, bz = (
            points[k, 0] - points[i, 0],
            points[k, 1] - points[i, 1],
            points[k, 2] - points[i, 2],
        )
        out[f] = main_axis(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return out


def render(
    obj: ToyObject,
    cameras: np.ndarray,
    size: int,
    backgrounds: np.ndarray,
    supersample: int = 2,
    *,
    back: bool = False,
) -> Views:
    """Render one object from several cameras.

    Args:
        obj: the object.
        cameras: (B, 4, 4) world to clip space.
        size: height and width in pixels.
        backgrounds: (B, 3) RGB in [0, 1].
        supersample: number of samples along the edge of a pixel.
        back: show the last surface along every ray instead of the first one. The mask is the same.
    """
    count = len(cameras)
    if back:
        # The depth test is by z / w alone, so that its sign turns the test around; `depth` is w.
        cameras = cameras * np.array([1, 1, -1, 1], cameras.dtype)[:, None]
    from ..meshes.surface.creases import crease_normals

    normals = crease_normals(obj.vertices, obj.faces, COS_CREASE)
    painted = obj.pattern_points
    axes = face_axes(painted, obj.faces)
    face_label = np.zeros(len(obj.faces), np.int32)
    for number, (begin, end) in enumerate(obj.parts):
        face_label[begin:end] = number + 1
    homogeneous = np.concatenate([obj.vertices, np.ones((len(obj.vertices), 1), np.float32)], 1)
    views = Views(
        np.zeros((count, size, size, 3), np.float32),
        np.zeros((count, size, size), np.float32),
        np.zeros((count, size, size), np.float32),
        normal=np.zeros((count, size, size, 3), np.float32),
        label=np.zeros((count, size, size), np.int32),
    )
    backgrounds = np.ascontiguousarray(backgrounds, np.float32)
    everything = np.empty((0, 0), np.float32)

    def one(b: int) -> None:
        clip = np.ascontiguousarray(homogeneous @ cameras[b].T)
        out = np.empty((size * supersample, size * supersample, 4), np.float32)
        rasterize_band(clip, obj.faces, out, everything, 0, out.shape[0])
        _shade(
            out,
            obj.faces,
            painted,
            axes,
            normals,
            clip,
            obj.face_material,
            obj.materials,
            face_label,
            backgrounds[b],
            supersample,
            views.image[b],
            views.mask[b],
            views.depth[b],
            views.normal[b],
            views.label[b],
        )

    pool.run(one, [(b,) for b in range(count)])
    return views
