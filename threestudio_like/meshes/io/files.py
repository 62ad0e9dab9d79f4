"""Readers and writers of assets: GLB, glTF, OBJ with MTL and PNG, PLY, STL, each in the frame that
the user says."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.checkpoint import output_error, write_atomically
from ...engine.errors import ExportError, InputError, did_you_mean
from ..frames import CANONICAL, Frame, from_canonical, to_canonical
from ..mesh import Asset, Mesh, Node
from .gltf_read import read_gltf
from .gltf_write import write_glb
from .images import LARGEST_FILE
from .obj import LARGEST_COUNT, read_obj, too_many, write_obj

FORMATS = ("glb", "obj", "ply", "stl")


def vertex_colours(mesh: Mesh) -> np.ndarray | None:
    """Colours (V, 3) in [0, 1]: the mesh's own, the texture read at each vertex, or the material's;
    None without any."""
    if mesh.colours is not None:
        return mesh.colours
    if mesh.texture is None or mesh.uv is None:
        if mesh.material is None:
            return None
        return np.broadcast_to(
            np.array(mesh.material.colour[:3], np.float32), (len(mesh.vertices), 3)
        )
    height, width = mesh.texture.shape[:2]
    x = np.clip(mesh.uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - mesh.uv[:, 1]) * height - 0.5, 0, height - 1)
    x0, y0 = (
        np.clip(x.astype(int), 0, max(0, width - 2)),
        np.clip(y.astype(int), 0, max(0, height - 2)),
    )
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    t = mesh.texture[..., :3].astype(np.float32) / 255
    upper, lower = t[y0, x0] * (1 - fx) + t[y0, x1] * fx, t[y1, x0] * (1 - fx) + t[y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def write(asset: Asset, path: Path, frame: Frame | None = None) -> Path:
    """Write an asset by the path's suffix; the provenance goes into GLB's extras. Raises
    ExportError, OutputError.

    Args:
        frame: axes and unit of the file; the default is +Y up, +Z front, metres.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ExportError(
            f'"{path.suffix}" is not a format that can be written',
            str(path),
            did_you_mean(kind, FORMATS),
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from None
    asset = from_canonical(_with_normals(asset), frame or CANONICAL)
    if kind == "glb":
        write_glb(asset, path)
    elif kind == "obj":
        write_obj(asset, path)
    else:
        write_atomically(path, _ply(joined(asset)) if kind == "ply" else _stl(joined(asset)))
    return path


def _with_normals(asset: Asset) -> Asset:
    def full(meshes: dict[str, Mesh]) -> dict[str, Mesh]:
        return {k: m if m.normals is not None else m.with_normals() for k, m in meshes.items()}

    # Instances stay instances.
    own = {id(n.meshes): full(n.meshes) for n in asset.nodes.values()}
    nodes = {k: Node(own[id(n.meshes)], n.transform) for k, n in asset.nodes.items()}
    return Asset(full(asset.meshes), asset.provenance, nodes)


def joined(asset: Asset) -> Mesh:
    """All meshes as one with vertex colours: what formats without textures can hold."""
    meshes = list(asset.meshes.values())
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    colours = [vertex_colours(m) for m in meshes]
    whole = None
    if any(c is not None for c in colours):
        grey = [
            np.full((len(m.vertices), 3), 0.7, np.float32) if c is None else c
            for m, c in zip(meshes, colours)
        ]
        whole = np.concatenate(grey)
    normals = [m.normals for m in meshes if m.normals is not None]
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
        colours=whole,
        normals=np.concatenate(normals) if len(normals) == len(meshes) else None,
    )


def _trimesh(mesh: Mesh) -> Any:
    import trimesh

    out = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False, validate=False
    )
    if mesh.colours is not None:
        rgba = np.concatenate(
            [np.rint(mesh.colours * 255), np.full((len(mesh.colours), 1), 255)], 1
        ).astype(np.uint8)
        out.visual = trimesh.visual.ColorVisuals(out, vertex_colors=rgba)
    return out


def _ply(mesh: Mesh) -> bytes:
    import trimesh

    return trimesh.exchange.ply.export_ply(_trimesh(mesh))


def _stl(mesh: Mesh) -> bytes:
    import trimesh

    return trimesh.exchange.stl.export_stl(
        _trimesh(Mesh(mesh.vertices, mesh.faces, normals=mesh.normals))
    )


