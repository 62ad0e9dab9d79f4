"""How a representation becomes a picture."""

from .backgrounds import Background, BackgroundSample, LearnedBackground, RandomBackground, SolidBackground
from .cameras import Cameras, ProgressiveCameras, RingCameras, StratifiedCameras, UniformCameras
from .rendering import Rendering, Samples
from .volume import VolumeConfig, VolumeRenderer

__all__ = ["Background", "BackgroundSample", "Cameras", "LearnedBackground", "ProgressiveCameras", "RandomBackground",
           "Rendering", "RingCameras", "Samples", "SolidBackground", "StratifiedCameras", "UniformCameras", "VolumeConfig",
           "VolumeRenderer"]  # fmt: skip
