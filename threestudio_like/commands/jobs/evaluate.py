"""`evaluate`: measure an asset and print its figures."""

from __future__ import annotations

from typing import Any

from ...engine.text import json_text, lines_of
from ...metrics import evaluation
from ...runs.options import check_numbers, flat
from ..evaluate import Evaluate


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Print and return the figures. Raises InputError."""
    check_numbers(flat(options))
    figures = evaluation.evaluate(
        options.source, options.prompt, options.truth, count=options.instances
    )
    print(json_text(figures) if options.json else lines_of(figures))
    return figures
