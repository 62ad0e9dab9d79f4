"""One square atlas for all meshes of an asset. Each proper set of texture coordinates is a tile,
whose texels can be cut out again exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .mesh import Asset, Mesh
from .unwrap import overlap, unwrap

OUT_OF_RANGE = 1e-4
"""Largest distance by which texture coordinates may leave [0, 1]."""
OVERLAP = 0.01
"""Largest share of texels that may be used twice in a proper atlas."""
GUTTER = 2
"""Number of texels around every tile, so that neighbours do not bleed into each other."""


@dataclass
class UvState:
    """The state of texture coordinates: whether there are any, the share of vertices outside [0,
    1], and the share of texels that are used twice."""

    present: bool
    out_of_range: float = 0.0
    overlap: float = 0.0

    @property
    def proper(self) -> bool:
        """Whether a texture can be painted on them, because every point of the surface has texels
        of its own."""
        return self.present and self.out_of_range == 0 and self.overlap <= OVERLAP

    def line(self) -> str:
        """One line for the user."""
        if not self.present:
            return "no texture coordinates"
        if self.proper:
            return "a proper atlas"
        return (
            f"{self.out_of_range:.0%} of the coordinates outside [0, 1], {self.overlap:.0%} of "
            "the texels used twice"
        )


def examine_uv(mesh: Mesh) -> UvState:
    """Examine the texture coordinates of a mesh."""
    if mesh.uv is None:
        return UvState(False)
    used = mesh.uv[np.unique(mesh.faces)]
    outside = float(((used < -OUT_OF_RANGE) | (used > 1 + OUT_OF_RANGE)).any(1).mean())
    a, b, c = (mesh.uv[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    area = np.abs(
        (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    )
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    real = np.linalg.norm(
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
    )
    if real[area <= 1e-12].sum() > 0.05 * max(real.sum(), 1e-30):
        # Faces with an area but without texels have texture coordinates that were never set.
        return UvState(False)
    return UvState(True, outside, 0.0 if outside else overlap(mesh))


@dataclass
class Atlas:
    """The joint atlas of an asset.

    mesh: all meshes as one, with texture coordinates in the joint atlas; part (F,): the number of
    the mesh that each face belongs to; tiles: the tile of every mesh; side: number of tiles along
    an edge; tile: texels along the edge of a tile.
    """

    mesh: Mesh
    part: np.ndarray
    names: list[str]
    tiles: list[int]
    side: int
    tile: int

    @property
    def resolution(self) -> int:
        """Texels along the edge of the joint atlas."""
        return self.side * self.cell

    @property
    def cell(self) -> int:
        """Distance in texels from one tile to the next."""
        return self.tile + (2 * GUTTER if self.side > 1 else 0)

    def corner(self, tile: int) -> tuple[int, int]:
        """First row and first column of a tile's texels."""
        margin = (self.cell - self.tile) // 2
        return (tile // self.side) * self.cell + margin, (tile % self.side) * self.cell + margin

    def cut(self, texture: np.ndarray) -> list[np.ndarray]:
        """Cut a texture (R, R, C) into its tiles (tile, tile, C), in their order."""
        out = []
        for number in range(max(self.tiles) + 1):
            row, column = self.corner(number)
            out.append(
                np.ascontiguousarray(texture[row : row + self.tile, column : column + self.tile])
            )
        return out


def join_atlas(asset: Asset, resolution: int) -> Atlas:
    """The joint atlas of an asset whose meshes all have texture coordinates, with at most
    `resolution` texels along its edge.

    Meshes of one material share a tile if their coordinates do not overlap.
    """
    names, meshes = list(asset.meshes), list(asset.meshes.values())
    tiles: list[int] = []
    groups: dict[int, list[int]] = {}
    by_material: dict[int, int] = {}
    for number, mesh in enumerate(meshes):
        mark = id(mesh.material) if mesh.material is not None else -1 - number
        tile = by_material.get(mark)
        if (
            tile is not None
            and not examine_uv(_stack([meshes[i] for i in groups[tile]] + [mesh])).proper
        ):
            tile = None
        if tile is None:
            tile = len(groups)
            groups[tile] = []
            by_material[mark] = tile
        groups[tile].append(number)
        tiles.append(tile)
    side = math.ceil(math.sqrt(len(groups)))
    size = resolution if side == 1 else max(16, resolution // side - 2 * GUTTER)
    atlas = Atlas(
        _stack(meshes),
        np.repeat(np.arange(len(meshes)), [len(m.faces) for m in meshes]),
        names,
        tiles,
        side,
        size,
    )
    moved = []
    for mesh, tile in zip(meshes, tiles):
        assert mesh.uv is not None
        row, column = atlas.corner(tile)
        # Row 0 is v = 1.
        low = np.array([column, atlas.resolution - row - size], np.float64)
        moved.append((mesh.uv.astype(np.float64) * size + low) / atlas.resolution)
    if side > 1:
        atlas.mesh.uv = np.concatenate(moved).astype(np.float32)
    return atlas


def _stack(meshes: list[Mesh]) -> Mesh:
    """Geometry, normals and texture coordinates of several meshes as one."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    normals = [(m if m.normals is not None else m.with_normals()).normals for m in meshes]
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
        np.concatenate(
            [
                m.uv if m.uv is not None else np.zeros((len(m.vertices), 2), np.float32)
                for m in meshes
            ]
        ),
        normals=np.concatenate([n for n in normals if n is not None]),
    )


def with_coordinates(
    asset: Asset, resolution: int, how: str = "auto", seconds: float = 20.0, padding: int = 3
) -> tuple[Asset, dict[str, str]]:
    """The asset with texture coordinates on every mesh, and for each mesh a note of its state and
    of what was done.

    Args:
        how: "auto" keeps coordinates that are a proper atlas and replaces all others, "keep" makes
            new ones only for meshes without any, "always" makes new ones for all meshes.
        seconds: time limit of xatlas for each mesh, after which the fallback is used.
    """
    meshes, notes = {}, {}
    for name, mesh in asset.meshes.items():
        state = examine_uv(mesh)
        if how != "always" and (state.proper or (how == "keep" and state.present)):
            meshes[name], notes[name] = mesh, f"{state.line()}: kept"
            continue
        meshes[name], made = unwrap(mesh, resolution, seconds, padding)
        notes[name] = f"{state.line()}: unwrapped by {made}"
    return asset.with_meshes(meshes), notes


def paint_tiles(asset: Asset, atlas: Atlas, textures: list[np.ndarray]) -> Asset:
    """The asset with the textures (tile, tile, 3) uint8 of its atlas' tiles; meshes that shared a
    material share it again."""
    meshes = {}
    for name, mesh, tile in zip(asset.meshes, asset.meshes.values(), atlas.tiles):
        meshes[name] = replace(mesh, texture=textures[tile])
    return asset.with_meshes(meshes)
