"""A film of one turn of an asset: MP4, or an animated WebP with a transparent background."""

from __future__ import annotations

import io
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.errors import ConfigError, VideoError
from ..engine.output import new_file
from ..meshes.frames import Normalisation
from ..meshes.mesh import Asset

if TYPE_CHECKING:
    # The viewer is a process of its own, which is open sooner without them.
    import torch

    from ..meshes.picture import Light

ELEVATION = 20.0
"""Degrees above the horizon from which the turn is seen."""
BACKGROUND = 0.96
"""Grey level behind an asset whose background is not transparent."""
LONGEST = 3600
"""Frames of the longest film."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """How a turn is filmed.

    size: pixels along the edge, even in an MP4; fps: frames a second; seconds: duration of the
    turn; transparent: an animated WebP with straight alpha, and not an MP4, whose usual codec has
    none.
    """

    size: int = 512
    fps: float = 24.0
    seconds: float = 4.0
    transparent: bool = False

    @property
    def frames(self) -> int:
        """Number of frames of the turn."""
        return max(1, round(self.fps * self.seconds))

    @property
    def suffix(self) -> str:
        """Of the file."""
        return ".webp" if self.transparent else ".mp4"

    def check(self) -> None:
        """Raise ConfigError where such a film cannot be made."""
        ranges = {"size": (16, 4096), "fps": (1, 120), "seconds": (0.05, 600)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"must be from {low:g} to {high:g}, got {value:g}", f"--{name}")
        if self.frames > LONGEST:
            raise ConfigError(
                f"{self.fps:g} frames a second for {self.seconds:g} seconds are {self.frames} "
                f"frames, and {LONGEST} are made at most",
                "--fps",
                "Give fewer or a shorter turn",
            )
        if not self.transparent and self.size % 2:
            raise ConfigError(
                f"must be even in an MP4, got {self.size}", "--size", f"Use {self.size + 1}"
            )


def film(asset: Asset, how: Film) -> bytes:
    """The file of one turn of an asset that may stand anywhere and be of any size.

    Textures and vertex colours are shown as they are; an asset without any is lit, because its
    shape would not be seen otherwise.

    Raises: ConfigError, VideoError.
    """
    how.check()
    used = [m.vertices for m in asset.meshes.values() if len(m.faces)]
    if not used:
        raise VideoError("there are no faces to film", "the asset")
    place = Normalisation.of(np.concatenate(used)).apply
    stands = asset.with_meshes(
        {k: replace(m, vertices=place(m.vertices)) for k, m in asset.meshes.items()}
    )
    coloured = any(m.texture is not None or m.colours is not None for m in asset.meshes.values())
    pictures = _turn(stands, how, 3.0, fov_y=40.0, light=None if coloured else studio_light)
    if how.transparent:
        return _webp(pictures, how)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "turntable.mp4"
        _mp4(pictures, path, how.fps)
        return path.read_bytes()


def turntable(
    asset: Asset,
    path: Path,
    distance: float,
    fov_y: float,
    frames: int = 48,
    size: int = 256,
    seconds: float = 4.0,
    light: Light | None = None,
) -> None:
    """Write an MP4 of one turn at 20 degrees of elevation.

    Raises:
        VideoError: ffmpeg is missing, cannot start or fails; the video is an extra, so whoever has
            delivered an asset turns this into a warning.
        OutputError: the file may not be replaced.
    """
    how = Film(size=size, fps=frames / seconds, seconds=seconds)
    around = None if light is None else lambda camera: light
    _mp4(_turn(asset, how, distance, fov_y=fov_y, light=around), path, how.fps)


def studio_light(camera_to_world: torch.Tensor) -> Light:
    """The light of a bright sky and of a lamp that stands above on the left of a camera (4, 4)."""
    import torch

    lamp = torch.nn.functional.normalize(
        camera_to_world[:3, :3] @ torch.tensor([-0.5, 0.7, 0.8]), dim=0
    )

    def light(normals: torch.Tensor) -> torch.Tensor:
        sky = 0.5 + 0.15 * normals[..., 1:2]
        return sky + 0.4 * (normals @ lamp).clamp_min(0)[..., None]

    return light


def _turn(
    asset: Asset,
    how: Film,
    distance: float,
    fov_y: float,
    light: Callable[[torch.Tensor], Light] | None,
) -> Iterator[np.ndarray]:
    """The frames (S, S, 3) uint8 one after the other, or (S, S, 4) with straight alpha, each in the
    light for its camera (4, 4), or without light."""
    import torch

    from ..meshes.picture import render_frames
    from ..renderers import Cameras

    azimuth = torch.arange(how.frames) / how.frames * 2 * math.pi
    cameras = Cameras.orbit(
        azimuth,
        torch.full((how.frames,), math.radians(ELEVATION)),
        distance,
        fov_y=math.radians(fov_y),
        height=how.size,
        width=how.size,
    )
    background = 0.0 if how.transparent else BACKGROUND
    lights = None if light is None else map(light, cameras.camera_to_world)
    matrices = cameras.view_projection().numpy()
    for picture in render_frames(asset, matrices, how.size, background=background, lights=lights):
        image, mask = picture.image[0], picture.mask[0][..., None]
        if how.transparent:
            # On black, colours are multiplied with their opacity.
            image = np.concatenate([image / np.maximum(mask, 1e-6), mask], -1)
        yield np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _webp(pictures: Iterator[np.ndarray], how: Film) -> bytes:
    from PIL import Image

    buffer, frames = io.BytesIO(), (Image.fromarray(picture) for picture in pictures)
    try:
        next(frames).save(
            buffer,
            "WEBP",
            save_all=True,
            append_images=frames,
            duration=round(1000 / how.fps),
            loop=0,
            quality=90,
            method=4,
        )
    except (OSError, ValueError, KeyError) as error:
        raise VideoError(
            f"the animated WebP could not be written ({str(error)[:120]})",
            "--transparent",
            "Install a Pillow that has WebP, or leave it out",
        ) from None
    return buffer.getvalue()


def _mp4(pictures: Iterator[np.ndarray], path: Path, fps: float) -> None:
    with new_file(path) as temporary:
        try:
            import imageio.v2 as imageio

            first = next(pictures)
            # Codecs work on blocks of 16 pixels, and cannot do without blocks of 2.
            block = 16 if first.shape[0] % 16 == 0 else 2
            writer: Any = imageio.get_writer(
                temporary, fps=fps, codec="libx264", quality=7, macro_block_size=block
            )
            with writer:
                for picture in itertools.chain([first], pictures):
                    writer.append_data(picture)
            if not temporary.is_file() or temporary.stat().st_size == 0:
                raise OSError("ffmpeg has written nothing")
        except Exception as error:
            # ffmpeg is a separate program: it may be missing, be built for another processor, be
            # killed, or lack a codec, and imageio raises a different exception for each.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise VideoError(
                f"the video could not be written ({reason[0][:120]})",
                str(path),
                "Reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to an ffmpeg that runs",
            ) from None
