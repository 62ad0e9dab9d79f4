"""`vocabulary`: the words that the embedded prior knows."""

from __future__ import annotations

from dataclasses import dataclass

EXAMPLES = (
    "threestudio-like vocabulary",
    "threestudio-like vocabulary --json",
)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """List the words that the embedded prior knows."""

    json: bool = False
    """Print as JSON."""


def call(options: Vocabulary) -> None:
    """Carry it out; prints the words."""
    from ..engine.text import json_text
    from ..toybox import vocabulary as words

    lists = {
        "categories": list(words.CATEGORIES),
        "colours": list(words.COLOURS),
        "patterns": list(words.PATTERNS),
        "shapes": [f"{m} {c}" for c, modes in words.MODES.items() for m in modes],
        "relations": list(words.RELATIONS),
        "synonyms": [f"{a} = {b}" for a, b in words.SYNONYMS.items()],
    }
    if options.json:
        print(json_text(lists))
        return
    for name, items in lists.items():
        print(f"{name:<12}{', '.join(items)}")
    print(
        '\nPrompts: "a red chair", "a striped blue mug", "a round brown table", '
        '"a red ball on a blue box".'
    )
