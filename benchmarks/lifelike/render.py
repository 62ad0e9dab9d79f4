"""Render the twenty scenes: benchmarks/lifelike/pictures. Mitsuba 3 is needed: pip install mitsuba.

Run: python benchmarks/lifelike/render.py [--only 3 7] [--samples 48]   (from the checkout's root)
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.restoration import denoise_nl_means

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from second_world.render import corner_normals, display, linear  # noqa: E402
from second_world.shapes import Thing, face_normals  # noqa: E402

from lifelike.scenes import SHOTS, Photographed, shot  # noqa: E402

FOLDER = HERE / "pictures"
HEIGHT = 360
LENS, NOISE, QUALITY = 0.02, 0.012, 88
"""Radius of the lens in scene units; standard deviation of a middle grey on the sensor; of JPEG."""
Dictionary = dict[str, Any]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]
) -> np.ndarray:
    """Noise (H, W) in about [-1, 1] of so many cells, smooth between them and without a seam."""
    out = np.zeros(shape)
    for octave in range(4):
        rows, columns = (min(c << octave, s) for c, s in zip(cells, shape))
        coarse = rng.normal(0, 0.5, (rows, columns))
        y = np.arange(shape[0]) * rows / shape[0]
        x = np.arange(shape[1]) * columns / shape[1]
        i, j = y.astype(int), x.astype(int)
        u, v = ((t - t.astype(int)) for t in (y, x))
        u, v = (t * t * (3 - 2 * t) for t in (u, v))
        below, right = (i + 1) % rows, (j + 1) % columns
        one = coarse[i][:, j] * (1 - v) + coarse[i][:, right] * v
        two = coarse[below][:, j] * (1 - v) + coarse[below][:, right] * v
        out += (one * (1 - u[:, None]) + two * u[:, None]) / 2**octave
    return out


def planks(
    rng: np.random.Generator, rgb: tuple[float, float, float], size: int = 1024
) -> np.ndarray:
    """A wooden floor or desk, display RGB (S, S, 3)."""
    count = 8
    wide = size // count
    out = np.empty((size, size, 3))
    grain = smooth_noise(rng, (size, size), (96, 3))
    for k in range(count):
        tone = (
            1 + rng.normal(0, 0.07) + 0.10 * np.roll(grain, 131 * k, 1)[k * wide : (k + 1) * wide]
        )
        out[k * wide : (k + 1) * wide] = np.array(rgb) * tone[..., None]
        out[k * wide : k * wide + 3] *= 0.55
        joint = int(rng.integers(size))
        out[k * wide : (k + 1) * wide, joint : joint + 3] *= 0.6
    return out.clip(0.01, 1)


def flecked(
    rng: np.random.Generator,
    rgb: tuple[float, float, float],
    amount: float,
    cells: int,
    size: int = 512,
) -> np.ndarray:
    """Plaster, carpet or a lawn, display RGB (S, S, 3)."""
    large, small = (
        smooth_noise(rng, (size, size), (6, 6)),
        smooth_noise(rng, (size, size), (cells,) * 2),
    )
    tone = 1 + amount * (0.5 * large + small)
    return (np.array(rgb) * tone[..., None]).clip(0.01, 1)


def bricks(rng: np.random.Generator, size: int = 512) -> np.ndarray:
    """A brick wall, display RGB (S, S, 3)."""
    y, x = np.mgrid[0:size, 0:size] / size * 16
    row = np.floor(y)
    column = np.floor(x / 2 + 0.5 * (row % 2))
    tone = rng.normal(1, 0.10, (32, 32))[row.astype(int) % 32, column.astype(int) % 32]
    joint = (y % 1 < 0.12) | ((x / 2 + 0.5 * (row % 2)) % 1 < 0.05)
    tone = tone * (1 + 0.08 * smooth_noise(rng, (size, size), (64, 64)))
    wall = np.array((0.55, 0.33, 0.26)) * tone[..., None]
    wall[joint] = (0.66, 0.63, 0.58)
    return wall.clip(0.01, 1)


def bitmap(display_rgb: np.ndarray, repeat: float, across: float | None = None) -> Dictionary:
    """A texture of light (Mitsuba reads floats as linear), so often upwards and across."""
    import mitsuba as mi

    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(linear(display_rgb).astype(np.float32)),
        "raw": True,
        "to_uv": mi.ScalarTransform4f().scale([across or repeat, repeat, 1]),
    }


def plain(rgb: tuple[float, float, float], rough: float = 0.35) -> Dictionary:
    """Paint."""
    colour = {"type": "rgb", "value": [float(v) for v in linear(np.array(rgb))]}
    return {"type": "roughplastic", "diffuse_reflectance": colour, "alpha": rough}


def surface(thing: Thing) -> Any:
    """A thing as Mitsuba's mesh: every face three corners of its own, with smooth normals and
    colours; gloss by the main material's."""
    import mitsuba as mi

    corners = thing.vertices[thing.faces]
    local = thing.local[thing.faces]
    flat = face_normals(thing.local, thing.faces)
    colours = np.empty((len(corners), 3, 3), np.float32)
    for number, material in enumerate(thing.materials):
        here = thing.material == number
        for k in range(3):
            colours[here, k] = linear(material.albedo(local[here, k], flat[here]))
    gloss = max(m.gloss for m in thing.materials)
    bsdf = {
        "type": "principled",
        "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
        "roughness": 0.2 if gloss > 1.5 else 0.35 if gloss > 0.6 else 0.65,
        "specular": 0.5,
    }
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf)
    count = 3 * len(corners)
    mesh = mi.Mesh(thing.name, count, len(corners), props, has_vertex_normals=True)
    mesh.add_attribute("vertex_color", 3, colours.reshape(-1).astype(np.float32))
    values = mi.traverse(mesh)
    values["vertex_positions"] = corners.reshape(-1).astype(np.float32)
    values["vertex_normals"] = (
        corner_normals(thing.vertices, thing.faces).reshape(-1).astype(np.float32)
    )
    values["faces"] = np.arange(count, dtype=np.uint32)
    values.update()
    return mesh


