"""Files of 3D Gaussians: PLY and SPZ in and out, what reads them besides, export and view."""

from __future__ import annotations

import gzip
import importlib.util
import math
import re
import struct

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.engine.errors import InputError
from threestudio_like.kernels.reference.gaussians import rotation_matrices
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.io.splats.ply import read_splat_ply, write_splat_ply
from threestudio_like.meshes.io.splats.splats import Splats, is_splat_file, read_splats
from threestudio_like.meshes.io.splats.spz import read_spz, write_spz
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.page import splats as page
from threestudio_like.renderers import BackgroundSample, Cameras, SplatRenderer
from threestudio_like.representations.gaussian_files import cloud_of, discs_of, splats_of


def splats(count=50, degree=3, seed=0):
    rng = np.random.default_rng(seed)
    bands = (degree + 1) ** 2 - 1
    return Splats(
        rng.uniform(-0.8, 0.8, (count, 3)).astype(np.float32),
        rng.normal(-2.8, 0.4, (count, 3)).astype(np.float32),
        rng.normal(size=(count, 4)).astype(np.float32),
        rng.normal(0.5, 1.5, count).astype(np.float32),
        rng.normal(0, 0.7, (count, 3)).astype(np.float32),
        harmonics=rng.normal(0, 0.15, (count, bands, 3)).astype(np.float32),
    )


def turns(quaternions):
    """Rotations (N, 3, 3), the same for a quaternion and its negative."""
    from threestudio_like.kernels.reference.gaussians import rotation_matrices

    return rotation_matrices(torch.from_numpy(np.asarray(quaternions, np.float64))).numpy()


def picture(own, camera=None, size=(36, 40)):
    camera = camera or Cameras.orbit(torch.tensor([0.7]), torch.tensor([0.4]), 3.0, 0.7, *size)
    with torch.no_grad():
        behind = BackgroundSample(torch.zeros(1, *size, 3))
        return SplatRenderer().render(cloud_of(own), camera, behind).features[0].numpy()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_ply_comes_back_value_for_value(degree):
    own = splats(degree=degree)
    again = read_splat_ply(write_splat_ply(own), "a.ply")
    for name in ("positions", "log_scales", "logits", "colours", "harmonics"):
        assert np.array_equal(getattr(again, name), getattr(own, name)), name
    assert np.abs(turns(again.rotations) - turns(own.rotations)).max() < 1e-6
    assert again.degree == degree
    assert np.array_equal(picture(again), picture(own))


