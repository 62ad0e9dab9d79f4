"""Depths, normals, masks, boxes and deep pictures as other programs write them: read as they are
meant, or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.meshes.io.images import decode
from threestudio_like.meshes.io.photographs import read_photograph
from threestudio_like.systems.cut_out.marks import read_boxes, read_mask, read_masks
from threestudio_like.systems.image_to_3d.maps import read_depth, read_normals

SIZE = 64
rows, columns = np.mgrid[:SIZE, :SIZE]
DISC = ((rows - 30) ** 2 + (columns - 34) ** 2) < 20**2
ORIENTATION = 0x0112


def ramp() -> np.ndarray:
    """A depth (H, W) that falls to the right and, less, to the bottom; nothing is 0."""
    return 40.0 + 2.0 * columns + 0.7 * rows


def alike(one: np.ndarray, two: np.ndarray) -> float:
    """The correlation of two maps where both are known."""
    ok = np.isfinite(one) & np.isfinite(two)
    return float(np.corrcoef(one[ok], two[ok])[0, 1])


def jet(values: np.ndarray) -> np.ndarray:
    share = (values - values.min()) / np.ptp(values)
    planes = [np.clip(1.5 - np.abs(4 * share - k), 0, 1) for k in (3, 2, 1)]
    return np.rint(np.stack(planes, -1) * 255).astype(np.uint8)


def turned(array: np.ndarray, tag: int) -> np.ndarray:
    """How a camera stores a picture that its orientation says to turn back (6: by 90 degrees)."""
    return {3: array[::-1, ::-1], 6: np.rot90(array, 1), 8: np.rot90(array, -1)}[tag]


DEPTHS = {
    "grey": lambda d: Image.fromarray(d.astype(np.uint8)),
    "palette": lambda d: Image.fromarray(d.astype(np.uint8)).quantize(256),
    "reversed palette": lambda d: palette(d.astype(np.uint8), np.arange(256)[::-1]),
    "three equal channels": lambda d: Image.fromarray(np.stack([d.astype(np.uint8)] * 3, -1)),
    "with alpha": lambda d: Image.fromarray(
        np.dstack([d.astype(np.uint8)] * 3 + [np.full(d.shape, 255, np.uint8)])
    ),
    "sixteen bits": lambda d: Image.fromarray((d * 100).astype(np.uint16)),
    "floats": lambda d: Image.fromarray(d.astype(np.float32)),
}


def palette(values: np.ndarray, order: np.ndarray) -> Image.Image:
    """A grey picture whose palette's numbers are in another order than its greys."""
    place = np.argsort(order)
    picture = Image.fromarray(place[values].astype(np.uint8), mode="P")
    picture.putpalette(np.repeat(order[:, None], 3, 1).astype(np.uint8).ravel().tolist())
    return picture


@pytest.mark.parametrize("kind", DEPTHS)
def test_a_depth_is_what_is_seen(tmp_path, kind):
    path = tmp_path / ("d.tiff" if kind == "floats" else "d.png")
    DEPTHS[kind](ramp()).save(path)
    found = read_depth(path, (SIZE, SIZE))
    assert alike(found.values, ramp()) > 0.999


@pytest.mark.parametrize(
    "axes", ["(1, H, W)", "(H, W, 1)", "(1, 1, H, W)", "(H, W, 3)", "(3, H, W)"]
)
def test_axes_that_networks_add_to_a_depth(tmp_path, axes):
    depth = ramp().astype(np.float32)
    made = {
        "(1, H, W)": depth[None],
        "(H, W, 1)": depth[..., None],
        "(1, 1, H, W)": depth[None, None],
        "(H, W, 3)": np.stack([depth] * 3, -1),
        "(3, H, W)": np.stack([depth] * 3),
    }[axes]
    np.save(tmp_path / "d.npy", made)
    assert alike(read_depth(tmp_path / "d.npy", (SIZE, SIZE)).values, ramp()) > 0.9999


@pytest.mark.parametrize("tag", [3, 6, 8])
@pytest.mark.parametrize("kind", ["grey", "sixteen bits"])
def test_a_depth_is_turned_as_its_picture_is(tmp_path, kind, tag):
    stored = Image.fromarray(np.asarray(DEPTHS[kind](turned(ramp()[:, :48], tag))))
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    stored.save(tmp_path / "d.png", exif=exif)
    assert alike(read_depth(tmp_path / "d.png", (48, SIZE)).values, ramp()[:, :48]) > 0.999


def test_what_is_transparent_is_unknown(tmp_path):
    alpha = (DISC * 255).astype(np.uint8)
    Image.fromarray(np.dstack([ramp().astype(np.uint8)] * 3 + [alpha])).save(tmp_path / "d.png")
    assert np.array_equal(np.isfinite(read_depth(tmp_path / "d.png", (SIZE, SIZE)).values), DISC)


