"""The embedded autoencoder: a diffusers AutoencoderKL of factor 4 whose first three latents follow
the pooled colours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.loop import ParameterGroup, Stage, Step
from ...engine.output import new_folder
from ...engine.training import Batches, place_of
from ...kernels.devices import half_precision
from ...toybox.dataset import Groups

CHANNELS = (24, 48, 64)
NORMALS = 0.3
"""Share of the pictures of normals, where there are some."""
LARGER = 0.25
"""Share of the larger pictures, where there are some."""


def build_vae(channels: tuple[int, ...] = CHANNELS, latents: int = 4) -> Any:
    """An AutoencoderKL (diffusers) with latents at a quarter of the picture's edge."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=latents,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        mid_block_add_attention=False,
        scaling_factor=1.0,
        sample_size=64,
    )


@dataclass(frozen=True)
class Source:
    """Pictures (N, S, S, 3) uint8 of one kind, their latents (N, C, S/4, S/4) where they are known,
    and their share of a batch."""

    pictures: torch.Tensor
    share: float
    latents: torch.Tensor | None = None


def sources(data: Groups, larger: Groups | None = None) -> list[Source]:
    """The kinds of pictures that an autoencoder learns: colours, normals, and both of `larger`
    groups."""

    def flat(pictures: Any) -> torch.Tensor:
        return torch.from_numpy(pictures).flatten(0, 1)

    out, bigger = [], 0.0 if larger is None else LARGER
    for groups, share in ((data, 1 - bigger), (larger, bigger)):
        if groups is None:
            continue
        normals = 0.0 if groups.normals is None else NORMALS
        out.append(Source(flat(groups.images), share * (1 - normals)))
        if groups.normals is not None:
            out.append(Source(flat(groups.normals), share * normals))
    return out


def _windows(source: Source, count: int, crop: int, generator: torch.Generator) -> torch.Tensor:
    """Crops (count, crop, crop, 3), with corners on the grid of the latents."""
    pictures = source.pictures
    pick = torch.randint(0, len(pictures), (count,), generator=generator)
    corner = (
        torch.randint(0, (pictures.shape[1] - crop) // 4 + 1, (count, 2), generator=generator) * 4
    )
    return _crops(pictures, pick, corner, size=crop)


def _counts(shares: list[float], batch: int) -> list[int]:
    """Whole numbers that add up to `batch`, as near to the shares as can be."""
    ends = [round(batch * sum(shares[: n + 1]) / sum(shares)) for n in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends)]


def _crops(
    pictures: torch.Tensor, pick: torch.Tensor, corner: torch.Tensor, size: int
) -> torch.Tensor:
    """Windows (B, size, size, ...) of pictures (N, H, W, ...) from corners (B, 2)."""
    line = torch.arange(size)
    rows, columns = corner[:, :1] + line, corner[:, 1:] + line
    return pictures[pick[:, None, None], rows[:, :, None], columns[:, None, :]]


