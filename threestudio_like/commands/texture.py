"""`texture`: a mesh and a prompt to the same mesh, painted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..runs.options import (
    AssetOptions,
    MethodOptions,
    MicrobatchOptions,
    PriorOptions,
    RunOptions,
)

EXAMPLES = (
    'threestudio-like texture chair.glb "a striped blue chair"',
    'threestudio-like texture car.obj "a red car" --up z --front -y --lock-parts wheels',
)


@dataclass(frozen=True, kw_only=True)
class Texture:
    """Paint a mesh by a prompt: your positions, texture coordinates, parts and names stay."""

    mesh: tyro.conf.Positional[Path] = Path("mesh.glb")
    """A mesh file of any format that is read: GLB, glTF, OBJ, PLY, STL, OFF, 3MF, DAE, USD."""
    prompt: tyro.conf.Positional[str] = ""
    """What it should look like: "a striped blue chair"."""
    by: Annotated[Literal["distil", "paint", "both"], tyro.conf.arg(name="method")] = "distil"
    """distil: score distillation. paint: pictures of all sides, denoised together on one texture;
    best with --control. both: paint, then distil."""
    system: str = "latent-paint"
    """latent-paint, or a plug-in's."""
    up: str = "y"
    """Axis of the file that points up: x, y, z, -x, -y, -z."""
    front: str = "z"
    """Axis of the file that points to the front (Blender's OBJ with Z up: --up z --front -y)."""
    unit: str = "m"
    """Length of the file's unit: m, dm, cm, mm, in, ft, km."""
    unwrap: Literal["auto", "keep", "always"] = "auto"
    """auto: keep texture coordinates that are a proper atlas, make new ones elsewhere; keep: keep
    any; always: make all anew."""
    parts: tuple[str, ...] = ()
    """Names of parts or materials to paint; the rest stays as it is (default: all)."""
    lock: Path | None = None
    """Black and white picture over the texture coordinates: bright texels keep their colour."""
    pick: bool = False
    """Paint on the mesh in the browser what keeps its colour, then go on."""
    lock_parts: tuple[str, ...] = ()
    """Names of parts or materials that stay as they are."""
    maps: Literal["auto", "keep", "paint"] = "auto"
    """Roughness and metallic: auto keeps those of the file and paints them where it has none."""
    variants: tuple[str, ...] = ()
    """More prompts on the same texture coordinates: one file with a material variant for each."""
    texture_only: bool = False
    """Write the painted pictures alone (textures/), no mesh."""
    drop_textures: bool = False
    """Leave the file's own pictures alone, also missing ones."""
    control: tuple[str, ...] = ()
    """What of the mesh the prior is shown (ControlNet, T2I-Adapter): depth, normal, canny, inpaint;
    with a folder or hub id and a weight: depth=FOLDER@0.8. Alone, the one that is published for the
    prior."""
    begin: bool = False
    """Begin with the mesh's present texture instead of from nothing."""
    quality: Literal["draft", "standard", "high"] = "standard"
    """draft: fewer steps, a small texture. high: the prior's second stage, for larger pictures,
    where it has one (else more steps), and a finer surface and texture."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    model: tyro.conf.OmitArgPrefixes[PriorOptions] = field(default_factory=PriorOptions)
    asset: tyro.conf.OmitArgPrefixes[AssetOptions] = field(default_factory=AssetOptions)
    views: tyro.conf.OmitArgPrefixes[MicrobatchOptions] = field(default_factory=MicrobatchOptions)
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration by their dotted names."""


def call(options: Texture, **objects: Any) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.texture import texture

    return texture(options, **objects)
