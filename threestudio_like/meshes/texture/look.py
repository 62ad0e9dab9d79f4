"""What a mesh looks like now, laid out on texture coordinates that may be others than its own: the
rebaking of a re-unwrapped mesh, and the start of a painting."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...kernels import interpolate
from ..material import Sampler
from ..mesh import Mesh
from .bake import atlas_raster, fill_gaps
from .coordinates import settled, vertex_mapping


def sample(
    texture: np.ndarray, uv: np.ndarray, sampler: Sampler, nearest: bool = False
) -> np.ndarray:
    """Look a texture (H, W, C) uint8 up at coordinates (N, 2), v upwards; returns (N, C) float32 in
    [0, 255].

    Args:
        nearest: take the texel that a point lies in, bit for bit, whatever the sampler says.
    """
    height, width = texture.shape[:2]
    x = uv[:, 0].astype(np.float64) * width
    y = (1 - uv[:, 1].astype(np.float64)) * height
    if nearest or sampler.nearest:
        columns = _wrapped(np.floor(x).astype(np.int64), width, sampler.wrap_u)
        rows = _wrapped(np.floor(y).astype(np.int64), height, sampler.wrap_v)
        return texture[rows, columns].astype(np.float32)
    x, y = x - 0.5, y - 0.5
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    left, right = (_wrapped(c, width, sampler.wrap_u) for c in (x0, x0 + 1))
    upper, lower = (_wrapped(r, height, sampler.wrap_v) for r in (y0, y0 + 1))
    table = texture.astype(np.float32)
    top = table[upper, left] * (1 - fx) + table[upper, right] * fx
    bottom = table[lower, left] * (1 - fx) + table[lower, right] * fx
    return (top * (1 - fy) + bottom * fy).astype(np.float32)


def _wrapped(index: np.ndarray, size: int, mode: str) -> np.ndarray:
    if mode == "clamp":
        return index.clip(0, size - 1)
    if mode == "mirror":
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    return index % size


def lost_normal_map(material: str) -> str:
    """The note that new texture coordinates have other axes than a normal map."""
    return f'the normal map of "{material}" does not fit the new layout'


class TexelPlaces:
    """Where the texels of a mesh's layout lie on the mesh as it was before.

    Args:
        before: the mesh as it was read. after: the same, with the texture coordinates of the
            layout. size: texels along the edge of the layout.
    """

    def __init__(self, before: Mesh, after: Mesh, size: int) -> None:
        self.before, self.size = before, size
        self.kept = after.uv is before.uv or (
            after.uv is not None and before.uv is not None and np.array_equal(after.uv, before.uv)
        )
        uv = settled(after)[0]
        self.raster = atlas_raster(Mesh(after.vertices, after.faces, uv), size)
        self.known = (self.raster[..., 3] > 0).numpy()
        self._faces = torch.from_numpy(after.faces)
        same = self.kept or after is before
        self._mapping = None if same else vertex_mapping(before, after)
        self._count = len(after.vertices)

    def at(self, attributes: np.ndarray) -> np.ndarray:
        """Vertex attributes (V, C) of the mesh as it was, at the texels inside charts (N, C)."""
        table = attributes if self._mapping is None else attributes[self._mapping]
        values = torch.from_numpy(np.ascontiguousarray(table, np.float32))
        found = interpolate(values, self._faces, self.raster)[self.raster[..., 3] > 0]
        return np.asarray(found.numpy())

    def rebaked(self, texture: np.ndarray, nearest: bool = False) -> np.ndarray:
        """A picture (H, W, C) uint8 over the old coordinates, laid out on the new ones (S, S, C)
        float32 in [0, 255]; gaps between charts are filled. On coordinates that were kept this is
        the picture itself, resized if its size differs."""
        if self.kept:
            return resized(texture, self.size, self.size, nearest=nearest)
        assert self.before.uv is not None
        sampler = self.before.material.sampler if self.before.material is not None else Sampler()
        uv = self.at(self.before.uv)
        if not nearest and not sampler.nearest:
            texture = self._prefiltered(texture)
        out = np.zeros((self.size, self.size, texture.shape[2]), np.float32)
        out[self.known] = sample(texture, uv, sampler, nearest=nearest)
        return fill_gaps(out, self.known)

    def _prefiltered(self, texture: np.ndarray) -> np.ndarray:
        """A picture made smaller where the layout has fewer texels for the same surface."""
        assert self.before.uv is not None
        faces = self.before.faces
        a, b, c = (self.before.uv[faces[:, k]].astype(np.float64) for k in range(3))
        u, v = b - a, c - a
        old = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2
        texels = old * texture.shape[0] * texture.shape[1]
        ratio = float(np.sqrt(texels / max(1, int(self.known.sum()))))
        if ratio < 1.5:
            return texture
        height, width = (max(1, round(n / ratio)) for n in texture.shape[:2])
        return np.rint(resized(texture, height, width)).astype(np.uint8)

    def look(self) -> np.ndarray:
        """Base colour and opacity (S, S, 4) float32 in [0, 1] as the mesh has them now: texture
        times vertex colours times the material's colour; mid grey where it has none of them."""
        mesh, size = self.before, self.size
        out = np.ones((size, size, 4), np.float32)
        if mesh.texture is None and mesh.colours is None and mesh.material is None:
            out[..., :3] = 0.5
            return out
        if mesh.texture is not None and mesh.uv is not None:
            channels = mesh.texture.shape[2]
            out[..., :channels] *= self.rebaked(mesh.texture) / 255
        if mesh.colours is not None:
            channels = mesh.colours.shape[1]
            values = np.ones((size, size, channels), np.float32)
            values[self.known] = self.at(mesh.colours)
            out[..., :channels] *= fill_gaps(values, self.known)
        if mesh.material is not None:
            out *= np.array(mesh.material.colour, np.float32)
        return out

    def plain(self) -> bool:
        """Whether the look is the texture alone, unchanged by colours."""
        mesh = self.before
        white = mesh.material is None or min(mesh.material.colour[:3]) > 1 - 1e-6
        return mesh.texture is not None and mesh.colours is None and white


def resized(picture: np.ndarray, height: int, width: int, nearest: bool = False) -> np.ndarray:
    """A picture (H, W, C) uint8 at another size, float32 in [0, 255]; the picture itself at its
    own."""
    if picture.shape[:2] == (height, width):
        return picture.astype(np.float32)
    planes = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    if nearest:
        out = F.interpolate(planes, (height, width), mode="nearest")
    else:
        out = F.interpolate(
            planes, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
    return np.asarray(out[0].permute(1, 2, 0).numpy())
