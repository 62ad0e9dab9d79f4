"""An autoencoder instead of a model's own: a folder as diffusers saves one, or one file; also a
tiny one (TAESD), which is faster and smaller."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from ...engine.errors import ModelError
from ...engine.output import new_folder, write_file
from ...engine.places import cache_folder
from ...engine.turns import alone
from ..families.autoencoder import KINDS, latents_of_kind
from ..families.parts import PICKLES, check_class, shapes_in, weight_files
from ..families.records import AutoencoderRecord
from ..hub import pickle_advice
from ..model_files import read_json
from ..model_folder import read_config

WHOLE = "converted.json"


def chosen_autoencoder(
    chosen: Path | None, model: Path, own: AutoencoderRecord, swaps: bool
) -> tuple[Path, AutoencoderRecord]:
    """The folder and the facts of the autoencoder that a model works with.

    Args:
        chosen: by the user; None for the model's own.
        own: the facts of the model's own.
        swaps: whether the model can work with another one.

    Raises:
        ModelError: it cannot, or the autoencoder does not fit it.
    """
    if chosen is None:
        return model / "vae", own
    if not swaps:
        raise ModelError("takes no other autoencoder", str(model), "Leave --vae out")
    folder = autoencoder_folder(chosen, model)
    return folder, check_fits(folder, own)


def autoencoder_folder(chosen: Path, model: Path) -> Path:
    """The folder of an autoencoder that a user names: the folder itself, the "vae" of a model's
    folder, that of a file which its config.json is read with, or what a single file was turned
    into: by the config.json of an autoencoder beside it, or else by that of the model.

    Args:
        chosen: what the user named. model: the folder of the model that it is for.

    Raises:
        ModelError: it is missing, a pickle, or no autoencoder.
    """
    where = str(chosen)
    if chosen.suffix.lower() in PICKLES and chosen.is_file():
        raise ModelError(
            "is pickled, which can hold programs; only safetensors are read",
            where,
            pickle_advice(chosen),
        )
    if chosen.is_file():
        return _named_file(chosen.absolute(), model)
    for folder in (chosen, chosen / "vae"):
        if (folder / "config.json").is_file():
            return folder
    what = "has no config.json" if chosen.is_dir() else "there is no such file or folder"
    raise ModelError(what, where, "Give the folder or the .safetensors file of an autoencoder")


def _named_file(path: Path, model: Path) -> Path:
    beside, kind = path.parent, ""
    if (beside / "config.json").is_file():
        kind = str(read_json(beside / "config.json").get("_class_name", ""))
    if kind not in KINDS:
        return _of_file(path, model / "vae")
    try:
        own = weight_files(beside)
    except ModelError:
        own = []
    if path in own:
        return beside
    if kind != "AutoencoderKL":
        raise ModelError(
            f"is no file that the config.json beside it is read with ({kind})",
            str(path),
            "Put it into a folder of its own, with config.json, as diffusion_pytorch_model"
            ".safetensors",
        )
    return _of_file(path, beside)


@alone()
def _of_file(path: Path, config: Path) -> Path:
    """The folder that a single file is turned into, by the config.json in a folder."""
    keys = shapes_in([path])
    if not any(k.startswith(("encoder.", "first_stage_model.encoder.")) for k in keys):
        first = min(keys, default="nothing")
        raise ModelError(
            f'is no autoencoder (its first tensor: "{first}")', str(path), "Give one for --vae"
        )
    state = path.stat()
    said = f"{path} {state.st_size} {state.st_mtime_ns} {config.resolve()}"
    name = f"vae-{path.stem[:60]}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    target = cache_folder() / "converted" / name
    if (target / WHOLE).is_file():
        return target
    from diffusers import AutoencoderKL
    from diffusers.utils import logging

    logging.set_verbosity_error()
    try:
        made: Any = AutoencoderKL.from_single_file(
            str(path),
            config=str(config.resolve()),
            local_files_only=True,
            torch_dtype=torch.float32,
        )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ModelError(
            f"cannot be read as an autoencoder of this model ({first})",
            str(path),
            "Give a folder with its config.json",
        ) from None
    with new_folder(target, force=True) as folder:
        made.save_pretrained(folder)
    write_file(target / WHOLE, b"{}", force=True)
    return target


def check_fits(folder: Path, own: AutoencoderRecord) -> AutoencoderRecord:
    """The facts of an autoencoder that stands for a model's own.

    Raises:
        ModelError: its latents are others than the denoiser works on.
    """
    check_class(folder.parent, folder.name, KINDS)
    new = read_config(folder.parent, folder.name, AutoencoderRecord)
    sizes = [
        ("channels", own.z_dim or own.latent_channels, new.z_dim or new.latent_channels),
        ("pixels along a latent", own.downscale, new.downscale),
    ]
    for what, wanted, got in sizes:
        if wanted != got:
            raise ModelError(
                f"has {got} {what}, and this model's own autoencoder has {wanted}",
                f"--vae {folder}",
                "Give one of the model's family",
            )
    if latents_of_kind(own._class_name) is not latents_of_kind(new._class_name):
        raise ModelError(
            f"is a {new._class_name}, whose latents are laid out otherwise than those of a "
            f"{own._class_name}",
            f"--vae {folder}",
            "Give one of the model's family",
        )
    return new
