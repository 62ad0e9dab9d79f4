"""MTL: what its statements mean, and writing them anew."""

import io
import math

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.obj import library_lines
from threestudio_like.meshes.io.obj.blocks import map_line, read_blocks
from threestudio_like.meshes.material import Material, Sampler

from .obj_files import (
    material,
    picture,
    png,
)


@pytest.mark.parametrize(
    ("lines", "alpha", "mode"),
    [
        ("Tr 0.7", 0.3, "BLEND"),
        ("d 0.25", 0.25, "BLEND"),
        ("d 1\nTr 1", 1.0, "OPAQUE"),
        ("d -halo 0.5", 0.5, "BLEND"),
        ("Kd 1 0 0", 1.0, "OPAQUE"),
        ("# alpha_mode MASK 0.25\n# double_sided", 1.0, "MASK"),
    ],
)
def test_opacity(tmp_path, lines, alpha, mode):
    mesh, _ = material(tmp_path, lines)
    assert mesh.material.colour[3] == pytest.approx(alpha)
    assert mesh.material.alpha_mode == mode
    assert mesh.material.double_sided is ("double" in lines)
    assert mesh.material.alpha_cutoff == (0.25 if mode == "MASK" else 0.5)


def test_black_under_a_texture_is_white(tmp_path):
    mesh, notes = material(tmp_path, "Kd 0 0 0\nmap_Kd t.png", t_png=picture(10, 200, 30))
    assert mesh.material.colour == (1, 1, 1, 1)
    assert mesh.texture[0, 0].tolist() == [10, 200, 30]
    assert notes == ['colour of "m" is black under its texture: taken as white']
    assert material(tmp_path, "Kd 0 0 0")[0].material.colour[:3] == (0, 0, 0)


def test_colours_to_255_and_roughness(tmp_path):
    mesh, notes = material(tmp_path, "Kd 255 51 0\nNs 98\nKs 1 1 1")
    assert mesh.material.colour[:3] == pytest.approx((1, 0.2, 0))
    assert "0 to 255" in notes[0]
    assert mesh.material.roughness == pytest.approx(math.sqrt(2 / 100))
    assert material(tmp_path, "Ns 98\nPr 0.75")[0].material.roughness == 0.75
    assert material(tmp_path, "Kd 0.5")[0].material.colour[:3] == (0.5, 0.5, 0.5)


