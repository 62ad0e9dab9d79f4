"""Variational score distillation (Wang et al. 2023, "ProlificDreamer"): the score of the object's
own renderings takes the place of the noise.

A second denoiser learns the distribution of what is rendered so far, and is told the camera. The
object's latents z move along

    w(t) (eps_prior(z_t; y, t) - eps_phi(z_t; y, c, t)),

eps_prior with classifier-free guidance of an ordinary scale, and the second denoiser along the
gradient of |eps_phi(z_t; y, c, t) - eps|^2 for the same z, which is held fixed. The two gradients
reach different parameters, so that one backward pass makes both steps of an alternation: the
object's with the copy as it was, and the copy's with the object as it was. The copy has Adam
moments, a rate and numbers of its own, which a checkpoint holds.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.errors import ConfigError
from ..engine.schema.bounds import Count, Decay, Positive, ScheduleText, Share, Weight
from ..engine.stage import ParameterGroup
from ..priors.diffusion import Condition, DiffusionPrior, Reference
from ..priors.networks.gradient_range import GradientRange
from ..priors.networks.low_rank import LowRank, LowRankConfig
from ..priors.sampling import guide
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from .guidance import Guidance, GuidanceInputs, GuidanceOutput
from .prompts import PromptConfig, ViewPrompts
from .registry import Beside, GuidanceContext, GuidanceKind, Subject
from .score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
    Weighting,
    check_score,
)
from .second_prior import SecondLoadConfig, check_beside, load_beside


@dataclass(frozen=True, kw_only=True)
class VariationalConfig(ScoreDistillationConfig):
    """Settings of variational score distillation; the defaults are threestudio's."""

    scale: float = 7.5
    weighting: Weighting = "dreamfusion"
    model: str = ""
    """Whose copy learns the renderings: the run's prior, or another one of the same latents, as the
    published runs take sd-2.1, which predicts v, beside sd-2.1-base."""
    load: SecondLoadConfig = field(default_factory=SecondLoadConfig)
    """How that other one is loaded."""
    lora: LowRankConfig = field(default_factory=LowRankConfig)
    """The layers that are trained."""
    own_scale: float = 1.0
    """The copy's guidance towards the camera: eps_u + scale (eps_c - eps_u)."""
    train_weight: Weight = 1.0
    """Of the copy's own loss."""
    train_samples: Count = 1
    """Noise times a view at which the copy is trained in a step."""
    drop_camera: Share = 0.1
    """How often the copy is trained without the camera, for its guidance."""
    rate: ScheduleText = "1e-4"
    """Learning rate of the copy."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    eps: Positive = 1e-15
    weight_decay: Weight = 0.01
    """Of the copy's AdamW."""


