"""A plug-in for tests of batches: `tiny` makes a number of its options, slowly or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from threestudio_like.commands.registry import command
from threestudio_like.engine.errors import CollapseError, ConfigError, MemoryShortage
from threestudio_like.runs.options import RunOptions


def call(options: Any) -> dict[str, Any]:
    """A figure that follows from prompt, seed, steps and the file's bytes; and a file of it."""
    time.sleep(options.slow)
    if options.note is not None:
        with open(options.note, "a") as file:
            file.write(f"{options.prompt} {options.run.seed}\n")
    if options.fail == "collapse":
        raise CollapseError("the scene is empty", "stage", "Raise the blob")
    if options.fail == "memory":
        raise MemoryShortage("too little memory", "device")
    if options.fail == "error":
        raise ZeroDivisionError("something unforeseen")
    if options.fail == "once" and not os.path.exists(f"{options.note}.tried"):
        Path(f"{options.note}.tried").touch()
        raise OSError("the network is away")
    if options.fail == "die" and not os.path.exists(f"{options.note}.died"):
        Path(f"{options.note}.died").touch()
        os.kill(os.getpid(), 9)
    content = options.file.read_bytes() if options.file else b""
    text = f"{options.prompt}|{options.run.seed}|{options.steps}".encode() + content
    digest = hashlib.sha256(text).hexdigest()
    options.run.out.joinpath("asset.bin").write_bytes(text * 20)
    return {"value": int(digest[:8], 16), "steps": options.steps}


def check(options: Any) -> None:
    """An empty prompt is refused before anything begins."""
    if not options.prompt:
        raise ConfigError("is empty", "--prompt", "Say what to make")


@command("tiny", call, examples=("threestudio-like tiny word",), check=check)
@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Make a number of a prompt. For tests."""

    prompt: tyro.conf.Positional[str] = ""
    """What to make a number of."""
    steps: int = 4
    """Decides the number."""
    slow: float = 0.0
    """Seconds that it takes."""
    fail: str = ""
    """collapse, memory, error, once or die."""
    note: str | None = None
    """A file that gets a line for every try."""
    file: Path | None = None
    """A file whose bytes decide the number."""
    words: tuple[str, ...] = ()
    """Takes several."""
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
