"""Make and paint assets: `generate`, `texture`, `reconstruct`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engine.errors import InputError
from ...runs.delivery import RunResult
from ...runs.options import AssetOptions, KnownOptions, MicrobatchOptions, RunOptions
from ..generate import Generate
from ..reconstruct import Reconstruct
from ..texture import Texture
from .options import PathLike, PriorLike, as_path, build_options, run_command


def generate(
    prompt: str,
    *,
    system: str | Any = "latent-nerf",
    prior: PriorLike = "toybox",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    negative: str = "",
    guidance: str = "",
    sketch: PathLike | None = None,
    strictness: float | None = None,
    refine_mesh: bool = False,
    quality: str = "standard",
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Make an asset of a prompt.

    Args:
        prompt: what to make.
        system: a method's name, or its configuration (`LatentNerf(...)`).
        prior: a prior's name, folder or hub id, its options, or a prior made in Python.
        seed: same seed, same bytes on a CPU with the same number of threads.
        steps: of distillation in all.
        preset: "auto", "default" or "paper".
        resolution: height and width of the rendering that is distilled, pixels.
        negative: negative prompt.
        guidance: name of a guidance that takes the place of the method's own.
        sketch: a coarse shape to follow: a mesh, or a YAML list of primitives.
        strictness: how closely the sketch is followed, 0 to 1.
        refine_mesh: whether a mesh of the shape is optimised afterwards.
        quality: "draft", "standard" or "high", see the command's help.
        set: values of the configuration by dotted names: ``{"distil.guidance.scale": 7}``.
        asset: texture size, faces.
        views: ranks and microbatches.
        run: folder, device, memory, time limit, ...

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> generate("a red chair", set={"distil.guidance.scale": 7}).folder  # doctest: +SKIP
    """
    options = build_options(
        Generate,
        run,
        asset=asset,
        views=views,
        values={
            "prompt": prompt,
            "guidance": guidance,
            "sketch": sketch,
            "strictness": strictness,
            "refine_mesh": refine_mesh,
            "quality": quality,
        },
        method={
            "steps": steps,
            "preset": preset,
            "resolution": resolution,
            "negative": negative,
        },
        seed=seed,
        set=set,
    )
    return run_command("generate", options, system, prior=prior)


def texture(
    mesh: PathLike,
    prompt: str = "",
    *,
    system: str | Any = "latent-paint",
    prior: PriorLike = "toybox",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    negative: str = "",
    up: str = "y",
    front: str = "z",
    unit: str = "m",
    unwrap: str = "auto",
    parts: Sequence[str] = (),
    lock: PathLike | None = None,
    lock_parts: Sequence[str] = (),
    maps: str = "auto",
    variants: Sequence[str] = (),
    texture_only: bool = False,
    drop_textures: bool = False,
    begin: bool = False,
    method: str = "distil",
    control: Sequence[str] = (),
    quality: str = "standard",
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Paint a mesh by a prompt; its geometry, texture coordinates, parts and names stay.

    Args:
        mesh: a file of any format that is read, such as GLB, glTF, OBJ, PLY or STL.
        up, front, unit: axes and unit of the file.
        unwrap: "auto", "keep" or "always", see the command's help.
        parts: names of parts or materials to paint, all if there are none.
        lock: a mask over the texture coordinates; bright texels keep their colour.
        lock_parts: names of parts or materials that stay as they are.
        maps: "auto", "keep" or "paint" roughness and metallic, see the command's help.
        variants: more prompts, as material variants of the same file.
        texture_only: write the painted pictures alone.
        drop_textures: leave the file's own pictures alone.
        begin: begin with the present texture.
        method: "distil", "paint" or "both", see the command's help.
        control: what of the mesh the prior is shown: "depth", "canny=FOLDER@0.5".
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> texture("chair.glb", "a striped blue chair").asset.save("striped.glb")  # doctest: +SKIP
    """
    options = build_options(
        Texture,
        run,
        asset=asset,
        views=views,
        values={
            "mesh": as_path(mesh, "mesh"),
            "prompt": prompt,
            "up": up,
            "front": front,
            "unit": unit,
            "unwrap": unwrap,
            "lock": lock,
            "parts": parts,
            "lock_parts": lock_parts,
            "maps": maps,
            "variants": variants,
            "texture_only": texture_only,
            "drop_textures": drop_textures,
            "begin": begin,
            "by": method,
            "control": control,
            "quality": quality,
        },
        method={
            "steps": steps,
            "preset": preset,
            "resolution": resolution,
            "negative": negative,
        },
        seed=seed,
        set=set,
    )
    return run_command("texture", options, system, prior=prior)


def reconstruct(
    picture: PathLike | Sequence[PathLike],
    *,
    system: str | Any = "auto",
    prior: PriorLike = "toybox",
    prompt: str = "",
    mask: PathLike | None = None,
    box: str = "",
    segmenter: str = "",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    refine_mesh: bool = False,
    set: Mapping[str, Any] | None = None,
    known: KnownOptions | None = None,
    asset: AssetOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Make an asset of a picture of one object, or of several photos of it.

    Args:
        picture: of any format that is read, with alpha or without; several of one object, or their
            folder.
        system: "auto", "cisp", "relief", "g3dr", "field", a plug-in's name, or a configuration.
        prompt: what the picture shows; guessed where empty, if the embedded world surely knows it.
        mask: a picture of the same size, white where the object is.
        box: "x0,y0,x1,y1" about the object, in pixels.
        segmenter: what cuts the object out, by name or folder.
        refine_mesh: whether a mesh of the shape is optimised afterwards.
        known: what you know of the picture: camera, depth, normals, size, azimuths.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> reconstruct("photo.png", prompt="a red chair").fit         # doctest: +SKIP
        'fits'
    """
    several = isinstance(picture, Iterable) and not isinstance(picture, (str, Path))
    pictures: list[Any] = list(picture) if several else [picture]  # type: ignore[arg-type]
    if not pictures:
        raise InputError("names no picture", "picture", "Give the path of a picture")
    first, *further = [as_path(path, "picture") for path in pictures]
    options = build_options(
        Reconstruct,
        run,
        asset=asset,
        known=known,
        values={
            "picture": first,
            "further": tuple(further),
            "prompt": prompt,
            "mask": mask,
            "box": box,
            "segmenter": segmenter,
            "refine_mesh": refine_mesh,
        },
        method={"steps": steps, "preset": preset, "resolution": resolution},
        seed=seed,
        set=set,
    )
    return run_command("reconstruct", options, system, prior=prior)
