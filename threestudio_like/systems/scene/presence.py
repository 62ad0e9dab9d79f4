"""Whether what was taken for the things that a prompt names are those things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...engine.errors import InputError
from ...priors.clip import ImageTextPrior
from ...toybox.words import Phrase, Vocabulary
from .instances import likenesses
from .parts import Part


@dataclass(frozen=True)
class Rival:
    """What a part looks like as well: a phrase, and by how much the part's cosine with it is above
    that with its own."""

    phrase: str = ""
    lead: float = -math.inf


@dataclass(frozen=True)
class Rivals:
    """The same thing in the most likely other colour, and the most likely other thing in its
    colour; without a lead where the words of the phrase are not known."""

    colour: Rival = Rival()
    category: Rival = Rival()

    def likelier(self, colour: float, category: float) -> str:
        """The rival whose lead is above its limit, the higher one of two; "" if neither is."""
        over = [(self.colour, colour), (self.category, category)]
        beyond = [(rival.lead - limit, rival.phrase) for rival, limit in over if rival.lead > limit]
        return max(beyond, default=(0.0, ""))[1]


def rivals_of(
    picture: np.ndarray, parts: Sequence[Part], clip: ImageTextPrior, words: Vocabulary
) -> list[Rivals]:
    """What else the parts of a picture (H, W, 3) in [0, 1] look like, by a model of a closed
    vocabulary: a wrong colour or thing leads by more than a right one ever does, whatever the
    likeness itself."""
    found = []
    for part in parts:
        named = words.parse(part.phrase) if words.names_one(part.phrase) else []
        if not named:
            found.append(Rivals())
            continue
        asked = named[0]
        plain = Phrase(asked.category, asked.colour, pattern=asked.pattern)
        colours = [replace(asked, colour=c) for c in words.colours if c != asked.colour]
        others = [
            replace(plain, category=c, mode=words.usual(c))
            for c in words.categories
            if c != asked.category
        ]
        told = [words.describe(p) for p in (*(colours if asked.colour else []), *others)]
        alike = likenesses(picture, [part], [part.phrase, *told], clip=clip)[0]
        leads = [Rival(text, float(value - alike[0])) for text, value in zip(told, alike[1:])]
        cut = len(told) - len(others)
        found.append(Rivals(*(_first(several) for several in (leads[:cut], leads[cut:]))))
    return found


def _first(several: list[Rival]) -> Rival:
    return max(several, key=lambda rival: rival.lead, default=Rival())


def check_found(parts: Sequence[Part], rivals: Sequence[Rivals], least: float, lead: float) -> None:
    """Raise InputError where what a phrase means is not in the picture: nothing is assigned to it
    for want of better.

    Args:
        least: smallest likeness. lead: by how much another colour may be more likely.
    """
    missing = [
        (part, rival.likelier(lead, math.inf))
        for part, rival in zip(parts, rivals, strict=True)
        if part.phrase and (part.likeness < least or rival.colour.lead > lead)
    ]
    if not missing:
        return
    names = " and ".join(f'"{part.phrase}"' for part, _ in missing)
    why = []
    if low := [part.likeness for part, _ in missing if part.likeness < least]:
        # Rounded down: 0.297 is no 0.3.
        best = math.floor(100 * max(low)) / 100
        why.append(f"likeness {best:.2f}, at least {least:g} is wanted")
    why += [f'what is most like it looks like "{other}"' for _, other in missing if other]
    raise InputError(
        f"{names} cannot be found in it ({'; '.join(why)})",
        "the picture",
        "Leave it out of the prompt, or say where it is: --boxes x0,y0,x1,y1 … or --pick",
    )


def doubts(
    parts: Sequence[Part], rivals: Sequence[Rivals], least: float, leads: tuple[float, float]
) -> list[str]:
    """Notes on objects that are not much like what their phrases mean, or more like something else.

    Args:
        least: likeness below which that is so. leads: by how much another colour, and another
            thing, may be more likely.
    """
    notes = []
    for part, rival in zip(parts, rivals, strict=True):
        other = rival.likelier(*leads)
        if part.phrase and (part.likeness < least or other):
            likelier = f', more like "{other}"' if other else ""
            notes.append(
                f'whether the picture shows "{part.phrase}" is doubtful (likeness '
                f"{part.likeness:.2f}{likelier}): leave it out if it does not, or say where it is "
                "by --boxes"
            )
    return notes
