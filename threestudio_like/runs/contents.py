"""What a run's options name, and what was made for it in Python, by what is in it: a run goes on
with the files and the prior that it was begun with, and not with others of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import ConfigError, InputError
from ..engine.places import user_path
from .options import flag, flat
from .repeat import made_object

if TYPE_CHECKING:
    from ..priors.diffusion import DiffusionPrior

NAMED = ("sketch", "lock", "masks", "objects", "embeddings")
"""Options whose files decide the result and are no facts of their own ("mesh content", ...)."""
PRIOR_OBJECT = "prior object"
"""The fact of a run about a prior that was made in Python."""
SAMPLES = 64
"""Values of each tensor of a prior that are read."""


def contents_of(options: Any, config: Any = None) -> dict[str, Any]:
    """The digests of a command's files as a fact of its run, by their options; empty where there
    are none. A sketch may be named by the method's configuration alone. Raises InputError."""
    known = flat(options)
    if not known.get("sketch"):
        known["sketch"] = getattr(getattr(config, "sketch", None), "path", "")
    found: dict[str, Any] = {}
    for name in NAMED:
        value = known.get(name)
        given = [value] if isinstance(value, (str, Path)) and str(value) else value
        if given:
            found[name] = [_digest(user_path(path), flag(name)) for path in given]
    return {"contents": found} if found else {}


def _digest(path: Path, where: str) -> str:
    """16 digits of the SHA-256 of a file, or of the files in a folder with their names."""
    digest = hashlib.sha256()
    folder = path.is_dir()
    # Files that begin with a dot are an operating system's own notes.
    inside = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    files = sorted(inside) if folder else [path]
    try:
        for file in files:
            if folder:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", f"{where} {path}", "Put it back as it was"
        ) from None
    return digest.hexdigest()[:16]


def object_facts() -> dict[str, Any]:
    """The digest of the prior that was made in Python as a fact of its run; empty where there is
    none."""
    prior = made_object("prior")
    return {} if prior is None else {PRIOR_OBJECT: digest_of_prior(prior)}


def doubts(unsaid: Collection[str]) -> list[str]:
    """What the user is told of facts of a run that goes on which nothing can be compared with."""
    if PRIOR_OBJECT not in unsaid:
        return []
    return [
        "Warning: the run does not say that it was begun with a prior made in Python: it goes on "
        "with the one that is given."
    ]


def check_named(facts: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raise ConfigError where the prior of a finished run was made in Python, so that its facts do
    not name it."""
    if PRIOR_OBJECT in facts:
        raise ConfigError("was made with a prior of your own in Python", where, remedy)


def digest_of_prior(prior: DiffusionPrior) -> str:
    """16 digits that tell a prior from others: its class, its facts, its schedule, the numbers and
    tensors that are its public attributes, and of its networks the names and shapes of all tensors
    with a few of their values, as bfloat16 has them, which every number type comes to."""
    import torch

    facts = replace(prior.facts, name="", notes=())
    digest = hashlib.sha256(f"{type(prior).__qualname__} {facts}".encode())
    for name, value in _tensors(prior):
        flat_values = value.detach().reshape(-1)
        step = max(1, flat_values.numel() // SAMPLES)
        few = flat_values[::step][:SAMPLES].cpu().float()
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(few.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tensors(prior: DiffusionPrior) -> Iterator[tuple[str, Any]]:
    import numpy as np
    import torch

    yield "schedule", prior.schedule.alphas_cumprod
    for name, value in sorted(vars(prior).items()):
        if isinstance(value, torch.nn.Module):
            # A compiled network has a name before those of its tensors.
            for inner, tensor in value.state_dict().items():
                yield f"{name}.{inner.replace('_orig_mod.', '')}", tensor
        elif not name.startswith("_") and isinstance(value, (float, np.ndarray, torch.Tensor)):
            yield name, torch.as_tensor(value)
