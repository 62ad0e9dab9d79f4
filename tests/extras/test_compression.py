"""Draco and meshopt streams, encoded by the libraries themselves (`pip install
'.[compression]'`)."""

import numpy as np
import pytest

from tests.bad_files import mutate
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes.io.compression import decode_draco, decode_meshopt

POINTS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
FACES = np.random.default_rng(1).permutation(40)[:39].reshape(-1, 3).astype(np.uint32)


def draco(**more):
    library = pytest.importorskip("DracoPy")
    return library.encode(
        POINTS, FACES, quantization_bits=20, preserve_order=more.pop("preserve_order", True), **more
    )


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("metadata", [True, False])
def test_draco(ordered, metadata):
    data = draco(
        preserve_order=ordered,
        create_metadata=metadata,
        tex_coord=POINTS[:, :2].astype(np.float64),
        colors=np.full((40, 4), 9, np.uint8),
    )
    library = pytest.importorskip("DracoPy")
    rows = library.decode(data).attributes
    ids = {
        kind: next(r["unique_id"] for r in rows if r["attribute_type"] == n)
        for kind, n in (("POSITION", 0), ("COLOR_0", 2), ("TEXCOORD_0", 3))
    }
    faces, found = decode_draco(data, ids, "a.glb")
    assert faces.dtype == np.uint32
    assert len(faces) == len(FACES)
    corner = np.sort(found["POSITION"][faces].reshape(-1, 9), 0)
    np.testing.assert_allclose(corner, np.sort(POINTS[FACES].reshape(-1, 9), 0), atol=1e-4)
    np.testing.assert_allclose(found["TEXCOORD_0"], found["POSITION"][:, :2], atol=1e-3)
    assert found["COLOR_0"].shape[1] == 4
    assert found["COLOR_0"].dtype == np.uint8


def test_what_is_no_draco_stream():
    data = draco()
    for bad, says in (
        (b"hello", "no Draco stream"),
        (data[:30], "cannot be decoded"),
        (data[:12] + b"\xff\xff\xff\x7f" * 3 + data[12:], "at most"),
    ):
        with pytest.raises(InputError, match=says):
            decode_draco(bad, {"POSITION": 0}, "a.glb")
    with pytest.raises(InputError, match='without the attribute "JOINTS_0"'):
        decode_draco(data, {"JOINTS_0": 77}, "a.glb")


def test_mutated_streams_are_decoded_or_refused():
    library = pytest.importorskip("meshoptimizer")
    good = draco()
    packed = library.encode_vertex_buffer(POINTS, 40, 12)
    refused = 0
    for number in range(300):
        for call in (
            lambda n=number: decode_draco(mutate(good, n), {"POSITION": 0}, "a.glb"),
            lambda n=number: decode_meshopt(
                mutate(bytes(packed), n), 40, 12, "ATTRIBUTES", "NONE", "a.glb"
            ),
        ):
            try:
                call()
            except InputError:
                refused += 1
    assert 0 < refused < 600


def test_meshopt():
    library = pytest.importorskip("meshoptimizer")
    packed = bytes(library.encode_vertex_buffer(POINTS, 40, 12))
    assert decode_meshopt(packed, 40, 12, "ATTRIBUTES", "NONE", "a") == POINTS.tobytes()
    indices = FACES.reshape(-1)
    for mode, encode in (
        ("TRIANGLES", library.encode_index_buffer),
        ("INDICES", library.encode_index_sequence),
    ):
        packed = bytes(encode(indices, len(indices), 40))
        for kind in (np.uint16, np.uint32):
            found = np.frombuffer(
                decode_meshopt(packed, len(indices), np.dtype(kind).itemsize, mode, "", "a"), kind
            ).reshape(-1, 3)
            # A triangle may begin at another of its corners.
            if mode == "TRIANGLES":
                assert {tuple(sorted(f)) for f in found.tolist()} == {
                    tuple(sorted(f)) for f in FACES.tolist()
                }
            else:
                np.testing.assert_array_equal(found, FACES)


def encoded(rows):
    library = pytest.importorskip("meshoptimizer")
    stride = rows.dtype.itemsize * rows.shape[1]
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), stride)
    return bytes(library.encode_vertex_buffer(raw.view(np.float32), len(rows), stride))


@pytest.mark.parametrize(("kind", "largest"), [(np.int8, 127), (np.int16, 32767)])
def test_octahedral_filter(kind, largest):
    unit = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    flat = unit / np.abs(unit).sum(1, keepdims=True)
    x, y, z = flat.T
    fold = z < 0
    side = np.where(flat >= 0, 1, -1).T
    x, y = (
        np.where(fold, (1 - np.abs(y)) * side[0], x),
        np.where(fold, (1 - np.abs(x)) * side[1], y),
    )
    rows = np.rint(np.stack([x, y, np.ones(40), np.full(40, 0.5)], 1) * largest).astype(kind)
    out = decode_meshopt(encoded(rows), 40, rows.itemsize * 4, "ATTRIBUTES", "OCTAHEDRAL", "a")
    found = np.frombuffer(out, kind).reshape(-1, 4)
    np.testing.assert_allclose(found[:, :3] / largest, unit, atol=4 / largest)
    assert (found[:, 3] == rows[:, 3]).all()


def test_quaternion_and_exponential_filters():
    unit = np.random.default_rng(2).normal(size=(40, 4))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    which = np.abs(unit).argmax(1)
    unit *= np.sign(unit[np.arange(40), which])[:, None]
    rows = np.zeros((40, 4), np.int16)
    for k in range(3):
        value = unit[np.arange(40), (which + k + 1) % 4]
        rows[:, k] = np.rint(value * np.sqrt(2) * 32767)
    rows[:, 3] = (32767 & ~3) | which
    out = decode_meshopt(encoded(rows), 40, 8, "ATTRIBUTES", "QUATERNION", "a")
    np.testing.assert_allclose(np.frombuffer(out, "<i2").reshape(-1, 4) / 32767, unit, atol=3e-4)
    values = POINTS[:, :1]
    exponent = np.full(values.shape, -20)
    packed = ((exponent << 24) | (np.rint(values * 2**20).astype(np.int64) & 0xFFFFFF)).astype(
        np.int64
    )
    rows = (packed & 0xFFFFFFFF).astype(np.uint32)
    out = decode_meshopt(encoded(rows), 40, 4, "ATTRIBUTES", "EXPONENTIAL", "a")
    np.testing.assert_allclose(np.frombuffer(out, "<f4"), values[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        (b"", 10, 5, "ATTRIBUTES", "NONE"),
        (b"", 10**9, 12, "ATTRIBUTES", "NONE"),
        (b"", -1, 12, "ATTRIBUTES", "NONE"),
        (b"", 10, 4, "TRIANGLES", "NONE"),
        (b"", 9, 3, "TRIANGLES", "NONE"),
        (b"", 9, 4, "POINTS", "NONE"),
        (b"", 9, 4, "ATTRIBUTES", "QUATERNION"),
        (b"", 9, 4, "INDICES", "EXPONENTIAL"),
        (b"", 9, 4, "ATTRIBUTES", "SOMETHING"),
    ],
)
def test_what_cannot_be_decoded(call):
    with pytest.raises(InputError):
        decode_meshopt(*call, "a.glb")
