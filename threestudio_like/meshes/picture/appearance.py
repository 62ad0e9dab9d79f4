"""How a surface looks at a point: vertex colour times texture times material, and what shows
through it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..io.images import to_display, to_linear
from ..material import Material, Sampler
from ..mesh import Mesh


def wrapped(values: torch.Tensor, how: str) -> torch.Tensor:
    """One texture coordinate brought into [0, 1]: "repeat", "clamp" or "mirror"."""
    if how == "clamp":
        return values.clamp(0, 1)
    if how == "mirror":
        return 1 - (1 - values.remainder(2)).abs()
    # At the border itself nothing is repeated.
    return torch.where((values < 0) | (values > 1), values - values.floor(), values)


def look_up(texture: torch.Tensor, uv: torch.Tensor, sampler: Sampler) -> torch.Tensor:
    """Values (N, C) of a texture (1, C, H, W), row 0 at v = 1, at coordinates (N, 2). Coordinates
    outside of [0, 1] are wrapped as the sampler says."""
    place = torch.stack([wrapped(uv[:, 0], sampler.wrap_u), wrapped(uv[:, 1], sampler.wrap_v)], -1)
    grid = torch.stack([place[:, 0] * 2 - 1, 1 - place[:, 1] * 2], -1)[None, None]
    mode = "nearest" if sampler.nearest else "bilinear"
    return F.grid_sample(
        texture.to(uv), grid, mode=mode, padding_mode="border", align_corners=False
    )[0, :, 0].t()


class Appearance:
    """The unlit colours and the opacity of one mesh, from its texture, its vertices and its
    material.

    attributes (V, A): what has to be interpolated for `colour`, `opacity` and `glow`: texture
    coordinates, vertex colours, or both; None where the mesh has one colour. holes: whether some of
    it is cut out by the material's alpha mask; veils: whether some of it is blended with what lies
    behind.

    Args:
        finest: largest number of texels along an edge; larger textures are averaged down, and 0
            keeps them as they are.
    """

    def __init__(self, mesh: Mesh, finest: int = 0) -> None:
        material = mesh.material
        self.material = Material() if material is None else material
        self.factor = torch.tensor(self.material.colour[:3], dtype=torch.float32)
        self.finest = finest
        self.texture = self.emissive = None
        self.alpha: torch.Tensor | None = None
        parts: list[np.ndarray] = []
        if mesh.texture is not None and mesh.uv is not None:
            self.texture = self._texels(mesh.texture[..., :3])
        glows = max(self.material.emission) > 0
        if glows and self.material.emissive_map is not None and mesh.uv is not None:
            self.emissive = self._texels(self.material.emissive_map[..., :3])
        self.mapped = self.texture is not None or self.emissive is not None
        if self.mapped:
            assert mesh.uv is not None
            parts.append(mesh.uv)
        if mesh.colours is not None:
            parts.append(mesh.colours)
        self.painted = mesh.colours is not None
        self.attributes = (
            torch.from_numpy(np.ascontiguousarray(np.concatenate(parts, 1), np.float32))
            if parts
            else None
        )
        self.grey = self.attributes is None and material is None
        self._see_through(mesh)

    def _see_through(self, mesh: Mesh) -> None:
        """Decide whether anything is cut out or blended; of an opaque mesh no opacity is kept."""
        mode, least = self.material.alpha_mode, float(self.material.colour[3])
        texture = mesh.texture if self.texture is not None else None
        self.faded = mesh.colours is not None and mesh.colours.shape[1] == 4
        if texture is not None and texture.shape[2] == 4:
            least *= float(texture[..., 3].min()) / 255
        if self.faded and mesh.colours is not None and len(mesh.colours):
            least *= float(mesh.colours[:, 3].min())
        self.holes = mode == "MASK" and least < self.material.alpha_cutoff
        self.veils = mode == "BLEND" and least < 1
        if (self.holes or self.veils) and texture is not None and texture.shape[2] == 4:
            self.alpha = self._texels(texture[..., 3:])

    def _texels(self, picture: np.ndarray) -> torch.Tensor:
        texels = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        if self.finest and max(texels.shape[2:]) > self.finest:
            return F.interpolate(texels, (self.finest, self.finest), mode="area")
        return texels

    def colour(self, values: torch.Tensor | None) -> torch.Tensor:
        """Display RGB (N, 3) at interpolated attributes (N, A). Differentiable in the
        attributes."""
        if values is None:
            return self.factor
        factor = self.factor.to(values)
        first = 2 if self.mapped else 0
        if self.texture is None:
            return values[:, first : first + 3] * factor if self.painted else factor
        texel = look_up(self.texture, values[:, :2], self.material.sampler)
        if self.painted:
            texel = texel * values[:, first : first + 3]
        return texel * factor

    def opacity(self, values: torch.Tensor | None, blended: bool = True) -> torch.Tensor:
        """Opacity (N,) or () at interpolated attributes (N, A): 0 or 1 under an alpha mask, and 1
        of an opaque material, or where nothing is `blended`."""
        alpha = self.factor.new_tensor(self.material.colour[3])
        if values is not None:
            if self.alpha is not None:
                alpha = look_up(self.alpha, values[:, :2], self.material.sampler)[:, 0] * alpha
            if self.faded:
                alpha = values[:, -1] * alpha
        if self.holes:
            return (alpha >= self.material.alpha_cutoff).float()
        return alpha.clamp(0, 1) if self.veils and blended else torch.ones_like(alpha)

    def glow(self, values: torch.Tensor | None) -> torch.Tensor | None:
        """Display RGB (N, 3) or (3,) that the surface gives off by itself, added to what lights it;
        None where that is nothing."""
        if max(self.material.emission) <= 0:
            return None
        emission = np.asarray(self.material.emission, np.float32)
        if self.emissive is None or values is None:
            return torch.from_numpy(to_display(np.minimum(emission, 1)).astype(np.float32))
        texel = look_up(self.emissive, values[:, :2], self.material.sampler).numpy()
        return torch.from_numpy(
            to_display(np.minimum(to_linear(texel) * emission, 1)).astype(np.float32)
        )
