"""Texture coordinates: whether a texture can be painted on those that a mesh has, and new ones
where it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..charts import charts
from ..mesh import Asset, Mesh
from .unwrap import overlap, unwrap

HAIR = 5e-3
"""Share of the texture by which coordinates may leave [0, 1]: rounding, not tiling."""
OVERLAP = 0.01
"""Largest share of texels that may be used twice in a proper atlas."""


@dataclass
class UvState:
    """The state of texture coordinates.

    present: whether there are any; flat: the share of the surface whose coordinates span no area (a
    palette: every face points at one colour); out_of_range: the share of vertices outside [0, 1]
    after charts that lie in other tiles were moved by whole numbers; shifted: whether any were;
    overlap: the share of texels that are used twice.
    """

    present: bool
    flat: float = 0.0
    out_of_range: float = 0.0
    overlap: float = 0.0
    shifted: bool = False

    @property
    def proper(self) -> bool:
        """Whether a texture can be painted on them, because every point of the surface has texels
        of its own."""
        return (
            self.present
            and self.flat <= 0.05
            and self.out_of_range == 0
            and self.overlap <= OVERLAP
        )

    def line(self) -> str:
        """One line for the user."""
        if not self.present:
            return "no texture coordinates"
        if self.flat > 0.05:
            return f"{self.flat:.0%} of the surface points at single texels (a palette)"
        if self.proper:
            return "a proper atlas"
        reasons = []
        if self.out_of_range:
            reasons.append(f"{self.out_of_range:.2g} of the coordinates outside [0, 1] (tiling)")
        if self.overlap > OVERLAP:
            reasons.append(f"{self.overlap:.0%} of the texels used twice")
        return ", ".join(reasons)


def settled(mesh: Mesh) -> tuple[np.ndarray, bool]:
    """Texture coordinates (V, 2) with every chart in the tile [0, 1] that it fits into, and whether
    any chart had to be moved, always by whole numbers. Charts larger than a tile stay where they
    are; what leaves a tile by a hair is clipped."""
    assert mesh.uv is not None
    uv = mesh.uv.astype(np.float64)
    if ((uv >= -HAIR) & (uv <= 1 + HAIR)).all():
        return uv.clip(0, 1).astype(np.float32), False
    chart = charts(mesh)
    vertex_chart = np.zeros(len(uv), np.int64)
    vertex_chart[mesh.faces] = chart[:, None]
    used = np.zeros(len(uv), bool)
    used[mesh.faces] = True
    count = int(chart.max()) + 1 if len(chart) else 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, vertex_chart[used], uv[used])
    np.maximum.at(high, vertex_chart[used], uv[used])
    shift = np.floor(low + HAIR)
    fits = (high - shift <= 1 + HAIR) & (low > -np.inf) & (low < np.inf)
    shift = np.where(fits.all(1, keepdims=True), shift, 0)
    uv = uv - shift[vertex_chart]
    near = (uv >= -HAIR) & (uv <= 1 + HAIR)
    return np.where(near, uv.clip(0, 1), uv).astype(np.float32), bool(shift.any())


def examine_uv(mesh: Mesh) -> UvState:
    """Examine the texture coordinates of a mesh."""
    if mesh.uv is None:
        return UvState(False)
    a, b, c = (mesh.uv[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    area = np.abs(
        (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    )
    real = surface_areas(mesh)
    flat = float(real[area <= 1e-12].sum() / max(real.sum(), 1e-30))
    if flat > 0.05:
        # All at one point: they were never set.
        return UvState(bool(np.ptp(mesh.uv[mesh.named()], axis=0).max() > 1e-9), flat)
    uv, shifted = settled(mesh)
    used = uv[mesh.named()]
    outside = float(((used < 0) | (used > 1)).any(1).mean())
    twice = 0.0 if outside else overlap(replace(mesh, uv=uv))
    return UvState(True, flat, outside, overlap=twice, shifted=shifted)


def surface_areas(mesh: Mesh) -> np.ndarray:
    """Twice the area (F,) of every face."""
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    return np.linalg.norm(
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
    )


def with_coordinates(
    asset: Asset,
    resolution: int,
    how: str = "auto",
    seconds: float = 20.0,
    padding: int = 3,
) -> tuple[Asset, dict[str, str]]:
    """The asset with texture coordinates on every mesh, and for each mesh a note of its state and
    of what was done. Instances of one mesh get the same coordinates.

    Args:
        how: "auto" keeps coordinates that are a proper atlas and replaces all others, "keep" makes
            new ones only for meshes without any, "always" makes new ones for all meshes.
        seconds: time limit of xatlas for each mesh, after which the fallback is used.
    """
    meshes, notes = {}, {}
    done: dict[int, tuple[Mesh, Mesh, str]] = {}
    for name, mesh in asset.meshes.items():
        mark = id(mesh.faces) if mesh.uv is None else id(mesh.uv)
        if mark in done:
            first, made, notes[name] = done[mark]
            meshes[name] = like(mesh, first, made)
            continue
        state = examine_uv(mesh)
        present = state.present and state.flat <= 0.05
        if how != "always" and (state.proper or (how == "keep" and present)):
            meshes[name], notes[name] = mesh, f"{state.line()}: kept"
        else:
            meshes[name], by = unwrap(mesh, resolution, seconds, padding=padding)
            notes[name] = f"{state.line()}: unwrapped by {by}"
        done[mark] = (mesh, meshes[name], notes[name])
    return asset.with_meshes(meshes), notes


def vertex_mapping(before: Mesh, after: Mesh) -> np.ndarray:
    """For every vertex of an unwrapped mesh, the vertex (V,) of the mesh that it was before."""
    assert after.origin is not None
    if before.origin is None:
        return after.origin
    # Vertices of `before` that copy the same vertex of a file are equal but for their corner; the
    # faces, whose order stays, tell them apart.
    mapping = np.zeros(len(after.vertices), np.int64)
    mapping[after.faces.reshape(-1)] = before.faces.reshape(-1)
    return mapping


def like(mesh: Mesh, first: Mesh, made: Mesh) -> Mesh:
    """An instance of `first` with the coordinates that `made` has of it."""
    if made is first:
        return mesh
    mapping = vertex_mapping(first, made)
    mirrored = not np.array_equal(mesh.faces, first.faces)
    return replace(
        mesh,
        vertices=mesh.vertices[mapping],
        faces=np.ascontiguousarray(made.faces[:, ::-1]) if mirrored else made.faces,
        uv=made.uv,
        texture=None,
        colours=None if mesh.colours is None else mesh.colours[mapping],
        normals=None if mesh.normals is None else mesh.normals[mapping],
        origin=mapping if mesh.origin is None else mesh.origin[mapping],
        relaid=made.relaid,
    )
