"""What a prompt says of a scene: its objects, and the words that relate them (ComboVerse's spatial
words, METHODS 4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...engine.errors import ConfigError
from ...priors.text.tokens import word_spans

LEXICON: dict[str, str] = {
    "on top of": "on",
    "on": "on",
    "onto": "on",
    "upon": "on",
    "atop": "on",
    "above": "on",
    "over": "on",
    "riding": "on",
    "under": "under",
    "underneath": "under",
    "beneath": "under",
    "below": "under",
    "to the left of": "left of",
    "on the left of": "left of",
    "left of": "left of",
    "to the right of": "right of",
    "on the right of": "right of",
    "right of": "right of",
    "in front of": "in front of",
    "before": "in front of",
    "behind": "behind",
    "at the back of": "behind",
    "inside": "in",
    "into": "in",
    "within": "in",
    "in": "in",
    "next to": "beside",
    "beside": "beside",
    "besides": "beside",
    "near": "beside",
    "by": "beside",
    "close to": "beside",
    "against": "beside",
    "around": "beside",
    "holding": "beside",
    "carrying": "beside",
    "touching": "beside",
    "wearing": "beside",
}
"""Words that relate two things, and the relation that is checked and helped by the physical
terms."""

OPPOSITE = {"on": "under", "left of": "right of", "in front of": "behind"}
OPPOSITE.update({b: a for a, b in list(OPPOSITE.items())})
_ARTICLES = ("a", "an", "the", "one", "two", "three", "some")
_CONNECT = ("and", "with", "plus", "while", "is", "are", "that", "which")
_LONGEST = max(len(words.split()) for words in LEXICON)


@dataclass(frozen=True)
class Relation:
    """Object number `subject` is <words> object number `object`; `kind`: the relation that these
    words mean, a value of `LEXICON`."""

    subject: int
    words: str
    kind: str
    object: int


@dataclass
class SceneText:
    """objects: a phrase each, as the prompt says them ("a red ball"); relations between them, in
    the prompt's order."""

    prompt: str
    objects: list[str] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The spatial words, each once."""
        return list(dict.fromkeys(r.words for r in self.relations))

    def between(self, one: int, two: int) -> Relation | None:
        """The relation of a pair, in either direction."""
        return next((r for r in self.relations if {r.subject, r.object} == {one, two}), None)


def read_scene(prompt: str) -> SceneText:
    """Objects and relations of a prompt: "a red ball on a blue box and a mug left of the box".

    A participle before a relation belongs to it ("a fox sitting on a car"). A phrase that was said
    before means the same object ("the box" also where it was called "a blue box"), but for the
    other side of its own relation.

    Raises:
        ConfigError: relations that contradict each other, or one without an object.
    """
    scene = SceneText(prompt)
    phrase: list[str] = []
    pending: tuple[int, str, str] | None = None
    last: int | None = None

    def close() -> None:
        """End the present phrase, if there is one: it is the `last` object then."""
        nonlocal phrase, pending, last
        words, phrase = phrase, []
        if not [w for w in words if w not in _ARTICLES]:
            return
        number = _same(scene.objects, words, pending[0] if pending else None)
        if number is None:
            scene.objects.append(" ".join(words))
            number = len(scene.objects) - 1
        if pending:
            scene.relations.append(Relation(pending[0], pending[1], pending[2], object=number))
            pending = None
        last = number

    for clause in re.split(r"[,;.]+", prompt):
        said = [w for w, _, _ in word_spans(clause)]
        at = 0
        while at < len(said):
            found = _relation_at(said, at)
            if found:
                words, length = found
                verb: list[str] = []
                while (
                    phrase and phrase[-1].endswith("ing") and (len(phrase) > 1 or last is not None)
                ):
                    verb.insert(0, phrase.pop())
                close()
                if last is None:
                    raise ConfigError(
                        f'nothing is said to be "{words}"',
                        "the prompt",
                        'Say it like "a red ball on a blue box"',
                    )
                pending = (last, " ".join([*verb, words]), LEXICON[words])
                at += length
            elif said[at] in _CONNECT:
                close()
                at += 1
            else:
                phrase.append(said[at])
                at += 1
        close()
    if pending:
        raise ConfigError(
            f'"{pending[1]}" has nothing behind it',
            "the prompt",
            'Say it like "a red ball on a blue box"',
        )
    check_relations(scene.relations, scene.objects)
    return scene


def _relation_at(said: list[str], at: int) -> tuple[str, int] | None:
    """The longest relation that begins at a word, and its length."""
    for length in range(min(_LONGEST, len(said) - at), 0, -1):
        words = " ".join(said[at : at + length])
        if words in LEXICON:
            return words, length
    return None


def _same(objects: list[str], words: list[str], other_side: int | None) -> int | None:
    """The object that was called so before: by the same words, or, behind "the", by words that hold
    these."""
    bare = [w for w in words if w not in _ARTICLES]
    for number in reversed(range(len(objects))):
        if number == other_side:
            continue
        before = [w for w in objects[number].split() if w not in _ARTICLES]
        if before == bare or (words[0] == "the" and before[-len(bare) :] == bare):
            return number
    return None


def check_relations(relations: list[Relation], objects: list[str]) -> None:
    """Raise ConfigError where relations contradict each other: opposites of a pair, or a circle of
    one relation."""
    orders: dict[str, set[tuple[int, int]]] = {}
    for r in relations:
        axis, flipped = (
            (OPPOSITE[r.kind], True)
            if r.kind in ("under", "right of", "behind")
            else (r.kind, False)
        )
        if axis not in ("on", "left of", "in front of"):
            continue
        pair = (r.object, r.subject) if flipped else (r.subject, r.object)
        orders.setdefault(axis, set()).add(pair)
    for axis, pairs in orders.items():
        reach = set(pairs)
        while True:
            more = {(a, d) for a, b in reach for c, d in reach if b == c} - reach
            if not more:
                break
            reach |= more
        circle = next((a for a, b in reach if a == b), None)
        if circle is not None:
            raise ConfigError(
                f'the prompt contradicts itself: by its words "{objects[circle]}" is {axis} itself',
                "the prompt",
                "Leave one of them out",
            )
