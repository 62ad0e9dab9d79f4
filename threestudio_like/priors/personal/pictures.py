"""Pictures that a model is asked to be like: an IP-Adapter (Ye et al. 2023), read from the layout
that is published, and the tokens that it makes of pictures.

The tokens do not depend on time or noise, so they are made once, and stand behind the prompt's
embedding; what remains at work are the adapter's projections in the denoiser's cross-attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ...engine.errors import ModelError
from ...meshes.io.photographs import read_photograph
from ..families.parts import PICKLES
from ..families.views.pictures import CLIP_MEAN, CLIP_STD, vision_of
from ..hub import pickle_advice, snapshot_in
from ..model_files import number_in, read_json
from ..networks.attention import ViewAttention
from ..networks.pictured import PicturedAttention
from .choice import PersonalParts
from .files import read_tensors
from .from_hub import ADAPTER, ENCODER, HubPart, adapter_path, complete_encoder

PUBLISHED = {
    768: "models/ip-adapter_sd15.safetensors",
    2048: "sdxl_models/ip-adapter_sdxl.safetensors",
}
"""The adapter in the publication's folder by the width of the text that a denoiser reads."""
REMEDY = "Give the .safetensors file of an IP-Adapter, with image_encoder/ beside it"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Likeness:
    """Tokens (N, D) of pictures as the adapter tells them, and those of no picture, which the
    unconditional prediction is told."""

    shown: torch.Tensor
    hidden: torch.Tensor

    def behind(self, text: torch.Tensor, told: list[bool]) -> torch.Tensor:
        """Packed embeddings (B, T, D) with tokens behind them (B, T + N, D).

        Args:
            told: which of them are told of the pictures.
        """
        rows = [self.shown if here else self.hidden for here in told]
        return torch.cat([text, torch.stack(rows).to(text)], 1)

    def negative(self, text: torch.Tensor) -> torch.Tensor:
        """An embedding (T + N, D) that is no longer told of the pictures."""
        return torch.cat([text[: -len(self.hidden)], self.hidden.to(text)])


def add_pictures(unet: Any, words: ViewAttention, parts: PersonalParts) -> Likeness:
    """Give a denoiser's cross-attention the projections of the user's IP-Adapter.

    Args:
        unet: diffusers' UNet of Stable Diffusion 1, 2 or XL.
        words: the processor of its attention.

    Raises:
        ModelError: there is no adapter, it is damaged, or was made for another model. InputError:
            a picture cannot be read.
    """
    width = int(unet.config.cross_attention_dim)
    path = adapter_file(parts.ip_adapter, width)
    projection, layers = _read(path)
    _check_kind(projection, path)
    targets = _targets(unet)
    _check_fits(layers, targets, path)
    network = _projection(unet, projection, path)
    plain = "proj.weight" in projection
    place = _encoder(path, _width(projection), plain)
    complete_encoder(parts.ip_adapter, path, place)
    edge = number_in(place / ENCODER / "config.json", "image_size", 224)
    pixels = torch.cat([clip_pixels(read_photograph(p).pixels, edge) for p in parts.like])
    dtype, device = unet.dtype, unet.device
    made: list[torch.Tensor] = []
    with torch.no_grad():
        for values in (pixels, torch.zeros_like(pixels)):
            out = vision_of(place, ENCODER, values, device, dtype)
            told = out.image_embeds if plain else out.hidden_states[-2]
            if plain and made:
                # What the adapter was trained to be told of no picture is zero, not a black one.
                told = torch.zeros_like(told)
            made.append(network(told).flatten(0, 1).float().cpu())
    _install(unet, words, layers, targets, tokens=len(made[0]), scale=parts.like_weight)
    return Likeness(*made)


def adapter_file(chosen: Path | None, width: int) -> Path:
    """The file of an adapter: the one that the user names, or that for a denoiser's family in a
    folder or a repository of the publication's layout.

    Raises:
        ModelError: there is none, or more than one that could be meant.
    """
    if chosen is None:
        raise ModelError("needs an IP-Adapter", "--like", f"{REMEDY}: {ADAPTER} FILE")
    where = str(chosen)
    if chosen.suffix.lower() in PICKLES and chosen.is_file():
        raise ModelError(
            "is pickled, which can hold programs; only safetensors are read",
            where,
            pickle_advice(chosen),
        )
    if chosen.is_file():
        return chosen
    part = HubPart.of(chosen)
    if part is not None:
        return adapter_path(part, PUBLISHED.get(width, ""))
    if not chosen.is_dir():
        raise ModelError("there is no such file or folder", where, REMEDY)
    folder = snapshot_in(chosen)
    published = folder / PUBLISHED.get(width, "")
    if published.is_file():
        return published
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(f"holds {len(files)} .safetensors files", where, "Name one of them")
    return files[0]


