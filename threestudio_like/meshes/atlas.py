"""One square atlas for all meshes of an asset: each proper set of texture coordinates is a tile,
whose texels are cut out again exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .bake import fill_gaps
from .merge import vertex_colours
from .mesh import Asset, Mesh
from .unwrap import overlap, unwrap

OUT_OF_RANGE = 1e-4
"""How far texture coordinates may leave [0, 1]."""
OVERLAP = 0.01
"""Share of texels that two places may share in a proper atlas."""
GUTTER = 2
"""Texels around every tile, so that neighbours do not bleed into each other."""


@dataclass
class UvState:
    """What texture coordinates are like: whether there are any, the share of vertices outside [0,
    1], the share of doubly used texels."""

    present: bool
    out_of_range: float = 0.0
    overlap: float = 0.0

    @property
    def proper(self) -> bool:
        """Whether a texture can be painted on them: every place has texels of its own."""
        return self.present and self.out_of_range == 0 and self.overlap <= OVERLAP

    def line(self) -> str:
        """One line for the user."""
        if not self.present:
            return "no texture coordinates"
        if self.proper:
            return "a proper atlas"
        return f"{self.out_of_range:.0%} of the coordinates outside [0, 1], {self.overlap:.0%} of the texels used twice"


def examine_uv(mesh: Mesh) -> UvState:
    """The state of a mesh's texture coordinates."""
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
        # Faces with surface and without texels: coordinates that were never made.
        return UvState(False)
    return UvState(True, outside, 0.0 if outside else overlap(mesh))


@dataclass
class Atlas:
    """The joint atlas of an asset.

    mesh: all meshes as one, texture coordinates in the joint atlas; part (F,) the mesh of every
        face, by position; tiles: tile of every
    mesh; side: tiles along an edge; tile: texels along a tile's edge.
    """

    mesh: Mesh
    part: np.ndarray
    names: list[str]
    tiles: list[int]
    side: int
    tile: int

    @property
    def resolution(self) -> int:
        """Texels along the joint atlas' edge."""
        return self.side * self.cell

    @property
    def cell(self) -> int:
        """Texels from one tile to the next."""
        return self.tile + (2 * GUTTER if self.side > 1 else 0)

    def corner(self, tile: int) -> tuple[int, int]:
        """First row and column of a tile's texels."""
        margin = (self.cell - self.tile) // 2
        return (tile // self.side) * self.cell + margin, (tile % self.side) * self.cell + margin

    def cut(self, texture: np.ndarray) -> list[np.ndarray]:
        """The texture (R, R, C) of every tile (tile, tile, C), in the order of the tiles."""
        out = []
        for number in range(max(self.tiles) + 1):
            row, column = self.corner(number)
            out.append(
                np.ascontiguousarray(texture[row : row + self.tile, column : column + self.tile])
            )
        return out


def join_atlas(asset: Asset, resolution: int) -> Atlas:
    """The joint atlas of an asset whose meshes all have texture coordinates; at most `resolution`
    texels along its edge.

    Meshes of one material share a tile when their coordinates do not overlap.
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
    """The asset with texture coordinates on every mesh, and for each mesh what was found and done.

    Args:
        how: "auto" keeps coordinates that are a proper atlas and makes new ones elsewhere, "keep"
            makes new ones only where there are none, "always" makes all anew.
        seconds: time limit of xatlas for each mesh before the fallback.
    """
    meshes, notes = {}, {}
    for name, mesh in asset.meshes.items():
        state = examine_uv(mesh)
        if how != "always" and (state.proper or (how == "keep" and state.present)):
            meshes[name], notes[name] = mesh, f"{state.line()}: kept"
            continue
        meshes[name], made = unwrap(mesh, resolution, seconds, padding)
        notes[name] = f"{state.line()}: unwrapped by {made}"
    return Asset(meshes, asset.provenance), notes


def paint_tiles(asset: Asset, atlas: Atlas, textures: list[np.ndarray]) -> Asset:
    """The asset with the textures (tile, tile, 3) uint8 of its atlas' tiles; materials shared
    before are shared again."""
    meshes = {}
    for name, mesh, tile in zip(asset.meshes, asset.meshes.values(), atlas.tiles):
        meshes[name] = replace(mesh, texture=textures[tile])
    return Asset(meshes, asset.provenance)


def flat_texture(asset: Asset, resolution: int = 1024) -> Mesh:
    """The whole asset as one mesh with one texture: what a viewer of one texture can show. Colours
    without texture fill their tile."""
    whole = Asset(
        {
            k: m
            if m.uv is not None
            else replace(m, uv=np.full((len(m.vertices), 2), 0.5, np.float32))
            for k, m in asset.meshes.items()
        }
    )
    atlas = join_atlas(
        Asset({k: replace(m, material=None) for k, m in whole.meshes.items()}), resolution
    )
    picture = np.full((atlas.resolution, atlas.resolution, 3), 190, np.uint8)
    known = np.zeros(picture.shape[:2], bool)
    for mesh, tile in zip(whole.meshes.values(), atlas.tiles):
        row, column = atlas.corner(tile)
        rows, columns = slice(row, row + atlas.tile), slice(column, column + atlas.tile)
        factor = np.ones(3) if mesh.material is None else np.array(mesh.material.colour[:3])
        if mesh.texture is not None:
            at = (np.arange(atlas.tile) * mesh.texture.shape[0]) // atlas.tile
            across = (np.arange(atlas.tile) * mesh.texture.shape[1]) // atlas.tile
            picture[rows, columns] = np.rint(mesh.texture[at][:, across, :3] * factor)
        else:
            colours = vertex_colours(mesh)
            picture[rows, columns] = 190 if colours is None else np.rint(colours.mean(0) * 255)
        known[rows, columns] = True
    return replace(atlas.mesh, texture=fill_gaps(picture, known))
