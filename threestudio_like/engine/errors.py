"""Errors that reach the user: one line of cause, place and remedy, and exit code 2. Nothing here is
ever a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a state of the machine that the user can mend.

    Args:
        what: what is wrong.
        where: the option, file or key it concerns; empty where `what` says it.
        remedy: what to do about it.
    """

    exit_code = 2
    code = "user"

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The message on one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join((f"{text}. {self.remedy}" if self.remedy else text).split())


class ConfigError(UserError):
    """An unknown key, a value of the wrong type or outside its range."""

    code = "config"


class InputError(UserError):
    """A file or prompt that cannot be used."""

    code = "input"


class VocabularyError(InputError):
    """A prompt with words that the prior does not know."""

    code = "vocabulary"


class ModelError(UserError):
    """A pretrained model that is missing, gated, of the wrong kind, or cannot be reached."""

    code = "model"


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or of another system."""

    code = "checkpoint"


class OutputError(UserError):
    """An output folder that cannot be written."""

    code = "output"


class CollapseError(UserError):
    """An optimisation that went to a state from which it will not come back."""

    code = "collapse"


class MemoryShortage(UserError):
    """A device whose memory does not hold what is asked for."""

    code = "memory"


class RankError(UserError):
    """One of several processes that has gone."""

    code = "rank"


class ExportError(UserError):
    """An asset that could not be made, or that failed its verification."""

    code = "export"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean "x"?`` for the nearest known word, or the list of a few known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1, 0.5)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
