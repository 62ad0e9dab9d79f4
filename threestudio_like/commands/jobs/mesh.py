"""`mesh`: the mesh tool chain on files."""

from __future__ import annotations

from typing import Any

from ...engine.text import json_text
from ...meshes.frames import Frame
from ...meshes.toolchain import ToolOptions, run_tool
from ...reports.text import lines_of
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
    findings = run_tool(options.action, options.mesh, tool)
    print(json_text(findings, indent=1) if options.json else lines_of(findings))
    return findings
