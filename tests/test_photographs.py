"""Pictures as people bring them: formats that are read, what is turned and reduced on the way, and
the words for every kind of file that is none."""

from __future__ import annotations

import io
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes.io.photographs import READ, read_photograph
from threestudio_like.systems.image_to_3d.photo import LARGEST_EDGE, read_photo, read_pixels


def card(size: tuple[int, int] = (60, 40), alpha: bool = False) -> Image.Image:
    """A red block on near white; with alpha, on nothing."""
    picture = Image.new(
        "RGBA" if alpha else "RGB", size, (0, 0, 0, 0) if alpha else (240, 240, 240)
    )
    picture.paste((200, 20, 20, 255)[: 4 if alpha else 3], (20, 10, 40, 30))
    return picture


def is_card(pixels: np.ndarray, slack: int = 12) -> bool:
    """Whether the block stands where it was."""
    inside, outside = pixels[15:25, 25:35, :3].astype(int), pixels[2:6, 2:6, :3].astype(int)
    red = np.abs(inside - [200, 20, 20]).max() <= slack
    return bool(red) and pixels.shape[:2] == (40, 60) and bool(np.ptp(outside) <= slack)


SAVED = {
    "png": {},
    "jpg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
    "avif": {"quality": 95},
    "tif": {"compression": "tiff_lzw"},
    "gif": {},
    "bmp": {},
    "tga": {},
    "ppm": {},
    "jp2": {"irreversible": False},
    "qoi": {},
}


@pytest.mark.parametrize("suffix", sorted(SAVED))
def test_every_format_is_read_whatever_it_is_called(tmp_path, suffix):
    card().save(tmp_path / f"a.{suffix}", **SAVED[suffix])
    assert is_card(read_photograph(tmp_path / f"a.{suffix}").pixels)
    (tmp_path / f"a.{suffix}").rename(tmp_path / "other.png")
    assert is_card(read_photograph(tmp_path / "other.png").pixels)


def test_heic_is_read_where_its_package_is_and_named_where_it_is_not(tmp_path, monkeypatch):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"needs pillow-heif.*'\.\[heic\]'"):
        read_photograph(path)
    monkeypatch.undo()
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(card()).save(path, quality=95)
    assert is_card(read_photograph(path).pixels, slack=30)


