"""A command line read into a command's typed options, with one line for every mistake."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import typing
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from ..engine.errors import ConfigError, did_you_mean
from ..engine.places import expand_paths, user_path
from ..engine.registry import PLUGINS, plugin_files, read_plugin_file, read_plugin_files
from .help import help_of, place_of
from .registry import PROGRAM, command_names, is_configured, options_of

AXES = ("--up", "--front", "--to-up", "--to-front")
"""Options whose value may begin with a minus."""
NUMBERS = re.compile(r"^-[\d.]")
ELSEWHERE = {
    "--mask": ("compose", "--masks", "a folder with a mask for each object"),
    "--box": ("compose", "--boxes", "a box for each object"),
    "--n-iters": (None, "--steps", ""),
    "--iters": (None, "--steps", ""),
    "--iterations": (None, "--steps", ""),
    "--max-steps": (None, "--steps", ""),
    "--num-steps": (None, "--steps", ""),
    "--text-prompt": (None, "the prompt behind the command", ""),
    "--prompt": (None, "the prompt behind the command", ""),
    "--guidance-scale": (None, "--distil.guidance.scale", ""),
    "--cfg": (None, "--distil.guidance.scale", ""),
    "--cfg-scale": (None, "--distil.guidance.scale", ""),
    "--negative-prompt": (None, "--negative", ""),
    "--gpu": (None, "--device", ""),
    "--fp16": (None, "--dtype float16", ""),
    "--learned-background": (None, "--background learned", ""),
    "--half": (None, "--dtype float16", ""),
    "--model": (None, "--prior", ""),
    "--checkpoint": (None, "--prior", ""),
    "--pretrained-model-name-or-path": (None, "--prior", ""),
    "--hf-key": (None, "--prior", ""),
    "--sd-version": (None, "--prior sd-1.5", ""),
    "--o": (None, "--out", ""),
    "--output": (None, "--out", ""),
    "--output-dir": (None, "--out", ""),
    "--workspace": (None, "--out", ""),
    "--exp-root-dir": (None, "--out", ""),
    "--name": (None, "--out", ""),
    "--continue": (None, "--resume", ""),
    "--texture-size": (None, "--texture", ""),
    "--texture-resolution": (None, "--texture", ""),
    "--target-faces": (None, "--faces", ""),
    "--size": (None, "--resolution", ""),
    "--gui": (None, "--viewer", ""),
    "--verbose": (None, "--log-every 1", ""),
    "--format": ("export", "--to", ""),
    "--num-gpus": (None, "--ranks", ""),
    "--time-limit": (None, "--minutes", ""),
    "--image": (None, "the picture behind the command", ""),
    "--input": (None, "the file behind the command", ""),
}
"""What users of other tools reach for -> the command that has it (None: this one), our word,
more."""


def parse(command: str, arguments: list[str]) -> Any:
    """The typed options of a command; values of its method's configuration are in `set`.

    Raises:
        ConfigError: an option or a value that does not fit, in one line.
        SystemExit: help was asked for and has been printed.
    """
    kind = options_of(command)
    flags = flags_of(kind)
    arguments = read_plugins(arguments, "--plugins" in flags)
    rest, dotted = _separate(command, flags, [*map(_of_this_machine, arguments)])
    if any(item in ("-h", "--help") for item in rest):
        print(help_of(command))
        raise SystemExit(0)
    _check_positionals(command, kind, flags, rest=rest)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            parsed: Any = tyro.cli(kind, args=rest, prog=f"{PROGRAM} {command}")
    except SystemExit as stop:
        if not stop.code:
            print(out.getvalue(), end="")
            raise
        text = err.getvalue() or out.getvalue()
        message = _one_line(text)
        remedy = "" if message.endswith("?") else f"See: {PROGRAM} {command} --help"
        raise ConfigError(message, f"{PROGRAM} {command}", remedy) from None
    parsed = expand_paths(parsed)
    return replace(parsed, set=dotted) if dotted else parsed


def read_plugins(arguments: list[str], known: bool = True) -> list[str]:
    """Read the files behind --plugins before anything asks a registry, also for the processes that
    this one starts.

    Args:
        known: whether the command has the option; one that has not says so itself.

    Returns:
        The arguments with one --plugins at their end that names every file, also those of the
        environment: a run writes down what it was made with.

    Raises:
        InputError: a file behind --plugins that is not there, or fails; one of the environment is
            told and left out.
    """
    if not known:
        return arguments
    read_plugin_files()
    files: list[str] = []
    rest: list[str] = []
    taking = False
    for item in arguments:
        name, equals, value = item.partition("=")
        if name == "--plugins":
            taking = not equals
            files += [value] if equals else []
        elif taking and not item.startswith("-"):
            files.append(item)
        else:
            _check_taken(taking, files)
            taking = False
            rest.append(item)
    _check_taken(taking, files)
    paths = [str(user_path(f).resolve()) for f in files]
    every = list(dict.fromkeys([*plugin_files(), *paths]))
    if PLUGINS in os.environ:
        os.environ[PLUGINS] = os.pathsep.join(plugin_files())
    if not every:
        return rest
    for path in every:
        read_plugin_file(Path(path))
    os.environ[PLUGINS] = os.pathsep.join(every)
    return [*rest, "--plugins", *every]


def _check_taken(taking: bool, files: list[str]) -> None:
    if taking and not files:
        raise ConfigError("wants a value", "--plugins", "Name one file at least, or leave it out")


def flags_of(kind: type) -> dict[str, Any]:
    """The options of a command by their flags -> their types; those of groups among them, but not
    what stands without a flag."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        hint = hints[item.name]
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        bare = typing.get_args(hint)[0] if marks else hint
        if tyro.conf.Suppress in marks or _is_positional(marks):
            continue
        if is_dataclass(bare):
            found.update(flags_of(typing.cast(type, bare)))
            continue
        name = next((m.name for m in marks if getattr(m, "name", None)), item.name)
        found["--" + name.replace("_", "-")] = bare
    return found


