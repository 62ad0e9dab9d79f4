"""Whether what is given as a prompt are words, or a file that was meant for something else."""

from __future__ import annotations

import os
from pathlib import Path

from ..engine.errors import InputError

OTHERS = (
    *(".txt", ".yaml", ".yml", ".json", ".jsonl", ".csv", ".npy", ".safetensors", ".ckpt"),
    *(".fbx", ".blend", ".x3d", ".spz", ".splat", ".mp4"),
)
"""Endings of files besides those of meshes, Gaussians and pictures."""


def names_file(text: str) -> bool:
    """Whether a text is the name of a file: one word with the ending of a file that this program
    reads, or a path with an ending or a folder in it where a file or a folder lies."""
    from ..meshes.io.photographs import SUFFIXES

    text = text.strip()
    ending = Path(text).suffix.lower()
    if ending and " " not in text:
        known = {*OTHERS, *SUFFIXES, *_of_meshes()}
        if ending in known:
            return True
    path = os.path.expanduser(text)
    return ("/" in text or bool(ending)) and os.path.exists(path)


def _of_meshes() -> set[str]:
    from ..meshes.io.formats import FORMATS

    return {suffix for _, row in FORMATS.items() for suffix in row.suffixes}


def check_words(text: str) -> None:
    """Raise InputError where a prompt is the name of a file (`names_file`): a model with an open
    vocabulary would take it for words and work for hours."""
    if names_file(text):
        raise InputError(
            f'is the name of a file, "{text.strip()[:80]}"',
            "prompt",
            'Say in words what it shows: "a red chair". A picture goes behind reconstruct, a mesh '
            "behind texture, a file of prompts behind batch --prompts",
        )
