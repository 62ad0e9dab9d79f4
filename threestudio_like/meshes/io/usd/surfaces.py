"""This package's materials as USD's preview surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...mesh import Material, Mesh
from ..images import encode_png, to_linear

_MIMES = {"image/png": "png", "image/jpeg": "jpg"}


class Textures:
    """The picture files of a scene, each once. prefix: of their names."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.files: dict[str, bytes] = {}
        self.names: dict[int, str] = {}
        self.kept: list[np.ndarray] = []
        self.scaled: dict[tuple[int, float], np.ndarray] = {}

    def name(self, pixels: np.ndarray, material: Material) -> str:
        """The file of a map; the one that it was decoded from, byte for byte, where USD knows its
        kind."""
        if id(pixels) not in self.names:
            source = material.encoded(pixels)
            kind = _MIMES.get(source.mime) if source is not None else None
            data = source.data if source is not None and kind else encode_png(pixels)
            name = f"{self.prefix}{len(self.names)}.{kind or 'png'}"
            self.names[id(pixels)] = name
            # An array that is gone could give its number to another.
            self.kept.append(pixels)
            self.files[name] = data
        return self.names[id(pixels)]

    def bent(self, pixels: np.ndarray, scale: float) -> np.ndarray:
        """A map of normals with their slopes scaled; the map itself where they are not."""
        if scale == 1:
            return pixels
        key = (id(pixels), scale)
        if key not in self.scaled:
            self.kept.append(pixels)
            normal = pixels[..., :3].astype(np.float64) / 127.5 - 1
            normal[..., :2] *= scale
            normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
            self.scaled[key] = np.rint((normal + 1) * 127.5).clip(0, 255).astype(np.uint8)
        return self.scaled[key]


def add_material(stage: Any, path: str, mesh: Mesh, textures: Textures) -> Any:
    """Define the material of a mesh at a path of the stage."""
    from pxr import UsdShade

    out = UsdShade.Material.Define(stage, path)
    material = mesh.material if mesh.material is not None else Material()
    out.GetPrim().SetDisplayName(material.name)
    _Surface(stage, path, material, mesh=mesh, textures=textures).fill(out)
    return out


