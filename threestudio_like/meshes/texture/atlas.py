"""One square atlas for all meshes of an asset. Each proper set of texture coordinates is a tile,
whose texels can be cut out again exactly; tiles are as large as the surface that they cover."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from ..mesh import Asset, Mesh
from .coordinates import examine_uv, settled, surface_areas

GUTTER = 2
"""Number of texels around every tile, so that neighbours do not bleed into each other."""
COARSE = 0.3
"""Edge of a tile of a mesh that is not painted, in parts of what it would be."""
SMALLEST = 16
"""Texels along the edge of the smallest tile."""


@dataclass(frozen=True)
class Tile:
    """The place of a tile in the atlas: its first row, its first column, and the texels along its
    edge."""

    row: int
    column: int
    size: int

    @property
    def rows(self) -> slice:
        """Its rows of the atlas."""
        return slice(self.row, self.row + self.size)

    @property
    def columns(self) -> slice:
        """Its columns of the atlas."""
        return slice(self.column, self.column + self.size)


@dataclass
class Atlas:
    """The joint atlas of an asset.

    mesh: all meshes as one, with texture coordinates in the joint atlas; part (F,): the number of
    the mesh that each face belongs to; names: of the meshes; tiles: the number of the tile of every
    mesh; places: of the tiles; resolution: texels along the edge of the atlas.
    """

    mesh: Mesh
    part: np.ndarray
    names: list[str]
    tiles: list[int]
    places: list[Tile]
    resolution: int

    def tile_of(self, name: str) -> Tile:
        """The tile of a mesh."""
        return self.places[self.tiles[self.names.index(name)]]

    def cut(self, texture: np.ndarray) -> list[np.ndarray]:
        """Cut a texture (R, R, C) into its tiles (size, size, C), in their order."""
        return [np.ascontiguousarray(texture[t.rows, t.columns]) for t in self.places]


def join_atlas(asset: Asset, resolution: int, still: Collection[str] = ()) -> Atlas:
    """The joint atlas of an asset whose meshes all have texture coordinates, with `resolution`
    texels along its edge.

    Instances of one mesh share a tile, and so do meshes of one material if their coordinates do not
    overlap. A tile alone fills the atlas; several share it so that texels are about equally dense
    on the surface.

    Args:
        still: names of meshes that nobody paints; their texels may be larger.
    """
    names, meshes = list(asset.meshes), list(asset.meshes.values())
    settled_uv = [settled(m)[0] for m in meshes]
    groups, tiles = _groups(meshes, settled_uv)
    weights = [_weight([meshes[i] for i in g], [settled_uv[i] for i in g]) for g in groups]
    weights = [
        weight * (COARSE if all(names[i] in still for i in group) else 1.0)
        for weight, group in zip(weights, groups)
    ]
    places = pack(weights, resolution)
    whole = _stack(meshes)
    moved = []
    for uv, number in zip(settled_uv, tiles):
        tile = places[number]
        # Row 0 is v = 1.
        low = np.array([tile.column, resolution - tile.row - tile.size], np.float64)
        moved.append((uv.astype(np.float64) * tile.size + low) / resolution)
    if len(places) > 1:
        whole.uv = np.concatenate(moved).astype(np.float32)
    else:
        whole.uv = np.concatenate(settled_uv)
    part = np.repeat(np.arange(len(meshes)), [len(m.faces) for m in meshes])
    return Atlas(whole, part, names, tiles=tiles, places=places, resolution=resolution)


def _groups(meshes: list[Mesh], settled_uv: list[np.ndarray]) -> tuple[list[list[int]], list[int]]:
    """The meshes (their numbers) that count for each tile, and the tile of every mesh."""
    tiles: list[int] = []
    groups: list[list[int]] = []
    by_material: dict[int, int] = {}
    by_instance: dict[tuple[int, int], int] = {}
    for number, mesh in enumerate(meshes):
        mark = id(mesh.material) if mesh.material is not None else -1 - number
        instance = (id(mesh.uv), mark)
        if instance in by_instance:
            tiles.append(by_instance[instance])
            continue
        tile = by_material.get(mark)
        if tile is not None:
            stacked = _stack([*(meshes[i] for i in groups[tile]), mesh])
            stacked.uv = np.concatenate([settled_uv[i] for i in [*groups[tile], number]])
            if not examine_uv(stacked).proper:
                tile = None
        if tile is None:
            tile = len(groups)
            groups.append([])
            by_material[mark] = tile
        groups[tile].append(number)
        by_instance[instance] = tile
        tiles.append(tile)
    return groups, tiles


def _weight(meshes: list[Mesh], settled_uv: list[np.ndarray]) -> float:
    """The edge that a tile must have, up to a common factor, for its texels to be as dense on the
    surface as those of others."""
    surface = sum(float(surface_areas(m).sum()) for m in meshes)
    covered = 0.0
    for mesh, uv in zip(meshes, settled_uv):
        a, b, c = (uv[mesh.faces[:, i]].astype(np.float64) for i in range(3))
        u, v = b - a, c - a
        covered += float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum())
    return float(np.sqrt(surface / max(covered, 1e-6)))


def pack(weights: list[float], resolution: int) -> list[Tile]:
    """Square tiles with edges in proportion to `weights`, as large as shelves of them fit into an
    atlas of `resolution` texels. None is smaller than a sixteenth of the largest."""
    if len(weights) == 1:
        return [Tile(0, 0, resolution)]
    share = np.array(weights) / max(weights)
    share = share.clip(1 / 16, 1)
    low, high = 0, resolution
    best: list[Tile] = []
    while low <= high:
        middle = (low + high) // 2
        placed = _shelves(np.maximum(SMALLEST, np.round(share * middle)).astype(int), resolution)
        if placed is None:
            high = middle - 1
        else:
            best, low = placed, middle + 1
    if not best:
        # More tiles than the smallest ones have room for.
        side = int(np.ceil(np.sqrt(len(weights))))
        cell = max(1 + 2 * GUTTER, resolution // side)
        best = [
            Tile(n // side * cell + GUTTER, n % side * cell + GUTTER, max(1, cell - 2 * GUTTER))
            for n in range(len(weights))
        ]
    return best


def _shelves(sizes: np.ndarray, resolution: int) -> list[Tile] | None:
    """Place squares, the largest first, in rows as high as their first; None if they do not fit."""
    placed: dict[int, Tile] = {}
    row = column = height = 0
    for number in np.argsort(-sizes, kind="stable").tolist():
        cell = int(sizes[number]) + 2 * GUTTER
        if column + cell > resolution:
            row, column, height = row + height, 0, 0
        if row + cell > resolution or cell > resolution:
            return None
        placed[number] = Tile(row + GUTTER, column + GUTTER, int(sizes[number]))
        column, height = column + cell, max(height, cell)
    return [placed[n] for n in range(len(sizes))]


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


def paint_tiles(asset: Asset, atlas: Atlas, textures: list[np.ndarray]) -> Asset:
    """The asset with the textures (size, size, 3) uint8 of its atlas' tiles; meshes that shared a
    material share it again."""
    return asset.with_meshes(
        {
            name: replace(mesh, texture=textures[tile])
            for name, mesh, tile in zip(asset.meshes, asset.meshes.values(), atlas.tiles)
        }
    )
