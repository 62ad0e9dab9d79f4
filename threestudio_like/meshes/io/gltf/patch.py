"""Writes an asset that was read from a glTF file as a patch of that file: what the asset did not
change stays as it is, with its number, its name and its bytes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...mesh import Asset
from ...surface.instances import ROUNDING
from .accessors import Accessors
from .buffers import Buffers
from .geometry import GeometryPatch, geometry_change
from .looks import Looks
from .mending.pictures import without_empty_pictures
from .mending.whole import extension_names, mend
from .numbered import drop_extensions, numbered_extensions
from .pictures import drop_unused, drop_views, embed, fill_empty
from .relook import Edit, MaterialPatch
from .scene import INSTANCING
from .source import GltfSource
from .variants import add_variants
from .write import Writer


@dataclass
class Patched:
    """A patched document with its binary chunk.

    changed: what the patch meant to change, as JSON pointers ("/materials/2"); everything below
    one may differ from the file, and nothing else.
    """

    document: dict[str, Any]
    binary: bytes
    changed: list[str] = field(default_factory=list)


def patch(asset: Asset, source: GltfSource) -> Patched:
    """The file of `source` with what the asset changed: base colours, texture coordinates,
    positions, normals, materials, removed parts, variants, the frame."""
    return _Patch(asset, source).run()


class _Patch:
    def __init__(self, asset: Asset, source: GltfSource) -> None:
        self.asset, self.source = asset, source
        self.document: dict[str, Any] = copy.deepcopy(source.file.document)
        self.buffers = Buffers(source.file, self.document)
        self.changed = embed(self.document, source, self.buffers)
        self.accessors = Accessors(self.document, self.buffers)
        self.looks = Looks(self.document, self.buffers)
        self.motion = asset.motion @ np.linalg.inv(source.motion)
        self.geometry = GeometryPatch(source, self.accessors, self.motion)
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def run(self) -> Patched:
        """Carry it out."""
        edits = self._edits()
        for edit in edits:
            if edit.change.any:
                edit.shifted = self.geometry.write(edit.row, edit.name, edit.mesh, edit.change)
                self.changed.append(edit.pointer)
                self._renumbered(edit)
        relook = MaterialPatch(self.source, self.accessors, self.looks, changed=self.changed)
        relook.write([edit for edit in edits if edit.relooked])
        self._remove()
        self._add()
        bases = {
            name: self.document["materials"][rows[0]["material"]]
            for name, rows in self.rows.items()
            if "material" in rows[0]
        }
        if self.asset.variants:
            add_variants(
                self.document,
                self.asset.variants,
                self.asset.meshes,
                primitives=self.rows,
                looks=self.looks,
                bases=bases,
            )
            whole = "extensions" not in self.source.file.document
            table = "/extensions" if whole else "/extensions/KHR_materials_variants"
            self.changed += [table, "/extensionsUsed", *self._variant_pointers()]
        self._frame()
        self._provenance()
        given = self.source.file.document
        self.changed += without_empty_pictures(self.document)[0]
        self.changed += drop_unused(self.document, given)
        self.changed += fill_empty(self.document, self.buffers)
        self.changed += mend(self.document, self.source.file, self.accessors)
        drop_views(self.document, given, self.buffers)
        self._forget_extensions()
        return Patched(self.document, self.buffers.packed(), self.changed)

    def _renumbered(self, edit: Edit) -> None:
        """Take out what the mesh of a changed primitive says of its vertices and faces."""
        mesh = "/".join(edit.pointer.split("/")[:3])
        row = self.document["meshes"][int(mesh.rpartition("/")[2])]
        if edit.change.corners and drop_extensions(row, numbered_extensions(row)):
            self.changed.append(f"{mesh}/extensions")

    def _edits(self) -> list[Edit]:
        """What changes, with every primitive's row. Nodes that no longer show the same mesh get
        their own copy of it, which shares all that is still equal."""
        combined: dict[int, dict[tuple[int, int], dict[int, str]]] = {}
        for name, ref in self.source.refs.items():
            place = (ref.place.node, ref.place.instance)
            combined.setdefault(ref.place.mesh, {}).setdefault(place, {})[ref.primitive] = name
        edits: list[Edit] = []
        for number, places in combined.items():
            for k, same in enumerate(self._alike(places)):
                names = places[same[0]]
                mesh_number = number
                if k > 0:
                    mesh_number = self._clone(number, same)
                primitives = self.document["meshes"][mesh_number]["primitives"]
                for primitive, name in names.items():
                    row = primitives[primitive]
                    for place in same:
                        self.rows.setdefault(places[place][primitive], []).append(row)
                    edit = self._edit(row, f"/meshes/{mesh_number}/primitives/{primitive}", name)
                    if edit is not None:
                        edits.append(edit)
        return edits

    def _edit(self, row: dict[str, Any], pointer: str, name: str) -> Edit | None:
        mesh, before = self.asset.meshes.get(name), self.source.meshes[name]
        if mesh is None:
            return None
        change = geometry_change(self.source, name, mesh, motion=self.motion)
        return Edit(row, pointer, name, mesh=mesh, before=before, change=change)

    def _alike(self, places: dict[tuple[int, int], dict[int, str]]) -> list[list[tuple[int, int]]]:
        """The places of a mesh in groups that still show the same one."""
        kinds: dict[tuple[Any, ...], list[tuple[list[_Local], list[tuple[int, int]]]]] = {}
        for place, names in places.items():
            state = tuple(self._state(n) for n in names.values())
            local = [self._moved(n) for n in names.values()] if len(places) > 1 else []
            groups = kinds.setdefault(state, [])
            for first, group in groups:
                if all(map(_near, first, local)):
                    group.append(place)
                    break
            else:
                groups.append((local, [place]))
        return [group for groups in kinds.values() for _, group in groups]

    def _moved(self, name: str) -> _Local:
        """The places and normals of a mesh's vertices in its node's frame, none where they are
        those of the file."""
        out, edit = _Local(), self._edit({}, "", name)
        if edit is None:
            return out
        ref, mesh, change = self.source.refs[name], edit.mesh, edit.change
        # Of faces that are new for all, rounding decides which normals count as changed.
        if change.normals or (change.corners and mesh.normals is not None):
            out.normals = self.geometry.local_normals(ref, mesh, moved=change.moved, name=name)
        if change.moved:
            out.places = self.geometry.local(ref, mesh)
            extent = float(np.ptp(mesh.vertices, axis=0).max(initial=1e-30))
            share = float(np.ptp(out.places, axis=0).max(initial=0.0)) / extent
            out.rounding = ROUNDING * share * float(np.abs(mesh.vertices).max(initial=0.0))
        return out

    def _state(self, name: str) -> tuple[Any, ...]:
        """Equal for meshes, of several nodes, that were changed in the same way."""
        edit = self._edit({}, "", name)
        if edit is None:
            return ("removed",)
        change = edit.change
        if not change.any and not edit.relooked:
            return ("same",)
        mesh, faces = edit.mesh, edit.mesh.faces
        if change.corners and self.geometry.mirrored(self.source.refs[name], mesh):
            faces = faces[:, ::-1]
        shape = (
            None if not change.corners else (faces.tobytes(), _bytes(mesh.origin)),
            change.moved,
            _bytes(mesh.uv) if change.uv or change.carried else None,
            _bytes(mesh.colours) if change.recoloured else change.uncoloured,
        )
        return (*shape, *edit.look())

    def _clone(self, number: int, places: list[tuple[int, int]]) -> int:
        """A copy of a mesh's row for some of its nodes; instances of one node become nodes."""
        row = copy.deepcopy(self.document["meshes"][number])
        for primitive in row["primitives"]:
            self.accessors.share(primitive)
        copied = self.looks.append("meshes", row)
        for node, instance in places:
            if instance < 0:
                self.document["nodes"][node]["mesh"] = copied
                self.changed.append(f"/nodes/{node}/mesh")
            else:
                self._instance(node, instance, copied)
        return copied

    def _instance(self, node: int, instance: int, mesh: int) -> None:
        """Take an instance out of a node's table and give it a node of its own."""
        row = self.document["nodes"][node]
        if INSTANCING in row.get("extensions", {}):
            # All of its instances become nodes; those that stay equal share the mesh.
            places = {
                ref.place.instance: ref.place.matrix
                for ref in self.source.refs.values()
                if ref.place.node == node
            }
            above = self.geometry.reader.scene.world[node]
            children = row.setdefault("children", [])
            for number, matrix in sorted(places.items()):
                own = np.linalg.inv(above) @ matrix
                children.append(
                    self.looks.append(
                        "nodes",
                        {
                            "name": f"{row.get('name', 'instance')}.{number}",
                            "mesh": row["mesh"],
                            "matrix": own.T.reshape(-1).tolist(),
                        },
                    )
                )
            row["extensions"].pop(INSTANCING)
            row.pop("mesh")
            if not row["extensions"]:
                row.pop("extensions")
            self.changed.append(f"/nodes/{node}")
        number = sorted(
            r.place.instance for r in self.source.refs.values() if r.place.node == node
        ).index(instance)
        chosen = row["children"][len(row["children"]) - self._instances(node) + number]
        self.document["nodes"][chosen]["mesh"] = mesh

    def _instances(self, node: int) -> int:
        return len({r.place.instance for r in self.source.refs.values() if r.place.node == node})

    def _variant_pointers(self) -> list[str]:
        """Where the primitives are whose looks vary."""
        varied = {name for variant in self.asset.variants for name in variant.looks}
        marks = {id(row) for name in varied for row in self.rows.get(name, [])}
        return [
            f"/meshes/{number}/primitives/{k}/extensions"
            for number, mesh in enumerate(self.document["meshes"])
            for k, row in enumerate(mesh["primitives"])
            if id(row) in marks
        ]

    def _remove(self) -> None:
        """Take out the primitives of meshes that the asset no longer has."""
        gone: dict[int, list[dict[str, Any]]] = {}
        for name in self.source.refs:
            if name in self.asset.meshes:
                continue
            for row in self.rows.get(name, []):
                gone.setdefault(id(row), []).append(row)
        for number, mesh in enumerate(self.document.get("meshes", [])):
            kept = [p for p in mesh["primitives"] if id(p) not in gone]
            if len(kept) == len(mesh["primitives"]):
                continue
            self.changed.append(f"/meshes/{number}")
            if kept:
                mesh["primitives"] = kept
                continue
            for k, node in enumerate(self.document.get("nodes", [])):
                if node.get("mesh") == number:
                    for key in ("mesh", "skin", "weights"):
                        node.pop(key, None)
                    self.changed.append(f"/nodes/{k}")

    def _add(self) -> None:
        """Write the meshes that the file does not have as parts of its scene."""
        new = {k: m for k, m in self.asset.meshes.items() if k not in self.source.refs}
        if not new:
            return
        writer = Writer.onto(self.document, self.accessors, self.looks)
        nodes = writer.parts(new)
        self.rows |= writer.primitives
        # The scene is moved as a whole, see `_frame`; these stand in the asset's world already.
        back = np.linalg.inv(self.asset.motion)
        if np.abs(back - np.eye(4)).max() > 1e-9 * np.abs(back).max():
            row = {"name": "added", "matrix": back.T.reshape(-1).tolist(), "children": nodes}
            nodes = [self.looks.append("nodes", row)]
        scene = self._scene()
        scene["nodes"] = [*scene.get("nodes", []), *nodes]

    def _scene(self) -> dict[str, Any]:
        """The scene that is shown, which the patch changes."""
        scenes = self.document.setdefault("scenes", [{"nodes": self.geometry.reader.scene.roots()}])
        chosen = self.document.setdefault("scene", 0)
        self.changed += [f"/scenes/{chosen}/nodes", "/scene"]
        scene: dict[str, Any] = scenes[chosen]
        return scene

    def _frame(self) -> None:
        """Put the scene's roots below a node that places them, where the asset stands elsewhere
        than the file."""
        total = self.asset.motion.copy()
        total[:3, 3] += self.asset.offset
        scale = float(np.abs(total).max())
        if np.abs(total - np.eye(4)).max() < 1e-9 * scale:
            return
        scene = self._scene()
        row = {
            "name": "frame",
            "matrix": total.T.reshape(-1).tolist(),
            "children": list(scene.get("nodes", [])),
        }
        scene["nodes"] = [self.looks.append("nodes", row)]

    def _provenance(self) -> None:
        extras = self.document["asset"].get("extras", {})
        if isinstance(extras, dict) and self.asset.provenance != extras.get("provenance", {}):
            self.document["asset"]["extras"] = {**extras, "provenance": self.asset.provenance}
            self.changed.append("/asset/extras")

    def _forget_extensions(self) -> None:
        """Take out of the lists what no row uses any more (compression of rewritten meshes)."""
        text = {key for key in extension_names(self.document)}
        for table in ("extensionsUsed", "extensionsRequired"):
            names = self.document.get(table)
            if not isinstance(names, list):
                continue
            before = extension_names(self.source.file.document)
            kept = [n for n in names if n in text or n not in before]
            if kept != names:
                self.changed.append(f"/{table}")
                self.document[table] = kept
                if not kept:
                    del self.document[table]


def _bytes(values: np.ndarray | None) -> bytes | None:
    return None if values is None else values.tobytes()


@dataclass
class _Local:
    """Places (V, 3) and normals (V, 3) in the frame of a node, and by how much the places are off
    for the rounding of those in the world."""

    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    normals: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    rounding: float = 0.0


def _near(one: _Local, other: _Local) -> bool:
    """Whether places and normals are the same but for rounding."""
    if one.places.shape != other.places.shape or one.normals.shape != other.normals.shape:
        return False
    most = 1e-5 * float(np.abs(one.places).max(initial=0.0)) + one.rounding + other.rounding
    if (np.abs(one.places - other.places) > most).any():
        return False
    size = float(np.abs(one.places).max(initial=0.0))
    # Normals are no better known than the places that they were made from.
    turned = 1e-4 + (one.rounding + other.rounding) / size if size else 1e-4
    return bool((np.abs(one.normals - other.normals) <= turned).all())
