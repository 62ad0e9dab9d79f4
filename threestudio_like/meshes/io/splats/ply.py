"""3D Gaussians as PLY, in the layout of the published code (Kerbl et al. 2023): a vertex a Gaussian
with x y z, nx ny nz (zeros), f_dc_*, f_rest_* (channel by channel), opacity (a logit), scale_*
(logarithms) and rot_* (w first).

Such files have no axes of their own; programs take them as photogrammetry makes them, Y down and Z
away from the viewer, and so are they written and read here.
"""

from __future__ import annotations

import numpy as np

from ....engine.errors import InputError
from ..ply.data import read_columns, read_header
from ..ply.reading import note_others, stacked
from .splats import Splats

_REPAIR = "Export it again from the program that made it"


def _names(bands: int) -> list[str]:
    """The properties of a Gaussian with `bands` coefficients a channel beyond the first."""
    return [
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(3 * bands)),
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]


def write_splat_ply(splats: Splats) -> bytes:
    """The bytes of a PLY, little-endian."""
    own = splats.turned()
    count, bands = len(own), own.harmonics.shape[1]
    names = _names(bands)
    columns = [
        own.positions,
        np.zeros((count, 3), np.float32),
        own.colours,
        own.harmonics.transpose(0, 2, 1).reshape(count, 3 * bands),
        own.logits[:, None],
        own.log_scales,
        own.rotations,
    ]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    head += [f"property float {name}" for name in names]
    rows = np.concatenate(columns, 1).astype("<f4")
    return "\n".join([*head, "end_header", ""]).encode("ascii") + rows.tobytes()


def read_splat_ply(data: bytes, where: str) -> Splats:
    """Read a PLY of 3D Gaussians, text or binary. Raises InputError."""
    header = read_header(data, where)
    notes: list[str] = []
    vertex = read_columns(data, header, where, notes).get("vertex", {})

    def columns(*names: str) -> np.ndarray:
        found = stacked(vertex, names, np.float32)
        if found is None:
            raise InputError(
                f"is a PLY without the properties {', '.join(names)} of 3D Gaussians",
                where,
                _REPAIR,
            )
        return np.asarray(found, np.float32)

    rest = sum(name.startswith("f_rest_") for name in vertex)
    if rest not in (0, 9, 24, 45):
        raise InputError(
            f"has {rest} harmonics beyond the first, which is no whole order (0, 9, 24 or 45)",
            where,
            _REPAIR,
        )
    positions = columns("x", "y", "z")
    bands = rest // 3
    more = columns(*(f"f_rest_{i}" for i in range(rest))) if rest else np.zeros((len(positions), 0))
    note_others(header, notes, {"vertex": _names(bands)})
    normals = stacked(vertex, ("nx", "ny", "nz"))
    if normals is not None and normals.any():
        notes.append("normals are left out: Gaussians have none")
    return Splats(
        positions,
        columns("scale_0", "scale_1", "scale_2"),
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        columns("opacity")[:, 0],
        columns("f_dc_0", "f_dc_1", "f_dc_2"),
        harmonics=np.ascontiguousarray(
            more.reshape(len(positions), 3, bands).transpose(0, 2, 1), np.float32
        ),
        notes=tuple(notes),
    ).turned()
