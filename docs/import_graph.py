"""Draw which rooms of the house import which: docs/pictures/import-graph.svg, and the same as JSON.

A room is a folder (or `cli`) of the package. Rooms stand on a staircase, in the order of the layers
in which the design puts them; an import leaves its room to the right and goes down into the room
that it needs, with the number of modules that import it, so a line that goes up is seen at once.

    python docs/import_graph.py           # writes both files
    python docs/import_graph.py --check   # exit code 1 where they are not those of the code
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "threestudio_like"
DATA = ROOT / "docs" / "pictures" / "import-graph.json"
PICTURE = DATA.with_suffix(".svg")

LAYERS: list[tuple[str, tuple[str, ...]]] = [
    ("what the user says", ("cli", "commands")),
    ("what is done", ("training", "systems", "runs")),
    ("what methods are made of", ("stages",)),
    ("what pulls, measures, shows", ("reports", "metrics", "guidance", "toybox")),
    ("what is known", ("priors",)),
    ("how it is drawn", ("renderers",)),
    ("what is optimised", ("representations",)),
    ("what is delivered", ("meshes",)),
    ("how it is computed", ("kernels",)),
    ("how it is run", ("engine",)),
]
"""Names and rooms of the layers, from the top down; a room imports rooms of its own layer or of
those below it, `runs` neither training nor systems, and neither of these the other way round."""
ROOMS = [room for _, rooms in LAYERS for room in rooms]
LAYER = {room: number for number, (_, rooms) in enumerate(LAYERS) for room in rooms}
LAYER["commands"] = 0.5
NEVER = {("runs", "systems"), ("runs", "training"), ("systems", "runs"), ("stages", "runs")}
IDEAS = {
    "cli": "a line becomes a command",
    "commands": "one file a command",
    "training": "networks from data",
    "systems": "published methods",
    "runs": "opening to delivery",
    "stages": "one loop's ingredients",
    "reports": "pages, pictures, viewer",
    "metrics": "how good it is",
    "guidance": "what pulls at a view",
    "toybox": "a small known world",
    "priors": "pretrained networks",
    "renderers": "cameras to pictures",
    "representations": "fields and surfaces",
    "meshes": "surfaces and files",
    "kernels": "operations, their back ends",
    "engine": "steps, seeds, checkpoints",
}
COLOURS = ("#b4432f", "#b8672a", "#a98a1f", "#5f8f3c", "#2f8f78", "#2f7fa0", "#3f66ad", "#5e54ab")
COLOURS += ("#85499a", "#5a5550")


def imported(path: Path) -> set[str]:
    """Rooms that a file of the package imports, at any depth of its code."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) + "." if node.level else ""
            module = (base + (node.module or "")).rstrip(".")
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    inside = [name.split(".") for name in names if name.startswith(f"{PACKAGE}.")]
    return {name[1] for name in inside if name[1] in LAYER}


def graph() -> dict[str, dict[str, int]]:
    """How many modules of each room import each other room."""
    counts: dict[str, Counter[str]] = {room: Counter() for room in ROOMS}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        room = path.relative_to(ROOT / PACKAGE).with_suffix("").parts[0]
        if room in LAYER:
            counts[room].update(imported(path) - {room})
    return {a: {b: counts[a][b] for b in ROOMS if counts[a][b]} for a in ROOMS}


