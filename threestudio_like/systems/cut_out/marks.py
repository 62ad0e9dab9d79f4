"""What the user marks in a picture: boxes, masks and label maps, read and checked before any work
begins. `reconstruct` and `compose` share them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion, maximum_filter, minimum_filter

from ...engine.errors import ConfigError, InputError
from ...meshes.io.photographs import check_file, pictures_in, read_photograph

SMALLEST_BOX = 4
"""Pixels of a box's edge."""
FEWEST = 12
"""Pixels of a mask that shows something."""
EQUAL = 0.9
"""IoU from which two boxes are one."""
NESTED = 0.95
"""Share of a box within another from which it lies in it."""
NEARLY = 12
"""Levels of 255 from black and from white that are black and white."""
STEP = 60
"""Levels of 255 within two pixels that are the edge of a thing."""
LABELS = 64
"""Most labels of a label map; a picture with more colours is none."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")
FIX = "Give x0,y0,x1,y1 with x0 < x1 and y0 < y1"


def read_boxes(given: tuple[str, ...], option: str = "--boxes") -> np.ndarray | None:
    """Boxes (N, 4) of "x0,y0,x1,y1", in pixels of the file. Raises ConfigError."""
    if not given:
        return None
    rows = []
    for said in given:
        numbers = re.split(r"\s*[,;x\s]\s*", said.strip())
        if len(numbers) != 4 or not all(map(_NUMBER.fullmatch, numbers)):
            raise ConfigError(
                f'"{said}" is not a box',
                option,
                f"Say x0,y0,x1,y1 in pixels: {option} 10,20,90,120"
                + (" 100,15,180,130" if option == "--boxes" else ""),
            )
        row = [float(n) for n in numbers]
        if 0 < max(row) <= 1:
            raise ConfigError(
                f'"{said}" are shares of the picture\'s size, and pixels are wanted',
                option,
                "Multiply them by its width and height",
            )
        rows.append(row)
    return np.array(rows)


def check_boxes(
    boxes: np.ndarray,
    width: int,
    height: int,
    *,
    option: str = "--boxes",
    apart: frozenset[tuple[int, int]] = frozenset(),
) -> None:
    """Raise ConfigError where a box (N, 4) is empty, leaves the picture of `width` x `height`
    pixels, is another one's equal, or lies within another one.

    Args:
        apart: pairs of boxes of which it is known that one thing lies in or before the other.
    """
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist(), 1):
        said = f"{x0:g},{y0:g},{x1:g},{y1:g}"
        one = f"box {number} ({said})" if option == "--boxes" else f"the box {said}"
        if x1 - x0 < SMALLEST_BOX or y1 - y0 < SMALLEST_BOX:
            raise ConfigError(f"{one} is empty or smaller than {SMALLEST_BOX} pixels", option, FIX)
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            raise ConfigError(
                f"{one} leaves the picture, which has {width} x {height} pixels",
                option,
                "Give boxes in pixels of the picture",
            )
    for two in range(len(boxes)):
        for one_ in range(two):
            _check_pair(boxes, one_, two, (one_, two) in apart or (two, one_) in apart)


def _check_pair(boxes: np.ndarray, one: int, two: int, known: bool) -> None:
    a, b = boxes[one], boxes[two]
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(sides.clip(0)))
    area_a, area_b = float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2]))
    if common >= EQUAL * (area_a + area_b - common):
        raise ConfigError(
            f"boxes {one + 1} and {two + 1} are the same",
            "--boxes",
            "Draw one box about each object, or give --masks",
        )
    inner, outer = (one, two) if area_a < area_b else (two, one)
    if not known and common >= NESTED * min(area_a, area_b):
        raise ConfigError(
            f"box {inner + 1} lies within box {outer + 1}: which pixels are whose cannot be told",
            "--boxes",
            'Say in the prompt that one is "in front of", "on" or "in" the other, or give --masks',
        )


def read_mask(path: Path, shape: tuple[int, int], scaled: tuple[int, int]) -> np.ndarray:
    """The object (H, W) in [0, 1] of a black and white picture, or of one with alpha.

    Args:
        shape: height and width of the picture's file. scaled: as it is worked on.

    Raises:
        InputError: it is of another size, shows nothing, or shows areas of several greys.
    """
    pixels = _mask_pixels(path, shape)
    grey = pixels[..., :3].astype(np.float32).mean(-1) / 255
    if pixels.shape[2] == 4 and (pixels[..., 3] < 128).any():
        alpha = pixels[..., 3].astype(np.float32) / 255
        # White on clear as well as the cut-out object itself.
        seen = grey[alpha > 0.5]
        drawn = len(seen) > 0 and float(np.ptp(seen)) > 0.5 and len(np.unique(seen)) <= 2
        grey = alpha * (grey if drawn else 1.0)
    if len(np.unique(grey)) == 2 and float(grey.max()) < 0.5:
        # Ones of a label map of one object, or an object that shines through.
        grey = (grey > grey.min()).astype(np.float32)
    _check_levels(grey, path)
    mask = _resized(grey, scaled)
    if (mask > 0.5).sum() < FEWEST:
        raise InputError("is an empty mask", str(path), "Paint the object white")
    if (mask > 0.5).all():
        raise InputError("is white all over", str(path), "Paint what is not the object black")
    return mask


def _check_levels(grey: np.ndarray, path: Path) -> None:
    """Raise InputError where a mask (H, W) in [0, 1] has areas of several greys: which of them is
    the object is not to be guessed."""
    levels, of, counts = np.unique(
        np.rint(grey * 255).astype(np.int64), return_inverse=True, return_counts=True
    )
    of = of.reshape(grey.shape)
    least = max(FEWEST, 0.01 * (of.size - int(counts.max())))
    many = np.flatnonzero(counts >= least)
    many = many[np.argsort(-counts[many], kind="stable")][:LABELS]
    # Edges that are soft have no inside; format and scaling have not kept all whites white.
    flat = [k for k in many if binary_erosion(of == k, np.ones((3, 3), bool)).sum() >= least]
    shown = sorted(int(levels[k]) for k in flat)
    middle = [
        int(levels[k])
        for k in flat
        if NEARLY < levels[k] < 255 - NEARLY and _stands_out(of == k, levels[of])
    ]
    kinds = len(middle) + (shown[:1] <= [NEARLY]) + (shown[-1:] >= [255 - NEARLY])
    if kinds > 2 or (len(shown) > 2 and shown[-1] <= NEARLY):
        raise InputError(
            f"has areas of {len(shown)} greys, {', '.join(map(str, shown[:6]))}"
            f"{', …' * (len(shown) > 6)}: which is the object?",
            str(path),
            "Paint the object white and all else black; a label map of several objects is for "
            "compose --masks",
        )


def _stands_out(area: np.ndarray, levels: np.ndarray) -> bool:
    """Whether an area (H, W) bool meets others (H, W, of 255) by a step, as a thing does, and not
    gradually, as a step of a soft edge does."""
    edge = area & ~binary_erosion(area, border_value=1)
    step = np.maximum(maximum_filter(levels, 5) - levels, levels - minimum_filter(levels, 5))
    return bool((step[edge] > STEP).mean() > 0.5)


def read_masks(
    path: Path, shape: tuple[int, int], scaled: tuple[int, int]
) -> tuple[list[np.ndarray], list[str]]:
    """Masks (H, W) in [0, 1] of objects, and notes for the user: a folder with a black and white
    picture an object, in the order of their names (2.png before 10.png), or one label map. The
    arguments are those of `read_mask`.

    Raises:
        InputError: there are none, or they do not fit the picture.
    """
    if path.is_file():
        return _label_map(path, shape, scaled)
    if not path.is_dir():
        raise InputError(
            "there is no such folder or file",
            str(path),
            "Give a folder with one black and white picture an object, or a label map",
        )
    files = pictures_in(path)
    if not files:
        raise InputError(
            "contains no pictures",
            str(path),
            "Give a folder with one black and white picture an object, or a label map",
        )
    return [read_mask(p, shape, scaled) for p in files], []


def _label_map(
    path: Path, shape: tuple[int, int], scaled: tuple[int, int]
) -> tuple[list[np.ndarray], list[str]]:
    """The objects of a picture in which each has a colour or a grey of its own: greys and palette
    numbers in their order, colours from left to right."""
    pixels = _mask_pixels(path, shape, numbered=True)
    flat = pixels[..., :3].reshape(-1, 3).astype(np.int64)
    if pixels.shape[2] == 4:
        flat[pixels[..., 3].ravel() < 128] = 0
    colours, of, counts = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    of = of.reshape(pixels.shape[:2])
    # Edges that a scaling has mixed have no inside; they belong to the nearest colour that has one.
    many = np.flatnonzero(counts >= FEWEST)
    many = many[np.argsort(-counts[many], kind="stable")][: 4 * LABELS]
    common = np.sort([k for k in many if binary_erosion(of == k).sum() >= FEWEST]).astype(int)
    if not 2 <= len(common) <= LABELS or counts[common].sum() < 0.9 * of.size:
        raise InputError(
            f"is no label map: it has {len(colours)} colours",
            str(path),
            "Give each object one colour on black in a PNG (JPEG mixes colours), or a folder",
        )
    gap = ((colours[:, None] - colours[common][None]) ** 2).sum(-1)
    labels = common[gap.argmin(1)][of]
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    black = [k for k in common if not colours[k].any()]
    behind = black[0] if black else int(np.bincount(edge).argmax())
    rest = [int(k) for k in common if k != behind]
    greys = bool((np.ptp(colours[rest], axis=1) == 0).all())
    places = {k: float(np.flatnonzero((labels == k).any(0)).mean()) for k in rest}
    order = sorted(rest, key=lambda k: int(colours[k][0]) if greys else places[k])
    masks = [_resized((labels == k).astype(np.float32), scaled) for k in order]
    how = "their greys, dark to light" if greys else "their places, left to right"
    names = ", ".join("#" + "".join(f"{v:02x}" for v in colours[k]) for k in order)
    return masks, [f"{path.name} labels {len(order)} objects, taken in the order of {how}: {names}"]


def _mask_pixels(path: Path, shape: tuple[int, int], numbered: bool = False) -> np.ndarray:
    """Pixels (H, W, 3 or 4) uint8 of the size of the picture, whose file is `shape`. numbered: a
    palette's numbers are labels, whatever its colours are."""
    check_file(path)
    pixels = _palette_numbers(path) if numbered else None
    if pixels is None:
        pixels = read_photograph(path).pixels
    if pixels.shape[:2] != shape:
        raise InputError(
            f"has {pixels.shape[1]} x {pixels.shape[0]} pixels, the picture {shape[1]} x "
            f"{shape[0]}",
            str(path),
            "Make masks of the picture's size",
        )
    return pixels


def _palette_numbers(path: Path) -> np.ndarray | None:
    """The numbers of a picture with a palette of more than two, as greys: they are the labels."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "GIF", "TIFF", "BMP")) as picture:
            if picture.mode != "P" or picture.size[0] * picture.size[1] > 1 << 26:
                return None
            numbers = np.asarray(picture)
    except (OSError, ValueError, SyntaxError):
        return None
    return np.repeat(numbers[..., None], 3, -1) if 2 < numbers.max() + 1 <= LABELS else None


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    from skimage.transform import resize

    if mask.shape == shape:
        return mask.astype(np.float32)
    return resize(mask.astype(np.float32), shape, order=1, anti_aliasing=True).astype(np.float32)