def _is_positional(marks: tuple[Any, ...]) -> bool:
    return tyro.conf.Positional in marks or any("Positional" in repr(m) for m in marks)


def positionals_of(kind: type) -> list[str]:
    """Names of what stands without a flag, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        f.name
        for f in fields(kind)
        if typing.get_origin(hints[f.name]) is typing.Annotated
        and _is_positional(typing.get_args(hints[f.name])[1:])
    ]


def _separate(
    command: str, flags: dict[str, Any], arguments: list[str]
) -> tuple[list[str], dict[str, str]]:
    """What tyro reads, and dotted values of the configuration. Raises ConfigError."""
    rest: list[str] = []
    dotted: dict[str, str] = {}
    configured = is_configured(command)
    items = iter(arguments)
    for item in items:
        name, equals, value = item.partition("=")
        if re.match(r"^-[A-Za-z]", name) and name != "-h":
            raise _unknown(command, flags, name, flag="-" + name.replace("_", "-"))
        if not re.match(r"^--[A-Za-z]", name):
            rest.append(item)
            continue
        flag = name.replace("_", "-")
        if flag == "--help" or flag in flags or _negated(flag) in flags:
            if flag in AXES and not equals:
                equals, value = "=", next(items, "")
            if equals and flags.get(flag) is bool:
                rest.append(_boolean(flag, value))
            else:
                rest.append(flag + equals + value)
            continue
        key = name[2:].replace("-", "_")
        if configured and ("." in name or key in undotted(command)):
            given = value if equals else next(items, None)
            if given is None or (given.startswith("--") and not NUMBERS.match(given)):
                raise ConfigError("wants a value", name)
            dotted[key] = given
            continue
        raise _unknown(command, flags, name, flag=flag)
    return _joined(rest, flags), dotted


def _of_this_machine(item: str) -> str:
    """An argument; a path with a dot before it that is not there as it is from the root, because
    without the dot, which a `Path` forgets, it could be a name of the hub."""
    flag, equals, value = item.partition("=") if item.startswith("--") else ("", "", item)
    there = not value.startswith("./") or os.path.exists(value)
    return item if there else flag + equals + os.path.abspath(value)


def _joined(rest: list[str], flags: dict[str, Any]) -> list[str]:
    """The arguments with the values of a repeated option of several values behind its first
    flag: of `--lora a --lora b` the reader of arguments would take the last one alone. Raises
    ConfigError where there are none."""
    chunks: list[list[str]] = [[]]
    first: dict[str, list[str]] = {}
    for item in rest:
        flag, equals, value = item.partition("=")
        several = typing.get_origin(flags.get(flag)) is tuple
        if several and flag in first:
            # Behind --flag=value stands nothing else of the flag.
            first[flag] += [value] if equals else []
            chunks.append([] if equals else first[flag])
        elif item.startswith("--"):
            chunks.append([flag, value] if several and equals else [item])
            if several:
                first[flag] = chunks[-1]
        else:
            chunks[-1].append(item)
    empty = next((flag for flag, chunk in first.items() if chunk == [flag]), None)
    if empty is not None:
        raise ConfigError("wants a value", empty, "Name one at least, or leave it out")
    kept = {id(chunk): chunk for chunk in chunks}
    return [item for chunk in kept.values() for item in chunk]


def _negated(flag: str) -> str:
    return "--" + flag[5:] if flag.startswith("--no-") else flag


def _boolean(flag: str, value: str) -> str:
    if value.lower() in ("true", "1", "yes", "on"):
        return flag
    if value.lower() in ("false", "0", "no", "off"):
        return "--no-" + flag[2:]
    raise ConfigError(f'wants true or false, got "{value}"', flag)


def _unknown(command: str, flags: dict[str, Any], name: str, flag: str) -> ConfigError:
    where = f"{PROGRAM} {command}"
    if flag in ELSEWHERE:
        other, ours, more = ELSEWHERE[flag]
        first = ours.split(" ")[0]
        configured = first[2:].replace("-", "_") in undotted(command)
        ours_there = first in flags or configured or not ours.startswith("--") or "." in ours
        if other is not None and other != command:
            text = f"{ours} of {other}" + (f" takes {more}" if more else "")
            return ConfigError(f'there is no option "{name}" here', where, f"See {text}")
        if other == command or ours_there:
            return ConfigError(f'there is no option "{name}"', where, f"Here it is {ours}")
    standing = {f"--{n}": n for n in positionals_of(options_of(command)) if f"--{n}" not in flags}
    known = [*flags, *standing, *(f"--{v.replace('_', '-')}" for v in undotted(command))]
    near = difflib.get_close_matches(flag, known, 1, 0.6)
    if near and near[0] in standing:
        remedy = f"Here it is the {standing[near[0]]} behind the command"
        return ConfigError(f'there is no option "{name}"', where, remedy)
    if near:
        return ConfigError(f'there is no option "{name}"', where, f'Did you mean "{near[0]}"?')
    for other in command_names():
        if flag in flags_of(options_of(other)):
            return ConfigError(
                f'there is no option "{name}"', where, f"{PROGRAM} {other} has one of that name"
            )
    return ConfigError(
        f'there is no option "{name}"', where, f"{PROGRAM} {command} --help lists them"
    )


def undotted(command: str) -> set[str]:
    """Values of the configurations that a command may have which have no dot in their name."""
    if not is_configured(command):
        return set()
    from ..engine.config import dotted
    from .jobs.configurations import configurations_of

    return {
        key for config in configurations_of(command) for key in dotted(config) if "." not in key
    }


def _takes_many(kind: type, name: str) -> bool:
    """Whether what stands without a flag may stand there several times."""
    hint = typing.get_type_hints(kind).get(name)
    return typing.get_origin(hint) is tuple and Ellipsis in typing.get_args(hint)


def _check_positionals(command: str, kind: type, flags: dict[str, Any], rest: list[str]) -> None:
    """Say it where more stands without a flag than is read, most often a prompt without quotes; or
    less, because an option of several values has taken it."""
    names = positionals_of(kind)
    stray, skip = [], 0
    taken = ("", "", 0)
    for item in rest:
        if item.startswith("--"):
            flag, equals, _ = item.partition("=")
            takes = flags.get(flag)
            skip = 0 if equals or takes is bool or flag not in flags else _width(takes)
            taken = (flag, "", 0)
        elif skip > 0:
            skip -= 1
            taken = (taken[0], item, taken[2] + 1)
        else:
            stray.append(item)
    flag, last, count = taken
    files = typing.get_args(flags.get(flag)) == (Path, Ellipsis)
    if names[len(stray) : len(stray) + 1] == ["prompt"] and files and count > 1 and _words(last):
        # "generate --lora a.safetensors 'a red chair'": the option has taken the prompt.
        before = " ".join([*map(shlex.quote, stray), f'"{last}" {flag}'])
        raise ConfigError(
            f'{flag} takes all that stands behind it, also "{last}"',
            f"{PROGRAM} {command}",
            f"The prompt stands before the options: {PROGRAM} {command} {before} ...",
        )
    if len(stray) <= len(names) or (names and _takes_many(kind, names[-1])):
        return
    if names and names[-1] in ("prompt", "source", "mesh", "picture") and "prompt" in names:
        first = names.index("prompt")
        words = " ".join(stray[first:])
        before = " ".join([*stray[:first], ""])
        raise ConfigError(
            "the prompt must stand in quotes",
            f"{PROGRAM} {command}",
            f'{PROGRAM} {command} {before}"{words}"',
        )
    word = stray[len(names)]
    raise ConfigError(
        f'does not know what to do with "{word}"',
        f"{PROGRAM} {command}",
        place_of(command, stray, word) or f"See: {PROGRAM} {command} --help",
    )


def _words(text: str) -> bool:
    """Whether what an option of files was given is words rather than a file's name."""
    named = "/" in text or ("." in text and " " not in text)
    return not named and not os.path.exists(text)


