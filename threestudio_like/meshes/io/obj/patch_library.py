"""Material libraries of an OBJ file, changed only where materials differ."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ....engine.text import line_name
from ...mesh import Material, Mesh, unique_name
from ..sources.text import decoded
from .blocks import MAPS, Block, Line, map_line, read_blocks
from .changes import Change, same
from .edits import Edits
from .library_lines import SUBJECTS, NewPictures, material_lines
from .source import ObjSource


@dataclass
class _Copy:
    """A library that is written: the lines before its first material, and its materials."""

    name: str
    head: list[Line]
    blocks: list[Block] = field(default_factory=list)


class LibraryPatch:
    """The libraries of a file with the materials that differ, and the names that meshes use."""

    def __init__(self, source: ObjSource, name: str) -> None:
        self.source, self.stem = source, Path(name).stem
        stem = self.stem
        self.copies: dict[str, _Copy] = {}
        for row in source.libraries.values():
            for library in row:
                if library.name not in self.copies:
                    number = len(self.copies)
                    file = f"{stem}-{number + 1}.mtl" if number else f"{stem}.mtl"
                    self.copies[library.name] = _Copy(file, *read_blocks(library.data))
        # A picture may not take the name of the file or of a library.
        own = dict.fromkeys([name, f"{stem}.mtl", *(c.name for c in self.copies.values())], b"")
        self.pictures = NewPictures(stem, dict(source.pictures.values()) | own)
        self.blocks = {b.name: b for copy in self.copies.values() for b in copy.blocks}
        used = {piece.material for piece in source.pieces.values()}
        self._taken = {*self.blocks, *used}
        self._names: dict[str, str] = {}
        self._plain = ""

    def name_of(self, change: Change) -> str:
        """The material that a mesh has in the file that is written."""
        return self._names.get(change.name, change.piece.material)

    def look_at(self, found: list[Change]) -> None:
        """Give every mesh whose material differs a block of its own, or change the one that no
        other mesh uses."""
        users: dict[str, set[tuple[int, int]]] = {}
        for change in found:
            users.setdefault(change.piece.material, set()).add(_look(change.mesh))
        made: dict[tuple[str, tuple[int, int], frozenset[str]], str] = {}
        for change in found:
            old = change.piece.material
            block = self.blocks.get(old)
            subjects = _subjects(change, block)
            if not subjects:
                continue
            mark = (old, _look(change.mesh), frozenset(subjects))
            if mark in made:
                self._names[change.name] = made[mark]
                continue
            # A name without a library's block, or none at all, gets a block.
            name = old or line_name(change.mesh.part or change.name)
            if len(users[old]) > 1 or not old:
                name = unique_name(f"{name} painted" if old else name, self._taken)
            made[mark] = self._names[change.name] = name
            self._taken.add(name)
            changed = self._changed(block, name, change.mesh, subjects=subjects)
            if block is not None and name == old:
                block.lines = changed
            else:
                self._add(Block(name, changed))

    def _add(self, block: Block) -> None:
        if not self.copies:
            self.copies[""] = _Copy(f"{self.stem}.mtl", [])
        copy = next(iter(self.copies.values()))
        last = (copy.blocks[-1].lines if copy.blocks else copy.head)[-1:]
        if last and not last[0].raw.endswith((b"\n", b"\r")):
            last[0].raw += b"\n"
        copy.blocks.append(block)

    def _changed(
        self, block: Block | None, name: str, mesh: Mesh, subjects: set[str]
    ) -> list[Line]:
        """The lines of a block with some subjects as the mesh's material has them."""
        material = mesh.material or Material(name)
        whole = block is None
        new = [
            _new_line(line)
            for subject, line in material_lines(
                material, mesh, self.pictures, wanted=lambda s: whole or s in subjects
            )
        ]
        if block is None:
            return [_new_line(f"newmtl {name}"), *new]
        keys = {key for subject in subjects for key in SUBJECTS[subject]}
        first = block.lines[0]
        lines = [first if name == block.name else _new_line(f"newmtl {name}")]
        at = None
        for line in block.lines[1:]:
            if line.key in keys:
                at = len(lines) if at is None else at
            else:
                lines.append(line)
        if at is None:
            at = max((k + 1 for k, line in enumerate(lines) if line.key), default=len(lines))
        if not lines[at - 1].raw.endswith((b"\n", b"\r")):
            lines[at - 1] = _with_break(lines[at - 1])
        return [*lines[:at], *new, *lines[at:]]

    def new_block(self, mesh: Mesh, name: str) -> str:
        """The name of a new block for a mesh that the file does not have."""
        material = mesh.material or Material("surface")
        label = unique_name(line_name(material.name, "surface"), self._taken)
        self._taken.add(label)
        self._add(Block(label, self._changed(None, label, mesh, subjects=set())))
        return label

    def plain(self) -> str:
        """The name of a plain material, for faces that have none and follow others that have."""
        if not self._plain:
            self._plain = unique_name("plain", self._taken)
            self._taken.add(self._plain)
            lines = [f"newmtl {self._plain}", "Kd 1 1 1"]
            self._add(Block(self._plain, [_new_line(line) for line in lines]))
        return self._plain

    def name_files(self, edits: Edits) -> None:
        """Let the file name its libraries as they are written."""
        for line, libraries in self.source.libraries.items():
            names = dict.fromkeys(self.copies[library.name].name for library in libraries)
            edits.replace(line, f"mtllib {' '.join(names)}\n")
        if self.copies and not self.source.libraries:
            edits.insert(0, f"mtllib {self.stem}.mtl\n")

    def files(self) -> dict[str, bytes]:
        """The libraries, and the pictures that they name."""
        out: dict[str, bytes] = {}
        for copy in self.copies.values():
            lines = [*copy.head, *(line for block in copy.blocks for line in block.lines)]
            out[copy.name] = b"".join(self._with_picture(line) for line in lines)
        return {**self.pictures.files, **out}

    def _with_picture(self, line: Line) -> bytes:
        """A line as it is written: its picture lies beside the library."""
        if line.new or line.key not in MAPS or not line.words:
            return line.raw
        name = map_line(line).name
        if name not in self.source.pictures:
            return line.raw
        own, data = self.source.pictures[name]
        stem, _, kind = own.rpartition(".")
        new = self.pictures.add(stem or kind, kind if stem else "", data)
        if new == name:
            return line.raw
        text = decoded(line.raw)
        words = r"\s+".join(re.escape(word) for word in name.split())
        found = list(re.finditer(rf'"?{words}"?', text))
        if not found:
            return line.raw
        return (text[: found[-1].start()] + new + text[found[-1].end() :]).encode()


