"""The hub of models: what of a repository is downloaded, its cache, and what is said where a model
is missing, gated or out of reach."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..engine.errors import ModelError
from ..engine.places import cache_folder, user_path
from ..engine.turns import alone, resting

T = TypeVar("T")
LEFT_OUT = (
    *("safety_checker", "onnx", "openvino", "flax"),
    *("vae_1_0", "vae_encoder", "vae_decoder", "unet_onnx", "watermarker"),
)
"""Folders of a repository that no prediction needs."""
NO_ROOM = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS")
    if hasattr(errno, name)
)
"""Errors of a disk, not of the network. Windows knows no quota."""
SMALL = (".json", ".txt", ".model", ".jinja")
"""Suffixes of configurations and tokenizers."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_WEIGHTS = re.compile(
    r"(?P<stem>[\w-]+?)(?P<variant>\.[\w-]+?)?(?P<shard>-\d{5}-of-\d{5})?\.safetensors"
)


def models_folder() -> Path:
    """Where users put models under logical names: $THREESTUDIO_LIKE_MODELS, or "models" in the
    cache (~/.cache/threestudio-like)."""
    chosen = os.environ.get("THREESTUDIO_LIKE_MODELS")
    return user_path(chosen) if chosen else cache_folder() / "models"


def pickle_advice(path: Path) -> str:
    """The command that turns a file of pickled tensors into safetensors, without running what it
    holds."""
    target = path.with_suffix(".safetensors").name
    code = (
        "import torch, safetensors.torch as s; "
        f"d = torch.load('{path.name}', weights_only=True, map_location='cpu'); "
        f"s.save_file({{k: v.contiguous() for k, v in d.get('state_dict', d).items()}}, '{target}')"
    )
    return f'Convert it in its folder: python -c "{code}"'


def wanted_files(names: Iterable[str]) -> list[str]:
    """The files of a repository that a model needs: configurations, tokenizers, and of every part
    one set of safetensors: the plain ones, or a variant where there are no others.

    Left out are checkpoints in a single file beside the parts, weights without their moving
    average, pickles, safety checkers and other libraries' files.
    """
    every = sorted(names)
    whole = "model_index.json" in every
    chosen: list[str] = []
    weights: dict[str, dict[str, list[str]]] = {}
    for name in every:
        folder, _, file = name.rpartition("/")
        if any(part in LEFT_OUT for part in folder.split("/")) or folder.count("/") > 0:
            continue
        found = _WEIGHTS.fullmatch(file)
        if found is None and file.endswith(SMALL):
            if ".safetensors.index" not in file and not file.endswith(".bin.index.json"):
                chosen.append(name)
        elif found is not None and not (whole and not folder):
            weights.setdefault(folder, {}).setdefault(found["variant"] or "", []).append(name)
    for folder, variants in weights.items():
        usable = {v: files for v, files in variants.items() if "non_ema" not in v}
        if not usable:
            continue
        variant = "" if "" in usable else min(usable)
        files = usable[variant]
        single = [f for f in files if not _SHARD.search(f)]
        chosen += single or files
        if not single:
            chosen += [
                n
                for n in every
                if n.startswith(f"{folder}/" if folder else "")
                and n.endswith(".json")
                and ".safetensors.index" in n
                and (f".index{variant}.json" in n if variant else n.endswith(".index.json"))
            ]
    return sorted(set(chosen))


