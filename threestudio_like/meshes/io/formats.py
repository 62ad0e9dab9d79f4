"""The table of mesh formats: one row for each, those of the package and those of plug-ins.

A format is one file with one row, which has its suffixes, its reader and its writer. Everything
that concerns formats uses this table: `Asset.save` and `Asset.load`, `export --to`, `mesh convert`,
`view`, and the messages about unknown files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ExportError, InputError, UserError, did_you_mean
from ...engine.registry import Registry
from ..features import Feature
from ..mesh import Asset

Reader = Callable[[Path, bool], Asset]
"""Reads (path, textures) as an asset, in the axes and unit of the file. With `textures` False it
ignores pictures. The path exists, is not empty and is not too large. Every exception becomes an
InputError."""
Writer = Callable[[Asset, str], dict[str, bytes]]
"""Maps (asset, name of the file) to the bytes of every file by name: the named one and those beside
it. A writer does not touch the disk; one common function makes sure that no file of the user is
replaced."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row of the table.

    name: by which `--to` asks for it. suffixes: in lower case, with the dot; the first is written.
    read, write: None where it cannot be. keeps: the kinds of `features.Feature` that a written file
    holds; all others are told as lost. patches: the kind of `Source` whose file the writer changes
    only where the asset differs from it. also_loses: what of an asset the writer leaves out
    besides, where that depends on more than its kind. psnr: dB that a written file must reach when
    it is read back, rendered and compared.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...]
    read: Reader | None = None
    write: Writer | None = None
    keeps: frozenset[str] = frozenset()
    patches: str = ""
    psnr: float = 30.0
    also_loses: Callable[[Asset], list[Feature]] | None = None

    def __post_init__(self) -> None:
        if not self.suffixes or any(
            s != s.lower() or not s.startswith(".") or len(s) < 2 for s in self.suffixes
        ):
            raise ValueError(f'the suffixes of "{self.name}" must look like ".glb"')
        if self.read is None and self.write is None:
            raise ValueError(f'"{self.name}" can neither be read nor written')


_HERE = "threestudio_like.meshes.io"
FORMATS: Registry[Format] = Registry(
    "format",
    "threestudio_like.formats",
    Format,
    built_in={
        "glb": f"{_HERE}.gltf.rows:GLB",
        "gltf": f"{_HERE}.gltf.rows:GLTF",
        "obj": f"{_HERE}.obj.row:OBJ",
        "ply": f"{_HERE}.ply.ply:PLY",
        "stl": f"{_HERE}.stl.stl:STL",
        "off": f"{_HERE}.off:OFF",
        "usdz": f"{_HERE}.usd.usd:USDZ",
        "usd": f"{_HERE}.usd.usd:USD",
        "usda": f"{_HERE}.usd.usd:USDA",
        "usdc": f"{_HERE}.usd.usd:USDC",
        "dae": f"{_HERE}.dae.dae:DAE",
        "3mf": f"{_HERE}.threemf.threemf:THREEMF",
        "mjcf": f"{_HERE}.mjcf.mjcf:MJCF",
    },
)
"""The formats by name."""

_PACKED = "Unpack it and give the mesh inside"
_WAYS_OUT = {
    ".blend": "Export it as GLB from Blender (File, Export, glTF 2.0)",
    ".fbx": "Export it as GLB from Blender (File, Import, FBX) or the program that made it",
    ".max": "Export it as GLB from 3ds Max",
    ".ma": "Export it as USD from Maya",
    ".mb": "Export it as USD from Maya",
    ".c4d": "Export it as GLB or USD from Cinema 4D",
    ".skp": "Export it as GLB or USDZ from SketchUp",
    ".3ds": "Save it as GLB, for example with Blender",
    ".x3d": "Save it as GLB, for example with Blender",
    ".wrl": "Save it as GLB, for example with Blender",
    ".abc": "Export it as GLB from Blender (File, Import, Alembic)",
    ".zip": _PACKED,
    ".7z": _PACKED,
    ".rar": _PACKED,
    ".gz": _PACKED,
    ".tar": _PACKED,
    ".zae": "Unpack it (it is a zip) and give the .dae inside",
    ".spz": "It holds 3D Gaussians: threestudio-like export FILE --to glb makes a mesh of them",
    ".splat": "Save it as SPZ or PLY, for example with SuperSplat",
    ".ksplat": "Save it as SPZ or PLY, for example with SuperSplat",
    ".vrm": "Rename it to .glb, which it is",
    ".iges": "Export a mesh (STL or 3MF) from the CAD program",
    ".igs": "Export a mesh (STL or 3MF) from the CAD program",
    ".dwg": "Export a mesh (STL or 3MF) from the CAD program",
    ".dxf": "Export a mesh (STL or 3MF) from the CAD program",
    ".step": "Export a mesh (STL or 3MF) from the CAD program",
    ".stp": "Export a mesh (STL or 3MF) from the CAD program",
}


