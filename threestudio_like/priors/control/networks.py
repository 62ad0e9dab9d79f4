"""Control networks of diffusers: which families they fit, and what their answers are to a denoiser.

A network is one row of `ROWS`. It is called with what its denoiser is called with, and what it says
is added to that call (`controlled`), so that no family's adapter knows of control.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from ...engine.errors import ModelError
from ...engine.turns import working
from ..families.parts import load_part
from ..model_files import read_json
from ..text.packed import TextLayout

FLUX_MODES = {"canny": 0, "depth": 2}
"""Numbers of the kinds in union networks (card of InstantX/FLUX.1-dev-Controlnet-Union)."""


@dataclass(frozen=True, eq=False)
class Control:
    """A loaded control network: its kind of picture, its weight, its row, and where it is from."""

    kind: str
    weight: float
    network: Any
    row: Row
    name: str = ""


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a prior's denoiser: its arguments by name."""

    prior: Controlled
    values: dict[str, Any]


Told = Callable[[Control, torch.Tensor, Call], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A class of control networks.

    Attributes:
        families: short names of those that it is for.
        names: the denoiser's positional arguments.
        told: what it adds to a denoiser's call for pictures (B, 3, H, W) in [0, 1].
        same: values of its configuration that must be the denoiser's.
    """

    families: tuple[str, ...]
    names: tuple[str, ...]
    told: Told
    same: tuple[str, ...] = ()


def _controlnet(control: Control, pictures: torch.Tensor, call: Call) -> dict[str, Any]:
    network, values = control.network, call.values
    labels = values.get("class_labels") if network.config.class_embed_type else None
    if labels is not None and labels.ndim == 2:
        # Of those that know nothing of domains, see `_check_told`.
        labels = labels[:, : network.config.projection_class_embeddings_input_dim]
    down, middle = network(
        values["sample"],
        values["timestep"],
        encoder_hidden_states=values["encoder_hidden_states"],
        controlnet_cond=pictures.to(values["sample"]),
        conditioning_scale=control.weight,
        class_labels=labels,
        added_cond_kwargs=values.get("added_cond_kwargs"),
        return_dict=False,
    )
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _t2i_adapter(control: Control, pictures: torch.Tensor, call: Call) -> dict[str, Any]:
    config = control.network.config
    given = pictures.to(call.values["sample"])
    given = given.mean(1, keepdim=True) if config.in_channels == 1 else given
    states = control.network(given)
    return {"down_intrablock_additional_residuals": [control.weight * s for s in states]}


def _latents(control: Control, pictures: torch.Tensor, call: Call, like: torch.Tensor) -> Any:
    # Both families' networks are told pictures in [-1, 1], and an unpainted pixel's -1 is black.
    return call.prior.encode_image(pictures.clamp(0, 1).permute(0, 2, 3, 1)).to(like)


def _sd3(control: Control, pictures: torch.Tensor, call: Call) -> dict[str, Any]:
    network, values = control.network, call.values
    x, pooled = values["hidden_states"], values["pooled_projections"]
    shown = _latents(control, pictures, call, x)
    if network.config.force_zeros_for_pooled_projection:
        # Such networks were trained without the autoencoder's shift, and without pooled text.
        coder = call.prior.latents
        shown = shown + (coder.shift * coder.factor).to(shown)
        pooled = torch.zeros_like(pooled)
    joint = network.config.joint_attention_dim is not None
    blocks = network(
        hidden_states=x,
        timestep=values["timestep"],
        encoder_hidden_states=values["encoder_hidden_states"] if joint else None,
        pooled_projections=pooled,
        controlnet_cond=shown,
        conditioning_scale=control.weight,
        return_dict=False,
    )[0]
    return {"block_controlnet_hidden_states": blocks}


def _flux(control: Control, pictures: torch.Tensor, call: Call) -> dict[str, Any]:
    from ..families.flux import packed

    network, values = control.network, call.values
    x = values["hidden_states"]
    hinted = network.input_hint_block is not None
    if hinted:
        shown = pictures.to(x) * 2 - 1
    else:
        shown = packed(_latents(control, pictures, call, x))
    guidance = None
    if network.config.guidance_embeds:
        guidance = values.get("guidance")
        guidance = torch.full((len(x),), 3.5, device=x.device) if guidance is None else guidance
    mode = None
    if network.union:
        mode = torch.full((len(x), 1), FLUX_MODES[control.kind], device=x.device, dtype=torch.long)
    both, single = network(
        hidden_states=x,
        controlnet_cond=shown,
        controlnet_mode=mode,
        conditioning_scale=control.weight,
        timestep=values["timestep"],
        guidance=guidance,
        pooled_projections=values["pooled_projections"],
        encoder_hidden_states=values["encoder_hidden_states"],
        txt_ids=values["txt_ids"],
        img_ids=values["img_ids"],
        return_dict=False,
    )
    out = {"controlnet_block_samples": both, "controlnet_single_block_samples": single}
    return {**out, "controlnet_blocks_repeat": hinted}


_UNET = ("sample", "timestep", "encoder_hidden_states")
ROWS: dict[str, Row] = {
    "ControlNetModel": Row(
        families=("sd", "sdxl"),
        names=_UNET,
        told=_controlnet,
        same=(
            *("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"),
            *("class_embed_type", "addition_embed_type"),
        ),
    ),
    "T2IAdapter": Row(families=("sd", "sdxl"), names=_UNET, told=_t2i_adapter),
    "SD3ControlNetModel": Row(
        families=("sd3",),
        names=("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"),
        told=_sd3,
        same=("in_channels", "num_attention_heads", "attention_head_dim", "pooled_projection_dim"),
    ),
    "FluxControlNetModel": Row(
        families=("flux",),
        names=(),
        told=_flux,
        same=(
            *("in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim"),
            "pooled_projection_dim",
        ),
    ),
}
"""Control networks by the class that their config.json names."""


@working()
def load_control(
    folder: Path,
    kind: str,
    weight: float,
    denoiser: Any,
    *,
    family: str,
    downscale: int,
    domains: int = 0,
) -> Control:
    """A control network for a denoiser, on no device yet.

    Args:
        family: short name of the denoiser's. downscale: pixels per latent along an edge. domains:
            numbers, behind those of the camera, by which the denoiser is told what to show.

    Raises:
        ModelError: it is another network, of another family, or of other sizes.
    """
    values = read_json(folder / "config.json")
    name = str(values.get("_class_name", ""))
    row = ROWS.get(name)
    if row is None:
        raise ModelError(
            f'is a "{name or "network without a class"}", and control networks are '
            f"{', '.join(ROWS)}",
            str(folder),
            "Give the folder of a ControlNet or a T2I-Adapter as diffusers saves it",
        )
    if family not in row.families:
        raise ModelError(
            f'is a "{name}", which is for models of the families {", ".join(row.families)}; the '
            f'prior is of "{family}"',
            str(folder),
            "Take a control network of the prior's family",
        )
    network = load_part(folder.parent, folder.name, name, denoiser.dtype, (name,))
    _check(network, denoiser, row, folder=folder, downscale=downscale)
    _check_told(network, denoiser, folder, domains)
    if name == "FluxControlNetModel" and network.union and kind not in FLUX_MODES:
        raise ModelError(
            f'is a union of kinds without "{kind}"', str(folder), f"Take {' or '.join(FLUX_MODES)}"
        )
    if name == "SD3ControlNetModel" and network.config.get("use_pos_embed", True) is False:
        network.pos_embed = network._get_pos_embed_from_transformer(denoiser)
    return Control(kind, weight, network, row, name=str(folder))


def _check(network: Any, denoiser: Any, row: Row, *, folder: Path, downscale: int) -> None:
    own, other = network.config, denoiser.config
    for name in row.same:
        mine, wanted = own.get(name), other.get(name)
        mine, wanted = (list(v) if isinstance(v, (tuple, list)) else v for v in (mine, wanted))
        # SD3.5's large networks have no text of their own.
        if mine != wanted and not (name == "joint_attention_dim" and mine is None):
            raise ModelError(
                f"{name} is {mine}, and the prior's denoiser has {wanted}: it is for another model",
                str(folder),
                "Take the control network that was trained for this prior",
            )
    channels = own.get("conditioning_channels", 3)
    if channels not in (None, 3):
        raise ModelError(
            f"takes pictures of {channels} channels, and control pictures have 3", str(folder)
        )
    shrinks = downscale
    if type(network).__name__ == "ControlNetModel":
        if own.global_pool_conditions:
            raise ModelError(
                "is told a picture's content and not its layout (global_pool_conditions)",
                str(folder),
                "Take a control of depth, normals or edges",
            )
        shrinks = 2 ** (len(own.conditioning_embedding_out_channels) - 1)
    elif type(network).__name__ == "T2IAdapter":
        if own.in_channels not in (1, 3):
            raise ModelError(
                f"takes pictures of {own.in_channels} channels, and control pictures have 3 or 1",
                str(folder),
            )
        wide = "addition_embed_type" in other and other.addition_embed_type == "text_time"
        blocks = list(other.block_out_channels)
        if (own.adapter_type == "full_adapter_xl") != wide or list(own.channels)[
            : len(blocks)
        ] != blocks:
            raise ModelError(
                f"is a {own.adapter_type} of channels {list(own.channels)}, and the prior's "
                f"denoiser has {blocks}",
                str(folder),
                "Take the adapter that was trained for this prior",
            )
        shrinks = own.downscale_factor // (2 if wide else 1)
    if shrinks != downscale:
        raise ModelError(
            f"makes pictures {shrinks} times smaller, and the prior's latents are {downscale} "
            "times smaller",
            str(folder),
            "Take the control network that was trained for this prior",
        )


def _check_told(network: Any, denoiser: Any, folder: Path, domains: int) -> None:
    """Raise ModelError where a network is told other numbers of a view than its denoiser; those
    that tell a domain come last, and a network that was trained without them does not read them."""
    if network.config.get("class_embed_type") is None:
        return
    name = "projection_class_embeddings_input_dim"
    mine, wanted = (c.config.get(name) for c in (network, denoiser))
    if mine not in (wanted, (wanted or 0) - domains):
        raise ModelError(
            f"is told {mine or 'no'} numbers of a view, and the prior's denoiser {wanted or 'none'}"
            ": it is for another model",
            str(folder),
            "Take the control network that was trained for this prior",
        )


def _joined(one: Any, two: Any) -> Any:
    """The answers of two networks together: their sum, block by block."""
    if one is None or two is None:
        return two if one is None else one
    if isinstance(one, bool):
        return one or two
    if isinstance(one, torch.Tensor):
        return one + two
    return type(one)(a + b for a, b in zip(one, two, strict=True))


class Controlled(Protocol):
    """What is controlled: a prior with a denoiser, control networks, and an autoencoder."""

    denoiser: Any
    controls: tuple[Control, ...]
    latents: Any

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of pictures (B, H, W, 3) in [0, 1]."""


@contextmanager
def controlled(prior: Controlled, pictures: dict[str, torch.Tensor] | None) -> Iterator[None]:
    """Within the block, and only in this thread, every call of the prior's denoiser is told what
    its control networks say of it; the same for its unconditional entries as for the conditional
    ones (the library's guess mode is off). Networks of weight 0, and those without a picture, say
    nothing.

    Args:
        pictures: of every entry of the batch by kind, (B, H, W, 3), as `kinds` draws them.
    """
    denoiser = prior.denoiser
    active = [c for c in prior.controls if c.weight != 0 and pictures and c.kind in pictures]
    if not active:
        yield
        return
    owner = threading.get_ident()
    pictured = getattr(prior, "layout", TextLayout()).pictures

    def add(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if threading.get_ident() != owner:
            return None
        values = {**dict(zip(active[0].row.names, arguments)), **named}
        if pictured:
            # Tokens of pictures are for the denoiser alone.
            values["encoder_hidden_states"] = values["encoder_hidden_states"][:, :-pictured]
        call = Call(prior, values)
        found: dict[str, Any] = {}
        for control in active:
            assert pictures is not None
            shown = pictures[control.kind].permute(0, 3, 1, 2)
            for name, value in control.row.told(control, shown, call).items():
                found[name] = _joined(found.get(name), value)
        return arguments, {**named, **found}

    handle = denoiser.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def resized(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Control pictures (B, H, W, 3) at another size; lines stay white."""
    if pictures.shape[1] == size:
        return pictures
    small = F.interpolate(pictures.permute(0, 3, 1, 2), (size, size), mode="nearest-exact")
    return small.permute(0, 2, 3, 1)