def snapshot_in(folder: Path) -> Path:
    """The snapshot inside a folder of the hub's cache (models--owner--name); other folders as they
    are. Raises ModelError where there are several and none is the main one."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / main.read_text().strip()).is_dir():
        return snapshots / main.read_text().strip()
    there = sorted(p for p in snapshots.iterdir() if p.is_dir())
    if len(there) == 1:
        return there[0]
    raise ModelError(
        f"is a cache with {len(there)} snapshots, and none is the main one",
        str(folder),
        "Give one of the folders in it",
    )


def cached(mirror: str) -> Path | None:
    """The folder of a model in the hub's cache; None where it is not there. Nothing is asked of the
    network."""
    folder = _snapshot(mirror)
    whole = folder is not None and any(folder.rglob("*.safetensors"))
    return folder if whole else None


def download(name: str, mirrors: tuple[str, ...], option: str) -> Path:
    """The folder of a model from the hub: every mirror is looked for in the cache, then asked for
    in order.

    Args:
        name: as the user gave it. option: of the command line, for error messages.

    Raises:
        ModelError: it is not on the hub, is gated, or the hub cannot be reached.
    """
    with alone():
        from huggingface_hub import HfApi, snapshot_download

    for mirror in mirrors:
        there = cached(mirror)
        if there is not None:
            return there

    def get(mirror: str) -> Path:
        with resting():
            files = wanted_files(HfApi().list_repo_files(mirror))
            return Path(snapshot_download(mirror, allow_patterns=files))

    return _asked(name, mirrors, option, get, instead=f", or use {option} toybox")


def repository_folder(
    name: str, option: str, choose: Callable[[Sequence[str]], list[str]], what: str
) -> tuple[Path, list[str]]:
    """A repository's folder on this machine with some of its files, and their names in it: from
    the models folder or the hub's cache without a question where they are there, else from the hub.

    Args:
        name: "owner/name". option: of the command line, for error messages.
        choose: the wanted ones of the names of files; none where what is wanted is not among them.
        what: that is, in words.

    Raises:
        ModelError: there is no such repository, or file in it; it is gated; or the hub cannot be
            reached.
    """
    with alone():
        from huggingface_hub import HfApi, snapshot_download

    for folder in repositories_here(name):
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        files = choose(sorted(names))
        if files:
            return folder, files

    def get(mirror: str) -> tuple[Path, list[str]]:
        with resting():
            names = HfApi().list_repo_files(mirror)
        files = choose(names)
        if not files:
            there = ", ".join([n for n in names if n.endswith(".safetensors")][:6])
            raise ModelError(
                f'"{mirror}" has no {what}', option, f"It has: {there or 'no safetensors'}"
            )
        with resting():
            return Path(snapshot_download(mirror, allow_patterns=files)), files

    return _asked(name, (name,), option, get)


def repositories_here(name: str) -> list[Path]:
    """The folders of a repository on this machine: below the models folder, in the hub's cache."""
    folders = (models_folder() / name.replace("/", "--"), _snapshot(name))
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def _snapshot(name: str) -> Path | None:
    """What of a repository is in the hub's cache; None for nothing."""
    with alone():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError):
        return None


def _asked(
    name: str, mirrors: tuple[str, ...], option: str, get: Callable[[str], T], instead: str = ""
) -> T:
    """What the first mirror gives that has it. Raises ModelError, see `download`.

    Args:
        instead: what else the user can do, behind other remedies.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # What its errors derive from is the client's, whichever that is in a version: of the network.
    clients: Any = (*HfHubHTTPError.__bases__, OSError)
    missing, gated, away = [], [], []
    for mirror in mirrors:
        try:
            return get(mirror)
        except GatedRepoError:
            gated.append(mirror)
        except RepositoryNotFoundError:
            missing.append(mirror)
        except (LocalEntryNotFoundError, HfHubHTTPError) as error:
            away.append((mirror, type(error).__name__))
        except clients as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise ModelError(
                    f"could not be kept: {error.strerror}",
                    f"{option} {name}",
                    "Make room, or let HF_HOME name a folder on another disk",
                ) from None
            away.append((mirror, type(error).__name__))
            # Nor is the next mirror to be reached, and each is tried for half a minute.
            break
    where = f"{option} {name}"
    if gated:
        raise ModelError(
            f'the model "{gated[0]}" is gated: its owner requires that you accept its terms first',
            where,
            "Accept them on the model's page, then log in with: hf auth login",
        )
    if away:
        mirror, reason = away[0]
        raise ModelError(
            f'no network: "{mirror}" is not on this machine and the hub cannot be reached '
            f"({reason})",
            where,
            "Connect once, or put the model's folder at "
            f"{models_folder() / name.replace('/', '--')}{instead}",
        )
    raise ModelError(
        f"the model is not on the hub; tried: {', '.join(missing)}",
        where,
        f"Give another hub id or a folder{instead}",
    )
