"""Materials of USD as plain values: the inputs of UsdPreviewSurface and their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

INPUTS = (
    "diffuseColor",
    "emissiveColor",
    "metallic",
    "roughness",
    "opacity",
    "opacityThreshold",
    "normal",
    "occlusion",
)
_IDLE: dict[str, tuple[float, ...]] = {
    "useSpecularWorkflow": (0,),
    "clearcoat": (0,),
    "displacement": (0,),
    "ior": (1.0, 1.45, 1.5),
}
"""Values, of inputs that are not read, that change nothing or that programs write unasked."""
_SECOND = {"specularColor": "useSpecularWorkflow", "clearcoatRoughness": "clearcoat"}
"""Inputs that say something only beside another."""
_SILENT = frozenset({*INPUTS, *_SECOND, "opacityMode"})


class Shading:
    """The materials that meshes are bound to, each once. time: at which values are taken."""

    def __init__(self, time: Any) -> None:
        self.time = time
        self.materials: list[dict[str, Any]] = []
        self.numbers: dict[str, int] = {}

    def number(self, material: Any) -> int:
        """The number of a material; -1 for none."""
        if not material:
            return -1
        path = str(material.GetPath())
        if path not in self.numbers:
            self.numbers[path] = len(self.materials)
            self.materials.append(self._described(material))
        return self.numbers[path]

    def _described(self, material: Any) -> dict[str, Any]:
        prim = material.GetPrim()
        row: dict[str, Any] = {
            "name": prim.GetDisplayName() or prim.GetName(),
            "coordinates": "",
            "inputs": {},
            "kind": "",
            "unread": [],
        }
        surface = material.ComputeSurfaceSource()[0]
        if not surface or surface.GetShaderId() != "UsdPreviewSurface":
            row["kind"] = _kind(material)
            return row
        for name in INPUTS:
            given = surface.GetInput(name)
            value = self._input(given, row) if given else None
            if value is not None:
                row["inputs"][name] = value
        row["unread"] = self._unread(surface)
        return row

    def _unread(self, surface: Any) -> list[str]:
        """The inputs of a surface that are not read and change how it looks."""
        found = []
        for given in surface.GetInputs():
            name = str(given.GetBaseName())
            value = self._input(given, {"coordinates": ""}) if name not in _SILENT else None
            if value is not None:
                said = value.get("value", "a map")
                # Numbers of single precision.
                said = round(said, 6) if isinstance(said, float) else said
                found += [] if said in _IDLE.get(name, ()) else [name]
        return sorted(found)

    def _input(self, given: Any, row: dict[str, Any]) -> dict[str, Any] | None:
        """What an input of a surface is: a value, a picture, or a primvar."""
        from pxr import UsdShade

        for attribute in given.GetValueProducingAttributes():
            base, kind = UsdShade.Utils.GetBaseNameAndType(attribute.GetName())
            if kind == UsdShade.AttributeType.Input:
                value = attribute.Get(self.time)
                return None if value is None else {"value": _plain(value)}
            shader = UsdShade.Shader(attribute.GetPrim())
            name = str(shader.GetShaderId() or "")
            if name == "UsdUVTexture":
                return self._picture(shader, base, row)
            if name.startswith("UsdPrimvarReader"):
                return {"primvar": str(self._value(shader, "varname") or "")}
        return None

    def _value(self, shader: Any, name: str) -> Any:
        given = shader.GetInput(name)
        if not given:
            return None
        for attribute in given.GetValueProducingAttributes():
            return attribute.Get(self.time)
        return None

    def _picture(self, shader: Any, channel: str, row: dict[str, Any]) -> dict[str, Any] | None:
        file = self._value(shader, "file")
        if file is None:
            return None
        out = {
            "file": str(getattr(file, "path", file)),
            "resolved": str(getattr(file, "resolvedPath", "")),
            "channel": channel,
            "space": str(self._value(shader, "sourceColorSpace") or "auto"),
            "wrap": [str(self._value(shader, f"wrap{a}") or "useMetadata") for a in "ST"],
            "scale": _plain(self._value(shader, "scale")) or [1.0] * 4,
            "bias": _plain(self._value(shader, "bias")) or [0.0] * 4,
        }
        place = shader.GetInput("st")
        for attribute in place.GetValueProducingAttributes() if place else []:
            from pxr import UsdShade

            reader = UsdShade.Shader(attribute.GetPrim())
            if str(reader.GetShaderId() or "") == "UsdTransform2d":
                out["transform"] = [
                    _plain(self._value(reader, "scale")) or [1.0, 1.0],
                    float(self._value(reader, "rotation") or 0.0),
                    _plain(self._value(reader, "translation")) or [0.0, 0.0],
                ]
                inner = reader.GetInput("in")
                for source in inner.GetValueProducingAttributes() if inner else []:
                    reader = UsdShade.Shader(source.GetPrim())
            if str(reader.GetShaderId() or "").startswith("UsdPrimvarReader"):
                row["coordinates"] = row["coordinates"] or str(self._value(reader, "varname") or "")
        return out


def _kind(material: Any) -> str:
    """What a material is instead of a preview surface, "" for nothing that is seen."""
    for output in material.GetSurfaceOutputs():
        source = material.ComputeSurfaceSource(_context(output))[0]
        if source:
            asset = source.GetSourceAsset("mdl") if not source.GetShaderId() else None
            name = str(source.GetShaderId() or getattr(asset, "path", ""))
            return name or _context(output) or "a surface"
    return ""


def _context(output: Any) -> str:
    """The renderer that an output of a material is for, "" for all."""
    return str(output.GetBaseName()).rpartition(":")[0]


def _plain(value: Any) -> Any:
    """A value as numbers and lists of them."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return [float(v) for v in np.asarray(value, np.float64).reshape(-1)]
