"""Score distillation (Poole et al. 2022): a diffusion prior's gradient with respect to a rendering,
without the UNet's Jacobian."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F

from ..engine.errors import ConfigError
from ..engine.schedule import Schedule
from ..engine.schema.bounds import NoiseTime, NoiseTimes, ScheduleText, Share, Weight
from ..priors.diffusion import Condition, DiffusionPrior, Domain, Reference
from ..priors.sampling import guide, rescaled
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from .guidance import Guidance, GuidanceInputs, GuidanceOutput
from .noise_times import check_times
from .prompts import PromptConfig, ViewPrompts, check_directions, perp_neg, tells_directions
from .registry import Subject

Weighting = Literal["latent-nerf", "dreamfusion", "uniform", "clean"]


@dataclass(frozen=True, kw_only=True)
class ScoreDistillationConfig:
    """Settings of score distillation. The defaults are those of the official Latent-NeRF (METHODS
    1.6)."""

    scale: float = 100.0
    """Classifier-free guidance: eps_u + scale (eps_c - eps_u)."""
    rescale: Share = 0.0
    weighting: Weighting = "latent-nerf"
    """w(t) of (eps_hat - eps): latent-nerf sqrt(abar)(1 - abar), dreamfusion 1 - abar, uniform 1,
    clean sqrt((1 - abar)/abar), which makes the gradient z - z0_hat."""
    t_min: NoiseTimes | NoiseTime = "0.02"
    t_max: NoiseTimes | NoiseTime = "0.98"
    """Schedules of the smallest and largest noise time, as fractions of T; never the one above the
    other."""
    shared_time: bool = False
    """Use one time step for all views of a step."""
    clip: Weight = 0.0
    """Largest norm of the gradient at each pixel; 0 for no limit."""
    grad_clip: ScheduleText = "0"
    """Schedule of the largest absolute value of every element of the gradient, "0.5->2 @ 0..50%"
    (Hong et al. 2023); 0 for no limit."""
    clamp: Weight = 0.0
    """Largest absolute value of the estimated clean latents; 0 for no limit."""
    perp_neg: Weight = 0.0
    """Weight of Perp-Neg for the directions that a view must not show; 0 switches it off."""
    known_background: Weight = 0.0
    """Weight of (opacity - mask)^2, where the mask is the region in which the prior's estimate
    differs from its own background. The background of the estimate is replaced by the true one. 0
    switches this off."""
    image_residual: bool = False
    """For RGB renderings: compare the rendering with the decoded target instead of comparing
    latents (HiFA, Zhu et al. 2023). No gradient passes through the encoder then, where fine detail
    would turn into coloured noise."""
    image_loss: Weight = 0.0
    """For RGB renderings: weight of a second loss beside that of the latents, on the distance of
    the rendering to the decoded estimate, w(t) alpha / sigma (x - D(z0_hat)) (HiFA; threestudio's
    lambda_sds_img over lambda_sds)."""
    joint_views: bool = False
    """Let the prior denoise all views of a step together."""
    prompt: PromptConfig = field(default_factory=PromptConfig)

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)


def weight(kind: Weighting, abar: torch.Tensor) -> torch.Tensor:
    """The weight w(t) as a function of abar = alphabar_t."""
    if kind == "latent-nerf":
        return abar.sqrt() * (1 - abar)
    if kind == "dreamfusion":
        return 1 - abar
    if kind == "clean":
        return ((1 - abar) / abar).sqrt()
    return torch.ones_like(abar)


def check_score(subject: Subject, config: ScoreDistillationConfig) -> None:
    """Raise ConfigError, before anything begins, where score distillation could not be built."""
    check_directions(config.prompt)
    directed = config.prompt.view_dependent
    if subject.prior is not None:
        directed = tells_directions(subject.prior, config.prompt)
    check_options(config, subject.encode, directed)


def check_options(config: ScoreDistillationConfig, encode: bool, directed: bool) -> None:
    """Raise ConfigError where an option would be passed over: those of RGB renderings where latents
    are rendered, that of latents where RGB is, and Perp-Neg where every view has one prompt (not
    `directed`)."""
    for name, rgb in (("image_residual", True), ("image_loss", True), ("known_background", False)):
        if getattr(config, name) and encode != rgb:
            what = ("RGB", "latents") if rgb else ("latents", "RGB")
            raise ConfigError(
                f'"{name}" is for renderings of {what[0]}, and this stage renders {what[1]}',
                f"guidance.{name}",
                "Leave it out",
            )
    if config.perp_neg > 0 and not directed:
        raise ConfigError(
            "Perp-Neg sets the view's direction against the others, and all have one prompt",
            "guidance.perp_neg",
            "Leave it out, or let the prompt name them: prompt.view_dependent",
        )


def foreground_mask(
    clean: torch.Tensor, low: float = 0.22, high: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where an estimate differs from the median of its border.

    Returns the mask (B, 1, h, w) in [0, 1] and that median (B, C, 1, 1).
    """
    border = torch.cat(
        [clean[:, :, 0], clean[:, :, -1], clean[:, :, 1:-1, 0], clean[:, :, 1:-1, -1]], -1
    )
    median = border.median(-1).values[:, :, None, None]
    distance = (clean - median).square().mean(1, keepdim=True).sqrt()
    x = ((distance - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x), median


class ScoreDistillation(Guidance):
    """Score distillation in the prior's latent space, or in RGB through its encoder.

    Args:
        prior: the diffusion prior.
        prompt: describes the object.
        config: weighting, schedules and variants.
        encode: whether renderings are RGB pictures that pass through the encoder, which is then
            differentiated.
        reference: a picture of the object, which the unconditional branch is not told; for priors
            that want one.

    Raises:
        ConfigError: an option means nothing here, see `check_options`.
    """

    domain: Domain = "colour"
    """What the renderings show."""
    normalised = False
    """Whether rows of attention are divided by their sums after `emphasis`."""

    def __init__(
        self,
        prior: DiffusionPrior,
        prompt: str,
        config: ScoreDistillationConfig,
        encode: bool = False,
        reference: Reference | None = None,
    ) -> None:
        self.prior, self.config, self.encode = prior, config, encode
        self.reference = reference
        self.prompts = ViewPrompts(prior, prompt, config.prompt)
        check_options(config, encode, self.prompts.directed)
        self.t_min = Schedule.parse(config.t_min, "guidance.t_min")
        self.t_max = Schedule.parse(config.t_max, "guidance.t_max")
        self.grad_clip = Schedule.parse(config.grad_clip, "guidance.grad_clip")
        # Settings that a recovery changes are kept here, because a configuration is never written
        # to.
        self.scale, self.clip = config.scale, config.clip

    @property
    def wants_all_views(self) -> bool:
        """Whether a step's views must not be divided, because they are denoised together."""
        return self.config.joint_views and self.prior.facts.joint_views > 1

    def recover(self, verdict: str) -> str:
        """Limit the gradient after a NaN, and halve the guidance scale after any other collapse."""
        if verdict == "nan":
            self.clip = 1.0
            return "limited the guidance gradient to 1 per pixel"
        self.scale *= 0.5
        return f"halved the guidance scale to {self.scale:g}"

    def shrink(self) -> str:
        """Let the prior process fewer pictures at once."""
        return self.prior.shrink()

    def latents(self, rendering: Rendering) -> torch.Tensor:
        """The rendering as latents (B, C, h, w).

        A latent rendering is used as it is; an RGB rendering is resized to the prior's size and
        encoded.
        """
        picture = rendering.features
        if not self.encode:
            return picture.permute(0, 3, 1, 2)
        size = self.prior.facts.image_size
        if picture.shape[1] != size:
            picture = F.interpolate(
                picture.permute(0, 3, 1, 2), (size, size), mode="bilinear", align_corners=False
            ).permute(0, 2, 3, 1)
        return self.prior.encode_image(picture)

    def times(self, count: int, inputs: GuidanceInputs) -> torch.Tensor:
        """Time steps (B,) drawn uniformly between t_min and t_max, inclusive."""
        last = len(self.prior.schedule)
        low = int(self.t_min(inputs.fraction) * last)
        high = max(low + 1, int(self.t_max(inputs.fraction) * last) + 1)
        if self.config.shared_time:
            drawn = inputs.random.whole.integers("time", low, high, shape=(1,))
        else:
            drawn = inputs.random.integers("time", low, high, shape=(count,))
        return drawn.clamp(0, last - 1).expand(count)

    @torch.no_grad()
    def residual(
        self, latents: torch.Tensor, inputs: GuidanceInputs, background: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The gradient (B, C, h, w) with respect to the latents, and the foreground mask (B, 1, h,
        w) if it is needed, else None.

        Args:
            background: latents of the background (B, C, h, w), for `known_background`.
        """
        gradient, mask = self._unclipped(latents, inputs, background)
        return self._clipped(gradient, inputs), mask

    def _clipped(self, gradient: torch.Tensor, inputs: GuidanceInputs) -> torch.Tensor:
        if self.clip > 0:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient = gradient * (self.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        limit = self.grad_clip(inputs.fraction)
        return gradient.clamp(-limit, limit) if limit > 0 else gradient

    def _unclipped(
        self, latents: torch.Tensor, inputs: GuidanceInputs, background: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        config, prior = self.config, self.prior
        count = len(latents)
        t = self.times(count, inputs)
        noise = inputs.random.normal("noise", tuple(latents.shape), latents.device)
        noisy = prior.schedule.add_noise(latents, noise, t)
        epsilon = self._guided_epsilon(noisy, t, inputs)
        abar = prior.schedule.abar(t, latents)
        w = weight(config.weighting, abar)
        mask = None
        if config.known_background > 0 or config.clamp > 0:
            clean = (noisy - (1 - abar).sqrt() * epsilon) / abar.sqrt()
            if config.clamp > 0:
                clean = clean.clamp(-config.clamp, config.clamp)
            if config.known_background > 0 and background is not None:
                mask, _ = foreground_mask(clean)
                clean = mask * clean + (1 - mask) * background
            epsilon = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
        return w * (epsilon - self.baseline(noisy, t, noise, inputs=inputs)), mask

    def baseline(
        self, noisy: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, inputs: GuidanceInputs
    ) -> torch.Tensor:
        """What is subtracted from the guided noise (B, C, h, w): the noise that was added, which
        has no mean and lowers the variance."""
        return noise

    def clean_estimate(self, latents: torch.Tensor, inputs: GuidanceInputs) -> torch.Tensor:
        """The clean latents (B, C, h, w) that `baseline` implies: those that were made noisy."""
        return latents

    def shown_estimate(
        self, shown: torch.Tensor, latents: torch.Tensor, inputs: GuidanceInputs
    ) -> torch.Tensor:
        """The pictures (B, 3, H, W) that `image_loss` holds against the prior's estimate: the
        renderings themselves."""
        return shown

    def emphasis(self, cameras: Cameras) -> torch.Tensor | None:
        """Factors (B, T) for the attention to the prompt's words in the conditional branch, or
        None."""
        return self.prompts.emphasis(cameras)

    def _guided_epsilon(
        self, noisy: torch.Tensor, t: torch.Tensor, inputs: GuidanceInputs
    ) -> torch.Tensor:
        config, prior, count = self.config, self.prior, len(noisy)
        texts = [self.prompts.text(inputs.cameras), self.prompts.negatives(count)]
        if config.perp_neg > 0:
            others = self.prompts.other_directions(inputs.cameras)
            texts += [others[:, 0], others[:, 1]]
        repeat = len(texts)
        views = count if config.joint_views else 1
        condition = Condition(
            torch.cat(texts),
            inputs.cameras[torch.arange(repeat * count) % count],
            inputs.background,
            views=views,
            domain=self.domain,
        )
        if inputs.control is not None:
            condition.control = {
                kind: pictures.repeat(repeat, 1, 1, 1) for kind, pictures in inputs.control.items()
            }
        if self.reference is not None:
            condition.reference = self.reference
            condition.shown = torch.ones(repeat * count, dtype=torch.bool)
            condition.shown[count : 2 * count] = False
        factors = self.emphasis(inputs.cameras)
        if factors is not None:
            condition.emphasis = torch.ones(repeat * count, factors.shape[1])
            condition.emphasis[:count] = factors
            condition.normalised = self.normalised
        epsilon = prior.epsilon(noisy.repeat(repeat, 1, 1, 1), t.repeat(repeat), condition).chunk(
            repeat
        )
        if config.perp_neg > 0:
            guided = perp_neg(
                epsilon[1],
                epsilon[0],
                list(epsilon[2:]),
                weights=self._perp_neg_weights(inputs, epsilon[0]),
                scale=self.scale,
            )
            return rescaled(guided, epsilon[0], config.rescale)
        return guide(epsilon[0], epsilon[1], self.scale, rescale=config.rescale)

    def _perp_neg_weights(
        self, inputs: GuidanceInputs, like: torch.Tensor
    ) -> list[float | torch.Tensor]:
        weight = self.config.perp_neg
        if not self.config.prompt.interpolate:
            return [weight, weight]
        columns = self.prompts.other_weights(inputs.cameras).to(like)
        return [weight * column.view(-1, 1, 1, 1) for column in columns.unbind(1)]

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """0.5 |z - stopgrad(z - g)|^2 summed over elements, divided by the batch: its gradient in z
        is g / B (METHODS 0.3)."""
        return self.distilled(rendering, self.seen_latents(rendering), inputs)

    def seen_latents(self, rendering: Rendering) -> torch.Tensor:
        """`latents`, without a gradient where the loss is on pictures alone."""
        with torch.set_grad_enabled(not (self.encode and self.config.image_residual)):
            return self.latents(rendering)

    def distilled(
        self, rendering: Rendering, latents: torch.Tensor, inputs: GuidanceInputs
    ) -> GuidanceOutput:
        """The loss of a rendering whose latents (B, C, h, w) are known."""
        image_residual = self.encode and self.config.image_residual
        background = rendering.background.permute(0, 3, 1, 2).detach() if not self.encode else None
        with torch.no_grad():
            raw, mask = self._unclipped(latents.detach(), inputs, background)
        gradient = self._clipped(raw, inputs)
        target = (latents - gradient).detach()
        if image_residual:
            with torch.no_grad():
                pictures = self.prior.decode_latents(target).permute(0, 3, 1, 2)
            shown = rendering.features.permute(0, 3, 1, 2)
            if shown.shape[-1] != pictures.shape[-1]:
                shown = F.interpolate(
                    shown, pictures.shape[-2:], mode="bilinear", align_corners=False
                )
            loss = 0.5 * F.mse_loss(shown, pictures, reduction="sum") / len(latents)
        else:
            loss = 0.5 * F.mse_loss(latents, target, reduction="sum") / len(latents)
        if self.encode and self.config.image_loss > 0:
            loss = loss + self.config.image_loss * self._image_loss(
                rendering, latents.detach(), raw, inputs=inputs
            )
        if mask is not None:
            opacity = rendering.opacity.permute(0, 3, 1, 2)
            loss = loss + self.config.known_background * (opacity - mask).square().sum() / len(
                latents
            )
        return GuidanceOutput(loss, {"gradient": gradient.square().mean().sqrt()})

    def _image_loss(
        self,
        rendering: Rendering,
        latents: torch.Tensor,
        gradient: torch.Tensor,
        inputs: GuidanceInputs,
    ) -> torch.Tensor:
        """The loss whose gradient in the rendering x, resized to the prior's pictures, is w(t)
        alpha / sigma (x - D(z0_hat)) / B.

        Args:
            gradient: w(t) (eps_hat - eps), not clipped.
        """
        shown, size = rendering.features.permute(0, 3, 1, 2), self.prior.facts.image_size
        if shown.shape[-1] != size:
            shown = F.interpolate(shown, (size, size), mode="bilinear", align_corners=False)
        with torch.no_grad():
            # The same draw as that of the gradient: random numbers are keyed by what they are for.
            t = self.times(len(latents), inputs)
            abar = self.prior.schedule.abar(t, latents)
            w, ratio = weight(self.config.weighting, abar), ((1 - abar) / abar).sqrt()
            clean = self.clean_estimate(latents, inputs) - ratio * gradient / w
            pictures = self.prior.decode_latents(clean).permute(0, 3, 1, 2)
            ours = self.shown_estimate(shown, latents, inputs)
            target = shown - self._clipped(w / ratio * (ours - pictures), inputs)
        return 0.5 * F.mse_loss(shown, target, reduction="sum") / len(latents)
