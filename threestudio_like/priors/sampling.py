"""Classifier-free guidance and DDIM sampling over any DiffusionPrior."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .diffusion import Condition, DiffusionPrior


def guide(
    conditional: torch.Tensor, unconditional: torch.Tensor, scale: float, rescale: float = 0.0
) -> torch.Tensor:
    """eps_u + scale (eps_c - eps_u) (METHODS 0.3), for eps_c and eps_u (B, C, h, w).

    The standard deviation of each sample is moved towards eps_c's by `rescale` in [0, 1] (Lin et
    al. 2023, eq. 15-16).
    """
    return rescaled(unconditional + scale * (conditional - unconditional), conditional, rescale)


def rescaled(guided: torch.Tensor, conditional: torch.Tensor, rescale: float) -> torch.Tensor:
    """A guided prediction (B, C, h, w) whose standard deviation is moved towards that of the
    conditional one, sample by sample, by `rescale` in [0, 1]."""
    if rescale <= 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    ratio = conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True).clamp_min(1e-8)
    return guided * (rescale * ratio + 1 - rescale)


def join(a: Condition, b: Condition) -> Condition:
    """Join two conditions into one batch, `a` first. Cameras, background and domain are those of
    `a`, each half keeps its own emphasis, and a half without a reference is told of none; both are
    controlled by the pictures of `a`."""
    cameras = None
    if a.cameras is not None:
        twice = torch.arange(2 * len(a.cameras)) % len(a.cameras)
        cameras = a.cameras[twice]
    background = (
        torch.cat([a.background, a.background])
        if isinstance(a.background, torch.Tensor)
        else a.background
    )
    emphasis = None
    if a.emphasis is not None or b.emphasis is not None:
        emphasis = torch.cat(
            [torch.ones(x.text.shape[:2]) if x.emphasis is None else x.emphasis for x in (a, b)]
        )
    reference = a.reference or b.reference
    shown = torch.cat([x.tells(len(x.text)) for x in (a, b)]) if reference is not None else None
    return Condition(
        torch.cat([a.text, b.text]),
        cameras,
        background,
        views=a.views,
        emphasis=emphasis,
        reference=reference,
        shown=shown,
        control=None
        if a.control is None
        else {kind: torch.cat([pictures, pictures]) for kind, pictures in a.control.items()},
        domain=a.domain,
        normalised=a.normalised or b.normalised,
    )


def guided_clean(
    prior: DiffusionPrior,
    noisy: torch.Tensor,
    t: torch.Tensor,
    condition: Condition,
    negative: torch.Tensor,
    scale: float,
    rescale: float = 0.0,
    clamp: float = 0.0,
) -> torch.Tensor:
    """The guided estimate of the clean latents (B, C, h, w). Guidance and rescaling act on it, and
    `clamp` limits its values.

    Args:
        negative: text embeddings of the unconditional or negative prompt (B, T, D).
    """
    if scale == 1.0:
        clean = prior.schedule.to_clean(
            prior.predict(noisy, t, condition), noisy, t, kind=prior.facts.prediction_type
        )
    else:
        whole = join(
            condition,
            Condition(negative, condition.cameras, condition.background, views=condition.views),
        )
        prediction = prior.predict(torch.cat([noisy, noisy]), torch.cat([t, t]), whole)
        clean_c, clean_u = prior.schedule.to_clean(
            prediction,
            torch.cat([noisy, noisy]),
            torch.cat([t, t]),
            kind=prior.facts.prediction_type,
        ).chunk(2)
        clean = guide(clean_c, clean_u, scale, rescale=rescale)
    return clean.clamp(-clamp, clamp) if clamp > 0 else clean


@torch.no_grad()
def ddim(
    prior: DiffusionPrior,
    noisy: torch.Tensor,
    begin: float,
    steps: int,
    condition: Condition,
    negative: torch.Tensor,
    scale: float,
    rescale: float = 0.0,
    clamp: float = 0.0,
    project: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Deterministic DDIM (Song et al. 2021) from time `begin` (a fraction of T) to clean latents
    (B, C, h, w), at the times that the prior's schedule asks for.

    Args:
        noisy: latents at time `begin`.
        steps: number of model evaluations.
        project: is applied to every estimate of the clean latents and to the result, to insert what
            is known.
    """
    schedule, noisy = prior.schedule, noisy.to(prior.device)
    for now, after in schedule.sampling_times(steps, begin):
        t = torch.full((len(noisy),), now)
        clean = guided_clean(
            prior,
            noisy,
            t,
            condition=condition,
            negative=negative,
            scale=scale,
            rescale=rescale,
            clamp=clamp,
        )
        clean = clean if project is None else project(clean)
        abar = schedule.abar(t, noisy)
        abar_next = (
            abar.new_full((), schedule.last_abar)
            if after < 0
            else schedule.abar(torch.full((len(noisy),), after), noisy)
        )
        epsilon = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
        noisy = abar_next.sqrt() * clean + (1 - abar_next).sqrt() * epsilon
    return noisy if project is None else project(noisy)
