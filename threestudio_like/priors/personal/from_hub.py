"""Parts of a user's own that are named as the hub names them: "owner/name", with the file in it or
without. What the cache holds is taken without a question to the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ModelError
from ..hub import repositories_here, repository_folder, wanted_files

LORA, ADAPTER = "--lora", "--ip-adapter"
LORA_NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""Files of a LoRA's folder in which diffusers and peft save it."""
LORA_SETTINGS = "adapter_config.json"
ENCODER = "image_encoder"
SAFE = ".safetensors"
OTHERS = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class HubPart:
    """A repository, and the file in it; empty where it is left to the repository."""

    repository: str
    file: str = ""

    @staticmethod
    def of(path: Path) -> HubPart | None:
        """What a path means on the hub; None for a path of this machine: one that is there, begins
        at a root or with a dot, or misses in a folder that is there.

        Raises:
            ModelError: a pickle is named.
        """
        words = path.parts
        if path.exists() or path.is_absolute() or len(words) < 2:
            return None
        if words[0] in (".", "..", "~") or path.parent.is_dir() or ".." in words:
            return None
        if not all(_NAME.fullmatch(word) for word in words[:2]):
            return None
        file = "/".join(words[2:])
        last = words[-1].lower()
        if not file and last.endswith((SAFE, *OTHERS)):
            return None
        if file and last.endswith(OTHERS):
            raise ModelError(
                "is pickled, which can hold programs; only safetensors are read",
                str(path),
                f"Name a {SAFE} file of it",
            )
        if file and not last.endswith(SAFE):
            return None
        return HubPart("/".join(words[:2]), file)

    def root_of(self, path: Path) -> Path:
        """The folder of the repository on this machine that a file lies in."""
        here = repositories_here(self.repository)
        return next(folder for folder in here if folder in path.parents)

    def revision(self) -> str:
        """The repository, its revision here and the file, as a fact of a run."""
        root = repositories_here(self.repository)[0]
        return f"{self.repository}@{root.name}/{self.file}"


def lora_path(chosen: Path) -> Path:
    """The file or folder of a LoRA on this machine, downloaded where a hub id is named.

    Raises:
        ModelError: it is not on the hub, is gated, or the hub cannot be reached.
    """
    part = HubPart.of(chosen)
    if part is None:
        return chosen

    def choose(names: Sequence[str]) -> list[str]:
        file = part.file or _lora_of(names)
        if file not in names:
            return []
        beside = f"{file.rpartition('/')[0]}/{LORA_SETTINGS}".lstrip("/")
        return [file, *([beside] if beside in names else [])]

    what = part.file or f"{SAFE} file that could be meant"
    root, files = repository_folder(part.repository, LORA, choose, what)
    return root / files[0]


def _lora_of(names: Sequence[str]) -> str:
    """The LoRA of a repository: under its usual names, or the only one at its top."""
    usual = [name for name in LORA_NAMES if name in names]
    there = [n for n in names if "/" not in n and n.endswith(SAFE)]
    return (usual or (there if len(there) == 1 else [""]))[0]


def adapter_path(part: HubPart, published: str) -> Path:
    """The file of an IP-Adapter, with the configurations of the encoders of pictures beside it.

    Args:
        published: the file in a repository of the publication's layout for the model at hand.

    Raises:
        ModelError: as of `lora_path`.
    """

    def choose(names: Sequence[str]) -> list[str]:
        there = [n for n in names if "/" not in n and n.endswith(SAFE)]
        usual = published if published in names else there[0] if len(there) == 1 else ""
        file = part.file or usual
        configs = [n for n in names if n.endswith(f"{ENCODER}/config.json")]
        return [file, *configs] if file in names else []

    what = part.file or f"{SAFE} file that could be meant"
    root, files = repository_folder(part.repository, ADAPTER, choose, what)
    return root / files[0]


def complete_encoder(chosen: Path | None, adapter: Path, place: Path) -> None:
    """Bring the weights of the encoder of pictures that an adapter of the hub wants.

    Args:
        chosen: as the user named the adapter; nothing is done for a file of this machine.
        adapter: its file. place: the folder that holds the encoder.

    Raises:
        ModelError: as of `lora_path`.
    """
    part = HubPart.of(chosen) if chosen is not None else None
    if part is None:
        return
    inside = place.relative_to(part.root_of(adapter)).as_posix()
    before = "" if inside == "." else f"{inside}/"

    def choose(names: Sequence[str]) -> list[str]:
        own = [n.removeprefix(before) for n in names if n.startswith(f"{before}{ENCODER}/")]
        files = [f"{before}{n}" for n in wanted_files(own)]
        return files if any(f.endswith(SAFE) for f in files) else []

    repository_folder(part.repository, ADAPTER, choose, f"weights in {before}{ENCODER}")