def _width(kind: Any) -> int:
    """How many words an option takes at most."""
    return 1_000_000 if typing.get_origin(kind) is tuple else 1


def _one_line(text: str) -> str:
    """tyro's message, which stands in a box with a title and rulers, as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line for line in text.splitlines() if line.strip()]
    # The first line is the box's title; the message ends at the first ruler within it.
    message = []
    for line in lines[1:]:
        words = re.sub(r"[│╭╮╰╯─┌┐└┘|]+", " ", line).strip(" -=+")
        if words:
            message.append(words)
        elif message:
            break
    joined = " ".join(" ".join(message).split())
    choice = re.search(
        r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*?)\)", joined
    )
    if choice:
        names = re.findall(r"'(.*?)'", choice[3])
        return f'{choice[2]}: there is no "{choice[1]}". {did_you_mean(choice[1], names)}'
    number = re.search(r"(--[\w-]+|\w+):.*invalid literal for int\(\).*: '(.*)'", joined)
    if number:
        return f'{number[1]}: wants a whole number, got "{number[2]}"'
    number = re.search(r"(--[\w-]+|\w+):.*could not convert string to float: '(.*)'", joined)
    if number:
        return f'{number[1]}: wants a number, got "{number[2]}"'
    joined = joined.removeprefix("Error parsing ")
    return joined[:300].rstrip(".") or "the options cannot be read"