def wall(corner: Any, bsdf: Dictionary) -> Dictionary:
    """A rectangle, placed."""
    return {"type": "rectangle", "to_world": corner, "bsdf": {"type": "twosided", "inner": bsdf}}


def box_of(
    middle: tuple[float, ...], half: tuple[float, ...], turn: float, bsdf: Dictionary
) -> Dictionary:
    """A cuboid that stands in the background."""
    import mitsuba as mi

    place = mi.ScalarTransform4f().translate(list(middle)).rotate([0, 1, 0], turn).scale(list(half))
    return {"type": "cube", "to_world": place, "bsdf": bsdf}


def indoors(rng: np.random.Generator, low: float, desk: bool) -> Dictionary:
    """A floor or a desk, a wall behind, a window at one side, and what else stands about."""
    import mitsuba as mi

    move = mi.ScalarTransform4f
    wood = planks(
        rng, ((0.55, 0.40, 0.27), (0.72, 0.58, 0.42), (0.42, 0.30, 0.21))[int(rng.integers(3))]
    )
    paint = ((0.86, 0.84, 0.79), (0.74, 0.80, 0.82), (0.83, 0.77, 0.68))[int(rng.integers(3))]
    behind = bricks(rng) if rng.random() < 0.25 else flecked(rng, paint, 0.03, 64)
    away, side = float(rng.uniform(2.2, 3.2)), (-1.0, 1.0)[int(rng.integers(2))]
    repeat = 2.0 if desk else 5.0
    glossy = {
        "type": "roughplastic",
        "diffuse_reflectance": bitmap(wood, repeat),
        "alpha": 0.25,
    }
    flat = move().translate([0, low, 0]).rotate([1, 0, 0], -90)
    scene: Dictionary = {
        "floor": wall(flat.scale([3.0 if desk else 9.0, 1.7 if desk else 9.0, 1]), glossy),
        "wall": wall(
            move().translate([0, 2.0, -away]).scale([9, 5, 1]),
            {"type": "diffuse", "reflectance": bitmap(behind, 4.0)},
        ),
        "window": {
            "type": "rectangle",
            "to_world": move().look_at(
                origin=[side * 4.0, 2.6, 1.6], target=[0, 0, 0], up=[0, 1, 0]
            )
            @ move().scale([1.3, 1.3, 1]),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [11.0, 10.6, 9.8]}},
        },
        "room": {"type": "constant", "radiance": {"type": "rgb", "value": [0.42, 0.41, 0.40]}},
    }
    scene["skirting" if not desk else "shelf"] = box_of(
        (0, low + (0.12 if not desk else 0.9), -away + 0.05),
        (9, 0.12 if not desk else 0.04, 0.05),
        0,
        plain((0.9, 0.89, 0.86)),
    )
    frame = (float(rng.uniform(-1.6, 1.6)), low + 2.0, -away + 0.04)
    scene["frame"] = box_of(frame, (0.5, 0.38, 0.04), 0, plain((0.16, 0.12, 0.10)))
    scene["print"] = box_of(
        (frame[0], frame[1], frame[2] + 0.02),
        (0.42, 0.30, 0.03),
        0,
        plain(tuple(rng.uniform(0.3, 0.9, 3))),
    )
    for k in range(int(rng.integers(3, 6)) if desk else 0):
        # Books against the wall, out of focus.
        tall = float(rng.uniform(0.28, 0.45))
        at = (-1.9 + 0.16 * k + float(rng.normal(0, 0.01)), low + tall, -1.45)
        scene[f"book{k}"] = box_of(
            at, (0.06, tall, 0.25), 0, plain(tuple(rng.uniform(0.15, 0.8, 3)))
        )
    return scene


