"""The reference pages that are made of the program itself: the command line and the configurations
from their dataclasses, the Python API by its public names.

    python docs/reference_pages.py FOLDER      # writes them; the site makes them while it is built
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import threestudio_like
from threestudio_like.commands.help import documents, option_groups
from threestudio_like.commands.registry import COMMANDS, PROGRAM, examples_of, options_of
from threestudio_like.systems.registry import SYSTEMS, configuration

MAKING = ("generate", "texture", "reconstruct", "compose", "refine", "resume", "export", "evaluate")
RESULTS = ("Asset", "Mesh", "Material", "RunResult")
OPTIONS = ("RunOptions", "AssetOptions", "PriorOptions", "MicrobatchOptions", "KnownOptions")
API = {
    "Make and open": (*MAKING, "open_run", "load_prior"),
    "Results": RESULTS,
    "Options": OPTIONS,
    "Systems": (
        *("LatentNerf", "DreamFusion", "RgbRefinement", "LatentPaint", "Comboverse"),
        *("CispReconstruction", "G3drReconstruction", "ReliefReconstruction"),
        "PictureOptimisation",
    ),
    "Pieces of a loop": (
        *("DiffusionPrior", "Guidance", "GuidanceInputs", "GuidanceOutput", "ScoreDistillation"),
        *("ScoreDistillationConfig", "Schedule", "RandomStream", "field_to_asset"),
    ),
    "Representations": (
        *("Representation", "Field", "VoxelField", "VoxelGridConfig", "HashGridField"),
        *("HashGridConfig", "TriplaneField", "TriplaneConfig"),
    ),
    "Cameras and renderers": (
        *("Cameras", "StratifiedCameras", "UniformCameras", "RingCameras", "RandomBackground"),
        *("VolumeRenderer", "VolumeConfig"),
    ),
    "Errors": (
        *("UserError", "ConfigError", "InputError", "ModelError", "OutputError", "ExportError"),
        *("CheckpointError", "CollapseError", "MemoryShortage", "RankError", "VocabularyError"),
    ),
}
"""Public names by page; a test holds them against the package's own list."""


def pages() -> dict[str, str]:
    """Every page by its path below docs/."""
    made = {"reference/commands.md": commands_page(), "reference/api.md": api_page()}
    for task, systems in systems_by_task().items():
        made[f"reference/configuration-{task}.md"] = configuration_page(task, systems)
    return made


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """All commands with all their options."""
    lines = [
        "# The command line",
        "",
        f"Made of the program: what `{PROGRAM} COMMAND --help` prints. Options that several "
        "commands share stand in each. Every value of a method's configuration is an "
        "option as well, by its dotted name: see the pages of configurations.",
        "",
    ]
    for command in COMMANDS:
        lines += [f"## {command}", "", " ".join((options_of(command).__doc__ or "").split()), ""]
        for group in option_groups(command):
            if group.purpose:
                lines += [f"*{_cell(group.purpose)}*", ""]
            lines += ["| option | default | what it does |", "|---|---|---|"]
            for row in group.rows:
                default = f"`{row.default}`" if row.default else ""
                lines.append(f"| `{_cell(row.name)}` | {default} | {_cell(row.text)} |")
            lines.append("")
        lines += ["```", *examples_of(command), "```", ""]
    return "\n".join(lines)


def systems_by_task() -> dict[str, list[str]]:
    """The package's systems by their task."""
    found: dict[str, list[str]] = {}
    for name in SYSTEMS.names():
        found.setdefault(SYSTEMS.get(name, "system").task, []).append(name)
    return found


def configuration_page(task: str, systems: list[str]) -> str:
    """The values of the systems of a task, with those of every preset where they differ."""
    lines = [
        f"# Configurations: {task.replace('-', ' ')}",
        "",
        "Made of the dataclasses. Each value is an option by its dotted name, a key of run.yaml "
        "under `config`, and a field of the class in Python. `--print-config` prints a run's own.",
        "",
    ]
    for name in systems:
        kinds = {preset: configuration(name, preset) for preset in SYSTEMS.get(name, "").presets}
        lines += [f"## {name}", "", " ".join((SYSTEMS.get(name, "").summary or "").split()), ""]
        groups: dict[type, list[str]] = {}
        for preset, config in kinds.items():
            groups.setdefault(type(config), []).append(preset)
        for kind, presets in groups.items():
            shown = [p for p in presets if p != "default"]
            first = kinds["default"] if "default" in presets else kinds[presets[0]]
            lines += [*_values(kind, first, {p: kinds[p] for p in shown}), ""]
    return "\n".join(lines)


def _values(kind: type, first: Any, presets: dict[str, Any]) -> Iterator[str]:
    yield f"`{kind.__module__}.{kind.__name__}`: {_cell(inspect.getdoc(kind) or '').split('. ')[0]}"
    yield ""
    yield "| value | default | what it is |"
    yield "|---|---|---|"
    others = {name: dict(_leaves(config)) for name, config in presets.items()}
    for dotted, (value, text) in _leaves(first):
        said = [
            f"{name} `{other[dotted][0]!r}`"
            for name, other in others.items()
            if dotted in other and other[dotted][0] != value
        ]
        more = f"(preset {'; '.join(said)})" if said else ""
        what = f"{text} {more}"
        yield f"| `--{dotted}` | `{_cell(repr(value))}` | {_cell(what)} |"


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, str]]]:
    """Every value of a configuration by its dotted name, with its docstring."""
    texts = documents(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _leaves(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, (value, texts.get(item.name, ""))


def api_page() -> str:
    """The public names, by mkdocstrings."""
    lines = ["# The Python API", "", "```python", "import threestudio_like as tsl", "```", ""]
    lines += ["Every name is an attribute of the package, imported when it is asked for.", ""]
    for title, group in API.items():
        lines += [f"## {title}", ""]
        for name in group:
            thing = getattr(threestudio_like, name)
            lines += [f"::: {thing.__module__}.{thing.__qualname__}", ""]
    return "\n".join(lines)


def main() -> None:
    """Write the pages below a folder."""
    folder = Path(sys.argv[1])
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