def vae_stage(
    vae: Any,
    data: Groups,
    steps: int,
    batch: int = 32,
    crop: int = 32,
    larger: Groups | None = None,
) -> Stage:
    """The stage that trains the autoencoder on crops of colours, of normals where `data` has them,
    and of larger pictures where they are given.

    The loss is L1 + squared error, a chroma error (deviation from the pixel's own grey) with weight
    2, image gradients, a term that ties the first three latents to the 4 x 4 pooled picture, and a
    weak KL term. Crops are used because most of a full frame is background.
    """
    kinds = sources(data, larger)
    counts = _counts([kind.share for kind in kinds], batch)
    vae.train()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        drawn = [_windows(kind, n, crop, generator) for kind, n in zip(kinds, counts)]
        return {"pictures": torch.cat(drawn)}

    batches = Batches(draw, vae)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        x = batches(step)["pictures"].permute(0, 3, 1, 2).float() / 127.5 - 1
        with half_precision(x.device):
            posterior = vae.encode(x).latent_dist
            mean = posterior.mean.float()
            noisy = mean + 0.03 * step.random.normal("posterior", tuple(mean.shape), x.device)
            y = vae.decode(noisy).sample
        y = y.float()
        error = y - x
        chroma = error - error.mean(1, keepdim=True)
        edges = sum((error.diff(dim=d).abs().mean() for d in (2, 3)), x.new_zeros(()))
        pin = F.mse_loss(mean[:, :3], F.avg_pool2d(x, 4))
        return {
            "l1": error.abs().mean(),
            "square": 4.0 * error.square().mean(),
            "chroma": 2.0 * chroma.abs().mean(),
            "edges": 0.5 * edges,
            "pin": 0.5 * pin,
            "spread": 1e-3 * mean.square().mean(),
        }

    group = ParameterGroup(
        "vae", list(vae.parameters()), "cos 2e-3->2e-5", betas=(0.9, 0.99), eps=1e-8
    )
    return Stage("vae", steps, {"vae": vae}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def normalise_latents(vae: Any, images: torch.Tensor) -> None:
    """Fold a per-channel shift and scale into the 1 x 1 quantisation layers, so that latents have
    mean 0 and deviation 1.

    Args:
        vae: an AutoencoderKL with `quant_conv` and `post_quant_conv`.
        images: (N, 3, H, W) in [-1, 1].
    """
    latents = torch.cat([vae.encode(chunk).latent_dist.mean for chunk in images.split(64)])
    _fold(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))


@torch.no_grad()
def pin_latents(vae: Any, images: torch.Tensor) -> None:
    """Fold a per-channel shift and scale into the 1 x 1 layers, so that the first three latents are
    nearest to the pooled colours: where the training of an autoencoder that was normalised goes
    on. The arguments are those of `normalise_latents`."""
    latents = torch.cat([vae.encode(chunk).latent_dist.mean for chunk in images.split(64)])
    pooled = F.avg_pool2d(images, 4)
    mean, std = torch.zeros(latents.shape[1]), torch.ones(latents.shape[1])
    for n in range(3):
        z, colour = latents[:, n].flatten(), pooled[:, n].flatten()
        slope = ((z - z.mean()) * (colour - colour.mean())).mean() / z.var(unbiased=False)
        std[n], mean[n] = 1 / slope, z.mean() - colour.mean() / slope
    _fold(vae, mean, std)


