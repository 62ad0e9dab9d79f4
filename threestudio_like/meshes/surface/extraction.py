"""Extraction of a mesh from a density volume: choice of the iso level by silhouettes, removal of
floaters, smoothing and decimation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, label
from skimage.measure import marching_cubes

from ...engine.errors import ConfigError, ExportError
from ...engine.schema.bounds import FEWEST_FACES, Count, Number, SurfaceGrid, Weight
from ...kernels import rasterize
from ..mesh import Mesh
from .fidelity import curved_volume, keeping_blur, match_volume, return_to, settle
from .smoothing import flatten, relax


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How a mesh is extracted from a volume."""

    size: SurfaceGrid = 112
    """Number of grid points along an edge."""
    faces: Count = 16000
    """Largest number of faces after decimation; 0 keeps all."""
    blur: Weight = 1.1
    """Standard deviation, in grid cells, of the Gaussian that smooths the volume without shrinking
    it (`keeping_blur`)."""
    relax: Count = 14
    """Iterations of Taubin smoothing."""
    flatten: Count = 40
    """Iterations of the bilateral filter of normals."""
    pieces: Number = 1
    """Number of connected pieces to keep, largest first."""

    def __post_init__(self) -> None:
        if 0 < self.faces < FEWEST_FACES:
            raise ConfigError(
                f'"faces" must be 0 (keep all) or at least {FEWEST_FACES}, got {self.faces}',
                "extraction.faces",
            )


PER_POINT, BESIDE = 110.0, 256 << 20
"""Bytes of main memory that an extraction takes a grid point, and beside (measured from 112 to 320
points an edge, of smooth and of rough fields: 300 MB for 112, 3.1 GB for 320)."""
LEVELS = np.array([0.06, 0.1, 0.16, 0.24, 0.33, 0.42, 0.5, 0.6, 0.7, 0.82, 0.91, 0.97, 0.99, 0.999])
"""Levels of opaqueness at which a surface is looked for."""


def extraction_bytes(size: int) -> int:
    """Main memory that an extraction from `size`^3 points takes at most, in bytes."""
    return int(PER_POINT * size**3) + BESIDE


