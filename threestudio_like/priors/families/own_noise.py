"""What a denoiser predicts, asked of the network itself: files of one kind of tensors hold models
that predict noise and models that predict v, and nothing in them says which."""

from __future__ import annotations

from typing import Any

import torch

SIZE = 32
"""Latents along an edge of the noise that is shown."""
SURE = (0.3, 0.7)
"""Below the first share of the noise the network predicts something else, above the second the
noise."""


def noise_share(pipeline: Any) -> float | None:
    """How much of pure noise a UNet of diffusers gives back at its last time step, as a share of
    it, without a prompt: about 1 where it predicts the noise, for nothing else is there to see;
    about 0 where it predicts v, which is the picture there, or the picture. None where it cannot be
    asked."""
    unet = pipeline.unet
    last = int(pipeline.scheduler.config.num_train_timesteps) - 1
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(1, unet.config.in_channels, SIZE, SIZE, generator=random)
    try:
        with torch.no_grad():
            text, _, *pooled = pipeline.encode_prompt("", device="cpu", **_PLAIN)
            more = {}
            if pooled:
                pixels = SIZE * pipeline.vae_scale_factor
                sizes = torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]], dtype=text.dtype)
                more["added_cond_kwargs"] = {"text_embeds": pooled[0], "time_ids": sizes}
            shown = noise.to(unet.dtype)
            out = unet(shown, last, encoder_hidden_states=text.to(unet.dtype), **more).sample
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return None
    share = float((out.float() * noise).sum() / noise.square().sum())
    return share if abs(share) < 100 else None


_PLAIN: dict[str, Any] = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}


def prediction_by(share: float | None, said: str) -> tuple[str, list[str]]:
    """The prediction type by `noise_share`, where that is clear and `said` is another, and notes
    for the user.

    Args:
        said: by the configurations that were given beside the file.
    """
    if share is None or said not in ("epsilon", "v_prediction"):
        return said, []
    option = "--load.prediction_type decides otherwise"
    if SURE[0] < share < SURE[1]:
        doubt = "whether the denoiser predicts noise or v cannot be told from the file"
        return said, [f"{doubt}: {said} is guessed, as its configurations say; {option}"]
    found = "epsilon" if share >= SURE[1] else "v_prediction"
    if found == said:
        return said, []
    does = "gives" if found == "epsilon" else "does not give"
    return found, [
        f"the denoiser {does} back the noise that it is shown: it is read as {found}, and not as "
        f"{said}, which the configurations beside it say; {option}"
    ]