class VariationalScoreDistillation(ScoreDistillation):
    """Variational score distillation with a low-rank copy.

    Args:
        prior: the diffusion prior; it is not changed.
        prompt: describes the object; the copy is told no view words.
        config: scales, times, and how the copy is trained.
        encode, reference: see `ScoreDistillation`.
        model: whose copy is trained, where it is another one.
        seed: of the copy's first values.

    Raises:
        ConfigError: the other model has other latents or another noise schedule.
        ModelError: there is no network that could be trained along.
    """

    def __init__(
        self,
        prior: DiffusionPrior,
        prompt: str,
        config: VariationalConfig,
        encode: bool = False,
        reference: Reference | None = None,
        model: DiffusionPrior | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(prior, prompt, config, encode, reference)
        self.model = prior if model is None else model
        check_pair(prior, self.model)
        self.variational = config
        self.copy = LowRank(self.model.denoiser_module, config.lora, seed)
        # One prompt for every view, whatever those of the directions are.
        plain = PromptConfig(view_dependent=False, negative=config.prompt.negative)
        self.own_prompts = ViewPrompts(self.model, prompt, plain)
        # What `baseline` found, for the image loss of the same step.
        self._own_noise: torch.Tensor | None = None

    def modules(self) -> dict[str, nn.Module]:
        """The copy's layers."""
        return {"copy": self.copy}

    def parameter_groups(self) -> list[ParameterGroup]:
        """The copy's layers, with an AdamW of their own."""
        config = self.variational
        return [
            ParameterGroup(
                "copy",
                list(self.copy.parameters()),
                config.rate,
                config.betas,
                eps=config.eps,
                weight_decay=config.weight_decay,
            )
        ]

    def shrink(self) -> str:
        """Let prior and copy process fewer pictures at once."""
        done = super().shrink()
        if self.model is not self.prior:
            self.model.shrink()
        return done

    def camera_numbers(self, cameras: Cameras) -> torch.Tensor | None:
        """What the copy is told of the cameras (B, 16); None for nothing."""
        kind = self.variational.lora.camera
        if kind == "none":
            return None
        matrix = cameras.camera_to_world if kind == "extrinsics" else cameras.view_projection()
        return matrix.float().flatten(1)

    def own_prediction(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor,
        inputs: GuidanceInputs,
        told: torch.Tensor,
    ) -> torch.Tensor:
        """The copy's raw prediction (n B, C, h, w) for n runs of the B views.

        Args:
            told: which entries are told the camera (n B,) bool.
        """
        count, every = len(inputs.cameras), len(noisy)
        cameras = inputs.cameras[torch.arange(every) % count]
        condition = Condition(
            self.own_prompts.text(cameras),
            cameras,
            inputs.background,
            views=count if self.config.joint_views else 1,
            domain=self.domain,
        )
        if self.reference is not None:
            condition.reference = self.reference
        if inputs.control is not None and self.model is self.prior:
            condition.control = {
                kind: pictures.repeat(every // count, 1, 1, 1)
                for kind, pictures in inputs.control.items()
            }
        factors = self.own_prompts.emphasis(cameras)
        if factors is not None:
            condition.emphasis = factors
        numbers = self.camera_numbers(cameras)
        if numbers is not None:
            numbers = numbers * told.to(numbers)[:, None]

        def within(entries: slice, enlarged: GradientRange | None) -> AbstractContextManager[None]:
            camera = None if numbers is None else numbers[entries].to(noisy.device)
            return self.copy.active(camera, enlarged)

        return self.model.predict_with_gradient(noisy, t, condition, within)

    def baseline(
        self, noisy: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, inputs: GuidanceInputs
    ) -> torch.Tensor:
        """The noise that the copy expects in the renderings (B, C, h, w)."""
        scale, count = self.variational.own_scale, len(noisy)
        runs = 1 if scale == 1.0 or self.copy.camera is None else 2
        told = torch.arange(runs * count) < count
        several, times = noisy.repeat(runs, 1, 1, 1), t.repeat(runs)
        with torch.no_grad():
            predicted = self.own_prediction(several, times, inputs, told=told)
            epsilon = self.model.schedule.to_epsilon(
                predicted, several, times, kind=self.model.facts.prediction_type
            )
        found = epsilon if runs == 1 else guide(epsilon[:count], epsilon[count:], scale)
        self._own_noise = found
        return found

    def clean_estimate(self, latents: torch.Tensor, inputs: GuidanceInputs) -> torch.Tensor:
        """See `ScoreDistillation.clean_estimate`."""
        assert self._own_noise is not None
        t = self.times(len(latents), inputs)
        noise = inputs.random.normal("noise", tuple(latents.shape), latents.device)
        abar = self.prior.schedule.abar(t, latents)
        return latents + ((1 - abar) / abar).sqrt() * (noise - self._own_noise)

    def shown_estimate(
        self, shown: torch.Tensor, latents: torch.Tensor, inputs: GuidanceInputs
    ) -> torch.Tensor:
        """The copy's estimate of the renderings, decoded."""
        return self.prior.decode_latents(self.clean_estimate(latents, inputs)).permute(0, 3, 1, 2)

    def training_loss(self, latents: torch.Tensor, inputs: GuidanceInputs) -> torch.Tensor:
        """Mean squared error (), in the form that its model predicts, of the copy on the present
        latents (B, C, h, w), which are held fixed."""
        config, model, random = self.variational, self.model, inputs.random
        count, last = len(latents), len(model.schedule)
        several = max(1, config.train_samples)
        clean = latents.detach().repeat(several, 1, 1, 1)
        noises, drawn = [], []
        for number in range(several):
            shape = tuple(latents.shape)
            noises.append(random.normal(f"train noise {number}", shape, latents.device))
            purpose = f"train time {number}"
            if self.config.shared_time or self.config.joint_views:
                times = random.whole.integers(purpose, 0, last, shape=(1,)).expand(count)
            else:
                times = random.integers(purpose, 0, last, shape=(count,))
            drawn.append(times)
        noise, t = torch.cat(noises), torch.cat(drawn)
        noisy = model.schedule.add_noise(clean, noise, t)
        target = model.schedule.from_epsilon(noise, noisy, t, kind=model.facts.prediction_type)
        tells = float(random.whole.uniform("drop camera")) >= config.drop_camera
        told = torch.full((len(noisy),), tells)
        predicted = self.own_prediction(noisy, t, inputs, told=told)
        return F.mse_loss(predicted, target)

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The loss of score distillation, and the weighted one of the copy."""
        latents = self.seen_latents(rendering)
        found = self.distilled(rendering, latents, inputs)
        self._own_noise = None
        if self.variational.train_weight == 0:
            return found
        own = self.training_loss(latents, inputs)
        return GuidanceOutput(
            found.loss + self.variational.train_weight * own,
            {**found.figures, "copy": own.detach()},
        )


def check_pair(prior: DiffusionPrior, model: DiffusionPrior) -> None:
    """Raise ConfigError where a model cannot learn the latents that a prior judges."""
    if prior is model:
        return
    where = f'--guidance.vsd.model "{model.facts.name}"'
    ours, theirs = (
        (p.facts.channels, p.facts.latent_size, p.facts.image_size) for p in (prior, model)
    )
    if ours[0] != theirs[0] or prior.downscale != model.downscale:
        raise ConfigError(
            f"has latents of {theirs[0]} channels at {theirs[1]} of {theirs[2]} pixels, and the "
            f"prior of {ours[0]} at {ours[1]} of {ours[2]}",
            where,
            "Take a model with the prior's autoencoder, or leave it out",
        )
    a, b = prior.schedule.alphas_cumprod, model.schedule.alphas_cumprod
    if len(a) != len(b) or not torch.allclose(a, b.to(a), atol=1e-4):
        raise ConfigError(
            "has another noise schedule than the prior",
            where,
            "Take a model that was trained with the same noise, or leave it out",
        )


def _model(first: DiffusionPrior, config: VariationalConfig) -> DiffusionPrior:
    return load_beside(first, config.model, config.load) if config.model else first


def _build(context: GuidanceContext, config: VariationalConfig) -> Guidance:
    return VariationalScoreDistillation(
        context.prior,
        context.prompt,
        config,
        encode=context.encode,
        reference=context.reference,
        model=_model(context.prior, config),
        seed=context.seed,
    )


def _beside(first: DiffusionPrior, config: VariationalConfig) -> Beside:
    return Beside(
        prior=_model(first, config),
        entries=1 if config.own_scale == 1.0 else 2,
        trained=partial(LowRank, config=config.lora),
        trained_entries=max(1, config.train_samples) if config.train_weight > 0 else 0,
    )


def _check(subject: Subject, config: VariationalConfig) -> None:
    check_score(subject, config)
    if config.model:
        check_beside(config.model, "--guidance.vsd.model", subject, config)


VSD = GuidanceKind(
    summary="variational score distillation: a copy learns the renderings (Wang et al. 2023)",
    config=VariationalConfig,
    build=_build,
    beside=_beside,
    check=_check,
)
