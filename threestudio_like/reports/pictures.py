"""The contact sheet of an asset, and pictures as files and addresses."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..engine.output import write_file
from ..meshes.mesh import Asset

if TYPE_CHECKING:
    # The viewer is a process of its own, which is open sooner without them.
    from ..meshes.picture import Light
    from ..renderers import RingCameras


def contact_sheet(
    asset: Asset, ring: RingCameras, size: int = 192, light: Light | None = None
) -> np.ndarray:
    """Eight views on light grey, textured (and lit, if there is a light) above and clay below: (2
    S, 8 S, 3) uint8."""
    from ..meshes.picture import render_asset

    cameras = ring.all(size).view_projection().numpy()
    rows = [
        np.concatenate(
            list(render_asset(asset, cameras, size, background=0.96, clay=clay, light=light).image),
            1,
        )
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


def small_address(picture: np.ndarray, quality: int = 90) -> str:
    """As `picture_address`, as a JPEG where that is smaller, which photographs and renderings are;
    without alpha."""
    from PIL import Image

    plain = png_bytes(picture)
    buffer = io.BytesIO()
    Image.fromarray(picture[..., :3]).save(buffer, "JPEG", quality=quality, subsampling=0)
    kind, data = ("png", plain) if len(plain) <= buffer.tell() else ("jpeg", buffer.getvalue())
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as a PNG file. Raises OutputError."""
    write_file(path, png_bytes(picture))
