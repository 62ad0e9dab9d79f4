"""The commands as functions: typed, with the checks of the command line, and a `RunResult` back.

`system` takes a name or a configuration object, `prior` a name or a `DiffusionPrior`. In a notebook
a result shows itself.
"""

from .finished import evaluate, export, load_prior, open_run
from .making import generate, reconstruct, texture
from .scenes import compose, refine, resume

__all__ = [
    "compose",
    "evaluate",
    "export",
    "generate",
    "load_prior",
    "open_run",
    "reconstruct",
    "refine",
    "resume",
    "texture",
]
