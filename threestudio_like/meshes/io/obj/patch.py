"""Writes an asset as the OBJ file that it was read from, changed only where the asset differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....engine.text import line_name
from ...features import Feature, features
from ...mesh import Asset, Mesh
from .changes import Change, changes
from .edits import Edits
from .patch_library import LibraryPatch
from .rows import distinct
from .source import ObjSource
from .statements import NORMAL, VERTEX
from .writer import face_text, table_text


def patched(source: ObjSource, asset: Asset, name: str) -> dict[str, bytes]:
    """The files of an asset that was read from an OBJ file."""
    edits, found = Edits(source.statements), changes(source, asset)
    library = LibraryPatch(source, name)
    library.look_at(found)
    _turn(source, asset, edits)
    geometry = _Geometry(source, asset, edits, found=found)
    geometry.remove(asset)
    geometry.change()
    _name_materials(source, edits, found, library=library)
    for key, mesh in asset.meshes.items():
        if key not in source.pieces:
            geometry.add(line_name(mesh.part or key), library.new_block(mesh, key), mesh)
    library.name_files(edits)
    return {**library.files(), name: edits.result()}


def unkept(source: ObjSource, asset: Asset) -> list[Feature]:
    """What the patched file does not hold."""
    from .row import OBJ

    out = [f for f in features(replace(asset, source=None)) if f.kind not in OBJ.keeps]
    found = changes(source, asset)
    anew = tuple(c.name for c in found if c.origin is None)
    geometry = _Geometry(source, asset, Edits(source.statements), found=found)
    cut = tuple(
        c.name for k, c in enumerate(found) if _has_polygons(c) and geometry.as_triangles(k, c)
    )
    if cut:
        out.append(Feature("polygons", cut))
    known = {f.kind for f in source.features()}
    out += [
        Feature(kind, anew) for kind in ("smoothing groups", "groups") if kind in known and anew
    ]
    return out


def _has_polygons(change: Change) -> bool:
    return len(np.unique(change.piece.lines)) < len(change.piece.lines)


def _turn(source: ObjSource, asset: Asset, edits: Edits) -> None:
    """Write all positions and normals in the asset's frame, where it is another than the file's."""
    if (asset.motion == np.eye(4)).all():
        return
    s, linear = source.statements, asset.motion[:3, :3]
    points = s.tables[0][:, :3] @ linear.T + asset.motion[:3, 3] + 0.0
    normals = s.tables[2] @ np.linalg.inv(linear)
    with np.errstate(all="ignore"):
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) + 0.0
    for kind, key, table in ((VERTEX, "v", points), (NORMAL, "vn", normals)):
        for line, row in zip(s.lines_of(kind).tolist(), table.tolist()):
            edits.keep_words(line, key, "{!r} {!r} {!r}".format(*row), count=3)


def _name_materials(
    source: ObjSource, edits: Edits, found: list[Change], library: LibraryPatch
) -> None:
    """Put "usemtl" before the faces whose material has another name now, and the old one back
    behind them."""
    if not any(library.name_of(c) != c.piece.material for c in found):
        return
    lines = np.concatenate([c.piece.lines for c in found])
    owner = np.repeat(np.arange(len(found)), [len(c.piece.lines) for c in found])
    order = np.argsort(lines, kind="stable")
    lines, owner = lines[order], owner[order]
    starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    said = [row.line for row in source.statements.others if row.key == "usemtl"]
    # What holds at each run of faces, by the statements of the file and those that are put in.
    now, last = "", -1
    for at in starts.tolist():
        line, change = int(lines[at]), found[int(owner[at])]
        if np.searchsorted(said, line) > np.searchsorted(said, last):
            now = change.piece.material
        wanted = library.name_of(change)
        if now != wanted:
            edits.insert(line, f"usemtl {wanted or library.plain()}\n")
            now = wanted
        last = line


class _Geometry:
    """The faces of changed meshes and the numbers that they need. Those are put in before the
    first of these faces, so that no number is used above its line."""

    def __init__(self, source: ObjSource, asset: Asset, edits: Edits, found: list[Change]) -> None:
        self.source, self.edits, self.found, self.asset = source, edits, found, asset
        self.tables = [len(t) for t in source.statements.tables]
        self.new: list[list[np.ndarray]] = [[], [], []]
        self.added = [0, 0, 0]
        self.at = 0
        self.before = [0, 0, 0]
        self.extra = [0, 0, 0]
        """Lines of each table behind the end of the file."""
        self.owner = [self._owners(column) for column in range(3)]

    def _owners(self, column: int) -> np.ndarray:
        """Of every line of a table the number of the mesh that uses it, -1 for none, -2 for
        several."""
        owner = np.full(self.tables[column], -1, np.int64)
        for k, change in enumerate(self.found):
            used = np.unique(change.piece.corners[:, column])
            used = used[used >= 0]
            owner[used] = np.where(owner[used] == -1, k, -2)
        return owner

    def as_triangles(self, number: int, change: Change) -> bool:
        """Whether faces of a mesh are written as triangles."""
        if change.origin is None or change.coordinates:
            return True
        if any(rows is not None for _, rows in self._numbers(number, change)):
            return True
        return len(change.complete) < len(np.unique(change.lines))

    def remove(self, asset: Asset) -> None:
        """Leave out the faces of meshes that are gone."""
        for name, piece in self.source.pieces.items():
            if name not in asset.meshes:
                for line in np.unique(piece.lines).tolist():
                    self.edits.replace(line, "")

    def change(self) -> None:
        """Write the faces of all meshes whose geometry differs."""
        work = [(k, c, self._numbers(k, c)) for k, c in enumerate(self.found)]
        anew = [c for _, c, numbers in work if any(n[1] is not None for n in numbers)]
        if anew:
            self.at = int(min(c.piece.lines[0] for c in anew))
            table_lines = self.source.statements.table_lines
            self.before = [int(np.searchsorted(t, self.at)) for t in table_lines]
        # First all new numbers are counted, then faces can be written with them.
        placed = [
            (c, [self._placed(k, n) for k, n in enumerate(numbers)]) for _, c, numbers in work
        ]
        for k, key in enumerate(("v", "vt", "vn")):
            for rows in self.new[k]:
                self.edits.insert(self.at, table_text(key, rows))
        for change, columns in placed:
            self._faces(change, [self._final(k, c) for k, c in enumerate(columns)])
        self.edits.renumber(self.at, self.before, self.added)

    def _positions(self, mesh: Mesh) -> np.ndarray:
        offset = self.asset.offset
        points = mesh.vertices if not offset.any() else mesh.vertices.astype(np.float64) + offset
        if mesh.colours is None:
            return points
        return np.concatenate([points, mesh.colours[:, :3]], 1)

    def _numbers(self, number: int, change: Change) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """For each column the lines' numbers of every vertex, and the rows of those that need a new
        line, whose number is then -2 - row."""
        mesh = change.mesh
        none = np.full(len(mesh.vertices), -1, np.int64)

        def all_new(rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
            if rows is None:
                return none, None
            first, inverse = distinct(rows)
            return -2 - inverse, rows[first]

        positions = self._positions(mesh)
        if change.origin is None:
            return [all_new(positions), all_new(mesh.uv), all_new(mesh.normals)]
        v, t, n = change.corners.astype(np.int64).T
        out: list[tuple[np.ndarray, np.ndarray | None]] = [(v, None), (t, None), (n, None)]
        differs = change.moved | change.coloured
        if differs.any() and not self._in_place(number, 0, v, rows=positions, differs=differs):
            first, inverse = distinct(positions[differs])
            v = v.copy()
            v[differs] = -2 - inverse
            out[0] = (v, positions[differs][first])
        if change.coordinates:
            out[1] = all_new(mesh.uv)
        normals, differs = mesh.normals, change.shaded
        if (
            normals is not None
            and differs.any()
            and not ((n >= 0).all() and self._in_place(number, 2, n, rows=normals, differs=differs))
        ):
            out[2] = all_new(normals)
        return out

    def _in_place(
        self, number: int, column: int, own: np.ndarray, rows: np.ndarray, differs: np.ndarray
    ) -> bool:
        """Write other positions or normals into the lines of the vertices, where no other mesh and
        no other vertex needs them as they were.

        Args:
            own: of every vertex (V,) its line of the table. rows: of every vertex what it is to
                say. differs: the vertices (V,) bool whose line says something else.
        """
        if (self.owner[column][own[differs]] != number).any():
            return False
        used, first, inverse = np.unique(own, return_index=True, return_inverse=True)
        whole = differs[first][inverse] == differs
        if not whole.all() or not (rows[first][inverse][differs] == rows[differs]).all():
            return False
        statements, key = self.source.statements, ("v", "vt", "vn")[column]
        lines = statements.table_lines[column]
        for k in np.flatnonzero(differs[first]).tolist():
            row = rows[first[k] : first[k] + 1]
            if column == 0 and max(row.shape[1], statements.tables[0].shape[1]) >= 6:
                self.edits.replace(int(lines[used[k]]), table_text("v", row))
            else:
                text = table_text(key, row)[len(key) + 1 : -1]
                self.edits.keep_words(int(lines[used[k]]), key, text, count=3)
        return True

    def _placed(self, column: int, numbers: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
        """Numbers with those of new lines counted from the first new line, still below -1."""
        own, rows = numbers
        if rows is None:
            return own
        shifted = np.where(own < -1, own - self.added[column], own)
        self.new[column].append(rows)
        self.added[column] += len(rows)
        return shifted

    def _final(self, column: int, numbers: np.ndarray) -> np.ndarray:
        """Numbers in the file that is written, counted from 1; 0 for none."""
        before, added = self.before[column], self.added[column]
        old = numbers + np.where(numbers >= before, added, 0)
        return np.where(numbers < -1, before - 2 - numbers, old) + 1

    def _faces(self, change: Change, columns: list[np.ndarray]) -> None:
        anew = change.origin is None or change.coordinates
        corners = None if change.origin is None else change.corners
        if corners is not None:
            # New numbers, as against those that only have moved along.
            anew |= any(
                (c != self._final(k, corners[:, k].astype(np.int64))).any()
                for k, c in enumerate(columns)
            )
        own = np.unique(change.piece.lines)
        kept = np.zeros(0, np.int64) if anew else change.complete
        if len(kept) == len(own) and not (change.lines < 0).any():
            return
        lines = np.where(change.lines >= 0, change.lines, own[0])
        order = np.argsort(lines, kind="stable")
        bounds = np.searchsorted(lines[order], own)
        ends = np.searchsorted(lines[order], own, side="right")
        stays = np.isin(own, kept)
        stays[0] &= not (change.lines < 0).any()
        texts = _corner_texts(columns)
        faces = change.mesh.faces
        for line, a, b, stay in zip(own.tolist(), bounds.tolist(), ends.tolist(), stays.tolist()):
            if not stay:
                rows = faces[order[a:b]].tolist()
                self.edits.replace(
                    line, "".join(f"f {texts[i]} {texts[j]} {texts[k]}\n" for i, j, k in rows)
                )

    def add(self, part: str, material: str, mesh: Mesh) -> None:
        """Write a mesh that the file does not have, behind its end."""
        text, numbers = [f"o {part}\n"], []
        for k, (key, rows) in enumerate(
            (("v", self._positions(mesh)), ("vt", mesh.uv), ("vn", mesh.normals))
        ):
            begin = self.tables[k] + self.added[k] + self.extra[k] + 1
            if rows is None:
                numbers.append(np.zeros(0, np.int64))
                continue
            first, inverse = distinct(rows)
            text.append(table_text(key, rows[first]))
            numbers.append(inverse + begin)
            self.extra[k] += len(first)
        text += [f"usemtl {material}\n", face_text(mesh.faces, *numbers)]
        self.edits.tail.append(self.edits.text("".join(text)))


def _corner_texts(columns: list[np.ndarray]) -> list[str]:
    """The corner of every vertex as it is written in a face."""
    out = []
    for v, t, n in zip(*(c.tolist() for c in columns)):
        if n:
            out.append(f"{v}/{t or ''}/{n}")
        else:
            out.append(f"{v}/{t}" if t else f"{v}")
    return out
