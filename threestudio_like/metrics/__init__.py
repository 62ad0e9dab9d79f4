"""Quality measures of assets."""

from .alignment import front_azimuth, janus_index, r_precision, view_consistency
from .geometry import compare, sample_surface
from .judge import Judge, Judgement, PatternJudge

__all__ = [
    "Judge",
    "Judgement",
    "PatternJudge",
    "compare",
    "front_azimuth",
    "janus_index",
    "r_precision",
    "sample_surface",
    "view_consistency",
]
