"""What the figures of a run mean, in words for whoever reads its report."""

from __future__ import annotations

import re
from typing import Any

from ..engine.text import duration

MEANINGS: dict[str, str] = {
    "prompt": "What was asked for, or what the picture was taken to show.",
    "verified": "The file was read back, rendered and compared with what was to be written.",
    "method": "How the shape was made; see reconstruct --method.",
    "surface": "Where the shape comes from.",
    "shape": "Where the shape comes from.",
    "faces": "Triangles of the mesh.",
    "parts": "Named meshes of the file.",
    "parts painted": "Of these, how many were painted; the others are as they were.",
    "objects": "Objects of the scene, each a node of the file.",
    "starts": "First placements that were tried.",
    "best start": "The placement that was kept.",
    "unwrap": "How the texture coordinates were made.",
    "iso level": "Opacity of a cell at which the volume becomes a surface, 0 to 1.",
    "silhouette agreement": "Overlap (IoU) of the mesh's outline with the volume's, over twelve "
    "views: 1 is the same outline.",
    "silhouette IoU of the field": "Overlap of the field's outline with the picture's; 1 is the "
    "same.",
    "pieces found": "Separate pieces in the volume, before the largest were kept.",
    "volume given back": "Share of the volume that smoothing took and that was given back.",
    "fog": "Mean opacity around the mesh that belongs to nothing: 0 is clear, above 0.75 the "
    "result is not to be trusted.",
    "fit": "How the asset compares with the picture: fits, doubtful, does not fit.",
    "fit: silhouette IoU": "Overlap of both outlines from the picture's camera; 1 is the same.",
    "fit: PSNR inside, dB": "Likeness of the colours within both outlines; from about 20 dB they "
    "look alike.",
    "fit: texels seen": "Share of the texture that the picture shows.",
    "fit: depth agreement": "Correlation of the shape's depth with the picture's; 1 is the same.",
    "agreement with the picture's silhouette": "Overlap of the shape's outline with the picture's, "
    "from the camera that was found.",
    "azimuth, degrees": "Where the picture was taken from: 0 is the front.",
    "elevation, degrees": "How far the picture looks down.",
    "texels from the picture": "Share of the texture that is the picture's own colours.",
    "texels mirrored": "Share that is taken from the picture's mirror image.",
    "texels completed": "Share that no picture shows and that was filled in.",
    "height, metres": "Height of the asset, from what was known of the picture.",
    "reference PSNR, dB": "Likeness to the picture from its camera.",
    "texels": "Painted points of the texture.",
    "texels seen": "Share of the texture that some camera saw while it was painted.",
    "texels unseen, filled from neighbours": "Texels that no camera saw.",
    "texels locked": "Texels that kept their colour, as asked for.",
    "seam error": "Difference of colour across the seams of the texture, 0 to 1.",
    "texture coordinates": "Whether the file's own coordinates were kept.",
    "largest offset, scene units": "How far the surface was moved at most.",
    "camera: elevation, degrees": "How far the picture looks down on the scene.",
    "camera: field of view, degrees": "Vertical field of view of the picture.",
    "reference: IoU of all": "Overlap of all objects' outline with the picture's; 1 is the same.",
    "reference: mean IoU of each": "The same, object by object, on average.",
    "reference: PSNR, dB": "Likeness of the colours at the picture's camera.",
    "penetration depth": "How deep objects reach into each other, scene units.",
    "floating distance": "The largest gap below an object that should stand, scene units.",
    "tilt, degrees": "The largest tilt of an object.",
    "seconds of export": "Time for extracting, unwrapping and writing.",
    "peak memory, MB": "The most main memory that the run held.",
    "seconds": "Time of the whole run.",
}
"""Figure -> what it means."""
FAMILIES: tuple[tuple[str, str], ...] = (
    (r"not kept in .*", "What the format cannot hold, and is lost in this file."),
    (r"said: .*", "Whether the scene is as the prompt says."),
    (r"fit: .*", "How this object compares with its own picture."),
    (r"reference: .*, first", "The same, of the first placement."),
    (r"photo .*", "A further photo, and how it agrees."),
)
"""Pattern of a figure's name -> what it means."""
SHARES = (
    *("texels seen", "texels from the picture", "texels mirrored", "texels completed"),
    *("fit: texels seen", "volume given back"),
)
"""Figures that are shown as percentages."""


def meaning(name: str) -> str:
    """What a figure means; "" for one that is not known here (a plug-in's)."""
    if name in MEANINGS:
        return MEANINGS[name]
    return next((text for pattern, text in FAMILIES if re.fullmatch(pattern, name)), "")


def value_text(name: str, value: Any) -> str:
    """A figure's value as it is shown."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if name in SHARES:
        return f"{100 * value:.1f} %"
    if name.startswith("seconds"):
        return duration(value)
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4g}"
