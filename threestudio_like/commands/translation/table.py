"""The table of threestudio's options and ours, options.yaml: read by `translate`, printed in docs.

A row names an option of threestudio, what it is called here, how whole it is, and what is to be
said. Rows that need arithmetic have a rule. Rows of a part of a system (a geometry, a guidance, …)
belong to the part's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...engine.config import read_yaml
from .mesh_rules import MESH_RULES
from .optimiser import feature_rate, optimiser
from .rules import RULES, Rule, Verdict
from .training_rules import TRAINING_RULES

TABLE = Path(__file__).with_name("options.yaml")
PREFIXES = {
    "data_type": "data.",
    "system.geometry_type": "system.geometry.",
    "system.material_type": "system.material.",
    "system.background_type": "system.background.",
    "system.renderer_type": "system.renderer.",
    "system.prompt_processor_type": "system.prompt_processor.",
    "system.guidance_type": "system.guidance.",
    "system.guidance_3d_type": "system.guidance_3d.",
}
"""The key that names a part -> the prefix of its options."""


EVERY_RULE = {
    **RULES,
    **TRAINING_RULES,
    **MESH_RULES,
    "optimiser": lambda: optimiser,
    "feature_rate": lambda: feature_rate,
}


class _Unset:
    def __repr__(self) -> str:
        return ""


UNSET = _Unset()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One option.

    Attributes:
        option: threestudio's name, within its group.
        ours: our name, for the table; the target where there is no rule.
        default: threestudio's value where a file has none; it is translated too.
        told: the name of its rule and the rule's arguments, for the table.
    """

    option: str
    ours: str = ""
    verdict: Verdict = "whole"
    note: str = ""
    rule: Rule | None = None
    default: Any = UNSET
    told: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A named part of threestudio, with the rows of its group.

    Attributes:
        ours: what takes its place here.
        verdict: "none" where nothing does: then none of its rows is read.
        needed: whether a configuration without it makes no sense.
    """

    ours: str = ""
    verdict: Verdict = "whole"
    note: str = ""
    rows: tuple[Row, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """All of it.

    Attributes:
        groups: rows by the name of their group.
        parts: the key that names a part -> the parts by their names.
    """

    groups: Mapping[str, tuple[Row, ...]]
    parts: Mapping[str, Mapping[str, Part]]


def _row(values: Mapping[str, Any]) -> Row:
    """A row of the file; its rule is a function of rules.py with its arguments."""
    plain = {k: v for k, v in values.items() if k != "rule"}
    name, *arguments = values.get("rule", [""])
    made = EVERY_RULE[name](*arguments) if name else None
    return Row(**plain, rule=made, told=(name, *arguments) if name else ())


@lru_cache(maxsize=1)
def table() -> Table:
    """The table of the package."""
    content = read_yaml(TABLE)
    groups = {name: tuple(map(_row, rows)) for name, rows in content["groups"].items()}
    parts: dict[str, dict[str, Part]] = {}
    for key, named in content["parts"].items():
        parts[key] = {}
        for name, values in named.items():
            own = dict(values)
            rows = [r for group in own.pop("groups", ()) for r in groups[group]]
            rows += map(_row, own.pop("rows", ()))
            parts[key][name] = Part(**own, rows=tuple(rows))
    return Table(groups=groups, parts=parts)
