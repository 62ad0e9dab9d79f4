"""run.yaml: what a run is, so that its folder alone is enough to go on with it or to open it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.checkpoint import write_atomically
from ..engine.config import parse_yaml, to_dict, write_yaml
from ..engine.errors import CheckpointError, InputError
from ..engine.output import MadeFiles
from ..engine.schema.yaml_text import read_text
from ..engine.text import json_text, parse_json

FORMAT = 2
"""Version of run.yaml. 1 (no `format` key, `verb` for `command`) is still read."""
RUN_YAML = "run.yaml"
CHECKSUM = "checksum"
"""Key of a run.yaml: 16 digits of the SHA-256 of all that stands below its line. It is at the top,
so that a file whose end is lost has it still. Records of earlier versions have none."""
LATER = ("concepts", "contents", "meshes content", "prior object")
"""Facts that are written only where there is something, and that came later than others."""
FINISHED = "finished.json"
WRITTEN = "written.json"


@dataclass(kw_only=True)
class RunRecord:
    """The content of a run.yaml.

    command: that made the run. options: the command's options as plain values; empty in format 1.
    facts: what the run was asked for (prompt, system, preset, prior, seed, files with their
        SHA-256).
    config: the method's configuration as plain values; None until it is known. threads: of the
    processor; None until they are known.
    """

    command: str
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    export: dict[str, Any] | None = None
    threads: int | None = None
    format: int = FORMAT

    def text(self) -> str:
        """As YAML. The facts stand at the top level, where people look for them."""
        content: dict[str, Any] = {"command": self.command, **self.facts}
        if self.threads is not None:
            content["threads"] = self.threads
        content["options"] = self.options
        if self.config is not None:
            content["config"] = self.config
        if self.export is not None:
            content["export"] = self.export
        body = write_yaml(content)
        return write_yaml({"format": self.format, CHECKSUM: _digest(body)}) + body

    def write(self, folder: Path) -> None:
        """Write run.yaml. Raises OutputError."""
        write_atomically(folder / RUN_YAML, self.text().encode())

    def unsaid(self) -> set[str]:
        """Facts that runs of earlier versions do not have, where this is the record of one."""
        return {*LATER} - {*self.facts} if self.facts else set()

    def check_same(self, facts: Mapping[str, Any], folder: Path) -> None:
        """Raise CheckpointError where a run that goes on has other facts (as read back) than this
        record of the folder."""
        if not self.facts or self.format == 1:
            return
        keys = {*facts, *self.facts} - self.unsaid()
        differing = sorted(k for k in keys if facts.get(k) != self.facts.get(k))
        if differing:
            raise CheckpointError(
                f"the folder holds another run (different: {', '.join(differing)})",
                str(folder),
                "Give the files and options that it was begun with, or another --out",
            )


def read_record(folder: Path) -> RunRecord:
    """The run.yaml of a folder.

    Raises:
        InputError: no run lies there, or its run.yaml is of a later version, cut off or changed.
    """
    remedy = "Give the folder of a run, for instance outputs/latest"
    if not folder.is_dir():
        raise InputError("there is no such run", str(folder), remedy)
    path = folder / RUN_YAML
    if not path.is_file():
        raise InputError(f"is not the folder of a run (it has no {RUN_YAML})", str(folder), remedy)
    text = read_text(path)
    whole = is_as_written(text)
    try:
        content = parse_yaml(text, str(path))
    except InputError:
        if not whole:
            raise _not_as_written(path) from None
        raise
    version = content.pop("format", 1)
    if version not in (1, FORMAT):
        raise InputError(
            f"its format is {version}, this version reads 1 and {FORMAT}",
            str(path),
            "Open it with the version of threestudio-like that made it",
        )
    if not whole or (version == FORMAT and CHECKSUM not in content and _ends_early(text, content)):
        raise _not_as_written(path)
    content.pop(CHECKSUM, None)
    command = content.pop("command", None) or content.pop("verb", None)
    if not isinstance(command, str):
        raise InputError("does not say which command made it", str(path), "Start the run again")
    parts: dict[str, Any] = {}
    for key in ("options", "config", "export"):
        value = content.pop(key, None)
        if value is not None and not isinstance(value, Mapping):
            raise InputError(f'its "{key}" holds no keys', str(path), "Start the run again")
        parts[key] = value
    threads = content.pop("threads", None)
    return RunRecord(
        command=command,
        options=parts["options"] or {},
        facts=content,
        config=parts["config"],
        export=parts["export"],
        threads=threads if isinstance(threads, int) else None,
        format=version,
    )


def is_as_written(text: str) -> bool:
    """Whether the text of a run.yaml, or of another configuration, is what its checksum says; a
    text without one is taken as it is."""
    found = _CHECKSUM_LINE.search(text)
    return found is None or found[1] == _digest(text[found.end() :])


_CHECKSUM_LINE = re.compile(rf"^{CHECKSUM}: *['\"]?([0-9a-f]*)['\"]? *(?:\n|\Z)", re.MULTILINE)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ends_early(text: str, content: Mapping[str, Any]) -> bool:
    """Whether a record without a checksum lacks what every one of its format has: the run's own
    options and, once the run was described (which is when it got its threads), a configuration."""
    options = content.get("options")
    described = "threads" in content and content.get("config") is None
    return not text.endswith("\n") or described or options is None or "run" not in options


def _not_as_written(path: Path) -> InputError:
    return InputError(
        "is not as the run wrote it: it is cut off, or was changed by hand",
        str(path),
        "Put it back as it was, or begin a new run (with --config, if values are to change)",
    )


def as_read_back(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back from YAML, so that those of a resumed run can be compared."""
    return parse_yaml(write_yaml({k: to_dict(v) for k, v in facts.items()}), "facts")


def write_finished(folder: Path, content: Mapping[str, Any]) -> None:
    """Say that the run has delivered. Raises OutputError."""
    write_atomically(folder / "work" / FINISHED, json_text(content, indent=1).encode())


def read_finished(folder: Path) -> dict[str, Any] | None:
    """What `write_finished` wrote; None where the run has not delivered.

    Raises:
        InputError: it is something else.
    """
    path = folder / "work" / FINISHED
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        text = ""
    try:
        content = parse_json(text)
    except (ValueError, RecursionError):
        content = None
    keys = ("figures", "verdict")
    if isinstance(content, dict) and all(isinstance(content.get(k), dict) for k in keys):
        return content
    raise damaged_finish(folder)


def damaged_finish(folder: Path) -> InputError:
    """The error about a finished.json that nothing can be read of."""
    return InputError(
        "is damaged: it does not say how the run ended",
        str(folder / "work" / FINISHED),
        "Remove it, and resume ends the run again",
    )


def written_outside(folder: Path, path: Path) -> MadeFiles:
    """What a run has written beside `path`, outside its own folder: when it goes on it may write
    that again."""
    return MadeFiles(folder / "work" / WRITTEN, path.parent)
