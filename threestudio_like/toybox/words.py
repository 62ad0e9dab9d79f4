"""How the words of an edition of the toybox are read and written: captions from descriptions, and
descriptions from prompts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

from ..engine.text import words_of

RGB = tuple[float, float, float]
_FUNCTION_WORDS = ("a", "an", "and", "the", "of", "in", "view")
_RELATION_WORDS = ("on", "under", "left", "right", "in", "behind")


@dataclass(frozen=True)
class UnknownWord:
    """A word outside of the vocabulary, with the nearest words in it."""

    word: str
    nearest: tuple[str, ...]


def split(prompt: str) -> list[str]:
    """Lower-case words of a prompt, in any script; an emoji is one, or a part of one."""
    return words_of(prompt.lower(), "<>_-")


def unknown_words(prompt: str, known: tuple[str, ...]) -> list[UnknownWord]:
    """The words of `prompt` that are not in `known`, each with up to three words of similar
    spelling."""
    unknown = []
    for word in dict.fromkeys(split(prompt)):
        if word not in known:
            unknown.append(
                UnknownWord(word, tuple(difflib.get_close_matches(word, known, 3, 0.55)))
            )
    return unknown


@dataclass(frozen=True)
class Phrase:
    """The description of one object in a caption."""

    category: str
    colour: str | None
    mode: str | None = None
    pattern: str = "plain"
    adjectives: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    """Parts with a colour of their own: ("legs", "yellow")."""


@dataclass
class _Reading:
    """What has been read of a prompt: whole phrases, and what belongs to the next noun."""

    phrases: list[Phrase] = field(default_factory=list)
    colour: str | None = None
    pattern: str = "plain"
    words: list[str] = field(default_factory=list)
    within: bool = False
    """Whether a "with" has begun, so that the next noun may be a part of the last object."""

    def next_noun(self) -> None:
        self.colour, self.pattern, self.words = None, "plain", []


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """The words of an edition.

    A category without a mode word means its first mode, and the other modes are always named.

    Args:
        categories, colours (display RGB in [0, 1]), patterns, relations, views: the words; the
            first pattern is meant where none is named.
        synonyms: other words with the same meaning.
        modes: the shapes of categories that have several.
        adjectives: of each category, the adjectives that change its shape.
        parts: of each category, the parts whose colour can be named.
        plurals: of each category.
        counts: number words, for plurals.
        trailing: categories whose mode comes after the noun ("letter h") and is always named.
    """

    categories: tuple[str, ...]
    colours: Mapping[str, RGB]
    synonyms: Mapping[str, str]
    modes: Mapping[str, tuple[str, ...]]
    patterns: tuple[str, ...]
    relations: tuple[str, ...]
    views: tuple[str, ...]
    adjectives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plurals: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    trailing: frozenset[str] = frozenset()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words, in the order of their token ids."""
        return tuple(
            dict.fromkeys(
                [
                    *_FUNCTION_WORDS,
                    *self.views,
                    *(w for w in _RELATION_WORDS if w not in _FUNCTION_WORDS),
                    *self.colours,
                    *self.patterns,
                    *(m for modes in self.modes.values() for m in modes),
                    *self.categories,
                    *self.synonyms,
                    *(a for several in self.adjectives.values() for a in several),
                    *(["with"] if self.parts else []),
                    *(p for several in self.parts.values() for p in several),
                    *self.counts,
                    *self.plurals.values(),
                ]
            )
        )

    @cached_property
    def held_out_colours(self) -> dict[str, tuple[str, ...]]:
        """For every category, three colours with which no training picture shows it; benchmarks ask
        for these pairs."""
        colours = list(self.colours)
        return {
            category: tuple(colours[(3 * index + offset) % len(colours)] for offset in (0, 4, 7))
            for index, category in enumerate(self.categories)
        }

    @cached_property
    def _singular(self) -> dict[str, str]:
        return {many: one for one, many in self.plurals.items()}

    def canonical(self, word: str) -> str:
        """The word that captions use for a synonym."""
        return self.synonyms.get(word, word)

    def usual(self, category: str) -> str | None:
        """The mode that the bare word means; None for a category of one shape."""
        modes = self.modes.get(category, ())
        return modes[0] if modes else None

    def plain(self, category: str, colour: str) -> Phrase:
        """The plain description of a category's usual shape in a colour."""
        return Phrase(category, colour, self.usual(category))

    def unknown(self, prompt: str) -> list[UnknownWord]:
        """The words of a prompt that the edition does not have."""
        return unknown_words(prompt, self.words)

    def without_unknown(
        self, prompt: str, known: Collection[str], keep: Collection[str] = ()
    ) -> tuple[str, list[str]]:
        """A prompt without the unknown words that only say how a known thing looks or stands: "a
        checked mug with a handle" gives "a mug". Unknown words that may be things stay.

        Left out are words before the noun of a thing or part; what follows "with" and names no
        thing; and a participle before a relation ("standing on").

        Args:
            known: the words that are known.
            keep: unknown words that mean something to the caller: relations, numbers.

        Returns:
            The prompt as it was where nothing is left out; and the words that were.
        """
        words = split(prompt)
        # Letters that change their number in lower case are of no vocabulary here.
        if len(prompt.lower()) != len(prompt) or all(w in known for w in words):
            return prompt, []
        spans = _spans(prompt, words)
        stops = {*_FUNCTION_WORDS, *_RELATION_WORDS, "with", *keep}
        apart = [bool(prompt[a[1] : b[0]].strip()) for a, b in pairwise(spans)] + [True]
        nouns = [self._is_noun(w) for w in words]
        gone: set[int] = set()
        for at, word in enumerate(words):
            if word in known and word != "with":
                continue
            end = at
            while not apart[end] and not nouns[end] and words[end + 1] not in stops - {"a", "an"}:
                end += 1
            inner = range(at, end + 1)
            if word == "with":
                # The part of a known thing; another thing behind "with" is one of the scene.
                strange = any(words[k] not in known for k in inner if k != at)
                if at and nouns[at - 1] and strange and not nouns[end]:
                    gone.update(inner)
            if word in stops or at in gone:
                continue
            looks = nouns[end] and not any(words[k] in stops for k in inner)
            # "standing on" behind a thing; "a painting on" is one itself.
            stands = at and nouns[at - 1] and word.endswith("ing") and not apart[at]
            if looks or (stands and words[at + 1] in stops - {"a", "an"}):
                gone.add(at)
        return _without(prompt, spans, gone), [words[k] for k in sorted(gone)]

    def _is_noun(self, word: str) -> bool:
        """Whether a word names a thing, several of them, or a part."""
        bare = self.canonical(word)
        of_parts = any(bare in parts for parts in self.parts.values())
        return bare in self.categories or bare in self._singular or of_parts

    def parse(self, prompt: str) -> list[Phrase]:
        """The objects that a prompt names, in order: ``"a red ball on a box"`` gives [red ball,
        box]; "two red balls" gives it twice."""
        reading = _Reading()
        for word in map(self.canonical, split(prompt)):
            self._read(reading, word)
        return reading.phrases

    def names_one(self, prompt: str) -> bool:
        """Whether a prompt names one object, in words of the edition alone."""
        return len(self.parse(prompt)) == 1 and not self.unknown(prompt)

    def _read(self, reading: _Reading, word: str) -> None:
        last = reading.phrases[-1] if reading.phrases else None
        if last and reading.within and word in self.parts.get(last.category, ()):
            if reading.colour is not None:
                named = (*last.parts, (word, reading.colour))
                reading.phrases[-1] = replace(last, parts=named)
            reading.next_noun()
        elif word in self.colours:
            reading.colour = word
        elif word in self.patterns:
            reading.pattern = word
        elif word in self.categories or word in self._singular:
            category = self._singular.get(word, word)
            count = next((self.counts[w] for w in reading.words if w in self.counts), 1)
            reading.phrases += [self._phrase(reading, category)] * count
            reading.next_noun()
            reading.within = False
        elif (
            last
            and not reading.words
            and last.category in self.trailing
            and self._names(last, word)
        ):
            reading.phrases = [replace(p, mode=word) if p is last else p for p in reading.phrases]
        elif word == "with" and self.parts:
            reading.within = True
        else:
            reading.within = reading.within and word not in _RELATION_WORDS
            reading.words.append(word)

    def _names(self, phrase: Phrase, word: str) -> bool:
        return word in self.modes.get(phrase.category, ())

    def _phrase(self, reading: _Reading, category: str) -> Phrase:
        modes = self.modes.get(category, ())
        mode = next((w for w in reading.words if w in modes), self.usual(category))
        able = self.adjectives.get(category, ())
        return Phrase(
            category,
            reading.colour,
            mode,
            pattern=reading.pattern,
            adjectives=tuple(w for w in reading.words if w in able and w not in modes),
        )

    def describe(
        self, phrase: Phrase, synonym: str | None = None, name_mode: bool = False, count: str = ""
    ) -> str:
        """The caption of one object: article, adjectives, pattern, colour, mode, category, and the
        parts of other colours. The usual mode is named only if requested.

        Args:
            count: a number word, for a plural without an article.
        """
        modes = self.modes.get(phrase.category, ())
        trailing = phrase.category in self.trailing
        mode = phrase.mode if modes and (name_mode or phrase.mode != modes[0] or trailing) else None
        pattern = phrase.pattern if phrase.pattern != "plain" else None
        noun = self.plurals[phrase.category] if count else synonym or phrase.category
        last = (noun, mode) if trailing else (mode, noun)
        words = [w for w in (*phrase.adjectives, pattern, phrase.colour, *last) if w]
        article = count or ("an" if words[0][0] in "aeiou" else "a")
        text = " ".join([article, *words])
        if phrase.parts:
            text += " with " + " and ".join(map(_name_part, phrase.parts))
        return text

    def objection(self, prompt: str) -> str | None:
        """What a prompt of known words asks for that the edition does not have, with the way out:
        a plural without a number, or a shape, adjective or part of another category."""
        said = [self.canonical(w) for w in split(prompt)]
        pending: list[str] = []
        noun = ""
        for word in said:
            if word in self._singular and not any(w in self.counts for w in pending):
                numbers = " or ".join(f'"{n} {word}"' for n in self.counts)
                one = self.describe(Phrase(self._singular[word], None))
                return f'"{word}" does not say how many: say {numbers}, or "{one}"'
            if word in self.categories or word in self._singular:
                odd = self._odd_word(pending, self._singular.get(word, word))
                if odd:
                    return odd
                pending = []
                noun = self._singular.get(word, word)
            elif not pending and noun in self.trailing and word in self.modes[noun]:
                continue
            else:
                pending.append(word)
        return None

    def _odd_word(self, before: list[str], category: str) -> str | None:
        """The objection to a word before a noun that changes nothing of it."""
        modes, able = self.modes.get(category, ()), self.adjectives.get(category, ())
        shapes = {
            w for several in (*self.modes.values(), *self.adjectives.values()) for w in several
        }
        parts = {w for several in self.parts.values() for w in several}
        for word in before:
            if word in shapes - parts and word not in (*modes, *able):
                choices = ", ".join(dict.fromkeys([*modes, *able]))
                return f'"{word}" does not go with "{category}", which can be: {choices}'
        return None


def _spans(prompt: str, words: list[str]) -> list[tuple[int, int]]:
    """Where the words that `split` found begin and end."""
    spans: list[tuple[int, int]] = []
    for word in words:
        start = prompt.lower().index(word, spans[-1][1] if spans else 0)
        spans.append((start, start + len(word)))
    return spans


def _without(prompt: str, spans: list[tuple[int, int]], gone: Collection[int]) -> str:
    """A prompt without some of its words; the article before them goes with the next one left."""
    for k in sorted(gone, reverse=True):
        start, end = spans[k]
        before, after = prompt[:start].rstrip(), prompt[end:].lstrip()
        article = re.search(r"\b([Aa])n?$", before)
        if article and k - 1 not in gone and after[:1].isalpha():
            vowel = after[0].lower() in "aeiou"
            before = before[: article.start()] + article[1] + "n" * vowel
        prompt = f"{before} {after}" if before and after[:1].isalnum() else before + after
    return prompt


def _name_part(part: tuple[str, str]) -> str:
    """ "yellow legs", "a red seat": plural parts have no article."""
    word, colour = part
    if word.endswith("s"):
        return f"{colour} {word}"
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {word}"
