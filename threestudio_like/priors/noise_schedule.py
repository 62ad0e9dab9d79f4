"""Noise schedules of diffusion models, and the four forms in which a model can give its
prediction.

Everything in this project is said in the variance-preserving form
z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps. Networks that were trained in another form differ by a
factor that depends on t alone, so that nothing but their adapter has to know of it:

- flow matching, x = (1 - sigma) z + sigma eps: x = z_t times sqrt((1 - sigma)^2 + sigma^2), and
  abar = (1 - sigma)^2 / ((1 - sigma)^2 + sigma^2);
- EDM (Karras et al. 2022), x = z + sigma eps, of which the network is given x / sqrt(sigma^2 +
  sigma_data^2): abar = 1 / (1 + sigma^2).

`NoiseSchedule.factors` has that factor, and `NoiseSchedule.times` what the network is told instead
of t.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..engine.errors import ModelError
from .families.records import SchedulerRecord, with_usual
from .model_files import record

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]
Spacing = Literal["even", "linspace", "leading", "trailing"]


SMALLEST = 1e-8
"""Smallest abar: a schedule that ends in pure noise stops just before it."""


@dataclass(frozen=True)
class NoiseSchedule:
    """The schedule alphas_cumprod (T,) of z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps.

    Attributes:
        alphas_cumprod: abar (T,), falling with t.
        times: what the network is told at t (T,); None for t itself.
        factors: what z_t is multiplied by before the network sees it (T,); None for nothing.
        data: sigma_data of an EDM model; None for others.
        spacing, offset: how a sampler goes through it, see `sampling_times`: "even" ends at the
            clean latents in equal steps, and the others are those of diffusers' schedulers.
        last_abar: abar of what a sampler's last step leaves, 1 for clean latents.
    """

    alphas_cumprod: torch.Tensor
    times: torch.Tensor | None = None
    factors: torch.Tensor | None = None
    data: float | None = None
    spacing: Spacing = "even"
    offset: int = 0
    last_abar: float = 1.0

    def sampling_times(self, steps: int, begin: float = 1.0) -> list[tuple[int, int]]:
        """The time of every evaluation and the time that its step goes to, -1 at the end.

        Args:
            steps: number of evaluations, at most one a training step.
            begin: fraction of the schedule at which the latents are. Below 1 the first evaluation
                is at that time, and the spacing is that of a schedule that ends there.

        From the beginning on, times are those of diffusers' DDIMScheduler.
        """
        last = round(begin * (len(self) - 1))
        steps = max(1, min(steps, last + 1))
        if self.spacing == "even":
            even = torch.linspace(begin * (len(self) - 1), 0, steps + 1).round().long().tolist()
            pairs = [(a, b) for a, b in itertools.pairwise(even) if a > 0] or [(even[0], 0)]
            return [(a, b if b > 0 else -1) for a, b in pairs]
        ratio = (last + 1) // steps
        if self.spacing == "linspace":
            line = torch.linspace(0, last, steps, dtype=torch.float64).round()
            now = line.flip(0).long().tolist()
        elif self.spacing == "leading":
            now = [min(k * ratio + self.offset, last) for k in reversed(range(steps))]
        else:
            whole = torch.arange(steps, dtype=torch.float64) * ((last + 1) / steps)
            now = ((last + 1 - whole).round() - 1).long().tolist()
        if begin < 1:
            now[0] = last
            return list(zip(now, [*now[1:], -1]))
        return [(t, max(t - ratio, -1)) for t in now]

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def time(self, t: torch.Tensor) -> torch.Tensor:
        """What the network is told at integer time steps t (B,): t itself, or the times (B,)."""
        return t if self.times is None else self.times.to(t.device)[t]

    def seen(self, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """z_t (B, ...) at t (B,) as the network wants it."""
        if self.factors is None:
            return noisy
        factors = self.factors.to(noisy)[t.to(noisy.device)]
        return noisy * factors.view(-1, *[1] * (noisy.ndim - 1))

    def denoised(
        self, output: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor, velocity: bool = False
    ) -> torch.Tensor:
        """The clean latents that an EDM network's output (B, ...) implies: c_skip x + c_out F
        (Karras et al. 2022, table 1), with the other sign of c_out for a velocity."""
        assert self.data is not None
        abar = self.abar(t, noisy)
        variance = (1 - abar) / abar
        total = variance + self.data**2
        skip, out = self.data**2 / total, (variance / total).sqrt() * self.data
        return skip * noisy / abar.sqrt() + (-out if velocity else out) * output

    @staticmethod
    def of_betas(betas: torch.Tensor) -> NoiseSchedule:
        """From betas (T,) in [0, 1)."""
        return NoiseSchedule((1 - betas.double()).cumprod(0).float())

    @staticmethod
    def flow(steps: int = 1000, shift: float = 1.0, scale: float = 1000.0) -> NoiseSchedule:
        """Flow matching with sigma_t = shift s / (1 + (shift - 1) s), s = (t + 1) / T (Esser et
        al. 2024, eq. 23).

        Args:
            scale: the network is told sigma times this.
        """
        line = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        sigma = shift * line / (1 + (shift - 1) * line)
        power = (1 - sigma).square() + sigma.square()
        abar = ((1 - sigma).square() / power).clamp_min(SMALLEST)
        return NoiseSchedule(abar.float(), (scale * sigma).float(), power.sqrt().float())

    @staticmethod
    def edm(
        low: float = 0.002, high: float = 80.0, data: float = 0.5, steps: int = 1000
    ) -> NoiseSchedule:
        """Karras et al. 2022, with sigma spaced evenly in its seventh root from `low` to `high`.

        Args:
            data: standard deviation of the data that the network was trained on (sigma_data).
        """
        line = torch.linspace(0, 1, steps, dtype=torch.float64)
        sigma = (low ** (1 / 7) + line * (high ** (1 / 7) - low ** (1 / 7))) ** 7
        factors = ((1 + sigma.square()) / (sigma.square() + data**2)).sqrt()
        abar = (1 / (1 + sigma.square())).clamp_min(SMALLEST)
        return NoiseSchedule(abar.float(), (sigma.log() / 4).float(), factors.float(), data)

    @staticmethod
    def scaled_linear(
        start: float = 0.00085, end: float = 0.012, steps: int = 1000
    ) -> NoiseSchedule:
        """Stable Diffusion's schedule: linear in sqrt(beta) (METHODS 0.3)."""
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
        return NoiseSchedule((1 - betas).cumprod(0).float())

    @staticmethod
    def linear(start: float = 1e-4, end: float = 0.02, steps: int = 1000) -> NoiseSchedule:
        """DDPM's schedule: linear in beta."""
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
        return NoiseSchedule((1 - betas).cumprod(0).float())

    @staticmethod
    def cosine(steps: int = 1000) -> NoiseSchedule:
        """Nichol and Dhariwal's squared cosine, with betas of at most 0.999."""
        x = torch.arange(steps + 1, dtype=torch.float64) / steps
        bar = torch.cos((x + 0.008) / 1.008 * math.pi / 2).square()
        betas = (1 - bar[1:] / bar[:-1]).clamp_max(0.999)
        return NoiseSchedule((1 - betas).cumprod(0).float())

    @staticmethod
    def from_config(
        config: dict[str, Any], path: Path = Path("scheduler_config.json")
    ) -> NoiseSchedule:
        """From a diffusers scheduler_config.json. Raises ModelError on a schedule that is not
        known, or numbers that make none."""
        return NoiseSchedule.of(record(SchedulerRecord, with_usual(config), path), str(path))

    @staticmethod
    def of(
        numbers: SchedulerRecord, where: str = "scheduler_config.json", tokens: int = 4096
    ) -> NoiseSchedule:
        """From a scheduler's numbers.

        Args:
            tokens: tokens of a picture, by which FLUX and its kind shift their noise.

        Raises:
            ModelError: the scheduler's class or its schedule is not known.
        """
        kind = numbers.kind(where)
        if kind == "flow":
            steps = numbers.num_train_timesteps
            return NoiseSchedule.flow(steps, numbers.shift_for(tokens), scale=float(steps))
        if kind == "edm":
            return NoiseSchedule.edm(
                numbers.sigma_min or 0.002,
                numbers.sigma_max or 80.0,
                numbers.sigma_data,
                steps=numbers.num_train_timesteps,
            )
        schedule = NoiseSchedule._of_betas_named(numbers, where)
        if numbers.rescale_betas_zero_snr:
            root = schedule.alphas_cumprod.double().sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            schedule = NoiseSchedule(root.square().clamp_min(SMALLEST).float())
        return replace(
            schedule,
            spacing=numbers.timestep_spacing or "leading",
            offset=numbers.steps_offset,
            last_abar=1.0 if numbers.set_alpha_to_one else float(schedule.alphas_cumprod[0]),
        )

    @staticmethod
    def _of_betas_named(numbers: SchedulerRecord, where: str) -> NoiseSchedule:
        kind, steps = numbers.beta_schedule, numbers.num_train_timesteps
        start, end = numbers.beta_start, numbers.beta_end
        if numbers.trained_betas is not None:
            if len(numbers.trained_betas) < 2:
                raise ModelError('"trained_betas" has fewer than two values', where)
            return NoiseSchedule.of_betas(torch.tensor(numbers.trained_betas))
        if kind == "scaled_linear":
            return NoiseSchedule.scaled_linear(start, end, steps)
        if kind == "linear":
            return NoiseSchedule.linear(start, end, steps)
        if kind == "squaredcos_cap_v2":
            return NoiseSchedule.cosine(steps)
        raise ModelError(
            f'the noise schedule "{kind}" is not known',
            where,
            "Known: scaled_linear, linear, squaredcos_cap_v2",
        )

    def abar(self, t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """abar at integer time steps t (B,), in a shape that broadcasts over `like` (B, ...)."""
        values = self.alphas_cumprod[t.cpu()].to(like)
        return values.view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Add noise to clean latents (B, ...); returns z_t."""
        abar = self.abar(t, clean)
        return abar.sqrt() * clean + (1 - abar).sqrt() * noise

    def to_clean(
        self, prediction: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor, kind: PredictionType
    ) -> torch.Tensor:
        """The clean latents that a prediction implies.

        For flow, v = eps - z along z_s = (1 - s) z + s eps, evaluated at this abar.
        """
        abar = self.abar(t, noisy)
        a, s = abar.sqrt(), (1 - abar).sqrt()
        if kind == "epsilon":
            return (noisy - s * prediction) / a
        if kind == "v_prediction":
            return a * noisy - s * prediction
        if kind == "sample":
            return prediction
        return (noisy - s * prediction) / (a + s)

    def to_epsilon(
        self, prediction: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor, kind: PredictionType
    ) -> torch.Tensor:
        """The noise that a prediction implies."""
        abar = self.abar(t, noisy)
        a, s = abar.sqrt(), (1 - abar).sqrt()
        if kind == "epsilon":
            return prediction
        if kind == "v_prediction":
            return s * noisy + a * prediction
        if kind == "sample":
            return (noisy - a * prediction) / s
        return (noisy + a * prediction) / (a + s)

    def from_epsilon(
        self, epsilon: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor, kind: PredictionType
    ) -> torch.Tensor:
        """The prediction of the given kind that is equivalent to `epsilon`."""
        abar = self.abar(t, noisy)
        a, s = abar.sqrt(), (1 - abar).sqrt()
        clean = (noisy - s * epsilon) / a
        if kind == "epsilon":
            return epsilon
        if kind == "v_prediction":
            return a * epsilon - s * clean
        return clean if kind == "sample" else epsilon - clean
