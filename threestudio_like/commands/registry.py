"""The commands by name, and the one way in which each is carried out. A new command is one file:

    @command("mine", call, examples=("threestudio-like mine x.glb",))
    @dataclass(frozen=True, kw_only=True)
    class Mine: ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.commands".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ..engine.errors import ConfigError
from ..engine.registry import Registry

K = TypeVar("K", bound=type)

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
    "batch": "batch:Batch",
    "samples": "samples:Samples",
    "doctor": "doctor:Doctor",
    "vocabulary": "vocabulary:Vocabulary",
    "translate": "translate:Translate",
    "completion": "completion:Completion",
}
"""Name -> file of this folder and the class of its options there. A file also holds `call`, which
carries the command out, and two `EXAMPLES`; it imports nothing heavy. `command_names` are all."""


@dataclass(frozen=True, kw_only=True)
class CommandKind:
    """A command of a plug-in.

    Attributes:
        options: a frozen dataclass; its docstring is the command's help.
        call: carries it out. Where the options have a `run` group, what it makes goes into a folder
            of `runs.session.Run`; else it returns a dictionary of figures.
        examples: two command lines.
        check: is asked about options before anything of a batch begins; raises UserError.
    """

    options: type
    call: Callable[..., Any]
    examples: tuple[str, ...] = ()
    check: Callable[[Any], None] | None = None

    @property
    def summary(self) -> str:
        """One line about it."""
        return " ".join((self.options.__doc__ or "").split())


PLUG_IN_COMMANDS: Registry[CommandKind] = Registry(
    "command", "threestudio_like.commands", CommandKind, aliases={name: name for name in COMMANDS}
)
"""The commands of plug-ins. The package's own names are taken (as aliases that lead nowhere)."""


def command(
    name: str,
    call: Callable[..., Any],
    examples: tuple[str, ...] = (),
    *,
    check: Callable[[Any], None] | None = None,
) -> Callable[[K], K]:
    """Register the decorated class of options as a command, see `CommandKind`."""

    def register(options: K) -> K:
        kind = CommandKind(options=options, call=call, examples=examples, check=check)
        PLUG_IN_COMMANDS.add(name, kind)
        return options

    return register


def command_names() -> list[str]:
    """The package's own commands in their order, then those of plug-ins."""
    return [*COMMANDS, *PLUG_IN_COMMANDS.names()]


def is_command(name: str) -> bool:
    """Whether there is a command of this name."""
    return name in COMMANDS or name in command_names()


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f".{COMMANDS[name].split(':')[0]}", __package__)


def options_of(name: str) -> type:
    """The class of a command's options. Raises ConfigError where there is no such command."""
    if name in COMMANDS:
        return getattr(_module_of(name), COMMANDS[name].split(":")[1])
    return PLUG_IN_COMMANDS.get(name).options


def call_of(name: str) -> Callable[..., Any]:
    """What carries a command out. Raises ConfigError where there is no such command."""
    return _module_of(name).call if name in COMMANDS else PLUG_IN_COMMANDS.get(name).call


def examples_of(name: str) -> tuple[str, ...]:
    """Command lines that show a command. Raises ConfigError where there is no such command."""
    return _module_of(name).EXAMPLES if name in COMMANDS else PLUG_IN_COMMANDS.get(name).examples


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
    _check_options(options)
    call = call_of(name)
    # `resume` goes on with a run anyway: its own --resume says nothing more.
    if name != "resume" and getattr(getattr(options, "run", None), "resume", False):
        from .jobs.resume import resume_with

        call = partial(resume_with, name)
    if not objects:
        return call(options)
    from ..runs.repeat import made_in_python

    with made_in_python(objects):
        return call(options, **objects)


def _check_options(options: Any) -> None:
    """Raise ConfigError on what no command can mean: a number that is not finite and, where a run
    writes down what it was asked, a text or a name that is not Unicode."""
    from ..runs.options import check_finite, flag, flat
    from .parsing import positionals_of

    values = flat(options)
    check_finite(values)
    if getattr(options, "run", None) is None:
        return
    standing = positionals_of(type(options))
    dotted = {f"--{key}": value for key, value in (values.pop("set", None) or {}).items()}
    named = {name if name in standing else flag(name): v for name, v in values.items()}
    for name, value in {**named, **dotted}.items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, (str, Path)) and not _is_unicode(str(one)):
                remedy = "Rename it" if isinstance(one, Path) else "Write it in UTF-8"
                raise ConfigError(f"is not UTF-8, {ascii(str(one))[:60]}", name, remedy)


def _is_unicode(text: str) -> bool:
    """Whether a text has no bytes in it that the machine could not read as letters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
