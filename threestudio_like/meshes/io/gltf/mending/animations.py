"""Mends the animations of a glTF document that are not valid: times that do not rise, begin before
0 or are no numbers, values that are missing or no numbers, channels that move what is not there,
and nodes that stand by a matrix, which no animation can move."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .....engine.errors import InputError
from .....engine.text import line_name
from ....transform import quaternion
from ..accessors import Accessors, accessors_used
from ..document import GltfDocument

APART = 1e-4
"""Seconds between key frames that a file has at one time, so that a jump stays one."""
_WIDTHS = {"translation": 3, "rotation": 4, "scale": 3, "weights": 1}
_MOVED = ("translation", "rotation", "scale")
_GONE = "movements of what is not there are left out"
_UNREADABLE = "movements that cannot be read are left out"


def free_matrices(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Give nodes that animations move a translation, a rotation and a scale in place of their
    matrix. What moves a node whose matrix shears, and so has none of these, is taken out.

    Returns JSON pointers to what was changed, and what of that is lost, one line each.
    """
    nodes = dict(rows_of(document, "nodes"))
    animations = rows_of(document, "animations")
    moved = {n for _, row in animations for n, _ in map(_subject, _channels(row))}
    changed: list[str] = []
    sheared: set[int] = set()
    for number in sorted(n for n in nodes if n in moved and "matrix" in nodes[n]):
        parts = _parts(nodes[number]["matrix"])
        if parts is None:
            sheared.add(number)
            continue
        del nodes[number]["matrix"]
        nodes[number].update(parts)
        changed.append(f"/nodes/{number}")
    lost: dict[str, None] = {}
    for k, row in animations:
        subjects = [_subject(c) for c in _channels(row)]
        gone = [n if n in sheared and path in _MOVED else None for n, path in subjects]
        names = [line_name(str(nodes[n].get("name") or n))[:40] for n in gone if n is not None]
        if names:
            row["channels"] = [c for c, n in zip(row["channels"], gone) if n is None]
            changed.append(f"/animations/{k}")
            lost |= dict.fromkeys(names)
    line = f"movements of nodes whose matrix shears are left out ({', '.join(list(lost)[:4])})"
    return changed, [line] if lost else []


def follow_weights(document: dict[str, Any], number: int, inside: int) -> list[str]:
    """Let the channels that move the morph targets of a node move those of another, to which its
    mesh went. Returns JSON pointers to what was changed."""
    changed: list[str] = []
    for k, row in rows_of(document, "animations"):
        for channel in _channels(row):
            if _subject(channel) != (number, "weights"):
                continue
            target = channel["target"]
            if "node" in target:
                target["node"] = inside
            if _pointer(target):
                spoken = target["extensions"]["KHR_animation_pointer"]
                spoken["pointer"] = f"/nodes/{inside}/weights"
            changed.append(f"/animations/{k}")
    return changed


def _parts(values: Any) -> dict[str, list[float]] | None:
    """The translation, rotation and scale of a matrix of 16 numbers by columns; None if it shears
    or is none."""
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError):
        return None
    if matrix.shape != (16,) or not np.isfinite(matrix).all():
        return None
    matrix = matrix.reshape(4, 4).T
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    turn = matrix[:3, :3] / np.maximum(scale, 1e-30)
    gone = scale <= 1e-12 * scale.max()
    if gone.any():
        # What has no size along an axis, as a thing has that is hidden so, may face anywhere there.
        turn[:, gone] = np.linalg.svd(turn[:, ~gone])[0][:, np.count_nonzero(~gone) :]
        scale[gone] = 0
        if np.linalg.det(turn) < 0:
            turn[:, np.flatnonzero(gone)[0]] *= -1
    if np.abs(turn.T @ turn - np.eye(3)).max() > 1e-5 or (matrix[3] != [0, 0, 0, 1]).any():
        return None
    if np.linalg.det(turn) < 0:
        turn[:, 0] *= -1
        scale[0] *= -1
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": quaternion(turn).tolist(),
        "scale": scale.tolist(),
    }


