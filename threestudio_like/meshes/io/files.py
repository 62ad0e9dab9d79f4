"""Reading and writing assets as files, in the frame that the user says; the formats are rows of
`formats.FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...engine.errors import ExportError, InputError, UserError
from ...engine.output import write_files
from ...engine.text import line_name
from ..features import Feature, features
from ..frames import CANONICAL, Frame, from_canonical, to_canonical
from ..mesh import Asset, Mesh, Node
from ..surface.normals import face_normals
from .formats import Format, format_to_read, format_to_write
from .gltf.looks import same_material
from .images import LARGEST_FILE
from .sound import check_sound

FARTHEST = 1e18
"""The largest coordinate that is taken, in the file's units: its square is still a float32."""


def write(
    asset: Asset,
    path: Path,
    frame: Frame | None = None,
    *,
    force: bool = False,
    made: Callable[[Path], bool] | None = None,
) -> Path:
    """Write an asset in the format of the path's suffix, with the files beside it; GLB keeps the
    provenance in its extras.

    Args:
        frame: axes and unit of the file; the default is +Y up, +Z front, metres.
        force: replace files that exist.
        made: tells of a file whether it may be replaced nevertheless.

    Raises: ExportError: no format has this suffix. OutputError: it cannot be written, or a file of
        the user's, also one beside it, would be replaced.
    """
    files = encode(asset, path, frame)
    # A picture that lies beside the mesh already, with these very bytes, is not in the way.
    files = {p: data for p, data in files.items() if p == path or not _holds(p, data)}
    write_files(files, force=force, made=made)
    return path


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has these bytes."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def encode(asset: Asset, path: Path, frame: Frame | None = None) -> dict[Path, bytes]:
    """The files of an asset in the format of the path's suffix, `path` and those beside it, not yet
    written. Raises ExportError, also where a mesh is none (`sound.check_sound`)."""
    row = format_to_write(path)
    assert row.write is not None
    check_sound(asset, path)
    asset = _settled(_with_faces(asset), row)
    try:
        files = row.write(
            from_canonical(_complete(asset, row.patches), frame or CANONICAL), path.name
        )
        if not any(name == path.name for name in files):
            raise ValueError(f"the writer made no {path.name}")
        return {path.with_name(name): data for name, data in files.items()}
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(
            f"cannot be written as {row.name} ({type(error).__name__}: {str(error)[:80]})",
            str(path),
            "Choose another format",
        ) from error


def losses(asset: Asset, path: Path) -> list[Feature]:
    """What of an asset a file with the path's suffix will not hold. Raises ExportError."""
    row = format_to_write(path)
    source = asset.source
    bare = tuple(name for name, mesh in asset.meshes.items() if not len(mesh.faces))
    empty = [Feature("parts without faces", bare)] if bare else []
    asset = _with_faces(asset)
    if source is not None and source.kind == row.patches:
        return empty + source.unkept(asset)
    held = _settled(asset, row)
    lost = [feature for feature in features(asset) if feature.kind not in row.keeps]
    if asset.nodes and not held.nodes and "placed objects" in row.keeps:
        lost.append(Feature("placed objects", tuple(asset.nodes)))
    return empty + lost + (row.also_loses(asset) if row.also_loses is not None else [])


def _with_faces(asset: Asset) -> Asset:
    """An asset without the meshes that have no faces, of which no format holds anything."""

    def some(meshes: dict[str, Mesh]) -> dict[str, Mesh]:
        return {k: m for k, m in meshes.items() if len(m.faces)}

    own = {id(n.meshes): some(n.meshes) for n in asset.nodes.values()}
    whole = all(len(own[id(n.meshes)]) == len(n.meshes) for n in asset.nodes.values())
    if whole and all(len(m.faces) for m in asset.meshes.values()):
        return asset
    nodes = {k: Node(own[id(n.meshes)], n.transform) for k, n in asset.nodes.items()}
    shown = {k: n for k, n in nodes.items() if n.meshes}
    return replace(asset, meshes=some(asset.meshes), nodes=shown)


def _settled(asset: Asset, row: Format) -> Asset:
    """An asset whose nodes say what its meshes do: of a file whose meshes were changed since it was
    read, and which is not patched, the meshes count, where they are."""
    source = asset.source
    if not asset.nodes or source is None or source.kind == row.patches:
        return asset
    before = source.as_read()
    same = list(before) == list(asset.meshes) and all(
        _untouched(mesh, before[name]) for name, mesh in asset.meshes.items()
    )
    return asset if same else replace(asset, nodes={})


def _untouched(mesh: Mesh, before: Mesh) -> bool:
    """Whether a mesh is one that was read, in all that a file may say of it."""
    tables = ("vertices", "faces", "uv", "colours", "normals")
    pairs = [(getattr(mesh, k), getattr(before, k)) for k in tables]
    return (
        mesh.texture is before.texture
        and same_material(mesh.material, before.material)
        and all(a is b or (a is not None and np.array_equal(a, b)) for a, b in pairs)
    )


