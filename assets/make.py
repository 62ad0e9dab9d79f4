"""Makes the sample meshes of assets/meshes, bodies of our own modelling that no toybox holds, and
the pictures of assets/pictures.

Run: python assets/make.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from threestudio_like.meshes.mesh import Asset, Material, Mesh
from threestudio_like.meshes.texture.unwrap import unwrap
from threestudio_like.toybox.shapes import box, cylinder, ellipsoid, lathe, tube

HERE = Path(__file__).parent / "meshes"
PICTURES = Path(__file__).parent / "pictures"


def swept(path: np.ndarray, radius: float, sides: int = 14) -> Mesh:
    """A closed tube about a closed path (N, 3), with texture coordinates along and around it."""
    count = len(path)
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.cross(tangent, np.roll(tangent, -1, 0))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    across = np.cross(tangent, normal)
    turn = np.arange(sides + 1) / sides * 2 * np.pi
    ring = (
        np.cos(turn)[None, :, None] * normal[:, None]
        + np.sin(turn)[None, :, None] * across[:, None]
    )
    points = (path[:, None] + radius * ring)[np.r_[0:count, 0]]
    vertices, faces, uv = [], [], []
    for part in range(4):
        rows = np.arange(count * part // 4, count * (part + 1) // 4 + 1)
        base = sum(len(v) for v in vertices)
        vertices.append(points[rows].reshape(-1, 3))
        u = np.linspace(0.02, 0.98, len(rows))[:, None] + 0 * turn[None]
        v = part / 4 + 0.02 + 0.21 * (turn[None] / (2 * np.pi)) + 0 * u
        uv.append(np.stack([u, v], -1).reshape(-1, 2))
        grid = base + np.arange(len(rows) * (sides + 1)).reshape(len(rows), sides + 1)
        a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
        faces += [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    mesh = Mesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(uv).astype(np.float32),
    )
    return (
        mesh if mesh.volume > 0 else replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1]))
    )


def of(
    primitive: tuple, name: str, colour: tuple = (0.7, 0.7, 0.7, 1.0), unwrapped: bool = True
) -> Mesh:
    vertices, faces = primitive
    mesh = Mesh(
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        material=Material(name, colour),
    )
    if mesh.volume < 0:
        mesh = replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1]))
    return unwrap(mesh, 512)[0].with_creases() if unwrapped else mesh


def main() -> None:
    HERE.mkdir(exist_ok=True)
    profile = [
        (0, 0),
        (0.42, 0),
        (0.62, 0.2),
        (0.68, 0.42),
        (0.58, 0.66),
        (0.36, 0.82),
        (0.3, 0.86),
        (0.22, 0.92),
        (0.06, 0.96),
        (0.1, 1.04),
        (0.0, 1.1),
    ]
    spout = tube(
        np.array([(0.58, 0.35, 0), (0.8, 0.42, 0), (0.92, 0.62, 0), (1.08, 0.78, 0)]), 0.1, 12
    )
    handle = tube(
        np.array(
            [(-0.6, 0.62, 0), (-0.85, 0.66, 0), (-0.95, 0.48, 0), (-0.84, 0.3, 0), (-0.62, 0.25, 0)]
        ),
        0.06,
        10,
    )
    Asset(
        {
            "body": of(lathe(profile, 36), "glaze"),
            "spout": of(spout, "glaze spout"),
            "handle": of(handle, "glaze handle"),
        }
    ).save(HERE / "teapot.obj")
    t = np.arange(240) / 240 * 2 * np.pi
    knot = np.stack(
        [(2 + np.cos(3 * t)) * np.cos(2 * t), np.sin(3 * t), (2 + np.cos(3 * t)) * np.sin(2 * t)], 1
    )
    Asset({"knot": replace(swept(knot, 0.42), material=Material("enamel"))}).save(HERE / "knot.glb")
    parts = {
        "head": of(box((0.5, 0.4, 0.45), (0, 1.55, 0)), "paint", (0.8, 0.8, 0.8, 1)),
        "trunk": of(box((0.8, 0.8, 0.5), (0, 0.9, 0)), "paint trunk", (0.8, 0.8, 0.8, 1)),
        "left eye": of(
            ellipsoid((0.08, 0.08, 0.06), (0.12, 1.6, 0.23), 12, 8),
            "glass left",
            (0.2, 0.4, 0.6, 1),
        ),
        "right eye": of(
            ellipsoid((0.08, 0.08, 0.06), (-0.12, 1.6, 0.23), 12, 8),
            "glass right",
            (0.2, 0.4, 0.6, 1),
        ),
        "left arm": of(
            cylinder(0.12, 0.75, (0.55, 0.9, 0), segments=16), "steel arm", (0.5, 0.5, 0.5, 1)
        ),
        "right arm": of(
            cylinder(0.12, 0.75, (-0.55, 0.9, 0), segments=16), "steel arm 2", (0.5, 0.5, 0.5, 1)
        ),
        "left leg": of(box((0.26, 0.5, 0.3), (0.22, 0.25, 0)), "steel leg", (0.5, 0.5, 0.5, 1)),
        "right leg": of(box((0.26, 0.5, 0.3), (-0.22, 0.25, 0)), "steel leg 2", (0.5, 0.5, 0.5, 1)),
    }
    Asset(parts).save(HERE / "robot.glb")
    bowl = [
        (0, 0),
        (0.3, 0),
        (0.55, 0.18),
        (0.72, 0.5),
        (0.78, 0.7),
        (0.7, 0.7),
        (0.6, 0.45),
        (0.42, 0.2),
        (0, 0.12),
    ]
    Asset({"bowl": replace(of(lathe(bowl, 40), "clay", unwrapped=False), material=None)}).save(
        HERE / "bowl.ply"
    )
    vertices, faces = box((1.2, 1.0, 1.0), (0, 0, 0))
    flat = Mesh(
        vertices[faces].reshape(-1, 3), np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
    )
    normal = np.repeat(
        np.cross(
            vertices[faces[:, 1]] - vertices[faces[:, 0]],
            vertices[faces[:, 2]] - vertices[faces[:, 0]],
        ),
        3,
        0,
    )
    axis = np.abs(normal).argmax(1)
    # Every side of the crate uses the whole texture: coordinates that no painter can use.
    span = (flat.vertices - flat.vertices.min(0)) / np.ptp(flat.vertices, axis=0)
    uv = np.where(
        (axis == 0)[:, None],
        span[:, [2, 1]],
        np.where((axis == 1)[:, None], span[:, [0, 2]], span[:, [0, 1]]),
    )
    Asset({"crate": replace(flat, uv=uv.astype(np.float32), material=Material("planks"))}).save(
        HERE / "crate.obj"
    )
    pictures()
    for path in sorted([*HERE.iterdir(), *PICTURES.iterdir()]):
        print(path.name, path.stat().st_size)


def pictures(size: int = 256) -> None:
    """Objects that no training saw: cut out, before a wall, before tiles, and as a line drawing;
    and a scene of three."""
    from PIL import Image
    from scipy.ndimage import sobel

    from threestudio_like.toybox.render import render, view_projection
    from threestudio_like.toybox.scenes import draw_layout
    from threestudio_like.toybox.vocabulary import Phrase
    from threestudio_like.toybox.world import build

    PICTURES.mkdir(exist_ok=True)
    y, x = np.mgrid[0:size, 0:size] / size
    wall = np.stack([0.75 + 0.15 * y, 0.72 + 0.12 * y + 0.05 * x, 0.66 + 0.1 * y], -1)
    tiles = np.where(
        (((x * 7).astype(int) + (y * 7).astype(int)) % 2)[..., None] > 0,
        [0.75, 0.78, 0.8],
        [0.6, 0.64, 0.66],
    )
    wanted = {
        "chair.png": (Phrase("chair", "red"), 0.6, None),
        "mug.jpg": (Phrase("mug", "blue"), 0.5, wall),
        "car.jpg": (Phrase("car", "orange"), 0.9, tiles),
        "house.png": (Phrase("house", "white"), 0.7, None),
    }
    for number, (name, (phrase, azimuth, behind)) in enumerate(wanted.items()):
        obj = build(phrase, np.random.Generator(np.random.Philox(key=[777, number])), "test")
        view = render(
            obj, view_projection(azimuth, 0.35)[None], size, np.zeros((1, 3), np.float32), 3
        )
        image, mask = view.image[0], view.mask[0][..., None]
        if name == "house.png":
            grey = (image + 1 - mask).mean(-1)
            edge = np.hypot(sobel(grey, 0), sobel(grey, 1)) > 0.35
            image = np.where(edge[..., None], 0.1, 1.0).repeat(3, -1)
        elif behind is not None:
            image = image + behind * (1 - mask)
        pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
        if name == "chair.png":
            colour = image / np.maximum(mask, 1e-3)
            pixels = np.rint(np.concatenate([colour.clip(0, 1), mask], -1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(PICTURES / name, quality=90)
    whole = draw_layout(5, 13, "test").whole()
    view = render(whole, view_projection(0.0, 0.35)[None], size, np.zeros((1, 3), np.float32), 3)
    image = view.image[0] + wall * (1 - view.mask[0][..., None])
    Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8)).save(
        PICTURES / "scene.png", optimize=True
    )


if __name__ == "__main__":
    main()
