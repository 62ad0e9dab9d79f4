"""Contact sheet and turntable of an asset."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.errors import VideoError
from ..engine.output import new_file, write_file
from ..meshes.mesh import Asset
from ..meshes.picture import Light, render_asset
from ..renderers import Cameras, RingCameras


def contact_sheet(
    asset: Asset, ring: RingCameras, size: int = 192, light: Light | None = None
) -> np.ndarray:
    """Eight views on light grey, textured (and lit, if there is a light) above and clay below: (2
    S, 8 S, 3) uint8."""
    cameras = ring.all(size).view_projection().numpy()
    rows = [
        np.concatenate(list(render_asset(asset, cameras, size, 0.96, clay, light=light).image), 1)
        for clay in (False, True)
    ]
    return np.rint(np.concatenate(rows, 0).clip(0, 1) * 255).astype(np.uint8)


def png_bytes(picture: np.ndarray) -> bytes:
    """Encode (H, W, 3 or 4) uint8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def picture_address(picture: np.ndarray) -> str:
    """Encode (H, W, 3 or 4) uint8 as a data: address, for a page that contains its pictures."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as a PNG file. Raises OutputError."""
    write_file(path, png_bytes(picture))


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
    azimuth = torch.arange(frames) / frames * 2 * math.pi
    cameras = Cameras.orbit(
        azimuth,
        torch.full((frames,), math.radians(20.0)),
        distance,
        math.radians(fov_y),
        size,
        size,
    )
    images = render_asset(asset, cameras.view_projection().numpy(), size, 0.96, light=light).image
    with new_file(path) as temporary:
        try:
            import imageio.v2 as imageio

            writer: Any = imageio.get_writer(
                temporary, fps=frames / seconds, codec="libx264", quality=7, macro_block_size=16
            )
            with writer:
                for image in images:
                    writer.append_data(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
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
