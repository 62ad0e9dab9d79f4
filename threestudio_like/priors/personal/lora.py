"""LoRAs of every layout, added to the weights of a model before it works.

A LoRA is read by the names of its tensors alone (`names`); what is said in another library's names
of a transformer is turned by diffusers' own conversion. Nothing of it stays beside the network:
memory and time of a run are those of the plain model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...engine.errors import ModelError
from ...engine.turns import alone
from ..families.parts import shapes_in, weight_files
from ..model_files import read_json
from .change import change_of
from .files import AGAIN, TensorFile, read_tensors
from .from_hub import LORA_NAMES, LORA_SETTINGS, lora_path
from .names import DENOISER, spellings, split_key

Layers = dict[str, dict[str, torch.Tensor]]
"""Tensors by the layer of a network, then by their role."""
CONVERSIONS = {
    "SD3Transformer2DModel": "SD3LoraLoaderMixin",
    "FluxTransformer2DModel": "FluxLoraLoaderMixin",
    "Flux2Transformer2DModel": "Flux2LoraLoaderMixin",
    "QwenImageTransformer2DModel": "QwenImageLoraLoaderMixin",
    "ZImageTransformer2DModel": "ZImageLoraLoaderMixin",
    "SanaTransformer2DModel": "SanaLoraLoaderMixin",
}
"""What of diffusers knows other libraries' names of a transformer's layers."""
NUMBERED = {"FluxTransformer2DModel": {"text_encoder_3": "text_encoder_2"}}
"""Text encoders that kohya's scripts number otherwise: FLUX's T5 as Stable Diffusion 3's."""


@dataclass(frozen=True)
class Lora:
    """A LoRA as it fits a model: its layers by network, how much it counts, and what is told."""

    path: Path
    factor: float
    layers: dict[str, Layers]
    scales: dict[str, float] = field(default_factory=dict)
    """alpha over the rank by "network layer", where the file's settings say it."""
    notes: tuple[str, ...] = ()

    def change(self, network: str, layer: str, weight: torch.Tensor) -> torch.Tensor | None:
        """What is added to a layer's weight, in float32; None for nothing. Raises ModelError."""
        parts = self.layers.get(network, {}).get(layer)
        if parts is None:
            return None
        where = f"{self.path}: {layer}"
        scale = self.scales.get(f"{network} {layer}")
        return change_of(parts, weight, self.factor, scale, where)


@dataclass(frozen=True)
class Targets:
    """The networks of a model that a LoRA may change: shapes of weights by layer, by network."""

    kind: str
    """Class of the denoiser."""
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]]
    unet_layers: int | None = None
    """A UNet's residual layers of a block on the way down."""


def targets_of(folder: Path, denoiser: Any) -> Targets:
    """What LoRAs may change of a model: its denoiser, and the text encoders in its folder, whose
    shapes are read from their files."""
    shapes = {DENOISER: layers_of(denoiser)}
    for part in sorted(folder.glob("text_encoder*")):
        if part.is_dir():
            told = shapes_in(weight_files(part))
            shapes[part.name] = {
                key.removesuffix(".weight").removeprefix("text_model."): shape
                for key, shape in told.items()
                if key.endswith(".weight") and len(shape) == 2
            }
    config: Any = denoiser.config
    layers = config.get("layers_per_block") if "down_block_types" in config else None
    return Targets(type(denoiser).__name__, shapes, layers if isinstance(layers, int) else None)


