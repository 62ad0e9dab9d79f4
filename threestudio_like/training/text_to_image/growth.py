"""A network that begins from a smaller one: what both have is carried over, and what is new does
nothing at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...engine.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where a parameter's old rows (outputs) and columns (inputs) lie in the new one; None for the
    first ones."""

    rows: Sequence[int] | None = None
    columns: Sequence[int] | None = None


@torch.no_grad()
def grow(
    network: nn.Module, old: nn.Module, folder: Path, places: Mapping[str, Place] | None = None
) -> None:
    """Carry the parameters of `old` over into `network`, whose parameters have the same names and
    are as large or larger.

    New inputs (columns) are zero, so that the outputs that both have stay what they were; new
    outputs (rows) keep the values with which the network was made.

    Args:
        folder: where `old` is from, for the error.
        places: by the names of parameters.

    Raises:
        ConfigError: a parameter is missing in one of them, or is larger in the old one.
    """
    own, given, places = network.state_dict(), old.state_dict(), places or {}
    for name, value in own.items():
        before = given.get(name)
        if (
            before is None
            or before.dim() != value.dim()
            or any(a > b for a, b in zip(before.shape, value.shape))
            or before.shape[2:] != value.shape[2:]
        ):
            raise ConfigError(
                f'its "{name}" does not fit into the network that is trained',
                f"--start {folder}",
                "Begin from a model with the same widths, or without --start",
            )
        place = places.get(name, Place())
        rows = range(before.shape[0]) if place.rows is None else place.rows
        if value.dim() == 1:
            value[list(rows)] = before
            continue
        columns = range(before.shape[1]) if place.columns is None else place.columns
        value[:, [c for c in range(value.shape[1]) if c not in set(columns)]] = 0
        value[torch.tensor(rows)[:, None], torch.tensor(columns)[None]] = before
    network.load_state_dict(own)


def grow_unet(unet: Any, old: Any, folder: Path) -> None:
    """Begin a denoiser from one with fewer latents or numbers of a camera.

    The inputs of both are latents, then the six channels of ray maps. Raises ConfigError.
    """
    before, now = old.config.in_channels - 6, unet.config.in_channels - 6
    columns = [*range(before), *range(now, now + 6)]
    grow(unet, old, folder, {"conv_in.weight": Place(columns=columns)})


def grow_text_encoder(encoder: Any, tokenizer: Any, old: Any, old_tokenizer: Any) -> None:
    """Begin a text encoder from one with another vocabulary: the pieces that both know keep their
    vectors, all others those with which the encoder was made.

    Raises:
        ConfigError: the widths differ.
    """
    known, pieces = old_tokenizer.get_vocab(), tokenizer.get_vocab()
    name = next(n for n, _ in old.named_parameters() if n.endswith("token_embedding.weight"))
    table = encoder.get_parameter(name).detach().clone()
    both = [piece for piece in pieces if piece in known]
    if table.shape[1] == old.get_parameter(name).shape[1]:
        table[[pieces[p] for p in both]] = old.get_parameter(name).detach()[
            [known[p] for p in both]
        ]
    values = dict(old.state_dict())
    values[name] = table
    for other, value in encoder.state_dict().items():
        # Positions beyond those of the old one keep what the encoder was made with.
        if other in values and value.dim() == 2 and len(value) > len(values[other]):
            values[other] = torch.cat([values[other], value[len(values[other]) :]])
    try:
        encoder.load_state_dict(values)
    except RuntimeError:
        raise ConfigError(
            "its text encoder has other sizes",
            f"--start {Path(old_tokenizer.name_or_path).parent}",
            "Begin without --start",
        ) from None


@torch.no_grad()
def grow_vae(vae: Any, old: Any, folder: Path) -> None:
    """Begin an autoencoder from one with fewer latents. The new latents pass through the 1 x 1
    layers as they are; the decoder does not look at them at first. Raises ConfigError."""
    before, now = old.config.latent_channels, vae.config.latent_channels
    # Means, then logarithms of variances.
    both = [*range(before), *range(now, now + before)]
    new = [n for n in range(2 * now) if n not in both]
    places = {
        "encoder.conv_out.weight": Place(rows=both),
        "encoder.conv_out.bias": Place(rows=both),
        "quant_conv.weight": Place(rows=both, columns=both),
        "quant_conv.bias": Place(rows=both),
    }
    grow(vae, old, folder, places)
    for layer, fresh in ((vae.quant_conv, new), (vae.post_quant_conv, range(before, now))):
        for n in fresh:
            layer.weight[n] = 0
            layer.weight[n, n] = 1
            layer.bias[n] = 0
