"""What is read of the configurations in a diffusers folder: scheduler, denoiser, autoencoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ...engine.errors import ModelError, did_you_mean
from ...engine.schema.bounds import Bounds, Number, Positive

Beta = Annotated[float, Bounds(low=0, high=0.9999, above=True)]
ScheduleKind = Literal["betas", "flow", "edm"]

BETAS = (
    *(
        "DDIMScheduler",
        "DDPMScheduler",
        "PNDMScheduler",
        "LMSDiscreteScheduler",
        "HeunDiscreteScheduler",
    ),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "KDPM2DiscreteScheduler"),
    *("KDPM2AncestralDiscreteScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
    *("LCMScheduler", "TCDScheduler", "DDIMInverseScheduler", "SASolverScheduler"),
)
FLOW = (
    *("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
    "FlowMatchLCMScheduler",
)
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
"""The schedulers of diffusers by the noise that their models were trained with."""
FEW_STEPS = ("LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler")
"""Schedulers of models that were distilled to a few steps."""
TRAILING = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
"""Schedulers that distilled models of the turbo kind are published with, spaced "trailing"."""
_LEADING = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "DDIMInverseScheduler")
_NARROW = (
    *("HeunDiscreteScheduler", "DPMSolverSDEScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
)


def with_usual(values: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's configuration with the numbers that its class in diffusers takes where it says
    none. One without a class is of this project's own, and keeps the defaults of the record."""
    name = values.get("_class_name")
    if name not in BETAS:
        return values
    few = name in FEW_STEPS
    start, end = (0.00085, 0.012) if few or name in _NARROW else (0.0001, 0.02)
    usual = {
        "beta_schedule": "scaled_linear" if few else "linear",
        "beta_start": start,
        "beta_end": end,
        "timestep_spacing": "leading" if few or name in _LEADING else "linspace",
        "set_alpha_to_one": name != "PNDMScheduler",
    }
    return {**usual, **values}


@dataclass(frozen=True, kw_only=True)
class SchedulerRecord:
    """The numbers of a diffusers scheduler that a noise schedule is made of."""

    _class_name: str = ""
    beta_schedule: str = "scaled_linear"
    beta_start: Beta = 0.00085
    beta_end: Beta = 0.012
    trained_betas: tuple[Beta, ...] | None = None
    num_train_timesteps: Annotated[int, Bounds(low=2, high=1_000_000)] = 1000
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal["epsilon", "v_prediction", "sample", "flow", "flow_prediction"] = (
        "epsilon"
    )
    timestep_spacing: Literal["", "linspace", "leading", "trailing"] = ""
    """The times at which a sampler evaluates: Lin et al. 2023, table 2."""
    timestep_type: str = "discrete"
    """What the network is told: "continuous" for the logarithm of the noise."""
    steps_offset: Annotated[int, Bounds(low=0, high=1000)] = 0
    set_alpha_to_one: bool = True
    shift: Positive = 1.0
    flow_shift: Positive | None = None
    use_flow_sigmas: bool = False
    use_dynamic_shifting: bool = False
    base_shift: float | None = 0.5
    max_shift: float | None = 1.15
    base_image_seq_len: Number | None = 256
    max_image_seq_len: Number | None = 4096
    time_shift_type: str = "exponential"
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None
    sigma_data: Positive = 0.5

    def kind(self, where: str) -> ScheduleKind:
        """How the model's data was noised. Raises ModelError on a class that is not known."""
        name = self._class_name
        flows = self.use_flow_sigmas or self.prediction_type in ("flow", "flow_prediction")
        if name in BETAS and self.timestep_type != "discrete":
            raise ModelError(
                f'its network is told "{self.timestep_type}" times (the logarithm of the noise), '
                "which are not read with these schedulers",
                where,
                f"Models of that kind are read with {' or '.join(EDM)}",
            )
        if name in FLOW or (name in BETAS and flows):
            return "flow"
        if name in EDM:
            return "edm"
        if name in BETAS or not name:
            # A record of this project's own may leave the class out: "flow" in prior's terms is
            # then the velocity along a schedule of betas.
            return "betas"
        raise ModelError(
            f'the scheduler "{name}" is not known',
            where,
            did_you_mean(name, [*BETAS, *FLOW, *EDM]),
        )

    def shift_for(self, tokens: int) -> float:
        """The shift of a flow's noise for pictures of so many tokens.

        FLUX and its kind shift by exp(mu) with mu linear in the tokens (time_shift_type
        "exponential"), or by mu itself ("linear").
        """
        if not self.use_dynamic_shifting:
            return self.shift if self.flow_shift is None else self.flow_shift
        low, high = self.base_image_seq_len or 256, self.max_image_seq_len or 4096
        base = 0.5 if self.base_shift is None else self.base_shift
        most = 1.15 if self.max_shift is None else self.max_shift
        slope = (most - base) / max(1, high - low)
        mu = base + slope * (tokens - low)
        return math.exp(mu) if self.time_shift_type == "exponential" else max(mu, 1e-3)

    @property
    def few_steps(self) -> bool:
        """Whether the model was distilled to a few steps without guidance, as far as its scheduler
        shows."""
        trailing = self.timestep_spacing == "trailing" and not self.rescale_betas_zero_snr
        return self._class_name in FEW_STEPS or (self._class_name in TRAILING and trailing)


@dataclass(frozen=True, kw_only=True)
class UnetRecord:
    """What the adapters have to know of a UNet."""

    _class_name: str = "UNet2DConditionModel"
    in_channels: Number | None = None
    out_channels: Number | None = None
    sample_size: Annotated[int, Bounds(low=1, high=4096)] = 64
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    encoder_hid_dim_type: str | None = None
    attention_type: str = "default"
    time_cond_proj_dim: int | None = None


@dataclass(frozen=True, kw_only=True)
class TransformerRecord:
    """What the adapters have to know of a transformer."""

    _class_name: str = ""
    in_channels: Number = 16
    out_channels: Number | None = None
    sample_size: Annotated[int, Bounds(low=1, high=4096)] | None = None
    patch_size: Number | None = None
    guidance_embeds: bool = False
    use_additional_conditions: bool | None = None


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecord:
    """What the adapters have to know of an autoencoder."""

    _class_name: str = "AutoencoderKL"
    latent_channels: Annotated[int, Bounds(low=1, high=1024)] = 4
    z_dim: Annotated[int, Bounds(low=1, high=1024)] | None = None
    scaling_factor: Positive | None = None
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[Positive, ...] | None = None
    force_upcast: bool = False
    block_out_channels: tuple[Number, ...] = field(default_factory=lambda: (128, 256, 512, 512))
    encoder_block_out_channels: tuple[Number, ...] | None = None
    temperal_downsample: tuple[bool, ...] | None = None

    @property
    def downscale(self) -> int:
        """Pixels per latent along an edge."""
        if self.temperal_downsample is not None:
            return int(2 ** len(self.temperal_downsample))
        levels = self.encoder_block_out_channels or self.block_out_channels
        return int(2 ** (len(levels) - 1))
