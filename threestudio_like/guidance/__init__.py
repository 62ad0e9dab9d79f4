"""Guidance: losses that tell a representation how to change."""

from ..renderers.gradient_scaling import DepthScaling, scale_gradient
from .guidance import Guidance, GuidanceInputs, GuidanceOutput
from .image_refinement import ImageRefinement, RefinementConfig, Targets, refinement_cameras
from .picture import (
    ClipGuidance,
    DepthGuidance,
    OpacityGuidance,
    ReferenceGuidance,
    fit_scale_and_shift,
)
from .prompts import PromptConfig, ViewPrompts, perp_neg, view_direction
from .regularisers import distortion, nearness, opacity_entropy, orientation, sparsity
from .score_distillation import ScoreDistillation, ScoreDistillationConfig

__all__ = [
    "ClipGuidance",
    "DepthGuidance",
    "DepthScaling",
    "Guidance",
    "GuidanceInputs",
    "GuidanceOutput",
    "ImageRefinement",
    "OpacityGuidance",
    "PromptConfig",
    "ReferenceGuidance",
    "RefinementConfig",
    "ScoreDistillation",
    "ScoreDistillationConfig",
    "Targets",
    "ViewPrompts",
    "distortion",
    "fit_scale_and_shift",
    "nearness",
    "opacity_entropy",
    "orientation",
    "perp_neg",
    "refinement_cameras",
    "scale_gradient",
    "sparsity",
    "view_direction",
]
