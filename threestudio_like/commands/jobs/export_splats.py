"""`export` where 3D Gaussians are asked for, or are what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...engine.errors import ExportError, InputError
from ...meshes.io.splats.splats import Splats, formats, is_splat_file, read_splats, splat_format
from ...meshes.mesh import Asset
from ...priors.latent_rgb import show_rgb
from ...renderers import SplatConfig, SplatRenderer
from ...representations.gaussian_files import cloud_of, discs_of
from ...stages.field_to_mesh import AssetConfig, make_asset
from ...stages.model import FieldModel

KEPT = "gaussians.ply"
"""The Gaussians of a run that has them, in its folder."""
PIECES = 64
"""Connected pieces of Gaussians' surface that become a mesh, the largest ones."""


def is_splat_format(kind: str) -> bool:
    """Whether `--to` asks for 3D Gaussians."""
    return kind in formats()


def target_of(place: Path, kind: str) -> Path:
    """The file of a format of 3D Gaussians beside a mesh: a PLY of triangles keeps its name."""
    suffix = splat_format(kind).suffix
    return (
        place.with_name(f"{place.stem}-splats.ply")
        if suffix == ".ply"
        else place.with_suffix(suffix)
    )


def _own(source: Path) -> Path:
    """Where the Gaussians of a run, or of a file, would lie."""
    return source / KEPT if source.is_dir() else source


def has_splats(source: Path) -> bool:
    """Whether a run, or a file, holds 3D Gaussians of its own."""
    kept = _own(source)
    return is_splat_file(kept) and kept.is_file()


def encoded(source: Path, asset: Asset | None, targets: dict[Path, str]) -> dict[Path, bytes]:
    """The bytes of the files of 3D Gaussians that are asked for.

    A run's own Gaussians, or those of the file itself; else flat ones on the asset's surface.
    """
    if not targets:
        return {}
    if has_splats(source):
        splats = read_splats(_own(source))
        if asset is not None:
            asset.notes += [note for note in splats.notes if note not in asset.notes]
    else:
        assert asset is not None
        splats = discs_of(asset)
    return {target: splat_format(kind).write(splats) for target, kind in targets.items()}


def check(target: Path, kind: str, data: bytes) -> None:
    """Read a written file back and compare it with what was to be written. Raises ExportError."""
    form = splat_format(kind)
    written = form.read(target.read_bytes(), str(target))
    again = form.read(data, str(target))
    parts = [name for name in vars(again)]
    if not all(np.array_equal(getattr(written, n), getattr(again, n)) for n in parts):
        raise ExportError("did not come back as it was written", str(target), "Write it again")


def mesh_of(path: Path) -> Asset:
    """A textured mesh of a file of 3D Gaussians: their density's surface. Raises InputError."""
    splats = read_splats(path)
    placed = _in_sphere(splats)
    model = FieldModel(cloud_of(placed[0]), SplatRenderer(SplatConfig(normals=False)), show_rgb)
    asset, _ = make_asset(model, AssetConfig(), PIECES, name=path.stem or "object", provenance={})
    middle, size = placed[1], placed[2]
    for mesh in asset.meshes.values():
        mesh.vertices = (mesh.vertices * size + middle).astype(np.float32)
    asset.notes += splats.notes
    return asset


def _in_sphere(splats: Splats, radius: float = 0.9) -> tuple[Splats, np.ndarray, float]:
    """The Gaussians moved into the unit sphere, the middle (3,) and the size that undo it."""
    solid = splats.logits > 0
    places = splats.positions[solid] if solid.sum() >= 4 else splats.positions
    if len(places) < 4:
        raise InputError("holds too few Gaussians for a surface", "", "Give a larger file")
    low, high = np.quantile(places, 0.005, axis=0), np.quantile(places, 0.995, axis=0)
    middle = (low + high) / 2
    reach = float(np.linalg.norm(places - middle, axis=1).max())
    size = max(reach, 1e-9) / radius
    moved = Splats(
        ((splats.positions - middle) / size).astype(np.float32),
        (splats.log_scales - np.log(size)).astype(np.float32),
        splats.rotations,
        splats.logits,
        splats.colours,
        harmonics=splats.harmonics,
    )
    return moved, middle.astype(np.float32), size
