"""The contract of a diffusion prior. A new model family is one adapter with the methods below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..engine.errors import ModelError
from ..engine.limits import Limits
from ..renderers.cameras import Cameras
from .networks.gradient_range import GradientRange
from .noise_schedule import NoiseSchedule, PredictionType

GuidanceStyle = Literal["cfg", "embedded", "none"]
"""How a model is guided by its prompt. cfg: two predictions, extrapolated (classifier-free). By
distillation, embedded: it takes the scale as a number; none: it wants no guidance."""

Domain = Literal["colour", "normal"]
"""What a prior's pictures show: the object, or its normals."""
Space = Literal["world", "camera"]
"""The axes of the normals in pictures: the scene's, or each camera's own (x to the right, y up, z
to the viewer)."""

Untold = Literal["words", "camera", "views"]
"""What a prior can be left without: the words of a view's direction in its prompt, the camera, the
other views of a step."""

Within = Callable[[slice, GradientRange | None], AbstractContextManager[None]]
"""What is active while some entries of a batch are denoised with a gradient: given the entries, and
the range that their gradients are in where the network is in float16."""


@dataclass
class CameraProtocol:
    """The cameras that a camera-conditioned prior was trained on: distance in scene units, angles
    in degrees, and grey levels of the background."""

    distance: float = 3.0
    fov_y: float = 40.0
    elevation: tuple[float, float] = (-10.0, 45.0)
    background: tuple[float, float] = (0.25, 1.0)


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture of the object that view-conditioned priors are told, and from where it shows it.

    picture (S, S, 3) in [0, 1], mask (S, S) of the object, framed as a camera sees it that is at
    `azimuth` and `elevation` (radians, azimuth 0 is the front) and `distance` (scene units). What
    lies behind the object is the prior's own affair (`before`).
    """

    picture: torch.Tensor
    mask: torch.Tensor
    azimuth: float = 0.0
    elevation: float = 0.0
    distance: float = 3.0

    def before(self, level: float) -> torch.Tensor:
        """The picture (S, S, 3) before a grey level."""
        mask = self.mask[..., None]
        return (self.picture * mask + level * (1 - mask)).clamp(0, 1)


@dataclass
class Condition:
    """What a prediction is conditioned on.

    text (B, T, D) embeddings; cameras of the B views; background: grey level in [0, 1], one for all
    or (B,); views: how many consecutive entries show the same object and are denoised together;
    emphasis (B, T): factors of the words' attention, normalised: whether its rows are then divided
    by their sums (`attention.emphasised`); reference: a picture of the object, and shown (B,) bool:
    which entries are told of it (None for all), for the unconditional ones are not. A prior ignores
    what it was not trained for, but for emphasis, which one that cannot do refuses; one that wants
    a reference refuses to predict without. control: pictures (B, H, W, 3) of every entry by kind
    (`control.kinds`), where a prior is controlled by them. domain: what all pictures show.
    """

    text: torch.Tensor
    cameras: Cameras | None = None
    background: float | torch.Tensor | None = None
    views: int = 1
    emphasis: torch.Tensor | None = None
    reference: Reference | None = None
    shown: torch.Tensor | None = None
    control: dict[str, torch.Tensor] | None = None
    domain: Domain = "colour"
    normalised: bool = False

    def without(self, untold: frozenset[Untold]) -> Condition:
        """The condition of a prior that is not told all of it. A background belongs to a camera."""
        if not untold:
            return self
        camera = "camera" not in untold
        return replace(
            self,
            cameras=self.cameras if camera else None,
            background=self.background if camera else None,
            views=1 if "views" in untold else self.views,
        )

    def part(self, entries: slice) -> Condition:
        """The condition of consecutive entries of the batch."""

        def cut(value: Any) -> Any:
            return value[entries] if isinstance(value, torch.Tensor) and value.ndim else value

        return replace(
            self,
            text=self.text[entries],
            cameras=None if self.cameras is None else self.cameras[entries],
            background=cut(self.background),
            emphasis=cut(self.emphasis),
            shown=cut(self.shown),
            control=self.control and {kind: p[entries] for kind, p in self.control.items()},
        )

    def tells(self, count: int) -> torch.Tensor:
        """Which of `count` entries are told of the reference (B,) bool."""
        everyone = torch.full((count,), self.reference is not None)
        return everyone if self.shown is None else everyone & self.shown.cpu()


@dataclass
class PriorFacts:
    """The properties of a prior."""

    name: str
    prediction_type: PredictionType
    channels: int
    latent_size: int
    image_size: int
    vocabulary: tuple[str, ...] | None = None
    """The only words that it knows, or None for an open vocabulary."""
    world: str = "twenty"
    """The edition of the toybox that a closed vocabulary belongs to."""
    words: tuple[str, ...] = ()
    """Words of textual inversion that it was given."""
    camera: CameraProtocol | None = None
    light: tuple[tuple[float, ...], ...] | None = None
    """The common light of all its pictures, if there is one: the (4, 4) matrix of
    `renderers.EnvironmentLight`."""
    joint_views: int = 1
    """Number of views that it can denoise together."""
    single_views: bool = True
    """Whether it also denoises one view under a camera."""
    reads_text: bool = True
    """Whether it is told a prompt; where not, its text embeddings are the same for all."""
    wants_reference: bool = False
    """Whether it is told a picture of the object (`Reference`), and predicts nothing without."""
    told_background: bool = True
    """Whether a camera-conditioned prior is told the grey level of the background."""
    fixed_views: tuple[tuple[float, float], ...] = ()
    """The only views that it knows, in their order: azimuth from the reference's and elevation,
    degrees. Empty where any are."""
    controls: tuple[str, ...] = ()
    """The kinds of pictures that it is controlled by."""
    domains: tuple[Domain, ...] = ("colour",)
    """What its pictures can show."""
    larger: tuple[int, ...] = ()
    """Sizes in pixels of the pictures of its other networks (`DiffusionPrior.at_size`)."""
    normal_space: Space = "world"
    """The axes of its normals, which are drawn as (n + 1) / 2 before the background."""
    preset: str = ""
    """The preset that suits it, where a system has one of this name."""
    notes: tuple[str, ...] = ()
    """What the user is told of how its files were read, in lines."""
    licence: str = "unknown"
    territory: str = "unknown"
    guidance: GuidanceStyle = "cfg"
    untold: frozenset[Untold] = frozenset()
    """What it is not told although it could be, because the user wants to see what it is worth."""

    def check_domain(self, domain: Domain) -> None:
        """Raise ModelError where its pictures cannot show this."""
        if domain in self.domains:
            return
        if domain == "normal":
            remedy = "Leave the guidance normals out, or name a prior whose prior.json declares "
            remedy += "them (docs/models.md): --guidance.normals.prior FOLDER"
            raise ModelError("knows no pictures of normals", self.name, remedy)
        raise ModelError(
            "knows pictures of normals alone",
            self.name,
            "Give it beside another prior: --guidance.normals.prior",
        )

    @property
    def conditions(self) -> tuple[str, ...]:
        """What its predictions depend on besides the noisy latents: "text"; "camera" (see
        `camera`); "background", which some camera-conditioned priors are told; "views", where
        several are denoised together; "reference", a picture of the object; "control", pictures of
        its geometry."""
        known = {
            "text": self.reads_text,
            "camera": self.camera is not None and "camera" not in self.untold,
            "background": self.camera is not None
            and self.told_background
            and "camera" not in self.untold,
            "views": self.joint_views > 1,
            "reference": self.wants_reference,
            "control": bool(self.controls),
        }
        return tuple(name for name, there in known.items() if there)


@dataclass(frozen=True, kw_only=True)
class Working:
    """Bytes of a prior: its weights on the device, what denoising and encoding hold at most while
    they work, what encoding keeps for its way back, and what recorded graphs hold all the time
    beside that (they are recorded after a first call without)."""

    weights: int = 0
    recorded: int = 0
    denoising: int = 0
    encoding: int = 0
    kept: int = 0


class DiffusionPrior(ABC):
    """A text-conditional denoiser in the space of its latents (or of images, with an identity
    autoencoder).

    Latents are scaled: the adapter multiplies by the model's own factor after encoding and divides
        before decoding.
    """

    facts: PriorFacts
    schedule: NoiseSchedule
    device: torch.device = torch.device("cpu")
    limits: Limits = Limits()
    """What it keeps within, which a prior that is loaded beside it does too."""

    @property
    def denoiser_module(self) -> nn.Module:
        """The network that low-rank layers can be trained beside. Raises ModelError where there is
        none."""
        raise ModelError(
            "has no network that could be trained along", self.facts.name, "Use a diffusers model"
        )

    def goes_without(self, untold: frozenset[Untold]) -> bool:
        """Whether it can predict without some of what it could be told."""
        return True

    def at_size(self, size: int) -> DiffusionPrior:
        """The same model's network for pictures of another size; itself for 0 and its own size.

        Raises:
            ModelError: there is none.
        """
        if size in (0, self.facts.image_size):
            return self
        there = ", ".join(map(str, sorted({self.facts.image_size, *self.facts.larger})))
        raise ModelError(
            f"has no network for pictures of {size} pixels",
            self.facts.name,
            f"It has: {there}",
        )

    @property
    def accelerated(self) -> bool:
        """Whether it runs elsewhere than on the CPU, where memory is another matter."""
        return self.device.type != "cpu"

    def shrink(self) -> str:
        """Use less memory from now on, after the device ran out of it.

        Returns a description of the change, or an empty text if nothing can be changed.
        """
        return ""

    def keep_within(self, limits: Limits) -> None:
        """From now on, do no more at once than a memory plan says; nothing where nothing can be
        done in parts."""
        self.limits = limits

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """Bytes that it holds, for the forecast of a memory plan; nothing by default.

        Args:
            latent: height and width of the latents.
            entries, images: how many it denoises and encodes at once.
            gradient: whether pictures are encoded for their gradient.
            offload: whether its weights are brought to the device when they are needed.
        """
        return Working()

    def rehearse_training(
        self, beside: Callable[[nn.Module], nn.Module], latent: int, entries: int
    ) -> Working:
        """Bytes of training what stands beside the denoiser, for the forecast of a memory plan:
        `weights` of what is trained, `kept` for the way back, `denoising` at most on it. Nothing by
        default.

        Args:
            beside: makes it for a denoiser, see `networks.low_rank.LowRank`.
            latent: height and width of the latents.
            entries: how many are denoised at once.
        """
        return Working()

    def negative_text(self, text: torch.Tensor) -> torch.Tensor:
        """The embedding (T, D) of a prompt as a negative one, which is told no pictures."""
        return text

    def add_concept(self, tokens: dict[str, torch.Tensor]) -> None:
        """Add words of textual inversion: {token: vectors}. Raises ModelError where it cannot."""
        raise ModelError("takes no new words", self.facts.name, "Leave --concept out")

    def save_embeddings(self, path: Path, force: bool = False) -> None:
        """Write the prompt embeddings that it has made as a bundle. Raises ModelError where it
        cannot."""
        raise ModelError(
            "keeps no prompt embeddings", self.facts.name, "Leave --save-embeddings out"
        )

    @abstractmethod
    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Embeddings (B, T, D) of B prompts; "" is the unconditional one. Those of one call have
        the same T; what T and D hold besides tokens is the prior's own (`text.packed`)."""

    @abstractmethod
    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, H, W, 3) in [0, 1] to scaled latents (B, C, h, w). Differentiable."""

    @abstractmethod
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Map scaled latents (B, C, h, w) to images (B, H, W, 3) in [0, 1]. Differentiable."""

    @abstractmethod
    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The model's raw prediction (B, C, h, w) for noisy latents at integer time steps t (B,).
        Not differentiable."""

    def predict_with_gradient(
        self,
        latents: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        within: Within | None = None,
    ) -> torch.Tensor:
        """The same as `predict`, but differentiable in the latents, the text, and what is active
        within `within`.

        Args:
            within: is entered for every part of the batch that is denoised at once.

        Raises:
            ModelError: it is no network.
        """
        raise ModelError(
            "has no network that could be trained along", self.facts.name, "Use a diffusers model"
        )

    def epsilon(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The predicted noise (B, C, h, w)."""
        return self.schedule.to_epsilon(
            self.predict(latents, t, condition), latents, t, kind=self.facts.prediction_type
        )

    def check_prompt(self, prompt: str) -> list[str]:
        """What of a prompt would not be read as it is written, in lines for the user.

        Raises:
            VocabularyError: the tokenizer does not know a part of it.
        """
        return []

    def word_columns(self, prompt: str, words: str) -> list[int]:
        """The positions in `encode_text`'s T of a word, or of several consecutive words, at every
        place of the prompt.

        Raises:
            ConfigError: the prompt does not contain the words.
            ModelError: this prior has no words.
        """
        raise ModelError(
            "it has no words whose attention could be weighted",
            self.facts.name,
            "Use a diffusers model",
        )

    @property
    def downscale(self) -> int:
        """Number of pixels per latent along an edge."""
        return self.facts.image_size // self.facts.latent_size


PLAIN_CAMERAS = CameraProtocol(1.8, 55.0)
"""The cameras that show assets of priors without a protocol: the ring of METHODS 1.4."""