def outdoors(rng: np.random.Generator, low: float) -> Dictionary:
    """A lawn, a hedge, a sky with haze, the sun."""
    import mitsuba as mi

    move = mi.ScalarTransform4f
    lawn = flecked(rng, (0.36, 0.46, 0.24), 0.30, 160)
    hedge = flecked(rng, (0.20, 0.30, 0.15), 0.45, 128)
    rows = np.linspace(1, -1, 128)[:, None]
    up = np.clip(rows, 0, 1) ** 0.6
    sky = (
        np.array((0.80, 0.84, 0.88)) * (1 - up[..., None])
        + np.array((0.26, 0.45, 0.80)) * up[..., None]
    )
    clouds = (
        np.clip(smooth_noise(rng, (128, 256), (6, 8)), 0, 1)[..., None]
        * np.clip(rows * 4, 0, 1)[..., None]
    )
    light = np.broadcast_to(sky, (128, 256, 3)) * (1 - clouds) + clouds
    return {
        "lawn": wall(
            move().translate([0, low, 0]).rotate([1, 0, 0], -90).scale([14, 14, 1]),
            {"type": "diffuse", "reflectance": bitmap(lawn, 6.0)},
        ),
        "hedge": wall(
            move().translate([0, low + 0.5, -5.5]).scale([14, 0.9, 1]),
            {"type": "diffuse", "reflectance": bitmap(hedge, 1.0, 14.0)},
        ),
        "sky": {"type": "envmap", "bitmap": mi.Bitmap(light.astype(np.float32)), "scale": 0.55},
        "sun": {
            "type": "directional",
            "direction": [float(rng.uniform(-1.1, 1.1)), -1.0, float(rng.uniform(-0.8, -0.2))],
            "irradiance": {"type": "rgb", "value": [2.7, 2.5, 2.2]},
        },
    }


def camera(scene: Photographed, samples: int) -> Dictionary:
    """Where it is seen from: the origin is the picture's middle, the front is +Z."""
    import mitsuba as mi

    said, down = scene.shot, math.radians(scene.shot.elevation)
    eye = [0.0, said.distance * math.sin(down), said.distance * math.cos(down)]
    return {
        "type": "thinlens",
        "fov": said.fov,
        "fov_axis": "y",
        "aperture_radius": LENS,
        "focus_distance": said.distance - 0.3,
        "to_world": mi.ScalarTransform4f().look_at(origin=eye, target=[0, 0, 0], up=[0, 1, 0]),
        "film": {
            "type": "hdrfilm",
            "width": round(HEIGHT * said.aspect),
            "height": HEIGHT,
            "rfilter": {"type": "gaussian"},
        },
        "sampler": {"type": "independent", "sample_count": samples},
    }


def photograph(number: int, samples: int) -> bytes:
    """Scene `number` as a JPEG."""
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    scene = shot(number)
    rng = np.random.Generator(np.random.Philox(key=[7302, number]))
    low = min(float(t.vertices[:, 1].min()) for t in scene.things)
    setting = scene.shot.setting
    around = outdoors(rng, low) if setting == "garden" else indoors(rng, low, setting == "desk")
    things = {f"thing{k}": surface(t) for k, t in enumerate(scene.things)}
    parts = {"type": "scene", "integrator": {"type": "path", "max_depth": 6}}
    drawn = mi.render(
        mi.load_dict({**parts, "sensor": camera(scene, samples), **around, **things}), seed=number
    )
    light = np.asarray(drawn)[..., :3].astype(np.float64)
    # Exposure by the middle of the picture; a shoulder where film would be white.
    light *= (0.26 if setting == "garden" else 0.38) / np.quantile(light.mean(-1), 0.6)
    light = light / (1 + (light / 1.6) ** 2) ** 0.5
    y, x = np.mgrid[-1 : 1 : light.shape[0] * 1j, -1 : 1 : light.shape[1] * 1j]
    light *= (1 - 0.12 * (x * x + y * y) / 2)[..., None]
    noisy = light + rng.normal(0, 1, light.shape) * NOISE * np.sqrt(light.clip(0) + 0.02)
    # As a camera's own processing smooths it; the tracer's noise goes too.
    shown = denoise_nl_means(
        display(noisy), patch_size=5, patch_distance=6, h=0.015, sigma=0.02, channel_axis=-1
    )
    pixels = np.rint(shown.clip(0, 1) * 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=QUALITY, subsampling=2)
    return data.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="*", default=list(range(len(SHOTS))))
    parser.add_argument("--samples", type=int, default=48)
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for number in arguments.only:
        path = FOLDER / f"{number:02d}.jpg"
        path.write_bytes(photograph(number, arguments.samples))
        print(path.name, SHOTS[number].prompt, f"{path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
