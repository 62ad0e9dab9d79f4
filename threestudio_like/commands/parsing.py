"""The command line read into a verb's typed options, and into dotted values of its system's
configuration."""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import tyro

from ..engine.errors import ConfigError, did_you_mean
from ..engine.places import expand_paths
from ..engine.registry import PLUGINS, read_plugin_files
from . import arguments as of

PROGRAM = "threestudio-like"

VERBS: dict[str, type] = {
    "generate": of.Generate,
    "texture": of.Texture,
    "reconstruct": of.Reconstruct,
    "compose": of.Compose,
    "refine": of.Refine,
    "export": of.Export,
    "view": of.View,
    "evaluate": of.Evaluate,
    "mesh": of.MeshTool,
    "train": of.Train,
    "doctor": of.Doctor,
    "samples": of.Samples,
    "vocabulary": of.Vocabulary,
    "completion": of.Completion,
}


CONFIGURED = (of.Generate, of.Texture, of.Reconstruct, of.Compose, of.Refine, of.Train)
"""Verbs whose systems' values are options by their dotted names."""
AXES = ("--up", "--front", "--to-up", "--to-front")


def _flags(kind: type) -> list[str]:
    return ["--" + f.name.replace("_", "-") for f in fields(kind)]


def parse(verb: str, kind: type, arguments: list[str]) -> tuple[Any, dict[str, str]]:
    """The verb's typed options, and dotted values that belong to the system's configuration."""
    known = _flags(kind)
    rest, dotted = [], {}
    items = iter(arguments)
    for item in items:
        name, equals, value = item.partition("=")
        if re.match(r"^--[A-Za-z]", name):
            flag = name.replace("_", "-")
            unknown = flag not in (*known, "--help") and not (
                flag.startswith("--no-") and "--" + flag[5:] in known
            )
            values = undotted(verb) if unknown and kind in CONFIGURED else set()
            if kind in CONFIGURED and ("." in name or name[2:].replace("-", "_") in values):
                given = value if equals else next(items, None)
                if given is None or given.startswith("--"):
                    raise ConfigError("wants a value", name)
                dotted[name[2:].replace("-", "_")] = given
                continue
            if unknown:
                raise ConfigError(
                    f'there is no option "{name}"',
                    f"{PROGRAM} {verb}",
                    did_you_mean(flag, known + [f"--{v}" for v in values]),
                )
            if flag in AXES and not equals:
                # Its value may begin with a minus.
                equals, value = "=", next(items, "")
            rest.append(flag + equals + value)
        else:
            rest.append(item)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            parsed: Any = tyro.cli(
                kind,
                args=rest,
                prog=f"{PROGRAM} {verb}",
                description=" ".join((kind.__doc__ or "").split()),
            )
    except SystemExit as stop:
        if not stop.code:
            print(out.getvalue(), end="")
            raise
        raise ConfigError(
            _one_line(err.getvalue() or out.getvalue()),
            f"{PROGRAM} {verb}",
            f"See: {PROGRAM} {verb} --help",
        ) from None
    return expand_paths(parsed), dotted


def take_plugins(arguments: list[str]) -> list[str]:
    """Read the files behind `--plugins`, also for the processes that this one starts; returns the
    other arguments. Raises InputError, ConfigError."""
    rest, files = [], []
    items = iter(arguments)
    for item in items:
        name, equals, value = item.partition("=")
        if name != "--plugins":
            rest.append(item)
            continue
        given = value if equals else next(items, "")
        if not given or given.startswith("--"):
            raise ConfigError("wants a Python file", "--plugins")
        files.append(str(Path(given).expanduser().resolve()))
    if files:
        before = filter(None, os.environ.get(PLUGINS, "").split(os.pathsep))
        os.environ[PLUGINS] = os.pathsep.join(dict.fromkeys([*before, *files]))
        read_plugin_files()
    return rest


def undotted(verb: str) -> set[str]:
    """Values of the verb's systems that have no dot in their name."""
    from ..engine import config as settings
    from ..systems import registry

    if verb == "train":
        from ..training.registry import CONFIGURATIONS

        return {
            key for config in CONFIGURATIONS for key in settings.dotted(config()) if "." not in key
        }
    verbs = (verb, "reconstruct") if verb == "generate" else (verb,)
    systems = (registry.configuration(name) for v in verbs for name in registry.names(v))
    return {key for config in systems for key in settings.dotted(config) if "." not in key}


def _one_line(text: str) -> str:
    """tyro's boxed message as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = [re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in text.splitlines()]
    kept = [
        w
        for w in words
        if w and not w.startswith(("For full helptext", "Parsing error", "Full helptext", "usage"))
    ]
    return " ".join(" ".join(kept).split())[:300].rstrip(".") or "the options cannot be read"