def layers_of(network: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a network's linear layers and convolutions, by name."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {n: tuple(m.weight.shape) for n, m in network.named_modules() if isinstance(m, kinds)}


def read_loras(chosen: Sequence[tuple[Path, float]], folder: Path, denoiser: Any) -> list[Lora]:
    """LoRAs with their weights, for the model in a folder. Raises ModelError, see `read_lora`."""
    if not chosen:
        return []
    targets = targets_of(folder, denoiser)
    return [read_lora(path, factor, targets) for path, factor in chosen]


def read_lora(path: Path, factor: float, targets: Targets) -> Lora:
    """A LoRA for a model.

    Args:
        factor: how much it counts.

    Raises:
        ModelError: it is no LoRA, is damaged, or was made for another family.
    """
    path = _file_in(lora_path(path))
    file = read_tensors(path, "a LoRA")
    grouped, strangers = _grouped(file, targets)
    converted = None
    if _misses(grouped, targets):
        converted = _converted(file, targets)
        if converted is not None:
            grouped, strangers = _grouped(converted, targets)
    layers, unfit = _fitted(grouped, targets)
    _check_family(file, layers, unfit)
    notes = []
    lost = [*strangers, *unfit]
    if lost:
        notes.append(
            f"{len(lost)} of the {len(file.tensors)} tensors of the LoRA {path.name} fit nothing "
            f"in this model and are left out (the first: {lost[0]})"
        )
    scales, said = _scales(file, layers, folded=converted is not None)
    made = Lora(path, factor, layers, scales, (*notes, *said))
    for part, inside in layers.items():
        if part != DENOISER:
            for layer in inside:
                made.change(part, layer, torch.ones(targets.shapes[part][layer]))
    return made


def _file_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in LORA_NAMES:
        if (path / name).is_file():
            return path / name
    raise ModelError(
        f"has no {' and no '.join(LORA_NAMES)}", str(path), "Give the LoRA's file itself"
    )


Grouped = dict[str, dict[str, dict[str, tuple[str, torch.Tensor]]]]
"""By network, by the layer's name in the file, by role: the tensor with its own name."""


def _grouped(file: TensorFile, targets: Targets) -> tuple[Grouped, list[str]]:
    grouped: Grouped = {}
    strangers = []
    for key, tensor in file.tensors.items():
        found = split_key(key)
        if found is None:
            strangers.append(key)
            continue
        network, layer, role = found
        network = NUMBERED.get(targets.kind, {}).get(network, network)
        if network == DENOISER and layer.startswith(("text_model", "te1_text", "te2_text")):
            # LyCORIS names all networks alike.
            network = "text_encoder_2" if layer.startswith("te2_") else "text_encoder"
            layer = layer.removeprefix("te1_").removeprefix("te2_")
        roles = grouped.setdefault(network, {}).setdefault(layer, {})
        if role in roles:
            raise ModelError(
                f'has "{roles[role][0]}" and "{key}", which are the same', str(file.path)
            )
        roles[role] = (key, tensor)
    return grouped, strangers


def _tables(targets: Targets) -> dict[str, dict[str, str]]:
    return {
        network: spellings(shapes, targets.unet_layers if network == DENOISER else None)
        for network, shapes in targets.shapes.items()
    }


def _misses(grouped: Grouped, targets: Targets) -> bool:
    known = spellings(targets.shapes[DENOISER], targets.unet_layers)
    return any(layer not in known for layer in grouped.get(DENOISER, {}))


@alone()
def _converted(file: TensorFile, targets: Targets) -> TensorFile | None:
    """The file with its denoiser's layers in diffusers' names by its own conversion; None where
    that knows nothing of it. Tensors of text encoders are understood as they are: the conversion
    leaves out T5's without a word. Raises ModelError where it would lose DoRA's scales."""
    name = CONVERSIONS.get(targets.kind)
    if name is None:
        return None
    from diffusers.loaders import lora_pipeline

    if any("dora_scale" in key for key in file.tensors):
        raise ModelError(
            "is a DoRA in names of another library, whose conversion would lose its scales",
            str(file.path),
            "Convert it to diffusers' names",
        )
    kept = {k: v for k, v in file.tensors.items() if _of_text(k)}
    others = {k: v for k, v in file.tensors.items() if k not in kept}
    try:
        told = getattr(lora_pipeline, name).lora_state_dict(others)
    except Exception:
        # What it raises on files of other families is of no use to the user.
        return None
    tensors = told[0] if isinstance(told, tuple) else told
    return TensorFile(file.path, {**tensors, **kept}, file.metadata)


def _of_text(key: str) -> bool:
    """Whether a tensor is named as one of a text encoder."""
    return (split_key(key) or ("",))[0].startswith("text_encoder")


def _fitted(grouped: Grouped, targets: Targets) -> tuple[dict[str, Layers], list[str]]:
    """The layers by the model's own names, and the names of tensors that fit nothing."""
    tables = _tables(targets)
    layers: dict[str, Layers] = {}
    unfit = []
    for network, inside in grouped.items():
        table = tables.get(network, {})
        for layer, roles in inside.items():
            known = table.get(layer)
            if known is None:
                unfit += [key for key, _ in roles.values()]
                continue
            of_layer = layers.setdefault(network, {}).setdefault(known, {})
            for role, (key, tensor) in roles.items():
                if role in of_layer:
                    raise ModelError(f'"{key}" says again what another tensor says', str(known))
                of_layer[role] = tensor
    return layers, unfit


def _check_family(file: TensorFile, layers: dict[str, Layers], unfit: list[str]) -> None:
    where = str(file.path)
    count = sum(len(inside) for inside in layers.values())
    if not count and not unfit:
        raise ModelError(
            f"is no LoRA{_other(file)}", where, "Give the file of a LoRA, LoHa, LoKr or DoRA"
        )
    ours = sum(len(parts) for parts in layers.get(DENOISER, {}).values())
    misfits = [key for key in unfit if (split_key(key) or ("",))[0] == DENOISER]
    if len(misfits) > ours or not count:
        raise ModelError(
            f"was made for another family of models: {len(unfit)} of its {len(file.tensors)} "
            f"tensors fit no layer of this one (the first: {unfit[0]}){_looks_like(file)}",
            where,
            "Give one that was trained on this family",
        )


def _other(file: TensorFile) -> str:
    keys = list(file.tensors)
    if any(k in ("emb_params", "clip_l", "clip_g") for k in keys) or len(keys) == 1:
        return ": it looks like a word of textual inversion (--concept)"
    if any(k.startswith(("ip_adapter.", "image_proj.")) for k in keys):
        return ": it looks like an IP-Adapter (--ip-adapter)"
    if any(k.startswith(("model.diffusion_model.", "cond_stage_model.")) for k in keys):
        return ": it is a whole model (--prior)"
    if any(k.startswith(("encoder.", "decoder.", "first_stage_model.")) for k in keys):
        return ": it looks like an autoencoder (--vae)"
    return f' (its first tensor: "{keys[0]}")'


_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}