def _fold(vae: Any, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Replace latents z by (z - mean) / std in the 1 x 1 layers; decoded pictures stay the same."""
    quant: nn.Conv2d = vae.quant_conv
    post: nn.Conv2d = vae.post_quant_conv
    count = len(mean)
    assert quant.bias is not None
    assert post.bias is not None
    quant.weight[:count] /= std[:, None, None, None]
    quant.bias[:count] = (quant.bias[:count] - mean) / std
    quant.bias[count:] -= 2 * std.log()
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std[None, :, None, None]


@torch.no_grad()
def encode_all(vae: Any, images: Any, batch: int = 128) -> torch.Tensor:
    """Latent means (N, 4, S/4, S/4) float16 of uint8 pictures (N, S, S, 3), in main memory,
    computed on the device of the autoencoder."""
    out = []
    for begin in range(0, len(images), batch):
        x = torch.from_numpy(images[begin : begin + batch].copy()).to(place_of(vae))
        out.append(
            vae.encode(x.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mean.half().cpu()
        )
    return torch.cat(out)


@torch.no_grad()
def reconstruction_psnr(vae: Any, data: Groups) -> dict[str, float]:
    """PSNR in dB over whole pictures and inside the object's bounding box (where the picture
    differs from its background)."""
    images = torch.from_numpy(data.images[:]).flatten(0, 1)
    whole, box = [], []
    for begin in range(0, len(images), 64):
        x = images[begin : begin + 64].to(place_of(vae)).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        error = ((y - x) / 2).square().mean(1)
        for n in range(len(x)):
            differs = (x[n] - x[n, :, :1, :1]).abs().amax(0) > 0.02
            rows, cols = torch.where(differs.any(1))[0], torch.where(differs.any(0))[0]
            whole.append(float(error[n].mean()))
            if len(rows):
                box.append(
                    float(error[n, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1].mean())
                )

    def db(values: list[float]) -> float:
        return float(-10 * torch.tensor(values).clamp_min(1e-10).log10().mean())

    return {"psnr": db(whole), "psnr_in_box": db(box)}


def save_vae(vae: Any, folder: Path) -> None:
    """Write the diffusers folder `vae/` in fp16."""
    with new_folder(folder / "vae") as made:
        vae.half().save_pretrained(made)
        config = json.loads((made / "config.json").read_text())
        # Where it was read from is nobody else's business, and differs between machines.
        config.pop("_name_or_path", None)
        (made / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    vae.float()


def _counted(corner: torch.Tensor, last: int, crop: int, margin: int) -> torch.Tensor:
    """Which pixels of crops (B, crop, crop, 1) count: all but `margin` along the borders that the
    picture does not have there. `corner` (B, 2) is up to `last`, where a crop ends with its
    picture."""
    line = torch.arange(crop)
    inner = (line >= margin) | (corner[..., None] == 0)
    inner &= (line < crop - margin) | (corner[..., None] == last)
    return (inner[:, 0, :, None] & inner[:, 1, None, :])[..., None]


def decoder_stage(
    vae: Any, kinds: list[Source], steps: int, batch: int = 32, crop: int = 32, lr: float = 1e-3
) -> Stage:
    """A second stage that sharpens only the decoder. Latents, and therefore a diffusion model
    trained on them, do not change.

    Args:
        kinds: pictures with their latents, float16, from the finished encoder.
    """
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    vae.train()
    factor = 4
    small = crop // factor
    counts = _counts([kind.share for kind in kinds], batch)
    by_place = [kind.latents.permute(0, 2, 3, 1) for kind in kinds if kind.latents is not None]

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        found: dict[str, list[torch.Tensor]] = {"latents": [], "pictures": [], "counted": []}
        for kind, latents, n in zip(kinds, by_place, counts):
            pick = torch.randint(0, len(latents), (n,), generator=generator)
            last = latents.shape[1] - small
            corner = torch.randint(0, last + 1, (n, 2), generator=generator)
            found["latents"].append(_crops(latents, pick, corner, size=small))
            found["pictures"].append(_crops(kind.pictures, pick, factor * corner, size=crop))
            found["counted"].append(_counted(corner, last, crop, factor))
        return {name: torch.cat(parts) for name, parts in found.items()}

    batches = Batches(draw, vae)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        z = drawn["latents"].permute(0, 3, 1, 2).float()
        x = drawn["pictures"].permute(0, 3, 1, 2).float() / 127.5 - 1
        with half_precision(x.device):
            y = vae.decode(
                z + 0.02 * step.random.normal("latent noise", tuple(z.shape), x.device)
            ).sample
        # The border of a crop is left out where the picture has no border; where it has one, what
        # the network makes of it is what pictures will have.
        counted = drawn["counted"].permute(0, 3, 1, 2).float()
        error = (y.float() - x) * counted
        chroma = error - error.mean(1, keepdim=True)
        number = 3 * counted.sum()
        return {
            "l1": error.abs().sum() / number,
            "square": 8.0 * error.square().sum() / number,
            "chroma": 0.5 * chroma.abs().sum() / number,
        }

    rate = f"cos {lr}->1e-5"
    group = ParameterGroup("decoder", parameters, rate, betas=(0.9, 0.99), eps=1e-8)
    return Stage("decoder", steps, {"vae": vae}, groups=[group], loss=loss, clip_norm=1.0)