def rows_of(document: dict[str, Any], table: str) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table, with their numbers, that are what they should be."""
    rows = document.get(table)
    listed = rows if isinstance(rows, list) else []
    return [(n, row) for n, row in enumerate(listed) if isinstance(row, dict)]


def _channels(animation: dict[str, Any]) -> list[Any]:
    channels = animation.get("channels")
    return channels if isinstance(channels, list) else []


def _subject(channel: Any) -> tuple[Any, Any]:
    """The node that a channel moves, and which property of it; None for what it does not say."""
    target = channel.get("target") if isinstance(channel, dict) else None
    if not isinstance(target, dict):
        return None, None
    words = str(_pointer(target) or "").split("/")
    if len(words) == 4 and words[1] == "nodes" and words[2].isdigit():
        return int(words[2]), words[3]
    node = target.get("node")
    # What is no number is the number of no node.
    return -1 if node is not None and type(node) is not int else node, str(target.get("path"))


def _pointer(target: dict[str, Any]) -> Any:
    spoken = target.get("extensions")
    row = spoken.get("KHR_animation_pointer") if isinstance(spoken, dict) else None
    return row.get("pointer") if isinstance(row, dict) else None


def targets_of(mesh: Any) -> int:
    """How many morph targets a mesh's row has."""
    rows = mesh.get("primitives") if isinstance(mesh, dict) else None
    listed = rows if isinstance(rows, list) else []
    return max((len(p.get("targets") or ()) for p in listed if isinstance(p, dict)), default=0)


def mend_animations(
    document: dict[str, Any], file: GltfDocument, accessors: Accessors | None = None
) -> tuple[list[str], list[str]]:
    """Mend the animations of a document in place.

    Args:
        file: that has their numbers. accessors: of the document, which get those that are mended;
            None where only what would be told is asked for.

    Returns JSON pointers to what was changed, and what of that changes how the file moves, one line
    each.
    """
    return _Animations(document, file, accessors).run()


