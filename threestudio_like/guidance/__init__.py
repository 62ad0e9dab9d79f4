"""What tells a representation how to change."""

from .contract import Guidance, View
from .image_refinement import ImageRefinement, RefinementConfig, Targets, refinement_cameras
from .prompts import PromptConfig, ViewPrompts, perp_neg, view_direction
from .regularisers import distortion, nearness, opacity_entropy, orientation, sparsity
from .score_distillation import ScoreDistillation, ScoreDistillationConfig

__all__ = ["Guidance", "ImageRefinement", "PromptConfig", "RefinementConfig", "ScoreDistillation", "ScoreDistillationConfig",
           "Targets", "View", "ViewPrompts", "distortion", "nearness", "opacity_entropy", "orientation", "perp_neg", "refinement_cameras",
           "sparsity", "view_direction"]  # fmt: skip
