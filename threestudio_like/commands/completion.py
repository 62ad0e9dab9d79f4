"""`completion`: a script for the shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

EXAMPLES = (
    "threestudio-like completion bash >> ~/.bash_completion",
    "threestudio-like completion zsh > ~/.zfunc/_threestudio_like",
)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a shell completion script."""

    shell: tyro.conf.Positional[Literal["bash", "zsh"]] = "bash"
    """Which shell."""


def call(options: Completion) -> None:
    """Carry it out; prints the script."""
    import contextlib

    from .registry import PROGRAM, command_names, options_of

    union: Any = None
    for name in command_names():
        member: Any = Annotated[options_of(name), tyro.conf.subcommand(name)]
        union = member if union is None else union | member
    with contextlib.suppress(SystemExit):
        tyro.cli(union, args=["--tyro-print-completion", options.shell], prog=PROGRAM)
