"""How far the kernels, the geometry and the sampler are from independent implementations: Embree,
trimesh, Manifold, SciPy, gsplat and diffusers.

Every row has a bound, and the exit code is 1 where a difference is beyond it.

Run: python benchmarks/agreement.py [--only rasterise] [--times 4]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import agreement_of_numbers
import agreement_of_surfaces
from tables import publish, table

COMMAND = "python benchmarks/agreement.py"


@dataclass(frozen=True)
class Check:
    """What is compared with what. `run` takes how many times the usual number of cases, and returns
    rows of (what exactly, number of cases, largest difference, unit, bound)."""

    against: str
    run: Callable[[int], list[tuple[str, int, float, str, float]]]


CHECKS = {
    "rasterise": Check("Embree's rays (embreex)", agreement_of_surfaces.rasterise),
    "outline": Check("convex hull (scipy.spatial)", agreement_of_surfaces.outline),
    "nearest": Check("trimesh.proximity, every triangle", agreement_of_surfaces.nearest_point),
    "inside": Check("trimesh.contains (Embree)", agreement_of_surfaces.inside),
    "volume": Check("manifold3d", agreement_of_surfaces.volume),
    "isosurface": Check("the torus's formula and manifold3d", agreement_of_surfaces.isosurfaces),
    "chamfer": Check("all pairs (scipy cdist)", agreement_of_numbers.chamfer),
    "earth-mover": Check("scipy.stats.wasserstein_distance", agreement_of_numbers.earth_mover),
    "trilinear": Check("scipy RegularGridInterpolator", agreement_of_numbers.trilinear_lookup),
    "texture": Check("scipy.ndimage.map_coordinates", agreement_of_numbers.texture_lookup),
    "mips": Check("scipy, integral of the texture", agreement_of_numbers.mips),
    "gaussians": Check("gsplat's definition in torch", agreement_of_numbers.gaussians),
    "ddim": Check("diffusers DDIMScheduler", agreement_of_numbers.ddim_steps),
}


def rows_of(names: list[str], times: int) -> tuple[list[list[Any]], list[str]]:
    """The table's rows, and those beyond their bound in words."""
    rows, beyond = [], []
    for name in names:
        check = CHECKS[name]
        for what, cases, largest, unit, bound in check.run(times):
            figures = [f"{cases:,}", f"{largest:.2g}{unit}", f"{bound:g}{unit}"]
            rows.append([what, check.against, *figures, f"`agreement.py --only {name}`"])
            # Not a number is beyond every bound.
            if not largest <= bound:
                beyond.append(f"{what}: {largest:.3g}{unit}, bound {bound:g}{unit}")
    return rows, beyond


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(CHECKS), help="one check, printed and not written")
    parser.add_argument("--times", type=int, default=1, help="times the usual number of cases")
    given = parser.parse_args()
    rows, beyond = rows_of([given.only] if given.only else list(CHECKS), given.times)
    header = ["what", "against", "cases", "largest difference", "bound", "command"]
    if given.only:
        print(table(header, rows))
    else:
        command = COMMAND if given.times == 1 else f"{COMMAND} --times {given.times}"
        text = (
            "Our backend for the CPU against implementations that share no code with it. Each row "
            "is made anew by its command, and the command fails beyond a bound.\n\n"
            + table(header, rows)
        )
        publish("agreement", "Agreement with independent implementations", command, text)
    for line in beyond:
        print(f"Beyond its bound: {line}", file=sys.stderr)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
