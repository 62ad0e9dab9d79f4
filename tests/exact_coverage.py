"""Closed surfaces whose corners lie on pixel centres, or anywhere, and which pixels their triangles
cover in rational numbers."""

from fractions import Fraction

import numpy as np
import torch
from scipy.spatial import ConvexHull


def subdivided_box(parts):
    """An axis-aligned box over [-1, 1]^3 with `parts`^2 quads a side: points (V, 3), faces (F, 3),
    turned outwards."""
    line = np.linspace(-1, 1, parts + 1)
    corners, faces = [], []
    for axis in range(3):
        for end in (-1.0, 1.0):
            a, b = np.meshgrid(line, line, indexing="ij")
            side = np.stack([np.full(a.size, end), a.ravel(), b.ravel()], 1)
            start = sum(len(c) for c in corners)
            corners.append(np.roll(side, axis, 1))
            number = start + np.arange(a.size).reshape(parts + 1, parts + 1)
            p, q, r, s = number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]
            quads = np.concatenate(
                [np.stack([p, q, s], -1).reshape(-1, 3), np.stack([p, s, r], -1).reshape(-1, 3)]
            )
            faces.append(quads if end > 0 else quads[:, ::-1])
    points, number = np.unique(np.concatenate(corners), axis=0, return_inverse=True)
    return points, number.reshape(-1)[np.concatenate(faces)]


def convex_body(seed, count=40):
    """The hull of random points: points (V, 3), faces (F, 3) turned outwards."""
    points = np.random.Generator(np.random.Philox(key=seed)).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    hull = ConvexHull(points)
    faces = hull.simplices.copy()
    a, b, c = points[faces].transpose(1, 0, 2)
    inwards = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return points, faces


def on_pixel_centres(points, size, w=(1.0,)):
    """Clip positions (V, 4) of points whose x and y in [-1, 1] are moved to the nearest centres of
    a picture of `size`, a power of two; the factors `w` in turn. Exact in float32."""
    column = np.clip(np.floor((points[:, 0] * 0.75 + 1) * size / 2), 0, size - 1)
    row = np.clip(np.floor((points[:, 1] * 0.75 + 1) * size / 2), 0, size - 1)
    factor = np.resize(np.asarray(w), len(points))
    x, y = (2 * column + 1 - size) / size, (2 * row + 1 - size) / size
    clip = np.stack([x * factor, y * factor, -points[:, 2] * 0.5 * factor, factor], 1)
    assert (clip[:, :2].astype(np.float32) == clip[:, :2]).all()
    return torch.from_numpy(clip.astype(np.float32))


def perspective(points, seed, distance=3.0, focus=1.7):
    """Clip positions (V, 4) float32 from a random direction."""
    turn = np.linalg.qr(np.random.Generator(np.random.Philox(key=seed)).normal(size=(3, 3)))[0]
    turn = turn * np.sign(np.linalg.det(turn))
    seen = points @ turn.T
    w = distance - seen[:, 2]
    clip = np.stack([seen[:, 0] * focus, seen[:, 1] * focus, w - distance, w], 1)
    return torch.from_numpy(clip.astype(np.float32))


def exact_cover(clip, faces, height, width):
    """In rational numbers: of every pixel the triangles that cover it with their z/w, a dictionary
    (row, column) -> {face: z/w}; a pixel on an edge belongs to what lies right of or below it."""
    corners = [[Fraction(float(v)) for v in row] for row in clip]
    found = {}
    for face, (i, j, k) in enumerate(faces.tolist()):
        ends = [corners[i], corners[j], corners[k]]
        lines = []
        for (x0, y0, _, w0), (x1, y1, _, w1) in (
            (ends[1], ends[2]),
            (ends[2], ends[0]),
            (ends[0], ends[1]),
        ):
            lines.append((y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0))
        for row in range(height):
            for column in range(width):
                x, y = (
                    Fraction(2 * column + 1 - width, width),
                    Fraction(height - 1 - 2 * row, height),
                )
                value = [a * x + b * y + c for a, b, c in lines]
                below = sum(v * end[3] for v, end in zip(value, ends))
                if below == 0:
                    continue
                turn = 1 if below > 0 else -1
                if all(
                    v * turn > 0 or (v == 0 and (a * turn > 0 or (a == 0 and b * turn < 0)))
                    for v, (a, b, _) in zip(value, lines)
                ):
                    z = sum(v * end[2] for v, end in zip(value, ends)) / below
                    if -1 <= z <= 1:
                        found.setdefault((row, column), {})[face] = z
    return found


def same_as_exact(draw, clip, faces, height, width):
    """How many pixels a rasteriser fills wrongly: where nothing is, not where something is, with a
    triangle that does not cover them, or with one that is not the nearest."""
    wanted = exact_cover(clip, faces, height, width)
    pixels = draw(clip[None], torch.as_tensor(faces).int(), height, width)[0]
    wrong = 0
    for row in range(height):
        for column in range(width):
            face, cover = int(pixels[row, column, 3]) - 1, wanted.get((row, column), {})
            if face < 0 or not cover:
                wrong += (face >= 0) != bool(cover)
            else:
                z = float(min(cover.values()))
                wrong += face not in cover or float(cover[face]) > z + 1e-6
                wrong += abs(float(pixels[row, column, 2]) - z) > 1e-6
    return wrong


def layers(draw, clip, faces, height, width):
    """How many front and how many back faces cover every pixel, each drawn alone: two (H, W)."""
    tri = torch.as_tensor(np.ascontiguousarray(faces)).int()
    counts = torch.zeros(2, height, width, dtype=torch.long)
    for face in tri:
        x, y, w = (clip[face.long()][:, k].double() for k in (0, 1, 3))
        turn = torch.linalg.det(torch.stack([x, y, w], 1))
        if turn != 0:
            counts[int(turn < 0)] += draw(clip[None], face[None], height, width)[0, ..., 3] > 0
    return counts


def gaps(pixels):
    """How many pixels of a convex body's picture (H, W, 4) are empty between covered ones of their
    row."""
    covered = pixels[..., 3] > 0
    left, right = covered.cumsum(1) > 0, covered.flip(1).cumsum(1).flip(1) > 0
    return int((left & right & ~covered).sum())
