"""The cells of the experiment on spatial words (ssds.py): models, ranges of noise, emphasis; and
what is placed already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tables import published
from worlds import kept

from threestudio_like.guidance.spatial import SpatialConfig
from threestudio_like.systems.scene.placement import PlacementConfig, PlacementWeights

SHARES = (0.0, 0.5, 0.8)
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 25.0)
NOISES = {"20 to 980": ("0.02", "0.98"), "500 to 900": ("0.5", "0.9"), "800 to 900": ("0.8", "0.9")}
STARTS = ("swapped", "moved against the relation")
MOVED, STEPS, RATE = 0.5, 40, "0.04->0.004"
NORM = 1e-4
"""Of every step's gradient: below what any step has."""
AXES = {
    "on": (1, 1.0),
    "under": (1, -1.0),
    "left of": (0, -1.0),
    "right of": (0, 1.0),
    "in front of": (2, 1.0),
    "behind": (2, -1.0),
}


@dataclass(frozen=True)
class Cell:
    """A model, a range of noise, and an emphasis."""

    p: float
    noise: str
    factor: float
    normalised: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.p, self.noise, self.factor, self.normalised)

    def config(self) -> PlacementConfig:
        """Nothing but the distillation moves anything."""
        low, high = NOISES[self.noise]
        spatial = SpatialConfig(factor=self.factor, normalise=self.normalised)
        spatial = replace(
            spatial, score=replace(spatial.score, t_min=low, t_max=high, joint_views=True)
        )
        return PlacementConfig(
            along="axis",
            spatial=spatial,
            weights=PlacementWeights(physical=0.0),
            stand=False,
            steps=STEPS,
            rate=RATE,
            rate_depth=RATE,
        )


CELLS = [Cell(p, noise, factor) for p in SHARES for noise in NOISES for factor in FACTORS]
NORMALISED = [replace(cell, normalised=True) for cell in CELLS if cell.factor != 1]
"""What else is asked; run when every scene is through `CELLS`, in which alone the registered
contrast lies."""


MEASURED = ("holds", "judge", "off")
_OF_SCENE = ("scene", "prompt", "start", "commit")


def packed(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines as raw rows of a page: one of each scene, model and range of noise, in which what was
    measured stands by emphasis."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        p, noise, factor, normalised = line["cell"] or ("", "", "", False)
        scene = {key: line[key] for key in _OF_SCENE}
        names = {"p": p, "noise": noise, "normalised": normalised}
        row = rows.setdefault((*scene.values(), *names.values()), {**scene, **names})
        for key, value in {"c": factor, **{m: line[m] for m in MEASURED}}.items():
            shown = f"{value:.5g}" if isinstance(value, float) else value
            row[key] = f"{row[key]} {shown}" if key in row else shown
    return list(rows.values())


def unpacked(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of `packed` rows."""
    out = []
    for row in rows:
        factors = row["c"].split() or [""]
        for k, c in enumerate(factors):
            cell = [row["p"], row["noise"], float(c), row["normalised"]] if c else []
            values = {m: float(row[m].split()[k]) for m in MEASURED}
            out.append({**{key: row[key] for key in _OF_SCENE}, "cell": cell, **values})
    return out


def lines_of() -> list[dict[str, Any]]:
    """What is placed already: of the page and of the runs that are here."""
    return [*unpacked(published("ssds")), *kept("ssds.jsonl")]
