"""Low-rank layers beside those of a frozen denoiser, and an embedding of the camera: a second
denoiser that is trained at the price of a few numbers (Hu et al. 2021; Wang et al. 2023).

Nothing of the denoiser itself is changed. Its layers carry hooks only while `LowRank.active` lasts,
so that the same network answers with and without them, whatever its family.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ...engine.errors import ModelError
from ...engine.schema.bounds import Number
from .gradient_range import GradientRange

PROJECTIONS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "to_qkv",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
    "to_qkv_mlp_proj",
)
"""Names of the linear layers of attention, in diffusers' networks and in ours."""
TIMES = ("time_embedding", "time_embed", "timestep_embedder", "t_embedder")
"""Names of the module that embeds the noise time (B,) as (B, W)."""
CAMERA = 16
"""Numbers of a camera: a 4 x 4 matrix in rows."""


@dataclass(frozen=True, kw_only=True)
class LowRankConfig:
    """The layers of a low-rank copy."""

    rank: Number = 4
    """Of every pair of layers."""
    layers: Literal["attention", "all"] = "attention"
    """attention: the projections of attention, as published. all: every linear layer and
    convolution, for networks with little attention."""
    camera: Literal["extrinsics", "mvp", "none"] = "extrinsics"
    """What it is told of the camera: camera to world, world to clip space, or nothing."""


class LowRankLayer(nn.Module):
    """up(down(x)) beside a linear layer or a convolution; zero until it is trained."""

    def __init__(self, layer: nn.Module, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            as_layer: dict[str, Any] = {
                name: getattr(layer, name) for name in ("kernel_size", "stride", "padding")
            }
            self.down: nn.Module = nn.Conv2d(layer.in_channels, rank, bias=False, **as_layer)
            self.up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            assert isinstance(layer, nn.Linear)
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        first, last = self._weights()
        with torch.no_grad():
            drawn = torch.randn(first.shape, generator=generator) / rank
            first.copy_(drawn)
            last.zero_()

    def _weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        down: Any = self.down
        up: Any = self.up
        return down.weight, up.weight

    def forward(
        self, x: torch.Tensor, out: torch.Tensor, within: GradientRange | None
    ) -> torch.Tensor:
        """The layer's output `out` with what is learned, of its input x; in float32.

        Args:
            within: the range in which gradients in `out` are larger than they are.
        """
        seen = x.to(self._weights()[0].dtype)
        if within is None:
            return out + self.up(self.down(seen)).to(out.dtype)
        # Between the two the gradients are the true ones.
        learned = within.reduced(self.up(self.down(within.enlarged(seen))))
        return out + learned.to(out.dtype)


class CameraEmbedding(nn.Module):
    """Linear, SiLU, linear: from a camera's numbers (B, 16) to the width of the time's embedding,
    as diffusers embeds times."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(CAMERA, width), nn.Linear(width, width)
        with torch.no_grad():
            for layer in (self.first, self.last):
                bound = layer.in_features**-0.5
                for p in layer.parameters():
                    p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) * bound)

    def forward(self, camera: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, W)."""
        return self.last(nn.functional.silu(self.first(camera)))


class LowRank(nn.Module):
    """The low-rank copy of a denoiser; its parameters are float32.

    Args:
        denoiser: a frozen network of any family. It is not part of this module.
        seed: of the first values.

    Raises:
        ModelError: the denoiser has no layers of the kind, or none that embeds the time.
    """

    def __init__(self, denoiser: nn.Module, config: LowRankConfig, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self._beside = chosen_layers(denoiser, config.layers)
        self.layers = nn.ModuleDict(
            {
                # A module's name has no dots.
                name.replace(".", "/"): LowRankLayer(layer, config.rank, generator)
                for name, layer in self._beside.items()
            }
        )
        self._time: list[nn.Module] = []
        self.camera: CameraEmbedding | None = None
        if config.camera != "none":
            time, width = time_module(denoiser)
            self._time.append(time)
            self.camera = CameraEmbedding(width, generator)

    def numbers(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.parameters())

    @contextmanager
    def active(
        self, camera: torch.Tensor | None = None, within: GradientRange | None = None
    ) -> Iterator[None]:
        """Within the block the denoiser answers with the low-rank layers.

        Args:
            camera: (B, 16), zeros where it is not told; None where the copy is told none.
            within: of the gradients in the denoiser, see `LowRankLayer`.
        """

        def beside(layer: LowRankLayer) -> Any:
            return lambda module, inputs, out: layer(inputs[0], out, within)

        def told(module: Any, inputs: Any, out: torch.Tensor) -> torch.Tensor:
            assert self.camera is not None
            assert camera is not None
            if len(out) != len(camera):
                raise ModelError(
                    f"denoises {len(out)} entries for {len(camera)} cameras",
                    "vsd",
                    "Tell its copy no cameras: --guidance.vsd.lora.camera none",
                )
            more = self.camera(camera.to(out.device))
            if within is not None:
                more = within.reduced(more)
            return out + more.to(out.dtype)

        with ExitStack() as hooks:
            for layer, module in zip(self.layers.values(), self._beside.values()):
                assert isinstance(layer, LowRankLayer)
                hooks.callback(module.register_forward_hook(beside(layer)).remove)
            for module in self._time if camera is not None else ():
                hooks.callback(module.register_forward_hook(told).remove)
            yield


def chosen_layers(denoiser: nn.Module, kind: str) -> dict[str, nn.Module]:
    """The layers of a denoiser that low-rank ones stand beside, by their names.

    Raises:
        ModelError: there are none.
    """
    found = {}
    for name, module in denoiser.named_modules():
        if kind == "all":
            plain = isinstance(module, nn.Conv2d) and module.groups == 1
            wanted = isinstance(module, nn.Linear) or plain
        else:
            # diffusers' outputs are "to_out.0".
            wanted = isinstance(module, nn.Linear) and any(
                part in PROJECTIONS for part in name.split(".")[-2:]
            )
        if wanted:
            found[name] = module
    if not found:
        raise ModelError(
            f"has no layers ({kind}) that a low-rank copy could be trained beside",
            type(denoiser).__name__,
            "Take another prior, or plain score distillation",
        )
    return found


def time_module(denoiser: nn.Module) -> tuple[nn.Module, int]:
    """The module that embeds the noise time, and the width of its embedding.

    Raises:
        ModelError: there is none.
    """
    named = {
        name: module
        for name, module in denoiser.named_modules()
        if name.rpartition(".")[2] in TIMES
    }
    for name, module in named.items():
        linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
        # A module that holds another of them does more than to embed the time.
        if linear and not any(other.startswith(f"{name}.") for other in named):
            return module, linear[-1].out_features
    raise ModelError(
        "embeds no noise time that a camera could be added to",
        type(denoiser).__name__,
        "Tell its copy no cameras: --guidance.vsd.lora.camera none",
    )
