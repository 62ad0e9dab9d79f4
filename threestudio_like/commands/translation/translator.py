"""A threestudio configuration, line by line, in ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...engine.config import dotted, set_dotted, to_dict, write_yaml
from ...engine.errors import ConfigError, UserError
from ...engine.schema.bounds import shown
from .reading import Document, read_document
from .rules import Outcome, Scene, Verdict
from .systems import FRAME, Target, target_of
from .table import PREFIXES, UNSET, Part, Row, table
from .training_rules import view_prior
from .values import NoTranslation, whole

UNKNOWN_VIEWS = "it sees the picture, and --prior knows none by this name"
VIEWS = ("zero123-guidance", "stable-zero123-guidance")
"""Guidances whose prior sees the picture: they want one that this toolkit knows by name."""


@dataclass(frozen=True)
class Line:
    """What became of one key."""

    key: str
    value: Any
    verdict: Verdict
    ours: str
    note: str
    given: bool = True


@dataclass
class Translation:
    """A translated configuration.

    Attributes:
        lines: one a key of the file, in its order, then threestudio's defaults that it leaves.
        target: what runs it; None where nothing does, and then `reason` says why.
        config: of the target.
        options: of its command.
    """

    path: str
    lines: list[Line]
    target: Target | None = None
    config: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    text: str = ""
    """The prompt."""

    @property
    def verdict(self) -> Verdict:
        """Of the file: whole, in part or not at all."""
        if self.target is None:
            return "none"
        partial = any(line.verdict in ("part", "none") for line in self.lines) or self.target.note
        return "part" if partial else "whole"

    def count(self, verdict: Verdict) -> int:
        """How many keys of the file have a verdict."""
        return sum(line.verdict == verdict for line in self.lines if line.given)

    def command(self, config: str) -> str:
        """The command line that runs it with its configuration in a file."""
        assert self.target is not None
        first = {
            "reconstruct": self.options.get("--picture", "PICTURE"),
            "texture": "MESH",
            "refine": "RUN",
            "generate": self.text or "PROMPT",
        }
        words = ["threestudio-like", self.target.command, str(first[self.target.command])]
        if self.target.command == "texture":
            words.append(self.text or "PROMPT")
        if self.target.command == "reconstruct":
            words += ["--method", self.target.system]
            words += ["--prompt", self.text] if self.text else []
        elif self.target.command != "refine":
            words += ["--system", self.target.system]
        words += ["--config", config]
        for name, value in self.options.items():
            if name != "--picture":
                # Dotted options take a value, flags take none.
                words += [name] if value is True and "." not in name else [name, str(value)]
        return " ".join(shlex.quote(word) for word in words)

    def yaml(self) -> str:
        """The configuration as text, which --config takes."""
        assert self.target is not None
        facts = {"command": self.target.command, "system": self.target.system}
        facts["prior"] = self.options.get("--prior", "toybox")
        if self.text:
            facts["prompt"] = self.text
        return write_yaml({**facts, "config": to_dict(self.config)})


def translate(path: Path, overrides: tuple[str, ...] = ()) -> Translation:
    """Translate a threestudio configuration.

    Args:
        path: its YAML file.
        overrides: values as launch.py takes them, "system.loss.lambda_orient=0".

    Raises:
        InputError: it is no threestudio configuration.
    """
    document = read_document(path, overrides)
    try:
        work = _Work(document, target_of(document))
    except ConfigError as error:
        work = _Work(document, FRAME, error.what)
    made = Translation(str(path), work.all_lines(), text=work.prompt)
    if not work.reasons:
        made.target, made.config, made.options = work.target, work.config, work.options
    made.reason = "; ".join(dict.fromkeys(work.reasons))
    return made


SIGNED_DISTANCES = ("implicit-sdf", "tetrahedra-sdf-grid")
NOT_AS_VOLUME = (
    "a signed-distance geometry is a mesh stage here, and this system has none to put it in"
)


class _Work:
    """One translation under way.

    Args:
        target: what its keys are held against.
        reason: why nothing runs it; empty where the target does.
    """

    def __init__(self, document: Document, target: Target, reason: str = "") -> None:
        self.document, self.target = document, target
        self.options: dict[str, Any] = {}
        self.prompt = ""
        self.reasons = [reason] if reason else []
        self.no_system = bool(reason)
        self.config: Any = target.base()
        self.known = dotted(self.config)
        radius = document.get("system.geometry.radius", 1.0)
        plain = isinstance(radius, (int, float)) and not isinstance(radius, bool) and radius > 0
        try:
            steps = max(1, whole(document.get("trainer.max_steps", 10000)))
        except NoTranslation:
            steps = 10000
        self.scene = Scene(
            document,
            radius=float(radius) if plain else 1.0,
            steps=steps,
            channels=target.channels,
            command=target.command,
        )

    def all_lines(self) -> list[Line]:
        """Every key of the file in its order, then threestudio's defaults that are lost."""
        named = dict(self._parts())
        rows = self._rows(named)
        for _, part in named.values():
            if part.verdict != "none":
                self._put(part.values)
        # Defaults first, so that what the file says comes after them.
        defaults = list(self._defaults(rows, named))
        return [*(self._line(key, rows, named) for key in self.document.values), *defaults]

    def _rows(self, named: Mapping[str, tuple[str, Part]]) -> dict[str, Row]:
        """The rows that a file of these parts has, by their whole keys."""
        groups = table().groups
        rows = {f"{prefix}{r.option}": r for prefix, part in named.values() for r in part.rows}
        rows.update({f"data.random_camera.{r.option}": r for r in groups["cameras"]})
        rows.update({f"system.loss.{r.option}": r for r in groups["loss"]})
        rows.update({r.option: r for r in (*groups["run"], *groups["optimiser"])})
        return rows

    def _parts(self) -> Iterator[tuple[str, tuple[str, Part]]]:
        for key, parts in table().parts.items():
            name = self.document.get(key)
            if name is None:
                continue
            part = parts.get(str(name), Part(verdict="none", note="there is no such part here"))
            if key == "system.geometry_type" and self.target.geometry:
                part = parts[self.target.geometry]
            if name in SIGNED_DISTANCES and not (self.target.meshed or self.target.geometry):
                part = replace(part, verdict="none", note=NOT_AS_VOLUME)
            model = self.document.get("system.guidance.pretrained_model_name_or_path")
            if name in VIEWS and not view_prior(model):
                part = replace(part, verdict="none", note=UNKNOWN_VIEWS)
            yield key, (PREFIXES[key], part)

    def _defaults(
        self, rows: Mapping[str, Row], named: Mapping[str, tuple[str, Part]]
    ) -> Iterator[Line]:
        """What threestudio takes where the file says nothing."""
        pictures = self.document.get("data_type") == "single-image-datamodule"
        cameras = {f"data.{r.option}" for r in table().groups["cameras"]}
        for key, row in rows.items():
            if row.default is UNSET or key in self.document or self._refused(key, named):
                continue
            if key.startswith("data.random_camera.") and not pictures:
                continue
            if key in cameras and pictures:
                continue
            line = self._applied(key, row, row.default, given=False)
            if line.verdict in ("part", "none") and not self.no_system:
                yield line

    def _refused(self, key: str, named: Mapping[str, tuple[str, Part]]) -> Part | None:
        """The part without a counterpart that a key belongs to."""
        for prefix, part in named.values():
            if part.verdict == "none" and key.startswith(prefix):
                return part
        return None

    def _line(self, key: str, rows: Mapping[str, Row], named: Mapping[str, Any]) -> Line:
        raw = self.document.values[key]
        if key == "system_type":
            return self._system_line(raw)
        if key in named:
            part = named[key][1]
            if part.verdict == "none" and part.needed and not self.no_system:
                self.reasons.append(f"{key} {raw}: {part.note}")
            return Line(key, raw, part.verdict, self._shown(part.ours), part.note)
        refused = self._refused(key, named)
        if refused is not None:
            name = next(k for k, (prefix, _) in named.items() if key.startswith(prefix))
            of = self.document.get(name)
            return Line(key, raw, "none", "", f"of {of}, which nothing here does")
        row = rows.get(key) or _starred(key, rows)
        if row is None:
            return Line(key, raw, "none", "", "is not in the table of options")
        try:
            if self.document.missing(key):
                return Line(key, raw, row.verdict, self._shown(row.ours), "left to you")
            value = self.document.get(key)
        except UserError as error:
            verdict: Verdict = "aside" if row.verdict == "aside" else "none"
            return Line(key, raw, verdict, "", error.what)
        return self._applied(key, row, value)

    def _system_line(self, raw: Any) -> Line:
        if self.no_system:
            return Line("system_type", raw, "none", "", self.reasons[0])
        verdict: Verdict = "part" if self.target.note else "whole"
        ours = f"{self.target.command} --system {self.target.system}"
        return Line("system_type", raw, verdict, ours, self.target.note)

    def _applied(self, key: str, row: Row, value: Any, given: bool = True) -> Line:
        """A value put into the configuration."""
        outcome, ours = Outcome(), self._shown(row.ours)
        if row.rule is not None:
            try:
                outcome = row.rule(self.scene, value)
            except NoTranslation as error:
                return Line(key, value, "none", "", str(error), given)
            except (TypeError, ValueError, ArithmeticError) as error:
                return Line(key, value, "none", "", f"cannot be meant: {error}", given)
        verdict, note = outcome.verdict or row.verdict, outcome.note or row.note
        lost = self._put(outcome.values)
        done = {k: v for k, v in outcome.values.items() if k not in lost}
        if done:
            ours = ", ".join(f"{self._named(k)} {shown(v)}" for k, v in done.items())
        if lost and not done:
            idle = value in (0, 0.0, False, None, [])
            why = "" if idle else "; ".join(dict.fromkeys(lost.values()))
            return Line(key, value, "aside" if idle else "none", "", why, given)
        return Line(key, value, verdict, ours, note, given)

    def _shown(self, ours: str) -> str:
        """Our name of a row or a part, with the stage's."""
        ours = re.sub(r"@\.guidance(?![a-z])", f"@.{self.target.score}", ours)
        return re.sub("@(?=[.])", self.target.stage, ours)

    def _named(self, key: str) -> str:
        key = key.replace("@.guidance.", f"@.{self.target.score}.", 1)
        for begin, ours in self.target.renamed:
            if key.startswith(begin):
                return ours + key[len(begin) :]
        return key.replace("@.", f"{self.target.stage}.", 1)

    def _put(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Take values over; returns those that the target has no place for, and why."""
        lost: dict[str, str] = {}
        for name, value in values.items():
            own = self._named(name)
            if name == "--prompt":
                self.prompt = str(value or "")
            elif name.startswith("--"):
                if name == "--seed" and not value:
                    continue
                self.options[name] = value
            elif own in self.known:
                try:
                    self.config = set_dotted(self.config, own, _text(value))
                except ConfigError as error:
                    lost[name] = error.what
            else:
                lost[name] = f"{self.scene.command} has no such value"
        return lost


def _text(value: Any) -> Any:
    """A value as a YAML file would give it."""
    return list(value) if isinstance(value, tuple) else value


def _starred(key: str, rows: Mapping[str, Row]) -> Row | None:
    """The row of a whole group."""
    for option, row in rows.items():
        if option.endswith(".*") and key.startswith(option[:-1]):
            return row
    return None


__all__ = ["Line", "Translation", "translate"]