def _looks_like(file: TensorFile) -> str:
    keys = list(file.tensors)
    text = " ".join(keys[:2000])
    if re.search(r"double_blocks|single_blocks|single_transformer_blocks", text):
        return "; it looks like one for FLUX"
    if "joint_blocks" in text:
        return "; it looks like one for Stable Diffusion 3"
    for key, tensor in file.tensors.items():
        if re.search(r"attn2[._]to_[kv].*(?:lora_A|down|w1_b)", key) and tensor.ndim >= 2:
            name = _WIDTHS.get(int(tensor.shape[1]))
            if name is not None:
                return f"; it looks like one for {name}"
    return ""


def _scales(
    file: TensorFile, layers: dict[str, Layers], folded: bool
) -> tuple[dict[str, float], list[str]]:
    """alpha over the rank by "network layer", where it is said beside the tensors: in the text of
    the file (diffusers) or in adapter_config.json (peft).

    Args:
        folded: whether a conversion has multiplied the denoiser's tensors by the file's alphas.

    Raises:
        ModelError: the settings say no numbers.
    """
    settings = file.settings("lora_adapter_metadata")
    beside = file.path.parent / LORA_SETTINGS
    # peft's name for the file that they are of; one that was renamed is the only one there.
    alone_there = len(list(file.path.parent.glob("*.safetensors"))) == 1
    if beside.is_file() and (file.path.name == LORA_NAMES[1] or alone_there):
        settings = {f"unet.{k}": v for k, v in read_json(beside).items()}
    scales: dict[str, float] = {}
    for network, inside in layers.items():
        prefixes = ("unet", "transformer") if network == DENOISER else (network,)
        own = {
            k.removeprefix(f"{p}."): v
            for p in prefixes
            for k, v in settings.items()
            if k.startswith(f"{p}.")
        }
        alpha = own.get("lora_alpha", own.get("alpha"))
        if alpha is None:
            continue
        for layer, parts in inside.items():
            if "alpha" not in parts:
                scales[f"{network} {layer}"] = _scale(own, layer, parts, alpha, str(file.path))
    bare = [
        layer
        for network, inside in layers.items()
        for layer, parts in inside.items()
        if "alpha" not in parts and f"{network} {layer}" not in scales
        if not (folded and network == DENOISER)
    ]
    by_kohya = any("lora_down" in key for key in file.tensors)
    note = f"the LoRA {file.path.name} has no alpha for {len(bare)} layers: their rank is taken"
    return scales, [note] if bare and by_kohya else []


