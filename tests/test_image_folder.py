"""Folders of pictures: depth beside them, damage that is named, and a hundred thousand of them in
little memory."""

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from threestudio_like.engine.errors import InputError
from threestudio_like.priors.data.image_folder import ImageFolder


def save(path, size=(40, 30), depth=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, size[0])[None].repeat(size[1], 0)
    Image.fromarray(np.stack([ramp, ramp * 0, 255 - ramp], -1).astype(np.uint8)).save(path)
    if depth is not None:
        Image.fromarray(depth).save(path.with_name(path.stem + ".depth.png"))


def test_pictures_are_cut_to_their_middle_and_depth_goes_along(tmp_path):
    depth = np.linspace(0, 65535, 40)[None].repeat(30, 0).astype(np.uint16)
    save(tmp_path / "b" / "one.png", depth=depth)
    save(tmp_path / "two.jpg")
    folder = ImageFolder(tmp_path, 20)
    assert folder.names == [os.path.join("b", "one.png"), "two.jpg"]
    assert folder.with_depth == 1
    one, two = folder.picture(0), folder.picture(1)
    assert one.image.shape == (20, 20, 3)
    assert two.depth is None
    # Columns 5 to 34 of 40.
    assert abs(int(one.image[10, 0, 0]) - 255 * 5.5 / 39) < 6
    assert one.depth.dtype == np.uint16
    assert int(one.depth[0, 0]) == int(depth[0, 5])
    assert set(np.unique(one.depth)) <= set(np.unique(depth))


def test_bad_samples_are_named(tmp_path):
    save(tmp_path / "a.png", depth=np.zeros((10, 10), np.uint16))
    (tmp_path / "b.png").write_bytes(b"rubbish")
    save(tmp_path / "c.png", (8, 8))
    save(tmp_path / "d.png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "d.depth.png")
    folder = ImageFolder(tmp_path, 16)
    for index, (name, match) in enumerate(
        (
            ("a.depth.png", "one size|its picture"),
            ("b.png", "cannot be read"),
            ("c.png", "at least"),
            ("d.depth.png", "sixteen"),
        )
    ):
        with pytest.raises(InputError, match=match) as caught:
            folder.picture(index)
        assert name in str(caught.value)
    for bad in (tmp_path / "nowhere", tmp_path / "empty"):
        if bad.name == "empty":
            bad.mkdir()
        with pytest.raises(InputError):
            ImageFolder(bad, 16)


def test_a_hundred_thousand_pictures_stream_in_bounded_memory(tmp_path):
    # One file a folder, and the names beside it links: file systems limit the links of one file.
    for part in range(100):
        folder = tmp_path / f"{part:02d}"
        save(folder / "000.png", (24, 24))
        for number in range(1, 1000):
            os.link(folder / "000.png", folder / f"{number:03d}.png")
    tracemalloc.start()
    folder = ImageFolder(tmp_path, 16)
    assert len(folder) == 100_000
    for index in range(0, 100_000, 997):
        assert folder.picture(index).image.shape == (16, 16, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
