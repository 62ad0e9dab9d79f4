"""Pictures of assets: how a surface looks, and what cameras see of it."""

from .appearance import Appearance
from .render import LAYERS, Light, Picture, clay_light, render_asset, render_frames, render_mesh

__all__ = [
    "LAYERS",
    "Appearance",
    "Light",
    "Picture",
    "clay_light",
    "render_asset",
    "render_frames",
    "render_mesh",
]
