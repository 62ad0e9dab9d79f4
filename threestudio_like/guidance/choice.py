"""Which guidances a stage has besides its own, or instead of it, as a part of its typed
configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..engine.config import OpenConfig, convert, to_dict, update
from ..engine.errors import ConfigError
from ..engine.schedule import Schedule
from ..engine.schema.bounds import SignedSchedule
from ..priors.diffusion import DiffusionPrior
from .guidance import Guidance
from .registry import GUIDANCES, Beside, GuidanceContext, GuidanceKind, Subject
from .weighted import WeightedGuidance

T = TypeVar("T")
MAIN, WEIGHT = "main", "weight"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One guidance: the schedule of its weight, and its own typed configuration."""

    weight: SignedSchedule = "0"
    config: Any = None


class Guidances(OpenConfig):
    """The guidances of a stage by name, each with ``weight`` (a schedule) and the values of its own
    configuration; ``main`` names the one that takes the place of the stage's own.

    Args:
        main: a name of `GUIDANCES`; empty for the stage's own guidance.
        chosen: the others.

    Example:
        >>> Guidances().updated({"clip": {"weight": "0->0.1", "text": "a chair"}}, "guidance.")
    """

    def __init__(self, main: str = "", chosen: Mapping[str, Chosen] | None = None) -> None:
        self.main, self._chosen = main, dict(chosen or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Guidances) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash((self.main, tuple(self._chosen)))

    def __repr__(self) -> str:
        return f"Guidances({self.plain()})"

    def names(self) -> list[str]:
        """Every guidance that there is, and "main"."""
        return [MAIN, *GUIDANCES.names()]

    def updated(self, values: Mapping[str, Any], where: str) -> Guidances:
        """See `OpenConfig`. Raises ConfigError on a name, key or schedule that cannot be meant."""
        main, chosen = self.main, dict(self._chosen)
        for key, own in values.items():
            if key == MAIN:
                main = GUIDANCES.check(str(own), f"{where}{MAIN}") if own else ""
                continue
            name = GUIDANCES.check(key, f"{where}{key}")
            if not isinstance(own, Mapping):
                raise ConfigError(
                    f'"{where}{key}" is a group of keys, not a value',
                    "configuration",
                    f"Set its weight: {where}{key}.{WEIGHT}",
                )
            before = chosen.get(name) or Chosen(config=GUIDANCES.get(name).config())
            weight = own.get(WEIGHT, before.weight)
            weight = convert(weight, SignedSchedule, f"{where}{key}.{WEIGHT}")
            rest = {k: v for k, v in own.items() if k != WEIGHT}
            config = update(before.config, rest, prefix=f"{where}{key}.")
            chosen[name] = Chosen(weight=weight, config=config)
        return Guidances(main, chosen)

    def plain(self) -> dict[str, Any]:
        """See `OpenConfig`."""
        out: dict[str, Any] = {MAIN: self.main} if self.main else {}
        for name, one in self._chosen.items():
            out[name] = {WEIGHT: one.weight, **to_dict(one.config)}
        return out

    def build_main(self, context: GuidanceContext) -> Guidance | None:
        """The guidance that takes the place of the stage's own; None where none does."""
        if not self.main:
            return None
        return GUIDANCES.get(self.main).build(context, self.main_config())

    def main_config(self) -> Any:
        """The configuration of the main guidance; None where it is the stage's own."""
        if not self.main:
            return None
        chosen = self._chosen.get(self.main)
        return GUIDANCES.get(self.main).config() if chosen is None else chosen.config

    def beside(self, prior: DiffusionPrior) -> list[Beside]:
        """What they ask of memory beside the run's prior. Raises ModelError where a prior of theirs
        cannot be loaded."""
        return [kind.beside(prior, own) for kind, own in self._asked() if kind.beside is not None]

    def check(self, subject: Subject) -> None:
        """Raise, before a run begins, where one of them could not be built."""
        for kind, own in self._asked():
            if kind.check is not None:
                kind.check(subject, own)

    def weighed(self) -> dict[str, Any]:
        """The configurations of those with any weight, but for the main one, by their names."""
        return {n: one.config for n, one in self._chosen.items() if self.weighs(n)}

    def weighs(self, name: str) -> bool:
        """Whether a guidance beside the main one has any weight."""
        one = self._chosen.get(name)
        return one is not None and name != self.main and _counts(name, one)

    def _asked(self) -> list[tuple[GuidanceKind, Any]]:
        """The main one and those with any weight, each with its configuration."""
        names = [n for n, one in self._chosen.items() if n != self.main and _counts(n, one)]
        kinds = [(n, GUIDANCES.get(n)) for n in ([self.main, *names] if self.main else names)]
        chosen = self._chosen
        return [(k, chosen[n].config if n in chosen else k.config()) for n, k in kinds]

    def build(self, context: GuidanceContext) -> list[WeightedGuidance]:
        """The others that have any weight, but for the main one."""
        out = []
        for name, one in self._chosen.items():
            weight = Schedule.parse(one.weight, f"guidances.{name}.{WEIGHT}")
            if name != self.main and _counts(name, one):
                guidance = GUIDANCES.get(name).build(context, one.config)
                out.append(WeightedGuidance(name, guidance, weight))
        return out


def _counts(name: str, one: Chosen) -> bool:
    """Whether a guidance has any weight."""
    return any(Schedule.parse(one.weight, f"guidances.{name}.{WEIGHT}").values())


def guide_stages(config: T, values: Mapping[str, Any]) -> T:
    """A system's configuration with the guidances of all its distilling stages changed: ``{"main":
    "csd", "clip": {"weight": "0.1"}}``. Raises ConfigError, also where it has no such stage."""
    changed, found = _guided(config, values)
    if values and not found:
        raise ConfigError("this method distils nothing", "--guidance", "Leave it out")
    return changed


def _guided(config: Any, values: Mapping[str, Any]) -> tuple[Any, bool]:
    changed: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if isinstance(value, Guidances):
            changed[item.name] = value.updated(values, "guidance.")
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner, found = _guided(value, values)
            if found:
                changed[item.name] = inner
    return (dataclasses.replace(config, **changed) if changed else config), bool(changed)
