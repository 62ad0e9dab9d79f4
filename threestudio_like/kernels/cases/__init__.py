"""One case for each operation, which a backend has to pass at its first use, and which is timed.

Importing this package registers all checks.
"""

from . import on_gaussians as _on_gaussians  # noqa: F401
from . import on_pixels as _on_pixels  # noqa: F401
from . import on_rays as _on_rays  # noqa: F401
from . import on_surfaces as _on_surfaces  # noqa: F401
from .case import CASES, Case, cast, difference
from .on_grids import AXES

__all__ = ["AXES", "CASES", "Case", "cast", "difference"]
