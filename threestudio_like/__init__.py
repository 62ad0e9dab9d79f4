"""Text, image or mesh to a 3D asset, by optimisation against pretrained priors.

Example:
    >>> import threestudio_like
    >>> asset = threestudio_like.generate("a red chair")      # doctest: +SKIP
    >>> asset.save("chair.glb")                               # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine.places import user_path

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .meshes.mesh import Asset

__all__ = ["Asset", "compose", "generate", "reconstruct", "refine", "texture"]


def generate(prompt: str, *, quiet: bool = True, **options: Any) -> Asset:
    """Make an asset of a prompt; the run's folder is in ``asset.provenance["folder"]``.

    Args:
        prompt: what to make.
        quiet: show no progress.
        options: any field of `systems.run.Options` (out, seed, steps, prior, system, preset,
            minutes, set, …).

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> asset = generate("a red chair", set={"distil.guidance.scale": "7"})  # doctest: +SKIP
    """
    from .runs import session as run

    result = run.generate(prompt, _options(run.Options, quiet, options))
    result.asset.provenance["folder"] = str(result.folder)
    return result.asset


def texture(mesh: str | Path, prompt: str, *, quiet: bool = True, **options: Any) -> Asset:
    """Paint a mesh by a prompt; its geometry, texture coordinates, parts and names stay. Options:
    fields of `systems.options.TextureOptions`.

    Example:
        >>> asset = texture("chair.glb", "a striped blue chair")      # doctest: +SKIP
    """
    from .commands import texture as texturing
    from .runs.options import TextureOptions

    result = texturing.texture(user_path(mesh), prompt, _options(TextureOptions, quiet, options))
    result.asset.provenance["folder"] = str(result.folder)
    return result.asset


def reconstruct(picture: str | Path, *, quiet: bool = True, **options: Any) -> Asset:
    """Make an asset of a picture of one object. Options: fields of
    `systems.reconstruction.ReconstructOptions` (prompt, seed, set, …).

    Example:
        >>> asset = reconstruct("photo.png", prompt="a red chair")      # doctest: +SKIP
    """
    from .commands import reconstruct as reconstruction

    result = reconstruction.reconstruct(
        user_path(picture), _options(reconstruction.ReconstructOptions, quiet, options)
    )
    result.asset.provenance["folder"] = str(result.folder)
    return result.asset


def compose(
    picture: str | Path | None, prompt: str = "", *, quiet: bool = True, **options: Any
) -> Asset:
    """Make a scene of a picture of several objects, or (picture None) of a prompt alone;
    `Asset.nodes` says where each stands.

    Options: fields of `systems.composition.ComposeOptions` (boxes, masks, objects, method,
        elevation, fov, steps, seed, set, …).

    Example:
        >>> scene = compose("scene.png", "a red ball on a blue box")      # doctest: +SKIP
        >>> scene.nodes["red_ball"].transform.translation                 # doctest: +SKIP
    """
    from .commands import compose as composing

    options["objects"] = tuple(Path(p) for p in options.get("objects", ()))
    if options.get("masks") is not None:
        options["masks"] = Path(options["masks"])
    chosen = _options(composing.ComposeOptions, quiet, options)
    if picture is None:
        result = composing.compose_text(prompt, chosen)
    else:
        result = composing.compose(user_path(picture), prompt, chosen)
    result.asset.provenance["folder"] = str(result.folder)
    return result.asset


def refine(source: str | Path, *, quiet: bool = True, **options: Any) -> Asset:
    """Refine a finished run in RGB (the second stage of Latent-NeRF); options as for `generate`."""
    from .runs import session as run

    result = run.refine(user_path(source), _options(run.Options, quiet, options))
    result.asset.provenance["folder"] = str(result.folder)
    return result.asset


def _options(kind: Any, quiet: bool, options: dict[str, Any]) -> Any:
    from dataclasses import fields

    from .engine.errors import ConfigError, did_you_mean
    from .engine.places import expand_paths

    known = [f.name for f in fields(kind)]
    for name in options:
        if name not in known:
            raise ConfigError(f'there is no option "{name}"', "options", did_you_mean(name, known))
    for name in ("out", "concept", "embeddings", "save_embeddings", "config", "lock", "sketch"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    expand_paths(options)
    return kind(**{"verbosity": "quiet" if quiet else "line", **options})


def __getattr__(name: str) -> Any:
    if name == "Asset":
        from .meshes.mesh import Asset

        return Asset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
