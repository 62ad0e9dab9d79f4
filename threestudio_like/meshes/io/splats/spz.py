"""SPZ, the packed format of 3D Gaussians by Niantic Labs (MIT), from its published description:
gzip over a header and arrays, attribute by attribute, in axes with Y up and Z to the viewer.

Header, 16 bytes little-endian: magic "NGSP", version, number of Gaussians (uint32 each), degree of
the harmonics, fractional bits of positions, flags, 0 (a byte each). Then positions (24-bit fixed
point), opacities (a byte), colours (0.5 + 0.15 c), logarithms of scales ((s + 10) 16), rotations
and harmonics (128 + 128 c). Rotations are x, y, z as bytes in version 2, and in version 3 the three
smallest components, 10 bits each, with the number of the largest. Versions 2 and 3 are read,
version 3 is written.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ....engine.errors import InputError
from ..limits import LARGEST_COUNT
from .splats import Splats

MAGIC = 0x5053474E
BITS = 12
"""Fractional bits of positions that are written, fewer for scenes that reach beyond 2048."""
COLOUR = 0.15
_REPAIR = "Export it again from the program that made it"
_HEADER = "<IIIBBBB"
_BANDS = (0, 3, 8, 15)
_SOFTENED = 1
"""The flag of Gaussians that were made with a filter of one pixel."""


def _byte(values: np.ndarray) -> bytes:
    return np.rint(values).clip(0, 255).astype(np.uint8).tobytes()


def write_spz(splats: Splats) -> bytes:
    """The bytes of an SPZ of version 3."""
    reach = float(np.abs(splats.positions).max(initial=0.0))
    bits = BITS
    while bits > 0 and reach * (1 << bits) >= (1 << 23):
        bits -= 1
    fixed = np.rint(splats.positions.astype(np.float64) * (1 << bits))
    whole = fixed.clip(-(1 << 23), (1 << 23) - 1).astype("<i4").view(np.uint8).reshape(-1, 4)
    opacity = 1 / (1 + np.exp(-splats.logits.astype(np.float64)))
    # Five bits are kept of the first order and four of the others: what is left out packs well.
    steps = np.where(np.arange(splats.harmonics.shape[1]) < 3, 8, 16)[:, None]
    bands = np.rint(splats.harmonics * 128 / steps) * steps + 128
    body = [
        struct.pack(_HEADER, MAGIC, 3, len(splats), splats.degree, bits, 0, 0),
        np.ascontiguousarray(whole[:, :3]).tobytes(),
        _byte(opacity * 255),
        _byte(splats.colours * (COLOUR * 255) + 127.5),
        _byte((splats.log_scales + 10) * 16),
        _packed(splats.rotations).tobytes(),
        _byte(bands),
    ]
    made = zlib.compressobj(9, zlib.DEFLATED, 31)
    return made.compress(b"".join(body)) + made.flush()


def _packed(rotations: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4), w first, as uint32 (N,)."""
    own = rotations.astype(np.float64)[:, [1, 2, 3, 0]]
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    largest = np.abs(own).argmax(1)
    own = own * np.where(np.take_along_axis(own, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        size = np.minimum(np.floor(511 * np.abs(own[:, axis]) * np.sqrt(2) + 0.5), 511)
        code = (own[:, axis] < 0).astype(np.uint32) << 9 | size.astype(np.uint32)
        packed = np.where(largest == axis, packed, packed << 10 | code)
    return packed.astype("<u4")


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4), w first, of uint32 (N,)."""
    largest = (packed >> 30).astype(np.int64)
    rest, out = packed.copy(), np.zeros((len(packed), 4))
    for axis in (3, 2, 1, 0):
        size = (rest & 511) / 511 * np.sqrt(0.5)
        value = np.where(rest >> 9 & 1, -size, size)
        own = largest != axis
        out[own, axis] = value[own]
        rest = np.where(own, rest >> 10, rest)
    missing = np.sqrt((1 - (out**2).sum(1)).clip(0))
    np.put_along_axis(out, largest[:, None], missing[:, None], 1)
    return out[:, [3, 0, 1, 2]].astype(np.float32)


def _first_three(packed: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4), w first, of bytes (N, 3)."""
    own = packed / 127.5 - 1.0
    real = np.sqrt((1 - (own**2).sum(1)).clip(0))
    return np.concatenate([real[:, None], own], 1).astype(np.float32)


def _unzipped(data: bytes, where: str) -> tuple[bytes, tuple[int, ...], bool]:
    """The bytes behind the header, its numbers, and whether there are more bytes than those of the
    Gaussians that it counts. Raises InputError."""
    unzip = zlib.decompressobj(31)
    try:
        head = unzip.decompress(data, 16)
        if len(head) < 16:
            raise ValueError("it is cut off")
        magic, version, count, degree, bits, flags, _ = struct.unpack(_HEADER, head)
        if magic != MAGIC:
            raise ValueError("its header is another")
        if version not in (2, 3):
            raise InputError(
                f"is an SPZ of version {version}; versions 2 and 3 are read",
                where,
                "Save it as version 3, or as PLY",
            )
        if degree > 3 or bits > 23 or count > LARGEST_COUNT:
            raise ValueError("its header has numbers that cannot be")
        size = count * (9 + 1 + 3 + 3 + (4 if version == 3 else 3) + 3 * _BANDS[degree])
        body = unzip.decompress(unzip.unconsumed_tail, size) if size else b""
        if len(body) < size:
            raise ValueError("it is cut off")
        more = bool(unzip.decompress(unzip.unconsumed_tail, 1))
    except (zlib.error, ValueError, struct.error) as error:
        raise InputError(f"is no SPZ that can be read ({error})", where, _REPAIR) from None
    return body, (version, count, degree, bits, flags), more


def read_spz(data: bytes, where: str) -> Splats:
    """Read an SPZ of version 2 or 3. Raises InputError."""
    body, (version, count, degree, bits, flags), more = _unzipped(data, where)
    notes = []
    if flags & _SOFTENED:
        notes.append("that it was made for softened edges (antialiased) is left out")
    if flags & ~_SOFTENED:
        notes.append(f"flags of its header that are not known are left out: {flags & ~_SOFTENED}")
    if more:
        notes.append("there is more than the Gaussians that its header counts: left out")
    at = 0

    def take(width: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(body, np.uint8, count * width, at).reshape(count, width)
        at += count * width
        return found

    fixed = take(9).reshape(count, 3, 3).astype(np.int32)
    whole = fixed[..., 0] | fixed[..., 1] << 8 | fixed[..., 2] << 16
    whole = np.where(whole >= 1 << 23, whole - (1 << 24), whole)
    opacity = (take(1)[:, 0] / 255.0).clip(1e-4, 1 - 1e-4)
    colours = (take(3) / 255.0 - 0.5) / COLOUR
    scales = take(3) / 16.0 - 10.0
    if version == 3:
        rotations = _unpacked(np.ascontiguousarray(take(4)).view("<u4")[:, 0])
    else:
        rotations = _first_three(take(3))
    bands = take(3 * _BANDS[degree]).reshape(count, _BANDS[degree], 3)
    return Splats(
        (whole / float(1 << bits)).astype(np.float32),
        scales.astype(np.float32),
        rotations,
        np.log(opacity / (1 - opacity)).astype(np.float32),
        colours.astype(np.float32),
        harmonics=((bands.astype(np.float32) - 128) / 128).astype(np.float32),
        notes=tuple(notes),
    )
