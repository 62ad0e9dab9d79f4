"""The vocabulary of the toybox: the words that the embedded priors know, and suggestions for
unknown words."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ..engine.text import words_of

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

_FUNCTION_WORDS = ("a", "an", "and", "the", "of", "in", "view")
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *_FUNCTION_WORDS,
            *VIEWS,
            "on",
            "under",
            "left",
            "right",
            "behind",
            *COLOURS,
            *PATTERNS,
            *(m for modes in MODES.values() for m in modes),
            *CATEGORIES,
            *SYNONYMS,
        ]
    )
)
"""All words of the embedded text encoder, in the order of their token ids."""


@dataclass(frozen=True)
class UnknownWord:
    """A word outside of the vocabulary, with the nearest words in it."""

    word: str
    nearest: tuple[str, ...]


def split(prompt: str) -> list[str]:
    """Lower-case words of a prompt, in any script; an emoji is one, or a part of one."""
    return words_of(prompt.lower(), "<>_-")


def unknown_words(prompt: str, known: tuple[str, ...] = WORDS) -> list[UnknownWord]:
    """The words of `prompt` that are not in `known`, each with up to three words of similar
    spelling."""
    unknown = []
    for word in dict.fromkeys(split(prompt)):
        if word not in known:
            unknown.append(
                UnknownWord(word, tuple(difflib.get_close_matches(word, known, 3, 0.55)))
            )
    return unknown


def canonical(word: str) -> str:
    """The word that the toybox uses for a synonym."""
    return SYNONYMS.get(word, word)


@dataclass(frozen=True)
class Phrase:
    """The description of one object in a caption."""

    category: str
    colour: str | None
    mode: str | None = None
    pattern: str = "plain"


def parse(prompt: str) -> list[Phrase]:
    """The objects that a toybox prompt names, in order: ``"a red ball on a box"`` gives [red ball,
    box]."""
    phrases: list[Phrase] = []
    colour: str | None = None
    pattern = "plain"
    words: list[str] = []
    for word in map(canonical, split(prompt)):
        if word in COLOURS:
            colour = word
        elif word in PATTERNS:
            pattern = word
        elif word in CATEGORIES:
            modes = MODES.get(word, ())
            mode = next((w for w in words if w in modes), modes[0] if modes else None)
            phrases.append(Phrase(word, colour, mode, pattern=pattern))
            colour, pattern, words = None, "plain", []
        else:
            words.append(word)
    return phrases


HELD_OUT_COLOURS: dict[str, tuple[str, ...]] = {
    category: tuple(list(COLOURS)[(3 * index + offset) % len(COLOURS)] for offset in (0, 4, 7))
    for index, category in enumerate(CATEGORIES)
}
"""For every category, three colours with which no training picture shows it; the benchmark asks for
these pairs."""