@pytest.mark.parametrize("kind", ["jet", "planes", "complex", "bools", "texts"])
def test_what_is_no_depth_is_refused(tmp_path, kind):
    if kind == "jet":
        path = tmp_path / "d.png"
        Image.fromarray(jet(ramp())).save(path)
    else:
        path = tmp_path / "d.npy"
        made = {
            "planes": np.stack([ramp(), 2 * ramp(), ramp()[::-1]], -1),
            "complex": ramp() + 1j,
            "bools": DISC,
            "texts": np.full((SIZE, SIZE), "a"),
        }
        np.save(path, made[kind])
    with pytest.raises(InputError, match=f"--depth {path}: (has 3 channels that|is no map)"):
        read_depth(path, (SIZE, SIZE))


def sphere() -> np.ndarray:
    """Unit normals (H, W, 3) of a ball that looks out of the picture, (0, 0, 1) beside it."""
    x, y = (columns - 34) / 20.0, (30 - rows) / 20.0
    z = np.sqrt(np.maximum(0, 1 - x**2 - y**2))
    ball = np.stack([x, y, z], -1)
    return np.where(DISC[..., None], ball, [0.0, 0.0, 1.0])


def encoded(normals: np.ndarray, top: float) -> np.ndarray:
    return (normals + 1) / 2 * top


NORMALS = {
    "vectors": lambda n: n.astype(np.float32),
    "from 0 to 1": lambda n: encoded(n, 1).astype(np.float32),
    "of 255": lambda n: np.rint(encoded(n, 255)).astype(np.uint8),
    "of 65535": lambda n: np.rint(encoded(n, 65535)).astype(np.uint16),
    "channels first": lambda n: np.moveaxis(n, -1, 0),
    "one of a batch": lambda n: np.moveaxis(encoded(n, 1), -1, 0)[None],
}


@pytest.mark.parametrize("kind", NORMALS)
def test_normals_are_vectors_or_encoded(tmp_path, kind):
    np.save(tmp_path / "n.npy", NORMALS[kind](sphere()))
    found, note = read_normals(tmp_path / "n.npy", (SIZE, SIZE))
    assert (found * sphere()).sum(-1).min() > 0.999
    assert ("(n + 1) / 2" in note) == (kind not in ("vectors", "channels first"))


def test_vectors_that_are_never_negative_stay_vectors(tmp_path):
    """A wall that is seen from the left and below, say."""
    wall = np.tile(np.float32([0.6, 0.48, 0.64]), (SIZE, SIZE, 1))
    np.save(tmp_path / "n.npy", wall)
    assert np.allclose(read_normals(tmp_path / "n.npy", (SIZE, SIZE))[0], wall)


def test_normals_that_would_have_to_be_turned_are_refused(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = Image.fromarray(np.rint(encoded(sphere(), 255)).astype(np.uint8))
    picture.save(tmp_path / "n.png", exif=exif)
    with pytest.raises(InputError, match="EXIF orientation"):
        read_normals(tmp_path / "n.png", (SIZE, SIZE))


def blurred(mask: np.ndarray, radius: float) -> Image.Image:
    from PIL import ImageFilter

    return Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))


MASKS = {
    "palette of greys": palette((DISC * 255).astype(np.uint8), np.arange(256)[::-1]),
    "soft, sixteen greys": blurred(DISC, 2).quantize(16),
    "very soft": blurred(DISC, 5),
    "very soft, sixteen greys": blurred(DISC, 5).quantize(16),
    "ones of sixteen bits": Image.fromarray(DISC.astype(np.uint16)),
    "colour of a palette": Image.fromarray(DISC.astype(np.uint8), mode="P"),
    "shining through": Image.fromarray(
        np.dstack([np.full((SIZE, SIZE, 3), 90), DISC * 110]).astype(np.uint8)
    ),
}
MASKS["colour of a palette"].putpalette([0, 0, 0, 128, 0, 0])


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_what_is_seen(tmp_path, kind):
    MASKS[kind].save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png", (SIZE, SIZE), (SIZE, SIZE)) > 0.5
    # Few greys move the middle of a wide edge.
    assert (found & DISC).sum() / (found | DISC).sum() > (0.8 if "very" in kind else 0.9)


def test_a_mask_saved_as_jpeg(tmp_path):
    Image.fromarray((DISC * 255).astype(np.uint8)).save(tmp_path / "m.jpg", quality=60)
    found = read_mask(tmp_path / "m.jpg", (SIZE, SIZE), (SIZE, SIZE)) > 0.5
    assert (found & DISC).sum() / (found | DISC).sum() > 0.97


LOWER = DISC & (rows > 30)


