"""The command line: argv to a command. Every mistake of the user ends in one line and exit code
2."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any

from .commands.parsing import parse, read_plugins
from .commands.registry import COMMANDS, PROGRAM, carry_out, command_names, is_command, options_of
from .engine.errors import ConfigError, OutputError, UserError, did_you_mean

DOES_NOT_FIT = 3
"""Exit code of --strict where a result does not fit its picture."""
NO_ROOM = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EBADF, getattr(errno, "EDQUOT", -1))
"""Why a stream takes no more bytes."""
BUSY = 0.5
"""Cores that other programs use, at least, for threads to wait asleep."""
GO_ON = {
    "batch": "the same command: what is made stays made",
    "train": "the same command and --resume",
}
"""How to go on after Ctrl-C, where it is not with `resume`."""


def help_text() -> str:
    """The commands, a line each."""
    lines = [
        f"usage: {PROGRAM} COMMAND [options]",
        "",
        "Text, images and meshes to 3D assets, by optimisation against pretrained priors.",
        "",
    ]
    lines += [f"  {name:<12}{_summary(options_of(name))}" for name in command_names()]
    lines += [
        "",
        f"{PROGRAM} COMMAND --help lists a command's options.",
        'First: threestudio-like generate "a red chair"',
    ]
    return "\n".join(lines)


def _summary(options: type) -> str:
    text = " ".join((options.__doc__ or "").split())
    return text.split(": ")[0].split(". ")[0].rstrip(".")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    show_any_letter()
    try:
        try:
            code = _run(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        # Else what is left in the buffer fails when Python ends, where nobody hears of it.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _told(error)
    except BrokenPipeError:
        _write_no_more()
        return 130
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.filename is not None or error.errno not in NO_ROOM:
            return _unexpected(error, arguments[0])
        # Files have errors of their own: these bytes were the terminal's, or a redirection's.
        _write_no_more()
        return _told(
            OutputError(
                f"cannot be written ({error.strerror})", "standard output", "Send it elsewhere"
            )
        )
    except Exception as error:
        return _unexpected(error, arguments[0])


def _told(error: UserError) -> int:
    if _speaks():
        print(f"{PROGRAM}: {error.line()}", file=sys.stderr)
    return error.exit_code


def _write_no_more() -> None:
    """Let standard output, which takes no more, lead nowhere: Python empties its buffer once more
    when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _run(arguments: list[str]) -> int:
    prepare_libraries(os.environ)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if arguments[0] in ("--version", "-V"):
        from . import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        read_plugins(arguments[1:])
    if not is_command(command):
        raise ConfigError(
            f'there is no command "{command}"', PROGRAM, did_you_mean(command, command_names())
        )
    # Python's last collection walks all that the libraries have loaded: two seconds for nothing.
    atexit.register(leave_quickly)
    options = parse(command, arguments[1:])
    views: Any = getattr(options, "views", None)
    if views is not None and views.ranks != 1:
        from .runs import launcher

        if not launcher.launched():
            return launcher.launch(views.ranks, arguments)
    from .runs.written import names_written, written_options

    kind = options_of(command)
    with written_options(kind, names_written(kind, arguments[1:])):
        result = carry_out(command, options)
    if isinstance(result, str) and result:
        print(result)
    return DOES_NOT_FIT if getattr(result, "failed", False) is True else 0


def _speaks() -> bool:
    """Whether an error is to be said by this process, which may be one of several (`--ranks`)."""
    if "THREESTUDIO_LIKE_RANK" not in os.environ:
        return True
    from .runs import launcher

    return launcher.speaks()


def _unexpected(error: Exception, command: str) -> int:
    if type(error).__name__ == "Interrupted":
        how = GO_ON.get(command, f"{PROGRAM} resume and the run's folder")
        print(f"{PROGRAM}: stopped; the state is saved. Go on with {how}", file=sys.stderr)
        return 130
    if os.environ.get("THREESTUDIO_LIKE_DEBUG"):
        raise error
    problem = " ".join(str(error).split())[:200]
    print(
        f"{PROGRAM}: unexpected {type(error).__name__}: {problem}. Please report it; "
        "THREESTUDIO_LIKE_DEBUG=1 shows where it happened",
        file=sys.stderr,
    )
    return 1


def prepare_libraries(environment: MutableMapping[str, str]) -> None:
    """What libraries read when they are loaded, where the user has not set it.

    A thread that waits for another of the same computation asks for it again and again before it
    sleeps, which is quick, and where other programs have the cores keeps the awaited one from
    running: docs/results/waiting_threads.md."""
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    told = any(name in environment for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))
    if told or "torch" in sys.modules:
        return
    if cores_of_others() >= max(BUSY, (os.cpu_count() or 1) / 8):
        environment["OMP_WAIT_POLICY"] = "passive"


def cores_of_others(seconds: float = 0.06) -> float:
    """How many cores are at work while this process waits; 0 where the system does not say."""

    def worked() -> int:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, *more = map(int, file.readline().split()[1:9])
        return user + nice + system + sum(more)

    try:
        before = worked()
        time.sleep(seconds)
        return (worked() - before) / (seconds * os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError):
        return 0.0


def show_any_letter() -> None:
    """Let a terminal that does not know a letter show its number instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_quickly() -> None:
    """End without looking for cycles of garbage, which takes longer than small runs; but Triton
    complains of what it was not given back."""
    if "triton" not in sys.modules:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
