"""Files of users through `convert`, `texture`, `unwrap` and `export`: what is gone afterwards must
have been told. What files hold is found by `inventories`, which share no code with readers, writers
and their own reports.

Run: python benchmarks/roundtrip.py [--only WORD] [--skip-texture] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inventories import BY_VALUE, Inventory
from inventories_plain import inventory
from roundtrip_assets import assets, write_asset
from tables import ROOT, publish, table

sys.path.insert(0, str(ROOT))
from tests.bad_files import installed

OPERATIONS = ("convert", "texture", "unwrap", "export")
QUICK = {"start.refine.times": "", "start.iterations": "2", "start.refine.views": "4"}
QUICK |= {"rgb.steps": "1", "pbr.steps": "1"}
WORDS: dict[str, tuple[str, ...]] = {
    "parts": ("parts", "instances", "placed objects"),
    "part names": ("parts", "scenes"),
    "material names": ("materials",),
    "colours": ("materials",),
    "roughness and metallic": ("materials",),
    "base colour pixels": ("textures",),
    "texture alpha": ("alpha modes", "textures"),
    "emissive maps": ("emission", "maps on other texture coordinates"),
    "normal maps": ("normal maps", "maps on other texture coordinates"),
    "occlusion maps": ("occlusion maps", "maps on other texture coordinates"),
    "JPEG files": ("textures",),
    "asset information": ("notes on the asset",),
    "default morph weights": ("morph targets",),
    "morph weights of nodes": ("morph targets",),
    "skin weights": ("skins", "skin weights"),
    "vertex colours": ("vertex colours", "vertex colours beside a texture", "textures"),
    "texture transforms": ("texture transforms", "texture coordinates"),
}
"""By which kinds of the report a loss is told; any other by its own name."""
JOINED = (".ply", ".stl", ".3mf", ".usdz")
"""Formats that gather materials or textures: there the number of things may be smaller."""


@dataclass
class Result:
    """One operation on one asset: what was there, what is gone, and what was told."""

    asset: str
    operation: str
    target: str
    before: Inventory
    gone: set[str]
    told: set[str]
    meant: set[str] = field(default_factory=set)

    def verdict(self, kind: str) -> str:
        """What became of a kind of thing."""
        if kind not in self.before:
            return ""
        if kind not in self.gone:
            return "kept"
        if kind in self.meant:
            return "meant"
        names = WORDS.get(kind, (kind,))
        return "told" if self.told.intersection((*names, kind)) else "silent"


ASKED = {
    "JPEG files": (".glb", ".gltf", ".obj"),
    "WebP files": (".glb", ".gltf"),
    "scaled maps": (".obj",),
}
"""Files in which a thing is looked for. Elsewhere its pixels, or the coordinates that it scales,
are all that there is to be kept."""


def gone(before: Inventory, after: Inventory, suffix: str) -> set[str]:
    """The kinds of which something is missing."""
    out, joined = set(), suffix in JOINED
    for kind, names in before.items():
        if suffix not in ASKED.get(kind, (suffix,)):
            continue
        if kind == "part names" and suffix in (".ply", ".stl") and len(before["parts"]) == 1:
            # One part is called as its file.
            continue
        left = after.get(kind, set())
        if joined and kind not in ("parts", "part names"):
            lost = not left
        elif kind in BY_VALUE:
            lost = not names <= left
        else:
            lost = len(left) < len(names)
        if lost:
            out.add(kind)
    return out


def told_kinds(rows: Iterable[Any]) -> set[str]:
    """The kinds of a report."""
    return {row["kind"] if isinstance(row, dict) else row.kind for row in rows}


class Trip:
    """One asset on its way through the operations."""

    def __init__(self, name: str, given: Path, work: Path, prior: Any) -> None:
        self.name, self.given, self.work, self.prior = name, given, work, prior
        self.before = inventory(given)
        self.results: list[Result] = []

    def note(self, operation: str, path: Path, told: set[str], meant: Iterable[str] = ()) -> None:
        """Look at a file that was written."""
        lost = gone(self.before, inventory(path), path.suffix)
        result = Result(self.name, operation, path.suffix[1:], self.before, lost, told, set(meant))
        self.results.append(result)

    def tool(self, action: str, suffix: str) -> None:
        """`mesh convert` or `mesh unwrap`."""
        from threestudio_like.meshes.toolchain import ToolOptions, run_tool

        out = self.work / action / f"out{suffix}"
        out.parent.mkdir(exist_ok=True)
        found = run_tool(action, self.given, ToolOptions(out=out, texture=128))
        told = told_kinds(found.get("not kept", ()))
        told |= noted(found.get("notes", ()))
        meant = {"texture coordinates", "scaled maps", "base colour pixels", "texture transforms"}
        meant |= {"texture wrapping", "texture filters", "JPEG files", "WebP files"}
        meant |= {"material names", "colours"}
        self.note(action, out, told, meant if action == "unwrap" else ())

    def export(self, kinds: list[str]) -> None:
        """`export`, also of what it prints."""
        from threestudio_like.commands.export import Export
        from threestudio_like.commands.jobs.export import write_formats

        lost: dict[Path, list[Any]] = {}
        wanted = [k for k in kinds if f".{k}" != self.given.suffix]
        options = Export(source=self.given, to=tuple(wanted), out=self.work / "export")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            written = write_formats(options, lost)
        for path, _ in written:
            assert not lost[path] or f"Not kept in {path.name}" in said.getvalue()
            self.note("export", path, told_kinds(lost[path]) | noted(said.getvalue().splitlines()))

    def texture(self) -> None:
        """`texture` of one part."""
        import threestudio_like
        from threestudio_like.runs.options import AssetOptions, RunOptions

        names = list(threestudio_like.Asset.load(self.given).meshes)
        result = threestudio_like.texture(
            self.given,
            "a red chair",
            prior=self.prior,
            lock_parts=names[1:],
            set=QUICK,
            asset=AssetOptions(turntable=False, texture=128),
            run=RunOptions(out=self.work / "run", quiet=True),
        )
        events = [
            json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()
        ]
        for file in ("asset.glb", "asset.obj"):
            path = result.folder / file
            if not path.is_file():
                continue
            told = {k for e in events if e.get("file") == file for k in told_kinds(e["lost"])}
            told |= noted(e["note"] for e in events if e["event"] == "note")
            self.note("texture", path, told, PAINTED)


PAINTED = frozenset(
    {
        "base colour pixels",
        "colours",
        "vertex colours",
        "roughness and metallic",
        "JPEG files",
        "WebP files",
        "texture transforms",
        "scaled maps",
        "texture wrapping",
        "texture filters",
        "texture coordinates",
    }
)
"""What painting a part is meant to replace on that part."""


def noted(notes: Iterable[str]) -> set[str]:
    """The kinds that notes in words speak of."""
    out = set()
    for note in notes:
        if "normal map" in note:
            out.add("normal maps")
        if "colour of" in note:
            out.add("colours")
        if "left out" in note:
            out |= {"custom attributes", "vertex colours"}
        if "picture" in note:
            out.add("textures")
    return out


def run(only: str, with_texture: bool, keep: Path | None) -> list[Result]:
    """All assets through all operations."""
    import threestudio_like

    prior = threestudio_like.load_prior("toybox") if with_texture else None
    kinds = ["obj", "ply", "stl", "gltf", "3mf", *(["usdz"] if installed("pxr") else [])]
    results: list[Result] = []
    for name, files in assets().items():
        if only not in name:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            given = write_asset(files, work / "given")
            trip = Trip(name, given, work, prior)
            own = given.suffix if given.suffix != ".off" else ".ply"
            for suffix in dict.fromkeys([own, ".glb", ".obj"]):
                trip.tool("convert", suffix)
            trip.tool("unwrap", own)
            trip.export(kinds)
            if with_texture:
                trip.texture()
            if keep is not None:
                _collect(work, given.parent, keep)
        results += trip.results
        for result in trip.results:
            for kind in sorted(result.gone):
                if result.verdict(kind) == "silent":
                    print(f"SILENT: {name}: {result.operation} to {result.target}: {kind}")
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return results


def _collect(work: Path, given: Path, keep: Path) -> None:
    """Copy the glTF files that were written, with what lies beside them, to a folder."""
    for path in work.rglob("*"):
        if path.suffix not in (".glb", ".gltf") or path.is_relative_to(given):
            continue
        place = keep / f"{len(list(keep.glob('*')))}"
        place.mkdir(parents=True)
        shutil.copy(path, place)
        if path.suffix == ".gltf":
            shutil.copy(path.with_suffix(".bin"), place)


def rows_of(results: list[Result]) -> list[list[str]]:
    """For every kind of thing, how often each operation kept, told, or was silent."""
    out = []
    for kind in sorted({k for r in results for k in r.before}):
        row = [kind, str(len({r.asset for r in results if kind in r.before}))]
        for operation in OPERATIONS:
            said = [r.verdict(kind) for r in results if r.operation == operation]
            words = []
            for word in ("kept", "meant", "told", "silent"):
                if said.count(word):
                    words.append(f"{said.count(word)} {word}")
            row.append(", ".join(words) or "n. a.")
        out.append(row)
    return out


def main() -> None:
    """Run, print, write docs/results/roundtrip.md; exit code 1 where something was silent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--skip-texture", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    results = run(given.only, not given.skip_texture, given.keep)
    silent = sum(r.verdict(k) == "silent" for r in results for k in r.before)
    body = table(["what a file holds", "assets", *OPERATIONS], rows_of(results))
    count = len({r.asset for r in results})
    body += (
        f"\n\n{count} assets, {len(results)} files written and looked at, **{silent} silent "
        "losses**. kept: as it was, in every file; meant: replaced because the command is for that "
        "(the base colour of the part that is painted, coordinates and base colour of what is "
        "unwrapped); told: named in the line on what the file could not keep. A JPEG or WebP file, "
        "where a format cannot hold it, counts as kept if its pixels are. Each figure counts "
        "files written: `convert` to the own format, GLB and OBJ, `export` to OBJ, PLY, STL, glTF, "
        f"3MF{' and USDZ' if installed('pxr') else ''}.\n"
    )
    if given.only or given.skip_texture:
        print(body)
    else:
        publish("roundtrip", "What files keep", "python benchmarks/roundtrip.py", body)
    sys.exit(bool(silent))


if __name__ == "__main__":
    main()
