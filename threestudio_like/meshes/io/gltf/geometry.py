"""The geometry of a patched primitive: vertices gathered by where they came from, moved positions,
new texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...equal_rows import equal_rows
from ...mesh import Mesh
from .accessors import Accessors
from .document import DRACO
from .materials import texture_transform
from .normals import mirrors, normals_differ, own_normals, unmorphed
from .numbered import carry
from .read import Reader
from .source import (
    GltfSource,
    PrimitiveRef,
    expected_places,
    far,
    has_origin,
    read_vertex,
    same_corners,
)
from .write import colour_rows, unit_normals


@dataclass(frozen=True)
class GeometryChange:
    """How a mesh differs from the one that was read: its corners (vertices and faces), the places
    of its vertices, the layout of its texture coordinates, its vertex colours, and whether those
    are gone; carried: whether it has other texture coordinates in the layout of the file; normals:
    whether it has other normals."""

    corners: bool
    moved: bool
    uv: bool
    uncoloured: bool
    recoloured: bool = False
    carried: bool = False
    normals: bool = False

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        coloured = self.uncoloured or self.recoloured
        shaped = self.corners or self.moved or self.normals
        return shaped or self.uv or self.carried or coloured


def geometry_change(
    source: GltfSource, name: str, mesh: Mesh, motion: np.ndarray
) -> GeometryChange:
    """Compare a mesh of an asset with what was read under its name.

    Args:
        motion: (4, 4) from the world of the file, near its origin, to that of the asset.
    """
    before = source.meshes[name]
    uncoloured = before.colours is not None and mesh.colours is None
    recoloured = _colours_differ(mesh, before)
    if mesh is before and (motion == np.eye(4)).all():
        return GeometryChange(False, False, False, uncoloured=False)
    corners = not same_corners(mesh, before)
    if corners and not has_origin(mesh):
        # What became of the vertices is not known, so that all of their attributes are new.
        uv = mesh.uv is not None
        return GeometryChange(True, True, uv, uncoloured=uncoloured, recoloured=recoloured)
    origin = mesh.origin if corners else None
    moved = far(mesh.vertices, expected_places(before, origin, motion))
    differs = _uv_differs(mesh, before)
    carried = differs and before.uv is not None and not mesh.relaid
    return GeometryChange(
        corners,
        moved,
        differs and not carried,
        uncoloured=uncoloured,
        recoloured=recoloured,
        carried=carried,
        normals=normals_differ(mesh, before, motion),
    )


def _colours_differ(mesh: Mesh, before: Mesh) -> bool:
    if mesh.colours is None or mesh.colours is before.colours:
        return False
    if before.colours is None:
        return True
    old = before.colours
    if mesh.origin is not None and len(mesh.origin) == len(mesh.colours):
        old = old[read_vertex(before, mesh.origin)]
    return not np.array_equal(mesh.colours, old)


def _uv_differs(mesh: Mesh, before: Mesh) -> bool:
    if mesh.uv is before.uv or mesh.uv is None:
        return False
    if before.uv is None:
        return True
    if mesh.origin is not before.origin and mesh.origin is not None:
        if len(mesh.origin) != len(mesh.uv):
            return True
        return not np.array_equal(mesh.uv, before.uv[read_vertex(before, mesh.origin)])
    return not np.array_equal(mesh.uv, before.uv)


class GeometryPatch:
    """Writes changed geometry into the primitives of a document."""

    def __init__(self, source: GltfSource, accessors: Accessors, motion: np.ndarray) -> None:
        self.source, self.accessors, self.motion = source, accessors, motion
        self.names = {id(ref): name for name, ref in source.refs.items()}
        self.reader = Reader(source.file)
        self.reader.scene.mesh_nodes()

    def write(
        self, row: dict[str, Any], name: str, mesh: Mesh, change: GeometryChange
    ) -> int | None:
        """Change a primitive's row; returns the number under which its former first set of texture
        coordinates now stands, or None if that is where it was or is gone."""
        ref = self.source.refs[name]
        before = self.reader.primitives(ref.place.mesh)[ref.primitive]
        known = has_origin(mesh)
        flat = self.source.meshes[name].origin is not None
        if known and flat and change.corners and not change.normals:
            # Every face has its own normal because the file says none, which none has to say.
            mesh = _joined(mesh)
        self._corners(row, ref, before, mesh=mesh, change=change)
        if change.moved:
            self._move(row, ref, mesh)
        stated = "NORMAL" in before["attributes"] or not known
        if change.normals or (change.moved and stated):
            self._normals(row, ref, mesh, moved=change.moved, name=name)
        if change.moved or change.normals:
            # Tangents belong to the positions and the normals that they were made for.
            row["attributes"].pop("TANGENT", None)
        if change.uncoloured:
            for key in [k for k in row["attributes"] if k.startswith("COLOR_")]:
                del row["attributes"][key]
        elif mesh.colours is not None and (change.recoloured or (change.corners and not known)):
            row["attributes"]["COLOR_0"] = self.accessors.put(
                colour_rows(mesh.colours), old=row["attributes"].get("COLOR_0")
            )
        if change.carried:
            self._carry(row, before, mesh)
        return self._coordinates(row, mesh) if change.uv else None

    def _corners(
        self,
        row: dict[str, Any],
        ref: PrimitiveRef,
        before: dict[str, Any],
        mesh: Mesh,
        change: GeometryChange,
    ) -> None:
        """Give a primitive the vertices and the faces of a mesh, where its row says others."""
        origin = self._copies(before, mesh, change)
        if origin is not None:
            self._gather(row, before, origin)
        elif change.corners:
            row["attributes"] = {}
            row.pop("targets", None)
            row.pop("extensions", None)
        else:
            return
        faces = mesh.faces[:, ::-1] if self.mirrored(ref, mesh) else mesh.faces
        kind = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
        index = faces.reshape(-1, 1).astype(kind)
        row["indices"] = self.accessors.put(index, old=row.get("indices"), indices=True)
        row.pop("mode", None)
        if has_origin(mesh):
            carry(row, self.source.file, self.accessors, mesh)

    def _copies(
        self, before: dict[str, Any], mesh: Mesh, change: GeometryChange
    ) -> np.ndarray | None:
        """Of every vertex (V,) of a mesh the one of the file that it is a copy of, where those of
        the file do not stay as they are; None where they do, or where that is not known."""
        if change.corners or has_origin(mesh):
            # A surface without normals was read with a vertex for each corner.
            return mesh.origin if has_origin(mesh) else None
        if self.reader.opened(before) is not None:
            # What a Draco stream has counts before all else that a primitive says, so that a
            # change of one attribute takes all of them out of it.
            return np.arange(len(mesh.vertices))
        return None

    def mirrored(self, ref: PrimitiveRef, mesh: Mesh) -> bool:
        """Whether its node turns over the faces that the file has of a mesh."""
        matrix = self._placement(ref, mesh)
        local = self.reader.local(ref.place, ref.primitive)
        assert local is not None
        if matrix.ndim == 3 and local.mesh.origin is not None:
            matrix = matrix[local.mesh.origin]
        return mirrors(matrix[..., :3, :3])

    def _placement(self, ref: PrimitiveRef, mesh: Mesh) -> np.ndarray:
        """What maps the vertices of the file, from which those of a mesh come, to the world:
        (4, 4), or of a skinned mesh (V, 3, 4)."""
        if self._anew(ref, mesh):
            return ref.place.matrix
        return self.reader.placement(ref.place, ref.primitive)

    def _anew(self, ref: PrimitiveRef, mesh: Mesh) -> bool:
        """Whether it is not known what became of the vertices of the file, so that the skin and the
        morph targets are gone, and with them its poses."""
        before = self.source.meshes[self.names[id(ref)]]
        return not has_origin(mesh) and not same_corners(mesh, before)

    def _gather(self, row: dict[str, Any], before: dict[str, Any], origin: np.ndarray) -> None:
        """Give a primitive the vertices of the file that `origin` (V,) names, all attributes in
        their own number format."""
        file, opened = self.source.file, self.reader.opened(before)
        for name, index in before["attributes"].items():
            values = (
                opened[1][name] if opened is not None and name in opened[1] else file.raw(index)
            )
            row["attributes"][name] = self.accessors.put(
                values[origin],
                old=row["attributes"].get(name),
                normalized=file.normalized(index),
                bounds=name == "POSITION",
                shape=str(file.entry("accessors", index)["type"]),
            )
        for target, own in zip(before.get("targets", []), row.get("targets", [])):
            for name, index in target.items():
                own[name] = self.accessors.put(
                    file.raw(index)[origin],
                    old=own[name],
                    normalized=file.normalized(index),
                    bounds=name == "POSITION",
                )
        if opened is not None:
            row["extensions"].pop(DRACO, None)
            if not row["extensions"]:
                del row["extensions"]

    def _move(self, row: dict[str, Any], ref: PrimitiveRef, mesh: Mesh) -> None:
        """Set the positions of a primitive from those of the world."""
        row["attributes"]["POSITION"] = self.accessors.put(
            self.local(ref, mesh).astype(np.float32),
            old=row["attributes"].get("POSITION"),
            bounds=True,
        )

    def local(self, ref: PrimitiveRef, mesh: Mesh) -> np.ndarray:
        """The places (V, 3) float64 of a mesh's vertices before its node and its morph targets move
        them."""
        matrix = self._own_placement(ref, mesh)
        back = np.linalg.inv(self.motion @ self.source.motion)
        world = mesh.vertices.astype(np.float64) @ back[:3, :3].T + back[:3, 3]
        inverse = np.linalg.pinv(matrix[..., :3, :3])
        points = world - matrix[..., :3, 3]
        local = points @ inverse.T if matrix.ndim == 2 else np.einsum("vij,vj->vi", inverse, points)
        return local - self._morph(ref, mesh, "POSITION")

    def local_normals(self, ref: PrimitiveRef, mesh: Mesh, moved: bool, name: str) -> np.ndarray:
        """The normals (V, 3) float64 of a mesh's vertices before its node and its morph targets
        turn them."""
        mesh = own_normals(mesh, self.source.meshes[name], self.motion, moved)
        linear = self._own_placement(ref, mesh)[..., :3, :3]
        back = np.linalg.inv(self.motion @ self.source.motion)
        turned = unit_normals(mesh).astype(np.float64) @ back[:3, :3].T
        own = turned @ linear if linear.ndim == 2 else np.einsum("vij,vi->vj", linear, turned)
        change = self._morph(ref, mesh, "NORMAL")
        if isinstance(change, np.ndarray):
            own = unmorphed(_unit(own), change)
        return _unit(own)

    def _normals(
        self, row: dict[str, Any], ref: PrimitiveRef, mesh: Mesh, moved: bool, name: str
    ) -> None:
        """Set the normals of a primitive from those of the world."""
        row["attributes"]["NORMAL"] = self.accessors.put(
            self.local_normals(ref, mesh, moved=moved, name=name).astype(np.float32),
            old=row["attributes"].get("NORMAL"),
        )

    def _own_placement(self, ref: PrimitiveRef, mesh: Mesh) -> np.ndarray:
        """What maps the vertices of a mesh, before their node places them, to the world: (4, 4), or
        of a skinned mesh (V, 3, 4)."""
        matrix = self._placement(ref, mesh)
        return matrix[mesh.origin] if matrix.ndim == 3 and has_origin(mesh) else matrix

    def _morph(self, ref: PrimitiveRef, mesh: Mesh, name: str) -> np.ndarray | float:
        """What the default weights of the morph targets add to the vertices of a mesh (V, 3); zero
        where there is nothing."""
        primitive = self.reader.primitives(ref.place.mesh)[ref.primitive]
        targets = [] if self._anew(ref, mesh) else primitive.get("targets", [])
        weights = self.reader.scene.morph_weights(ref.place.node, ref.place.mesh, len(targets))
        total: np.ndarray | float = 0.0
        for target, weight in zip(targets, weights):
            if weight and name in target:
                change = self.source.file.accessor(target[name], (3,))
                if has_origin(mesh):
                    change = change[mesh.origin]
                if len(change) == len(mesh.vertices):
                    total = total + weight * change
        return total

    def _carry(self, row: dict[str, Any], before: dict[str, Any], mesh: Mesh) -> None:
        """Set a mesh's texture coordinates in the set that its maps read, before their transform.
        Where that keeps only a line or a point of the picture, those of the file stay."""
        chosen, transform = self.reader.layout(before)
        matrix, offset = texture_transform(self.source.file, transform)
        if abs(np.linalg.det(matrix)) > 1e-12:
            own = (_flipped(mesh) - offset) @ np.linalg.inv(matrix)
            name = f"TEXCOORD_{chosen}"
            row["attributes"][name] = self.accessors.put(
                own.astype(np.float32), old=row["attributes"].get(name)
            )
        row["attributes"].pop("TANGENT", None)

    def _coordinates(self, row: dict[str, Any], mesh: Mesh) -> int | None:
        """Make a mesh's texture coordinates the first set; what was the first becomes the last."""
        attributes = row["attributes"]
        sets = 1 + max((k for k in range(16) if f"TEXCOORD_{k}" in attributes), default=-1)
        shift = None
        if "TEXCOORD_0" in attributes:
            attributes[f"TEXCOORD_{sets}"] = attributes["TEXCOORD_0"]
            shift = sets
        attributes["TEXCOORD_0"] = self.accessors.put(_flipped(mesh).astype(np.float32))
        return shift


def _joined(mesh: Mesh) -> Mesh:
    """A mesh whose vertices that differ in nothing but their normals are one."""
    assert mesh.origin is not None
    tables = [t for t in (mesh.vertices, mesh.uv, mesh.colours) if t is not None]
    first, inverse = equal_rows(np.concatenate([*tables, mesh.origin[:, None]], 1))
    return replace(
        mesh,
        vertices=mesh.vertices[first],
        faces=inverse[mesh.faces].astype(np.int32),
        uv=None if mesh.uv is None else mesh.uv[first],
        colours=None if mesh.colours is None else mesh.colours[first],
        normals=None,
        origin=mesh.origin[first],
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (V, 3) of length one; what has no direction points up."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-30, vectors / np.maximum(length, 1e-30), [0.0, 1.0, 0.0])


def _flipped(mesh: Mesh) -> np.ndarray:
    """A mesh's texture coordinates (V, 2) float64 with v downwards, as glTF has them."""
    assert mesh.uv is not None
    return mesh.uv.astype(np.float64) * [1, -1] + [0, 1]
