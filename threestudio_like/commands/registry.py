"""The commands by name, and the one way in which each is carried out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

PROGRAM = "threestudio-like"
COMMANDS: dict[str, str] = {
    "generate": "generate:Generate",
    "texture": "texture:Texture",
    "reconstruct": "reconstruct:Reconstruct",
    "compose": "compose:Compose",
    "refine": "refine:Refine",
    "resume": "resume:Resume",
    "export": "export:Export",
    "view": "view:View",
    "evaluate": "evaluate:Evaluate",
    "mesh": "mesh:Mesh",
    "train": "train:Train",
    "samples": "samples:Samples",
    "doctor": "doctor:Doctor",
    "vocabulary": "vocabulary:Vocabulary",
    "completion": "completion:Completion",
}
"""Name -> file of this folder and the class of its options there. A file also holds `call`, which
carries the command out, and two `EXAMPLES`; it imports nothing heavy."""


def module_of(name: str) -> ModuleType:
    """The file of a command."""
    return importlib.import_module(f".{COMMANDS[name].split(':')[0]}", __package__)


def options_of(name: str) -> type:
    """The class of a command's options."""
    return getattr(module_of(name), COMMANDS[name].split(":")[1])


def is_configured(name: str) -> bool:
    """Whether values of a method's configuration are options of the command by dotted names."""
    return any(item.name == "set" for item in fields(options_of(name)))


def carry_out(name: str, options: Any, objects: Mapping[str, Any] | None = None) -> Any:
    """Carry out a command: the command line and the Python API both do it here.

    Args:
        options: of the command's class.
        objects: what cannot be an option: a prior or a configuration made in Python.

    Raises:
        UserError: of every kind in `engine.errors`; earlier results stay as they are.
    """
    # `resume` goes on with a run anyway: its own --resume says nothing more.
    if name != "resume" and getattr(getattr(options, "run", None), "resume", False):
        from .jobs.resume import resume_with

        return resume_with(name, options, objects or {})
    return module_of(name).call(options, **(objects or {}))
