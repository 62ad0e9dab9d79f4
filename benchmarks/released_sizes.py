"""One training step of every released size, at full size: parameters, seconds and peak memory of
CISP, its voxel diffusion and G3DR.

Each model runs in a process of its own, so that the peak is its own. About 20 GB and some minutes
on two cores.

    python benchmarks/released_sizes.py [--device cpu] [--only cisp]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch
from tables import publish, table

CASES = ("cisp", "voxel-diffusion", "g3dr")


def cisp(device: str) -> torch.nn.Module:
    """DeiT-B against 3D-DeiT, a batch of 8: contrastive loss, AdamW."""
    from threestudio_like.priors.networks.contrastive import (
        Contrastive,
        ContrastiveConfig,
        contrastive_loss,
    )

    model = Contrastive(ContrastiveConfig()).to(device)
    images, voxels = (
        torch.rand(8, 224, 224, 3, device=device),
        torch.rand(8, 32, 32, 32, device=device) < 0.2,
    )
    step(
        model,
        lambda: contrastive_loss(model.embed(images), model.embed_other(voxels), model.log_scale),
    )
    return model


def voxel_diffusion(device: str) -> torch.nn.Module:
    """The U-Net of 83 million parameters, batch 4 as released."""
    from threestudio_like.priors.voxel_diffusion import TIMES, VoxelDiffusion
    from threestudio_like.training.voxel_diffusion import VoxelTraining

    model = VoxelDiffusion(VoxelTraining.paper().model).to(device)
    voxels = torch.rand(4, 32, 32, 32, device=device) < 0.2
    embedding, keep = (
        torch.randn(4, 256, device=device),
        torch.ones(4, dtype=torch.bool, device=device),
    )
    t, noise = (
        torch.randint(0, TIMES, (4,), device=device),
        torch.randn(4, 1, 32, 32, 32, device=device),
    )
    step(model.unet, lambda: model.loss(voxels, embedding, keep, t, noise))
    return model.unet


def g3dr(device: str) -> torch.nn.Module:
    """The generator of 128 channels on one picture of 128 pixels, 32 + 32 samples a ray, canonical
    view with scaled gradients."""
    from threestudio_like.priors.networks.triplane_generator import TriplaneGenerator
    from threestudio_like.renderers import DepthScaling
    from threestudio_like.systems.image_to_3d.g3dr_cameras import CanonicalCamera
    from threestudio_like.training.g3dr import G3drTraining, render_view

    config = G3drTraining.paper()
    model = TriplaneGenerator(config.generator).to(device)
    rgb, depth = (
        torch.rand(1, 3, 128, 128, device=device) * 2 - 1,
        torch.full((1, 1, 128, 128), 5.0, device=device),
    )

    def loss() -> torch.Tensor:
        result = render_view(
            model,
            model(rgb, depth),
            CanonicalCamera(),
            config.rays,
            128,
            None,
            None,
            depth.flatten(1),
            DepthScaling(),
        )
        wanted = (rgb.permute(0, 2, 3, 1).reshape(1, -1, 3) + 1) / 2
        return (
            2 * (result.colour - wanted).abs().mean()
            + 2 * (result.depth - depth.flatten(1)).abs().mean()
        )

    step(model, loss)
    return model


def step(model: torch.nn.Module, loss) -> None:
    """Forward, backward, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    value = loss()
    value.backward()
    optimiser.step()
    assert torch.isfinite(value)


def one(case: str, device: str) -> None:
    """Run a case in this process and print its row."""
    from threestudio_like.runs.delivery import peak_memory_mb

    began = time.perf_counter()
    model = {"cisp": cisp, "voxel-diffusion": voxel_diffusion, "g3dr": g3dr}[case](device)
    count = sum(p.numel() for p in model.parameters())
    memory = (
        torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else peak_memory_mb()
    )
    print(f"ROW {count / 1e6:.1f} {time.perf_counter() - began:.1f} {memory / 1024:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="")
    parser.add_argument("--case", default="")
    arguments = parser.parse_args()
    if arguments.case:
        one(arguments.case, arguments.device)
        return
    rows = []
    for case in CASES:
        if arguments.only and case != arguments.only:
            continue
        command = [sys.executable, __file__, "--case", case, "--device", arguments.device]
        done = subprocess.run(command, capture_output=True, text=True)
        found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ROW")]
        rows.append(
            [
                case,
                *(found[0] if found else ["failed", "", done.stderr.strip().splitlines()[-1][:80]]),
            ]
        )
        print(rows[-1], flush=True)
    text = (
        "One training step at the released sizes: batch 8 of 224 pixels (CISP), 4 of 32^3 "
        "voxels, 1 picture of 128 pixels (G3DR), float32."
    )
    header = ["model", "parameters, millions", "seconds with building", "peak memory, GB"]
    publish(
        "released_sizes",
        "Released sizes",
        f"python benchmarks/released_sizes.py --device {arguments.device}",
        f"{text}\n\n{table(header, rows)}",
    )


if __name__ == "__main__":
    main()
