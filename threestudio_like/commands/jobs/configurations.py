"""The configurations whose values are options of a command by their dotted names."""

from __future__ import annotations

from typing import Any

from ...systems import registry

COMMANDS = ("generate", "texture", "reconstruct", "compose", "refine")
"""Commands that run systems."""


def configurations_of(command: str) -> list[Any]:
    """Default configurations of all that a command may carry out."""
    if command == "train":
        from ...training.registry import CONFIGURATIONS

        return [kind() for kind in CONFIGURATIONS]
    tasks = {"generate": ("generate", "reconstruct")}.get(command, (command,))
    if command not in COMMANDS:
        return []
    return [registry.configuration(name) for task in tasks for name in registry.names(task)]
