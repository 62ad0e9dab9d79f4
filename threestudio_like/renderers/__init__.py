"""Cameras, backgrounds, and the renderers of volumes, textured meshes and scenes."""

from .backgrounds import (
    Background,
    BackgroundSample,
    LearnedBackground,
    RandomBackground,
    SolidBackground,
    SphereBackground,
)
from .cameras import Cameras, ProgressiveCameras, RingCameras, StratifiedCameras, UniformCameras
from .gradient_scaling import DepthScaling, scale_gradient
from .light import EnvironmentLight, ambient, baked_light_index
from .rendering import Rendering, Samples
from .scene import SceneRenderer
from .surface import SurfaceConfig, SurfaceRenderer, back_project, shade, visibility
from .volume import VolumeConfig, VolumeRenderer

__all__ = [
    "Background",
    "BackgroundSample",
    "Cameras",
    "DepthScaling",
    "EnvironmentLight",
    "LearnedBackground",
    "ProgressiveCameras",
    "RandomBackground",
    "Rendering",
    "RingCameras",
    "Samples",
    "SceneRenderer",
    "SolidBackground",
    "SphereBackground",
    "StratifiedCameras",
    "SurfaceConfig",
    "SurfaceRenderer",
    "UniformCameras",
    "VolumeConfig",
    "VolumeRenderer",
    "ambient",
    "back_project",
    "baked_light_index",
    "scale_gradient",
    "shade",
    "visibility",
]