def _with_break(line: Line) -> Line:
    return Line(line.key, line.words, line.raw + b"\n")


def _new_line(text: str) -> Line:
    words = text.split()
    return Line(words[0].lower(), words[1:], text.encode() + b"\n", new=True)


def _look(mesh: Mesh) -> tuple[int, int]:
    return id(mesh.material), id(mesh.texture)


def _subjects(change: Change, block: Block | None) -> set[str]:
    """What of a material differs from the file, as keys of `SUBJECTS`."""
    mesh, read = change.mesh, change.piece.mesh
    out = _differences(mesh, mesh.material or Material(), read, old=read.material or Material())
    if change.piece.laid_out and change.coordinates and block is not None:
        # The new coordinates are those of the picture itself.
        for line in block.lines:
            if line.key in MAPS and map_line(line).laid_out:
                out |= {subject for subject, keys in SUBJECTS.items() if line.key in keys}
    if "texture" in out:
        # The colour in the file may be one that was not meant, such as black under a texture.
        out.add("colour")
        if any(m.texture is not None and m.texture.shape[2] == 4 for m in (mesh, read)):
            out.add("opacity")
    packed = ("roughness", "metallic", "occlusion")
    if block is not None and block.last("map_orm", "map_arm") is not None and out & {*packed}:
        out.update(packed)
    return out


def _differences(mesh: Mesh, new: Material, read: Mesh, old: Material) -> set[str]:
    maps_alike = same(new.metallic_roughness, old.metallic_roughness)
    alike = {
        "texture": same(mesh.texture, read.texture) and new.sampler == old.sampler,
        "colour": new.colour[:3] == old.colour[:3],
        "opacity": (new.colour[3], new.alpha_mode, new.alpha_cutoff)
        == (old.colour[3], old.alpha_mode, old.alpha_cutoff),
        "roughness": new.roughness == old.roughness and maps_alike,
        "metallic": new.metallic == old.metallic and maps_alike,
        "normals": same(new.normal_map, old.normal_map) and new.normal_scale == old.normal_scale,
        "occlusion": same(new.occlusion_map, old.occlusion_map),
        "emission": same(new.emissive_map, old.emissive_map) and new.emission == old.emission,
        "sides": new.double_sided == old.double_sided,
        "light": new.unlit == old.unlit,
    }
    return {subject for subject, is_alike in alike.items() if not is_alike}
