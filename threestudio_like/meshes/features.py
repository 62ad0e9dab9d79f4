"""What a mesh file can hold, and what of it a format or a command could not keep.

A loss is told in one line, by name and count; it is never silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..engine.text import line_name
from .mesh import Asset, Mesh
from .surface.normals import differing

PARTS = frozenset({"parts"})
COLOURS = frozenset({"textures", "materials", "vertex colours", "texture coordinates"})
MAPS = frozenset(
    {"metallic-roughness maps", "normal maps", "occlusion maps", "emission", "alpha modes"}
)
LOOKUP = frozenset(
    {"double-sided materials", "texture wrapping", "texture filters", "unlit materials"}
)
EVERYTHING = (
    PARTS
    | COLOURS
    | MAPS
    | LOOKUP
    | {"vertex alpha", "placed objects", "far origin", "material variants", "changed normals"}
)
"""All that an `Asset` itself describes; what only its file knows (skins, animations, …) is named by
its `Source`."""


_SINGULAR = {
    "extras": "object with extras",
    "parts without faces": "part without faces",
    "second texture coordinates": "part with second texture coordinates",
    "texture coordinates": "part with texture coordinates",
    "vertex colours": "part with vertex colours",
    "vertex colours beside a texture": "part with vertex colours beside a texture",
    "second vertex colours": "part with second vertex colours",
    "lines and points": "part with lines and points",
    "notes on the asset": "note on the asset",
    "tangents": "part with tangents",
    "changed normals": "part with changed normals",
    "emission": "material with emission",
    "vertex alpha": "part with vertex alpha",
    "texture filters": "material with a texture filter",
    "texture wrapping": "material with texture wrapping",
    "maps on other texture coordinates": "material with maps on other texture coordinates",
    "node hierarchies": "node hierarchy",
    "occlusion strengths": "material with an occlusion strength",
    "specular colours": "material with a specular colour",
    "specular-glossiness maps": "material with a specular-glossiness map",
    "exact morph targets": "part with exact morph targets",
    "exact skin weights": "part with exact skin weights",
    "exact second texture coordinates": "part with exact second texture coordinates",
    "exact second vertex colours": "part with exact second vertex colours",
    "exact custom attributes": "part with exact custom attributes",
}


@dataclass(frozen=True)
class Feature:
    """One kind of thing in a file (a plural, such as "skins") and the names of those that there
    are."""

    kind: str
    names: tuple[str, ...] = ()

    def line(self) -> str:
        """For the user: "2 animations (walk, run)"."""
        shown = [line_name(name)[:40] for name in self.names if name]
        listed = ", ".join(shown[:4]) + (", …" if len(shown) > 4 else "")
        return f"{self.count_words()} ({listed})" if shown else self.count_words()

    def count_words(self) -> str:
        """For the user: "2 animations"."""
        kind, count = self.kind, len(self.names)
        if count and kind in _SINGULAR:
            kind = _SINGULAR[kind]
            if count > 1:
                first, _, rest = kind.partition(" ")
                kind = f"{first}s {rest}" if rest != "hierarchy" else "node hierarchies"
        elif count == 1:
            kind = kind.removesuffix("s")
        return f"{count} {kind}" if count else kind

    def facts(self) -> dict[str, object]:
        """For JSON: kind, count and names."""
        return {"kind": self.kind, "count": len(self.names), "names": list(self.names)}


def loss_line(losses: Iterable[Feature], where: str) -> str:
    """One line for the user on what `where` could not keep, or "" if it kept everything."""
    texts = [feature.line() for feature in losses]
    return f"Not kept in {where}: {'; '.join(texts)}." if texts else ""


def features(asset: Asset) -> list[Feature]:
    """What an asset holds: of its meshes and materials, and of the file it came from."""
    table: dict[str, dict[str, None]] = {}

    def note(kind: str, name: str) -> None:
        table.setdefault(kind, {})[name] = None

    for name, mesh in asset.meshes.items():
        _note_mesh(name, mesh, note)
    if len(asset.meshes) > 1:
        table["parts"] = dict.fromkeys(asset.meshes)
    if asset.nodes:
        table["placed objects"] = dict.fromkeys(asset.nodes)
    for name in _with_other_normals(asset):
        note("changed normals", name)
    if asset.variants:
        table["material variants"] = dict.fromkeys(variant.name for variant in asset.variants)
    if asset.polygons:
        table["polygons"] = {}
    if asset.offset.any():
        table["far origin"] = {}
    own = [Feature(kind, tuple(names)) for kind, names in table.items()]
    return own + (asset.source.features() if asset.source is not None else [])


def _with_other_normals(asset: Asset) -> list[str]:
    """Meshes that stand where their file has them, with other normals than it gives them."""
    if asset.source is None:
        return []
    names = []
    for name, before in asset.source.as_read().items():
        mesh = asset.meshes.get(name)
        if mesh is None or mesh.normals is None or before.normals is None:
            continue
        linear = asset.motion[:3, :3]
        same = mesh.normals.shape == before.normals.shape and _only_shifted(mesh, before, linear)
        if same and differing(mesh.normals, before.normals, linear).any():
            names.append(name)
    return names


def _only_shifted(mesh: Mesh, before: Mesh, linear: np.ndarray) -> bool:
    """Whether a mesh has the faces and the shape of another, wherever it stands."""
    if not np.array_equal(mesh.faces, before.faces):
        return False
    if mesh.vertices.shape != before.vertices.shape:
        return False
    expected = before.vertices.astype(np.float64) @ linear.T
    extent = float(np.abs(expected).max(initial=1e-30))
    return bool(np.ptp(mesh.vertices - expected, axis=0).max(initial=0) <= 1e-5 * extent)


def _note_mesh(name: str, mesh: Mesh, note: object) -> None:
    assert callable(note)
    material = mesh.material
    for kind, present in (
        ("texture coordinates", mesh.uv is not None),
        ("textures", mesh.texture is not None),
        ("vertex colours", mesh.colours is not None),
        ("vertex alpha", mesh.colours is not None and mesh.colours.shape[1] == 4),
    ):
        if present:
            note(kind, name)
    if material is None:
        return
    label = material.name or name
    note("materials", label)
    for kind, present in (
        ("metallic-roughness maps", material.metallic_roughness is not None),
        ("normal maps", material.normal_map is not None),
        ("occlusion maps", material.occlusion_map is not None),
        ("emission", material.emissive_map is not None or any(material.emission)),
        ("alpha modes", material.alpha_mode != "OPAQUE"),
        ("double-sided materials", material.double_sided),
        ("texture wrapping", mesh.texture is not None and not material.sampler.repeats),
        ("texture filters", mesh.texture is not None and material.sampler.nearest),
        ("unlit materials", material.unlit),
    ):
        if present:
            note(kind, label)
