"""run.yaml: what a run is, so that its folder alone is enough to go on with it or to open it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.checkpoint import write_atomically
from ..engine.config import parse_yaml, read_yaml, to_dict, write_yaml
from ..engine.errors import InputError
from ..engine.output import MadeFiles
from ..engine.text import json_text

FORMAT = 2
"""Version of run.yaml. 1 (no `format` key, `verb` for `command`) is still read."""
RUN_YAML = "run.yaml"
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
        content: dict[str, Any] = {"format": self.format, "command": self.command, **self.facts}
        if self.threads is not None:
            content["threads"] = self.threads
        content["options"] = self.options
        if self.config is not None:
            content["config"] = self.config
        if self.export is not None:
            content["export"] = self.export
        return write_yaml(content)

    def write(self, folder: Path) -> None:
        """Write run.yaml. Raises OutputError."""
        write_atomically(folder / RUN_YAML, self.text().encode())


def read_record(folder: Path) -> RunRecord:
    """The run.yaml of a folder.

    Raises:
        InputError: no run lies there, or its run.yaml is of a later version or damaged.
    """
    remedy = "Give the folder of a run, for instance outputs/latest"
    if not folder.is_dir():
        raise InputError("there is no such run", str(folder), remedy)
    path = folder / RUN_YAML
    if not path.is_file():
        raise InputError(f"is not the folder of a run (it has no {RUN_YAML})", str(folder), remedy)
    content = read_yaml(path)
    version = content.pop("format", 1)
    if version not in (1, FORMAT):
        raise InputError(
            f"its format is {version}, this version reads 1 and {FORMAT}",
            str(path),
            "Open it with the version of threestudio-like that made it",
        )
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


def as_read_back(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back from YAML, so that those of a resumed run can be compared."""
    return parse_yaml(write_yaml({k: to_dict(v) for k, v in facts.items()}), "facts")


def write_finished(folder: Path, content: Mapping[str, Any]) -> None:
    """Say that the run has delivered. Raises OutputError."""
    write_atomically(folder / "work" / FINISHED, json_text(content, indent=1).encode())


def read_finished(folder: Path) -> dict[str, Any] | None:
    """What `write_finished` wrote; None where the run has not delivered."""
    try:
        content = json.loads((folder / "work" / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def written_outside(folder: Path, path: Path) -> MadeFiles:
    """What a run has written beside `path`, outside its own folder: when it goes on it may write
    that again."""
    return MadeFiles(folder / "work" / WRITTEN, path.parent)