def test_a_ply_has_the_published_layout():
    own = splats(3, degree=1)
    head, _, body = write_splat_ply(own).partition(b"end_header\n")
    names = re.findall(r"property float (\S+)", head.decode())
    wanted = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    wanted += [f"f_rest_{i}" for i in range(9)] + ["opacity"]
    assert names == [
        *wanted,
        *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    row = np.frombuffer(body, "<f4").reshape(3, -1)[1]
    # Half a turn about X; the rest channel by channel.
    assert row[:3] == pytest.approx(own.positions[1] * [1, -1, -1])
    red = own.harmonics[1, :, 0] * [-1, -1, 1]
    assert row[9:12] == pytest.approx(red)


@pytest.mark.skipif(importlib.util.find_spec("plyfile") is None, reason="no plyfile")
def test_plyfile_reads_the_same(tmp_path):
    from plyfile import PlyData

    own = splats()
    (tmp_path / "a.ply").write_bytes(write_splat_ply(own))
    rows = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert np.array_equal(rows["x"], own.positions[:, 0])
    assert np.array_equal(rows["opacity"], own.logits)
    assert np.array_equal(rows["scale_2"], own.log_scales[:, 2])


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_an_spz_comes_back_within_its_steps(degree):
    own = splats(degree=degree)
    again = read_spz(write_spz(own), "a.spz")
    assert np.abs(again.positions - own.positions).max() <= 0.5 / 4096 + 1e-6
    assert np.abs(again.log_scales - own.log_scales).max() <= 0.5 / 16 + 1e-6
    assert np.abs(again.colours - own.colours).max() <= 0.5 / (255 * 0.15) + 1e-6

    def share(logits):
        return 1 / (1 + np.exp(-logits))

    assert np.abs(share(again.logits) - share(own.logits)).max() <= 0.5 / 255 + 1e-6
    assert np.abs(again.harmonics[:, :3] - own.harmonics[:, :3]).max(initial=0) <= 4 / 128 + 1e-6
    assert np.abs(again.harmonics - own.harmonics).max(initial=0) <= 8 / 128 + 1e-6
    # Nine bits for a component of up to 0.71.
    assert np.abs(turns(again.rotations) - turns(own.rotations)).max() < 8e-3
    assert np.square(picture(again) - picture(own)).mean() < 2e-4


def test_an_spz_is_what_its_description_says():
    """Bytes by hand: two Gaussians of degree 0, the second turned about Y by a right angle."""
    half = math.sqrt(0.5)
    own = Splats(
        np.array([[1.0, -0.5, 0.25], [0, 0, 0]], np.float32),
        np.array([[-2, -3, -4], [0, 0, 0]], np.float32),
        np.array([[1, 0, 0, 0], [-half, 0, half, 0]], np.float32),
        np.array([0.0, 20.0], np.float32),
        np.array([[0, 1, -1], [0, 0, 0]], np.float32),
        harmonics=np.zeros((2, 0, 3), np.float32),
    )
    data = gzip.decompress(write_spz(own))
    assert struct.unpack("<IIIBBBB", data[:16]) == (0x5053474E, 3, 2, 0, 12, 0, 0)
    body = data[16:]
    assert len(body) == 2 * (9 + 1 + 3 + 3 + 4)
    first = [int.from_bytes(body[i : i + 3], "little", signed=True) for i in (0, 3, 6)]
    assert first == [4096, -2048, 1024]
    assert list(body[18:20]) == [128, 255]
    assert list(body[20:23]) == [128, round(127.5 + 38.25), round(127.5 - 38.25)]
    assert list(body[26:29]) == [128, 112, 96]
    one, two = struct.unpack("<II", body[32:40])
    assert one == 3 << 30
    # The largest of x, y, z, w is y or w, equal here; the other has all nine bits and a sign.
    assert two >> 30 in (1, 3)
    assert sorted((two & 511, two >> 10 & 511, two >> 20 & 511)) == [0, 0, 511]


def test_an_spz_of_version_two_is_read():
    own = splats(4, degree=0)
    data = bytearray(gzip.decompress(write_spz(own)))
    unit = own.rotations / np.linalg.norm(own.rotations, axis=1, keepdims=True)
    unit = unit * np.where(unit[:, :1] < 0, -1, 1)
    three = np.rint(unit[:, 1:] * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
    struct.pack_into("<I", data, 4, 2)
    body = bytes(data[: 16 + 4 * 16]) + three.tobytes()
    again = read_spz(gzip.compress(body), "a.spz")
    # A small real part is a root: steps of 1/127 weigh most there.
    assert np.abs(turns(again.rotations) - turns(own.rotations)).max() < 0.15
    assert np.abs(again.rotations[:, 1:] - unit[:, 1:]).max() < 0.5 / 127 + 1e-6


def test_half_a_turn_of_the_world_and_of_the_camera_show_the_same():
    """An independent check of what becomes of harmonics and rotations."""
    own = splats()
    camera = Cameras.orbit(torch.tensor([0.7]), torch.tensor([0.4]), 3.0, 0.7, 36, 40)
    before = picture(own, camera)
    camera.camera_to_world = torch.diag(torch.tensor([1.0, -1, -1, 1])) @ camera.camera_to_world
    assert np.abs(picture(own.turned(), camera) - before).max() < 1e-5


def test_a_cloud_in_a_file_is_the_cloud():
    own = splats()
    again = splats_of(cloud_of(own))
    for name in vars(own):
        assert np.array_equal(getattr(again, name), getattr(own, name)), name


BAD = {
    "cut.spz": lambda: write_spz(splats())[:-30],
    "text.spz": lambda: b"no gzip at all",
    "other.spz": lambda: gzip.compress(b"\0" * 40),
    "version.spz": lambda: gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 4, 1, 0, 12, 0, 0)),
    "many.spz": lambda: gzip.compress(
        struct.pack("<IIIBBBB", 0x5053474E, 3, 4_000_000_000, 0, 12, 0, 0)
    ),
    "none.spz": lambda: write_spz(splats(0)),
    "degree.ply": lambda: write_splat_ply(splats(4, 1)).replace(b"f_rest_8", b"another8"),
    "scales.ply": lambda: write_splat_ply(splats(4, 0)).replace(b"scale_2", b"skale_2"),
    "nan.ply": lambda: write_splat_ply(
        Splats(**{**vars(splats(4, 0)), "positions": np.full((4, 3), np.nan, np.float32)})
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_gets_one_clear_error(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(BAD[name]())
    with pytest.raises(InputError) as error:
        read_splats(path)
    assert str(path) in error.value.line()
    assert error.value.remedy


def test_where_a_mesh_is_read_gaussians_are_named_with_a_way_out(tmp_path):
    own = splats()
    for name, data in (("a.ply", write_splat_ply(own)), ("a.spz", write_spz(own))):
        (tmp_path / name).write_bytes(data)
        assert is_splat_file(tmp_path / name)
        with pytest.raises(InputError, match="Gaussians") as error:
            read(tmp_path / name)
        assert "export FILE --to glb" in error.value.line()


def box():
    from threestudio_like.meshes.surface.normals import face_normals

    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.6, 0.6) for z in (-0.4, 0.4)])
    faces = np.array(
        [
            *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
            *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
        ],
        np.int32,
    )
    outward = face_normals(corner, faces)
    assert (outward * corner[faces].mean(1)).sum(1).min() > 0
    colours = (0.5 + 0.4 * np.sign(corner)).astype(np.float32)
    return Mesh(corner.astype(np.float32), faces, colours=colours)