def _complete(asset: Asset, patches: str) -> Asset:
    """An asset whose meshes have normals, and no vertices that are no numbers: those are of no
    face.

    Args:
        patches: the kind of source whose file is patched. Meshes of that file that have no normals
            stay so: what the file says of them is to be known first.
    """
    source = asset.source
    known = source.as_read() if source is not None and source.kind == patches else {}

    def complete(mesh: Mesh, held: bool) -> Mesh:
        uv = mesh.uv if mesh.uv is not None else mesh.vertices
        if not (np.isfinite(mesh.vertices).all() and np.isfinite(uv).all()):
            mesh = mesh.keep_faces(np.ones(len(mesh.faces), bool))
        return mesh if held or mesh.normals is not None else mesh.with_normals()

    # Instances stay instances.
    own = {
        id(n.meshes): {k: complete(m, held=False) for k, m in n.meshes.items()}
        for n in asset.nodes.values()
    }
    nodes = {k: Node(own[id(n.meshes)], n.transform) for k, n in asset.nodes.items()}
    meshes = {k: complete(m, k in known) for k, m in asset.meshes.items()}
    return replace(asset, meshes=meshes, nodes=nodes)


def read(path: Path, frame: Frame | None = None, textures: bool = True) -> Asset:
    """Read a mesh file in the format of its suffix.

    Args:
        frame: axes and unit of the file.
        textures: False leaves pictures alone, also missing ones.

    Raises:
        InputError: missing, too large, unreadable, empty, without area, with numbers that are not
            finite, or with addresses that leave its folder.
    """
    if path.is_dir():
        raise InputError("is a folder", str(path), "Give the path of a mesh")
    if not path.is_file():
        raise InputError("there is no such file", str(path), "Give the path of a mesh")
    row = format_to_read(path)
    assert row.read is not None
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InputError(
            f"is larger than {LARGEST_FILE >> 20} MiB", str(path), "Decimate the mesh first"
        )
    if size == 0:
        raise InputError("is empty", str(path), "Give a file with a surface")
    try:
        # Numbers that are none are looked for below; NumPy's warnings of them are not for the user.
        with np.errstate(all="ignore"):
            asset = row.read(path, textures)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", str(path), "Check the file's rights"
        ) from None
    except MemoryError:
        raise InputError("does not fit into memory", str(path), "Decimate the mesh first") from None
    except Exception as error:
        raise InputError(
            f"cannot be read ({type(error).__name__}: {str(error)[:80]})",
            str(path),
            "Open and save it again in a mesh editor",
        ) from None
    _check(asset, path)
    return to_canonical(asset, frame or CANONICAL)


def _check(asset: Asset, path: Path) -> None:
    """Refuse what no later step could use, and leave out meshes without triangles."""
    for name in [name for name, mesh in asset.meshes.items() if not len(mesh.faces)]:
        del asset.meshes[name]
    if not asset.meshes:
        raise InputError(
            "holds no triangles", str(path), "Give a file with a surface, not points or lines"
        )
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for name, mesh in asset.meshes.items():
        used = mesh.vertices[mesh.named()]
        bad = ~(np.abs(used) <= FARTHEST).all(1)
        if bad.any():
            kind = f"beyond {FARTHEST:g}" if np.isfinite(used).all() else "that are not numbers"
            first = ", ".join(f"{v:g}" for v in used[bad][0])
            raise InputError(
                f'the part "{name[:40]}" holds {bad.sum():,} of {len(used):,} positions {kind} '
                f"({first})",
                str(path),
                "Repair the mesh first",
            )
        if mesh.uv is not None and not np.isfinite(mesh.uv).all():
            raise InputError(
                f'the part "{name[:40]}" holds texture coordinates that are not numbers',
                str(path),
                "Repair the mesh first",
            )
        asset.notes += _mend_shading(name, mesh)
        low, high = np.minimum(low, used.min(0)), np.maximum(high, used.max(0))
    extent = float((high - low).max())
    if extent <= 0 or not _covers(asset, 1e-12 * extent * extent):
        raise InputError(
            "has no area: all its triangles are points or lines",
            str(path),
            "Give a file with a surface",
        )


def _mend_shading(name: str, mesh: Mesh) -> list[str]:
    """Make normals anew that have no direction, and colours that are no numbers white, where others
    of the mesh are; returns a line for each kind of those that vertices of faces had."""
    notes, used, label = [], mesh.named(), line_name(name)[:40]
    if mesh.normals is not None:
        # In float64: squares of large values are no float32.
        length = np.linalg.norm(mesh.normals.astype(np.float64), axis=1)
        lost = ~(np.isfinite(length) & (length > 1e-12))
        far = ~lost & (length > 1e6)
        if far.any():
            mesh.normals = mesh.normals.copy()
            mesh.normals[far] = mesh.normals[far] / length[far, None]
        if lost[used].any():
            count = int(lost[used].sum())
            notes.append(f'normals of "{label}" without a direction are made anew: {count:,}')
        if lost[used].all():
            mesh.normals = None
        elif lost.any():
            made = mesh.with_normals().normals
            assert made is not None
            mesh.normals = np.where(lost[:, None], made, mesh.normals)
    if mesh.colours is not None and not np.isfinite(mesh.colours).all():
        lost = ~np.isfinite(mesh.colours).all(1)
        becomes = "left out" if lost[used].all() else "white"
        if lost[used].any():
            count = int(lost[used].sum())
            notes.append(f'colours of "{label}" that are no numbers are {becomes}: {count:,}')
        whole = np.where(np.isfinite(mesh.colours), mesh.colours, np.float32(1))
        mesh.colours = None if becomes == "left out" else whole
    return notes


def _covers(asset: Asset, least: float) -> bool:
    """Whether the surface is larger than an area; the first faces tell in nearly every file."""
    area = 0.0
    for mesh in asset.meshes.values():
        points = mesh.vertices.astype(np.float64)
        for begin in range(0, len(mesh.faces), 1 << 16):
            normals = face_normals(points, mesh.faces[begin : begin + (1 << 16)])
            area += float(np.linalg.norm(normals, axis=1).sum()) / 2
            if area > least:
                return True
    return False
