"""`resume`, and --resume of every command: the run's folder says what to go on with."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...engine.config import from_dict
from ...engine.errors import CheckpointError, ConfigError
from ...engine.places import user_path
from ...meshes.mesh import Asset
from ...meshes.verification import Verdict
from ...runs.contents import PRIOR_OBJECT
from ...runs.delivery import RunResult
from ...runs.folders import existing_folder, point_latest
from ...runs.options import (
    SAME_RESULT,
    check_numbers,
    flag,
    flat,
    is_strict,
    regroup,
)
from ...runs.record import RunRecord, damaged_finish, read_finished, read_record
from ...runs.written import OF_THE_SOURCE, asked, written_options
from ..registry import PROGRAM, call_of, is_command, options_of
from ..resume import Resume


def resume(options: Resume) -> Any:
    """Go on with the run in a folder.

    Raises:
        UserError: no run lies there, or it cannot go on as the options ask.
    """
    check_numbers({**flat(options), "folder": None})
    folder = existing_folder(options.folder)
    record = read_record(folder)
    said = asked(options)
    _check_unchanged(said, _saved_options(record, folder).run.seed, folder)
    changes = {k: v for k, v in said.items() if k in SAME_RESULT} | _shown(options)
    return _go_on(folder, record, changes, steps=options.steps, objects={})


def _check_unchanged(said: Mapping[str, Any], seed: int, folder: Path) -> None:
    """Raise ConfigError on another seed or folder than the run has."""
    remedy = "Leave it out, or begin a new run"
    if said.get("seed", seed) != seed:
        raise ConfigError("cannot change when a run goes on", "--seed", remedy)
    if "out" in said and user_path(said["out"]).resolve() != folder:
        raise ConfigError("cannot change when a run goes on", "--out", remedy)


def resume_with(command: str, options: Any, **objects: Any) -> Any:
    """Go on with a run by the command that made it: options that are given must be those of the
    run, but for those that leave its result alone, and more --steps.

    Raises:
        CheckpointError: the folder's run is another one.
    """
    check_numbers(flat(options))
    folder = existing_folder(options.run.out)
    record = read_record(folder)
    if record.command != command:
        raise CheckpointError(
            f"the folder holds a run of {record.command}",
            str(folder),
            f"{PROGRAM} resume {folder}",
        )
    saved, changes = _saved_options(record, folder), asked(options)
    known = flat(saved)
    differing = [
        flag(name)
        for name, value in changes.items()
        if name not in SAME_RESULT and name != "steps" and not _agrees(name, value, known)
    ]
    if differing:
        raise CheckpointError(
            f"the folder holds another run (different: {', '.join(sorted(differing))})",
            str(folder),
            f"Leave them out, or choose another --out; {PROGRAM} resume {folder} goes on with it",
        )
    kept = {k: v for k, v in changes.items() if k in SAME_RESULT} | _shown(options)
    return _go_on(folder, record, kept, steps=changes.get("steps"), objects=objects)


def _shown(options: Any) -> dict[str, Any]:
    """How the run is shown: as this command says, not as the first one did."""
    known = flat(options)
    return {name: known[name] for name in ("quiet", "json", "viewer")}


def _agrees(name: str, value: Any, known: Mapping[str, Any]) -> bool:
    before = known.get(name)
    if name == "set":
        return all(before.get(k) == v for k, v in value.items()) if before else False
    if isinstance(value, Path):
        return before is not None and _absolute(value) == _absolute(before)
    if isinstance(value, tuple):
        return [_absolute(v) for v in value] == [_absolute(v) for v in before or ()]
    if name == "picture" and before:
        return _absolute(Path(value)) == _absolute(Path(before))
    return value == before


def _absolute(value: Any) -> Any:
    """A path as it is from the root; anything else as it is."""
    return user_path(value).absolute() if isinstance(value, Path) else value


def _go_on(
    folder: Path,
    record: RunRecord,
    changes: Mapping[str, Any],
    steps: int | None,
    objects: Mapping[str, Any],
) -> Any:
    options = _saved_options(record, folder)
    values = {**changes, "resume": True, "out": folder}
    before = flat(options).get("steps")
    if steps is not None and steps != before:
        values["steps"] = steps
    else:
        content = read_finished(folder)
        if content is not None:
            return _finished_already(folder, regroup(options, dict(changes)), content)
    # A run's own are what its source's had become: none of them gives way to the source's again.
    own = OF_THE_SOURCE.get(record.command, frozenset())
    if PRIOR_OBJECT in record.facts:
        own = own - {"prior"}
    with written_options(type(options), own):
        return call_of(record.command)(regroup(options, values), **objects)


def _finished_already(folder: Path, options: Any, content: dict[str, Any]) -> RunResult:
    verdict = _verdict(content["verdict"], folder)
    path = folder / "asset.glb"
    # A run with --texture-only leaves pictures and no mesh.
    pictures = getattr(options, "texture_only", False)
    asset = Asset({}) if pictures else Asset.load(path)
    if not options.run.quiet:
        print(f"{folder if pictures else path}  (finished already)", file=sys.stderr)
    point_latest(folder)
    figures = content["figures"]
    return RunResult(
        asset,
        folder,
        figures,
        verdict=verdict,
        fit=str(figures.get("fit", "")),
        strict=is_strict(options),
    )


def _verdict(values: dict[str, Any], folder: Path) -> Verdict:
    """The verdict of a finished run; a figure that was not finite is null in its file."""
    known = {f.name: values[f.name] for f in fields(Verdict) if f.name in values}
    finite = {name: 0.0 if value is None else value for name, value in known.items()}
    try:
        verdict = from_dict(Verdict, finite)
    except ConfigError:
        raise damaged_finish(folder) from None
    psnr, iou = (math.nan if known[k] is None else known[k] for k in ("psnr", "iou"))
    return replace(verdict, psnr=psnr, iou=iou)


def _saved_options(record: RunRecord, folder: Path) -> Any:
    """The options that a run was begun with. Raises CheckpointError, ConfigError."""
    if not is_command(record.command):
        raise CheckpointError(
            f'was made by a command "{record.command}" that is not known', str(folder / "run.yaml")
        )
    kind = options_of(record.command)
    if record.options:
        return from_dict(kind, record.options, "options")
    return _of_first_format(kind, record, folder)


def _of_first_format(kind: type, record: RunRecord, folder: Path) -> Any:
    """Options of a run.yaml of the first format, which has its facts only."""
    facts = record.facts
    frame = facts.get("frame") or {}
    values = {**facts, **frame} if isinstance(frame, Mapping) else dict(facts)
    values["text"] = facts.get("prompt", "") if record.command == "compose" else ""
    if record.command == "compose" and facts.get("picture"):
        values["text"] = ""
    if record.command == "refine":
        raise CheckpointError(
            "was made by an earlier version, which did not keep what refine needs to go on",
            str(folder),
            "Start it again",
        )
    blank = kind()
    known = flat(blank)
    taken = {}
    for name, value in values.items():
        if name in known and value is not None:
            default = known[name]
            taken[name] = Path(value) if isinstance(default, Path) else value
            if isinstance(default, tuple):
                taken[name] = tuple(value)
    return replace(regroup(blank, taken))