def upward(imports: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    """Imports that the rules of the house forbid."""
    return [
        (a, b)
        for a, targets in imports.items()
        for b in targets
        if LAYER[b] < LAYER[a] or (a, b) in NEVER or a in imports.get(b, {})
    ]


STEP, LEFT, TOP, WIDE, HIGH = 77, 176, 92, 124, 38


def _centre(room: str) -> tuple[float, float]:
    number = ROOMS.index(room)
    return LEFT + WIDE / 2 + number * STEP, TOP + HIGH / 2 + number * (HIGH + 14)


def _colour(room: str) -> str:
    return COLOURS[int(LAYER[room])]


def _band(number: int, rooms: tuple[str, ...], title: str, width: float) -> str:
    top = _centre(rooms[0])[1] - HIGH / 2 - 7
    height = _centre(rooms[-1])[1] + HIGH / 2 + 7 - top
    shade = "#ffffff" if number % 2 else "#f7f4ee"
    return (
        f'<rect x="0" y="{top:g}" width="{width:g}" height="{height:g}" fill="{shade}"/>'
        f'<text x="16" y="{top + height / 2 + 4:g}" class="layer">{title}</text>'
    )


def _arrow(a: str, b: str, count: int, wrong: bool) -> str:
    (x, y), (u, v) = _centre(a), _centre(b)
    down = 1 if v > y else -1
    end = v - down * (HIGH / 2 + 2)
    colour = "#e0103a" if wrong else _colour(a)
    width = 1 + min(2.2, count / 16)
    return (
        f'<path d="M{x + WIDE / 2:g} {y:g} H{u - 7:g} Q{u:g} {y:g} {u:g} {y + down * 7:g} '
        f'V{end - down * 5:g}" stroke="{colour}" stroke-width="{width:.1f}" fill="none" '
        f'opacity="0.55"/><path d="M{u - 4:g} {end - down * 7:g} h8 l-4 {down * 7:g} z" '
        f'fill="{_colour(b)}"/>'
    )


def _number(a: str, b: str, count: int) -> str:
    (_, y), (u, _) = _centre(a), _centre(b)
    radius = 9 + min(4.0, count / 12)
    return (
        f'<circle cx="{u:g}" cy="{y:g}" r="{radius:.1f}" fill="#ffffff" stroke="{_colour(a)}" '
        f'stroke-width="1.3"/><text x="{u:g}" y="{y + 3.8:g}" class="count" '
        f'fill="{_colour(a)}">{count}</text>'
    )


def _box(room: str) -> str:
    x, y = _centre(room)
    narrow = ' style="font-size:12.5px"' if len(room) > 12 else ""
    return (
        f'<rect x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}" rx="8" '
        f'fill="{_colour(room)}"/><text x="{x:g}" y="{y - 1:g}" class="room"{narrow}>{room}</text>'
        f'<text x="{x:g}" y="{y + 12:g}" class="idea">{IDEAS[room]}</text>'
    )


def picture(imports: dict[str, dict[str, int]]) -> str:
    """The graph as SVG."""
    last_x, last_y = _centre(ROOMS[-1])
    width, height = last_x + WIDE / 2 + 24, last_y + HIGH / 2 + 20
    wrong = set(upward(imports))
    edges = [(a, b, n) for a, targets in imports.items() for b, n in targets.items()]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" '
        'font-family="Helvetica, Arial, DejaVu Sans, sans-serif">',
        "<style>.layer{font-size:12px;font-style:italic;fill:#8a8378}"
        ".room{font-size:14px;font-weight:bold;fill:#fff;text-anchor:middle}"
        ".idea{font-size:8px;fill:#fff;fill-opacity:.9;text-anchor:middle}"
        ".count{font-size:10.5px;font-weight:bold;text-anchor:middle}"
        ".title{font-size:20px;font-weight:bold;fill:#23211e}"
        ".note{font-size:12px;fill:#6d675e}</style>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        '<text x="16" y="34" class="title">Imports point down</text>',
        '<text x="16" y="56" class="note">Follow a line out of a room and down: the circle at '
        "the corner says how many of its modules import the room below. A line that goes up would "
        "leave the staircase to the left.</text>",
        *(_band(n, rooms, title, width) for n, (title, rooms) in enumerate(LAYERS)),
        *(_arrow(a, b, n, (a, b) in wrong) for a, b, n in edges),
        *(_number(a, b, n) for a, b, n in edges),
        *(_box(room) for room in ROOMS),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def stale(imports: dict[str, dict[str, int]], known: dict[str, dict[str, int]]) -> list[str]:
    """What a drawn graph says that is no longer so: arrows that came or went, and numbers that are
    off by more than a fifth and more than three."""
    pairs = {(a, b) for g in (imports, known) for a, targets in g.items() for b in targets}
    notes = []
    for a, b in sorted(pairs):
        now, then = imports.get(a, {}).get(b, 0), known.get(a, {}).get(b, 0)
        if not now or not then or abs(now - then) > max(3, now / 5):
            notes.append(f"{a} -> {b}: {now} modules, drawn with {then}")
    return notes


def main() -> int:
    """Write the picture and its data, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    imports = graph()
    notes = [f"{a} -> {b} points up" for a, b in upward(imports)]
    if arguments.check:
        notes += stale(imports, json.loads(DATA.read_text(encoding="utf-8")))
    else:
        DATA.write_text(json.dumps(imports, indent=1) + "\n", encoding="utf-8")
        PICTURE.write_text(picture(imports), encoding="utf-8")
    print("\n".join(notes) or f"{sum(map(len, imports.values()))} arrows, all of them down")
    return 1 if notes else 0


if __name__ == "__main__":
    sys.exit(main())