def silhouette(mesh: Mesh, view_projection: np.ndarray, size: int) -> np.ndarray:
    """Boolean silhouettes (B, size, size) for cameras (B, 4, 4)."""
    homogeneous = torch.from_numpy(
        np.concatenate([mesh.vertices, np.ones((len(mesh.vertices), 1), np.float32)], 1)
    )
    faces = torch.from_numpy(mesh.faces)
    masks = [
        rasterize(homogeneous @ torch.from_numpy(m).T, faces, size, width=size)[..., 3] > 0
        for m in view_projection
    ]
    return torch.stack(masks).numpy()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boolean arrays; 1 for two empty ones."""
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0


def isosurface(volume: np.ndarray, level: float) -> Mesh | None:
    """Marching cubes of a volume (D, H, W) with axes z, y, x over [-1, 1]^3, closed at the border.

    Returns None if nothing is above `level`.
    """
    padded = np.pad(volume, 1)
    if not padded.min() < level < padded.max():
        return None
    size = volume.shape[0]
    points, faces, _, _ = marching_cubes(padded, level)
    points = (points - 1) / (size - 1) * 2 - 1
    mesh = Mesh(
        np.ascontiguousarray(points[:, ::-1], np.float32), np.ascontiguousarray(faces, np.int32)
    )
    return (
        mesh if mesh.volume > 0 else Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]))
    )


def opaqueness(density: np.ndarray, length: float) -> np.ndarray:
    """1 - exp(-density length), in [0, 1]: a volume whose level sets are smooth even where the
    density is steep."""
    return -np.expm1(-np.minimum(density * length, 60.0))


def choose_level(
    volume: np.ndarray,
    view_projection: np.ndarray,
    opacity: np.ndarray,
    levels: np.ndarray | None = None,
) -> tuple[float, float]:
    """The iso level of opaqueness whose silhouettes agree best with the rendered opacity of the
    volume, and between two of them the one whose silhouettes are as large. No ground truth is
    needed.

    Args:
        volume: (D, H, W).
        view_projection: (B, 4, 4).
        opacity: (B, S, S) in [0, 1].

    Returns:
        (level, IoU).

    Raises:
        ExportError: no level gives a surface.
    """
    levels = LEVELS if levels is None else levels
    wanted = opacity > 0.5
    if not wanted.any():
        raise ExportError(
            "the volume is empty, so there is no surface to extract",
            "export",
            "Run more steps, or see the watchdog's events",
        )
    coarse = volume[::2, ::2, ::2] if volume.shape[0] % 2 else volume

    def seen(level: float) -> tuple[float, float]:
        """IoU of the silhouettes at a level, and how much larger they are than wanted."""
        mesh = isosurface(coarse, level)
        if mesh is None:
            return -1.0, -1.0
        masks = silhouette(mesh, view_projection, opacity.shape[1])
        return iou(masks, wanted), float(masks.sum() / wanted.sum()) - 1

    scores = [seen(float(level)) for level in levels]
    best = max(range(len(levels)), key=lambda k: scores[k][0])
    if scores[best][0] < 0:
        raise ExportError(
            "no iso level gives a surface", "export", "Run more steps, or see the watchdog's events"
        )
    level, score = float(levels[best]), scores[best][0]
    # Between the best level and its neighbour on the other side, where the areas are equal.
    other = best + (1 if scores[best][1] > 0 else -1)
    if 0 <= other < len(levels) and scores[best][1] * scores[other][1] < 0 <= scores[other][0]:
        share = scores[best][1] / (scores[best][1] - scores[other][1])
        one, two = (np.log(-np.log1p(-levels[k])) for k in (best, other))
        between = float(-np.expm1(-np.exp(one + share * (two - one))))
        refined = seen(between)[0]
        if refined >= score:
            level, score = between, refined
    return level, score


def bridge(
    volume: np.ndarray, level: float, reach: float = 10.0, smallest: float = 0.01
) -> np.ndarray:
    """The volume with pieces above `level` joined to the largest piece where fainter matter lies
    between them.

    A seam with the colour of the background can separate a stem from its crown. Along the shortest
    path of at most `reach` cells, values above a quarter of the level are raised above it. Pieces
    with less than `smallest` of the largest piece's cells are left alone.
    """
    labels, count = label(volume > level)
    if count < 2:
        return volume
    cells = np.bincount(labels.ravel())
    cells[0] = 0
    order = np.argsort(-cells)
    main, joined = labels == order[0], volume.copy()
    for piece in order[1:count]:
        if cells[piece] < smallest * cells[order[0]]:
            break
        other = labels == piece
        to_main, to_other = distance_transform_edt(~main), distance_transform_edt(~other)
        gap = to_main[other].min()
        if gap <= reach:
            between = (to_main + to_other <= gap + 2) & (volume > 0.25 * level)
            joined[between] = np.maximum(joined[between], 1.5 * level)
            main |= other
    return joined


def solidify(volume: np.ndarray, level: float, reach: float = 2.0) -> np.ndarray:
    """The volume with hollows filled, because a skin with a pinhole would otherwise have an inner
    surface too.

    A hollow is a space that a ball of `reach` cells fits into but cannot leave; narrow slits and
    wide openings are not hollows.
    """
    margin = int(reach) + 2
    empty = np.pad(volume <= level, margin, constant_values=True)
    rooms, _ = label(distance_transform_edt(empty) > reach)
    hollow = (rooms > 0) & (rooms != rooms[0, 0, 0])
    if not hollow.any():
        return volume
    filled = empty & (distance_transform_edt(~hollow) <= reach + 1.5)
    return np.where(filled[margin:-margin, margin:-margin, margin:-margin], volume.max(), volume)


def largest_pieces(mesh: Mesh, count: int, smallest: float = 0.02) -> Mesh:
    """The `count` connected pieces of largest volume that have at least `smallest` of the largest
    piece's volume."""
    label = mesh.components()
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    per_face = np.einsum("ij,ij->i", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6
    volumes = np.bincount(label, weights=per_face)
    order = np.argsort(-volumes)[:count]
    order = order[volumes[order] >= smallest * volumes[order[0]]]
    return mesh.keep_faces(np.isin(label, order))


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Quadric decimation to about `faces` triangles; a mesh that is small enough is returned as it
    is."""
    if faces <= 0 or len(mesh.faces) <= faces:
        return mesh
    import fast_simplification

    points, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
    keep = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 0] != triangles[:, 2])
    )
    return Mesh(
        np.ascontiguousarray(points, np.float32), np.ascontiguousarray(triangles[keep], np.int32)
    )


def extract(
    density: np.ndarray,
    view_projection: np.ndarray,
    opacity: np.ndarray,
    config: ExtractionConfig,
    density_at: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Mesh, dict[str, float]]:
    """Extract a mesh from a density volume (D, H, W) per scene unit.

    The surface is smoothed as the configuration says, and then has the volume of the surface that
    was not: the level set of the field itself.

    Args:
        view_projection, opacity: (B, 4, 4) and (B, S, S), of views of the field.
        density_at: the field's densities (N,) at points (N, 3), which tell where between two grid
            points the surface lies; without them it is interpolated.

    Returns:
        The mesh, and the figures level, agreement of silhouettes, pieces, faces, and the share of
        the volume that smoothing took and got back.
    """
    length = 4.0 / density.shape[0]
    level, agreement = choose_level(opaqueness(density, length), view_projection, opacity)
    # A volume that is above one half where the density is above the level's, and steep there.
    least = -np.log1p(-level) / length
    solid = 1 / (1 + (least / np.maximum(density, 1e-9)) ** 2)
    mesh = _level_set(keeping_blur(solid, config.blur), config)
    whole = _level_set(solid, config)
    if mesh is None or whole is None:
        raise ExportError(
            "no iso level gives a surface", "export", "Run more steps, or see the watchdog's events"
        )
    if density_at is not None:
        whole = settle(whole, solid, 0.5, lambda points: density_at(points) > least)
    pieces = int(mesh.components().max()) + 1
    whole = largest_pieces(whole, config.pieces)
    mesh = whole if config.blur <= 0 else largest_pieces(mesh, config.pieces)
    mesh = relax(mesh, config.relax)
    mesh = flatten(decimate(mesh, config.faces), config.flatten)
    mesh = largest_pieces(mesh, config.pieces, 0.0) if len(mesh.faces) else mesh
    if len(mesh.faces) < 4:
        raise ExportError(
            "the surface has no faces left", "export", "Raise the face budget or run more steps"
        )
    mesh = return_to(mesh, whole)
    wanted = curved_volume(whole)
    lost = 1 - mesh.volume / wanted if wanted > 0 else 0.0
    if wanted > 0:
        # Half a cell at most: more is no loss by smoothing, but noise that was smoothed away.
        mesh = match_volume(mesh, wanted, 1.0 / (density.shape[0] - 1))
    return mesh, {
        "iso level": level,
        "silhouette agreement": agreement,
        "pieces found": float(pieces),
        "faces": float(len(mesh.faces)),
        "volume given back": lost,
    }


def _level_set(solid: np.ndarray, config: ExtractionConfig) -> Mesh | None:
    """The isosurface at one half, with hollows filled, and where one object is wanted with its
    pieces joined."""
    joined = bridge(solid, 0.5) if config.pieces == 1 else solid
    return isosurface(solidify(joined, 0.5), 0.5)
