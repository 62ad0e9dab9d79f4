"""3D Gaussians as files hold them, and their formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....engine.errors import ConfigError, InputError
from ..images import LARGEST_FILE

TURNED = np.array([1.0, -1.0, -1.0], np.float32)
"""Half a turn about X: from axes with Y up and Z to the viewer to those with Y down and Z away from
the viewer."""
_HARMONICS = np.array([*(-1, -1, 1), *(-1, 1, 1, -1, 1), *(-1, 1, -1, -1, 1, -1, 1)], np.float32)
"""What becomes of the harmonics of orders 1 to 3 by half a turn about X."""


@dataclass(frozen=True)
class Splats:
    """3D Gaussians in the frame of the package (+Y up, objects face +Z).

    positions (N, 3); log_scales (N, 3); rotations (N, 4) quaternions, w first; logits (N,) of the
    opacities; colours (N, 3) and harmonics (N, K - 1, 3), K = 1, 4, 9 or 16, coefficients of the
    real spherical harmonics in the published order. All float32. notes: what a reader left out, a
    line each.
    """

    positions: np.ndarray
    log_scales: np.ndarray
    rotations: np.ndarray
    logits: np.ndarray
    colours: np.ndarray
    harmonics: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def degree(self) -> int:
        """Of the harmonics, 0 to 3."""
        return round((self.harmonics.shape[1] + 1) ** 0.5) - 1

    def turned(self) -> Splats:
        """The same after half a turn about X; twice is the same again."""
        w, x, y, z = self.rotations.T
        # The product of the half turn (0, 1, 0, 0) and the rotation.
        rotations = np.stack([-x, w, -z, y], -1)
        flips = _HARMONICS[: self.harmonics.shape[1], None]
        return Splats(
            self.positions * TURNED,
            self.log_scales,
            np.ascontiguousarray(rotations),
            self.logits,
            self.colours,
            harmonics=self.harmonics * flips,
            notes=self.notes,
        )

    def checked(self, where: str) -> Splats:
        """The same. Raises InputError where there are none, or numbers that are not finite."""
        if not len(self):
            raise InputError("holds no Gaussians", where, "Give a file of 3D Gaussians")
        rows = (self.positions, self.log_scales, self.rotations, self.colours)
        bad = ~np.isfinite(np.concatenate([*rows, self.harmonics.reshape(len(self), -1)], 1)).all(1)
        bad |= np.isnan(self.logits) | ~(np.linalg.norm(self.rotations, axis=1) > 1e-12)
        if bad.any():
            raise InputError(
                f"{int(bad.sum())} of {len(self)} Gaussians have numbers that are none",
                where,
                "Export it again from the program that made it",
            )
        return self


@dataclass(frozen=True, kw_only=True)
class SplatFormat:
    """A format of 3D Gaussians. suffix: of its files; read maps (bytes, name) and write maps
    Gaussians to bytes; lossless: whether what is read back is what was written."""

    suffix: str
    summary: str
    read: Callable[[bytes, str], Splats]
    write: Callable[[Splats], bytes]
    lossless: bool


def formats() -> Mapping[str, SplatFormat]:
    """The formats by the name that `export --to` takes."""
    from .ply import read_splat_ply, write_splat_ply
    from .spz import read_spz, write_spz

    return {
        "ply-splat": SplatFormat(
            suffix=".ply",
            summary="3D Gaussians as the published code writes them",
            read=read_splat_ply,
            write=write_splat_ply,
            lossless=True,
        ),
        "spz": SplatFormat(
            suffix=".spz",
            summary="3D Gaussians in Niantic's packed format",
            read=read_spz,
            write=write_spz,
            lossless=False,
        ),
    }


def is_splat_file(path: Path) -> bool:
    """Whether a file holds 3D Gaussians: an SPZ by its suffix, a PLY by its header."""
    if path.suffix.lower() == ".spz":
        return True
    if path.suffix.lower() != ".ply" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1 << 14).split(b"end_header")[0]
    return b" f_dc_0" in head and b" scale_0" in head


def read_splats(path: Path) -> Splats:
    """Read a file of 3D Gaussians, in the frame of the package. Raises InputError."""
    where = str(path)
    kind = next((f for f in formats().values() if f.suffix == path.suffix.lower()), None)
    if kind is None or not path.is_file():
        raise InputError("is no file of 3D Gaussians", where, f"Formats: {', '.join(formats())}")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE >> 20} MiB", where, "Thin it out first")
    return kind.read(path.read_bytes(), where).checked(where)


def splat_format(name: str) -> SplatFormat:
    """A format by its name. Raises ConfigError."""
    found = formats().get(name)
    if found is None:
        raise ConfigError(
            f'there is no format "{name}" of 3D Gaussians',
            "--to",
            f"One of: {', '.join(formats())}",
        )
    return found
