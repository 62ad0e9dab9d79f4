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

    world: str = ""
    """The edition, twenty or fifty (default: the one that the embedded weights know)."""
    json: bool = False
    """Print as JSON."""


def call(options: Vocabulary) -> None:
    """Carry it out; prints the words."""
    from ..engine.text import json_text
    from ..priors.registry import embedded_folder
    from ..toybox.editions import edition, edition_of

    world = edition(options.world) if options.world else edition_of(embedded_folder("diffusion"))
    words = world.vocabulary

    lists = {
        "categories": list(words.categories),
        "colours": list(words.colours),
        "patterns": list(words.patterns),
        "shapes": [
            f"{c} {m}" if c in words.trailing else f"{m} {c}"
            for c, modes in words.modes.items()
            for m in modes
        ],
        "relations": list(words.relations),
        "synonyms": [f"{a} = {b}" for a, b in words.synonyms.items()],
    }
    if words.parts:
        lists["adjectives"] = [
            f"{c}: {', '.join(several)}" for c, several in words.adjectives.items()
        ]
        lists["parts"] = [f"{c}: {', '.join(several)}" for c, several in words.parts.items()]
    if options.json:
        print(json_text(lists))
        return
    for name, items in lists.items():
        print(f"{name:<12}{', '.join(items)}")
    if words.parts:
        print(
            '\nPrompts: "a tall blue chair with yellow legs", "two wooden tables", "a brick house".'
        )
        return
    print(
        '\nPrompts: "a red chair", "a striped blue mug", "a round brown table", '
        '"a red ball on a blue box".'
    )
