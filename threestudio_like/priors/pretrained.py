"""Networks of transformers beside the families: read whole from their folders, or not at
all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..engine.errors import ModelError
from ..engine.turns import alone

AGAIN = "Download it again"
OTHER = "It is another model than its config.json says, or was not downloaded whole"
UNREAD = re.compile(r"(?:.*\.)?neck\.fusion_stage\.layers\.0\.residual_layer1\..*")
"""Tensors that published folders lack and no answer depends on: the first fusion of a DPT has
nothing to add."""


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
