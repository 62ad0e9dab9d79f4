"""Contact sheet and turntable of an asset."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint import output_error
from ..engine.errors import OutputError
from ..meshes.mesh import Asset
from ..meshes.picture import Light, render_asset
from ..renderers import Cameras, RingCameras


def contact_sheet(
    asset: Asset, ring: RingCameras, size: int = 192, light: Light | None = None
) -> np.ndarray:
    """Eight views: textured (and lit, where there is a light) above, clay below, (2 S, 8 S, 3)
    uint8 on light grey."""
    cameras = ring.all(size).view_projection().numpy()
    rows = [
        np.concatenate(list(render_asset(asset, cameras, size, 0.96, clay, light=light).image), 1)
        for clay in (False, True)
    ]
    return np.rint(np.concatenate(rows, 0).clip(0, 1) * 255).astype(np.uint8)


def png_bytes(picture: np.ndarray) -> bytes:
    """(H, W, 3 or 4) uint8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def picture_address(picture: np.ndarray) -> str:
    """(H, W, 3 or 4) uint8 as a data: address, for a page that holds its pictures."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8. Raises OutputError."""
    from PIL import Image

    try:
        Image.fromarray(picture).save(path, optimize=True)
    except OSError as error:
        raise output_error(error, path) from None


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
    """Write an MP4 of one turn at 20 degrees of elevation. Raises OutputError."""
    import imageio.v2 as imageio

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
    try:
        writer: Any = imageio.get_writer(
            path, fps=frames / seconds, codec="libx264", quality=7, macro_block_size=16
        )
        with writer:
            for image in images:
                writer.append_data(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
    except OSError as error:
        raise output_error(error, path) from None
    except RuntimeError as error:
        raise OutputError(
            f"the video could not be written ({error})", str(path), "Reinstall imageio-ffmpeg"
        ) from None