def _scale(
    settings: Mapping[str, Any],
    layer: str,
    parts: Mapping[str, torch.Tensor],
    alpha: Any,
    where: str,
) -> float:
    alpha = _by_pattern(settings, "alpha_pattern", layer, alpha, where)
    first = next((parts[r] for r in ("down", "w1_b") if r in parts), None)
    rank = settings.get("r")
    rank = _by_pattern(settings, "rank_pattern", layer, rank, where)
    rank = rank if first is None else first.shape[0]
    numbers = (int, float)
    if not isinstance(alpha, numbers) or not isinstance(rank, numbers) or not rank:
        raise ModelError(f"its settings say an alpha of {alpha} and a rank of {rank}", where)
    return float(alpha) / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _by_pattern(settings: Mapping[str, Any], name: str, layer: str, usual: Any, where: str) -> Any:
    """A layer's value among those of a file's patterns, as peft reads them: the first expression
    that the layer's name ends in. Earlier versions of transformers had CLIP's layers below
    "text_model", and files of them name them so. Raises ModelError on what is no pattern."""
    patterns = settings.get(name) or {}
    if not isinstance(patterns, dict):
        raise ModelError(f'its "{name}" is no table', where, AGAIN)
    for pattern, value in patterns.items():
        try:
            form = re.compile(rf"(?:.*\.)?(?:{pattern})")
        except re.error:
            raise ModelError(f'its "{name}" has a "{pattern}" that says nothing', where) from None
        if form.fullmatch(layer) or form.fullmatch(f"text_model.{layer}"):
            return value
    return usual


def add_loras(loras: Sequence[Lora], network: Any, name: str = DENOISER) -> None:
    """Add what LoRAs change to a network's weights, each to the weights as they were.

    Args:
        network: the denoiser, or a text encoder.
        name: of the network: `DENOISER`, or a part of the model's folder.

    Raises:
        ModelError: a shape that does not fit, or a sum beyond the weights' type.
    """
    modules = {n.removeprefix("text_model."): m for n, m in network.named_modules()}
    layers = dict.fromkeys(key for lora in loras for key in lora.layers.get(name, {}))
    with torch.no_grad():
        for layer in layers:
            if layer not in modules:
                raise ModelError(f'has no layer "{layer}"', f"{name}", "Leave the LoRA out")
            weight = modules[layer].weight
            before = weight.float()
            changes = [lora.change(name, layer, before) for lora in loras]
            total = sum((c for c in changes if c is not None), start=torch.zeros_like(before))
            made = (before + total).to(weight.dtype)
            if not torch.isfinite(made).all():
                raise ModelError(
                    f'makes numbers of "{layer}" that {weight.dtype} does not hold',
                    ", ".join(lora.path.name for lora in loras),
                    "Give it a smaller --lora-weight, or --dtype float32",
                )
            weight.copy_(made)
