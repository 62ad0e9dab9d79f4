"""What the report of a scene shows besides the asset: the picture taken apart, and the objects on
their way."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...reports import Comparison
from .amodal_completion import Completed
from .parts import Part


def colour_of(number: int) -> np.ndarray:
    """A colour (3,) in [0, 1] for an object, far from its neighbours'."""
    return np.array(colorsys.hsv_to_rgb((0.05 + number * 0.382) % 1.0, 0.75, 0.95))


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _sized(picture: np.ndarray, size: int) -> np.ndarray:
    from skimage.transform import resize

    return resize(picture, (size, size), order=1, anti_aliasing=picture.shape[0] > size).astype(
        np.float32
    )


def objects_picture(picture: np.ndarray, parts: list[Part], size: int = 256) -> np.ndarray:
    """A picture (H, W, 3) beside itself with the masks and boxes of its objects, (size, 2 size, 3)
    uint8."""
    marked = 0.35 * picture + 0.6
    for number, part in enumerate(parts):
        mask = part.mask[..., None]
        marked = marked * (1 - mask) + mask * (0.45 * picture + 0.55 * colour_of(number))
    for number, part in enumerate(parts):
        outline(marked, part.box, colour_of(number))
    return _bytes(np.concatenate([_sized(picture, size), _sized(marked, size)], 1))


def picture_pages(
    picture: np.ndarray,
    parts: list[Part],
    names: list[str],
    whole: list[Completed],
    size: int = 256,
) -> dict[str, np.ndarray]:
    """The picture beside its masks and boxes, and every object as it was cut out and completed, by
    title; (H, W, 3) uint8."""
    cut = []
    for done in whole:
        alpha = done.pixels[..., 3:]
        cut.append(_sized(done.pixels[..., :3] * alpha + 0.96 * (1 - alpha), size // 2))
    return {
        "The picture, and its objects": objects_picture(picture, parts, size),
        f"Cut out and completed: {', '.join(names)}": _bytes(np.concatenate(cut, 1)),
    }


def outline(picture: np.ndarray, box: np.ndarray, colour: np.ndarray) -> None:
    """Draw a box (4,) into a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    thick = max(1, round(height / 160))
    x0, x1 = (int(np.clip(v, 0, width - thick)) for v in (box[0], box[2] - thick))
    y0, y1 = (int(np.clip(v, 0, height - thick)) for v in (box[1], box[3] - thick))
    for x in (x0, x1):
        picture[y0 : y1 + thick, x : x + thick] = colour
    for y in (y0, y1):
        picture[y : y + thick, x0 : x1 + thick] = colour


def scene_pages(
    picture: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    path: np.ndarray,
    names: list[str],
    size: int = 192,
) -> dict[str, np.ndarray]:
    """The picture, the first placement and the last one from the same side, and the objects' way as
    seen from above, by title.

    Args:
        before, after: (1, H, W, 3). path: (K, N, 8) of `placement.PlacementPath`.
    """
    row = np.concatenate(
        [_sized(picture, size), _sized(before[0], size), _sized(after[0], size)], 1
    )
    pages = {"The picture; the first placement; the last one": _bytes(row)}
    if len(path) > 1:
        pages[f"The way of {', '.join(names)}, from above (the viewer below)"] = _bytes(
            path_picture(path, 2 * size)
        )
    return pages


def compared(picture: np.ndarray, drawn: np.ndarray, size: int = 384) -> list[Comparison]:
    """The picture (H, W, 3) against the scene (1, H, W, 3) from its camera."""
    return [
        Comparison(
            title="The picture, and the scene from its camera",
            first=_bytes(_sized(picture, size)),
            second=_bytes(_sized(drawn[0], size)),
            words=("the picture", "the scene"),
        )
    ]


def fit_line(figures: Mapping[str, Any]) -> str:
    """How a scene agrees with its picture and with what was said, in one line."""
    parts = []
    agreement = figures.get("reference: IoU of all")
    if agreement is not None:
        line = f"outlines agree to an IoU of {agreement:.2f}"
        # Poses that were made elsewhere may come with outlines alone.
        colours = figures.get("reference: PSNR, dB")
        parts.append(line if colours is None else f"{line}, colours to {colours:.1f} dB")
    said = {k.removeprefix("said: "): v for k, v in figures.items() if k.startswith("said: ")}
    broken = [words for words, verdict in said.items() if verdict != "holds"]
    if said:
        parts.append(
            f"does not hold: {'; '.join(broken)}" if broken else "all that the prompt says holds"
        )
    return f"The scene: {'; '.join(parts)}." if parts else ""


def path_picture(path: np.ndarray, size: int) -> np.ndarray:
    """The ways of objects (K, N, 8) in the plane of x and z, the viewer below: (size, size, 3)."""
    from PIL import Image, ImageDraw

    at = path[:, :, 5:8][:, :, [0, 2]]
    low, high = at.min((0, 1)), at.max((0, 1))
    centre, reach = (low + high) / 2, max(float((high - low).max()), 0.5) * 0.65
    places = (((at - centre) / reach + 1) / 2 * size).astype(float)
    image = Image.new("RGB", (size, size), (250, 250, 249))
    draw = ImageDraw.Draw(image)
    for number in range(path.shape[1]):
        ink = tuple(int(v * 255) for v in colour_of(number))
        draw.line([tuple(p) for p in places[:, number]], fill=ink, width=2)
        x, y = places[0, number]
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], outline=ink, width=2)
        x, y = places[-1, number]
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=ink)
    return np.asarray(image, np.float32) / 255