@pytest.mark.parametrize("levels", [(255, 100), (255, 128), (2, 1), (200, 90), (255, 170)])
@pytest.mark.parametrize("smooth", [False, True])
def test_areas_of_several_greys_are_not_guessed(tmp_path, levels, smooth):
    if smooth and max(levels) < 10:
        pytest.skip("labels are not smoothed")
    mask = np.where(LOWER, levels[0], np.where(DISC, levels[1], 0)).astype(np.uint8)
    picture = Image.fromarray(mask)
    if smooth:
        picture = picture.resize((4 * SIZE,) * 2, 0).resize((SIZE,) * 2, Image.Resampling.BOX)
    picture.save(tmp_path / "m.png")
    with pytest.raises(InputError, match=rf"areas of \d greys, 0, .*{levels[1]}, {levels[0]}"):
        read_mask(tmp_path / "m.png", (SIZE, SIZE), (SIZE, SIZE))


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.png")
    with pytest.raises(InputError, match="is no file"):
        read_mask(tmp_path / "m.png", (SIZE, SIZE), (SIZE, SIZE))
    with pytest.raises(InputError, match="is no file"):
        read_masks(tmp_path, (SIZE, SIZE), (SIZE, SIZE))


@pytest.mark.parametrize("said", ["1,2,30,40", "1 2 30 40", "1, 2; 30 x 40", " +1,2.0,30.,40 "])
def test_boxes(said):
    assert read_boxes((said,)).tolist() == [[1, 2, 30, 40]]
    assert read_boxes(("-.5,.5,9,9.5",)).tolist() == [[-0.5, 0.5, 9, 9.5]]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("1.2.3,40,50", "is not a box"),
        ("10-20,90,120", "is not a box"),
        ("1.600.500,1100,1100", "is not a box"),
        ("1,,2,3", "is not a box"),
        ("1e1,2,30,40", "is not a box"),
        (".5,.25,.9,.95", "shares"),
        ("0,0,1,1", "shares"),
    ],
)
def test_numbers_of_boxes_are_not_guessed(said, why):
    with pytest.raises(ConfigError, match=why):
        read_boxes((said,), "--box")


@pytest.mark.parametrize("kind", ["L", "RGB", "I;16", "RGB;16"])
def test_the_transparent_colour_of_a_picture_of_any_depth(tmp_path, kind):
    """Written by hand: Pillow writes no such colour for sixteen bits."""
    sixteen, grey = "16" in kind, "RGB" not in kind
    level = 40000 if sixteen else 156
    values = np.where(DISC, level // 2, level).astype(np.uint16 if sixteen else np.uint8)
    data = png(values if grey else np.stack([values] * 3, -1), key=level)
    (tmp_path / "p.png").write_bytes(data)
    pixels = read_photograph(tmp_path / "p.png").pixels
    assert np.array_equal(pixels[..., 3] > 128, DISC)
    assert abs(int(pixels[30, 34, 0]) - 78) <= 1


def png(values: np.ndarray, key: int) -> bytes:
    """A PNG of (H, W) or (H, W, 3) with a transparent colour, by the format's description."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    channels = 1 if values.ndim == 2 else 3
    big = values.astype(values.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + row.tobytes() for row in big)
    head = (SIZE, SIZE, 8 * values.dtype.itemsize, 0 if channels == 1 else 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *head))
        + chunk(b"tRNS", struct.pack(">H", key) * channels)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("low", "high", "kind", "word"),
    [
        (0.0, 1.0, np.float32, ""),
        (0.1, 1.5, np.float32, "stretched"),
        (-1.0, 1.0, np.float32, "stretched"),
        (0, 255, np.float32, ""),
        (0, 65535, np.float32, ""),
        (0, 4095, np.float32, "12 bits"),
        (0, 4095, np.uint16, "12 bits"),
        (0, 1000, np.uint16, "10 bits"),
        (0, 250, np.uint16, "8 bits"),
        (0, 65535, np.uint16, ""),
    ],
)
def test_deep_pictures_are_neither_black_nor_white(tmp_path, low, high, kind, word):
    values = low + (high - low) * columns / (SIZE - 1)
    values = (np.rint(values) if high > 2 else values).astype(kind)
    Image.fromarray(values).save(tmp_path / "p.tif")
    found = read_photograph(tmp_path / "p.tif")
    assert np.ptp(found.pixels) > 235
    assert alike(found.pixels[..., 0].astype(float), columns.astype(float)) > 0.999
    assert bool(found.told) == bool(word)
    assert word in "".join(found.told)


def test_numbers_of_a_texture_mean_what_they_are(tmp_path):
    Image.fromarray((columns * 60).astype(np.uint16)).save(tmp_path / "t.png")
    assert decode((tmp_path / "t.png").read_bytes(), "t.png").max() == round(63 * 60 / 65535 * 255)