def odd_modes() -> dict[str, Image.Image]:
    deep = np.full((40, 60), 61680, np.uint16)
    deep[10:30, 20:40] = 13107
    return {
        "grey": card().convert("L"),
        "black and white": card().convert("L").point(lambda v: 255 * (v > 128)).convert("1"),
        "16 bit": Image.fromarray(deep),
        "32 bit": Image.fromarray(deep.astype(np.int32)),
        "float": Image.fromarray((deep / 65535).astype(np.float32)),
        "CMYK": card().convert("CMYK"),
        "Lab": ImageCms.profileToProfile(
            card(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        ),
        "YCbCr": card().convert("YCbCr"),
    }


@pytest.mark.parametrize("kind", list(odd_modes()))
def test_every_mode_keeps_its_light_and_dark(tmp_path, kind):
    odd_modes()[kind].save(tmp_path / "a.tif")
    pixels = read_photograph(tmp_path / "a.tif").pixels.astype(float)
    assert pixels.shape[:2] == (40, 60)
    inside, outside = pixels[15:25, 25:35, :3].mean(), pixels[2:6, 2:6, :3].mean()
    assert outside > 225
    assert inside < 100
    if kind in ("16 bit", "32 bit", "float"):
        assert inside == pytest.approx(51, abs=1)


def test_palettes_with_a_clear_colour_keep_it(tmp_path):
    whole = card(alpha=True)
    whole.quantize(8, method=Image.Quantize.FASTOCTREE).save(tmp_path / "a.png")
    whole.save(tmp_path / "a.gif")
    for name in ("a.png", "a.gif"):
        pixels = read_photograph(tmp_path / name).pixels
        assert pixels.shape[2] == 4
        assert pixels[2, 2, 3] == 0
        assert pixels[20, 30, 3] == 255


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "tif"])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(tmp_path, suffix):
    rest = [Image.new("RGB", (60, 40), c) for c in ("blue", "green")]
    extra = {"lossless": True} if suffix == "webp" else {}
    card().save(tmp_path / f"a.{suffix}", save_all=True, append_images=rest, **extra)
    read = read_photograph(tmp_path / f"a.{suffix}")
    assert is_card(read.pixels)
    assert read.told == ["holds 3 pictures, of which the first is taken"]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_pictures_are_turned_upright_in_every_format(tmp_path, turn, suffix):
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = card((60, 40))
    upright.paste((10, 20, 200), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = upright.transpose(undone[turn]) if turn in undone else upright
    stored.save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    pixels = read_photograph(tmp_path / f"a.{suffix}").pixels.astype(int)
    assert pixels.shape[:2] == (40, 60)
    assert np.abs(pixels[2:6, 2:6, :3].mean((0, 1)) - [10, 20, 200]).max() < 25
    assert np.abs(pixels[15:25, 25:35, :3].mean((0, 1)) - [200, 20, 20]).max() < 25


def swapped_profile() -> bytes:
    """An ICC profile whose red is sRGB's green and the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    rows = {bytes(data[132 + 12 * k : 136 + 12 * k]): 132 + 12 * k for k in range(count)}
    red, green = rows[b"rXYZ"], rows[b"gXYZ"]
    first = bytes(data[red + 4 : red + 12])
    data[red + 4 : red + 12] = data[green + 4 : green + 12]
    data[green + 4 : green + 12] = first
    at = int.from_bytes(data[rows[b"desc"] + 4 : rows[b"desc"] + 8], "big")
    length = int.from_bytes(data[rows[b"desc"] + 8 : rows[b"desc"] + 12], "big")
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        place = data.find(name, at, at + length)
        if place >= 0:
            data[place : place + len(name)] = (
                b"Swap" if len(name) == 4 else "Swap".encode("utf-16-be")
            )
    return bytes(data)


@pytest.mark.parametrize("alpha", [False, True])
def test_colour_profiles_are_turned_to_srgb(tmp_path, alpha):
    picture = card(alpha=alpha)
    picture.save(tmp_path / "a.png", icc_profile=swapped_profile())
    read = read_photograph(tmp_path / "a.png")
    assert np.abs(read.pixels[20, 30, :3].astype(int) - [20, 200, 20]).max() < 12
    assert read.notes
    assert "to sRGB" in read.notes[0]
    if alpha:
        assert read.pixels[2, 2, 3] == 0
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "b.png", icc_profile=srgb)
    assert np.array_equal(read_photograph(tmp_path / "b.png").pixels, np.asarray(picture))
    picture.save(tmp_path / "c.png", icc_profile=b"no profile at all" * 9)
    broken = read_photograph(tmp_path / "c.png")
    assert np.array_equal(broken.pixels, np.asarray(picture))
    assert "cannot be read" in broken.told[0]


def test_large_pictures_are_decoded_at_a_smaller_size(tmp_path):
    """108 million pixels, as phones make them: never whole in memory as numbers."""
    width, height = 12000, 9000
    Image.new("L", (width, height), 230).save(tmp_path / "a.jpg", quality=30)
    read = read_pixels(tmp_path / "a.jpg")
    assert read.shape == (height, width)
    assert read.pixels.shape[:2] == (768, LARGEST_EDGE)
    assert read.share == pytest.approx(LARGEST_EDGE / width)
    decoded = read_photograph(tmp_path / "a.jpg", LARGEST_EDGE)
    assert max(decoded.pixels.shape) < 4 * LARGEST_EDGE
    assert f"{width} x {height}, scaled to" in read.note


def test_a_reduced_picture_shows_the_same(tmp_path):
    y, x = np.mgrid[0:3000, 0:4000]
    wave = (127 + 90 * np.sin(x / 300) * np.cos(y / 200)).astype(np.uint8)
    picture = np.stack([wave, wave // 2, 255 - wave], -1)
    shown = {}
    for suffix in ("png", "jpg", "jp2", "tif"):
        Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
        shown[suffix] = read_pixels(tmp_path / f"a.{suffix}").pixels
        assert shown[suffix].shape == (768, 1024, 3)
        assert np.abs(shown[suffix] - shown["png"]).mean() < 0.01


def test_what_is_clear_does_not_bleed_when_a_picture_is_scaled(tmp_path):
    picture = np.zeros((2200, 2200, 4), np.uint8)
    picture[:, :, 1] = 255
    picture[500:1700, 500:1700] = (200, 20, 20, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png").pixels
    seen = pixels[pixels[..., 3] > 0.3]
    assert np.abs(seen[:, 1] - 20 / 255).max() < 0.02


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG that says it is this large."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    data = b"IDAT" + zlib.compress(bytes(100))
    data = (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + data


def whole(suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (80, 80, 3), np.uint8)).save(buffer, suffix)
    return buffer.getvalue()


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"not a picture at all", "is a text"),
    "latin-1": ("Bäume sind grün".encode("latin-1"), "no picture of a kind that is read"),
    "bytes": (bytes(range(256)) * 4, "no picture of a kind that is read"),
    "zeros": (bytes(4000), "no picture of a kind that is read"),
    "json": (b'{"picture": 1}', "is a text"),
    "pdf": (b"%PDF-1.7\n", "is a PDF"),
    "eps": (b"%!PS-Adobe-3.0 EPSF", "is PostScript"),
    "psd": (b"8BPS\0\1" + bytes(40), "is a Photoshop document"),
    "xcf": (b"gimp xcf v011\0", "is a GIMP document"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is a drawing of lines"),
    "svg with a head": (b"<?xml version='1.0'?>\n<!-- x -->\n<svg/>", "is a drawing of lines"),
    "web page": (b"<!DOCTYPE html><html>not found</html>", "is a web page"),
    "mesh": (b"glTF\2\0\0\0" + bytes(40), "is a mesh"),
    "exr": (b"\x76\x2f\x31\x01" + bytes(40), "is an OpenEXR picture"),
    "hdr": (b"#?RADIANCE\n", "is a Radiance picture"),
    "zip": (b"PK\x03\x04" + bytes(40), "is an archive or an office document"),
    "gzip": (b"\x1f\x8b" + bytes(40), "is a compressed archive"),
    "mp4": (b"\0\0\0\x18ftypmp42" + bytes(40), "is a film"),
    "webm": (b"\x1aE\xdf\xa3" + bytes(40), "is a film"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", "is a film or a sound"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "pointer of Git LFS"),
    "cut png": (whole()[:9000], "is cut off"),
    "cut jpeg": (whole("JPEG")[:2500], "is cut off"),
    "cut webp": (whole("WEBP")[:600], "damaged"),
    "head of a png": (whole()[:20], "damaged"),
    "head of a jpeg": (whole("JPEG")[:12], "damaged"),
    "bent png": (whole()[:200] + b"\xff" * 500 + whole()[700:], "damaged"),
    "no pixels": (png_of(0, 10), "damaged"),
    "bomb": (png_of(60000, 60000), "at most 160 million are read"),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_every_file_that_is_no_picture_has_its_own_words(tmp_path, kind):
    data, said = BAD[kind]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        read_photo(path)
    line = raised.value.line()
    assert said in line
    assert "picture.png" in line
    assert "\n" not in line
    assert raised.value.remedy


def test_what_is_read_is_listed_where_nothing_is_known():
    for name in ("PNG", "JPEG", "WebP", "AVIF", "TIFF", "GIF", "JPEG 2000", "HEIC"):
        assert name in READ
    assert BAD["empty"][1]


@pytest.mark.parametrize(
    "address",
    ["https://example.com/chair.png", "http:/example.com/a.jpg", "data:image/png;base64,AAAA"],
)
def test_an_address_is_to_be_downloaded(address):
    with pytest.raises(InputError, match=r"is an address.*Download it first"):
        read_photo(Path(address))


@pytest.mark.parametrize("suffix", [".dng", ".CR2", ".nef"])
def test_raw_photographs_are_to_be_developed(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(InputError, match="raw photograph"):
        read_photo(tmp_path / f"a{suffix}")


def test_what_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_photo(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        read_photo(tmp_path / "none.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(InputError, match="is no file"):
            read_photo(tmp_path / "pipe.png")
    card((9, 9)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="at least 16 an edge"):
        read_photo(tmp_path / "small.png")
    card((2000, 40)).save(tmp_path / "long.png")
    with pytest.raises(InputError, match="too long a strip"):
        read_photo(tmp_path / "long.png")
