"""What the text-to-image model learns from: groups of pictures of a world, and their latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engine.errors import CheckpointError, ModelError
from ...engine.output import write_file
from ...engine.training import agrees
from ..options import TrainingOptions

SEEDS = {"train": 0, "validation": 1, "judge": 77, "judge test": 78, "clip": 88, "patterns": 79}
"""World seeds: the judge and CLIP never see the diffusion model's objects."""


def drawn_groups(
    options: TrainingOptions,
    seed: str,
    count: int,
    scenes: float = 0.0,
    split: str = "train",
    every_pair: bool = False,
    patterned: bool = False,
    size: int = 64,
    normals: bool = False,
) -> Any:
    """Groups of a world, `SEEDS`, stored in the training's folder."""
    from ...toybox.dataset import cached_groups

    return cached_groups(
        options.drawn,
        SEEDS[seed] + 1000 * options.seed,
        count,
        size=size,
        split=split,
        scenes=scenes,
        every_pair=every_pair,
        patterned=patterned,
        workers=options.workers,
        world=options.world,
        normals=normals,
    )


SCENES = 0.12
"""Share of scenes of two or three objects."""
LARGER = 1500
"""Objects of the shipped recipe's 16,000 that are drawn at 128 pixels, too."""


def training_groups(options: TrainingOptions) -> Any:
    """What the text-to-image model learns from."""
    return drawn_groups(
        options,
        "train",
        options.group_count,
        scenes=SCENES,
        normals="normals" in options.also,
    )


def larger_groups(options: TrainingOptions) -> Any:
    """Groups of 128 pixels, where the autoencoder learns them; else None."""
    if "128px" not in options.also:
        return None
    count = max(1, LARGER * options.group_count // 16000)
    normals = "normals" in options.also
    return drawn_groups(options, "train", count, scenes=SCENES, size=128, normals=normals)


def some_pictures(data: Any) -> Any:
    """Pictures (N, 3, S, S) in [-1, 1] of every domain, by which latents are normalised."""
    import torch

    found = [data.images] if data.normals is None else [data.images, data.normals]
    count = 256 // len(found)
    flat = torch.cat([torch.from_numpy(d[:count].copy()).flatten(0, 1) for d in found])
    return flat.permute(0, 3, 1, 2).float() / 127.5 - 1


def loaded(kind: str, folder: Path) -> Any:
    """A network of diffusers, transformers or a tokenizer. Raises ModelError."""
    import diffusers
    import transformers

    own = getattr(diffusers, kind, None) or getattr(transformers, kind)
    try:
        found = own.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"is no {kind}: {str(error).splitlines()[0]}",
            f"--start {folder}",
            "Give a folder with unet, vae, text_encoder and tokenizer",
        ) from None
    return found.float() if hasattr(found, "float") else found


def known_latents(options: TrainingOptions, data: Any, larger: Any = None) -> dict[str, Any]:
    """Latents of the training pictures by kind, which are computed once. Those of an earlier call
    are tried on some of the pictures: they may be of another world or seed."""
    from safetensors.torch import load_file, save

    from .vae import encode_all

    path = options.out / "work" / "latents.safetensors"
    folder = options.out / "diffusion" / "vae"
    if not folder.is_dir():
        raise CheckpointError(
            "there is no trained autoencoder",
            str(folder),
            "First: threestudio-like train toybox --only vae",
        )
    vae = loaded("AutoencoderKL", folder).eval().to(options.device)
    if path.is_file():
        latents = load_file(str(path))
        if all(_still(latents, name, p, vae) for name, p in _kinds(data, larger).items()):
            return latents
    latents = {
        name: encode_all(vae, pictures[:].reshape(-1, *pictures.shape[2:])).contiguous()
        for name, pictures in _kinds(data, larger).items()
    }
    write_file(path, save(latents), force=True)
    return latents


def _still(latents: dict[str, Any], name: str, pictures: Any, vae: Any) -> bool:
    """Whether latents of a kind are those of these groups of pictures (N, 4, S, S, 3)."""
    from .vae import encode_all

    if name not in latents or len(latents[name]) != 4 * len(pictures):
        return False
    groups = sorted({0, len(pictures) // 2, len(pictures) - 1})
    kept = latents[name].unflatten(0, (-1, 4))[groups].flatten(0, 1)
    return agrees(kept, encode_all(vae, pictures[groups].reshape(-1, *pictures.shape[2:])))


def _kinds(data: Any, larger: Any = None) -> dict[str, Any]:
    """The kinds of pictures by the names of their latents, in the order of `vae.sources`."""
    found = {"latents": data.images, "normals": data.normals}
    if larger is not None:
        found |= {"larger": larger.images, "larger normals": larger.normals}
    return {name: pictures for name, pictures in found.items() if pictures is not None}


def known_sources(options: TrainingOptions, data: Any, larger: Any) -> list[Any]:
    """All kinds of pictures with their latents, which are asked for by name: a file that was read
    has them in another order."""
    from .vae import sources

    latents, names = known_latents(options, data, larger), _kinds(data, larger)
    return [replace(kind, latents=latents[n]) for kind, n in zip(sources(data, larger), names)]
