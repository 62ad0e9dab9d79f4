"""The configurations whose values are options of a command by their dotted names."""

from __future__ import annotations

from typing import Any

from ...systems import registry
from ...systems.text_to_3d.rgb_refinement import RgbRefinement

TASKS = {
    "generate": ("generate", "reconstruct"),
    "texture": ("texture",),
    "reconstruct": ("reconstruct",),
    "compose": ("compose",),
}


def configurations_of(command: str) -> list[Any]:
    """Default configurations of all that a command may carry out."""
    if command == "train":
        from ...training.registry import CONFIGURATIONS

        return [kind() for kind in CONFIGURATIONS]
    if command == "refine":
        return [RgbRefinement()]
    return [
        registry.configuration(name, "default")
        for task in TASKS.get(command, ())
        for name in registry.names(task)
    ]
