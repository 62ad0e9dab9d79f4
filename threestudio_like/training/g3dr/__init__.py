"""`train g3dr`: G3DR's generator, trained on single views with depth."""

from .config import G3drTraining, g3dr_config
from .rgbd import FolderRgbd, RgbdSource, ToyRgbd, stretched
from .terms import as_pictures, render_view, step_terms
from .train import canonical_figures, g3dr_sources, g3dr_stage, train_g3dr

__all__ = [
    "FolderRgbd",
    "G3drTraining",
    "RgbdSource",
    "ToyRgbd",
    "as_pictures",
    "canonical_figures",
    "g3dr_config",
    "g3dr_sources",
    "g3dr_stage",
    "render_view",
    "step_terms",
    "stretched",
    "train_g3dr",
]