def register(
    name: str,
    *,
    suffixes: tuple[str, ...] = (),
    summary: str = "",
    read: Reader | None = None,
    keeps: Collection[str] = (),
    psnr: float = 30.0,
) -> Callable[[Writer], Format]:
    """Decorator of a writer: adds a format that is written by it. The decorated name then is the
    `Format`, so that an entry point of the group "threestudio_like.formats" can point at it. A
    format that is only read is added by `FORMATS.add(name, Format(...))`.

    Args:
        suffixes: the default is the name with a dot.
        read: its reader, if it has one; `export --verify` wants it.
        keeps: the kinds of features that it can hold, of `features.EVERYTHING`.

    Raises: ConfigError: the name is taken.

    Example:
        >>> @register("coff", summary="Object File Format with colours")       # doctest: +SKIP
        ... def write_coff(asset, name):
        ...     mesh = joined(asset)
        ...     return {name: text_of(mesh.vertices, mesh.colours, mesh.faces).encode()}
    """

    def add(write: Writer) -> Format:
        return FORMATS.add(
            name,
            Format(
                name=name,
                summary=summary or " ".join((write.__doc__ or name).split()),
                suffixes=suffixes or (f".{name}",),
                read=read,
                write=write,
                keeps=frozenset(keeps),
                psnr=psnr,
            ),
        )

    return add


def readable() -> list[str]:
    """The names of the formats that can be read."""
    return [name for name, row in FORMATS.items() if row.read is not None]


def writable() -> list[str]:
    """The names of the formats that can be written."""
    return [name for name, row in FORMATS.items() if row.write is not None]


def is_mesh_file(path: Path) -> bool:
    """Whether the suffix is that of a format that can be read."""
    row = _by_suffix(path)
    return row is not None and row.read is not None


def format_to_read(path: Path) -> Format:
    """The format of a file, by its suffix. Raises InputError with a remedy if it cannot be read."""
    return _checked(path, "read")


def format_to_write(path: Path) -> Format:
    """The format of a file to be written, by its suffix. Raises ExportError."""
    return _checked(path, "write")


def _by_suffix(path: Path) -> Format | None:
    suffix = path.suffix.lower()
    return next((row for _, row in FORMATS.items() if suffix in row.suffixes), None)


def _checked(path: Path, use: str) -> Format:
    row = _by_suffix(path)
    if row is not None and getattr(row, use) is not None:
        return row
    kind: type[UserError] = InputError if use == "read" else ExportError
    participle = "read" if use == "read" else "written"
    names = readable() if use == "read" else writable()
    remedy = did_you_mean(path.suffix.lower().lstrip("."), names)
    if use == "read" and path.suffix.lower() in _WAYS_OUT:
        remedy = _WAYS_OUT[path.suffix.lower()]
    elif not remedy.startswith("Known"):
        remedy = f"{remedy} Known formats: {', '.join(names)}"
    what = f'"{path.suffix}" is not a mesh format that can be {participle}'
    if not path.suffix:
        what = f"has no suffix, so the format in which it is {participle} is not known"
        remedy = f"Known formats: {', '.join(names)}"
    raise kind(what, str(path), remedy)
