"""`mesh`: the mesh tool chain on files."""

from __future__ import annotations

import sys
from typing import Any

from ...engine.text import json_text, lines_of, printable
from ...meshes.features import Feature, loss_line
from ...meshes.frames import Frame
from ...meshes.toolchain import ToolOptions, run_tool
from ...runs.options import check_numbers, flat
from ..mesh import Mesh


def mesh(options: Mesh) -> dict[str, Any]:
    """Print and return what the tool found and did. Raises InputError, ConfigError, OutputError."""
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
