"""`translate`: a threestudio configuration in ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

EXAMPLES = (
    "threestudio-like translate configs/dreamfusion-sd.yaml --out chair.yaml",
    "threestudio-like translate latentnerf.yaml system.prompt_processor.prompt=a_red_chair",
)


@dataclass(frozen=True, kw_only=True)
class Translate:
    """Translate a threestudio configuration, and say line by line what maps whole, what in part and
    what not."""

    path: tyro.conf.Positional[Path] = Path("config.yaml")
    """A YAML file like those of threestudio's folder configs/."""
    overrides: tyro.conf.Positional[tuple[str, ...]] = ()
    """Values as threestudio's launch.py takes them: system.loss.lambda_orient=0."""
    out: Path | None = None
    """File to write the configuration to; without it, it is printed. An existing file is replaced
    only with --force."""
    lost: bool = False
    """Show only what does not map whole."""
    table: bool = False
    """Print the whole table of options as Markdown instead."""
    json: bool = False
    """Print the lines as JSON, and no configuration."""
    force: bool = False
    """Replace a file that is there already."""


def call(options: Translate) -> None:
    """Carry it out; prints the lines, and the configuration or the command that takes it."""
    from .jobs.translate import translate_file

    translate_file(options)
