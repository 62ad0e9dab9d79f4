"""Cameras, backgrounds, and the renderers of volumes, textured meshes and scenes."""

from .backgrounds import (
    AugmentedBackground,
    Background,
    BackgroundSample,
    LearnedBackground,
    RandomBackground,
    SolidBackground,
    SphereBackground,
    learned_background,
)
from .camera_samplers import (
    ProgressiveCameras,
    RingCameras,
    StratifiedCameras,
    UniformCameras,
)
from .cameras import Cameras
from .drawing import FieldRenderer, renderer_for
from .gradient_scaling import DepthScaling, scale_gradient
from .light import EnvironmentLight, ambient, baked_light_index
from .rendering import Rendering, Samples
from .scene import SceneRenderer
from .shading import PointLight, ShadingConfig, draw_light
from .splats import SplatConfig, SplatRenderer
from .surface import SurfaceConfig, SurfaceRenderer, back_project, shade, visibility
from .volume import VolumeConfig, VolumeRenderer

__all__ = [
    "AugmentedBackground",
    "Background",
    "BackgroundSample",
    "Cameras",
    "DepthScaling",
    "EnvironmentLight",
    "FieldRenderer",
    "LearnedBackground",
    "PointLight",
    "ProgressiveCameras",
    "RandomBackground",
    "Rendering",
    "RingCameras",
    "Samples",
    "SceneRenderer",
    "ShadingConfig",
    "SolidBackground",
    "SphereBackground",
    "SplatConfig",
    "SplatRenderer",
    "StratifiedCameras",
    "SurfaceConfig",
    "SurfaceRenderer",
    "UniformCameras",
    "VolumeConfig",
    "VolumeRenderer",
    "ambient",
    "back_project",
    "baked_light_index",
    "draw_light",
    "learned_background",
    "renderer_for",
    "scale_gradient",
    "shade",
    "visibility",
]
