"""Networks of transformers beside the families: read whole from their folders, or not at
all, and how they want pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..engine.errors import ModelError
from ..engine.turns import alone
from .model_files import read_json

AGAIN = "Download it again"
OTHER = "It is another model than its config.json says, or was not downloaded whole"
UNREAD = re.compile(r"(?:.*\.)?neck\.fusion_stage\.layers\.0\.residual_layer1\..*")
"""Tensors that published folders lack and no answer depends on: the first fusion of a DPT has
nothing to add."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of pictures, of most networks that do not say theirs."""

LARGEST = 4096
"""Pixels of the largest picture that is made for a network."""


@alone()
def read_network(reader: Any, folder: Path, what: str, remedy: str = AGAIN) -> Any:
    """A network of transformers from a folder, in float32, frozen. Nothing is asked of the network.

    The library makes up the tensors that a file lacks, and goes on; here they are an error.

    Args:
        reader: the class that reads it, of transformers.
        what: it is, in words: "the depth model".

    Raises:
        ModelError: it is missing, damaged, not whole, or another than its configuration says.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        network, told = reader.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            # They are told as what is lost is, and not by a report that is not shown.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        # What a damaged folder raises there is of any class.
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(f"{what} cannot be loaded ({first})", str(folder), remedy) from None
    lost = sorted(key for key in map(str, told["missing_keys"]) if not UNREAD.fullmatch(key))
    if lost:
        raise ModelError(
            f"{what} lacks {len(lost)} of the tensors that its configuration asks for (the first: "
            f"{lost[0]})",
            str(folder),
            OTHER,
        )
    for key, there, wanted in sorted(told["mismatched_keys"]):
        raise ModelError(
            f'"{key}" of {what} is {list(there)}, and its configuration asks for {list(wanted)}',
            str(folder),
            OTHER,
        )
    return network.eval().requires_grad_(False)


def picture_facts(folder: Path) -> dict[str, Any]:
    """How a network wants pictures, as its folder says: from processor_config.json, where the
    library saves it since its fifth version, or from preprocessor_config.json; empty where neither
    says. Raises ModelError on a damaged file."""
    path = folder / "processor_config.json"
    nested = read_json(path).get("image_processor") if path.is_file() else None
    if isinstance(nested, dict):
        return nested
    path = folder / "preprocessor_config.json"
    return read_json(path) if path.is_file() else {}


def picture_edge(folder: Path) -> int:
    """The edge in pixels of the pictures that a network wants. Raises ModelError where its folder
    does not say."""
    size = picture_facts(folder).get("size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise ModelError(
            f'does not say how large it wants pictures ("size" is {str(size)[:40]})',
            str(folder),
            "Download it again, with its preprocessor_config.json",
        )
    return size


def picture_range(
    folder: Path, mean: Sequence[float] = IMAGENET[0], deviation: Sequence[float] = IMAGENET[1]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is taken from colours (3,) in [0, 1], and what they are then divided by (3,).

    Args:
        mean, deviation: where the folder does not say.

    Raises:
        ModelError: the folder says what are not three numbers.
    """
    facts = picture_facts(folder)
    if facts.get("do_normalize") is False:
        return torch.zeros(3), torch.ones(3)
    found = []
    for name, usual in (("image_mean", mean), ("image_std", deviation)):
        values: Any = facts.get(name)
        values = list(usual) if values is None else values
        if isinstance(values, int | float) and not isinstance(values, bool):
            values = [values] * 3
        known = isinstance(values, list) and len(values) == 3 and all(map(_number, values))
        if not known or (name == "image_std" and any(v <= 0 for v in values)):
            raise ModelError(f'its "{name}" is {str(values)[:60]}', str(folder), AGAIN)
        found.append(torch.tensor(values, dtype=torch.float32))
    return found[0], found[1]


def _number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)