def read(path: Path, frame: Frame | None = None, textures: bool = True) -> Asset:
    """Read a GLB, glTF, OBJ, PLY or STL file.

    Args:
        frame: axes and unit of the file.
        textures: False leaves pictures alone, also missing ones.

    Raises:
        InputError: missing, too large, unreadable, empty, without area, with numbers that are not
            finite, or with addresses that leave its folder.
    """
    kind = path.suffix.lower().lstrip(".")
    if path.is_dir():
        raise InputError("is a folder", str(path), "Give the path of a mesh")
    if not path.is_file():
        raise InputError("there is no such file", str(path), "Give the path of a mesh")
    if kind not in (*FORMATS, "gltf"):
        raise InputError(
            f'"{path.suffix}" is not a mesh format that can be read',
            str(path),
            f"Known: {', '.join(FORMATS)}, gltf",
        )
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InputError(
            f"is larger than {LARGEST_FILE >> 20} MiB", str(path), "Decimate the mesh first"
        )
    if size == 0:
        raise InputError("is empty", str(path), "Give a file with a surface")
    try:
        if kind in ("glb", "gltf"):
            asset = read_gltf(path, textures)
        elif kind == "obj":
            asset = read_obj(path, textures)
        else:
            asset = _read_simple(path, kind)
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
    """Refuse what no later step could use."""
    if not asset.meshes:
        raise InputError(
            "holds no triangles", str(path), "Give a file with a surface, not points or lines"
        )
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    area = 0.0
    for name, mesh in asset.meshes.items():
        used = mesh.vertices[mesh.faces.reshape(-1)]
        if not np.isfinite(used).all() or np.abs(used).max() > 1e18:
            raise InputError(
                f'the part "{name[:40]}" holds positions that are not numbers',
                str(path),
                "Repair the mesh first",
            )
        if mesh.uv is not None and not np.isfinite(mesh.uv).all():
            raise InputError(
                f'the part "{name[:40]}" holds texture coordinates that are not numbers',
                str(path),
                "Repair the mesh first",
            )
        # Normals and colours can be made again; where they are damaged they are.
        if mesh.normals is not None and not np.isfinite(mesh.normals).all():
            mesh.normals = None
        if mesh.colours is not None and not np.isfinite(mesh.colours).all():
            mesh.colours = None
        low, high = np.minimum(low, used.min(0)), np.maximum(high, used.max(0))
        area += mesh.area
    extent = float((high - low).max())
    if extent <= 0 or area <= 1e-12 * extent * extent:
        raise InputError(
            "has no area: all its triangles are points or lines",
            str(path),
            "Give a file with a surface",
        )


def _read_simple(path: Path, kind: str) -> Asset:
    """PLY and STL through trimesh, after their headers were held against the file's size."""
    import trimesh

    data = path.read_bytes()
    if kind == "ply":
        check_ply(data, str(path))
    elif data[:5].lower() != b"solid" or b"\0" in data[:512]:
        if len(data) < 84:
            raise InputError(
                "is an STL that ends too early", str(path), "Save it again in a mesh editor"
            )
        count = int.from_bytes(data[80:84], "little")
        if count > LARGEST_COUNT:
            raise too_many(count, "faces", str(path))
        if 84 + 50 * count > len(data):
            raise InputError(
                "is an STL that ends too early", str(path), "Save it again in a mesh editor"
            )
    elif data.count(b"endfacet") > LARGEST_COUNT:
        raise too_many(data.count(b"endfacet"), "faces", str(path))
    loaded = trimesh.load(io.BytesIO(data), file_type=kind, process=False)
    meshes: dict[str, Mesh] = {}
    pieces = (
        [loaded]
        if isinstance(loaded, trimesh.Trimesh)
        else list(getattr(loaded, "geometry", {}).values())
    )
    for piece in pieces:
        if isinstance(piece, trimesh.Trimesh) and len(piece.faces):
            faces = np.asarray(piece.faces)
            if faces.min() < 0 or faces.max() >= len(piece.vertices):
                raise InputError(
                    f"a face names vertex {int(faces.max())}, of {len(piece.vertices)}",
                    str(path),
                    "Repair the mesh first",
                )
            mesh = Mesh(
                np.asarray(piece.vertices, np.float32), np.ascontiguousarray(faces, np.int32)
            )
            if kind == "stl":
                # STL stores every corner apart: the mesh is put together again.
                places, inverse = np.unique(mesh.vertices, axis=0, return_inverse=True)
                mesh = Mesh(places, inverse.reshape(-1)[mesh.faces].astype(np.int32))
            elif getattr(piece.visual, "kind", None) == "vertex":
                visual: Any = piece.visual
                mesh.colours = np.asarray(visual.vertex_colors[:, :3], np.float32) / 255
            meshes[path.stem if not meshes else f"{path.stem}.{len(meshes)}"] = mesh
    return Asset(meshes)


def check_ply(data: bytes, where: str) -> None:
    """Hold a PLY's header against its size. Raises InputError."""
    head, found, _body = data[: 1 << 16].partition(b"end_header")
    if not data.startswith(b"ply") or not found:
        raise InputError("is not a PLY file", where, "Save it again in a mesh editor")
    room = len(data) - len(head)
    for name, text in re.findall(rb"element\s+(\S+)\s+(\S+)", head):
        count = int(text) if re.fullmatch(rb"\d{1,12}", text) else -1
        if count < 0:
            raise InputError(
                f"its header counts {text[:20]!r} of {name[:20]!r}",
                where,
                "Save it again in a mesh editor",
            )
        if count > LARGEST_COUNT:
            raise too_many(count, name.decode("utf-8", "replace")[:20], where)
        if count > room:
            raise InputError(
                "is a PLY that ends too early", where, "Save it again in a mesh editor"
            )
