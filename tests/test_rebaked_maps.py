"""The maps of a material that several parts share, after `mesh unwrap` or `texture` gave each part
a layout of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.material import Material
from threestudio_like.meshes.texture.look import sample
from threestudio_like.systems.texturing.painted import Painting
from threestudio_like.systems.texturing.subject import SubjectOptions, read_subject

COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250))
CHANNELS = {
    "texture": [0, 1, 2],
    "metallic_roughness": [1, 2],
    "occlusion_map": [0],
    "emissive_map": [0, 1, 2],
}
"""Of every map those that say something."""


def strips(folder: Path, suffix: str, parts: int) -> Path:
    """Squares, one a part and each over a third of the same pictures, as a file."""
    picture = np.repeat(np.uint8([COLOURS]).repeat(16, 1), 48, 0)
    maps = {name: np.roll(picture, k, 2) for k, name in enumerate(CHANNELS)}
    texture = maps.pop("texture")
    material = Material("m", emission=(1.0, 1.0, 1.0), roughness=1.0, metallic=1.0, **maps)
    square = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    meshes = {}
    for k in range(parts):
        uv = ((square[:, :2] * [0.2, 0.8] + [k + 0.4, 0.1]) * [1 / 3, 1]).astype(np.float32)
        points = square * np.float32(1 + k) + np.float32([5 * k, 0, 0])
        meshes[f"part{k}"] = Mesh(points, faces, uv, texture, material=material)
    return Asset(meshes).save(folder / f"in{suffix}")


def shown(mesh: Mesh, name: str) -> np.ndarray | None:
    """What a map shows in the middle of every face (F, C), in [0, 255]."""
    owner = mesh if name == "texture" else mesh.material
    picture = getattr(owner, name)
    if picture is None:
        return None
    return sample(picture, mesh.uv[mesh.faces].mean(1), mesh.material.sampler)[:, CHANNELS[name]]


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(
    ("suffix", "out"), [(".obj", ".glb"), (".obj", ".obj"), (".glb", ".obj"), (".glb", ".glb")]
)
def test_every_part_shows_its_own_share_of_the_maps(tmp_path, suffix, out, parts):
    path = strips(tmp_path, suffix, parts)
    call = ["mesh", "unwrap", str(path), "--out", str(tmp_path / f"out{out}"), "--texture", "64"]
    assert main(call) == 0
    before, after = Asset.load(path), Asset.load(tmp_path / f"out{out}")
    assert len(after.meshes) == parts
    for name, mesh in after.meshes.items():
        for map_name in CHANNELS:
            now, then = shown(mesh, map_name), shown(before.meshes[name], map_name)
            if now is None:
                # In its own format the file keeps the map, on the coordinates that it was made for.
                assert suffix == out == ".glb"
                continue
            np.testing.assert_allclose(now, then[: len(now)], atol=8)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("suffix", "out"), [(".obj", ".obj"), (".obj", ".glb"), (".glb", ".glb")])
def test_painting_on_new_coordinates_keeps_what_the_other_maps_show(tmp_path, suffix, out, parts):
    path = strips(tmp_path, suffix, parts)
    options = SubjectOptions(unwrap="always", texels=64)
    subject = read_subject(path, options, "box")
    size = subject.atlas.resolution
    colour = np.full((size, size, 3), 90, np.uint8)
    made = Painting(subject, options, colour, None).asset().save(tmp_path / f"out{out}")
    before, after = Asset.load(path), Asset.load(made)
    for name, mesh in after.meshes.items():
        assert np.abs(shown(mesh, "texture") - 90).max() <= 2
        for map_name in CHANNELS.keys() - {"texture"}:
            now, then = shown(mesh, map_name), shown(before.meshes[name], map_name)
            if now is None:
                # The file keeps the map on the coordinates that it was made for.
                assert suffix == out == ".glb"
                continue
            np.testing.assert_allclose(now, then[: len(now)], atol=8)


@pytest.mark.parametrize(("suffix", "told"), [(".obj", 1), (".glb", 0)])
def test_a_normal_map_that_does_not_fit_is_told_before_painting(tmp_path, suffix, told):
    path = strips(tmp_path, suffix, 1)
    asset = Asset.load(path)
    mesh = asset.meshes["part0"]
    flat = np.full((8, 8, 3), (128, 128, 255), np.uint8)
    material = replace(mesh.material, normal_map=flat)
    # Without the file that it was read from, so that all of it is written.
    other = Asset({"part0": replace(mesh, material=material, origin=None)})
    file = other.save(tmp_path / f"n{suffix}")
    notes = read_subject(file, SubjectOptions(unwrap="always", texels=64), "box").file.notes
    assert sum("normal map" in note for note in notes) == told


def test_instances_still_share_what_is_laid_out_anew(tmp_path):
    from threestudio_like.meshes.texture.coordinates import with_coordinates
    from threestudio_like.meshes.toolchain import rebaked

    asset = Asset.load(strips(tmp_path, ".glb", 1))
    mesh = asset.meshes["part0"]
    asset = asset.with_meshes({"one": mesh, "two": mesh})
    made, _ = with_coordinates(asset, 64, "always")
    one, two = rebaked(asset, made, 64, patched=False).values()
    assert one.texture is two.texture
    assert one.material is two.material