class _Surface:
    def __init__(
        self, stage: Any, path: str, material: Material, mesh: Mesh, textures: Textures
    ) -> None:
        from pxr import Sdf

        self.stage, self.path, self.material = stage, path, material
        self.mesh, self.textures = mesh, textures
        self.types = Sdf.ValueTypeNames
        self.reader: Any = None
        self.made: dict[tuple[int, Any], Any] = {}
        self.shader = self._shader("Surface", "UsdPreviewSurface")

    def _shader(self, name: str, kind: str) -> Any:
        from pxr import UsdShade

        shader = UsdShade.Shader.Define(self.stage, f"{self.path}/{name}")
        shader.CreateIdAttr(kind)
        return shader

    def fill(self, out: Any) -> None:
        """Set all inputs."""
        shader, kinds, material = self.shader, self.types, self.material
        out.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        mapped = self.mesh.uv is not None
        red, green, blue = (float(x) for x in to_linear(np.array(material.colour[:3])))
        alpha = float(material.colour[3])
        diffuse = shader.CreateInput("diffuseColor", kinds.Color3f)
        opacity = shader.CreateInput("opacity", kinds.Float)
        opaque = material.alpha_mode == "OPAQUE"
        texture = self.mesh.texture if mapped else None
        opacity.Set(1.0 if opaque else alpha)
        if texture is not None:
            scale = (red, green, blue, 1.0 if opaque else alpha)
            base = self._picture("BaseColour", texture, "sRGB", scale=scale)
            self._connect(diffuse, base, "rgb", kind=kinds.Float3)
            if not opaque and texture.shape[2] == 4:
                self._connect(opacity, base, "a", kind=kinds.Float)
        elif self.mesh.colours is not None:
            self._colours(diffuse, opacity, not opaque)
        else:
            diffuse.Set((red, green, blue))
        if material.alpha_mode == "MASK":
            shader.CreateInput("opacityThreshold", kinds.Float).Set(
                max(1e-4, float(material.alpha_cutoff))
            )
        self._maps(mapped)

    def _maps(self, mapped: bool) -> None:
        shader, kinds, material = self.shader, self.types, self.material
        roughness = shader.CreateInput("roughness", kinds.Float)
        metallic = shader.CreateInput("metallic", kinds.Float)
        roughness.Set(float(material.roughness))
        metallic.Set(float(material.metallic))
        if mapped and material.metallic_roughness is not None:
            scale = (1.0, float(material.roughness), float(material.metallic), 1.0)
            node = self._picture("Roughness", material.metallic_roughness, "raw", scale=scale)
            self._connect(roughness, node, "g", kind=kinds.Float)
            self._connect(metallic, node, "b", kind=kinds.Float)
        if mapped and material.normal_map is not None:
            # USD has no strength of normals, and wants them scaled by 2, so that it goes into the
            # picture.
            pixels = self.textures.bent(material.normal_map, material.normal_scale)
            scale, bias = (2.0, 2.0, 2.0, 1.0), (-1.0, -1.0, -1.0, 0.0)
            node = self._picture("Normal", pixels, "raw", scale=scale, bias=bias)
            self._connect(
                shader.CreateInput("normal", kinds.Normal3f), node, "rgb", kind=kinds.Float3
            )
        if mapped and material.occlusion_map is not None:
            node = self._picture("Occlusion", material.occlusion_map, "raw")
            self._connect(shader.CreateInput("occlusion", kinds.Float), node, "r", kind=kinds.Float)
        light = tuple(float(x) for x in material.emission)
        if mapped and material.emissive_map is not None:
            node = self._picture("Emission", material.emissive_map, "sRGB", scale=(*light, 1.0))
            emissive = shader.CreateInput("emissiveColor", kinds.Color3f)
            self._connect(emissive, node, "rgb", kind=kinds.Float3)
        elif any(light):
            shader.CreateInput("emissiveColor", kinds.Color3f).Set(light)

    def _connect(self, given: Any, node: Any, channel: str, kind: Any) -> None:
        if not node.GetOutput(channel):
            node.CreateOutput(channel, kind)
        given.ConnectToSource(node.ConnectableAPI(), channel)

    def _colours(self, diffuse: Any, opacity: Any, seen_through: bool) -> None:
        """Colours of vertices, which a surface asks for by name."""
        kinds = self.types
        reader = self._shader("VertexColours", "UsdPrimvarReader_float3")
        reader.CreateInput("varname", kinds.String).Set("displayColor")
        self._connect(diffuse, reader, "result", kind=kinds.Float3)
        colours = self.mesh.colours
        if seen_through and colours is not None and colours.shape[1] == 4:
            reader = self._shader("VertexOpacity", "UsdPrimvarReader_float")
            reader.CreateInput("varname", kinds.String).Set("displayOpacity")
            self._connect(opacity, reader, "result", kind=kinds.Float)

    def _picture(
        self,
        name: str,
        pixels: np.ndarray,
        space: str,
        scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
        bias: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    ) -> Any:
        """A node that looks up a map at the texture coordinates."""
        kinds = self.types
        if self.reader is None:
            self.reader = self._shader("Coordinates", "UsdPrimvarReader_float2")
            self.reader.CreateInput("varname", kinds.String).Set("st")
            self.reader.CreateOutput("result", kinds.Float2)
        node = self._shader(name, "UsdUVTexture")
        file = f"./{self.textures.name(pixels, self.material)}"
        node.CreateInput("file", kinds.Asset).Set(file)
        node.CreateInput("st", kinds.Float2).ConnectToSource(self.reader.ConnectableAPI(), "result")
        node.CreateInput("sourceColorSpace", kinds.Token).Set(space)
        sampler = self.material.sampler
        node.CreateInput("wrapS", kinds.Token).Set(sampler.wrap_u)
        node.CreateInput("wrapT", kinds.Token).Set(sampler.wrap_v)
        if scale != (1.0, 1.0, 1.0, 1.0):
            node.CreateInput("scale", kinds.Float4).Set(tuple(float(s) for s in scale))
        if any(bias):
            node.CreateInput("bias", kinds.Float4).Set(tuple(float(b) for b in bias))
        return node
