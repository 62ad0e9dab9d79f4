"""The vocabulary of the toybox: the words of the default edition, which the embedded priors know,
and suggestions for unknown words. How the words of any edition are read is in `words.py`."""

from __future__ import annotations

from .words import Phrase, UnknownWord, Vocabulary, split
from .words import unknown_words as find_unknown

__all__ = ["Phrase", "UnknownWord", "Vocabulary", "split"]

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.11, 0.12),
    "orange": (0.97, 0.52, 0.07),
    "yellow": (0.97, 0.86, 0.13),
    "green": (0.13, 0.62, 0.20),
    "blue": (0.13, 0.30, 0.86),
    "purple": (0.52, 0.17, 0.70),
    "pink": (0.98, 0.55, 0.74),
    "brown": (0.45, 0.26, 0.11),
    "white": (0.95, 0.95, 0.94),
    "black": (0.10, 0.10, 0.12),
}
"""Named colours, display RGB in [0, 1]."""

CATEGORIES = (
    "ball",
    "barrel",
    "bed",
    "boat",
    "bottle",
    "box",
    "cactus",
    "car",
    "chair",
    "house",
    "lamp",
    "mug",
    "mushroom",
    "robot",
    "rocket",
    "snowman",
    "sofa",
    "table",
    "tree",
    "vase",
)

SYNONYMS = {
    "cup": "mug",
    "automobile": "car",
    "couch": "sofa",
    "armchair": "sofa",
    "crate": "box",
    "cube": "box",
    "sphere": "ball",
    "ship": "boat",
    "home": "house",
    "spaceship": "rocket",
    "flask": "bottle",
    "keg": "barrel",
    "crimson": "red",
    "violet": "purple",
}
"""Other words that captions use with the same meaning."""

MODES: dict[str, tuple[str, ...]] = {
    "table": ("square", "round"),
    "tree": ("leafy", "pine"),
    "bottle": ("round", "square"),
}
"""Categories with several shapes. The plain word means the first shape, and the others are always
named."""

PATTERNS = ("plain", "striped", "dotted")
"""Surface patterns; a surface without a pattern word is plain."""

RELATIONS = ("on", "under", "left of", "right of", "in front of", "behind")
VIEWS = ("front", "side", "back", "overhead", "bottom")

TWENTY = Vocabulary(
    categories=CATEGORIES,
    colours=COLOURS,
    synonyms=SYNONYMS,
    modes=MODES,
    patterns=PATTERNS,
    relations=RELATIONS,
    views=VIEWS,
)
"""The vocabulary of the default edition."""

WORDS = TWENTY.words
"""All words of the embedded text encoder, in the order of their token ids."""

HELD_OUT_COLOURS = TWENTY.held_out_colours
"""For every category, three colours with which no training picture shows it; the benchmark asks for
these pairs."""


def unknown_words(prompt: str, known: tuple[str, ...] = WORDS) -> list[UnknownWord]:
    """See `words.unknown_words`; by default for the default edition."""
    return find_unknown(prompt, known)


def canonical(word: str) -> str:
    """The word that the default edition uses for a synonym."""
    return TWENTY.canonical(word)


def parse(prompt: str) -> list[Phrase]:
    """The objects that a prompt of the default edition names, in order: ``"a red ball on a box"``
    gives [red ball, box]."""
    return TWENTY.parse(prompt)
