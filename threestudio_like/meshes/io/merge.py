"""Joins several meshes into one with vertex colours, for formats without textures."""

from __future__ import annotations

import numpy as np

from ..mesh import Asset, Mesh, Sampler


def vertex_colours(mesh: Mesh) -> np.ndarray | None:
    """Colours (V, 3 or 4) in [0, 1]: the mesh's own, times the texture at each vertex, times the
    material's; None if it has none of them."""
    textured = mesh.texture is not None and mesh.uv is not None
    if mesh.colours is None and mesh.material is None and not textured:
        return None
    width = 3 if mesh.colours is None else mesh.colours.shape[1]
    out = np.ones((len(mesh.vertices), width), np.float32)
    if mesh.material is not None:
        out[:, :3] = mesh.material.colour[:3]
    if mesh.colours is not None:
        out *= mesh.colours
    if textured:
        out[:, :3] *= _texture_colours(mesh)
    return out


def _texture_colours(mesh: Mesh) -> np.ndarray:
    """The texture (V, 3) at each vertex, looked up as the material's sampler says."""
    assert mesh.texture is not None
    assert mesh.uv is not None
    sampler = mesh.material.sampler if mesh.material is not None else Sampler()
    height, width = mesh.texture.shape[:2]
    u, v = _inside(mesh.uv[:, 0], sampler.wrap_u), _inside(mesh.uv[:, 1], sampler.wrap_v)
    t = mesh.texture[..., :3].astype(np.float32) / 255
    if sampler.nearest:
        rows = ((1 - v) * height).astype(int).clip(0, height - 1)
        return np.asarray(t[rows, (u * width).astype(int).clip(0, width - 1)])
    x = np.clip(u * width - 0.5, 0, width - 1)
    y = np.clip((1 - v) * height - 0.5, 0, height - 1)
    x0, y0 = (
        np.clip(x.astype(int), 0, max(0, width - 2)),
        np.clip(y.astype(int), 0, max(0, height - 2)),
    )
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper, lower = t[y0, x0] * (1 - fx) + t[y0, x1] * fx, t[y1, x0] * (1 - fx) + t[y1, x1] * fx
    out: np.ndarray = upper * (1 - fy) + lower * fy
    return out


def _inside(values: np.ndarray, wrap: str) -> np.ndarray:
    """Texture coordinates (V,) brought into [0, 1]; those that lie there stay as they are."""
    outside = (values < 0) | (values > 1)
    if wrap == "clamp" or not outside.any():
        return values.clip(0, 1)
    there = 1 - np.abs(1 - values % 2) if wrap == "mirror" else values - np.floor(values)
    return np.where(outside, there, values)


def joined(asset: Asset) -> Mesh:
    """All meshes as one with vertex colours."""
    meshes = list(asset.meshes.values())
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    colours = [vertex_colours(m) for m in meshes]
    whole = None
    if any(c is not None for c in colours):
        grey = [
            np.full((len(m.vertices), 3), 0.7, np.float32) if c is None else c
            for m, c in zip(meshes, colours)
        ]
        # Where one has an opacity, all have.
        width = max(c.shape[1] for c in grey)
        whole = np.concatenate(
            [np.pad(c, ((0, 0), (0, width - c.shape[1])), constant_values=1.0) for c in grey]
        )
    normals = [m.normals for m in meshes if m.normals is not None]
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
        colours=whole,
        normals=np.concatenate(normals) if len(normals) == len(meshes) else None,
    )