def clip_pixels(picture: np.ndarray, size: int) -> torch.Tensor:
    """A picture (H, W, 3 or 4) of bytes as CLIP reads it, (1, 3, size, size): its shorter edge
    resized to `size` (bicubic), the middle cut out, less the mean over the deviation. Transparent
    pixels are white."""
    pixels = picture[..., :3]
    if picture.shape[-1] == 4:
        alpha = picture[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    short = min(image.size)
    across, down = (size if e == short else int(size * e / short) for e in image.size)
    image = image.resize((across, down), Image.Resampling.BICUBIC)
    left, top = (across - size) // 2, (down - size) // 2
    image = image.crop((left, top, left + size, top + size))
    values = torch.from_numpy(np.asarray(image).astype(np.float32) / 255)
    values = (values - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    return values.permute(2, 0, 1)[None]


def _read(path: Path) -> tuple[Tensors, Tensors]:
    """The tensors of the projection of pictures, and those of the attention layers."""
    file = read_tensors(path, "an IP-Adapter")
    parts: list[Tensors] = [
        {k.removeprefix(start): v for k, v in file.tensors.items() if k.startswith(start)}
        for start in ("image_proj.", "ip_adapter.")
    ]
    if not all(parts):
        first = min(file.tensors)
        raise ModelError(f'is no IP-Adapter (its first tensor: "{first}")', str(path), REMEDY)
    return parts[0], parts[1]


_WIDTH_OF = {
    "proj.weight": ("proj.weight", 1),
    "proj.3.weight": ("proj.0.weight", 0),
    "latents": ("proj_in.weight", 1),
}
"""The kinds that are read (plain, full and plus) by a tensor that only they have; the tensor and
its axis that are as wide as what the picture's encoder says."""


def _width(projection: Tensors) -> int:
    """The numbers that the encoder of pictures must say."""
    tensor, axis = next(_WIDTH_OF[k] for k in _WIDTH_OF if k in projection)
    return int(projection[tensor].shape[axis])


def _check_kind(projection: Tensors, path: Path) -> None:
    kind = next((k for k in _WIDTH_OF if k in projection), None)
    if kind is not None and _WIDTH_OF[kind][0] in projection:
        return
    face = "perceiver_resampler.proj_in.weight" in projection or "norm.weight" in projection
    raise ModelError(
        "is told of a face by another network (FaceID), which is not read"
        if face
        else "projects pictures in a way that is not known",
        str(path),
        "Take a plain, plus or full IP-Adapter",
    )


def _targets(unet: Any) -> dict[str, Any]:
    """The cross-attention layers by the number that an adapter's file calls them."""
    names = [n.removesuffix(".processor") for n in unet.attn_processors]
    cross = [n for n in names if not n.endswith("attn1")]
    return {str(2 * k + 1): unet.get_submodule(name) for k, name in enumerate(cross)}


def _check_fits(layers: Tensors, targets: dict[str, Any], path: Path) -> None:
    wanted = {
        f"{number}.to_{what}_ip.weight": tuple(layer.to_k.weight.shape)
        for number, layer in targets.items()
        for what in "kv"
    }
    told = {key: tuple(tensor.shape) for key, tensor in layers.items()}
    wrong = sorted(k for k in {*wanted, *told} if wanted.get(k) != told.get(k))
    if wrong:
        here, there = told.get(wrong[0]), wanted.get(wrong[0])
        raise ModelError(
            f'was made for another model: its "{wrong[0]}" is {here and list(here)}, and this '
            f"model has {there and list(there)}",
            str(path),
            "Take one for this family (Stable Diffusion 1 and XL have their own)",
        )


def _projection(unet: Any, tensors: Tensors, path: Path) -> nn.Module:
    """What makes tokens of pictures, in the library's own classes."""
    try:
        made: nn.Module = unet._convert_ip_adapter_image_proj_to_diffusers(
            tensors, low_cpu_mem_usage=False
        )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(f"its projection cannot be read ({first})", str(path), REMEDY) from None
    return made.to(unet.device, unet.dtype).eval().requires_grad_(False)


def _encoder(path: Path, width: int, plain: bool) -> Path:
    """The folder that holds the encoder of pictures that an adapter was trained with: beside the
    file, or in the publication's "models". Raises ModelError."""
    key = "projection_dim" if plain else "hidden_size"
    places = (path.parent, path.parent.parent / "models", path.parent.parent)
    found = []
    for place in places:
        config = place / ENCODER / "config.json"
        if config.is_file():
            found.append(read_json(config).get(key))
            if found[-1] == width:
                return place
    raise ModelError(
        f"wants an encoder of pictures of {width} numbers, and "
        + (f"the one beside it has {found[0]}" if found else f"there is no {ENCODER}/ beside it"),
        str(path),
        "Put the image_encoder folder that it was published with beside it",
    )


def _install(
    unet: Any,
    words: ViewAttention,
    layers: Tensors,
    targets: dict[str, Any],
    tokens: int,
    scale: float,
) -> None:
    for number, layer in targets.items():
        made = []
        for what in "kv":
            weight = layers[f"{number}.to_{what}_ip.weight"].to(unet.dtype)
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
            linear.weight = nn.Parameter(weight, requires_grad=False)
            made.append(linear)
        layer.set_processor(PicturedAttention(words, made[0], made[1], tokens, scale))
