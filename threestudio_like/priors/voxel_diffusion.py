"""IC3D (Sbrolli et al. 2022): voxel diffusion conditioned on the embedding of a picture (METHODS
2.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..engine.random import RandomStream
from ..engine.schema.bounds import Number
from .networks.contrastive import damaged, read_config
from .networks.voxel_unet import VoxelUNet, VoxelUNetConfig
from .networks.weights import save_weights
from .noise_schedule import NoiseSchedule

TIMES = 1000


@dataclass(frozen=True, kw_only=True)
class VoxelDiffusionConfig:
    """A voxel diffusion model. The defaults are the paper's; `toybox()` has those of the embedded
    model."""

    unet: VoxelUNetConfig = field(default_factory=VoxelUNetConfig)
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """What the network predicts. "sample", the clean voxels, is learnt in a tenth of the steps,
    because the noise need not pass through a narrow network."""
    signed: bool = False
    """Represent voxels as -1 and 1 instead of 0 and 1: signal and noise then have the same size,
    which a small model needs."""

    @staticmethod
    def toybox(embedding: int = 128) -> VoxelDiffusionConfig:
        """The configuration of the embedded model."""
        return VoxelDiffusionConfig(
            unet=VoxelUNetConfig.toybox(embedding), prediction="sample", signed=True
        )


@dataclass(frozen=True, kw_only=True)
class VoxelSampling:
    """How voxels are sampled. The defaults are fast, and give the same shapes as hundreds of steps
    (docs/results/voxel_samplers.md); `paper()` has 1000 ancestral ones."""

    sampler: Literal["dpm", "ddim", "ddpm"] = "dpm"
    """dpm: DPM-Solver++ (2M; Lu et al. 2022), at times even in the logarithm of signal to noise;
    ddim, and ddpm, which is ancestral: at times that are even themselves."""
    steps: Number = 12
    guidance: float = 1.5
    """w of eps = (1 + w) eps_c - w eps_u: 0 is the conditional and -1 the unconditional prediction.
    """
    clamp: bool = True
    """Keep estimates of the clean voxels within their range (an addition to the released code)."""

    @staticmethod
    def paper() -> VoxelSampling:
        """1000 ancestral steps with w = 1.5 and without clamping."""
        return VoxelSampling(sampler="ddpm", steps=TIMES, guidance=1.5, clamp=False)


class ShapePrior(ABC):
    """A generator of voxel shapes from embeddings."""

    @abstractmethod
    def sample(
        self,
        embedding: torch.Tensor | None,
        count: int,
        config: VoxelSampling,
        random: RandomStream,
    ) -> torch.Tensor:
        """Sample `count` occupancies (count, R, R, R) in [0, 1], with axes x, y, z.

        The embeddings are (B, D) with B 1 or `count`, or None for unconditional samples.
        """


class VoxelDiffusion(nn.Module, ShapePrior):
    """A voxel U-Net with its noise schedule (linear, 1e-4 to 0.02)."""

    scale: torch.Tensor

    def __init__(self, config: VoxelDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = VoxelUNet(config.unet)
        self.schedule = NoiseSchedule.linear(steps=TIMES)
        # Embeddings are divided by their root mean square over the training set, so that all
        # embedding spaces start with the same magnitude.
        self.register_buffer("scale", torch.ones(()))

    def encode(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map occupancies (B, R, R, R) to what is diffused (B, 1, R, R, R)."""
        x = voxels[:, None].float()
        return x * 2 - 1 if self.config.signed else x

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`, limited to [0, 1]."""
        return ((x[:, 0] + 1) / 2 if self.config.signed else x[:, 0]).clamp(0, 1)

    def loss(
        self,
        voxels: torch.Tensor,
        embedding: torch.Tensor,
        keep: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Mean squared error of the prediction: voxels (B, R, R, R), embedding (B, D), keep (B,)
        bool, t (B,), noise (B, 1, R, R, R)."""
        clean = self.encode(voxels)
        noisy = self.schedule.add_noise(clean, noise, t)
        target = self.schedule.from_epsilon(noise, noisy, t, kind=self.config.prediction)
        return (self.unet(noisy, t, embedding / self.scale, keep).float() - target).square().mean()

    def predict_epsilon(
        self, noisy: torch.Tensor, t: torch.Tensor, embedding: torch.Tensor | None, w: float
    ) -> torch.Tensor:
        """(1 + w) eps_c - w eps_u; without an embedding, eps_u. noisy (B, 1, R, R, R), t (B,),
        embedding (B, D)."""

        def epsilon(prediction: torch.Tensor) -> torch.Tensor:
            return self.schedule.to_epsilon(
                prediction.float(), noisy, t, kind=self.config.prediction
            )

        if embedding is None or w == -1:
            return epsilon(self.unet(noisy, t))
        if w == 0:
            return epsilon(self.unet(noisy, t, embedding / self.scale))
        count = len(noisy)
        keep = torch.arange(2 * count, device=noisy.device) < count
        both = self.unet(
            torch.cat([noisy, noisy]),
            torch.cat([t, t]),
            torch.cat([embedding, embedding]) / self.scale,
            keep,
        ).float()
        with_, without = both.chunk(2)
        return (1 + w) * epsilon(with_) - w * epsilon(without)

    def of_class(self, number: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) that represent classes (B,)."""
        assert self.unet.class_table is not None
        return self.unet.class_table(number) * self.scale

    @torch.no_grad()
    def sample(
        self,
        embedding: torch.Tensor | None,
        count: int,
        config: VoxelSampling,
        random: RandomStream,
    ) -> torch.Tensor:
        """See `ShapePrior.sample`. The same random stream gives the same noise for any
        embedding."""
        size = self.config.unet.resolution
        x = random.normal("voxels", (count, 1, size, size, size))
        if embedding is not None:
            embedding = embedding.expand(count, -1)
        times = self.times(config)
        low = -1.0 if self.config.signed else 0.0
        abar = self.schedule.alphas_cumprod
        solver = MultistepSolver()
        for number, now in enumerate(times):
            t = torch.full((count,), now)
            epsilon = self.predict_epsilon(x, t, embedding, w=config.guidance)
            a = abar[now]
            clean = (x - (1 - a).sqrt() * epsilon) / a.sqrt()
            if config.clamp:
                clean = clean.clamp(low, 1)
                epsilon = (x - a.sqrt() * clean) / (1 - a).sqrt()
            if number + 1 == len(times):
                x = clean
                break
            b = abar[times[number + 1]]
            if config.sampler == "dpm":
                x = solver.step(x, clean, a, b)
            elif config.sampler == "ddim":
                x = b.sqrt() * clean + (1 - b).sqrt() * epsilon
            else:
                # Ancestral sampling: alpha and beta of the step between the two times; with all
                # times, they are those of the schedule.
                alpha = a / b
                beta = 1 - alpha
                x = (
                    x - beta / (1 - a).sqrt() * epsilon
                ) / alpha.sqrt() + beta.sqrt() * random.normal(f"step {number}", x.shape)
        return self.decode(x)

    def times(self, config: VoxelSampling) -> list[int]:
        """The times at which the network is asked, from the noisiest on; fewer than the steps where
        several are the same."""
        if config.sampler != "dpm":
            return [int(t) for t in torch.linspace(TIMES - 1, 0, config.steps).round()]
        ratio = half_log_snr(self.schedule.alphas_cumprod)
        wanted = torch.linspace(float(ratio[-1]), float(ratio[0]), config.steps)
        return list(dict.fromkeys(int((ratio - value).abs().argmin()) for value in wanted))

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16) to a folder. Raises OutputError."""
        save_weights(folder, self.state_dict(), {"kind": "voxel diffusion", **asdict(self.config)})

    @staticmethod
    def load(folder: Path) -> VoxelDiffusion:
        """Read a folder that `save` wrote. Raises ModelError."""
        facts = read_config(folder, "voxel diffusion", "threestudio-like train voxel-diffusion")
        try:
            sizes: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in facts["unet"].items()
            }
            unet = VoxelUNetConfig(**sizes)
            model = VoxelDiffusion(
                VoxelDiffusionConfig(
                    unet=unet, prediction=facts["prediction"], signed=facts["signed"]
                )
            )
            model.load_state_dict(
                {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
            )
        except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(folder, error) from None
        return model.eval().requires_grad_(False)


def half_log_snr(abar: torch.Tensor) -> torch.Tensor:
    """Half of the logarithm of signal to noise (their powers' ratio), of the shares `abar` (any
    shape, in (0, 1)) that the signal has of the power."""
    return 0.5 * (abar / (1 - abar)).log()


class MultistepSolver:
    """DPM-Solver++ of second order (2M; Lu et al. 2022, arXiv 2211.01095, algorithm 2): the clean
    voxels of the step before tell where those of this one are going. The first step is DDIM's."""

    def __init__(self) -> None:
        self._before: tuple[torch.Tensor, torch.Tensor] | None = None

    def step(
        self, x: torch.Tensor, clean: torch.Tensor, a: torch.Tensor, b: torch.Tensor
    ) -> torch.Tensor:
        """The noisy voxels (B, 1, R, R, R) at the next time.

        Args:
            x: noisy voxels at this time. clean: the clean ones that the network sees in them; both
                of the result's shape. a, b: the signal's share of the power (`alphas_cumprod`, in
                (0, 1)) at this time and at the next one.
        """
        now, then = half_log_snr(a), half_log_snr(b)
        h, ahead = then - now, clean
        if self._before is not None:
            earlier, last = self._before
            ahead = clean + (clean - earlier) * h / (2 * (now - last))
        self._before = (clean, now)
        return ((1 - b) / (1 - a)).sqrt() * x - b.sqrt() * torch.expm1(-h) * ahead


def slerp(a: torch.Tensor, b: torch.Tensor, share: float) -> torch.Tensor:
    """Interpolate between vectors (..., D) along the great circle, with lengths interpolated
    linearly. `share` 0 gives a and 1 gives b, exactly."""
    if share in (0.0, 1.0):
        return b if share else a
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = a / length_a, b / length_b
    angle = torch.acos((u * v).sum(-1, keepdim=True).clamp(-1 + 1e-7, 1 - 1e-7))
    mixed = (torch.sin((1 - share) * angle) * u + torch.sin(share * angle) * v) / torch.sin(angle)
    return mixed * ((1 - share) * length_a + share * length_b)


def lerp(a: torch.Tensor, b: torch.Tensor, share: float) -> torch.Tensor:
    """Interpolate linearly between vectors; both ends are exact."""
    return b if share == 1.0 else a + share * (b - a)
