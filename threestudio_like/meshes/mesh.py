"""A triangle mesh with what an asset needs: texture coordinates, a texture, vertex colours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..engine.places import user_path
from .equal_rows import equal_rows
from .material import EncodedImage, Material, Sampler
from .surface.normals import crease_groups, face_normals, vertex_normals
from .transform import Transform

if TYPE_CHECKING:
    from .features import Feature
    from .physics.simulation import Simulation

__all__ = ["Asset", "EncodedImage", "Material", "Mesh", "Node", "Sampler", "Source", "Variant"]


def unique_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number behind it where it is taken. Thousands of equal names take few looks
    each: the number is found by doubling and halving."""
    if name not in taken:
        return name
    used, free = 0, 1
    while f"{name}.{free}" in taken:
        used, free = free, 2 * free
    while free - used > 1:
        middle = (used + free) // 2
        if f"{name}.{middle}" in taken:
            used = middle
        else:
            free = middle
    return f"{name}.{free}"


@dataclass
class Mesh:
    """vertices (V, 3) float32; faces (F, 3) int32, counter-clockwise from outside; uv (V, 2)
    float32, v upwards; texture (H, W, 3 or 4) uint8, row 0 at v = 1; colours (V, 3 or 4) float32 in
    [0, 1], display RGB and opacity, multiplied with texture and material; normals (V, 3) float32;
    part: the object that it is a part of (one material of several), empty where it is one alone;
    origin (V,) int64: the vertex, of the primitive that the mesh was read from, that every vertex
    is a copy of, or, where it is new, lies nearest to. None says that vertices are those that were
    read, in their order, or, where the mesh came from no file, nothing. relaid: whether uv was laid
    out anew since the file was read, so that of its maps only the texture lies on it."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None
    material: Material | None = None
    part: str = ""
    origin: np.ndarray | None = None
    relaid: bool = False

    def with_normals(self) -> Mesh:
        """The mesh with smooth vertex normals; vertices at one place share theirs, also across
        texture seams."""
        first, inverse = equal_rows(self._rounded())
        shared = vertex_normals(self.vertices[first], inverse[self.faces])
        return replace(self, normals=shared[inverse])

    @property
    def _digits(self) -> int:
        """Of the size of the mesh, before its decimal point."""
        size = float(np.ptp(self.vertices, axis=0).max()) if len(self.vertices) else 0.0
        return max(math.floor(math.log10(size)), -24) if 0 < size < math.inf else 0

    def _rounded(self) -> np.ndarray:
        """The vertices, rounded to about a millionth of the mesh's size: those at one place are
        equal."""
        return np.round(self.vertices, 6 - self._digits)

    def with_creases(self, angle: float = 42.0) -> Mesh:
        """The mesh with vertex normals that do not smooth over edges sharper than `angle` degrees,
        as far as its vertices are split there."""
        place = self.welded()
        first = np.zeros(place.max() + 1, np.int64)
        first[place] = np.arange(len(place))
        from .surface.creases import crease_normals

        # Areas of things that are tiny would be none in single precision.
        points = self.vertices[first] / np.float32(10.0 ** min(self._digits, 0))
        corners = crease_normals(
            np.ascontiguousarray(points, np.float32),
            place[self.faces].astype(np.int32),
            np.float32(np.cos(np.radians(angle))),
        )
        total = np.zeros((len(self.vertices), 3))
        np.add.at(total, self.faces.reshape(-1), corners.reshape(-1, 3).astype(np.float64))
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return replace(self, normals=(total / np.maximum(length, 1e-12)).astype(np.float32))

    def split_at_creases(self, angle: float = 42.0) -> Mesh:
        """The mesh with its vertices doubled along edges sharper than `angle` degrees, and with
        normals that are smooth everywhere else: a cube is flat, a sphere round."""
        place = self.welded()
        first = np.zeros(int(place.max(initial=-1)) + 1, np.int64)
        first[place] = np.arange(len(place))
        group, normals = crease_groups(self.vertices[first], place[self.faces], angle)
        # A texture seam keeps its two vertices: what differs is one of a vertex and a group.
        key = self.faces.astype(np.int64) * (len(normals) + 1) + group
        _, corner, inverse = np.unique(key, return_index=True, return_inverse=True)
        vertex = self.faces.reshape(-1)[corner]

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[vertex]

        return replace(
            self,
            vertices=self.vertices[vertex],
            faces=inverse.reshape(-1, 3).astype(np.int32),
            uv=pick(self.uv),
            colours=pick(self.colours),
            normals=normals[group.reshape(-1)[corner]],
            origin=(vertex.astype(np.int64) if self.origin is None else self.origin[vertex]),
        )

    @property
    def volume(self) -> float:
        """Signed volume, by the divergence theorem; positive when faces point outwards."""
        corner = self.vertices[self.faces].astype(np.float64)
        return float(
            np.einsum("ij,ij->i", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
        )

    @property
    def area(self) -> float:
        """Surface area."""
        return float(
            np.linalg.norm(face_normals(self.vertices.astype(np.float64), self.faces), axis=1).sum()
            / 2
        )

    def components(self) -> np.ndarray:
        """Number of the connected piece of every face (F,), by vertices at the same place."""
        faces = equal_rows(self._rounded())[1][self.faces]
        count = int(faces.max()) + 1 if len(faces) else 0
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        return (
            connected_components(graph, directed=False)[1][faces[:, 0]]
            if count
            else np.zeros(0, np.int32)
        )

    def keep_faces(self, keep: np.ndarray) -> Mesh:
        """The mesh of the faces in the boolean mask, unused vertices dropped."""
        faces = self.faces[keep]
        used, inverse = np.unique(faces, return_inverse=True)

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[used]

        return replace(
            self,
            vertices=self.vertices[used],
            faces=inverse.reshape(-1, 3).astype(np.int32),
            uv=pick(self.uv),
            colours=pick(self.colours),
            normals=pick(self.normals),
            origin=used if self.origin is None else self.origin[used],
        )

    def named(self) -> np.ndarray:
        """The vertices (V,) bool that faces name."""
        out = np.zeros(len(self.vertices), bool)
        out[self.faces.reshape(-1)] = True
        return out

    def welded(self) -> np.ndarray:
        """Number (V,) int64 of every vertex's place, equal for vertices at one place (a texture
        seam has several)."""
        return equal_rows(self.vertices)[1]


def copied(meshes: dict[str, Mesh]) -> dict[str, Mesh]:
    """Meshes whose tables and materials nobody else holds, so that a change in place of the others
    can be told from them; materials that were shared are shared again. Pixels are not copied."""
    materials: dict[int, Material] = {}
    arrays: dict[int, np.ndarray] = {}

    def own(values: Any) -> Any:
        if values is not None and id(values) not in arrays:
            arrays[id(values)] = values.copy()
        return None if values is None else arrays[id(values)]

    out = {}
    for name, mesh in meshes.items():
        material = mesh.material
        if material is not None:
            material = materials.setdefault(id(material), replace(material))
        tables = {k: own(getattr(mesh, k)) for k in ("vertices", "faces", "uv", "colours")}
        normals, origin = own(mesh.normals), own(mesh.origin)
        out[name] = replace(mesh, material=material, normals=normals, origin=origin, **tables)
    return out


def placed(nodes: dict[str, Node]) -> dict[str, Mesh]:
    """The meshes of nodes in the world, by name; those of an object of several meshes say their
    part."""
    out: dict[str, Mesh] = {}
    for name, node in nodes.items():
        several = len(node.meshes) > 1
        for key, mesh in node.meshes.items():
            normals = (
                None
                if mesh.normals is None
                else (mesh.normals @ node.transform.linear.T).astype(np.float32)
            )
            world = replace(
                mesh,
                vertices=node.transform.apply(mesh.vertices),
                normals=normals,
                part=name if several else "",
            )
            label = (
                f"{name}:{mesh.material.name if mesh.material is not None else key}"
                if several and name in out
                else name
            )
            out[unique_name(label, out)] = world
    return out


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of several, geometry only."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32),
    )


@dataclass
class Node:
    """An object of a scene: its meshes by name in a frame of their own, and where it stands. Nodes
    that hold the same `meshes` are instances."""

    meshes: dict[str, Mesh]
    transform: Transform


@dataclass
class Variant:
    """Another look of an asset on the same geometry: the base-colour texture and the material that
    meshes, by name, have in it."""

    name: str
    looks: dict[str, tuple[np.ndarray | None, Material | None]]


class Source(Protocol):
    """The untouched remainder of the file that an asset was read from."""

    kind: str
    """Name of the format into which a writer can patch it: "gltf" or "obj"."""

    def features(self) -> list[Feature]:
        """What the file holds that no `Mesh` and no `Material` describes."""

    def as_read(self) -> dict[str, Mesh]:
        """The meshes that the file has, by name."""

    def unkept(self, asset: Asset) -> list[Feature]:
        """What even a patch of the file cannot keep, with the meshes as `asset` has them now."""


def _no_offset() -> np.ndarray:
    return np.zeros(3)


@dataclass
class Asset:
    """What a run makes: one mesh (or several, by name) and where it came from.

    meshes lie in the world. Of a scene, `nodes` says what they are made of: for each name, the
    object in its own frame and its place; a mesh of the world is its node's, placed.

    source: the untouched remainder of the file that the asset came from, which a writer of the same
    format patches instead of writing anew. motion (4, 4) float64: from the world of that file to
    the world of the meshes. offset (3,) float64: what has to be added to the vertices; not zero
    where the file stands so far from its origin that float32 would not hold it. notes: what a
    reader had to guess or leave out, one line each. variants: other looks, besides that of the
    meshes. polygons: whether the file has faces of more corners, which are triangles here; a source
    says so itself. simulation: its rigid bodies, where it is written for a solver of them.

    Example:
        >>> asset = threestudio_like.generate("a red chair")      # doctest: +SKIP
        >>> asset.save("chair.glb")                               # doctest: +SKIP
    """

    meshes: dict[str, Mesh]
    provenance: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    source: Source | None = None
    motion: np.ndarray = field(default_factory=lambda: np.eye(4))
    offset: np.ndarray = field(default_factory=_no_offset)
    notes: list[str] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    polygons: bool = False
    simulation: Simulation | None = None

    def with_meshes(self, meshes: dict[str, Mesh]) -> Asset:
        """The asset with other meshes in place of its own, those of its nodes included."""
        return replace(self, meshes=meshes, nodes={}, simulation=None)

    @staticmethod
    def scene(nodes: dict[str, Node], provenance: dict[str, Any] | None = None) -> Asset:
        """An asset of placed objects, by name."""
        return Asset(placed(nodes), provenance or {}, nodes)

    @property
    def mesh(self) -> Mesh:
        """The only mesh, or a copy of the geometry of all of them, whose changes nobody sees: what
        is to be saved is changed in `meshes`."""
        return (
            next(iter(self.meshes.values()))
            if len(self.meshes) == 1
            else join(list(self.meshes.values()))
        )

    def save(self, path: str | Path, frame: Any = None, *, force: bool = False) -> Path:
        """Write in the format of the path's suffix (.glb, .gltf, .obj with .mtl and .png, .ply,
        .stl, .3mf, .usdz, or a plug-in's), in the axes and the unit of a `frames.Frame`.

        A file that exists is replaced only where this process made it, or with `force`. What the
        format cannot hold is told by a UserWarning of one line.

        Raises: ExportError, OutputError.
        """
        # Here, because the formats are made of meshes.
        from ..engine.output import made_here
        from .features import loss_line
        from .io.files import losses, write

        written = write(self, user_path(path), frame, force=force, made=made_here)
        lost = loss_line(losses(self, written), written.name)
        if lost:
            warnings.warn(lost, stacklevel=2)
        return written

    def _repr_html_(self) -> str:
        """In a notebook: the asset, to be turned with the mouse."""
        from .page import frame

        return frame(self)

    @staticmethod
    def load(path: str | Path, frame: Any = None, textures: bool = True) -> Asset:
        """Read a file of any format that can be read, written in a `frames.Frame`; `textures` False
        leaves pictures alone. Raises InputError."""
        from .io.files import read

        return read(user_path(path), frame, textures)