class _Animations:
    def __init__(
        self, document: dict[str, Any], file: GltfDocument, accessors: Accessors | None
    ) -> None:
        self.document, self.file, self.accessors = document, file, accessors
        self.nodes = dict(rows_of(document, "nodes"))
        self.told: dict[str, dict[str, None]] = {}
        self.changed: list[str] = []
        self.wanted: dict[int, list[tuple[dict[str, Any], str, np.ndarray]]] = {}
        self.touched: set[int] = set()

    def run(self) -> tuple[list[str], list[str]]:
        """Carry it out."""
        rows = rows_of(self.document, "animations")
        listed = self.document.get("animations")
        for number, row in rows:
            self._animation(row, f"/animations/{number}", str(row.get("name") or number))
        if self.accessors is not None:
            self._write(self.accessors)
        still = [row for _, row in rows if row.get("channels") and row.get("samplers")]
        if isinstance(listed, list) and len(still) != len(listed):
            self.document["animations"] = still
            if not still:
                del self.document["animations"]
            self.changed.append("/animations")
        lines = [f"{what} ({', '.join(list(names)[:4])})" for what, names in self.told.items()]
        return self.changed, lines

    def _tell(self, what: str, name: str) -> None:
        self.told.setdefault(what, {})[line_name(name)[:40]] = None

    def _animation(self, row: dict[str, Any], pointer: str, name: str) -> None:
        samplers, channels = row.get("samplers"), row.get("channels")
        if not isinstance(samplers, list) or not isinstance(channels, list):
            self._tell(_UNREADABLE, name)
            row["channels"] = []
            return
        kept: list[dict[str, Any]] = []
        marks: set[str] = set()
        for channel in channels:
            fault = self._fault(channel, samplers, marks)
            if fault:
                self._tell(fault, name)
            else:
                kept.append(channel)
        shift = self._shift(samplers, kept)
        if shift:
            self._tell("animations that begin before 0 are moved to begin there", name)
        users: dict[int, list[tuple[Any, Any]]] = {}
        for channel in kept:
            users.setdefault(channel["sampler"], []).append(_subject(channel))
        bad = {
            k for k, s in enumerate(samplers) if not self._sampler(s, users.get(k, []), shift, name)
        }
        if bad & set(users):
            self._tell(_UNREADABLE, name)
        kept = [c for c in kept if c["sampler"] not in bad]
        # Samplers that nothing reads must be valid too; those that are not go.
        numbers = {k: n for n, k in enumerate(k for k in range(len(samplers)) if k not in bad)}
        if bad or len(kept) != len(channels):
            row["samplers"] = [samplers[k] for k in numbers]
            row["channels"] = [{**c, "sampler": numbers[c["sampler"]]} for c in kept]
            self.changed.append(pointer)
        if any(id(sampler) in self.touched for sampler in row["samplers"]):
            self.changed.append(pointer)

    def _fault(self, channel: Any, samplers: list[Any], marks: set[str]) -> str:
        """What is wrong with a channel, "" for nothing; `marks` gets what it moves."""
        number = channel.get("sampler") if isinstance(channel, dict) else None
        target = channel.get("target") if isinstance(channel, dict) else None
        whole = isinstance(number, int) and 0 <= number < len(samplers)
        if not whole or not isinstance(target, dict):
            return _UNREADABLE
        node, path = _subject(channel)
        if target.get("node", node) is None:
            return ""  # An extension may know what it moves.
        if node is not None and node not in self.nodes:
            return _GONE
        if path == "weights" and node is not None and not self._targets(node):
            return _GONE
        mark = str(_pointer(target) or (node, path))
        if mark in marks:
            return "of several movements of the same the first is kept"
        marks.add(mark)
        return ""

    def _targets(self, node: int) -> int:
        meshes, mesh = self.document.get("meshes", []), self.nodes[node].get("mesh")
        there = isinstance(mesh, int) and 0 <= mesh < len(meshes)
        return targets_of(meshes[mesh]) if there else 0

    def _shift(self, samplers: list[Any], channels: list[dict[str, Any]]) -> float:
        """Seconds by which an animation has to be moved so that it does not begin before 0."""
        low = 0.0
        for number in {c["sampler"] for c in channels}:
            times = self._times(samplers[number])
            if times is not None:
                low = min(low, float(times[np.isfinite(times)].min(initial=0.0)))
        return -low

    def _times(self, sampler: Any) -> np.ndarray | None:
        """The times (K,) float64 of a sampler; None where they cannot be read."""
        try:
            return self.file.accessor(sampler["input"], (1,))[:, 0].astype(np.float64)
        except (InputError, KeyError, TypeError):
            return None

    def _sampler(self, sampler: Any, users: list[tuple[Any, Any]], shift: float, name: str) -> bool:
        """Note what the times and values of a sampler become; False where it cannot be used.

        Args:
            users: the nodes and properties that it moves. shift: seconds, added to its times.
        """
        times = self._times(sampler)
        values = self._values(sampler, users)
        if times is None or values is None:
            return False
        spline = sampler.get("interpolation") == "CUBICSPLINE"
        parts = 3 if spline else 1
        per = self._rows_a_key(users, len(values) // parts, max(1, len(times))) * parts
        count = min(len(times), len(values) // per)
        if not count:
            return False
        rows = values[: count * per].reshape(count, -1)
        good = np.isfinite(times[:count])
        if values.dtype.kind == "f":
            good &= np.isfinite(rows).all(1)
        if not good.any():
            return False
        if count != len(times) or count * per != len(values):
            self._tell("movements with more times than values, or fewer, are cut off", name)
        if not good.all():
            self._tell("key frames that are not finite are left out", name)
        found = times[:count][good] + shift
        order = np.argsort(found, kind="stable")
        if (np.diff(found) <= 0).any():
            self._tell("key frames that do not follow each other in time are put in order", name)
        rows = rows[good][order]
        if spline and len(rows) == 1:
            # A spline has two key frames at least; this one stands still.
            rows = rows.reshape(3, -1)[1:2]
            sampler.pop("interpolation")
        self._want(sampler, "input", _rising(found[order])[:, None])
        self._want(sampler, "output", rows.reshape(-1, values.shape[1]))
        return True

    def _values(self, sampler: Any, users: list[tuple[Any, Any]]) -> np.ndarray | None:
        """The values (R, W) of a sampler as they are stored, float where that cannot stay so; None
        where they cannot be read, or are none of what the sampler moves."""
        paths = {path for _, path in users if path in _WIDTHS}
        widths = {_WIDTHS[path] for path in paths}
        if len(widths) > 1:
            return None
        try:
            values = self.file.raw(sampler["output"], tuple(widths))
            whole = self.file.normalized(sampler["output"])
            if values.dtype.kind == "f" or not paths:
                return values
            if values.dtype.itemsize <= 2 and whole and paths <= {"rotation", "weights"}:
                return values
            return self.file.accessor(sampler["output"], tuple(widths)).astype(np.float32)
        except (InputError, KeyError, TypeError):
            return None

    def _rows_a_key(self, users: list[tuple[Any, Any]], rows: int, times: int) -> int:
        """How many rows of values, besides those of tangents, every time has."""
        if any(path in _MOVED for _, path in users):
            return 1
        counts = [self._targets(n) for n, path in users if path == "weights" and n is not None]
        # What an extension moves has as many as there are.
        return max(counts, default=0) or max(1, rows // times)

    def _want(self, sampler: dict[str, Any], key: str, values: np.ndarray) -> None:
        """Note what an accessor of a sampler has to hold, where that is something else."""
        index = sampler[key]
        stored = self.file.raw(index)
        if stored.dtype != values.dtype or not np.array_equal(stored, values):
            self.wanted.setdefault(index, []).append((sampler, key, values))
            self.touched.add(id(sampler))

    def _write(self, accessors: Accessors) -> None:
        """Write what accessors have to hold: in their place where all that use them want the same,
        else beside them."""
        uses = Counter(accessors_used(self.document))
        for index, wants in self.wanted.items():
            _, key, first = wants[0]
            same = all(k == key and np.array_equal(first, values) for _, k, values in wants)
            if same and uses[index] == len(wants):
                accessors.rewrite(index, first, "other")
                accessors.written.add(index)
                row = self.document["accessors"][index]
                if key == "input" or "min" in row or "max" in row:
                    row["min"], row["max"] = first.min(0).tolist(), first.max(0).tolist()
                continue
            made: dict[tuple[str, bytes], int] = {}
            for sampler, key, values in wants:
                mark = (key, values.tobytes())
                if mark not in made:
                    made[mark] = accessors.plain(values, bounds=key == "input")
                sampler[key] = made[mark]


def _rising(times: np.ndarray) -> np.ndarray:
    """Times (K,) float64 in order as float32 that rise; those that are equal lie `APART` apart, or
    less where others follow sooner."""
    values, start, counts = np.unique(
        times.astype(np.float32).astype(np.float64), return_index=True, return_counts=True
    )
    step = np.minimum(APART, np.append(np.diff(values), np.inf) / counts)
    after = np.arange(len(times)) - np.repeat(start, counts)
    out = (np.repeat(values, counts) + after * np.repeat(step, counts)).astype(np.float32)
    for k in np.flatnonzero(np.diff(out) <= 0):
        # Far from 0 the steps of float32 are wider.
        for n in range(k + 1, len(out)):
            if out[n] > out[n - 1]:
                break
            out[n] = np.nextafter(out[n - 1], np.float32(np.inf))
    return out