def test_opacity_maps(tmp_path):
    half = np.full((8, 8), 255, np.uint8)
    half[:4] = 0
    mesh, _ = material(
        tmp_path, "map_Kd t.png\nmap_d d.png", t_png=picture(9, 9, 9, side=4), d_png=png(half)
    )
    assert mesh.material.alpha_mode == "MASK"
    assert mesh.texture.shape == (8, 8, 4)
    assert mesh.texture[0, 0].tolist() == [9, 9, 9, 0]
    mesh, _ = material(tmp_path, "map_d d.png", d_png=png(half // 2))
    assert mesh.material.alpha_mode == "BLEND"
    assert mesh.texture[7, 0].tolist() == [255, 255, 255, 127]
    mesh, _ = material(tmp_path, "map_Kd t.png", t_png=png(np.dstack([half] * 4)))
    assert mesh.material.alpha_mode == "MASK"
    mesh, _ = material(tmp_path, "map_Kd t.png\nmap_d t.png", t_png=picture(5, 5, 5))
    assert mesh.texture.shape[2] == 3


def test_a_texture_that_is_scaled_moved_and_clamped(tmp_path):
    mesh, _ = material(
        tmp_path, "map_Kd -s 4 4 1 -o 0.5 0 0 -clamp on t.png", t_png=picture(1, 2, 3)
    )
    assert mesh.uv.tolist() == [[0.5, 0], [4.5, 0], [4.5, 4], [0.5, 4]]
    assert mesh.material.sampler == Sampler("clamp", "clamp")
    line = read_blocks(b"newmtl x\nmap_Kd -o .5 -bm 2 a b#1.png # old\n")[1][0].lines[1]
    said = map_line(line)
    assert (said.name, said.shift, said.strength) == ("a b#1.png", (0.5, 0.0), 2)


def test_emission_normal_and_surface_maps(tmp_path):
    blue, tilt = picture(128, 128, 255), np.zeros((8, 8), np.uint8)
    tilt[:] = np.arange(8) * 20
    mesh, _ = material(
        tmp_path,
        "Ke 2 0 1\nmap_Ke e.png\nmap_Bump -bm 0.5 n.png\nmap_Pr r.png\nmap_Pm p.png\nPr 0.5",
        e_png=picture(7, 8, 9),
        n_png=blue,
        r_png=picture(100, 100, 100),
        p_png=picture(50, 50, 50, side=4),
    )
    own = mesh.material
    assert own.emission == (2, 0, 1)
    assert own.emissive_map[0, 0].tolist() == [7, 8, 9]
    assert own.normal_map[0, 0].tolist() == [128, 128, 255]
    assert own.normal_scale == 0.5
    assert own.metallic_roughness.shape == (8, 8, 3)
    assert own.metallic_roughness[3, 3].tolist() == [255, 100, 50]
    assert (own.roughness, own.metallic) == (0.5, 1.0)
    assert own.encoded(own.normal_map).data == blue
    mesh, _ = material(
        tmp_path, "bump n.png\nmap_ORM o.png\nmap_Ke e.png", n_png=png(tilt), o_png=picture(1, 2, 3)
    )
    own = mesh.material
    # Heights that rise to the right turn the normal to the left.
    assert own.normal_map[4, 4, 0] < 128
    assert own.normal_map[4, 4, 1] in (127, 128)
    assert own.normal_map[4, 4, 2] > 200
    assert own.metallic_roughness[0, 0].tolist() == [1, 2, 3]
    assert own.occlusion_map[0, 0, 0] == 1
    assert own.emission == (1, 1, 1)


def test_a_jpeg_stays_the_same_jpeg(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(
        data, "JPEG"
    )
    mesh, _ = material(tmp_path, "map_Kd t.jpg", t_jpg=data.getvalue())
    assert mesh.material.encoded(mesh.texture).mime == "image/jpeg"
    Asset({"a": mesh}).save(tmp_path / "new.obj")
    assert (tmp_path / "new.jpg").read_bytes() == data.getvalue()


# Writing anew


def test_what_mtl_can_say_survives_glb_obj_glb(tmp_path):
    draw = np.random.default_rng(3)

    def pixels(channels):
        return draw.integers(0, 255, (8, 8, channels)).astype(np.uint8)

    own = Material(
        "leaf",
        (0.5, 0.25, 1.0, 1.0),
        0.5,
        0.25,
        pixels(3),
        "MASK",
        True,
        0.375,
        pixels(3),
        0.5,
        pixels(3),
        (2.0, 0.0, 1.0),
        pixels(3),
        True,
        Sampler("clamp", "mirror", True),
    )
    mesh = Mesh(
        np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        np.int32([[0, 1, 2]]),
        np.float32([[0, 0], [1, 0], [0, 1]]),
        pixels(4),
        material=own,
    )
    again = Asset.load(Asset({"a": mesh}).save(tmp_path / "a.obj")).mesh
    new = again.material
    for name in (
        *("colour", "roughness", "metallic", "alpha_mode", "double_sided", "alpha_cutoff"),
        *("normal_scale", "emission", "unlit", "sampler"),
    ):
        assert getattr(new, name) == getattr(own, name), name
    assert np.array_equal(again.texture, mesh.texture)
    for name in ("normal_map", "occlusion_map", "emissive_map"):
        assert np.array_equal(getattr(new, name), getattr(own, name)), name
    assert np.array_equal(new.metallic_roughness[..., 1:], own.metallic_roughness[..., 1:])
    other = trimesh.load(tmp_path / "a.obj", process=False, force="mesh")
    assert other.visual.material.image.size == (8, 8)


def test_one_material_with_two_textures_becomes_two(tmp_path):
    shared = Material("wood")
    parts = {}
    for k in range(2):
        parts[str(k)] = Mesh(
            np.eye(3, dtype=np.float32) + k,
            np.int32([[0, 1, 2]]),
            np.zeros((3, 2), np.float32),
            np.full((2, 2, 3), k * 9, np.uint8),
            material=shared,
        )
    again = Asset.load(Asset(parts).save(tmp_path / "two.obj"))
    assert [int(m.texture[0, 0, 0]) for m in again.meshes.values()] == [0, 9]


def test_pictures_are_named_apart_whatever_their_number_is(monkeypatch):
    """Each asked for the names of all others, and for all of their numbers."""
    asked = []
    numbered = library_lines._numbered
    monkeypatch.setattr(
        library_lines, "_numbered", lambda *words: asked.append(words) or numbered(*words)
    )
    pictures = library_lines.NewPictures("x", {"X1.PNG": b"kept", "x3.png": b"3"})
    names = [pictures.add("x", "png", str(k).encode()) for k in range(1000)]
    # Number 3 had its bytes and its name already; a name of other letter case is taken.
    assert names[:4] == ["x.png", "x2.png", "x4.png", "x3.png"]
    assert len({name.casefold() for name in names}) == 1000
    assert len(asked) <= 4 * 1000
    assert pictures.add("x", "png", b"7") == names[7]
    assert pictures.add("x", "png", b"kept") == "x1.png"
    assert pictures.add("y", "", b"0") == "y"
