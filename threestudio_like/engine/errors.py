"""Errors that are meant for the user: one line with cause, place and remedy, and exit code 2.

The command line never shows a traceback for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .text import printable


class UserError(Exception):
    """A mistake, or a state of the machine, that the user can correct.

    Args:
        what: what is wrong.
        where: the option, file or key that it concerns; empty if `what` names it.
        remedy: what the user can do about it.
    """

    exit_code = 2
    code = "user"

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(printable(f"{text}. {self.remedy}" if self.remedy else text).split())


class ConfigError(UserError):
    """An unknown key, or a value of the wrong type or outside of its range."""

    code = "config"


class InputError(UserError):
    """A file or a prompt that cannot be used."""

    code = "input"


class VocabularyError(InputError):
    """A prompt with words that are not in the prior's vocabulary."""

    code = "vocabulary"


class ModelError(UserError):
    """A pretrained model that is missing, gated, unreachable or of the wrong kind."""

    code = "model"


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or belongs to another system."""

    code = "checkpoint"


class OutputError(UserError):
    """An output folder or file that cannot be written."""

    code = "output"


class VideoError(OutputError):
    """A video that could not be made: an extra, without which everything else is still good."""

    code = "video"


class CollapseError(UserError):
    """An optimisation that reached a state from which it cannot recover."""

    code = "collapse"


class MemoryShortage(UserError):
    """A device with too little memory for the task."""

    code = "memory"


class RankError(UserError):
    """One of several ranks has failed or does not answer."""

    code = "rank"


class ExportError(UserError):
    """An asset that could not be made, or did not pass its verification."""

    code = "export"


class BatchError(UserError):
    """Items of a batch that could not be made, or its workers."""

    code = "batch"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean "x"?`` for the nearest known word, or a list if only a few words are known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
