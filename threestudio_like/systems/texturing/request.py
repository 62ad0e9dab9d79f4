"""What a texturing system is asked to paint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...meshes.texture.atlas import Atlas
from ..system import Request


@dataclass(kw_only=True)
class PaintRequest(Request):
    """What is painted: the joint atlas in the scene's frame, its texels as they are (3, R, R) in
    [0, 1], which of them are locked, and, if there are holes, their opacity (R, R)."""

    atlas: Atlas | None = None
    texture: torch.Tensor | None = None
    locked: torch.Tensor | None = None
    alpha: torch.Tensor | None = None
    begin: bool = False
    """Every texel starts as `texture` has it, not the locked ones alone."""

    def the_atlas(self) -> Atlas:
        """The atlas; a request without one is a mistake of the caller."""
        assert self.atlas is not None
        return self.atlas
