"""Mends the numbers of a glTF file that are not valid: normals, tangents, colours, skin weights,
inverse bind matrices, rotations. Whoever reads the file then reads them mended, so that what is
written of it is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .....engine.errors import InputError
from .....engine.text import line_name
from ..document import DRACO, TRIANGLES
from ..normals import unit_normals
from ..scene import INSTANCING

if TYPE_CHECKING:
    from ..read import Reader

TOLERANCE = 5e-4
"""By how much the length of a direction may differ from 1."""
ROUGH = 6.7e-3
"""The same of one that is stored in integers, and of a rotation."""
TOLD = 1e-3
"""By how much the sum of skin weights may differ from 1 without a word."""


def mend_values(reader: Reader, shown: set[int]) -> list[str]:
    """Mend the numbers of a file, in `GltfDocument.mended`; returns what was changed of how the
    file looks, one line each.

    Args:
        shown: the meshes that a viewer shows; what their faces use is refused by readers instead.
    """
    return _Mender(reader, shown).run()


class _Mender:
    def __init__(self, reader: Reader, shown: set[int]) -> None:
        self.reader, self.file, self.shown = reader, reader.file, shown
        self.tables: dict[int, np.ndarray] = {}
        self.looked: set[int] = set()
        self.told: dict[str, dict[str, None]] = {}

    def run(self) -> list[str]:
        """Carry it out."""
        joints = self._joints()
        for number, mesh in self._rows("meshes"):
            try:
                for primitive in self.reader.primitives(number):
                    if DRACO not in str(primitive.get("extensions", "")):
                        self._primitive(
                            primitive, str(mesh.get("name") or number), joints.get(number)
                        )
            except InputError:
                continue  # Where something needs it, its reader says so.
        for number, skin in self._rows("skins"):
            self._matrices(skin.get("inverseBindMatrices"), str(skin.get("name") or number))
        for _, node in self._rows("nodes"):
            self._rotations(_at(node, "extensions", INSTANCING, "attributes", "ROTATION"))
        keys = {k for _, animation in self._rows("animations") for k in self._animation(animation)}
        self._rest(keys, self._places())
        self.file.mended = self.tables
        return [
            f"{what} ({', '.join(line_name(name)[:40] for name in list(names)[:4])})"
            for what, names in self.told.items()
        ]

    def _rows(self, table: str) -> list[tuple[int, dict[str, Any]]]:
        """The rows of a table, with their numbers, that are what they should be."""
        return [(n, row) for n, row in enumerate(self.file.rows(table)) if isinstance(row, dict)]

    def _tell(self, what: str, name: str) -> None:
        self.told.setdefault(what, {})[name] = None

    def _joints(self) -> dict[int, int]:
        """Of every mesh with a skin, how many joints all of its skins have."""
        found: dict[int, int] = {}
        skins = dict(self._rows("skins"))
        for _, node in self._rows("nodes"):
            mesh, skin = node.get("mesh"), node.get("skin")
            listed = skins[skin].get("joints") if isinstance(skin, int) and skin in skins else None
            if isinstance(mesh, int) and isinstance(listed, list):
                found[mesh] = min(len(listed), found.get(mesh, len(listed)))
        return found

    def _values(self, index: Any, widths: tuple[int, ...] = ()) -> np.ndarray | None:
        """The numbers of an accessor, float where they are normalised; None where they were looked
        at before, or cannot be read, which whoever needs them says."""
        if not isinstance(index, int) or index in self.looked:
            return None
        self.looked.add(index)
        try:
            self.file.raw(index, widths)
            return self.file.accessor(index, widths or (1, 2, 3, 4, 9, 16))
        except InputError:
            return None

    def _primitive(self, primitive: dict[str, Any], name: str, joints: int | None) -> None:
        """Mend the vertices of a primitive.

        Args:
            name: of its mesh. joints: how many its skins have; None for no skin.
        """
        attributes = primitive["attributes"]
        if "NORMAL" in attributes:
            self._normals(primitive, name)
        if "TANGENT" in attributes:
            self._tangents(primitive, name)
        sets = [k for k in range(8) if f"WEIGHTS_{k}" in attributes and f"JOINTS_{k}" in attributes]
        if sets:
            self._weights(attributes, sets, name, joints)
        place = f"TEXCOORD_{self.reader.layout(primitive)[0]}"
        for key, index in attributes.items():
            if key.startswith("COLOR_"):
                self._colours(index, name)
            elif key not in ("POSITION", place):
                # Of those two see `_places`.
                self._finite(index, name)
        targets = primitive.get("targets", [])
        for target in targets if isinstance(targets, list) else []:
            for index in target.values() if isinstance(target, dict) else ():
                self._finite(index, name)

    def _normals(self, primitive: dict[str, Any], name: str) -> None:
        index = primitive["attributes"]["NORMAL"]
        values = self._values(index, (3,))
        if values is None:
            return
        wrong, lost = self._wrong_directions(index, values)
        if not wrong.any():
            return
        faces, points = np.zeros((0, 3), np.int64), np.zeros((len(values), 3))
        if lost.any() and primitive.get("mode", 4) in TRIANGLES:
            try:
                found = self.file.accessor(primitive["attributes"].get("POSITION"), (3,))
                if len(found) == len(values):
                    points, faces = (
                        found.astype(np.float64),
                        self.reader.corners(primitive, len(found)),
                    )
            except InputError:
                pass  # The reader of the mesh says so.
            self._tell("normals without a direction are those of the faces", name)
        usable = np.where(lost[:, None], 0.0, values.astype(np.float64))
        unit = unit_normals(usable, np.nan_to_num(points), faces)
        self.tables[index] = np.where(wrong[:, None], unit, values).astype(np.float32)

    def _tangents(self, primitive: dict[str, Any], name: str) -> None:
        index = primitive["attributes"]["TANGENT"]
        values = self._values(index, (4,))
        if values is None:
            return
        wrong, lost = self._wrong_directions(index, values[:, :3])
        side = values[:, 3]
        bent = ~np.isin(side, (-1, 1))
        if not (wrong | bent).any():
            return
        out = values.astype(np.float64)
        out[wrong & ~lost, :3] /= np.linalg.norm(out[wrong & ~lost, :3], axis=1, keepdims=True)
        if lost.any():
            out[lost, :3] = self._across(primitive, len(values))[lost]
        out[bent, 3] = np.where(side[bent] < 0, -1.0, 1.0)
        if (lost | (bent & ~(np.abs(side) > 0))).any():
            self._tell("tangents without a direction or a side are guessed", name)
        self.tables[index] = out.astype(np.float32)

    def _across(self, primitive: dict[str, Any], count: int) -> np.ndarray:
        """A direction (V, 3) across every normal."""
        normals = np.tile([0.0, 1.0, 0.0], (count, 1))
        index = primitive["attributes"].get("NORMAL")
        try:
            found = self.tables.get(index)
            if found is None and index is not None:
                found = self.file.accessor(index, (3,))
            if found is not None and len(found) == count:
                normals = found.astype(np.float64)
        except InputError:
            pass  # The reader of the mesh says so.
        axis = np.eye(3)[np.abs(normals).argmin(1)]
        across = np.cross(axis, normals)
        return across / np.linalg.norm(across, axis=1, keepdims=True)

    def _wrong_directions(self, index: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (V,) bool that are not of unit length, and those among them that have none."""
        whole = self.file.entry("accessors", index).get("componentType") != 5126
        finite = np.isfinite(values).all(1)
        length = np.linalg.norm(np.where(finite[:, None], values, 0).astype(np.float64), axis=1)
        lost = ~finite | ~(length > 1e-12)
        return ~(np.abs(length - 1) <= (ROUGH if whole else TOLERANCE)) | lost, lost

    def _colours(self, index: Any, name: str) -> None:
        values = self._values(index, (3, 4))
        if values is None or values.dtype.kind != "f":
            return
        clipped = np.nan_to_num(values, nan=1.0).clip(0, 1)
        if not np.array_equal(clipped, values):
            self._tell("vertex colours outside of [0, 1] are clipped", name)
            self.tables[index] = clipped.astype(np.float32)

    def _weights(
        self, attributes: dict[str, int], sets: list[int], name: str, joints: int | None
    ) -> None:
        places = [(attributes[f"JOINTS_{k}"], attributes[f"WEIGHTS_{k}"]) for k in sets]
        if any(weight in self.looked for _, weight in places):
            return
        given = [(self._joint_rows(j), self._values(w, (4,))) for j, w in places]
        counts = {None if v is None else len(v) for pair in given for v in pair}
        if None in counts or len(counts) != 1:
            return
        joint = np.concatenate([j for j, _ in given if j is not None], 1).astype(np.int64)
        weight = np.concatenate([w for _, w in given if w is not None], 1).astype(np.float64)
        first = weight.copy()
        bones = joint.copy()
        weight = np.nan_to_num(weight, posinf=0.0).clip(0, None)
        if joints is not None:
            joint[(joint >= joints) & (weight == 0)] = 0
        for k in range(1, joint.shape[1]):
            for earlier in range(k):
                twice = (joint[:, k] == joint[:, earlier]) & (weight[:, k] > 0)
                twice &= weight[:, earlier] > 0
                weight[twice, earlier] += weight[twice, k]
                weight[twice, k], joint[twice, k] = 0, 0
        total = weight.sum(1)
        loose = total <= 1e-9
        weight[loose, 0], total[loose] = 1.0, 1.0
        single = weight.astype(np.float32).sum(1, dtype=np.float32)
        off = np.abs(single - 1) > 1e-7 * (weight > 0).sum(1)
        weight[off] /= total[off, None]
        if loose.any():
            self._tell("vertices without skin weights hang from their first joint", name)
        if (np.abs(total - 1) > TOLD).any() or (first < 0).any():
            self._tell("skin weights that do not sum to 1 are divided by their sum", name)
        for k, (number, other) in enumerate(places):
            columns = slice(4 * k, 4 * k + 4)
            if not np.array_equal(joint[:, columns], bones[:, columns]):
                kind = self.file.raw(number).dtype
                self.tables[number] = joint[:, columns].astype(kind)
            if not np.array_equal(weight[:, columns], first[:, columns]):
                self.tables[other] = weight[:, columns].astype(np.float32)

    def _joint_rows(self, index: Any) -> np.ndarray | None:
        try:
            return self.file.raw(index, (4,))
        except InputError:
            return None

    def _finite(self, index: Any, name: str) -> None:
        values = self._values(index)
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            self._tell("numbers of vertices that are not finite are 0", name)
            self.tables[index] = np.nan_to_num(values, posinf=0.0, neginf=0.0)

    def _places(self) -> set[int]:
        """Give vertices of no face shown, whose place or texture coordinates are no numbers, those
        of another. Returns the accessors where faces use such vertices, which readers refuse."""
        used: dict[int, np.ndarray] = {}
        names: dict[int, str] = {}
        for number, mesh in self._rows("meshes"):
            try:
                for primitive in self.reader.primitives(number):
                    for index in self._nowhere(primitive):
                        values = self.file.raw(index)
                        mask = used.setdefault(index, np.zeros(len(values), bool))
                        names[index] = str(mesh.get("name") or number)
                        if number in self.shown and primitive.get("mode", 4) in TRIANGLES:
                            mask[self.reader.corners(primitive, len(values)).reshape(-1)] = True
            except InputError:
                continue  # Where something needs it, its reader says so.
        refused: set[int] = set()
        for index, mask in used.items():
            values = self.file.raw(index)
            bad = ~np.isfinite(values).all(1)
            if (bad & mask).any():
                refused.add(index)
                continue
            near = values[mask] if mask.any() else values[~bad]
            values[bad] = near[0] if len(near) else 0
            self._tell("vertices that stand nowhere are put where another is", names[index])
            self.tables[index] = values
        return refused

    def _nowhere(self, primitive: dict[str, Any]) -> list[int]:
        """The accessors of a primitive's places and texture coordinates that are not finite."""
        if DRACO in str(primitive.get("extensions", "")):
            return []
        keys = ("POSITION", f"TEXCOORD_{self.reader.layout(primitive)[0]}")
        found = [primitive["attributes"].get(key) for key in keys]
        tables = {i: self.file.raw(i) for i in found if i is not None and i not in self.looked}
        return [i for i, v in tables.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]

    def _rest(self, keys: set[Any], refused: set[int]) -> None:
        """Make the numbers finite that nothing else looked at.

        Args:
            keys: accessors of animations, whose key frames are mended as a whole.
        """
        for index, row in self._rows("accessors"):
            if row.get("componentType") != 5126 or index in self.tables or index in keys | refused:
                continue
            try:
                values = self.file.raw(index)
            except InputError:
                continue
            if not np.isfinite(values).all():
                self._tell("numbers that are not finite are 0", str(row.get("name") or index))
                self.tables[index] = np.nan_to_num(values, posinf=0.0, neginf=0.0)

    def _matrices(self, index: Any, name: str) -> None:
        """Inverse bind matrices are finite, and their last row is that of an affine one."""
        values = self._values(index, (16,))
        if values is None:
            return
        out = values.copy()
        lost = ~np.isfinite(values).all(1)
        if lost.any():
            out[lost] = np.eye(4).reshape(-1)
            self._tell("joints whose rest pose is no number rest at the origin", name)
        out[:, [3, 7, 11, 15]] = [0, 0, 0, 1]
        if not np.array_equal(out, values):
            self.tables[index] = out

    def _rotations(self, index: Any, every: int = 1, keyed: bool = False) -> None:
        """Quaternions of unit length; of cubic splines the middle one of every three. Of key frames
        those that are not finite stay, since they are left out as a whole."""
        values = self._values(index, (4,))
        if values is None:
            return
        out = values.astype(np.float64)
        rows = out[every // 2 :: every]
        length = np.linalg.norm(np.nan_to_num(rows), axis=1)
        finite = np.isfinite(rows).all(1)
        wrong = (~(np.abs(length - 1) <= ROUGH) & finite) | (~finite & (not keyed))
        if not wrong.any():
            return
        still = wrong & (~(length > 1e-12) | ~finite)
        rows[still], length[still] = [0, 0, 0, 1], 1
        rows[wrong] /= length[wrong, None]
        self.tables[index] = out.astype(np.float32)

    def _animation(self, animation: dict[str, Any]) -> list[int]:
        """Mend the turns of an animation; returns the accessors that it uses."""
        samplers, channels = (animation.get(key, []) for key in ("samplers", "channels"))
        if not isinstance(samplers, list) or not isinstance(channels, list):
            return []
        for channel in channels:
            number = _at(channel, "sampler")
            turns = _at(channel, "target", "path") == "rotation"
            if turns and isinstance(number, int) and 0 <= number < len(samplers):
                spline = _at(samplers[number], "interpolation") == "CUBICSPLINE"
                self._rotations(_at(samplers[number], "output"), 3 if spline else 1, keyed=True)
        found = [_at(sampler, key) for sampler in samplers for key in ("input", "output")]
        return [index for index in found if isinstance(index, int)]


def _at(row: Any, *keys: str) -> Any:
    """What stands below keys of tables in each other, or None."""
    for key in keys:
        row = row.get(key) if isinstance(row, dict) else None
    return row
