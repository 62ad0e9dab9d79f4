"""`mesh`: the mesh tool chain on files."""

from __future__ import annotations

import sys
from typing import Any

from ...engine.errors import ConfigError
from ...engine.text import json_text, lines_of, printable
from ...meshes.features import Feature, loss_line
from ...meshes.frames import Frame
from ...meshes.toolchain import ToolOptions, run_tool
from ...runs.options import check_numbers, flag, flat
from ...runs.written import asked
from ..mesh import Mesh

_EXTRAS = ("clean", "decimate", "remesh", "poisson", "register")
_WRITING = (*_EXTRAS, "unwrap", "convert")
ACTIONS_OF: dict[str, tuple[str, ...]] = {
    "faces": ("decimate",),
    "weld": ("clean",),
    "holes": ("clean",),
    "hidden": ("clean",),
    "texture": ("unwrap",),
    "edge": ("remesh",),
    "depth": ("poisson",),
    "onto": ("register",),
    "backend": _EXTRAS,
    **dict.fromkeys(("out", "to_up", "to_front", "to_unit"), _WRITING),
}
"""Options -> the actions for which they mean something; the others are for all."""


def check_action(options: Mesh) -> None:
    """Raise ConfigError on an option that changes nothing for the action."""
    for name in asked(options):
        actions = ACTIONS_OF.get(name)
        if actions is not None and options.action not in actions:
            others = " and ".join(filter(None, (", ".join(actions[:-1]), actions[-1])))
            raise ConfigError(
                f"changes nothing in mesh {options.action}: it is an option of {others}",
                flag(name),
                "Leave it out, or call that action as well",
            )


def mesh(options: Mesh) -> dict[str, Any]:
    """Print and return what the tool found and did. Raises InputError, ConfigError, OutputError."""
    check_action(options)
    check_numbers({**flat(options), "faces": None, "texture": None})
    tool = ToolOptions(
        out=options.out,
        frame=Frame(options.up, options.front, options.unit),
        to_frame=Frame(options.to_up, options.to_front, options.to_unit),
        faces=options.faces,
        weld=options.weld,
        holes=options.holes,
        texture=options.texture,
        backend=options.backend,
        textures=not options.drop_textures,
        edge=options.edge,
        depth=options.depth,
        onto=options.onto,
        hidden=options.hidden,
        force=options.force,
    )
    findings = run_tool(options.action, options.mesh.expanduser(), tool)
    shown = {key: value for key, value in findings.items() if key not in ("notes", "not kept")}
    print(json_text(findings, indent=1) if options.json else lines_of(shown))
    for note in findings.get("notes", ()):
        print(printable(f"Note: {note}."), file=sys.stderr)
    lost = [Feature(row["kind"], tuple(row["names"])) for row in findings.get("not kept", ())]
    if lost and options.out is not None:
        print(printable(loss_line(lost, options.out.name)), file=sys.stderr)
    return findings
