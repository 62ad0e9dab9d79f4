"""What every published table has to say about itself, beside its figures: the fields, and where
they are written down (frames.toml, one section a page)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The facts about a table that its script knows before it runs. None may be left out or empty.

    Raises ValueError, naming the field, if one is empty.
    """

    n: str
    """How many of what."""
    seeds: str
    interval: str
    """Which figures have an interval, and of what kind."""
    floor: str
    """What a method without any skill gets by the same measure."""
    ceiling: str
    """What the best possible method gets by the same measure."""
    truth: str
    """What of the truth a method was given: box, mask, camera, category name."""
    flatters: str
    """What makes the figures look better than they are."""
    weights: str
    """Which weights were used: embedded, random, none."""
    seconds: str
    """What seconds on the page may be compared with."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not str(getattr(self, field.name)).strip():
                raise ValueError(f"the frame's field {field.name!r} is empty; say what is known")


TITLES = {
    "n": "n",
    "seeds": "seeds",
    "interval": "interval",
    "floor": "floor",
    "ceiling": "ceiling",
    "truth": "uses of truth",
    "flatters": "what flatters",
    "weights": "weights",
    "seconds": "seconds",
}


def declared() -> dict[str, dict[str, str]]:
    """frames.toml as it stands."""
    return tomllib.loads((HERE / "frames.toml").read_text(encoding="utf-8"))


def frame_of(name: str) -> Frame:
    """The frame of page `name`. Raises ValueError if it has none or a field is missing."""
    sections = declared()
    if name not in sections or name == "not_made":
        raise ValueError(f"benchmarks/frames.toml has no section [{name}]; write one")
    given = sections[name]
    known = {field.name for field in fields(Frame)}
    if known != set(given):
        odd = ", ".join(sorted(known ^ set(given)))
        raise ValueError(f"benchmarks/frames.toml, [{name}]: missing or unknown: {odd}")
    return Frame(**given)


def not_made() -> dict[str, str]:
    """Pages that `make benchmark` does not make, each with the reason."""
    return declared()["not_made"]
