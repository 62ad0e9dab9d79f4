"""What a surface is made of: glTF's metallic-roughness model, its maps, and their look-up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """The bytes of a picture file beside the pixels that they decode to.

    A writer uses the bytes again for as long as a map `is` those pixels, so that a JPEG stays the
    same JPEG. pixels (H, W, 3 or 4) uint8; mime: "image/png", "image/jpeg" or "image/webp"; name:
    of the file, where it had one.
    """

    pixels: np.ndarray
    data: bytes
    mime: str
    name: str = ""


@dataclass(frozen=True)
class Sampler:
    """How a map is looked up: wrap_u, wrap_v "repeat", "clamp" or "mirror" outside of [0, 1];
    nearest: texels are not mixed (palettes, pixel art)."""

    wrap_u: str = "repeat"
    wrap_v: str = "repeat"
    nearest: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is the usual one: repeated, mixed."""
        return self == Sampler()

    @property
    def repeats(self) -> bool:
        """Whether it is repeated both ways."""
        return self.wrap_u == self.wrap_v == "repeat"


MAPS = ("metallic_roughness", "normal_map", "occlusion_map", "emissive_map")
"""The names of the maps of a `Material`."""


@dataclass
class Material:
    """What a surface is made of besides its base-colour texture, which belongs to the mesh.

    colour: display RGB and opacity in [0, 1], multiplied with the texture; metallic_roughness (H,
    W, 3) uint8: roughness in green, metallic in blue, multiplied with the two numbers; normal_map
    (H, W, 3) uint8, tangent space, green up, times normal_scale; occlusion_map (H, W, 3) uint8, in
    red; emission: linear RGB, above 1 where it is strong; emissive_map (H, W, 3) uint8.
    alpha_mode: "OPAQUE", "MASK" (opaque from alpha_cutoff on, invisible below) or "BLEND".
    sampler: of the base-colour texture. surface_given: whether the file that the material came from
    says how rough and metallic it is. images: the encoded pictures that maps were read from.
    """

    name: str = "surface"
    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    roughness: float = 0.9
    metallic: float = 0.0
    metallic_roughness: np.ndarray | None = None
    alpha_mode: str = "OPAQUE"
    double_sided: bool = False
    alpha_cutoff: float = 0.5
    normal_map: np.ndarray | None = None
    normal_scale: float = 1.0
    occlusion_map: np.ndarray | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emissive_map: np.ndarray | None = None
    unlit: bool = False
    sampler: Sampler = Sampler()
    surface_given: bool = False
    images: tuple[EncodedImage, ...] = ()

    def encoded(self, pixels: np.ndarray) -> EncodedImage | None:
        """The file that these very pixels were decoded from, if it is known."""
        return next((image for image in self.images if image.pixels is pixels), None)
