"""Control networks beside a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.errors import ModelError
from ..registry import EMBEDDED
from .models import OPTION, control_folder, parse_requests
from .networks import ROWS, load_control

if TYPE_CHECKING:
    from ..families.base import DiffusersPrior


def attach(prior: DiffusersPrior, family: str) -> None:
    """Load the control networks that a prior's configuration asks for, and say so in its facts.

    Args:
        family: its short name, see `families.detection.FAMILIES`.

    Raises:
        ConfigError, ModelError: see `parse_requests`, `control_folder`, `load_control`.
    """
    requests = parse_requests(prior.config.control)
    known = sorted({name for row in ROWS.values() for name in row.families})
    if family not in known:
        raise ModelError(
            f"is of a family without control networks ({family})",
            f"{OPTION} {prior.config.control[0]}",
            f"Families that have them: {', '.join(known)}",
        )
    row = family
    if family == "sd":
        row = "sd2" if int(prior.denoiser.config.cross_attention_dim) == 1024 else "sd1"
    found = []
    for request in requests:
        folder = control_folder(request, row, embedded=prior.name == EMBEDDED)
        found.append(
            load_control(
                folder,
                request.kind,
                request.weight,
                prior.denoiser,
                family=family,
                downscale=prior.downscale_of_latents,
                domains=int("normal" in prior.facts.domains),
            )
        )
    prior.controls = tuple(found)
    for control in found:
        network = control.network.requires_grad_(False).eval()
        if prior.config.offload and prior.accelerated:
            from accelerate import cpu_offload

            cpu_offload(network, prior.device)
        else:
            network.to(prior.device)
    prior.facts.controls = tuple(dict.fromkeys(c.kind for c in found))
