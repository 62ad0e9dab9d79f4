"""The mesh stage: a differentiable surface with a field of colours, moved by targets, guidances and
regularisers."""

from .config import MeshStageConfig, TargetConfig
from .model import MeshModel
from .stage import mesh_stage
from .start import MeshStart

__all__ = ["MeshModel", "MeshStageConfig", "MeshStart", "TargetConfig", "mesh_stage"]
