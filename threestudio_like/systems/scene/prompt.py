"""What a prompt says of a scene: its objects, and the words that relate them (ComboVerse's spatial
words, METHODS 4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...engine.errors import ConfigError
from ...priors.text.tokens import word_spans
from ...toybox.words import Vocabulary

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
SCENE_WORDS = frozenset({*_ARTICLES, *(word for words in LEXICON for word in words.split())})
"""Words that mean something in a scene's prompt, whether or not a prior knows them."""
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


def read_scene(prompt: str, vocabulary: Vocabulary | None = None) -> SceneText:
    """Objects and relations of a prompt: "a red ball on a blue box and a mug left of the box".

    A participle before a relation belongs to it ("a fox sitting on a car"). A phrase that was said
    before means the same object ("the box" also where it was called "a blue box"), but for the
    other side of its own relation.

    Args:
        vocabulary: the words of a prior of a closed vocabulary. A part that it knows belongs to its
            object ("a blue chair with yellow legs"), and a plural that it can count is as many
            objects ("two red balls").

    Raises:
        ConfigError: relations that contradict each other, or one without an object.
    """
    scene = SceneText(prompt)
    phrase: list[str] = []
    pending: tuple[list[int], str, str] | None = None
    last: list[int] = []

    def close() -> None:
        """End the present phrase, if there is one: its objects are the `last` ones then."""
        nonlocal phrase, pending, last
        words, phrase = phrase, []
        if not [w for w in words if w not in _ARTICLES]:
            return
        number = _same(scene.objects, words, pending[0] if pending else [])
        if number is None:
            new = _counted(words, vocabulary)
            scene.objects += new
            last_now = list(range(len(scene.objects) - len(new), len(scene.objects)))
        else:
            last_now = [number]
        if pending:
            scene.relations += _related(pending, last_now)
            pending = None
        last = last_now

    for clause in re.split(r"[,;.]+", prompt):
        said = [w for w, _, _ in word_spans(clause)]
        at = 0
        while at < len(said):
            found = _relation_at(said, at)
            if found:
                words, length = found
                verb: list[str] = []
                while phrase and phrase[-1].endswith("ing") and (len(phrase) > 1 or last):
                    verb.insert(0, phrase.pop())
                close()
                if not last:
                    raise ConfigError(
                        f'nothing is said to be "{words}"',
                        "the prompt",
                        'Say it like "a red ball on a blue box"',
                    )
                pending = (last, " ".join([*verb, words]), LEXICON[words])
                at += length
            elif length := _part_at(said, at, phrase, vocabulary):
                phrase += said[at : at + length]
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


def _part_at(said: list[str], at: int, phrase: list[str], words: Vocabulary | None) -> int:
    """The length of "with yellow legs" or "and a red seat" at a word, where the object of the
    phrase has such a part; else 0."""
    joins = said[at] == "with" or (said[at] == "and" and "with" in phrase)
    if words is None or not joins:
        return 0
    things = words.parse(" ".join(phrase))
    parts = words.parts.get(things[-1].category, ()) if things else ()
    end = at + 1
    while end < len(said) and (
        said[end] in _ARTICLES or words.canonical(said[end]) in words.colours
    ):
        end += 1
    found = end < len(said) and words.canonical(said[end]) in parts
    return end + 1 - at if found else 0


def _counted(words: list[str], vocabulary: Vocabulary | None) -> list[str]:
    """The objects of a phrase: as many as it says, in a vocabulary with plurals; else one."""
    text = " ".join(words)
    things = vocabulary.parse(text) if vocabulary else []
    if vocabulary is None or len(things) < 2:
        return [text]
    return [vocabulary.describe(thing) for thing in things]


def _related(pending: tuple[list[int], str, str], objects: list[int]) -> list[Relation]:
    """The relations of objects that were said and those behind the words: one by one where they
    are as many, else each with each."""
    subjects, words, kind = pending
    if len(subjects) == len(objects):
        pairs = list(zip(subjects, objects))
    else:
        pairs = [(one, two) for one in subjects for two in objects]
    return [Relation(one, words, kind, object=two) for one, two in pairs]


def _same(objects: list[str], words: list[str], other_side: list[int]) -> int | None:
    """The object that was called so before: by the same words, or, behind "the", by words that hold
    these."""
    bare = [w for w in words if w not in _ARTICLES]
    for number in reversed(range(len(objects))):
        if number in other_side:
            continue
        before = [w for w in objects[number].split() if w not in _ARTICLES]
        if before == bare:
            return number
        # "the chair" is "a blue chair with yellow legs", too.
        before = before[: before.index("with")] if "with" in before else before
        if words[0] == "the" and before[-len(bare) :] == bare:
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
