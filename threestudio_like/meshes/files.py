"""Readers and writers of assets: GLB, OBJ with MTL and PNG, PLY, STL, through trimesh."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.checkpoint import output_error, write_atomically
from ..engine.errors import ExportError, InputError, did_you_mean
from .mesh import Asset, Mesh

FORMATS = ("glb", "obj", "ply", "stl")
LARGEST_FILE = 512 * 1024 * 1024


def _to_trimesh(mesh: Mesh, colours_only: bool = False) -> Any:
    import trimesh
    from PIL import Image

    normals = mesh.normals if mesh.normals is not None else mesh.with_normals().normals
    out = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=normals, process=False, validate=False)
    if mesh.texture is not None and mesh.uv is not None and not colours_only:
        material = trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=0.9, name="surface")  # fmt: skip
        out.visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)
    else:
        colours = vertex_colours(mesh)
        if colours is not None:
            rgba = np.concatenate([np.rint(colours * 255), np.full((len(colours), 1), 255)], 1).astype(np.uint8)
            out.visual = trimesh.visual.ColorVisuals(out, vertex_colors=rgba)
    return out


def vertex_colours(mesh: Mesh) -> np.ndarray | None:
    """Colours (V, 3) in [0, 1]: the mesh's own, or the texture read at each vertex."""
    if mesh.colours is not None or mesh.texture is None or mesh.uv is None:
        return mesh.colours
    height, width = mesh.texture.shape[:2]
    x = np.clip(mesh.uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - mesh.uv[:, 1]) * height - 0.5, 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    t = mesh.texture.astype(np.float32) / 255
    return (t[y0, x0] * (1 - fx) + t[y0, x0 + 1] * fx) * (1 - fy) + (
        t[y0 + 1, x0] * (1 - fx) + t[y0 + 1, x0 + 1] * fx
    ) * fy


def write(asset: Asset, path: Path) -> Path:
    """Write an asset by the path's suffix; the provenance goes into GLB's extras. Raises ExportError, OutputError."""
    import trimesh

    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ExportError(
            f'"{path.suffix}" is not a format that can be written', str(path), did_you_mean(kind, FORMATS)
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from None
    if kind == "glb":
        scene = trimesh.Scene()
        for name, mesh in asset.meshes.items():
            scene.add_geometry(_to_trimesh(mesh), node_name=name, geom_name=name)
        scene.metadata.update({"provenance": json.dumps(asset.provenance, sort_keys=True, default=str)})
        write_atomically(path, trimesh.exchange.gltf.export_glb(scene, include_normals=True))
    elif kind == "obj":
        _write_obj(asset, path)
    elif kind == "ply":
        whole = _joined(asset)
        write_atomically(path, trimesh.exchange.ply.export_ply(_to_trimesh(whole, colours_only=True)))
    else:
        whole = _joined(asset)
        write_atomically(
            path, trimesh.exchange.stl.export_stl(_to_trimesh(Mesh(whole.vertices, whole.faces, normals=whole.normals)))
        )
    return path


def _joined(asset: Asset) -> Mesh:
    meshes = list(asset.meshes.values())
    if len(meshes) == 1:
        return meshes[0]
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    colours = [vertex_colours(m) for m in meshes]
    grey = [np.full((len(m.vertices), 3), 0.7, np.float32) if c is None else c for m, c in zip(meshes, colours)]
    return Mesh(np.concatenate([m.vertices for m in meshes]), np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
                colours=np.concatenate(grey))  # fmt: skip


def _write_obj(asset: Asset, path: Path) -> None:
    from PIL import Image

    lines, materials = [f"mtllib {path.stem}.mtl"], []
    base = 1
    for number, (name, mesh) in enumerate(asset.meshes.items()):
        normals = mesh.normals if mesh.normals is not None else mesh.with_normals().normals
        assert normals is not None
        lines.append(f"o {name}")
        colours = None if mesh.texture is not None else vertex_colours(mesh)
        for i, v in enumerate(mesh.vertices):
            extra = "" if colours is None else " {:.5f} {:.5f} {:.5f}".format(*colours[i])
            lines.append("v {:.6f} {:.6f} {:.6f}".format(*v) + extra)
        textured = mesh.uv is not None
        if textured:
            lines += ["vt {:.6f} {:.6f}".format(*uv) for uv in mesh.uv]  # type: ignore[union-attr]
        lines += ["vn {:.5f} {:.5f} {:.5f}".format(*n) for n in normals]
        material = f"surface{number}"
        lines.append(f"usemtl {material}")
        for face in mesh.faces + base:
            lines.append("f " + " ".join(f"{i}/{i}/{i}" if textured else f"{i}//{i}" for i in face))
        base += len(mesh.vertices)
        materials += [f"newmtl {material}", "Kd 1 1 1", "Ks 0 0 0", "illum 1"]
        if mesh.texture is not None:
            image = f"{path.stem}{'' if number == 0 else number}.png"
            materials.append(f"map_Kd {image}")
            buffer = io.BytesIO()
            Image.fromarray(mesh.texture).save(buffer, "PNG")
            write_atomically(path.with_name(image), buffer.getvalue())
    write_atomically(path.with_suffix(".mtl"), ("\n".join(materials) + "\n").encode())
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def read(path: Path) -> Asset:
    """Read a GLB, OBJ, PLY or STL file. Raises InputError: missing, too large, unreadable, empty, or with numbers that are not finite."""
    import trimesh

    kind = path.suffix.lower().lstrip(".")
    if not path.is_file():
        raise InputError("there is no such file", str(path), "Give the path of a mesh")
    if kind not in (*FORMATS, "gltf"):
        raise InputError(
            f'"{path.suffix}" is not a mesh format that can be read', str(path), f"Known: {', '.join(FORMATS)}, gltf"
        )
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE >> 20} MiB", str(path), "Decimate the mesh first")
    try:
        scene = trimesh.load_scene(str(path), process=False)
    except Exception as error:
        raise InputError(
            f"cannot be read ({type(error).__name__}: {str(error)[:80]})",
            str(path),
            "Open and save it again in a mesh editor",
        ) from None
    meshes: dict[str, Mesh] = {}
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            meshes[str(node)] = _from_trimesh(geometry, transform)
    if not meshes:
        raise InputError("holds no triangles", str(path), "Give a file with a surface, not points or lines")
    for mesh in meshes.values():
        if not np.isfinite(mesh.vertices).all():
            raise InputError("holds positions that are not numbers", str(path), "Repair the mesh first")
    provenance = scene.metadata.get("provenance")
    return Asset(meshes, json.loads(provenance) if isinstance(provenance, str) else {})


def _from_trimesh(geometry: Any, transform: np.ndarray) -> Mesh:
    vertices = geometry.vertices @ transform[:3, :3].T + transform[:3, 3]
    mesh = Mesh(vertices.astype(np.float32), np.ascontiguousarray(geometry.faces, np.int32))
    visual = geometry.visual
    if getattr(visual, "kind", None) == "texture" and visual.uv is not None:
        mesh.uv = np.ascontiguousarray(visual.uv, np.float32)
        image = getattr(visual.material, "baseColorTexture", None) or getattr(visual.material, "image", None)
        if image is not None:
            mesh.texture = np.asarray(image.convert("RGB"))
    elif getattr(visual, "kind", None) == "vertex":
        mesh.colours = np.asarray(visual.vertex_colors[:, :3], np.float32) / 255
    return mesh