def test_a_mesh_becomes_discs_of_its_colours():
    own = discs_of(Asset({"box": box()}), 6000)
    assert len(own) == 6000
    near = np.abs(own.positions) / [0.5, 0.6, 0.4]
    assert np.abs(near.max(1) - 1).max() < 1e-5
    colour = 0.5 + 0.28209479177387814 * own.colours
    wanted = 0.5 + 0.4 * own.positions / [0.5, 0.6, 0.4]
    assert np.abs(colour - wanted).max() < 0.5
    assert np.abs(colour - wanted).mean() < 0.12


def test_export_writes_reads_and_makes_a_mesh_of_them(tmp_path, capsys):
    mesh = tmp_path / "box.glb"
    Asset({"box": box()}).save(mesh)
    main(["export", str(mesh), "--to", "ply-splat", "spz", "--verify"])
    ply, spz = tmp_path / "box-splats.ply", tmp_path / "box.spz"
    assert str(ply) in capsys.readouterr().out
    assert len(read_splats(ply)) == len(read_splats(spz)) == 20000
    # A file of Gaussians in the other format, without a mesh in between.
    out = tmp_path / "out"
    out.mkdir()
    main(["export", str(ply), "--to", "spz", "--out", str(out)])
    assert (out / "box-splats.spz").read_bytes() == spz.read_bytes()
    assert not list(out.glob("*.glb"))
    # They have neither faces nor a texture: that the budget is none of theirs is said.
    assert "3D Gaussians" not in capsys.readouterr().err
    again = ["export", str(ply), "--to", "spz", "--out", str(out), "--force"]
    assert main([*again, "--faces", "100"]) == 0
    assert "Note: the 3D Gaussians are written as they are" in capsys.readouterr().err
    assert (out / "box-splats.spz").read_bytes() == spz.read_bytes()
    # Of a mesh they are made of what is left of it.
    assert main(["export", str(mesh), "--to", "spz", "--faces", "100", "--force"]) == 0
    assert "3D Gaussians" not in capsys.readouterr().err


def test_a_mesh_is_made_of_gaussians(tmp_path):
    own = discs_of(Asset({"box": box()}), 3000)
    moved = Splats(
        **{**vars(own), "positions": (own.positions * 2 + 5).astype(np.float32)}
        | {"log_scales": own.log_scales + np.float32(math.log(2))}
    )
    (tmp_path / "far.spz").write_bytes(write_spz(moved))
    main(["export", str(tmp_path / "far.spz"), "--to", "glb", "--texture", "64"])
    found = Asset.load(tmp_path / "far.glb").mesh
    low, high = found.vertices.min(0), found.vertices.max(0)
    assert np.abs((low + high) / 2 - 5).max() < 0.1
    assert np.abs((high - low) - [2.0, 2.4, 1.6]).max() < 0.35


