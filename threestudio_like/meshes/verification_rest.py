"""Whether what a command did not mean to change is in the written file as it was in the file of the
user. Both files are read again: two glTF files by code that neither reads nor writes assets, others
by their readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .io.files import read
from .io.gltf.compare import differences, row_counts, unexpected
from .io.gltf.patch import patch
from .io.gltf.source import GltfSource
from .mesh import Asset, Mesh


@dataclass(frozen=True)
class Rest:
    """The untouched remainder of a file, compared with the file that it came from.

    source: name of that file. kept: what is in it, in words. changed: what differs and should not.
    """

    source: str
    kept: str
    changed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing differs that should not."""
        return not self.changed

    def line(self) -> str:
        """One line for the user."""
        if self.passed:
            return f"the rest as in {self.source} ({self.kept}): ok"
        shown = ", ".join(self.changed[:3]) + (", …" if len(self.changed) > 3 else "")
        return f"the rest differs from {self.source} ({shown}): BAD"


def verify_rest(given: Path, written: Path, asset: Asset) -> Rest:
    """Compare a written file with the one that the user gave.

    Of glTF from glTF every value of the document is compared, and every byte of accessors and
    pictures; only what the patch meant to change may differ. Of other formats the meshes that the
    asset left alone are compared.

    Args:
        asset: what was written, with its source.
    """
    source = asset.source
    if isinstance(source, GltfSource) and written.suffix.lower() in (".glb", ".gltf"):
        meant = patch(asset, source).changed
        found = differences(given, written)
        changed = tuple(unexpected(found, meant, row_counts(given)))
        return Rest(given.name, _kept(asset, source.meshes), changed)
    before = read(given).meshes
    again = read(written).meshes
    changed = tuple(
        name
        for name, mesh in before.items()
        if asset.meshes.get(name) is not None
        and _same(asset.meshes[name], mesh)
        # Another format may have another name for it.
        and not _found(mesh, name, again)
    )
    return Rest(given.name, _kept(asset, before), changed)


def _found(mesh: Mesh, name: str, again: dict[str, Mesh]) -> bool:
    if name in again:
        return _same(again[name], mesh)
    return any(_same(other, mesh) for other in again.values())


def _kept(asset: Asset, before: dict[str, Mesh]) -> str:
    still = sum(
        name in asset.meshes and _same(asset.meshes[name], mesh) for name, mesh in before.items()
    )
    words = [f"{still} of {len(before)} part{'s' * (len(before) > 1)} untouched"]
    source = asset.source
    known = source.features() if source is not None else []
    words += [feature.count_words() for feature in known if feature.names]
    return ", ".join(words)


def _same(one: Mesh, two: Mesh) -> bool:
    """Whether two meshes are equal but for the rounding of a text or of another colour space."""
    if one is two:
        return True
    for name in ("vertices", "faces", "uv", "colours", "texture"):
        a, b = getattr(one, name), getattr(two, name)
        if (a is None) != (b is None):
            return False
        if a is None or a is b:
            continue
        if a.shape != b.shape:
            return False
        near = 0.0
        if a.dtype.kind == "f":
            # Some formats store colours in eight bits.
            near = 0.6 / 255 if name == "colours" else 2e-6 * float(np.abs(a).max(initial=1.0))
        if np.abs(a.astype(np.float64) - b).max(initial=0) > near:
            return False
    return True
