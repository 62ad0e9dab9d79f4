"""Bundles of prompt embeddings beside the model that is to read them."""

from __future__ import annotations

from pathlib import Path

from ...engine.errors import ModelError
from ..model_folder import DiffusersConfig
from ..text.embeddings import EmbeddingStore
from .base import DiffusersPrior

WIDTHS = (
    "encoder_hid_dim",
    "joint_attention_dim",
    "cap_feat_dim",
    "caption_channels",
    "text_hidden_dim",
    "cross_attention_dim",
)
"""Where a denoiser's configuration says how wide a text's states are: the first that it has."""
OF_TEXTS = ("clip_skip", "text_length", "text_layers", "zero_empty")
"""Options of loading by which prompts are read."""


def text_width(prior: DiffusersPrior) -> int | None:
    """Numbers of a packed token, as the denoiser wants it; None where it does not say."""
    config = prior.denoiser.config
    for name in WIDTHS:
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width + prior.layout.masked
    return None


def check_bundle(prior: DiffusersPrior, store: EmbeddingStore | None) -> DiffusersPrior:
    """The prior, where the embeddings that it was given can be its own. Another model's may have
    the same shape: that is noted in the facts.

    Raises:
        ModelError: they do not fit the denoiser, or it reads no prompt.
    """
    if store is None or not store.bundle or not len(store):
        return prior
    if not prior.facts.reads_text:
        raise ModelError("reads no prompt", prior.facts.name, "Leave --embeddings out")
    wanted = text_width(prior)
    by = f' of "{store.model}"' if store.model else ""
    if wanted is not None and store.width != wanted:
        held = f"{store.width} numbers a token" if store.width else "tokens of several widths"
        raise ModelError(
            f"the embeddings{by} have {held}, and {prior.facts.name} reads {wanted}",
            "--embeddings",
            "Write the bundle again with this model: --save-embeddings",
        )
    # Folders are often given by different paths to the same model.
    if store.model and Path(store.model).name != Path(prior.facts.name).name:
        note = (
            f'The embeddings were made with "{store.model}", not with "{prior.facts.name}": right '
            "only if both have the same text encoder"
        )
        prior.facts.notes = (*prior.facts.notes, note)
    plain = DiffusersConfig()
    given = [n for n in OF_TEXTS if getattr(prior.config, n) != getattr(plain, n)]
    said = [f"--load.{name} changes no prompt that --embeddings has" for name in given]
    prior.facts.notes = (*prior.facts.notes, *said)
    return prior
