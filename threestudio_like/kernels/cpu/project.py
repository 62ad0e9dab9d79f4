"""Projection of Gaussians into pictures on the CPU, in ranges of Gaussians."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE

NEAR = np.float32(0.1)
BLUR = np.float32(0.3)
REACH = np.float32(1.3)
ONE = np.float32(1.0)
TWO = np.float32(2.0)
NONE = np.float32(0.0)
HALF = np.float32(0.5)


@njit(nogil=True, cache=CACHE, fastmath=True, error_model="numpy")
def _axes(rotations, scales, g, turn, axes):
    """The rotation (3, 3) of Gaussian g, and the same with its columns times the scales; returns
    the length of its quaternion."""
    square = rotations[g, 0] * rotations[g, 0] + rotations[g, 1] * rotations[g, 1]
    square += rotations[g, 2] * rotations[g, 2] + rotations[g, 3] * rotations[g, 3]
    length = np.sqrt(square)
    inverse = ONE / max(length, np.float32(1e-12))
    w, x = rotations[g, 0] * inverse, rotations[g, 1] * inverse
    y, z = rotations[g, 2] * inverse, rotations[g, 3] * inverse
    turn[0, 0], turn[0, 1] = ONE - TWO * (y * y + z * z), TWO * (x * y - w * z)
    turn[0, 2] = TWO * (x * z + w * y)
    turn[1, 0], turn[1, 1] = TWO * (x * y + w * z), ONE - TWO * (x * x + z * z)
    turn[1, 2] = TWO * (y * z - w * x)
    turn[2, 0], turn[2, 1] = TWO * (x * z - w * y), TWO * (y * z + w * x)
    turn[2, 2] = ONE - TWO * (x * x + y * y)
    for i in range(3):
        for k in range(3):
            axes[i, k] = turn[i, k] * scales[g, k]
    return inverse


@njit(nogil=True, cache=CACHE, fastmath=True, error_model="numpy")
def project_range(
    first, last, means, scales, rotations, views, focal, height, width, centres, conics, depths
):
    """Centres (B, N, 2), conics (B, N, 3) and depths (B, N) of Gaussians first to last."""
    turn, axes = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    spread = np.empty((2, 3), np.float32)
    for g in range(first, last):
        _axes(rotations, scales, g, turn, axes)
        for view in range(views.shape[0]):
            m, f = views[view], focal[view]
            x = m[0, 0] * means[g, 0] + m[0, 1] * means[g, 1] + m[0, 2] * means[g, 2] + m[0, 3]
            y = m[1, 0] * means[g, 0] + m[1, 1] * means[g, 1] + m[1, 2] * means[g, 2] + m[1, 3]
            z = -(m[2, 0] * means[g, 0] + m[2, 1] * means[g, 1] + m[2, 2] * means[g, 2] + m[2, 3])
            if not z > NEAR:
                centres[view, g, :] = NONE
                conics[view, g, :] = NONE
                depths[view, g] = NONE
                continue
            reach_x, reach_y = REACH * HALF * width / f, REACH * HALF * height / f
            tx = min(max(x / z, -reach_x), reach_x)
            ty = min(max(y / z, -reach_y), reach_y)
            near = f / z
            for k in range(3):
                q0 = m[0, 0] * axes[0, k] + m[0, 1] * axes[1, k] + m[0, 2] * axes[2, k]
                q1 = m[1, 0] * axes[0, k] + m[1, 1] * axes[1, k] + m[1, 2] * axes[2, k]
                q2 = m[2, 0] * axes[0, k] + m[2, 1] * axes[1, k] + m[2, 2] * axes[2, k]
                spread[0, k] = near * (q0 + tx * q2)
                spread[1, k] = -near * (q1 + ty * q2)
            xx, xy, yy = BLUR, NONE, BLUR
            for k in range(3):
                xx += spread[0, k] * spread[0, k]
                xy += spread[0, k] * spread[1, k]
                yy += spread[1, k] * spread[1, k]
            inverse = ONE / (xx * yy - xy * xy)
            centres[view, g, 0] = HALF * width + near * x
            centres[view, g, 1] = HALF * height - near * y
            conics[view, g, 0], conics[view, g, 1] = yy * inverse, -xy * inverse
            conics[view, g, 2] = xx * inverse
            depths[view, g] = z


@njit(nogil=True, cache=CACHE, fastmath=True, error_model="numpy")
def project_back(
    first,
    last,
    means,
    scales,
    rotations,
    views,
    focal,
    height,
    width,
    conics,
    depths,
    on_centres,
    on_conics,
    grad_means,
    grad_scales,
    grad_rotations,
):
    """Gradients of `project_range` in means, scales and rotations, of Gaussians first to last."""
    turn, axes = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    inner, spread = np.empty((3, 3), np.float32), np.empty((2, 3), np.float32)
    on_spread, on_axes = np.empty((2, 3), np.float32), np.empty((3, 3), np.float32)
    for g in range(first, last):
        inverse = _axes(rotations, scales, g, turn, axes)
        grad_means[g, :] = NONE
        on_axes[:] = NONE
        for view in range(views.shape[0]):
            z = depths[view, g]
            if z == NONE:
                continue
            m, f = views[view], focal[view]
            x = m[0, 0] * means[g, 0] + m[0, 1] * means[g, 1] + m[0, 2] * means[g, 2] + m[0, 3]
            y = m[1, 0] * means[g, 0] + m[1, 1] * means[g, 1] + m[1, 2] * means[g, 2] + m[1, 3]
            reach_x, reach_y = REACH * HALF * width / f, REACH * HALF * height / f
            free_x, free_y = abs(x / z) <= reach_x, abs(y / z) <= reach_y
            tx = min(max(x / z, -reach_x), reach_x)
            ty = min(max(y / z, -reach_y), reach_y)
            near = f / z
            for k in range(3):
                for i in range(3):
                    inner[i, k] = m[i, 0] * axes[0, k] + m[i, 1] * axes[1, k] + m[i, 2] * axes[2, k]
                spread[0, k] = near * (inner[0, k] + tx * inner[2, k])
                spread[1, k] = -near * (inner[1, k] + ty * inner[2, k])
            # dL/dSigma = - C G C of the inverse C, G with half of the mixed term on either side.
            a, b, c = conics[view, g, 0], conics[view, g, 1], conics[view, g, 2]
            ga, gc = on_conics[view, g, 0], on_conics[view, g, 2]
            gb = on_conics[view, g, 1] * HALF
            p, q = ga * a + gb * b, ga * b + gb * c
            r, s = gb * a + gc * b, gb * b + gc * c
            sxx, sxy, syy = -(a * p + b * r), -(a * q + b * s), -(b * q + c * s)
            j02, j12, j00, j11 = NONE, NONE, NONE, NONE
            for k in range(3):
                t0 = TWO * (sxx * spread[0, k] + sxy * spread[1, k])
                t1 = TWO * (sxy * spread[0, k] + syy * spread[1, k])
                on_spread[0, k], on_spread[1, k] = t0, t1
                j00 += t0 * inner[0, k]
                j02 += t0 * inner[2, k]
                j11 += t1 * inner[1, k]
                j12 += t1 * inner[2, k]
                # Through the camera's rotation to the Gaussian's axes.
                u0, u1, u2 = near * t0, -near * t1, near * (tx * t0 - ty * t1)
                for i in range(3):
                    on_axes[i, k] += m[0, i] * u0 + m[1, i] * u1 + m[2, i] * u2
            gu, gv = on_centres[view, g, 0], on_centres[view, g, 1]
            on_x, on_y = gu * near, -gv * near
            on_z = (-gu * near * x + gv * near * y) / z
            on_z -= (j00 + j02 * tx - j11 - j12 * ty) * near / z
            if free_x:
                on_x += j02 * near / z
                on_z -= j02 * near * tx / z
            if free_y:
                on_y -= j12 * near / z
                on_z += j12 * near * ty / z
            for i in range(3):
                grad_means[g, i] += m[0, i] * on_x + m[1, i] * on_y - m[2, i] * on_z
        for k in range(3):
            grad_scales[g, k] = (
                on_axes[0, k] * turn[0, k] + on_axes[1, k] * turn[1, k] + on_axes[2, k] * turn[2, k]
            )
            for i in range(3):
                on_axes[i, k] *= scales[g, k]
        _turn_back(rotations, g, inverse, on_axes, grad_rotations)


@njit(nogil=True, cache=CACHE, fastmath=True, error_model="numpy")
def _turn_back(rotations, g, inverse, on, grad):
    """The gradient of quaternion g, of that of its rotation `on` (3, 3)."""
    w, x = rotations[g, 0] * inverse, rotations[g, 1] * inverse
    y, z = rotations[g, 2] * inverse, rotations[g, 3] * inverse
    gw = TWO * (x * (on[2, 1] - on[1, 2]) + y * (on[0, 2] - on[2, 0]) + z * (on[1, 0] - on[0, 1]))
    gx = TWO * (
        y * (on[0, 1] + on[1, 0])
        + z * (on[0, 2] + on[2, 0])
        + w * (on[2, 1] - on[1, 2])
        - TWO * x * (on[1, 1] + on[2, 2])
    )
    gy = TWO * (
        x * (on[0, 1] + on[1, 0])
        + z * (on[1, 2] + on[2, 1])
        + w * (on[0, 2] - on[2, 0])
        - TWO * y * (on[0, 0] + on[2, 2])
    )
    gz = TWO * (
        x * (on[0, 2] + on[2, 0])
        + y * (on[1, 2] + on[2, 1])
        + w * (on[1, 0] - on[0, 1])
        - TWO * z * (on[0, 0] + on[1, 1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    grad[g, 0], grad[g, 1] = (gw - along * w) * inverse, (gx - along * x) * inverse
    grad[g, 2], grad[g, 3] = (gy - along * y) * inverse, (gz - along * z) * inverse