def test_what_a_viewer_draws_are_the_gaussians_of_the_file():
    own = splats(degree=0)
    arrays, left_out = page.splat_arrays(own, framed=False)
    assert left_out == 0
    assert np.allclose(arrays["positions"], own.positions, atol=1e-6)
    axes = (
        rotation_matrices(torch.from_numpy(own.rotations)).numpy() * np.exp(own.log_scales)[:, None]
    )
    full = axes @ axes.transpose(0, 2, 1)
    six = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    assert np.allclose(arrays["covariances"], six, rtol=1e-3, atol=1e-6)
    opacity = 1 / (1 + np.exp(-own.logits))
    assert np.abs(arrays["colours"][:, 3] / 255 - opacity).max() < 0.003
    framed, _ = page.splat_arrays(own)
    low, high = (np.quantile(framed["positions"], q, axis=0) for q in (0.01, 0.99))
    assert np.linalg.norm(high - low) / 2 == pytest.approx(1, abs=1e-3)


def test_of_too_many_the_smallest_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(page, "MOST", 20)
    arrays, left_out = page.splat_arrays(splats())
    assert left_out == 30
    assert len(arrays["colours"]) == 20


def with_more(data: bytes, names: tuple[str, ...], value: float = 1.5) -> bytes:
    """A PLY of Gaussians with further properties behind those of each."""
    head, _, body = data.partition(b"end_header\n")
    count = int(re.search(rb"element vertex (\d+)", head).group(1))
    rows = np.frombuffer(body, "<f4").reshape(count, -1)
    more = np.full((count, len(names)), value, "<f4")
    lines = b"".join(f"property float {name}\n".encode() for name in names)
    return head + lines + b"end_header\n" + np.concatenate([rows, more], 1).tobytes()


def test_what_a_ply_of_gaussians_loses_is_told(tmp_path, capsys):
    own = splats(degree=1)
    plain = write_splat_ply(own)
    assert read_splat_ply(plain, "a.ply").notes == ()
    data = with_more(plain, ("label", "segment"))
    again = read_splat_ply(data, "a.ply")
    assert again.notes == ('properties of "vertex" that are left out: label, segment',)
    np.testing.assert_array_equal(again.positions, read_splat_ply(plain, "a.ply").positions)
    behind = read_splat_ply(plain + b"1234", "a.ply")
    assert [note for note in behind.notes if "more rows" in note]
    head, _, body = plain.partition(b"end_header\n")
    rows = np.frombuffer(body, "<f4").reshape(len(own), -1).copy()
    rows[:, 3:6] = [0, 1, 0]
    leaning = read_splat_ply(head + b"end_header\n" + rows.tobytes(), "a.ply")
    assert leaning.notes == ("normals are left out: Gaussians have none",)
    # The command that converts them tells it.
    (tmp_path / "a.ply").write_bytes(data)
    assert main(["export", str(tmp_path / "a.ply"), "--to", "spz"]) == 0
    said = capsys.readouterr().err
    assert said.count("label, segment") == 1


def spz_with(own: Splats, flags: int = 0, more: bytes = b"") -> bytes:
    body = bytearray(gzip.decompress(write_spz(own)))
    body[14] = flags
    return gzip.compress(bytes(body) + more)


def test_what_an_spz_loses_is_told():
    own = splats(degree=1)
    assert read_spz(spz_with(own), "a.spz").notes == ()
    plain = read_spz(write_spz(own), "a.spz")
    for flags, more, says in (
        (1, b"", "softened edges"),
        (6, b"", "not known are left out: 6"),
        (0, b"more", "more than the Gaussians"),
    ):
        found = read_spz(spz_with(own, flags, more), "a.spz")
        assert len(found.notes) == 1
        assert says in found.notes[0]
        np.testing.assert_array_equal(found.positions, plain.positions)
    assert len(read_spz(spz_with(own, 3, b"x"), "a.spz").turned().notes) == 3
