"""What the tensors of a LoRA are of: the layer of which network, and which part of its change.

Files name a layer in three ways: as diffusers does, with dots; as kohya's scripts do, with
underscores for the dots; and, for SDXL, by the blocks of the first publication.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DENOISER = "denoiser"
"""The denoiser among the networks; the others are named as their parts of a model folder."""
_ROLES = {
    "down": r"lora_A(?:\.\w+)?\.weight|lora(?:_linear_layer)?[._]down\.weight",
    "up": r"lora_B(?:\.\w+)?\.weight|lora(?:_linear_layer)?[._]up\.weight",
    "magnitude": r"lora_magnitude_vector(?:\.\w+)?(?:\.weight)?",
    "dora_scale": r"dora_scale",
    "bias": r"lora_B(?:\.\w+)?\.bias",
    "alpha": r"(?:lora\.)?alpha",
    "w1_a": r"hada_w1_a(?:\.\w+)?",
    "w1_b": r"hada_w1_b(?:\.\w+)?",
    "w2_a": r"hada_w2_a(?:\.\w+)?",
    "w2_b": r"hada_w2_b(?:\.\w+)?",
    "k1": r"lokr_w1(?:\.\w+)?",
    "k1_a": r"lokr_w1_a(?:\.\w+)?",
    "k1_b": r"lokr_w1_b(?:\.\w+)?",
    "k2": r"lokr_w2(?:\.\w+)?",
    "k2_a": r"lokr_w2_a(?:\.\w+)?",
    "k2_b": r"lokr_w2_b(?:\.\w+)?",
    "strange": r"lora_mid\.weight|(?:hada_t[12]|lokr_t2)(?:\.\w+)?|diff|diff_b|[wb]_norm|"
    r"set_weight|glora_\w+.*|[abcd][12]\.weight|oft_\w+.*|boft_\w+.*|vera_\w+.*|ia3_\w+.*|"
    r"lora_embedding_[AB].*|on_input|bora_\w+",
}
_ROLE = {role: re.compile(rf"(?P<layer>.+)\.(?:{form})") for role, form in _ROLES.items()}
_OLD = re.compile(
    r"(?P<layer>.+?)(?:\.processor)?\.to_(?P<to>q|k|v|out)_lora\.(?P<role>down|up)\.weight"
)
"""diffusers' first LoRAs, whose layers belonged to an attention processor."""
_IN_TEXT = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
_IN_DENOISER = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
_PREFIXES = (
    *(("unet.", DENOISER), ("transformer.", DENOISER), ("base_model.model.", DENOISER)),
    *(("lora_unet_", DENOISER), ("lora_transformer_", DENOISER), ("lycoris_", DENOISER)),
    *(("text_encoder_3.", "text_encoder_3"), ("text_encoder_2.", "text_encoder_2")),
    *(("text_encoder.", "text_encoder"), ("lora_te3_", "text_encoder_3")),
    *(("lora_te2_", "text_encoder_2"), ("lora_te1_", "text_encoder"), ("lora_te_", "text_encoder")),
)


def split_key(key: str) -> tuple[str, str, str] | None:
    """The network, the layer's name in the file, and the role of a tensor; None for one that is of
    no LoRA. Roles are those of `_ROLES`."""
    old = _OLD.fullmatch(key)
    if old is not None:
        network, layer = _network(old["layer"])
        names = _IN_DENOISER if network == DENOISER else _IN_TEXT
        return network, f"{layer}.{names[old['to']]}", old["role"]
    for role, form in _ROLE.items():
        found = form.fullmatch(key)
        if found is not None:
            return (*_network(found["layer"]), role)
    return None


def _network(layer: str) -> tuple[str, str]:
    layer = layer.removeprefix("base_model.model.") if ".unet." in layer else layer
    for prefix, network in _PREFIXES:
        if layer.startswith(prefix):
            return network, layer.removeprefix(prefix)
    return DENOISER, layer


def spellings(names: Iterable[str], layers: int | None = None) -> dict[str, str]:
    """The layers of a network by all that a file may call them.

    Args:
        layers: for a UNet, its residual layers of a block on the way down.
    """
    table: dict[str, str] = {}
    for name in names:
        # Earlier versions of transformers had CLIP's layers below "text_model".
        bare = name.removeprefix("text_model.")
        for form in (name, bare, f"text_model.{bare}"):
            table.setdefault(form, name)
            table.setdefault(form.replace(".", "_"), name)
        if name.endswith(".to_out.0"):
            table.setdefault(name.removesuffix(".0"), name)
        first = None if layers is None else first_name(name, layers)
        if first is not None:
            table.setdefault(first, name)
            if name.endswith("upsamplers.0.conv"):
                # Behind the attention of its block, or in its place where the block has none.
                table.setdefault(first.replace("_2_conv", "_1_conv"), name)
    return table


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_IN_BLOCK = re.compile(
    r"(?P<side>down_blocks|up_blocks|mid_block)(?:\.(?P<block>\d+))?\."
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<place>\d+)\.(?P<rest>.+)"
)


def first_name(name: str, layers: int) -> str | None:
    """What kohya's scripts call a layer of a UNet by the blocks of its first publication; None for
    a layer that has no such name. `layers`: residual layers of a block on the way down."""
    if name in _OUTSIDE:
        return _OUTSIDE[name].replace(".", "_")
    found = _IN_BLOCK.fullmatch(name)
    if found is None:
        return None
    block, place, rest = int(found["block"] or 0), int(found["place"]), found["rest"]
    if found["kind"] == "resnets":
        rest = _RESNET.get(rest, rest)
    inner = {"resnets": 0, "attentions": 1}.get(found["kind"])
    if found["side"] == "mid_block":
        at = f"middle_block.{1 if inner == 1 else 2 * place}"
    elif found["side"] == "down_blocks" and inner is None:
        at, rest = f"input_blocks.{(block + 1) * (layers + 1)}.0", "op"
    elif found["side"] == "down_blocks":
        at = f"input_blocks.{1 + block * (layers + 1) + place}.{inner}"
    elif inner is None:
        at = f"output_blocks.{block * (layers + 1) + layers}.2"
    else:
        at = f"output_blocks.{block * (layers + 1) + place}.{inner}"
    return f"{at}.{rest}".replace(".", "_")
