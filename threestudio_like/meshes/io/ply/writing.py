"""Writes an asset as one binary PLY, with its textures as PNG beside it."""

from __future__ import annotations

import numpy as np

from ...features import Feature
from ...mesh import Asset, Mesh
from ..images import encode_png
from ..merge import vertex_colours


def write_ply(asset: Asset, name: str) -> dict[str, bytes]:
    """A binary PLY of all meshes as one, and a PNG for each of their textures.

    One texture over the whole surface has coordinates at the vertices; several, or one over a part
    of it, at the corners of the faces, with the number of the picture (`texnumber`), as MeshLab
    writes them. Vertices have colours then as well, for programs that show no pictures.
    Coordinates without a picture are written too.
    """
    meshes = list(asset.meshes.values())
    pictures: list[np.ndarray] = []
    number = [_number(mesh, pictures) for mesh in meshes]
    whole = len(pictures) == 1 and min(number) == 0
    laid_out = [mesh.uv is not None for mesh in meshes]
    at_vertices = whole or (not pictures and all(laid_out))
    stem = name.rsplit(".", 1)[0]
    files = [f"{stem}.png" if not n else f"{stem}.{n}.png" for n in range(len(pictures))]
    vertices, head = _vertices(meshes, asset.offset, coordinates=at_vertices, colours=not whole)
    faces = _faces(meshes, number if any(laid_out) and not at_vertices else None)
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment TextureFile {file}" for file in files]
    lines += [f"element vertex {len(vertices)}", *head, f"element face {len(faces)}"]
    lines.append("property list uchar int vertex_indices")
    if "uv" in (faces.dtype.names or ()):
        lines += ["property list uchar float texcoord", "property int texnumber"]
    text = "\n".join([*lines, "end_header", ""]).encode()
    out = {name: text + vertices.tobytes() + faces.tobytes()}
    return out | {file: encode_png(picture) for file, picture in zip(files, pictures)}


def hidden_colours(asset: Asset) -> list[Feature]:
    """The vertex colours that no program shows, because it shows a picture there."""
    names = [
        name
        for name, mesh in asset.meshes.items()
        if mesh.colours is not None and mesh.texture is not None and mesh.uv is not None
    ]
    return [Feature("vertex colours beside a texture", tuple(names))] if names else []


def _number(mesh: Mesh, pictures: list[np.ndarray]) -> int:
    """The number of the mesh's texture among the pictures, which it joins; -1 if it has none."""
    if mesh.texture is None or mesh.uv is None:
        return -1
    picture = mesh.texture
    factor = np.array(mesh.material.colour if mesh.material is not None else (1.0,) * 4)
    if (factor[:3] != 1).any():
        # PLY has no material, so its colour goes into the picture.
        channels = picture.shape[2]
        tint = np.concatenate([factor[:3], [1.0]])[:channels]
        picture = np.rint(picture * tint).clip(0, 255).astype(np.uint8)
    for n, known in enumerate(pictures):
        if known is picture or (known.shape == picture.shape and np.array_equal(known, picture)):
            return n
    pictures.append(picture)
    return len(pictures) - 1


def _vertices(
    meshes: list[Mesh], offset: np.ndarray, *, coordinates: bool, colours: bool
) -> tuple[np.ndarray, list[str]]:
    """The rows of all vertices and the lines of the header that describe them."""
    far = bool(offset.any())
    columns: list[tuple[str, str, np.ndarray]] = []

    def add(names: str, kind: str, values: np.ndarray) -> None:
        columns.extend((n, kind, values[:, k]) for k, n in enumerate(names.split()))

    points = np.concatenate([m.vertices for m in meshes])
    if far:
        add("x y z", "f8", points.astype(np.float64) + offset)
    else:
        add("x y z", "f4", points)
    normals = [m.normals for m in meshes if m.normals is not None]
    if len(normals) == len(meshes):
        add("nx ny nz", "f4", np.concatenate(normals))
    if coordinates:
        add("s t", "f4", np.concatenate([m.uv for m in meshes if m.uv is not None]))
    tints = [vertex_colours(m) for m in meshes] if colours else []
    if any(t is not None for t in tints):
        alpha = any(t is not None and t.shape[1] == 4 for t in tints)
        rows = np.concatenate([_tint(t, m, alpha) for t, m in zip(tints, meshes)])
        names = "red green blue alpha" if alpha else "red green blue"
        add(names, "u1", np.rint(rows.clip(0, 1) * 255))
    out = np.empty(len(points), [(name, "<" + kind) for name, kind, _ in columns])
    for name, _, values in columns:
        out[name] = values
    spelt = {"f8": "double", "f4": "float", "u1": "uchar"}
    return out, [f"property {spelt[kind]} {name}" for name, kind, _ in columns]


def _tint(colours: np.ndarray | None, mesh: Mesh, alpha: bool) -> np.ndarray:
    """Colours (V, 3 or 4), grey where a part has none, opaque where it says nothing of it."""
    if colours is None:
        colours = np.full((len(mesh.vertices), 3), 0.7, np.float32)
    if alpha and colours.shape[1] == 3:
        return np.concatenate([colours, np.ones((len(colours), 1), np.float32)], 1)
    return colours


def _faces(meshes: list[Mesh], numbers: list[int] | None) -> np.ndarray:
    """The rows of all faces; with numbers of pictures also the coordinates of their corners."""
    rows = [("n", "u1"), ("index", "<i4", (3,))]
    if numbers is not None:
        rows += [("m", "u1"), ("uv", "<f4", (6,)), ("picture", "<i4")]
    out = np.zeros(sum(len(m.faces) for m in meshes), rows)
    out["n"] = 3
    begin = first = 0
    for n, mesh in enumerate(meshes):
        part = out[begin : begin + len(mesh.faces)]
        part["index"] = mesh.faces + first
        if numbers is not None:
            part["m"], part["picture"] = 6, numbers[n]
            if mesh.uv is not None:
                part["uv"] = mesh.uv[mesh.faces].reshape(-1, 6)
        begin, first = begin + len(mesh.faces), first + len(mesh.vertices)
    return out
