"""Whether what was taken for the things that a prompt names are those things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...engine.errors import InputError
from ...engine.schema.bounds import Share
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


@dataclass(frozen=True, kw_only=True)
class PresenceLimits:
    """When what was taken for what a phrase means is believed, doubted and refused, by the embedded
    CLIP; of other models it is not known."""

    likeness: Share = 0.25
    """Smallest cosine of an object with its phrase; below it, what the phrase means is not in the
    picture."""
    other_colour: Share = 0.2
    """By how much the cosine with the phrase in another colour may be above it; beyond it, what the
    phrase means is not in the picture."""
    doubtful: Share = 0.4
    """Cosine below which it is said that an object may not be what its phrase means."""
    doubtful_colour: Share = 0.1
    """By how much another colour may be more likely before the same is said."""
    doubtful_thing: Share = 0.25
    """By how much another thing may be more likely before the same is said."""
    remainder: Share = 0.1
    """Share of what stands out in the picture that may belong to nothing where the one object that
    is not found is taken to be what is left beside sure ones; that is said."""

    def holds(self, part: Part, rivals: Rivals) -> bool:
        """Whether what a part's phrase means is in the picture."""
        return part.likeness >= self.likeness and rivals.colour.lead <= self.other_colour

    def sure(self, part: Part, rivals: Rivals) -> bool:
        """Whether a part is like its phrase, and of its colour, beyond doubt."""
        return part.likeness >= self.doubtful and rivals.colour.lead <= self.doubtful_colour


def rivals_of(
    picture: np.ndarray, parts: Sequence[Part], clip: ImageTextPrior, words: Vocabulary
) -> list[Rivals]:
    """What else the parts of a picture (H, W, 3) in [0, 1] look like, by a model of a closed
    vocabulary: another colour leads by 0.2 or more for one right thing in a hundred, and for most
    wrong ones, however high the likeness itself is."""
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


def notes_on(
    parts: Sequence[Part], rivals: Sequence[Rivals], left: float, limits: PresenceLimits
) -> list[str]:
    """Notes on objects that are not much like what their phrases mean, or more like something else.

    Args:
        left: share of what stands out in the picture that belongs to none of them.

    Raises:
        InputError: what a phrase means is not in the picture; nothing is assigned to it for want of
            better.
    """
    pairs = [(p, r) for p, r in zip(parts, rivals, strict=True) if p.phrase]
    missing = [(p, r) for p, r in pairs if not limits.holds(p, r)]
    others = [limits.sure(p, r) for p, r in pairs if limits.holds(p, r)]
    by_elimination = (
        len(missing) == 1
        and len(pairs) > 1
        and all(others)
        and left <= limits.remainder
        and missing[0][1].colour.lead <= limits.doubtful_colour
    )
    if missing and not by_elimination:
        raise _not_found(missing, limits)
    notes = []
    for part, rival in pairs:
        other = rival.likelier(limits.doubtful_colour, limits.doubtful_thing)
        if part.likeness < limits.doubtful or other:
            likelier = f', more like "{other}"' if other else ""
            beside = any(part is p for p, _ in missing)
            last = "; it is what is left beside the others" if beside else ""
            notes.append(
                f'whether the picture shows "{part.phrase}" is doubtful (likeness '
                f"{part.likeness:.2f}{likelier}{last}): leave it "
                "out if it does not, or say where it is by --boxes"
            )
    return notes


def _not_found(missing: Sequence[tuple[Part, Rivals]], limits: PresenceLimits) -> InputError:
    names = " and ".join(f'"{part.phrase}"' for part, _ in missing)
    why = []
    if low := [part.likeness for part, _ in missing if part.likeness < limits.likeness]:
        # Rounded down: 0.297 is no 0.3.
        best = math.floor(100 * max(low)) / 100
        why.append(f"likeness {best:.2f}, at least {limits.likeness:g} is wanted")
    for _, rival in missing:
        if other := rival.likelier(limits.other_colour, math.inf):
            why.append(f'what is most like it looks like "{other}"')
    return InputError(
        f"{names} cannot be found in it ({'; '.join(why)})",
        "the picture",
        "Leave it out of the prompt, or say where it is: --boxes x0,y0,x1,y1 … or --pick",
    )
